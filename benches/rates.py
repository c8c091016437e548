"""Measures what model.py computes with, on screens made here and a cluster of this machine.

Tasks run on one worker of one thread; a task's work is the CPU time of the worker's process
meanwhile. Rates are fitted to tasks of different sizes: few and many groups, one table and many.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import report
from engines import on_disk
from model import Rates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

#: Cells, genes and molecules of a cell of the screen; a label column for each number of groups.
CELLS, GENES, MOLECULES = 48_000, 62_710, 2_000
GROUPS = (10, 60, 400)
#: Numbers of count tasks: each reads a part of a file, as of a large one.
TABLES = (2, 16)
#: Cells of the screen that has little else.
LABELS = 2_000_000
#: Tasks that do nothing.
TRIVIAL = 400
ROUNDS = 2


# --- screens ------------------------------------------------------------------------------------


def wide(folder: Path, storage: str) -> Path:
    """Return the path of a screen of many genes; each cell draws its molecules from one mixture."""
    path = folder / f"rates-{CELLS}-{GENES}-{MOLECULES}-{storage}.h5ad"
    if path.exists():
        return path
    import anndata as ad
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    mean = rng.lognormal(0, 2.5, GENES)
    ends = np.cumsum(mean / mean.sum())
    blocks = []
    for _ in range(0, CELLS, 2_000):
        depth = rng.poisson(MOLECULES * rng.lognormal(0, 0.35, 2_000))
        cell = np.repeat(np.arange(2_000), depth)
        gene = np.minimum(np.searchsorted(ends, rng.random(len(cell))), GENES - 1)
        counts = np.ones(len(cell), dtype=np.float32)
        block = sp.csr_matrix((counts, (cell, gene)), shape=(2_000, GENES))
        block.sum_duplicates()
        block.sort_indices()
        blocks.append(block)
    obs = {f"of {n}": labels(rng.integers(0, n, CELLS), n) for n in GROUPS}
    adata = ad.AnnData(
        sp.vstack(blocks, format="csr"),
        obs=pd.DataFrame(obs, index=np.arange(CELLS).astype(str)),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(GENES)]),
    )
    write(adata, path, storage)
    return path


def long(folder: Path) -> Path:
    """Return the path of a screen of many cells, most of which are empty."""
    path = folder / f"rates-{LABELS}.h5ad"
    if not path.exists():
        import anndata as ad
        import numpy as np
        import pandas as pd
        import scipy.sparse as sp

        rng = np.random.default_rng(0)
        n = LABELS // 100
        place = (rng.choice(LABELS, n, replace=False), rng.integers(0, 20, n))
        x = sp.csr_matrix((np.ones(n, np.float32), place), shape=(LABELS, 20))
        names = np.arange(LABELS).astype(str)
        obs = pd.DataFrame({"of 100": labels(rng.integers(0, 100, LABELS), 100)}, index=names)
        write(ad.AnnData(x, obs=obs), path, "none")
    return path


def standard(folder: Path) -> Path:
    """Return the path of the standard screen, where more genes are expressed in each cell."""
    from screens import Shape, in_file

    screen = str(Shape(30_000, 8_000, 200).path(folder))
    return in_file(screen, ("counts", "csr", "none"), folder)


def labels(codes: Any, n: int) -> Any:
    """Return labels, the last of which is the reference."""
    import pandas as pd

    names = [*(f"T{number:05}" for number in range(n - 1)), "non-targeting"]
    return pd.Categorical.from_codes(codes, names)


def write(adata: Any, path: Path, storage: str) -> None:
    """Write a screen."""
    partial = path.with_suffix(".part.h5ad")
    adata.write_h5ad(partial, compression=None if storage == "none" else storage)
    partial.rename(path)


# --- runs ---------------------------------------------------------------------------------------


def log_tasks() -> None:
    """Note, from now on, what each task of this process takes."""
    from pdex._cluster import pool

    if not hasattr(pool, "log"):
        perform = pool.perform

        def timed(call: Any, *inputs: Any) -> Any:
            start = time.process_time()
            found = perform(call, *inputs)
            pool.log.append((call.function.__name__, time.process_time() - start))
            return found

        pool.perform = timed
    pool.log = []


def logged() -> list[tuple[str, float]]:
    """Return what each task took: kind and CPU."""
    from pdex._cluster import pool

    return pool.log


class Run:
    """What a call took, and the sizes of its files.

    Parameters
    ----------
    client
        Of the workers.
    path, groupby
        A screen in one file, and its column of labels.
    tables
        The number of count tasks.
    folder
        For the result.
    """

    def __init__(self, client: Client, path: Path, groupby: str, tables: int, folder: Path) -> None:
        import pdex
        from pdex._cluster import count, run
        from pdex._cluster.pool import Pool

        self.storage, self.tables = path.stem.rsplit("-", 1)[-1], tables
        self._open(path)
        client.run(log_tasks)
        output = folder / "result"
        shutil.rmtree(output, ignore_errors=True)
        points: list[float] = []
        of_pool, remove, task = Pool.run, run.remove, count.TASK

        def running(pool: Any, *args: Any) -> Any:
            points.append(time.process_time())
            found = of_pool(pool, *args)
            points.append(time.process_time())
            return found

        def removing(folder: Path) -> None:
            if folder.name.endswith(".work"):
                self._look(folder)
            remove(folder)

        try:
            Pool.run, run.remove = running, removing
            count.TASK = math.ceil(self.in_memory / tables)
            start = time.perf_counter()
            points.append(time.process_time())
            pdex.sink_de(path, groupby, output, engine="dask", progress=False)
            points.append(time.process_time())
            self.seconds = time.perf_counter() - start - self._looked[0]
        finally:
            Pool.run, run.remove, count.TASK = of_pool, remove, task
        #: CPU of the client, before count, test and collect tasks, and after the last.
        self.alone = [points[i + 1] - points[i] for i in range(0, len(points), 2)]
        self.alone[-1] -= self._looked[1]
        #: CPU of each task, by kind.
        self.cpu: dict[str, list[float]] = {}
        for tasks in client.run(logged).values():
            for kind, cpu in tasks:
                self.cpu.setdefault(kind, []).append(cpu)
        self.numbers = (self.groups - 1) * self.genes
        self.result = on_disk(output)

    def cpu_of(self, kind: str) -> float:
        """Return the CPU seconds of all tasks of a kind."""
        return sum(self.cpu[kind])

    def _open(self, path: Path) -> None:
        """Note the bytes of the matrix in the file and while it is counted, and its values."""
        import h5py
        from cluster import stored
        from pdex._io.opening import open_source

        self.stored_matrix = stored(str(path))
        with h5py.File(path) as file:
            self.values, self.cells = len(file["X/data"]), len(file["X/indptr"]) - 1
        with open_source(str(path), None, False) as source:
            self.in_memory = source.x.n_bytes((1, None))

    def _look(self, folder: Path) -> None:
        """Note the sizes of the files that go from task to task, and what reading them takes."""
        start, cpu = time.perf_counter(), time.process_time()
        counts, (data,) = folder / "counts", folder.glob("test-*/data.json")
        facts = json.loads(data.read_text())
        self.rows, self.stored = facts["manifest"]["n_rows"], on_disk(counts)
        self.parts = (len(facts["bounds"]) - 1) * len(facts["files"])
        self.groups, self.genes = facts["manifest"]["n_groups"], facts["manifest"]["n_genes"]
        (shares,) = folder.glob("shares-*")
        self.shares = on_disk(shares)
        self.n_shares = len(list(shares.iterdir()))
        self._looked = (time.perf_counter() - start, time.process_time() - cpu)


def fitted(lines: list[tuple[list[float], float]]) -> list[float]:
    """Return what each unit costs, none below 0, given amounts and costs of some runs."""
    import numpy as np
    from scipy.optimize import nnls

    amounts, costs = (np.array(side, dtype=float) for side in zip(*lines, strict=True))
    # Errors are relative, and amounts of like size.
    scale = amounts.max(axis=0)
    found, _ = nnls(amounts / scale / costs[:, None], np.ones(len(costs)))
    return (found / scale).tolist()


def measure(folder: Path) -> Rates:
    """Return the rates of this machine."""
    os.environ["POLARS_MAX_THREADS"] = "1"
    folder.mkdir(exist_ok=True)
    folder = folder.resolve()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        scratch = Path(temporary)
        with cluster_of(1) as client:
            for number, (storage, n, tables) in enumerate(questions()):
                path = wide(folder, storage)
                # The first run imports, and large ones need no repetition.
                for round_ in range((number == 0) + (ROUNDS if n < GROUPS[-1] else 1)):
                    run = Run(client, path, f"of {n}", tables, scratch)
                    say(run)
                    runs += [] if number == round_ == 0 else [run]
            dense = [
                Run(client, standard(folder), "target", tables, scratch)
                for tables in (1, 4)
                for _ in range(ROUNDS)
            ]
            of_labels = [
                Run(client, long(folder), "of 100", tables, scratch)
                for tables in (1, *TABLES * ROUNDS)
            ]
        with cluster_of(2):
            trivial = [dask_task(scratch) for _ in range(ROUNDS + 1)]
        rates = rates_of(runs, dense, of_labels[1:], trivial[1:])
        today = datetime.date.today().isoformat()
        found = checks(folder, scratch)
    return Rates(machine=f"{today}, {report.machine()}", checks=found, **rates)


def questions() -> Iterator[tuple[str, int, int]]:
    """Yield storage, number of groups and number of count tasks of each run."""
    for n in GROUPS:
        for tables in TABLES:
            yield "none", n, tables
    yield "gzip", GROUPS[0], TABLES[0]


@contextmanager
def cluster_of(workers: int) -> Iterator[Client]:
    """Connect a client to so many workers of one thread."""
    from distributed import Client, LocalCluster

    local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**local) as cluster, Client(cluster) as client:
        yield client


def say(run: Run) -> None:
    """Print what a run took."""
    each = {kind: (len(cpu), round(sum(cpu), 2)) for kind, cpu in run.cpu.items()}
    print(run.storage, run.groups, run.tables, round(run.seconds, 2), each, file=sys.stderr)


def dask_task(folder: Path) -> float:
    """Return the seconds of a task that does nothing, from the client and back."""
    from pdex._cluster.pool import Pool
    from pdex._progress import Progress

    pool = Pool(None, None)
    pool.probe(folder)
    start = time.perf_counter()
    pool.run(nothing, [Trivial(number) for number in range(TRIVIAL)], Progress(0, False))
    return (time.perf_counter() - start) / TRIVIAL


class Trivial:
    """A task that does nothing."""

    def __init__(self, number: int) -> None:
        self.what = f"task {number}"


def nothing(task: Trivial, _: Any) -> str:
    """Return a name, as other tasks do."""
    return task.what


def rates_of(
    runs: list[Run], dense: list[Run], of_labels: list[Run], trivial: list[float]
) -> dict[str, Any]:
    """Return the rates that runs show, those of the standard screen among them."""
    wide = [run for run in runs if run.storage == "none"]
    plain = [*wide, *dense]
    packed = [run for run in runs if run.storage == "gzip"]
    value, row, pair, of_part = fitted(
        [
            ([run.values, run.rows, run.tables * run.genes * run.groups, run.parts],
             run.cpu_of("count"))
            for run in plain
        ]
    )  # fmt: skip
    label, cell = fitted(
        [([run.tables * run.cells, run.cells], run.cpu_of("count")) for run in of_labels]
    )
    row_bytes, part_bytes = fitted([([run.rows, run.parts], run.stored) for run in plain])
    merged, number, part, block = fitted(
        [([run.rows, run.numbers, run.parts, run.n_shares], run.cpu_of("test")) for run in plain]
    )
    completed, share = fitted(
        [
            ([run.numbers, run.n_shares * len(run.cpu["collect"])], run.cpu_of("collect"))
            for run in plain
        ]
    )
    gzip = statistics.median(
        run.cpu_of("count")
        - run.rows * row
        - run.tables * run.genes * run.groups * pair
        - run.parts * of_part
        for run in packed
    )
    few, many = (
        statistics.median(sum(run.alone) for run in wide if run.tables == n) for n in TABLES
    )
    each = max(0.0, (many - few) / (TABLES[-1] - TABLES[0]))
    start = statistics.median(run.alone[0] for run in wide)
    at_labels = statistics.median(run.alone[0] for run in of_labels)
    points = {run.cells / run.tables / run.groups: run.rows / run.values for run in wide}
    return {
        "count_value": {"none": value, "gzip": gzip / packed[0].values},
        "value_bytes": {one[0].storage: one[0].stored_matrix / one[0].values
                        for one in (plain, packed)},
        "memory_bytes": plain[0].in_memory / plain[0].values,
        "count_row": row,
        "count_pair": pair,
        "count_cell": cell,
        "count_label": label,
        "count_part": of_part,
        "row_bytes": row_bytes,
        "part_bytes": part_bytes,
        "distinct": sorted(points.items()),
        "test_row": merged,
        "test_number": number,
        "test_part": part,
        "test_task": block,
        "share_bytes": statistics.median(run.shares / run.numbers for run in plain),
        "result_bytes": statistics.median(run.result / run.numbers for run in plain),
        "collect_number": completed,
        "collect_share": share,
        "client_call": few - TABLES[0] * each,
        "client_table": each,
        "client_label": max(0.0, (at_labels - start) / LABELS),
        "dask_task": statistics.median(trivial),
    }  # fmt: skip


def checks(folder: Path, scratch: Path) -> list[dict[str, Any]]:
    """Time another screen on 1 and 2 workers, with what the model needs to know of it."""
    from screens import Shape, in_file

    screen = str(Shape(120_000, 2_000, 200, 2_750).path(folder))
    found = []
    for storage in ("none", "gzip"):
        path = in_file(screen, ("counts", "csr", storage), folder)
        for workers in (1, 2):
            with cluster_of(workers) as client:
                runs = [Run(client, path, "target", 4, scratch) for _ in range(ROUNDS + 2)]
            run = runs[1]
            say(run)
            found.append(
                {
                    "workers": workers, "cells": run.cells, "groups": run.groups,
                    "genes": run.genes, "values": run.values / run.cells, "storage": storage,
                    "task": math.ceil(run.in_memory / run.tables),
                    "rows": run.rows / run.tables,
                    "seconds": statistics.median(one.seconds for one in runs[1:]),
                    "cpu": statistics.median(
                        sum(map(sum, one.cpu.values())) for one in runs[1:]
                    ),
                }
            )  # fmt: skip
    return found


def main(folder: str) -> None:
    """Measure, and keep what is found."""
    measure(Path(folder)).write()
