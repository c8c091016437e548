"""benches/side_by_side.py runs, and sees a wrong answer; its figures are not looked at."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHES = Path(__file__).parents[1] / "benches"
PAGE = BENCHES.parent / "docs" / "developers" / "benchmarks.md"


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHES))


@pytest.fixture
def make_screen_is_there():
    import screens

    if not screens.MAKE_SCREEN.exists():
        pytest.skip(f"what makes the screens is not at {screens.MAKE_SCREEN}")


@pytest.fixture
def sides(tmp_path):
    """Saves two sides' answers, the second one changed, and compares them."""
    import checks

    shape = (2, 3)
    same = {
        "targets": np.array(["A", "B"]),
        "features": np.array(["g0", "g1", "g2"]),
        "asked": np.ones(shape, dtype=bool),
        "statistic": np.arange(6.0).reshape(shape),
        "p_value": np.full(shape, 0.5),
        "auroc": np.full(shape, 0.25),
    }

    def compare(changed, **how):
        for name, answers in (("ours", same), ("theirs", {**same, **changed})):
            with open(tmp_path / name, "wb") as file:
                np.savez(file, **answers)
        columns = ["statistic", "p_value"]
        return checks.between(tmp_path / "ours", tmp_path / "theirs", columns, **how)

    return compare


def test_smoke(make_screen_is_there, tmp_path):
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib, of the extra docs")
    before = PAGE.read_text()
    command = [sys.executable, BENCHES / "side_by_side.py", "--smoke", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" in done.stdout
    assert "wrong" not in done.stdout
    assert PAGE.read_text() == before
    assert list(tmp_path.iterdir()) == []


def test_log_values_are_those_of_make_screen(make_screen_is_there):
    import screens

    counts = screens.make_screen().simulate(300, 40, 3).X
    total = np.asarray(counts.sum(1)).ravel()
    scale = (1e4 / np.maximum(total, 1)).astype(np.float32)
    want = np.log1p(counts.data * np.repeat(scale, np.diff(counts.indptr)))
    screens.to_log(counts)
    np.testing.assert_array_equal(counts.data, want)


@pytest.mark.parametrize("column", ["statistic", "p_value"])
def test_one_wrong_answer_is_seen(sides, column):
    import sections

    changed = {"statistic": np.arange(6.0).reshape(2, 3), "p_value": np.full((2, 3), 0.5)}
    assert sides({}) == {"statistic": 0, "p_value": 0}
    changed[column][1, 2] *= 1 + 3e-6
    worst = sides(changed)
    assert worst[column] == pytest.approx(3e-6, rel=1e-4)
    bench = sections.Bench(Path())
    text = bench.held("a peer", worst, sections.ALLOWED["illico"])
    assert text == "**3e-06: wrong**"
    assert column in bench.failures[0]


def test_lacking_and_renamed_answers_are_seen(sides):
    asked = np.ones((2, 3), dtype=bool)
    asked[0, 1] = False
    with pytest.raises(SystemExit, match="lacks"):
        sides({"asked": asked})
    assert sides({"asked": asked}, sampled=True)["statistic"] == 0
    with pytest.raises(SystemExit, match="name targets or genes"):
        sides({"targets": np.array(["A", "C"])})
    nothing = np.full((2, 3), np.nan)
    assert sides({"p_value": nothing})["p_value"] == np.inf


def test_p_values_near_the_end_of_float64():
    import checks

    ours, theirs = [0.0, 3e-301, 2e-300, 2e-300, 0.1], [4e-320, 1e-305, 2e-300, 0.0, 0.1]
    np.testing.assert_allclose(checks.differences("p_value", ours, theirs), [0, 0, 0, 1, 0])


def test_verdicts_and_marks(tmp_path):
    import report

    assert (report.at_least(10, 10), report.at_least(4, 10)) == ("pass", "missed by 2.5")
    assert (report.at_most(0.5, 0.5), report.at_most(20, 0.5)) == ("pass", "missed by 40")
    page = tmp_path / "page.md"
    start, end = report.marks("threads")
    page.write_text(f"prose\n\n{start}\nold\n{end}\n\nmore prose\n")
    report.write("threads", ["| a |"], "today.", page)
    assert page.read_text() == f"prose\n\n{start}\n\ntoday.\n\n| a |\n\n{end}\n\nmore prose\n"
    with pytest.raises(SystemExit, match="no marks"):
        report.write("memory", [], "", page)


def test_the_page_has_the_marks_of_every_section():
    import report
    import sections

    text = PAGE.read_text()
    for name in sections.SECTIONS:
        assert all(text.count(mark) == 1 for mark in report.marks(name)), name
