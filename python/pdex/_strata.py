"""Strata: the column of obs within whose values cells are compared."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from pdex._io.groups import SKIP, count_cells
from pdex._io.labels import check_name
from pdex._warn import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pdex._io.groups import Groups
    from pdex._io.source import Source

    #: A stratum for each cell (SKIP if it has none), and the number of strata.
    Strata = tuple[npt.NDArray[np.uint32], int]

logger: logging.Logger = logging.getLogger("pdex")

#: Largest product of strata and groups that the engine counts separately.
_MOST = 1 << 24


def read_strata(source: Source, column: object) -> Groups:
    """Return the strata of a column of obs.

    Raises
    ------
    KeyError
        The column does not exist.
    TypeError
        `column` is not the name of one column.
    ValueError
        No cell has a stratum.
    """
    return source.groups(check_name("strata", column))


def check_number(strata: Groups, n_groups: int) -> None:
    """Raise ValueError if the strata are too many to be counted separately in each group."""
    n_strata = len(strata.labels)
    if n_strata * n_groups > _MOST:
        msg = (
            f"strata={strata.column!r} has {n_strata:,} values, and there are {n_groups:,} groups: "
            f"at most {_MOST:,} pairs of both are counted apart; choose a column of few values, "
            "such as batches or replicates"
        )
        raise ValueError(msg)


def place_cells(
    strata: Groups, design: tuple[npt.NDArray[np.uint32], Sequence[str], bool]
) -> Strata:
    """Return the stratum of each cell.

    `design` holds a code for each cell (0 for the reference, then the targets), the targets, and
    whether they are compared with the rest. The log gives the number of target cells whose stratum
    has no cells to compare them with.

    Warns
    -----
    PdexWarning
        Targets that share no stratum with their reference and therefore cannot be tested.

    Raises
    ------
    ValueError
        There are too many strata, no cell of the reference has a stratum, or no target shares a
        stratum with its reference.
    """
    codes, targets, rest = design
    check_number(strata, len(targets) + 1)
    places, _ = within = codes_of(strata)
    table = _sizes((codes, places, strata.weights), len(targets) + 1, len(strata.labels))
    other = table.sum(axis=1, keepdims=True) - table if rest else table[:, :1]
    if not rest and not other.any():
        msg = (
            f"strata={strata.column!r}: no cell of the reference has a value: choose a column "
            "where it does"
        )
        raise ValueError(msg)
    apart = np.where(other > 0, 0, table)[:, 1:]
    shared = table[:, 1:].sum(axis=0) > apart.sum(axis=0)
    _name_lonely(strata.column, targets, shared, rest)
    if n_apart := int(apart[:, shared].sum()):
        logger.info(
            "strata=%r: %d cells of targets are in strata without %s: they count only in means",
            strata.column,
            n_apart,
            _what(rest),
        )
    return within


def codes_of(strata: Groups) -> Strata:
    """Return the code of each cell's stratum, and the number of strata."""
    places = np.where(strata.places < 0, SKIP, strata.places.astype(np.uint32))
    return places, len(strata.labels)


def _what(rest: bool) -> str:
    return "other cells" if rest else "cells of the reference"


def _name_lonely(
    column: str, targets: Sequence[str], shared: npt.NDArray[np.bool_], rest: bool
) -> None:
    """Warn about targets that share no stratum with their reference; raise if none shares one."""
    lonely = [target for target, is_shared in zip(targets, shared, strict=True) if not is_shared]
    if not lonely:
        return
    names = ", ".join(map(repr, lonely[:8])) + ", …" * (len(lonely) > 8)
    msg = f"strata={column!r}: no cell of {names} is in a stratum with {_what(rest)}"
    if len(lonely) == len(targets):
        raise ValueError(msg + ": choose a column whose values they share")
    warn(msg + ", whose tests are NaN")


def _sizes(
    cells: tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], npt.NDArray[np.uint64] | None],
    n_groups: int,
    n_strata: int,
) -> npt.NDArray[np.int64]:
    """Return the numbers of cells, strata x groups; `cells` holds codes, strata and weights."""
    codes, strata, weights = cells
    taking_part = (codes != SKIP) & (strata != SKIP)
    places = strata[taking_part].astype(np.int64) * n_groups + codes[taking_part]
    sizes = count_cells(places, weights, taking_part, n_strata * n_groups)
    return sizes.reshape(n_strata, n_groups)
