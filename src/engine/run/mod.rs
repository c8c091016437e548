//! The drive: strips and blocks of genes through all workers, into a table.
//!
//! Where cells are stored one after the other they are looked at first: strips of genes that hold
//! small counts are walked cell by cell ([`super::source::group_histograms`]).  All else goes gene by
//! gene, in blocks: a block's bands of cells are gathered in parallel, then its genes are measured in
//! parallel, then its records are written.  Memory beyond matrix and table is one block, or the tables
//! of one strip ([`super::plan`]); the result does not depend on strips, blocks or threads.

use super::column::Record;
use super::gene::GeneKernel;
use super::plan::{Limits, Sizes};
use super::pool::{Monitor, Workers};
use super::request::{GeneRequest, Request};
use super::source::group_histograms::{self, Context, Strips};
use super::source::group_rows::GroupRows;
use super::source::group_tables::{self, Walk};
use super::source::sample::Sample;
use super::table::Table;
use crate::cast::place;
use crate::error::{Error, ErrorKind, Result};
use crate::matrix::counted::visit_non_zeros;
use crate::matrix::{Band, Block, CellMajor, Column, Entry, SKIP, Value, View, append_gene};
use crate::stats::exact::NullTables;
use std::sync::atomic::Ordering;

/// What a job keeps from call to call: scratch of every worker, and buffers that all share.
#[derive(Debug)]
pub struct Workspace<V> {
    walkers: Workers<Walk<V>>,
    workers: Workers<Worker<V>>,
    strips: Strips<V>,
    bands: Vec<Band<V>>,
    records: Vec<Record>,
}

impl<V: Value> Workspace<V> {
    /// Room for as many threads as said; nothing is taken before it is needed.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let (walkers, workers) = (Workers::new(threads), Workers::new(threads));
        Self { walkers, workers, strips: Strips::default(), bands: Vec::new(), records: Vec::new() }
    }
}

/// Scratch of one worker.
#[derive(Debug)]
pub struct Worker<V> {
    gene: GeneColumn<V>,
    kernel: GeneKernel<V>,
}

impl<V> Default for Worker<V> {
    fn default() -> Self {
        Self { gene: GeneColumn::default(), kernel: GeneKernel::default() }
    }
}

/// One run: what is asked, and how it is watched.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    pub request: &'a Request<'a>,
    /// Tables of the exact test, shared by all runs of a job.
    pub tables: &'a NullTables,
    pub limits: Limits,
    pub monitor: &'a Monitor,
}

impl Run<'_> {
    /// Tests every target on the request's genes and writes them to `table` from gene `first`.
    ///
    /// Runs on the current rayon pool.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] where the design has another number of cells,
    /// [`ErrorKind::UnsortedGenes`], [`ErrorKind::UnknownGene`], [`ErrorKind::NotANumber`] with the
    /// first cell and gene, [`ErrorKind::Changed`], [`ErrorKind::Interrupted`], or
    /// [`ErrorKind::StrataUnsupported`].
    pub fn run<V: Value>(
        &self,
        view: &View<V>,
        workspace: &mut Workspace<V>,
        (table, first): (&mut Table, usize),
    ) -> Result<()> {
        let Request { design, genes, test, .. } = *self.request;
        check_request(view.shape(), design.codes().len(), genes)?;
        if design.strata().is_some() {
            test.check_stratified()?;
        }
        if matches!(view, View::Counted(_)) && !design.is_of_groups() {
            let (what, expected) = ("numbers of cells of a table's groups", view.shape().0);
            return Err(ErrorKind::ShapeMismatch { what, expected, got: 0 }.into());
        }
        if genes.is_empty() || design.n_targets() == 0 {
            return Ok(());
        }
        if first == 0 {
            table.touch();
        }
        let named = |error: Error| with_first_nan(error, view, design.codes(), genes);
        let cells = match view {
            View::Cells(cells) if design.strata().is_none() => &**cells,
            _ => return self.by_gene(view, genes, workspace, (table, first)).map_err(named),
        };
        self.by_cell(cells, view, workspace, (table, first)).map_err(named)
    }

    /// Strips of small counts cell by cell, the others gene by gene.
    fn by_cell<V: Value>(
        &self,
        cells: &dyn CellMajor<V>,
        view: &View<V>,
        workspace: &mut Workspace<V>,
        (table, first): (&mut Table, usize),
    ) -> Result<()> {
        let Self { request, tables, ref limits, monitor } = *self;
        let design = request.design;
        let survey = group_tables::survey(cells, request.genes, design.codes(), limits)?;
        let groups = GroupRows::new(design.codes(), design.sizes());
        let pooled = request.of_gene(tables).is_pooled();
        for (strip, suits) in survey.strips(design.sizes().len(), pooled, limits) {
            if suits {
                let (survey, groups, walkers) = (&survey, &groups, &workspace.walkers);
                let context = Context { request, groups, survey, tables, limits, monitor, walkers };
                let (strips, out) = (&mut workspace.strips, (&mut *table, first));
                group_histograms::run(cells, context, strip, strips, out)?;
            } else {
                let out = (&mut *table, first + strip.start);
                self.by_gene(view, &request.genes[strip], workspace, out)?;
            }
        }
        Ok(())
    }

    /// Some genes, one by one.
    fn by_gene<V: Value>(
        &self,
        view: &View<V>,
        genes: &[u32],
        workspace: &mut Workspace<V>,
        (table, first): (&mut Table, usize),
    ) -> Result<()> {
        let design = self.request.design;
        let request = self.request.of_gene(self.tables);
        let n_targets = design.n_targets();
        let sizes = Sizes {
            entries: view.entries(),
            matrix_genes: view.shape().1,
            genes: genes.len(),
            targets: n_targets,
            groups: design.code_sizes().len(),
            threads: workspace.workers.count(),
        };
        let length = self.limits.block(&sizes, matches!(view, View::Cells(_)));
        let (busy, bins) = (self.limits.workers(&sizes), self.limits.gene_table(&sizes));
        let Workspace { workers, bands, records, .. } = workspace;
        bands.iter_mut().for_each(Band::reset);
        let mut done = first;
        for genes in genes.chunks(length) {
            let Some(block) = Block::new(genes) else { continue };
            gather(view, &block, design.codes(), (workers, bands), self.monitor)?;
            records.clear();
            records.resize(genes.len() * n_targets, Record::EMPTY);
            let items = records.chunks_exact_mut(n_targets).enumerate();
            workers.for_each_of(busy, items, |worker, (slot, out)| {
                self.monitor.check()?;
                worker.kernel.limit(bins);
                worker.measure(view, (bands, &block, slot), design.codes(), &request, out)?;
                self.monitor.done.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })?;
            table.write(done, records);
            done += genes.len();
        }
        Ok(())
    }
}

impl<V: Value> Worker<V> {
    /// Measures one gene of a block.
    fn measure(
        &mut self,
        view: &View<V>,
        (bands, block, slot): (&[Band<V>], &Block, usize),
        codes: &[u32],
        request: &GeneRequest,
        out: &mut [Record],
    ) -> Result<()> {
        let gene = place(block.genes()[slot]);
        let mut write = |t: usize, record| out[t] = record;
        if let View::Genes(genes) = view
            && self.kernel.compare_counts(&**genes, gene, codes, request, &mut write)?
        {
            return self.kernel.check();
        }
        self.gene.load(view, (bands, block, slot), codes)?;
        if self.gene.column.iter().any(|entry| entry.value.is_nan()) {
            return Err(ErrorKind::NotANumber { cell: 0, gene }.into());
        }
        let sample = self.gene.sample(request.strata.unwrap_or(request.sizes));
        self.kernel.compare(&sample, request, write);
        self.kernel.check()
    }
}

/// One gene's non-zeros with their codes, and its zeros.
#[derive(Debug)]
pub(super) struct GeneColumn<V> {
    pub(super) column: Column<V>,
    /// How many cells each entry stands for; empty where all stand for one.
    weights: Vec<u64>,
    /// Non-zeros of each code, and zeros.
    counts: Vec<u64>,
    zeros: Vec<u64>,
}

impl<V> Default for GeneColumn<V> {
    fn default() -> Self {
        let (weights, counts, zeros) = Default::default();
        Self { column: Column::new(), weights, counts, zeros }
    }
}

impl<V: Value> GeneColumn<V> {
    /// Loads a gene of a block.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`].
    pub(super) fn load(
        &mut self,
        view: &View<V>,
        (bands, block, slot): (&[Band<V>], &Block, usize),
        codes: &[u32],
    ) -> Result<()> {
        self.column.clear();
        self.weights.clear();
        match view {
            View::Cells(_) => {
                for band in bands {
                    band.append(slot, codes, &mut self.column);
                }
                Ok(())
            }
            View::Genes(genes) => {
                append_gene(&**genes, place(block.genes()[slot]), codes, &mut self.column)
            }
            View::Counted(table) => {
                let Self { column, weights, .. } = self;
                let (gene, mut single) = (place(block.genes()[slot]), true);
                visit_non_zeros(&**table, gene, codes, |code, value, count| {
                    column.push(Entry { value, code });
                    weights.push(count.into());
                    single &= count == 1;
                })?;
                if single {
                    weights.clear();
                }
                Ok(())
            }
        }
    }

    /// The sample, from the sizes of all codes.
    pub(super) fn sample(&mut self, sizes: &[u64]) -> Sample<'_, V> {
        self.count(sizes);
        let weights = (!self.weights.is_empty()).then_some(&self.weights[..]);
        Sample { entries: &self.column, weights, zeros: &self.zeros }
    }

    /// Counts the zeros of each code.
    fn count(&mut self, sizes: &[u64]) {
        self.counts.clear();
        self.counts.resize(sizes.len(), 0);
        if self.weights.is_empty() {
            self.column.iter().for_each(|entry| self.counts[place(entry.code)] += 1);
        } else {
            let cells = self.column.iter().zip(&self.weights);
            cells.for_each(|(entry, n)| self.counts[place(entry.code)] += n);
        }
        let sizes = sizes.iter().zip(&self.counts);
        self.zeros.clear();
        self.zeros.extend(sizes.map(|(&size, &count)| size.saturating_sub(count)));
    }
}

/// Gathers a block's bands; nothing to do where genes are stored one after the other.
pub(super) fn gather<V: Value>(
    view: &View<V>,
    block: &Block,
    codes: &[u32],
    (workers, bands): (&Workers<Worker<V>>, &mut Vec<Band<V>>),
    monitor: &Monitor,
) -> Result<()> {
    let View::Cells(cells) = view else { return Ok(()) };
    bands.resize_with(cells.bands(), Band::default);
    workers.for_each(bands.iter_mut().enumerate(), |_, (number, band)| {
        monitor.check()?;
        cells.gather(number, block, codes, band)
    })
}

/// # Errors
/// [`ErrorKind::ShapeMismatch`], [`ErrorKind::UnknownGene`] or [`ErrorKind::UnsortedGenes`].
pub(super) fn check_request(shape: (usize, usize), codes: usize, genes: &[u32]) -> Result<()> {
    let (n_cells, n_genes) = shape;
    if codes != n_cells {
        let (expected, got) = (n_cells, codes);
        return Err(ErrorKind::ShapeMismatch { what: "labels", expected, got }.into());
    }
    if let Some(position) = genes.windows(2).position(|pair| pair[0] >= pair[1]) {
        return Err(ErrorKind::UnsortedGenes { position: position + 1 }.into());
    }
    match genes.last() {
        Some(&gene) if place(gene) >= n_genes => {
            Err(ErrorKind::UnknownGene { gene: place(gene), n_genes }.into())
        }
        _ => Ok(()),
    }
}

/// An error, which names the first NaN of some genes if it is of any.
pub(super) fn with_first_nan<V: Value>(
    error: Error,
    view: &View<V>,
    codes: &[u32],
    genes: &[u32],
) -> Error {
    error.map_kind(|kind| match kind {
        ErrorKind::NotANumber { gene, .. } => {
            let (cell, gene) = first_nan(view, codes, genes).unwrap_or((0, gene));
            ErrorKind::NotANumber { cell, gene }
        }
        kind => kind,
    })
}

/// The first NaN that takes part, in the order of cells, then genes; `None` where the matrix changed
/// meanwhile.
fn first_nan<V: Value>(view: &View<V>, codes: &[u32], wanted: &[u32]) -> Option<(usize, usize)> {
    let labelled = |cell: usize| codes.get(cell).is_some_and(|&code| code != SKIP);
    match view {
        View::Cells(cells) => (0..codes.len()).filter(|&cell| labelled(cell)).find_map(|cell| {
            let mut found = None;
            let genes = 0..cells.shape().1;
            let visited = cells.visit_cell(cell, genes, &mut |stretch| {
                let nan = stretch
                    .places
                    .iter()
                    .zip(stretch.values)
                    .find(|(gene, value)| value.is_nan() && wanted.binary_search(gene).is_ok());
                found = found.or(nan.map(|(&gene, _)| (cell, place(gene))));
            });
            visited.ok().and(found)
        }),
        View::Genes(genes) => {
            let first = |&gene: &u32| {
                let mut found = None;
                let visited = genes.visit_gene(place(gene), &mut |stretch| {
                    let nan = stretch.places.iter().zip(stretch.values);
                    let mut nan = nan.filter(|(cell, v)| v.is_nan() && labelled(place(**cell)));
                    found = found.or(nan.next().map(|(&cell, _)| (place(cell), place(gene))));
                });
                visited.ok().and(found)
            };
            wanted.iter().filter_map(first).min()
        }
        // A table that was made of NaN says of which cell.
        View::Counted(_) => None,
    }
}

#[cfg(test)]
mod tests;
