"""``pdex report``: write a result as an HTML page that works offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

import pdex
from pdex._plotting import files
from pdex._plotting.report import check_page
from pdex._text import size
from pdex.cli.base import FILE, Command, Number, note, option

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = """
pdex report de.parquet -o report.html
pdex report de.csv -o report.html --title "My screen" --fdr 0.01 --min-abs-lfc 1
pdex report de.parquet --calibration controls.parquet
"""


@click.command("report", cls=Command, examples=EXAMPLES, short_help="Write a result as a page.")
@click.argument("result", metavar="RESULT", type=FILE)
@option(
    "-o",
    "--output",
    type=FILE,
    help="Page to write (default: the name of RESULT with .html).",
)
@option("--title", help="Heading of the page.")
@option(
    "--calibration",
    type=FILE,
    metavar="RESULT",
    help="Result of null comparisons, such as controls against controls, to show as well.",
)
@option(
    "--fdr",
    type=Number(0, 1),
    metavar="X",
    default=0.05,
    show_default=True,
    help="A hit is below this false discovery rate.",
)
@option(
    "--min-abs-lfc",
    type=Number(min=0),
    metavar="X",
    default=0.0,
    show_default=True,
    help="A hit has at least this absolute log2 fold change.",
)
def report(
    result: Path,
    output: Path | None,
    title: str | None,
    calibration: Path | None,
    fdr: float,
    min_abs_lfc: float,
) -> None:
    """Write RESULT, which 'pdex de' wrote, as an HTML page that works offline.

    The page has a table of targets to sort and filter, and the volcano plot and top genes of each
    target.
    """
    if output is None:
        output = files.without_gz(result).with_suffix(".html")
    try:
        check_page(output)
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
    page = pdex.report(
        result,
        output,
        title=title,
        calibration=calibration,
        fdr=fdr,
        min_abs_lfc=min_abs_lfc,
    )
    note(f"pdex: wrote {page}: {size(page.stat().st_size)}")
