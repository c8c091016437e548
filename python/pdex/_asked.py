"""The arguments of a call, checked, and the work that they ask for."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from pdex._cluster.run import Scene, Which, scene_of, tested
from pdex._description import Description
from pdex._engine import Comparison, Finish, Question, Work
from pdex._io.errors import error_context
from pdex._io.groups import SKIP
from pdex._io.hints import about_label, warn_of_repeated
from pdex._io.normalize import normalization_of
from pdex._io.opening import open_source
from pdex._progress import Progress
from pdex._resources import resources_of
from pdex._scale import scale_of
from pdex._shares import Shares, share_of
from pdex._stages import stage
from pdex._strata import place_cells, read_strata
from pdex._validate import (
    OPTIONS,
    Alternative,
    AnyMethod,
    Join,
    Mean,
    Normalize,
    Scope,
    Test,
    as_names,
    at_least,
    check_choice,
    check_stratified,
    flag,
    options_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import polars as pl

    from pdex._io.groups import Groups
    from pdex._io.source import Data, Source
    from pdex._places import Place
    from pdex._scale import Scale


@dataclass(frozen=True)
class Asked:
    """The arguments of a call, checked as far as possible without the data."""

    reference: str | Iterable[str]
    test: Test
    groups: Iterable[str] | None
    exclude: Iterable[str] | None
    min_cells: int | None
    strata: str | None
    where: pl.Expr | str | None
    genes: Iterable[str] | None
    layer: str | None
    use_raw: bool
    gene_names: str | None
    normalize: Normalize | None
    log1p: bool
    join: Join | None
    is_log1p: bool | None
    mean: Mean
    pseudocount: float
    fdr: Scope
    auroc: bool
    alternative: Alternative
    method: AnyMethod | None
    continuity: bool
    tie_correct: bool
    midrank: bool
    equal_var: bool
    overestim_var: bool
    threads: int | None
    memory_limit: int | str | None
    progress: bool | None

    def __post_init__(self) -> None:
        # Read once: an iterator has nothing left for a second time.
        for name in ("reference", "groups", "exclude", "genes"):
            value = getattr(self, name)
            if isinstance(value, Iterable) and not isinstance(value, str):
                object.__setattr__(self, name, list(value))
        check_choice("mean", self.mean, get_args(Mean))
        check_choice("fdr", self.fdr, get_args(Scope))
        pseudocount = self.pseudocount
        number = isinstance(pseudocount, (int, float, np.integer, np.floating))
        if not number or isinstance(pseudocount, bool) or not 0 <= pseudocount < np.inf:
            msg = f"pseudocount must be a finite number >= 0; got {pseudocount!r}"
            raise ValueError(msg)

    def options(self) -> dict[str, object]:
        """Return the options of the test."""
        full = options_of(self.test, {name: getattr(self, name) for name in OPTIONS})
        if self.strata is not None:
            check_stratified(self.test, full)
        return full


@dataclass(frozen=True)
class Job:
    """Work that is ready to run, with its targets, its progress bar and its description."""

    work: Work
    targets: list[str]
    bar: Progress
    description: Description


@contextmanager
def clustered(
    data: Data, groupby: str, asked: Asked, output: Place | None
) -> Iterator[tuple[Scene, Job]]:
    """Connect the workers, prepare the requested work, and remove its files at the end."""
    asked.options()
    progress = None if asked.progress is None else flag("progress", asked.progress)
    limits = (asked.threads, asked.memory_limit)
    with scene_of(output, limits, progress) as scene, prepared(data, groupby, asked) as job:
        yield scene, job


def tested_on(scene: Scene, job: Job, asked: Asked) -> Shares:
    """Test all genes on the workers."""
    which = Which(asked.layer, asked.use_raw, asked.join == "inner")
    return tested(scene, job.work, job.description, job.targets, which)


@contextmanager
def prepared(
    data: Data, groupby: str, asked: Asked, part: tuple[int, int] = (1, 1)
) -> Iterator[Job]:
    """Open the data, prepare the requested work, and close everything at the end.

    Progress is that of a share of the genes.
    """
    options, resources = asked.options(), resources_of(asked.threads, asked.memory_limit)
    auroc = flag("auroc", asked.auroc)
    normalization = normalization_of(asked.normalize, asked.log1p)
    progress = None if asked.progress is None else flag("progress", asked.progress)
    with open_source(data, asked.layer, asked.use_raw, asked.join) as source:
        with error_context(source.path), stage("labels"):
            source.choose(asked.where)
            source.name_genes(asked.gene_names)
            # Ranks are those of the scaled counts, and means need no exponentials.
            source.normalize(normalization, logged=asked.test == "ttest")
            compared, targets = _compared(source, groupby, asked)
            selected = source.select_genes(asked.genes)
            warn_of_repeated(source, selected)
        scale = scale_of(source, asked.is_log1p, resources.threads)
        pseudocount = float(asked.pseudocount) if scale.has_ratio else None
        work = Work(
            source,
            selected,
            compared,
            Question.of(asked.test, options, scale, asked.mean, auroc),
            Finish(pseudocount, asked.fdr),
            resources,
        )
        n_genes = len(share_of(selected, *part))
        bar = Progress(n_genes, progress, lambda: source.reading)
        try:
            yield Job(work, targets, bar, _described(work, groupby, asked, scale))
        finally:
            bar.close()


def _compared(source: Source, groupby: str, asked: Asked) -> tuple[Comparison, list[str]]:
    """Return which cells of a source are compared, and the names of the targets."""
    found, within, rest = source.groups(groupby), None, is_rest(asked.reference)
    strata = None if asked.strata is None else read_strata(source, asked.strata)
    if strata is not None:
        found = found.only(strata.places >= 0)
    codes, targets = _codes(source, found, asked)
    if strata is not None:
        within = place_cells(strata, (codes, targets, rest))
    return Comparison(codes, len(targets), rest, within, source.cells), targets


def _described(work: Work, groupby: str, asked: Asked, scale: Scale) -> Description:
    """Return the description of the result of `work`."""
    source, comparison, question = work.source, work.comparison, work.question
    reference: object = asked.reference
    normalized = source.normalization
    several = isinstance(reference, Iterable) and not isinstance(reference, str)
    return Description(
        test=asked.test,
        options=question.options,
        groupby=groupby,
        reference=as_names("reference", reference) if several else str(reference),
        source=source.titles[0] if len(source.titles) == 1 else source.titles,
        matrix=source.matrix_name,
        is_log1p=scale.is_log1p if normalized is None else normalized.log1p,
        normalize=None if normalized is None else normalized.asked,
        log_base=scale.log_base,
        mean=asked.mean,
        pseudocount=work.finish.pseudocount,
        fdr=asked.fdr,
        n_cells=_cells(comparison),
        n_targets=comparison.n_targets,
        n_genes=len(work.genes),
        strata=asked.strata,
        where=None if asked.where is None else str(asked.where),
        exclude=as_names("exclude", asked.exclude or []),
        min_cells=None if asked.min_cells is None else int(asked.min_cells),
    )


def _cells(comparison: Comparison) -> int:
    """Return the number of cells that take part."""
    taking_part = comparison.codes != SKIP
    if comparison.cells is None:
        return int(np.count_nonzero(taking_part))
    return int(comparison.cells[taking_part].sum())


def is_rest(reference: object) -> bool:
    """Return whether targets are compared with all other cells."""
    return isinstance(reference, str) and reference == "rest"


def _codes(source: Source, found: Groups, asked: Asked) -> tuple[npt.NDArray[np.uint32], list[str]]:
    """Return a code for each cell, and the targets; raise ValueError if a group has two roles."""
    reference: object = asked.reference
    rest = is_rest(reference)
    if isinstance(reference, Iterable) and not isinstance(reference, str):
        reference = list(reference)
    groups = None if asked.groups is None else as_names("groups", asked.groups)
    exclude = [] if asked.exclude is None else as_names("exclude", asked.exclude)
    least = 0 if asked.min_cells is None else at_least("min_cells", asked.min_cells, 1)

    def hint(label: object, what: str) -> str:
        return about_label(source, found.column, label, what)

    found.check_apart(
        reference=[] if rest else found.references(reference, hint),
        groups=[found.require(name, "group", hint) for name in groups or ()],
        exclude=[found.require(name, "excluded group", hint) for name in exclude],
    )
    return found.codes(reference, groups, rest=rest, exclude=exclude, min_cells=least)
