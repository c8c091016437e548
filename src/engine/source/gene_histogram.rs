//! One gene's table of group x count, for small counts.

use super::bin::Sums;
use super::histogram::{HistogramPair, PairScratch, Shared, SharedGene, rank_bins};
use super::sample::Sample;
use crate::cast::{cells, place, real_length};
use crate::engine::request::{GeneRequest, Scale};
use crate::engine::test::Prepared;
use crate::error::Result;
use crate::matrix::{Entry, GeneMajor, SKIP, STRETCH, Value};
use crate::stats::moments::PowerSums;

/// One gene's table of group x count.
#[derive(Debug)]
pub struct GeneHistogram<V> {
    table: Vec<u32>,
    width: usize,
    /// Bins of the reference, or of all groups.
    shared: Vec<u32>,
    ranks: Vec<u32>,
    gene: SharedGene<V>,
    /// The transformation of each bin's value before averaging.
    weights: Vec<f64>,
    scale: Scale,
    sample: Vec<V>,
    scratch: PairScratch,
}

impl<V> Default for GeneHistogram<V> {
    fn default() -> Self {
        Self {
            table: Vec::new(),
            width: 0,
            shared: Vec::new(),
            ranks: Vec::new(),
            gene: SharedGene::default(),
            weights: Vec::new(),
            scale: Scale::default(),
            sample: Vec::new(),
            scratch: PairScratch::default(),
        }
    }
}

/// Bins of one gene are compared for each target: as cheap as the rest of its comparison.
const CHEAP_BINS: usize = 16;
/// The table may be this much larger than the number of entries.
const BINS_PER_ENTRY: usize = 4;
/// Counts below it have a bin.
const MAX_BINS: u32 = 1 << 14;
/// Values that are looked at to find how many bins a gene needs.
const SAMPLE: usize = 512;

/// True if a table is not larger than the work that it saves, nor than a worker may keep.
pub fn worthwhile(width: usize, groups: usize, entries: usize, most: usize) -> bool {
    let bins = width.saturating_mul(groups);
    bins <= most && bins <= BINS_PER_ENTRY * entries + CHEAP_BINS * groups
}

impl<V: Value> GeneHistogram<V> {
    /// How many bins a group takes; `None` where the table would be too large, or impossible.
    pub fn width(sample: &Sample<V>, most_bins: usize) -> Option<usize> {
        let count = |entry: &Entry<V>| entry.value.count();
        // A first look at a few spares real values the whole pass.
        let all_below = |entries: &[Entry<V>]| {
            let most = entries.iter().map(count).max().unwrap_or(0);
            (most < MAX_BINS).then_some(most)
        };
        all_below(&sample.entries[..sample.entries.len().min(8)])?;
        let width = (place(all_below(sample.entries)?) + 1).next_multiple_of(4);
        worthwhile(width, sample.zeros.len(), sample.entries.len(), most_bins).then_some(width)
    }

    fn clear(&mut self, width: usize, groups: usize) {
        self.width = width;
        self.table.clear();
        self.table.resize(width * groups, 0);
    }

    /// Fills the table; `width` is [`GeneHistogram::width`] of the sample.
    pub fn fill(&mut self, sample: &Sample<V>, width: usize, request: &GeneRequest) {
        self.clear(width, sample.zeros.len());
        for (i, entry) in sample.entries.iter().enumerate() {
            let bin = place(entry.code) * width + place(entry.value.count());
            self.table[bin] += cells(sample.weight(i));
        }
        self.share(request);
    }

    /// Fills the table from a gene-major matrix; false where a value has no bin in it.
    ///
    /// # Errors
    /// Where the arrays changed since the view was made.
    pub fn fill_gene(
        &mut self,
        matrix: &dyn GeneMajor<V>,
        gene: usize,
        labels: &[u32],
        request: &GeneRequest,
        most_bins: usize,
    ) -> Result<bool> {
        let (entries, groups) = (matrix.gene_entries(gene)?, request.sizes.len());
        self.sample.clear();
        matrix.sample_gene(gene, SAMPLE, &mut self.sample)?;
        let mut most = self.sample.iter().map(|v| v.count()).max().unwrap_or(0);
        // Room for more than the sample's largest; where that is too little, for the largest.
        for room in [most.saturating_add(8), 0] {
            let width = (place(most) + place(room) + 1).next_multiple_of(4);
            if most >= MAX_BINS || !worthwhile(width, groups, entries, most_bins) {
                return Ok(false);
            }
            self.clear(width, groups);
            let table = &mut self.table[..];
            let mut counts = [0; STRETCH];
            matrix.visit_gene(gene, &mut |stretch| {
                counts.iter_mut().zip(stretch.values).for_each(|(n, value)| *n = value.count());
                for (&cell, &count) in stretch.places.iter().zip(&counts) {
                    // The view promises places of cells; labels are as many.
                    let code = labels.get(place(cell)).copied().unwrap_or(SKIP);
                    // Cells that take no part have a code beyond the table.
                    let bin = place(code).wrapping_mul(width).wrapping_add(place(count));
                    if place(count) < width {
                        if let Some(bin) = table.get_mut(bin) {
                            *bin += 1;
                        }
                    } else if code != SKIP {
                        most = most.max(count);
                    }
                }
            })?;
            if place(most) < width {
                self.share(request);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the reference's bins, or all groups', from the filled table.
    fn share(&mut self, request: &GeneRequest) {
        let width = self.width;
        self.shared.clear();
        if request.is_pooled() {
            self.shared.resize(width, 0);
            for bins in self.table.chunks_exact(width) {
                self.shared.iter_mut().zip(bins).for_each(|(sum, bin)| *sum += bin);
            }
        } else {
            self.shared.extend_from_slice(&self.table[..width]);
        }
        // Cells without another value are zeros.
        let all = if request.is_pooled() { request.cells } else { request.sizes[0] };
        self.shared[0] = 0;
        let listed: u64 = self.shared.iter().map(|&bin| u64::from(bin)).sum();
        self.shared[0] = cells(all.saturating_sub(listed));
        self.ranks.resize(width, 0);
        self.gene.ties = rank_bins(&self.shared, &mut self.ranks);
        self.gene.sums = if request.test.needs(false).moments {
            Sums::of::<_, true>(&self.shared)
        } else {
            Sums::of::<_, false>(&self.shared)
        };
        self.gene.binned = all;
        self.gene.overflow_powers = PowerSums::default();
        if request.test.needs(false).runs {
            self.gene.runs.fill(&self.shared, &self.gene.overflow);
            let runs = self.gene.runs.shared();
            request.test.prepare(runs, request.is_pooled(), &mut self.gene.prepared);
        }
        if request.test.needs(false).values {
            self.gene.prepare_values(&self.shared);
        }
        if self.scale != request.scale {
            self.weights.clear();
            self.scale = request.scale;
        }
        let known = self.weights.len();
        self.weights.extend((known..width).map(|v| request.scale.before(real_length(v))));
    }

    /// One target, by its code, beside what it is compared with; and what the test prepared.
    pub fn pair(
        &mut self,
        code: usize,
        request: &GeneRequest,
    ) -> (HistogramPair<'_, u32, V>, &Prepared) {
        let shared = Shared {
            bins: &self.shared,
            ranks: &self.ranks,
            pooled: request.is_pooled(),
            weights: &self.weights,
            scale: self.scale,
            gene: &self.gene,
        };
        let bins = &self.table[code * self.width..][..self.width];
        let sizes = request.pair(code - 1);
        let pair = HistogramPair::new(shared, (bins, &[]), sizes, &mut self.scratch);
        (pair, &self.gene.prepared)
    }
}
