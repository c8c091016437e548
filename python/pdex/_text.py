"""Text for messages and for what objects show of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


#: Largest number of letters of a value that an error shows.
_LONG = 80


def listed(names: Sequence[object], most: int = 8) -> str:
    """Return names in quotes; of more than `most` names, the first ones and how many follow.

    Whole numbers have no quotes.
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    shown = (str(name) if isinstance(name, int) else repr(str(name)) for name in names[:most])
    return ", ".join(shown) + more


def brief(value: object) -> str:
    """Return a value as it is written if it is short; of data, the type alone."""
    plain = value is None or isinstance(value, (str, int, float, list, tuple, dict))
    shown = repr(value) if plain else ""
    return shown if plain and len(shown) <= _LONG and "\n" not in shown else _a(value)


def _a(value: object) -> str:
    """Return the type of a value with its article."""
    name = type(value).__name__
    vowel = name[:1].lower() in "aeiou" or name == "ndarray"
    return f"{'an' if vowel else 'a'} {name}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1, "target"), counted(2_000, "target")
    ('1 target', '2,000 targets')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def called(test: str, options: Mapping[str, object]) -> str:
    """Return a test with its options: ``ttest (alternative=two-sided, method=student)``."""
    return f"{test} ({', '.join(f'{name}={value}' for name, value in options.items())})"


def size(n_bytes: float) -> str:
    """Return a number of bytes with a unit: 812 B, 6.2 MB, 7 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 999.5 or unit == "GB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.0f} {unit}" if unit == "B" or n_bytes >= 9.95 else f"{n_bytes:.1f} {unit}"


def below(heading: str, lines: Iterable[tuple[str, str]]) -> str:
    """Return a heading, and below it names with what is said of each."""
    return "\n".join([heading, *(f"  {name}: {text}" for name, text in lines)])
