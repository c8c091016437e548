//! One gene's cells folded to rows.
//!
//! Small counts go into a table of group x count. Other values are sorted by radix, and then, which
//! keeps their order, by a counting sort by group. Values whose keys span more than 32 bits are sorted
//! group by group instead.
//!
//! Cost: O(entries + groups x bins), or three to four passes over the entries.

use super::Folding;
use super::rows::Rows;
use crate::cast::{cells, length, low_place, place};
use crate::engine::source::gene_histogram::GeneHistogram;
use crate::engine::source::sample::Sample;
use crate::engine::source::sorted::{compose, span};
use crate::matrix::{Entry, Keyed, Value};
use crate::stats::radix::{Scratch, sort_entries};

/// Scratch of one worker.
#[derive(Debug)]
pub struct GeneFold<V> {
    table: Vec<u32>,
    /// Group g's values are `values[starts[g]..starts[g + 1]]`.
    values: Vec<V>,
    starts: Vec<usize>,
    entries: Vec<u64>,
    scratch: Scratch,
    weighted: Vec<(u32, V, u64)>,
}

impl<V> Default for GeneFold<V> {
    fn default() -> Self {
        let (table, values, starts, weighted) = Default::default();
        let (entries, scratch) = Default::default();
        Self { table, values, starts, entries, scratch, weighted }
    }
}

impl<V: Keyed> GeneFold<V> {
    /// Adds one gene's rows; groups have `sizes` cells.
    pub fn fold(
        &mut self,
        sample: &Sample<V>,
        sizes: &[u64],
        folding: Folding,
        rows: &mut Rows<V>,
    ) {
        if folding != Folding::Values {
            listed(sample, folding, rows);
        } else if let Some(width) = GeneHistogram::width(sample, crate::engine::plan::MOST_BINS) {
            self.count(sample, width);
            for ((group, bins), &size) in (0..).zip(self.table.chunks_exact(width)).zip(sizes) {
                rows.push_bins(group, (bins, &[]), size);
            }
        } else if sample.weights.is_some() {
            self.sort_weighted(sample, rows);
        } else {
            self.sort(sample, rows);
        }
        rows.end_gene();
    }

    fn count(&mut self, sample: &Sample<V>, width: usize) {
        self.table.clear();
        self.table.resize(width * sample.zeros.len(), 0);
        for (i, entry) in sample.entries.iter().enumerate() {
            let bin = place(entry.code) * width + place(entry.value.count());
            self.table[bin] += cells(sample.weight(i));
        }
    }

    /// Groups the values by group, ascending in each.
    fn sort(&mut self, sample: &Sample<V>, rows: &mut Rows<V>) {
        let groups = sample.zeros.len();
        self.starts.clear();
        self.starts.resize(groups + 1, 0);
        for entry in sample.entries {
            self.starts[place(entry.code) + 1] += 1;
        }
        for group in 1..=groups {
            self.starts[group] += self.starts[group - 1];
        }
        self.values.resize(sample.entries.len(), V::default());
        let (values, starts) = (&mut self.values[..], &mut self.starts[..]);
        let mut put = |code: usize, value: V| {
            let at = &mut starts[code];
            values[*at] = value;
            *at += 1;
        };
        let (least, most) = span(sample.entries);
        let bits = 64 - most.saturating_sub(least).leading_zeros();
        let by_key = bits <= 32;
        if by_key {
            // A stable counting sort by group keeps the order of values.
            self.entries.resize(sample.entries.len(), 0);
            compose(sample.entries, least, &mut self.entries);
            sort_entries(&mut self.entries, &mut self.scratch, bits);
            for &entry in &self.entries {
                put(low_place(entry), V::of_key(least + (entry >> 32)));
            }
        } else {
            sample.entries.iter().for_each(|entry| put(place(entry.code), entry.value));
        }
        rows.reserve(sample.entries.len() + groups);
        // Every start has become the group's end.
        let mut start = 0;
        for ((group, &end), &zeros) in (0..).zip(&self.starts).zip(sample.zeros) {
            let values = &mut self.values[start..end];
            if !by_key {
                values.sort_unstable_by_key(|value| value.key());
            }
            rows.push_sorted(group, values.iter().map(|&value| (value, 1)), zeros);
            start = end;
        }
    }

    fn sort_weighted(&mut self, sample: &Sample<V>, rows: &mut Rows<V>) {
        self.weighted.clear();
        let entries = sample.entries.iter().enumerate();
        self.weighted.extend(entries.map(|(i, e)| (e.code, e.value, sample.weight(i))));
        self.weighted.sort_unstable_by_key(|&(code, value, _)| (code, value.key()));
        let mut rest = &self.weighted[..];
        for (group, &zeros) in (0..).zip(sample.zeros) {
            let (own, others) = rest.split_at(rest.partition_point(|entry| entry.0 == group));
            rows.push_sorted(group, own.iter().map(|&(_, value, n)| (value, n)), zeros);
            rest = others;
        }
    }
}

/// Every non-zero as a row, in the order of cells, then the zeros: a row a group, or a row a cell.
fn listed<V: Value>(sample: &Sample<V>, folding: Folding, rows: &mut Rows<V>) {
    rows.group.extend(sample.entries.iter().map(|entry| entry.code));
    rows.value.extend(sample.entries.iter().map(|&Entry { value, .. }| value));
    rows.count.resize(rows.value.len(), 1);
    for (group, &zeros) in (0..).zip(sample.zeros) {
        match folding {
            Folding::NonZeros => return,
            Folding::Cells => rows.push_cells(group, V::default(), length(zeros)),
            _ => rows.push(group, V::default(), zeros),
        }
    }
}
