"""Results in files: the same numbers, never half there, larger than memory."""

import os
import signal
import subprocess
import sys
import time

import pdex
import polars as pl
import pytest
from polars.testing import assert_frame_equal

FORMATS = {
    ".parquet": pl.read_parquet,
    ".ipc": pl.read_ipc,
    ".csv": pl.read_csv,
    ".tsv": lambda path: pl.read_csv(path, separator="\t"),
}


@pytest.fixture
def screen():
    return pdex.datasets.simulate_screen(n_cells=500, n_genes=37, n_targets=9, n_effects=20)


@pytest.fixture
def small_parts(monkeypatch):
    """Five genes at a time, and three targets a row group."""
    numbers = property(lambda self: self.memory * 9 * 5 * 72 // 100_000_000)
    monkeypatch.setattr(pdex._resources.Resources, "for_numbers", numbers)
    monkeypatch.setattr(pdex._engine, "ROWS", 3 * 37)


@pytest.mark.parametrize("fdr", ["target", "all"])
@pytest.mark.parametrize("reference", ["non-targeting", "rest"])
@pytest.mark.parametrize("test", ["wilcoxon", "anderson", "ttest", "ks"])
@pytest.mark.usefixtures("small_parts")
def test_a_file_holds_what_memory_would(screen, tmp_path, test, reference, fdr):
    path = tmp_path / "de.parquet"
    options = {"test": test, "reference": reference, "fdr": fdr}
    lazy = pdex.sink_de(screen, "target", path, memory_limit=100_000_000, **options)
    expected = pdex.de(screen, "target", **options)
    assert_frame_equal(lazy.collect(), expected, check_exact=True)
    assert_frame_equal(pl.read_parquet(path), expected, check_exact=True)
    assert os.listdir(tmp_path) == ["de.parquet"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.usefixtures("small_parts")
def test_row_groups_are_some_targets_whole(screen, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow tells the row groups")
    pdex.sink_de(screen, "target", tmp_path / "de.parquet", memory_limit=100_000_000)
    meta = pq.ParquetFile(tmp_path / "de.parquet").metadata
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [111, 111, 111]


@pytest.mark.parametrize("suffix", list(FORMATS))
def test_every_format_reads_back(screen, tmp_path, suffix):
    path = tmp_path / f"de{suffix}"
    lazy = pdex.sink_de(screen, "target", str(path))
    text = pl.col("target", "feature").cast(pl.String)
    expected = pdex.de(screen, "target").with_columns(text)
    whole = pl.col("n_target", "n_reference").cast(pl.UInt32)
    assert_frame_equal(FORMATS[suffix](path).with_columns(text, whole), expected, check_exact=True)
    assert_frame_equal(lazy.collect().with_columns(text, whole), expected, check_exact=True)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_labels_in_text_stay_labels(screen, tmp_path, suffix):
    names = ["1", "02", *"abcdefg", "non-targeting"]
    screen.obs["target"] = screen.obs["target"].cat.rename_categories(names)
    screen.var_names = [f"{i:03}" for i in range(screen.n_vars)]
    lazy = pdex.sink_de(screen, "target", tmp_path / f"de{suffix}")
    expected = pdex.de(screen, "target")
    assert lazy.collect_schema() == expected.schema
    assert_frame_equal(lazy.collect(), expected, check_exact=True)


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        (".", IsADirectoryError, "is a folder"),
        ("de.xlsx", ValueError, r"de\.xlsx.*\.parquet, \.ipc"),
        ("nowhere/de.parquet", FileNotFoundError, r"no folder '.*nowhere'"),
        (".parquet/", IsADirectoryError, "is a folder"),
        (7, TypeError, "path must be the path of a file; got 7"),
    ],
)
def test_a_place_for_no_result_is_named_before_anything_runs(
    screen, tmp_path, output, error, message
):
    (tmp_path / "x.parquet").mkdir()
    if isinstance(output, str):
        output = tmp_path / ("x.parquet" if output == ".parquet/" else output)
    with pytest.raises(error, match=message):
        pdex.sink_de(screen, "no such column", output)


def test_a_failed_write_leaves_the_old_file(screen, tmp_path, monkeypatch):
    path = tmp_path / "de.parquet"
    path.write_text("old")

    def full(frame, path, rows, metadata):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(pdex._output._SINKS, ".parquet", full)
    with pytest.raises(OSError, match="No space left"):
        pdex.sink_de(screen, "target", path)
    assert (os.listdir(tmp_path), path.read_text()) == (["de.parquet"], "old")


SLOW = """
import sys, pdex, pdex._engine, numpy as np, anndata as ad, pandas as pd
write = pdex._engine.write
def said(*words):
    print("writing", flush=True)
    write(*words)
pdex._engine.write = said
rng = np.random.default_rng(1)
labels = np.repeat([f"t{i}" for i in range(300)] + ["non-targeting"], 4)
screen = ad.AnnData(rng.poisson(0.3, (len(labels), 30000)).astype(np.float32))
screen.obs["target"] = pd.Categorical(labels)
print("testing", flush=True)
pdex.sink_de(screen, "target", sys.argv[1], test="anderson", reference="rest")
"""


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("stage", [b"testing\n", b"writing\n"])
def test_a_stopped_run_leaves_no_result(tmp_path, sign, stage):
    path = tmp_path / "de.parquet"
    run = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    # Measured on two cores: testing takes 1.3 s, writing as long.
    while run.stdout.readline() != stage:
        assert run.poll() is None
    time.sleep(0.2)
    assert run.poll() is None
    run.send_signal(sign)
    _, error = run.communicate(timeout=60)
    assert run.returncode != 0
    if sign == signal.SIGINT:
        # Polars may tell of the end of a thread of its own after it.
        assert b"\nKeyboardInterrupt\n" in error
        assert os.listdir(tmp_path) == []
    assert not path.exists()


LARGE = """
import resource, sys, pdex, numpy as np, anndata as ad, pandas as pd, scipy.sparse as sp
rng = np.random.default_rng(1)
names = [f"t{i}" for i in range(2000)]
labels = np.repeat([*names, "non-targeting"], [3] * 2000 + [500])
n = 36_000 * len(labels) // 100
cells, genes = rng.integers(0, len(labels), n), rng.integers(0, 36_000, n)
values = rng.poisson(1.5, n).astype(np.float32)
counts = sp.coo_array((values, (cells, genes)), shape=(len(labels), 36_000)).tocsr()
screen = ad.AnnData(counts)
screen.obs["target"] = pd.Categorical(labels)
screen.write_h5ad(sys.argv[1] + ".h5ad")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pdex.sink_de(sys.argv[1] + ".h5ad", "target", sys.argv[1] + ".parquet")
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_2000_targets_of_36000_genes(tmp_path):
    # 72 million rows: 7 GB of columns.
    name = str(tmp_path / "screen")
    run = subprocess.run(
        [sys.executable, "-c", LARGE, name], capture_output=True, text=True, check=True
    )
    before, peak = map(int, run.stdout.split())
    # KB; the default limit is 1 GB beyond the result, of which nothing stays in memory.
    assert peak - before < 1_000_000, (before, peak)
    lazy = pl.scan_parquet(f"{name}.parquet")
    assert lazy.select(pl.len()).collect().item() == 72_000_000
    some = ["t0", "t77", "t1999"]
    got = lazy.filter(pl.col("target").cast(pl.String).is_in(some)).collect()
    expected = pdex.de(f"{name}.h5ad", "target", groups=some)
    assert_frame_equal(got, expected, check_exact=True)


@pytest.mark.parametrize("layout", ["csr", "csc", "dense"])
@pytest.mark.usefixtures("small_parts")
def test_from_a_file_in_many_pieces(screen, tmp_path, layout, monkeypatch):
    # Budgets of some genes: pieces are read ahead.
    source = tmp_path / "screen.h5ad"
    matrix = screen.X if layout != "dense" else screen.X.toarray()
    screen.X = getattr(matrix, f"to{layout}")() if layout != "dense" else matrix
    screen.write_h5ad(source)
    monkeypatch.setattr(pdex._resources, "LEAST_MEMORY", 1)
    got = pdex.sink_de(source, "target", tmp_path / "de.parquet", memory_limit=9_000)
    expected = pdex.de(screen, "target")
    assert_frame_equal(got.collect(), expected, check_exact=True)
    table = pdex.de(source, "target", memory_limit=9_000)
    assert_frame_equal(table, expected, check_exact=True)
