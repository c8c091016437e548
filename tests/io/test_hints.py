"""Errors of calls that newcomers write: what each says would work does work, or exists."""

import logging
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
from pdex._output import write_result
from pdex.exceptions import PdexWarning

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


# --- names of columns, cells and genes ----------------------------------------------------------


def test_a_mask_as_where_is_not_printed():
    data = screen()
    mask = data.obs["rep"] == "r1"
    expected = "where must be a Polars expression or SQL text; got {}. For a mask pass "
    expected += "data[mask] as data"
    assert message(TypeError, lambda: de(data, where=mask)) == expected.format("a Series")
    told = message(TypeError, lambda: de(data, where=mask.to_numpy()))
    assert told == expected.format("an ndarray")
    assert de(data[mask]).height == 3
    told = message(TypeError, lambda: de(data, where=3))
    assert told == "where must be a Polars expression or SQL text; got 3"


@pytest.mark.parametrize("where", ['rep = "r1"', "rep = r1"])
def test_text_in_sql_without_single_quotes(where):
    told = message(KeyError, lambda: de(screen(), where=where))
    expected = "where: obs has no column 'r1'. Columns: 'target', 'guide', 'rep'. "
    assert told == expected + "If it is text, put it in single quotes: 'r1'"
    assert de(screen(), where="rep = 'r1'").height > 0
    told = message(KeyError, lambda: de(screen(), where="repp = 'r1'"))
    assert told.endswith("Did you mean 'rep'? Columns: 'target', 'guide', 'rep'")


def test_a_column_that_is_no_name():
    data = screen()
    expected = "groupby must be the name of one column of obs; got {}. Join several columns into "
    expected += "one first"
    several = ["target", "guide"]
    assert message(TypeError, lambda: de(data, several)) == expected.format(several)
    assert message(TypeError, lambda: de(data, data.obs["target"])) == expected.format("a Series")
    scan = pdex.scan_anndata
    assert message(TypeError, lambda: scan(data, None)) == expected.format("None")
    told = message(TypeError, lambda: de(data, strata=data.obs["rep"]))
    assert told == expected.format("a Series").replace("groupby", "strata")
    control = {"reference": "ctrl", "by": several}
    told = message(TypeError, lambda: pdex.calibrate(data, "target", **control))
    assert told == expected.format(several).replace("groupby", "by")
    told = message(KeyError, lambda: de(data, gene_names=data.var["symbol"]))
    assert told == "gene_names: var has no column a Series. Columns: 'symbol'"


@pytest.mark.parametrize("reference", [None, "all"])
def test_reference_to_all_other_cells(reference):
    told = message(ValueError, lambda: de(screen(), reference=reference))
    expected = f"reference '{reference}' is not a group of obs['target']; to compare with all "
    assert told.startswith(expected + "other cells, use reference='rest'. Groups: ")
    assert de(screen(), reference="rest").height == 12


@pytest.mark.parametrize("stored", [False, True])
def test_a_label_of_another_column(tmp_path, stored):
    data = path = screen()
    prefix = ""
    if stored:
        data.write_h5ad(path := tmp_path / "x.h5ad")
        prefix = f"{path}: "
    told = message(ValueError, lambda: de(path, "guide"))
    assert told.startswith(
        f"{prefix}reference 'ctrl' is not a group of obs['guide']; it is a label of "
        "obs['target']: name the groups of obs['guide'] that hold its cells, reference=[...]. "
        "Groups: "
    )
    assert de(path, "guide", reference=["ctrl0", "ctrl1"]).height == 18
    told = message(ValueError, lambda: de(path, groups=["a1"]))
    assert "group 'a1' is not a group of obs['target']; it is a label of obs['guide']. " in told
    told = message(ValueError, lambda: de(path, reference="nowhere"))
    assert "reference 'nowhere' is not a group of obs['target']. Groups: " in told


def test_controls_that_where_left_out(tmp_path):
    data = screen()
    data.obs["rep"] = np.where(data.obs["target"] == "ctrl", "r1", "r2")
    expected = "reference 'ctrl' is not a group of obs['target'] among the 30 cells that where= "
    expected += "chose. Groups: 'a', 'b', 'c'"
    assert message(ValueError, lambda: de(data, where="rep = 'r2'")) == expected
    tables = pdex.tabulate(data, ["target", "rep"], output=tmp_path / "x.tables")
    assert message(ValueError, lambda: de(tables, where="rep = 'r2'")).endswith(expected)


def test_genes_by_symbols_and_in_another_case():
    data = screen()
    told = message(ValueError, lambda: de(data, genes=["STAT1"]))
    assert told == (
        "var_names has no gene 'STAT1'; var['symbol'] has it: use gene_names='symbol'. Its 3 "
        "names: 'ENSG1', 'ENSG2', 'ENSG3'"
    )
    assert de(data, genes=["STAT1"], gene_names="symbol").height == 3
    told = message(ValueError, lambda: de(data, genes=["Stat1", "irf1"], gene_names="symbol"))
    assert told == (
        "var['symbol'] has no gene 'Stat1', 'irf1'. Did you mean 'STAT1', 'IRF1'? Its 3 names: "
        "'STAT1', 'IRF1', 'JAK2'"
    )
    told = message(ValueError, lambda: de(data, genes=["STAT1", "JAK2"]))
    assert "no gene 'JAK2', 'STAT1'; var['symbol'] has 'JAK2': use gene_names='symbol'." in told
    told = message(ValueError, lambda: de(data[:, :0].copy(), genes=["JAK3"], gene_names="symbol"))
    assert told.startswith("var['symbol'] has no gene 'JAK3'. Its 0 names: ")
    data.raw = data
    told = message(ValueError, lambda: de(data, genes=["IRF1"], use_raw=True))
    assert "; raw.var['symbol'] has it: use gene_names='symbol'." in told


def test_identifiers_that_differ_in_digits_are_not_taken_to_be_meant():
    data = screen()
    data.var_names = [f"ENSG{i:08d}" for i in range(3)]
    told = message(ValueError, lambda: de(data, genes=["ENSG00000009"]))
    assert told.startswith("var_names has no gene 'ENSG00000009'. Its 3 names: ")
    told = message(ValueError, lambda: de(data, genes=["ensg00000002"]))
    assert "'ensg00000002'. Did you mean 'ENSG00000002'? Its 3 names: " in told


def test_a_layer_that_is_no_name():
    data = screen()
    data.layers["counts"] = data.X
    told = message(KeyError, lambda: de(data, layer=data.X))
    assert told == "there is no layer an ndarray. Layers: 'counts'"


def test_a_column_that_tables_were_not_counted_by(tmp_path):
    data = screen()
    a = pdex.tabulate(data, "target", output=tmp_path / "a.tables")
    b = pdex.tabulate(data, ["target", "rep"], output=tmp_path / "b.tables")
    c = pdex.tabulate(data, "target", output=tmp_path / "c.tables")
    expected = "obs has no column 'rep': these tables were counted by 'target'; tabulate again "
    expected += "with 'rep'"
    assert message(KeyError, lambda: de(a, strata="rep")) == f"{a.path}: {expected}"
    assert message(KeyError, lambda: de([a, c], strata="rep")) == expected
    assert message(KeyError, lambda: de([b, a], strata="rep")) == (
        f"{a.path}: obs has no column 'rep', which {b.path} has: tabulate it with 'rep', too. "
        "Columns: 'target'"
    )


# --- other data ----------------------------------------------------------------------------------


def test_frames_are_for_expressions():
    frame = pl.DataFrame({"target": ["a"]})
    expected = "expected an AnnData object, a path to .h5ad or .zarr, or count tables; for a frame "
    expected += "of rows use the expressions, such as pdex.wilcoxon"
    for data in (frame, frame.lazy(), frame.to_pandas()):
        for call in (de, pdex.info):
            told = message(TypeError, lambda data=data, call=call: call(data))
            assert told == f"data is a {type(data).__name__}: {expected}"
    told = message(TypeError, lambda: pdex.info(de(screen())))
    assert told.endswith("count tables; it is a result: pdex.describe tells how it was made")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.parquet", "a Parquet file"),
        ("x.ipc", "an Arrow IPC file"),
        ("x.data", "a Parquet file"),
        ("x.csv", "a CSV file"),
        ("x.tsv", "a TSV file"),
    ],
)
def test_files_of_frames(tmp_path, name, kind):
    frame, path = pl.DataFrame({"target": ["a"]}), tmp_path / name
    write = {".ipc": frame.write_ipc, ".csv": frame.write_csv, ".tsv": frame.write_csv}
    write.get(path.suffix, frame.write_parquet)(path)
    for call in (de, pdex.info):
        assert message(OSError, lambda call=call: call(path)) == (
            f"'{path}' is {kind}: expected an .h5ad file, a .zarr store or count tables; load "
            "other files first, for example with anndata.io; for a frame of rows use the "
            "expressions, such as pdex.wilcoxon"
        )


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_files_of_results(tmp_path, name):
    path = tmp_path / name
    pdex.sink_de(screen(), "target", path, reference="ctrl")
    for call in (de, pdex.info):
        told = message(OSError, lambda call=call: call(path))
        assert told == f"'{path}' is a result: pdex.describe tells how it was made"


def test_a_folder_of_a_result(tmp_path):
    result = de(screen())
    write_result(tmp_path, pdex.describe(result), [])
    told = message(ValueError, lambda: de(tmp_path))
    assert told == f"'{tmp_path}' is a result: pdex.describe tells how it was made"


def test_a_file_that_ends_early(tmp_path):
    whole, part = tmp_path / "whole.h5ad", tmp_path / "part.h5ad"
    screen(4000).write_h5ad(whole)
    data = whole.read_bytes()
    part.write_bytes(data[:50_000])
    told = message(OSError, lambda: de(part))
    n_bytes = f"{len(data) / 1000:.0f} kB"
    assert told == f"'{part}' is damaged: it ends after 50 kB of {n_bytes}; copy it again"


# --- genes of one name, and tables that are replaced ---------------------------------------------


def test_genes_of_one_name_are_a_warning(tmp_path):
    data = screen()
    data.var["symbol"] = ["STAT1", "STAT1", "IRF1"]
    text = "gene names occur more than once, such as 'STAT1' for 2 genes: each gene has rows of "
    text += "its own, in the order of the data; make the names unique, or choose a column of var "
    text += "with gene_names="
    named = {"gene_names": "symbol"}
    with pytest.warns(PdexWarning) as told:
        result = de(data, **named)
    assert [str(one.message) for one in told] == [text]
    assert result["feature"].to_list()[:3] == ["STAT1", "STAT1", "IRF1"]
    with pytest.warns(PdexWarning) as told:
        pdex.sink_de(data, "target", tmp_path / "x.parquet", reference="ctrl", **named)
    assert [str(one.message) for one in told] == [text]
    with pytest.warns(PdexWarning) as told:
        pdex.tabulate(data, "target", output=tmp_path / "x.tables", **named)
    assert [str(one.message) for one in told] == [text]
    with warnings.catch_warnings():
        warnings.simplefilter("error", PdexWarning)
        de(data)
        de(data, genes=["IRF1"], **named)
        # The interfaces of others are as silent as their models.
        data.var_names = ["STAT1", "STAT1", "IRF1"]
        pdex.parallel_differential_expression(data, reference="ctrl", groupby_key="target")
        pdex.pdex(data, "target", reference="ctrl", is_log1p=False)
        data.X = np.log1p(data.X)
        pdex.tl.rank_genes_groups(data, "target")


def test_replaced_tables_are_logged(tmp_path, caplog):
    caplog.set_level(logging.INFO, "pdex")
    path = tmp_path / "x.tables"
    pdex.tabulate(screen(), ["target", "rep", "guide"], output=path)
    assert not [one for one in caplog.messages if "replaced" in one]
    pdex.tabulate(screen(), "target", output=path)
    assert f"{path}: replaced tables by target, rep, guide" in caplog.messages


@pytest.mark.parametrize("engine", ["streaming", "in-memory"])
def test_the_class_of_errors_while_a_query_runs(tmp_path, engine):
    path = tmp_path / "x.h5ad"
    screen().write_h5ad(path)
    frame = pdex.scan_anndata(path, "target")
    kept = int(pl.__version__.split(".")[0]) >= 2
    screen(80).write_h5ad(path)
    error = ValueError if kept else pl.exceptions.ComputeError
    told = message(error, lambda: frame.collect(engine=engine))
    assert f"{path} has changed since it was scanned: scan it again" in told
    path.unlink()
    error = FileNotFoundError if kept else pl.exceptions.ComputeError
    assert str(path) in message(error, lambda: frame.collect(engine=engine))
