"""Count tables in place of a matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pdex._io.errors import error_context
from pdex._io.joined import JoinedTables, check_parts
from pdex._io.normalize import Normalization, log_base_of, normalization_of
from pdex._io.source import Source
from pdex._io.tables import Table
from pdex._places import place_of
from pdex._text import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from pdex._io.source import Piece
    from pdex._resources import Resources


@dataclass
class TableSource(Source):
    """Count tables in place of a matrix: the rows of obs are groups of cells."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        kind = self.x.manifest.values["dtype"]
        dtype: np.dtype[Any] = np.dtype(kind.lower())
        return dtype

    def normalize(self, normalization: Normalization | None, *, logged: bool = True) -> None:
        """Take the counts as they were scaled; ValueError if others are asked for."""
        manifest = self.x.manifest
        own = None
        if manifest.normalize is not None:
            own = normalization_of(manifest.normalize, manifest.log1p)
        if normalization not in (None, own):
            held = "counts as they are" if own is None else f"counts scaled to {own.asked}"
            msg = (
                f"{self.titles[0]} holds {held}, and the totals of single cells are not known: "
                "tabulate the screen with normalize="
            )
            raise ValueError(msg)
        super().normalize(own, logged=logged)

    def versions(self) -> list[Any]:
        """Return the hash of each table."""
        x = self.x
        tables = x.tables if isinstance(x, JoinedTables) else [x]
        return [table.manifest.digest() for table in tables]

    def survey(self, threads: int) -> tuple[float, float, bool]:  # noqa: ARG002
        """Return what was seen of the matrix when it was tabulated."""
        values = self.x.manifest.values
        return values["least"], values["most"], values["fractional"]

    def pieces(
        self,
        genes: npt.NDArray[np.uint32],
        resources: Resources,
        progress: Callable[[int], object] | None = None,  # noqa: ARG002 - parts are small
    ) -> Iterator[Piece]:
        """Yield parts, as :meth:`Source.pieces` yields pieces."""
        with error_context(self.path):
            yield from self.x.pieces(genes, resources, self.logged)


@dataclass
class JoinedSource(TableSource):
    """Several folders of count tables as one."""

    #: The absolute paths of the folders.
    folders: list[str] = field(default_factory=list)

    @property
    def matrix_name(self) -> str:
        """Name of the matrix that was counted."""
        name: str = self.x.manifest.matrix
        return name

    @property
    def titles(self) -> list[str]:
        """The path of each folder."""
        return self.folders

    @property
    def parts(self) -> list[str | None]:
        """The path of each folder."""
        return list(self.folders)

    def again(self) -> Any:
        """Return what opens the same folders."""
        return self.folders


def open_tables(paths: Sequence[str], layer: str | None, use_raw: bool) -> TableSource:
    """Return the count tables of one folder, or of several as one; paths are absolute.

    Raises
    ------
    ValueError
        Another matrix than that of the tables is asked for, the tables cannot be added, or parts
        of a screen are missing.
    """
    tables = [Table(place_of(path)) for path in paths]
    for table in tables:
        if use_raw or layer is not None:
            matrix = table.manifest.matrix
            what = f"count tables of {matrix} alone"
            msg = f"{table.folder} holds {what}: leave out layer and use_raw"
            raise ValueError(msg)
    if len(tables) > 1:
        return joined_source(JoinedTables(tables))
    (table,), (path,) = tables, paths
    check_parts([table])
    manifest = table.manifest
    names = table.genes["gene"].to_list()
    where, cells = f"{path}: {manifest.matrix}", table.labels["cells"].to_numpy()
    source = TableSource(table.obs(), table, where, names, path, "genes.parquet", cells=cells)
    source.log_base = log_base_of(manifest.log_base)
    return source


def joined_source(
    joined: JoinedTables,
    names: list[str] | None = None,
    cells: npt.NDArray[np.uint64] | None = None,
) -> JoinedSource:
    """Return several count tables as one source.

    With `names` of the genes and the numbers of cells of the groups, the files that hold them are
    not read, and there are no labels.
    """
    folders = [str(table.folder) for table in joined.tables]
    where = f"{joined.manifest.matrix} of {len(folders)} count tables ({listed(folders, 3)})"
    obs: Any = None
    if names is None or cells is None:
        obs, cells = joined.obs(), joined.cells()
        names = joined.genes["gene"].to_list()
    source = JoinedSource(obs, joined, where, names, None, "genes", cells=cells)
    source.folders = folders
    source.log_base = log_base_of(joined.manifest.log_base)
    return source
