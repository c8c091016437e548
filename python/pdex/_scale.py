"""What a matrix holds - counts, logarithms, or neither - and how its means are taken.

The test does not depend on it; means and fold changes do. One rule for every interface:

========== =================================================== ===========================
kind       values                                              taken as
========== =================================================== ===========================
counts     whole numbers from 0                                they are
log1p      fractions, from 0 to 20 (in natural logarithms)     ln(1 + x), or another base
normalised fractions, beyond 20: no log1p of a count is larger they are, with a warning
residuals  any below 0, as z-scores and residuals have         they are, without fold
                                                               changes, with a warning
========== =================================================== ===========================

e^20 is half a billion. The base of the logarithm is that of ``uns["log1p"]["base"]``, where scanpy
notes it.
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

#: The largest natural logarithm that a count may have.
_LARGEST_LOG = 20.0

#: (mean, is_log1p) to the engine's scale.
_SCALES = {
    ("arithmetic", False): "plain",
    ("arithmetic", True): "mean_of_expm1",
    ("geometric", False): "geometric",
    ("geometric", True): "expm1_of_mean",
}


class Values(NamedTuple):
    """What the values of a matrix have in common."""

    #: The least, at most 0, and the largest, at least 0.
    least: float
    most: float
    #: Whether any has a fractional part above 1e-3.
    fractional: bool

    def kind(self, log_base: float | None = None) -> Kind:
        """Return what the values are, where logarithms would be to `log_base` (e where None)."""
        if self.least < 0:
            return "residuals"
        if not self.fractional:
            return "counts"
        unit = 1.0 if log_base is None else math.log(log_base)
        return "log1p" if self.most * unit <= _LARGEST_LOG else "normalised"


class Scale(NamedTuple):
    """How means are taken, so that they are on the natural scale."""

    is_log1p: bool
    #: The base of the logarithm; e where None.
    log_base: float | None = None
    #: Whether means have a ratio: not those of residuals.
    has_ratio: bool = True

    def of(self, mean: str) -> str:
        """Return the engine's word for arithmetic or geometric means of such values."""
        return _SCALES[mean, self.is_log1p]


def scale_of(source: Source, is_log1p: bool | None, threads: int) -> Scale:
    """Return the scale that was asked for, or that the values look like, with a warning in doubt.

    Parameters
    ----------
    source
        The matrix.
    is_log1p
        What the caller says; None: look at the values (of a file, the first four million stored).
    threads
        How many threads look.
    """
    if is_log1p is not None:
        return Scale(flag("is_log1p", is_log1p), source.log_base)
    with stage("guess is_log1p"):
        values = Values(*source.survey(threads))
    kind = values.kind(source.log_base)
    logger.info("the values look like %s", kind)
    if kind == "normalised":
        warn(
            f"{source.where} has fractional values up to {values.most:,.0f}, too large for log1p "
            "of counts: means and fold changes are taken of the values as they are; say "
            "is_log1p=False if that is right, is_log1p=True if not"
        )
    if kind == "residuals":
        warn(
            f"{source.where} has values below 0 (down to {values.least:.3g}), as z-scores and "
            "residuals have: fold changes are NaN, for such means have no ratio; choose counts or "
            "log1p values by layer or use_raw, or say is_log1p"
        )
    return Scale(kind == "log1p", source.log_base, kind != "residuals")
