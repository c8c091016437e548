//! A job: one comparison of many targets. Matrices go in, the columns of the result come out.

use super::matrix::{IntoColumn, Matrix, Visitor};
use super::watch::watched;
use super::{borrowed, mismatch};
use crate::engine::column::Column;
use crate::engine::design::{Design, Reference};
use crate::engine::plan::Limits;
use crate::engine::pool::Monitor;
use crate::engine::request::{Request, Scale};
use crate::engine::run::{Run, Workspace};
use crate::engine::table::{Family, Numbers, Table};
use crate::engine::test::Test;
use crate::matrix::View;
use crate::stats::exact::NullTables;
use crate::stats::ttest::Variance;
use crate::stats::{anderson, ks, ttest, unknown, wilcoxon};
use numpy::PyReadonlyArray1;
use polars::prelude::*;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3_polars::PySeries;
use std::any::Any;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Extracts one option of a test; an error names the option.
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
            method: text("method")?.parse()?,
        }),
        "ttest" => {
            let options = ttest::Options {
                alternative: text("alternative")?.parse()?,
                variance: match (flag("equal_var")?, flag("overestim_var")?) {
                    (false, true) => Variance::Overestimated,
                    (equal_var, _) => Variance::of(equal_var),
                },
                method: text("method")?.parse()?,
            };
            Test::TTest(options.check()?)
        }
        "ks" => Test::Ks(ks::Options {
            alternative: text("alternative")?.parse()?,
            method: text("method")?.parse()?,
        }),
        _ => return Err(unknown("test", name, &["wilcoxon", "anderson", "ttest", "ks"]).into()),
    })
}

fn scale(name: &str, log_base: Option<f64>) -> PyResult<Scale> {
    let ln_base = log_base.map_or(1.0, f64::ln);
    Ok(match name {
        "plain" => Scale::Plain,
        "mean_of_expm1" => Scale::MeanOfExpm1 { ln_base },
        "expm1_of_mean" => Scale::Expm1OfMean { ln_base },
        "geometric" => Scale::Geometric,
        _ => {
            let valid = &["plain", "mean_of_expm1", "expm1_of_mean", "geometric"];
            return Err(unknown("scale", name, valid).into());
        }
    })
}

/// Which cells are compared with which: `pdex._engine.Comparison`.
#[derive(FromPyObject)]
struct Comparison<'py> {
    /// One code per cell: 0 for the reference, 1 to `n_targets` for the targets, 2**32 - 1 for
    /// cells that are left out.
    codes: PyReadonlyArray1<'py, u32>,
    n_targets: usize,
    rest: bool,
    /// One stratum per cell, 2**32 - 1 for cells that are left out; and the number of strata.
    strata: Option<(PyReadonlyArray1<'py, u32>, usize)>,
    /// Where each code stands for a group of cells, their numbers of cells.
    cells: Option<PyReadonlyArray1<'py, u64>>,
}

/// What is computed for each pair: `pdex._engine.Question`.
#[derive(FromPyObject)]
struct Question<'py> {
    test: String,
    options: Bound<'py, PyDict>,
    scale: String,
    log_base: Option<f64>,
    auroc: bool,
}

/// Options of the derived columns: `pdex._engine.Finish`.
#[derive(FromPyObject)]
struct Finish {
    /// `None` if ratios of means are undefined; fold changes are then NaN.
    pseudocount: Option<f64>,
    fdr: String,
}

impl Finish {
    /// The pseudocount (NaN for `None`), and the family over which p-values are adjusted.
    fn parse(&self) -> PyResult<(f64, Family)> {
        Ok((self.pseudocount.unwrap_or(f64::NAN), self.fdr.parse()?))
    }
}

/// The design of `n_targets` targets, from one code per cell, or per group of cells.
pub(super) fn design(
    codes: &PyReadonlyArray1<u32>,
    cells: Option<&PyReadonlyArray1<u64>>,
    n_targets: usize,
    rest: bool,
) -> PyResult<Design> {
    let reference = if rest { Reference::Rest } else { Reference::Group };
    let codes = borrowed(codes, "codes")?.to_vec();
    Ok(match cells {
        Some(cells) => {
            let cells = borrowed(cells, "cells")?.to_vec();
            Design::of_groups(codes, cells, n_targets, reference)?
        }
        None => Design::new(codes, n_targets, reference)?,
    })
}

/// A job, which takes one matrix, or its pieces in ascending order of genes.
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
    /// The scratch memory of the workers, kept between pieces: a [`Workspace`] of the value type.
    workspace: Option<Kept>,
}

/// Something that depends on the value type, which is erased.
pub(super) type Kept = Box<dyn Any + Send + Sync>;

#[pymethods]
impl Job {
    #[new]
    fn new(
        comparison: Comparison,
        question: Question,
        n_genes: usize,
        threads: usize,
    ) -> PyResult<Self> {
        let Comparison { codes, n_targets, rest, strata, cells } = comparison;
        let (auroc, test) = (question.auroc, test(&question.test, &question.options)?);
        let mut design = design(&codes, cells.as_ref(), n_targets, rest)?;
        if let Some((strata, n_strata)) = strata {
            test.check_stratified()?;
            design = design.stratified(borrowed(&strata, "strata")?, n_strata)?;
        }
        test.check_sizes((0..n_targets).map(|t| design.pair(t)))?;
        Ok(Self {
            table: Table::new(n_targets, n_genes, test.columns(auroc)),
            design,
            test,
            auroc,
            scale: scale(&question.scale, question.log_base)?,
            threads,
            tables: NullTables::default(),
            done: 0,
            workspace: None,
        })
    }

    /// Tests `genes` (columns of this piece, ascending). `progress` is called with the number of
    /// genes done so far.
    #[pyo3(signature = (matrix, genes, progress=None))]
    fn add(
        &mut self,
        py: Python,
        matrix: &Matrix,
        genes: PyReadonlyArray1<u32>,
        progress: Option<&Bound<PyAny>>,
    ) -> PyResult<()> {
        let genes = borrowed(&genes, "genes")?;
        let first = self.done;
        if first + genes.len() > self.table.n_genes() {
            let (expected, got) = (self.table.n_genes(), first + genes.len());
            return Err(mismatch("genes", expected, got));
        }
        let monitor = Monitor::default();
        monitor.done.store(first, Ordering::Relaxed);
        matrix.visit(py, Add { job: self, py, genes, first, monitor, progress })?;
        self.done += genes.len();
        Ok(())
    }

    /// The columns of the result, named and in order. Consumes the measured columns.
    #[allow(clippy::needless_pass_by_value)] // made of a Python object
    fn finish(&mut self, py: Python, finish: Finish) -> PyResult<Vec<PySeries>> {
        let (how, table) = (finish.parse()?, std::mem::take(&mut self.table));
        let kept = self.workspace.take();
        self.columns(py, table, 0..self.design.n_targets(), how, kept)
    }

    /// The names of the columns that [`Job::numbers`] returns.
    fn measured(&self) -> Vec<&'static str> {
        Column::measured(self.test.columns(self.auroc)).map(Column::name).collect()
    }

    /// The measured columns of all targets and genes, for [`Job::complete`]. Consumes them.
    fn numbers(&mut self, py: Python) -> PyResult<Vec<PySeries>> {
        let (table, test) = (std::mem::take(&mut self.table), self.test);
        let columns =
            watched(py, self.threads, None, &Monitor::default(), || Ok(table.into_columns(test)))?;
        Ok(columns.into_iter().map(|values| PySeries(real("", values))).collect())
    }

    /// The columns that `finish` would return for targets `first..last` and all `n_genes` genes,
    /// computed from `numbers`, their measured columns. `place` is (first, last, n_genes). p-values
    /// are adjusted over the genes of each target.
    #[allow(clippy::needless_pass_by_value)] // made of a Python object
    fn complete(
        &self,
        py: Python,
        numbers: Vec<PyReadonlyArray1<f64>>,
        place: (usize, usize, usize),
        finish: Finish,
    ) -> PyResult<Vec<PySeries>> {
        let (first, last, n_genes) = place;
        if first > last || last > self.design.n_targets() {
            return Err(mismatch("targets", self.design.n_targets(), last));
        }
        let copied = |values| borrowed(values, "numbers").map(<[f64]>::to_vec);
        let columns = numbers.iter().map(copied).collect::<PyResult<Vec<_>>>()?;
        let own = self.test.columns(self.auroc);
        let table = Table::of_columns((last - first, n_genes), own, columns)?;
        let how = (finish.parse()?.0, Family::Target);
        self.columns(py, table, first..last, how, None)
    }
}

impl Job {
    fn columns(
        &self,
        py: Python,
        table: Table,
        targets: Range<usize>,
        how: (f64, Family),
        kept: Option<Kept>,
    ) -> PyResult<Vec<PySeries>> {
        // Free the workers' scratch memory in parallel: it may be as large as the result.
        let finished = watched(py, self.threads, None, &Monitor::default(), || {
            let finish = || table.finish(self.test, &self.design, targets, how);
            Ok(rayon::join(move || drop(kept), finish).1)
        })?;
        let series = |(column, numbers): (Column, Numbers)| match numbers {
            Numbers::Counts(counts) => {
                UInt32Chunked::from_vec(column.name().into(), counts).into_series()
            }
            Numbers::Reals(reals) => real(column.name(), reals),
        };
        Ok(finished.into_iter().map(series).map(PySeries).collect())
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

    fn visit<V: IntoColumn>(self, view: &View<V>) -> PyResult<()> {
        let Job { design, test, auroc, scale, threads, tables, table, workspace, .. } = self.job;
        let (test, auroc, scale) = (*test, *auroc, *scale);
        let request = Request { design, test, auroc, scale, genes: self.genes };
        let (monitor, out) = (&self.monitor, (table, self.first));
        let run = Run { request: &request, tables, limits: Limits::default(), monitor };
        let workspace = kept_or(workspace, || Workspace::<V>::new(*threads))?;
        watched(self.py, *threads, self.progress, monitor, || run.run(view, workspace, out))
    }
}

/// What is kept: of the type asked for if the last call made one of it, else a new one.
pub(super) fn kept_or<T: Any + Send + Sync>(
    kept: &mut Option<Kept>,
    new: impl FnOnce() -> T,
) -> PyResult<&mut T> {
    if !kept.as_ref().is_some_and(|kept| kept.is::<T>()) {
        *kept = Some(Box::new(new()));
    }
    let kept = kept.as_mut().and_then(|kept| kept.downcast_mut());
    kept.ok_or_else(|| mismatch("workspace", 1, 0))
}
