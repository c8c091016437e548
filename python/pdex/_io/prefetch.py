"""The next piece of a file is read while the present one is worked on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

#: How many threads read, and what is called with the bytes that a call has read so far.
How = tuple[int, Callable[[int], object] | None]


class Prefetch:
    """Runs an iterator one item ahead, on a thread of its own, and stops it when it is left.

    Parameters
    ----------
    how
        As the reader takes it: its progress is called from the other thread.
    """

    def __init__(self, how: How) -> None:
        threads, self._progress = how
        self.how: How = (threads, self._watch)
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown()

    def of(self, items: Iterator[T]) -> Iterator[T]:
        """Yield the items, each read while the one before is worked on."""
        coming = self._pool.submit(_next, items)
        while (item := coming.result()) is not None:
            coming = self._pool.submit(_next, items)
            yield item[0]

    def _watch(self, done: int) -> None:
        """Stop a read that nobody waits for: what is raised here cancels it."""
        if self._stopped.is_set():
            raise InterruptedError
        if self._progress is not None:
            self._progress(done)


def _next(items: Iterator[T]) -> tuple[T] | None:
    for item in items:
        return (item,)
    return None
