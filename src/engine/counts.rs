//! Counts in row-major matrices: each group's cells are walked once, into one histogram a gene.
//!
//! # Method
//! A strip of genes gets a table of bins, as many for each gene as its values need (found by
//! looking at some of the cells), small enough for a core's cache.  One group's cells increment
//! it; then each gene's bins are compared with the background's ([`super::bins`]).  Nothing is
//! sorted or transposed, and groups run in parallel.  Against a reference its table comes first,
//! and a target's is compared while it is in cache; against the rest every table is kept until the
//! sum of all is known.
//!
//! Entries that have no bin (larger than expected, negative, fractional) are *odd*: they are
//! listed, and [`super::odd`] compares the pairs that they enter.  A strip with many of them is not
//! for this kernel: [`survey`] says so.
//!
//! Cost: one pass over the entries; O(bins) a comparison.

use super::bins::{self, Bin, Sums};
use super::design::Reference;
use super::members::Members;
use super::odd::{self, Odd, OddEntry};
use super::question::{Cell, Comparison, Question, Test};
use super::run::{Monitor, Plan};
use super::table::{Row, Table};
use crate::error::{ErrorKind, Result};
use crate::matrix::{Matrix, SKIP, Value};
use crate::stats::exact::NullTables;
use crate::stats::moments::PowerSums;
use crate::stats::ttest::ttest;
use crate::stats::two::Two;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Cells that are looked at to find how many bins each gene needs.
const SAMPLE: usize = 1024;
/// Bins of one strip: 512 KB of u16.
const STRIP_BINS: usize = 1 << 18;
/// Bytes of all groups' tables, against the rest.
const TABLES_BYTES: usize = 192 << 20;
/// Bins of one gene.
const MAX_WIDTH: u32 = 4096;
/// One entry in so many may be odd.
const ODD: u64 = 64;
/// Cells of a group that are walked by one thread: as many as u16 counts, or fewer.
const CHUNK: usize = 8192;

/// What a look at some cells found: bins that each gene needs, and its entries that would be odd.
#[derive(Debug)]
pub struct Survey {
    widths: Vec<u32>,
    odd: Vec<u32>,
    entries: Vec<u32>,
}

/// Looks at some cells of a row-major matrix.
pub fn survey<M: Matrix>(matrix: &M, genes: &[u32], labels: &[u32]) -> Survey {
    let n_genes = matrix.shape().1;
    let labelled: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] != SKIP).collect();
    let step = labelled.len().div_ceil(SAMPLE).max(1);
    let rows: Vec<usize> = labelled.into_iter().step_by(step).collect();
    let look = |rows: &[usize]| {
        // For each gene: largest count, odd entries, entries.
        let mut seen = vec![[0u32; 3]; n_genes];
        for &row in rows {
            matrix.visit_row(row, 0..n_genes, |gene, count, _| {
                let Some([largest, odd, entries]) = seen.get_mut(gene) else { return };
                let fits = count < MAX_WIDTH;
                *largest = (*largest).max(if fits { count } else { 0 });
                *odd += u32::from(!fits);
                *entries += 1;
            });
        }
        seen
    };
    let merge = |mut a: Vec<[u32; 3]>, b: Vec<[u32; 3]>| {
        for (a, b) in a.iter_mut().zip(b) {
            *a = [a[0].max(b[0]), a[1] + b[1], a[2] + b[2]];
        }
        a
    };
    let length = rows.len().div_ceil(rayon::current_num_threads()).max(1);
    let seen = rows.par_chunks(length).map(look).reduce(|| vec![[0; 3]; n_genes], merge);
    let of = |pick: fn(&[u32; 3]) -> u32| genes.iter().map(|&g| pick(&seen[g as usize])).collect();
    Survey {
        widths: of(|seen| (seen[0] + seen[0] / 2 + 3).next_multiple_of(4).min(MAX_WIDTH)),
        odd: of(|seen| seen[1]),
        entries: of(|seen| seen[2]),
    }
}

impl Survey {
    /// Whether a strip of genes (by their places) is for this kernel.
    fn suits(&self, places: &Range<usize>) -> bool {
        let sum = |of: &[u32]| of[places.clone()].iter().map(|&n| u64::from(n)).sum::<u64>();
        sum(&self.odd) * ODD <= sum(&self.entries)
    }

    /// Cuts all genes into strips, each with whether it is for this kernel.
    #[must_use]
    pub fn strips(&self, n_groups: usize, reference: Reference) -> Vec<(Range<usize>, bool)> {
        let kept = match reference {
            Reference::Background => usize::MAX,
            Reference::Rest => TABLES_BYTES / size_of::<u16>() / n_groups.max(1),
        };
        let most = kept.clamp(MAX_WIDTH as usize, STRIP_BINS) as u32;
        let (mut strips, mut start, mut bins) = (Vec::new(), 0, 0);
        for (place, &width) in self.widths.iter().enumerate() {
            if bins + width > most && place > start {
                strips.push(start..place);
                (start, bins) = (place, 0);
            }
            bins += width;
        }
        strips.push(start..self.widths.len());
        strips.into_iter().map(|strip| (strip.clone(), self.suits(&strip))).collect()
    }
}

/// One column's bins; they end at 0 where it is not asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Bins {
    first: u64,
    end: u64,
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
        let mut columns = vec![Bins::default(); (last - first) as usize + 1];
        let (mut bins, mut length) = (Vec::with_capacity(genes.len()), 0);
        for (&gene, &width) in genes.iter().zip(widths) {
            let end = length + u64::from(width);
            columns[(gene - first) as usize] = Bins { first: length, end };
            bins.push(length as usize..end as usize);
            length = end;
        }
        Self { genes, columns, bins, length: length as usize }
    }

    fn range(&self) -> Range<usize> {
        let first = self.genes[0] as usize;
        first..first + self.columns.len()
    }

    /// Adds cells to a table; entries without a bin go to `odd`.
    fn fill<M: Matrix, T: Bin>(
        &self,
        matrix: &M,
        rows: &[u32],
        table: &mut [T],
        odd: &mut Odd<M::Value>,
    ) {
        let range = self.range();
        for &row in rows {
            matrix.visit_row(row as usize, range.clone(), |gene, count, value| {
                let Some(bins) = self.columns.get(gene.wrapping_sub(range.start)) else {
                    return;
                };
                let bin = bins.first + u64::from(count);
                if bin < bins.end
                    && let Some(bin) = table.get_mut(bin as usize)
                {
                    *bin += T::from(1);
                } else if bins.end > 0 {
                    odd.push(gene as u32, value);
                }
            });
        }
    }

    /// Counts the zeros of `cells` cells into the first bins of a background.
    fn count_zeros<V: Value>(&self, table: &mut [u32], odd: &Odd<V>, cells: u64) {
        for (&gene, bins) in self.genes.iter().zip(&self.bins) {
            let bins = &mut table[bins.clone()];
            bins[0] = 0;
            let listed = bins.iter().map(|&bin| u64::from(bin)).sum::<u64>();
            let listed = listed + odd.of(gene).len() as u64;
            bins[0] = cells.saturating_sub(listed) as u32;
        }
    }
}

/// Whether a group's cells are shared out among threads.
fn is_large(rows: &[u32]) -> bool {
    rows.len() > 2 * CHUNK
}

/// The histograms of one group.
#[derive(Debug)]
struct Group<T, V> {
    table: Vec<T>,
    odd: Odd<V>,
}

fn refuse_nan<V: Value>(odd: &Odd<V>) -> Result<()> {
    match odd.nan() {
        Some(gene) => Err(ErrorKind::NotANumber { row: 0, gene: gene as usize }.into()),
        None => Ok(()),
    }
}

/// One strip's run.
struct Strip<'a, M: Matrix> {
    matrix: &'a M,
    plan: &'a Plan<'a>,
    tables: &'a NullTables,
    members: &'a Members,
    layout: Layout<'a>,
    /// f(v) of the plan's scale.
    weights: Vec<f64>,
    monitor: &'a Monitor,
    /// Genes done before this strip, and the cells done in it.
    first: usize,
    cells_done: AtomicUsize,
}

/// What every target is compared with: bins of the reference, or of all labelled cells.
struct Background<'a, V> {
    own: &'a [u32],
    ranks: Vec<u32>,
    genes: Vec<Gene<V>>,
}

/// One gene of the background.
struct Gene<V> {
    /// Σ(r³ - r), odd entries included.
    ties: u128,
    sums: Sums,
    /// Cells with a bin.
    cells: u64,
    odd: Vec<V>,
    /// Whether an odd entry stands below the last bin.
    mixed: bool,
    /// What means are of, summed over the odd entries, and their power sums.
    odd_sum: Two,
    odd_powers: PowerSums,
    /// Whether power sums leave too few digits of the spread.
    ill_conditioned: bool,
}

/// Tests a strip of `plan.genes` (by their places) and writes it to `table` from gene `first`.
///
/// # Errors
/// [`ErrorKind::NotANumber`] with any gene that holds one, or [`ErrorKind::Interrupted`].
pub fn run<M: Matrix>(
    matrix: &M,
    plan: &Plan,
    (members, survey, places): (&Members, &Survey, Range<usize>),
    tables: &NullTables,
    monitor: &Monitor,
    (table, first): (&mut Table, usize),
) -> Result<()> {
    let layout = Layout::new(&plan.genes[places.clone()], &survey.widths[places.clone()]);
    let widest = layout.bins.iter().map(Range::len).max().unwrap_or(0);
    let strip = Strip {
        matrix,
        plan,
        tables,
        members,
        layout,
        weights: (0..widest).map(|v| plan.scale.before(v as f64)).collect(),
        monitor,
        first: first + places.start,
        cells_done: AtomicUsize::new(0),
    };
    let rows = table.rows(first + places.start, places.len());
    match plan.design.reference() {
        Reference::Background => strip.against_reference(rows),
        Reference::Rest => strip.against_rest(rows),
    }
}

impl<M: Matrix> Strip<'_, M> {
    /// One target after the other, several at once, against the reference's table.
    fn against_reference(&self, rows: Vec<Row>) -> Result<()> {
        let mut reference = self.large_group(0)?;
        let cells = self.plan.design.sizes()[0];
        self.layout.count_zeros(&mut reference.table, &reference.odd, cells);
        let background = self.background(&reference.table, &reference.odd, cells);
        let (large, small): (Vec<_>, Vec<_>) =
            (1..).zip(rows).partition(|(code, _)| is_large(self.members.of(*code)));
        for (code, mut row) in large {
            let group = self.large_group(code)?;
            self.compare(code, &group.table, &group.odd, &background, &mut row);
        }
        let scratch = || (vec![0u16; self.layout.length], Odd::default());
        small.into_par_iter().with_max_len(1).try_for_each_init(
            scratch,
            |(table, odd), (code, mut row)| {
                self.small_group(code, table, odd)?;
                self.compare(code, table, odd, &background, &mut row);
                Ok(())
            },
        )
    }

    /// All tables, their sum, then one comparison after the other, several at once.
    fn against_rest(&self, mut rows: Vec<Row>) -> Result<()> {
        let groups = 0..=rows.len();
        let large: Vec<_> =
            groups.clone().filter(|&code| is_large(self.members.of(code))).collect();
        let small: Vec<_> = groups.filter(|&code| !is_large(self.members.of(code))).collect();
        let large: Vec<(usize, Group<u32, M::Value>)> = large
            .into_iter()
            .map(|code| Ok((code, self.large_group(code)?)))
            .collect::<Result<_>>()?;
        let length = self.layout.length;
        let mut arena = vec![0u16; length * small.len()];
        let odds: Vec<Odd<M::Value>> = (small.par_iter(), arena.par_chunks_mut(length))
            .into_par_iter()
            .with_max_len(1)
            .map(|(&code, table)| {
                let mut odd = Odd::default();
                self.small_group(code, table, &mut odd)?;
                Ok(odd)
            })
            .collect::<Result<_>>()?;
        let mut all = vec![0u32; length];
        let part = length.div_ceil(4 * rayon::current_num_threads()).max(1);
        all.par_chunks_mut(part).enumerate().for_each(|(i, all)| {
            let bins = i * part..i * part + all.len();
            for table in arena.chunks_exact(length) {
                all.iter_mut().zip(&table[bins.clone()]).for_each(|(a, &b)| *a += u32::from(b));
            }
            for (_, group) in &large {
                all.iter_mut().zip(&group.table[bins.clone()]).for_each(|(a, &b)| *a += b);
            }
        });
        let mut odd = Odd::default();
        odds.iter().chain(large.iter().map(|(_, group)| &group.odd)).for_each(|o| odd.add(o));
        odd.sort();
        let cells = self.plan.design.cells();
        self.layout.count_zeros(&mut all, &odd, cells);
        let background = self.background(&all, &odd, cells);
        for (code, group) in &large {
            if let Some(row) = code.checked_sub(1).and_then(|t| rows.get_mut(t)) {
                self.compare(*code, &group.table, &group.odd, &background, row);
            }
        }
        // The groups that are no target, and the large ones, take no part any more.
        let mut wanted = rows.into_iter().map(Some).collect::<Vec<_>>();
        let jobs = small.iter().zip(arena.chunks_exact(length)).zip(&odds);
        let jobs: Vec<_> = jobs
            .filter_map(|((&code, table), odd)| {
                let row = wanted.get_mut(code.checked_sub(1)?)?.take()?;
                Some((code, table, odd, row))
            })
            .collect();
        jobs.into_par_iter().with_max_len(1).for_each(|(code, table, odd, mut row)| {
            self.compare(code, table, odd, &background, &mut row);
        });
        Ok(())
    }

    /// Fills `table` with a group's cells, on this thread.
    fn small_group(&self, code: usize, table: &mut [u16], odd: &mut Odd<M::Value>) -> Result<()> {
        self.monitor.check()?;
        let rows = self.members.of(code);
        table.fill(0);
        odd.clear();
        self.layout.fill(self.matrix, rows, table, odd);
        refuse_nan(odd)?;
        odd.sort();
        self.progress(rows.len());
        Ok(())
    }

    /// A group's table, its cells shared out among all threads.
    fn large_group(&self, code: usize) -> Result<Group<u32, M::Value>> {
        let rows = self.members.of(code);
        let total = Mutex::new(Group { table: vec![0; self.layout.length], odd: Odd::default() });
        let pieces = rayon::current_num_threads() * 2;
        let chunk = rows.len().div_ceil(pieces).clamp(1, CHUNK);
        let scratch = || (vec![0u16; self.layout.length], Odd::default());
        let walked: Result<()> = rows.par_chunks(chunk).with_max_len(1).try_for_each_init(
            scratch,
            |(table, odd), rows| {
                self.monitor.check()?;
                table.fill(0);
                odd.clear();
                self.layout.fill(self.matrix, rows, table, odd);
                refuse_nan(odd)?;
                let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                let sums = total.table.iter_mut().zip(&*table);
                sums.for_each(|(sum, &bin)| *sum += u32::from(bin));
                total.odd.add(odd);
                self.progress(rows.len());
                Ok(())
            },
        );
        walked?;
        let mut group = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        group.odd.sort();
        Ok(group)
    }

    fn progress(&self, cells: usize) {
        let done = self.cells_done.fetch_add(cells, Ordering::Relaxed) + cells;
        let genes = self.layout.genes.len() * done / self.members.len().max(1);
        self.monitor.done.fetch_max(self.first + genes, Ordering::Relaxed);
    }

    fn background<'b>(
        &self,
        own: &'b [u32],
        odd: &Odd<M::Value>,
        cells: u64,
    ) -> Background<'b, M::Value> {
        let mut ranks = vec![0; own.len()];
        let squares = matches!(self.plan.test, Test::TTest(_));
        let mut slices = Vec::with_capacity(self.layout.bins.len());
        let mut rest = &mut ranks[..];
        for bins in &self.layout.bins {
            let (these, others) = rest.split_at_mut(bins.len());
            slices.push(these);
            rest = others;
        }
        let genes = slices.into_par_iter().zip(&self.layout.bins).zip(self.layout.genes);
        let genes = genes.map(|((ranks, bins), &gene)| {
            let own = &own[bins.clone()];
            let odd: Vec<M::Value> = odd.of(gene).iter().map(|entry| entry.1).collect();
            let beyond = M::Value::of_count(own.len() as u16 - 1).key();
            let sums = if squares { Sums::of::<_, true>(own) } else { Sums::of::<_, false>(own) };
            let binned = cells - odd.len() as u64;
            let (mut odd_sum, mut odd_powers) = (Two::default(), PowerSums::default());
            for value in odd.iter().map(|v| v.to_f64()) {
                odd_sum.add(self.plan.scale.before(value));
                odd_powers.push(value, 1);
            }
            let powers = PowerSums::of_counts(binned, sums.values, sums.squares);
            Gene {
                ties: bins::background(own, ranks) + odd::ties(&odd),
                sums,
                cells: binned,
                mixed: odd.first().is_some_and(|v| v.key() <= beyond),
                odd_sum,
                odd_powers,
                ill_conditioned: squares && powers.merge(&odd_powers).well_conditioned().is_none(),
                odd,
            }
        });
        let genes = genes.collect();
        Background { own, ranks, genes }
    }

    /// Every gene of one target.
    fn compare<T: Bin>(
        &self,
        code: usize,
        table: &[T],
        odd: &Odd<M::Value>,
        background: &Background<M::Value>,
        row: &mut Row,
    ) {
        let design = self.plan.design;
        let sizes = design.pair(code - 1);
        let question = self.plan.question(self.tables);
        for (i, (gene, range)) in background.genes.iter().zip(&self.layout.bins).enumerate() {
            let bins = &table[range.clone()];
            let own = bins::Background {
                own: &background.own[range.clone()],
                ranks: &background.ranks[range.clone()],
                ties: gene.ties,
                sums: gene.sums,
                cells: gene.cells,
                rest: design.reference() == Reference::Rest,
            };
            let odd = odd.of(self.layout.genes[i]);
            let cell = if odd.is_empty() && gene.odd.is_empty() {
                own.cell(bins, sizes, &self.weights, &question)
            } else {
                self.odd_cell(bins, &own, odd, gene, sizes, &question)
            };
            row.set(i, &cell);
        }
        row.complete(&self.plan.test);
    }

    /// A comparison that odd entries enter.
    fn odd_cell<T: Bin>(
        &self,
        bins: &[T],
        own: &bins::Background,
        odd: &[OddEntry<M::Value>],
        gene: &Gene<M::Value>,
        sizes: (u64, u64),
        question: &Question,
    ) -> Cell {
        // The background's odd entries above every value of the target move no rank.
        let above = odd.is_empty() && !gene.mixed && !gene.ill_conditioned;
        if !above || matches!(question.test, Test::Anderson(_)) {
            let pair =
                odd::Pair { bins, own: own.own, odd, own_odd: &gene.odd, sizes, rest: own.rest };
            return odd::compare(&pair, question);
        }
        let mut cell = own.cell(bins, sizes, &self.weights, question);
        if let Test::TTest(options) = &question.test {
            let (target, other) = own.power_sums(bins, sizes);
            let test = ttest(&target.moments(), &other.merge(&gene.odd_powers).moments(), options);
            let auroc = cell.comparison.extra[1];
            cell.comparison = test.map_or(Comparison::NAN, Comparison::from);
            if question.auroc {
                cell.comparison = cell.comparison.with_auroc(&question.test, auroc);
            }
        }
        let (_, mut other) = own.sums_of(bins, &self.weights, question.scale);
        other.add_two(gene.odd_sum);
        cell.reference_mean = question.scale.mean(other, sizes.1);
        cell
    }
}
