"""Read a matrix in an HDF5 file in pieces that fit a memory budget.

CSC and dense matrices are read gene by gene. A CSR matrix is read once, in ranges of cells, if its
rows can be spilled (:func:`spilled`), else in as many passes as the budget requires; each pass
keeps the entries of one range of genes.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pdex import _pdex
from pdex._io import memory
from pdex._io.h5 import Array
from pdex._io.prefetch import How, Prefetch

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from pdex._io.memory import Matrix

#: Number of entries read at a time.
_CHUNK = 1 << 22
#: Number of samples taken from a file's indices, and the length of each.
_LOOKS, _LOOK = 32, 1 << 15

#: First gene, one past the last gene, and the matrix of these genes.
Piece = tuple[int, int, "Matrix"]


def is_backed(x: Any) -> bool:
    """Return whether `x` is an HDF5 dataset or AnnData's wrapper of a sparse matrix in a file."""
    return hasattr(x, "group") or type(x).__module__.startswith("h5py")


def check(x: Any, where: str) -> None:
    """Raise an error unless the matrix has all its parts, with valid types and dimensions."""
    import h5py

    if not hasattr(x, "group"):
        if x.shape is None or len(x.shape) != 2:
            n = "no" if x.shape is None else len(x.shape)
            msg = f"{where} has {n} dimensions: expected 2, cells x genes"
            raise ValueError(msg)
        memory.check_dtype(x.dtype, where)
        return
    if not isinstance(x.group, h5py.Group):
        msg = f"{where} is a sparse matrix in a Zarr store; load it first, with .to_memory()"
        raise TypeError(msg)
    for name in ("data", "indices", "indptr"):
        part = x.group.get(name)
        if part is None:
            msg = f"{where} is a broken sparse matrix: it has no {name!r}"
            raise ValueError(msg)
        if not isinstance(part, h5py.Dataset) or part.shape is None or len(part.shape) != 1:
            msg = f"{where} is a broken sparse matrix: {name!r} is not a one-dimensional array"
            raise ValueError(msg)
        if name == "data":
            memory.check_dtype(part.dtype, where)
        elif part.dtype.kind not in "iu":
            broken = f"{where} is a broken sparse matrix"
            msg = f"{broken}: {name} has dtype {part.dtype}; expected integers"
            raise TypeError(msg)
    _check_shape(x, where)


def _check_shape(x: Any, where: str) -> None:
    """Raise ValueError unless the sparse matrix records its numbers of cells and genes."""
    shape = x.group.attrs.get("shape", x.group.attrs.get("h5sparse_shape"))
    numbers = np.asarray(shape)
    if shape is None or numbers.shape != (2,) or numbers.dtype.kind not in "iu" or min(numbers) < 0:
        msg = f"{where} is a broken sparse matrix: its shape is {shape!r}; expected two counts"
        raise ValueError(msg)


def head(x: Any, where: str, threads: int) -> Matrix:
    """Return the first stored values, enough to tell counts from normalised data."""
    dataset = x.group["data"] if hasattr(x, "group") else x
    memory.check_dtype(dataset.dtype, where)
    columns = (*dataset.shape, 1)[1]
    rows = min(dataset.shape[0], 1 + _CHUNK // max(1, columns))
    values = Array(dataset, threads).read((0, rows), (0, columns))
    return memory.dense(values.reshape(1, -1), where)


def pieces(
    x: Any, where: str, how: How, budget: int, span: tuple[int, int] | None = None
) -> Iterator[Piece]:
    """Yield the genes of `x` in ascending pieces; two pieces together take about `budget` bytes.

    The next piece is read while the caller works on the current one. Genes outside `span` may be
    left out.
    """
    span = (0, x.shape[1]) if span is None else span
    with Prefetch(how) as ahead:
        yield from ahead.of(_pieces(x, where, ahead.how, budget, span))


#: Bytes of a row while it is tested: group, value and count.
_ROW = 16
#: Cells of a group in one range of cells from which on equal values of a gene are worth merging.
_MERGED = 16


def is_larger(x: Any, where: str, how: How, budget: int) -> bool:
    """Return whether a matrix is CSR in a file, and its entries take more than `budget` bytes."""
    if getattr(x, "format", None) != "csr" or not hasattr(x, "group"):
        return False
    data, n_genes = x.group["data"], x.shape[1]
    memory.check_dtype(data.dtype, where)
    entry = Array(data, *how).itemsize + (2 if n_genes <= 1 << 16 else 4)
    size: int = data.shape[0] * entry
    return size > budget


class Counted(NamedTuple):
    """Cells whose rows are wanted."""

    #: The number of each cell's group; SKIP for cells that are left out.
    codes: npt.NDArray[np.uint32]
    n_groups: int
    #: Columns of the matrix, ascending.
    genes: npt.NDArray[np.uint32]


def spilled(
    x: Any, where: str, how: How, wanted: Counted, budget: int, folder: str | None
) -> Iterator[tuple[int, int, Matrix]]:
    """Read a CSR matrix once, and yield blocks of the genes as count tables.

    Ranges of cells are read in turn. Their rows go to an unnamed file in `folder` (None: the
    system's folder for temporary files) and are read back block after block.

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
        yield from ahead.of(_spilled(x, where, ahead.how, wanted, budget, folder))


def _spilled(
    x: Any, where: str, how: How, wanted: Counted, budget: int, folder: str | None
) -> Iterator[tuple[int, int, Matrix]]:
    codes, n_groups, genes = wanted
    (values, indices), indptr = _compressed(x, where, how)
    length = int(indptr[-1])
    cuts = _cuts(indices, length, x.shape[1], max(1, budget // 2 // _ROW))
    # Blocks that hold genes that are wanted.
    blocks = np.unique([0, *np.searchsorted(genes, cuts), len(genes)]).tolist()
    entries = max(1, budget // 2 // (values.itemsize + indices.itemsize))
    with _unnamed(folder) as path:
        spill = _pdex.Spill(path, genes, blocks, n_groups, how[0])
    for first, matrix in _ranges((values, indices), indptr, tuple(x.shape), entries, where):
        part = codes[first : first + matrix.shape[0]]
        merged = values.holds_counts and len(part) >= _MERGED * n_groups
        fold = "values" if merged else "nonzeros"
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


def _ranges(
    arrays: tuple[Array, Array],
    indptr: npt.NDArray[np.int64],
    shape: tuple[int, int],
    entries: int,
    where: str,
) -> Iterator[tuple[int, Matrix]]:
    """Yield ranges of cells of a CSR matrix, of about `entries` entries: first cell and matrix."""
    n_cells, n_genes = shape
    first = 0
    while first < n_cells:
        last = int(np.searchsorted(indptr, indptr[first] + entries, side="right")) - 1
        last = min(max(last, first + 1), n_cells)
        a, b = int(indptr[first]), int(indptr[last])
        values, indices = (array.read((a, b)) for array in arrays)
        part, threads = indptr[first : last + 1] - a, arrays[0].threads
        size = (last - first, n_genes)
        yield first, memory.compressed("csr", size, values, indices, part, where, threads)
        first = last


def _pieces(x: Any, where: str, how: How, budget: int, span: tuple[int, int]) -> Iterator[Piece]:
    if not hasattr(x, "group"):
        yield from _dense(x, where, how, budget, span)
        return
    (values, indices), indptr = _compressed(x, where, how)
    entry = values.itemsize + indices.itemsize
    entries = max(1, _share(budget, int(indptr[-1]) * entry) // entry)
    if x.format == "csc":
        yield from _csc((values, indices), indptr, x.shape[0], entries, where, span)
    else:
        yield from _csr((values, indices), indptr, tuple(x.shape), entries, where)


def _compressed(x: Any, where: str, how: How) -> tuple[tuple[Array, Array], npt.NDArray[np.int64]]:
    """Return values, indices and indptr of a sparse matrix; ValueError if they are broken."""
    group = x.group
    memory.check_dtype(group["data"].dtype, where)
    outer = x.shape[1] if x.format == "csc" else x.shape[0]
    indptr = _indptr(group, outer, where, how[0])
    inner = x.shape[0] if x.format == "csc" else x.shape[1]
    values = Array(group["data"], *how)
    indices = Array(group["indices"], *how, index_below=inner)
    indices.check_written(int(indptr[-1]))
    return (values, indices), indptr


def _indptr(group: Any, outer: int, where: str, threads: int) -> npt.NDArray[np.int64]:
    """Return indptr; raise ValueError if it does not describe the stored entries.

    The lengths are compared before the array is read.
    """
    n_values, n_indices = group["data"].shape[0], group["indices"].shape[0]
    length = group["indptr"].shape[0]
    problem = None
    if length != outer + 1:
        problem = f"indptr has {length} entries: expected {outer + 1}"
    elif n_values != n_indices:
        problem = f"indices has {n_indices} entries: expected {n_values}, as many as data"
    if problem is None:
        indptr = Array(group["indptr"], threads, index_below=1 << 62).read((0, length))
        indptr = indptr.astype(np.int64, copy=False)
        if indptr[0] != 0:
            problem = f"indptr starts at {indptr[0]}: expected 0"
        elif np.any(indptr[1:] < indptr[:-1]):
            problem = f"indptr decreases at position {int(np.argmax(indptr[1:] < indptr[:-1])) + 1}"
        elif indptr[-1] > n_values:
            problem = f"indptr ends at {indptr[-1]}, past the last of {n_values} stored entries"
    if problem is not None:
        msg = f"{where} is a broken sparse matrix: {problem}"
        raise ValueError(msg)
    return indptr


def _share(budget: int, whole: int) -> int:
    """Return the bytes of one piece: half the budget, unless one piece holds everything."""
    return budget if whole <= budget else budget // 2


def _dense(x: Any, where: str, how: How, budget: int, span: tuple[int, int]) -> Iterator[Piece]:
    n_cells = x.shape[0]
    memory.check_dtype(x.dtype, where)
    array = Array(x, *how)
    gene = max(1, n_cells * array.itemsize)
    step = max(1, _share(budget, (span[1] - span[0]) * gene) // gene)
    for start in range(*span, step):
        stop = min(start + step, span[1])
        values = array.read((0, n_cells), (start, stop))
        yield start, stop, memory.dense(values.reshape(n_cells, stop - start), where)


def _csc(
    arrays: tuple[Array, Array],
    indptr: npt.NDArray[np.int64],
    n_cells: int,
    entries: int,
    where: str,
    span: tuple[int, int],
) -> Iterator[Piece]:
    start, end = span
    while start < end:
        stop = int(np.searchsorted(indptr, indptr[start] + entries, side="right")) - 1
        stop = min(max(stop, start + 1), end)
        a, b = int(indptr[start]), int(indptr[stop])
        part = indptr[start : stop + 1] - a
        values, indices = (array.read((a, b)) for array in arrays)
        shape = (n_cells, stop - start)
        yield (
            start,
            stop,
            memory.compressed("csc", shape, values, indices, part, where, arrays[0].threads),
        )
        start = stop


def _csr(
    arrays: tuple[Array, Array],
    indptr: npt.NDArray[np.int64],
    shape: tuple[int, int],
    entries: int,
    where: str,
) -> Iterator[Piece]:
    n_cells, n_genes = shape
    length = int(indptr[-1])
    if length <= entries:
        values, indices = (array.read((0, length)) for array in arrays)
        yield (
            0,
            n_genes,
            memory.compressed("csr", shape, values, indices, indptr, where, arrays[0].threads),
        )
        return
    cuts = _cuts(arrays[1], length, n_genes, entries)
    for start, stop in pairwise(cuts):
        values, indices, part = _csr_range(arrays, indptr, (start, stop), n_genes, where)
        shape = (n_cells, stop - start)
        yield (
            start,
            stop,
            memory.compressed("csr", shape, values, indices, part, where, arrays[0].threads),
        )


def _cuts(indices: Array, length: int, n_genes: int, entries: int) -> list[int]:
    """Return the bounds of ranges of genes, each with at most about `entries` entries.

    The number of entries of each gene is estimated from samples spread over the file.
    """
    seen = np.ones(n_genes)
    looks = [a * (length // _LOOKS) for a in range(_LOOKS)] if length > _LOOKS * _LOOK else [0]
    for a in looks:
        index = indices.read((a, min(a + _LOOK, length)))
        valid = index[(index >= 0) & (index < n_genes)]
        seen += np.bincount(valid, minlength=n_genes)
    share = np.cumsum(seen) / seen.sum()
    # The estimate is off by a few per cent, so a tenth is added.
    passes = -(-length * 11 // (10 * entries))
    inner = np.searchsorted(share, np.arange(1, passes) / passes) + 1
    return [0, *sorted({int(cut) for cut in inner if 0 < cut < n_genes}), n_genes]


def _csr_range(
    arrays: tuple[Array, Array],
    indptr: npt.NDArray[np.int64],
    genes: tuple[int, int],
    n_genes: int,
    where: str,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return the CSR arrays of a range of genes, from one pass over the file."""
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
                stored.view(unsigned), index, genes, n_genes, indptr[rows] - a, kept,
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
