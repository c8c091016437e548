"""Differential expression for perturbation screens, exact and fast.

pdex compares every gene of every target with the control cells. It offers four tests: Wilcoxon
rank-sum, t-test, two-sample Anderson-Darling and two-sample Kolmogorov-Smirnov.

- The tests as Polars expressions: :func:`wilcoxon`, :func:`ttest`, :func:`anderson`, :func:`ks`.
- An AnnData object as a lazy frame for these expressions: :func:`scan_anndata`.
- A screen counted once, to be tested often: :func:`tabulate`, :class:`Tables`.
- The whole analysis in one call: :func:`de`, or :func:`sink_de` to write the result to a file.
- The same from a job array: ``sink_de(..., part=(i, n))`` in each job, then :func:`collect`.
- What a screen contains and how to test it: :func:`info`.
- How a result was made: :func:`describe`.
- Tests of controls against controls, which should find nothing: :func:`calibrate`.
- Charts of a result: :mod:`pdex.pl`. The result as an HTML page: :func:`report`.
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
from pdex._shares import collect
from pdex._tables import Tables, tabulate

__all__ = [
    "DEFAULT_REFERENCE",
    "PDEX_MODES",
    "Calibration",
    "Description",
    "Info",
    "PdexNamespace",
    "Tables",
    "__version__",
    "anderson",
    "calibrate",
    "collect",
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
    "tabulate",
    "tl",
    "ttest",
    "wilcoxon",
]


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
