"""Matrices that are Dask arrays, of dense or sparse chunks.

Chunks are computed by ``dask.compute``, and so by the scheduler that is set, or by the client that
is connected. Dask is imported only here, for data that are Dask arrays already.
"""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from pdex._io import memory
from pdex._io.arrays import bounds
from pdex._io.held import held
from pdex._io.stacking import arrays_of, columns_of, dense_of, stacked
from pdex._io.stored import Piece, Range, StoredMatrix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from pdex._io.memory import Matrix
    from pdex._io.prefetch import How

#: Number of values that are kept of the first chunk, to tell what they are.
_HEAD = 1 << 22
#: Number of chunks from which the size of the others is estimated.
_LOOKS = 4
#: The class of Dask arrays.
_DASK = "dask.array.core.Array"


def is_dask(x: Any) -> bool:
    """Return whether `x` is a Dask array, or AnnData's view of one; Dask is not imported."""
    return any(f"{kind.__module__}.{kind.__name__}" == _DASK for kind in type(x).__mro__)


class _Look(NamedTuple):
    """What some chunks tell of all."""

    head: Matrix
    #: Bytes and stored values of a cell of the whole matrix.
    n_bytes: float
    entries: float
    #: Stored values of each gene in the chunks.
    seen: npt.NDArray[np.float64]
    holds_counts: bool


class DaskMatrix(StoredMatrix):
    """A Dask array of two dimensions, in chunks of NumPy, or of SciPy's CSR or CSC.

    Raises
    ------
    ValueError
        The array has not two dimensions, or chunks of unknown size.
    TypeError
        It does not hold real numbers, or its chunks are of another kind.
    """

    def __init__(self, array: Any, where: str) -> None:
        if array.ndim != 2:
            msg = f"{where} has {array.ndim} dimensions: expected 2, cells x genes"
            raise ValueError(msg)
        if any(np.isnan(n) for lengths in array.chunks for n in lengths):
            msg = (
                f"{where} is a Dask array with chunks of unknown size: call its "
                "compute_chunk_sizes() first"
            )
            raise ValueError(msg)
        memory.check_dtype(array.dtype, where)
        layout = _layout(array, where)
        self.where, self.layout = where, layout
        self.shape, self.dtype = (int(array.shape[0]), int(array.shape[1])), array.dtype
        # A view of AnnData is a class of its own.
        kind = next(kind for kind in type(array).__mro__ if kind.__module__.startswith("dask."))
        self._array: Any = kind(array.dask, array.name, array.chunks, meta=array._meta)
        #: Bounds of the chunks.
        self._rows, self._columns = (
            np.cumsum([0, *lengths]).astype(int).tolist() for lengths in array.chunks
        )
        self._look: _Look | None = None

    @property
    def _is_by_cells(self) -> bool:
        """Whether a range of genes takes all chunks."""
        return len(self._columns) == 2

    # --- chunks ---------------------------------------------------------------------------------

    def _computed(
        self, rows: tuple[int, int], columns: tuple[int, int], how: How
    ) -> list[list[Matrix]]:
        """Compute some chunks at once, by their numbers; rows of chunks."""
        import dask
        from dask.callbacks import Callback

        blocks = self._array.blocks[slice(*rows), slice(*columns)].to_delayed()
        with Callback(posttask=_stopping(how)):
            (found,) = dask.compute(blocks.tolist())
        # Chunks may be of another kind than the array says; any that can be read will do.
        return [[memory.matrix_of(chunk, self.where, how[0]) for chunk in row] for row in found]

    def _joined(self, chunks: list[list[Matrix]], threads: int) -> Matrix:
        """Return rows of chunks as one matrix; the list is emptied."""
        rows = []
        for row in chunks:
            rows.append(_beside(row, self.where, threads))
            row.clear()
        chunks.clear()
        return stacked(rows, self.where, threads)

    def rows_of_blocks(self, n_bytes: int) -> Iterator[tuple[tuple[int, int], list[list[Any]]]]:
        """Yield ranges of cells of about `n_bytes`, and rows of their delayed blocks."""
        per_cell = self._look_at(1).n_bytes
        blocks = self._array.to_delayed().tolist()
        for first, last in self._groups(self._rows, max(1.0, n_bytes / max(per_cell, 1e-9))):
            yield (self._rows[first], self._rows[last]), blocks[first:last]

    def _look_at(self, threads: int) -> _Look:
        """Compute some chunks, one at a time, to learn about all."""
        if self._look is not None:
            return self._look
        n_rows, n_columns = len(self._rows) - 1, len(self._columns) - 1
        looks = np.unique(np.linspace(0, n_rows * n_columns - 1, _LOOKS).astype(int))
        seen, cells = np.zeros(self.shape[1]), np.zeros(self.shape[1])
        n_bytes = entries = 0
        head, counts = np.zeros(0, np.uint8), True
        for look in looks.tolist():
            row, column = divmod(look, n_columns)
            ((matrix,),) = self._computed((row, row + 1), (column, column + 1), (threads, None))
            sizes = _sizes(matrix)
            start, stop = self._columns[column : column + 2]
            seen[start:stop] += sizes
            cells[start:stop] += matrix.shape[0]
            arrays = [a for a in (matrix.values, matrix.indices) if a is not None]
            n_bytes += sum(array.nbytes for array in arrays)
            entries += len(matrix.values)
            if not len(head):
                head = matrix.values[:_HEAD].copy()
                counts = held(matrix, self.where).holds_counts((threads, None))
        # The share of the matrix that was computed.
        share = max(1.0, cells.sum()) / max(1, self.shape[0] * self.shape[1])
        self._look = _Look(
            memory.dense(head.reshape(1, -1), self.where),
            n_bytes / share / max(1, self.shape[0]),
            entries / share / max(1, self.shape[0]),
            # Genes of chunks that were not computed are taken to be like the others.
            np.where(cells > 0, seen / np.maximum(cells, 1), seen.sum() / max(1.0, cells.sum())),
            counts,
        )
        return self._look

    # --- what stored matrices offer -------------------------------------------------------------

    def head(self, threads: int) -> Matrix:
        """Return the first values of the first chunk."""
        return self._look_at(threads).head

    def n_bytes(self, how: How) -> int:
        """Return about how many bytes the whole matrix takes when it is computed."""
        return round(self._look_at(how[0]).n_bytes * self.shape[0])

    def n_stored(self, how: How) -> int:
        """Return about how many values are stored."""
        return round(self._look_at(how[0]).entries * self.shape[0])

    def holds_counts(self, how: How) -> bool:
        """Return whether the first values are whole numbers and not negative."""
        return self._look_at(how[0]).holds_counts

    def is_read_once(self, how: How, budget: int) -> bool:
        """Return whether a matrix in chunks of cells takes more than `budget` bytes."""
        return self._is_by_cells and len(self._rows) > 2 and self.n_bytes(how) > budget

    def by_cells(self, how: How, budget: int, span: tuple[int, int]) -> Iterator[Range]:
        """Yield ranges of cells: as many rows of chunks at once as fit the budget, or one."""
        look = self._look_at(how[0])
        per_cell = look.n_bytes
        for first, last in self._groups(self._rows, max(1.0, budget / max(per_cell, 1e-9))):
            n_columns = len(self._columns) - 1
            if self._rows[first] < span[1] and self._rows[last] > span[0]:
                matrix = self._joined(self._computed((first, last), (0, n_columns), how), how[0])
                yield self._rows[first], matrix

    def by_genes(self, how: How, budget: int, span: tuple[int, int]) -> Iterator[Piece]:
        """Yield ranges of genes; in chunks of cells, each range computes all of them."""
        total = self.n_bytes(how)
        if total <= budget:
            cuts = [*span]
        else:
            cuts = self._cuts(how, budget // 2, total)
            if not self._is_by_cells:
                # Compute no chunk twice.
                cuts = _at_chunks(cuts, self._columns)
            cuts = [span[0], *(cut for cut in cuts if span[0] < cut < span[1]), span[1]]
        for start, stop in pairwise(cuts):
            if start < stop:
                yield start, stop, self._of_genes(how, (start, stop), budget // 2)

    def of_genes(self, how: How, span: tuple[int, int]) -> Matrix:
        """Return the matrix of a range of genes."""
        return self._of_genes(how, span, 1 << 28)

    def _of_genes(self, how: How, span: tuple[int, int], budget: int) -> Matrix:
        """Return a range of genes; about `budget` bytes of chunks are computed at once."""
        a = int(np.searchsorted(self._columns, span[0], side="right")) - 1
        b = int(np.searchsorted(self._columns, span[1]))
        start, stop = self._columns[a], self._columns[b]
        genes = np.arange(span[0] - start, span[1] - start)
        share = (stop - start) / max(1, self.shape[1])
        per_cell = self._look_at(how[0]).n_bytes * share
        parts = []
        for first, last in self._groups(self._rows, max(1.0, budget / max(per_cell, 1e-9))):
            matrix = self._joined(self._computed((first, last), (a, b), how), how[0])
            parts.append(columns_of(matrix, genes, self.where, how[0]))
        return stacked(parts, self.where, how[0])

    def cuts(self, how: How, entries: int) -> list[int]:
        """Return the bounds of ranges of genes, each with at most about `entries` stored values."""
        look = self._look_at(how[0])
        return bounds(look.seen + 1e-9, int(look.entries * self.shape[0]), entries)

    def _cuts(self, how: How, budget: int, total: int) -> list[int]:
        return bounds(self._look_at(how[0]).seen + 1e-9, total, budget)

    def _groups(self, ends: list[int], most: float) -> Iterator[tuple[int, int]]:
        """Yield ranges of chunks, each of at most `most` rows, or of one chunk."""
        first, n = 0, len(ends) - 1
        while first < n:
            last = int(np.searchsorted(ends, ends[first] + most, side="right")) - 1
            last = min(max(last, first + 1), n)
            yield first, last
            first = last


def of_blocks(rows: list[list[Any]], where: str, threads: int) -> StoredMatrix:
    """Return rows of computed blocks as one matrix."""
    parts = [[memory.matrix_of(block, where, threads) for block in row] for row in rows]
    return held(stacked([_beside(row, where, threads) for row in parts], where, threads), where)


def _stopping(how: How) -> Callable[..., None]:
    """Return what Dask calls after each task on this thread: it raises an error to stop the work.

    A distributed client does not call it. Of the bytes that are computed, none is counted.
    """
    thread = threading.get_ident()

    def done(*_: object) -> None:
        # Work that Dask does on other threads is not of this call.
        if how[1] is not None and threading.get_ident() == thread:
            how[1](0)

    return done


def _layout(array: Any, where: str) -> Literal["csr", "csc", "dense"]:
    """Return the layout of the chunks; TypeError if they are not of NumPy or SciPy."""
    meta = array._meta
    if isinstance(meta, np.ndarray) and not isinstance(meta, np.ma.MaskedArray):
        return "dense"
    layout = getattr(meta, "format", None)
    if type(meta).__module__.startswith("scipy.sparse") and layout in ("csr", "csc"):
        return "csr" if layout == "csr" else "csc"
    kind = f"{type(meta).__module__}.{type(meta).__qualname__}"
    msg = (
        f"{where} is a Dask array of chunks of {kind}: expected NumPy arrays, or CSR or CSC "
        "matrices of SciPy; convert them first, with map_blocks"
    )
    raise TypeError(msg)


def _sizes(matrix: Matrix) -> npt.NDArray[np.int64]:
    """Return the number of stored values of each gene."""
    if matrix.layout in ("c", "f"):
        return np.full(matrix.shape[1], matrix.shape[0])
    _, indices, indptr = arrays_of(matrix)
    if matrix.layout == "csc":
        return np.diff(indptr)
    return np.bincount(indices[: indptr[-1]], minlength=matrix.shape[1])


def _at_chunks(cuts: list[int], ends: list[int]) -> list[int]:
    """Return the cuts moved down to where chunks end; within a chunk there is none."""
    places = np.searchsorted(ends, cuts, side="right") - 1
    return sorted({ends[place] for place in places})


def _beside(parts: list[Matrix], where: str, threads: int) -> Matrix:
    """Return matrices of the same cells as one: genes of the first, of the second, and so on."""
    if len(parts) == 1:
        return parts[0]
    if all(part.layout in ("c", "f") for part in parts):
        return memory.dense(np.hstack([dense_of(part) for part in parts]), where)
    # The cells of the transposed matrices are genes.
    turned = stacked([_turned(part, where, threads) for part in parts], where, threads)
    return _turned(turned, where, threads)


def _turned(matrix: Matrix, where: str, threads: int) -> Matrix:
    """Return the transposed matrix; nothing is copied."""
    if matrix.layout in ("c", "f"):
        return memory.dense(dense_of(matrix).T, where)
    layout, shape = "csc" if matrix.layout == "csr" else "csr", matrix.shape[::-1]
    return memory.compressed(layout, shape, *arrays_of(matrix), where, threads)
