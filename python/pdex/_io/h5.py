"""Read HDF5 datasets with all cores: h5py locates the chunks, and the compiled module reads them.

h5py itself reads what the compiled module does not support: other filters, virtual and external
datasets, and files that are not ordinary files on disk.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from pdex import _pdex
from pdex._io.arrays import DenseMatrix, SparseMatrix
from pdex._io.h5ad import KNOWN_FILTERS, check_types, encoding_of, file_bytes, most_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from pdex._io.prefetch import How
    from pdex._io.stored import StoredMatrix

#: Bytes per block of a dataset without chunks.
_BLOCK = 1 << 20
#: Number of values examined to guess the narrowest type that holds them all.
_SAMPLE = 50_000


def native_kind(dtype: np.dtype[Any]) -> str:
    """Return the type, such as ``"f4"``, as which the compiled module reads a `dtype`."""
    if dtype.kind == "b":
        return "u1"
    kind = f"{dtype.kind}{dtype.itemsize}"
    return "f4" if kind == "f2" else kind


def _is_plain(dataset: Any) -> bool:
    """Return whether the stored bytes are those of NumPy's type, so that none are converted."""
    import h5py

    stored = dataset.id.get_type()
    if isinstance(stored, h5py.h5t.TypeEnumID):
        stored = stored.get_super()
    kind = np.dtype(dataset.dtype.str)
    kinds = ("i1", "u1") if kind.kind == "b" else (kind,)
    return any(stored == h5py.h5t.py_create(np.dtype(kind)) for kind in kinds)


def _is_the_file(file: Any) -> bool:
    """Return whether the path still leads to the open file, and it is an ordinary file on disk."""
    if file.driver != "sec2" or file.userblock_size:
        return False
    try:
        return os.path.samestat(os.stat(file.filename), os.fstat(file.id.get_vfd_handle()))
    except OSError:
        return False


def _layout(dataset: Any) -> _pdex.Chunks | None:
    """Return the positions of the chunks, or None if the compiled module cannot read them."""
    identifier, plist = dataset.id, dataset.id.get_create_plist()
    file = dataset.file
    if dataset.ndim not in (1, 2) or not _is_the_file(file) or not _is_plain(dataset):
        return None
    if dataset.is_virtual or dataset.external or np.any(dataset.fillvalue):
        return None
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if not KNOWN_FILTERS.issuperset(filters):
        return None
    if file.mode != "r":
        file.flush()
    rows, columns = (*dataset.shape, 1)[:2]
    if dataset.chunks is not None:
        chunk_rows, chunk_columns = (*dataset.chunks, 1)[:2]
        found: list[Any] = []
        identifier.chunk_iter(found.append)
        places = np.array([info.chunk_offset for info in found], dtype=np.uint64)
        places = places.reshape(len(found), dataset.ndim)
        first_rows = np.ascontiguousarray(places[:, 0])
        first_columns = np.ascontiguousarray(places[:, 1]) if dataset.ndim == 2 else 0 * first_rows
        addresses, sizes, masks = (
            np.array([getattr(info, name) for info in found], dtype=np.uint64)
            for name in ("byte_offset", "size", "filter_mask")
        )
    else:
        offset = identifier.get_offset()
        if offset is None:
            return None
        width = columns * dataset.dtype.itemsize
        chunk_rows, chunk_columns = max(1, _BLOCK // max(1, width)), columns
        first_rows = np.arange(0, rows, chunk_rows, dtype=np.uint64)
        first_columns = masks = np.zeros_like(first_rows)
        addresses = np.uint64(offset) + first_rows * np.uint64(width)
        lengths = np.minimum(np.uint64(rows) - first_rows, np.uint64(chunk_rows))
        sizes = lengths * np.uint64(width)
    return _pdex.Chunks(
        file.filename,
        dataset.dtype.str,
        (rows, columns),
        (chunk_rows, chunk_columns),
        filters,
        (first_rows, first_columns, addresses, sizes, masks),
    )


class Dataset:
    """An h5py dataset of numbers, as :class:`pdex._io.arrays.StoredArray` has it."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The numbers of rows and columns; None if it has no dimensions at all."""
        shape: tuple[int, ...] | None = getattr(self._dataset, "shape", None)
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored type."""
        dtype: np.dtype[Any] = self._dataset.dtype
        return dtype

    def reader(self, how: How, *, index_below: int | None = None) -> Array:
        """Prepare to read it."""
        return Array(self._dataset, *how, index_below=index_below)


class Array:
    """A dataset of one or two dimensions, read as the narrowest type that holds its numbers."""

    def __init__(
        self,
        dataset: Any,
        threads: int,
        progress: Callable[[int], object] | None = None,
        *,
        index_below: int | None = None,
    ) -> None:
        """Prepare to read a dataset.

        Parameters
        ----------
        dataset
            An h5py dataset of numbers.
        threads
            Number of threads that read.
        progress
            Called with the number of bytes that the current call has read from the file.
        index_below
            Upper bound of the numbers if they are indices. None: they are values, and non-negative
            integers are read as unsigned integers of 8 or 16 bits if they fit.
        """
        self._dataset, self._progress = dataset, progress
        self.threads: int = threads
        self._check_chunk()
        self._chunks = _layout(dataset)
        # Size of the file: if it shrinks later, HDF5 reads zeros past its end.
        self._size = file_bytes(dataset.file)
        if index_below is not None:
            self._kinds = ["u2"] if index_below <= 1 << 16 else ["i4"]
            self._kinds.append("i8")
        else:
            self._kinds = [*self._narrow(), native_kind(dataset.dtype)]
        if self._chunks is None and index_below is None:
            self._kinds = self._kinds[-1:]

    @property
    def itemsize(self) -> int:
        """Number of bytes of one number as it is read."""
        return int(self._kinds[0][1:])

    @property
    def holds_counts(self) -> bool:
        """Whether all numbers seen so far are whole and not negative."""
        return self._dataset.dtype.kind in "bu" or self._kinds[0] in ("u1", "u2")

    def _check_chunk(self) -> None:
        """Raise OSError if the dataset claims chunks that its stored bytes cannot fill."""
        dataset = self._dataset
        if dataset.chunks is not None:
            numbers = int(np.prod([int(n) for n in dataset.chunks], dtype=object))
            if numbers * dataset.dtype.itemsize > most_bytes(dataset):
                self._fail(f"it claims {numbers:,} elements in a chunk, more than its bytes hold")

    def _fail(self, problem: object) -> NoReturn:
        dataset = self._dataset
        msg = f"{dataset.file.filename}: dataset {dataset.name!r} cannot be read: {problem}"
        raise OSError(msg)

    def check_written(self, n: int) -> None:
        """Raise OSError unless the first `n` numbers were written; HDF5 reads others as zeros."""
        dataset = self._dataset
        if n == 0 or dataset.is_virtual or dataset.external:
            return
        if n * dataset.dtype.itemsize > most_bytes(dataset):
            self._fail(f"it claims {n:,} elements, more than its stored bytes can hold")
        if dataset.chunks is None:
            written = dataset.size if dataset.id.get_storage_size() else 0
        else:
            written = dataset.id.get_num_chunks() * dataset.chunks[0]
        if written < n:
            self._fail(f"{written:,} of its first {n:,} elements were ever written")

    def _narrow(self) -> list[str]:
        """Return the unsigned integer types that hold the first numbers, narrowest first."""
        dataset = self._dataset
        if self._chunks is None or dataset.dtype.itemsize == 1 or not dataset.size:
            return []
        columns = (*dataset.shape, 1)[1]
        rows = min(dataset.shape[0], -(-_SAMPLE // columns))
        sample = self._read((0, rows), (0, columns), native_kind(dataset.dtype))
        if sample is None or not np.all((sample >= 0) & (sample == np.trunc(sample))):
            return []
        most = sample.max()
        return ["u1", "u2"] if most <= 255 else ["u2"] if most <= 65535 else []

    def read(self, rows: tuple[int, int], columns: tuple[int, int] = (0, 1)) -> npt.NDArray[Any]:
        """Return the numbers of a window as a flat array, row by row.

        Raises
        ------
        OSError
            The bytes of the file contradict its metadata. The error names the file and the dataset.
        """
        while True:
            kind = self._kinds[0]
            values = self._read(rows, columns, kind)
            if values is not None:
                return values
            self._kinds.pop(0)
            if not self._kinds:
                self._fail("it holds an index above 2^63 - 1")

    def _read(
        self, rows: tuple[int, int], columns: tuple[int, int], kind: str
    ) -> npt.NDArray[Any] | None:
        dataset = self._dataset
        try:
            if self._chunks is not None:
                return self._chunks.read(rows, columns, kind, self.threads, self._progress)
            window = (slice(*rows), slice(*columns))[: dataset.ndim]
            values: npt.NDArray[Any] = dataset[window].reshape(-1)
        except OSError as error:
            self._fail(error)
        if file_bytes(dataset.file) < self._size:
            self._fail("the file was truncated while it was being read")
        narrow = values.astype(kind)
        # The last type holds all values.
        return narrow if len(self._kinds) == 1 or np.array_equal(narrow, values) else None


def open_matrix(node: Any, where: str) -> StoredMatrix:
    """Return the matrix of an h5py dataset or group; no values are read."""
    import h5py

    check_types(node)
    if isinstance(node, h5py.Dataset):
        return DenseMatrix(Dataset(node), where)
    encoding = encoding_of(node)
    if encoding not in ("csr_matrix", "csc_matrix", "csr", "csc"):
        msg = (
            f"{node.name!r} has the encoding {encoding!r}: expected a dense array, csr_matrix or "
            "csc_matrix"
        )
        raise TypeError(msg)

    def member(name: str) -> Dataset | None:
        part = node.get(name)
        return None if part is None else Dataset(part)

    shape = node.attrs.get("shape", node.attrs.get("h5sparse_shape"))
    return SparseMatrix("csr" if encoding.startswith("csr") else "csc", shape, member, where)
