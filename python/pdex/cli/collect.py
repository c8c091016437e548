"""``pdex collect``: shares of a result, written by the jobs of an array, to one file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

import pdex
from pdex._places import place_of, size_of
from pdex._text import size
from pdex.cli.base import PLACE, Command, check_result, note, option
from pdex.cli.options import options_of_work

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = """
pdex de screen.tables -g target --part 1/2 -o shares
pdex de screen.tables -g target --part 2/2 -o shares
pdex collect shares -o de.parquet
"""


@click.command(
    "collect", cls=Command, examples=EXAMPLES, short_help="Put shares of a result together."
)
@click.argument("shares", type=PLACE, metavar="FOLDER")
@option(
    "-o",
    "--output",
    type=PLACE,
    required=True,
    panel="The result",
    help="File to write: .parquet, .ipc, .arrow, .feather, .csv or .tsv.",
)
@options_of_work
def collect(shares: Path | str, output: Path | str, **options: Any) -> None:
    """Put the shares of a result together that 'pdex de --part' wrote to a folder, or to a URL.

    The result is that of one run of 'pdex de', bit for bit. All shares must be there, of the same
    data and options.
    """
    check_result(output)
    lazy = pdex.collect(shares, output, **options)
    note(str(pdex.describe(lazy)))
    note(f"pdex: wrote {output}: {size(size_of(place_of(output)))}")
