"""The tables of docs/developers/benchmarks.md: what each compares, and its bars.

A section yields the lines of its table, each as soon as it is measured. What disagrees is noted in
``Bench.failures``, and fails the run at its end.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import checks
import report
from cluster import cluster
from disk import disk
from report import header, row
from screens import Shape, of_non_zeros
from sides import Side, alternate, environment, once
from sources import sources

from tables import larger, lazy, sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Lines = Iterator[str]

#: Fewer molecules where there are fewer genes, so that the share of non-zeros stays (39 %).
SHAPES = {
    "base": Shape(30_000, 8_000, 200),
    "few large groups": Shape(30_000, 8_000, 4),
    "2,000 small groups": Shape(60_000, 4_000, 2_000, molecules=5_500),
    "5 % non-zeros": Shape(30_000, 8_000, 200, molecules=480),
    "500,000 controls": Shape(520_000, 500, 20, molecules=690, controls=500_000),
    "large groups": Shape(120_000, 2_000, 200, molecules=2_750),
    "k562": Shape(310_000, 8_500, 2_050, in_blocks=True),
}
TINY = {
    "base": Shape(600, 120, 8, molecules=200),
    "few large groups": Shape(600, 120, 4, molecules=200),
    "2,000 small groups": Shape(900, 60, 40, molecules=100),
    "5 % non-zeros": Shape(600, 120, 8, molecules=8),
    "500,000 controls": Shape(900, 60, 4, molecules=100, controls=720),
    "large groups": Shape(900, 60, 8, molecules=100),
    "k562": Shape(2_500, 40, 6, molecules=60, in_blocks=True),
}
OTHERS = ("few large groups", "2,000 small groups", "5 % non-zeros", "500,000 controls")
KINDS = ("counts", "log")
CONTROL = "non-targeting"
REFERENCES = {"reference": CONTROL, "rest": "rest"}
TESTS = ("wilcoxon", "ttest", "anderson")
#: How far a peer's answers may be away, by column; what is not named is not compared. scanpy
#: squares values and keeps scores in float32, which p-values of large scores multiply. polars-ds
#: forgets the ties of the largest value.
ALLOWED = {
    "illico": {"statistic": 1e-6, "p_value": 1e-6, "z_score": 1e-6},
    "pdex-0.3": {"statistic": 1e-6, "p_value": 1e-6},
    "scanpy": {"statistic": 1e-4},
    "polars-ds": {"statistic": 1e-6, "p_value": 1e-3},
}
#: Of two runs of pdex, and of what SciPy is held to.
SAME = {"statistic": 0.0, "p_value": 0.0}
SCIPY = {"statistic": checks.SCIPY, "p_value": checks.SCIPY}


@dataclass
class Bench:
    """What a run shares."""

    folder: Path
    rounds: int = 5
    #: Tiny screens: figures mean nothing.
    tiny: bool = False
    #: Whether there are peers.
    peers: bool = True
    #: Only rows whose name holds it.
    rows: str = ""
    #: How few random comparisons are held to SciPy's.
    pairs: int = 50
    plot: Path | None = None
    failures: list[str] = field(default_factory=list)

    def screen(self, name: str) -> str:
        """Return the path of a screen."""
        return str((TINY if self.tiny else SHAPES)[name].path(self.folder))

    def job(self, shape: str, kind: str, against: str, test: str, **more: Any) -> dict[str, Any]:
        """Return a job on a screen."""
        job = {"mode": "loop", "side": "pdex", "path": self.screen(shape), "log": kind == "log"}
        return {**job, "reference": REFERENCES[against], "test": test, **more}

    def held(self, name: str, worst: dict[str, float], allowed: dict[str, float]) -> str:
        """Return the worst difference; one that is too large is noted as a failure."""
        wrong = {column: off for column, off in worst.items() if not off <= allowed[column]}
        for column, off in wrong.items():
            limit = allowed[column]
            self.failures.append(f"{name}: {column} differs by {off:.1e}, allowed {limit:.0e}")
        off = max(wrong.values() if wrong else worst.values())
        return f"**{off:.0e}: wrong**" if wrong else f"{off:.0e}"


def compare(
    bench: Bench, name: str, bar: float, jobs: tuple[dict, dict], python: str | Path, **how: Any
) -> str:
    """Return the line of two sides: medians, their ratio, and the worst difference of answers.

    Parameters
    ----------
    bench, name, bar
        The run, the line's name, and what the ratio should reach.
    jobs
        Ours and theirs.
    python
        Theirs.
    **how
        ``allowed``, how far answers may be away by column; ``times``, what their seconds are
        multiplied by; ``sampled``, whether they hold only some comparisons; ``variables`` of their
        environment.
    """
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        answers = [Path(folder) / side for side in ("ours", "theirs")]
        other_side = jobs[1]["side"]
        mine, other = (
            {**job, "answer": str(path)} for job, path in zip(jobs, answers, strict=True)
        )
        ours, theirs = Side(mine), Side(other, python, **how.get("variables", {}))
        mine, other = alternate(ours, theirs, bench.rounds)
        worst = checks.between(
            *answers,
            list(how["allowed"]),
            sampled=how.get("sampled", False),
            but_centre=other_side == "illico",
        )
    other *= how.get("times", 1)
    checked = bench.held(name, worst, how["allowed"])
    ratio = other / mine
    verdict = report.at_least(ratio, bar)
    return row(
        name, f"{other:.3f} s", f"{mine:.3f} s", f"{ratio:.1f}", f"{bar:g}", verdict, checked
    )


def answers(bench: Bench) -> Lines:
    """Hold a sample of each screen's comparisons to SciPy's."""
    yield from header("screen", "test", "comparisons", "statistic", "p-value", "allowed", "")
    shapes = ("base",) if not bench.peers else ("base", *OTHERS)
    for shape, kind in itertools.product(shapes, KINDS):
        if bench.rows not in f"{shape}, {kind}":
            continue
        job = bench.job(shape, kind, "rest", "", mode="scipy", pairs=bench.pairs, tests=TESTS)
        yield from held_to_scipy(bench, f"{shape}, {kind}", job)


def held_to_scipy(bench: Bench, name: str, job: dict[str, Any]) -> Lines:
    """Yield a line for each test and reference of a job."""
    for line in once(job):
        against = "rest" if line["reference"] == "rest" else "reference"
        test = f"{line['test']}, {against}"
        worst = {column: line[column] for column in ("statistic", "p_value")}
        verdict = bench.held(f"{name}, {test}, SciPy", worst, SCIPY)
        verdict = verdict if "wrong" in verdict else "pass"
        found = (f"{off:.0e}" for off in worst.values())
        yield row(name, test, line["pairs"], *found, f"{checks.SCIPY:.0e}", verdict)


def beside(bench: Bench) -> Lines:
    """Compare with every peer on the screen of 30,000 x 8,000 x 200, and on a long frame."""
    yield from header("what", "peer", "pdex", "ratio", "bar", "", "answers differ by")
    for name, bar, peer, ours, theirs in comparisons(bench):
        if bench.rows in name:
            python = environment(bench.folder, "illico" if peer == "scanpy" else peer)
            yield compare(bench, name, bar, (ours, theirs), python, allowed=ALLOWED[peer])


def comparisons(bench: Bench) -> Iterator[tuple[str, float, str, dict, dict]]:
    """Yield name, bar, peer and the jobs of both sides."""
    for values, (labels, bar) in itertools.product(
        ("reals", "counts"), (("strings", 50), ("enum", 150))
    ):
        job = {"mode": "loop", "path": long_frame(bench), "values": values, "labels": labels}
        ours, theirs = {**job, "side": "expression"}, {**job, "side": "polars-ds"}
        yield f"polars-ds: {values}, {labels}", bar, "polars-ds", ours, theirs
    for layout, kind, against in itertools.product(("csr", "csc", "dense"), KINDS, REFERENCES):
        job = bench.job("base", kind, against, "wilcoxon", layout=layout)
        yield f"illico: {layout}, {kind}, {against}", 10, "illico", job, {**job, "side": "illico"}
    for kind in KINDS:
        job = bench.job("base", kind, "reference", "wilcoxon")
        name = f"pdex 0.3: csr, {kind}, reference"
        yield name, 100, "pdex-0.3", job, {**job, "side": "pdex-0.3"}
    # scanpy's t-test is Welch's.
    job = bench.job("base", "log", "rest", "ttest", options={"equal_var": False})
    yield "scanpy t-test: csr, log, rest", 20, "scanpy", job, {**job, "side": "scanpy"}


def long_frame(bench: Bench) -> str:
    """Return the path of 2 million rows of 200 genes and 50 targets."""
    import numpy as np
    import polars as pl

    n = 20_000 if bench.tiny else 2_000_000
    path = bench.folder / ("long-tiny.parquet" if bench.tiny else "long.parquet")
    if not path.exists():
        rng = np.random.default_rng(0)
        genes, targets = (200, 50) if not bench.tiny else (20, 5)
        columns = {
            "gene": np.array([f"gene{i}" for i in range(genes)])[rng.integers(0, genes, n)],
            "target": np.array([f"target{i}" for i in range(targets)])[rng.integers(0, targets, n)],
            "reals": rng.normal(size=n),
            "counts": rng.poisson(1.0, n).astype(np.float64),
        }
        pl.DataFrame(columns).write_parquet(path)
    return str(path)


def shapes(bench: Bench) -> Lines:
    """Compare with illico on screens of other shapes."""
    yield from header("screen", "illico", "pdex", "ratio", "bar", "", "answers differ by")
    python = environment(bench.folder, "illico")
    for shape, kind, against in itertools.product(OTHERS, KINDS, REFERENCES):
        name = f"{shape}: {kind}, {against}"
        if bench.rows in name:
            job = bench.job(shape, kind, against, "wilcoxon")
            jobs = (job, {**job, "side": "illico"})
            yield compare(bench, name, 10, jobs, python, allowed=ALLOWED["illico"])


def anderson(bench: Bench) -> Lines:
    """Compare with a loop of SciPy's anderson_ksamp, timed on a sample and scaled."""
    shape = (TINY if bench.tiny else SHAPES)["base"]
    n = 20 if bench.tiny else 200
    yield from header("what", "SciPy", "pdex", "ratio", "bar", "", "T differs by")
    for kind, (against, of) in itertools.product(KINDS, (("reference", 0), ("rest", 1))):
        name = f"{kind}, {against}"
        if bench.rows not in name or (not bench.peers and name != "counts, reference"):
            continue
        every = (shape.targets + of) * shape.genes
        job = bench.job("base", kind, against, "anderson")
        jobs = (job, {**job, "side": "scipy", "pairs": n})
        how = {"allowed": {"statistic": checks.SCIPY}, "times": every / n, "sampled": True}
        title = f"{name}: {n} of {every:,} comparisons, scaled"
        yield compare(bench, title, 1_000, jobs, sys.executable, **how)


def memory(bench: Bench) -> Lines:
    """Take the peak of de beyond the loaded data, in a fresh process for each."""
    columns = ("what", "loaded", "result", "peak beyond loaded data", "minus the result", "bar", "")
    yield from header(*columns)
    questions = [("base", *q) for q in itertools.product(KINDS, TESTS, REFERENCES)]
    questions += [(shape, kind, "wilcoxon", "reference") for shape in OTHERS for kind in KINDS]
    questions = [(*q, "csr") for q in questions]
    dense = itertools.product(KINDS, ("csc", "dense"))
    questions += [("base", kind, "wilcoxon", "reference", layout) for kind, layout in dense]
    if not bench.peers:
        questions = questions[:1]
    for shape, kind, test, against, layout in questions:
        name = f"{shape}, {layout}: {kind}, {test}, {against}"
        if bench.rows in name:
            job = bench.job(shape, kind, against, test, mode="memory", layout=layout)
            (line,) = once(job)
            yield row(name, *peak(line))


def peak(line: dict[str, float]) -> tuple[str, ...]:
    """Return the cells that tell a peak: no more than 500 MB and the result."""
    bar = 500e6
    beyond = line["peak"] - line["result"]
    verdict = report.at_most(beyond, bar)
    if not line["reset"]:
        verdict += " (an upper bound: with the peak of loading)"
    sizes = (line["input"], line["result"], line["peak"], beyond, bar)
    return (*(f"{size / 1e6:,.0f} MB" for size in sizes), verdict)


def threads(bench: Bench) -> Lines:
    """Compare two threads with one."""
    yield from header("what", "1 thread", "2 threads", "ratio", "bar", "", "answers differ by")
    for kind, test, against in itertools.product(KINDS, TESTS, REFERENCES):
        name = f"{kind}, {test}, {against}"
        first = bench.peers or name == "log, wilcoxon, reference"
        if bench.rows in name and first:
            two = bench.job("base", kind, against, test, threads=2)
            how = {"allowed": SAME, "variables": {"POLARS_MAX_THREADS": "1"}}
            yield compare(bench, name, 1.8, (two, {**two, "threads": 1}), sys.executable, **how)


def linear(bench: Bench) -> Lines:
    """Time screens from 1 to 300 million non-zeros, and draw them."""
    import numpy as np

    of_cells = [Shape(cells, 40, cells // 100, molecules=60) for cells in (300, 1_200)]
    grown = of_cells if bench.tiny else [of_non_zeros(n) for n in (1, 3, 10, 30, 100, 300)]
    paths = [str(shape.path(bench.folder)) for shape in grown]
    times = ("counts", "per non-zero", "log values", "per non-zero")
    yield from header("non-zeros", "cells", "targets", *times)
    points = once({"mode": "growth", "paths": paths, "calls": bench.rounds})
    for shape, point in zip(grown, points, strict=True):
        cells = [f"{point['nonzeros'] / 1e6:.1f} million", f"{shape.cells:,}", shape.targets]
        for kind in KINDS:
            cells += [f"{point[kind]:.3f} s", f"{point[kind] / point['nonzeros'] * 1e9:.1f} ns"]
        yield row(*cells)
    yield ""
    large = [point for point in points if bench.tiny or point["nonzeros"] > 5e6]
    for kind in KINDS:
        x, y = (np.log([point[of] for point in large]) for of in ("nonzeros", kind))
        slope = float(np.polyfit(x, y, 1)[0])
        verdict = report.at_most(slope, 1.1)
        yield f"- {kind}: slope {slope:.2f} above 5 million non-zeros, bar 1.1: {verdict}"
    yield ""
    yield "![Time of pdex.de against millions of non-zeros, with lines of slope 1](benchmarks.png)"
    report.plot(points, bench.plot or bench.folder / "benchmarks.png")


def start(bench: Bench) -> Lines:
    """Time the import and the first call in fresh processes."""
    yield from header("what", "time", "bar", "")
    lines = {}
    for kind in KINDS if bench.peers else ("counts",):
        job = bench.job("base", kind, "reference", "wilcoxon", mode="start")
        lines[kind] = [once(job)[0] for _ in range(bench.rounds)]
    seconds = statistics.median(line["imports"] for found in lines.values() for line in found)
    yield row("`import pdex`", f"{seconds:.2f} s", "0.5 s", report.at_most(seconds, 0.5))
    for kind, found in lines.items():
        first = statistics.median(line["first"] for line in found)
        warm = statistics.median(line["warm"] for line in found)
        name = f"first call, {kind}: {first:.3f} s, minus a warm one ({warm:.3f} s)"
        beyond = max(first - warm, 0.0)
        yield row(name, f"{beyond:.3f} s", "0.2 s", report.at_most(beyond, 0.2))


def k562(bench: Bench) -> Lines:
    """Time the size of K562-essential and take its peak of memory."""
    columns = ("what", "non-zeros", "time", "loaded", "result", "peak beyond loaded data")
    yield from header(*columns, "minus the result", "bar", "")
    calls = 0 if not bench.peers else 2
    for kind, against in itertools.product(KINDS, REFERENCES):
        name = f"{kind}, {against}"
        if bench.rows not in name or (not bench.peers and name != "counts, reference"):
            continue
        job = bench.job("k562", kind, against, "wilcoxon", mode="memory", calls=calls)
        (line,) = once(job)
        yield row(name, f"{line['nonzeros']:,}", f"{line['seconds']:.1f} s", *peak(line))
    if bench.peers and not bench.rows:
        job = bench.job("k562", "counts", "rest", "", mode="scipy", pairs=10, tests=["wilcoxon"])
        name = "k562, counts"
        yield ""
        yield from header("screen", "test", "comparisons", "statistic", "p-value", "allowed", "")
        yield from held_to_scipy(bench, name, job)


@dataclass(frozen=True)
class Section:
    """A part of the page, between marks of its name."""

    lines: Callable[[Bench], Lines]
    #: Peers that it needs, by environment, with the packages whose versions are told.
    peers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    #: Whether it runs unless others are named.
    usual: bool = True


SECTIONS = {
    "answers": Section(answers),
    "peers": Section(
        beside,
        {
            "illico": ("illico", "scanpy"),
            "pdex-0.3": ("pdex",),
            "polars-ds": ("polars-ds",),
        },
    ),
    "shapes": Section(shapes, {"illico": ("illico",)}),
    "anderson": Section(anderson),
    "memory": Section(memory),
    "threads": Section(threads),
    "linear": Section(linear),
    "start": Section(start),
    "disk": Section(disk),
    "sources": Section(sources),
    "lazy": Section(lazy),
    "tables": Section(sizes),
    "larger": Section(larger),
    "cluster": Section(cluster, {"illico-dask": ("illico", "anndata", "dask", "distributed")}),
    "k562": Section(k562, usual=False),
}
