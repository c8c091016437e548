"""Shares of a result, which many jobs write and one puts together: the bits of one call."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pdex
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdex import _pdex
from polars.testing import assert_frame_equal

QUESTIONS = {
    "wilcoxon": {},
    "all": {"fdr": "all"},
    "anderson": {"test": "anderson", "auroc": True},
    "rest": {"reference": "rest", "test": "ks"},
    "welch": {"test": "ttest", "equal_var": False, "mean": "geometric"},
    "strata": {"strata": "batch"},
    "cells": {"where": "batch = 'x'", "min_cells": 20, "exclude": ["T001"]},
    "genes": {"genes": ["g3", "g11", "g7"], "groups": ["T002"]},
    "scaled": {"normalize": 1e4, "test": "ttest"},
}


@pytest.fixture(scope="module", name="screen")
def made():
    data = pdex.datasets.simulate_screen(n_cells=500, n_genes=17, n_targets=4, n_effects=6)
    data.obs["batch"] = ["x", "y", "x", "y", "y"] * 100
    return data


def shares_of(data, folder, n, order=None, **question):
    for i in order or range(1, n + 1):
        pdex.sink_de(data, "target", folder, part=(i, n), **question)
    return folder


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("stored", ["memory", "file", "tables"])
def test_shares_are_the_result(screen, tmp_path, question, stored):
    question, data = dict(QUESTIONS[question]), screen
    if stored == "file":
        screen.write_h5ad(data := tmp_path / "screen.h5ad", compression="gzip")
    elif stored == "tables":
        scaled = {"normalize": question.pop("normalize", None)}
        columns = ["target", "batch"]
        data = pdex.tabulate(screen, columns, output=tmp_path / "x.tables", **scaled)
    expected = pdex.de(data, "target", **question)
    # In any order, and one of them twice.
    folder = shares_of(data, tmp_path / "shares", 3, (2, 3, 1, 2), **question)
    for suffix in (".parquet", ".ipc"):
        lazy = pdex.collect(folder, tmp_path / f"de{suffix}")
        assert_frame_equal(lazy.collect(), expected, check_exact=True)
        assert pdex.describe(lazy) == pdex.describe(expected)
    assert pdex.describe(tmp_path / "de.parquet") == pdex.describe(expected)
    assert sorted(path.name for path in folder.iterdir()) == [f"{i}-of-3.ipc" for i in (1, 2, 3)]


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(n=st.integers(1, 30), seed=st.integers(0, 2**32 - 1), least=st.integers(10**8, 10**9))
def test_any_number_of_shares(tmp_path_factory, n, seed, least):
    """Also more shares than genes, some of which are empty."""
    folder = tmp_path_factory.mktemp("shares")
    options = {"n_cells": 120, "n_genes": 11, "n_targets": 3, "n_effects": 2}
    data = pdex.datasets.simulate_screen(**options, seed=seed)
    order = np.random.default_rng(seed).permutation(np.arange(1, n + 1)).tolist()
    shares_of(data, folder / "shares", n, order, memory_limit=least)
    lazy = pdex.collect(folder / "shares", folder / "de.parquet", threads=1)
    assert_frame_equal(lazy.collect(), pdex.de(data, "target"), check_exact=True)


def test_a_share_tests_its_genes_alone(screen, tmp_path):
    lazy = pdex.sink_de(screen, "target", tmp_path / "shares", part=(2, 4))
    found = lazy.collect()
    genes = screen.var_names[17 // 4 : 17 * 2 // 4]
    expected = pdex.de(screen, "target", genes=genes)
    assert "p_value" in found.columns
    assert found["p_value"].to_list() == expected["p_value"].to_list()


def refused(error, words, folder, path):
    with pytest.raises(error, match=words):
        pdex.collect(folder, path)
    assert not path.exists()
    assert not list(path.parent.glob(".*de*"))


def test_what_cannot_be_collected(screen, tmp_path):
    path, folder = tmp_path / "de.parquet", tmp_path / "shares"
    refused(FileNotFoundError, "shares': there is no such folder", folder, path)
    folder.mkdir()
    refused(FileNotFoundError, "has no shares, such as 1-of-4.ipc", folder, path)
    shares_of(screen, folder, 5, (2, 4))
    refused(FileNotFoundError, r"shares' lacks 3 of 5 shares: 1, 3, 5", folder, path)
    shares_of(screen, folder, 5, (1, 3))
    # The same genes, but other options; then other data.
    shares_of(screen, folder, 5, (5,), test="ttest")
    refused(
        ValueError, r"5-of-5\.ipc is the share of another result than .*1-of-5\.ipc", folder, path
    )
    other = screen.copy()
    other.var_names = [f"x{name}" for name in other.var_names]
    shares_of(other, folder, 5, (5,))
    refused(ValueError, r"5-of-5\.ipc is the share of another result", folder, path)
    shares_of(screen, folder, 5, (5,))
    assert pdex.collect(folder, path).collect().height == 4 * 17
    path.unlink()
    shares_of(screen, folder, 4, (2,))
    such = r"such as 2-of-4\.ipc and 1-of-5\.ipc"
    refused(ValueError, f"holds shares of 4 and of 5 parts, {such}: delete those of", folder, path)
    (folder / "2-of-4.ipc").unlink()
    content = (folder / "3-of-5.ipc").read_bytes()
    (folder / "3-of-5.ipc").write_bytes(content[:-40])
    refused(ValueError, r"3-of-5\.ipc is damaged, or no share", folder, path)
    (folder / "3-of-5.ipc").write_bytes(content)
    frame = pl.read_ipc(folder / "3-of-5.ipc")[:-1]
    metadata = _pdex.ipc_metadata(folder / "3-of-5.ipc")
    frame.write_ipc(folder / "3-of-5.ipc")
    _pdex.set_ipc_metadata(folder / "3-of-5.ipc", metadata)
    refused(ValueError, r"3-of-5\.ipc is damaged: it has 15 rows of", folder, path)
    with pytest.raises(ValueError, match="expected a name that ends in"):
        pdex.collect(folder, tmp_path / "de.txt")


@pytest.mark.parametrize("part", [(0, 3), (4, 3), 3, (1, 2, 3), (1.0, 2), "1/3", (1, "3")])
def test_parts_that_are_none(screen, tmp_path, part):
    with pytest.raises(ValueError, match=r"part must be two whole numbers such as \(3, 64\)"):
        pdex.sink_de(screen, "target", tmp_path / "shares", part=part)
    assert not (tmp_path / "shares").exists()


def test_where_no_shares_can_be(screen, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="file' is a file; expected a folder"):
        pdex.sink_de(screen, "target", tmp_path / "file", part=(1, 2))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        pdex.sink_de(screen, "target", tmp_path / "none" / "shares", part=(1, 2))
    with pytest.raises(TypeError, match="path must be the path of a folder; got 3"):
        pdex.sink_de(screen, "target", 3, part=(1, 2))


def test_a_share_that_fails_leaves_the_older_one(screen, tmp_path):
    folder = shares_of(screen, tmp_path / "shares", 2)
    before = (folder / "2-of-2.ipc").read_bytes()
    broken = screen.copy()
    broken.X = broken.X.toarray()
    broken.X[7, 15] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        shares_of(broken, folder, 2, (2,))
    assert (folder / "2-of-2.ipc").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["1-of-2.ipc", "2-of-2.ipc"]


def run(*words, cwd, status=0):
    command = [sys.executable, "-m", "pdex", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stderr


def test_a_job_array(screen, tmp_path):
    """As SLURM would run it: count each plate, test the genes in shares, collect."""
    for i, plate in enumerate((screen[:200], screen[200:350], screen[350:])):
        plate.write_h5ad(tmp_path / f"plate{i}.h5ad")
        run("tabulate", f"plate{i}.h5ad", "-g", "target", "-o", f"plate{i}.tables", cwd=tmp_path)
    tables = [f"plate{i}.tables" for i in range(3)]
    for i in (3, 1, 4, 2):
        words = ("de", *tables, "-g", "target", "--part", f"{i}/4", "-o", "shares")
        run(*words, cwd=tmp_path)
    run("collect", "shares", "-o", "de.parquet", cwd=tmp_path)
    order = ["target", "feature"]
    text = [pl.col(name).cast(pl.String) for name in order]
    got, expected = pl.read_parquet(tmp_path / "de.parquet"), pdex.de(screen, "target")
    got, expected = (one.with_columns(text).sort(order) for one in (got, expected))
    assert_frame_equal(got, expected, check_exact=True)
    facts = json.loads(dict(_pdex.ipc_metadata(tmp_path / "shares" / "2-of-4.ipc"))["pdex.share"])
    assert (facts["number"], facts["of"]) == (2, 4)
    shutil.rmtree(tmp_path / "shares")
    assert "there is no such folder" in run(
        "collect", "shares", "-o", "x.parquet", cwd=tmp_path, status=1
    )
    words = ("de", *tables, "-g", "target", "--part", "5/4", "-o", "shares")
    assert "'5/4' is no part, such as 3/64" in run(*words, cwd=tmp_path, status=2)
    words = ("de", *tables, "-g", "target", "--part", "1/4")
    assert "name a folder with --output" in run(*words, cwd=tmp_path, status=2)
