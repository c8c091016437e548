"""Every example of the docstrings runs, and the demonstration finds its effects."""

import doctest
import importlib

import polars as pl
import pytest

MODULES = [
    "pdex.cli.app",
    "pdex.cli.show",
    "pdex._calibration",
    "pdex._expressions",
    "pdex._de",
    "pdex._scan",
    "pdex._tables",
    "pdex._compat.scanpy",
    "pdex._compat.v01",
    "pdex._compat.v03",
    "pdex.datasets",
    "pdex._plotting.bars",
    "pdex._plotting.heat",
    "pdex._plotting.pvalues",
    "pdex._plotting.report",
    "pdex._plotting.scatter",
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


def test_the_demonstration_finds_what_was_planted(tmp_path, capsys):
    from pdex._demo import main

    main(str(tmp_path / "demo.parquet"))
    table = pl.read_parquet(tmp_path / "demo.parquet")
    found = table.filter(pl.col("fdr") < 0.05)
    # Measured with seed 0: 971 of 1,000 planted effects, 3.6 % of those found not planted.
    assert table.height == 20_000
    assert found["planted"].sum() > 950
    assert 1 - found["planted"].mean() < 0.06
    assert "wrote" in capsys.readouterr().out
