"""Counts as shares of their cell's total: what ``normalize=`` and ``log1p=`` ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pdex import _pdex
from pdex._validate import flag

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from pdex._io.memory import Matrix
    from pdex._io.source import Source
    from pdex._io.stored import StoredMatrix
    from pdex._resources import Resources

    Totals = npt.NDArray[np.float64]


class Normalization(NamedTuple):
    """How the counts of a cell are scaled to the same total."""

    #: The total; None: the median of the totals.
    target: float | None
    #: Whether log1p of the scaled counts is tested.
    log1p: bool

    @property
    def asked(self) -> float | str:
        """The total as a caller writes it."""
        return "median" if self.target is None else self.target


def normalization_of(normalize: object, log1p: object) -> Normalization | None:
    """Return what the options ask for; None: the values stay as they are.

    Raises
    ------
    ValueError
        `normalize` is neither a total above 0, nor "median", nor None; or ``log1p=False`` comes
        without `normalize`.
    TypeError
        `log1p` is not a bool.
    """
    logged = flag("log1p", log1p)
    if normalize is None:
        if not logged:
            msg = (
                "log1p=False leaves out the logarithm that follows normalize=, which is not given; "
                "values are tested as they are stored"
            )
            raise ValueError(msg)
        return None
    if isinstance(normalize, str) and normalize == "median":
        return Normalization(None, logged)
    number = isinstance(normalize, (int, float, np.integer, np.floating))
    if not number or isinstance(normalize, bool) or not 0 < float(normalize) < np.inf:  # type: ignore[arg-type]
        msg = f"normalize must be a total above 0, such as 1e4, or 'median'; got {normalize!r}"
        raise ValueError(msg)
    return Normalization(float(normalize), logged)  # type: ignore[arg-type]


class Scaler:
    """Scales the counts of a source, once the totals of its cells are known.

    Parameters
    ----------
    source
        Names cells in errors.
    normalization
        What is asked for.
    logged
        Whether the scaled matrices hold logarithms.
    """

    def __init__(self, source: Source, normalization: Normalization, logged: bool) -> None:
        self._source = source
        self.normalization, self.logged = normalization, logged
        self._totals: Totals | None = None
        self._read_later: Callable[[], Totals]

    def prepare(
        self,
        x: StoredMatrix,
        resources: Resources,
        span: tuple[int, int],
        progress: Callable[[int], object] | None = None,
    ) -> tuple[int, int]:
        """Find the totals of a stored matrix, before it is read; return the genes to read.

        A matrix that fits into memory is read at once, so that its totals need no other pass.
        """
        if self._totals is None:
            if x.n_bytes((resources.threads, progress)) <= resources.for_pieces:
                self._read_later = lambda: self.totals(x, resources, progress)
                return 0, x.shape[1]
            self._totals = self.totals(x, resources, progress)
        return span

    def whole(self, matrix: Matrix, threads: int) -> Matrix:
        """Return some genes of all cells, scaled; all genes where totals are not known yet."""
        if self._totals is None:
            if matrix.shape[1] == len(self._source.var_names):
                self._totals = self._total(matrix, threads)
            else:  # it was read in parts nevertheless
                self._totals = self._read_later()
        return matrix.normalised(self._totals, self._target(), self.logged)

    def of_ranges(
        self, x: StoredMatrix, resources: Resources, progress: Callable[[int], object] | None
    ) -> Callable[[int, Matrix], Matrix]:
        """Return a function that scales ranges of cells: called with the first, and the range.

        Totals are found in passing; a median needs them before.
        """
        if self.normalization.target is None and self._totals is None:
            self._totals = self.totals(x, resources, progress)

        def scaled(first: int, matrix: Matrix) -> Matrix:
            if self._totals is None:
                totals = self._total(matrix, resources.threads, first)
            else:
                totals = self._totals[first : first + matrix.shape[0]]
            return matrix.normalised(totals, self._target(), self.logged)

        return scaled

    def _target(self) -> float:
        if self.normalization.target is not None:
            return self.normalization.target
        assert self._totals is not None
        chosen = self._source.chosen
        return median_of(self._totals if chosen is None else self._totals[chosen])

    def totals(
        self,
        x: StoredMatrix,
        resources: Resources,
        progress: Callable[[int], object] | None,
        span: tuple[int, int] | None = None,
    ) -> Totals:
        """Return the total of each cell over all genes, from a pass over the matrix.

        Cells outside `span` (None: all cells are within) may have 0.
        """
        how, budget = (resources.threads, progress), resources.for_pieces
        totals = np.zeros(x.shape[0])
        if x.layout != "csc":
            for first, matrix in x.by_cells(how, budget // 2, span or (0, x.shape[0])):
                totals[first : first + matrix.shape[0]] = self._total(matrix, how[0], first)
            return totals
        for _, _, matrix in x.pieces(how, budget):
            totals += self._total(matrix, how[0])
        return totals

    def _total(self, matrix: Matrix, threads: int, first: int = 0) -> Totals:
        """Return the totals of the cells of a matrix, the first of which has the number `first`."""
        source = self._source
        try:
            return _pdex.totals(matrix, threads)
        except _pdex.NotCountsError as error:
            _, cell, gene, value = error.args
            where, at = source.locate(first + cell, gene)
            msg = (
                f"{where} contains {value:g} ({at}), which is no count, and normalize= takes "
                "counts: choose them with layer or use_raw, or leave out normalize"
            )
            raise ValueError(msg) from None
        except _pdex.NotANumberError as error:
            message, cell, gene = error.args
            raise source.not_a_number(
                _pdex.NotANumberError(message, first + cell, gene), 0
            ) from None


def median_of(totals: Totals) -> float:
    """Return the median of the totals of cells; without any count there is nothing to scale: 1."""
    return _pdex.median_total(totals) or 1.0


def noted_base(uns: Mapping[str, Any]) -> object:
    """Return the base of the logarithm that scanpy recorded in uns; None if it recorded none."""
    noted = uns.get("log1p")
    return noted.get("base") if isinstance(noted, Mapping) else None


def log_base_of(base: object) -> float | None:
    """Return a recorded base of the logarithm; None if it is e, not recorded, or no base."""
    try:
        number = float(base)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 1 else None
