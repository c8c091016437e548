"""The tables of ``pdex info``, as text: the command line and notebooks show the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdex._text import size

if TYPE_CHECKING:
    from pdex._together import Facts

#: Headings and their alignment.
MATRICES = {"matrix": "left", "layout": "left", "dtype": "left", "stored": "right"}
MATRICES |= {"storage": "left", "disk": "right", "memory": "right", "values": "left"}
TABLES = {"matrix": "left", "dtype": "left", "rows": "right", "parts": "right"}
TABLES |= {"disk": "right", "memory": "right", "values": "left"}
OBS = {"obs": "left", "kind": "left", "distinct": "right", "missing": "right", "controls": "left"}

#: Largest number of control groups to name.
_MOST = 8

_KINDS = {
    "counts": "counts",
    "log1p": "log1p",
    "normalised": "normalised, not log1p",
    "residuals": "values below 0",
}


def of_matrix(matrix: Facts, n_genes: int) -> dict[str, str]:
    """Return the row of a matrix."""
    cells = dict.fromkeys(MATRICES, "")
    if "shape" not in matrix:
        return {
            **cells,
            "matrix": matrix["name"],
            "layout": f"{matrix['layout']}: not read by pdex",
        }
    n_cells = matrix["shape"][0] * matrix["shape"][1]
    part = f" ({matrix['stored'] / n_cells:.0%})" if n_cells and matrix["layout"] != "dense" else ""
    genes = matrix["shape"][1]
    more = f" ({genes:,} genes)" if genes != n_genes else ""
    return {
        "matrix": f"{matrix['name']}{more}",
        "layout": matrix["layout"],
        "dtype": matrix["dtype"],
        "stored": f"{matrix['stored']:,}{part}",
        "storage": "+".join(matrix["filters"]) or "plain",
        "disk": "" if matrix["bytes"] is None else size(matrix["bytes"]),
        "memory": size(matrix["memory"]),
        "values": _values(matrix["values"]),
    }


def of_tables(matrix: Facts, tables: Facts) -> dict[str, str]:
    """Return the row of the matrix that count tables were made of."""
    return {
        "matrix": matrix["name"],
        "dtype": matrix["dtype"],
        "rows": f"{tables['n_rows']:,}",
        "parts": f"{tables['parts']:,}",
        "disk": size(matrix["bytes"]),
        "memory": size(matrix["memory"]),
        "values": _values(matrix["values"]),
    }


def of_column(column: Facts, n_cells: int) -> dict[str, str]:
    """Return the row of a column of obs."""
    n_more = len(column["controls"]) - _MOST
    more = f" and {n_more:,} more" if n_more > 0 else ""
    return {
        "obs": column["name"],
        "kind": column["kind"],
        "distinct": f"{column['distinct']:,}",
        "missing": f"{column['missing'] / max(1, n_cells):.1%}" if column["missing"] else "",
        "controls": ", ".join(column["controls"][:_MOST]) + more,
    }


def _values(values: Facts | None) -> str:
    if values is None:
        return "-"
    return f"{_KINDS[values['kind']]}: {values['least']:.4g} to {values['most']:.4g}"
