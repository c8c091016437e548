"""What the commands share: help with panels and examples, argument types, notes on stderr."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import rich_click as click

from pdex._output import check_output
from pdex._resources import parse_memory_limit
from pdex._validate import did_you_mean, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SETTINGS = {"help_option_names": ["-h", "--help"]}
#: Appearance of the help: not too wide to read, in the terminal's own colours.
_LOOK = click.RichHelpConfiguration(
    max_width=100,
    show_arguments=False,
    text_markup="ansi",
    style_options_panel_border="dim",
    style_commands_panel_border="dim",
    options_panel_title="Options",
    commands_panel_title="Commands",
    options_table_column_types=["required", "opt_long", "opt_short", "help"],
    options_table_help_sections=["help", "metavar", "default", "required"],
)
#: The headings of options, in order; general options come last.
_PANELS = ("What is compared", "What is counted", "The test", "The result", "Options")


#: Options of other commands, and of other programs, that users look for.
CUT_OFF = "the cut-off belongs to pdex report --fdr"
_ELSEWHERE = {
    "--min-abs-lfc": "the limit belongs to pdex report --min-abs-lfc",
    "--alpha": CUT_OFF,
}


#: Words of messages for Python, and those for the shell.
_IN_SHELL = {
    "is_log1p=False": "--counts",
    "is_log1p=True": "--is-log1p",
    "or pass is_log1p": "or pass --counts or --is-log1p",
    "with layer or use_raw": "with --layer or --use-raw",
    "or leave out normalize": "or leave out --normalize",
    "leave out by= for": "leave out --by for",
    "tabulate with single_cells= the control groups": "tabulate with --single-cells",
    "(equal_var=False)": "(--no-equal-var)",
    "use equal_var=True or test='wilcoxon'": "use --equal-var or --test wilcoxon",
    "run pdex.de first, and write what it returns": "run pdex de first, with --output",
    "pdex.de needs one": "pdex de needs one",
}


def in_shell(text: str) -> str:
    """Return a message for Python with the options of the command line.

    Examples
    --------
    >>> in_shell("pass is_log1p=False if that is right")
    'pass --counts if that is right'
    """
    for words, options in _IN_SHELL.items():
        text = text.replace(words, options)
    return text


def note(text: str) -> None:
    """Print a note if stderr is a terminal; scripts get only errors and warnings."""
    if sys.stderr.isatty():
        click.echo(text, err=True)


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """Return a decorator that adds an option; `panel` is its heading in the help."""
    return click.option(*names, cls=click.RichOption, **settings)


class _Help(click.RichCommand):
    """A command with panels and examples in its help, and with the option ``--debug``."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        settings = {**_SETTINGS, "rich_help_config": _LOOK}
        kwargs["context_settings"] = settings | kwargs.get("context_settings", {})
        super().__init__(*args, **kwargs)
        self.examples: list[str] = examples.strip().splitlines()
        # `main` looks for it among all words, so that usage errors show their traceback, too.
        debug = click.RichOption(
            ["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error."
        )
        self.params.append(debug)
        used = {getattr(parameter, "panel", None) for parameter in self.params}
        for name in _PANELS:
            if name in used or name == "Options":
                self.add_panel(click.RichOptionPanel(name))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words; attach the command to a usage error, which then names its help."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            if isinstance(error, click.NoSuchOption) and error.option_name in _ELSEWHERE:
                text = f"{error.message.removesuffix('.')}: {_ELSEWHERE[error.option_name]}"
                raise click.UsageError(text, error.ctx) from error
            raise

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, one per line, as they are typed."""
        del ctx
        if self.examples:
            from rich.text import Text

            # Without a frame, so that the examples can be copied.
            lines = "\n".join(f"   {line}" for line in self.examples)
            text = Text.assemble((" Examples\n", "bold"), lines)
            formatter.write(text, soft_wrap=True)


class Command(_Help):
    """A command with its examples."""


class Group(_Help, click.RichGroup):  # type: ignore[misc]
    """The program with its examples; commands are listed in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        del ctx
        return list(self.commands)


if TYPE_CHECKING:
    # ParamType is generic only since click 8.5.
    _Type = click.ParamType[Any]
    _Choice = click.Choice[str]
else:
    _Type, _Choice = click.ParamType, click.Choice


class Choice(_Choice):
    """One of a few words; the error for another one suggests the closest."""

    def __init__(self, choices: Iterable[str], number: str = "") -> None:
        super().__init__(list(choices))
        #: What a user who gives a number may have meant.
        self._number = number

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the word."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            more = did_you_mean(value, self.choices)
            if self._number and _is_number(value):
                more = f": {self._number}"
            self.fail(f"{error.message.removesuffix('.')}{more}", param, ctx)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class Memory(_Type):
    """A number of bytes with a unit, such as 800MB, 2GB or 1.5GiB."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):
            return value
        number = parse_size(value)
        if number is None:
            self.fail(f"{value!r} is not a size. Use for example 800MB, 2GB or 1.5GiB", param, ctx)
        try:
            return parse_memory_limit(number)
        except ValueError:
            self.fail(f"{value!r} is too little; expected at least 100MB", param, ctx)


class Total(_Type):
    """The total to which counts are scaled, such as 1e4, or the median of the cells' totals."""

    name = "total"

    def convert(self, value: Any, param: Any, ctx: Any) -> float | str:
        """Return the number, or "median"."""
        if value == "median" or isinstance(value, float):
            return value  # type: ignore[no-any-return]
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0 < number < math.inf:
            self.fail(f"{value!r} is not a total. Use a number such as 1e4, or median", param, ctx)
        return number


class _File(click.Path):
    """The path of a file; an empty word, for example from an unset variable, is an error."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path."""
        if not os.fspath(value):
            self.fail("the name of the file is empty", param, ctx)
        return super().convert(value, param, ctx)


class _Place(_File):
    """The path of a file or folder; a URL stays text, since a path would damage it."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path or the URL."""
        text = os.fspath(value)
        return text if "://" in text else super().convert(value, param, ctx)


FILE = _File(path_type=Path)
PLACE = _Place(path_type=Path)


class Number(click.FloatRange):
    """A finite number within a range."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class Condition(_Type):
    """A condition in SQL over the columns of obs, such as ``cell_line = 'K562'``."""

    name = "sql"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return the text, which can be parsed."""
        try:
            pl.sql_expr(value)
        except pl.exceptions.PolarsError as error:
            self.fail(
                f"{value!r} is not a condition in SQL ({error}). Use for example: "
                "cell_line = 'K562'",
                param,
                ctx,
            )
        return str(value)


class Part(_Type):
    """One of several parts: ``3/64``."""

    name = "i/n"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """Return the number of the part, and how many there are."""
        if isinstance(value, tuple):
            return value
        number, slash, n = value.partition("/")
        if not (slash and number.isdigit() and n.isdigit() and 1 <= int(number) <= int(n)):
            self.fail(f"{value!r} is no part, such as 3/64, the third of 64", param, ctx)
        return int(number), int(n)


class Names(_Type):
    """Names separated by commas, or ``@FILE`` with one name per line."""

    name = "names"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[str]:
        """Return the names."""
        if isinstance(value, list):
            return value
        if not value.startswith("@"):
            names = [name.strip() for name in value.split(",")]
            if not all(names):
                self.fail(f"{value!r} has an empty name", param, ctx)
            return names
        if value == "@":
            self.fail("'@' names no file. Use for example @names.txt, or @- for stdin", param, ctx)
        where = "stdin" if value == "@-" else value[1:]
        try:
            with click.open_file(value[1:], encoding="utf-8-sig") as file:
                names = [line.strip() for line in file]
        except UnicodeDecodeError as error:
            msg = f"{where} is not UTF-8 text; expected one name per line"
            raise ValueError(msg) from error
        names = [name for name in names if name]
        if not names:
            msg = f"{where} has no names; expected one per line"
            raise ValueError(msg)
        return names


def check_result(path: Path | str, *, streams: bool = False) -> None:
    """Raise UsageError for an unknown file type, OSError for a folder that does not exist.

    `streams` is True if the command prints rows on stdout when no file is given.
    """
    try:
        check_output(path)
    except ValueError as error:
        more = ""
        if streams and (str(path) == "-" or str(path).lower().endswith(".gz")):
            more = "; rows go to stdout without --output, so to gzip by '| gzip > de.csv.gz'"
        raise click.UsageError(f"{error}{more}", click.get_current_context()) from error
