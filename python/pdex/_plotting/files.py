"""Read a result frame from a path."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

_KINDS = (".parquet", ".csv", ".tsv", ".ipc", ".arrow", ".feather")
#: The file that names the files of a result in a folder.
_RESULT = "result.json"
#: File types that may be gzipped.
_GZIPPED = (".csv", ".tsv")
#: Columns that are read as text, so that labels that look like numbers stay labels.
_TEXT = ("target", "feature", "gene")


def without_gz(path: Path) -> Path:
    """Return the path without a final ``.gz``."""
    return path.with_suffix("") if path.suffix.lower() == ".gz" else path


def read(path: str | Path) -> pl.DataFrame:
    """Read a result from Parquet, CSV, TSV or Arrow IPC, or from the folder of a cluster's result.

    CSV and TSV may be gzipped.
    """
    path = Path(path)
    if (path / _RESULT).is_file():
        return _read_folder(path)
    kind = without_gz(path).suffix.lower()
    if path.is_dir():
        msg = f"{path} is a folder: expected the result of pdex.de in a file"
        raise IsADirectoryError(msg)
    if kind == ".h5ad":
        msg = f"{path} is a screen, not a result: run pdex.de first, and write what it returns"
        raise ValueError(msg)
    if kind not in _KINDS or (kind not in _GZIPPED and without_gz(path) != path):
        msg = f"{path}: expected the result of pdex.de as one of {', '.join(_KINDS)}"
        raise ValueError(msg)
    if not path.is_file():
        msg = f"{path}: there is no such file"
        raise FileNotFoundError(msg)
    try:
        if kind == ".parquet":
            return pl.read_parquet(path)
        if kind in _GZIPPED:
            return _read_text(path, "," if kind == ".csv" else "\t")
        return pl.read_ipc(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{path} cannot be read as {kind[1:]}: {error}"
        raise ValueError(msg) from error


def _read_folder(folder: Path) -> pl.DataFrame:
    try:
        facts = json.loads((folder / _RESULT).read_text(encoding="utf-8"))
        files = [str(folder / part["file"]) for part in facts["parts"]]
        return pl.read_parquet(files, glob=False)
    except (pl.exceptions.PolarsError, OSError, ValueError, LookupError, TypeError) as error:
        msg = f"{folder} cannot be read as a result: {error}"
        raise ValueError(msg) from error


def _read_text(path: Path, separator: str) -> pl.DataFrame:
    names = pl.read_csv(path, separator=separator, n_rows=0).columns
    text = {name: pl.String for name in _TEXT if name in names}
    return pl.read_csv(path, separator=separator, schema_overrides=text, infer_schema_length=None)
