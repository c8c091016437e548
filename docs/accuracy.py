"""Measure the worst relative errors against SciPy and write them to docs/accuracy.md.

python docs/accuracy.py [--samples N]

Random and degenerate samples of each test go through the expressions and through SciPy. The tails
are held to mpmath with 50 digits by `cargo test` (tests/golden/special.py makes the values).
"""

from __future__ import annotations

import argparse
import warnings
from fractions import Fraction
from pathlib import Path

import mpmath as mp
import numpy as np
import pdex
import polars as pl
import scipy
import scipy.stats as st

PAGE = Path(__file__).with_suffix(".md")
START, END = "<!-- errors: made by docs/accuracy.py -->", "<!-- end of errors -->"


def samples(n: int, seed: int = 20261124) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of samples of many kinds: continuous, counts, sparse, constant, far from 0."""
    rng = np.random.default_rng(seed)
    kinds = [
        lambda k: rng.normal(rng.normal(0, 0.5), 1, k),
        lambda k: rng.poisson(rng.choice([0.05, 1.0, 8.0, 400.0]), k).astype(float),
        lambda k: np.round(rng.normal(0, 2, k)) / 2,
        lambda k: rng.binomial(1, 0.3, k) * rng.lognormal(0, 1, k),
        lambda k: np.full(k, float(rng.integers(0, 2))),
        lambda k: 1e3 + rng.normal(0, 1, k),
    ]
    pairs = []
    for i in range(n):
        kind = kinds[i % len(kinds)]
        n1, n2 = (int(2 + rng.exponential(rng.choice([5, 60, 800]))) for _ in range(2))
        pairs.append((kind(n1), kind(n2)))
    return pairs


def frame(pairs: list[tuple[np.ndarray, np.ndarray]]) -> pl.DataFrame:
    """Return all pairs as one long frame: pair, value, target."""
    parts = [
        pl.DataFrame({"value": np.concatenate([x, y])}).with_columns(
            pair=pl.lit(i, pl.UInt32), target=pl.Series([True] * len(x) + [False] * len(y))
        )
        for i, (x, y) in enumerate(pairs)
    ]
    return pl.concat(parts)


def ours(data: pl.DataFrame, expression: pl.Expr, name: str) -> pl.DataFrame:
    """Return one row for each pair, in order."""
    grouped = data.group_by("pair").agg(expression).explode(name).unnest(name)
    return grouped.sort("pair")


def worst(got: pl.Series, want: list[float]) -> tuple[float, int]:
    """Return the largest relative difference and how many numbers were compared."""
    a, b = got.to_numpy(), np.array(want, dtype=float)
    both_nan = np.isnan(a) & np.isnan(b)
    with np.errstate(all="ignore"):
        error = np.where((a == b) | both_nan, 0.0, np.abs(a - b) / np.abs(b))
    kept = np.abs(b) > 1e-300
    kept |= np.isnan(b)
    # A statistic of exactly 0 in the definition may be 1e-17 in SciPy: such pairs are left out.
    kept &= ~((np.abs(b) < 1e-12) & (np.abs(a) < 1e-12))
    return float(error[kept].max()), int(kept.sum())


def wilcoxon(pairs: list, data: pl.DataFrame) -> list[tuple[str, float, int]]:
    """Compare U and p for alternatives, methods and continuity."""
    rows = []
    for method in ("asymptotic",):
        for alternative in ("two-sided", "less", "greater"):
            for continuity in (True, False):
                options = {"alternative": alternative, "method": method}
                expression = pdex.wilcoxon(
                    "value", "target", reference=False, continuity=continuity, **options
                )
                got = ours(data, expression, "wilcoxon")
                want = [
                    st.mannwhitneyu(x, y, use_continuity=continuity, **options) for x, y in pairs
                ]
                name = f"wilcoxon {method}, {alternative}{'' if continuity else ', no continuity'}"
                rows.append((f"{name}: U", *worst(got["statistic"], [w.statistic for w in want])))
                rows.append((f"{name}: p", *worst(got["p_value"], [w.pvalue for w in want])))
    return rows


def van_elteren(data: pl.DataFrame) -> list[tuple[str, float, int]]:
    """Compare z and p within three strata with fractions and 30 digits."""
    rng = np.random.default_rng(1)
    data = data.with_columns(stratum=pl.Series(rng.integers(0, 3, data.height)))
    expression = pdex.wilcoxon(
        "value", "target", reference=False, strata="stratum", method="asymptotic"
    )
    got = ours(data, expression, "wilcoxon")
    want = [score(part) for part in data.partition_by("pair", maintain_order=True)]
    tails = [float(mp.erfc(abs(z) / mp.sqrt(2))) for z in want]
    # A score of exactly 0 is a sum of fractions that cancel: there an absolute 1e-16 is asked for.
    z = got["z_score"].fill_null(float("nan"))
    zero = np.array([abs(z) < 1e-14 for z in want])
    assert (np.abs(z.to_numpy()[zero]) < 1e-14).all()
    rows = [("wilcoxon in strata: z", *worst(z.filter(~zero), np.array(want, float)[~zero]))]
    p = got["p_value"].fill_null(float("nan"))
    return [*rows, ("wilcoxon in strata: p", *worst(p, tails))]


def score(part: pl.DataFrame) -> mp.mpf:
    """Return van Elteren's score; NaN where no stratum has both samples."""
    distance, variance, any_pairs = Fraction(0), Fraction(0), False
    for stratum in part.partition_by("stratum"):
        values, is_target = stratum["value"].to_numpy(), stratum["target"].to_numpy()
        n, n1 = len(values), int(is_target.sum())
        pairs = n1 * (n - n1)
        if pairs == 0:
            continue
        any_pairs = True
        rank_sum = Fraction(st.rankdata(values)[is_target].sum())
        _, runs = np.unique(values, return_counts=True)
        ties = sum(int(t) ** 3 - int(t) for t in runs)
        distance += (rank_sum - Fraction(n1 * (n + 1), 2)) / (n + 1)
        variance += Fraction(pairs * (n**3 - n - ties), 12 * n * (n - 1) * (n + 1) ** 2)
    if not any_pairs:
        return mp.nan
    ratio = [mp.mpf(x.numerator) / x.denominator for x in (distance, variance)]
    return ratio[0] / mp.sqrt(ratio[1]) if variance else mp.mpf(0)


def anderson(pairs: list, data: pl.DataFrame) -> list[tuple[str, float, int]]:
    """Compare both versions' statistic and SciPy's p-value, where SciPy gives one."""
    rows = []
    usable = [i for i, (x, y) in enumerate(pairs) if len(np.unique(np.r_[x, y])) > 1]
    for midrank in (True, False):
        expression = pdex.anderson(
            "value", "target", reference=False, midrank=midrank, method="scipy"
        )
        got = ours(data, expression, "anderson")[usable]
        variant = "midrank" if midrank else "right"
        want = [st.anderson_ksamp(list(pairs[i]), variant=variant) for i in usable]
        rows.append((f"anderson {variant}: T", *worst(got["statistic"], [w[0] for w in want])))
        rows.append((f"anderson {variant}: p", *worst(got["p_value"], [w[1] for w in want])))
    return rows


def ttest(pairs: list, data: pl.DataFrame) -> list[tuple[str, float, int]]:
    """Compare t, df and p for both variances and all alternatives."""
    rows = []
    for equal_var in (True, False):
        for alternative in ("two-sided", "less", "greater"):
            options = {"alternative": alternative, "equal_var": equal_var}
            expression = pdex.ttest("value", "target", reference=False, **options)
            got = ours(data, expression, "ttest")
            want = [st.ttest_ind(x, y, **options) for x, y in pairs]
            name = f"ttest {'Student' if equal_var else 'Welch'}, {alternative}"
            rows.append((f"{name}: t", *worst(got["statistic"], [w.statistic for w in want])))
            rows.append((f"{name}: p", *worst(got["p_value"], [w.pvalue for w in want])))
    return rows


def main() -> None:
    """Measure, and rewrite the table of the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=3000)
    n = parser.parse_args().samples
    warnings.simplefilter("ignore")
    mp.mp.dps = 30
    pairs = samples(n)
    data = frame(pairs)
    rows = wilcoxon(pairs, data) + van_elteren(data) + anderson(pairs, data) + ttest(pairs, data)
    lines = [
        START,
        "",
        f"{n:,} pairs of samples, SciPy {scipy.__version__}, NumPy {np.__version__}.",
        "",
        "| quantity | worst relative difference | numbers compared |",
        "|---|---:|---:|",
        *(f"| {name} | {error:.1e} | {count:,} |" for name, error, count in rows),
        "",
        END,
    ]
    page = PAGE.read_text()
    before, after = page.split(START)[0], page.split(END)[1]
    PAGE.write_text(before + "\n".join(lines) + after)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
