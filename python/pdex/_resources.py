"""The number of threads of a call, and how its memory is divided."""

from __future__ import annotations

import os
from typing import NamedTuple, cast

import numpy as np

from pdex._validate import parse_size

#: The default limit, and the smallest limit with which a file can be read, in bytes.
_MEMORY, LEAST_MEMORY = 1_000_000_000, 100_000_000


class Resources(NamedTuple):
    """The threads of a call, and the bytes that it may use beyond its result.

    Three fifths of the bytes are for the pieces of a matrix in a file, one fifth is for numbers
    that wait to be written, and the rest is for the kernels: the entries of a block of genes, or
    the tables of all groups.
    """

    threads: int
    memory: int = _MEMORY

    @property
    def for_pieces(self) -> int:
        """Bytes of a matrix in a file that may be in memory at once."""
        return self.memory * 3 // 5

    @property
    def for_numbers(self) -> int:
        """Bytes of numbers that may wait in memory."""
        return self.memory // 5


def resources_of(threads: int | None, memory_limit: int | str | None = None) -> Resources:
    """Return the threads and the memory of a call; raise ValueError for invalid options."""
    return Resources(n_threads(threads), parse_memory_limit(memory_limit))


def n_threads(threads: int | None, name: str = "threads") -> int:
    """Return the requested number of threads, at most the cores that this process may use.

    None means all of these cores. `name` is the name of the option in errors.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = max(1, len(os.sched_getaffinity(0)))
    else:
        cores = os.cpu_count() or 1
    if threads is None:
        return cores
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        msg = f"{name} must be None (use all cores) or an integer >= 1; got {threads!r}"
        raise ValueError(msg)
    return min(int(threads), cores)


def parse_memory_limit(memory_limit: int | str | None) -> int:
    """Return the bytes that a call may use beyond its result; raise ValueError if too few."""
    limit: object = _MEMORY if memory_limit is None else memory_limit
    if isinstance(limit, str):
        limit = parse_size(limit)
    number = isinstance(limit, (int, np.integer)) and not isinstance(limit, bool)
    if not number or cast("int", limit) < LEAST_MEMORY:
        msg = (
            "memory_limit must be None (1 GB), a number of bytes or a size such as '2GB', and at "
            f"least {LEAST_MEMORY // 1_000_000} MB; got {memory_limit!r}"
        )
        raise ValueError(msg)
    return int(cast("int", limit))
