"""Pictures of a result of :func:`pdex.de`, as Altair charts: ``pip install 'pdex[plots]'``.

Altair is what Polars itself draws with. A chart shows in a notebook, combines with others
(``a | b``) and is saved by ``chart.save("volcano.html")``, or ``.png`` and ``.svg``.

- :func:`volcano`, :func:`ma`, :func:`top_genes`: one target.
- :func:`effects`: targets x genes.
- :func:`pvalues`: are the p-values of null comparisons uniform?
"""

from pdex._plotting.bars import top_genes
from pdex._plotting.heat import effects
from pdex._plotting.pvalues import pvalues
from pdex._plotting.scatter import ma, volcano

__all__ = ["effects", "ma", "pvalues", "top_genes", "volcano"]
