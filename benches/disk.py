"""Screens in files: `de` from a path beside AnnData's reading alone, and a file larger than memory.

Every call is in a fresh process with the file in the page cache; imports are not counted, neither
AnnData's nor pdex's.
"""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import report
from report import header, row
from screens import Shape, in_file
from sides import once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sections import Bench

LAYOUTS = ("csr", "csc", "dense")
STORAGES = ("none", "gzip", "lzf")
#: Bytes resident.
MOST = 1e9
#: The bar: what part of AnnData's reading the whole of de may take.
BARS = {"none": 1.0, "gzip": 0.5, "lzf": 0.5}
#: 520 million non-zeros of 8 bytes, uncompressed.
LARGE = Shape(166_000, 8_000, 500, in_blocks=True)
LARGE_TINY = Shape(2_500, 40, 6, molecules=60, in_blocks=True)


def disk(bench: Bench) -> Iterator[Any]:
    """Time de from a path beside read_h5ad alone; compare peaks with 1 GB."""
    columns = ("file", "read_h5ad", "its peak", "pdex.de", "ratio", "bar", "", "peak", "bar", "")
    yield from header(*columns)
    for kind, against, layout, storage in questions(bench):
        name = f"{kind}, {against}: {layout}, {storage}"
        if bench.rows not in name:
            continue
        path = in_file(bench.screen("base"), (kind, layout, storage), bench.folder)
        job = bench.job("base", kind, against, "wilcoxon", mode="file", path=str(path))
        ours, theirs = [], []
        for _ in range(bench.rounds):
            ours += once({**job, "call": "de"})
            theirs += once({**job, "call": "read_h5ad"})
        (mine, peak), (other, its_peak) = (
            [statistics.median(line[of] for line in side) for of in ("seconds", "peak")]
            for side in (ours, theirs)
        )
        bar = BARS[storage] if (kind, against) == ("counts", "reference") else None
        ratio = mine / other
        verdict = ("", "") if bar is None else (f"{bar:g}", report.at_most(ratio, bar))
        times = (f"{other:.2f} s", f"{its_peak / 1e6:,.0f} MB", f"{mine:.2f} s", f"{ratio:.2f}")
        limit = ("1,000 MB", report.at_most(peak, MOST))
        yield row(name, *times, *verdict, f"{peak / 1e6:,.0f} MB", *limit)
    yield ""
    yield from bounded(bench)


def questions(bench: Bench) -> Iterator[tuple[str, str, str, str]]:
    """Yield kind of values, reference, layout and storage."""
    if not bench.peers:
        yield from itertools.product(["counts"], ["reference"], LAYOUTS, ["gzip"])
        return
    yield from itertools.product(["counts"], ["reference"], LAYOUTS, STORAGES)
    yield from itertools.product(["counts"], ["rest"], LAYOUTS, ["gzip"])
    yield from itertools.product(["log"], ["reference", "rest"], LAYOUTS, ["gzip"])


def bounded(bench: Bench) -> Iterator[Any]:
    """Run a file of 4 GB in a cgroup of 1 GB."""
    if bench.rows not in "a file of 4 GB":
        return
    shape = LARGE_TINY if bench.tiny else LARGE
    path = shape.path(bench.folder)
    size = Path(path).stat().st_size
    yield from header("file", "memory limit", "against", "time", "peak resident")
    for against in ("reference", "rest"):
        job = bench.job("base", "counts", against, "wilcoxon", mode="bounded", path=str(path))
        (line,) = once({**job, "limit": 10**9})
        limit = "1.0 GB" if line["limited"] else "none (no cgroup)"
        peak = f"{line['peak'] / 1e6:,.0f} MB"
        yield row(f"{size / 1e9:.2f} GB, CSR", limit, against, f"{line['seconds']:.1f} s", peak)
