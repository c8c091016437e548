"""Zarr stores on the command line."""

import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal

pytest.importorskip("zarr", "3.1", reason="Zarr stores need zarr-python 3.1")


@pytest.fixture(scope="module")
def store(screen, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "screen.zarr"
    screen.write_zarr(path)
    return path


def test_commands_take_a_store(run, store, path):
    words = ["--groupby", "target", "--layer", "log"]
    for data, output in ((store, "a.parquet"), (path, "b.parquet")):
        assert run("de", data, *words, "-o", output)[::2] == (0, "")
    assert_frame_equal(pl.read_parquet("a.parquet"), pl.read_parquet("b.parquet"))
    assert run("tabulate", store, "-g", "target", "-g", "rep", "-o", "a.tables")[::2] == (0, "")
    assert run("de", "a.tables", "-g", "target", "--strata", "rep", "-o", "c.csv")[0] == 0
    status, out, _ = run("info", "a.tables")
    assert (status, f"Counted from {store} (" in out) == (0, True)
    status, out, err = run("calibrate", store, "-g", "target", "--n-splits", "2")
    assert (status, err) == (0, "")


def test_info(run, store):
    status, out, _ = run("info", store)
    assert status == 0
    assert f"{store}: " in out.splitlines()[0]
    assert "600 cells x 50 genes" in out
    assert (
        f"  pdex de {store} --groupby target --reference non-targeting -o screen.de.parquet" in out
    )
    found = json.loads(run("info", store, "--json")[1])
    assert [m["name"] for m in found["matrices"]] == ["X", "layer log"]


def test_a_url_stays_a_url(run, monkeypatch):
    monkeypatch.setattr("pdex._io.zarr.stores._has", lambda _: False)
    for command in (["info"], ["de", "-g", "target"], ["calibrate", "-g", "target"]):
        status, _, err = run(*command, "s3://bucket/screen.zarr")
        assert status != 0
        assert "s3://bucket/screen.zarr: to open s3:// URLs, install pdex[cloud]" in " ".join(
            err.split()
        )


COMPLETIONS = {
    "pdex de {store} --groupby ": ["target", "rep"],
    "pdex de {store} -g target --reference n": ["non-targeting"],
    "pdex tabulate {store} -g target -g r": ["rep"],
    "pdex de {store} --layer ": ["log"],
    "pdex de s3://bucket/x.zarr --layer ": [],
}


@pytest.mark.parametrize("line", COMPLETIONS)
def test_completions(run, store, monkeypatch, line):
    words = line.format(store=store)
    monkeypatch.setenv("_PDEX_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    status, out, err = run()
    assert (status, err) == (0, "")
    assert [item.split(",", 1)[1] for item in out.split()] == COMPLETIONS[line]
