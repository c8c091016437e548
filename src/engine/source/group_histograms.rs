//! Counts of cells that are stored one after the other: each group is walked once, into one histogram
//! a gene.
//!
//! # Method
//! A strip of genes gets a table of bins ([`super::group_tables`]), small enough for a core's cache.
//! One group's cells increment it; then each gene's bins are compared with the shared ones
//! ([`super::histogram`]).  Nothing is sorted or transposed, and groups run in parallel.  Against a
//! reference its table comes first, and a target's is compared while it is in cache; against the rest
//! every table is kept until the sum of all is known.
//!
//! A strip with many values that have no bin is not for this source:
//! [`super::group_tables::Survey::strips`] says so.
//!
//! Cost: one pass over the entries; O(bins) a comparison.

use super::bin::{Bin, Sums};
use super::group_rows::GroupRows;
use super::group_tables::{Counting, GroupTables, Layout, Survey, Walk};
use super::histogram::{HistogramPair, PairScratch, Shared, SharedGene, rank_bins};
use super::overflow::{Overflow, ties};
use crate::cast::{real_length, wide};
use crate::engine::design::Reference;
use crate::engine::plan::Limits;
use crate::engine::pool::{Monitor, Workers};
use crate::engine::request::{GeneRequest, Request, Scale};
use crate::engine::table::{Row, Table};
use crate::engine::test::{Needs, Scratch};
use crate::error::Result;
use crate::matrix::{CellMajor, Value};
use crate::stats::exact::NullTables;
use crate::stats::moments::PowerSums;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;

/// What is kept from strip to strip.
#[derive(Debug)]
pub struct Strips<V> {
    shared: Vec<u32>,
    ranks: Vec<u32>,
    genes: Vec<SharedGene<V>>,
    weights: Vec<f64>,
    scale: Scale,
    /// Against the rest, the tables of all groups.
    tables: GroupTables<V>,
}

impl<V> Default for Strips<V> {
    fn default() -> Self {
        Self {
            shared: Vec::new(),
            ranks: Vec::new(),
            genes: Vec::new(),
            weights: Vec::new(),
            scale: Scale::default(),
            tables: GroupTables::default(),
        }
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
    counting: Counting<'a, V>,
    request: &'a Request<'a>,
    gene_request: GeneRequest<'a>,
    needs: Needs,
}

/// Tests a strip of the request's genes (by their places) and writes it to `table` from gene `first`.
///
/// # Errors
/// Those of [`Counting::all`].
pub fn run<V: Value>(
    matrix: &dyn CellMajor<V>,
    context: Context<V>,
    places: Range<usize>,
    kept: &mut Strips<V>,
    (table, first): (&mut Table, usize),
) -> Result<()> {
    let Context { request, groups, survey, tables, limits, monitor, walkers } = context;
    let layout = Layout::new(&request.genes[places.clone()], &survey.widths[places.clone()]);
    let widest = layout.bins.iter().map(Range::len).max().unwrap_or(0);
    if std::mem::replace(&mut kept.scale, request.scale) != request.scale {
        kept.weights.clear();
    }
    let known = kept.weights.len();
    kept.weights.extend((known..widest).map(|v| request.scale.before(real_length(v))));
    let counting = Counting {
        matrix,
        groups,
        layout,
        limits,
        monitor,
        walkers,
        refuses_nan: true,
        first: first + places.start,
        cells_done: AtomicUsize::new(0),
    };
    let (gene_request, needs) = (request.of_gene(tables), request.test.needs(request.auroc));
    let strip = Strip { counting, request, gene_request, needs };
    let rows = table.rows(first + places.start, places.len());
    match request.design.reference() {
        Reference::Group => strip.against_reference(rows, kept),
        Reference::Rest => strip.against_rest(rows, kept),
    }
}

impl<V: Value> Strip<'_, V> {
    /// One target after the other, several at once, against the reference's table.
    fn against_reference(&self, rows: Vec<Row>, kept: &mut Strips<V>) -> Result<()> {
        let Counting { layout, walkers, .. } = &self.counting;
        let mut reference = self.counting.large_group(0, std::mem::take(&mut kept.shared))?;
        let cells = self.request.design.sizes()[0];
        layout.count_zeros(&mut reference.table, &reference.overflow, cells);
        kept.shared = reference.table;
        self.share(&reference.overflow, cells, kept);
        let kept = &*kept;
        let (large, small): (Vec<_>, Vec<_>) =
            (1..).zip(rows).partition(|(code, _)| self.counting.is_large(*code));
        for (code, mut row) in large {
            let group = self.counting.large_group(code, Vec::new())?;
            self.measure_alone(code, (&group.table, &group.overflow), kept, &mut row)?;
        }
        walkers.for_each(small.into_iter(), |walk, (code, mut row)| {
            let Walk { table, overflow, pair, test, .. } = walk;
            table.clear();
            table.resize(layout.length, 0);
            self.counting.small_group(code, table, overflow)?;
            self.measure(code, (table, overflow), kept, (pair, test), &mut row)
        })
    }

    /// All tables, their sum, then one comparison after the other, several at once.
    fn against_rest(&self, mut rows: Vec<Row>, kept: &mut Strips<V>) -> Result<()> {
        self.counting.all(&mut kept.tables)?;
        kept.tables.sum(&mut kept.shared);
        let overflow = kept.tables.overflow();
        let cells = self.request.design.cells();
        self.counting.layout.count_zeros(&mut kept.shared, &overflow, cells);
        self.share(&overflow, cells, kept);
        let kept = &*kept;
        for (code, group) in kept.tables.large() {
            if let Some(row) = code.checked_sub(1).and_then(|t| rows.get_mut(t)) {
                self.measure_alone(*code, (&group.table, &group.overflow), kept, row)?;
            }
        }
        // The groups that are no target, and the large ones, take no part any more.
        let mut wanted = rows.into_iter().map(Some).collect::<Vec<_>>();
        let items = kept.tables.small().filter_map(|(code, table, overflow)| {
            let row = wanted.get_mut(code.checked_sub(1)?)?.take()?;
            Some((code, table, overflow, row))
        });
        let items: Vec<_> = items.collect();
        self.counting.walkers.for_each(items.into_iter(), |walk, item| {
            let (code, table, overflow, mut row) = item;
            let Walk { pair, test, .. } = walk;
            self.measure(code, (table, overflow), kept, (pair, test), &mut row)
        })
    }

    /// Prepares every gene's shared cells from the shared table, which holds `cells` cells.
    fn share(&self, overflow: &Overflow<V>, cells: u64, kept: &mut Strips<V>) {
        let Strips { shared, ranks, genes, .. } = kept;
        ranks.resize(shared.len(), 0);
        genes.resize_with(self.counting.layout.bins.len(), SharedGene::default);
        let mut slices = Vec::with_capacity(self.counting.layout.bins.len());
        let mut rest = &mut ranks[..];
        for bins in &self.counting.layout.bins {
            let (these, others) = rest.split_at_mut(bins.len());
            slices.push(these);
            rest = others;
        }
        let each =
            slices.into_par_iter().zip(&self.counting.layout.bins).zip(self.counting.layout.genes);
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
        self.counting.walkers.for_each(std::iter::once(row), |walk, row| {
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
        for (i, (gene, range)) in kept.genes.iter().zip(&self.counting.layout.bins).enumerate() {
            let shared = Shared {
                bins: &kept.shared[range.clone()],
                ranks: &kept.ranks[range.clone()],
                pooled: request.is_pooled(),
                weights: &kept.weights,
                scale: request.scale,
                gene,
            };
            let target = (&table[range.clone()], overflow.of(self.counting.layout.genes[i]));
            let mut pair = HistogramPair::new(shared, target, sizes, pair);
            row.set(i, &request.measure(&mut pair, (&gene.prepared, test)));
        }
        test.check()
    }
}
