"""`pdex.tl.rank_genes_groups` by itself: layouts, files, exactness, bad input. No scanpy here."""

import subprocess
import sys

import anndata as ad
import h5py
import mpmath
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from scipy import stats

KEY = "rank_genes_groups"
COLUMNS = ["names", "scores", "logfoldchanges", "pvals", "pvals_adj"]
METHODS = ["wilcoxon", "t-test", "t-test_overestim_var", "anderson"]
GROUPS = ["b", "a", "ctrl"]
LAYOUTS = {
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "csr array": sp.csr_array,
    "dense": sp.csr_matrix.toarray,
    "dense by gene": lambda x: np.asfortranarray(x.toarray()),
}


def screen(rng, n_cells=90, n_genes=12):
    x = np.log1p(rng.poisson(rng.gamma(1, 1.5, n_genes), (n_cells, n_genes)))
    x[:, 0] = 0
    label = pd.Categorical(np.resize(GROUPS, n_cells), GROUPS)
    obs = pd.DataFrame({"group": label}, [f"c{i}" for i in range(n_cells)])
    var = pd.DataFrame({"kept": np.arange(n_genes) % 3 > 0}, [f"g{i}" for i in range(n_genes)])
    return ad.AnnData(sp.csr_matrix(x), obs, var)


def run(data, **options):
    assert pdex.tl.rank_genes_groups(data, "group", **options) is None
    return data.uns[options.get("key_added") or KEY]


def table(result, group, column):
    """One column of one group, by gene."""
    return pd.Series(result[column][group], result["names"][group]).sort_index()


def same(got, expected, rtol=0.0):
    """Every number and every gene's place."""
    assert set(got) == set(expected)
    for name in COLUMNS:
        for group in expected[name].dtype.names:
            x, y = got[name][group], expected[name][group]
            if name == "names":
                assert x.tolist() == y.tolist()
            else:
                np.testing.assert_allclose(x, y, rtol=rtol, equal_nan=True)
    for name in {"pts", "pts_rest"}.intersection(expected):
        pd.testing.assert_frame_equal(got[name], expected[name], check_exact=True)


# --- where the matrix is ------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reference", ["rest", "ctrl"])
@pytest.mark.parametrize("method", METHODS)
def test_layouts_views_layers_raw_and_files_agree(rng, tmp_path, method, reference, layout):
    data = screen(rng)
    options = {"method": method, "reference": reference, "pts": True}
    expected = run(data.copy(), **options)
    data.X = LAYOUTS[layout](data.X)
    rtol = 1e-13  # measured: equal
    same(run(data.copy(), **options), expected, rtol)
    padded = ad.concat([data, data], axis="var", label="half", index_unique="-")
    padded.obs = data.obs
    view = padded[:, padded.var["half"] == "1"]
    assert view.is_view
    # AnnData makes a view a copy when it is written to, and says so.
    with pytest.warns(ad.ImplicitModificationWarning):
        assert pdex.tl.rank_genes_groups(view, "group", **options) is None
    for name in COLUMNS[1:]:
        for group in expected[name].dtype.names:
            np.testing.assert_allclose(view.uns[KEY][name][group], expected[name][group], rtol)
    layered = data.copy()
    layered.layers["log"], layered.X = data.X.copy(), data.X * 0
    same(run(layered, layer="log", **options), expected, rtol)
    layered.raw = data
    got = run(layered, **options)
    assert got["params"]["use_raw"] is True
    same(got, expected, rtol)
    layered.write_h5ad(tmp_path / "screen.h5ad")
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    same(run(backed, use_raw=True, **options), expected, rtol)
    same(run(backed, layer="log", **options), expected, rtol)
    backed.file.close()
    data.write_h5ad(tmp_path / "plain.h5ad")
    backed = ad.read_h5ad(tmp_path / "plain.h5ad", backed="r")
    same(run(backed, **options), expected, rtol)
    backed.file.close()


@pytest.mark.parametrize("method", METHODS)
def test_a_matrix_read_in_several_pieces_gives_the_same(rng, tmp_path, monkeypatch, method):
    data = screen(rng)
    expected = run(data.copy(), method=method, pts=True, mask_var="kept")
    monkeypatch.setattr("pdex._resources.Resources.for_pieces", 3_000)
    for layout in LAYOUTS.values():
        data.X = layout(screen_x := sp.csr_matrix(data.X))
        assert screen_x.nnz * 8 > 3_000
        data.write_h5ad(tmp_path / "screen.h5ad")
        backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
        same(run(backed, method=method, pts=True, mask_var="kept"), expected, 1e-12)
        backed.file.close()


def test_counts_in_a_file_are_counts(rng, tmp_path):
    data = screen(rng)
    data.X.data = np.round(data.X.data * 3)
    data.write_h5ad(tmp_path / "screen.h5ad")
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    for method in METHODS:
        with pytest.warns(UserWarning, match=r"X looks like counts.*log1p"):
            expected = run(data, method=method, pts=True)
        with pytest.warns(UserWarning, match=r"X looks like counts.*log1p"):
            same(run(backed, method=method, pts=True), expected, 1e-12)
    backed.file.close()


@pytest.mark.filterwarnings("error")
def test_no_warning_for_logs_or_scaled_data(rng):
    data = screen(rng)
    run(data)
    data.X = np.round(data.X.toarray()) - 1
    for method in METHODS:
        run(data, method=method)


# --- the numbers --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:p-value")
@pytest.mark.parametrize("reference", ["rest", "ctrl"])
def test_anderson_is_scipys(rng, reference):
    data = screen(rng)
    result = run(data, method="anderson", reference=reference)
    options = {"test": "anderson", "method": "asymptotic", "is_log1p": True}
    de = pdex.de(data, "group", reference=reference, **options)
    x, label = data.X.toarray(), data.obs["group"].to_numpy()
    for group in [g for g in GROUPS if g != reference]:
        scores, p = table(result, group, "scores"), table(result, group, "pvals")
        other = label != group if reference == "rest" else label == reference
        for i in np.flatnonzero(np.ptp(x, axis=0)):
            expected = stats.anderson_ksamp([x[label == group, i], x[other, i]], variant="midrank")
            np.testing.assert_allclose(scores[f"g{i}"], expected.statistic, rtol=1e-6, atol=1e-9)
        part = de.filter(target=group).sort(pl.col("feature").cast(pl.String))
        np.testing.assert_array_equal(p, part["p_value"])
        # No cell expresses it: no score, p 1, the last place.
        assert np.isnan(scores["g0"])
        assert p["g0"] == 1
        assert result["names"][group][-1] == "g0"
        ranked = result["scores"][group]
        assert not (np.diff(ranked) > 0).any()


@pytest.mark.parametrize("reference", ["rest", "ctrl"])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_overestimated_variance_keeps_its_digits(rng, offset, reference):
    data = screen(rng)
    data.X = rng.normal(size=data.shape) + offset
    result = run(data, method="t-test_overestim_var", reference=reference, use_raw=False)
    label = data.obs["group"].to_numpy()
    with mpmath.workdps(50):
        for group in [g for g in GROUPS if g != reference]:
            p = table(result, group, "pvals")
            for i in range(data.n_vars):
                values = [mpmath.mpf(float(v)) for v in data.X[:, i]]
                x = [v for v, g in zip(values, label, strict=True) if g == group]
                y = [
                    v
                    for v, g in zip(values, label, strict=True)
                    if g == reference or (reference == "rest" and g != group)
                ]
                expected = overestimated(x, y)
                # Measured: 5e-15, and 2e-10 at 1e6.
                assert abs(p[f"g{i}"] - expected) <= 1e-9 * expected


def overestimated(x, y):
    """p of Welch's test with the reference's size replaced by the group's, in 50 digits."""
    n = mpmath.mpf(len(x))
    means = [mpmath.fsum(v) / len(v) for v in (x, y)]
    u, v = (
        mpmath.fsum((a - m) ** 2 for a in s) / (len(s) - 1) / n
        for s, m in zip((x, y), means, strict=True)
    )
    t = (means[0] - means[1]) / mpmath.sqrt(u + v)
    df = (u + v) ** 2 * (n - 1) / (u**2 + v**2)
    return mpmath.betainc(df / 2, 0.5, 0, df / (df + t**2), regularized=True)


def test_small_p_values_keep_their_digits(rng):
    """As far as f64 goes: scores of up to 39 from 1,400 cells of each group."""
    n = 2_800
    x = np.zeros((n, 8))
    label = np.repeat(["a", "b"], n // 2)
    for i in range(8):  # gene i: the groups overlap in a share of the cells
        x[:, i] = rng.permutation(n) / n
        share = np.flatnonzero(label == "a")[: n // 2 - 130 * i]
        x[share, i] += 2
    data = ad.AnnData(x, pd.DataFrame({"group": label}, map(str, range(n))))
    result = run(data, groups=["a"])
    for i in range(8):
        u = stats.mannwhitneyu(x[label == "a", i], x[label == "b", i]).statistic
        m = n // 2
        z = (mpmath.mpf(u) - m * m / 2) / mpmath.sqrt(mpmath.mpf(m * m) * (n + 1) / 12)
        expected = mpmath.erfc(abs(z) / mpmath.sqrt(2))
        got = table(result, "a", "pvals")[str(i)]
        assert abs(got - expected) <= 1e-12 * expected + mpmath.mpf("1e-300")
    assert result["pvals"]["a"].min() < 1e-290


def test_fold_changes_of_any_base(rng):
    data = screen(rng)
    x, label = data.X.toarray(), data.obs["group"].to_numpy()
    for base, unit in [(None, 1.0), (2, np.log(2)), (np.float64(10), np.log(10))]:
        data.uns["log1p"] = {} if base is None else {"base": base}
        got = table(run(data, reference="ctrl"), "a", "logfoldchanges")
        means = [np.expm1(x[label == g].mean(0) * unit) + 1e-9 for g in ("a", "ctrl")]
        expected = pd.Series(np.log2(means[0] / means[1]), data.var_names).sort_index()
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


# --- groups, masks, what is written -------------------------------------------------------------


def test_cells_without_a_label_belong_to_the_rest(rng):
    data = screen(rng)
    expected = run(data.copy(), groups=["a"], pts=True)
    data.obs["group"] = (
        data.obs["group"].where(data.obs["group"] == "a").cat.remove_unused_categories()
    )
    for labels in (data.obs["group"], data.obs["group"].astype(object)):
        data.obs["group"] = labels
        same(run(data, pts=True), expected)


def test_groups_are_in_the_order_asked_for(rng):
    data = screen(rng)
    whole = run(data.copy(), pts=True, reference="ctrl")
    assert whole["names"].dtype.names == ("b", "a")
    assert list(whole["pts"].columns) == ["b", "a", "ctrl"]
    result = run(data.copy(), pts=True, reference="ctrl", groups=["a", "ctrl", "b", "a"])
    assert result["names"].dtype.names == ("a", "b")
    assert list(result["pts"].columns) == ["a", "ctrl", "b"]
    for name in COLUMNS[1:]:
        for group in "ab":
            np.testing.assert_array_equal(result[name][group], whole[name][group])
    data.obs["group"] = data.obs["group"].cat.rename_categories({"b": "T10", "a": "T2"})
    assert run(data)["names"].dtype.names == ("T10", "T2", "ctrl")
    data.obs["group"] = data.obs["group"].astype(str)
    assert run(data)["names"].dtype.names == ("T2", "T10", "ctrl")
    data.obs["group"] = np.resize([10, 2, 1], data.n_obs)
    numbers = run(data, groups=[10, 1], reference="rest")
    assert numbers["names"].dtype.names == ("10", "1")
    np.testing.assert_array_equal(numbers["pvals"]["10"], run(data)["pvals"]["10"])
    assert data.uns[KEY]["names"].dtype.names == ("1", "2", "10")


def test_a_mask_is_the_same_as_fewer_genes(rng):
    data = screen(rng)
    expected = run(data[:, data.var["kept"]].copy(), pts=True)
    masks = ["kept", data.var["kept"], data.var["kept"].to_numpy(), data.var["kept"].tolist()]
    for mask in masks:
        same(run(data, mask_var=mask, pts=True), expected, 1e-13)
    data.var["kept"] = data.var["kept"].astype("boolean")
    same(run(data, mask_var="kept", pts=True), expected, 1e-13)


def test_copy_and_key(rng):
    data = screen(rng)
    copy = pdex.tl.rank_genes_groups(data, "group", copy=True, key_added="mine")
    assert list(data.uns) == []
    assert list(copy.uns) == ["mine"]
    same(copy.uns["mine"], run(data, key_added=None))
    assert copy.uns["mine"]["params"] == {
        "groupby": "group",
        "reference": "rest",
        "method": "wilcoxon",
        "use_raw": False,
        "layer": None,
        "corr_method": "benjamini-hochberg",
    }


def test_nothing_else_is_changed(rng):
    data = screen(rng)
    data.obs["group"] = data.obs["group"].astype(str)
    data.obs["text"] = "x"
    data.X.data[5] = 0  # an entry that is stored, and 0
    before = data.copy()
    run(data, method="t-test_overestim_var", pts=True)
    labels = before.obs["group"].astype(pd.CategoricalDtype(["a", "b", "ctrl"]))
    pd.testing.assert_frame_equal(data.obs, before.obs.assign(group=labels))
    pd.testing.assert_frame_equal(data.var, before.var)
    np.testing.assert_array_equal(data.X.data, before.X.data)
    result = data.uns.pop(KEY)
    before.X.eliminate_zeros()
    same(run(before, method="t-test_overestim_var", pts=True), result, 1e-13)


def test_results_go_through_a_file(rng, tmp_path):
    data = screen(rng)
    expected = run(data, pts=True)
    data.write_h5ad(tmp_path / "result.h5ad")
    with h5py.File(tmp_path / "result.h5ad") as file:
        assert KEY in file["uns"]
    same(ad.read_h5ad(tmp_path / "result.h5ad").uns[KEY], expected)


def test_scanpy_is_not_needed():
    code = (
        "import sys; sys.modules['scanpy'] = None\n"
        "import numpy as np, pdex\n"
        "s = pdex.datasets.simulate_screen(n_cells=90, n_genes=9, n_targets=2, n_effects=2)\n"
        "s.X = np.log1p(s.X)\n"
        "pdex.tl.rank_genes_groups(s, 'target', method='t-test_overestim_var', pts=True)\n"
        "assert not {'matplotlib', 'sklearn', 'statsmodels'}.intersection(sys.modules)\n"
        "print(len(s.uns['rank_genes_groups']['names']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "9\n"


# --- bad input ----------------------------------------------------------------------------------

ERRORS = {
    "method": ({"method": "logreg"}, ValueError, "method must be one of 'wilcoxon', 't-test',"),
    "no method": ({"method": None}, ValueError, "method must be one of 'wilcoxon', 't-test',"),
    "correction": ({"corr_method": "fdr"}, ValueError, "corr_method must be one of"),
    "column": ({"groupby": "nope"}, KeyError, r"'nope'.*'group'"),
    "reference": ({"reference": "nope"}, ValueError, r"reference 'nope'.*'ctrl', 'b', 'a'"),
    "group": ({"groups": ["a", "nope"]}, ValueError, r"group 'nope'.*'ctrl', 'b', 'a'"),
    "one group": ({"groups": "a"}, ValueError, r"groups must be 'all' or a list of groups, such"),
    "number": ({"groups": 1}, ValueError, r"groups must be 'all' or a list of groups, such as"),
    "no groups": ({"groups": []}, ValueError, r"no group to test.*groups"),
    "reference only": (
        {"groups": ["ctrl"], "reference": "ctrl"}, ValueError, r"obs\['group'\] has no group to"
    ),
    "no genes": ({"n_genes": 0}, ValueError, r"n_genes must be None \(all genes\) or an integer"),
    "flag for genes": ({"n_genes": True}, ValueError, r"n_genes must be None \(all genes\) or an"),
    "layer": ({"layer": "nope"}, KeyError, r"nope.*'log'"),
    "layer and raw": ({"layer": "log", "use_raw": True}, ValueError, r"layer='log'.*use_raw=True"),
    "no raw": ({"use_raw": True}, ValueError, r"has no raw: leave out use_raw"),
    "mask name": ({"mask_var": "nope"}, ValueError, r"mask_var='nope'.*'kept'"),
    "mask type": ({"mask_var": np.arange(12)}, ValueError, r"mask_var has dtype int.*bool"),
    "mask length": ({"mask_var": np.ones(3, bool)}, ValueError, r"3 entries.*X has 12 genes"),
    "empty mask": ({"mask_var": np.zeros(12, bool)}, ValueError, r"mask_var leaves no gene"),
    "flag": ({"pts": "yes"}, TypeError, "pts must be True or False; got 'yes'"),
    "ties": ({"tie_correct": 1}, TypeError, "tie_correct must be True or False; got 1"),
    "abs": ({"rankby_abs": None}, TypeError, "rankby_abs must be True or False; got None"),
    "copy": ({"copy": "no"}, TypeError, "copy must be True or False; got 'no'"),
    "raw": ({"use_raw": 1}, TypeError, "use_raw must be True or False; got 1"),
    "key": ({"key_added": 3}, TypeError, "key_added must be the name of an entry of uns; got 3"),
    "data": ({"adata": "file.h5ad"}, TypeError, r"adata is a str.*AnnData"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_what_is_wrong_and_write_nothing(rng, case):
    options, kind, message = ERRORS[case]
    data = screen(rng)
    data.layers["log"] = data.X.copy()
    options = {"adata": data, "groupby": "group", **options}
    with pytest.raises(kind, match=message):
        pdex.tl.rank_genes_groups(options.pop("adata"), options.pop("groupby"), **options)
    assert list(data.uns) == []


def test_groups_that_are_too_small_are_named(rng):
    data = screen(rng)[[0, 1, 2, 3, 4, 6]].copy()  # b, a, ctrl, b, a, b
    with pytest.raises(ValueError, match=r"groups of one cell.*'ctrl'"):
        run(data)
    with pytest.raises(ValueError, match=r"groups of one cell.*'ctrl'"):
        run(data, reference="ctrl")
    run(data, groups=["a", "b"])
    run(data, groups=["a"], reference="b")
    for method in ("t-test", "t-test_overestim_var"):
        with pytest.raises(ValueError, match=r"'a' holds all cells but 1.*t-test"):
            run(data[[1, 2, 4]].copy(), groups=["a"], method=method)
    # U = 2 of one cell against two: z = (2 - 1) / sqrt(1 * 2 * 4 / 12).
    data = data[[1, 2, 4]].copy()
    data.X = np.array([[2.5], [1.5], [2.5]]) * np.ones((1, 12))
    np.testing.assert_allclose(run(data, groups=["a"])["scores"]["a"], 1.5**0.5, rtol=1e-7)
    with pytest.raises(ValueError, match=r"'a' holds all cells but 0.*wilcoxon"):
        run(data[[0, 2]].copy(), groups=["a"])


def test_nan_and_copies_of_files(rng, tmp_path):
    data = screen(rng)
    data.write_h5ad(tmp_path / "screen.h5ad")
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"copy=True.*memory.*to_memory"):
        run(backed, copy=True)
    with pytest.raises(ValueError, match=r"writing to a view.*memory.*to_memory"):
        run(backed[:50])
    backed.file.close()
    data.raw = data
    data.raw.X[7, 5] = np.nan
    with pytest.raises(
        ValueError,
        match=r"raw\.X contains NaN \(cell 'c7', row 7; gene 'g5', column 5\)\. Fill or drop",
    ):
        run(data)
    assert list(data.uns) == []
