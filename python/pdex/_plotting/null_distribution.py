"""Compare p-values with the uniform distribution, which they follow if nothing differs.

Symbols: n p-values; p(k) is the k-th smallest. If all are uniform and independent, p(k) follows the
distribution Beta(k, n - k + 1), with mean k / (n + 1) (David and Nagaraja 2003, Order Statistics,
section 2.3). The band consists of quantiles of this distribution, for each k separately.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


#: Levels from the first number up are always judged, those below it only if at least so many
#: p-values are expected to be at most the level.
_USUAL, _LEAST_EXPECTED = 0.01, 10


def is_judged(level: float, n: int) -> bool:
    """Return whether `n` p-values are enough to judge how many are at most the level.

    Examples
    --------
    >>> is_judged(0.01, 50), is_judged(0.001, 9_999), is_judged(0.001, 10_000)
    (True, False, True)
    """
    return level >= _USUAL or n >= needed(level)


def needed(level: float) -> int:
    """Return the number of p-values from which a level below 0.01 is judged."""
    return round(_LEAST_EXPECTED / level)


@dataclass(frozen=True)
class Quantiles:
    """A quantile-quantile plot: -log10 of expected and observed p-values, most significant first.

    ``lower`` and ``upper`` bound each rank of uniform p-values with probability `confidence`.
    """

    expected: Floats
    observed: Floats
    lower: Floats
    upper: Floats


def quantiles(neg_log10_p: Floats, confidence: float = 0.95, most: int = 400) -> Quantiles:
    """Return the plot at no more than `most` ranks, evenly spaced on a logarithmic scale."""
    from scipy.special import betaincinv

    observed = np.sort(neg_log10_p[~np.isnan(neg_log10_p)])[::-1]
    n = observed.size
    rank = np.unique(np.round(np.geomspace(1, max(n, 1), most))).astype(np.float64)[:n]
    tail = (1 - confidence) / 2
    with np.errstate(divide="ignore"):
        return Quantiles(
            -np.log10(rank / (n + 1)),
            observed[rank.astype(np.intp) - 1],
            -np.log10(betaincinv(rank, n - rank + 1, 1 - tail)),
            -np.log10(betaincinv(rank, n - rank + 1, tail)),
        )


def histogram(neg_log10_p: Floats, bins: int) -> npt.NDArray[np.int64]:
    """Return the number of p-values in each of `bins` equal parts of [0, 1]."""
    p = 10.0 ** -neg_log10_p[~np.isnan(neg_log10_p)]
    return np.histogram(np.minimum(p, 1.0), bins, (0.0, 1.0))[0]


def shares(neg_log10_p: Floats, levels: tuple[float, ...]) -> list[float]:
    """Return the share of the p-values that are at most each level; NaN if there are none."""
    known = neg_log10_p[~np.isnan(neg_log10_p)]
    if not known.size:
        return [float("nan")] * len(levels)
    # Count a p-value equal to the level, however its logarithm is rounded.
    return [float(np.mean(known >= -np.log10(level) * (1 - 1e-12))) for level in levels]
