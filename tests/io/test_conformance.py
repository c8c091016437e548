"""Every matrix and every column of groups that users have: in memory, in files and Zarr stores.

Each is held, bit for bit, to the same screen with a dense float64 matrix in memory and groups of
plain text, whose numbers test_de.py holds to SciPy.
"""

import itertools
import warnings

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from polars.testing import assert_frame_equal

N_CELLS, N_GENES, N_RAW = 120, 9, 14
DTYPES = [f"{order}{kind}{size}" for order in "<>" for kind in "iu" for size in (2, 4, 8)]
DTYPES += ["i1", "u1", "?", "<f2", "<f4", "<f8", ">f2", ">f4", ">f8"]
LAYOUTS = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}
FILES = ["memory", "backed", "path"]
#: Kinds of Zarr stores, and how each is given.
STORES = {
    "zarr 2, path": ("2", "path"),
    "zarr 2 loose, group": ("2 loose", "group"),
    "zarr 3 loose, path": ("3 loose", "path"),
    "zarr 3 sharded, group": ("3 sharded", "group"),
    "zarr 3 sharded loose, store": ("3 sharded loose", "store"),
}
SOURCES = [*FILES, *STORES]
PLACES = {"X": {}, "layers/counts": {"layer": "counts"}, "raw/X": {"use_raw": True}}


def counts(n_genes=N_GENES, dtype="f8"):
    """Cells x genes; negative numbers and fractions where the type has them."""
    rng = np.random.default_rng(n_genes)
    x = rng.poisson(rng.gamma(1, 2, n_genes), (N_CELLS, n_genes)).astype(float)
    x = np.minimum(x, 1.0 if np.dtype(dtype).kind == "b" else 100.0)
    if np.dtype(dtype).kind in "if":
        x[:, 2] -= 1
    if np.dtype(dtype).kind == "f":
        x[:, 3:6] /= 8  # every float type holds eighths of these
    return x


def labels():
    return np.random.default_rng(1).choice(["ctrl", "a", "b", "c"], N_CELLS)


def screen(x, raw, layer=None, target=None):
    """AnnData with raw of more genes, and the first matrix as a layer, too."""
    obs = pd.DataFrame(index=[f"c{i}" for i in range(N_CELLS)])
    obs["target"] = labels() if target is None else target
    data = ad.AnnData(raw, obs, pd.DataFrame(index=[f"r{i}" for i in range(raw.shape[1])]))
    data.raw = data
    data = ad.AnnData(x, obs, pd.DataFrame(index=[f"g{i}" for i in range(x.shape[1])]), raw=data)
    data.layers["counts"] = x if layer is None else layer
    return data


def plain(dtype="f8"):
    """The screen that others are held to."""
    return screen(counts(dtype=dtype), counts(N_RAW, dtype), counts(dtype=dtype)[::-1])


def matrix(x, layout, dtype):
    """The matrix in memory in its own byte order, which SciPy's constructors change."""
    made = LAYOUTS[layout](x.astype(np.dtype(dtype).newbyteorder("=")))
    if layout == "dense":
        return made.astype(dtype)
    made.data = made.data.astype(dtype)
    return made


def in_chunks(x):
    """A Dask array of the matrix."""
    da = pytest.importorskip("dask.array")
    return da.from_array(x, chunks=(50, 5), asarray=False)


def rewrite(path, name, dtype):
    """Store a dataset of the file as numbers of another type."""
    with h5py.File(path, "r+") as file:
        array, attributes = file[name][()], dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=array.astype(dtype), compression="gzip")
        file[name].attrs.update(attributes)


def opened(source, path):
    if source in STORES:
        zarr = pytest.importorskip("zarr")
        makers = {"path": str, "group": zarr.open_group, "store": zarr.storage.LocalStore}
        return makers[STORES[source][1]](path)
    return ad.read_h5ad(path, backed="r") if source == "backed" else path


def same(got, expected):
    assert_frame_equal(got, expected, check_exact=True)


def scanned(data, **options):
    """A scan's rows; the values' dtype is the matrix's, so they are compared as numbers."""
    frame = pdex.scan_anndata(data, "target", **options).with_columns(
        pl.col("value").cast(pl.Float64)
    )
    return frame.sort("gene", "target", "value", "count").collect()


def conforms(data, expected, **options):
    """Both functions give what the plain screen gives."""
    for test in ("wilcoxon", "ttest"):
        settings = {"reference": "ctrl", "test": test, "is_log1p": False, **options}
        same(pdex.de(data, "target", **settings), pdex.de(expected, "target", **settings))
    same(scanned(data, **options), scanned(expected, **options))


# --- matrices -----------------------------------------------------------------------------------

# SciPy has no sparse half floats, and slices no sparse matrix in foreign byte order.
EVERY = [
    (source, layout, dtype)
    for source, layout, dtype in itertools.product([*FILES, "many", "dask"], LAYOUTS, DTYPES)
    if layout == "dense"
    or source in ("backed", "path")
    or not (dtype.endswith("f2") or (dtype.startswith(">") and source != "memory"))
]
# zarr-python decodes every type; each kind of store has some of them, and one has all.
EVERY += itertools.product(["zarr 3 loose, path"], LAYOUTS, DTYPES)
EVERY += [
    case
    for case in itertools.product(STORES, LAYOUTS, ["<f4", ">i4", "u1", "?"])
    if case not in EVERY
]


@pytest.fixture
def stored(tmp_path, write_zarr):
    """Writes a screen where a source of a file or store finds it, and opens it."""

    def write(data, source, dtypes=None, **options):
        if source in STORES:
            path = write_zarr(data, tmp_path / "screen.zarr", STORES[source][0], dtypes, **options)
        else:
            data.write_h5ad(path := tmp_path / "screen.h5ad", **options)
            for name, dtype in (dtypes or {}).items():
                rewrite(path, name, dtype)
        return opened(source, path)

    return write


@pytest.mark.parametrize(("source", "layout", "dtype"), EVERY)
def test_every_number_type_layout_and_place(stored, source, layout, dtype):
    expected = plain(dtype)
    arrays = expected.X, expected.raw.X, expected.layers["counts"]
    if source in ("memory", "many", "dask"):
        chunked = in_chunks if source == "dask" else lambda x: x
        data = screen(*(chunked(matrix(x, layout, dtype)) for x in arrays))
        data.X = chunked(matrix(expected.X, layout, dtype))
        if source == "many":
            data = [data[:50], data[50:51], data[51:]]
    else:
        # AnnData neither writes half floats and foreign orders of sparse values, nor reads them
        # into memory, where it has the layers of a backed object.
        data = screen(*(LAYOUTS[layout](x) for x in arrays))
        native = np.dtype(dtype).isnative and not dtype.endswith("f2")
        dtypes = {
            place if layout == "dense" else f"{place}/data": dtype
            for place in PLACES
            if source != "backed" or layout == "dense" or native or "layers" not in place
        }
        data = stored(data, source, dtypes)
    for options in PLACES.values():
        conforms(data, expected, **options)
    assert pdex.de(data, "target", reference="ctrl", use_raw=True).height == 3 * N_RAW


WIDTHS = [f"{order}{kind}{size}" for order in "<>" for kind in "iu" for size in (2, 4, 8)]
WIDTHS += ["i1", "u1"]
PAIRS = [pair for width in WIDTHS for pair in ((width, "<i4"), ("<i4", width), (width, width))]


@pytest.mark.parametrize("layout", ["csr", "csc"])
@pytest.mark.parametrize("source", [*FILES, "zarr 2, path"])
@pytest.mark.parametrize(("indices", "indptr"), PAIRS)
def test_indices_and_indptr_of_every_width(stored, source, layout, indices, indptr):
    # 120 cells and at most 127 entries: every type holds them.
    x = np.zeros((N_CELLS, N_GENES))
    x.flat[np.random.default_rng(2).choice(x.size, 120, replace=False)] = np.arange(120) % 4 + 1
    data, expected = screen(LAYOUTS[layout](x), x), screen(x, x)
    if source == "memory":
        data.X.indices = data.X.indices.astype(indices)
        data.X.indptr = data.X.indptr.astype(indptr)
    else:
        data = stored(data, source, {"X/indices": indices, "X/indptr": indptr})
    options = {"reference": "ctrl", "is_log1p": False}
    same(pdex.de(data, "target", **options), pdex.de(expected, "target", **options))
    same(scanned(data), scanned(expected))


@pytest.mark.parametrize("place", PLACES)
def test_views_of_every_place(place):
    expected = plain()
    cells = np.arange(N_CELLS) % 3 > 0
    data = screen(*(sp.csr_matrix(x) for x in (expected.X, expected.raw.X)))
    data.layers["counts"] = sp.csc_matrix(expected.layers["counts"])
    view = data[cells]
    assert view.is_view
    conforms(view, expected[cells].copy(), **PLACES[place])


@pytest.mark.parametrize("source", SOURCES)
def test_genes_of_raw_are_those_of_raw(stored, source):
    data = expected = plain()
    if source != "memory":
        data = stored(expected, source)
    options = {"reference": "ctrl", "is_log1p": False, "use_raw": True}
    got = pdex.de(data, "target", genes=["r12", "r3"], **options)
    assert got["feature"].to_list() == ["r3", "r12"] * 3
    # The means by NumPy, from the matrix.
    x, target = counts(N_RAW), labels()
    for group, name, target_mean in got.select("target", "feature", "target_mean").iter_rows():
        want = x[target == group, int(name[1:])].mean()
        np.testing.assert_allclose(target_mean, want, rtol=1e-13)  # measured: 2e-16
    with pytest.raises(
        ValueError,
        match=r"raw\.var_names has no gene 'g1'\. Its 14 names: 'r0', 'r1', 'r2', 'r3', 'r4' and",
    ):
        pdex.de(data, "target", genes=["g1"], **options)


@pytest.mark.parametrize("call", [pdex.de, pdex.scan_anndata])
@pytest.mark.parametrize("source", SOURCES)
def test_raw_that_is_not_there_or_not_alone(stored, source, call):
    data = ad.AnnData(plain().X, plain().obs)
    data.layers["raw"] = data.X
    if source != "memory":
        data = stored(data, source)
    with pytest.raises(ValueError, match=r"has no raw: leave out use_raw"):
        call(data, "target", use_raw=True)
    with pytest.raises(ValueError, match=r"layer='raw' and use_raw=True.*choose one"):
        call(data, "target", use_raw=True, layer="raw")
    with pytest.raises(TypeError, match="use_raw must be True or False; got 'yes'"):
        call(data, "target", use_raw="yes")


# --- groups -------------------------------------------------------------------------------------


def some_missing(values, missing=None):
    return [missing if i % 5 == 0 else value for i, value in enumerate(values)]


def numbers():
    return [{"ctrl": 3, "a": 10, "b": 2, "c": 100}[label] for label in labels()]


def truths():
    return [label in ("ctrl", "a") for label in labels()]


def categorical(values, categories):
    return pd.Categorical(values, categories=categories)


NAMES = ["a", "b", "c", "ctrl"]
UNSORTED = ["unused", "c", "ctrl", "b", "a"]
NUMBERS = [2, 3, 10, 100]
# Column, the labels in order, and the reference.
COLUMNS = {
    "text": lambda: (pd.array(labels(), object), NAMES, "ctrl"),
    "text, missing": lambda: (pd.array(some_missing(labels()), object), NAMES, "ctrl"),
    "text, empty": lambda: (pd.array(some_missing(labels(), ""), object), NAMES, "ctrl"),
    "nullable text": lambda: (pd.array(labels(), "string"), NAMES, "ctrl"),
    "nullable text, missing": lambda: (pd.array(some_missing(labels()), "string"), NAMES, "ctrl"),
    "integers": lambda: (np.array(numbers(), np.int16), ["2", "3", "10", "100"], "3"),
    "unsigned": lambda: (np.array(numbers(), np.uint64), ["2", "3", "10", "100"], 3),
    "nullable integers": lambda: (pd.array(numbers(), "Int32"), ["2", "3", "10", "100"], "3"),
    "nullable integers, missing": lambda: (
        pd.array(some_missing(numbers()), "UInt8"),
        ["2", "3", "10", "100"],
        "3",
    ),
    "booleans": lambda: (np.array(truths()), ["False", "True"], "True"),
    "nullable booleans": lambda: (pd.array(truths(), "boolean"), ["False", "True"], True),
    "nullable booleans, missing": lambda: (
        pd.array(some_missing(truths()), "boolean"),
        ["False", "True"],
        "True",
    ),
    "categorical": lambda: (categorical(labels(), NAMES), NAMES, "ctrl"),
    "categorical, missing": lambda: (
        categorical(some_missing(labels()), UNSORTED),
        UNSORTED[1:],
        "ctrl",
    ),
    "categorical of integers": lambda: (
        categorical(some_missing(numbers()), NUMBERS),
        ["2", "3", "10", "100"],
        "3",
    ),
    "categorical of booleans": lambda: (
        categorical(some_missing(truths()), [True, False]),
        ["True", "False"],
        "True",
    ),
    "categorical of nullable text": lambda: (
        categorical(pd.array(some_missing(labels()), "string"), pd.array(UNSORTED, "string")),
        UNSORTED[1:],
        "ctrl",
    ),
}


def as_text(column, order):
    """The same groups as a categorical of text; empty labels are missing."""
    text = [None if pd.isna(value) or value == "" else str(value) for value in column]
    return pd.Categorical(text, categories=order)


@pytest.fixture
def nullable_strings():
    """anndata writes nullable strings when asked to."""
    with ad.settings.override(allow_write_nullable_strings=True):
        yield


@pytest.mark.parametrize("source", [*SOURCES, "read"])
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.usefixtures("nullable_strings")
def test_every_column_of_groups(tmp_path, stored, source, column):
    values, order, reference = COLUMNS[column]()
    x = counts()
    data = screen(sp.csr_matrix(x), x, target=values)
    expected = screen(x, x, target=as_text(values, order))
    if source != "memory":
        # AnnData has no form for text of which some is None but a categorical.
        convert = column == "text, missing"
        data = stored(data, source, convert_strings_to_categoricals=convert)
        data = ad.read_h5ad(tmp_path / "screen.h5ad") if source == "read" else data
    for one in (reference, "rest"):
        got = pdex.de(data, "target", reference=one)
        same(got, pdex.de(expected, "target", reference=str(one)))
        targets = got["target"].unique(maintain_order=True).to_list()
        assert targets == [label for label in order if one == "rest" or label != str(one)]
    same(scanned(data), scanned(expected))


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", ["object", "string", "category"])
@pytest.mark.usefixtures("nullable_strings")
def test_every_index_of_names(stored, source, kind):
    data, expected = plain(), plain()
    data.obs_names, data.var_names = (
        pd.Index(names.astype(kind)) for names in (data.obs_names, data.var_names)
    )
    if source != "memory":
        if kind == "category":
            data.obs_names, data.var_names = (
                names.astype(object) for names in (data.obs_names, data.var_names)
            )
        data = stored(data, source)
    conforms(data, expected)
    conforms(data, expected, use_raw=True)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("place", PLACES)
def test_gene_names_that_occur_twice(stored, source, place):
    names = ["x", "y", "x", "x", "z", "y", "u", "v", "w"]
    unique = ["x", "y", "x-1", "x-2", "z", "y-1", "u", "v", "w"]
    made = []
    for index in (names, unique):
        one = ad.AnnData(counts(), plain().obs, pd.DataFrame(index=index))
        one.layers["counts"] = counts()[::-1]
        one.raw = one
        made.append(one)
    data, expected = made
    if source != "memory":
        data = stored(data, source)
    options = PLACES[place]
    got = pdex.de(data, "target", reference="ctrl", **options)
    want = pdex.de(expected, "target", reference="ctrl", **options)
    assert got["feature"].to_list() == names * 3
    same(got.drop("feature"), want.drop("feature"))
    with pytest.warns(UserWarning, match=r"more than once.*-1, -2"):
        same(scanned(data, **options), scanned(expected, **options))


# --- files of older versions --------------------------------------------------------------------


def write_sparse(group, x, **attributes):
    for name in ("data", "indices", "indptr"):
        group[name] = getattr(x, name)
    group.attrs.update(attributes)


def write_07(path):
    """As anndata 0.7 wrote it: categories in a group beside the columns, found by a reference."""
    with h5py.File(path, "w") as file:
        names = {"X": counts(), "layers/counts": counts()[::-1], "raw/X": counts(N_RAW)}
        for name, x in names.items():
            attributes = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0"}
            write_sparse(file.create_group(name), sp.csr_matrix(x), shape=x.shape, **attributes)
        frames = {"obs": ("c", N_CELLS), "var": ("g", N_GENES), "raw/var": ("r", N_RAW)}
        for name, (letter, n) in frames.items():
            frame = file.create_group(name)
            frame["index"] = [f"{letter}{i}" for i in range(n)]
            order = ["target"] if name == "obs" else np.array([], "S1")
            frame.attrs.update({"_index": "index", "column-order": order})
            frame.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.1.0"})
        target = categorical(some_missing(labels()), NAMES)
        file["obs/__categories/target"] = NAMES
        file["obs/__categories/target"].attrs["ordered"] = False
        file["obs/target"] = target.codes
        file["obs/target"].attrs["categories"] = file["obs/__categories/target"].ref


def write_06(path):
    """As anndata 0.6 wrote it: frames as records, categories in uns, sparse arrays by h5sparse."""
    with h5py.File(path, "w") as file:
        write_sparse(
            file.create_group("X"),
            sp.csr_matrix(counts()),
            h5sparse_format="csr",
            h5sparse_shape=counts().shape,
        )
        file["layers/counts"] = counts()[::-1]
        write_sparse(
            file.create_group("raw.X"),
            sp.csc_matrix(counts(N_RAW)),
            h5sparse_format="csc",
            h5sparse_shape=counts(N_RAW).shape,
        )
        target = categorical(some_missing(labels()), NAMES)
        obs = np.zeros(N_CELLS, [("index", "S6"), ("target", "i1")])
        obs["index"], obs["target"] = [f"c{i}" for i in range(N_CELLS)], target.codes
        file["obs"] = obs
        for name, letter, n in (("var", "g", N_GENES), ("raw.var", "r", N_RAW)):
            file[name] = np.array([(f"{letter}{i}",) for i in range(n)], [("index", "S6")])
        file["uns/target_categories"] = np.array(NAMES, "S6")


@pytest.mark.parametrize("source", ["read", "backed", "path"])
@pytest.mark.parametrize("write", [write_07, write_06])
def test_files_of_older_versions(tmp_path, source, write):
    write(path := tmp_path / "old.h5ad")
    expected = plain()
    expected.obs["target"] = categorical(some_missing(labels()), NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ad.OldFormatWarning)
        data = ad.read_h5ad(path) if source == "read" else opened(source, path)
        for options in PLACES.values():
            conforms(data, expected, **options)
