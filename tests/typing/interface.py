"""Every public name, parameter and option, as a caller with a strict type checker writes them.

mypy and pyright check this file: what `assert_type` says of each result, and that each line under
`wrong` is an error, since a comment that ignores none is one itself. test_interface.py runs all but
these, holds each result to what is said of its type, and finds what is public and not named here.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd
import pdex
import polars as pl
import zarr
from anndata import AnnData
from typing_extensions import assert_type
from zarr.storage import MemoryStore


def simulated() -> AnnData:
    assert_type(pdex.__version__, str)
    assert_type(pdex.DEFAULT_REFERENCE, str)
    screen = pdex.datasets.simulate_screen(
        n_cells=600,
        n_genes=40,
        n_targets=4,
        n_effects=6,
        fold_change=2.0,
        reference=pdex.DEFAULT_REFERENCE,
        reference_fraction=0.3,
        umis_per_cell=2_000.0,
        seed=1,
    )
    assert_type(screen, AnnData)
    return screen


def expressions(frame: pl.LazyFrame) -> None:
    tests = [
        pdex.wilcoxon("value", "target", reference="rest"),
        pdex.wilcoxon(pl.col("value"), pl.col("target"), reference="rest", count=pl.col("count")),
        pdex.wilcoxon("value", "target", reference="rest", alternative="two-sided"),
        pdex.wilcoxon("value", "target", reference="rest", alternative="less"),
        pdex.wilcoxon("value", "target", reference="rest", alternative="greater"),
        pdex.wilcoxon("value", "target", reference="rest", method="asymptotic"),
        pdex.wilcoxon("value", "target", reference="rest", method="auto"),
        pdex.wilcoxon("value", "target", reference="rest", method="exact"),
        pdex.wilcoxon("value", "target", reference="rest", method="conditional"),
        pdex.wilcoxon("value", "target", reference="rest", continuity=False, tie_correct=False),
        pdex.wilcoxon("value", "target", reference="rest", count="count", strata="stratum"),
        pdex.anderson("value", "target", reference="rest", count="count", midrank=False),
        pdex.anderson("value", "target", reference="rest", method="asymptotic", auroc=True),
        pdex.anderson("value", "target", reference="rest", method="scipy"),
        pdex.anderson("value", "target", reference="rest", method="auto"),
        pdex.ttest("value", "target", reference="rest", count="count", equal_var=False),
        pdex.ttest("value", "target", reference="rest", alternative="two-sided", method="student"),
        pdex.ttest("value", "target", reference="rest", alternative="less", method="permutation"),
        pdex.ttest("value", "target", reference="rest", alternative="greater", auroc=True),
        pdex.ks("value", "target", reference="rest", count="count", method="auto"),
        pdex.ks("value", "target", reference="rest", alternative="less", method="exact"),
        pdex.ks("value", "target", reference="rest", alternative="greater", auroc=True),
        pdex.ks("value", "target", reference="rest", alternative="two-sided", method="asymptotic"),
    ]
    assert_type(tests[0], pl.Expr)
    assert_type(pdex.anderson(pl.lit(1), "target", reference=3), pl.Expr)
    assert_type(pdex.ttest(pl.lit(1), "target", reference=True), pl.Expr)
    for test in tests:
        assert_type(frame.group_by("gene").agg(test).collect(), pl.DataFrame)


def namespace(frame: pl.LazyFrame) -> None:
    space = pdex.PdexNamespace(pl.col("value"))
    tests = [
        space.wilcoxon("target", reference="rest", count="count", continuity=False),
        space.wilcoxon("target", reference="rest", alternative="two-sided", tie_correct=False),
        space.wilcoxon("target", reference="rest", alternative="less", method="asymptotic"),
        space.wilcoxon("target", reference="rest", alternative="greater", method="auto"),
        space.wilcoxon("target", reference="rest", method="exact"),
        space.wilcoxon("target", reference="rest", method="conditional"),
        space.wilcoxon("target", reference="rest", count="count", strata=pl.col("stratum")),
        space.anderson("target", reference="rest", count="count", method="scipy"),
        space.anderson("target", reference="rest", midrank=False, method="asymptotic"),
        space.anderson("target", reference="rest", auroc=True, method="auto"),
        space.ttest("target", reference="rest", count="count", alternative="two-sided"),
        space.ttest("target", reference="rest", equal_var=False, alternative="less"),
        space.ttest("target", reference="rest", alternative="greater", auroc=True),
        space.ttest("target", reference="rest", method="student"),
        space.ttest("target", reference="rest", method="permutation"),
        space.ks("target", reference="rest", count="count", alternative="two-sided"),
        space.ks("target", reference="rest", alternative="less", method="exact"),
        space.ks("target", reference="rest", alternative="greater", method="auto", auroc=True),
        space.ks("target", reference="rest", method="asymptotic"),
    ]
    assert_type(tests[0], pl.Expr)
    assert_type(space.anderson("target", reference="rest"), pl.Expr)
    assert_type(space.ttest("target", reference="rest"), pl.Expr)
    for test in tests:
        assert_type(frame.group_by("gene").agg(test).collect(), pl.DataFrame)


def scanned(screen: AnnData, path: Path) -> pl.LazyFrame:
    assert_type(pdex.scan_anndata(path, "target", layer="log", fold=None), pl.LazyFrame)
    assert_type(pdex.scan_anndata(str(path), "target", use_raw=True), pl.LazyFrame)
    assert_type(pdex.scan_anndata(path, "target", fold="values"), pl.LazyFrame)
    store = MemoryStore()
    screen.write_zarr(store)  # pyright: ignore[reportUnknownMemberType]
    assert_type(pdex.scan_anndata(store, "target"), pl.LazyFrame)
    group = zarr.open_group(store)  # pyright: ignore[reportUnknownMemberType]
    assert_type(pdex.de(group, "target"), pl.DataFrame)
    frame = pdex.scan_anndata(
        screen,
        groupby="target",
        join="inner",
        genes=screen.var_names,
        groups=np.array(["T000"]),
        strata="guide",
        fold="zeros",
        where="guide IS NOT NULL",
        gene_names=None,
        normalize="median",
        log1p=False,
        threads=1,
        memory_limit="1GB",
    )
    assert_type(frame, pl.LazyFrame)
    return frame


def counted(screen: AnnData, path: Path, folder: Path) -> pl.DataFrame:
    assert_type(pdex.tabulate(path, "target", output=str(folder / "a.tables")), pdex.Tables)
    pdex.tabulate(path, "target", output=folder / "part.tables", part=(1, 1))
    tables = pdex.tabulate(
        data=screen,
        groupby=["target", "guide"],
        output=folder / "screen.tables",
        layer="log",
        use_raw=False,
        join="inner",
        genes=np.array(["g0", "g1"]),
        where=pl.col("target") != "T003",
        gene_names=None,
        normalize=None,
        log1p=True,
        single_cells="non-targeting",
        threads=1,
        memory_limit="1GB",
        progress=False,
    )
    assert_type(tables, pdex.Tables)
    assert_type(pdex.Tables(path=str(tables.path)).path, Path | str)
    assert_type(tables.labels, pl.DataFrame)
    assert_type(tables.genes, pl.Series)
    assert_type(tables.scan(), pl.LazyFrame)
    assert_type(pdex.info(tables), pdex.Info)
    file = folder / "counted.parquet"
    assert_type(pdex.sink_de(tables, "target", file, where="guide <> 'x'"), pl.LazyFrame)
    assert_type(pdex.calibrate(tables, "target", n_splits=2, min_expected=0), pdex.Calibration)
    return pdex.de(tables, "target", strata="guide", where="guide <> 'guide 4'")


def on_cluster(path: Path, folder: Path) -> pl.LazyFrame:
    """Dask runs the tasks on threads of this process."""
    tables = pdex.tabulate(path, "target", output=folder / "b.tables", engine="dask")
    assert_type(pdex.de(tables, "target", engine="dask"), pl.DataFrame)
    return pdex.sink_de(tables, "target", folder / "result", engine="dask")


def jobs(screen: AnnData, path: Path, output: Path) -> pl.DataFrame:
    result = pdex.de(
        screen,
        "target",
        reference=pdex.DEFAULT_REFERENCE,
        test="wilcoxon",
        groups=["T000", "T001"],
        exclude=("T003",),
        min_cells=2,
        strata="guide",
        where="target <> 'T002'",
        genes=np.array(["g0", "g1"]),
        layer="log",
        use_raw=False,
        gene_names=None,
        normalize=None,
        log1p=True,
        join="inner",
        is_log1p=True,
        mean="arithmetic",
        pseudocount=1e-6,
        fdr="target",
        alternative="two-sided",
        auroc=True,
        threads=2,
        memory_limit=200_000_000,
        progress=False,
    )
    assert_type(result, pl.DataFrame)
    assert_type(pdex.sink_de(path, "target", output), pl.LazyFrame)
    shares = output.with_name("shares")
    assert_type(pdex.sink_de(path, "target", shares, part=(1, 1)), pl.LazyFrame)
    assert_type(
        pdex.collect(shares, output, threads=1, memory_limit="1GB", progress=False), pl.LazyFrame
    )
    pdex.de(screen, "target", method="asymptotic", continuity=False, tie_correct=False)
    pdex.de([screen, screen.copy()], "target")
    pdex.de((path,), "target", method="auto", alternative="less")
    pdex.de(screen, "target", method="conditional", alternative="greater", groups=["T000"])
    pdex.de(screen, "target", test="anderson", midrank=False, method="asymptotic", fdr="all")
    pdex.de(screen, "target", test="anderson", method="scipy", mean="geometric")
    pdex.de(screen, "target", test="ks", method="exact")
    pdex.de(screen, "target", test="ttest", equal_var=False, overestim_var=True)
    pdex.de(screen, "target", test="ttest", method="student")
    pdex.de(screen, "target", test="ttest", method="permutation")
    return pdex.de(data=screen, groupby="target", reference=["T003", "non-targeting"])


def told(screen: AnnData, path: Path) -> None:
    facts = pdex.info(data=screen)
    assert_type(facts, pdex.Info)
    assert_type(pdex.info(path).path, str | None)
    assert_type((facts.path, facts.command, facts.call), tuple[str | None, str | None, str | None])
    assert_type(facts.bytes, int | None)
    assert_type((facts.n_cells, facts.n_genes, facts.repeated_genes), tuple[int, int, int])
    assert_type((facts.matrices, facts.obs)[0], list[dict[str, Any]])
    assert_type((facts.targets, facts.result)[0], dict[str, Any] | None)
    assert_type(facts.tables, dict[str, Any] | None)
    assert_type(facts.notes, list[str])
    assert_type(facts.sources, list[str | None] | None)
    assert_type(facts.sentences(), list[str])
    assert_type(facts.to_dict(), dict[str, Any])
    made = pdex.describe(result=pdex.de(screen, "target"))
    assert_type(made, pdex.Description)
    assert_type((made.test, made.groupby, made.source)[0], str)
    assert_type((made.matrix, made.mean, made.fdr, made.version)[0], str)
    assert_type(made.options, dict[str, Any])
    assert_type(made.reference, str | list[str])
    assert_type(made.is_log1p, bool)
    assert_type((made.pseudocount, made.log_base)[0], float | None)
    assert_type((made.n_cells, made.n_targets, made.n_genes), tuple[int, int, int])
    assert_type((made.strata, made.exclude), tuple[str | None, list[str]])
    assert_type(made.where, str | None)
    assert_type(made.normalize, float | str | None)
    assert_type(made.min_cells, int | None)
    assert_type(made.metadata(), dict[str, str])
    assert_type(made.lines(), list[tuple[str, str]])
    warnings.simplefilter("default", pdex.exceptions.PdexWarning)


def written(screen: AnnData, folder: Path) -> None:
    lazy = pdex.sink_de(
        data=screen,
        groupby="target",
        path=str(folder / "de.parquet"),
        reference=pdex.DEFAULT_REFERENCE,
        test="wilcoxon",
        groups=["T000", "T001"],
        exclude=("T003",),
        min_cells=2,
        strata="guide",
        where=pl.col("target") != "T002",
        genes=np.array(["g0", "g1"]),
        layer="log",
        use_raw=False,
        gene_names=None,
        normalize=None,
        log1p=True,
        join="inner",
        is_log1p=True,
        mean="geometric",
        pseudocount=1e-6,
        fdr="target",
        alternative="two-sided",
        auroc=True,
        method="asymptotic",
        continuity=False,
        tie_correct=False,
        threads=2,
        memory_limit=200_000_000,
        progress=False,
    )
    assert_type(lazy, pl.LazyFrame)
    file = folder / "again.ipc"
    pdex.sink_de(screen, "target", file, test="anderson", midrank=False, method="scipy", fdr="all")
    pdex.sink_de(screen, "target", file, test="ks", method="auto", alternative="less")
    pdex.sink_de(screen, "target", file, test="ks", method="exact", alternative="greater")
    pdex.sink_de(screen, "target", file, test="ttest", equal_var=False, overestim_var=True)
    pdex.sink_de(screen, "target", file, test="ttest", method="student")
    pdex.sink_de(screen, "target", file, test="ttest", method="permutation")
    pdex.sink_de(screen, "target", file, method="conditional", mean="arithmetic")


def scaled(screen: AnnData, path: Path, folder: Path) -> pl.DataFrame:
    pdex.tabulate(screen, "target", output=folder / "scaled", normalize=1e4)
    pdex.sink_de(path, "target", folder / "scaled.parquet", normalize=10_000, log1p=False)
    result = pdex.de(screen, "target", test="ttest", normalize="median")
    assert_type(pdex.describe(result).normalize, float | str | None)
    return result


def refused(screen: AnnData) -> None:
    try:
        pdex.de(screen, "no such column", memory_limit="2GB")
    except pdex.exceptions.NotFoundError as error:
        assert_type(str(error), str)


def calibrated(screen: AnnData) -> pdex.Calibration:
    pdex.calibrate(screen, "target", method="asymptotic", continuity=False, tie_correct=False)
    pdex.calibrate(screen, "target", method="auto", alternative="less")
    pdex.calibrate(screen, "target", method="conditional")
    pdex.calibrate(screen, "target", method="exact", layer="noise", alternative="greater")
    pdex.calibrate(screen, "target", test="anderson", midrank=False, method="asymptotic")
    pdex.calibrate(screen, "target", test="anderson", method="scipy", layer="log")
    pdex.calibrate(screen, "target", test="ks", layer="log")
    pdex.calibrate(screen, "target", test="ttest", equal_var=False, overestim_var=True)
    pdex.calibrate(screen, "target", test="ttest", method="student")
    pdex.calibrate(screen, "target", test="ttest", method="permutation")
    found = pdex.calibrate(
        data=screen,
        groupby="target",
        by="guide",
        reference=["non-targeting"],
        strata="batch",
        where="guide <> 'guide 4'",
        test="wilcoxon",
        n_splits=3,
        seed=2,
        min_cells=5,
        min_expected=0.0,
        genes=None,
        layer=None,
        use_raw=True,
        gene_names=None,
        normalize=None,
        log1p=True,
        join="inner",
        is_log1p=False,
        alternative="two-sided",
        threads=1,
        memory_limit=200_000_000,
        progress=False,
    )
    assert_type(found, pdex.Calibration)
    assert_type(found.table, pl.DataFrame)
    assert_type(found.summary, pl.DataFrame)
    assert_type(found.comparisons, pl.DataFrame)
    assert_type(found.ks_statistic, float)
    assert_type(found.ks_p_value, float)
    assert_type(found.test, str)
    assert_type(found.options, dict[str, object])
    assert_type(found.compared, str)
    assert_type(
        found.verdict,
        Literal["calibrated", "too many small p-values", "too few small p-values"],
    )
    assert_type(found.judged_rows(), pl.DataFrame)
    assert_type(found.plot(), alt.HConcatChart)
    found.plot(target="guide 1", bins=10, confidence=0.9, width=200, height=200)
    return found


def pictures(result: pl.DataFrame) -> None:
    points = pdex.pl.volcano(
        result, "T000", fdr=0.1, min_abs_lfc=0.5, n_labels=3, labels=["g0"], width=300, height=300
    )
    assert_type(points, alt.LayerChart)
    means = pdex.pl.ma(
        result, "T000", fdr=0.1, min_abs_lfc=0.5, n_labels=3, labels=["g0"], width=300, height=300
    )
    assert_type(means, alt.LayerChart)
    top = pdex.pl.top_genes(result.lazy(), "T000", n=5, fdr=0.1, min_abs_lfc=0.5, width=300)
    assert_type(top, alt.LayerChart)
    heat = pdex.pl.effects(
        result.to_pandas(),
        genes=["g0", "g1"],
        targets=["T000", "T001"],
        n_genes=10,
        n_targets=5,
        fdr=0.1,
        min_abs_lfc=0.5,
        cluster=False,
    )
    assert_type(heat, alt.LayerChart)
    uniform = pdex.pl.pvalues(result, "T000", bins=10, confidence=0.9, width=200, height=200)
    assert_type(uniform, alt.HConcatChart)


def pages(result: pl.DataFrame, found: pdex.Calibration, folder: Path) -> None:
    page = pdex.report(
        result,
        folder / "report.html",
        title="Mine",
        calibration=found,
        fdr=0.1,
        min_abs_lfc=0.5,
    )
    assert_type(page, Path)
    assert_type(pdex.report(frame=result, output=str(folder / "plain.html")), Path)


def as_in_03(screen: AnnData, pandas: bool) -> None:
    mode: pdex.PDEX_MODES = "ref"
    table = pdex.pdex(
        screen,
        "target",
        mode=mode,
        threads=0,
        is_log1p=False,
        geometric_mean=True,
        as_pandas=False,
        epsilon=1e-9,
        cpm_filter=1.0,
        reference="non-targeting",
    )
    assert_type(table, pl.DataFrame)
    assert_type(pdex.pdex(screen, "target", "ref", 1, False), pl.DataFrame)
    assert_type(pdex.pdex(screen, "target", mode="all", as_pandas=True), pd.DataFrame)
    assert_type(pdex.pdex(screen, "target", "ref", 1, False, True, True), pd.DataFrame)
    either = pdex.pdex(
        adata=screen,
        groupby="target",
        mode="on_target",
        gene_col="target gene",
        as_pandas=pandas,
        reference="T003",
    )
    assert_type(either, pl.DataFrame | pd.DataFrame)
    pdex.pdex(screen, "target", mode="ref", is_log1p=False)


def as_in_01(screen: AnnData, polars: bool) -> None:
    table = pdex.parallel_differential_expression(
        screen,
        groups=["T000"],
        reference="non-targeting",
        groupby_key="target",
        num_workers=1,
        batch_size=100,
        num_threads=1,
        metric="wilcoxon",
        tie_correct=True,
        is_log1p=False,
        exp_post_agg=True,
        clip_value=None,
        as_polars=False,
        low_memory=None,
        gene_chunk_size=1000,
        show_progress=False,
        method="asymptotic",
        alternative="two-sided",
    )
    assert_type(table, pd.DataFrame)
    plain = pdex.parallel_differential_expression(screen, groupby_key="target", method="auto")
    assert_type(plain, pd.DataFrame)
    frame = pdex.parallel_differential_expression(
        screen, groupby_key="target", metric="anderson", as_polars=True, midrank=False
    )
    assert_type(frame, pl.DataFrame)
    # fmt: off
    places = pdex.parallel_differential_expression(
        screen, None, "non-targeting", "target", None, 100, None, "t-test", True, None, True, 20.0,
        True, equal_var=False, alternative="less",
    )
    # fmt: on
    assert_type(places, pl.DataFrame)
    either = pdex.parallel_differential_expression(
        adata=screen[:40],
        groupby_key="target",
        as_polars=polars,
        method="exact",
        alternative="greater",
    )
    assert_type(either, pd.DataFrame | pl.DataFrame)


def as_in_scanpy(screen: AnnData, copy: bool) -> None:
    pdex.tl.rank_genes_groups(
        screen,
        "target",
        groups=["T000"],
        reference="rest",
        method="wilcoxon",
        n_genes=5,
        rankby_abs=True,
        pts=True,
        tie_correct=True,
        corr_method="bonferroni",
        layer="log",
        use_raw=False,
        key_added="found",
        mask_var=np.array(screen.var_names != "g3"),
        copy=False,
    )
    ranked = pdex.tl.rank_genes_groups(screen, "target", method="t-test", copy=True)
    assert_type(ranked, AnnData)
    perhaps = pdex.tl.rank_genes_groups(
        adata=screen, groupby="target", groups="all", method="anderson", copy=copy
    )
    assert_type(perhaps, AnnData | None)
    pdex.tl.rank_genes_groups(
        screen, "target", method="t-test_overestim_var", corr_method="benjamini-hochberg"
    )


def wrong(screen: AnnData, folder: Path) -> None:
    pdex.wilcoxon("value", "target")  # type: ignore[call-arg]
    pdex.wilcoxon("value", "target", reference="c", alternative="bigger")  # type: ignore[arg-type]
    pdex.wilcoxon("value", "target", reference="c", method="exakt")  # type: ignore[arg-type]
    pdex.wilcoxon("value", "target", reference="c", continuity="yes")  # type: ignore[arg-type]
    pdex.wilcoxon("value", "target", reference=None)  # type: ignore[arg-type]
    pdex.anderson("value", "target", reference="c", method="exact")  # type: ignore[arg-type]
    pdex.anderson("value", "target", reference="c", alternative="less")  # type: ignore[call-arg]
    pdex.ttest("value", "target", reference="c", method="exact")  # type: ignore[arg-type]
    space = pdex.PdexNamespace(pl.col("value"))
    space.wilcoxon("target", reference="c", alternative="bigger")  # type: ignore[arg-type]
    pdex.scan_anndata(screen, "target", fold="cells")  # type: ignore[arg-type]
    pdex.tabulate(screen, "target")  # type: ignore[call-arg]
    pdex.tabulate(screen, "target", output=folder / "x", where=3)  # type: ignore[arg-type]
    pdex.de(screen)  # type: ignore[call-arg]
    pdex.de(screen, "target", test="wilcox")  # type: ignore[arg-type]
    pdex.de(screen, "target", alternative="bigger")  # type: ignore[arg-type]
    pdex.de(screen, "target", mean="median")  # type: ignore[arg-type]
    pdex.de(screen, "target", fdr="both")  # type: ignore[arg-type]
    pdex.de(screen, "target", engine="spark")  # type: ignore[arg-type]
    pdex.de(screen, "target", auroc="yes")  # type: ignore[arg-type]
    pdex.anderson("value", "target", reference="c", strata="batch")  # type: ignore[call-arg]
    pdex.de(screen, "target", threads="4")  # type: ignore[arg-type]
    pdex.de(screen, "target", methd="exact")  # type: ignore[call-arg]
    pdex.de(screen, "target", equal_var="no")  # type: ignore[arg-type]
    pdex.de(screen, "target", "non-targeting")  # type: ignore[call-arg]
    pdex.de(screen, "target", output=folder / "de.csv")  # type: ignore[call-arg]
    lazy = pdex.sink_de(screen, "target", folder / "de.csv")
    print(lazy.height)  # type: ignore[attr-defined]
    pdex.calibrate(screen, "target", test="wilcox")  # type: ignore[arg-type]
    pdex.calibrate(screen, "target", n_split=3)  # type: ignore[call-arg]
    found = pdex.calibrate(screen, "target")
    found.verdict = "calibrated"  # type: ignore[misc]
    found.plot(bin=3)  # type: ignore[call-arg]
    pdex.report("de.parquet")  # type: ignore[call-arg]
    pdex.pdex(screen, "target", mode="pairs")  # type: ignore[call-overload]
    pdex.pdex(screen, "target", refrence="c")  # type: ignore[call-overload]
    pdex.parallel_differential_expression(screen, metric="ttest")  # type: ignore[call-overload]
    pdex.parallel_differential_expression(screen, n_jobs=3)  # type: ignore[call-overload]
    frame = pdex.parallel_differential_expression(screen, groupby_key="target", as_polars=True)
    print(frame.iloc)  # type: ignore[attr-defined]
    pdex.tl.rank_genes_groups(screen, "target", method="logreg")  # type: ignore[call-overload]
    pdex.tl.rank_genes_groups(screen, "target", corr_method="none")  # type: ignore[call-overload]
