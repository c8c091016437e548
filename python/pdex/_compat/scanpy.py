"""scanpy's interface to the tests: :func:`rank_genes_groups`, which ``pdex.tl`` exports.

The engine computes the numbers, and this module translates them to scanpy's conventions. scanpy
itself is never imported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args, overload

import numpy as np

from pdex import _pdex
from pdex._engine import Comparison, Finish, Question, job_of, run
from pdex._io.groups import SKIP, read_groups
from pdex._io.labels import PandasFrame
from pdex._io.opening import open_source
from pdex._io.source import Source
from pdex._resources import Resources, resources_of
from pdex._scale import Values
from pdex._validate import as_names, check_choice, flag, options_of
from pdex._warn import warn

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    from anndata import AnnData

    from pdex._io.groups import Groups

    Table: TypeAlias = npt.NDArray[np.float64]

logger: logging.Logger = logging.getLogger("pdex")

Method = Literal["wilcoxon", "t-test", "t-test_overestim_var", "anderson"]
Correction = Literal["benjamini-hochberg", "bonferroni"]

#: For each method: the engine's test, its options, and the column that is scanpy's score.
_TESTS: dict[str, tuple[str, dict[str, object], str]] = {
    "wilcoxon": ("wilcoxon", {"continuity": False, "method": "asymptotic"}, "z_score"),
    "t-test": ("ttest", {"equal_var": False, "method": "student"}, "statistic"),
    "t-test_overestim_var": (
        "ttest",
        {"equal_var": False, "overestim_var": True, "method": "student"},
        "statistic",
    ),
    "anderson": ("anderson", {"method": "asymptotic"}, "statistic"),
}
#: Added to both means of a fold change.
_PSEUDOCOUNT = 1e-9
#: For groups of at most this many cells the normal approximation is rough, which is logged.
_FEW_CELLS = 25
#: The dtypes of scanpy's columns, in scanpy's order.
_TYPES = {"names": "O", "scores": "f4", "pvals": "f8", "pvals_adj": "f8", "logfoldchanges": "f4"}


@overload
def rank_genes_groups(
    adata: AnnData,
    groupby: str,
    *,
    groups: Literal["all"] | Iterable[str] = "all",
    reference: str = "rest",
    method: Method = "wilcoxon",
    n_genes: int | None = None,
    rankby_abs: bool = False,
    pts: bool = False,
    tie_correct: bool = False,
    corr_method: Correction = "benjamini-hochberg",
    layer: str | None = None,
    use_raw: bool | None = None,
    key_added: str | None = "rank_genes_groups",
    mask_var: npt.NDArray[np.bool_] | str | None = None,
    copy: Literal[False] = False,
) -> None: ...
@overload
def rank_genes_groups(
    adata: AnnData,
    groupby: str,
    *,
    groups: Literal["all"] | Iterable[str] = "all",
    reference: str = "rest",
    method: Method = "wilcoxon",
    n_genes: int | None = None,
    rankby_abs: bool = False,
    pts: bool = False,
    tie_correct: bool = False,
    corr_method: Correction = "benjamini-hochberg",
    layer: str | None = None,
    use_raw: bool | None = None,
    key_added: str | None = "rank_genes_groups",
    mask_var: npt.NDArray[np.bool_] | str | None = None,
    copy: Literal[True],
) -> AnnData: ...
@overload
def rank_genes_groups(
    adata: AnnData,
    groupby: str,
    *,
    groups: Literal["all"] | Iterable[str] = "all",
    reference: str = "rest",
    method: Method = "wilcoxon",
    n_genes: int | None = None,
    rankby_abs: bool = False,
    pts: bool = False,
    tie_correct: bool = False,
    corr_method: Correction = "benjamini-hochberg",
    layer: str | None = None,
    use_raw: bool | None = None,
    key_added: str | None = "rank_genes_groups",
    mask_var: npt.NDArray[np.bool_] | str | None = None,
    copy: bool,
) -> AnnData | None: ...
def rank_genes_groups(
    adata: AnnData,
    groupby: str,
    *,
    groups: Literal["all"] | Iterable[str] = "all",
    reference: str = "rest",
    method: Method = "wilcoxon",
    n_genes: int | None = None,
    rankby_abs: bool = False,
    pts: bool = False,
    tie_correct: bool = False,
    corr_method: Correction = "benjamini-hochberg",
    layer: str | None = None,
    use_raw: bool | None = None,
    key_added: str | None = "rank_genes_groups",
    mask_var: npt.NDArray[np.bool_] | str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Rank the genes of each group, as ``scanpy.tl.rank_genes_groups`` does.

    The data should be log1p-transformed. The result can be read with
    ``scanpy.get.rank_genes_groups_df`` and plotted with ``scanpy.pl.rank_genes_groups*``. A
    `groupby` column of text becomes categorical, because these plots require it. Nothing else is
    changed. docs/compatibility.md lists the differences from scanpy.

    Parameters
    ----------
    adata
        AnnData object, cells x genes, in memory or backed.
    groupby
        Column of ``obs`` with the group of each cell. Cells without a label belong to the rest.
    groups
        Groups to test, in the order of the result, or ``"all"``. With ``reference="rest"``, all
        other groups belong to the rest.
    reference
        ``"rest"``: compare each group with all other cells. Otherwise the group that the others are
        compared with.
    method
        ``"wilcoxon"``: the rank-sum test without continuity correction; the score is z.
        ``"t-test"``: Welch's test; the score is t. ``"t-test_overestim_var"``: Welch's test as if
        the reference had only as many cells as the group. ``"anderson"``, which scanpy does not
        have: the two-sample Anderson-Darling test; the score is its normalised statistic, which is
        large for any kind of difference in either direction. It is NaN, and ranked last, if all
        values are equal.
    n_genes
        Number of genes to keep for each group. None: all.
    rankby_abs
        Rank by the absolute score. The stored scores keep their sign.
    pts
        Add the fraction of cells that express each gene in each group and, with
        ``reference="rest"``, in the rest.
    tie_correct
        Reduce the variance of the rank-sum test for ties. Other methods ignore this option.
    corr_method
        ``"benjamini-hochberg"`` or ``"bonferroni"``, over the genes of each group.
    layer
        Layer to read instead of ``X``.
    use_raw
        Read ``adata.raw``. None: read it if it exists and no layer is given.
    key_added
        Key of ``uns`` under which the result is stored. None: ``"rank_genes_groups"``.
    mask_var
        Genes to test: a boolean array, or the name of a boolean column of ``var``.
    copy
        Return a copy with the result, and leave `adata` unchanged.

    Returns
    -------
    anndata.AnnData or None
        The copy if `copy`, else None. ``uns[key_added]`` holds ``params`` and structured arrays
        with one field per group, best gene first: ``names``, ``scores``, ``logfoldchanges``,
        ``pvals``, ``pvals_adj``. With `pts`, it also holds the frames ``pts`` and, against the
        rest, ``pts_rest``, genes x groups.

    Raises
    ------
    KeyError
        ``obs`` does not have the column, or the layer does not exist.
    ValueError
        Unknown group, reference, method or correction; a group of one cell; a mask of the wrong
        length or dtype, or an unknown column of ``var``; no ``raw``; NaN in the matrix.
    TypeError
        `adata` is not an AnnData object, or a flag is not a bool.

    See Also
    --------
    de : The interface of pdex itself.

    Examples
    --------
    >>> import numpy as np
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> screen.X.data = np.log1p(screen.X.data)
    >>> pdex.tl.rank_genes_groups(screen, "target", reference="non-targeting", n_genes=5)
    >>> screen.uns["rank_genes_groups"]["names"].shape
    (5,)
    >>> screen.uns["rank_genes_groups"]["names"].dtype.names
    ('T000', 'T001', 'T002')
    """
    check_choice("method", method, tuple(_TESTS))
    check_choice("corr_method", corr_method, get_args(Correction))
    key = _key(key_added)
    copy, by_abs, pts = flag("copy", copy), flag("rankby_abs", rankby_abs), flag("pts", pts)
    tie_correct = flag("tie_correct", tie_correct)
    source, var_names, use_raw = _open(adata, layer, use_raw)
    _check_writable(adata, copy)
    genes = _masked(adata, mask_var, len(var_names), source.where)
    n_top, found_groups = _top(n_genes, len(genes)), read_groups(PandasFrame(adata.obs), groupby)
    labels = _categorical(adata, groupby)
    comparison = _compare(found_groups, labels, groups, reference)
    _check_sizes(comparison, method)
    work = _Work(source, genes, comparison, resources_of(None))
    _warn_of_counts(work)
    columns = work.run(method, tie_correct)
    found = _found(columns, method, source.log_base)
    found["pvals_adj"] = _adjust(found["pvals"], corr_method)
    order = _rank(found["scores"], n_top, by_abs)
    params = {
        "groupby": groupby,
        "reference": reference,
        "method": method,
        "use_raw": use_raw,
        "layer": layer,
        "corr_method": corr_method,
    }
    result: dict[str, Any] = {"params": params}
    if pts:
        result.update(_expressing(columns, comparison, var_names[genes]))
    ranked = {name: np.take_along_axis(table, order, axis=1) for name, table in found.items()}
    ranked["names"] = np.asarray(var_names, dtype=object)[genes][order]
    result.update(_records(ranked, comparison.targets))
    adata = adata.copy() if copy else adata
    adata.uns[key] = result
    if labels.dtype != adata.obs[groupby].dtype:
        adata.obs[groupby] = labels
    return adata if copy else None


# --- the request --------------------------------------------------------------------------------


def _key(key_added: str | None) -> str:
    """Return the key of uns for the result."""
    if key_added is None:
        return "rank_genes_groups"
    if not isinstance(key_added, str):
        msg = f"key_added must be the name of an entry of uns; got {key_added!r}"
        raise TypeError(msg)
    return key_added


def _check_writable(adata: AnnData, copy: bool) -> None:
    """Raise ValueError if the result would require a copy of data in a file."""
    if adata.isbacked and (copy or adata.is_view):
        what = "copy=True" if copy else "writing to a view"
        msg = f"{what} needs data in memory: use adata.to_memory() first"
        raise ValueError(msg)


def _top(n_genes: int | None, available: int) -> int:
    """Return the number of genes to keep for each group."""
    if n_genes is None:
        return available
    if isinstance(n_genes, bool) or not isinstance(n_genes, (int, np.integer)) or n_genes < 1:
        msg = f"n_genes must be None (all genes) or an integer >= 1; got {n_genes!r}"
        raise ValueError(msg)
    return min(int(n_genes), available)


def _open(
    adata: AnnData, layer: str | None, use_raw: bool | None
) -> tuple[Source, pd.Index[str], bool]:
    """Return the matrix to test, the names of its genes, and whether it is raw."""
    import anndata as ad

    if not isinstance(adata, ad.AnnData):
        msg = f"adata is a {type(adata).__qualname__}: expected an AnnData object"
        raise TypeError(msg)
    raw = adata.raw is not None and layer is None if use_raw is None else flag("use_raw", use_raw)
    source = open_source(adata, layer, raw)
    return source, adata.raw.var_names if raw else adata.var_names, raw


def _masked(adata: AnnData, mask_var: object, n_genes: int, where: str) -> npt.NDArray[np.uint32]:
    """Return the indices of the genes to test, ascending."""
    if mask_var is None:
        return np.arange(n_genes, dtype=np.uint32)
    name = "mask_var"
    if isinstance(mask_var, str):
        name = f"mask_var={mask_var!r}"
        if mask_var not in adata.var:
            columns = ", ".join(map(repr, adata.var.columns))
            msg = f"var has no column for {name}. Columns: {columns or 'none'}"
            raise ValueError(msg)
        mask_var = adata.var[mask_var]
    mask = np.asarray(mask_var)
    if mask.dtype != np.bool_ or mask.ndim != 1:
        msg = f"{name} has dtype {mask.dtype} and shape {mask.shape}: expected one bool per gene"
        raise ValueError(msg)
    if len(mask) != n_genes:
        msg = (
            f"{name} has {len(mask)} entries, but {where} has {n_genes} genes: give a mask of its "
            "genes, or choose another matrix with layer or use_raw"
        )
        raise ValueError(msg)
    if not mask.any():
        msg = f"{name} leaves no gene to test"
        raise ValueError(msg)
    return np.flatnonzero(mask).astype(np.uint32)


@dataclass(frozen=True)
class _Comparison:
    """Which cells are compared with which."""

    #: One code per cell: 0 for the reference (or, against the rest, for no target), targets from 1.
    codes: npt.NDArray[np.uint32]
    #: The groups to test, in the order of the result.
    targets: list[str]
    #: The targets, and the reference if it is a group.
    groups: list[str]
    rest: bool
    #: Numbers of cells in each target and in its reference, targets x 1.
    n_target: Table
    n_reference: Table


def _categorical(adata: AnnData, groupby: str) -> pd.Series[Any]:
    """Return the column of labels; text becomes categorical as in AnnData, T2 before T10."""
    frame = adata.obs[[groupby]].copy()
    adata.strings_to_categoricals(frame)
    return frame[groupby]


def _compare(found: Groups, labels: pd.Series[Any], groups: object, reference: str) -> _Comparison:
    """Return the requested comparison; raise ValueError if there is no group to test."""
    rest = isinstance(reference, str) and reference == "rest"
    background = None if rest else found.labels[found.require(reference, "reference")]
    order = _order(found, labels, groups)
    if background is not None and background not in order:
        order.append(background)
    targets = [label for label in order if label != background]
    if not targets:
        msg = (
            f"obs[{found.column!r}] has no group to test other than {background!r}; "
            "name some in groups"
        )
        raise ValueError(msg)
    # One entry more than there are labels: index -1 (no label) reads the last.
    table = np.full(len(found.labels) + 1, 0 if rest else SKIP, dtype=np.uint32)
    if background is not None:
        table[found.require(background, "reference")] = 0
    for number, label in enumerate(targets, 1):
        table[found.require(label, "group")] = number
    codes = table[found.places]
    sizes = np.bincount(codes[codes != SKIP], minlength=len(targets) + 1)
    n_target = sizes[1:, None].astype(float)
    n_reference = len(codes) - n_target if rest else np.full_like(n_target, sizes[0])
    return _Comparison(codes, targets, order, rest, n_target, n_reference)


def _order(found: Groups, labels: pd.Series[Any], groups: object) -> list[str]:
    """Return the requested groups without repeats; for "all", in the order of the categories."""
    import pandas as pd

    if isinstance(groups, str) and groups == "all":
        if not isinstance(labels.dtype, pd.CategoricalDtype):
            return list(found.labels)
        return [str(label) for label in labels.cat.categories if found.place(label) is not None]
    if isinstance(groups, (str, int)) or not isinstance(groups, Iterable):
        msg = f"groups must be 'all' or a list of groups, such as [{groups!r}]; got {groups!r}"
        raise ValueError(msg)
    asked = dict.fromkeys(as_names("groups", groups))
    return [found.labels[found.require(label, "group")] for label in asked]


def _check_sizes(comparison: _Comparison, method: str) -> None:
    """Raise ValueError if a group has one cell, or if the rest has too few for the method."""
    n_target, n_reference = comparison.n_target[:, 0], comparison.n_reference[:, 0]
    small = [label for label, n in zip(comparison.targets, n_target, strict=True) if n < 2]
    if not comparison.rest and n_reference[0] < 2:
        small += [label for label in comparison.groups if label not in comparison.targets]
    if small:
        msg = (
            f"groups of one cell cannot be tested: {', '.join(map(repr, small))}: "
            "name the others in groups"
        )
        raise ValueError(msg)
    if comparison.rest and n_reference.min() < (2 if method.startswith("t-test") else 1):
        label = comparison.targets[int(n_reference.argmin())]
        msg = (
            f"group {label!r} holds all cells but {int(n_reference.min())}: "
            f"there is no rest to compare it with by {method}"
        )
        raise ValueError(msg)
    if method == "wilcoxon" and min(n_target.min(), n_reference.min()) <= _FEW_CELLS:
        logger.info("groups of %d or fewer cells: the normal approximation is rough", _FEW_CELLS)


# --- the numbers --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """A matrix, its genes to test, and the comparison."""

    source: Source
    genes: npt.NDArray[np.uint32]
    comparison: _Comparison
    resources: Resources

    def run(self, method: str, tie_correct: bool) -> dict[str, Table]:
        """Return the engine's columns, each of shape targets x genes."""
        comparison, n_genes = self.comparison, len(self.genes)
        n_targets = len(comparison.targets)
        test, options, _ = _TESTS[method]
        if method == "wilcoxon":
            options = {**options, "tie_correct": tie_correct}
        options = options_of(test, options)
        asked = Comparison(comparison.codes, n_targets, comparison.rest)
        job = job_of(asked, Question(test, options), n_genes, self.resources.threads)
        pieces = self.source.pieces(self.genes, self.resources)
        columns = run(job, self.source, pieces, n_genes, None, Finish())
        return {c.name: c.to_numpy().reshape(n_targets, n_genes) for c in columns}


def _found(columns: dict[str, Table], method: str, base: float | None) -> dict[str, Table]:
    """Return scores, p-values (1 if undefined) and fold changes of logarithms to `base`."""
    scores, pvals = columns[_TESTS[method][2]], columns["p_value"]
    if method != "anderson":
        scores = np.where(np.isnan(scores), 0.0, scores)
    folds = _log_fold_changes(columns["target_mean"], columns["reference_mean"], base)
    pvals = np.where(np.isnan(pvals), 1.0, pvals)
    return {"scores": scores, "pvals": pvals, "logfoldchanges": folds}


def _warn_of_counts(work: _Work) -> None:
    """Warn if the values are not logarithms, because the fold changes assume that they are."""
    source = work.source
    kind = Values(*source.survey(work.resources.threads)).kind(source.log_base)
    if kind in ("counts", "normalised"):
        what = "counts" if kind == "counts" else "values that are normalised but not logged"
        warn(
            f"{source.where} looks like {what}, and fold changes are taken as of log1p data: "
            "transform it first, for example with scanpy.pp.log1p"
        )


def _log_fold_changes(target: Table, reference: Table, base: float | None) -> Table:
    """Return log2 of the ratio of expm1 of the means, for logarithms to any base."""
    unit = 1.0 if base is None else float(np.log(base))
    # A mean below 0 is not a logarithm of counts, and its ratio to one above 0 gives NaN.
    with np.errstate(all="ignore"):
        above, below = (np.expm1(mean * unit) + _PSEUDOCOUNT for mean in (target, reference))
        ratio: Table = np.log2(above / below)
    return ratio


def _adjust(pvals: Table, corr_method: str) -> Table:
    """Return the p-values, corrected over the genes of each target."""
    if corr_method == "bonferroni":
        bounded: Table = np.minimum(pvals * pvals.shape[1], 1.0)
        return bounded
    return np.stack([_pdex.benjamini_hochberg(row) for row in np.ascontiguousarray(pvals)])


# --- the result ---------------------------------------------------------------------------------


def _rank(scores: Table, n_top: int, by_abs: bool) -> npt.NDArray[np.intp]:
    """Return the indices of the best genes of each target, best first, NaN last.

    Equal scores keep the order in which NumPy's partition and sort leave them. scanpy takes the
    same two steps, so its order of ties is the same.
    """
    keys = np.abs(scores) if by_abs else scores
    keys = np.where(np.isnan(keys), -np.inf, keys)
    best = np.argpartition(keys, -n_top, axis=1)[:, -n_top:]
    order = np.argsort(np.take_along_axis(keys, best, axis=1), axis=1)[:, ::-1]
    return np.take_along_axis(best, order, axis=1)


def _records(columns: dict[str, npt.NDArray[Any]], targets: list[str]) -> dict[str, Any]:
    """Return each column as a structured array with a field for each target."""
    return {
        name: np.rec.fromarrays(list(columns[name]), dtype=[(target, kind) for target in targets])
        for name, kind in _TYPES.items()
    }


def _expressing(
    columns: dict[str, Table], comparison: _Comparison, var_names: pd.Index[str]
) -> dict[str, pd.DataFrame]:
    """Return the frames pts and, against the rest, pts_rest: genes x groups."""
    import pandas as pd

    target, other = columns["target_fraction"], columns["reference_fraction"]
    pts = pd.DataFrame(target.T, index=var_names, columns=comparison.targets)
    if comparison.rest:
        rest = pd.DataFrame(other.T, index=var_names, columns=comparison.targets)
        return {"pts": pts, "pts_rest": rest}
    (background,) = set(comparison.groups).difference(comparison.targets)
    pts[background] = other[0]
    return {"pts": pts[comparison.groups]}
