"""The report's file: its numbers read back from the page's own data, its text, its writing."""

import base64
import html
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pdex
import polars as pl
import pytest

FDR = 0.05


class Page:
    """A report's data, unpacked as the page's script does."""

    def __init__(self, path):
        self.text = Path(path).read_text(encoding="utf-8")
        self.meta = json.loads(self.script("meta"))
        data = zlib.decompress(base64.b64decode(self.script("packed")))
        self.arrays, start = {}, 0
        for name, kind, size in self.meta["sections"]:
            width = np.dtype(kind).itemsize
            planes = np.frombuffer(data, np.uint8, size * width, start).reshape(width, size)
            self.arrays[name] = np.ascontiguousarray(planes.T).view(kind).ravel()
            start += size * width
        assert start == len(data)

    def script(self, name):
        (text,) = re.findall(rf'<script type="[a-z/]+" id="{name}">(.*?)</script>', self.text)
        return text

    def card(self, name):
        (text,) = re.findall(rf'<div id="card-{name}">.*?<dd>(.*?) <small>(.*?)</small>', self.text)
        return text

    def points(self, place):
        """One target's points: gene, fold change, -log10 p, whether a hit."""
        before = self.meta["targets"][:place]
        target = self.meta["targets"][place]
        start, parts = sum(sum(t["points"]) for t in before), []
        for hit, count in zip((True, False), target["points"], strict=True):
            part = {name: self.arrays[name][start : start + count] for name in ("gene", "x", "y")}
            genes = np.cumsum(part["gene"].astype(np.int64))
            scaled = {name: part[name] / self.meta["steps"] for name in ("x", "y")}
            columns = {
                "feature": [self.meta["genes"][code] for code in genes],
                "lfc": (2 * scaled["x"] - 1) * target["limit"],
                "log_p": scaled["y"] * target["height"],
                "hit": [hit] * count,
            }
            parts.append(pl.DataFrame(columns))
            start += count
        return pl.concat(parts)

    def top(self, place):
        """One target's first genes."""
        before = self.meta["targets"][:place]
        start, n = sum(t["top"] for t in before), self.meta["targets"][place]["top"]
        genes = self.arrays["top"][start : start + n]
        numbers = self.arrays["numbers"].reshape(-1, len(self.meta["columns"]))[start : start + n]
        names = [self.meta["genes"][code] for code in genes]
        columns = {name: numbers[:, i] for i, name in enumerate(self.meta["columns"])}
        return pl.DataFrame({"feature": names, **columns})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def page(result, folder):
    return Page(pdex.report(result, folder / "report.html", title="A screen"))


def of(result, target):
    text = result.with_columns(pl.col("target", "feature").cast(pl.String))
    return text.filter(pl.col("target") == target)


def test_every_hit_is_there_with_its_numbers(result, page):
    assert [t["name"] for t in page.meta["targets"]] == [f"T00{i}" for i in range(6)]
    for place, target in enumerate(page.meta["targets"]):
        genes = of(result, target["name"])
        hits = genes.filter(pl.col("fdr") < FDR)
        points = page.points(place)
        assert set(points.filter("hit")["feature"]) == set(hits["feature"])
        got = points.join(genes, on="feature")
        assert got.height == points.height
        # Half of one of 4,094 steps; a change at 0 keeps its sign, so a whole one.
        step = 2 * target["limit"] / 4094
        inside = got.filter(pl.col("log2_fold_change").abs() < target["limit"])
        assert (inside["lfc"] - inside["log2_fold_change"]).abs().max() <= step
        inside = inside.filter(pl.col("log2_fold_change") != 0)
        assert (inside["lfc"].sign() == inside["log2_fold_change"].sign()).all()
        assert (got["log_p"] - got["neg_log10_p"]).abs().max() <= target["height"] / 4094 / 2
        assert (target["up"], target["down"], target["dull"]) == (
            hits.filter(pl.col("log2_fold_change") > 0).height,
            hits.filter(pl.col("log2_fold_change") < 0).height,
            300 - hits.height,
        )
        assert target["leading"] == page.meta["genes"].index(
            hits.sort("neg_log10_p")["feature"][-1]
        )
        assert ((genes["neg_log10_p"] > target["line"]) == (genes["fdr"] < FDR)).all()


def test_the_first_genes_have_all_their_numbers(result, page):
    for place, target in enumerate(page.meta["targets"]):
        top = page.top(place)
        expected = of(result, target["name"]).sort("neg_log10_p", descending=True).head(30)
        assert top["feature"].to_list() == expected["feature"].to_list()
        np.testing.assert_allclose(top["effect"], expected["log2_fold_change"], rtol=1e-6)
        for name in ("target_mean", "reference_mean", "neg_log10_p"):
            np.testing.assert_allclose(top[name], expected[name], rtol=1e-6)
        logs = -np.log10(expected["fdr"])
        np.testing.assert_allclose(top["neg_log10_fdr"], logs, rtol=1e-6, atol=1e-12)


def test_the_summary_counts_everything(result, page):
    hits = result.filter(pl.col("fdr") < FDR)
    up = hits.filter(pl.col("log2_fold_change") > 0).height
    assert page.card("cells") == ("1,400", "")
    assert page.card("targets") == ("6", f"{hits['target'].n_unique()} with hits")
    assert page.card("genes") == ("300", "")
    assert page.card("hits") == (f"{hits.height}", f"{up} up, {hits.height - up} down")
    assert "Hits: FDR below 5 %." in page.text


def test_other_thresholds(result, tmp_path):
    page = Page(pdex.report(result, tmp_path / "x.html", fdr=0.01, min_abs_lfc=1.5))
    hits = result.filter((pl.col("fdr") < 0.01) & (pl.col("log2_fold_change").abs() >= 1.5))
    assert page.card("hits")[0] == f"{hits.height}"
    assert "Hits: FDR below 1 % and |log2 fold change| ≥ 1.5." in page.text
    assert sum(t["points"][0] for t in page.meta["targets"]) == hits.height


@pytest.mark.parametrize("fraction", [0.1, 0.25])
def test_cells_where_the_reference_is_the_rest(fraction, tmp_path):
    # With a quarter each, all groups have the same size: the reference is no group of its own.
    screen = pdex.datasets.simulate_screen(
        n_cells=400, n_genes=20, n_targets=3, n_effects=5, reference_fraction=fraction
    )
    rest = pdex.de(screen, "target", reference="rest")
    assert Page(pdex.report(rest, tmp_path / "x.html")).card("cells")[0] == "400"
    group = pdex.de(screen, "target")
    assert Page(pdex.report(group, tmp_path / "y.html")).card("cells")[0] == "400"


def test_cells_of_some_groups_against_the_rest(tmp_path):
    screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    some = pdex.de(screen, "target", reference="rest", groups=["T000", "non-targeting"])
    assert Page(pdex.report(some, tmp_path / "x.html")).card("cells")[0] == "400"


def test_the_smallest_change_keeps_its_direction(make_table, tmp_path):
    table = make_table([1e-20, -1e-20, 3.0], [9.0, 9.0, 9.0])
    page = Page(pdex.report(table, tmp_path / "x.html"))
    assert (page.meta["targets"][0]["up"], page.meta["targets"][0]["down"]) == (2, 1)
    assert page.points(0)["lfc"].sign().to_list() == [1, -1, 1]


@pytest.fixture(scope="module")
def scaled():
    """A screen of z-scores, as scanpy's scale makes them."""
    screen = pdex.datasets.simulate_screen(
        n_cells=800, n_genes=100, n_targets=5, n_effects=30, fold_change=3.0
    )
    x = np.log1p(screen.X.toarray())
    screen.X = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    return screen


def of_scaled(screen, test):
    with pytest.warns(pdex.exceptions.PdexWarning, match="values below 0"):
        result = pdex.de(screen, "target", test=test)
    assert result["log2_fold_change"].is_nan().all()
    return result


NOTE = (
    "No gene has a fold change, because means of z-scores or residuals have no ratio: {}, and {}; "
    "for fold changes, test counts or log values (layer=, use_raw=True)."
)
SCORES = {"wilcoxon": ("z_score", "z-score"), "ttest": ("statistic", "t statistic")}


@pytest.mark.parametrize("test", SCORES)
def test_z_scores_have_hits_and_the_axis_of_the_test(scaled, test, tmp_path):
    result = of_scaled(scaled, test)
    score, title = SCORES[test]
    page = Page(pdex.report(result, tmp_path / "x.html"))
    hits = result.filter(pl.col("fdr") < FDR)
    up = hits.filter(pl.col(score) > 0).height
    assert hits.height > 100
    assert page.card("hits") == (f"{hits.height}", f"{up} up, {hits.height - up} down")
    assert page.card("targets") == ("5", "5 with hits")
    assert page.meta["effect"] == {"name": title, "head": title, "isScore": True}
    note = NOTE.format("hits are counted by FDR alone", f"plots show the {title}")
    assert f'<p class="note" id="missing">{note}</p>' in page.text
    assert f"Each point is a gene, with its {title} and \N{MINUS SIGN}log10 p-value." in page.text
    for place, target in enumerate(page.meta["targets"]):
        genes = of(result, target["name"])
        got = page.points(place).join(genes, on="feature")
        assert got.height == 100
        assert (got["lfc"] - got[score]).abs().max() <= 2 * target["limit"] / 4094
        assert target["undrawn"] == 0
        assert page.top(place)["effect"].to_list() == pytest.approx(
            genes.sort("neg_log10_p", descending=True)[score].head(30).to_list(), rel=1e-6
        )


@pytest.mark.parametrize("test", ["ks", "anderson"])
def test_a_test_without_direction_lists_genes(scaled, test, tmp_path):
    result = of_scaled(scaled, test)
    page = Page(pdex.report(result, tmp_path / "x.html"))
    n_hits = result.filter(pl.col("fdr") < FDR).height
    assert n_hits > 100
    assert page.card("hits") == (f"{n_hits}", f"{n_hits} without direction")
    assert page.meta["effect"] is None
    note = NOTE.format("hits are counted by FDR alone", "genes are listed by p-value")
    assert note in page.text
    assert "Each point is a gene" not in page.text
    assert [t["points"] for t in page.meta["targets"]] == [[0, 0]] * 5
    best = of(result, "T001").sort("neg_log10_p", descending=True)["feature"].head(30)
    assert page.top(1)["feature"].to_list() == best.to_list()


def test_z_scores_reach_no_limit_of_fold_changes(scaled, tmp_path):
    result = of_scaled(scaled, "wilcoxon")
    page = Page(pdex.report(result, tmp_path / "x.html", min_abs_lfc=1))
    assert page.card("hits") == ("0", "0 up, 0 down")
    note = NOTE.format("no gene reaches the limit of fold changes", "plots show the z-score")
    assert note in page.text


def test_hits_without_fold_change_among_others(make_table, tmp_path):
    lfc, z = [1.0, np.nan, np.nan, np.nan, 0.0, np.nan], [5.0, 4.0, -4.0, np.nan, 9.0, 1.0]
    table = make_table(lfc, [9.0, 8.0, 7.0, 6.0, 5.0, 0.1], z_score=z)
    page = Page(pdex.report(table, tmp_path / "x.html"))
    (target,) = page.meta["targets"]
    kinds = [target[name] for name in ("up", "down", "flat", "hits", "dull", "undrawn")]
    assert kinds == [2, 1, 2, 5, 1, 4]
    assert page.card("hits") == ("5", "2 up, 1 down, 2 without direction")
    assert target["points"] == [2, 0]
    # A change of 0 lies in the middle.
    assert page.points(0)["lfc"].to_list() == [pytest.approx(1.0, abs=1e-3), 0.0]
    assert page.meta["effect"]["name"] == "log2 fold change"
    assert 'id="missing"' not in page.text
    page = Page(pdex.report(table, tmp_path / "x.html", min_abs_lfc=0.5))
    assert page.card("hits") == ("1", "1 up, 0 down")


def test_own_gene(make_table, tmp_path):
    table = make_table([1.0, -2.5], [12.0, 9.0], names=["other", "T"])
    (target,) = Page(pdex.report(table, tmp_path / "x.html")).meta["targets"]
    assert target["own"] == {"effect": -2.5, "fdr": 1e-9}


def test_200_targets_of_8_000_hits_each_stay_below_5_mb(tmp_path):
    rng = np.random.default_rng(0)
    n_targets, n_genes = 200, 8_000
    n = n_targets * n_genes
    log_p = rng.exponential(20, n) + 3
    targets = pl.Series([f"T{i}" for i in range(n_targets)], dtype=pl.Categorical)
    genes = pl.Series([f"GENE{i}" for i in range(n_genes)], dtype=pl.Categorical)
    table = pl.DataFrame(
        {
            "target": targets.gather(np.repeat(np.arange(n_targets), n_genes)),
            "feature": genes.gather(np.tile(np.arange(n_genes), n_targets)),
            "log2_fold_change": rng.normal(0, 1, n),
            "neg_log10_p": log_p,
            "fdr": 10.0**-log_p,
        }
    )
    path = pdex.report(table, tmp_path / "x.html")
    page = Page(path)
    assert page.card("hits")[0] == "1,600,000"
    drawn = [t["points"][0] for t in page.meta["targets"]]
    assert min(drawn) > 1_200
    assert max(drawn) <= 2_500
    # Measured: 2.3 MB.
    assert path.stat().st_size < 5_000_000
    best = set(table.filter(pl.col("target") == "T3").sort("neg_log10_p")["feature"][-30:])
    assert best <= set(page.points(3)["feature"])


def test_points_are_shared_out_fairly():
    from pdex._plotting.encode import _fair

    rng = np.random.default_rng(4)
    for _ in range(200):
        counts = rng.integers(0, 30, rng.integers(1, 9))
        total = int(rng.integers(0, 150))
        cuts = [c for c in range(31) if np.minimum(counts, c).sum() <= total]
        # As far as it cuts anything: the largest that keeps within the total.
        assert _fair(counts, total) == min(cuts[-1], counts.max())


NAMES = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "β-actin's",
    "<!--",
]


def test_names_cannot_leave_their_place(make_table, tmp_path):
    table = make_table([1.0, -1.0, 2.0, 3.0], [5.0, 6.0, 7.0, 8.0], names=NAMES)
    table = table.with_columns(target=pl.lit(NAMES[0]))
    path = pdex.report(table, tmp_path / "x.html", title=f"{NAMES[0]} {{{{packed}}}} \\1")
    page = Page(path)
    assert page.meta["genes"] == NAMES
    assert page.meta["targets"][0]["name"] == NAMES[0]
    assert page.text.count("<script") == page.text.count("</script>") == 3
    assert "<img" not in page.text
    (heading,) = re.findall("<h1>(.*)</h1>", page.text)
    assert html.unescape(heading) == f"{NAMES[0]} {{{{packed}}}} \\1"


def test_nothing_is_loaded(page):
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page.text)
    assert re.findall(r"(?:src|href)=\"(?!data:,)", page.text) == []
    assert "default-src 'none'" in page.text


def test_calibration(page, result, tmp_path):
    assert "calibration" not in page.meta
    log_p = [np.nan, 0.0, -np.log10(0.06), 3.0, 5.0]
    null = pl.DataFrame({"neg_log10_p": log_p})
    got = Page(pdex.report(result, tmp_path / "x.html", calibration=null)).meta["calibration"]
    assert (got["n"], got["missing"]) == (4, 1)
    assert got["levels"] == [0.1, 0.05, 0.01, 0.001, 0.0001]
    assert got["shares"] == [0.75, 0.5, 0.5, 0.5, 0.25]
    assert got["judged"] == [True, True, True, False, False]
    assert got["verdict"] is None
    assert got["histogram"] == [2, 1, *[0] * 17, 1]
    assert got["observed"] == [5, 3, 1.2218, 0]
    assert got["expected"] == pytest.approx([-np.log10(k / 5) for k in (1, 2, 3, 4)], rel=1e-4)


@pytest.mark.parametrize("kind", ["parquet", "ipc", "csv"])
def test_the_verdict_of_a_file_of_pdex_calibrate(kind, result, tmp_path):
    from pdex.cli import main

    screen = pdex.datasets.simulate_screen(n_cells=900, n_genes=60, n_targets=6, n_effects=0)
    screen.write_h5ad(tmp_path / "screen.h5ad")
    nulls = tmp_path / f"nulls.{kind}"
    assert main(["calibrate", str(tmp_path / "screen.h5ad"), "-g", "target", "-o", str(nulls)]) == 0
    got = Page(pdex.report(result, tmp_path / "x.html", calibration=nulls)).meta["calibration"]
    # Text has no metadata.
    assert got["verdict"] == (None if kind == "csv" else "calibrated")
    assert got["judged"] == [True, True, True, False, False]


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "ipc", "arrow", "feather"])
def test_files_give_the_same_page(kind, make_table, tmp_path):
    names = ["7", "007", "1e5", "NaN"]  # labels all the same
    table = make_table([1.0, -1.0, np.nan, np.inf], [5.0, 400.0, 7.0, np.inf], names=names)
    path = tmp_path / f"de.{kind}"
    if kind in ("csv", "tsv"):
        table.write_csv(path, separator="," if kind == "csv" else "\t")
    elif kind == "parquet":
        table.write_parquet(path)
    else:
        table.write_ipc(path)
    expected = pdex.report(table, tmp_path / "x.html").read_bytes()
    assert pdex.report(path, tmp_path / "y.html").read_bytes() == expected
    assert pdex.report(str(path), str(tmp_path / "z.html"), calibration=path) == tmp_path / "z.html"


def test_a_page_that_fails_leaves_the_old_one(result, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        pdex.report(result, path)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "old"


BAD = {
    "kind": ("de.xlsx", ValueError, r"de\.xlsx: expected the result of pdex.de as one of .parquet"),
    "screen": ("screen.h5ad", ValueError, "is a screen, not a result: run pdex.de first"),
    "no file": ("nope.parquet", FileNotFoundError, r"nope\.parquet: there is no such file"),
    "broken": ("broken.parquet", ValueError, r"broken\.parquet cannot be read as parquet"),
    "columns": (
        "other.csv",
        ValueError,
        r"other\.csv: the frame has no column 'feature'\. Columns: 'target', 'b'; a result of",
    ),
    "rows": ("empty.csv", ValueError, "no rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(name, result, tmp_path):
    file, kind, message = BAD[name]
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    (tmp_path / "other.csv").write_text("target,b\nx,1\n")
    result.head(0).write_csv(tmp_path / "empty.csv")
    with pytest.raises(kind, match=message):
        pdex.report(tmp_path / file, tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_bad_places_and_options_are_named(result, tmp_path):
    with pytest.raises(
        IsADirectoryError, match=r"is a folder: name a file, such as .*report\.html"
    ):
        pdex.report(result, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nope: make it first"):
        pdex.report(result, tmp_path / "nope" / "x.html")
    with pytest.raises(ValueError, match="fdr must be a number from 0 to 1; got 2"):
        pdex.report(result, tmp_path / "x.html", fdr=2)
    with pytest.raises(TypeError, match="expected a frame of Polars or pandas, got list"):
        pdex.report([], tmp_path / "x.html")
    null = pl.DataFrame({"p_value": [None, None]})
    with pytest.raises(ValueError, match="calibration: the frame has no p-values"):
        pdex.report(result, tmp_path / "x.html", calibration=null)
    assert list(tmp_path.iterdir()) == []
