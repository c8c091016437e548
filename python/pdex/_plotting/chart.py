"""What the Altair charts share: the check for Altair, colours, titles, and compact data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    import altair as alt

# Okabe and Ito's vermillion and blue: distinct in print and with every kind of colour blindness.
UP, DOWN, DULL, INK, GRID = "#d55e00", "#0072b2", "#a3a8ae", "#3a3f45", "#e8eaed"

#: The colour of each kind of row: hits up and down, hits without a direction, and others.
COLOURS = {"up": UP, "down": DOWN, "none": DULL, "flat": INK}
LEGEND = {"up": "up", "down": "down", "none": "not a hit", "flat": "a hit without direction"}
#: Largest number of characters in a title.
_TITLE = 60
MINUS = "\N{MINUS SIGN}"
TITLES = {
    "mean": "mean expression",
    "log2_fold_change": "log2 fold change",
    "neg_log10_p": f"{MINUS}log10 p-value",
    "fdr": "FDR",
}


def check_altair() -> None:
    """Raise ImportError, with the command that installs Altair, if it is not installed."""
    try:
        import altair  # noqa: F401
    except ImportError as error:
        msg = "pdex.pl draws with Altair, which is not installed: pip install 'pdex[plots]'"
        raise ImportError(msg) from error


def data(frame: pl.DataFrame, digits: int = 4) -> alt.InlineData:
    """Return a frame as inline CSV: numbers are rounded to `digits` digits, infinities are missing.

    In one CSV string, a point takes a third of the bytes of a JSON record, however the chart is
    indented, and Altair's limit of 5,000 rows does not apply.
    """
    import altair as alt

    numbers = pl.selectors.float()
    rounded = pl.when(numbers.is_finite()).then(numbers).round_sig_figs(digits).name.keep()
    text = frame.with_columns(rounded).write_csv()
    kinds = {
        name: "number" if dtype.is_numeric() else "string" for name, dtype in frame.schema.items()
    }
    return alt.InlineData(values=text, format=alt.CsvDataFormat(type="csv", parse=kinds))


def layered(*layers: alt.Chart, **properties: Any) -> alt.LayerChart:
    """Return charts layered on top of each other, the last one uppermost."""
    import altair as alt

    chart: alt.LayerChart = alt.LayerChart(layer=list(layers)).properties(**properties)
    return chart


def shortened(text: str, most: int) -> str:
    """Return a text for drawing; a text longer than `most` characters is cut off.

    Examples
    --------
    >>> shortened("non-targeting", 8), shortened("STAT1", 8)
    ('non-tar…', 'STAT1')
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def title(text: str, *subtitle: str) -> alt.TitleParams:
    """Return a title with smaller lines below it; a long title does not widen the chart."""
    import altair as alt

    lines = [line for line in subtitle if line]
    return alt.TitleParams(
        shortened(text, _TITLE),
        subtitle=lines,
        anchor="start",
        frame="group",
        color=INK,
        subtitleColor="#62676d",
        fontSize=15,
        subtitleFontSize=11,
        offset=8,
    )


def axis(**options: Any) -> alt.Axis:
    """Return an axis with a light grid."""
    import altair as alt

    look = {
        "gridColor": GRID,
        "domainColor": "#b8bcc2",
        "tickColor": "#b8bcc2",
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        # Otherwise the first label moves towards the second.
        "labelFlush": False,
    }
    return alt.Axis(**{**look, **options})


def legend(**options: Any) -> alt.Legend:
    """Return a legend without a title."""
    import altair as alt

    return alt.Legend(**{"title": None, "labelColor": INK, "labelFontSize": 11, **options})


def kinds(changes: pl.Series) -> dict[str, str]:
    """Return the colours of the kinds; hits without a direction are there only if some are drawn.

    Examples
    --------
    >>> list(kinds(pl.Series(["up", "none"])))
    ['up', 'down', 'none']
    """
    rare = "flat"
    return {kind: c for kind, c in COLOURS.items() if kind != rare or (changes == rare).any()}


def literal(value: object) -> str:
    """Return a value as a literal of Vega's expression language."""
    return json.dumps(value)


def number(value: float) -> str:
    """Return a number, which may be infinite, as text for a tooltip."""
    if value != value:
        return "none"
    return f"{value:.4g}".replace("inf", "∞").replace("-", MINUS)
