//! One gene's cells folded to rows.
//!
//! Small counts go into a table of group x count. Other values are sorted by radix; rows are made of
//! them in this order, or, where they are to come group by group, after a counting sort by group.
//! Values whose keys span more than 32 bits are sorted group by group instead.
//!
//! Cost: O(entries + groups x bins), or two to four passes over the entries.

use super::Folding;
use super::rows::Rows;
use crate::cast::{cells, length, low_half, low_place, narrow, place};
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
        if !folding.is_by_value() {
            listed(sample, folding, rows);
        } else if let Some(width) = GeneHistogram::width(sample, crate::engine::plan::MOST_BINS) {
            self.count(sample, width);
            for ((group, bins), &size) in (0..).zip(self.table.chunks_exact(width)).zip(sizes) {
                rows.push_bins(group, (bins, &[]), size);
            }
        } else if sample.weights.is_some() {
            self.sort_weighted(sample, rows);
        } else {
            let (least, most) = span(sample.entries);
            let bits = 64 - most.saturating_sub(least).leading_zeros();
            if bits <= 32 {
                self.entries.resize(sample.entries.len(), 0);
                compose(sample.entries, least, &mut self.entries);
                sort_entries(&mut self.entries, &mut self.scratch, bits);
            }
            if bits <= 32 && folding == Folding::Values {
                self.push_by_value(sample, least, rows);
            } else {
                self.push_by_group(sample, (bits <= 32).then_some(least), rows);
            }
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

    /// Adds the sorted entries as they are, by value; keys count from `least`.
    fn push_by_value(&mut self, sample: &Sample<V>, least: u64, rows: &mut Rows<V>) {
        rows.reserve(self.entries.len() + sample.zeros.len());
        let zero = V::default().key();
        let below = |entry: &u64| least + (entry >> 32) < zero;
        let negative = self.entries.partition_point(below);
        let (negative, positive) = self.entries.split_at_mut(negative);
        push_runs(negative, least, rows);
        for (group, &zeros) in (0..).zip(sample.zeros) {
            rows.push(group, V::default(), zeros);
        }
        push_runs(positive, least, rows);
    }

    /// Adds the values group by group, ascending in each. Entries are sorted where `least` is the key
    /// that theirs count from; else each group's values are.
    fn push_by_group(&mut self, sample: &Sample<V>, least: Option<u64>, rows: &mut Rows<V>) {
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
        if let Some(least) = least {
            // A stable counting sort by group keeps the order of values.
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
            if least.is_none() {
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

/// Adds sorted entries (keys from `least` on above groups), each value of a group once.
fn push_runs<V: Keyed>(entries: &mut [u64], least: u64, rows: &mut Rows<V>) {
    let start = rows.len();
    // Most values of most genes are different.
    rows.group.extend(entries.iter().map(|&entry| low_half(entry)));
    rows.value.extend(entries.iter().map(|&entry| V::of_key(least + (entry >> 32))));
    rows.count.resize(rows.value.len(), 1);
    if entries.windows(2).all(|pair| pair[0] >> 32 != pair[1] >> 32) {
        return;
    }
    let mut kept = start;
    for run in entries.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
        run.sort_unstable();
        for same in run.chunk_by(|a, b| a == b) {
            rows.group[kept] = low_half(same[0]);
            rows.value[kept] = V::of_key(least + (same[0] >> 32));
            rows.count[kept] = narrow(same.len());
            kept += 1;
        }
    }
    rows.group.truncate(kept);
    rows.value.truncate(kept);
    rows.count.truncate(kept);
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
