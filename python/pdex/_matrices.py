"""What the matrices of a screen are, from a sample of their values, for :func:`pdex.info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pdex import _pdex
from pdex._io import h5ad, memory
from pdex._io.dask import DaskMatrix, is_dask
from pdex._io.zarr import facts as zarr_facts
from pdex._resources import n_threads
from pdex._scale import Values

if TYPE_CHECKING:
    Facts = dict[str, Any]

#: Number of stored values to examine, as many as pdex.de uses to tell log1p values from counts.
_SAMPLE = 1 << 22


def places(file: Any) -> list[tuple[str, str]]:
    """Return the names of the matrices, as users know them, and their paths in the file."""
    found = [("X", "X")]
    if "layers" in file:
        found += [(f"layer {name}", f"layers/{name}") for name in file["layers"]]
    return [*found, ("raw", "raw/X")]


def of_node(node: Any) -> Facts:
    """Return the layout, shape and parts of a matrix in a file."""
    import h5py

    if isinstance(node, h5py.Dataset):
        return {"layout": "dense", "shape": node.shape, "parts": [node]}
    shape = node.attrs.get("shape", node.attrs.get("h5sparse_shape", ()))
    layout = str(h5ad.encoding_of(node) or "unknown").removesuffix("_matrix")
    parts = ("data", "indices", "indptr") if layout in ("csr", "csc") else ()
    return {"layout": layout, "shape": shape, "parts": [node[part] for part in parts]}


def of_array(x: Any) -> Facts:
    """Return the layout, shape and parts of a matrix of an AnnData object."""
    node = getattr(x, "group", x)
    if type(node).__module__.split(".")[0] == "zarr":
        return zarr_facts.of_node(node)
    if is_dask(x):
        return {"layout": "dask", "shape": x.shape, "parts": [], "dask": x}
    if hasattr(x, "group"):
        return of_node(x.group)
    layout = getattr(x, "format", None)
    if layout in ("csr", "csc"):
        return {"layout": layout, "shape": x.shape, "parts": [x.data, x.indices, x.indptr]}
    if isinstance(x, np.ndarray) or type(x).__module__.startswith("h5py"):
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
    stored = [int(part.id.get_storage_size()) for part in parts if hasattr(part, "id")]
    filters, n_bytes = _filters(data) if stored else [], sum(stored) if stored else None
    return {
        "name": name,
        "shape": [int(n) for n in shape],
        "layout": layout,
        "dtype": str(data.dtype),
        "stored": int(data.size),
        "filters": found.get("filters", filters),
        "bytes": found.get("bytes", n_bytes),
        "memory": sum(int(part.size) * int(part.dtype.itemsize) for part in parts),
        "values": _values(data, name, log_base, zeros=int(data.size) < cells),
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


def _filters(dataset: Any) -> list[str]:
    """Return the names of the filters that were applied to a dataset's chunks."""
    known = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 32000: "lzf", 32001: "blosc"}
    known |= {32004: "lz4", 32015: "zstd", 32026: "blosc2"}
    plist = dataset.id.get_create_plist()
    numbers = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    return [known.get(number, f"filter {number}") for number in numbers]


def _values(data: Any, name: str, log_base: float | None, *, zeros: bool) -> Facts | None:
    """Return the facts about the first values; None if there are no finite real numbers.

    `zeros` is True if the matrix also has zeros that are not stored.
    """
    if not data.size or data.dtype.kind not in "biuf" or data.dtype.itemsize > 8:
        return None
    width = data.shape[1] if data.ndim == 2 else 1
    sample = np.asarray(data[: 1 + _SAMPLE // max(1, width)]).reshape(-1)
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
