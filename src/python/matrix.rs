//! A matrix of NumPy arrays, checked once, and its views for the engine.

use super::watch::watched;
use super::{borrowed, mismatch};
use crate::engine::pool::Monitor;
use crate::engine::survey::{Survey, survey as survey_of};
use crate::engine::totals::{median, totals as totals_of};
use crate::error::{Error, ErrorKind};
use crate::matrix::counted::{Part, Parts};
use crate::matrix::normalised::{GatherShares, Normalised, Shares};
use crate::matrix::{
    Checked, ColumnMajor, Csc, Csr, GeneMajor, Indices, Indptr, Keyed, RowMajor, Stored, View,
    canonical, check,
};
use crate::stats::unknown;
use numpy::{Element, PyArray1, PyReadonlyArray1, PyUntypedArray, PyUntypedArrayMethods};
use polars::prelude::*;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// The memory layout of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Dense, C order.
    Cells,
    /// Dense, Fortran order.
    Genes,
    Csr,
    Csc,
    /// Rows of a count table.
    Counted,
}

impl Layout {
    fn name(self) -> &'static str {
        match self {
            Self::Cells => "c",
            Self::Genes => "f",
            Self::Csr => "csr",
            Self::Csc => "csc",
            Self::Counted => "counted",
        }
    }

    fn parse(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "c" => Self::Cells,
            "f" => Self::Genes,
            "csr" => Self::Csr,
            "csc" => Self::Csc,
            _ => return Err(unknown("layout", name, &["c", "f", "csr", "csc"])),
        })
    }
}

/// The indices and pointers of a sparse matrix, and the result of their check.
#[derive(Debug)]
struct Compressed {
    indices: Py<PyAny>,
    indptr: Py<PyAny>,
    checked: Checked,
}

impl Compressed {
    /// The same arrays.
    fn shared(&self, py: Python) -> Self {
        let (indices, indptr) = (self.indices.clone_ref(py), self.indptr.clone_ref(py));
        Self { indices, indptr, checked: self.checked }
    }
}

/// How cells are normalised.
#[derive(Debug)]
struct Normalising {
    /// Of all genes of the cells, also where the matrix has only some.
    totals: Py<PyAny>,
    target: f64,
    log: bool,
}

/// A part of a count table: `pdex._io.tables.Rows`.
#[derive(Debug, FromPyObject)]
pub(super) struct Rows {
    /// The number of the first gene.
    pub(super) first: usize,
    /// The rows of gene `first + g` are `starts[g]..starts[g + 1]`.
    pub(super) starts: Py<PyAny>,
    pub(super) groups: Py<PyAny>,
    pub(super) values: Py<PyAny>,
    pub(super) counts: Py<PyAny>,
}

/// A cells x genes matrix, or a groups x genes table of counts, held as one-dimensional arrays.
#[derive(Debug)]
#[pyclass(frozen)]
pub struct Matrix {
    layout: Layout,
    /// The numbers of cells and genes.
    #[pyo3(get)]
    shape: (usize, usize),
    values: Py<PyAny>,
    compressed: Option<Compressed>,
    /// The parts of a count table.
    parts: Vec<Rows>,
    /// Set if values are read as shares of their cells' totals.
    normalising: Option<Normalising>,
}

/// Evaluates `$body` with `$T` bound to the element type of a NumPy array.
macro_rules! with_stored {
    ($array:expr, $T:ident => $body:expr) => {{
        let array = $array;
        with_stored!(@each array, $T, $body, i8, u8, i16, u16, i32, u32, i64, u64, f32, f64);
        Err($crate::python::matrix::not_real(array))
    }};
    (@each $array:ident, $T:ident, $body:expr, $($t:ty),*) => {$(
        if $array.cast::<numpy::PyArray1<$t>>().is_ok() {
            type $T = $t;
            return $body;
        }
    )*};
}

pub(super) use with_stored;

/// The error for an array of another element type.
pub(super) fn not_real(array: &Bound<PyAny>) -> PyErr {
    let dtype = array.cast::<PyUntypedArray>().map(|array| array.dtype().to_string());
    let dtype = dtype.unwrap_or_else(|_| "?".into());
    PyTypeError::new_err(format!(
        "the matrix has dtype {dtype}: expected a real number type of at most 64 bits"
    ))
}

/// A borrowed array of indices or pointers.
enum Integers<'py> {
    U16(PyReadonlyArray1<'py, u16>),
    I32(PyReadonlyArray1<'py, i32>),
    I64(PyReadonlyArray1<'py, i64>),
}

impl<'py> Integers<'py> {
    fn new(array: &Bound<'py, PyAny>, what: &str) -> PyResult<Self> {
        if let Ok(array) = array.extract() {
            return Ok(Self::I32(array));
        }
        if let Ok(array) = array.extract() {
            return Ok(Self::I64(array));
        }
        array.extract().map(Self::U16).map_err(|_| {
            PyTypeError::new_err(format!("{what}: expected an array of uint16, int32 or int64"))
        })
    }

    fn indices(&self) -> PyResult<Indices<'_>> {
        Ok(match self {
            Self::U16(array) => Indices::U16(borrowed(array, "indices")?),
            Self::I32(array) => Indices::I32(borrowed(array, "indices")?),
            Self::I64(array) => Indices::I64(borrowed(array, "indices")?),
        })
    }

    fn indptr(&self) -> PyResult<Indptr<'_>> {
        match self {
            Self::U16(_) => {
                Err(PyTypeError::new_err("indptr: expected an array of int32 or int64"))
            }
            Self::I32(array) => Ok(Indptr::I32(borrowed(array, "indptr")?)),
            Self::I64(array) => Ok(Indptr::I64(borrowed(array, "indptr")?)),
        }
    }
}

/// A computation on a matrix, generic over its value type.
pub(super) trait Visitor {
    type Output;
    fn visit<V: IntoColumn>(self, view: &View<V>) -> PyResult<Self::Output>;
}

/// Value types that a Polars column can hold.
pub(super) trait IntoColumn: Keyed + Stored<Value = Self> + Element {
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

/// The arrays of a sparse matrix after the check: unchanged, or copied in canonical order.
enum Mended<V> {
    AsTheyWere(Checked),
    Copied { values: Vec<V>, indices: Vec<i64>, indptr: Vec<i64>, checked: Checked },
}

#[pymethods]
impl Matrix {
    /// layout: "c", "f", "csr" or "csc". Sparse layouts require indices and indptr, which are
    /// checked. If indices are unsorted or occur twice, the arrays are copied, sorted, and
    /// duplicates summed.
    #[new]
    #[pyo3(signature = (layout, shape, values, indices=None, indptr=None, threads=1))]
    fn new(
        py: Python,
        layout: &str,
        shape: (usize, usize),
        values: &Bound<PyAny>,
        indices: Option<&Bound<PyAny>>,
        indptr: Option<&Bound<PyAny>>,
        threads: usize,
    ) -> PyResult<Self> {
        let layout = Layout::parse(layout)?;
        let sparse = matches!(layout, Layout::Csr | Layout::Csc);
        match (indices, indptr) {
            (Some(indices), Some(indptr)) if sparse => {
                Self::sparse(py, layout, shape, values, (indices, indptr), threads)
            }
            (None, None) if !sparse => {
                let values = values.clone().unbind();
                Ok(Self::of(layout, shape, values, None))
            }
            _ => Err(PyValueError::new_err(format!(
                "layout {:?}: expected indices and indptr for \"csr\" and \"csc\" alone",
                layout.name()
            ))),
        }
    }

    /// A table of (groups, genes): at least one part, all with values of one type.
    #[staticmethod]
    fn counted(py: Python, shape: (usize, usize), parts: Vec<Rows>) -> PyResult<Self> {
        Self::of_parts(py, shape, parts)
    }

    /// The same matrix, whose values are read as (value * target) / total of their cell, in float64; or
    /// as log1p of that. No array is copied. `totals` has one number a cell, over all genes also where
    /// this matrix has only some.
    fn normalised(
        &self,
        py: Python,
        totals: &Bound<PyAny>,
        target: f64,
        log: bool,
    ) -> PyResult<Self> {
        if self.layout == Layout::Counted {
            return Err(Error::from(ErrorKind::NormalisedTable).into());
        }
        if self.normalising.is_some() {
            return Err(PyValueError::new_err("the matrix is normalised already"));
        }
        let normalising = Normalising { totals: totals.clone().unbind(), target, log };
        let n_totals = normalising.shares(py, |shares| Ok(shares.cells()))?;
        if n_totals != self.shape.0 {
            return Err(mismatch("totals of cells", self.shape.0, n_totals));
        }
        let compressed = self.compressed.as_ref().map(|compressed| compressed.shared(py));
        let matrix = Self::of(self.layout, self.shape, self.values.clone_ref(py), compressed);
        Ok(Self { normalising: Some(normalising), ..matrix })
    }

    /// The totals, the target, and whether logarithms are taken, if values are normalised as they are
    /// read; None if they are read as they are stored.
    #[getter]
    fn normalising(&self, py: Python) -> Option<(Py<PyAny>, f64, bool)> {
        self.normalising.as_ref().map(|n| (n.totals.clone_ref(py), n.target, n.log))
    }

    #[getter]
    fn layout(&self) -> &'static str {
        self.layout.name()
    }
    /// The stored values, before they are normalised.
    #[getter]
    fn values(&self, py: Python) -> Py<PyAny> {
        self.values.clone_ref(py)
    }

    /// The genes (CSR) or cells (CSC) of the stored values; None for a dense matrix.
    #[getter]
    fn indices(&self, py: Python) -> Option<Py<PyAny>> {
        self.compressed.as_ref().map(|c| c.indices.clone_ref(py))
    }

    /// The offset of the first entry of each cell (CSR) or gene (CSC); None for a dense matrix.
    #[getter]
    fn indptr(&self, py: Python) -> Option<Py<PyAny>> {
        self.compressed.as_ref().map(|c| c.indptr.clone_ref(py))
    }
}

impl Normalising {
    /// Calls `body` with the checked totals.
    fn shares<T>(&self, py: Python, body: impl FnOnce(Shares) -> PyResult<T>) -> PyResult<T> {
        let totals: PyReadonlyArray1<f64> = self.totals.bind(py).extract().map_err(|_| {
            PyTypeError::new_err("totals: expected a one-dimensional array of float64")
        })?;
        body(Shares::new(borrowed(&totals, "totals")?, self.target, self.log)?)
    }
}

/// Calls the visitor with a view of a matrix that stores one cell after the other.
fn visit_cells<V: IntoColumn, T: Visitor>(
    matrix: impl GatherShares<V>,
    shares: Option<Shares>,
    visitor: T,
) -> PyResult<T::Output> {
    match shares {
        Some(shares) => visitor.visit(&View::cells(Normalised::cells(matrix, shares)?)),
        None => visitor.visit(&View::cells(matrix)),
    }
}

/// Calls the visitor with a view of a matrix that stores one gene after the other.
fn visit_genes<V: IntoColumn, T: Visitor>(
    matrix: impl GeneMajor<V>,
    shares: Option<Shares>,
    visitor: T,
) -> PyResult<T::Output> {
    match shares {
        Some(shares) => visitor.visit(&View::genes(Normalised::genes(matrix, shares)?)),
        None => visitor.visit(&View::genes(matrix)),
    }
}

impl Matrix {
    fn of(
        layout: Layout,
        shape: (usize, usize),
        values: Py<PyAny>,
        compressed: Option<Compressed>,
    ) -> Self {
        Self { layout, shape, values, compressed, parts: Vec::new(), normalising: None }
    }

    /// [`Matrix::counted`].
    pub(super) fn of_parts(py: Python, shape: (usize, usize), parts: Vec<Rows>) -> PyResult<Self> {
        let values = parts.first().map(|part| part.values.clone_ref(py));
        let values = values.ok_or_else(|| mismatch("parts of a table", 1, 0))?;
        Ok(Self { parts, ..Self::of(Layout::Counted, shape, values, None) })
    }

    fn sparse(
        py: Python,
        layout: Layout,
        shape: (usize, usize),
        values: &Bound<PyAny>,
        (indices, indptr): (&Bound<PyAny>, &Bound<PyAny>),
        threads: usize,
    ) -> PyResult<Self> {
        let (outer, inner) = if layout == Layout::Csr { shape } else { (shape.1, shape.0) };
        with_stored!(values, T => {
            let stored = values.extract::<PyReadonlyArray1<T>>()?;
            let stored = borrowed(&stored, "values")?;
            let (i, p) = (Integers::new(indices, "indices")?, Integers::new(indptr, "indptr")?);
            let (i, p) = (i.indices()?, p.indptr()?);
            let mended = watched(py, threads, None, &Monitor::default(), || {
                mend(outer, inner, stored, i, p)
            })?;
            Ok(match mended {
                Mended::AsTheyWere(checked) => {
                    let (indices, indptr) = (indices.clone().unbind(), indptr.clone().unbind());
                    let compressed = Some(Compressed { indices, indptr, checked });
                    let values = values.clone().unbind();
                    Self::of(layout, shape, values, compressed)
                }
                Mended::Copied { values, indices, indptr, checked } => {
                    let indices = PyArray1::from_vec(py, indices).into_any().unbind();
                    let indptr = PyArray1::from_vec(py, indptr).into_any().unbind();
                    let values = PyArray1::from_vec(py, values).into_any().unbind();
                    let compressed = Some(Compressed { indices, indptr, checked });
                    Self::of(layout, shape, values, compressed)
                }
            })
        })
    }

    /// Calls the visitor with a view of the matrix.
    pub(super) fn visit<V: Visitor>(&self, py: Python, visitor: V) -> PyResult<V::Output> {
        let values = self.values.bind(py);
        with_stored!(values, T => {
            if self.layout == Layout::Counted {
                return self.visit_counted::<T, V>(py, visitor);
            }
            let values = values.extract::<PyReadonlyArray1<T>>()?;
            let values = borrowed(&values, "values")?;
            match &self.normalising {
                Some(how) => how.shares(py, |shares| {
                    self.visit_stored(py, values, Some(shares), visitor)
                }),
                None => self.visit_stored(py, values, None, visitor),
            }
        })
    }

    fn visit_counted<T: Stored + Element, V: Visitor>(
        &self,
        py: Python,
        visitor: V,
    ) -> PyResult<V::Output>
    where
        T::Value: IntoColumn,
    {
        let arrays = |rows: &Rows| {
            Ok((
                rows.first,
                rows.starts.bind(py).extract::<PyReadonlyArray1<u64>>()?,
                rows.groups.bind(py).extract::<PyReadonlyArray1<u32>>()?,
                rows.values.bind(py).extract::<PyReadonlyArray1<T>>()?,
                rows.counts.bind(py).extract::<PyReadonlyArray1<u32>>()?,
            ))
        };
        let arrays = self.parts.iter().map(arrays).collect::<PyResult<Vec<_>>>()?;
        let part = arrays.iter().map(|(first, starts, groups, values, counts)| {
            Ok(Part {
                first: *first,
                starts: borrowed(starts, "starts")?,
                groups: borrowed(groups, "groups")?,
                values: borrowed(values, "values")?,
                counts: borrowed(counts, "counts")?,
            })
        });
        let parts = part.collect::<PyResult<Vec<_>>>()?;
        visitor.visit(&View::counted(Parts::new(self.shape, parts)?))
    }

    fn visit_stored<T: Stored, V: Visitor>(
        &self,
        py: Python,
        values: &[T],
        shares: Option<Shares>,
        visitor: V,
    ) -> PyResult<V::Output>
    where
        T::Value: IntoColumn,
    {
        let Some(Compressed { indices, indptr, checked }) = &self.compressed else {
            return match self.layout {
                Layout::Genes => {
                    visit_genes(ColumnMajor::new(self.shape, values)?, shares, visitor)
                }
                _ => visit_cells(RowMajor::new(self.shape, values)?, shares, visitor),
            };
        };
        let indices = Integers::new(indices.bind(py), "indices")?;
        let indptr = Integers::new(indptr.bind(py), "indptr")?;
        let (indices, indptr) = (indices.indices()?, indptr.indptr()?);
        if self.layout == Layout::Csc {
            let matrix = Csc::from_checked(checked, values, indices, indptr)?;
            visit_genes(matrix, shares, visitor)
        } else {
            let matrix = Csr::from_checked(checked, values, indices, indptr)?;
            visit_cells(matrix, shares, visitor)
        }
    }
}

/// Checks sparse arrays, and makes a canonical copy of unsorted ones.
fn mend<T: Stored>(
    outer: usize,
    inner: usize,
    values: &[T],
    indices: Indices,
    indptr: Indptr,
) -> Result<Mended<T::Value>, Error> {
    let checked = check(outer, inner, values.len(), indices, indptr)?;
    if checked.unsorted().is_none() {
        return Ok(Mended::AsTheyWere(checked));
    }
    let copy = canonical(values, indices, indptr);
    let (indices, indptr) = (Indices::I64(&copy.indices), Indptr::I64(&copy.indptr));
    let checked = check(outer, inner, copy.values.len(), indices, indptr)?;
    let (values, indices, indptr) = (copy.values, copy.indices, copy.indptr);
    Ok(Mended::Copied { values, indices, indptr, checked })
}

/// The smallest value (at most 0), the largest value (at least 0), and True if any value has a
/// fractional part above 1e-3.
#[pyfunction]
pub(super) fn survey(py: Python, matrix: &Matrix, threads: usize) -> PyResult<(f64, f64, bool)> {
    struct Look<'py>(Python<'py>, usize);
    impl Visitor for Look<'_> {
        type Output = Survey;

        fn visit<V: IntoColumn>(self, view: &View<V>) -> PyResult<Survey> {
            watched(self.0, self.1, None, &Monitor::default(), || survey_of(view))
        }
    }
    let Survey { least, most, fractional } = matrix.visit(py, Look(py, threads))?;
    Ok((least, most, fractional))
}

/// Each cell's total over all genes of the matrix. NaN, negative and infinite values are errors.
#[pyfunction]
pub(super) fn totals<'py>(
    py: Python<'py>,
    matrix: &Matrix,
    threads: usize,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    struct Sum<'py>(Python<'py>, usize);
    impl Visitor for Sum<'_> {
        type Output = Vec<f64>;

        fn visit<V: IntoColumn>(self, view: &View<V>) -> PyResult<Vec<f64>> {
            watched(self.0, self.1, None, &Monitor::default(), || totals_of(view))
        }
    }
    Ok(PyArray1::from_vec(py, matrix.visit(py, Sum(py, threads))?))
}

/// The median of the totals above 0, to which `normalize="median"` normalises; None if none is.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // made of a Python object
pub(super) fn median_total(totals: PyReadonlyArray1<f64>) -> PyResult<Option<f64>> {
    Ok(median(borrowed(&totals, "totals")?))
}
