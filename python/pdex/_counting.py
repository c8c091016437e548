"""Count the cells of a source: what ``tabulate`` does, here or as a task of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import polars as pl

from pdex._io.groups import SKIP, count_cells
from pdex._io.rows import Folding, dtype_of, rows_of
from pdex._io.source import stamp_of
from pdex._io.tabled import TableSource
from pdex._io.tables import frame_name
from pdex._stages import stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from pdex._io.source import Source
    from pdex._progress import Progress
    from pdex._resources import Resources


class Counted(NamedTuple):
    """What is counted of a source."""

    #: The group of each cell; SKIP for cells that are left out.
    codes: npt.NDArray[np.uint32]
    n_groups: int
    #: The groups that have cells: number, labels and cells.
    labels: pl.DataFrame
    #: The genes, by their numbers, and what they are called.
    genes: npt.NDArray[np.uint32]
    names: list[str]
    #: What the manifest says of the source.
    facts: dict[str, Any]
    #: The number of the first gene in the table.
    first: int = 0
    #: Whether zeros have rows; a group's cells without a row are zeros.
    zeros: bool = True


#: What is known of scaled counts, whatever they were.
SCALED = {"least": 0.0, "fractional": True}


class TableWriter(Protocol):
    """What writes the rows of genes, one after another."""

    def writing(self) -> AbstractContextManager[None]:
        """Begin; after an error or an interrupt, leave nothing behind."""

    def add(self, frame: pl.DataFrame, lengths: Sequence[int]) -> None:
        """Add the rows of the next genes, and the number of rows of each."""

    def finish(self, labels: pl.DataFrame, names: Sequence[str], facts: dict[str, Any]) -> None:
        """Write what is left, and let the table appear."""


def write_table(
    source: Source,
    counted: Counted,
    writer: TableWriter,
    doing: tuple[Resources, Progress],
    check: Callable[[], object] = bool,
) -> None:
    """Count the cells of each group and value, gene by gene, and write the table.

    `check` is called before the table appears.
    """
    labels, names, facts = counted.labels, counted.names, counted.facts
    scaled, most = source.normalization is not None, 0.0
    with writer.writing(), stage("tabulate"):
        for frame, lengths in _frames(source, counted, doing):
            if scaled and frame.height:
                most = max(most, float(frame["value"].max()))  # type: ignore[arg-type]
            writer.add(frame, lengths)
            doing[1].advance(len(lengths))
        if scaled:
            facts = facts | {"values": facts["values"] | SCALED | {"most": most}}
        check()
        writer.finish(labels, names, facts)


def _frames(
    source: Source, counted: Counted, doing: tuple[Resources, Progress]
) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    """Yield the rows of consecutive genes, and how many each gene has."""
    codes, n_groups, labels, genes, _, facts, first, zeros = counted
    resources, bar = doing
    dtype: pl.DataType = getattr(pl, facts["values"]["dtype"])()
    numbers = np.zeros(len(source.var_names), dtype=np.uint32)
    due, end = first, first + len(genes)
    numbers[genes] = np.arange(due, end, dtype=np.uint32)
    folding = Folding(codes, n_groups, "sorted", nan=False, numbers=numbers, zeros=zeros)
    rows = rows_of(source, folding, genes, resources, bar.read) if labels.height else ()
    for gene, group, value, count in rows:
        if not len(gene):
            continue
        number = gene.to_numpy()
        ends = np.searchsorted(number, np.arange(due, number[-1] + 1), side="right")
        due = int(number[-1]) + 1
        exact = _exact(value.alias("value"), dtype, source.where)
        yield pl.DataFrame([gene, group, exact, count]), np.diff(ends, prepend=0).tolist()
    # The last genes may have no rows.
    yield _nothing(facts["values"]["dtype"]), [0] * (end - due)


def _exact(value: pl.Series, dtype: pl.DataType, where: str) -> pl.Series:
    """Return values as the type of the table; raise ValueError if one cannot be held exactly."""
    if value.dtype == dtype:
        return value
    cast: pl.Series = value.cast(dtype, strict=False)
    if not cast.cast(value.dtype, strict=False).equals(value, null_equal=False):
        msg = f"{where} has values that {dtype}, the type of all sources together, rounds"
        raise ValueError(msg)
    return cast


def _nothing(dtype: str) -> pl.DataFrame:
    """Return the rows of no cells."""
    number = pl.UInt32()
    columns = {"gene": number, "group": number, "value": getattr(pl, dtype)(), "count": number}
    return pl.DataFrame(schema=pl.Schema(columns))


def combined(
    source: Source, columns: list[str], single: list[str], empty: bool = False
) -> tuple[npt.NDArray[np.uint32], pl.DataFrame]:
    """Return each cell's group, and the groups: number, labels and cells.

    Groups are the combinations of labels that occur, in order of the labels of the first column,
    then of the second, and so on; a missing label comes last. Cells without any label are left out.
    Cells with a `single` label of the first column are groups of their own, behind all others. If
    no cell has a label, there are no groups: an error, unless `empty`.
    """
    found = [source.groups(column, empty=empty) for column in columns]
    n = len(found[0].places)
    combined = np.zeros(n, dtype=np.int64)
    labelled = np.zeros(n, dtype=np.bool_)
    for groups in found:
        most = len(groups.labels)
        places = np.where(groups.places < 0, most, groups.places)
        # Renumbered at each step, so that products stay small.
        combined = np.unique(combined * (most + 1) + places, return_inverse=True)[1]
        labelled |= groups.places >= 0
    alone = np.isin(found[0].places, [found[0].require(label, "label") for label in single])
    combined[alone] = n + np.flatnonzero(alone)
    numbers, first, codes = np.unique(combined[labelled], return_index=True, return_inverse=True)
    rows = np.flatnonzero(labelled)[first]
    cells = count_cells(codes, source.cells, labelled, len(numbers))
    labels = [pl.int_range(len(numbers), eager=True, dtype=pl.UInt32).alias("group")]
    for groups in found:
        places = pl.Series(groups.places[rows]).replace(-1, None)
        column, name = source.obs.column(groups.column), frame_name(groups.column)
        if column.codes is None and (
            column.values.dtype.is_numeric() or column.values.dtype == pl.Boolean
        ):
            # Numbers stay numbers, for `where`.
            values = column.values.gather(rows).alias(name)
            labels.append(values.zip_with(places.is_not_null(), pl.Series([None])))
        else:
            names = pl.Series(name, groups.labels, dtype=pl.Enum(groups.labels))
            labels.append(names.gather(places))
    all_codes = np.full(n, SKIP, dtype=np.uint32)
    all_codes[labelled] = codes
    return all_codes, pl.DataFrame([*labels, pl.Series("cells", cells, dtype=pl.UInt64)])


def facts_of(
    source: Source, columns: list[str], labels: pl.DataFrame, threads: int, *, whole: bool = True
) -> dict[str, Any]:
    """Return what the manifest says of the source; unless it is `whole`, not of its files."""
    normalized = source.normalization
    least, most, fractional = source.survey(threads)
    values = {"dtype": str(dtype_of(source)), "least": least, "most": most}
    return {
        "sources": _sources(source) if whole else [],
        "matrix": source.matrix_name,
        "groupby": columns,
        "values": values | {"fractional": fractional},
        "log_base": source.log_base if normalized is None else None,
        "normalize": None if normalized is None else normalized.asked,
        "log1p": normalized is not None and normalized.log1p,
        "n_cells": int(labels["cells"].sum()),
    }


def _sources(source: Source) -> list[dict[str, Any]]:
    """Return path, size and time of modification of each source; of tables, those of theirs."""
    if isinstance(source, TableSource):
        known: list[dict[str, Any]] = source.x.manifest.sources
        return known
    return [_version(path) for path in source.parts]


def _version(path: str | None) -> dict[str, Any]:
    """Return path, size and time of modification of a file; of AnnData in memory, no path."""
    found = None if path is None else stamp_of(path, whole=True)
    if found is None:
        return {"path": path}
    return {"path": path, "bytes": found[0], "modified_ns": found[1]}
