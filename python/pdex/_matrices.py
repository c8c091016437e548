"""What the matrices of a screen are, from a sample of their values, for :func:`pdex.info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pdex import _pdex
from pdex._io import h5, memory
from pdex._io.dask import DaskMatrix, is_dask
from pdex._io.zarr import facts as zarr_facts
from pdex._resources import n_threads
from pdex._scale import Values

if TYPE_CHECKING:
    from pdex._io import h5ad
    from pdex._io.zarr import stores

    Facts = dict[str, Any]

#: Number of stored values to examine, as many as pdex.de uses to tell log1p values from counts.
_SAMPLE = 1 << 22


def places(root: h5ad.Root | stores.Root) -> list[tuple[str, str]]:
    """Return the names of the matrices, as users know them, and their places in the file."""
    found = [("X", "X")] if "X" in root.members("") else []
    found += [(f"layer {name}", f"layers/{name}") for name in root.members("layers")]
    raw = root.raw()
    return found if raw is None else [*found, ("raw", raw[0])]


def of_node(node: Any, path: str) -> Facts:
    """Return the layout, shape and parts of a matrix in a file or store."""
    if type(node).__module__.split(".")[0] == "zarr":
        return zarr_facts.of_node(node)
    if not hasattr(node, "get"):
        return {"layout": "dense", "shape": node.shape, "parts": [h5.Dataset(node, path)]}
    attributes = node.attrs
    shape = attributes.get("shape", attributes.get("h5sparse_shape", ()))
    layout = str(h5.encoding_of(attributes) or "unknown").removesuffix("_matrix")
    names = ("data", "indices", "indptr") if layout in ("csr", "csc") else ()
    parts = [h5.Dataset(node.get(name), path) for name in names]
    return {"layout": layout, "shape": shape, "parts": parts}


def of_array(x: Any) -> Facts:
    """Return the layout, shape and parts of a matrix of an AnnData object."""
    node = getattr(x, "group", x)
    module = type(node).__module__.split(".")[0]
    if module == "zarr":
        return of_node(node, "")
    if is_dask(x):
        return {"layout": "dask", "shape": x.shape, "parts": [], "dask": x}
    if module == "h5py":
        return of_node(h5.of_h5py(node), str(node.file.filename))
    layout = getattr(x, "format", None)
    if layout in ("csr", "csc"):
        return {"layout": layout, "shape": x.shape, "parts": [x.data, x.indices, x.indptr]}
    if isinstance(x, np.ndarray):
        return {"layout": "dense", "shape": x.shape, "parts": [x]}
    return {"layout": type(x).__qualname__, "shape": x.shape, "parts": []}


def facts_of(name: str, found: Facts, log_base: float | None) -> Facts:
    """Return the facts about a matrix that :class:`Info` lists."""
    layout, shape, parts = found["layout"], found["shape"], found["parts"]
    if "dask" in found:
        return _dask(name, found["dask"], log_base)
    if not parts:
        return {"name": name, "layout": layout, "values": None}
    data, cells = parts[0], int(np.prod([int(n) for n in shape], dtype=object))
    stored = [part.node.stored for part in parts if isinstance(part, h5.Dataset)]
    filters, n_bytes = _filters(data) if stored else [], sum(stored) if stored else None
    size = _size(data)
    return {
        "name": name,
        "shape": [int(n) for n in shape],
        "layout": layout,
        "dtype": str(data.dtype),
        "stored": size,
        "filters": found.get("filters", filters),
        "bytes": found.get("bytes", n_bytes),
        "memory": sum(_size(part) * int(part.dtype.itemsize) for part in parts),
        "values": _values(data, name, log_base, zeros=size < cells),
    }


def _dask(name: str, array: Any, log_base: float | None) -> Facts:
    """Return the facts about a Dask array, of which some chunks are computed."""
    x, how = DaskMatrix(array, name), (n_threads(None), None)
    cells, stored = x.shape[0] * x.shape[1], x.n_stored(how)
    return {
        "name": name,
        "shape": list(x.shape),
        "layout": x.layout,
        "dtype": str(x.dtype),
        "stored": stored,
        "filters": [],
        "bytes": None,
        "memory": x.n_bytes(how),
        "values": _values(x.head(how[0]).values, name, log_base, zeros=stored < cells),
    }


def _size(array: Any) -> int:
    """Return the number of stored values."""
    return int(np.prod([int(n) for n in array.shape or ()], dtype=object))


def _filters(data: h5.Dataset) -> list[str]:
    """Return the names of the filters that were applied to a dataset's chunks."""
    known = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 32000: "lzf", 32001: "blosc"}
    known |= {32004: "lz4", 32015: "zstd", 32026: "blosc2"}
    return [known.get(number, f"filter {number}") for number, _ in data.node.filters]


def _values(data: Any, name: str, log_base: float | None, *, zeros: bool) -> Facts | None:
    """Return the facts about the first values; None if there are no finite real numbers.

    `zeros` is True if the matrix also has zeros that are not stored.
    """
    if not _size(data) or data.dtype.kind not in "biuf" or data.dtype.itemsize > 8:
        return None
    height, width = (*data.shape, 1)[:2]
    rows = min(height, 1 + _SAMPLE // max(1, width))
    if isinstance(data, h5.Dataset):
        sample = data.reader((n_threads(None), None)).read((0, rows), (0, width))
    else:
        sample = np.asarray(data[:rows]).reshape(-1)
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return None
    seen = Values(*_pdex.survey(memory.dense(finite.reshape(1, -1), name), n_threads(None)))
    return {
        "kind": seen.kind(log_base),
        "least": seen.least if zeros else float(finite.min()),
        "most": seen.most if zeros else float(finite.max()),
        "seen": int(sample.size),
        "not_finite": int(sample.size - finite.size),
    }
