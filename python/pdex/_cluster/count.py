"""Count the cells of a file, or of a part of it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from pdex import _pdex
from pdex._cluster.exchange import Counts, CountWriter, bounds_of, counts_in
from pdex._counting import Counted, write_table
from pdex._files import replacing
from pdex._io.dask import DaskMatrix, of_blocks
from pdex._io.errors import error_context
from pdex._io.groups import SKIP
from pdex._io.many import ManySource, open_many
from pdex._io.opening import open_source
from pdex._io.source import Source, stamp_of
from pdex._io.stored import StoredMatrix
from pdex._output import save
from pdex._places import place_of, read_parquet, read_range
from pdex._progress import Progress
from pdex._shares import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from pdex._io.normalize import Normalization
    from pdex._places import Place
    from pdex._resources import Resources

#: About how many bytes of a matrix, as it is in memory, a task counts.
TASK = 1 << 29
#: The same of blocks of Dask, which wait in memory for their task.
BLOCKS = TASK >> 2


@dataclass(frozen=True)
class Counting:
    """What all count tasks of a call have in common."""

    layer: str | None
    use_raw: bool
    normalization: Normalization | None
    #: Whether the genes are those that many sources share.
    inner: bool
    #: What the manifest says of the values.
    facts: dict[str, Any]
    #: A file with the names of all genes in the source, the names that they get, and which are
    #: wanted.
    genes: str
    #: Into how many blocks genes are cut, and into how many parts each block.
    blocks: int
    parts: int
    #: A file with the group of each cell of the screen, as numbers of 32 bits, and how many groups
    #: there are.
    groups: str
    n_groups: int


@dataclass(frozen=True)
class Count:
    """Count some cells of a file."""

    of: Counting
    data: str
    #: Size and time of modification of the file, and its number of cells.
    stamp: tuple[int, int] | None
    n_cells: int
    #: Numbers of the first cell in the file and of one past the last; the number of the file's
    #: first cell in the screen.
    cells: tuple[int, int]
    start: int
    #: The file of counts.
    path: str

    @property
    def what(self) -> str:
        """What the task does."""
        return f"counting cells {self.cells[0]:,} to {self.cells[1]:,} of {self.data}"


@dataclass(frozen=True)
class CountBlocks:
    """Count cells whose blocks Dask computes."""

    of: Counting
    where: str
    cells: tuple[int, int]
    path: str

    @property
    def what(self) -> str:
        """What the task does."""
        return f"counting cells {self.cells[0]:,} to {self.cells[1]:,} of {self.where}"


@dataclass(frozen=True)
class Total:
    """Write the totals of some cells of a file."""

    of: Count
    path: str

    @property
    def what(self) -> str:
        """What the task does."""
        return self.of.what.replace("counting", "adding up", 1)


class BlockSource(Source):
    """Some cells of a Dask array, of which only the numbers are known."""

    #: The number of the first cell.
    first: int = 0

    def locate(self, cell: int, gene: int) -> tuple[str, str]:
        """Return the name of the array, and the row and gene of a value, for an error."""
        at = f"row {self.first + cell}; gene {self.var_names[gene]!r}, column {gene}"
        return self.where, at


# --- on the workers -----------------------------------------------------------------------------


def count(task: Count, resources: Resources) -> Counts:
    """Write the counts of some cells, unless they are there."""
    path, names = place_of(task.path), read_parquet(place_of(task.of.genes))
    if path.is_file():
        return counts_in(path)
    with _opened(task, names) as source:
        with error_context(source.path):
            source.normalize(task.of.normalization, logged=False)
        codes = np.full(task.n_cells, SKIP, dtype=np.uint32)
        first, last = task.cells
        codes[first:last] = _groups(task.of, task.start + first, task.start + last)
        # Ranges of cells are read by themselves.
        source.chosen = codes != SKIP
        return _write(source, codes, names, task, resources, lambda: _check(task, source))


def count_blocks(task: CountBlocks, *inputs: Any) -> Counts:
    """Write the counts of the cells of some blocks; the last input is the resources."""
    *rows, resources = inputs
    names = read_parquet(place_of(task.of.genes))
    x = of_blocks(rows, task.where, resources.threads)
    nothing: Any = None
    source = BlockSource(nothing, x, task.where, names["name"].to_list())
    source.first = task.cells[0]
    source.normalize(task.of.normalization, logged=False)
    return _write(source, _groups(task.of, *task.cells), names, task, resources)


def total(task: Total, resources: Resources) -> str:
    """Write the totals of some cells, unless they are there; return the file."""
    path, of = place_of(task.path), task.of
    if path.is_file():
        return task.path
    with _opened(of, read_parquet(place_of(of.of.genes))) as source, error_context(source.path):
        source.normalize(of.of.normalization)
        assert source.scaler is not None
        assert isinstance(source.x, StoredMatrix)
        totals = source.scaler.totals(source.x, resources, None, of.cells)
        _check(of, source)
        save(pl.DataFrame({"total": totals[slice(*of.cells)]}), path)
    return task.path


def _opened(task: Count, names: pl.DataFrame) -> Source:
    """Open the file of a task, which must be what the client saw."""
    of, shared = task.of, names["shared"].to_list()
    if of.inner:
        source: Source = open_many([task.data], of.layer, of.use_raw, "inner", shared)
    else:
        source = open_source(task.data, of.layer, of.use_raw)
    try:
        _check(task, source)
        if source.var_names != shared:
            raise _changed(task)
        source.var_names = names["name"].to_list()
    except BaseException:
        source.close()
        raise
    return source


def _check(task: Count, source: Source) -> None:
    """Raise ValueError if a file is not what it was when the client opened it."""
    if source.obs.height != task.n_cells or _pair(stamp_of(task.data)) != task.stamp:
        raise _changed(task)


def _changed(task: Count) -> ValueError:
    msg = f"{task.data} has changed since it was opened: start again"
    return ValueError(msg)


def _groups(of: Counting, first: int, last: int) -> npt.NDArray[np.uint32]:
    """Read the groups of the cells from `first` to before `last`."""
    data = read_range(place_of(of.groups), 4 * first, 4 * last)
    return np.frombuffer(data, dtype="<u4").astype(np.uint32)


def _write(
    source: Source,
    codes: npt.NDArray[np.uint32],
    names: pl.DataFrame,
    task: Count | CountBlocks,
    resources: Resources,
    check: Callable[[], object] = bool,
) -> Counts:
    of, wanted = task.of, names["wanted"]
    genes = wanted.arg_true().to_numpy().astype(np.uint32)
    present, cells = np.unique(codes[codes != SKIP], return_counts=True)
    labels = pl.DataFrame({"group": present, "cells": cells.astype(np.uint64)})
    facts = of.facts | {"n_cells": int(cells.sum())}
    called = names["name"].filter(wanted).to_list()
    bounds = bounds_of(len(genes), of.blocks, of.parts)
    counted = Counted(codes, of.n_groups, labels, genes, called, facts, zeros=False)
    writer = CountWriter(place_of(task.path), bounds, resources.threads)
    write_table(source, counted, writer, (resources, Progress(0, False)), check)
    return writer.written


# --- on the client ------------------------------------------------------------------------------


def write_groups(codes: npt.NDArray[np.uint32], folder: Place) -> Place:
    """Write the group of each cell to a file that is named by its contents, and return it."""
    data = codes.astype("<u4").tobytes()
    path = folder / f"groups-{hashlib.sha256(data).hexdigest()[:16]}.bin"
    if not path.is_file():
        with replacing(path) as part:
            part.write_bytes(data)
    return path


def counts_of(
    source: Source, of: Counting, codes: npt.NDArray[np.uint32], folder: Place
) -> list[Count]:
    """Return the tasks that count the cells of all files of a source.

    Cells without a group are left out, and so are files of such cells alone.

    Raises
    ------
    TypeError
        Some data are in this process, where workers do not see them.
    """
    tasks, spelled, start = [], _spelled(of), 0
    for path, n_cells, n_bytes, layout, stamp in _files(source):
        # A CSC matrix is read whole for any of its cells.
        n = 1 if layout == "csc" else max(1, min(n_cells, math.ceil(n_bytes / TASK)))
        # Of a URL nothing is known: its counts are those of this call alone.
        whole = secrets.token_hex(8) if stamp is None else stamp_of(path, whole=True)
        for first, last in pairwise(cut(n_cells, n)):
            cells = (first, last)
            own = codes[start + first : start + last]
            if not np.any(own != SKIP):
                continue
            known = hashlib.sha256(own.tobytes()).hexdigest()
            made_of = json.dumps([path, whole, n_cells, cells, known, spelled])
            name = hashlib.sha256(made_of.encode()).hexdigest()[:24]
            counts = str(folder / f"{name}.counts")
            tasks.append(Count(of, path, stamp, n_cells, cells, start, counts))
        start += n_cells
    return tasks


def totals_of(tasks: list[Count], folder: Place) -> list[Total]:
    """Return the tasks that find the totals of the same cells."""
    return [Total(one, str(folder / f"{place_of(one.path).name}.ipc")) for one in tasks]


class _File(NamedTuple):
    """A file of a screen."""

    path: str
    n_cells: int
    #: About how many bytes its matrix takes in memory.
    n_bytes: int
    layout: str
    #: Size and time of modification when it was opened; None: they are not known.
    stamp: tuple[int, int] | None


def _files(source: Source) -> Iterator[_File]:
    """Yield the files of a source."""
    how = (1, None)
    if isinstance(source, ManySource):
        for member in source.members:
            if member.path is None or not (member.version or os.path.exists(member.path)):
                raise _in_memory(f"{member.name} in memory")
            n_bytes = member.n_bytes(how)
            stamp = _pair(member.version)
            yield _File(member.path, member.n_cells, n_bytes, member.layout, stamp)
        return
    path = source.path
    known = path is not None and (source.file is not None or os.path.exists(path))
    if path is None or not known or not isinstance(source.x, StoredMatrix):
        raise _in_memory(source.titles[0])
    with error_context(path):
        stamp = _pair(source.stamp or stamp_of(path))
        yield _File(path, source.obs.height, source.x.n_bytes(how), source.x.layout, stamp)


def _pair(stamp: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the numbers of a stamp alone, which are compared on workers."""
    return None if stamp is None else (int(stamp[0]), int(stamp[1]))


def _in_memory(name: str) -> TypeError:
    msg = (
        f"engine='dask': {name} is an object of this process, which workers do not see: give the "
        "path of a file that they do, or a single AnnData object whose matrix is a Dask array"
    )
    return TypeError(msg)


def _spelled(of: Counting) -> list[Any]:
    """Return what counts depend on, besides their file and the groups of their cells."""
    names = hashlib.sha256(place_of(of.genes).read_bytes()).hexdigest()
    own = (of.layer, of.use_raw, of.normalization, of.inner, of.facts, of.n_groups)
    return [_pdex.__version__, names, *own, of.blocks, of.parts]


def blocks_of(
    source: Source, of: Counting, codes: npt.NDArray[np.uint32], folder: Place
) -> tuple[list[CountBlocks], list[list[Any]]]:
    """Return the tasks that count the cells of a Dask array, and the blocks that each needs."""
    x: DaskMatrix = source.x
    name = secrets.token_hex(8)
    tasks: list[CountBlocks] = []
    inputs = []
    for (first, last), rows in x.rows_of_blocks(BLOCKS):
        if np.any(codes[first:last] != SKIP):
            path = folder / f"{name}-{len(tasks)}.counts"
            tasks.append(CountBlocks(of, x.where, (first, last), str(path)))
            inputs.append(rows)
    return tasks, inputs
