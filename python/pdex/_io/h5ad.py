"""Open AnnData files by path, and read only what a job needs.

anndata reads the frames obs and var, because it knows every format they have had. The matrix stays
in the file. The sizes that a file claims are compared with its stored bytes before any memory is
allocated for them. Every error names the path.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from pdex._io.heaps import check_heaps
from pdex.exceptions import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

#: A dataset of at most this many bytes is read whatever the size of the file.
_PLAUSIBLE = 1 << 26
#: Largest expansion of one stored byte: by deflate, and by filters that are not known here.
_DEFLATE, _OTHER = 1032, 1 << 16
#: HDF5's identifiers of deflate, shuffle, fletcher32 and LZF.
KNOWN_FILTERS = frozenset({1, 2, 3, 32000})
#: The attributes that anndata reads.
_ATTRIBUTES = (
    *(b"encoding-type", b"encoding-version", b"_index", b"column-order", b"ordered"),
    *(b"categories", b"shape", b"h5sparse_format", b"h5sparse_shape"),
)
#: Errors that keep their class; all others become ValueError.
_KINDS: tuple[type[Exception], ...] = (NotFoundError, KeyError, OSError, TypeError, MemoryError)


@contextmanager
def error_context(path: str | None) -> Iterator[None]:
    """Make every error name the file; leave errors unchanged if `path` is None."""
    try:
        yield
    except Exception as error:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        # anndata adds a note that names the member it was reading.
        text = "; ".join([text or type(error).__name__, *getattr(error, "__notes__", ())])
        if path is None or path in text:
            raise
        named = _kind_of(error)(f"{path}: {text}")
        # Show one error, with the traceback of the original, instead of two.
        raise named.with_traceback(error.__traceback__) from None


def _kind_of(error: Exception) -> type[Exception]:
    """Return the class of the error that names the file; it must accept a message alone."""
    if isinstance(error, OSError) and type(error).__module__ == "builtins":
        return type(error)
    return next((kind for kind in _KINDS if isinstance(error, kind)), ValueError)


def open_file(path: str) -> Any:
    """Return the open HDF5 file at an absolute path; for any other file, raise a helpful error."""
    import h5py

    if os.path.isdir(path):
        msg = (
            f"{path!r} is a folder; expected an .h5ad file, a .zarr store, or count tables, which "
            "pdex tabulate writes"
        )
        raise ValueError(msg)
    # Python's own errors (FileNotFoundError, PermissionError, ...) name the path.
    with open(path, "rb"):
        pass
    if not h5py.is_hdf5(path):
        if path.endswith(".gz"):
            msg = f"{path!r} is compressed as a whole; decompress it first, with gunzip"
            raise ValueError(msg)
        msg = (
            f"{path!r} is not an HDF5 file, or it is damaged. Expected an .h5ad file; load other "
            "files first, for example with anndata.io"
        )
        raise OSError(msg)
    file = h5py.File(path, "r")
    try:
        check_heaps(file)
        _check_kind(file)
    except (OSError, ValueError):
        file.close()
        raise
    return file


def file_bytes(file: Any) -> int:
    """Return the current size of an open h5py.File, even if its path now leads elsewhere."""
    if file.driver == "sec2":
        return os.fstat(file.id.get_vfd_handle()).st_size
    return int(file.id.get_filesize())


def most_bytes(dataset: Any) -> int:
    """Return the largest number of bytes to which a dataset's stored bytes can expand."""
    plist = dataset.id.get_create_plist()
    filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    growth = 1 if not filters else _DEFLATE if KNOWN_FILTERS.issuperset(filters) else _OTHER
    stored = min(dataset.id.get_storage_size(), file_bytes(dataset.file))
    return max(_PLAUSIBLE, growth * int(stored))


def check_types(node: Any) -> None:
    """Raise ValueError if the dataset, or an attribute that is read, has a list type.

    anndata never writes such types, and libhdf5 2.0 crashes on text whose type has been damaged
    into a list type.
    """
    import h5py

    names = [name for name in _ATTRIBUTES if h5py.h5a.exists(node.id, name)]
    kinds = {f"attribute {name.decode()!r}": h5py.h5a.open(node.id, name) for name in names}
    if isinstance(node, h5py.Dataset):
        kinds["content"] = node.id
    for what, identifier in kinds.items():
        if isinstance(identifier.get_type(), h5py.h5t.TypeVlenID):
            msg = f"{node.name!r} is broken: its {what} has a list type"
            raise ValueError(msg)


def check_claims(node: Any, above: tuple[Any, ...] = ()) -> None:
    """Raise ValueError if a dataset in a node claims more than its stored bytes can hold.

    List types are errors, too, and so is a node that is one of its own parents (`above`), because
    the recursion would never end.
    """
    import h5py

    if isinstance(node, (h5py.Group, h5py.Dataset)):
        check_types(node)
    if isinstance(node, h5py.Group):
        if node in above:
            msg = f"{above[-1].name!r} is broken: it contains {node.name!r}, its own parent"
            raise ValueError(msg)
        for name in node:
            if node.get(name) is not None:
                check_claims(node[name], (*above, node))
    elif isinstance(node, h5py.Dataset) and node.shape is not None:
        itemsize = node.dtype.itemsize
        claims = {"elements": node.shape, "elements in a chunk": node.chunks or ()}
        for what, shape in claims.items():
            number = int(np.prod([int(n) for n in shape], dtype=object))
            if number * itemsize > most_bytes(node):
                msg = (
                    f"{node.name!r} is broken: it claims {number:,} {what}, "
                    "more than its stored bytes can hold"
                )
                raise ValueError(msg)


def is_legacy(file: Any) -> bool:
    """Return whether anndata before 0.7 wrote the file: obs or var is a dataset of records."""
    import h5py

    nodes = (file.get(name) for name in ("obs", "var"))
    return any(isinstance(node, h5py.Dataset) and node.dtype.names for node in nodes)


def check_legacy(file: Any) -> None:
    """Raise ValueError if a part that anndata reads in full claims too much."""
    for name in file:
        if name not in ("X", "raw", "raw.X"):
            check_claims(file[name])
    for name in members(file, "raw"):
        if name != "X":
            check_claims(file["raw"][name])


def _check_kind(file: Any) -> None:
    """Raise ValueError for a MuData file, which holds several AnnData."""
    if "mod" in file and not ("X" in file and "obs" in file):
        found = members(file, "mod")
        has = f" with {', '.join(map(repr, found))}" if found else ""
        one = repr(found[0]) if found else "..."
        msg = (
            f"this is a MuData file{has}: read one modality first, with "
            f"mudata.read_h5ad(path, mod={one})"
        )
        raise ValueError(msg)


def members(file: Any, name: str) -> list[str]:
    """Return the names in a group of the file, or an empty list if there is no such group."""
    import h5py

    group = file.get(name)
    return list(group) if isinstance(group, h5py.Group) else []


def member(file: Any, name: str) -> Any:
    """Return a member of the file; raise ValueError if it does not exist."""
    node = file.get(name)
    if node is None and name in list(file):
        msg = f"{name!r} is a link that leads nowhere"
        raise ValueError(msg)
    if node is None:
        hint = ""
        if name == "obs":
            hint = ": expected what AnnData.write_h5ad writes; load others first, for example 10x "
            hint += "files with scanpy.read_10x_h5"
        msg = f"there is no {name!r} in this file, which has {', '.join(map(repr, file)) or 'none'}"
        raise ValueError(msg + hint)
    return node


def read_frame(file: Any, name: str) -> pd.DataFrame:
    """Return the data frame called `name`."""
    import anndata as ad
    import h5py

    node = member(file, name)
    check_types(node)
    encoding = node.attrs.get("encoding-type")
    if not isinstance(node, h5py.Group) or encoding != "dataframe":
        what = "group" if isinstance(node, h5py.Group) else "dataset"
        msg = f"{name!r} is not a data frame of AnnData but a {what} with encoding {encoding!r}"
        raise ValueError(msg)
    check_claims(node)
    frame: pd.DataFrame = ad.io.read_elem(node)
    return frame


def noted_log1p(file: Any) -> dict[str, Any]:
    """Return the part of uns that holds the base of the logarithm, if scanpy recorded it."""
    import h5py

    node = file.get("uns/log1p/base")
    if not isinstance(node, h5py.Dataset) or node.shape != () or node.dtype.kind not in "iuf":
        return {}
    return {"log1p": {"base": node[()]}}


def encoding_of(node: Any) -> Any:
    """Return how a group stores its matrix, such as "csr_matrix", or None if it does not say."""
    encoding = node.attrs.get("encoding-type", node.attrs.get("h5sparse_format"))
    return encoding.decode() if isinstance(encoding, bytes) else encoding
