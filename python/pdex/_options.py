"""The tests' options: their names, defaults and valid values, stated once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict, get_args

import numpy as np

Alternative = Literal["two-sided", "less", "greater"]
Method = Literal["asymptotic", "exact", "auto"]
PValue = Literal["asymptotic", "scipy"]
Test = Literal["wilcoxon", "anderson", "ttest", "ks"]
Mean = Literal["arithmetic", "geometric"]
Scope = Literal["target", "all"]
Zeros = Literal["counted", "rows"]


class Options(TypedDict, total=False):
    """The tests' own options in a call of the whole job; each belongs to one test."""

    method: Method
    continuity: bool
    tie_correct: bool
    midrank: bool
    p_value: PValue
    equal_var: bool
    overestim_var: bool


DEFAULTS: dict[str, dict[str, Any]] = {
    "wilcoxon": {
        "alternative": "two-sided",
        "method": "asymptotic",
        "continuity": True,
        "tie_correct": True,
    },
    "anderson": {"midrank": True, "p_value": "asymptotic"},
    "ttest": {"alternative": "two-sided", "equal_var": True, "overestim_var": False},
    "ks": {"alternative": "two-sided", "method": "auto"},
}

_WORDS: dict[str, tuple[str, ...]] = {
    "alternative": get_args(Alternative),
    "method": get_args(Method),
    "p_value": get_args(PValue),
}


def choose(name: str, got: object, valid: tuple[str, ...]) -> None:
    """Raise ValueError unless `got` is one of the `valid` words of option `name`."""
    if not isinstance(got, str) or got not in valid:
        msg = f"{name}={got!r} is not known: use one of {', '.join(map(repr, valid))}"
        raise ValueError(msg)


def check_options(options: dict[str, Any]) -> None:
    """Raise ValueError for a word that is not valid, TypeError for a flag that is no bool.

    Flags of NumPy become Python's.
    """
    for name, value in options.items():
        if name in _WORDS:
            choose(name, value, _WORDS[name])
        else:
            options[name] = flag(name, value)


def flag(name: str, value: object) -> bool:
    """Return `value` as a bool; TypeError where it is none."""
    if not isinstance(value, (bool, np.bool_)):
        msg = f"{name}={value!r}: expected True or False"
        raise TypeError(msg)
    return bool(value)


def complete(test: str, options: Mapping[str, object], alternative: str) -> dict[str, Any]:
    """Return the options of `test` with defaults filled in; an unknown one is a TypeError."""
    choose("test", test, tuple(DEFAULTS))
    choose("alternative", alternative, _WORDS["alternative"])
    defaults = DEFAULTS[test]
    for name in options:
        if name not in defaults:
            msg = f"{test} has no option {name!r}: it has {', '.join(map(repr, defaults))}"
            raise TypeError(msg)
    full = {**defaults, **options}
    if "alternative" in defaults:
        full["alternative"] = alternative
    elif alternative != "two-sided":
        msg = f"alternative={alternative!r}: {test} sees any difference, and is two-sided only"
        raise ValueError(msg)
    check_options(full)
    if full.get("equal_var") and full.get("overestim_var"):
        msg = "overestim_var=True is a version of Welch's test: it needs equal_var=False"
        raise ValueError(msg)
    return full


def check_stratified(test: str, options: dict[str, Any]) -> None:
    """Raise ValueError unless a test with these options can be taken within strata."""
    if test != "wilcoxon":
        msg = f"strata: {test} has none; use test='wilcoxon', or leave strata out"
        raise ValueError(msg)
    if options["method"] != "asymptotic":
        msg = (
            f"method={options['method']!r} is not computed within strata: use 'asymptotic', or "
            "leave strata out"
        )
        raise ValueError(msg)
