"""The whole job in one call."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, get_args, overload

import numpy as np

from pdex._engine import Work
from pdex._io.h5ad import naming
from pdex._io.source import at_least, limit_of, n_threads, names_of, open_source, read_groups
from pdex._options import (
    Alternative,
    Mean,
    Options,
    Scope,
    Test,
    check_stratified,
    choose,
    complete,
    flag,
)
from pdex._output import check_output, scan
from pdex._progress import Progress
from pdex._stages import stage
from pdex._strata import place_cells, read_strata

if TYPE_CHECKING:
    import os

    import numpy.typing as npt
    import polars as pl
    from typing_extensions import Unpack

    from pdex._io.source import Data, Groups

logger: logging.Logger = logging.getLogger("pdex")

#: (mean, is_log1p) to the engine's scale.
_SCALES = {
    ("arithmetic", False): "plain",
    ("arithmetic", True): "mean_of_expm1",
    ("geometric", False): "geometric",
    ("geometric", True): "expm1_of_mean",
}


@overload
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
    genes: Iterable[str] | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    is_log1p: bool | None = None,
    mean: Mean = "arithmetic",
    pseudocount: float = 1e-9,
    fdr: Scope = "target",
    alternative: Alternative = "two-sided",
    auroc: bool = False,
    threads: int | None = None,
    memory_limit: int | None = None,
    output: None = None,
    progress: bool | None = None,
    **options: Unpack[Options],
) -> pl.DataFrame: ...
@overload
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
    genes: Iterable[str] | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    is_log1p: bool | None = None,
    mean: Mean = "arithmetic",
    pseudocount: float = 1e-9,
    fdr: Scope = "target",
    alternative: Alternative = "two-sided",
    auroc: bool = False,
    threads: int | None = None,
    memory_limit: int | None = None,
    output: str | os.PathLike[str],
    progress: bool | None = None,
    **options: Unpack[Options],
) -> pl.LazyFrame: ...
@overload
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
    genes: Iterable[str] | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    is_log1p: bool | None = None,
    mean: Mean = "arithmetic",
    pseudocount: float = 1e-9,
    fdr: Scope = "target",
    alternative: Alternative = "two-sided",
    auroc: bool = False,
    threads: int | None = None,
    memory_limit: int | None = None,
    output: str | os.PathLike[str] | None,
    progress: bool | None = None,
    **options: Unpack[Options],
) -> pl.DataFrame | pl.LazyFrame: ...
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
    genes: Iterable[str] | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    is_log1p: bool | None = None,
    mean: Mean = "arithmetic",
    pseudocount: float = 1e-9,
    fdr: Scope = "target",
    alternative: Alternative = "two-sided",
    auroc: bool = False,
    threads: int | None = None,
    memory_limit: int | None = None,
    output: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    **options: Unpack[Options],
) -> pl.DataFrame | pl.LazyFrame:
    """Test every gene of every target against the reference, or against the rest.

    Parameters
    ----------
    data
        AnnData in memory or backed, or the path of an ``.h5ad`` file. It is never changed.
    groupby
        Column of ``obs`` with each cell's group. Cells without a label (missing or empty) are left
        out.
    reference
        The group that all others are compared with; or several, whose cells are pooled; or
        ``"rest"``: each group with all other labelled cells.
    test
        ``"wilcoxon"``, ``"ttest"``, ``"anderson"`` or ``"ks"`` (see their notes on sparse counts).
    groups, genes
        Test only these; all where None. Groups that are not asked for still belong to the rest.
    exclude
        Groups that take no part, neither as targets nor in the rest: with ``reference="rest"`` and
        ``exclude=["non-targeting"]`` each target is compared with all other perturbed cells.
    min_cells
        Leave out targets with fewer labelled cells (with `strata`, that have a stratum, too), which
        the logger ``pdex`` names; they still belong to the rest.
    strata
        Column of ``obs`` with each cell's batch or replicate: wilcoxon then compares cells within
        each and adds the comparisons up (van Elteren's test), so that differences between batches
        are not taken for effects; see :func:`pdex.wilcoxon`. Cells without a value are left out.
        Means are of all cells, whatever their stratum.
    layer
        Layer to read instead of ``X``.
    use_raw
        Read ``raw.X`` with the genes of ``raw.var_names`` instead.
    is_log1p
        Whether values are log1p-transformed: means and fold changes are then taken on the natural
        scale. None guesses: any fractional part above 1e-3 (of a backed matrix, among the first
        four million stored values). Statistic and p-value do not depend on it.
    mean
        ``"arithmetic"`` - mean(x), or mean(expm1(x)) for log1p data - or ``"geometric"`` -
        expm1(mean(log1p(x))), or expm1(mean(x)).
    pseudocount
        Added to both means in the log2 fold change.
    fdr
        ``"target"``: Benjamini-Hochberg over the genes of each target; ``"all"``: over everything.
    alternative
        ``"two-sided"``, ``"less"`` (the target's values are smaller; for ks, as in SciPy, they are
        greater) or ``"greater"``; anderson has the first only.
    auroc
        Add a column ``auroc`` to the tests that have none of their own, all but wilcoxon: the
        chance that a cell of the target exceeds one of the reference, ties counted half.
    threads
        Number of threads, at most the cores; all cores where None. It never changes a number.
    memory_limit
        For data in a file, bytes that the work may take beyond the result: a matrix that needs
        more is read in several passes over its genes. 1 GB where None. It never changes a number.
    output
        Write the result to this file (``.parquet``, ``.ipc``, ``.arrow``, ``.feather``, ``.csv`` or
        ``.tsv``) rather than to memory, which it need not fit: numbers wait in a nameless file
        beside it that takes up to 72 bytes a row. The file appears when it is whole. With
        ``fdr="all"`` all p-values are in memory at once, some 32 bytes a row.
    progress
        Show a bar for work longer than a second; None: only on a terminal.
    **options
        The test's own: ``method``, ``continuity``, ``tie_correct`` for wilcoxon; ``midrank``,
        ``p_value`` for anderson; ``equal_var`` for ttest; ``method`` for ks; see
        :func:`pdex.wilcoxon`, :func:`pdex.anderson`, :func:`pdex.ttest`, :func:`pdex.ks`. For ttest
        also ``overestim_var``: with ``equal_var=False``, the reference's variance is divided by the
        target's number of cells, as in scanpy's ``t-test_overestim_var``.

    Returns
    -------
    polars.DataFrame
        A row for each target and gene, targets in order, genes in the order of ``var``:
        ``target`` and ``feature`` (Enum), ``n_target``, ``n_reference``, ``target_mean``,
        ``reference_mean``, ``log2_fold_change``, ``percent_change`` (of the reference, as a
        fraction), ``target_fraction`` and ``reference_fraction`` (the shares of cells with a value
        other than 0), ``statistic``, ``p_value``, ``neg_log10_p``, ``fdr``, and the test's own:
        ``z_score`` and ``auroc``, or ``df``; ``auroc`` where asked for. With ``output``, a lazy
        frame of the file.

    Raises
    ------
    KeyError
        Unknown column or layer.
    ValueError
        Unknown reference, group, gene or option; a group with two roles; no target that has
        `min_cells`; strata of another test, too many, or that no target shares with its reference;
        NaN in the matrix (with the first cell and gene); broken sparse arrays; no cells; no raw.
    TypeError
        A matrix that does not hold real numbers; an option that the test does not have; several
        columns of strata.
    OSError
        A file that cannot be read, or whose bytes are not what it says of them: every error of a
        file names its path. Or a result that cannot be written: nothing is left of it.

    Warns
    -----
    UserWarning
        Targets that share no stratum with the reference: their tests are NaN.

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> result = pdex.de(screen, "target", test="wilcoxon")
    >>> result.shape
    (60, 16)
    """
    full = complete(test, options, alternative)
    if strata is not None:
        check_stratified(test, full)
    choose("mean", mean, get_args(Mean))
    choose("fdr", fdr, get_args(Scope))
    number = isinstance(pseudocount, (int, float, np.integer, np.floating))
    if not number or isinstance(pseudocount, bool) or not 0 <= pseudocount < np.inf:
        msg = f"pseudocount={pseudocount!r}: expected a finite number of at least 0"
        raise ValueError(msg)
    threads = n_threads(threads)
    path = None if output is None else check_output(output)
    source = open_source(data, layer, use_raw)
    rest = is_rest(reference)
    with naming(source.path), stage("labels"):
        found, within = read_groups(source.adata, groupby), None
        strata_found = None if strata is None else read_strata(source.adata, strata)
        if strata_found is not None:
            found = found.only(strata_found.places >= 0)
        codes, targets = _codes(found, reference, groups, exclude, min_cells)
        selected = source.select_genes(genes)
        if strata_found is not None:
            within = place_cells(strata_found, (codes, targets, rest))
    if is_log1p is None:
        with stage("guess is_log1p"):
            is_log1p = source.looks_log1p(threads)
        logger.info("the data look %s", "log1p-transformed" if is_log1p else "like counts")
    scale = _SCALES[mean, flag("is_log1p", is_log1p)]
    design = (codes, len(targets), rest)
    limit = limit_of(memory_limit)
    question = (test, full, scale)
    wanted = flag("auroc", auroc)
    work = Work(source, selected, design, question, threads, limit, within, wanted)
    bar = Progress(len(selected), None if progress is None else flag("progress", progress))
    try:
        if path is not None:
            names = (targets, found.labels)
            return scan(path, work.to_file(path, names, bar, (float(pseudocount), fdr)))
        return work.frame((targets, found.labels), bar, (float(pseudocount), fdr))
    finally:
        bar.close()


def is_rest(reference: object) -> bool:
    """Whether targets are compared with all other cells."""
    return isinstance(reference, str) and reference == "rest"


def _codes(
    found: Groups,
    reference: object,
    groups: Iterable[str] | None,
    exclude: Iterable[str] | None,
    min_cells: int | None,
) -> tuple[npt.NDArray[np.uint32], list[str]]:
    """Return a code for each cell and the targets; no group has two roles."""
    rest = is_rest(reference)
    if isinstance(reference, Iterable) and not isinstance(reference, str):
        reference = list(reference)
    groups = None if groups is None else names_of("groups", groups)
    exclude = [] if exclude is None else names_of("exclude", exclude)
    least = 0 if min_cells is None else at_least("min_cells", min_cells, 1)
    found.check_apart(
        reference=[] if rest else found.references(reference),
        groups=[found.require(name, "group") for name in groups or ()],
        exclude=[found.require(name, "excluded group") for name in exclude],
    )
    return found.codes(reference, groups, rest=rest, exclude=exclude, min_cells=least)
