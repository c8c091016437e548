"""Open Zarr stores: by path or URL, as a group, or as a store of zarr-python."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pdex._io.zarr.arrays import open_matrix
from pdex._io.zarr.frames import ZarrFrame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pdex._io.stored import StoredMatrix

#: The metadata of a store's root: of version 3, and of version 2.
_ROOT = ("zarr.json", ".zmetadata", ".zgroup", ".zattrs")
#: The packages with which fsspec opens a URL, by its scheme.
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp"}
_PACKAGES |= {"https": "aiohttp", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}
#: The oldest version of zarr-python that pdex uses.
_OLDEST = (3, 1)


class Stamp(NamedTuple):
    """Size and time of modification, which distinguish a store from one that replaced it."""

    bytes: int
    modified_ns: int


@dataclass
class Root:
    """An open group that holds a screen."""

    #: What it is called in errors.
    what = "store"

    group: Any
    #: Path or URL, which names the store in errors.
    path: str
    #: The store, if it was opened here; else it belongs to the caller.
    opened: Any = None

    def close(self) -> None:
        """Close the store if it was opened here."""
        if self.opened is not None:
            self.opened.close()

    def members(self, name: str) -> list[str]:
        """Return the names in a group, or an empty list if there is no such group."""
        group = self.group if not name else self.group.get(name)
        return sorted(group) if group is not None and not hasattr(group, "chunks") else []

    def member(self, name: str) -> Any:
        """Return a member; raise ValueError if it does not exist."""
        node = self.group.get(name)
        if node is None:
            has = ", ".join(map(repr, self.members(""))) or "none"
            msg = f"there is no {name!r} in this store, which has {has}"
            hint = ": expected what AnnData.write_zarr writes" if name == "obs" else ""
            raise ValueError(msg + hint)
        return node

    def frame(self, name: str) -> ZarrFrame:
        """Return a table, of which no column is read yet."""
        return ZarrFrame(self.member(name), name, self.path)

    def raw(self) -> tuple[str, str] | None:
        """Return where raw's matrix and the table of its genes are stored; None if it has none."""
        return ("raw/X", "raw/var") if "X" in self.members("raw") else None

    def matrix(self, place: str, where: str) -> StoredMatrix:
        """Return a matrix, of which no values are read yet; `where` names it in errors."""
        return open_matrix(self.member(place), where, self.path)

    def log1p_base(self) -> float | None:
        """Return the base of the logarithm that scanpy recorded; None if it recorded none."""
        node = self.group.get("uns/log1p/base")
        if node is None or getattr(node, "shape", None) != () or node.dtype.kind not in "iuf":
            return None
        return float(node[()])

    def check_kind(self) -> None:
        """Raise ValueError for a MuData store, which holds several AnnData."""
        if "mod" in self.group and not ("X" in self.group and "obs" in self.group):
            found = self.members("mod")
            has = f" with {', '.join(map(repr, found))}" if found else ""
            msg = (
                f"{self.path}: this is a MuData store{has}: give one modality, "
                f"{self.path.rstrip('/')}/mod/{found[0] if found else '...'}"
            )
            raise ValueError(msg)


def is_group(data: object) -> bool:
    """Return whether `data` is a group or a store of zarr-python; it is not imported for that."""
    zarr = sys.modules.get("zarr")
    if zarr is None:
        return False
    kinds = [getattr(zarr, "Group", None)]
    for module, name in (("zarr.abc.store", "Store"), ("zarr.storage", "StorePath")):
        kinds.append(getattr(sys.modules.get(module), name, None))
    return isinstance(data, tuple(kind for kind in kinds if kind is not None))


def is_path(data: object) -> bool:
    """Return whether `data` is a path or URL of a Zarr store."""
    if not isinstance(data, (str, os.PathLike)):
        return False
    text = os.fspath(data)
    if "://" in text:
        return PurePosixPath(urlsplit(text).path).suffix in ("", ".zarr")
    path = os.path.expanduser(text)
    if os.path.isdir(path):
        return _is_named(path) or any(os.path.isfile(os.path.join(path, n)) for n in _ROOT)
    return _is_named(path) and not os.path.exists(path)


def _is_named(path: str) -> bool:
    return path.rstrip("/").endswith(".zarr")


def path_of(data: str | os.PathLike[str]) -> str:
    """Return the absolute path of a store in a folder, or its URL."""
    text = os.fspath(data)
    if text.startswith("file://"):
        text = url2pathname(urlsplit(text).path)
    if "://" in text:
        return text.rstrip("/")
    return os.path.abspath(os.path.expanduser(text))


def open_root(data: Any) -> Root:
    """Open a path, URL, group or store for reading; use `error_context` with its path.

    Raises
    ------
    ImportError
        zarr-python, or a package that opens such a URL, is not installed.
    FileNotFoundError
        There is no such folder.
    ValueError
        There is no Zarr group.
    OSError
        The store cannot be read.
    """
    zarr = _zarr()
    if isinstance(data, zarr.Group):
        return Root(data, name_of(data))
    if isinstance(data, (str, os.PathLike)):
        path = path_of(data)
        store = _store_of(path)
        return Root(_open_group(zarr, store, path), path, store)
    mode = "r" if data.read_only else "r+"
    path = str(data)
    root = Root(_open_group(zarr, data, path, mode), path)
    root.path = name_of(root.group)
    return root


def name_of(node: Any) -> str:
    """Return the path of the folder, or the name of the store, that an array or group is in."""
    place = node.store_path
    folder = getattr(place.store, "root", None)
    if folder is not None:
        return os.path.abspath(os.path.join(str(folder), place.path))
    return str(place)


def _zarr() -> Any:
    """Import zarr-python; raise ImportError that says what to install."""
    try:
        import zarr
    except ImportError:
        found = "it is not installed"
    else:
        version = str(zarr.__version__)
        if tuple(int(n) for n in version.split(".")[:2] if n.isdigit()) >= _OLDEST:
            return zarr
        found = f"this is {version}"
    how = "pip install 'pdex[zarr]'"
    if sys.version_info < (3, 11):
        how = "it needs Python 3.11 or newer"
    msg = f"Zarr stores are read with zarr-python 3.1 or newer, and {found}: {how}"
    raise ImportError(msg)


def _store_of(path: str) -> Any:
    """Return the store at an absolute path or at a URL."""
    from zarr.storage import FsspecStore, LocalStore, ObjectStore

    if "://" not in path:
        if not os.path.isdir(path):
            msg = f"{path}: there is no such folder"
            raise FileNotFoundError(msg)
        return LocalStore(path, read_only=True)
    scheme = urlsplit(path).scheme
    package = _PACKAGES.get(scheme)
    # fsspec finds keys and settings where the provider's own tools find them.
    if _has("fsspec") and (package is None or _has(package)):
        return FsspecStore.from_url(path, read_only=True)
    if _has("obstore"):
        from obstore.store import from_url

        return ObjectStore(from_url(path), read_only=True)
    also = f"fsspec and {package}" if package else "fsspec"
    msg = f"{path}: to open {scheme}:// URLs, install pdex[cloud], or {also}"
    raise ImportError(msg)


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _open_group(zarr: Any, store: Any, path: str, mode: str = "r") -> Any:
    """Return the group at the root of a store."""
    from zarr.errors import ContainsArrayError, GroupNotFoundError

    try:
        return zarr.open_group(store, mode=mode)
    except (GroupNotFoundError, ContainsArrayError, FileNotFoundError):
        msg = (
            f"{path}: there is no group of a Zarr store here (neither zarr.json nor .zgroup): "
            "expected what AnnData.write_zarr writes"
        )
        raise ValueError(msg) from None
    # Clients of object storage have errors of every class.
    except Exception as error:
        kind = type(error) if isinstance(error, (PermissionError, TimeoutError)) else OSError
        msg = f"{path}: cannot be opened as a Zarr store: {error or type(error).__name__}"
        raise kind(msg).with_traceback(error.__traceback__) from None


def root_stamp(path: str) -> Stamp | None:
    """Return size and time of the metadata of a store's root; None if it is not in a folder."""
    if "://" in path:
        return None
    found = [os.stat(p) for p in (os.path.join(path, n) for n in _ROOT) if os.path.isfile(p)]
    return Stamp(sum(s.st_size for s in found), max((s.st_mtime_ns for s in found), default=0))


def whole_stamp(path: str) -> Stamp | None:
    """Return size and latest time of all files of a store; None if it is not in a folder."""
    if not os.path.isdir(path):
        return None
    sizes = times = 0
    for file in _files(path):
        found = file.stat()
        sizes, times = sizes + found.st_size, max(times, found.st_mtime_ns)
    return Stamp(sizes, times)


def _files(path: str) -> Iterator[os.DirEntry[str]]:
    """Yield all files below a folder."""
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(entry.path)
            else:
                yield entry
