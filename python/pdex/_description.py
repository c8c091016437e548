"""How a result was made: the test, its options, the data, the version.

The description is stored in the metadata of Parquet and Arrow IPC files, under the key ``pdex``. In
memory it is known only for the frame that a call returned, not for frames derived from it, for
example by a filter or a join.
"""

from __future__ import annotations

import json
import os
import weakref
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from pdex import _html, _pdex
from pdex._places import Place, Remote, place_of
from pdex._text import called, counted, listed

if TYPE_CHECKING:
    Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

#: Key in the metadata of a file.
KEY = "pdex"
#: Key of the verdict in the metadata of a calibration's file.
VERDICT = "pdex_verdict"
#: The file that makes a folder of Parquet files a result, and names them.
RESULT = "result.json"
#: The types of files that hold a result and its description.
BINARY = (".parquet", ".ipc", ".arrow", ".feather")
#: Descriptions by the id of the frame, for as long as the frame lives.
_KNOWN: dict[int, Description] = {}


@dataclass(frozen=True, repr=False)
class Description:
    """How a result was made; it shows itself in four lines.

    Parameters
    ----------
    test, options
        The test, and its options with their values.
    groupby, reference
        The column of ``obs`` with the groups, and what they were compared with: one label, several
        labels, or ``"rest"``.
    strata, where, exclude, min_cells
        Other options that select cells; None or empty if they were not used.
    source, matrix
        The path of the file, or ``"AnnData in memory"``, or a list of these; and the name of the
        matrix: ``"X"``, a layer or ``"raw.X"``.
    is_log1p, log_base
        Whether values were taken as logarithms, and to which base (None: e).
    normalize
        The total to which the counts of each cell were scaled, a number or ``"median"``; None if
        the values were tested as they are stored.
    mean, pseudocount
        The kind of mean, and the number added to both means in a fold change; None if fold changes
        are NaN, as for residuals.
    fdr
        The scope of the adjustment of p-values: ``"target"`` or ``"all"``.
    n_cells, n_targets, n_genes
        The number of cells that took part, and the numbers of targets and genes that were tested.
    version
        The version of pdex.

    See Also
    --------
    describe : Return the description of a result.
    """

    test: str
    options: dict[str, Any]
    groupby: str
    reference: str | list[str]
    source: str | list[str]
    matrix: str
    is_log1p: bool
    mean: str
    pseudocount: float | None
    fdr: str
    n_cells: int
    n_targets: int
    n_genes: int
    strata: str | None = None
    where: str | None = None
    exclude: list[str] = field(default_factory=list)
    min_cells: int | None = None
    log_base: float | None = None
    normalize: float | str | None = None
    version: str = _pdex.__version__

    def metadata(self) -> dict[str, str]:
        """Return it as metadata for a file, as in ``frame.write_parquet(path, metadata=...)``."""
        return {KEY: json.dumps(asdict(self))}

    def __str__(self) -> str:
        """Return the description in four lines."""
        return "\n".join(f"{name + ':':10}{text}" for name, text in self.lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the description for notebooks."""
        return _html.block("How the result was made", _html.listing(self.lines()))

    def lines(self) -> list[tuple[str, str]]:
        """Return the description as lines of text, each with a heading."""
        labels = [self.reference] if isinstance(self.reference, str) else self.reference
        compared = f"obs[{self.groupby!r}] against {_listed(labels)}"
        if self.strata is not None:
            compared += f" within obs[{self.strata!r}]"
        if self.where is not None:
            compared += f", cells where {self.where}"
        if self.exclude:
            compared += f", without {_listed(self.exclude)}"
        if self.min_cells is not None:
            compared += f", targets of at least {counted(self.min_cells, 'cell')}"
        base = "" if self.log_base is None else f" to base {self.log_base:g}"
        taken = f"log1p values{base}" if self.is_log1p else "values as they are"
        if self.normalize is not None:
            total = self.normalize if isinstance(self.normalize, str) else f"{self.normalize:g}"
            taken = f"counts scaled to {total}{', log1p' * self.is_log1p}"
        adjusted = "the genes of each target" if self.fdr == "target" else "all targets and genes"
        change = "no fold changes"
        if self.pseudocount is not None:
            change = f"pseudocount {self.pseudocount:g}"
        numbers = (self.n_cells, self.n_targets, self.n_genes)
        sizes = ", ".join(map(counted, numbers, ("cell", "target", "gene")))
        return [
            ("test", f"{called(self.test, self.options)}, pdex {self.version}"),
            ("compared", compared),
            ("data", f"{self.matrix} of {self._sources()}: {sizes}"),
            ("means", f"{self.mean} of {taken}, {change}; fdr over {adjusted}"),
        ]

    def _sources(self) -> str:
        """Return the path, or the number of sources and the names of some."""
        if isinstance(self.source, str):
            return self.source
        names = [os.path.basename(source) for source in self.source]
        return f"{len(names)} sources ({_listed(names)})"


def _listed(labels: list[str]) -> str:
    return listed(labels, 3 if len(labels) > 4 else 4)


def remember(frame: Frame, description: Description) -> Frame:
    """Store the description of a frame for as long as the frame lives."""
    number = id(frame)
    _KNOWN[number] = description
    weakref.finalize(frame, _KNOWN.pop, number, None)
    return frame


def describe(result: pl.DataFrame | pl.LazyFrame | str | os.PathLike[str]) -> Description:
    """Return how a result was made: test, options, reference, data, version.

    Parameters
    ----------
    result
        The frame that :func:`pdex.de` or :func:`pdex.sink_de` returned (not one derived from it),
        or the path of a Parquet or Arrow IPC file that :func:`pdex.sink_de` or ``pdex de`` wrote,
        or the folder or URL of a cluster's result.

    Returns
    -------
    Description
        The description, which shows itself in four lines.

    Raises
    ------
    ValueError
        The frame was derived from a result, for example by a filter or a join, and so has no
        description; or the file has none, which is always so for CSV and TSV.
    TypeError
        `result` is neither a Polars frame nor a path.
    FileNotFoundError
        The file does not exist.

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> result = pdex.de(screen, "target")
    >>> pdex.describe(result)
    test:     wilcoxon (alternative=two-sided, method=auto, continuity=True, ...
    compared: obs['target'] against 'non-targeting'
    data:     X of AnnData in memory: 400 cells, 3 targets, 20 genes
    means:    arithmetic of values as they are, pseudocount 1e-09; fdr over the genes of each target
    """
    if isinstance(result, (pl.DataFrame, pl.LazyFrame)):
        known = _KNOWN.get(id(result))
        if known is None:
            msg = (
                "this frame does not say how it was made: describe the frame that pdex.de "
                "returned, before it is filtered or joined, or the file that pdex.sink_de wrote"
            )
            raise ValueError(msg)
        return known
    if not isinstance(result, (str, os.PathLike)):
        msg = f"result is a {type(result).__qualname__}: expected a frame of Polars or a path"
        raise TypeError(msg)
    return _of_file(place_of(result))


def known_of(result: object) -> Description | None:
    """Return the description of a frame or a file, or None if it has none."""
    try:
        return describe(result)  # type: ignore[arg-type]
    except (ValueError, TypeError, OSError):
        return None


def is_result(data: object) -> bool:
    """Return whether something is the path of a result: a table, or a folder that names its files.

    A text file is a result if it has the columns of one, because screens are kept as text, too.

    Examples
    --------
    >>> is_result("de.parquet"), is_result("screen.h5ad")
    (True, False)
    """
    if not isinstance(data, (str, os.PathLike)):
        return False
    name = os.fspath(data).lower()
    if name.endswith(BINARY):
        return True
    if name.removesuffix(".gz").endswith((".csv", ".tsv")):
        return _has_columns_of_result(data, "\t" if ".tsv" in name else ",")
    return not name.endswith((".h5ad", ".zarr")) and (place_of(data) / RESULT).is_file()


def _has_columns_of_result(path: str | os.PathLike[str], separator: str) -> bool:
    try:
        names = pl.read_csv(os.fspath(path), separator=separator, n_rows=0).columns
    except (pl.exceptions.PolarsError, OSError):
        return False
    return {"target", "fdr"}.issubset(names)


def _read_result(folder: Place) -> dict[str, Any]:
    """Return what the file of a result in a folder says."""
    path = folder / RESULT
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if facts["format"] == 1:
            return facts
    except (ValueError, TypeError, KeyError, OSError) as error:
        msg = f"{path} is damaged, or no result: {error!r}"
        raise ValueError(msg) from error
    msg = f"{path} was written by another version of pdex, in format {facts['format']}"
    raise ValueError(msg)


def files_of(folder: Place) -> list[Place]:
    """Return the files of a result in a folder, in order."""
    return [folder / part["file"] for part in _read_result(folder)["parts"]]


def _of_file(path: Place) -> Description:
    if (path / RESULT).is_file():
        return _of_facts(_read_result(path)["description"], path)
    if isinstance(path, Remote) or not path.is_file():
        is_folder = isinstance(path, Path) and path.is_dir()
        what = "is a folder: describe a result" if is_folder else "there is no such file or result"
        msg = f"{path}: {what}"
        raise FileNotFoundError(msg)
    found = metadata_of(path).get(KEY)
    if found is None:
        msg = (
            f"{path} does not say how it was made: pdex.sink_de and 'pdex de' note it in .parquet, "
            ".ipc, .arrow and .feather files"
        )
        raise ValueError(msg)
    try:
        facts = json.loads(found)
    except ValueError:
        facts = found
    return _of_facts(facts, path)


def metadata_of(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the metadata of a Parquet or Arrow IPC file; other files have none."""
    path = Path(path)
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            return pl.read_parquet_metadata(path)
        return dict(_pdex.ipc_metadata(path)) if kind in BINARY else {}
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{path} cannot be read as {kind[1:]}: {error}"
        raise ValueError(msg) from error


def _of_facts(facts: Any, path: Place) -> Description:
    try:
        known = [field.name for field in fields(Description)]
        return Description(**{name: facts[name] for name in known if name in facts})
    except (ValueError, TypeError, AttributeError) as error:
        msg = f"{path} was described by another version of pdex: {str(facts)[:200]}"
        raise ValueError(msg) from error
