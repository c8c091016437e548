"""Refuse chunks that were cut off where the codec itself does not: Blosc, the default of version 2.

Blosc is told where a chunk starts but not where it ends. Of a chunk whose end is missing, as after
a copy that broke off, it decodes whatever lies behind it in memory, and returns wrong numbers. The
header of a chunk holds its length, which is compared here. zstd and gzip find out by themselves,
and a shard has an index of its chunks.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

#: Length of the header of a Blosc chunk, whose last four bytes are the length of the chunk.
_HEADER = 16


def checked(array: Any) -> Any:
    """Return the same ``zarr.Array``, which compares the lengths of its Blosc chunks."""
    metadata = copy.copy(array.metadata)
    if metadata.zarr_format == 2:
        compressor = metadata.compressor
        if type(compressor).__name__ != "Blosc":
            return array
        made = _of_numcodecs(compressor)
        object.__setattr__(metadata, "compressor", made)
    else:
        codecs = tuple(_of_version_3(codec) for codec in metadata.codecs)
        if all(a is b for a, b in zip(codecs, metadata.codecs, strict=True)):
            return array
        object.__setattr__(metadata, "codecs", codecs)
    # Until zarr-python 3.1.4, neither it nor its settings have a public name.
    inner = array._async_array
    return type(array)(type(inner)(metadata, inner.store_path, inner._config))


def _of_version_3(codec: Any) -> Any:
    """Return a codec that checks lengths, if it is Blosc."""
    if type(codec).__name__ != "BloscCodec":
        return codec
    made = copy.copy(codec)
    object.__setattr__(made, "__dict__", dict(codec.__dict__))
    plain = codec._blosc_codec
    # A cached property, which is looked up here first.
    made.__dict__["_blosc_codec"] = _of_numcodecs(plain)
    return made


def _of_numcodecs(plain: Any) -> Any:
    """Return a codec with the same settings that checks the length of a chunk."""
    settings = {name: value for name, value in plain.get_config().items() if name != "id"}
    return _class()(**settings)


@cache
def _class() -> Any:
    """Return the class of Blosc codecs that check the length of a chunk."""
    from numcodecs import Blosc

    class CheckedBlosc(Blosc):  # type: ignore[misc]
        def decode(self, buf: Any, out: Any = None) -> Any:
            length = memoryview(buf).nbytes
            header = bytes(memoryview(buf).cast("B")[:_HEADER])
            claimed = int.from_bytes(header[-4:], "little")
            if length < max(_HEADER, claimed):
                msg = f"a chunk is truncated: {length:,} of its {claimed:,} bytes are there"
                raise ValueError(msg)
            return super().decode(buf, out)

    return CheckedBlosc
