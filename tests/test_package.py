"""What `import pdex` shows: the names of `__all__`, and no private room by another name.

And what the package says of itself: the packages it needs, one version in every file.
"""

import ast
import importlib.util
import pkgutil
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pdex
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    # Of pytest.
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
#: Declared, and imported by another package: Polars makes frames of pandas with the one, and Altair
#: writes pictures with the other.
BEHIND = {"pyarrow", "vl-convert-python"}
#: Modules that users import by name.
PAGES = {"cli", "datasets", "exceptions", "pl", "tl"}


def test_dir_shows_what_is_public():
    assert dir(pdex) == sorted(pdex.__all__)
    assert all(hasattr(pdex, name) for name in pdex.__all__)


def test_every_module_is_private_or_a_page():
    names = {module.name for module in pkgutil.iter_modules(pdex.__path__)}
    assert {name for name in names if not name.startswith("_")} == PAGES


def test_no_module_hides_behind_a_function():
    modules = {n for n in pdex.__all__ if isinstance(getattr(pdex, n), types.ModuleType)}
    assert modules == PAGES - {"cli"}
    code = "import pdex; print(callable(pdex.de), callable(pdex.pdex), hasattr(pdex, 'io'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False"]


class Imports(ast.NodeVisitor):
    """The packages that a module imports when it runs: not those that only type checkers see."""

    def __init__(self):
        self.found = set()

    def add(self, module):
        self.found.add(module.partition(".")[0])

    def visit_If(self, node):
        names = {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}
        names |= {n.attr for n in ast.walk(node.test) if isinstance(n, ast.Attribute)}
        for child in (
            node.orelse if "TYPE_CHECKING" in names else [node.test, *node.body, *node.orelse]
        ):
            self.visit(child)

    def visit_Import(self, node):
        for alias in node.names:
            self.add(alias.name)

    def visit_ImportFrom(self, node):
        assert node.level == 0, "imports are absolute"
        self.add(node.module)

    def visit_Call(self, node):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if called == "import_module" and isinstance(node.args[0], ast.Constant):
            self.add(node.args[0].value)
        self.generic_visit(node)


def test_imports_counts_what_runs():
    code = """
import os, numpy.linalg as la
if typing.TYPE_CHECKING:
    import unseen
else:
    import seen.at.run
def f():
    from rich_click import x
    importlib.import_module("late")
"""
    imports = Imports()
    imports.visit(ast.parse(code))
    assert imports.found == {"os", "numpy", "seen", "rich_click", "late"}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_package_that_is_imported_is_declared(project):
    extras = project["optional-dependencies"]
    lists = [project["dependencies"]]
    lists += extras.values()
    declared = {re.match(r"[\w-]+", text)[0].lower() for needed in lists for text in needed}
    imports = Imports()
    for path in sorted((ROOT / "python/pdex").rglob("*.py")):
        imports.visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    others = imports.found - set(sys.stdlib_module_names) - {"pdex"}
    assert {name.replace("_", "-") for name in others} == declared - BEHIND


def test_every_file_says_the_same_version(project):
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = re.search(r"^version: (\S+)$", citation, re.M)[1]
    assert {project["version"], cargo["version"], cited} == {pdex.__version__}
    authors = [author["name"] for author in project["authors"]]
    assert authors == cargo["authors"] == re.findall(r"^  - name: (.+)$", citation, re.M)


def test_a_package_index_shows_the_beginning_of_readme_without_links(project):
    text = project["readme"]["text"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "](" not in text
    *shared, last = [part.strip() for part in re.split(r"(```\w+\n.*?```)", text, flags=re.S)]
    for part in shared:
        assert re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", readme).count(part) == 1, part
    assert last.startswith("The documentation")


def test_the_workflows_use_the_tools_and_pythons_that_are_declared(project):
    folder = ROOT / ".github/workflows"
    release = (folder / "release.yml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for tool in re.search(r"^  TOOLS: (.+)$", release, re.M)[1].split():
        assert f'"{tool}"' in makefile, tool
    tried = re.search(
        r"^ +python: \[(.+)\]$", (folder / "ci.yml").read_text(encoding="utf-8"), re.M
    )
    pythons = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert re.findall(r"[\d.]+", tried[1]) == pythons
    assert project["requires-python"] == f">={pythons[0]}"


@pytest.mark.skipif(not shutil.which("cargo"), reason="there is no Cargo")
def test_the_licences_of_all_that_is_linked_are_there():
    spec = importlib.util.spec_from_file_location("third", ROOT / "licenses" / "third_party.py")
    third = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(third)
    text = third.OUTPUT.read_text()
    listed = re.findall(r"^(\S+ v\S+): ", text.split(third.RULE)[0], re.M)
    assert listed == third.linked(), "make licenses"
    for library, holder in (
        ("HDF5", "The HDF Group"),
        ("Zstandard", "Meta Platforms"),
        ("libdeflate", "Eric Biggers"),
        ("zlib", "Jean-loup Gailly"),
    ):
        assert re.search(rf"^=+\n(.*, )?{library}\n=+\n[^=]*{holder}", text, re.M), library
