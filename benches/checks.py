"""Answers held to each other, comparison by comparison, and to SciPy's.

Differences are relative. Where a statistic may pass 0 - t, T and z - they are relative to no less
than 0.001, and U, a multiple of one half, to no less than that. p-values below 1e-300 count as
1e-300: near the end of the range of float64 (2e-308) tails lose digits and then become 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Pair = tuple[str, str, np.ndarray, np.ndarray]

#: p-values below it are not told apart.
SMALLEST_P = 1e-300
#: What differences are relative to at least, by column.
LEAST = {"statistic": 0.001, "z_score": 0.001, "p_value": SMALLEST_P}
#: How far SciPy's answers may be away.
SCIPY = 1e-9
#: The worst p-values that are held to SciPy's beside the random ones.
MOST_SIGNIFICANT = 10


def differences(name: str, ours: Any, theirs: Any) -> np.ndarray:
    """Return the relative difference of each pair of numbers; inf where only one is NaN."""
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if name == "p_value":
        a, b = np.maximum(a, SMALLEST_P), np.maximum(b, SMALLEST_P)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        off = np.abs(a - b) / np.maximum(np.abs(b), LEAST[name])
    return np.where(same, 0.0, np.where(np.isnan(off), np.inf, off))


def between(
    ours: Path,
    theirs: Path,
    columns: Sequence[str],
    *,
    sampled: bool = False,
    but_centre: bool = False,
) -> dict[str, float]:
    """Return the worst difference of each column over all comparisons, which must all be there.

    Parameters
    ----------
    ours, theirs
        Files of grids (see worker.py).
    columns
        What is compared.
    sampled
        Whether the second holds only some of the comparisons.
    but_centre
        Whether p-values and z scores are left out where U is at its centre, n1 n2 / 2: p is 1
        there, in SciPy too; illico moves U past the centre by its continuity correction.
    """
    with np.load(ours) as a, np.load(theirs) as b:
        asked = b["asked"]
        rows, genes = (places(a[names], b[names]) for names in ("targets", "features"))
        whole = a["asked"].all() and asked.all() and a["asked"].shape == asked.shape
        if not (whole or sampled):
            raise SystemExit("one side lacks comparisons that the other made")
        pick = np.ix_(rows, genes)
        centre = a["auroc"][pick][asked] == 0.5 if but_centre else False
        worst = {}
        for name in columns:
            off = differences(name, a[name][pick][asked], b[name][asked])
            if name != "statistic":
                off = np.where(centre, 0.0, off)
            worst[name] = float(off.max())
        return worst


def places(names: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return where each of the `wanted` is among sorted names; all must be there."""
    if not np.isin(wanted, names).all():
        raise SystemExit("the sides name targets or genes differently")
    return np.searchsorted(names, wanted)


def sample(adata: Any, reference: str, n: int, extra: tuple[Any, ...] = ()) -> list[Pair]:
    """Return `n` random comparisons, always the same, and `extra` ones, with both their samples.

    Comparisons without two distinct values, or of one cell, have no answer in SciPy: others are
    taken.
    """
    rng = np.random.default_rng(20261125)
    labels = adata.obs["target"].to_numpy().astype(str)
    targets = np.unique(labels[labels != reference])
    wanted = list(extra)
    wanted += zip(rng.choice(targets, 2 * n), rng.choice(adata.var_names, 2 * n), strict=True)
    genes = np.unique([gene for _, gene in wanted])
    values = adata.X[:, adata.var_names.get_indexer(genes)].toarray().astype(float)
    pairs: list[Pair] = []
    for target, gene in wanted:
        column = values[:, np.searchsorted(genes, gene)]
        own = labels == target
        x, y = column[own], column[~own if reference == "rest" else labels == reference]
        if min(x.size, y.size) > 1 and min(x.min(), y.min()) < max(x.max(), y.max()):
            pairs.append((str(target), str(gene), x, y))
        if len(pairs) == n + len(extra):
            break
    return pairs


def oracle(test: str, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return SciPy's statistic and p-value."""
    import warnings

    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anderson_ksamp: its p-value is capped
        if test == "wilcoxon":
            # Asymptotic, with its correction for ties, and for continuity.
            found = stats.mannwhitneyu(x, y, method="asymptotic", use_continuity=True)
        elif test == "ttest":
            found = stats.ttest_ind(x, y)
        else:
            found = stats.anderson_ksamp([x, y], variant="midrank")
    return float(found.statistic), float(found.pvalue)


def against_scipy(adata: Any, test: str, reference: str, n: int) -> dict[str, float]:
    """Return how many comparisons of pdex were held to SciPy's, and the worst differences."""
    import pdex
    import polars as pl

    options = {"anderson": {"method": "scipy"}, "wilcoxon": {"method": "asymptotic"}}.get(test, {})
    result = pdex.de(adata, "target", reference=reference, test=test, progress=False, **options)
    result = result.with_columns(pl.col("target", "feature").cast(pl.String))
    top = result.sort("p_value", nulls_last=True).head(MOST_SIGNIFICANT)
    pairs = sample(adata, reference, n, tuple(zip(top["target"], top["feature"], strict=True)))
    asked = pl.DataFrame(
        {"target": [pair[0] for pair in pairs], "feature": [pair[1] for pair in pairs]}
    )
    ours = asked.join(result, on=["target", "feature"], how="left", maintain_order="left")
    want = np.array([oracle(test, x, y) for _, _, x, y in pairs])
    worst = {
        name: float(differences(name, ours[name].to_numpy(), want[:, i]).max())
        for i, name in enumerate(("statistic", "p_value"))
    }
    return {"pairs": len(pairs), **worst}
