"""The interface of pdex 0.1: :func:`parallel_differential_expression`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args, overload

import numpy as np
import polars as pl

from pdex import _pdex
from pdex._compat.labels import labels_of
from pdex._engine import Comparison, Finish, Question, Work
from pdex._io.errors import error_context
from pdex._io.groups import read_groups
from pdex._io.opening import open_source
from pdex._progress import Progress
from pdex._resources import Resources, n_threads
from pdex._scale import scale_of
from pdex._validate import (
    DEFAULTS,
    Alternative,
    ScipyMethod,
    as_names,
    check_choice,
    check_options,
    flag,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt
    import pandas as pd
    from typing_extensions import Unpack

    from pdex._io.source import Data, Source

logger: logging.Logger = logging.getLogger("pdex")

Metric = Literal["wilcoxon", "anderson", "t-test"]
#: For each metric: the test, and SciPy's options that it accepts.
_METRICS = {
    "wilcoxon": ("wilcoxon", ("alternative", "method")),
    "anderson": ("anderson", ("midrank",)),
    "t-test": ("ttest", ("alternative", "equal_var")),
}


class Keywords(TypedDict, total=False):
    """SciPy's options of the tests; each metric accepts some of them."""

    alternative: Alternative
    method: ScipyMethod
    midrank: bool
    equal_var: bool


@overload
def parallel_differential_expression(
    adata: Data,
    groups: Iterable[str] | None = None,
    reference: str = "non-targeting",
    groupby_key: str = "target_gene",
    num_workers: int | None = None,
    batch_size: int = 100,
    num_threads: int | None = None,
    metric: Metric = "wilcoxon",
    tie_correct: bool = True,
    is_log1p: bool | None = None,
    exp_post_agg: bool = True,
    clip_value: float | None = 20.0,
    as_polars: Literal[False] = False,
    low_memory: bool | None = None,
    gene_chunk_size: int = 1000,
    show_progress: bool = True,
    **kwargs: Unpack[Keywords],
) -> pd.DataFrame: ...
@overload
def parallel_differential_expression(
    adata: Data,
    groups: Iterable[str] | None = None,
    reference: str = "non-targeting",
    groupby_key: str = "target_gene",
    num_workers: int | None = None,
    batch_size: int = 100,
    num_threads: int | None = None,
    metric: Metric = "wilcoxon",
    tie_correct: bool = True,
    is_log1p: bool | None = None,
    exp_post_agg: bool = True,
    clip_value: float | None = 20.0,
    *,
    as_polars: Literal[True],
    low_memory: bool | None = None,
    gene_chunk_size: int = 1000,
    show_progress: bool = True,
    **kwargs: Unpack[Keywords],
) -> pl.DataFrame: ...
@overload
def parallel_differential_expression(
    adata: Data,
    groups: Iterable[str] | None,
    reference: str,
    groupby_key: str,
    num_workers: int | None,
    batch_size: int,
    num_threads: int | None,
    metric: Metric,
    tie_correct: bool,
    is_log1p: bool | None,
    exp_post_agg: bool,
    clip_value: float | None,
    as_polars: Literal[True],
    low_memory: bool | None = None,
    gene_chunk_size: int = 1000,
    show_progress: bool = True,
    **kwargs: Unpack[Keywords],
) -> pl.DataFrame: ...
@overload
def parallel_differential_expression(
    adata: Data,
    groups: Iterable[str] | None = None,
    reference: str = "non-targeting",
    groupby_key: str = "target_gene",
    num_workers: int | None = None,
    batch_size: int = 100,
    num_threads: int | None = None,
    metric: Metric = "wilcoxon",
    tie_correct: bool = True,
    is_log1p: bool | None = None,
    exp_post_agg: bool = True,
    clip_value: float | None = 20.0,
    as_polars: bool = False,
    low_memory: bool | None = None,
    gene_chunk_size: int = 1000,
    show_progress: bool = True,
    **kwargs: Unpack[Keywords],
) -> pd.DataFrame | pl.DataFrame: ...
def parallel_differential_expression(
    adata: Data,
    groups: Iterable[str] | None = None,
    reference: str = "non-targeting",
    groupby_key: str = "target_gene",
    num_workers: int | None = None,
    batch_size: int = 100,
    num_threads: int | None = None,
    metric: Metric = "wilcoxon",
    tie_correct: bool = True,
    is_log1p: bool | None = None,
    exp_post_agg: bool = True,
    clip_value: float | None = 20.0,
    as_polars: bool = False,
    low_memory: bool | None = None,
    gene_chunk_size: int = 1000,
    show_progress: bool = True,
    **kwargs: Unpack[Keywords],
) -> pd.DataFrame | pl.DataFrame:
    """Test every gene of every group against the reference, as pdex 0.1 did.

    New code should use :func:`pdex.de`. This function keeps existing scripts working.

    Parameters
    ----------
    adata
        AnnData object, cells x genes, in memory or backed, or the path of an ``.h5ad`` file.
    groups
        Groups to test. None: all except the reference.
    reference
        The group that all others are compared with.
    groupby_key
        Column of ``adata.obs`` with the group of each cell.
    num_workers, num_threads
        The number of threads is their product (a None counts as 1), at most the number of cores.
        Both None: all cores. They do not affect the result.
    batch_size, gene_chunk_size
        Accepted but ignored, because blocks are chosen by their size.
    metric
        ``"wilcoxon"``, ``"anderson"`` or ``"t-test"``.
    tie_correct
        As in pdex 0.1, False omits the continuity correction; ties are always corrected for.
    is_log1p
        Whether values are log1p-transformed. None: guess from the values, as :func:`pdex.de` does.
    exp_post_agg
        For log1p data, compute means as expm1(mean(x)). False: mean(expm1(x)).
    clip_value
        Fold change if the mean of the reference is 0. If that of the target is 0, the fold change
        is the inverse of this value, and if both are 0, it is 1. With None, the fold change is NaN
        if the reference's mean is 0, and 0 if only the target's is.
    as_polars
        Return a Polars frame instead of a pandas frame.
    low_memory
        None or True. False is an error for backed data, as in pdex 0.1.
    show_progress
        Show a progress bar, on a terminal or in a notebook, if the work takes longer than a second.
    **kwargs
        SciPy's options of the test: ``alternative``, ``method`` (wilcoxon, default ``"auto"``);
        ``midrank`` (anderson); ``alternative``, ``equal_var`` (t-test).

    Returns
    -------
    pandas.DataFrame or polars.DataFrame
        One row per group and gene: ``target``, ``reference``, ``feature``, ``target_mean``,
        ``reference_mean``, ``percent_change``, ``fold_change`` (a ratio, not its logarithm),
        ``p_value`` (1.0 if undefined), ``statistic``, ``fdr`` (over all rows).

    Raises
    ------
    KeyError
        ``obs`` does not have the column.
    ValueError
        Unknown metric, reference or group; NaN in the matrix.
    TypeError
        An option does not belong to the test; backed data with ``low_memory=False``.

    See Also
    --------
    de : The interface of this version.

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> table = pdex.parallel_differential_expression(screen, groupby_key="target")
    >>> table.shape
    (60, 10)
    """
    del batch_size, gene_chunk_size
    if not isinstance(metric, str) or metric not in _METRICS:
        msg = f"Unknown metric: {metric!r}: use one of {', '.join(map(repr, _METRICS))}"
        raise ValueError(msg)
    test, allowed = _METRICS[metric]
    options = _options(test, allowed, kwargs, tie_correct)
    threads = _threads(num_workers, num_threads)
    _check_clip(clip_value)
    asked = None if groups is None else as_names("groups", groups)
    with _open(adata, low_memory) as source:
        with error_context(source.path):
            found = read_groups(source.obs, groupby_key)
            codes, targets = found.codes(str(reference), asked, rest=False)
        genes, scale = source.select_genes(None), scale_of(source, is_log1p, threads)
        # Means of values that are not logarithms are always arithmetic.
        mean = "geometric" if scale.is_log1p and exp_post_agg else "arithmetic"
        work = Work(
            source,
            genes,
            Comparison(codes, len(targets), False),
            Question.of(test, options, scale, mean),
            Finish(0.0, "all"),
            Resources(threads),
        )
        table = _table(work, targets, show_progress)
        labels = labels_of(source, groupby_key, [*targets, str(reference)])
    table = _translate(_labelled(table, labels, len(genes)), clip_value)
    if asked is not None:
        table = table[_rows(asked, targets, len(genes))]
    return table if as_polars else _to_pandas(table)


def _table(work: Work, targets: list[str], show_progress: bool) -> pl.DataFrame:
    """Return the engine's table; show a progress bar if `show_progress`."""
    show = None if show_progress else False
    bar = Progress(len(work.genes), show, lambda: work.source.reading)
    try:
        return work.frame(targets, bar)
    finally:
        bar.close()


def _open(adata: Data, low_memory: bool | None) -> Source:
    """Return the matrix; raise TypeError for backed data with low_memory=False."""
    source = open_source(adata, None)
    source.require_cells("parallel_differential_expression")
    if source.is_backed and low_memory is not None and not flag("low_memory", low_memory):
        source.close()
        msg = (
            "backed AnnData cannot be tested with low_memory=False: leave low_memory=None, or load "
            "the data with adata.to_memory()"
        )
        raise TypeError(msg)
    return source


def _rows(asked: list[str], targets: list[str], n_genes: int) -> npt.NDArray[np.intp]:
    """Return the indices of the table's rows, with the targets in the requested order."""
    places = {name: place for place, name in enumerate(targets)}
    order = [places[name] for name in dict.fromkeys(asked) if name in places]
    return np.add.outer(np.multiply(order, n_genes), np.arange(n_genes)).ravel()


def _labelled(table: pl.DataFrame, labels: pl.Series, n_genes: int) -> pl.DataFrame:
    """Return the table with labels as obs stores them; the last label is the reference."""
    targets = np.repeat(np.arange(len(labels) - 1), n_genes)
    reference = np.full(len(targets), len(labels) - 1)
    return table.with_columns(labels.gather(targets), labels.gather(reference).alias("reference"))


def _options(
    test: str, allowed: tuple[str, ...], kwargs: Mapping[str, object], tie_correct: bool
) -> dict[str, Any]:
    for name in kwargs:
        if name not in allowed:
            msg = (
                f"parallel_differential_expression() got an unexpected keyword argument {name!r}: "
                f"this metric has {', '.join(map(repr, allowed))}"
            )
            raise TypeError(msg)
    options = {**DEFAULTS[test], **kwargs}
    if test == "wilcoxon":
        options["continuity"] = bool(tie_correct)
    if test == "anderson":
        options["method"] = "scipy"
    if test == "ttest":
        options["method"] = "student"
    check_options(test, options)
    if test == "wilcoxon":
        check_choice("method", options["method"], get_args(ScipyMethod))
        # SciPy's rule, which is not that of pdex.wilcoxon.
        options["method"] = "scipy" if options["method"] == "auto" else options["method"]
    return options


def _threads(num_workers: int | None, num_threads: int | None) -> int:
    """Return the number of threads for the sizes of the two pools of pdex 0.1."""
    cores = n_threads(None)
    pools = {"num_workers": num_workers, "num_threads": num_threads}
    asked = [n_threads(n, name) for name, n in pools.items() if n is not None]
    threads = cores
    if asked:
        threads = 1
        for n in asked:
            threads *= n
        threads = min(threads, cores)
    logger.info("running on %d of %d cores", threads, cores)
    return threads


def _check_clip(clip: float | None) -> None:
    """Raise ValueError unless `clip` is None or a positive number."""
    number = isinstance(clip, (int, float, np.integer, np.floating)) and not isinstance(clip, bool)
    if clip is not None and not (number and 0 < clip < np.inf):
        msg = f"clip_value={clip!r}: expected None or a number above 0"
        raise ValueError(msg)


def _translate(table: pl.DataFrame, clip: float | None) -> pl.DataFrame:
    """Convert a table of :func:`pdex.de` to the columns of pdex 0.1."""
    target, other = pl.col("target_mean"), pl.col("reference_mean")
    nan = pl.lit(float("nan"))
    both = nan if clip is None else pl.lit(1.0)
    infinite = nan if clip is None else pl.lit(float(clip))
    none = pl.lit(0.0 if clip is None else 1.0 / clip)
    fold = (
        pl.when((target == 0) & (other == 0))
        .then(both)
        .when(other == 0)
        .then(infinite)
        .when(target == 0)
        .then(none)
        .otherwise(target / other)
    )
    table = table.select(
        "target",
        "reference",
        pl.col("feature").cast(pl.String),
        "target_mean",
        "reference_mean",
        "percent_change",
        fold.alias("fold_change"),
        pl.col("p_value").fill_nan(1.0),
        "statistic",
    )
    fdr = _pdex.benjamini_hochberg(table["p_value"].to_numpy())
    return table.with_columns(pl.Series("fdr", fdr))


def _to_pandas(table: pl.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: table[name].to_numpy() for name in table.columns})
