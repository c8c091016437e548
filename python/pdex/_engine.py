"""Run the engine in Rust: typed records and pieces of a matrix go in, and a table comes out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from pdex import _pdex
from pdex._io.groups import SKIP
from pdex._io.stored import Counted
from pdex._output import ROWS, Measured, Spill, write
from pdex._places import Remote
from pdex._progress import Progress
from pdex._stages import stage
from pdex._warn import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import numpy.typing as npt

    from pdex._io.source import Piece, Source
    from pdex._places import Place
    from pdex._resources import Resources
    from pdex._scale import Scale

    Codes = npt.NDArray[np.uint32]


class Comparison(NamedTuple):
    """Which cells are compared with which."""

    #: One code per cell: 0 for the reference (or, against the rest, for no target), 1 to
    #: `n_targets` for the targets, 2**32 - 1 for cells that are left out.
    codes: Codes
    n_targets: int
    rest: bool
    #: A stratum for each cell (2**32 - 1 if it has none), and the number of strata.
    strata: tuple[Codes, int] | None = None
    #: Where the codes are those of groups of cells, as in count tables: their numbers of cells.
    cells: npt.NDArray[np.uint64] | None = None


class Question(NamedTuple):
    """The test of each pair of samples, and how means are computed."""

    test: str
    options: dict[str, Any]
    #: How means are computed (a name that the engine knows), and the logarithm's base (None: e).
    scale: str = "plain"
    log_base: float | None = None
    #: Whether to add AUROCs to a test that is not based on ranks.
    auroc: bool = False

    @classmethod
    def of(
        cls, test: str, options: dict[str, Any], scale: Scale, mean: str, auroc: bool = False
    ) -> Question:
        """Return the question, with means on the natural scale of the values."""
        return cls(test, options, scale.of(mean), scale.log_base, auroc)


class Finish(NamedTuple):
    """How to finish the table."""

    #: Added to both means in a fold change; None if the means have no meaningful ratio.
    pseudocount: float | None = 0.0
    #: Scope of the adjustment of p-values: the genes of each target, or all targets and genes.
    fdr: str = "target"


def job_of(comparison: Comparison, question: Question, n_genes: int, threads: int) -> _pdex.Job:
    """Return the job that tests `n_genes` genes."""
    return _pdex.Job(comparison, question, n_genes, threads)


#: Non-zero cells of a target that are expected, below which a target of zeros means little.
FEW_NON_ZERO = 30


@dataclass
class Work:
    """The work of one call.

    Parameters
    ----------
    source, genes
        The matrix, and the indices of the genes to test, ascending.
    comparison, question, finish
        Which cells are compared, by which test, and how the table is finished.
    resources
        The threads, and the memory beyond the result.
    """

    source: Source
    genes: Codes
    comparison: Comparison
    question: Question
    finish: Finish
    resources: Resources
    #: Number of comparisons by Welch's test whose target has no variance and few non-zero cells.
    flat: int = field(default=0, init=False)

    def frame(self, targets: list[str], bar: Progress) -> pl.DataFrame:
        """Return the table of all targets and genes."""
        with stage("test"):
            job = self._job(len(self.genes))
            feed(job, self.source, self._pieces(bar, None), bar)
        with stage("finish"):
            if self.resources.threads == 1:
                return self._noted(self.table(targets, job.finish(self.finish)))
            # Make the columns of labels while the engine makes those of numbers.
            with ThreadPoolExecutor(2) as others:
                labels = [others.submit(label) for label in self._labels(targets)]
                numbers = job.finish(self.finish)
                table = pl.DataFrame([*(label.result() for label in labels), *numbers])
                return self._noted(table)

    def to_file(
        self, path: Place, targets: list[str], bar: Progress, metadata: Mapping[str, str]
    ) -> pl.Schema:
        """Write the table to `path`, with its metadata, and return its schema."""
        with Spill(path.parent, self.comparison.n_targets) as spill, stage("test and write"):
            folder = None if isinstance(path, Remote) else str(path.parent)
            for numbers in self.numbers(bar, folder):
                spill.add(numbers)
            return self.written(spill, path, targets, metadata)

    def measured(self) -> list[str]:
        """Return the names of the columns that `numbers` yields."""
        return self._job(0).measured()

    def numbers(self, bar: Progress, folder: str | None) -> Iterator[list[npt.NDArray[np.float64]]]:
        """Test some genes after others; yield the measured columns of all targets and of these.

        Rows of a matrix that is read once are spilled to `folder`, or, None, to that of the system.
        """
        n_targets = self.comparison.n_targets
        cell = 8 * len(self.measured())
        for first, matrix, local in self._pieces(bar, folder):
            step = max(1, self.resources.for_numbers // (cell * n_targets))
            for start in range(0, len(local), step):
                part = local[start : start + step]
                job = self._job(len(part))
                feed(job, self.source, [(first, matrix, part)], bar)
                yield [numbers.to_numpy() for numbers in job.numbers()]

    def written(
        self,
        measured: Measured,
        path: Place,
        targets: list[str],
        metadata: Mapping[str, str],
        span: tuple[int, int] | None = None,
        bar: Progress | None = None,
    ) -> pl.Schema:
        """Write the table of measured columns to `path`, and return its schema.

        `span` are the first target to write and one past the last; None: all targets. `bar` counts
        targets.
        """
        rows = max(1, ROWS // max(1, len(self.genes)))
        schema = self._schema()
        frames = self.frames(measured, targets, rows, span, bar)
        # Filters may raise the warning as an error: then no file must appear.
        check = partial(warn_of_flat_targets, self)
        write(path, schema, frames, rows * len(self.genes), metadata, check)
        return schema

    def frames(
        self,
        measured: Measured,
        targets: list[str],
        step: int,
        span: tuple[int, int] | None = None,
        bar: Progress | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Yield the table of the targets of `span` (None: all), `step` targets at a time.

        `bar` counts targets.
        """
        adjusted, job = None, self._job(0)
        start, stop = (0, len(targets)) if span is None else span
        if self.finish.fdr == "all":
            adjusted = measured.adjusted(job.measured().index("p_value"), self.resources.threads)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            place = (first, last, len(self.genes))
            columns = job.complete(measured.rows(first, last), place, self.finish)
            frame = self.table(targets[first:last], columns)
            if adjusted is not None:
                frame = frame.with_columns(pl.Series("fdr", adjusted(first, last)))
            yield self._noted(frame)
            if bar is not None:
                bar.advance(last - first)

    def _noted(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Count the comparisons whose p-value Welch's test makes far too small; return `frame`."""
        self.flat += self.flat_in(frame.lazy())
        return frame

    def flat_in(self, frame: pl.LazyFrame) -> int:
        """Return how many p-values of a result Welch's test makes far too small.

        A target without variance has the degrees of freedom of the other sample.
        """
        question = self.question
        if question.test != "ttest" or question.options["equal_var"]:
            return 0
        other = "n_target" if question.options["overestim_var"] else "n_reference"
        flat = (pl.col("df") - (pl.col(other) - 1)).abs() < 1e-9 * pl.col("df")
        few = pl.col("n_target") * pl.col("reference_fraction") < FEW_NON_ZERO
        return int(frame.select((flat & few).sum()).collect().item())

    def _schema(self) -> pl.Schema:
        """Return the table's schema."""
        nothing = np.empty(0)
        numbers = [nothing] * len(self._job(0).numbers())
        columns = self._job(0).complete(numbers, (0, 0, len(self.genes)), self.finish)
        return self.table([], columns).schema

    def table(self, targets: list[str], columns: list[pl.Series]) -> pl.DataFrame:
        """Return the columns, preceded by those of the labels."""
        return pl.DataFrame([*(label() for label in self._labels(targets)), *columns])

    def _labels(self, targets: list[str]) -> list[Callable[[], pl.Series]]:
        """Return functions that make the columns of labels, which pair each target with every gene.

        The columns are Categorical, so that tables can be stacked, and labels can be compared with
        each other and with text.
        """
        target = pl.Series("target", targets, dtype=pl.Categorical)
        feature = pl.Series("feature", self.source.var_names, dtype=pl.Categorical)
        codes = np.arange(len(targets), dtype=np.uint32)
        return [
            lambda: target.gather(pl.Series(np.repeat(codes, len(self.genes)))),
            lambda: feature.gather(pl.Series(np.tile(self.genes, len(targets)))),
        ]

    def _pieces(self, bar: Progress, folder: str | None) -> Iterator[Piece]:
        """Yield the matrix in pieces; rows of one that is read once are spilled to `folder`."""
        if not self._is_read_once:
            yield from self.source.pieces(self.genes, self.resources, bar.read)
            return
        wanted = Counted(*numbers_of(self.comparison), self.genes)
        for genes, table in self.source.spilled(wanted, self.resources, folder, bar.read):
            yield 0, table, np.arange(len(genes), dtype=np.uint32)

    def _job(self, n_genes: int) -> _pdex.Job:
        compared = self.comparison
        if self._is_read_once:
            compared = counted(compared)
        return job_of(compared, self.question, n_genes, self.resources.threads)

    @cached_property
    def _is_read_once(self) -> bool:
        return self.source.is_read_once(self.resources)


def warn_of_flat_targets(work: Work) -> None:
    """Warn once if Welch's test met targets without variance where that means little."""
    if work.flat:
        total = work.comparison.n_targets * len(work.genes)
        warn(
            f"Welch's t-test (equal_var=False): in {work.flat:,} of {total:,} comparisons all "
            "cells of the target have the same value, which means little where fewer than "
            f"{FEW_NON_ZERO} non-zero cells are expected. The test takes their variance to be 0, "
            "so that its p-values are far too small; use equal_var=True or test='wilcoxon'"
        )


def numbers_of(comparison: Comparison) -> tuple[Codes, int]:
    """Return a number for each pair of code and stratum that a cell may have, and how many."""
    codes, n_codes = comparison.codes, comparison.n_targets + 1
    if comparison.strata is None:
        return codes, n_codes
    strata, n_strata = comparison.strata
    taking_part = (codes != SKIP) & (strata != SKIP)
    numbers = np.where(taking_part, strata * np.uint32(n_codes) + codes, SKIP)
    return numbers.astype(np.uint32), n_codes * n_strata


def counted(comparison: Comparison) -> Comparison:
    """Return the same comparison of groups of cells, which :func:`numbers_of` numbers."""
    numbers, n = numbers_of(comparison)
    cells = np.bincount(numbers[numbers != SKIP], minlength=n).astype(np.uint64)
    n_strata = None if comparison.strata is None else comparison.strata[1]
    return regrouped(cells, comparison.n_targets, comparison.rest, n_strata)


def regrouped(
    cells: npt.NDArray[np.uint64], n_targets: int, rest: bool, n_strata: int | None
) -> Comparison:
    """Return the comparison of groups that :func:`numbers_of` numbers, with their cells."""
    groups = np.arange(len(cells), dtype=np.uint32)
    n_codes = np.uint32(n_targets + 1)
    strata = None if n_strata is None else (groups // n_codes, n_strata)
    return Comparison(groups % n_codes, n_targets, rest, strata, cells)


def run(
    job: _pdex.Job,
    source: Source,
    pieces: Iterable[Piece],
    n_genes: int,
    progress: bool | None,
    finish: Finish,
) -> list[pl.Series]:
    """Feed a job with pieces and return its columns; `progress` is as in :func:`pdex.de`."""
    bar = Progress(n_genes, progress, lambda: source.reading)
    try:
        return feed(job, source, pieces, bar).finish(finish)
    finally:
        bar.close()


def feed(job: _pdex.Job, source: Source, pieces: Iterable[Piece], bar: Progress) -> _pdex.Job:
    """Feed a job with pieces; for a NaN, raise ValueError that names the cell and the gene."""
    before = bar.genes
    for first, matrix, local in pieces:
        try:
            job.add(matrix, np.ascontiguousarray(local), lambda done: bar(before + done))
        except _pdex.NotANumberError as error:
            raise source.not_a_number(error, first) from None
        bar.advance(len(local))
    return job
