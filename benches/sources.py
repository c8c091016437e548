"""Every source that a screen lies in: whole processes, from their start to their end.

`de` of the source beside AnnData's reading of it alone, imports included, with the files in the
page cache. All sources hold the same counts, and give the same bits.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import report
from report import header, row
from screens import in_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sections import Bench

#: What is read, as an expression of the paths in sys.argv[2:].
ONE = "sys.argv[2]"
MANY = "sys.argv[2:]"
LAZY = "__import__('anndata').experimental.read_lazy(sys.argv[2])"
#: The whole program; the result is written where its path is given.
DE = """
import sys, pdex
data = {data}
frame = pdex.de(data, "target", reference="non-targeting", progress=False)
if sys.argv[1]:
    frame.write_parquet(sys.argv[1])
"""
#: Prints the most kilobytes that the process held at a time.
PEAK = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
READ_H5AD = "import sys, anndata; anndata.read_h5ad(sys.argv[2])"
READ_ZARR = "import sys, anndata; anndata.read_zarr(sys.argv[2])"
READ_MANY = (
    "import sys, anndata; anndata.concat([anndata.read_h5ad(path) for path in sys.argv[2:]])"
)
#: The number of files that the screen is split into.
PARTS = 5


class Source(NamedTuple):
    """One way in which a screen is stored."""

    name: str
    paths: list[Path]
    data: str
    #: What AnnData does.
    other: str
    #: What part of AnnData's time the whole of de may take.
    bar: float | None = None


def sources(bench: Bench) -> Iterator[Any]:
    """Time whole processes of each source, and take their peaks."""
    columns = ("source", "on disk", "AnnData reads it", "its peak", "pdex.de", "its peak")
    yield from header(*columns, "ratio of times", "bar", "")
    first: Path | None = None
    with tempfile.TemporaryDirectory(dir=bench.folder) as temporary:
        for source in made(bench):
            if bench.rows not in source.name:
                continue
            answer = Path(temporary) / f"{source.name}.parquet".replace(" ", "-")
            code = DE.format(data=source.data)
            # The first run of each also fills the page cache.
            process(code, [str(answer), *source.paths])
            process(source.other, ["", *source.paths])
            first = first or answer
            check(bench, source.name, first, answer)
            ours, theirs = [], []
            for _ in range(bench.rounds):
                ours.append(process(code, ["", *source.paths]))
                theirs.append(process(source.other, ["", *source.paths]))
            (mine, peak), (other, its_peak) = (
                [statistics.median(found[i] for found in side) for i in (0, 1)]
                for side in (ours, theirs)
            )
            ratio = mine / other
            bar = ("", "") if source.bar is None else (f"{source.bar:g}", "")
            verdict = bar if source.bar is None else (bar[0], report.at_most(ratio, source.bar))
            times = (f"{other:.2f} s", f"{its_peak / 1e6:,.0f} MB")
            times += (f"{mine:.2f} s", f"{peak / 1e6:,.0f} MB")
            size = sum(map(on_disk, source.paths)) / 1e6
            yield row(source.name, f"{size:,.0f} MB", *times, f"{ratio:.2f}", *verdict)


def process(code: str, words: list[Any]) -> tuple[float, float]:
    """Return the seconds and the peak in bytes of a process of Python."""
    command = [sys.executable, "-W", "ignore", "-c", code + PEAK, *map(str, words)]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return time.perf_counter() - started, int(done.stdout) * 1024


def check(bench: Bench, name: str, first: Path, answer: Path) -> None:
    """Note a failure if an answer has other bits than the first."""
    import polars as pl

    # Targets that the first of many files does not have come last.
    order = [pl.col("target").cast(pl.String), pl.col("feature").cast(pl.String)]
    got, expected = (pl.read_parquet(path).sort(order) for path in (answer, first))
    if not got.equals(expected):
        bench.failures.append(f"sources, {name}: the answer differs from that of the first source")


def on_disk(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


def made(bench: Bench) -> Iterator[Source]:
    """Yield the sources, each written where there is none."""
    screen = bench.screen("base")
    files = {
        (layout, storage): in_file(screen, ("counts", layout, storage), bench.folder)
        for layout, storage in (("csr", "none"), ("csr", "gzip"), ("dense", "gzip"))
    }
    for (layout, storage), path in files.items():
        bar = 1.0 if storage == "none" else 0.5
        yield Source(f".h5ad: {layout}, {storage}", [path], ONE, READ_H5AD, bar)
    whole = files["csr", "gzip"]
    for kind in ("2", "3", "3 sharded") if bench.peers else ("3",):
        path = zarr_store(whole, kind)
        yield Source(f"Zarr {kind}: csr", [path], ONE, READ_ZARR)
    if bench.peers:
        yield Source("read_lazy of Zarr 3: Dask, csr", [zarr_store(whole, "3")], LAZY, READ_ZARR)
    yield Source(f"{PARTS} files .h5ad: csr, gzip", parts(whole), MANY, READ_MANY)


def zarr_store(whole: Path, kind: str) -> Path:
    """Return the path of a screen's copy in a Zarr store, with AnnData's own compression."""
    import anndata as ad
    import zarr

    path = whole.with_name(f"{whole.stem}-{kind.replace(' ', '-')}.zarr")
    if not path.exists():
        version, *sharded = kind.split()
        adata, partial = ad.read_h5ad(whole), path.with_suffix(".part")
        with ad.settings.override(zarr_write_format=int(version)):
            adata.write_zarr(partial)
        group = zarr.open_group(partial, mode="r+", use_consolidated=False)["X"]
        for name in ("data", "indices") if sharded else ():
            values = getattr(adata.X, name)
            del group[name]
            # Numbers of a chunk, and of a shard.
            sizes = {"chunks": (1 << 20,), "shards": (1 << 25,)}
            group.create_array(name, shape=values.shape, dtype=values.dtype, **sizes)[:] = values
        zarr.consolidate_metadata(partial)
        partial.rename(path)
    return path


def parts(whole: Path) -> list[Path]:
    """Return the paths of a screen's cells in several files."""
    import anndata as ad
    import numpy as np

    paths = [whole.with_name(f"{whole.stem}-{i}-of-{PARTS}.h5ad") for i in range(1, PARTS + 1)]
    if not all(path.exists() for path in paths):
        adata = ad.read_h5ad(whole)
        for path, cells in zip(paths, np.array_split(np.arange(adata.n_obs), PARTS), strict=True):
            partial = path.with_suffix(".part.h5ad")
            adata[cells].write_h5ad(partial, compression="gzip")
            partial.rename(path)
    return paths
