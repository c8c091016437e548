"""Raw counts in: normalize= scales them as their definition does, on every source."""

import pickle

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from pdex._resources import Resources
from polars.testing import assert_frame_equal

TESTS = ["wilcoxon", "anderson", "ttest", "ks"]
MATRICES = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}
#: What the kernel's logarithm may differ by from NumPy's, in moments of many values.
CLOSE = {"rel_tol": 1e-12, "abs_tol": 1e-300}


def screen(rng, matrix=sp.csr_matrix, n_cells=200, n_genes=12):
    """Counts of cells that differ in depth; one cell has none."""
    depth = rng.gamma(2, 1, (n_cells, 1))
    x = rng.poisson(depth * rng.gamma(1, 2, n_genes)).astype(np.float32)
    x[7] = 0
    obs = pd.DataFrame(
        {
            "target": rng.choice(["ctrl", "T0", "T1"], n_cells),
            "batch": rng.choice(["x", "y"], n_cells),
            "plate": rng.integers(1, 4, n_cells),
        },
        index=[f"c{i}" for i in range(n_cells)],
    )
    var = pd.DataFrame(
        {"symbol": [f"S{i}" if i % 4 else None for i in range(n_genes)]},
        index=[f"g{i}" for i in range(n_genes)],
    )
    return ad.AnnData(matrix(x), obs, var)


def scaled(data, normalize=1e4, log1p=True, cells=None):
    """The definition, in memory: a matrix of float64."""
    x = np.asarray(data.X.todense() if sp.issparse(data.X) else data.X, dtype=np.float64)
    total = x.sum(axis=1, keepdims=True)
    known = total if cells is None else total[cells]
    target = np.median(known[known > 0]) if normalize == "median" else normalize
    with np.errstate(invalid="ignore"):
        x = np.where(total > 0, x * target / total, 0.0)
    return ad.AnnData(np.log1p(x) if log1p else x, data.obs.copy(), data.var.copy())


def sources(data, folder):
    """The data in memory, in files, and in files that do not fit the memory."""
    data.write_h5ad(path := folder / "screen.h5ad", compression="gzip")
    return {"memory": data, "file": path, "backed": ad.read_h5ad(path, backed="r")}


@pytest.fixture
def small(monkeypatch):
    """Pieces of a few rows or genes, as of files larger than memory."""
    monkeypatch.setattr(Resources, "for_pieces", 3_000)


def check(got, want, test):
    """Ranks and their p-values to the bit; means, and moments of logarithms, closely."""
    exact = ["target", "feature", "n_target", "n_reference", "target_fraction"]
    exact += ["statistic", "p_value", "neg_log10_p"] if test != "ttest" else []
    assert_frame_equal(got[exact], want[exact], check_exact=True)
    assert got.columns == want.columns
    assert_frame_equal(got, want, check_exact=False, **CLOSE)
    assert want["p_value"].is_not_nan().sum() > 20


@pytest.mark.parametrize("normalize", [1e4, "median"])
@pytest.mark.parametrize("log1p", [True, False])
@pytest.mark.parametrize("matrix", MATRICES)
def test_de_tests_what_the_definition_scales(rng, tmp_path, matrix, log1p, normalize):
    data = screen(rng, MATRICES[matrix])
    want = scaled(data, normalize, log1p)
    for source in sources(data, tmp_path).values():
        for test in TESTS:
            for more in ({"reference": "ctrl"}, {"reference": "rest", "mean": "geometric"}):
                question = {"test": test, "fdr": "all", **more}
                got = pdex.de(source, "target", normalize=normalize, log1p=log1p, **question)
                check(got, pdex.de(want, "target", is_log1p=log1p, **question), test)


@pytest.mark.parametrize("normalize", [1e4, "median"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_files_larger_than_memory_give_the_same_bits(rng, tmp_path, small, matrix, normalize):
    data = screen(rng, MATRICES[matrix])
    data.write_h5ad(path := tmp_path / "screen.h5ad")
    for test in TESTS:
        for more in ({"reference": "ctrl"}, {"reference": "rest"}, {"genes": ["g3", "g9"]}):
            question = {"test": test, "reference": "ctrl", "normalize": normalize, **more}
            want = pdex.de(data, "target", **question)
            assert_frame_equal(pdex.de(path, "target", **question), want, check_exact=True)
            pdex.sink_de(path, "target", tmp_path / "de.parquet", **question)
            got = pl.read_parquet(tmp_path / "de.parquet")
            assert_frame_equal(got, want, check_exact=True, categorical_as_str=True)


def test_cells_with_the_same_share_are_tied_and_no_others():
    # Cells 0 and 1 have a half of 2 and of 6, cell 2 a third; float32 makes 1 / 3 of many shares.
    x = np.array([[1, 1], [3, 3], [1, 2], [5, 10], [7, 14], [0, 0]], dtype=np.float32)
    obs = pd.DataFrame({"target": ["a", "b", "a", "b", "b", "a"]})
    data = ad.AnnData(x, obs.set_index(obs.index.astype(str)))
    found = pdex.scan_anndata(data, "target", normalize=10_000, log1p=False).collect()
    first = found.filter(pl.col("gene") == "0").sort("target", "value")
    assert first["value"].to_list() == [0.0, 10_000 / 3, 5_000.0, 10_000 / 3, 5_000.0]
    assert first["count"].to_list() == [1, 1, 1, 2, 1]


def test_it_is_what_scanpy_makes_but_for_single_precision(rng):
    sc = pytest.importorskip("scanpy", reason="scanpy is the peer")
    data = screen(rng)
    for target in (1e4, None):
        other = data.copy()
        sc.pp.normalize_total(other, target_sum=target)
        sc.pp.log1p(other)
        asked = "median" if target is None else target
        rows = pdex.scan_anndata(data, "target", normalize=asked, fold=None).collect()
        got = rows.filter(pl.col("gene") == "g2")["value"].sort().to_numpy()
        want = np.sort(other.X.toarray()[:, 2])
        np.testing.assert_allclose(got, want, rtol=3e-7)
        tests = pdex.de(data, "target", reference="ctrl", test="ttest", normalize=asked)
        peer = pdex.de(other, "target", reference="ctrl", test="ttest")
        np.testing.assert_allclose(tests["p_value"], peer["p_value"], rtol=1e-4)
        np.testing.assert_allclose(tests["target_mean"], peer["target_mean"], rtol=1e-5)


@pytest.mark.parametrize("spilled", [False, True])
def test_rows_hold_the_scaled_values(rng, tmp_path, monkeypatch, spilled):
    data = screen(rng)
    data.write_h5ad(path := tmp_path / "screen.h5ad")
    want = scaled(data)
    if spilled:
        monkeypatch.setattr(Resources, "for_pieces", 3_000)
    for source in (data, path):
        scan = pdex.scan_anndata(source, "target", normalize=1e4)
        assert scan.collect_schema()["value"] == pl.Float64
        if source is path:
            scan = pickle.loads(pickle.dumps(scan))
        rows = scan.collect().sort("gene", "target", "value")
        assert rows["count"].sum() == data.n_obs * data.n_vars
        for gene in ("g0", "g5"):
            part = rows.filter((pl.col("gene") == gene) & (pl.col("target") == "T0"))
            values, counts = np.unique(want[want.obs.target == "T0", gene].X, return_counts=True)
            assert part["count"].to_list() == counts.tolist()
            np.testing.assert_allclose(part["value"], values, rtol=1e-15)
        test = pdex.ttest("value", "target", reference="ctrl", count="count")
        lazily = scan.group_by("gene").agg(test).explode("ttest").unnest("ttest").collect()
        engine = pdex.de(data, "target", reference="ctrl", test="ttest", normalize=1e4)
        got = lazily.with_columns(pl.col("gene", "target").cast(pl.String))
        got = engine.with_columns(pl.col("feature", "target").cast(pl.String)).join(
            got, left_on=["feature", "target"], right_on=["gene", "target"]
        )
        assert len(got) == len(engine)
        assert got["p_value"].to_list() == got["p_value_right"].to_list()


def test_tables_keep_the_scale(rng, tmp_path):
    data = screen(rng)
    data.write_h5ad(tmp_path / "screen.h5ad")
    columns = ["target", "batch"]
    for name, source in (("a", data), ("b", tmp_path / "screen.h5ad")):
        tables = pdex.tabulate(
            source, columns, output=tmp_path / f"{name}.tables", normalize="median"
        )
        for test in TESTS:
            for more in ({}, {"where": "batch = 'x'"}, {"reference": "rest"}):
                question = {"test": test, "reference": "ctrl", **more}
                # The median is that of the cells that were counted.
                want = pdex.de(data, "target", normalize="median", **question)
                if "where" in more:
                    continue
                got = pdex.de(tables, "target", **question)
                assert_frame_equal(got, want, check_exact=True)
        merged = pdex.tabulate(tables, "target", output=tmp_path / f"{name}2.tables")
        want = pdex.de(data, "target", reference="ctrl", normalize="median", test="ttest")
        got = pdex.de(merged, "target", reference="ctrl", test="ttest")
        assert_frame_equal(got, want, check_exact=True)
        rows = tables.scan().collect()
        logs = pdex.scan_anndata(data, "target", normalize="median").collect()
        assert rows["value"].max() == logs["value"].max()
        with pytest.raises(ValueError, match=r"holds counts scaled to median, and the totals of"):
            pdex.de(tables, "target", reference="ctrl", normalize=1e4)
    plain = pdex.tabulate(data, columns, output=tmp_path / "plain.tables")
    with pytest.raises(ValueError, match=r"holds counts as they are, and the totals of single"):
        pdex.de(plain, "target", reference="ctrl", normalize=1e4)


def test_the_median_is_that_of_the_chosen_cells(rng, tmp_path):
    data = screen(rng)
    data.write_h5ad(path := tmp_path / "screen.h5ad")
    chosen = (data.obs["plate"] > 1).to_numpy()
    part = data[chosen].copy()
    want = pdex.de(part, "target", reference="ctrl", normalize="median")
    for source in (data, path):
        got = pdex.de(source, "target", reference="ctrl", normalize="median", where="plate > 1")
        assert_frame_equal(got, want, check_exact=True)


def test_calibration_scales_too(rng):
    data = screen(rng, n_cells=600)
    options = {"reference": "ctrl", "n_splits": 4, "min_expected": 1.0}
    for test in ("wilcoxon", "ttest"):
        got = pdex.calibrate(data, "target", test=test, normalize=1e4, **options)
        want = pdex.calibrate(scaled(data), "target", test=test, is_log1p=True, **options)
        np.testing.assert_allclose(got.table["p_value"], want.table["p_value"], rtol=1e-10)


def test_a_result_says_how_it_was_scaled(rng):
    data = screen(rng)
    found = pdex.describe(pdex.de(data, "target", reference="ctrl", normalize=1e4))
    assert (found.normalize, found.is_log1p) == (1e4, True)
    assert "of counts scaled to 10000, log1p" in str(found)
    found = pdex.describe(
        pdex.de(data, "target", reference="ctrl", normalize="median", log1p=False)
    )
    assert (found.normalize, found.is_log1p) == ("median", False)


def test_genes_are_named_by_a_column(rng, tmp_path):
    data = screen(rng)
    data.write_h5ad(path := tmp_path / "screen.h5ad")
    names = [f"S{i}" if i % 4 else f"g{i}" for i in range(data.n_vars)]
    for source in (data, path):
        got = pdex.de(source, "target", reference="ctrl", gene_names="symbol")
        assert got["feature"][: data.n_vars].to_list() == names
        few = pdex.de(source, "target", reference="ctrl", gene_names="symbol", genes=["S1"])
        assert few["feature"].unique().to_list() == ["S1"]
        rows = pdex.scan_anndata(source, "target", gene_names="symbol").collect()
        assert rows["gene"].unique(maintain_order=True).to_list() == names
    tables = pdex.tabulate(path, "target", output=tmp_path / "s.tables", gene_names="symbol")
    assert tables.genes.to_list() == names
    with pytest.raises(KeyError, match=r"gene_names: var has no column 'symbl'\. Did you mean"):
        pdex.de(data, "target", reference="ctrl", gene_names="symbl")


@pytest.mark.parametrize("bad", [0, -1, True, "mean", float("nan"), float("inf"), [1e4]])
def test_totals_that_are_none_are_refused(rng, bad):
    with pytest.raises(ValueError, match=r"normalize must be a total above 0, such as 1e4, or"):
        pdex.de(screen(rng), "target", reference="ctrl", normalize=bad)


def test_what_is_no_count_is_named(rng, tmp_path):
    data = screen(rng)
    with pytest.raises(ValueError, match=r"is_log1p and normalize= exclude each other"):
        pdex.de(data, "target", reference="ctrl", normalize=1e4, is_log1p=True)
    with pytest.raises(ValueError, match=r"log1p=False leaves out the logarithm"):
        pdex.de(data, "target", reference="ctrl", log1p=False)
    with pytest.warns(
        pdex.exceptions.PdexWarning, match=r"X looks like log1p values, and normalize= takes"
    ):
        pdex.de(scaled(data), "target", reference="ctrl", normalize=1e4)
    x = data.X.toarray()
    x[11, 3] = -2
    data.X = sp.csr_matrix(x)
    data.write_h5ad(path := tmp_path / "screen.h5ad")
    for source in (data, path):
        with (
            pytest.warns(pdex.exceptions.PdexWarning, match="looks like residuals, and"),
            pytest.raises(
                ValueError, match=r"X contains -2 \(cell 'c11', row 11; gene 'g3', column 3\)"
            ),
        ):
            pdex.de(source, "target", reference="ctrl", normalize=1e4)
    x[11, 3] = np.nan
    data.X = sp.csr_matrix(x)
    with pytest.raises(ValueError, match=r"X contains NaN \(cell 'c11', row 11; gene 'g3', col"):
        pdex.de(data, "target", reference="ctrl", normalize=1e4)
