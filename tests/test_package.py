"""What `import pdex` shows: the names of `__all__`, and no private room by another name."""

import pkgutil
import subprocess
import sys
import types

import pdex

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
