"""Van Elteren's stratified rank-sum test against a literal twin and a permutation null."""

import itertools
import logging

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from pdex.exceptions import PdexWarning
from polars.testing import assert_frame_equal
from scipy import stats

LAYOUTS = {
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "dense": np.ascontiguousarray,
    "fortran": np.asfortranarray,
}
TAILS = {
    "two-sided": lambda z: 2 * stats.norm.sf(abs(z)),
    "less": stats.norm.cdf,
    "greater": stats.norm.sf,
}


def van_elteren(values, is_target, strata, tie_correct=True):
    """The definition, by midranks: (sum of U / (N + 1), z, AUROC, whether there is no spread)."""
    statistic = distance = variance = pairs = 0.0
    for stratum in np.unique(strata):
        here = strata == stratum
        x, y = values[here & is_target], values[here & ~is_target]
        n1, n2 = len(x), len(y)
        n = n1 + n2
        if n1 == 0 or n2 == 0:
            continue
        pooled = np.concatenate([x, y])
        ranks = stats.rankdata(pooled)
        rank_sum = ranks[:n1].sum()
        spread = ranks.var(ddof=1) if tie_correct else n * (n + 1) / 12
        statistic += (rank_sum - n1 * (n1 + 1) / 2) / (n + 1)
        distance += (rank_sum - n1 * (n + 1) / 2) / (n + 1)
        variance += n1 * n2 / n * spread / (n + 1) ** 2
        pairs += n1 * n2 / (n + 1)
    if pairs == 0:
        return np.nan, np.nan, np.nan, False
    constant = variance < 1e-15
    z = 0.0 if constant else distance / np.sqrt(variance)
    return statistic, z, statistic / pairs, constant


def make_screen(rng, kind, n_cells=400, n_genes=12):
    """Groups of unequal shares in four batches of other depths; the last holds no control."""
    batch = rng.choice(["b1", "b2", "b3", "b4"], n_cells, p=[0.5, 0.3, 0.15, 0.05])
    target = rng.choice(["T1", "T2", "ctrl", "T3"], n_cells, p=[0.2, 0.3, 0.4, 0.1])
    target[(batch == "b4") & (target == "ctrl")] = "T2"
    depth = pd.Series(batch).map({"b1": 1, "b2": 3, "b3": 0.3, "b4": 2}).to_numpy()
    x = rng.poisson(depth[:, None] * rng.gamma(1, 2, n_genes)).astype(np.float32)
    x[:, 0] = 0
    if kind == "log":
        x = np.log1p(x * rng.uniform(0.5, 2, (n_cells, 1))).astype(np.float32)
    obs = pd.DataFrame({"target": target, "batch": batch}, [f"c{i}" for i in range(n_cells)])
    return ad.AnnData(x, obs, pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))


@pytest.fixture(params=["counts", "log"])
def screen(request, rng):
    return make_screen(rng, request.param)


def expected(screen, reference, alternative="two-sided", tie_correct=True):
    x, label, batch = screen.X, screen.obs["target"].to_numpy(), screen.obs["batch"].to_numpy()
    # SciPy 1.18 ranks single precision in single precision.
    x = (x.toarray() if sp.issparse(x) else np.asarray(x)).astype(np.float64)
    rows = []
    for target in sorted(set(label) - {reference}):
        takes_part = np.ones(len(label), bool) if reference == "rest" else label == reference
        takes_part |= label == target
        for g in range(x.shape[1]):
            values, is_target = x[takes_part, g], label[takes_part] == target
            statistic, z, auroc, constant = van_elteren(
                values, is_target, batch[takes_part], tie_correct
            )
            p = 1.0 if constant else TAILS[alternative](z)
            rows.append((statistic, p, z, auroc))
    return np.array(rows)


COLUMNS = ["statistic", "p_value", "z_score", "auroc"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reference", ["ctrl", "rest"])
@pytest.mark.parametrize("alternative", TAILS)
@pytest.mark.parametrize("tie_correct", [True, False])
def test_equals_the_literal_twin(screen, layout, reference, alternative, tie_correct):
    screen.X = LAYOUTS[layout](screen.X)
    options = {"alternative": alternative, "tie_correct": tie_correct}
    within = {"strata": "batch", "method": "asymptotic"}
    got = pdex.de(screen, "target", reference=reference, **within, **options)
    want = expected(screen, reference, **options)
    # Measured 4e-14 relative; the first gene is constant, with z = 0.
    np.testing.assert_allclose(got.select(COLUMNS).to_numpy(), want, rtol=1e-11, atol=1e-13)
    logs = got["neg_log10_p"].to_numpy()
    np.testing.assert_allclose(logs, -np.log10(want[:, 1]), rtol=1e-10, atol=1e-13)
    # Means and sizes are those of all cells, as without strata.
    plain = pdex.de(screen, "target", reference=reference)
    same = ["target", "feature", "n_target", "n_reference", "target_mean", "reference_mean"]
    assert_frame_equal(got.select(same), plain.select(same), check_exact=True)


@pytest.mark.parametrize("stored", ["memory", "backed", "path"])
@pytest.mark.parametrize("reference", ["ctrl", "rest"])
def test_the_expression_says_the_same(screen, stored, reference, tmp_path):
    screen.X = sp.csr_matrix(screen.X)
    if stored != "memory":
        screen.write_h5ad(path := tmp_path / "screen.h5ad")
        screen = path if stored == "path" else ad.read_h5ad(path, backed="r")
    whole = pdex.de(screen, "target", reference=reference, strata="batch")
    lazy = pdex.scan_anndata(screen, "target", strata="batch")
    assert lazy.collect_schema()["stratum"] == pl.Enum(["b1", "b2", "b3", "b4"])
    columns = {"count": "count", "strata": "stratum"}
    by_gene = lazy.group_by("gene").agg(
        pdex.wilcoxon("value", "target", reference=reference, **columns)
    )
    tested = by_gene.explode("wilcoxon").unnest("wilcoxon").collect(engine="streaming")
    tested = tested.sort("target", "gene").select("n_target", *COLUMNS, "neg_log10_p")
    # Strata in another order: sums in two words.
    assert_frame_equal(tested, whole.select(tested.columns), check_exact=True)


@pytest.mark.parametrize("fold", ["values", "zeros", None])
def test_a_scan_counts_cells_in_each_stratum(screen, fold):
    screen.obs.loc[screen.obs_names[:30], "batch"] = None
    lazy = pdex.scan_anndata(screen, "target", strata="batch", fold=fold, groups=["T3", "ctrl"])
    got = lazy.group_by("gene", "target", "stratum").agg(
        pl.col("count").sum(), total=(pl.col("value").cast(float) * pl.col("count")).sum()
    )
    kept = screen[30:][screen.obs["target"][30:].isin(["T3", "ctrl"])]
    frame = pl.DataFrame(kept.X.astype(float), schema=list(kept.var_names))
    frame = frame.with_columns(
        target=pl.Series(list(kept.obs["target"])), stratum=pl.Series(list(kept.obs["batch"]))
    )
    frame = frame.unpivot(index=["target", "stratum"], variable_name="gene", value_name="total")
    want = frame.group_by("gene", "target", "stratum").agg(
        pl.len().alias("count").cast(pl.UInt32), pl.col("total").sum()
    )
    keys = ["gene", "target", "stratum"]
    got = got.collect().with_columns(pl.col(keys).cast(pl.String)).sort(keys)
    assert_frame_equal(got, want.sort(keys).select(got.columns), rel_tol=1e-12)
    assert lazy.select("stratum", "value").head(3).collect().height == 3


LABELS = {
    "text": ["one", "two", "three, a label of more than twelve bytes"],
    "categorical": pl.Series(["x", "y", "z"], dtype=pl.Categorical),
    "enum": pl.Series(["x", "y", "z"], dtype=pl.Enum(["unused", "z", "y", "x"])),
    "integer": pl.Series([7, -1, 300], dtype=pl.Int16),
    "boolean": [True, False, True],
}


@pytest.mark.parametrize("kind", LABELS)
def test_strata_of_any_label_type_with_nulls_and_counts(rng, kind):
    n = 120
    labels = pl.Series(LABELS[kind])
    strata = labels.gather(rng.integers(0, 3, n)).set(pl.Series(rng.random(n) < 0.1), None)
    frame = pl.DataFrame(
        {
            "value": rng.integers(-2, 4, n) / 2,
            "target": rng.choice(["t", "u", "ref"], n),
            "count": rng.integers(0, 4, n),
            "batch": strata,
        }
    )
    options = {"reference": "ref", "strata": "batch"}
    got = frame.select(pdex.wilcoxon("value", "target", count="count", **options))
    single = frame.select(pl.exclude("count").repeat_by("count").explode()).drop_nulls()
    assert_frame_equal(
        got.unnest("wilcoxon"),
        single.select(pdex.wilcoxon("value", "target", **options)).unnest("wilcoxon"),
        check_exact=True,
    )
    place = single["batch"].cast(pl.String).to_numpy()
    for target, row in zip("tu", got.unnest("wilcoxon").iter_rows(named=True), strict=True):
        part = single["target"].is_in([target, "ref"]).to_numpy()
        is_target = single["target"].to_numpy()[part] == target
        *want, _ = van_elteren(single["value"].to_numpy()[part], is_target, place[part])
        np.testing.assert_allclose([row[c] for c in ("statistic", "z_score", "auroc")], want, 1e-12)
        assert row["n_target"] == is_target.sum()
    name = pl.col("value").pdex.wilcoxon("target", count="count", **options)
    assert_frame_equal(frame.select(name), got, check_exact=True)


def test_the_null_distribution_by_all_relabellings():
    """Every choice of targets within strata: mean, variance, and no p-value far from the truth."""
    cells = [np.array([0.0, 0, 1, 2, 2, 3]), np.array([5.0, 5, 7, 9, 9, 9]), np.array([0.0, 0, 1])]
    targets = [3, 2, 1]
    labellings = [
        itertools.combinations(range(len(c)), k) for c, k in zip(cells, targets, strict=True)
    ]
    value, stratum = np.concatenate(cells), np.repeat([0, 1, 2], [6, 6, 3])
    starts = [0, 6, 12]
    rows = []
    for i, chosen in enumerate(itertools.product(*labellings)):
        label = np.full(15, "ref", dtype=object)
        label[[start + j for start, js in zip(starts, chosen, strict=True) for j in js]] = "t"
        rows.append(pl.DataFrame({"case": i, "value": value, "target": label, "batch": stratum}))
    assert len(rows) == 20 * 15 * 3
    tests = (
        pl.concat(rows)
        .group_by("case")
        .agg(
            pdex.wilcoxon(
                *("value", "target"),
                reference="ref",
                strata="batch",
                alternative="greater",
                method="asymptotic",
            )
        )
    )
    tests = tests.explode("wilcoxon").unnest("wilcoxon")
    t, z, p = (tests[c].to_numpy() for c in ("statistic", "z_score", "p_value"))
    # The score is standard under the null, exactly.
    assert abs(z.mean()) < 1e-13
    assert abs(z.var() - 1) < 1e-13
    exact = np.array([(t >= one - 1e-9).mean() for one in t])
    below = np.array([(t > one + 1e-9).mean() for one in t])
    # The normal curve passes through the steps of the exact distribution: its mid-p value.
    # Measured 0.035 over the 900 relabellings of 15 cells.
    assert np.abs((exact + below) / 2 - p).max() < 0.04


def test_tails_given_the_ties_of_every_stratum():
    """Two strata of a gene with two values, beside sums of hypergeometric probabilities."""
    # (cells, cells that express the gene, cells of the target) of each batch.
    strata = [(600, 60, 40), (300, 45, 30)]
    terms = []
    for n, expressing, n_target in strata:
        x = np.arange(n_target + 1)
        # A cell that expresses the gene instead of one that doesn't adds half of all ranks.
        terms.append((stats.hypergeom(n, expressing, n_target).pmf(x), x * n / 2 / (n + 1)))
    p = np.multiply.outer(terms[0][0], terms[1][0]).ravel()
    t = np.add.outer(terms[0][1], terms[1][1]).ravel()
    rows, want = [], []
    pairs = [(a, b) for a in range(0, 16) for b in range(0, 14)]
    for a, b in pairs:
        case = f"{a},{b}"
        for batch, ((n, expressing, n_target), x) in enumerate(zip(strata, (a, b), strict=True)):
            for label, value, cells in [
                ("t", 1, x),
                ("t", 0, n_target - x),
                ("ref", 1, expressing - x),
                ("ref", 0, n - n_target - expressing + x),
            ]:
                rows.append((case, batch, label, value, cells))
        here = terms[0][1][a] + terms[1][1][b]
        want.append(min(p[t >= here - 1e-9].sum(), p[t <= here + 1e-9].sum()) * 2)
    schema = ["case", "batch", "target", "value", "count"]
    test = pdex.wilcoxon("value", "target", reference="ref", count="count", strata="batch")
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    got = frame.group_by("case", maintain_order=True).agg(test).explode("wilcoxon")
    got = got.unnest("wilcoxon")
    assert got["case"].to_list() == [f"{a},{b}" for a, b in pairs]
    far = np.abs(got["z_score"].to_numpy()) > 2
    assert far.sum() > 100
    exact = np.log(np.array(want)[far])
    off = np.abs(np.log(got["p_value"].to_numpy()[far]) - exact)
    normal = np.log(2) + stats.norm.logsf(np.abs(got["z_score"].to_numpy()[far]))
    plain = np.abs(normal - exact)
    # T has two unlike steps, which the saddlepoint smooths: measured 0.42 and 1.0; by the normal
    # curve 1.2 and 8.3.
    assert np.median(off) < 0.45
    assert off.max() < 1.1
    assert np.median(plain) > 2.5 * np.median(off)


def test_a_permutation_null_with_batches_and_ties(rng):
    """p-values of 20 genes are the fractions of 4,000 shuffles within batches that go further."""
    screen = make_screen(rng, "counts", 300, 20)
    keep = screen.obs["target"].isin(["T1", "ctrl"])
    screen = screen[keep].copy()
    got = {
        alternative: pdex.de(
            screen, "target", reference="ctrl", strata="batch", alternative=alternative
        )
        for alternative in TAILS
    }
    values, batch = screen.X.astype(float), screen.obs["batch"].to_numpy()
    is_target = (screen.obs["target"] == "T1").to_numpy()
    # Midranks within batches with their weights; the statistic is their sum over the targets.
    score = np.zeros_like(values)
    for one in np.unique(batch):
        here = batch == one
        if 0 < is_target[here].sum() < here.sum():
            ranks = stats.rankdata(values[here], axis=0)
            score[here] = (ranks - ranks.mean(axis=0)) / (here.sum() + 1)
    observed = is_target @ score
    shuffles = 4000
    null = np.empty((shuffles, values.shape[1]))
    for i in range(shuffles):
        label = is_target.copy()
        for one in np.unique(batch):
            label[batch == one] = rng.permutation(label[batch == one])
        null[i] = label @ score

    ways = {
        "greater": (null, observed),
        "less": (-null, -observed),
        "two-sided": (np.abs(null), np.abs(observed)),
    }
    for alternative, (null, observed) in ways.items():
        p = got[alternative]["p_value"].to_numpy()
        further = (null > observed + 1e-9).mean(axis=0)
        as_far = (null >= observed - 1e-9).mean(axis=0)
        # The curve passes between the steps. The first gene is constant: p = 1 by convention.
        # Three standard errors of 4,000 shuffles are 0.024; measured 0.011.
        assert ((further - 0.025 < p) & (p < as_far + 0.025))[1:].all(), alternative


def test_batches_are_not_taken_for_effects(rng):
    """Targets that are commoner in the deep batch: uniform p-values within strata only."""
    n, genes = 3000, 400
    batch = rng.integers(0, 3, n)
    target = np.where(rng.random(n) < np.array([0.2, 0.5, 0.8])[batch], "T", "ctrl")
    x = rng.poisson(np.array([2, 4, 8])[batch][:, None] * np.ones(genes)).astype(np.float32)
    obs = pd.DataFrame({"target": target, "batch": batch.astype(str)}, [f"c{i}" for i in range(n)])
    data = ad.AnnData(x, obs)
    plain = pdex.de(data, "target", reference="ctrl")["p_value"].to_numpy()
    within = pdex.de(data, "target", reference="ctrl", strata="batch")["p_value"].to_numpy()
    assert plain.max() < 1e-50
    assert stats.kstest(within, "uniform").pvalue > 0.01
    assert 0.02 < (within < 0.05).mean() < 0.09


def test_one_stratum_is_the_test_without_continuity(screen):
    screen.obs["batch"] = "only"
    within = pdex.de(screen, "target", reference="ctrl", strata="batch")
    plain = pdex.de(screen, "target", reference="ctrl", continuity=False)
    # The constant gene has p = 1; its score is 0 here, and undefined there.
    constant = within["feature"] == "g0"
    assert within.filter(constant)["p_value"].to_list() == [1.0] * 3
    assert plain.filter(constant)["p_value"].to_list() == [1.0] * 3
    assert plain.filter(constant)["z_score"].is_nan().all()
    columns = ["z_score", "p_value", "neg_log10_p", "auroc"]
    assert_frame_equal(
        within.filter(~constant).select(columns),
        plain.filter(~constant).select(columns),
        rel_tol=1e-12,
        abs_tol=0,
    )


@pytest.mark.parametrize("reference", ["ctrl", "rest"])
def test_fractions_are_of_all_cells_that_have_a_stratum(screen, reference):
    columns = ["target_fraction", "reference_fraction"]
    got = pdex.de(screen, "target", reference=reference, strata="batch").select(columns)
    assert_frame_equal(got, pdex.de(screen, "target", reference=reference).select(columns))
    assert got.to_series().n_unique() > 5


def test_cells_without_a_stratum_are_left_out(screen, rng):
    hidden = rng.random(screen.n_obs) < 0.2
    screen.obs["batch"] = screen.obs["batch"].astype(object)
    screen.obs.loc[hidden, "batch"] = np.where(rng.random(hidden.sum()) < 0.5, None, "")
    got = pdex.de(screen, "target", reference="ctrl", strata="batch")
    kept = screen[~hidden].copy()
    assert_frame_equal(got, pdex.de(kept, "target", reference="ctrl", strata="batch"))
    assert got["n_reference"][0] == (kept.obs["target"] == "ctrl").sum()


def test_a_target_that_shares_no_stratum_is_nan_and_said(screen):
    screen.obs.loc[screen.obs["target"] == "T3", "batch"] = "its own"
    with pytest.warns(
        UserWarning, match=r"no cell of 'T3' is in a stratum with cells of the reference"
    ):
        got = pdex.de(screen, "target", reference="ctrl", strata="batch")
    lonely = got.filter(pl.col("target") == "T3")
    assert lonely.select("statistic", "p_value", "z_score", "auroc", "fdr").to_numpy() == (
        pytest.approx(np.full((12, 5), np.nan), nan_ok=True)
    )
    assert lonely["target_mean"].is_finite().all()
    assert got.filter(pl.col("target") != "T3")["p_value"].is_finite().all()
    long = pdex.scan_anndata(screen, "target", strata="batch").filter(pl.col("gene") == "g1")
    tested = long.select(
        pdex.wilcoxon("value", "target", reference="ctrl", count="count", strata="stratum")
    )
    row = tested.collect().unnest("wilcoxon").row(2, named=True)
    assert (row["target"], row["p_value"], row["statistic"]) == ("T3", None, None)
    assert row["n_target"] == (screen.obs["target"] == "T3").sum()


def test_a_nan_makes_its_group_nan_whatever_the_stratum():
    frame = pl.DataFrame(
        {
            "value": [1.0, float("nan"), 3.0, 1.0, 2.0, 4.0],
            "target": ["a", "a", "b", "b", "ref", "ref"],
            "batch": [1, 2, 1, 2, 1, 2],
        }
    )
    tests = frame.select(pdex.wilcoxon("value", "target", reference="ref", strata="batch"))
    a, b = tests.unnest("wilcoxon").iter_rows(named=True)
    assert np.isnan([a["statistic"], a["p_value"], a["target_mean"]]).all()
    assert b["statistic"] == 1 / 3  # U = 1 of 1, and 0 of 1


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"strata": "bach"},
            KeyError,
            r"obs has no column 'bach'\. Did you mean 'batch'\? Columns: 'target', 'batch',",
        ),
        (
            {"strata": "batch", "test": "ttest"},
            ValueError,
            "strata is not available for ttest; use test='wilcoxon', or leave strata out",
        ),
        (
            {"strata": "batch", "test": "anderson"},
            ValueError,
            "strata is not available for anderson; use test='wilcoxon', or leave strata out",
        ),
        (
            {"strata": "batch", "method": "exact"},
            ValueError,
            "method='exact' is not available with strata; use 'auto' or 'asymptotic', or leave",
        ),
        (
            {"strata": "alone"},
            ValueError,
            "strata='alone': no cell of 'T1', 'T2', 'T3' is in a stratum with cells of the refere",
        ),
        ({"strata": "alone", "reference": "rest"}, ValueError, "is in a stratum with other cells"),
        (
            {"strata": ["batch"]},
            TypeError,
            r"strata must be the name of one column of obs; got \['batch'\]\. Join several",
        ),
        ({"strata": "empty"}, ValueError, "obs\\['empty'\\] has no cell with a label"),
    ],
)
def test_wrong_strata_are_named(rng, options, error, text):
    screen = make_screen(rng, "counts")
    screen.obs["alone"], screen.obs["empty"] = screen.obs["target"], ""
    with pytest.raises(error, match=text):
        pdex.de(screen, "target", **{"reference": "ctrl", **options})


def test_wrong_strata_of_an_expression_are_named():
    frame = pl.DataFrame({"value": [1, 2], "target": ["a", "ref"], "batch": [0.5, 1.5]})
    with pytest.raises(pl.exceptions.ComputeError, match="column 'batch' has dtype f64"):
        frame.select(pdex.wilcoxon("value", "target", reference="ref", strata="batch"))
    with pytest.raises(
        ValueError,
        match="method='exact' is not available with strata; use 'auto' or 'asymptotic', or leave",
    ):
        pdex.wilcoxon("value", "target", reference="ref", strata="batch", method="exact")
    with pytest.raises(TypeError, match="strata"):
        pdex.ttest("value", "target", reference="ref", strata="batch")


def test_a_result_in_a_file(screen, tmp_path):
    path = tmp_path / "de.parquet"
    lazy = pdex.sink_de(screen, "target", path, reference="ctrl", strata="batch")
    whole = pdex.de(screen, "target", reference="ctrl", strata="batch")
    assert_frame_equal(lazy.collect(), whole, check_exact=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reference", ["ctrl", "rest"])
@pytest.mark.parametrize("test", ["anderson", "ttest"])
def test_auroc_beside_every_test(screen, layout, reference, test, tmp_path):
    screen.X = LAYOUTS[layout](screen.X)
    plain = pdex.de(screen, "target", reference=reference, test=test)
    assert "auroc" not in plain.columns
    got = pdex.de(screen, "target", reference=reference, test=test, auroc=True)
    assert set(got.columns) == {*plain.columns, "auroc"}
    assert_frame_equal(got.drop("auroc"), plain, check_exact=True)
    ranked = pdex.de(screen, "target", reference=reference, auroc=True)
    assert got["auroc"].equals(ranked["auroc"])
    path = tmp_path / "de.parquet"
    lazy = pdex.sink_de(screen, "target", path, reference=reference, test=test, auroc=True)
    assert_frame_equal(lazy.collect(), got, check_exact=True)
    expression = getattr(pdex, test)(
        "value", "target", reference=reference, count="count", auroc=True
    )
    by_gene = pdex.scan_anndata(screen, "target").group_by("gene").agg(expression)
    fields = by_gene.collect_schema()[test].inner.fields
    assert [field.name for field in fields][-1] == "auroc"
    tested = by_gene.explode(test).unnest(test).sort("target", "gene").collect(engine="streaming")
    assert tested["auroc"].equals(got["auroc"])


def test_nothing_is_logged_where_all_share_strata(screen, caplog):
    with caplog.at_level(logging.WARNING):
        pdex.de(screen, "target", reference="ctrl", strata="batch")
    assert caplog.records == []


def test_min_cells_counts_cells_that_have_a_stratum(screen):
    """A target of which most cells have no stratum is as small as those that have one."""
    of_t3 = np.flatnonzero(screen.obs["target"] == "T3")
    screen.obs["batch"] = screen.obs["batch"].astype(object)
    screen.obs.iloc[of_t3[5:], 1] = None
    kept = screen[screen.obs["batch"].notna()].copy()
    least = {"reference": "ctrl", "strata": "batch", "min_cells": 6}
    with pytest.warns(PdexWarning, match="left out 1 group of .* fewer than 6 cells: 'T3'"):
        got = pdex.de(screen, "target", **least)
    assert_frame_equal(got, pdex.de(kept, "target", **least), check_exact=True)
    assert got["target"].unique(maintain_order=True).to_list() == ["T1", "T2"]
    all_kept = pdex.de(screen, "target", **{**least, "min_cells": 5})
    assert all_kept.filter(pl.col("target") == "T3")["n_target"].unique().to_list() == [5]


def test_a_reference_without_a_stratum_is_named(screen):
    screen.obs.loc[screen.obs["target"] == "ctrl", "batch"] = None
    with pytest.raises(ValueError, match="strata='batch': no cell of the reference has a value"):
        pdex.de(screen, "target", reference="ctrl", strata="batch")


def test_cells_that_are_compared_with_none_are_counted_in_the_log(screen, caplog):
    # The fourth batch holds no control.
    n = ((screen.obs["batch"] == "b4") & (screen.obs["target"] != "ctrl")).sum()
    with caplog.at_level(logging.INFO, logger="pdex"):
        pdex.de(screen, "target", reference="ctrl", strata="batch")
    assert f"'batch': {n} cells of targets are in strata without cells of the refer" in caplog.text
    caplog.clear()
    screen.obs["batch"] = np.where(screen.obs["target"] == "T3", "own", screen.obs["batch"])
    screen.obs.iloc[np.flatnonzero(screen.obs["target"] == "T3")[0], 1] = "b1"
    with caplog.at_level(logging.INFO, logger="pdex"):
        pdex.de(screen, "target", reference="rest", strata="batch")
    n = (screen.obs["batch"] == "own").sum()
    assert f"{n} cells of targets are in strata without other cells" in caplog.text


@pytest.mark.parametrize("call", [pdex.de, pdex.scan_anndata])
def test_too_many_strata_are_refused_before_memory_is_taken(call):
    """A column of names of cells: 4,200 values of 4,200 groups are 17.6 million pairs."""
    n = 4200
    names = [f"c{i}" for i in range(n)]
    obs = pd.DataFrame({"target": names, "cell": names}, names)
    data = ad.AnnData(sp.csr_matrix((n, 1), dtype=np.float32), obs)
    text = "strata='cell' has 4,200 values, and there are 4,200 groups: at most 16,777,216 pairs"
    options = {"reference": "c0"} if call is pdex.de else {}
    with pytest.raises(ValueError, match=text):
        call(data, "target", strata="cell", **options)


def test_fold_changes_are_of_all_cells_and_may_point_the_other_way(rng):
    """Lower in each batch, and commoner in the deep one: Simpson's paradox."""
    batch = np.repeat(["deep", "shallow"], 200)
    target = np.where(np.arange(400) % 200 < np.where(batch == "deep", 160, 40), "T", "ctrl")
    mean = np.where(batch == "deep", 50, 5) * np.where(target == "T", 0.8, 1.0)
    obs = pd.DataFrame({"target": target, "batch": batch}, [f"c{i}" for i in range(400)])
    data = ad.AnnData(rng.poisson(mean)[:, None].astype(np.float32), obs)
    row = pdex.de(data, "target", reference="ctrl", strata="batch").row(0, named=True)
    assert row["log2_fold_change"] > 1
    assert row["z_score"] < -5
    assert row["auroc"] < 0.3
