"""Files as people write them: every layout, number type and filter gives what memory gives."""

import contextlib

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from polars.testing import assert_frame_equal

N_CELLS, N_GENES = 300, 24
DTYPES = [
    *("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"),
    *("f2", "f4", "f8", "?", ">i2", ">u4", ">i8", ">f2", ">f4", ">f8"),
]
LAYOUTS = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}
STORAGE = {
    "contiguous": {},
    "chunked": {"chunks": 37},
    "gzip": {"chunks": 64, "compression": "gzip"},
    "gzip, shuffle, fletcher32": {
        "chunks": 41,
        "compression": "gzip",
        "shuffle": True,
        "fletcher32": True,
    },
    "lzf": {"chunks": 64, "compression": "lzf"},
    "lzf, shuffle": {"chunks": 64, "compression": "lzf", "shuffle": True},
    "scaleoffset of another filter": {"chunks": 50, "compression": "gzip", "scaleoffset": True},
}


def values(dtype, seed=0):
    """Cells x genes of counts, with what the type has besides: large, negative, fractions."""
    rng = np.random.default_rng(seed)
    x = rng.poisson(1.2, (N_CELLS, N_GENES)).astype(np.float64)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return x > 1
    if dtype.kind in "if":
        x[:, 3] -= 2
    if dtype.itemsize > 1:
        x[::7, 4] += 300
    if dtype.itemsize > 2:
        x[::5, 5] = x[::5, 5] * 9_000
    if dtype.kind == "f":
        x[:, 6:12] = np.log1p(x[:, 6:12] * rng.uniform(0.5, 2.0, (N_CELLS, 1)))
    return x.astype(dtype)


def screen(x):
    labels = np.random.default_rng(1).choice(["non-targeting", "a", "b", "c"], N_CELLS)
    obs = pd.DataFrame({"target": labels}, index=[f"c{i}" for i in range(N_CELLS)])
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))


def stored(path, name, storage, dtype=None):
    """Write a dataset of the file anew as `storage` says."""
    options = dict(STORAGE[storage])
    with h5py.File(path, "r+") as file:
        array, attributes = file[name][()], dict(file[name].attrs)
        del file[name]
        array = array if dtype is None else array.astype(dtype)
        if "scaleoffset" in options:
            if array.dtype.kind != "i":
                del options["scaleoffset"]
            else:
                options["scaleoffset"] = 0
        if "chunks" in options:
            rows = min(options["chunks"], max(1, len(array)))
            options["chunks"] = (rows, 5)[: array.ndim]
        file.create_dataset(name, data=array, **options)
        file[name].attrs.update(attributes)


def write(path, x, layout, storage, dtype):
    screen(LAYOUTS[layout](x)).write_h5ad(path)
    if layout == "dense":
        stored(path, "X", storage, dtype)
    else:
        stored(path, "X/data", storage, dtype)
        stored(path, "X/indices", storage)
    return path


def same(a, b):
    assert_frame_equal(a, b, check_exact=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_number_types_are_those_of_memory(tmp_path, layout, dtype):
    # SciPy and AnnData have neither half floats nor foreign byte orders.
    half = np.dtype(dtype).newbyteorder("=") == np.float16
    base = np.float32 if half else np.dtype(dtype).newbyteorder("=")
    x = values(dtype).astype(base)
    path = write(tmp_path / "screen.h5ad", x, layout, "gzip", dtype)
    data = screen(LAYOUTS[layout](x))
    for reference in ("non-targeting", "rest"):
        for test in ("wilcoxon", "ttest"):
            options = {"reference": reference, "test": test, "is_log1p": False}
            same(pdex.de(path, "target", **options), pdex.de(data, "target", **options))


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("dtype", ["i4", "f4"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_storage_is_that_of_memory(tmp_path, layout, dtype, storage):
    x = values(dtype)
    path = write(tmp_path / "screen.h5ad", x, layout, storage, dtype)
    data = screen(LAYOUTS[layout](x))
    for test in ("wilcoxon", "anderson", "ttest", "ks"):
        same(pdex.de(path, "target", test=test), pdex.de(data, "target", test=test))
    scanned = [
        pdex.scan_anndata(source, "target").sort("gene", "target", "value").collect()
        for source in (path, data)
    ]
    same(*scanned)


def test_layers_and_raw_names_are_read_too(tmp_path):
    x = values("f4")
    data = screen(sp.csr_matrix(x))
    data.layers["counts"] = sp.csc_matrix(np.abs(np.round(x)))
    data.write_h5ad(tmp_path / "screen.h5ad", compression="lzf")
    options = {"layer": "counts", "reference": "rest"}
    got = pdex.de(tmp_path / "screen.h5ad", "target", **options)
    same(got, pdex.de(data, "target", **options))


def test_a_late_fraction_after_counts_is_found(tmp_path):
    """Values are read as small integers while they are some; the last one is none."""
    x = np.tile(np.arange(N_GENES, dtype=np.float32), (N_CELLS, 1))
    for last in (0.5, 300.0, 70_000.0, -3.0):
        x[-1, -1] = last
        for layout in LAYOUTS:
            path = write(tmp_path / f"{layout}{last}.h5ad", x, layout, "gzip", "f4")
            got = pdex.de(path, "target", is_log1p=False)
            same(got, pdex.de(screen(x), "target", is_log1p=False))


@pytest.mark.parametrize("kind", ["counts", "log"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_memory_limit_never_changes_a_number(tmp_path, layout, kind, monkeypatch):
    x = values("u1").astype(np.float32)
    if kind == "log":
        scale = np.random.default_rng(3).uniform(0.5, 2.0, (N_CELLS, 1)).astype(np.float32)
        x = np.log1p(x * scale)
    path = write(tmp_path / "screen.h5ad", x, layout, "gzip", "f4")
    monkeypatch.setattr(pdex._resources, "LEAST_MEMORY", 1)
    for test in ("wilcoxon", "ttest"):
        for reference in ("non-targeting", "rest"):
            want = pdex.de(screen(LAYOUTS[layout](x)), "target", reference=reference, test=test)
            for limit in (1, 3_000, 20_000, None):
                options = {"reference": reference, "test": test, "memory_limit": limit}
                same(pdex.de(path, "target", **options), want)
    with pytest.raises(
        ValueError,
        match=r"memory_limit must be None \(1 GB\), a number of bytes or a size such as '2GB',",
    ):
        pdex.de(path, "target", memory_limit=0)


# --- broken files -------------------------------------------------------------------------------


def chunk_of(path, name):
    """First byte and size of a dataset's first chunk."""
    with h5py.File(path) as file:
        info = file[name].id.get_chunk_info(0)
    return info.byte_offset, info.size


def damaged(path, place, damage):
    content = bytearray(path.read_bytes())
    damage(content, place)
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["X/data", "X/indices"])
@pytest.mark.parametrize("storage", ["gzip", "gzip, shuffle, fletcher32", "lzf"])
def test_a_damaged_chunk_names_file_and_dataset(tmp_path, storage, name):
    path = write(tmp_path / "screen.h5ad", values("f4"), "csr", storage, "f4")
    first, size = chunk_of(path, name)

    def zeros(content, _):
        content[first : first + size] = bytes(size)

    damaged(path, None, zeros)
    for options in ({}, {"is_log1p": False}):
        with pytest.raises(OSError, match=rf"screen.h5ad.*{name}.*(broken|cannot be read)"):
            pdex.de(path, "target", **options)


def test_a_truncated_file_is_an_error(tmp_path):
    path = write(tmp_path / "screen.h5ad", values("f4"), "csr", "gzip", "f4")
    content = path.read_bytes()
    for length in (len(content) // 3, len(content) * 2 // 3, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises((OSError, ValueError, KeyError, RuntimeError)):
            pdex.de(path, "target", is_log1p=False)


def test_flipped_bits_never_crash(tmp_path):
    """Any byte may be wrong: an error, or a table, but no crash and no endless work."""
    whole = write(tmp_path / "whole.h5ad", values("f4"), "csr", "lzf", "f4").read_bytes()
    rng = np.random.default_rng(7)
    path = tmp_path / "screen.h5ad"
    tables = 0
    for _ in range(60):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), 3):
            content[place] ^= 1 << rng.integers(0, 8)
        path.write_bytes(content)
        # What h5py and anndata raise is theirs.
        with contextlib.suppress(Exception):
            tables += isinstance(pdex.de(path, "target", is_log1p=False), pl.DataFrame)
    assert tables > 0
