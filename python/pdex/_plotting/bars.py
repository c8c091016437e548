"""A chart of the genes that a target changes most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from pdex._plotting import chart, table

if TYPE_CHECKING:
    import altair as alt

    from pdex._plotting.table import Frame

_NEEDED = ("target", "feature", "log2_fold_change", "neg_log10_p", "fdr")
_MEANS = ("target_mean", "reference_mean")


def top_genes(
    frame: Frame,
    target: str | None = None,
    *,
    n: int = 20,
    fdr: float = 0.05,
    min_abs_lfc: float = 0.0,
    width: int = 420,
) -> alt.LayerChart:
    """Draw the log2 fold changes of the genes of one target with the smallest p-values.

    Genes are ordered by p-value from top to bottom. The size of a dot shows the -log10 p-value, and
    grey dots are not hits. A fold change beyond the axis (see :func:`volcano`) ends in a triangle
    at the edge.

    Parameters
    ----------
    frame
        As for :func:`volcano`.
    target
        The target to draw. It may be omitted if the frame has only one.
    n
        Number of genes, at least 1.
    fdr, min_abs_lfc
        A gene is a hit if its false discovery rate is below `fdr` and its absolute log2 fold change
        is at least `min_abs_lfc`.
    width
        Width in pixels, without axes. Each gene takes 18 pixels of height.

    Returns
    -------
    altair.LayerChart
        A chart that can be combined with others, and saved as HTML, JSON, PNG or SVG.

    Raises
    ------
    ImportError
        Altair is not installed.
    ValueError
        Unknown target, an option out of range, a missing column, no rows, or no gene with a p-value
        and a fold change.

    See Also
    --------
    volcano : All genes of one target.
    effects : Many targets and genes.

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=50, n_targets=3, n_effects=5)
    >>> chart = pdex.pl.top_genes(pdex.de(screen, "target"), "T001", n=10)
    >>> chart.title.text
    'T001: top genes'
    """
    chart.check_altair()
    n, width = table.whole("n", n, 1), table.whole("width", width, 50)
    limits = table.level("fdr", fdr), table.at_least_zero("min_abs_lfc", min_abs_lfc)
    name, genes = table.pick(table.tidy(frame, _NEEDED, (*_MEANS, *table.SCORES)), target)
    table.check_fold_changes(genes)
    kind = table.change(genes.columns, *limits)
    genes = genes.with_columns(pl.col("feature").cast(pl.String), kind)
    limit = table.limit_of_fold_changes(genes) * 1.04
    top = table.ranked(genes, strict=True).filter(pl.col("log2_fold_change").is_not_nan()).head(n)
    if not top.height:
        msg = f"target {name!r} has no gene with a p-value and a fold change: nothing to draw"
        raise ValueError(msg)
    limit = min(limit, max(_largest(top, limit) * 1.08, 0.5))
    return _draw(name, top.with_row_index("rank"), limit, width)


def _largest(top: pl.DataFrame, limit: float) -> float:
    """Return the largest absolute fold change that lies within the axis."""
    sizes = top["log2_fold_change"].abs()
    inside = sizes.filter(sizes <= limit).max()
    return float(inside) if isinstance(inside, float) else limit


def _draw(name: str, top: pl.DataFrame, limit: float, width: int) -> alt.LayerChart:
    import altair as alt

    lfc = pl.col("log2_fold_change")
    finite = top.filter(pl.col("neg_log10_p").is_finite())["neg_log10_p"].max()
    rows = top.select(
        "feature",
        "rank",
        "change",
        x=lfc.clip(-limit, limit),
        size=pl.col("neg_log10_p").clip(0.0, float(finite) if isinstance(finite, float) else 1.0),
        turn=pl.when(lfc < -limit).then(270).when(lfc > limit).then(90).otherwise(0),
        **{
            f"{column}_text": pl.Series([chart.number(v) for v in top[column]], dtype=pl.String)
            for column in ("log2_fold_change", "neg_log10_p", "fdr")
        },
    )
    # The axis is the rank, labelled with the names, so that genes of the same name keep two rows.
    names = rows["feature"].to_list()
    axis = chart.axis(labelExpr=f"{chart.literal(names)}[datum.value]", title=None, grid=False)
    y = alt.Y("rank:O", axis=axis)
    span = alt.Scale(domain=[-limit, limit], nice=False)
    x = alt.X("x:Q", scale=span, title="log2 fold change", axis=chart.axis())
    colours = chart.kinds(rows["change"])
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    colour = alt.Color("change:N", scale=scale, legend=None)
    tips = [alt.Tooltip("feature:N", title="gene")]
    tips += [
        alt.Tooltip(f"{column}_text:N", title=chart.TITLES[column])
        for column in ("log2_fold_change", "neg_log10_p", "fdr")
    ]
    base = alt.Chart(chart.data(rows)).encode(y=y, color=colour, tooltip=tips)
    zero = alt.Chart(alt.InlineData(values=[{"x": 0}])).mark_rule(color="#7a8087").encode(x=x)
    stems = base.mark_rule(strokeWidth=2).encode(x=x, x2=alt.datum(0))
    size = alt.Size(
        "size:Q",
        scale=alt.Scale(range=[30, 220], zero=True),
        legend=alt.Legend(
            title=chart.TITLES["neg_log10_p"], titleFontWeight="normal", symbolFillColor="#777"
        ),
    )
    dots = base.transform_filter("datum.turn == 0").mark_circle(opacity=1).encode(x=x, size=size)
    ends = base.transform_filter("datum.turn != 0").mark_point(
        shape="triangle-up", filled=True, size=110, opacity=1
    )
    layers = [zero, stems, dots, ends.encode(x=x, angle=alt.Angle("turn:Q", scale=None))]
    text = "ordered by p-value; orange: up, blue: down, grey: not a hit"
    heading = chart.title(f"{name}: top genes", text)
    return chart.layered(*layers, width=width, height=18 * top.height, title=heading)
