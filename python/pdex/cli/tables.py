"""Tables on stdout that fit the terminal: columns may be left out, but numbers never fold."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

#: Number of spaces between columns.
_GAP = 3
#: Width down to which a column of words may fold.
_WORDS = 12
#: The step that breaks headings at their underscores.
BREAK = ()
#: Characters that a terminal may take for a command or for the end of a line.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def print_table(
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, str]],
    *,
    width: int,
    steps: Sequence[tuple[str, ...]],
    styles: Sequence[Mapping[str, str]] = (),
) -> None:
    """Print rows below their headings.

    Parameters
    ----------
    columns
        Headings and their alignment: ``"left"`` for words, which may fold, ``"right"`` for numbers.
    rows
        The cells of each row, by heading.
    width
        Width of the table if stdout is not a terminal.
    steps
        What to do, step by step, until the table fits: leave out these columns, or `BREAK`.
    styles
        The styles of some cells of each row, by heading.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = _console(width)
    rows = [{name: printable(text) for name, text in row.items()} for row in rows]
    names, broken = _fitting(columns, rows, out.width, steps)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in names:
        right = columns[name] == "right"
        table.add_column(
            _heading(name, broken),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    for place, row in enumerate(rows):
        looks = styles[place] if styles else {}
        table.add_row(*(Text(row[name], style=looks.get(name, "")) for name in names))
    # Print with click, because rich ends the process if nobody reads its output.
    with out.capture() as text:
        out.print(table)
    click.echo(text.get(), nl=False, color=True)


def printable(text: str) -> str:
    r"""Return text with its control characters escaped: a line break becomes ``\n``.

    Examples
    --------
    >>> print(printable("two" + chr(10) + "lines" + chr(27) + "[2J"))
    two\nlines\x1b[2J
    """
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _console(width: int) -> Console:
    """Return a console on stdout that shows names as they are, without markup or highlights."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() else width
    return Console(file=sys.stdout, markup=False, highlight=False, emoji=False, width=wide)


def _heading(name: str, broken: bool) -> str:
    return name.replace("_", "_\n") if broken else name


def _fitting(
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, str]],
    width: int,
    steps: Sequence[tuple[str, ...]],
) -> tuple[list[str], bool]:
    """Return the columns that fit, and whether headings are broken to make them fit."""
    names, broken = list(columns), False
    for step in steps:
        taken = sum(_width(name, columns[name], rows, broken) for name in names)
        if taken + _GAP * (len(names) - 1) <= width:
            break
        broken = broken or step == BREAK
        names = [name for name in names if name not in step]
    return names, broken


def _width(name: str, side: str, rows: Sequence[Mapping[str, str]], broken: bool) -> int:
    """Return the width that a column needs."""
    from rich.cells import cell_len

    heading = max(map(cell_len, _heading(name, broken).split("\n")))
    cells = max((cell_len(row[name]) for row in rows), default=0)
    return max(heading, cells if side == "right" else min(cells, _WORDS))
