"""Verdicts, the marked tables of docs/developers/benchmarks.md, and its plot."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).parents[1] / "docs" / "developers" / "benchmarks.md"
PLOT = PAGE.with_suffix(".png")


def at_least(value: float, bar: float) -> str:
    """Return whether a ratio reaches its bar, or by what factor it misses it."""
    return "pass" if value >= bar else f"missed by {factor(bar / value)}"


def at_most(value: float, bar: float) -> str:
    """Return whether a cost stays below its bar, or by what factor it misses it."""
    return "pass" if value <= bar else f"missed by {factor(value / bar)}"


def factor(value: float) -> str:
    """Return a number above 1 with two digits or more."""
    return f"{value:.2f}" if value < 2 else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def header(*columns: str) -> list[str]:
    """Return the first two lines of a table."""
    return ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]


def row(*cells: object) -> str:
    """Return a line of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def marks(name: str, script: str = "side_by_side.py") -> tuple[str, str]:
    """Return the lines around the part of the page that a section makes."""
    return f"<!-- {name}: made by benches/{script} -->", f"<!-- end of {name} -->"


def write(
    name: str,
    lines: Sequence[str],
    about: str,
    page: Path = PAGE,
    script: str = "side_by_side.py",
) -> None:
    """Put a section's lines between its marks; what is around them stays."""
    start, end = marks(name, script)
    text = page.read_text()
    if text.count(start) != 1 or text.count(end) != 1:
        raise SystemExit(f"{page} has no marks {start} and {end}")
    before, after = text.split(start)[0], text.split(end)[1]
    page.write_text(before + "\n".join([start, "", about, "", *lines, "", end]) + after)


def machine() -> str:
    """Return the number of cores and the processor's name."""
    model = platform.processor() or "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), model)
    return f"{os.cpu_count()} cores of {model}"


def about(peers: dict[Path, Sequence[str]]) -> str:
    """Return a line with date, machine and versions.

    Parameters
    ----------
    peers
        Each environment's Python with the packages in it whose versions are told.
    """
    import pdex
    import polars as pl

    versions = [f"pdex {pdex.__version__}", f"Polars {pl.__version__}"]
    versions.append(f"Python {platform.python_version()}")
    for python, names in peers.items():
        code = "import sys, importlib.metadata as m; [print(n, m.version(n)) for n in sys.argv[1:]]"
        found = subprocess.run(
            [python, "-c", code, *names], check=True, capture_output=True, text=True
        )
        versions += found.stdout.splitlines()
    return f"{datetime.date.today().isoformat()}; {machine()}; {', '.join(versions)}."


def plot(points: Sequence[dict[str, float]], path: Path) -> None:
    """Draw seconds over non-zeros, both logarithmic, with a line of slope 1 for each kind."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
    x = [point["nonzeros"] / 1e6 for point in points]
    looks = {"counts": ("#0072b2", "o"), "log": ("#d55e00", "s")}
    for kind, (colour, marker) in looks.items():
        y = [point[kind] for point in points]
        label = {"counts": "counts", "log": "log values"}[kind]
        axes.plot(x, y, marker, color=colour, label=label, linestyle="none")
        # Through the largest screen.
        line = [y[-1] * v / x[-1] for v in x]
        axes.plot(x, line, color=colour, linewidth=1, linestyle="--", label=f"slope 1, {label}")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="non-zeros (millions)",
        ylabel="time of pdex.de (seconds)",
        title="Wilcoxon, CSR, against the reference",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.grid(which="major", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)
