"""Sources: `de` of each, as a whole process with its imports, beside AnnData's reading alone.

All of them hold the same screen, and every answer is compared with that of the plain file.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import report
from report import header, row
from screens import in_file, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sections import Bench

#: What a process does, and how it opens the source; it prints its peak and a sum of the answer.
DE = """
import resource, sys
import pdex
{before}
result = pdex.de({data}, "target", reference="non-targeting", progress=False, **{options})
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
heavy = [name for name in ("anndata", "h5py", "pandas", "scipy", "zarr") if name in sys.modules]
print(peak, float(result["neg_log10_p"].sum()), ",".join(heavy) or "none")
"""
READ = """
import resource
import anndata
anndata.read_h5ad({data})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, 0.0, "anndata")
"""
LAZY = "import anndata, warnings; warnings.simplefilter('ignore'); lazy = anndata.experimental"
#: What part of AnnData's reading the whole process may take.
BARS = {"none": 1.0, "gzip": 0.5, "lzf": 0.5}


def sources(bench: Bench) -> Iterator[Any]:
    """Time whole processes: de of every source, and read_h5ad of the files."""
    columns = ("source", "read_h5ad", "its peak", "pdex.de", "its peak", "ratio", "bar", "", "")
    yield from header(*columns)
    sums: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        for name, read, data, before, options, storage in _made(bench, Path(folder)):
            if bench.rows not in name:
                continue
            sides: dict[str, list[tuple[float, float, float, str]]] = {"de": [], "read": []}
            for _ in range(bench.rounds):
                code = DE.format(data=data, before=before, options=options)
                sides["de"].append(_process(code))
                if read is not None:
                    sides["read"].append(_process(READ.format(data=read)))
            mine, peak = _medians(sides["de"])
            check, imported = sides["de"][0][2:]
            wanted = sums.setdefault(str(options), check)
            if abs(check - wanted) > 1e-9 * abs(wanted):
                bench.failures.append(f"sources, {name}: another answer")
            theirs, verdict = ("", ""), ("", "", "")
            if read is not None:
                other, its = _medians(sides["read"])
                ratio, bar = mine / other, BARS[storage]
                theirs = (f"{other:.2f} s", f"{its / 1e6:,.0f} MB")
                verdict = (f"{ratio:.2f}", f"{bar:g}", report.at_most(ratio, bar))
            yield row(
                name, *theirs, f"{mine:.2f} s", f"{peak / 1e6:,.0f} MB", *verdict,
                f"imports {imported}",
            )  # fmt: skip


def _medians(lines: list[tuple[float, float, float, str]]) -> tuple[float, float]:
    """Return the medians of seconds and of peaks."""
    return statistics.median(line[0] for line in lines), statistics.median(
        line[1] for line in lines
    )


def _process(code: str) -> tuple[float, float, float, str]:
    """Return seconds of a whole process, its peak, the sum of its answer and what it imported."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"a process failed:\n{done.stderr[-2_000:]}")
    peak, check, imported = done.stdout.split()[-3:]
    return seconds, float(peak), float(check), imported


def _made(bench: Bench, folder: Path) -> Iterator[tuple[str, str | None, str, str, dict, str]]:
    """Write the sources, and yield name, file for read_h5ad, data, statements and options."""
    screen = bench.screen("base")
    quoted: Callable[[object], str] = lambda path: json.dumps(str(path))  # noqa: E731
    plain = {}
    for layout in ("csr", "csc", "dense") if bench.peers else ("csr",):
        for storage in ("none", "gzip", "lzf") if layout == "csr" else ("gzip",):
            path = plain[layout, storage] = in_file(
                screen, ("counts", layout, storage), bench.folder
            )
            _read(path)
            name = f"h5ad: {layout}, {storage}"
            yield name, quoted(path), quoted(path), "", {}, storage
    path = quoted(plain["csr", "gzip"])
    yield "h5ad: csr, gzip, normalize=1e4", None, path, "", {"normalize": 1e4}, "gzip"
    adata = load(screen, log=False)
    parts = adata.n_obs // 4 + 1
    for i in range(4):
        part = adata[i * parts : (i + 1) * parts].copy()
        part.write_h5ad(folder / f"plate{i}.h5ad", compression="gzip")
    yield "4 h5ad files: csr, gzip", None, quoted(folder / "plate*.h5ad"), "", {}, "gzip"
    import anndata

    for version in (2, 3):
        anndata.settings.zarr_write_format = version
        adata.write_zarr(folder / f"v{version}.zarr")
        store = quoted(folder / f"v{version}.zarr")
        yield f"Zarr {version}: csr", None, store, "", {}, "gzip"
    before = f"{LAZY}.read_lazy({path})"
    yield "read_lazy of the gzip file", None, "lazy", before, {}, "gzip"


def _read(path: Path) -> None:
    """Put a file into the page cache."""
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass
