"""What notebooks show of objects: the content of the text, escaped, without colours of its own."""

import html.parser
import re
import shutil

import pdex
import pytest

EVIL = '<script>alert("1")</script>'
OBJECTS = ["calibration", "tables", "description", "screen", "counted"]


class Shown(html.parser.HTMLParser):
    """The cells of tables, row by row, and all tags and texts."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.tags, self.texts, self.open = [], [], [], []
        self.feed(page)
        assert self.open == []  # every tag is closed, in order

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def screen():
    """A screen of which a target, the control guides and a column are called like scripts."""
    screen = pdex.datasets.simulate_screen(n_cells=600, n_genes=40, n_targets=3, n_effects=5)
    screen.obs["target"] = screen.obs["target"].cat.rename_categories({"T001": EVIL})
    screen.obs["guide"] = [f"{EVIL} {i % 3}" for i in range(600)]
    screen.obs[EVIL] = 1.5
    return screen


@pytest.fixture(scope="module")
def objects(screen, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown") / "<b>.tables"
    tables = pdex.tabulate(screen, "target", output=folder, normalize=10_000)
    return {
        "calibration": pdex.calibrate(screen, "target", by="guide", min_cells=2),
        "tables": tables,
        "description": pdex.describe(pdex.de(screen, "target", exclude=[EVIL])),
        "screen": pdex.info(screen),
        "counted": pdex.info(tables),
    }


@pytest.mark.parametrize("name", OBJECTS)
def test_html_is_small_and_harmless_and_has_no_colours(objects, name):
    page = objects[name]._repr_html_()
    shown = Shown(page)
    assert len(page) < 8_000  # measured: 1 to 4.2 kB
    known = {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "p", "pre"}
    assert {tag for tag, _ in shown.tags} <= known
    assert {key for _, attributes in shown.tags for key in attributes} <= {"style", "scope"}
    styles = " ".join(attributes.get("style", "") for _, attributes in shown.tags)
    assert not re.search("color|background|#", styles)
    if name in ("calibration", "description", "screen"):
        assert any(EVIL in text for text in shown.texts)
    if name in ("tables", "counted"):
        assert any("<b>.tables" in text for text in shown.texts)


@pytest.mark.parametrize("name", ["calibration", "tables", "description"])
def test_html_says_what_the_text_says(objects, name):
    lines = str(objects[name]).splitlines()[name != "description" :]
    rows = [re.split(": +", line.strip(), maxsplit=1) for line in lines]
    assert Shown(objects[name]._repr_html_()).rows == rows
    assert len(rows) >= 4


def test_calibration(objects):
    found = objects["calibration"]
    shown = Shown(found._repr_html_())
    assert shown.texts[0] == f"Calibration: {found.verdict}"
    rows = dict(shown.rows)
    n = found.summary["n"][0]
    assert rows["test"].startswith("wilcoxon (alternative=two-sided, method=auto, ")
    assert rows["compared"] == (
        "3 groups of obs['guide'], each against the others: 60 cells of 'non-targeting'"
    )
    assert rows["judged"].startswith(f"{n} p-values of 3 comparisons; {120 - n} of genes")
    share, lower, upper = (100 * found.summary[k][0] for k in ("fraction", "lower", "upper"))
    assert rows["p <= 0.05"].startswith(
        f"{share:.3g} % (independent tests {lower:.3g} to {upper:.3g} %, splits "
    )


def test_random_splits_say_so(screen):
    found = pdex.calibrate(screen, "target", n_splits=4, test="ks")
    assert found.test == "ks"
    assert found.options == {"alternative": "two-sided", "method": "auto"}
    assert found.compared == "4 random splits of the 60 cells of 'non-targeting'"


def test_tables(objects):
    tables = objects["tables"]
    rows = dict(Shown(tables._repr_html_()).rows)
    assert rows["cells"] == "600 in 4 groups by target"
    assert rows["genes"] == "40"
    assert rows["values"].startswith("X: counts, scaled to 10000 per cell, tested as log1p; 0 to ")
    n_bytes = sum(path.stat().st_size for path in tables.path.glob("part*"))
    n_rows = tables.scan().collect().height
    assert rows["stored"] == (
        f"{n_rows:,} rows, {n_bytes / 1000:.0f} kB on disk, written by pdex {pdex.__version__}"
    )


def test_tables_of_a_part(screen, tmp_path):
    tables = pdex.tabulate(screen, "target", output=tmp_path / "x.tables", part=(2, 3))
    assert str(tables).splitlines()[0] == f"Tables({str(tmp_path / 'x.tables')!r})"
    assert str(tables).splitlines()[-1] == "  part: 2 of 3"
    assert "X: counts, as they are stored; 0 to " in str(tables)


def test_info(screen, objects):
    found = objects["screen"]
    shown = Shown(found._repr_html_())
    assert shown.texts[0] == "AnnData in memory: 600 cells x 40 genes"
    assert shown.rows[0][:4] == ["matrix", "layout", "dtype", "stored"]
    stored = f"{screen.X.nnz:,} ({screen.X.nnz / 24_000:.0%})"
    assert shown.rows[1][:4] == ["X", "csr", "float32", stored]
    assert shown.rows[1][-1] == f"counts: 0 to {screen.X.max():.4g}"
    assert shown.rows[2] == ["obs", "kind", "distinct", "missing", "controls"]
    assert shown.rows[3] == ["target", "categorical", "4", "", "non-targeting"]
    assert [row[:3] for row in shown.rows[4:]] == [["guide", "text", "3"], [EVIL, "float", "1"]]
    assert shown.texts[-1] == found.call == "pdex.de(adata, 'target', reference='non-targeting')"
    assert "The result has 120 rows, 13 kB in memory:" in shown.texts
    assert set(found.sentences()) < set(shown.texts)


def test_open_tables_are_shown_when_their_folder_is_gone(screen, tmp_path):
    tables = pdex.tabulate(screen, "target", output=tmp_path / "x.tables")
    shown = repr(tables)
    shutil.rmtree(tables.path)
    assert repr(tables) == shown


def test_info_names_eight_controls(screen):
    many = screen.copy()
    many.obs["guide"] = [f"non-targeting_{i % 30:02d}" for i in range(600)]
    row = next(row for row in Shown(pdex.info(many)._repr_html_()).rows if row[0] == "guide")
    named = ", ".join(f"non-targeting_{i:02d}" for i in range(8))
    assert row[1:] == ["text", "30", "", f"{named} and 22 more"]


def test_info_shows_thirty_columns(screen):
    wide = screen.copy()
    for i in range(40):
        wide.obs[f"c{i}"] = i
    shown = Shown(pdex.info(wide)._repr_html_())
    assert len(shown.rows) == 2 + 1 + 30
    assert "13 more columns of obs are not shown." in shown.texts


def test_the_call_for_scaled_count_tables_runs(objects):
    """They say themselves whether log1p is tested, so is_log1p= is refused."""
    found = objects["counted"]
    assert found.notes == []
    assert found.call == f"pdex.de({str(objects['tables'].path)!r}, 'target', {CONTROLS})"
    assert eval(found.call).height == 120


CONTROLS = "reference='non-targeting'"
