//! Genes folded to rows of a count table: (gene, group, value) and the number of cells.
//!
//! ```text
//! rows   the columns that rows go to
//! gene   one gene's cells to rows
//! ```
//!
//! Genes are folded in order, some at a time. Strips of small counts that are stored cell after cell
//! are counted once into bins ([`super::source::group_tables`]), and bins become rows; all else goes
//! gene by gene. Rows are made by all workers, each with columns of its own, so that nothing is copied
//! together.

mod gene;
pub mod rows;

use super::design::Design;
use super::plan::{Limits, Sizes};
use super::pool::{Monitor, Workers};
use super::run::{GeneColumn, Worker, check_request, gather, with_first_nan};
use super::source::group_rows::GroupRows;
use super::source::group_tables::{Counting, GroupTables, Layout, Survey, Walk, survey};
use super::source::overflow::Overflow;
use crate::cast::{narrow, place};
use crate::error::{ErrorKind, Result};
use crate::matrix::{Band, Block, CellMajor, Keyed, Value, View};
use gene::GeneFold;
use rows::Rows;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which cells share a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    /// Those of one group with one value. A gene's rows ascend by group, then by value.
    Sorted,
    /// The same, in any order: by value, where that is what the rows are made of.
    Values,
    /// The zeros of one group; each other cell has a row of its own.
    Zeros,
    /// None.
    Cells,
}

impl Folding {
    /// True if cells of one group with one value share a row.
    #[must_use]
    pub fn is_by_value(self) -> bool {
        matches!(self, Self::Sorted | Self::Values)
    }
}

/// What is folded, and how.
#[derive(Debug, Clone, Copy)]
pub struct FoldRequest<'a> {
    /// Every cell's code is the number of its group.
    pub design: &'a Design,
    /// The genes, strictly ascending.
    pub genes: &'a [u32],
    pub folding: Folding,
    /// Whether zeros have rows; where they have none, a group's cells without a row are zeros.
    pub zeros: bool,
    /// About how many rows are made at a time.
    pub rows: usize,
    /// Whether a NaN is an error.
    pub refuses_nan: bool,
    pub limits: Limits,
    pub monitor: &'a Monitor,
}

/// How far the genes of a view are folded, and what is kept on the way.
#[derive(Debug)]
pub struct Fold<V> {
    /// Genes that are done.
    done: usize,
    /// Strips of genes, each with whether its cells are counted into bins.
    strips: Option<Vec<(Range<usize>, bool)>>,
    survey: Option<Survey>,
    groups: Option<GroupRows>,
    /// The strip whose cells the tables hold.
    counted: Range<usize>,
    tables: GroupTables<V>,
    walkers: Workers<Walk<V>>,
    workers: Workers<FoldWorker<V>>,
    gatherers: Workers<Worker<V>>,
    bands: Vec<Band<V>>,
    /// Rows of a gene, by those made last.
    rows_of_gene: usize,
}

/// Scratch of one worker.
#[derive(Debug)]
struct FoldWorker<V> {
    column: GeneColumn<V>,
    fold: GeneFold<V>,
    /// A 0 for each group, in place of its zeros.
    none: Vec<u64>,
}

impl<V> Default for FoldWorker<V> {
    fn default() -> Self {
        Self { column: GeneColumn::default(), fold: GeneFold::default(), none: Vec::new() }
    }
}

impl<V: Keyed> FoldWorker<V> {
    /// Adds the rows of one gene of a block.
    fn add(
        &mut self,
        view: &View<V>,
        (bands, block, slot): (&[Band<V>], &Block, usize),
        request: &FoldRequest,
        rows: &mut Rows<V>,
    ) -> Result<()> {
        let FoldRequest { design, folding, zeros, refuses_nan, monitor, .. } = *request;
        monitor.check()?;
        self.column.load(view, (bands, block, slot), design.codes())?;
        if refuses_nan && self.column.column.iter().any(|entry| entry.value.is_nan()) {
            let gene = place(block.genes()[slot]);
            return Err(ErrorKind::NotANumber { cell: 0, gene }.into());
        }
        let (mut sizes, mut sample) = (design.sizes(), self.column.sample(design.sizes()));
        if !zeros {
            self.none.resize(sizes.len(), 0);
            (sizes, sample.zeros) = (&self.none, &self.none);
        }
        self.fold.fold(&sample, sizes, folding, rows);
        monitor.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl<V: Keyed> Fold<V> {
    /// Nothing folded yet; as many threads as said.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self {
            done: 0,
            strips: None,
            survey: None,
            groups: None,
            counted: 0..0,
            tables: GroupTables::default(),
            walkers: Workers::new(threads),
            workers: Workers::new(threads),
            gatherers: Workers::new(threads),
            bands: Vec::new(),
            rows_of_gene: 0,
        }
    }

    /// Begins anew, with another view or another request.
    pub fn restart(&mut self) {
        self.done = 0;
        (self.strips, self.survey, self.groups) = (None, None, None);
        self.counted = 0..0;
        self.bands.iter_mut().for_each(Band::reset);
    }

    /// The rows of the next genes, in order; `None` once all genes are done. Every call gets the same
    /// view and the same request.
    ///
    /// Runs on the current rayon pool.
    ///
    /// # Errors
    /// Those of [`super::run::Run::run`]; NaN only where it is refused.
    pub fn next(&mut self, view: &View<V>, request: &FoldRequest) -> Result<Option<Vec<Rows<V>>>> {
        check_request(view.shape(), request.design.codes().len(), request.genes)?;
        if self.strips.is_none() {
            self.strips = Some(self.plan(view, request)?);
        }
        let (strips, done) = (self.strips.as_deref().unwrap_or_default(), self.done);
        let strip = strips.iter().find(|(strip, _)| strip.contains(&done)).cloned();
        let Some((strip, into_bins)) = strip else { return Ok(None) };
        let made = match view {
            View::Cells(cells) if into_bins => self.bins(&**cells, request, &strip),
            _ => self.genes(view, request, &strip),
        };
        let codes = request.design.codes();
        let (rows, genes) =
            made.map_err(|error| with_first_nan(error, view, codes, request.genes))?;
        self.rows_of_gene = rows.iter().map(Rows::len).sum::<usize>() / genes.max(1) + 1;
        self.done += genes;
        Ok(Some(rows))
    }

    /// Cuts all genes into strips.
    fn plan(&mut self, view: &View<V>, request: &FoldRequest) -> Result<Vec<(Range<usize>, bool)>> {
        let FoldRequest { design, genes, limits, .. } = request;
        let View::Cells(cells) = view else { return Ok(vec![(0..genes.len(), false)]) };
        // Where fewer cells than groups express a gene, most bins of most groups are empty.
        let few = !request.zeros
            && cells.entries() / cells.shape().1.max(1) < request.design.sizes().len();
        if !request.folding.is_by_value() || few {
            return Ok(vec![(0..genes.len(), false)]);
        }
        let survey = survey(&**cells, genes, design.codes(), limits)?;
        let strips = survey.strips(design.sizes().len(), true, limits);
        self.survey = Some(survey);
        self.groups = Some(GroupRows::new(design.codes(), design.sizes()));
        Ok(strips)
    }

    /// How many genes make about as many rows as asked for.
    fn step(&self, request: &FoldRequest) -> usize {
        let known = self.rows_of_gene;
        let guess = if known == 0 { 4 * request.design.sizes().len() } else { known };
        (request.rows / guess.max(1)).max(1)
    }

    /// The rows of some genes whose cells are counted into bins.
    fn bins(
        &mut self,
        cells: &dyn CellMajor<V>,
        request: &FoldRequest,
        strip: &Range<usize>,
    ) -> Result<(Vec<Rows<V>>, usize)> {
        let (Some(survey), Some(groups)) = (&self.survey, &self.groups) else {
            return Ok((Vec::new(), strip.len()));
        };
        let genes = &request.genes[strip.clone()];
        let layout = Layout::new(genes, &survey.widths[strip.clone()]);
        let counting = Counting {
            matrix: cells,
            groups,
            layout,
            limits: &request.limits,
            monitor: request.monitor,
            walkers: &self.walkers,
            refuses_nan: request.refuses_nan,
            first: strip.start,
            cells_done: AtomicUsize::new(0),
        };
        if self.counted != *strip {
            counting.all(&mut self.tables)?;
            self.counted = strip.clone();
        }
        let first = self.done - strip.start;
        let last = (first + self.step(request)).min(genes.len());
        let (tables, bins) = (tables_of(&self.tables), &counting.layout.bins);
        let sizes = request.design.sizes();
        let part = (last - first).div_ceil(4 * self.workers.count()).max(1);
        let mut parts = vec![Rows::default(); (last - first).div_ceil(part)];
        let items = parts.iter_mut().enumerate();
        self.workers.for_each(items, |_, (number, rows)| {
            request.monitor.check()?;
            let start = first + number * part;
            for gene in start..(start + part).min(last) {
                for (&size, table) in sizes.iter().zip(&tables) {
                    // Of a group of no cells, none is left to be a zero.
                    let size = if request.zeros { size } else { 0 };
                    table.push(genes[gene], bins[gene].clone(), size, rows);
                }
                rows.end_gene();
            }
            Ok(())
        })?;
        Ok((parts, last - first))
    }

    /// The rows of some genes, folded one by one.
    fn genes(
        &mut self,
        view: &View<V>,
        request: &FoldRequest,
        strip: &Range<usize>,
    ) -> Result<(Vec<Rows<V>>, usize)> {
        let FoldRequest { design, genes, folding, zeros, .. } = *request;
        let sizes = Sizes {
            entries: view.entries(),
            matrix_genes: view.shape().1,
            genes: genes.len(),
            targets: 1,
            groups: design.sizes().len(),
            threads: self.workers.count(),
        };
        let each = match folding {
            Folding::Cells if zeros => view.shape().0,
            _ => view.entries() / view.shape().1.max(1) + design.sizes().len(),
        };
        let step = request.limits.block(&sizes, matches!(view, View::Cells(_)));
        let step = step.min((request.rows / each.max(1)).max(self.workers.count()));
        let genes = &genes[self.done..strip.end.min(self.done + step)];
        let Some(block) = Block::new(genes) else { return Ok((Vec::new(), strip.len())) };
        if self.done == strip.start {
            self.bands.iter_mut().for_each(Band::reset);
        }
        let codes = design.codes();
        gather(view, &block, codes, (&self.gatherers, &mut self.bands), request.monitor)?;
        let part = genes.len().div_ceil(4 * self.workers.count()).max(1);
        let mut parts = vec![Rows::default(); genes.len().div_ceil(part)];
        let (bands, items) = (&self.bands, parts.iter_mut().enumerate());
        self.workers.for_each(items, |worker, (number, rows)| {
            let slots = number * part..((number + 1) * part).min(genes.len());
            slots
                .into_iter()
                .try_for_each(|slot| worker.add(view, (bands, &block, slot), request, rows))
        })?;
        Ok((parts, genes.len()))
    }
}

/// A group's bins, of 16 bits or of 32.
#[derive(Debug, Clone, Copy)]
enum Table<'a, V> {
    Small(u32, &'a [u16], &'a Overflow<V>),
    Large(u32, &'a [u32], &'a Overflow<V>),
}

impl<V: Value> Table<'_, V> {
    fn group(&self) -> u32 {
        match self {
            Self::Small(group, ..) | Self::Large(group, ..) => *group,
        }
    }

    /// Adds the rows of the gene whose bins are `bins`.
    fn push(&self, gene: u32, bins: Range<usize>, size: u64, rows: &mut Rows<V>) {
        match *self {
            Self::Small(group, table, overflow) => {
                rows.push_bins(group, (&table[bins], overflow.of(gene)), size);
            }
            Self::Large(group, table, overflow) => {
                rows.push_bins(group, (&table[bins], overflow.of(gene)), size);
            }
        }
    }
}

/// The tables of all groups, in order.
fn tables_of<V: Value>(tables: &GroupTables<V>) -> Vec<Table<'_, V>> {
    let small = tables.small().map(|(code, table, over)| Table::Small(narrow(code), table, over));
    let large = tables.large().iter();
    let large = large.map(|(code, g)| Table::Large(narrow(*code), &g.table, &g.overflow));
    let mut all: Vec<_> = small.chain(large).collect();
    all.sort_unstable_by_key(Table::group);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::design::Reference;
    use crate::matrix::{ColumnMajor, RowMajor, SKIP};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const CELLS: usize = 50;
    const GENES: usize = 7;
    const GROUPS: usize = 5;

    /// (gene, group, value) and cells, as the definition has them.
    type Listed = Vec<(u32, u32, f32, u32)>;

    fn definition(rows: &[f32], labels: &[u32], genes: &[u32]) -> Listed {
        let mut found: BTreeMap<(u32, u32, u64), (f32, u32)> = BTreeMap::new();
        for (cell, &group) in labels.iter().enumerate().filter(|label| *label.1 != SKIP) {
            for &gene in genes {
                let value = rows[cell * GENES + gene as usize] + 0.0;
                found.entry((gene, group, value.key())).or_insert((value, 0)).1 += 1;
            }
        }
        found.into_iter().map(|((gene, group, _), (value, n))| (gene, group, value, n)).collect()
    }

    fn folded(view: &View<f32>, request: &FoldRequest) -> Listed {
        let (mut fold, mut found, mut genes) = (Fold::new(2), Vec::new(), request.genes.iter());
        while let Some(parts) = fold.next(view, request).unwrap() {
            for rows in parts {
                let mut start = 0;
                for &end in &rows.ends {
                    let gene = *genes.next().unwrap();
                    let row = |i: usize| (gene, rows.group[i], rows.value[i], rows.count[i]);
                    found.extend((start..end).map(row));
                    start = end;
                }
                assert_eq!(start, rows.len());
            }
        }
        assert_eq!(genes.next(), None);
        found
    }

    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![
            9 => Just(0.0f32),
            6 => (0u8..5).prop_map(f32::from),
            1 => prop::sample::select(vec![-1.0f32, 0.5, 300.0, 70_000.0, -0.0]),
        ]
    }

    proptest! {
        #[test]
        fn every_layout_gives_the_rows_of_the_definition(
            rows in prop::collection::vec(value(), CELLS * GENES), step in 1usize..90,
            labels in prop::collection::vec(prop_oneof![9 => 0u32..GROUPS as u32, 1 => Just(SKIP)], CELLS),
            kept in prop::collection::vec(0u8..8, GENES), real in prop::collection::vec(any::<bool>(), GENES), small: bool,
        ) {
            // Genes of counts beside genes of real values.
            let rows: Vec<f32> = rows.iter().enumerate()
                .map(|(i, &v)| if real[i % GENES] { (v + (i % 4) as f32 / 8.0) * v.abs().min(1.0) } else { v }).collect();
            let genes: Vec<u32> = (0..GENES as u32).filter(|&g| kept[g as usize] > 0).collect();
            let design = Design::new(labels.clone(), GROUPS - 1, Reference::Rest).unwrap();
            let limits = Limits { strip_bins: 30, least_strip_bins: 1, table_bins: 150, walk: 3, block_entries: 120, block_genes: 2, ..Limits::default() };
            let limits = if small { limits } else { Limits::default() };
            let (monitor, folding) = (Monitor::default(), Folding::Sorted);
            let request = FoldRequest { design: &design, genes: &genes, folding, zeros: true, rows: step, refuses_nan: true, limits, monitor: &monitor };
            let want = definition(&rows, &labels, &genes);
            let columns: Vec<f32> = (0..CELLS * GENES).map(|i| rows[i % CELLS * GENES + i / CELLS]).collect();
            let shape = (CELLS, GENES);
            for view in [View::cells(RowMajor::new(shape, &rows).unwrap()), View::genes(ColumnMajor::new(shape, &columns).unwrap())] {
                prop_assert_eq!(&folded(&view, &request), &want);
                let without: Listed = want.iter().copied().filter(|row| row.2 != 0.0).collect();
                prop_assert_eq!(&folded(&view, &FoldRequest { zeros: false, ..request }), &without);
                // Zeros and cells: the same cells in more rows.
                for (folding, zeros) in [Folding::Values, Folding::Zeros, Folding::Cells].into_iter().flat_map(|f| [(f, true), (f, false)]) {
                    let want = if zeros { &want } else { &without };
                    let got = folded(&view, &FoldRequest { folding, zeros, ..request });
                    let singles = got.iter().filter(|row| row.2 != 0.0 || folding == Folding::Cells);
                    prop_assert!(folding == Folding::Values || singles.clone().all(|row| row.3 == 1));
                    prop_assert!(folding != Folding::Values || got.len() == want.len());
                    let mut sums: BTreeMap<(u32, u32, u64), (f32, u32)> = BTreeMap::new();
                    for (gene, group, value, n) in got {
                        sums.entry((gene, group, value.key())).or_insert((value, 0)).1 += n;
                    }
                    let got: Listed = sums.into_iter().map(|((a, b, _), (v, n))| (a, b, v, n)).collect();
                    prop_assert_eq!(&got, want);
                }
            }
        }
    }

    #[test]
    fn groups_of_more_than_65_535_cells_are_counted() {
        let cells = 70_000usize;
        let rows: Vec<f32> = (0..cells * 2).map(|i| (i % 3) as f32).collect();
        let labels: Vec<u32> = (0..cells as u32).map(|cell| u32::from(cell >= 69_000)).collect();
        let design = Design::new(labels, 1, Reference::Rest).unwrap();
        let (monitor, limits, folding) = (Monitor::default(), Limits::default(), Folding::Sorted);
        let genes = &[0, 1];
        let request = FoldRequest {
            design: &design,
            genes,
            folding,
            zeros: true,
            rows: 9,
            refuses_nan: true,
            limits,
            monitor: &monitor,
        };
        let got = folded(&View::cells(RowMajor::new((cells, 2), &rows).unwrap()), &request);
        let count = |gene: usize, from: usize, to: usize, value: f32| {
            (from..to).filter(|cell| rows[cell * 2 + gene] == value).count() as u32
        };
        let mut want = Vec::new();
        for gene in 0..2 {
            for (group, (from, to)) in [(0, (0, 69_000)), (1, (69_000, cells))] {
                want.extend(
                    [0.0, 1.0, 2.0].map(|v| (gene as u32, group, v, count(gene, from, to, v))),
                );
            }
        }
        assert_eq!(got, want);
    }

    #[test]
    fn nan_is_refused_or_passed_on() {
        let rows = [f32::NAN, 1.0, 2.0, f32::NAN];
        let design = Design::new(vec![0, 1], 1, Reference::Rest).unwrap();
        let (monitor, limits, folding) = (Monitor::default(), Limits::default(), Folding::Sorted);
        let genes = &[0, 1];
        let request = FoldRequest {
            design: &design,
            genes,
            folding,
            zeros: true,
            rows: 9,
            refuses_nan: true,
            limits,
            monitor: &monitor,
        };
        for view in [
            View::cells(RowMajor::new((2, 2), &rows).unwrap()),
            View::genes(ColumnMajor::new((2, 2), &rows).unwrap()),
        ] {
            let error = Fold::new(1).next(&view, &request).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::NotANumber { .. }), "{error}");
            let got = folded(&view, &FoldRequest { refuses_nan: false, ..request });
            assert_eq!(got.iter().filter(|row| row.2.is_nan()).count(), 2);
            assert_eq!(got.len(), 4);
        }
    }
}
