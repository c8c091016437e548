"""AnnData as a lazy frame: an I/O source that yields blocks of genes."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from pdex._io.errors import error_context
from pdex._io.groups import SKIP
from pdex._io.normalize import Normalization, normalization_of
from pdex._io.opening import open_source
from pdex._io.rows import Folding, dtype_of, pushed, rows_of, served
from pdex._resources import resources_of
from pdex._strata import check_number, read_strata
from pdex._validate import Fold, Join, Normalize, check_choice
from pdex._warn import warn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from pdex._io.source import Data, Source
    from pdex._resources import Resources


def scan_anndata(
    data: Data,
    groupby: str,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    gene_names: str | None = None,
    normalize: Normalize | None = None,
    log1p: bool = True,
    join: Join | None = None,
    genes: Iterable[str] | None = None,
    groups: Iterable[str] | None = None,
    strata: str | None = None,
    where: pl.Expr | str | None = None,
    fold: Fold | None = "values",
    threads: int | None = None,
    memory_limit: int | str | None = None,
) -> pl.LazyFrame:
    """Scan an AnnData matrix as a lazy frame in long format, one gene after another.

    Each distinct value of a gene in a group is a row with the number of cells that have it. For
    counts these are about a tenth as many rows as there are non-zeros, and nothing that a test
    needs is lost. The frame is marked as sorted by gene, so that ``group_by("gene")`` streams in
    bounded memory. Projections, filters on ``gene`` and ``head`` are pushed down to the source. All
    cores make the rows, and make the next ones while Polars works on the last. A file is opened
    each time the frame is collected, and then closed. The frame can be pickled.

    Parameters
    ----------
    data
        A screen, as in :func:`pdex.de`: an AnnData object, the path of an ``.h5ad`` file, a Zarr
        store, count tables (:class:`pdex.Tables` or the path of their folder), or many sources.
    groupby
        Column of ``obs`` with the group of each cell. Cells without a label (missing or empty) are
        left out.
    layer
        Layer to read instead of ``X``.
    use_raw
        Read ``raw.X``, with the genes of ``raw.var_names``, instead of ``X``.
    gene_names
        Column of ``var`` that names the genes; a gene without a value there keeps its name. None:
        ``var_names``.
    normalize, log1p
        Scale the counts of each cell to this total over all genes, or to the ``"median"`` of the
        totals, and (unless ``log1p=False``) take log(1 + x): see :func:`pdex.de`. ``value`` is
        then Float64.
    join
        Of many sources: ``"inner"`` uses the genes that all have, in the order of the first. None:
        all sources must have the same genes in the same order.
    genes, groups
        Genes and groups to read. None: all.
    strata
        Column of ``obs`` with the batch or replicate of each cell, for ``strata="stratum"`` in
        :func:`pdex.wilcoxon`. Cells are then counted in each group and stratum. Cells without a
        stratum are left out.
    where
        Read only the cells for which this holds: a Polars expression over the columns of ``obs``,
        or SQL text such as ``"cell_line = 'K562'"``.
    fold
        Which cells share a row. ``"values"``: those of a group (and stratum) with the same value.
        ``"zeros"``: the zeros of a group; each other cell has a row of its own, in the order of the
        cells. None: each cell has a row.
    threads
        Number of threads that make rows. None: all cores.
    memory_limit
        Bytes of a file that may be in memory at once, as a number or a size such as ``"2GB"``.
        None: 1 GB. Rows take about 100 MB more.

    Returns
    -------
    polars.LazyFrame
        ``gene`` (Enum of the gene names; repeated names are made unique with ``-1``, ``-2``),
        ``target`` (Enum of the groups), ``value`` (the dtype of the matrix; UInt8 for bool),
        ``count`` (UInt32) and, with `strata`, ``stratum`` (Enum of the strata).

    Raises
    ------
    KeyError
        Unknown column or layer.
    ValueError
        Unknown gene, group or option; too many strata; no raw.
    TypeError
        The matrix does not hold real numbers, or `strata` names several columns.
    OSError
        The file cannot be read. Every error about a file names its path. Errors that occur while
        the query runs keep their class from Polars 2 on; before, they are ComputeErrors of Polars.

    See Also
    --------
    wilcoxon, ttest, anderson, ks : Test the values in Polars expressions.
    de : Test them in one call.

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> lf = pdex.scan_anndata(screen, "target")
    >>> tests = (
    ...     lf.group_by("gene")
    ...     .agg(pdex.wilcoxon("value", "target", reference="non-targeting", count="count"))
    ...     .explode("wilcoxon")
    ...     .unnest("wilcoxon")
    ...     .collect(engine="streaming")
    ... )
    >>> tests.height
    60
    """
    if fold is not None:
        check_choice("fold", fold, get_args(Fold))
    resources = resources_of(threads, memory_limit)
    normalization = normalization_of(normalize, log1p)
    with open_source(data, layer, use_raw, join) as source:
        with error_context(source.path):
            source.choose(where)
            source.name_genes(gene_names)
            source.normalize(normalization)
        names = _unique(source.var_names)
        with error_context(source.path):
            found = source.groups(groupby)
            selected = source.select_genes(genes)
            codes, groups_found = found.numbers_of(groups)
            within = None if strata is None else read_strata(source, strata)
            dtype = dtype_of(source)
        n_strata = 1
        if within is not None:
            # Use one number for each pair of group and stratum.
            check_number(within, len(groups_found))
            n_strata = len(within.labels)
            inside = (codes != SKIP) & (within.places >= 0)
            both = codes.astype(np.int64) * n_strata + within.places
            codes = np.where(inside, both, SKIP).astype(np.uint32)
        # Enums of all genes and groups, so that frames of one screen can be joined and stacked.
        gene = pl.Series("gene", names, dtype=pl.Enum(names))
        target = pl.Series("target", groups_found, dtype=pl.Enum(found.labels))
        numbers = pl.int_range(len(groups_found) * n_strata, eager=True, dtype=pl.UInt32)
        labels = {"target": target.gather(numbers // n_strata)}
        schema = pl.Schema({"gene": gene.dtype, "target": target.dtype})
        schema.update({"value": dtype, "count": pl.UInt32()})
        if within is not None:
            stratum = pl.Series("stratum", within.labels, dtype=pl.Enum(within.labels))
            labels["stratum"], schema["stratum"] = stratum.gather(numbers % n_strata), stratum.dtype
        # A file that was opened here is opened again each time the frame is collected.
        version = source.version()
        blocks = _Blocks(
            data if version is None else source.again(),
            source if version is None else None,
            (layer, use_raw, join),
            (where, normalization),
            codes,
            gene,
            labels,
            schema,
            selected,
            fold or "cells",
            resources,
            version,
        )
    scan = register_io_source(blocks, schema=schema, validate_schema=False, is_pure=True)
    return scan.set_sorted("gene")


@dataclass
class _Blocks:
    """The I/O source that Polars calls each time the frame is collected; it can be pickled."""

    data: Data
    #: The open matrix, for data in memory or data that the caller opened.
    source: Source | None
    which: tuple[str | None, bool, Join | None]
    #: The chosen cells, on which a median depends, and how their counts are scaled.
    values: tuple[pl.Expr | str | None, Normalization | None]
    #: The number of each cell's group, or pair of group and stratum.
    codes: npt.NDArray[np.uint32]
    #: The names of all genes.
    gene: pl.Series
    #: For each number of a group its target and, with strata, its stratum.
    labels: dict[str, pl.Series]
    schema: pl.Schema
    selected: npt.NDArray[np.uint32]
    fold: str
    resources: Resources
    #: Size and modification time of the file, or of each, when it was scanned.
    version: Any

    def __call__(
        self,
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,  # noqa: ARG002 - blocks are chosen by their entries
    ) -> Iterator[pl.DataFrame]:
        """Yield blocks of genes."""
        with self._open() as source:
            frames = self._frames(source, predicate, n_rows)
            yield from served(frames, with_columns, predicate, n_rows)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the open matrix, which is opened again from the data."""
        return {**self.__dict__, "source": None}

    @contextmanager
    def _open(self) -> Iterator[Source]:
        if self.source is not None:
            yield self.source
            return
        with open_source(self.data, *self.which) as source:
            if self.version is None:
                self.source = source
            elif (now := source.version()) != self.version:
                changed = source.path or _changed(source.parts, now, self.version)
                msg = f"{changed} has changed since it was scanned: scan it again"
                raise ValueError(msg)
            where, normalization = self.values
            source.choose(where)
            source.normalize(normalization)
            yield source

    def _frames(
        self, source: Source, predicate: pl.Expr | None, n_rows: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = self.selected
        if n_rows is None:  # n_rows of Polars counts rows before the predicate
            wanted = pushed(predicate, self.gene, wanted)
        folding = Folding(self.codes, len(self.labels["target"]), self.fold, nan=True)
        for gene, group, value, count in rows_of(source, folding, wanted, self.resources):
            columns = [
                self.gene.gather(gene).set_sorted(),
                *(labels.gather(group) for labels in self.labels.values()),
            ]
            columns[2:2] = [value.alias("value"), count]
            yield pl.DataFrame(columns)


def _changed(paths: list[str | None], now: Any, before: Any) -> str | None:
    """Return the path of the first file that has another version than before."""
    return next(path for path, a, b in zip(paths, now, before, strict=True) if a != b)


def _unique(names: list[str]) -> list[str]:
    """Return unique names; repeated ones are numbered as AnnData does it, with a warning."""
    if len(set(names)) == len(names):
        return names
    import anndata as ad
    import pandas as pd

    warn(
        "gene names occur more than once: they are made unique with -1, -2, …, as "
        "AnnData.var_names_make_unique does"
    )
    return [str(name) for name in ad.utils.make_index_unique(pd.Index(names))]
