"""What ``pdex info`` says of a result: its size, its hits, and how it was made."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import rich_click as click

from pdex._description import BINARY, RESULT, files_of, known_of
from pdex._output import scan, scan_result
from pdex._places import place_of, size_of
from pdex._plotting import files
from pdex._text import counted, size
from pdex.cli.tables import printable

if TYPE_CHECKING:
    from pdex._places import Place

#: The threshold of hits.
_FDR = 0.05


def tell_result(path: Path | str, as_json: bool) -> None:
    """Print what a result holds and how it was made, as text or as JSON."""
    facts = _facts(path)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"{printable(facts['path'])}: {size(facts['bytes'])}")
    shape = f"{counted(facts['n_targets'], 'target')}, {counted(facts['n_genes'], 'gene')}"
    hits = f"{facts['n_hits']:,} with fdr < {_FDR}"
    click.echo(f"{counted(facts['n_rows'], 'row')}: {shape}; {hits}\n")
    made = known_of(path)
    click.echo("It does not say how it was made." if made is None else printable_lines(str(made)))
    if facts["command"] is not None:
        click.echo(f"\n  {facts['command']}")


def printable_lines(text: str) -> str:
    """Return lines with the control characters within each escaped."""
    return "\n".join(map(printable, text.split("\n")))


def _facts(path: Path | str) -> dict[str, Any]:
    """Return everything that is printed."""
    place, made = place_of(path), known_of(path)
    is_folder = (place / RESULT).is_file()
    parts = files_of(place) if is_folder else [place]
    command = None
    if isinstance(place, Path):
        page = f"{place.stem if not is_folder else place.name}.html"
        command = shlex.join(["pdex", "report", os.fspath(path), "-o", page])
    return {
        "path": os.fspath(path),
        "bytes": sum(map(size_of, parts)),
        **_counts(_rows(place, is_folder), path),
        "made": None if made is None else asdict(made),
        "command": command,
    }


def _rows(place: Place, is_folder: bool) -> pl.LazyFrame:
    """Return the rows, which may be more than fit into memory unless they are text."""
    if is_folder:
        return scan_result(place)
    if place.suffix.lower() in BINARY:
        return scan(place)
    return files.read(Path(str(place))).lazy()


def _counts(rows: pl.LazyFrame, path: Path | str) -> dict[str, int]:
    """Return the numbers of rows, targets, genes and hits."""
    try:
        names = rows.collect_schema().names()
        gene = "feature" if "feature" in names or "gene" not in names else "gene"
        for name in ("target", gene, "fdr"):
            if name not in names:
                msg = f"{path} is not a result of pdex de: it has no column {name!r}"
                raise ValueError(msg)
        counts = rows.select(
            n_rows=pl.len(),
            n_targets=pl.col("target").n_unique(),
            n_genes=pl.col(gene).n_unique(),
            n_hits=(pl.col("fdr") < _FDR).sum(),
        )
        found: dict[str, int] = counts.collect(engine="streaming").row(0, named=True)
        return found
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{path} cannot be read as a result: {error}"
        raise ValueError(msg) from error
