"""What a screen is, from its frames and some of its values: no matrix is read from a file.

Everything is plain numbers, words, lists and dicts, so that ``pdex info --json`` prints it.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from pdex import _pdex
from pdex._io import h5ad, memory
from pdex._io.h5ad import error_context
from pdex._io.source import check_data, log_base_of, path_of, read_groups
from pdex._resources import n_threads
from pdex._scale import Values
from pdex._text import listed

if TYPE_CHECKING:
    import pandas as pd

    from pdex._io.source import Data

Facts = dict[str, Any]

#: Stored values that are looked at: as many as pdex.de does to tell log1p values from counts.
_SAMPLE = 1 << 22
#: Words in the names of columns that hold targets.
_COLUMN = re.compile(
    "target|gene|perturb|condition|treatment|knock|guide|sgrna|drug|cytokine", re.I
)
#: Integer columns of more values are measurements.
_MOST_LABELS = 1000
#: So many control groups are named in a command; one of more is guides.
_MOST_CONTROLS = 20
#: Bytes of a row of a rank-sum test: two labels, two numbers of cells, twelve of Float64.
_ROW = 2 * 4 + 2 * 4 + 12 * 8


@dataclass(frozen=True)
class Info:
    """What a screen is; ``print`` tells it in sentences.

    Parameters
    ----------
    path, bytes
        The file and its size; None for AnnData in memory.
    n_cells, n_genes, repeated_genes
        Its size, and how many names of genes occur again.
    matrices
        A dict each: ``name``, ``shape``, ``layout`` (``"csr"``, ``"csc"``, ``"dense"``, or an
        encoding that is not read), ``dtype``, ``stored`` values, ``filters``, ``bytes`` on disk,
        ``memory`` bytes of the arrays, and ``values``: ``kind`` (``"counts"``, ``"log1p"``,
        ``"normalised"``, ``"residuals"``), ``least``, ``most``, ``seen``, ``not_finite``.
    obs
        A dict for each column of ``obs``: ``name``, ``kind``, ``distinct`` and ``missing`` values,
        ``controls``: labels that look like control cells, the surest first.
    targets
        The column that looks most like the targets: ``column``, ``reference`` (a label, several, or
        ``"rest"``), ``n_targets``, ``reference_cells``, cells of a target (``least``, ``median``,
        ``most``), ``unlabelled`` cells. None where no column has groups.
    result
        ``rows`` and ``bytes`` of what :func:`pdex.de` returns, or None.
    command, call
        The fitting command line (of a file) and Python call, or None.
    notes
        What to look at.
    """

    path: str | None
    bytes: int | None
    n_cells: int
    n_genes: int
    repeated_genes: int
    matrices: list[Facts]
    obs: list[Facts]
    targets: Facts | None
    result: Facts | None
    command: str | None
    call: str | None
    notes: list[str]

    def to_dict(self) -> Facts:
        """Return all of it as plain dicts, lists, words and numbers."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """Return what is told of the targets."""
        if self.targets is None:
            return ["No column of obs looks like groups of cells: pdex.de needs one."]
        return _sentences(self.targets)

    def __str__(self) -> str:
        """Return it in lines for people."""
        where = "AnnData in memory" if self.path is None else self.path
        lines = [f"{where}: {self.n_cells:,} cells x {self.n_genes:,} genes"]
        for matrix in self.matrices:
            values = matrix["values"]
            kind = "not read" if values is None else values["kind"]
            span = "" if values is None else f", {values['least']:.4g} to {values['most']:.4g}"
            lines.append(f"  {matrix['name']}: {matrix['layout']}, {kind}{span}")
        lines += [f"Note: {note}." for note in self.notes]
        lines += self.sentences()
        return "\n".join([*lines, *([self.call] if self.call else [])])

    __repr__ = __str__


def info(data: Data) -> Info:
    """Return what a screen is, and what to ask of it: what ``pdex info`` prints.

    No matrix is read from a file: of each the first four million stored values are looked at.

    Parameters
    ----------
    data
        AnnData, or the path of an ``.h5ad`` file.

    Returns
    -------
    Info
        Sizes, matrices, columns, likely targets and controls; it prints as sentences.

    Raises
    ------
    TypeError
        Neither AnnData nor a path.
    OSError
        A file that cannot be read. Every error of a file names its path.

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> print(pdex.info(screen))
    AnnData in memory: 400 cells x 20 genes
      X: csr, counts, 0 to 51
    Column 'target' looks like the targets: 3, and 100 control cells ('non-targeting').
    A target has 92 to 116 cells, 92 in the middle.
    pdex.de(adata, 'target', reference='non-targeting')
    """
    if isinstance(data, (str, os.PathLike)):
        path = path_of(data)
        with error_context(path):
            file = h5ad.open_file(path)
            try:
                obs, var = _frames(file)
                base = log_base_of(h5ad.noted_log1p(file))
                found = [(name, file[place]) for name, place in _places(file) if place in file]
                matrices = [_matrix(name, _of_node(node), base) for name, node in found]
            finally:
                file.close()
        return _about(obs, var, matrices, os.fspath(data), os.path.getsize(path))
    check_data(data)
    arrays = [("X", data.X), *((f"layer {name}", x) for name, x in data.layers.items())]
    arrays += [] if data.raw is None else [("raw", data.raw.X)]
    base = log_base_of(data.uns)
    matrices = [_matrix(name, _of_array(x), base) for name, x in arrays if x is not None]
    return _about(data.obs, data.var, matrices, None, None)


def _about(
    obs: pd.DataFrame,
    var: pd.DataFrame,
    matrices: list[Facts],
    path: str | None,
    n_bytes: int | None,
) -> Info:
    columns = [_column(obs[name]) for name in obs.columns]
    targets, result = _targets(obs, columns), None
    if targets is not None:
        rows = targets["n_targets"] * len(var)
        result = {"rows": rows, "bytes": rows * _ROW}
    chosen, notes = _choose(matrices)
    command = call = None
    if targets is not None:
        call = _call(targets, chosen, path)
        command = None if path is None else _command(path, targets, chosen)
    return Info(
        path,
        n_bytes,
        len(obs),
        len(var),
        int(var.index.astype(str).duplicated().sum()),
        matrices,
        columns,
        targets,
        result,
        command,
        call,
        notes,
    )


def _frames(file: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return obs and var of the file, also of one that anndata before 0.7 wrote."""
    import anndata as ad

    if not h5ad.is_legacy(file):
        return h5ad.read_frame(file, "obs"), h5ad.read_frame(file, "var")
    h5ad.check_legacy(file)
    old = ad.read_h5ad(file.filename, backed="r")
    try:
        return old.obs, old.var
    finally:
        old.file.close()


def _places(file: Any) -> list[tuple[str, str]]:
    """Return the matrices' names, as users call them, and their places in the file."""
    found = [("X", "X")]
    if "layers" in file:
        found += [(f"layer {name}", f"layers/{name}") for name in file["layers"]]
    return [*found, ("raw", "raw/X")]


def _of_node(node: Any) -> Facts:
    """Return layout, shape and parts of a matrix in a file."""
    import h5py

    if isinstance(node, h5py.Dataset):
        return {"layout": "dense", "shape": node.shape, "parts": [node]}
    encoding = node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "unknown"))
    shape = node.attrs.get("shape", node.attrs.get("h5sparse_shape", ()))
    layout = str(encoding).removesuffix("_matrix")
    parts = ("data", "indices", "indptr") if layout in ("csr", "csc") else ()
    return {"layout": layout, "shape": shape, "parts": [node[part] for part in parts]}


def _of_array(x: Any) -> Facts:
    """Return layout, shape and parts of a matrix that AnnData holds."""
    if hasattr(x, "group"):
        return _of_node(x.group)
    layout = getattr(x, "format", None)
    if layout in ("csr", "csc"):
        return {"layout": layout, "shape": x.shape, "parts": [x.data, x.indices, x.indptr]}
    if isinstance(x, np.ndarray) or type(x).__module__.startswith("h5py"):
        return {"layout": "dense", "shape": x.shape, "parts": [x]}
    return {"layout": type(x).__qualname__, "shape": x.shape, "parts": []}


def _matrix(name: str, found: Facts, log_base: float | None) -> Facts:
    """Return what a matrix is, as :class:`Info` tells it."""
    layout, shape, parts = found["layout"], found["shape"], found["parts"]
    if not parts:
        return {"name": name, "layout": layout, "values": None}
    data, cells = parts[0], int(np.prod([int(n) for n in shape], dtype=object))
    stored = [int(part.id.get_storage_size()) for part in parts if hasattr(part, "id")]
    return {
        "name": name,
        "shape": [int(n) for n in shape],
        "layout": layout,
        "dtype": str(data.dtype),
        "stored": int(data.size),
        "filters": _filters(data) if stored else [],
        "bytes": sum(stored) if stored else None,
        "memory": sum(int(part.size) * int(part.dtype.itemsize) for part in parts),
        "values": _values(data, name, log_base, zeros=int(data.size) < cells),
    }


def _filters(dataset: Any) -> list[str]:
    """Return the names of the filters that a dataset's chunks went through."""
    known = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 32000: "lzf", 32001: "blosc"}
    known |= {32004: "lz4", 32015: "zstd", 32026: "blosc2"}
    plist = dataset.id.get_create_plist()
    numbers = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    return [known.get(number, f"filter {number}") for number in numbers]


def _values(data: Any, name: str, log_base: float | None, *, zeros: bool) -> Facts | None:
    """Return what the first values look like; None where they are none or no real numbers.

    `zeros` is True if the matrix also has zeros that are not stored.
    """
    if not data.size or data.dtype.kind not in "biuf" or data.dtype.itemsize > 8:
        return None
    width = data.shape[1] if data.ndim == 2 else 1
    sample = np.asarray(data[: 1 + _SAMPLE // max(1, width)]).reshape(-1)
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return None
    seen = Values(*_pdex.survey(memory.dense(finite.reshape(1, -1), name), n_threads(None)))
    return {
        "kind": seen.kind(log_base),
        "least": seen.least if zeros else float(finite.min()),
        "most": seen.most if zeros else float(finite.max()),
        "seen": int(sample.size),
        "not_finite": int(sample.size - finite.size),
    }


def _column(column: pd.Series[Any]) -> Facts:
    """Return what a column of obs is, as :class:`Info` tells it."""
    import pandas as pd

    kinds = {"i": "integer", "u": "integer", "f": "float", "b": "boolean", "O": "text"}
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        kind = "categorical"
    elif isinstance(dtype, pd.StringDtype):
        kind = "text"
    else:
        kind = kinds.get(dtype.kind, str(dtype))
    controls: list[str] = []
    distinct = column.dropna().unique()
    if kind in ("categorical", "text"):
        labels = [str(label) for label in distinct]
        ranks = dict(zip(labels, _pdex.control_ranks(labels), strict=True))
        controls = sorted(
            (label for label, rank in ranks.items() if rank is not None),
            key=lambda label: (ranks[label], label),
        )
    return {
        "name": str(column.name),
        "kind": kind,
        "distinct": len(distinct),
        "missing": int(column.isna().sum()),
        "controls": controls,
    }


def _groupable(column: Facts, n_cells: int) -> bool:
    """Whether a column may hold groups of cells rather than measurements or names of cells."""
    if column["kind"] == "integer" and column["distinct"] > _MOST_LABELS:
        return False
    distinct: int = column["distinct"]
    return column["kind"] != "float" and 2 <= distinct <= max(2, n_cells // 2)


def _targets(obs: pd.DataFrame, columns: list[Facts]) -> Facts | None:
    """Return the column that looks most like the targets; None where no column has groups."""
    able = [column for column in columns if _groupable(column, len(obs))]

    def fitness(column: Facts) -> tuple[float, bool, int]:
        # Of guides and targets with the same controls, targets are the fewer.
        (rank,) = _pdex.control_ranks(column["controls"][:1]) or (None,)
        return (
            1000 if rank is None else rank,
            _COLUMN.search(column["name"]) is None,
            column["distinct"],
        )

    named = [c for c in able if c["controls"] or _COLUMN.search(c["name"])]
    words = [c for c in able if c["kind"] in ("categorical", "text")]
    if not (named or words):
        return None
    for best in sorted(named or words, key=fitness):
        found = _described(obs, best)
        if found is not None:
            return found
    return None


def _described(obs: pd.DataFrame, best: Facts) -> Facts | None:
    """Return what :func:`_targets` does of one column; None where it has no groups to compare."""
    groups = read_groups(SimpleNamespace(obs=obs), best["name"])
    cells, reference_cells = groups.sizes(), None
    controls = _reference(best["controls"])
    if controls:
        places = groups.references(controls)
        reference_cells = int(cells[places].sum())
        cells = np.delete(cells, places)
    if len(cells) < (1 if controls else 2):
        return None
    return {
        "column": best["name"],
        "reference": "rest" if not controls else controls[0] if len(controls) == 1 else controls,
        "reference_cells": reference_cells,
        "n_targets": len(cells),
        "least": int(cells.min()),
        "median": float(np.median(cells)),
        "most": int(cells.max()),
        "unlabelled": int((groups.places < 0).sum()),
    }


def _reference(controls: list[str]) -> list[str]:
    """Return the surest controls: one that says no more, or all that are as sure as the first."""
    ranks = _pdex.control_ranks(controls)
    alike = [label for label, rank in zip(controls, ranks, strict=True) if rank == ranks[0]]
    plain = len({re.sub(r"[\W\d_]", "", label).lower() for label in alike}) == 1
    return alike if plain and len(alike) <= _MOST_CONTROLS else controls[:1]


def _sentences(targets: Facts) -> list[str]:
    """Return what is told of the targets, in whole sentences."""
    name, reference = targets["column"], targets["reference"]
    line = f"Column {name!r} looks like the targets: {targets['n_targets']:,}"
    if targets["reference_cells"] is None:
        line += " groups, none of which looks like controls."
    else:
        labels = [reference] if isinstance(reference, str) else reference
        line += f", and {targets['reference_cells']:,} control cells ({listed(labels, 2)})."
    if targets["least"] == targets["most"]:
        cells = f"Each target has {targets['least']:,} cells"
    else:
        cells = f"A target has {targets['least']:,} to {targets['most']:,} cells, "
        cells += f"{targets['median']:,.0f} in the middle"
    if targets["unlabelled"]:
        cells += f"; {targets['unlabelled']:,} cells have no label"
    return [line, f"{cells}."]


def _choose(matrices: list[Facts]) -> tuple[list[str], list[str]]:
    """Return the options by which pdex.de reads the matrix that fits best, and notes."""
    fit = ("counts", "log1p", "normalised")
    usable = [m for m in matrices if m["name"] != "raw" and (m["values"] or {}).get("kind") in fit]
    first = next((m for m in matrices if m["name"] == "X"), None)
    notes = [
        f"{m['name']} holds {m['values']['not_finite']:,} NaN or infinite values among the first"
        for m in matrices
        if m["values"] is not None and m["values"]["not_finite"]
    ]
    if first is None or (first["values"] or {}).get("kind") == "residuals":
        why = "there is no X" if first is None else "X holds negative values, such as scaled ones"
        if not usable:
            return [], [*notes, f"{why}: fold changes need counts or log1p values"]
        notes.append(f"{why}: {usable[0]['name']} is proposed")
    best = usable[0] if usable else first
    if best is None:
        return [], notes
    options = [] if best["name"] == "X" else ["--layer", best["name"].removeprefix("layer ")]
    if (best["values"] or {}).get("kind") == "normalised":
        most = best["values"]["most"]
        notes.append(
            f"{best['name']} goes up to {most:,.0f}, too far for log1p values: "
            "--counts keeps it as it is"
        )
        options.append("--counts")
    return options, notes


def _command(path: str, targets: Facts, options: list[str]) -> str:
    """Return the fitting command, quoted for a shell."""
    reference = targets["reference"]
    words = ["pdex", "de", path, "--groupby", targets["column"]]
    for label in [reference] if isinstance(reference, str) else reference:
        words += ["--reference", label]
    stem = os.path.splitext(os.path.basename(path))[0]
    return shlex.join([*words, *options, "-o", f"{stem}.de.parquet"])


def _call(targets: Facts, options: list[str], path: str | None) -> str:
    """Return the fitting call."""
    words = ["adata" if path is None else repr(path), repr(targets["column"])]
    words.append(f"reference={targets['reference']!r}")
    if "--layer" in options:
        words.append(f"layer={options[options.index('--layer') + 1]!r}")
    if "--counts" in options:
        words.append("is_log1p=False")
    return f"pdex.de({', '.join(words)})"
