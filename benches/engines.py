"""What tests a screen on a Dask cluster, or here, and what is noted of its files.

Each engine runs in an environment of its own: only the standard library and distributed up here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from distributed import Client

    Answer = dict[str, Any]

GROUPBY = "target"


class Asked(NamedTuple):
    """What is to be tested."""

    path: str
    reference: str
    #: Workers of a cluster, or threads.
    workers: int
    #: Where a result may be written.
    output: Path
    #: Takes the numbers of all processes; of engines that have kinds of tasks, around each kind.
    mark: Callable[[str], None]


class Engine(NamedTuple):
    """What tests a screen."""

    #: Of a client (None: there is no cluster) and what is asked; what it does is timed.
    run: Callable[[Client | None, Asked], Any]
    #: Makes the grid of worker.py of what run returns and the reference.
    answer: Callable[[Any, str], Answer]
    #: What workers import before they are watched.
    imports: tuple[str, ...] = ()
    #: Its environment among sides.PEERS; this one where None.
    peer: str | None = None
    #: Whether it runs on a cluster.
    cluster: bool = True
    #: Whether it is Polars that has threads, which are limited.
    polars: bool = False


def illico_engine(_: Client | None, asked: Asked, batch_size: int | str = "auto") -> Any:
    """Give illico a lazy AnnData: it computes the columns of each batch of genes, on the client."""
    import h5py
    from anndata.experimental import read_lazy
    from illico import asymptotic_wilcoxon

    # It has no argument for a client: Dask computes with the last one that was made.
    reference = None if asked.reference == "rest" else asked.reference
    with h5py.File(asked.path) as file:
        # Its page on data out of core has two threads: one waits for Dask while the other tests.
        return asymptotic_wilcoxon(
            read_lazy(file), is_log1p=False, group_keys=GROUPBY, n_threads=2,
            reference=reference, batch_size=batch_size,
        )  # fmt: skip


def illico_large_engine(client: Client | None, asked: Asked) -> Any:
    """Let illico take 1,024 genes at once, as its page advises for CSR chunks against the rest."""
    return illico_engine(client, asked, batch_size=1_024)


def illico_answer(table: Any, reference: str) -> Answer:
    """Return the grid of illico's data frame; it lists the reference against itself, too."""
    from worker import grid

    table = table.drop(index=reference, errors="ignore")
    names = (table.index.get_level_values(level).to_numpy() for level in ("pert", "feature"))
    return grid(*names, {name: table[name] for name in ("statistic", "p_value")})


def options(asked: Asked) -> dict[str, Any]:
    """Return the arguments of pdex; illico has p-values of the normal curve only."""
    return {"reference": asked.reference, "method": "asymptotic", "progress": False}


def pdex_engine(_: Client | None, asked: Asked) -> Any:
    """Write the result to a folder; return it with the sizes of the files between tasks."""
    import pdex

    with Between(asked.mark) as between:
        table = pdex.sink_de(
            asked.path, GROUPBY, asked.output, engine="dask", **options(asked)
        )  # fmt: skip
    return Written(table, asked.output, between.sizes)


def pdex_here_engine(_: Client | None, asked: Asked) -> Any:
    """Write the result to a file, without Dask."""
    import pdex

    path = asked.output.with_suffix(".parquet")
    table = pdex.sink_de(asked.path, GROUPBY, path, threads=asked.workers, **options(asked))
    return Written(table, path, {})


class Written(NamedTuple):
    """A result on disk."""

    table: Any
    path: Path
    #: Bytes of the files that went from task to task, by kind.
    exchanged: dict[str, int]


def pdex_answer(found: Written, _: str) -> Answer:
    """Return the grid of a result."""
    from worker import frame_grid

    return frame_grid(found.table.collect(), ("statistic", "p_value", "auroc"))


class Between:
    """Notes the sizes of pdex's files between tasks, and calls `mark` around each kind of tasks.

    Shares are mapped into memory when they are read, so /proc does not count that.
    """

    def __init__(self, mark: Callable[[str], None]) -> None:
        from pdex._cluster import pool, run

        self._pool, self._run, self._mark = pool.Pool, run, mark
        self._of_pool, self._remove = pool.Pool.run, run.remove
        #: Bytes of files by kind: counts, totals, shares, adjusted, and the rest.
        self.sizes: dict[str, int] = {}

    def __enter__(self) -> Between:
        def run(pool: Any, function: Any, *args: Any) -> Any:
            self._mark(function.__name__)
            found = self._of_pool(pool, function, *args)
            self._mark("client")
            return found

        def remove(folder: Path) -> None:
            if folder.name.endswith(".work"):
                self._look(folder)
            self._remove(folder)

        self._pool.run, self._run.remove = run, remove
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.run, self._run.remove = self._of_pool, self._remove

    def _look(self, folder: Path) -> None:
        for path in folder.iterdir():
            kind = path.name.split("-")[0] if path.is_dir() else "rest"
            self.sizes[kind] = self.sizes.get(kind, 0) + on_disk(path)


def on_disk(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(one.stat().st_size for one in files if one.is_file())


class Marks:
    """Numbers of all processes at points in time, without the time that it takes to ask.

    Parameters
    ----------
    numbers
        Returns those of each process.
    """

    def __init__(self, numbers: Callable[[], dict[str, Any]]) -> None:
        self._numbers = numbers
        self._lost = 0.0
        #: What begins, when, and the numbers then.
        self.points: list[tuple[str, float, dict[str, Any]]] = []

    def __call__(self, name: str) -> None:
        """Note that another kind of work begins."""
        start = time.perf_counter()
        found = self._numbers()
        now = time.perf_counter()
        self._lost += now - start
        self.points.append((name, now - self._lost, found))


LAZY = ("anndata.experimental", "dask.array", "h5py", "scipy.sparse")
TASKS = ("pdex._cluster.run",)
ENGINES = {
    "pdex": Engine(pdex_engine, pdex_answer, TASKS, polars=True),
    "pdex-here": Engine(pdex_here_engine, pdex_answer, cluster=False, polars=True),
    "illico": Engine(illico_engine, illico_answer, LAZY, "illico-dask"),
    "illico-1024": Engine(illico_large_engine, illico_answer, LAZY, "illico-dask"),
}
