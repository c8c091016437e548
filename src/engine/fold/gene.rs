//! One gene's cells folded to rows.
//!
//! Small counts go into a table of group x count. Other values are sorted by radix; rows are made of
//! them in this order, or, where they are to come group by group, after a counting sort by group.
//! Values whose keys span more than 32 bits are sorted group by group instead.
//!
//! Cost: O(entries + groups x bins), or two to four passes over the entries.

use super::Folding;
use super::rows::Rows;
use crate::cast::{cells, length, low_half, low_place, place};
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
    tied: Vec<u32>,
    scratch: Scratch,
    weighted: Vec<(u32, V, u64)>,
}

impl<V> Default for GeneFold<V> {
    fn default() -> Self {
        let (table, values, starts, weighted) = Default::default();
        let (entries, tied, scratch) = Default::default();
        Self { table, values, starts, entries, tied, scratch, weighted }
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
        let few =
            sample.entries.len() < sizes.len() && sample.zeros.iter().all(|&zeros| zeros == 0);
        if !folding.is_by_value() {
            listed(sample, folding, rows);
        } else if few {
            self.push_few(sample, rows);
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
        push_runs(negative, least, &mut self.tied, rows);
        for (group, &zeros) in (0..).zip(sample.zeros) {
            rows.push(group, V::default(), zeros);
        }
        push_runs(positive, least, &mut self.tied, rows);
    }

    /// Adds the values group by group, ascending in each. Entries are sorted where `least` is the key
    /// that theirs count from; else each group's values are.
    fn push_by_group(&mut self, sample: &Sample<V>, least: Option<u64>, rows: &mut Rows<V>) {
        let groups = sample.zeros.len();
        sample.starts(&mut self.starts);
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

    /// Adds fewer entries than there are groups, none of which has zeros.
    fn push_few(&mut self, sample: &Sample<V>, rows: &mut Rows<V>) {
        self.sort_by_group(sample);
        let mut rest = &self.weighted[..];
        while let Some(&(group, ..)) = rest.first() {
            let (own, others) = rest.split_at(rest.partition_point(|entry| entry.0 == group));
            rows.push_sorted(group, own.iter().map(|&(_, value, n)| (value, n)), 0);
            rest = others;
        }
    }

    fn sort_by_group(&mut self, sample: &Sample<V>) {
        self.weighted.clear();
        let entries = sample.entries.iter().enumerate();
        self.weighted.extend(entries.map(|(i, e)| (e.code, e.value, sample.weight(i))));
        self.weighted.sort_unstable_by_key(|&(code, value, _)| (code, value.key()));
    }

    fn sort_weighted(&mut self, sample: &Sample<V>, rows: &mut Rows<V>) {
        self.sort_by_group(sample);
        let mut rest = &self.weighted[..];
        for (group, &zeros) in (0..).zip(sample.zeros) {
            let (own, others) = rest.split_at(rest.partition_point(|entry| entry.0 == group));
            rows.push_sorted(group, own.iter().map(|&(_, value, n)| (value, n)), zeros);
            rest = others;
        }
    }
}

/// Adds sorted entries (keys from `least` on above groups), each value of a group once.
fn push_runs<V: Keyed>(entries: &mut [u64], least: u64, tied: &mut Vec<u32>, rows: &mut Rows<V>) {
    let Some(&first) = entries.first() else { return };
    // Entries of the value before them: written always, kept where they are.
    tied.resize(tied.len().max(entries.len()), 0);
    let (mut n, mut previous) = (0, !(first >> 32));
    for (i, &entry) in (0u32..).zip(&*entries) {
        tied[n] = i;
        n += usize::from(entry >> 32 == previous);
        previous = entry >> 32;
    }
    let value = |entry: u64| V::of_key(least + (entry >> 32));
    if n == 0 {
        rows.group.extend(entries.iter().map(|&entry| low_half(entry)));
        rows.value.extend(entries.iter().map(|&entry| value(entry)));
        rows.count.resize(rows.value.len(), 1);
        return;
    }
    // Equal values in order of their groups.
    let mut rest = &tied[..n];
    while let Some(&second) = rest.first() {
        let length = (second..).zip(rest).take_while(|(next, at)| next == *at).count();
        rest = &rest[length..];
        entries[place(second) - 1..][..=length].sort_unstable();
    }
    let mut kept = rows.len();
    let most = kept + entries.len();
    rows.group.resize(most, 0);
    rows.value.resize(most, V::default());
    rows.count.resize(most, 0);
    let (groups, values) = (&mut rows.group[..], &mut rows.value[..]);
    let counts = &mut rows.count[..];
    let (mut last, mut count) = (!first, 0);
    for &entry in &*entries {
        // A row is written over until all of its cells are counted.
        let same = entry == last;
        count = if same { count + 1 } else { 1 };
        kept += usize::from(!same);
        (groups[kept - 1], values[kept - 1]) = (low_half(entry), value(entry));
        counts[kept - 1] = count;
        last = entry;
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
    for (group, &zeros) in (0..).zip(sample.zeros).filter(|group| *group.1 > 0) {
        if folding == Folding::Cells {
            rows.push_cells(group, V::default(), length(zeros));
        } else {
            rows.push(group, V::default(), zeros);
        }
    }
}
