"""Heaps of text that libhdf5 would not come back from are refused; all others are read."""

import os
import re
import subprocess
import sys

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pdex
import pytest
from pdex import _pdex
from pdex._io.errors import error_context
from polars.testing import assert_frame_equal

MARK = b"GCOL\x01\x00\x00\x00"


@pytest.fixture(name="path")
def written(tmp_path):
    screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    screen.obs["note"] = [f"a note of some length on cell {i}" for i in range(400)]
    screen.write_h5ad(tmp_path / "screen.h5ad", compression="gzip")
    return tmp_path / "screen.h5ad"


def places(content):
    found, at = [], content.find(MARK)
    while at >= 0:
        found.append(at)
        at = content.find(MARK, at + 1)
    return found


def walk(node):
    """Read all names, attributes and texts below a node."""
    assert isinstance(node.attrs, dict)
    if isinstance(node, _pdex.H5Dataset):
        return [node.texts()] if node.kind == "text" else []
    return [found for name in node.names() for found in walk(node.get(name))]


def check(path):
    with error_context(str(path)):
        return walk(_pdex.H5File(str(path)).root)


DAMAGE = {
    # The three bytes behind the version are reserved, and libhdf5 does not look at them.
    "zeros behind reserved bytes": lambda content, at: content.__setitem__(
        slice(at + 5, at + 4096),
        bytes([1, 0, 0]) + content[at + 8 : at + 80] + bytes(4016),
    ),
    "zeros": lambda content, at: content.__setitem__(slice(at + 80, at + 4096), bytes(4016)),
    "an object of no bytes": lambda content, at: content.__setitem__(
        slice(at + 24, at + 32), (2**64 - 16).to_bytes(8, "little")
    ),
    "an object before the first": lambda content, at: content.__setitem__(
        slice(at + 24, at + 32), (2**64 - 64).to_bytes(8, "little")
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_each_broken_heap_is_named(path, damage):
    whole = path.read_bytes()
    check(path)
    assert len(places(whole)) == 3
    for at in places(whole):
        content = bytearray(whole)
        DAMAGE[damage](content, at)
        path.write_bytes(content)
        with pytest.raises(OSError, match=rf"{path}: .*the heap of text at byte {at:,} is broken"):
            check(path)
    with pytest.raises(OSError, match=rf"{path}: .*the heap of text"):
        pdex.de(path, "target")


def test_what_nothing_refers_to_is_no_heap(path):
    """As a deleted heap leaves its bytes behind, half of them used anew."""
    expected = pdex.de(path, "target")
    content = bytearray(path.read_bytes())
    heap = content[places(content)[0] :][:4096]
    heap[80:] = bytes(4016)
    with h5py.File(path, "r+") as file:
        # The file holds the address of the array, which is not that of the heap in it.
        file["bytes"] = np.frombuffer(bytes(8) + heap, np.uint8)
    assert len(places(path.read_bytes())) == len(places(content)) + 1
    assert_frame_equal(pdex.de(path, "target"), expected, check_exact=True)


def test_numbers_that_read_like_a_heap_are_numbers(path):
    expected = pdex.de(path, "target")
    n = 1 << 19
    with h5py.File(path, "r+") as file:
        dataset = file.create_dataset("layers/bytes", data=np.zeros((n, 16), np.uint8))
        file.flush()
        heap = MARK + (4096).to_bytes(8, "little") + bytes(16)
        dataset[:] = np.resize(np.frombuffer(heap, np.uint8), (n, 16))
    assert_frame_equal(pdex.de(path, "target"), expected, check_exact=True)


def test_files_of_many_names_pass(tmp_path):
    data = pdex.datasets.simulate_screen(n_cells=3_000, n_genes=5, n_targets=2, n_effects=1)
    # Names of all lengths, one larger than a collection; some empty.
    data.obs_names = ["x" * (i % 70) + str(i) for i in range(2_999)] + ["y" * 10_000]
    data.obs["text"] = pd.array(["" if i % 3 else "z" * (i % 50) for i in range(3_000)], object)
    data.write_h5ad(path := tmp_path / "screen.h5ad", convert_strings_to_categoricals=False)
    assert_frame_equal(pdex.de(path, "target"), pdex.de(data, "target"), check_exact=True)


@pytest.mark.parametrize("words", [["info", "x.h5ad"], ["de", "x.h5ad", "--groupby", ""]])
def test_whatever_opens_a_file_refuses_it(tmp_path, words):
    """info, and completion of a column's name, where libhdf5 would never come back."""
    text = [f"a note of cell {i}" * 9 for i in range(3000)]
    obs = pd.DataFrame({"target": ["a", "b"] * 1500, "note": text}, map(str, range(3000)))
    ad.AnnData(np.ones((3000, 2)), obs).write_h5ad(tmp_path / "x.h5ad")
    content = bytearray((tmp_path / "x.h5ad").read_bytes())
    for place in places(content):
        DAMAGE["zeros"](content, place)
    (tmp_path / "x.h5ad").write_bytes(content)
    completing = {}
    if words[0] == "de":
        line = {"COMP_WORDS": f"pdex {' '.join(words)}", "COMP_CWORD": str(len(words))}
        completing = {"_PDEX_COMPLETE": "bash_complete", **line}
    done = subprocess.run(
        [sys.executable, "-m", "pdex", *words],
        cwd=tmp_path,
        env={**os.environ, **completing},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if completing:
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
    else:
        assert (done.returncode, done.stdout) == (1, "")
        assert re.match(
            r"pdex: error: .*x\.h5ad: .*the heap of text at byte .* is broken", done.stderr
        )
    with pytest.raises(OSError, match="the heap of text at byte"):
        pdex.scan_anndata(tmp_path / "x.h5ad", "target")
