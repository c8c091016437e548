"""A path to a result frame."""

from __future__ import annotations

from pathlib import Path

import polars as pl

_KINDS = (".parquet", ".csv", ".tsv", ".ipc", ".arrow", ".feather")
#: Labels that look like numbers stay labels.
_TEXT = ("target", "feature", "gene")


def read(path: str | Path) -> pl.DataFrame:
    """Read a result that was written as Parquet, CSV, TSV or Arrow IPC."""
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".h5ad":
        msg = f"{path} is a screen, not a result: run pdex.de first, and write what it returns"
        raise ValueError(msg)
    if kind not in _KINDS:
        msg = f"{path}: expected the result of pdex.de as one of {', '.join(_KINDS)}"
        raise ValueError(msg)
    if not path.is_file():
        msg = f"{path}: there is no such file"
        raise FileNotFoundError(msg)
    try:
        if kind == ".parquet":
            return pl.read_parquet(path)
        if kind in (".csv", ".tsv"):
            return _read_text(path, "," if kind == ".csv" else "\t")
        return pl.read_ipc(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{path} cannot be read as {kind[1:]}: {error}"
        raise ValueError(msg) from error


def _read_text(path: Path, separator: str) -> pl.DataFrame:
    names = pl.read_csv(path, separator=separator, n_rows=0).columns
    text = {name: pl.String for name in _TEXT if name in names}
    return pl.read_csv(path, separator=separator, schema_overrides=text, infer_schema_length=None)
