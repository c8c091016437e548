"""`pdex.parallel_differential_expression` against pdex 0.1's formulae, computed with SciPy 1.17."""

import logging
import os
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from scipy import stats

METRICS = ["wilcoxon", "anderson", "t-test"]
COLUMNS = ["target", "reference", "feature", "target_mean", "reference_mean", "percent_change"]
COLUMNS += ["fold_change", "p_value", "statistic", "fdr"]
LABELS = ["T2", "T0", "ctrl", "T1"]
ALTERNATIVES = ["two-sided", "less", "greater"]

KINDS = {
    "counts": lambda rng, shape: rng.poisson(rng.gamma(1, 2, shape[1]), shape),
    "sparse": lambda rng, shape: rng.poisson(0.03, shape),
    "log1p": lambda rng, shape: np.log1p(rng.poisson(rng.gamma(1, 2, shape[1]), shape) / 3),
    "normal": lambda rng, shape: 3 + rng.normal(size=shape),
}


def screen(rng, kind="counts", shape=(150, 14)):
    x = KINDS[kind](rng, shape).astype(float)
    x[:, 3] = 0  # equal values: no p-value, no fold change
    label = rng.permutation(np.arange(shape[0]) % len(LABELS))
    # Genes without target or reference: fold changes at their limits.
    x[label == 0, 5] = 0
    x[label == 2, 6] = 0
    x[label == 2, 5] += 1
    x[label == 0, 6] += 1
    obs = pd.DataFrame({"target_gene": np.array(LABELS)[label]}, map(str, range(shape[0])))
    return ad.AnnData(x, obs, pd.DataFrame(index=[f"g{i}" for i in range(shape[1])]))


def run(data, metric="wilcoxon", **options):
    options = {"reference": "ctrl", "is_log1p": False, "show_progress": False} | options
    return pdex.parallel_differential_expression(data, metric=metric, **options)


def oracle(metric, x, y, tie_correct=True, **options):
    """(statistic, p-value) as pdex 0.1 takes them; a NaN p-value is 1."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if metric == "wilcoxon":
            result = stats.mannwhitneyu(x, y, use_continuity=tie_correct, **options)
        elif metric == "t-test":
            result = stats.ttest_ind(x, y, **options)
        elif np.ptp(np.concatenate([x, y])) == 0:
            return np.nan, 1.0  # SciPy raises
        else:
            variant = "midrank" if options.get("midrank", True) else "right"
            result = stats.anderson_ksamp([x, y], variant=variant)
    return result.statistic, 1.0 if np.isnan(result.pvalue) else result.pvalue


def mean(x, is_log1p, exp_post_agg):
    if not is_log1p:
        return x.mean()
    return np.expm1(x.mean()) if exp_post_agg else np.expm1(x).mean()


def fold_change(target, reference, clip):
    if target == 0 and reference == 0:
        return np.nan if clip is None else 1.0
    if reference == 0:
        return np.nan if clip is None else clip
    if target == 0:
        return 0.0 if clip is None else 1 / clip
    return target / reference


def literal(data, metric="wilcoxon", is_log1p=False, exp_post_agg=True, clip_value=20.0, **options):
    """The whole table from its definition, for targets in order and genes in order."""
    groups = options.pop("groups", None) or [g for g in sorted(LABELS) if g != "ctrl"]
    label, rows = data.obs["target_gene"].to_numpy(), []
    for group in groups:
        for gene, values in zip(data.var_names, data.X.T, strict=True):
            x, y = values[label == group], values[label == "ctrl"]
            a, b = (mean(sample, is_log1p, exp_post_agg) for sample in (x, y))
            percent = np.nan if b == 0 else (a - b) / b
            statistic, p = oracle(metric, x, y, **options)
            fold = fold_change(a, b, clip_value)
            rows.append((group, "ctrl", gene, a, b, percent, fold, p, statistic))
    frame = pd.DataFrame(rows, columns=COLUMNS[:-1])
    return frame.assign(fdr=stats.false_discovery_control(frame["p_value"]))


def close(got, expected):
    """Measured over all of this file: 2e-12 where a difference is nearly 0, else 2e-13."""
    assert list(got.columns) == COLUMNS
    for name in COLUMNS[:3]:
        assert got[name].tolist() == expected[name].tolist()
    for name in COLUMNS[3:]:
        np.testing.assert_allclose(
            got[name], expected[name], rtol=1e-10, atol=1e-13, err_msg=name, equal_nan=True
        )


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix, sp.csc_matrix])
@pytest.mark.parametrize("metric", METRICS)
def test_equals_the_definition(rng, metric, make, kind):
    data = screen(rng, kind)
    sparse = ad.AnnData(make(data.X), data.obs, data.var)
    close(run(sparse, metric), literal(data, metric))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["normal", "counts"])
def test_small_samples_are_exact_where_nothing_is_tied(rng, kind, metric):
    data = screen(rng, kind, (31, 40))  # 7 and 8 cells
    close(run(data, metric), literal(data, metric))


@pytest.mark.parametrize("shape", [(31, 14), (150, 14)])
@pytest.mark.parametrize(
    ("metric", "options"),
    [("wilcoxon", {"tie_correct": False}), ("anderson", {"midrank": False})]
    + [("t-test", {"equal_var": False, "alternative": side}) for side in ALTERNATIVES]
    + [("wilcoxon", {"alternative": side}) for side in ALTERNATIVES]
    + [("wilcoxon", {"method": "asymptotic", "tie_correct": flag}) for flag in (True, False)],
)
def test_options_are_scipys(rng, metric, options, shape):
    for kind in ("counts", "normal"):
        data = screen(rng, kind, shape)
        close(run(data, metric, **options), literal(data, metric, **options))


def test_method_exact(rng):
    data = screen(rng, "normal", (60, 14))
    data = data[:, [0, 1, 2, 4, 7, 8, 9]].copy()  # no ties
    close(run(data, method="exact"), literal(data, method="exact"))


@pytest.mark.parametrize("clip_value", [20.0, None, 3.0, 1e6, 7])
@pytest.mark.parametrize("exp_post_agg", [True, False])
@pytest.mark.parametrize("is_log1p", [True, False])
def test_means_and_fold_changes(rng, is_log1p, exp_post_agg, clip_value):
    options = {"is_log1p": is_log1p, "exp_post_agg": exp_post_agg, "clip_value": clip_value}
    for kind in ("sparse", "log1p"):
        data = screen(rng, kind)
        got = run(data, **options)
        close(got, literal(data, **options))
        limits = got.loc[got["feature"].isin(["g3", "g5", "g6"]), "fold_change"].to_numpy()
        # g3: 0/0. g5: no target T2. g6: no reference.
        expected = [np.nan, 0, np.nan] if clip_value is None else [1, 1 / clip_value, clip_value]
        np.testing.assert_array_equal(limits[-3:], expected)


@pytest.mark.parametrize(
    ("kind", "scale", "guess"),
    [("counts", 1, False), ("log1p", 1, True), ("counts", 1 + 1e-5, False), ("counts", 0.5, True)],
)
def test_log1p_is_guessed(rng, kind, scale, guess):
    data = screen(rng, kind)
    data.X *= scale
    for post in (True, False):
        expected = literal(data, is_log1p=guess, exp_post_agg=post)
        close(run(data, is_log1p=None, exp_post_agg=post), expected)


@pytest.mark.parametrize("metric", METRICS)
def test_undefined_p_values_are_one_and_count_in_the_fdr(rng, metric):
    data = screen(rng, "sparse")
    got = run(data, metric)
    empty = got[got["feature"] == "g3"]
    assert (empty["p_value"] == 1).all()
    assert (empty["fdr"] == 1).all()
    expected = stats.false_discovery_control(got["p_value"])
    np.testing.assert_allclose(got["fdr"], expected, rtol=1e-14)  # measured: 0


# --- the table ----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_groups_keep_the_order_asked_for(rng, metric):
    data = screen(rng)
    groups = ["T1", "T2"]
    close(run(data, metric, groups=groups), literal(data, metric, groups=groups))
    close(run(data, metric, groups=groups[::-1]), literal(data, metric, groups=groups[::-1]))
    with_reference = run(data, metric, groups=["T1", "ctrl", "T2", "T1"])
    close(with_reference, literal(data, metric, groups=groups))


NUMBERS = {"ctrl": 10, "T0": 2, "T1": 0, "T2": 7}
LABELLED = {
    "numbers": (NUMBERS, int, pl.Int64, np.int64),
    "categories": (NUMBERS, "category", pl.Int64, np.int64),
    "floats": ({name: n / 2 for name, n in NUMBERS.items()}, float, pl.Float64, np.float64),
    "flags": ({"ctrl": False} | dict.fromkeys(LABELS[:2], True), bool, pl.Boolean, np.bool_),
}


@pytest.mark.parametrize("case", LABELLED)
def test_labels_keep_their_type(rng, case):
    """As in pdex 0.1, whose tables of whole-numbered clusters join on whole numbers."""
    names, dtype, in_polars, in_pandas = LABELLED[case]
    data = screen(rng)
    data = data[data.obs["target_gene"].isin(names)].copy()
    data.obs["target_gene"] = data.obs["target_gene"].map(names).astype(dtype)
    order = [names[name] for name in dict.fromkeys(names) if name != "ctrl"]
    want = sorted(set(order))
    options = {"reference": names["ctrl"]}
    table, frame = run(data, **options), run(data, as_polars=True, **options)
    assert [frame.schema[name] for name in ("target", "reference")] == [in_polars] * 2
    assert [table[name].dtype for name in ("target", "reference")] == [in_pandas] * 2
    assert frame["target"].to_list() == np.repeat(want, data.n_vars).tolist()
    assert set(frame["reference"]) == {names["ctrl"]}
    for target in want:
        x, y = (data.X[data.obs["target_gene"] == label] for label in (target, names["ctrl"]))
        p = stats.mannwhitneyu(x[:, 2], y[:, 2]).pvalue
        row = table[(table["target"] == target) & (table["feature"] == "g2")]
        np.testing.assert_allclose(row["p_value"], p, rtol=1e-10)
    asked = run(data, groups=want[::-1], **options)
    assert asked["target"].tolist() == np.repeat(want[::-1], data.n_vars).tolist()


def test_a_reference_named_rest_is_a_group(rng):
    data = screen(rng)
    expected = run(data).assign(reference="rest")
    data.obs["target_gene"] = data.obs["target_gene"].replace("ctrl", "rest")
    close(run(data, reference="rest"), expected)


def test_pandas_and_polars(rng):
    data = screen(rng)
    table, frame = run(data), run(data, as_polars=True)
    assert isinstance(frame, pl.DataFrame)
    names = [pl.String] * 3 + [pl.Float64] * 7
    assert list(frame.schema.items()) == list(zip(COLUMNS, names, strict=True))
    assert table.dtypes.tolist()[3:] == [np.dtype(float)] * 7
    assert all(isinstance(name, str) for name in table["target"])
    assert table.index.tolist() == list(range(len(table)))
    pd.testing.assert_frame_equal(table, pd.DataFrame(frame.to_dict(as_series=False)))


@pytest.mark.parametrize("metric", METRICS)
def test_workers_and_chunks_never_change_a_number(rng, metric):
    data = screen(rng, "log1p")
    expected = run(data, metric)
    sizes = [{"num_workers": n, "num_threads": m} for n in (None, 1, 3) for m in (None, 1, 2)]
    sizes += [{"batch_size": 1}, {"gene_chunk_size": 1}, {"low_memory": True}]
    for options in [*sizes, {"low_memory": False}, {"show_progress": True}]:
        pd.testing.assert_frame_equal(run(data, metric, **options), expected, check_exact=True)


def test_one_logged_line_says_how_many_threads_run(rng, caplog):
    data, cores = screen(rng), len(os.sched_getaffinity(0))
    asked = [((None, None), cores), ((1, None), 1), ((None, 1), 1), ((2, 3), min(6, cores))]
    for (workers, threads), expected in asked:
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="pdex"):
            run(data, num_workers=workers, num_threads=threads)
        lines = [r.getMessage() for r in caplog.records if "running on" in r.getMessage()]
        assert lines == [f"running on {expected} of {cores} cores"]


@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix, sp.csc_matrix])
@pytest.mark.parametrize("metric", METRICS)
def test_backed_equals_memory(rng, tmp_path, metric, make):
    data = screen(rng)
    data.X = make(data.X)
    data.write_h5ad(tmp_path / "screen.h5ad")
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    for options in ({}, {"low_memory": True, "gene_chunk_size": 2}, {"is_log1p": None}):
        expected = run(data, metric, is_log1p=False)
        pd.testing.assert_frame_equal(run(backed, metric, **options), expected, check_exact=True)
        by_path = run(tmp_path / "screen.h5ad", metric, **options)
        pd.testing.assert_frame_equal(by_path, expected, check_exact=True)
    backed.file.close()


def test_defaults_are_those_of_pdex_01(rng):
    data = screen(rng)
    data.obs["target_gene"] = data.obs["target_gene"].replace("ctrl", "non-targeting")
    got = pdex.parallel_differential_expression(data)
    data.obs["target_gene"] = data.obs["target_gene"].replace("non-targeting", "ctrl")
    close(got.assign(reference="ctrl"), literal(data))


# --- errors -------------------------------------------------------------------------------------

ERRORS = {
    "metric": ({"metric": "ks"}, ValueError, r"'ks'.*'wilcoxon', 'anderson', 't-test'"),
    "column": ({"groupby_key": "nope"}, KeyError, r"nope.*target_gene"),
    "reference": ({"reference": "nope"}, ValueError, r"reference 'nope'.*'ctrl', 'T0', 'T1', 'T2'"),
    "rest": ({"reference": "rest"}, ValueError, r"reference 'rest'.*'ctrl', 'T0', 'T1', 'T2'"),
    "group": ({"groups": ["T1", "nope"]}, ValueError, r"group 'nope'.*'ctrl', 'T0', 'T1', 'T2'"),
    "keyword": ({"nope": 1}, TypeError, r"'nope'.*'alternative', 'method'"),
    "another's keyword": ({"equal_var": False}, TypeError, r"'equal_var'.*'alternative'"),
    "t-test keyword": ({"metric": "t-test", "method": "auto"}, TypeError, r"'method'.*'equal_var'"),
    "anderson keyword": ({"metric": "anderson", "method": "a"}, TypeError, r"'method'.*'midrank'"),
    "alternative": (
        {"alternative": "up"},
        ValueError,
        "alternative must be one of 'two-sided', 'less', 'greater'; got 'up'",
    ),
    "workers": (
        {"num_workers": 0},
        ValueError,
        r"num_workers must be None \(use all cores\) or an integer >= 1; got 0",
    ),
    "threads": (
        {"num_threads": "a"},
        ValueError,
        r"num_threads must be None \(use all cores\) or an integer >= 1; got 'a'",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_what_is_wrong(rng, case):
    options, kind, message = ERRORS[case]
    with pytest.raises(kind, match=message):
        run(screen(rng), **options)


def test_backed_data_needs_low_memory(rng, tmp_path):
    screen(rng).write_h5ad(tmp_path / "screen.h5ad")
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    with pytest.raises(TypeError, match=r"backed.*low_memory=False.*low_memory=None.*to_memory"):
        run(backed, low_memory=False)
    backed.file.close()


def test_nan_names_its_cell_and_gene(rng):
    data = screen(rng)
    data.X[17, 4] = np.nan
    with pytest.raises(
        ValueError,
        match=r"X contains NaN \(cell '17', row 17; gene 'g4', column 4\)\. Fill or drop missing",
    ):
        run(data)
