"""Which cells take part in `pdex.de`: several controls, groups to exclude, groups of few cells."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pdex
import polars as pl
import pytest
import scipy.sparse as sp
from pdex.exceptions import PdexWarning
from polars.testing import assert_frame_equal

LABELS = ["T2", "safe", "T0", "ctrl", "T1", "T3"]
SIZES = [60, 35, 9, 45, 20, 21]


@pytest.fixture
def data(rng):
    """Counts of 190 cells; 12 have no label."""
    label = np.repeat([*LABELS, None], [*SIZES, 12])
    x = rng.poisson(rng.gamma(1, 2, 15), (label.size, 15)).astype(np.float32)
    obs = pd.DataFrame({"target": rng.permutation(label)}, [f"c{i}" for i in range(label.size)])
    var = pd.DataFrame(index=[f"g{i}" for i in range(15)])
    obs["target"] = obs["target"].astype("category")
    return ad.AnnData(sp.csr_matrix(x), obs, var)


@pytest.fixture(params=["memory", "backed", "path"])
def stored(request, data, tmp_path):
    if request.param == "memory":
        return data
    data.write_h5ad(path := tmp_path / "screen.h5ad")
    return path if request.param == "path" else ad.read_h5ad(path, backed="r")


def relabelled(data, **names):
    """The same screen with groups renamed; None takes the label away."""
    label = data.obs["target"].astype(object)
    obs = data.obs.assign(target=label.map(lambda name: names.get(name, name)))
    return ad.AnnData(data.X, obs, data.var)


def named(frame):
    return frame.with_columns(pl.col("target", "feature").cast(pl.String))


def same(got, expected):
    assert got.height > 0
    assert_frame_equal(named(got), named(expected), check_exact=True)


def test_several_references_are_one_pooled_group(data, stored, test):
    got = pdex.de(stored, "target", reference=["safe", "ctrl"], test=test)
    same(got, pdex.de(relabelled(data, safe="ctrl"), "target", reference="ctrl", test=test))
    assert got["n_reference"].unique().to_list() == [80]


@pytest.mark.parametrize("reference", ["ctrl", ["ctrl"], ("ctrl", "ctrl"), np.array(["ctrl"])])
def test_one_reference_is_itself(data, reference):
    same(pdex.de(data, "target", reference=reference), pdex.de(data, "target", reference="ctrl"))


def test_references_once_through(data):
    got = pdex.de(data, "target", reference=iter(["ctrl", "safe"]))
    same(got, pdex.de(data, "target", reference=["safe", "ctrl"]))


def test_a_listed_rest_is_a_label(data):
    label = relabelled(data, safe="rest")
    got = pdex.de(label, "target", reference=["rest", "ctrl"])
    same(got, pdex.de(data, "target", reference=["safe", "ctrl"]))


@pytest.mark.parametrize("reference", ["ctrl", "rest", ["ctrl", "T3"]])
def test_excluded_groups_are_as_if_without_a_label(data, stored, test, reference):
    got = pdex.de(stored, "target", reference=reference, exclude=["T2", "safe"], test=test)
    without = relabelled(data, T2=None, safe=None)
    same(got, pdex.de(without, "target", reference=reference, test=test))
    if reference == "rest":
        assert named(got)["target"].unique().sort().to_list() == ["T0", "T1", "T3", "ctrl"]
        assert (got["n_target"] + got["n_reference"]).unique().to_list() == [9 + 45 + 20 + 21]


def test_all_other_perturbed_cells_are_one_word_away(data, test):
    got = pdex.de(data, "target", reference="rest", exclude=["ctrl", "safe"], test=test)
    perturbed = data[data.obs["target"].isin(["T0", "T1", "T2", "T3"])]
    same(got, pdex.de(perturbed, "target", reference="rest", test=test))


def test_one_group_to_exclude(data):
    got = pdex.de(data, "target", reference="ctrl", exclude="T2")
    same(got, pdex.de(data, "target", reference="ctrl", exclude=["T2"]))


@pytest.mark.parametrize("reference", ["ctrl", "rest", ["ctrl", "safe"]])
def test_groups_of_few_cells_are_no_targets(data, stored, test, reference):
    line = "left out 2 groups of obs['target'] with fewer than 21 cells: 'T0', 'T1'"
    with pytest.warns(PdexWarning) as told:
        got = pdex.de(stored, "target", reference=reference, min_cells=21, test=test)
    assert [str(w.message) for w in told] == [line]
    large = [name for name in ("T2", "T3", "ctrl", "safe") if name not in reference]
    # They still belong to the rest: the numbers are those of the larger ones asked for by name.
    same(got, pdex.de(data, "target", reference=reference, groups=large, test=test))
    if reference == "rest":
        assert (got["n_target"] + got["n_reference"]).unique().to_list() == [190]


def test_the_reference_may_have_few_cells(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = pdex.de(data, "target", reference="T0", min_cells=10)
    same(got, pdex.de(data, "target", reference="T0"))


def test_all_three_by_output(data, tmp_path):
    options = {"reference": ["ctrl", "safe"], "exclude": ["T2"], "min_cells": 10}
    got = pdex.sink_de(data, "target", tmp_path / "de.parquet", **options).collect()
    same(got, pdex.de(data, "target", **options))
    assert named(got)["target"].unique().sort().to_list() == ["T1", "T3"]
