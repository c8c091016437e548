"""``pdex info``: describe a screen or its count tables, and suggest a command that tests it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import rich_click as click

import pdex
from pdex.cli.base import Command, option, size
from pdex.cli.options import screen_argument
from pdex.cli.tables import print_table, printable

if TYPE_CHECKING:
    from pdex._info import Info
    from pdex._together import Facts
    from pdex.cli.options import Screen

EXAMPLES = """
pdex info screen.h5ad
pdex info screen.h5ad --json | jq -r .command
pdex info s3://bucket/screen.zarr
pdex info screen.tables
pdex info plates/*.h5ad
"""

#: Width of tables if stdout is not a terminal.
_WIDTH = 110

#: Headings and their alignment.
_MATRICES = {"matrix": "left", "layout": "left", "dtype": "left", "stored": "right"}
_MATRICES |= {"storage": "left", "disk": "right", "memory": "right", "values": "left"}
_TABLES = {"matrix": "left", "dtype": "left", "rows": "right", "parts": "right"}
_TABLES |= {"disk": "right", "memory": "right", "values": "left"}
_OBS = {"obs": "left", "kind": "left", "distinct": "right", "missing": "right", "controls": "left"}

_KINDS = {
    "counts": "counts",
    "log1p": "log1p",
    "normalised": "normalised, not log1p",
    "residuals": "values below 0",
}


@click.command(
    "info", cls=Command, examples=EXAMPLES, short_help="Describe a file and suggest a command."
)
@screen_argument
@option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def info(path: Screen, as_json: bool) -> None:
    """Describe a screen, and suggest the 'pdex de' command that tests it.

    DATA is an .h5ad file, a .zarr store (a folder or a URL) or a folder of count tables; or many
    files, or a quoted pattern such as 'plates/*.h5ad', which are described as one screen. Prints
    the matrices with their layout, storage and kind of values; the columns of obs, and which of
    them look like targets and controls; and the size of the result. No matrix is read in full:
    only the first four million stored values of each are examined.
    """
    found = pdex.info(path)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
    else:
        _tell(found)


def _tell(found: Info) -> None:
    each = "" if found.tables is None else f", {size(found.tables['bytes_per_cell'])} per cell"
    where = str(found.path) if found.sources is None else f"{len(found.sources)} sources"
    n_bytes = "" if found.bytes is None else f": {size(found.bytes)}{each}"
    click.echo(f"{printable(where)}{n_bytes}")
    more = f" ({found.repeated_genes:,} repeated names)" if found.repeated_genes else ""
    click.echo(f"{found.n_cells:,} cells x {found.n_genes:,} genes{more}")
    if found.tables is not None:
        _tell_tables(found.tables)
    click.echo()
    if found.tables is None:
        _print_matrices(found)
    else:
        _print_tables(found)
    click.echo()
    _print_columns(found.obs, found.n_cells)
    click.echo()
    for line in found.notes:
        click.echo(f"Note: {printable(line)}.")
    for line in found.sentences():
        click.echo(line)
    if found.result is not None:
        rows, n_bytes = found.result["rows"], found.result["bytes"]
        click.echo(f"The result has {rows:,} rows, {size(n_bytes)} in memory:\n")
        click.echo(f"  {found.command}")


def _tell_tables(tables: Facts) -> None:
    """Print of what the tables are, and what wrote them."""
    by = " x ".join(printable(column) for column in tables["groupby"])
    click.echo(f"Count tables of {tables['n_groups']:,} groups of cells, by {by}")
    for source in tables["sources"]:
        text = "AnnData in memory"
        if source["path"] is not None:
            text = printable(source["path"])
            if "bytes" in source:
                text += f" ({size(source['bytes'])}, {source['modified']})"
        click.echo(f"Counted from {text} by pdex {tables['pdex']}")


def _print_tables(found: Info) -> None:
    matrix, tables = found.matrices[0], found.tables or {}
    row = {
        "matrix": matrix["name"],
        "dtype": matrix["dtype"],
        "rows": f"{tables['n_rows']:,}",
        "parts": f"{tables['parts']:,}",
        "disk": size(matrix["bytes"]),
        "memory": size(matrix["memory"]),
        "values": _values(matrix["values"]),
    }
    print_table(
        _TABLES, [row], width=_WIDTH, steps=[("parts",), ("memory",), ("disk",), ("dtype",)]
    )


def _print_matrices(found: Info) -> None:
    rows = [_matrix(matrix, found.n_genes) for matrix in found.matrices]
    steps = [(name,) for name in ("storage", "memory", "stored", "disk", "dtype")]
    print_table(_MATRICES, rows, width=_WIDTH, steps=steps)


def _matrix(matrix: Facts, n_genes: int) -> dict[str, str]:
    """Return the table cells of one matrix."""
    cells = dict.fromkeys(_MATRICES, "")
    if "shape" not in matrix:
        return {
            **cells,
            "matrix": matrix["name"],
            "layout": f"{matrix['layout']}: not read by pdex",
        }
    n_cells = matrix["shape"][0] * matrix["shape"][1]
    part = f" ({matrix['stored'] / n_cells:.0%})" if n_cells and matrix["layout"] != "dense" else ""
    genes = matrix["shape"][1]
    more = f" ({genes:,} genes)" if genes != n_genes else ""
    return {
        "matrix": f"{matrix['name']}{more}",
        "layout": matrix["layout"],
        "dtype": matrix["dtype"],
        "stored": f"{matrix['stored']:,}{part}",
        "storage": "+".join(matrix["filters"]) or "plain",
        "disk": "" if matrix["bytes"] is None else size(matrix["bytes"]),
        "memory": size(matrix["memory"]),
        "values": _values(matrix["values"]),
    }


def _values(values: Facts | None) -> str:
    if values is None:
        return "-"
    return f"{_KINDS[values['kind']]}: {values['least']:.4g} to {values['most']:.4g}"


def _print_columns(columns: list[Facts], n_cells: int) -> None:
    rows = [
        {
            "obs": column["name"],
            "kind": column["kind"],
            "distinct": f"{column['distinct']:,}",
            "missing": f"{column['missing'] / max(1, n_cells):.1%}" if column["missing"] else "",
            "controls": ", ".join(column["controls"]),
        }
        for column in columns
    ]
    print_table(_OBS, rows, width=_WIDTH, steps=[("missing",), ("distinct",)])
