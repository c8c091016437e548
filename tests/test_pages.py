"""Every fenced block of README and docs/ runs, and prints what the page says that it prints.

- ``python``: as in a notebook, the blocks of a page share names. With ``title="with PEER"`` it is
  that package's own code: it runs here where PEER is installed, else in the peer's environment.
- ``sh``, ``console`` (commands after ``$``, with what they print): bash, in the page's folder.
  ``make`` and ``pip install`` are checked against Makefile and pyproject.toml instead.
- ``text``: what the block before it prints.

No other block is allowed.
"""

import contextlib
import functools
import importlib.util
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pdex
import pytest

ROOT = Path(__file__).parents[1]
PEERS = Path(os.environ.get("PDEX_PEERS", ROOT / ".bench"))
PAGES = sorted(
    str(page.relative_to(ROOT)) for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
)
FENCE = re.compile(r"^```(\w*)([^\n`]*)\n(.*?)^```$", re.M | re.S)
SCREEN = "papalexi_thp1_screen.h5ad"


@dataclass(frozen=True)
class Block:
    """A fenced block and the peer whose code it is; `says` is the text block after it."""

    language: str
    peer: str | None
    code: str
    says: str | None = None


@functools.cache
def blocks(page):
    """The blocks of a page, each with what it has to print."""
    found = []
    text = (ROOT / page).read_text()
    fences = FENCE.findall(text)
    assert len(re.findall(r"^\s*(?:```|~~~)", text, re.M)) == 2 * len(fences), f"{page}: odd fences"
    for language, rest, code in fences:
        if language == "text":
            assert found, f"{page}: nothing prints this:\n{code}"
            assert found[-1].says is None, f"{page}: two texts for one block"
            found[-1] = Block(found[-1].language, found[-1].peer, found[-1].code, code)
            continue
        assert language in ("python", "sh", "console"), (
            f"{page}: {language!r} does not run:\n{code}"
        )
        title = re.fullmatch(r'(?: title="with ([\w.-]+)")?', rest)
        assert title, f"{page}: {rest!r} is no title that is known"
        found.append(Block(language, title[1], code))
    return found


def tidy(text):
    """Lines without spaces at their ends; sizes of a file depend on the version of zlib."""
    text = re.sub(r"6\.\d MB", "6 MB", text)
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def check(block, printed):
    if block.says is not None:
        assert tidy(printed) == tidy(block.says)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with the files that a reader has, and `pdex` among the programs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    programs = tmp_path / ".programs"
    programs.mkdir()
    program = programs / "pdex"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pdex "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def give(page, folder, request):
    """Put the files that a page names into its folder."""
    code = "".join(block.code for block in blocks(page))
    if SCREEN in code:
        (folder / SCREEN).symlink_to(request.getfixturevalue("screen_path"))
    if "genes.txt" in code:
        (folder / "genes.txt").write_text("g1\ng2\n")
    if "screen.h5ad" in code.replace(SCREEN, ""):
        screen = pdex.datasets.simulate_screen(n_cells=900, n_genes=50, n_targets=5, n_effects=10)
        screen.obs["guide"] = [f"guide {i % 4}" for i in range(screen.n_obs)]
        screen.write_h5ad(folder / "screen.h5ad")


def run_python(page, block, names):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(block.code, page, "exec"), names)
    check(block, printed.getvalue())


def command(words):
    """Run a command line, and return what it prints; what installs and builds is looked up."""
    if made := re.fullmatch(r"make ([\w-]+)(?: +#.*)?", words):
        assert re.search(rf"^{made[1]}:", (ROOT / "Makefile").read_text(), re.M), words
        return ""
    if installed := re.fullmatch(r"pip install '?pdex(?:\[([\w,]+)\])?'?(?: +#.*)?", words):
        extras = (
            (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
        )
        for extra in (installed[1] or "").split(","):
            assert not extra or re.search(rf"^{extra} = \[", extras, re.M), words
        return ""
    if re.fullmatch(r"pip install dist/pdex-\*\.whl(?: +#.*)?", words):
        # Where `make wheel` puts it.
        assert "--out dist\n" in (ROOT / "Makefile").read_text(), words
        return ""
    bash = ["bash", "-euo", "pipefail", "-c", words]
    done = subprocess.run(bash, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{words}\n{done.stderr}"
    return done.stdout


def run_sh(block):
    lines = block.code.replace("\\\n", " ").splitlines()
    printed = [command(line) for line in lines if line and not line.startswith("#")]
    check(block, "".join(printed))


def run_console(block):
    for part in re.split(r"^\$ ", block.code, flags=re.M)[1:]:
        words, _, expected = part.partition("\n")
        # A terminal's first rows; stdout is none here.
        printed = tidy(command(words + " --format table" if "--head" in words else words))
        wanted = tidy(expected.removeprefix("...\n"))
        if expected.startswith("..."):
            printed = printed[-len(wanted) :]
        if expected:
            assert printed == wanted


def is_here(block):
    """Whether it runs in this process; an older pdex has this package's name, and never does."""
    peer = block.peer
    return peer is None or (peer.isidentifier() and importlib.util.find_spec(peer) is not None)


def run(page, block, names):
    if block.language == "python":
        run_python(page, block, names)
    elif block.language == "sh":
        run_sh(block)
    else:
        run_console(block)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_blocks_run(page, folder, request):
    give(page, folder, request)
    names = {}
    for block in blocks(page):
        if is_here(block):
            run(page, block, names)


ELSEWHERE = [
    (page, at) for page in PAGES for at, block in enumerate(blocks(page)) if not is_here(block)
]


@pytest.mark.parametrize(("page", "at"), ELSEWHERE)
def test_blocks_of_a_peer_run(page, at, folder, request):
    """A peer's code runs where the peer is, on the files that the blocks before it wrote."""
    block = blocks(page)[at]
    python = PEERS / block.peer / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no {block.peer} here or at {python}: `make peers`, or set PDEX_PEERS")
    give(page, folder, request)
    names = {}
    for before in blocks(page)[:at]:
        if is_here(before):
            run(page, before, names)
    code = [python, "-W", "ignore", "-c", block.code]
    done = subprocess.run(code, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    check(block, done.stdout)


def test_readme_names_the_two_commands_and_is_short():
    lines = [line for block in blocks("README.md") for line in block.code.splitlines()]
    assert {"make demo", "make test"} <= {line.partition("#")[0].strip() for line in lines}
    assert len((ROOT / "README.md").read_text().splitlines()) < 130


def cells(page):
    """The rows of a page's tables, without their first cells."""
    rows = re.findall(r"^\| [^|]*\| (.*) \|$", (ROOT / page).read_text(), re.M)
    return [row.split(" | ") for row in rows]


@pytest.mark.parametrize(("page", "number"), [("README.md", 5), ("docs/benchmarks.md", 11)])
def test_times_of_others_stand_among_all_benchmarks(page, number):
    every = [row[:3] for row in cells("docs/developers/benchmarks.md")]
    found = [row for row in cells(page) if len(row) == 4 and row[3].replace(".", "").isdigit()]
    assert len(found) == number
    for ours, _, theirs, ratio in found:
        assert [theirs, ours, ratio] in every, (theirs, ours, ratio)


def test_memory_and_files_stand_among_all_benchmarks():
    every = [" | ".join(row) for row in cells("docs/developers/benchmarks.md")]
    found = [row for row in cells("docs/benchmarks.md") if row[-1].endswith(" MB")]
    assert [len(row) for row in found] == [4] * 4 + [5] * 5
    for row in found[:4]:
        seconds, loaded, result, beyond = map(re.escape, row)
        ours = rf"{loaded} \| {result} \| [\d,]+ MB \| {beyond} \| 500 MB \|"
        assert any(re.search(ours, line) for line in every), row
        assert any(re.search(rf"(^|\| ){seconds}( \||$)", line) for line in every), row
    for row in found[4:]:
        assert any(line.startswith(" | ".join(row)) for line in every), row
    larger = [row for row in cells("docs/large-data.md") if row[-1].endswith("times the file")]
    assert len(larger) == 4
    for once, read, written, peak, several in larger:
        seconds, times = several.removesuffix(" the file").split(", ")
        start, end = f"{seconds} | {times} | {once} | ", f" | {written} | {peak} | "
        ours = [line for line in every if line.startswith(start) and end in line]
        assert any(f" | {read} times | " in line for line in ours), once


def ids(text):
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", (ROOT / page).read_text())
    for link in re.findall(r"\]\(([^()\s]+)\)", text):
        if re.match(r"https?:|mailto:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in ids(path.read_text()), f"{page}: {link}"
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert ((ROOT / page).parent / picture).stat().st_size < 200_000, picture
