"""A screen in a file, tested on a Dask cluster: times, bytes read and sent, peaks of memory.

`python benches/cluster_illico.py SCREEN.h5ad [ENGINE...] [--workers 1 2] [--folder .bench]`

Prints one line of JSON. Each run is in a fresh process with a LocalCluster of its own, one thread a
worker; the scheduler lives in the client's process. A small screen is tested first, so that imports
are not counted, and the file lies in the page cache. Each engine runs in its environment, see
sides.py; what it answers is held to SciPy's.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sides import environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client

    Answer = dict[str, Any]

GROUPBY, CONTROL = "target", "non-targeting"
#: Comparisons that are held to SciPy's, beside the most significant ones.
PAIRS = 40
#: What the process of client and scheduler is called.
CLIENT = "client"


class Engine(NamedTuple):
    """What tests a screen on a cluster."""

    #: Of client, path, groupby and reference; returns a table, which is what is timed.
    run: Callable[[Client, str, str, str], Any]
    #: Makes the grid of worker.py of a table and the reference.
    answer: Callable[[Any, str], Answer]
    #: What workers import before they are watched.
    imports: tuple[str, ...]
    #: Its environment among sides.PEERS; this one where None.
    peer: str | None = None


def illico_engine(
    client: Client, path: str, groupby: str, reference: str, batch_size: int | str = "auto"
) -> Any:
    """Give illico a lazy AnnData: it computes the columns of each batch of genes, on the client."""
    import h5py
    from anndata.experimental import read_lazy
    from illico import asymptotic_wilcoxon

    # It has no argument for a client: Dask computes with the last one that was made.
    assert client.asynchronous is False
    with h5py.File(path) as file:
        # Its page on data out of core has two threads: one waits for Dask while the other tests.
        return asymptotic_wilcoxon(
            read_lazy(file), is_log1p=False, group_keys=groupby, n_threads=2,
            reference=None if reference == "rest" else reference, batch_size=batch_size,
        )  # fmt: skip


def illico_large_engine(client: Client, path: str, groupby: str, reference: str) -> Any:
    """Let illico take 1,024 genes at once, as its page advises for CSR chunks against the rest."""
    return illico_engine(client, path, groupby, reference, batch_size=1_024)


def illico_answer(table: Any, reference: str) -> Answer:
    """Return the grid of illico's data frame; it lists the reference against itself, too."""
    from worker import grid

    table = table.drop(index=reference, errors="ignore")
    names = (table.index.get_level_values(level).to_numpy() for level in ("pert", "feature"))
    return grid(*names, {name: table[name] for name in ("statistic", "p_value")})


LAZY = ("anndata.experimental", "dask.array", "h5py", "scipy.sparse")
ENGINES = {
    "illico": Engine(illico_engine, illico_answer, LAZY, "illico-dask"),
    "illico-1024": Engine(illico_large_engine, illico_answer, LAZY, "illico-dask"),
}


def count_sent() -> None:
    """Count, from now on, the bytes that this process sends, by both ends of a connection."""
    from distributed.comm.tcp import TCP

    write, sent = TCP.write, Counter()

    async def counting(self: TCP, *args: Any, **options: Any) -> int:
        size = await write(self, *args, **options)
        sent[self.local_address, self.peer_address] += size
        return size

    TCP.write, TCP.sent = counting, sent


def settle() -> bool:
    """Give back what memory is free and forget the peak; false where that is forbidden."""
    import ctypes
    import gc

    import worker

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return worker.forget_peak()


def numbers() -> dict[str, Any]:
    """Return what this process has used until now."""
    import worker
    from distributed.comm.tcp import TCP

    read, written = worker.transferred()
    peak, resident = worker.status("VmHWM"), worker.status("VmRSS")
    used = {"cpu": time.process_time(), "read": read, "written": written}
    return {**used, "peak": peak, "resident": resident, "sent": Counter(TCP.sent)}


def loopback() -> int:
    """Return the bytes that the machine has sent to itself, headers and other programs included."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[9]) for line in lines if line.lstrip().startswith("lo:"))


def watch(engine: Engine, workers: int, path: str, reference: str, small: str) -> dict[str, Any]:
    """Run an engine on a fresh cluster; return its answer and what the processes used."""
    from distributed import Client, LocalCluster

    count_sent()
    local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**local) as cluster, Client(cluster) as client:
        client.run(count_sent)
        for name in engine.imports:
            client.run(importlib.import_module, name)
        engine.run(client, small, GROUPBY, reference)
        fill_page_cache(path)
        reset = all([settle(), *client.run(settle).values()])
        before, lo = {CLIENT: numbers(), **client.run(numbers)}, loopback()
        start = time.perf_counter()
        table = engine.run(client, path, GROUPBY, reference)
        seconds = time.perf_counter() - start
        after = {CLIENT: numbers(), **client.run(numbers)}
        lo = loopback() - lo
        found = {"workers": workers, "seconds": seconds, "reset": reset, "loopback": lo}
        found |= used(before, after) | {"sent": routes(before, after)}
    return {"answer": engine.answer(table, reference), "found": found}


def used(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return what the client used and the workers did: sums, and the largest peak of one."""
    found: dict[str, Any] = {}
    for name in ("cpu", "read", "written"):
        grown = {process: after[process][name] - before[process][name] for process in after}
        client = grown.pop(CLIENT)
        found |= {name: {"workers": sum(grown.values()), CLIENT: client}}
    for name, of in (("peak", after), ("resident", before)):
        levels = {process: of[process][name] for process in of}
        client = levels.pop(CLIENT)
        found |= {name: {"worker": max(levels.values()), CLIENT: client}}
    return found


def routes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    """Return the bytes sent between processes, by the kind of both ends.

    Of client and scheduler, which are one process here, workers are sent to and send to either:
    "scheduler". What these two send each other counts too: elsewhere they are two processes.
    """
    # Who wrote to a connection's one end and who to its other: its processes.
    owner = {pair: process for process in after for pair in after[process]["sent"]}
    found: Counter[str] = Counter()
    for process in after:
        for (end, other), size in (after[process]["sent"] - before[process]["sent"]).items():
            ends = (process, owner.get((other, end), "unknown"))
            names = ["scheduler" if one == CLIENT else "worker" for one in ends]
            if ends == (CLIENT, CLIENT):
                names = ["scheduler", "client or back"]
            elif "unknown" in ends:
                names[1] = "unknown"
            found[" to ".join(names)] += size
    return dict(found)


def fill_page_cache(path: str) -> None:
    """Read a file once."""
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


def in_process(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Watch a job's engine in a process of its environment; its grid is in the job's file."""
    peer = ENGINES[job["engine"]].peer
    python = sys.executable if peer is None else environment(folder, peer)
    command = [str(python), "-W", "ignore", __file__, "--job", json.dumps(job)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "LOGURU_LEVEL": "ERROR"}
    )
    if done.returncode != 0:
        raise SystemExit(f"{job['engine']} failed:\n{done.stderr[-2_000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def work(job: dict[str, Any]) -> None:
    """Do a job of in_process."""
    import numpy as np

    asked = (job[name] for name in ("workers", "path", "reference", "small"))
    done = watch(ENGINES[job["engine"]], *asked)
    with open(job["answer"], "wb") as file:
        np.savez(file, **done["answer"])
    print(json.dumps({"engine": job["engine"], **done["found"]}))


def against_scipy(path: str, reference: str, answers: list[Path]) -> dict[str, Any]:
    """Hold a sample of the first answer to SciPy's, and all of the others to the first."""
    import anndata as ad
    import checks
    import numpy as np

    grids = [dict(np.load(answer)) for answer in answers]
    first = grids[0]
    shape = first["p_value"].shape
    smallest = np.argsort(first["p_value"], axis=None)[: checks.MOST_SIGNIFICANT]
    top = [(first["targets"][i], first["features"][j]) for i, j in
           zip(*np.unravel_index(smallest, shape), strict=True)]  # fmt: skip
    pairs = checks.sample(ad.read_h5ad(path), reference, PAIRS, tuple(top))
    worst, at_centre = {"statistic": 0.0, "p_value": 0.0}, 0
    for target, gene, x, y in pairs:
        place = tuple(
            checks.places(first[of], np.array([name]))[0]
            for of, name in (("targets", target), ("features", gene))
        )
        statistic, p_value = checks.oracle("wilcoxon", x, y)
        want = {"statistic": statistic, "p_value": p_value}
        # At its centre illico moves U past it by the correction for continuity: SciPy's p is 1.
        if statistic == x.size * y.size / 2:
            del want["p_value"]
            at_centre += 1
        for name, value in want.items():
            off = checks.differences(name, first[name][place], value)
            worst[name] = max(worst[name], float(off))
    same = all(
        np.array_equal(first[name], other[name], equal_nan=name in worst)
        for other in grids[1:] for name in first
    )  # fmt: skip
    runs = {"runs": len(grids), "runs_same": same}
    return {"pairs": len(pairs), "p_values_left_out": at_centre, "worst": worst, **runs}


def stored(path: str) -> int:
    """Return the bytes that a screen's matrix takes in its file."""
    import h5py

    with h5py.File(path) as file:
        return sum(file["X"][name].id.get_storage_size() for name in ("data", "indices", "indptr"))


def main() -> None:
    """Run what is asked for and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("engines", nargs="*", default=[], help=f"of {', '.join(ENGINES)}; all")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--reference", default=CONTROL, help="a target, or rest")
    parser.add_argument("--folder", type=Path, default=Path(".bench"), help="for environments")
    asked = parser.parse_args()
    from screens import Shape

    # Three chunks of cells.
    small = Shape(2_500, 120, 8, molecules=200).path(asked.folder)
    path = str(asked.path.resolve())
    job = {"path": path, "reference": asked.reference, "small": str(small.resolve())}
    line: dict[str, Any] = {"screen": asked.path.name, "stored": stored(path), "runs": []}
    with tempfile.TemporaryDirectory(dir=asked.folder) as temporary:
        for name in asked.engines or ENGINES:
            answers = [Path(temporary).resolve() / f"{name}-{n}.npz" for n in asked.workers]
            for workers, answer in zip(asked.workers, answers, strict=True):
                of_run = {"engine": name, "workers": workers, "answer": str(answer)}
                line["runs"].append(in_process({**job, **of_run}, asked.folder))
            line.setdefault("scipy", {})[name] = against_scipy(path, asked.reference, answers)
    print(json.dumps(line))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        work(json.loads(sys.argv[2]))
    else:
        main()
