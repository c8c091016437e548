"""A progress bar for work that turns out to take longer than a second."""

from __future__ import annotations

import sys
import time
from typing import Any


class Progress:
    """Counts genes; draws nothing before a second is over.

    Parameters
    ----------
    total
        The number of genes.
    show
        True, False, or None: only where stderr is a terminal.
    """

    def __init__(self, total: int, show: bool | None) -> None:
        self._total = total
        self._show = sys.stderr.isatty() if show is None else show
        self._start = time.monotonic()
        self._bar: Any = None

    def __call__(self, done: int) -> None:
        """Draw the number of genes done."""
        if not self._show or time.monotonic() - self._start < 1:
            return
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._total, unit=" genes", desc="pdex")
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Finish the bar where there is one."""
        if self._bar is not None:
            self._bar.close()
