"""A chart that compares p-values with the uniform distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pdex._plotting import chart, null_distribution, table

if TYPE_CHECKING:
    import altair as alt
    import numpy.typing as npt

    from pdex._plotting.table import Frame

_BAND = "#c9ccd1"


def pvalues(
    frame: Frame,
    target: str | None = None,
    *,
    bins: int = 20,
    confidence: float = 0.95,
    width: int = 300,
    height: int = 260,
) -> alt.HConcatChart:
    """Draw a histogram of p-values and a quantile-quantile plot against the uniform distribution.

    If nothing differs, as between controls and controls, p-values are uniform: the histogram is
    flat and the points lie in the band. The band contains each order statistic of the same number
    of independent uniform p-values with probability `confidence`. The genes of one screen are not
    quite independent, so the p-values of real null comparisons vary a little more. For a screen
    with effects, the histogram has a peak near 0 above a flat background.

    Parameters
    ----------
    frame
        Any Polars or pandas frame with ``neg_log10_p`` or ``p_value``, and with ``target`` if one
        is chosen. Missing p-values are left out; the subtitle counts them.
    target
        Draw the p-values of this target only. None: draw all.
    bins
        Number of bars in the histogram, at least 2.
    confidence
        Probability of the band for each point, above 0 and below 1.
    width, height
        Size of each of the two charts in pixels, without axes.

    Returns
    -------
    altair.HConcatChart
        Histogram and quantile-quantile plot, side by side.

    Raises
    ------
    ImportError
        Altair is not installed.
    ValueError
        Unknown target, an option out of range, a missing column, or no p-values.

    See Also
    --------
    calibrate : Compare controls with controls.

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=50, n_targets=3, n_effects=0)
    >>> chart = pdex.pl.pvalues(pdex.de(screen, "target"))
    >>> [part.title.text for part in chart.hconcat]
    ['150 p-values', 'Quantiles']
    """
    chart.check_altair()
    import altair as alt

    bins = table.whole("bins", bins, 2)
    if table.level("confidence", confidence) in (0.0, 1.0):
        msg = f"confidence must be a number between 0 and 1; got {confidence!r}"
        raise ValueError(msg)
    size = {"width": table.whole("width", width, 50), "height": table.whole("height", height, 50)}
    needed = ("neg_log10_p",) if target is None else ("target", "neg_log10_p")
    rows = table.tidy(frame, needed)
    name = "" if target is None else f"{target}: "
    if target is not None:
        _, rows = table.pick(rows, target)
    values = rows["neg_log10_p"].to_numpy()
    known = values[~np.isnan(values)]
    if not known.size:
        msg = "the frame has no p-values: all of them are missing"
        raise ValueError(msg)
    missing = values.size - known.size
    text = f"dashed: uniform{f'; {missing:,} missing left out' if missing else ''}"
    heading = chart.title(f"{name}{known.size:,} p-values", text)
    left = _histogram(known, bins, title=heading, **size)
    band = f"grey: {100 * confidence:.4g} % band of uniform p-values"
    right = _quantiles(known, confidence, title=chart.title("Quantiles", band), **size)
    return alt.HConcatChart(hconcat=[left, right], spacing=30)


def _histogram(
    neg_log10_p: npt.NDArray[np.float64], bins: int, **properties: Any
) -> alt.LayerChart:
    import altair as alt

    counts = null_distribution.histogram(neg_log10_p, bins)
    scale = alt.Scale(domain=[0, 1.08 * int(counts.max())], nice=False)
    ticks = chart.axis(format=",d")
    if counts.max() < 5:
        # Avoid ticks at fractions.
        ticks.values = list(range(int(counts.max()) + 1))
    edges = np.linspace(0, 1, bins + 1)
    rows = pl.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})
    base = alt.Chart(chart.data(rows))
    bars = base.mark_bar(color=chart.DOWN, opacity=0.85, stroke="white", strokeWidth=1).encode(
        x=alt.X("low:Q", title="p-value", scale=alt.Scale(domain=[0, 1]), axis=chart.axis()),
        x2="high:Q",
        y=alt.Y("count:Q", title="number", scale=scale, axis=ticks),
        y2=alt.datum(0),
        tooltip=[alt.Tooltip("low:Q"), alt.Tooltip("high:Q"), alt.Tooltip("count:Q", format=",")],
    )
    level = alt.Chart(alt.InlineData(values=[{"count": neg_log10_p.size / bins}]))
    rule = level.mark_rule(strokeDash=[4, 4], color=chart.INK).encode(y="count:Q")
    return chart.layered(bars, rule, **properties)


def _quantiles(
    neg_log10_p: npt.NDArray[np.float64], confidence: float, **properties: Any
) -> alt.LayerChart:
    import altair as alt

    plot = null_distribution.quantiles(neg_log10_p, confidence)
    finite = plot.observed[np.isfinite(plot.observed)]
    top = max(float(finite.max(initial=0.0)), float(plot.upper.max())) * 1.05
    observed = f"observed {chart.MINUS}log10 p"
    rows = pl.DataFrame(
        {
            "expected": plot.expected,
            "lower": plot.lower,
            "upper": plot.upper,
            "observed": np.minimum(plot.observed, top),
            "p": [chart.number(10.0**-value) for value in plot.observed],
        }
    )
    base = alt.Chart(chart.data(rows))
    scale = alt.Scale(domain=[0, top], nice=False)
    span = alt.Scale(domain=[0, 1.02 * float(plot.expected[0])], nice=False)
    title = f"expected {chart.MINUS}log10 p"
    x = alt.X("expected:Q", title=title, scale=span, axis=chart.axis())
    y = alt.Y("observed:Q", title=observed, scale=scale, axis=chart.axis())
    band = base.mark_area(color=_BAND, opacity=0.7).encode(
        x=x, y=alt.Y("lower:Q", scale=scale, title=observed), y2="upper:Q"
    )
    line = base.mark_line(color=chart.INK, strokeDash=[4, 4], strokeWidth=1)
    points = base.mark_circle(color=chart.DOWN, size=22, opacity=1)
    tips = [alt.Tooltip("p:N", title="p-value")]
    return chart.layered(
        band,
        line.encode(x=x, y=alt.Y("expected:Q", scale=scale)),
        points.encode(x=x, y=y, tooltip=tips),
        **properties,
    )
