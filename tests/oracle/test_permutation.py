"""`ttest(method="permutation")` against all relabellings, SciPy's random ones, and exact sums."""

import itertools
import math

import numpy as np
import pdex
import polars as pl
import pytest
from scipy import stats

ALTERNATIVES = ["two-sided", "less", "greater"]
RESAMPLES = 100_000


def permuted(x, y, alternative="two-sided", reference="y"):
    """(t, p) of `x` against `y`."""
    labels = ["x"] * len(x) + ["y"] * len(y)
    frame = pl.DataFrame({"value": np.concatenate([x, y]), "target": labels})
    options = {"reference": reference, "alternative": alternative, "method": "permutation"}
    found = frame.select(pdex.ttest("value", "target", **options)).unnest("ttest")
    row = found.filter(pl.col("target") == "x")
    return row["statistic"].item(), row["p_value"].item()


def enumerated(x, y, alternative):
    """The p-value over all ways to choose the target's cells, from sums in fractions of 2^-20."""
    pooled = np.round(np.concatenate([x, y]) * 2**20).astype(np.int64)
    chosen = itertools.combinations(pooled.tolist(), len(x))
    sums = np.array([sum(cells) for cells in chosen])
    t = pooled[: len(x)].sum()
    up, down = (sums >= t).mean(), (sums <= t).mean()
    return {"two-sided": min(1.0, 2 * min(up, down)), "less": down, "greater": up}[alternative]


SAMPLES = {
    "counts": lambda rng, n: rng.poisson(0.7, n).astype(float),
    "log values": lambda rng, n: np.log1p(rng.poisson(1, n) / rng.uniform(0.5, 2, n)),
    "normal": lambda rng, n: rng.normal(3, 1, n),
    "signed counts": lambda rng, n: rng.integers(-3, 4, n).astype(float),
    "far from 0": lambda rng, n: 1e6 + rng.integers(0, 64, n) / 16,
}


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("kind", SAMPLES)
def test_small_samples_equal_full_enumeration(rng, kind, alternative):
    for n1, n2 in [(2, 2), (3, 5), (4, 7), (6, 6), (2, 12)]:
        x, y = (np.round(SAMPLES[kind](rng, n) * 2**20) / 2**20 for n in (n1, n2))
        statistic, p = permuted(x, y, alternative)
        if np.isnan(statistic):
            assert np.isnan(p)
            continue
        assert math.isclose(p, enumerated(x, y, alternative), rel_tol=1e-10), (n1, n2)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("kind", SAMPLES)
def test_p_is_within_the_error_of_scipys_random_relabellings(rng, kind, alternative):
    for n1, n2, shift in [(5, 60, 0.0), (12, 300, 0.7), (40, 90, 0.4)]:
        x, y = SAMPLES[kind](rng, n1), SAMPLES[kind](rng, n2)
        x = x + (np.ceil(shift) if "counts" in kind else shift) * (rng.random(n1) < 0.6)
        statistic, p = permuted(x, y, alternative)
        # SciPy loses digits of values far from 0.
        assert math.isclose(statistic, stats.ttest_ind(x, y).statistic, rel_tol=1e-7)
        found = stats.permutation_test(
            (x, y),
            lambda x, y, axis: x.sum(axis),
            permutation_type="independent",
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=2_000,
            alternative=alternative,
            rng=np.random.default_rng(1),
        )
        # Five standard errors of SciPy's estimate, and the approximation: from 2 standard
        # deviations on within a third, nearer the mean, where Student's curve takes over, within a
        # factor of 3.
        error = 5 / math.sqrt(max(found.pvalue, 1 / RESAMPLES) * RESAMPLES)
        n = n1 + n2
        z = statistic * math.sqrt((n - 1) / (n - 2 + statistic**2))
        allowed = math.log(1.33 if abs(z) >= 2 and p < 0.1 else 3) + error
        assert abs(math.log(p / max(found.pvalue, 1 / RESAMPLES))) < allowed or (
            p < found.pvalue <= 2 / RESAMPLES
        ), (n1, n2, p, found.pvalue)


def test_two_values_are_hypergeometric():
    # 30 of 100 target cells express a gene that 1,000 of 10,000 cells do, and none of them.
    for expressing, want in [
        (30, 2 * stats.hypergeom.sf(29, 10_000, 1_000, 100)),
        (0, 2 * stats.hypergeom.cdf(0, 10_000, 1_000, 100)),
    ]:
        x = np.repeat([1.0, 0.0], [expressing, 100 - expressing])
        y = np.repeat([1.0, 0.0], [1_000 - expressing, 8_900 + expressing])
        assert math.isclose(permuted(x, y)[1], want, rel_tol=1e-9)


def test_a_target_of_the_largest_values_has_one_outcome(rng):
    y = rng.normal(0, 1, 500)
    p = permuted(np.array([10.0, 11.0, 12.0]), y, "greater")[1]
    assert math.isclose(p, 1 / math.comb(503, 3), rel_tol=1e-9)


def test_the_rest_is_what_it_is_as_a_reference(rng):
    x, y = rng.exponential(1, 15) + 0.8, rng.exponential(1, 400)
    got = [permuted(x, y, reference=reference)[1] for reference in ("y", "rest")]
    # Other nodes stand for the same values.
    assert math.isclose(*got, rel_tol=1e-6)


def test_only_p_values_differ_from_students(rng):
    n = 400
    frame = pl.DataFrame({"value": rng.poisson(0.5, n), "target": rng.choice(["a", "b", "y"], n)})
    of = {
        method: frame.select(pdex.ttest("value", "target", reference="y", method=method))
        .unnest("ttest")
        .drop("p_value", "neg_log10_p")
        for method in ("student", "permutation")
    }
    assert of["student"].equals(of["permutation"])


def test_degenerate_samples():
    for x, y in [([2.0, 2.0], [2.0, 2.0, 2.0]), ([2.0], [3.0, 4.0]), ([1.0, 2.0], [3.0])]:
        assert np.isnan(permuted(np.array(x), np.array(y))[1])
    # No variance, but other means: one way of ten.
    statistic, p = permuted(np.array([5.0, 5.0]), np.array([2.0, 2.0, 2.0]))
    assert statistic == math.inf
    assert math.isclose(p, 0.2, rel_tol=1e-12)


@pytest.mark.parametrize("call", ["expression", "de", "overestim_var"])
def test_welchs_test_is_refused(call):
    screen = pdex.datasets.simulate_screen(n_cells=60, n_genes=5, n_targets=2, n_effects=1)
    options = {"equal_var": False, "method": "permutation"}
    calls = {
        "expression": lambda: pdex.ttest("value", "target", reference="y", **options),
        "de": lambda: pdex.de(screen, "target", test="ttest", **options),
        "overestim_var": lambda: pdex.de(
            screen, "target", test="ttest", overestim_var=True, **options
        ),
    }
    with pytest.raises(ValueError, match="method='permutation' needs equal_var=True"):
        calls[call]()


def test_unknown_methods_are_named():
    with pytest.raises(ValueError, match="method must be one of 'student', 'permutation'"):
        pdex.ttest("value", "target", reference="y", method="exact")


@pytest.mark.parametrize("reference", ["control", "rest"])
def test_every_layout_gives_the_same_bits(reference):
    screen = pdex.datasets.simulate_screen(n_cells=800, n_genes=40, n_targets=8, n_effects=5)
    name = {"control": "non-targeting"}.get(reference, reference)

    def p_of(matrix):
        data = screen.copy()
        data.X = matrix
        options = {"test": "ttest", "method": "permutation", "reference": name}
        return pdex.de(data, "target", **options)["p_value"].to_numpy()

    csr = screen.X.tocsr()
    want = p_of(csr)
    for matrix in (csr.tocsc(), csr.toarray(), np.asfortranarray(csr.toarray())):
        np.testing.assert_array_equal(p_of(matrix), want)
