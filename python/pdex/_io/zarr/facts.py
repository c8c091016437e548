"""What a Zarr store holds, for :func:`pdex.info`; no values are read."""

from __future__ import annotations

import os
from typing import Any

from pdex._io.zarr.stores import name_of, whole_stamp


def of_node(node: Any) -> dict[str, Any]:
    """Return the layout, shape, parts, codecs and stored bytes of a matrix.

    The bytes are None if the store is not in a folder: elsewhere, listing it takes long.
    """
    if hasattr(node, "chunks"):
        layout, shape, parts = "dense", node.shape, [node]
    else:
        shape = node.attrs.get("shape", ())
        layout = str(node.attrs.get("encoding-type", "unknown")).removesuffix("_matrix")
        names = ("data", "indices", "indptr") if layout in ("csr", "csc") else ()
        parts = [node[name] for name in names]
    stamp = whole_stamp(name_of(node)) if os.path.isdir(name_of(node)) else None
    return {
        "layout": layout,
        "shape": shape,
        "parts": parts,
        "filters": codecs_of(parts[0]) if parts else [],
        "bytes": None if stamp is None else stamp.bytes,
    }


def codecs_of(array: Any) -> list[str]:
    """Return the names of what was applied to an array's chunks, such as ``["zstd"]``."""
    made = [_name(codec) for codec in (*array.filters, *array.compressors)]
    return ["sharding", *made] if array.shards is not None else made


def _name(codec: Any) -> str:
    """Return the name of a codec of version 2 (of numcodecs) or 3."""
    name = getattr(codec, "codec_id", None)
    if name is None:
        name = codec.to_dict().get("name", type(codec).__name__)
    return str(name).removeprefix("numcodecs.")
