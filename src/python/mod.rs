//! The Python module `pdex._pdex`: NumPy views in, columns out.
//!
//! Arrays are borrowed, never copied; [`canonical_copy`] checks sparse ones once and puts unsorted or
//! duplicated indices in order.  The work runs on a pool of its own with the GIL released; the calling
//! thread watches it, ten times a second: it reports progress and looks for Ctrl-C.
//!
//! IMPORTS engine, matrix, stats, readers, `crate::error`, polars, pyo3, numpy.

// PyO3 hands borrowed arrays over by value.
#![allow(clippy::needless_pass_by_value)]

mod files;
mod job;

use crate::engine::design::{Design, Reference};
use crate::engine::run::{self, Monitor};
use crate::error::{Error, ErrorKind};
use crate::matrix::csc::canonical;
use crate::matrix::csr::{Index, Order, check};
use crate::matrix::{ColumnMajor, Csc, Csr, Matrix, RowMajor, Stored, Value};
use crate::stats::unknown;
use numpy::{Element, PyArray1, PyReadonlyArray1, PyUntypedArray, PyUntypedArrayMethods};
use polars::prelude::*;
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3_polars::PySeries;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

pyo3::create_exception!(
    _pdex,
    NotANumberError,
    PyValueError,
    "The matrix holds a NaN: args are the message, the cell and the gene."
);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::NotANumber { row, gene } => {
                NotANumberError::new_err((error.to_string(), *row, *gene))
            }
            ErrorKind::BrokenChunk { .. } | ErrorKind::Unreadable { .. } => {
                PyOSError::new_err(error.to_string())
            }
            _ => PyValueError::new_err(error.to_string()),
        }
    }
}

/// Runs `work` with the GIL released, on `threads` threads; Ctrl-C cancels it.
fn watched<T: Send>(
    py: Python,
    threads: usize,
    progress: Option<&Bound<PyAny>>,
    monitor: &Monitor,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> PyResult<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| PyValueError::new_err(format!("threads={threads}: {e}")))?;
    let mut interrupt = None;
    let progress: Option<Py<PyAny>> = progress.map(|callback| callback.clone().unbind());
    let result = py.detach(|| {
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let worker = scope.spawn(|| {
                let result = pool.install(work);
                // The receiver waits below until this or the end of the thread.
                drop(sender);
                result
            });
            while receiver.recv_timeout(Duration::from_millis(100))
                == Err::<(), _>(mpsc::RecvTimeoutError::Timeout)
            {
                if interrupt.is_none() {
                    interrupt = look(monitor, progress.as_ref()).err();
                }
            }
            worker.join()
        })
    });
    if let Some(interrupt) = interrupt {
        return Err(interrupt);
    }
    match result {
        Ok(result) => Ok(result?),
        Err(_) => Err(pyo3::exceptions::PyRuntimeError::new_err(
            "a worker thread failed: please report this with the call that caused it",
        )),
    }
}

/// Reports progress and checks for signals; cancels the work where either raises.
fn look(monitor: &Monitor, progress: Option<&Py<PyAny>>) -> PyResult<()> {
    let looked = Python::attach(|py| {
        py.check_signals()?;
        if let Some(callback) = progress {
            callback.call1(py, (monitor.done.load(Ordering::Relaxed),))?;
        }
        Ok(())
    });
    if looked.is_err() {
        monitor.cancel.store(true, Ordering::Relaxed);
    }
    looked
}

/// One borrowed array of a matrix, as a slice.
fn borrowed<'a, T: Element>(array: &'a PyReadonlyArray1<T>, what: &str) -> PyResult<&'a [T]> {
    array.as_slice().map_err(|_| {
        PyValueError::new_err(format!(
            "{what}: expected a contiguous array; use np.ascontiguousarray"
        ))
    })
}

/// What is done with a matrix once its type is known.
trait Visitor {
    type Output;
    fn visit<M: Matrix>(self, matrix: &M) -> PyResult<Self::Output>
    where
        M::Value: IntoColumn;
}

/// Values that a Polars column can hold as they are.
trait IntoColumn: Value + Stored<Value = Self> {
    fn column(values: Vec<Self>) -> Series;
}

macro_rules! into_column {
    ($($value:ty => $type:ty),*) => {$(
        impl IntoColumn for $value {
            fn column(values: Vec<Self>) -> Series {
                ChunkedArray::<$type>::from_vec("value".into(), values).into_series()
            }
        }
    )*};
}

into_column!(f32 => Float32Type, f64 => Float64Type, i64 => Int64Type, u64 => UInt64Type);

/// Calls `$body` with `$T` bound to the element type that a NumPy array holds.
macro_rules! with_stored {
    ($array:expr, $T:ident => $body:expr) => {{
        let array = $array;
        with_stored!(@each array, $T, $body, i8, u8, i16, u16, i32, u32, i64, u64, f32, f64);
        Err(PyTypeError::new_err(format!(
            "the matrix has dtype {}: expected a real number type of at most 64 bits",
            array.cast::<PyUntypedArray>().map_or_else(|_| "?".into(), |a| a.dtype().to_string()),
        )))
    }};
    (@each $array:ident, $T:ident, $body:expr, $($t:ty),*) => {$(
        if $array.cast::<PyArray1<$t>>().is_ok() {
            type $T = $t;
            return $body;
        }
    )*};
}

/// Calls the body with `indices` and `indptr` as slices of the integers that they hold.
macro_rules! with_index {
    ($indices:expr, $indptr:expr, |$i:ident, $p:ident| $body:expr) => {{
        let narrow = $indices.cast::<PyArray1<i32>>().is_ok();
        match (narrow, $indptr.cast::<PyArray1<i32>>().is_ok()) {
            (true, true) => with_index!(@as i32, i32, $indices, $indptr, $i, $p, $body),
            (true, false) => with_index!(@as i32, i64, $indices, $indptr, $i, $p, $body),
            (false, _) if $indices.cast::<PyArray1<u16>>().is_ok() => {
                with_index!(@as u16, i64, $indices, $indptr, $i, $p, $body)
            }
            (false, _) => with_index!(@as i64, i64, $indices, $indptr, $i, $p, $body),
        }
    }};
    (@as $I:ty, $P:ty, $indices:expr, $indptr:expr, $i:ident, $p:ident, $body:expr) => {{
        let indices = $indices.extract::<PyReadonlyArray1<$I>>()?;
        let indptr = $indptr.extract::<PyReadonlyArray1<$P>>()?;
        let ($i, $p) = (borrowed(&indices, "indices")?, borrowed(&indptr, "indptr")?);
        $body
    }};
}

/// A matrix as Python sends it: (layout, shape, values) or (layout, shape, values, indices,
/// indptr), layout "c", "f", "csr" or "csc", every array one-dimensional.
fn with_matrix<V: Visitor>(matrix: &Bound<PyTuple>, visitor: V) -> PyResult<V::Output> {
    let layout: String = matrix.get_item(0)?.extract()?;
    let shape: (usize, usize) = matrix.get_item(1)?.extract()?;
    let values = matrix.get_item(2)?;
    match layout.as_str() {
        "c" | "f" => with_stored!(&values, T => {
            let values = values.extract::<PyReadonlyArray1<T>>()?;
            let values = borrowed(&values, "values")?;
            if layout == "c" {
                visitor.visit(&RowMajor::new(shape, values)?)
            } else {
                visitor.visit(&ColumnMajor::new(shape, values)?)
            }
        }),
        "csr" | "csc" => {
            let rows = layout == "csr";
            let (indices, indptr) = (matrix.get_item(3)?, matrix.get_item(4)?);
            with_stored!(&values, T => sparse::<T, V>(rows, shape, &values, &indices, &indptr, visitor))
        }
        _ => Err(unknown("layout", &layout, &["c", "f", "csr", "csc"]).into()),
    }
}

fn sparse<T: Stored + Element, V: Visitor>(
    rows: bool,
    shape: (usize, usize),
    values: &Bound<PyAny>,
    indices: &Bound<PyAny>,
    indptr: &Bound<PyAny>,
    visitor: V,
) -> PyResult<V::Output>
where
    T::Value: IntoColumn,
{
    let values = values.extract::<PyReadonlyArray1<T>>()?;
    let values = borrowed(&values, "values")?;
    with_index!(indices, indptr, |indices, indptr| {
        compressed(rows, shape, values, indices, indptr, visitor)
    })
}

/// Visits compressed arrays, which [`canonical_copy`] checked when Python first saw them.
fn compressed<T: Stored, I: Index, P: Index, V: Visitor>(
    rows: bool,
    shape: (usize, usize),
    values: &[T],
    indices: &[I],
    indptr: &[P],
    visitor: V,
) -> PyResult<V::Output>
where
    T::Value: IntoColumn,
{
    if rows {
        visitor.visit(&Csr::checked(shape, values, indices, indptr)?)
    } else {
        visitor.visit(&Csc::checked(shape, values, indices, indptr)?)
    }
}

/// (values, indices, indptr) of a canonical copy.
type Mended<'py> = (Bound<'py, PyAny>, Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>);

/// Checks a CSR or CSC matrix; None where its indices ascend, else its arrays in order, entries at
/// one place summed.
#[pyfunction]
fn canonical_copy<'py>(
    py: Python<'py>,
    matrix: &Bound<'py, PyTuple>,
) -> PyResult<Option<Mended<'py>>> {
    let layout: String = matrix.get_item(0)?.extract()?;
    let shape: (usize, usize) = matrix.get_item(1)?.extract()?;
    let (outer, inner) = if layout == "csr" { shape } else { (shape.1, shape.0) };
    let values = matrix.get_item(2)?;
    let (indices, indptr) = (matrix.get_item(3)?, matrix.get_item(4)?);
    with_stored!(&values, T => {
        let values = values.extract::<PyReadonlyArray1<T>>()?;
        let values = borrowed(&values, "values")?;
        with_index!(indices, indptr, |indices, indptr| {
            let order = py.detach(|| check(outer, inner, values.len(), indices, indptr))?;
            if order == Order::Canonical {
                return Ok(None);
            }
            let mended = py.detach(|| canonical(values, indices, indptr));
            Ok(Some((
                PyArray1::from_vec(py, mended.values).into_any(),
                PyArray1::from_vec(py, mended.indices),
                PyArray1::from_vec(py, mended.indptr),
            )))
        })
    })
}

fn design(codes: &PyReadonlyArray1<u32>, n_targets: usize, rest: bool) -> PyResult<Design> {
    let reference = if rest { Reference::Rest } else { Reference::Background };
    Ok(Design::new(borrowed(codes, "codes")?.to_vec(), n_targets, reference)?)
}

/// Whether any stored value has a fractional part above 1e-3.
#[pyfunction]
fn looks_fractional(py: Python, matrix: &Bound<PyTuple>, threads: usize) -> PyResult<bool> {
    struct Look<'py>(Python<'py>, usize);
    impl Visitor for Look<'_> {
        type Output = bool;

        fn visit<M: Matrix>(self, matrix: &M) -> PyResult<bool> {
            watched(self.0, self.1, None, &Monitor::default(), || Ok(run::looks_fractional(matrix)))
        }
    }
    with_matrix(matrix, Look(py, threads))
}

/// The long frame of some genes: columns gene (place in `genes`), target (code - 1), value, count.
#[pyfunction]
fn long(
    py: Python,
    matrix: &Bound<PyTuple>,
    codes: PyReadonlyArray1<u32>,
    n_groups: usize,
    genes: PyReadonlyArray1<u32>,
    zero_rows: bool,
    threads: usize,
) -> PyResult<Vec<PySeries>> {
    struct Melt<'a, 'py> {
        py: Python<'py>,
        design: Design,
        genes: &'a [u32],
        zero_rows: bool,
        threads: usize,
    }
    impl Visitor for Melt<'_, '_> {
        type Output = Vec<PySeries>;

        fn visit<M: Matrix>(self, matrix: &M) -> PyResult<Vec<PySeries>>
        where
            M::Value: IntoColumn,
        {
            let monitor = Monitor::default();
            let mut long = watched(self.py, self.threads, None, &monitor, || {
                run::long(matrix, &self.design, self.genes, self.zero_rows, &monitor)
            })?;
            long.target.iter_mut().for_each(|code| *code -= 1);
            let whole = |name: &str, values| {
                PySeries(UInt32Chunked::from_vec(name.into(), values).into_series())
            };
            Ok(vec![
                whole("gene", long.gene),
                whole("target", long.target),
                PySeries(M::Value::column(long.value)),
                whole("count", long.count),
            ])
        }
    }
    let design = design(&codes, n_groups, true)?;
    let genes = borrowed(&genes, "genes")?;
    with_matrix(matrix, Melt { py, design, genes, zero_rows, threads })
}

/// Benjamini-Hochberg adjusted p-values; NaN stays and is not counted.
#[pyfunction]
fn benjamini_hochberg<'py>(
    py: Python<'py>,
    p: PyReadonlyArray1<f64>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let p = borrowed(&p, "p")?;
    Ok(PyArray1::from_vec(py, crate::stats::adjust::benjamini_hochberg(p)))
}

#[pymodule]
fn _pdex(m: &Bound<PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("NotANumberError", m.py().get_type::<NotANumberError>())?;
    m.add_class::<job::Job>()?;
    m.add_class::<files::Chunks>()?;
    m.add_function(wrap_pyfunction!(files::pick, m)?)?;
    m.add_function(wrap_pyfunction!(canonical_copy, m)?)?;
    m.add_function(wrap_pyfunction!(looks_fractional, m)?)?;
    m.add_function(wrap_pyfunction!(long, m)?)?;
    m.add_function(wrap_pyfunction!(benjamini_hochberg, m)?)
}
