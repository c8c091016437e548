"""The names, defaults and valid values of options, defined once, and helpful errors."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

Alternative = Literal["two-sided", "less", "greater"]
Method = Literal["auto", "exact", "conditional", "asymptotic"]
AndersonMethod = Literal["auto", "asymptotic", "scipy"]
TTestMethod = Literal["student", "permutation"]
ScipyMethod = Literal["auto", "exact", "asymptotic"]
AnyMethod = Literal["auto", "exact", "conditional", "asymptotic", "scipy", "student", "permutation"]
Test = Literal["wilcoxon", "anderson", "ttest", "ks"]
Mean = Literal["arithmetic", "geometric"]
#: The total to which the counts of a cell are scaled.
Normalize = float | Literal["median"]
Scope = Literal["target", "all"]
Fold = Literal["values", "zeros"]
Join = Literal["inner"]
Engine = Literal["dask"]

#: The options of each test, with their defaults.
DEFAULTS: dict[str, dict[str, Any]] = {
    "wilcoxon": {
        "alternative": "two-sided",
        "method": "auto",
        "continuity": True,
        "tie_correct": True,
    },
    "anderson": {"midrank": True, "method": "auto"},
    "ttest": {
        "alternative": "two-sided",
        "method": "student",
        "equal_var": True,
        "overestim_var": False,
    },
    "ks": {"alternative": "two-sided", "method": "auto"},
}

#: The same options in a call that accepts any test; None is the default of the test.
OPTIONS: dict[str, Any] = {
    "alternative": "two-sided",
    "method": None,
    "continuity": True,
    "tie_correct": True,
    "midrank": True,
    "equal_var": True,
    "overestim_var": False,
}

_METHODS: dict[str, tuple[str, ...]] = {
    "wilcoxon": get_args(Method),
    "anderson": get_args(AndersonMethod),
    "ttest": get_args(TTestMethod),
    "ks": get_args(ScipyMethod),
}

#: Parameter names of other packages, and ours, some with the value that means the same.
_SYNONYMS = {
    **dict.fromkeys(("n_jobs", "num_workers", "num_threads", "n_threads", "n_cpus"), "threads"),
    **dict.fromkeys(("groupby_key", "group_by", "group_keys", "key", "perturbation"), "groupby"),
    **dict.fromkeys(("adata", "path", "filename"), "data"),
    **dict.fromkeys(("batch", "batch_key"), "strata"),
    "control": "reference",
    "mode": "reference='rest'",
    "metric": "test",
    "epsilon": "pseudocount",
    "geometric_mean": "mean='geometric'",
    "p_value": "method",
    "use_continuity": "continuity",
    "show_progress": "progress",
    "zeros": "fold",
}
_SCANPY = "pdex.tl.rank_genes_groups has it"
#: What to do where a result of :func:`pdex.de` has no such parameter.
_ADVICE = {
    "corr_method": "fdr is Benjamini-Hochberg; other corrections: pdex.tl.rank_genes_groups",
    "n_genes": "Sort the result, and take its head",
    "min_pct": "Filter the result by target_fraction",
    "alpha": "Filter the result by fdr",
    **dict.fromkeys(("min_abs_lfc", "min_lfc", "lfc"), "Filter the result by log2_fold_change"),
    **dict.fromkeys(("key_added", "pts", "mask_var"), _SCANPY),
}
#: Names of tests elsewhere, and the options here.
_TESTS = {
    **dict.fromkeys(("t", "t-test", "student"), "test='ttest'"),
    "welch": "test='ttest', equal_var=False",
    "t-test_overestim_var": "test='ttest', equal_var=False, overestim_var=True",
    **dict.fromkeys(("mannwhitneyu", "ranksum", "ranksums"), "test='wilcoxon'"),
    "ad": "test='anderson'",
}

_Function = TypeVar("_Function", bound="Callable[..., Any]")


def suggesting(function: _Function) -> _Function:
    """Make a function's error for an unknown parameter suggest the intended parameter."""
    parameters = list(inspect.signature(function).parameters)

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs:
            if name not in parameters:
                msg = f"{function.__name__}() has no parameter {name!r}{_hint(name, parameters)}"
                raise TypeError(msg)
        return function(*args, **kwargs)

    return cast(_Function, checked)


def _hint(name: str, parameters: list[str]) -> str:
    """Return a suggestion of what to write instead of an unknown parameter."""
    if name == "output":
        return ". Use pdex.sink_de(data, groupby, path) to write a result to a file"
    meant = _SYNONYMS.get(name, "")
    parameter, *value = meant.split("=")
    if parameter in parameters:
        return f". Use {meant if value else repr(meant)}"
    if name in _ADVICE and "fdr" in parameters:
        return f". {_ADVICE[name]}"
    return did_you_mean(name, parameters) or f". Parameters: {', '.join(parameters)}"


def closest(word: str, words: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the most similar word, regardless of case, or None if none is similar."""
    by_lower = {w.lower(): w for w in words}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None


def did_you_mean(word: object, words: Iterable[str]) -> str:
    """Return a question that suggests the most similar word; empty if none is similar."""
    close = closest(str(word), words)
    return f". Did you mean {close!r}?" if close else ""


_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_size(text: str) -> int | None:
    """Return the number of bytes of a size such as 800MB or 1.5GiB; None for any other text."""
    form = r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?"
    match = re.fullmatch(form, text.strip().upper())
    if match is None or (match[3] and not match[2]):
        return None
    unit = 1024 if match[3] else 1000
    return round(float(match[1]) * float(unit ** _POWERS[match[2]]))


def check_choice(name: str, got: object, valid: tuple[str, ...], hint: str = "") -> None:
    """Raise ValueError unless `got` is one of the `valid` values of option `name`.

    The error ends with `hint` or, where it is empty, with the most similar value.
    """
    if not isinstance(got, str) or got not in valid:
        meant = hint or (did_you_mean(got, valid) if isinstance(got, str) else "")
        msg = f"{name} must be one of {', '.join(map(repr, valid))}; got {got!r}{meant}"
        raise ValueError(msg)


def flag(name: str, value: object) -> bool:
    """Return `value` as a bool; raise TypeError for anything else."""
    if not isinstance(value, (bool, np.bool_)):
        msg = f"{name} must be True or False; got {value!r}"
        raise TypeError(msg)
    return bool(value)


def check_options(test: str, options: dict[str, Any]) -> None:
    """Raise ValueError for invalid values, TypeError for a flag that is not a bool.

    NumPy's bools are replaced by Python's in `options`.
    """
    for name, value in options.items():
        if name == "alternative":
            check_choice(name, value, get_args(Alternative))
        elif name == "method":
            check_choice(name, value, _METHODS[test])
        else:
            options[name] = flag(name, value)
    if options.get("method") == "permutation" and not options["equal_var"]:
        msg = (
            "method='permutation' needs equal_var=True (Student's t): with other labels on the "
            "same cells only Student's t always grows with the target's mean, Welch's does not"
        )
        raise ValueError(msg)


def options_of(test: str, given: Mapping[str, object]) -> dict[str, Any]:
    """Return the options of `test` from those of a call that accepts any test.

    Parameters
    ----------
    test
        The name of the test.
    given
        Some of `OPTIONS`; the others take their defaults.

    Raises
    ------
    TypeError
        An option does not belong to the test, and does not have its default value.
    ValueError
        An invalid value, or options that exclude each other.
    """
    meant = _test_meant(test)
    check_choice("test", test, tuple(DEFAULTS), meant and f". Use {meant}")
    method = given.get("method")
    if method not in get_args(AnyMethod) and (meant := _test_meant(method)):
        check_choice("method", method, _METHODS[test], f". To choose the test, use {meant}")
    check_choice("alternative", given.get("alternative", "two-sided"), get_args(Alternative))
    full = dict(DEFAULTS[test])
    for name, value in given.items():
        if value is OPTIONS[name] or value == OPTIONS[name]:
            continue
        if name not in full:
            raise _foreign(test, name, value)
        full[name] = value
    check_options(test, full)
    if full.get("equal_var") and full.get("overestim_var"):
        msg = "overestim_var=True needs equal_var=False: it is a version of Welch's test"
        raise ValueError(msg)
    return full


def _test_meant(name: object) -> str:
    """Return how to ask for the test that has a name here or elsewhere; empty if none has."""
    if not isinstance(name, str):
        return ""
    return f"test={name!r}" if name in DEFAULTS else _TESTS.get(name.lower(), "")


def _foreign(test: str, name: str, value: object) -> Exception:
    """Return the error for an option that belongs to another test."""
    if name == "alternative":
        msg = f"alternative must be 'two-sided' for {test}; got {value!r}"
        return ValueError(msg)
    others = " and ".join(other for other, options in DEFAULTS.items() if name in options)
    own = ", ".join(map(repr, DEFAULTS[test]))
    msg = f"{test} has no option {name!r}, which belongs to {others}. Its options: {own}"
    return TypeError(msg)


def check_stratified(test: str, options: dict[str, Any]) -> None:
    """Raise ValueError unless a test with these options supports strata."""
    if test != "wilcoxon":
        msg = f"strata is not available for {test}; use test='wilcoxon', or leave strata out"
        raise ValueError(msg)
    if options["method"] not in ("auto", "asymptotic"):
        msg = (
            f"method={options['method']!r} is not available with strata; use 'auto' or "
            "'asymptotic', or leave strata out"
        )
        raise ValueError(msg)


def at_least(name: str, value: object, least: int) -> int:
    """Return the value of an option that must be an integer of at least `least`."""
    number = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not number or cast("int", value) < least:
        msg = f"{name} must be an integer >= {least}; got {value!r}"
        raise ValueError(msg)
    return int(cast("int", value))


def as_part(value: object) -> tuple[int, int]:
    """Return the number of a part, from 1, and how many parts there are."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        number, n = value
        if all(isinstance(one, (int, np.integer)) for one in value) and 1 <= number <= n:
            return int(number), int(n)
    msg = f"part must be two whole numbers such as (3, 64), the third of 64; got {value!r}"
    raise ValueError(msg)


def as_names(what: str, names: object) -> list[str]:
    """Return one name or several as a list of strings; raise TypeError for anything else."""
    if isinstance(names, str):
        return [names]
    if not isinstance(names, Iterable):
        msg = f"{what} must be a list of names; got {names!r}"
        raise TypeError(msg)
    return [str(name) for name in names]
