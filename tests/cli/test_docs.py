"""What docs/cli.md shows is what the commands print."""

import re
import shlex
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


@pytest.fixture
def _screen(run):
    run("demo", "--screen", "screen.h5ad")


@pytest.mark.usefixtures("_screen")
def test_outputs_are_real(run):
    Path("genes.txt").write_text("g1\ng2\n")
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    shown = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.M) if part]
    assert len(shown) == 6
    for part in shown:
        command, _, expected = part.partition("\n")
        words = shlex.split(command.partition(" | ")[0])[1:]
        if "--head" in words:
            words += ["--format", "table"]
        status, out, _ = run(*words)
        assert status == 0
        expected = expected.removeprefix("...\n")
        if expected:
            # Sizes of a file depend on the version of zlib.
            tidy = [re.sub(r"6\.\d MB", "6 MB", line.rstrip()) for line in out.splitlines()]
            wanted = [re.sub(r"6\.\d MB", "6 MB", line) for line in expected.splitlines()]
            assert tidy[-len(wanted) :] == wanted
    assert Path("report.html").exists()
