"""What errors say beyond what was not found: where the name is, and what may be meant."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pdex._io.groups import count_cells, read_groups
from pdex._text import listed
from pdex._validate import closest
from pdex._warn import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pdex._io.labels import Frame
    from pdex._io.source import Source

#: Largest number of columns in which a name is looked for.
_MOST_COLUMNS = 30
#: Similarity from which on a gene is taken to be meant: thousands of names are never far.
_NEAR = 0.8


def about_label(source: Source, groupby: str, label: object, what: str) -> str:
    """Return what follows the error for a label that is not a group."""
    is_reference = what == "reference"
    if is_reference and (label is None or label == "all"):
        return "; to compare with all other cells, use reference='rest'"
    if source.chosen is not None:
        whole = read_groups(source.obs, groupby)
        if whole.place(label) is not None:
            rows = np.zeros(int(source.chosen.sum()), dtype=np.int64)
            (n_cells,) = count_cells(rows, source.cells, source.chosen, 1)
            return f" among the {n_cells:,} cells that where= chose"
    column = _holder(source.obs, str(label), groupby)
    if column is None:
        return ""
    hint = f"; it is a label of obs[{column!r}]"
    if not is_reference:
        return hint
    return f"{hint}: name the groups of obs[{groupby!r}] that hold its cells, reference=[...]"


def about_genes(source: Source, unknown: Sequence[str]) -> str:
    """Return what follows the error for genes that are not there."""
    if source.var is not None and not source.stored_names:
        column = _holder(source.var, unknown[0])
        if column is not None:
            var = source.names.removesuffix("_names")
            which = "it" if len(unknown) == 1 else repr(unknown[0])
            return f"; {var}[{column!r}] has {which}: use gene_names={column!r}."
    # Identifiers that differ in some digits have nothing in common.
    near = [
        closest(name, source.var_names, 1 if re.search(r"\d{5}", name) else _NEAR)
        for name in unknown[:3]
    ]
    meant = [name for name in near if name is not None]
    return f". Did you mean {listed(meant)}?" if meant else "."


def warn_of_repeated(source: Source, genes: npt.NDArray[np.uint32]) -> None:
    """Warn if some of the genes have one name, since their rows look alike."""
    (name, n), *_ = Counter(source.var_names[i] for i in genes).most_common(1) or [("", 0)]
    if n > 1:
        warn(
            f"gene names occur more than once, such as {name!r} for {n} genes: each gene has rows "
            "of its own, in the order of the data; make the names unique, or choose a column of "
            "var with gene_names="
        )


def _holder(frame: Frame, name: str, but: str = "") -> str | None:
    """Return the first column of text that holds a name."""
    for column in frame.columns[:_MOST_COLUMNS]:
        if column == but:
            continue
        # A column that cannot be read is not what the error is about.
        with suppress(ValueError, TypeError, KeyError, OSError):
            values = frame.column(column).values
            if values.dtype == pl.String and (values == name).any():
                return column
    return None
