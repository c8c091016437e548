"""Files are opened when they are needed, and closed at the end, whatever happens in between."""

import gzip
import os
import pickle
import shutil
import subprocess
import sys
import types
from pathlib import Path

import anndata as ad
import numpy as np
import pdex
import polars as pl
import pytest
from pdex._files import replacing
from polars.testing import assert_frame_equal


@pytest.fixture(scope="module")
def screen():
    return pdex.datasets.simulate_screen(n_cells=300, n_genes=12, n_targets=3, n_effects=4)


@pytest.fixture
def path(screen, tmp_path):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    return tmp_path / "screen.h5ad"


def open_files():
    return {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}


CALLS = {
    "de": lambda path: pdex.de(path, "target"),
    "sink_de": lambda path: pdex.sink_de(path, "target", path.with_name("x.csv")),
    "scan": lambda path: pdex.scan_anndata(path, "target"),
    "collect": lambda path: pdex.scan_anndata(path, "target").collect(),
    "head": lambda path: pdex.scan_anndata(path, "target").head(3).collect(),
    "calibrate": lambda path: pdex.calibrate(path, "target", n_splits=2, min_expected=0),
    "info": pdex.info,
    "0.1": lambda path: pdex.parallel_differential_expression(path, groupby_key="target"),
    "0.3": lambda path: pdex.pdex(path, "target"),
    "unknown column": lambda path: pdex.de(path, "targt"),
    "unknown layer": lambda path: pdex.de(path, "target", layer="log"),
    "unknown gene": lambda path: pdex.scan_anndata(path, "target", genes=["x"]),
    "unknown reference": lambda path: pdex.calibrate(path, "target", reference="x"),
    "0.1, unknown group": lambda path: pdex.parallel_differential_expression(path, ["x"]),
    "0.3, unknown mode": lambda path: pdex.pdex(path, "target", reference="x"),
    "0.1, not in pieces": lambda path: pdex.parallel_differential_expression(
        path, groupby_key="target", low_memory=False
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("call", CALLS)
def test_a_file_is_closed_at_the_end(screen, path, call):
    kept = None
    try:
        CALLS[call](path)
    except (KeyError, ValueError, TypeError) as error:
        # As notebooks keep it, with the frames of its traceback.
        kept = error
    assert (kept is not None) == (", " in call or "unknown" in call)
    assert str(path) not in open_files()
    screen.write_h5ad(path)
    del kept


@pytest.mark.parametrize("stored", [True, False])
def test_a_scan_can_be_pickled(screen, path, stored):
    lazy = pdex.scan_anndata(path if stored else screen, "target")
    expected = lazy.collect()
    again = pickle.loads(pickle.dumps(lazy))
    assert_frame_equal(again.collect(), expected, check_exact=True)
    test = pdex.wilcoxon("value", "target", reference="non-targeting", count="count")
    query = lazy.group_by("gene", maintain_order=True).agg(test)
    want = query.collect(engine="streaming")
    other = pickle.loads(pickle.dumps(query))
    assert_frame_equal(other.collect(engine="streaming"), want, check_exact=True)
    if stored:
        # In another process, whose working folder is another.
        (path.parent / "query").write_bytes(pickle.dumps(query))
        code = (
            "import pickle, sys, pdex; print(pickle.load(open(sys.argv[1], 'rb')).collect().height)"
        )
        words = [sys.executable, "-c", code, str(path.parent / "query")]
        done = subprocess.run(words, cwd="/", capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("12\n", "")


def test_a_scan_of_a_relative_path_and_of_home(screen, path, monkeypatch):
    monkeypatch.setenv("HOME", str(path.parent))
    expected = pdex.de(screen, "target")
    for name in ("~/screen.h5ad", Path("~/screen.h5ad")):
        assert_frame_equal(pdex.de(name, "target"), expected, check_exact=True)
        assert pdex.info(name).n_cells == 300
    monkeypatch.chdir(path.parent)
    lazy = pdex.scan_anndata("screen.h5ad", "target")
    monkeypatch.chdir("/")
    assert lazy.select(pl.len()).collect().item() > 0


def test_an_expression_finds_the_library_of_its_environment(tmp_path):
    """Below sys.prefix the path is told from there: elsewhere it is that of the same place."""
    library = Path(pdex._pdex.__file__)
    for name in ("here", "there"):
        (tmp_path / name / "pdex").mkdir(parents=True)
        shutil.copy(library, tmp_path / name / "pdex" / library.name)
    make = """
import sys, pickle, pathlib, polars as pl
import pdex, pdex._plugin as plugin
sys.prefix = sys.argv[1]
plugin._LIBRARY = pathlib.Path(sys.argv[1]) / "pdex" / plugin._LIBRARY.name
made = pickle.dumps(pdex.wilcoxon("value", "target", reference="a"))
assert sys.argv[1].encode() not in made
sys.stdout.buffer.write(made)
"""
    use = """
import sys, pickle, polars as pl
sys.prefix = sys.argv[1]
frame = pl.DataFrame({"value": [1, 2, 3, 4], "target": ["a", "a", "b", "b"]})
print(frame.select(pickle.load(sys.stdin.buffer)).unnest("wilcoxon")["n_target"].to_list())
print(sum(sys.argv[1] in line for line in open("/proc/self/maps")) > 0)
"""
    words = [sys.executable, "-c", make, str(tmp_path / "here")]
    made = subprocess.run(words, capture_output=True, check=True).stdout
    words = [sys.executable, "-c", use, str(tmp_path / "there")]
    done = subprocess.run(words, input=made, capture_output=True)
    assert (done.stdout, done.stderr) == (b"[2]\nTrue\n", b"")


KINDS = {
    "url": ("https://example.org/screen.h5ad", ValueError, "is a URL: download the file first"),
    "s3": ("s3://bucket/screen.h5ad", ValueError, "is a URL"),
    "gzip": ("screen.h5ad.gz", ValueError, "is compressed as a whole; decompress it first"),
    "mudata": ("mu.h5mu", ValueError, r"with 'prot', 'rna': read one modality first.*mod='prot'"),
    "text": ("x.txt", OSError, "is not an HDF5 file"),
    "none": ("none.h5ad", FileNotFoundError, "none.h5ad"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_screen_is_named(screen, path, monkeypatch, kind):
    h5py = pytest.importorskip("h5py")
    monkeypatch.chdir(path.parent)
    with gzip.open("screen.h5ad.gz", "wb") as packed:
        packed.write(path.read_bytes())
    with h5py.File("mu.h5mu", "w") as file, h5py.File(path) as one:
        for name in ("rna", "prot"):
            for part in ("obs", "var", "X"):
                one.copy(part, file.require_group(f"mod/{name}"))
        one.copy("obs", file)
    Path("x.txt").write_text("text")
    name, error, message = KINDS[kind]
    for call in (pdex.info, CALLS["de"], CALLS["scan"]):
        with pytest.raises(error, match=message):
            call(name)


def test_data_of_another_kind(screen):
    mudata = types.SimpleNamespace(mod={"rna": screen, "prot": screen})
    for call in (pdex.info, CALLS["de"], CALLS["scan"]):
        with pytest.raises(TypeError, match=r"or count tables; it has 'rna', 'prot': give"):
            call(mudata)
        with pytest.raises(TypeError, match=r"data is a int: expected an AnnData object, a path"):
            call(7)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(path):
    path.chmod(0)
    with pytest.raises(PermissionError):
        pdex.de(path, "target")


def test_an_atomic_writer(tmp_path):
    path = tmp_path / "x"
    mask = os.umask(0o027)
    try:
        with replacing(path) as part:
            assert part.parent == tmp_path
            part.write_text("one")
            assert not path.exists()
        # As of any new file, and nothing of the process has changed.
        assert path.stat().st_mode & 0o777 == 0o640
        assert os.umask(0o027) == 0o027
        with pytest.raises(ZeroDivisionError), replacing(path) as part:
            part.write_text(str(1 / 0))
        assert (os.listdir(tmp_path), path.read_text()) == (["x"], "one")
    finally:
        os.umask(mask)
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "none" / "x"):
        pass


def test_info_of_a_path_and_in_memory(screen, path):
    stored, memory = pdex.info(path), pdex.info(screen)
    assert stored.command == (
        f"pdex de {path} --groupby target --reference non-targeting -o screen.de.parquet"
    )
    assert memory.command is None
    assert memory.call == "pdex.de(adata, 'target', reference='non-targeting')"
    assert stored.call == f"pdex.de({str(path)!r}, 'target', reference='non-targeting')"
    same = ("n_cells", "n_genes", "obs", "targets", "result", "notes")
    assert [getattr(stored, name) for name in same] == [getattr(memory, name) for name in same]
    (x,), (y,) = stored.matrices, memory.matrices
    same = ("name", "shape", "layout", "dtype", "stored", "memory", "values")
    assert [x[name] for name in same] == [y[name] for name in same]
    assert (stored.bytes, memory.bytes) == (path.stat().st_size, None)
    assert str(memory).startswith(
        "AnnData in memory: 300 cells x 12 genes\n  X: csr, counts, 0 to "
    )


def test_info_says_what_de_does(screen):
    """The same rule: residuals, and the base of the logarithm."""
    new = ad.AnnData(np.log2(1 + screen.X.toarray()), screen.obs, screen.var)
    new.layers["scaled"] = new.X - new.X.mean(axis=0)
    new.X = new.X * 1.7
    kinds = [matrix["values"]["kind"] for matrix in pdex.info(new).matrices]
    assert kinds == ["normalised", "residuals"]
    new.uns["log1p"] = {"base": 2}
    kinds = [matrix["values"]["kind"] for matrix in pdex.info(new).matrices]
    assert kinds == ["log1p", "residuals"]


CONTROLS = {
    "non-targeting": ("non-targeting", ["non-targeting", "STAT1"]),
    "plural": ("Non-Targeting Controls", ["STAT1", "Non-Targeting Controls"]),
    "numbered": (["NegCtrl1", "NegCtrl2"], ["NegCtrl1", "NegCtrl2", "STAT1"]),
    "whole before numbered": ("control", ["control", "control_1", "STAT1"]),
    "list": ("['non-targeting']", ["['non-targeting']", "['STAT1']"]),
    "drug": ("DMSO_TF", ["DMSO_TF", "Afatinib"]),
    "cytokine": ("PBS", ["IFNG", "PBS", "IL2"]),
    "safe": ("safe-harbour", ["safe-harbour", "STAT1"]),
    "intergenic": ("intergenic", ["CD4", "intergenic"]),
    "none": ("rest", ["CD4", "CD8A", "NTS"]),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_of_public_screens(name):
    reference, labels = CONTROLS[name]
    obs = {"perturbation": [labels[i % len(labels)] for i in range(30)]}
    adata = ad.AnnData(np.ones((30, 2)), obs)
    assert pdex.info(adata).targets["reference"] == reference
