"""Matrices that are stored as arrays, in an HDF5 file or a Zarr store, in pieces that fit memory.

CSC and dense matrices are read gene by gene. A CSR matrix is read once, in ranges of cells, if its
rows can be spilled (:meth:`pdex._io.stored.StoredMatrix.spilled`), else in as many passes as the
budget requires; each pass keeps the entries of one range of genes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol

import numpy as np

from pdex import _pdex
from pdex._io import memory
from pdex._io.stored import Piece, Range, StoredMatrix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from pdex._io.memory import Matrix
    from pdex._io.prefetch import How

#: Number of entries read at a time.
_CHUNK = 1 << 22
#: Number of samples taken from a matrix's indices, and the length of each.
_LOOKS, _LOOK = 32, 1 << 15


class Reader(Protocol):
    """Reads an array of one or two dimensions as the narrowest type that holds its numbers."""

    #: Number of threads that read.
    threads: int

    @property
    def itemsize(self) -> int:
        """Number of bytes of one number as it is read."""

    @property
    def holds_counts(self) -> bool:
        """Whether all numbers seen so far are whole and not negative."""

    def read(self, rows: tuple[int, int], columns: tuple[int, int] = (0, 1)) -> npt.NDArray[Any]:
        """Return the numbers of a window as a flat array, row by row."""

    def check_written(self, n: int) -> None:
        """Raise OSError unless the first `n` numbers were written."""


class StoredArray(Protocol):
    """An array of numbers in a file or store."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The numbers of rows and columns; None if it has no dimensions at all."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored type."""

    def reader(self, how: How, *, index_below: int | None = None) -> Reader:
        """Prepare to read it.

        `index_below` is the upper bound of the numbers if they are indices. None: they are values,
        and non-negative integers may be read as unsigned integers of 8 or 16 bits if they fit.
        """


class DenseMatrix(StoredMatrix):
    """A dense matrix: one array of two dimensions.

    Parameters
    ----------
    values
        The array.
    where
        Name of the matrix in errors.
    chunks
        Rows and columns of a chunk: pieces end where chunks do, if they are large enough, so that
        none is read twice.

    Raises
    ------
    ValueError
        The array has not two dimensions.
    TypeError
        The array does not hold real numbers.
    """

    layout: Literal["csr", "csc", "dense"] = "dense"

    def __init__(self, values: StoredArray, where: str, chunks: tuple[int, int] = (1, 1)) -> None:
        shape = values.shape
        if shape is None or len(shape) != 2:
            n = "no" if shape is None else len(shape)
            msg = f"{where} has {n} dimensions: expected 2, cells x genes"
            raise ValueError(msg)
        memory.check_dtype(values.dtype, where)
        self._values, self.where, self._chunks = values, where, chunks
        self.shape, self.dtype = (shape[0], shape[1]), values.dtype

    def head(self, threads: int) -> Matrix:
        """Return the first stored values, enough to tell counts from normalised data."""
        n_cells, n_genes = self.shape
        rows = min(n_cells, 1 + _CHUNK // max(1, n_genes))
        values = self._values.reader((threads, None)).read((0, rows), (0, n_genes))
        return memory.dense(values.reshape(1, -1), self.where)

    def n_bytes(self, how: How) -> int:
        """Return about how many bytes the whole matrix takes when it is read."""
        return self.shape[0] * self.shape[1] * self._values.reader(how).itemsize

    def holds_counts(self, how: How) -> bool:
        """Return whether the first values are whole numbers and not negative."""
        return self._values.reader(how).holds_counts

    def by_genes(self, how: How, budget: int, span: tuple[int, int]) -> Iterator[Piece]:
        """Yield ranges of columns."""
        n_cells, array = self.shape[0], self._values.reader(how)
        gene = max(1, n_cells * array.itemsize)
        step = max(1, _share(budget, (span[1] - span[0]) * gene) // gene)
        for start, stop in pairwise(_bounds(span, step, self._chunks[1])):
            values = array.read((0, n_cells), (start, stop))
            yield start, stop, memory.dense(values.reshape(n_cells, stop - start), self.where)

    def by_cells(self, how: How, budget: int, span: tuple[int, int]) -> Iterator[Range]:
        """Yield ranges of rows."""
        n_genes, array = self.shape[1], self._values.reader(how)
        step = max(1, budget // max(1, n_genes * array.itemsize))
        for first, last in pairwise(_bounds(span, step, self._chunks[0])):
            values = array.read((first, last), (0, n_genes))
            yield first, memory.dense(values.reshape(last - first, n_genes), self.where)

    def of_genes(self, how: How, span: tuple[int, int]) -> Matrix:
        """Return a range of columns."""
        n_cells = self.shape[0]
        values = self._values.reader(how).read((0, n_cells), span)
        return memory.dense(values.reshape(n_cells, span[1] - span[0]), self.where)

    def cuts(self, how: How, entries: int) -> list[int]:  # noqa: ARG002 - all genes are as long
        """Return the bounds of ranges of genes, each with at most about `entries` stored values."""
        n_cells, n_genes = self.shape
        step = max(1, entries // max(1, n_cells))
        return [*range(0, n_genes, step), n_genes]


class SparseMatrix(StoredMatrix):
    """A CSR or CSC matrix: arrays data, indices and indptr.

    Parameters
    ----------
    layout
        ``"csr"`` or ``"csc"``.
    shape
        The recorded shape, which is checked.
    member
        Returns an array by its name; None if there is none, or no array.
    where
        Name of the matrix in errors.

    Raises
    ------
    ValueError
        A part is missing, or has wrong dimensions.
    TypeError
        The values are no real numbers, or the indices no integers.
    """

    def __init__(
        self,
        layout: Literal["csr", "csc"],
        shape: object,
        member: Callable[[str], StoredArray | None],
        where: str,
    ) -> None:
        self.layout, self.where = layout, where
        arrays = {name: self._part(name, member(name)) for name in ("data", "indices", "indptr")}
        self._data, self._indices, self._indptr = arrays.values()
        self.dtype = self._data.dtype
        numbers = np.asarray(shape)
        valid = numbers.shape == (2,) and numbers.dtype.kind in "iu" and min(numbers) >= 0
        if shape is None or not valid:
            self._broken(f"its shape is {shape!r}; expected two counts")
        self.shape = (int(numbers[0]), int(numbers[1]))
        #: indptr, once it was read.
        self._offsets: npt.NDArray[np.int64] | None = None

    def _broken(self, problem: str, error: type[Exception] = ValueError) -> NoReturn:
        msg = f"{self.where} is a broken sparse matrix: {problem}"
        raise error(msg)

    def _part(self, name: str, part: StoredArray | None) -> StoredArray:
        if part is None:
            self._broken(f"it has no {name!r}")
        if part.shape is None or len(part.shape) != 1:
            self._broken(f"{name!r} is not a one-dimensional array")
        if name == "data":
            memory.check_dtype(part.dtype, self.where)
        elif part.dtype.kind not in "iu":
            self._broken(f"{name} has dtype {part.dtype}; expected integers", TypeError)
        return part

    def head(self, threads: int) -> Matrix:
        """Return the first stored values, enough to tell counts from normalised data."""
        rows = min(_length(self._data), 1 + _CHUNK)
        values = self._data.reader((threads, None)).read((0, rows))
        return memory.dense(values.reshape(1, -1), self.where)

    def n_bytes(self, how: How) -> int:
        """Return about how many bytes the whole matrix takes when it is read."""
        inner = self.shape[self.layout == "csr"]
        entry = self._data.reader(how).itemsize + (2 if inner <= 1 << 16 else 4)
        return _length(self._data) * entry

    def holds_counts(self, how: How) -> bool:
        """Return whether the first values are whole numbers and not negative."""
        return self._data.reader(how).holds_counts

    def by_genes(self, how: How, budget: int, span: tuple[int, int]) -> Iterator[Piece]:
        """Yield the genes in pieces; of a CSR matrix, each takes a pass."""
        arrays, indptr = self._open(how)
        entry = arrays[0].itemsize + arrays[1].itemsize
        entries = max(1, _share(budget, int(indptr[-1]) * entry) // entry)
        if self.layout == "csc":
            yield from self._outer(arrays, indptr, entries, span)
        else:
            yield from self._passes(arrays, indptr, entries, (0, self.shape[1]))

    def by_cells(self, how: How, budget: int, span: tuple[int, int]) -> Iterator[Range]:
        """Yield ranges of cells; of a CSC matrix, each takes a pass."""
        arrays, indptr = self._open(how)
        entries = max(1, budget // (arrays[0].itemsize + arrays[1].itemsize))
        if self.layout == "csc":
            ranges = self._passes(arrays, indptr, entries, span)
        else:
            ranges = self._outer(arrays, indptr, entries, span)
        for first, _, matrix in ranges:
            yield first, matrix

    def of_genes(self, how: How, span: tuple[int, int]) -> Matrix:
        """Return a range of genes; of a CSR matrix, from one pass."""
        arrays, indptr = self._open(how)
        if self.layout == "csr":
            return self._picked(arrays, indptr, span)
        found = self._outer(arrays, indptr, int(indptr[-1]), span)
        return next(matrix for _, _, matrix in found)

    def cuts(self, how: How, entries: int) -> list[int]:
        """Return the bounds of ranges of genes, each with at most about `entries` stored values."""
        (_, indices), indptr = self._open(how)
        if self.layout == "csr":
            return _cuts(indices, int(indptr[-1]), self.shape[1], entries)
        marks = np.arange(entries, int(indptr[-1]), entries)
        inner = np.searchsorted(indptr, marks)
        return [0, *sorted({int(cut) for cut in inner if 0 < cut < self.shape[1]}), self.shape[1]]

    def _open(self, how: How) -> tuple[tuple[Reader, Reader], npt.NDArray[np.int64]]:
        """Return values, indices and indptr; ValueError if they are broken."""
        outer, inner = self.shape if self.layout == "csr" else self.shape[::-1]
        if self._offsets is None:
            self._offsets = self._read_offsets(outer, how[0])
        indptr = self._offsets
        values = self._data.reader(how)
        indices = self._indices.reader(how, index_below=inner)
        indices.check_written(int(indptr[-1]))
        return (values, indices), indptr

    def _read_offsets(self, outer: int, threads: int) -> npt.NDArray[np.int64]:
        """Return indptr; raise ValueError if it does not describe the stored entries.

        The lengths are compared before the array is read.
        """
        n_values, n_indices = _length(self._data), _length(self._indices)
        length = _length(self._indptr)
        problem = None
        if length != outer + 1:
            problem = f"indptr has {length} entries: expected {outer + 1}"
        elif n_values != n_indices:
            problem = f"indices has {n_indices} entries: expected {n_values}, as many as data"
        if problem is None:
            indptr = self._indptr.reader((threads, None), index_below=1 << 62).read((0, length))
            indptr = indptr.astype(np.int64, copy=False)
            if indptr[0] != 0:
                problem = f"indptr starts at {indptr[0]}: expected 0"
            elif np.any(falls := indptr[1:] < indptr[:-1]):
                problem = f"indptr decreases at position {int(np.argmax(falls)) + 1}"
            elif indptr[-1] > n_values:
                problem = f"indptr ends at {indptr[-1]}, past the last of {n_values} stored entries"
        if problem is not None:
            self._broken(problem)
        return indptr

    def _outer(
        self,
        arrays: tuple[Reader, Reader],
        indptr: npt.NDArray[np.int64],
        entries: int,
        span: tuple[int, int],
    ) -> Iterator[tuple[int, int, Matrix]]:
        """Yield ranges of the cells of a CSR matrix, or of the genes of a CSC matrix."""
        start, end = span
        while start < end:
            stop = int(np.searchsorted(indptr, indptr[start] + entries, side="right")) - 1
            stop = min(max(stop, start + 1), end)
            a, b = int(indptr[start]), int(indptr[stop])
            values, indices = (array.read((a, b)) for array in arrays)
            size = (stop - start, self.shape[1])
            if self.layout == "csc":
                size = (self.shape[0], stop - start)
            part = indptr[start : stop + 1] - a
            yield start, stop, self._matrix(size, values, indices, part, arrays[0].threads)
            start = stop

    def _matrix(
        self,
        shape: tuple[int, int],
        values: npt.NDArray[Any],
        indices: npt.NDArray[Any],
        indptr: npt.NDArray[np.int64],
        threads: int,
    ) -> Matrix:
        return memory.compressed(self.layout, shape, values, indices, indptr, self.where, threads)

    def _passes(
        self,
        arrays: tuple[Reader, Reader],
        indptr: npt.NDArray[np.int64],
        entries: int,
        wanted: tuple[int, int],
    ) -> Iterator[tuple[int, int, Matrix]]:
        """Yield ranges of the genes of a CSR matrix, or of the cells of a CSC matrix.

        There are as many passes as fit `entries` entries each; ranges of what is not wanted are
        left out.
        """
        inner = self.shape[self.layout == "csr"]
        spans = [(0, inner)]
        if (length := int(indptr[-1])) > entries:
            spans = list(pairwise(_cuts(arrays[1], length, inner, entries)))
        for span in spans:
            if span[0] < wanted[1] and span[1] > wanted[0]:
                yield *span, self._picked(arrays, indptr, span)

    def _picked(
        self,
        arrays: tuple[Reader, Reader],
        indptr: npt.NDArray[np.int64],
        span: tuple[int, int],
    ) -> Matrix:
        """Return a range of the genes of a CSR matrix, or of the cells of a CSC matrix."""
        outer, inner = self.shape if self.layout == "csr" else self.shape[::-1]
        if span == (0, inner):
            values, indices = (array.read((0, int(indptr[-1]))) for array in arrays)
        else:
            values, indices, indptr = _pick(arrays, indptr, span, inner, self.where)
        size = (outer, span[1] - span[0])
        size = size if self.layout == "csr" else size[::-1]
        return self._matrix(size, values, indices, indptr, arrays[0].threads)


def _length(array: StoredArray) -> int:
    """Return the length of an array of one dimension."""
    return array.shape[0] if array.shape else 0


def _bounds(span: tuple[int, int], step: int, chunk: int) -> list[int]:
    """Return the bounds of pieces of at most `step`, which end where a chunk does if one fits."""
    start, end = span
    bounds = [start]
    while start < end:
        stop = start + step
        if step >= chunk:
            stop -= stop % chunk
        start = min(stop, end)
        bounds.append(start)
    return bounds


def _share(budget: int, whole: int) -> int:
    """Return the bytes of one piece: half the budget, unless one piece holds everything."""
    return budget if whole <= budget else budget // 2


def _cuts(indices: Reader, length: int, inner: int, entries: int) -> list[int]:
    """Return the bounds of ranges of genes, each with at most about `entries` entries.

    The number of entries of each gene (of a CSC matrix: of each cell; there are `inner` of them) is
    estimated from samples spread over the file.
    """
    seen = np.ones(inner)
    looks = [a * (length // _LOOKS) for a in range(_LOOKS)] if length > _LOOKS * _LOOK else [0]
    for a in looks:
        index = indices.read((a, min(a + _LOOK, length)))
        valid = index[(index >= 0) & (index < inner)]
        seen += np.bincount(valid, minlength=inner)
    return bounds(seen, length, entries)


def bounds(seen: npt.NDArray[np.float64], length: int, entries: int) -> list[int]:
    """Return the bounds of ranges of genes, each with at most about `entries` entries.

    `seen` are the entries of each gene in a sample of all `length` entries.
    """
    n_genes = len(seen)
    share = np.cumsum(seen) / seen.sum()
    # The estimate is off by a few per cent, so a tenth is added.
    passes = -(-length * 11 // (10 * entries))
    inner = np.searchsorted(share, np.arange(1, passes) / passes) + 1
    return [0, *sorted({int(cut) for cut in inner if 0 < cut < n_genes}), n_genes]


def _pick(
    arrays: tuple[Reader, Reader],
    indptr: npt.NDArray[np.int64],
    span: tuple[int, int],
    inner: int,
    where: str,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return the CSR arrays of a range of genes, from one pass over the file.

    Of a CSC matrix, the range is one of cells. There are `inner` genes, or cells.
    """
    # Number of entries kept before each row: indptr of the range.
    before = np.zeros_like(indptr)
    total, length = 0, int(indptr[-1])
    values = indices = np.empty(0, np.uint8)
    for a in range(0, length, _CHUNK):
        b = min(a + _CHUNK, length)
        stored, index = (array.read((a, b)) for array in arrays)
        values = _room(values, stored.dtype, total, length)
        indices = _room(indices, index.dtype, total, length)
        unsigned = f"u{stored.itemsize}"
        rows = slice(*np.searchsorted(indptr, [a + 1, b + 1]))
        kept = np.zeros(rows.stop - rows.start, np.int64)
        try:
            n = _pdex.pick(
                stored.view(unsigned), index, span, inner, indptr[rows] - a, kept,
                values[total:].view(unsigned), indices[total:], arrays[0].threads,
            )  # fmt: skip
        except ValueError as error:
            msg = f"{where} is broken: {error}"
            raise ValueError(msg) from None
        before[rows] = total + kept
        total += n
    return values[:total], indices[:total], before


def _room(
    array: npt.NDArray[Any], dtype: np.dtype[Any], total: int, length: int
) -> npt.NDArray[Any]:
    """Return an array of `length` numbers that starts with the first `total` numbers of `array`.

    The part that is never written takes no memory.
    """
    if array.dtype == dtype and len(array) == length:
        return array
    room = np.empty(length, dtype)
    room[:total] = array[:total]
    return room
