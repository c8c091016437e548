"""The matrix, genes and groups of cells of a screen, in memory or in a file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pdex import _pdex
from pdex._io import backed, h5ad, memory
from pdex._io.h5ad import error_context
from pdex._io.tables import Table, is_table
from pdex._io.where import cells_where
from pdex._stages import stage
from pdex._text import listed
from pdex._validate import as_names, did_you_mean, flag
from pdex._warn import warn
from pdex.exceptions import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    import numpy.typing as npt
    import pandas as pd
    from anndata import AnnData

    from pdex._resources import Resources

    Data: TypeAlias = AnnData | str | os.PathLike[str]
    Piece: TypeAlias = tuple[int, memory.Matrix, npt.NDArray[np.uint32]]

#: The code of a cell that takes no part in a comparison.
SKIP = np.uint32(2**32 - 1)


@dataclass
class Source:
    """A matrix with its gene names and cell labels."""

    #: AnnData object with obs and var of the screen.
    adata: Any
    x: Any
    #: Name of the matrix in errors.
    where: str
    var_names: list[str]
    #: Path of the file that holds the matrix; None for a matrix in memory.
    path: str | None = None
    #: Name of `var_names` in errors.
    names: str = "var_names"
    #: The file that was opened for this source and is closed with it.
    file: Any = field(default=None, repr=False)
    #: Where the rows of obs are groups of cells, as in count tables: their numbers of cells.
    cells: npt.NDArray[np.uint64] | None = field(default=None, repr=False)
    #: The chosen rows of obs; None: all.
    chosen: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
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
    def is_backed(self) -> bool:
        """Whether the matrix stays in a file."""
        return backed.is_backed(self.x)

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
        with error_context(self.path):
            matrix = (
                backed.head(self.x, self.where, threads) if self.is_backed else self.matrix(threads)
            )
        return _pdex.survey(matrix, threads)

    def require_cells(self, function: str) -> None:
        """Raise TypeError for count tables, which `function` does not take."""
        if self.cells is not None:
            msg = f"{self.path} holds count tables, which {function} does not take; use pdex.de"
            raise TypeError(msg)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the stored values."""
        dtype: np.dtype[Any] = (
            self.x.group["data"].dtype if hasattr(self.x, "group") else self.x.dtype
        )
        return dtype

    def choose(self, where: object) -> None:
        """Leave out the cells for which `where` does not hold; None leaves out none."""
        if where is not None:
            self.chosen = cells_where(self.adata.obs, where)

    def groups(self, column: str) -> Groups:
        """Return the groups of a column of obs, of the chosen cells."""
        groups = read_groups(self.adata, column, self.chosen)
        groups.weights = self.cells
        return groups

    def not_a_number(self, error: _pdex.NotANumberError, first: int) -> ValueError:
        """Return the error for a NaN of a piece whose first gene is number `first`."""
        _, cell, gene = error.args
        msg = (
            f"{self.where} contains NaN (cell {self.adata.obs_names[cell]!r}, row {cell}; "
            f"gene {self.var_names[first + gene]!r}, column {first + gene}). "
            "Fill or drop missing values first"
        )
        return ValueError(msg)

    @property
    def log_base(self) -> float | None:
        """Base of the logarithm that scanpy recorded in uns; None if it is e or not recorded."""
        return log_base_of(self.adata.uns)

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
        if not self.is_backed:
            yield 0, self.matrix(threads), genes
            return
        # Errors that the caller raises while it uses a piece do not pass through here.
        with error_context(self.path):
            how = (threads, progress)
            span = (int(genes[0]), int(genes[-1]) + 1) if len(genes) else (0, 0)
            for start, stop, matrix in backed.pieces(self.x, self.where, how, budget, span):
                a, b = np.searchsorted(genes, [start, stop])
                if b > a:
                    yield start, matrix, genes[a:b] - np.uint32(start)

    def is_read_once(self, resources: Resources) -> bool:
        """Return whether the matrix is to be read once, in ranges of cells: see `spilled`.

        Measured: spilling takes as long as four passes over a file of 750 MB in the page cache, and
        a file that is larger than its share of memory takes at least as many.
        """
        if not self.is_backed:
            return False
        how = (resources.threads, None)
        with error_context(self.path):
            return backed.is_larger(self.x, self.where, how, resources.for_pieces)

    def spilled(
        self,
        wanted: backed.Counted,
        resources: Resources,
        folder: str | None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[tuple[npt.NDArray[np.uint32], memory.Matrix]]:
        """Read a large matrix once, and yield some genes and their count table, in order.

        Rows go to an unnamed file in `folder` in between; None means the folder of the system.
        """
        how, genes = (resources.threads, progress), wanted.genes
        with error_context(self.path):
            blocks = backed.spilled(self.x, self.where, how, wanted, resources.for_pieces, folder)
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
                f"{self.names} has no gene {listed(unknown)}. "
                f"Its {len(self.var_names)} names: {listed(self.var_names, 5)}"
            )
            raise ValueError(msg)
        places = [i for i, name in enumerate(self.var_names) if name in wanted]
        return np.array(places, dtype=np.uint32)


def open_source(data: Data, layer: str | None, use_raw: bool = False) -> Source:
    """Return the requested matrix; use it in a ``with`` block, which closes the opened file.

    Raises
    ------
    KeyError
        The layer does not exist.
    ValueError
        There is no X or no raw; both a layer and raw are requested; or the shape of the matrix does
        not match obs and var.
    TypeError
        `data` is neither AnnData nor a path.
    """
    if flag("use_raw", use_raw) and layer is not None:
        msg = f"layer={layer!r} and use_raw=True name two matrices; choose one"
        raise ValueError(msg)
    if isinstance(data, (str, os.PathLike)):
        path = path_of(data)
        if is_table(path):
            return _of_tables(path, layer, use_raw)
        with error_context(path):
            file = h5ad.open_file(path)
            try:
                source = _of_file(file, path, layer, use_raw)
                _check_shape(source)
            except BaseException:
                # Close the file even if the exception is kept, as notebooks do.
                file.close()
                raise
        return source
    check_data(data)
    source = _of_adata(data, layer, use_raw)
    _check_shape(source)
    return source


def log_base_of(uns: Mapping[str, Any]) -> float | None:
    """Return the base of the logarithm recorded in uns; None if it is e or not recorded."""
    noted = uns.get("log1p")
    base = noted.get("base") if isinstance(noted, Mapping) else None
    try:
        number = float(base)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 1 else None


def path_of(data: str | os.PathLike[str]) -> str:
    """Return the absolute path of a file; raise ValueError for a URL."""
    text = os.fspath(data)
    if "://" in text:
        msg = f"{text!r} is a URL: download the file first, and give its path"
        raise ValueError(msg)
    return os.path.abspath(os.path.expanduser(text))


def check_data(data: object) -> None:
    """Raise TypeError unless `data` is an AnnData object."""
    import anndata as ad

    if isinstance(data, ad.AnnData):
        return
    what, hint = type(data).__qualname__, ""
    modalities = getattr(data, "mod", None)
    if isinstance(modalities, Mapping) and modalities:
        names = [str(name) for name in modalities]
        hint = f"; it has {listed(names)}: give one of them, such as data[{names[0]!r}]"
    msg = f"data is a {what}: expected an AnnData object, a path to .h5ad, or count tables{hint}"
    raise TypeError(msg)


def _of_adata(data: Any, layer: str | None, use_raw: bool) -> Source:
    """Return the requested matrix of an AnnData object."""
    names, kind = data.var_names, "var_names"
    if use_raw:
        # A backed object without raw has a `raw` object without X.
        x, where = getattr(data.raw, "X", None), "raw.X"
        if x is None:
            msg = "this AnnData has no raw: leave out use_raw, or choose a layer"
            raise ValueError(msg)
        names, kind = data.raw.var_names, "raw.var_names"
    elif layer is None:
        x, where = data.X, "X"
        if x is None:
            raise _without_x("AnnData", list(data.layers))
    else:
        _check_layer(layer, list(data.layers))
        x, where = data.layers[layer], f"layer {layer!r}"
    path = None
    if backed.is_backed(x):
        path = str(data.filename)
        where = f"{path}: {where}"
    return Source(data, x, where, [str(name) for name in names], path, kind)


def _of_file(file: Any, path: str, layer: str | None, use_raw: bool) -> Source:
    """Return the requested matrix of an open file; `path` is absolute."""
    import anndata as ad

    if h5ad.is_legacy(file):
        h5ad.check_legacy(file)
        file.close()
        adata = ad.read_h5ad(path, backed="r")
        try:
            source = _of_adata(adata, layer, use_raw)
        except BaseException:
            adata.file.close()
            raise
        source.file, source.path = adata.file, path
        return source
    obs, var = h5ad.read_frame(file, "obs"), h5ad.read_frame(file, "var")
    adata = ad.AnnData(obs=obs, var=var, uns=h5ad.noted_log1p(file))
    layers = h5ad.members(file, "layers")
    names, kind = adata.var_names, "var_names"
    if use_raw:
        if "X" not in h5ad.members(file, "raw"):
            msg = "this file has no raw: leave out use_raw, or choose a layer"
            raise ValueError(msg)
        place, where = "raw/X", "raw.X"
        names, kind = h5ad.read_frame(file, "raw/var").index, "raw.var_names"
    elif layer is None:
        if "X" not in file:
            raise _without_x("file", layers)
        place, where = "X", "X"
    else:
        _check_layer(layer, layers)
        place, where = f"layers/{layer}", f"layer {layer!r}"
    x = h5ad.open_matrix(h5ad.member(file, place))
    labels = [str(name) for name in names]
    return Source(adata, x, f"{path}: {where}", labels, path, kind, file)


@dataclass
class TableSource(Source):
    """Count tables in place of a matrix: the rows of obs are groups of cells."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        kind = self.x.manifest.values["dtype"]
        dtype: np.dtype[Any] = np.dtype(kind.lower())
        return dtype

    def survey(self, threads: int) -> tuple[float, float, bool]:  # noqa: ARG002
        """Return what was seen of the matrix when it was tabulated."""
        values = self.x.manifest.values
        return values["least"], values["most"], values["fractional"]

    def pieces(
        self,
        genes: npt.NDArray[np.uint32],
        resources: Resources,
        progress: Callable[[int], object] | None = None,  # noqa: ARG002 - parts are small
    ) -> Iterator[Piece]:
        """Yield parts, as :meth:`Source.pieces` yields pieces."""
        with error_context(self.path):
            yield from self.x.pieces(genes, resources)


def _of_tables(path: str, layer: str | None, use_raw: bool) -> Source:
    """Return the count tables of a folder; `path` is absolute."""
    import anndata as ad

    table = Table(Path(path))
    if use_raw or layer is not None:
        msg = (
            f"{path} holds count tables of {table.manifest.matrix} alone: leave out layer and "
            "use_raw"
        )
        raise ValueError(msg)
    uns = {} if table.manifest.log_base is None else {"log1p": {"base": table.manifest.log_base}}
    names = table.genes["gene"].to_list()
    where, cells = f"{path}: {table.manifest.matrix}", table.labels["cells"].to_numpy()
    adata = ad.AnnData(obs=table.obs(), uns=uns)
    return TableSource(adata, table, where, names, path, "genes.parquet", cells=cells)


def _without_x(what: str, layers: list[str]) -> ValueError:
    """Return the error for data without X."""
    if not layers:
        return ValueError(f"this {what} has neither X nor a layer, so there is nothing to test")
    return ValueError(f"this {what} has no X: choose a layer, one of {listed(layers)}")


def _check_layer(layer: object, layers: list[str]) -> None:
    """Raise KeyError unless the layer exists."""
    if layer not in layers:
        meant = did_you_mean(layer, layers)
        msg = f"there is no layer {layer!r}{meant or '.'} Layers: {listed(layers) or 'none'}"
        raise NotFoundError(msg)


def _check_shape(source: Source) -> None:
    """Raise ValueError unless the shape of the matrix matches obs and var."""
    if source.is_backed:
        backed.check(source.x, source.where)
    shape = getattr(source.x, "shape", None)
    expected = (source.adata.n_obs, len(source.var_names))
    if shape is not None and len(shape) == 2 and tuple(shape) != expected:
        msg = (
            f"{source.where} has the shape {tuple(shape)}: expected {expected}, the cells of "
            f"obs_names and the genes of {source.names}"
        )
        raise ValueError(msg)


@dataclass
class Groups:
    """The groups of a column of obs: their labels in order, and the group of each cell."""

    column: str
    labels: list[str]
    #: Index of each cell's label; -1 for a cell without a label.
    places: npt.NDArray[np.int64]
    #: Where each place stands for a group of cells, their numbers of cells.
    weights: npt.NDArray[np.uint64] | None = field(default=None, repr=False, compare=False)
    _by_label: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    def only(self, cells: npt.NDArray[np.bool_]) -> Groups:
        """Return the same groups, restricted to some cells; other cells lose their label."""
        return replace(self, places=np.where(cells, self.places, -1))

    def require(self, label: object, what: str) -> int:
        """Return the index of a label; for an unknown one, raise ValueError and list the groups."""
        place = self.place(label)
        if place is None:
            order = _pdex.by_resemblance(str(label), self.labels)
            msg = (
                f"{what} {str(label)!r} is not a group of obs[{self.column!r}]. "
                f"Groups: {listed([self.labels[i] for i in order])}"
            )
            raise ValueError(msg)
        return place

    def place(self, label: object) -> int | None:
        """Return the index of a label, or None if it is unknown."""
        if not self._by_label:
            self._by_label.update({label: place for place, label in enumerate(self.labels)})
        return self._by_label.get(str(label))

    def references(self, reference: object) -> list[int]:
        """Return the indices of one control group or of several."""
        names: list[object] = [reference]
        if isinstance(reference, Iterable) and not isinstance(reference, str):
            names = list(reference)
        if not names:
            msg = "reference=[]: name at least one group"
            raise ValueError(msg)
        return [self.require(name, "reference") for name in names]

    def codes(
        self,
        reference: object,
        groups: Sequence[object] | None,
        *,
        rest: bool,
        exclude: Sequence[object] | None = None,
        min_cells: int = 0,
    ) -> tuple[npt.NDArray[np.uint32], list[str]]:
        """Return a code for each cell, and the labels of the targets in order.

        Code 0 is the reference (against "rest": every group that is not a target). Targets have the
        codes 1, 2, ... Cells of excluded groups, and all others that take no part, have SKIP. A
        group with fewer than `min_cells` cells is not a target.
        """
        background = [] if rest else self.references(reference)
        left_out = {self.require(label, "excluded group") for label in exclude or ()}
        wanted = set(range(len(self.labels)))
        if groups is not None:
            wanted = {self.require(label, "group") for label in as_names("groups", groups)}
        wanted.difference_update(background, left_out)
        if not wanted:
            besides = listed([self.labels[i] for i in background]) if background else "'rest'"
            without = f" without {listed([self.labels[i] for i in sorted(left_out)])}"
            msg = f"obs[{self.column!r}] has no group to test other than {besides}"
            raise ValueError(msg + without * bool(left_out))
        if rest and len(self.labels) - len(left_out) < 2:
            left = f" besides the {len(left_out)} excluded" if left_out else ""
            msg = (
                f"obs[{self.column!r}] has only one group{left}, so there is no rest to compare it "
                "with"
            )
            raise ValueError(msg)
        wanted = self.large_enough(wanted, min_cells)
        # One entry more than there are labels: index -1 (no label) reads the last.
        table = np.full(len(self.labels) + 1, 0 if rest else SKIP, dtype=np.uint32)
        table[[-1, *left_out]] = SKIP
        table[background] = 0
        return self._fill(table, wanted)

    def check_apart(self, **roles: Sequence[int]) -> None:
        """Raise ValueError if a group has two roles; each keyword lists the groups of one role."""
        role_of: dict[int, str] = {}
        for role, places in roles.items():
            for place in places:
                other = role_of.setdefault(place, role)
                if other != role:
                    msg = (
                        f"group {self.labels[place]!r} is in both {other} and {role}; "
                        "remove it from one"
                    )
                    raise ValueError(msg)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the number of cells in each group."""
        labelled = self.places >= 0
        return count_cells(self.places[labelled], self.weights, labelled, len(self.labels))

    def large_enough(self, wanted: set[int], min_cells: int) -> set[int]:
        """Return the groups with at least `min_cells` cells; a warning names the others."""
        sizes = self.sizes()
        small = [place for place in sorted(wanted) if sizes[place] < min_cells]
        if not small:
            return wanted
        if len(small) == len(wanted):
            largest = max(small, key=lambda place: int(sizes[place]))
            msg = (
                f"no group to test in obs[{self.column!r}] has min_cells={min_cells} cells; "
                f"the largest, {self.labels[largest]!r}, has {sizes[largest]}"
            )
            raise ValueError(msg)
        names = listed([self.labels[place] for place in small])
        warn(
            f"left out {len(small)} groups of obs[{self.column!r}] with fewer than {min_cells} "
            f"cells: {names}"
        )
        return wanted.difference(small)

    def numbers_of(
        self, groups: Iterable[object] | None
    ) -> tuple[npt.NDArray[np.uint32], list[str]]:
        """Return the numbers (from 0) and labels of the groups asked for; other cells have SKIP."""
        asked = self.labels if groups is None else as_names("groups", groups)
        wanted = {self.require(label, "group") for label in asked}
        codes, labels = self._fill(np.full(len(self.labels) + 1, SKIP, dtype=np.uint32), wanted)
        return np.where(codes == SKIP, SKIP, codes - np.uint32(1)), labels

    def _fill(
        self, table: npt.NDArray[np.uint32], wanted: set[int]
    ) -> tuple[npt.NDArray[np.uint32], list[str]]:
        """Enter the codes of the wanted groups, from 1, in a table, and look up each cell in it."""
        targets = sorted(wanted)
        table[targets] = np.arange(1, len(targets) + 1, dtype=np.uint32)
        return table[self.places], [self.labels[i] for i in targets]


def count_cells(
    places: npt.NDArray[np.int64],
    weights: npt.NDArray[np.uint64] | None,
    of: npt.NDArray[np.bool_],
    n: int,
) -> npt.NDArray[np.int64]:
    """Return how many cells have each of `n` places; the rows `of` have `places` and `weights`."""
    if weights is None:
        return np.bincount(places, minlength=n)
    # Sums of whole numbers below 2^53 are exact.
    return np.bincount(places, weights[of], minlength=n).astype(np.int64)


def read_groups(adata: Any, groupby: str, chosen: npt.NDArray[np.bool_] | None = None) -> Groups:
    """Return the groups of ``adata.obs[groupby]`` that have cells among those chosen (None: all).

    Categories keep their order; other labels are sorted. Missing and empty labels are not groups.

    Raises
    ------
    KeyError
        The column does not exist.
    ValueError
        No cell has a label.
    """
    import pandas as pd

    if not isinstance(groupby, str) or groupby not in adata.obs:
        columns = [str(column) for column in adata.obs.columns]
        meant = did_you_mean(groupby, columns)
        msg = f"obs has no column {groupby!r}{meant or '.'} Columns: {listed(columns) or 'none'}"
        raise NotFoundError(msg)
    column = adata.obs[groupby]
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, values = np.asarray(column.cat.codes, dtype=np.int64), list(column.cat.categories)
    else:
        codes, values = _factorize(column)
    if chosen is not None:
        codes = np.where(chosen, codes, -1)
    names = [str(value) for value in values]
    present = np.bincount(codes[codes >= 0], minlength=len(names)) > 0
    by_label: dict[str, int] = {}
    places = np.full(len(names) + 1, -1, dtype=np.int64)
    for i, name in enumerate(names):
        if present[i] and name != "":
            if name in by_label:
                msg = f"obs[{groupby!r}] has two labels that are both written {name!r}; rename one"
                raise ValueError(msg)
            places[i] = by_label[name] = len(by_label)
    labels = list(by_label)
    if not labels:
        msg = f"obs[{groupby!r}] has no cell with a label, so there is nothing to test"
        raise ValueError(msg)
    return Groups(groupby, labels, places[codes], None, by_label)


def _factorize(column: pd.Series[Any]) -> tuple[npt.NDArray[np.int64], list[Any]]:
    """Return codes (-1 if missing) and sorted distinct values."""
    import pandas as pd

    try:
        codes, values = pd.factorize(column, sort=True)
    except TypeError:
        # Labels of mixed types cannot be compared with each other, so they are sorted as text.
        codes, values = pd.factorize(column.where(column.isna(), column.astype(str)), sort=True)
    return np.asarray(codes, dtype=np.int64), list(values)
