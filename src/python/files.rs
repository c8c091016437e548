//! Windows of HDF5 datasets as NumPy arrays: Python asks HDF5 where the chunks lie, [`readers`]
//! reads them.
//!
//! [`readers`]: crate::readers

use super::{borrowed, watched};
use crate::engine::run::Monitor;
use crate::error::{Error, ErrorKind};
use crate::readers::chunks::{Chunk, Dataset, Watch, Window};
use crate::readers::decode::{Dtype, Target};
use crate::readers::filters::Filter;
use crate::stats::unknown;
use numpy::{Element, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::fs::File;
use std::path::PathBuf;

/// A dataset as it lies in its file.
#[derive(Debug)]
#[pyclass(frozen)]
pub struct Chunks {
    path: PathBuf,
    dataset: Dataset,
}

#[pymethods]
impl Chunks {
    /// chunks: first row, first column, address and size of each chunk, and its filter mask.
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
                let known = &["1 (deflate)", "2 (shuffle)", "3 (fletcher32)", "32000 (LZF)"];
                unknown("filter", &number.to_string(), known)
            })
        };
        let filters = filters.iter().map(number).collect::<Result<_, _>>()?;
        let (rows, columns) = (borrowed(&chunks.0, "rows")?, borrowed(&chunks.1, "columns")?);
        let (addresses, sizes) = (borrowed(&chunks.2, "addresses")?, borrowed(&chunks.3, "sizes")?);
        let masks = borrowed(&chunks.4, "masks")?;
        let places = rows.iter().zip(columns).zip(addresses.iter().zip(sizes)).zip(masks);
        let chunks = places.map(|(((&row, &column), (&address, &size)), &mask)| Chunk {
            row: row as usize,
            column: column as usize,
            address,
            size,
            mask: mask as u32,
        });
        let chunks = chunks.collect();
        Ok(Self { path, dataset: Dataset { dtype, shape, chunk, filters, chunks } })
    }

    /// Bytes of all chunks in the file.
    #[getter]
    fn stored_bytes(&self) -> u64 {
        self.dataset.chunks.iter().map(|chunk| chunk.size).sum()
    }

    /// The window's numbers as `into` ("u1", "f4", ...), row after row; None where one does not fit.
    /// `progress` is called with the bytes of the file read so far.
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
