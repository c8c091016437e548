"""Simulated screens, for demonstrations and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import anndata as ad

__all__ = ["simulate_screen"]


def simulate_screen(
    n_cells: int = 5_000,
    n_genes: int = 1_000,
    n_targets: int = 20,
    *,
    n_effects: int = 50,
    fold_change: float = 2.0,
    reference: str = "non-targeting",
    reference_fraction: float = 0.1,
    umis_per_cell: float = 5_000.0,
    seed: int = 0,
) -> ad.AnnData:
    """Simulate counts of a perturbation screen with planted effects.

    Counts are negative-binomial (gamma shape 3: variance mu + mu^2 / 3), with log-normal gene means
    and sequencing depths. Each target changes `n_effects` genes by `fold_change`, alternately down
    and up.

    Parameters
    ----------
    n_cells, n_genes, n_targets
        Sizes of the screen. Targets are named ``T000`` and up, genes ``g0`` and up.
    n_effects
        Number of genes that each target changes.
    fold_change
        Factor by which a changed gene's mean is multiplied or divided.
    reference, reference_fraction
        Name of the control group, and its share of the cells. The other cells are divided evenly
        among the targets.
    umis_per_cell
        Expected total count of a control cell at the median sequencing depth.
    seed
        Seed of the random number generator. The same arguments give the same screen.

    Returns
    -------
    anndata.AnnData
        ``X``: counts, CSR of float32, cells x genes. ``obs["target"]``: categorical.
        ``uns["effects"]``: array of n_targets x n_genes, the log2 of the planted fold changes.

    Raises
    ------
    ValueError
        The sizes leave a group without cells, or there are more effects than genes.

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=300, n_genes=40, n_targets=2, n_effects=10)
    >>> screen.shape, int((screen.uns["effects"] != 0).sum())
    ((300, 40), 20)
    """
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

    n_reference = round(n_cells * reference_fraction)
    if n_reference < 1 or n_cells - n_reference < n_targets:
        msg = (
            f"{n_cells} cells are too few for {n_targets} targets and a reference of "
            f"{reference_fraction:g} of the cells"
        )
        raise ValueError(msg)
    if n_effects > n_genes:
        msg = f"n_effects={n_effects}: there are only {n_genes} genes"
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    label = np.full(n_cells, n_targets)
    label[n_reference:] = np.arange(n_cells - n_reference) % n_targets
    rng.shuffle(label)
    effects = np.zeros((n_targets + 1, n_genes))
    for target in range(n_targets):
        genes = rng.choice(n_genes, n_effects, replace=False)
        effects[target, genes] = np.log2(fold_change) * np.where(np.arange(n_effects) % 2, 1, -1)
    mean = rng.lognormal(0, 1.3, n_genes)
    mean *= umis_per_cell / mean.sum()
    blocks = []
    for start in range(0, n_cells, 2_000):
        rows = label[start : start + 2_000]
        rate = rng.lognormal(0, 0.3, rows.size)[:, None] * mean * 2.0 ** effects[rows]
        counts = rng.poisson(rate * rng.gamma(3.0, 1 / 3.0, rate.shape))
        blocks.append(sp.csr_matrix(counts.astype(np.float32)))
    width = len(str(max(n_targets - 1, 100)))
    names = [f"T{i:0{width}d}" for i in range(n_targets)] + [reference]
    obs = pd.DataFrame(
        {"target": pd.Categorical.from_codes(label, names)},
        index=[f"cell{i}" for i in range(n_cells)],
    )
    var = pd.DataFrame(index=[f"g{i}" for i in range(n_genes)])
    x = sp.vstack(blocks, format="csr")
    return ad.AnnData(X=x, obs=obs, var=var, uns={"effects": effects[:n_targets]})
