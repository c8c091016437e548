"""pdex calibrate: what pdex.calibrate finds, printed and written."""

import inspect

import pdex
import polars as pl
import pytest
from pdex._validate import DEFAULTS
from pdex.cli.calibrate import calibrate
from polars.testing import assert_frame_equal


def test_prints_the_verdict_and_writes_what_is_judged(run, path, tmp_path):
    output = tmp_path / "controls.parquet"
    words = ("calibrate", path, "-g", "target", "--n-splits", "4", "--seed", "3", "-o", output)
    status, out, _ = run(*map(str, words))
    found = pdex.calibrate(path, "target", n_splits=4, seed=3)
    assert status == 0
    assert out == f"{found!r}\n"
    assert_frame_equal(pl.read_parquet(output), found.judged_rows(), check_exact=True)


def test_a_missing_column_is_one_line(run, path):
    status, out, err = run("calibrate", str(path), "-g", "target", "--by", "nope")
    assert (status, out) == (1, "")
    assert "'nope'" in err
    assert err.count("\n") == 1


def test_every_option_of_the_function_is_one_of_the_command():
    of_tests = {name for own in DEFAULTS.values() for name in own}
    known = set(inspect.signature(pdex.calibrate).parameters) - {"data", "options"}
    assert {parameter.name for parameter in calibrate.params} == (
        known | of_tests | {"path", "output", "debug"}
    )


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("-t ttest --no-equal-var", {"test": "ttest", "equal_var": False}),
        ("--no-continuity --min-cells 20", {"continuity": False, "min_cells": 20}),
        ("--min-expected 20 --genes g1,g2,g3", {"min_expected": 20, "genes": ["g1", "g2", "g3"]}),
        ("-r T000 -r T001 --counts", {"reference": ["T000", "T001"], "is_log1p": False}),
    ],
)
def test_options(run, path, words, options):
    status, out, _ = run("calibrate", path, "-g", "target", *words.split())
    assert (status, out) == (0, f"{pdex.calibrate(path, 'target', **options)!r}\n")


def test_wrong_options_are_wrong_usage(run, path):
    for words, message in {
        "-t ttest --no-midrank": "--test ttest has no option --midrank",
        "-t anderson --alternative less": "alternative must be 'two-sided' for anderson",
        "--min-expected nan": "'nan' is not a finite number",
        "-o c.xlsx": "expected a name that ends in .parquet",
    }.items():
        status, out, err = run("calibrate", path, "-g", "target", *words.split())
        assert (status, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1
