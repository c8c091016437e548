"""Charts of results without fold changes, and of hits without a direction."""

import re

import numpy as np
import pdex
import pytest

pytest.importorskip("altair", reason="needs the extra plots")


@pytest.mark.parametrize("name", ["volcano", "ma", "top_genes", "effects"])
def test_without_fold_changes_the_error_says_what_to_do(make_table, name):
    table = make_table([np.nan] * 2, [1.0, 2.0], target_mean=[1.0, 2.0], reference_mean=[1.0, 1.0])
    message = (
        "there is nothing to draw, because all fold changes are NaN, as those of z-scores and "
        "residuals are; for fold changes, test counts or log values (layer=, use_raw=True). "
        "pdex.report shows results without fold changes"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        getattr(pdex.pl, name)(table)


def test_a_hit_without_direction(make_table, drawn, spec_of):
    table = make_table([0.0, 1.0, np.nan], [5.0, 4.0, 3.0])
    chart = pdex.pl.volcano(table, n_labels=0)
    assert dict(drawn(chart).select("feature", "change").iter_rows()) == {"g0": "flat", "g1": "up"}
    line = chart.title.subtitle[0]
    assert line == "2 of 3 genes below FDR 0.05: 1 up, 0 down, 1 without direction"
    (points,) = spec_of(chart, "circle")
    assert points["encoding"]["color"]["scale"]["domain"] == ["up", "down", "none", "flat"]
    (points,) = spec_of(pdex.pl.volcano(table.filter(table["feature"] == "g1")), "circle")
    assert points["encoding"]["color"]["scale"]["domain"] == ["up", "down", "none"]
