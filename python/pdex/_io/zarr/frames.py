"""Tables of labels in a Zarr store."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

import numpy as np

from pdex._io.frames import StoredFrame, series_of
from pdex._io.zarr.codecs import checked

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl


class ZarrFrame(StoredFrame):
    """A table in a ``zarr.Group``, such as obs."""

    def place(self, path: str) -> str:
        """Return a path that an attribute holds as one that groups take."""
        own = self._group.path
        return posixpath.relpath(posixpath.join(own, path), own)

    def hint(self, group: Any) -> str:
        """Return what to do with a table of anndata before 0.7."""
        if getattr(getattr(group, "dtype", None), "names", None):
            how = "load it with anndata.read_zarr and write it again"
            return f", as anndata before 0.7 wrote it: {how}"
        return ""

    def read(self, array: Any) -> npt.NDArray[Any]:
        """Read an array of one dimension; OSError if its chunks cannot be decoded."""
        try:
            return np.asarray(checked(array)[...])
        # Codecs and clients of object storage have errors of every class.
        except Exception as error:
            msg = f"array {array.path!r} cannot be read: {error or type(error).__name__}"
            raise OSError(msg).with_traceback(error.__traceback__) from None

    def series(self, array: Any) -> pl.Series:
        """Read values of one dimension."""
        return series_of(self.read(array))
