"""Time pdex beside its peers, on the same data in one run, after checking that answers agree.

python benches/side_by_side.py [--folder .bench] [--rounds 5] [--only WORD] [--write]

Each peer has an environment of its own below the folder (one peer has this package's name), made
on the first run, and the screens of ../shared/tools/make_screen.py are written there. Each side is
a process that loads the data, warms up once, and then times one call whenever it is asked to, so
that both sides alternate. The table holds medians and their ratio; --write puts it into
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
START, END = "<!-- made by benches/side_by_side.py -->", "<!-- end of table -->"
MAKE_SCREEN = ROOT.parent / "shared" / "tools" / "make_screen.py"
PEERS = {
    "illico": ["illico==0.6.0", "scanpy==1.11.5"],
    "pdex-0.3": ["pdex==0.3.0"],
    "polars-ds": ["polars-ds", "polars==2.1.*", "pyarrow"],
}

EXPRESSION = """
import sys, json, time
import polars as pl
path, side, kind, dtype = sys.argv[1:5]
df = pl.read_parquet(path)
if dtype == "enum":
    df = df.with_columns(
        [pl.col(c).cast(pl.Enum(df[c].unique().sort())) for c in ("gene", "target")]
    ).sort("gene")
df = df.with_columns(pl.col(kind).alias("value"))
if side == "pdex":
    import pdex
    query = (df.lazy().group_by("gene")
        .agg(pdex.wilcoxon("value", "target", reference="target0"))
        .explode("wilcoxon").unnest("wilcoxon"))
else:
    import polars_ds as pds
    groups = [f"target{i}" for i in range(1, 50)]
    ref = pl.col("value").filter(pl.col("target") == "target0")
    query = df.lazy().group_by("gene").agg(
        pds.mann_whitney_u(pl.col("value").filter(pl.col("target") == g), ref).alias(g)
        for g in groups)
def call():
    return query.collect()
result = call()
if side == "pdex":
    row = result.filter((pl.col("gene") == "gene7") & (pl.col("target") == "target3"))
    answer = row["p_value"][0]
else:
    cell = result.filter(pl.col("gene") == "gene7")["target3"][0]
    answer = (cell[0] if isinstance(cell, pl.Series) else cell)["pvalue"]
"""

WHOLE = """
import os, sys, json, time
os.environ["LOGURU_LEVEL"] = "ERROR"
import anndata as ad, numpy as np
path, side, against, layout, test = sys.argv[1:6]
adata = ad.read_h5ad(path)
log1p = "log" in path
adata.X = {"csr": lambda x: x, "csc": lambda x: x.tocsc(), "dense": lambda x: x.toarray()}[layout](
    adata.X)
reference = None if against == "rest" else "non-targeting"
if side == "pdex":
    import pdex
    def call():
        return pdex.de(adata, "target", reference=reference or "rest", test=test)
    answer = float(call()["statistic"].fill_nan(0).sum())
elif side == "illico":
    from illico import asymptotic_wilcoxon
    def call():
        return asymptotic_wilcoxon(adata, is_log1p=log1p, group_keys="target",
                                   reference=reference, n_threads=2)
    result = call()
    if reference is not None:
        result = result.drop(index=reference, errors="ignore")
    answer = float(result["statistic"].sum())
elif side == "pdex-0.3":
    import pdex
    mode = "all" if reference is None else "ref"
    def call():
        return pdex.pdex(adata, "target", mode=mode, threads=2, is_log1p=log1p)
    answer = float(call()["statistic"].sum())
else:
    import scanpy as sc
    def call():
        sc.tl.rank_genes_groups(adata, "target", reference=reference or "rest", method="t-test")
    call()
    answer = float("nan")
"""

LOOP = """
print(json.dumps(answer), flush=True)
for line in sys.stdin:
    start = time.perf_counter(); call(); took = time.perf_counter() - start
    print(json.dumps(took), flush=True)
"""


class Side:
    """One process that times a call whenever it is asked to."""

    def __init__(self, python: str | Path, code: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [str(python), "-W", "ignore", "-c", code + LOOP, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.answer = self._read()

    def _read(self) -> float:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            try:
                return float(json.loads(line))
            except ValueError:
                print("  ", line.rstrip())
        raise SystemExit("a side ended without an answer")

    def time(self) -> float:
        """Return the seconds of one more call."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(name: str, bar: float, ours: Side, theirs: Side, rounds: int) -> str:
    """Return the table's line: medians of alternating calls and their ratio."""
    times = [(ours.time(), theirs.time()) for _ in range(rounds)]
    mine, other = (statistics.median(side) for side in zip(*times, strict=True))
    ours.close()
    theirs.close()
    agree = abs(ours.answer / theirs.answer - 1)
    checked = "not compared" if agree != agree else f"{agree:.0e}"
    ratio = other / mine
    verdict = "pass" if ratio >= bar else f"missed by {bar / ratio:.1f}"
    line = (
        f"| {name} | {other:.3f} s | {mine:.3f} s | {ratio:.1f} | {bar:g} | {verdict} | {checked} |"
    )
    print(line, flush=True)
    return line


def environment(folder: Path, peer: str) -> Path:
    """Return the Python of a peer's environment, which is made where there is none."""
    home = folder / peer
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS[peer]], check=True)
        (home / "ready").touch()
    return python


def screen(folder: Path, *arguments: str) -> str:
    """Return the path of a screen that make_screen.py writes."""
    path = folder / ("screen-" + "-".join(a.strip("-") for a in arguments) + ".h5ad")
    if not path.exists():
        if not MAKE_SCREEN.exists():
            raise SystemExit(f"{MAKE_SCREEN} is not there: it makes the screens")
        sizes, options = arguments[:3], arguments[3:]
        subprocess.run([sys.executable, MAKE_SCREEN, *sizes, path, *options], check=True)
    return str(path)


def long_frame(folder: Path) -> str:
    """Return the path of 2 million rows of 200 genes and 50 targets."""
    import numpy as np
    import polars as pl

    path = folder / "long.parquet"
    rng = np.random.default_rng(0)
    n = 2_000_000
    frame = pl.DataFrame(
        {
            "gene": np.array([f"gene{i}" for i in range(200)])[rng.integers(0, 200, n)],
            "target": np.array([f"target{i}" for i in range(50)])[rng.integers(0, 50, n)],
            "reals": rng.normal(size=n),
            "counts": rng.poisson(1.0, n).astype(np.float64),
        }
    )
    frame.write_parquet(path)
    return str(path)


def comparisons() -> Iterator[tuple[str, float, str, str, str, tuple[str, ...]]]:
    """Yield name, bar, code, peer, data and the options after the side."""
    for kind in ("reals", "counts"):
        for dtype, bar in (("strings", 50), ("enum", 150)):
            yield f"polars-ds: {kind}, {dtype}", bar, EXPRESSION, "polars-ds", "long", (kind, dtype)
    for layout in ("csr", "csc", "dense"):
        for kind in ("counts", "log"):
            for against in ("reference", "rest"):
                name = f"illico: {layout}, {kind}, {against}"
                yield name, 10, WHOLE, "illico", kind, (against, layout, "wilcoxon")
    for kind in ("counts", "log"):
        name = f"pdex 0.3: csr, {kind}, reference"
        yield name, 100, WHOLE, "pdex-0.3", kind, ("reference", "csr", "wilcoxon")
    yield "scanpy t-test: csr, log, rest", 20, WHOLE, "scanpy", "log", ("rest", "csr", "ttest")


def machine() -> str:
    """Return a line about the machine and the versions."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), model)
    import pdex
    import polars as pl

    versions = (
        f"pdex {pdex.__version__}, Polars {pl.__version__}, Python {platform.python_version()}"
    )
    return f"{os.cpu_count()} cores of {model}; {versions}; " + ", ".join(PEERS["illico"])


def main() -> None:
    """Run the comparisons and print their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="only names that hold this word")
    parser.add_argument("--size", default="30000,8000,200", help="cells, genes, targets")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    size = tuple(arguments.size.split(","))
    header = "| what | peer | pdex | ratio | bar | | answers differ by |\n" + "|---" * 7 + "|"
    print(header)
    lines = []
    for name, bar, code, peer, data, options in comparisons():
        if arguments.only not in name:
            continue
        python = environment(arguments.folder, "illico" if peer == "scanpy" else peer)
        if data == "long":
            path = long_frame(arguments.folder)
        else:
            path = screen(arguments.folder, *size, *(["--log"] if data == "log" else []))
        ours = Side(sys.executable, code, path, "pdex", *options)
        theirs = Side(python, code, path, peer, *options)
        lines.append(compare(name, bar, ours, theirs, arguments.rounds))
    if arguments.write:
        table = "\n".join([START, "", machine() + ".", "", header, *lines, "", END])
        text = PAGE.read_text()
        PAGE.write_text(text[: text.index(START)] + table + text[text.index(END) + len(END) :])


if __name__ == "__main__":
    main()
