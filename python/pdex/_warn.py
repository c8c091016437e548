"""Warnings that point at the user's line of code."""

from __future__ import annotations

import contextlib
import inspect
import os
import warnings

from pdex.exceptions import PdexWarning

#: Code that is not the user's: this package, and contextlib, which runs its context managers.
_OURS = (os.path.dirname(os.path.abspath(__file__)) + os.sep, os.path.abspath(contextlib.__file__))


def warn(message: str) -> None:
    """Issue a :class:`pdex.exceptions.PdexWarning` at the first line outside the package."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and os.path.abspath(frame.f_code.co_filename).startswith(_OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, PdexWarning, stacklevel=level)
