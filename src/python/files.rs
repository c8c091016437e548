//! Windows of HDF5 datasets as NumPy arrays. Python asks the HDF5 library for the addresses of the
//! chunks; [`readers`] reads them.
//!
//! [`readers`]: crate::readers

use super::borrowed;
use super::watch::watched;
use crate::cast::{length, low_half};
use crate::engine::pool::Monitor;
use crate::error::{Error, ErrorKind};
use crate::readers::chunks::{Chunk, Dataset, Watch, Window};
use crate::readers::decode::{Dtype, Target};
use crate::readers::filters::Filter;
use crate::readers::pick::{Picked, Stretch};
use crate::stats::unknown;
use numpy::{Element, PyArray1, PyReadonlyArray1, PyReadwriteArray1};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::fs::File;
use std::path::PathBuf;

/// The layout of an HDF5 dataset in its file.
#[derive(Debug)]
#[pyclass(frozen)]
pub struct Chunks {
    path: PathBuf,
    dataset: Dataset,
}

#[pymethods]
impl Chunks {
    /// chunks: first row, first column, address, size and filter mask of each chunk, as five
    /// arrays.
    #[new]
    #[allow(clippy::type_complexity)] // five arrays of one length
    fn new(
        path: PathBuf,
        dtype: &str,
        shape: (usize, usize),
        chunk: (usize, usize),
        filters: Vec<u32>,
        chunks: (
            PyReadonlyArray1<u64>,
            PyReadonlyArray1<u64>,
            PyReadonlyArray1<u64>,
            PyReadonlyArray1<u64>,
            PyReadonlyArray1<u64>,
        ),
    ) -> PyResult<Self> {
        let dtype = Dtype::parse(dtype).ok_or_else(|| {
            let (column, dtype) = ("array".into(), dtype.into());
            Error::from(ErrorKind::UnsupportedDtype { column, dtype, expected: "a number type" })
        })?;
        let number = |&number: &u32| {
            Filter::of_number(number).ok_or_else(|| {
                let valid = &["1 (deflate)", "2 (shuffle)", "3 (fletcher32)", "32000 (LZF)"];
                Error::from(ErrorKind::UnknownFilter { number, valid })
            })
        };
        let filters = filters.iter().map(number).collect::<Result<_, _>>()?;
        let (rows, columns) = (borrowed(&chunks.0, "rows")?, borrowed(&chunks.1, "columns")?);
        let (addresses, sizes) = (borrowed(&chunks.2, "addresses")?, borrowed(&chunks.3, "sizes")?);
        let masks = borrowed(&chunks.4, "masks")?;
        let places = rows.iter().zip(columns).zip(addresses.iter().zip(sizes)).zip(masks);
        let chunks = places.map(|(((&row, &column), (&address, &size)), &mask)| Chunk {
            row: length(row),
            column: length(column),
            address,
            size,
            mask: low_half(mask),
        });
        let chunks = chunks.collect();
        Ok(Self { path, dataset: Dataset { dtype, shape, chunk, filters, chunks } })
    }

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
        let file = File::open(&self.path)
            .map_err(|e| PyOSError::new_err(format!("{}: {e}", self.path.display())))?;
        let monitor = Monitor::default();
        let watch = Watch { bytes: &monitor.done, cancel: &monitor.cancel };
        let values = watched(py, threads, progress, &monitor, || {
            self.dataset.read::<T>(&file, window, &watch)
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
