"""Files that the compiled module opens: what is imported, read, decoded, and left to h5py."""

import os
import subprocess
import sys

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pdex
import pytest
from pdex import _pdex
from pdex._io import h5
from polars.testing import assert_frame_equal

N = 90


def screen(**columns):
    x = np.random.default_rng(0).poisson(1.0, (N, 7)).astype(np.float32)
    obs = pd.DataFrame({"target": ["ctrl", "a", "b"] * (N // 3), **columns})
    obs.index = [f"c{i}" for i in range(N)]
    return ad.AnnData(x, obs, pd.DataFrame(index=[f"g{i}" for i in range(7)]))


def de(data, **options):
    return pdex.de(data, "target", reference="ctrl", **options)


@pytest.fixture(name="path")
def written(tmp_path):
    screen().write_h5ad(tmp_path / "screen.h5ad")
    return tmp_path / "screen.h5ad"


def stored(path, name, values, **options):
    """Store an array in another way; its attributes stay."""
    with h5py.File(path, "r+") as file:
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=values, **options).attrs.update(attributes)


# --- processes ----------------------------------------------------------------------------------

IMPORTS = """
import sys, pdex
{call}
others = ("anndata", "dask", "h5py", "numcodecs", "pandas", "scipy", "xarray", "zarr")
print([name for name in others if name in sys.modules])
"""


@pytest.mark.parametrize(
    "call",
    [
        "pdex.de(sys.argv[1], 'target', reference='ctrl')",
        "pdex.de(sys.argv[1], 'target', reference='rest', test='ttest', normalize=1e4)",
        "pdex.info(sys.argv[1])",
        "pdex.scan_anndata(sys.argv[1], 'target').collect()",
        "pdex.tabulate(sys.argv[1], 'target', output=sys.argv[1] + '.tables')",
    ],
)
def test_a_path_needs_none_of_these(path, call):
    words = [sys.executable, "-c", IMPORTS.format(call=call), str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_file_that_h5py_holds_open_opens(path, mode):
    """Two HDF5 libraries, of which one holds a lock, read in turns."""
    expected = de(path)
    with h5py.File(path, mode) as file:
        for _ in range(3):
            assert_frame_equal(de(path), expected, check_exact=True)
            assert file["obs/_index"][3] == b"c3"
        if mode == "r+":
            # What was written is read once it was flushed.
            file["X"][...] = file["X"][...][:, ::-1]
            file.flush()
            changed = screen()
            changed.X = changed.X[:, ::-1].copy()
            assert_frame_equal(de(path), de(changed), check_exact=True)


def test_a_file_that_is_closed_lets_go(path):
    """Even if what was opened of it is still held."""
    root = _pdex.H5File(str(path)).root
    file = _pdex.H5File(str(path))
    names, x = file.root.get("obs/_index"), file.root.get("X")
    chunks = x.located()
    before = len(os.listdir("/proc/self/fd"))
    file.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1
    for read in (names.texts, lambda: x.read((0, 1), (0, 1)), lambda: file.root.names()):
        with pytest.raises(OSError, match="the file is closed"):
            read()
    with pytest.raises(OSError, match="the file is closed"):
        chunks.read((0, 1), (0, 1), "f4", 1)
    assert "obs" in root.names()


def test_only_the_columns_asked_for_are_read(tmp_path):
    screen(note=[f"note {i}" for i in range(N)]).write_h5ad(path := tmp_path / "x.h5ad")
    with h5py.File(path, "r+") as file:
        # Reading it would be an error.
        file["obs/note"].attrs["encoding-type"] = "unheard of"
    assert_frame_equal(de(path), de(screen()), check_exact=True)
    with pytest.raises(ValueError, match=r"'obs/note' has the encoding 'unheard of'"):
        pdex.de(path, "note")


# --- filters ------------------------------------------------------------------------------------


def test_zstandard_is_decoded_here(path):
    hdf5plugin = pytest.importorskip("hdf5plugin", reason="writes Zstandard")
    stored(path, "X", screen().X, chunks=(16, 3), shuffle=True, **hdf5plugin.Zstd(5))
    node = _pdex.H5File(str(path)).root.get("X")
    assert [number for number, _ in node.filters] == [2, 32015]
    assert node.located() is not None
    assert_frame_equal(de(path), de(screen()), check_exact=True)


@pytest.mark.parametrize("name", ["Blosc", "LZ4", "Bitshuffle"])
def test_other_filters_are_left_to_h5py(path, name):
    hdf5plugin = pytest.importorskip("hdf5plugin", reason="writes such filters")
    stored(path, "X", screen().X, chunks=(16, 3), **getattr(hdf5plugin, name)())
    expected = de(screen())
    assert_frame_equal(de(path), expected, check_exact=True)
    assert pdex.info(path).matrices[0]["values"]["kind"] == "counts"


def test_a_filter_that_nobody_knows_is_named(path, monkeypatch):
    hdf5plugin = pytest.importorskip("hdf5plugin", reason="writes such filters")
    stored(path, "X", screen().X, chunks=(16, 3), **hdf5plugin.Blosc())
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda _: False)
    words = r"screen\.h5ad: dataset '/X' cannot be read: its chunks went through filter 32001.*"
    with pytest.raises(OSError, match=words + "install hdf5plugin"):
        de(path)


def test_labels_behind_filters(path):
    """Texts that the HDF5 library cannot decode, and codes that the readers can."""
    data = screen(kind=pd.Categorical(["x", "y"] * (N // 2)))
    data.write_h5ad(path)
    labels = np.asarray(data.obs["target"].astype(str))
    kinds = data.obs["kind"].cat.codes.to_numpy()
    stored(path, "obs/kind/codes", kinds, chunks=(7,), compression="lzf", shuffle=True)
    with h5py.File(path, "r+") as file:
        attributes = {"encoding-type": "string-array", "encoding-version": "0.2.0"}
        del file["obs/target"]
        options = {"chunks": (8,), "compression": "lzf"}
        made = file.create_dataset("obs/target", (N,), h5py.string_dtype(), **options)
        made[:] = labels
        made.attrs.update(attributes)
    assert_frame_equal(de(path), de(data), check_exact=True)
    assert_frame_equal(
        pdex.de(path, "kind", reference="x"), pdex.de(data, "kind", reference="x"), check_exact=True
    )


# --- AnnData that holds a file open ---------------------------------------------------------------


def test_backed_data_whose_file_has_gone(path):
    expected = de(path)
    backed = ad.read_h5ad(path, backed="r")
    assert_frame_equal(de(backed), expected, check_exact=True)
    path.unlink()
    # The path leads nowhere; h5py still has the file.
    assert_frame_equal(de(backed), expected, check_exact=True)
    other = screen()
    other.X = other.X[::-1].copy()
    other.write_h5ad(path)
    assert_frame_equal(de(backed), expected, check_exact=True)


def test_a_sparse_matrix_in_a_file_in_memory(tmp_path):
    data = screen()
    import scipy.sparse as sp

    with h5py.File("none", "w", driver="core", backing_store=False) as file:
        ad.io.write_elem(file, "X", sp.csr_matrix(data.X))
        matrix = h5.open_matrix(h5.of_h5py(file["X"]), "X", "none")
        found = matrix.of_genes((1, None), (0, 7))
    assert (found.values == sp.csr_matrix(data.X).data).all()


@pytest.mark.parametrize("userblock", [0, 512, 4096])
def test_a_block_of_the_user_before_the_content(tmp_path, userblock):
    data = screen()
    with h5py.File(path := tmp_path / "x.h5ad", "w", userblock_size=userblock) as file:
        for name in ("X", "obs", "var"):
            ad.io.write_elem(file, name, getattr(data, name))
    assert_frame_equal(de(path), de(data), check_exact=True)


def test_an_external_link_is_followed(tmp_path, path):
    """Chunks in another file lie at places of that file."""
    expected = de(path)
    path.rename(tmp_path / "matrix.h5")
    with h5py.File(tmp_path / "matrix.h5") as old, h5py.File(path, "w") as file:
        for name in ("obs", "var"):
            old.copy(name, file)
        file["X"] = h5py.ExternalLink("matrix.h5", "/X")
    assert_frame_equal(de(path), expected, check_exact=True)
    (tmp_path / "matrix.h5").unlink()
    with pytest.raises(ValueError, match=r"'/X' is broken: it is a link that leads nowhere"):
        de(path)


# --- what a review found ------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_records_of_every_kind(tmp_path, compression):
    """As anndata before 0.7 wrote obs, with truth values and behind filters."""
    data = screen()
    kinds = [("index", "S6"), ("target", "i1"), ("flag", "?"), ("text", "S4"), ("score", "f4")]
    obs = np.zeros(N, kinds)
    labels = pd.Categorical(data.obs["target"])
    obs["index"], obs["target"] = data.obs_names.to_numpy().astype("S6"), labels.codes
    obs["flag"], obs["score"] = np.arange(N) % 2 == 0, np.arange(N) / 4
    obs["text"] = np.array(["x", "yy"] * (N // 2), "S4")
    with h5py.File(path := tmp_path / "old.h5ad", "w") as file:
        file["X"] = data.X
        file.create_dataset("obs", data=obs, compression=compression)
        file["var"] = np.array([(f"g{i}",) for i in range(7)], [("index", "S6")])
        file["uns/target_categories"] = labels.categories.to_numpy().astype("S4")
    assert_frame_equal(de(path), de(data), check_exact=True)
    data.obs["flag"], data.obs["text"] = obs["flag"], obs["text"].astype(str)
    for column, reference in (("flag", "True"), ("text", "yy")):
        got, expected = (pdex.de(d, column, reference=reference) for d in (path, data))
        assert_frame_equal(got, expected, check_exact=True)
    kinds = {column["name"]: column["kind"] for column in pdex.info(path).obs}
    expected = {"target": "categorical", "flag": "boolean", "text": "text", "score": "float"}
    assert kinds == expected


def test_a_zero_ends_a_text(path):
    """Of a fixed width and null-terminated, whatever lies behind the zero."""
    with h5py.File(path, "r+") as file:
        attributes = dict(file["obs/target"].attrs)
        del file["obs/target"]
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(8)
        values = np.array([b"ctrl", b"a", b"b"] * (N // 3), "S8")
        raw = np.frombuffer(values.tobytes(), np.uint8).reshape(N, 8).copy()
        raw[:, 6:] = 0xFF
        space = h5py.h5s.create_simple((N,))
        made = h5py.h5d.create(file["obs"].id, b"target", kind, space)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, raw.view("V8").reshape(N), mtype=kind)
        h5py.Dataset(made).attrs.update({**attributes, "encoding-type": "string-array"})
    assert_frame_equal(de(path), de(screen()), check_exact=True)


def test_a_virtual_column_beyond_memory_is_an_error(path):
    data = screen(kind=pd.Categorical(["x", "y"] * (N // 2)))
    data.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        attributes = dict(file["obs/kind/categories"].attrs)
        del file["obs/kind/categories"]
        layout = h5py.VirtualLayout((2**50,), "i8")
        made = file.create_virtual_dataset("obs/kind/categories", layout)
        made.attrs.update(attributes)
    words = r"'/obs/kind/categories' is broken: it claims 1,125,899,906,842,624 elements"
    with pytest.raises(ValueError, match=words):
        pdex.de(path, "kind", reference="x")
    assert_frame_equal(de(path), de(data), check_exact=True)


def test_a_pipe_is_no_file(tmp_path, path):
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = h5py.ExternalLink("pipe", "/X")
    with pytest.raises((ValueError, OSError), match=r"screen\.h5ad.*'/X'"):
        de(path)
