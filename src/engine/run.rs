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
use crate::matrix::{Band, Block, CellMajor, Column, SKIP, Value, View, append_gene};
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
        if genes.is_empty() || design.n_targets() == 0 {
            return Ok(());
        }
        if first == 0 {
            table.touch();
        }
        let named = |error: Error| {
            error.map_kind(|kind| match kind {
                ErrorKind::NotANumber { gene, .. } => {
                    let (cell, gene) = first_nan(view, self.request).unwrap_or((0, gene));
                    ErrorKind::NotANumber { cell, gene }
                }
                kind => kind,
            })
        };
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
    /// Non-zeros of each code, and zeros.
    counts: Vec<u32>,
    zeros: Vec<u64>,
}

impl<V> Default for GeneColumn<V> {
    fn default() -> Self {
        Self { column: Column::new(), counts: Vec::new(), zeros: Vec::new() }
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
        }
    }

    /// The sample, from the sizes of all codes.
    pub(super) fn sample(&mut self, sizes: &[u64]) -> Sample<'_, V> {
        self.count(sizes);
        Sample { entries: &self.column, weights: None, zeros: &self.zeros }
    }

    /// Counts the zeros of each code.
    fn count(&mut self, sizes: &[u64]) {
        self.counts.clear();
        self.counts.resize(sizes.len(), 0);
        for entry in &self.column {
            self.counts[place(entry.code)] += 1;
        }
        let sizes = sizes.iter().zip(&self.counts);
        self.zeros.clear();
        self.zeros.extend(sizes.map(|(&size, &count)| size.saturating_sub(count.into())));
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

/// The first NaN that takes part, in the order of cells, then genes; `None` where the matrix changed
/// meanwhile.
fn first_nan<V: Value>(view: &View<V>, request: &Request) -> Option<(usize, usize)> {
    let codes = request.design.codes();
    let labelled = |cell: usize| codes.get(cell).is_some_and(|&code| code != SKIP);
    match view {
        View::Cells(cells) => (0..codes.len()).filter(|&cell| labelled(cell)).find_map(|cell| {
            let mut found = None;
            let genes = 0..cells.shape().1;
            let visited = cells.visit_cell(cell, genes, &mut |stretch| {
                let nan = stretch.places.iter().zip(stretch.values).find(|(gene, value)| {
                    value.is_nan() && request.genes.binary_search(gene).is_ok()
                });
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
            request.genes.iter().filter_map(first).min()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::column::Column;
    use crate::engine::design::{Design, Reference};
    use crate::engine::request::Scale;
    use crate::engine::test::Test;
    use crate::matrix::{ColumnMajor, Csc, Csr, RowMajor};
    use crate::stats::ttest::{self, Method::Permutation};
    use crate::stats::wilcoxon;
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

    /// The measured table of one view, all p-values made.
    fn table<V: Value>(view: &View<V>, request: &Request, limits: Limits) -> Table {
        let n_targets = request.design.n_targets();
        let mut table = Table::new(n_targets, request.genes.len(), request.own_columns());
        let (tables, monitor) = (NullTables::default(), Monitor::default());
        let run = Run { request, tables: &tables, limits, monitor: &monitor };
        let mut workspace = Workspace::new(2);
        // Twice, so that what is left in the scratch of one run is seen by the next.
        run.run(view, &mut workspace, (&mut table, 0)).unwrap();
        run.run(view, &mut workspace, (&mut table, 0)).unwrap();
        table.complete(request.test);
        table
    }

    fn same(a: &[f64], b: &[f64]) -> bool {
        let equal = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
        a.len() == b.len() && a.iter().zip(b).all(equal)
    }

    /// Limits so small that a screen of 60 cells has several strips and blocks, and large groups.
    fn tiny() -> Limits {
        Limits {
            strip_bins: 30,
            least_strip_bins: 1,
            table_bins: 150,
            walk: 3,
            block_entries: 120,
            block_genes: 2,
            block_records: 8,
            ..Limits::default()
        }
    }

    proptest! {
        #[test]
        fn every_layout_and_source_gives_one_table(
            rows in rows(), labels in prop::collection::vec(0u32..6, CELLS), rest: bool,
            test in prop::sample::select(Test::each().to_vec()), stratified: bool,
            scale in prop::sample::select(vec![Scale::Plain, Scale::MeanOfExpm1 { ln_base: 1.0 }, Scale::Geometric]),
            skipped in prop::collection::vec(0u8..8, GENES), auroc: bool, small: bool,
            strata in prop::collection::vec(prop_oneof![9 => 0u32..3, 1 => Just(SKIP)], CELLS),
        ) {
            let labels: Vec<u32> = labels.iter().map(|&l| if l > TARGETS as u32 { SKIP } else { l }).collect();
            let reference = if rest { Reference::Rest } else { Reference::Group };
            let mut design = Design::new(labels, TARGETS, reference).unwrap();
            if stratified && test.check_stratified().is_ok() {
                design = design.stratified(&strata, 3).unwrap();
            }
            let genes: Vec<u32> = (0..GENES as u32).filter(|&g| skipped[g as usize] > 0).collect();
            // Geometric means need values above -1.
            let rows: Vec<f32> = rows.iter().map(|&v| if scale == Scale::Plain { v } else { v.clamp(0.0, 600.0) }).collect();
            let request = Request { design: &design, test, auroc, scale, genes: &genes };
            let limits = if small { tiny() } else { Limits::default() };
            let shape = (CELLS, GENES);
            let (values, indices, indptr) = compressed(&rows, true);
            let csc = Csc::new(shape, &values, &indices, &indptr).unwrap();
            let want = table(&View::Genes(Box::new(csc)), &request, Limits::default());
            let csc = Csc::new(shape, &values, &indices, &indptr).unwrap();
            let (values, indices, indptr) = compressed(&rows, false);
            let csr = Csr::new(shape, &values, &indices, &indptr).unwrap();
            let columns: Vec<f32> = (0..CELLS * GENES).map(|i| rows[i % CELLS * GENES + i / CELLS]).collect();
            let views: [View<f32>; 4] = [
                View::Genes(Box::new(csc)),
                View::Cells(Box::new(csr)),
                View::Cells(Box::new(RowMajor::new(shape, &rows).unwrap())),
                View::Genes(Box::new(ColumnMajor::new(shape, &columns).unwrap())),
            ];
            let mut tables: Vec<Table> = views.iter().map(|view| table(view, &request, limits)).collect();
            let wide: Vec<f64> = rows.iter().map(|&v| f64::from(v)).collect();
            let wide = RowMajor::new(shape, &wide).unwrap();
            tables.push(table(&View::Cells(Box::new(wide)), &request, limits));
            for got in tables {
                // Whole numbers up to the last step, and sums in two words: the same bits.
                for column in Column::measured(request.own_columns()) {
                    prop_assert!(same(&got[column], &want[column]), "{:?} {:?} {:?}", column, &got[column], &want[column]);
                }
            }
        }
    }

    /// More than 16,384 cells in one group, as large groups are in default limits, beside 16,384.
    #[test]
    fn large_groups_are_walked_by_all_workers() {
        for n in [16_384usize, 16_385, 70_000] {
            let cells = n + 300;
            let value =
                |cell: usize, gene: usize| ((cell * 7 + gene * 13) % 11 % (gene + 2)) as f32;
            let rows: Vec<f32> = (0..cells * 3).map(|i| value(i / 3, i % 3)).collect();
            let columns: Vec<f32> = (0..cells * 3).map(|i| value(i % cells, i / cells)).collect();
            let code = |cell: usize| if cell < n { 0 } else { 1 + (cell % 2) as u32 };
            let labels: Vec<u32> = (0..cells).map(code).collect();
            for reference in [Reference::Group, Reference::Rest] {
                let design = Design::new(labels.clone(), 2, reference).unwrap();
                let test = Test::Wilcoxon(wilcoxon::Options::default());
                let (scale, genes) = (Scale::Plain, &[0, 1, 2][..]);
                let request = Request { design: &design, test, auroc: false, scale, genes };
                let mut out = Vec::new();
                let shape = (cells, 3);
                for view in [
                    View::Cells(Box::new(RowMajor::new(shape, &rows).unwrap())),
                    View::Genes(Box::new(ColumnMajor::new(shape, &columns).unwrap())),
                ] {
                    let (tables, monitor) = (NullTables::default(), Monitor::default());
                    let limits = Limits::default();
                    let run = Run { request: &request, tables: &tables, limits, monitor: &monitor };
                    let mut table = Table::new(2, 3, request.own_columns());
                    run.run::<f32>(&view, &mut Workspace::new(2), (&mut table, 0)).unwrap();
                    out.push(table);
                }
                for column in [Column::Statistic, Column::TargetMean, Column::ZScore] {
                    assert!(same(&out[0][column], &out[1][column]), "{n} {reference:?} {column:?}");
                }
            }
        }
    }

    /// Targets of more distinct values than are listed, small, large, whole and real: nodes have the same
    /// bits from every source.
    #[test]
    fn nodes_of_values_are_those_of_every_source() {
        let (cells, genes) = (900usize, 4usize);
        let value = |cell: usize, gene: usize| {
            let u = (cell * 7_919 + gene * 104_729) % 1_009;
            let shifted = if cell < 300 && gene != 3 { u + u / 3 } else { u };
            let count = (shifted * shifted / 2_500) as f32;
            match gene {
                0 => count,
                1 => count - 12.0,
                2 => count / 8.0,
                _ => (u as f32).sqrt() * f32::from(u8::from(u > 400)),
            }
        };
        let rows: Vec<f32> = (0..cells * genes).map(|i| value(i / genes, i % genes)).collect();
        let columns: Vec<f32> = (0..cells * genes).map(|i| value(i % cells, i / cells)).collect();
        let wide: Vec<f64> = rows.iter().map(|&v| f64::from(v)).collect();
        // Targets of 30, 200 and 70 cells.
        let code =
            |cell: usize| [(30, 1), (230, 2), (300, 3), (900, 0)].into_iter().find(|c| cell < c.0);
        let labels: Vec<u32> = (0..cells).map(|cell| code(cell).map_or(SKIP, |c| c.1)).collect();
        let options = ttest::Options { method: Permutation, ..Default::default() };
        let shape = (cells, genes);
        for reference in [Reference::Group, Reference::Rest] {
            let design = Design::new(labels.clone(), 3, reference).unwrap();
            let (test, scale, genes) = (Test::TTest(options), Scale::Plain, &[0, 1, 2, 3][..]);
            let request = Request { design: &design, test, auroc: false, scale, genes };
            let mut tables = Vec::new();
            for limits in [Limits::default(), tiny()] {
                let by_cells = View::Cells(Box::new(RowMajor::new(shape, &rows).unwrap()));
                let by_genes = View::Genes(Box::new(ColumnMajor::new(shape, &columns).unwrap()));
                tables
                    .extend([by_cells, by_genes].map(|view| table::<f32>(&view, &request, limits)));
                let wide = View::Cells(Box::new(RowMajor::new(shape, &wide).unwrap()));
                tables.push(table::<f64>(&wide, &request, limits));
            }
            let student = Test::TTest(ttest::Options::default());
            let request = Request { test: student, ..request };
            let view = View::Cells(Box::new(RowMajor::new(shape, &rows).unwrap()));
            let student = table::<f32>(&view, &request, Limits::default());
            let (p, others) = (&tables[0][Column::PValue], &student[Column::PValue]);
            let changed = p.iter().zip(others).filter(|(a, b)| a != b).count();
            assert!(p.iter().all(|p| *p > 0.0) && changed >= 6, "{p:?} {others:?}");
            for (i, other) in tables.iter().enumerate().skip(1) {
                assert!(
                    same(&other[Column::PValue], p),
                    "{i} {reference:?} {:?} {p:?}",
                    &other[Column::PValue]
                );
            }
        }
    }

    fn error(genes: &[u32], labels: Vec<u32>, values: &[f32]) -> ErrorKind {
        let design = Design::new(labels, 1, Reference::Group).unwrap();
        let test = Test::each()[0];
        let request = Request { design: &design, test, auroc: false, scale: Scale::Plain, genes };
        let (tables, monitor) = (NullTables::default(), Monitor::default());
        let limits = Limits::default();
        let run = Run { request: &request, tables: &tables, limits, monitor: &monitor };
        let mut table = Table::new(1, genes.len(), request.own_columns());
        let view = View::Cells(Box::new(RowMajor::new((2, 3), values).unwrap()));
        let error = run.run(&view, &mut Workspace::new(1), (&mut table, 0)).unwrap_err();
        error.kind().clone()
    }

    #[test]
    fn genes_must_ascend_and_exist() {
        let values = [1.0; 6];
        for (genes, position) in [(&[1, 0][..], 1), (&[0, 2, 2], 2)] {
            assert_eq!(error(genes, vec![0, 1], &values), ErrorKind::UnsortedGenes { position });
        }
        let (gene, n_genes) = (3, 3);
        assert_eq!(error(&[0, 3], vec![0, 1], &values), ErrorKind::UnknownGene { gene, n_genes });
        let (what, expected, got) = ("labels", 2, 3);
        let mismatch = ErrorKind::ShapeMismatch { what, expected, got };
        assert_eq!(error(&[0], vec![0, 1, 1], &values), mismatch);
    }

    #[test]
    fn the_first_nan_is_named() {
        let values = [f32::NAN, 1.0, f32::NAN, 2.0, f32::NAN, 1.0];
        let at = |cell, gene| ErrorKind::NotANumber { cell, gene };
        assert_eq!(error(&[0, 1, 2], vec![0, 1], &values), at(0, 0));
        // A gene that is not asked for, and a cell that takes no part, may hold one.
        assert_eq!(error(&[1, 2], vec![0, 1], &values), at(0, 2));
        assert_eq!(error(&[0, 1], vec![SKIP, 1], &values), at(1, 1));
    }
}
