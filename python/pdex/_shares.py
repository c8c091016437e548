"""Shares of a result: the numbers of some genes, which many jobs write and one puts together.

A share is an Arrow IPC file called ``3-of-64.ipc``: the measured columns of all targets and of its
genes, target after target. Its metadata hold what the others must agree with.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from pdex import _pdex
from pdex._description import Description, remember
from pdex._engine import Finish, Question, Work, numbers_of, regrouped
from pdex._io.groups import SKIP, count_cells
from pdex._io.source import Source
from pdex._output import Spill, check_output, scan, write
from pdex._places import Place, Remote, place_of, read_ipc, scan_ipc
from pdex._progress import Progress
from pdex._resources import Resources, resources_of
from pdex._stages import stage
from pdex._text import listed
from pdex._validate import flag, suggesting

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from pdex._engine import Codes
    from pdex._output import Adjusted

#: The key of a share's metadata.
_SHARE = "pdex.share"
_NAME = re.compile(r"(\d+)-of-(\d+)\.ipc")


@dataclass(frozen=True)
class Plan:
    """What all shares of a result have in common."""

    description: dict[str, Any]
    question: dict[str, Any]
    pseudocount: float | None
    fdr: str
    targets: list[str]
    rest: bool
    #: The cells of each code and stratum, as :func:`pdex._engine.regrouped` takes them.
    cells: list[int]
    n_strata: int | None
    #: SHA-256 of the names of all genes, in order.
    genes: str
    #: SHA-256 of the code and stratum of each cell, or of each group of count tables.
    codes: str
    #: For each source what tells it from another at its place; None: nothing is known.
    versions: list[Any]

    @classmethod
    def of(cls, work: Work, targets: list[str], about: Description) -> Plan:
        """Return the plan of the work of all genes."""
        compared = work.comparison
        codes, n_codes = numbers_of(compared)
        cells = count_cells(codes[codes != SKIP], compared.cells, codes != SKIP, n_codes)
        names = [work.source.var_names[i] for i in work.genes]
        placed = hashlib.sha256(compared.codes.tobytes())
        if compared.strata is not None:
            placed.update(compared.strata[0].tobytes())
        return cls(
            description=asdict(about),
            question=work.question._asdict(),
            pseudocount=work.finish.pseudocount,
            fdr=work.finish.fdr,
            targets=targets,
            rest=compared.rest,
            cells=[int(count) for count in cells],
            n_strata=None if compared.strata is None else compared.strata[1],
            genes=hashlib.sha256("\n".join(names).encode()).hexdigest(),
            codes=placed.hexdigest(),
            versions=work.source.versions(),
        )

    def digest(self) -> str:
        """Return the hash by which shares of different calls are told apart.

        Where the data lie may differ from job to job.
        """
        facts = asdict(self)
        del facts["description"]["source"]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def write_share(work: Work, plan: Plan, bar: Progress, place: tuple[Place, int, int]) -> Place:
    """Test the genes of share `number` of `n`, write their numbers, and return the file.

    Parameters
    ----------
    work
        The work of all genes; on return, that of the share.
    plan
        What all shares have in common.
    bar
        Progress.
    place
        The folder, which is there, the number (from 1) and `n`.
    """
    folder, number, n = place
    work.genes = share_of(work.genes, number, n)
    features = [work.source.var_names[i] for i in work.genes]
    facts = {"number": number, "of": n, "plan": plan.digest(), "features": features}
    if number == 1:
        facts["common"] = asdict(plan)
    path = folder / name_of(number, n)
    measured, n_targets = work.measured(), len(plan.targets)
    with Spill(folder, n_targets) as spill, stage("test and write"):
        for numbers in work.numbers(bar, None if isinstance(folder, Remote) else str(folder)):
            spill.add(numbers)
        # One frame: a share fits memory, as it must when it is collected.
        columns = spill.rows(0, n_targets) if len(work.genes) else [np.empty(0)] * len(measured)
        frame = pl.DataFrame(dict(zip(measured, columns, strict=True)))
        metadata = {_SHARE: json.dumps(facts)}
        if isinstance(path, Remote):
            # Those of an older share.
            _beside(path).unlink(missing_ok=True)
        write(path, frame.schema, iter([frame]), max(1, frame.height), metadata)
        if isinstance(path, Remote):
            # The metadata of a file in object storage cannot be read by themselves.
            _beside(path).write_text(metadata[_SHARE])
    return path


def _beside(path: Place) -> Place:
    """Return the file of a share's metadata in object storage."""
    return path.with_name(f"{path.name}.json")


def name_of(number: int, n: int) -> str:
    """Return the name of a share's file."""
    return f"{number}-of-{n}.ipc"


def is_of(path: Place, plan: str) -> bool:
    """Return whether a file is a share of the result with the hash `plan`."""
    try:
        return bool(_head(path)["plan"] == plan)
    except ValueError:
        return False


def check_shares(folder: object) -> Place:
    """Return the path of a folder for shares; raise an error if there can be none."""
    if not isinstance(folder, (str, os.PathLike)):
        msg = f"path must be the path of a folder; got {folder!r}"
        raise TypeError(msg)
    path = place_of(folder)
    if path.exists() and not path.is_dir():
        msg = f"{str(path)!r} is a file; expected a folder for shares of a result"
        raise FileExistsError(msg)
    if not path.parent.is_dir():
        msg = f"{str(path)!r}: there is no folder {str(path.parent)!r}"
        raise FileNotFoundError(msg)
    return path


def share_of(genes: Codes, number: int, n: int) -> Codes:
    """Return the genes of a share."""
    return genes[slice(*cut(len(genes), n)[number - 1 : number + 1])]


def cut(length: int, n: int) -> list[int]:
    """Return the bounds of `n` ranges of about equal length."""
    return [length * number // n for number in range(n + 1)]


@suggesting
def collect(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    memory_limit: int | str | None = None,
    progress: bool | None = None,
) -> pl.LazyFrame:
    """Put the shares of a result together that ``sink_de(..., part=(i, n))`` wrote.

    The result is that of one call of :func:`pdex.sink_de`, bit for bit: p-values are adjusted here,
    over all genes. The shares stay where they are.

    Parameters
    ----------
    folder
        The folder of the shares, all of which must be there.
    path
        The file to write: ``.parquet``, ``.ipc``, ``.arrow``, ``.feather``, ``.csv`` or ``.tsv``.
    threads, memory_limit, progress
        As in :func:`pdex.de`.

    Returns
    -------
    polars.LazyFrame
        A scan of the file, with the rows and columns of :func:`pdex.de`.

    Raises
    ------
    FileNotFoundError
        There are no shares, or some are missing, which the error lists.
    ValueError
        Shares of different calls, a damaged share, or another extension of the file's name.

    See Also
    --------
    sink_de : Write a result, or a share of one.

    Examples
    --------
    >>> import pdex, tempfile
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i in (3, 1, 2):
    ...         _ = pdex.sink_de(screen, "target", f"{folder}/shares", part=(i, 3))
    ...     whole = pdex.collect(f"{folder}/shares", f"{folder}/de.parquet").collect()
    >>> whole.equals(pdex.de(screen, "target"))
    True
    """
    file, resources = check_output(path), resources_of(threads, memory_limit)
    shown = None if progress is None else flag("progress", progress)
    shares = Shares(place_of(folder))
    work, plan = shares.work(resources), shares.plan
    about = Description(**plan.description)
    bar = Progress(len(plan.targets), shown, unit="targets")
    try:
        with stage("collect"):
            schema = work.written(shares, file, plan.targets, about.metadata(), bar=bar)
    finally:
        bar.close()
    return remember(scan(file, schema), about)


class Shares:
    """All shares of a result.

    Parameters
    ----------
    folder
        The folder that holds them.

    Raises
    ------
    FileNotFoundError
        There are no shares, or some are missing.
    ValueError
        Shares of different results, or a damaged one.
    """

    def __init__(self, folder: Place) -> None:
        self.folder, self.paths = folder, _found(folder)
        heads = [_head(share) for share in self.paths]
        for share, head in zip(self.paths, heads, strict=True):
            if head["plan"] != heads[0]["plan"]:
                msg = (
                    f"{share} is the share of another result than {self.paths[0]}: the data, the "
                    "options or the version of pdex differ; write all shares again"
                )
                raise ValueError(msg)
        #: The names of the genes, and how many of them each share has.
        self.features: list[str] = [name for head in heads for name in head["features"]]
        self.lengths: list[int] = [len(head["features"]) for head in heads]
        self.plan = Plan(**heads[0]["common"])
        #: Frames of shares that have been read, and the first target in them.
        self._frames: dict[int, tuple[int, pl.DataFrame]] = {}
        self._columns = self.work(Resources(1)).measured()
        #: Shares whose columns and rows were found to be right.
        self._checked: set[int] = set()

    def work(self, resources: Resources) -> Work:
        """Return the work of which the shares are the numbers."""
        plan = self.plan
        cells = np.array(plan.cells, dtype=np.uint64)
        return Work(
            # Of the source, the names are all that is left to know.
            Source(cast("Any", None), None, str(self.folder), self.features),
            np.arange(len(self.features), dtype=np.uint32),
            regrouped(cells, len(plan.targets), plan.rest, plan.n_strata),
            Question(**plan.question),
            Finish(plan.pseudocount, plan.fdr),
            resources,
        )

    def rows(self, first: int, last: int) -> list[npt.NDArray[np.float64]]:
        """Return the columns for the targets from `first` to before `last`, with all genes."""
        each = [self.numbers(share, first, last) for share in range(len(self.paths))]
        shape = (last - first, -1)
        return [
            np.hstack([numbers.reshape(shape) for numbers in column if len(numbers)]).reshape(-1)
            if any(map(len, column))
            else np.empty(0)
            for column in zip(*each, strict=True)
        ]

    def adjusted(self, number: int, threads: int) -> Adjusted:
        """Adjust the p-values of a column over all targets and genes, with `threads` threads."""
        n_targets = len(self.plan.targets)
        each = [self.numbers(share, 0, n_targets)[number] for share in range(len(self.paths))]
        p_values = _pdex.benjamini_hochberg(np.concatenate(each), threads)
        ends = np.cumsum([0, *map(len, each)])
        parts = [p_values[a:b].reshape(n_targets, -1) for a, b in pairwise(ends) if b > a]
        parts = parts or [np.empty((n_targets, 0))]
        return lambda first, last: np.hstack([part[first:last] for part in parts]).reshape(-1)

    def numbers(self, share: int, first: int, last: int) -> list[npt.NDArray[np.float64]]:
        """Return the columns of a share for the targets from `first` to before `last`."""
        start, frame = self._frames.get(share, (first, None))
        if frame is None:
            if isinstance(self.paths[share], Remote):
                # Another request would read it all again.
                self.hold(0, len(self.plan.targets), [share])
                return self.numbers(share, first, last)
            frame = self._read(share, first, last)
        genes = self.lengths[share]
        part = frame.slice((first - start) * genes, (last - first) * genes)
        return [column.to_numpy() for column in part.get_columns()]

    def hold(self, first: int, last: int, shares: Iterable[int] | None = None) -> None:
        """Read the targets from `first` to before `last` of some shares, or of all, now."""
        for share in range(len(self.paths)) if shares is None else shares:
            part = self._read(share, first, last)
            # A slice would keep the whole share in memory.
            copies = {column.name: column.to_numpy().copy() for column in part.get_columns()}
            self._frames[share] = (first, pl.DataFrame(copies))

    def _read(self, share: int, first: int, last: int) -> pl.DataFrame:
        """Read the targets from `first` to before `last` of a share."""
        path, genes = self.paths[share], self.lengths[share]
        rows = (first * genes, (last - first) * genes)
        try:
            # Of a file on disk, Polars reads these rows alone.
            scan = read_ipc(path).lazy() if isinstance(path, Remote) else scan_ipc(path)
            if share not in self._checked:
                self._check(share, scan)
            return scan.slice(*rows).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            msg = f"{path} cannot be read: {error}"
            raise ValueError(msg) from error

    def _check(self, share: int, scan: pl.LazyFrame) -> None:
        """Raise ValueError unless a share has the columns and rows that its result asks for."""
        columns, height = scan.collect_schema().names(), scan.select(pl.len()).collect().item()
        if columns != self._columns or height != self.lengths[share] * len(self.plan.targets):
            msg = f"{self.paths[share]} is damaged: it has {height} rows of {listed(columns)}"
            raise ValueError(msg)
        self._checked.add(share)


def _found(folder: Place) -> list[Place]:
    """Return the shares in a folder, in order; FileNotFoundError unless all are there."""
    if not folder.is_dir():
        msg = f"{str(folder)!r}: there is no such folder"
        raise FileNotFoundError(msg)
    found = {
        (int(match[2]), int(match[1])): path
        for path in folder.iterdir()
        if (match := _NAME.fullmatch(path.name))
    }
    # A share of each size.
    sizes = {n: path.name for (n, _), path in sorted(found.items(), reverse=True)}
    if not sizes:
        msg = f"{str(folder)!r} has no shares, such as 1-of-4.ipc, which part=(1, 4) writes"
        raise FileNotFoundError(msg)
    if len(sizes) > 1:
        numbers, names = sorted(sizes), [sizes[n] for n in sorted(sizes)]
        msg = (
            f"{str(folder)!r} holds shares of {' and of '.join(map(str, numbers))} parts, such as "
            f"{' and '.join(names)}: delete those of one"
        )
        raise ValueError(msg)
    (n,) = sizes
    missing = [i for i in range(1, n + 1) if (n, i) not in found]
    if missing:
        msg = f"{str(folder)!r} lacks {len(missing)} of {n} shares: {listed(missing)}"
        raise FileNotFoundError(msg)
    return [found[n, i] for i in range(1, n + 1)]


def _head(path: Place) -> dict[str, Any]:
    """Return what a share's metadata say."""
    try:
        if isinstance(path, Remote):
            facts = json.loads(_beside(path).read_text())
        else:
            facts = json.loads(dict(_pdex.ipc_metadata(str(path)))[_SHARE])
        return cast("dict[str, Any]", facts)
    except (KeyError, ValueError, OSError) as error:
        msg = f"{path} is damaged, or no share: {error}"
        raise ValueError(msg) from error
