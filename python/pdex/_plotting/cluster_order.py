"""Order the rows of a heat map so that neighbours are similar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def clustered(rows: npt.NDArray[np.float64]) -> list[int]:
    """Return the rows in the order of the leaves of their average-linkage tree.

    Rows are compared by Euclidean distance. With up to 500 rows, the branches are flipped so that
    the sum of the distances between neighbours is smallest (Bar-Joseph, Gifford and Jaakkola 2001).
    """
    if len(rows) < 3:
        return list(range(len(rows)))
    from scipy.cluster import hierarchy

    tree = hierarchy.linkage(rows, "average", optimal_ordering=len(rows) <= 500)
    return [int(leaf) for leaf in hierarchy.leaves_list(tree)]
