"""Open what the argument `data` names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from pdex._description import known_of
from pdex._io import h5, h5ad
from pdex._io.dask import DaskMatrix, is_dask
from pdex._io.errors import error_context
from pdex._io.labels import frame_of
from pdex._io.normalize import log_base_of, noted_base
from pdex._io.paths import members_of, path_of
from pdex._io.source import Source, stamp_of
from pdex._io.tabled import open_tables
from pdex._io.tables import is_table
from pdex._io.zarr import arrays as zarr_arrays
from pdex._io.zarr import stores
from pdex._places import place_of
from pdex._text import brief, listed
from pdex._validate import Join, check_choice, did_you_mean, flag
from pdex.exceptions import NotFoundError

if TYPE_CHECKING:
    from pdex._io.source import Data


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
        if all(_is_table(one) for one in every):
            return open_tables([str(place_of(one)) for one in every], layer, use_raw)
        from pdex._io.many import open_many

        return open_many([data, *others], layer, use_raw, join)
    if _is_table(data):
        return open_tables([str(place_of(data))], layer, use_raw)
    if stores.is_group(data) or stores.is_path(data):
        return _of_root(stores.open_root(data), layer, use_raw)
    if isinstance(data, (str, os.PathLike)):
        path = path_of(data)
        with error_context(path):
            root = h5ad.Root(path)
        return _of_root(root, layer, use_raw)
    check_data(data)
    source = _of_adata(data, layer, use_raw)
    _check_shape(source)
    return source


def _is_table(data: object) -> bool:
    """Return whether `data` is the path or URL of count tables."""
    return isinstance(data, (str, os.PathLike)) and is_table(os.path.expanduser(data))


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
    source.stamp = stamp_of(root.path)
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


def check_data(data: object) -> None:
    """Raise TypeError unless `data` is an AnnData object."""
    import anndata as ad

    if isinstance(data, ad.AnnData):
        return
    what, hint = type(data).__qualname__, ""
    if known_of(data) is not None:
        hint = "; it is a result: pdex.describe tells how it was made"
    elif what in ("DataFrame", "LazyFrame"):
        hint = "; for a frame of rows use the expressions, such as pdex.wilcoxon"
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
            raise _without_x("AnnData", layers_of(data))
    else:
        _check_layer(layer, layers_of(data))
        x, where = data.layers[layer], f"layer {layer!r}"
    path = None
    if _is_in_zarr(x):
        node = getattr(x, "group", x)
        path = stores.name_of(node).removesuffix(f"/{node.path}")
        where = f"{path}: {where}"
        with error_context(path):
            x = zarr_arrays.open_matrix(node, where, path)
    elif _is_backed(x):
        path = os.path.abspath(data.filename)
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


def layers_of(data: Any) -> list[str]:
    """Return the layers of an AnnData object; anndata 0.13 lists X among them, as None."""
    return [name for name in data.layers if name is not None]


def _without_x(what: str, layers: list[str]) -> ValueError:
    """Return the error for data without X."""
    if not layers:
        return ValueError(f"this {what} has neither X nor a layer, so there is nothing to test")
    return ValueError(f"this {what} has no X: choose a layer, one of {listed(layers)}")


def _check_layer(layer: object, layers: list[str]) -> None:
    """Raise KeyError unless the layer exists."""
    if not isinstance(layer, str) or layer not in layers:
        meant = did_you_mean(layer, layers) if isinstance(layer, str) else ""
        msg = f"there is no layer {brief(layer)}{meant or '.'} Layers: {listed(layers) or 'none'}"
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
