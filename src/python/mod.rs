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

use crate::engine::design::{Design, Reference};
use crate::engine::question::{Scale, Test};
use crate::engine::run::{self, Monitor, Plan};
use crate::engine::table::{self, Family, Table};
use crate::error::{Error, ErrorKind};
use crate::matrix::csc::canonical;
use crate::matrix::csr::{Index, Order, check};
use crate::matrix::{ColumnMajor, Csc, Csr, Matrix, RowMajor, Stored, Value};
use crate::stats::exact::{self, NullTables};
use crate::stats::ttest::Variance;
use crate::stats::wilcoxon::Method;
use crate::stats::{anderson, ttest, unknown, wilcoxon};
use numpy::{Element, PyArray1, PyReadonlyArray1, PyUntypedArray, PyUntypedArrayMethods};
use polars::prelude::*;
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3_polars::PySeries;
use std::ops::Range;
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

/// One option of a test, or the error that names it.
fn option<'py, T: FromPyObjectOwned<'py>>(options: &Bound<'py, PyDict>, name: &str) -> PyResult<T> {
    let missing = || PyTypeError::new_err(format!("missing option {name:?}"));
    let value = options.get_item(name)?.ok_or_else(missing)?;
    value.extract::<T>().map_err(|e| {
        let e: PyErr = e.into();
        PyTypeError::new_err(format!("{name}={value}: {e}"))
    })
}

fn test(name: &str, options: &Bound<PyDict>) -> PyResult<Test> {
    let text = |name| option::<String>(options, name);
    let flag = |name| option::<bool>(options, name);
    Ok(match name {
        "wilcoxon" => Test::Wilcoxon(wilcoxon::Options {
            alternative: text("alternative")?.parse()?,
            method: text("method")?.parse()?,
            continuity: flag("continuity")?,
            tie_correct: flag("tie_correct")?,
        }),
        "anderson" => Test::Anderson(anderson::Options {
            midrank: flag("midrank")?,
            p_value: text("p_value")?.parse()?,
        }),
        "ttest" => Test::TTest(ttest::Options {
            alternative: text("alternative")?.parse()?,
            variance: match (flag("equal_var")?, flag("overestim_var")?) {
                (false, true) => Variance::Overestimated,
                (equal_var, _) => Variance::of(equal_var),
            },
        }),
        _ => return Err(unknown("test", name, &["wilcoxon", "anderson", "ttest"]).into()),
    })
}

fn scale(name: &str) -> PyResult<Scale> {
    Ok(match name {
        "plain" => Scale::Plain,
        "mean_of_expm1" => Scale::MeanOfExpm1,
        "expm1_of_mean" => Scale::Expm1OfMean,
        "geometric" => Scale::Geometric,
        _ => {
            let valid = &["plain", "mean_of_expm1", "expm1_of_mean", "geometric"];
            return Err(unknown("scale", name, valid).into());
        }
    })
}

fn design(codes: &PyReadonlyArray1<u32>, n_targets: usize, rest: bool) -> PyResult<Design> {
    let reference = if rest { Reference::Rest } else { Reference::Background };
    Ok(Design::new(borrowed(codes, "codes")?.to_vec(), n_targets, reference)?)
}

/// A whole job, fed with one matrix or with pieces of it, genes ascending.
#[pyclass]
struct Job {
    design: Design,
    test: Test,
    extras: usize,
    scale: Scale,
    threads: usize,
    tables: NullTables,
    table: Table,
    done: usize,
}

#[pymethods]
impl Job {
    /// codes: one a cell, 0 the background, 1 to n_targets the targets, 2**32 - 1 left out.
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        codes: PyReadonlyArray1<u32>,
        n_targets: usize,
        rest: bool,
        n_genes: usize,
        test_name: &str,
        options: &Bound<PyDict>,
        scale_name: &str,
        threads: usize,
    ) -> PyResult<Self> {
        let (design, test) = (design(&codes, n_targets, rest)?, test(test_name, options)?);
        if let Test::Wilcoxon(wilcoxon::Options { method: Method::Exact, .. }) = test {
            for (n1, n2) in (0..n_targets).map(|t| design.pair(t)) {
                if !exact::feasible(n1, n2) {
                    return Err(Error::from(ErrorKind::ExactTooLarge { n1, n2 }).into());
                }
            }
        }
        let extras = match test {
            Test::Wilcoxon(_) => 2,
            Test::Anderson(_) => 0,
            Test::TTest(_) => 1,
        };
        Ok(Self {
            table: Table::new(n_targets, n_genes, extras),
            design,
            test,
            extras,
            scale: scale(scale_name)?,
            threads,
            tables: NullTables::default(),
            done: 0,
        })
    }

    /// Tests `genes` (columns of this piece, ascending); progress is called with the genes done.
    #[pyo3(signature = (matrix, genes, progress=None))]
    fn add(
        &mut self,
        py: Python,
        matrix: &Bound<PyTuple>,
        genes: PyReadonlyArray1<u32>,
        progress: Option<&Bound<PyAny>>,
    ) -> PyResult<()> {
        let genes = borrowed(&genes, "genes")?;
        let first = self.done;
        if first + genes.len() > self.table.n_genes() {
            let (expected, got) = (self.table.n_genes(), first + genes.len());
            return Err(
                Error::from(ErrorKind::ShapeMismatch { what: "genes", expected, got }).into()
            );
        }
        let monitor = Monitor::default();
        monitor.done.store(first, Ordering::Relaxed);
        with_matrix(matrix, Add { job: self, py, genes, first, monitor, progress })?;
        self.done += genes.len();
        Ok(())
    }

    /// The columns after `target` and `feature`, in order, by name.
    fn finish(&mut self, py: Python, pseudocount: f64, fdr: &str) -> PyResult<Vec<PySeries>> {
        let table = std::mem::take(&mut self.table);
        self.columns(py, table, 0..self.design.n_targets(), pseudocount, fdr.parse()?)
    }

    /// The numbers that [`Job::complete`] makes those columns of, for all targets and genes.
    fn numbers(&mut self) -> Vec<PySeries> {
        let columns = std::mem::take(&mut self.table).into_columns();
        columns.into_iter().map(|values| PySeries(real("", values))).collect()
    }

    /// What `finish` would return for targets `first..last` and all `n_genes` genes, from their
    /// numbers.
    fn complete(
        &self,
        py: Python,
        numbers: Vec<PyReadonlyArray1<f64>>,
        place: (usize, usize, usize),
        pseudocount: f64,
    ) -> PyResult<Vec<PySeries>> {
        let (first, last, n_genes) = place;
        let copied = |values| borrowed(values, "numbers").map(<[f64]>::to_vec);
        let columns = numbers.iter().map(copied).collect::<PyResult<Vec<_>>>()?;
        let table = Table::of_columns(n_genes, columns)?;
        let (expected, got) = ((last - first) * n_genes, table.p_value.len());
        if last > self.design.n_targets() || expected != got {
            return Err(
                Error::from(ErrorKind::ShapeMismatch { what: "numbers", expected, got }).into()
            );
        }
        self.columns(py, table, first..last, pseudocount, Family::Target)
    }
}

impl Job {
    fn columns(
        &self,
        py: Python,
        table: Table,
        targets: Range<usize>,
        pseudocount: f64,
        family: Family,
    ) -> PyResult<Vec<PySeries>> {
        let (n_target, n_reference, derived) =
            watched(py, self.threads, None, &Monitor::default(), || {
                let (n_target, n_reference) = table::sizes(&self.design, targets, table.n_genes());
                Ok((n_target, n_reference, table.finish(pseudocount, family)))
            })?;
        let whole = |name: &str, values| UInt32Chunked::from_vec(name.into(), values).into_series();
        let mut columns = vec![
            whole("n_target", n_target),
            whole("n_reference", n_reference),
            real("target_mean", table.target_mean),
            real("reference_mean", table.reference_mean),
            real("log2_fold_change", derived.log2_fold_change),
            real("percent_change", derived.percent_change),
            real("statistic", table.statistic),
            real("p_value", table.p_value),
            real("neg_log10_p", table.neg_log10_p),
            real("fdr", derived.fdr),
        ];
        let names: &[&str] = match self.test {
            Test::Wilcoxon(_) => &["z_score", "auroc"],
            Test::Anderson(_) => &[],
            Test::TTest(_) => &["df"],
        };
        let extras = names.iter().zip(table.extra).take(self.extras);
        columns.extend(extras.map(|(name, values)| real(name, values)));
        Ok(columns.into_iter().map(PySeries).collect())
    }
}

fn real(name: &str, values: Vec<f64>) -> Series {
    Float64Chunked::from_vec(name.into(), values).into_series()
}

struct Add<'a, 'py> {
    job: &'a mut Job,
    py: Python<'py>,
    genes: &'a [u32],
    first: usize,
    monitor: Monitor,
    progress: Option<&'a Bound<'py, PyAny>>,
}

impl Visitor for Add<'_, '_> {
    type Output = ();

    fn visit<M: Matrix>(self, matrix: &M) -> PyResult<()> {
        let Job { design, test, scale, threads, tables, table, .. } = self.job;
        let plan = Plan { design, test: *test, scale: *scale, genes: self.genes };
        let (first, monitor) = (self.first, &self.monitor);
        watched(self.py, *threads, self.progress, monitor, || {
            run::run(matrix, &plan, tables, monitor, table, first)
        })
    }
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
    m.add_class::<Job>()?;
    m.add_class::<files::Chunks>()?;
    m.add_function(wrap_pyfunction!(files::pick, m)?)?;
    m.add_function(wrap_pyfunction!(canonical_copy, m)?)?;
    m.add_function(wrap_pyfunction!(looks_fractional, m)?)?;
    m.add_function(wrap_pyfunction!(long, m)?)?;
    m.add_function(wrap_pyfunction!(benjamini_hochberg, m)?)
}
