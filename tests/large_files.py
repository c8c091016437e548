"""Screens of more than 2^31 non-zeros, read from the file; by hand, for it takes minutes.

    python tests/large_files.py csc csr

2^20 cells x 2,049 genes, every number above 0. All chunks hold the same bytes, so that the file is
small and the answers are those of a screen of one chunk: every gene has the same cells (CSC), or
every block of 512 cells the same rows (CSR).
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
import zlib
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pdex
from polars.testing import assert_frame_equal

N_CELLS, N_GENES, ROWS = 1 << 20, 2_049, 512
OPTIONS = {"reference": "ctrl", "is_log1p": False, "test": "wilcoxon"}


def frame(n_cells: int) -> pd.DataFrame:
    names = np.array(["ctrl", "a", "b", "c"])
    target = pd.Categorical(names[np.arange(n_cells) % ROWS % 4], categories=sorted(names))
    return pd.DataFrame({"target": target}, index=np.arange(n_cells).astype(str))


def genes(n_genes: int) -> pd.DataFrame:
    return pd.DataFrame(index=[f"g{i}" for i in range(n_genes)])


def repeated(group: h5py.Group, name: str, chunk: np.ndarray, n: int) -> None:
    """Write an array of `n` times the chunk, compressed once."""
    size = chunk.size
    dataset = group.create_dataset(
        name, (n * size,), chunk.dtype, chunks=(size,), compression="gzip", shuffle=True
    )
    planes = chunk.view(np.uint8).reshape(size, chunk.itemsize).T.tobytes()
    stored = zlib.compress(planes if chunk.itemsize > 1 else chunk.tobytes(), 6)
    for i in range(n):
        dataset.id.write_direct_chunk((i * size,), stored)


def write(path: Path, layout: str, x: np.ndarray) -> None:
    """Write a screen whose chunks are `x`: one gene of all cells, or some rows of all genes."""
    ad.AnnData(None, frame(N_CELLS), genes(N_GENES)).write_h5ad(path)
    inner, outer = (N_CELLS, N_GENES) if layout == "csc" else (N_GENES, N_CELLS)
    with h5py.File(path, "r+") as file:
        group = file.create_group("X")
        indices = np.tile(np.arange(inner, dtype=np.int32), x.size // inner)
        repeated(group, "data", x.reshape(-1), outer * inner // x.size)
        repeated(group, "indices", indices, outer * inner // x.size)
        group["indptr"] = np.arange(outer + 1, dtype=np.int64) * inner
        attributes = {"encoding-type": f"{layout}_matrix", "encoding-version": "0.1.0"}
        group.attrs.update({**attributes, "shape": (N_CELLS, N_GENES)})
        assert group["data"].shape[0] > 2**31


def check(layout: str, folder: Path) -> None:
    rng = np.random.default_rng(4)
    shape = (N_CELLS, 1) if layout == "csc" else (ROWS, N_GENES)
    x = (1 + rng.poisson(2.0, shape)).astype(np.uint8)
    write(path := folder / f"{layout}.h5ad", layout, x)
    size, start = path.stat().st_size, time.perf_counter()
    got = pdex.de(path, "target", memory_limit=4_000_000_000, **OPTIONS)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    one = pdex.de(ad.AnnData(x, frame(shape[0]), genes(shape[1])), "target", **OPTIONS)
    names = ["target", "target_mean", "reference_mean", "statistic", "p_value", "auroc"]
    if layout == "csc":
        for i in (0, 1, 1_024, 2_047, 2_048):
            gene = got.filter(got["feature"] == f"g{i}")
            assert_frame_equal(gene.select(names), one.select(names), check_exact=True)
    else:
        # 2,048 times the cells: the same means and AUROC, and U of 2,048^2.
        names.remove("p_value")
        assert_frame_equal(
            got.select(names).with_columns(got["statistic"] / 2_048**2),
            one.select(names),
            check_exact=True,
        )
    print(f"{layout}: {N_CELLS * N_GENES:,} non-zeros, {size:,} bytes on disk: equal")
    print(f"  {seconds:.0f} s, peak {peak:.1f} GB")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for each in sys.argv[1:] or ["csc", "csr"]:
            check(each, Path(name))
