"""The report of a screen of 2,000 targets: small, printed, by keyboard, on any screen."""

import re

import numpy as np
import pdex
import polars as pl
import pytest

N_TARGETS, N_GENES = 2_000, 300


@pytest.fixture(scope="module")
def screen():
    """2,000 targets x 300 genes; target i has 1 + i % 100 hits, the first of which is itself."""
    rng = np.random.default_rng(2)
    n = N_TARGETS * N_GENES
    target, gene = np.divmod(np.arange(n), N_GENES)
    hit = (gene - target) % N_GENES < 1 + target % 100
    genes = [f"GENE{i}" for i in range(N_GENES)]
    targets = [f"GENE{i}" if i < N_GENES else f"TARGET-{i}" for i in range(N_TARGETS)]
    log_p = np.where(hit, 4 + rng.exponential(5, n), rng.exponential(0.4, n))
    return pl.DataFrame(
        {
            "target": pl.Series(targets, dtype=pl.Enum(targets)).gather(target),
            "feature": pl.Series(genes, dtype=pl.Enum(genes)).gather(gene),
            "log2_fold_change": rng.normal(0, 0.3, n) + np.where(hit, -2.0 + gene % 2 * 4.0, 0.0),
            "neg_log10_p": log_p,
            "fdr": np.where(hit, 1e-3, 0.6),
            "target_mean": rng.gamma(1.0, 1.0, n),
            "reference_mean": rng.gamma(1.0, 1.0, n),
            "n_target": 20 + target % 80,
            "n_reference": np.full(n, 4_000),
        }
    )


@pytest.fixture(scope="module")
def path(screen, tmp_path_factory):
    null = pl.DataFrame({"p_value": np.random.default_rng(3).random(5_000)})
    folder = tmp_path_factory.mktemp("big")
    about = pdex.Description(
        *("wilcoxon", {"alternative": "two-sided"}, "target", "non-targeting"),
        *("/data/" + "a-long-name/" * 9 + "screen.h5ad", "X", False, "arithmetic", 1e-9),
        *("target", 120_000, N_TARGETS, N_GENES),
    )
    screen.write_parquet(folder / "de.parquet", metadata=about.metadata())
    return pdex.report(folder / "de.parquet", folder / "report.html", calibration=null)


@pytest.fixture
def page(chromium, path):
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    # How many elements there are at the moment when the page can be used.
    page.add_init_script("""new MutationObserver((_, observer) => {
        if (!document.documentElement?.dataset.ready) return;
        observer.disconnect();
        window.elements = document.querySelectorAll("*").length;
    }).observe(document, { attributes: true, subtree: true });""")
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    yield page
    context.close()


def all_rows(page):
    from playwright.sync_api import expect

    expect(page.locator("#body > tr")).to_have_count(N_TARGETS, timeout=30_000)


def shown(page, target):
    from playwright.sync_api import expect

    expect(page.locator("#name")).to_have_text(target, timeout=30_000)


FOCUSED = """(() => {
    const node = document.activeElement, style = getComputedStyle(node);
    return [node.id || node.closest("svg")?.parentNode.id || node.textContent,
        parseFloat(style.outlineWidth) * (style.outlineStyle !== "none")];
})()"""
STOPS = ["filter", "only-hits", "Target", "Cells", "Hits", "Own gene", "Top hit", "GENE98"]
STOPS += ["gene", "plot"]


def test_it_is_small_and_starts_with_some_of_the_rows(page, path):
    # Measured: 3.5 MB; 2,855 elements at first and 16,455 in the end, 8 per target.
    assert path.stat().st_size < 5_000_000
    assert page.evaluate("window.elements") < 4_000
    all_rows(page)
    assert page.evaluate("document.querySelectorAll('*').length") < 18_000


def test_all_hits_are_drawn_if_there_are_few(page, screen):
    points = page.evaluate(
        "JSON.parse(document.getElementById('meta').textContent).targets.map((t) => t.points)"
    )
    assert [hits for hits, _ in points] == [1 + i % 100 for i in range(N_TARGETS)]
    # 101,000 hits leave half a million less these, 199 for each target.
    assert max(dull for _, dull in points) == 199
    assert min(dull for _, dull in points) > 150
    assert "of 100 hits drawn" not in page.locator("#facts").inner_text()


def test_a_target_far_down_can_be_opened_by_its_address(chromium, path):
    page = chromium.new_page()
    page.goto(f"{path.as_uri()}#TARGET-1900")
    page.wait_for_selector("html[data-ready]")
    assert page.locator("#name").inner_text() == "TARGET-1900"
    row, box = (page.locator(name).bounding_box() for name in ("tr.chosen", "#rows"))
    assert box["y"] < row["y"] < box["y"] + box["height"]
    # Upwards, the heading hides no row either.
    page.evaluate("location.hash = '#TARGET-1199'")
    shown(page, "TARGET-1199")
    head, row = (page.locator(name).bounding_box() for name in ("#heads th >> nth=0", "tr.chosen"))
    assert head["y"] + head["height"] <= row["y"] + 1
    page.close()


# --- keyboard -----------------------------------------------------------------------------------


def test_the_tab_key_visits_everything_in_order_and_leaves(page):
    all_rows(page)
    # The second row, so that it is the chosen one and not the first that is the table's only stop.
    page.evaluate("location.hash = '#GENE98'")
    shown(page, "GENE98")
    seen = []
    for _ in STOPS:
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUSED))
    assert [name for name, _ in seen] == STOPS
    assert all(width >= 2 for _, width in seen)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement === document.body")
    for name in reversed(STOPS):
        page.keyboard.press("Shift+Tab")
        assert page.evaluate(FOCUSED)[0] == name


def test_the_list_is_walked_by_keys(page):
    page.locator("#filter").focus()
    page.keyboard.press("ArrowDown")
    names = [page.locator("#name").inner_text()]
    for key in ("End", "PageUp", "ArrowUp", "PageDown", "PageDown", "Home", "PageDown", "ArrowUp"):
        page.keyboard.press(key)
        names.append(page.locator("#name").inner_text())
        assert page.evaluate("document.activeElement.textContent") == names[-1]
    shown = page.locator("#body tr td:first-child").all_text_contents()
    assert len(shown) == N_TARGETS
    assert [shown.index(name) for name in names] == [0, 1999, 1989, 1988, 1998, 1999, 0, 10, 9]


def test_the_heading_of_the_list_hides_no_focused_row(page):
    all_rows(page)
    page.locator("#body button").first.focus()
    page.keyboard.press("End")
    hidden = """() => document.querySelector("#heads th").getBoundingClientRect().bottom
        - document.querySelector("tr.chosen").getBoundingClientRect().top"""
    for _ in range(25):
        page.keyboard.press("ArrowUp")
        assert page.evaluate(hidden) <= 1


def test_roles_and_names(page):
    plot = page.get_by_role("application")
    assert plot.get_attribute("aria-label").startswith("Volcano of GENE99: 50 genes up, 50 down.")
    assert page.get_by_role("table", name="Targets").locator("tr.chosen").count() == 1
    top = page.get_by_role("table", name="GENE99 Top 30 genes by p-value")
    assert top.locator("tbody tr").count() == 30
    assert page.get_by_role("searchbox", name="Filter targets by name").count() == 1
    assert page.get_by_role("checkbox", name="with hits").count() == 1
    assert page.get_by_role("status").count() == 2
    assert page.get_by_role("region").count() == 3
    assert page.get_by_role("heading", level=1).count() == 1


# --- screens ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [320, 360, 480, 900, 1280])
def test_no_table_is_cut_off(page, width):
    all_rows(page)
    page.set_viewport_size({"width": width, "height": 780})
    page.wait_for_timeout(50)
    wide = "(node) => node.scrollWidth - node.clientWidth"
    assert page.locator("html").evaluate(wide) <= 0
    if width >= 360:
        assert page.locator("#rows").evaluate(wide) <= 0
        assert page.locator("#top-rows").evaluate(wide) <= 0


#: Text whose colour stands out less than 4.5 to 1 from what is behind it, which WCAG AA asks for.
FAINT = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const known = new Map();
    const rgba = (colour) => {
        if (!known.has(colour)) known.set(colour, drawn(colour));
        return known.get(colour);
    };
    const drawn = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = (colour) => {
        const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = rgba(colour).map((c) => linear(c / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (rgba(colour)[3] === 255) return colour;
        }
        return "white";
    };
    const faint = [];
    let n = 0;
    const judge = (name, colour, ground) => {
        const [low, high] = [light(colour), light(ground)].sort((a, b) => a - b);
        n += 1;
        if ((high + 0.05) / (low + 0.05) < 4.5) faint.push([name, colour, ground]);
    };
    for (const node of document.querySelectorAll("body *")) {
        const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
        if (!node.checkVisibility()) continue;
        const style = getComputedStyle(node);
        const colour = node.matches("svg *") ? style.fill : style.color;
        if (own) judge(node.textContent.slice(0, 40), colour, behind(node));
        const shown = getComputedStyle(node, "::placeholder");
        if (node.placeholder) judge(node.placeholder, shown.color, behind(node));
    }
    return [faint, n];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out(page, scheme):
    all_rows(page)
    page.emulate_media(color_scheme=scheme)
    page.locator("#body tr", has_text="GENE98").first.click()
    page.locator("#plot svg").focus()
    page.keyboard.press("ArrowRight")  # shows the tip
    faint, n = page.evaluate(FAINT)
    assert faint == []
    assert n > 8_000
    background = page.locator("#detail").evaluate(
        "(node) => getComputedStyle(node).backgroundColor"
    )
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(29, 33, 37)"}[scheme]


def test_nothing_moves(page):
    """So there is nothing to stop for those who prefer reduced motion."""
    moving = """() => [...document.querySelectorAll("*")].filter((node) => {
        const style = getComputedStyle(node);
        return style.transitionDuration !== "0s" || style.animationName !== "none"
            || style.scrollBehavior !== "auto";
    }).length"""
    assert page.evaluate(moving) == 0


def test_forced_colours_keep_what_colours_say(page):
    page.emulate_media(forced_colors="active")
    style = "(node, name) => getComputedStyle(node)[name]"
    assert page.locator("tr.chosen").evaluate(style, "outlineStyle") == "solid"
    bar = page.locator("tr.chosen .bar").evaluate(style, "backgroundImage")
    assert len(set(re.findall(r"rgb\([\d, ]+\)", bar))) == 3
    assert page.locator(".dot.up").evaluate(style, "backgroundColor") in bar


# --- paper --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_shows_the_target_then_the_calibration_then_all_targets(page, scheme):
    all_rows(page)
    # As wide as A4 between its margins.
    page.set_viewport_size({"width": 703, "height": 1_000})
    page.emulate_media(media="print", color_scheme=scheme)
    boxes = {name: page.locator(f"#{name}").bounding_box() for name in ("detail", "calibration")}
    boxes["targets"] = page.locator("#targets-heading").bounding_box()
    ends = {name: box["y"] + box["height"] for name, box in boxes.items()}
    assert ends["detail"] <= boxes["calibration"]["y"]
    assert ends["calibration"] <= boxes["targets"]["y"]
    style = "(node, name) => getComputedStyle(node)[name]"
    colour = page.locator("h1").evaluate(style, "color")
    assert sum(map(int, re.findall(r"\d+", colour))) < 120  # dark, on white paper
    assert page.locator("#filter, #gene, #only-hits").filter(visible=True).count() == 0
    # Headings with boxes in them would not be repeated on each page.
    assert page.locator("#heads button").first.evaluate(style, "display") == "contents"
    assert page.locator("#heads th").first.evaluate(style, "position") == "static"
    # Two columns, and no row hangs out of them.
    right = page.locator("#body tr").evaluate_all(
        "rows => rows.map(r => r.getClientRects()[0].right)"
    )
    assert len(right) == N_TARGETS
    assert len({round(x) for x in right}) == 2
    assert max(right) <= 703


def test_the_paper_has_few_pages(page):
    text = page.pdf(format="A4")
    pages = re.findall(rb"/Type\s*/Page\b", text)
    assert 15 <= len(pages) <= 22  # measured: 19


def test_what_is_filtered_is_what_is_printed(page):
    page.locator("#filter").fill("TARGET-10")
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) == 3
