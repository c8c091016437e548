"""Count a screen once: tables of how many cells of a group have a value of a gene."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from pdex import _html
from pdex._cluster.pool import is_on_cluster
from pdex._cluster.run import Which, scene_of, tabulated
from pdex._counting import Counted, combined, facts_of, write_table
from pdex._io.errors import error_context
from pdex._io.hints import warn_of_repeated
from pdex._io.normalize import normalization_of
from pdex._io.opening import open_source
from pdex._io.rows import pushed, served
from pdex._io.tables import Table, Writer, check_folder, frame_name, logarithms
from pdex._places import Place, place_of
from pdex._progress import Progress
from pdex._resources import resources_of
from pdex._scale import Values
from pdex._stages import stage
from pdex._text import below, counted, size
from pdex._validate import Engine, Join, Normalize, as_names, as_part, flag, suggesting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pdex._io.source import Data


logger: logging.Logger = logging.getLogger("pdex")


class Tables:
    """A screen as count tables: for each gene and group of cells, how many cells have each value.

    Every test of pdex can be computed from them, without the matrix. :func:`pdex.de`,
    :func:`pdex.sink_de` and :func:`pdex.scan_anndata` accept them, or their folder, in place of the
    screen, and give the same numbers.

    Parameters
    ----------
    path
        The folder that :func:`pdex.tabulate` or ``pdex tabulate`` wrote.

    Raises
    ------
    FileNotFoundError
        There is no such folder, or it has no manifest: tabulating did not finish.
    ValueError
        A file is damaged or does not belong to the table, or another version of pdex wrote the
        tables in a format that this one does not read.

    See Also
    --------
    tabulate : Make count tables.

    Examples
    --------
    >>> import pdex, tempfile
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pdex.tabulate(screen, "target", output=f"{folder}/screen.tables")
    ...     tables = pdex.Tables(f"{folder}/screen.tables")
    ...     print(tables.labels["cells"].sum(), tables.scan().collect().columns)
    400 ['gene', 'target', 'value', 'count']
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._table = Table(place_of(path))
        # Read now, so that damage is found before anything is computed.
        _ = self._table.labels, self._table.genes

    @property
    def path(self) -> Path | str:
        """The folder, or its URL."""
        folder = self._table.folder
        return folder if isinstance(folder, Path) else str(folder)

    @property
    def labels(self) -> pl.DataFrame:
        """The groups of cells: a column for each label, and the number of ``cells``.

        A column that is called gene, value, count, group or cells is called ``gene_label`` and so
        on here and in :meth:`scan`.
        """
        return self._table.labels.drop("group")

    @property
    def genes(self) -> pl.Series:
        """The names of the genes."""
        return self._table.genes["gene"]

    def scan(self) -> pl.LazyFrame:
        """Scan the tables as a lazy frame in long format, one gene after another.

        Returns
        -------
        polars.LazyFrame
            ``gene`` (Enum of the gene names), a column for each label (Enum, or numbers as they
            were; null for cells without a label), ``value``, and ``count`` (UInt32), the number of
            cells. The frame is marked as sorted by gene, so that ``group_by("gene")`` streams in
            bounded memory.

        Raises
        ------
        ValueError
            Two genes have one name.

        Examples
        --------
        >>> import pdex, tempfile
        >>> screen = pdex.datasets.simulate_screen(n_cells=90, n_genes=20, n_targets=3, n_effects=5)
        >>> test = pdex.wilcoxon("value", "target", reference="non-targeting", count="count")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tables = pdex.tabulate(screen, "target", output=f"{folder}/screen.tables")
        ...     tests = tables.scan().group_by("gene").agg(test).collect(engine="streaming")
        >>> tests.height
        20
        """
        table = self._table
        names = self.genes.to_list()
        if len(set(names)) < len(names):
            again = next(name for i, name in enumerate(names) if name in names[:i])
            msg = f"{self.path} has two genes named {again!r}: a frame by gene would mix them"
            raise ValueError(msg)
        gene = pl.Series("gene", names, dtype=pl.Enum(names))
        labels = self.labels.drop("cells")
        schema = pl.Schema({"gene": gene.dtype} | dict(labels.schema))
        dtype: pl.DataType = getattr(pl, table.manifest.values["dtype"])()
        schema.update({"value": dtype, "count": pl.UInt32()})
        source = _Parts(str(self.path), gene, labels, schema, table.manifest.log1p)
        scan = register_io_source(source, schema=schema, validate_schema=False, is_pure=True)
        return scan.set_sorted("gene")

    def __fspath__(self) -> str:
        """Return the folder, so that tables can be given where a path can."""
        return str(self.path)

    def _lines(self) -> list[tuple[str, str]]:
        """Return what the tables hold, as names with what is said of each."""
        made = self._table.manifest
        values = Values(made.values["least"], made.values["most"], made.values["fractional"])
        kind = f"{values.kind(made.log_base)}, as they are stored"
        if made.normalize is not None:
            total = made.normalize if isinstance(made.normalize, str) else f"{made.normalize:g}"
            kind = f"counts, scaled to {total} per cell{', tested as log1p' * made.log1p}"
        span = f"{values.least:.4g} to {values.most:.4g}"
        # Of the manifest: showing what is open asks no disk and no network.
        groups = counted(made.n_groups, "group")
        rows = (
            f"{counted(made.n_rows, 'row')}, {size(sum(part.bytes for part in made.parts))} on disk"
        )
        lines = [
            ("cells", f"{made.n_cells:,} in {groups} by {', '.join(made.groupby)}"),
            ("genes", f"{made.n_genes:,}"),
            ("values", f"{made.matrix}: {kind}; {span}"),
            ("stored", f"{rows}, written by pdex {made.pdex}"),
        ]
        if made.part is not None:
            lines.append(("part", "{} of {}".format(*made.part)))
        return lines

    def __repr__(self) -> str:
        return below(f"Tables({str(self.path)!r})", self._lines())

    def _repr_html_(self) -> str:
        """Return what the tables hold, for notebooks."""
        return _html.block(f"Count tables {self.path}", _html.listing(self._lines()))


class _Parts:
    """The I/O source that Polars calls each time a scan is collected; it can be pickled."""

    def __init__(
        self, path: str, gene: pl.Series, labels: pl.DataFrame, schema: pl.Schema, logged: bool
    ) -> None:
        self.path, self.gene, self.labels, self.schema = path, gene, labels, schema
        #: Whether scaled counts are given as logarithms.
        self.logged = logged

    def __call__(
        self,
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,  # noqa: ARG002 - a block is a part
    ) -> Iterator[pl.DataFrame]:
        """Yield one part after another."""
        wanted = np.arange(len(self.gene), dtype=np.uint32)
        if n_rows is None:  # n_rows of Polars counts rows before the predicate
            wanted = pushed(predicate, self.gene, wanted)
        frames = map(self._labelled, Table(place_of(self.path)).frames(wanted))
        yield from served(frames, with_columns, predicate, n_rows)

    def _labelled(self, frame: pl.DataFrame) -> pl.DataFrame:
        group = frame["group"]
        labels = [column.gather(group) for column in self.labels.get_columns()]
        gene = self.gene.gather(frame["gene"]).set_sorted()
        value = logarithms(frame["value"]) if self.logged else frame["value"]
        return pl.DataFrame([gene, *labels, value, frame["count"]])


@suggesting
def tabulate(
    data: Data,
    groupby: str | Iterable[str],
    *,
    output: str | os.PathLike[str],
    layer: str | None = None,
    use_raw: bool = False,
    gene_names: str | None = None,
    normalize: Normalize | None = None,
    log1p: bool = True,
    join: Join | None = None,
    genes: Iterable[str] | None = None,
    where: pl.Expr | str | None = None,
    single_cells: str | Iterable[str] | None = None,
    part: tuple[int, int] | None = None,
    engine: Engine | None = None,
    threads: int | None = None,
    memory_limit: int | str | None = None,
    progress: bool | None = None,
) -> Tables:
    """Count a screen once, and test it often: write its count tables to a folder.

    A count table says how many cells of a group have a value of a gene. It holds all that a test
    needs and, for counts, takes a small part of the matrix's space. Groups are the combinations of
    all label columns that are named, so that one table answers many questions: per target, per
    guide, within batches. Splitting groups means counting anew: name all columns that you may want.

    Parameters
    ----------
    data
        A screen, as in :func:`pdex.de`: an AnnData object, the path of an ``.h5ad`` file, a Zarr
        store, or many sources, which are read once; or count tables, which are merged to fewer
        columns or genes.
    groupby
        One or more columns of ``obs``. Cells without a label in a column (missing or empty) are
        counted as such; cells without any label are left out.
    output
        The folder to write, for example ``"screen.tables"``. It appears when it is whole; an error
        or an interrupt leaves an older table as it is.
    layer
        Layer to read instead of ``X``.
    use_raw
        Read ``raw.X``, with the genes of ``raw.var_names``, instead of ``X``.
    gene_names
        Column of ``var`` that names the genes; a gene without a value there keeps its name. None:
        ``var_names``.
    normalize, log1p
        Scale the counts of each cell to this total over all genes, or to the ``"median"`` of the
        totals: see :func:`pdex.de`. The tables then hold the scaled counts, most of which differ
        from cell to cell, and remember whether log(1 + x) is to be tested.
    join
        Of many sources: ``"inner"`` uses the genes that all have, in the order of the first. None:
        all sources must have the same genes in the same order.
    genes
        Genes to read. None: all.
    where
        Count only the cells for which this holds: a Polars expression over the columns of ``obs``,
        or SQL text.
    single_cells
        Labels of the first column whose cells become groups of their own, in the order of the
        cells: the control cells, for :func:`pdex.calibrate`, which draws single ones. Each takes a
        row per gene or more.
    part
        ``(i, n)``: count only the i-th of n ranges of the cells, and read no others. For job
        arrays: each job writes a folder of its own, and a list of all n folders is the screen.
    engine
        ``"dask"``: count on the workers of a Dask cluster, as in :func:`pdex.de`. The folder that
        holds `output` must be one that all workers share; the files that go from task to task are
        in a hidden folder there. If the call does not come to its end, they stay, and the same call
        goes on from them.
    threads
        Number of threads. None: all cores; with `engine`, those that Dask gave each worker.
    memory_limit
        Bytes to use, as a number or a size such as ``"2GB"``. None: 1 GB; with `engine`, each
        worker uses as many, but no more than a third of its own limit.
    progress
        Show a progress bar if the work takes longer than a second. None: only on a terminal and in
        notebooks.

    Returns
    -------
    Tables
        The tables.

    Raises
    ------
    KeyError
        Unknown column or layer.
    ValueError
        Unknown gene or label; `part` is no part; columns whose names frames cannot tell apart; NaN
        in the matrix (the error names the first cell and gene); broken sparse arrays; no cell with
        a label; no raw.
    TypeError
        The matrix does not hold real numbers.
    FileExistsError
        `output` exists and is not a folder of count tables.
    OSError
        The data cannot be read, or the tables cannot be written; nothing is left behind.

    Warns
    -----
    PdexWarning
        Genes of one name.

    See Also
    --------
    Tables : Open tables that were written before.
    de, sink_de : Test a screen, or its tables.

    Examples
    --------
    >>> import pdex, tempfile
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> screen.obs["batch"] = ["a", "b"] * 200
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tables = pdex.tabulate(screen, ["target", "batch"], output=f"{folder}/screen.tables")
    ...     within = pdex.de(tables, "target", strata="batch")
    ...     same = within.equals(pdex.de(screen, "target", strata="batch"))
    >>> same
    True
    """
    folder, columns = check_folder(output), as_names("groupby", groupby)
    _check_columns(columns)
    resources = resources_of(threads, memory_limit)
    normalization = normalization_of(normalize, log1p)
    share = None if part is None else as_part(part)
    if share is not None and normalize == "median":
        msg = "normalize='median': the median of one part is not that of all cells; give a number"
        raise ValueError(msg)
    progress = None if progress is None else flag("progress", progress)
    on_cluster = is_on_cluster(engine)
    if on_cluster and share is not None:
        msg = "part= and engine='dask' exclude each other: the workers count all cells"
        raise ValueError(msg)
    single = [] if single_cells is None else as_names("single_cells", single_cells)
    with ExitStack() as opened:
        scene = None
        if on_cluster:
            scene = opened.enter_context(scene_of(folder, (threads, memory_limit), progress))
        source = opened.enter_context(open_source(data, layer, use_raw, join))
        with error_context(source.path), stage("labels"):
            source.choose(where)
            if share is not None:
                source.require_cells("part=")
                source.choose_part(*share)
            source.name_genes(gene_names)
            source.normalize(normalization, logged=False)
            selected = source.select_genes(genes)
            warn_of_repeated(source, selected)
            # A part may be of cells without any label; the whole may not.
            groups = combined(source, columns, single, empty=share is not None)
            facts = facts_of(source, columns, groups[1], resources.threads)
            facts["part"] = None if share is None else list(share)
        before = _columns_in(folder)
        if scene is not None:
            which = Which(layer, use_raw, join == "inner")
            tabulated(scene, source, which, groups, selected, facts, resources, folder)
            _log_replaced(folder, before)
            return Tables(str(folder))
        codes, labels = groups
        names = [source.var_names[i] for i in selected]
        bar = Progress(len(selected), progress, lambda: source.reading)
        try:
            writer = Writer(folder, resources.threads)
            write_table(
                source,
                Counted(codes, labels.height, labels, selected, names, facts),
                writer,
                (resources, bar),
            )
        finally:
            bar.close()
    _log_replaced(folder, before)
    return Tables(str(folder))


def _columns_in(folder: Place) -> list[str]:
    """Return the columns of the tables that are in a folder; none if there are no tables."""
    with suppress(OSError, ValueError):
        return Table(folder).manifest.groupby
    return []


def _log_replaced(folder: Place, before: list[str]) -> None:
    """Log by which columns the tables were that are gone."""
    if before:
        logger.info("%s: replaced tables by %s", folder, ", ".join(before))


def _check_columns(columns: list[str]) -> None:
    """Raise ValueError unless there are columns, whose names differ in frames, too."""
    if not columns:
        msg = "groupby=[]: name at least one column"
        raise ValueError(msg)
    by_name: dict[str, str] = {}
    for column in columns:
        other = by_name.setdefault(frame_name(column), column)
        if other != column or columns.count(column) > 1:
            msg = f"groupby names {other!r} and {column!r}, which frames cannot tell apart"
            raise ValueError(msg)
