"""The source distribution has what a build needs: Cargo accepts it, and maturin describes it."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*words, cwd):
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def unpacked(tmp_path):
    maturin = Path(sys.executable).with_name("maturin")
    if shutil.which("cargo") is None or not maturin.exists():
        pytest.skip("cargo and maturin make the source distribution")
    run(maturin, "sdist", "--out", tmp_path, cwd=ROOT)
    with tarfile.open(tmp_path / "pdex-0.4.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return maturin, tmp_path / "pdex-0.4.0"


def test_it_has_what_a_build_needs(unpacked):
    maturin, folder = unpacked
    texts = ("README.md", "LICENSE", "licenses/THIRD-PARTY.txt")
    for name in (*texts, "Cargo.lock", "pyproject.toml", "benches/kernels.rs"):
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes(), name
    for kind in ("src", "benches/kernels", "python"):
        here = {p.relative_to(ROOT) for p in (ROOT / kind).rglob("*") if p.is_file()}
        here = {p for p in here if "__pycache__" not in p.parts and p.suffix != ".so"}
        there = {p.relative_to(folder) for p in (folder / kind).rglob("*") if p.is_file()}
        assert there == here
    # Cargo refuses a manifest whose benches or sources are missing, and a lock that does not fit.
    metadata = run("cargo", "metadata", "--locked", "--no-deps", "--format-version=1", cwd=folder)
    assert '"name":"kernels"' in metadata
    run("cargo", "tree", "--locked", "--features=python", "--depth=1", cwd=folder)
    out = folder.parent / "info"
    run(maturin, "pep517", "write-dist-info", "--metadata-directory", out, cwd=folder)
    metadata = next(out.glob("*.dist-info/METADATA")).read_text()
    assert "Version: 0.4.0" in metadata
    assert "Description-Content-Type: text/markdown" in metadata
    assert "\n**Differential expression for perturbation screens:" in metadata
