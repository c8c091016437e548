"""Time pdex beside its peers, on the same data in one run, after checking that answers agree.

python benches/side_by_side.py [--only SECTION ...] [--rows TEXT] [--folder .bench] [--rounds 5]
                               [--write | --tiny | --smoke]

The sections are answers, peers, shapes, anderson, memory, threads, linear, start, disk, sources,
lazy, tables, larger and cluster; k562, a screen of 310,000 cells and 10^9 non-zeros (8 GB on disk),
runs only where it is named.

Each peer has an environment of its own below the folder, made on the first run, and the screens of
../shared/tools/make_screen.py are written there. Each side is a process that loads the data, calls
once, saves its answers, and then times one call whenever it is asked to, so that both sides
alternate. Tables hold medians and their ratio; --write puts them between their marks in
docs/developers/benchmarks.md, but not those of a section whose answers differ by more than is
allowed: that fails the run.

--tiny runs all of it on tiny screens, to try this file; --smoke does so in seconds and without
peers, as `make test` does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import report
import screens
from sections import SECTIONS, TINY, Bench, Section
from sides import PEERS, environment

ROOT = Path(__file__).parents[1]


def arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", default=[])
    parser.add_argument("--rows", default="", help="only rows whose name holds this text")
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench")
    parser.add_argument("--rounds", type=int, default=5, help="calls of each side")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="write docs/developers/benchmarks.md")
    what.add_argument("--tiny", action="store_true", help="tiny screens, with peers")
    what.add_argument("--smoke", action="store_true", help="tiny screens, without peers")
    found = parser.parse_args()
    if found.write and found.rows:
        parser.error("--write takes whole sections: leave out --rows")
    return found


def check_blocks(folder: Path) -> None:
    """Raise where a screen that is written block by block is not make_screen.py's."""
    import anndata as ad

    shape = TINY["k562"]
    screens.write_at_once(shape, folder / "whole.h5ad")
    want = ad.read_h5ad(folder / "whole.h5ad")
    got = ad.read_h5ad(shape.path(folder))
    same = (got.obs["target"] == want.obs["target"]).all() and (got.X != want.X).nnz == 0
    if not same or not got.var_names.equals(want.var_names):
        raise SystemExit("screens.py draws another screen than make_screen.py")


def about(bench: Bench, section: Section) -> str:
    """Return the line with date, machine and versions of a section."""
    peers = {environment(bench.folder, peer): names for peer, names in section.peers.items()}
    return report.about(peers)


def main() -> None:
    """Run the sections, print their tables, and write them where that is asked for."""
    asked = arguments()
    tiny = asked.tiny or asked.smoke
    asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.folder) as temporary:
        folder = asked.folder
        if asked.smoke:
            folder, asked.rounds = Path(temporary), 1
            check_blocks(folder)
        bench = Bench(folder, asked.rounds, tiny, not asked.smoke, asked.rows)
        bench.pairs = 20 if tiny else 50
        bench.plot = report.PLOT if asked.write else None
        usual = [name for name, section in SECTIONS.items() if section.usual or asked.smoke]
        for name in asked.only or usual:
            before = len(bench.failures)
            lines = run(bench, name)
            if asked.write and len(bench.failures) == before:
                report.write(name, lines, about(bench, SECTIONS[name]))
    if bench.failures:
        sys.exit("answers differ:\n" + "\n".join(bench.failures))


def run(bench: Bench, name: str) -> list[str]:
    """Print the lines of a section as they come, and return them."""
    print(f"\n{name}", flush=True)
    section = SECTIONS[name]
    if section.peers and not bench.peers:
        print(f"skipped: --smoke has no environment of {', '.join(PEERS)}")
        return []
    lines = []
    for line in section.lines(bench):
        print(line, flush=True)
        lines.append(line)
    return lines


if __name__ == "__main__":
    main()
