"""Tables of labels in a Zarr store, as AnnData writes them; columns are read when asked for."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pdex._io.labels import Column
from pdex._io.zarr.codecs import checked

if TYPE_CHECKING:
    import numpy.typing as npt

#: How AnnData calls values of which some are missing: they have a mask.
_NULLABLE = ("nullable-integer", "nullable-boolean", "nullable-string-array")


class ZarrFrame:
    """A table in a Zarr store, such as obs.

    Parameters
    ----------
    group
        The ``zarr.Group`` of the table.
    name
        Its name in errors, such as ``"raw/var"``.

    Raises
    ------
    ValueError
        It is not a data frame of AnnData, or its index is missing.
    """

    def __init__(self, group: Any, name: str) -> None:
        encoding = group.attrs.get("encoding-type")
        is_group = not hasattr(group, "chunks")
        if not is_group or encoding != "dataframe":
            what = "group" if is_group else "array"
            hint = ""
            if not is_group and getattr(group.dtype, "names", None):
                hint = (
                    ", as anndata before 0.7 wrote it: load it with anndata.read_zarr and write it "
                    "again"
                )
            msg = (
                f"{name!r} is not a data frame of AnnData but {'an' if what == 'array' else 'a'} "
                f"{what} with encoding {encoding!r}{hint}"
            )
            raise ValueError(msg)
        self._group, self._name = group, name
        self.columns = [str(column) for column in group.attrs.get("column-order", ())]
        self._index = str(group.attrs.get("_index", "_index"))
        #: The number of rows.
        self.height = _length(self._node(self._index), f"{name}/{self._index}")

    def names(self) -> list[str]:
        """Return the names of the rows."""
        return [str(name) for name in self.column(self._index).rows()]

    def column(self, name: str) -> Column:
        """Read a column that exists.

        Raises
        ------
        ValueError
            It has another number of rows, codes without a category, or an unknown encoding.
        """
        node, where = self._node(name), f"{self._name}/{name}"
        encoding = node.attrs.get("encoding-type")
        if encoding == "categorical":
            codes, categories = (self._part(node, part, where) for part in ("codes", "categories"))
            ordered = bool(node.attrs.get("ordered", False))
            return self._categorical(codes, categories, ordered, where)
        if "categories" in node.attrs:
            # As anndata 0.7 wrote it: the place of the categories is an attribute.
            place = posixpath.join(self._group.path, str(node.attrs["categories"]))
            place = posixpath.relpath(place, self._group.path)
            categories = self._node(place)
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
        if _length(codes, where) != self.height:
            msg = f"{where!r} is broken: it has {codes.shape[0]} codes: expected {self.height}"
            raise ValueError(msg)
        values, numbers = self._values(categories, where), _read(codes)
        if numbers.dtype.kind not in "iu":
            msg = f"{where!r} is broken: its codes have dtype {numbers.dtype}; expected integers"
            raise ValueError(msg)
        if numbers.size and (numbers.min() < -1 or numbers.max() >= len(values)):
            wrong = numbers[(numbers < -1) | (numbers >= len(values))][0]
            msg = f"{where!r} is broken: it has the code {wrong} of {len(values)} categories"
            raise ValueError(msg)
        return Column(values, numbers.astype(np.int64), ordered)

    def _values(self, node: Any, where: str) -> pl.Series:
        """Return values, null where they are missing."""
        encoding, version = (node.attrs.get(f"encoding-{key}") for key in ("type", "version"))
        if encoding in _NULLABLE:
            values, mask = (_read(self._part(node, part, where)) for part in ("values", "mask"))
            if values.shape != mask.shape or mask.dtype.kind != "b":
                msg = f"{where!r} is broken: its mask does not match its values"
                raise ValueError(msg)
            series = _series(values)
            return pl.select(pl.when(pl.Series(~mask)).then(series)).to_series()
        if not hasattr(node, "chunks") or encoding not in ("array", "string-array", None):
            msg = f"{where!r} has the encoding {encoding!r} {version!r}, which pdex does not read"
            raise ValueError(msg)
        _length(node, where)
        return _series(_read(node))


def _length(node: Any, where: str) -> int:
    """Return the number of rows of a part of a column; nothing is read."""
    if not hasattr(node, "chunks"):
        # Nullable values, or an index of categories, are groups.
        inner = node.get("values", node.get("codes"))
        if hasattr(inner, "chunks"):
            return _length(inner, where)
    if not hasattr(node, "chunks") or len(node.shape) != 1:
        msg = f"{where!r} is broken: it is not a one-dimensional array"
        raise ValueError(msg)
    length: int = node.shape[0]
    return length


def _read(array: Any) -> npt.NDArray[Any]:
    """Read an array of one dimension; OSError if its chunks cannot be decoded."""
    try:
        return np.asarray(checked(array)[...])
    # Codecs and clients of object storage have errors of every class.
    except Exception as error:
        msg = f"array {array.path!r} cannot be read: {error or type(error).__name__}"
        raise OSError(msg).with_traceback(error.__traceback__) from None


def _series(values: npt.NDArray[Any]) -> pl.Series:
    """Return numbers, truth values or texts as a series."""
    if values.dtype.kind in "biuf":
        values = values.astype(values.dtype.newbyteorder("="))
        return pl.Series(values.astype(np.float32) if values.dtype == np.float16 else values)
    texts = [t.decode() if isinstance(t, bytes) else str(t) for t in values.tolist()]
    return pl.Series(texts, dtype=pl.String)
