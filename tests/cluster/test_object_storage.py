"""Count tables, shares and results in object storage, on a real S3 server on this machine."""

import os
import re
import subprocess
import sys

import pdex
import polars as pl
import pytest
from pdex import _places
from pdex._cluster import collect, count, test
from pdex._places import Remote, place_of
from polars.testing import assert_frame_equal

dask = pytest.importorskip("dask", reason="engine='dask' needs Dask")
pytest.importorskip("fsspec", reason="object storage is written with fsspec")
pytest.importorskip("s3fs", reason="object storage is written with s3fs")
BUCKET = "screens"


@pytest.fixture
def folder(server, tmp_path, request):
    """The URL of a folder, and the place where the server keeps it."""
    name = request.node.name.replace("[", "-").replace("]", "")
    return f"s3://{BUCKET}/{name}", server[1] / name


@pytest.fixture(autouse=True)
def small(monkeypatch, environment):
    monkeypatch.setattr(count, "TASK", 1_000_000)
    monkeypatch.setattr(test, "GENES", 240)
    monkeypatch.setattr(collect, "P_VALUES", 5_000)


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    data = pdex.datasets.simulate_screen(n_cells=700, n_genes=640, n_targets=20, n_effects=20)
    # Polars asks for the last 256 kB of a file; this server fails if there are fewer, S3 does not.
    path = tmp_path_factory.mktemp("screen") / "screen.h5ad"
    data.write_h5ad(path)
    return path


def files_in(folder):
    """The files below a folder, without what tells files of one name apart."""
    found = (str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    return sorted(re.sub(r"(part-\d+|genes|labels)-[0-9a-f]{8}", r"\1", name) for name in found)


def test_tables(screen, folder, tmp_path):
    url, kept = folder
    expected = pdex.de(screen, "target", fdr="all")
    for part in (1, 2):
        pdex.tabulate(screen, "target", output=f"{url}/{part}.tables", part=(part, 2))
    parts = [f"{url}/1.tables", f"{url}/2.tables"]
    assert_frame_equal(pdex.de(parts, "target", fdr="all"), expected, check_exact=True)
    with pytest.raises(ValueError, match=r"1\.tables' holds part 1 of 2 of a screen, without 2"):
        pdex.de(parts[0], "target")
    tables = pdex.tabulate(parts, "target", output=f"{url}/all.tables")
    assert tables.path == f"{url}/all.tables"
    assert tables.scan().collect().equals(pdex.Tables(tables).scan().collect())
    # An older table is replaced, with all of its files.
    again = pdex.tabulate(screen, "target", output=tables.path, genes=["g0", "g1"])
    assert again.genes.to_list() == ["g0", "g1"]
    assert files_in(kept / "all.tables") == [
        *("genes.parquet", "labels.parquet", "manifest.json", "part-00000.parquet")
    ]
    with pytest.raises(FileNotFoundError, match=f"{url}/none.tables has no manifest.json"):
        pdex.Tables(f"{url}/none.tables")
    with pytest.raises(FileExistsError, match="exists and is not a folder of count tables"):
        pdex.tabulate(screen, "target", output=url)


def test_shares(screen, folder, tmp_path):
    url, _ = folder
    for part in (2, 1):
        pdex.sink_de(screen, "target", f"{url}/shares", part=(part, 2), fdr="all")
    lazy = pdex.collect(f"{url}/shares", tmp_path / "de.parquet")
    assert_frame_equal(lazy.collect(), pdex.de(screen, "target", fdr="all"), check_exact=True)


@pytest.mark.parametrize("scheduler", ["synchronous", "processes of distributed"])
def test_a_cluster(screen, folder, scheduler, start_cluster):
    url, kept = folder
    expected = pdex.de(screen, "target", fdr="all")
    if scheduler == "synchronous":
        with dask.config.set(scheduler="synchronous"):
            run(screen, url, expected)
    else:
        named = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
        with start_cluster(2, environment=named) as cluster, cluster.connect():
            run(screen, url, expected)
    assert files_in(kept) == [
        *(f"a.tables/{name}" for name in ("genes.parquet", "labels.parquet", "manifest.json")),
        *(f"a.tables/part-0000{number}.parquet" for number in range(3)),
        "out/part-00000.parquet",
        "out/result.json",
    ]


def run(screen, url, expected):
    tables = pdex.tabulate(screen, "target", output=f"{url}/a.tables", engine="dask")
    assert_frame_equal(pdex.de(tables, "target", fdr="all"), expected, check_exact=True)
    for data in (screen, tables):
        lazy = pdex.sink_de(data, "target", f"{url}/out", fdr="all", engine="dask")
        assert_frame_equal(lazy.collect(), expected, check_exact=True)
        assert pdex.describe(f"{url}/out") == pdex.describe(lazy)


@pytest.mark.parametrize("client", ["s3fs", "obstore"])
def test_places(folder, monkeypatch, client):
    pytest.importorskip(client)
    _places._of_scheme.cache_clear()
    monkeypatch.setattr(_places, "_has", lambda name: name in ("fsspec", client))
    url, kept = folder
    place = place_of(f"{url}/a/b.txt")
    assert isinstance(place, Remote)
    assert (place.name, place.suffix, str(place.parent)) == ("b.txt", ".txt", f"{url}/a")
    assert not place.exists()
    assert list(place.parent.iterdir()) == []
    place.write_text("some text")
    assert (kept / "a" / "b.txt").read_text() == place.read_text() == "some text"
    assert (place.read_range(5, 7), place.size(), place.is_file()) == (b"te", 9, True)
    place.copy_to(place.with_name("c.txt"))
    (place.parent.parent / "d").write_bytes(b"")
    assert {one.name for one in place_of(url).iterdir()} == {"a", "d"}
    assert [one.name for one in place.parent.iterdir()] == ["b.txt", "c.txt"]
    place.unlink()
    place.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match=str(place)):
        place.read_bytes()
    place.parent.remove()
    assert not (place.parent / "c.txt").exists()
    with pytest.raises(ValueError, match=r"^none://a\.txt: fsspec knows no 'none' URLs"):
        place_of("none://a.txt")
    _places._of_scheme.cache_clear()


def test_commands(screen, folder, tmp_path):
    url, kept = folder
    words = [sys.executable, "-m", "pdex"]
    tables, shares, whole = f"{url}/a.tables", f"{url}/shares", f"{url}/de.parquet"
    for line in (
        ["tabulate", screen, "-g", "target", "-o", tables],
        ["de", tables, "-g", "target", "--part", "1/2", "-o", shares],
        ["de", tables, "-g", "target", "--part", "2/2", "-o", shares],
        ["collect", shares, "-o", whole],
        ["info", tables],
    ):
        done = subprocess.run([*words, *map(str, line)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert f"{url}/a.tables" in done.stdout
    assert "de.parquet" in files_in(kept)
    got = pl.read_parquet((kept / "de.parquet").read_bytes())
    assert_frame_equal(got, pdex.de(screen, "target"), check_exact=True)
