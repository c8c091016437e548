"""Many sources are one screen: the same numbers as their concatenation in memory, bit for bit."""

import itertools
import os
import pickle
import re
import types

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdex import _pdex
from pdex._io import arrays, many
from pdex._io.labels import Column
from pdex._io.opening import open_source
from pdex._io.united import united
from pdex._resources import Resources
from polars.testing import assert_frame_equal

TESTS = ["wilcoxon", "anderson", "ttest", "ks"]
TARGETS = ["T1", "ctrl", "T0", "T2"]
LAYOUTS = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}
MIXES = [("csr",) * 3, ("csc",) * 3, ("dense",) * 3, ("csr", "csc", "dense")]


def screen(rng, n_cells=240, n_genes=13, kind="counts"):
    x = rng.poisson(rng.gamma(1, 2, n_genes), (n_cells, n_genes)).astype(np.float32)
    if kind == "log":
        x = np.log1p(x * rng.uniform(0.5, 2, (n_cells, 1)).astype(np.float32))
    target = rng.choice(TARGETS, n_cells, p=[0.2, 0.4, 0.2, 0.2])
    obs = pd.DataFrame(
        {
            "target": pd.Categorical(target, TARGETS),
            "batch": pd.Categorical(rng.choice(["y", "x"], n_cells), ["y", "x"]),
            "depth": rng.integers(1, 9, n_cells),
        },
        index=[f"c{i}" for i in range(n_cells)],
    )
    obs.loc[obs.index[::17], "target"] = None
    return ad.AnnData(x, obs, pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))


def parts_of(data, ends, layouts=("csr",)):
    """The cells in parts, each with all categories."""
    found = []
    bounds = itertools.pairwise([0, *ends, data.n_obs])
    for (start, stop), layout in zip(bounds, itertools.cycle(layouts), strict=False):
        # AnnData would drop the categories without cells.
        part = ad.AnnData(
            LAYOUTS[layout](data.X[start:stop]), data.obs[start:stop].copy(), data.var
        )
        for name in ("target", "batch"):
            part.obs[name] = part.obs[name].cat.set_categories(data.obs[name].cat.categories)
        found.append(part)
    return found


def written(parts, folder):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"part{i:03}.h5ad" for i in range(len(parts))]
    for part, path in zip(parts, paths, strict=True):
        part.write_h5ad(path, compression="gzip")
    return paths


def same(got, want):
    assert_frame_equal(got, want, check_exact=True)


@pytest.fixture(params=["all", "little"])
def memory(request, monkeypatch):
    """All of the memory, or so little that everything is read in parts."""
    if request.param == "little":
        monkeypatch.setattr(Resources, "for_pieces", property(lambda _: 2000))
        monkeypatch.setattr(arrays, "_LOOK", 50)
    return request.param


@pytest.mark.parametrize("kind", ["counts", "log"])
@pytest.mark.parametrize("mix", MIXES, ids="-".join)
@pytest.mark.parametrize("held", ["files", "memory", "both"])
def test_the_numbers_are_those_of_the_concatenation(rng, tmp_path, memory, kind, mix, held):
    data = screen(rng, kind=kind)
    parts = parts_of(data, [70, 71], mix)
    if held != "memory":
        paths = written(parts, tmp_path / "plates")
        parts = paths if held == "files" else [parts[0], *paths[1:]]
    for test, reference in itertools.product(TESTS, ["ctrl", "rest"]):
        question = {"test": test, "reference": reference}
        same(pdex.de(parts, "target", **question), pdex.de(data, "target", **question))
    for question in (
        {"strata": "batch"},
        {"where": "depth > 3 AND batch = 'x'", "mean": "geometric"},
        {"genes": ["g12", "g2", "g9"], "fdr": "all"},
    ):
        question["reference"] = "ctrl"
        same(pdex.de(parts, "target", **question), pdex.de(data, "target", **question))
    sink = pdex.sink_de(parts, "target", tmp_path / "de.parquet", reference="ctrl")
    same(sink.collect(), pdex.de(data, "target", reference="ctrl"))
    for fold in ("values", "zeros", None):
        scans = [pdex.scan_anndata(one, "target", fold=fold).collect() for one in (parts, data)]
        order = ["gene", "target", "value"]
        same(*(scan.sort(order) for scan in scans))
    columns = ["target", "batch", "depth"]
    got, want = (
        pdex.tabulate(one, columns, output=tmp_path / f"{name}.tables")
        for name, one in (("got", parts), ("want", data))
    )
    same(got.labels, want.labels)
    same(got.scan().collect(), want.scan().collect())
    checks = [
        pdex.calibrate(one, "target", reference="ctrl", n_splits=3, min_expected=0)
        for one in (parts, data)
    ]
    assert checks[0] == checks[1]
    assert not list(tmp_path.glob(".*"))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    ends=st.lists(st.integers(0, 60), max_size=6).map(sorted),
    layouts=st.lists(st.sampled_from(sorted(LAYOUTS)), min_size=1, max_size=3),
    kind=st.sampled_from(["counts", "log"]),
    budget=st.sampled_from([300, 1000, 10**9]),
)
def test_any_split_gives_the_whole(tmp_path, monkeypatch, ends, layouts, kind, budget):
    monkeypatch.setattr(Resources, "for_pieces", property(lambda _: budget))
    data = screen(np.random.default_rng(len(ends)), n_cells=60, n_genes=5, kind=kind)
    # Files without cells are among them.
    paths = written(parts_of(data, ends, layouts), tmp_path / "plates")
    for test in TESTS:
        question = {"test": test, "reference": "ctrl", "is_log1p": kind == "log"}
        same(pdex.de(paths, "target", **question), pdex.de(data, "target", **question))


def handles(folder):
    """The files of a folder that this process has open."""
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return [link for link in links if os.path.realpath(link).startswith(str(folder))]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="Linux lists open files there")
def test_a_few_files_are_open_at_a_time(rng, tmp_path, memory, monkeypatch):
    monkeypatch.setattr(many, "_OPEN", 2)
    data = screen(rng)
    paths = written(parts_of(data, range(10, 240, 10), ["csr", "csc"]), tmp_path / "plates")
    opened, most, start = set(), [], many.Member.open

    def open_one(member):
        opened.add(member.number)
        most.append(len(handles(tmp_path)))
        return start(member)

    monkeypatch.setattr(many.Member, "open", open_one)
    same(pdex.de(paths, "target", reference="ctrl"), pdex.de(data, "target", reference="ctrl"))
    assert opened == set(range(24))
    assert max(most) == 2
    assert not handles(tmp_path)


@pytest.mark.parametrize("layout", ["csr", "csc"])
def test_the_bar_says_which_file_is_read(rng, tmp_path, monkeypatch, capfd, memory, layout):
    data = screen(rng)
    paths = written(parts_of(data, [70, 140], [layout]), tmp_path / "plates")
    late = types.SimpleNamespace(monotonic=iter(range(0, 10**6, 10)).__next__)
    monkeypatch.setattr(pdex._progress, "time", late)
    monkeypatch.delenv("COLUMNS", raising=False)
    names = [f"file {i + 1} of 3: part00{i}.h5ad" for i in range(3)]

    def said(call, sources, **options):
        capfd.readouterr()
        call(sources, progress=True, **options)
        lines = capfd.readouterr().err.rstrip().split("\r")
        assert "13/13" in lines[-1]
        assert "file" not in lines[-1]
        found = [re.search(r"(file|source) \d.*?(?=, read|\]\s*$)", line) for line in lines]
        return [name for name, _ in itertools.groupby(match[0] for match in found if match)]

    def de(sources, **options):
        same(pdex.de(sources, "target", reference="ctrl", **options), want)

    def tabulate(sources, **options):
        pdex.tabulate(sources, "target", output=tmp_path / "screen.tables", **options)

    want = pdex.de(data, "target", reference="ctrl")
    for call in (de, tabulate):
        rounds, rest = divmod(len(found := said(call, paths)), 3)
        assert found == names * rounds
        assert rest == 0
        assert rounds > 2 or memory == "all"
        assert said(call, paths[:1] if call is tabulate else data) == []
    mixed = [data[:70].copy(), *paths[1:]]
    assert set(said(de, mixed)) == {"source 1 of 3: data[0]", *names[1:]}


def test_bytes_are_counted_from_file_to_file(rng, tmp_path, monkeypatch):
    paths = written(parts_of(screen(rng), [70, 140]), tmp_path / "plates")
    with open_source(paths, None) as source:
        seen = []
        source.x.of_genes((1, seen.append), (0, 13))
    bar = pdex._progress.Progress(13, show=False)
    for done in seen:
        bar.read(done)
    stored = {"data": [], "indices": []}
    for path in paths:
        group = _pdex.H5File(str(path)).root.get("X")
        for name, sizes in stored.items():
            sizes.append(group.get(name).stored)
    # Values are read twice: a sample of them, which is all of these, says as which type.
    assert bar._before + bar._read == 2 * sum(stored["data"]) + sum(stored["indices"])
    bar = pdex._progress.Progress(13, show=False)
    for done in (0, 4, 0, 7, 0, 2):
        bar.read(done)
    assert bar._before + bar._read == 13


def test_a_pattern_names_files_in_order(rng, tmp_path, monkeypatch):
    data = screen(rng)
    written(parts_of(data, [70, 71]), tmp_path / "plates")
    want = pdex.de(data, "target", reference="ctrl")
    monkeypatch.chdir(tmp_path)
    for pattern in ("plates/*.h5ad", "**/part*.h5ad", tmp_path / "plates" / "part00?.h5ad"):
        same(pdex.de(pattern, "target", reference="ctrl"), want)
    # A path that exists is no pattern.
    data.write_h5ad("part[1].h5ad")
    same(pdex.de("part[1].h5ad", "target", reference="ctrl"), want)
    with pytest.raises(FileNotFoundError, match=r"'plates/\*\.zarr' matches no file"):
        pdex.de("plates/*.zarr", "target")
    with pytest.raises(ValueError, match=r"data=\[\]: name at least one source"):
        pdex.de([], "target")
    with pytest.raises(ValueError, match=r"data names 'plates/part001\.h5ad' twice"):
        pdex.de(["plates/*.h5ad", "plates/part001.h5ad"], "target")


def test_results_name_the_sources(rng, tmp_path):
    data = screen(rng)
    parts = parts_of(data, [70, 71])
    paths = written(parts, tmp_path / "plates")
    result = pdex.de([parts[0], *paths[1:]], "target", reference="ctrl")
    found = pdex.describe(result)
    assert found.source == ["data[0] in memory", *map(str, paths[1:])]
    assert "X of 3 sources ('data[0] in memory', 'part001.h5ad', 'part002.h5ad'): " in str(found)
    tables = pdex.tabulate(paths, "target", output=tmp_path / "screen.tables")
    sources = pdex.info(tables).tables["sources"]
    assert [source["path"] for source in sources] == list(map(str, paths))
    assert [source["bytes"] for source in sources] == [path.stat().st_size for path in paths]


def test_info_is_that_of_the_whole(rng, tmp_path):
    data = screen(rng)
    data.X = sp.csr_matrix(data.X)
    parts = parts_of(data, [70, 71])
    paths = written(parts, tmp_path / "plates")
    got, want = pdex.info(f"{tmp_path}/plates/*.h5ad"), pdex.info(data)
    assert got.sources == list(map(str, paths))
    assert (got.n_cells, got.n_genes, got.obs, got.targets) == (240, 13, want.obs, want.targets)
    (matrix,) = got.matrices
    for fact in ("name", "shape", "layout", "dtype", "stored", "values"):
        assert matrix[fact] == want.matrices[0][fact]
    assert got.bytes == sum(path.stat().st_size for path in paths)
    assert str(got).startswith("3 sources: 240 cells x 13 genes\n")
    assert got.command.startswith(f"pdex de '{tmp_path}/plates/*.h5ad' --groupby target ")
    assert pdex.info(paths).call.startswith(f"pdex.de({list(map(str, paths))!r}, 'target'")
    assert pdex.info(parts).command is None
    parts[1] = parts[1][:, ::-1].copy()
    assert "different genes, or another order; 13 are in all" in pdex.info(parts).notes[0]


def test_a_scan_is_pickled_and_sees_that_a_file_changed(rng, tmp_path):
    data = screen(rng)
    parts = parts_of(data, [70, 71])
    paths = written(parts, tmp_path / "plates")
    for one in (paths, f"{tmp_path}/plates/*.h5ad", [parts[0], *paths[1:]], parts):
        scan = pdex.scan_anndata(one, "target")
        again = pickle.loads(pickle.dumps(scan))
        same(again.collect(), scan.collect())
        same(scan.collect(), pdex.scan_anndata(data, "target").collect())
    scan = pdex.scan_anndata(paths, "target")
    os.utime(paths[1], (0, 0))
    with pytest.raises(ValueError, match=r"part001\.h5ad has changed since it was scanned"):
        scan.collect()


def test_an_inner_join_takes_the_genes_that_all_have(rng, tmp_path, memory):
    data = screen(rng)
    parts = parts_of(data, [70, 71, 150], ["csr", "csc", "dense", "csr"])
    columns = [range(13), range(12, -1, -1), [5, 7, 9, 11, 0, 1, 2, 3], [3, 0, 1, 7, 9, 11, 12]]
    kept = ["g0", "g1", "g3", "g7", "g9", "g11"]
    parts = [part[:, list(own)].copy() for part, own in zip(parts, columns, strict=True)]
    for part in parts:
        for name in ("target", "batch"):
            part.obs[name] = part.obs[name].cat.set_categories(data.obs[name].cat.categories)
    paths = written(parts, tmp_path / "plates")
    for test in TESTS:
        question = {"test": test, "reference": "ctrl"}
        want = pdex.de(data[:, kept].copy(), "target", **question)
        for sources in (parts, paths):
            same(pdex.de(sources, "target", join="inner", **question), want)
    for fold in ("values", None):
        scans = [
            pdex.scan_anndata(paths, "target", join="inner", fold=fold, genes=["g11", "g1"]),
            pdex.scan_anndata(data[:, kept].copy(), "target", fold=fold, genes=["g11", "g1"]),
        ]
        same(*(scan.collect().sort(["gene", "target", "value"]) for scan in scans))


def refused(parts, text, error=ValueError, groupby="target", **options):
    with pytest.raises(error, match=text):
        pdex.de(parts, groupby, reference="ctrl", **options)


def test_sources_that_do_not_fit_are_named(rng, tmp_path):
    parts = parts_of(screen(rng), [70, 140])
    paths = written(parts, tmp_path / "plates")
    turned = parts[1].copy()
    turned.var_names = [*turned.var_names[:3], "XIST", *turned.var_names[4:]]
    text = r"data\[1\] does not have the genes of .*part000\.h5ad in the same order: "
    refused([paths[0], turned], text + "its gene 4 is 'XIST', not 'g3'. join='inner'")
    refused([paths[0], turned[:, :9].copy()], text + "its gene 4 is 'XIST'")
    refused([paths[0], parts[1][:, :9].copy()], text + "it has 9, not 13")
    refused([paths[0], turned], "join must be one of 'inner'; got 'outer'", join="outer")
    other = parts[1].copy()
    other.var_names = [f"h{i}" for i in range(13)]
    refused([*parts[:1], other], "no gene is in all of 'data.0.', 'data.1.'", join="inner")
    other.var_names = ["g0", "g0", *other.var_names[2:]]
    refused([*parts[:1], other], r"data\[1\] has two genes named 'g0'", join="inner")
    other = parts[1].copy()
    del other.obs["target"]
    text = r"data\[1\]: obs has no column 'target', which .*part000\.h5ad has\. Columns: 'batch'"
    refused([paths[0], other], text, KeyError)
    refused(paths, r"obs has no column 'targt'\. Did you mean 'target'\?", KeyError, "targt")
    refused([paths[0], parts[1]], r"part000\.h5ad: there is no layer 'log'", KeyError, layer="log")
    tables = pdex.tabulate(paths[0], "target", output=tmp_path / "a.tables")
    refused([paths[0], tables], r"a\.tables holds count tables", TypeError)
    refused([paths[0], 3], r"data\[1\]: data is a int: expected an AnnData", TypeError)
    with pytest.raises(TypeError, match=r"a\.tables holds count tables"):
        pdex.info([paths[0], tables])


def test_counts_and_logarithms_do_not_mix(rng, tmp_path):
    counts, logs = (parts_of(screen(rng, kind=kind), [70, 140]) for kind in ("counts", "log"))
    text = r"data\[0\]: X holds whole numbers, as counts are, and data\[1\]: X does not"
    refused([counts[0], logs[1]], text)
    refused([counts[0], logs[1]], text, is_log1p=True)
    logs[2].uns["log1p"] = {"base": 2}
    text = (
        r"logarithms of data\[0\] are to base e \(or not recorded\), those of data\[1\] to base 2"
    )
    refused(logs[1:], text)
    for part in logs:
        part.uns["log1p"] = {"base": 2}
    assert pdex.describe(pdex.de(logs, "target", reference="ctrl")).log_base == 2


def test_a_nan_is_named_with_its_source(rng, tmp_path, memory):
    parts = parts_of(screen(rng), [70, 140], ["csr", "csc"])
    parts[1].obs["target"] = pd.Categorical(["ctrl", "T1"] * 35, TARGETS)
    parts[1].X[9, 4] = np.nan
    paths = written(parts, tmp_path / "plates")
    text = r"part001\.h5ad: X contains NaN \(cell 'c79', row 9; gene 'g4', column 4\)"
    refused(paths, text, is_log1p=False)
    with pytest.raises(ValueError, match=text):
        pdex.tabulate(paths, "target", output=tmp_path / "screen.tables")
    refused(parts, r"data\[1\]: X contains NaN \(cell 'c79', row 9", is_log1p=False)
    turned = [part[:, ::-1].copy() for part in parts]
    text = r"data\[1\]: X contains NaN \(cell 'c79', row 9; gene 'g4', column 8\)"
    refused([parts[0], turned[1]], text, is_log1p=False, join="inner")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_types_are_promoted_as_numpy_does(rng, tmp_path, layout):
    data = screen(rng)
    for a, b, want in (
        (np.int8, np.uint8, pl.Int16()),
        (np.int32, np.float32, pl.Float64()),
        (np.int16, np.float32, pl.Float32()),
        (np.int64, np.float32, pl.Float64()),
        (bool, np.uint16, pl.UInt16()),
    ):
        whole = data.X.copy()
        parts = parts_of(data, [100], [layout])
        for part, dtype in zip(parts, (a, b), strict=True):
            part.X = part.X.astype(dtype)
        if a is bool:
            whole[:100] = whole[:100] > 0
        parts = [parts[0], written(parts, tmp_path / "plates")[1]]
        scan = pdex.scan_anndata(parts, "target")
        assert scan.collect_schema()["value"] == want
        expected = pdex.scan_anndata(ad.AnnData(whole, data.obs, data.var), "target")
        value = pl.col("value").cast(want)
        same(scan.collect(), expected.with_columns(value).collect())
    parts = parts_of(data, [100], [layout])
    parts[0].X = parts[0].X.astype(np.int64)
    x = parts[0].X if layout == "dense" else parts[0].X.data
    x.flat[5] = 2**53 + 1
    text = re.escape("data[0]: X has dtype int64 and numbers above 2^53")
    refused(parts, text, is_log1p=False)


def test_columns_of_other_kinds_are_united():
    def categorical(names, codes, ordered=False):
        return Column(pl.Series(names), np.array(codes), ordered)

    got = united([categorical(["b", "a"], [1, 0, -1]), categorical(["c", "a"], [0, 1])])
    assert got.values.to_list() == ["b", "a", "c"]
    assert got.codes.tolist() == [1, 0, -1, 2, 1]
    assert not got.ordered
    got = united([categorical(["b"], [0]), Column(pl.Series(["z", None, "b", "a"]))])
    assert got.rows().to_list() == ["b", "z", None, "b", "a"]
    assert got.values.to_list() == ["b", "a", "z"]
    assert united([categorical(["b", "a"], [0], True)] * 2).ordered
    got = united([categorical([1, 2], [0, 1]), categorical(["x", "2"], [0, 1])])
    assert got.rows().to_list() == ["1", "2", "x", "2"]

    def plain(*each):
        return united([Column(pl.Series(values)) for values in each]).values.to_list()

    assert plain([1, 2], [1.5, None]) == [1.0, 2.0, 1.5, None]
    assert plain(["a", None], ["b"]) == ["a", None, "b"]
    assert plain([None, None], ["b"]) == [None, None, "b"]
    assert plain([1, None], ["b"]) == ["1", None, "b"]
    assert plain([True, None], [2]) == ["True", None, "2"]
    assert plain([0.5, float("nan")], ["b"]) == ["0.5", None, "b"]


def test_categories_follow_the_first_file(rng, tmp_path):
    data = screen(rng)
    parts = parts_of(data, [70, 140])
    for part, order in zip(parts, (["T2", "ctrl"], ["T0", "ctrl", "T2"], TARGETS), strict=True):
        part.obs["target"] = part.obs["target"].cat.set_categories(order)
    got = pdex.de(parts, "target", reference="ctrl")
    assert got["target"].unique(maintain_order=True).to_list() == ["T2", "T0", "T1"]
    labels = pd.concat([part.obs["target"].astype(object) for part in parts])
    data.obs["target"] = pd.Categorical(labels, ["T2", "ctrl", "T0", "T1"])
    same(got, pdex.de(data, "target", reference="ctrl"))
