"""Files that appear only when they are complete: tables, pages, screens."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pdex._places import Remote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pdex._places import Place


@contextmanager
def naming(path: Place) -> Iterator[None]:
    """Make errors of writing OSErrors that name the path."""
    try:
        yield
    except OSError as error:
        if str(path) in str(error):
            raise
        reason = error.strerror or str(error)
        raise type(error)(error.errno, reason, str(path)) from error


@contextmanager
def replacing(path: Place) -> Iterator[Path]:
    """Yield the path of an empty temporary file beside `path`, and rename it to `path` at the end.

    For a file in object storage, it is in the system's folder of temporary files, and uploaded.

    After an error or an interrupt, the temporary file is removed and an older file is unchanged.
    The operating system gives the file the permissions of any new file.
    """
    if isinstance(path, Remote):
        with tempfile.TemporaryDirectory() as folder:
            held = Path(folder) / path.name
            held.touch()
            yield held
            path.upload(held)
        return
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
