"""Choose cells by an expression over the columns of obs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from pdex._io.labels import require_column
from pdex._text import brief
from pdex._validate import closest
from pdex.exceptions import NotFoundError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pdex._io.labels import Column, Frame


def cells_where(obs: Frame, where: object) -> npt.NDArray[np.bool_]:
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
        msg = f"where must be a Polars expression or SQL text; got {brief(where)}"
        is_mask = hasattr(where, "dtype") or isinstance(where, (list, tuple))
        raise TypeError(msg + ". For a mask pass data[mask] as data" * is_mask)
    shown = repr(where) if isinstance(where, str) else str(where)
    names = dict.fromkeys(expression.meta.root_names())
    frame = pl.DataFrame([_column(obs, name, where).rows().alias(name) for name in names])
    try:
        chosen = frame.select(expression.alias("chosen")).to_series()
    except (pl.exceptions.PolarsError, TypeError) as error:
        msg = f"where={shown} cannot be computed: {error}"
        raise ValueError(msg) from error
    if chosen.dtype != pl.Boolean:
        msg = f"where={shown} gives {chosen.dtype}: expected true or false for each cell"
        raise TypeError(msg)
    if len(chosen) != obs.height:
        msg = (
            f"where={shown} gives {len(chosen)} values: expected one for each of {obs.height} cells"
        )
        raise ValueError(msg)
    mask: npt.NDArray[np.bool_] = chosen.fill_null(False).to_numpy()
    if not mask.any():
        msg = f"where={shown} holds for no cell"
        raise ValueError(msg)
    return mask


def _column(obs: Frame, name: str, where: object) -> Column:
    """Return a column of obs; the error for a missing one says how SQL writes text."""
    try:
        return require_column(obs, name, "where: obs")
    except NotFoundError as error:
        meant = isinstance(where, str) and f'"{name}"' not in where and closest(name, obs.columns)
        if name in obs.columns or not isinstance(where, str) or meant:
            raise
        msg = f"{error}. If it is text, put it in single quotes: '{name}'"
        raise NotFoundError(msg) from None
