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

from pdex._description import VERDICT, known_of, metadata_of
from pdex._files import replacing
from pdex._pdex import __version__
from pdex._plotting import encode, files, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from pdex._description import Description
    from pdex._plotting.table import Frame


class NullComparisons(Protocol):
    """The part of a :class:`pdex.Calibration` that the report uses."""

    def judged_rows(self) -> pl.DataFrame:
        """Return the rows whose p-values should be uniform."""

    @property
    def verdict(self) -> str:
        """Whether they are."""


def report(
    frame: Frame | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    title: str | None = None,
    calibration: Frame | NullComparisons | str | os.PathLike[str] | None = None,
    fdr: float = 0.05,
    min_abs_lfc: float = 0.0,
) -> Path:
    """Write a result as an HTML page: a summary, a table of targets, and their volcano plots.

    The file contains everything it needs, so it works offline and can be sent by email. The table
    of targets can be sorted and filtered. A click on a target shows its volcano plot and its top 30
    genes. All counts include all genes. The top of the page states how the result was made, if that
    is known (see :func:`pdex.describe`). The points of a volcano plot are subsampled as in
    :func:`pdex.pl.volcano`. Above half a million points in total, hits are subsampled as well, and
    the page says how many are drawn.

    If there are no fold changes at all, as for z-scores, the page says so, and the plots show the
    z-scores of the rank-sum test or the statistics of the t-test. For the other tests, it lists the
    top genes only.

    Parameters
    ----------
    frame
        Result of :func:`pdex.de`, as a Polars or pandas frame, or as the path of a ``.parquet``,
        ``.ipc``, ``.arrow``, ``.feather``, ``.csv`` or ``.tsv`` file; the last two may be gzipped
        (``.csv.gz``). See :func:`pdex.pl.volcano` for the columns it needs.
    output
        Path of the page, which must end in ``.html``. An existing file is replaced only when the
        new page is complete.
    title
        Heading of the page.
    calibration
        Result of :func:`pdex.calibrate`, or the result of other null comparisons as a frame or a
        path. Its p-values (``neg_log10_p`` or ``p_value``) are compared with the uniform
        distribution. The page shows the verdict of a calibration, or of a Parquet or Arrow IPC file
        that ``pdex calibrate`` wrote.
    fdr, min_abs_lfc
        A gene is a hit if its false discovery rate is below `fdr` and its absolute log2 fold change
        is at least `min_abs_lfc`. A limit of 0 also counts genes without a fold change.

    Returns
    -------
    pathlib.Path
        The path of the page.

    Raises
    ------
    FileNotFoundError
        The file of the result, or the folder of the page, does not exist.
    IsADirectoryError
        A path is a folder.
    TypeError
        `frame` is not a frame, or a column does not hold numbers.
    ValueError
        A missing column, no rows, an unknown file type, or a threshold out of range. Every error
        about a file names its path.

    See Also
    --------
    pl.volcano : The volcano plot of one target, as a chart.
    calibrate : Compare controls with controls.

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
            meta["calibration"] = encode.calibration(nulls, _verdict(calibration))
    heading = "Differential expression" if title is None else str(title)
    page = _page(heading, _made(known_of(frame)), meta, packed)
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8", newline="\n")
    return path


def _frame(frame: Any) -> Any:
    """Return a frame as it is, or read it from a path."""
    return files.read(os.fspath(frame)) if isinstance(frame, (str, os.PathLike)) else frame


def _nulls(calibration: Any) -> Any:
    """Return the frame of null comparisons; a column called judged_rows is not called."""
    rows = getattr(calibration, "judged_rows", None)
    return rows() if callable(rows) else _frame(calibration)


def _verdict(calibration: Any) -> str | None:
    """Return the verdict of a calibration or of its file; None if there is none."""
    if isinstance(calibration, (str, os.PathLike)):
        return metadata_of(calibration).get(VERDICT)
    verdict = getattr(calibration, "verdict", None)
    return verdict if isinstance(verdict, str) else None


@contextmanager
def _naming(given: Any, name: str = "") -> Iterator[None]:
    """Make errors begin with the path that the rows come from, or with the name of the argument."""
    try:
        yield
    except (TypeError, ValueError) as error:
        where = os.fspath(given) if isinstance(given, (str, os.PathLike)) else name
        if not where or str(error).startswith(where):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{where}: {error}") from error


def check_page(output: str | os.PathLike[str]) -> Path:
    """Return the path of the page, checked before any work is done.

    Names that do not end in .html are refused, because one of them may be the result itself.
    """
    path = Path(output)
    if not path.is_dir() and path.suffix.lower() not in (".html", ".htm"):
        msg = f"{path}: expected a name that ends in .html or .htm"
        raise ValueError(msg)
    if path.is_dir():
        msg = f"{path} is a folder: name a file, such as {path / 'report.html'}"
        raise IsADirectoryError(msg)
    if not path.parent.is_dir():
        msg = f"{path}: there is no folder {path.parent}: make it first"
        raise FileNotFoundError(msg)
    return path


def _page(title: str, made: str, meta: dict[str, Any], packed: bytes) -> str:
    """Return the page: the template, filled with style, script and data."""
    folder = resources.files("pdex._plotting") / "page"
    text = {
        name: (folder / f"page.{name}").read_text(encoding="utf-8")
        for name in ("html", "css", "js")
    }
    values = {
        "title": html.escape(title),
        "made": made,
        "cards": _cards(meta),
        "missing": _missing(meta),
        "points": html.escape(_points(meta)),
        "rule": html.escape(_rule(meta)),
        "version": html.escape(__version__),
        "style": text["css"],
        "script": text["js"],
        "style_hash": _hash(text["css"]),
        "script_hash": _hash(text["js"]),
        # Only "<" can end a script element or open a comment within it.
        "meta": json.dumps(meta, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "packed": base64.b64encode(packed).decode("ascii"),
    }
    # Replace in one pass, so that inserted text is not searched again.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], text["html"])


def _made(description: Description | None) -> str:
    """Return how the result was made as an HTML list; an empty text if that is not known."""
    if description is None:
        return ""
    lines = (
        f"<dt>{html.escape(name.capitalize())}</dt><dd>{html.escape(text)}</dd>"
        for name, text in description.lines()
    )
    return f'<dl class="made" id="made">{"".join(lines)}</dl>\n'


def _hash(text: str) -> str:
    """Return the hash that allows this text, and no other, under the page's security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _rule(meta: dict[str, Any]) -> str:
    least = f" and |log2 fold change| ≥ {meta['minAbsLfc']:g}" if meta["minAbsLfc"] else ""
    return f"FDR below {100 * meta['fdr']:g} %{least}"


def _missing(meta: dict[str, Any]) -> str:
    """Return a note on missing fold changes, as HTML; nothing if some gene has one."""
    effect = meta["effect"]
    if effect is not None and not effect["isScore"]:
        return ""
    shown = "genes are listed by p-value" if effect is None else f"plots show the {effect['name']}"
    counted = "hits are counted by FDR alone"
    if meta["minAbsLfc"]:
        counted = "no gene reaches the limit of fold changes"
    text = (
        "No gene has a fold change, because means of z-scores or residuals have no ratio: "
        f"{counted}, and {shown}; {table.REMEDY}."
    )
    return f'<p class="note" id="missing">{html.escape(text)}</p>\n'


def _points(meta: dict[str, Any]) -> str:
    """Return what the points of the plots are."""
    effect = meta["effect"]
    if effect is None:
        return "All counts include all genes."
    text = (
        f"Each point is a gene, with its {effect['name']} and \N{MINUS SIGN}log10 p-value. "
        "Triangles mark values beyond the axes"
    )
    if not effect["isScore"]:
        text += (
            "; most of them are fold changes of genes that are silent in the target or the "
            "reference"
        )
    return (
        f"{text}. Where genes are crowded, only some of the grey ones are drawn; all counts "
        "include all genes."
    )


def _cards(meta: dict[str, Any]) -> str:
    """Return the summary: a few large numbers, readable without JavaScript."""
    targets = meta["targets"]
    hits = sum(target["hits"] for target in targets)
    hit_targets = sum(target["hits"] > 0 for target in targets)
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
    up, down, flat = (sum(target[way] for target in targets) for way in table.HITS)
    words = [f"{up:,} up", f"{down:,} down"] if up or down or not flat else []
    return ", ".join([*words, f"{flat:,} without direction"] if flat else words)
