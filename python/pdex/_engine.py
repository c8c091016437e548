"""One job: pieces of a matrix to the engine, its numbers to a table or to a file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pdex import _pdex
from pdex._io.source import piece_size
from pdex._output import ROWS, Spill, write
from pdex._progress import Progress
from pdex._stages import stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from pdex._io.source import Piece, Source

#: The part of the memory that numbers take which wait to be written; most is the source's.
_SHARE = 5


@dataclass
class Work:
    """What one call asks of a matrix.

    Parameters
    ----------
    source, genes
        The matrix, and the places of the genes that are tested, ascending.
    design
        A code for each cell, the number of targets, and whether they are compared with the rest.
    question
        The test, its options and the scale of means, in the engine's words.
    threads
        How many threads work.
    memory
        Bytes that the work may take beyond its result.
    strata
        A stratum for each cell, and their number, where cells are compared within strata.
    auroc
        Whether a test that does not rank has AUROCs, too.
    """

    source: Source
    genes: npt.NDArray[np.uint32]
    design: tuple[npt.NDArray[np.uint32], int, bool]
    question: tuple[str, dict[str, Any], str]
    threads: int
    memory: int
    strata: tuple[npt.NDArray[np.uint32], int] | None = None
    auroc: bool = False

    def frame(self, targets: list[str], bar: Progress, finish: tuple[float, str]) -> pl.DataFrame:
        """Return the table of all targets and genes.

        `finish` is the pseudocount and what p-values are adjusted over.
        """
        with stage("test"):
            job = self._job(len(self.genes))
            feed(job, self.source, self._pieces(bar), bar)
        with stage("finish"):
            if self.threads == 1:
                return self.table(targets, job.finish(*finish))
            # The columns of the labels are made while those of numbers are.
            with ThreadPoolExecutor(2) as others:
                labels = [others.submit(label) for label in self._labels(targets)]
                numbers = job.finish(*finish)
                return pl.DataFrame([*(label.result() for label in labels), *numbers])

    def to_file(
        self,
        path: Path,
        targets: list[str],
        bar: Progress,
        finish: tuple[float, str],
    ) -> pl.Schema:
        """Write the table to `path` and return its schema.

        `finish` is the pseudocount and what p-values are adjusted over.
        """
        n_targets = self.design[1]
        cell = 8 * len(self._job(0).measured())
        with Spill(path.parent, n_targets) as spill, stage("test and write"):
            for first, matrix, local in self._pieces(bar):
                step = max(1, self.memory // _SHARE // (cell * n_targets))
                for start in range(0, len(local), step):
                    part = local[start : start + step]
                    job = self._job(len(part))
                    feed(job, self.source, [(first, matrix, part)], bar)
                    spill.add([numbers.to_numpy() for numbers in job.numbers()])
            rows = max(1, ROWS // max(1, len(self.genes)))
            frames = self._frames(spill, targets, rows, finish)
            schema = self._schema()
            write(path, schema, frames, rows * len(self.genes))
            return schema

    def _frames(
        self,
        spill: Spill,
        targets: list[str],
        step: int,
        finish: tuple[float, str],
    ) -> Iterator[pl.DataFrame]:
        """Yield the table, `step` targets at a time."""
        pseudocount, fdr = finish
        adjusted, job = None, self._job(0)
        if fdr == "all":
            p_values = spill.column(job.measured().index("p_value"))
            adjusted = _pdex.benjamini_hochberg(p_values, self.threads)
        for first in range(0, len(targets), step):
            last = min(first + step, len(targets))
            place = (first, last, len(self.genes))
            columns = job.complete(spill.rows(first, last), place, pseudocount)
            frame = self.table(targets[first:last], columns)
            if adjusted is not None:
                part = pl.Series("fdr", spill.arranged(adjusted, first, last))
                frame = frame.with_columns(part)
            yield frame

    def _schema(self) -> pl.Schema:
        """Return the table's schema."""
        nothing = np.empty(0)
        numbers = [nothing] * len(self._job(0).numbers())
        columns = self._job(0).complete(numbers, (0, 0, len(self.genes)), 0.0)
        return self.table([], columns).schema

    def table(self, targets: list[str], columns: list[pl.Series]) -> pl.DataFrame:
        """Return columns with those of the labels before them."""
        return pl.DataFrame([*(label() for label in self._labels(targets)), *columns])

    def _labels(self, targets: list[str]) -> list[Callable[[], pl.Series]]:
        """Return what makes the columns of the labels: each target with every gene.

        Categorical, so that tables stack and their labels compare with each other and with text.
        """
        target = pl.Series("target", targets, dtype=pl.Categorical)
        feature = pl.Series("feature", self.source.var_names, dtype=pl.Categorical)
        codes = np.arange(len(targets), dtype=np.uint32)
        return [
            lambda: target.gather(pl.Series(np.repeat(codes, len(self.genes)))),
            lambda: feature.gather(pl.Series(np.tile(self.genes, len(targets)))),
        ]

    def _pieces(self, bar: Progress) -> Iterator[Piece]:
        return self.source.pieces(self.genes, self.threads, piece_size(self.memory), bar.read)

    def _job(self, n_genes: int) -> _pdex.Job:
        return _pdex.Job(
            *self.design, n_genes, *self.question, self.threads, self.strata, self.auroc
        )


def run(
    job: _pdex.Job,
    source: Source,
    pieces: Iterable[Piece],
    n_genes: int,
    progress: bool | None,
    pseudocount: float,
    fdr: str,
) -> list[pl.Series]:
    """Feed a job with pieces and return its columns; `progress` is that of :func:`pdex.de`."""
    bar = Progress(n_genes, progress)
    try:
        return feed(job, source, pieces, bar).finish(pseudocount, fdr)
    finally:
        bar.close()


def feed(job: _pdex.Job, source: Source, pieces: Iterable[Piece], bar: Progress) -> _pdex.Job:
    """Feed a new job with pieces; a NaN is an error that names the cell and the gene."""
    before = bar.genes
    for first, matrix, local in pieces:
        try:
            job.add(matrix, np.ascontiguousarray(local), lambda done: bar(before + done))
        except _pdex.NotANumberError as error:
            _, cell, gene = error.args
            msg = (
                f"{source.where} is NaN at cell {source.adata.obs_names[cell]!r} (row {cell}), "
                f"gene {source.var_names[first + gene]!r} (column {first + gene}): "
                "fill or drop it first"
            )
            raise ValueError(msg) from None
        bar.advance(len(local))
    return job
