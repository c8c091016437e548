"""The interface of pdex 0.3: :func:`pdex`.

Every number comes from the engine, or from one formula of its means. docs/compatibility.md says
what became of each parameter.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict, get_args, overload

import numpy as np
import polars as pl

from pdex import _pdex
from pdex._compat.labels import labels_of
from pdex._engine import Comparison, Finish, Question, job_of, run
from pdex._io.groups import Groups, read_groups
from pdex._io.labels import texts
from pdex._io.opening import open_source
from pdex._io.source import Source
from pdex._io.stored import StoredMatrix
from pdex._resources import Resources, n_threads
from pdex._scale import Scale, scale_of
from pdex._validate import DEFAULTS, flag
from pdex._warn import warn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt
    import pandas as pd
    from typing_extensions import Unpack

    from pdex._io.labels import Column, Frame
    from pdex._io.source import Data, Piece

    Codes = npt.NDArray[np.uint32]

logger: logging.Logger = logging.getLogger("pdex")

PDEX_MODES = Literal["ref", "all", "on_target"]
DEFAULT_REFERENCE: str = "non-targeting"

#: Number of genes tested at once in mode on_target, where each has its own groups.
_GENES = 256


class Keywords(TypedDict, total=False):
    """The keywords of :func:`pdex` that only some modes accept."""

    reference: str
    gene_col: str


@overload
def pdex(
    adata: Data,
    groupby: str,
    mode: PDEX_MODES = "ref",
    threads: int = 0,
    is_log1p: bool | None = None,
    geometric_mean: bool = True,
    as_pandas: Literal[False] = False,
    epsilon: float = 1e-9,
    cpm_filter: float | None = None,
    **kwargs: Unpack[Keywords],
) -> pl.DataFrame: ...
@overload
def pdex(
    adata: Data,
    groupby: str,
    mode: PDEX_MODES = "ref",
    threads: int = 0,
    is_log1p: bool | None = None,
    geometric_mean: bool = True,
    *,
    as_pandas: Literal[True],
    epsilon: float = 1e-9,
    cpm_filter: float | None = None,
    **kwargs: Unpack[Keywords],
) -> pd.DataFrame: ...
@overload
def pdex(
    adata: Data,
    groupby: str,
    mode: PDEX_MODES,
    threads: int,
    is_log1p: bool | None,
    geometric_mean: bool,
    as_pandas: Literal[True],
    epsilon: float = 1e-9,
    cpm_filter: float | None = None,
    **kwargs: Unpack[Keywords],
) -> pd.DataFrame: ...
@overload
def pdex(
    adata: Data,
    groupby: str,
    mode: PDEX_MODES = "ref",
    threads: int = 0,
    is_log1p: bool | None = None,
    geometric_mean: bool = True,
    as_pandas: bool = False,
    epsilon: float = 1e-9,
    cpm_filter: float | None = None,
    **kwargs: Unpack[Keywords],
) -> pl.DataFrame | pd.DataFrame: ...
def pdex(
    adata: Data,
    groupby: str,
    mode: PDEX_MODES = "ref",
    threads: int = 0,
    is_log1p: bool | None = None,
    geometric_mean: bool = True,
    as_pandas: bool = False,
    epsilon: float = 1e-9,
    cpm_filter: float | None = None,
    **kwargs: Unpack[Keywords],
) -> pl.DataFrame | pd.DataFrame:
    """Test genes with the Wilcoxon rank-sum test, as pdex 0.3 did.

    New code should use :func:`pdex.de`. This function keeps existing scripts working.

    Parameters
    ----------
    adata
        AnnData object, cells x genes, in memory or backed, or the path of an ``.h5ad`` file.
    groupby
        Column of ``adata.obs`` with the group of each cell. Cells without a label (missing or
        empty) are left out.
    mode
        ``"ref"``: compare each group with the reference. ``"all"``: compare each group with all
        other labelled cells. ``"on_target"``: compare each group with the reference, but only at
        the gene that the group targets.
    threads
        Number of threads, at most the number of cores. 0: all cores. It does not affect the result.
    is_log1p
        Whether values are log1p-transformed. None: guess from the values, as :func:`pdex.de` does,
        and log the guess as a warning.
    geometric_mean
        Compute means as expm1(mean(log1p(x))), or as expm1(mean(x)) for log1p data. False: mean(x),
        or mean(expm1(x)) for log1p data.
    as_pandas
        Return a pandas frame instead of a Polars frame.
    epsilon
        Added to both means in the fold change, and to the denominator of the percent change.
    cpm_filter
        Leave out genes with at most this many counts per million in both the target and the
        reference. fdr is then over the remaining genes.
    **kwargs
        ``reference`` (modes ref and on_target; default ``"non-targeting"``), and ``gene_col`` (mode
        on_target), the column of ``adata.obs`` with the gene that a cell's group targets. Other
        keywords are ignored with a warning.

    Returns
    -------
    polars.DataFrame or pandas.DataFrame
        One row per group and gene: ``target``, ``feature``, ``target_mean``, ``ref_mean`` (on the
        natural scale), ``target_membership``, ``ref_membership`` (numbers of cells),
        ``log2_fold_change``, ``percent_change`` (as a fraction; both are 0 if undefined),
        ``p_value``, ``statistic``, ``fdr`` (over the genes of each group; on_target: all rows).

    Raises
    ------
    ValueError
        Unknown mode, column or reference; mode on_target without ``gene_col``, or with several
        genes for a group; a negative epsilon; fewer than two groups; NaN in the matrix.
    TypeError
        A flag is not a bool, or `epsilon` or `cpm_filter` is not a number.

    Warns
    -----
    PdexWarning
        Unexpected keywords, target genes that are not in ``var``, negative values with
        ``cpm_filter``.

    See Also
    --------
    de : The interface of this version.

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> table = pdex.pdex(screen, "target", is_log1p=False)
    >>> table.shape
    (60, 11)
    """
    floor = None if cpm_filter is None else _number("cpm_filter", cpm_filter)
    if not _number("epsilon", epsilon) >= 0:
        msg = f"epsilon must be non-negative, got {epsilon}"
        raise ValueError(msg)
    epsilon = float(epsilon)
    if mode not in get_args(PDEX_MODES):
        msg = f"Invalid mode: {mode}: use one of {', '.join(map(repr, get_args(PDEX_MODES)))}"
        raise ValueError(msg)
    geometric, as_pandas = flag("geometric_mean", geometric_mean), flag("as_pandas", as_pandas)
    gene_col = kwargs.pop("gene_col", None) if mode == "on_target" else None
    reference = None if mode == "all" else str(kwargs.pop("reference", DEFAULT_REFERENCE))
    if kwargs:
        warn(f"Unexpected keyword arguments for mode='{mode}' (ignored): {', '.join(kwargs)}")
    n = _threads(threads)
    with open_source(adata, None) as source:
        source.require_cells("pdex.pdex")
        screen = _read(source, groupby, n, is_log1p, geometric)
        _check_groups(screen.groups, reference)
        if mode == "on_target":
            table = _on_target(screen, str(reference), gene_col, epsilon, floor)
        else:
            table = _every_gene(screen, reference, epsilon, floor)
    if as_pandas:
        import pandas as pd

        return pd.DataFrame({name: table[name].to_numpy() for name in table.columns})
    return table


def _number(name: str, value: object) -> float:
    """Return `value` as a float; raise TypeError for another type, ValueError for NaN."""
    number = isinstance(value, (int, float, np.integer, np.floating))
    if not number or isinstance(value, bool):
        msg = f"{name}={value!r}: expected a number"
        raise TypeError(msg)
    if value != value:
        msg = f"{name} is NaN: expected a number"
        raise ValueError(msg)
    return float(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Screen:
    """A screen and the way it is read."""

    source: Source
    groups: Groups
    resources: Resources
    scale: Scale
    geometric: bool

    def job(self, codes: Codes, n_targets: int, n_genes: int, *, rest: bool) -> _pdex.Job:
        """Return the job that tests `n_genes` genes."""
        mean = "geometric" if self.geometric else "arithmetic"
        return self._job("wilcoxon", mean, Comparison(codes, n_targets, rest), n_genes)

    def means(self, codes: Codes, n_targets: int, n_genes: int, *, rest: bool) -> _pdex.Job:
        """Return the job that computes arithmetic means, with the cheapest test."""
        return self._job("ttest", "arithmetic", Comparison(codes, n_targets, rest), n_genes)

    def _job(self, test: str, mean: str, comparison: Comparison, n_genes: int) -> _pdex.Job:
        options = dict(DEFAULTS[test])
        if test == "wilcoxon":
            options["method"] = "asymptotic"
        question = Question.of(test, options, self.scale, mean)
        return job_of(comparison, question, n_genes, self.resources.threads)

    def pieces(self, genes: npt.NDArray[np.uint32]) -> Iterator[Piece]:
        """Yield the matrix of these genes in pieces."""
        return self.source.pieces(genes, self.resources)

    def labels(self, names: list[str]) -> pl.Series:
        """Return the labels whose text is `names`, as obs stores them."""
        return labels_of(self.source, self.groups.column, names)

    @property
    def mean_dtype(self) -> type[pl.DataType]:
        """The dtype of means in pdex 0.3: float32 for float32 values that it did not convert.

        It converted the values of a dense matrix to float64 when it transformed them.
        """
        x, dtype = self.source.x, self.source.dtype
        layout = x.layout if isinstance(x, StoredMatrix) else getattr(x, "format", "dense")
        sparse = layout != "dense"
        narrow = dtype.kind == "f" and dtype.itemsize == 4
        return (
            pl.Float32
            if narrow and (sparse or self.scale.is_log1p == self.geometric)
            else pl.Float64
        )


def _threads(threads: int) -> int:
    """Return the number of threads; 0 means all cores."""
    if isinstance(threads, int) and threads < 0:
        msg = f"threads={threads}: expected 0 (all cores) or a number of threads"
        raise ValueError(msg)
    return n_threads(None if threads == 0 else threads)


def _read(
    source: Source, groupby: str, threads: int, is_log1p: bool | None, geometric: bool
) -> _Screen:
    """Return the screen, with the errors of pdex 0.3."""
    _check_column(source.obs, groupby)
    scale = scale_of(source, is_log1p, threads)
    if is_log1p is None:
        logger.warning(
            "is_log1p not specified; auto-detected %s. "
            "Pass is_log1p explicitly to suppress this message.",
            scale.is_log1p,
        )
    groups = read_groups(source.obs, groupby)
    if _is_sorted(source.obs.column(groupby)):
        groups = _sort(groups)
    return _Screen(source, groups, Resources(threads), scale, geometric)


def _is_sorted(column: Column) -> bool:
    """Return whether pdex 0.3 sorted the column's labels, as it did without the empty category."""
    return column.codes is not None and not column.ordered and "" in texts(column.values)


def _sort(groups: Groups) -> Groups:
    """Return the same groups, sorted by label."""
    order = np.argsort(groups.labels)
    # One entry more than there are labels: index -1 (no label) reads the last.
    ranks = np.full(len(order) + 1, -1, dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return Groups(groups.column, [groups.labels[i] for i in order], ranks[groups.places])


def _check_column(obs: Frame, name: object) -> None:
    if not isinstance(name, str) or name not in obs.columns:
        msg = f"Missing column: {name}. Available: {', '.join(obs.columns)}"
        raise ValueError(msg)


def _check_groups(groups: Groups, reference: str | None) -> None:
    """Raise ValueError if the reference is missing or, in mode all, if there is no rest."""
    if reference is None and len(groups.labels) < 2:
        msg = f"mode='all' requires at least 2 groups, found {len(groups.labels)}"
        raise ValueError(msg)
    if reference is not None and reference not in groups.labels:
        msg = f"Missing reference: {reference}. Available: {', '.join(groups.labels)}"
        raise ValueError(msg)


class _Floor:
    """Finds the genes above a threshold of counts per million.

    The counts per million of a gene in a group are its arithmetic mean, divided by the sum of the
    means of all genes, times a million. They are those of the group's pooled counts, whatever the
    scale of the counts.
    """

    def __init__(self, shape: tuple[int, int], threshold: float) -> None:
        self._shape, self._threshold = shape, threshold
        self._negative = False

    def watch(self, pieces: Iterable[Piece], job: _pdex.Job | None = None) -> Iterator[Piece]:
        """Yield the pieces; when the consumer has checked one, examine it and add it to `job`."""
        for first, matrix, local in pieces:
            yield first, matrix, local
            self._negative |= matrix.values.size > 0 and bool(matrix.values.min() < 0)
            if job is not None:
                job.add(matrix, np.ascontiguousarray(local))

    def above(self, columns: list[pl.Series]) -> npt.NDArray[np.bool_]:
        """Return whether the target or its reference is above the threshold, targets x genes.

        `columns` come from a job that computed the arithmetic means of all genes.
        """
        self.warn()
        by_name = {column.name: column for column in columns}
        above = np.zeros(self._shape, dtype=np.bool_)
        for name in ("target_mean", "reference_mean"):
            means = by_name[name].to_numpy().reshape(self._shape)
            total = means.sum(axis=1, keepdims=True)
            above |= means / np.where(total == 0, 1, total) * 1e6 > self._threshold
        return above

    def warn(self) -> None:
        """Warn if any piece had negative values."""
        if self._negative:
            msg = (
                "cpm_filter is set but adata.X contains negative values; CPM assumes "
                "non-negative expression, so the filter results may be meaningless."
            )
            logger.warning(msg)
            warn(msg)


def _every_gene(
    screen: _Screen, reference: str | None, epsilon: float, threshold: float | None
) -> pl.DataFrame:
    """Return the table of every group and gene, against the reference or, if None, the rest."""
    rest, source = reference is None, screen.source
    codes, targets = screen.groups.codes(reference, None, rest=rest)
    genes = source.select_genes(None)
    shape = (len(targets), len(genes))
    job, pieces = screen.job(codes, *shape, rest=rest), screen.pieces(genes)
    kept = None
    if threshold is None:
        columns = run(job, source, pieces, len(genes), None, Finish(epsilon))
    else:
        floor, means = _Floor(shape, threshold), screen.means(codes, *shape, rest=rest)
        pieces = floor.watch(pieces, means)
        columns = run(job, source, pieces, len(genes), None, Finish(epsilon))
        kept = floor.above(means.finish(Finish()))
    target = screen.labels(targets).gather(np.repeat(np.arange(shape[0]), shape[1]))
    feature = pl.Series("feature", source.var_names).gather(np.tile(genes, shape[0]))
    frame = pl.DataFrame([target, feature, *columns])
    if kept is not None:
        frame = frame.filter(kept.ravel())
        p_values = np.split(frame["p_value"].to_numpy(), np.cumsum(kept.sum(axis=1))[:-1])
        fdr = np.concatenate([_pdex.benjamini_hochberg(p) for p in p_values])
        frame = frame.with_columns(pl.Series("fdr", fdr))
    return _translate(frame, epsilon, screen.mean_dtype)


def _on_target(
    screen: _Screen, reference: str, gene_col: object, epsilon: float, threshold: float | None
) -> pl.DataFrame:
    """Return the table of each group at its own gene."""
    if gene_col is None:
        msg = "'gene_col' is required for mode='on_target'"
        raise ValueError(msg)
    groups, own = _own_genes(screen, reference, gene_col)
    kept = _reaching(screen, reference, groups, own, threshold)
    groups, own = groups[kept], own[kept]
    if not len(groups):
        return pl.DataFrame(schema=_SCHEMA)
    places, frames = [], []
    for first, matrix, local in screen.pieces(np.unique(own).astype(np.uint32)):
        for start in range(0, len(local), _GENES):
            part = local[start : start + _GENES]
            here = np.flatnonzero(np.isin(own, part + np.uint32(first)))
            wanted = [screen.groups.labels[place] for place in groups[here]]
            codes, _ = screen.groups.codes(reference, wanted, rest=False)
            job = screen.job(codes, len(here), len(part), rest=False)
            piece = [(first, matrix, part)]
            columns = run(job, screen.source, piece, len(part), False, Finish(epsilon))
            gene = np.searchsorted(part, own[here] - first)
            frames.append(pl.DataFrame(columns)[np.arange(len(here)) * len(part) + gene])
            places.append(here)
    frame = pl.concat(frames)[np.argsort(np.concatenate(places))]
    labels = [screen.groups.labels[place] for place in groups]
    features = [screen.source.var_names[gene] for gene in own]
    frame = frame.with_columns(
        screen.labels(labels),
        pl.Series("feature", features, dtype=pl.String),
        pl.Series("fdr", _pdex.benjamini_hochberg(frame["p_value"].to_numpy())),
    )
    return _translate(frame, epsilon, pl.Float64)


def _own_genes(
    screen: _Screen, reference: str, gene_col: object
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indices of groups, ascending, and the index of the gene that each targets.

    Groups without a gene are left out, and so, with a warning, are groups whose gene is not in
    ``var``.

    Raises
    ------
    ValueError
        The column does not exist, or a group has several genes.
    """
    import pandas as pd

    obs, labels = screen.source.obs, screen.groups.labels
    _check_column(obs, gene_col)
    codes, names = obs.column(str(gene_col)).coded()
    pairs = pd.DataFrame({"group": screen.groups.places, "gene": codes}).drop_duplicates()
    background = labels.index(reference)
    pairs = pairs[(pairs["group"] >= 0) & (pairs["gene"] >= 0) & (pairs["group"] != background)]
    several = pairs.loc[pairs["group"].duplicated(), "group"].unique()
    if len(several):
        msg = (
            f"Groups map to multiple genes in '{gene_col}': "
            f"{', '.join(labels[place] for place in several)}"
        )
        raise ValueError(msg)
    places = {name: place for place, name in enumerate(screen.source.var_names)}
    own = np.array([places.get(names[gene], -1) for gene in pairs["gene"]], dtype=np.int64)
    missing = own < 0
    if missing.any():
        unknown = (
            f"{labels[group]} ({names[gene]})"
            for group, gene in pairs[missing].itertuples(index=False)
        )
        msg = (
            f"Found {missing.sum()} groups with missing on-target genes in adata.var: "
            f"{', '.join(unknown)}"
        )
        logger.warning(msg)
        warn(msg)
    groups = pairs["group"].to_numpy()[~missing]
    order = np.argsort(groups)
    return groups[order], own[~missing][order]


def _reaching(
    screen: _Screen,
    reference: str,
    groups: npt.NDArray[np.int64],
    own: npt.NDArray[np.int64],
    threshold: float | None,
) -> npt.NDArray[np.bool_]:
    """Return whether each group's own gene is above the threshold; all are if it is None."""
    if threshold is None:
        return np.ones(len(groups), dtype=np.bool_)
    genes = screen.source.select_genes(None)
    shape = (len(groups), len(genes))
    floor = _Floor(shape, threshold)
    pieces = floor.watch(screen.pieces(genes))
    if not len(groups):
        deque(pieces, maxlen=0)
        floor.warn()
        return np.ones(0, dtype=np.bool_)
    wanted = [screen.groups.labels[place] for place in groups]
    codes, _ = screen.groups.codes(reference, wanted, rest=False)
    means = screen.means(codes, *shape, rest=False)
    columns = run(means, screen.source, pieces, len(genes), None, Finish())
    above: npt.NDArray[np.bool_] = floor.above(columns)[np.arange(len(groups)), own]
    return above


#: The columns in mode on_target, for an empty table.
_SCHEMA: dict[str, type[pl.DataType]] = {
    "target": pl.String,
    "feature": pl.String,
    "target_mean": pl.Float64,
    "ref_mean": pl.Float64,
    "target_membership": pl.Int64,
    "ref_membership": pl.Int64,
    "log2_fold_change": pl.Float64,
    "percent_change": pl.Float64,
    "p_value": pl.Float64,
    "statistic": pl.Float64,
    "fdr": pl.Float64,
}


def _translate(frame: pl.DataFrame, epsilon: float, means: type[pl.DataType]) -> pl.DataFrame:
    """Convert a table of :func:`pdex.de` to the columns of pdex 0.3."""
    target, other = pl.col("target_mean"), pl.col("reference_mean")
    return frame.select(
        "target",
        "feature",
        target.cast(means),
        other.cast(means).alias("ref_mean"),
        pl.col("n_target").cast(pl.Int64).alias("target_membership"),
        pl.col("n_reference").cast(pl.Int64).alias("ref_membership"),
        pl.col("log2_fold_change").fill_nan(0.0),
        ((target - other) / (other + epsilon)).fill_nan(0.0).alias("percent_change"),
        "p_value",
        "statistic",
        "fdr",
    )
