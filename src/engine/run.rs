//! The drive: strips and blocks of genes through all threads, into a table.
//!
//! Row-major matrices are looked at first: strips of genes that hold small counts are walked cell by
//! cell ([`super::counts`]).  All else goes gene by gene, in blocks: a block's bands are loaded in
//! parallel, then its genes are swept in parallel, then its cells are written.  Memory beyond
//! matrix and table is one block, or the tables of one strip, whatever the number of threads; the
//! result does not depend on strips, blocks or threads.

use super::counts;
use super::design::Design;
use super::gene::Kernel;
use super::members::Members;
use super::question::{Cell, Question, Scale, Test};
use super::sorted::Sample;
use super::table::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::matrix::{Block, Column, Matrix, SKIP, Stored, Value};
use crate::stats::exact::NullTables;
use crate::stats::unknown;
use crate::stats::wilcoxon::{self, Method};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Entries gathered in one block: 128 MB for f32, 256 MB for f64.
const BLOCK_ENTRIES: usize = 1 << 24;
/// Genes of one block.
const BLOCK_GENES: usize = 512;
/// Targets x genes of one block: 64 MB.
const BLOCK_CELLS: usize = 1 << 20;

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
    pub(super) fn check(&self) -> Result<()> {
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
    /// Whether a test that does not rank has AUROCs, too.
    pub auroc: bool,
    pub scale: Scale,
    /// The genes to test, ascending and distinct.
    pub genes: &'a [u32],
}

impl<'a> Plan<'a> {
    /// What is asked of each gene.
    pub(super) fn question(&self, tables: &'a NullTables) -> Question<'a> {
        Question {
            sizes: self.design.sizes(),
            strata: self.design.strata(),
            cells: self.design.cells(),
            reference: self.design.reference(),
            test: self.test,
            auroc: self.auroc,
            scale: self.scale,
            tables,
        }
    }
}

/// Tests every target on `plan.genes` of `matrix` and writes them to `table` from gene `first`.
///
/// Runs on the current rayon pool.
///
/// # Errors
/// [`ErrorKind::ShapeMismatch`] where the design has another number of cells,
/// [`ErrorKind::NotANumber`] with the first cell and gene, [`ErrorKind::Interrupted`], or
/// [`ErrorKind::UnknownOption`] for strata of a test that has none.
pub fn run<M: Matrix>(
    matrix: &M,
    plan: &Plan,
    tables: &NullTables,
    monitor: &Monitor,
    table: &mut Table,
    first: usize,
) -> Result<()> {
    let design = plan.design;
    check_shape(matrix, design.codes(), plan.genes)?;
    let named = |error: Error| match error.kind() {
        ErrorKind::NotANumber { gene, .. } => {
            let (row, gene) = first_nan(matrix, plan, *gene);
            ErrorKind::NotANumber { row, gene }.into()
        }
        _ => error,
    };
    let stratified = design.strata().is_some();
    if stratified {
        check_stratified(&plan.test)?;
    }
    if matrix.bands() == 0 || stratified || plan.genes.is_empty() || design.n_targets() == 0 {
        return by_gene(matrix, plan, tables, monitor, table, first).map_err(named);
    }
    let survey = counts::survey(matrix, plan.genes, design.codes());
    let members = Members::new(design.codes(), design.sizes());
    for (strip, suits) in survey.strips(design.sizes().len(), design.reference()) {
        if suits {
            let what = (&members, &survey, strip);
            counts::run(matrix, plan, what, tables, monitor, (table, first)).map_err(named)?;
        } else {
            let plan = Plan { genes: &plan.genes[strip.clone()], ..*plan };
            let first = first + strip.start;
            by_gene(matrix, &plan, tables, monitor, table, first).map_err(named)?;
        }
    }
    Ok(())
}

/// # Errors
/// [`ErrorKind::UnknownOption`] unless `test` can be taken stratum by stratum.
pub fn check_stratified(test: &Test) -> Result<()> {
    match test {
        Test::Wilcoxon(wilcoxon::Options { method: Method::Asymptotic, .. }) => Ok(()),
        Test::Wilcoxon(options) => {
            let got = format!("{:?}", options.method).to_lowercase();
            Err(unknown("with strata, method", &got, &["asymptotic"]))
        }
        _ => Err(unknown("with strata, test", test.name(), &["wilcoxon"])),
    }
}

/// [`run`] gene by gene.
fn by_gene<M: Matrix>(
    matrix: &M,
    plan: &Plan,
    tables: &NullTables,
    monitor: &Monitor,
    table: &mut Table,
    first: usize,
) -> Result<()> {
    let design = plan.design;
    let (labels, n_targets) = (design.codes(), design.n_targets());
    let question = plan.question(tables);
    let mut cells = Vec::new();
    let mut done = first;
    let length = block_length(matrix, n_targets);
    each_block(matrix, plan.genes, labels, length, monitor, |bands, block| {
        cells.clear();
        cells.resize(block.genes.len() * n_targets, Cell::EMPTY);
        let each = cells.par_chunks_mut(n_targets.max(1)).enumerate();
        let swept: Result<()> = each.try_for_each_init(
            Worker::default,
            |worker: &mut Worker<M::Value>, (slot, out)| {
                monitor.check()?;
                let gene = block.genes[slot];
                if !worker.count(matrix, gene, design, &question, out) {
                    worker.load(matrix, bands, block, slot, design)?;
                    worker.refuse_nan(gene)?;
                    worker.sweep(&question, out);
                }
                monitor.done.fetch_add(1, Ordering::Relaxed);
                Ok(())
            },
        );
        swept?;
        table.write(done, n_targets, &cells, &plan.test);
        done += block.genes.len();
        Ok(())
    })
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
    /// Non-zeros of each group, and zeros.
    counts: Vec<u32>,
    zeros: Vec<u64>,
    kernel: Kernel,
}

impl<V> Default for Worker<V> {
    fn default() -> Self {
        let (counts, zeros) = (Vec::new(), Vec::new());
        Self { column: Column::new(), counts, zeros, kernel: Kernel::default() }
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
        self.counts.clear();
        self.counts.resize(design.code_sizes().len(), 0);
        for entry in &self.column {
            self.counts[entry.code as usize] += 1;
        }
        let sizes = design.code_sizes().iter().zip(&self.counts);
        self.zeros.clear();
        self.zeros.extend(sizes.map(|(&size, &count)| size.saturating_sub(count.into())));
        Ok(())
    }

    /// Answers for a gene of small counts straight from a gene-major matrix; else false.
    fn count<M: Matrix<Value = V>>(
        &mut self,
        matrix: &M,
        gene: u32,
        design: &Design,
        question: &Question,
        out: &mut [Cell],
    ) -> bool {
        let gene = gene as usize;
        let write = |t: usize, cell| out[t] = cell;
        matrix.bands() == 0
            && self.kernel.compare_counts(matrix, gene, design.codes(), question, write)
    }

    fn refuse_nan(&self, gene: u32) -> Result<()> {
        if self.column.iter().any(|entry| entry.value.is_nan()) {
            return Err(ErrorKind::NotANumber { row: 0, gene: gene as usize }.into());
        }
        Ok(())
    }

    fn sweep(&mut self, question: &Question, out: &mut [Cell]) {
        let sample = Sample { entries: &self.column, weights: None, zeros: &self.zeros };
        self.kernel.compare(&sample, question, |t, cell| out[t] = cell);
    }
}

/// The first NaN that takes part, in the order of cells, then genes; `gene` is known to hold one.
fn first_nan<M: Matrix>(matrix: &M, plan: &Plan, gene: usize) -> (usize, usize) {
    let asked =
        |gene| u32::try_from(gene).is_ok_and(|gene| plan.genes.binary_search(&gene).is_ok());
    let labels = plan.design.codes();
    let wanted = |row: usize, gene, v: M::Value| v.is_nan() && labels[row] != SKIP && asked(gene);
    matrix.first(&wanted).unwrap_or((0, gene))
}

/// Whether any stored value has a fractional part above 1e-3, as normalised data do and counts
/// do not.
///
/// Runs on the current rayon pool.
#[must_use]
pub fn looks_fractional<M: Matrix>(matrix: &M) -> bool {
    let any = |chunk: &[M::Stored]| {
        chunk.iter().fold(false, |any, stored| any | stored.value().is_fractional())
    };
    matrix.stored().par_chunks(1 << 14).any(any)
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
            out.value.extend(worker.column.iter().map(|entry| entry.value));
            out.target.extend(worker.column.iter().map(|entry| entry.code));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::design::Reference;
    use crate::matrix::{Csc, Csr, RowMajor};
    use crate::stats::{anderson, ttest, wilcoxon};
    use proptest::prelude::*;

    const CELLS: usize = 60;
    const GENES: usize = 9;
    const TARGETS: usize = 4;

    /// Rows of counts with a few entries of every other kind, of a kind for each gene.
    fn rows() -> impl Strategy<Value = Vec<f32>> {
        let odd = prop_oneof![
            Just(70_000.0f32),
            Just(300.0),
            Just(301.0),
            Just(-2.0),
            Just(2.5),
            Just(-0.0),
            0f32..9.0
        ];
        let kinds = prop::collection::vec((0usize..4, odd), GENES);
        let counts = prop::collection::vec((0u8..9, 0u8..40), CELLS * GENES);
        (kinds, counts).prop_map(|(kinds, counts)| {
            let value = |(i, &(count, chance)): (usize, &(u8, u8))| {
                let (kind, odd) = kinds[i % GENES];
                match kind {
                    1 if chance == 0 => odd,
                    2 if chance < 20 => 0.0,
                    3 => 0.0,
                    _ => f32::from(count.saturating_sub(4)),
                }
            };
            counts.iter().enumerate().map(value).collect()
        })
    }

    fn compressed(rows: &[f32], by_gene: bool) -> (Vec<f32>, Vec<i32>, Vec<i64>) {
        let (outer, inner) = if by_gene { (GENES, CELLS) } else { (CELLS, GENES) };
        let (mut values, mut indices, mut indptr) = (Vec::new(), Vec::new(), vec![0]);
        for i in 0..outer {
            for j in 0..inner {
                let v = rows[if by_gene { j * GENES + i } else { i * GENES + j }];
                // Some zeros are stored.
                if v != 0.0 || (i + j) % 5 == 0 {
                    values.push(v);
                    indices.push(j as i32);
                }
            }
            indptr.push(values.len() as i64);
        }
        (values, indices, indptr)
    }

    fn table<M: Matrix>(matrix: &M, plan: &Plan) -> Table {
        let mut table = Table::new(TARGETS, plan.genes.len(), 2);
        let (tables, monitor) = (NullTables::default(), Monitor::default());
        run(matrix, plan, &tables, &monitor, &mut table, 0).unwrap();
        table
    }

    fn same(a: &[f64], b: &[f64], tolerance: f64) -> bool {
        a.iter().zip(b).all(|(&a, &b)| {
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * b.abs().max(1.0)
        })
    }

    proptest! {
        #[test]
        fn every_layout_and_kernel_gives_one_table(
            rows in rows(), labels in prop::collection::vec(0u32..6, CELLS), rest: bool, kind in 0usize..4,
            scale in prop::sample::select(vec![Scale::Plain, Scale::MeanOfExpm1, Scale::Geometric]),
            skipped in prop::collection::vec(0u8..8, GENES), narrow: bool, auroc: bool,
            strata in prop::collection::vec(prop_oneof![9 => 0u32..3, 1 => Just(SKIP)], CELLS),
        ) {
            let labels: Vec<u32> = labels.iter().map(|&l| if l > TARGETS as u32 { SKIP } else { l }).collect();
            let reference = if rest { Reference::Rest } else { Reference::Background };
            let mut design = Design::new(labels, TARGETS, reference).unwrap();
            if kind == 3 {
                design = design.stratified(&strata, 3).unwrap();
            }
            let genes: Vec<u32> = (0..GENES as u32).filter(|&g| skipped[g as usize] > 0).collect();
            let test = match kind {
                0 | 3 => Test::Wilcoxon(wilcoxon::Options::default()),
                1 => Test::Anderson(anderson::Options::default()),
                _ => Test::TTest(ttest::Options::default()),
            };
            // Geometric means need values above -1.
            let rows: Vec<f32> = rows.iter().map(|&v| if scale == Scale::Plain { v } else { v.clamp(0.0, 600.0) }).collect();
            let plan = Plan { design: &design, test, auroc, scale, genes: &genes };
            let (values, indices, indptr) = compressed(&rows, true);
            let (csc, _) = Csc::new((CELLS, GENES), &values, &indices, &indptr).unwrap();
            let by_gene = table(&csc, &plan);
            let (values, indices, indptr) = compressed(&rows, false);
            let (csr, _) = Csr::new((CELLS, GENES), &values, &indices, &indptr).unwrap();
            let dense = RowMajor::new((CELLS, GENES), &rows).unwrap();
            let wide: Vec<f64> = rows.iter().map(|&v| f64::from(v)).collect();
            let wide = RowMajor::new((CELLS, GENES), &wide).unwrap();
            let mut tables = vec![table(&csr, &plan), table(&dense, &plan)];
            if narrow {
                tables.push(table(&wide, &plan));
            }
            for got in tables {
                // Whole numbers up to the last step, and sums in two words: the same bits.  Against
                // the rest Anderson's stretches of runs are summed at once: measured 4e-14.
                let tolerance = if kind == 1 && rest { 1e-12 } else { 0.0 };
                prop_assert!(same(&got.statistic, &by_gene.statistic, tolerance), "{:?} {:?}", got.statistic, by_gene.statistic);
                prop_assert!(same(&got.p_value, &by_gene.p_value, tolerance), "{:?} {:?}", got.p_value, by_gene.p_value);
                prop_assert!(same(&got.extra[0], &by_gene.extra[0], tolerance));
                prop_assert!(same(&got.extra[1], &by_gene.extra[1], 0.0));
                prop_assert!(same(&got.target_mean, &by_gene.target_mean, 0.0), "{:?} {:?}", got.target_mean, by_gene.target_mean);
                prop_assert!(same(&got.reference_mean, &by_gene.reference_mean, 0.0));
            }
        }
    }
}
