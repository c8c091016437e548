"""Choose which of many points to draw, and where to place the labels of a few.

Symbols: x and y are the positions of the points in pixels of the drawing, float64, length n.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

LINE_HEIGHT, CHARACTER_WIDTH = 13.0, 6.6
_RADII = (11.0, 16.0, 24.0, 34.0, 46.0, 60.0, 78.0, 100.0)
_ANGLES = np.arange(16) * (2 * np.pi / 16)


def subsample(x: Floats, y: Floats, most: int) -> npt.NDArray[np.intp]:
    """Return the indices of at most `most` points that cover the same area as all points.

    The drawing is divided into squares, and each square keeps only its uppermost point (the one
    with the largest y). This thins out crowds and keeps isolated points. The squares start at one
    pixel and grow until at most `most` of them are occupied.
    """
    if x.size <= most:
        return np.arange(x.size)
    order = np.lexsort((x, -y))
    side = 1.0
    while True:
        column, row = np.floor(x[order] / side), np.floor(y[order] / side)
        # Exact in float64, because a drawing is only some thousand pixels wide and high.
        _, first = np.unique(column * 2.0**24 + row, return_index=True)
        if first.size <= most:
            return np.sort(order[first])
        side *= 1.2


def place_labels(
    points: Floats, names: Sequence[str], crowd: Floats, size: tuple[float, float]
) -> Floats:
    """Return the centre of each label in pixels, shape (n, 2).

    Labels are placed one after another. Each takes, out of 16 directions and 8 distances, the
    position within the drawing that covers no other label, then the fewest points of the `crowd`
    (shape (m, 2)), then lies nearest to its point.
    """
    width, height = size
    centres = np.empty((len(names), 2))
    boxes = np.empty((len(names), 4))
    for i, name in enumerate(names):
        half = np.array([CHARACTER_WIDTH * len(name) / 2 + 2, LINE_HEIGHT / 2])
        places, distance = _candidates(points[i], half)
        low, high = places - half, places + half
        outside = ((low < 0) | (high > [width, height])).any(axis=1)
        inside = ((crowd > low[:, None]) & (crowd < high[:, None])).all(axis=2).sum(axis=1)
        placed = boxes[:i]
        apart = (low[:, None] > placed[:, 2:]) | (high[:, None] < placed[:, :2])
        covered = (~apart.any(axis=2)).sum(axis=1)
        best = np.argmin(1e6 * outside + 1e4 * covered + 3.0 * inside + 0.1 * distance)
        centres[i] = places[best]
        boxes[i] = [*low[best], *high[best]]
    return centres


def _candidates(point: Floats, half: Floats) -> tuple[Floats, Floats]:
    """Return the possible centres of a label, and the distances of its edge from the point."""
    directions = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
    radii = np.array(_RADII)
    # The label's near edge, not its centre, lies on the circle.
    offsets = radii[:, None, None] * directions + directions * half * [1.0, 0.4]
    return point + offsets.reshape(-1, 2), np.repeat(radii, _ANGLES.size)
