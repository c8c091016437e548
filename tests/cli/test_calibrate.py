"""pdex calibrate: what pdex.calibrate finds, printed and written."""

import pdex
import polars as pl
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
