"""The arithmetic of benches/model.py; its rates are not looked at."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

BENCHES = Path(__file__).parents[1] / "benches"


@pytest.fixture
def model(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHES))
    import model

    return model


@pytest.fixture
def rates(model):
    """Rates of 0, but for one row of a table in four values from 100 cells a group on."""
    names = {name: 0.0 for name in model.Rates.__dataclass_fields__}
    names |= {"machine": "", "checks": [], "distinct": [(10.0, 0.5), (100.0, 0.25)]}
    names |= {"count_value": {"gzip": 1e-6}, "value_bytes": {"gzip": 2.0}, "memory_bytes": 4.0}
    return model.Rates(**names)


def cuts(model, **others):
    defaults = {
        "task": 4_000,
        "genes": 10,
        "numbers": 1_000,
        "rows": 100,
        "part": 1_000,
    }
    return model.Cuts(**(defaults | others))


def test_tasks_of_a_screen(model, rates):
    rates = replace(rates, test_number=1e-3, collect_number=1e-2, client_call=2.0)
    screen = model.Screen(cells=1_000, groups=6, genes=25, values=10, files=2)
    plan = model.plan(screen, rates, cuts(model))
    # 5,000 values of 4 bytes in each file, 10 genes a test, 4 targets of 25 genes in a part.
    assert [kind.tasks for kind in plan.kinds] == [10, 3, 2]
    line = plan.line(1, model.Store(), rates)
    assert line.seconds == pytest.approx(
        {"count": 0.01, "test": 0.125, "collect": 1.25, "client": 2.0}
    )
    assert line.total == pytest.approx(3.385)
    assert plan.line(4, model.Store(), rates).seconds["count"] == pytest.approx(3 * 1e-3)
    # The longest phase has two tasks; three workers test all blocks at once.
    assert model.enough(plan, model.Store(), rates, 1.0001) == 10
    assert model.enough(plan, model.Store(), rates, 1.05) == 2


def test_fewer_genes_a_task_where_targets_are_many(model, rates):
    screen = model.Screen(cells=1_000, groups=501, genes=25)
    assert model.plan(screen, rates, cuts(model)).kinds[1].tasks == 13
    assert model.plan(replace(screen, groups=5_001), rates, cuts(model)).kinds[1].tasks == 25


def test_what_bounds(model):
    kind = model.Kind("count", 100, work=1.0, read=3e6, written=1e6)
    seconds = {
        (1, math.inf, math.inf, 0): (100.0, "count"),
        (1_000, math.inf, math.inf, 0): (1.0, "one count task"),
        (50, math.inf, 1e6, 0): (8.0, "link"),
        (50, 1e8, 1e6, 0): (8.0, "link"),
        (50, 1e7, math.inf, 0): (40.0, "store"),
        (50, math.inf, math.inf, 0.5): (50.0, "scheduler"),
    }
    for (workers, total, link, task), expected in seconds.items():
        found = kind.seconds(workers, model.Store(total, link), task)
        assert found == pytest.approx(expected), expected


def test_rows_of_a_table(model, rates):
    found = [model.rows_of_values(rates, cells) for cells in (0.5, 1, 10, 100, 10_000)]
    assert found == pytest.approx([1, 1, 0.5, 0.25, 0.0625])
    assert 0.25 < model.rows_of_values(rates, 30) < 0.5
    # 50 cells of 5 groups in each task.
    screen = model.Screen(cells=500, groups=5, genes=7, values=20)
    assert model.rows_of(screen, rates, 10) == pytest.approx(500, rel=1e-3)
    # Few cells cannot be of many groups: each is alone in its group.
    assert model.rows_of(replace(screen, groups=5_000), rates, 10) == pytest.approx(1_000, rel=1e-2)
    assert model.rows_of(replace(screen, rows=2.0), rates, 10) == 2


def test_what_goes_through_files(model, rates):
    rates = replace(rates, share_bytes=72.0, result_bytes=10.0, row_bytes=3.0, part_bytes=50.0)
    screen = model.Screen(cells=1_000, groups=11, genes=25, values=10, rows=200.0)
    plan = model.plan(screen, rates, cuts(model))
    count, test, collect = plan.kinds
    # 10 tasks count; each block of 10 genes is one part, for want of rows.
    assert [kind.tasks for kind in plan.kinds] == [10, 3, 3]
    assert count.written == pytest.approx(200 * 3 + 3 * 50)
    assert test.read == pytest.approx(10 * 750 / 3 + 250 * 72 / 3)
    assert collect.read == pytest.approx(250 / 3 * (72 + 10))
    # 5,000 rows of 8 bytes, in 3 blocks of parts of 100.
    parts = model.plan(screen, rates, cuts(model, part=100)).kinds[0].written
    assert parts == pytest.approx(200 * 3 + 3 * 16 * 50)


def test_the_page_has_the_marks_of_the_model(model):
    import report

    text = model.PAGE.read_text()
    assert all(text.count(mark) == 1 for mark in report.marks("model", "model.py"))
    model.Rates.read()
