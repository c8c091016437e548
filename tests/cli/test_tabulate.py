"""`pdex tabulate`: its tables answer what the screen answers, and each mistake is one line."""

import inspect
import json
import os
import shutil

import pandas as pd
import pdex
import polars as pl
import pytest
from pdex.cli.tabulate import tabulate
from polars.testing import assert_frame_equal


@pytest.fixture(scope="module")
def source(screen, tmp_path_factory):
    """A screen with replicates that some cells lack, and numbers of its cells."""
    more = screen.copy()
    more.obs["rep"] = pd.Categorical(["r1", "r2", None] * 200)
    more.obs["lane"] = [1, 2, 3, 3] * 150
    path = tmp_path_factory.mktemp("tabulate") / "screen.h5ad"
    more.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def tables(source):
    groupby = ["target", "rep", "lane"]
    return pdex.tabulate(source, groupby, output=source.with_name("screen.tables")).path


QUESTIONS = {
    "": {},
    "--reference rest --test anderson": {"reference": "rest", "test": "anderson"},
    "--test ttest --no-equal-var": {"test": "ttest", "equal_var": False},
    "--strata rep": {"strata": "rep"},
    "--genes g3,g7 --groups T001": {"genes": ["g3", "g7"], "groups": ["T001"]},
}


@pytest.mark.parametrize("words", QUESTIONS)
def test_tables_answer_what_the_screen_answers(run, source, words):
    made = run("tabulate", source, "-g", "target", "--groupby", "rep", "-o", "screen.tables")
    assert made == (0, "", "")
    assert os.listdir() == ["screen.tables"]
    assert run("de", "screen.tables", "-g", "target", *words.split(), "-o", "de.parquet")[0] == 0
    expected = pdex.de(source, "target", **QUESTIONS[words])
    assert expected.height > 1
    assert_frame_equal(pl.read_parquet("de.parquet"), expected, check_exact=True)


def test_rows_on_stdout_are_those_of_the_screen(run, source, tables):
    for words in ((), ("--where", "rep = 'r1'")):
        rows = run("de", source, "-g", "target", *words)
        assert rows[0] == 0
        assert rows[1].count("\n") == 301
        assert run("de", tables, "-g", "target", *words) == rows


def same(got, expected):
    for name in ("labels", "genes"):
        assert getattr(got, name).equals(getattr(expected, name))
    assert_frame_equal(got.scan().collect(), expected.scan().collect(), check_exact=True)


OPTIONS = {
    "--layer log": {"layer": "log"},
    "--genes g3,g7 --genes @more.txt": {"genes": ["g3", "g7", "g11"]},
    "--where lane<3": {"where": pl.col("lane") < 3},
    "--threads 1 --memory-limit 100MB --progress": {},
}


@pytest.mark.parametrize("words", OPTIONS)
def test_options(run, source, words, tmp_path):
    (tmp_path / "more.txt").write_text("g11\n")
    status, out, err = run("tabulate", source, "-g", "target", *words.split(), "-o", "a")
    assert (status, out, err) == (0, "", "")
    expected = pdex.tabulate(source, "target", output="b", **OPTIONS[words])
    same(pdex.Tables("a"), expected)
    plain = pdex.tabulate(source, "target", output="c").scan().collect()
    assert expected.scan().collect().equals(plain) == (not OPTIONS[words])


def test_raw(run, screen):
    with_raw = screen[:, :7].copy()
    with_raw.raw = screen
    with_raw.write_h5ad("raw.h5ad")
    assert run("tabulate", "raw.h5ad", "-g", "target", "--use-raw", "-o", "a")[0] == 0
    assert len(pdex.Tables("a").genes) == 50
    assert json.loads(run("info", "a", "--json")[1])["matrices"][0]["name"] == "raw.X"


def test_tables_are_merged_to_fewer_columns(run, source, tables):
    assert run("tabulate", tables, "-g", "target", "-o", "few")[0] == 0
    same(pdex.Tables("few"), pdex.tabulate(source, "target", output="expected"))


def test_older_tables_are_replaced(run, source, tables):
    shutil.copytree(tables, "x.tables")
    assert run("tabulate", "x.tables", "-g", "target", "-o", "x.tables")[0] == 0
    assert pdex.Tables("x.tables").labels.columns == ["target", "cells"]
    assert os.listdir() == ["x.tables"]


def test_every_option_of_the_function_is_one_of_the_command():
    known = set(inspect.signature(pdex.tabulate).parameters) - {"data", "engine"}
    assert {parameter.name for parameter in tabulate.params} == known | {"path", "debug"}


def test_a_terminal_is_told_what_was_written(source, terminal, tmp_path):
    run = terminal("tabulate", source, "-g", "target", "-o", "x.tables")
    assert run.status() == 0
    folder = tmp_path / "x.tables"
    n_bytes = sum(path.stat().st_size for path in folder.iterdir())
    n_rows = sum(pl.read_parquet(path).height for path in folder.glob("part-*"))
    assert run.text.splitlines() == [
        f"pdex: wrote x.tables: 600 cells in 7 groups, 50 genes, {n_rows:,} rows, "
        f"{n_bytes / 1000:.0f} kB on disk ({n_bytes / 600:.0f} B per cell)"
    ]


@pytest.mark.parametrize("command", ["de", "calibrate"])
@pytest.mark.parametrize("where", ["rep = 'r1'", "rep IN ('r1', 'r2') AND lane <> 2"])
def test_where(run, source, command, where):
    status, out, err = run(command, source, "-g", "target", "--where", where)
    assert (status, err) == (0, "")
    assert out != run(command, source, "-g", "target")[1]
    if command == "calibrate":
        assert out == f"{pdex.calibrate(source, 'target', where=where)!r}\n"
        return
    run(command, source, "-g", "target", "--where", where, "-o", "de.parquet")
    expected = pdex.de(source, "target", where=where)
    assert_frame_equal(pl.read_parquet("de.parquet"), expected, check_exact=True)
    assert pdex.describe("de.parquet").where == where


def test_calibrate_takes_tables_of_single_cells(run, source, tables):
    groups = ("-g", "target", "-g", "rep", "--single-cells")
    assert run("tabulate", source, *groups, "non-targeting", "-o", "cells")[0] == 0
    words = ("-g", "target", "--n-splits", "3")
    assert run("calibrate", "cells", *words) == run("calibrate", source, *words)
    several = (*groups, "non-targeting", "--single-cells", "T000", "-o", "more")
    assert run("tabulate", source, *several)[0] == 0
    alone = pl.col("target").is_in(["non-targeting", "T000"])
    assert pdex.Tables("more").labels.filter(alone)["cells"].to_list() == [1] * 150
    assert pdex.Tables("more").labels.filter(~alone)["cells"].min() > 1
    status, out, err = run("calibrate", tables, *words)
    assert (status, out) == (1, "")
    assert err.startswith(f"pdex: error: {tables} counts control cells together")
    assert err.count("\n") == 1


WRONG = {
    "-g targt -o x.tables": (1, "obs has no column 'targt'. Did you mean 'target'? Columns: "),
    "-g target -g target -o x.tables": (1, "groupby names 'target'"),
    "-g target --single-cells NT -o x.tables": (1, "label 'NT' is not a group of obs['target']"),
    "-g target -o folder": (1, "'folder' exists and is not a folder of count tables: choose"),
    "-g target -o file.txt": (1, "'file.txt' exists and is not a folder of count tables: choose"),
    "-g target -o no/x.tables": (1, "'no/x.tables': there is no folder"),
    "-g target --layer lo -o x.tables": (1, "there is no layer 'lo'. Did you mean 'log'?"),
    "-g target --genes g1,g999 -o x.tables": (1, "var_names has no gene 'g999'"),
    "-g target --where repp='r1' -o x.tables": (1, "obs has no column 'repp'. Did you mean 'rep'?"),
    "-g target --where rep='r9' -o x.tables": (1, "holds for no cell"),
    "-g target --where rep -o x.tables": (1, "where='rep' gives String: expected true or false"),
    "-g target --where rep= -o x.tables": (2, "'rep=' is not a condition in SQL"),
    "-g target --where= -o x.tables": (2, "'' is not a condition in SQL"),
    "-o x.tables": (2, "Missing option '-g' / '--groupby'"),
    "-g target": (2, "Missing option '-o' / '--output'"),
    "-g target --output=": (2, "the name of the file is empty"),
    "-g target -o x.tables --memory-limit 5MB": (2, "'5MB' is too little"),
    "-g target -o x.tables --test ttest": (2, "No such option"),
}


@pytest.mark.parametrize("words", WRONG)
def test_errors_are_one_line(run, source, words):
    os.mkdir("folder")
    for name in ("folder/mine.txt", "file.txt"):
        with open(name, "w") as file:
            file.write("mine")
    status, out, err = run("tabulate", source, *words.split())
    expected, message = WRONG[words]
    assert (status, out) == (expected, "")
    assert err.startswith("pdex: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert err.endswith("; see pdex tabulate --help\n") == (expected == 2)
    assert sorted(os.listdir()) == ["file.txt", "folder"]
    assert os.listdir("folder") == ["mine.txt"]


def changed_part(folder):
    path = folder / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def missing_part(folder):
    (folder / "part-00000.parquet").unlink()


def changed_labels(folder):
    (folder / "labels.parquet").write_bytes(b"PAR1")


def other_format(folder):
    facts = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(facts | {"format": 99, "pdex": "9.9"}))


def damaged_manifest(folder):
    (folder / "manifest.json").write_text('{"format": 1')


def no_manifest(folder):
    (folder / "manifest.json").unlink()


DAMAGES = {
    changed_part: "part-00000.parquet is not the file that manifest.json names",
    missing_part: "part-00000.parquet is missing, and manifest.json names it",
    changed_labels: "labels.parquet is not the file that manifest.json names",
    other_format: "was written by pdex 9.9 in format 99, and this version",
    damaged_manifest: "manifest.json is damaged",
    no_manifest: "has no manifest.json: it is not a folder of count tables",
    shutil.rmtree: "x.tables: there is no such folder",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_tables_are_one_line(run, tables, tmp_path, damage):
    folder = tmp_path / "x.tables"
    shutil.copytree(tables, folder)
    damage(folder)
    commands = [
        ("de", "x.tables", "-g", "target"),
        ("tabulate", "x.tables", "-g", "target", "-o", "y.tables"),
        ("info", "x.tables"),
    ]
    for words in commands:
        status, out, err = run(*words)
        if words[0] == "info" and damage in (changed_part, missing_part):
            # It reads no part.
            assert (status, err) == (0, "")
            continue
        assert (status, out) == (1, "")
        assert err.startswith("pdex: error: ")
        assert DAMAGES[damage] in err
        assert err.count("\n") == 1
    assert not (tmp_path / "y.tables").exists()


def test_other_folders_are_no_screens(run, tmp_path):
    (tmp_path / "folder").mkdir()
    for words in (("tabulate", "folder", "-g", "target", "-o", "x"), ("info", "folder")):
        status, out, err = run(*words)
        assert (status, out) == (1, "")
        assert err == (
            f"pdex: error: {str(tmp_path / 'folder')!r} is a folder; expected an .h5ad file, a "
            ".zarr store, or count tables, which pdex tabulate writes\n"
        )


COMPLETIONS = {
    "pdex tabulate {source} --groupby ": ["target", "rep", "lane"],
    "pdex tabulate {source} -g target -g r": ["rep"],
    "pdex tabulate {source} --layer ": ["log"],
    "pdex tabulate {source} -g target -g rep --single-cells n": ["non-targeting"],
    "pdex tabulate {source} --wh": ["--where"],
    "pdex de {tables} --groupby ": ["target", "rep", "lane"],
    "pdex de {tables} -g target --reference n": ["non-targeting"],
    "pdex de {tables} -g target --groups T000,T00": [f"T000,T00{i}" for i in range(1, 6)],
    "pdex de {tables} -g lane -r ": ["1", "2", "3"],
    "pdex calibrate {tables} -g target --strata r": ["rep"],
    "pdex de {tables} --layer ": [],
    "pdex de {tables} -g nope -r ": [],
    "pdex de {folder} -g ": [],
    "pdex de none.tables -g ": [],
}


@pytest.mark.parametrize("line", COMPLETIONS)
def test_completions(run, source, tables, monkeypatch, line):
    words = line.format(source=source, tables=tables, folder=source.parent)
    monkeypatch.setenv("_PDEX_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    status, out, err = run()
    assert (status, err) == (0, "")
    assert [item.split(",", 1)[1] for item in out.split()] == COMPLETIONS[line]
