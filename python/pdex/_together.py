"""What is described of a screen, and of many as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pdex._io.united import Part, Shared
from pdex._scale import Values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pdex._io.labels import Frame

Facts = dict[str, Any]


class Screen(NamedTuple):
    """What is described of a screen whose rows are cells."""

    obs: Frame
    genes: list[str]
    #: The facts about matrices that :class:`pdex.Info` lists.
    matrices: list[Facts]
    #: As the caller wrote it; None: it is in memory.
    path: str | None
    bytes: int | None
    log_base: float | None

    def read(self) -> Frame:
        """Return obs."""
        return self.obs


def together(screens: list[Screen], pattern: str | None) -> tuple[Screen, list[str]]:
    """Return many screens as one, and notes; `pattern` may have named them.

    Matrices, columns and genes are those that all have.
    """
    first = screens[0]
    shared = set(first.genes).intersection(*(one.genes for one in screens))
    genes = [name for name in first.genes if name in shared]
    parts = [
        Part(str(one.path or f"data[{i}]"), one.obs.columns, one.obs.height, one.read)
        for i, one in enumerate(screens)
    ]
    every = [{matrix["name"]: matrix for matrix in one.matrices} for one in screens]
    matrices = [
        _of_one_name([of[name] for of in every], first.log_base)
        for name in every[0]
        if all(name in of for of in every)
    ]
    notes = []
    if any(one.genes != first.genes for one in screens):
        notes.append(
            f"the sources have different genes, or another order; {len(genes):,} are in all, which "
            "join='inner' (--join inner) chooses"
        )
    sizes = [one.bytes for one in screens if one.bytes is not None]
    n_bytes = sum(sizes) if sizes else None
    return Screen(Shared(parts), genes, matrices, pattern, n_bytes, first.log_base), notes


def _of_one_name(each: list[Facts], log_base: float | None) -> Facts:
    """Return the facts about the matrices of one name in many sources."""
    if any(matrix["values"] is None for matrix in each):
        return {**each[0], "values": None}
    values = [matrix["values"] for matrix in each]
    least, most = min(one["least"] for one in values), max(one["most"] for one in values)
    whole = all(one["kind"] in ("counts", "residuals") for one in values)
    found = {"kind": Values(least, most, not whole).kind(log_base), "least": least, "most": most}
    found |= {name: sum(one[name] for one in values) for name in ("seen", "not_finite")}
    sums = {name: _sum(matrix[name] for matrix in each) for name in ("stored", "bytes", "memory")}
    shape = [sum(matrix["shape"][0] for matrix in each), min(one["shape"][1] for one in each)]
    return {**each[0], **sums, "shape": shape, "values": found}


def _sum(numbers: Iterable[int | None]) -> int | None:
    """Return the sum; None if a number is not known."""
    total = 0
    for n in numbers:
        if n is None:
            return None
        total += n
    return total
