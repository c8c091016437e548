"""The expressions `pdex.wilcoxon`, `anderson`, `ttest` and `ks` against SciPy 1.17.

A tolerance without a comment is the one that statistics.md promises.
"""

import itertools
import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import hypothesis.strategies as st
import mpmath as mp
import numpy as np
import pdex
import polars as pl
import polars.selectors as cs
import pytest
from hypothesis import given, settings
from polars.testing import assert_frame_equal
from scipy import integrate, stats

EXTRAS = {"wilcoxon": ["z_score", "auroc"], "anderson": [], "ttest": ["df"], "ks": []}
TESTS = list(EXTRAS)
MEANS, RESULTS = ["target_mean", "reference_mean"], ["statistic", "p_value", "neg_log10_p"]
ALTERNATIVES, METHODS = ["two-sided", "less", "greater"], ["asymptotic", "exact", "auto"]
LN10 = math.log(10)
each_equal_var = pytest.mark.parametrize("equal_var", [True, False])


def make(test, reference="ref", **options):
    return getattr(pdex, test)("value", "target", reference=reference, **options)


def whole(frame, test, **options):
    return frame.select(make(test, **options)).unnest(test)


def grouped(frame, test, by="gene", **options):
    lists = frame.group_by(by).agg(make(test, **options))
    return lists.explode(test).unnest(test).sort(by, maintain_order=True)


@pytest.fixture
def by_case(stack):
    """Tests every (target, reference) pair of samples as a group of one frame."""
    return lambda cases, test, **o: grouped(stack(cases), test, "case", reference="y", **o)


def close(got, expected, rtol, atol=0.0):
    assert got.null_count() == 0
    np.testing.assert_allclose(got.to_numpy(), np.array(expected, float), rtol=rtol, atol=atol)


def same(got, expected, tolerance=0.0):
    options = {"rel_tol": tolerance, "abs_tol": 0} if tolerance else {"check_exact": True}
    assert_frame_equal(got, expected, **options)


def quiet(call, *args, **kwargs):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        result = call(*args, **kwargs)
        return result.statistic, result.pvalue, getattr(result, "df", None)


def tie_sum(x, y):
    """The sum of t^3 - t over runs of tied values."""
    _, runs = np.unique(np.concatenate([x, y]) + 0.0, return_counts=True)
    return sum(int(t) ** 3 - int(t) for t in runs)


@pytest.mark.parametrize("continuity", [True, False])
@pytest.mark.parametrize("method", ["asymptotic", "exact"])
@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_wilcoxon_equals_mannwhitneyu(by_case, make_cases, alternative, method, continuity):
    cases = make_cases(264, largest=24 if method == "exact" else 60)
    if method == "exact":  # SciPy ignores the ties
        cases = [(x, y) for x, y in cases if tie_sum(x, y) == 0]
    chosen = {"alternative": alternative, "method": method}
    got = by_case(cases, "wilcoxon", continuity=continuity, **chosen)
    chosen["use_continuity"] = continuity
    expected = np.array([quiet(stats.mannwhitneyu, x, y, **chosen)[:2] for x, y in cases])
    if continuity:
        # 1 in SciPy 1.17; two-sided, NaN from 1.18 on.
        expected[[np.ptp([*x, *y]) == 0 for x, y in cases], 1] = 1.0
    assert got["statistic"].to_list() == expected[:, 0].tolist()
    close(got["p_value"], expected[:, 1], 1e-10)
    sizes = np.array([(len(x), len(y)) for x, y in cases])
    assert (got.select("n_target", "n_reference").to_numpy() == sizes).all()
    close(got["auroc"], expected[:, 0] / sizes.prod(1), 0)


def relabelled(x, y):
    """P(U >= u) and P(U <= u) over all choices of the target's cells among both samples'."""
    pooled = stats.rankdata(np.concatenate([x, y]))
    sums = [sum(chosen) for chosen in itertools.combinations(pooled, len(x))]
    mine = pooled[: len(x)].sum()
    return np.mean([s >= mine for s in sums]), np.mean([s <= mine for s in sums])


@pytest.mark.parametrize("method", ["exact", "auto"])
@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_wilcoxon_given_the_ties_counts_relabellings(by_case, make_cases, alternative, method):
    cases = [(x[:5], y[:8]) for x, y in make_cases(120)]
    got = by_case(cases, "wilcoxon", alternative=alternative, method=method)
    tails = [relabelled(x, y) for x, y in cases]
    pick = {
        "greater": lambda up, _: up,
        "less": lambda _, down: down,
        "two-sided": lambda up, down: min(1, 2 * min(up, down)),
    }
    # Measured 4e-14.
    close(got["p_value"], [pick[alternative](*both) for both in tails], 1e-12)


@pytest.mark.parametrize("method", ["exact", "auto", "conditional"])
def test_wilcoxon_of_two_values_is_hypergeometric(method):
    """A gene that one in ten of 10,000 cells express; 0 to 60 of a target's 200 cells do."""
    rows = [
        (str(x), "t" if label else "ref", value, cells)
        for x in range(61)
        for label, value, cells in [(1, 1, x), (1, 0, 200 - x), (0, 1, 1000 - x), (0, 0, 8800 + x)]
    ]
    frame = pl.DataFrame(rows, schema=["x", "target", "value", "count"], orient="row")
    got = grouped(frame, "wilcoxon", "x", count="count", method=method)
    got = got.sort(pl.col("x").cast(int))
    exact = stats.hypergeom(10_000, 1_000, 200)
    x = np.arange(61)
    log_p = np.minimum(exact.logsf(x - 1), exact.logcdf(x)) + np.log(2)
    # "auto" is the normal curve near the mean, z = (x - 20) / 4.2.
    far = abs(x - 20) > (9 if method == "auto" else 0)
    # Measured 1e-11; the saddlepoint 0.079, where one expressing cell is left.
    tolerance = 0.08 if method == "conditional" else 1e-10
    got = -got["neg_log10_p"].to_numpy()[far] * LN10
    np.testing.assert_allclose(got, np.minimum(log_p[far], 0), rtol=0, atol=tolerance)


@pytest.mark.parametrize("method", ["auto", "conditional"])
def test_p_values_fall_as_the_score_grows(method):
    """Log values of 40 cells among 3,000, half of them zero: from no difference to the largest."""
    rng = np.random.default_rng(3)
    pooled = np.concatenate([np.zeros(1500), np.sort(rng.gamma(2, 1, 1500))])
    parts = []
    for i, shift in enumerate(np.linspace(-1, 1, 81)):
        # Which cells are the target's: as far up or down as the shift says.
        order = np.argsort(
            shift * np.linspace(-3, 3, 3000) + (1 - abs(shift)) * rng.normal(size=3000)
        )
        label = np.full(3000, "ref", dtype=object)
        label[order[-40:]] = "t"
        parts.append(pl.DataFrame({"i": [i] * 3000, "value": pooled, "target": label.tolist()}))
    got = grouped(pl.concat(parts), "wilcoxon", "i", method=method)
    z, neg_log10 = got["z_score"].to_numpy(), got["neg_log10_p"].to_numpy()
    for side in (z > 0, z < 0):
        order = np.argsort(np.abs(z[side]))
        assert (np.diff(neg_log10[side][order]) >= -1e-9).all()


def test_an_exact_p_value_that_takes_too_long_is_an_error():
    rng = np.random.default_rng(1)
    frame = pl.DataFrame({"value": rng.normal(size=6000).round(2), "target": ["a", "ref"] * 3000})
    with pytest.raises(
        pl.exceptions.ComputeError, match=r"3000 and 3000 cells.*1048576 states.*'auto'"
    ):
        whole(frame, "wilcoxon", method="exact")


@pytest.mark.parametrize("tie_correct", [True, False])
@pytest.mark.parametrize("continuity", [True, False])
def test_wilcoxon_z_score_and_tie_correct(by_case, make_cases, continuity, tie_correct):
    cases, c = make_cases(330), 0.5 if continuity else 0.0
    options = {"continuity": continuity, "tie_correct": tie_correct, "method": "asymptotic"}
    got = by_case(cases, "wilcoxon", **options)
    z, tails = [], []
    for (x, y), u in zip(cases, got["statistic"], strict=True):
        n1, n2, ties = len(x), len(y), tie_sum(x, y) if tie_correct else 0
        n, excess = n1 + n2, u - n1 * n2 / 2
        s = math.sqrt(Fraction(n1 * n2, 12) * (n + 1 - Fraction(ties, n * (n - 1))))
        shrunk = math.copysign(max(abs(excess) - c, 0), excess)
        z.append(shrunk / s if s else (0 if continuity else math.nan))
        tails.append((abs(excess) - c) / s if s else (-math.inf if continuity else math.nan))
    close(got["z_score"], z, 1e-14)  # measured: 5e-16
    close(got["p_value"], np.minimum(1, 2 * stats.norm.sf(tails)), 1e-12)


@pytest.mark.parametrize("n", [1_000_000, 5_000_000])
def test_wilcoxon_counts_ties_beyond_64_bits(n):
    rows = [(0, "a", n), (1, "a", 3), (0, "ref", n - 700), (1, "ref", 700), (2, "ref", 1)]
    frame = pl.DataFrame(rows, schema=["value", "target", "count"], orient="row")
    got = whole(frame, "wilcoxon", count="count", continuity=False, method="asymptotic")
    n1, n2, size = n + 3, n + 1, 2 * n + 4
    u = Fraction(n * (n - 700), 2) + 3 * (n - 700) + Fraction(3 * 700, 2)
    ties = sum(t**3 - t for t in (2 * n - 700, 703))
    variance = Fraction(n1 * n2, 12) * (size + 1 - Fraction(ties, size * (size - 1)))
    z = float(u - Fraction(n1 * n2, 2)) / math.sqrt(variance)
    assert got["statistic"].item() == float(u)
    close(got["z_score"], [z], 1e-14)  # measured: 2e-16
    close(got["neg_log10_p"], [-(stats.norm.logsf(-z) + math.log(2)) / LN10], 1e-12)


def scipy_anderson(x, y, midrank):
    pooled = np.concatenate([x, y])
    if np.all(pooled == pooled[0]):
        return math.nan, 1.0  # SciPy raises
    if len(pooled) < 4:
        return math.nan, math.nan  # its variance divides by (N - 1)(N - 2)(N - 3)
    return quiet(stats.anderson_ksamp, [x, y], variant="midrank" if midrank else "right")[:2]


def a_squared(x, y):
    """Scholz and Stephens 1987, eq. 7 for k = 2, from its definition."""
    z, ties = np.unique(np.concatenate([x, y]), return_counts=True)
    n, below = len(x) + len(y), np.cumsum(ties) - ties / 2
    own = (np.searchsorted(np.sort(x), z) + np.searchsorted(np.sort(x), z, "right")) / 2
    squares = (n * own - len(x) * below) ** 2 / (below * (n - below) - n * ties / 4)
    return (n - 1) / n * (ties * squares).sum() / (len(x) * len(y))


def limit_sf(a2):
    """P(A2 > a2) in the limit, by Gil-Pelaez from Anderson and Darling's (1952) characteristic
    function sqrt(-2 pi i t / cos(pi/2 sqrt(1 + 8 i t))), its root followed along t = w^2."""
    w = np.linspace(0, 26, 40_001)[1:]
    t = w * w
    square = 2j * np.pi * t / np.sin(4j * np.pi * t / (1 + np.sqrt(1 + 8j * t)))
    phase = np.unwrap(np.angle(square)) / 2
    values = np.sqrt(np.abs(square)) * np.sin(phase - t * a2) * 2 / w
    return 0.5 + integrate.simpson(np.append(0, values), dx=w[0]) / np.pi


@pytest.mark.parametrize("midrank", [True, False])
def test_anderson_equals_anderson_ksamp(by_case, make_cases, midrank):
    cases = make_cases(1_100)
    expected = np.array([scipy_anderson(x, y, midrank) for x, y in cases])
    interpolated = by_case(cases, "anderson", midrank=midrank, method="scipy")
    full = by_case(cases, "anderson", midrank=midrank, method="asymptotic")
    given_ties = by_case(cases, "anderson", midrank=midrank)
    undefined, equal = np.isnan(expected[:, 1]), expected[:, 1] == 1
    for got in (interpolated, full, given_ties):
        close(got["statistic"], expected[:, 0], 1e-10, atol=1e-12)  # (A2 - 1)/s cancels near 0
        assert (np.isnan(got["p_value"].to_numpy()) == undefined).all()
        assert got.filter(equal).select("p_value", "neg_log10_p").unique().rows() == [(1.0, 0.0)]
    close(interpolated["p_value"], expected[:, 1], 1e-10)


def test_anderson_asymptotic_p_is_the_tail_of_the_limit(by_case, rng):
    shifts = [(n, shift) for n in (2, 7, 30) for shift in (0, 0.3, 0.8, 1.2)]
    cases = [(rng.normal(size=n) + shift, rng.normal(size=40)) for n, shift in shifts]
    expected = [limit_sf(a_squared(x, y)) for x, y in cases]
    # Nothing is tied, so that "auto" is the same.
    for method in ("asymptotic", "auto"):
        got = by_case(cases, "anderson", method=method)
        close(got["p_value"], expected, 1e-9, atol=1e-12)  # measured: 2e-14 of p
        close(got["neg_log10_p"], -np.log10(got["p_value"].to_numpy()), 1e-12)


def unit(x, y):
    """A power of two that brings values near 1 whose squares, or theirs, leave f64 in SciPy."""
    largest = np.abs(np.r_[x, y]).max()
    return 2.0 ** np.floor(np.log2(largest)) if largest > 1e70 else 1.0


@each_equal_var
@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_ttest_equals_ttest_ind(by_case, make_cases, alternative, equal_var):
    # Not the kinds where SciPy's own variance keeps no digits: 1 + k eps, and infinite values.
    kinds = ["normal", "counts", "sparse", "tied", "constant", "wide", "apart"]
    cases = make_cases(360, [*kinds, "signed zeros", "large counts"], least=2)
    options = {"alternative": alternative, "equal_var": equal_var}
    got = by_case(cases, "ttest", **options)
    units = [unit(x, y) for x, y in cases]
    tests = [
        quiet(stats.ttest_ind, x / by, y / by, **options)
        for (x, y), by in zip(cases, units, strict=True)
    ]
    t, p, df = zip(*tests, strict=True)
    close(got["statistic"], t, 1e-9, atol=1e-13)  # SciPy's means of equal samples may differ
    close(got["p_value"], p, 1e-9)
    close(got["df"], df, 1e-9)
    means = [[math.fsum(sample) / len(sample) for sample in case] for case in cases]
    np.testing.assert_allclose(got.select(MEANS).to_numpy(), means, rtol=1e-12)  # measured: 2e-14


@each_equal_var
def test_ttest_keeps_its_digits_far_from_zero(by_case, rng, equal_var):
    x, y = 1e6 + rng.normal(size=30), 1e6 + rng.normal(0.5, 1, size=40)
    got = by_case([(x, y)], "ttest", equal_var=equal_var)
    # The subtraction is exact, and SciPy keeps its digits near 0.
    expected = quiet(stats.ttest_ind, x - 1e6, y - 1e6, equal_var=equal_var)
    for name, value in zip(["statistic", "p_value", "df"], expected, strict=True):
        close(got[name], [value], 1e-12)  # measured: 3e-15


@each_equal_var
def test_ttest_degenerate_samples(by_case, equal_var):
    cases = [([1.0], [2.0, 3.0]), ([2.0, 3.0], [1.0]), ([1.0], [1.0]), ([1.0, np.inf], [1.0, 2.0])]
    got = by_case([(np.array(x), np.array(y)) for x, y in cases], "ttest", equal_var=equal_var)
    for name in RESULTS:
        close(got[name], [math.nan] * 4, 0)
    assert got["target_mean"].to_list() == [1.0, 2.5, 1.0, np.inf]
    apart = by_case([(np.full(3, 5.0), np.full(4, 2.0))], "ttest", equal_var=equal_var)
    assert apart.select(RESULTS).row(0) == (math.inf, 0.0, math.inf)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_ks_equals_ks_2samp(by_case, make_cases, alternative, method):
    cases = make_cases(264)
    got = by_case(cases, "ks", alternative=alternative, method=method)
    chosen = {"alternative": alternative, "method": method.replace("asymptotic", "asymp")}
    d, p, _ = zip(*[quiet(stats.ks_2samp, x, y, **chosen) for x, y in cases], strict=True)
    close(got["statistic"], d, 1e-14, atol=1e-15)  # SciPy subtracts the functions
    close(got["p_value"], p, 1e-10)  # measured: 2e-12
    with np.errstate(divide="ignore"):  # D = 1 has p = 0 in the two-sided limit
        close(got["neg_log10_p"], -np.log10(got["p_value"].to_numpy()), 1e-12, atol=1e-15)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_ks_of_many_cells(by_case, rng, alternative):
    sizes = [(200, 8_000), (300, 400), (5_000, 7_000), (1_000, 1_000)]
    cases = [(rng.normal(0.1 * k, 1, n), rng.normal(size=m)) for n, m in sizes for k in range(4)]
    got = by_case(cases, "ks", alternative=alternative)
    methods = ["exact" if len(x) == len(y) else "asymp" for x, y in cases]
    d, p, _ = zip(
        *[
            quiet(stats.ks_2samp, x, y, alternative=alternative, method=method)
            for (x, y), method in zip(cases, methods, strict=True)
        ],
        strict=True,
    )
    close(got["statistic"], d, 1e-13, atol=1e-15)
    close(got["p_value"], p, 1e-5)  # measured: 3e-7, the error of SciPy's Pelz-Good


def test_neg_log10_p_of_ks_grows_past_underflow(by_case):
    n = 3_000
    got = by_case([(np.arange(n, 2 * n), np.arange(n))], "ks").row(0, named=True)
    expected = float(mp.log10(mp.binomial(2 * n, n)) - mp.log10(2))
    assert (got["statistic"], got["p_value"]) == (1.0, 0.0)
    assert got["neg_log10_p"] == pytest.approx(expected, rel=1e-12)


def test_neg_log10_p_of_wilcoxon_grows_past_underflow(by_case):
    sizes = np.array([10, 100, 1_000, 5_000])
    cases = [(np.arange(n, 2 * n), np.arange(n)) for n in sizes]
    z = sizes / 2 * sizes / np.sqrt(sizes * sizes / 12 * (2 * sizes + 1))
    log_p = {"two-sided": stats.norm.logsf(z) + math.log(2)}
    log_p |= {"greater": stats.norm.logsf(z), "less": stats.norm.logsf(-z)}
    for alternative, expected in log_p.items():
        options = {"alternative": alternative, "continuity": False}
        got = by_case(cases, "wilcoxon", method="asymptotic", **options)
        close(got["neg_log10_p"], -expected / LN10, 1e-12)
        assert (got["p_value"][-1], got["neg_log10_p"][-1] > 1_600) in [(0, True), (1, False)]
    # One of C(2n, n) choices of the target's cells goes as far, and one as far the other way.
    one = [math.lgamma(2 * n + 1) - 2 * math.lgamma(n + 1) for n in sizes]
    got = by_case(cases, "wilcoxon")
    close(got["neg_log10_p"], (np.array(one) - math.log(2)) / LN10, 1e-12)
    got = by_case(cases, "wilcoxon", alternative="greater")
    close(got["neg_log10_p"], np.array(one) / LN10, 1e-12)


def test_neg_log10_p_of_anderson_and_ttest_grow_past_underflow(by_case):
    x, y = np.arange(3_000.0, 6_000.0), np.arange(3_000.0)
    a2 = a_squared(x, y)
    got = by_case([(x, y)], "anderson").row(0, named=True)
    # The tail is sqrt(3 / (pi x)) exp(-x) (1 + O(1/x)).
    expected = (a2 - math.log(3 / (math.pi * a2)) / 2) / LN10
    assert (got["p_value"], got["neg_log10_p"]) == (0.0, pytest.approx(expected, rel=1e-6))
    got = by_case([(x, y)], "ttest").row(0, named=True)
    with mp.workdps(50):
        half, t = mp.mpf(got["df"]) / 2, mp.mpf(got["statistic"])
        w = 2 * half / (2 * half + t * t)
        tail = w**half / half * mp.hyp2f1(half, 0.5, half + 1, w) / mp.beta(half, 0.5)
        expected = float(-mp.log10(tail))
    assert (got["p_value"], got["neg_log10_p"]) == (0.0, pytest.approx(expected, rel=1e-12))


@pytest.mark.parametrize("reference", ["ref", "rest"])
def test_counts_are_repeated_rows(genes, test, reference):
    repeated = genes.select(pl.all().repeat_by("count").explode()).drop_nulls().drop("count")
    expected = grouped(repeated, test, reference=reference)
    same(
        grouped(genes, test, reference=reference, count="count"), expected, 1e-12
    )  # measured: 1e-14
    folded = repeated.group_by("gene", "target", "value").len("count")
    same(grouped(folded, test, reference=reference, count="count"), expected, 1e-12)
    same(whole(genes, test, count=pl.lit(2)), whole(pl.concat([genes] * 2), test), 1e-12)


def test_count_zero_is_no_cell(genes, test):
    frame = genes.select("value", "target", count=1)
    nothing = {"value": [1e9, math.nan, 1.0], "target": ["a", "b", "d"], "count": [0, 0, 0]}
    counted = frame.vstack(pl.DataFrame(nothing, schema_overrides={"count": pl.Int32}))
    got, expected = whole(counted, test, count="count"), whole(frame, test)
    same(got.filter(pl.col("target") != "d"), expected)
    empty = got.filter(target="d").drop("target", "n_reference", "reference_mean")
    assert empty.row(0) == (0, *[None] * (empty.width - 1))


def test_rest_is_all_other_rows(genes, test):
    got = grouped(genes, test, reference="rest")
    assert got["target"].to_list() == ["a", "b", "c", "ref"] * 3
    for target in ("a", "b", "c", "ref"):
        label = pl.when(pl.col("target") == target).then("target").otherwise(pl.lit("others"))
        expected = grouped(genes.with_columns(target=label), test, reference="others")
        # The limit given the ties of a pair and of all cells: other blocks of many runs.
        same(got.filter(target=target), expected, 1e-12 if test != "anderson" else 0.01)


BASES = [(pl.Int64, 2**62), (pl.Int64, -(2**63)), (pl.UInt64, 2**64 - 99), (pl.Int128, 2**62)]
BASES += [
    (pl.Int128, 2**63),
    (pl.Int128, -(2**100)),
    (pl.UInt128, 2**64 - 99),
    (pl.UInt128, 2**100),
]
ENUM = pl.Enum(["unused", "c", "ref", "b", "a"])


def test_every_dtype_of_value(genes, test, dtype):
    least = 0 if dtype.is_unsigned_integer() else -7
    frame = genes.with_columns((pl.col("value") * 10).round().clip(least, 100))
    same(grouped(frame.cast({"value": dtype}), test), grouped(frame, test))
    weighted = frame.cast({"value": dtype, "count": pl.UInt8})
    same(grouped(weighted, test, count="count"), grouped(frame, test, count="count"))


@pytest.mark.parametrize("test", ["wilcoxon", "anderson", "ks"])
@pytest.mark.parametrize(("dtype", "base"), BASES)
def test_integers_that_share_a_float_are_ranked_apart(genes, test, dtype, base):
    small = genes.select("target", value=pl.int_range(pl.len()) * 7 % 90)
    large = pl.Series("value", [base + v for v in small["value"].to_list()], dtype=dtype)
    got, expected = whole(small.with_columns(large), test), whole(small, test)
    same(got.drop(MEANS), expected.drop(MEANS))
    close(got["target_mean"], [base + m for m in expected["target_mean"]], 1e-15)  # measured: 0


def test_every_dtype_of_target(genes, labels, test):
    got = grouped(genes.with_columns(labels.column), test, reference=labels.reference)
    assert got["target"].to_list() == labels.order * 3
    if labels.dtype == pl.Boolean:
        genes = genes.with_columns(pl.col("target").replace(["b", "c"], "a"))
    expected = grouped(genes, test).with_columns(labels.column)
    same(got.sort("gene", "p_value"), expected.sort("gene", "p_value"))
    assert got["target"].dtype == labels.dtype


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64, pl.Int32])
def test_nulls_are_left_out(genes, test, dtype):
    i = pl.int_range(pl.len())
    value = pl.when(i % 7 != 2).then(pl.col("value").cast(dtype))
    target = pl.when(i % 11 != 5).then(pl.col("target").cast(ENUM))
    nulls = genes.with_columns(value=value, target=target)
    same(grouped(nulls, test, count="count"), grouped(nulls.drop_nulls(), test, count="count"))
    same(whole(nulls, test, reference="rest"), whole(nulls.drop_nulls(), test, reference="rest"))


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
@pytest.mark.parametrize(
    ("where", "reference", "undefined"),
    [("b", "ref", ["b"]), ("ref", "ref", ["a", "b", "c"]), ("b", "rest", ["a", "b", "c", "ref"])],
)
def test_nan_undoes_only_what_it_enters(genes, test, dtype, where, reference, undefined):
    frame = genes.cast({"value": dtype})
    hit = (pl.col("target") == where) & (pl.col("gene") == "g2")
    value = pl.when(hit & (hit.cum_sum() == 2)).then(pl.lit(math.nan, dtype)).otherwise("value")
    got = grouped(frame.with_columns(value.alias("value")), test, reference=reference)
    expected = grouped(frame, test, reference=reference)
    is_hit = (pl.col("gene") == "g2") & pl.col("target").is_in(undefined)
    same(got.filter(~is_hit), expected.filter(~is_hit))
    assert got.select("n_target", "n_reference").equals(expected.select("n_target", "n_reference"))
    for row in got.filter(is_hit).to_dicts():
        assert all(math.isnan(row[name]) for name in [*RESULTS, *EXTRAS[test]])
        assert math.isnan(row["target_mean"]) == (row["target"] == where)
        assert math.isnan(row["reference_mean"]) == (row["target"] != where)


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, ENUM])
def test_every_context_gives_the_same_numbers(genes, test, run, dtype):
    frame = genes.cast({"target": dtype})
    parts = [whole(frame.filter(gene=gene), test) for gene in ("g1", "g2", "g3")]
    got = run(frame, make(test), test).sort("gene", maintain_order=True)
    assert got["gene"].to_list() == sorted(["g1", "g2", "g3"] * 3)
    same(got.drop("gene"), pl.concat(parts), 1e-12)  # another order of summation: 8e-15


def test_eight_threads_at_once(genes):
    expected = {test: grouped(genes, test) for test in TESTS}
    with ThreadPoolExecutor(8) as pool:
        for test, job in [(test, pool.submit(grouped, genes, test)) for test in TESTS * 16]:
            same(job.result(), expected[test])


def test_namespace_and_expression_inputs(genes, test):
    namespace = getattr(pl.col("value").pdex, test)("target", reference="ref", count="count")
    same(genes.select(namespace), genes.select(make(test, count="count")))
    value, target = pl.col("value").abs().log1p(), pl.concat_str(pl.lit("t-"), "target")
    inline = getattr(pdex, test)(value, target, reference="t-ref", count=pl.col("count") + 1)
    frame = genes.with_columns(value=value, target=target, count=pl.col("count") + 1)
    same(genes.select(inline), frame.select(make(test, reference="t-ref", count="count")))
    assert frame.select(make(t, reference="t-ref") for t in TESTS).columns == TESTS


def test_schema_is_known_before_anything_runs(genes, labels, test):
    lazy = genes.lazy().with_columns(labels.column)
    fields = {"target": labels.dtype, "n_target": pl.UInt32(), "n_reference": pl.UInt32()}
    fields |= {field: pl.Float64() for field in MEANS + RESULTS + EXTRAS[test]}
    struct, expression = pl.Struct(fields), make(test, labels.reference, count="count")
    selected, listed = lazy.select(expression), lazy.group_by("gene").agg(expression)
    over = lazy.select(expression.over("gene", mapping_strategy="join"))
    assert selected.collect_schema() == {test: struct}
    assert list(selected.unnest(test).collect_schema().items()) == list(fields.items())
    assert listed.collect_schema()[test] == over.collect_schema()[test] == pl.List(struct)
    for query in (selected, selected.unnest(test), listed, listed.explode(test), over):
        for engine in ("in-memory", "streaming"):
            assert query.collect(engine=engine).schema == query.collect_schema()


OPTIONS = {
    ("wilcoxon", "alternative"): ALTERNATIVES,
    ("wilcoxon", "method"): ["auto", "exact", "conditional", "asymptotic"],
    ("anderson", "method"): ["auto", "asymptotic", "scipy"],
    ("ks", "method"): ["auto", "exact", "asymptotic"],
}
NOT_2 = pl.when(pl.col("count") != 2).then("count")
NOT_REF = pl.when(pl.col("target") != "ref").then("value")
BAD = {  # which column, what it becomes, the reference, what the message says
    "unknown reference": (
        "value",
        "value",
        "nope",
        "'target' has no group 'nope'.*'a', 'b', 'c', 'ref'",
    ),
    "reference of another dtype": (
        "value",
        "value",
        3,
        r"'target' has no group 3.*dtype str.*'a', 'b', 'c', 'ref'",
    ),
    "no values in the reference": ("value", NOT_REF, "ref", "'ref'.*'target'"),
    "String value": ("value", "target", "ref", "'value'.*str.*integer or float"),
    "Boolean value": ("value", pl.col("value") > 0, "ref", "'value'.*bool.*integer or float"),
    "Decimal value": ("value", pl.lit(1, pl.Decimal(9, 2)), "ref", "'value'.*decimal.*integer or"),
    "float target": ("target", "value", "ref", "'target'.*f64.*Enum"),
    "negative count": ("count", pl.lit(-3), "ref", "'count'.*-3.*non-negative"),
    "null count": ("count", NOT_2, "ref", "'count'.*null"),
    "float count": ("count", pl.lit(1.0), "ref", "'count'.*f64.*integer"),
    "Array count": ("count", pl.lit([1], pl.Array(pl.Int64, 1)), "ref", "'count'.*array.*integer"),
    "Date value": ("value", pl.lit(0).cast(pl.Date), "ref", "'value'.*Date32.*integer or float"),
    "Duration target": ("target", pl.lit(0).cast(pl.Duration), "ref", "'target'.*Duration.*Enum"),
    "Time count": ("count", pl.lit(0).cast(pl.Time), "ref", "'count'.*Time.*non-negative"),
    "Null value": ("value", pl.lit(None), "ref", "'value'.*null.*integer or float"),
    "too many cells": ("count", pl.lit(2**60), "ref", "cells.*at most 1073741824"),
    "no target": ("target", pl.lit(None, pl.String), "rest", "'target'.*nothing to test"),
    "no value": ("value", pl.lit(None, pl.Float64), "rest", "'target'.*nothing to test"),
}


#: What a group of a `group_by` may lack: its results are null.
LACKING = {"unknown reference", "no values in the reference", "no target", "no value"}


@pytest.mark.parametrize("case", BAD)
def test_bad_columns_raise_and_name_what_is_wrong(genes, test, case):
    column, becomes, reference, message = BAD[case]
    lazy = genes.lazy().with_columns(**{column: becomes})
    expression = make(test, reference=reference, count="count")
    selected, listed = lazy.select(expression), lazy.group_by("gene").agg(expression)
    for query in (selected, listed):
        for engine in ("in-memory", "streaming"):
            if query is listed and case in LACKING:
                found = query.collect(engine=engine).explode(test).unnest(test)
                assert found["p_value"].null_count() == found.height
                continue
            with pytest.raises(pl.exceptions.PolarsError, match=message):
                query.collect(engine=engine)


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, pl.Enum(["a", "b", "c", "ref"])])
def test_a_group_without_a_reference_has_null_results(genes, test, dtype, engine):
    lazy = genes.lazy().with_columns(pl.col("target").cast(dtype))
    lacks = (pl.col("gene") == "g2") & (pl.col("target") == "ref")
    expression = make(test, reference="ref", count="count")
    for holed in (
        lazy.filter(~lacks),
        lazy.with_columns(value=pl.when(~lacks).then("value")),
        lazy.with_columns(count=pl.when(lacks).then(0).otherwise("count")),
    ):
        whole = lazy.group_by("gene", maintain_order=True).agg(expression)
        query = holed.group_by("gene", maintain_order=True).agg(expression)
        got, want = (q.collect(engine=engine).explode(test).unnest(test) for q in (query, whole))
        own = pl.col("gene") == "g2"
        assert_frame_equal(got.filter(~own), want.filter(~own), check_exact=True)
        hole, full = got.filter(own), want.filter(own)
        columns = ["target", "n_target", "target_mean"]
        assert_frame_equal(hole.select(columns), full.select(columns), check_exact=True)
        assert hole["n_reference"].to_list() == [0] * hole.height
        others = hole.select(pl.exclude("gene", "n_reference", *columns))
        assert others.null_count().row(0) == (hole.height,) * others.width
        over = holed.select(expression.over("gene", mapping_strategy="join"))
        assert over.collect(engine=engine).height == holed.collect().height
        # Of a whole frame it is an error.
        with pytest.raises(pl.exceptions.PolarsError, match="'ref'"):
            holed.filter(own).select(expression).collect(engine=engine)


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_a_reference_that_no_group_can_have_is_an_error(genes, test, engine):
    labels = pl.Enum(["a", "b", "c", "ref"])
    for target, reference in [(labels, "reff"), (pl.String, 3), (pl.Categorical, True)]:
        lazy = genes.lazy().with_columns(pl.col("target").cast(target))
        query = lazy.group_by("gene").agg(make(test, reference=reference, count="count"))
        with pytest.raises(pl.exceptions.PolarsError, match="'target' has no group"):
            query.collect(engine=engine)


EMPTY_TARGETS = [pl.String, pl.Categorical, pl.Enum(["ref", "a"]), pl.Boolean, pl.Int8, pl.UInt64]


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
@pytest.mark.parametrize("dtype", EMPTY_TARGETS)
def test_an_empty_frame_has_no_rows_of_the_promised_schema(genes, test, engine, dtype):
    # Frames without rows for other reasons: no chunk, an empty one, a filter.
    empty = pl.lit(None).cast(dtype).alias("target")
    for frame in (genes.clear(), genes.head(0), genes.filter(pl.col("value").is_null())):
        for reference in ("ref", "rest"):
            expression = make(test, reference=reference, count="count")
            lazy = frame.lazy().with_columns(empty)
            for query in (lazy.select(expression), lazy.group_by("gene").agg(expression)):
                got = query.collect(engine=engine)
                assert got.height == 0
                assert got.schema == query.collect_schema()


def test_an_empty_frame_of_other_dtypes_is_an_error(genes, test):
    for role in ("value", "target", "count"):
        frame = genes.clear().with_columns(pl.lit(None, pl.List(pl.Int8)).alias(role))
        with pytest.raises(pl.exceptions.PolarsError, match=f"'{role}' has dtype list"):
            whole(frame, test, count="count")


@pytest.mark.parametrize(
    ("reference", "first"),
    [
        ("Non_Targeting", ["non-targeting"]),
        ("GENE12", ["GENE-12", "GENE-1"]),  # the likest first, then in order
        ("nothing like it", ["NTC", "my control", "non-targeting", "GENE-0"]),
    ],
)
def test_an_unknown_reference_shows_near_names_and_likely_controls_first(reference, first):
    targets = [*(f"GENE-{i}" for i in range(20)), "my control", "NTC", "non-targeting", "PRINT"]
    frame = pl.DataFrame({"value": range(24), "target": targets})
    shown = ", ".join(map(repr, first))
    with pytest.raises(
        pl.exceptions.PolarsError, match=rf"Groups \(dtype str\): {shown}, .*more\."
    ):
        whole(frame, "wilcoxon", reference=reference)


@pytest.mark.parametrize(("test", "option"), OPTIONS)
def test_unknown_options_name_the_valid_ones(genes, test, option):
    message = ".*".join([option, *OPTIONS[test, option], "Less"])
    with pytest.raises((ValueError, pl.exceptions.PolarsError), match=message):
        whole(genes, test, **{option: "Less"})


def test_none_is_no_column_but_for_count(genes, test):
    for roles in ({"value": None, "target": "target"}, {"value": "value", "target": None}):
        with pytest.raises(pl.exceptions.PolarsError, match="null"):
            genes.select(getattr(pdex, test)(**roles, reference="ref", count="count"))


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_several_columns_of_values_give_a_result_each(genes, test, engine):
    expression = getattr(pdex, test)
    frame = genes.with_columns(twice=2 * pl.col("value"), text=pl.lit("x"))
    one = {
        name: expression(name, "target", reference="ref", count="count").alias(name)
        for name in ("value", "twice")
    }
    for several in (pl.col("value", "twice"), "^(value|twice)$", cs.by_name("value", "twice")):
        made = expression(several, "target", reference="ref", count="count")
        for query in (
            lambda lazy, *e: lazy.select(*e),
            lambda lazy, *e: lazy.group_by("gene", maintain_order=True).agg(*e),
        ):
            got = query(frame.lazy(), made)
            want = query(frame.lazy(), *one.values()).collect(engine=engine)
            assert got.collect_schema() == want.schema
            assert_frame_equal(got.collect(engine=engine), want, check_exact=True)


def test_several_columns_in_another_role_are_refused(genes, test):
    expression = getattr(pdex, test)
    with pytest.raises(ValueError, match=r"^target=.*: expected one column; only value may be"):
        expression("value", pl.col("target", "gene"), reference="ref")
    with pytest.raises(ValueError, match=r"^count=.*: expected one column"):
        expression("value", "target", reference="ref", count=pl.all())
    # A column of text among the values is named.
    frame = genes.with_columns(text=pl.lit("x"))
    for values in (pl.col("value", "text"), "^(value|text)$"):
        with pytest.raises(pl.exceptions.PolarsError, match=r"'text' has dtype str.*integer or fl"):
            frame.select(expression(values, "target", reference="ref"))


def exact_pair(n, shift):
    """Two samples without ties: the first n odd and even numbers, the target's shifted."""
    values = np.r_[np.arange(n) * 2.0 + shift, np.arange(n) * 2.0 + 1]
    return pl.DataFrame({"value": values, "target": ["x"] * n + ["y"] * n})


def arrangements(m, n):
    """How many arrangements have U = 0, 1, ... mn/2, in Python's integers."""
    counts = [1] + [0] * (m * n // 2)
    for i in range(1, m + 1):
        for u in range(len(counts) - 1, n + i - 1, -1):
            counts[u] -= counts[u - n - i]
        for u in range(i, len(counts)):
            counts[u] += counts[u - i]
    return counts


@pytest.mark.parametrize("n", [30, 160, 240])
def test_exact_p_values_of_hundreds_of_cells_are_exact(n):
    # SciPy's recursion takes too long for these.
    counts, total = arrangements(n, n), math.comb(2 * n, n)
    for shift in (0.0, n // 16 * 2.0, n // 8 * 2.0, n * 1.0 // 2 * 2):
        row = whole(exact_pair(n, -shift), "wilcoxon", reference="y", method="exact")
        row = row.row(0, named=True)
        expected = Fraction(2 * sum(counts[: int(row["statistic"]) + 1]), total)
        assert abs(row["p_value"] / float(expected) - 1) < 1e-14, (n, shift)  # measured: 3e-16


def test_exact_p_values_do_not_underflow():
    n = 540
    got = whole(exact_pair(n, 4.0 * n), "wilcoxon", reference="y", method="exact").row(
        0, named=True
    )
    with mp.workdps(50):
        expected = -mp.log10(2 / mp.binomial(2 * n, n))
    assert got["p_value"] < 1e-300
    assert abs(got["neg_log10_p"] / float(expected) - 1) < 1e-13  # measured: 0


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_exact_p_values_of_too_many_cells_are_refused(alternative):
    frame = exact_pair(3000, 0.0)
    expression = pdex.wilcoxon(
        "value", "target", reference="y", method="exact", alternative=alternative
    )
    with pytest.raises(pl.exceptions.PolarsError, match=r"'exact'.*3000 and 3000.*asymptotic"):
        frame.select(expression)


@pytest.mark.parametrize("scale", [1e-300, 1e150, 1e175, 1e300])
def test_ttest_of_squares_beyond_f64_is_that_of_the_scaled_values(scale):
    x, y = np.arange(10.0), np.arange(10.0) + 1
    values = np.r_[x, y] * scale
    frame = pl.DataFrame({"value": values, "target": ["x"] * 10 + ["y"] * 10})
    got = whole(frame, "ttest", reference="y").row(0, named=True)
    # SciPy's own statistic is 0 at 1e175.
    expected = stats.ttest_ind(x, y)
    close(pl.Series([got["statistic"]]), [expected.statistic], 1e-14)
    close(pl.Series([got["p_value"]]), [expected.pvalue], 1e-13)


VALUES = st.one_of(st.integers(-2, 3).map(float), st.floats(allow_nan=False, width=32))
ROWS = st.lists(st.tuples(VALUES, st.sampled_from("abr"), st.integers(0, 3)), max_size=30)


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(ROWS, st.booleans(), st.sampled_from(ALTERNATIVES))
def test_any_weighted_sample_equals_its_definition(drawn, continuity, alternative):
    rows = [*drawn, (0.0, "a", 1), (1.0, "r", 1)]
    frame = pl.DataFrame(rows, schema=["value", "target", "count"], orient="row")
    options = {"reference": "r", "count": "count", "alternative": alternative}
    options["method"] = "asymptotic"
    got = whole(frame, "wilcoxon", continuity=continuity, **options)
    samples = {t: np.array([v for v, u, n in rows for _ in range(n) if u == t]) for t in "abr"}
    for row in got.filter(pl.col("n_target") > 0).to_dicts():
        x, y = samples[row["target"]], samples["r"]
        u = (x[:, None] > y).sum() + (x[:, None] == y).sum() / 2
        _, p, _ = quiet(stats.mannwhitneyu, x, y, continuity, alternative, method="asymptotic")
        assert (row["n_target"], row["n_reference"], row["statistic"]) == (len(x), len(y), u)
        assert row["p_value"] == pytest.approx(p, rel=1e-10, nan_ok=True)
