"""Differential expression for perturbation screens, exact and fast.

Four tests of every target and gene against the control cells: the Wilcoxon rank-sum, the t-test,
the two-sample Anderson-Darling and the two-sample Kolmogorov-Smirnov test.

- Polars expressions: :func:`wilcoxon`, :func:`ttest`, :func:`anderson`, :func:`ks`.
- AnnData to a lazy frame for them: :func:`scan_anndata`.
- The whole job in one call: :func:`de`; into a file: :func:`sink_de`.
- What a screen is, and what to ask of it: :func:`info`; how a result was made: :func:`describe`.
- Controls against controls, where nothing should be found: :func:`calibrate`.
- Pictures of a result, and a page of it: :mod:`pdex.pl`, :func:`report`.
- The interfaces of pdex 0.1 and 0.3: :func:`parallel_differential_expression`, :func:`pdex`.
- The interface of scanpy: :func:`pdex.tl.rank_genes_groups`.
"""

from pdex import datasets, exceptions, pl, tl
from pdex._calibration import Calibration, calibrate
from pdex._compat.v01 import parallel_differential_expression
from pdex._compat.v03 import DEFAULT_REFERENCE, PDEX_MODES, pdex
from pdex._de import de, sink_de
from pdex._description import Description, describe
from pdex._expressions import PdexNamespace, anderson, ks, ttest, wilcoxon
from pdex._info import Info, info
from pdex._pdex import __version__
from pdex._plotting.report import report
from pdex._scan import scan_anndata

__all__ = [
    "DEFAULT_REFERENCE",
    "PDEX_MODES",
    "Calibration",
    "Description",
    "Info",
    "PdexNamespace",
    "__version__",
    "anderson",
    "calibrate",
    "datasets",
    "de",
    "describe",
    "exceptions",
    "info",
    "ks",
    "parallel_differential_expression",
    "pdex",
    "pl",
    "report",
    "scan_anndata",
    "sink_de",
    "tl",
    "ttest",
    "wilcoxon",
]


def __dir__() -> list[str]:
    """Show what is public."""
    return list(__all__)
