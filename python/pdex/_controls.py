"""Controls against controls: the comparisons, and how the engine runs them.

Each target is a part of the control cells, compared with all other control cells. Only the codes of
the cells differ between comparisons, so a matrix in a file is read once for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pdex._engine import Comparison, Finish, feed, job_of
from pdex._io.groups import SKIP, count_cells
from pdex._text import counted, listed
from pdex._warn import warn

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy.typing as npt

    from pdex import _pdex
    from pdex._engine import Question
    from pdex._io.groups import Groups
    from pdex._io.source import Piece, Source
    from pdex._progress import Progress
    from pdex._resources import Resources
    from pdex._strata import Strata

    Codes: TypeAlias = npt.NDArray[np.uint32]
    Floats: TypeAlias = npt.NDArray[np.float64]
    Counts: TypeAlias = npt.NDArray[np.int64]

#: The levels at which p-values are counted, in descending order.
ALPHAS = (0.05, 0.01, 0.001, 0.0001)
#: Upper bound of the bytes per target and gene in the columns.
_BYTES = 100


@dataclass(frozen=True)
class Plan:
    """Comparisons of parts of the control cells with all other control cells.

    Parameters
    ----------
    codes
        One array per job, with a code for each cell: targets from 1, 0 for other control cells,
        SKIP for cells that are not controls. The targets are the comparisons of the table.
    shuffled
        Such arrays with the guides permuted among the control cells. They serve only to measure how
        much fractions vary.
    names
        Names of the comparisons, in order.
    sizes
        Number of target cells of each comparison.
    strata
        A stratum for each cell, and the number of strata; None: cells are compared without strata.
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
        """The number of times that each gene is tested."""
        return len(self.codes) + len(self.shuffled)


def splits(
    found: Groups,
    is_control: npt.NDArray[np.bool_],
    n_splits: int,
    min_cells: int,
    rng: np.random.Generator,
    strata: Strata | None = None,
) -> Plan:
    """Return independent random samples of the control cells, as large as the real groups.

    A sample has at most half of the control cells. With strata, it has as many cells in each
    stratum as a real group has, and at most half of the control cells there.
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
            "to set the size of a split: lower min_cells, or name a column of guides with by="
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
    """Return the numbers of cells, groups without control cells x strata."""
    labelled = (found.places >= 0) & (of_cell != SKIP)
    places = found.places[labelled] * n_strata + of_cell[labelled]
    shape = (len(found.labels), n_strata)
    sizes = count_cells(places, found.weights, labelled, shape[0] * n_strata).reshape(shape)
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
            f"obs[{guides.column!r}] has {counted(wanted.size, 'group')} of min_cells={min_cells} "
            f"or more control cells, and {small.size} of fewer: two are needed; leave out by= for "
            "random splits"
        )
        raise ValueError(msg)
    if small.size:
        shown = listed([guides.labels[i] for i in small])
        warn(
            f"left out {counted(small.size, 'group')} of obs[{guides.column!r}] with fewer than "
            f"{counted(min_cells, 'control cell')}: {shown}"
        )
    # One entry more than there are labels: index -1 (no label) reads the last.
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


# --- running the comparisons --------------------------------------------------------------------


@dataclass
class Run:
    """A matrix, its genes and the test; each piece is read once for all comparisons."""

    source: Source
    genes: Codes
    question: Question
    resources: Resources
    strata: Strata | None = None

    def all(
        self, plan: Plan, min_expected: float, bar: Progress
    ) -> tuple[list[pl.Series], Counts, Counts]:
        """Return the table's columns, each gene's number of non-zero control cells, and counts.

        The counts have one row per shuffle: the number of judged p-values, then the number of those
        that are at most each alpha.
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
        """Return the number of judged p-values of a piece, and of those at most each alpha."""
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
        comparison = Comparison(codes, n_targets, True, self.strata, self.source.cells)
        return job_of(comparison, self.question, n_genes, self.resources.threads)


def _nonzero(columns: list[pl.Series], n_genes: int) -> Counts:
    """Return each gene's number of non-zero control cells, from a job against the rest."""
    found = {column.name: column.head(n_genes).to_numpy() for column in columns}
    target = found["n_target"] * found["target_fraction"]
    both = target + found["n_reference"] * found["reference_fraction"]
    count: Counts = np.rint(both).astype(np.int64)
    return count


def is_judged(plan: Plan, nonzero: Counts, min_expected: float) -> npt.NDArray[np.bool_]:
    """Return whether enough non-zero cells are expected in the target, comparisons x genes."""
    judged: npt.NDArray[np.bool_] = np.outer(plan.sizes, nonzero) >= min_expected * plan.n_control
    return judged


def tally(p: Floats) -> Counts:
    """Return the number of p-values that are not NaN, and of those at most each alpha."""
    known = np.count_nonzero(~np.isnan(p))
    return np.array([known, *(np.count_nonzero(p <= alpha) for alpha in ALPHAS)], dtype=np.int64)
