"""The whole analysis in one call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import polars as pl

from pdex._asked import Asked, clustered, prepared, tested_on
from pdex._cluster.pool import is_on_cluster
from pdex._cluster.run import check_result_folder, framed, written
from pdex._description import remember
from pdex._engine import warn_of_flat_targets
from pdex._output import check_output, scan
from pdex._shares import Plan, check_shares, write_share
from pdex._validate import (
    Alternative,
    AnyMethod,
    Engine,
    Join,
    Mean,
    Normalize,
    Scope,
    Test,
    as_part,
    suggesting,
)

if TYPE_CHECKING:
    import os

    from pdex._io.source import Data


@suggesting
def de(
    data: Data,
    groupby: str,
    *,
    reference: str | Iterable[str] = "non-targeting",
    test: Test = "wilcoxon",
    groups: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
    min_cells: int | None = None,
    strata: str | None = None,
    where: pl.Expr | str | None = None,
    genes: Iterable[str] | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    gene_names: str | None = None,
    normalize: Normalize | None = None,
    log1p: bool = True,
    join: Join | None = None,
    is_log1p: bool | None = None,
    mean: Mean = "arithmetic",
    pseudocount: float = 1e-9,
    fdr: Scope = "target",
    auroc: bool = False,
    alternative: Alternative = "two-sided",
    method: AnyMethod | None = None,
    continuity: bool = True,
    tie_correct: bool = True,
    midrank: bool = True,
    equal_var: bool = True,
    overestim_var: bool = False,
    engine: Engine | None = None,
    threads: int | None = None,
    memory_limit: int | str | None = None,
    progress: bool | None = None,
) -> pl.DataFrame:
    """Test every gene of every target against the reference, or against the rest.

    Parameters
    ----------
    data
        A screen, cells x genes: an AnnData object, in memory (also of Dask arrays, as anndata's
        ``read_lazy`` makes) or backed; the path of an ``.h5ad`` file; the path or URL of a
        ``.zarr`` store, a ``zarr.Group`` or a store of zarr-python; or count tables
        (:class:`pdex.Tables` or the path of their folder). Or many of these as one screen, of which
        all or none are count tables: a list, or a pattern such as ``"plates/*.h5ad"``, whose
        matches are sorted by name. Their cells follow each other, categories are united in order
        of appearance, and `join` says which genes are used. Data are never changed.
    groupby
        Column of ``obs`` with the group of each cell. Cells without a label (missing or empty) are
        left out.
    reference
        The group that all others are compared with; or several groups, whose cells are pooled; or
        ``"rest"``, which compares each group with all other labelled cells.
    test
        ``"wilcoxon"``, ``"ttest"``, ``"anderson"`` or ``"ks"`` (see their notes on sparse counts).
    groups, genes
        Test only these groups and genes. None: all. Other groups still belong to the rest.
    exclude
        Groups to leave out, both as targets and from the rest. With ``reference="rest"`` and
        ``exclude=["non-targeting"]``, each target is compared with all other perturbed cells.
    min_cells
        Skip targets with fewer labelled cells, and name them in a warning. Their cells still belong
        to the rest. With `strata`, only cells that have a stratum are counted.
    strata
        Column of ``obs`` with the batch or replicate of each cell. wilcoxon then compares cells
        within each stratum and adds up the comparisons (van Elteren's test), so that differences
        between batches are not mistaken for effects; see :func:`pdex.wilcoxon`. Cells without a
        stratum are left out. Means are over all remaining cells, whatever their stratum.
    where
        Use only the cells for which this holds: a Polars expression over the columns of ``obs``, or
        SQL text such as ``"cell_line = 'K562' AND n_counts > 500"``. A cell for which it is null is
        left out.
    layer
        Layer to read instead of ``X``.
    use_raw
        Read ``raw.X``, with the genes of ``raw.var_names``, instead of ``X``.
    gene_names
        Column of ``var`` that names the genes, such as symbols where the index holds Ensembl
        identifiers; a gene without a value there keeps its name. None: ``var_names``.
    normalize
        Scale the counts of each cell to this total over all genes, such as ``1e4``, or to the
        ``"median"`` of the cells' totals, before they are tested; the data are not changed. A value
        becomes count · total / (the cell's total) in float64. None: test values as they are.
    log1p
        With `normalize`: test log(1 + x) of the scaled counts. False leaves the logarithm out.
    join
        Of many sources: ``"inner"`` uses the genes that all have, in the order of the first. None:
        all sources must have the same genes in the same order.
    is_log1p
        Whether values are log1p-transformed; if so, means and fold changes are computed on the
        natural scale. None: guess from the values (for a file, from the first four million stored
        values). Integers are taken as counts, and fractions up to 20 as logarithms. Fractions above
        20 are used as they are, and values below 0 give no fold changes; both cause a warning. The
        base of the logarithm is that of ``uns["log1p"]``, or e if none is recorded there. Statistic
        and p-value do not depend on this option.
    mean
        ``"arithmetic"``: mean(x), or mean(expm1(x)) for log1p data. ``"geometric"``:
        expm1(mean(log1p(x))), or expm1(mean(x)) for log1p data.
    pseudocount
        Added to both means in the log2 fold change.
    fdr
        ``"target"``: apply Benjamini-Hochberg over the genes of each target. ``"all"``: apply it
        over all targets and genes.
    auroc
        Add the column ``auroc`` to the tests that do not have it, which are all except wilcoxon:
        the probability that a value of the target exceeds one of the reference, where ties count
        half.
    alternative
        ``"two-sided"``, ``"less"`` (the target's values are smaller; for ks, as in SciPy, they are
        greater) or ``"greater"``. anderson has only ``"two-sided"``.
    method
        How to compute p-values: ``"auto"``, ``"exact"``, ``"conditional"`` or ``"asymptotic"`` for
        wilcoxon; ``"auto"``, ``"exact"`` or ``"asymptotic"`` for ks; ``"auto"``, ``"asymptotic"``
        or ``"scipy"`` for anderson; ``"student"`` or ``"permutation"`` for ttest. None:
        ``"student"`` for ttest, ``"auto"`` for the others. See :func:`pdex.wilcoxon`,
        :func:`pdex.ks`, :func:`pdex.anderson`, :func:`pdex.ttest`.
    continuity, tie_correct
        Options of wilcoxon: apply the corrections for continuity and for ties.
    midrank
        Option of anderson: use the midrank version. False: the right-continuous version.
    equal_var
        Option of ttest: Student's test. False: Welch's test.
    overestim_var
        Option of ttest with ``equal_var=False``: divide the reference's variance by the target's
        number of cells, as scanpy's ``t-test_overestim_var`` does.
    engine
        ``"dask"``: run on the workers of the active client of Dask, or on the scheduler that
        ``dask.config.set(scheduler=...)`` chooses, from files that they see. None: run here. It
        does not affect the result. With ``"dask"``, the current folder must be one that all workers
        share: the files that go from task to task are in a hidden folder there, for the time of the
        call.
    threads
        Number of threads, at most the number of cores. None: all cores; with `engine`, those that
        Dask gave each worker. It does not affect the result.
    memory_limit
        For data in a file, the memory that the call may use beyond the result: a number of bytes,
        or a size such as ``"2GB"``. A matrix that needs more is read in parts: a CSR matrix in
        ranges of cells, whose counted values are spilled to an unnamed temporary file; others gene
        by gene. None: 1 GB. With `engine`, this is the limit of each worker; None: 1 GB, or a
        third of the worker's own limit. It does not affect the result.
    progress
        Show a progress bar if the work takes longer than a second. None: only on a terminal and in
        notebooks.

    Returns
    -------
    polars.DataFrame
        One row per target and gene, targets in order, genes in the order of ``var``. Columns:
        ``target`` and ``feature`` (Categorical), ``log2_fold_change``, ``p_value``,
        ``neg_log10_p``, ``statistic``, columns of the test (``z_score`` and ``auroc`` for wilcoxon,
        ``df`` for ttest; ``auroc`` for other tests if requested), ``percent_change`` (relative to
        the reference, as a fraction), ``target_fraction`` and ``reference_fraction`` (the shares of
        cells with a non-zero value), ``n_reference``, ``n_target``, ``target_mean``,
        ``reference_mean``, ``fdr``.

    Raises
    ------
    KeyError
        Unknown column or layer.
    ValueError
        Unknown reference, group, gene or option; a group with two roles; no target with at least
        `min_cells` cells; strata with a test other than wilcoxon, too many strata, or strata that
        no target shares with its reference; NaN in the matrix (the error names the first cell and
        gene); broken sparse arrays; no cells; no raw.
    TypeError
        The matrix does not hold real numbers; an option does not belong to the test; `strata` names
        several columns; with `engine`, data in this process, which workers do not see.
    OSError
        The file cannot be read, or its bytes contradict its metadata. Every error about a file
        names its path. With `engine`, also: a worker does not see the folder, or a task lost each
        worker that tried it.
    ModuleNotFoundError
        With `engine`: Dask is not installed.

    Warns
    -----
    PdexWarning
        Targets left out by `min_cells`; values of doubtful scale (see `is_log1p`); targets that
        share no stratum with the reference, whose tests are NaN; genes of one name.

    See Also
    --------
    sink_de : Write the result to a file; it may be larger than memory.
    describe : Show how a result was made.
    scan_anndata : Read the cells as a lazy frame, for your own expressions.
    tabulate : Count a screen once, to test it often.

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> result = pdex.de(screen, "target", test="wilcoxon")
    >>> result.shape
    (60, 16)
    """
    on_cluster = is_on_cluster(engine)
    asked = Asked(
        reference=reference,
        test=test,
        groups=groups,
        exclude=exclude,
        min_cells=min_cells,
        strata=strata,
        where=where,
        genes=genes,
        layer=layer,
        use_raw=use_raw,
        gene_names=gene_names,
        normalize=normalize,
        log1p=log1p,
        join=join,
        is_log1p=is_log1p,
        mean=mean,
        pseudocount=pseudocount,
        fdr=fdr,
        auroc=auroc,
        alternative=alternative,
        method=method,
        continuity=continuity,
        tie_correct=tie_correct,
        midrank=midrank,
        equal_var=equal_var,
        overestim_var=overestim_var,
        threads=threads,
        memory_limit=memory_limit,
        progress=progress,
    )
    if on_cluster:
        with clustered(data, groupby, asked, None) as (scene, job):
            return remember(framed(tested_on(scene, job, asked), job.work), job.description)
    with prepared(data, groupby, asked) as job:
        frame = job.work.frame(job.targets, job.bar)
        warn_of_flat_targets(job.work)
        return remember(frame, job.description)


@suggesting
def sink_de(
    data: Data,
    groupby: str,
    path: str | os.PathLike[str],
    *,
    reference: str | Iterable[str] = "non-targeting",
    test: Test = "wilcoxon",
    groups: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
    min_cells: int | None = None,
    strata: str | None = None,
    where: pl.Expr | str | None = None,
    genes: Iterable[str] | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    gene_names: str | None = None,
    normalize: Normalize | None = None,
    log1p: bool = True,
    join: Join | None = None,
    is_log1p: bool | None = None,
    mean: Mean = "arithmetic",
    pseudocount: float = 1e-9,
    fdr: Scope = "target",
    auroc: bool = False,
    alternative: Alternative = "two-sided",
    method: AnyMethod | None = None,
    continuity: bool = True,
    tie_correct: bool = True,
    midrank: bool = True,
    equal_var: bool = True,
    overestim_var: bool = False,
    part: tuple[int, int] | None = None,
    engine: Engine | None = None,
    threads: int | None = None,
    memory_limit: int | str | None = None,
    progress: bool | None = None,
) -> pl.LazyFrame:
    """Test every gene of every target and write the result to a file.

    The result need not fit in memory. Its numbers are first stored in an unnamed temporary file
    beside it, which takes up to 72 bytes per row. The counted values of a large CSR matrix are
    spilled to another one there (see `memory_limit` of :func:`pdex.de`). With ``fdr="all"``, all
    p-values are in memory at once, about 32 bytes per row; on a cluster (`engine`), only some are.
    The result appears only when it is complete: an error or an interrupt leaves no partial file,
    and leaves an older file unchanged.

    Parameters
    ----------
    path
        The file to write: ``.parquet``, ``.ipc``, ``.arrow``, ``.feather``, ``.csv`` or ``.tsv``.
    data, groupby, reference, test, groups, exclude, min_cells, strata, where, genes, layer
        As in :func:`pdex.de`.
    use_raw, gene_names, normalize, log1p, join, is_log1p, mean, pseudocount, fdr, auroc
        As in :func:`pdex.de`.
    alternative, method, continuity, tie_correct, midrank, equal_var, overestim_var
        The test's options, as in :func:`pdex.de`.
    part
        ``(i, n)``: test only the i-th of n shares of the genes, and write their numbers to a folder
        `path` for :func:`pdex.collect`. For job arrays: each job writes a share, in any order, and
        a share that is written again replaces the one before.
    engine
        ``"dask"``: run on the workers of a Dask cluster, as in :func:`pdex.de`. `path` is then a
        folder that all workers see, which gets Parquet files and appears when it is whole. The
        files that go from task to task are in a hidden folder beside it; if the call does not come
        to its end, they stay, and the same call goes on from them.
    threads, memory_limit, progress
        As in :func:`pdex.de`.

    Returns
    -------
    polars.LazyFrame
        A scan of the file or folder, with the rows and columns of :func:`pdex.de`; of a share, its
        numbers.

    Raises
    ------
    ValueError
        The file name has another extension, or `part` is no share. :func:`pdex.de` lists further
        errors.
    FileNotFoundError
        The folder does not exist.
    IsADirectoryError
        The path is a folder.
    OSError
        The result cannot be written; no partial file is left.

    See Also
    --------
    de : Return the result in memory.
    collect : Put shares of a result together.

    Examples
    --------
    >>> import pdex, tempfile
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lazy = pdex.sink_de(screen, "target", f"{folder}/de.parquet")
    ...     print(lazy.select("p_value").collect().height)
    60
    """
    on_cluster = is_on_cluster(engine)
    asked = Asked(
        reference=reference,
        test=test,
        groups=groups,
        exclude=exclude,
        min_cells=min_cells,
        strata=strata,
        where=where,
        genes=genes,
        layer=layer,
        use_raw=use_raw,
        gene_names=gene_names,
        normalize=normalize,
        log1p=log1p,
        join=join,
        is_log1p=is_log1p,
        mean=mean,
        pseudocount=pseudocount,
        fdr=fdr,
        auroc=auroc,
        alternative=alternative,
        method=method,
        continuity=continuity,
        tie_correct=tie_correct,
        midrank=midrank,
        equal_var=equal_var,
        overestim_var=overestim_var,
        threads=threads,
        memory_limit=memory_limit,
        progress=progress,
    )
    if on_cluster:
        if part is not None:
            msg = "part= and engine='dask' exclude each other: the workers test all shares"
            raise ValueError(msg)
        folder = check_result_folder(path)
        with clustered(data, groupby, asked, folder) as (scene, job):
            lazy = written(scene, tested_on(scene, job, asked), job.work, folder)
            return remember(lazy, job.description)
    if part is not None:
        number, n = as_part(part)
        folder = check_shares(path)
        with prepared(data, groupby, asked, (number, n)) as job:
            folder.mkdir(exist_ok=True)
            plan = Plan.of(job.work, job.targets, job.description)
            share = write_share(job.work, plan, job.bar, (folder, number, n))
            return pl.scan_ipc(str(share))
    file = check_output(path)
    with prepared(data, groupby, asked) as job:
        metadata = job.description.metadata()
        schema = job.work.to_file(file, job.targets, job.bar, metadata)
        return remember(scan(file, schema), job.description)
