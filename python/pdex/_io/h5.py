"""Read HDF5 datasets with all cores: the compiled module finds their chunks, and reads them.

What it cannot read, h5py reads: other filters, for which hdf5plugin is a remedy, and files that an
AnnData object holds open but that are not on disk.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import polars as pl

from pdex import _pdex
from pdex._io.arrays import DenseMatrix, SparseMatrix

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    import numpy.typing as npt

    from pdex._io.prefetch import How
    from pdex._io.stored import StoredMatrix

    #: A dataset of numbers.
    Node: TypeAlias = "_pdex.H5Dataset | Borrowed"

#: Number of values examined to guess the narrowest type that holds them all.
_SAMPLE = 50_000


def native_kind(dtype: np.dtype[Any]) -> str:
    """Return the type, such as ``"f4"``, as which the compiled module reads a `dtype`."""
    if dtype.kind == "b":
        return "u1"
    kind = f"{dtype.kind}{dtype.itemsize}"
    return "f4" if kind == "f2" else kind


def check_type(node: Any) -> None:
    """Raise ValueError if a dataset has a list type.

    anndata never writes list types, and libhdf5 crashes on text whose type was damaged into one.
    """
    if node.kind == "lists":
        msg = f"{node.name!r} is broken: its content has a list type"
        raise ValueError(msg)


def check(node: Any) -> None:
    """Raise ValueError if a dataset claims more than its stored bytes hold, or has a list type."""
    check_type(node)
    problem = node.excess()
    if problem is not None:
        msg = f"{node.name!r} is broken: {problem}"
        raise ValueError(msg)


def numbers(node: _pdex.H5Dataset, path: str) -> npt.NDArray[Any]:
    """Return all numbers of a dataset of one dimension, or truth values."""
    length = int(np.prod(node.shape or (0,)))
    chunks = node.located() if node.shape else None
    if chunks is not None:
        values = chunks.read((0, length), (0, 1), native_kind(node.dtype), 1)
    else:
        values = _readable(node, path).read((0, length), (0, 1))
    found: npt.NDArray[Any] = np.asarray(values)
    return found != 0 if node.dtype.kind == "b" else found


def texts(node: _pdex.H5Dataset, path: str) -> pl.Series:
    """Return all texts of a dataset of one dimension."""
    if node.foreign() is None:
        return node.texts()
    values = _by_h5py(node, path)[...].tolist()
    return pl.Series([v.decode() if isinstance(v, bytes) else v for v in values], dtype=pl.String)


def field(node: _pdex.H5Dataset, path: str, name: str) -> npt.NDArray[Any]:
    """Return a field of records that went through a filter which the HDF5 library does not undo."""
    found: npt.NDArray[Any] = _by_h5py(node, path)[name]
    return found


class Borrowed:
    """A dataset of numbers of an open ``h5py.File``, which h5py reads."""

    kind = "number"

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        # If the file shrinks later, h5py reads zeros past its end.
        self._bytes = _file_bytes(dataset.file)

    @property
    def name(self) -> str:
        """Its full name in the file."""
        return str(self._dataset.name)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Its lengths; None if it has no value."""
        shape: tuple[int, ...] | None = self._dataset.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored type."""
        dtype: np.dtype[Any] = self._dataset.dtype
        return dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """The lengths of its chunks; None without chunks."""
        chunks: tuple[int, ...] | None = self._dataset.chunks
        return chunks

    @property
    def elsewhere(self) -> bool:
        """Whether it lies in other files, too."""
        return bool(self._dataset.is_virtual or self._dataset.external)

    @property
    def stored(self) -> int:
        """The bytes that are stored in the file."""
        return int(self._dataset.id.get_storage_size())

    @property
    def filters(self) -> list[tuple[int, str]]:
        """The numbers and names of its filters."""
        plist = self._dataset.id.get_create_plist()
        found = (plist.get_filter(i) for i in range(plist.get_nfilters()))
        return [(number, name.decode()) for number, _, _, name in found]

    def n_written(self) -> int:
        """Return how many of its first values, at most, were ever written."""
        dataset = self._dataset
        if dataset.chunks is None:
            return int(dataset.size) if dataset.id.get_storage_size() else 0
        return int(dataset.id.get_num_chunks() * dataset.chunks[0])

    def excess(self, n: int | None = None) -> None:
        """Return None: a file that is open already is trusted."""

    def located(self) -> None:
        """Return None: h5py reads it."""

    def foreign(self) -> None:
        """Return None: h5py undoes its filters."""

    def read(self, rows: tuple[int, int], columns: tuple[int, int]) -> npt.NDArray[Any]:
        """Return the numbers of a window as a flat array, row by row."""
        dataset = self._dataset
        window = (slice(*rows), slice(*columns))[: dataset.ndim]
        values: npt.NDArray[Any] = np.asarray(dataset[window]).reshape(-1)
        if _file_bytes(dataset.file) < self._bytes:
            msg = "the file was truncated while it was being read"
            raise OSError(msg)
        return values


class BorrowedGroup:
    """A sparse matrix in an open ``h5py.File``."""

    def __init__(self, group: Any) -> None:
        self._group, self.name = group, str(group.name)

    @property
    def attrs(self) -> dict[str, Any]:
        """Its attributes."""
        return dict(self._group.attrs)

    def get(self, name: str) -> Any:
        """Return a dataset; None if there is none."""
        found = self._group.get(name)
        return None if found is None else Borrowed(found)


def _file_bytes(file: Any) -> int:
    """Return the current size of an open h5py.File, even if its path now leads elsewhere."""
    if file.driver == "sec2":
        return os.fstat(file.id.get_vfd_handle()).st_size
    return int(file.id.get_filesize())


def _readable(node: Node, path: str) -> Node:
    """Return what reads the numbers of a dataset: itself, or h5py."""
    return node if node.foreign() is None else Borrowed(_by_h5py(node, path))


def _by_h5py(node: Any, path: str) -> Any:
    """Return a dataset of h5py, which may know more filters; OSError that names them if not."""
    number, name = node.foreign()
    # Its filters are registered when it is imported.
    with contextlib.suppress(ImportError):
        importlib.import_module("hdf5plugin")
    with contextlib.suppress(ImportError):
        import h5py

        if h5py.h5z.filter_avail(number):
            return h5py.File(path, "r")[node.name]
    called = f"{number} ({name})" if name else str(number)
    msg = (
        f"dataset {node.name!r} cannot be read: its chunks went through filter {called}, which "
        "pdex does not undo; install hdf5plugin, with which h5py may"
    )
    raise OSError(msg)


class Dataset:
    """A dataset of numbers, as :class:`pdex._io.arrays.StoredArray` has it."""

    def __init__(self, node: Any, path: str) -> None:
        self.node, self._path = node, path

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The numbers of rows and columns; None if it has no dimensions at all."""
        shape: tuple[int, ...] | None = getattr(self.node, "shape", None)
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored type."""
        dtype: np.dtype[Any] = self.node.dtype
        return dtype

    def reader(self, how: How, *, index_below: int | None = None) -> Array:
        """Prepare to read it."""
        return Array(self.node, self._path, *how, index_below=index_below)


class Array:
    """A dataset of one or two dimensions, read as the narrowest type that holds its numbers."""

    def __init__(
        self,
        node: Node,
        path: str,
        threads: int,
        progress: Callable[[int], object] | None = None,
        *,
        index_below: int | None = None,
    ) -> None:
        """Prepare to read a dataset.

        Parameters
        ----------
        node
            A dataset of numbers.
        path
            The file that it is in.
        threads
            Number of threads that read.
        progress
            Called with the number of bytes that the current call has read from the file.
        index_below
            Upper bound of the numbers if they are indices. None: they are values, and non-negative
            integers are read as unsigned integers of 8 or 16 bits if they fit.
        """
        self._node, self._progress = node, progress
        self.threads: int = threads
        self._check_claim(0)
        self._chunks = node.located()
        self._source = node if self._chunks is not None else _readable(node, path)
        if index_below is not None:
            self._kinds = ["u2"] if index_below <= 1 << 16 else ["i4"]
            self._kinds.append("i8")
        else:
            self._kinds = [*self._narrow(), native_kind(node.dtype)]
        if self._chunks is None and index_below is None:
            self._kinds = self._kinds[-1:]

    @property
    def itemsize(self) -> int:
        """Number of bytes of one number as it is read."""
        return int(self._kinds[0][1:])

    @property
    def holds_counts(self) -> bool:
        """Whether all numbers seen so far are whole and not negative."""
        return self._node.dtype.kind in "bu" or self._kinds[0] in ("u1", "u2")

    def _fail(self, problem: object) -> NoReturn:
        msg = f"dataset {self._node.name!r} cannot be read: {problem}"
        raise OSError(msg)

    def _check_claim(self, n: int) -> None:
        """Raise OSError if chunks, or the first `n` numbers, claim more than the stored bytes."""
        problem = self._node.excess(n)
        if problem is not None:
            self._fail(problem)

    def check_written(self, n: int) -> None:
        """Raise OSError unless the first `n` numbers were written; HDF5 reads others as zeros."""
        if n == 0 or self._node.elsewhere:
            return
        self._check_claim(n)
        written = self._node.n_written()
        if written < n:
            self._fail(f"{written:,} of its first {n:,} elements were ever written")

    def _narrow(self) -> list[str]:
        """Return the unsigned integer types that hold the first numbers, narrowest first."""
        node = self._node
        shape = node.shape or (0,)
        if self._chunks is None or node.dtype.itemsize == 1 or 0 in shape:
            return []
        columns = (*shape, 1)[1]
        rows = min(shape[0], -(-_SAMPLE // columns))
        sample = self._read((0, rows), (0, columns), native_kind(node.dtype))
        if sample is None or not np.all((sample >= 0) & (sample == np.trunc(sample))):
            return []
        most = sample.max()
        return ["u1", "u2"] if most <= 255 else ["u2"] if most <= 65535 else []

    def read(self, rows: tuple[int, int], columns: tuple[int, int] = (0, 1)) -> npt.NDArray[Any]:
        """Return the numbers of a window as a flat array, row by row.

        Raises
        ------
        OSError
            The bytes of the file contradict its metadata. The error names the dataset.
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
        # The compiled module reports only long reads; here, short ones can be stopped, too.
        if self._progress is not None:
            self._progress(0)
        try:
            if self._chunks is not None:
                return self._chunks.read(rows, columns, kind, self.threads, self._progress)
            values = self._source.read(rows, columns)
        except InterruptedError:
            raise
        except OSError as error:
            if "cannot be read" in str(error):
                raise
            self._fail(error)
        narrow = values.astype(kind)
        # The last type holds all values.
        return narrow if len(self._kinds) == 1 or np.array_equal(narrow, values) else None


def open_matrix(node: Any, where: str, path: str) -> StoredMatrix:
    """Return the matrix of a dataset or group; no values are read.

    Parameters
    ----------
    node
        A dataset of two dimensions, or a group as AnnData writes a sparse matrix.
    where
        Name of the matrix in errors.
    path
        The file that it is in.
    """
    if not hasattr(node, "get"):
        check_type(node)
        return DenseMatrix(Dataset(node, path), where)
    attributes = node.attrs
    encoding = encoding_of(attributes)
    if encoding not in ("csr_matrix", "csc_matrix", "csr", "csc"):
        msg = (
            f"{node.name!r} has the encoding {encoding!r}: expected a dense array, csr_matrix or "
            "csc_matrix"
        )
        raise TypeError(msg)

    def member(name: str) -> Dataset | None:
        part = node.get(name)
        return None if part is None else Dataset(part, path)

    shape = attributes.get("shape", attributes.get("h5sparse_shape"))
    return SparseMatrix("csr" if encoding.startswith("csr") else "csc", shape, member, where)


def encoding_of(attributes: dict[str, Any]) -> Any:
    """Return how a group stores its matrix, such as "csr_matrix", or None if it does not say."""
    return attributes.get("encoding-type", attributes.get("h5sparse_format"))


def of_h5py(node: Any) -> Any:
    """Return what an ``h5py.Group`` or ``h5py.Dataset`` of an open file is to this module.

    The file is opened once more, by its path, if that still leads to it.
    """
    file = node.file
    if file.mode != "r":
        file.flush()
    if _is_on_disk(file):
        found = _pdex.H5File(file.filename).root.get(node.name)
        if found is not None:
            return found
    return Borrowed(node) if hasattr(node, "dtype") else BorrowedGroup(node)


def _is_on_disk(file: Any) -> bool:
    """Return whether the path still leads to the open file, and it is an ordinary file on disk."""
    if file.driver != "sec2":
        return False
    try:
        return os.path.samestat(os.stat(file.filename), os.fstat(file.id.get_vfd_handle()))
    except OSError:
        return False
