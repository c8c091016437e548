"""Folders of count tables: write one, open one, and read its genes as pieces of a matrix.

A folder holds ``labels.parquet`` (a row per group of cells: its labels and its number of cells),
``genes.parquet`` (a row per gene: its name and its number of rows), parts with the columns gene,
group, value and count, and ``manifest.json``, which is written last and names the parts with their
hashes. What the manifest does not name does not belong to the table; a folder without a manifest
is not a table.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from pdex import _pdex
from pdex._files import naming
from pdex._io.labels import Column
from pdex._io.prefetch import Prefetch
from pdex._places import Place, Remote, apart, copy, fill, place_of, read_range, replace_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    import numpy.typing as npt

    from pdex._io.labels import Frame
    from pdex._io.memory import Matrix
    from pdex._resources import Resources

#: The version of the layout of a folder that this version of pdex writes, and the one it reads.
FORMAT = 1
MANIFEST, LABELS, GENES = "manifest.json", "labels.parquet", "genes.parquet"
#: About how many rows a part has; a part is one row group.
ROWS = 1 << 20


#: The columns that frames of a table have beside those of labels.
TAKEN = frozenset(("gene", "group", "value", "count", "cells"))


def frame_name(column: str) -> str:
    """Return what a column of labels is called in frames: ``gene_label`` for ``gene``."""
    return f"{column}_label" if column in TAKEN else column


class Part(NamedTuple):
    """A part: consecutive genes, with all their rows."""

    file: str
    first_gene: int
    genes: int
    rows: int
    bytes: int
    sha256: str


class Rows(NamedTuple):
    """The rows of some genes, as the compiled module borrows them."""

    #: The number of the first gene.
    first: int
    #: The rows of gene ``first + g`` are ``starts[g]`` to before ``starts[g + 1]``.
    starts: npt.NDArray[np.uint64]
    groups: npt.NDArray[np.uint32]
    values: npt.NDArray[Any]
    counts: npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Manifest:
    """What a table was made of, and the files that belong to it."""

    #: Version of the folder's layout, and of the pdex that wrote it.
    format: int
    pdex: str
    #: For each source its path (None: AnnData in memory), size and time of modification.
    sources: list[dict[str, Any]]
    #: Name of the matrix, such as ``"X"``.
    matrix: str
    groupby: list[str]
    #: ``dtype``; ``least``, ``most`` and ``fractional``, as :class:`pdex._scale.Values` has them.
    values: dict[str, Any]
    #: Base of the logarithm that scanpy recorded; None: e, or not recorded.
    log_base: float | None
    #: The total to which counts were scaled; None: they were not. Whether log1p of them is tested.
    normalize: float | str | None
    log1p: bool
    #: Which of how many ranges of the cells was counted; None: all cells were.
    part: list[int] | None
    n_cells: int
    n_groups: int
    n_genes: int
    n_rows: int
    #: SHA-256 of the files of labels and genes.
    labels: str
    genes: str
    parts: list[Part]
    #: The files of labels and genes.
    files: list[str] = field(default_factory=lambda: [LABELS, GENES])

    @classmethod
    def read(cls, folder: Place) -> Manifest:
        """Read a folder's manifest.

        Raises
        ------
        FileNotFoundError
            The folder has no manifest: it is not a table, or not a whole one.
        ValueError
            The manifest is damaged, or was written in another format.
        """
        path = folder / MANIFEST
        if not folder.is_dir():
            msg = f"{folder}: there is no such folder"
            raise FileNotFoundError(msg)
        if not path.is_file():
            msg = (
                f"{folder} has no {MANIFEST}: it is not a folder of count tables, or tabulating "
                "did not finish"
            )
            raise FileNotFoundError(msg)
        try:
            facts = json.loads(path.read_bytes())
            written, version = facts["format"], facts["pdex"]
            if written == FORMAT:
                facts["parts"] = [Part(**part) for part in facts["parts"]]
                facts = {"part": None, "files": [LABELS, GENES]} | facts
                return cls(**{one.name: facts[one.name] for one in fields(cls)})
        except (ValueError, TypeError, KeyError) as error:
            msg = f"{path} is damaged: {error!r}"
            raise ValueError(msg) from error
        msg = (
            f"{folder} was written by pdex {version} in format {written}, and this version, "
            f"{_pdex.__version__}, reads format {FORMAT}: tabulate the screen again, or use a "
            "version of pdex that reads it"
        )
        raise ValueError(msg)

    def digest(self) -> str:
        """Return a hash of the table's contents."""
        parts = [(part.first_gene, part.sha256) for part in self.parts]
        return _hash(json.dumps([self.labels, self.genes, parts]).encode())

    def write(self, folder: Place) -> None:
        """Write the manifest, which makes the folder a table."""
        facts = asdict(self) | {"parts": [part._asdict() for part in self.parts]}
        (folder / MANIFEST).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def is_table(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a folder of count tables, or is named like one."""
    text = os.fspath(path)
    if "://" in text:
        return text.rstrip("/").endswith(".tables")
    return Path(text).suffix == ".tables" or os.path.isfile(os.path.join(text, MANIFEST))


class Table:
    """An open folder of count tables.

    Parameters
    ----------
    folder
        The folder, absolute.

    Raises
    ------
    FileNotFoundError
        There is no whole table.
    ValueError
        A file is damaged, or does not belong to the manifest.
    """

    def __init__(self, folder: Place) -> None:
        self.folder = folder
        self.manifest = Manifest.read(folder)

    @cached_property
    def labels(self) -> pl.DataFrame:
        """A row per group of cells: its number, its labels and its cells."""
        name, _ = self.manifest.files
        return _parse(self._read(name, self.manifest.labels), self.folder / name)

    @cached_property
    def genes(self) -> pl.DataFrame:
        """A row per gene: its name and its number of rows."""
        _, name = self.manifest.files
        return _parse(self._read(name, self.manifest.genes), self.folder / name)

    def _read(self, name: str, sha256: str, size: int | None = None) -> bytes:
        path = self.folder / name
        try:
            # One byte more shows that the file is longer than it was.
            data = read_range(path, 0, None if size is None else size + 1)
        except FileNotFoundError:
            msg = f"{path} is missing, and {MANIFEST} names it: tabulate the screen again"
            raise FileNotFoundError(msg) from None
        if (size is not None and len(data) != size) or _hash(data) != sha256:
            msg = (
                f"{path} is not the file that {MANIFEST} names (its SHA-256 differs): it was "
                "changed, or belongs to another table; tabulate the screen again"
            )
            raise ValueError(msg)
        return data

    def obs(self) -> Frame:
        """Return the labels of the groups."""
        return _Labels(self.manifest.groupby, self.labels)

    def rows(self, part: Part, logged: bool = False) -> Rows:
        """Return the rows of a part, whose genes count from its first; if `logged`, with log1p."""
        return self.rows_of(part, self.read(part), logged)

    def rows_of(self, part: Part, data: bytes, logged: bool) -> Rows:
        """Return the rows of a part whose bytes have been read."""
        frame = _parse(data, self.folder / part.file)
        genes, groups, values, counts = (column.to_numpy() for column in frame.get_columns())
        starts = np.searchsorted(genes, np.arange(part.genes + 1) + part.first_gene)
        if logged:
            values = _pdex.log1p(values)
        return Rows(0, starts.astype(np.uint64), groups, values, counts)

    def read(self, part: Part) -> bytes:
        """Return the bytes of a part, which is a Parquet file: gene, group, value and count."""
        return self._read(part.file, part.sha256, part.bytes)

    def pieces(
        self, genes: npt.NDArray[np.uint32], resources: Resources, logged: bool = False
    ) -> Iterator[tuple[int, Matrix, npt.NDArray[np.uint32]]]:
        """Yield pieces in ascending order: first gene, table, wanted genes counted from the first.

        A piece is a part; the next one is read while the caller works on the current one.
        """
        with Prefetch((resources.threads, None)) as ahead:
            yield from ahead.of(self._pieces(genes, logged))

    def _pieces(
        self, genes: npt.NDArray[np.uint32], logged: bool
    ) -> Iterator[tuple[int, Matrix, npt.NDArray[np.uint32]]]:
        for part in self.manifest.parts:
            first = part.first_gene
            a, b = np.searchsorted(genes, [first, first + part.genes])
            if b > a:
                shape = (self.manifest.n_groups, part.genes)
                matrix = _pdex.Matrix.counted(shape, [self.rows(part, logged)])
                yield first, matrix, genes[a:b] - np.uint32(first)

    def frames(self, genes: npt.NDArray[np.uint32]) -> Iterator[pl.DataFrame]:
        """Yield the rows of some genes, a frame per part: gene, group, value and count."""
        for part in self.manifest.parts:
            last = part.first_gene + part.genes
            a, b = np.searchsorted(genes, [part.first_gene, last])
            if b > a:
                frame = _parse(self.read(part), self.folder / part.file)
                if b - a < part.genes:
                    wanted = pl.Series(genes[a:b]).implode()
                    frame = frame.filter(pl.col("gene").is_in(wanted))
                yield frame


class _Labels:
    """The labels of the groups, in place of obs."""

    #: Whether its columns are those by which a screen was tabulated.
    counted = True

    def __init__(self, columns: list[str], labels: pl.DataFrame) -> None:
        self.columns, self._labels = columns, labels

    @property
    def height(self) -> int:
        """The number of groups."""
        return self._labels.height

    def names(self) -> list[str]:
        """Return the numbers of the groups."""
        return [str(group) for group in range(self.height)]

    def column(self, name: str) -> Column:
        """Return a label of each group."""
        values = self._labels[frame_name(name)]
        if not isinstance(values.dtype, pl.Enum):
            return Column(values)
        codes = values.to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
        return Column(values.dtype.categories, codes)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _parse(data: bytes, path: Place) -> pl.DataFrame:
    """Return the frame of a Parquet file; ValueError that names it if it is damaged."""
    try:
        frame = pl.read_parquet(data)
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{path} cannot be read as Parquet: {error}"
        raise ValueError(msg) from error
    return frame.rechunk()


def logarithms(values: pl.Series) -> pl.Series:
    """Return log1p of scaled counts, as the engine takes it."""
    return pl.Series(values.name, _pdex.log1p(values.to_numpy()))


class Writer:
    """Write a table into a folder that becomes `folder` when it is whole.

    Parts are written by other threads while the next rows are made.

    Parameters
    ----------
    folder
        The folder that is to be written, absolute; a table that is there stays until then.
    threads
        Number of parts that are made at once.
    keep
        Whether a table that is there already stays, since a task that is run twice writes the same.
    """

    def __init__(self, folder: Place, threads: int, *, keep: bool = False) -> None:
        self.folder, self._keep = folder, keep
        if isinstance(folder, Remote):
            self._partial = Path(tempfile.gettempdir()) / f"pdex-{secrets.token_hex(8)}"
        else:
            self._partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._making: deque[Future[tuple[Part, bytes]]] = deque()
        self._parts: list[Part] = []
        #: Frames of consecutive genes that wait to be a part, and the number of each gene's rows.
        self._waiting: list[pl.DataFrame] = []
        self._lengths: list[int] = []
        self._first = self._rows = 0
        self._apart = apart(folder)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Make the folder; after an error or an interrupt, leave nothing behind."""
        with naming(self.folder):
            self._partial.mkdir()
        try:
            yield
        except BaseException:
            self._pool.shutdown(cancel_futures=True)
            shutil.rmtree(self._partial, ignore_errors=True)
            raise
        self._pool.shutdown()

    def add(self, frame: pl.DataFrame, lengths: Sequence[int]) -> None:
        """Add the rows of the next genes, and the number of rows of each.

        A part ends with the gene that completes `ROWS` rows, whatever the frames.
        """
        first = row = 0
        for number, length in enumerate(lengths):
            self._rows += length
            self._lengths.append(length)
            if self._rows >= ROWS:
                rows = sum(lengths[first : number + 1])
                self._waiting.append(frame.slice(row, rows))
                row, first = row + rows, number + 1
                self._flush()
        self._waiting.append(frame.slice(row))

    def _flush(self) -> None:
        """Let a part be made of the genes that wait."""
        genes = len(self._lengths) - self._first
        if not genes:
            return
        frame = pl.concat(self._waiting)
        number = len(self._parts) + len(self._making)
        name = f"part-{number:05}{self._apart}.parquet"
        self._making.append(self._pool.submit(_part, frame, name, self._first, genes))
        self._waiting, self._first, self._rows = [], len(self._lengths), 0
        self._write(self._threads)

    def _write(self, most: int) -> None:
        """Write parts until at most `most` are being made."""
        while len(self._making) > most:
            part, data = self._making.popleft().result()
            self._save(data, part.file)
            self._parts.append(part)

    def _save(self, data: bytes, name: str) -> None:
        """Write a file."""
        with naming(self.folder / name):
            (self._partial / name).write_bytes(data)

    def finish(self, labels: pl.DataFrame, names: Sequence[str], facts: dict[str, Any]) -> None:
        """Write what is left, then the manifest with `facts`, and put the folder in its place."""
        self._flush()
        self._write(0)
        genes = pl.DataFrame({"gene": pl.Series(names, dtype=pl.String), "rows": self._lengths})
        genes = genes.with_columns(pl.col("rows").cast(pl.UInt64))
        manifest = _manifest(labels, genes, self._parts, self._apart, facts)
        for name, frame in zip(manifest.files, (labels, genes), strict=True):
            self._save(_parquet(frame), name)
        with naming(self.folder):
            manifest.write(self._partial)
            self._replace()

    def _replace(self) -> None:
        """Give the folder its name."""
        if self._keep and isinstance(self.folder, Remote):
            if not (self.folder / MANIFEST).is_file():
                fill(self.folder, self._partial, MANIFEST)
            shutil.rmtree(self._partial, ignore_errors=True)
        elif self._keep and isinstance(self.folder, Path):
            try:
                self._partial.rename(self.folder)
            except OSError:
                if not (self.folder / MANIFEST).is_file():
                    raise
                shutil.rmtree(self._partial, ignore_errors=True)
        else:
            replace_folder(self._partial, self.folder, MANIFEST)


def _part(frame: pl.DataFrame, name: str, first: int, genes: int) -> tuple[Part, bytes]:
    """Return a part of some genes and its bytes."""
    data = _parquet(frame)
    return Part(name, first, genes, frame.height, len(data), _hash(data)), data


def _parquet(frame: pl.DataFrame) -> bytes:
    """Return the bytes of a Parquet file of one row group."""
    buffer = io.BytesIO()
    rows = max(1, frame.height)
    frame.write_parquet(buffer, compression="zstd", compression_level=1, row_group_size=rows)
    return buffer.getvalue()


def assemble(
    folder: Place,
    blocks: Sequence[Table],
    labels: pl.DataFrame,
    names: Sequence[str],
    facts: dict[str, Any],
    different: str = "",
) -> None:
    """Make one table of those of consecutive blocks of genes, whose files it shares.

    Parameters
    ----------
    folder
        The folder, which is made.
    blocks
        Tables whose genes have the numbers that they get in the whole.
    labels, names, facts
        As :meth:`Writer.finish` takes them.
    different
        What to add to the names of files.
    """
    folder.mkdir()
    parts: list[Part] = []
    first = 0
    for block in blocks:
        for part in block.manifest.parts:
            name = f"part-{len(parts):05}{different}.parquet"
            copy(block.folder / part.file, folder / name)
            parts.append(part._replace(file=name, first_gene=first + part.first_gene))
        first += block.manifest.n_genes
    rows = pl.concat([block.genes["rows"] for block in blocks])
    genes = pl.DataFrame({"gene": pl.Series(names, dtype=pl.String), "rows": rows})
    manifest = _manifest(labels, genes, parts, different, facts)
    for name, frame in zip(manifest.files, (labels, genes), strict=True):
        (folder / name).write_bytes(_parquet(frame))
    manifest.write(folder)


def _manifest(
    labels: pl.DataFrame,
    genes: pl.DataFrame,
    parts: list[Part],
    different: str,
    facts: dict[str, Any],
) -> Manifest:
    """Return the manifest; `different` is added to the names of the files of labels and genes."""
    return Manifest(
        format=FORMAT,
        pdex=_pdex.__version__,
        n_groups=labels.height,
        n_genes=genes.height,
        n_rows=sum(part.rows for part in parts),
        labels=_hash(_parquet(labels)),
        genes=_hash(_parquet(genes)),
        parts=parts,
        files=[name.replace(".", f"{different}.") for name in (LABELS, GENES)],
        **facts,
    )


def check_folder(output: str | os.PathLike[str]) -> Place:
    """Return the absolute path of a folder that a table can be written to.

    Raises
    ------
    FileExistsError
        There is a file or another folder.
    FileNotFoundError
        The folder that is to hold it does not exist.
    """
    folder = place_of(output, follow=True)
    if not folder.parent.is_dir():
        msg = f"{str(output)!r}: there is no folder {str(folder.parent)!r}"
        raise FileNotFoundError(msg)
    if folder.exists() and not (folder / MANIFEST).is_file():
        empty = folder.is_dir() and not any(folder.iterdir())
        if not empty:
            msg = f"{str(output)!r} exists and is not a folder of count tables: choose another name"
            raise FileExistsError(msg)
    return folder
