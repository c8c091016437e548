"""The matrix, genes and groups of cells of a screen, in memory or in a file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from pdex import _pdex
from pdex._io import memory
from pdex._io.errors import error_context
from pdex._io.groups import Groups, read_groups
from pdex._io.hints import about_genes
from pdex._io.labels import require_column, texts
from pdex._io.normalize import Normalization, Scaler
from pdex._io.stored import StoredMatrix
from pdex._io.where import cells_where
from pdex._io.zarr import stores
from pdex._stages import stage
from pdex._text import listed
from pdex._validate import as_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeAlias

    import numpy.typing as npt
    import zarr
    from anndata import AnnData
    from zarr.abc.store import Store

    from pdex._io.labels import Frame
    from pdex._io.stored import Counted
    from pdex._resources import Resources

    One: TypeAlias = AnnData | str | os.PathLike[str] | zarr.Group | Store
    Data: TypeAlias = One | Sequence[One]
    Piece: TypeAlias = tuple[int, memory.Matrix, npt.NDArray[np.uint32]]


@dataclass
class Source:
    """A matrix with its gene names and cell labels."""

    #: The labels of the cells.
    obs: Frame
    #: A stored matrix, count tables, or a matrix of NumPy or SciPy.
    x: Any
    #: Name of the matrix in errors.
    where: str
    var_names: list[str]
    #: Path of the file that holds the matrix, or path or name of the Zarr store; None for a matrix
    #: in memory.
    path: str | None = None
    #: Name of `var_names` in errors.
    names: str = "var_names"
    #: The file that was opened for this source and is closed with it.
    file: Any = field(default=None, repr=False)
    #: Where the rows of obs are groups of cells, as in count tables: their numbers of cells.
    cells: npt.NDArray[np.uint64] | None = field(default=None, repr=False)
    #: Base of the logarithm that scanpy recorded in uns; None if it is e or not recorded.
    log_base: float | None = None
    #: The chosen rows of obs; None: all.
    chosen: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    #: The columns of the genes; None where they are not known.
    var: Frame | None = field(default=None, repr=False)
    #: What scales counts; None: values stay as they are.
    scaler: Scaler | None = field(default=None, repr=False)
    #: Size and time of modification of a file that was opened here, at that time.
    stamp: tuple[int, int] | None = field(default=None, repr=False)
    #: The names of the genes in the data, where they were given others; else empty.
    stored_names: list[str] = field(default_factory=list, repr=False)
    _matrix: memory.Matrix | None = field(default=None, repr=False)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file that was opened for this source."""
        if self.file is not None:
            self.file.close()

    @property
    def matrix_name(self) -> str:
        """Name of the matrix, without its file."""
        return self.where if self.path is None else self.where.removeprefix(f"{self.path}: ")

    @property
    def reading(self) -> str:
        """Which of many sources is being read; empty where there is one, or none is."""
        return ""

    @property
    def titles(self) -> list[str]:
        """The path, or a name for AnnData in memory, of each source."""
        return [self.path or "AnnData in memory"]

    @property
    def parts(self) -> list[str | None]:
        """The path of each source; None for AnnData in memory."""
        return [self.path]

    def version(self) -> Any:
        """Return size and modification time of the file that was opened here; None if none was."""
        return None if self.file is None else stamp_of(str(self.path))

    def versions(self) -> list[Any]:
        """Return for each source what tells it from another at its place; None: nothing is known.

        It is size and time of modification of a file, and a hash of count tables.
        """
        found = [None if path is None else stamp_of(path) for path in self.parts]
        return [None if stamp is None else list(stamp) for stamp in found]

    def again(self) -> Any:
        """Return what opens the same source, if a file was opened here."""
        return self.path

    @property
    def is_backed(self) -> bool:
        """Whether the matrix stays in a file."""
        return isinstance(self.x, StoredMatrix)

    def matrix(self, threads: int) -> memory.Matrix:
        """Return the matrix in memory, checked once, with `threads` threads."""
        if self._matrix is None:
            with stage("check the matrix"):
                self._matrix = memory.matrix_of(self.x, self.where, threads)
        return self._matrix

    def survey(self, threads: int) -> tuple[float, float, bool]:
        """Return the smallest and the largest value, and whether any value is fractional.

        The smallest is at most 0 and the largest at least 0. Of a matrix in a file, only the first
        stored values are examined.
        """
        if isinstance(self.x, StoredMatrix):
            with error_context(self.path):
                matrix = self.x.head(threads)
        else:
            matrix = self.matrix(threads)
        return _pdex.survey(matrix, threads)

    def require_cells(self, function: str) -> None:
        """Raise TypeError for count tables, which `function` does not take."""
        if self.cells is not None:
            msg = (
                f"{self.titles[0]} holds count tables, which {function} does not take; use pdex.de"
            )
            raise TypeError(msg)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values: float64 for scaled counts, else as they are stored."""
        if self.scaler is not None:
            return np.dtype(np.float64)
        dtype: np.dtype[Any] = self.x.dtype
        return dtype

    def choose(self, where: object) -> None:
        """Leave out the cells for which `where` does not hold; None leaves out none."""
        if where is not None:
            self.chosen = cells_where(self.obs, where)

    def choose_part(self, number: int, n: int) -> None:
        """Leave out all cells but those of the `number`-th of `n` ranges of equal length."""
        height = self.obs.height
        part = np.zeros(height, dtype=np.bool_)
        part[height * (number - 1) // n : height * number // n] = True
        self.chosen = part if self.chosen is None else self.chosen & part

    def _narrow(self) -> tuple[int, int] | None:
        """Return the range of the chosen cells, if it is at most half of all and read by itself."""
        if self.chosen is None or self.x.layout == "csc":
            return None
        taken = np.flatnonzero(self.chosen)
        if not len(taken) or 2 * (taken[-1] + 1 - taken[0]) > len(self.chosen) + 1:
            return None
        return int(taken[0]), int(taken[-1]) + 1

    def name_genes(self, column: str | None) -> None:
        """Name the genes by a column of var, where it has a value; None leaves their names."""
        if column is None:
            return
        if self.var is None:
            msg = f"gene_names={column!r}: {self.where} has no columns of genes"
            raise ValueError(msg)
        found = require_column(self.var, column, "gene_names: var").rows()
        names = zip(self.var_names, found.is_null(), texts(found), strict=True)
        self.stored_names = self.var_names
        self.var_names = [old if null or not new else new for old, null, new in names]
        self.names = f"var[{column!r}]"

    def normalize(self, normalization: Normalization | None, *, logged: bool = True) -> None:
        """Scale counts; pieces hold their logarithms if `logged` and log1p is asked for."""
        if normalization is not None:
            self.scaler = Scaler(self, normalization, logged and normalization.log1p)

    @property
    def normalization(self) -> Normalization | None:
        """How counts are scaled; None: values stay as they are."""
        return None if self.scaler is None else self.scaler.normalization

    @property
    def logged(self) -> bool:
        """Whether pieces hold logarithms of scaled counts."""
        return self.scaler is not None and self.scaler.logged

    def groups(self, column: str, *, empty: bool = False) -> Groups:
        """Return the groups of a column of obs, of the chosen cells; none only if `empty`."""
        groups = read_groups(self.obs, column, self.chosen, empty=empty)
        groups.weights = self.cells
        return groups

    def locate(self, cell: int, gene: int) -> tuple[str, str]:
        """Return the name of the matrix that holds a value, and the cell and gene, for an error."""
        at = (
            f"cell {self.obs.names()[cell]!r}, row {cell}; gene {self.var_names[gene]!r}, column "
            f"{gene}"
        )
        return self.where, at

    def not_a_number(self, error: _pdex.NotANumberError, first: int) -> ValueError:
        """Return the error for a NaN of a piece whose first gene is number `first`."""
        _, cell, gene = error.args
        where, at = self.locate(cell, first + gene)
        return ValueError(f"{where} contains NaN ({at}). Fill or drop missing values first")

    def pieces(
        self,
        genes: npt.NDArray[np.uint32],
        resources: Resources,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Piece]:
        """Yield pieces in ascending order: first gene, matrix, wanted genes counted from the first.

        The pieces of a matrix in a file share the memory allotted to them, and pieces without
        wanted genes are skipped. `progress` is called with the bytes read from the file so far.
        """
        threads, budget = resources.threads, resources.for_pieces
        scaler = self.scaler
        if not isinstance(self.x, StoredMatrix):
            matrix = self.matrix(threads)
            yield 0, matrix if scaler is None else scaler.whole(matrix, threads), genes
            return
        # Errors that the caller raises while it uses a piece do not pass through here.
        with error_context(self.path):
            how = (threads, progress)
            span = (int(genes[0]), int(genes[-1]) + 1) if len(genes) else (0, 0)
            if scaler is not None:
                span = scaler.prepare(self.x, resources, span, progress)
            for start, stop, stored in self.x.pieces(how, budget, span):
                matrix = stored if scaler is None else scaler.whole(stored, threads)
                a, b = np.searchsorted(genes, [start, stop])
                if b > a:
                    yield start, matrix, genes[a:b] - np.uint32(start)

    def is_read_once(
        self, resources: Resources, progress: Callable[[int], object] | None = None
    ) -> bool:
        """Return whether the matrix is to be read once, in ranges of cells: see `spilled`."""
        if not isinstance(self.x, StoredMatrix):
            return False
        with error_context(self.path):
            how = (resources.threads, progress)
            narrow = self._narrow() is not None
            return narrow or self.x.is_read_once(how, resources.for_pieces)

    def some_cells(
        self, resources: Resources, progress: Callable[[int], object] | None = None
    ) -> tuple[int, memory.Matrix] | None:
        """Return the matrix of the range of the chosen cells, and the number of its first cell.

        None: the range holds more than half of all cells, or does not fit into memory.
        """
        how, budget, span = (resources.threads, progress), resources.for_pieces, self._narrow()
        if span is None:
            return None
        with error_context(self.path):
            part = (span[1] - span[0]) / self.x.shape[0]
            if self.x.n_bytes(how) * part > budget:
                return None
            # The cells are not all as long.
            (first, matrix), *others = islice(self.x.by_cells(how, 2 * budget, span), 2)
            if others:
                return None
            if self.scaler is not None:
                matrix = self.scaler.of_ranges(self.x, resources, progress)(first, matrix)
        return first, matrix

    def spilled(
        self,
        wanted: Counted,
        resources: Resources,
        folder: str | None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[tuple[npt.NDArray[np.uint32], memory.Matrix]]:
        """Read a large matrix once, and yield some genes and their count table, in order.

        Rows go to an unnamed file in `folder` in between; None means the folder of the system.
        """
        how, genes, change = (resources.threads, progress), wanted.genes, None
        with error_context(self.path):
            if self.scaler is not None:
                change = self.scaler.of_ranges(self.x, resources, progress)
            blocks = self.x.spilled(how, wanted, resources.for_pieces, folder, change)
            try:
                for start, stop, table in blocks:
                    yield genes[start:stop], table
            except _pdex.NotANumberError as error:
                raise self.not_a_number(error, 0) from None

    def select_genes(self, genes: Iterable[str] | None) -> npt.NDArray[np.uint32]:
        """Return the indices of the requested genes, ascending; None means all genes."""
        if genes is None:
            return np.arange(len(self.var_names), dtype=np.uint32)
        wanted = set(as_names("genes", genes))
        unknown = sorted(wanted.difference(self.var_names))
        if unknown:
            msg = (
                f"{self.names} has no gene {listed(unknown)}{about_genes(self, unknown)} "
                f"Its {len(self.var_names)} names: {listed(self.var_names, 5)}"
            )
            raise ValueError(msg)
        places = [i for i, name in enumerate(self.var_names) if name in wanted]
        return np.array(places, dtype=np.uint32)


def stamp_of(path: str, *, whole: bool = False) -> tuple[int, int] | None:
    """Return size and time of modification, which distinguish a file from one that replaced it.

    Of a Zarr store in a folder they are those of its root's metadata or, of a `whole` one, of all
    its files. None: there is no such file or folder.
    """
    try:
        if stores.is_path(path):
            return stores.whole_stamp(path) if whole else stores.root_stamp(path)
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns
