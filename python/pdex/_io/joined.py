"""Several folders of count tables as one: the groups of the first, then of the second, and so on.

Groups with the same labels need no merging here: whoever groups them by a label adds their cells.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pdex import _pdex
from pdex._io.prefetch import Prefetch
from pdex._io.tables import ROWS, Rows
from pdex._io.united import Part as LabelPart
from pdex._io.united import United
from pdex._text import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    import polars as pl

    from pdex._io.labels import Frame
    from pdex._io.memory import Matrix
    from pdex._io.tables import Table
    from pdex._resources import Resources

#: Bytes of a row as it is held: group, value (of up to 8 bytes) and count.
_ROW = 16


class JoinedTables:
    """Tables of the same genes as one :class:`pdex._io.tables.Table`, to be read as a matrix.

    Parameters
    ----------
    tables
        At least one.
    alike
        Whether they are known to be of one screen and to be complete, and need no checks.

    Raises
    ------
    ValueError
        Their genes differ, or their counts were not scaled alike, or some hold counts and others
        logarithms.
    """

    def __init__(self, tables: Sequence[Table], *, alike: bool = False) -> None:
        self.tables = list(tables)
        if not alike:
            for other in self.tables[1:]:
                _check_alike(self.tables[0], other)
            check_parts(self.tables)
        every = [table.manifest for table in self.tables]
        kinds = [np.dtype(one.values["dtype"].lower()) for one in every]
        #: The type as which all values are read.
        self.dtype = np.result_type(*kinds)
        self.manifest = replace(
            every[0],
            sources=[source for one in every for source in one.sources],
            values={
                "dtype": self.dtype.name,
                "least": min(one.values["least"] for one in every),
                "most": max(one.values["most"] for one in every),
                "fractional": any(one.values["fractional"] for one in every),
            },
            part=None,
            n_cells=sum(one.n_cells for one in every),
            n_groups=sum(one.n_groups for one in every),
            n_rows=sum(one.n_rows for one in every),
            parts=[],
        )
        #: The number of the first group of each table.
        self._firsts = np.cumsum([0, *(one.n_groups for one in every[:-1])])

    @property
    def genes(self) -> pl.DataFrame:
        """A row per gene: its name is that in all tables."""
        return self.tables[0].genes

    def cells(self) -> npt.NDArray[np.uint64]:
        """Return the number of cells of each group."""
        return np.concatenate([table.labels["cells"].to_numpy() for table in self.tables])

    def obs(self) -> Frame:
        """Return the labels of the groups."""
        parts = []
        for table in self.tables:
            obs = table.obs()
            parts.append(LabelPart(str(table.folder), obs.columns, obs.height, table.obs))
        return United(parts, counted=True)

    def pieces(
        self, genes: npt.NDArray[np.uint32], resources: Resources, logged: bool = False
    ) -> Iterator[tuple[int, Matrix, npt.NDArray[np.uint32]]]:
        """Yield pieces in ascending order: first gene, table, wanted genes counted from the first.

        A piece holds about as many rows as a part; the next one is read while the caller works on
        the current one.
        """
        with Prefetch((resources.threads, None)) as ahead:
            yield from ahead.of(self._pieces(genes, resources.for_pieces, logged))

    def _pieces(
        self, genes: npt.NDArray[np.uint32], budget: int, logged: bool
    ) -> Iterator[tuple[int, Matrix, npt.NDArray[np.uint32]]]:
        if not len(genes):
            return
        held = _Held(self.tables, budget // 2, logged)
        dtype = np.dtype(np.float64) if logged else self.dtype
        for first, last in pairwise(self._bounds(int(genes[0]), int(genes[-1]) + 1, budget)):
            a, b = np.searchsorted(genes, [first, last])
            held.done(first)
            if b > a:
                rows = [
                    rows._replace(
                        groups=rows.groups + np.uint32(start),
                        values=rows.values.astype(dtype, copy=False),
                    )
                    for number, start in enumerate(self._firsts)
                    for rows in held.rows(number, first, last)
                ]
                shape = (self.manifest.n_groups, last - first)
                yield first, _pdex.Matrix.counted(shape, rows), genes[a:b] - np.uint32(first)

    def _bounds(self, start: int, stop: int, budget: int) -> list[int]:
        """Return the first gene of each piece, and one past the last.

        The genes of a part are taken to have as many rows each.
        """
        rows = np.zeros(self.manifest.n_genes + 1)
        for part in (part for table in self.tables for part in table.manifest.parts):
            each = part.rows / part.genes
            rows[part.first_gene] += each
            rows[part.first_gene + part.genes] -= each
        # An eighth of the budget: pieces are held beside the parts that they were cut from.
        most = max(ROWS, budget // 8 // _ROW)
        number = np.cumsum(np.cumsum(rows)[start:stop]) // most
        return [start, *(np.flatnonzero(np.diff(number)) + 1 + start).tolist(), stop]


class _Held:
    """The parts that were read last, so that one that covers several pieces is read once."""

    def __init__(self, tables: list[Table], budget: int, logged: bool) -> None:
        self._tables, self._budget, self._logged = tables, budget, logged
        #: The rows of a part by the numbers of its table and of itself, those used last at the end.
        self._held: OrderedDict[tuple[int, int], Rows] = OrderedDict()
        #: The bytes of parts, which are parsed again where their rows were not held.
        self._data: dict[tuple[int, int], bytes] = {}
        self._n_bytes = 0

    def rows(self, number: int, first: int, last: int) -> Iterator[Rows]:
        """Yield the rows of a table from gene `first` to before `last`, part by part."""
        for place, part in enumerate(self._tables[number].manifest.parts):
            start, stop = max(first, part.first_gene), min(last, part.first_gene + part.genes)
            if start >= stop:
                continue
            rows = self._part(number, place)
            ends = rows.starts[start - part.first_gene : stop - part.first_gene + 1]
            a, b = int(ends[0]), int(ends[-1])
            groups, values, counts = rows.groups[a:b], rows.values[a:b], rows.counts[a:b]
            yield Rows(start - first, ends - ends[0], groups, values, counts)

    def _part(self, number: int, place: int) -> Rows:
        key, table = (number, place), self._tables[number]
        part = table.manifest.parts[place]
        if key not in self._held:
            data = self._data.get(key) or table.read(part)
            self._held[key] = table.rows_of(part, data, self._logged)
            # The bytes of a part take a tenth of its rows.
            if key not in self._data and self._n_bytes + len(data) <= self._budget // 2:
                self._data[key] = data
                self._n_bytes += len(data)
        self._held.move_to_end(key)
        while len(self._held) > 1 and self._size() > self._budget:
            self._held.popitem(last=False)
        return self._held[key]

    def done(self, before: int) -> None:
        """Forget the bytes of parts whose genes are all below `before`."""
        for number, place in list(self._data):
            part = self._tables[number].manifest.parts[place]
            if part.first_gene + part.genes <= before:
                self._n_bytes -= len(self._data.pop((number, place)))

    def _size(self) -> int:
        return _ROW * sum(len(rows.groups) for rows in self._held.values())


def check_parts(tables: Sequence[Table]) -> None:
    """Raise ValueError if tables hold ranges of cells of a screen, and some ranges are missing."""
    parts = [table.manifest.part for table in tables]
    numbers = sorted(part[0] for part in parts if part is not None)
    sizes = {part[1] for part in parts if part is not None}
    if not sizes:
        return
    folders = listed([str(table.folder) for table in tables], 3)
    if len(sizes) > 1 or None in parts:
        msg = f"{folders} hold parts of different screens, or of one and all of another"
        raise ValueError(msg)
    (n,) = sizes
    missing = [i for i in range(1, n + 1) if i not in numbers]
    verb = "hold" if len(tables) > 1 else "holds"
    if missing:
        found = listed(numbers)
        msg = f"{folders} {verb} part {found} of {n} of a screen, without {listed(missing)}"
        raise ValueError(msg)
    if len(numbers) > n:
        msg = f"{folders} {verb} a part twice"
        raise ValueError(msg)


def _check_alike(first: Table, other: Table) -> None:
    """Raise ValueError unless two tables can be added."""
    a, b = first.manifest, other.manifest
    own, theirs = (table.genes["gene"].to_list() for table in (first, other))
    if own != theirs:
        pairs = zip(own, theirs, strict=False)
        place = next((i for i, (x, y) in enumerate(pairs) if x != y), None)
        differ = f"it has {len(theirs)}, not {len(own)}"
        if place is not None:
            differ = f"its gene {place + 1} is {theirs[place]!r}, not {own[place]!r}"
        msg = (
            f"{other.folder} does not have the genes of {first.folder} in the same order: "
            f"{differ}. Tabulate both with the same genes="
        )
        raise ValueError(msg)
    if (a.normalize, a.log1p) != (b.normalize, b.log1p):
        said = (
            "counts as they are" if one.normalize is None else f"counts scaled to {one.normalize}"
            for one in (a, b)
        )
        held, holds = said
        msg = f"{first.folder} holds {held}, and {other.folder} {holds}: tabulate both alike"
        raise ValueError(msg)
    if a.normalize == "median":
        msg = (
            f"{first.folder} and {other.folder} were each scaled to a median of its own: tabulate "
            "both with the same number as normalize="
        )
        raise ValueError(msg)
    if a.values["fractional"] != b.values["fractional"]:
        whole, broken = (first, other) if b.values["fractional"] else (other, first)
        msg = (
            f"{whole.folder} holds whole numbers, as counts are, and {broken.folder} does not: "
            "choose tables of one kind"
        )
        raise ValueError(msg)
    if a.values["fractional"] and a.log_base != b.log_base:
        bases = listed([str(one.log_base or "e (or not recorded)") for one in (a, b)])
        msg = f"the logarithms of {first.folder} and {other.folder} are to other bases: {bases}"
        raise ValueError(msg)
