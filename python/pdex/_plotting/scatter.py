"""Volcano and MA plots, with one point per gene."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pdex._plotting import chart, table
from pdex._plotting.subsample import place_labels, subsample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt
    import numpy.typing as npt

    from pdex._plotting.table import Frame

    Floats = npt.NDArray[np.float64]

_DULL_POINTS = 2_000
#: Largest number of characters in a point's label.
_LABEL = 24
_NEEDED = ("target", "feature", "log2_fold_change", "neg_log10_p", "fdr")
_COUNTS = ("target_mean", "reference_mean", "n_target", "n_reference")
_TIPS = ("log2_fold_change", "neg_log10_p", "fdr")


def volcano(
    frame: Frame,
    target: str | None = None,
    *,
    fdr: float = 0.05,
    min_abs_lfc: float = 0.0,
    n_labels: int = 12,
    labels: Sequence[str] | None = None,
    width: int = 560,
    height: int = 400,
) -> alt.LayerChart:
    """Draw a volcano plot of one target: log2 fold changes and -log10 p-values of its genes.

    Genes that are neither significant nor labelled are subsampled where they are crowded: at most
    2,000 are drawn, in each small square only the most significant one. Genes with a false
    discovery rate below `fdr` and labelled genes are always drawn. A chart of 20,000 genes
    therefore stays below 1 MB.

    Values outside the axes are drawn as triangles at the edge, with their numbers in the tooltip.
    They are infinities, or fold changes of genes that are silent in the target or the reference,
    where the pseudocount alone determines the fold change (for example -26). Genes without a
    p-value or fold change cannot be drawn; the subtitle counts them.

    Parameters
    ----------
    frame
        Result of :func:`pdex.de`, or any Polars or pandas frame with ``target``, ``feature``,
        ``log2_fold_change`` (or ``fold_change``), ``neg_log10_p`` (or ``p_value``) and ``fdr``.
    target
        The target to draw. It may be omitted if the frame has only one.
    fdr, min_abs_lfc
        A gene is a hit if its false discovery rate is below `fdr` and its absolute log2 fold change
        is at least `min_abs_lfc`.
    n_labels
        Number of hits to label, smallest p-values first.
    labels
        Label these genes instead, whether or not they are hits.
    width, height
        Size in pixels, without axes.

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

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=50, n_targets=3, n_effects=5)
    >>> chart = pdex.pl.volcano(pdex.de(screen, "target"), "T001")
    >>> chart.title.text
    'T001'
    """
    genes, options = _prepare(frame, target, fdr, min_abs_lfc, n_labels, labels, _COUNTS)
    limit = table.limit_of_fold_changes(genes) * 1.06
    top = genes.filter(pl.col("neg_log10_p").is_finite())["neg_log10_p"].max()
    x = Axis("log2_fold_change", genes["log2_fold_change"], "log2 fold change", -limit, limit)
    p_title, p_limit = chart.TITLES["neg_log10_p"], max(_float(top), 1.0) * 1.06
    y = Axis("neg_log10_p", genes["neg_log10_p"], p_title, 0.0, p_limit)
    return _draw(genes, x, y, options, (width, height), _cutoffs(genes, fdr, min_abs_lfc))


def ma(
    frame: Frame,
    target: str | None = None,
    *,
    fdr: float = 0.05,
    min_abs_lfc: float = 0.0,
    n_labels: int = 12,
    labels: Sequence[str] | None = None,
    width: int = 560,
    height: int = 400,
) -> alt.LayerChart:
    """Draw an MA plot of one target: mean expressions and log2 fold changes of its genes.

    The mean expression of a gene is the average of its means in the target and in the reference.
    Genes are subsampled, coloured and labelled as in :func:`volcano`. Genes whose mean is not above
    0 cannot be drawn on the logarithmic axis; the subtitle counts them.

    Parameters
    ----------
    frame
        As for :func:`volcano`, with ``target_mean`` and ``reference_mean``.
    target
        The target to draw. It may be omitted if the frame has only one.
    fdr, min_abs_lfc
        A gene is a hit if its false discovery rate is below `fdr` and its absolute log2 fold change
        is at least `min_abs_lfc`.
    n_labels
        Number of hits to label, smallest p-values first.
    labels
        Label these genes instead, whether or not they are hits.
    width, height
        Size in pixels, without axes.

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

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=50, n_targets=3, n_effects=5)
    >>> chart = pdex.pl.ma(pdex.de(screen, "target"), "T001")
    >>> chart.title.text
    'T001'
    """
    means = ("target_mean", "reference_mean")
    genes, options = _prepare(frame, target, fdr, min_abs_lfc, n_labels, labels, _COUNTS, means)
    mean = (genes["target_mean"] + genes["reference_mean"]) / 2
    drawable = genes.select(mean.is_finite() & (mean > 0)).to_series()
    mean = pl.select(pl.when(drawable).then(mean).otherwise(float("nan"))).to_series()
    low, high = _float(mean.fill_nan(None).min()) or 1.0, _float(mean.fill_nan(None).max()) or 1.0
    limit = table.limit_of_fold_changes(genes) * 1.06
    # Make the axis wide enough for two ticks.
    room = 1.25 if high > 4 * low else 2.5
    x = Axis("mean", mean, "mean expression", low / room, high * room, log=True)
    y = Axis("log2_fold_change", genes["log2_fold_change"], "log2 fold change", -limit, limit)
    cuts = Cutoffs(y=[-min_abs_lfc, min_abs_lfc] if min_abs_lfc else [0.0])
    return _draw(genes, x, y, options, (width, height), cuts)


@dataclass(frozen=True)
class Axis:
    """One axis: the values of all genes along it, and the range that is drawn."""

    field: str
    values: pl.Series
    title: str
    low: float
    high: float
    log: bool = False

    def drawn(self) -> Floats:
        """Return the values; those outside the axis are moved to its edge."""
        place: Floats = np.clip(self.values.to_numpy(), self.low, self.high)
        return place

    def pixels(self, values: Floats, length: int) -> Floats:
        """Return the distances of values from the start of the axis, in pixels."""
        scale = np.log10 if self.log else np.asarray
        low, high = scale(self.low), scale(self.high)
        place: Floats = (scale(values) - low) / (high - low) * length
        return place

    def values_at(self, pixels: Floats, length: int) -> Floats:
        """Return the values at these distances, in pixels, from the start of the axis."""
        if not self.log:
            return self.low + pixels / length * (self.high - self.low)
        low, high = np.log10(self.low), np.log10(self.high)
        place: Floats = 10.0 ** (low + pixels / length * (high - low))
        return place


@dataclass(frozen=True)
class Cutoffs:
    """Positions of the dashed lines."""

    x: list[float] | None = None
    y: list[float] | None = None


@dataclass(frozen=True)
class Options:
    """The checked options of a plot."""

    target: str
    fdr: float
    min_abs_lfc: float
    labels: list[str]


def _float(value: Any) -> float:
    return 0.0 if value is None else float(value)


def _prepare(
    frame: Frame,
    target: str | None,
    fdr: float,
    min_abs_lfc: float,
    n_labels: int,
    labels: Sequence[str] | None,
    optional: tuple[str, ...],
    needed: tuple[str, ...] = (),
) -> tuple[pl.DataFrame, Options]:
    """Return the genes of one target, ordered by p-value, and the checked options."""
    chart.check_altair()
    fdr, min_abs_lfc = table.level("fdr", fdr), table.at_least_zero("min_abs_lfc", min_abs_lfc)
    n_labels = table.whole("n_labels", n_labels, 0)
    optional = tuple(name for name in (*optional, *table.SCORES) if name not in needed)
    name, genes = table.pick(table.tidy(frame, (*_NEEDED, *needed), optional), target)
    table.check_fold_changes(genes)
    kind = table.change(genes.columns, fdr, min_abs_lfc)
    genes = genes.with_columns(pl.col("feature").cast(pl.String), kind)
    genes = table.ranked(genes)
    if labels is None:
        hits = genes.filter(pl.col("change") != table.NONE)["feature"]
        chosen = hits.unique(maintain_order=True).head(n_labels).to_list()
    else:
        chosen = table.known_names("labels", labels, table.names_of(genes["feature"]))
    return genes, Options(name, fdr, min_abs_lfc, chosen)


def _cutoffs(genes: pl.DataFrame, fdr: float, min_abs_lfc: float) -> Cutoffs:
    """Return the lines of a volcano plot: the threshold of p-values and that of fold changes."""
    line = table.parting(genes, fdr)
    x = [-min_abs_lfc, min_abs_lfc] if min_abs_lfc else None
    return Cutoffs(x, None if line is None else [line])


def _draw(
    genes: pl.DataFrame, x: Axis, y: Axis, options: Options, size: tuple[int, int], cuts: Cutoffs
) -> alt.LayerChart:
    """Return the chart: dashed lines, points, triangles at the edge, and labels."""
    width, height = table.whole("width", size[0], 50), table.whole("height", size[1], 50)
    left, top = x.drawn(), y.drawn()
    points = genes.with_columns(
        x.values.alias(x.field),
        pl.Series("x", left),
        pl.Series("y", top),
        pl.Series("px", x.pixels(left, width)),
        pl.Series("py", y.pixels(top, height)),
        pl.Series("outside", (left != x.values.to_numpy()) | (top != y.values.to_numpy())),
    ).filter(pl.col("x").is_not_nan() & pl.col("y").is_not_nan())
    drawn = points[_kept(points, options)]
    colour = _colour(drawn["change"])
    layers = _rules(x, y, cuts)
    layers.append(_circles(drawn.filter(~pl.col("outside")), x, y).encode(color=colour))
    if drawn["outside"].any():
        layers.append(_triangles(drawn.filter("outside"), x, y).encode(color=colour))
    layers += _names(drawn, x, y, (width, height), options.labels)
    text = _subtitle(genes, points, drawn, options)
    heading = chart.title(options.target, *text)
    return chart.layered(*layers, width=width, height=height, title=heading)


def _kept(points: pl.DataFrame, options: Options) -> npt.NDArray[np.intp]:
    """Return the indices of the points to draw; hits come last, so they lie on top."""
    named = points["feature"].is_in(options.labels)
    always = ((points["fdr"] < options.fdr) | named).to_numpy()
    dull = np.flatnonzero(~always)
    px, py = points["px"].to_numpy()[dull], points["py"].to_numpy()[dull]
    kept = np.concatenate([dull[subsample(px, py, _DULL_POINTS)], np.flatnonzero(always)[::-1]])
    hit = (points["change"] != table.NONE).to_numpy()[kept]
    order: npt.NDArray[np.intp] = kept[np.argsort(hit, kind="stable")]
    return order


def _subtitle(
    genes: pl.DataFrame, points: pl.DataFrame, drawn: pl.DataFrame, options: Options
) -> list[str]:
    """Return the lines that say what is drawn and what is left out."""
    up, down, flat = (points.filter(pl.col("change") == kind).height for kind in table.HITS)
    least = f", |log2 FC| ≥ {options.min_abs_lfc:g}" if options.min_abs_lfc else ""
    line = f"{up + down + flat:,} of {genes.height:,} genes below FDR {options.fdr:.3g}{least}"
    line += f": {up:,} up, {down:,} down" + (f", {flat:,} without direction" if flat else "")
    if {"n_target", "n_reference"} <= set(genes.columns):
        sizes = genes.select(pl.col("n_target", "n_reference").fill_nan(None).max()).row(0)
        if None not in sizes:
            line += f"; {sizes[0]:,.0f} cells against {sizes[1]:,.0f}"
    notes = []
    if drawn.height < points.height:
        dull = points.filter(~(pl.col("fdr") < options.fdr)).height
        shown = dull - (points.height - drawn.height)
        notes.append(f"{shown:,} of {dull:,} others drawn")
    if drawn["outside"].any():
        notes.append("triangles: beyond the axes")
    if points.height < genes.height:
        left_out = genes.height - points.height
        noun = "gene" if left_out == 1 else "genes"
        notes.append(f"{left_out:,} {noun} cannot be drawn")
    return [line, "; ".join(notes)]


def _colour(changes: pl.Series) -> alt.Color:
    """Return the colours of up, down and other genes.

    The legend has no counts, because charts side by side share one legend.
    """
    import altair as alt

    colours = chart.kinds(changes)
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    look = chart.legend(
        orient="bottom",
        labelExpr=f"{chart.literal({kind: chart.LEGEND[kind] for kind in colours})}[datum.label]",
        labelLimit=0,
        symbolOpacity=1,
        symbolType="circle",
    )
    return alt.Color("change:N", scale=scale, legend=look)


def _channels(x: Axis, y: Axis, fields: tuple[str, str]) -> dict[str, Any]:
    """Return the two encodings of positions."""
    import altair as alt

    channels = {}
    for kind, axis, field in ((alt.X, x, fields[0]), (alt.Y, y, fields[1])):
        # Vega warns if the option zero is given for a logarithmic scale.
        look: dict[str, Any] = {"type": "log"} if axis.log else {"type": "linear", "zero": False}
        scale = alt.Scale(domain=[axis.low, axis.high], nice=False, **look)
        ticks = chart.axis(values=_powers(axis)) if axis.log else chart.axis(tickCount=8)
        channel = kind(f"{field}:Q", title=axis.title, scale=scale, axis=ticks)
        channels["x" if kind is alt.X else "y"] = channel
    return channels


def _powers(axis: Axis) -> list[float]:
    """Return the ticks of a logarithmic axis: powers of 10, and more if these are few."""
    low, high = math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high))
    steps = (1.0,) if high - low > 3 else (1.0, 2.0, 5.0)
    values = [step * 10.0**power for power in range(low, high + 1) for step in steps]
    return [value for value in values if axis.low <= value <= axis.high]


def _circles(drawn: pl.DataFrame, x: Axis, y: Axis) -> alt.Chart:
    """Return the points inside the axes."""
    import altair as alt

    columns = dict.fromkeys(("feature", x.field, y.field, *_TIPS, "change"))
    base = alt.Chart(chart.data(drawn.select(*columns)))
    tips = [alt.Tooltip("feature:N", title="gene")]
    tips += [
        alt.Tooltip(f"{name}:Q", title=text, format=".4~g")
        for name, text in chart.TITLES.items()
        if name in columns
    ]
    points: alt.Chart = base.mark_circle(size=22, opacity=0.7, clip=True).encode(
        **_channels(x, y, (x.field, y.field)), tooltip=tips
    )
    return points


def _triangles(outside: pl.DataFrame, x: Axis, y: Axis) -> alt.Chart:
    """Return the points at the edge as triangles that point outwards; their numbers are text."""
    import altair as alt

    px, py = pl.col("x"), pl.col("y")
    turn = pl.when(px <= x.low).then(270).when(px >= x.high).then(90).when(py <= y.low).then(180)
    tips = list(dict.fromkeys(("feature", x.field, y.field, *_TIPS)))
    text = [pl.Series(n, [chart.number(v) for v in outside[n]], dtype=pl.String) for n in tips[1:]]
    rows = outside.with_columns(turn.otherwise(0).alias("turn"), *text)
    base = alt.Chart(chart.data(rows.select("x", "y", "turn", "change", *tips)))
    mark = base.mark_point(shape="triangle-up", filled=True, size=40, opacity=0.8)
    points: alt.Chart = mark.encode(
        **_channels(x, y, ("x", "y")),
        angle=alt.Angle("turn:Q", scale=None),
        tooltip=[alt.Tooltip(f"{n}:N", title=chart.TITLES.get(n, "gene")) for n in tips],
    )
    return points


def _rules(x: Axis, y: Axis, cuts: Cutoffs) -> list[alt.Chart]:
    """Return the dashed lines that lie within the axes."""
    import altair as alt

    rules = []
    for name, axis, at in (("x", x, cuts.x), ("y", y, cuts.y)):
        values = [{name: round(v, 6)} for v in at or [] if axis.low <= v <= axis.high]
        if values:
            base = alt.Chart(alt.InlineData(values=values))
            rule = base.mark_rule(strokeDash=[4, 4], color="#7a8087", opacity=0.8)
            rules.append(rule.encode(**{name: _channels(x, y, ("x", "y"))[name]}))
    return rules


def _names(
    drawn: pl.DataFrame, x: Axis, y: Axis, size: tuple[int, int], labels: list[str]
) -> list[alt.Chart]:
    """Return the labels, and the lines that connect them with their points."""
    import altair as alt

    # The most significant point comes last; reversing places its label first.
    named = drawn.filter(pl.col("feature").is_in(labels)).reverse()
    if not named.height:
        return []
    hits = drawn.filter(pl.col("change") != table.NONE)
    crowd = hits if hits.height else drawn
    names = [chart.shortened(name, _LABEL) for name in named["feature"]]
    centres = place_labels(
        named.select("px", "py").to_numpy(),
        names,
        crowd.select("px", "py").to_numpy(),
        size,
    )
    rows = named.select(
        pl.Series("feature", names),
        "x",
        "y",
        pl.Series("tx", x.values_at(centres[:, 0], size[0])),
        pl.Series("ty", y.values_at(centres[:, 1], size[1])),
    )
    base = alt.Chart(chart.data(rows, digits=6))
    text: dict[str, Any] = {"fontSize": 11, "baseline": "middle", "align": "center"}
    place = {**_channels(x, y, ("tx", "ty")), "text": alt.Text("feature:N")}
    return [
        base.mark_rule(color="#7a8087", strokeWidth=0.6).encode(
            **_channels(x, y, ("x", "y")), x2="tx:Q", y2="ty:Q"
        ),
        base.mark_text(**text, stroke="white", strokeWidth=3, opacity=0.8).encode(**place),
        base.mark_text(**text, color="#16191c").encode(**place),
    ]
