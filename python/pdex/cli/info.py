"""``pdex info``: what a screen in a file is, and the command that fits it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdex.cli.base import Command, check_screen, option, size
from pdex.cli.show import console

if TYPE_CHECKING:
    from rich.table import Table

    from pdex.cli.overview import Facts

EXAMPLES = """
pdex info screen.h5ad
pdex info screen.h5ad --json | jq -r .command
"""

#: The width of tables that go to no terminal.
_WIDTH = 110

_KINDS = {
    "counts": "counts",
    "log1p": "log1p",
    "normalised": "normalised, not log1p",
    "scaled": "negative ones, too",
}


@click.command(
    "info", cls=Command, examples=EXAMPLES, short_help="Tell what a file holds, and what fits it."
)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
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
    click.echo(f"{facts['path']}: {size(facts['bytes'])}")
    repeated = facts["repeated_genes"]
    more = f" ({repeated:,} names occur again)" if repeated else ""
    click.echo(f"{facts['n_cells']:,} cells x {facts['n_genes']:,} genes{more}")
    out = console(_WIDTH)
    for table in (_matrices(facts), _columns(facts["obs"], facts["n_cells"])):
        out.print()
        out.print(table)
    out.print()
    for line in facts["notes"]:
        click.echo(f"Note: {line}.")
    if facts["targets"] is None:
        click.echo("No column of obs looks like groups of cells: pdex de needs one.")
        return
    for line in _targets(facts["targets"]):
        click.echo(line)
    result = facts["result"]
    click.echo(f"The result has {result['rows']:,} rows, {size(result['bytes'])} in memory:\n")
    click.echo(f"  {facts['command']}")


def _new(first: str, **columns: Any) -> Table:
    """Return a table without lines; `columns` are their names and justification."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold")
    for name, justify in columns.items():
        table.add_column(name, justify=justify, overflow="fold")
    return table


def _matrices(facts: Facts) -> Table:
    columns = {"layout": "left", "dtype": "left", "stored": "right", "storage": "left"}
    table = _new("matrix", **columns, disk="right", memory="right", values="left")
    for matrix in facts["matrices"]:
        if "shape" not in matrix:
            table.add_row(matrix["name"], f"{matrix['layout']}: not read by pdex")
            continue
        cells = matrix["shape"][0] * matrix["shape"][1]
        part = f" ({matrix['stored'] / cells:.0%})" if cells and matrix["layout"] != "dense" else ""
        genes = matrix["shape"][1]
        more = f" ({genes:,} genes)" if genes != facts["n_genes"] else ""
        table.add_row(
            f"{matrix['name']}{more}",
            matrix["layout"],
            matrix["dtype"],
            f"{matrix['stored']:,}{part}",
            "+".join(matrix["filters"]) or "plain",
            size(matrix["bytes"]),
            size(matrix["memory"]),
            _values(matrix["values"]),
        )
    return table


def _values(values: Facts | None) -> str:
    if values is None:
        return "-"
    return f"{_KINDS[values['kind']]}: {values['least']:.4g} to {values['most']:.4g}"


def _columns(columns: list[Facts], n_cells: int) -> Table:
    table = _new("obs", kind="left", distinct="right", missing="right", controls="left")
    for column in columns:
        missing = f"{column['missing'] / max(1, n_cells):.1%}" if column["missing"] else ""
        table.add_row(
            column["name"],
            column["kind"],
            f"{column['distinct']:,}",
            missing,
            ", ".join(column["controls"]),
        )
    return table


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
