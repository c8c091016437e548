"""`pdex.de` against SciPy and the expressions; test_scan.py varies how a matrix is stored."""

import os
import signal
import subprocess
import sys
import time
import types
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from pdex.exceptions import PdexWarning
from polars.testing import assert_frame_equal
from scipy import stats

EXTRAS = {"wilcoxon": ["z_score", "auroc"], "anderson": [], "ttest": ["df"], "ks": []}
TESTS = list(EXTRAS)
TESTED = ["n_target", "n_reference", "target_mean", "reference_mean"]
TESTED += ["statistic", "p_value", "neg_log10_p"]
FIRST = ["target", "feature", "log2_fold_change", "p_value", "neg_log10_p", "statistic"]
LAST = ["percent_change", "target_fraction", "reference_fraction", "n_reference"]
LAST += ["n_target", "target_mean", "reference_mean", "fdr"]
LABELS = ["T2", "T0", "ctrl", "T1"]
MAKERS = [np.ascontiguousarray, np.asfortranarray, sp.csr_matrix, sp.csc_matrix]

# How the values of a screen are drawn; each takes another path through the engine.
KINDS = {
    "counts": lambda rng, shape: rng.poisson(rng.gamma(1, 2, shape[1]), shape),
    "sparse": lambda rng, shape: rng.poisson(0.04, shape),
    "log1p": lambda rng, shape: np.log1p(rng.poisson(rng.gamma(1, 2, shape[1]), shape) / 3),
    "normal": lambda rng, shape: rng.normal(size=shape),
    "negative": lambda rng, shape: rng.integers(-3, 3, shape) / 4,
    "large": lambda rng, shape: rng.choice([0, 65_535, 65_536, 1e9], shape),
    "constant": lambda rng, shape: np.tile(rng.integers(0, 2, shape[1]), (shape[0], 1)),
}


def screen(rng, kind="counts", shape=(230, 17), labels=LABELS, x=None):
    """An AnnData of random values, in mixed order of cells; a dense matrix of float64."""
    x = KINDS[kind](rng, shape).astype(float) if x is None else x
    label = rng.permutation(np.arange(x.shape[0]) % len(labels))
    obs = pd.DataFrame({"target": np.array(labels)[label]}, [f"c{i}" for i in range(x.shape[0])])
    return ad.AnnData(x, obs, pd.DataFrame(index=[f"g{i}" for i in range(x.shape[1])]))


def stored(data, x, **columns):
    """The same cells and genes with another matrix, or other columns of obs."""
    return ad.AnnData(x, data.obs.assign(**columns), data.var)


def run(data, test="wilcoxon", **options):
    options = {"reference": "ctrl", "is_log1p": False} | options
    return pdex.de(data, "target", test=test, **options)


def same(got, expected, rtol=0.0, atol=0.0):
    assert got.columns == expected.columns
    options = {"check_exact": True} if rtol == atol == 0 else {"rel_tol": rtol, "abs_tol": atol}
    assert_frame_equal(got, expected, **options)


def named(frame):
    """The same with names as text: Enums of other names are other dtypes."""
    return frame.with_columns(pl.col("target", "feature").cast(pl.String))


def close(got, expected, rtol, atol=0.0):
    got = got.to_numpy() if isinstance(got, pl.Series) else got
    np.testing.assert_allclose(got, np.asarray(expected, float), rtol=rtol, atol=atol)


def quiet(call, *args, **kwargs):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return call(*args, **kwargs)


def oracle(test, x, y, **options):
    """(statistic, p-value) of SciPy."""
    if test == "anderson":
        if np.ptp(np.concatenate([x, y])) == 0:
            return np.nan, 1.0  # SciPy raises
        result = quiet(stats.anderson_ksamp, [x, y], variant="midrank")
    elif test == "ttest":
        result = quiet(stats.ttest_ind, x, y, **options)
    elif test == "ks":
        result = quiet(stats.ks_2samp, x, y, **options)
    else:
        result = quiet(stats.mannwhitneyu, x, y, **({"method": "asymptotic"} | options))
    return result.statistic, result.pvalue


def every_sample(data, result, reference="ctrl"):
    """The cells of each row of a result: its target's, and its reference's."""
    label, pairs = data.obs["target"].to_numpy(), []
    for target, feature in result.select("target", "feature").iter_rows():
        values = data.X[:, data.var_names.get_loc(feature)]
        other = label != target if reference == "rest" else label == reference
        pairs.append((values[label == target], values[other]))
    return pairs


def against_scipy(data, got, test, reference, **options):
    pairs = every_sample(data, got, reference)
    expected = np.array([oracle(test, x, y, **options) for x, y in pairs])
    # Measured: statistic and means 8e-13 where they cancel to nearly 0, else 2e-14; p 2e-14.
    close(got["statistic"], expected[:, 0], 1e-11, atol=1e-12 if test != "wilcoxon" else 0)
    close(got["p_value"], expected[:, 1], 1e-10)
    close(got["neg_log10_p"], -np.log10(got["p_value"].to_numpy()) + 0.0, 1e-12, atol=1e-15)
    assert got.select("n_target", "n_reference").rows() == [(len(x), len(y)) for x, y in pairs]
    close(got["target_mean"], [x.mean() for x, _ in pairs], 1e-13, atol=1e-15)
    close(got["reference_mean"], [y.mean() for _, y in pairs], 1e-13, atol=1e-15)


# --- against SciPy ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reference", ["ctrl", "rest"])
@pytest.mark.parametrize("test", TESTS)
def test_equals_scipy_for_every_target_and_gene(rng, test, reference, kind):
    data = screen(rng, kind)
    scipy_p = {"anderson": {"method": "scipy"}, "wilcoxon": {"method": "asymptotic"}}.get(test, {})
    got = run(data, test, reference=reference, **scipy_p)
    targets = sorted(LABELS) if reference == "rest" else ["T0", "T1", "T2"]
    assert got["target"].unique(maintain_order=True).to_list() == targets
    assert got["feature"].to_list() == list(data.var_names) * len(targets)
    against_scipy(data, got, test, reference)


@pytest.mark.parametrize("alternative", ["less", "greater", "two-sided"])
@pytest.mark.parametrize(
    ("test", "options", "scipy_options"),
    [
        ("wilcoxon", {"method": "asymptotic"}, {}),
        (
            "wilcoxon",
            {"method": "asymptotic", "continuity": False},
            {"use_continuity": False},
        ),
        ("wilcoxon", {"method": "exact"}, {"method": "exact"}),
        ("ttest", {}, {}),
        ("ttest", {"equal_var": False}, {"equal_var": False}),
    ],
)
def test_options_equal_scipys(rng, test, options, scipy_options, alternative):
    data = screen(rng, "normal", (27, 40))  # without ties
    got = run(data, test, alternative=alternative, **options)
    against_scipy(data, got, test, "ctrl", alternative=alternative, **scipy_options)


@pytest.mark.parametrize("reference", ["ctrl", "rest"])
def test_overestimated_variance_equals_scipys_t_of_two_summaries(rng, reference):
    data = screen(rng, "normal")
    got = run(data, "ttest", reference=reference, equal_var=False, overestim_var=True)
    for row, (x, y) in zip(
        got.iter_rows(named=True), every_sample(data, got, reference), strict=True
    ):
        summaries = (x.mean(), x.std(ddof=1), len(x), y.mean(), y.std(ddof=1), len(x))
        want = stats.ttest_ind_from_stats(*summaries, equal_var=False)
        # Measured 2e-14.
        close(row["statistic"], want.statistic, 1e-11)
        close(row["p_value"], want.pvalue, 1e-11)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
@pytest.mark.parametrize("reference", ["ctrl", "rest"])
@pytest.mark.parametrize("test", ["wilcoxon", "ttest"])
def test_no_layout_changes_a_bit(rng, test, reference, mean):
    # Genes of counts with a few fractions and large numbers, and of fractions with a few counts.
    values = rng.poisson(1.5, (400, 12)).astype(np.float32)
    odd = rng.random(values.shape) < np.linspace(0, 0.9, 12) ** 4
    values[odd] = rng.lognormal(1, 2, odd.sum())
    data = ad.AnnData(values, obs={"target": rng.choice(["ctrl", *LABELS], 400)})
    data.obs["target"] = data.obs["target"].astype("category")
    tables = [
        pdex.de(stored(data, matrix), "target", reference=reference, test=test, mean=mean)
        for matrix in (
            values,
            np.asfortranarray(values),
            sp.csr_matrix(values),
            sp.csc_matrix(values),
        )
    ]
    for table in tables[1:]:
        assert_frame_equal(table, tables[0], check_exact=True)


@pytest.mark.parametrize("reference", ["ctrl", "rest"])
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("kind", KINDS)
def test_fractions_are_shares_of_cells_other_than_0(rng, test, kind, make, reference):
    x = KINDS[kind](rng, (230, 9)).astype(float)
    data = make(x)
    stored_values = data.data if sp.issparse(data) else data
    zeros = rng.random(stored_values.shape) < 0.1
    stored_values[zeros] = 0 if kind == "counts" else -0.0  # zeros that are stored
    data = screen(rng, x=data)
    dense = data.X.toarray() if sp.issparse(data.X) else data.X
    got = run(data, test, reference=reference)
    pairs = every_sample(stored(data, dense), got, reference)
    expected = [[np.mean(sample != 0) for sample in pair] for pair in pairs]
    assert got.select("target_fraction", "reference_fraction").rows() == [*map(tuple, expected)]


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
@pytest.mark.parametrize("test", ["wilcoxon", "anderson"])
def test_integers_that_share_a_float_are_ranked_apart(rng, test, dtype):
    data = screen(rng)
    large = np.array(2**62, dtype) + data.X.astype(dtype)
    got, expected = run(stored(data, large), test), run(data, test)
    names = ["statistic", "p_value", "neg_log10_p", "fdr", *EXTRAS[test]]
    same(got.select(names), expected.select(names))


# --- against the expressions --------------------------------------------------------------------


def by_expressions(data, test, reference, **options):
    expression = getattr(pdex, test)("value", "target", reference=reference, count="count")
    lazy = pdex.scan_anndata(data, "target", **options).group_by("gene").agg(expression)
    frame = lazy.explode(test).unnest(test).collect(engine="streaming").sort("target", "gene")
    return frame.select(pl.col("target", "gene").cast(pl.String), *TESTED, *EXTRAS[test])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reference", ["ctrl", "rest"])
@pytest.mark.parametrize("test", TESTS)
def test_equals_the_expressions(rng, test, reference, kind):
    data = stored(base := screen(rng, kind), sp.csr_matrix(base.X))
    got = named(run(data, test, reference=reference)).rename({"feature": "gene"})
    expected = by_expressions(data, test, reference)
    exact = test == "wilcoxon" and kind in ("counts", "sparse")
    # Measured: equal to the last bit everywhere.
    tolerances = {} if exact else {"rtol": 1e-12, "atol": 1e-13}
    same(got.select(expected.columns), expected, **tolerances)


def test_welchs_test_warns_of_targets_without_variance(rng, tmp_path):
    """Ten of 4,000 null cells, a gene that one in ten expresses: 37 % have p around 1e-85."""
    genes = 200
    counts = rng.poisson(0.1, (4010, genes)).astype(np.float32)
    counts[:, 0] = rng.poisson(50, 4010)
    counts[:10, 0] = 0
    obs = pd.DataFrame({"target": ["T"] * 10 + ["ctrl"] * 4000}, [f"c{i}" for i in range(4010)])
    data = ad.AnnData(counts, obs)
    zero = int((counts[:10] == 0).all(axis=0)[1:].sum())
    assert 50 < zero < 100
    # The first gene is expected in all ten cells: less than 30, so that it counts, too.
    text = rf"Welch's t-test \(equal_var=False\): in {zero + 1} of 200 comparisons all cells of the"
    with pytest.warns(PdexWarning, match=text):
        got = run(data, "ttest", equal_var=False)
    p = got.filter(pl.col("target_fraction") == 0)["p_value"]
    assert p.max() < 1e-60
    with pytest.warns(PdexWarning, match=text):
        pdex.sink_de(
            data, "target", tmp_path / "de.parquet", reference="ctrl", test="ttest", equal_var=False
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(data, "ttest")
        run(data, "wilcoxon")
        run(data[:, :1].copy(), "ttest", equal_var=False, reference="rest", groups=["ctrl"])


def test_infinite_values(rng):
    data = screen(rng, x=rng.choice([-np.inf, np.inf, 0.0, 1.5], (230, 9)))
    cells = every_sample(data, got := run(data, method="asymptotic"))
    expected = np.array([oracle("wilcoxon", x, y) for x, y in cells])
    assert got["statistic"].to_list() == expected[:, 0].tolist()
    close(got["p_value"], expected[:, 1], 1e-10)
    assert np.isnan(run(data, "ttest")["p_value"].to_numpy()).all()


# --- groups and genes ---------------------------------------------------------------------------


SUBSETS = {
    "groups": ({"groups": ["T2", "T0"]}, pl.col("target").is_in(["T2", "T0"])),
    "one group": ({"groups": "T1"}, pl.col("target") == "T1"),
    "genes": ({"genes": ["g9", "g4"]}, pl.col("feature").is_in(["g4", "g9"])),
    "no genes": ({"genes": []}, pl.lit(False)),
}


@pytest.mark.parametrize("kind", SUBSETS)
@pytest.mark.parametrize("reference", ["ctrl", "rest"])
@pytest.mark.parametrize("test", TESTS)
def test_subsets_are_rows_of_the_whole(rng, test, reference, kind):
    options, kept = SUBSETS[kind]
    data = screen(rng)
    got = named(run(data, test, reference=reference, **options))
    expected = named(run(data, test, reference=reference)).filter(kept)
    if "groups" in options:
        same(got.select("fdr"), expected.select("fdr"), 1e-12)
    # The rest's moments are merged from fewer groups: measured 1 ulp of the mean, 6e-14 of t.
    exact = ["target", "feature", *TESTED[:3]]
    exact += ["statistic", "p_value"] if test != "ttest" else []
    same(got.select(exact), expected.select(exact))
    same(got.drop("fdr"), expected.drop("fdr"), 1e-12, 1e-13)


@pytest.mark.parametrize("kind", ["object", "categorical", "string"])
@pytest.mark.parametrize("test", TESTS)
def test_cells_without_a_label_are_left_out(rng, test, kind):
    data = screen(rng)
    label = data.obs["target"].to_numpy(object, copy=True)
    missing = rng.random(label.size) < 0.3
    empty = rng.random(label.size) < 0.3
    label[empty], label[missing] = "", np.nan if kind != "object" else None
    dtype = {"object": object, "categorical": "category", "string": "string"}[kind]
    holes = stored(data, sp.csr_matrix(data.X), target=pd.Series(label, data.obs_names, dtype))
    kept = data[~(missing | empty)]
    for reference in ("ctrl", "rest"):
        same(run(holes, test, reference=reference), run(kept, test, reference=reference))


GROUPS = {
    "string": (["b", "10", "a", "2"], ["10", "2", "a", "b"]),
    "integer": ([10, 2, -3, 1], ["-3", "1", "2", "10"]),
    "bool": ([True, False], ["False", "True"]),
    "categorical": (pd.Categorical(["z", "b", "a"], ["z", "a", "unused", "b"]), ["z", "a", "b"]),
    "integer categories": (pd.Categorical([5, 30, 4], [30, 4, 5]), ["30", "4", "5"]),
    "mixed": ([1, "b", "a", 1], ["1", "a", "b"]),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_order_of_groups(rng, kind):
    values, order = GROUPS[kind]
    data = screen(rng, shape=(60, 3), labels=["a"])
    column = pd.Series(values).iloc[np.arange(60) % len(values)].set_axis(data.obs_names)
    data.obs["target"] = column
    got = run(data, reference="rest")
    assert got["target"].unique(maintain_order=True).to_list() == order
    assert got["target"].dtype == pl.Categorical
    text = stored(data, data.X, target=column.astype(str))
    as_stored = {str(value): value for value in column}
    for label in order:
        expected = named(run(text, reference=label)).sort("target", "feature")
        got = run(data, reference=as_stored[label])
        assert got["target"].dtype == pl.Categorical
        same(named(got).sort("target", "feature"), expected)


def test_genes_of_one_name_stay_two_rows(rng):
    data = screen(rng, shape=(90, 4))
    expected = run(data)
    data.var_names = ["x", "y", "x", "z"]
    got = run(data)
    assert got["feature"].to_list() == ["x", "y", "x", "z"] * 3
    same(got.drop("feature"), expected.drop("feature"))
    both = run(data, genes=["x"])
    assert both["feature"].to_list() == ["x", "x"] * 3
    kept = named(expected).filter(pl.col("feature").is_in(["g0", "g2"]))
    same(both.drop("feature", "fdr"), kept.with_columns(both["target"]).drop("feature", "fdr"))


# --- means, fold changes and corrections --------------------------------------------------------

MEANS = {
    ("arithmetic", False): np.mean,
    ("arithmetic", True): lambda x: np.expm1(x).mean(),
    ("geometric", False): lambda x: np.expm1(np.log1p(x).mean()),
    ("geometric", True): lambda x: np.expm1(x.mean()),
}


@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("pseudocount", [1e-9, 0.0, 1.0])
@pytest.mark.parametrize(("mean", "is_log1p"), MEANS)
@pytest.mark.parametrize("kind", ["counts", "sparse", "log1p"])
def test_means_and_fold_changes(rng, kind, mean, is_log1p, pseudocount, make):
    data = screen(rng, kind)
    options = {"mean": mean, "is_log1p": is_log1p, "pseudocount": pseudocount}
    got = run(stored(data, make(data.X)), **options)
    cells = every_sample(data, got)
    target, reference = np.array([[MEANS[mean, is_log1p](s) for s in pair] for pair in cells]).T
    close(got["target_mean"], target, 1e-12)  # measured: 9e-15
    close(got["reference_mean"], reference, 1e-12)
    with np.errstate(all="ignore"):
        fold = np.log2((target + pseudocount) / (reference + pseudocount))
        fold[(target + pseudocount == 0) & (reference + pseudocount == 0)] = 0
        percent = np.where(reference == 0, np.nan, (target - reference) / reference)
    close(got["log2_fold_change"], fold, 1e-12, atol=1e-13)  # near log2(1)
    close(got["percent_change"], percent, 1e-12, atol=1e-13)


@pytest.mark.parametrize("reference", ["ctrl", "rest"])
def test_means_of_counts_are_rounded_once(rng, reference):
    data = screen(rng)
    got = run(data, reference=reference)
    cells = every_sample(data, got, reference)
    assert got["target_mean"].to_list() == [x.sum() / x.size for x, _ in cells]
    assert got["reference_mean"].to_list() == [y.sum() / y.size for _, y in cells]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("kind", "scale", "guess"),
    [("counts", 1, False), ("log1p", 1, True), ("counts", 0.25, True), ("counts", 1 + 1e-6, False)],
)
def test_log1p_is_guessed_from_fractions(rng, tmp_path, kind, scale, guess, make):
    data = screen(rng, kind)
    data.X = make(data.X * scale)
    expected = run(data, is_log1p=guess)
    same(run(data, is_log1p=None), expected)
    data.write_h5ad(tmp_path / "screen.h5ad")
    same(run(tmp_path / "screen.h5ad", is_log1p=None), expected)


@pytest.mark.parametrize("test", TESTS)
def test_fdr_is_benjamini_hochberg(rng, test):
    data = screen(rng, shape=(230, 60))
    data.X[:, [4, 9]] = 0  # the t-test of equal values has no p-value
    by_target, together = (run(data, test, fdr=family) for family in ("target", "all"))
    for part in (*by_target.partition_by("target"), together):
        p, fdr = part["p_value"].to_numpy(), part["fdr"].to_numpy()
        known = ~np.isnan(p)
        assert (~known).sum() == (part.height // 30 if test == "ttest" else 0)
        close(fdr[known], stats.false_discovery_control(p[known]), 1e-14)  # measured: 0
        assert np.isnan(fdr[~known]).all()


# --- the call itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("test", TESTS)
def test_threads_never_change_a_number(rng, test, make):
    data = screen(rng, "log1p", (700, 60))
    data.X = make(data.X)
    one = run(data, test, threads=1)
    for threads in (2, 7, None):
        same(run(data, test, threads=threads), one)


@pytest.mark.parametrize("test", TESTS)
def test_columns(rng, test):
    data = screen(rng)
    schema = run(data, test).schema
    assert schema.names() == [*FIRST, *EXTRAS[test], *LAST]
    sizes = {"n_target": pl.UInt32, "n_reference": pl.UInt32}
    labels = dict.fromkeys(["target", "feature"], pl.Categorical())
    expected = dict.fromkeys(schema.names(), pl.Float64) | sizes | labels
    assert dict(schema) == expected


def test_a_printed_result_shows_the_answer(rng):
    with pl.Config(tbl_width_chars=140):
        shown = str(run(screen(rng)))
    for column in ("target", "feature", "log2_fold_change", "p_value", "fdr"):
        assert column in shown
    assert "percent_change" not in shown


def test_results_stack_join_and_compare(rng):
    """The usual steps after a test: findings.md, 6."""
    data = screen(rng, labels=["g1", "g0", "ctrl", "g5"])
    one, two = run(data), run(data, reference="g0")
    both = pl.concat([one, two])
    assert both.height == one.height + two.height
    on_target = one.filter(pl.col("target") == pl.col("feature"))
    assert on_target.select("target").to_series().cast(pl.String).to_list() == ["g0", "g1", "g5"]
    notes = pl.DataFrame({"feature": ["g3", "g16"], "note": ["x", "y"]})
    noted = one.join(notes.cast({"feature": pl.Categorical}), on="feature", how="left")
    assert noted["note"].drop_nulls().len() == 6
    assert one.filter(pl.col("feature").cat.starts_with("g1")).height == 3 * 8
    other = pl.when(pl.col("fdr") < 2).then("feature").otherwise(pl.lit("none"))
    assert one.select(other).to_series().n_unique() == data.n_vars
    assert one.filter(pl.col("feature").is_in(["g3", "g4"])).height == 6
    assert one.filter(pl.col("feature") == "g3").height == 3


def test_a_progress_bar_changes_nothing(rng, monkeypatch, capfd):
    data = screen(rng, "normal", (6_000, 150), labels=[f"T{i}" for i in range(30)])
    expected = run(data, "anderson", reference="rest", progress=False)
    assert capfd.readouterr().err == ""
    late = types.SimpleNamespace(monotonic=iter(range(0, 10**6, 10)).__next__)
    monkeypatch.setattr(pdex._progress, "time", late)
    same(run(data, "anderson", reference="rest", progress=True), expected)
    assert "150/150" in capfd.readouterr().err


LONG_JOB = """
import time, anndata, numpy, pandas, pdex
x = numpy.random.default_rng(0).normal(size=(30_000, 600)).astype("float32")
labels = [f"T{i // 2 % 300}" if i % 2 else "control" for i in range(len(x))]
obs = pandas.DataFrame({"target": labels}, map(str, range(len(x))))
data = anndata.AnnData(x, obs)
print("started", flush=True)
try:
    pdex.de(data, "target", reference="control", test="anderson", is_log1p=False)
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
    raise
print("finished", flush=True)
"""


def test_ctrl_c_stops_within_a_second():
    command = [sys.executable, "-W", "ignore", "-c", LONG_JOB]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdout.readline() == "started\n"
        time.sleep(1)
        os.kill(child.pid, signal.SIGINT)
        sent = time.monotonic()
        out, err = child.communicate(timeout=60)
    assert out != "finished\n"
    assert err.rstrip().endswith("KeyboardInterrupt")
    # One clock for all processes.  Measured: 0.1 s.
    assert float(out) - sent < 1


def test_a_disabled_bar_does_nothing():
    """As users set it for all programs; a bar appears after a second."""
    code = (
        "from pdex._progress import Progress; import time\n"
        "bar = Progress(3, True); bar._start -= 2\n"
        "bar.advance(2); bar.read(10); bar.expect(1); bar.close(); print(bar.genes)"
    )
    environment = os.environ | {"TQDM_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("2\n", "")
