"""The genes of a matrix as rows: gene, group of cells, value, and number of such cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from pdex import _pdex
from pdex._io.groups import SKIP
from pdex._io.memory import check_dtype
from pdex._io.prefetch import Prefetch
from pdex._io.stored import Counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy.typing as npt

    from pdex._io.memory import Matrix
    from pdex._io.source import Source
    from pdex._resources import Resources

#: About how many rows are made at a time.
ROWS = 2_000_000


class Folding(NamedTuple):
    """How cells become rows."""

    #: The number of each cell's group; SKIP for cells that are left out.
    codes: npt.NDArray[np.uint32]
    n_groups: int
    #: "values" ("sorted": in order of groups and values), "zeros" or "cells": which cells share
    #: a row.
    fold: str
    #: Whether NaN becomes a row; else it is an error.
    nan: bool
    #: For each gene of the matrix its number in the rows; None: its column.
    numbers: npt.NDArray[np.uint32] | None = None
    #: Whether zeros have rows; a group's cells without a row are zeros.
    zeros: bool = True


def rows_of(
    source: Source,
    folding: Folding,
    genes: npt.NDArray[np.uint32],
    resources: Resources,
    progress: Callable[[int], object] | None = None,
) -> Iterator[list[pl.Series]]:
    """Yield the rows of consecutive genes: gene, group, value (in the matrix's dtype) and count.

    Rows ascend by gene and, where `folding` says so, by group and value. The next rows are made
    while the caller uses the last. `progress` is called with the bytes read from the file.

    Raises
    ------
    ValueError
        The matrix holds NaN, and `folding` refuses it; or broken sparse arrays.
    """
    with Prefetch((resources.threads, progress)) as ahead:
        # The matrix is read on a thread of its own, which must learn that this one is stopped.
        for block in ahead.of(_blocks(source, folding, genes, resources, ahead.how[1])):
            yield from block


def _blocks(
    source: Source,
    folding: Folding,
    genes: npt.NDArray[np.uint32],
    resources: Resources,
    progress: Callable[[int], object] | None,
) -> Iterator[list[list[pl.Series]]]:
    codes, n_groups, how, nan, renumbered, zeros = folding
    dtype, cells, offset = dtype_of(source), source.cells, 0
    pieces: Iterable[tuple[int, Matrix, npt.NDArray[np.uint32], npt.NDArray[np.uint32]]] = (
        (first, matrix, np.ascontiguousarray(local), local + np.uint32(first))
        for first, matrix, local in source.pieces(genes, resources, progress)
    )
    once = how in ("sorted", "values") and source.is_read_once(resources, progress)
    if once and (found := source.some_cells(resources, progress)) is not None:
        offset, some = found
        codes = np.ascontiguousarray(codes[offset : offset + some.shape[0]])
        pieces = [(0, some, genes, genes)]
    elif once:
        wanted = Counted(codes, n_groups, genes)
        pieces = (
            (0, table, np.arange(len(columns), dtype=np.uint32), columns)
            for columns, table in source.spilled(wanted, resources, None, progress)
        )
        cells = np.bincount(codes[codes != SKIP], minlength=n_groups).astype(np.uint64)
        codes = np.arange(n_groups, dtype=np.uint32)
    for first, matrix, local, columns in pieces:
        numbers = columns if renumbered is None else renumbered[columns]
        threads = resources.threads
        fold = _pdex.Fold(codes, n_groups, local, numbers, how, zeros, nan, threads, cells)
        while True:
            try:
                parts = fold.next(matrix, ROWS)
            except _pdex.NotANumberError as error:
                message, cell, gene = error.args
                placed = _pdex.NotANumberError(message, cell + offset, gene)
                raise source.not_a_number(placed, first) from None
            if parts is None:
                break
            yield [
                [gene, group, _narrow(value, dtype, source.where), count]
                for gene, group, value, count in parts
            ]


def _narrow(value: pl.Series, dtype: pl.DataType, where: str) -> pl.Series:
    """Return the values in the dtype of the matrix; ValueError if summed duplicates do not fit."""
    try:
        narrow: pl.Series = value.cast(dtype)
    except pl.exceptions.InvalidOperationError as error:
        msg = (
            f"{where} has several entries at one place, whose sum is no {dtype}: "
            "call sum_duplicates() or widen the dtype first"
        )
        raise ValueError(msg) from error
    return narrow


def served(
    frames: Iterator[pl.DataFrame],
    with_columns: list[str] | None,
    predicate: pl.Expr | None,
    n_rows: int | None,
) -> Iterator[pl.DataFrame]:
    """Yield what Polars asks an I/O source for: the first rows, then a filter, then columns."""
    left = n_rows
    for frame in frames:
        block = frame
        if left is not None:
            block = block.head(left)
            left -= block.height
        if predicate is not None:
            block = block.filter(predicate)
        yield block if with_columns is None else block.select(with_columns)
        if left == 0:
            return


def dtype_of(source: Source) -> pl.DataType:
    """Return the Polars dtype of the matrix's values."""
    dtype = source.dtype
    if dtype.kind == "b":
        return pl.UInt8()
    if dtype.kind == "f" and dtype.itemsize == 2:
        return pl.Float32()
    kinds = {"i": "Int", "u": "UInt", "f": "Float"}
    if dtype.kind not in kinds or dtype.itemsize > 8:
        check_dtype(dtype, source.where)
    kind: pl.DataType = getattr(pl, f"{kinds[dtype.kind]}{8 * dtype.itemsize}")()
    return kind


def pushed(
    predicate: pl.Expr | None, names: pl.Series, selected: npt.NDArray[np.uint32]
) -> npt.NDArray[np.uint32]:
    """Return the genes that pass a predicate on gene alone; it is applied to the rows, too."""
    if predicate is None or set(predicate.meta.root_names()) != {"gene"}:
        return selected
    genes = names.gather(selected).to_frame().with_row_index("place")
    kept = genes.filter(predicate)["place"]
    left: npt.NDArray[np.uint32] = selected[kept.to_numpy()]
    return left
