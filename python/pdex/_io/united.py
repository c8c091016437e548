"""The obs of many sources as one table: the rows of the first, then of the second, and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from pdex._io.labels import Column, texts
from pdex._text import listed
from pdex._validate import did_you_mean
from pdex.exceptions import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from pdex._io.labels import Frame


class Part(NamedTuple):
    """The obs of one of many sources."""

    #: Name of the source in errors.
    source: str
    columns: list[str]
    height: int
    #: Opens the table.
    read: Callable[[], Frame]


class United:
    """A :class:`pdex._io.labels.Frame` of many; a column is read from one after another."""

    def __init__(self, parts: Sequence[Part], *, counted: bool = False) -> None:
        self._parts = parts
        #: Whether they are tables, whose columns are those by which a screen was tabulated.
        self.counted = counted

    @property
    def columns(self) -> list[str]:
        """The names of the columns that any source has, in order of appearance."""
        return list(dict.fromkeys(name for part in self._parts for name in part.columns))

    @property
    def height(self) -> int:
        """The number of rows."""
        return sum(part.height for part in self._parts)

    def names(self) -> list[str]:
        """Return the names of the rows, as each source has them."""
        return [name for part in self._parts for name in part.read().names()]

    def column(self, name: str) -> Column:
        """Read a column; raise KeyError that names the first source without it."""
        for part in self._parts:
            if name not in part.columns:
                other = next(part.source for part in self._parts if name in part.columns)
                again = f": tabulate it with {name!r}, too." if self.counted else "."
                meant = did_you_mean(name, part.columns)
                msg = (
                    f"{part.source}: obs has no column {name!r}, which {other} has"
                    f"{meant or again} Columns: {listed(part.columns) or 'none'}"
                )
                raise NotFoundError(msg)
        return united([part.read().column(name) for part in self._parts])


class Shared(United):
    """The same with the columns that all sources have."""

    @property
    def columns(self) -> list[str]:
        """The names of the columns that all sources have, in order of the first."""
        others = [set(part.columns) for part in self._parts]
        return [name for name in self._parts[0].columns if all(name in has for has in others)]


def united(columns: Sequence[Column]) -> Column:
    """Return columns below each other.

    If one has categories, the result has: those of the first, then the new ones of the second, and
    so on; values of a column without categories count as sorted ones. Numbers of several types
    become one type. Anything else that differs becomes text.
    """
    if all(column.codes is None for column in columns):
        return Column(_below([column.values for column in columns]))
    coded = [_with_codes(column) for column in columns]
    each = _alike([column.values for column in coded])
    place: dict[object, int] = {}
    codes = []
    for column, categories in zip(coded, each, strict=True):
        # A row without a category has the code -1, and so reads the last entry.
        table = [place.setdefault(name, len(place)) for name in categories.to_list()]
        codes.append(np.array([*table, -1], dtype=np.int64)[column.codes])
    values = pl.concat(each).unique(maintain_order=True)
    first = each[0]
    ordered = all(column.ordered and values.equals(first) for column in coded)
    return Column(values, np.concatenate(codes), ordered)


def _with_codes(column: Column) -> Column:
    """Return a column with categories."""
    if column.codes is not None:
        return column
    codes, _ = column.coded()
    values = column.values
    if values.dtype.is_float():
        values = values.fill_nan(None)
    return Column(values.drop_nulls().unique().sort(), codes)


def _below(each: list[pl.Series]) -> pl.Series:
    return pl.concat(_alike(each)).alias("")


def _alike(each: list[pl.Series]) -> list[pl.Series]:
    """Return the series with one type: theirs, one that holds all numbers, or text."""
    kinds = {series.dtype for series in each if series.dtype != pl.Null}
    if len(kinds) == 1:
        return [series.cast(next(iter(kinds))).alias("") for series in each]
    if all(kind.is_numeric() for kind in kinds) or all(kind.is_temporal() for kind in kinds):
        try:
            frames = [pl.DataFrame({"": pl.Series(dtype=kind)}) for kind in kinds]
            (dtype,) = pl.concat(frames, how="vertical_relaxed").dtypes
            return [series.cast(dtype).alias("") for series in each]
        except (pl.exceptions.PolarsError, ValueError):
            pass
    return [_as_text(series) for series in each]


def _as_text(series: pl.Series) -> pl.Series:
    """Return each value as text, null where it is missing."""
    if series.dtype.is_float():
        series = series.fill_nan(None)
    known: npt.NDArray[np.bool_] = series.is_not_null().to_numpy()
    text = iter(texts(series.drop_nulls()))
    return pl.Series([next(text) if has else None for has in known], dtype=pl.String)
