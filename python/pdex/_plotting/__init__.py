"""Pictures and the report, from result frames only; users call them as :mod:`pdex.pl`.

May import Polars, NumPy, SciPy and, inside functions, Altair: nothing of pdex outside this room.

- ``table``: any result frame to one set of columns; ``files``: a path to a frame.
- ``thin``: which of many points to draw, and where to write their names.
- ``nulls``: p-values against the uniform distribution.  ``order``: clustered rows and columns.
- ``chart``, ``scatter``, ``bars``, ``heat``, ``pvalues``: Altair charts.
- ``report``, ``pack``, ``page/``: the page, its numbers, its template.
"""
