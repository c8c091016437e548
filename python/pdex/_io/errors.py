"""Errors that name the file they are about."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pdex.exceptions import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Errors that keep their class; all others become ValueError.
_KINDS: tuple[type[Exception], ...] = (NotFoundError, KeyError, OSError, TypeError, MemoryError)


@contextmanager
def error_context(path: str | None) -> Iterator[None]:
    """Make every error name the file; leave errors unchanged if `path` is None."""
    try:
        yield
    except Exception as error:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        text = "; ".join([text or type(error).__name__, *getattr(error, "__notes__", ())])
        if path is None or path in text:
            raise
        named = _kind_of(error)(f"{path}: {text}")
        # Show one error, with the traceback of the original, instead of two.
        raise named.with_traceback(error.__traceback__) from None


def _kind_of(error: Exception) -> type[Exception]:
    """Return the class of the error that names the file; it must accept a message alone."""
    if isinstance(error, OSError) and type(error).__module__ == "builtins":
        return type(error)
    return next((kind for kind in _KINDS if isinstance(error, kind)), ValueError)
