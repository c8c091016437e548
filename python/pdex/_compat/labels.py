"""Labels of groups as ``obs`` stores them, for the interfaces of pdex 0.1 and 0.3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pdex._io.source import Source


def labels_of(source: Source, column: str, names: Sequence[str]) -> pl.Series:
    """Return the labels whose text is `names`, in the type of the column, such as integers.

    Labels of mixed types become text.
    """
    import pandas as pd

    values = pd.Categorical(source.adata.obs[column]).categories
    places = {str(value): place for place, value in enumerate(values)}
    labels = values[[places[name] for name in names]]
    if labels.dtype == object:
        return pl.Series("target", list(labels), strict=False)
    return pl.Series("target", labels.to_numpy())
