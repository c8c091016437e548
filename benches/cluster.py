"""A screen in a file, tested on a Dask cluster: times, bytes read and sent, peaks of memory.

`python benches/cluster.py SCREEN.h5ad [ENGINE...] [--workers 1 2] [--folder .bench]`

Prints one line of JSON. Each run is in a fresh process with a LocalCluster of its own, one thread
a worker; the scheduler lives in the client's process. pdex-here runs in one process without Dask,
with as many threads as others have workers. A small screen is tested first, so that imports are not
counted, and the file lies in the page cache. Each engine runs in its environment, see sides.py;
what it answers is held to SciPy's. side_by_side.py makes a table of such runs.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines import ENGINES, Asked, Marks, on_disk
from sides import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client
    from engines import Engine
    from sections import Bench

CONTROL = "non-targeting"
#: Comparisons that are held to SciPy's, beside the most significant ones.
PAIRS = 40
#: What the process of client and scheduler is called.
CLIENT = "client"


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

    tcp = sys.modules.get("distributed.comm.tcp")
    read, written = worker.transferred()
    peak, resident = worker.status("VmHWM"), worker.status("VmRSS")
    used = {"cpu": time.process_time(), "read": read, "written": written}
    sent = Counter() if tcp is None else Counter(tcp.TCP.sent)
    return {**used, "peak": peak, "resident": resident, "sent": sent}


def loopback() -> int:
    """Return the bytes that the machine has sent to itself, headers and other programs included."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[9]) for line in lines if line.lstrip().startswith("lo:"))


def watch(engine: Engine, job: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Run an engine, on a fresh cluster if it needs one; return its table and what was used."""
    if not engine.cluster:
        return watch_on(None, engine, job)
    from distributed import Client, LocalCluster

    count_sent()
    local = {"n_workers": job["workers"], "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**local) as cluster, Client(cluster) as client:
        client.run(count_sent)
        for name in engine.imports:
            client.run(importlib.import_module, name)
        return watch_on(client, engine, job)


def watch_on(
    client: Client | None, engine: Engine, job: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Run an engine twice, on a small screen and on that of the job, which is watched."""

    def look() -> dict[str, Any]:
        return {CLIENT: numbers(), **({} if client is None else client.run(numbers))}

    output, workers = Path(job["answer"]).with_suffix(".result"), job["workers"]
    small = Asked(job["small"], job["reference"], workers, output, lambda _: None)
    engine.run(client, small)
    shutil.rmtree(output, ignore_errors=True)
    fill_page_cache(job["path"])
    reset = all([settle(), *({} if client is None else client.run(settle)).values()])
    marks, lo = Marks(look), loopback()
    marks(CLIENT)
    table = engine.run(client, small._replace(path=job["path"], mark=marks))
    marks("")
    found = {"workers": workers, "reset": reset, "loopback": loopback() - lo}
    (_, began, before), *_, (_, ended, after) = marks.points
    found |= {"seconds": ended - began, **used(before, after), "sent": routes(before, after)}
    found["kinds"] = {}
    for (kind, start, first), (_, stop, last) in itertools.pairwise(marks.points):
        each = {"seconds": stop - start, **used(first, last)}
        of_kind = found["kinds"].setdefault(kind, Counter())
        of_kind["seconds"] += each["seconds"]
        for name in ("cpu", "read", "written"):
            of_kind[name] += sum(each[name].values())
    found["exchanged"] = getattr(table, "exchanged", {})
    found["result"] = on_disk(table.path) if hasattr(table, "path") else 0
    return table, found


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
        found |= {name: {"worker": max(levels.values(), default=0), CLIENT: client}}
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
    engine = ENGINES[job["engine"]]
    python = sys.executable if engine.peer is None else environment(folder, engine.peer)
    command = [str(python), "-W", "ignore", __file__, "--job", json.dumps(job)]
    variables = {**os.environ, "LOGURU_LEVEL": "ERROR"}
    if engine.polars:
        # Those of each process: else Polars takes all cores, whatever a worker was given.
        variables["POLARS_MAX_THREADS"] = "1" if engine.cluster else str(job["workers"])
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    if done.returncode != 0:
        raise SystemExit(f"{job['engine']} failed:\n{done.stderr[-2_000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def work(job: dict[str, Any]) -> None:
    """Do a job of in_process."""
    import numpy as np

    engine = ENGINES[job["engine"]]
    table, found = watch(engine, job)
    if job["save"]:
        with open(job["answer"], "wb") as file:
            np.savez(file, **engine.answer(table, job["reference"]))
    print(json.dumps({"engine": job["engine"], **found}))


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


def cells(path: str) -> int:
    """Return the number of a screen's cells."""
    import h5py

    with h5py.File(path) as file:
        return len(file["X/indptr"]) - 1


def job_of(path: Path, folder: Path, small: str, reference: str = CONTROL) -> dict[str, Any]:
    """Return what all jobs on a screen have in common."""
    return {
        "path": str(path.resolve()), "reference": reference, "folder": str(folder.resolve()),
        "small": str(Path(small).resolve()), "save": True,
    }  # fmt: skip


def with_engine(job: dict[str, Any], engine: str, workers: int, temporary: str) -> dict[str, Any]:
    """Return the job of an engine on so many workers."""
    answer = str(Path(temporary).resolve() / f"{engine}-{workers}.npz")
    return {**job, "engine": engine, "workers": workers, "answer": answer}


# --- the section of docs/developers/benchmarks.md ------------------------------------------------

#: What is shown for an engine.
NAMES = {
    "pdex": 'pdex, `engine="dask"`',
    "pdex-here": "pdex without Dask",
    "illico": "illico on Dask",
    "illico-1024": "illico on Dask, 1,024 genes at once",
}


def cluster(bench: Bench) -> Iterator[str]:
    """Run each engine with 1 and 2 workers, in turn, and hold the answers to each other."""
    from report import header, row
    from screens import in_file

    path = in_file(bench.screen("base"), ("counts", "csr", "none"), bench.folder)
    names = [name for name, title in NAMES.items() if bench.rows in title]
    with tempfile.TemporaryDirectory(dir=bench.folder) as temporary:
        job = job_of(path, bench.folder, small_screen(bench.folder))
        jobs = [with_engine(job, name, n, temporary) for name in names for n in (1, 2)]
        lines: list[list[dict[str, Any]]] = [[] for _ in jobs]
        for number in range(bench.rounds):
            for one, found in zip(jobs, lines, strict=True):
                found.append(in_process({**one, "save": number == 0}, bench.folder))
        answers = [Path(one["answer"]) for one in jobs]
        off = [differ(bench, one, answers[0], answer)
               for one, answer in zip(jobs, answers, strict=True)]  # fmt: skip
        held = {
            name: against_scipy(str(path), CONTROL, answers[2 * i : 2 * i + 2])
            for i, name in enumerate(names)
        }
    n = cells(str(path))
    columns = ("engine", "workers", "wall", "CPU of workers", "of the client", "read")
    columns += ("through the scheduler", "from task to task", "written")
    yield from header(*columns, "peak of a worker", "of the client", "answers differ by")
    for one, found, verdict in zip(jobs, lines, off, strict=True):
        numbers = typical(found)
        per_cell = (f"{numbers[of] / n:,.0f} B" for of in ("read", "sent", "exchanged", "result"))
        peaks = [f"{numbers[of] / 1e6:,.0f} MB" for of in ("worker", "client")]
        times = [f"{numbers[of]:.2f} s" for of in ("seconds", "cpu of workers", "cpu of client")]
        if not ENGINES[one["engine"]].cluster:
            times[1], peaks[0] = "", ""
        yield row(NAMES[one["engine"]], one["workers"], *times, *per_cell, *peaks, verdict)
    yield ""
    yield from header("engine", "workers", "kind of tasks", "wall", "CPU", "read", "written")
    for one, found in zip(jobs, lines, strict=True):
        kinds = found[0]["kinds"]
        for kind in kinds if len(kinds) > 1 else ():
            each = {
                of: statistics.median(line["kinds"][kind].get(of, 0) for line in found)
                for of in ("seconds", "cpu", "read", "written")
            }
            times = (f"{each[of]:.2f} s" for of in ("seconds", "cpu"))
            per_cell = (f"{each[of] / n:,.0f} B" for of in ("read", "written"))
            name = "before, between and after" if kind == CLIENT else kind
            yield row(NAMES[one["engine"]], one["workers"], name, *times, *per_cell)
    yield ""
    for name, found in held.items():
        verdict = bench.held(f"cluster, {name}, SciPy", found["worst"], SCIPY)
        if not found["runs_same"]:
            bench.failures.append(f"cluster, {name}: 1 and 2 workers give other bits")
        yield f"- {NAMES[name]}: {found['pairs']} comparisons differ from SciPy's by {verdict}"


SCIPY = {"statistic": 1e-9, "p_value": 1e-9}


def small_screen(folder: Path) -> str:
    """Return the path of a screen of three chunks of cells."""
    from screens import Shape

    return str(Shape(2_500, 120, 8, molecules=200).path(folder))


def differ(bench: Bench, job: dict[str, Any], first: Path, answer: Path) -> str:
    """Return how far an answer is from the first; one that is too far is noted as a failure."""
    import checks

    illico = job["engine"].startswith("illico")
    worst = checks.between(first, answer, list(SCIPY), but_centre=illico)
    allowed = {"statistic": 1e-6, "p_value": 1e-6} if illico else dict.fromkeys(SCIPY, 0.0)
    return bench.held(f"cluster, {job['engine']}", worst, allowed)


def typical(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Return the medians of an engine's runs."""
    found = []
    for line in lines:
        # What is read between tasks is counted by the sizes of the files.
        source = ("client", "count") if line["exchanged"] else line["kinds"]
        found.append(
            {
                "seconds": line["seconds"],
                "cpu of workers": line["cpu"].get("workers", 0),
                "cpu of client": line["cpu"][CLIENT],
                "read": sum(line["kinds"][kind]["read"] for kind in source),
                "sent": sum(n for route, n in line["sent"].items() if "scheduler" in route),
                "exchanged": sum(line["exchanged"].values()),
                "result": line["result"],
                "worker": line["peak"].get("worker", 0),
                "client": line["peak"][CLIENT],
            }
        )
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def main() -> None:
    """Run what is asked for and print one line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("engines", nargs="*", default=[], help=f"of {', '.join(ENGINES)}; all")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--reference", default=CONTROL, help="a target, or rest")
    parser.add_argument("--folder", type=Path, default=Path(".bench"), help="for environments")
    asked = parser.parse_args()
    job = job_of(asked.path, asked.folder, small_screen(asked.folder), asked.reference)
    line: dict[str, Any] = {"screen": asked.path.name, "stored": stored(job["path"]), "runs": []}
    with tempfile.TemporaryDirectory(dir=asked.folder) as temporary:
        for name in asked.engines or ENGINES:
            jobs = [with_engine(job, name, n, temporary) for n in asked.workers]
            line["runs"] += [in_process(one, asked.folder) for one in jobs]
            answers = [Path(one["answer"]) for one in jobs]
            found = against_scipy(job["path"], asked.reference, answers)
            line.setdefault("scipy", {})[name] = found
    print(json.dumps(line))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        work(json.loads(sys.argv[2]))
    else:
        main()
