"""On a cluster: the bits of one machine, whatever the files, chunks and cuts."""

import os
import warnings
from itertools import pairwise

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdex._cluster import collect, count, exchange, pool, test
from polars.testing import assert_frame_equal

dask = pytest.importorskip("dask", reason="engine='dask' needs Dask")
da = pytest.importorskip("dask.array", reason="engine='dask' needs Dask")
SETTINGS = settings(
    deadline=None, suppress_health_check=list(HealthCheck), max_examples=40, derandomize=True
)
QUESTIONS = {
    "wilcoxon": {},
    "pooled": {"reference": ["ctrl", "b"], "auroc": True, "test": "ttest"},
    "rest": {"reference": "rest", "exclude": ["a"]},
    "conditional": {"method": "conditional", "fdr": "all"},
    "anderson": {"test": "anderson", "reference": "rest"},
    "right": {"test": "anderson", "midrank": False, "mean": "geometric"},
    "ks": {"test": "ks", "alternative": "less", "fdr": "all"},
    "welch": {"test": "ttest", "equal_var": False, "mean": "geometric", "fdr": "all"},
    "permutation": {"test": "ttest", "method": "permutation"},
    "strata": {"strata": "batch"},
    "strata of the rest": {"strata": "number", "reference": "rest", "fdr": "all"},
    "cells": {"where": pl.col("number") > 0, "min_cells": 5},
    "text": {"where": "batch = 'x' OR number = 2"},
    "genes": {"genes": ["g2", "g0"], "groups": ["b", "c"], "gene_names": "symbol"},
    "scaled": {"normalize": 1e3, "test": "anderson"},
    "median": {"normalize": "median", "log1p": False},
    "median of some": {"normalize": "median", "where": "number > 0", "test": "ttest"},
    "layer": {"layer": "other"},
    "raw": {"use_raw": True, "fdr": "all"},
}
FORMATS = ("csr", "csc", "dense", "gzip", "zarr")


def screen(rng, n, genes, kind):
    x = rng.poisson(0.9, (n, genes)).astype(rng.choice([np.float32, np.int32]))
    if kind == "log":
        x = np.log1p(x / np.maximum(x.sum(1, keepdims=True), 1) * 1e4, dtype=np.float32)
    labels = rng.choice(["ctrl", "a", "b", "c", ""], n, p=[0.4, 0.2, 0.2, 0.15, 0.05])
    labels[:5] = ["ctrl", "b", "ctrl", "b", "c"]
    obs = pd.DataFrame({"target": labels, "batch": rng.choice(["x", "y"], n)})
    obs["number"] = rng.integers(0, 3, n)
    obs.loc[:4, "batch"], obs.loc[:4, "number"] = "x", 1
    obs.index = [f"c{i}" for i in range(n)]
    var = pd.DataFrame(index=[f"i{g}" for g in range(genes)])
    var["symbol"] = [f"g{g}" for g in range(genes)]
    data = ad.AnnData(sp.csr_matrix(x), obs, var)
    data.layers["other"] = sp.csr_matrix(x[:, ::-1])
    data.raw = ad.AnnData(sp.csr_matrix(x * 2), obs, var)
    return data


def write(data, path, kind, writer):
    data = data.copy()
    if kind == "dense":
        data.X = data.X.toarray()
    elif kind == "csc":
        data.X = data.X.tocsc()
    if kind == "zarr":
        return str(writer(data, f"{path}.zarr", "3"))
    data.write_h5ad(f"{path}.h5ad", compression="gzip" if kind == "gzip" else None)
    return f"{path}.h5ad"


@pytest.fixture
def small(monkeypatch):
    """Sets how much a task does: bytes of cells, genes, rows of the result, p-values, of counts."""

    def set_to(task, genes, rows, p_values, counts=1 << 22):
        monkeypatch.setattr(count, "TASK", task)
        monkeypatch.setattr(count, "BLOCKS", task)
        monkeypatch.setattr(test, "GENES", genes)
        monkeypatch.setattr(collect, "ROWS", rows)
        monkeypatch.setattr(collect, "P_VALUES", p_values)
        monkeypatch.setattr(collect, "_SAMPLES", 16)
        # Rows of a part of the counts, and how many are in memory at once.
        monkeypatch.setattr(exchange, "PART", counts)
        monkeypatch.setattr(exchange, "_ROW", max(16, 10**9 // counts))

    return set_to


@pytest.fixture
def here():
    """Tasks run in this thread, one after the other."""
    with dask.config.set(scheduler="synchronous"), warnings.catch_warnings():
        warnings.simplefilter("ignore", pdex.exceptions.PdexWarning)
        yield


def same(data, folder, question):
    """The table in memory, that in a folder, and its description are those of one machine."""
    expected = pdex.de(data, "target", **question)
    got = pdex.de(data, "target", engine="dask", **question)
    assert_frame_equal(got, expected, check_exact=True)
    lazy = pdex.sink_de(data, "target", folder / "out", engine="dask", **question)
    assert_frame_equal(lazy.collect(), expected, check_exact=True)
    assert pdex.describe(folder / "out") == pdex.describe(lazy) == pdex.describe(expected)
    return expected


@pytest.mark.usefixtures("here")
@SETTINGS
@given(draw=st.data())
def test_any_files_and_cuts(draw, tmp_path_factory, small, write_zarr, monkeypatch):
    numbers = np.random.default_rng(draw.draw(st.integers(0, 2**32 - 1)))
    n, genes = draw.draw(st.integers(12, 90)), draw.draw(st.integers(3, 9))
    kind = draw.draw(st.sampled_from(["counts", "log"]))
    question = dict(QUESTIONS[draw.draw(st.sampled_from(sorted(QUESTIONS)))])
    if kind == "log":
        question.pop("normalize", None)
        question.pop("log1p", None)
    if "gene_names" not in question:
        question.pop("genes", None)
    question = {"reference": "ctrl", "is_log1p": kind == "log"} | question
    if "normalize" in question:
        del question["is_log1p"]
    small(
        draw.draw(st.sampled_from([400, 2_000, 1 << 29])),
        draw.draw(st.sampled_from([1, 2, 5, 256])),
        draw.draw(st.sampled_from([1, 11, 1 << 22])),
        draw.draw(st.sampled_from([1, 6, 1 << 24])),
        draw.draw(st.sampled_from([1, 40, 1 << 22])),
    )
    folder = tmp_path_factory.mktemp("bits")
    monkeypatch.chdir(folder)
    data = screen(numbers, n, genes, kind)
    cuts = sorted(set(draw.draw(st.lists(st.integers(1, n - 1), max_size=3))))
    kinds = st.sampled_from(FORMATS)
    files = [
        write(data[a:b], folder / f"p{i}", draw.draw(kinds), write_zarr)
        for i, (a, b) in enumerate(pairwise([0, *cuts, n]))
    ]
    same(files if len(files) > 1 else files[0], folder, question)
    assert sorted(os.listdir(folder)) == sorted([*map(os.path.basename, files), "out"])


@pytest.mark.usefixtures("here")
@SETTINGS
@given(draw=st.data())
def test_any_blocks_of_dask(draw, tmp_path_factory, small, monkeypatch):
    numbers = np.random.default_rng(draw.draw(st.integers(0, 2**32 - 1)))
    n, genes = draw.draw(st.integers(12, 60)), draw.draw(st.integers(3, 9))
    data = screen(numbers, n, genes, "counts")
    names = sorted(set(QUESTIONS) - {"layer", "raw", "genes"})
    question = {"reference": "ctrl"} | QUESTIONS[draw.draw(st.sampled_from(names))]
    rows, columns = draw.draw(st.integers(1, n)), draw.draw(st.integers(1, genes))
    lazy = data.copy()
    kind = draw.draw(st.sampled_from(["dense", "csr", "csc"]))
    array = da.from_array(data.X.toarray(), chunks=(rows, genes if kind == "csr" else columns))
    if kind != "dense":
        array = array.map_blocks(getattr(sp, f"{kind}_matrix"))
    lazy.X = array
    task, block, part = (
        draw.draw(st.sampled_from(each)) for each in ([300, 1 << 29], [2, 256], [7, 1 << 22])
    )
    small(task, block, 9, 5, part)
    folder = tmp_path_factory.mktemp("blocks")
    monkeypatch.chdir(folder)
    expected = pdex.de(data, "target", **question)
    got = pdex.de(lazy, "target", engine="dask", **question)
    assert_frame_equal(got, expected, check_exact=True)
    tables = pdex.tabulate(lazy, "target", output=folder / "x.tables", engine="dask")
    other = pdex.tabulate(data, "target", output=folder / "y.tables")
    # Of Dask arrays, only some blocks are looked at for the smallest and the largest value.
    same_tables(tables, other, ("parts", "sources", "genes", "values"))


def same_tables(tables, expected, but=("parts", "sources", "genes")):
    """Where parts are cut may differ, and where Dask arrays come from."""
    assert_frame_equal(tables.labels, expected.labels)
    assert tables.genes.to_list() == expected.genes.to_list()
    got, want = tables.scan().collect(), expected.scan().collect()
    assert_frame_equal(got, want, check_exact=True)
    own, other = (dict(vars(one._table.manifest)) for one in (tables, expected))
    for name in but:
        del own[name], other[name]
    assert own == other, {k: (own[k], other[k]) for k in own if own[k] != other[k]}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("cells", ["all", "single"])
@pytest.mark.parametrize("scaled", [None, 1e4, "median"])
def test_tables(rng, tmp_path, small, write_zarr, scaled, cells):
    small(2_000, 2, 9, 5)
    data = screen(rng, 150, 7, "counts")
    paths = [
        write(data[a:b], tmp_path / f"p{a}", kind, write_zarr)
        for (a, b), kind in zip(pairwise([0, 20, 90, 150]), FORMATS, strict=False)
    ]
    options = {"normalize": scaled, "single_cells": "ctrl" if cells == "single" else None}
    columns = ["target", "batch", "number"]
    made = pdex.tabulate(paths, columns, output=tmp_path / "a.tables", engine="dask", **options)
    expected = pdex.tabulate(paths, columns, output=tmp_path / "b.tables", **options)
    same_tables(made, expected)
    question = {"reference": "ctrl", "fdr": "all", "strata": "batch", "where": "number < 2"}
    same(made, tmp_path, question)
    # Of tables: those of fewer columns.
    fewer = pdex.tabulate(made, "target", output=tmp_path / "c.tables", engine="dask")
    same_tables(fewer, pdex.tabulate(expected, "target", output=tmp_path / "d.tables"))


@pytest.mark.usefixtures("here")
def test_shared_genes_in_another_order(rng, tmp_path, small, monkeypatch):
    small(2_000, 2, 9, 5)
    monkeypatch.chdir(tmp_path)
    data = screen(rng, 90, 7, "counts")
    data[:40].write_h5ad("a.h5ad")
    data[40:, [5, 2, 6, 0, 3]].copy().write_h5ad("b.h5ad")
    expected = same(["a.h5ad", "b.h5ad"], tmp_path, {"reference": "ctrl", "join": "inner"})
    assert expected["feature"].unique(maintain_order=True).to_list() == [
        "i0",
        "i2",
        "i3",
        "i5",
        "i6",
    ]


@pytest.mark.usefixtures("here")
def test_files_in_which_no_cell_is_chosen(rng, tmp_path, small, monkeypatch):
    small(2_000, 2, 9, 5)
    monkeypatch.chdir(tmp_path)
    data = screen(rng, 90, 7, "counts")
    data.obs["batch"] = ["x"] * 60 + ["y"] * 30
    data.obs.loc[data.obs_names[20:40], "target"] = ""
    for i, (a, b) in enumerate(pairwise([0, 20, 40, 60, 90])):
        data[a:b].copy().write_h5ad(f"{i}.h5ad")
    same("?.h5ad", tmp_path, {"reference": "ctrl", "where": "batch = 'x'"})


@pytest.mark.usefixtures("here")
def test_warnings_are_those_of_one_machine(rng, tmp_path, small, monkeypatch):
    small(2_000, 2, 9, 5)
    monkeypatch.chdir(tmp_path)
    data = screen(rng, 90, 7, "log")
    data.X = data.X * 40
    labels = data.obs["target"].astype(str).to_numpy()
    labels[5:8] = "few"
    data.obs["target"] = labels
    data.write_h5ad("a.h5ad")
    question = {"reference": "ctrl", "test": "ttest", "equal_var": False, "min_cells": 12}

    def told(**options):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            pdex.de("a.h5ad", "target", **question, **options)
        return [(w.category, str(w.message), w.filename) for w in seen]

    expected = told()
    assert len(expected) >= 2
    assert told(engine="dask") == expected


@pytest.mark.parametrize("question", QUESTIONS)
def test_on_processes(rng, client, folder, small, write_zarr, question):
    small(4_000, 3, 9, 7)
    data = screen(rng, 150, 7, "counts")
    kinds = ("csr", "csc", "zarr")
    files = [
        write(data[a:b], folder / f"p{i}", kind, write_zarr)
        for i, ((a, b), kind) in enumerate(zip(pairwise([0, 40, 100, 150]), kinds, strict=True))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pdex.exceptions.PdexWarning)
        question = {"reference": "ctrl"} | QUESTIONS[question]
        expected = pdex.de(files, "target", **question)
        lazy = pdex.sink_de(files, "target", folder / "out", engine="dask", **question)
    assert_frame_equal(lazy.collect(), expected, check_exact=True)
    assert len(os.listdir(folder / "out")) > 1
    assert client.status == "running"


def test_tables_on_processes(rng, client, folder, small):
    small(4_000, 3, 9, 7)
    screen(rng, 150, 7, "counts").write_h5ad(folder / "a.h5ad")
    columns = ["target", "batch"]
    made = pdex.tabulate(folder / "a.h5ad", columns, output=folder / "a.tables", engine="dask")
    same_tables(made, pdex.tabulate(folder / "a.h5ad", columns, output=folder / "b.tables"))
    assert client.status == "running"


def test_a_worker_takes_the_threads_that_dask_gave_it(start_cluster, folder):
    with start_cluster(1, threads=3, settings={}) as cluster, cluster.connect() as client:
        call = pool.Call(told, Told(), str(folder), None, None)
        outcome = client.submit(pool.perform, call).result()
        assert outcome.value == min(3, len(os.sched_getaffinity(0)))
        call = pool.Call(told, Told(), str(folder), 1, "200MB")
        assert client.submit(pool.perform, call).result().value == 1


class Told:
    what = "telling"


def told(task, resources):
    return resources.threads


@pytest.mark.parametrize("before", [0, 3, 2**32 - 2, 2**40])
def test_ranges_of_p_values(rng, before):
    """The definition, in ranges: also with more than 2^32 p-values below and above."""
    p = np.sort(rng.random(50) ** 3)
    m = before + len(p) + 2**33
    naive = [min([1.0, *(m * p[j] / (before + j + 1) for j in range(i, 50))]) for i in range(50)]
    np.testing.assert_allclose(collect.running(p, before, m), naive, rtol=4e-16)
    low, high = collect.running(p[:20], before, m), collect.running(p[20:], before + 20, m)
    whole = collect.running(p, before, m)
    assert whole.tolist() == [*np.minimum(low, high[0]), *high]
