"""Bad input is an error that names what was found and what would do, never a panic.

A panic would be a `pyo3_runtime.PanicException`, which `pytest.raises(Exception)` does not catch.
"""

import functools

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from polars.testing import assert_frame_equal

N_CELLS, N_GENES = 40, 6
LABELS = ["a", "b", "ctrl", "c"]


def screen(n_cells=N_CELLS, n_genes=N_GENES, make=np.asarray, dtype=float):
    x = np.random.default_rng(1).poisson(1.0, (n_cells, n_genes)).astype(dtype)
    obs = pd.DataFrame({"target": [LABELS[i % 4] for i in range(n_cells)]}, dtype=object)
    obs.index = [f"cell{i}" for i in range(n_cells)]
    return ad.AnnData(make(x), obs, pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))


def de(data, column="target", **options):
    return pdex.de(data, column, **({"reference": "ctrl", "is_log1p": False} | options))


def scan(data, column="target", **options):
    return pdex.scan_anndata(data, column, **options).collect()


def v01(data, column="target", **options):
    options = {"reference": "ctrl", "groupby_key": column} | options
    return pdex.parallel_differential_expression(data, **options)


CALLS = [de, scan, v01]

# --- names and options --------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_unknown_column(call):
    with pytest.raises(KeyError, match=r"obs has no column 'nope'\. Columns: 'target'"):
        call(screen(), "nope")


@pytest.mark.parametrize("call", [de, scan])
def test_unknown_layer(call):
    data = screen()
    with pytest.raises(KeyError, match=r"nope.*none"):
        call(data, layer="nope")
    data.layers["counts"] = data.X
    with pytest.raises(KeyError, match=r"nope.*counts"):
        call(data, layer="nope")


UNKNOWN = {
    "reference": ({"reference": "nope"}, "reference 'nope'.*target.*'ctrl', 'a', 'b', 'c'"),
    "group": ({"groups": ["a", "nope"]}, "group 'nope'.*target.*'ctrl', 'a', 'b', 'c'"),
    "one group": ({"groups": "nope"}, "group 'nope'.*target.*'ctrl', 'a', 'b', 'c'"),
    "one of several references": ({"reference": ["ctrl", "nope"]}, "reference 'nope'.*'a', 'b'"),
    "no references": ({"reference": []}, r"reference=\[\].*at least one"),
    "the rest among references": ({"reference": ["ctrl", "rest"]}, "reference 'rest'.*'a', 'b'"),
    "reference in groups": ({"groups": ["a", "ctrl"]}, "'ctrl' is in both reference and groups"),
    "excluded reference": ({"exclude": ["ctrl"]}, "'ctrl' is in both reference and exclude"),
    "excluded group": (
        {"groups": ["a", "b"], "exclude": ["b"]},
        "group 'b' is in both groups and exclude; remove it from one",
    ),
    "unknown to exclude": ({"exclude": ["nope"]}, "excluded group 'nope'.*'ctrl', 'a', 'b', 'c'"),
    "number to exclude": ({"exclude": 3}, "exclude must be a list of names; got 3"),
    "all references": (
        {"reference": LABELS},
        r"obs\['target'\] has no group to test other than 'a', 'b', 'ctrl', 'c'",
    ),
    "all excluded": (
        {"exclude": ["a", "b", "c"]},
        r"obs\['target'\] has no group to test other than 'ctrl' without 'a', 'b', 'c'",
    ),
    "all but one excluded": (
        {"reference": "rest", "exclude": ["a", "b", "c"]},
        r"obs\['target'\] has only one group besides the 3 excluded, so there is no rest to",
    ),
    "few cells": (
        {"min_cells": 11},
        r"no group to test in obs\['target'\] has min_cells=11 cells; the largest, 'a', has 10",
    ),
    "no cells": ({"min_cells": 0}, "min_cells must be an integer >= 1; got 0"),
    "fractional cells": ({"min_cells": 2.5}, r"min_cells must be an integer >= 1; got 2\.5"),
    "bool cells": ({"min_cells": True}, "min_cells must be an integer >= 1; got True"),
    "no group": ({"groups": []}, r"obs\['target'\] has no group to test other than 'ctrl'"),
    "gene": (
        {"genes": ["g1", "nope"]},
        r"var_names has no gene 'nope'\. Its 6 names: 'g0', 'g1', 'g2', 'g3', 'g4' and 1 more",
    ),
    "test": (
        {"test": "t-test"},
        r"test must be one of 'wilcoxon', 'anderson', 'ttest', 'ks'; got 't-test'\. Use test=",
    ),
    "mean": ({"mean": "median"}, "mean must be one of 'arithmetic', 'geometric'; got 'median'"),
    "fdr": ({"fdr": "gene"}, "fdr must be one of 'target', 'all'; got 'gene'"),
    "alternative": (
        {"alternative": "more"},
        "alternative must be one of 'two-sided', 'less', 'greater'; got 'more'",
    ),
    "method": (
        {"method": "fast"},
        "method must be one of 'auto', 'exact', 'conditional', 'asymptotic'; got 'fast'",
    ),
    "anderson": (
        {"test": "anderson", "method": "x"},
        "method must be one of 'auto', 'asymptotic', 'scipy'; got 'x'",
    ),
    "unhashable": (
        {"alternative": ["less"]},
        r"alternative must be one of 'two-sided', 'less', 'greater'; got \['less'\]",
    ),
    "not the test's": (
        {"test": "ttest", "continuity": False},
        r"ttest has no option 'continuity', which belongs to wilcoxon\. Its options:",
    ),
    "none's": (
        {"nope": 1},
        r"de\(\) has no parameter 'nope'\. Parameters: data, groupby, reference, test, groups,",
    ),
    "no flag": ({"continuity": "yes"}, "continuity must be True or False; got 'yes'"),
    "null flag": ({"tie_correct": None}, "tie_correct must be True or False; got None"),
    "negative pseudocount": (
        {"pseudocount": -1.0},
        r"pseudocount must be a finite number >= 0; got -1\.0",
    ),
    "NaN pseudocount": (
        {"pseudocount": np.nan},
        "pseudocount must be a finite number >= 0; got nan",
    ),
    "infinite pseudocount": (
        {"pseudocount": np.inf},
        "pseudocount must be a finite number >= 0; got inf",
    ),
    "text pseudocount": ({"pseudocount": "1"}, "pseudocount"),
    "no threads": (
        {"threads": 0},
        r"threads must be None \(use all cores\) or an integer >= 1; got 0",
    ),
    "negative threads": (
        {"threads": -2},
        r"threads must be None \(use all cores\) or an integer >= 1; got -2",
    ),
    "text threads": (
        {"threads": "a"},
        r"threads must be None \(use all cores\) or an integer >= 1; got 'a'",
    ),
    "fractional threads": (
        {"threads": 1.5},
        r"threads must be None \(use all cores\) or an integer >= 1; got 1\.5",
    ),
    "bool threads": (
        {"threads": True},
        r"threads must be None \(use all cores\) or an integer >= 1; got True",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_unknown_options_are_named_with_the_valid_ones(case):
    options, message = UNKNOWN[case]
    with pytest.raises((ValueError, TypeError), match=message):
        de(screen(), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": "dropped"}, "fold must be one of 'values', 'zeros'; got 'dropped'"),
        (
            {"genes": ["nope"]},
            r"var_names has no gene 'nope'\. Its 6 names: 'g0', 'g1', 'g2', 'g3', 'g4' and 1 more",
        ),
        ({"groups": ["nope"]}, "group 'nope'.*'a', 'b'"),
    ],
)
def test_unknown_options_of_a_scan(options, message):
    with pytest.raises(ValueError, match=message):
        pdex.scan_anndata(screen(), "target", **options)


def test_exact_p_values_of_too_many_cells():
    data = screen(60_000, 1)
    with pytest.raises(ValueError, match=r"method='exact'.*15000.*'auto' or 'asymptotic'"):
        de(data, method="exact")


# --- values -------------------------------------------------------------------------------------

MAKERS = {
    "dense C": np.ascontiguousarray,
    "dense F": np.asfortranarray,
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "csr_array": sp.csr_array,
}


@pytest.mark.parametrize("test", ["wilcoxon", "anderson", "ttest"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", MAKERS)
def test_nan_names_the_first_gene_and_cell(tmp_path, layout, dtype, test):
    data = screen(dtype=dtype)
    data.X[[30, 7, 2], [1, 1, 4]] = np.nan
    data.X = MAKERS[layout](data.X)
    message = r"X contains NaN \(cell 'cell2', row 2; gene"  # in the order of cells, then genes
    data.write_h5ad(path := tmp_path / "nan.h5ad")
    for source in (data, path):
        with pytest.raises(ValueError, match=message):
            de(source, test=test, is_log1p=None)
    data.layers["other"] = data.X
    with pytest.raises(ValueError, match=r"layer 'other' contains NaN .*'cell7'.*gene 'g1'"):
        de(data, test=test, layer="other", genes=["g1", "g5"])
    assert de(data, test=test, genes=["g0", "g5"]).height == 6


def test_nan_of_a_cell_or_gene_that_takes_no_part_does_not_matter():
    data = screen()
    expected = de(data, groups=["a", "b"])
    data.X[3, 1] = np.nan  # a cell of group "c"
    assert de(data, groups=["a", "b"]).equals(expected)
    with pytest.raises(ValueError, match="cell3"):
        de(data, groups=["a", "b"], reference="rest")
    data.obs.loc["cell3", "target"] = None
    assert de(data, groups=["a", "b"]).equals(expected)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("dtype", [object, complex, "complex64", np.longdouble, "U3", "M8[s]"])
def test_values_that_are_no_real_numbers(call, dtype):
    data = screen()
    data.X = data.X.astype(int).astype(dtype)
    name = str(np.dtype(dtype)).replace("<", "")
    with pytest.raises(TypeError, match=f"X has dtype .*{name[:7]}.*real number"):
        call(data)


@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csc_array])
def test_sparse_values_that_are_no_real_numbers(make):
    data = screen()
    data.X = make(data.X.astype(complex))
    for call in CALLS:
        with pytest.raises(TypeError, match=r"X has dtype complex128.*real number"):
            call(data)


# --- broken sparse arrays -----------------------------------------------------------------------


def indices(matrix, value):
    matrix.indices[-3] = value


def indptr(matrix, place, value):
    matrix.indptr[place] = value


def longer(matrix):
    matrix.indptr = np.append(matrix.indptr, matrix.indptr[-1])


def shorter(matrix):
    matrix.indptr = matrix.indptr[:-2]


def fewer(matrix):
    matrix.data = matrix.data[:-1]


def empty(matrix):
    matrix.indptr = matrix.indptr[:0]


BROKEN = {
    "index too large": (functools.partial(indices, value=1_000), "1000"),
    "index just too large": (functools.partial(indices, value=None), "index"),
    "index negative": (functools.partial(indices, value=-1), "-1"),
    "index very negative": (functools.partial(indices, value=-(2**31)), "-2147483648"),
    "decreasing": (functools.partial(indptr, place=3, value=1), "indptr.*decreases"),
    "past the end": (functools.partial(indptr, place=-1, value=10_000), "indptr.*past"),
    "past the end within": (functools.partial(indptr, place=2, value=10_000), "indptr"),
    "not from 0": (functools.partial(indptr, place=0, value=1), "indptr.*start at 0"),
    "from below 0": (functools.partial(indptr, place=0, value=-1), "indptr.*start at 0"),
    "negative": (functools.partial(indptr, place=1, value=-5), "indptr"),
    "too long": (longer, "indptr"),
    "too short": (shorter, "indptr"),
    "empty": (empty, "indptr"),
    "fewer values": (fewer, "indices"),
}


def broken(make, kind, narrow):
    """A screen whose sparse matrix was valid when AnnData saw it, and where it is broken."""
    data = screen(make=make)
    if not narrow:
        data.X.indices, data.X.indptr = (
            a.astype(np.int64) for a in (data.X.indices, data.X.indptr)
        )
    if kind == "index just too large":
        data.X.indices[-3] = N_GENES if data.X.format == "csr" else N_CELLS
    else:
        BROKEN[kind][0](data.X)
    return data


@pytest.mark.parametrize("narrow", [True, False], ids=["int32", "int64"])
@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csc_matrix])
@pytest.mark.parametrize("kind", BROKEN)
def test_broken_sparse_arrays_are_refused(kind, make, narrow):
    data = broken(make, kind, narrow)
    for call in CALLS:
        with pytest.raises(ValueError, match=BROKEN[kind][1]):
            call(data)


def in_file(path, make, kind):
    """The same, in a file: AnnData writes what it is given, arrays are put there as they are."""
    screen(make=make).write_h5ad(path)
    arrays = broken(make, kind, True).X
    with h5py.File(path, "r+") as file:
        for name in ("data", "indices", "indptr"):
            del file["X"][name]
            file["X"][name] = getattr(arrays, name)
    return path


@pytest.mark.parametrize("budget", [10**8, 100, 1])
@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csc_matrix])
@pytest.mark.parametrize("kind", BROKEN)
def test_broken_sparse_arrays_in_a_file_are_refused(tmp_path, monkeypatch, kind, make, budget):
    path = in_file(tmp_path / "broken.h5ad", make, kind)
    pieces = pdex._io.stored.StoredMatrix.pieces
    small = lambda x, how, _, *span: pieces(x, how, budget, *span)  # noqa: E731
    monkeypatch.setattr(pdex._io.stored.StoredMatrix, "pieces", small)
    for call in (de, scan):
        # Polars wraps what a scan raises as it runs.
        message = BROKEN[kind][1].partition(".")[0]
        with pytest.raises((ValueError, pl.exceptions.ComputeError), match=message):
            call(path)


# --- nothing to test ----------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("label", [None, np.nan, "", pd.NA])
def test_no_cell_has_a_label(call, label):
    data = screen()
    data.obs["target"] = pd.Series([label] * N_CELLS, data.obs_names, object)
    with pytest.raises(ValueError, match=r"target.*no cell with a label"):
        call(data)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix, sp.csc_matrix])
@pytest.mark.parametrize("call", CALLS)
def test_no_cells(call, make):
    with pytest.raises(ValueError, match=r"target.*no cell with a label"):
        call(screen(n_cells=0, make=make))


@pytest.mark.parametrize("backed", [False, True], ids=["memory", "file"])
@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_no_genes(tmp_path, make, backed):
    data, full = screen(n_genes=0, make=make), screen()
    data.write_h5ad(path := tmp_path / "empty.h5ad")
    source = path if backed else data
    for test in ("wilcoxon", "anderson", "ttest"):
        for is_log1p in (False, None):
            got = de(source, test=test, is_log1p=is_log1p)
            expected = de(full, test=test).schema
            assert (got.height, dict(got.schema)) == (0, dict(expected))
    lazy = pdex.scan_anndata(source, "target")
    assert (lazy.collect().height, lazy.collect().schema) == (0, lazy.collect_schema())
    assert list(v01(source).columns) == list(v01(full).columns)


def test_the_rest_of_one_group_is_nothing():
    data = screen()
    data.obs["target"] = "a"
    with pytest.raises(
        ValueError,
        match=r"obs\['target'\] has only one group, so there is no rest to compare it with",
    ):
        de(data, reference="rest")
    with pytest.raises(ValueError, match="no group to test other than 'a'"):
        de(data, reference="a")


def test_labels_that_read_the_same():
    data = screen()
    data.obs["target"] = pd.Series([1, "1", "a", "b"] * 10, data.obs_names, object).astype(
        "category"
    )
    with pytest.raises(
        ValueError, match=r"obs\['target'\] has two labels that are both written '1'; rename one"
    ):
        de(data, reference="a")


def test_group_of_one_cell_has_no_variance():
    data = screen()
    data.obs.loc["cell0", "target"] = "lonely"
    for options in ({"equal_var": False}, {}):
        got = de(data, test="ttest", groups="lonely", **options)
        assert (got["n_target"] == 1).all()
        assert np.isfinite(got["reference_mean"].to_numpy()).all()


# --- what is no AnnData -------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_a_path_without_a_file(tmp_path, call):
    for path in (tmp_path / "none.h5ad", str(tmp_path / "none.h5ad")):
        with pytest.raises(FileNotFoundError, match=r"none\.h5ad"):
            call(path)


@pytest.mark.parametrize("call", CALLS)
def test_a_file_of_another_kind(tmp_path, call):
    path = tmp_path / "text.h5ad"
    path.write_text("no HDF5")
    with pytest.raises(OSError, match=r"file"):
        call(path)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("data", [None, 3, np.zeros((3, 3)), pd.DataFrame({"target": ["a"]})])
def test_data_of_another_type(call, data):
    with pytest.raises(TypeError, match=f"{type(data).__name__}.*AnnData.*path"):
        call(data)


@pytest.mark.parametrize("call", CALLS)
def test_no_matrix(call):
    data = screen()
    data.layers["counts"] = data.X
    data.X = None
    with pytest.raises(ValueError, match=r"no X.*'counts'"):
        call(data)
    del data.layers["counts"]
    with pytest.raises(ValueError, match="this AnnData has neither X nor a layer"):
        call(data)


# --- options of the wrong kind ------------------------------------------------------------------

WRONG = {
    "is_log1p": (de, {"is_log1p": "yes"}, TypeError, "is_log1p must be True or False; got 'yes'"),
    "progress": (de, {"progress": "x"}, TypeError, "progress must be True or False; got 'x'"),
    "pseudocount": (
        de,
        {"pseudocount": True},
        ValueError,
        "pseudocount must be a finite number >= 0; got True",
    ),
    "groups": (de, {"groups": 3}, TypeError, "groups must be a list of names; got 3"),
    "genes": (scan, {"genes": 1}, TypeError, "genes must be a list of names; got 1"),
    "column": (
        de,
        {"column": ["target"]},
        TypeError,
        r"groupby must be the name of one column of obs; got \['target'\]\. Join several",
    ),
    "test": (
        de,
        {"test": ["wilcoxon"]},
        ValueError,
        r"test must be one of 'wilcoxon', 'anderson', 'ttest', 'ks'; got \['wilcoxon'\]",
    ),
    "metric": (v01, {"metric": ["wilcoxon"]}, ValueError, "metric.*'anderson'"),
    "num_workers": (
        v01,
        {"num_workers": 0},
        ValueError,
        r"num_workers must be None \(use all cores\) or an integer >= 1; got 0",
    ),
    "num_threads": (
        v01,
        {"num_threads": -2},
        ValueError,
        r"num_threads must be None \(use all cores\) or an integer >= 1; got -2",
    ),
    "low_memory": (
        v01,
        {"low_memory": "x"},
        TypeError,
        "low_memory must be True or False; got 'x'",
    ),
    "limit": (
        de,
        {"memory_limit": "2 gigs"},
        ValueError,
        r"memory_limit must be None \(1 GB\), a number of bytes or a size such as '2GB', and at",
    ),
    "small limit": (
        de,
        {"memory_limit": "2MB"},
        ValueError,
        r"memory_limit must be None \(1 GB\), a number of bytes or a size such as '2GB', and at",
    ),
    "misspelt": (
        de,
        {"refrence": "c"},
        TypeError,
        r"de\(\) has no parameter 'refrence'\. Did you mean 'reference'\?",
    ),
    "n_jobs": (de, {"n_jobs": 4}, TypeError, r"de\(\) has no parameter 'n_jobs'\. Use 'threads'"),
    "output": (
        de,
        {"output": "x"},
        TypeError,
        r"de\(\) has no parameter 'output'\. Use pdex\.sink_de\(data, groupby, path\) to write a",
    ),
    "nothing near": (
        de,
        {"xyzzy": 1},
        TypeError,
        r"de\(\) has no parameter 'xyzzy'\. Parameters: data, groupby, reference, test, groups,",
    ),
    "near test": (
        de,
        {"test": "t-test"},
        ValueError,
        r"test must be one of 'wilcoxon', 'anderson', 'ttest', 'ks'; got 't-test'\. Use test=",
    ),
    "case": (
        de,
        {"mean": "Geometric"},
        ValueError,
        r"mean must be one of 'arithmetic', 'geometric'; got 'Geometric'\. Did you mean",
    ),
    "near column": (
        de,
        {"column": "traget"},
        KeyError,
        r"obs has no column 'traget'\. Did you mean 'target'\? Columns: 'target'",
    ),
    "foreign": (
        de,
        {"test": "ttest", "midrank": False},
        TypeError,
        r"ttest has no option 'midrank', which belongs to anderson\. Its",
    ),
    "method of another test": (
        de,
        {"test": "ttest", "method": "exact"},
        ValueError,
        r"method must be one of 'student', 'permutation'; got 'exact'",
    ),
    "foreign flag": (
        de,
        {"equal_var": False},
        TypeError,
        r"wilcoxon has no option 'equal_var', which belongs to ttest\. Its options:",
    ),
    "clip 0": (v01, {"clip_value": 0}, ValueError, "clip_value=0.*above 0"),
    "clip text": (v01, {"clip_value": "20"}, ValueError, "clip_value='20'.*above 0"),
    "clip nan": (v01, {"clip_value": float("nan")}, ValueError, "clip_value=nan.*above 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_of_the_wrong_kind_are_named(tmp_path, case):
    call, options, error, message = WRONG[case]
    data = screen()
    if case == "low_memory":
        data.write_h5ad(tmp_path / "screen.h5ad")
        data = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    with pytest.raises(error, match=message):
        call(data, **options)


def test_a_folder_and_a_masked_array(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder.*\.h5ad"):
        de(tmp_path)
    data = screen()
    data.X = np.ma.masked_array(np.ones(data.shape), np.eye(*data.shape))
    with pytest.raises(TypeError, match=r"masked array.*filled"):
        de(data)


def test_more_threads_than_cores_are_no_more_than_cores():
    data = screen()
    assert_frame_equal(de(data, threads=10**9), de(data, threads=1))


def test_numpy_flags_and_numbers_are_as_good_as_pythons():
    data = screen()
    given = de(data, continuity=np.bool_(False), pseudocount=np.float32(0.5))
    assert_frame_equal(given, de(data, continuity=False, pseudocount=0.5))


def test_anderson_has_no_alternative():
    data = screen()
    assert_frame_equal(
        de(data, test="anderson", alternative="two-sided"), de(data, test="anderson")
    )
    with pytest.raises(
        ValueError, match="alternative must be 'two-sided' for anderson; got 'less'"
    ):
        de(data, test="anderson", alternative="less")


def test_groups_that_can_be_read_once_only():
    data = screen()
    wanted = ["c", "a"]
    given = v01(data, groups=(name for name in wanted), as_polars=True)
    assert given["target"].unique(maintain_order=True).to_list() == wanted
    assert_frame_equal(given, v01(data, groups=wanted, as_polars=True))
    assert_frame_equal(de(data, groups=iter(wanted)), de(data, groups=wanted))
