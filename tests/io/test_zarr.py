"""Zarr stores: how they are given, what is read of them, and what is said of broken ones.

test_conformance.py holds every kind of store to the same screen in memory.
"""

import builtins
import json
import os
import pickle
import re
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from pdex._io.zarr import arrays, stores
from polars.testing import assert_frame_equal

zarr = pytest.importorskip("zarr", "3.1", reason="Zarr stores need zarr-python 3.1")

N_CELLS, N_GENES = 60, 8
MAKERS = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}
KINDS = ["2", "2 loose", "3", "3 loose", "3 sharded"]
RAISED = (ValueError, OSError, KeyError, TypeError, pl.exceptions.ComputeError)


def screen(layout="csr"):
    x = np.random.default_rng(0).poisson(1.0, (N_CELLS, N_GENES)).astype(np.float32)
    obs = pd.DataFrame({"target": pd.Categorical(["ctrl", "a", "b"] * 20)})
    obs["note"] = pd.Categorical(["x"] * N_CELLS)
    obs.index = [f"c{i}" for i in range(N_CELLS)]
    data = ad.AnnData(MAKERS[layout](x), obs, pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))
    data.layers["counts"] = data.X
    data.raw = data
    return data


def de(data, **options):
    return pdex.de(data, "target", reference="ctrl", **options)


def scan(data, **options):
    return pdex.scan_anndata(data, "target", **options).collect()


def same(got, expected):
    assert_frame_equal(got, expected, check_exact=True)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def path(tmp_path, write_zarr):
    return write_zarr(screen(), tmp_path / "screen.zarr")


class Requests(zarr.storage.WrapperStore):
    """A store that notes the keys that are read."""

    keys: list

    @classmethod
    def of(cls, path):
        store = cls(zarr.storage.LocalStore(path, read_only=True))
        store.keys = []
        return store

    async def get(self, key, prototype, byte_range=None):
        self.keys.append(key)
        return await super().get(key, prototype, byte_range)


# --- what is a store ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["screen.zarr", "screen"])
def test_every_way_to_name_a_store(tmp_path, monkeypatch, write_zarr, kind, name):
    path = write_zarr(screen(), tmp_path / name, kind)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    expected = de(screen())
    ways = [path, str(path), name, f"~/{name}", path.as_uri(), f"{path}/"]
    ways += [zarr.open_group(path), zarr.open_group(path, mode="r"), zarr.storage.LocalStore(path)]
    for way in ways:
        same(de(way), expected)
        assert pdex.info(way).n_cells == N_CELLS
    assert pdex.describe(de(path)).source == str(path)


def test_a_group_within_a_store(tmp_path, write_zarr):
    outer = zarr.create_group(tmp_path / "mu.zarr")
    outer.create_group("mod")
    write_zarr(screen(), tmp_path / "mu.zarr" / "mod" / "rna")
    expected = de(screen())
    same(de(outer["mod/rna"]), expected)
    same(de(tmp_path / "mu.zarr" / "mod" / "rna"), expected)
    with pytest.raises(ValueError, match=r"mu\.zarr: this is a MuData store with 'rna'.*/mod/rna"):
        de(tmp_path / "mu.zarr")


def test_a_store_in_memory():
    store = zarr.storage.MemoryStore()
    screen().write_zarr(store)
    same(de(store), de(screen()))
    found = pdex.info(store)
    assert (found.bytes, found.command) == (None, None)
    assert found.call == "pdex.de(store, 'target', reference='ctrl')"
    assert found.path.startswith("memory://")


@pytest.mark.parametrize("layout", MAKERS)
def test_anndata_whose_matrix_is_in_a_store(tmp_path, write_zarr, layout):
    path = write_zarr(screen(layout), tmp_path / "screen.zarr")
    group = zarr.open_group(path, mode="r")
    data = screen()
    lazy = group["X"] if layout == "dense" else ad.io.sparse_dataset(group["X"])
    data.layers["lazy"] = lazy
    same(de(data, layer="lazy"), de(screen()))
    same(scan(data, layer="lazy"), scan(screen()))
    (_, counts, found, _) = pdex.info(data).matrices
    assert (found["name"], found["layout"]) == ("layer lazy", layout)
    assert found["stored"] == (N_CELLS * N_GENES if layout == "dense" else counts["stored"])


def test_what_is_no_store(tmp_path):
    (empty := tmp_path / "empty.zarr").mkdir()
    zarr.create_array(tmp_path / "array.zarr", shape=(3,), dtype="i4")
    zarr.create_group(tmp_path / "other.zarr").create_group("images")
    cases = {
        empty: (ValueError, "there is no group of a Zarr store here"),
        tmp_path / "array.zarr": (ValueError, "there is no group of a Zarr store here"),
        tmp_path / "none.zarr": (FileNotFoundError, "there is no such folder"),
        tmp_path / "other.zarr": (ValueError, "this store has neither X nor a layer"),
    }
    for path, (error, message) in cases.items():
        for call in (de, scan, pdex.info):
            if call is pdex.info and "other" in path.name:
                message = "there is no 'obs' in this store, which has 'images': expected what"
            with pytest.raises(error, match=f"{re.escape(str(path))}: {message}"):
                call(path)


def test_packages_that_are_not_there(path, monkeypatch):
    monkeypatch.setattr(stores, "_has", lambda package: package == "fsspec")
    with pytest.raises(ImportError, match=r"s3:// URLs, install pdex\[cloud\], or fsspec and s3fs"):
        de("s3://bucket/screen.zarr")
    real = builtins.__import__

    def without(name, *rest):
        if name == "zarr":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"zarr-python 3\.1 or newer, and it is not installed"):
        de(path)
    monkeypatch.undo()
    monkeypatch.setattr(zarr, "__version__", "2.18.7")
    with pytest.raises(ImportError, match=r"3\.1 or newer, and this is 2\.18\.7: pip install"):
        de(path)


# --- what is read -------------------------------------------------------------------------------


def test_only_the_columns_that_are_asked_for_are_read(tmp_path, write_zarr):
    store = Requests.of(write_zarr(screen(), tmp_path / "screen.zarr"))
    same(de(store), de(screen()))
    read = {key.split("/c/")[0] for key in store.keys if "/c/" in key}
    expected = {"obs/target/codes", "obs/target/categories", "var/_index"}
    assert read == expected | {f"X/{part}" for part in ("data", "indices", "indptr")}


@pytest.mark.parametrize("layout", MAKERS)
def test_a_pass_reads_each_chunk_once(tmp_path, write_zarr, monkeypatch, layout):
    store = Requests.of(write_zarr(screen(layout), tmp_path / "screen.zarr", "3 loose"))
    source = pdex._io.opening.open_source(store, None)
    monkeypatch.setattr(pdex._io.arrays, "_CHUNK", 50)  # of chunks of 37
    monkeypatch.setattr(arrays, "_BLOCK", 37 * 4)
    list(source.x.by_genes((2, None), 10**6, (0, N_GENES)))
    store.keys.clear()
    budget = {"csr": 600, "csc": 400, "dense": N_CELLS * N_GENES - 1}[layout]
    pieces = list(source.x.by_genes((2, None), budget, (0, N_GENES)))
    assert len(pieces) > 1
    keys = [key for key in store.keys if re.match("X/(data|indices|c)/", key)]
    # Another pass over a CSR matrix for each range of genes, and one look at its indices before;
    # the others are read once, but for chunks of columns that a piece has no room for.
    passes = {"csr": len(pieces), "csc": 1, "dense": 2}[layout]
    most = max(keys.count(key) for key in keys)
    assert passes <= most <= passes + 1 + (layout == "csr")


@pytest.mark.parametrize("layout", MAKERS)
@pytest.mark.parametrize("budget", [40_000, 3_000, 1])
def test_small_pieces(tmp_path, write_zarr, monkeypatch, kind, layout, budget):
    data = screen(layout)
    path = write_zarr(data, tmp_path / "screen.zarr", kind)
    pieces = pdex._io.stored.StoredMatrix.pieces
    small = lambda x, how, _, *span: pieces(x, how, budget, *span)  # noqa: E731
    monkeypatch.setattr(pdex._io.stored.StoredMatrix, "pieces", small)
    monkeypatch.setattr(pdex._io.arrays, "_CHUNK", 50)
    monkeypatch.setattr(arrays, "_BLOCK", 200)
    for test in ("wilcoxon", "ttest", "anderson", "ks"):
        same(de(path, test=test), de(data, test=test))
    same(scan(path).sort("gene", "target", "value"), scan(data).sort("gene", "target", "value"))
    options = {"layer": "counts", "genes": ["g7", "g2"], "groups": ["b"]}
    same(de(path, **options), de(data, **options))


@pytest.mark.parametrize("layout", MAKERS)
def test_memory_limit_of_a_matrix_that_is_larger(tmp_path, write_zarr, monkeypatch, kind, layout):
    """Read once in ranges of cells, if it is CSR."""
    data = screen(layout)
    path = write_zarr(data, tmp_path / "screen.zarr", kind)
    monkeypatch.setattr(pdex._resources.Resources, "for_pieces", property(lambda _: 500))
    same(de(path), de(data))
    same(scan(path).sort("gene", "target", "value"), scan(data).sort("gene", "target", "value"))


@pytest.mark.parametrize(
    ("span", "step", "chunk", "expected"),
    [
        ((0, 20), 7, 4, [0, 4, 8, 12, 16, 20]),
        ((1, 19), 7, 4, [1, 8, 12, 16, 19]),
        ((3, 9), 4, 4, [3, 4, 8, 9]),
        ((0, 9), 3, 4, [0, 3, 6, 9]),
        ((2, 5), 9, 1, [2, 5]),
        ((2, 2), 9, 4, [2]),
    ],
)
def test_pieces_end_where_chunks_do(span, step, chunk, expected):
    assert pdex._io.arrays._bounds(span, step, chunk) == expected


def test_windows_of_an_array(tmp_path):
    values = np.random.default_rng(0).integers(0, 300, 1_000)
    array = zarr.create_array(tmp_path / "x.zarr", data=values, chunks=(64,))
    reader = arrays.ZarrArray(array, "x.zarr").reader((1, None))
    assert (reader.itemsize, reader.holds_counts) == (2, True)
    for first, last in [
        (0, 1_000),
        (5, 6),
        (63, 65),
        (64, 128),
        (100, 500),
        (480, 990),
        (990, 1_000),
    ]:
        got = reader.read((first, last))
        assert got.dtype == np.uint16
        np.testing.assert_array_equal(got, values[first:last])


def test_numbers_that_do_not_fit_the_first_ones(tmp_path):
    values = np.ones(100_000, np.int64)
    values[-3:] = [-1, 2**40, 7]
    array = zarr.create_array(tmp_path / "x.zarr", data=values, chunks=(10_000,))
    reader = arrays.ZarrArray(array, "x.zarr").reader((1, None))
    assert reader.read((0, 10)).dtype == np.uint8
    got = reader.read((99_990, 100_000))
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, values[99_990:])


# --- broken stores ------------------------------------------------------------------------------


def chunk(path, place, number=0):
    """The file of a chunk, of version 2 or 3."""
    folder = path / place
    return folder / "c" / str(number) if (folder / "c").exists() else folder / str(number)


def without(place):
    def change(path):
        root = zarr.open_group(path, mode="r+", use_consolidated=False)
        del root[place]

    return change


def without_chunk(place, number=0):
    return lambda path: chunk(path, place, number).unlink()


def truncated(place, number=0):
    def change(path):
        file = chunk(path, place, number)
        file.write_bytes(file.read_bytes()[:-7])

    return change


def put(place, values):
    def change(path):
        root = zarr.open_group(path, mode="r+", use_consolidated=False)
        parent, _, name = place.rpartition("/")
        attributes = dict(root[place].attrs)
        del root[place]
        made = root[parent].create_array(name, data=np.asarray(values))
        made.attrs.update(attributes)

    return change


def entry(place, number, value):
    def change(path):
        zarr.open_group(path, mode="r+", use_consolidated=False)[place][number] = value

    return change


def attribute(place, key, value):
    def change(path):
        node = zarr.open_group(path, mode="r+", use_consolidated=False)[place]
        if value is None:
            del node.attrs[key]
        else:
            node.attrs[key] = value

    return change


SPARSE = "X is a broken sparse matrix: "
CASES = {
    "no chunk of data": (
        without_chunk("X/data", 3),
        "array 'X/data' cannot be read: its chunk '(c/)?3' is missing, and its numbers 111 to 147",
    ),
    "no chunk of indices": (
        without_chunk("X/indices", 2),
        "array 'X/indices' cannot be read: its chunk '(c/)?2' is missing, and its numbers 74 to",
    ),
    "no chunk of indptr": (
        without_chunk("X/indptr", 1),
        "array 'X/indptr' cannot be read: its chunk '(c/)?1' is missing",
    ),
    "no first chunk of indptr": (
        without_chunk("X/indptr"),
        "array 'X/indptr' cannot be read: its chunk '(c/)?0' is missing, and its numbers 0 to 36",
    ),
    "a truncated chunk": (truncated("X/data", 1), "array 'X/data' cannot be read: "),
    "truncated codes": (truncated("obs/target/codes"), "array 'obs/target/codes' cannot be read"),
    "truncated names": (truncated("var/_index"), "array 'var/_index' cannot be read"),
    "no data": (without("X/data"), f"{SPARSE}it has no 'data'"),
    "no indices": (without("X/indices"), f"{SPARSE}it has no 'indices'"),
    "no indptr": (without("X/indptr"), f"{SPARSE}it has no 'indptr'"),
    "no obs": (without("obs"), "there is no 'obs' in this store, which has 'X'.*write_zarr"),
    "no var": (without("var"), "there is no 'var' in this store"),
    "no X": (without("X"), "this store has no X: choose a layer, one of 'counts'"),
    "no column": (without("obs/target"), "'obs' is broken: it has no 'target'"),
    "no index": (without("obs/_index"), "'obs' is broken: it has no '_index'"),
    "no codes": (without("obs/target/codes"), "'obs/target' is broken: it has no 'codes'"),
    "no categories": (without("obs/target/categories"), "is broken: it has no 'categories'"),
    "fewer codes": (put("obs/target/codes", [0] * 9), "it has 9 codes: expected 60"),
    "code above": (entry("obs/target/codes", 3, 9), "it has the code 9 of 3 categories"),
    "code below": (entry("obs/target/codes", 3, -9), "it has the code -9 of 3 categories"),
    "codes of fractions": (put("obs/target/codes", [0.5] * 60), "codes have dtype float64"),
    "indptr too short": (put("X/indptr", np.zeros(60, int)), "indptr has 60 entries: expected 61"),
    "indptr decreases": (entry("X/indptr", 7, 0), "indptr decreases at position 7"),
    "indptr from 1": (entry("X/indptr", 0, 1), "indptr starts at 1: expected 0"),
    "indptr past the end": (entry("X/indptr", 60, 10**6), "indptr ends at 1000000, past"),
    "fewer indices": (put("X/indices", np.ones(9, int)), "indices has 9 entries: expected"),
    "index too large": (entry("X/indices", 5, N_GENES), "index 8 .*valid indices are 0 to 7"),
    "index negative": (entry("X/indices", 5, -1), "index -1 .*valid indices are 0 to 7"),
    "index of 2^64": (
        put("X/indices", np.full(325, 2**64 - 1, np.uint64)),
        r"(cannot be read: it holds an index above 2\^63|indices has 325 entries)",
    ),
    "fractional indices": (put("X/indices", np.zeros(9)), "indices has dtype float64; expected"),
    "data of two dimensions": (put("X/data", np.ones((3, 3))), "'data' is not a one-dimensional"),
    "complex data": (put("X/data", np.ones(9, complex)), "X has dtype complex128.*real number"),
    "no shape": (attribute("X", "shape", None), f"{SPARSE}its shape is None"),
    "more cells": (attribute("X", "shape", [2**40, 8]), r"X has the shape \(1099511627776, 8\)"),
    "another encoding": (
        attribute("X", "encoding-type", "coo_matrix"),
        "'X' has the encoding 'coo_matrix': expected a dense array, csr_matrix or csc_matrix",
    ),
    "obs is no frame": (
        attribute("obs", "encoding-type", "dict"),
        "'obs' is not a data frame of AnnData but a group with encoding 'dict'",
    ),
    "a column of the future": (
        attribute("obs/target", "encoding-type", "ragged"),
        "'obs/target' has the encoding 'ragged'",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["2 loose", "3 loose"])
def test_each_error_names_the_store_and_the_thing(tmp_path, write_zarr, case, kind):
    path = write_zarr(screen(), tmp_path / "screen.zarr", kind)
    change, message = CASES[case]
    change(path)
    for call in (de, scan):
        with pytest.raises(RAISED, match=f"(?s){re.escape(str(path))}.*{message}") as found:
            call(path)
        assert str(found.value).count(f"{path}: ") == 1


def test_a_missing_shard(tmp_path, write_zarr):
    for part in ("data", "indices"):
        path = write_zarr(screen(), tmp_path / f"{part}.zarr", "3 sharded")
        chunk(path, f"X/{part}", 1).unlink()
        with pytest.raises(FileNotFoundError, match=rf"{path}: array 'X/{part}'.*chunk 'c/1' is"):
            de(path)


def test_chunks_within_a_shard_that_were_never_written(tmp_path, write_zarr):
    path = write_zarr(screen(), tmp_path / "screen.zarr", "3 sharded loose")
    zarr.open_group(path, mode="r+")["X/indices"][37:74] = 0  # so that zarr leaves them out
    with pytest.raises(OSError, match="numbers 37 to 73 were never written to 'c/0'"):
        de(path)


def test_a_missing_chunk_of_a_dense_matrix_is_zeros(tmp_path, write_zarr, kind):
    data = screen("dense")
    data.X[:13, :4] = 0
    path = write_zarr(data, tmp_path / "screen.zarr", kind)
    if "sharded" not in kind:
        assert not (path / "X" / ("c/0/0" if kind[0] == "3" else "0.0")).exists()
    same(de(path), de(data))


EMPTY = {
    "no entry": np.zeros((N_CELLS, N_GENES)),
    "one entry": np.eye(N_CELLS, N_GENES) * (np.arange(N_CELLS)[:, None] == 0),
    "first gene alone": np.ones((N_CELLS, 1)) * (np.arange(N_GENES) == 0),
}


@pytest.mark.parametrize("case", EMPTY)
def test_chunks_that_hold_zeros_need_not_be_written(tmp_path, write_zarr, kind, case):
    """Of indices of rows with one entry, and of indptr without any."""
    data = screen()
    data.X = sp.csr_matrix(EMPTY[case])
    path = write_zarr(data, tmp_path / "screen.zarr", kind)
    same(de(path, is_log1p=False), de(data, is_log1p=False))


def test_another_fill_value(tmp_path, write_zarr):
    """Counts of one are no missing chunks of ones."""
    data = screen()
    data.X.data[:] = 1
    path = write_zarr(data, tmp_path / "screen.zarr")
    root = zarr.open_group(path, mode="r+", use_consolidated=False)
    values = root["X/data"][...]
    del root["X/data"]
    made = root["X"].create_array(
        "data",
        shape=values.shape,
        dtype="f4",
        chunks=(37,),
        fill_value=1,
        config={"write_empty_chunks": True},
    )
    made[...] = values
    zarr.consolidate_metadata(path)
    same(de(path), de(data))
    chunk(path, "X/data", 2).unlink()
    with pytest.raises(FileNotFoundError, match="chunk 'c/2' is missing"):
        de(path)


# --- frames of older versions -------------------------------------------------------------------


def test_categories_as_anndata_07_wrote_them(path):
    root = zarr.open_group(path, mode="r+", use_consolidated=False)
    codes, categories = (root[f"obs/target/{part}"][...] for part in ("codes", "categories"))
    del root["obs/target"]
    obs = root["obs"]
    obs.create_group("__categories").create_array("target", data=categories)
    obs["__categories/target"].attrs["ordered"] = False
    obs.create_array("target", data=codes).attrs["categories"] = "__categories/target"
    obs.attrs["encoding-version"] = "0.1.0"
    zarr.consolidate_metadata(path)
    same(de(path), de(screen()))


# --- scans, tables, the command line ------------------------------------------------------------


def test_a_scan_is_pickled_and_opens_the_store_again(tmp_path, path):
    expected = scan(screen())
    group = zarr.open_group(path)
    for data in (path, group, zarr.storage.LocalStore(path)):
        lazy = pickle.loads(pickle.dumps(pdex.scan_anndata(data, "target")))
        same(lazy.collect(), expected)


def test_a_store_that_another_takes_the_place_of(tmp_path, path, write_zarr):
    lazy = pdex.scan_anndata(path, "target")
    same(lazy.collect(), scan(screen()))
    other = screen()
    other.X = other.X * 2
    shutil.rmtree(path)
    write_zarr(other, path)
    with pytest.raises(ValueError, match=r"screen\.zarr has changed since it was scanned"):
        lazy.collect()
    same(scan(path), scan(other))


def test_tables_of_a_store(tmp_path, path):
    expected = de(screen())
    tables = pdex.tabulate(path, "target", output=tmp_path / "a.tables")
    same(de(tables), expected)
    (source,) = pdex.info(tables).tables["sources"]
    files = [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    assert (source["path"], source["bytes"]) == (str(path), size)
    assert not pdex.info(tables).notes
    file = chunk(path, "X/data", 1)
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 10**9))
    assert pdex.info(tables).notes == [f"changed since it was counted: {str(path)!r}"]
    store = zarr.storage.MemoryStore()
    screen().write_zarr(store)
    tables = pdex.tabulate(store, "target", output=tmp_path / "b.tables")
    same(de(tables), expected)
    assert [list(source) for source in pdex.info(tables).tables["sources"]] == [["path"]]


def test_info(tmp_path, write_zarr):
    for kind, filters in {"2": ["blosc"], "3": ["zstd"], "3 sharded": ["sharding", "zstd"]}.items():
        path = write_zarr(screen(), tmp_path / f"{kind}.zarr", kind)
        stored, memory = pdex.info(path), pdex.info(screen())
        names = ("n_cells", "n_genes", "obs", "targets", "result", "notes")
        assert [getattr(stored, name) for name in names] == [getattr(memory, n) for n in names]
        assert [m["name"] for m in stored.matrices] == ["X", "layer counts", "raw"]
        names = ("name", "shape", "layout", "dtype", "stored", "memory", "values")
        for one, other in zip(stored.matrices, memory.matrices, strict=True):
            assert [one[name] for name in names] == [other[name] for name in names]
            assert one["filters"] == filters
        files = [file for file in path.rglob("*") if file.is_file()]
        assert stored.bytes == sum(file.stat().st_size for file in files)
        files = [file for file in (path / "X").rglob("*") if file.is_file()]
        assert stored.matrices[0]["bytes"] == sum(file.stat().st_size for file in files)
        assert json.dumps(stored.to_dict())


def test_calibrate(path):
    options = {"n_splits": 2, "min_expected": 0, "reference": "ctrl"}
    got, want = (pdex.calibrate(data, "target", **options) for data in (path, screen()))
    same(got.comparisons, want.comparisons)
