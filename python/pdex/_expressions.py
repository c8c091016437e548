"""The tests as Polars expressions, and their namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from pdex._plugin import as_expression
from pdex._validate import (
    Alternative,
    AndersonMethod,
    Method,
    ScipyMethod,
    TTestMethod,
    check_options,
    check_stratified,
)

if TYPE_CHECKING:
    from typing import Any

    from polars._typing import IntoExpr

    Reference = str | int | bool

__all__ = ["PdexNamespace", "anderson", "ks", "ttest", "wilcoxon"]


def wilcoxon(
    value: IntoExpr,
    target: IntoExpr,
    *,
    reference: Reference,
    count: IntoExpr | None = None,
    strata: IntoExpr | None = None,
    alternative: Alternative = "two-sided",
    method: Method = "auto",
    continuity: bool = True,
    tie_correct: bool = True,
) -> pl.Expr:
    """Wilcoxon rank-sum (Mann-Whitney U) test of every target against a reference.

    This is not the signed-rank test, which is for paired samples.

    Parameters
    ----------
    value
        Values of any integer or float dtype, one row per cell. Nulls are left out; a NaN makes
        every comparison that includes it NaN. Several columns (``pl.col("^g.*$")``, a selector)
        give one result each.
    target
        The group of each row: String, Categorical, Enum, Boolean or integer. Nulls are left out.
    reference
        The label of the group that all others are compared with, or ``"rest"``, which compares each
        group with all other rows.
    count
        Number of cells that each row stands for, a non-negative integer. None: 1.
    strata
        The batch or replicate of each row, in any dtype that `target` may have. Samples are
        compared within each stratum and the comparisons are added up, which is van Elteren's test
        (see Notes). Nulls are left out.
    alternative
        ``"two-sided"``, ``"less"`` (the target's values are smaller) or ``"greater"``.
    method
        How p-values are computed. ``"auto"``: by the normal curve if the absolute z is below 2,
        from the distribution of U given the ties if it is above 2.25, with a smooth transition.
        That distribution is summed exactly where few outcomes make up the tail, and approximated
        by a double saddlepoint elsewhere. ``"exact"``: summed exactly everywhere; an error if this
        takes more than 1,048,576 states. ``"conditional"``: the saddlepoint everywhere.
        ``"asymptotic"``: the normal curve everywhere, as in SciPy.
    continuity
        Subtract 1/2 from the distance between U and its mean, in ``z_score`` and in p-values of the
        normal curve. Ignored with strata, because the sum over strata does not change in equal
        steps.
    tie_correct
        Reduce the variance for tied values (within each stratum), in ``z_score`` and in asymptotic
        p-values.

    Returns
    -------
    polars.Expr
        A struct for each target, named ``wilcoxon``: ``target``, ``n_target``, ``n_reference``,
        ``target_mean``, ``reference_mean``, ``statistic`` (U of the target), ``p_value``,
        ``neg_log10_p``, ``z_score``, ``auroc``. In ``group_by(...).agg(...)``, a list of structs.
        With several columns of values, each result has the name of its column.

    Raises
    ------
    ValueError
        An unknown option, or the method ``"exact"`` or ``"conditional"`` with strata.
    polars.exceptions.ComputeError
        When the query runs: an unknown or empty reference, an unsupported dtype, a null or negative
        count, or no row with both a value and a label. A frame without rows gives a result without
        rows. In ``group_by(...).agg(...)``, a group without cells of the reference, such as a cell
        line without controls, gives null results. So does every group if `reference` is misspelt,
        unless `target` is an Enum, whose labels are known.

    Notes
    -----
    If stratum h has N_h cells (target and reference together), ``statistic`` is the sum of
    U_h / (N_h + 1) over the strata, and ``z_score`` is its distance from its mean in standard
    deviations. ``auroc`` is the probability that a value of the target exceeds one of the reference
    in the same stratum; strata have the same weights as in ``statistic``. A stratum that lacks
    either sample counts only in the means, and if all strata do, the test is null. A single stratum
    gives the plain test with ``continuity=False``. If all values within each stratum are equal, p
    is 1.

    References
    ----------
    Mann and Whitney (1947), Ann. Math. Stat. 18, 50. Variance with ties: Lehmann (1975),
    *Nonparametrics*, eq. 1.34. With ``method="asymptotic"`` the numbers equal those of
    :func:`scipy.stats.mannwhitneyu`. Given the ties: Mehta, Patel and Tsiatis (1984), Biometrics
    40, 819; Robinson (1982), J. R. Stat. Soc. B 44, 91. Strata: van Elteren (1960), Bull. Inst.
    Int. Stat. 37, 351; Lehmann (1975), section 3.3.

    Examples
    --------
    >>> import polars as pl, pdex
    >>> df = pl.DataFrame({"value": [3, 4, 5, 1, 2, 3], "target": ["a"] * 3 + ["control"] * 3})
    >>> test = df.select(pdex.wilcoxon("value", "target", reference="control"))
    >>> test.unnest("wilcoxon").select("target", "statistic", pl.col("p_value").round(6)).row(0)
    ('a', 8.5, 0.2)
    >>> df = df.with_columns(batch=pl.Series([1, 1, 2, 1, 1, 2]))
    >>> test = df.select(pdex.wilcoxon("value", "target", reference="control", strata="batch"))
    >>> test.unnest("wilcoxon").select("target", pl.col("z_score", "p_value").round(6)).row(0)
    ('a', 1.843909, 0.065196)
    """
    options = {
        "alternative": alternative,
        "method": method,
        "continuity": continuity,
        "tie_correct": tie_correct,
    }
    if strata is not None:
        check_stratified("wilcoxon", options)
    inputs = {"value": value, "target": target, "count": count, "strata": strata}
    return _expression("wilcoxon", inputs, reference, options)


def anderson(
    value: IntoExpr,
    target: IntoExpr,
    *,
    reference: Reference,
    count: IntoExpr | None = None,
    midrank: bool = True,
    method: AndersonMethod = "auto",
    auroc: bool = False,
) -> pl.Expr:
    """Two-sample Anderson-Darling test of every target against a reference.

    This is the k-sample test for k = 2. It detects any difference between the distributions, not
    only one of location. It is not the one-sample test of normality.

    Parameters
    ----------
    value, target, reference, count
        As for :func:`wilcoxon`.
    midrank
        Use the midrank version, in which half of a tied run counts as below it. False: the
        right-continuous version.
    method
        How p-values are computed. ``"auto"``: from the distribution of the statistic given the
        ties, approximated by a saddlepoint. ``"asymptotic"``: from the limiting distribution for
        samples without ties. ``"scipy"``: SciPy's interpolation of that limit, restricted to
        [0.001, 0.25].
    auroc
        Add the field ``auroc``: the probability that a value of the target exceeds one of the
        reference, where ties count half.

    Returns
    -------
    polars.Expr
        A struct for each target, named ``anderson``: ``target``, ``n_target``, ``n_reference``,
        ``target_mean``, ``reference_mean``, ``statistic`` (normalised), ``p_value``,
        ``neg_log10_p``, and ``auroc`` if requested.

    Raises
    ------
    ValueError
        An unknown option.
    polars.exceptions.ComputeError
        When the query runs, as for :func:`wilcoxon`.

    Notes
    -----
    Sparse counts are mostly ties, and the limit for samples without ties, which SciPy uses, is too
    small for them: where it gives 1e-8, the true p-value can be 1e-5. By default the p-value takes
    the ties and the number of the target's cells into account. If next to nothing is tied, both
    agree. Against a reference, p-values above about 0.05 use the ties of the reference's cells
    alone, unless the target has more cells.

    References
    ----------
    Scholz and Stephens (1987), J. Am. Stat. Assoc. 82, 918, eq. 6 and 7. The statistic equals that
    of :func:`scipy.stats.anderson_ksamp`. Given the ties: Choulakian, Lockhart and Stephens (1994),
    Can. J. Stat. 22, 125; Wood, Booth and Butler (1993), J. Am. Stat. Assoc. 88, 680. Without ties:
    Marsaglia and Marsaglia (2004), J. Stat. Softw. 9(2).

    Examples
    --------
    >>> import polars as pl, pdex
    >>> df = pl.DataFrame({"value": [2, 5, 1, 2, 3], "target": [True, True, False, False, False]})
    >>> test = df.select(pdex.anderson("value", "target", reference=False)).unnest("anderson")
    >>> round(test["statistic"][0], 6)
    -0.498838
    """
    options = {"midrank": midrank, "method": method, "auroc": auroc}
    inputs = {"value": value, "target": target, "count": count}
    return _expression("anderson", inputs, reference, options)


def ttest(
    value: IntoExpr,
    target: IntoExpr,
    *,
    reference: Reference,
    count: IntoExpr | None = None,
    alternative: Alternative = "two-sided",
    method: TTestMethod = "student",
    equal_var: bool = True,
    auroc: bool = False,
) -> pl.Expr:
    """t-test of every target against a reference.

    Parameters
    ----------
    value, target, reference, count
        As for :func:`wilcoxon`.
    alternative
        ``"two-sided"``, ``"less"`` (the target's mean is smaller) or ``"greater"``.
    method
        ``"student"``: p-values from Student's t distribution, as SciPy computes them.
        ``"permutation"``: from all ways to choose the target's cells among the pooled ones, which
        holds for few cells and skewed values; needs ``equal_var=True``. It sums over all ways where
        they are few, and else approximates their sum, without random numbers.
    equal_var
        Use Student's test, with a pooled variance. False: Welch's test.
    auroc
        Add the field ``auroc``, as for :func:`anderson`.

    Returns
    -------
    polars.Expr
        A struct for each target, named ``ttest``: ``target``, ``n_target``, ``n_reference``,
        ``target_mean``, ``reference_mean``, ``statistic`` (t), ``p_value``, ``neg_log10_p``,
        ``df``, and ``auroc`` if requested. The test is NaN if a sample has fewer than two values.

    Raises
    ------
    ValueError
        An unknown option, or ``method="permutation"`` with ``equal_var=False``.
    polars.exceptions.ComputeError
        When the query runs, as for :func:`wilcoxon`.

    References
    ----------
    Student (1908), Biometrika 6, 1; Welch (1947), Biometrika 34, 28. The numbers equal those of
    :func:`scipy.stats.ttest_ind`, and those of ``method="permutation"`` estimate the same as
    :func:`scipy.stats.permutation_test` of the difference of the means.

    Examples
    --------
    >>> import polars as pl, pdex
    >>> df = pl.DataFrame({"value": [3, 4, 5, 1, 2, 3], "target": [1, 1, 1, 0, 0, 0]})
    >>> test = df.select(pdex.ttest("value", "target", reference=0)).unnest("ttest")
    >>> test.select(pl.col("statistic", "p_value", "df").round(6)).row(0)
    (2.44949, 0.070484, 4.0)
    """
    options = {
        "alternative": alternative,
        "method": method,
        "equal_var": equal_var,
        "auroc": auroc,
    }
    inputs = {"value": value, "target": target, "count": count}
    return _expression("ttest", inputs, reference, options)


def ks(
    value: IntoExpr,
    target: IntoExpr,
    *,
    reference: Reference,
    count: IntoExpr | None = None,
    alternative: Alternative = "two-sided",
    method: ScipyMethod = "auto",
    auroc: bool = False,
) -> pl.Expr:
    """Two-sample Kolmogorov-Smirnov test of every target against a reference.

    It detects any difference between the distributions, by the largest distance D between the two
    empirical distribution functions. It is not the one-sample test against a given distribution.

    Parameters
    ----------
    value, target, reference, count
        As for :func:`wilcoxon`.
    alternative
        Refers to the distribution functions, as in SciPy, and is therefore the opposite of that in
        :func:`wilcoxon` and :func:`ttest`. ``"greater"``: the target's distribution function is
        greater somewhere, so its *values* are smaller. ``"less"``: its values are greater.
    method
        ``"exact"``, ``"asymptotic"``, or ``"auto"``: exact for samples of equal sizes, and if the
        product of the sizes is at most 65,536.
    auroc
        Add the field ``auroc``, as for :func:`anderson`.

    Returns
    -------
    polars.Expr
        A struct for each target, named ``ks``: ``target``, ``n_target``, ``n_reference``,
        ``target_mean``, ``reference_mean``, ``statistic`` (D, or its one-sided part), ``p_value``,
        ``neg_log10_p``, and ``auroc`` if requested.

    Raises
    ------
    ValueError
        An unknown option.
    polars.exceptions.ComputeError
        When the query runs, as for :func:`wilcoxon`.

    See Also
    --------
    anderson : Also detects any difference, with more weight on the tails of the distributions.

    Notes
    -----
    P-values are valid for samples without ties. With ties the test is conservative: p-values are
    too large. Sparse counts are mostly ties, and D can hardly exceed the share of cells with a
    count. Use :func:`wilcoxon` for them.

    References
    ----------
    Hodges (1958), Ark. Mat. 3, 469: the exact distribution, and eq. 5.3 for one-sided p-values.
    Two-sided ones: Simard and L'Ecuyer (2011), J. Stat. Softw. 39(11). Ties: Noether (1963),
    Metrika 7, 115. Statistic and methods are those of :func:`scipy.stats.ks_2samp`.

    Examples
    --------
    >>> import polars as pl, pdex
    >>> df = pl.DataFrame({"value": [3, 4, 5, 1, 2, 3], "target": ["a"] * 3 + ["control"] * 3})
    >>> test = df.select(pdex.ks("value", "target", reference="control")).unnest("ks")
    >>> test.select("target", pl.col("statistic", "p_value").round(6)).row(0)
    ('a', 0.666667, 0.6)
    """
    options = {"alternative": alternative, "method": method, "auroc": auroc}
    inputs = {"value": value, "target": target, "count": count}
    return _expression("ks", inputs, reference, options)


#: The columns that may be omitted.
_OPTIONAL = ("count", "strata")


def _expression(
    test: str, inputs: dict[str, IntoExpr], reference: Reference, options: dict[str, Any]
) -> pl.Expr:
    check_options(test, options)
    request = {**_label(reference), **{role: _name(e, role) for role, e in inputs.items()}}
    columns = {
        role: _column(e) for role, e in inputs.items() if role not in _OPTIONAL or e is not None
    }
    for role, column in columns.items():
        if role != "value" and column.meta.has_multiple_outputs():
            msg = f"{role}={column}: expected one column; only value may be several"
            raise ValueError(msg)
    keywords = {"request": request, **options}
    value = columns["value"]
    if value.meta.has_multiple_outputs():
        # Polars expands this into one expression for each column, with the column's name.
        del columns["value"]
        return as_expression(test, [value, _struct(columns)], keywords)
    return as_expression(test, [_struct(columns)], keywords).alias(test)


def _struct(columns: dict[str, pl.Expr]) -> pl.Expr:
    return pl.struct([column.alias(role) for role, column in columns.items()])


def _column(expression: IntoExpr) -> pl.Expr:
    """Return an input as an expression; a string is the name of a column."""
    if isinstance(expression, str):
        # It may also be a pattern, such as "^g.*$".
        return pl.col(expression)
    return expression if isinstance(expression, pl.Expr) else pl.lit(expression)


def _label(reference: object) -> dict[str, str]:
    """Return the label of the reference as text, with its kind; NumPy scalars are accepted."""
    label = reference.item() if hasattr(reference, "item") else reference
    for kind, python_type in (("text", str), ("bool", bool), ("int", int)):
        if isinstance(label, python_type):
            text = str(label).lower() if kind == "bool" else str(label)
            return {"reference_kind": kind, "reference": text}
    msg = (
        f"reference={reference!r}: expected the label of a group (a string, an integer or a "
        'boolean, as the target column holds), or "rest"'
    )
    raise TypeError(msg)


def _name(expression: object, role: str) -> str:
    """Return the name of the column if it is known, else that of the argument."""
    if isinstance(expression, str):
        return expression
    if isinstance(expression, pl.Expr):
        return expression.meta.output_name(raise_if_undetermined=False) or role
    return role


@pl.api.register_expr_namespace("pdex")
class PdexNamespace:
    """The tests as methods of the value column: ``pl.col("value").pdex.wilcoxon("target", ...)``.

    For type checkers, which do not know registered namespaces, write ``PdexNamespace(expr)``.
    """

    def __init__(self, expr: pl.Expr) -> None:
        self._expr = expr

    def wilcoxon(
        self,
        target: IntoExpr,
        *,
        reference: Reference,
        count: IntoExpr | None = None,
        strata: IntoExpr | None = None,
        alternative: Alternative = "two-sided",
        method: Method = "auto",
        continuity: bool = True,
        tie_correct: bool = True,
    ) -> pl.Expr:
        """Wilcoxon rank-sum test of this value; see :func:`pdex.wilcoxon`."""
        return wilcoxon(
            self._expr,
            target,
            reference=reference,
            count=count,
            strata=strata,
            alternative=alternative,
            method=method,
            continuity=continuity,
            tie_correct=tie_correct,
        )

    def anderson(
        self,
        target: IntoExpr,
        *,
        reference: Reference,
        count: IntoExpr | None = None,
        midrank: bool = True,
        method: AndersonMethod = "auto",
        auroc: bool = False,
    ) -> pl.Expr:
        """Two-sample Anderson-Darling test of this value; see :func:`pdex.anderson`."""
        return anderson(
            self._expr,
            target,
            reference=reference,
            count=count,
            midrank=midrank,
            method=method,
            auroc=auroc,
        )

    def ttest(
        self,
        target: IntoExpr,
        *,
        reference: Reference,
        count: IntoExpr | None = None,
        alternative: Alternative = "two-sided",
        method: TTestMethod = "student",
        equal_var: bool = True,
        auroc: bool = False,
    ) -> pl.Expr:
        """t-test of this value; see :func:`pdex.ttest`."""
        return ttest(
            self._expr,
            target,
            reference=reference,
            count=count,
            alternative=alternative,
            method=method,
            equal_var=equal_var,
            auroc=auroc,
        )

    def ks(
        self,
        target: IntoExpr,
        *,
        reference: Reference,
        count: IntoExpr | None = None,
        alternative: Alternative = "two-sided",
        method: ScipyMethod = "auto",
        auroc: bool = False,
    ) -> pl.Expr:
        """Kolmogorov-Smirnov test of this value; see :func:`pdex.ks`."""
        return ks(
            self._expr,
            target,
            reference=reference,
            count=count,
            alternative=alternative,
            method=method,
            auroc=auroc,
        )
