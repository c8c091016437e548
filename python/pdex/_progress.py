"""A progress bar that appears if the work takes longer than a second."""

from __future__ import annotations

import builtins
import sys
import time
from typing import Any


class Progress:
    """Shows the genes tested and the bytes read; draws nothing within the first second.

    Parameters
    ----------
    total
        The number of genes to test.
    show
        True, False, or None: only if stderr is a terminal, or in a notebook.
    """

    def __init__(self, total: int, show: bool | None) -> None:
        self._total = total
        self._show = sys.stderr.isatty() or _in_notebook() if show is None else show
        self._start = time.monotonic()
        self._bar: Any = None
        #: Number of genes in the pieces that are done.
        self.genes: int = 0
        self._read = self._before = 0

    def __call__(self, done: int) -> None:
        """Draw the number of genes done."""
        if self._ready():
            self._bar.update(done - self._bar.n)

    def advance(self, genes: int) -> None:
        """Count a piece of `genes` genes as done."""
        self.genes += genes
        self(self.genes)

    def read(self, done: int) -> None:
        """Draw the bytes read so far by the current reader and by those before it."""
        if done < self._read:
            self._before += self._read
        self._read = done
        if self._ready():
            size = f"read {(self._before + done) / 1e9:.2f} GB"
            self._bar.set_postfix_str(size, refresh=False)
            self._bar.refresh()

    def close(self) -> None:
        """Finish the bar, if there is one."""
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
    """Return whether the process is a Jupyter kernel, whose stderr is not a terminal."""
    return hasattr(builtins, "__IPYTHON__") and "ipykernel" in sys.modules
