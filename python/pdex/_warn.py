"""Warnings that point at the user's line of code."""

from __future__ import annotations

import contextlib
import inspect
import os
import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING

from pdex.exceptions import PdexWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Code that is not the user's: this package, and contextlib, which runs its context managers.
_OURS = (os.path.dirname(os.path.abspath(__file__)) + os.sep, os.path.abspath(contextlib.__file__))


#: Whether warnings are issued elsewhere.
_QUIET: ContextVar[bool] = ContextVar("_QUIET", default=False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Issue no warnings of the package in this thread."""
    token = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(token)


def warn(message: str) -> None:
    """Issue a :class:`pdex.exceptions.PdexWarning` at the first line outside the package."""
    if _QUIET.get():
        return
    level, frame = 1, inspect.currentframe()
    while frame is not None and os.path.abspath(frame.f_code.co_filename).startswith(_OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, PdexWarning, stacklevel=level)
