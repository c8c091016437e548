//! One gene's table of group x value, for small counts.

use super::bins::{self, Sums};
use super::design::Reference;
use super::question::{Cell, Question, Scale};
use super::sorted::Sample;
use crate::matrix::{Entry, Matrix, SKIP, Stored, Value};
use crate::stats::wilcoxon::RankSum;

/// One gene's table of group x value.
#[derive(Debug, Default)]
pub struct Tally {
    table: Vec<u32>,
    width: usize,
    /// Bins of the reference, or of all groups.
    own: Vec<u32>,
    ranks: Vec<u32>,
    ties: u128,
    sums: Sums,
    cells: u64,
    /// What means are of, for each value.
    weights: Vec<f64>,
    scale: Scale,
}

/// Bins of one gene are compared for each target: as cheap as the rest of its comparison.
const CHEAP_BINS: usize = 16;
/// The table may be this much larger than the number of entries.
const BINS_PER_ENTRY: usize = 4;
const MAX_BINS: u32 = 1 << 14;

/// Values that are looked at to find how many bins a gene needs.
const SAMPLE: usize = 512;

/// Whether a table is not larger than the work that it saves.
fn worthwhile(width: usize, groups: usize, entries: usize) -> bool {
    width * groups <= BINS_PER_ENTRY * entries + CHEAP_BINS * groups
}

impl Tally {
    /// How many bins a group takes; `None` where the table would be too large, or impossible.
    pub fn width<V: Value>(sample: &Sample<V>) -> Option<usize> {
        let count = |entry: &Entry<V>| entry.value.count();
        // A first look at a few spares real values the whole pass.
        let all_below = |entries: &[Entry<V>]| {
            let most = entries.iter().map(count).max().unwrap_or(0);
            (most < MAX_BINS).then_some(most)
        };
        all_below(&sample.entries[..sample.entries.len().min(8)])?;
        let width = (all_below(sample.entries)? as usize + 1).next_multiple_of(4);
        worthwhile(width, sample.zeros.len(), sample.entries.len()).then_some(width)
    }

    /// Fills the table.
    pub fn fill<V: Value>(&mut self, sample: &Sample<V>, width: usize, question: &Question) {
        self.width = width;
        self.table.clear();
        self.table.resize(width * sample.zeros.len(), 0);
        for (i, entry) in sample.entries.iter().enumerate() {
            let bin = entry.code as usize * width + entry.value.count() as usize;
            self.table[bin] += sample.weight(i) as u32;
        }
        self.background(question);
    }

    /// Fills the table from a gene-major matrix; false where a value has no bin in it.
    pub fn fill_column<M: Matrix>(
        &mut self,
        matrix: &M,
        gene: usize,
        labels: &[u32],
        question: &Question,
    ) -> bool {
        let (stored, groups) = (matrix.stored_column(gene), question.sizes.len());
        let sample = stored.iter().step_by(stored.len() / SAMPLE + 1);
        let mut most = sample.map(|v| v.value().count()).max().unwrap_or(0);
        // Room for more than the sample's largest; where that is too little, for the largest.
        for room in [most.saturating_add(8), 0] {
            let width = (most as usize + room as usize + 1).next_multiple_of(4);
            if most >= MAX_BINS || !worthwhile(width, groups, stored.len()) {
                return false;
            }
            self.width = width;
            self.table.clear();
            self.table.resize(width * groups, 0);
            let table = &mut self.table[..];
            matrix.visit_column(gene, labels, |code, value| {
                let count = value.count();
                // Cells that take no part have a code beyond the table.
                let bin = code as usize * width + count as usize;
                if (count as usize) < width {
                    if let Some(bin) = table.get_mut(bin) {
                        *bin += 1;
                    }
                } else if code != SKIP {
                    most = most.max(count);
                }
            });
            if (most as usize) < width {
                self.background(question);
                return true;
            }
        }
        false
    }

    /// Takes the reference's bins, or all groups', from the filled table.
    fn background(&mut self, question: &Question) {
        let width = self.width;
        self.own.clear();
        match question.reference {
            Reference::Background => self.own.extend_from_slice(&self.table[..width]),
            Reference::Rest => {
                self.own.resize(width, 0);
                for bins in self.table.chunks_exact(width) {
                    self.own.iter_mut().zip(bins).for_each(|(sum, bin)| *sum += bin);
                }
            }
        }
        // Cells without another value are zeros.
        let cells = match question.reference {
            Reference::Background => question.sizes[0],
            Reference::Rest => question.cells,
        };
        self.own[0] = 0;
        let listed: u64 = self.own.iter().map(|&bin| u64::from(bin)).sum();
        self.own[0] = cells.saturating_sub(listed) as u32;
        self.cells = cells;
        self.ranks.resize(width, 0);
        self.ties = bins::background(&self.own, &mut self.ranks);
        self.sums = Sums::of::<_, true>(&self.own);
        if self.scale != question.scale {
            self.weights.clear();
            self.scale = question.scale;
        }
        let known = self.weights.len();
        self.weights.extend((known..width).map(|v| question.scale.before(v as f64)));
    }

    /// The comparison of one group.
    pub fn cell(&self, code: usize, question: &Question) -> Cell {
        let (background, sizes) = (self.compared_with(question), question.pair(code - 1));
        background.cell(self.bins(code), sizes, &self.weights, question)
    }

    /// The rank sum of one group.
    pub fn rank_sum(&self, code: usize, question: &Question) -> RankSum {
        self.compared_with(question).rank_sum(self.bins(code), question.pair(code - 1)).0
    }

    fn bins(&self, code: usize) -> &[u32] {
        &self.table[code * self.width..][..self.width]
    }

    fn compared_with(&self, question: &Question) -> bins::Background<'_> {
        bins::Background {
            own: &self.own,
            ranks: &self.ranks,
            ties: self.ties,
            sums: self.sums,
            cells: self.cells,
            rest: question.reference == Reference::Rest,
        }
    }
}
