"""Files of counts: what count tasks write, and test tasks read.

A file holds the rows of some cells: group of cells, value, and number of cells. Zeros have no rows:
a group's cells without a row are zeros. All files of a call number genes and groups alike, and cut
the genes into the same parts.

::

    "pdexcnt1", number of parts, largest value           8 bytes each
    of each part, and of the end: offset, rows before    8 bytes each
    the parts, as _pdex.pack_rows makes them
"""

from __future__ import annotations

import struct
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from pdex import _pdex
from pdex._counting import SCALED
from pdex._files import naming, replacing
from pdex._io.normalize import log_base_of
from pdex._io.prefetch import Prefetch
from pdex._io.tabled import TableSource
from pdex._io.tables import FORMAT, Manifest, Rows
from pdex._places import Remote, place_of, read_range
from pdex._shares import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from pdex._io.memory import Matrix
    from pdex._places import Place
    from pdex._resources import Resources

    _Unpacked = tuple[
        npt.NDArray[np.uint64], npt.NDArray[np.uint32], npt.NDArray[Any], npt.NDArray[np.uint32]
    ]

_MAGIC = b"pdexcnt1"
_HEAD = struct.Struct("<8sQd")
#: Bytes of a part in the index.
_ENTRY = 16
#: About how many rows of all files a part has: it is unpacked as a whole.
PART = 1 << 22
#: Bytes of a row as it is held: group, value (of up to 8 bytes) and count.
_ROW = 16
#: Files in object storage that are read at once, whatever the number of threads.
_REMOTE = 16


class Counts(NamedTuple):
    """A file of counts."""

    path: str
    rows: int
    #: The largest value where counts were scaled.
    most: float


def bounds_of(n_genes: int, blocks: int, parts: int) -> list[int]:
    """Return where the parts of each file begin and end: `parts` of each block of the genes."""
    bounds = [0]
    for first, last in pairwise(cut(n_genes, blocks)):
        ends = cut(last - first, max(1, min(parts, last - first)))[1:]
        bounds += [first + end for end in ends]
    return bounds


# --- write --------------------------------------------------------------------------------------


class CountWriter:
    """Write a file of counts, which appears when it is whole.

    Parts are packed by other threads while the next rows are made.

    Parameters
    ----------
    path
        The file.
    bounds
        Where parts begin and end, by the numbers of genes.
    threads
        Number of parts that are packed at once.
    """

    def __init__(self, path: Place, bounds: Sequence[int], threads: int) -> None:
        self.path, self._ends, self._threads = path, list(bounds[1:]), threads
        #: What was written.
        self.written: Counts
        self._file: IO[bytes]
        self._pool: ThreadPoolExecutor
        self._packing: deque[tuple[Future[bytes], int]] = deque()
        #: Offset of each part, and the rows before it.
        self._index = [(_HEAD.size + _ENTRY * len(bounds), 0)]
        self._waiting: list[pl.DataFrame] = []
        self._lengths: list[int] = []
        self._genes = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Open the file; after an error or an interrupt, leave nothing behind."""
        with replacing(self.path) as part, part.open("wb") as self._file:
            self._file.seek(self._index[0][0])
            with ThreadPoolExecutor(self._threads) as self._pool:
                try:
                    yield
                except BaseException:
                    self._pool.shutdown(wait=False, cancel_futures=True)
                    raise

    def add(self, frame: pl.DataFrame, lengths: Sequence[int]) -> None:
        """Add the rows of the next genes, and the number of rows of each."""
        first = row = 0
        while first < len(lengths):
            end = self._ends[len(self._index) + len(self._packing) - 1]
            last = min(len(lengths), first + end - self._genes)
            rows = sum(lengths[first:last])
            self._waiting.append(frame.slice(row, rows))
            self._lengths += lengths[first:last]
            self._genes += last - first
            row, first = row + rows, last
            if self._genes == end:
                self._pack()

    def _pack(self) -> None:
        """Let the rows that wait be packed: a part."""
        frame, lengths = pl.concat(self._waiting), np.array(self._lengths, dtype=np.uint32)
        columns = [frame[name].rechunk().to_numpy() for name in ("group", "value", "count")]
        packed = self._pool.submit(_pdex.pack_rows, lengths, *columns)
        self._packing.append((packed, frame.height))
        self._waiting, self._lengths = [], []
        self._write(self._threads)

    def _write(self, most: int) -> None:
        """Write parts until at most `most` are being packed."""
        while len(self._packing) > most:
            packed, rows = self._packing.popleft()
            data = packed.result()
            with naming(self.path):
                self._file.write(data)
            offset, before = self._index[-1]
            self._index.append((offset + len(data), before + rows))

    def finish(self, labels: pl.DataFrame, names: Sequence[str], facts: dict[str, Any]) -> None:  # noqa: ARG002 - they are known to all tasks
        """Write what is left, then the index."""
        self._write(0)
        most = float(facts["values"]["most"])
        with naming(self.path):
            self._file.seek(0)
            self._file.write(_HEAD.pack(_MAGIC, len(self._index) - 1, most))
            self._file.write(np.array(self._index, dtype="<u8").tobytes())
            self._file.flush()
        self.written = Counts(str(self.path), self._index[-1][1], most)


# --- read ---------------------------------------------------------------------------------------


def counts_in(path: Place) -> Counts:
    """Return what a file says of itself.

    Raises
    ------
    ValueError
        It is not a whole file of counts.
    """
    head = read_range(path, 0, _HEAD.size)
    if len(head) < _HEAD.size or not head.startswith(_MAGIC):
        raise _damaged(path, "it does not begin as a file of counts")
    _, parts, most = _HEAD.unpack(head)
    return Counts(str(path), int(_index(path, (parts, parts))[0, 1]), most)


def _index(path: Place, parts: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Return offset and rows before, for each part of a range and for the one behind it."""
    first, last = (_HEAD.size + _ENTRY * part for part in parts)
    data = read_range(path, first, last + _ENTRY)
    if len(data) != last + _ENTRY - first:
        raise _damaged(path, "it is too short")
    index = np.frombuffer(data, dtype="<u8").astype(np.int64).reshape(-1, 2)
    if np.any(np.diff(index, axis=0) < 0):
        raise _damaged(path, "its index does not ascend")
    return index


def _damaged(path: Place, problem: object) -> ValueError:
    msg = f"{path} is damaged: {problem}. Delete the folder {path.parent.parent}, and start again"
    return ValueError(msg)


class CountFiles:
    """Files of counts as one table, to be read as a matrix.

    Parameters
    ----------
    paths
        The files.
    bounds
        Where their parts begin and end, by the numbers of genes.
    manifest
        What is known of all together.
    """

    def __init__(self, paths: Sequence[str], bounds: Sequence[int], manifest: Manifest) -> None:
        self.paths = [place_of(path) for path in paths]
        self.manifest = manifest
        self._bounds = np.array(bounds, dtype=np.int64)
        #: Narrow values are widened as this type's are.
        self._like = np.empty(0, np.dtype(manifest.values["dtype"].lower()))

    @classmethod
    def of(cls, known: dict[str, Any]) -> CountFiles:
        """Return the table that :meth:`spelled` described."""
        return cls(known["files"], known["bounds"], Manifest(**known["manifest"]))

    def spelled(self) -> dict[str, Any]:
        """Return a description of the table that JSON can hold, for :meth:`of`."""
        files, bounds = [str(path) for path in self.paths], self._bounds.tolist()
        return {"files": files, "bounds": bounds, "manifest": asdict(self.manifest)}

    def pieces(
        self, genes: npt.NDArray[np.uint32], resources: Resources, logged: bool = False
    ) -> Iterator[tuple[int, Matrix, npt.NDArray[np.uint32]]]:
        """Yield pieces in ascending order: first gene, table, wanted genes counted from the first.

        The next piece is read while the caller works on the current one.
        """
        if not len(genes) or not self.paths:
            return
        readers = _REMOTE if isinstance(self.paths[0], Remote) else resources.threads
        with ThreadPoolExecutor(readers) as pool, Prefetch((resources.threads, None)) as ahead:
            yield from ahead.of(self._pieces(genes, resources, logged, pool))

    def _pieces(
        self,
        genes: npt.NDArray[np.uint32],
        resources: Resources,
        logged: bool,
        pool: ThreadPoolExecutor,
    ) -> Iterator[tuple[int, Matrix, npt.NDArray[np.uint32]]]:
        span = np.searchsorted(self._bounds, [int(genes[0]) + 1, int(genes[-1]) + 1])
        start, stop = int(span[0]) - 1, int(span[1])
        indices = list(pool.map(lambda path: _index(path, (start, stop)), self.paths))
        # This piece and the next are in memory, each beside its bytes in the files.
        most = max(1, resources.for_pieces * 2 // 5 // _ROW)
        rows = np.diff(sum(index[:, 1] for index in indices))
        for first, last in _pieces(rows, most):
            a, b = (int(self._bounds[start + part]) for part in (first, last))
            i, j = np.searchsorted(genes, [a, b])
            if j == i:
                continue
            where = zip(self.paths, indices, strict=True)
            reads = [(path, index[first : last + 1, 0].tolist()) for path, index in where]
            data = list(pool.map(lambda read: _parts(*read), reads))
            parts = self._unpacked(data, resources.threads)
            firsts = (self._bounds[start + first : start + last] - a).tolist() * len(reads)
            held = [
                Rows(at, *(part if not logged else _logged(part)))
                for at, part in zip(firsts, parts, strict=True)
            ]
            matrix = _pdex.Matrix.counted((self.manifest.n_groups, b - a), held)
            yield a, matrix, genes[i:j] - np.uint32(a)

    def _unpacked(self, data: list[list[bytes]], threads: int) -> list[_Unpacked]:
        """Return the rows of the parts of each file; ValueError that names a damaged file."""
        try:
            return _pdex.unpack_rows(
                [part for parts in data for part in parts], self._like, threads
            )
        except ValueError:
            for path, parts in zip(self.paths, data, strict=True):
                try:
                    _pdex.unpack_rows(parts, self._like, threads)
                except ValueError as error:
                    raise _damaged(path, error) from error
            raise


def _pieces(rows: npt.NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of parts that have at most `most` rows together, or are one part."""
    ends = np.cumsum(rows)
    first = before = 0
    while first < len(rows):
        last = max(first + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield first, last
        first, before = last, int(ends[last - 1])


def _parts(path: Place, offsets: list[int]) -> list[bytes]:
    """Return the bytes of consecutive parts of a file."""
    data = read_range(path, offsets[0], offsets[-1])
    return [data[a - offsets[0] : b - offsets[0]] for a, b in pairwise(offsets)]


def _logged(part: _Unpacked) -> _Unpacked:
    """Return rows with the logarithms of their values."""
    starts, groups, values, counts = part
    return starts, groups, _pdex.log1p(values), counts


@dataclass
class CountSource(TableSource):
    """Files of counts in place of a matrix."""

    def versions(self) -> list[Any]:
        """Return the names of the files, which tell what they were made of."""
        return [path.name for path in self.x.paths]


def count_source(files: CountFiles, names: list[str], cells: npt.NDArray[np.uint64]) -> CountSource:
    """Return files of counts as a source; `cells` are the numbers of cells of the groups."""
    nothing: Any = None
    where = f"{files.manifest.matrix} of {len(files.paths)} files of counts"
    source = CountSource(nothing, files, where, names, None, "genes", cells=cells)
    source.log_base = log_base_of(files.manifest.log_base)
    return source


def count_files(
    counts: Sequence[Counts],
    bounds: Sequence[int],
    facts: dict[str, Any],
    shape: tuple[int, int],
) -> CountFiles:
    """Return the files that tasks wrote as one table of `shape` (groups, genes)."""
    if facts["normalize"] is not None:
        most = max((one.most for one in counts), default=0.0)
        facts = facts | {"values": facts["values"] | SCALED | {"most": most}}
    manifest = Manifest(
        format=FORMAT,
        pdex=_pdex.__version__,
        n_groups=shape[0],
        n_genes=shape[1],
        n_rows=sum(one.rows for one in counts),
        labels="",
        genes="",
        parts=[],
        **facts,
    )
    return CountFiles([one.path for one in counts], bounds, manifest)
