"""``pdex calibrate``: controls against controls, where nothing should be found."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

import pdex
from pdex.cli import completion
from pdex.cli.base import Command, Memory, check_result, check_screen, note, option, size
from pdex.cli.de import references
from pdex.options import DEFAULTS, Alternative
from pdex.output import save

EXAMPLES = """
pdex calibrate screen.h5ad --groupby target
pdex calibrate screen.h5ad -g target --by guide -o controls.parquet
pdex report de.parquet --calibration controls.parquet
"""


@click.command(
    "calibrate", cls=Command, examples=EXAMPLES, short_help="Test controls against controls."
)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@option(
    "-g",
    "--groupby",
    required=True,
    metavar="COLUMN",
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
    shell_complete=completion.labels,
    help="The control group, or several, each after its own -r.",
)
@option(
    "--by",
    metavar="COLUMN",
    shell_complete=completion.columns,
    help="Column of obs with the guide of each control cell; random splits where not given.",
)
@option(
    "-t",
    "--test",
    type=click.Choice(list(DEFAULTS)),
    default="wilcoxon",
    show_default=True,
    help="Rank-sum, Anderson-Darling or t-test.",
)
@option(
    "--alternative",
    type=click.Choice(get_args(Alternative)),
    default="two-sided",
    show_default=True,
    help="'less': the target's values are smaller. Not for anderson.",
)
@option("--n-splits", type=click.IntRange(min=2), metavar="N", help="How many splits; 20.")
@option("--seed", type=click.IntRange(min=0), metavar="N", help="Of the random splits; 0.")
@option("--layer", metavar="NAME", shell_complete=completion.layers, help="Instead of X.")
@option("--use-raw", is_flag=True, help="Read raw/X with its genes instead.")
@option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write the p-values that are judged, as 'pdex report --calibration' takes them.",
)
@option("--threads", type=click.IntRange(min=1), metavar="N", help="How many threads work.")
@option("--memory-limit", type=Memory(), metavar="SIZE", help="Such as 800MB or 2GB.")
@option("--progress/--no-progress", default=None, help="Show a bar on stderr.")
def calibrate(path: Path, output: Path | None, **options: Any) -> None:
    """Test control guides, or random splits of the control cells, against the other controls.

    Prints the fractions of small p-values with their limits, and a verdict.
    """
    given = {name: value for name, value in options.items() if value is not None}
    given["reference"] = references(given["reference"])
    if output is not None:
        check_result(output)
    check_screen(path)
    found = pdex.calibrate(path, **given)
    click.echo(repr(found))
    if output is not None:
        save(found.judged_rows(), output)
        note(f"pdex: wrote {output}: {size(output.stat().st_size)}")
