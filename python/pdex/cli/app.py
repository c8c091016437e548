"""The program: its commands, its errors in one line, its exit status.

Status 0: success. 1: an error in the data, or of the machine. 2: wrong usage. 130: Ctrl-C.
141: nobody reads stdout any more. 143: SIGTERM.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit
from click.shell_completion import shell_complete

import pdex
from pdex.cli.base import Group, in_shell, note
from pdex.cli.calibrate import calibrate
from pdex.cli.collect import collect
from pdex.cli.completion import install_option, show_option
from pdex.cli.de import de
from pdex.cli.demo import demo
from pdex.cli.info import info
from pdex.cli.report import report
from pdex.cli.tabulate import tabulate
from pdex.exceptions import PdexWarning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The commands, in the order of the help.
COMMANDS: tuple[click.Command, ...] = (
    de,
    tabulate,
    collect,
    info,
    report,
    calibrate,
    demo,
)

EXAMPLES = """
pdex demo
pdex info screen.h5ad
pdex de screen.h5ad --groupby target --reference non-targeting -o de.parquet
pdex report de.parquet -o report.html
"""

#: The environment variable with which a shell asks for completions.
_COMPLETE = "_PDEX_COMPLETE"


@click.group("pdex", cls=Group, examples=EXAMPLES, invoke_without_command=True)
@click.version_option(pdex.__version__, message="%(prog)s %(version)s")
@install_option
@show_option
@click.pass_context
def program(context: click.Context) -> None:
    """Differential expression for perturbation screens, exact and fast.

    Every gene of every target is tested against the control cells. 'pdex COMMAND --help' lists the
    options of a command.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(2)


for _command in COMMANDS:
    program.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments
        The words after the program's name. None: those of this process.

    Returns
    -------
    int
        0 for success, 1 for an error in the data or of the machine, 2 for wrong usage, 130 after
        Ctrl-C, 141 if nobody reads stdout any more, 143 after SIGTERM.

    Examples
    --------
    >>> from pdex.cli import main
    >>> main(["--version"])  # doctest: +ELLIPSIS
    pdex ...
    0
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if asked := os.environ.get(_COMPLETE):
        return shell_complete(program, {}, "pdex", _COMPLETE, asked)
    _open_streams()
    with _terminable():
        return _status(words, "--debug" in words)


def _status(words: list[str], debug: bool) -> int:
    """Run the command; print its error, if any, and return the exit status."""
    try:
        with _channels(debug):
            status = _run(words)
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        _leave_stdout()
        return 141
    except (KeyboardInterrupt, Exception) as error:
        if debug:
            traceback.print_exc()
        status, text = _verdict(error)
        click.echo(f"pdex: {text}", err=True)
        _leave_stdout()
        return status


def _open_streams() -> None:
    """Replace standard streams that the caller closed, so that writing to them has no effect."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - stays open


def _leave_stdout() -> None:
    """Flush stdout; if that fails, discard what is left, so that the process can still exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Raise `_Terminated` on SIGTERM, so that temporary files are removed before the process ends.

    Nothing changes on other threads than the main one, or if the caller has SIGTERM ignored.
    """
    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def terminate(*_: object) -> None:
        # Programs such as timeout send it twice; tidying up is not interrupted.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _verdict(error: BaseException) -> tuple[int, str]:
    """Return the exit status and the text of an error."""
    if isinstance(error, _Terminated):
        return 143, "terminated"
    if isinstance(error, KeyboardInterrupt):
        return 130, "interrupted"
    if isinstance(error, click.UsageError):
        return 2, f"error: {_usage(error)}"
    return 1, f"error: {one_line(error)}"


def _run(words: list[str]) -> int:
    try:
        with program.make_context("pdex", words) as context:
            program.invoke(context)
    except Exit as stop:
        return stop.exit_code
    return 0


def one_line(error: BaseException) -> str:
    """Return an error in one line, with its class if the message alone is not enough."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    elif isinstance(error, KeyError) and error.args:
        # str() would quote the message.
        text = str(error.args[0])
    else:
        text = str(error)
    text = in_shell(" ".join(text.split()))
    meant = (KeyError, ValueError, TypeError, OSError, ImportError, PdexWarning)
    if text and isinstance(error, meant):
        return text
    kind = type(error).__name__
    return f"{kind}: {text} (--debug shows where)" if text else f"{kind} (--debug shows where)"


def _usage(error: click.UsageError) -> str:
    text = " ".join(error.format_message().split()).removesuffix(".")
    path = "pdex" if error.ctx is None else error.ctx.command_path
    return f"{text} See {path} --help" if text.endswith("?") else f"{text}; see {path} --help"


class _Notes(logging.Handler):
    """Prints the package's log records as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        note(f"pdex: {record.getMessage()}")


def _filter_warnings() -> None:
    """Show warnings for users only; the filters of ``-W`` and PYTHONWARNINGS come first."""
    if sys.warnoptions:
        warnings.simplefilter("default", UserWarning, append=True)
        warnings.simplefilter("ignore", append=True)
    else:
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)


@contextmanager
def _channels(debug: bool) -> Iterator[None]:
    """Send warnings for users and log records to stderr, one line each."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        click.echo(f"pdex: warning: {in_shell(' '.join(str(message).split()))}", err=True)

    logger, handler = logging.getLogger("pdex"), _Notes()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            if not debug:
                _filter_warnings()
                warnings.showwarning = show
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
