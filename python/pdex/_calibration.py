"""Are the p-values of null comparisons uniform? Controls are tested against controls.

Symbols: alpha is a level; n is the number of judged p-values, of which k are at most alpha;
F = k / n.

- Limits for independent tests: the 95 % limits of Clopper and Pearson (1934), from quantiles of the
  beta distribution. The genes of one comparison are correlated (in cells that are sequenced more
  deeply, all genes have higher counts), so F varies more than these limits suggest.
- Limits from random splits, which the verdict also uses: F +- t s. Here t is the 99.5 % quantile of
  Student's distribution with m - 1 degrees of freedom, and s is the standard error of F when cells
  are split at random. Without guides, the comparisons are m splits, which are independent draws.
  Split i has n_i p-values, k_i of them at most alpha, and s is the standard error of a ratio:
  s^2 = m / (m - 1) sum((k_i - F n_i)^2) / n^2 (Cochran 1977, Sampling Techniques, section 2.11).
  With guides, s is the standard deviation of F over m random permutations of the guides among the
  same cells, which keeps the correlation between genes.
- Levels of 0.001 and 0.0001 are judged only if alpha n >= 10. With twenty splits, three times too
  many p-values are then noticed in 82 % of the cases; with alpha n = 5 it would be 34 %. The bound
  also keeps false verdicts rare: if few p-values are expected, there may be none in any permutation
  of the guides, so that the limits have no width. Null p-values of normal scores, with a
  correlation of 0 to 0.2 between the genes of a comparison, get a false verdict in at most 0.2 %
  (splits), 4.1 % (six guides) and 5.5 % (two guides) of the cases; by 0.05 and 0.01 alone in at
  most 0.1 %, 3.9 % and 5.5 % (docs/calibration.py).
- Too few small p-values are judged at 0.05 and 0.01 alone: at 0.0001, a count of 0 is likely.

Discrete p-values: a gene with few non-zero cells has few possible p-values, many of them 1. They
are far from uniform even if nothing differs. Cochran's rule for contingency tables (1954,
Biometrics 10, 417-451) requires an expected count of five in each entry. Likewise, a gene is judged
only if at least `min_expected` non-zero cells are expected in the target. The expectation is
computed from all control cells, so selecting genes by it does not favour any p-value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import polars as pl

from pdex import _html
from pdex._asked import is_rest
from pdex._controls import ALPHAS, Plan, Run, guides_of, is_judged, splits, tally
from pdex._engine import Comparison, Finish, Question, Work
from pdex._io.errors import error_context
from pdex._io.labels import check_name
from pdex._io.normalize import normalization_of
from pdex._io.opening import open_source
from pdex._plotting import null_distribution
from pdex._progress import Progress
from pdex._resources import resources_of
from pdex._scale import scale_of
from pdex._strata import codes_of, place_cells, read_strata
from pdex._text import below, called, counted, listed
from pdex._validate import (
    Alternative,
    AnyMethod,
    Join,
    Normalize,
    Test,
    at_least,
    check_stratified,
    flag,
    options_of,
    suggesting,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import altair as alt
    import numpy.typing as npt

    from pdex._controls import Counts, Floats
    from pdex._io.source import Data, Source

Verdict = Literal["calibrated", "too many small p-values", "too few small p-values"]

#: Confidence levels of the limits for independent tests and of the limits from splits.
_CONFIDENCE, _SURE = 0.95, 0.99
#: Multiples of alpha at which a fraction becomes too large or too small.
_FACTORS = (1.5, 0.5)
#: The levels at which there may be too few small p-values.
_USUAL = 0.01


@dataclass(frozen=True, repr=False, eq=False)
class Calibration:
    """The result of :func:`calibrate`.

    Attributes
    ----------
    table
        All null comparisons, one row per comparison and gene, in the columns of :func:`pdex.de`.
        ``target`` is the control guide, or ``split 1``, ``split 2`` and so on. The last column,
        ``judged``, marks the rows on which everything else is based.
    summary
        One row per level: ``alpha``; ``n``, the number of judged p-values; ``observed`` and
        ``expected``, the number of them that are at most alpha; ``fraction``; ``lower`` and
        ``upper``, its 95 % limits (Clopper and Pearson) if tests were independent, which the genes
        of one comparison are not; ``split_lower`` and ``split_upper``, its 99 % limits from the
        variation among random splits of the same cells, which allow for the dependence;
        ``judged``, whether the verdict uses the level. The levels are 0.05 and 0.01, which are
        always judged, and 0.001 and 0.0001, which are judged if at least ten p-values are expected
        there, that is, from 10,000 and 100,000 judged p-values.
    comparisons
        One row per comparison: ``target``, ``n_target``, ``n_reference``, the number ``n`` of
        judged p-values, and the fractions of them that are at most each level, ``at_0.05``,
        ``at_0.01``, ``at_0.001`` and ``at_0.0001``. It shows which guide stands out.
    ks_statistic, ks_p_value
        Kolmogorov-Smirnov distance of the judged p-values from the uniform distribution, and its
        p-value if they were independent. With thousands of correlated genes this p-value is often
        too small.
    verdict
        ``"too many small p-values"`` if, at any judged level, the fraction is at least 1.5 alpha,
        and both ``lower`` and ``split_lower`` are above alpha. Otherwise, ``"too few small
        p-values"`` if, at both 0.05 and 0.01, the fraction is at most 0.5 alpha, and both ``upper``
        and ``split_upper`` are below alpha. Otherwise ``"calibrated"``.
    test, options
        The test, and its options with their values.
    compared
        What was compared with what, in words.

    See Also
    --------
    calibrate : Make a calibration.
    report : Show a calibration beside a result.
    """

    table: pl.DataFrame
    summary: pl.DataFrame
    comparisons: pl.DataFrame
    ks_statistic: float
    ks_p_value: float
    verdict: Verdict
    test: str
    options: dict[str, object]
    compared: str

    def judged_rows(self) -> pl.DataFrame:
        """Return the rows of ``table`` on which the verdict is based, for :func:`pdex.report`.

        Returns
        -------
        polars.DataFrame
            The rows of ``table`` that are marked as ``judged``.
        """
        return self.table.filter("judged")

    def plot(
        self,
        target: str | None = None,
        *,
        bins: int = 20,
        confidence: float = 0.95,
        width: int = 300,
        height: int = 260,
    ) -> alt.HConcatChart:
        """Draw the judged p-values: a histogram and a quantile-quantile plot.

        Parameters
        ----------
        target
            Draw the p-values of this comparison only. None: draw all.
        bins
            Number of bars in the histogram, at least 2.
        confidence
            Probability of the band for each point of the quantile-quantile plot.
        width, height
            Size of each of the two charts in pixels, without axes.

        Returns
        -------
        altair.HConcatChart
            The two charts side by side.

        See Also
        --------
        pl.pvalues : The same for the p-values of any frame.
        """
        from pdex._plotting.pvalues import pvalues

        rows = self.judged_rows()
        return pvalues(rows, target, bins=bins, confidence=confidence, width=width, height=height)

    def __eq__(self, other: object) -> bool:
        """Return whether all tables and numbers are equal."""
        if not isinstance(other, Calibration):
            return NotImplemented
        frames = ("table", "summary", "comparisons")
        numbers = ("ks_statistic", "ks_p_value", "verdict", "test", "options", "compared")
        return all(getattr(self, name).equals(getattr(other, name)) for name in frames) and all(
            getattr(self, name) == getattr(other, name) for name in numbers
        )

    #: Data frames cannot be hashed.
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def _lines(self) -> list[tuple[str, str]]:
        """Return what was found, as names with what is said of each."""
        n, levels = self.summary["n"][0], self.summary.filter("judged")
        lines = [
            ("test", called(self.test, self.options)),
            ("compared", self.compared),
            (
                "judged",
                f"{counted(n, 'p-value')} of {self.comparisons.height} comparisons; "
                f"{self.table.height - n:,} of genes with few non-zero cells are not judged",
            ),
        ]
        for row in levels.iter_rows(named=True):
            percent = {name: f"{100 * value:.3g}" for name, value in row.items()}
            limits = (
                f"independent tests {percent['lower']} to {percent['upper']} %, "
                f"splits {percent['split_lower']} to {percent['split_upper']} %"
            )
            lines.append((f"p <= {row['alpha']:g}", f"{percent['fraction']} % ({limits})"))
        left = self.summary.filter(~pl.col("judged"))["alpha"]
        if len(left):
            names = " and ".join(f"{alpha:g}" for alpha in left)
            numbers = " and ".join(f"{null_distribution.needed(alpha):,}" for alpha in left)
            lines.append((f"p <= {names}", f"not judged; this requires {numbers} p-values"))
        distance = f"distance {self.ks_statistic:.3g}, p = {self.ks_p_value:.3g}"
        lines.append(("Kolmogorov-Smirnov", distance))
        name = f"at_{ALPHAS[0]:g}"
        top = self.comparisons.sort(name, descending=True, nulls_last=True).row(0, named=True)
        share = f"{top['target']}, {100 * top[name]:.3g} % <= {ALPHAS[0]:g}"
        return [*lines, ("largest share", share)]

    def __repr__(self) -> str:
        return below(f"Calibration: {self.verdict}", self._lines())

    def _repr_html_(self) -> str:
        """Return the verdict and what it is based on, for notebooks."""
        return _html.block(f"Calibration: {self.verdict}", _html.listing(self._lines()))


@suggesting
def calibrate(
    data: Data,
    groupby: str,
    *,
    by: str | None = None,
    reference: str | Iterable[str] = "non-targeting",
    strata: str | None = None,
    where: pl.Expr | str | None = None,
    test: Test = "wilcoxon",
    n_splits: int = 20,
    seed: int = 0,
    min_cells: int = 10,
    min_expected: float = 5.0,
    genes: Iterable[str] | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    gene_names: str | None = None,
    normalize: Normalize | None = None,
    log1p: bool = True,
    join: Join | None = None,
    is_log1p: bool | None = None,
    alternative: Alternative = "two-sided",
    method: AnyMethod | None = None,
    continuity: bool = True,
    tie_correct: bool = True,
    midrank: bool = True,
    equal_var: bool = True,
    overestim_var: bool = False,
    threads: int | None = None,
    memory_limit: int | str | None = None,
    progress: bool | None = None,
) -> Calibration:
    """Test controls against controls, where the test should find nothing.

    Without `by`, random samples of the control cells, as large as the real groups, are tested
    against the other control cells. This shows whether the test holds its level on these data.

    With ``by="guide"``, the cells of each control guide are tested against those of all other
    control guides. This shows whether the control guides are alike. A guide with an effect of its
    own, or guides that lie in different batches, give too many small p-values even though the test
    is correct. Random splits cannot detect this.

    Parameters
    ----------
    data, groupby, test, genes, join, threads, memory_limit
        As in :func:`pdex.de`. But a CSR matrix larger than `memory_limit` is read in several
        passes, and `data` cannot be count tables, because single control cells are drawn.
    layer, use_raw, gene_names, normalize, log1p, is_log1p
        Which values are tested, as in :func:`pdex.de`.
    alternative, method, continuity, tie_correct, midrank, equal_var, overestim_var
        The test's options, as in :func:`pdex.de`.
    by
        Column of ``obs`` with the guide of each control cell. Control cells without a guide are
        left out. None: use random splits.
    reference
        The control group, or several groups, whose cells are pooled.
    strata
        Compare cells within the strata of this column of ``obs``, as :func:`pdex.de` does. A split
        then has as many cells in each stratum as a real group has, and guides are permuted within
        strata.
    where
        Use only the cells for which this holds: a Polars expression over the columns of ``obs``, or
        SQL text such as ``"cell_line = 'K562' AND n_counts > 500"``. A cell for which it is null is
        left out.
    n_splits
        Number of random splits. With `by`, the number of random permutations of the guides among
        the control cells, which serve only to measure how much the fractions vary.
    seed
        Seed of the random number generator.
    min_cells
        Guides with fewer cells are not tested, and a warning names them; their cells still count
        among the other controls. Groups with fewer cells do not set the size of a split.
    min_expected
        Judge a gene only if at least this many non-zero cells are expected in the target, given the
        gene's share of non-zero cells among all control cells. Genes below this have few possible
        p-values, which are far from uniform even if nothing differs. 0 judges all genes.
    progress
        Show a progress bar if the work takes longer than a second. None: only on a terminal and in
        notebooks.

    Returns
    -------
    Calibration
        Tables, summary and verdict. Its method ``plot`` draws the p-values, and
        :func:`pdex.report` accepts it as ``calibration``.

    Raises
    ------
    KeyError
        Unknown column or layer.
    ValueError
        Unknown reference, gene or option; ``reference="rest"``; fewer than two guides; too few
        control cells; no group that can set the size of a split; no gene to judge; NaN in the
        matrix.
    TypeError
        The matrix does not hold real numbers, or an option does not belong to the test.

    Warns
    -----
    PdexWarning
        Guides with fewer than `min_cells` cells; values of doubtful scale, as in :func:`pdex.de`;
        guides that share no stratum with another guide: their tests are NaN and are not judged.

    See Also
    --------
    de : Test the real targets.
    report : Show the calibration beside a result.
    pl.pvalues : Draw the p-values of any result.

    Notes
    -----
    A split takes at most half of the control cells, however large the groups are.

    The level 0.001 is judged from 10,000 p-values, 0.0001 from 100,000. Without `by`, more splits
    give more p-values.

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=900, n_genes=60, n_targets=6, n_effects=0)
    >>> found = pdex.calibrate(screen, "target", seed=1)
    >>> found.verdict
    'calibrated'
    >>> found.summary["alpha"].to_list(), found.comparisons.height
    ([0.05, 0.01, 0.001, 0.0001], 20)
    >>> found.summary["n"][0], found.summary["judged"].to_list()
    (1200, [True, True, False, False])
    """
    given = {
        "alternative": alternative,
        "method": method,
        "continuity": continuity,
        "tie_correct": tie_correct,
        "midrank": midrank,
        "equal_var": equal_var,
        "overestim_var": overestim_var,
    }
    full = options_of(test, given)
    if strata is not None:
        check_stratified(test, full)
    n_splits, least = at_least("n_splits", n_splits, 2), at_least("min_cells", min_cells, 1)
    rng = np.random.default_rng(at_least("seed", seed, 0))
    _check_expected(min_expected)
    resources = resources_of(threads, memory_limit)
    normalization = normalization_of(normalize, log1p)
    if is_rest(reference):
        msg = (
            "reference must name the control group, whose cells are compared with each other; got "
            "'rest'"
        )
        raise ValueError(msg)
    progress = None if progress is None else flag("progress", progress)
    with open_source(data, layer, use_raw, join) as source:
        with error_context(source.path):
            source.choose(where)
            source.name_genes(gene_names)
            source.normalize(normalization, logged=test == "ttest")
            found = source.groups(groupby)
            is_control = np.isin(found.places, found.references(reference))
            _check_single_cells(source, is_control)
            batches = None if strata is None else read_strata(source, strata)
            within = None if batches is None else codes_of(batches)
            if batches is not None:
                is_control &= batches.places >= 0
            if by is None:
                plan = splits(found, is_control, n_splits, least, rng, within)
            else:
                guides = source.groups(check_name("by", by))
                plan = guides_of(guides, is_control, n_splits, least, rng, within)
            if batches is not None:
                place_cells(batches, (plan.codes[0], plan.names[: plan.n_targets], True))
            selected = source.select_genes(genes)
            labels = [found.labels[place] for place in found.references(reference)]
            compared = _compared(plan, labels, by, strata)
        scale = scale_of(source, is_log1p, resources.threads)
        question = Question.of(test, full, scale, "arithmetic")
        bar = Progress(plan.n_jobs * len(selected), progress, lambda: source.reading)
        run = Run(source, selected, question, resources, plan.strata)
        try:
            columns, nonzero, counts = run.all(plan, float(min_expected), bar)
        finally:
            bar.close()
        comparison = Comparison(plan.codes[0], plan.n_targets, True, plan.strata, source.cells)
        work = Work(source, selected, comparison, question, Finish(), resources)
        table = work.table(plan.names, columns)
    judged = _judge(table, plan, nonzero, counts, min_expected)
    return Calibration(*judged, test, full, compared)


def _compared(plan: Plan, labels: list[str], by: str | None, strata: str | None) -> str:
    """Return in words what is compared with what."""
    cells = f"{counted(plan.n_control, 'cell')} of {listed(labels, 3)}"
    within = "" if strata is None else f", within obs[{strata!r}]"
    if by is None:
        return f"{len(plan.names):,} random splits of the {cells}{within}"
    groups = counted(len(plan.names), "group")
    return f"{groups} of obs[{by!r}], each against the others: {cells}{within}"


def _check_single_cells(source: Source, is_control: npt.NDArray[np.bool_]) -> None:
    """Raise ValueError if control cells are counted together, so that none can be drawn."""
    if source.cells is not None and (source.cells[is_control] != 1).any():
        msg = (
            f"{source.path} counts control cells together, and calibrate draws single ones: "
            "tabulate with single_cells= the control groups, or give it the screen itself"
        )
        raise ValueError(msg)


def _check_expected(value: object) -> None:
    """Raise ValueError unless `value`, for `min_expected`, is a finite number of at least 0."""
    number = isinstance(value, (int, float, np.integer, np.floating))
    if not number or isinstance(value, bool) or not 0 <= float(value) < np.inf:  # type: ignore[arg-type]
        msg = f"min_expected must be a number >= 0; got {value!r}"
        raise ValueError(msg)


# --- the verdict --------------------------------------------------------------------------------


def _judge(
    table: pl.DataFrame, plan: Plan, nonzero: Counts, shuffled: Counts, min_expected: float
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, float, float, Verdict]:
    """Return the first fields of the calibration; `shuffled`: counts for permuted guides."""
    from scipy.stats import kstest

    shape = (len(plan.names), len(nonzero))
    p = table["p_value"].to_numpy().reshape(shape)
    judged = is_judged(plan, nonzero, min_expected) & ~np.isnan(p)
    known = p[judged]
    if not known.size:
        msg = (
            f"no p-value to judge: no gene has min_expected={min_expected:g} non-zero cells "
            "expected in a comparison's target; lower min_expected"
        )
        raise ValueError(msg)
    each = np.array([tally(row[keep]) for row, keep in zip(p, judged, strict=True)])
    errors = _errors_of_guides(shuffled) if len(shuffled) else _errors_of_splits(each)
    freedom = (len(shuffled) or len(each)) - 1
    summary = _summary(each.sum(axis=0), errors, freedom)
    distance = kstest(known, "uniform")
    return (
        table.with_columns(pl.Series("judged", judged.ravel())),
        summary,
        _comparisons(table, each, len(nonzero)),
        float(distance.statistic),
        float(distance.pvalue),
        _verdict(summary),
    )


def _errors_of_splits(each: Counts) -> Floats:
    """Return the standard error of each fraction, which is a ratio of sums over splits."""
    n, m = each[:, :1], len(each)
    off = each[:, 1:] - each[:, 1:].sum(axis=0) / n.sum() * n
    error: Floats = np.sqrt(m / (m - 1) * (off**2).sum(axis=0)) / n.sum()
    return error


def _errors_of_guides(shuffled: Counts) -> Floats:
    """Return the standard deviation of each fraction over permutations of the guides."""
    error: Floats = (shuffled[:, 1:] / np.maximum(shuffled[:, :1], 1)).std(axis=0, ddof=1)
    return error


def _summary(total: Counts, errors: Floats, freedom: int) -> pl.DataFrame:
    """Return one row per alpha."""
    from scipy.special import betaincinv, stdtrit

    n, below, alpha = int(total[0]), total[1:].astype(np.float64), np.array(ALPHAS)
    tail = (1 - _CONFIDENCE) / 2
    with np.errstate(all="ignore"):
        lower = np.where(below > 0, betaincinv(below, n - below + 1, tail), 0.0)
        upper = np.where(below < n, betaincinv(below + 1, n - below, 1 - tail), 1.0)
    reach = stdtrit(freedom, (1 + _SURE) / 2) * errors
    return pl.DataFrame(
        {
            "alpha": alpha,
            "n": np.full(alpha.size, n),
            "observed": total[1:],
            "expected": alpha * n,
            "fraction": below / n,
            "lower": lower,
            "upper": upper,
            "split_lower": np.maximum(below / n - reach, 0.0),
            "split_upper": np.minimum(below / n + reach, 1.0),
            "judged": [null_distribution.is_judged(level, n) for level in ALPHAS],
        }
    )


def _comparisons(table: pl.DataFrame, each: Counts, n_genes: int) -> pl.DataFrame:
    """Return one row per comparison; without judged p-values its fractions are null."""
    first = table.select("target", "n_target", "n_reference").gather_every(n_genes)
    n = pl.Series("n", each[:, 0])
    fractions = [
        (pl.Series(each[:, 1 + i]) / n).fill_nan(None).alias(f"at_{alpha:g}")
        for i, alpha in enumerate(ALPHAS)
    ]
    return first.with_columns(n, *fractions)


def _verdict(summary: pl.DataFrame) -> Verdict:
    """Return the verdict by the rule given in :class:`Calibration`."""
    alpha, fraction = summary["alpha"], summary["fraction"]
    many, few = _FACTORS
    # If few p-values are judged, all splits may agree, and the limits from splits have no width.
    above = (summary["split_lower"] > alpha) & (summary["lower"] > alpha)
    below = (summary["split_upper"] < alpha) & (summary["upper"] < alpha)
    if (summary["judged"] & (fraction >= many * alpha) & above).any():
        return "too many small p-values"
    if ((fraction <= few * alpha) & below).filter(alpha >= _USUAL).all():
        return "too few small p-values"
    return "calibrated"
