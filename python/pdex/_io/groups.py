"""The groups of cells that a column of obs makes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from pdex import _pdex
from pdex._io.labels import check_name, require_column
from pdex._text import brief, counted, listed
from pdex._validate import as_names
from pdex._warn import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from pdex._io.labels import Frame

    Hint = Callable[[object, str], str]

#: The code of a cell that takes no part in a comparison.
SKIP = np.uint32(2**32 - 1)


def _no_hint(label: object, what: str) -> str:  # noqa: ARG001
    return ""


def _shown(label: object) -> str:
    """Return a label in quotes; of data, the type alone."""
    return repr(str(label)) if "\n" not in str(label) else brief(label)


@dataclass
class Groups:
    """The groups of a column of obs: their labels in order, and the group of each cell."""

    column: str
    labels: list[str]
    #: Index of each cell's label; -1 for a cell without a label.
    places: npt.NDArray[np.int64]
    #: Where each place stands for a group of cells, their numbers of cells.
    weights: npt.NDArray[np.uint64] | None = field(default=None, repr=False, compare=False)
    _by_label: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    def only(self, cells: npt.NDArray[np.bool_]) -> Groups:
        """Return the same groups, restricted to some cells; other cells lose their label."""
        return replace(self, places=np.where(cells, self.places, -1))

    def require(self, label: object, what: str, hint: Hint = _no_hint) -> int:
        """Return the index of a label; for an unknown one, raise ValueError and list the groups.

        `hint` returns, from the label and `what` it is, what else the error says.
        """
        place = self.place(label)
        if place is None:
            order = _pdex.by_resemblance(str(label), self.labels)
            msg = (
                f"{what} {_shown(label)} is not a group of obs[{self.column!r}]"
                f"{hint(label, what)}. "
                f"Groups: {listed([self.labels[i] for i in order])}"
            )
            raise ValueError(msg)
        return place

    def place(self, label: object) -> int | None:
        """Return the index of a label, or None if it is unknown."""
        if not self._by_label:
            self._by_label.update({label: place for place, label in enumerate(self.labels)})
        return self._by_label.get(str(label))

    def references(self, reference: object, hint: Hint = _no_hint) -> list[int]:
        """Return the indices of one control group or of several."""
        names: list[object] = [reference]
        if isinstance(reference, Iterable) and not isinstance(reference, str):
            names = list(reference)
        if not names:
            msg = "reference=[]: name at least one group"
            raise ValueError(msg)
        return [self.require(name, "reference", hint) for name in names]

    def codes(
        self,
        reference: object,
        groups: Sequence[object] | None,
        *,
        rest: bool,
        exclude: Sequence[object] | None = None,
        min_cells: int = 0,
    ) -> tuple[npt.NDArray[np.uint32], list[str]]:
        """Return a code for each cell, and the labels of the targets in order.

        Code 0 is the reference (against "rest": every group that is not a target). Targets have the
        codes 1, 2, ... Cells of excluded groups, and all others that take no part, have SKIP. A
        group with fewer than `min_cells` cells is not a target.
        """
        background = [] if rest else self.references(reference)
        left_out = {self.require(label, "excluded group") for label in exclude or ()}
        wanted = set(range(len(self.labels)))
        if groups is not None:
            wanted = {self.require(label, "group") for label in as_names("groups", groups)}
        wanted.difference_update(background, left_out)
        if not wanted:
            besides = listed([self.labels[i] for i in background]) if background else "'rest'"
            without = f" without {listed([self.labels[i] for i in sorted(left_out)])}"
            msg = f"obs[{self.column!r}] has no group to test other than {besides}"
            raise ValueError(msg + without * bool(left_out))
        if rest and len(self.labels) - len(left_out) < 2:
            left = f" besides the {len(left_out)} excluded" if left_out else ""
            msg = (
                f"obs[{self.column!r}] has only one group{left}, so there is no rest to compare it "
                "with"
            )
            raise ValueError(msg)
        wanted = self.large_enough(wanted, min_cells)
        # One entry more than there are labels: index -1 (no label) reads the last.
        table = np.full(len(self.labels) + 1, 0 if rest else SKIP, dtype=np.uint32)
        table[[-1, *left_out]] = SKIP
        table[background] = 0
        return self._fill(table, wanted)

    def check_apart(self, **roles: Sequence[int]) -> None:
        """Raise ValueError if a group has two roles; each keyword lists the groups of one role."""
        role_of: dict[int, str] = {}
        for role, places in roles.items():
            for place in places:
                other = role_of.setdefault(place, role)
                if other != role:
                    msg = (
                        f"group {self.labels[place]!r} is in both {other} and {role}; "
                        "remove it from one"
                    )
                    raise ValueError(msg)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the number of cells in each group."""
        labelled = self.places >= 0
        return count_cells(self.places[labelled], self.weights, labelled, len(self.labels))

    def large_enough(self, wanted: set[int], min_cells: int) -> set[int]:
        """Return the groups with at least `min_cells` cells; a warning names the others."""
        sizes = self.sizes()
        small = [place for place in sorted(wanted) if sizes[place] < min_cells]
        if not small:
            return wanted
        if len(small) == len(wanted):
            largest = max(small, key=lambda place: int(sizes[place]))
            msg = (
                f"no group to test in obs[{self.column!r}] has min_cells={min_cells} cells; "
                f"the largest, {self.labels[largest]!r}, has {sizes[largest]}"
            )
            raise ValueError(msg)
        names = listed([self.labels[place] for place in small])
        warn(
            f"left out {counted(len(small), 'group')} of obs[{self.column!r}] with fewer than "
            f"{counted(min_cells, 'cell')}: {names}"
        )
        return wanted.difference(small)

    def numbers_of(
        self, groups: Iterable[object] | None
    ) -> tuple[npt.NDArray[np.uint32], list[str]]:
        """Return the numbers (from 0) and labels of the groups asked for; other cells have SKIP."""
        asked = self.labels if groups is None else as_names("groups", groups)
        wanted = {self.require(label, "group") for label in asked}
        codes, labels = self._fill(np.full(len(self.labels) + 1, SKIP, dtype=np.uint32), wanted)
        return np.where(codes == SKIP, SKIP, codes - np.uint32(1)), labels

    def _fill(
        self, table: npt.NDArray[np.uint32], wanted: set[int]
    ) -> tuple[npt.NDArray[np.uint32], list[str]]:
        """Enter the codes of the wanted groups, from 1, in a table, and look up each cell in it."""
        targets = sorted(wanted)
        table[targets] = np.arange(1, len(targets) + 1, dtype=np.uint32)
        return table[self.places], [self.labels[i] for i in targets]


def count_cells(
    places: npt.NDArray[np.int64],
    weights: npt.NDArray[np.uint64] | None,
    of: npt.NDArray[np.bool_],
    n: int,
) -> npt.NDArray[np.int64]:
    """Return how many cells have each of `n` places; the rows `of` have `places` and `weights`."""
    if weights is None:
        return np.bincount(places, minlength=n)
    # Sums of whole numbers below 2^53 are exact.
    return np.bincount(places, weights[of], minlength=n).astype(np.int64)


def read_groups(
    obs: Frame,
    groupby: object,
    chosen: npt.NDArray[np.bool_] | None = None,
    *,
    empty: bool = False,
) -> Groups:
    """Return the groups of a column of obs that have cells among those chosen (None: all).

    Categories keep their order; other labels are sorted. Missing and empty labels are not groups.
    There may be no group only if `empty`.

    Raises
    ------
    KeyError
        The column does not exist.
    TypeError
        `groupby` is not text.
    ValueError
        No cell has a label.
    """
    codes, names = require_column(obs, check_name("groupby", groupby)).coded()
    if chosen is not None:
        codes = np.where(chosen, codes, -1)
    present = np.bincount(codes[codes >= 0], minlength=len(names)) > 0
    by_label: dict[str, int] = {}
    places = np.full(len(names) + 1, -1, dtype=np.int64)
    for i, name in enumerate(names):
        if present[i] and name != "":
            if name in by_label:
                msg = f"obs[{groupby!r}] has two labels that are both written {name!r}; rename one"
                raise ValueError(msg)
            places[i] = by_label[name] = len(by_label)
    labels = list(by_label)
    if not labels and not empty:
        msg = f"obs[{groupby!r}] has no cell with a label, so there is nothing to test"
        raise ValueError(msg)
    return Groups(str(groupby), labels, places[codes], None, by_label)
