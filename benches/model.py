"""How long a screen takes on a Dask cluster of so many workers: a model, with all that it is fed.

python benches/model.py [--measure] [--write]
                        [--cells 1e8 --groups 1135 --genes 62710 --values 1000 --files 14]
                        [--storage gzip] [--store 10e9] [--link 1e9]

A worker is one core. Each kind of tasks takes as long as what bounds it: the work of a worker, the
store (all of it, or the link of a worker to it), or the scheduler. What the client does alone is
added. Tasks are taken to be alike, no worker is lost, and cells of all groups are in all files.

--measure finds the rates on this machine (rates.py, 10 minutes) and keeps them in rates.json; the
arguments are assumptions about a screen and a store. Without --cells, the screens of
docs/developers/benchmarks.md are shown; --write puts them there.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

RATES = Path(__file__).with_name("rates.json")
PAGE = Path(__file__).parents[1] / "docs" / "developers" / "benchmarks.md"
WORKERS = (1, 2, 16, 64, 256, 1_000)
#: More workers gain nothing where the time is within this factor of that of any number of them.
NOTHING = 1.02


@dataclass(frozen=True)
class Rates:
    """What was measured; seconds are those of one core."""

    #: Where and when.
    machine: str
    #: To read and count a stored value, by how the file is compressed, and the bytes that it takes
    #: there.
    count_value: dict[str, float]
    value_bytes: dict[str, float]
    #: Bytes of a stored value while it is counted.
    memory_bytes: float
    #: To make and write a row of counts; for each gene and group; to count a cell; what a task does
    #: for all cells of its file; for each part of its file of counts.
    count_row: float
    count_pair: float
    count_cell: float
    count_label: float
    count_part: float
    #: Bytes of a row of counts, and of a part beside its rows.
    row_bytes: float
    part_bytes: float
    #: Cells a group and task, and how many rows there are for each stored value.
    distinct: list[tuple[float, float]]
    #: To read and merge a row of counts, to test a gene of a target, to read a part of a file of
    #: counts, and the rest of a task.
    test_row: float
    test_number: float
    test_part: float
    test_task: float
    #: Bytes of a share, and of the result, for each gene of a target.
    share_bytes: float
    result_bytes: float
    #: To complete and write a row of the result, and to open a share.
    collect_number: float
    collect_share: float
    #: On the client: a call, a table, and a cell's label.
    client_call: float
    client_table: float
    client_label: float
    #: Of the scheduler and the client: a task that does nothing.
    dask_task: float
    #: Screens that were timed: what the model is held to.
    checks: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path = RATES) -> Rates:
        """Return the rates in a file."""
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path = RATES) -> None:
        """Keep the rates in a file."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


class Cuts(NamedTuple):
    """How pdex cuts a screen into tasks."""

    #: Bytes of a count task, the most genes and numbers of a test task, rows of a collect task and
    #: of a part of all files of counts.
    task: int
    genes: int
    numbers: int
    rows: int
    part: int

    @classmethod
    def of_pdex(cls) -> Cuts:
        """Return what the installed version does."""
        from pdex._cluster import collect, count, exchange, test

        return cls(count.TASK, test.GENES, test.NUMBERS, collect.ROWS, exchange.PART)


@dataclass(frozen=True)
class Screen:
    """What is tested."""

    cells: float
    groups: int
    genes: int = 62_710
    #: Stored values of a cell.
    values: float = 1_000
    files: int = 1
    storage: str = "gzip"
    #: Of each file of counts, where they are known.
    rows: float | None = None


@dataclass(frozen=True)
class Store:
    """Where files lie: bytes a second of all of it, and of one worker."""

    total: float = math.inf
    link: float = math.inf


@dataclass(frozen=True)
class Kind:
    """Tasks that are alike: how many, and what each needs."""

    name: str
    tasks: int
    #: Seconds of a core.
    work: float
    read: float
    written: float

    def seconds(self, workers: float, store: Store, dask_task: float) -> tuple[float, str]:
        """Return how long all take, and what bounds them."""
        moved = self.read + self.written
        waves = math.ceil(self.tasks / workers)
        bounds = {
            self.name: waves * self.work,
            "link": waves * moved / store.link,
            "store": self.tasks * moved / store.total,
            "scheduler": self.tasks * dask_task,
        }
        bound = max(bounds, key=lambda name: bounds[name])
        alone = bound == self.name and waves == 1
        return bounds[bound], f"one {bound} task" if alone else bound


@dataclass(frozen=True)
class Plan:
    """The tasks of a screen, and what the client does alone."""

    kinds: tuple[Kind, Kind, Kind]
    client: float
    #: Bytes of the screen, the counts, the shares and the result.
    sizes: dict[str, float] = field(default_factory=dict)

    def line(self, workers: float, store: Store, rates: Rates) -> Line:
        """Return what so many workers take."""
        each = {kind.name: kind.seconds(workers, store, rates.dask_task) for kind in self.kinds}
        seconds = {name: found for name, (found, _) in each.items()} | {"client": self.client}
        longest = max(seconds, key=lambda name: seconds[name])
        bound = "client" if longest == "client" else each[longest][1]
        work = sum(kind.tasks * kind.work for kind in self.kinds)
        total = sum(seconds.values())
        return Line(workers, seconds, total, bound, work / (workers * total))


class Line(NamedTuple):
    """A prediction."""

    workers: float
    #: By kind of tasks, and of the client.
    seconds: dict[str, float]
    total: float
    #: What bounds the longest part.
    bound: str
    #: The part of the workers' time in which they work.
    busy: float


def rows_of_values(rates: Rates, cells: float) -> float:
    """Return rows of counts for each stored value, at so many cells a group and task.

    Between two measured points, and beyond the last, logarithms lie on a line.
    """
    points = [(math.log(x), math.log(y)) for x, y in rates.distinct]
    x = math.log(max(cells, 1e-9))
    if x <= points[0][0]:
        # A cell alone has as many rows as values.
        points = [(0.0, 0.0), *points] if points[0][0] > 0 else points
        if x <= points[0][0]:
            return 1.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1 or (x1, y1) == points[-1]:
            return min(1.0, math.exp(y0 + (y1 - y0) * (x - x0) / (x1 - x0)))
    raise ValueError("there must be at least two points")


def rows_of(screen: Screen, rates: Rates, tasks: int) -> float:
    """Return the rows of counts that one of so many tasks writes."""
    if screen.rows is not None:
        return screen.rows
    cells = screen.cells / tasks
    # Groups that have cells in the task, if all are as large.
    present = screen.groups * -math.expm1(-cells / screen.groups)
    return cells * screen.values * rows_of_values(rates, cells / present)


def plan(screen: Screen, rates: Rates, cuts: Cuts) -> Plan:
    """Return the tasks of a screen."""
    of_file = screen.cells / screen.files
    per_file = max(1, math.ceil(of_file * screen.values * rates.memory_bytes / cuts.task))
    m = screen.files * per_file
    targets = screen.groups - 1
    b = max(1, math.ceil(screen.genes / max(1, min(cuts.genes, cuts.numbers // targets))))
    numbers = targets * screen.genes
    r = max(1, math.ceil(targets / max(1, cuts.rows // screen.genes)))
    rows = rows_of(screen, rates, m)
    values = screen.cells * screen.values / m
    source = values * rates.value_bytes[screen.storage]
    in_memory = m * values * rates.memory_bytes
    parts = b * max(1, int(in_memory / 8 / b / cuts.part))
    counts = rows * rates.row_bytes + parts * rates.part_bytes
    count = Kind(
        "count", m,
        values * rates.count_value[screen.storage]
        + rows * rates.count_row + screen.genes * screen.groups * rates.count_pair
        + screen.cells / m * rates.count_cell + of_file * rates.count_label
        + parts * rates.count_part,
        source, counts,
    )  # fmt: skip
    share = numbers * rates.share_bytes / b
    test = Kind(
        "test", b,
        m * rows / b * rates.test_row + numbers / b * rates.test_number
        + m * parts / b * rates.test_part + rates.test_task,
        # Numbers are written and read before the share is.
        m * counts / b + share, 2 * share,
    )  # fmt: skip
    result = numbers * rates.result_bytes / r
    collect = Kind(
        "collect", r,
        numbers / r * rates.collect_number + b * rates.collect_share,
        numbers / r * rates.share_bytes + result, result,
    )  # fmt: skip
    client = rates.client_call + screen.cells * rates.client_label + m * rates.client_table
    sizes = {
        "screen": m * source, "counts": m * counts, "shares": b * share, "result": r * result
    }  # fmt: skip
    return Plan((count, test, collect), client, sizes)


def enough(found: Plan, store: Store, rates: Rates, factor: float = NOTHING) -> int:
    """Return from how many workers on more of them gain nothing."""
    least = found.line(max(kind.tasks for kind in found.kinds), store, rates).total
    workers = 1
    while found.line(workers, store, rates).total > factor * least:
        workers += 1
    return workers


# --- what is shown --------------------------------------------------------------------------------

#: The screens of docs/developers/benchmarks.md.
SCREENS = {
    "A screen of 10⁸ cells": Screen(1e8, 1_135, 62_710, 1_000, 14),
    "A genome-scale screen of 2 million cells": Screen(2e6, 9_868, 8_248, 3_000),
}


def spelled(seconds: float) -> str:
    """Return a time with two or three digits."""
    if seconds >= 5_400:
        return f"{seconds / 3_600:.1f} h"
    if seconds >= 100:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"


def size(number: float) -> str:
    """Return bytes with two or three digits."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= scale:
            return f"{number / scale:,.3g} {unit}"
    return f"{number:,.0f} B"


def table(found: Plan, store: Store, rates: Rates) -> Iterator[str]:
    """Yield the lines of a table, and what they are made of."""
    from report import header, row

    kinds = [kind.name for kind in found.kinds]
    yield from header("workers", "count", "test", "collect", "client", "all", "bound by", "busy")
    for workers in WORKERS:
        line = found.line(workers, store, rates)
        times = (spelled(line.seconds[name]) for name in (*kinds, "client"))
        yield row(f"{workers:,}", *times, spelled(line.total), line.bound, f"{line.busy:.0%}")


def described(screen: Screen, found: Plan, store: Store, rates: Rates) -> Iterator[str]:
    """Yield a list of what a table is made of."""
    files = "one file" if screen.files == 1 else f"{screen.files} files"
    yield (
        f"- Assumed: {screen.cells:,.0f} cells of {screen.values:,.0f} non-zero values in {files} "
        f"({screen.storage}); {screen.groups:,} groups; {screen.genes:,} genes; a store that gives "
        f"{size(store.total)} a second, and a worker {size(store.link)}."
    )
    each = (f"{kind.tasks:,} {kind.name} tasks of {spelled(kind.work)}" for kind in found.kinds)
    yield f"- Tasks: {', '.join(each)} on one core."
    per_cell = (
        f"{name} {size(number)} ({number / screen.cells:,.0f} B a cell)"
        for name, number in found.sizes.items()
    )
    yield f"- Files: {', '.join(per_cell)}."
    some, more = (enough(found, store, rates, factor) for factor in (1.1, NOTHING))
    yield f"- More than {some:,} workers gain less than 10 %, more than {more:,} nothing."


def checked(rates: Rates, cuts: Cuts) -> Iterator[str]:
    """Yield a table of screens that were timed, and what the model says of them."""
    from report import header, row

    yield from header("screen", "workers", "CPU, model", "measured", "wall, model", "measured")
    for one in rates.checks:
        known = {name: one[name] for name in ("cells", "groups", "genes", "values", "storage")}
        screen = Screen(**known, rows=one["rows"])
        found = plan(screen, rates, cuts._replace(task=one["task"]))
        work = sum(kind.tasks * kind.work for kind in found.kinds)
        wall = found.line(one["workers"], Store(), rates).total
        name = f"{screen.cells:,} cells, {screen.genes:,} genes, {screen.storage}"
        times = (f"{time:.1f} s" for time in (work, one["cpu"], wall, one["seconds"]))
        yield row(name, one["workers"], *times)


def inputs(rates: Rates) -> str:
    """Return all that was measured."""
    return "; ".join(f"{name} {value}" for name, value in _inputs(rates)) + "."


def _inputs(rates: Rates) -> Iterator[tuple[str, str]]:
    for one in fields(rates):
        name, value = one.name.replace("_", " "), getattr(rates, one.name)
        if one.name in ("machine", "checks"):
            continue
        if isinstance(value, dict):
            for key, number in value.items():
                yield f"{name}, {key}", _number(one.name, number)
        elif isinstance(value, list):
            for x, y in value:
                yield f"rows a value at {x:,.0f} cells a group and task", f"{y:.3f}"
        else:
            yield name, _number(one.name, value)


def _number(name: str, value: float) -> str:
    if name.endswith("bytes"):
        return f"{value:.3g} B"
    for unit, scale in (("s", 1), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value * 1e9:.2g} ns"


def shown(screens: dict[str, Screen], store: Store, rates: Rates) -> Iterator[str]:
    """Yield all that there is to say."""
    cuts = Cuts.of_pdex()
    for title, screen in screens.items():
        found = plan(screen, rates, cuts)
        yield from (f"### {title}", "", *described(screen, found, store, rates), "")
        yield from (*table(found, store, rates), "")
    yield from ("### The model beside measured times", "", *checked(rates, cuts), "")
    yield f"Rates, measured ({rates.machine}; seconds of one core): {inputs(rates)}"


def main() -> None:
    """Print the model's inputs and its tables."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=float)
    parser.add_argument("--groups", type=int, default=1_135, help="targets and the reference")
    parser.add_argument("--genes", type=int, default=62_710)
    parser.add_argument("--values", type=float, default=1_000, help="non-zero values of a cell")
    parser.add_argument("--files", type=int, default=14)
    parser.add_argument("--storage", choices=("none", "gzip"), default="gzip")
    parser.add_argument("--store", type=float, default=10e9, help="its bytes a second")
    parser.add_argument("--link", type=float, default=1e9, help="those of one worker")
    parser.add_argument("--measure", action="store_true", help="find the rates on this machine")
    parser.add_argument("--write", action="store_true", help="write docs/developers/benchmarks.md")
    parser.add_argument("--folder", type=Path, default=RATES.parents[1] / ".bench")
    asked = parser.parse_args()
    if asked.write and asked.cells is not None:
        parser.error(
            "--write takes the screens of docs/developers/benchmarks.md: leave out --cells"
        )
    if asked.measure:
        # In a process of its own: the workers import it by its name.
        code = "import sys, rates; rates.main(sys.argv[1])"
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, asked.folder], cwd=RATES.parent, check=True
        )
    screens = SCREENS
    if asked.cells is not None:
        of_screen = (asked.cells, asked.groups, asked.genes, asked.values, asked.files)
        screens = {"The screen": Screen(*of_screen, asked.storage)}
    lines = list(shown(screens, Store(asked.store, asked.link), Rates.read()))
    print("\n".join(lines))
    if asked.write:
        import report

        report.write("model", lines, "Made by `python benches/model.py --write`.", PAGE, "model.py")


if __name__ == "__main__":
    main()
