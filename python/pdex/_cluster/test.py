"""Test a block of genes, from the counts of all cells."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pdex._cluster.exchange import CountFiles, count_source
from pdex._counting import Counted, write_table
from pdex._engine import Comparison, Finish, Question, Work
from pdex._files import replacing
from pdex._io.joined import JoinedTables
from pdex._io.tabled import joined_source
from pdex._io.tables import MANIFEST, Table, Writer
from pdex._output import save
from pdex._places import place_of, read_ipc, read_parquet
from pdex._progress import Progress
from pdex._shares import Plan, cut, is_of, name_of, share_of, write_share

if TYPE_CHECKING:
    import numpy.typing as npt

    from pdex._io.tabled import TableSource
    from pdex._places import Place
    from pdex._resources import Resources

#: The most genes of a block, and the most pairs of a target and a gene.
GENES = 256
NUMBERS = 1 << 21


class Tabled:
    """Counts, or count tables, and the group of each of their groups, as files for the workers.

    Parameters
    ----------
    folder
        The folder of these files.
    """

    def __init__(self, folder: Place) -> None:
        self._folder = folder

    def write(
        self,
        data: list[str] | CountFiles,
        names: pl.DataFrame,
        groups: pl.DataFrame,
    ) -> None:
        """Write what is read (files of counts, or the folders of tables), the genes and the groups.

        Genes are a frame of name and wanted, groups are one of code and cells.
        """
        known = {"tables": data} if isinstance(data, list) else data.spelled()
        (self._folder / "data.json").write_text(json.dumps(known), encoding="utf-8")
        save(names, self._folder / "genes.parquet")
        save(groups, self._folder / "groups.parquet")

    def open(self, *, logged: bool) -> tuple[TableSource, npt.NDArray[np.uint32], pl.DataFrame]:
        """Return the counts as a source, the numbers of the genes that are wanted, and the groups.

        Values are logarithms if `logged` and the counts ask for them.
        """
        known = json.loads((self._folder / "data.json").read_text(encoding="utf-8"))
        frame = read_parquet(self._folder / "genes.parquet")
        groups = read_parquet(self._folder / "groups.parquet")
        names, cells = frame["name"].to_list(), groups["cells"].to_numpy()
        source: TableSource
        if "tables" in known:
            tables = [Table(place_of(table)) for table in known["tables"]]
            source = joined_source(JoinedTables(tables, alike=True), names, cells)
        else:
            source = count_source(CountFiles.of(known), names, cells)
        source.normalize(None, logged=logged)
        return source, frame["wanted"].arg_true().to_numpy().astype(np.uint32), groups


@dataclass(frozen=True)
class Test:
    """Test the `number`-th of `n` blocks of genes."""

    #: The folder of the plan and of the tables' files, and that of the shares.
    folder: str
    shares: str
    number: int
    n: int
    #: The hash of the plan.
    plan: str

    @property
    def what(self) -> str:
        """What the task does."""
        return f"testing block {self.number} of {self.n} of the genes"


@dataclass(frozen=True)
class Merge:
    """Merge the tables of the `number`-th of `n` blocks of genes."""

    folder: str
    table: str
    number: int
    n: int
    facts: dict[str, Any]

    @property
    def what(self) -> str:
        """What the task does."""
        return f"merging block {self.number} of {self.n} of the genes"


def sorted_name(number: int, n: int) -> str:
    """Return the name of the file of a share's p-values in order."""
    return f"{number}-of-{n}.sorted.ipc"


def write_plan(folder: Place, plan: Plan) -> None:
    """Write what the tests of all blocks have in common."""
    (folder / "plan.json").write_text(json.dumps(asdict(plan)), encoding="utf-8")


def test(task: Test, resources: Resources) -> None:
    """Write the share of a block, unless it is there."""
    shares = place_of(task.shares)
    share, ordered = shares / name_of(task.number, task.n), sorted_name(task.number, task.n)
    plan = Plan(**json.loads((place_of(task.folder) / "plan.json").read_text(encoding="utf-8")))
    there = share.is_file() and is_of(share, task.plan)
    if not there:
        question = Question(**plan.question)
        logged = question.test == "ttest"
        source, genes, groups = Tabled(place_of(task.folder)).open(logged=logged)
        codes = groups["code"].to_numpy()
        strata = None
        if plan.n_strata is not None:
            strata = (groups["stratum"].to_numpy(), plan.n_strata)
        compared = Comparison(codes, len(plan.targets), plan.rest, strata, source.cells)
        finish = Finish(plan.pseudocount, plan.fdr)
        work = Work(source, genes, compared, question, finish, resources)
        write_share(work, plan, Progress(0, False), (shares, task.number, task.n))
    # Not deleted above: it may be in use already, if another worker did this task, too.
    if plan.fdr == "all" and not (there and (shares / ordered).is_file()):
        _write_sorted(share, shares / ordered)


def _write_sorted(share: Place, path: Place) -> None:
    """Write the p-values below 1 of a share in ascending order, with their rows."""
    p = read_ipc(share)["p_value"].to_numpy()
    (rows,) = np.nonzero(p < 1)
    rows = rows[np.argsort(p[rows], kind="stable")]
    frame = pl.DataFrame({"p": p[rows], "row": rows.astype(np.uint64)})
    with replacing(count_of(path)) as part:
        part.write_text(str(np.count_nonzero(~np.isnan(p))), encoding="utf-8")
    save(frame, path)


def count_of(path: Place) -> Place:
    """Return the file that says how many p-values of a share are no NaN."""
    return path.with_name(f"{path.name}.count")


def merge(task: Merge, resources: Resources) -> str:
    """Write the merged table of a block, unless it is there, and return its folder."""
    folder = place_of(task.table)
    if not (folder / MANIFEST).is_file():
        source, genes, groups = Tabled(place_of(task.folder)).open(logged=False)
        labels = read_parquet(place_of(task.folder) / "labels.parquet")
        first = cut(len(genes), task.n)[task.number - 1]
        own = share_of(genes, task.number, task.n)
        names = [source.var_names[gene] for gene in own]
        codes = groups["code"].to_numpy()
        counted = Counted(codes, labels.height, labels, own, names, task.facts, first)
        writer = Writer(folder, resources.threads, keep=True)
        write_table(source, counted, writer, (resources, Progress(0, False)))
    return task.table
