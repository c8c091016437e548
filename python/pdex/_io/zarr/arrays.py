"""Arrays of numbers in a Zarr store, in windows that follow its chunks.

zarr-python answers a read with zeros where a chunk is missing, and it decodes whole chunks. So a
window of a one-dimensional array is widened to whole chunks, the last of which is kept for the
window behind it, and a chunk of a sparse matrix that holds nothing but the fill value is looked up
in the store.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast

import numpy as np

from pdex._io.arrays import DenseMatrix, SparseMatrix
from pdex._io.prefetch import result_of
from pdex._io.zarr.codecs import checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    import numpy.typing as npt

    from pdex._io.arrays import Reader
    from pdex._io.prefetch import How
    from pdex._io.stored import StoredMatrix

    #: What an array of a sparse matrix holds; None: it belongs to a dense matrix.
    Role: TypeAlias = Literal["data", "indices", "indptr"] | None

#: Number of values examined to guess the narrowest type that holds them all.
_SAMPLE = 50_000
#: About how many bytes are read at a time, as they are stored; at least one chunk.
_BLOCK = 1 << 25
#: Errors that keep their class when they are named; all others become OSError.
_KINDS = (FileNotFoundError, PermissionError, TimeoutError, ConnectionError, MemoryError)


class ZarrArray:
    """An array of numbers in a Zarr store, as :class:`pdex._io.arrays.StoredArray` has it.

    Parameters
    ----------
    array
        A ``zarr.Array``; anything else has no shape.
    store
        Name of the store in errors.
    role
        What it holds in a sparse matrix, all of which must have been written. None: it is dense,
        and chunks that are missing hold the fill value.
    """

    def __init__(self, array: Any, store: str, role: Role = None) -> None:
        self.array = checked(array) if hasattr(array, "chunks") else array
        self.store, self.role = store, role
        #: The types that may hold the values, narrowest first, once they were looked for.
        self._kinds: list[str] | None = None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The numbers of rows and columns; None if it is no array."""
        shape: tuple[int, ...] | None = getattr(self.array, "shape", None)
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored type."""
        dtype: np.dtype[Any] = self.array.dtype
        return dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """The numbers of rows and columns that are decoded at once: of a shard, those inside it."""
        chunks: tuple[int, ...] = self.array.chunks
        return tuple(max(1, n) for n in chunks)

    def reader(self, how: How, *, index_below: int | None = None) -> Reader:
        """Prepare to read it."""
        if index_below is not None:
            kinds = ["u2" if index_below <= 1 << 16 else "i4", "i8"]
        else:
            self._kinds = self._kinds or self._narrow(how)
            kinds = self._kinds
        return ZarrReader(self, how, list(kinds))

    def _narrow(self, how: How) -> list[str]:
        """Return the types that may hold the values, narrowest first; the last holds them all."""
        dtype = self.dtype
        kind = "u1" if dtype.kind == "b" else f"{dtype.kind}{dtype.itemsize}"
        kind = "f4" if kind == "f2" else kind
        shape = self.shape or (0,)
        if dtype.itemsize == 1 or not np.prod(shape, dtype=object):
            return [kind]
        columns = (*shape, 1)[1]
        rows = min(shape[0], -(-_SAMPLE // columns))
        sample = ZarrReader(self, (how[0], None), [kind]).read((0, rows), (0, columns))
        if not np.all((sample >= 0) & (sample == np.trunc(sample))):
            return [kind]
        most = sample.max()
        narrower = ["u1", "u2"] if most <= 255 else ["u2"] if most <= 65535 else []
        return [*(n for n in narrower if int(n[1:]) < dtype.itemsize), kind]


class ZarrReader:
    """An array of one or two dimensions, read as the narrowest type that holds its numbers."""

    def __init__(self, source: ZarrArray, how: How, kinds: list[str]) -> None:
        self._source, self._array, self._kinds = source, source.array, kinds
        self.threads: int = how[0]
        self._progress: Callable[[int], object] | None = how[1]
        self._done = 0
        #: The first number of the chunk that was read last, and the numbers of it.
        self._kept: tuple[int, npt.NDArray[Any]] | None = None
        #: Of the indices of a sparse matrix: where each of its rows starts.
        self.offsets: npt.NDArray[np.int64] | None = None
        #: The first number of a chunk of indptr that is not in the store, and whether others hold
        #: more than zeros.
        self._absent: int | None = None
        self._risen = False

    @property
    def itemsize(self) -> int:
        """Number of bytes of one number as it is read."""
        return int(self._kinds[0][1:])

    @property
    def holds_counts(self) -> bool:
        """Whether all numbers seen so far are whole and not negative."""
        return self._source.dtype.kind in "bu" or self._kinds[0] in ("u1", "u2")

    def check_written(self, n: int) -> None:
        """Leave it to `read`, which looks up the chunks that hold nothing but the fill value."""

    def read(self, rows: tuple[int, int], columns: tuple[int, int] = (0, 1)) -> npt.NDArray[Any]:
        """Return the numbers of a window as a flat array, row by row.

        Raises
        ------
        OSError
            A chunk is missing or damaged, or cannot be fetched. The error names the store, the
            array and, if it is missing, the chunk.
        """
        while True:
            self._done = 0
            values = self._read(rows, columns, self._kinds[0])
            if values is not None:
                return values
            self._kept = None
            self._kinds.pop(0)
            if not self._kinds:
                self._fail("it holds an index above 2^63 - 1")

    def _read(
        self, rows: tuple[int, int], columns: tuple[int, int], kind: str
    ) -> npt.NDArray[Any] | None:
        """Return a window in a type; None if that does not hold all numbers."""
        first, last = rows
        width = columns[1] - columns[0]
        made = np.empty((last - first) * width, kind)
        start = first
        if self._kept is not None:
            begin, kept = self._kept
            if begin <= first < begin + len(kept):
                part = kept[first - begin : last - begin]
                made[: len(part)] = part
                start += len(part)
        for a, b in self._blocks(start, last, width):
            block = self._fetch((a, b), columns)
            narrow = _as_kind(block, kind, last_kind=len(self._kinds) == 1)
            if narrow is None:
                return None
            low, high = max(a, first), min(b, last)
            made[(low - first) * width : (high - first) * width] = narrow[
                (low - a) * width : (high - a) * width
            ]
            if self._array.ndim == 1:
                begin = a + (len(narrow) - 1) // self._source.chunks[0] * self._source.chunks[0]
                self._kept = begin, narrow[begin - a :].copy()
        return made

    def _blocks(self, first: int, last: int, width: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of rows that together hold a window and end where chunks do.

        Of an array of one dimension they hold whole chunks, also outside the window.
        """
        chunk, end = self._source.chunks[0], last
        if self._array.ndim == 1 and first < last:
            first -= first % chunk
            end = min(-(-last // chunk) * chunk, self._array.shape[0])
        row = max(1, width * self._source.dtype.itemsize)
        step = max(1, _BLOCK // row // chunk) * chunk
        while first < end:
            stop = min(first - first % chunk + step, end)
            yield first, stop
            first = stop

    def _fetch(self, rows: tuple[int, int], columns: tuple[int, int]) -> npt.NDArray[Any]:
        """Return a block as it is stored, flat."""
        window = (slice(*rows), slice(*columns))[: self._array.ndim]
        try:
            block: npt.NDArray[Any] = np.asarray(self._window(window)).reshape(-1)
            if self._source.role is not None:
                self._check_chunks(rows[0], block)
        # Codecs and clients of object storage have errors of every class.
        except Exception as error:
            self._fail(error)
        self._done += block.nbytes
        self._look()
        return block

    def _window(self, window: tuple[slice, ...]) -> Any:
        """Return a window, or stop fetching it where the progress function raises an error."""
        import asyncio

        from zarr.core import sync

        # Held until the end; an event has a lock that an interrupted wait might keep.
        ended = threading.Lock()
        ended.acquire()

        async def fetch() -> Any:
            try:
                return await self._array._async_array.getitem(window)
            finally:
                ended.release()

        coming = asyncio.run_coroutine_threadsafe(fetch(), sync._get_loop())
        try:
            return result_of(coming, self._look)
        finally:
            # asyncio complains of tasks that have not ended when the process does.
            if coming.cancel():
                ended.acquire(timeout=1)

    def _look(self) -> None:
        """Report the bytes read."""
        if self._progress is not None:
            self._progress(self._done)

    def _check_chunks(self, first: int, block: npt.NDArray[Any]) -> None:
        """Raise an error for a chunk of a sparse matrix that is missing; blocks hold whole chunks.

        Only chunks that hold nothing but the fill value are looked up in the store, of which no
        array has many. Such a chunk need not have been written where it can hold nothing else:
        all of indptr, and indices of rows with one entry each.
        """
        chunk, role = self._source.chunks[0], self._source.role
        for start in range(0, len(block), chunk):
            part = block[start : start + chunk]
            a, b = first + start, first + start + len(part)
            if not _is_fill(part, self._array.fill_value):
                self._risen = True
                if self._absent is not None:
                    raise self._missing(self._absent)
                continue
            lone = role == "indices" and _are_lone(self.offsets, a, b)
            if not lone and not self._is_stored(a):
                if role != "indptr" or self._risen:
                    raise self._missing(a)
                self._absent = a if self._absent is None else self._absent
            if role == "indices" and not lone and self._array.shards is not None:
                msg = f"its numbers {a:,} to {b - 1:,} were never written to {self._key(a)!r}"
                raise OSError(msg)

    def _missing(self, number: int) -> FileNotFoundError:
        """Return the error for the chunk or shard that holds a number."""
        (size,) = self._array.shards or self._array.chunks
        first = number - number % size
        last = min(first + size, self._array.shape[0]) - 1
        key = self._key(number)
        msg = f"its chunk {key!r} is missing, and its numbers {first:,} to {last:,} with it"
        if self._source.role == "data":
            msg += "; if these were zeros, write the matrix after eliminate_zeros()"
        return FileNotFoundError(msg)

    def _key(self, number: int) -> str:
        """Return the name, within the array, of the chunk or shard that holds a number."""
        (size,) = self._array.shards or self._array.chunks
        key: str = self._array.metadata.encode_chunk_key((number // size,))
        return key

    def _is_stored(self, number: int) -> bool:
        """Return whether the store has the chunk or shard that holds a number."""
        from zarr.core.sync import sync

        return bool(sync((self._array.store_path / self._key(number)).exists()))

    def _fail(self, problem: object) -> NoReturn:
        """Raise an error that names the store and the array."""
        array, store = self._array, self._source.store
        if isinstance(problem, InterruptedError):
            raise problem
        text = str(problem) or type(problem).__name__
        msg = f"{store}: array {array.path!r} cannot be read: {text}"
        kind = next((kind for kind in _KINDS if isinstance(problem, kind)), OSError)
        where = problem.__traceback__ if isinstance(problem, BaseException) else None
        # Show one error, with the traceback of the original, instead of two.
        raise kind(msg).with_traceback(where) from None


def _as_kind(block: npt.NDArray[Any], kind: str, *, last_kind: bool) -> npt.NDArray[Any] | None:
    """Return numbers in a type; None if it does not hold them all.

    The last type of values holds them all, and that of indices holds all that are valid.
    """
    if block.dtype == np.dtype(kind):
        return block
    if block.dtype.kind in "bf" and last_kind:
        return block.astype(kind)
    with np.errstate(invalid="ignore"):
        narrow = block.astype(kind)
    return narrow if np.array_equal(narrow, block) else None


def _is_fill(part: npt.NDArray[Any], fill: Any) -> bool:
    """Return whether all numbers are what a chunk that is missing is read as."""
    fill = 0 if fill is None else fill
    if fill != fill:
        return bool(np.isnan(part).all())
    return bool(part[0] == fill) and bool((part == fill).all())


def _are_lone(offsets: npt.NDArray[np.int64] | None, first: int, last: int) -> bool:
    """Return whether no two of the entries from `first` to before `last` are of one row."""
    if offsets is None:
        return False
    return int(np.diff(np.clip(offsets, first, last)).max(initial=0)) <= 1


class ZarrSparseMatrix(SparseMatrix):
    """A CSR or CSC matrix in a Zarr store."""

    def _open(self, how: How) -> tuple[tuple[Reader, Reader], npt.NDArray[np.int64]]:
        (values, indices), indptr = super()._open(how)
        if isinstance(indices, ZarrReader):
            indices.offsets = indptr
        return (values, indices), indptr


def open_matrix(node: Any, where: str, store: str) -> StoredMatrix:
    """Return the matrix of a ``zarr.Array`` or ``zarr.Group``; no values are read.

    Parameters
    ----------
    node
        An array of two dimensions, or a group as AnnData writes a sparse matrix.
    where, store
        Names of the matrix and of its store in errors.
    """
    if hasattr(node, "chunks"):
        array = ZarrArray(node, store)
        chunks = array.chunks if len(array.chunks) == 2 else (1, 1)
        return DenseMatrix(array, where, (chunks[0], chunks[1]))
    encoding = node.attrs.get("encoding-type")
    if encoding not in ("csr_matrix", "csc_matrix"):
        msg = (
            f"{node.path!r} has the encoding {encoding!r}: expected a dense array, csr_matrix or "
            "csc_matrix"
        )
        raise TypeError(msg)

    def member(name: str) -> ZarrArray | None:
        part = node.get(name)
        return None if part is None else ZarrArray(part, store, cast("Role", name))

    layout: Literal["csr", "csc"] = "csr" if encoding == "csr_matrix" else "csc"
    return ZarrSparseMatrix(layout, node.attrs.get("shape"), member, where)
