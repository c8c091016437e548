"""The options of the tests, which ``pdex de`` and ``pdex calibrate`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from pdex.cli.base import option
from pdex.options import DEFAULTS, Alternative, Method, PValue, check_stratified, complete

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PANEL = "The test"

_OPTIONS = (
    option(
        "-t",
        "--test",
        type=click.Choice(list(DEFAULTS)),
        default="wilcoxon",
        show_default=True,
        panel=_PANEL,
        help="Rank-sum, Anderson-Darling or t-test.",
    ),
    option(
        "--alternative",
        type=click.Choice(get_args(Alternative)),
        default="two-sided",
        show_default=True,
        panel=_PANEL,
        help="'less': the target's values are smaller. Not for anderson.",
    ),
    option(
        "--method",
        type=click.Choice(get_args(Method)),
        panel=_PANEL,
        help="wilcoxon: how p-values are found; asymptotic where not given.",
    ),
    option(
        "--continuity/--no-continuity",
        default=None,
        panel=_PANEL,
        help="wilcoxon: correct for continuity, as it does where not told.",
    ),
    option(
        "--tie-correct/--no-tie-correct",
        default=None,
        panel=_PANEL,
        help="wilcoxon: correct the variance for ties, as it does where not told.",
    ),
    option(
        "--midrank/--no-midrank",
        default=None,
        panel=_PANEL,
        help="anderson: the midrank version, as where not told, or the right-continuous one.",
    ),
    option(
        "--p-value",
        type=click.Choice(get_args(PValue)),
        panel=_PANEL,
        help="anderson: accurate (asymptotic) or capped as SciPy's; asymptotic where not given.",
    ),
    option(
        "--equal-var/--no-equal-var",
        default=None,
        panel=_PANEL,
        help="ttest: Student's, as where not told, or Welch's.",
    ),
    option(
        "--overestim-var/--no-overestim-var",
        default=None,
        panel=_PANEL,
        help="ttest --no-equal-var: scanpy's overestimated variance.",
    ),
)


def options_of_tests(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of all tests to a command, in the order of its help."""
    for add in reversed(_OPTIONS):
        command = add(command)
    return command


def given_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that were given; a UsageError for what does not go together.

    Names that were given in several options are one list.
    """
    given = {name: value for name, value in options.items() if value is not None}
    given["reference"] = _references(given["reference"])
    for name in ("groups", "exclude", "genes"):
        names = [one for some in given.pop(name, ()) for one in some]
        if names:
            given[name] = names
    test = given["test"]
    every = {name for own in DEFAULTS.values() for name in own}
    own = {name: given[name] for name in given if name in every and name != "alternative"}
    for name in own:
        if name not in DEFAULTS[test]:
            valid = ", ".join(map(_flag, DEFAULTS[test]))
            msg = f"{_flag(name)} is no option of --test {test}, which has {valid}"
            raise click.UsageError(msg, click.get_current_context())
    if own.get("overestim_var") and own.get("equal_var", True):
        msg = "--overestim-var is a version of Welch's test: it needs --no-equal-var"
        raise click.UsageError(msg, click.get_current_context())
    try:
        completed = complete(test, own, given["alternative"])
        if "strata" in given:
            check_stratified(test, completed)
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
    return given


def _references(labels: Sequence[str]) -> str | list[str]:
    """Return one label as such: that may be 'rest'."""
    return labels[0] if len(labels) == 1 else list(labels)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
