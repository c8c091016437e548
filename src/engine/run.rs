//! The drive: blocks of genes through all threads, into a table.
//!
//! A block's bands are loaded in parallel, then its genes are swept in parallel, then its cells
//! are written.  Memory beyond matrix and table is one block, whatever the number of threads; the
//! result does not depend on blocks or threads.

use super::design::Design;
use super::gene::{Kernel, Test};
use super::runs::Sample;
use super::table::{Cell, Table};
use crate::error::{ErrorKind, Result};
use crate::matrix::{Block, Column, Matrix, SKIP, Stored, Value};
use crate::stats::exact::NullTables;
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Entries gathered in one block: at most 192 MB for f64.
const BLOCK_ENTRIES: usize = 1 << 24;
/// Genes of one block.
const BLOCK_GENES: usize = 256;
/// Targets x genes of one block: 64 MB.
const BLOCK_CELLS: usize = 1 << 20;

/// What means are taken of, so that they compare on the natural scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// mean(x).
    #[default]
    Plain,
    /// mean(expm1(x)): the arithmetic mean of log1p data.
    MeanOfExpm1,
    /// expm1(mean(x)): the geometric mean of log1p data.
    Expm1OfMean,
    /// expm1(mean(log1p(x))): the geometric mean of counts.
    Geometric,
}

impl Scale {
    fn after(self, mean: f64) -> f64 {
        match self {
            Self::Plain | Self::MeanOfExpm1 => mean,
            Self::Expm1OfMean | Self::Geometric => mean.exp_m1(),
        }
    }
}

/// How far a run is, and whether it should stop: shared with the thread that watches it.
#[derive(Debug, Default)]
pub struct Monitor {
    /// Genes done.
    pub done: AtomicUsize,
    /// Set to stop the run.
    pub cancel: AtomicBool,
}

impl Monitor {
    /// # Errors
    /// [`ErrorKind::Interrupted`] once `cancel` is set.
    fn check(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(ErrorKind::Interrupted.into());
        }
        Ok(())
    }
}

/// Everything about a run but the matrix.
#[derive(Debug)]
pub struct Plan<'a> {
    pub design: &'a Design,
    pub test: Test,
    pub scale: Scale,
    /// The genes to test, ascending and distinct.
    pub genes: &'a [u32],
}

/// Tests every target on `plan.genes` of `matrix` and writes them to `table` from gene `first`.
///
/// Runs on the current rayon pool.
///
/// # Errors
/// [`ErrorKind::ShapeMismatch`] where the design has another number of cells,
/// [`ErrorKind::NotANumber`] with the first cell and gene, or [`ErrorKind::Interrupted`].
pub fn run<M: Matrix>(
    matrix: &M,
    plan: &Plan,
    tables: &NullTables,
    monitor: &Monitor,
    table: &mut Table,
    first: usize,
) -> Result<()> {
    let labels = plan.design.codes();
    check_shape(matrix, labels, plan.genes)?;
    let n_targets = plan.design.n_targets();
    let mut cells = Vec::new();
    let mut done = first;
    each_block(
        matrix,
        plan.genes,
        labels,
        block_length(matrix, n_targets),
        monitor,
        |bands, block| {
            cells.clear();
            cells.resize(block.genes.len() * n_targets, Cell::EMPTY);
            let each = cells.par_chunks_mut(n_targets).enumerate();
            let swept: Result<()> = each.try_for_each_init(
                Worker::default,
                |worker: &mut Worker<M::Value>, (slot, out)| {
                    monitor.check()?;
                    worker.load(matrix, bands, block, slot, plan.design)?;
                    worker.refuse_nan(matrix, plan, block.genes[slot])?;
                    worker.sweep(plan, tables, out);
                    monitor.done.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                },
            );
            swept?;
            table.write(done, n_targets, &cells);
            done += block.genes.len();
            Ok(())
        },
    )
}

/// Loads block after block of `genes` and hands each to `body`.
fn each_block<M: Matrix>(
    matrix: &M,
    genes: &[u32],
    labels: &[u32],
    length: usize,
    monitor: &Monitor,
    mut body: impl FnMut(&[M::Band], &Block) -> Result<()>,
) -> Result<()> {
    let mut bands: Vec<M::Band> = (0..matrix.bands()).map(|_| M::Band::default()).collect();
    for block in genes.chunks(length).filter_map(Block::new) {
        bands.par_iter_mut().enumerate().try_for_each(|(i, band)| {
            monitor.check()?;
            matrix.load(i, &block, labels, band)
        })?;
        body(&bands, &block)?;
    }
    Ok(())
}

fn check_shape<M: Matrix>(matrix: &M, labels: &[u32], genes: &[u32]) -> Result<()> {
    let (n_cells, n_genes) = matrix.shape();
    if labels.len() != n_cells {
        let (expected, got) = (n_cells, labels.len());
        return Err(ErrorKind::ShapeMismatch { what: "labels", expected, got }.into());
    }
    match genes.last() {
        Some(&last) if last as usize >= n_genes => {
            let (outer, index, limit) = (0, i64::from(last), n_genes);
            Err(ErrorKind::IndexOutOfRange { outer, index, limit }.into())
        }
        _ => Ok(()),
    }
}

/// Genes of one block, by the entries they hold and the cells they yield.
fn block_length<M: Matrix>(matrix: &M, n_targets: usize) -> usize {
    let each = matrix.entries() / matrix.shape().1.max(1) + 1;
    let by_entries = if matrix.bands() == 0 { BLOCK_GENES } else { BLOCK_ENTRIES / each };
    by_entries.min(BLOCK_CELLS / n_targets.max(1)).clamp(1, BLOCK_GENES)
}

/// One gene's column with its zeros counted.
#[derive(Debug)]
pub struct Worker<V> {
    column: Column<V>,
    zeros: Vec<u64>,
    kernel: Kernel,
}

impl<V> Default for Worker<V> {
    fn default() -> Self {
        let column = Column { values: Vec::new(), codes: Vec::new() };
        Self { column, zeros: Vec::new(), kernel: Kernel::default() }
    }
}

impl<V: Value> Worker<V> {
    fn load<M: Matrix<Value = V>>(
        &mut self,
        matrix: &M,
        bands: &[M::Band],
        block: &Block,
        slot: usize,
        design: &Design,
    ) -> Result<()> {
        self.column.clear();
        matrix.column(bands, block, slot, design.codes(), &mut self.column)?;
        self.zeros.clear();
        self.zeros.extend_from_slice(design.sizes());
        for &code in &self.column.codes {
            let zeros = &mut self.zeros[code as usize];
            *zeros = zeros.saturating_sub(1);
        }
        Ok(())
    }

    fn refuse_nan<M: Matrix<Value = V>>(&self, matrix: &M, plan: &Plan, gene: u32) -> Result<()> {
        if self.column.values.iter().any(|v| v.is_nan()) {
            let (row, gene) = first_nan(matrix, plan, gene);
            return Err(ErrorKind::NotANumber { row, gene }.into());
        }
        Ok(())
    }

    fn sweep(&mut self, plan: &Plan, tables: &NullTables, out: &mut [Cell]) {
        let (values, codes) = (&self.column.values[..], &self.column.codes[..]);
        let sample = Sample { values, codes, weights: None, zeros: &self.zeros };
        let (sizes, reference) = (plan.design.sizes(), plan.design.reference());
        let with_m2 = matches!(plan.test, Test::TTest(_));
        if with_m2 {
            self.kernel.moments(&sample, reference, true, |v| v);
        }
        self.kernel.compare(&sample, sizes, reference, &plan.test, tables, |t, comparison| {
            if let Some(comparison) = comparison {
                out[t].comparison = comparison;
            }
        });
        match plan.scale {
            Scale::Plain | Scale::Expm1OfMean if with_m2 => {}
            Scale::Plain | Scale::Expm1OfMean => {
                self.kernel.moments(&sample, reference, false, |v| v);
            }
            Scale::MeanOfExpm1 => self.kernel.moments(&sample, reference, false, f64::exp_m1),
            Scale::Geometric => self.kernel.moments(&sample, reference, false, f64::ln_1p),
        }
        for (t, cell) in out.iter_mut().enumerate() {
            let (target, other) = self.kernel.moments_of(reference, t);
            cell.target_mean = plan.scale.after(target.mean());
            cell.reference_mean = plan.scale.after(other.mean());
        }
    }
}

/// The first NaN that takes part, in the order of cells, then genes; `gene` is known to hold one.
fn first_nan<M: Matrix>(matrix: &M, plan: &Plan, gene: u32) -> (usize, usize) {
    let asked =
        |gene| u32::try_from(gene).is_ok_and(|gene| plan.genes.binary_search(&gene).is_ok());
    let labels = plan.design.codes();
    let wanted = |row: usize, gene, v: M::Value| v.is_nan() && labels[row] != SKIP && asked(gene);
    matrix.first(&wanted).unwrap_or((0, gene as usize))
}

/// Whether any stored value has a fractional part above 1e-3, as normalised data do and counts
/// do not.
///
/// Runs on the current rayon pool.
#[must_use]
pub fn looks_fractional<M: Matrix>(matrix: &M) -> bool {
    matrix.stored().par_chunks(1 << 16).any(|chunk| {
        chunk.iter().any(|v| {
            let v = v.value().to_f64();
            v.is_finite() && v - v.floor() > 1e-3
        })
    })
}

/// The rows of a long frame: for each gene its non-zeros, then one row for each group with zeros.
#[derive(Debug, Clone, Default)]
pub struct Long<V> {
    /// Place among the genes asked for.
    pub gene: Vec<u32>,
    /// The group's code.
    pub target: Vec<u32>,
    pub value: Vec<V>,
    pub count: Vec<u32>,
}

/// The long frame of `genes`; every labelled cell belongs to its code in `design`.
///
/// Runs on the current rayon pool.
///
/// # Errors
/// Those of [`run`] but NaN, which is passed on.
pub fn long<M: Matrix>(
    matrix: &M,
    design: &Design,
    genes: &[u32],
    zero_rows: bool,
    monitor: &Monitor,
) -> Result<Long<M::Value>> {
    check_shape(matrix, design.codes(), genes)?;
    let mut out = Long::default();
    let mut position = 0;
    let mut worker = Worker::default();
    let length = block_length(matrix, 1);
    each_block(matrix, genes, design.codes(), length, monitor, |bands, block| {
        for slot in 0..block.genes.len() {
            monitor.check()?;
            let start = out.value.len();
            worker.load(matrix, bands, block, slot, design)?;
            out.value.extend_from_slice(&worker.column.values);
            out.target.extend_from_slice(&worker.column.codes);
            out.count.resize(out.value.len(), 1);
            for (code, n) in (0..).zip(worker.zeros.iter().copied()).filter(|zero| zero.1 > 0) {
                let n = u32::try_from(n).unwrap_or(u32::MAX);
                let (rows, count) = if zero_rows { (n as usize, 1) } else { (1, n) };
                out.value.resize(out.value.len() + rows, M::Value::default());
                out.target.resize(out.value.len(), code);
                out.count.resize(out.value.len(), count);
            }
            out.gene.resize(out.gene.len() + out.value.len() - start, position);
            position += 1;
        }
        Ok(())
    })?;
    Ok(out)
}
