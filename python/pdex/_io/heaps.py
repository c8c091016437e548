"""Check the text heaps of an HDF5 file before libhdf5 reads them: on some broken ones it hangs.

A *global heap collection* holds text of variable length: attributes, names, categories. libhdf5 2.0
decodes a collection object by object. If an object takes no bytes, decoding never ends, and no
signal stops it. Zeros in a half-copied file look like such objects.

| bytes | of the collection | | bytes | of each object, from byte 16 on |
|---|---|---|---|---|
| 0-3 | ``GCOL`` | | 0-1 | index; 0 means free space |
| 4 | version, 1 | | 8-15 | size: of the whole object if it is free space, else of the text |
| 8-15 | size | | 16- | the text, padded to a multiple of 8 bytes |

(HDF5 file format specification 3.0, section III.E.) The bytes between the large datasets are
searched for broken collections. One is an error only if its address occurs in these bytes, too: a
collection that nothing refers to may be left over from a deleted object.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    Extents = list[tuple[int, int]]

#: First bytes of every collection.
_MARK = b"GCOL\x01\x00\x00\x00"
_HEADER = 16
#: Number of bytes searched at a time.
_WINDOW = 1 << 24
#: The search skips datasets of at least this many bytes.
_LARGE = 1 << 22
#: More objects than one collection can have, because their indices have 16 bits.
_MOST_OBJECTS = 70_000
#: Depth to which groups are searched for large datasets; no matrix lies deeper.
_DEPTH = 4


def check_heaps(file: Any) -> None:
    """Raise OSError if libhdf5 would never return from reading a text heap of the file.

    `file` is an h5py.File whose attributes have not been read yet.
    """
    if file.userblock_size or file.id.get_create_plist().get_sizes() != (8, 8):
        return
    extents = sorted(_large(file.id, _DEPTH))
    with open(file.filename, "rb") as raw:
        gaps = _gaps(extents, os.fstat(raw.fileno()).st_size)
        for place in (place for window in _windows(raw, gaps) for place in _endless(*window)):
            address = place.to_bytes(8, "little")
            if any(address in content for _, content in _windows(raw, gaps)):
                msg = (
                    f"{file.filename}: the heap of text at byte {place:,} is broken: an object in "
                    "it takes no bytes; was the file copied completely?"
                )
                raise OSError(msg)


def _large(group: Any, depth: int) -> Iterator[tuple[int, int]]:
    """Yield the first byte and size of each stored part of large datasets that can be read."""
    from h5py import h5d, h5g, h5o

    for name in group if depth else ():
        # Anything broken here raises an error later, when it is read.
        with contextlib.suppress(OSError, RuntimeError, KeyError, ValueError, TypeError):
            if group.links.get_info(name).type != 0:  # a soft or external link
                continue
            node = h5o.open(group, name)
            if isinstance(node, h5g.GroupID):
                yield from _large(node, depth - 1)
            elif isinstance(node, h5d.DatasetID) and node.get_storage_size() >= _LARGE:
                yield from _stored(node)


def _stored(dataset: Any) -> Extents:
    from h5py import h5d

    if dataset.get_create_plist().get_layout() != h5d.CHUNKED:
        offset = dataset.get_offset()
        return [] if offset is None else [(offset, dataset.get_storage_size())]
    found: Extents = []
    dataset.chunk_iter(lambda info: found.append((info.byte_offset, info.size)))
    return found


def _gaps(extents: Extents, length: int) -> Extents:
    """Return the start and end of each gap between the extents."""
    gaps, done = [], 0
    for start, size in extents:
        if start > done:
            gaps.append((done, min(start, length)))
        done = max(done, start + size)
    return [*gaps, (done, length)] if done < length else gaps


def _windows(raw: BinaryIO, gaps: Extents) -> Iterator[tuple[int, bytes]]:
    """Yield the position and content of windows of the gaps.

    A collection lies within one window, unless it is huge.
    """
    for start, end in gaps:
        while start < end:
            raw.seek(start)
            content = raw.read(min(_WINDOW, end - start))
            if not content:
                break
            yield start, content
            step = len(content)
            if start + step < end:
                # The last collection may continue in the next window, so that starts with it.
                last = content.rfind(_MARK, step // 2)
                step = last if last > 0 else step - len(_MARK)
            start += max(step, 1)


def _endless(place: int, content: bytes) -> list[int]:
    """Return the positions of collections with an object that takes no bytes."""
    starts, at = [], content.find(_MARK)
    while at >= 0:
        starts.append(at)
        at = content.find(_MARK, at + 1)
    first = np.array(starts, dtype=np.int64)
    first = first[first + 2 * _HEADER <= len(content)]
    # The 8-byte number that starts at each byte.
    number_at = np.ndarray(max(0, len(content) - 7), "<u8", content, strides=(1,))
    size = np.minimum(number_at[first + 8], len(content)).astype(np.int64)
    end = np.minimum(first + size, len(content))
    now, found = first + _HEADER, np.zeros(len(first), dtype=bool)
    for _ in range(_MOST_OBJECTS):
        inside = np.flatnonzero(~found & (now + _HEADER <= end))
        if not len(inside):
            break
        objects = now[inside]
        number, text = number_at[objects] & np.uint64(0xFFFF), number_at[objects + 8]
        # Like libhdf5, without a check for overflow of 64 bits.
        padded = (text + np.uint64(7)) & ~np.uint64(7)
        takes = np.where(number > 0, padded + np.uint64(_HEADER), text)
        found[inside] = (takes == 0) | (takes >= 1 << 63)
        now[inside] += np.minimum(takes, len(content)).astype(np.int64)
    return [place + int(start) for start in first[found]]
