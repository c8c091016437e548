"""Put matrices in memory below each other, and choose columns of one.

Arrays are copied as they are: entries that occur several times at one place stay apart, because
their sum may not fit the narrow type as which they were read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pdex._io import memory

if TYPE_CHECKING:
    import numpy.typing as npt

    from pdex._io.memory import Matrix

#: Number of values of a dense matrix that are made sparse at a time.
_CHUNK = 1 << 22
#: The largest whole number up to which float64 holds all whole numbers.
_EXACT = 1 << 53


class _Arrays(NamedTuple):
    """The arrays of a CSR or CSC matrix."""

    values: npt.NDArray[Any]
    indices: npt.NDArray[Any]
    indptr: npt.NDArray[Any]


def dense_of(matrix: Matrix) -> npt.NDArray[Any]:
    """Return the array of a dense matrix, cells x genes."""
    if matrix.layout == "c":
        return np.reshape(matrix.values, matrix.shape)
    turned: npt.NDArray[Any] = np.reshape(matrix.values, matrix.shape[::-1]).T
    return turned


def arrays_of(matrix: Matrix) -> _Arrays:
    """Return the arrays of a CSR or CSC matrix."""
    indices, indptr = matrix.indices, matrix.indptr
    assert indices is not None
    assert indptr is not None
    return _Arrays(matrix.values, indices, indptr)


def check_exact(matrix: Matrix, dtype: np.dtype[Any], where: str) -> None:
    """Raise ValueError if `dtype` does not hold all values of the matrix.

    Only whole numbers of 64 bits that become fractions lose anything.
    """
    values = matrix.values
    if dtype.kind != "f" or values.dtype.kind not in "iu" or values.dtype.itemsize < 8:
        return
    if values.size and (int(values.max()) > _EXACT or int(values.min()) < -_EXACT):
        msg = (
            f"{where} has dtype {values.dtype} and numbers above 2^53, and other matrices of the "
            f"screen have fractions: {dtype} does not hold both exactly; convert it first"
        )
        raise ValueError(msg)


def stacked(parts: list[Matrix], where: str, threads: int) -> Matrix:
    """Return matrices with the same genes as one: the cells of the first, of the second, and so on.

    `parts` is emptied while it is copied, so that about one of them is in memory twice.
    """
    if len(parts) == 1:
        return parts.pop()
    n_cells, n_genes = sum(part.shape[0] for part in parts), parts[0].shape[1]
    dtype = np.result_type(*(part.values.dtype for part in parts))
    for part in parts:
        check_exact(part, dtype, where)
    layouts = {part.layout for part in parts}
    if layouts <= {"c", "f"}:
        out = np.empty((n_cells, n_genes), dtype)
        row = 0
        for part in _emptied(parts):
            out[row : row + part.shape[0]] = dense_of(part)
            row += part.shape[0]
        return memory.dense(out, where)
    layout = "csc" if layouts == {"csc"} else "csr"
    if layout == "csr":
        for i, part in enumerate(parts):
            parts[i] = _as_csr(part, where, threads)
    found = (_joined_csr if layout == "csr" else _joined_csc)(parts, dtype)
    return memory.compressed(layout, (n_cells, n_genes), *found, where, threads)


def _emptied(parts: list[Matrix]) -> Any:
    """Yield the parts in order, and forget each."""
    parts.reverse()
    while parts:
        yield parts.pop()


def _index_type(n: int) -> type[np.int32 | np.int64]:
    return np.int32 if n <= np.iinfo(np.int32).max else np.int64


def _joined_csr(parts: list[Matrix], dtype: np.dtype[Any]) -> _Arrays:
    each = [arrays_of(part) for part in parts]
    lengths = [int(one.indptr[-1]) for one in each]
    index = np.result_type(*(one.indices.dtype for one in each))
    starts = np.cumsum([0, *lengths])
    indptr = [each[0].indptr[:1].astype(np.int64)]
    indptr += [one.indptr[1:] + start for one, start in zip(each, starts, strict=False)]
    values, indices = np.empty(starts[-1], dtype), np.empty(starts[-1], index)
    del each
    for part, start, n in zip(_emptied(parts), starts, lengths, strict=False):
        one = arrays_of(part)
        values[start : start + n] = one.values[:n]
        indices[start : start + n] = one.indices[:n]
    return _Arrays(values, indices, np.concatenate(indptr))


def _joined_csc(parts: list[Matrix], dtype: np.dtype[Any]) -> _Arrays:
    n_cells = sum(part.shape[0] for part in parts)
    # The number of entries of each gene in each part.
    lengths = np.array([np.diff(arrays_of(part).indptr) for part in parts], dtype=np.int64)
    indptr = np.concatenate([[0], np.cumsum(lengths.sum(axis=0))])
    values = np.empty(indptr[-1], dtype)
    indices = np.empty(indptr[-1], _index_type(n_cells))
    room, cell = indptr[:-1].copy(), 0
    for part, length in zip(_emptied(parts), lengths, strict=True):
        one = arrays_of(part)
        n = int(one.indptr[-1])
        places = np.arange(n) + np.repeat(room - one.indptr[:-1], length)
        values[places] = one.values[:n]
        indices[places] = one.indices[:n].astype(indices.dtype) + indices.dtype.type(cell)
        room += length
        cell += part.shape[0]
    return _Arrays(values, indices, indptr)


def _as_csr(matrix: Matrix, where: str, threads: int) -> Matrix:
    if matrix.layout == "csr":
        return matrix
    if matrix.layout == "csc":
        import scipy.sparse as sp

        csr = sp.csc_matrix(tuple(arrays_of(matrix)), shape=matrix.shape).tocsr()
        found = _Arrays(csr.data, csr.indices, csr.indptr)
        return memory.compressed("csr", matrix.shape, *found, where, threads)
    array, (n_cells, n_genes) = dense_of(matrix), matrix.shape
    step, indptr = max(1, _CHUNK // max(1, n_genes)), [np.zeros(1, np.int64)]
    values, indices = [array[:0].reshape(-1)], [np.empty(0, _index_type(n_genes))]
    for first in range(0, n_cells, step):
        block = array[first : first + step]
        rows, columns = np.nonzero(block)
        values.append(block[rows, columns])
        indices.append(columns.astype(indices[0].dtype))
        ends = np.cumsum(np.bincount(rows, minlength=len(block)))
        indptr.append(ends + indptr[-1][-1])
    found = _Arrays(*(np.concatenate(each) for each in (values, indices, indptr)))
    return memory.compressed("csr", matrix.shape, *found, where, threads)


def columns_of(matrix: Matrix, genes: npt.NDArray[np.int64], where: str, threads: int) -> Matrix:
    """Return some columns of a matrix, each at most once, in the order given."""
    n_cells, n_genes = matrix.shape
    if np.array_equal(genes, np.arange(n_genes)):
        return matrix
    shape = (n_cells, len(genes))
    if matrix.layout in ("c", "f"):
        return memory.dense(dense_of(matrix)[:, genes], where)
    values, indices, indptr = arrays_of(matrix)
    indptr = indptr.astype(np.int64, copy=False)
    if matrix.layout == "csc":
        lengths = np.diff(indptr)[genes]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(ends[-1]) + np.repeat(indptr[:-1][genes] - ends[:-1], lengths)
        found = _Arrays(values[places], indices[places], ends)
        return memory.compressed("csc", shape, *found, where, threads)
    place = np.full(n_genes, -1, dtype=_index_type(n_genes))
    place[genes] = np.arange(len(genes))
    n = int(indptr[-1])
    index = place[indices[:n]]
    kept = index >= 0
    before = np.concatenate([[0], np.cumsum(kept)])
    found = _Arrays(values[:n][kept], index[kept], before[indptr])
    return memory.compressed("csr", shape, *found, where, threads)
