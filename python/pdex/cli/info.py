"""``pdex info``: describe a screen, count tables or a result, and suggest the next command."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import rich_click as click

import pdex
from pdex import _info_rows
from pdex._description import is_result
from pdex._text import counted, size
from pdex.cli.base import Command, in_shell, option
from pdex.cli.options import screen_argument
from pdex.cli.result import tell_result
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
pdex info de.parquet
"""

#: Width of tables if stdout is not a terminal.
_WIDTH = 110


@click.command(
    "info", cls=Command, examples=EXAMPLES, short_help="Describe a file and suggest a command."
)
@screen_argument
@option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def info(path: Screen, as_json: bool) -> None:
    """Describe a screen, and suggest the 'pdex de' command that tests it; or describe a result.

    DATA is an .h5ad file, a .zarr store (a folder or a URL) or a folder of count tables; or many
    files, or a quoted pattern such as 'plates/*.h5ad', which are described as one screen. Prints
    the matrices with their layout, storage and kind of values; the columns of obs, and which of
    them look like targets and controls; and the size of the result. No matrix is read in full:
    only the first four million stored values of each are examined.

    Of a result that 'pdex de' wrote, prints its size, its hits and how it was made.
    """
    if not isinstance(path, list) and is_result(path):
        tell_result(path, as_json)
        return
    found = pdex.info(path)
    found = replace(found, notes=[in_shell(line) for line in found.notes])
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
    click.echo(f"{counted(found.n_cells, 'cell')} x {counted(found.n_genes, 'gene')}{more}")
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
        click.echo(in_shell(line))
    if found.result is not None:
        rows, n_bytes = found.result["rows"], found.result["bytes"]
        click.echo(f"The result has {counted(rows, 'row')}, {size(n_bytes)} in memory:\n")
        click.echo(f"  {found.command}")


def _tell_tables(tables: Facts) -> None:
    """Print of what the tables are, and what wrote them."""
    by = " x ".join(printable(column) for column in tables["groupby"])
    click.echo(f"Count tables of {counted(tables['n_groups'], 'group')} of cells, by {by}")
    for source in tables["sources"]:
        text = "AnnData in memory"
        if source["path"] is not None:
            text = printable(source["path"])
            if "bytes" in source:
                text += f" ({size(source['bytes'])}, {source['modified']})"
        click.echo(f"Counted from {text} by pdex {tables['pdex']}")


def _print_tables(found: Info) -> None:
    rows = [_info_rows.of_tables(found.matrices[0], found.tables or {})]
    steps = [("parts",), ("memory",), ("disk",), ("dtype",)]
    print_table(_info_rows.TABLES, rows, width=_WIDTH, steps=steps)


def _print_matrices(found: Info) -> None:
    rows = [_info_rows.of_matrix(matrix, found.n_genes) for matrix in found.matrices]
    steps = [(name,) for name in ("storage", "memory", "stored", "disk", "dtype")]
    print_table(_info_rows.MATRICES, rows, width=_WIDTH, steps=steps)


def _print_columns(columns: list[Facts], n_cells: int) -> None:
    rows = [_info_rows.of_column(column, n_cells) for column in columns]
    print_table(_info_rows.OBS, rows, width=_WIDTH, steps=[("missing",), ("distinct",)])
