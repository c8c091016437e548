"""Describe a screen from its frames and a sample of its values, without reading a whole matrix.

Count tables are described from their manifest and labels; their parts are not read.

Everything is plain numbers, strings, lists and dicts, so that ``pdex info --json`` can print it.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from pdex import _html, _info_rows
from pdex._info_advice import LARGEST, call_of, choose_matrix, command_of, fit_tables
from pdex._info_targets import columns_line, describe_column, find_targets, sentences_of
from pdex._io import h5ad
from pdex._io.errors import error_context
from pdex._io.joined import JoinedTables
from pdex._io.labels import HeldFrame, frame_of
from pdex._io.normalize import log_base_of, noted_base
from pdex._io.opening import check_data, layers_of
from pdex._io.paths import members_of, path_of
from pdex._io.source import stamp_of
from pdex._io.tables import MANIFEST, Manifest, Table, is_table
from pdex._io.zarr import stores
from pdex._matrices import facts_of, of_array, of_node, places
from pdex._places import place_of, size_of
from pdex._scale import Values
from pdex._text import counted, listed, size
from pdex._together import Facts, Screen, together

if TYPE_CHECKING:
    from pdex._io.source import Data

#: Largest number of columns of obs that notebooks show.
_MOST_COLUMNS = 30
#: Bytes per row of a rank-sum result: two labels, two numbers of cells, twelve Float64 values.
_ROW = 2 * 4 + 2 * 4 + 12 * 8


@dataclass(frozen=True)
class Info:
    """What a screen contains; ``print`` describes it in sentences.

    Parameters
    ----------
    path, bytes
        The path of the file or of the folder of count tables, or the path or name of the Zarr
        store, and its size; None for AnnData in memory, and a path for many sources if a pattern
        named them. The size of a store that is not in a folder is None, too.
    n_cells, n_genes, repeated_genes
        The numbers of cells and genes, and the number of gene names that repeat an earlier one.
    matrices
        One dict per matrix: ``name``, ``shape``, ``layout`` (``"csr"``, ``"csc"``, ``"dense"``, or
        an encoding that pdex does not read), ``dtype``, ``stored`` (number of stored values),
        ``filters``, ``bytes`` (on disk), ``memory`` (bytes of the arrays), and ``values``, a dict
        with ``kind`` (``"counts"``, ``"log1p"``, ``"normalised"``, ``"residuals"``), ``least``,
        ``most``, ``seen`` (number of values examined) and ``not_finite`` (NaN or infinite values
        among them). For count tables it describes the matrix that was counted: its ``layout`` is
        ``"tables"``, ``stored`` is the number of rows, and ``values`` has no ``seen`` and no
        ``not_finite``.
    obs
        One dict per column of ``obs``: ``name``, ``kind``, the numbers of ``distinct`` and
        ``missing`` values, and ``controls``, the labels that look like control cells, most likely
        ones first.
    targets
        The column that most likely holds the targets: ``column``, ``reference`` (one label, several
        labels, or ``"rest"``), ``n_targets``, ``reference_cells``, the number of cells in a target
        (``least``, ``median``, ``most``), the number of ``unlabelled`` cells, and
        ``other_controls``, the targets that look like controls, too. None if no column holds
        groups.
    result
        ``rows`` and ``bytes`` of the frame that :func:`pdex.de` would return, or None.
    command, call
        A command line (for a file or count tables) and a Python call that test the screen, or None.
    notes
        Points to check first.
    tables
        For count tables: ``groupby`` (the columns of labels), ``n_groups``, ``n_rows``,
        ``bytes_per_cell`` (on disk), ``parts`` (the number of files of rows), ``sources`` (a dict
        for each: ``path``, None for AnnData in memory, and, when it was counted, its ``bytes`` and
        the time when it was ``modified``, in UTC), ``pdex`` (the version that wrote them) and
        ``format`` (of the folder). None for a screen.
    sources
        Of many sources, which are described as one screen, the path of each (None for AnnData in
        memory); else None. Values of a matrix are those of all sources, its layout that of the
        first.

    See Also
    --------
    info : Describe a screen.
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
    tables: Facts | None = None
    sources: list[str | None] | None = None

    def to_dict(self) -> Facts:
        """Return everything as plain dicts, lists, strings and numbers."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """Return sentences about the targets."""
        if self.targets is None:
            return ["No column of obs looks like groups of cells: pdex.de needs one."]
        return sentences_of(self.targets)

    def _heading(self) -> str:
        """Return what was described, and its size."""
        where = "AnnData in memory" if self.path is None else self.path
        if self.sources is not None:
            where = f"{len(self.sources)} sources"
        sizes = f"{counted(self.n_cells, 'cell')} x {counted(self.n_genes, 'gene')}"
        text = f"{where}: {sizes}"
        return text if self.tables is None else f"{text}, counted in {_groups(self.tables)}"

    def _advice(self) -> list[str]:
        """Return what to check first, and sentences about the targets."""
        return [*(f"Note: {note}." for note in self.notes), *self.sentences()]

    def __str__(self) -> str:
        """Return the description as lines of text."""
        lines = [self._heading()]
        for matrix in self.matrices:
            values = matrix["values"]
            kind = "not read" if values is None else values["kind"]
            span = "" if values is None else f", {values['least']:.4g} to {values['most']:.4g}"
            lines.append(f"  {matrix['name']}: {matrix['layout']}, {kind}{span}")
        if self.obs:
            lines.append(columns_line(self.obs))
        lines += self._advice()
        return "\n".join([*lines, *([self.call] if self.call else [])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the description for notebooks: the tables of ``pdex info``, and its advice."""
        if self.tables is None:
            rows = [_info_rows.of_matrix(matrix, self.n_genes) for matrix in self.matrices]
            matrices = _html.grid(_info_rows.MATRICES, rows)
        else:
            rows = [_info_rows.of_tables(self.matrices[0], self.tables)]
            matrices = _html.grid(_info_rows.TABLES, rows)
        shown = self.obs[:_MOST_COLUMNS]
        obs = _html.grid(_info_rows.OBS, [_info_rows.of_column(c, self.n_cells) for c in shown])
        more = len(self.obs) - len(shown)
        lines = [f"{more:,} more columns of obs are not shown."] * (more > 0) + self._advice()
        if self.result is not None:
            rows_of, n_bytes = self.result["rows"], size(self.result["bytes"])
            lines.append(f"The result has {rows_of:,} rows, {n_bytes} in memory:")
        call = _html.code(self.call) if self.call else ""
        return _html.block(self._heading(), matrices, obs, _html.paragraphs(lines), call)


def info(data: Data) -> Info:
    """Describe a screen and suggest how to test it, as ``pdex info`` does.

    No matrix is read in full: only the first four million stored values of each are examined.

    Parameters
    ----------
    data
        A screen, as in :func:`pdex.de`: an AnnData object, the path of an ``.h5ad`` file, a Zarr
        store, count tables or their folder, or many sources.

    Returns
    -------
    Info
        Sizes, matrices, columns, and likely targets and controls; it prints as sentences.

    Raises
    ------
    TypeError
        `data` is neither AnnData, a path nor a Zarr group or store.
    OSError
        The file cannot be read, or is a result. Every error about a file names its path.
    ValueError
        The file is damaged.

    See Also
    --------
    de : Test the screen.
    describe : Return how a result was made.
    tabulate : Make count tables.

    Examples
    --------
    >>> import pdex
    >>> screen = pdex.datasets.simulate_screen(n_cells=400, n_genes=20, n_targets=3, n_effects=5)
    >>> print(pdex.info(screen))
    AnnData in memory: 400 cells x 20 genes
      X: csr, counts, 0 to 51
    Columns: target (4)
    Column 'target' looks like the targets: 3, and 100 control cells ('non-targeting').
    A target has 92 to 116 cells (median 92).
    pdex.de(adata, 'target', reference='non-targeting')
    """
    members = members_of(data)
    pattern = os.fspath(data) if isinstance(data, (str, os.PathLike)) else None
    if all(_is_table(one) for one in members):
        return _of_tables([os.fspath(one) for one in members], pattern)
    if len(members) > 1:
        screens = [_screen(one) for one in members]
        found, notes = together(screens, pattern)
        paths = [one.path for one in screens if one.path is not None]
        about = _about(found, paths if len(paths) == len(screens) else None)
        return replace(about, notes=notes + about.notes, sources=[one.path for one in screens])
    one = members[0]
    about = _about(_screen(one))
    if not stores.is_group(one) or about.bytes is not None:
        return about
    # What the caller holds has no path for a command; the call takes it as it is.
    call = None
    if about.targets is not None:
        call = call_of(about.targets, choose_matrix(about.matrices)[0], None)
    return replace(about, command=None, call=call and call.replace("adata", "store", 1))


def _is_table(data: object) -> bool:
    """Return whether `data` is the path or URL of count tables."""
    return isinstance(data, (str, os.PathLike)) and is_table(os.path.expanduser(data))


def _screen(data: Any) -> Screen:
    """Return what is described of one source."""
    if stores.is_group(data) or stores.is_path(data):
        return _of_root(stores.open_root(data), data)
    if isinstance(data, (str, os.PathLike)):
        path = path_of(data)
        if is_table(path):
            msg = f"{path} holds count tables: name screens alone, or tables alone"
            raise TypeError(msg)
        with error_context(path):
            root = h5ad.Root(path)
        return _of_root(root, data)
    check_data(data)
    arrays = [("X", data.X), *((f"layer {name}", data.layers[name]) for name in layers_of(data))]
    arrays += [] if data.raw is None else [("raw", data.raw.X)]
    base = log_base_of(noted_base(data.uns))
    matrices = [facts_of(name, of_array(x), base) for name, x in arrays if x is not None]
    names = [str(name) for name in data.var_names]
    return Screen(frame_of(data.obs), names, matrices, None, None, base)


def _of_root(root: h5ad.Root | stores.Root, data: Any) -> Screen:
    """Return the description of a file or Zarr store."""
    try:
        with error_context(root.path):
            root.check_kind()
            obs, names = HeldFrame(root.frame("obs")), root.frame("var").names()
            base = log_base_of(root.log1p_base())
            matrices = [
                facts_of(name, of_node(root.member(place), root.path), base)
                for name, place in places(root)
            ]
            stamp = stamp_of(root.path, whole=True)
            path = os.fspath(data) if isinstance(data, (str, os.PathLike)) else root.path
            return Screen(obs, names, matrices, path, None if stamp is None else stamp[0], base)
    finally:
        root.close()


def _about(screen: Screen, paths: list[str] | None = None) -> Info:
    """Return the description of a screen whose rows are cells, of one path or of many."""
    obs, genes, matrices, path, n_bytes, _ = screen
    columns = [describe_column(obs, name) for name in obs.columns]
    targets = find_targets(obs, columns)
    options, notes = choose_matrix(matrices)
    n_genes = len(genes)
    if "--use-raw" in options:
        (n_genes,) = (matrix["shape"][1] for matrix in matrices if matrix["name"] == "raw")
    advice = _advice(path or paths, n_genes, targets, options)
    repeated = len(genes) - len(set(genes))
    about = (path, n_bytes, obs.height, len(genes), repeated)
    return Info(*about, matrices, columns, targets, *advice, notes=notes)


def _of_tables(paths: list[str], pattern: str | None) -> Info:
    """Return the description of the count tables of a folder, or of several as one screen.

    Paths are as the caller wrote them; a `pattern` may have named them.
    """
    tables = [Table(place_of(path)) for path in paths]
    every = [table.manifest for table in tables]
    joined = JoinedTables(tables, alike=len(tables) == 1)
    manifest, obs, cells = joined.manifest, joined.obs(), joined.cells()
    n_bytes = sum(_size_of(table) for table in tables)
    shared = [name for name in obs.columns if all(name in one.groupby for one in every)]
    columns = [describe_column(obs, name, cells) for name in shared]
    targets = find_targets(obs, columns, cells)
    matrix = _matrix_of_tables(manifest, sum(part.bytes for one in every for part in one.parts))
    # Scaled counts say themselves whether they are tested as log1p.
    options, notes = ([], []) if manifest.normalize is not None else fit_tables(matrix)
    changed = [str(source["path"]) for source in manifest.sources if _has_changed(source)]
    if changed:
        notes.append(f"changed since it was counted: {listed(changed)}")
    facts = {
        "groupby": shared,
        "n_groups": manifest.n_groups,
        "n_rows": manifest.n_rows,
        "bytes_per_cell": n_bytes / max(1, manifest.n_cells),
        "parts": sum(len(one.parts) for one in every),
        "sources": [_source(source) for source in manifest.sources],
        "pdex": manifest.pdex,
        "format": manifest.format,
    }
    repeated = manifest.n_genes - joined.genes["gene"].n_unique()
    path = paths[0] if len(paths) == 1 else pattern
    advice = _advice(path or paths, manifest.n_genes, targets, options)
    about = (path, n_bytes, manifest.n_cells, manifest.n_genes, repeated)
    found = Info(*about, [matrix], columns, targets, *advice, notes=notes, tables=facts)
    sources: list[str | None] | None = list(paths) if len(paths) > 1 else None
    return replace(found, sources=sources)


def _size_of(table: Table) -> int:
    """Return the bytes of the files of count tables."""
    manifest = table.manifest
    rest = sum(size_of(table.folder / name) for name in (*manifest.files, MANIFEST))
    return sum(part.bytes for part in manifest.parts) + rest


def _matrix_of_tables(manifest: Manifest, n_bytes: int) -> Facts:
    """Return the facts about the matrix that was counted; its rows take `n_bytes` on disk."""
    values, width = manifest.values, np.dtype(manifest.values["dtype"].lower()).itemsize
    seen = Values(values["least"], values["most"], values["fractional"])
    return {
        "name": manifest.matrix,
        "shape": [manifest.n_cells, manifest.n_genes],
        "layout": "tables",
        "dtype": np.dtype(values["dtype"].lower()).name,
        "stored": manifest.n_rows,
        "filters": ["zstd"],
        "bytes": n_bytes,
        # The group, the value and the number of cells of each row.
        "memory": manifest.n_rows * (4 + width + 4),
        "values": {
            "kind": seen.kind(manifest.log_base),
            # JSON has no infinity.
            "least": max(seen.least, -LARGEST),
            "most": min(seen.most, LARGEST),
        },
    }


def _source(source: Facts) -> Facts:
    """Return path, size and time of a source of count tables."""
    found = {"path": source["path"]}
    if "modified_ns" in source:
        time = datetime.fromtimestamp(source["modified_ns"] // 10**9, timezone.utc)
        found |= {"bytes": source["bytes"], "modified": time.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return found


def _has_changed(source: Facts) -> bool:
    """Return whether a file has another size or time than when it was counted."""
    if source["path"] is None or "bytes" not in source:
        return False
    # If it is gone, there is nothing to compare.
    now = stamp_of(source["path"], whole=True)
    return now is not None and now != (source["bytes"], source["modified_ns"])


def _groups(tables: Facts) -> str:
    """Return how many groups the tables have, and the columns of their labels."""
    *before, last = tables["groupby"]
    by = f"{', '.join(before)} and {last}" if before else last
    return f"{counted(tables['n_groups'], 'group')} by {by}"


def _advice(
    path: str | list[str] | None, n_genes: int, targets: Facts | None, options: list[str]
) -> tuple[Facts | None, str | None, str | None]:
    """Return the size of the result, the command and the call; None without targets."""
    if targets is None:
        return None, None, None
    rows = targets["n_targets"] * n_genes
    command = None if path is None else command_of(path, targets, options)
    return {"rows": rows, "bytes": rows * _ROW}, command, call_of(targets, options, path)
