"""cell-eval, which imports `pdex` and calls it, runs on this package and finds the same metrics."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pdex
import polars as pl
import pytest

ROOT = Path(__file__).parents[2]
PEERS = Path(os.environ.get("PDEX_PEERS", ROOT / ".bench"))
EVALUATE = Path(__file__).with_name("evaluate.py")
SHARED = ["target", "feature", "target_membership", "ref_membership", "statistic"]


@pytest.fixture(scope="module")
def python():
    """The Python that has cell-eval: this one, or a peer's."""
    if importlib.util.find_spec("cell_eval") is not None:
        return Path(sys.executable)
    python = PEERS / "cell-eval" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no cell-eval here or at {python}: `make peers`, or set PDEX_PEERS")
    return python


@pytest.fixture(scope="module")
def screens(tmp_path_factory):
    """A real screen and a predicted one: two halves of one simulation, as log values."""
    folder = tmp_path_factory.mktemp("screens")
    screen = pdex.datasets.simulate_screen(1_600, 150, 6, n_effects=40, seed=1)
    counts = screen.X.toarray()
    screen.X = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1_000).astype(np.float32)
    real = np.random.default_rng(0).permutation(screen.n_obs) % 2 == 0
    screen[real].copy().write_h5ad(folder / "real.h5ad")
    screen[~real].copy().write_h5ad(folder / "pred.h5ad")
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with this package alone, to come first on another environment's path."""
    folder = tmp_path_factory.mktemp("path")
    (folder / "pdex").symlink_to(Path(pdex.__file__).parent, target_is_directory=True)
    return folder


def call(python, arguments, path, cwd):
    """What a module or script of cell-eval's environment prints, with `path` first on its path."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [python, *arguments], capture_output=True, text=True, env=environment, cwd=cwd, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def evaluate(python, screens, pred, outdir, path):
    arguments = [EVALUATE, screens / f"{pred}.h5ad", screens / "real.h5ad", outdir]
    told = json.loads(call(python, arguments, path, outdir.parent).splitlines()[-1])
    return Path(told["pdex"]).resolve(), told["means"]


OURS = Path(pdex.__file__).resolve()


def test_a_prediction_is_evaluated_end_to_end(python, screens, package, tmp_path):
    module, means = evaluate(python, screens, "pred", tmp_path / "out", package)
    assert module == OURS
    # Two halves of one screen: the metrics' means of seed 1, measured with the real pdex 0.3.0.
    measured = {"overlap_at_N": 0.8992, "precision_at_N": 0.9158, "de_sig_genes_recall": 0.9024}
    measured |= {"de_direction_match": 1.0, "de_spearman_lfc_sig": 0.7982, "pr_auc": 0.9548}
    measured |= {"de_nsig_counts_real": 45.1667, "roc_auc": 0.9585, "pearson_delta": 0.9324}
    for name, value in measured.items():
        assert means[name] == pytest.approx(value, abs=1e-4), name
    # The tables that it wrote are those of a call in this process.
    for name in ("real", "pred"):
        written = pl.read_csv(tmp_path / "out" / f"{name}_de.csv")
        data = ad.read_h5ad(screens / f"{name}.h5ad")
        want = pdex.pdex(data, "target", is_log1p=True, epsilon=0.0)
        assert written.columns == want.columns
        assert written.select(SHARED).equals(want.select(SHARED))
        np.testing.assert_allclose(written["p_value"], want["p_value"], rtol=1e-14)


def test_a_perfect_prediction_is_perfect(python, screens, package, tmp_path):
    module, means = evaluate(python, screens, "real", tmp_path / "out", package)
    assert module == OURS
    for name in ("overlap_at_N", "precision_at_N", "de_sig_genes_recall", "de_spearman_lfc_sig"):
        assert means[name] == pytest.approx(1, abs=1e-12), name
    assert means["mae"] == 0


def test_the_command_line_with_a_filter(python, screens, package, tmp_path):
    arguments = ["-m", "cell_eval", "run", "-ap", screens / "pred.h5ad", "-ar"]
    arguments += [screens / "real.h5ad", "-o", tmp_path / "out", "--profile", "de"]
    arguments += ["--pert-col", "target", "--cpm-filter", "300", "--epsilon", "0.5"]
    call(python, arguments, package, tmp_path)
    written = pl.read_csv(tmp_path / "out" / "real_de.csv")
    data = ad.read_h5ad(screens / "real.h5ad")
    want = pdex.pdex(data, "target", is_log1p=True, epsilon=0.5, cpm_filter=300.0)
    assert 0 < want.height < 6 * 150
    assert written.select(SHARED).equals(want.select(SHARED))
    np.testing.assert_allclose(written["fdr"], want["fdr"], rtol=1e-14)
    assert pl.read_csv(tmp_path / "out" / "results.csv").height == 6


def test_metrics_are_those_of_the_real_pdex(python, screens, package, tmp_path):
    """Every metric's mean, with this package and with the pdex 0.3.0 beside cell-eval."""
    module, theirs = evaluate(python, screens, "pred", tmp_path / "theirs", None)
    if module == OURS:
        pytest.skip("this environment has no pdex 0.3 that cell-eval could call")
    _, ours = evaluate(python, screens, "pred", tmp_path / "ours", package)
    assert len(ours) == 28
    assert ours.keys() == theirs.keys()
    # Measured: equal. Ranks of fold changes may swap where 0.3 rounds means to float32.
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=2e-3), name
