"""The wheel of `make wheel`: what it holds, which systems it runs on, and that it works there.

The environments know neither Rust nor this project: the newest dependencies on each Python that is
here, with and without the extra `plots`, and the oldest that are declared.
"""

import email
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMOKE = Path(__file__).with_name("smoke.py")
#: What `pip install pdex` brings.
NEEDED = {"anndata", "click", "numpy", "pandas", "polars", "rich", "rich-click", "scipy", "tqdm"}
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
#: Words of pip where PyPI is out of reach.
_OFFLINE = ("NewConnectionError", "ConnectTimeout", "ReadTimeout", "Temporary failure in name")


@pytest.fixture(scope="session")
def wheel():
    # Those of other systems cannot be installed here.
    wheels = sorted((ROOT / "dist").glob(f"pdex-*_{platform.machine()}.whl"))
    if not wheels:
        pytest.skip("no wheel in dist: make wheel builds one")
    assert len(wheels) == 1, "more than one wheel in dist"
    sources = [ROOT / "Cargo.toml", ROOT / "Cargo.lock", ROOT / "pyproject.toml"]
    sources += [*(ROOT / "src").rglob("*.rs"), *(ROOT / "python").rglob("*.py")]
    if max(path.stat().st_mtime for path in sources) > wheels[0].stat().st_mtime:
        pytest.skip("the wheel in dist is older than the sources: make wheel builds another")
    return wheels[0]


@pytest.fixture
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def sources():
    """Return the files of the package, as the repository has them."""
    found = [path for path in (ROOT / "python").rglob("*") if path.is_file()]
    kept = [path for path in found if "__pycache__" not in path.parts and path.suffix != ".so"]
    return {path.relative_to(ROOT / "python").as_posix(): path for path in kept}


def test_it_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert sorted(names) == sorted([*sources(), "pdex/_pdex.abi3.so"])
        for name, path in sources().items():
            assert archive.read(name) == path.read_bytes(), name
        about = {n.split(".dist-info/")[1] for n in archive.namelist() if ".dist-info/" in n}
        assert {"METADATA", "RECORD", "WHEEL", "entry_points.txt"} <= about
        texts = ("LICENSE", "licenses/THIRD-PARTY.txt")
        assert {f"licenses/{name}" for name in texts} <= about
        script = next(n for n in archive.namelist() if n.endswith("entry_points.txt"))
        assert "pdex=pdex.cli:main" in archive.read(script).decode().replace(" ", "")
    # Measured: 10.3 MB.
    assert 4e6 < wheel.stat().st_size < 15e6


def test_it_says_what_pip_and_pypi_show(metadata):
    assert metadata["Name"] == "pdex"
    assert metadata["Author"] == "The pdex developers"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == f">={PYTHONS[0]}"
    classifiers = metadata.get_all("Classifier")
    known = [line.split(" :: ")[-1] for line in classifiers if ":: Python :: 3." in line]
    assert known == list(PYTHONS)
    assert metadata["Description-Content-Type"].startswith("text/markdown")
    assert {"pandas", "plots"} <= set(metadata.get_all("Provides-Extra"))
    needed = {re.split(r"[<>=!;\s]", text)[0] for text in direct(metadata)}
    assert needed == NEEDED


@pytest.mark.skipif(sys.platform != "linux", reason="the tag is of Linux")
def test_its_tag_is_what_its_symbols_need(wheel, tmp_path):
    files = pytest.importorskip("elftools.elf.elffile", reason="auditwheel, which make wheel gets")
    versions = pytest.importorskip("elftools.elf.gnuversions")
    assert wheel.name.startswith("pdex-0.4.0-cp310-abi3-manylinux")
    tag = tuple(map(int, re.search(r"manylinux_(\d+)_(\d+)_", wheel.name).groups()))
    assert tag == (2, 17)
    with zipfile.ZipFile(wheel) as archive:
        module = archive.extract("pdex/_pdex.abi3.so", tmp_path)
    with open(module, "rb") as stream:
        sections = list(files.ELFFile(stream).iter_sections())
        needs = next(s for s in sections if isinstance(s, versions.GNUVerNeedSection))
        symbols = {(lib.name, aux.name) for lib, auxes in needs.iter_versions() for aux in auxes}
        dynamic = next(s for s in sections if s.name == ".dynamic")
        libraries = {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")}
        names = {s.name for s in sections}
    found = {tuple(map(int, name[6:].split("."))) for _, name in symbols if name[:6] == "GLIBC_"}
    assert found
    assert max(found) <= tag
    # Those of every Linux: no libstdc++, no libpython.
    known = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"}
    assert {name for name in libraries if "ld-linux" not in name} <= known | {"libgcc_s.so.1"}
    assert ".symtab" not in names, "not stripped"


def direct(metadata):
    """Return the dependencies of the package itself."""
    return [text for text in metadata.get_all("Requires-Dist") if "extra ==" not in text]


def oldest(metadata):
    """Return the oldest releases declared, of the extras pandas and plots, too."""
    texts = [
        t for t in metadata.get_all("Requires-Dist") if re.search("'(pandas|plots)'|^[^;]*$", t)
    ]
    pins = [re.match(r"([\w-]+)[^;]*?>=([\d.]+)", text).groups() for text in texts]
    return sorted({f"{name}=={version}" for name, version in pins})


class Environment:
    """An environment that the wheel is installed in, and what it sees of the machine."""

    def __init__(self, folder, python):
        self.folder = folder
        subprocess.run([python, "-m", "venv", folder / "env"], check=True)
        self.bin = folder / "env" / "bin"
        (folder / "home").mkdir()
        (folder / "empty").mkdir()
        found = [Path(p) for p in os.environ["PATH"].split(os.pathsep)]
        tools = ("cargo", "rustc", "maturin")
        clean = [str(p) for p in found if not any((p / tool).exists() for tool in tools)]
        kept = ("LANG", "PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy")
        self.variables = {name: os.environ[name] for name in kept if name in os.environ}
        self.variables |= {"HOME": str(folder / "home"), "PATH": os.pathsep.join(clean)}

    def install(self, *packages):
        """Install from PyPI without compiling anything."""
        cache = os.environ.get("PIP_CACHE_DIR", str(Path.home() / ".cache" / "pip"))
        command = [self.bin / "python", "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
        done = subprocess.run(
            [*command, *map(str, packages)],
            env={**self.variables, "PIP_CACHE_DIR": cache},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and any(word in done.stderr for word in _OFFLINE):
            pytest.skip(f"PyPI is out of reach: {done.stderr[-200:]}")
        assert done.returncode == 0, done.stderr[-3000:]

    def smoke(self, plots):
        """Run smoke.py in an empty folder."""
        done = subprocess.run(
            [self.bin / "python", "-I", SMOKE, plots],
            env=self.variables,
            cwd=self.folder / "empty",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() == "fine", done.stdout + done.stderr[-3000:]


def interpreter(version):
    """Return a Python of this version: this one, or one on PATH or of pyenv; None without one."""
    places = [sys.executable, shutil.which(f"python{version}")]
    places += Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    for place in filter(None, places):
        # pyenv's shims are on PATH for each version, and fail for those that are switched off.
        done = subprocess.run([place, "-c", ask], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return place
    return None


@pytest.fixture
def environment(tmp_path):
    """Return a function that makes an environment of one Python, or skips if there is none."""

    def make(version):
        python = interpreter(version)
        if python is None:
            pytest.skip(f"Python {version} is not on this machine")
        return Environment(tmp_path, python)

    yield make
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("version", PYTHONS)
def test_it_works_without_rust(wheel, environment, version):
    made = environment(version)
    made.install(wheel)
    made.smoke("without-plots")
    made.install(f"{wheel}[plots]")
    made.smoke("with-plots")


def test_it_works_with_the_oldest_dependencies(wheel, metadata, environment):
    pins = oldest(metadata)
    names = {pin.split("==")[0] for pin in pins}
    assert names == NEEDED | {"pyarrow", "altair", "vl-convert-python"}
    version = next(filter(interpreter, PYTHONS[:-1]), None)
    if version is None:
        pytest.skip("the oldest NumPy has no wheel for this Python")
    made = environment(version)
    made.install(wheel, *pins)
    made.smoke("with-plots")
