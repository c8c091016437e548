"""Pictures and the report, from result frames only; users call them as :mod:`pdex.pl`.

May import Polars, NumPy, SciPy and, inside functions, Altair. Of pdex only the report imports more.

- ``table``: any result frame to one set of columns; ``files``: a path to a frame.
- ``subsample``: which of many points to draw, and where to write their names.
- ``null_distribution``: p-values against the uniform distribution.
- ``cluster_order``: clustered rows and columns.
- ``chart``, ``scatter``, ``bars``, ``heat``, ``pvalues``: Altair charts.
- ``report``, ``encode``, ``page/``: the page, its numbers, its template.
"""
