"""The tests as Polars expressions, and their namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from pdex._plugin import register
from pdex._validate import (
    Alternative,
    AndersonMethod,
    Method,
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
    method: Method = "asymptotic",
    continuity: bool = True,
    tie_correct: bool = True,
) -> pl.Expr:
    """Wilcoxon rank-sum (Mann-Whitney U) test of every target against a reference.

    Not the signed-rank test of paired samples.

    Parameters
    ----------
    value
        Values of any integer or float dtype, a cell a row. Nulls are left out; a NaN makes every
        comparison it enters NaN. Several columns (``pl.col("^g.*$")``, a selector) give a result
        each.
    target
        Each row's group: String, Categorical, Enum, Boolean or integer. Nulls are left out.
    reference
        The label of the group that all others are compared with, or ``"rest"``: each group
        against all other rows.
    count
        How many cells a row stands for, a non-negative integer; 1 where absent.
    strata
        Each row's batch or replicate, in the dtypes of `target`: samples are compared within each
        and the comparisons added up, which is van Elteren's test (see Notes). Nulls are left out.
    alternative
        ``"two-sided"``, ``"less"`` (the target's values are smaller) or ``"greater"``.
    method
        ``"asymptotic"``, ``"exact"`` (NaN where values are tied), or ``"auto"``: exact where a
        sample has 8 or fewer values and nothing is tied.
    continuity
        Subtract 1/2 from the distance between U and its mean; without meaning where there are
        strata, whose sum has no equal steps.
    tie_correct
        Reduce the variance by the tied runs (of each stratum).

    Returns
    -------
    polars.Expr
        A struct for each target, named ``wilcoxon``: ``target``, ``n_target``, ``n_reference``,
        ``target_mean``, ``reference_mean``, ``statistic`` (U of the target), ``p_value``,
        ``neg_log10_p``, ``z_score``, ``auroc``. In ``group_by(...).agg(...)`` a list of them. The
        results of several columns of values have the names of these.

    Raises
    ------
    ValueError
        An option that is not known, or another method than ``"asymptotic"`` with strata.
    polars.exceptions.ComputeError
        When the query runs: an unknown or empty reference, a dtype that has no meaning, a null or
        negative count, rows of which none has both a value and a label. A frame without rows has a
        result without rows. In ``group_by(...).agg(...)`` a group without a cell of the reference,
        such as a cell line without controls, has null results; so has every group where `reference`
        is misspelt, unless `target` is an Enum, whose labels are known.

    Notes
    -----
    With strata h of N_h cells (target and reference together), ``statistic`` is the sum of
    U_h / (N_h + 1), ``z_score`` its distance from the mean in standard deviations, and ``auroc``
    the chance that a value of the target exceeds one of the reference of the same stratum, weighted
    likewise. A stratum without either sample takes no part but in means; where all are such the
    test is null. One stratum is the plain test with ``continuity=False``. Where all values are
    equal within each stratum p is 1.

    References
    ----------
    Mann and Whitney (1947), Ann. Math. Stat. 18, 50. Variance with ties: Lehmann (1975),
    *Nonparametrics*, eq. 1.34. The same numbers as :func:`scipy.stats.mannwhitneyu`. Strata: van
    Elteren (1960), Bull. Inst. Int. Stat. 37, 351; Lehmann (1975), section 3.3.

    Examples
    --------
    >>> import polars as pl, pdex
    >>> df = pl.DataFrame({"value": [3, 4, 5, 1, 2, 3], "target": ["a"] * 3 + ["control"] * 3})
    >>> test = df.select(pdex.wilcoxon("value", "target", reference="control"))
    >>> test.unnest("wilcoxon").select("target", "statistic", pl.col("p_value").round(6)).row(0)
    ('a', 8.5, 0.121183)
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
    method: AndersonMethod = "asymptotic",
    auroc: bool = False,
) -> pl.Expr:
    """Two-sample Anderson-Darling test of every target against a reference.

    The k-sample test for k = 2: it sees any difference of the distributions, not of location
    alone. Not the one-sample test of normality.

    Parameters
    ----------
    value, target, reference, count
        As for :func:`wilcoxon`.
    midrank
        Half of a tied run counts as below it; ``False`` is the right-continuous version.
    method
        ``"asymptotic"``: p-values from the limiting distribution, accurate however small.
        ``"scipy"``: SciPy's interpolation, capped to [0.001, 0.25].
    auroc
        Add the field ``auroc``: the chance that a value of the target exceeds one of the reference,
        ties counted half.

    Returns
    -------
    polars.Expr
        A struct for each target, named ``anderson``: ``target``, ``n_target``, ``n_reference``,
        ``target_mean``, ``reference_mean``, ``statistic`` (normalised), ``p_value``,
        ``neg_log10_p``, and ``auroc`` where asked for.

    Raises
    ------
    ValueError
        An option that is not known.
    polars.exceptions.ComputeError
        When the query runs, as for :func:`wilcoxon`.

    Notes
    -----
    The p-value is the limit for samples without ties, as SciPy's is. Sparse counts are mostly
    ties: there p-values are too small under the null (about 4 % below 0.01), so check them against
    shuffled labels, or prefer :func:`wilcoxon`, which corrects for ties.

    References
    ----------
    Scholz and Stephens (1987), J. Am. Stat. Assoc. 82, 918, eq. 6 and 7. Limiting distribution:
    Marsaglia and Marsaglia (2004), J. Stat. Softw. 9(2). The statistic is that of
    :func:`scipy.stats.anderson_ksamp`.

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
    equal_var
        Student's test with a pooled variance; ``False`` is Welch's.
    auroc
        Add the field ``auroc``, as for :func:`anderson`.

    Returns
    -------
    polars.Expr
        A struct for each target, named ``ttest``: ``target``, ``n_target``, ``n_reference``,
        ``target_mean``, ``reference_mean``, ``statistic`` (t), ``p_value``, ``neg_log10_p``,
        ``df``, and ``auroc`` where asked for. NaN where a sample has fewer than two values.

    Raises
    ------
    ValueError
        An option that is not known.
    polars.exceptions.ComputeError
        When the query runs, as for :func:`wilcoxon`.

    References
    ----------
    Student (1908), Biometrika 6, 1; Welch (1947), Biometrika 34, 28. The same numbers as
    :func:`scipy.stats.ttest_ind`.

    Examples
    --------
    >>> import polars as pl, pdex
    >>> df = pl.DataFrame({"value": [3, 4, 5, 1, 2, 3], "target": [1, 1, 1, 0, 0, 0]})
    >>> test = df.select(pdex.ttest("value", "target", reference=0)).unnest("ttest")
    >>> test.select(pl.col("statistic", "p_value", "df").round(6)).row(0)
    (2.44949, 0.070484, 4.0)
    """
    options = {"alternative": alternative, "equal_var": equal_var, "auroc": auroc}
    inputs = {"value": value, "target": target, "count": count}
    return _expression("ttest", inputs, reference, options)


def ks(
    value: IntoExpr,
    target: IntoExpr,
    *,
    reference: Reference,
    count: IntoExpr | None = None,
    alternative: Alternative = "two-sided",
    method: Method = "auto",
    auroc: bool = False,
) -> pl.Expr:
    """Two-sample Kolmogorov-Smirnov test of every target against a reference.

    It sees any difference of the distributions by the largest distance D between the two empirical
    distribution functions. Not the one-sample test against a named distribution.

    Parameters
    ----------
    value, target, reference, count
        As for :func:`wilcoxon`.
    alternative
        About the distribution functions, as in SciPy, and so the other way round than in
        :func:`wilcoxon` and :func:`ttest`: ``"greater"`` says that the target's distribution
        function is greater somewhere, so its *values* are smaller; ``"less"`` that its values are
        greater.
    method
        ``"exact"``, ``"asymptotic"``, or ``"auto"``: exact for samples of equal sizes and where the
        product of the sizes is at most 65,536.
    auroc
        Add the field ``auroc``, as for :func:`anderson`.

    Returns
    -------
    polars.Expr
        A struct for each target, named ``ks``: ``target``, ``n_target``, ``n_reference``,
        ``target_mean``, ``reference_mean``, ``statistic`` (D, or its one-sided part), ``p_value``,
        ``neg_log10_p``, and ``auroc`` where asked for.

    Raises
    ------
    ValueError
        An option that is not known.
    polars.exceptions.ComputeError
        When the query runs, as for :func:`wilcoxon`.

    See Also
    --------
    anderson : Also sees any difference, with more weight on the tails of the distributions.

    Notes
    -----
    P-values are those of samples without ties. With ties the test is conservative: p-values are too
    large. Sparse counts are mostly ties, and D can hardly exceed the share of cells with a count:
    prefer :func:`wilcoxon` there.

    References
    ----------
    Hodges (1958), Ark. Mat. 3, 469: the exact distribution, and eq. 5.3 for one-sided p-values.
    Two-sided ones: Simard and L'Ecuyer (2011), J. Stat. Softw. 39(11). Ties: Noether (1963),
    Metrika 7, 115. The same statistic and methods as :func:`scipy.stats.ks_2samp`.

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


#: The columns that may be left out.
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
        # Polars makes an expression of each, with its name.
        del columns["value"]
        return register(test, [value, _struct(columns)], keywords)
    # One struct: Polars runs the groups of a group_by in parallel for functions of one column only.
    return register(test, [_struct(columns)], keywords).alias(test)


def _struct(columns: dict[str, pl.Expr]) -> pl.Expr:
    return pl.struct([column.alias(role) for role, column in columns.items()])


def _column(expression: IntoExpr) -> pl.Expr:
    """Return what Polars takes as an expression as one; a string names a column."""
    if isinstance(expression, str):
        # A pattern, too: "^g.*$".
        return pl.col(expression)
    return expression if isinstance(expression, pl.Expr) else pl.lit(expression)


def _label(reference: object) -> dict[str, str]:
    """Return the reference's label as text with its kind; NumPy's scalars are as good as ours."""
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
    """Return the column's name where it is known, else the argument's."""
    if isinstance(expression, str):
        return expression
    if isinstance(expression, pl.Expr):
        return expression.meta.output_name(raise_if_undetermined=False) or role
    return role


@pl.api.register_expr_namespace("pdex")
class PdexNamespace:
    """The tests as methods of the value column: ``pl.col("value").pdex.wilcoxon("target", ...)``.

    Type checkers that do not see registered namespaces can write ``PdexNamespace(expr)``.
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
        method: Method = "asymptotic",
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
        method: AndersonMethod = "asymptotic",
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
        method: Method = "auto",
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
