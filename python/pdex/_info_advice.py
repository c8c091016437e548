"""Which matrix suits a test, and the command and the call that test it."""

from __future__ import annotations

import glob
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pdex._together import Facts

#: The largest finite number, which stands for infinity in :class:`pdex.Info`.
LARGEST = sys.float_info.max


def choose_matrix(matrices: list[Facts]) -> tuple[list[str], list[str]]:
    """Return the options with which pdex.de reads the most suitable matrix, and notes."""
    fit = ("counts", "log1p", "normalised")
    # raw comes last: it may have other genes than the layers.
    usable = sorted(
        (m for m in matrices if (m["values"] or {}).get("kind") in fit),
        key=lambda matrix: matrix["name"] == "raw",
    )
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
    more, doubts = _too_large(best)
    return _which(best["name"]) + more, notes + doubts


def _which(name: str) -> list[str]:
    """Return the options that choose a matrix."""
    if name == "raw":
        return ["--use-raw"]
    return [] if name == "X" else ["--layer", name.removeprefix("layer ")]


def fit_tables(matrix: Facts) -> tuple[list[str], list[str]]:
    """Return the options with which pdex.de tests count tables of a matrix, and notes."""
    values, name = matrix["values"], matrix["name"]
    if max(-values["least"], values["most"]) == LARGEST:
        return [], [f"{name} holds infinite values"]
    if values["kind"] == "residuals":
        why = f"{name} holds negative values, such as scaled ones"
        return [], [f"{why}: fold changes need counts or log1p values"]
    return _too_large(matrix)


def _too_large(matrix: Facts) -> tuple[list[str], list[str]]:
    """Return an option and a note for values that are neither counts nor log1p values."""
    if (matrix["values"] or {}).get("kind") != "normalised":
        return [], []
    note = (
        f"{matrix['name']} goes up to {matrix['values']['most']:,.0f}, too far for log1p values: "
        "is_log1p=False keeps it as it is"
    )
    return ["--counts"], [note]


def command_of(path: str | list[str], targets: Facts, options: list[str]) -> str:
    """Return the suggested command, quoted for a shell."""
    paths = [path] if isinstance(path, str) else path
    reference = targets["reference"]
    words = ["pdex", "de", *paths, "--groupby", targets["column"]]
    for label in [reference] if isinstance(reference, str) else reference:
        words += ["--reference", label]
    many = len(paths) > 1 or (glob.has_magic(paths[0]) and not os.path.lexists(paths[0]))
    stem = "screen" if many else Path(paths[0]).stem
    return shlex.join([*words, *options, "-o", f"{stem}.de.parquet"])


def call_of(targets: Facts, options: list[str], path: str | list[str] | None) -> str:
    """Return the suggested Python call."""
    words = ["adata" if path is None else repr(path), repr(targets["column"])]
    words.append(f"reference={targets['reference']!r}")
    if "--layer" in options:
        words.append(f"layer={options[options.index('--layer') + 1]!r}")
    if "--use-raw" in options:
        words.append("use_raw=True")
    if "--counts" in options:
        words.append("is_log1p=False")
    return f"pdex.de({', '.join(words)})"
