//! Files of HDF5 for Python: groups, datasets and their attributes.

use super::files::Chunks;
use crate::h5ad::{Attribute, Dataset, File, Group, Kind, Node, Numbers};
use numpy::{PyArray1, PyArrayDescr};
use polars::prelude::{ChunkedArray, NewChunkedArray, StringType};
use polars::series::IntoSeries;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3_polars::PySeries;
use std::path::PathBuf;

/// The attributes that AnnData writes.
const ATTRIBUTES: [&str; 9] = [
    "encoding-type",
    "encoding-version",
    "_index",
    "column-order",
    "ordered",
    "categories",
    "shape",
    "h5sparse_format",
    "h5sparse_shape",
];

/// A file of HDF5 that is open for reading.
#[derive(Debug)]
#[pyclass(frozen)]
pub struct H5File(File);

#[pymethods]
impl H5File {
    #[new]
    fn new(py: Python, path: PathBuf) -> PyResult<Self> {
        Ok(Self(py.detach(|| File::open(&path))?))
    }

    /// The root group.
    #[getter]
    fn root(&self) -> H5Group {
        H5Group(self.0.root())
    }

    /// The size of the open file now, in bytes, even if its path leads elsewhere.
    #[getter]
    fn bytes(&self) -> PyResult<u64> {
        Ok(self.0.bytes()?)
    }

    /// Closes the file; groups and datasets of it cannot be read any more.
    fn close(&self, py: Python) {
        // A read that is under way ends first.
        py.detach(|| self.0.close());
    }
}

/// A group in a file.
#[derive(Debug)]
#[pyclass(frozen)]
pub struct H5Group(Group);

#[pymethods]
impl H5Group {
    /// Its full name in the file.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// Those of its attributes that AnnData writes.
    #[getter]
    fn attrs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        attributes(py, |name| self.0.attribute(name))
    }

    /// The names of its members, sorted.
    fn names(&self) -> PyResult<Vec<String>> {
        Ok(self.0.names()?)
    }

    /// A member, or a member of a member, such as "layers/counts"; None if there is none.
    fn get<'py>(&self, py: Python<'py>, path: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.0.get(path)? {
            None => Ok(None),
            Some(Node::Group(group)) => Ok(Some(Bound::new(py, H5Group(group))?.into_any())),
            Some(Node::Dataset(dataset)) => {
                Ok(Some(Bound::new(py, H5Dataset(*dataset))?.into_any()))
            }
        }
    }
}

/// A dataset in a file.
#[derive(Debug)]
#[pyclass(frozen)]
pub struct H5Dataset(Dataset);

#[pymethods]
impl H5Dataset {
    /// Its full name in the file.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// Those of its attributes that AnnData writes.
    #[getter]
    fn attrs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        attributes(py, |name| self.0.attribute(name))
    }

    /// Its lengths: () for a scalar, None without a value.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.0.shape.as_ref().map(|shape| PyTuple::new(py, shape)).transpose()
    }

    /// The lengths of its chunks; None without chunks.
    #[getter]
    fn chunks<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.0.chunk.as_ref().map(|chunk| PyTuple::new(py, chunk)).transpose()
    }

    /// The type of its values: of texts and lists object, of records and what NumPy does not have
    /// bytes.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArrayDescr>> {
        let name = match self.0.values.kind {
            Kind::Number(number) => number.name(),
            Kind::Complex => {
                format!("c{}", self.0.values.itemsize.max(8).next_power_of_two().min(16))
            }
            Kind::LongFloat => "longdouble".to_owned(),
            Kind::Text | Kind::Lists => "O".to_owned(),
            Kind::Records | Kind::Other => format!("V{}", self.0.values.itemsize),
        };
        PyArrayDescr::new(py, name)
    }

    /// What its values are: "number", "text", "complex", "records", "lists" or "other".
    #[getter]
    fn kind(&self) -> &'static str {
        word(self.0.values.kind)
    }

    /// The numbers and names of its filters.
    #[getter]
    fn filters(&self) -> Vec<(u32, String)> {
        self.0.filters.clone()
    }

    /// The bytes that are stored in the file.
    #[getter]
    fn stored(&self) -> u64 {
        self.0.stored
    }

    /// Whether it lies in other files, too: it is virtual, or external.
    #[getter]
    fn elsewhere(&self) -> bool {
        self.0.elsewhere
    }

    /// What it claims beyond what its stored bytes can hold, or None: by a chunk, or by its first n
    /// values (None: by all).
    #[pyo3(signature = (n=None))]
    fn excess(&self, n: Option<u64>) -> Option<String> {
        self.0.excess(n)
    }

    /// How many of its first values, at most, were ever written.
    fn n_written(&self) -> u64 {
        self.0.n_written()
    }

    /// Where its numbers lie; None if `read` must read them.
    fn located(&self) -> Option<Chunks> {
        self.0.located().map(|(file, dataset)| Chunks::new(file, dataset))
    }

    /// The number and name of a filter that is not undone here; None if there is none.
    fn foreign(&self) -> Option<(u32, String)> {
        self.0.foreign().cloned()
    }

    /// The fields of records: a name, and what `kind` says of its values.
    fn fields(&self) -> PyResult<Vec<(String, &'static str)>> {
        let fields = self.0.fields().map_err(|said| self.failed(&said))?;
        let boolean = |kind| matches!(kind, Kind::Number(number) if number.code == 'b');
        let named = |(name, kind)| (name, if boolean(kind) { "boolean" } else { word(kind) });
        Ok(fields.into_iter().map(named).collect())
    }

    /// Reads a window of numbers, or of a field of records, row after row; columns count in two
    /// dimensions only.
    #[pyo3(signature = (rows, columns=(0, 1), field=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        rows: (u64, u64),
        columns: (u64, u64),
        field: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let values = py.detach(|| {
            let (rows, columns) = (rows.0..rows.1, columns.0..columns.1);
            match field {
                None => self.0.read(&self.0.values, rows, columns),
                Some(field) => self.0.read(&self.0.field(field)?, rows, columns),
            }
        });
        macro_rules! array {
            ($values:expr, $($case:ident)*) => {
                match $values {
                    $(Numbers::$case(values) => PyArray1::from_vec(py, values).into_any(),)*
                }
            };
        }
        let values = values.map_err(|said| self.failed(&said))?;
        Ok(array!(values, I8 U8 I16 U16 I32 U32 I64 U64 F32 F64))
    }

    /// Reads its texts, or those of a field of records.
    #[pyo3(signature = (field=None))]
    fn texts(&self, py: Python, field: Option<&str>) -> PyResult<PySeries> {
        if let Some(problem) = self.0.excess(None) {
            return Err(self.failed(&problem));
        }
        let mut stopped = None;
        let texts = py.detach(|| {
            let look = || {
                let signals = |py: Python| py.check_signals();
                stopped = Python::attach(signals).err();
                if stopped.is_some() { Err(String::new()) } else { Ok(()) }
            };
            match field {
                None => self.0.texts(&self.0.values, look),
                Some(field) => self.0.texts(&self.0.field(field)?, look),
            }
        });
        if let Some(interrupt) = stopped {
            return Err(interrupt);
        }
        let texts = texts.map_err(|said| self.failed(&said))?;
        let column = ChunkedArray::<StringType>::from_iter_values("".into(), texts.iter());
        Ok(PySeries(column.into_series()))
    }
}

impl H5Dataset {
    fn failed(&self, problem: &str) -> PyErr {
        PyOSError::new_err(format!("dataset '{}' cannot be read: {problem}", self.0.name))
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Number(_) => "number",
        Kind::Text => "text",
        Kind::Complex => "complex",
        Kind::Records => "records",
        Kind::LongFloat => "long double",
        Kind::Lists => "lists",
        Kind::Other => "other",
    }
}

/// Those of AnnData's attributes that a group or dataset has.
fn attributes(
    py: Python<'_>,
    get: impl Fn(&str) -> crate::error::Result<Option<Attribute>>,
) -> PyResult<Bound<'_, PyDict>> {
    let found = PyDict::new(py);
    for name in ATTRIBUTES {
        match get(name)? {
            None => Ok(()),
            Some(Attribute::Text(text) | Attribute::Reference(text)) => found.set_item(name, text),
            Some(Attribute::Texts(texts)) => found.set_item(name, texts),
            Some(Attribute::Numbers(numbers, true)) => found.set_item(name, numbers.first()),
            Some(Attribute::Numbers(numbers, false)) => found.set_item(name, numbers),
            Some(Attribute::Lists | Attribute::Other) => found.set_item(name, py.None()),
        }?;
    }
    Ok(found)
}
