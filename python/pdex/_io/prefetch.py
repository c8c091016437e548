"""Read the next piece of a file while the caller works on the current one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

T = TypeVar("T")

#: Number of threads that read, and a function called with the bytes that a call has read so far.
How = tuple[int, Callable[[int], object] | None]

#: Seconds between two looks at whether a wait was interrupted.
_LOOK = 0.1


def result_of(future: Future[T], look: Callable[[], object] | None = None) -> T:
    """Return the result of a future; Ctrl-C, or an error that `look` raises, ends the wait.

    The handler that Polars sets for SIGINT lets the system resume a wait without a limit, so that
    Python learns of Ctrl-C only at its end (pola-rs/polars issue 21739).
    """
    # Python's own waits share a lock with whoever ends the future. An interrupt at the wrong moment
    # leaves it locked, and the other thread waits for ever; but nobody waits to release this one.
    ended = threading.Lock()
    ended.acquire()
    future.add_done_callback(lambda _: ended.release())
    while not ended.acquire(timeout=_LOOK):
        if look is not None:
            look()
    return future.result()


class Prefetch:
    """Runs an iterator one item ahead on its own thread, and stops it when the context ends.

    Parameters
    ----------
    how
        Threads and progress function for the reader. The function is called from the other thread.
    """

    def __init__(self, how: How) -> None:
        threads, self._progress = how
        self.how: How = (threads, self._watch)
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._reader: int | None = None

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        # An iterator that nobody holds any more may be collected, and so closed, on either thread.
        self._pool.shutdown(wait=threading.get_ident() != self._reader)

    def of(self, items: Iterator[T]) -> Iterator[T]:
        """Yield the items; each is read while the caller works on the one before it."""
        coming = self._pool.submit(self._next, items)
        while (item := result_of(coming)) is not None:
            coming = self._pool.submit(self._next, items)
            yield item[0]

    def _watch(self, done: int) -> None:
        """Report progress, or raise an error that cancels the read if the context has ended."""
        if self._stopped.is_set():
            raise InterruptedError
        if self._progress is not None:
            self._progress(done)

    def _next(self, items: Iterator[T]) -> tuple[T] | None:
        self._reader = threading.get_ident()
        for item in items:
            return (item,)
        return None
