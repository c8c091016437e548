"""Encode a result for the report: metadata as JSON, and numbers as compressed bytes.

For each target the page has counts, the top genes with their numbers, and the points of the volcano
plot: first the hits, then a subsample of the other genes. A point is a gene and two 12-bit integers

    x = round(4094 (effect + limit) / (2 limit)),    y = round(4094 (-log10 p) / top),

The effect is the log2 fold change or, if there are none, the score of the test. Only values beyond
the axes reach the edges x = 0, x = 4094 and y = 4094. Genes are stored as
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
OPTIONAL = ("target_mean", "reference_mean", "n_target", "n_reference", *table.SCORES)
LEVELS = (0.1, 0.05, 0.01, 0.001, 0.0001)
#: Even, so that a change of 0 has a place, the middle.
_STEPS = 4094
_TOP = 30
#: Number of points in all, so that 200 targets stay below 5 MB however many genes are hits; the
#: smallest share of a target; and the largest number of its points that are not hits.
_POINTS, _LEAST, _DULL = 500_000, 100, 1_200
_MEANS = ("target_mean", "reference_mean")
_TOP_COLUMNS = ("effect", *_MEANS, "neg_log10_p")
#: The horizontal axis, if there are fold changes, and its heading in a table.
_FOLD_CHANGE = ("log2_fold_change", "log2 fold change", "log2 FC")

Arrays = dict[str, "list[npt.NDArray[Any]]"]


def encode(rows: pl.DataFrame, fdr: float, min_abs_lfc: float) -> tuple[dict[str, Any], bytes]:
    """Return the metadata, which the page reads as JSON, and the deflated arrays."""
    genes, names = table.names_of(rows["feature"]), table.names_of(rows["target"])
    effect = effect_of(rows)
    name = "log2_fold_change" if effect is None else effect[0]
    rows = rows.with_columns(
        *(pl.lit(float("nan")).alias(n) for n in _MEANS if n not in rows.columns),
        pl.col(name).alias("effect"),
        table.change(rows.columns, fdr, min_abs_lfc),
        _codes(rows["feature"], genes).alias("gene"),
        _codes(rows["target"], names).alias("place"),
    ).drop("target", "feature")
    rows = table.ranked(rows, within="place")
    facts = _facts(rows, fdr, name)
    arrays: Arrays = {name: [] for name in ("gene", "x", "y", "top", "numbers")}
    points = _points(rows, facts, arrays)
    _first_genes(rows, facts, arrays)
    code_of = {gene: code for code, gene in enumerate(genes)}
    own = _own(rows, [code_of.get(name) for name in names])
    targets = [
        {"name": name, **fact, "points": drawn, "own": own.get(place)}
        for place, (name, fact, drawn) in enumerate(
            zip(names, facts.drop("rows").iter_rows(named=True), points, strict=True)
        )
    ]
    meta = {
        "fdr": fdr,
        "minAbsLfc": min_abs_lfc,
        "genes": genes,
        "targets": targets,
        "steps": _STEPS,
        "effect": None
        if effect is None
        else {"name": effect[1], "head": effect[2], "isScore": effect != _FOLD_CHANGE},
        "columns": [*_TOP_COLUMNS, "neg_log10_fdr"],
        "hasMeans": bool(rows["target_mean"].is_not_nan().any()),
    }
    kinds = {"gene": "<u4", "x": "<u2", "y": "<u2", "top": "<u4", "numbers": "<f4"}
    joined = {n: np.concatenate(arrays[n]).astype(kind).ravel() for n, kind in kinds.items()}
    meta["sections"] = [[name, array.dtype.str, array.size] for name, array in joined.items()]
    planes = [a.view(np.uint8).reshape(-1, a.itemsize).T.tobytes() for a in joined.values()]
    return meta, zlib.compress(b"".join(planes), 9)


def effect_of(rows: pl.DataFrame) -> tuple[str, str, str] | None:
    """Return the column of the horizontal axis, its title and its heading; None: there is none.

    They are fold changes or, if there are none at all, the scores of the test.
    """
    if table.has_fold_changes(rows):
        return _FOLD_CHANGE
    for name, title in table.SCORES.items():
        if name in rows.columns and rows[name].is_not_nan().any():
            return name, title, title
    return None


def _codes(labels: pl.Series, names: list[str]) -> pl.Series:
    """Return the place of each label among the names."""
    codes: pl.Series = labels.cast(pl.String).cast(pl.Enum(names)).to_physical().cast(pl.UInt32)
    return codes


def _facts(rows: pl.DataFrame, fdr: float, effect: str) -> pl.DataFrame:
    """Return a row per target, with the numbers that the page shows, and its number of rows.

    `effect` is the column of the horizontal axis.
    """
    log_p, change = pl.col("neg_log10_p"), pl.col("change")
    drawable = pl.col("effect").is_not_nan() & log_p.is_not_nan()
    hit = change != table.NONE
    top = log_p.filter(log_p.is_finite()).max()

    def most(name: str) -> pl.Expr:
        # Counts of cells differ between genes if values are missing.
        known = name in rows.columns
        return (pl.col(name).fill_nan(None).max() if known else pl.lit(None)).cast(pl.Int64)

    return (
        rows.group_by("place", maintain_order=True)
        .agg(
            most("n_target").alias("cells"),
            most("n_reference").alias("reference"),
            *((change == kind).sum().alias(kind) for kind in table.HITS),
            hit.sum().alias("hits"),
            (~hit).sum().alias("dull"),
            (hit & drawable).sum().alias("hits_able"),
            (~hit & drawable).sum().alias("dull_able"),
            (~drawable).sum().alias("undrawn"),
            pl.min_horizontal(log_p.is_not_nan().sum(), _TOP).alias("top"),
            pl.col("gene").filter(hit).first().alias("leading"),
            (1.06 * table.limit(rows.columns, effect)).alias("limit"),
            (1.06 * pl.max_horizontal(top.fill_null(0.0), 1.0)).alias("height"),
            table.line(fdr).alias("line"),
            pl.len().alias("rows"),
        )
        .drop("place")
        .with_columns(pl.selectors.integer().cast(pl.Int64))
    )


def _points(rows: pl.DataFrame, facts: pl.DataFrame, arrays: Arrays) -> list[tuple[int, int]]:
    """Append the points to draw, of each target hits first; return the numbers of both kinds.

    Hits are drawn even where there are too many points, as far as that leaves room for other genes.
    """
    n_dull = np.clip(facts["dull_able"].to_numpy(), 0, _DULL)
    n_hits = facts["hits_able"].to_numpy()
    share = max(_LEAST, _POINTS // facts.height) // 2
    hits = max(_fair(n_hits, _POINTS - int(np.minimum(n_dull, share).sum())), _LEAST // 2)
    dull = max(_fair(n_dull, _POINTS - int(np.minimum(n_hits, hits).sum())), _LEAST // 2)
    numbers, start = [], 0
    for n, limit, top in facts.select("rows", "limit", "height").iter_rows():
        part = rows[start : start + n]
        numbers.append(_points_of(part, (limit, top), (hits, dull), arrays))
        start += n
    return numbers


def _fair(counts: npt.NDArray[np.integer[Any]], total: int) -> int:
    """Return the largest number such that counts cut to it add up to at most `total`.

    Examples
    --------
    >>> import numpy as np
    >>> _fair(np.array([5, 1, 9]), 11)
    5
    """
    ascending = np.sort(counts.astype(np.int64))
    left = np.maximum(total - (np.cumsum(ascending) - ascending), 0)
    shares = left // np.arange(len(ascending), 0, -1)
    cut = np.flatnonzero(ascending > shares)
    return int(shares[cut[0]]) if cut.size else int(ascending[-1])


def _points_of(
    part: pl.DataFrame, size: tuple[float, float], most: tuple[int, int], arrays: Arrays
) -> tuple[int, int]:
    """Append the points of one target; return the numbers of hits and of other points."""
    (limit, top), (most_hits, most_dull) = size, most
    effect, height = part["effect"].to_numpy(), part["neg_log10_p"].to_numpy()
    drawable = ~(np.isnan(effect) | np.isnan(height))
    effect, height = effect[drawable], np.clip(height[drawable], 0.0, top)
    codes = part["gene"].to_numpy()[drawable]
    hit = (part["change"] != table.NONE).to_numpy()[drawable]
    x = np.rint(_STEPS * (np.clip(effect, -limit, limit) + limit) / (2 * limit))
    # Keep changes on their side of the middle, however small.
    middle = _STEPS // 2
    x = np.where(effect < 0, np.minimum(x, middle - 1), x)
    x = np.where(effect > 0, np.maximum(x, middle + 1), x)
    y = np.rint(_STEPS * height / top)
    # Approximate pixels of the page's drawing.
    px, py = x * (800 / _STEPS), y * (450 / _STEPS)
    dull, hits = np.flatnonzero(~hit), np.flatnonzero(hit)
    dull = dull[subsample(px[dull], py[dull], most_dull)]
    if hits.size > most_hits:
        rest = hits[_TOP:]
        kept = rest[subsample(px[rest], py[rest], max(most_hits - _TOP, 1))]
        hits = np.concatenate([hits[:_TOP], kept])
    for kept in (hits, dull):
        ordered = kept[np.argsort(codes[kept], kind="stable")]
        arrays["gene"].append(np.diff(codes[ordered].astype(np.int64), prepend=0))
        arrays["x"].append(x[ordered])
        arrays["y"].append(y[ordered])
    return hits.size, dull.size


def _first_genes(rows: pl.DataFrame, facts: pl.DataFrame, arrays: Arrays) -> None:
    """Append the genes with the smallest p-values of each target, and their numbers."""
    starts = np.cumsum(facts["rows"].to_numpy()) - facts["rows"].to_numpy()
    n = facts["top"].to_numpy()
    within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
    first = rows[np.repeat(starts, n) + within]
    arrays["top"].append(first["gene"].to_numpy())
    with np.errstate(divide="ignore", over="ignore"):
        logs = -np.log10(first["fdr"].to_numpy()) + 0.0
        columns = [*(first[name].to_numpy() for name in _TOP_COLUMNS), logs]
        arrays["numbers"].append(np.stack(columns, axis=1).astype(np.float32))


def _own(rows: pl.DataFrame, codes: list[int | None]) -> dict[int, dict[str, float]]:
    """Return effect and FDR of the own genes of targets, by place, where they are known."""
    named = pl.DataFrame(
        {"place": range(len(codes)), "gene": codes},
        schema={"place": pl.UInt32, "gene": pl.UInt32},
    )
    own = rows.join(named, on=["place", "gene"], how="semi", maintain_order="left")
    first = own.unique("place", keep="first", maintain_order=True)
    known = first.filter(pl.all_horizontal(pl.col("effect", "fdr").is_finite()))
    return {
        place: {"effect": effect, "fdr": fdr}
        for place, effect, fdr in known.select("place", "effect", "fdr").iter_rows()
    }


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


def calibration(rows: pl.DataFrame, verdict: str | None = None) -> dict[str, Any]:
    """Return the comparison of null p-values with the uniform distribution, for the page.

    The verdict is that of :func:`pdex.calibrate`, if it is known.
    """
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
        "verdict": verdict,
        "levels": list(LEVELS),
        "judged": [null_distribution.is_judged(level, known.size) for level in LEVELS],
        "shares": null_distribution.shares(known, LEVELS),
    }


def _short(values: npt.NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
