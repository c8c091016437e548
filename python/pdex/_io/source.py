"""The matrix, genes and groups of cells of a screen, in memory or in a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from pdex import _pdex
from pdex._io import h5, h5ad, memory
from pdex._io.dask import DaskMatrix, is_dask
from pdex._io.errors import error_context
from pdex._io.groups import Groups, read_groups
from pdex._io.joined import JoinedTables, check_parts
from pdex._io.labels import frame_of, require_column, texts
from pdex._io.normalize import Normalization, Scaler, log_base_of, normalization_of, noted_base
from pdex._io.paths import is_path, members_of, path_of
from pdex._io.stored import StoredMatrix
from pdex._io.tables import Manifest, Table, is_table
from pdex._io.where import cells_where
from pdex._io.zarr import arrays as zarr_arrays
from pdex._io.zarr import stores
from pdex._stages import stage
from pdex._text import listed
from pdex._validate import Join, as_names, check_choice, did_you_mean, flag
from pdex.exceptions import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
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

    def _is_narrow(self) -> bool:
        """Return whether the chosen cells lie within half of all, and can be read by themselves."""
        if self.chosen is None or self.x.layout == "csc":
            return False
        taken = np.flatnonzero(self.chosen)
        return len(taken) > 0 and bool(2 * (taken[-1] + 1 - taken[0]) <= len(self.chosen))

    def name_genes(self, column: str | None) -> None:
        """Name the genes by a column of var, where it has a value; None leaves their names."""
        if column is None:
            return
        if self.var is None:
            msg = f"gene_names={column!r}: {self.where} has no columns of genes"
            raise ValueError(msg)
        found = require_column(self.var, column, "gene_names: var").rows()
        names = zip(self.var_names, found.is_null(), texts(found), strict=True)
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

    def groups(self, column: str) -> Groups:
        """Return the groups of a column of obs, of the chosen cells."""
        groups = read_groups(self.obs, column, self.chosen)
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
            return self._is_narrow() or self.x.is_read_once(how, resources.for_pieces)

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
                f"{self.names} has no gene {listed(unknown)}. "
                f"Its {len(self.var_names)} names: {listed(self.var_names, 5)}"
            )
            raise ValueError(msg)
        places = [i for i, name in enumerate(self.var_names) if name in wanted]
        return np.array(places, dtype=np.uint32)


def open_source(
    data: Data, layer: str | None, use_raw: bool = False, join: str | None = None
) -> Source:
    """Return the requested matrix; use it in a ``with`` block, which closes the opened files.

    Of many sources, `join` says which genes are used: those that all have (``"inner"``), or, which
    must be the same everywhere, all (None).

    Raises
    ------
    KeyError
        The layer does not exist.
    ValueError
        There is no X or no raw; both a layer and raw are requested; or the shape of the matrix does
        not match obs and var.
    TypeError
        `data` is neither AnnData, a path nor a Zarr group or store.
    """
    if flag("use_raw", use_raw) and layer is not None:
        msg = f"layer={layer!r} and use_raw=True name two matrices; choose one"
        raise ValueError(msg)
    if join is not None:
        check_choice("join", join, get_args(Join))
    data, *others = members_of(data)
    if others:
        every = [data, *others]
        if all(is_path(one) and is_table(path_of(one)) for one in every):
            return _of_many_tables([path_of(one) for one in every], layer, use_raw)
        from pdex._io.many import open_many

        return open_many([data, *others], layer, use_raw, join)
    if stores.is_group(data) or stores.is_path(data):
        return _of_root(stores.open_root(data), layer, use_raw)
    if isinstance(data, (str, os.PathLike)):
        path = path_of(data)
        if is_table(path):
            return _of_tables(path, layer, use_raw)
        with error_context(path):
            root = h5ad.Root(path)
        return _of_root(root, layer, use_raw)
    check_data(data)
    source = _of_adata(data, layer, use_raw)
    _check_shape(source)
    return source


def _of_root(root: stores.Root | h5ad.Root, layer: str | None, use_raw: bool) -> Source:
    """Return the requested matrix of a file or store, which is closed with it."""
    try:
        with error_context(root.path):
            root.check_kind()
            place, where, var = _place_of(root, layer, use_raw)
            obs, table = root.frame("obs"), root.frame(var)
            where = f"{root.path}: {where}"
            x = root.matrix(place, where)
            kind = "raw.var_names" if use_raw else "var_names"
            base = log_base_of(root.log1p_base())
            source = Source(obs, x, where, [], root.path, kind, log_base=base, var=table)
            _check_shape(source, table.height)
            source.var_names = table.names()
    except BaseException:
        # Close the file even if the exception is kept, as notebooks do.
        root.close()
        raise
    source.file = root if root.opened is not None else None
    return source


def _place_of(
    root: stores.Root | h5ad.Root, layer: str | None, use_raw: bool
) -> tuple[str, str, str]:
    """Return where the matrix is stored, its name, and where the table of its genes is stored."""
    if use_raw:
        places = root.raw()
        if places is None:
            msg = f"this {root.what} has no raw: leave out use_raw, or choose a layer"
            raise ValueError(msg)
        return places[0], "raw.X", places[1]
    layers = root.members("layers")
    if layer is None:
        if "X" not in root.members(""):
            raise _without_x(root.what, layers)
        return "X", "X", "var"
    _check_layer(layer, layers)
    return f"layers/{layer}", f"layer {layer!r}", "var"


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
    msg = (
        f"data is a {what}: expected an AnnData object, a path to .h5ad or .zarr, or count tables"
        f"{hint}"
    )
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
    if _is_in_zarr(x):
        node = getattr(x, "group", x)
        path = stores.name_of(node).removesuffix(f"/{node.path}")
        where = f"{path}: {where}"
        with error_context(path):
            x = zarr_arrays.open_matrix(node, where, path)
    elif _is_backed(x):
        path = str(data.filename)
        where = f"{path}: {where}"
        with error_context(path):
            node = h5.of_h5py(x.group if hasattr(x, "group") else x)
            x = h5.open_matrix(node, where, path)
    elif is_dask(x):
        x = DaskMatrix(x, where)
    names, base = [str(name) for name in names], log_base_of(noted_base(data.uns))
    var = frame_of(data.raw.var if use_raw else data.var)
    return Source(frame_of(data.obs), x, where, names, path, kind, log_base=base, var=var)


def _is_backed(x: Any) -> bool:
    """Return whether `x` is an HDF5 dataset or AnnData's wrapper of a sparse matrix in a file."""
    return hasattr(x, "group") or type(x).__module__.startswith("h5py")


def _is_in_zarr(x: Any) -> bool:
    """Return whether `x` is a Zarr array or AnnData's wrapper of a sparse matrix in a store."""
    return type(getattr(x, "group", x)).__module__.split(".")[0] == "zarr"


@dataclass
class TableSource(Source):
    """Count tables in place of a matrix: the rows of obs are groups of cells."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        kind = self.x.manifest.values["dtype"]
        dtype: np.dtype[Any] = np.dtype(kind.lower())
        return dtype

    def normalize(self, normalization: Normalization | None, *, logged: bool = True) -> None:
        """Take the counts as they were scaled; ValueError if others are asked for."""
        manifest = self.x.manifest
        own = None
        if manifest.normalize is not None:
            own = normalization_of(manifest.normalize, manifest.log1p)
        if normalization not in (None, own):
            held = "counts as they are" if own is None else f"counts scaled to {own.asked}"
            msg = (
                f"{self.titles[0]} holds {held}, and the totals of single cells are not known: "
                "tabulate the screen with normalize="
            )
            raise ValueError(msg)
        super().normalize(own, logged=logged)

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
            yield from self.x.pieces(genes, resources, self.logged)


@dataclass
class JoinedSource(TableSource):
    """Several folders of count tables as one."""

    #: The absolute paths of the folders.
    folders: list[str] = field(default_factory=list)

    @property
    def titles(self) -> list[str]:
        """The path of each folder."""
        return self.folders

    @property
    def parts(self) -> list[str | None]:
        """The path of each folder."""
        return list(self.folders)

    def again(self) -> Any:
        """Return what opens the same folders."""
        return self.folders


def _of_many_tables(paths: list[str], layer: str | None, use_raw: bool) -> Source:
    """Return the count tables of several folders as one; paths are absolute."""
    for path in paths:
        _check_whole(path, layer, use_raw)
    joined = JoinedTables([Table(Path(path)) for path in paths])
    names = joined.genes["gene"].to_list()
    where = f"{joined.manifest.matrix} of {len(paths)} count tables ({listed(paths, 3)})"
    source = JoinedSource(joined.obs(), joined, where, names, None, "genes", cells=joined.cells)
    source.folders = paths
    source.log_base = log_base_of(joined.manifest.log_base)
    return source


def _check_whole(path: str, layer: str | None, use_raw: bool) -> None:
    """Raise ValueError if another matrix than that of the tables is asked for."""
    if use_raw or layer is not None:
        matrix = Manifest.read(Path(path)).matrix
        msg = f"{path} holds count tables of {matrix} alone: leave out layer and use_raw"
        raise ValueError(msg)


def _of_tables(path: str, layer: str | None, use_raw: bool) -> Source:
    """Return the count tables of a folder; `path` is absolute."""
    _check_whole(path, layer, use_raw)
    table = Table(Path(path))
    check_parts([table])
    manifest = table.manifest
    names = table.genes["gene"].to_list()
    where, cells = f"{path}: {manifest.matrix}", table.labels["cells"].to_numpy()
    source = TableSource(table.obs(), table, where, names, path, "genes.parquet", cells=cells)
    source.log_base = log_base_of(manifest.log_base)
    return source


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


def _check_shape(source: Source, n_genes: int | None = None) -> None:
    """Raise ValueError unless the shape of the matrix matches obs and var.

    `n_genes` is the number of genes if their names are not read yet.
    """
    shape = getattr(source.x, "shape", None)
    expected = (source.obs.height, len(source.var_names) if n_genes is None else n_genes)
    if shape is not None and len(shape) == 2 and tuple(shape) != expected:
        msg = (
            f"{source.where} has the shape {tuple(shape)}: expected {expected}, the cells of "
            f"obs_names and the genes of {source.names}"
        )
        raise ValueError(msg)
