"""Put the numbers of some targets together, from the shares of all blocks of genes.

P-values that are adjusted over all targets and genes (Benjamini and Hochberg, 1995, J. R. Stat.
Soc. B 57, 289) need the rank of each p-value among all. Each share has its own in order. Values are
cut into ranges; for each, a task looks up in all shares how many p-values are smaller, sorts those
within the range, and takes the running minimum of m p / rank from the largest down. The minimum of
the ranges above is carried over when the numbers are collected. A p-value of 1 stays 1 and needs no
rank. Ranks are 64-bit integers, so that there may be more than 2³² p-values.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from pdex._cluster.test import count_of, sorted_name
from pdex._description import Description
from pdex._output import save
from pdex._places import Remote, place_of, read_ipc
from pdex._shares import Shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pdex._output import Adjusted
    from pdex._places import Place
    from pdex._resources import Resources

    Numbers = npt.NDArray[np.float64]

#: About how many p-values a task adjusts.
P_VALUES = 1 << 22
#: About how many rows a part of the result has.
ROWS = 1 << 22
#: How many of a share's p-values are looked at to cut them into ranges.
_SAMPLES = 4096


class Range(NamedTuple):
    """P-values from `least` to before `most` that were adjusted, without those above."""

    file: str
    #: The smallest adjusted p-value.
    lowest: float


@dataclass(frozen=True)
class Adjust:
    """Adjust the p-values from `least` to before `most`."""

    shares: str
    n_shares: int
    #: The number of all p-values that are no NaN.
    m: int
    least: float
    most: float
    path: str

    @property
    def what(self) -> str:
        """What the task does."""
        return f"adjusting the p-values from {self.least:g} to {self.most:g}"


@dataclass(frozen=True)
class Collect:
    """Write the table of the targets from `first` to before `last`."""

    shares: str
    first: int
    last: int
    path: str
    #: Adjusted ranges, from the smallest p-values on, and what is carried over to each; None: they
    #: are adjusted for each target.
    adjusted: list[tuple[Range, float]] | None

    @property
    def what(self) -> str:
        """What the task does."""
        return f"collecting targets {self.first + 1} to {self.last}"


class Collected(NamedTuple):
    """A part of the result."""

    file: str
    rows: int
    bytes: int
    sha256: str
    #: Number of tests that Welch's test makes far too small.
    flat: int


# --- on the workers -----------------------------------------------------------------------------


def adjust(task: Adjust, resources: Resources) -> Range:  # noqa: ARG001 - one thread will do
    """Write the adjusted p-values of a range, in order of their places in the result."""
    folder = place_of(task.shares)
    shares = Shares(folder)
    n_genes = len(shares.features)
    before, first_gene = 0, 0
    values, places = [], []
    for number, genes in enumerate(shares.lengths):
        frame = _sorted(folder / sorted_name(number + 1, task.n_shares))
        p = frame["p"].to_numpy()
        a, b = np.searchsorted(p, [task.least, task.most])
        before += int(a)
        rows = frame["row"][int(a) : int(b)].to_numpy().astype(np.int64)
        target, gene = np.divmod(rows, max(1, genes))
        places.append(target * n_genes + first_gene + gene)
        values.append(p[a:b].copy())
        first_gene += genes
    place, value = np.concatenate(places), np.concatenate(values)
    order = np.argsort(value, kind="stable")
    adjusted = running(value[order], before, task.m)
    lowest = float(adjusted[0]) if len(adjusted) else 1.0
    inverse = np.empty_like(adjusted)
    inverse[order] = adjusted
    order = np.argsort(place)
    frame = pl.DataFrame({"place": place[order].astype(np.uint64), "fdr": inverse[order]})
    save(frame, place_of(task.path))
    return Range(task.path, lowest)


def running(p: Numbers, before: int, m: int) -> Numbers:
    """Return adjusted p-values of a sorted range, without what is carried over from above.

    Parameters
    ----------
    p
        P-values, ascending.
    before
        How many p-values are smaller than the range.
    m
        How many p-values there are.

    Returns
    -------
    numpy.ndarray
        For each the minimum of 1 and of m p / rank, over itself and those above it in the range.
    """
    ranks = np.arange(before + 1, before + len(p) + 1).astype(np.float64)
    scaled = np.minimum(np.abs(p) * (np.float64(m) / ranks), 1.0)
    lowest: Numbers = np.minimum.accumulate(scaled[::-1])[::-1]
    return lowest


def collect(task: Collect, resources: Resources) -> Collected:
    """Write the table of some targets."""
    path = place_of(task.path)
    shares = _Adjusted(place_of(task.shares), task.adjusted, (task.first, task.last))
    work = shares.work(resources)
    about = Description(**shares.plan.description)
    span = (task.first, task.last)
    if not path.is_file():
        shares.hold(*span)
        work.written(shares, path, shares.plan.targets, about.metadata(), span)
    data = path.read_bytes()
    flat = work.flat_in(pl.scan_parquet(io.BytesIO(data)))
    rows = (task.last - task.first) * len(shares.features)
    return Collected(path.name, rows, len(data), hashlib.sha256(data).hexdigest(), flat)


class _Adjusted(Shares):
    """Shares whose p-values have been adjusted over all targets and genes."""

    def __init__(
        self,
        folder: Place,
        ranges: list[tuple[Range, float]] | None,
        targets: tuple[int, int],
    ) -> None:
        super().__init__(folder)
        span = np.array(targets, dtype=np.uint64) * np.uint64(len(self.features))
        #: Of each range the places and adjusted p-values of the targets, and what is carried over.
        self._ranges: list[tuple[npt.NDArray[np.uint64], Numbers, float]] = []
        for found, carried in ranges or ():
            frame = _sorted(place_of(found.file))
            a, b = np.searchsorted(frame["place"].to_numpy(), span)
            place, fdr = (frame[name].to_numpy()[a:b].copy() for name in ("place", "fdr"))
            self._ranges.append((place, fdr, carried))

    def adjusted(self, number: int, threads: int) -> Adjusted:  # noqa: ARG002 - nothing is left
        """Return what reads the adjusted p-values of some targets."""
        return lambda first, last: self._of_targets(number, first, last)

    def _of_targets(self, number: int, first: int, last: int) -> Numbers:
        n_genes = len(self.features)
        every = range(len(self.paths))
        each = [self.numbers(share, first, last)[number] for share in every]
        parts = [numbers.reshape(last - first, -1) for numbers in each if len(numbers)]
        p = np.hstack(parts).reshape(-1) if parts else np.empty(0)
        # P-values of 1 stay as they are, NaN, too.
        adjusted: Numbers = p.copy()
        span = np.array([first * n_genes, last * n_genes], dtype=np.uint64)
        for place, fdr, carried in self._ranges:
            a, b = np.searchsorted(place, span)
            own = (place[a:b] - span[0]).astype(np.int64)
            adjusted[own] = np.minimum(fdr[a:b], carried)
        return adjusted


def _sorted(path: Place) -> pl.DataFrame:
    """Read a file of numbers in order."""
    try:
        return read_ipc(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{path} cannot be read: {error}"
        raise OSError(msg) from error


# --- on the client ------------------------------------------------------------------------------


def adjusts_of(shares: Shares, folder: Place) -> list[Adjust]:
    """Return the tasks that adjust all p-values below 1."""
    n, m, total, samples = len(shares.paths), 0, 0, []
    for number in range(1, n + 1):
        path = shares.folder / sorted_name(number, n)
        m += int(count_of(path).read_text(encoding="utf-8"))
        p = _sorted(path)["p"]
        total += len(p)
        samples.append(p.gather_every(max(1, len(p) // _SAMPLES)).to_numpy())
    drawn = np.sort(np.concatenate(samples))
    n_ranges = max(1, -(-total // P_VALUES))
    cuts = [drawn[len(drawn) * number // n_ranges] for number in range(1, n_ranges)]
    bounds = np.unique([0.0, *cuts, 1.0])
    return [
        Adjust(str(shares.folder), n, m, float(a), float(b), str(folder / f"{number:05}.ipc"))
        for number, (a, b) in enumerate(pairwise(bounds))
    ]


def carried(ranges: Sequence[Range]) -> list[tuple[Range, float]]:
    """Return each range with the smallest adjusted p-value of those above it."""
    lowest, found = 1.0, []
    for one in reversed(ranges):
        found.append((one, lowest))
        lowest = min(lowest, one.lowest)
    return found[::-1]


def collects_of(
    shares: Shares, folder: Place, adjusted: list[tuple[Range, float]] | None
) -> list[Any]:
    """Return the tasks that write the parts of the result."""
    n_targets = len(shares.plan.targets)
    # Those of an older result have other names.
    different = f"-{shares.plan.digest()[:8]}" if isinstance(folder, Remote) else ""
    step = max(1, ROWS // max(1, len(shares.features)))
    return [
        Collect(
            str(shares.folder),
            first,
            min(first + step, n_targets),
            str(folder / f"part-{number:05}{different}.parquet"),
            adjusted,
        )
        for number, first in enumerate(range(0, n_targets, step))
    ]
