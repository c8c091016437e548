"""Count the cells of a file, or of a part of it."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pdex._counting import Counted, combined, write_table
from pdex._io.dask import DaskMatrix, of_blocks
from pdex._io.errors import error_context
from pdex._io.groups import SKIP
from pdex._io.many import ManySource, open_many
from pdex._io.opening import open_source
from pdex._io.rows import dtype_of
from pdex._io.source import Source, stamp_of
from pdex._io.stored import StoredMatrix
from pdex._io.tables import FORMAT, MANIFEST, Writer
from pdex._io.where import cells_where
from pdex._output import save
from pdex._places import place_of, read_parquet
from pdex._progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from pdex._io.normalize import Normalization
    from pdex._places import Place
    from pdex._resources import Resources

#: About how many bytes of a matrix, as it is in memory, a task counts.
TASK = 1 << 29


@dataclass(frozen=True)
class Asked:
    """What all count tasks of a call have in common."""

    #: The columns of labels, and the labels of the first whose cells are groups of their own.
    columns: list[str]
    single: list[str]
    layer: str | None
    use_raw: bool
    normalization: Normalization | None
    where: pl.Expr | str | None
    #: Labels of the first column whose cells are counted; None: all.
    keep: list[str] | None
    #: Whether the genes are those that many sources share.
    inner: bool
    #: What the manifest says of the values.
    facts: dict[str, Any]
    #: A file with the names of all genes in the source, the names that they get, and which are
    #: wanted.
    genes: str
    #: Into how many blocks genes are cut.
    blocks: int


@dataclass(frozen=True)
class Count:
    """Count the cells of a file, or the `part`-th of `n` ranges of them, to a table."""

    asked: Asked
    data: str
    part: int
    n: int
    #: Numbers of the first cell in the file and of one past the last.
    cells: tuple[int, int]
    #: The folder of the table.
    table: str

    @property
    def what(self) -> str:
        """What the task does."""
        return f"counting cells {self.cells[0]:,} to {self.cells[1]:,} of {self.data}"


@dataclass(frozen=True)
class CountBlocks:
    """Count cells whose blocks Dask computes, to a table."""

    asked: Asked
    where: str
    cells: tuple[int, int]
    table: str
    #: The group of each cell, and the groups.
    codes: npt.NDArray[np.uint32]
    labels: pl.DataFrame

    @property
    def what(self) -> str:
        """What the task does."""
        return f"counting cells {self.cells[0]:,} to {self.cells[1]:,} of {self.where}"


@dataclass(frozen=True)
class Total:
    """Write the totals of the chosen cells of a file, or of a part of it."""

    of: Count
    path: str

    @property
    def what(self) -> str:
        """What the task does."""
        return self.of.what.replace("counting", "adding up", 1)


class Rows:
    """Cells of which only the numbers are known."""

    def __init__(self, first: int, height: int) -> None:
        self._first, self.height = first, height
        self.columns: list[str] = []

    def names(self) -> list[str]:
        """Return the numbers."""
        return [str(self._first + row) for row in range(self.height)]

    def column(self, name: str) -> Any:
        """Raise KeyError: there is none."""
        raise KeyError(name)


# --- on the workers -----------------------------------------------------------------------------


def count(task: Count, resources: Resources) -> str:
    """Write the table of some cells, unless it is there, and return its folder."""
    asked, folder = task.asked, place_of(task.table)
    if (folder / MANIFEST).is_file():
        return task.table
    names = read_parquet(place_of(asked.genes))
    shared = names["shared"].to_list()
    with _opened(task, shared) as source:
        with error_context(source.path):
            _keep(source, asked)
            source.normalize(asked.normalization, logged=False)
            codes, labels = combined(source, asked.columns, asked.single, empty=True)
        _write(source, (codes, labels), names, task, resources)
    return task.table


def count_blocks(task: CountBlocks, *inputs: Any) -> str:
    """Write the table of the cells of some blocks; the last input is the resources."""
    *rows, resources = inputs
    names = read_parquet(place_of(task.asked.genes))
    x = of_blocks(rows, task.where, resources.threads)
    cells = Rows(task.cells[0], x.shape[0])
    source = Source(cells, x, task.where, names["shared"].to_list())
    source.normalize(task.asked.normalization, logged=False)
    _write(source, (task.codes, task.labels), names, task, resources)
    return task.table


def total(task: Total, resources: Resources) -> str:
    """Write the totals of the cells that are chosen, unless they are there; return the file."""
    path, asked = place_of(task.path), task.of.asked
    if path.is_file():
        return task.path
    shared = read_parquet(place_of(asked.genes))["shared"].to_list()
    with _opened(task.of, shared) as source, error_context(source.path):
        source.normalize(asked.normalization)
        assert source.scaler is not None
        assert isinstance(source.x, StoredMatrix)
        totals = source.scaler.totals(source.x, resources, None, task.of.cells)
        span = np.zeros(len(totals), dtype=np.bool_)
        span[slice(*task.of.cells)] = True
        chosen = span if source.chosen is None else source.chosen
        save(pl.DataFrame({"total": totals[chosen]}), path)
    return task.path


def _opened(task: Count, shared: list[str]) -> Source:
    """Open the file of a task, and choose its cells."""
    asked = task.asked
    if asked.inner:
        source: Source = open_many([task.data], asked.layer, asked.use_raw, "inner", shared)
    else:
        source = open_source(task.data, asked.layer, asked.use_raw)
    try:
        with error_context(source.path):
            if source.var_names != shared:
                msg = f"{task.data} has changed since the call began: its genes are others"
                raise ValueError(msg)
            source.choose(asked.where, empty=True)
            if task.n > 1:
                source.choose_part(task.part, task.n)
    except BaseException:
        source.close()
        raise
    return source


def _keep(source: Source, asked: Asked) -> None:
    """Leave out the cells whose labels nobody asks for."""
    if asked.keep is None:
        return
    found = source.groups(asked.columns[0], empty=True)
    wanted = set(asked.keep)
    kept = [place for place, label in enumerate(found.labels) if label in wanted]
    mask = np.isin(found.places, kept)
    source.chosen = mask if source.chosen is None else source.chosen & mask


def _write(
    source: Source,
    groups: tuple[npt.NDArray[np.uint32], pl.DataFrame],
    names: pl.DataFrame,
    task: Count | CountBlocks,
    resources: Resources,
) -> None:
    codes, labels = groups
    wanted = names["wanted"]
    genes = wanted.arg_true().to_numpy()
    values = task.asked.facts["values"] | {"dtype": str(dtype_of(source))}
    facts = task.asked.facts | {"values": values, "n_cells": int(labels["cells"].sum())}
    called = names["name"].filter(wanted).to_list()
    counted = Counted(codes, labels, genes.astype(np.uint32), called, facts)
    blocks = block_bounds(len(genes), task.asked.blocks)[1:-1]
    writer = Writer(place_of(task.table), resources.threads, blocks=blocks, keep=True)
    write_table(source, counted, writer, (resources, Progress(0, False)))


# --- on the client ------------------------------------------------------------------------------


def block_bounds(n_genes: int, blocks: int) -> list[int]:
    """Return the first gene of each block, and the number of genes."""
    return [n_genes * number // blocks for number in range(blocks + 1)]


def counts_of(source: Source, asked: Asked, folder: Place) -> list[Count]:
    """Return the tasks that count the cells of all files of a source.

    Raises
    ------
    TypeError
        Some data are in this process, where workers do not see them.
    """
    tasks = []
    for path, n_cells, n_bytes, layout in _files(source):
        # A CSC matrix is read whole for any of its cells.
        n = 1 if layout == "csc" else max(1, min(n_cells, math.ceil(n_bytes / TASK)))
        name = hashlib.sha256(
            json.dumps([path, stamp_of(path), n_cells, n, _spelled(asked)]).encode()
        ).hexdigest()[:24]
        for part in range(1, n + 1):
            cells = (n_cells * (part - 1) // n, n_cells * part // n)
            table = folder / f"{name}-{part}-of-{n}.tables"
            tasks.append(Count(asked, path, part, n, cells, str(table)))
    return tasks


def totals_of(tasks: list[Count], folder: Place) -> list[Total]:
    """Return the tasks that find the totals of the same cells."""
    return [Total(one, str(folder / f"{place_of(one.table).name}.ipc")) for one in tasks]


def _files(source: Source) -> Iterator[tuple[str, int, int, str]]:
    """Yield path, number of cells, bytes in memory and layout of each file."""
    how = (1, None)
    if isinstance(source, ManySource):
        for member in source.members:
            if member.version is None and not _is_named(member.path):
                raise _unseen(member.path or f"{member.name} in memory")
            yield str(member.path), member.n_cells, member.n_bytes(how), member.layout
        return
    if source.file is None or not isinstance(source.x, StoredMatrix):
        raise _unseen(source.titles[0])
    with error_context(source.path):
        yield str(source.path), source.obs.height, source.x.n_bytes(how), source.x.layout


def _is_named(path: str | None) -> bool:
    """Return whether a path is a URL, whose time of modification is not known."""
    return path is not None and "://" in path


def _unseen(name: str) -> TypeError:
    msg = (
        f"engine='dask': {name} is an object of this process, which workers do not see: give the "
        "path of a file that they do, or AnnData whose matrix is a Dask array"
    )
    return TypeError(msg)


def _spelled(asked: Asked) -> list[Any]:
    """Return what a count table depends on, besides its file."""
    where = asked.where
    if isinstance(where, pl.Expr):
        where = hashlib.sha256(where.meta.serialize()).hexdigest()
    names = hashlib.sha256(place_of(asked.genes).read_bytes()).hexdigest()
    own = (asked.columns, asked.single, asked.layer, asked.use_raw, asked.normalization, where)
    return [FORMAT, *own, asked.keep, asked.inner, asked.facts, names, asked.blocks]


def check_where(source: Source, where: object) -> None:
    """Raise ValueError if a condition on cells depends on the cells of other files, too."""
    if where is None or not isinstance(source, ManySource):
        return
    each = [cells_where(member.obs(), where, empty=True) for member in source.members]
    assert source.chosen is not None
    if not np.array_equal(np.concatenate(each), source.chosen):
        msg = (
            f"where={where!s} chooses other cells when each file is read by itself: with "
            "engine='dask', compare values of single cells, not with a median or a rank"
        )
        raise ValueError(msg)


def blocks_of(
    source: Source,
    asked: Asked,
    groups: tuple[npt.NDArray[np.uint32], pl.DataFrame],
    folder: Place,
) -> tuple[list[CountBlocks], list[list[Any]]]:
    """Return the tasks that count the cells of a Dask array, and the blocks that each needs."""
    x: DaskMatrix = source.x
    codes, labels = groups
    name = secrets.token_hex(8)
    tasks: list[CountBlocks] = []
    inputs = []
    for (first, last), rows in x.rows_of_blocks(TASK):
        own = codes[first:last]
        present, local = np.unique(own[own != SKIP], return_inverse=True)
        numbers = np.full(len(own), SKIP, dtype=np.uint32)
        numbers[own != SKIP] = local
        cells = np.bincount(local, minlength=len(present)).astype(np.uint64)
        some = labels[present].with_columns(
            pl.int_range(len(present), dtype=pl.UInt32).alias("group"), pl.Series("cells", cells)
        )
        table = folder / f"{name}-{len(tasks)}.tables"
        tasks.append(CountBlocks(asked, x.where, (first, last), str(table), numbers, some))
        inputs.append(rows)
    return tasks, inputs
