//! Counts of cells that are stored one after the other: each group is walked once, into one histogram
//! a gene.
//!
//! # Method
//! A strip of genes gets a table of bins, as many for each gene as its values need (found by
//! looking at some of the cells), small enough for a core's cache.  One group's cells increment
//! it; then each gene's bins are compared with the shared ones ([`super::histogram`]).  Nothing is
//! sorted or transposed, and groups run in parallel.  Against a reference its table comes first,
//! and a target's is compared while it is in cache; against the rest every table is kept until the
//! sum of all is known.
//!
//! Values that have no bin (larger than expected, negative, fractional) go to the overflow list
//! ([`super::overflow`]).  A strip with many of them is not for this source: [`survey`] says so.
//!
//! Cost: one pass over the entries; O(bins) a comparison.

use super::bin::{Bin, Sums};
use super::group_rows::GroupRows;
use super::histogram::{HistogramPair, PairScratch, Shared, SharedGene, rank_bins};
use super::overflow::{Overflow, ties};
use crate::cast::{cells as narrow_cells, place, real_length, wide};
use crate::engine::design::Reference;
use crate::engine::plan::{Limits, strips};
use crate::engine::pool::{Monitor, Workers, lock};
use crate::engine::request::{GeneRequest, Request, Scale};
use crate::engine::table::{Row, Table};
use crate::engine::test::{Needs, Scratch};
use crate::error::{ErrorKind, Result};
use crate::matrix::{CellMajor, SKIP, Value};
use crate::stats::exact::NullTables;
use crate::stats::moments::PowerSums;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cells that are looked at to find how many bins each gene needs.
const SAMPLE: usize = 1024;
/// One value in so many may overflow.
const OVERFLOW: u64 = 64;
/// Counts that are found at once, before any is added.
const COUNTED: usize = 64;
/// Cells that bins of 16 bits count.
const FULL: usize = u16::MAX as usize;

/// What a look at some cells found: the bins that each gene needs, and its values that would overflow.
#[derive(Debug)]
pub struct Survey {
    widths: Vec<u32>,
    overflow: Vec<u32>,
    entries: Vec<u32>,
}

/// What was seen of one gene.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    largest: u32,
    overflow: u32,
    entries: u32,
}

/// Looks at some cells.
///
/// # Errors
/// Where the arrays changed since the view was made.
pub fn survey<V: Value>(
    matrix: &dyn CellMajor<V>,
    genes: &[u32],
    labels: &[u32],
    limits: &Limits,
) -> Result<Survey> {
    let n_genes = matrix.shape().1;
    let labelled = labels.iter().filter(|&&code| code != SKIP).count();
    let step = labelled.div_ceil(SAMPLE).max(1);
    let all = (0..labels.len()).filter(|&cell| labels[cell] != SKIP);
    let sample: Vec<usize> = all.step_by(step).collect();
    let look = |cells: &[usize]| -> Result<Vec<Seen>> {
        let mut seen = vec![Seen::default(); n_genes];
        for &cell in cells {
            matrix.visit_cell(cell, 0..n_genes, &mut |stretch| {
                for (&gene, value) in stretch.places.iter().zip(stretch.values) {
                    let Some(seen) = seen.get_mut(place(gene)) else { return };
                    let count = value.count();
                    let fits = count < limits.gene_bins;
                    seen.largest = seen.largest.max(if fits { count } else { 0 });
                    seen.overflow += u32::from(!fits);
                    seen.entries += 1;
                }
            })?;
        }
        Ok(seen)
    };
    let merge = |mut a: Vec<Seen>, b: Vec<Seen>| {
        for (a, b) in a.iter_mut().zip(b) {
            a.largest = a.largest.max(b.largest);
            a.overflow += b.overflow;
            a.entries += b.entries;
        }
        Ok(a)
    };
    let each = sample.len().div_ceil(rayon::current_num_threads()).max(1);
    let nothing = || vec![Seen::default(); n_genes];
    let seen = sample.par_chunks(each).map(look).try_reduce(nothing, merge)?;
    let of = |pick: fn(&Seen) -> u32| genes.iter().map(|&g| pick(&seen[place(g)])).collect();
    // Half as many bins again, for the cells that were not looked at.
    let width = |largest: u32| (largest + largest / 2 + 3).next_multiple_of(4);
    let widths: Vec<u32> = of(|seen| seen.largest);
    Ok(Survey {
        widths: widths.into_iter().map(|most| width(most).min(limits.gene_bins)).collect(),
        overflow: of(|seen| seen.overflow),
        entries: of(|seen| seen.entries),
    })
}

impl Survey {
    /// True if a strip of genes (by their places) is for this source.
    fn suits(&self, places: &Range<usize>) -> bool {
        let sum = |of: &[u32]| of[places.clone()].iter().map(|&n| u64::from(n)).sum::<u64>();
        sum(&self.overflow) * OVERFLOW <= sum(&self.entries)
    }

    /// Cuts all genes into strips, each with whether it is for this source.
    #[must_use]
    pub fn strips(
        &self,
        groups: usize,
        pooled: bool,
        limits: &Limits,
    ) -> Vec<(Range<usize>, bool)> {
        let Some(most) = limits.strip(groups, pooled) else {
            return vec![(0..self.widths.len(), false)];
        };
        let strips = strips(&self.widths, most);
        strips.into_iter().map(|strip| (strip.clone(), self.suits(&strip))).collect()
    }
}

/// One column's bins; they end at 0 where it is not asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Bins {
    first: u32,
    end: u32,
}

/// Where the bins of a strip's genes lie.
#[derive(Debug)]
struct Layout<'a> {
    genes: &'a [u32],
    /// For each column from the first gene on.
    columns: Vec<Bins>,
    /// For each gene its bins.
    bins: Vec<Range<usize>>,
    length: usize,
}

impl<'a> Layout<'a> {
    fn new(genes: &'a [u32], widths: &[u32]) -> Self {
        let (first, last) = (genes[0], genes[genes.len() - 1]);
        let mut columns = vec![Bins::default(); place(last - first) + 1];
        let (mut bins, mut length) = (Vec::with_capacity(genes.len()), 0);
        for (&gene, &width) in genes.iter().zip(widths) {
            let end = length + width;
            columns[place(gene - first)] = Bins { first: length, end };
            bins.push(place(length)..place(end));
            length = end;
        }
        Self { genes, columns, bins, length: place(length) }
    }

    fn range(&self) -> Range<usize> {
        let first = place(self.genes[0]);
        first..first + self.columns.len()
    }

    /// Adds cells to a table; values without a bin go to `overflow`.
    fn fill<V: Value, T: Bin>(
        &self,
        matrix: &dyn CellMajor<V>,
        cells: &[u32],
        table: &mut [T],
        overflow: &mut Overflow<V>,
    ) -> Result<()> {
        let (range, first, columns) = (self.range(), self.genes[0], &self.columns[..]);
        let mut add = |genes: &[u32], values: &[V]| {
            let mut counts = [0; COUNTED];
            counts.iter_mut().zip(values).for_each(|(n, value)| *n = value.count());
            for ((&gene, &value), &count) in genes.iter().zip(values).zip(&counts) {
                let Some(bins) = columns.get(place(gene.wrapping_sub(first))) else { continue };
                // A count that is none is larger than any end.
                let bin = bins.first.saturating_add(count);
                if bin < bins.end
                    && let Some(bin) = table.get_mut(place(bin))
                {
                    *bin += T::from(1);
                } else if bins.end > 0 {
                    overflow.push(gene, value);
                }
            }
        };
        for &cell in cells {
            matrix.visit_cell(place(cell), range.clone(), &mut |stretch| {
                let parts = stretch.places.chunks(COUNTED).zip(stretch.values.chunks(COUNTED));
                parts.for_each(|(genes, values)| add(genes, values));
            })?;
        }
        Ok(())
    }

    /// Counts the zeros of `cells` cells into the first bins of shared histograms.
    fn count_zeros<V: Value>(&self, table: &mut [u32], overflow: &Overflow<V>, cells: u64) {
        for (&gene, bins) in self.genes.iter().zip(&self.bins) {
            let bins = &mut table[bins.clone()];
            bins[0] = 0;
            let listed = bins.iter().map(|&bin| u64::from(bin)).sum::<u64>();
            let listed = listed + wide(overflow.of(gene).len());
            bins[0] = narrow_cells(cells.saturating_sub(listed));
        }
    }
}

/// What one worker keeps.
#[derive(Debug)]
pub struct Walk<V> {
    table: Vec<u16>,
    overflow: Overflow<V>,
    /// Cells in the table that were not yet added to their group's.
    pending: usize,
    pair: PairScratch,
    test: Scratch,
}

impl<V> Default for Walk<V> {
    fn default() -> Self {
        Self {
            table: Vec::new(),
            overflow: Overflow::default(),
            pending: 0,
            pair: PairScratch::default(),
            test: Scratch::default(),
        }
    }
}

/// What is kept from strip to strip.
#[derive(Debug)]
pub struct Strips<V> {
    shared: Vec<u32>,
    ranks: Vec<u32>,
    genes: Vec<SharedGene<V>>,
    weights: Vec<f64>,
    scale: Scale,
    /// Against the rest, the tables of all small groups, and their overflow values.
    tables: Vec<u16>,
    overflows: Vec<Overflow<V>>,
}

impl<V> Default for Strips<V> {
    fn default() -> Self {
        Self {
            shared: Vec::new(),
            ranks: Vec::new(),
            genes: Vec::new(),
            weights: Vec::new(),
            scale: Scale::default(),
            tables: Vec::new(),
            overflows: Vec::new(),
        }
    }
}

/// The histograms of one large group.
#[derive(Debug)]
struct Group<V> {
    table: Vec<u32>,
    overflow: Overflow<V>,
}

fn refuse_nan<V: Value>(overflow: &Overflow<V>) -> Result<()> {
    match overflow.nan() {
        Some(gene) => Err(ErrorKind::NotANumber { cell: 0, gene: place(gene) }.into()),
        None => Ok(()),
    }
}

/// Everything about a walk but the strip.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a, V: Value> {
    pub request: &'a Request<'a>,
    pub groups: &'a GroupRows,
    pub survey: &'a Survey,
    pub tables: &'a NullTables,
    pub limits: &'a Limits,
    pub monitor: &'a Monitor,
    pub walkers: &'a Workers<Walk<V>>,
}

/// One strip's run.
struct Strip<'a, V: Value> {
    matrix: &'a dyn CellMajor<V>,
    context: Context<'a, V>,
    gene_request: GeneRequest<'a>,
    needs: Needs,
    layout: Layout<'a>,
    /// Genes done before this strip, and the cells done in it.
    first: usize,
    cells_done: AtomicUsize,
}

/// Tests a strip of the request's genes (by their places) and writes it to `table` from gene `first`.
///
/// # Errors
/// [`ErrorKind::NotANumber`] with any gene that holds one, [`ErrorKind::Changed`], or
/// [`ErrorKind::Interrupted`].
pub fn run<V: Value>(
    matrix: &dyn CellMajor<V>,
    context: Context<V>,
    places: Range<usize>,
    kept: &mut Strips<V>,
    (table, first): (&mut Table, usize),
) -> Result<()> {
    let Context { request, survey, tables, .. } = context;
    let layout = Layout::new(&request.genes[places.clone()], &survey.widths[places.clone()]);
    let widest = layout.bins.iter().map(Range::len).max().unwrap_or(0);
    if std::mem::replace(&mut kept.scale, request.scale) != request.scale {
        kept.weights.clear();
    }
    let known = kept.weights.len();
    kept.weights.extend((known..widest).map(|v| request.scale.before(real_length(v))));
    let strip = Strip {
        matrix,
        context,
        gene_request: request.of_gene(tables),
        needs: request.test.needs(request.auroc),
        layout,
        first: first + places.start,
        cells_done: AtomicUsize::new(0),
    };
    let rows = table.rows(first + places.start, places.len());
    match request.design.reference() {
        Reference::Group => strip.against_reference(rows, kept),
        Reference::Rest => strip.against_rest(rows, kept),
    }
}

impl<V: Value> Strip<'_, V> {
    /// True if a group is large enough to split between threads.
    fn is_large(&self, code: usize) -> bool {
        self.context.groups.of(code).len() > 2 * self.context.limits.walk
    }

    /// One target after the other, several at once, against the reference's table.
    fn against_reference(&self, rows: Vec<Row>, kept: &mut Strips<V>) -> Result<()> {
        let mut reference = self.large_group(0, std::mem::take(&mut kept.shared))?;
        let cells = self.context.request.design.sizes()[0];
        self.layout.count_zeros(&mut reference.table, &reference.overflow, cells);
        kept.shared = reference.table;
        self.share(&reference.overflow, cells, kept);
        let kept = &*kept;
        let (large, small): (Vec<_>, Vec<_>) =
            (1..).zip(rows).partition(|(code, _)| self.is_large(*code));
        for (code, mut row) in large {
            let group = self.large_group(code, Vec::new())?;
            self.measure_alone(code, (&group.table, &group.overflow), kept, &mut row)?;
        }
        self.context.walkers.for_each(small.into_iter(), |walk, (code, mut row)| {
            let Walk { table, overflow, pair, test, .. } = walk;
            table.clear();
            table.resize(self.layout.length, 0);
            self.small_group(code, table, overflow)?;
            self.measure(code, (table, overflow), kept, (pair, test), &mut row)
        })
    }

    /// All tables, their sum, then one comparison after the other, several at once.
    fn against_rest(&self, mut rows: Vec<Row>, kept: &mut Strips<V>) -> Result<()> {
        let (large, small): (Vec<usize>, Vec<usize>) =
            (0..=rows.len()).partition(|&code| self.is_large(code));
        let large: Vec<(usize, Group<V>)> = large
            .into_iter()
            .map(|code| Ok((code, self.large_group(code, Vec::new())?)))
            .collect::<Result<_>>()?;
        let length = self.layout.length;
        let bins = length * small.len();
        // Room beyond what this strip needs stays for the next one.
        kept.tables.resize(kept.tables.len().max(bins), 0);
        kept.overflows.resize_with(small.len(), Overflow::default);
        let tables = kept.tables[..bins].chunks_exact_mut(length);
        let items: Vec<_> = small.iter().zip(tables).zip(&mut kept.overflows).collect();
        self.context.walkers.for_each(items.into_iter(), |_, ((&code, table), overflow)| {
            table.fill(0);
            self.small_group(code, table, overflow)
        })?;
        self.sum_tables(&large, bins, kept);
        let mut overflow = Overflow::default();
        for other in kept.overflows.iter().chain(large.iter().map(|(_, group)| &group.overflow)) {
            overflow.add(other);
        }
        overflow.sort();
        let cells = self.context.request.design.cells();
        self.layout.count_zeros(&mut kept.shared, &overflow, cells);
        self.share(&overflow, cells, kept);
        let kept = &*kept;
        for (code, group) in &large {
            if let Some(row) = code.checked_sub(1).and_then(|t| rows.get_mut(t)) {
                self.measure_alone(*code, (&group.table, &group.overflow), kept, row)?;
            }
        }
        // The groups that are no target, and the large ones, take no part any more.
        let mut wanted = rows.into_iter().map(Some).collect::<Vec<_>>();
        let items = small.iter().zip(kept.tables.chunks_exact(length)).zip(&kept.overflows);
        let items: Vec<_> = items
            .filter_map(|((&code, table), overflow)| {
                let row = wanted.get_mut(code.checked_sub(1)?)?.take()?;
                Some((code, table, overflow, row))
            })
            .collect();
        self.context.walkers.for_each(items.into_iter(), |walk, item| {
            let (code, table, overflow, mut row) = item;
            let Walk { pair, test, .. } = walk;
            self.measure(code, (table, overflow), kept, (pair, test), &mut row)
        })
    }

    /// Sums the tables of all groups into the shared one.
    fn sum_tables(&self, large: &[(usize, Group<V>)], bins: usize, kept: &mut Strips<V>) {
        let (length, tables) = (self.layout.length, &kept.tables[..bins]);
        kept.shared.clear();
        kept.shared.resize(length, 0);
        let part = length.div_ceil(4 * rayon::current_num_threads()).max(1);
        kept.shared.par_chunks_mut(part).enumerate().for_each(|(i, all)| {
            let bins = i * part..i * part + all.len();
            for table in tables.chunks_exact(length) {
                all.iter_mut().zip(&table[bins.clone()]).for_each(|(a, &b)| *a += u32::from(b));
            }
            for (_, group) in large {
                all.iter_mut().zip(&group.table[bins.clone()]).for_each(|(a, &b)| *a += b);
            }
        });
    }

    /// Fills `table`, zeroed, with a group's cells, on this thread.
    fn small_group(
        &self,
        code: usize,
        table: &mut [u16],
        overflow: &mut Overflow<V>,
    ) -> Result<()> {
        self.context.monitor.check()?;
        let cells = self.context.groups.of(code);
        debug_assert!(cells.len() <= FULL);
        overflow.clear();
        self.layout.fill(self.matrix, cells, table, overflow)?;
        refuse_nan(overflow)?;
        overflow.sort();
        self.progress(cells.len());
        Ok(())
    }

    /// A group's table, its cells shared out among all workers.  `table` is reused.
    fn large_group(&self, code: usize, mut table: Vec<u32>) -> Result<Group<V>> {
        let Context { walkers, limits, monitor, groups, .. } = self.context;
        let cells = groups.of(code);
        table.clear();
        table.resize(self.layout.length, 0);
        let total = Mutex::new(Group { table, overflow: Overflow::default() });
        let flush = |walk: &mut Walk<V>| {
            if std::mem::take(&mut walk.pending) > 0 {
                let mut total = lock(&total);
                let sums = total.table.iter_mut().zip(&walk.table);
                sums.for_each(|(sum, &bin)| *sum += u32::from(bin));
                total.overflow.add(&walk.overflow);
            }
        };
        walkers.visit(|walk| walk.pending = 0);
        let part = cells.len().div_ceil(2 * walkers.count()).clamp(1, limits.walk.min(FULL));
        walkers.for_each(cells.chunks(part), |walk, cells| {
            monitor.check()?;
            if walk.pending + cells.len() > FULL {
                flush(walk);
            }
            if walk.pending == 0 {
                walk.table.clear();
                walk.table.resize(self.layout.length, 0);
                walk.overflow.clear();
            }
            walk.pending += cells.len();
            self.layout.fill(self.matrix, cells, &mut walk.table, &mut walk.overflow)?;
            refuse_nan(&walk.overflow)?;
            self.progress(cells.len());
            Ok(())
        })?;
        walkers.visit(flush);
        let mut group = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        group.overflow.sort();
        Ok(group)
    }

    fn progress(&self, cells: usize) {
        let done = self.cells_done.fetch_add(cells, Ordering::Relaxed) + cells;
        let genes = self.layout.genes.len() * done / self.context.groups.len().max(1);
        self.context.monitor.done.fetch_max(self.first + genes, Ordering::Relaxed);
    }

    /// Prepares every gene's shared cells from the shared table, which holds `cells` cells.
    fn share(&self, overflow: &Overflow<V>, cells: u64, kept: &mut Strips<V>) {
        let Strips { shared, ranks, genes, .. } = kept;
        ranks.resize(shared.len(), 0);
        genes.resize_with(self.layout.bins.len(), SharedGene::default);
        let mut slices = Vec::with_capacity(self.layout.bins.len());
        let mut rest = &mut ranks[..];
        for bins in &self.layout.bins {
            let (these, others) = rest.split_at_mut(bins.len());
            slices.push(these);
            rest = others;
        }
        let each = slices.into_par_iter().zip(&self.layout.bins).zip(self.layout.genes);
        each.zip(genes).for_each(|(((ranks, bins), &number), gene)| {
            let overflow = overflow.of(number).iter().map(|entry| entry.1);
            self.share_gene(&shared[bins.clone()], ranks, (overflow, cells), gene);
        });
    }

    fn share_gene(
        &self,
        bins: &[u32],
        ranks: &mut [u32],
        (overflow, cells): (impl Iterator<Item = V>, u64),
        gene: &mut SharedGene<V>,
    ) {
        let request = &self.gene_request;
        let squares = request.test.needs(false).moments;
        gene.overflow.clear();
        gene.overflow.extend(overflow);
        gene.sums = if squares { Sums::of::<_, true>(bins) } else { Sums::of::<_, false>(bins) };
        gene.binned = cells - wide(gene.overflow.len());
        gene.ties = rank_bins(bins, ranks) + ties(&gene.overflow);
        // Bins are at most 2^14.
        let last = V::of_count(u16::try_from(bins.len() - 1).unwrap_or(u16::MAX)).key();
        gene.mixed = gene.overflow.first().is_some_and(|v| v.key() <= last);
        (gene.overflow_sum, gene.overflow_powers) = Default::default();
        for value in gene.overflow.iter().map(|v| v.to_f64()) {
            gene.overflow_sum.add(request.scale.before(value));
            gene.overflow_powers.push(value, 1);
        }
        let powers = PowerSums::of_counts(gene.binned, gene.sums.values, gene.sums.squares);
        gene.ill_conditioned = squares
            && !gene.overflow.is_empty()
            && powers.merge(&gene.overflow_powers).well_conditioned().is_none();
        if self.needs.runs {
            gene.runs.fill(bins, &gene.overflow);
            request.test.prepare(gene.runs.shared(), request.is_pooled(), &mut gene.prepared);
        }
        if self.needs.values {
            gene.prepare_values(bins);
        }
    }

    /// Measures every gene of one target, with the scratch of one worker.
    fn measure_alone<T: Bin>(
        &self,
        code: usize,
        group: (&[T], &Overflow<V>),
        kept: &Strips<V>,
        row: &mut Row,
    ) -> Result<()> {
        self.context.walkers.for_each(std::iter::once(row), |walk, row| {
            let Walk { pair, test, .. } = walk;
            self.measure(code, group, kept, (pair, test), row)
        })
    }

    /// Measures every gene of one target.
    fn measure<T: Bin>(
        &self,
        code: usize,
        (table, overflow): (&[T], &Overflow<V>),
        kept: &Strips<V>,
        (pair, test): (&mut PairScratch, &mut Scratch),
        row: &mut Row,
    ) -> Result<()> {
        let request = &self.gene_request;
        let sizes = request.pair(code - 1);
        for (i, (gene, range)) in kept.genes.iter().zip(&self.layout.bins).enumerate() {
            let shared = Shared {
                bins: &kept.shared[range.clone()],
                ranks: &kept.ranks[range.clone()],
                pooled: request.is_pooled(),
                weights: &kept.weights,
                scale: request.scale,
                gene,
            };
            let target = (&table[range.clone()], overflow.of(self.layout.genes[i]));
            let mut pair = HistogramPair::new(shared, target, sizes, pair);
            row.set(i, &request.measure(&mut pair, (&gene.prepared, test)));
        }
        test.check()
    }
}
