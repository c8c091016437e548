"""How long a screen takes on a Dask cluster of so many workers: a model, with all that it is fed.

python benches/model.py [--measure] [--write]
                        [--cells 1e8 --groups 1135 --genes 62710 --values 1000 --files 14]
                        [--storage gzip] [--memory 1e9] [--store 10e9] [--link 1e9]

A worker is one core. Each kind of tasks takes as long as what bounds it: the work of a worker, the
store (all of it, or the link of a worker to it), or the scheduler. What the client does alone is
added. Tasks are taken to be alike, no worker is lost, and cells of all groups are in all files.

The rate count_row in rates.json was set by hand, not measured: measure before quoting a number.
--measure finds the rates on this machine (rates.py, 10 minutes) and keeps them in rates.json; the
arguments are assumptions about a screen and a store. Without --cells, the screens of docs/scale.md
are shown; --write puts them there.
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
PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
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
    #: To make and write a row of a count table; to count a cell; what a task does for all cells of
    #: its file; for each block of genes in a table.
    count_row: float
    count_cell: float
    count_label: float
    count_block: float
    #: Bytes of a row of a table, and of a table's list of parts, for each part.
    zero_bytes: float
    row_bytes: float
    part_bytes: float
    #: Cells a group and pass, and how many rows of values above 0 there are for each stored value.
    distinct: list[tuple[float, float]]
    #: To read a row of a table, to merge it, to test a gene of a target, to open a table, and the
    #: rest of a task.
    test_read: float
    test_row: float
    test_number: float
    test_table: float
    test_task: float
    #: Bytes of a share, and of the result, for each gene of a target.
    share_bytes: float
    result_bytes: float
    #: To complete and write a row of the result, to read one of a share, and to open a share.
    collect_number: float
    collect_read: float
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
    #: of a table's part.
    task: int
    genes: int
    numbers: int
    rows: int
    part: int
    #: The part of a task's memory that is for pieces of tables, and the bytes of a row there.
    pieces: float
    row: int
    #: Whether a collect task reads whole shares, and not only its targets: Polars 2.1 does.
    whole: bool = True

    @classmethod
    def of_pdex(cls) -> Cuts:
        """Return what the installed version does."""
        from pdex._cluster import collect, count, test
        from pdex._io import joined, tables
        from pdex._resources import Resources

        pieces = Resources(1, 1_000).for_pieces / 1_000
        of_test = (test.GENES, test.NUMBERS)
        return cls(count.TASK, *of_test, collect.ROWS, tables.ROWS, pieces, joined._ROW)


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
    #: Bytes that a task may use: the argument memory_limit.
    memory: float = 1e9
    #: Of each table, where they are known: rows of zeros, and rows of other values.
    rows: tuple[float, float] | None = None


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
    #: Bytes of the screen, the tables, the shares and the result.
    sizes: dict[str, float] = field(default_factory=dict)
    #: How often test tasks read the tables, and how often they unpack them.
    passes: tuple[float, float] = (1.0, 1.0)

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
    """Return rows of a table for each stored value, at so many cells a group and pass.

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


def table_of(screen: Screen, rates: Rates, tables: int) -> tuple[float, float]:
    """Return the rows of one of so many tables: of zeros, and of other values."""
    if screen.rows is not None:
        return screen.rows
    cells = screen.cells / tables
    # Groups that have cells in the pass, if all are as large.
    present = screen.groups * -math.expm1(-cells / screen.groups)
    values = cells * screen.values
    return present * screen.genes, values * rows_of_values(rates, cells / present)


def passes(rows: float, tables: int, budget: float, cuts: Cuts) -> float:
    """Return how often a test task unpacks each row, given its rows in all tables and its memory.

    It takes some genes of all tables at a time, and keeps the rows that it unpacked last.
    """
    if rows * cuts.row <= budget / 2:
        return 1.0
    pieces = math.ceil(rows / max(cuts.part, budget / 8 / cuts.row))
    parts = math.ceil(rows / tables / cuts.part)
    return max(1.0, pieces / parts)


def reads(n_bytes: float, again: float, budget: float) -> float:
    """Return how often it reads the bytes of tables, of which it keeps some, given `passes`."""
    kept = min(1.0, budget / 4 / n_bytes) if n_bytes else 1.0
    return 1 + (again - 1) * (1 - kept)


def plan(screen: Screen, rates: Rates, cuts: Cuts) -> Plan:
    """Return the tasks of a screen."""
    of_file = screen.cells / screen.files
    per_file = max(1, math.ceil(of_file * screen.values * rates.memory_bytes / cuts.task))
    m = screen.files * per_file
    targets = screen.groups - 1
    b = max(1, math.ceil(screen.genes / max(1, min(cuts.genes, cuts.numbers // targets))))
    numbers = targets * screen.genes
    r = max(1, math.ceil(targets / max(1, cuts.rows // screen.genes)))
    zeros, others = table_of(screen, rates, m)
    rows = zeros + others
    values = screen.cells * screen.values / m
    source = values * rates.value_bytes[screen.storage]
    listed = rates.part_bytes * max(b, rows / cuts.part)
    table = zeros * rates.zero_bytes + others * rates.row_bytes + listed
    count = Kind(
        "count", m,
        values * rates.count_value[screen.storage]
        + rows * rates.count_row
        + screen.cells / m * rates.count_cell + of_file * rates.count_label + b * rates.count_block,
        source, table,
    )  # fmt: skip
    share = numbers * rates.share_bytes / b
    of_block = m * rows / b
    budget = screen.memory * cuts.pieces
    again = passes(of_block, m, budget, cuts)
    packed = m * (table - listed) / b
    read = reads(packed, again, budget)
    test = Kind(
        "test", b,
        of_block * (again * rates.test_read + rates.test_row) + numbers / b * rates.test_number
        + m * rates.test_table + rates.test_task,
        # Of each table its list of parts, too; numbers are written and read before the share is.
        read * packed + m * listed + share, 2 * share,
    )  # fmt: skip
    result = numbers * rates.result_bytes / r
    shared = 1 if cuts.whole else r
    collect = Kind(
        "collect", r,
        numbers / r * rates.collect_number + numbers / shared * rates.collect_read
        + b * rates.collect_share,
        numbers / shared * rates.share_bytes + result, result,
    )  # fmt: skip
    client = rates.client_call + screen.cells * rates.client_label + m * rates.client_table
    sizes = {
        "screen": m * source, "tables": m * table, "shares": b * share, "result": r * result
    }  # fmt: skip
    return Plan((count, test, collect), client, sizes, (read, again))


def enough(found: Plan, store: Store, rates: Rates, factor: float = NOTHING) -> int:
    """Return from how many workers on more of them gain nothing."""
    least = found.line(max(kind.tasks for kind in found.kinds), store, rates).total
    workers = 1
    while found.line(workers, store, rates).total > factor * least:
        workers += 1
    return workers


# --- what is shown --------------------------------------------------------------------------------

#: The screens of docs/scale.md.
SCREENS = {
    "A screen of 10⁸ cells": Screen(1e8, 1_135, 62_710, 1_000, 14),
    'The same with `memory_limit="16GB"`': Screen(1e8, 1_135, 62_710, 1_000, 14, memory=16e9),
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
        f"{size(store.total)} a second, and a worker {size(store.link)}; tasks that may use "
        f"{size(screen.memory)} of memory."
    )
    each = (f"{kind.tasks:,} {kind.name} tasks of {spelled(kind.work)}" for kind in found.kinds)
    yield f"- Tasks: {', '.join(each)} on one core."
    per_cell = (
        f"{name} {size(number)} ({number / screen.cells:,.0f} B a cell)"
        for name, number in found.sizes.items()
    )
    yield f"- Files: {', '.join(per_cell)}."
    read, again = found.passes
    if again > 1:
        yield (
            f"- For lack of memory, test tasks read tables {read:.0f} times and unpack them "
            f"{again:.0f} times: see below."
        )
    some, more = (enough(found, store, rates, factor) for factor in (1.1, NOTHING))
    yield f"- More than {some:,} workers gain less than 10 %, more than {more:,} nothing."


def checked(rates: Rates, cuts: Cuts) -> Iterator[str]:
    """Yield a table of screens that were timed, and what the model says of them."""
    from report import header, row

    yield from header("screen", "workers", "CPU, model", "measured", "wall, model", "measured")
    for one in rates.checks:
        known = {name: one[name] for name in ("cells", "groups", "genes", "values", "storage")}
        screen = Screen(**known, rows=tuple(one["rows"]))
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
                yield f"rows a value at {x:,.0f} cells a group and pass", f"{y:.3f}"
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
    parser.add_argument("--memory", type=float, default=1e9, help="memory_limit")
    parser.add_argument("--store", type=float, default=10e9, help="its bytes a second")
    parser.add_argument("--link", type=float, default=1e9, help="those of one worker")
    parser.add_argument("--measure", action="store_true", help="find the rates on this machine")
    parser.add_argument("--write", action="store_true", help="write docs/scale.md")
    parser.add_argument("--folder", type=Path, default=RATES.parents[1] / ".bench")
    asked = parser.parse_args()
    if asked.write and asked.cells is not None:
        parser.error("--write takes the screens of docs/scale.md: leave out --cells")
    if asked.measure:
        # In a process of its own: the workers import it by its name.
        code = "import sys, rates; rates.main(sys.argv[1])"
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, asked.folder], cwd=RATES.parent, check=True
        )
    screens = SCREENS
    if asked.cells is not None:
        of_screen = (asked.cells, asked.groups, asked.genes, asked.values, asked.files)
        screens = {"The screen": Screen(*of_screen, asked.storage, asked.memory)}
    lines = list(shown(screens, Store(asked.store, asked.link), Rates.read()))
    print("\n".join(lines))
    if asked.write:
        import report

        report.write("model", lines, "Of `python benches/model.py`.", PAGE, "model.py")


if __name__ == "__main__":
    main()
