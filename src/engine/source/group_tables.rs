//! The cells of every group counted into bins, where cells are stored one after the other.
//!
//! A strip of genes gets a table of bins, as many for each gene as its values need: [`survey`] finds
//! how many by looking at some of the cells.  The table of a group of at most 65,535 cells has bins of
//! 16 bits and is filled by one worker.  The cells of a larger group are shared out among all workers,
//! and its bins have 32 bits.
//!
//! Values that have no bin (larger than expected, negative, fractional) go to the overflow list
//! ([`super::overflow`]).
//!
//! Cost: one pass over the strip's entries.

use super::bin::Bin;
use super::group_rows::GroupRows;
use super::histogram::PairScratch;
use super::overflow::Overflow;
use crate::cast::{cells as narrow_cells, place, wide};
use crate::engine::plan::{Limits, strips};
use crate::engine::pool::{Monitor, Workers, lock};
use crate::engine::test::Scratch;
use crate::error::{ErrorKind, Result};
use crate::matrix::{CellMajor, SKIP, Value};
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
    pub widths: Vec<u32>,
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
pub struct Layout<'a> {
    pub genes: &'a [u32],
    /// For each column from the first gene on.
    columns: Vec<Bins>,
    /// For each gene its bins.
    pub bins: Vec<Range<usize>>,
    /// The number of bins.
    pub length: usize,
}

impl<'a> Layout<'a> {
    /// The bins of ascending genes, at least one, that need `widths` bins.
    #[must_use]
    pub fn new(genes: &'a [u32], widths: &[u32]) -> Self {
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
    pub fn count_zeros<V: Value>(&self, table: &mut [u32], overflow: &Overflow<V>, cells: u64) {
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
    pub table: Vec<u16>,
    pub overflow: Overflow<V>,
    /// Cells in the table that were not yet added to their group's.
    pending: usize,
    pub pair: PairScratch,
    pub test: Scratch,
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

/// The histograms of one large group.
#[derive(Debug)]
pub struct Group<V> {
    pub table: Vec<u32>,
    pub overflow: Overflow<V>,
}

/// What counts the cells of a strip of genes.
#[allow(missing_debug_implementations)] // a matrix behind a trait
pub struct Counting<'a, V: Value> {
    pub matrix: &'a dyn CellMajor<V>,
    pub groups: &'a GroupRows,
    pub layout: Layout<'a>,
    pub limits: &'a Limits,
    pub monitor: &'a Monitor,
    pub walkers: &'a Workers<Walk<V>>,
    /// Whether a NaN is an error.
    pub refuses_nan: bool,
    /// Genes done before this strip, and the cells done in it.
    pub first: usize,
    pub cells_done: AtomicUsize,
}

/// The tables of all groups of a strip.
#[derive(Debug)]
pub struct GroupTables<V> {
    /// Those of small groups, one after the other; there may be room for more.
    tables: Vec<u16>,
    overflows: Vec<Overflow<V>>,
    small: Vec<usize>,
    large: Vec<(usize, Group<V>)>,
    length: usize,
}

impl<V> Default for GroupTables<V> {
    fn default() -> Self {
        let (tables, overflows, small, large) = Default::default();
        Self { tables, overflows, small, large, length: 0 }
    }
}

impl<V: Value> GroupTables<V> {
    /// The small groups: code, table and overflow values.
    pub fn small(&self) -> impl ExactSizeIterator<Item = (usize, &[u16], &Overflow<V>)> {
        let tables = (0..self.small.len()).map(|i| &self.tables[i * self.length..][..self.length]);
        let groups = self.small.iter().zip(tables).zip(&self.overflows);
        groups.map(|((&code, table), overflow)| (code, table, overflow))
    }

    /// The large groups, with their codes.
    #[must_use]
    pub fn large(&self) -> &[(usize, Group<V>)] {
        &self.large
    }

    /// The overflow values of all groups, in order.
    #[must_use]
    pub fn overflow(&self) -> Overflow<V> {
        let mut all = Overflow::default();
        for other in self.overflows.iter().chain(self.large.iter().map(|(_, g)| &g.overflow)) {
            all.add(other);
        }
        all.sort();
        all
    }

    /// Sums all tables into `sum`.
    pub fn sum(&self, sum: &mut Vec<u32>) {
        let length = self.length;
        sum.clear();
        sum.resize(length, 0);
        let tables = &self.tables[..length * self.small.len()];
        let part = length.div_ceil(4 * rayon::current_num_threads()).max(1);
        sum.par_chunks_mut(part).enumerate().for_each(|(i, all)| {
            let bins = i * part..i * part + all.len();
            for table in tables.chunks_exact(length) {
                all.iter_mut().zip(&table[bins.clone()]).for_each(|(a, &b)| *a += u32::from(b));
            }
            for (_, group) in &self.large {
                all.iter_mut().zip(&group.table[bins.clone()]).for_each(|(a, &b)| *a += b);
            }
        });
    }
}

impl<V: Value> Counting<'_, V> {
    /// Counts every group's cells; the tables' memory is reused.
    ///
    /// # Errors
    /// [`ErrorKind::NotANumber`] with any gene that holds one, where that is refused,
    /// [`ErrorKind::Changed`], or [`ErrorKind::Interrupted`].
    pub fn all(&self, kept: &mut GroupTables<V>) -> Result<()> {
        let (large, small): (Vec<usize>, Vec<usize>) =
            (0..self.groups.count()).partition(|&code| self.is_large(code));
        let large = large.into_iter().map(|code| Ok((code, self.large_group(code, Vec::new())?)));
        kept.large = large.collect::<Result<_>>()?;
        let length = self.layout.length;
        let bins = length * small.len();
        // Room beyond what this strip needs stays for the next one.
        kept.tables.resize(kept.tables.len().max(bins), 0);
        kept.overflows.resize_with(small.len(), Overflow::default);
        let tables = kept.tables[..bins].chunks_exact_mut(length);
        let items: Vec<_> = small.iter().zip(tables).zip(&mut kept.overflows).collect();
        self.walkers.for_each(items.into_iter(), |_, ((&code, table), overflow)| {
            table.fill(0);
            self.small_group(code, table, overflow)
        })?;
        (kept.small, kept.length) = (small, length);
        Ok(())
    }

    /// True if a group is large enough to split between threads.
    #[must_use]
    pub fn is_large(&self, code: usize) -> bool {
        self.groups.of(code).len() > 2 * self.limits.walk
    }

    /// Fills `table`, zeroed, with a group's cells, on this thread.
    ///
    /// # Errors
    /// Those of [`Counting::all`].
    pub fn small_group(
        &self,
        code: usize,
        table: &mut [u16],
        overflow: &mut Overflow<V>,
    ) -> Result<()> {
        self.monitor.check()?;
        let cells = self.groups.of(code);
        debug_assert!(cells.len() <= FULL);
        overflow.clear();
        self.layout.fill(self.matrix, cells, table, overflow)?;
        self.check(overflow)?;
        overflow.sort();
        self.progress(cells.len());
        Ok(())
    }

    /// A group's table, its cells shared out among all workers.  `table` is reused.
    ///
    /// # Errors
    /// Those of [`Counting::all`].
    pub fn large_group(&self, code: usize, mut table: Vec<u32>) -> Result<Group<V>> {
        let Self { walkers, limits, monitor, groups, .. } = *self;
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
            self.check(&walk.overflow)?;
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
        let genes = self.layout.genes.len() * done / self.groups.len().max(1);
        self.monitor.done.fetch_max(self.first + genes, Ordering::Relaxed);
    }

    fn check(&self, overflow: &Overflow<V>) -> Result<()> {
        match overflow.nan().filter(|_| self.refuses_nan) {
            Some(gene) => Err(ErrorKind::NotANumber { cell: 0, gene: place(gene) }.into()),
            None => Ok(()),
        }
    }
}
