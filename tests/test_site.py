"""The site of docs/ builds without a warning, is whole, and asks nothing of another server."""

import inspect
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pdex
import pytest

pytest.importorskip("mkdocs", reason="the site needs mkdocs, of the extra docs")

ROOT = Path(__file__).parents[1]
#: What is no function, with what its part of the reference has to say instead of parameters.
OTHERS = {
    "DEFAULT_REFERENCE": "non-targeting",
    "PDEX_MODES": "on_target",
    "Calibration": "split_lower",
    "PdexNamespace": "pl.col",
    "Description": "pseudocount",
    "Info": "repeated_genes",
    "Tables": "marked as sorted by gene",
}
FUNCTIONS = [
    f"{module.__name__}.{name}"
    for module in (pdex, pdex.pl, pdex.tl, pdex.datasets)
    for name in getattr(module, "__all__", ["simulate_screen"])
    if inspect.isfunction(getattr(module, name))
]


class Page(HTMLParser):
    """What a page links, loads and names, and its text by the heading with an id above it."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.ids, self.parts = [], [], set(), {}
        self.part = None
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        if tag in ("h1", "h2") and attrs.get("id"):
            self.part = attrs["id"]
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        if tag == "link" and attrs["rel"] not in ("canonical", "next", "prev"):
            self.loads.append(attrs["href"])
        if tag in ("script", "img", "iframe", "source", "video", "object", "embed"):
            self.loads += [attrs[key] for key in ("src", "srcset", "data") if attrs.get(key)]

    def handle_data(self, text):
        self.parts[self.part] = self.parts.get(self.part, "") + text


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def test_every_page_of_the_folder_is_there(site, pages):
    sources = [page.relative_to(ROOT / "docs") for page in ROOT.glob("docs/**/*.md")]
    wanted = {str(source)[: -len(".md")] + ".html" for source in sources}
    found = {str(path.relative_to(site)) for path in pages}
    root = {"changelog", "code-of-conduct", "contributing", "index", "security", "tutorial"}
    assert found == wanted | {f"{page}.html" for page in root}
    assert "1.6 million tests" in (site / "index.html").read_text()
    assert not list(site.rglob("*.py"))


def test_the_tutorial_shows_what_is_stored_in_the_notebook(site, pages):
    page = pages[site / "tutorial.html"]
    text = "".join(part for part in page.parts.values())
    cells = json.loads((ROOT / "docs/tutorial.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    printed = ["".join(output["text"]).strip() for output in outputs if "text" in output]
    assert len(printed) >= 5
    assert [words for words in printed if words not in text] == []
    pictures = [link for link in page.loads if link.startswith("tutorial/")]
    assert len(pictures) == sum("image/png" in output.get("data", {}) for output in outputs) == 3


def test_parameters_named_together_have_a_type_each(pages):
    texts = [page.parts.get("pdex.calibrate", "") for page in pages.values()]
    text = re.sub(r"\s+", " ", "".join(texts))
    assert "groupby (str)" in text
    assert "threads (int | None, default: None )" in text
    assert "method (AnyMethod | None, default: None )" in text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_reference_has_every_function_with_its_parameters(pages, name):
    texts = [page.parts[name] for page in pages.values() if name in page.parts]
    assert len(texts) == 1, name
    function = getattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2])
    described = texts[0].partition("Parameters:")[2].partition("Examples:")[0]
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"^\W*{parameter}\b", described, re.M), f"{name}: {parameter}"
    for section in ("Returns:", "Examples:"):
        assert section in texts[0], f"{name}: {section}"


def test_the_reference_has_every_other_name(pages):
    named = {"pdex." + name for name in pdex.__all__}
    modules = {f"pdex.{name}" for name in ("datasets", "exceptions", "pl", "tl", "__version__")}
    assert named == {*FUNCTIONS, *(f"pdex.{name}" for name in OTHERS), *modules} & named
    for name, words in OTHERS.items():
        texts = [page.parts.get(f"pdex.{name}") for page in pages.values()]
        assert any(words in text for text in texts if text), name


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for path, page in pages.items():
        remote = [link for link in page.loads if urlsplit(link).netloc]
        assert remote == [], path
    for path in site.rglob("*.css"):
        sheets = re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^)\"']+)", path.read_text())
        assert sheets == [], path


def test_links_and_pictures_lead_somewhere(site, pages):
    checked = 0
    for path, page in pages.items():
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            assert target.is_relative_to(site), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target in pages and not parts.fragment.startswith("__"):
                fragment = unquote(parts.fragment)
                assert fragment in pages[target].ids, f"{path.relative_to(site)}: {link}"
            checked += 1
    assert checked > 1_000


def test_formulas_are_drawn_and_roles_are_links(site, pages):
    text = (site / "tests" / "wilcoxon.html").read_text()
    assert text.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">') >= 4
    for path in pages:
        words = re.sub(r"<(pre|code)\b.*?</\1>", "", path.read_text(), flags=re.S)
        assert not re.search(r"\\frac|\\sum|arithmatex|:(func|mod|class):", words), path
