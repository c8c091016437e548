"""Errors of calls that newcomers write: what each says would work does work, or exists."""

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import pytest

LABELS = ["a", "b", "ctrl", "c"]


def screen(n_cells=40):
    x = np.random.default_rng(1).poisson(1.0, (n_cells, 3)).astype(float)
    obs = pd.DataFrame({"target": [LABELS[i % 4] for i in range(n_cells)]})
    obs["guide"] = obs["target"] + (np.arange(n_cells) // 4 % 2).astype(str)
    obs["rep"] = ["r1", "r2"] * (n_cells // 2)
    obs.index = [f"cell{i}" for i in range(n_cells)]
    names = ["ENSG1", "ENSG2", "ENSG3"]
    return ad.AnnData(x, obs, pd.DataFrame({"symbol": ["STAT1", "IRF1", "JAK2"]}, names))


def de(data, column="target", **options):
    return pdex.de(data, column, **({"reference": "ctrl"} | options))


def message(error, call):
    """The text of the error that a call raises."""
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


# --- parameters and values that other packages have ---------------------------------------------

PARAMETERS = {
    "n_jobs": "Use 'threads'",
    "corr_method": "fdr is Benjamini-Hochberg; other corrections: pdex.tl.rank_genes_groups",
    "mode": "Use reference='rest'",
    "group_keys": "Use 'groupby'",
    "groupby_key": "Use 'groupby'",
    "n_genes": "Sort the result, and take its head",
    "min_pct": "Filter the result by target_fraction",
    "metric": "Use 'test'",
    "epsilon": "Use 'pseudocount'",
    "geometric_mean": "Use mean='geometric'",
    "batch": "Use 'strata'",
    "batch_key": "Use 'strata'",
    "key_added": "pdex.tl.rank_genes_groups has it",
    "pts": "pdex.tl.rank_genes_groups has it",
    "mask_var": "pdex.tl.rank_genes_groups has it",
    "alpha": "Filter the result by fdr",
    "lfc": "Filter the result by log2_fold_change",
    "min_lfc": "Filter the result by log2_fold_change",
    "min_abs_lfc": "Filter the result by log2_fold_change",
    "control": "Use 'reference'",
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_other_packages(name):
    told = message(TypeError, lambda: de(screen(), **{name: 1}))
    assert told == f"de() has no parameter {name!r}. {PARAMETERS[name]}"
    path = "x.parquet"
    told = message(TypeError, lambda: pdex.sink_de(screen(), "target", path, **{name: 1}))
    assert told == f"sink_de() has no parameter {name!r}. {PARAMETERS[name]}"


def test_advice_about_a_result_is_not_given_where_there_is_none():
    told = message(TypeError, lambda: pdex.tabulate(screen(), "target", output="x", alpha=1))
    assert told.startswith("tabulate() has no parameter 'alpha'. Parameters: data, groupby,")
    told = message(TypeError, lambda: pdex.tabulate(screen(), "target", output="x", mode="all"))
    assert told.startswith("tabulate() has no parameter 'mode'. ")
    assert "reference" not in told


TESTS = {
    "welch": "test='ttest', equal_var=False",
    "Welch": "test='ttest', equal_var=False",
    "t-test_overestim_var": "test='ttest', equal_var=False, overestim_var=True",
    "t-test": "test='ttest'",
    "mannwhitneyu": "test='wilcoxon'",
    "ranksum": "test='wilcoxon'",
    "ranksums": "test='wilcoxon'",
    "t": "test='ttest'",
    "student": "test='ttest'",
    "ad": "test='anderson'",
}


@pytest.mark.parametrize("name", TESTS)
def test_names_of_tests_elsewhere(name):
    told = message(ValueError, lambda: de(screen(), test=name))
    valid = "'wilcoxon', 'anderson', 'ttest', 'ks'"
    assert told == f"test must be one of {valid}; got {name!r}. Use {TESTS[name]}"
    options = eval(f"dict({TESTS[name]})")
    assert de(screen(), **options).height == 9


@pytest.mark.parametrize(
    ("method", "use"),
    [
        ("wilcoxon", "test='wilcoxon'"),
        ("ks", "test='ks'"),
        ("t-test", "test='ttest'"),
        ("welch", "test='ttest', equal_var=False"),
    ],
)
def test_a_test_given_as_method(method, use):
    told = message(ValueError, lambda: de(screen(), method=method))
    valid = "'auto', 'exact', 'conditional', 'asymptotic'"
    assert told == f"method must be one of {valid}; got {method!r}. To choose the test, use {use}"
    told = message(ValueError, lambda: de(screen(), test="anderson", method="student"))
    assert told == "method must be one of 'auto', 'asymptotic', 'scipy'; got 'student'"
