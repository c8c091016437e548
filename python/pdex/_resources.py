"""How many threads a call takes, and how its memory is shared out."""

from __future__ import annotations

import os
from typing import NamedTuple, cast

import numpy as np

from pdex._validate import bytes_of

#: The limit where none is given, and the least that reading a file takes, in bytes.
_MEMORY, _LEAST_MEMORY = 1_000_000_000, 100_000_000


class Resources(NamedTuple):
    """The threads of a call, and the bytes that it may take beyond its result.

    Three fifths are for the pieces of a file's matrix, one for numbers that wait to be written; the
    rest is for the kernels: the entries of a block of genes, or the tables of all groups.
    """

    threads: int
    memory: int = _MEMORY

    @property
    def for_pieces(self) -> int:
        """Bytes of a file's matrix that may be in memory at once."""
        return self.memory * 3 // 5

    @property
    def for_numbers(self) -> int:
        """Bytes of numbers that may wait in memory."""
        return self.memory // 5


def resources_of(threads: int | None, memory_limit: int | str | None = None) -> Resources:
    """Return what a call may take; ValueError for options that say nothing of use."""
    return Resources(n_threads(threads), limit_of(memory_limit))


def n_threads(threads: int | None, name: str = "threads") -> int:
    """Return the number of threads asked for, at most the cores that this process may use.

    All of those where None; `name` is the option's name in errors.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = max(1, len(os.sched_getaffinity(0)))
    else:
        cores = os.cpu_count() or 1
    if threads is None:
        return cores
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        msg = f"{name}={threads!r}: expected None (all cores) or an integer of at least 1"
        raise ValueError(msg)
    return min(int(threads), cores)


def limit_of(memory_limit: int | str | None) -> int:
    """Return the bytes that work may take beyond its result; ValueError for no limit that works."""
    limit: object = _MEMORY if memory_limit is None else memory_limit
    if isinstance(limit, str):
        limit = bytes_of(limit)
    number = isinstance(limit, (int, np.integer)) and not isinstance(limit, bool)
    if not number or cast("int", limit) < _LEAST_MEMORY:
        msg = (
            f"memory_limit={memory_limit!r}: expected None (1 GB), an integer number of bytes or a "
            f"size such as '2GB', at least {_LEAST_MEMORY // 1_000_000} MB"
        )
        raise ValueError(msg)
    return int(cast("int", limit))
