"""What a call does with a cluster: which tasks follow each other, and what becomes of their files.

The files of a call are in a folder beside its output, whose name begins with a dot. It is removed
when the output is whole. After an error or the death of this process it stays, and the same call
goes on from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pdex._cluster import collect, count, test
from pdex._cluster.pool import Pool
from pdex._counting import combined, facts_of
from pdex._description import RESULT, Description
from pdex._engine import Work, warn_of_flat_targets
from pdex._io.dask import DaskMatrix
from pdex._io.groups import SKIP
from pdex._io.joined import JoinedTables
from pdex._io.normalize import Normalization, median_of
from pdex._io.tabled import TableSource, joined_source
from pdex._io.tables import MANIFEST, Table, assemble
from pdex._output import save, scan_result, write_result
from pdex._places import Place, place_of, read_ipc, remove, replace_folder
from pdex._progress import Progress
from pdex._shares import Plan, Shares
from pdex.exceptions import PdexWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from pdex._engine import Comparison
    from pdex._io.source import Source
    from pdex._resources import Resources


@dataclass(frozen=True)
class Selection:
    """Which cells of a source are counted, by which labels."""

    columns: list[str]
    layer: str | None
    use_raw: bool
    where: pl.Expr | str | None
    #: Whether the genes are those that many sources share.
    inner: bool
    #: Labels of the first column whose cells are groups of their own.
    single: list[str] = field(default_factory=list)
    #: Labels of the first column that are counted; None: all.
    keep: list[str] | None = None
    #: The labels of columns, in order.
    order: dict[str, list[str]] = field(default_factory=dict)


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
    try:
        yield folder
    except BaseException:
        if output is None or not any(folder.iterdir()):
            remove(folder)
        raise
    remove(folder)


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
    folder = place_of(path)
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


def counted(
    scene: Scene,
    source: Source,
    selection: Selection,
    genes: npt.NDArray[np.uint32],
    resources: Resources,
) -> TableSource:
    """Count the cells of a source on the workers, and return the tables of all as one source.

    Parameters
    ----------
    scene
        Where it runs.
    source
        A source of cells, opened and restricted as the call asks for.
    selection
        The same for the workers, and the labels.
    genes
        The genes to count, by their numbers.
    resources
        What this process may use.
    """
    count.check_where(source, selection.where)
    wanted = np.zeros(len(source.var_names), dtype=np.bool_)
    wanted[genes] = True
    stored = source.stored_names or source.var_names
    names = pl.DataFrame({"shared": stored, "name": source.var_names, "wanted": wanted})
    # By its content: tasks of a call for other genes, whose client died, may read theirs yet.
    known = hashlib.sha256(json.dumps(names.to_dict(as_series=False)).encode()).hexdigest()
    genes_file = scene.folder / f"names-{known[:16]}.parquet"
    save(names, genes_file)
    nothing = pl.DataFrame({"cells": pl.Series([], dtype=pl.UInt64)})
    facts = facts_of(source, selection.columns, nothing, 1) | {"sources": [], "part": None}
    asked = count.Asked(
        selection.columns,
        selection.single,
        selection.layer,
        selection.use_raw,
        source.normalization,
        selection.where,
        selection.keep,
        selection.inner,
        facts,
        str(genes_file),
        blocks_of(len(genes)),
    )
    folder = scene.under("counts")
    if source.normalization is not None and source.normalization.target is None:
        asked = replace(asked, normalization=_of_median(scene, source, asked, resources))
    if isinstance(source.x, DaskMatrix):
        groups = combined(source, selection.columns, selection.single)
        tasks, blocks = count.blocks_of(source, asked, groups, folder)
        tables = scene.pool.run(count.count_blocks, tasks, scene.bar, blocks)
    else:
        tables = scene.pool.run(count.count, count.counts_of(source, asked, folder), scene.bar)
    joined = JoinedTables([Table(place_of(table)) for table in tables], alike=True)
    found = joined_source(joined, names["name"].filter(names["wanted"]).to_list())
    found.order = selection.order
    return found


def _of_median(
    scene: Scene, source: Source, asked: count.Asked, resources: Resources
) -> Normalization:
    """Find the median of the totals of all cells; return the normalization to that number."""
    assert source.scaler is not None
    chosen = source.chosen
    if isinstance(source.x, DaskMatrix):
        totals = source.scaler.totals(source.x, resources, None)
        totals = totals if chosen is None else totals[chosen]
    else:
        tasks = count.totals_of(
            count.counts_of(source, asked, scene.under("counts")), scene.under("totals")
        )
        files = scene.pool.run(count.total, tasks, scene.bar)
        totals = np.concatenate([read_ipc(place_of(file))["total"].to_numpy() for file in files])
    return Normalization(median_of(totals), source.scaler.normalization.log1p)


def blocks_of(n_genes: int) -> int:
    """Return into how many blocks genes are cut; the same for a screen, whatever the cluster."""
    return max(1, -(-n_genes // test.GENES))


# --- test ---------------------------------------------------------------------------------------


def tested(
    scene: Scene,
    work: Work,
    about: Description,
    targets: list[str],
    selection: Selection,
    again: Callable[[Source], Comparison],
) -> Shares:
    """Test all genes on the workers, and return the shares of the numbers.

    Parameters
    ----------
    scene
        Where it runs.
    work, about, targets
        What is to be done, as on one machine, its description, and the names of the targets.
    selection
        Which cells are counted, if the source is no count table.
    again
        Returns the comparison of the groups of count tables.
    """
    genes, source = work.genes, work.source
    if not isinstance(source, TableSource):
        source = counted(scene, source, selection, genes, work.resources)
        genes = np.arange(len(genes), dtype=np.uint32)
        with warnings.catch_warnings():
            # They were issued for the cells.
            warnings.simplefilter("ignore", PdexWarning)
            compared = again(source)
        work = Work(source, genes, compared, work.question, work.finish, work.resources)
    plan = Plan.of(work, targets, about)
    digest = plan.digest()
    folder = scene.under(f"test-{digest[:16]}")
    shares = scene.under(f"shares-{digest[:16]}")
    test.write_plan(folder, plan)
    compared, groups = work.comparison, {}
    groups["code"] = compared.codes
    groups["stratum"] = np.full(len(compared.codes), SKIP, dtype=np.uint32)
    if compared.strata is not None:
        groups["stratum"] = compared.strata[0]
    assert compared.cells is not None
    _write_tables(folder, source, genes, pl.DataFrame(groups | {"cells": compared.cells}))
    n = blocks_of(len(genes))
    tasks = [test.Test(str(folder), str(shares), i + 1, n, digest) for i in range(n)]
    scene.pool.run(test.test, tasks, scene.bar)
    return Shares(shares)


def _write_tables(
    folder: Place, source: TableSource, genes: npt.NDArray[np.uint32], groups: pl.DataFrame
) -> None:
    """Write what tells workers which tables there are, and which genes and groups are wanted."""
    wanted = np.zeros(len(source.var_names), dtype=np.bool_)
    wanted[genes] = True
    names = pl.DataFrame({"name": source.var_names, "wanted": wanted})
    test.Tabled(folder).write([str(one.folder) for one in tables_of(source)], names, groups)


def tables_of(source: TableSource) -> list[Table]:
    """Return the count tables of a source."""
    return source.x.tables if isinstance(source.x, JoinedTables) else [source.x]


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
    selection: Selection,
    genes: npt.NDArray[np.uint32],
    resources: Resources,
    output: Place,
) -> None:
    """Count the cells of a source on the workers, and write one table of all."""
    if isinstance(source, TableSource):
        found, first = source, genes
    else:
        found = counted(scene, source, selection, genes, resources)
        first = np.arange(len(genes), dtype=np.uint32)
    codes, labels = combined(found, selection.columns, selection.single)
    facts = facts_of(source, selection.columns, labels, 1) | {"part": None}
    if source.normalization is not None:
        most = max(table.manifest.values["most"] for table in tables_of(found))
        facts["values"] |= {"least": 0.0, "most": most, "fractional": True}
    assert found.cells is not None
    names = [found.var_names[gene] for gene in first]
    digest = _digest(found, facts, labels, names)
    folder, merged = scene.under(f"merge-{digest}"), scene.under(f"merged-{digest}")
    save(labels, folder / "labels.parquet")
    groups = pl.DataFrame({"code": codes, "cells": found.cells})
    _write_tables(folder, found, first, groups)
    n = blocks_of(len(first))
    tasks = [
        test.Merge(str(folder), str(merged / f"{i}-of-{n}.tables"), i, n, facts)
        for i in range(1, n + 1)
    ]
    blocks = [Table(place_of(table)) for table in scene.pool.run(test.merge, tasks, scene.bar)]
    whole = scene.folder / f"whole-{digest}"
    remove(whole)
    assemble(whole, blocks, labels, names, facts)
    replace_folder(whole, output, MANIFEST)


def _digest(
    found: TableSource, facts: dict[str, Any], labels: pl.DataFrame, names: list[str]
) -> str:
    """Return a hash of what a merged table is made of."""
    made_of = [found.versions(), facts, labels.to_dict(as_series=False), names]
    return hashlib.sha256(json.dumps(made_of, default=str).encode()).hexdigest()[:16]
