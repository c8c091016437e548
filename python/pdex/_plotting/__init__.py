"""Charts and the report, made from result frames only; users call the charts as :mod:`pdex.pl`.

These modules may import Polars, NumPy, SciPy and, inside functions, Altair. Only the report imports
other parts of pdex.

- ``table``: converts any result frame to one set of columns; ``files``: reads a frame from a path.
- ``subsample``: chooses which of many points to draw, and where to place their labels.
- ``null_distribution``: compares p-values with the uniform distribution.
- ``cluster_order``: orders rows and columns by clustering.
- ``chart``, ``scatter``, ``bars``, ``heat``, ``pvalues``: Altair charts.
- ``report``, ``encode``, ``page/``: the HTML page, its data, and its template.
"""
