"""Draw docs/pictures/tails.png: `python docs/tails.py`.

Asymptotic and exact p-values of one gene, over the z score.
"""

from __future__ import annotations

import altair as alt
import pdex
import polars as pl
from pictures import FOLDER, keep

FILE = FOLDER / "tails.png"
N_CELLS, N_EXPRESSING, N_TARGET = 10_000, 1_000, 200
METHODS = {"asymptotic": "normal curve", "exact": "exact"}


def p_values() -> pl.DataFrame:
    """Test targets of which 0 to 60 cells express the gene."""
    n_reference = N_CELLS - N_TARGET
    expressing = pl.DataFrame({"expressing": range(61)})
    parts = [
        ("target", 1, pl.col("expressing")),
        ("target", 0, N_TARGET - pl.col("expressing")),
        ("control", 1, N_EXPRESSING - pl.col("expressing")),
        ("control", 0, n_reference - N_EXPRESSING + pl.col("expressing")),
    ]
    rows = pl.concat(
        expressing.with_columns(
            target=pl.lit(target), value=pl.lit(value), cells=cells.cast(pl.UInt32)
        )
        for target, value, cells in parts
    )
    columns = {"count": "cells", "reference": "control"}
    tests = [
        pdex.wilcoxon("value", "target", method=method, **columns).first().alias(name)
        for method, name in METHODS.items()
    ]
    found = rows.group_by("expressing", maintain_order=True).agg(tests)
    long = [
        found.select("expressing", pl.col(name).struct.unnest(), method=pl.lit(name))
        for name in METHODS.values()
    ]
    return pl.concat(long)


def chart() -> alt.Chart:
    """Return the chart."""
    table = p_values().select("expressing", "z_score", "neg_log10_p", "method")
    return (
        alt.Chart(table)
        .mark_line(point={"size": 12})
        .encode(
            x=alt.X("z_score", title="z score"),
            y=alt.Y("neg_log10_p", title="-log10 p-value"),
            color=alt.Color(
                "method",
                title=None,
                sort=list(METHODS.values()),
                scale=alt.Scale(range=["#d55e00", "#0072b2"]),
                legend=alt.Legend(orient="bottom"),
            ),
        )
        .properties(
            width=460,
            height=300,
            title=alt.Title(
                "The normal curve misses both tails",
                subtitle="200 cells of a target; 1,000 of 10,000 cells express the gene",
                anchor="start",
                subtitleColor="#62676d",
            ),
        )
        .configure_axis(gridColor="#e7e8ea", domainColor="#c9ccd0", tickColor="#c9ccd0")
        .configure_view(stroke=None)
    )


def main() -> None:
    """Draw the picture."""
    drawn = chart()
    drawn.save(FILE, scale_factor=1.5)
    keep(FILE, drawn.to_json())


if __name__ == "__main__":
    main()
