"""Charts of a result of :func:`pdex.de`, made with Altair: ``pip install 'pdex[plots]'``.

Altair is the library that Polars itself uses for charts. A chart is displayed in a notebook, can be
combined with others (``a | b``), and is saved with ``chart.save("volcano.html")``; ``.png`` and
``.svg`` work, too.

- :func:`volcano`, :func:`ma`, :func:`top_genes`: one target.
- :func:`effects`: targets x genes.
- :func:`pvalues`: are the p-values of null comparisons uniform?
"""

from pdex._plotting.bars import top_genes
from pdex._plotting.heat import effects
from pdex._plotting.pvalues import pvalues
from pdex._plotting.scatter import ma, volcano

__all__ = ["effects", "ma", "pvalues", "top_genes", "volcano"]
