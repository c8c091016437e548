"""Choose cells by an expression over the columns of obs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pdex._validate import did_you_mean
from pdex.exceptions import NotFoundError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd


def cells_where(obs: pd.DataFrame, where: object) -> npt.NDArray[np.bool_]:
    """Return for each row of obs whether `where` holds; where it is null, it does not.

    Parameters
    ----------
    obs
        The cells, or groups of cells.
    where
        A Polars expression, or SQL text such as ``"cell_line = 'K562' AND n_counts > 500"``.

    Raises
    ------
    KeyError
        obs has no such column.
    TypeError
        `where` is neither an expression nor text, or its result is not Boolean.
    ValueError
        The expression fails, or holds for no cell.
    """
    expression = where
    if isinstance(where, str):
        try:
            expression = pl.sql_expr(where)
        except pl.exceptions.PolarsError as error:
            msg = f"where={where!r} is not an expression in SQL: {error}"
            raise ValueError(msg) from error
    if not isinstance(expression, pl.Expr):
        msg = f"where must be a Polars expression or SQL text; got {where!r}"
        raise TypeError(msg)
    shown = repr(where) if isinstance(where, str) else str(where)
    columns = [str(column) for column in obs.columns]
    frame = pl.DataFrame([_series(obs, name, columns) for name in expression.meta.root_names()])
    try:
        chosen = frame.select(expression.alias("chosen")).to_series()
    except (pl.exceptions.PolarsError, TypeError) as error:
        msg = f"where={shown} cannot be computed: {error}"
        raise ValueError(msg) from error
    if chosen.dtype != pl.Boolean:
        msg = f"where={shown} gives {chosen.dtype}: expected true or false for each cell"
        raise TypeError(msg)
    if len(chosen) != len(obs):
        msg = f"where={shown} gives {len(chosen)} values: expected one for each of {len(obs)} cells"
        raise ValueError(msg)
    mask: npt.NDArray[np.bool_] = chosen.fill_null(False).to_numpy()
    if not mask.any():
        msg = f"where={shown} holds for no cell"
        raise ValueError(msg)
    return mask


def _series(obs: pd.DataFrame, name: str, columns: list[str]) -> pl.Series:
    """Return a column of obs."""
    import pandas as pd

    if name not in columns:
        meant = did_you_mean(name, columns)
        msg = f"where: obs has no column {name!r}{meant or '.'} Columns: {', '.join(columns)}"
        raise NotFoundError(msg)
    column: Any = obs[name]
    if isinstance(column.dtype, pd.CategoricalDtype):
        labels = pl.Series([_plain(label) for label in column.cat.categories])
        codes = pl.Series(np.asarray(column.cat.codes, dtype=np.int64))
        return labels.gather(codes.replace(-1, None)).alias(name)
    if column.dtype.kind in "biufmM":
        return pl.Series(name, column.to_numpy())
    values = [
        None if missing else _plain(v) for v, missing in zip(column, column.isna(), strict=True)
    ]
    return pl.Series(name, values, strict=False)


def _plain(label: Any) -> Any:
    """Return a NumPy scalar as one of Python."""
    return label.item() if isinstance(label, np.generic) else label
