"""The built plugin loads in the oldest Polars that is declared, and in those between, and counts.

Each release is installed into a folder of its own; a test skips where PyPI is out of reach.
"""

import os
import subprocess
import sys

import pytest

SMOKE = """
import polars as pl
assert pl.__version__ == "{version}", pl.__version__
import pdex
df = pl.DataFrame({{"v": [3, 4, 5, 1, 2, 3], "t": ["a"] * 3 + ["c"] * 3, "g": ["x"] * 6}})
for dtype in (pl.String, pl.Categorical, pl.Enum(["a", "c"])):
    test = pdex.wilcoxon("v", pl.col("t").cast(dtype), reference="c", method="asymptotic")
    for engine in ("in-memory", "streaming"):
        out = df.lazy().group_by("g").agg(test).explode("wilcoxon").unnest("wilcoxon")
        row = out.collect(engine=engine).row(0, named=True)
        assert row["statistic"] == 8.5 and abs(row["p_value"] - 0.12118327283746) < 1e-13, row
screen = pdex.datasets.simulate_screen(n_cells=200, n_genes=10, n_targets=2, n_effects=4)
table = pdex.de(screen, "target")
lazy = (
    pdex.scan_anndata(screen, "target")
    .group_by("gene")
    .agg(pdex.wilcoxon("value", "target", reference="non-targeting", count="count"))
    .explode("wilcoxon").unnest("wilcoxon").collect(engine="streaming")
)
assert sorted(table["statistic"]) == sorted(lazy["statistic"])
print("fine")
"""


@pytest.mark.parametrize("version", ["1.38.1", "2.0.0"])
def test_an_older_polars(version, tmp_path):
    folder = tmp_path / "packages"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    installed = subprocess.run(
        [*command, f"polars=={version}"], capture_output=True, text=True, check=False
    )
    if installed.returncode:
        pytest.skip(f"polars {version} cannot be installed here: {installed.stderr[-200:]}")
    result = subprocess.run(
        [sys.executable, "-c", SMOKE.format(version=version)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == "fine", result.stderr[-2000:]
