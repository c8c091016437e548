"""A screen: its matrix, its genes and its cells' groups, wherever AnnData keeps them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pdex import _pdex
from pdex.io import backed, memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    import numpy.typing as npt
    import pandas as pd
    from anndata import AnnData

    Data: TypeAlias = AnnData | str | os.PathLike[str]
    Piece: TypeAlias = tuple[int, memory.Matrix, npt.NDArray[np.uint32]]

#: The least memory that reading a file takes.
_LEAST_MEMORY = 100_000_000
#: The code of a cell that takes no part.
SKIP = np.uint32(2**32 - 1)


def n_threads(threads: int | None, name: str = "threads") -> int:
    """Return the number of threads asked for, at most the cores that this process may use.

    All of those where None; `name` is the option's name in errors.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = max(1, len(os.sched_getaffinity(0)))
    else:
        cores = os.cpu_count() or 1
    if threads is None:
        return cores
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        msg = f"{name}={threads!r}: expected None (all cores) or an integer of at least 1"
        raise ValueError(msg)
    return min(int(threads), cores)


def limit_of(memory_limit: int | None) -> int:
    """Return the bytes that work may take beyond its result; ValueError for no limit that works."""
    if memory_limit is None:
        memory_limit = 1_000_000_000
    number = isinstance(memory_limit, (int, np.integer)) and not isinstance(memory_limit, bool)
    if not number or memory_limit < _LEAST_MEMORY:
        msg = (
            f"memory_limit={memory_limit!r}: expected None (1 GB) or an integer number of bytes, "
            f"at least {_LEAST_MEMORY:,}"
        )
        raise ValueError(msg)
    return int(memory_limit)


def piece_size(memory_limit: int | None) -> int:
    """Return the bytes of a file's matrix that may be in memory at once.

    The rest is for the kernels: the entries of a block of genes, or the tables of all groups.
    """
    return limit_of(memory_limit) * 3 // 5


def names_of(what: str, names: object) -> list[str]:
    """Return names, or one name, as a list of text; TypeError where they are none."""
    if isinstance(names, str):
        return [names]
    if not isinstance(names, Iterable):
        msg = f"{what}={names!r}: expected a list of names"
        raise TypeError(msg)
    return [str(name) for name in names]


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(str(name)) for name in names[:most]) + more


@dataclass
class Source:
    """One matrix of an AnnData object with the names that belong to it."""

    adata: Any
    x: Any
    #: What the matrix is called in errors.
    where: str
    var_names: list[str]

    @property
    def is_backed(self) -> bool:
        """Whether the matrix stays in its file."""
        return backed.is_backed(self.x)

    @cached_property
    def matrix(self) -> memory.Matrix:
        """The matrix in memory, checked once."""
        return memory.matrix_of(self.x, self.where)

    def looks_log1p(self, threads: int) -> bool:
        """Whether any value has a fractional part above 1e-3; of a backed matrix, some of them."""
        matrix = backed.head(self.x, threads) if self.is_backed else self.matrix
        return _pdex.looks_fractional(matrix, threads)

    def pieces(
        self,
        genes: npt.NDArray[np.uint32],
        threads: int,
        budget: int,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Piece]:
        """Yield (first gene, matrix, the wanted genes in it), ascending; no piece without genes.

        The pieces of a backed matrix that are in memory at once hold about `budget` bytes;
        `progress` is called with the bytes of the file read so far.
        """
        if not self.is_backed:
            yield 0, self.matrix, genes
            return
        for start, stop, matrix in backed.pieces(self.x, self.where, (threads, progress), budget):
            a, b = np.searchsorted(genes, [start, stop])
            if b > a:
                yield start, matrix, genes[a:b] - np.uint32(start)

    def select_genes(self, genes: Sequence[str] | None) -> npt.NDArray[np.uint32]:
        """Return the places of the genes asked for, ascending; all of them where None."""
        if genes is None:
            return np.arange(len(self.var_names), dtype=np.uint32)
        wanted = set(names_of("genes", genes))
        unknown = sorted(wanted.difference(self.var_names))
        if unknown:
            msg = (
                f"genes: {_some(unknown)} not in var_names, which has "
                f"{len(self.var_names)} names: {_some(self.var_names, 5)}"
            )
            raise ValueError(msg)
        places = [i for i, name in enumerate(self.var_names) if name in wanted]
        return np.array(places, dtype=np.uint32)


def open_source(data: Data, layer: str | None) -> Source:
    """Return the matrix that is asked for.

    Raises
    ------
    KeyError
        No such layer.
    TypeError
        `data` is neither AnnData nor a path.
    """
    import anndata as ad

    if isinstance(data, (str, os.PathLike)):
        if os.path.isdir(data):
            msg = f"{os.fspath(data)!r} is a folder: expected an .h5ad file; load others first"
            raise ValueError(msg)
        data = ad.read_h5ad(data, backed="r")
    if not isinstance(data, ad.AnnData):
        msg = f"data is a {type(data).__qualname__}: expected an AnnData object or a path to .h5ad"
        raise TypeError(msg)
    names = [str(name) for name in data.var_names]
    if layer is None:
        if data.X is None:
            msg = f"this AnnData has no X: choose a layer, one of {_some(list(data.layers))}"
            raise ValueError(msg)
        return Source(data, data.X, "X", names)
    if layer not in data.layers:
        msg = f"layer {layer!r} not found: this AnnData has {_some(list(data.layers)) or 'none'}"
        raise KeyError(msg)
    return Source(data, data.layers[layer], f"layer {layer!r}", names)


@dataclass
class Groups:
    """The groups of a column of obs: labels in order and each cell's place among them."""

    column: str
    labels: list[str]
    #: One a cell; -1 where the cell has no label.
    places: npt.NDArray[np.int64]

    def require(self, label: object, what: str) -> int:
        """Return the place of a label; ValueError names it and those there are."""
        try:
            return self.labels.index(str(label))
        except ValueError:
            msg = (
                f"{what} {str(label)!r} is no value of obs[{self.column!r}]: "
                f"it has {_some(self.labels)}"
            )
            raise ValueError(msg) from None

    def codes(
        self, reference: object, groups: Sequence[object] | None, *, rest: bool
    ) -> tuple[npt.NDArray[np.uint32], list[str]]:
        """Return a code for each cell and the targets' labels in order.

        The reference (or, against "rest", every group that is not asked for) has code 0, targets
        1 and up; SKIP takes no part.
        """
        background = -1 if rest else self.require(reference, "reference")
        wanted = set(range(len(self.labels)))
        if groups is not None:
            wanted = {self.require(label, "group") for label in names_of("groups", groups)}
        wanted.discard(background)
        if not wanted:
            msg = f"obs[{self.column!r}] has no group to test besides {str(reference)!r}"
            raise ValueError(msg)
        if rest and len(self.labels) < 2:
            msg = f"obs[{self.column!r}] has one group only: there is no rest to compare it with"
            raise ValueError(msg)
        # One entry more than labels: places of -1 read the last.
        table = np.full(len(self.labels) + 1, 0 if rest else SKIP, dtype=np.uint32)
        table[-1] = SKIP
        if not rest:
            table[background] = 0
        return self._fill(table, wanted)

    def codes_alone(
        self, groups: Sequence[object] | None
    ) -> tuple[npt.NDArray[np.uint32], list[str]]:
        """Return codes (from 1) and labels of the groups asked for; other cells take no part."""
        asked = self.labels if groups is None else names_of("groups", groups)
        wanted = {self.require(label, "group") for label in asked}
        return self._fill(np.full(len(self.labels) + 1, SKIP, dtype=np.uint32), wanted)

    def _fill(
        self, table: npt.NDArray[np.uint32], wanted: set[int]
    ) -> tuple[npt.NDArray[np.uint32], list[str]]:
        """Give the wanted groups numbers from 1 in a table of codes; look the cells up in it."""
        targets = sorted(wanted)
        table[targets] = np.arange(1, len(targets) + 1, dtype=np.uint32)
        return table[self.places], [self.labels[i] for i in targets]


def read_groups(adata: Any, groupby: str) -> Groups:
    """Return the groups of ``adata.obs[groupby]`` that have cells.

    Categories keep their order, anything else is sorted; missing and empty labels are no group.

    Raises
    ------
    KeyError
        No such column.
    ValueError
        No cell has a label.
    """
    import pandas as pd

    if not isinstance(groupby, str) or groupby not in adata.obs:
        msg = f"{groupby!r} is no column of obs: it has {_some(list(adata.obs.columns))}"
        raise KeyError(msg)
    column = adata.obs[groupby]
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, values = np.asarray(column.cat.codes, dtype=np.int64), list(column.cat.categories)
    else:
        codes, values = _factorize(column)
    names = [str(value) for value in values]
    present = np.bincount(codes[codes >= 0], minlength=len(names)) > 0
    labels: list[str] = []
    places = np.full(len(names) + 1, -1, dtype=np.int64)
    for i, name in enumerate(names):
        if present[i] and name != "":
            if name in labels:
                msg = f"obs[{groupby!r}] has two labels that read {name!r}: rename one"
                raise ValueError(msg)
            places[i] = len(labels)
            labels.append(name)
    if not labels:
        msg = f"obs[{groupby!r}] has no cell with a label: there is nothing to test"
        raise ValueError(msg)
    return Groups(groupby, labels, places[codes])


def _factorize(column: pd.Series[Any]) -> tuple[npt.NDArray[np.int64], list[Any]]:
    """Return codes (-1 where missing) and sorted distinct values."""
    import pandas as pd

    try:
        codes, values = pd.factorize(column, sort=True)
    except TypeError:
        # Labels of several types have no order of their own: as text they have.
        codes, values = pd.factorize(column.where(column.isna(), column.astype(str)), sort=True)
    return np.asarray(codes, dtype=np.int64), list(values)
