"""Files that appear when they are whole: tables, pages, screens."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of an empty file beside `path` to write, and rename it at the end.

    After an error or an interrupt nothing is left of it, and an older file stays as it was. The
    operating system gives it the permissions of any new file.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
