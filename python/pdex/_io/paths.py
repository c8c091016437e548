"""What the argument `data` names: one source or many."""

from __future__ import annotations

import glob
import os
from typing import Any


def members_of(data: Any) -> list[Any]:
    """Return the sources that `data` names: itself, those of a list, or those of a pattern.

    A pattern, such as ``plates/*.h5ad`` or ``plates/**/*.h5ad``, stands for the paths that match,
    sorted as text; a path that exists is not a pattern.

    Raises
    ------
    ValueError
        An empty list, or one that names a file twice.
    FileNotFoundError
        A pattern that nothing matches.
    """
    if not isinstance(data, (list, tuple)):
        return _matching(data)
    if not data:
        msg = f"data={data!r}: name at least one source"
        raise ValueError(msg)
    found = [one for some in data for one in _matching(some)]
    seen: set[str] = set()
    for one in found:
        if isinstance(one, (str, os.PathLike)):
            path = os.path.realpath(os.path.expanduser(one))
            if path in seen:
                msg = f"data names {os.fspath(one)!r} twice: its cells would count twice"
                raise ValueError(msg)
            seen.add(path)
    return found


def _matching(data: Any) -> list[Any]:
    """Return the paths that match, if `data` is a pattern, else `data`."""
    if not isinstance(data, (str, os.PathLike)):
        return [data]
    text = os.path.expanduser(os.fspath(data))
    if "://" in text or not glob.has_magic(text) or os.path.lexists(text):
        return [data]
    found = sorted(glob.glob(text, recursive=True))
    if not found:
        msg = f"{os.fspath(data)!r} matches no file"
        raise FileNotFoundError(msg)
    return found


def path_of(data: str | os.PathLike[str]) -> str:
    """Return the absolute path of a file; raise ValueError for a URL."""
    text = os.fspath(data)
    if "://" in text:
        msg = f"{text!r} is a URL: download the file first, and give its path"
        raise ValueError(msg)
    return os.path.abspath(os.path.expanduser(text))


def is_path(data: object) -> bool:
    """Return whether `data` is a path, of a file or a folder."""
    return isinstance(data, (str, os.PathLike)) and "://" not in os.fspath(data)
