"""The screens that are timed: their shapes, their files, and what log values are made of them.

``../shared/tools/make_screen.py`` makes them; one that would not fit memory twice is written block
by block here, number for number the same. Peers import this too: NumPy, SciPy and AnnData only.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

MAKE_SCREEN = Path(__file__).parents[2] / "shared" / "tools" / "make_screen.py"
#: Cells of one block: as many as make_screen.py draws at once.
BLOCK = 2_000


@dataclass(frozen=True)
class Shape:
    """A screen's size; of 8,000 genes with 11,000 molecules a cell 39 % are not zero."""

    cells: int
    genes: int
    targets: int
    #: Molecules a cell: fewer make it sparser.
    molecules: int = 11_000
    #: Control cells; 3.4 % where None.
    controls: int | None = None
    #: Written block by block.
    in_blocks: bool = False

    @property
    def share(self) -> float:
        """The share of control cells."""
        return 0.034 if self.controls is None else (self.controls + 0.5) / self.cells

    @property
    def options(self) -> dict[str, Any]:
        """What make_screen.simulate takes beside the three sizes."""
        return {"frac_ref": self.share, "umi": self.molecules}

    def path(self, folder: Path) -> Path:
        """Return the path of the screen's file, which is made where there is none."""
        name = f"screen-{self.cells}-{self.genes}-{self.targets}"
        if self.molecules != 11_000:
            name += f"-{self.molecules}"
        if self.controls is not None:
            name += f"-{self.controls}"
        path = folder / f"{name}.h5ad"
        if not path.exists():
            partial = folder / f"{name}.part.h5ad"
            (write_in_blocks if self.in_blocks else write_at_once)(self, partial)
            partial.rename(path)
        return path


def of_non_zeros(millions: float) -> Shape:
    """Return a screen of so many non-zeros: more cells and targets of 150 cells, 8,000 genes."""
    cells = round(millions * 1e6 / 3_125)
    return Shape(cells, 8_000, max(2, cells // 150))


def make_screen() -> ModuleType:
    """Return the module make_screen.py."""
    spec = importlib.util.spec_from_file_location("make_screen", MAKE_SCREEN)
    if spec is None or spec.loader is None or not MAKE_SCREEN.exists():
        raise SystemExit(f"{MAKE_SCREEN} is not there: it makes the screens")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_at_once(shape: Shape, path: Path) -> None:
    """Write what make_screen.py makes."""
    simulate = make_screen().simulate
    simulate(shape.cells, shape.genes, shape.targets, **shape.options).write_h5ad(path)


def write_in_blocks(shape: Shape, path: Path) -> None:
    """Write the screen of make_screen.py with one block of its cells in memory."""
    import anndata as ad
    import h5py
    import pandas as pd
    import scipy.sparse as sp

    label, blocks = draw(shape)
    names = np.array([f"T{t:04d}" for t in range(shape.targets)] + ["non-targeting"])
    cells = pd.DataFrame(
        {"target": pd.Categorical(names[label])}, index=np.arange(shape.cells).astype(str)
    )
    genes = pd.DataFrame(index=[f"g{i}" for i in range(shape.genes)])
    empty = sp.csr_matrix((shape.cells, shape.genes), dtype=np.float32)
    ad.AnnData(X=empty, obs=cells, var=genes).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        group = file["X"]
        for name, kind in (("data", np.float32), ("indices", np.int32)):
            del group[name]
            group.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(1 << 20,))
        ends = [0]
        for block in blocks:
            start, end = ends[-1], ends[-1] + block.nnz
            for name in ("data", "indices"):
                group[name].resize((end,))
                group[name][start:end] = getattr(block, name)
            ends.extend((block.indptr[1:].astype(np.int64) + start).tolist())
        # SciPy keeps 32 bits where they do.
        kind = np.int32 if ends[-1] < 2**31 else np.int64
        del group["indptr"]
        group["indptr"] = np.array(ends, dtype=kind)


def draw(shape: Shape) -> tuple[np.ndarray, Iterator[Any]]:
    """Return each cell's target (-1: control), and blocks of cells as make_screen.py draws them."""
    import scipy.sparse as sp

    # The order of the draws is make_screen.simulate's: the same seed, the same numbers.
    rng = np.random.default_rng(0)
    mean = rng.lognormal(0, 1.6, shape.genes)
    mean = (mean * shape.molecules / mean.sum()).astype(np.float32)
    n_controls = max(50, int(shape.cells * shape.share))
    size = rng.gamma(3, 1, shape.targets)
    size = np.maximum(5, (size / size.sum() * (shape.cells - n_controls)).astype(int))
    label = np.repeat(np.arange(shape.targets), size)[: shape.cells - n_controls]
    label = np.concatenate([label, np.full(shape.cells - label.size, -1)])
    rng.shuffle(label)
    effects = {}
    for target in range(shape.targets):
        least, most = min(5, shape.genes), min(400, shape.genes)
        k = int(rng.integers(least, most + 1))
        genes = rng.choice(shape.genes, k, replace=False)
        effects[target] = (genes, np.exp(rng.normal(0, 0.6, k)).astype(np.float32))

    def blocks() -> Iterator[Any]:
        for start in range(0, shape.cells, BLOCK):
            of_cells = label[start : start + BLOCK]
            depth = rng.lognormal(0, 0.35, of_cells.size).astype(np.float32)
            mu = depth[:, None] * mean[None, :]
            for row, target in enumerate(of_cells):
                if target >= 0:
                    genes, fold = effects[target]
                    mu[row, genes] *= fold
            mu *= rng.standard_gamma(3.0, size=mu.shape, dtype=np.float32) / 3.0
            yield sp.csr_matrix(rng.poisson(mu).astype(np.float32))

    return label, blocks()


def to_log(matrix: Any) -> None:
    """Make counts log1p of counts scaled to 10,000, in place, as ``make_screen.py --log`` does."""
    total = np.asarray(matrix.sum(1)).ravel()
    scale = (1e4 / np.maximum(total, 1)).astype(np.float32)
    for start in range(0, matrix.shape[0], BLOCK):
        ends = matrix.indptr[start : start + BLOCK + 1]
        values = matrix.data[ends[0] : ends[-1]]
        values *= np.repeat(scale[start : start + BLOCK], np.diff(ends))
        np.log1p(values, out=values)


def in_file(screen: str, what: tuple[str, str, str], folder: Path) -> Path:
    """Return the path of a screen's copy of a kind of values, a layout and a compression."""
    kind, layout, storage = what
    path = folder / f"{Path(screen).stem}-{kind}-{layout}-{storage}.h5ad"
    if not path.exists():
        adata = load(screen, log=kind == "log", layout=layout)
        partial = folder / f"{path.stem}.part.h5ad"
        adata.write_h5ad(partial, compression=None if storage == "none" else storage)
        partial.rename(path)
    return path


def nonzeros(path: str) -> int:
    """Return how many values a screen's file stores."""
    import h5py

    with h5py.File(path) as file:
        return int(file["X/data"].shape[0])


def load(path: str, *, log: bool, layout: str = "csr") -> Any:
    """Return the screen with counts or log values, in the layout that is asked for."""
    import anndata as ad

    adata = ad.read_h5ad(path)
    if log:
        to_log(adata.X)
    if layout == "csc":
        adata.X = adata.X.tocsc()
    elif layout == "dense":
        adata.X = adata.X.toarray()
    return adata
