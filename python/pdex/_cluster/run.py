"""What a call does with a cluster: which tasks follow each other, and what becomes of their files.

The files of a call are in a folder beside its output, whose name begins with a dot. It is removed
when the output is whole. After an error or the death of this process it stays, and the same call
goes on from it.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from pdex import _pdex
from pdex._cluster import collect, count, exchange, test
from pdex._cluster.exchange import CountFiles, bounds_of, count_files, count_source
from pdex._cluster.pool import Pool
from pdex._counting import facts_of
from pdex._description import RESULT, Description
from pdex._engine import Work, counted, numbers_of, warn_of_flat_targets
from pdex._io.dask import DaskMatrix
from pdex._io.errors import error_context
from pdex._io.groups import SKIP
from pdex._io.joined import JoinedTables
from pdex._io.many import ManySource
from pdex._io.normalize import Normalization, median_of
from pdex._io.stored import StoredMatrix
from pdex._io.tabled import TableSource
from pdex._io.tables import MANIFEST, Table, assemble
from pdex._output import save, scan_result, write_result
from pdex._places import Place, Remote, place_of, read_ipc, remove, replace_folder
from pdex._progress import Progress
from pdex._shares import Plan, Shares

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from pdex._io.source import Source
    from pdex._resources import Resources


class Which(NamedTuple):
    """Which matrix of a source is read."""

    layer: str | None
    use_raw: bool
    #: Whether the genes are those that many sources share.
    inner: bool


#: The file that a call locks.
_LOCK = "lock"


@dataclass(frozen=True)
class Scene:
    """Where a call runs: its workers, its folder of files, and its bar, which counts tasks."""

    pool: Pool
    folder: Place
    bar: Progress

    def under(self, name: str) -> Place:
        """Return a folder for some of the files, which is made if it is not there."""
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path


@contextmanager
def scratch(output: Place | None) -> Iterator[Place]:
    """Yield the folder for the files of a call; it is removed at the end, but not after an error.

    Without `output`, it is a new one in the current folder, and is removed in any case.
    """
    if output is None:
        folder: Place = Path.cwd() / f".pdex-{os.getpid()}-{os.urandom(4).hex()}"
    else:
        folder = output.with_name(f".{output.name}.work")
    folder.mkdir(exist_ok=output is not None)
    with _alone(folder, output):
        try:
            yield folder
        except BaseException:
            if output is None or {one.name for one in folder.iterdir()} <= {_LOCK}:
                remove(folder)
            raise
        remove(folder)


@contextmanager
def _alone(folder: Place, output: Place | None) -> Iterator[None]:
    """Hold a lock of the folder, which ends with this process; raise an error if another does.

    There is none in object storage, nor where the system has no such locks.
    """
    if isinstance(folder, Remote) or fcntl is None:
        yield
        return
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"{output}: another call is writing it: wait for it, or choose another name"
            raise FileExistsError(msg) from None
        except OSError:
            # Not every file system has locks.
            pass
        yield


@contextmanager
def scene_of(
    output: Place | None, limits: tuple[int | None, int | str | None], progress: bool | None
) -> Iterator[Scene]:
    """Connect the workers and probe them; remove the files of the call at the end.

    `limits` are the threads and the memory of a worker.
    """
    pool = Pool(*limits)
    bar = Progress(0, progress, unit="tasks")
    with scratch(output) as folder, closing(bar):
        pool.probe(folder)
        yield Scene(pool, folder, bar)


def check_result_folder(path: object) -> Place:
    """Return the path of a folder for a result; raise an error if there can be none."""
    if not isinstance(path, (str, os.PathLike)):
        msg = f"path must be the path of a folder; got {path!r}"
        raise TypeError(msg)
    folder = place_of(path, follow=True)
    if folder.suffix.lower() in (".parquet", ".ipc", ".arrow", ".feather", ".csv", ".tsv"):
        msg = (
            f"{str(path)!r}: engine='dask' writes a folder of Parquet files; give a name without "
            f"{folder.suffix}"
        )
        raise ValueError(msg)
    if not folder.parent.is_dir():
        msg = f"{str(path)!r}: there is no folder {str(folder.parent)!r}"
        raise FileNotFoundError(msg)
    if folder.exists() and not (folder / RESULT).is_file():
        empty = folder.is_dir() and not any(folder.iterdir())
        if not empty:
            msg = f"{str(path)!r} exists and is not a result of pdex: choose another name"
            raise FileExistsError(msg)
    return folder


# --- count --------------------------------------------------------------------------------------


def counted_on(
    scene: Scene,
    source: Source,
    which: Which,
    groups: tuple[npt.NDArray[np.uint32], int],
    genes: npt.NDArray[np.uint32],
    n_blocks: int,
    resources: Resources,
) -> CountFiles:
    """Count the cells of a source on the workers, and return the files of counts.

    Parameters
    ----------
    scene
        Where it runs.
    source, which
        A source of cells, and which of its matrices it is.
    groups
        The group of each cell, SKIP for cells that are left out, and how many groups there are.
    genes
        The genes to count, by their numbers.
    n_blocks
        Into how many blocks genes are cut.
    resources
        What this process may use.
    """
    codes, n_groups = groups
    wanted = np.zeros(len(source.var_names), dtype=np.bool_)
    wanted[genes] = True
    stored = source.stored_names or source.var_names
    names = pl.DataFrame({"shared": stored, "name": source.var_names, "wanted": wanted})
    # By its content: tasks of a call for other genes, whose client died, may read theirs yet.
    known = hashlib.sha256(json.dumps(names.to_dict(as_series=False), default=list).encode())
    genes_file = scene.folder / f"names-{known.hexdigest()[:16]}.parquet"
    if not genes_file.is_file():
        save(names, genes_file)
    nothing = pl.DataFrame({"cells": pl.Series([], dtype=pl.UInt64)})
    facts = facts_of(source, [], nothing, 1, whole=False) | {"part": None}
    of = count.Counting(
        which.layer,
        which.use_raw,
        source.normalization,
        which.inner and isinstance(source, ManySource),
        facts,
        str(genes_file),
        n_blocks,
        _parts_of(source, n_blocks, resources),
        str(count.write_groups(codes, scene.folder)),
        n_groups,
    )
    folder = scene.under("counts")
    if source.normalization is not None and source.normalization.target is None:
        of = replace(of, normalization=_of_median(scene, source, of, resources))
    if isinstance(source.x, DaskMatrix):
        blocks, inputs = count.blocks_of(source, of, codes, folder)
        counts = scene.pool.run(count.count_blocks, blocks, scene.bar, inputs)
    else:
        tasks = count.counts_of(source, of, codes, folder)
        counts = scene.pool.run(count.count, tasks, scene.bar)
    bounds = bounds_of(len(genes), n_blocks, of.parts)
    return count_files(counts, bounds, facts, (n_groups, len(genes)))


def _parts_of(source: Source, n_blocks: int, resources: Resources) -> int:
    """Return into how many parts the counts of a block of genes are cut."""
    if not isinstance(source.x, StoredMatrix):
        return 1
    with error_context(source.path):
        # A value takes 4 to 12 bytes.
        n_values = source.x.n_bytes((resources.threads, None)) // 8
    return max(1, n_values // n_blocks // exchange.PART)


def _of_median(
    scene: Scene, source: Source, of: count.Counting, resources: Resources
) -> Normalization:
    """Find the median of the totals of all chosen cells; return the normalization to it."""
    assert source.scaler is not None
    chosen = source.chosen
    if chosen is None:
        chosen = np.ones(source.obs.height, dtype=np.bool_)
    if isinstance(source.x, DaskMatrix):
        totals = source.scaler.totals(source.x, resources, None)[chosen]
    else:
        codes = np.where(chosen, np.uint32(0), SKIP).astype(np.uint32)
        tasks = count.totals_of(
            count.counts_of(source, of, codes, scene.folder), scene.under("totals")
        )
        parts = []
        for one, file in zip(tasks, scene.pool.run(count.total, tasks, scene.bar), strict=True):
            first, last = (one.of.start + cell for cell in one.of.cells)
            found = read_ipc(place_of(file))["total"].to_numpy()
            parts.append(found[chosen[first:last]])
        totals = np.concatenate(parts)
    return Normalization(median_of(totals), source.scaler.normalization.log1p)


def blocks_of(n_genes: int, width: int) -> int:
    """Return into how many blocks genes are cut; the same for a screen, whatever the cluster.

    `width` is the number of targets or groups that each gene has numbers for.
    """
    genes = max(1, min(test.GENES, test.NUMBERS // max(1, width)))
    return max(1, -(-n_genes // genes))


# --- test ---------------------------------------------------------------------------------------


def tested(
    scene: Scene, work: Work, about: Description, targets: list[str], which: Which
) -> Shares:
    """Test all genes on the workers, and return the shares of the numbers.

    Parameters
    ----------
    scene
        Where it runs.
    work, about, targets
        What is to be done, as on one machine, its description, and the names of the targets.
    which
        Which matrix of the source is read, if it is no count table.
    """
    genes, source = work.genes, work.source
    n = blocks_of(len(genes), len(targets))
    if not isinstance(source, TableSource):
        compared = work.comparison
        groups = numbers_of(compared)
        counts = counted_on(scene, source, which, groups, genes, n, work.resources)
        compared = counted(compared)
        names = [source.var_names[gene] for gene in genes]
        assert compared.cells is not None
        source = count_source(counts, names, compared.cells)
        genes = np.arange(len(genes), dtype=np.uint32)
        work = Work(source, genes, compared, work.question, work.finish, work.resources)
    plan = Plan.of(work, targets, about)
    digest = plan.digest()
    folder = scene.under(f"test-{digest[:16]}")
    shares = scene.under(f"shares-{digest[:16]}")
    test.write_plan(folder, plan)
    compared = work.comparison
    columns = {"code": compared.codes, "stratum": np.full(len(compared.codes), SKIP, np.uint32)}
    if compared.strata is not None:
        columns["stratum"] = compared.strata[0]
    assert compared.cells is not None
    frame = pl.DataFrame(columns | {"cells": compared.cells})
    _write_tables(folder, source, genes, frame)
    tasks = [test.Test(str(folder), str(shares), i + 1, n, digest) for i in range(n)]
    scene.pool.run(test.test, tasks, scene.bar)
    return Shares(shares)


def _write_tables(
    folder: Place,
    source: TableSource,
    genes: npt.NDArray[np.uint32],
    groups: pl.DataFrame,
) -> None:
    """Write what tells workers which counts there are, and which genes and groups are wanted."""
    wanted = np.zeros(len(source.var_names), dtype=np.bool_)
    wanted[genes] = True
    names = pl.DataFrame({"name": source.var_names, "wanted": wanted})
    data: CountFiles | list[str]
    if isinstance(source.x, CountFiles):
        data = source.x
    else:
        tables = source.x.tables if isinstance(source.x, JoinedTables) else [source.x]
        data = [str(table.folder) for table in tables]
    test.Tabled(folder).write(data, names, groups)


# --- collect ------------------------------------------------------------------------------------


def framed(shares: Shares, work: Work) -> pl.DataFrame:
    """Return the table of all targets and genes, in memory."""
    own = shares.work(work.resources)
    n_targets = len(shares.plan.targets)
    (frame,) = own.frames(shares, shares.plan.targets, n_targets)
    warn_of_flat_targets(own)
    return frame


def written(scene: Scene, shares: Shares, work: Work, output: Place) -> pl.LazyFrame:
    """Write the table as Parquet files in a folder that appears when it is whole; return a scan."""
    plan, adjusted = shares.plan, None
    digest = plan.digest()[:16]
    if plan.fdr == "all":
        adjusts = collect.adjusts_of(shares, scene.under(f"adjusted-{digest}"))
        adjusted = collect.carried(scene.pool.run(collect.adjust, adjusts, scene.bar))
    result = made = scene.under(f"parts-{digest}")
    tasks = collect.collects_of(shares, made, adjusted)
    parts: list[collect.Collected] = scene.pool.run(collect.collect, tasks, scene.bar)
    facts = [{"file": p.file, "rows": p.rows, "bytes": p.bytes, "sha256": p.sha256} for p in parts]
    if isinstance(made, Path):
        # Apart from what workers left that died, or may yet write that were taken for dead.
        result = whole = made.with_name(f"result-{digest}")
        remove(whole)
        whole.mkdir()
        for part in parts:
            (made / part.file).rename(whole / part.file)
    write_result(result, Description(**plan.description), facts)
    replace_folder(result, output, RESULT)
    own = shares.work(work.resources)
    own.flat = sum(part.flat for part in parts)
    warn_of_flat_targets(own)
    return scan_result(output)


# --- count tables for the caller ----------------------------------------------------------------


def tabulated(
    scene: Scene,
    source: Source,
    which: Which,
    groups: tuple[npt.NDArray[np.uint32], pl.DataFrame],
    genes: npt.NDArray[np.uint32],
    facts: dict[str, Any],
    resources: Resources,
    output: Place,
) -> None:
    """Count the cells of a source on the workers, and write one table of all.

    Parameters
    ----------
    scene, source, which, genes, resources
        As :func:`counted_on` takes them; the source may be count tables, too.
    groups
        The group of each cell, or of each group of the source, and the groups: labels and cells.
    facts
        What the manifest says of the source.
    output
        The folder.
    """
    codes, labels = groups
    n = blocks_of(len(genes), labels.height)
    names = [source.var_names[gene] for gene in genes]
    if isinstance(source, TableSource):
        assert source.cells is not None
        found, cells = source, source.cells
    else:
        cells = labels["cells"].to_numpy()
        counts = counted_on(scene, source, which, (codes, labels.height), genes, n, resources)
        found = count_source(counts, names, cells)
        genes = np.arange(len(genes), dtype=np.uint32)
        codes = np.arange(labels.height, dtype=np.uint32)
    made_of = [_pdex.__version__, found.versions(), facts, labels.to_dict(as_series=False), names]
    known = hashlib.sha256(json.dumps(made_of, default=str).encode())
    known.update(codes.tobytes())
    known.update(genes.tobytes())
    digest = known.hexdigest()[:16]
    folder, merged = scene.under(f"merge-{digest}"), scene.under(f"merged-{digest}")
    save(labels, folder / "labels.parquet")
    frame = pl.DataFrame({"code": codes, "cells": cells})
    _write_tables(folder, found, genes, frame)
    tasks = [
        test.Merge(str(folder), str(merged / f"{i}-of-{n}.tables"), i, n, facts)
        for i in range(1, n + 1)
    ]
    blocks = [Table(place_of(table)) for table in scene.pool.run(test.merge, tasks, scene.bar)]
    if source.normalization is not None:
        most = max(block.manifest.values["most"] for block in blocks)
        facts["values"] |= {"least": 0.0, "most": most, "fractional": True}
    whole = scene.folder / f"whole-{digest}"
    remove(whole)
    different = f"-{digest[:8]}" if isinstance(whole, Remote) else ""
    assemble(whole, blocks, labels, names, facts, different)
    replace_folder(whole, output, MANIFEST)
