"""The compiled module."""

import os
from collections.abc import Callable
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt
import polars as pl

from pdex._engine import Comparison, Finish, Question
from pdex._io.tables import Rows

__all__ = [
    "Chunks",
    "Fold",
    "H5Dataset",
    "H5File",
    "H5Group",
    "Job",
    "Matrix",
    "NotANumberError",
    "NotCountsError",
    "Spill",
    "__version__",
    "benjamini_hochberg",
    "by_resemblance",
    "control_ranks",
    "ipc_metadata",
    "log1p",
    "median_total",
    "pack_rows",
    "pick",
    "set_ipc_metadata",
    "survey",
    "totals",
    "unpack_rows",
]
__version__: str

_Codes: TypeAlias = npt.NDArray[np.uint32]

class NotANumberError(ValueError): ...
class NotCountsError(ValueError): ...

@final
class Chunks:
    @property
    def stored_bytes(self) -> int: ...
    def read(
        self,
        rows: tuple[int, int],
        columns: tuple[int, int],
        into: str,
        threads: int,
        progress: Callable[[int], object] | None = None,
    ) -> npt.NDArray[Any] | None: ...

@final
class H5File:
    def __new__(cls, path: str) -> H5File: ...
    @property
    def root(self) -> H5Group: ...
    @property
    def bytes(self) -> int: ...
    def close(self) -> None: ...

@final
class H5Group:
    @property
    def name(self) -> str: ...
    @property
    def attrs(self) -> dict[str, Any]: ...
    def names(self) -> list[str]: ...
    def get(self, path: str) -> H5Group | H5Dataset | None: ...

@final
class H5Dataset:
    @property
    def name(self) -> str: ...
    @property
    def attrs(self) -> dict[str, Any]: ...
    @property
    def shape(self) -> tuple[int, ...] | None: ...
    @property
    def chunks(self) -> tuple[int, ...] | None: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def kind(self) -> str: ...
    @property
    def filters(self) -> list[tuple[int, str]]: ...
    @property
    def stored(self) -> int: ...
    @property
    def elsewhere(self) -> bool: ...
    def excess(self, n: int | None = None) -> str | None: ...
    def n_written(self) -> int: ...
    def located(self) -> Chunks | None: ...
    def foreign(self) -> tuple[int, str] | None: ...
    def fields(self) -> list[tuple[str, str]]: ...
    def read(
        self,
        rows: tuple[int, int],
        columns: tuple[int, int] = ...,
        field: str | None = None,
    ) -> npt.NDArray[Any]: ...
    def texts(self, field: str | None = None) -> pl.Series: ...

@final
class Fold:
    def __new__(
        cls,
        codes: _Codes,
        n_groups: int,
        genes: _Codes,
        numbers: _Codes,
        fold: str,
        zeros: bool,
        nan: bool,
        threads: int,
        cells: npt.NDArray[np.uint64] | None = None,
    ) -> Fold: ...
    def next(self, matrix: Matrix, rows: int) -> list[list[pl.Series]] | None: ...

@final
class Matrix:
    def __new__(
        cls,
        layout: str,
        shape: tuple[int, int],
        values: npt.NDArray[Any],
        indices: npt.NDArray[Any] | None = None,
        indptr: npt.NDArray[Any] | None = None,
        threads: int = 1,
    ) -> Matrix: ...
    @staticmethod
    def counted(shape: tuple[int, int], parts: list[Rows]) -> Matrix: ...
    def normalised(self, totals: npt.NDArray[np.float64], target: float, log: bool) -> Matrix: ...
    @property
    def normalising(self) -> tuple[npt.NDArray[np.float64], float, bool] | None: ...
    @property
    def layout(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def values(self) -> npt.NDArray[Any]: ...
    @property
    def indices(self) -> npt.NDArray[Any] | None: ...
    @property
    def indptr(self) -> npt.NDArray[Any] | None: ...

@final
class Job:
    def __new__(
        cls,
        comparison: Comparison,
        question: Question,
        n_genes: int,
        threads: int,
    ) -> Job: ...
    def add(
        self, matrix: Matrix, genes: _Codes, progress: Callable[[int], object] | None = None
    ) -> None: ...
    def finish(self, finish: Finish) -> list[pl.Series]: ...
    def measured(self) -> list[str]: ...
    def numbers(self) -> list[pl.Series]: ...
    def complete(
        self,
        numbers: list[npt.NDArray[np.float64]],
        place: tuple[int, int, int],
        finish: Finish,
    ) -> list[pl.Series]: ...

@final
class Spill:
    def __new__(
        cls, path: str, genes: _Codes, cuts: list[int], n_groups: int, threads: int
    ) -> Spill: ...
    def add(
        self,
        matrix: Matrix,
        codes: _Codes,
        fold: str,
        progress: Callable[[int], object] | None = None,
    ) -> None: ...
    def read(self, block: int) -> Matrix: ...
    @property
    def bytes(self) -> int: ...

def pack_rows(
    lengths: npt.NDArray[np.uint32],
    groups: npt.NDArray[np.uint32],
    values: npt.NDArray[Any],
    counts: npt.NDArray[np.uint32],
) -> bytes: ...
def unpack_rows(
    parts: list[bytes], like: npt.NDArray[Any], threads: int
) -> list[
    tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32], npt.NDArray[Any], npt.NDArray[np.uint32]]
]: ...
def pick(
    values: npt.NDArray[Any],
    indices: npt.NDArray[Any],
    genes: tuple[int, int],
    n_genes: int,
    ends: npt.NDArray[np.int64],
    before: npt.NDArray[np.int64],
    values_out: npt.NDArray[Any],
    indices_out: npt.NDArray[Any],
    threads: int,
) -> int: ...
def by_resemblance(wanted: str, labels: list[str]) -> list[int]: ...
def control_ranks(labels: list[str]) -> list[int | None]: ...
def log1p(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]: ...
def ipc_metadata(path: str | os.PathLike[str]) -> list[tuple[str, str]]: ...
def set_ipc_metadata(path: str | os.PathLike[str], pairs: list[tuple[str, str]]) -> None: ...
def median_total(totals: npt.NDArray[np.float64]) -> float | None: ...
def survey(matrix: Matrix, threads: int) -> tuple[float, float, bool]: ...
def totals(matrix: Matrix, threads: int) -> npt.NDArray[np.float64]: ...
def benjamini_hochberg(p: npt.NDArray[np.float64], threads: int = 1) -> npt.NDArray[np.float64]: ...
