"""What a screen in a file is, from its frames and some of its values: no matrix is read.

Everything is plain numbers, words, lists and dicts, so that ``pdex info --json`` prints it.
"""

from __future__ import annotations

import re
import shlex
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from pdex import _pdex
from pdex._io import memory
from pdex._io.source import n_threads, read_groups

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

Facts = dict[str, Any]

#: Stored values that are looked at: as many as pdex.de does to tell log1p values from counts.
_SAMPLE = 1 << 22
#: No log1p of a count is larger: e^20 is half a billion.
_LARGEST_LOG = 20.0
#: Names of control groups without signs and spaces, the surest first.
_CONTROLS = "nontargeting nontargetingcontrol nontarget ntc nt negctrl negativecontrol negcontrol "
_CONTROLS += "safetargeting scrambled scramble control controls ctrl ctl unperturbed untreated "
_CONTROLS += "dmso vehicle mock wildtype wt neg"
_RANKS = {name: rank for rank, name in enumerate(_CONTROLS.split())}
#: Words in the names of columns that hold targets.
_COLUMN = re.compile("target|gene|perturb|condition|treatment|knock|guide|sgrna|drug", re.I)
#: Integer columns of more values are measurements.
_MOST_LABELS = 1000
#: Bytes of a row of a rank-sum test: two labels, two numbers of cells, twelve of Float64.
_ROW = 2 * 4 + 2 * 4 + 12 * 8


def overview(path: Path) -> Facts:
    """Return what is in an ``.h5ad`` file.

    Returns
    -------
    dict
        ``path``, ``bytes``; ``n_cells``, ``n_genes``, ``repeated_genes``; ``matrices`` (see
        :func:`_matrix`); ``obs`` (see :func:`_column`); ``targets`` (see :func:`_targets`);
        ``result``: ``rows`` and ``bytes`` of what :func:`pdex.de` returns, or None; ``command``:
        the words of a fitting ``pdex de``, or None; ``notes``: what to look at.
    """
    import h5py

    with h5py.File(path, "r") as file:
        obs, var = _frame(file, "obs"), _frame(file, "var")
        matrices = [_matrix(name, file[place]) for name, place in _places(file) if place in file]
    names = var.index.astype(str)
    columns = [_column(obs[name]) for name in obs.columns]
    targets = _targets(obs, columns)
    facts: Facts = {
        "path": str(path),
        "bytes": path.stat().st_size,
        "n_cells": len(obs),
        "n_genes": len(var),
        "repeated_genes": int(names.duplicated().sum()),
        "matrices": matrices,
        "obs": columns,
        "targets": targets,
        "result": None,
    }
    if targets is not None:
        rows = targets["n_targets"] * len(var)
        facts["result"] = {"rows": rows, "bytes": rows * _ROW}
    chosen, notes = _choose(matrices)
    facts["command"] = None if targets is None else _command(path, targets, chosen)
    facts["notes"] = notes
    return facts


def _frame(file: Any, name: str) -> pd.DataFrame:
    """Return a frame of the file."""
    import anndata as ad
    import h5py
    import pandas as pd

    if name not in file:
        msg = f"{file.filename} has no {name!r}: expected what AnnData.write_h5ad writes"
        raise ValueError(msg)
    if isinstance(file[name], h5py.Dataset):
        # Before anndata 0.7 a frame was a dataset of records, which its own reader knows.
        old = ad.read_h5ad(file.filename, backed="r")
        frame = old.obs if name == "obs" else old.var
        old.file.close()
    else:
        frame = ad.io.read_elem(file[name])
    if not isinstance(frame, pd.DataFrame):
        msg = f"{file.filename}: {name!r} is no data frame"
        raise ValueError(msg)
    return frame


def _places(file: Any) -> list[tuple[str, str]]:
    """Return the matrices' names, as users call them, and their places in the file."""
    found = [("X", "X")]
    if "layers" in file:
        found += [(f"layer {name}", f"layers/{name}") for name in file["layers"]]
    return [*found, ("raw", "raw/X")]


def _matrix(name: str, node: Any) -> Facts:
    """Return what a matrix is.

    Returns
    -------
    dict
        ``name``; ``shape``; ``layout``: ``"csr"``, ``"csc"``, ``"dense"`` or the encoding that is
        none of these; ``dtype``; ``stored``: values in the file; ``filters``: names; ``bytes`` in
        the file; ``memory``: bytes of the arrays; ``values``: see :func:`_values`.
    """
    import h5py

    if isinstance(node, h5py.Dataset):
        layout, shape, data, parts = "dense", node.shape, node, [node]
    else:
        encoding = node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "unknown"))
        layout = str(encoding).removesuffix("_matrix")
        if layout not in ("csr", "csc"):
            return {"name": name, "layout": layout, "values": None}
        shape = node.attrs.get("shape", node.attrs.get("h5sparse_shape", ()))
        data, parts = node["data"], [node[part] for part in ("data", "indices", "indptr")]
    return {
        "name": name,
        "shape": [int(n) for n in shape],
        "layout": layout,
        "dtype": str(data.dtype),
        "stored": int(data.size),
        "filters": _filters(data),
        "bytes": sum(int(part.id.get_storage_size()) for part in parts),
        "memory": sum(int(part.size) * int(part.dtype.itemsize) for part in parts),
        "values": _values(data, name, zeros=int(data.size) < int(np.prod(shape, dtype=object))),
    }


def _filters(dataset: Any) -> list[str]:
    """Return the names of the filters that a dataset's chunks went through."""
    known = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 32000: "lzf", 32001: "blosc"}
    known |= {32004: "lz4", 32015: "zstd", 32026: "blosc2"}
    plist = dataset.id.get_create_plist()
    numbers = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    return [known.get(number, f"filter {number}") for number in numbers]


def _values(data: Any, name: str, *, zeros: bool) -> Facts | None:
    """Return what the first values look like; None where they are none or no real numbers.

    `zeros` says that there are more, which are not stored.

    Returns
    -------
    dict
        ``kind``: ``"counts"``, ``"log1p"``, ``"normalised"`` (not log-transformed) or ``"scaled"``
        (negative ones among them); ``least`` and ``most``; ``seen``: how many were looked at;
        ``not_finite``: how many of these are NaN or infinite.
    """
    if not data.size or data.dtype.kind not in "biuf" or data.dtype.itemsize > 8:
        return None
    width = data.shape[1] if data.ndim == 2 else 1
    sample = np.asarray(data[: 1 + _SAMPLE // max(1, width)]).reshape(-1)
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return None
    fractional = _pdex.looks_fractional(memory.dense(finite.reshape(1, -1), name), n_threads(None))
    least, most = float(finite.min()), float(finite.max())
    if zeros:
        least, most = min(least, 0.0), max(most, 0.0)
    if least < 0:
        kind = "scaled"
    elif not fractional:
        kind = "counts"
    else:
        kind = "log1p" if most <= _LARGEST_LOG else "normalised"
    odd = int(sample.size - finite.size)
    seen = int(sample.size)
    return {"kind": kind, "least": least, "most": most, "seen": seen, "not_finite": odd}


def _column(column: pd.Series[Any]) -> Facts:
    """Return what a column of obs is.

    Returns
    -------
    dict
        ``name``; ``kind``: ``"categorical"``, ``"text"``, ``"boolean"``, ``"integer"``,
        ``"float"`` or pandas' own word; ``distinct`` values; ``missing`` ones; ``controls``: labels
        that look like a control group, the surest first.
    """
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
        controls = sorted((s for s in labels if _plain(s) in _RANKS), key=_rank)
    return {
        "name": str(column.name),
        "kind": kind,
        "distinct": len(distinct),
        "missing": int(column.isna().sum()),
        "controls": controls,
    }


def _plain(label: str) -> str:
    return re.sub(r"[\W_]", "", label).lower()


def _rank(label: str) -> tuple[int, str]:
    return _RANKS[_plain(label)], label


def _groupable(column: Facts, n_cells: int) -> bool:
    """Whether a column may hold groups of cells rather than measurements or names of cells."""
    if column["kind"] == "integer" and column["distinct"] > _MOST_LABELS:
        return False
    distinct: int = column["distinct"]
    return column["kind"] != "float" and 2 <= distinct <= max(2, n_cells // 2)


def _targets(obs: pd.DataFrame, columns: list[Facts]) -> Facts | None:
    """Return the column that looks most like the targets; None where no column has groups.

    Returns
    -------
    dict
        ``column``; ``reference``: its control group, or ``"rest"``; ``n_targets``;
        ``reference_cells``, None for the rest; ``least``, ``median`` and ``most``: cells of a
        target; ``unlabelled`` cells.
    """
    able = [column for column in columns if _groupable(column, len(obs))]

    def fitness(column: Facts) -> tuple[float, bool, int]:
        controls = column["controls"]
        rank = _rank(controls[0])[0] if controls else len(_RANKS)
        # Of guides and targets with the same controls, targets are the fewer.
        return rank, _COLUMN.search(column["name"]) is None, column["distinct"]

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
    cells = np.bincount(groups.places[groups.places >= 0], minlength=len(groups.labels))
    reference = best["controls"][0] if best["controls"] else "rest"
    reference_cells = None
    if reference != "rest":
        place = groups.labels.index(reference)
        reference_cells = int(cells[place])
        cells = np.delete(cells, place)
    if len(cells) < (1 if best["controls"] else 2):
        return None
    return {
        "column": best["name"],
        "reference": reference,
        "reference_cells": reference_cells,
        "n_targets": len(cells),
        "least": int(cells.min()),
        "median": float(np.median(cells)),
        "most": int(cells.max()),
        "unlabelled": int((groups.places < 0).sum()),
    }


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
    if first is None or (first["values"] or {}).get("kind") == "scaled":
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


def _command(path: Path, targets: Facts, options: list[str]) -> str:
    """Return the fitting command, quoted for a shell."""
    words = ["pdex", "de", str(path), "--groupby", targets["column"]]
    words += ["--reference", targets["reference"], *options, "-o", f"{path.stem}.de.parquet"]
    return shlex.join(words)
