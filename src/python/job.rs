//! A whole job: matrices in, the result's columns out.

use super::{Visitor, borrowed, design, watched, with_matrix};
use crate::engine::design::Design;
use crate::engine::question::{Scale, Test};
use crate::engine::run::{self, Monitor, Plan};
use crate::engine::table::{self, Family, Table};
use crate::error::{Error, ErrorKind};
use crate::matrix::Matrix;
use crate::stats::exact::{self, NullTables};
use crate::stats::ttest::Variance;
use crate::stats::wilcoxon::Method;
use crate::stats::{anderson, ttest, unknown, wilcoxon};
use numpy::PyReadonlyArray1;
use polars::prelude::*;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3_polars::PySeries;
use std::ops::Range;
use std::sync::atomic::Ordering;

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

/// A whole job, fed with one matrix or with pieces of it, genes ascending.
#[pyclass]
pub(super) struct Job {
    design: Design,
    test: Test,
    auroc: bool,
    scale: Scale,
    threads: usize,
    tables: NullTables,
    table: Table,
    done: usize,
}

#[pymethods]
impl Job {
    /// codes: one a cell, 0 the background, 1 to n_targets the targets, 2**32 - 1 left out.
    /// strata: one a cell, 2**32 - 1 left out, and their number.
    #[new]
    #[pyo3(signature = (
        codes, n_targets, rest, n_genes, test_name, options, scale_name, threads, strata=None,
        auroc=false
    ))]
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
        strata: Option<(PyReadonlyArray1<u32>, usize)>,
        auroc: bool,
    ) -> PyResult<Self> {
        let (mut design, test) = (design(&codes, n_targets, rest)?, test(test_name, options)?);
        if let Some((strata, n_strata)) = strata {
            run::check_stratified(&test)?;
            design = design.stratified(borrowed(&strata, "strata")?, n_strata)?;
        }
        if let Test::Wilcoxon(wilcoxon::Options { method: Method::Exact, .. }) = test {
            for (n1, n2) in (0..n_targets).map(|t| design.pair(t)) {
                if !exact::feasible(n1, n2) {
                    return Err(Error::from(ErrorKind::ExactTooLarge { n1, n2 }).into());
                }
            }
        }
        Ok(Self {
            table: Table::new(n_targets, n_genes, test.extras(auroc).len()),
            design,
            test,
            auroc,
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
        let extras = self.test.extras(self.auroc).iter().zip(table.extra);
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
        let Job { design, test, auroc, scale, threads, tables, table, .. } = self.job;
        let plan = Plan { design, test: *test, auroc: *auroc, scale: *scale, genes: self.genes };
        let (first, monitor) = (self.first, &self.monitor);
        watched(self.py, *threads, self.progress, monitor, || {
            run::run(matrix, &plan, tables, monitor, table, first)
        })
    }
}
