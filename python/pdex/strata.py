"""Strata: the column of obs that cells are compared within."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from pdex.io.source import SKIP, read_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    #: A stratum for each cell (SKIP where it has none), and their number.
    Strata = tuple[npt.NDArray[np.uint32], int]


def read_strata(
    adata: Any, column: str, design: tuple[npt.NDArray[np.uint32], Sequence[str], bool]
) -> Strata:
    """Return the stratum of each cell by ``adata.obs[column]``.

    `design` is a code for each cell (0 the background, then the targets), the targets, and whether
    they are compared with the rest.

    Warns
    -----
    UserWarning
        Targets that share no stratum with what they are compared with: nothing can be said of them.

    Raises
    ------
    KeyError
        No such column.
    ValueError
        No cell has a stratum, or no target shares one with what it is compared with.
    """
    found = read_groups(adata, column)
    codes, targets, rest = design
    strata = np.where(found.places < 0, SKIP, found.places.astype(np.uint32))
    table = _sizes(codes, strata, len(targets) + 1, len(found.labels))
    other = table.sum(axis=1, keepdims=True) - table if rest else table[:, :1]
    shared = np.any((table > 0) & (other > 0), axis=0).tolist()[1:]
    lonely = [target for target, is_shared in zip(targets, shared, strict=True) if not is_shared]
    if lonely:
        names = ", ".join(map(repr, lonely[:8])) + ", …" * (len(lonely) > 8)
        what = "other cells" if rest else "the reference"
        msg = f"strata={column!r}: no stratum holds cells of {what} and of {names}"
        if len(lonely) == len(targets):
            raise ValueError(msg + ": choose a column whose values both have")
        warnings.warn(msg + ", whose tests are NaN", UserWarning, stacklevel=3)
    return strata, len(found.labels)


def _sizes(
    codes: npt.NDArray[np.uint32],
    strata: npt.NDArray[np.uint32],
    n_groups: int,
    n_strata: int,
) -> npt.NDArray[np.int64]:
    """Return the number of cells of each stratum and group."""
    taking_part = (codes != SKIP) & (strata != SKIP)
    places = strata[taking_part].astype(np.int64) * n_groups + codes[taking_part]
    return np.bincount(places, minlength=n_strata * n_groups).reshape(n_strata, n_groups)
