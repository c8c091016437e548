"""The demonstration that ``make demo`` runs: ``python -m pdex.demo [out.parquet]``."""

from __future__ import annotations

import sys
import time

import polars as pl

import pdex

FDR = 0.05


def main(path: str = "demo.parquet") -> None:
    """Simulate a screen, test it lazily and in one call, print what is found, write `path`."""
    screen = pdex.datasets.simulate_screen()
    planted = screen.uns["effects"] != 0
    print(f"simulated {screen.n_obs:,} cells x {screen.n_vars:,} genes, {len(planted)} targets, ")
    print(f"  {planted.sum():,} planted effects of 2-fold, up and down")

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
    both = table.join(lazy, left_on=["target", "feature"], right_on=["target", "gene"])
    difference = (both["p_value"] - both["p_value_right"]).abs().max()
    print(f"largest difference of their p-values: {difference}")

    table = table.with_columns(pl.Series("planted", planted.ravel()))
    columns = ["target", "feature", "log2_fold_change", "auroc", "p_value", "fdr", "planted"]
    with pl.Config(tbl_rows=10, tbl_cols=len(columns), tbl_hide_dataframe_shape=True):
        print(table.sort("p_value").select(columns).head(10))
    found = table.filter(pl.col("fdr") < FDR)
    true = int(found["planted"].sum())
    print(f"at a false discovery rate of {FDR:.0%}: {found.height:,} effects found;")
    print(f"  {true:,} of the {planted.sum():,} planted ones are among them,")
    print(f"  {(found.height - true) / max(1, found.height):.1%} of those found were not planted")
    table.write_parquet(path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
