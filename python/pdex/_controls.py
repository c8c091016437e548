"""Controls against controls: who is compared with whom, and the engine's part of it.

A part of the control cells is a target whose rest is all other control cells: codes are all that is
made of it, and a matrix in a file is read once for all jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pdex._engine import Comparison, Finish, feed, job_of
from pdex._io.source import SKIP
from pdex._text import listed
from pdex._warn import warn

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy.typing as npt

    from pdex import _pdex
    from pdex._engine import Question
    from pdex._io.source import Groups, Piece, Source
    from pdex._progress import Progress
    from pdex._resources import Resources
    from pdex._strata import Strata

    Codes: TypeAlias = npt.NDArray[np.uint32]
    Floats: TypeAlias = npt.NDArray[np.float64]
    Counts: TypeAlias = npt.NDArray[np.int64]

#: The levels that p-values are counted at.
ALPHAS = (0.05, 0.01)
#: Bytes of the columns of one target and gene, at most.
_BYTES = 100


@dataclass(frozen=True)
class Plan:
    """Parts of the control cells; each is compared with all other control cells.

    Parameters
    ----------
    codes
        One array for each job, whose targets are comparisons of the table: a code for each cell, 0
        for the others, SKIP for cells that are no controls.
    shuffled
        The same of guides permuted among the control cells, which only tell how fractions stray.
    names
        The comparisons in order.
    sizes
        The number of each comparison's target cells.
    strata
        A stratum for each cell, and their number, where cells are compared within strata.
    """

    codes: list[Codes]
    shuffled: list[Codes]
    names: list[str]
    sizes: Counts
    strata: Strata | None = None

    @property
    def n_targets(self) -> int:
        """The number of targets of one job."""
        return len(self.names) // len(self.codes)

    @property
    def n_control(self) -> int:
        """The number of control cells."""
        return int(np.count_nonzero(self.codes[0] != SKIP))

    @property
    def n_jobs(self) -> int:
        """How many times each gene is looked at."""
        return len(self.codes) + len(self.shuffled)


def splits(
    found: Groups,
    is_control: npt.NDArray[np.bool_],
    n_splits: int,
    min_cells: int,
    rng: np.random.Generator,
    strata: Strata | None = None,
) -> Plan:
    """Return independent random samples of the control cells, of the sizes of the real groups.

    A sample has at most half of the control cells; with strata, as many cells in each stratum as a
    real group has, and at most half of those there.
    """
    cells = np.flatnonzero(is_control)
    if cells.size < 2 * min_cells:
        msg = (
            f"{cells.size} control cells are too few to be split: two parts of "
            f"min_cells={min_cells} take {2 * min_cells}"
        )
        raise ValueError(msg)
    of_cell, n_strata = strata or (np.zeros(is_control.size, dtype=np.uint32), 1)
    inside = [cells[of_cell[cells] == stratum] for stratum in range(n_strata)]
    halves = [some.size // 2 for some in inside]
    sizes = np.minimum(_sizes(found, is_control, of_cell, n_strata), halves)
    sizes = sizes[sizes.sum(axis=1) >= min_cells]
    if not len(sizes):
        msg = (
            f"obs[{found.column!r}] has no group of min_cells={min_cells} besides the reference "
            "that gives a split its size: lower min_cells, or name a column of guides with by="
        )
        raise ValueError(msg)
    drawn = sizes[rng.choice(len(sizes), n_splits)]
    all_codes = []
    for of_strata in drawn:
        codes = np.full(is_control.size, SKIP, dtype=np.uint32)
        codes[cells] = 0
        for stratum, size in zip(inside, of_strata, strict=True):
            codes[rng.choice(stratum, size, replace=False)] = 1
        all_codes.append(codes)
    names = [f"split {i + 1}" for i in range(n_splits)]
    return Plan(all_codes, [], names, drawn.sum(axis=1), strata)


def _sizes(
    found: Groups, is_control: npt.NDArray[np.bool_], of_cell: Codes, n_strata: int
) -> Counts:
    """Return, groups without control cells x strata, how many cells there are."""
    labelled = (found.places >= 0) & (of_cell != SKIP)
    places = found.places[labelled] * n_strata + of_cell[labelled]
    shape = (len(found.labels), n_strata)
    sizes = np.bincount(places, minlength=shape[0] * n_strata).reshape(shape)
    return np.delete(sizes, np.unique(found.places[is_control]), axis=0)


def guides_of(
    guides: Groups,
    is_control: npt.NDArray[np.bool_],
    n_splits: int,
    min_cells: int,
    rng: np.random.Generator,
    strata: Strata | None = None,
) -> Plan:
    """Return the control guides, and random permutations of them (within strata)."""
    places = np.where(is_control, guides.places, -1)
    sizes = np.bincount(places[places >= 0], minlength=len(guides.labels))
    wanted = np.flatnonzero(sizes >= min_cells)
    small = np.flatnonzero((sizes > 0) & (sizes < min_cells))
    if wanted.size < 2:
        msg = (
            f"obs[{guides.column!r}] has {wanted.size} guides of min_cells={min_cells} or more "
            f"control cells, and {small.size} of fewer: two are needed; leave out by= for random "
            "splits"
        )
        raise ValueError(msg)
    if small.size:
        shown = listed([guides.labels[i] for i in small])
        warn(f"left out {small.size} control guides with fewer than {min_cells} cells: {shown}")
    # One entry more than labels: places of -1 read the last.
    table = np.zeros(len(guides.labels) + 1, dtype=np.uint32)
    table[wanted] = np.arange(1, wanted.size + 1, dtype=np.uint32)
    table[-1] = SKIP
    codes = table[places]
    cells = np.flatnonzero(codes != SKIP)
    of_cell, n_strata = strata or (np.zeros(codes.size, dtype=np.uint32), 1)
    inside = [cells[of_cell[cells] == stratum] for stratum in range(n_strata)]
    shuffled = []
    for _ in range(n_splits):
        mixed = codes.copy()
        for stratum in inside:
            mixed[stratum] = rng.permutation(codes[stratum])
        shuffled.append(mixed)
    names = [guides.labels[i] for i in wanted]
    return Plan([codes], shuffled, names, sizes[wanted], strata)


# --- the engine's part --------------------------------------------------------------------------


@dataclass
class Run:
    """A matrix, its genes and the question: each piece is read once, whatever is asked of it."""

    source: Source
    genes: Codes
    question: Question
    resources: Resources
    strata: Strata | None = None

    def all(
        self, plan: Plan, min_expected: float, bar: Progress
    ) -> tuple[list[pl.Series], Counts, Counts]:
        """Return the table's columns, each gene's non-zero control cells, and the shuffles' counts.

        Counts are shuffles x (p-values that are judged, those at most each alpha).
        """
        jobs = [self._job(codes, plan.n_targets, len(self.genes)) for codes in plan.codes]
        counts = np.zeros((len(plan.shuffled), 1 + len(ALPHAS)), dtype=np.int64)
        for piece in self.source.pieces(self.genes, self.resources, bar.read):
            for job in jobs:
                feed(job, self.source, [piece], bar)
            for codes, count in zip(plan.shuffled, counts, strict=True):
                count += self._count(piece, codes, (plan, min_expected), bar)
        parts = [job.finish(Finish(1e-9)) for job in jobs]
        columns = [pl.concat(column) for column in zip(*parts, strict=True)]
        return columns, _nonzero(parts[0], len(self.genes)), counts

    def _count(
        self, piece: Piece, codes: Codes, bounds: tuple[Plan, float], bar: Progress
    ) -> Counts:
        """Return how many p-values of a piece are judged, and at most each alpha."""
        (first, matrix, local), (plan, min_expected) = piece, bounds
        n_targets = len(plan.sizes)
        step = max(1, self.resources.for_numbers // (_BYTES * n_targets))
        count = np.zeros(1 + len(ALPHAS), dtype=np.int64)
        for start in range(0, len(local), step):
            part = local[start : start + step]
            job = self._job(codes, n_targets, len(part))
            feed(job, self.source, [(first, matrix, part)], bar)
            columns = job.finish(Finish())
            judged = is_judged(plan, _nonzero(columns, len(part)), min_expected)
            (p,) = (column.to_numpy() for column in columns if column.name == "p_value")
            count += tally(p.reshape(judged.shape)[judged])
        return count

    def _job(self, codes: Codes, n_targets: int, n_genes: int) -> _pdex.Job:
        comparison = Comparison(codes, n_targets, True, self.strata)
        return job_of(comparison, self.question, n_genes, self.resources.threads)


def _nonzero(columns: list[pl.Series], n_genes: int) -> Counts:
    """Return how many control cells are non-zero, for each gene of a job against the rest."""
    found = {column.name: column.head(n_genes).to_numpy() for column in columns}
    target = found["n_target"] * found["target_fraction"]
    both = target + found["n_reference"] * found["reference_fraction"]
    count: Counts = np.rint(both).astype(np.int64)
    return count


def is_judged(plan: Plan, nonzero: Counts, min_expected: float) -> npt.NDArray[np.bool_]:
    """Return, comparisons x genes, whether enough of the target's cells should be non-zero."""
    judged: npt.NDArray[np.bool_] = np.outer(plan.sizes, nonzero) >= min_expected * plan.n_control
    return judged


def tally(p: Floats) -> Counts:
    """Return how many p-values are known, and how many are at most each alpha."""
    known = np.count_nonzero(~np.isnan(p))
    return np.array([known, *(np.count_nonzero(p <= alpha) for alpha in ALPHAS)], dtype=np.int64)
