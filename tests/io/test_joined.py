"""Several count tables as one: they add up, and give the bits of the screens they count."""

import shutil
from itertools import pairwise

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdex._io import joined, tables
from polars.testing import assert_frame_equal

N_GENES = 9
TESTS = ("wilcoxon", "anderson", "ttest", "ks")


def screen(rng, n, kind="counts"):
    x = rng.poisson(0.8, (n, N_GENES)).astype(np.float32)
    if kind == "log":
        x = np.log1p(x / np.maximum(x.sum(1, keepdims=True), 1) * 1e4, dtype=np.float32)
    labels = rng.choice(["ctrl", "a", "b", "c", ""], n, p=[0.4, 0.2, 0.2, 0.15, 0.05])
    obs = pd.DataFrame({"target": labels, "batch": rng.choice(["x", "y"], n)})
    obs.index = [f"c{i}" for i in range(n)]
    return ad.AnnData(sp.csr_matrix(x), obs, pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))


def pieces(data, cuts):
    bounds = [0, *sorted(cuts), data.n_obs]
    return [data[a:b].copy() for a, b in pairwise(bounds)]


def tabulated(parts, folder, columns=("target", "batch"), **options):
    made = [
        pdex.tabulate(part, columns, output=folder / f"{i}.tables", **options)
        for i, part in enumerate(parts)
    ]
    return [one.path for one in made]


def same(a, b):
    """Targets of several sources come in another order than those of one."""
    order = ["target", "feature"]
    a, b = (one.with_columns(pdex_text(one)).sort(order) for one in (a, b))
    assert_frame_equal(a, b, check_exact=True)


def pdex_text(frame):
    return [frame[name].cast(str) for name in ("target", "feature")]


@pytest.fixture(params=[1 << 20, 40, 7], ids="{} rows".format)
def small(request, monkeypatch):
    """Parts, and pieces of several tables, of few rows; few parts held."""
    monkeypatch.setattr(tables, "ROWS", request.param)
    monkeypatch.setattr(joined, "ROWS", request.param)
    if request.param < 1 << 20:
        monkeypatch.setattr(joined, "_ROW", 1 << 26)


@pytest.mark.parametrize("kind", ["counts", "log"])
def test_tables_of_parts_give_the_bits_of_the_screen(rng, tmp_path, kind, small):
    data = screen(rng, 400, kind)
    paths = tabulated(pieces(data, [90, 130, 300]), tmp_path)
    for test in TESTS:
        for reference in ("ctrl", "rest", ["a", "b"]):
            question = {"test": test, "reference": reference, "is_log1p": kind == "log"}
            same(pdex.de(paths, "target", **question), pdex.de(data, "target", **question))
    question = {"reference": "ctrl", "is_log1p": kind == "log", "strata": "batch", "fdr": "all"}
    same(pdex.de(paths, "target", **question), pdex.de(data, "target", **question))
    question = {"where": "batch = 'x'", "genes": ["g1", "g7"], "groups": ["a"], "is_log1p": False}
    expected = pdex.de(data, "target", reference="ctrl", **question)
    same(pdex.de(paths, "target", reference="ctrl", **question), expected)
    sink = pdex.sink_de(paths, "target", tmp_path / "de.parquet", reference="ctrl", is_log1p=False)
    same(sink.collect(), pdex.de(data, "target", reference="ctrl", is_log1p=False))


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(1, 119), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_any_split_adds_up(tmp_path_factory, cuts, seed):
    folder = tmp_path_factory.mktemp("split")
    data = screen(np.random.default_rng(seed), 120)
    # A part in which no cell has a label is no table.
    parts = [p for p in pieces(data, set(cuts)) if (p.obs["target"] != "").any()]
    if len(parts) < 2:
        return
    paths = tabulated(parts, folder, ["target"])
    same(pdex.de(paths, "target", reference="rest"), pdex.de(data, "target", reference="rest"))
    merged = pdex.tabulate(paths, "target", output=folder / "merged.tables")
    whole = pdex.tabulate(data, "target", output=folder / "whole.tables")
    key = ["gene", "target", "value"]
    a, b = (one.scan().collect().cast({"target": str}).sort(key) for one in (merged, whole))
    assert_frame_equal(a, b, check_exact=True)
    assert pdex.info(merged).n_cells == pdex.info(whole).n_cells


def test_scaled_counts_add_up(rng, tmp_path):
    data = screen(rng, 300)
    paths = tabulated(pieces(data, [140]), tmp_path, normalize=1e4)
    for test in TESTS:
        expected = pdex.de(data, "target", reference="ctrl", test=test, normalize=1e4)
        same(pdex.de(paths, "target", reference="ctrl", test=test), expected)


def test_what_made_it_is_remembered(rng, tmp_path):
    paths = tabulated(pieces(screen(rng, 100), [50]), tmp_path)
    result = pdex.de(paths, "target", reference="ctrl")
    assert pdex.describe(result).source == [str(path) for path in paths]
    merged = pdex.tabulate([*paths], "target", output=tmp_path / "merged.tables")
    assert pdex.info(merged).tables["sources"] == [{"path": None}, {"path": None}]


def test_numbers_of_several_types_become_one(rng, tmp_path):
    data = screen(rng, 100)
    parts = pieces(data, [50])
    parts[0].X = parts[0].X.astype(np.uint8)
    paths = tabulated(parts, tmp_path)
    same(pdex.de(paths, "target", reference="ctrl"), pdex.de(data, "target", reference="ctrl"))


def test_tables_that_cannot_be_added_are_named(rng, tmp_path):
    one, other = pieces(screen(rng, 100), [50])

    def refused(words, first=None, second=None, error=ValueError):
        options = ({}, {}) if first is None else (first, second)
        pair = [
            pdex.tabulate(part, "target", output=tmp_path / f"{name}.tables", **how).path
            for part, name, how in zip((one, other), "ab", options, strict=True)
        ]
        with pytest.raises(error, match=words):
            pdex.de(pair, "target", reference="ctrl")

    words = r"b\.tables does not .* of .*a\.tables .*: it has 2, not 9"
    refused(words, {}, {"genes": ["g0", "g1"]})
    words = r"its gene 1 is 'g1', not 'g0'\. Tabulate both with the same genes="
    refused(words, {"genes": ["g0"]}, {"genes": ["g1"]})
    words = r"a\.tables holds counts as they are, and .*b\.tables counts scaled to 10000\.0"
    refused(words, {}, {"normalize": 1e4})
    refused("each scaled to a median of its own", {"normalize": "median"}, {"normalize": "median"})
    other.X = other.X.astype(np.float32) / 3
    refused(r"a\.tables holds whole numbers, as counts are, and .*b\.tables does not")
    one.X, one.uns["log1p"] = one.X / 3, {"base": 2}
    refused("are to other bases: '2.0', 'e \\(or not recorded\\)'")
    path = str(tmp_path / "a.tables")
    with pytest.raises(ValueError, match=r"names '.*a\.tables' twice"):
        pdex.de([path, path], "target")
    with pytest.raises(ValueError, match="count tables of X alone: leave out layer"):
        pdex.de([path, str(tmp_path / "b.tables")], "target", layer="counts")
    for mixed in ([path, one], [one, path], [one, path, str(tmp_path / "b.tables")]):
        with pytest.raises(TypeError, match=r"a\.tables holds count tables: name screens alone"):
            pdex.de(mixed, "target")


@pytest.mark.parametrize("stored", ["csr", "csc", "dense", "many", "zarr", "dask", "memory"])
@pytest.mark.parametrize(("n", "fits"), [(2, True), (5, True), (5, False)])
def test_parts_of_the_cells_add_up(rng, tmp_path, monkeypatch, stored, n, fits):
    """Where a part does not fit into memory, its rows go by way of a file."""
    data = screen(rng, 400)
    read, read_cells = [], pdex._io.source.Source.some_cells

    def spy(*args):
        read.append(read_cells(*args) if fits else None)
        return read[-1]

    monkeypatch.setattr(pdex._io.source.Source, "some_cells", spy)
    source = data
    if stored == "many":
        source = [tmp_path / f"{i}.h5ad" for i in range(3)]
        for path, piece in zip(source, pieces(data, [90, 250]), strict=True):
            piece.write_h5ad(path)
    elif stored == "zarr":
        data.write_zarr(source := tmp_path / "x.zarr")
    elif stored == "dask":
        dask = pytest.importorskip("dask.array")
        source = data.copy()
        source.X = dask.from_array(data.X.toarray(), chunks=(64, 4))
    elif stored != "memory":
        kinds = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": lambda x: x.toarray()}
        data.X = kinds[stored](data.X)
        data.write_h5ad(source := tmp_path / "x.h5ad")
    paths = []
    for i in range(n, 0, -1):
        made = pdex.tabulate(source, ["target"], output=tmp_path / f"{i}.tables", part=(i, n))
        paths.append(made.path)
        start = 400 * (i - 1) // n
        labels = data.obs["target"][start : 400 * i // n]
        if fits and stored in ("csr", "dense", "zarr"):
            # Empty labels at the ends of a part are not read.
            assert start <= read[-1][0] < start + 10
            assert abs(read[-1][1].shape[0] - 400 // n) < 20
        assert pdex.info(made).n_cells == (labels != "").sum()
    same(pdex.de(paths, "target", reference="rest"), pdex.de(data, "target", reference="rest"))
    merged = pdex.tabulate(paths, "target", output=tmp_path / "merged.tables")
    same(pdex.de(merged, "target", reference="rest"), pdex.de(data, "target", reference="rest"))
    for some, words in ((paths[1:], f"of {n} of a screen, without {n}"), (paths[:1], "without 1")):
        with pytest.raises(ValueError, match=words):
            pdex.de(some, "target")


def test_a_part_reads_its_own_cells(rng, tmp_path, monkeypatch):
    data = screen(rng, 400)
    data.write_h5ad(path := tmp_path / "x.h5ad")
    read, window = [], pdex._io.h5.Array.read

    def spy(array, rows, columns=(0, 1)):
        read.append((array._node.name, *rows))
        return window(array, rows, columns)

    monkeypatch.setattr(pdex._io.h5.Array, "read", spy)
    pdex.tabulate(path, "target", output=tmp_path / "3.tables", part=(3, 4))
    spans = [rows for name, *rows in read if name == "/X/data"]
    a, b = data.X.indptr[200], data.X.indptr[300]
    # Beside the first values, which say what kind they are.
    assert [a, b] in spans
    assert all(rows[0] == 0 or (a <= rows[0] and rows[1] <= b) for rows in spans)


def test_parts_that_do_not_fit_are_named(rng, tmp_path):
    data = screen(rng, 90)
    made = [
        pdex.tabulate(data, "target", output=tmp_path / f"{i}-{n}.tables", part=(i, n)).path
        for i, n in ((1, 2), (2, 2), (1, 3))
    ]
    with pytest.raises(ValueError, match="hold parts of different screens"):
        pdex.de(made, "target")
    whole = pdex.tabulate(data, "target", output=tmp_path / "whole.tables")
    with pytest.raises(ValueError, match="hold parts of different screens"):
        pdex.de([made[0], whole], "target")
    again = shutil.copytree(made[1], tmp_path / "again.tables")
    with pytest.raises(ValueError, match="hold a part twice"):
        pdex.de([*made[:2], again], "target")
    words = r"normalize='median': the median of one part"
    with pytest.raises(ValueError, match=words):
        pdex.tabulate(data, "target", output=made[0], part=(1, 2), normalize="median")
    with pytest.raises(TypeError, match="holds count tables, which part= does not take"):
        pdex.tabulate(whole, "target", output=tmp_path / "x.tables", part=(1, 2))
    with pytest.raises(ValueError, match=r"part must be two whole numbers such as \(3, 64\)"):
        pdex.tabulate(data, "target", output=tmp_path / "x.tables", part=(3, 2))
