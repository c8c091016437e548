"""Time pdex beside its peers, on the same data in one run, after checking that answers agree.

python benches/side_by_side.py [--peers PYTHON] [--polars-ds PYTHON] [--screen SCREEN.h5ad]

The peers need environments of their own (illico 0.6.0 in one, polars-ds in another): each side is
a process that loads the data, warms up once, and then times one call whenever it is asked to, so
that both sides alternate. Medians and their ratio are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

EXPRESSION = """
import sys, json, time, os
import numpy as np, polars as pl
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
import sys, json, time
import anndata as ad, numpy as np
path, side, against = sys.argv[1:4]
adata = ad.read_h5ad(path)
reference = None if against == "rest" else "non-targeting"
if side == "pdex":
    import pdex
    def call():
        return pdex.de(adata, "target", reference=reference or "rest", is_log1p=False)
    answer = float(call()["statistic"].sum())
else:
    from illico import asymptotic_wilcoxon
    def call():
        return asymptotic_wilcoxon(adata, is_log1p=False, group_keys="target",
                                   reference=reference, n_threads=2)
    result = call()
    if reference is not None:
        result = result.drop(index=reference, errors="ignore")
    answer = float(result["statistic"].sum())
"""

LOOP = """
print(json.dumps(answer), flush=True)
for line in sys.stdin:
    start = time.perf_counter(); call(); took = time.perf_counter() - start
    print(json.dumps(took), flush=True)
"""


class Side:
    """One process that times a call whenever it is asked to."""

    def __init__(self, python: str, code: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [python, "-c", code + LOOP, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
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


def compare(name: str, ours: Side, theirs: Side, rounds: int) -> None:
    """Print the medians of alternating calls and their ratio."""
    times = [(ours.time(), theirs.time()) for _ in range(rounds)]
    mine, other = (statistics.median(side) for side in zip(*times, strict=True))
    agree = abs(ours.answer / theirs.answer - 1)
    ours.close()
    theirs.close()
    print(
        f"| {name} | {other:.3f} s | {mine:.3f} s | {other / mine:.1f} | {agree:.0e} |", flush=True
    )


def long_frame(path: Path) -> None:
    """Write 2 million rows of 200 genes and 50 targets."""
    import numpy as np
    import polars as pl

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


def main() -> None:
    """Run the comparisons whose peers are given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", help="python with illico 0.6.0")
    parser.add_argument("--polars-ds", help="python with polars-ds")
    parser.add_argument("--screen", help="a screen made by shared/tools/make_screen.py")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print("| what | peer | pdex | ratio | answers differ by |\n|---|---:|---:|---:|---:|")
    if arguments.polars_ds:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "long.parquet"
            long_frame(path)
            for kind in ("reals", "counts"):
                for dtype in ("strings", "enum"):
                    sides = [
                        Side(python, EXPRESSION, str(path), side, kind, dtype)
                        for python, side in (
                            (sys.executable, "pdex"),
                            (arguments.polars_ds, "polars-ds"),
                        )
                    ]
                    compare(f"polars-ds, {kind}, {dtype}", *sides, arguments.rounds)
    if arguments.peers and arguments.screen:
        for against in ("reference", "rest"):
            sides = [
                Side(python, WHOLE, arguments.screen, side, against)
                for python, side in ((sys.executable, "pdex"), (arguments.peers, "illico"))
            ]
            compare(f"illico, {against}", *sides, arguments.rounds)


if __name__ == "__main__":
    main()
