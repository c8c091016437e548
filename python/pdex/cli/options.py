"""The options that commands share: data, tests and resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import rich_click as click

from pdex._validate import (
    DEFAULTS,
    OPTIONS,
    Alternative,
    AnyMethod,
    Join,
    check_stratified,
    options_of,
)
from pdex.cli import completion
from pdex.cli.base import PLACE, Choice, Condition, Memory, Names, Total, option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import TypeAlias

    Screen: TypeAlias = Path | list[Path]
    Options: TypeAlias = tuple[Callable[[Any], Any], ...]

#: The headings of the options that choose what is compared, or counted.
DATA, COUNTED = "What is compared", "What is counted"
_PANEL = "The test"


def _of_screen(panel: str) -> Options:
    """Return the options that choose cells, genes and the matrix of a screen."""
    return (
        option(
            "--where",
            type=Condition(),
            metavar="SQL",
            panel=panel,
            help="Use only the cells for which this holds: SQL over the columns of obs, such as "
            "\"cell_line = 'K562'\".",
        ),
        option(
            "--genes",
            type=Names(),
            multiple=True,
            metavar="NAMES",
            panel=panel,
            help="Only these genes: names separated by commas, or @FILE with one name per line.",
        ),
        option(
            "--layer",
            metavar="NAME",
            panel=panel,
            shell_complete=completion.layers,
            help="Layer to read instead of X.",
        ),
        option(
            "--gene-names",
            metavar="COLUMN",
            panel=panel,
            help="Column of var that names the genes, such as symbols beside Ensembl identifiers.",
        ),
        option(
            "--normalize",
            type=Total(),
            metavar="TOTAL",
            panel=panel,
            help="Scale the counts of each cell to this total, such as 1e4, or to the 'median' of "
            "the totals, and test log(1 + x).",
        ),
        option(
            "--log1p/--no-log1p",
            default=None,
            panel=panel,
            help="With --normalize: test log(1 + x) of the scaled counts (default), or leave the "
            "logarithm out.",
        ),
        option(
            "--use-raw", is_flag=True, panel=panel, help="Read raw/X, with its genes, instead of X."
        ),
        option(
            "--join",
            type=Choice(get_args(Join)),
            panel=panel,
            help="Many files: 'inner' uses the genes that all have (default: all must have the "
            "same genes).",
        ),
    )


_OF_DATA = (
    option(
        "--strata",
        metavar="COLUMN",
        panel=DATA,
        shell_complete=completion.columns,
        help="wilcoxon: compare cells within the batches or replicates of this column of obs (van "
        "Elteren's test).",
    ),
    *_of_screen(DATA),
    option(
        "--is-log1p/--counts",
        default=None,
        panel=DATA,
        help="Whether values are log1p-transformed or counts (default: guess from the values). "
        "Means and fold changes depend on it.",
    ),
)

_OF_WORK = (
    option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        help="Number of threads (default: all cores). It does not affect the result.",
    ),
    option(
        "--memory-limit",
        type=Memory(),
        metavar="SIZE",
        help="Memory to use beyond the result, such as 800MB or 2GB (default: 1GB).",
    ),
    option(
        "--progress/--no-progress",
        default=None,
        help="Show a progress bar on stderr (default: on a terminal).",
    ),
)

_OF_TESTS = (
    option(
        "-t",
        "--test",
        type=Choice(DEFAULTS),
        default="wilcoxon",
        show_default=True,
        panel=_PANEL,
        help="Rank-sum, Anderson-Darling, t-test or Kolmogorov-Smirnov.",
    ),
    option(
        "--alternative",
        type=Choice(get_args(Alternative)),
        default="two-sided",
        show_default=True,
        panel=_PANEL,
        help="'less': the target's values are smaller (for ks, as in SciPy, greater). Not for "
        "anderson.",
    ),
    option(
        "--method",
        type=Choice(get_args(AnyMethod)),
        panel=_PANEL,
        help="How p-values are computed: auto, exact, conditional or asymptotic for wilcoxon; "
        "auto, exact or asymptotic for ks; auto, asymptotic or scipy for anderson; student or "
        "permutation for ttest (default: auto; for ttest student).",
    ),
    option(
        "--continuity/--no-continuity",
        default=None,
        panel=_PANEL,
        help="wilcoxon: apply the continuity correction (default: on).",
    ),
    option(
        "--tie-correct/--no-tie-correct",
        default=None,
        panel=_PANEL,
        help="wilcoxon: correct the variance for ties (default: on).",
    ),
    option(
        "--midrank/--no-midrank",
        default=None,
        panel=_PANEL,
        help="anderson: use the midrank version (default: on), or the right-continuous one.",
    ),
    option(
        "--equal-var/--no-equal-var",
        default=None,
        panel=_PANEL,
        help="ttest: Student's test (default: on), or Welch's.",
    ),
    option(
        "--overestim-var/--no-overestim-var",
        default=None,
        panel=_PANEL,
        help="ttest --no-equal-var: scanpy's overestimated variance.",
    ),
)


def _one_or_many(_: click.Context, __: click.Parameter, paths: tuple[Path, ...]) -> Screen:
    """Return one path as it is, which may be a pattern, and several as a list."""
    return paths[0] if len(paths) == 1 else list(paths)


#: The file, or the files, of a screen.
screen_argument: Callable[[Any], Any] = click.argument(
    "path", metavar="DATA...", type=PLACE, nargs=-1, required=True, callback=_one_or_many
)


def _all_of(options: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Return a decorator that adds options to a command, in the order of the help."""

    def add(command: Any) -> Any:
        for one in reversed(options):
            command = one(command)
        return command

    return add


options_of_tables: Callable[[Any], Any] = _all_of(_of_screen(COUNTED))
options_of_data: Callable[[Any], Any] = _all_of(_OF_DATA)
options_of_tests: Callable[[Any], Any] = _all_of(_OF_TESTS)
options_of_work: Callable[[Any], Any] = _all_of(_OF_WORK)


def given_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given; names from repeated options are joined into one list."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("groups", "exclude", "genes"):
        names = [one for some in given.pop(name, ()) for one in some]
        if names:
            given[name] = names
    return given


def arguments_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a test; raise UsageError for options that are incompatible."""
    given = given_of(options)
    given["reference"] = _references(given["reference"])
    test = given["test"]
    own = {name: value for name, value in given.items() if name in OPTIONS}
    for name in own:
        if name not in DEFAULTS[test] and name != "alternative":
            valid = ", ".join(map(_flag, DEFAULTS[test]))
            msg = f"--test {test} has no option {_flag(name)}. Its options: {valid}"
            raise click.UsageError(msg, click.get_current_context())
    if own.get("overestim_var") and own.get("equal_var", True):
        msg = "--overestim-var needs --no-equal-var: it is a version of Welch's test"
        raise click.UsageError(msg, click.get_current_context())
    try:
        full = options_of(test, own)
        if "strata" in given:
            check_stratified(test, full)
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
    return given


def _references(labels: Sequence[str]) -> str | list[str]:
    """Return a single label as a string, because it may be 'rest', and several as a list."""
    return labels[0] if len(labels) == 1 else list(labels)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
