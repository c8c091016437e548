"""Files and folders on disk and in object storage, by one set of methods: those of pathlib.Path."""

from __future__ import annotations

import importlib.util
import io
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit
from urllib.request import url2pathname

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The packages with which fsspec opens a URL, by its scheme.
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_PACKAGES |= {"az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}


class Remote:
    """A file or folder in object storage, with the methods of :class:`pathlib.Path` used here.

    Object storage has no folders: a folder is what the names of its files begin with. A file
    appears when it is whole.

    Parameters
    ----------
    url
        Its URL, such as ``s3://bucket/screen.tables``.

    Raises
    ------
    ImportError
        A package that opens such a URL is not installed.
    """

    def __init__(self, url: str) -> None:
        if "?" in url:
            msg = f"{url}: a URL of a file or folder has no '?'"
            raise ValueError(msg)
        self.url = url.rstrip("/")
        self._fs = _file_system(url)

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"Remote({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __truediv__(self, name: str) -> Remote:
        return Remote(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> Remote:
        """The folder."""
        return Remote(self.url.rpartition("/")[0])

    @property
    def suffix(self) -> str:
        """The extension, with its dot."""
        return PurePosixPath(self.name).suffix

    def with_name(self, name: str) -> Remote:
        """Return a place of another name in the same folder."""
        return self.parent / name

    def is_file(self) -> bool:
        """Return whether there is such a file."""
        with self._errors():
            return bool(self._fs.isfile(self.url))

    def is_dir(self) -> bool:
        """Return True: any folder can get files."""
        return True

    def exists(self) -> bool:
        """Return whether there is such a file, or a file in such a folder."""
        return bool(self._files())

    def mkdir(self, **_: bool) -> None:
        """Do nothing: folders need not be made."""

    def iterdir(self) -> Iterator[Remote]:
        """Yield the files and folders in a folder."""
        for path, _ in self._entries(self.url):
            yield self / path.rpartition("/")[2]

    def size(self) -> int:
        """Return the number of bytes of a file."""
        with self._errors():
            return int(self._fs.info(self.url)["size"])

    def read_bytes(self) -> bytes:
        """Return the bytes of a file."""
        with self._errors():
            return bytes(self._fs.cat_file(self.url))

    def read_range(self, start: int, stop: int) -> bytes:
        """Return the bytes of a file from `start` to before `stop`, or to its end."""
        with self._errors():
            return bytes(self._fs.cat_file(self.url, start=start, end=stop))

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the text of a file."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, data: bytes) -> None:
        """Write a file."""
        with self._errors():
            self._fs.pipe_file(self.url, data)

    def write_text(self, text: str, encoding: str = "utf-8") -> None:
        """Write a file of text."""
        self.write_bytes(text.encode(encoding))

    def upload(self, path: Path) -> None:
        """Write a file with the bytes of one on disk."""
        with self._errors():
            self._fs.put_file(str(path), self.url)

    def copy_to(self, other: Remote) -> None:
        """Copy a file, within the storage."""
        with self._errors():
            self._fs.cp_file(self.url, other.url)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete a file."""
        try:
            with self._errors():
                self._fs.rm_file(self.url)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove(self) -> None:
        """Delete a folder."""
        if files := self._files():
            with self._errors():
                self._fs.rm(files)

    def _files(self) -> list[str]:
        """Return the names of all files below a folder; of a file, its own."""
        found: list[str] = []
        folders = [self.url]
        while folders:
            for path, is_folder in self._entries(folders.pop()):
                (folders if is_folder else found).append(path)
        return found

    def _entries(self, folder: str) -> list[tuple[str, bool]]:
        """Return the names in a folder, and whether they are folders."""
        try:
            with self._errors():
                found = self._fs.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        own = folder.partition("://")[2].rstrip("/")
        each = [(entry["name"].rstrip("/"), entry["type"] == "directory") for entry in found]
        # Some servers name the folder itself, too.
        return [(name, is_folder) for name, is_folder in each if not is_folder or name != own]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Make all errors of the client OSErrors that name the URL."""
        try:
            yield
        except Exception as error:
            kind = type(error) if type(error).__module__ == "builtins" else OSError
            if not issubclass(kind, OSError):
                kind = OSError
            msg = f"{self.url}: {error or type(error).__name__}"
            raise kind(msg) from error


Place: TypeAlias = Path | Remote


def place_of(path: str | os.PathLike[str] | Remote, *, follow: bool = False) -> Place:
    """Return an absolute path, or a URL, as a place; if `follow`, what a symbolic link names."""
    if isinstance(path, Remote):
        return path
    text = os.fspath(path)
    if text.startswith("file://"):
        split = urlsplit(text)
        if split.netloc not in ("", "localhost") or split.query or split.fragment:
            msg = f"{text}: expected the URL of a file on this machine, such as file:///data/x"
            raise ValueError(msg)
        text = url2pathname(split.path)
    if "://" in text:
        if follow and not urlsplit(text).path.strip("/"):
            msg = f"{text}: name a folder within the bucket"
            raise ValueError(msg)
        return Remote(text)
    text = os.path.expanduser(text)
    return Path(os.path.realpath(text) if follow else os.path.abspath(text))


def read_range(place: Place, start: int, stop: int | None) -> bytes:
    """Return the bytes of a file from `start` to before `stop`, or to its end."""
    if isinstance(place, Remote):
        return place.read_bytes() if stop is None else place.read_range(start, stop)
    with place.open("rb") as file:
        file.seek(start)
        return file.read(-1 if stop is None else stop - start)


def size_of(place: Place) -> int:
    """Return the number of bytes of a file."""
    return place.size() if isinstance(place, Remote) else place.stat().st_size


def read_parquet(place: Place) -> pl.DataFrame:
    """Return the frame of a Parquet file."""
    return pl.read_parquet(place.read_bytes())


def read_ipc(place: Place) -> pl.DataFrame:
    """Return the frame of an Arrow IPC file."""
    if isinstance(place, Remote):
        return pl.read_ipc(io.BytesIO(place.read_bytes()))
    return scan_ipc(place).collect()


def scan_ipc(path: Path) -> pl.LazyFrame:
    """Scan an Arrow IPC file, of which the rows that a slice asks for are read alone."""
    return pl.scan_ipc(path, glob=False)


def remove(folder: Place) -> None:
    """Delete a folder as far as possible."""
    if isinstance(folder, Remote):
        folder.remove()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def copy(file: Place, other: Place) -> None:
    """Give a file a second name, or copy it."""
    if isinstance(file, Remote) and isinstance(other, Remote):
        file.copy_to(other)
        return
    try:
        os.link(str(file), str(other))
    except OSError:
        # Not every file system has hard links.
        shutil.copyfile(str(file), str(other))


def fill(folder: Remote, new: Place, last: str) -> None:
    """Copy the files of a folder to another one, that called `last` at the end."""
    files: list[Place] = list(new.iterdir())
    for file in sorted(files, key=lambda file: (file.name == last, file.name)):
        if isinstance(file, Remote):
            file.copy_to(folder / file.name)
        else:
            (folder / file.name).upload(file)


def apart(folder: Place) -> str:
    """Return what to add to names of files, so that those of an older folder are not replaced.

    On disk, a folder is replaced as a whole, and it is nothing.
    """
    return f"-{secrets.token_hex(4)}" if isinstance(folder, Remote) else ""


def replace_folder(new: Place, folder: Place, last: str) -> None:
    """Give a folder its name; an older one of that name goes.

    Object storage cannot rename: there, the files are copied, that called `last` at the end, and
    then those are deleted that only the older folder had.
    """
    if isinstance(folder, Remote):
        older = {file.name for file in folder.iterdir()}
        older.difference_update(file.name for file in new.iterdir())
        fill(folder, new, last)
        for name in older:
            # The new one is whole, whatever is left of the older.
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        remove(new)
        return
    assert isinstance(new, Path)
    old = new.with_name(f"{new.name}.old")
    if folder.exists():
        # Of a process that died when it had replaced an even older one.
        remove(old)
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _file_system(url: str) -> Any:
    """Return what opens a URL; raise ValueError if nothing does."""
    scheme = urlsplit(url).scheme
    try:
        return _of_scheme(scheme)
    except ValueError as error:
        msg = f"{url}: fsspec knows no {scheme!r} URLs: {error}"
        raise ValueError(msg) from error


@cache
def _of_scheme(scheme: str) -> Any:
    """Return what opens URLs of a scheme: fsspec finds keys where the provider's own tools do."""
    package = _PACKAGES.get(scheme, "fsspec")
    if _has("fsspec") and _has(package):
        import fsspec

        # Other processes write, too: what was listed before may be old.
        return fsspec.filesystem(scheme, use_listings_cache=False)
    if _has("obstore") and _has("fsspec"):
        from obstore.fsspec import FsspecStore

        return FsspecStore(scheme)
    msg = f"to open {scheme}:// URLs, install pdex[cloud], or fsspec and {package}"
    raise ImportError(msg)


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
