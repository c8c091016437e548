"""A heat map of fold changes, targets x genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pdex._plotting import chart, table
from pdex._plotting.cluster_order import clustered

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt

    from pdex._plotting.table import Frame

_NEEDED = ("target", "feature", "log2_fold_change", "neg_log10_p", "fdr")
_MEANS = ("target_mean", "reference_mean")
_COLUMNS = [*_NEEDED, "change"]
#: Longest side of the heat map, and longest side of one of its cells, in pixels.
_SIDE, _CELL = 1_100, 15


def effects(
    frame: Frame,
    *,
    genes: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    n_genes: int = 60,
    n_targets: int = 100,
    fdr: float = 0.05,
    min_abs_lfc: float = 0.0,
    cluster: bool = True,
) -> alt.LayerChart:
    """Draw a heat map of log2 fold changes, targets x genes, with similar neighbours.

    Colours run from blue (down) through white to orange (up), which colour-blind people can tell
    apart. The colour scale ends at the 98th percentile of the absolute fold changes of the hits
    drawn; larger ones are clipped. A dot marks a hit. Rows and columns are ordered by
    average-linkage clustering of their Euclidean distances, after clipping.

    Parameters
    ----------
    frame
        As for :func:`volcano`, with several targets. If a gene has several rows in one target, the
        row with the smallest p-value is drawn.
    genes, targets
        Names of the genes and targets to draw. None: those with the most hits (if equal, with the
        smallest p-values), up to `n_genes` and `n_targets`. The subtitle gives the totals.
    n_genes, n_targets
        Largest number of genes and targets to choose.
    fdr, min_abs_lfc
        A gene is a hit if its false discovery rate is below `fdr` and its absolute log2 fold change
        is at least `min_abs_lfc`.
    cluster
        Order targets and genes by similarity. False: keep the order of the frame, or that of
        `genes` and `targets`.

    Returns
    -------
    altair.LayerChart
        A chart that can be combined with others, and saved as HTML, JSON, PNG or SVG.

    Raises
    ------
    ImportError
        Altair is not installed.
    ValueError
        Unknown target or gene, an option out of range, a missing column, no rows, or no fold
        changes at all, as for z-scores.

    See Also
    --------
    top_genes : The genes that one target changes most.

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=50, n_targets=3, n_effects=5)
    >>> chart = pdex.pl.effects(pdex.de(screen, "target"), n_genes=10)
    >>> chart.title.text
    'Effects: 3 targets x 10 genes'
    """
    chart.check_altair()
    limits = table.level("fdr", fdr), table.at_least_zero("min_abs_lfc", min_abs_lfc)
    rows = table.tidy(frame, _NEEDED, (*_MEANS, *table.SCORES))
    table.check_fold_changes(rows)
    limit = table.limit_of_fold_changes(rows)
    rows = rows.select(pl.col("target", "feature").cast(pl.String), pl.exclude("target", "feature"))
    rows = rows.with_columns(table.change(rows.columns, *limits))
    all_names = [table.names_of(rows[name]) for name in table.LABELS]
    shown_targets = _chosen(rows, "target", targets, table.whole("n_targets", n_targets, 1))
    rows = rows.filter(pl.col("target").is_in(shown_targets))
    shown_genes = _chosen(rows, "feature", genes, table.whole("n_genes", n_genes, 1))
    rows = table.ranked(rows.filter(pl.col("feature").is_in(shown_genes)))
    rows = rows.unique(table.LABELS, keep="first", maintain_order=True).select(_COLUMNS)
    cut = _cut(rows, limit)
    if cluster:
        shown_targets, shown_genes = _clustered(rows, shown_targets, shown_genes, cut)
    shape = f"{_number(shown_targets, 'target')} x {_number(shown_genes, 'gene')}"
    text = [f"dots: hits below FDR {fdr:.3g}"]
    for shown, known, what in zip(
        (shown_targets, shown_genes), all_names, ("targets", "genes"), strict=True
    ):
        if len(shown) < len(known):
            text.append(f"{len(shown):,} of {len(known):,} {what}")
    heading = chart.title(f"Effects: {shape}", "; ".join(text))
    return _draw(rows, shown_targets, shown_genes, cut, heading)


def _number(names: list[str], what: str) -> str:
    return f"{len(names):,} {what}{'' if len(names) == 1 else 's'}"


def _chosen(rows: pl.DataFrame, name: str, asked: Sequence[str] | None, most: int) -> list[str]:
    """Return the requested names or, in the order of the frame, those with the most hits."""
    known = table.names_of(rows[name])
    if asked is not None:
        parameter = {"feature": "genes"}.get(name, "targets")
        chosen = table.known_names(parameter, asked, known)
        if not chosen:
            msg = f"{parameter}: the list is empty, so there is nothing to draw"
            raise ValueError(msg)
        return chosen
    hit = pl.col("change") != table.NONE
    best = rows.group_by(name, maintain_order=True).agg(
        hits=hit.sum(), best=pl.col("neg_log10_p").fill_nan(-1.0).max()
    )
    best = best.sort("hits", "best", descending=True, maintain_order=True).head(most)
    kept = set(best[name].to_list())
    return [label for label in known if label in kept]


def _cut(rows: pl.DataFrame, limit: float) -> float:
    """Return the end of the colour scale: the 98th percentile of the absolute fold changes of hits.

    Without hits, it is that of all genes.
    """
    sizes = rows.select(pl.col("log2_fold_change").abs().clip(0.0, limit), "change")
    sizes = sizes.filter(pl.col("log2_fold_change").is_not_nan())
    hits = sizes.filter(pl.col("change") != table.NONE)
    sizes = hits if hits.height else sizes
    cut = sizes["log2_fold_change"].quantile(0.98)
    return max(float(cut or 0.0), 0.1)


def _clustered(
    rows: pl.DataFrame, targets: list[str], genes: list[str], cut: float
) -> tuple[list[str], list[str]]:
    """Return targets and genes in order; a missing pair or fold change counts as no change."""
    matrix = np.zeros((len(targets), len(genes)))
    places = [{name: i for i, name in enumerate(names)} for names in (targets, genes)]
    at = [
        rows[name].replace_strict(place, return_dtype=pl.UInt32).to_numpy()
        for name, place in zip(table.LABELS, places, strict=True)
    ]
    matrix[at[0], at[1]] = np.nan_to_num(np.clip(rows["log2_fold_change"].to_numpy(), -cut, cut))
    return [targets[i] for i in clustered(matrix)], [genes[i] for i in clustered(matrix.T)]


def _draw(
    rows: pl.DataFrame,
    targets: list[str],
    genes: list[str],
    cut: float,
    heading: alt.TitleParams,
) -> alt.LayerChart:
    import altair as alt

    text = [
        pl.Series(name, [chart.number(v) for v in rows[name]], dtype=pl.String)
        for name in ("neg_log10_p", "fdr")
    ]
    lfc = pl.Series("text", [chart.number(v) for v in rows["log2_fold_change"]], dtype=pl.String)
    rows = rows.with_columns(pl.col("log2_fold_change").clip(-cut, cut), lfc, *text)
    cell_x = min(_CELL, _SIDE / len(genes))
    cell_y = min(_CELL, _SIDE / len(targets))
    axis_x = chart.axis(labelAngle=-90, labelLimit=120, ticks=False, domain=False, grid=False)
    axis_y = chart.axis(labelLimit=160, ticks=False, domain=False, grid=False)
    # Names that would overlap are left out at even intervals.
    axis_x.labelOverlap = axis_y.labelOverlap = "greedy"
    colours = alt.Scale(domain=[-cut, 0, cut], range=[chart.DOWN, "#f7f7f7", chart.UP], clamp=True)
    bar = alt.Legend(
        title="log2 fold change", titleFontWeight="normal", gradientLength=120, format=".2~f"
    )
    base = alt.Chart(chart.data(rows)).encode(
        # Order by the domain: Vega turns a sort list of thousands into too deep an expression.
        x=alt.X("feature:N", scale=alt.Scale(domain=genes), sort=None, title=None, axis=axis_x),
        y=alt.Y("target:N", scale=alt.Scale(domain=targets), sort=None, title=None, axis=axis_y),
    )
    tips = [
        alt.Tooltip("target:N"),
        alt.Tooltip("feature:N", title="gene"),
        alt.Tooltip("text:N", title="log2 fold change"),
        alt.Tooltip("neg_log10_p:N", title=chart.TITLES["neg_log10_p"]),
        alt.Tooltip("fdr:N", title="FDR"),
    ]
    cells = base.mark_rect().encode(
        color=alt.Color("log2_fold_change:Q", scale=colours, legend=bar), tooltip=tips
    )
    size = max(1.0, (min(cell_x, cell_y) / 3.5) ** 2)
    dots = base.transform_filter("datum.change != 'none'").mark_circle(
        size=size, color="#1b1e21", opacity=0.75, tooltip=None
    )
    size_x, size_y = round(cell_x * len(genes)), round(cell_y * len(targets))
    return chart.layered(cells, dots, width=size_x, height=size_y, title=heading)
