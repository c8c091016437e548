"""``pdex calibrate``: test controls against controls, where nothing should be found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

import pdex
from pdex._description import VERDICT
from pdex._output import save
from pdex._text import size
from pdex.cli import completion
from pdex.cli.base import (
    FILE,
    Command,
    Number,
    check_result,
    note,
    option,
)
from pdex.cli.options import (
    DATA,
    arguments_of,
    options_of_data,
    options_of_tests,
    options_of_work,
    screen_argument,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pdex.cli.options import Screen

EXAMPLES = """
pdex calibrate screen.h5ad --groupby target
pdex calibrate screen.h5ad -g target --by guide -o controls.parquet
pdex report de.parquet --calibration controls.parquet
"""

_RESULT = "The result"


@click.command(
    "calibrate", cls=Command, examples=EXAMPLES, short_help="Test controls against controls."
)
@screen_argument
@option(
    "-g",
    "--groupby",
    required=True,
    metavar="COLUMN",
    panel=DATA,
    shell_complete=completion.columns,
    help="Column of obs with each cell's group.",
)
@option(
    "-r",
    "--reference",
    default=["non-targeting"],
    show_default=True,
    multiple=True,
    metavar="LABEL",
    panel=DATA,
    shell_complete=completion.labels,
    help="The control group; repeat -r for several groups, whose cells are pooled.",
)
@option(
    "--by",
    metavar="COLUMN",
    panel=DATA,
    shell_complete=completion.columns,
    help="Column of obs with the guide of each control cell (default: use random splits).",
)
@option(
    "--min-cells",
    type=click.IntRange(min=1),
    metavar="N",
    default=10,
    show_default=True,
    panel=DATA,
    help="Skip guides with fewer cells, and do not use such groups for the size of splits.",
)
@options_of_data
@options_of_tests
@option(
    "--n-splits",
    type=click.IntRange(min=2),
    metavar="N",
    default=20,
    show_default=True,
    panel=_RESULT,
    help="Number of splits, or of permutations of the guides.",
)
@option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    show_default=True,
    panel=_RESULT,
    help="Seed of the random splits or permutations.",
)
@option(
    "--min-expected",
    type=Number(min=0),
    metavar="X",
    default=5.0,
    show_default=True,
    panel=_RESULT,
    help="Judge a gene only if this many non-zero cells are expected in the target.",
)
@option(
    "-o",
    "--output",
    type=FILE,
    panel=_RESULT,
    help="Write the judged p-values, for 'pdex report --calibration'.",
)
@options_of_work
def calibrate(path: Screen, output: Path | None, **options: Any) -> None:
    """Test control guides, or random splits of the control cells, against the other controls.

    DATA is a screen: an .h5ad file, a .zarr store (a folder or a URL), many of these as one, or
    count tables that 'pdex tabulate --single-cells' wrote.

    Prints the fractions of small p-values, the limits of these fractions, and a verdict.
    """
    given = arguments_of(options)
    if output is not None:
        check_result(output)
    found = pdex.calibrate(path, **given)
    click.echo(repr(found))
    if output is not None:
        save(found.judged_rows(), output, {VERDICT: found.verdict})
        note(f"pdex: wrote {output}: {size(output.stat().st_size)}")
