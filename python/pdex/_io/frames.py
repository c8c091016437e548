"""Tables of labels in files and stores, as AnnData writes them; columns are read when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pdex._io.errors import error_context
from pdex._io.labels import Column

if TYPE_CHECKING:
    import numpy.typing as npt

#: How AnnData calls values of which some are missing: they have a mask.
_NULLABLE = ("nullable-integer", "nullable-boolean", "nullable-string-array")
_PLAIN = ("array", "string-array", None)


class StoredFrame(ABC):
    """A table in a file or store, such as obs.

    Parameters
    ----------
    group
        The group of the table. Groups have ``attrs`` and ``get(name)``; arrays have ``attrs``,
        ``shape`` and ``chunks``, which groups have not.
    name
        Its name in errors, such as ``"raw/var"``.
    path
        Path or name of its file or store, which errors of columns name.

    Raises
    ------
    ValueError
        It is not a data frame of AnnData, or its index is missing.
    """

    #: What an array is called in errors, with its article.
    array = "an array"

    def __init__(self, group: Any, name: str, path: str) -> None:
        attributes = group.attrs
        encoding = attributes.get("encoding-type")
        is_group = not hasattr(group, "chunks")
        if not is_group or encoding != "dataframe":
            what = "a group" if is_group else self.array
            msg = (
                f"{name!r} is not a data frame of AnnData but {what} with encoding {encoding!r}"
                f"{self.hint(group)}"
            )
            raise ValueError(msg)
        self._group, self._name, self._path = group, name, path
        columns = attributes.get("column-order", ())
        if not isinstance(columns, (list, tuple, np.ndarray)):
            msg = f"{name!r} is broken: its attribute 'column-order' is no list of names"
            raise ValueError(msg)
        self.columns = [str(column) for column in columns]
        self._index = str(attributes.get("_index", "_index"))
        #: The number of rows.
        self.height = self._length(self._node(self._index), f"{name}/{self._index}")

    def check(self, array: Any) -> None:  # noqa: B027 - most arrays cannot claim too much
        """Raise ValueError if an array claims more than its stored bytes hold."""

    @abstractmethod
    def place(self, path: str) -> str:
        """Return a path that an attribute holds as one that groups take."""

    @abstractmethod
    def read(self, array: Any) -> npt.NDArray[Any]:
        """Read numbers of one dimension."""

    @abstractmethod
    def series(self, array: Any) -> pl.Series:
        """Read values of one dimension."""

    def hint(self, group: Any) -> str:  # noqa: ARG002
        """Return what follows the error for something else than a data frame."""
        return ""

    def names(self) -> list[str]:
        """Return the names of the rows."""
        names = self.column(self._index).rows()
        return names.to_list() if names.dtype == pl.String else [str(name) for name in names]

    def column(self, name: str) -> Column:
        """Read a column that exists.

        Raises
        ------
        ValueError
            It has another number of rows, codes without a category, or an unknown encoding.
        """
        with error_context(self._path):
            return self._column(name)

    def _column(self, name: str) -> Column:
        node, where = self._node(name), f"{self._name}/{name}"
        attributes = node.attrs
        if attributes.get("encoding-type") == "categorical":
            self._check_version(attributes, where)
            codes, categories = (self._part(node, part, where) for part in ("codes", "categories"))
            ordered = bool(attributes.get("ordered", False))
            return self._categorical(codes, categories, ordered, where)
        if "categories" in attributes:
            # As anndata 0.7 wrote it: an attribute leads to the categories.
            categories = self._node(self.place(str(attributes["categories"])))
            ordered = bool(categories.attrs.get("ordered", False))
            return self._categorical(node, categories, ordered, where)
        values = self._values(node, where)
        if len(values) != self.height:
            msg = f"{where!r} is broken: it has {len(values)} rows: expected {self.height}"
            raise ValueError(msg)
        return Column(values)

    def categories(self, name: str) -> list[str]:
        """Return the categories of a column; none if it has other values."""
        node = self._node(name)
        if node.attrs.get("encoding-type") != "categorical":
            return []
        where = f"{self._name}/{name}"
        values = self._values(self._part(node, "categories", where), where)
        return [str(value) for value in values]

    def _node(self, name: str) -> Any:
        node = self._group.get(name)
        if node is None:
            msg = f"{self._name!r} is broken: it has no {name!r}"
            raise ValueError(msg)
        return node

    def _part(self, node: Any, part: str, where: str) -> Any:
        found = node.get(part)
        if found is None:
            msg = f"{where!r} is broken: it has no {part!r}"
            raise ValueError(msg)
        return found

    def _categorical(self, codes: Any, categories: Any, ordered: bool, where: str) -> Column:
        """Return a column of categories, whose codes are checked."""
        if not hasattr(codes, "chunks"):
            msg = f"{where!r} is broken: its codes are no array"
            raise ValueError(msg)
        if self._length(codes, where) != self.height:
            msg = f"{where!r} is broken: it has {codes.shape[0]} codes: expected {self.height}"
            raise ValueError(msg)
        if codes.dtype.kind not in "iu":
            msg = f"{where!r} is broken: its codes have dtype {codes.dtype}; expected integers"
            raise ValueError(msg)
        return categorical(self._values(categories, where), self.read(codes), ordered, where)

    def _check_version(self, attributes: Any, where: str) -> None:
        """Raise ValueError for an encoding that only a later anndata knows."""
        encoding, version = (attributes.get(f"encoding-{key}") for key in ("type", "version"))
        if str(version or "0").split(".")[0] != "0":
            msg = f"{where!r} has the encoding {encoding!r} {version!r}, which pdex does not read"
            raise ValueError(msg)

    def _values(self, node: Any, where: str) -> pl.Series:
        """Return values, null where they are missing."""
        attributes = node.attrs
        encoding, version = (attributes.get(f"encoding-{key}") for key in ("type", "version"))
        is_group = not hasattr(node, "chunks")
        if encoding not in (_NULLABLE if is_group else _PLAIN):
            msg = f"{where!r} has the encoding {encoding!r} {version!r}, which pdex does not read"
            raise ValueError(msg)
        self._check_version(attributes, where)
        if not is_group:
            self._length(node, where)
            return self.series(node)
        values, mask = (self._part(node, part, where) for part in ("values", "mask"))
        if not hasattr(values, "chunks"):
            msg = f"{where!r} is broken: its values are no array"
            raise ValueError(msg)
        n = self._length(values, where)
        is_array = hasattr(mask, "chunks")
        if not is_array or self._length(mask, where) != n or mask.dtype.kind != "b":
            msg = f"{where!r} is broken: its mask does not match its values"
            raise ValueError(msg)
        known = pl.Series(self.read(mask) == 0)
        return pl.select(pl.when(known).then(self.series(values))).to_series()

    def _length(self, node: Any, where: str) -> int:
        """Return the number of rows of a part of a column; nothing is read."""
        if not hasattr(node, "chunks"):
            # Nullable values, or an index of categories, are groups.
            inner = node.get("values") or node.get("codes")
            if hasattr(inner, "chunks"):
                return self._length(inner, where)
        if not hasattr(node, "chunks") or node.shape is None or len(node.shape) != 1:
            msg = f"{where!r} is broken: it is not a one-dimensional array"
            raise ValueError(msg)
        self.check(node)
        length: int = node.shape[0]
        return length


def categorical(values: pl.Series, codes: npt.NDArray[Any], ordered: bool, where: str) -> Column:
    """Return a column of categories; raise ValueError for a code without a category."""
    if codes.size and (codes.min() < -1 or codes.max() >= len(values)):
        wrong = codes[(codes < -1) | (codes >= len(values))][0]
        msg = f"{where!r} is broken: it has the code {wrong} of {len(values)} categories"
        raise ValueError(msg)
    return Column(values, codes.astype(np.int64), ordered)


def series_of(values: npt.NDArray[Any]) -> pl.Series:
    """Return numbers, truth values or texts as a series."""
    if values.dtype.kind in "biuf":
        values = values.astype(values.dtype.newbyteorder("="))
        return pl.Series(values.astype(np.float32) if values.dtype == np.float16 else values)
    texts = [t.decode() if isinstance(t, bytes) else str(t) for t in values.tolist()]
    return pl.Series(texts, dtype=pl.String)
