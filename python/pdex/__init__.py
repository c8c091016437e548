"""Differential expression for perturbation screens, exact and fast.

Three tests of every target and gene against the control cells: the Wilcoxon rank-sum, the
two-sample Anderson-Darling and the t-test.

- Polars expressions: :func:`wilcoxon`, :func:`anderson`, :func:`ttest`.
- AnnData to a lazy frame for them: :func:`scan_anndata`.
- The whole job in one call: :func:`de`.
- The interface of pdex 0.1: :func:`parallel_differential_expression`.
- The interface of scanpy: :func:`pdex.tl.rank_genes_groups`.
"""

from pdex import datasets, tl
from pdex._pdex import __version__
from pdex.compat.v01 import parallel_differential_expression
from pdex.de import de
from pdex.expressions import PdexNamespace, anderson, ttest, wilcoxon
from pdex.io.frames import scan_anndata

__all__ = [
    "PdexNamespace",
    "__version__",
    "anderson",
    "datasets",
    "de",
    "parallel_differential_expression",
    "scan_anndata",
    "tl",
    "ttest",
    "wilcoxon",
]
