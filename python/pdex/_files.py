"""Files that appear only when they are complete: tables, pages, screens."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of an empty temporary file beside `path`, and rename it to `path` at the end.

    After an error or an interrupt, the temporary file is removed and an older file is unchanged.
    The operating system gives the file the permissions of any new file.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def replace_folder(new: Path, folder: Path) -> None:
    """Give a folder its name; an older one of that name stays until then, and goes."""
    old = new.with_name(f"{new.name}.old")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
