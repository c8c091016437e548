"""What the charts of `pdex.pl` draw: read back from their specification, and from rendered SVG."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import stats

alt = pytest.importorskip("altair", reason="needs the extra plots")
NUMBERS = ["log2_fold_change", "neg_log10_p", "fdr"]


def of(result, target="T001"):
    """One target's rows, labels as text."""
    text = result.with_columns(pl.col("target", "feature").cast(pl.String))
    return text.filter(pl.col("target") == target)


def subtitle(chart):
    return " / ".join(chart.to_dict()["title"]["subtitle"])


def scale(layer, channel):
    return layer["encoding"][channel]["scale"]


# --- volcano ------------------------------------------------------------------------------------


def test_volcano_draws_the_numbers_of_the_frame(result, drawn, spec_of):
    chart = pdex.pl.volcano(result, "T001")
    genes = of(result)
    got = drawn(chart).join(genes, on="feature", suffix="_true")
    assert got.height == drawn(chart).height
    for name in NUMBERS:  # four digits are written
        np.testing.assert_allclose(got[name], got[f"{name}_true"], rtol=5e-4)
    hits = genes.filter(pl.col("fdr") < 0.05)
    changes = dict(got.group_by("change").len().iter_rows())
    assert changes["up"] == hits.filter(pl.col("log2_fold_change") > 0).height
    assert changes["down"] == hits.filter(pl.col("log2_fold_change") < 0).height
    assert hits.height > 40
    assert set(got.filter(pl.col("change") != "none")["feature"]) == set(hits["feature"])
    sizes = genes.row(0, named=True)
    ways = f"{changes['up']} up, {changes['down']} down"
    expected = f"{hits.height} of 300 genes below FDR 0.05: {ways}; "
    expected += f"{sizes['n_target']} cells against 140"
    assert subtitle(chart).startswith(expected)
    colour = scale(spec_of(chart, "circle")[0], "color")
    assert dict(zip(colour["domain"], colour["range"], strict=True)) == {
        "up": "#d55e00",
        "down": "#0072b2",
        "none": "#a3a8ae",
    }


def test_volcano_labels_the_smallest_p_values(result, drawn):
    hits = of(result).sort("neg_log10_p", descending=True)["feature"]
    for n in (0, 1, 12):
        chart = pdex.pl.volcano(result, "T001", n_labels=n)
        texts = [part for part in chart.layer if getattr(part.mark, "type", "") == "text"]
        assert len(texts) == (2 if n else 0)
        if n:
            assert set(drawn(chart, "text")["feature"]) == set(hits[:n])


def test_volcano_line_parts_hits_from_others(result, drawn):
    genes = of(result)
    line = drawn(pdex.pl.volcano(result, "T001", n_labels=0), "rule")["y"].item()
    assert ((genes["neg_log10_p"] > line) == (genes["fdr"] < 0.05)).all()


def test_volcano_least_fold_change(result, drawn):
    chart = pdex.pl.volcano(result, "T001", min_abs_lfc=1.6, fdr=0.01, n_labels=0)
    hit = (pl.col("fdr") < 0.01) & (pl.col("log2_fold_change").abs() >= 1.6)
    expected = of(result).filter(hit)
    points = drawn(chart)
    assert set(points.filter(pl.col("change") != "none")["feature"]) == set(expected["feature"])
    below = of(result).filter(pl.col("fdr") < 0.01)
    assert below.height > expected.height
    assert set(below["feature"]) <= set(points["feature"])  # significant: drawn, if grey
    assert drawn(chart, "rule")["x"].drop_nulls().to_list() == [-1.6, 1.6]


def test_volcano_of_20_000_genes_is_thinned_and_small(wide, drawn):
    dull = ["ENSG00000019999", "ENSG00000019998"]
    chart = pdex.pl.volcano(wide, labels=dull)
    points = drawn(chart)
    # Measured: 173 kB indented, 3,000 hits and 1,074 of 17,000 others.
    assert len(chart.to_json()) < 250_000
    features = set(points["feature"])
    assert set(wide["feature"][:3_000]) | set(dull) <= features
    assert 1_000 < len(features) - 3_000 <= 2_002
    assert set(drawn(chart, "text")["feature"]) == set(dull)
    assert f"{len(features) - 3_000:,} of 17,000 others drawn" in subtitle(chart)
    # A gene left out has a gene that is drawn within 8 pixels.
    size = np.array([560, 400])
    kept = wide["feature"].is_in(list(features))
    xy = wide.select("log2_fold_change", "neg_log10_p").to_numpy()
    span = np.array([2 * 1.06 * np.abs(xy[:, 0]).max(), 1.06 * xy[:, 1].max()])
    pixels = xy / span * size
    there, gone = pixels[kept.to_numpy()], pixels[~kept.to_numpy()]
    nearest = [np.sqrt(((there - place) ** 2).sum(axis=1).min()) for place in gone[::7]]
    assert max(nearest) < 8


def test_volcano_draws_all_of_20_000_hits_below_1_mb(wide, drawn):
    chart = pdex.pl.volcano(wide.with_columns(fdr=pl.col("p_value") * 1e-3))
    assert drawn(chart).height == 20_000
    # Measured: 0.93 MB with names of 15 letters; indented, as Altair does by default.
    assert len(chart.to_json()) < 1_000_000


def test_volcano_outside_the_axes(make_table, drawn):
    table = make_table(
        [-26.5, 1.0, -1.0, np.inf, np.nan, 0.5, 2.0],
        [5.0, np.inf, 7.0, 6.0, 3.0, np.nan, 2.0],
        target_mean=[0.0, 2.0, 1.0, 1.0, 1.0, 1.0, 4.0],
        reference_mean=[1.0, 1.0, 2.0, 0.0, 1.0, 1.0, 1.0],
    )
    chart = pdex.pl.volcano(table, n_labels=0)
    assert drawn(chart)["feature"].to_list() == ["g6", "g2"]
    edge = {row["feature"]: row for row in drawn(chart, "point").to_dicts()}
    assert {name: row["turn"] for name, row in edge.items()} == {"g0": 270, "g1": 0, "g3": 90}
    # The axes end 6 % beyond the largest that is a ratio of two means above 0, or finite.
    assert edge["g0"]["x"] == pytest.approx(-2.12)
    assert edge["g3"]["x"] == pytest.approx(2.12)
    assert edge["g1"]["y"] == pytest.approx(7.42)
    assert edge["g0"]["log2_fold_change"] == "\N{MINUS SIGN}26.5"
    assert edge["g1"]["neg_log10_p"] == "∞"
    assert "triangles: beyond the axes; 2 genes cannot be drawn" in subtitle(chart)


def test_volcano_goes_on_where_p_values_are_0(make_table, drawn):
    table = make_table([1.0, 2.0], [400.0, 500.0])
    assert table["p_value"].to_list() == [0.0, 0.0]
    assert sorted(drawn(pdex.pl.volcano(table))["neg_log10_p"]) == [400, 500]


def test_volcano_without_a_single_place(make_table, drawn):
    table = make_table([np.nan, 1.0], [1.0, np.nan])
    chart = pdex.pl.volcano(table)
    assert drawn(chart).height == 0
    assert "2 genes cannot be drawn" in subtitle(chart)
    assert "<svg" in svg(chart)


# --- MA -----------------------------------------------------------------------------------------


def test_ma_draws_the_mean_of_both_means(result, drawn, spec_of):
    chart = pdex.pl.ma(result, "T002")
    got = drawn(chart).join(of(result, "T002"), on="feature", suffix="_true")
    mean = (got["target_mean"] + got["reference_mean"]) / 2
    np.testing.assert_allclose(got["mean"], mean, rtol=5e-4)
    np.testing.assert_allclose(got["log2_fold_change"], got["log2_fold_change_true"], rtol=5e-4)
    axis = spec_of(chart, "circle")[0]["encoding"]["x"]
    assert axis["scale"]["type"] == "log"
    assert all(
        re.fullmatch(r"[125](e.*|\.0)|0\.0*[125]|[125]0*(\.0)?", str(v))
        for v in axis["axis"]["values"]
    )


def test_scales_of_ma_leave_vega_no_warning(result):
    parts = pdex.pl.ma(result, "T003").to_dict()["layer"]
    scales = [
        channel["scale"]
        for part in parts
        for channel in part["encoding"].values()
        if "scale" in channel
    ]
    logs = [scale for scale in scales if scale and scale.get("type") == "log"]
    assert len(logs) >= 4
    assert all("zero" not in scale for scale in logs)


def test_ma_leaves_out_genes_without_expression(make_table, drawn):
    means = {"target_mean": [0.0, 2.0, -3.0], "reference_mean": [0.0, 1.0, 1.0]}
    chart = pdex.pl.ma(make_table([0.0, 1.0, 0.5], [0.0, 3.0, 2.0], **means), n_labels=0)
    assert drawn(chart)["feature"].to_list() == ["g1"]
    assert "2 genes cannot be drawn" in subtitle(chart)


# --- top genes ----------------------------------------------------------------------------------


def test_top_genes_are_those_of_the_smallest_p_values(result, drawn, spec_of):
    chart = pdex.pl.top_genes(result, "T003", n=15)
    expected = of(result, "T003").sort("neg_log10_p", descending=True).head(15)
    stems = spec_of(chart, "rule")[1]
    assert "x2" in stems["encoding"]
    got = drawn(chart).sort("rank")
    assert got["feature"].to_list() == expected["feature"].to_list()
    np.testing.assert_allclose(got["x"], expected["log2_fold_change"], rtol=5e-4)
    np.testing.assert_allclose(got["size"], expected["neg_log10_p"], rtol=5e-4)
    assert chart.to_dict()["height"] == 15 * 18


def test_top_genes_of_one_name_stay_two_and_far_ones_end_at_the_edge(make_table, drawn):
    means = {"target_mean": [2.0, 1.0, 0.0], "reference_mean": [1.0, 2.0, 1.0]}
    names = ["g", "g", "h"]
    table = make_table([1.0, -1.0, -25.0], [3.0, 2.0, 9.0], names=names, **means)
    got = drawn(pdex.pl.top_genes(table)).unique("rank").sort("rank")
    assert got["feature"].to_list() == ["h", "g", "g"]
    assert got["turn"].to_list() == [270, 0, 0]
    assert got["x"].to_list() == pytest.approx([-1.04, 1, -1])
    assert got["log2_fold_change_text"][0] == "\N{MINUS SIGN}25"


# --- effects ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blocks():
    """Two kinds of targets, mixed, that change two kinds of genes, mixed."""
    table = [
        {
            "target": f"t{t}",
            "feature": f"g{g}",
            "log2_fold_change": (1.0 if g % 2 else -1.0) * (t % 2) + 0.01 * t,
            "neg_log10_p": 5.0 + g if t % 2 else 0.1,
            "fdr": 0.001 if t % 2 and g < 8 else 0.9,
        }
        for t in range(6)
        for g in range(10)
    ]
    return pl.DataFrame(table)


def test_effects_puts_alike_next_to_each_other(blocks, spec_of):
    (cells,) = spec_of(pdex.pl.effects(blocks), "rect")
    for channel in ("y", "x"):
        kinds = [int(name[1:]) % 2 for name in cells["encoding"][channel]["scale"]["domain"]]
        assert kinds in (sorted(kinds), sorted(kinds, reverse=True))
    (plain,) = spec_of(pdex.pl.effects(blocks, cluster=False), "rect")
    assert plain["encoding"]["y"]["scale"]["domain"] == [f"t{i}" for i in range(6)]


def test_effects_chooses_the_genes_with_most_hits(blocks, drawn, spec_of):
    chart = pdex.pl.effects(blocks, n_genes=4, n_targets=3, cluster=False)
    (cells,) = spec_of(chart, "rect")
    assert cells["encoding"]["x"]["scale"]["domain"] == ["g4", "g5", "g6", "g7"]
    assert cells["encoding"]["y"]["scale"]["domain"] == ["t1", "t3", "t5"]
    assert "3 of 6 targets; 4 of 10 genes" in subtitle(chart)
    got = drawn(chart, "rect")
    assert got.height == 12
    assert set(got["change"]) == {"up", "down"}
    cut = blocks.filter(pl.col("fdr") < 0.05, pl.col("feature").is_in(["g4", "g5", "g6", "g7"]))
    cut = cut["log2_fold_change"].abs().quantile(0.98)
    assert scale(cells, "color")["domain"] == pytest.approx([-cut, 0, cut])
    assert got["log2_fold_change"].abs().max() == pytest.approx(cut)


def test_effects_draws_what_is_asked_for(result, drawn, spec_of):
    chart = pdex.pl.effects(result, genes=["g7", "g3"], targets=["T004", "T000"], cluster=False)
    (cells,) = spec_of(chart, "rect")
    assert cells["encoding"]["x"]["scale"]["domain"] == ["g7", "g3"]
    assert cells["encoding"]["y"]["scale"]["domain"] == ["T004", "T000"]
    for row in drawn(chart, "rect").to_dicts():
        true = of(result, row["target"]).filter(pl.col("feature") == row["feature"])
        number = float(row["text"].replace("\N{MINUS SIGN}", "-"))
        assert number == pytest.approx(true["log2_fold_change"].item(), rel=5e-4)


def test_effects_of_thousands_render(rng):
    """A list to sort by would end Vega's stack."""
    n = 2_000
    table = {
        "target": np.repeat([f"t{i}" for i in range(n)], 3),
        "feature": ["a", "b", "c"] * n,
        "log2_fold_change": rng.normal(size=3 * n),
        "neg_log10_p": rng.exponential(size=3 * n),
        "fdr": 0.5,
    }
    text = svg(pdex.pl.effects(pl.DataFrame(table), n_targets=n))
    assert text.count('aria-roledescription="rect mark"') == 3 * n


def test_effects_of_one_is_one(make_table):
    assert pdex.pl.effects(make_table([1.0], [9.0])).title.text == "Effects: 1 target x 1 gene"


def test_effects_of_a_repeated_gene_is_its_smallest_p_value(make_table, drawn):
    table = make_table([1.0, 2.0, 0.5], [3.0, 9.0, 1.0], names=["g", "g", "h"])
    got = drawn(pdex.pl.effects(table), "rect")
    assert dict(got.select("feature", "text").iter_rows()) == {"g": "2", "h": "0.5"}


# --- p-values -----------------------------------------------------------------------------------


def parts(chart):
    """The two pictures, each as a chart of layers with their data."""
    return chart.hconcat


def test_pvalues_histogram_and_quantiles(result, drawn):
    p = result["p_value"].to_numpy()
    bars, quantiles = parts(pdex.pl.pvalues(result, bins=10))
    counts = np.histogram(p, 10, (0, 1))[0]
    assert drawn(bars, "bar")["count"].to_list() == counts.tolist()
    assert drawn(bars, "rule")["count"].item() == p.size / 10
    rows = drawn(quantiles, "circle")
    n = p.size
    rank = np.round((n + 1) * 10.0 ** -rows["expected"].to_numpy())
    assert rank[[0, -1]].tolist() == [1, n]
    np.testing.assert_allclose(10.0 ** -rows["expected"].to_numpy(), rank / (n + 1), rtol=2e-3)
    log_p = np.sort(result["neg_log10_p"].to_numpy())[::-1][rank.astype(int) - 1]
    np.testing.assert_allclose(rows["observed"], log_p, rtol=5e-4)
    for name, q in (("upper", 0.025), ("lower", 0.975)):
        bound = -np.log10(stats.beta.ppf(q, rank, n - rank + 1))
        np.testing.assert_allclose(rows[name], bound, rtol=5e-4, atol=1e-12)


def test_the_band_holds_19_of_20_uniform_p_values():
    from pdex._plotting.null_distribution import quantiles

    rng = np.random.default_rng(2)
    plots = [quantiles(-np.log10(rng.random(500)), most=30) for _ in range(2_000)]
    inside = [(p.lower <= p.observed) & (p.observed <= p.upper) for p in plots]
    share = np.mean(inside, axis=0)
    # Of each rank: 0.95, and four standard errors of 2,000 draws.
    assert np.abs(share - 0.95).max() < 0.02


def test_pvalues_of_one_target_and_missing_ones(result, make_table):
    left, _ = parts(pdex.pl.pvalues(result, "T001"))
    assert left.title.text == "T001: 300 p-values"
    left, _ = parts(pdex.pl.pvalues(make_table([0.0] * 3, [1.0, np.nan, 2.0])))
    assert left.title.text == "2 p-values"
    assert "1 missing left out" in left.title.subtitle[0]


def test_pvalues_of_exactly_0_and_1(make_table, drawn):
    table = make_table([0.0] * 4, [np.inf, 0.0, 0.0, 1.0])
    bars, quantiles = parts(pdex.pl.pvalues(table, bins=2))
    assert drawn(bars, "bar")["count"].to_list() == [2, 2]
    assert drawn(quantiles, "circle")["observed"].is_finite().all()


# --- every chart --------------------------------------------------------------------------------

CHARTS = {
    "volcano": lambda frame: pdex.pl.volcano(frame, "T001"),
    "ma": lambda frame: pdex.pl.ma(frame, "T001"),
    "top_genes": lambda frame: pdex.pl.top_genes(frame, "T001"),
    "effects": lambda frame: pdex.pl.effects(frame, n_genes=20),
    "pvalues": lambda frame: pdex.pl.pvalues(frame),
}


def svg(chart):
    converter = pytest.importorskip("vl_convert", reason="needs the extra plots")
    return converter.vegalite_to_svg(chart.to_json())


@pytest.mark.parametrize("name", CHARTS)
def test_charts_render_all_their_marks(name, result, drawn):
    chart = CHARTS[name](result)
    text = svg(chart)
    if name == "pvalues":
        _, quantiles = parts(chart)
        assert text.count('aria-roledescription="bar"') == 20
        shown = text.count('aria-roledescription="circle"')
        assert shown == drawn(quantiles, "circle").height
        return
    if name == "effects":
        assert text.count('aria-roledescription="rect mark"') == 6 * 20
        return
    points = drawn(chart)
    assert text.count('aria-roledescription="circle"') == points.height
    labels = drawn(chart, "text") if name != "top_genes" else points
    assert all(f">{label}<" in text for label in labels["feature"])


@pytest.mark.parametrize("name", CHARTS)
def test_charts_combine(name, result):
    both = CHARTS[name](result) | CHARTS["volcano"](result)
    assert len(both.to_dict()["hconcat"]) >= 2


def spelled(frame, name):
    """The chart's specification, in which the data's names are their hashes."""
    spec = CHARTS[name](frame).to_dict()
    assert all(key.startswith("data-") for key in spec.get("datasets", {}))
    return str(spec)


@pytest.mark.parametrize("name", CHARTS)
def test_other_frames_give_the_same_chart(name, result):
    expected = spelled(result, name)
    text = result.with_columns(pl.col("target", "feature").cast(pl.String))
    pandas = pd.DataFrame({c: text[c].to_list() for c in text.columns})
    categories = pandas.astype({"target": "category", "feature": "category"})
    v03 = text.rename(
        {
            "n_target": "target_membership",
            "n_reference": "ref_membership",
            "reference_mean": "ref_mean",
        }
    )
    for frame in (text, text.lazy(), pandas, categories, pandas.convert_dtypes(), v03):
        assert spelled(frame, name) == expected
    # From the p-value the logarithm differs in its last bits, below the four digits written.
    assert spelled(text.drop("neg_log10_p"), name) == expected


def test_missing_numbers_of_pandas(make_table, drawn):
    table = make_table([1.0, 2.0, 3.0], [5.0, 6.0, 7.0]).to_dict(as_series=False)
    pandas = pd.DataFrame(table | {"neg_log10_p": [5.0, None, 7.0]}).convert_dtypes()
    assert pandas["neg_log10_p"].dtype == "Int64"
    chart = pdex.pl.volcano(pandas)
    assert sorted(drawn(chart)["feature"]) == ["g0", "g2"]
    assert "1 gene cannot be drawn" in subtitle(chart)


def test_the_frame_of_pdex_01(drawn):
    screen = pdex.datasets.simulate_screen(n_cells=900, n_genes=100, n_targets=3, n_effects=20)
    table = pdex.parallel_differential_expression(screen, groupby_key="target")
    got = drawn(pdex.pl.volcano(table, "T002")).sort("feature")
    one = table[table["target"] == "T002"].set_index("feature").loc[got["feature"].to_list()]
    np.testing.assert_allclose(got["log2_fold_change"], np.log2(one["fold_change"]), rtol=5e-4)
    np.testing.assert_allclose(got["neg_log10_p"], -np.log10(one["p_value"]), rtol=5e-4, atol=1e-9)
    np.testing.assert_allclose(got["fdr"], one["fdr"], rtol=5e-4)


def test_names_are_kept_whatever_is_in_them(make_table, drawn):
    names = ['a,"b"', "</script>", "β-actin", "007", "1e5", " x ", "it's"]
    table = make_table(np.linspace(1, 2, 7), np.linspace(5, 9, 7), names=names)
    assert set(drawn(pdex.pl.volcano(table))["feature"]) == set(names)
    text = svg(pdex.pl.top_genes(table))
    assert all(name in text for name in ("β-actin", "007", "1e5", "it's"))


def test_long_names_leave_a_picture_its_size(make_table, drawn):
    names = ["G" + "x" * 300, "short"]
    table = make_table([1.0, -1.0], [9.0, 8.0], names=names).with_columns(target=pl.lit("t" * 300))
    for draw in (pdex.pl.volcano, pdex.pl.top_genes, pdex.pl.effects):
        width = float(re.search(r'<svg[^>]* width="([0-9.]+)"', svg(draw(table)))[1])
        assert width < 820
    chart = pdex.pl.volcano(table)
    assert chart.title.text == "t" * 59 + "…"
    assert set(drawn(chart, "text")["feature"]) == {"G" + "x" * 22 + "…", "short"}
    # The tooltip has all of it.
    assert set(drawn(chart)["feature"]) == set(names)


def test_axes_of_one_gene_have_numbers(make_table, spec_of):
    means = {"target_mean": [2.0], "reference_mean": [2.0]}
    (points,) = spec_of(pdex.pl.ma(make_table([0.3], [2.0], **means)), "circle")
    assert points["encoding"]["x"]["axis"]["values"] == [1.0, 2.0, 5.0]
    left, right = pdex.pl.pvalues(make_table([0.3], [2.0])).hconcat
    assert spec_of(left, "bar")[0]["encoding"]["y"]["axis"]["values"] == [0, 1]
    (points,) = spec_of(right, "circle")
    assert scale(points, "x")["domain"] == [0, pytest.approx(1.02 * np.log10(2))]


def test_the_legend_that_charts_share_counts_none_of_them(result):
    both = svg(pdex.pl.volcano(result, "T001") | pdex.pl.volcano(result, "T002"))
    legend = both[both.index('aria-roledescription="legend"') :]
    shown = re.findall(r">([^<>]*)</text>", legend)[:3]
    assert shown == ["up", "down", "not a hit"]


# --- labels -------------------------------------------------------------------------------------


def test_labels_do_not_cover_each_other(rng):
    from pdex._plotting.subsample import CHARACTER_WIDTH, LINE_HEIGHT, place_labels

    points = rng.normal([500, 60], [12, 15], (25, 2))
    names = [f"GENE{i:02}" for i in range(25)]
    centres = place_labels(points, names, points, (560, 400))
    half = np.array([CHARACTER_WIDTH * 6 / 2 + 2, LINE_HEIGHT / 2])
    assert (centres - half >= 0).all()
    assert (centres + half <= [560, 400]).all()
    gaps = np.abs(centres[:, None] - centres[None])
    covered = (gaps < 2 * half - 0.01).all(axis=2)
    assert covered.sum() <= 25 + 2  # each covers itself; at most one pair where it is crowded


def test_a_label_keeps_off_the_crowd():
    from pdex._plotting.subsample import place_labels

    crowd = np.stack(np.meshgrid(np.arange(105.0, 300, 4), np.arange(60.0, 140, 4)), -1)
    (centre,) = place_labels(np.array([[100.0, 100.0]]), ["AB"], crowd.reshape(-1, 2), (560, 400))
    assert centre[0] < 100


# --- bad input ----------------------------------------------------------------------------------

BAD = {
    "target": (lambda r: pdex.pl.volcano(r, "nope"), "target 'nope' is not in the frame.*'T000'"),
    "no target": (lambda r: pdex.pl.ma(r), "target: the frame has 6 of them, choose one: 'T000'"),
    "column": (
        lambda r: pdex.pl.volcano(r.drop("fdr"), "T000"),
        "no column 'fdr'.*'target', 'feature'.*pdex.de",
    ),
    "means": (lambda r: pdex.pl.ma(r.drop("target_mean"), "T000"), "no column 'target_mean'"),
    "rows": (lambda r: pdex.pl.volcano(r.head(0)), "no rows"),
    "label": (lambda r: pdex.pl.ma(r, "T000", labels=["nope"]), "labels: 'nope'.*300 in all"),
    "fdr": (
        lambda r: pdex.pl.top_genes(r, "T000", fdr=5),
        "fdr must be a number from 0 to 1; got 5",
    ),
    "lfc": (
        lambda r: pdex.pl.effects(r, min_abs_lfc=-1),
        "min_abs_lfc must be a number >= 0; got -1",
    ),
    "NaN": (lambda r: pdex.pl.volcano(r, "T000", fdr=np.nan), "fdr must be a number >= 0; got nan"),
    "n": (lambda r: pdex.pl.top_genes(r, "T000", n=0), "n must be an integer >= 1; got 0"),
    "n_labels": (
        lambda r: pdex.pl.volcano(r, "T000", n_labels=1.5),
        r"n_labels must be an integer >= 0; got 1\.5",
    ),
    "width": (
        lambda r: pdex.pl.volcano(r, "T000", width=0),
        "width must be an integer >= 50; got 0",
    ),
    "bins": (lambda r: pdex.pl.pvalues(r, bins=1), "bins must be an integer >= 2; got 1"),
    "confidence": (
        lambda r: pdex.pl.pvalues(r, confidence=1),
        "confidence must be a number between 0 and 1; got 1",
    ),
    "gene": (lambda r: pdex.pl.effects(r, genes=["nope"]), "genes: 'nope'"),
    "genes": (lambda r: pdex.pl.effects(r, genes=[]), "genes: the list is empty"),
    "targets": (lambda r: pdex.pl.effects(r, targets="nope"), "targets: 'nope'"),
    "missing": (
        lambda r: pdex.pl.volcano(r.with_columns(target=pl.lit(None, pl.String))),
        "target is missing in 1800 rows",
    ),
    "no p": (
        lambda r: pdex.pl.pvalues(r.with_columns(neg_log10_p=pl.lit(float("nan")))),
        "no p-values",
    ),
    "no p here": (
        lambda r: pdex.pl.top_genes(r.with_columns(neg_log10_p=pl.lit(None)), "T000"),
        "'T000' has no gene with a p-value",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_named(name, result):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call(result)


def test_bad_types_are_named(result):
    with pytest.raises(TypeError, match="frame: expected a frame of Polars or pandas, got dict"):
        pdex.pl.volcano({"target": []})
    with pytest.raises(TypeError, match="fdr holds String: expected numbers"):
        pdex.pl.volcano(result.with_columns(pl.col("fdr").cast(pl.String)), "T000")


def test_without_altair_the_error_names_the_extra(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    for draw in CHARTS.values():
        with pytest.raises(ImportError, match=r"pip install 'pdex\[plots\]'"):
            draw(result)


def test_importing_pdex_imports_no_plotting():
    code = "import pdex, sys; print([m for m in ('altair', 'scipy', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_frames_are_left_alone(result):
    before = result.clone()
    for draw in CHARTS.values():
        draw(result)
    assert_frame_equal(result, before)


def test_the_room_imports_nothing_of_pdex_but_itself():
    room = Path(pdex.__file__).parent / "_plotting"
    files = sorted(room.glob("*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            ours = [name for name in names if name.split(".")[0] == "pdex"]
            # The report states the version, which only the compiled module knows, and how the
            # result was made.
            more = ("pdex._pdex", "pdex._files", "pdex._description")
            allowed = ("pdex._plotting", *(more if file.name == "report.py" else ()))
            assert all(name.startswith(allowed) for name in ours), f"{file.name}: {ours}"
