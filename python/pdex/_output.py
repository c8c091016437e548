"""Write results to a file: they may be larger than memory, and are never half-written.

The numbers of each range of genes are first stored in an unnamed file beside the result, which the
operating system deletes with the process. When all are there, a few targets at a time are read
back, completed, and written as a row group of a temporary file, which is renamed at the end.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from pdex import _pdex
from pdex._description import RESULT, files_of
from pdex._files import replacing
from pdex._io.prefetch import result_of
from pdex._places import Place, Remote, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from pdex._description import Description

    #: Returns the adjusted p-values of the targets from one to before another, with all genes.
    Adjusted = Callable[[int, int], npt.NDArray[np.float64]]

#: Rows per row group: about 25 MB of numbers.
ROWS = 1 << 18


def _parquet(frame: pl.LazyFrame, path: Path, rows: int, metadata: dict[str, str]) -> None:
    frame.sink_parquet(path, row_group_size=rows, metadata=metadata)


def _ipc(frame: pl.LazyFrame, path: Path, rows: int, metadata: dict[str, str]) -> None:  # noqa: ARG001
    frame.sink_ipc(path)
    _pdex.set_ipc_metadata(path, list(metadata.items()))


def _csv(frame: pl.LazyFrame, path: Path, rows: int, metadata: dict[str, str]) -> None:  # noqa: ARG001
    frame.sink_csv(path, batch_size=rows)


def _tsv(frame: pl.LazyFrame, path: Path, rows: int, metadata: dict[str, str]) -> None:  # noqa: ARG001
    frame.sink_csv(path, batch_size=rows, separator="\t")


#: How each type of file is written; text files cannot hold metadata.
_SINKS: dict[str, Callable[[pl.LazyFrame, Path, int, dict[str, str]], None]] = {
    ".parquet": _parquet,
    ".ipc": _ipc,
    ".arrow": _ipc,
    ".feather": _ipc,
    ".csv": _csv,
    ".tsv": _tsv,
}


def check_output(output: object) -> Place:
    """Return the path of a result; raise an error if no result can be written there."""
    if not isinstance(output, (str, os.PathLike)):
        msg = f"path must be the path of a file; got {output!r}"
        raise TypeError(msg)
    path = place_of(output) if "://" in str(output) else Path(output)
    if isinstance(path, Path) and path.is_dir():
        msg = f"{str(path)!r} is a folder; expected the path of a file"
        raise IsADirectoryError(msg)
    if path.suffix.lower() not in _SINKS:
        msg = f"{str(path)!r}: expected a name that ends in {', '.join(_SINKS)}"
        raise ValueError(msg)
    if not path.parent.is_dir():
        msg = f"{str(path)!r}: there is no folder {str(path.parent)!r}"
        raise FileNotFoundError(msg)
    return path


def scan(path: Place, schema: pl.Schema | None = None) -> pl.LazyFrame:
    """Return a lazy frame of a result.

    With its schema, labels in text files that look like numbers stay text.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return pl.scan_parquet(str(path), glob=False)
    if suffix in (".csv", ".tsv"):
        separator = "," if suffix == ".csv" else "\t"
        return pl.scan_csv(str(path), separator=separator, schema=schema, glob=False)
    return pl.scan_ipc(str(path), glob=False)


class Measured(Protocol):
    """Columns of targets x genes that have been measured."""

    def adjusted(self, number: int, threads: int) -> Adjusted:
        """Adjust the p-values of a column over all targets and genes, with `threads` threads."""

    def rows(self, first: int, last: int) -> list[npt.NDArray[np.float64]]:
        """Return the columns for the targets from `first` to before `last`, with all genes."""


def write_result(folder: Place, about: Description, parts: list[dict[str, Any]]) -> None:
    """Write the file that makes a folder of Parquet files a result."""
    facts = {"format": 1, "description": asdict(about), "parts": parts}
    (folder / RESULT).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def scan_result(folder: Place) -> pl.LazyFrame:
    """Return a lazy frame of a result in a folder."""
    return pl.scan_parquet([str(file) for file in files_of(folder)], glob=False)


@dataclass
class Spill:
    """Columns of targets x genes on disk, one range of genes after another.

    Parameters
    ----------
    folder
        Folder of the unnamed file.
    n_targets
        Number of targets in each column.
    """

    folder: Place
    n_targets: int
    _file: Any = None
    #: For each range: number of genes, offset in the file, and number of columns.
    _ranges: list[tuple[int, int, int]] = field(default_factory=list)
    _end: int = 0

    def __enter__(self) -> Spill:
        folder = None if isinstance(self.folder, Remote) else self.folder
        self._file = tempfile.TemporaryFile(dir=folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, columns: Sequence[npt.NDArray[np.float64]]) -> None:
        """Append the columns of the next range of genes, each targets x genes, flattened."""
        self._ranges.append((len(columns[0]) // self.n_targets, self._end, len(columns)))
        for column in columns:
            self._file.write(column.data)
            self._end += column.nbytes

    def adjusted(self, number: int, threads: int) -> Adjusted:
        """Adjust the p-values of a column over all targets and genes, with `threads` threads."""
        parts = [self._read(r, number, 0, self.n_targets) for r in self._ranges]
        p_values = np.concatenate([part.reshape(-1) for part in parts])
        adjusted = _pdex.benjamini_hochberg(p_values, threads)
        return lambda first, last: self._arranged(adjusted, first, last)

    def rows(self, first: int, last: int) -> list[npt.NDArray[np.float64]]:
        """Return the columns for the targets from `first` to before `last`, with all genes."""
        columns = self._ranges[0][2]
        return [
            np.hstack([self._read(r, number, first, last) for r in self._ranges]).reshape(-1)
            for number in range(columns)
        ]

    def _arranged(
        self, column: npt.NDArray[np.float64], first: int, last: int
    ) -> npt.NDArray[np.float64]:
        """Return the targets from `first` to before `last` of a column in the file's order."""
        parts, start = [], 0
        for genes, *_ in self._ranges:
            end = start + genes * self.n_targets
            parts.append(column[start:end].reshape(self.n_targets, genes)[first:last])
            start = end
        return np.hstack(parts).reshape(-1)

    def _read(
        self, where: tuple[int, int, int], number: int, first: int, last: int
    ) -> npt.NDArray[np.float64]:
        genes, start, _ = where
        place = start + 8 * genes * (number * self.n_targets + first)
        self._file.seek(place)
        length = genes * (last - first)
        values = np.fromfile(self._file, dtype=np.float64, count=length)
        if len(values) != length:
            msg = f"{self.folder}: the temporary file of numbers ends early"
            raise OSError(msg)
        return values.reshape(last - first, genes)


def save(frame: pl.DataFrame, path: Place, metadata: Mapping[str, str] | None = None) -> None:
    """Write one frame, as :func:`write` does."""
    write(path, frame.schema, iter([frame]), ROWS, metadata or {})


def write(
    path: Place,
    schema: pl.Schema,
    frames: Iterator[pl.DataFrame],
    rows: int,
    metadata: Mapping[str, str],
    check: Callable[[], None] | None = None,
) -> None:
    """Write frames to a temporary file beside `path`, one row group each, and rename it.

    `check` is called when all frames are written; the file does not appear if it raises an error.

    Raises
    ------
    OSError
        The disk is full, or writing is not permitted. Nothing is left behind, and an older file is
        unchanged.
    """
    stopped = threading.Event()

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,  # noqa: ARG001 - a sink reads all rows
        batch_size: int | None,  # noqa: ARG001 - the frames are row groups already
    ) -> Iterator[pl.DataFrame]:
        for frame in frames:
            if stopped.is_set():
                raise InterruptedError
            some = frame if predicate is None else frame.filter(predicate)
            yield some if with_columns is None else some.select(with_columns)

    sink, frame = _SINKS[path.suffix.lower()], register_io_source(source, schema=schema)
    # Write on another thread, so that Ctrl-C reaches this one.
    with replacing(path) as partial, ThreadPoolExecutor(1) as pool:
        written = pool.submit(sink, frame, partial, rows, dict(metadata))
        try:
            with _system_errors(path, partial):
                result_of(written)
        except BaseException:
            stopped.set()
            raise
        if check is not None:
            check()


@contextmanager
def _system_errors(path: Place, partial: Path) -> Iterator[None]:
    """Give errors of the system their class and number, where Polars has them in words, or not."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            code = int(number[1])
            raise OSError(code, os.strerror(code), str(path)) from error
        if "transport error" in str(error):
            # Of the end of a Parquet file, without a reason: the disk is full still.
            with partial.open("ab") as file:
                file.write(bytes(1 << 16))
        raise
