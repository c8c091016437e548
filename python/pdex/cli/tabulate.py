"""``pdex tabulate``: count a screen once, to test it often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

import pdex
from pdex._text import counted, size
from pdex.cli import completion
from pdex.cli.base import PLACE, Command, Part, note, option
from pdex.cli.options import (
    COUNTED,
    given_of,
    options_of_tables,
    options_of_work,
    screen_argument,
)
from pdex.exceptions import NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from pdex.cli.options import Screen

EXAMPLES = """
pdex tabulate screen.h5ad --groupby target -o screen.tables
pdex tabulate screen.h5ad -g target -g guide -g batch -o screen.tables
pdex tabulate 'plates/*.h5ad' -g target -o screen.tables
pdex tabulate screen.h5ad -g target --where "cell_line = 'K562'" -o k562.tables
pdex tabulate screen.h5ad -g target -g guide --single-cells non-targeting -o screen.tables
pdex tabulate screen.tables -g target -o targets.tables   # merges the groups of other columns
pdex tabulate large.h5ad -g target --part 3/400 -o tables/3.tables   # one job of an array
pdex de screen.tables --groupby target --strata batch -o de.parquet
"""


@click.command(
    "tabulate", cls=Command, examples=EXAMPLES, short_help="Count a screen once, to test it often."
)
@screen_argument
@option(
    "-g",
    "--groupby",
    required=True,
    multiple=True,
    metavar="COLUMN",
    panel=COUNTED,
    shell_complete=completion.columns,
    help="Column of obs with labels of cells, such as targets; repeat -g for guides, batches, "
    "replicates. Groups cannot be split later: name all columns that you may want.",
)
@options_of_tables
@option(
    "--single-cells",
    multiple=True,
    metavar="LABEL",
    panel=COUNTED,
    shell_complete=completion.labels,
    help="Label of the first column whose cells become groups of their own: the controls, if 'pdex "
    "calibrate' is to use the tables. Repeat it for several.",
)
@option(
    "--part",
    type=Part(),
    metavar="I/N",
    panel=COUNTED,
    help="Count the I-th of N ranges of the cells, for example 3/400 in the third job of an array; "
    "each job writes a folder of its own, and all of them are the screen.",
)
@option(
    "-o",
    "--output",
    type=PLACE,
    required=True,
    metavar="FOLDER",
    panel="The result",
    help="Folder to write, or its URL in object storage; it appears when it is complete. Older "
    "tables there are replaced.",
)
@options_of_work
def tabulate(path: Screen, output: Path | str, **options: Any) -> None:
    """Count how many cells of each group have each value of a gene.

    DATA is an .h5ad file, a .zarr store (a folder or a URL), or many files, or a quoted pattern
    such as 'plates/*.h5ad', as one screen, which is read once; or count tables. All tests can be
    computed from the tables, with the same numbers: 'pdex de', 'pdex info' and, with
    --single-cells, 'pdex calibrate' accept them in place of the screen.
    """
    given = given_of(options)
    groupby, single = list(given.pop("groupby")), list(given.pop("single_cells"))
    given["single_cells"] = single or None
    try:
        tables = pdex.tabulate(path, groupby, output=output, **given)
    except NotFoundError as error:
        several = next((column for column in groupby if "," in column), None)
        if several is None:
            raise
        words = " ".join(f"-g {name.strip()}" for name in several.split(","))
        msg = f"{str(error).removesuffix('.')}. Repeat -g for several columns: {words}"
        raise NotFoundError(msg) from error
    note(f"pdex: wrote {output}: {_told(pdex.info(tables))}")


def _told(found: pdex.Info) -> str:
    """Return a sentence about what was written."""
    tables = found.tables or {}
    return (
        f"{counted(found.n_cells, 'cell')} in {counted(tables['n_groups'], 'group')}, "
        f"{counted(found.n_genes, 'gene')}, {counted(tables['n_rows'], 'row')}, "
        f"{size(found.bytes or 0)} on disk ({size(tables['bytes_per_cell'])} per cell)"
    )
