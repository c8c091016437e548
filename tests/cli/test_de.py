"""`pdex de`: every option reaches `pdex.de`, rows on stdout and in files are its rows."""

import inspect
import io
import os
from pathlib import Path

import pdex
import polars as pl
import pytest
from pdex._validate import DEFAULTS
from pdex.cli import show
from pdex.cli.de import de
from pdex.cli.show import p_text
from polars.testing import assert_frame_equal

WHOLE = pl.col("n_target", "n_reference").cast(pl.UInt32)
TEXT = pl.col("target", "feature").cast(pl.String)


def read(text, separator=","):
    return pl.read_csv(io.StringIO(text), separator=separator).with_columns(WHOLE)


def test_every_option_of_the_function_is_one_of_the_command():
    names = {name for name, _ in _keywords()} | {o for own in DEFAULTS.values() for o in own}
    mine = {parameter.name for parameter in de.params}
    # A command has no client of Dask.
    names.remove("engine")
    assert names <= mine
    assert mine - names == {"path", "head", "form", "debug", "groupby", "output", "part"}


def _keywords():
    signature = inspect.signature(pdex.de)
    return [(n, p) for n, p in signature.parameters.items() if p.kind == p.KEYWORD_ONLY]


def test_defaults_are_those_of_the_function(run, path, monkeypatch):
    given, defaults = {}, {name: parameter.default for name, parameter in _keywords()}
    monkeypatch.setattr(pdex, "de", lambda path, **more: given.update(more) or pl.DataFrame())
    assert run("de", path, "-g", "target", "--format", "csv")[0] == 0
    assert given.pop("groupby") == "target"
    assert given == {name: defaults[name] for name in given}


@pytest.mark.parametrize("suffix", [".parquet", ".ipc", ".csv", ".tsv"])
def test_a_file_holds_what_the_function_returns(run, path, suffix):
    status, out, err = run("de", path, "--groupby", "target", "-o", f"de{suffix}")
    assert (status, out, err) == (0, "", "")
    expected = pdex.de(path, "target")
    if suffix in (".csv", ".tsv"):
        got = read(Path(f"de{suffix}").read_text(), "," if suffix == ".csv" else "\t")
        expected = expected.with_columns(TEXT)
    else:
        got = pl.read_parquet("de.parquet") if suffix == ".parquet" else pl.read_ipc("de.ipc")
    assert_frame_equal(got, expected, check_exact=True)
    assert os.listdir() == [f"de{suffix}"]


CASES = {
    "--reference rest": {"reference": "rest"},
    "-r T003": {"reference": "T003"},
    "--test anderson": {"test": "anderson"},
    "--test ks --method exact": {"test": "ks", "method": "exact"},
    "--test anderson --no-midrank": {"test": "anderson", "midrank": False},
    "--test anderson --method scipy": {"test": "anderson", "method": "scipy"},
    "-t ttest": {"test": "ttest"},
    "-t ttest --no-equal-var": {"test": "ttest", "equal_var": False},
    "-t ttest --no-equal-var --overestim-var": {
        "test": "ttest",
        "equal_var": False,
        "overestim_var": True,
    },
    "--groups T001,T004": {"groups": ["T001", "T004"]},
    "--groups T001 --groups T004": {"groups": ["T001", "T004"]},
    "--genes g3,g7 --genes @more.txt": {"genes": ["g3", "g7", "g11", "g12"]},
    "--layer log": {"layer": "log"},
    "--layer log --counts": {"layer": "log", "is_log1p": False},
    "--is-log1p": {"is_log1p": True},
    "--mean geometric": {"mean": "geometric"},
    "--pseudocount 0.5": {"pseudocount": 0.5},
    "--fdr all": {"fdr": "all"},
    "--alternative less": {"alternative": "less"},
    "--alternative greater --test ttest": {"alternative": "greater", "test": "ttest"},
    "--method auto --groups T001": {"method": "auto", "groups": ["T001"]},
    "--no-continuity": {"continuity": False},
    "--no-tie-correct": {"tie_correct": False},
    "--strata rep": {"strata": "rep"},
    "--strata rep --alternative less --reference rest": {
        "strata": "rep",
        "alternative": "less",
        "reference": "rest",
    },
    "--auroc --test ttest": {"auroc": True, "test": "ttest"},
    "--threads 1 --memory-limit 100MB --progress": {"threads": 1},
}


@pytest.mark.parametrize("words", CASES)
def test_options(run, path, words):
    with open("more.txt", "w", encoding="utf-8-sig") as file:
        file.write("g11\n\n g12 \n")
    status, out, err = run("de", path, "-g", "target", *words.split())
    assert (status, err) == (0, "")
    expected = pdex.de(path, "target", **CASES[words]).with_columns(TEXT)
    assert_frame_equal(read(out), expected, check_exact=True)
    if words not in ("--method auto --groups T001", "--threads 1 --memory-limit 100MB --progress"):
        # Another answer than without the option.
        assert not expected.equals(pdex.de(path, "target").with_columns(TEXT))


@pytest.mark.parametrize(
    ("word", "limit"),
    [
        ("800MB", 800_000_000),
        ("2GB", 2_000_000_000),
        ("1.5 gib", 1_610_612_736),
        ("200000k", 200_000_000),
        ("123456789", 123_456_789),
        ("0.1T", 100_000_000_000),
    ],
)
def test_sizes_have_units(run, path, monkeypatch, word, limit):
    seen = {}
    monkeypatch.setattr(pdex, "de", lambda path, **given: seen.update(given) or pl.DataFrame())
    run("de", path, "-g", "target", "--memory-limit", word, "--format", "csv")
    assert seen["memory_limit"] == limit


def test_the_first_rows_are_those_with_the_smallest_p_values(run, path):
    whole = pdex.de(path, "target").with_columns(TEXT)
    expected = whole.sort("neg_log10_p", descending=True, maintain_order=True).head(7)
    _, out, _ = run("de", path, "-g", "target", "--head", 7)
    assert_frame_equal(read(out), expected, check_exact=True)
    _, out, _ = run("de", path, "-g", "target", "--head", 7, "--format", "tsv", "-o", "x.parquet")
    assert_frame_equal(read(out, "\t"), expected, check_exact=True)
    assert pl.read_parquet("x.parquet").height == whole.height == 300


def test_more_rows_than_there_are(run, path):
    whole = run("de", path, "-g", "target", "--head", 300)
    assert run("de", path, "-g", "target", "--head", 10**30) == whole
    assert whole[1].count("\n") == 301


def test_undefined_p_values_come_last(run, screen, tmp_path):
    odd = screen[:, :4].copy()
    odd.X = odd.X.toarray()
    odd.X[:, 1] = 3.0
    odd.write_h5ad(tmp_path / "odd.h5ad")
    _, out, _ = run("de", "odd.h5ad", "-g", "target", "-t", "ttest", "--head", 24)
    assert read(out)["feature"][-6:].to_list() == ["g1"] * 6


def test_a_table(run, path):
    _, out, _ = run("de", path, "-g", "target", "--head", 3, "--format", "table")
    best = pdex.de(path, "target").sort("p_value").row(0, named=True)
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["target", "feature", "target_mean"]
    cells = lines[2].split()
    assert cells[:2] == [best["target"], best["feature"]]
    assert float(cells[4]) == pytest.approx(best["log2_fold_change"], rel=1e-3)
    assert float(cells[6]) == pytest.approx(best["p_value"], rel=0.05)
    hits = pdex.de(path, "target").filter(pl.col("fdr") < 0.05).height
    assert hits > 30
    assert lines[-1] == f"3 of 300 rows, smallest p-values first; {hits} with fdr < 0.05."


@pytest.mark.parametrize(
    ("minus_log", "text"),
    [
        (0.0, "1"),
        (2.0, "0.01"),
        (3.0, "1.0e-03"),
        (9.001, "1.0e-09"),
        (9.9999, "1.0e-10"),
        (400.5, "3.2e-401"),
        (float("inf"), "0"),
        (float("nan"), "nan"),
    ],
)
def test_p_values_however_small(minus_log, text):
    assert p_text(minus_log) == text


WRONG = {
    "--groupby nope": (1, "obs has no column 'nope'. Columns: 'target', 'rep'"),
    "-g target -r NT": (1, "'NT' is not a group of obs['target']. Groups: 'non-targeting', 'T000'"),
    "-g target --layer nope": (1, "there is no layer 'nope'. Layers: 'log'"),
    "-g target --genes @none.txt": (1, "none.txt: No such file or directory"),
    "-g target --genes @empty.txt": (1, "empty.txt has no names; expected one per line"),
    "-g target --genes g1,g999": (1, "var_names has no gene 'g999'"),
    "-g target -o no/de.csv": (1, "there is no folder 'no'"),
    "-g target --strata nope": (1, "obs has no column 'nope'. Columns: 'target', 'rep'"),
    "-g target --where repp='r1'": (1, "obs has no column 'repp'. Did you mean 'rep'?"),
    "-g target --strata target": (1, "'T005' is in a stratum with cells of the reference: choose"),
    "": (2, "Missing option '-g' / '--groupby'"),
    "-g target --strata rep --test ttest": (
        2,
        "strata is not available for ttest; use test='wilcoxon'",
    ),
    "-g target --strata rep --method exact": (2, "method='exact' is not available with strata"),
    "-g target --genes g1,,g2": (2, "'g1,,g2' has an empty name"),
    "-g target -o de.xlsx": (2, "'de.xlsx': expected a name that ends in .parquet"),
    "-g target -o de.csv --format csv": (2, "with --output, give --head as well"),
    "-g target --test u": (2, "'u' is not one of 'wilcoxon', 'anderson', 'ttest', 'ks'"),
    "-g target --test ttest --no-midrank": (
        2,
        "--test ttest has no option --midrank. Its options: ",
    ),
    "-g target -t anderson --alternative less": (2, "alternative must be 'two-sided' for anderson"),
    "-g target -t ttest --overestim-var": (2, "--overestim-var needs --no-equal-var"),
    "-g target --memory-limit 2XB": (2, "'2XB' is not a size. Use for example 800MB"),
    "-g target --memory-limit 2i": (2, "'2i' is not a size"),
    "-g target --memory-limit 5MB": (2, "'5MB' is too little; expected at least 100MB"),
    "-g target -o -": (2, "'-': expected a name that ends in .parquet"),
    "-g target -o de.csv.gz": (2, "so to gzip by '| gzip > de.csv.gz'"),
    "-g target -o .": (1, "'.' is a folder"),
    "-g target --output=": (2, "the name of the file is empty"),
    "-g target --pseudocount nan": (2, "'nan' is not a finite number"),
    "-g target --pseudocount inf": (2, "'inf' is not a finite number"),
    "-g target --genes @": (2, "'@' names no file"),
    "-g target --genes @binary": (1, "binary is not UTF-8 text; expected one name per line"),
    "-g target --pseudocount abc": (2, "'abc' is not a valid number"),
    "-g": (2, "Option '-g' requires an argument"),
    "-g target --where rep=": (2, "'rep=' is not a condition in SQL (unable to parse 'rep=' as"),
    "-g target --threads 0": (2, "0 is not in the range x>=1"),
    "-g target --thread 1": (2, "No such option"),
}


@pytest.mark.parametrize("words", WRONG)
def test_errors_are_one_line(run, path, words):
    open("empty.txt", "w").close()
    Path("binary").write_bytes(b"\x89HDF")
    status, out, err = run("de", path, *words.split())
    expected, message = WRONG[words]
    assert (status, out) == (expected, "")
    assert err.startswith("pdex: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert '"' not in err
    assert err.endswith("; see pdex de --help\n") == (expected == 2)
    assert sorted(os.listdir()) == ["binary", "empty.txt"]


def test_labels_that_look_like_numbers_or_worse(run, screen, tmp_path):
    names = ["1", "02", "a,b", 'q"uote', "two\nlines", "\x1b[31m", "non-targeting"]
    odd = screen.copy()
    odd.obs["target"] = odd.obs["target"].cat.rename_categories(names)
    odd.var_names = [f"{i:03}" for i in range(odd.n_vars)]
    odd.write_h5ad("odd.h5ad")
    best = pdex.de("odd.h5ad", "target").sort("p_value")
    wanted = best.head(9).select(pl.col("target", "feature").cast(pl.String), "p_value")
    text = {"target": pl.String, "feature": pl.String}
    for words in ((), ("-o", "de.csv"), ("-o", "de.tsv"), ("-o", "de.parquet")):
        status, out, err = run(
            "de", "odd.h5ad", "-g", "target", "--head", 9, "--format", "csv", *words
        )
        assert (status, err) == (0, "")
        got = pl.read_csv(io.StringIO(out), schema_overrides=text)
        assert_frame_equal(got.select(wanted.columns), wanted)
    _, out, _ = run("de", "odd.h5ad", "-g", "target", "--head", 300, "--format", "table")
    assert out.count("\n") == 300 + 4
    assert "\x1b" not in out
    assert {line.split()[0] for line in out.splitlines()[2:-2]} == {
        *("1", "02", "a,b", 'q"uote', "two\\nlines", "\\x1b[31m")
    }


def test_files_that_are_no_screens(run, tmp_path):
    (tmp_path / "x.h5ad").write_text("text")
    (tmp_path / "folder").mkdir()
    for name, message in {
        "none.h5ad": "none.h5ad: No such file or directory",
        "x.h5ad": "x.h5ad' is not an HDF5 file, or it is damaged. Expected an .h5ad file",
        "folder": "folder",
    }.items():
        for words in (["de", name, "-g", "target"], ["info", name]):
            status, out, err = run(*words)
            assert (status, out) == (1, "")
            assert message in err
            assert err.count("\n") == 1
    expected = f"pdex: error: {str(tmp_path / 'folder')!r} is a folder; expected an .h5ad file, a "
    assert (
        run("info", "folder")[2]
        == f"{expected}.zarr store, or count tables, which pdex tabulate writes\n"
    )


def test_long_results_are_one_table(run, path, monkeypatch):
    _, whole, _ = run("de", path, "-g", "target")
    monkeypatch.setattr(show, "_PART", 7)
    assert run("de", path, "-g", "target")[1] == whole
    assert whole.count("\n") == 301


def test_warnings_are_one_line(run, path, monkeypatch):
    import warnings

    def warn(path, **_):
        warnings.warn("for users,\nof several lines", UserWarning, stacklevel=1)
        warnings.warn("for programmers", FutureWarning, stacklevel=1)
        return pl.DataFrame({"a": [1]})

    monkeypatch.setattr(pdex, "de", warn)
    _, out, err = run("de", path, "-g", "target")
    assert (out, err) == ("a\n1\n", "pdex: warning: for users, of several lines\n")
