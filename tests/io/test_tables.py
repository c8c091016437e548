"""Count tables: one screen counted once answers what the screen answers, bit for bit.

Nothing here has a tolerance.
"""

import json
import pickle
import signal
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdex._io import arrays, h5, stored, tables
from pdex._resources import Resources
from polars.testing import assert_frame_equal

TESTS = ["wilcoxon", "anderson", "ttest", "ks"]
MATRICES = {
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "dense": np.asarray,
    "dense F": np.asfortranarray,
}


def screen(rng, n_cells=240, n_genes=13, kind="counts"):
    """Counts, log values, or counts with odd values among them, under four label columns."""
    x = rng.poisson(rng.gamma(1, 2, n_genes), (n_cells, n_genes)).astype(np.float32)
    if kind == "log":
        x = np.log1p(x * rng.uniform(0.5, 2, (n_cells, 1)).astype(np.float32))
    if kind == "odd":
        x[rng.random(x.shape) < 0.03] = 70_000
        x[rng.random(x.shape) < 0.03] = -1.5
    obs = pd.DataFrame(
        {
            "target": rng.choice(["ctrl", "T2", "T0", "T1"], n_cells, p=[0.4, 0.2, 0.2, 0.2]),
            "guide": rng.choice(["a", "b"], n_cells),
            "batch": pd.Categorical(rng.choice(["y", "x", "z"], n_cells), ["z", "y", "x", "w"]),
            "depth": rng.integers(1, 9, n_cells),
        },
        index=[f"c{i}" for i in range(n_cells)],
    )
    obs.loc[obs.index[::17], "target"] = None
    obs.loc[obs.index[::23], "batch"] = None
    return ad.AnnData(x, obs, pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))


def same(got, want):
    assert_frame_equal(got, want, check_exact=True)


def tabulated(data, folder, groupby=("target", "guide", "batch", "depth"), **options):
    return pdex.tabulate(data, list(groupby), output=folder / "screen.tables", **options)


QUESTIONS = [
    {},
    {"reference": "rest"},
    {"mean": "geometric", "fdr": "all"},
    {"groups": ["T1"], "genes": ["g3", "g11"]},
    {"exclude": ["T2"], "min_cells": 20},
    {"auroc": True, "reference": ["ctrl", "T0"]},
    {"where": "guide = 'a' AND depth > 2"},
    {"where": pl.col("batch").is_in(["x", "z"]) & (pl.col("target") != "T2")},
]


@pytest.mark.parametrize("kind", ["counts", "log", "odd"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_tables_answer_what_the_screen_answers(rng, tmp_path, kind, matrix):
    data = screen(rng, kind=kind)
    found = tabulated(data, tmp_path)
    data.X = MATRICES[matrix](data.X)
    for test in TESTS:
        for question in QUESTIONS:
            if kind == "odd" and question.get("mean"):
                continue  # no logarithm of values below -1
            question = {"reference": "ctrl", "test": test} | question
            same(pdex.de(found, "target", **question), pdex.de(data, "target", **question))
    for column in ("guide", "depth"):
        want = pdex.de(data, column, reference="rest", is_log1p=False)
        same(pdex.de(found.path, column, reference="rest", is_log1p=False), want)
    for question in ({"reference": "ctrl"}, {"reference": "rest", "where": "depth < 6"}):
        want = pdex.de(data, "target", strata="batch", **question)
        same(pdex.de(str(found.path), "target", strata="batch", **question), want)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    n_cells=st.integers(8, 60),
    kind=st.sampled_from(["counts", "log", "odd"]),
    columns=st.permutations(["target", "guide", "batch", "depth"]),
    n_columns=st.integers(1, 4),
    rows=st.integers(1, 90),
)
def test_any_split_of_columns_merges_bit_for_bit(
    tmp_path_factory, seed, n_cells, kind, columns, n_columns, rows
):
    folder = tmp_path_factory.mktemp("merged")
    data = screen(np.random.default_rng(seed), n_cells, 5, kind)
    kept = columns[:n_columns]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pdex._io.tables, "ROWS", rows)
        patch.setattr(pdex._io.rows, "ROWS", rows)
        fine = pdex.tabulate(data, columns, output=folder / "fine.tables")
        merged = pdex.tabulate(fine, kept, output=folder / "merged.tables")
        want = pdex.tabulate(data, kept, output=folder / "want.tables")
    same(merged.labels, want.labels)
    assert merged.genes.to_list() == want.genes.to_list() == list(data.var_names)
    same(merged.scan().collect(), want.scan().collect())
    assert int(want.labels["cells"].sum()) == (~data.obs[kept].isna().all(axis=1)).sum()


def test_the_rows_are_the_cells_in_order(rng, tmp_path):
    data = screen(rng, kind="odd")
    found = tabulated(data, tmp_path, ["target", "batch"])
    frame = pl.DataFrame(data.X.T.copy(), schema=list(data.obs_names))
    frame = frame.with_columns(gene=pl.Series(list(data.var_names))).unpivot(index="gene")
    labels = pl.DataFrame(
        {
            "variable": list(data.obs_names),
            "target": [None if pd.isna(v) else v for v in data.obs["target"]],
            "batch": [None if pd.isna(v) else v for v in data.obs["batch"]],
        }
    )
    dtypes = found.scan().collect_schema()
    want = (
        frame.join(labels, on="variable")
        .filter(~pl.all_horizontal(pl.col("target", "batch").is_null()))
        .with_columns(pl.col(name).cast(dtypes[name]) for name in ("gene", "target", "batch"))
        .group_by("gene", "target", "batch", "value")
        .agg(count=pl.len().cast(pl.UInt32))
        .sort("gene", "target", "batch", "value", nulls_last=True)
    )
    same(found.scan().collect(), want)
    assert dtypes["batch"] == pl.Enum(["z", "y", "x"])
    assert dtypes["value"] == pl.Float32
    assert found.labels.columns == ["target", "batch", "cells"]


def test_dtypes_are_kept_and_large_integers_not_rounded(rng, tmp_path):
    for dtype in ("uint8", "int32", "float64", "int64"):
        data = screen(rng, n_cells=60)
        data.X = np.minimum(data.X, 200).astype(dtype)
        if dtype == "int64":
            data.X += 2**60
        found = tabulated(data, tmp_path)
        scanned = pdex.scan_anndata(data, "target").collect()
        assert found.scan().collect_schema()["value"] == scanned["value"].dtype
        got = pdex.scan_anndata(found, "target").collect()
        order = ["gene", "target", "value"]
        same(got.sort(order), scanned.sort(order))


# --- expressions --------------------------------------------------------------------------------


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("reference", ["ctrl", "rest"])
@pytest.mark.parametrize("kind", ["counts", "log"])
def test_expressions_equal_the_engine(rng, tmp_path, test, reference, kind):
    data = screen(rng, kind=kind)
    found = tabulated(data, tmp_path)
    expression = getattr(pdex, test)("value", "target", reference=reference, count="count")
    want = pdex.de(data, "target", reference=reference, test=test, is_log1p=False)
    want = want.with_columns(pl.col("target", "feature").cast(pl.String))
    engines = {
        "eager": lambda lazy: lazy.collect().group_by("gene").agg(expression),
        "lazy": lambda lazy: lazy.group_by("gene").agg(expression).collect(),
        "streaming": lambda lazy: lazy.group_by("gene").agg(expression).collect(engine="streaming"),
    }
    parts = pl.scan_parquet(found.path / "part-*.parquet")
    labels = pl.scan_parquet(found.path / "labels.parquet")
    names = pl.scan_parquet(found.path / "genes.parquet").select("gene").with_row_index("number")
    alone = parts.join(labels, on="group").join(names, left_on="gene", right_on="number")
    alone = alone.select("target", "value", "count", gene="gene_right")
    for frame in (found.scan(), alone, pdex.scan_anndata(data, "target")):
        for run in engines.values():
            got = run(frame).explode(test).unnest(test)
            got = got.rename({"gene": "feature"}).with_columns(
                pl.col("target", "feature").cast(pl.String)
            )
            joined = want.select("target", "feature").join(
                got, on=["target", "feature"], maintain_order="left"
            )
            same(joined, want.select(joined.columns))


def test_scans_push_filters_down_and_can_be_pickled(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 200)
    data = screen(rng)
    found = tabulated(data, tmp_path)
    manifest = json.loads((found.path / "manifest.json").read_text())
    assert len(manifest["parts"]) > 4
    whole, read = found.scan().collect(), []
    parse = tables._parse
    monkeypatch.setattr(tables, "_parse", lambda *a: read.append(a[1].name) or parse(*a))
    few = found.scan().filter(pl.col("gene").is_in(["g4", "g9"]))
    same(few.collect(), whole.filter(pl.col("gene").is_in(["g4", "g9"])))
    assert len([name for name in read if name.startswith("part")]) == 2
    same(pickle.loads(pickle.dumps(found.scan())).collect(), whole)
    for query in (
        lambda f: f.head(7),
        lambda f: f.select("count"),
        lambda f: f.filter(pl.col("count") > 3),
    ):
        for engine in ("in-memory", "streaming"):
            same(query(found.scan()).collect(engine=engine), query(whole.lazy()).collect())


def test_sink_de_and_describe_say_the_table(rng, tmp_path):
    data = screen(rng)
    found = tabulated(data, tmp_path)
    lazy = pdex.sink_de(
        found, "target", tmp_path / "de.parquet", reference="ctrl", where="depth > 3"
    )
    want = pdex.de(data, "target", reference="ctrl", where="depth > 3")
    same(lazy.collect(), want)
    described = pdex.describe(tmp_path / "de.parquet")
    assert (described.source, described.where) == (str(found.path), "depth > 3")
    assert described.n_cells == pdex.describe(want).n_cells < 240


def test_calibrate_draws_single_cells(rng, tmp_path):
    data = screen(rng, n_cells=600)
    found = tabulated(data, tmp_path)
    with pytest.raises(ValueError, match=r"screen\.tables counts control cells together"):
        pdex.calibrate(found, "target", reference="ctrl")
    with pytest.raises(ValueError, match=r"label 'control' is not a group of obs\['target'\]"):
        tabulated(data, tmp_path, single_cells="control")
    found = tabulated(data, tmp_path, single_cells="ctrl")
    same(pdex.de(found, "target", reference="ctrl"), pdex.de(data, "target", reference="ctrl"))
    for question in ({}, {"by": "guide"}, {"strata": "batch"}, {"where": "depth > 2"}):
        question = {"reference": "ctrl", "min_expected": 0, "n_splits": 4} | question
        got, want = (pdex.calibrate(source, "target", **question) for source in (found, data))
        assert got == want


# --- a file that is read once --------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Let little memory be left for a matrix in a file."""
    monkeypatch.setattr(Resources, "for_pieces", property(lambda _: 2000))
    monkeypatch.setattr(arrays, "_LOOK", 50)


@pytest.mark.parametrize("kind", ["counts", "log", "odd"])
def test_a_larger_file_is_read_once(rng, tmp_path, kind, small, monkeypatch):
    data = screen(rng, kind=kind)
    data.X = sp.csr_matrix(data.X)
    data.write_h5ad(path := tmp_path / "screen.h5ad", compression="gzip")
    read, window = [], h5.Array.read

    def spy(array, rows, columns=(0, 1)):
        read.append((array._node.name, *rows))
        return window(array, rows, columns)

    monkeypatch.setattr(h5.Array, "read", spy)
    labelled = np.flatnonzero(data.obs["target"].notna() & (data.obs["target"] != ""))
    ends = (data.X.indptr[labelled[0]], data.X.indptr[labelled[-1] + 1])
    for test in TESTS:
        for reference in ("ctrl", "rest"):
            question = {"test": test, "reference": reference, "is_log1p": False}
            want = pdex.de(data, "target", **question)
            read.clear()
            same(pdex.de(path, "target", **question), want)
            values = sorted(rows for name, *rows in read if name == "/X/data")
            # From the first cell with a label to the last.
            assert (values[0][0], values[-1][1]) == ends
            assert [a for _, a in values[:-1]] == [b for b, _ in values[1:]]
            assert len(values) > 2
            sink = pdex.sink_de(path, "target", tmp_path / "de.parquet", **question)
            same(sink.collect(), want)
    want = pdex.de(data, "target", strata="batch", reference="ctrl", genes=["g2", "g9", "g12"])
    question = {"strata": "batch", "reference": "ctrl", "genes": ["g12", "g2", "g9"]}
    same(pdex.de(path, "target", **question), want)
    order = ["gene", "target", "value"]
    got = pdex.scan_anndata(path, "target").collect().sort(order)
    same(got, pdex.scan_anndata(data, "target").collect().sort(order))
    got = pdex.tabulate(path, ["target", "guide"], output=tmp_path / "a.tables", genes=["g3", "g7"])
    want = pdex.tabulate(
        data, ["target", "guide"], output=tmp_path / "b.tables", genes=["g3", "g7"]
    )
    same(got.scan().collect(), want.scan().collect())
    assert not list(tmp_path.glob(".*"))


def test_few_groups_are_merged_before_they_are_spilled(rng, tmp_path, small, monkeypatch):
    data = screen(rng, n_cells=900)
    data.X = sp.csr_matrix(data.X)
    data.write_h5ad(path := tmp_path / "screen.h5ad")
    folds, spill = set(), pdex._pdex.Spill

    class Spy:
        def __init__(self, *args):
            self.spill = spill(*args)

        def add(self, matrix, codes, fold):
            folds.add(fold)
            self.spill.add(matrix, codes, fold)

        def read(self, block):
            return self.spill.read(block)

    monkeypatch.setattr(pdex._pdex, "Spill", Spy)
    for merged in (0, 10**9):
        monkeypatch.setattr(stored, "_MERGED", merged)
        want = pdex.de(data, "target", reference="ctrl")
        same(pdex.de(path, "target", reference="ctrl"), want)
    assert folds == {"values", "cells"}


def test_the_first_nan_is_named(rng, tmp_path, small):
    data = screen(rng)
    data.obs["target"] = "ctrl"
    data.obs.iloc[::2, 0] = "T1"
    data.X[200, 4] = data.X[130, 7] = np.nan
    data.X = sp.csr_matrix(data.X)
    data.write_h5ad(path := tmp_path / "screen.h5ad")
    named = r"contains NaN \(cell 'c130', row 130; gene 'g7', column 7\)"
    for call in (
        lambda source: pdex.de(source, "target", reference="ctrl", is_log1p=False),
        lambda source: pdex.tabulate(source, "target", output=tmp_path / "screen.tables"),
    ):
        for source in (path, data):
            with pytest.raises(ValueError, match=named):
                call(source)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["screen.h5ad"]


# --- failure -------------------------------------------------------------------------------------


def left(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("at", range(5))
def test_an_interrupt_leaves_nothing_and_keeps_the_older_table(rng, tmp_path, monkeypatch, at):
    monkeypatch.setattr(tables, "ROWS", 90)
    data = screen(rng)
    older = tabulated(data, tmp_path, ["guide"])
    before, save, calls = older.scan().collect(), tables.Writer._save, []

    def interrupted(writer, frame, name):
        calls.append(name)
        if len(calls) > at:
            raise KeyboardInterrupt
        return save(writer, frame, name)

    monkeypatch.setattr(tables.Writer, "_save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tabulated(data, tmp_path)
    assert left(tmp_path) == ["screen.tables"]
    same(pdex.Tables(older.path).scan().collect(), before)


KILLED = """
import os, signal, sys
import anndata as ad, pdex
from pdex._io import tables
tables.ROWS = 90
save, calls, at = tables.Writer._save, [], int(sys.argv[2])
def killed(writer, frame, name):
    calls.append(name)
    if len(calls) > at:
        os.kill(os.getpid(), signal.SIGKILL)
    return save(writer, frame, name)
tables.Writer._save = killed
data = ad.read_h5ad(sys.argv[1] + "/screen.h5ad")
pdex.tabulate(data, ["target", "guide"], output=sys.argv[1] + "/screen.tables")
"""


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_killed_process_leaves_no_manifest(rng, tmp_path, at):
    screen(rng).write_h5ad(tmp_path / "screen.h5ad")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(at)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not list(tmp_path.rglob("manifest.json"))
    with pytest.raises(FileNotFoundError, match=r"screen\.tables: there is no such folder"):
        pdex.Tables(tmp_path / "screen.tables")
    # What a killed process left is in nobody's way.
    data = ad.read_h5ad(tmp_path / "screen.h5ad")
    assert pdex.tabulate(data, "target", output=tmp_path / "screen.tables").genes.len() == 13


FULL = """
import resource, signal, sys
import anndata as ad, pdex
from pdex._resources import Resources
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
Resources.for_pieces = property(lambda _: 6000)
path, what = sys.argv[1], sys.argv[2]
source = ad.read_h5ad(path + "/screen.h5ad") if what == "part" else path + "/screen.h5ad"
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    pdex.tabulate(source, ["target", "guide", "depth"], output=path + "/screen.tables")
except OSError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("what", ["part", "spill"])
def test_a_full_disk_is_an_error_that_names_the_file(rng, tmp_path, what):
    data = screen(rng, kind="log")
    data.X = sp.csr_matrix(data.X)
    data.write_h5ad(tmp_path / "screen.h5ad")
    command = [sys.executable, "-c", FULL, str(tmp_path), what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    named = (
        "part-00000.parquet" if what == "part" else "the temporary file of rows cannot be written"
    )
    assert named in done.stdout, done.stderr
    assert "File too large" in done.stdout
    assert left(tmp_path) == ["screen.h5ad"]


def test_folders_that_cannot_be_written_are_errors_that_name_them(rng, tmp_path):
    data = screen(rng)
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*nowhere'"):
        pdex.tabulate(data, "target", output=tmp_path / "nowhere" / "x.tables")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"taken' exists and is not a folder of count tables"):
        pdex.tabulate(data, "target", output=tmp_path / "taken")
    assert (tmp_path / "taken" / "thesis.txt").read_text() == "mine"
    with pytest.raises(PermissionError, match=r"/sys/x\.tables"):
        pdex.tabulate(data, "target", output="/sys/x.tables")


def change(path, at=100):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_files_that_do_not_belong_are_named(rng, tmp_path):
    data = screen(rng)

    def fresh(groupby=("target",)):
        return tabulated(data, tmp_path, groupby).path

    for name in ("part-00000.parquet", "labels.parquet", "genes.parquet"):
        path = fresh()
        change(path / name)
        with pytest.raises(ValueError, match=rf"{name} is not the file that manifest\.json names"):
            pdex.de(path, "target", reference="ctrl")
        path = fresh()
        (path / name).unlink()
        with pytest.raises(FileNotFoundError, match=rf"{name} is missing"):
            pdex.de(path, "target", reference="ctrl")
    # A manifest of other parts.
    path = fresh(["guide"])
    manifest = (path / "manifest.json").read_text()
    path = fresh()
    (path / "manifest.json").write_text(manifest)
    with pytest.raises(ValueError, match=r"labels\.parquet is not the file"):
        pdex.Tables(path)
    path = fresh()
    (path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        pdex.Tables(path)
    facts = json.loads(manifest) | {"format": 99, "pdex": "7.1"}
    (path / "manifest.json").write_text(json.dumps(facts))
    with pytest.raises(
        ValueError, match=r"was written by pdex 7\.1 in format 99, and this version"
    ):
        pdex.de(path, "target")
    (path / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no manifest\.json: .* did not finish"):
        pdex.de(path, "target")


def test_columns_that_frames_have_already_get_other_names(rng, tmp_path):
    data = screen(rng)
    data.obs = data.obs.rename(columns={"target": "gene", "guide": "group", "batch": "cells"})
    found = tabulated(data, tmp_path, ["gene", "group", "cells"])
    assert found.labels.columns == ["gene_label", "group_label", "cells_label", "cells"]
    names = ["gene", "gene_label", "group_label", "cells_label", "value", "count"]
    assert found.scan().collect_schema().names() == names
    for column in ("gene", "group", "cells"):
        same(pdex.de(found, column, reference="rest"), pdex.de(data, column, reference="rest"))
    merged = pdex.tabulate(found, "gene", output=tmp_path / "merged.tables")
    want = pdex.tabulate(data, "gene", output=tmp_path / "want.tables")
    same(merged.scan().collect(), want.scan().collect())
    same(
        pdex.de(found, "gene", reference="ctrl", strata="cells", where="\"group\" = 'a'"),
        pdex.de(data, "gene", reference="ctrl", strata="cells", where="\"group\" = 'a'"),
    )
    data.obs["gene_label"] = "x"
    for columns in (["gene", "gene_label"], ["gene", "gene"], []):
        with pytest.raises(ValueError, match=r"^groupby"):
            tabulated(data, tmp_path, columns)


def test_older_interfaces_refuse_tables(rng, tmp_path):
    found = tabulated(screen(rng), tmp_path)
    with pytest.raises(TypeError, match=r"parallel_differential_expression does not take; use"):
        pdex.parallel_differential_expression(found, reference="ctrl", groupby_key="target")
    with pytest.raises(TypeError, match=r"pdex\.pdex does not take; use pdex\.de"):
        pdex.pdex(found, "target", reference="ctrl")
    with pytest.raises(FileNotFoundError, match=r"screen\.tables: is a folder"):
        pdex.describe(found.path)


def test_wrong_arguments_are_named(rng, tmp_path):
    data = screen(rng)
    found = tabulated(data, tmp_path)
    with pytest.raises(KeyError, match=r"obs has no column 'batches'\. Did you mean 'batch'\?"):
        tabulated(data, tmp_path, ["target", "batches"])
    with pytest.raises(ValueError, match=r"holds count tables of X alone: leave out layer"):
        pdex.de(found, "target", layer="counts")
    with pytest.raises(KeyError, match=r"where: obs has no column 'dept'\. Did you mean 'depth'\?"):
        pdex.de(found, "target", reference="ctrl", where="dept > 2")
    with pytest.raises(ValueError, match=r"where='depth > 99' holds for no cell"):
        pdex.de(data, "target", reference="ctrl", where="depth > 99")
    with pytest.raises(ValueError, match=r"where='depth >' is not an expression in SQL"):
        pdex.de(data, "target", reference="ctrl", where="depth >")
    with pytest.raises(TypeError, match=r"where='depth' gives Int64: expected true or false"):
        pdex.scan_anndata(data, "target", where="depth")
    with pytest.raises(TypeError, match=r"where must be a Polars expression or SQL text; got 3"):
        pdex.tabulate(data, "target", output=tmp_path / "x.tables", where=3)
    with pytest.raises(TypeError, match=r"tabulate\(\) has no parameter 'path'"):
        pdex.tabulate(data, "target", path=tmp_path)
    assert left(tmp_path) == ["screen.tables"]
