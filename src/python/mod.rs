//! The Python module `pdex._pdex`: NumPy views in, columns out.
//!
//! ```text
//! matrix   borrowed arrays of a matrix, checked once, as views for the engine
//! job      a comparison of many targets: matrices in, columns of the result out
//! fold     the genes of a matrix folded to rows of a count table
//! files    windows of HDF5 datasets as NumPy arrays
//! h5ad     files of HDF5: groups, datasets and their attributes
//! ipc      custom metadata of Arrow IPC files
//! packed   rows of a count table as bytes, and back
//! spill    rows of cells that are read one range after another, in a file
//! watch    runs work on the thread pool, with progress and Ctrl-C
//! ```
//!
//! Arrays are borrowed, not copied, except for sparse matrices with unsorted or duplicate indices.
//! Work runs on the process's thread pool with the GIL released, while the calling thread reports
//! progress and checks for Ctrl-C.
//!
//! IMPORTS engine, matrix, stats, readers, h5ad, tables, `crate::{cast, error, suggest}`, polars, pyo3, numpy.

// PyO3 passes borrowed arrays by value.
#![allow(clippy::needless_pass_by_value)]

mod files;
mod fold;
mod h5ad;
mod ipc;
mod job;
mod matrix;
mod packed;
mod spill;
mod watch;

use crate::engine::fdr::adjust_all;
use crate::engine::pool::Monitor;
use crate::error::{Error, ErrorKind};
use crate::stats::special::elementary::ln_1p_in_place;
use crate::suggest;
use numpy::{Element, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;

pyo3::create_exception!(
    _pdex,
    NotANumberError,
    PyValueError,
    "The matrix holds a NaN: args are the message, the cell and the gene."
);

pyo3::create_exception!(
    _pdex,
    NotCountsError,
    PyValueError,
    "Cells cannot be normalised: args are the message, the cell, the gene and its value."
);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::NotANumber { cell, gene } => {
                NotANumberError::new_err((error.to_string(), *cell, *gene))
            }
            ErrorKind::NotACount { cell, gene, got } => {
                NotCountsError::new_err((error.to_string(), *cell, *gene, *got))
            }
            ErrorKind::BrokenChunk { .. }
            | ErrorKind::Unreadable { .. }
            | ErrorKind::NoHdf5 { .. }
            | ErrorKind::UnreadableNode { .. }
            | ErrorKind::Spill { .. } => PyOSError::new_err(format!("{error:#}")),
            ErrorKind::NormalisedTable => PyTypeError::new_err(error.to_string()),
            _ => PyValueError::new_err(format!("{error:#}")),
        }
    }
}

/// A borrowed NumPy array as a slice; `what` names it in errors.
fn borrowed<'a, T: Element>(array: &'a PyReadonlyArray1<T>, what: &str) -> PyResult<&'a [T]> {
    array.as_slice().map_err(|_| {
        PyValueError::new_err(format!(
            "{what}: expected a contiguous, aligned array; copy it first, with .copy()"
        ))
    })
}

fn mismatch(what: &'static str, expected: usize, got: usize) -> PyErr {
    Error::from(ErrorKind::ShapeMismatch { what, expected, got }).into()
}

/// Benjamini-Hochberg adjusted p-values. NaN stays NaN and is not counted.
#[pyfunction]
#[pyo3(signature = (p, threads=1))]
fn benjamini_hochberg<'py>(
    py: Python<'py>,
    p: PyReadonlyArray1<f64>,
    threads: usize,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let p = borrowed(&p, "p")?;
    let adjusted = watch::watched(py, threads, None, &Monitor::default(), || {
        let mut adjusted = vec![0.0; p.len()];
        adjust_all(p, &mut adjusted);
        Ok(adjusted)
    })?;
    Ok(PyArray1::from_vec(py, adjusted))
}

/// ln(1 + x) of each value, as a normalised matrix has it.
#[pyfunction]
fn log1p<'py>(
    py: Python<'py>,
    values: PyReadonlyArray1<f64>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let mut values = borrowed(&values, "values")?.to_vec();
    py.detach(|| ln_1p_in_place(&mut values));
    Ok(PyArray1::from_vec(py, values))
}

/// Indices of the labels: first those similar to `wanted`, then likely controls, then the rest.
#[pyfunction]
fn by_resemblance(wanted: &str, labels: Vec<String>) -> Vec<usize> {
    suggest::order(wanted, &labels)
}

/// The rank of each label as a name of control cells: the smaller, the more certain; None if the
/// label does not look like one.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // made of a Python object
fn control_ranks(labels: Vec<String>) -> Vec<Option<usize>> {
    labels.iter().map(|label| suggest::control_rank(label)).collect()
}

#[pymodule]
fn _pdex(m: &Bound<PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("NotANumberError", m.py().get_type::<NotANumberError>())?;
    m.add("NotCountsError", m.py().get_type::<NotCountsError>())?;
    m.add_class::<matrix::Matrix>()?;
    m.add_class::<job::Job>()?;
    m.add_class::<files::Chunks>()?;
    m.add_class::<h5ad::H5File>()?;
    m.add_class::<h5ad::H5Group>()?;
    m.add_class::<h5ad::H5Dataset>()?;
    m.add_class::<fold::Fold>()?;
    m.add_class::<spill::Spill>()?;
    m.add_function(wrap_pyfunction!(files::pick, m)?)?;
    m.add_function(wrap_pyfunction!(matrix::survey, m)?)?;
    m.add_function(wrap_pyfunction!(matrix::totals, m)?)?;
    m.add_function(wrap_pyfunction!(matrix::median_total, m)?)?;
    m.add_function(wrap_pyfunction!(log1p, m)?)?;
    m.add_function(wrap_pyfunction!(by_resemblance, m)?)?;
    m.add_function(wrap_pyfunction!(control_ranks, m)?)?;
    m.add_function(wrap_pyfunction!(packed::pack_rows, m)?)?;
    m.add_function(wrap_pyfunction!(packed::unpack_rows, m)?)?;
    m.add_function(wrap_pyfunction!(ipc::ipc_metadata, m)?)?;
    m.add_function(wrap_pyfunction!(ipc::set_ipc_metadata, m)?)?;
    m.add_function(wrap_pyfunction!(benjamini_hochberg, m)?)
}
