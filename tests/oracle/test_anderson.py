"""p-values of Anderson-Darling given the ties, against relabelled cells.

Under the null hypothesis every choice of the target's cells from the pooled sample is equally
likely.
"""

import numpy as np
import pdex
import polars as pl
import pytest
from scipy import stats

#: Cells of each value, ascending, and of the target.
POOLS = {
    "one gene in ten, 200 cells": ([9_000, 900, 100], 200),
    "80 % zeros, 20 cells": ([8_000, 1_200, 400, 200, 100, 60, 40], 20),
    "80 % zeros, 100 cells": ([8_000, 1_200, 400, 200, 100, 60, 40], 100),
    "few zeros, 30 cells": ([2_500, 2_000, 1_500, 1_000, 800, 700, 500, 400, 300, 200, 100], 30),
    "half of the cells": ([600, 200, 120, 50, 20, 10], 500),
    "zeros and different values": ([700] + [1] * 300, 40),
}
RELABELLINGS = 400_000


def a_squared(own, cells, midrank):
    """A2 of each row of `own`, the target's cells of each value (Scholz and Stephens, 1987)."""
    n, n1 = cells.sum(), own[0].sum()
    half = 0.5 if midrank else 0
    below, mine = np.cumsum(cells) - half * cells, np.cumsum(own, axis=1) - half * own
    spread = below * (n - below) - (n * cells / 4 if midrank else 0)
    kept = spread > 0
    terms = cells * (n * mine - n1 * below) ** 2
    total = (terms[:, kept] / spread[kept]).sum(axis=1)
    return total * ((n - 1) / n if midrank else 1) / (n1 * (n - n1))


def p_values(own, cells, midrank, **reference):
    """The p-value that pdex gives to each row of `own`."""
    frames = []
    for i, row in enumerate(own):
        for label, each in (("target", row), ("control", cells - row)):
            kept = np.flatnonzero(each)
            frames.append(pl.DataFrame({"i": i, "g": label, "v": kept, "n": each[kept]}))
    test = pdex.anderson("v", "g", count="n", midrank=midrank, **reference)
    found = pl.concat(frames).group_by("i", maintain_order=True).agg(test).explode("anderson")
    found = found.unnest("anderson").filter(target="target").sort("i")
    return found["p_value"].to_numpy()


@pytest.mark.parametrize("midrank", [True, False])
@pytest.mark.parametrize("name", POOLS)
def test_p_values_are_the_share_of_relabellings(name, midrank):
    cells, n_target = np.array(POOLS[name][0]), POOLS[name][1]
    rng = np.random.default_rng(7)
    draws = RELABELLINGS if cells.size < 100 else RELABELLINGS // 10
    own = rng.multivariate_hypergeometric(cells, n_target, size=draws, method="marginals")
    squares = np.concatenate([a_squared(part, cells, midrank) for part in np.array_split(own, 40)])
    order = np.argsort(-squares, kind="stable")
    ranked = squares[order]
    # From the middle of the distribution to where 40 relabellings are left.
    for share in (0.5, 0.2, 0.05, 0.01, 1e-3, 1e-4):
        if share * draws < 40:
            continue
        at = order[int(share * draws)]
        exact = np.searchsorted(-ranked, -squares[at] * (1 - 1e-9), "right") / draws
        for reference in ("control", "rest"):
            got = p_values(own[at : at + 1], cells, midrank, reference=reference)[0]
            # Measured: 0.13 at p = 1e-4 (steps of a discrete distribution), and 0.05 above 1e-2.
            error = 4 * np.sqrt((1 - exact) / (exact * draws))
            assert abs(np.log(got / exact)) < 0.3 + error, (share, exact, got)


def test_the_limit_without_ties_is_far_off():
    """One cell in ten expresses the gene, and 38 of the target's 200."""
    cells = np.array([9_000, 900, 100])
    own = np.array([[162, 33, 5]])
    asymptotic = p_values(own, cells, True, reference="control", method="asymptotic")[0]
    auto = p_values(own, cells, True, reference="control")[0]
    draws = np.random.default_rng(1).multivariate_hypergeometric(cells, 200, size=2_000_000)
    exact = np.mean(a_squared(draws, cells, True) >= a_squared(own, cells, True)[0] * (1 - 1e-9))
    # Measured: 2.6e-9, 4.57e-5 and 4.6e-5.
    assert asymptotic < exact / 10_000
    assert 0.5 < auto / exact < 2


def test_two_values_have_the_hypergeometric_tail():
    own, cells = np.array([[150, 50], [200, 0], [192, 8]]), np.array([9_000, 1_000])
    null = stats.hypergeom(10_000, 1_000, 200)
    expected = [null.sf(49), null.cdf(0) + null.sf(39), null.cdf(8) + null.sf(31)]
    for reference in ("control", "rest"):
        got = p_values(own, cells, True, reference=reference)
        np.testing.assert_allclose(got, expected, rtol=1e-9)  # measured: 2e-13


def test_scipys_permutations_agree():
    rng = np.random.default_rng(3)
    x, y = rng.poisson(1.1, 15), rng.poisson(0.4, 60)
    frame = pl.DataFrame({"v": [*x, *y], "g": ["target"] * 15 + ["control"] * 60})
    test = frame.select(pdex.anderson("v", "g", reference="control")).unnest("anderson")
    method = stats.PermutationMethod(n_resamples=9_999, rng=np.random.default_rng(5))
    expected = stats.anderson_ksamp([x, y], variant="midrank", method=method)
    assert test["statistic"][0] == pytest.approx(expected.statistic, rel=1e-12)
    assert abs(np.log(test["p_value"][0] / expected.pvalue)) < 0.25
