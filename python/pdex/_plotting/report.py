"""The report: one HTML file that works offline."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pdex._description import known_of
from pdex._files import replacing
from pdex._pdex import __version__
from pdex._plotting import encode, files, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from pdex._description import Description
    from pdex._plotting.table import Frame


class NullComparisons(Protocol):
    """What :func:`pdex.calibrate` returns."""

    def judged_rows(self) -> pl.DataFrame:
        """Return the rows whose p-values should be uniform."""


def report(
    frame: Frame | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    title: str | None = None,
    calibration: Frame | NullComparisons | str | os.PathLike[str] | None = None,
    fdr: float = 0.05,
    min_abs_lfc: float = 0.0,
) -> Path:
    """Write a result as one page: a summary, a table of targets, and each target's volcano.

    The file holds all that it needs, so it works offline and can be sent by mail. The table of
    targets sorts and filters; the target chosen shows its volcano and its first 30 genes. All
    counts are of all genes. At its head the page says how the result was made, where that is known
    (see :func:`pdex.describe`). The points of a volcano are thinned as in :func:`pdex.pl.volcano`;
    beyond half a million points in all, hits are thinned as well, and the page says so.

    Parameters
    ----------
    frame
        Result of :func:`pdex.de`, as a frame of Polars or pandas, or as the path of a ``.parquet``,
        ``.csv``, ``.tsv`` (these two also with ``.gz``) or ``.ipc`` file; for the columns needed
        see :func:`pdex.pl.volcano`.
    output
        Path of the page, which ends in ``.html``. It is replaced in one step once the page is
        whole.
    title
        The page's heading.
    calibration
        What :func:`pdex.calibrate` returns, or the result of other null comparisons as a frame or a
        path: its p-values (``neg_log10_p`` or ``p_value``) are shown against the uniform
        distribution.
    fdr, min_abs_lfc
        A gene is a hit below this false discovery rate and from this absolute log2 fold change.

    Returns
    -------
    pathlib.Path
        The path of the page.

    Raises
    ------
    FileNotFoundError
        No such file, or no such folder for the page.
    TypeError
        No frame, or a column that does not hold numbers.
    ValueError
        A missing column, no rows, an unknown kind of file, or a threshold out of its range. What
        is wrong with a file names its path.

    Examples
    --------
    >>> import pdex, tempfile, pathlib
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=50, n_targets=3, n_effects=5)
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> page = pdex.report(pdex.de(screen, "target"), folder / "report.html", title="My screen")
    >>> "My screen" in page.read_text(encoding="utf-8")
    True
    """
    path = check_page(output)
    fdr, min_abs_lfc = table.level("fdr", fdr), table.at_least_zero("min_abs_lfc", min_abs_lfc)
    with _naming(frame):
        rows = table.tidy(_frame(frame), encode.NEEDED, encode.OPTIONAL)
        meta, packed = encode.encode(rows, fdr, min_abs_lfc)
    if calibration is not None:
        with _naming(calibration, "calibration"):
            nulls = table.tidy(_nulls(calibration), ("neg_log10_p",))
            meta["calibration"] = encode.calibration(nulls)
    heading = "Differential expression" if title is None else str(title)
    page = _page(heading, _made(known_of(frame)), meta, packed)
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8", newline="\n")
    return path


def _frame(frame: Any) -> Any:
    """Return a frame as it is, and a path's content."""
    return files.read(os.fspath(frame)) if isinstance(frame, (str, os.PathLike)) else frame


def _nulls(calibration: Any) -> Any:
    """Return the frame of null comparisons; a column of that name is not a method."""
    rows = getattr(calibration, "judged_rows", None)
    return rows() if callable(rows) else _frame(calibration)


@contextmanager
def _naming(given: Any, name: str = "") -> Iterator[None]:
    """Let errors begin with the path that the rows are from, or with the argument's name."""
    try:
        yield
    except (TypeError, ValueError) as error:
        where = os.fspath(given) if isinstance(given, (str, os.PathLike)) else name
        if not where or str(error).startswith(where):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{where}: {error}") from error


def check_page(output: str | os.PathLike[str]) -> Path:
    """Return the path of a page to write, checked before any work is done.

    Other names than .html are refused: one of them may be the result itself.
    """
    path = Path(output)
    if not path.is_dir() and path.suffix.lower() not in (".html", ".htm"):
        msg = f"{path}: expected a name that ends in .html"
        raise ValueError(msg)
    if path.is_dir():
        msg = f"{path} is a folder: name a file, such as {path / 'report.html'}"
        raise IsADirectoryError(msg)
    if not path.parent.is_dir():
        msg = f"{path}: there is no folder {path.parent}: make it first"
        raise FileNotFoundError(msg)
    return path


def _page(title: str, made: str, meta: dict[str, Any], packed: bytes) -> str:
    """Return the page: the template with style, script and data in their places."""
    folder = resources.files("pdex._plotting") / "page"
    text = {
        name: (folder / f"page.{name}").read_text(encoding="utf-8")
        for name in ("html", "css", "js")
    }
    values = {
        "title": html.escape(title),
        "made": made,
        "cards": _cards(meta),
        "rule": html.escape(_rule(meta)),
        "version": html.escape(__version__),
        "style": text["css"],
        "script": text["js"],
        "style_hash": _hash(text["css"]),
        "script_hash": _hash(text["js"]),
        # Within a script element nothing but "<" can end it or open a comment.
        "meta": json.dumps(meta, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "packed": base64.b64encode(packed).decode("ascii"),
    }
    # One pass: what is put in is not searched again.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], text["html"])


def _made(description: Description | None) -> str:
    """Return how the result was made, as a list; nothing where it does not say."""
    if description is None:
        return ""
    lines = (
        f"<dt>{html.escape(name.capitalize())}</dt><dd>{html.escape(text)}</dd>"
        for name, text in description.lines()
    )
    return f'<dl class="made" id="made">{"".join(lines)}</dl>\n'


def _hash(text: str) -> str:
    """Return what lets this text, and no other, run under the page's security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _rule(meta: dict[str, Any]) -> str:
    least = f" and |log2 fold change| ≥ {meta['minAbsLfc']:g}" if meta["minAbsLfc"] else ""
    return f"FDR below {100 * meta['fdr']:g} %{least}"


def _cards(meta: dict[str, Any]) -> str:
    """Return the summary: a few large numbers, readable without JavaScript."""
    targets = meta["targets"]
    hits = sum(target["up"] + target["down"] for target in targets)
    hit_targets = sum(target["up"] + target["down"] > 0 for target in targets)
    cells = encode.cells(targets)
    cards = [] if cells is None else [("cells", f"{cells:,}", "Cells", "")]
    cards += [
        ("targets", f"{len(targets):,}", "Targets", f"{hit_targets:,} with hits"),
        ("genes", f"{len(meta['genes']):,}", "Genes", ""),
        ("hits", f"{hits:,}", f"Hits at FDR {100 * meta['fdr']:g} %", _directions(targets)),
    ]
    items = [
        f'<div id="card-{key}"><dt>{html.escape(name)}</dt><dd>{number}'
        f" <small>{html.escape(note)}</small></dd></div>"
        for key, number, name, note in cards
    ]
    return "\n".join(items)


def _directions(targets: list[dict[str, Any]]) -> str:
    up, down = (sum(target[way] for target in targets) for way in ("up", "down"))
    return f"{up:,} up, {down:,} down"
