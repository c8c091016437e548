"""A real screen - Papalexi et al. 2021, 20,729 THP-1 cells - through every way in, and SciPy."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import stats

EXTRAS = {"wilcoxon": ["z_score", "auroc"], "anderson": [], "ttest": ["df"]}
TESTS = list(EXTRAS)
METRICS = {"wilcoxon": "wilcoxon", "anderson": "anderson", "ttest": "t-test"}
REFERENCE = "non-targeting"
COMMON = ["n_target", "n_reference", "target_mean", "reference_mean"]
COMMON += ["statistic", "p_value", "neg_log10_p"]


def options(test):
    """The options that give SciPy's own numbers, or where they differ the best."""
    return {"method": "asymptotic"} if test == "wilcoxon" else {}


@pytest.fixture(scope="module")
def screen(screen_path):
    return ad.read_h5ad(screen_path)


@pytest.fixture(scope="module", params=TESTS)
def job(request, screen):
    """A test, and the whole job in memory."""
    return request.param, pdex.de(screen, "target", test=request.param, **options(request.param))


def text(frame):
    return frame.with_columns(pl.col("target", "feature").cast(pl.String))


def quiet(call, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anderson_ksamp: its p-value is capped
        result = call(*args, **kwargs)
    return result.statistic, result.pvalue


def oracle(test, x, y):
    if test == "wilcoxon":
        return quiet(stats.mannwhitneyu, x, y, method="asymptotic")
    if test == "ttest":
        return quiet(stats.ttest_ind, x, y)
    return quiet(stats.anderson_ksamp, [x, y], variant="midrank")


def sampled(screen, frame, n, seed):
    """n rows of a result, and their cells: (row, target's, reference's)."""
    dense, label = screen.X.toarray().astype(float), screen.obs["target"].to_numpy()
    for row in frame.sample(n, seed=seed).to_dicts():
        values = dense[:, screen.var_names.get_loc(row["feature"])]
        yield row, values[label == row["target"]], values[label == REFERENCE]


def test_the_job_is_whole(screen, job):
    test, result = job
    targets = [t for t in screen.obs["target"].cat.categories if t != REFERENCE]
    assert result["target"].unique(maintain_order=True).to_list() == targets
    assert result["feature"].to_list() == list(screen.var_names) * 25
    assert result.columns[6 : 6 + len(EXTRAS[test])] == EXTRAS[test]
    sizes = screen.obs["target"].value_counts()
    expected = [int(sizes[t]) for t in result["target"].to_list()]
    assert result["n_target"].to_list() == expected
    assert (result["n_reference"] == 2_386).all()


def test_path_and_backed_equal_memory(screen_path, job):
    test, result = job
    assert_frame_equal(
        pdex.de(screen_path, "target", test=test, **options(test)), result, check_exact=True
    )
    backed = ad.read_h5ad(screen_path, backed="r")
    got = pdex.de(backed, "target", test=test, threads=1, **options(test))
    backed.file.close()
    assert_frame_equal(got, result, check_exact=True)


def test_expressions_give_the_same_numbers(screen_path, job):
    test, result = job
    columns = {"reference": REFERENCE, "count": "count"}
    expression = getattr(pdex, test)("value", "target", **columns, **options(test))
    lazy = pdex.scan_anndata(screen_path, "target").group_by("gene").agg(expression)
    rows = lazy.explode(test).unnest(test).collect(engine="streaming")
    rows = text(rows.rename({"gene": "feature"}))
    names = ["target", "feature", *COMMON, *EXTRAS[test]]
    expected = text(result)
    got, expected = (f.select(names).sort("target", "feature") for f in (rows, expected))
    if test == "wilcoxon":
        assert_frame_equal(got, expected, check_exact=True)
    else:  # another order of summation; measured: equal to the last bit
        assert_frame_equal(got, expected, rel_tol=1e-12, abs_tol=1e-13)


def test_a_sample_equals_scipy(screen, job):
    test, result = job
    for row, x, y in sampled(screen, text(result), 300, seed=3):
        statistic, p = oracle(test, x, y)
        # Measured: statistic 2e-14, p-value 9e-14, means 0.
        assert row["statistic"] == pytest.approx(statistic, rel=1e-10, abs=1e-12)
        assert (row["n_target"], row["n_reference"]) == (x.size, y.size)
        assert row["target_mean"] == pytest.approx(x.mean(), rel=1e-13)
        assert row["reference_mean"] == pytest.approx(y.mean(), rel=1e-13)
        if test != "anderson":
            assert row["p_value"] == pytest.approx(p, rel=1e-10)


def test_fdr_of_each_target(job):
    _, result = job
    for part in result.partition_by("target"):
        expected = stats.false_discovery_control(part["p_value"].to_numpy())
        np.testing.assert_allclose(part["fdr"].to_numpy(), expected, rtol=1e-14)  # measured: 0


def test_the_interface_of_pdex_01(screen, job):
    test, result = job
    got = pdex.parallel_differential_expression(
        screen, metric=METRICS[test], groupby_key="target", as_polars=True, show_progress=False
    )
    result = text(result)
    same = ["target", "feature", "target_mean", "reference_mean", "percent_change", "statistic"]
    assert_frame_equal(got.select(same), result.select(same), check_exact=True)
    p = got["p_value"].to_numpy()
    if test == "anderson":  # SciPy's interpolated p-value, capped
        scipy = pdex.de(screen, "target", test=test, method="scipy")
        np.testing.assert_array_equal(p, scipy["p_value"].to_numpy())
        assert p.min() == 0.001
        assert p.max() == 0.25
    else:
        np.testing.assert_array_equal(p, result["p_value"].to_numpy())
    np.testing.assert_allclose(got["fdr"], stats.false_discovery_control(p), rtol=1e-14)
    for row, x, y in sampled(screen, got, 60, seed=4):
        statistic, expected = oracle(test, x, y)
        assert (row["statistic"], row["p_value"]) == pytest.approx((statistic, expected), rel=1e-9)
        fold = x.mean() / y.mean() or 1 / 20  # clip_value; no gene is all zero in the reference
        assert row["fold_change"] == pytest.approx(fold, rel=1e-12)


def test_v01_from_the_file_equals_memory(screen, screen_path):
    backed = ad.read_h5ad(screen_path, backed="r")
    for metric in METRICS.values():
        options = {"metric": metric, "groupby_key": "target", "show_progress": False}
        options["groups"] = ["STAT1", "SPI1"]
        expected = pdex.parallel_differential_expression(screen, **options)
        got = pdex.parallel_differential_expression(backed, **options)
        pd.testing.assert_frame_equal(got, expected, check_exact=True)
    backed.file.close()


def test_every_knock_out_that_is_measured_lowers_its_own_gene(screen):
    result = text(pdex.de(screen, "target"))
    own = result.filter(pl.col("target") == pl.col("feature"))
    assert own.height == 9
    lowered = own.filter((pl.col("log2_fold_change") < 0) & (pl.col("fdr") < 0.05))
    assert set(lowered["target"]) >= {"STAT1", "STAT2", "IFNGR2", "CMTM6"}
