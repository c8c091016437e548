"""Cells normalised as they are read: values, totals and medians beside NumPy's and scanpy's."""

import warnings
from collections.abc import Callable

import anndata as ad
import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from pdex import _pdex
from pdex._engine import Comparison, Finish, Question
from pdex._io.groups import SKIP
from pdex._io.memory import matrix_of
from pdex._io.tables import Rows

LAYOUTS: dict[str, Callable[[np.ndarray], object]] = {
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "c": np.ascontiguousarray,
    "f": np.asfortranarray,
}
DTYPES = ["uint8", "uint16", "int32", "int64", "uint64", "float32", "float64"]


@pytest.fixture(name="x")
def counts(rng) -> np.ndarray:
    """Counts of 200 cells and 30 genes: some of a cell of no counts, some of many."""
    x = rng.poisson(rng.gamma(0.4, 3, 30) * rng.lognormal(0, 1, 200)[:, None])
    x[::37] = 0
    return np.minimum(x, 255)


def rows_of(matrix: _pdex.Matrix, genes: np.ndarray, nan: bool = False) -> pl.DataFrame:
    """Return the rows of a fold that keeps each cell, as a frame of gene, group and value."""
    n = matrix.shape[0]
    codes = np.arange(n, dtype=np.uint32)
    fold = _pdex.Fold(codes, n, genes, genes, "cells", True, nan, 2)
    parts = []
    while (more := fold.next(matrix, 10_000)) is not None:
        parts += [
            pl.DataFrame(dict(zip(["gene", "cell", "value", "n"], p, strict=True))) for p in more
        ]
    return pl.concat(parts)


def dense_of(matrix: _pdex.Matrix) -> np.ndarray:
    """Return all values of a matrix, from the rows of a fold."""
    out = np.full(matrix.shape, -1.0)
    frame = rows_of(matrix, np.arange(matrix.shape[1], dtype=np.uint32))
    assert frame["value"].dtype == pl.Float64
    out[frame["cell"].to_numpy(), frame["gene"].to_numpy()] = frame["value"].to_numpy()
    return out


def definition(x: np.ndarray, totals: np.ndarray, target: float) -> np.ndarray:
    """Return (X * target) / total, and 0 in cells without counts."""
    with np.errstate(invalid="ignore"):
        return np.where(totals[:, None] == 0, 0, x.astype(float) * target / totals[:, None])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_are_those_of_the_definition(x, layout, dtype):
    matrix = matrix_of(LAYOUTS[layout](x.astype(dtype)), "X", 2)
    totals = _pdex.totals(matrix, 2)
    np.testing.assert_array_equal(totals, x.sum(axis=1))
    for target in (1e4, 1e6, 1234.5):
        want = definition(x, totals, target)
        shares = matrix.normalised(totals, target, log=False)
        np.testing.assert_array_equal(dense_of(shares), want)
        logs = dense_of(matrix.normalised(totals, target, log=True))
        np.testing.assert_array_max_ulp(logs, np.log1p(want), 2)
    assert (shares.shape, shares.layout) == (x.shape, layout)
    # Nothing was copied, and the matrix is as it was.
    assert np.shares_memory(shares.values, matrix.values)
    assert shares.values.dtype == dtype
    assert matrix.normalising is None
    assert (shares.normalising[0] is totals, *shares.normalising[1:]) == (True, 1234.5, False)
    least, most, fractional = _pdex.survey(shares, 2)
    assert (least, most, fractional) == (0, want.max(), True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fractions_and_large_counts_have_one_total(x, rng, layout):
    counts = [x * rng.uniform(0.1, 1, x.shape), x * rng.integers(1, 2**33, x.shape).astype(float)]
    for values in counts:
        by_row = _pdex.totals(matrix_of(sp.csr_matrix(values), "X", 1), 1)
        np.testing.assert_allclose(by_row, values.sum(axis=1), rtol=1e-15)
        for threads in (1, 2, 3):
            matrix = matrix_of(LAYOUTS[layout](values), "X", threads)
            np.testing.assert_array_equal(_pdex.totals(matrix, threads), by_row)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_piece_takes_the_totals_of_the_whole(x, layout):
    totals = x.sum(axis=1).astype(float)
    piece = matrix_of(LAYOUTS[layout](x[:, 7:19].astype(np.float32)), "X", 2)
    got = dense_of(piece.normalised(totals, 1e4, log=False))
    np.testing.assert_array_equal(got, definition(x, totals, 1e4)[:, 7:19])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("test", ["wilcoxon", "anderson", "ttest", "ks"])
def test_a_job_has_the_numbers_of_the_materialised_matrix(x, rng, layout, test):
    two_sided = {"alternative": "two-sided"}
    options = {
        "wilcoxon": two_sided | {"method": "auto", "continuity": True, "tie_correct": True},
        "anderson": {"midrank": True, "method": "auto"},
        "ttest": two_sided | {"equal_var": False, "overestim_var": False, "method": "student"},
        "ks": two_sided | {"method": "auto"},
    }[test]
    codes = rng.integers(0, 5, len(x)).astype(np.uint32)
    codes[codes == 4] = SKIP
    genes = np.arange(x.shape[1], dtype=np.uint32)
    counts = matrix_of(LAYOUTS[layout](x.astype(np.float32)), "X", 2)
    totals = _pdex.totals(counts, 2)
    shares = definition(x, totals, 1e4)
    tables = []
    for matrix in (
        counts.normalised(totals, 1e4, log=False),
        matrix_of(LAYOUTS[layout](shares), "X", 2),
    ):
        job = _pdex.Job(Comparison(codes, 3, rest=False), Question(test, options), x.shape[1], 2)
        job.add(matrix, genes)
        tables.append(pl.DataFrame(job.finish(Finish(1e-9))))
    assert tables[0].height == 3 * x.shape[1]
    assert tables[0].equals(tables[1], null_equal=True)


def test_the_median_is_that_of_scanpy(x):
    sc = pytest.importorskip("scanpy")
    totals = _pdex.totals(matrix_of(sp.csr_matrix(x.astype(np.float32)), "X", 2), 2)
    target = _pdex.median_total(totals)
    assert target == np.median(totals[totals > 0])
    assert _pdex.median_total(totals[:-1]) == np.median(totals[:-1][totals[:-1] > 0])
    assert _pdex.median_total(np.zeros(3)) is None
    # scanpy (1.11) leaves out cells without counts if the matrix is dense; of CSR it takes
    # all. Both are one where all cells have counts.
    for cells, make in ((x, np.asarray), (x[totals > 0], sp.csr_matrix)):
        adata = ad.AnnData(make(cells.astype(np.float32)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sc.pp.normalize_total(adata)
        got = adata.X.toarray() if sp.issparse(adata.X) else adata.X
        want = definition(cells, cells.sum(axis=1).astype(float), target)
        np.testing.assert_allclose(got, want, rtol=4 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_that_are_no_counts_are_named(x, layout):
    for value in (np.nan, -1.0, np.inf):
        values = x.astype(float)
        values[5, 3] = values[9, 1] = value
        matrix = matrix_of(LAYOUTS[layout](values), "X", 2)
        if np.isnan(value):
            with pytest.raises(_pdex.NotANumberError) as error:
                _pdex.totals(matrix, 2)
            assert error.value.args[1:] == (5, 3)
            # With totals from elsewhere, NaN stays NaN and what is beside it is divided.
            shares = matrix.normalised(np.ones(len(x)), 2.0, log=False)
            with pytest.raises(_pdex.NotANumberError) as error:
                dense_of(shares)
            assert error.value.args[1:] == (5, 3)
        else:
            with pytest.raises(ValueError, match=rf"contains {value:g} \(cell 5, gene 3\)"):
                _pdex.totals(matrix, 2)


def test_what_cannot_be_normalised_is_refused(x):
    matrix = matrix_of(sp.csr_matrix(x), "X", 1)
    totals = _pdex.totals(matrix, 1)
    with pytest.raises(ValueError, match="totals of cells: expected length 200, got 199"):
        matrix.normalised(totals[1:].copy(), 1e4, log=True)
    for target in (0, -1, np.inf, np.nan):
        with pytest.raises(ValueError, match="expected a finite number above 0"):
            matrix.normalised(totals, target, log=True)
    totals[3] = -1
    with pytest.raises(ValueError, match="the total of cell 3 is -1"):
        matrix.normalised(totals, 1e4, log=True)
    with pytest.raises(TypeError, match="array of float64"):
        matrix.normalised(totals.astype(int), 1e4, log=True)
    totals[3] = 1
    normalised = matrix.normalised(totals, 1e4, log=True)
    with pytest.raises(ValueError, match="normalised already"):
        normalised.normalised(totals, 1e4, log=True)
    one = np.zeros(1, np.uint32)
    part = Rows(0, np.array([0, 1], np.uint64), one, np.ones(1), np.ones(1, np.uint32))
    table = _pdex.Matrix.counted((1, 1), [part])
    for call in (
        lambda: _pdex.totals(table, 1),
        lambda: table.normalised(np.ones(1), 1e4, log=True),
    ):
        with pytest.raises(TypeError, match="a count table cannot be normalised"):
            call()
