"""What a matrix holds decides its means and fold changes, and what is in doubt is said."""

import subprocess
import sys
import warnings

import numpy as np
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from pdex import _pdex
from pdex._io.memory import matrix_of
from pdex.exceptions import PdexWarning


@pytest.fixture(scope="module")
def counts():
    return pdex.datasets.simulate_screen(n_cells=300, n_genes=12, n_targets=3, n_effects=4, seed=5)


def changed(screen, values, **uns):
    new = screen.copy()
    new.X = np.asarray(values(screen.X.toarray().astype(np.float64)))
    new.uns.update(uns)
    return new


def asked(call):
    """Returns what a call returns, and its warnings' texts."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = call()
    assert all(w.category is PdexWarning and w.filename == __file__ for w in seen)
    return result, [str(w.message) for w in seen]


def means_of(screen, label):
    cells = (screen.obs["target"] == label).to_numpy()
    return screen.X.toarray()[cells].mean(axis=0, dtype=np.float64)


KINDS = {
    "counts": (lambda x: x, {}),
    "log1p": (np.log1p, {}),
    "log2": (lambda x: np.log2(1 + x), {"log1p": {"base": 2}}),
    "log10": (lambda x: np.log10(1 + x), {"log1p": {"base": 10.0}}),
    # scanpy notes None for natural logarithms.
    "noted": (np.log1p, {"log1p": {"base": None}}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_means_are_on_the_natural_scale(counts, kind, tmp_path):
    values, uns = KINDS[kind]
    screen = changed(counts, values, **uns)
    screen.write_h5ad(tmp_path / "x.h5ad")
    for data in (screen, tmp_path / "x.h5ad"):
        table, told = asked(lambda data=data: pdex.de(data, "target"))
        assert told == []
        one = table.filter(pl.col("target") == "T001")
        target, other = means_of(counts, "T001"), means_of(counts, "non-targeting")
        np.testing.assert_allclose(one["target_mean"], target, rtol=1e-12)
        np.testing.assert_allclose(one["reference_mean"], other, rtol=1e-12)
        fold = np.log2((target + 1e-9) / (other + 1e-9))
        np.testing.assert_allclose(one["log2_fold_change"], fold, rtol=0, atol=1e-12)
    assert pdex.describe(table).is_log1p == (kind != "counts")
    base = uns.get("log1p", {}).get("base")
    assert pdex.describe(table).log_base == base


def test_geometric_means_know_the_base(counts):
    screen = changed(counts, lambda x: np.log2(1 + x), log1p={"base": 2})
    expected = pdex.de(counts, "target", mean="geometric")
    got = pdex.de(screen, "target", mean="geometric")
    for name in ("target_mean", "reference_mean"):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-12)


def doors(screen, path):
    """Every interface, and what it takes for the screen's fold changes."""
    return {
        "de": lambda: pdex.de(screen, "target"),
        "de of a path": lambda: pdex.de(path, "target"),
        "sink_de": lambda: pdex.sink_de(screen, "target", path.with_suffix(".csv")),
        "calibrate": lambda: pdex.calibrate(screen, "target", n_splits=2, min_expected=0),
        "0.1": lambda: pdex.parallel_differential_expression(screen, groupby_key="target"),
        "0.3": lambda: pdex.pdex(screen, "target"),
    }


@pytest.mark.parametrize("door", doors(None, type("", (), {"with_suffix": str})))
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda x: 1.37 * x, "too large for log1p of counts"),
        (lambda x: x - x.mean(axis=0), "values below 0"),
    ],
)
def test_what_is_in_doubt_is_said_by_every_interface(counts, tmp_path, values, message, door):
    screen = changed(counts, values)
    screen.write_h5ad(tmp_path / "x.h5ad")
    _, told = asked(doors(screen, tmp_path / "x.h5ad")[door])
    assert len(told) == 1
    assert message in told[0]


def test_normalised_values_are_taken_as_they_are(counts):
    table, _ = asked(lambda: pdex.de(changed(counts, lambda x: 1.37 * x), "target"))
    expected = pdex.de(counts, "target", pseudocount=1e-9 / 1.37)
    for name in ("log2_fold_change", "percent_change"):
        np.testing.assert_allclose(table[name], expected[name], rtol=0, atol=1e-12)


def test_residuals_have_no_fold_changes(counts, tmp_path):
    screen = changed(counts, lambda x: x - x.mean(axis=0))
    table, _ = asked(lambda: pdex.de(screen, "target"))
    assert table["log2_fold_change"].is_nan().all()
    assert table["percent_change"].is_nan().all()
    assert table["p_value"].is_finite().all()
    assert pdex.describe(table).pseudocount is None
    lazy, _ = asked(lambda: pdex.sink_de(screen, "target", tmp_path / "x.parquet"))
    assert lazy.collect()["log2_fold_change"].is_nan().all()
    # Who says what they are is believed.
    table, told = asked(lambda: pdex.de(screen, "target", is_log1p=False))
    assert told == []
    assert not table["log2_fold_change"].is_nan().all()


@pytest.mark.parametrize("most", [19.99, 20.01])
def test_the_bound_of_logarithms(counts, most):
    screen = changed(counts, lambda x: x / x.max() * most)
    table, told = asked(lambda: pdex.de(screen, "target"))
    assert pdex.describe(table).is_log1p == (most < 20)
    assert len(told) == (most > 20)


@pytest.mark.parametrize("kind", ["csr", "csc", "c", "f"])
def test_the_survey_of_every_layout(kind):
    rng = np.random.default_rng(1)
    x = rng.integers(-3, 9, (40, 30)) * (rng.random((40, 30)) < 0.4) + 0.0
    makers = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "c": np.ascontiguousarray}
    make = makers.get(kind, np.asfortranarray)
    for dtype in (np.float64, np.float32, np.int16, np.int64):
        matrix = matrix_of(make(x.astype(dtype)), "X", 2)
        assert _pdex.survey(matrix, 2) == (x.min(), x.max(), False)
    x[7, 7] = 0.0011
    assert _pdex.survey(matrix_of(make(x), "X", 2), 2) == (x.min(), x.max(), True)
    assert _pdex.survey(matrix_of(make(x[:, :0]), "X", 2), 2) == (0, 0, False)


def test_warnings_are_on_stderr_without_a_terminal(counts, tmp_path):
    some = np.flatnonzero(counts.obs["target"] == "T002")[:10]
    fewer = np.setdiff1d(np.arange(counts.n_obs), some)
    changed(counts, lambda x: 1.37 * x)[fewer].write_h5ad(tmp_path / "x.h5ad")
    words = ["de", "x.h5ad", "-g", "target", "--min-cells", "85"]
    done = subprocess.run(
        [sys.executable, "-m", "pdex", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0
    left_out, doubt = done.stderr.splitlines()
    line = "pdex: warning: left out 1 group of obs['target'] with fewer than 85 cells: 'T002'"
    assert left_out == line
    assert doubt.startswith("pdex: warning: ")
    assert "too large for log1p" in doubt
