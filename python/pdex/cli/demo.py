"""``pdex demo``: a simulated screen, tested both ways."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from pdex.cli.base import FILE, Command, check_result, option

EXAMPLES = """
pdex demo
pdex demo demo.csv --screen screen.h5ad
"""


@click.command("demo", cls=Command, examples=EXAMPLES, short_help="Try it on a simulated screen.")
@click.argument("output", default="demo.parquet", type=FILE)
@option(
    "--screen",
    type=FILE,
    metavar="FILE",
    help="Write the simulated screen, too, to try the other commands on (.h5ad).",
)
def demo(output: Path, screen: Path | None) -> None:
    """Simulate a screen with planted effects, test it both ways and write OUTPUT (demo.parquet)."""
    from pdex._demo import main

    check_result(output)
    if screen is not None and screen.suffix != ".h5ad":
        msg = f"--screen {screen}: expected a name that ends in .h5ad"
        raise click.UsageError(msg, click.get_current_context())
    if screen is not None and screen.is_dir():
        msg = f"--screen {screen} is a folder: expected the path of a file"
        raise IsADirectoryError(msg)
    if screen is not None and not screen.parent.is_dir():
        msg = f"{screen}: there is no folder {screen.parent}"
        raise FileNotFoundError(msg)
    main(output, screen)
