"""HTML for notebooks: plain tables of escaped text.

The tables set no colours, so that they are readable in light and dark notebooks. Styles are
attributes, because JupyterLab removes style elements from notebooks that it does not trust.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CELL = "padding:.15em .8em .15em 0;vertical-align:top"


def block(title: str, *parts: str) -> str:
    """Return a heading with parts below it."""
    return f"<div><strong>{html.escape(title)}</strong>{''.join(parts)}</div>"


def listing(lines: Iterable[tuple[str, str]]) -> str:
    """Return a table of two columns: names, and what is said of each."""
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left;{_CELL}">{html.escape(name)}</th>'
        f"{_cell(text, 'left')}</tr>"
        for name, text in lines
    )
    return f"<table><tbody>{rows}</tbody></table>"


def grid(columns: Mapping[str, str], rows: Iterable[Mapping[str, str]]) -> str:
    """Return rows below headings; `columns` has the headings with their alignment."""
    heads = "".join(
        f'<th scope="col" style="text-align:{side};{_CELL}">{html.escape(name)}</th>'
        for name, side in columns.items()
    )
    lines = "".join(
        f"<tr>{''.join(_cell(row[name], side) for name, side in columns.items())}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"


def paragraphs(lines: Iterable[str]) -> str:
    """Return a paragraph for each line."""
    return "".join(f'<p style="margin:.3em 0">{html.escape(line)}</p>' for line in lines)


def code(text: str) -> str:
    """Return code that can be copied."""
    style = "margin:.3em 0;font-family:monospace;white-space:pre-wrap"
    return f'<pre style="{style}">{html.escape(text)}</pre>'


def _cell(text: str, side: str) -> str:
    return f'<td style="text-align:{side};{_CELL}">{html.escape(text)}</td>'
