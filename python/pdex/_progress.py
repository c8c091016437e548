"""A progress bar that appears if the work takes longer than a second."""

from __future__ import annotations

import builtins
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Progress:
    """Shows the genes tested, the file being read and the bytes read; nothing in the first second.

    Parameters
    ----------
    total
        The number of genes to test.
    show
        True, False, or None: only if stderr is a terminal, or in a notebook.
    reading
        Returns which of many files is being read; empty if there is one, or none is.
    unit
        What is counted in place of genes.
    """

    def __init__(
        self,
        total: int,
        show: bool | None,
        reading: Callable[[], str] = str,
        unit: str = "genes",
    ) -> None:
        self._total, self._reading, self._unit = total, reading, unit
        self._show = sys.stderr.isatty() or _in_notebook() if show is None else show
        self._start = time.monotonic()
        self._bar: Any = None
        #: Number of genes in the pieces that are done.
        self.genes: int = 0
        self._read = self._before = 0

    def __call__(self, done: int) -> None:
        """Draw the number of genes done."""
        if self._ready():
            self._note()
            self._bar.update(done - self._bar.n)

    def expect(self, more: int) -> None:
        """Add to the number of all, where it is not known from the start."""
        self._total += more
        if self._bar is not None:
            self._bar.total = self._total

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
            self._note()
            self._bar.refresh()

    def close(self) -> None:
        """Finish the bar, if there is one."""
        if self._bar is not None:
            self._note()
            self._bar.close()

    def _note(self) -> None:
        """Say behind the numbers of genes which file is being read, and how much of all was."""
        n_bytes = self._before + self._read
        size = f"read {n_bytes / 1e9:.2f} GB" if n_bytes else ""
        text = ", ".join(filter(None, [self._reading(), size]))
        self._bar.set_postfix_str(text, refresh=False)

    def _ready(self) -> bool:
        if not self._show or time.monotonic() - self._start < 1:
            return False
        if self._bar is None:
            # Without smoothing, the rate is that of all since the start, so of this second, too.
            self._bar = _bars()(total=self._total, unit=f" {self._unit}", desc="pdex", smoothing=0)
            # TQDM_DISABLE makes a bar that does nothing, and has no time.
            if not self._bar.disable:
                self._bar.start_t -= time.monotonic() - self._start
        return True


def _bars() -> Callable[..., Any]:
    """Return the bars that fit: a widget in notebooks that have ipywidgets, else text."""
    with warnings.catch_warnings():
        # Text does as well, so nobody needs to be told to install ipywidgets.
        warnings.filterwarnings("ignore", "IProgress not found")
        from tqdm.auto import tqdm
    bars: Callable[..., Any] = tqdm
    return bars


def _in_notebook() -> bool:
    """Return whether the process is a Jupyter kernel, whose stderr is not a terminal."""
    return hasattr(builtins, "__IPYTHON__") and "ipykernel" in sys.modules
