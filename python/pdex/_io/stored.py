"""A matrix that stays where it is stored: what all of them offer."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from pdex import _pdex
from pdex._io.groups import SKIP
from pdex._io.prefetch import How, Prefetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from pdex._io.memory import Matrix

#: First gene, one past the last gene, and the matrix of these genes.
Piece = tuple[int, int, "Matrix"]
#: First cell, and the matrix of some cells from it on.
Range = tuple[int, "Matrix"]

#: Bytes of a row of a count table while it is tested: group, value and count.
_ROW = 16
#: Cells of a group in one range of cells from which on equal values of a gene are worth merging.
_MERGED = 16


class Counted(NamedTuple):
    """Cells whose rows are wanted."""

    #: The number of each cell's group; SKIP for cells that are left out.
    codes: npt.NDArray[np.uint32]
    n_groups: int
    #: Columns of the matrix, ascending.
    genes: npt.NDArray[np.uint32]


class StoredMatrix(ABC):
    """A matrix of cells x genes that is read piece by piece.

    All methods take `how`, the number of threads that read and a function that is called with the
    number of bytes read by a call so far.
    """

    #: Name of the matrix in errors.
    where: str
    #: Numbers of cells and genes.
    shape: tuple[int, int]
    #: The dtype of the stored values.
    dtype: np.dtype[Any]
    layout: Literal["csr", "csc", "dense"]

    @abstractmethod
    def head(self, threads: int) -> Matrix:
        """Return the first stored values, enough to tell counts from normalised data."""

    @abstractmethod
    def n_bytes(self, how: How) -> int:
        """Return about how many bytes the whole matrix takes when it is read."""

    @abstractmethod
    def by_genes(self, how: How, budget: int, span: tuple[int, int]) -> Iterator[Piece]:
        """Yield the genes of `span`, or more, in ascending pieces.

        One piece takes at most about `budget` bytes, or half of it if there are several.
        """

    @abstractmethod
    def by_cells(self, how: How, budget: int, span: tuple[int, int]) -> Iterator[Range]:
        """Yield the cells of `span`, or more, in ascending ranges of about `budget` bytes.

        Each cell is read once.
        """

    @abstractmethod
    def of_genes(self, how: How, span: tuple[int, int]) -> Matrix:
        """Return the matrix of a range of genes, of which there is at least one."""

    @abstractmethod
    def cuts(self, how: How, entries: int) -> list[int]:
        """Return the bounds of ranges of genes, each with at most about `entries` stored values."""

    @abstractmethod
    def holds_counts(self, how: How) -> bool:
        """Return whether the first values are whole numbers and not negative."""

    def is_read_once(self, how: How, budget: int) -> bool:
        """Return whether `spilled` is the way to read a matrix that takes more than `budget` bytes.

        Measured: spilling takes as long as four passes over a file of 750 MB in the page cache, and
        a file that is larger than its share of memory takes at least as many.
        """
        return self.layout == "csr" and self.n_bytes(how) > budget

    def pieces(self, how: How, budget: int, span: tuple[int, int] | None = None) -> Iterator[Piece]:
        """Yield the genes in ascending pieces; two pieces together take about `budget` bytes.

        The next piece is read while the caller works on the current one. Genes outside `span` may
        be left out.
        """
        span = (0, self.shape[1]) if span is None else span
        with Prefetch(how) as ahead:
            yield from ahead.of(self.by_genes(ahead.how, budget, span))

    def spilled(
        self,
        how: How,
        wanted: Counted,
        budget: int,
        folder: str | None,
        change: Callable[[int, Matrix], Matrix] | None = None,
    ) -> Iterator[tuple[int, int, Matrix]]:
        """Read the matrix once, and yield blocks of the genes as count tables.

        Ranges of cells are read in turn. Their rows go to an unnamed file in `folder` (None: the
        system's folder for temporary files) and are read back block after block. `change` is called
        with the first cell and the matrix of each range, and returns the matrix to count.

        Yields
        ------
        tuple
            Places among the genes of the block's first and of one past its last, and the table. Two
            tables take about `budget` bytes.

        Raises
        ------
        NotANumberError
            The first NaN: args are the message, the cell and the gene.
        """
        with Prefetch(how) as ahead:
            yield from ahead.of(self._spilled(ahead.how, wanted, budget, folder, change))

    def _spilled(
        self,
        how: How,
        wanted: Counted,
        budget: int,
        folder: str | None,
        change: Callable[[int, Matrix], Matrix] | None,
    ) -> Iterator[tuple[int, int, Matrix]]:
        codes, n_groups, genes = wanted
        cuts = self.cuts(how, max(1, budget // 2 // _ROW))
        # Blocks that hold genes that are wanted.
        blocks = np.unique([0, *np.searchsorted(genes, cuts), len(genes)]).tolist()
        with _unnamed(folder) as path:
            spill = _pdex.Spill(path, genes, blocks, n_groups, how[0])
        counts = change is None and self.holds_counts(how)
        taken = np.flatnonzero(codes != SKIP)
        span = (int(taken[0]), int(taken[-1]) + 1) if len(taken) else (0, 0)
        for first, stored in self.by_cells(how, budget // 2, span):
            matrix = stored if change is None else change(first, stored)
            part = codes[first : first + matrix.shape[0]]
            merged = counts and len(part) >= _MERGED * n_groups
            fold = "values" if merged else "cells"
            try:
                spill.add(matrix, np.ascontiguousarray(part), fold)
            except _pdex.NotANumberError as error:
                message, cell, gene = error.args
                raise _pdex.NotANumberError(message, first + cell, gene) from None
        for block, (start, stop) in enumerate(pairwise(blocks)):
            yield start, stop, spill.read(block)


@contextmanager
def _unnamed(folder: str | None) -> Iterator[str]:
    """Yield the path of an empty file; whoever opens it keeps it, and its name goes."""
    handle, path = tempfile.mkstemp(prefix=".pdex-", dir=folder)
    try:
        os.close(handle)
        yield path
    finally:
        os.unlink(path)
