"""Completion in bash, zsh and fish: options, and the columns and groups of a screen."""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import rich_click as click
from click.shell_completion import CompletionItem, get_completion_class

from pdex._io.groups import read_groups
from pdex._io.h5ad import Root
from pdex._io.paths import members_of
from pdex._io.tables import Table, is_table
from pdex._io.zarr import stores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    #: From a context, a parameter and the typed part of its value to the completions.
    Completer: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

SHELLS = ("bash", "zsh", "fish")
#: The value of an option that is given without one: the shell of $SHELL.
_AUTO = "auto"

#: zsh does not have `compdef` before its completions are set up.
_ZSH = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n"


def script(shell: str) -> str:
    """Return the script with which a shell completes ``pdex``."""
    from pdex.cli.app import program

    made = get_completion_class(shell)
    if made is None:
        msg = f"no completion for {shell}"
        raise ValueError(msg)
    text = made(program, {}, "pdex", "_PDEX_COMPLETE").source()
    # Names and help may contain commas, too: only the first comma follows the kind of an item.
    text = text.replace('string split ","', 'string split -m 1 ","')
    return (_ZSH if shell == "zsh" else "") + text


def install(shell: str) -> Path:
    """Write the script where the shell finds it, and return its path.

    For bash and zsh, a line is added to the start-up file; fish finds the script by itself.
    """
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    if shell == "fish":
        path = config / "fish" / "completions" / "pdex.fish"
    else:
        path = config / "pdex" / f"completion.{shell}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script(shell), encoding="utf-8")
    if shell != "fish":
        folder = Path(os.environ.get("ZDOTDIR") or home) if shell == "zsh" else home
        start = folder / f".{shell}rc"
        line = f"source {shlex.quote(str(path))}"
        before = start.read_text(encoding="utf-8") if start.exists() else ""
        if line not in before.splitlines():
            gap = "" if not before or before.endswith("\n") else "\n"
            with start.open("a", encoding="utf-8") as file:
                file.write(f"{gap}{line}\n")
    return path


def _shell(value: str) -> str:
    if value != _AUTO:
        return value
    name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        msg = f"$SHELL is {name!r}: name one of {', '.join(SHELLS)}"
        raise click.UsageError(msg)
    return name


def _show(context: click.Context, _: Any, value: str | None) -> None:
    if value is not None:
        click.echo(script(_shell(value)))
        context.exit()


def _install(context: click.Context, _: Any, value: str | None) -> None:
    if value is not None:
        click.echo(f"wrote {install(_shell(value))}: completion works in new shells")
        context.exit()


def _eager(name: str, callback: Callable[..., None], text: str) -> Callable[[Any], Any]:
    return click.option(
        name,
        type=click.Choice([*SHELLS, _AUTO]),
        metavar="[SHELL]",
        is_flag=False,
        flag_value=_AUTO,
        is_eager=True,
        expose_value=False,
        callback=callback,
        help=text,
    )


install_option: Callable[[Any], Any] = _eager(
    "--install-completion", _install, "Install completion for bash, zsh or fish."
)
show_option: Callable[[Any], Any] = _eager(
    "--show-completion", _show, "Print the completion script."
)


def _items(names: Iterable[str], begun: str, listed: bool) -> list[CompletionItem]:
    """Return the names that start with the typed text; in a list, those for its last name.

    Shells take one item per line, and a list cannot contain names with a comma.
    """
    before, comma, last = begun.rpartition(",") if listed else ("", "", begun)
    unfit = "\r\n," if listed else "\r\n"
    taken = set(before.split(","))
    return [
        CompletionItem(before + comma + name)
        for name in names
        if name.startswith(last) and name not in taken and not set(unfit) & set(name)
    ]


@contextmanager
def _opened(path: str) -> Iterator[_Screen]:
    """Open a file, a Zarr store or count tables, and close it at the end."""
    if is_table(path):
        yield _Tables(path)
        return
    root = stores.open_root(path) if stores.is_path(path) else Root(path)
    try:
        yield _Stored(root)
    finally:
        root.close()


class _Screen(Protocol):
    """What can be completed from a screen."""

    def columns(self) -> Iterable[str]:
        """Return the columns of obs."""

    def labels(self, column: str) -> Iterable[str]:
        """Return the labels of a column."""

    def layers(self) -> Iterable[str]:
        """Return the names of the layers."""


class _Stored:
    """An open file or Zarr store; only categorical columns have labels that are quick to read."""

    def __init__(self, root: Root | stores.Root) -> None:
        self._root = root

    def columns(self) -> Iterable[str]:
        return self._root.frame("obs").columns

    def labels(self, column: str) -> Iterable[str]:
        return self._root.frame("obs").categories(column)

    def layers(self) -> Iterable[str]:
        return self._root.members("layers")


class _Tables:
    """Count tables."""

    def __init__(self, path: str) -> None:
        self._table = Table(Path(path))

    def columns(self) -> Iterable[str]:
        return self._table.manifest.groupby

    def labels(self, column: str) -> Iterable[str]:
        return read_groups(self._table.obs(), column).labels

    def layers(self) -> Iterable[str]:
        return []


def _of_screen(
    read: Callable[[_Screen, dict[str, Any]], Iterable[str]], listed: bool = False
) -> Completer:
    """Return a completer that reads names from the screen on the command line, if it can.

    `listed` is True if the option takes names separated by commas.
    """

    def complete(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
        # Click stops at an option that has no value yet; words before it are in context.args.
        data = context.params.get("path") or next(iter(context.args), None)
        try:
            path = members_of(data)[0]
            with _opened(os.path.abspath(os.path.expanduser(str(path)))) as screen:
                return _items(list(read(screen, context.params)), begun, listed)
        # An error is of no use to a shell that waits for completions.
        except Exception:
            return []

    return complete


def _labels(screen: _Screen, params: dict[str, Any]) -> Iterable[str]:
    groupby = params["groupby"]
    # `tabulate` takes several columns, and labels of the first.
    return screen.labels(groupby if isinstance(groupby, str) else groupby[0])


#: Completers for columns of obs, layers, groups of a categorical column, and lists of groups.
columns: Completer = _of_screen(lambda screen, _: screen.columns())
layers: Completer = _of_screen(lambda screen, _: screen.layers())
labels: Completer = _of_screen(_labels)
label_lists: Completer = _of_screen(_labels, listed=True)
