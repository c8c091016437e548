"""Matrices in memory as stored matrices, so that they can be read in pieces as those in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pdex._io.arrays import DenseMatrix, SparseMatrix
from pdex._io.stacking import arrays_of, dense_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from pdex._io.memory import Matrix
    from pdex._io.prefetch import How
    from pdex._io.stored import StoredMatrix

#: Number of values examined to tell counts from other numbers.
_SAMPLE = 50_000


class Held:
    """An array in memory, as :class:`pdex._io.arrays.StoredArray` and as its reader.

    Its type is one that the compiled module can borrow.
    """

    def __init__(self, array: npt.NDArray[Any], threads: int = 1) -> None:
        self._array, self.threads = array, threads

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The numbers of rows and columns."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""
        return self._array.dtype

    @property
    def itemsize(self) -> int:
        """Number of bytes of one number."""
        return self._array.dtype.itemsize

    @property
    def holds_counts(self) -> bool:
        """Whether the first numbers are whole and not negative."""
        if self._array.dtype.kind in "bu":
            return True
        rows = 1 + _SAMPLE // max(1, int(np.prod(self._array.shape[1:])))
        sample = self._array[:rows]
        return bool(np.all((sample >= 0) & (sample == np.trunc(sample))))

    def reader(self, how: How, *, index_below: int | None = None) -> Held:  # noqa: ARG002
        """Return a reader of it; nothing is converted."""
        return Held(self._array, how[0])

    def read(self, rows: tuple[int, int], columns: tuple[int, int] = (0, 1)) -> npt.NDArray[Any]:
        """Return the numbers of a window as a flat array, row by row."""
        if self._array.ndim == 1:
            return self._array[slice(*rows)]
        return np.ascontiguousarray(self._array[slice(*rows), slice(*columns)]).reshape(-1)

    def check_written(self, n: int) -> None:
        """All numbers are in memory."""


def held(matrix: Matrix, where: str) -> StoredMatrix:
    """Return a dense, CSR or CSC matrix in memory as a stored one."""
    if matrix.layout in ("c", "f"):
        return DenseMatrix(Held(dense_of(matrix)), where)
    parts = {name: Held(array) for name, array in arrays_of(matrix)._asdict().items()}
    parts["data"] = parts["values"]
    return SparseMatrix("csr" if matrix.layout == "csr" else "csc", matrix.shape, parts.get, where)
