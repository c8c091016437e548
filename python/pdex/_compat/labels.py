"""Labels of groups as ``obs`` stores them, for the interfaces of pdex 0.1 and 0.3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdex._io.labels import texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from pdex._io.source import Source


def labels_of(source: Source, column: str, names: Sequence[str]) -> pl.Series:
    """Return the labels whose text is `names`, in the type of the column, such as integers.

    Labels of mixed types become text.
    """
    found = source.obs.column(column)
    values = found.values if found.codes is not None else found.values.drop_nulls().unique().sort()
    places = {text: place for place, text in enumerate(texts(values))}
    return values.gather([places[name] for name in names]).alias("target")
