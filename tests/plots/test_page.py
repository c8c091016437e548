"""The report in a real browser: headless Chromium, from a file, without a network."""

import numpy as np
import pdex
import polars as pl
import pytest

N_TARGETS, N_GENES = 200, 8_000
EVIL = '</script><img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def big():
    """200 targets x 8,000 genes as a screen gives them; target i has 2 i hits, half of them up."""
    rng = np.random.default_rng(1)
    n = N_TARGETS * N_GENES
    target, gene = np.divmod(np.arange(n), N_GENES)
    hit = gene < 2 * target
    lfc = rng.normal(0, 0.3, n) + np.where(hit, np.where(gene % 2, 2.0, -2.0), 0.0)
    log_p = np.where(hit, 4 + rng.exponential(15, n), rng.exponential(0.4, n))
    names = [f"T{i:03d}" for i in range(N_TARGETS)]
    genes = [f"GENE{i}" for i in range(N_GENES)]
    genes[7] = EVIL
    return pl.DataFrame(
        {
            "target": pl.Series(names, dtype=pl.Enum(names)).gather(target),
            "feature": pl.Series(genes, dtype=pl.Enum(genes)).gather(gene),
            "n_target": 100 + target,
            "n_reference": np.full(n, 1_000),
            "target_mean": rng.gamma(1.0, 1.0, n) + 0.01,
            "reference_mean": rng.gamma(1.0, 1.0, n) + 0.01,
            "log2_fold_change": lfc,
            "neg_log10_p": log_p,
            "fdr": np.where(hit, 1e-3, 0.6),
        }
    )


@pytest.fixture(scope="module")
def path(big, tmp_path_factory):
    null = pl.DataFrame({"p_value": np.random.default_rng(3).random(5_000)})
    folder = tmp_path_factory.mktemp("page")
    return pdex.report(big, folder / "report.html", title="A <big> screen", calibration=null)


@pytest.fixture
def page(chromium, path):
    """The page, open; whatever it complains of, or asks the network for, fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: request.url.startswith("file:") or wrong.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    yield page
    context.close()
    assert [text for text in wrong if not text.startswith("data:")] == []


def texts(page, selector):
    return [text.strip() for text in page.locator(selector).all_text_contents()]


def targets(page):
    return texts(page, "#body tr td:first-child")


def dots(page, change):
    """How many points of a kind the volcano draws."""
    return page.locator(f"#plot path.points.{change}").get_attribute("d").count("M")


def hits(big, name):
    return big.filter((pl.col("target") == name) & (pl.col("fdr") < 0.05))


def test_200_targets_of_8_000_genes_are_below_5_mb(path):
    assert path.stat().st_size < 5_000_000  # measured: 1.3 MB


def test_it_opens_on_the_target_with_most_hits(page, big):
    assert page.title() == "A <big> screen"
    assert page.locator("h1").inner_text() == "A <big> screen"
    assert page.locator("#name").inner_text() == "T199"
    # 100 to 299 cells a target, and 1,000 of the reference.
    assert page.locator("#card-cells dd").inner_text() == "40,900"
    assert page.locator("#card-targets dd").inner_text().split() == ["200", "199", "with", "hits"]
    total = page.locator("#card-hits dd").inner_text().split()[0]
    assert total == f"{(big['fdr'] < 0.05).sum():,}" == "39,800"
    assert len(targets(page)) == 200


def test_a_click_changes_the_volcano_and_the_genes(page, big):
    before = page.locator("#plot svg").inner_html()
    page.locator("#body tr", has_text="T012").click()
    assert page.locator("#name").inner_text() == "T012"
    assert page.locator("#plot svg").inner_html() != before
    assert (dots(page, "up"), dots(page, "down")) == (12, 12)
    page.locator("#body tr", has_text="T150").click()
    assert (dots(page, "up"), dots(page, "down")) == (150, 150)
    assert 500 < dots(page, "none") <= 1_200
    assert "up (150)" in page.locator("#legend").inner_text()
    assert "250 cells against 1,000" in page.locator("#facts").inner_text()
    expected = hits(big, "T150").sort("neg_log10_p", descending=True).head(30)
    assert texts(page, "#top td:first-child") == expected["feature"].cast(pl.String).to_list()
    shown = [float(t.replace("\N{MINUS SIGN}", "-")) for t in texts(page, "#top td:nth-child(2)")]
    np.testing.assert_allclose(shown, expected["log2_fold_change"], atol=0.0051)
    shown = [float(t.replace("\N{MINUS SIGN}", "-")) for t in texts(page, "#top td:nth-child(5)")]
    np.testing.assert_allclose(np.log10(shown), -expected["neg_log10_p"], atol=0.03)
    heights = page.locator("#plot line.lead").evaluate_all(
        "lines => lines.map((line) => Number(line.getAttribute('y1')))"
    )
    assert heights == sorted(heights)  # downwards on the screen: the most significant is on top
    labels = texts(page, "#plot text.label")
    assert labels == expected["feature"].cast(pl.String).to_list()[:12]
    assert page.url.endswith("#T150")


def test_a_target_without_hits(page):
    page.locator("#body tr", has_text="T000").click()
    assert (dots(page, "up"), dots(page, "down")) == (0, 0)
    assert texts(page, "#plot text.label") == []


def test_the_search_box_filters(page):
    page.locator("#filter").fill("t01")
    assert sorted(targets(page)) == [f"T01{i}" for i in range(10)]
    assert page.locator("#count").inner_text() == "10 of 200 targets"
    page.locator("#filter").fill("nope")
    assert targets(page) == []
    page.locator("#filter").fill("")
    page.locator("#only-hits").check()
    assert len(targets(page)) == 199


def test_the_table_sorts(page):
    assert targets(page)[:2] == ["T199", "T198"]
    page.get_by_role("button", name="Hits").click()
    assert targets(page)[:2] == ["T000", "T001"]
    page.get_by_role("button", name="Cells").click()
    assert targets(page)[0] == "T199"
    assert page.locator("th[aria-sort=descending]").inner_text().strip().startswith("Cells")
    page.get_by_role("button", name="Target", exact=True).click()
    assert targets(page) == [f"T{i:03d}" for i in range(200)]


def test_the_keyboard_is_enough(page):
    page.locator("#body button").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#name").inner_text() == "T198"
    assert page.locator("#body button[aria-current=true]").inner_text() == "T198"
    page.locator("#plot svg").focus()
    page.keyboard.press("ArrowRight")
    first = texts(page, "#top td:first-child")
    assert page.locator("#said").inner_text().startswith(f"{first[0]}: log2 fold change")
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text().startswith(first[1])
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_the_table_is_one_stop_of_the_tab_key(page):
    page.get_by_role("button", name="Top hit").focus()
    page.keyboard.press("Tab")
    focused = "document.activeElement.textContent"
    assert page.evaluate(focused) == "T199"
    page.keyboard.press("End")
    assert page.evaluate(focused) == page.locator("#name").inner_text() == "T000"
    page.keyboard.press("Home")
    assert page.locator("#name").inner_text() == "T199"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "gene"
    # Where the chosen row is filtered out, the first one is the stop.
    page.locator("#filter").fill("T05")
    assert page.locator("#body button[tabindex='0']").all_text_contents() == ["T059"]


def test_the_filter_leads_into_the_table(page):
    page.locator("#filter").fill("T05")
    page.keyboard.press("Enter")
    assert page.locator("#name").inner_text() == "T059"
    assert page.evaluate("document.activeElement.id") == "filter"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.locator("#name").inner_text() == "T058"
    assert page.url.endswith("#T058")
    page.locator("#filter").fill("nope")
    page.keyboard.press("Enter")
    assert page.locator("#name").inner_text() == "T058"


def test_one_row_is_marked_whatever_is_shown(page):
    page.locator("#body tr", has_text="T150").click()
    page.locator("#filter").fill("T00")
    page.locator("#body tr", has_text="T003").click()
    page.locator("#filter").fill("")
    page.get_by_role("button", name="Cells").click()
    assert texts(page, "#body tr.chosen td:first-child") == ["T003"]
    assert texts(page, "#body button[aria-current=true]") == ["T003"]


def test_long_names_and_repeated_genes(chromium, tmp_path):
    long = "x" * 300
    table = pl.DataFrame(
        {
            "target": [long] * 4,
            "feature": ["twin", "twin", long, "other"],
            "log2_fold_change": [2.0, -1.0, 1.5, 0.1],
            "neg_log10_p": [30.0, 20.0, 10.0, 0.1],
            "fdr": [1e-20, 1e-10, 1e-5, 0.9],
        }
    )
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(pdex.report(table, tmp_path / "x.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    assert texts(page, "#plot text.label") == ["twin", "twin", "x" * 23 + "…"]
    assert texts(page, "#top td:nth-child(2)") == ["2.00", "\N{MINUS SIGN}1.00", "1.50", "0.10"]
    colours = page.locator("#top td:nth-child(2)").evaluate_all(
        "cells => cells.map(c => c.className)"
    )
    assert colours == ["up", "down", "up", "none"]
    for row, shown in ((0, "2.00"), (1, "\N{MINUS SIGN}1.00"), (2, "1.50")):
        page.locator("#top tr").nth(row).hover()
        assert f"log2 fold change {shown}\n" in page.locator("#tip").inner_text()
    tip, plot = (page.locator(name).bounding_box() for name in ("#tip", "#plot"))
    assert tip["x"] + tip["width"] <= plot["x"] + plot["width"] + 1
    page.close()


def test_a_gene_is_found(page, big):
    page.locator("#body tr", has_text="T150").click()
    page.locator("#gene").fill("gene21")
    gene = hits(big, "T150").filter(pl.col("feature").cast(pl.String) == "GENE21")
    said = page.locator("#said").inner_text()
    number = said.split("about ")[1].split(",")[0].replace("\N{MINUS SIGN}", "-")
    assert said.startswith("GENE21: ")
    assert float(number) == pytest.approx(gene["log2_fold_change"].item(), abs=0.01)
    page.locator("#gene").fill("nope")
    assert page.locator("#said").inner_text() == "No gene has a name that starts like that."


def test_the_pointer_shows_the_nearest_gene(page):
    label = page.locator("#plot text.label").first
    name = label.text_content()
    line = page.locator("#plot line.lead").first
    x, y = (float(line.get_attribute(key)) for key in ("x1", "y1"))
    box = page.locator("#plot svg").bounding_box()
    view = page.evaluate("document.querySelector('#plot svg').viewBox.baseVal.width")
    page.mouse.move(box["x"] + x * box["width"] / view, box["y"] + y * box["width"] / view)
    assert page.locator("#tip").inner_text().split("\n")[0] == name


def test_names_are_text(page):
    page.locator("#body tr", has_text="T004").click()
    assert EVIL in texts(page, "#top td:first-child")
    assert page.locator("img").count() == 0
    assert page.title() == "A <big> screen"


def test_the_address_names_a_target(page):
    page.evaluate("location.hash = '#T042'")
    from playwright.sync_api import expect

    expect(page.locator("#name")).to_have_text("T042", timeout=30_000)
    assert (dots(page, "up"), dots(page, "down")) == (42, 42)


def test_a_page_within_a_page_works(chromium, path):
    """As a notebook shows it: it may run scripts, and has no address of its own."""
    page, wrong = chromium.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.set_content('<iframe sandbox="allow-scripts" width="1200" height="900"></iframe>')
    text = path.read_text(encoding="utf-8")
    page.locator("iframe").evaluate("(frame, text) => { frame.srcdoc = text; }", text)
    inner = page.frame_locator("iframe")
    inner.locator("html[data-ready]").wait_for()
    inner.locator("#body tr", has_text="T012").click()
    assert inner.locator("#name").inner_text() == "T012"
    assert wrong == []
    page.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """Opens the report of a frame; an error of its script fails the test."""
    tabs, wrong = [], []

    def open_(table, **options):
        tab = chromium.new_page(viewport={"width": 1280, "height": 900})
        tabs.append(tab)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto(pdex.report(table, tmp_path / "x.html", **options).as_uri())
        tab.wait_for_selector("html[data-ready]")
        return tab

    yield open_
    for tab in tabs:
        tab.close()
    assert wrong == []


def without_changes(**columns):
    """A result of one target without fold changes."""
    table = {
        "target": ["T"] * 4,
        "feature": ["a", "b", "c", "d"],
        "log2_fold_change": [np.nan] * 4,
        "neg_log10_p": [9.0, 8.0, 7.0, 0.1],
        "fdr": [1e-8, 1e-7, 1e-6, 0.9],
    }
    return pl.DataFrame(table | columns)


def test_z_scores_are_drawn_where_there_are_no_fold_changes(opened):
    page = opened(without_changes(z_score=[6.0, -5.5, 5.0, 0.2]))
    assert (dots(page, "up"), dots(page, "down"), dots(page, "none")) == (2, 1, 1)
    assert "z-score" in texts(page, "#plot text")
    assert texts(page, "#top-heads th") == ["Gene", "z-score", "p-value", "FDR"]
    assert texts(page, "#top td:nth-child(2)") == ["6.00", "\N{MINUS SIGN}5.50", "5.00", "0.20"]
    assert texts(page, "#legend > span") == ["up (2)", "down (1)", "not a hit (1)"]
    assert page.locator("#missing").is_visible()
    page.locator("#top tr").nth(1).hover()
    assert "z-score \N{MINUS SIGN}5.50\n" in page.locator("#tip").inner_text()


def test_genes_are_listed_where_nothing_has_a_direction(opened):
    page = opened(without_changes())
    assert page.locator("#plot, #gene, #legend").filter(visible=True).count() == 0
    assert page.locator("#facts").inner_text() == "3 hits"
    assert texts(page, "#top-heads th") == ["Gene", "p-value", "FDR"]
    assert texts(page, "#top td:first-child") == ["a", "b", "c", "d"]
    title = page.locator("#body tr td[title*=up]").get_attribute("title")
    assert title == "0 up, 0 down, 3 without direction"
    page.locator("#top tr").nth(1).hover()
    page.set_viewport_size({"width": 360, "height": 900})
    page.wait_for_timeout(50)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_verdict_is_a_heading_and_rare_levels_are_not_judged(opened):
    screen = pdex.datasets.simulate_screen(n_cells=900, n_genes=60, n_targets=6, n_effects=0)
    found = pdex.calibrate(screen, "target", seed=1)
    page = opened(without_changes(), calibration=found)
    assert page.locator("#calibration-heading").inner_text() == "Calibration: calibrated"
    rows = [texts(page, f"#shares tbody tr:nth-child({i}) td") for i in range(1, 6)]
    assert [len(row) for row in rows] == [3, 3, 3, 2, 2]
    assert rows[3:] == [[f"p ≤ {p}", "not judged (1,200 p-values)"] for p in (0.001, 0.0001)]
    style = "node => getComputedStyle(node).color"
    grey = page.locator("header p").first.evaluate(style)
    colours = [page.locator("#shares tbody tr").nth(i).locator("td").last for i in (2, 3)]
    assert [cell.evaluate(style) == grey for cell in colours] == [False, True]
    pair, table = (page.locator(name).bounding_box() for name in (".pair", "#shares table"))
    assert table["x"] + table["width"] <= pair["x"] + pair["width"] + 1


def test_calibration_is_shown(page):
    assert page.locator("#calibration-heading").inner_text() == "Calibration"
    shown = page.locator("#calibration")
    assert "5,000 p-values" in shown.inner_text()
    assert page.locator("#histogram rect").count() == 20
    assert page.locator("#quantiles path.dots").get_attribute("d").count("M") > 200
    assert texts(page, "#shares tbody tr:nth-child(2) td")[:2] == ["p ≤ 0.05", "5 %"]


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
def test_nothing_hangs_over_the_side(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(50)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#plot svg").bounding_box()["width"] <= width


def test_without_javascript_the_summary_is_there(chromium, path):
    page = chromium.new_page(java_script_enabled=False)
    page.goto(path.as_uri())
    assert page.locator("#card-cells dd").inner_text() == "40,900"
    assert "need JavaScript" in page.locator("noscript").inner_text()
    page.close()


def test_a_page_cut_short_says_so(chromium, path, tmp_path):
    text = path.read_text(encoding="utf-8")
    start = text.index('id="packed">') + len('id="packed">')
    broken = tmp_path / "broken.html"
    broken.write_text(text[: start + 4_000] + text[text.index("</script>", start) :])
    page = chromium.new_page()
    page.goto(broken.as_uri())
    page.wait_for_selector("#failure:not([hidden])")
    assert "cannot be read" in page.locator("#failure").inner_text()
    page.close()
