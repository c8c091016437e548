"""What commands share: help in panels with examples, kinds of arguments, words on stderr."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdex._io.source import limit_of
from pdex._output import check_output
from pdex._validate import bytes_of

if TYPE_CHECKING:
    from collections.abc import Callable

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def note(text: str) -> None:
    """Tell the user at a terminal; a script's stderr has errors and warnings alone."""
    if sys.stderr.isatty():
        click.echo(text, err=True)


def _heading(text: str) -> str:
    """Return a heading of the help, bold where the terminal knows how."""
    plain = os.environ.get("TERM") == "dumb" or os.environ.get("NO_COLOR")
    return text if plain else click.style(text, bold=True)


class Option(click.Option):
    """An option under a heading of the help.

    Parameters
    ----------
    panel
        The heading.
    """

    def __init__(self, *args: Any, panel: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.panel: str = panel


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """Return the decorator that adds an :class:`Option`."""
    return click.option(*names, cls=Option, **settings)


class _Help(click.Command):
    """A command whose help has panels and examples, and that knows ``--debug``."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        kwargs["context_settings"] = _SETTINGS | kwargs.get("context_settings", {})
        super().__init__(*args, **kwargs)
        self.examples: list[str] = examples.strip().splitlines()
        # `main` looks for it among all words, so that a wrong one shows its traceback, too.
        debug = Option(
            ["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error."
        )
        self.params.append(debug)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words; an error knows the command whose help would do."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each under its panel's heading."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                panels.setdefault(getattr(parameter, "panel", "Options"), []).append(record)
        # General options come last.
        for name in sorted(panels, key=lambda name: name == "Options"):
            with formatter.section(_heading(name)):
                formatter.write_dl(panels[name], col_max=28)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, each a line as it is typed."""
        del ctx
        if self.examples:
            with formatter.section(_heading("Examples")):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Command(_Help):
    """A command with its examples."""


class Group(_Help, click.Group):
    """The program with its examples; commands are listed in the order they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        del ctx
        return list(self.commands)


if TYPE_CHECKING:
    # Generic since click 8.5 only.
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType


class Memory(_Type):
    """A number of bytes with a unit, such as 800MB, 2GB or 1.5GiB."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):
            return value
        number = bytes_of(value)
        if number is None:
            self.fail(f"{value!r} is no size: expected such as 800MB, 2GB or 1.5GiB", param, ctx)
        try:
            return limit_of(number)
        except ValueError:
            self.fail(f"{value!r} is too little: expected at least 100MB", param, ctx)


class _File(click.Path):
    """The path of a file; an empty word, such as of an unset variable, is none."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path."""
        if not os.fspath(value):
            self.fail("the name of the file is empty", param, ctx)
        return super().convert(value, param, ctx)


FILE = _File(path_type=Path)


class Number(click.FloatRange):
    """A number within a range, and no NaN or infinity."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return number


class Names(_Type):
    """Names with commas between them, or ``@FILE`` with one name a line."""

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
            self.fail("'@' names no file: expected such as @names.txt, or @- for stdin", param, ctx)
        where = "stdin" if value == "@-" else value[1:]
        try:
            with click.open_file(value[1:], encoding="utf-8-sig") as file:
                names = [line.strip() for line in file]
        except UnicodeDecodeError as error:
            msg = f"{where} is no text in UTF-8: expected one name a line"
            raise ValueError(msg) from error
        names = [name for name in names if name]
        if not names:
            msg = f"{where} holds no name: expected one a line"
            raise ValueError(msg)
        return names


def check_screen(path: Path) -> None:
    """Raise OSError where the path is no file to read, or one of another kind than .h5ad."""
    import h5py

    if path.is_dir():
        # Folders are for pdex.de to name: it knows what they may be.
        return
    with path.open("rb"):
        pass
    if not h5py.is_hdf5(path):
        msg = f"{path} is no HDF5 file, or a damaged one: expected an .h5ad file"
        raise OSError(msg)


def check_result(path: Path, *, streams: bool = False) -> None:
    """Raise UsageError for a kind of file that no result is, OSError where there is no place.

    `streams` says that rows go to stdout where no file is named.
    """
    try:
        check_output(path)
    except ValueError as error:
        more = ""
        if streams and (str(path) == "-" or path.suffix.lower() == ".gz"):
            more = "; rows go to stdout without --output, so to gzip by '| gzip > de.csv.gz'"
        raise click.UsageError(f"{error}{more}", click.get_current_context()) from error


def size(n_bytes: float) -> str:
    """Return a number of bytes for people: 812 B, 6.2 MB, 7 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 999.5 or unit == "GB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.0f} {unit}" if unit == "B" or n_bytes >= 9.95 else f"{n_bytes:.1f} {unit}"
