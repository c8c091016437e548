"""`pdex info` of results: files of all types, folders, and what is no result."""

import json
from pathlib import Path

import pdex
import polars as pl
import pytest

KINDS = ["parquet", "ipc", "arrow", "feather", "csv", "tsv"]


@pytest.fixture(scope="module")
def results(path, tmp_path_factory):
    """A result in each type of file, and its numbers of hits."""
    folder = tmp_path_factory.mktemp("results")
    for kind in KINDS:
        lazy = pdex.sink_de(path, "target", folder / f"de.{kind}", groups=["T000", "T001"])
    return folder, lazy.filter(pl.col("fdr") < 0.05).collect().height


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_is_described(run, path, results, kind):
    folder, n_hits = results
    file = folder / f"de.{kind}"
    status, out, err = run("info", file)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"{file}: ")
    assert lines[1:3] == [f"100 rows: 2 targets, 50 genes; {n_hits} with fdr < 0.05", ""]
    made = ["It does not say how it was made."]
    if kind not in ("csv", "tsv"):
        made = str(pdex.describe(file)).splitlines()
        assert f"X of {path}: " in made[2]
    assert lines[3:] == [*made, "", f"  pdex report {file} -o de.html"]


def test_json(run, results):
    folder, n_hits = results
    status, out, err = run("info", folder / "de.parquet", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["made"]["test"] == "wilcoxon"
    assert found["made"]["n_targets"] == 2
    del found["made"]
    assert found == {
        "path": str(folder / "de.parquet"),
        "bytes": (folder / "de.parquet").stat().st_size,
        "n_rows": 100,
        "n_targets": 2,
        "n_genes": 50,
        "n_hits": n_hits,
        "command": f"pdex report {folder / 'de.parquet'} -o de.html",
    }
    out = run("info", folder / "de.csv", "--json")[1]
    assert json.loads(out)["made"] is None


def test_the_command_works(run, results):
    words = run("info", results[0] / "de.ipc")[1].split()[-5:]
    assert words[0] == "pdex"
    assert run(*words[1:]) == (0, "", "")
    assert Path("de.html").is_file()


def test_a_folder_of_a_cluster(run, screen, tmp_path):
    distributed = pytest.importorskip("distributed")
    screen.write_h5ad(tmp_path / "screen.h5ad")
    with distributed.Client(n_workers=1, threads_per_worker=1, dashboard_address=None):
        pdex.sink_de(tmp_path / "screen.h5ad", "target", tmp_path / "de", engine="dask")
    status, out, err = run("info", "de")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[1].startswith("300 rows: 6 targets, 50 genes; ")
    assert lines[3:7] == str(pdex.describe(tmp_path / "de")).splitlines()
    assert lines[-1] == "  pdex report de -o de.html"


def test_what_is_no_result(run, results):
    pl.DataFrame({"target": ["a"], "x": [1]}).write_parquet("other.parquet")
    text = "other.parquet is not a result of pdex de: it has no column 'feature'"
    assert run("info", "other.parquet") == (1, "", f"pdex: error: {text}\n")
    Path("broken.parquet").write_bytes(b"PAR1 no more")
    assert run("info", "broken.parquet")[2].startswith(
        "pdex: error: broken.parquet cannot be read as a result: "
    )
    # A matrix as text is a file to load first.
    Path("counts.csv").write_text("cell,STAT1\\na,1\\n")
    assert "load other files first" in run("info", "counts.csv")[2]
    with pytest.raises(OSError, match=r"de\.parquet' is a result: pdex\.describe tells how it was"):
        pdex.info(results[0] / "de.parquet")
