"""Matrices in memory, as one-dimensional arrays that the compiled module borrows.

Only what Rust cannot borrow is copied: strided or unaligned arrays, foreign byte order, half
floats, and unsorted sparse indices. Sparse indices are checked once, by all threads, when the
matrix is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pdex._pdex import Matrix as Matrix

if TYPE_CHECKING:
    import numpy.typing as npt

_READY = frozenset("bBhHiIlLqQfd")


def check_dtype(dtype: np.dtype[Any], where: str) -> None:
    """Raise TypeError unless values of `dtype` are real numbers that can be read exactly."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        msg = (
            f"{where} has dtype {dtype}: expected a real number type of at most 64 bits; "
            "convert it first, for example with .astype(np.float32)"
        )
        raise TypeError(msg)


def native(values: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    """Return `values` as an array of a type that Rust can borrow; as a view, if possible."""
    check_dtype(values.dtype, where)
    if values.dtype.kind == "b":
        return values.view(np.uint8)
    if values.dtype.kind == "f" and values.dtype.itemsize == 2:
        return values.astype(np.float32)
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if values.dtype.char not in _READY:
        values = values.view(f"{values.dtype.kind}{values.dtype.itemsize}")
    return values


def dense(values: npt.NDArray[Any], where: str) -> Matrix:
    """Return a two-dimensional array, in C or Fortran order, as a matrix."""
    if values.ndim != 2:
        msg = f"{where} has {values.ndim} dimensions: expected 2, cells x genes"
        raise ValueError(msg)
    values = native(np.asarray(values), where)
    if values.flags.f_contiguous and not values.flags.c_contiguous:
        return Matrix("f", values.shape, _aligned(values.T.reshape(-1)))
    return Matrix("c", values.shape, _aligned(np.ascontiguousarray(values).reshape(-1)))


def _aligned(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the values as a contiguous array that is aligned for its type."""
    return np.require(values, requirements=["C", "A"])


def _index(indices: npt.NDArray[Any]) -> npt.NDArray[Any]:
    kind = indices.dtype if indices.dtype in (np.uint16, np.int32) else np.int64
    return _aligned(indices.astype(kind, copy=False))


def compressed(
    layout: str,
    shape: tuple[int, int],
    values: npt.NDArray[Any],
    indices: npt.NDArray[Any],
    indptr: npt.NDArray[Any],
    where: str,
    threads: int,
) -> Matrix:
    """Return CSR or CSC arrays as a matrix; they are checked, and copied if they are unsorted."""
    values = _aligned(native(values, where))
    indices = _index(indices)
    indptr = _aligned(indptr if indptr.dtype == np.int32 else indptr.astype(np.int64, copy=False))
    try:
        return Matrix(layout, shape, values, indices, indptr, threads)
    except ValueError as error:
        msg = f"{where} is broken: {error}"
        raise ValueError(msg) from None


def matrix_of(x: Any, where: str, threads: int) -> Matrix:
    """Return any matrix that AnnData keeps in memory as a Matrix; `where` names it in errors."""
    if isinstance(x, np.ma.MaskedArray):
        msg = f"{where} is a masked array; fill it first, for example with .filled(0)"
        raise TypeError(msg)
    if isinstance(x, np.ndarray):
        return dense(x, where)
    layout = getattr(x, "format", None)
    if layout not in ("csr", "csc") and hasattr(x, "tocsr"):
        x, layout = x.tocsr(), "csr"
    if layout in ("csr", "csc"):
        return compressed(layout, x.shape, x.data, x.indices, x.indptr, where, threads)
    if hasattr(x, "to_numpy"):
        return dense(x.to_numpy(), where)
    msg = (
        f"{where} is a {type(x).__module__}.{type(x).__qualname__}: expected a NumPy array or a "
        "SciPy sparse matrix; convert it first"
    )
    raise TypeError(msg)
