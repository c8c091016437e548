"""Many sources as one screen: the cells of the first, then of the second, and so on.

At most `_OPEN` files are open at a time. A file that was closed is opened again when it is needed,
and must not have changed in between.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pdex import _pdex
from pdex._io import memory
from pdex._io.errors import error_context
from pdex._io.held import held
from pdex._io.labels import Column
from pdex._io.opening import open_source
from pdex._io.source import Source
from pdex._io.stacking import check_exact, columns_of, stacked
from pdex._io.stored import Piece, Range, StoredMatrix
from pdex._io.tabled import TableSource
from pdex._io.united import Part, United
from pdex._resources import n_threads
from pdex._text import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from pdex._io.labels import Frame
    from pdex._io.memory import Matrix
    from pdex._io.prefetch import How

#: Number of files that may be open at a time; at least two.
_OPEN = 16
#: Number of values that are examined of each matrix, shared by all.
_HEAD = 1 << 22
#: Values of a matrix from which on their being whole is no chance.
_TELLING = 100


class Files:
    """The sources that are open; those that were not used for the longest time are closed."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, Source] = OrderedDict()
        # Labels are read on one thread, matrices on another.
        self._lock = threading.Lock()

    def get(self, member: Member) -> Source:
        """Return the source of a member, opened now if need be."""
        with self._lock:
            if (source := self._open.get(member.number)) is None:
                source = self._open[member.number] = member.open()
            self._open.move_to_end(member.number)
            closable = [n for n, one in self._open.items() if one.file is not None]
            for number in closable[:-_OPEN]:
                self._open.pop(number).close()
            return source

    def close(self) -> None:
        """Close all."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()


@dataclass(eq=False)
class Member:
    """One of many sources."""

    #: A path, or AnnData.
    data: Any
    which: tuple[str | None, bool]
    number: int
    files: Files = field(repr=False)
    #: The genes of the screen, by their numbers in this source; None: all, as they are.
    genes: npt.NDArray[np.int64] | None = field(default=None, init=False)
    _n_bytes: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Open the source for a first time, and note what is needed of it later."""
        #: The absolute path; None for data in memory.
        self.path: str | None = None
        #: Name of the source in errors.
        self.name: str = f"data[{self.number}]"
        #: Size and time of modification when it was opened; None: it was not opened here.
        self.version: tuple[int, int] | None = None
        with self._errors():
            source = self.files.get(self)
        if isinstance(source, TableSource):
            msg = f"{source.path} holds count tables: name screens alone, or tables alone"
            raise TypeError(msg)
        self.path, self.version = source.path, source.version()
        self.name = source.path or self.name
        self.matrix_name: str = source.matrix_name
        self.where: str = source.where if source.path else f"{self.name}: {source.where}"
        self.var_names: list[str] = source.var_names
        self.names: str = source.names
        self.log_base: float | None = source.log_base
        self.columns: list[str] = source.obs.columns
        self.n_cells: int = source.obs.height
        with self._errors():
            threads = n_threads(None)
            x = self._stored(threads)
            self.dtype, self.layout = x.dtype, x.layout
            head = x.head(threads)
            seen = _pdex.survey(head, threads) if x is source.x else source.survey(threads)
            #: The smallest and largest of the first values, and whether any is fractional.
            self.values: tuple[float, float, bool] = seen
            #: Whether there are enough values to tell whole numbers from others.
            self.is_telling: bool = int(np.count_nonzero(head.values)) >= _TELLING

    def open(self) -> Source:
        """Open the source; ValueError if its file is not what it was."""
        source = open_source(self.again, *self.which)
        if self.version is not None and source.version() != self.version:
            source.close()
            msg = f"{self.path} has changed since it was opened: start again"
            raise ValueError(msg)
        return source

    @property
    def again(self) -> Any:
        """What opens the same source: the absolute path of a file, or AnnData."""
        return self.data if self.version is None else self.path

    def _errors(self) -> Any:
        """Return a context in which errors name the source."""
        return error_context(self.name if self.path is None else self.path)

    def obs(self) -> Frame:
        """Return the labels of the cells."""
        return self.files.get(self).obs

    def _stored(self, threads: int) -> StoredMatrix:
        source = self.files.get(self)
        if isinstance(source.x, StoredMatrix):
            return source.x
        return held(source.matrix(threads), self.where)

    def head(self, threads: int) -> Matrix:
        """Return the first values."""
        with self._errors():
            return self._stored(threads).head(threads)

    def n_bytes(self, how: How) -> int:
        """Return about how many bytes the matrix takes when it is read."""
        if self._n_bytes is None:
            with self._errors():
                self._n_bytes = self._stored(how[0]).n_bytes(how)
        return self._n_bytes

    def holds_counts(self, how: How) -> bool:
        """Return whether the first values are whole numbers and not negative."""
        with self._errors():
            return self._stored(how[0]).holds_counts(how)

    def is_read_once(self, how: How, budget: int) -> bool:
        """Return whether ranges of cells are the better way to read it, if it is too large."""
        if self.genes is not None and np.any(np.diff(self.genes) < 0):
            # A range of the screen's genes may be spread over all of its genes.
            return True
        with self._errors():
            return self.layout == "csr" or self._stored(how[0]).is_read_once(how, budget)

    def by_cells(
        self, how: How, budget: int, span: tuple[int, int], dtype: np.dtype[Any]
    ) -> Iterator[Range]:
        """Yield ranges of the cells of `span`, with the genes of the screen."""
        with self._errors():
            if self.genes is not None:
                budget //= 2
            for first, found in self._stored(how[0]).by_cells(how, budget, span):
                matrix = found
                if self.genes is not None:
                    matrix = columns_of(matrix, self.genes, self.where, how[0])
                check_exact(matrix, dtype, self.where)
                yield first, matrix

    def of_genes(self, how: How, span: tuple[int, int], dtype: np.dtype[Any]) -> Matrix:
        """Return a range of the genes of the screen."""
        with self._errors():
            x = self._stored(how[0])
            if self.genes is None:
                matrix = x.of_genes(how, span)
            else:
                genes = self.genes[slice(*span)]
                first, last = int(genes.min()), int(genes.max())
                matrix = x.of_genes(how, (first, last + 1))
                matrix = columns_of(matrix, genes - first, self.where, how[0])
            check_exact(matrix, dtype, self.where)
            return matrix

    def entries(self, how: How, step: int) -> npt.NDArray[np.float64]:
        """Return about how many stored values each gene of the screen has, `step` too many."""
        with self._errors():
            cuts = self._stored(how[0]).cuts(how, step)
        places = np.arange(cuts[-1] + 1)
        each = np.diff(np.interp(places, cuts, step * np.arange(len(cuts), dtype=np.float64)))
        return each if self.genes is None else each[self.genes]


class Stacked(StoredMatrix):
    """The matrices of many sources, one below the other."""

    def __init__(self, members: Sequence[Member], n_genes: int, where: str) -> None:
        self.members, self.where = members, where
        self.shape = (sum(member.n_cells for member in members), n_genes)
        self.dtype = np.result_type(*(member.dtype for member in members))
        layouts = {member.layout for member in members}
        self.layout = "csr" if "csr" in layouts else "csc" if "csc" in layouts else "dense"
        #: The first cell of each member.
        self.starts: list[int] = np.cumsum([0, *(one.n_cells for one in members)]).tolist()[:-1]
        #: The member that is being read; None: nothing is.
        self.reading: Member | None = None

    def _each(self, how: How) -> Iterator[Member]:
        """Yield the members, noting which one is being read.

        The progress function is called before each: its bytes are counted from 0 again, and files
        that are read in no time can be stopped between each other, too.
        """
        for member in self.members:
            self.reading = member
            if how[1] is not None:
                how[1](0)
            yield member
        self.reading = None

    def head(self, threads: int) -> Matrix:
        """Return the first values of each."""
        most = max(1, _HEAD // len(self.members))
        each = [member.head(threads).values[:most] for member in self.members]
        return memory.dense(np.concatenate(each).reshape(1, -1), self.where)

    def n_bytes(self, how: How) -> int:
        """Return about how many bytes the whole matrix takes when it is read."""
        return sum(member.n_bytes(how) for member in self._each(how))

    def holds_counts(self, how: How) -> bool:
        """Return whether the first values are whole numbers and not negative."""
        return all(member.holds_counts(how) for member in self._each(how))

    def is_read_once(self, how: How, budget: int) -> bool:
        """Return whether `spilled` is the way to read a matrix that takes more than `budget`."""
        return self.n_bytes(how) > budget and any(
            member.is_read_once(how, budget) for member in self.members
        )

    def by_cells(self, how: How, budget: int, span: tuple[int, int]) -> Iterator[Range]:
        """Yield ranges of the cells of one member after another."""
        for member in self._each(how):
            start = self.starts[member.number]
            own = (max(0, span[0] - start), min(member.n_cells, span[1] - start))
            ranges = member.by_cells(how, budget, own, self.dtype) if own[0] < own[1] else ()
            for first, matrix in ranges:
                yield start + first, matrix

    def by_genes(self, how: How, budget: int, span: tuple[int, int]) -> Iterator[Piece]:
        """Yield ranges of genes of all members."""
        cuts = [*span]
        if self.n_bytes(how) > budget:
            # The estimate is off by a few per cent, so a tenth is left.
            inner = _cuts(self._weights(how), budget // 2 * 10 // 11)
            cuts = [span[0], *(cut for cut in inner if span[0] < cut < span[1]), span[1]]
        for start, stop in pairwise(cuts):
            if start < stop:
                yield start, stop, self.of_genes(how, (start, stop))

    def of_genes(self, how: How, span: tuple[int, int]) -> Matrix:
        """Return a range of genes of all members."""
        parts = [member.of_genes(how, span, self.dtype) for member in self._each(how)]
        return stacked(parts, self.where, how[0])

    def cuts(self, how: How, entries: int) -> list[int]:
        """Return the bounds of ranges of genes, each with at most about `entries` stored values."""
        step = max(1, entries // (16 * len(self.members)))
        weights = sum((one.entries(how, step) for one in self._each(how)), np.zeros(1))
        return _cuts(weights, entries)

    def _weights(self, how: How) -> npt.NDArray[np.float64]:
        """Return about how many bytes each gene takes."""
        total = np.zeros(self.shape[1])
        for member in self._each(how):
            n_bytes = member.n_bytes(how)
            # How many bytes an entry takes is not known: about 256 steps will do.
            each = member.entries(how, max(1, n_bytes >> 10))
            total += n_bytes * each / max(1.0, each.sum())
        return total


def _cuts(weights: npt.NDArray[np.float64], most: float) -> list[int]:
    """Return the bounds of ranges of genes, each of a weight of at most about `most`."""
    cuts, before, total = [0], 0.0, np.cumsum(weights)
    while total[-1] > before + most:
        # A gene that is too heavy is a range of its own.
        cut = max(cuts[-1] + 1, int(np.searchsorted(total, before + most, side="right")))
        if cut >= len(weights):
            break
        cuts.append(cut)
        before = float(total[cut - 1])
    return [*cuts, len(weights)]


class _Genes:
    """The columns of var of the first source, for the genes of the screen."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def _frame(self) -> Frame:
        frame = self._member.files.get(self._member).var
        assert frame is not None
        return frame

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return self._frame().columns

    @property
    def height(self) -> int:
        """The number of genes."""
        return len(self._member.var_names)

    def names(self) -> list[str]:
        """Return the names of the genes."""
        return self._member.var_names

    def column(self, name: str) -> Column:
        """Return a column, with a value per gene."""
        values, genes = self._frame().column(name).rows(), self._member.genes
        return Column(values if genes is None else values.gather(genes))


@dataclass
class ManySource(Source):
    """Many sources as one; `x` is :class:`Stacked`."""

    members: list[Member] = field(default_factory=list)
    files: Files = field(default_factory=Files, repr=False)

    def close(self) -> None:
        """Close the files that are open."""
        self.files.close()

    @property
    def matrix_name(self) -> str:
        """Name of the matrix, without its files."""
        return self.members[0].matrix_name

    def survey(self, threads: int) -> tuple[float, float, bool]:  # noqa: ARG002 - done before
        """Return the smallest and largest value and whether any is fractional, of all members."""
        least, most, fractional = zip(*(member.values for member in self.members), strict=True)
        return min(least), max(most), any(fractional)

    def locate(self, cell: int, gene: int) -> tuple[str, str]:
        """Return the name of the matrix that holds a value, and the cell and gene in it."""
        number = bisect_right(self.x.starts, cell) - 1
        member, row = self.members[number], cell - self.x.starts[number]
        column = gene if member.genes is None else int(member.genes[gene])
        at = (
            f"cell {member.obs().names()[row]!r}, row {row}; gene {self.var_names[gene]!r}, column "
            f"{column}"
        )
        return member.where, at

    @property
    def reading(self) -> str:
        """Which source is being read, such as ``"file 3 of 12: plate_03.h5ad"``; else empty."""
        member: Member | None = self.x.reading
        if member is None:
            return ""
        what = "source" if member.path is None else "file"
        name = os.path.basename(member.name.rstrip("/"))
        return f"{what} {member.number + 1} of {len(self.members)}: {name}"

    @property
    def titles(self) -> list[str]:
        """The path of each source; of one in memory, its place in the list."""
        return [member.path or f"{member.name} in memory" for member in self.members]

    @property
    def parts(self) -> list[str | None]:
        """The path of each source; None for one in memory."""
        return [member.path for member in self.members]

    def version(self) -> Any:
        """Return the versions of all files that were opened here; None if there are none."""
        each = tuple(member.version for member in self.members)
        return None if all(one is None for one in each) else each

    def again(self) -> Any:
        """Return what opens the same sources: absolute paths, and objects in memory."""
        return [member.again for member in self.members]


def open_many(
    sources: Sequence[Any],
    layer: str | None,
    use_raw: bool,
    join: str | None,
    shared: Sequence[str] | None = None,
) -> ManySource:
    """Return the requested matrix of each of many sources as one; see :func:`open_source`.

    With ``join="inner"``, `shared` names the genes to use, in this order; None: those that all
    have.

    Raises
    ------
    ValueError
        The genes of two sources differ (unless `join` is ``"inner"``), or the base of their
        logarithms, or one holds whole numbers and the other does not.
    TypeError
        One of them holds count tables.
    """
    files = Files()
    try:
        members = [
            Member(one, (layer, use_raw), number, files) for number, one in enumerate(sources)
        ]
        genes = _shared_genes(members, shared) if join == "inner" else _same_genes(members)
        _check_values(members)
        parts = [Part(one.name, one.columns, one.n_cells, one.obs) for one in members]
        names = listed([os.path.basename(one.name) for one in members], 3)
        where = f"{members[0].matrix_name} of {len(members)} sources ({names})"
        x = Stacked(members, len(genes), where)
        source = ManySource(United(parts), x, where, genes, names=members[0].names)
        source.members, source.files, source.log_base = members, files, members[0].log_base
        source.var = _Genes(members[0])
    except BaseException:
        files.close()
        raise
    # Names are the same, or no longer needed.
    for member in members:
        member.var_names = genes
    return source


def _same_genes(members: list[Member]) -> list[str]:
    """Return the names of the genes; raise ValueError unless they are the same everywhere."""
    first, *others = members
    for other in others:
        if other.var_names == first.var_names:
            other.var_names = first.var_names
            continue
        pairs = zip(first.var_names, other.var_names, strict=False)
        place = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        if place is None:
            differ = f"it has {len(other.var_names)}, not {len(first.var_names)}"
        else:
            a, b = other.var_names[place], first.var_names[place]
            differ = f"its gene {place + 1} is {a!r}, not {b!r}"
        msg = (
            f"{other.name} does not have the genes of {first.name} in the same order: {differ}. "
            "join='inner' takes the genes that all have"
        )
        raise ValueError(msg)
    return first.var_names


def _shared_genes(members: list[Member], names: Sequence[str] | None) -> list[str]:
    """Return the names of the genes that all have, in the order of the first or of `names`."""
    shared = set(members[0].var_names).intersection(*(one.var_names for one in members[1:]))
    if names is not None:
        shared.intersection_update(names)
    genes = [name for name in names or members[0].var_names if name in shared]
    if not genes:
        msg = f"no gene is in all of {listed([member.name for member in members], 3)}"
        raise ValueError(msg)
    for member in members:
        place: dict[str, int] = {}
        for i, name in enumerate(member.var_names):
            if name in shared and place.setdefault(name, i) != i:
                msg = (
                    f"{member.name} has two genes named {name!r}, so join='inner' cannot tell them"
                )
                raise ValueError(f"{msg} apart")
        if member.var_names != genes:
            member.genes = np.array([place[name] for name in genes], dtype=np.int64)
    return genes


def _check_values(members: list[Member]) -> None:
    """Raise ValueError if some hold counts and others logarithms, or those to other bases."""
    telling = [member for member in members if member.is_telling]
    whole = next((member for member in telling if not member.values[2]), None)
    broken = next((member for member in members if member.values[2]), None)
    if whole is not None and broken is not None:
        msg = (
            f"{whole.where} holds whole numbers, as counts are, and {broken.where} does not: "
            "choose matrices of one kind, with layer or use_raw"
        )
        raise ValueError(msg)
    for member in members[1:] if broken is not None else ():
        if member.log_base != members[0].log_base:
            (a, b) = (
                "e (or not recorded)" if one.log_base is None else f"{one.log_base:g}"
                for one in (members[0], member)
            )
            msg = (
                f"the logarithms of {members[0].name} are to base {a}, those of {member.name} to "
                f"base {b}, by uns['log1p']: convert one"
            )
            raise ValueError(msg)
