"""``pdex demo``: test a simulated screen, lazily and in one call."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from pdex.cli.base import FILE, Command, check_result, option

EXAMPLES = """
pdex demo
pdex demo -o demo.csv --screen screen.h5ad
pdex demo --picture demo.png --report demo.html
"""


@click.command("demo", cls=Command, examples=EXAMPLES, short_help="Try it on a simulated screen.")
@option(
    "-o",
    "--output",
    type=FILE,
    default="demo.parquet",
    show_default=True,
    help="File to write: .parquet, .ipc, .arrow, .feather, .csv or .tsv.",
)
@option(
    "--screen",
    type=FILE,
    metavar="FILE",
    help="Also write the simulated screen (.h5ad), to try the other commands on it.",
)
@option(
    "--picture",
    type=FILE,
    metavar="FILE",
    help="Also draw the effects of the target with the most of them (.png, .svg or .html).",
)
@option("--report", type=FILE, metavar="FILE", help="Also write the report of the result (.html).")
def demo(output: Path, screen: Path | None, picture: Path | None, report: Path | None) -> None:
    """Simulate a screen with planted effects, test it, and write the result.

    The screen is tested twice, with a lazy pipeline of Polars expressions and with pdex.de.
    """
    from pdex._demo import main

    check_result(output)
    for name, path, kinds in (
        ("--picture", picture, (".png", ".svg", ".html")),
        ("--report", report, (".html",)),
    ):
        if path is not None and path.suffix.lower() not in kinds:
            msg = f"{name} {path}: expected a name that ends in {' or '.join(kinds)}"
            raise click.UsageError(msg, click.get_current_context())
        if path is not None and not path.parent.is_dir():
            msg = f"{path}: there is no folder {path.parent}"
            raise FileNotFoundError(msg)
    if screen is not None and screen.suffix.lower() != ".h5ad":
        msg = f"--screen {screen}: expected a name that ends in .h5ad"
        raise click.UsageError(msg, click.get_current_context())
    if screen is not None and screen.is_dir():
        msg = f"--screen {screen} is a folder: expected the path of a file"
        raise IsADirectoryError(msg)
    if screen is not None and not screen.parent.is_dir():
        msg = f"{screen}: there is no folder {screen.parent}"
        raise FileNotFoundError(msg)
    main(output, screen, picture, report)
