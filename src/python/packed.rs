//! Rows of a count table as bytes, and back.

use super::matrix::{IntoColumn, Rows, with_stored};
use super::watch::watched;
use super::{borrowed, mismatch};
use crate::engine::pool::Monitor;
use crate::matrix::Stored;
use crate::tables::pack::{Columns, Unpacked};
use crate::tables::part;
use numpy::{Element, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use rayon::prelude::*;

/// Starts, groups, values and counts.
type Arrays = (Py<PyAny>, Py<PyAny>, Py<PyAny>, Py<PyAny>);

/// The bytes of the rows of some genes. lengths: the number of rows of each gene.
#[pyfunction]
pub(super) fn pack_rows<'py>(
    py: Python<'py>,
    lengths: PyReadonlyArray1<u32>,
    groups: PyReadonlyArray1<u32>,
    values: &Bound<'py, PyAny>,
    counts: PyReadonlyArray1<u32>,
) -> PyResult<Bound<'py, PyBytes>> {
    let lengths = borrowed(&lengths, "lengths")?;
    let (groups, counts) = (borrowed(&groups, "groups")?, borrowed(&counts, "counts")?);
    let rows = lengths.iter().fold(0usize, |sum, &n| sum.saturating_add(n as usize));
    with_stored!(values, T => {
        let values = values.extract::<PyReadonlyArray1<T>>()?;
        let values = borrowed(&values, "values")?;
        for (what, got) in [("groups", groups.len()), ("values", values.len()), ("counts", counts.len())] {
            if got != rows {
                return Err(mismatch(what, rows, got));
            }
        }
        let bytes = py.detach(|| {
            let values: Vec<_> = values.iter().map(|value| value.value()).collect();
            part::write(&Columns { lengths, groups, values: &values, counts })
        })?;
        Ok(PyBytes::new(py, &bytes))
    })
}

/// The rows of each of some parts: starts, groups, values and counts. like: an array of the values'
/// dtype; narrow types are widened, as a matrix widens them.
#[pyfunction]
pub(super) fn unpack_rows(
    py: Python,
    parts: Vec<PyBackedBytes>,
    like: &Bound<PyAny>,
    threads: usize,
) -> PyResult<Vec<Arrays>> {
    with_stored!(like, T => {
        let found = watched(py, threads, None, &Monitor::default(), || {
            parts.par_iter().map(|bytes| part::read::<<T as Stored>::Value>(bytes)).collect()
        })?;
        Ok(arrays(py, found))
    })
}

fn arrays<V: IntoColumn>(py: Python, parts: Vec<Unpacked<V>>) -> Vec<Arrays> {
    let rows = parts.into_iter().map(|part| {
        let Rows { starts, groups, values, counts, .. } = Rows::of(py, 0, part);
        (starts, groups, values, counts)
    });
    rows.collect()
}

impl Rows {
    /// The rows of genes from number `first` on.
    pub(super) fn of<V: Element>(py: Python, first: usize, part: Unpacked<V>) -> Self {
        Self {
            first,
            starts: PyArray1::from_vec(py, part.starts).into_any().unbind(),
            groups: PyArray1::from_vec(py, part.groups).into_any().unbind(),
            values: PyArray1::from_vec(py, part.values).into_any().unbind(),
            counts: PyArray1::from_vec(py, part.counts).into_any().unbind(),
        }
    }
}
