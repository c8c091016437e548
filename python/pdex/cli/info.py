"""``pdex info``: what a screen in a file is, and the command that fits it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pdex.cli.base import FILE, Command, check_screen, option, size
from pdex.cli.tables import print_table, printable

if TYPE_CHECKING:
    from pdex.cli.overview import Facts

EXAMPLES = """
pdex info screen.h5ad
pdex info screen.h5ad --json | jq -r .command
"""

#: The width of tables that go to no terminal.
_WIDTH = 110

#: Headings and their sides.
_MATRICES = {"matrix": "left", "layout": "left", "dtype": "left", "stored": "right"}
_MATRICES |= {"storage": "left", "disk": "right", "memory": "right", "values": "left"}
_OBS = {"obs": "left", "kind": "left", "distinct": "right", "missing": "right", "controls": "left"}

_KINDS = {
    "counts": "counts",
    "log1p": "log1p",
    "normalised": "normalised, not log1p",
    "scaled": "negative ones, too",
}


@click.command(
    "info", cls=Command, examples=EXAMPLES, short_help="Tell what a file holds, and what fits it."
)
@click.argument("path", metavar="FILE", type=FILE)
@option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def info(path: Path, as_json: bool) -> None:
    """Tell what FILE (.h5ad) holds, and the 'pdex de' that fits it.

    Its matrices with their layout, storage and kind of values; the columns of obs and which of them
    look like targets with their controls; the size of the result. No matrix is read: of each, the
    first four million stored values are looked at.
    """
    from pdex.cli.overview import overview

    if path.is_dir():
        msg = f"{path} is a folder: expected an .h5ad file"
        raise IsADirectoryError(msg)
    check_screen(path)
    facts = overview(path)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        _tell(facts)


def _tell(facts: Facts) -> None:
    click.echo(f"{printable(facts['path'])}: {size(facts['bytes'])}")
    repeated = facts["repeated_genes"]
    more = f" ({repeated:,} names occur again)" if repeated else ""
    click.echo(f"{facts['n_cells']:,} cells x {facts['n_genes']:,} genes{more}")
    click.echo()
    _print_matrices(facts)
    click.echo()
    _print_columns(facts["obs"], facts["n_cells"])
    click.echo()
    for line in facts["notes"]:
        click.echo(f"Note: {printable(line)}.")
    if facts["targets"] is None:
        click.echo("No column of obs looks like groups of cells: pdex de needs one.")
        return
    for line in _targets(facts["targets"]):
        click.echo(line)
    result = facts["result"]
    click.echo(f"The result has {result['rows']:,} rows, {size(result['bytes'])} in memory:\n")
    click.echo(f"  {facts['command']}")


def _print_matrices(facts: Facts) -> None:
    rows = [_matrix(matrix, facts["n_genes"]) for matrix in facts["matrices"]]
    steps = [(name,) for name in ("storage", "memory", "stored", "disk", "dtype")]
    print_table(_MATRICES, rows, width=_WIDTH, steps=steps)


def _matrix(matrix: Facts, n_genes: int) -> dict[str, str]:
    """Return the cells of one matrix."""
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
        "disk": size(matrix["bytes"]),
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


def _targets(targets: Facts) -> list[str]:
    """Return what is told of the targets, in whole sentences."""
    name, reference = targets["column"], targets["reference"]
    line = f"Column {name!r} looks like the targets: {targets['n_targets']:,}"
    if targets["reference_cells"] is None:
        line += " groups, none of which looks like controls."
    else:
        line += f", and {targets['reference_cells']:,} control cells ({reference!r})."
    if targets["least"] == targets["most"]:
        cells = f"Each target has {targets['least']:,} cells"
    else:
        cells = f"A target has {targets['least']:,} to {targets['most']:,} cells, "
        cells += f"{targets['median']:,.0f} in the middle"
    if targets["unlabelled"]:
        cells += f"; {targets['unlabelled']:,} cells have no label"
    return [line, f"{cells}."]
