"""On a cluster: options, labels and files that differ, and calls that follow each other."""

import importlib
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from pdex._cluster import collect, count, pool, run, test
from polars.testing import assert_frame_equal

dask = pytest.importorskip("dask", reason="engine='dask' needs Dask")
da = pytest.importorskip("dask.array", reason="engine='dask' needs Dask")
GENES = [f"g{i}" for i in range(9)]


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """Small tasks, one after the other, in an empty folder."""
    for module, name, value in (
        (count, "TASK", 3_000),
        (count, "BLOCKS", 3_000),
        (test, "GENES", 2),
        (collect, "ROWS", 11),
        (collect, "P_VALUES", 5),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.chdir(tmp_path)
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def plate(rng):
    """Makes a plate of cells, whose labels are those given in turn."""

    def made(labels, n=80, dtype=np.float32, **columns):
        x = sp.csr_matrix(rng.poisson(0.8, (n, len(GENES))).astype(dtype))
        obs = pd.DataFrame({"target": np.resize(np.array(labels), n), **columns})
        obs.index = [f"c{i}" for i in range(n)]
        return ad.AnnData(x, obs, pd.DataFrame(index=GENES))

    return made


def same(data, groupby="target", **question):
    expected = pdex.de(data, groupby, **question)
    got = pdex.de(data, groupby, engine="dask", **question)
    assert_frame_equal(got, expected, check_exact=True)
    lazy = pdex.sink_de(data, groupby, "out", engine="dask", **question)
    assert_frame_equal(lazy.collect(), expected, check_exact=True)
    assert pdex.describe("out") == pdex.describe(expected)
    return expected


def failure(function, *args, **kwargs):
    with pytest.raises((ValueError, TypeError, OSError)) as caught:
        function(*args, **kwargs)
    return type(caught.value), str(caught.value)


def fails_alike(data, groupby="target", **question):
    """The error is that of one machine."""
    expected = failure(pdex.de, data, groupby, **question)
    assert failure(pdex.de, data, groupby, engine="dask", **question) == expected
    return expected


@pytest.mark.parametrize("kind", ["numbers", "categories"])
def test_labels_of_two_types(plate, kind):
    a, b = plate([0, 1, 2]), plate([0.0, 1.0, np.nan, 2.0])
    if kind == "categories":
        for one in (a, b):
            one.obs["target"] = one.obs["target"].astype("category")
    for one, name in ((a, "a.h5ad"), (b, "b.h5ad")):
        one.obs["batch"] = np.resize(["x", "y", "y"], 80)
        one.write_h5ad(name)
    labels = pdex.de(["a.h5ad", "b.h5ad"], "target", reference="rest")["target"]
    assert same(["a.h5ad", "b.h5ad"], reference=str(labels[0])).height
    same(["a.h5ad", "b.h5ad"], reference="rest")
    same(["a.h5ad", "b.h5ad"], "batch", reference="x", strata="target", fdr="all")
    columns = ["target", "batch"]
    made = pdex.tabulate(["a.h5ad", "b.h5ad"], columns, output="a.tables", engine="dask")
    assert_frame_equal(
        made.scan().collect(),
        pdex.tabulate(["a.h5ad", "b.h5ad"], columns, output="b.tables").scan().collect(),
    )


def test_values_of_two_types(plate):
    plate(["ctrl", "a"], dtype=np.int8).write_h5ad("a.h5ad")
    plate(["ctrl", "b"], dtype=np.uint16).write_h5ad("b.h5ad")
    same(["a.h5ad", "b.h5ad"], reference="ctrl")
    for name, engine in (("a.tables", "dask"), ("b.tables", None)):
        pdex.tabulate(["a.h5ad", "b.h5ad"], "target", output=name, engine=engine)
    got, expected = (pdex.Tables(name).scan().collect() for name in ("a.tables", "b.tables"))
    assert_frame_equal(got, expected)
    assert got["value"].dtype == pl.Int32
    # A number that the type of both together cannot hold.
    large = plate(["ctrl", "a"], dtype=np.int64)
    large.X.data[3] = 2**53 + 1
    large.write_h5ad("a.h5ad")
    plate(["ctrl", "b"], dtype=np.float32).write_h5ad("b.h5ad")
    kind, _ = failure(pdex.de, ["a.h5ad", "b.h5ad"], "target", reference="ctrl")
    got, said = failure(pdex.de, ["a.h5ad", "b.h5ad"], "target", reference="ctrl", engine="dask")
    assert got is kind is ValueError
    assert "a.h5ad: X has values that Float64, the type of all sources together, rounds" in said


def test_conditions_on_all_cells(plate):
    for name, least in (("a.h5ad", 0), ("b.h5ad", 40)):
        plate(["ctrl", "a", "b"], depth=np.arange(least, least + 80)).write_h5ad(name)
    same(["a.h5ad", "b.h5ad"], reference="ctrl", where=pl.col("depth") > pl.col("depth").median())
    chosen = pl.Series("chosen", list(range(50, 120)))
    same(["a.h5ad", "b.h5ad"], reference="ctrl", where=pl.col("depth").is_in(chosen.implode()))


@pytest.mark.parametrize("names", ["index", "symbols"])
def test_a_nan_is_named_as_on_one_machine(plate, names):
    for i in range(2):
        one = plate(["ctrl", "a", "b"], batch=np.resize(["x", "y"], 80))
        one.var["symbol"] = [f"s{i}" for i in range(9)]
        one.obs_names = [f"{i}_{name}" for name in one.obs_names]
        if i:
            one.X = one.X.toarray()
            one.X[34, 7] = np.nan
            one.X = sp.csr_matrix(one.X)
        one.write_h5ad(f"{i}.h5ad")
    question = {"gene_names": "symbol"} if names == "symbols" else {}
    kind, said = fails_alike(["0.h5ad", "1.h5ad"], reference="ctrl", **question)
    gene = "s7" if names == "symbols" else "g7"
    assert kind is ValueError
    assert f"1.h5ad: X contains NaN (cell '1_c34', row 34; gene '{gene}', column 7)" in said
    # Cells that take no part may be NaN.
    same(["0.h5ad", "1.h5ad"], reference="ctrl", groups=["b"], exclude=["a"])
    lazy = ad.read_h5ad("1.h5ad")
    lazy.X = da.from_array(lazy.X.toarray(), chunks=(20, 4))
    got, said = failure(pdex.de, lazy, "target", reference="ctrl", engine="dask")
    assert (got, said) == (ValueError, "X contains NaN (row 34; gene 'g7', column 7). Fill or drop "
                           "missing values first")  # fmt: skip


def test_genes_that_are_not_shared(plate):
    one = plate(["ctrl", "a"])
    one.write_h5ad("a.h5ad")
    other = plate(["ctrl", "b"])
    other.var_names = ["d", "d", *reversed(GENES[2:])]
    other.write_h5ad("b.h5ad")
    same(["a.h5ad", "b.h5ad"], reference="ctrl", join="inner")


def test_no_genes(plate):
    plate(["ctrl", "a"]).write_h5ad("a.h5ad")
    assert same("a.h5ad", reference="ctrl", genes=[], fdr="all").height == 0


def test_iterators_and_numbers_of_numpy(plate):
    plate(["ctrl", "a", "b", "c"]).write_h5ad("a.h5ad")
    expected = pdex.de("a.h5ad", "target", reference=["ctrl", "b"], exclude=["c"], min_cells=9)
    question = {"min_cells": np.int64(9)}
    names = {"reference": iter(["ctrl", "b"]), "exclude": iter(["c"]), "groups": iter(["a"])}
    got = pdex.de("a.h5ad", "target", engine="dask", **question, **names)
    assert_frame_equal(got, expected, check_exact=True)
    names = {"reference": iter(["ctrl", "b"]), "exclude": iter(["c"])}
    got = pdex.sink_de("a.h5ad", "target", "de.parquet", **question, **names)
    assert pdex.describe("de.parquet") == pdex.describe(expected)


def test_single_cells_that_only_some_files_have(plate):
    for name, labels in (("a.h5ad", ["ctrl", "a"]), ("b.h5ad", ["a", "b"])):
        plate(labels).write_h5ad(name)
    files, question = ["a.h5ad", "b.h5ad"], {"single_cells": "ctrl"}
    a, b = (
        pdex.tabulate(files, "target", output=f"{engine}.tables", engine=engine, **question)
        for engine in ("dask", None)
    )
    assert_frame_equal(a.labels, b.labels)
    assert_frame_equal(a.scan().collect(), b.scan().collect())


def test_backed_data_and_groups_of_zarr(plate, write_zarr):
    data = plate(["ctrl", "a", "b"])
    data.write_h5ad("a.h5ad")
    expected = pdex.de(data, "target", reference="ctrl")
    backed = ad.read_h5ad("a.h5ad", backed="r")
    # Labels are those of the object, not of its file.
    backed.obs["other"] = backed.obs["target"].to_numpy()[::-1]
    question = {"reference": "ctrl", "engine": "dask"}
    assert_frame_equal(pdex.de(backed, "target", **question), expected, check_exact=True)
    got, want = (pdex.de(backed, "other", reference="ctrl", engine=e) for e in ("dask", None))
    assert_frame_equal(got, want, check_exact=True)
    backed.file.close()
    zarr = pytest.importorskip("zarr", "3.1", reason="Zarr stores need zarr-python 3.1")
    group = zarr.open_group(write_zarr(data, "a.zarr"), mode="r")
    assert_frame_equal(pdex.de(group, "target", **question), expected, check_exact=True)


def test_what_cannot_run(plate):
    data = plate(["ctrl", "a"])
    ask = {"reference": "ctrl", "engine": "dask"}
    with pytest.raises(TypeError, match="AnnData in memory is an object of this process, which"):
        pdex.de(data, "target", **ask)
    data.write_h5ad("a.h5ad")
    with pytest.raises(TypeError, match=r"data\[1\] in memory is an object of this process"):
        pdex.de(["a.h5ad", data], "target", **ask)
    with pytest.raises(ValueError, match="engine must be one of 'dask'; got 'dsk'"):
        pdex.de("a.h5ad", "target", engine="dsk")
    with pytest.raises(ValueError, match="part= and engine='dask' exclude each other"):
        pdex.sink_de("a.h5ad", "target", "out", part=(1, 2), **ask)
    with pytest.raises(ValueError, match="part= and engine='dask' exclude each other"):
        pdex.tabulate("a.h5ad", "target", output="a.tables", part=(1, 2), engine="dask")
    with pytest.raises(ValueError, match=r"'x\.parquet': engine='dask' writes a folder of Parquet"):
        pdex.sink_de("a.h5ad", "target", "x.parquet", **ask)
    with pytest.raises(FileNotFoundError, match="'none/out': there is no folder"):
        pdex.sink_de("a.h5ad", "target", "none/out", **ask)
    os.mkdir("full")
    shutil.copy("a.h5ad", "full")
    with pytest.raises(FileExistsError, match="'full' exists and is not a result of pdex"):
        pdex.sink_de("a.h5ad", "target", "full", **ask)
    with dask.config.set(scheduler=None), pytest.raises(ValueError, match="there is none: connect"):
        pdex.de("a.h5ad", "target", **ask)
    with pytest.raises(KeyError, match=r"obs has no column 'targt'\. Did you mean 'target'"):
        pdex.sink_de("a.h5ad", "targt", "out", **ask)
    assert sorted(os.listdir()) == ["a.h5ad", "full"]


def test_a_link_stays_a_link(plate):
    plate(["ctrl", "a"]).write_h5ad("a.h5ad")
    os.mkdir("there")
    os.symlink("there", "out")
    same("a.h5ad", reference="ctrl")
    assert os.path.islink("out")
    assert "result.json" in os.listdir("there")


@pytest.fixture
def stopped(monkeypatch):
    """Runs a call whose last kind of task fails, so that its files stay."""

    def stop(function, *args, at, **kwargs):
        def fail(*_):
            raise OSError("stopped")

        with monkeypatch.context() as patch:
            patch.setattr(*at, fail)
            with pytest.raises(OSError, match="stopped"):
                function(*args, engine="dask", **kwargs)

    return stop


def test_the_same_call_goes_on(plate, stopped, monkeypatch):
    plate(["ctrl", "a", "b"]).write_h5ad("a.h5ad")
    question = {"reference": "ctrl", "fdr": "all"}
    stopped(pdex.sink_de, "a.h5ad", "target", "out", at=(run, "write_result"), **question)
    assert sorted(os.listdir()) == [".out.work", "a.h5ad"]
    done = []
    monkeypatch.setattr(count, "write_table", lambda *_: done.append("count"))
    monkeypatch.setattr(test, "write_share", lambda *_: done.append("test"))
    lazy = pdex.sink_de("a.h5ad", "target", "out", engine="dask", **question)
    assert_frame_equal(lazy.collect(), pdex.de("a.h5ad", "target", **question), check_exact=True)
    assert done == []
    assert sorted(os.listdir()) == ["a.h5ad", "out"]


@pytest.mark.parametrize("change", ["file", "where", "cells of a text", "genes", "columns"])
def test_another_call_does_not_go_on(plate, stopped, change):
    """Halves of the same size, so that only which cells they are tells them apart."""
    halves = np.repeat(["x", "y"], 40)
    data = plate(["ctrl", "a"], batch=halves, number=np.arange(80))
    data.write_h5ad("a.h5ad")
    first = {"reference": "ctrl", "fdr": "all", "where": "batch = 'x'"}
    then = dict(first)
    if change == "where":
        then["where"] = "batch = 'y'"
    elif change == "cells of a text":  # an expression that is not shown in full
        first["where"] = pl.col("number").is_in(list(range(40)))
        then["where"] = pl.col("number").is_in(list(range(40, 80)))
    elif change == "genes":
        then["genes"] = ["g7", "g8"]
        first["genes"] = ["g1", "g2"]
    stopped(pdex.sink_de, "a.h5ad", "target", "out", at=(run, "write_result"), **first)
    if change == "file":
        data.X.data += 1
        data.write_h5ad("a.h5ad")
    groupby = "batch" if change == "columns" else "target"
    if change == "columns":
        then = {"reference": "x"}
    expected = pdex.de("a.h5ad", groupby, **then)
    got = pdex.sink_de("a.h5ad", groupby, "out", engine="dask", **then).collect()
    assert_frame_equal(got, expected, check_exact=True)


def test_count_tables_of_another_condition(plate, stopped):
    plate(["ctrl", "a"], batch=np.repeat(["x", "y"], 40)).write_h5ad("a.h5ad")
    tables = pdex.tabulate("a.h5ad", ["target", "batch"], output="a.tables")
    options = {"output": "b.tables"}
    ask = (pdex.tabulate, tables, "target")
    stopped(*ask, at=(run, "assemble"), where="batch = 'x'", **options)
    got = pdex.tabulate(tables, "target", where="batch = 'y'", engine="dask", **options)
    expected = pdex.tabulate(tables, "target", where="batch = 'y'", output="c.tables")
    assert_frame_equal(got.scan().collect(), expected.scan().collect())
    stopped(pdex.sink_de, tables, "target", "out", at=(run, "write_result"), reference="ctrl",
            where="batch = 'x'")  # fmt: skip
    question = {"reference": "ctrl", "where": "batch = 'y'"}
    got = pdex.sink_de(tables, "target", "out", engine="dask", **question).collect()
    assert_frame_equal(got, pdex.de(tables, "target", **question), check_exact=True)


def test_shares_of_two_conditions(plate):
    plate(["ctrl", "a"], number=np.arange(80)).write_h5ad("a.h5ad")
    for part, least in ((1, 0), (2, 40)):
        where = pl.col("number").is_in(list(range(least, least + 40)))
        question = {"reference": "ctrl", "where": where}
        pdex.sink_de("a.h5ad", "target", "shares", part=(part, 2), **question)
    with pytest.raises(ValueError, match="is the share of another result"):
        pdex.collect("shares", "de.parquet")


def test_a_store_that_changed_in_place(plate, stopped, write_zarr):
    zarr = pytest.importorskip("zarr", "3.1", reason="Zarr stores need zarr-python 3.1")
    path = str(write_zarr(plate(["ctrl", "a"]), "a.zarr"))
    stopped(pdex.sink_de, path, "target", "out", at=(run, "write_result"), reference="ctrl")
    data = zarr.open_group(path, mode="r+")["X/data"]
    data[...] = data[...] + 1
    expected = pdex.de(path, "target", reference="ctrl")
    got = pdex.sink_de(path, "target", "out", reference="ctrl", engine="dask").collect()
    assert_frame_equal(got, expected, check_exact=True)


def test_a_file_that_workers_see_another_of(plate, monkeypatch):
    plate(["ctrl", "a"]).write_h5ad("a.h5ad")
    plate(["ctrl", "b"]).write_h5ad("b.h5ad")
    perform = pool.perform

    def replaced(call, *inputs):
        shutil.copy("b.h5ad", "a.h5ad")
        return perform(call, *inputs)

    monkeypatch.setattr(pool, "perform", replaced)
    with pytest.raises(ValueError, match=r"a\.h5ad has changed since it was opened: start again"):
        pdex.de("a.h5ad", "target", reference="ctrl", engine="dask")


@pytest.mark.parametrize(
    ("at", "problem"),
    [
        (0, "its index does not ascend"),
        (-9, "they cannot be decompressed, or their checksum differs"),
        (None, "it is too short"),
    ],
)
def test_counts_that_are_damaged(plate, stopped, at, problem):
    plate(["ctrl", "a"]).write_h5ad("a.h5ad")
    stopped(pdex.sink_de, "a.h5ad", "target", "out", at=(test, "write_share"), reference="ctrl")
    (path,) = Path(".out.work/counts").iterdir()
    whole = path.read_bytes()
    if at is None:
        path.write_bytes(whole[:30])
    elif at:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    else:
        path.write_bytes(whole[:24] + whole[40:56] + whole[24:40] + whole[56:])
    ask = {"reference": "ctrl", "engine": "dask"}
    with pytest.raises(ValueError, match=rf"{path.name} is damaged: .*{problem}.* Delete the"):
        pdex.sink_de("a.h5ad", "target", "out", **ask)
    shutil.rmtree(".out.work")
    got = pdex.sink_de("a.h5ad", "target", "out", **ask).collect()
    expected = pdex.de("a.h5ad", "target", reference="ctrl")
    assert_frame_equal(got, expected, check_exact=True)


def test_tables_are_the_same_bytes_whatever_the_threads(plate, monkeypatch):
    monkeypatch.setattr("pdex._io.tables.ROWS", 40)
    data = plate(["ctrl", "a", "b"], n=300)
    found = []
    for threads in (1, 2):
        made = pdex.tabulate(data, "target", output=f"{threads}.tables", threads=threads)
        parts = made._table.manifest.parts
        found.append([(part.first_gene, part.genes, part.sha256) for part in parts])
    assert found[0] == found[1]
    assert len(found[0]) > 2


def test_a_worker_of_one_call_is_told_its_memory(monkeypatch):
    """A third of the worker's limit, at least what a file needs and at most 1 GB."""
    found = []
    for limit in (None, 0, 200_000_000, 1_500_000_000, 10**12):
        state, memory = SimpleNamespace(nthreads=1), SimpleNamespace(memory_limit=limit)
        worker = SimpleNamespace(state=state, memory_manager=memory)
        monkeypatch.setattr(pool, "_worker", lambda worker=worker: worker)
        found.append(pool._resources(pool.Call(print, None, "", None, None)).memory)
    assert found == [10**9, 10**9, 10**8, 5 * 10**8, 10**9]
    asked = pool._resources(pool.Call(print, None, "", None, "2GB"))
    assert (asked.memory, asked.threads) == (2 * 10**9, 1)


def test_a_report_of_a_result_in_a_folder(plate):
    pytest.importorskip("altair", reason="pictures need the extra plots")
    plate(["ctrl", "a", "b"]).write_h5ad("a.h5ad")
    lazy = pdex.sink_de("a.h5ad", "target", "out", reference="ctrl", engine="dask")
    assert len(os.listdir("out")) > 2
    read = importlib.import_module("pdex._plotting.files").read
    assert_frame_equal(read("out"), lazy.collect(), check_exact=True)
    assert "g8" in pdex.report("out", "de.html").read_text()
    with open("out/result.json", "w") as file:
        file.write("{}")
    with pytest.raises(ValueError, match="out cannot be read as a result"):
        pdex.report("out", "de.html")
