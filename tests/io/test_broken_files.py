"""Broken files: each is an error that names the path and the thing; never a crash, no memory taken
for what a file merely claims. tests/fuzz_files.py mutates files at random.
"""

import os
import re
import resource
import traceback

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from pdex._io import h5
from pdex._io.errors import error_context
from pdex._io.h5 import Array
from polars.testing import assert_frame_equal

N_CELLS, N_GENES = 60, 8
MAKERS = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}
RAISED = (ValueError, OSError, KeyError, TypeError, pl.exceptions.ComputeError)


def screen(layout="csr"):
    x = np.random.default_rng(0).poisson(1.0, (N_CELLS, N_GENES)).astype(np.float32)
    obs = pd.DataFrame({"target": pd.Categorical(["ctrl", "a", "b"] * 20)})
    obs.index = [f"c{i}" for i in range(N_CELLS)]
    data = ad.AnnData(MAKERS[layout](x), obs, pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))
    data.layers["counts"] = data.X
    data.raw = data
    return data


def de(path, **options):
    return pdex.de(path, "target", reference="ctrl", **options)


def scan(path, **options):
    return pdex.scan_anndata(path, "target", **options).collect()


def put(name, value, **attributes):
    """A change of the file: another value in the place of a member, which keeps its attributes."""

    def change(file):
        old = dict(file[name].attrs) if name in file else {}
        if name in file:
            del file[name]
        file[name] = value(file) if callable(value) else value
        file[name].attrs.update({**old, **attributes})

    return change


def attribute(name, key, value):
    def change(file):
        del file[name].attrs[key]
        if value is not None:
            file[name].attrs[key] = value

    return change


def entry(name, place, value):
    def change(file):
        file[name][place] = value

    return change


def without(name):
    def change(file):
        del file[name]

    return change


def lists(name, key):
    def change(file):
        kind = h5py.h5t.vlen_create(h5py.h5t.NATIVE_INT32)
        del file[name].attrs[key]
        h5py.h5a.create(file[name].id, key.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR))

    return change


def link(name, to):
    def change(file):
        del file[name]
        file[name] = h5py.SoftLink(to)

    return change


def grown(name, n, **options):
    """An array that claims `n` elements, of which the first few are stored."""

    def change(file):
        # Names are two arrays from anndata 0.13 on, as texts that may be missing.
        place = f"{name}/values" if isinstance(file[name], h5py.Group) else name
        old, attributes, dtype = file[place][...][:10], dict(file[place].attrs), file[place].dtype
        del file[place]
        dataset = file.create_dataset(place, (n,), dtype, **({"chunks": (1 << 16,)} | options))
        dataset[:10] = old
        dataset.attrs.update(attributes)

    return change


def every(*changes):
    def change(file):
        for one in changes:
            one(file)

    return change


def group(name):
    return put(name, lambda file: file.create_group(f"elsewhere of {name.replace('/', ' ')}"))


def huge(n, **options):
    return every(
        grown("X/data", n, **options),
        grown("X/indices", n, **options),
        put("X/indptr", np.array([*[0] * N_CELLS, n], np.int64)),
    )


CSR, CSC, DENSE = "csr", "csc", "dense"
CASES = {
    # The sparse matrix.
    "no data": (CSR, without("X/data"), "X is a broken sparse matrix: it has no 'data'"),
    "no indices": (CSC, without("X/indices"), "X is a broken sparse matrix: it has no 'indices'"),
    "no indptr": (CSR, without("X/indptr"), "X is a broken sparse matrix: it has no 'indptr'"),
    "data is a group": (
        CSR,
        group("X/data"),
        "X is a broken sparse matrix: 'data' is not a one-dimensional array",
    ),
    "indptr is a number": (
        CSR,
        put("X/indptr", 3),
        "X is a broken sparse matrix: 'indptr' is not a one-dimensional array",
    ),
    "indices of two dimensions": (
        CSR,
        put("X/indices", np.zeros((3, 3), int)),
        "X is a broken sparse matrix: 'indices' is not a one-dimensional array",
    ),
    "no null data": (
        CSR,
        put("X/data", h5py.Empty("f4")),
        "X is a broken sparse matrix: 'data' is not a one-dimensional array",
    ),
    "data of text": (CSR, put("X/data", ["1", "2"]), "X has dtype object.*real number"),
    "complex data": (CSC, put("X/data", np.ones(9, complex)), "X has dtype complex128.*real"),
    "long double data": (
        CSC,
        put("X/data", np.ones(9, np.longdouble)),
        "X has dtype (float128|longdouble).*at most 64 bits",
    ),
    "records": (CSR, put("X/data", np.zeros(9, [("a", "i4"), ("b", "i4")])), "X has dtype.*real"),
    "fractional indices": (
        CSR,
        put("X/indices", np.zeros(9)),
        "X is a broken sparse matrix: indices has dtype float64; expected integers",
    ),
    "indptr of text": (
        CSR,
        put("X/indptr", ["0"] * 61),
        "X is a broken sparse matrix: indptr has dtype object; expected integers",
    ),
    "indices fewer than data": (
        CSR,
        put("X/indices", np.zeros(9, np.int32)),
        r"indices has 9 entries: expected \d+, as many as data",
    ),
    "indptr too short": (
        CSR,
        put("X/indptr", np.zeros(60, np.int32)),
        "indptr has 60 entries: expected 61",
    ),
    "indptr too long": (
        CSC,
        put("X/indptr", np.zeros(10, np.int32)),
        "indptr has 10 entries: expected 9",
    ),
    "indptr decreases": (CSR, entry("X/indptr", 7, 0), "indptr decreases at position 7"),
    "indptr from 1": (CSR, entry("X/indptr", 0, 1), "indptr starts at 1: expected 0"),
    "indptr from below": (CSC, entry("X/indptr", 0, -1), "indptr starts at -1: expected 0"),
    "indptr past the end": (CSR, entry("X/indptr", 60, 10**6), "indptr ends at 1000000, past"),
    "indptr of 2^64": (
        CSR,
        put("X/indptr", np.full(61, 2**64 - 1, np.uint64)),
        "'/X/indptr' cannot be read: it holds an index above",
    ),
    "gene index too large": (
        CSR,
        entry("X/indices", 5, N_GENES),
        "X is broken.*index 8 .*valid indices are 0 to 7",
    ),
    "cell index too large": (
        CSC,
        entry("X/indices", 5, 60),
        "index 60 .*valid indices are 0 to 59",
    ),
    "index negative": (CSR, entry("X/indices", 5, -1), "index -1 .*valid indices are 0 to 7"),
    "index of 2^64": (
        CSR,
        every(
            lambda file: file.copy("X/indices", "old"),
            put("X/indices", lambda file: file["old"][...].astype(np.uint64)),
            entry("X/indices", 5, 2**64 - 1),
        ),
        "'/X/indices' cannot be read: it holds an index above",
    ),
    # Its shape.
    "no shape": (
        CSR,
        attribute("X", "shape", None),
        "X is a broken sparse matrix: its shape is None; expected two counts",
    ),
    "shape of three": (
        CSR,
        attribute("X", "shape", [60, 8, 1]),
        "X is a broken sparse matrix: its shape is ",
    ),
    "negative shape": (
        CSR,
        attribute("X", "shape", [60, -8]),
        "X is a broken sparse matrix: its shape is ",
    ),
    "fractional shape": (
        CSC,
        attribute("X", "shape", [60.0, 8.0]),
        "X is a broken sparse matrix: its shape is ",
    ),
    "shape of text": (
        CSC,
        attribute("X", "shape", "60x8"),
        "X is a broken sparse matrix: its shape is ",
    ),
    "more cells": (
        CSR,
        attribute("X", "shape", [2**40, 8]),
        r"X has the shape \(1099511627776, 8\): expected \(60, 8\)",
    ),
    "fewer genes": (CSR, attribute("X", "shape", [60, 7]), r"X has the shape \(60, 7\): expected"),
    "turned": (CSC, attribute("X", "shape", [8, 60]), r"X has the shape \(8, 60\): expected"),
    "dense of other cells": (
        DENSE,
        put("X", np.zeros((59, 8))),
        r"X has the shape \(59, 8\): expected \(60, 8\)",
    ),
    "dense of one dimension": (DENSE, put("X", np.zeros(60)), "X has 1 dimensions: expected 2"),
    "dense of no dimension": (DENSE, put("X", 3.5), "X has 0 dimensions: expected 2"),
    "dense of three": (DENSE, put("X", np.zeros((60, 8, 1))), "X has 3 dimensions: expected 2"),
    "dense null": (DENSE, put("X", h5py.Empty("f4")), "X has no dimensions: expected 2"),
    "dense of text": (DENSE, put("X", [["a"] * 8] * 60), "X has dtype object.*real number"),
    "dense complex": (DENSE, put("X", np.ones((60, 8), "c8")), "X has dtype complex64.*real"),
    # Encodings.
    "another encoding": (
        CSR,
        attribute("X", "encoding-type", "coo_matrix"),
        "'/X' has the encoding 'coo_matrix': expected a dense array, csr_matrix or csc_matrix",
    ),
    "no encoding": (CSR, attribute("X", "encoding-type", None), "'/X' has the encoding None"),
    "an encoding of the future": (
        CSR,
        attribute("obs/target", "encoding-version", "9.9.9"),
        "'obs/target' has the encoding 'categorical' '9.9.9', which pdex does not read",
    ),
    "obs of another encoding": (
        CSR,
        attribute("obs", "encoding-type", "dict"),
        "'obs' is not a data frame of AnnData but a group with encoding 'dict'",
    ),
    "obs without encoding": (
        CSR,
        attribute("obs", "encoding-type", None),
        "'obs' is not a data frame of AnnData but a group with encoding None",
    ),
    # Members.
    "no obs": (CSR, without("obs"), r"no 'obs' in this file, which has 'X'.*scanpy\.read_10x_h5"),
    "no var": (CSR, without("var"), "no 'var' in this file, which has 'X'"),
    "no X": (CSR, without("X"), "no X: choose a layer, one of 'counts'"),
    "no column": (CSR, without("obs/target"), "target"),
    "MuData": (CSR, every(without("obs"), lambda f: f.create_group("mod")), "mudata.read_h5ad"),
    "a link to nowhere": (
        CSR,
        link("X", "/nowhere"),
        "'/X' is broken: it is a link that leads nowhere",
    ),
    "obs is a number": (
        CSR,
        put("obs", 3),
        "'obs' is not a data frame of AnnData but a dataset with encoding 'dataframe'",
    ),
    "text whose type became lists": (
        CSR,
        lists("obs/target", "encoding-type"),
        "'/obs/target' is broken: its attribute 'encoding-type' has a list type",
    ),
    "an encoding of lists": (
        CSR,
        lists("X", "encoding-type"),
        "'/X' is broken: its attribute 'encoding-type' has a list type",
    ),
    "codes of lists": (
        CSR,
        put(
            "obs/target/codes", lambda file: file.create_dataset("v", (60,), h5py.vlen_dtype("i4"))
        ),
        "'/obs/target/codes' is broken: its content has a list type",
    ),
    "a column that is the file": (
        CSR,
        put("obs/target", lambda file: file["/"]),
        "'obs/target' is broken: it has no 'codes'",
    ),
    # Frames.
    "codes past the categories": (
        CSR,
        entry("obs/target/codes", 3, 9),
        "has the code 9 of 3 categ",
    ),
    "codes below -1": (CSR, entry("obs/target/codes", 3, -9), "has the code -9 of 3 cat"),
    "fewer codes": (CSR, put("obs/target/codes", np.zeros(9, np.int8)), "has 9 codes: exp"),
    "no categories": (CSR, without("obs/target/categories"), "has no 'categories'"),
    "codes of text": (CSR, put("obs/target/codes", ["a"] * 60), "codes have dtype object"),
    "another index": (CSR, attribute("obs", "_index", "nope"), "'obs' is broken: it has no 'nope'"),
    # Claims.
    "2^31 entries": (
        CSR,
        huge(2**31 + 5),
        "'/X/indices' cannot be read: it claims 2,147,483,653 elements",
    ),
    "2^60 entries": (
        CSC,
        every(huge(2**60), put("X/indptr", np.array([*[0] * 8, 2**60]))),
        "claims",
    ),
    "2^60 entries, gzip": (CSR, huge(2**60, compression="gzip"), "'/X/indices'.*claims"),
    "entries that were never written": (
        CSR,
        huge(1 << 20),
        r"'/X/indices' cannot be read: 65,536 of its first 1,048,576 elements were ever written",
    ),
    "codes of 2^40 cells": (
        CSR,
        grown("obs/target/codes", 2**40),
        "'/obs/target/codes' is broken: it claims 1,099,511,627,776 elements,",
    ),
    "names of 2^40 cells": (
        CSR,
        grown("obs/_index", 2**40),
        "'/obs/_index(/values)?' is broken: it claims",
    ),
    "a chunk of 2^31": (
        CSR,
        grown("X/data", 2**31, chunks=(2**29 - 1,), compression="gzip"),
        "indices has|claims",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_error_names_the_path_and_the_thing(tmp_path, case):
    layout, change, message = CASES[case]
    screen(layout).write_h5ad(path := tmp_path / "screen.h5ad")
    with h5py.File(path, "r+") as file:
        change(file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for call in (de, scan):
        with pytest.raises(RAISED, match=f"(?s){re.escape(str(path))}.*{message}"):
            call(path)
    # In kilobytes: nothing near what these files claim.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@pytest.mark.parametrize("layout", MAKERS)
def test_a_broken_part_that_is_not_asked_for_does_not_matter(tmp_path, layout):
    data = screen(layout)
    data.obsm["X_pca"], data.uns["note"] = np.zeros((N_CELLS, 3)), "text"
    data.write_h5ad(path := tmp_path / "screen.h5ad")
    with h5py.File(path, "r+") as file:
        file["obsm/X_pca"].attrs["encoding-type"] = "nonsense"
        file["obsm/itself"] = file["obsm"]
        del file["X"], file["raw/var"], file["uns"]
        file["uns"] = "no group"
    assert_frame_equal(de(path, layer="counts"), de(data, layer="counts"), check_exact=True)


@pytest.mark.parametrize("place", ["layers/counts", "raw/X"])
def test_other_places_are_checked_as_well(tmp_path, place):
    screen().write_h5ad(path := tmp_path / "screen.h5ad")
    options = {"use_raw": True} if place == "raw/X" else {"layer": "counts"}
    name = r"raw\.X" if place == "raw/X" else "layer 'counts'"
    with h5py.File(path, "r+") as file:
        file[place]["indptr"][3] = 9_999
    for call in (de, scan):
        with pytest.raises(
            RAISED, match=rf"screen\.h5ad: {name} is a broken sparse matrix: indptr"
        ):
            call(path, **options)


# --- files that are no files --------------------------------------------------------------------


def test_a_folder_is_named(tmp_path):
    for call in (de, scan):
        with pytest.raises(
            ValueError,
            match=rf"{tmp_path}' is a folder; expected an \.h5ad file, a \.zarr store",
        ):
            call(tmp_path)


def test_no_permission(tmp_path):
    screen().write_h5ad(path := tmp_path / "screen.h5ad")
    path.chmod(0)
    root = os.geteuid() == 0
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    try:
        if root:  # whom no permission stops
            os.seteuid(65534)
        for call in (de, scan):
            with pytest.raises(PermissionError, match=rf"denied.*{path}"):
                call(path)
    finally:
        if root:
            os.seteuid(0)


# --- files that change --------------------------------------------------------------------------

STORAGE = {
    "contiguous": {},
    "gzip": {"chunks": (7, 3), "compression": "gzip"},
    # Read by the HDF5 library.
    "fill value": {"fillvalue": 3},
}


@pytest.mark.parametrize("storage", STORAGE)
def test_a_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch, storage):
    data = screen("dense")
    data.write_h5ad(path := tmp_path / "screen.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X"]
        dataset = file.create_dataset("X", data=data.X, **STORAGE[storage])
        if dataset.chunks is None:
            file.flush()
            end = dataset.id.get_offset() + data.X.nbytes
        else:
            found = [dataset.id.get_chunk_info(i) for i in range(dataset.id.get_num_chunks())]
            end = max(info.byte_offset + info.size for info in found)
    assert_frame_equal(de(path), de(data), check_exact=True)
    read, windows = Array.read, []

    def cut(self, *window):
        windows.append(window)
        if len(windows) == 2:
            os.truncate(path, end - 10)
        return read(self, *window)

    monkeypatch.setattr(Array, "read", cut)
    dense = pdex._io.arrays.DenseMatrix.by_genes
    small = lambda x, how, _, span: dense(x, how, 1000, span)  # noqa: E731
    monkeypatch.setattr(pdex._io.arrays.DenseMatrix, "by_genes", small)
    words = rf"{path}: dataset '/X' cannot be read: .*(truncated|end of)"
    with pytest.raises(OSError, match=words):
        de(path)
    assert len(windows) == 2


def test_a_file_that_another_takes_the_place_of(tmp_path):
    """What the scan noted of the file, its labels and genes, is not that of another one."""
    path = tmp_path / "screen.h5ad"
    for layout in MAKERS:
        data, other = screen(layout), screen(layout)
        other.X = other.X * 2
        data.write_h5ad(path)
        lazy = pdex.scan_anndata(path, "target")
        assert_frame_equal(lazy.collect(), scan(data), check_exact=True)
        other.write_h5ad(tmp_path / "other.h5ad")
        (tmp_path / "other.h5ad").replace(path)
        with pytest.raises(ValueError, match=r"screen\.h5ad has changed since"):
            lazy.collect()
        assert_frame_equal(pdex.scan_anndata(path, "target").collect(), scan(other))


@pytest.mark.parametrize("layout", MAKERS)
def test_a_relative_path_is_that_of_the_call(tmp_path, monkeypatch, layout):
    monkeypatch.chdir(tmp_path)
    screen(layout).write_h5ad("screen.h5ad")
    lazy, backed = pdex.scan_anndata("screen.h5ad", "target"), ad.read_h5ad("screen.h5ad", "r")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir("sub")
    assert_frame_equal(lazy.collect(), scan(screen(layout)), check_exact=True)
    assert_frame_equal(de(backed), de(screen(layout)), check_exact=True)


def test_a_file_that_is_in_memory(tmp_path):
    with h5py.File("none", "w", driver="core", backing_store=False) as file:
        file.create_dataset("x", data=np.arange(1000), chunks=(64,), compression="gzip")
        got = Array(h5.of_h5py(file["x"]), "none", 1).read((200, 900))
    np.testing.assert_array_equal(got, np.arange(200, 900))


# --- places beyond 2^31 -------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"fillvalue": 1}])
@pytest.mark.parametrize("first", [2**31 - 3, 2**32 - 2, 2**33 + 70_000])
def test_windows_beyond_32_bits(tmp_path, first, options):
    """An array of 10^10 numbers of which a few are stored: a window of it holds just these."""
    expected = np.arange(100_000) % 200
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file.create_dataset("x", (10**10,), "u4", chunks=(1 << 16,), **options)
        file["x"][first : first + 100_000] = expected
        file["y"] = np.array([0, 2**31, 2**33 + 7], "u8")
    with h5py.File(tmp_path / "large.h5") as file:
        x, y = (h5.of_h5py(file[name]) for name in "xy")
        for dtype, index_below in (("u1", None), ("u2", 2**16), ("i4", 2**20)):
            array = Array(x, "", 2, index_below=index_below)
            got = array.read((first, first + 100_000))
            np.testing.assert_array_equal(got, expected)
            assert options or got.dtype == dtype
        indptr = Array(y, "", 1, index_below=1 << 62).read((0, 3))
        assert (indptr.dtype, indptr.tolist()) == (np.int64, [0, 2**31, 2**33 + 7])


# --- types that are not NumPy's -----------------------------------------------------------------


def odd(bits, offset, order):
    kind = h5py.h5t.NATIVE_INT32.copy()
    kind.set_order(order)
    kind.set_precision(bits)
    kind.set_offset(offset)
    return kind


@pytest.mark.parametrize("bits", [12, 24])
@pytest.mark.parametrize("order", [h5py.h5t.ORDER_LE, h5py.h5t.ORDER_BE])
def test_integers_of_odd_widths_are_converted(tmp_path, bits, order):
    data = screen("dense")
    data.X = data.X - 1
    data.write_h5ad(path := tmp_path / "screen.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X"]
        space = h5py.h5s.create_simple(data.shape)
        identifier = h5py.h5d.create(file.id, b"X", odd(bits, 7, order), space)
        identifier.write(h5py.h5s.ALL, h5py.h5s.ALL, data.X.astype(np.int32))
    assert_frame_equal(de(path), de(data), check_exact=True)


def test_an_error_that_names_the_file_is_of_its_own_class_and_one():
    """Findings 16: PermissionError stays one, and no error is printed twice."""
    kinds = {PermissionError: PermissionError, FileNotFoundError: FileNotFoundError}
    kinds |= {KeyError: KeyError, ZeroDivisionError: ValueError}
    for raised, expected in kinds.items():
        with (
            pytest.raises(expected, match=r"/folder/x\.h5ad: why") as found,
            error_context("/folder/x.h5ad"),
        ):
            raise raised("why")
        assert type(found.value) is expected
        shown = "".join(traceback.format_exception(found.value))
        assert shown.count("Traceback") == 1
        assert "raise raised" in shown  # where it came from
