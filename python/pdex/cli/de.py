"""``pdex de``: the whole analysis, from a screen to a file or to stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import rich_click as click

import pdex
from pdex._places import place_of, size_of
from pdex._text import size
from pdex.cli import completion
from pdex.cli.base import (
    CUT_OFF,
    PLACE,
    Choice,
    Command,
    Names,
    Number,
    Part,
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
from pdex.cli.show import FORMATS, show

if TYPE_CHECKING:
    from pathlib import Path

    from pdex.cli.options import Screen

EXAMPLES = """
pdex de screen.h5ad --groupby target --reference non-targeting -o de.parquet
pdex de screen.h5ad -g target                     # the first hits, as a table
pdex de screen.h5ad -g target | gzip > de.csv.gz  # all rows, as CSV
pdex de screen.h5ad -g target --test ttest --no-equal-var --groups STAT1,STAT2 -o de.csv
pdex de screen.h5ad -g cluster --reference rest --genes @genes.txt --head 50
pdex de screen.h5ad -g target --strata bio_rep -o de.parquet   # within replicates
pdex de screen.h5ad -g target --where "cell_line = 'K562'" -o k562.parquet
pdex de screen.tables -g target -o de.parquet     # count tables: see pdex tabulate --help
pdex de 'plates/*.h5ad' -g target -o de.parquet    # many files as one screen
pdex de large.h5ad -g target --memory-limit 2GB --threads 8 -o de.parquet
pdex de screen.tables -g target --part 3/64 -o shares   # one job of an array: see pdex collect
"""

_RESULT = "The result"


@click.command("de", cls=Command, examples=EXAMPLES, short_help="Test every gene of every target.")
@screen_argument
@option(
    "-g",
    "--groupby",
    required=True,
    metavar="COLUMN",
    panel=DATA,
    shell_complete=completion.columns,
    help="Column of obs with each cell's group; 'pdex info DATA' lists them.",
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
    help="The group that all others are compared with; repeat -r for several groups, whose cells "
    "are pooled. 'rest' compares each group with all other cells.",
)
@option(
    "--groups",
    type=Names(),
    multiple=True,
    metavar="NAMES",
    panel=DATA,
    shell_complete=completion.label_lists,
    help="Test only these groups: names separated by commas, or @FILE with one name per line.",
)
@option(
    "--exclude",
    type=Names(),
    multiple=True,
    metavar="NAMES",
    panel=DATA,
    shell_complete=completion.label_lists,
    help="Groups to leave out, both as targets and from the rest.",
)
@option(
    "--min-cells",
    type=click.IntRange(min=1),
    metavar="N",
    panel=DATA,
    help="Skip targets with fewer cells than this. Their cells still count in the rest.",
)
@options_of_data
@options_of_tests
@option(
    "--auroc",
    is_flag=True,
    panel=_RESULT,
    help="Add a column auroc to the result of anderson, ttest or ks; wilcoxon always has it.",
)
@option(
    "--mean",
    type=Choice(["arithmetic", "geometric"]),
    default="arithmetic",
    show_default=True,
    panel=_RESULT,
    help="How group means are computed.",
)
@option(
    "--pseudocount",
    type=Number(min=0),
    metavar="X",
    default=1e-9,
    show_default=True,
    panel=_RESULT,
    help="Added to both means in the log2 fold change.",
)
@option(
    "--fdr",
    type=Choice(["target", "all"], number=CUT_OFF),
    default="target",
    show_default=True,
    panel=_RESULT,
    help="Adjust p-values over the genes of each target, or over everything.",
)
@option(
    "-o",
    "--output",
    type=PLACE,
    panel=_RESULT,
    help="File to write: .parquet, .ipc, .arrow, .feather, .csv or .tsv. It may be larger than "
    "memory.",
)
@option(
    "--part",
    type=Part(),
    metavar="I/N",
    panel=_RESULT,
    help="Test the I-th of N shares of the genes, for example 3/64 in the third job of an array; "
    "--output names a folder for all shares, which 'pdex collect' puts together.",
)
@option(
    "--head",
    type=click.IntRange(min=1),
    metavar="N",
    panel=_RESULT,
    help="Print the N rows with the smallest p-values.",
)
@option(
    "--format",
    "form",
    type=Choice(FORMATS),
    panel=_RESULT,
    help="How rows are printed (default: a table on a terminal, CSV elsewhere).",
)
@options_of_work
def de(
    path: Screen,
    output: Path | str | None,
    part: tuple[int, int] | None,
    head: int | None,
    form: str | None,
    **options: Any,
) -> None:
    """Test every gene of every target against the reference.

    DATA is a screen: an .h5ad file, a .zarr store (a folder or a URL), or the folder of count
    tables that 'pdex tabulate' wrote; or many files that are one screen, or a quoted pattern such
    as 'plates/*.h5ad'.

    Without --output, a terminal shows a table of the smallest p-values. If stdout is a pipe or a
    file, all rows are written as CSV.
    """
    given = arguments_of(options)
    if part is not None:
        _share(path, output, part, head is not None or form is not None, given)
        return
    if output is None:
        table = pdex.de(path, **given)
        show(table.lazy(), table.height, head, form)
        return
    if form is not None and head is None:
        msg = "--format applies to printed rows; with --output, give --head as well"
        raise click.UsageError(msg, click.get_current_context())
    check_result(output, streams=True)
    lazy = pdex.sink_de(path, given.pop("groupby"), output, **given)
    if head is not None:
        show(lazy, lazy.select(pl.len()).collect().item(), head, form)
    note(str(pdex.describe(lazy)))
    note(f"pdex: wrote {output}: {size(size_of(place_of(output)))}")


def _share(
    path: Screen,
    output: Path | str | None,
    part: tuple[int, int],
    shown: bool,
    given: dict[str, Any],
) -> None:
    """Write a share of the result."""
    if output is None:
        msg = "--part writes a share of the result: name a folder with --output"
        raise click.UsageError(msg, click.get_current_context())
    if shown:
        msg = "--part writes a share of the result: --head and --format print rows of a whole one"
        raise click.UsageError(msg, click.get_current_context())
    pdex.sink_de(path, given.pop("groupby"), output, part=part, **given)
    number, n = part
    note(f"pdex: wrote share {number} of {n} to {output}")
