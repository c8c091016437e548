"""What is said of the columns of obs, and which of them holds the targets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pdex import _pdex
from pdex._io.groups import read_groups
from pdex._io.labels import texts
from pdex._text import counted, listed

if TYPE_CHECKING:
    import numpy.typing as npt

    from pdex._io.labels import Frame
    from pdex._together import Facts

    #: Numbers of cells of the rows of obs; None: each row is a cell.
    Cells = npt.NDArray[np.uint64] | None

#: Words that suggest, in the name of a column, that it holds targets.
_COLUMN = re.compile(
    "target|gene|perturb|condition|treatment|knock|guide|sgrna|drug|cytokine", re.I
)
#: Integer columns with more distinct values are taken for measurements.
_MOST_LABELS = 1000
#: Largest number of control groups to name in a command; more are likely to be guides.
_MOST_CONTROLS = 20
#: Largest number of columns of obs to name in a line.
_MOST_NAMED = 6


def describe_column(obs: Frame, name: str, cells: Cells = None) -> Facts:
    """Return the facts about a column of obs that :class:`Info` lists."""
    column = obs.column(name)
    values = column.rows()
    if values.dtype.is_float():
        values = values.fill_nan(None)
    distinct = values.drop_nulls().unique(maintain_order=True)
    kind = "categorical" if column.codes is not None else _kind(values.dtype)
    controls: list[str] = []
    if kind in ("categorical", "text"):
        labels = texts(distinct)
        ranks = dict(zip(labels, _pdex.control_ranks(labels), strict=True))
        controls = sorted(
            (label for label, rank in ranks.items() if rank is not None),
            key=lambda label: (ranks[label], label),
        )
    return {
        "name": name,
        "kind": kind,
        "distinct": len(distinct),
        "missing": _count(values.is_null().to_numpy(), cells),
        "controls": controls,
    }


def _kind(dtype: pl.DataType) -> str:
    """Return what a column without categories holds, in one word."""
    if dtype == pl.String:
        return "text"
    if dtype == pl.Boolean:
        return "boolean"
    return "integer" if dtype.is_integer() else "float" if dtype.is_float() else str(dtype)


def _count(rows: npt.NDArray[np.bool_], cells: Cells) -> int:
    """Return the number of cells in some rows of obs."""
    return int(np.count_nonzero(rows) if cells is None else cells[rows].sum())


def _groupable(column: Facts, n_cells: int) -> bool:
    """Return whether a column may hold groups of cells, not measurements or names of cells."""
    if column["kind"] == "integer" and column["distinct"] > _MOST_LABELS:
        return False
    distinct: int = column["distinct"]
    return column["kind"] != "float" and 2 <= distinct <= max(2, n_cells // 2)


def find_targets(obs: Frame, columns: list[Facts], cells: Cells = None) -> Facts | None:
    """Return the column that most likely holds the targets; None if no column holds groups."""
    n_cells = obs.height if cells is None else int(cells.sum())
    able = [column for column in columns if _groupable(column, n_cells)]

    def fitness(column: Facts) -> tuple[float, bool, int]:
        # If guides and targets have the same controls, the targets have fewer labels.
        (rank,) = _pdex.control_ranks(column["controls"][:1]) or (None,)
        return (
            1000 if rank is None else rank,
            _COLUMN.search(column["name"]) is None,
            column["distinct"],
        )

    named = [c for c in able if c["controls"] or _COLUMN.search(c["name"])]
    words = [c for c in able if c["kind"] in ("categorical", "text")]
    if not (named or words):
        return None
    for best in sorted(named or words, key=fitness):
        found = _described(obs, best, cells)
        if found is not None:
            return found
    return None


def _described(obs: Frame, best: Facts, cells: Cells) -> Facts | None:
    """Return the facts about one column of targets; None if it has no groups to compare."""
    groups = read_groups(obs, best["name"])
    groups.weights = cells
    sizes, reference_cells = groups.sizes(), None
    controls = _reference(best["controls"])
    others = [label for label in best["controls"] if label not in controls]
    if controls:
        places = groups.references(controls)
        reference_cells = int(sizes[places].sum())
        sizes = np.delete(sizes, places)
    if len(sizes) < (1 if controls else 2):
        return None
    return {
        "column": best["name"],
        "reference": "rest" if not controls else controls[0] if len(controls) == 1 else controls,
        "reference_cells": reference_cells,
        "n_targets": len(sizes),
        "least": int(sizes.min()),
        "median": float(np.median(sizes)),
        "most": int(sizes.max()),
        "unlabelled": _count(groups.places < 0, cells),
        "other_controls": others,
    }


def _reference(controls: list[str]) -> list[str]:
    """Return the most likely control, or all of the same rank if they differ only in numbers."""
    ranks = _pdex.control_ranks(controls)
    alike = [label for label, rank in zip(controls, ranks, strict=True) if rank == ranks[0]]
    plain = len({re.sub(r"[\W\d_]", "", label).lower() for label in alike}) == 1
    return alike if plain and len(alike) <= _MOST_CONTROLS else controls[:1]


def sentences_of(targets: Facts) -> list[str]:
    """Return sentences that describe the targets."""
    name, reference = targets["column"], targets["reference"]
    line = f"Column {name!r} looks like the targets: {targets['n_targets']:,}"
    if targets["reference_cells"] is None:
        line += " groups, none of which looks like controls."
    else:
        labels = [reference] if isinstance(reference, str) else reference
        controls = counted(targets["reference_cells"], "control cell")
        line += f", and {controls} ({listed(labels, 2)})."
    if targets["least"] == targets["most"]:
        cells = f"Each target has {counted(targets['least'], 'cell')}"
    else:
        cells = f"A target has {targets['least']:,} to {targets['most']:,} cells"
        cells += f" (median {targets['median']:,.0f})"
    if targets["unlabelled"]:
        n = targets["unlabelled"]
        cells += f"; {counted(n, 'cell')} {'has' if n == 1 else 'have'} no label"
    others = targets["other_controls"]
    if not others:
        return [line, f"{cells}."]
    verbs = (
        ("looks", "it counts as a target")
        if len(others) == 1
        else ("look", "they count as targets")
    )
    also = f"Also {verbs[0]} like controls: {listed(others, 3)}; {verbs[1]}."
    return [line, also, f"{cells}."]


def columns_line(columns: list[Facts]) -> str:
    """Return the first columns of obs, and how many labels those that are not numbers have."""
    named = []
    for column in columns[:_MOST_NAMED]:
        labels = "" if column["kind"] == "float" else f" ({column['distinct']:,})"
        named.append(column["name"] + labels)
    more = len(columns) - len(named)
    return f"Columns: {', '.join(named)}{f' and {more:,} more' if more else ''}"
