"""A progress bar for work that turns out to take longer than a second."""

from __future__ import annotations

import builtins
import sys
import time
from typing import Any


class Progress:
    """Counts genes tested, and tells of bytes read; draws nothing before a second is over.

    Parameters
    ----------
    total
        The number of genes.
    show
        True, False, or None: only where stderr is a terminal, or in a notebook.
    """

    def __init__(self, total: int, show: bool | None) -> None:
        self._total = total
        self._show = sys.stderr.isatty() or _in_notebook() if show is None else show
        self._start = time.monotonic()
        self._bar: Any = None
        #: Those that are done, in whole pieces.
        self.genes: int = 0
        self._read = self._before = 0

    def __call__(self, done: int) -> None:
        """Draw the number of genes done."""
        if self._ready():
            self._bar.update(done - self._bar.n)

    def advance(self, genes: int) -> None:
        """Count a piece of so many genes as done."""
        self.genes += genes
        self(self.genes)

    def read(self, done: int) -> None:
        """Draw the bytes of the file read so far by one reader, and by those before it."""
        if done < self._read:
            self._before += self._read
        self._read = done
        if self._ready():
            size = f"read {(self._before + done) / 1e9:.2f} GB"
            self._bar.set_postfix_str(size, refresh=False)
            self._bar.refresh()

    def close(self) -> None:
        """Finish the bar where there is one."""
        if self._bar is not None:
            self._bar.close()

    def _ready(self) -> bool:
        if not self._show or time.monotonic() - self._start < 1:
            return False
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._total, unit=" genes", desc="pdex")
        return True


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this; its stderr is not a terminal."""
    return hasattr(builtins, "__IPYTHON__") and "ipykernel" in sys.modules
