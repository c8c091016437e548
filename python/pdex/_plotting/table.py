"""Convert the result frame of any interface to one form, and choose a target from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    Frame: TypeAlias = pl.DataFrame | pl.LazyFrame | pd.DataFrame

#: Names of columns in the interfaces of pdex 0.3 and of the expressions.
_OTHER_NAMES = {
    "feature": "gene",
    "reference_mean": "ref_mean",
    "n_target": "target_membership",
    "n_reference": "ref_membership",
}
LABELS = ("target", "feature")
_TEXT = (*LABELS, "gene")
#: The kinds of rows: hits with a direction and without one, and all others.
UP, DOWN, FLAT, NONE = "up", "down", "flat", "none"
HITS = (UP, DOWN, FLAT)
#: Columns whose sign is the direction of a change, if there is no fold change, with their titles.
SCORES = {"z_score": "z-score", "t_statistic": "t statistic"}


def tidy(frame: Frame, needed: Sequence[str], optional: Sequence[str] = ()) -> pl.DataFrame:
    """Return the requested columns: labels as they are, numbers as Float64, nulls as NaN.

    An optional column that the frame does not have is left out. A missing ``neg_log10_p`` is
    computed from ``p_value``, and a missing ``log2_fold_change`` from the ``fold_change`` of pdex
    0.1.
    """
    table = _polars(frame)
    columns = []
    for name in (*needed, *optional):
        column = _column(table, name)
        if column is not None:
            columns.append(column)
        elif name in needed:
            msg = f"the frame has no column {name!r}. Columns: {shorten(table.columns)}"
            raise ValueError(f"{msg}; a result of pdex.de has all that is needed")
    if not table.height:
        msg = "the frame has no rows, so there is nothing to draw"
        raise ValueError(msg)
    return pl.DataFrame(columns)


def _polars(frame: object) -> pl.DataFrame:
    """Return any frame as a Polars frame."""
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    module = type(frame).__module__.partition(".")[0]
    if module != "pandas" or not hasattr(frame, "columns"):
        msg = f"frame: expected a frame of Polars or pandas, got {type(frame).__qualname__}"
        raise TypeError(msg)
    columns = []
    for name in frame.columns:
        series = frame[name]  # type: ignore[index]
        if getattr(series.dtype, "kind", "O") in "iuf" and name not in _TEXT:
            numbers = series.to_numpy(dtype="float64", na_value=np.nan)
            columns.append(pl.Series(str(name), numbers))
        else:
            values = [
                None if missing else str(v)
                for v, missing in zip(series, series.isna(), strict=True)
            ]
            columns.append(pl.Series(str(name), values, dtype=pl.String))
    return pl.DataFrame(columns)


def _column(table: pl.DataFrame, name: str) -> pl.Series | None:
    """Return a column under its name in :func:`pdex.de`; None if the table does not have it."""
    for known in (name, _OTHER_NAMES.get(name)):
        if known in table.columns:
            series = table[known].alias(name)
            return _label(series) if name in LABELS else _number(series)
    if name == "t_statistic" and {"statistic", "df"}.issubset(table.columns):
        # Only the t-test has degrees of freedom; the statistics of other tests have no sign.
        return _number(table["statistic"]).alias(name)
    if name == "neg_log10_p" and "p_value" in table.columns:
        p = _number(table["p_value"]).to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            return pl.Series(name, -np.log10(p) + 0.0)
    if name == "log2_fold_change" and "fold_change" in table.columns:
        with np.errstate(divide="ignore", invalid="ignore"):
            return pl.Series(name, np.log2(_number(table["fold_change"]).to_numpy()))
    return None


def _label(series: pl.Series) -> pl.Series:
    if series.null_count():
        msg = f"{series.name} is missing in {series.null_count()} rows: fill or drop them first"
        raise ValueError(msg)
    return series


def _number(series: pl.Series) -> pl.Series:
    # A text file without rows does not determine types.
    if len(series) and not (series.dtype.is_numeric() or series.dtype == pl.Null):
        msg = f"{series.name} holds {series.dtype}: expected numbers"
        raise TypeError(msg)
    number: pl.Series = series.cast(pl.Float64, strict=False).fill_null(float("nan"))
    return number


def names_of(series: pl.Series) -> list[str]:
    """Return the distinct labels of a column as text, in order of first occurrence."""
    names: list[str] = series.unique(maintain_order=True).cast(pl.String).to_list()
    return names


def pick(table: pl.DataFrame, target: object) -> tuple[str, pl.DataFrame]:
    """Return the name and the rows of a target; None stands for the only target."""
    known = names_of(table["target"])
    if target is None:
        if len(known) > 1:
            msg = f"target: the frame has {len(known)} of them, choose one: {shorten(known)}"
            raise ValueError(msg)
        return known[0], table
    name = str(target)
    if name not in known:
        msg = f"target {name!r} is not in the frame. It has {shorten(known)}"
        raise ValueError(msg)
    return name, table.filter(table["target"].cast(pl.String) == name)


def known_names(what: str, asked: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return the requested names without repeats; raise ValueError for an unknown name."""
    names = [asked] if isinstance(asked, str) else [str(name) for name in dict.fromkeys(asked)]
    there = set(known)
    for name in names:
        if name not in there:
            msg = f"{what}: {name!r} is not in the frame. It has {shorten(known)}"
            raise ValueError(msg)
    return names


def shorten(names: Sequence[str], most: int = 8) -> str:
    """Return names for a message: all if they are few, else the first ones and the total."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names):,} in all)"


def level(name: str, value: object) -> float:
    """Return the value of an option that must be a number from 0 to 1."""
    number = at_least_zero(name, value)
    if number > 1:
        msg = f"{name} must be a number from 0 to 1; got {value!r}"
        raise ValueError(msg)
    return number


def at_least_zero(name: str, value: object) -> float:
    """Return the value of an option that must be a finite number of at least 0."""
    number = isinstance(value, (int, float, np.integer, np.floating))
    if not number or isinstance(value, bool) or not 0 <= cast("float", value) < np.inf:
        msg = f"{name} must be a number >= 0; got {value!r}"
        raise ValueError(msg)
    return float(cast("float", value))


def whole(name: str, value: object, least: int) -> int:
    """Return the value of an option that must be an integer of at least `least`."""
    number = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not number or cast("int", value) < least:
        msg = f"{name} must be an integer >= {least}; got {value!r}"
        raise ValueError(msg)
    return int(cast("int", value))


def change(columns: Iterable[str], fdr: float, min_abs_lfc: float) -> pl.Expr:
    """Return the kind of each row of a table with these columns: one of `HITS`, or `NONE`.

    The direction of a hit is the sign of its fold change or, where that is missing, of its score.
    """
    lfc = pl.col("log2_fold_change")
    # Polars orders NaN above all numbers, so a missing fdr is not a hit.
    hit = pl.col("fdr") < fdr
    if min_abs_lfc:
        hit = hit & (lfc.abs() >= min_abs_lfc) & lfc.is_not_nan()
    way = lfc
    for name in SCORES:
        if name in columns:
            way = pl.when(way.is_nan()).then(pl.col(name)).otherwise(way)
    kind = pl.when(~hit).then(pl.lit(NONE)).when(way.is_not_nan() & (way > 0)).then(pl.lit(UP))
    return kind.when(way < 0).then(pl.lit(DOWN)).otherwise(pl.lit(FLAT)).alias("change")


def has_fold_changes(table: pl.DataFrame) -> bool:
    """Return whether any row has a fold change."""
    return bool(table["log2_fold_change"].is_not_nan().any())


#: What to do if there are no fold changes.
REMEDY = "for fold changes, test counts or log values (layer=, use_raw=True)"


def check_fold_changes(table: pl.DataFrame) -> None:
    """Raise ValueError if no row has a fold change."""
    if not has_fold_changes(table):
        msg = (
            "there is nothing to draw, because all fold changes are NaN, as those of z-scores and "
            f"residuals are; {REMEDY}. pdex.report shows results without fold changes"
        )
        raise ValueError(msg)


def ranked(table: pl.DataFrame, strict: bool = False, within: str | None = None) -> pl.DataFrame:
    """Return the rows ordered by p-value, smallest first, then by absolute fold change.

    Rows without a p-value come last, or are left out if `strict`. If a column is named by `within`,
    its values come first in the order, ascending.
    """
    if strict:
        table = table.filter(pl.col("neg_log10_p").is_not_nan())
    size = pl.col("log2_fold_change").abs().fill_nan(-1.0)
    key = pl.col("neg_log10_p").fill_nan(-1.0)
    first = [] if within is None else [pl.col(within)]
    falling = [False] * len(first) + [True, True]
    return table.sort(*first, key, size, descending=falling, maintain_order=True)


def limit(columns: Iterable[str], name: str = "log2_fold_change") -> pl.Expr:
    """Return the largest absolute log2 fold change that is a ratio of two non-zero means.

    Of another column, `name`, it is the largest finite value.

    For a gene that is silent on one side, the pseudocount alone determines the fold change (for
    example -26), and an axis that reaches it would squeeze all others.
    """
    lfc = pl.col(name)
    seen = lfc.is_finite()
    means = {"target_mean", "reference_mean"}.intersection(columns)
    for mean in means if name == "log2_fold_change" else ():
        seen = seen & (pl.col(mean) != 0)
    return pl.max_horizontal(lfc.abs().filter(seen).max().fill_null(0.0), 0.5)


def limit_of_fold_changes(table: pl.DataFrame) -> float:
    """Return :func:`limit` of the rows of a table."""
    return float(table.select(limit(table.columns)).item())


def line(fdr: float) -> pl.Expr:
    """Return the -log10 p-value that separates a target's genes below the `fdr` from the others.

    Null if there are no genes on one side, or if the two sides overlap.
    """
    log_p, adjusted = pl.col("neg_log10_p"), pl.col("fdr")
    known = log_p.is_finite() & adjusted.is_not_nan()
    below = log_p.filter(known & (adjusted < fdr)).min()
    above = log_p.filter(known & (adjusted >= fdr)).max()
    return pl.when(above <= below).then((below + above) / 2)


def parting(genes: pl.DataFrame, fdr: float) -> float | None:
    """Return :func:`line` of the rows of a target; None if there is none."""
    found: float | None = genes.select(line(fdr)).item()
    return found
