"""Open AnnData files by path, and read only what a job needs.

The compiled module opens them, with an HDF5 library of its own. The matrix stays in the file, and
so do the columns of labels that nobody asks for.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from pdex import _pdex
from pdex._description import known_of
from pdex._io import h5
from pdex._io.errors import error_context
from pdex._io.frames import StoredFrame, categorical, series_of
from pdex._io.labels import Column
from pdex._text import size

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    from pdex._io.stored import StoredMatrix

#: The first bytes of files of other kinds, and the endings of files of text.
_STARTS = {b"PAR1": "a Parquet file", b"ARROW1": "an Arrow IPC file"}
_ENDINGS = {".csv": "a CSV file", ".tsv": "a TSV file"}
#: What the HDF5 library says of a file that ends early.
_ENDS = re.compile(r"truncated.*?\beof = (\d+).*?stored_eof = (\d+)", re.DOTALL)


class Root:
    """An open file that holds a screen.

    Parameters
    ----------
    path
        An absolute path.

    Raises
    ------
    OSError
        The file cannot be read, or is no HDF5 file.
    ValueError
        It is a folder, or compressed as a whole.
    """

    #: What it is called in errors.
    what = "file"

    def __init__(self, path: str) -> None:
        self.path = path
        #: The open file.
        self.opened = _opened(path)
        self._root = self.opened.root

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "opened"):
            self.opened.close()

    def members(self, name: str) -> list[str]:
        """Return the names in a group, or an empty list if there is no such group."""
        if not name:
            return self._root.names()
        group = self._root.get(name)
        return group.names() if isinstance(group, _pdex.H5Group) else []

    def member(self, name: str) -> Any:
        """Return a member; raise ValueError if it does not exist."""
        node = self._root.get(name)
        if node is None:
            hint = ""
            if name == "obs":
                hint = ": expected what AnnData.write_h5ad writes; load others first, for example "
                hint += "10x files with scanpy.read_10x_h5"
            has = ", ".join(map(repr, self._root.names())) or "none"
            msg = f"there is no {name!r} in this file, which has {has}"
            raise ValueError(msg + hint)
        return node

    def raw(self) -> tuple[str, str] | None:
        """Return where raw's matrix and the table of its genes are stored; None if it has none."""
        if "X" in self.members("raw"):
            return "raw/X", "raw/var"
        # As anndata before 0.7 wrote it.
        return ("raw.X", "raw.var") if "raw.X" in self.members("") else None

    def frame(self, name: str) -> H5Frame | RecordsFrame:
        """Return a table, of which no column is read yet."""
        node = self.member(name)
        if isinstance(node, _pdex.H5Dataset) and node.kind == "records":
            return RecordsFrame(node, self, name)
        return H5Frame(node, name, self.path)

    def matrix(self, place: str, where: str) -> StoredMatrix:
        """Return a matrix, of which no values are read yet; `where` names it in errors."""
        return h5.open_matrix(self.member(place), where, self.path)

    def log1p_base(self) -> float | None:
        """Return the base of the logarithm that scanpy recorded; None if it recorded none."""
        node = self._root.get("uns/log1p/base")
        if not isinstance(node, _pdex.H5Dataset) or node.shape != () or node.kind != "number":
            return None
        return float(node.read((0, 1))[0])

    def check_kind(self) -> None:
        """Raise ValueError for a MuData file, which holds several AnnData."""
        names = self.members("")
        if "mod" in names and not {"X", "obs"}.issubset(names):
            found = self.members("mod")
            has = f" with {', '.join(map(repr, found))}" if found else ""
            one = repr(found[0]) if found else "..."
            msg = (
                f"this is a MuData file{has}: read one modality first, with "
                f"mudata.read_h5ad(path, mod={one})"
            )
            raise ValueError(msg)


def _opened(path: str) -> _pdex.H5File:
    """Return the open file at an absolute path; for any other file, raise a helpful error."""
    if os.path.isdir(path):
        if known_of(path) is not None:
            msg = f"{path!r} is a result: pdex.describe tells how it was made"
            raise ValueError(msg)
        msg = (
            f"{path!r} is a folder; expected an .h5ad file, a .zarr store, or count tables, which "
            "pdex tabulate writes"
        )
        raise ValueError(msg)
    # Python's own errors (FileNotFoundError, PermissionError, ...) name the path.
    with open(path, "rb"):
        pass
    try:
        return _pdex.H5File(path)
    except OSError as error:
        if path.endswith(".gz"):
            msg = f"{path!r} is compressed as a whole; decompress it first, with gunzip"
            raise ValueError(msg) from None
        if ends := _ENDS.search(str(error)):
            found, whole = (size(int(number)) for number in ends.groups())
            msg = f"{path!r} is damaged: it ends after {found} of {whole}; copy it again"
            raise OSError(msg) from None
        if other := _other_kind(path):
            raise OSError(other) from None
        if "signature" not in str(error):
            raise
        msg = (
            f"{path!r} is not an HDF5 file, or it is damaged. Expected an .h5ad file; load other "
            "files first, for example with anndata.io"
        )
        raise OSError(msg) from None


def _other_kind(path: str) -> str:
    """Return the error for a file of a kind that is known not to be HDF5; else nothing."""
    if known_of(path) is not None:
        return f"{path!r} is a result: pdex.describe tells how it was made"
    with open(path, "rb") as file:
        first = file.read(6)
    kinds = (kind for start, kind in _STARTS.items() if first.startswith(start))
    kind = next(kinds, _ENDINGS.get(os.path.splitext(path)[1].lower()))
    if kind is None:
        return ""
    return (
        f"{path!r} is {kind}: expected an .h5ad file, a .zarr store or count tables; load other "
        "files first, for example with anndata.io; for a frame of rows use the expressions, such "
        "as pdex.wilcoxon"
    )


class H5Frame(StoredFrame):
    """A table in a file, such as obs."""

    array = "a dataset"

    def place(self, path: str) -> str:
        """Return a path that an attribute holds as one that groups take."""
        return path

    def check(self, array: Any) -> None:
        """Raise ValueError if a dataset claims more than its stored bytes hold."""
        h5.check(array)

    def read(self, array: Any) -> npt.NDArray[Any]:
        """Read numbers of one dimension."""
        return h5.numbers(array, self._path)

    def series(self, array: Any) -> pl.Series:
        """Read values of one dimension."""
        return _series(array, self._path)


class RecordsFrame:
    """A table as anndata before 0.7 wrote it: a dataset of records.

    The first field is the name of the row. Categories are in uns.
    """

    def __init__(self, dataset: _pdex.H5Dataset, root: Root, name: str) -> None:
        if dataset.shape is None or len(dataset.shape) != 1:
            msg = f"{name!r} is broken: it is not a one-dimensional array"
            raise ValueError(msg)
        h5.check(dataset)
        self._dataset, self._root, self._name = dataset, root, name
        self._kinds = dict(dataset.fields())
        self._index, *self.columns = self._kinds
        #: The number of rows.
        self.height = dataset.shape[0]

    def names(self) -> list[str]:
        """Return the names of the rows."""
        with error_context(self._root.path):
            return [str(name) for name in self._values(self._index)]

    def column(self, name: str) -> Column:
        """Read a column that exists."""
        with error_context(self._root.path):
            return self._column(name)

    def _column(self, name: str) -> Column:
        values = self._values(name)
        categories = self._categories(name)
        if categories is None or not values.dtype.is_integer():
            return Column(values)
        return categorical(categories, values.to_numpy(), False, f"{self._name}/{name}")

    def categories(self, name: str) -> list[str]:
        """Return the categories of a column; none if it has other values."""
        found = self._categories(name)
        return [] if found is None else [str(value) for value in found]

    def _values(self, name: str) -> pl.Series:
        kind = self._kinds[name]
        if kind not in ("text", "number", "boolean"):
            msg = f"'{self._name}/{name}' holds {kind}, which pdex does not read"
            raise ValueError(msg)
        if self._dataset.foreign() is not None:
            return series_of(h5.field(self._dataset, self._root.path, name))
        if kind == "text":
            return self._dataset.texts(name)
        values = self._dataset.read((0, self.height), (0, 1), name)
        return series_of(values != 0 if kind == "boolean" else values)

    def _categories(self, name: str) -> pl.Series | None:
        """Return the categories of a column, of which one alone may be stored as a scalar."""
        if f"{name}_categories" not in self._root.members("uns"):
            return None
        node = self._root.member(f"uns/{name}_categories")
        if not isinstance(node, _pdex.H5Dataset):
            return None
        h5.check(node)
        return _series(node, self._root.path)


def _series(dataset: _pdex.H5Dataset, path: str) -> pl.Series:
    """Return the values of a dataset of one dimension."""
    if dataset.kind == "text":
        return h5.texts(dataset, path)
    return series_of(h5.numbers(dataset, path))
