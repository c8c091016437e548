//! Windows of HDF5 datasets as NumPy arrays. [`h5ad`](super::h5ad) finds the chunks; [`readers`] reads
//! them.
//!
//! [`readers`]: crate::readers

use super::borrowed;
use super::watch::watched;
use crate::engine::pool::Monitor;
use crate::error::{Error, ErrorKind};
use crate::h5ad::Handle;
use crate::readers::chunks::{Dataset, Watch, Window};
use crate::readers::decode::Target;
use crate::readers::pick::{Picked, Stretch};
use crate::stats::unknown;
use numpy::{Element, PyArray1, PyReadonlyArray1, PyReadwriteArray1};
use pyo3::prelude::*;
use std::sync::Arc;

/// The layout of an HDF5 dataset in its file.
#[derive(Debug)]
#[pyclass(frozen)]
pub struct Chunks {
    file: Arc<Handle>,
    dataset: Dataset,
}

impl Chunks {
    /// A dataset in an open file.
    pub fn new(file: Arc<Handle>, dataset: Dataset) -> Self {
        Self { file, dataset }
    }
}

#[pymethods]
impl Chunks {
    /// The size in bytes of all chunks in the file.
    #[getter]
    fn stored_bytes(&self) -> u64 {
        self.dataset.chunks.iter().map(|chunk| chunk.size).sum()
    }

    /// Reads a window as numbers of type `into` ("u1", "f4", ...), row after row; None if a number
    /// does not fit. `progress` is called with the number of bytes read from the file so far.
    #[pyo3(signature = (rows, columns, into, threads, progress=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        rows: (usize, usize),
        columns: (usize, usize),
        into: &str,
        threads: usize,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let how = (threads, progress);
        let window = Window { rows: rows.0..rows.1, columns: columns.0..columns.1 };
        match into {
            "u1" => self.window::<u8>(py, &window, how),
            "i1" => self.window::<i8>(py, &window, how),
            "u2" => self.window::<u16>(py, &window, how),
            "i2" => self.window::<i16>(py, &window, how),
            "u4" => self.window::<u32>(py, &window, how),
            "i4" => self.window::<i32>(py, &window, how),
            "u8" => self.window::<u64>(py, &window, how),
            "i8" => self.window::<i64>(py, &window, how),
            "f4" => self.window::<f32>(py, &window, how),
            "f8" => self.window::<f64>(py, &window, how),
            _ => {
                let known = &["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"];
                Err(unknown("into", into, known).into())
            }
        }
    }
}

impl Chunks {
    fn window<'py, T: Target + Element>(
        &self,
        py: Python<'py>,
        window: &Window,
        (threads, progress): (usize, Option<&Bound<'py, PyAny>>),
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let monitor = Monitor::default();
        let watch = Watch { bytes: &monitor.done, cancel: &monitor.cancel };
        let values = watched(py, threads, progress, &monitor, || {
            let read = |file: &_| self.dataset.read::<T>(file, window, &watch);
            self.file
                .with(read)
                .map_err(|cause| ErrorKind::Unreadable { chunk: 0 }.caused_by(cause))?
        })?;
        Ok(values.map(|values| PyArray1::from_vec(py, values).into_any()))
    }
}

/// Picks the entries of genes `genes.0..genes.1` from a stretch of a row-major matrix;
/// returns their number.
///
/// values: the bits of each value as an unsigned integer of 1, 2, 4 or 8 bytes; ends: offsets in
/// the stretch at which rows end; before: receives, for each end, the number of entries picked up
/// to it. values_out and indices_out must be long enough for all picked entries.
#[pyfunction]
#[allow(clippy::too_many_arguments)] // arrays in, arrays out
pub fn pick(
    py: Python,
    values: &Bound<PyAny>,
    indices: &Bound<PyAny>,
    genes: (i64, i64),
    n_genes: usize,
    ends: PyReadonlyArray1<i64>,
    before: PyReadwriteArray1<i64>,
    values_out: &Bound<PyAny>,
    indices_out: &Bound<PyAny>,
    threads: usize,
) -> PyResult<usize> {
    let mut before = before;
    macro_rules! by_index {
        ($v:ty, $($i:ty),*) => {$(
            if let Ok(indices) = indices.extract::<PyReadonlyArray1<$i>>() {
                let values = values.extract::<PyReadonlyArray1<$v>>()?;
                let (values, indices) = (borrowed(&values, "values")?, borrowed(&indices, "indices")?);
                let mut values_out = values_out.extract::<PyReadwriteArray1<$v>>()?;
                let mut indices_out = indices_out.extract::<PyReadwriteArray1<$i>>()?;
                let out = Picked {
                    values: values_out.as_slice_mut()?,
                    indices: indices_out.as_slice_mut()?,
                    before: before.as_slice_mut()?,
                };
                let stretch = Stretch { values, indices, ends: borrowed(&ends, "ends")? };
                return watched(py, threads, None, &Monitor::default(), || {
                    stretch.pick(genes.0..genes.1, n_genes, out)
                });
            }
        )*};
    }
    macro_rules! by_value {
        ($($v:ty),*) => {$(
            if values.extract::<PyReadonlyArray1<$v>>().is_ok() {
                by_index!($v, u16, i32, i64);
            }
        )*};
    }
    by_value!(u8, u16, u32, u64);
    let dtype = |array: &Bound<PyAny>| array.getattr("dtype").map(|dtype| dtype.to_string());
    let (column, dtype) =
        ("values or indices".into(), format!("{} and {}", dtype(values)?, dtype(indices)?));
    let expected = "unsigned values, and indices that are uint16, int32 or int64";
    Err(Error::from(ErrorKind::UnsupportedDtype { column, dtype, expected }).into())
}
