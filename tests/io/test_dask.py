"""Dask arrays and screens that anndata reads lazily: the same numbers as in memory, bit for bit."""

import itertools
import pickle
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import pytest
import scipy.sparse as sp
from pdex._io import dask as ours
from pdex._resources import Resources
from polars.testing import assert_frame_equal

da = pytest.importorskip("dask.array")

TESTS = ["wilcoxon", "anderson", "ttest", "ks"]
CHUNKS = {
    "one": (240, 13),
    "cells": (50, 13),
    "genes": (240, 4),
    "both": (70, 5),
    "uneven": ((1, 100, 0, 139), (6, 7)),
}
LAYOUTS = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "csr_array": sp.csr_array, "dense": np.array}


def screen(rng, n_cells=240, n_genes=13, kind="counts"):
    x = rng.poisson(rng.gamma(1, 2, n_genes), (n_cells, n_genes)).astype(np.float32)
    if kind == "log":
        x = np.log1p(x * rng.uniform(0.5, 2, (n_cells, 1)).astype(np.float32))
    obs = pd.DataFrame(
        {
            "target": pd.Categorical(
                rng.choice(["ctrl", "T2", "T0", "T1"], n_cells), ["T1", "ctrl", "T0", "T2"]
            ),
            "batch": rng.choice(["y", "x"], n_cells),
            "depth": pd.array(rng.integers(1, 9, n_cells), "Int32"),
        },
        index=[f"c{i}" for i in range(n_cells)],
    )
    obs.loc[obs.index[::17], ["target", "depth"]] = None
    return ad.AnnData(x, obs, pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))


def same(got, want):
    assert_frame_equal(got, want, check_exact=True)


def chunked(x, layout, chunks):
    make = LAYOUTS[layout]
    return da.from_array(x, chunks=chunks).map_blocks(make, dtype=x.dtype, meta=make(x[:0]))


@pytest.fixture(params=["all", "little"])
def memory(request, monkeypatch):
    if request.param == "little":
        monkeypatch.setattr(Resources, "for_pieces", property(lambda _: 2000))


def conforms(data, expected, folder, **options):
    for test, reference in itertools.product(TESTS, ["ctrl", "rest"]):
        question = {"test": test, "reference": reference, **options}
        same(pdex.de(data, "target", **question), pdex.de(expected, "target", **question))
    question = {"strata": "batch", "where": "depth > 2", "genes": ["g2", "g8"], **options}
    question["reference"] = "ctrl"
    same(pdex.de(data, "target", **question), pdex.de(expected, "target", **question))
    for fold in ("values", "zeros", None):
        scans = [pdex.scan_anndata(one, "target", fold=fold, **options) for one in (data, expected)]
        same(*(scan.collect().sort(["gene", "target", "value"]) for scan in scans))
    got, want = (
        pdex.tabulate(one, ["target", "depth"], output=folder / f"{name}.tables", **options)
        for name, one in (("got", data), ("want", expected))
    )
    same(got.scan().collect(), want.scan().collect())


@pytest.mark.parametrize("kind", ["counts", "log"])
@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_chunk(rng, tmp_path, memory, kind, layout, chunks):
    expected = screen(rng, kind=kind)
    data = expected.copy()
    data.X = chunked(expected.X, layout, CHUNKS[chunks])
    expected.layers["turned"] = expected.X[::-1].copy()
    data.layers["turned"] = chunked(expected.layers["turned"], layout, CHUNKS[chunks])
    conforms(data, expected, tmp_path)
    question = {"layer": "turned", "reference": "ctrl"}
    same(pdex.de(data, "target", **question), pdex.de(expected, "target", **question))
    view, cells = data[5::3], expected[5::3].copy()
    same(pdex.de(view, "target", reference="ctrl"), pdex.de(cells, "target", reference="ctrl"))
    parts = [data[:100], expected[100:101], data[101:]]
    if kind == "counts":
        same(pdex.de(parts, "target", reference="ctrl"), pdex.de(data, "target", reference="ctrl"))


def test_a_large_array_is_computed_once(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(Resources, "for_pieces", property(lambda _: 4000))
    data = screen(rng)
    want = pdex.de(data, "target", reference="ctrl")
    seen = []

    def spy(block, block_info=None):
        seen.append(block_info[0]["chunk-location"][0])
        return sp.csr_matrix(block)

    x = da.from_array(data.X, chunks=(20, 13))
    data.X = x.map_blocks(spy, dtype=data.X.dtype, meta=sp.csr_matrix(data.X[:0]))
    seen.clear()
    same(pdex.de(data, "target", reference="ctrl"), want)
    # Four to learn about all, which are computed once more.
    assert sorted(seen) == sorted([*range(12), 0, 3, 7, 11])


def test_arrays_that_cannot_be_borrowed_are_copied(rng):
    data = screen(rng)
    want = pdex.de(data, "target", reference="ctrl")

    def odd(array):
        raw = np.zeros(array.nbytes + 1, np.uint8)
        out = raw[1:].view(array.dtype)
        out[:] = array
        out.flags.writeable = False
        return out

    def unaligned(block):
        x = sp.csr_matrix(block)
        found = sp.csr_matrix(x.shape, dtype=x.dtype)
        found.data, found.indices = odd(x.data), odd(x.indices.astype(np.int64))
        found.indptr = odd(x.indptr.astype(np.int64))
        assert not found.data.flags.aligned
        return found

    def unaligned_dense(block):
        return odd(block.reshape(-1)).reshape(block.shape)

    x = da.from_array(data.X, chunks=(100, 13))
    for make, meta in ((unaligned, sp.csr_matrix(data.X[:0])), (unaligned_dense, data.X[:0])):
        data.X = x.map_blocks(make, dtype=np.float32, meta=meta)
        same(pdex.de(data, "target", reference="ctrl"), want)


def test_arrays_that_are_not_read(rng):
    data = screen(rng)
    x = da.from_array(data.X, chunks=(100, 13))
    for array, error, text in (
        (x[x.sum(axis=1) > 0], ValueError, r"X is a Dask array with chunks of unknown size: call"),
        (x.astype(complex), TypeError, "X has dtype complex128: expected a real number type"),
        (
            da.ma.masked_equal(x, 0),
            TypeError,
            r"X is a Dask array of chunks of numpy\.ma.*MaskedArray: expected NumPy",
        ),
        (x[:, :, None], ValueError, "X has 3 dimensions: expected 2"),
    ):
        with pytest.raises(error, match=text):
            ours.DaskMatrix(array, "X")
    data.X = x.map_blocks(lambda block: np.where(block == block.max(), np.nan, block))
    with pytest.raises(ValueError, match=r"X contains NaN \(cell 'c\d+', row"):
        pdex.de(data, "target", reference="ctrl", is_log1p=False)


def test_info_and_pickles(rng):
    expected = screen(rng)
    expected.X = sp.csr_matrix(expected.X)
    data = expected.copy()
    data.X = chunked(expected.X.toarray(), "csr", (60, 13))
    got, want = pdex.info(data), pdex.info(expected)
    assert (got.obs, got.targets, got.n_cells) == (want.obs, want.targets, 240)
    (matrix,), (other,) = got.matrices, want.matrices
    assert {name: matrix[name] for name in ("layout", "dtype", "shape", "stored")} == {
        name: other[name] for name in ("layout", "dtype", "shape", "stored")
    }
    assert matrix["values"]["kind"] == "counts"
    scan = pdex.scan_anndata(data, "target")
    same(pickle.loads(pickle.dumps(scan)).collect(), scan.collect())


@pytest.mark.parametrize("store", ["h5ad", "zarr"])
@pytest.mark.parametrize("layout", ["csr", "csc", "dense"])
@pytest.mark.filterwarnings("ignore")
def test_read_lazy(rng, tmp_path, memory, layout, store):
    pytest.importorskip("xarray")
    expected = screen(rng, kind="log")
    expected.raw = expected.copy()
    expected.X = LAYOUTS[layout](expected.X)
    expected.layers["turned"] = LAYOUTS[layout](expected.X[::-1])
    expected.uns["log1p"] = {"base": 2.0}
    path = tmp_path / f"screen.{store}"
    getattr(expected, f"write_{store}")(path)
    data = ad.experimental.read_lazy(path)
    conforms(data, expected, tmp_path)
    for options in ({"layer": "turned"}, {"use_raw": True}):
        question = {"reference": "ctrl", **options}
        got = pdex.de(data, "target", **question)
        same(got, pdex.de(expected, "target", **question))
        assert pdex.describe(got).log_base == 2
    view = data[3::2]
    want = pdex.de(expected[3::2].copy(), "target", reference="ctrl")
    same(pdex.de(view, "target", reference="ctrl"), want)
    # anndata lists the columns in an order of its own.
    found, known = ({fact["name"]: fact for fact in pdex.info(one).obs} for one in (data, expected))
    assert found == known
    parts = [data[:90], data[90:]]
    same(pdex.de(parts, "target", reference="ctrl"), pdex.de(expected, "target", reference="ctrl"))


def test_dask_is_not_imported_for_other_data():
    code = (
        "import sys, pdex; s = pdex.datasets.simulate_screen(n_cells=90, n_genes=9, n_targets=2, "
        "n_effects=2); before = 'dask' in sys.modules; pdex.de([s[:50], s[50:]], 'target'); "
        "assert ('dask' in sys.modules) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
