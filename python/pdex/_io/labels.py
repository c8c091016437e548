"""Tables of labels, such as obs: only the columns that are asked for are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import polars as pl

from pdex._text import brief, listed
from pdex._validate import did_you_mean
from pdex.exceptions import NotFoundError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd


class Column(NamedTuple):
    """A column: a value per row, or categories and the category of each row."""

    #: A value per row, null where it is missing; of a categorical, its categories in order.
    values: pl.Series
    #: For each row the place of its category, -1 for none; None: there are no categories.
    codes: npt.NDArray[np.int64] | None = None
    #: Whether the categories have an order that means something.
    ordered: bool = False

    def rows(self) -> pl.Series:
        """Return a value per row, null where it is missing."""
        if self.codes is None:
            return self.values
        return self.values.gather(pl.Series(self.codes).replace(-1, None))

    def coded(self) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Return the code of each row, -1 for none, and the text of each code.

        Categories keep their order, and may have no row; other values are sorted.
        """
        if self.codes is not None:
            return self.codes, texts(self.values)
        values = self.values
        if values.dtype.is_float():
            values = values.fill_nan(None)
        distinct = values.drop_nulls().unique().sort()
        ranks = values.rank("dense").cast(pl.Int64) - 1
        return ranks.fill_null(-1).to_numpy().copy(), texts(distinct)


class Frame(Protocol):
    """A table with a row per cell or gene."""

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""

    @property
    def height(self) -> int:
        """The number of rows."""

    def names(self) -> list[str]:
        """Return the names of the rows."""

    def column(self, name: str) -> Column:
        """Read a column that exists."""


def texts(values: pl.Series) -> list[str]:
    """Return each value as text."""
    if values.dtype == pl.String or values.dtype.is_temporal():
        return [str(value) for value in values]
    # The shortest text of a float32 is that of NumPy.
    return [str(value) for value in values.to_numpy()]


def require_column(frame: Frame, name: object, what: str = "obs") -> Column:
    """Return a column; raise KeyError that lists all if it does not exist."""
    columns = frame.columns
    if isinstance(name, str) and name in columns:
        return frame.column(name)
    meant = did_you_mean(name, columns) if isinstance(name, (str, int)) else ""
    if getattr(frame, "counted", False) and not meant:
        msg = (
            f"{what} has no column {brief(name)}: these tables were counted by {listed(columns)}; "
            f"tabulate again with {brief(name)}"
        )
        raise NotFoundError(msg)
    msg = f"{what} has no column {brief(name)}{meant or '.'} Columns: {listed(columns) or 'none'}"
    raise NotFoundError(msg)


def check_name(what: str, name: object) -> str:
    """Return the name of a column that an option gives; raise TypeError unless it is text."""
    if not isinstance(name, str):
        msg = (
            f"{what} must be the name of one column of obs; got {brief(name)}. Join several "
            "columns into one first"
        )
        raise TypeError(msg)
    return name


class HeldFrame:
    """A table whose columns have been read, so that its file can be closed."""

    def __init__(self, frame: Frame) -> None:
        self.columns, self.height = frame.columns, frame.height
        self._held = {name: frame.column(name) for name in self.columns}

    def names(self) -> list[str]:
        """Return the numbers of the rows: their names are not held."""
        return [str(row) for row in range(self.height)]

    def column(self, name: str) -> Column:
        """Return a column."""
        return self._held[name]


class PandasFrame:
    """A table in memory, such as obs of an AnnData object."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return [str(column) for column in self._frame.columns]

    @property
    def height(self) -> int:
        """The number of rows."""
        return int(self._frame.shape[0])

    def names(self) -> list[str]:
        """Return the names of the rows."""
        return [str(name) for name in self._frame.index]

    def column(self, name: str) -> Column:
        """Return a column."""
        return column_of(self._frame[name])


class LazyFrame(PandasFrame):
    """A table that anndata's ``read_lazy`` opened: a column is read when it is asked for."""

    _frame: Any

    def column(self, name: str) -> Column:
        """Read a column."""
        return column_of(self._frame[[name]].to_memory()[name])


def frame_of(frame: Any) -> Frame:
    """Return obs of an AnnData object."""
    return LazyFrame(frame) if hasattr(frame, "to_memory") else PandasFrame(frame)


def column_of(series: pd.Series[Any]) -> Column:
    """Return a column of pandas."""
    import pandas as pd

    dtype: Any = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = np.asarray(series.cat.codes, dtype=np.int64)
        return Column(_values(dtype.categories.to_series()), codes, bool(dtype.ordered))
    return Column(_values(series))


def _values(series: pd.Series[Any]) -> pl.Series:
    """Return the values of a column of pandas; null where they are missing."""
    dtype: Any = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "biufmM":
        values = series.to_numpy()
        narrow = dtype.kind == "f" and dtype.itemsize == 2
        return pl.Series(values.astype(np.float32) if narrow else values)
    missing = series.isna().to_numpy()
    return _series([None if no else v for v, no in zip(series, missing, strict=True)])


def _series(values: list[Any]) -> pl.Series:
    """Return values of one type as they are, and others as text."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    kinds = {type(value) for value in plain if value is not None}
    if kinds <= {str}:
        return pl.Series(plain, dtype=pl.String)
    if len(kinds) == 1 and kinds <= {bool, int, float}:
        return pl.Series(plain)
    # The text of NumPy's numbers is shorter than that of Python's.
    text = [None if value is None else str(value) for value in values]
    return pl.Series(text, dtype=pl.String)
