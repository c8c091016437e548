"""Count tables, the lazy path, and files that are read once.

What is compared gives equal answers: a difference of one bit is a failure.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import checks
import report
from report import header, row
from screens import in_file
from sides import Side, alternate, once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sections import Bench

KINDS = ("counts", "log")
SAME = {"statistic": 0.0, "p_value": 0.0}
#: Bytes of a process that runs the lazy path, or reads a file once.
MOST_LAZY, MOST_ONCE = 1.5e9, 0.6e9
#: Bytes that a file larger than memory may use.
LIMIT = 150_000_000
#: Parts of the cells, for the curve of sizes.
SHARES = (1 / 8, 1 / 4, 1 / 2, 1)


def lazy(bench: Bench) -> Iterator[Any]:
    """Time scan_anndata, group_by and wilcoxon beside de of the same data."""
    yield from header("data", "pdex.de", "lazy path", "ratio", "bar", "", "answers differ by")
    for kind, where in questions(bench):
        name = f"{where}: {kind}"
        if bench.rows not in name:
            continue
        job = {**bench.job("base", kind, "reference", "wilcoxon"), "options": {"method": "auto"}}
        if where != "memory":
            file = ("csr", "none" if where == "file" else "gzip")
            job["file"] = str(in_file(bench.screen("base"), (kind, *file), bench.folder))
        yield beside_de(bench, name, job)
    yield ""
    yield from header("data", "peak of the process", "bar", "")
    for kind, where in questions(bench):
        if bench.rows in f"{where}: {kind}" and where != "memory":
            file = ("csr", "none" if where == "file" else "gzip")
            path = in_file(bench.screen("base"), (kind, *file), bench.folder)
            job = bench.job("base", kind, "reference", "wilcoxon", mode="file", path=str(path))
            (line,) = once({**job, "call": "lazy"})
            peak = f"{line['peak'] / 1e6:,.0f} MB"
            bar = report.at_most(line["peak"], MOST_LAZY)
            yield row(f"{where}: {kind}", peak, f"{MOST_LAZY / 1e6:,.0f} MB", bar)


def questions(bench: Bench) -> Iterator[tuple[str, str]]:
    """Yield kind of values and where they are."""
    if not bench.peers:
        yield from (("counts", "memory"), ("log", "gzip file"))
        return
    yield from itertools.product(KINDS, ("memory", "file", "gzip file"))


def beside_de(bench: Bench, name: str, job: dict[str, Any]) -> str:
    """Return the line of the lazy path beside de."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        answers = [Path(folder) / side for side in ("de", "lazy")]
        jobs = [
            {**job, "side": side, "answer": str(path)}
            for side, path in zip(("pdex", "lazy"), answers, strict=True)
        ]
        whole, lazily = alternate(Side(jobs[0]), Side(jobs[1]), bench.rounds)
        worst = checks.between(*answers, list(SAME))
    ratio = lazily / whole
    checked = bench.held(f"lazy, {name}", worst, SAME)
    verdict = report.at_most(ratio, 2.0)
    return row(name, f"{whole:.3f} s", f"{lazily:.3f} s", f"{ratio:.2f}", "2", verdict, checked)


def sizes(bench: Bench) -> Iterator[Any]:
    """Take bytes a cell over cells a group, and times beside de, of count tables."""
    columns = ("screen", "cells a group", "rows", "table", "gzip file", "CSR in memory")
    yield from header(*columns, "bytes a row")
    found = []
    shapes = ("base", "large groups", "5 % non-zeros")
    for shape, kind in (*((shape, "counts") for shape in shapes), ("base", "log")):
        if bench.rows not in f"{shape}, {kind}":
            continue
        for share in SHARES if bench.peers else SHARES[-1:]:
            job = bench.job(shape, kind, "reference", "wilcoxon", mode="tables", share=share)
            (line,) = once({**job, "calls": bench.rounds if share == 1 else 1})
            per_cell = [f"{line[of] / line['cells']:,.0f}" for of in ("table", "gzip", "csr")]
            each = f"{line['cells'] / line['groups']:.0f}"
            per_row = f"{line['table'] / line['rows']:.2f}"
            per_cell = [f"{size} B a cell" for size in per_cell]
            yield row(f"{shape}, {kind}", each, f"{line['rows']:,}", *per_cell, per_row)
            if share == 1:
                found.append((f"{shape}, {kind}", line))
    yield ""
    columns = ("screen", "de in memory", "tabulate in memory", "ratio", "bar", "")
    yield from header(*columns, "de of the gzip file", "de of the table", "ratio", "bar", "")
    for name, line in found:
        ratio, part = line["tabulate"] / line["de"], line["of_table"] / line["of_file"]
        bar = ("1", report.at_most(ratio, 1.0)) if "counts" in name else ("", "")
        times = (f"{line['de']:.3f} s", f"{line['tabulate']:.3f} s", f"{ratio:.2f}", *bar)
        of_files = (f"{line['of_file']:.3f} s", f"{line['of_table']:.3f} s", f"{part:.2f}")
        yield row(name, *times, *of_files, "0.2", report.at_most(part, 0.2))


def larger(bench: Bench) -> Iterator[Any]:
    """Read CSR files larger than the memory limit once, beside several passes."""
    columns = ("file", "several passes", "bytes read", "once", "ratio", "bar", "")
    yield from header(*columns, "bytes read", "bar", "", "written", "peak", "bar", "")
    for kind, storage in itertools.product(KINDS, ("none", "gzip")):
        name = f"{kind}, {storage}"
        if bench.rows not in name or (not bench.peers and name != "counts, none"):
            continue
        path = in_file(bench.screen("base"), (kind, "csr", storage), bench.folder)
        job = bench.job("base", kind, "reference", "wilcoxon", mode="larger", path=str(path))
        sides: dict[bool, list[dict[str, float]]] = {False: [], True: []}
        for _ in range(bench.rounds):
            for passes, lines in sides.items():
                lines += once({**job, "limit": LIMIT, "passes": passes})
        own, other = (
            {of: statistics.median(line[of] for line in lines) for of in lines[0]}
            for lines in sides.values()
        )
        if own["check"] != other["check"]:
            bench.failures.append(f"larger, {name}: answers differ")
        size = Path(path).stat().st_size
        ratio, read = own["seconds"] / other["seconds"], own["read"] / size
        yield row(
            f"{name}, {size / 1e6:,.0f} MB",
            f"{other['seconds']:.2f} s",
            f"{other['read'] / size:.1f} times",
            f"{own['seconds']:.2f} s",
            f"{ratio:.2f}",
            "1",
            report.at_most(ratio, 1.0),
            f"{read:.2f} times",
            *(("2", report.at_most(read, 2.0)) if storage == "none" else ("", "")),
            f"{own['written'] / 1e6:,.0f} MB",
            f"{own['peak'] / 1e6:,.0f} MB",
            f"{MOST_ONCE / 1e6:,.0f} MB",
            report.at_most(own["peak"], MOST_ONCE),
        )
