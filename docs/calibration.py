"""Print the figures of "How reliable the verdict is" in docs/calibration.md.

python docs/calibration.py [--seeds N] [--scores N]

First, verdicts for null screens of 600 control cells, 12 groups of 75 cells and 300 genes; control
cells are divided at random among guides. Then, verdicts for N simulated sets of p-values of normal
scores, where the genes of one comparison have a common correlation (in brackets: by 0.05 and 0.01
alone), and how often p-values that are wrong at 0.0001 alone are noticed.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pdex
from pdex._calibration import _errors_of_guides, _errors_of_splits, _summary, _verdict
from pdex._controls import ALPHAS
from scipy import stats

if TYPE_CHECKING:
    import anndata as ad
    import numpy.typing as npt

    Counts = npt.NDArray[np.int64]

N_SPLITS = 20
TESTS: dict[str, dict[str, Any]] = {
    "wilcoxon": {},
    "wilcoxon, asymptotic": {"method": "asymptotic"},
    "anderson": {"test": "anderson"},
    "anderson, asymptotic": {"test": "anderson", "method": "asymptotic"},
    "ttest": {"test": "ttest"},
    "ttest, Welch": {"test": "ttest", "equal_var": False},
    "ks": {"test": "ks"},
}


def null_screen(seed: int, n_guides: int) -> ad.AnnData:
    """Return a screen without effects."""
    sizes = {"n_cells": 1_500, "n_genes": 300, "n_targets": 12, "reference_fraction": 0.4}
    screen = pdex.datasets.simulate_screen(**sizes, n_effects=0, seed=seed)
    guide = np.random.default_rng(seed + 1_000).integers(0, n_guides, screen.n_obs)
    screen.obs["guide"] = [f"nt{i}" for i in guide]
    return screen


def measure(n_seeds: int, n_guides: int | None, options: dict[str, Any]) -> str:
    """Return the fractions of small p-values over all screens, and the number of each verdict."""
    verdicts: Counter[str] = Counter()
    small = np.zeros(4)
    n = 0
    for seed in range(n_seeds):
        by = None if n_guides is None else "guide"
        screen = null_screen(seed, n_guides or 1)
        found = pdex.calibrate(screen, "target", by=by, seed=seed, **options)
        verdicts[found.verdict] += 1
        small += found.summary["observed"].to_numpy()
        n += found.summary["n"][0]
    fractions = ", ".join(f"{fraction:.2g}" for fraction in 100 * small / n)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    return f"{fractions} % of {n:,}; {counts}"


def null_counts(
    rng: np.random.Generator, n_comparisons: int, n_genes: int, correlation: float
) -> Counts:
    """Return the numbers of p-values, and of those at most each level, of each comparison."""
    bound = stats.norm.isf(np.array(ALPHAS) / 2)
    common = np.sqrt(correlation) * rng.normal(size=(n_comparisons, 1))
    own = np.sqrt(1 - correlation)
    chance = stats.norm.sf((bound - common) / own) + stats.norm.cdf((-bound - common) / own)
    counts = [np.full(n_comparisons, n_genes)]
    before = np.ones(n_comparisons)
    for at_most in chance.T:
        counts.append(rng.binomial(counts[-1], at_most / before))
        before = at_most
    return np.stack(counts, axis=1)


def of_splits(each: Counts) -> list[str]:
    """Return the verdict by all levels that are judged, and by 0.05 and 0.01 alone."""
    return both(each.sum(axis=0), _errors_of_splits(each))


def of_guides(rng: np.random.Generator, n_guides: int, shape: tuple[int, float]) -> list[str]:
    """Return the same for guides and their permutations."""
    # Two guides are one comparison, seen from both sides.
    twice = 2 if n_guides == 2 else 1
    n_comparisons = n_guides // twice
    counts = null_counts(rng, n_comparisons * (N_SPLITS + 1), *shape)
    counts = twice * counts.reshape(-1, n_comparisons, counts.shape[1]).sum(axis=1)
    return both(counts[0], _errors_of_guides(counts[1:]))


def both(total: Counts, errors: npt.NDArray[np.float64]) -> list[str]:
    """Return the verdict by all levels that are judged, and by 0.05 and 0.01 alone."""
    found = _summary(total, errors, N_SPLITS - 1)
    usual = found.with_columns(judged=found["alpha"] >= 0.01)
    return [_verdict(found), _verdict(usual)]


def false_verdicts(n: int, correlation: float) -> None:
    """Print the fraction of null screens that are not called calibrated, per number of genes."""
    rng = np.random.default_rng(0)
    kinds: dict[str, Any] = {
        "splits": lambda shape: of_splits(null_counts(rng, N_SPLITS, *shape)),
        "6 guides": lambda shape: of_guides(rng, 6, shape),
        "2 guides": lambda shape: of_guides(rng, 2, shape),
    }
    for kind, verdicts in kinds.items():
        rates = []
        for n_genes in (300, 1_500, 6_000, 50_000):
            wrong = np.array([verdicts((n_genes, correlation)) for _ in range(n)]) != "calibrated"
            rates.append("{:.2f} ({:.2f})".format(*100 * wrong.mean(axis=0)))
        print(f"{kind}, correlation {correlation}: {', '.join(rates)} % false verdicts", flush=True)


def power(n: int, expected: int) -> None:
    """Print how often independent p-values that are wrong at 0.0001 alone are noticed."""
    rng = np.random.default_rng(0)
    n_genes = round(expected / 1e-4 / N_SPLITS)
    rates = []
    for factor in (2, 3, 5):
        caught = 0
        for _ in range(n):
            each = np.tile([n_genes, 0, 0, 0, 0], (N_SPLITS, 1))
            each[:, 4] = rng.binomial(n_genes, factor * 1e-4, N_SPLITS)
            judged = _summary(each.sum(axis=0), _errors_of_splits(each), N_SPLITS - 1)
            caught += _verdict(judged.with_columns(judged=True)) == "too many small p-values"
        rates.append(f"{factor} times {100 * caught / n:.0f} %")
    print(f"{expected} expected at 0.0001: too many {', '.join(rates)}", flush=True)


def main() -> None:
    """Print one line per test and kind of comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--scores", type=int, default=2_000)
    given = parser.parse_args()
    n_seeds = given.seeds
    warnings.simplefilter("ignore")
    for name, options in TESTS.items():
        for n_guides in (None, 2, 6):
            kind = "splits" if n_guides is None else f"{n_guides} guides"
            print(f"{name}, {kind}: {measure(n_seeds, n_guides, options)}", flush=True)
    for correlation in (0, 0.05, 0.2):
        false_verdicts(given.scores, correlation)
    for expected in (5, 10, 20):
        power(given.scores, expected)


if __name__ == "__main__":
    main()
