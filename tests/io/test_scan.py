"""How a matrix is stored: `scan_anndata` gives it back row for row, and `de` the same numbers.

Everything here is equal bit for bit; there are no tolerances.
"""

import functools
import itertools
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from polars.testing import assert_frame_equal

TESTS = ["wilcoxon", "anderson", "ttest", "ks"]
LABELS = ["T2", "T0", "ctrl", "T1"]
DTYPES = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
DTYPES += ["float32", "float64", "bool", ">i2", ">u4", ">i8", ">f4", ">f8"]


def with_data(make, x):
    """A sparse matrix whose values keep their byte order, which SciPy's constructors change."""
    matrix = make(x.astype(x.dtype.newbyteorder("=")))
    matrix.data = matrix.data.astype(x.dtype)
    return matrix


def with_long_indices(x):
    matrix = with_data(sp.csr_matrix, x)
    matrix.indices = matrix.indices.astype(np.int64)
    matrix.indptr = matrix.indptr.astype(np.int64)
    return matrix


def strided(x, rows, columns):
    """A view of every second row and third column of a larger array, either way round."""
    large = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
    view = large[::2, ::3][::rows, ::columns]
    view[:] = x
    return view


LAYOUTS = {
    "dense C": np.ascontiguousarray,
    "dense F": np.asfortranarray,
    "csr_matrix": functools.partial(with_data, sp.csr_matrix),
    "csc_matrix": functools.partial(with_data, sp.csc_matrix),
    "csr_array": functools.partial(with_data, sp.csr_array),
    "csc_array": functools.partial(with_data, sp.csc_array),
    "64-bit indices": with_long_indices,
    "strided": functools.partial(strided, rows=1, columns=1),
    "reversed": functools.partial(strided, rows=-1, columns=-1),
    "transposed": lambda x: strided(x, 1, -1).T.copy(order="C").T,
}


def screen(rng, shape=(230, 17), least=0):
    """Counts, dense, of cells in mixed order; a few genes are all zero or never."""
    x = np.maximum(rng.poisson(rng.gamma(1, 2, shape[1]), shape) + least, least).astype(float)
    x[:, :2] = [0.0, 1.0]
    label = rng.permutation(np.arange(shape[0]) % len(LABELS))
    obs = pd.DataFrame({"target": np.array(LABELS)[label]}, [f"c{i}" for i in range(shape[0])])
    return ad.AnnData(x, obs, pd.DataFrame(index=[f"g{i}" for i in range(shape[1])]))


def stored(data, x):
    """The same cells and genes with another matrix, taken as it is."""
    other = ad.AnnData(None, data.obs, data.var)
    other.X = x
    return other


def run(data, test="wilcoxon", **options):
    options = {"reference": "ctrl", "is_log1p": False} | options
    return pdex.de(data, "target", test=test, **options)


def same(got, expected):
    assert got.columns == expected.columns
    assert_frame_equal(got, expected, check_exact=True)


def scan(data, **options):
    return pdex.scan_anndata(data, "target", **options)


def truth(data, x=None, fold="values", dtype=pl.Float64):
    """The rows of a scan, each with its count, in order of gene, target and value."""
    x = np.asarray(data.X if x is None else x)
    frame = pl.DataFrame(
        {
            "gene": np.repeat(data.var_names.to_numpy(str), x.shape[0]),
            "target": np.tile(data.obs["target"].to_numpy(str), x.shape[1]),
            "value": pl.Series(x.T.reshape(-1) + 0).cast(dtype),
        }
    )
    names = [pl.Enum(list(dict.fromkeys(data.var_names))), pl.Enum(sorted(set(frame["target"])))]
    frame = frame.with_columns(pl.col("gene").cast(names[0]), pl.col("target").cast(names[1]))
    if fold is None:
        return ordered(frame.with_columns(count=pl.lit(1, pl.UInt32)))
    if fold == "values":
        count = pl.len().cast(pl.UInt32)
        return ordered(frame.group_by("gene", "target", "value").agg(count=count))
    some = frame.filter(pl.col("value") != 0).with_columns(count=pl.lit(1, pl.UInt32))
    none = frame.filter(pl.col("value") == 0).group_by("gene", "target", "value")
    return ordered(pl.concat([some, none.agg(count=pl.len().cast(pl.UInt32))]))


def ordered(frame):
    return frame.sort(frame.columns)


# --- scan_anndata -------------------------------------------------------------------------------


@pytest.mark.parametrize("fold", ["values", "zeros", None])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_the_matrix(rng, layout, fold):
    data = screen(rng)
    lazy = scan(stored(data, LAYOUTS[layout](data.X)), fold=fold)
    schema = {"gene": pl.Enum(list(data.var_names)), "target": pl.Enum(sorted(LABELS))}
    schema |= {"value": pl.Float64, "count": pl.UInt32}
    assert dict(lazy.collect_schema()) == schema
    for engine in ("in-memory", "streaming"):
        got = lazy.collect(engine=engine)
        assert got.schema == lazy.collect_schema()
        assert got["gene"].is_sorted()
        same(ordered(got), truth(data, fold=fold))
    same(lazy.collect(), lazy.collect())


WIDENED = {"bool": pl.UInt8, "float16": pl.Float32}
STORED = [*itertools.product(DTYPES, ["dense C", "dense F", "csr_matrix", "csc_matrix"])]
# SciPy has no sparse float16.
STORED += [("float16", "dense C"), ("float16", "dense F")]


@pytest.mark.parametrize(("dtype", "layout"), STORED)
def test_values_keep_their_dtype(rng, dtype, layout):
    data = screen(rng, least=0 if dtype[0] in "ub" or "u" in dtype else -2)
    x = data.X.astype(dtype)
    expected = WIDENED.get(dtype) or pl.Series(x.astype(x.dtype.newbyteorder("="))[0]).dtype
    lazy = scan(stored(data, LAYOUTS[layout](x)))
    assert lazy.collect_schema()["value"] == expected
    native = x.astype(x.dtype.newbyteorder("=")) if dtype not in WIDENED else x.astype(float)
    same(ordered(lazy.collect()), truth(data, native, dtype=expected))


@pytest.mark.parametrize(("dtype", "base"), [("int64", -(2**63)), ("uint64", 2**64 - 99)])
def test_large_integers_are_not_rounded(rng, dtype, base):
    data = screen(rng)
    x = np.array(base, dtype) + np.minimum(data.X, 90).astype(dtype)
    for layout in ("dense C", "csc_matrix"):
        got = scan(stored(data, LAYOUTS[layout](x))).collect()
        same(ordered(got), truth(data, x, dtype=got["value"].dtype))


@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csc_matrix])
def test_explicit_zeros_are_counted(rng, make):
    data = screen(rng)
    matrix = make(np.where(data.X == 0, 7777, data.X))
    matrix.data[matrix.data == 7777] = rng.choice([0.0, -0.0], (matrix.data == 7777).sum())
    got = scan(stored(data, matrix)).collect()
    assert not np.signbit(got["value"].to_numpy()).any()
    same(ordered(got), truth(data))


def test_nan_and_infinity_are_values(rng):
    data = screen(rng)
    data.X[3, 5], data.X[7, 5], data.X[9, 6] = np.nan, np.inf, -np.inf
    for make in (np.asarray, sp.csr_matrix):
        same(ordered(scan(stored(data, make(data.X))).collect()), truth(data))


QUERIES = {
    "projection": lambda f: f.select("value", "gene"),
    "one column": lambda f: f.select(pl.col("count").sum()),
    "no column": lambda f: f.select(pl.len()),
    "one gene": lambda f: f.filter(pl.col("gene") == "g4"),
    "genes": lambda f: f.filter(pl.col("gene").is_in(["g9", "g2", "g11"])),
    "gene order": lambda f: f.filter(pl.col("gene") > "g13"),
    "no gene": lambda f: f.filter(pl.col("gene").cast(pl.String) == "none"),
    "value": lambda f: f.filter(pl.col("value") > 2),
    "target": lambda f: f.filter(pl.col("target") == "T1").select("gene", "value"),
    "gene and value": lambda f: f.filter((pl.col("gene") != "g4") & (pl.col("value") == 0)),
    "gene or value": lambda f: f.filter((pl.col("gene") == "g4") | (pl.col("value") > 3)),
    "filtered head": lambda f: f.filter(pl.col("gene") >= "g12").head(7),
    "head of values": lambda f: f.filter(pl.col("value") > 1).head(7),
    "head": lambda f: f.head(23),
    "empty head": lambda f: f.head(0),
    "slice": lambda f: f.slice(40, 30),
    "tail": lambda f: f.tail(11),
    "group": lambda f: f.group_by("gene").agg(pl.col("value").dot("count")).sort("gene"),
    "groups": lambda f: f.group_by("gene", "target").agg(pl.col("count").sum()).sort("gene"),
    "join": lambda f: f.join(f.group_by("gene").agg(n=pl.len()), on="gene", maintain_order="left"),
}


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
@pytest.mark.parametrize("block", [2_000_000, 100])
@pytest.mark.parametrize("query", QUERIES)
def test_queries_equal_those_on_the_collected_frame(rng, monkeypatch, query, block, engine):
    monkeypatch.setattr(pdex._io.rows, "ROWS", block)
    data = screen(rng)
    data.X = sp.csr_matrix(data.X)
    lazy, order = QUERIES[query](scan(data)), query == "groups"
    expected = QUERIES[query](scan(data).collect().lazy()).collect()
    got = lazy.collect(engine=engine)
    assert got.schema == lazy.collect_schema() == expected.schema
    same(ordered(got) if order else got, ordered(expected) if order else expected)


def test_a_filter_on_gene_and_head_reach_the_source(rng, monkeypatch):
    read, fold = [], pdex._pdex.Fold
    data = screen(rng)

    class Spy:
        def __init__(self, *args):
            self.fold = fold(*args)

        def next(self, *args):
            parts = self.fold.next(*args)
            read.extend(
                gene for part in parts or () for gene in part[0].unique(maintain_order=True)
            )
            return parts

    monkeypatch.setattr(pdex._pdex, "Fold", Spy)
    monkeypatch.setattr(pdex._io.rows, "ROWS", 1)
    for query, genes in ((QUERIES["genes"], [2, 9, 11]), (QUERIES["empty head"], [])):
        query(scan(data)).collect()
        assert read == genes
        read.clear()
    scan(data).head(5).collect()
    # The next block is made while one is used: two of two threads' genes each, at most.
    assert len(read) <= 4


def test_genes_and_groups(rng):
    data = screen(rng)
    got = scan(data, genes=["g9", "g4"], groups=["T2", "ctrl"]).collect()
    # All categories, so that frames of one screen join and stack.
    assert got["target"].dtype == pl.Enum(["T0", "T1", "T2", "ctrl"])
    assert sorted(got["target"].unique()) == ["T2", "ctrl"]
    kept = data[data.obs["target"].isin(["T2", "ctrl"]), ["g4", "g9"]]
    text = pl.col("gene", "target").cast(pl.String)
    same(ordered(got.with_columns(text)), ordered(truth(kept).with_columns(text)))
    data.obs.iloc[::3, 0] = None
    same(
        ordered(scan(data).collect()),
        truth(full := data[data.obs["target"].notna()]).with_columns(
            pl.col("gene").cast(pl.Enum(list(full.var_names)))
        ),
    )


def test_genes_of_one_name_are_made_unique(rng):
    data = screen(rng, (60, 4))
    data.var_names = ["x", "y", "x", "x"]
    with pytest.warns(UserWarning, match="more than once.*-1, -2"):
        lazy = scan(data)
    names = ["x", "y", "x-1", "x-2"]
    assert lazy.collect_schema()["gene"] == pl.Enum(names)
    data.var_names = names
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(lazy.collect(), scan(data).collect())


# --- every way to store a matrix ----------------------------------------------------------------


EVERY = [*itertools.product(DTYPES, LAYOUTS)]
# SciPy has no sparse float16.
EVERY += [("float16", name) for name in LAYOUTS if isinstance(LAYOUTS[name](np.eye(3)), np.ndarray)]


@pytest.mark.parametrize(("dtype", "layout"), EVERY)
def test_every_layout_and_dtype_gives_the_same_numbers(rng, dtype, layout):
    base = screen(rng)
    x = np.minimum(base.X, 100).astype(dtype)
    matrix = LAYOUTS[layout](x)
    assert matrix.dtype == x.dtype
    data = stored(base, matrix)
    for test in TESTS:
        for mean in ("arithmetic", "geometric"):
            expected = run(stored(base, x.astype(float)), test, mean=mean)
            same(run(data, test, mean=mean), expected)


@pytest.mark.parametrize("layout", ["dense C", "csr_matrix", "csc_matrix"])
def test_views_and_layers(rng, layout):
    base = screen(rng)
    cells, genes = rng.random(230) < 0.7, [3, 11, 5, 16, 0]
    data = stored(base, LAYOUTS[layout](base.X))
    data.layers["other"] = data.X * 2
    view = data[cells, genes]
    assert view.is_view
    expected = stored(base[cells, genes], base.X[cells][:, genes])
    for test in TESTS:
        same(run(view, test), run(expected, test))
        doubled = stored(expected, expected.X * 2)
        same(run(view, test, layer="other"), run(doubled, test))


BACKED = {
    "csr": lambda x: sp.csr_matrix(x.astype(np.float32)),
    "csc": lambda x: sp.csc_matrix(x.astype(np.float32)),
    "dense": lambda x: x.astype(np.float32),
    "csr of int64": lambda x: sp.csr_matrix(x.astype(np.int64)),
    "dense of bool": lambda x: x > 2,
}


@pytest.mark.parametrize("budget", [None, 40_000, 3_000, 1])
@pytest.mark.parametrize("layout", BACKED)
def test_backed_equals_memory(rng, tmp_path, monkeypatch, layout, budget):
    data = screen(rng)
    data.X = BACKED[layout](data.X)
    data.layers["other"] = data.X.copy() if layout == "dense of bool" else data.X * 3
    data.write_h5ad(path := tmp_path / "screen.h5ad", compression="gzip")
    if budget is not None:
        pieces = pdex._io.stored.StoredMatrix.pieces
        small = lambda x, how, _, *span: pieces(x, how, budget, *span)  # noqa: E731
        monkeypatch.setattr(pdex._io.stored.StoredMatrix, "pieces", small)
        monkeypatch.setattr(pdex._io.arrays, "_CHUNK", 500)
    backed = ad.read_h5ad(path, backed="r")
    for source in (backed, path, str(path)):
        for test in TESTS:
            same(run(source, test), run(data, test))
        same(ordered(scan(source).collect()), ordered(scan(data).collect()))
    options = {"layer": "other", "genes": ["g13", "g2"]}
    same(run(backed, **options, reference="rest"), run(data, **options, reference="rest"))
    same(ordered(scan(backed, **options).collect()), ordered(scan(data, **options).collect()))
    backed.file.close()


# --- sparse matrices as people store them -------------------------------------------------------


def scrambled(x, rng):
    """CSR with each row's entries out of order, and some split into two that add up."""
    canonical = sp.csr_matrix(x)
    values, indices, indptr = [], [], [0]
    for row in range(x.shape[0]):
        entries = slice(canonical.indptr[row], canonical.indptr[row + 1])
        value, index = canonical.data[entries], canonical.indices[entries]
        half = np.floor(value / 2)
        value, index = np.concatenate([half, value - half]), np.concatenate([index, index])
        order = rng.permutation(value.size)
        values.append(value[order])
        indices.append(index[order])
        indptr.append(indptr[-1] + value.size)
    parts = (np.concatenate(values), np.concatenate(indices), np.array(indptr))
    return sp.csr_matrix(parts, shape=x.shape)


@pytest.mark.parametrize("layout", ["csr", "csc"])
def test_unsorted_and_duplicated_indices(rng, tmp_path, layout):
    base = screen(rng)
    x = scrambled(base.X, rng) if layout == "csr" else scrambled(base.X.T, rng).T
    data = stored(base, x)
    assert data.X.format == layout
    before = [a.copy() for a in (data.X.data, data.X.indices, data.X.indptr)]
    for test in TESTS:
        same(run(data, test), run(base, test))
    same(ordered(scan(data).collect()), truth(base))
    after = (data.X.data, data.X.indices, data.X.indptr)
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    data.write_h5ad(tmp_path / "screen.h5ad")
    same(run(tmp_path / "screen.h5ad"), run(base))


@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csc_matrix])
def test_explicit_and_negative_zeros(rng, make):
    base = screen(rng, least=-2)
    matrix = make(np.where(base.X == 0, 7777, base.X))
    matrix.data[matrix.data == 7777] = rng.choice([0.0, -0.0], (matrix.data == 7777).sum())
    signed = np.where(base.X == 0, rng.choice([0.0, -0.0], base.shape), base.X)
    for test in TESTS:
        for reference in ("ctrl", "rest"):
            expected = run(base, test, reference=reference)
            same(run(stored(base, matrix), test, reference=reference), expected)
            same(run(stored(base, signed), test, reference=reference), expected)


def test_spare_entries_behind_the_last_row_are_not_read(rng):
    base = screen(rng)
    matrix = sp.csr_matrix(base.X)
    matrix.data = np.append(matrix.data, [np.nan, 0.5])
    matrix.indices = np.append(matrix.indices, [0, 1]).astype(matrix.indices.dtype)
    same(ordered(scan(stored(base, matrix)).collect()), truth(base))
    same(run(stored(base, matrix), is_log1p=None), run(base))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_callers_data_is_unchanged(rng, layout):
    data = screen(rng, least=-2)
    data.X = LAYOUTS[layout](data.X)
    parts = [data.X] if isinstance(data.X, np.ndarray) else [data.X.data, data.X.indices]
    before, obs, var = [p.copy() for p in parts], data.obs.copy(), data.var.copy()
    for part in parts:
        part.flags.writeable = False
    for test in TESTS:
        run(data, test, is_log1p=None)
    scan(data).collect()
    assert all(np.array_equal(a, b) for a, b in zip(parts, before, strict=True))
    pd.testing.assert_frame_equal(data.obs, obs)
    pd.testing.assert_frame_equal(data.var, var)
    assert not data.uns


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
@pytest.mark.parametrize("layout", ["dense C", "csr_matrix"])
def test_head_comes_before_a_filter_that_follows_it(rng, layout, engine):
    data = stored(screen(rng), LAYOUTS[layout](screen(rng).X))
    lazy = scan(data)
    whole = lazy.collect()
    for predicate in (pl.col("gene") == "g1", pl.col("target") == "T1", pl.col("value") > 1):
        for n in (0, 3, 250, 10**6):
            expected = whole.head(n).filter(predicate)
            got = lazy.head(n).filter(predicate).collect(engine=engine)
            assert_frame_equal(got, expected)
            got = lazy.filter(predicate).head(n).collect(engine=engine)
            assert got.height == min(n, whole.filter(predicate).height)


def test_duplicate_entries_that_leave_their_dtype_are_named():
    values, places, indptr = np.array([200, 100], np.uint8), [1, 1], [0, 2, 2]
    obs = pd.DataFrame({"target": ["a", "ctrl"]}, index=["c0", "c1"])
    data = ad.AnnData(sp.csr_matrix((values, places, indptr), shape=(2, 3)), obs=obs)
    with pytest.raises(Exception, match=r"several entries at one place.*sum_duplicates"):
        pdex.scan_anndata(data, "target").collect()


def test_frames_of_parts_join_and_stack_with_tables(rng):
    data = screen(rng)
    lazy = scan(data, genes=["g9", "g4"], groups=["T2", "ctrl"])
    tests = lazy.group_by("gene").agg(
        pdex.wilcoxon("value", "target", reference="ctrl", count="count")
    )
    tests = tests.explode("wilcoxon").unnest("wilcoxon")
    part = pdex.de(data, "target", reference="ctrl", genes=["g9", "g4"], groups=["T2"])
    labels = tests.cast({"gene": pl.Categorical, "target": pl.Categorical})
    both = labels.join(part.lazy(), left_on=["gene", "target"], right_on=["feature", "target"])
    both = both.collect()
    assert both.height == 2
    assert (both["p_value"] == both["p_value_right"]).all()
    whole = pdex.de(data, "target", reference="ctrl")
    assert pl.concat([whole, part]).height == whole.height + 2
