"""What a matrix holds - counts, logarithms, or neither - and how its means are computed.

Means and fold changes depend on it; the test does not. All interfaces use the same rule:

========== =================================================== ===========================
kind       values                                              used as
========== =================================================== ===========================
counts     integers, none below 0                              counts
log1p      fractions from 0 to 20 (in natural logarithms)      ln(1 + x), or another base
normalised fractions above 20, too large for log1p of counts   they are, with a warning
residuals  some below 0, such as z-scores and residuals        they are, without fold
                                                               changes, with a warning
========== =================================================== ===========================

A log1p value of 20 is a count of half a billion. The base of the logarithm is
``uns["log1p"]["base"]``, where scanpy records it.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from pdex._stages import stage
from pdex._validate import flag
from pdex._warn import warn

if TYPE_CHECKING:
    from pdex._io.source import Source

logger: logging.Logger = logging.getLogger("pdex")

Kind = Literal["counts", "log1p", "normalised", "residuals"]

#: The largest plausible natural logarithm of a count.
_LARGEST_LOG = 20.0

#: The engine's scale for each pair (mean, is_log1p).
_SCALES = {
    ("arithmetic", False): "plain",
    ("arithmetic", True): "mean_of_expm1",
    ("geometric", False): "geometric",
    ("geometric", True): "expm1_of_mean",
}


class Values(NamedTuple):
    """A summary of the values of a matrix."""

    #: The smallest value (at most 0) and the largest (at least 0).
    least: float
    most: float
    #: Whether any value has a fractional part above 1e-3.
    fractional: bool

    def kind(self, log_base: float | None = None) -> Kind:
        """Return what the values are, if logarithms are to the base `log_base` (None: e)."""
        if self.least < 0:
            return "residuals"
        if not self.fractional:
            return "counts"
        unit = 1.0 if log_base is None else math.log(log_base)
        return "log1p" if self.most * unit <= _LARGEST_LOG else "normalised"


class Scale(NamedTuple):
    """How means are computed, so that they are on the natural scale."""

    is_log1p: bool
    #: The base of the logarithm; None: e.
    log_base: float | None = None
    #: Whether a ratio of means is meaningful, which it is not for residuals.
    has_ratio: bool = True

    def of(self, mean: str) -> str:
        """Return the engine's name for arithmetic or geometric means of such values."""
        return _SCALES[mean, self.is_log1p]


def scale_of(source: Source, is_log1p: bool | None, threads: int) -> Scale:
    """Return the requested scale, or guess it from the values and warn if it is in doubt.

    Parameters
    ----------
    source
        The matrix.
    is_log1p
        The caller's choice. None: guess from the values (for a file, the first four million stored
        values).
    threads
        Number of threads that examine the values.
    """
    if source.normalization is not None:
        return _of_scaled(source, is_log1p, threads)
    if is_log1p is not None:
        return Scale(flag("is_log1p", is_log1p), source.log_base)
    with stage("guess is_log1p"):
        values = Values(*source.survey(threads))
    kind = values.kind(source.log_base)
    logger.info("the values look like %s", kind)
    if kind == "normalised":
        warn(
            f"{source.where} has fractional values up to {values.most:,.0f}, too large for log1p "
            "of counts: means and fold changes are computed from the values as they are; pass "
            "is_log1p=False if that is right, is_log1p=True if not"
        )
    if kind == "residuals":
        warn(
            f"{source.where} has values below 0 (down to {values.least:.3g}), as z-scores and "
            "residuals have: fold changes are NaN, because such means have no meaningful ratio; "
            "choose counts or log1p values with layer or use_raw, or pass is_log1p"
        )
    return Scale(kind == "log1p", source.log_base, kind != "residuals")


def _of_scaled(source: Source, is_log1p: bool | None, threads: int) -> Scale:
    """Return the scale of counts that are normalised; warn if they are no counts."""
    if is_log1p is not None:
        msg = (
            "is_log1p and normalize= exclude each other: normalize= takes counts, and log1p says "
            "whether their logarithms are tested"
        )
        raise ValueError(msg)
    # Count tables were made from what was looked at then.
    seen = None if source.cells is not None else Values(*source.survey(threads))
    kind = "counts" if seen is None else seen.kind(source.log_base)
    if kind != "counts":
        what = kind if kind == "residuals" else f"{kind} values"
        warn(
            f"{source.where} looks like {what}, and normalize= takes counts: choose counts with "
            "layer or use_raw, or leave out normalize"
        )
    return Scale(source.logged)
