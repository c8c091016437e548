"""Counts as shares of their cell's total: what ``normalize=`` and ``log1p=`` ask for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pdex._validate import flag


class Normalization(NamedTuple):
    """How the counts of a cell are scaled to the same total."""

    #: The total; None: the median of the totals.
    target: float | None
    #: Whether log1p of the scaled counts is tested.
    log1p: bool

    @property
    def asked(self) -> float | str:
        """The total as a caller writes it."""
        return "median" if self.target is None else self.target


def normalization_of(normalize: object, log1p: object) -> Normalization | None:
    """Return what the options ask for; None: the values stay as they are.

    Raises
    ------
    ValueError
        `normalize` is neither a total above 0, nor "median", nor None; or ``log1p=False`` comes
        without `normalize`.
    TypeError
        `log1p` is not a bool.
    """
    logged = flag("log1p", log1p)
    if normalize is None:
        if not logged:
            msg = (
                "log1p=False leaves out the logarithm that follows normalize=, which is not given; "
                "values are tested as they are stored"
            )
            raise ValueError(msg)
        return None
    if isinstance(normalize, str) and normalize == "median":
        return Normalization(None, logged)
    number = isinstance(normalize, (int, float, np.integer, np.floating))
    if not number or isinstance(normalize, bool) or not 0 < float(normalize) < np.inf:  # type: ignore[arg-type]
        msg = f"normalize must be a total above 0, such as 1e4, or 'median'; got {normalize!r}"
        raise ValueError(msg)
    return Normalization(float(normalize), logged)  # type: ignore[arg-type]
