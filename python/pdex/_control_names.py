"""Labels that look like names of control cells.

The compiled module knows the names, and finds long ones within a label ("non-targeting_00012"). It
takes a short one, such as NTC, only where it is the whole label; numbered ones are found here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pdex import _pdex

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The words for a guide that may stand beside a name. A capital G alone is none: NTG1 is a gene.
_GUIDE = "(?:[sS][gG](?:RNA)?|g(?:RNA)?)"
_NUMBERED = re.compile(
    rf"(?P<before>{_GUIDE}[\W_]*)?(?P<name>(?i:ntc|neg|pbs|unt|nt|wt))"
    rf"(?P<after>[\W_]*{_GUIDE})?(?P<gap>[\W_]*)(?P<number>\d*)"
)
#: Short names that, with a number, are also genes: WT1 of human and mouse, PBS2 of yeast.
_GENES = ("wt", "pbs")
#: The number of names in the compiled module, which ranks those with a number behind all others.
_NAMES = 24


def control_ranks(labels: Sequence[str]) -> list[int | None]:
    """Return the rank of each label as a name of control cells; None if it is none.

    The smaller, the more certain; labels with a number or another word rank behind the others.
    """
    ranks = _pdex.control_ranks(list(labels))
    return [
        _rank_of_numbered(label) if rank is None else rank
        for label, rank in zip(labels, ranks, strict=True)
    ]


def _rank_of_numbered(label: str) -> int | None:
    """Return the rank of a short name with a number or a word for a guide, such as sgNTC-1."""
    found = _NUMBERED.fullmatch(label.strip())
    if found is None:
        return None
    name, is_guide = found["name"].lower(), found["before"] or found["after"]
    if name in _GENES and not is_guide and "_" not in found["gap"]:
        return None
    (rank,) = _pdex.control_ranks([name])
    return None if rank is None else _NAMES + rank
