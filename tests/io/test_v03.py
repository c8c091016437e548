"""What users of `pdex.pdex` rely on: its tables in every form of data, warnings, guesses, errors.

The screen is that of the stored answers of pdex 0.3.0 (tests/golden/pdex03.py).
"""

import importlib
import inspect
import json
import logging
import runpy
import warnings
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from pdex._io.opening import open_source
from polars.testing import assert_frame_equal
from scipy import stats

GOLDEN = Path(__file__).parents[1] / "golden" / "pdex03.py"
COLUMNS = ["target", "feature", "target_mean", "ref_mean", "target_membership", "ref_membership"]
COLUMNS += ["log2_fold_change", "percent_change", "p_value", "statistic", "fdr"]
MODES = {"ref": {}, "all": {}, "on_target": {"gene_col": "own"}}
LAYOUTS = {"dense": np.asarray, "csr": sp.csr_matrix, "csc": sp.csc_matrix}

# importlib, since pdex.pdex the function is no way to the module.
v03 = importlib.import_module("pdex._compat.v03")
theirs = SimpleNamespace(**runpy.run_path(str(GOLDEN)))
SCREEN = json.loads(GOLDEN.with_suffix(".json").read_text())["screen"]


def run(data, **call):
    return pdex.pdex(data, **{"groupby": "group", "is_log1p": False} | call)


# --- what its users would look at ---------------------------------------------------------------


def screen(layout="dense", dtype="float64", log=False, **how):
    return theirs.build(SCREEN, layout=layout, dtype=dtype, log=log, **how)


def every_way(data, **options):
    """The tables of every mode, with and without a filter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for mode, more in MODES.items():
            for floor in (None, 4_000.0):
                yield run(data, mode=mode, cpm_filter=floor, **more, **options)


def equal(data, other, exact=True, **options):
    for got, want in zip(every_way(data, **options), every_way(other, **options), strict=True):
        assert_frame_equal(got, want, check_exact=exact, rel_tol=1e-6, check_dtypes=exact)


def test_names_and_signature():
    from pdex import DEFAULT_REFERENCE, PDEX_MODES

    assert DEFAULT_REFERENCE == "non-targeting"
    assert set(PDEX_MODES.__args__) == set(MODES)
    parameters = inspect.signature(pdex.pdex).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    empty = inspect.Parameter.empty
    assert list(defaults.items()) == [
        ("adata", empty),
        ("groupby", empty),
        ("mode", "ref"),
        ("threads", 0),
        ("is_log1p", None),
        ("geometric_mean", True),
        ("as_pandas", False),
        ("epsilon", 1e-9),
        ("cpm_filter", None),
    ]
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in list(parameters.values())[:-1])


@pytest.mark.parametrize("log", [False, True])
def test_against_the_definition_with_scipy(log):
    data = screen(log=log)
    label = data.obs["group"].to_numpy()
    table = run(data, is_log1p=log, epsilon=0.25)
    assert table.columns == COLUMNS
    assert table["target"].unique(maintain_order=True).to_list() == ["KO-" + c for c in "abcde"]
    assert table["feature"].to_list() == data.var_names.to_list() * 5
    for row in table.to_dicts():
        x = data.X[:, data.var_names.get_loc(row["feature"])]
        x, y = x[label == row["target"]], x[label == "non-targeting"]
        a, b = (np.expm1((s if log else np.log1p(s)).mean()) for s in (x, y))
        statistic, p = stats.mannwhitneyu(x, y, method="asymptotic")
        # Of equal values: 1 in SciPy 1.17 and in pdex 0.3, NaN from SciPy 1.18 on.
        p = 1.0 if np.ptp([*x, *y]) == 0 else p
        assert row["statistic"] == statistic
        assert (row["target_membership"], row["ref_membership"]) == (x.size, y.size)
        got = [row[name] for name in ("p_value", "target_mean", "ref_mean")]
        assert got == pytest.approx([p, a, b], rel=1e-12)
        assert row["log2_fold_change"] == pytest.approx(np.log2((a + 0.25) / (b + 0.25)), abs=1e-13)
        assert row["percent_change"] == pytest.approx((a - b) / (b + 0.25), abs=1e-13)
    for part in table.partition_by("target"):
        expected = stats.false_discovery_control(part["p_value"].to_numpy())
        np.testing.assert_allclose(part["fdr"], expected, rtol=1e-14)


def test_pandas():
    for table, frame in zip(every_way(screen(), as_pandas=True), every_way(screen()), strict=True):
        assert isinstance(table, pd.DataFrame)
        assert table.index.tolist() == list(range(frame.height))
        pd.testing.assert_frame_equal(table, pd.DataFrame(frame.to_dict(as_series=False)))
    narrow = run(screen("csr", "float32"), as_pandas=True)
    text = pd.Series(["KO-a"]).dtype
    kinds = ["float32"] * 2 + ["int64"] * 2 + ["float64"] * 5
    assert narrow.dtypes.tolist() == [text] * 2 + [np.dtype(kind) for kind in kinds]
    empty = run(screen(), mode="on_target", gene_col="own", cpm_filter=1e7, as_pandas=True)
    assert empty.columns.tolist() == COLUMNS
    assert len(empty) == 0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("log", [False, True])
def test_layouts_files_and_pieces(tmp_path, monkeypatch, layout, log):
    memory = screen(layout, "float32", log)
    memory.write_h5ad(tmp_path / "screen.h5ad")
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    equal(backed, memory, is_log1p=log)
    equal(tmp_path / "screen.h5ad", memory, is_log1p=log)
    # A file in many pieces, and on target one gene after the other.
    monkeypatch.setattr("pdex._resources.Resources.for_pieces", 700)
    equal(backed, memory, is_log1p=log)
    monkeypatch.setattr(v03, "_GENES", 1)
    equal(backed, memory, is_log1p=log)
    wide = screen("dense", "float32", log)
    wide.X = wide.X.astype(float)
    equal(memory, wide, exact=False, is_log1p=log)
    backed.file.close()


def test_pieces_are_many(tmp_path, monkeypatch):
    """The budget of the test above makes pieces indeed."""
    screen("csr", "float32").write_h5ad(tmp_path / "screen.h5ad")
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    monkeypatch.setattr("pdex._resources.Resources.for_pieces", 700)
    read = v03._read(open_source(backed, None), "group", 1, False, True)
    assert len(list(read.pieces(read.source.select_genes(None)))) > 3
    backed.file.close()


def test_a_path_will_do(tmp_path):
    screen().write_h5ad(tmp_path / "screen.h5ad")
    assert_frame_equal(run(tmp_path / "screen.h5ad"), run(screen()), check_exact=True)


def test_threads_never_change_a_number_and_data_stay_as_they_are():
    data = screen("csr", "float32", log=True)
    before = data.copy()
    for threads in (0, 1, 2, 1_000):
        equal(data, before, threads=threads)
    assert (data.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(data.obs, before.obs)


def test_float32_sums_are_exact_up_to_one_rounding(screen_path):
    data = ad.read_h5ad(screen_path)
    table = run(data, groupby="target")
    assert table["target_mean"].dtype == pl.Float32
    label, values = data.obs["target"].to_numpy(), np.log1p(data.X.toarray().astype(float))
    want = np.expm1(values[label == "non-targeting"].mean(axis=0))
    np.testing.assert_allclose(table["ref_mean"][: data.n_vars], want, rtol=6e-8)
    wide = run(ad.AnnData(data.X.astype(float), data.obs, data.var), groupby="target")
    for name in COLUMNS[6:]:
        assert table[name].to_list() == wide[name].to_list()


# --- what is filtered ---------------------------------------------------------------------------


def test_the_filter_drops_what_is_at_the_threshold_on_both_sides():
    data = screen()
    label, counts = data.obs["group"].to_numpy(), data.X
    cpm = {
        name: counts[label == name].sum(axis=0) / counts[label == name].sum() * 1e6
        for name in ("KO-a", "non-targeting")
    }
    best = np.maximum(*cpm.values())
    for gene in (0, 4, 8, 15):
        for floor, stays in ((best[gene] * (1 - 1e-9), True), (best[gene] * (1 + 1e-9), False)):
            table = run(data, cpm_filter=floor).filter(pl.col("target") == "KO-a")
            expected = [name for name, top in zip(data.var_names, best, strict=True) if top > floor]
            assert table["feature"].to_list() == expected
            assert (f"g{gene}" in expected) == stays
            fdr = stats.false_discovery_control(table["p_value"].to_numpy())
            np.testing.assert_allclose(table["fdr"], fdr, rtol=1e-14)


def test_a_gene_at_the_threshold_goes():
    x = np.array([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0], [1.0, 3.0]])
    obs = pd.DataFrame({"group": ["a", "a", "non-targeting", "non-targeting"]}, list("1234"))
    table = run(ad.AnnData(x, obs), cpm_filter=250_000)
    assert table["feature"].to_list() == ["1"]


def test_the_filter_sees_log_values_as_counts():
    data = screen(log=True)
    natural = ad.AnnData(np.expm1(data.X), data.obs, data.var)
    for floor in (3_000.0, 30_000.0):
        for mode, more in MODES.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = run(data, mode=mode, is_log1p=True, cpm_filter=floor, **more)
                want = run(natural, mode=mode, is_log1p=False, cpm_filter=floor, **more)
            assert_frame_equal(got, want, rel_tol=1e-10)


# --- warnings and guesses -----------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backed", [False, True])
def test_the_guess_is_that_of_this_version(caplog, tmp_path, layout, backed):
    for value, guess in ((19.0, False), (19.99, True), (20.5, False)):
        x = np.zeros((502, 3))
        x[501, 1] = value
        obs = pd.DataFrame({"group": ["a", "non-targeting"] * 251}, map(str, range(502)))
        data = ad.AnnData(LAYOUTS[layout](x), obs)
        if backed:
            data.write_h5ad(tmp_path / f"{value}.h5ad")
            data = ad.read_h5ad(tmp_path / f"{value}.h5ad", backed="r")
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="pdex"):
            got = run(data, is_log1p=None)
        assert [r.getMessage() for r in caplog.records if r.name == "pdex"] == [
            f"is_log1p not specified; auto-detected {guess}. "
            "Pass is_log1p explicitly to suppress this message."
        ]
        assert_frame_equal(got, run(data, is_log1p=guess), check_exact=True)


def test_nothing_is_said_without_need(caplog):
    data = screen()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(data, cpm_filter=5.0)
    assert [r for r in caplog.records if r.name == "pdex"] == []


WARNED = {
    "keyword": ({"alpha": 1}, {}, r"mode='ref' \(ignored\): alpha"),
    "gene": ({"mode": "on_target", "gene_col": "own"}, {}, r"1 groups .*adata.var: KO-e \(g99\)"),
    "negative": ({"cpm_filter": 5.0, "geometric_mean": False}, {"shift": -1}, "negative values"),
    "negative on target": (
        {"cpm_filter": 5.0, "geometric_mean": False, "mode": "on_target", "gene_col": "own"},
        {"shift": -1},
        "negative values",
    ),
}


@pytest.mark.filterwarnings("ignore:Found 1 groups")
@pytest.mark.parametrize("case", WARNED)
def test_warnings_point_to_the_call(case):
    options, how, message = WARNED[case]
    data = screen(**how)
    with pytest.warns(UserWarning, match=message) as caught:
        run(data, **options)
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_negative_values_are_told_of_where_no_group_has_its_gene(layout, tmp_path):
    data = screen(layout, shift=-1.0) if layout == "dense" else screen(layout)
    if layout != "dense":
        data.X.data[3] = -1
    data.obs["own"] = "absent"
    data.write_h5ad(tmp_path / "screen.h5ad")
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    for each in (data, backed):
        with pytest.warns(UserWarning, match="negative values") as caught:
            table = run(each, mode="on_target", gene_col="own", cpm_filter=5.0)
        messages = sorted(str(warning.message)[:22] for warning in caught)
        assert messages == ["Found 5 groups with mi", "cpm_filter is set but "]
        assert table.is_empty()
    backed.file.close()


# --- where the real one fails or is off ---------------------------------------------------------


def test_what_the_real_one_could_not_read():
    want = screen()
    zeros = sp.csr_matrix(want.X + 1)
    zeros.data -= 1
    assert zeros.nnz == want.X.size
    equal(ad.AnnData(zeros, want.obs, want.var), want)
    for dtype in ("int32", "int64", "uint8", "uint16"):
        equal(screen("csr", dtype), want)
    half = np.minimum(want.X, 2_000)
    equal(
        ad.AnnData(half.astype("float16"), want.obs, want.var), ad.AnnData(half, want.obs, want.var)
    )
    negative = screen(shift=-1.0)
    assert negative.X.min() == -1
    sparse = ad.AnnData(sp.csr_matrix(negative.X), negative.obs, negative.var)
    equal(sparse, negative, geometric_mean=False)


def test_means_of_the_rest_are_sums_not_differences():
    """g6 is nowhere but in the reference: its rest is 0, where 0.3 found 1e-17 and a fold of 56."""
    table = run(screen(), mode="all", epsilon=0.0)
    row = table.row(
        by_predicate=(pl.col("target") == "non-targeting") & (pl.col("feature") == "g6"), named=True
    )
    assert row["ref_mean"] == 0
    assert row["log2_fold_change"] == np.inf


def test_means_of_negative_values_are_theirs():
    data = screen(shift=-3.0)
    label, row = data.obs["group"].to_numpy(), {"target": "KO-a", "feature": "g0"}
    table = run(data, mode="all", geometric_mean=False)
    got = table.filter(**row)["ref_mean"].item()
    want = data.X[(label != "KO-a") & (label != ""), 0].mean()
    assert want < -2.5
    assert got == pytest.approx(want, rel=1e-14)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_genes_may_be_categories_of_which_one_is_missing(layout):
    data = screen(layout)
    want = run_quietly(data, mode="on_target", gene_col="own")
    data.obs["own"] = data.obs["own"].astype("category")
    with pytest.warns(UserWarning, match=r"Found 1 groups .*: KO-e \(g99\)$"):
        got = run(data, mode="on_target", gene_col="own")
    assert got["target"].to_list() == ["KO-a", "KO-b", "KO-c"]
    assert got["feature"].to_list() == ["g6", "g5", "g9"]
    assert_frame_equal(got, want, check_exact=True)


def test_of_genes_of_one_name_the_last_is_the_target():
    data = screen()
    data.var_names = [f"g{i}" for i in range(14)] + ["g9", "g15"]
    got = run_quietly(data, mode="on_target", gene_col="own").filter(target="KO-c")
    data.obs["own"] = data.obs["own"].replace("g9", "g15")
    data.X = data.X[:, [*range(15), 14]]
    want = run_quietly(data, mode="on_target", gene_col="own").filter(target="KO-c")
    assert got["feature"].to_list() == ["g9"]
    names = ["feature", "fdr"]
    assert_frame_equal(got.drop(names), want.drop(names), rel_tol=1e-13)
    every = run(data).filter(target="KO-c")
    assert every["feature"].to_list() == data.var_names.to_list()


def test_unused_categories_are_no_groups():
    data = screen()
    want = list(every_way(data))
    names = ["zzz", *sorted(set(SCREEN["group"]) - {""}), "yyy"]
    data.obs["group"] = pd.Categorical(data.obs["group"], names)
    for got, expected in zip(every_way(data), want, strict=True):
        assert_frame_equal(got, expected, check_exact=True)


def test_groups_may_name_their_genes():
    data = screen()
    data.obs["own"] = data.obs["group"].replace({"KO-a": "g9", "KO-b": "g0", "KO-c": "g5"})
    want = run_quietly(data, mode="on_target", gene_col="own", groupby="own")
    assert want["target"].to_list() == want["feature"].to_list() == ["g0", "g5", "g9"]
    renamed = run_quietly(data, mode="on_target", gene_col="own")
    assert_frame_equal(
        want.drop("target"), renamed[[1, 2, 0]].drop("target", "fdr").with_columns(want["fdr"])
    )


def run_quietly(data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return run(data, **options)


def test_unlabelled_cells_have_no_genes():
    data = screen()
    unlabelled = data.obs["group"] == ""
    want = run_quietly(data, mode="on_target", gene_col="own")
    data.obs.loc[unlabelled, "own"] = [f"g{i}" for i in range(unlabelled.sum())]
    data.obs["group"] = data.obs["group"].replace({"": None})
    got = run_quietly(data, mode="on_target", gene_col="own")
    assert want.height == 3
    assert_frame_equal(got, want, check_exact=True)


def test_a_filter_that_leaves_one_group_nothing():
    x = np.array([[1.0, 9.0], [2.0, 8.0], [9.0, 1.0], [9.0, 1.0], [1.0, 9.0], [2.0, 7.0]])
    names = ["a", "a", "b", "b", "non-targeting", "non-targeting"]
    obs = pd.DataFrame({"group": names}, list("123456"))
    table = run(ad.AnnData(x, obs), cpm_filter=8.6e5)
    assert table.select("target", "feature").rows() == [("b", "0")]
    assert table["fdr"].to_list() == table["p_value"].to_list()


def test_labels_keep_their_kind():
    for values in ([1, 2, 3], [True, False, False], [1.5, 2.5, 3.5]):
        data = screen()
        data.obs["group"] = np.array(values)[np.arange(data.n_obs) % 3]
        table = run(data, reference=values[0])
        rest = sorted(set(values) - {values[0]})
        assert table["target"].unique(maintain_order=True).to_list() == rest
        assert table["target"].dtype == pl.Series(values).dtype


# --- errors -------------------------------------------------------------------------------------

ERRORS = {
    "column": ({"groupby": 3}, ValueError, r"Missing column: 3\. Available: group, own"),
    "reference": ({"reference": 7}, ValueError, r"Missing reference: 7\. Available: KO-a, KO-b"),
    "mode": ({"mode": "pairs"}, ValueError, r"Invalid mode: pairs: use one of 'ref', 'all'"),
    "gene_col": ({"mode": "on_target"}, ValueError, r"'gene_col' is required for mode='on_target'"),
    "threads": ({"threads": -1}, ValueError, r"threads=-1: expected 0"),
    "no threads": (
        {"threads": "all"},
        ValueError,
        r"threads must be None \(use all cores\) or an integer >= 1; got 'all'",
    ),
    "epsilon": ({"epsilon": "1"}, TypeError, r"epsilon='1': expected a number"),
    "NaN epsilon": ({"epsilon": np.nan}, ValueError, r"epsilon is NaN"),
    "filter": ({"cpm_filter": True}, TypeError, r"cpm_filter=True: expected a number"),
    "NaN filter": ({"cpm_filter": np.nan}, ValueError, r"cpm_filter is NaN"),
    "is_log1p": ({"is_log1p": "yes"}, TypeError, "is_log1p must be True or False; got 'yes'"),
    "geometric": ({"geometric_mean": 1}, TypeError, "geometric_mean must be True or False; got 1"),
    "as_pandas": ({"as_pandas": 1}, TypeError, "as_pandas must be True or False; got 1"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_what_is_wrong(case):
    options, kind, message = ERRORS[case]
    with pytest.raises(kind, match=message):
        run(screen(), **options)


def test_errors_of_the_data():
    data = screen()
    data.obs["own"] = [f"g{i % 2}" for i in range(data.n_obs)]
    with pytest.raises(ValueError, match=r"multiple genes in 'own': KO-[a-e](, KO-[a-e]){4}$"):
        run(data, mode="on_target", gene_col="own")
    alone = screen()
    alone.obs["group"] = "non-targeting"
    with pytest.raises(ValueError, match="mode='all' requires at least 2 groups, found 1"):
        run(alone, mode="all")
    with pytest.raises(
        ValueError, match=r"obs\['group'\] has no group to test other than 'non-targeting'"
    ):
        run(alone)
    alone.obs["group"] = ""
    with pytest.raises(ValueError, match="no cell with a label"):
        run(alone)
    with pytest.raises(TypeError, match="expected an AnnData object"):
        run(data.X)


@pytest.mark.parametrize("options", [{}, {"cpm_filter": 5.0}])
@pytest.mark.parametrize("mode", MODES)
def test_nan_names_its_cell_and_gene(mode, options):
    data = screen()
    cell = SCREEN["group"].index("KO-c")
    data.X[cell, 9] = np.nan
    with pytest.raises(
        ValueError,
        match=r"X contains NaN \(cell 'c8', row 8; gene 'g9', column 9\)\. Fill or drop missing",
    ):
        run_quietly(data, mode=mode, **MODES[mode], **options)
