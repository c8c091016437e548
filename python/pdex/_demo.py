"""The demonstration: ``pdex demo``, which ``make demo`` runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

import pdex
from pdex._files import replacing
from pdex._output import check_output, save

if TYPE_CHECKING:
    import os

    from anndata import AnnData

FDR = 0.05


def main(
    path: str | os.PathLike[str] = "demo.parquet",
    screen_path: str | os.PathLike[str] | None = None,
    picture_path: str | os.PathLike[str] | None = None,
    report_path: str | os.PathLike[str] | None = None,
) -> None:
    """Simulate a screen, test it lazily and in one call, print a summary and write the result.

    Parameters
    ----------
    path
        Path of the result, as in :func:`pdex.sink_de`.
    screen_path
        Path of the screen (.h5ad). None: the screen is not written.
    picture_path
        Path of a volcano plot of the target with the most hits. None: it is not drawn.
    report_path
        Path of the report. None: it is not written.
    """
    output = check_output(path)
    screen = pdex.datasets.simulate_screen()
    planted = screen.uns["effects"] != 0
    print(f"simulated {screen.n_obs:,} cells x {screen.n_vars:,} genes, {len(planted)} targets,")
    print(f"  {planted.sum():,} planted effects of 2-fold, up and down")
    result = _both_ways(screen)
    table = result.with_columns(pl.Series("planted", planted.ravel()))
    _tell(table)
    save(table, output, pdex.describe(result).metadata())
    print(f"wrote {output}")
    if screen_path is not None:
        _write_screen(screen, Path(screen_path))
        print(f"wrote {screen_path}: try pdex info {screen_path}")
    if picture_path is not None:
        hits = table.filter(pl.col("fdr") < FDR)["target"].cast(pl.String)
        (target,) = hits.value_counts(sort=True)["target"].head(1)
        _draw(table, target, Path(picture_path))
        print(f"wrote {picture_path}: the genes of target {target}")
    if report_path is not None:
        pdex.report(table, report_path, title="A simulated screen")
        print(f"wrote {report_path}: open it in a browser")
    else:
        print(f"to see the result as a page: pdex report {output}")


def _write_screen(screen: AnnData, path: Path) -> None:
    """Write the screen; the file appears only when it is complete."""
    with replacing(path) as part:
        screen.write_h5ad(part, compression="gzip")


def _draw(table: pl.DataFrame, target: str, path: Path) -> None:
    """Write a volcano plot; the file appears only when it is complete."""
    kind: Any = path.suffix[1:].lower()
    with replacing(path) as part:
        pdex.pl.volcano(table, target).save(str(part), format=kind, scale_factor=2)


def _both_ways(screen: AnnData) -> pl.DataFrame:
    """Return the result of :func:`pdex.de`; print the times of this call and the lazy pipeline."""
    start = time.perf_counter()
    lazy = (
        pdex.scan_anndata(screen, "target")
        .group_by("gene")
        .agg(pdex.wilcoxon("value", "target", reference="non-targeting", count="count"))
        .explode("wilcoxon")
        .unnest("wilcoxon")
        .collect(engine="streaming")
    )
    print(f"lazy pipeline: {lazy.height:,} tests in {time.perf_counter() - start:.2f} s")

    start = time.perf_counter()
    table = pdex.de(screen, "target", reference="non-targeting")
    print(f"pdex.de:       {table.height:,} tests in {time.perf_counter() - start:.2f} s")
    lazy = lazy.cast({"target": pl.Categorical, "gene": pl.Categorical})
    both = table.join(lazy, left_on=["target", "feature"], right_on=["target", "gene"])
    difference = (both["p_value"] - both["p_value_right"]).abs().max()
    same = "equal" if difference == 0 else f"equal up to {difference:.1e}"
    print(f"their p-values are {same}")
    return table


def _tell(table: pl.DataFrame) -> None:
    """Print the first rows, and the number of planted effects found."""
    columns = ["target", "feature", "log2_fold_change", "auroc", "p_value", "fdr", "planted"]
    with pl.Config(tbl_rows=10, tbl_cols=len(columns), tbl_hide_dataframe_shape=True):
        print(table.sort("p_value").select(columns).head(10))
    found = table.filter(pl.col("fdr") < FDR)
    true = int(found["planted"].sum())
    print(f"at a false discovery rate of {FDR:.0%}: {found.height:,} effects found;")
    print(f"  {true:,} of the {table['planted'].sum():,} planted ones are among them,")
    print(f"  {(found.height - true) / max(1, found.height):.1%} of those found were not planted")
