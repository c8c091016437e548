"""What an installed wheel must do, by itself: `python -I smoke.py without` (or `with`) `-plots`.

Runs where neither Rust nor this project is: test_wheel.py makes such an environment. It prints
`fine` at its end, and asserts numbers on the way.
"""

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from importlib import metadata
from pathlib import Path

import anndata as ad
import numpy as np
import pdex
import polars as pl
from scipy import stats

PLOTS = sys.argv[1] == "with-plots"
REFERENCE = "non-targeting"
#: A test, its options that are not SciPy's own, and SciPy's answer.
TESTS = {
    "wilcoxon": lambda x, y: stats.mannwhitneyu(x, y, method="asymptotic"),
    "ttest": stats.ttest_ind,
}


def environment() -> None:
    assert sys.flags.isolated
    assert not [tool for tool in ("cargo", "rustc", "maturin") if shutil.which(tool)]
    folder = Path(pdex.__file__).parent
    assert folder.is_relative_to(sysconfig.get_path("platlib")), folder
    assert pdex.__version__ == metadata.version("pdex")
    assert (folder / "py.typed").exists()
    assert (folder / "_pdex.pyi").exists()
    assert bool(importlib.util.find_spec("altair")) == PLOTS


def dense(screen: ad.AnnData) -> dict[str, np.ndarray]:
    """Return the values of each group, cells x genes."""
    values = np.asarray(screen.X.todense(), dtype=np.float64)
    labels = screen.obs["target"].to_numpy()
    return {name: values[labels == name] for name in np.unique(labels)}


def whole_job(screen: ad.AnnData, path: Path, folder: Path) -> pl.DataFrame:
    """Hold the p-values of all targets and genes to SciPy's, in memory and from files."""
    groups = dense(screen)
    targets = sorted(set(groups) - {REFERENCE})
    for test, scipy in TESTS.items():
        options = {"test": test} | ({"method": "asymptotic"} if test == "wilcoxon" else {})
        table = pdex.de(screen, "target", **options)
        assert table.height == len(targets) * screen.n_vars
        assert table["target"].unique(maintain_order=True).to_list() == targets
        want = np.concatenate([scipy(groups[name], groups[REFERENCE]).pvalue for name in targets])
        # Measured: 1e-14 (rank-sum), 3e-14 (t).
        np.testing.assert_allclose(table["p_value"].to_numpy(), want, rtol=1e-12)
        assert pdex.de(path, "target", **options).equals(table)
        assert pdex.de(ad.read_h5ad(path, backed="r"), "target", **options).equals(table)
        for ending in ("parquet", "ipc"):
            lazy = pdex.sink_de(path, "target", folder / f"{test}.{ending}", **options)
            assert lazy.collect().equals(table)
    table = pdex.de(screen, "target", test="anderson", method="scipy")
    x, y = groups[targets[0]], groups[REFERENCE]
    for gene in range(screen.n_vars):
        want = stats.anderson_ksamp([x[:, gene], y[:, gene]])
        assert abs(table["statistic"][gene] - want.statistic) < 1e-10, gene
        assert abs(table["p_value"][gene] - want.pvalue) < 1e-10, gene
    return pdex.de(screen, "target", method="asymptotic")


def newer_packages(screen: ad.AnnData) -> None:
    """Hold layers to what they are: anndata 0.13 lists X among them, under the name None."""
    assert "layer" not in str(pdex.info(screen))
    counted = screen.copy()
    counted.layers["counts"] = counted.X
    want = pdex.de(screen, "target", test="ttest")
    assert pdex.de(counted, "target", layer="counts", test="ttest").equals(want)
    said = ""
    try:
        pdex.de(counted, "target", layer="cuonts")
    except KeyError as error:
        said = str(error)
    assert "Did you mean 'counts'?" in said, said


def expressions(screen: ad.AnnData, path: Path) -> None:
    """Hold the lazy pipeline's numbers, of each test and source, to the whole job's."""
    tests = {
        "wilcoxon": pdex.wilcoxon,
        "anderson": pdex.anderson,
        "ttest": pdex.ttest,
        "ks": pdex.ks,
    }
    for name, test in tests.items():
        want = pdex.de(screen, "target", test=name)
        want = want.with_columns(pl.col("target", "feature").cast(pl.String))
        want = want.sort("target", "feature")
        expression = test("value", "target", reference=REFERENCE, count="count")
        for data in (screen, path):
            lazy = pdex.scan_anndata(data, "target").group_by("gene").agg(expression)
            found = lazy.explode(name).unnest(name).collect(engine="streaming")
            found = found.with_columns(pl.col("target", "gene").cast(pl.String))
            found = found.sort("target", "gene")
            assert found["gene"].equals(want["feature"])
            for column in ("statistic", "p_value", "target_mean"):
                np.testing.assert_allclose(found[column], want[column], rtol=1e-12, atol=1e-300)
    frame = pl.DataFrame({"v": [3, 4, 5, 1, 2, 3], "t": ["a"] * 3 + ["c"] * 3})
    row = frame.select(pl.col("v").pdex.wilcoxon("t", reference="c")).unnest("wilcoxon").row(0)
    assert row[:3] == ("a", 3, 3)
    assert row[5] == 8.5
    # Two of the 20 choices of three values have a U as large, and two one as small.
    assert abs(row[6] - 0.2) < 1e-13


def older_interfaces(screen: ad.AnnData, table: pl.DataFrame) -> None:
    """Hold the interfaces of 0.1 and 0.3 and scanpy's to the same statistics."""
    old = pdex.parallel_differential_expression(screen, groupby_key="target", as_polars=True)
    np.testing.assert_array_equal(old["statistic"], table["statistic"])
    assert pdex.pdex(screen, "target", is_log1p=False)["p_value"].equals(table["p_value"])
    pandas = pdex.pdex(screen, "target", is_log1p=False, as_pandas=True)
    np.testing.assert_array_equal(pandas["p_value"], table["p_value"])
    ranked = screen.copy()
    pdex.tl.rank_genes_groups(ranked, "target", reference=REFERENCE, method="t-test")
    first = ranked.uns["rank_genes_groups"]["pvals"]["T000"]
    want = pdex.de(screen, "target", test="ttest", equal_var=False, groups=["T000"])["p_value"]
    np.testing.assert_allclose(np.sort(first), np.sort(want.to_numpy()), rtol=1e-12)
    found = pdex.calibrate(screen, "target", n_splits=5, min_expected=1.0)
    assert found.summary["n"][0] > 100
    assert 0 <= found.summary["fraction"][0] < 0.2


def command_line(path: Path, folder: Path, table: pl.DataFrame) -> None:
    """Hold what the program prints and writes to the whole job's table."""
    program = str(Path(sys.executable).with_name("pdex"))

    def run(*words: object, status: int = 0) -> str:
        done = subprocess.run(
            [program, *map(str, words)], capture_output=True, text=True, check=False, cwd=folder
        )
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done.stdout if status == 0 else done.stderr

    assert pdex.__version__ in run("--version")
    result = folder / "cli.parquet"
    run("de", path, "--groupby", "target", "--method", "asymptotic", "-o", result)
    assert pl.read_parquet(result).equals(table)
    rows = run("de", path, "-g", "target", "--groups", "T001").splitlines()
    assert len(rows) == 1 + table.filter(pl.col("target") == "T001").height
    facts = run("info", path)
    assert "600 cells x 40 genes" in facts
    assert "--reference non-targeting" in facts
    run("report", result, "-o", folder / "page.html")
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "T003" in page
    assert "<script" in page
    assert "'x'" in run("de", path, "-g", "x", status=1)


def plots(table: pl.DataFrame, folder: Path) -> None:
    """Draw with the extra; without it, expect the error that names it."""
    draw = [
        lambda: pdex.pl.volcano(table, "T000"),
        lambda: pdex.pl.ma(table, "T000"),
        lambda: pdex.pl.top_genes(table, "T000"),
        lambda: pdex.pl.effects(table),
        lambda: pdex.pl.pvalues(table),
    ]
    for picture in draw:
        text = ""
        try:
            chart = picture()
        except ImportError as error:
            text = str(error)
        assert ("pdex[plots]" in text) is not PLOTS, text
        if not PLOTS:
            continue
        chart.save(str(folder / "chart.svg"))
        assert (folder / "chart.svg").read_text(encoding="utf-8").startswith("<svg")
        chart.save(str(folder / "chart.html"))
        chart.save(str(folder / "chart.png"))
        assert (folder / "chart.png").read_bytes().startswith(b"\x89PNG")


def main() -> None:
    environment()
    # SciPy's of capped p-values and renamed options, pdex's of counts where scanpy takes logs.
    warnings.simplefilter("ignore")
    screen = pdex.datasets.simulate_screen(
        n_cells=600, n_genes=40, n_targets=4, n_effects=6, reference_fraction=0.3, seed=3
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "screen.h5ad"
        screen.write_h5ad(path, compression="gzip")
        table = whole_job(screen, path, folder)
        plots(table, folder)
        newer_packages(screen)
        expressions(screen, path)
        older_interfaces(screen, table)
        command_line(path, folder, table)
    print("fine")


if __name__ == "__main__":
    main()
