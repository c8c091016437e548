"""Measure how often null p-values are small, and write the tables to docs/accuracy.md.

python docs/calibration_table.py [--short] [--p-values N]

Null data: the values of all cells are drawn from one distribution, and 10,000 cells are divided at
random into targets of `size` cells. Each target is compared with all other cells. Given the values
of a gene, every choice of the target's cells is then equally likely.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Draw = Callable[[np.random.Generator, tuple[int, int]], npt.NDArray[Any]]

PAGE = Path(__file__).with_name("accuracy.md")
START, END = "<!-- null: made by docs/calibration_table.py -->", "<!-- end of null -->"
N_CELLS = 10_000
LEVELS = (1e-2, 1e-3, 1e-4, 1e-5)
#: Options of each column of the two tables.
WILCOXON: dict[str, dict[str, Any]] = {
    "`asymptotic`": {"method": "asymptotic"},
    "`auto`": {"method": "auto"},
    "`asymptotic`, greater": {"method": "asymptotic", "alternative": "greater"},
    "`auto`, greater": {"method": "auto", "alternative": "greater"},
}
OTHERS: dict[str, dict[str, Any]] = {
    "anderson `asymptotic`": {"test": "anderson", "method": "asymptotic"},
    "anderson `auto`": {"test": "anderson", "method": "auto"},
    "Student's t": {"test": "ttest"},
    "Student's t, `permutation`": {"test": "ttest", "method": "permutation"},
    "Welch's t": {"test": "ttest", "equal_var": False},
}


@dataclass(frozen=True)
class Shape:
    """A distribution of values, and the number of cells of a target."""

    name: str
    size: int
    draw: Draw
    n_strata: int = 1

    @property
    def n_genes(self) -> int:
        """The number of genes of a screen; a screen then has 100,000 p-values."""
        return 10 * self.size


def poisson(mean: float) -> Draw:
    """Return a function that draws Poisson counts."""
    return lambda rng, shape: rng.poisson(mean, shape)


def negative_binomial(mean: float, r: float) -> Draw:
    """Return a function that draws counts of variance mean + mean^2 / r."""
    return lambda rng, shape: rng.negative_binomial(r, r / (r + mean), shape)


def log_normalised(rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Draw log1p of counts per 10,000 for cells of random depth: zeros, otherwise few ties."""
    depth = 5_000 * rng.lognormal(0, 0.4, (shape[0], 1))
    counts = rng.poisson(rng.gamma(1, 1e-4, shape) * depth)
    return np.log1p(1e4 * counts / depth)


def batches(rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Draw Poisson counts in four equal batches, of mean 0.1, 0.2, 0.3 and 0.4."""
    means = np.repeat([0.1, 0.2, 0.3, 0.4], shape[0] // 4)
    return rng.poisson(means[:, None], shape)


SHAPES = (
    Shape("Poisson(0.1)", 20, poisson(0.1)),
    Shape("Poisson(0.1)", 50, poisson(0.1)),
    Shape("Poisson(0.1)", 200, poisson(0.1)),
    Shape("NB(0.3, 1)", 50, negative_binomial(0.3, 1)),
    Shape("NB(0.25, 1), 80 % zeros", 20, negative_binomial(0.25, 1)),
    Shape("NB(3, 1), 25 % zeros", 20, negative_binomial(3, 1)),
    Shape("NB(1, 0.3), 64 % zeros", 20, negative_binomial(1, 0.3)),
    Shape("Poisson(2)", 20, poisson(2)),
    Shape("log-normalised, 67 % zeros", 20, log_normalised),
    Shape("log-normalised, 67 % zeros", 50, log_normalised),
    Shape("4 batches, Poisson(0.1 to 0.4)", 20, batches, 4),
)


def null_screen(shape: Shape, rng: np.random.Generator) -> ad.AnnData:
    """Return cells that are divided at random, evenly over strata, among targets."""
    values = shape.draw(rng, (N_CELLS, shape.n_genes))
    n_targets = N_CELLS // shape.size
    in_stratum = np.arange(N_CELLS // shape.n_strata) % n_targets
    target = np.concatenate([rng.permutation(in_stratum) for _ in range(shape.n_strata)])
    stratum = np.repeat(np.arange(shape.n_strata), N_CELLS // shape.n_strata)
    obs = pd.DataFrame({"target": target.astype(str), "stratum": stratum.astype(str)})
    obs.index = obs.index.astype(str)
    return ad.AnnData(sp.csc_matrix(values.astype(np.float32)), obs)


def p_values(screen: ad.AnnData, options: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Return the p-values of all targets and genes."""
    with warnings.catch_warnings():
        # Welch's test warns about targets without variance.
        warnings.simplefilter("ignore")
        found = pdex.de(screen, "target", reference="rest", is_log1p=False, **options)
    return found["p_value"].to_numpy()


def ratios(
    shape: Shape, tests: dict[str, dict[str, Any]], n: int, seed: int = 0
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the fraction of p-values that are at most each level, divided by the level.

    Parameters
    ----------
    shape
        The distribution of values, and the size of targets.
    tests
        Options of :func:`pdex.de` by name; every test has the same data.
    n
        Number of p-values, a multiple of 100,000.
    seed
        Seed of the random number generator.
    """
    within = {"strata": "stratum"} if shape.n_strata > 1 else {}
    counts = {name: np.zeros(len(LEVELS)) for name in tests}
    rng = np.random.default_rng([seed, SHAPES.index(shape)])
    for _ in range(n // (10 * N_CELLS)):
        screen = null_screen(shape, rng)
        for name, options in tests.items():
            p = p_values(screen, options | within)
            counts[name] += [np.count_nonzero(p <= level) for level in LEVELS]
    return {name: count / n / LEVELS for name, count in counts.items()}


def number(ratio: float) -> str:
    """Return a ratio with two digits."""
    if ratio >= 9.95:
        return f"{float(f'{ratio:.2g}'):.0f}"
    return f"{ratio:.1f}" if ratio >= 0.995 else f"{ratio:.2f}"


def rows_of(tests: dict[str, dict[str, Any]], shapes: tuple[Shape, ...], n: int) -> list[str]:
    """Return a table in Markdown, one row per shape."""
    columns = list(tests)
    lines = [
        "| values | cells | " + " | ".join(columns) + " |",
        "|---|---:|" + "---|" * len(columns),
    ]
    for shape in shapes:
        found = ratios(shape, tests, n)
        cells = [", ".join(map(number, found[name])) for name in columns]
        lines.append(f"| {shape.name} | {shape.size} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measure, and rewrite the tables of the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--p-values", type=int, default=4_000_000, help="per ratio")
    parser.add_argument("--short", action="store_true", help="200,000 p-values; only print")
    given = parser.parse_args()
    n = 200_000 if given.short else given.p_values
    errors = [(level / n) ** 0.5 / level for level in LEVELS]
    plain = tuple(shape for shape in SHAPES if shape.n_strata == 1)
    lines = [
        START,
        "",
        f"{n:,} p-values per ratio. The standard errors of a ratio of 1 are "
        f"{', '.join(f'{error:.1g}' for error in errors[:-1])} and {errors[-1]:.1g}.",
        "",
        *rows_of(WILCOXON, SHAPES, n),
        "",
        *rows_of(OTHERS, plain, n),
        "",
        END,
    ]
    if given.short:
        print("\n".join(lines))
        return
    page = PAGE.read_text()
    before, after = page.split(START)[0], page.split(END)[1]
    PAGE.write_text(before + "\n".join(lines) + after)


if __name__ == "__main__":
    main()
