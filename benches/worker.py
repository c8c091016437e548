"""One side of a comparison: a process in an environment of its own, told what to do in JSON.

python benches/worker.py '{"mode": "loop", "side": "pdex", ...}'

``loop`` loads the data, calls once, saves the answers, prints a line and then, for each line that
it reads, calls once more and prints the seconds. The other modes do one thing in a fresh process
and print its numbers. Peers run this file too: only the standard library up here.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Answer = dict[str, np.ndarray]
    Job = dict[str, Any]
    Prepared = tuple[Callable[[], Any], Callable[[Any], Answer]]

CONTROL = "non-targeting"


def grid(targets: Any, features: Any, columns: dict[str, Any]) -> Answer:
    """Return each column as targets x features, both sorted by name, NaN where there is nothing."""
    import numpy as np

    (rows, row), (genes, gene) = numbered(targets), numbered(features)
    asked = np.zeros((rows.size, genes.size), dtype=bool)
    asked[row, gene] = True
    answer = {"targets": rows, "features": genes, "asked": asked}
    for name, column in columns.items():
        answer[name] = np.full(asked.shape, np.nan)
        answer[name][row, gene] = np.asarray(column, dtype=float)
    return answer


def numbered(names: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct names of a Polars or NumPy column, sorted, and each one's number."""
    import numpy as np

    if isinstance(names, np.ndarray):
        import pandas as pd

        number, distinct = pd.factorize(names, sort=True)
        return np.asarray(distinct, dtype=str), number
    import polars as pl

    distinct = names.cast(pl.String).unique().sort()
    number = names.cast(pl.String).cast(pl.Enum(distinct)).to_physical().to_numpy()
    return distinct.to_numpy().astype(str), number


def frame_grid(frame: Any, columns: tuple[str, ...], feature: str = "feature") -> Answer:
    """Return the grid of a Polars frame."""
    numbers = {name: frame[name].to_numpy() for name in columns if name in frame.columns}
    return grid(frame["target"], frame[feature], numbers)


def pdex(job: Job, adata: Any) -> Prepared:
    import pdex

    # Peers have the normal curve only.
    options = {"method": "asymptotic"} if job["test"] == "wilcoxon" else {}
    options |= job.get("options", {})

    def call() -> Any:
        return pdex.de(
            adata, "target", reference=job["reference"], test=job["test"], progress=False,
            threads=job.get("threads"), **options,
        )  # fmt: skip

    return call, lambda frame: frame_grid(frame, ("statistic", "p_value", "z_score", "auroc"))


def lazy(job: Job, data: Any) -> Prepared:
    """Run the mission's own path: a lazy frame, a test for each gene."""
    import pdex

    options = job.get("options", {})
    test = pdex.wilcoxon("value", "target", reference=job["reference"], count="count", **options)

    def call() -> Any:
        lazy = pdex.scan_anndata(data, "target").group_by("gene").agg(test)
        return lazy.collect(engine="streaming")

    def answer(found: Any) -> Answer:
        rows = found.explode("wilcoxon").unnest("wilcoxon")
        return frame_grid(rows, ("statistic", "p_value", "auroc"), "gene")

    return call, answer


def illico(job: Job, adata: Any) -> Prepared:
    from illico import asymptotic_wilcoxon

    reference = None if job["reference"] == "rest" else job["reference"]

    def call() -> Any:
        return asymptotic_wilcoxon(
            adata, is_log1p=job["log"], group_keys="target", reference=reference,
            n_threads=os.cpu_count(),
        )  # fmt: skip

    def answer(result: Any) -> Answer:
        # Against a reference it lists the reference against itself, too.
        result = result.drop(index=reference, errors="ignore") if reference else result
        names = [result.index.get_level_values(level).to_numpy() for level in ("pert", "feature")]
        columns = {name: result[name] for name in ("statistic", "p_value", "z_score")}
        return grid(*names, columns)

    return call, answer


def pdex_03(job: Job, adata: Any) -> Prepared:
    import pdex

    mode = "all" if job["reference"] == "rest" else "ref"

    def call() -> Any:
        return pdex.pdex(
            adata, "target", mode=mode, threads=os.cpu_count(), is_log1p=job["log"]
        )  # fmt: skip

    return call, lambda frame: frame_grid(frame, ("statistic", "p_value"))


def scanpy(job: Job, adata: Any) -> Prepared:
    import numpy as np
    import scanpy as sc

    def call() -> Any:
        sc.tl.rank_genes_groups(adata, "target", reference=job["reference"], method="t-test")
        return adata.uns["rank_genes_groups"]

    def answer(result: Any) -> Answer:
        groups = result["names"].dtype.names
        targets = np.repeat(groups, adata.n_vars)
        parts = {
            name: np.concatenate([result[of][group] for group in groups])
            for name, of in (("features", "names"), ("statistic", "scores"), ("p_value", "pvals"))
        }
        return grid(targets, parts.pop("features"), parts)

    return call, answer


def scipy(job: Job, adata: Any) -> Prepared:
    """Anderson-Darling of a sample of pairs, whose values are at hand."""
    import warnings

    import checks
    import numpy as np
    from scipy.stats import anderson_ksamp

    pairs = checks.sample(adata, job["reference"], job["pairs"])
    # Its p-value is capped, and the name of the variant was to change.
    warnings.simplefilter("ignore")

    def call() -> Any:
        return [anderson_ksamp([x, y], variant="midrank").statistic for _, _, x, y in pairs]

    def answer(statistics: Any) -> Answer:
        targets, features, _, _ = zip(*pairs, strict=True)
        return grid(np.array(targets), np.array(features), {"statistic": statistics})

    return call, answer


def expression(_: Job, frame: Any) -> Prepared:
    import pdex

    query = (
        frame.lazy()
        .group_by("gene")
        .agg(pdex.wilcoxon("value", "target", reference="target0", method="asymptotic"))
        .explode("wilcoxon")
        .unnest("wilcoxon")
    )
    return query.collect, lambda found: frame_grid(found, ("statistic", "p_value"), "gene")


def polars_ds(_: Job, frame: Any) -> Prepared:
    import polars as pl
    import polars_ds as pds

    groups = [g for g in frame["target"].unique().cast(pl.String).sort() if g != "target0"]
    value, target = pl.col("value"), pl.col("target")
    reference = value.filter(target == "target0")
    query = (
        frame.lazy()
        .group_by("gene")
        .agg(
            pds.mann_whitney_u(value.filter(target == group), reference).alias(group)
            for group in groups
        )
    )

    def answer(found: Any) -> Answer:
        long = found.unpivot(index="gene", variable_name="target", value_name="test")
        if long["test"].dtype == pl.List:
            long = long.explode("test")
        return frame_grid(
            long.unnest("test").rename({"pvalue": "p_value"}), ("statistic", "p_value"), "gene"
        )

    return query.collect, answer


SIDES = {
    "pdex": pdex, "illico": illico, "pdex-0.3": pdex_03, "scanpy": scanpy, "scipy": scipy,
    "expression": expression, "polars-ds": polars_ds, "lazy": lazy,
}  # fmt: skip


def long_frame(job: Job) -> Any:
    """Return the long frame of a job: one kind of value, labels as strings or sorted Enums."""
    import polars as pl

    frame = pl.read_parquet(job["path"])
    if job["labels"] == "enum":
        names = (pl.col(c).cast(pl.Enum(frame[c].unique().sort())) for c in ("gene", "target"))
        frame = frame.with_columns(names).sort("gene")
    return frame.with_columns(pl.col(job["values"]).alias("value"))


def prepare(job: Job) -> Prepared:
    """Load the data and return the call and what makes a grid of its result."""
    if "labels" in job:
        return SIDES[job["side"]](job, long_frame(job))
    if "file" in job:
        return SIDES[job["side"]](job, job["file"])
    import screens

    adata = screens.load(job["path"], log=job["log"], layout=job.get("layout", "csr"))
    return SIDES[job["side"]](job, adata)


def say(**numbers: Any) -> None:
    """Print a line for the process that asks."""
    print(json.dumps(numbers), flush=True)


def clock(call: Callable[[], Any]) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def loop(job: Job) -> None:
    """Call once, save the answers, and time a call for each line of standard input."""
    call, answer = prepare(job)
    result = call()
    if job.get("answer"):
        import numpy as np

        with open(job["answer"], "wb") as file:
            np.savez(file, **answer(result))
    del result
    say(ready=True)
    for _ in sys.stdin:
        say(seconds=clock(call))


def start(job: Job) -> None:
    """Time the import, the first call, and calls after it."""
    seconds = clock(lambda: __import__("pdex"))
    call, _ = prepare(job)
    first, *warm = (clock(call) for _ in range(4))
    say(imports=seconds, first=first, warm=sorted(warm)[1])


def memory(job: Job) -> None:
    """Take the peak of one call beyond what was there, and count the non-zeros."""
    import ctypes
    import gc

    import screens

    call, _ = prepare(job)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    reset = forget_peak()
    before = status("VmRSS")
    began = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - began
    peak = status("VmHWM") - before
    more = [clock(call) for _ in range(job.get("calls", 0))]
    say(
        peak=peak, result=result.estimated_size(), seconds=sorted([seconds, *more])[len(more) // 2],
        nonzeros=screens.nonzeros(job["path"]), input=before, reset=reset,
    )  # fmt: skip


def of_path(job: Job) -> None:
    """Time one call on a file, and take the process's peak."""
    import anndata
    import pdex

    with open(job["path"], "rb") as file:
        while file.read(1 << 24):
            pass
    options = {"reference": job["reference"], "test": job["test"]}
    calls = {
        "lazy": lazy(job, job["path"])[0],
        "de": lambda: pdex.de(job["path"], "target", **options),
        "read_h5ad": lambda: anndata.read_h5ad(job["path"]),
    }
    seconds = clock(calls[job["call"]])
    say(seconds=seconds, peak=status("VmHWM"))


def bounded(job: Job) -> None:
    """Write the result of a file to another while the process may use so much memory."""
    import tempfile

    import pdex

    limited = join_cgroup(job["limit"])
    # What is not the process's own stays for the file's pages.
    options = {"reference": job["reference"], "test": job["test"], "memory_limit": 500_000_000}
    with tempfile.TemporaryDirectory(dir=os.path.dirname(job["path"])) as folder:
        output = os.path.join(folder, "de.parquet")
        seconds = clock(lambda: pdex.sink_de(job["path"], "target", output, **options))
    say(seconds=seconds, peak=status("VmHWM"), limited=limited)


def tables(job: Job) -> None:
    """Tabulate some cells of a screen: sizes, and times beside de."""
    import pathlib
    import tempfile

    import numpy as np
    import pdex
    import screens

    adata = screens.load(job["path"], log=job["log"])
    if job["share"] < 1:
        kept = np.random.default_rng(0).random(adata.n_obs) < job["share"]
        adata = adata[kept].copy()
    options = {"reference": job["reference"], "test": job["test"], "progress": False}
    x = adata.X
    with tempfile.TemporaryDirectory(dir=os.path.dirname(job["path"])) as folder:
        file, output = os.path.join(folder, "screen.h5ad"), os.path.join(folder, "screen.tables")
        adata.write_h5ad(file, compression="gzip")
        calls = {
            "de": lambda: pdex.de(adata, "target", **options),
            "tabulate": lambda: pdex.tabulate(adata, "target", output=output, progress=False),
            "of_file": lambda: pdex.de(file, "target", **options),
            "of_table": lambda: pdex.de(output, "target", **options),
        }
        found = [call() for call in calls.values()]
        if not found[0].equals(found[3]) or not found[2].equals(found[3]):
            raise SystemExit("a table gives other answers than its screen")
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(job["calls"]):
            for name, call in calls.items():
                times[name].append(clock(call))
        say(
            **{name: statistics.median(each) for name, each in times.items()},
            cells=adata.n_obs, groups=found[1].labels.height,
            rows=sum(part.rows for part in found[1]._table.manifest.parts),
            table=sum(path.stat().st_size for path in pathlib.Path(output).iterdir()),
            gzip=os.path.getsize(file), csr=x.data.nbytes + x.indices.nbytes + x.indptr.nbytes,
        )  # fmt: skip


def larger(job: Job) -> None:
    """Time de of a file larger than its memory limit, and count the bytes that are read."""
    import anndata  # noqa: F401 - imports are not counted
    import pdex
    from pdex._io.stored import StoredMatrix

    with open(job["path"], "rb") as file:
        while file.read(1 << 24):
            pass
    if job["passes"]:
        StoredMatrix.is_read_once = lambda *_: False
    options = {"reference": job["reference"], "test": job["test"], "memory_limit": job["limit"]}
    found: list[Any] = []
    before = transferred()
    call = lambda: found.append(pdex.de(job["path"], "target", progress=False, **options))  # noqa: E731
    seconds = clock(call)
    read, written = (b - a for a, b in zip(before, transferred(), strict=True))
    check = float(found[0]["neg_log10_p"].sum())
    say(seconds=seconds, read=read, written=written, peak=status("VmHWM"), check=check)


def transferred() -> tuple[int, int]:
    """Return how many bytes this process has read and written."""
    with open("/proc/self/io") as file:
        numbers = dict(line.split(": ") for line in file.read().splitlines())
    return int(numbers["rchar"]), int(numbers["wchar"])


def join_cgroup(limit: int) -> bool:
    """Move this process into a cgroup of so many bytes; false where there is none to be had."""
    root, files = "/sys/fs/cgroup", ("memory.max", "memory.limit_in_bytes")
    for parent, file in ((root, files[0]), (f"{root}/memory", files[1])):
        group = f"{parent}/pdex-bench"
        try:
            os.makedirs(group, exist_ok=True)
            with open(f"{group}/{file}", "w") as bound:
                bound.write(str(limit))
            with open(f"{group}/cgroup.procs", "w") as members:
                members.write(str(os.getpid()))
        except OSError:
            continue
        return True
    return False


def forget_peak() -> bool:
    """Set VmHWM to what is used now; where that is forbidden the peak holds the loading's, too."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return True


def status(name: str) -> int:
    """Return bytes from /proc/self/status."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(name))
    return int(line.split()[1]) * 1024


def scipy_check(job: Job) -> None:
    """Hold a sample of pdex's answers to SciPy's, one test after the other."""
    import checks
    import screens

    adata = screens.load(job["path"], log=job["log"])
    for test in job["tests"]:
        for reference in (CONTROL, "rest"):
            found = checks.against_scipy(adata, test, reference, job["pairs"])
            say(test=test, reference=reference, **found)


def growth(job: Job) -> None:
    """Time screens of growing size, counts and then their log values."""
    import screens

    for path in job["paths"]:
        adata = screens.load(path, log=False)
        numbers = {"nonzeros": adata.X.nnz, "cells": adata.n_obs}
        for kind in ("counts", "log"):
            if kind == "log":
                screens.to_log(adata.X)
            call, _ = pdex({"reference": CONTROL, "test": "wilcoxon"}, adata)
            call()
            numbers[kind] = statistics.median(clock(call) for _ in range(job["calls"]))
        say(**numbers)


MODES = {
    "loop": loop, "start": start, "memory": memory, "scipy": scipy_check, "growth": growth,
    "file": of_path, "bounded": bounded, "tables": tables, "larger": larger,
}  # fmt: skip

if __name__ == "__main__":
    os.environ["LOGURU_LEVEL"] = "ERROR"
    job = json.loads(sys.argv[1])
    MODES[job["mode"]](job)
