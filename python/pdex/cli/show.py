"""Print rows on stdout: as a table for people, as CSV or TSV for programs."""

from __future__ import annotations

import math
import sys
from typing import Any

import polars as pl
import rich_click as click

from pdex.cli.tables import BREAK, print_table

FORMATS = ("table", "csv", "tsv")
#: Default number of rows in a table.
_ROWS = 20
#: Number of rows converted to text at a time.
_PART = 100_000
#: The threshold of hits for the last line of a table.
_FDR = 0.05
#: The columns of a table, if the result has them.
_MEANS = ("target_mean", "reference_mean")
_COLUMNS = (
    *("target", "feature", *_MEANS, "log2_fold_change"),
    *("auroc", "statistic", "p_value", "fdr"),
)
#: Steps that make the table narrower, for `print_table`.
_STEPS = (_MEANS, BREAK, ("auroc", "statistic"), ("p_value",))
#: Width of a table if stdout is not a terminal.
_WIDTH = 120


def top(rows: pl.LazyFrame, number: int) -> pl.DataFrame:
    """Return the rows with the smallest p-values; rows with equal p-values keep their order."""
    by = pl.col("neg_log10_p").fill_nan(None)
    return (
        rows.sort(by, descending=True, nulls_last=True, maintain_order=True)
        .head(number)
        .collect(engine="streaming")
    )


def show(rows: pl.LazyFrame, height: int, head: int | None, form: str | None) -> None:
    """Print rows of a result.

    Parameters
    ----------
    rows, height
        The result and its number of rows.
    head
        Print only this many rows, those with the smallest p-values. None: all rows as text, 20 rows
        as a table.
    form
        One of `FORMATS`. None: a table if stdout is a terminal, else CSV.
    """
    # Numbers of rows in Polars have 64 bits.
    head = None if head is None else min(head, height)
    form = form or ("table" if sys.stdout.isatty() else "csv")
    if form == "table":
        found = top(rows, head or _ROWS)
        _table(found)
        n_hits = rows.filter(pl.col("fdr") < _FDR).select(pl.len()).collect().item()
        line = f"{found.height:,} of {height:,} rows, smallest p-values first; "
        line += f"{n_hits:,} with fdr < {_FDR}."
        click.echo(f"\n{line}")
        return
    _text(rows.collect() if head is None else top(rows, head), "," if form == "csv" else "\t")


def _text(rows: pl.DataFrame, separator: str) -> None:
    sys.stdout.flush()
    for start in range(0, max(1, rows.height), _PART):
        part = rows.slice(start, _PART)
        text = part.write_csv(separator=separator, include_header=start == 0)
        left = memoryview(text.encode())
        # An unbuffered stdout (PYTHONUNBUFFERED) may take only a part; write() returns its length.
        while left:
            left = left[sys.stdout.buffer.write(left) :]


def _table(rows: pl.DataFrame) -> None:
    names = [name for name in _COLUMNS if name in rows.columns]
    if "auroc" in names:
        names.remove("statistic")
    labels = ("target", "feature")
    found = list(rows.iter_rows(named=True))
    print_table(
        {name: "left" if name in labels else "right" for name in names},
        [{name: _cell(name, row) for name in names} for row in found],
        width=_WIDTH,
        steps=_STEPS,
        styles=[{name: _style(name, row) for name in names} for row in found],
    )


def _style(name: str, row: dict[str, Any]) -> str:
    if name == "log2_fold_change":
        return "red" if row[name] > 0 else "blue" if row[name] < 0 else ""
    return "bold" if name == "feature" and row["fdr"] < _FDR else ""


def _cell(name: str, row: dict[str, Any]) -> str:
    value = row[name]
    if name == "p_value":
        return p_text(row["neg_log10_p"])
    if name == "fdr":
        return f"{value:.2g}" if value >= 0.001 or value == 0 else f"{value:.1e}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def p_text(neg_log10_p: float) -> str:
    """Return a p-value, however small, as text from its -log10.

    Examples
    --------
    >>> p_text(400.5), p_text(1.0), p_text(0.0)
    ('3.2e-401', '0.1', '1')
    """
    if not math.isfinite(neg_log10_p):
        return "0" if neg_log10_p > 0 else "nan"
    if neg_log10_p < 3:
        return f"{10**-neg_log10_p:.2g}"
    exponent = math.ceil(neg_log10_p)
    digits = f"{10 ** (exponent - neg_log10_p):.1f}"
    # 9.96 is rounded to 10.0, which has two digits before the point.
    return f"1.0e-{exponent - 1:02d}" if digits == "10.0" else f"{digits}e-{exponent:02d}"
