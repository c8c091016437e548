"""Encode a result for the report: metadata as JSON, and numbers as compressed bytes.

For each target the page has counts, the top genes with their numbers, and the points of the volcano
plot: first the hits, then a subsample of the other genes. A point is a gene and two 12-bit integers

    x = round(4095 (lfc + limit) / (2 limit)),    y = round(4095 (-log10 p) / top),

Only values beyond the axes reach the edges x = 0, x = 4095 and y = 4095. Genes are stored as
differences between sorted codes. Every array is stored byte by byte (first all low bytes, last all
high bytes), and the whole is deflated, which takes 4 to 5 bytes per point.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pdex._plotting import null_distribution, table
from pdex._plotting.subsample import subsample

if TYPE_CHECKING:
    import numpy.typing as npt

NEEDED = ("target", "feature", "log2_fold_change", "neg_log10_p", "fdr")
OPTIONAL = ("target_mean", "reference_mean", "n_target", "n_reference")
LEVELS = (0.1, 0.05, 0.01, 0.001, 0.0001)
_STEPS = 4095
_TOP = 30
#: Number of points in all, so that 200 targets stay below 5 MB however many genes are hits; the
#: smallest share of a target; and the largest number of its points that are not hits.
_POINTS, _LEAST, _DULL = 500_000, 100, 1_200
_TOP_COLUMNS = ("log2_fold_change", "target_mean", "reference_mean", "neg_log10_p")

Arrays = dict[str, "list[npt.NDArray[Any]]"]


def encode(rows: pl.DataFrame, fdr: float, min_abs_lfc: float) -> tuple[dict[str, Any], bytes]:
    """Return the metadata, which the page reads as JSON, and the deflated arrays."""
    genes = table.names_of(rows["feature"])
    text = pl.col("target", "feature").cast(pl.String)
    rows = rows.with_columns(text, table.change(fdr, min_abs_lfc))
    codes = rows["feature"].cast(pl.Enum(genes)).to_physical().cast(pl.UInt32)
    rows = rows.with_columns(codes.alias("gene"))
    for name in _TOP_COLUMNS:
        if name not in rows.columns:
            rows = rows.with_columns(pl.lit(float("nan")).alias(name))
    parts = rows.partition_by("target", maintain_order=True)
    share = max(_LEAST, _POINTS // len(parts))
    arrays: Arrays = {name: [] for name in ("gene", "x", "y", "top", "numbers")}
    targets = [_target(part, fdr, share, arrays) for part in parts]
    meta = {
        "fdr": fdr,
        "minAbsLfc": min_abs_lfc,
        "genes": genes,
        "targets": targets,
        "steps": _STEPS,
        "columns": [*_TOP_COLUMNS, "neg_log10_fdr"],
        "hasMeans": bool(rows["target_mean"].is_not_nan().any()),
    }
    kinds = {"gene": "<u4", "x": "<u2", "y": "<u2", "top": "<u4", "numbers": "<f4"}
    joined = {n: np.concatenate(arrays[n]).astype(kind).ravel() for n, kind in kinds.items()}
    meta["sections"] = [[name, array.dtype.str, array.size] for name, array in joined.items()]
    planes = [a.view(np.uint8).reshape(-1, a.itemsize).T.tobytes() for a in joined.values()]
    return meta, zlib.compress(b"".join(planes), 9)


def _target(part: pl.DataFrame, fdr: float, share: int, arrays: Arrays) -> dict[str, Any]:
    """Append the points and top genes of one target to the arrays; return its metadata."""
    part = table.ranked(part)
    first = part.filter(pl.col("neg_log10_p").is_not_nan()).head(_TOP)
    arrays["top"].append(first["gene"].to_numpy())
    with np.errstate(divide="ignore", over="ignore"):
        logs = -np.log10(first["fdr"].to_numpy()) + 0.0
        columns = [*(first[name].to_numpy() for name in _TOP_COLUMNS), logs]
        arrays["numbers"].append(np.stack(columns, axis=1).astype(np.float32))
    limit = table.limit_of_fold_changes(part) * 1.06
    finite = part.filter(pl.col("neg_log10_p").is_finite())["neg_log10_p"].max()
    top = max(float(finite) if isinstance(finite, float) else 0.0, 1.0) * 1.06
    drawable = part.filter(
        pl.col("log2_fold_change").is_not_nan() & pl.col("neg_log10_p").is_not_nan()
    )
    hits, dull = _points(drawable, limit, top, share, arrays)
    counts = dict(part.group_by("change").len().iter_rows())
    up, down, none = (counts.get(kind, 0) for kind in table.CHANGES)
    leading = part.filter(pl.col("change") != table.CHANGES[2])["gene"].head(1).to_list()
    return {
        "name": part["target"][0],
        "cells": _most(part, "n_target"),
        "reference": _most(part, "n_reference"),
        "up": up,
        "down": down,
        "dull": none,
        "undrawn": part.height - drawable.height,
        "points": [hits, dull],
        "top": first.height,
        "leading": leading[0] if leading else None,
        "limit": limit,
        "height": top,
        "line": table.parting(part, fdr),
        "own": _own(part),
    }


def _points(
    drawable: pl.DataFrame, limit: float, top: float, share: int, arrays: Arrays
) -> tuple[int, int]:
    """Append the points to draw, hits first; return the numbers of hits and of other points."""
    lfc = drawable["log2_fold_change"].to_numpy()
    x = np.rint(_STEPS * (np.clip(lfc, -limit, limit) + limit) / (2 * limit))
    height = np.clip(drawable["neg_log10_p"].to_numpy(), 0.0, top)
    y = np.rint(_STEPS * height / top)
    # Keep negative changes in the left half, however small: 2047.5 would be rounded up.
    x = np.where(lfc < 0, np.minimum(x, _STEPS // 2), x)
    hit = (drawable["change"] != table.CHANGES[2]).to_numpy()
    # Approximate pixels of the page's drawing.
    px, py = x * (800 / _STEPS), y * (450 / _STEPS)
    dull = np.flatnonzero(~hit)
    dull = dull[subsample(px[dull], py[dull], min(_DULL, share // 2))]
    hits = np.flatnonzero(hit)
    rest = hits[_TOP:]
    most = max(share - dull.size - _TOP, 1)
    hits = np.concatenate([hits[:_TOP], rest[subsample(px[rest], py[rest], most)]])
    codes = drawable["gene"].to_numpy()
    for kept in (hits, dull):
        ordered = kept[np.argsort(codes[kept], kind="stable")]
        arrays["gene"].append(np.diff(codes[ordered].astype(np.int64), prepend=0))
        arrays["x"].append(x[ordered])
        arrays["y"].append(y[ordered])
    return hits.size, dull.size


def _most(part: pl.DataFrame, name: str) -> int | None:
    """Return the largest count of cells; counts differ between genes if values are missing."""
    if name not in part.columns:
        return None
    most = part[name].fill_nan(None).max()
    return int(most) if isinstance(most, float) else None


def _own(part: pl.DataFrame) -> dict[str, float] | None:
    """Return fold change and FDR of the target's own gene, or None if they are not known."""
    own = part.filter(pl.col("feature") == pl.col("target")).head(1)
    numbers = own.select("log2_fold_change", "fdr").filter(pl.all_horizontal(pl.all().is_finite()))
    return {"lfc": numbers.item(0, 0), "fdr": numbers.item(0, 1)} if numbers.height else None


def cells(targets: list[dict[str, Any]]) -> int | None:
    """Return the total number of cells, or None if the counts are not known.

    A reference of the same size for all targets is a separate group. If the reference is all other
    cells, target and reference together are the same for every target: all cells.
    """
    if any(target["cells"] is None or target["reference"] is None for target in targets):
        return None
    sizes: list[tuple[int, int]] = [(t["cells"], t["reference"]) for t in targets]
    together = sum(size for size, _ in sizes)
    if len(sizes) > 1 and len({size + other for size, other in sizes}) == 1:
        rest = len({other for _, other in sizes}) > 1
        if rest or sizes[0][0] + sizes[0][1] == together:
            return sizes[0][0] + sizes[0][1]
    return together + max(other for _, other in sizes)


def calibration(rows: pl.DataFrame) -> dict[str, Any]:
    """Return the comparison of null p-values with the uniform distribution, for the page."""
    values = rows["neg_log10_p"].to_numpy()
    known = values[~np.isnan(values)]
    if not known.size:
        msg = "calibration: the frame has no p-values: all of them are missing"
        raise ValueError(msg)
    plot = null_distribution.quantiles(known)
    top = float(max(plot.observed[np.isfinite(plot.observed)].max(initial=0.0), plot.upper.max()))
    return {
        "n": int(known.size),
        "missing": int(values.size - known.size),
        "histogram": null_distribution.histogram(known, 20).tolist(),
        "expected": _short(plot.expected),
        "observed": _short(np.minimum(plot.observed, top)),
        "lower": _short(plot.lower),
        "upper": _short(plot.upper),
        "levels": list(LEVELS),
        "shares": null_distribution.shares(known, LEVELS),
    }


def _short(values: npt.NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
