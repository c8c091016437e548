//! One gene's non-zeros in order of value: one sort serves every target.
//!
//! # Entries
//! A sorted entry is a u64 whose upper half orders by value - equal halves are equal values - and
//! whose lower half is the cell's group.  Zeros are never sorted: they come as a number for each
//! group and stand between the negative and the positive entries.
//!
//! # Sorting
//! A key (see [`crate::matrix::value`]) less the gene's least one seldom needs more than 26 bits of
//! the upper half: two stable radix passes of 13 bits order it, and need no comparison
//! ([`crate::stats::radix`]).  Where keys
//! span more than 32 bits, or cells are weighted, the upper half first holds the key's leading
//! bits and the lower one the entry's place; entries that agree in the former are put in order by
//! their whole keys, and then the upper half becomes the number of the run of equal values.
//!
//! # Ranks, without a branch to mispredict (2L + l for a run of l cells with L below it)
//! Walking up, each entry notes the reference's cells below its run; walking down, it adds those
//! up to the end of its run.  The sum is 2L + l.  Runs of more than one entry are listed on the way
//! and give the ties.
//!
//! Cost: sorting 2 passes, ranking 2 passes over the entries; O(groups) for zeros.

use super::runs::{GroupCells, GroupRuns};
use super::sample::Sample;
use crate::cast::{cells as narrow_cells, low_half, low_place, narrow, place as at_place, wide};
use crate::matrix::{Entry, Value};
use crate::stats::radix::{Scratch, sort_entries};
use crate::stats::wilcoxon::{tie_growth, tie_term};
use multiversion::multiversion;
use std::mem;

/// 2 U1 and the ties of every group of one gene.
#[derive(Debug, Default)]
pub struct Ranks {
    /// For each group 2 U1 against the reference, or against all others.
    pub twice: Vec<u64>,
    /// For each group what it adds to `shared`.
    pub ties: Vec<u128>,
    /// Σ(t³ - t) of the reference's cells, or of all.
    pub shared: u128,
}

impl Ranks {
    fn reset(&mut self, groups: usize) {
        self.twice.clear();
        self.twice.resize(groups, 0);
        self.ties.clear();
        self.ties.resize(groups, 0);
        self.shared = 0;
    }
}

/// Leading bits of longer keys that are sorted by: as many as two passes take.
const PREFIX: u32 = 26;

/// One gene's sorted entries, with the scratch space that sorting and ranking take.
#[derive(Debug, Default)]
pub struct Sorted {
    entries: Vec<u64>,
    scratch: Scratch,
    /// One for each entry where cells are weighted.
    weights: Vec<u64>,
    weighted: bool,
    /// How many entries are below zero.
    negative: usize,
    lower: Vec<u32>,
    tied: Vec<u32>,
    run: Vec<GroupCells>,
    place: Vec<u32>,
}

impl Sorted {
    /// Sorts the entries of `sample`.
    ///
    /// # Examples
    /// ```
    /// use pdex::engine::source::{sample::Sample, sorted::Sorted};
    /// use pdex::matrix::Entry;
    /// let entries = [(2.5, 1), (-1.0, 0), (2.5, 0)].map(|(value, code)| Entry { value, code });
    /// let sample = Sample { entries: &entries, weights: None, zeros: &[4, 0] };
    /// let (mut sorted, mut runs) = (Sorted::default(), Vec::new());
    /// sorted.sort(&sample);
    /// sorted.runs(sample.zeros, |run| runs.push(run.to_vec()));
    /// assert_eq!(runs, [vec![(0, 1)], vec![(0, 4)], vec![(1, 1), (0, 1)]]);
    /// ```
    pub fn sort<V: Value>(&mut self, sample: &Sample<V>) {
        let keys = || sample.entries.iter().map(|entry| entry.value.key());
        let (least, most) = span(sample.entries);
        let bits = 64 - most.saturating_sub(least).leading_zeros();
        let zero = V::default().key();
        self.weighted = sample.weights.is_some();
        self.entries.clear();
        if bits <= 32 && !self.weighted {
            self.entries.resize(sample.entries.len(), 0);
            compose(sample.entries, least, &mut self.entries);
            // Rows that were made of sorted values come in order.
            if !self.entries.is_sorted_by_key(|entry| entry >> 32) {
                sort_entries(&mut self.entries, &mut self.scratch, bits);
            }
            let below = |entry: &u64| least + (entry >> 32) < zero;
            self.negative = if least < zero { self.entries.partition_point(below) } else { 0 };
            return;
        }
        let shift = bits.saturating_sub(PREFIX);
        let prefix = |key: u64| ((key - least) >> shift) << 32;
        self.entries.extend((0u64..).zip(keys()).map(|(i, key)| prefix(key) | i));
        sort_entries(&mut self.entries, &mut self.scratch, bits - shift);
        self.number_runs(sample, shift > 0);
    }

    /// From leading bits and places to numbers of runs and groups.
    fn number_runs<V: Value>(&mut self, sample: &Sample<V>, by_whole_keys: bool) {
        let at = low_place;
        let key = |entry: u64| sample.entries[at(entry)].value.key();
        if by_whole_keys {
            for same in self.entries.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
                if same.len() > 1 {
                    same.sort_unstable_by_key(|&entry| key(entry));
                }
            }
        }
        let zero = V::default().key();
        self.negative = self.entries.partition_point(|&entry| key(entry) < zero);
        self.weights.clear();
        let (mut run, mut before) = (0, None);
        for entry in &mut self.entries {
            let i = at(*entry);
            // Whole keys are looked up only where their leading bits agree.
            let same = |before: u64| before >> 32 == *entry >> 32 && key(before) == key(*entry);
            run += u64::from(before.is_some_and(|before| !same(before)));
            before = Some(*entry);
            if self.weighted {
                self.weights.push(sample.weight(i));
            }
            *entry = (run << 32) | u64::from(sample.entries[i].code);
        }
    }

    /// Ranks every group against the reference's cells: group 0, or (`REST`) all other groups.
    ///
    /// `sizes` are the groups' numbers of cells.
    pub fn rank<const REST: bool>(&mut self, zeros: &[u64], sizes: &[u64], ranks: &mut Ranks) {
        ranks.reset(zeros.len());
        if self.weighted {
            self.rank_weighted::<REST>(zeros, ranks);
        } else {
            let entries = mem::take(&mut self.entries);
            let (negative, positive) = entries.split_at(self.negative);
            let below = self.rank_part::<REST>(negative, 0, ranks);
            let below = rank_zeros::<REST>(zeros, below, ranks);
            self.rank_part::<REST>(positive, below, ranks);
            self.entries = entries;
        }
        if REST {
            // A group's pairs with itself are no pairs with the others.
            for (twice, n) in ranks.twice.iter_mut().zip(sizes) {
                *twice -= n * n;
            }
        }
    }

    /// Ranks entries of one sign above `below` cells of the reference; returns how many there are
    /// up to their end.
    fn rank_part<const REST: bool>(
        &mut self,
        entries: &[u64],
        below: u64,
        ranks: &mut Ranks,
    ) -> u64 {
        let step = |entry: u64| if REST { 1 } else { u32::from(low_half(entry) == 0) };
        self.lower.resize(self.lower.len().max(entries.len()), 0);
        self.tied.resize(self.tied.len().max(entries.len() + 1), 0);
        let (lower, tied) = (&mut self.lower[..entries.len()], &mut self.tied[..]);
        // Up: the reference's cells below each run.
        let (mut cells, mut start, mut n_tied) = (narrow_cells(below), 0u32, 0usize);
        let mut previous = entries.first().map_or(0, |entry| !(entry >> 32));
        for (i, (&entry, lower)) in (0u32..).zip(entries.iter().zip(&mut *lower)) {
            let same = entry >> 32 == previous;
            start = if same { start } else { cells };
            previous = entry >> 32;
            *lower = start;
            cells += step(entry);
            // Written always, kept where it counts.
            tied[n_tied] = i;
            n_tied += usize::from(same);
        }
        // Down: those up to the end of each run.
        let (end_cells, mut end) = (cells, cells);
        for (&entry, &lower) in entries.iter().zip(&*lower).rev() {
            end = if entry >> 32 == previous { end } else { cells };
            previous = entry >> 32;
            cells -= step(entry);
            // At most 2^30 cells: the sum fits.
            ranks.twice[low_place(entry)] += u64::from(lower + end);
        }
        self.ties_of_runs::<REST>(entries, n_tied, ranks);
        u64::from(end_cells)
    }

    /// Adds the ties of runs of several entries; `tied` entries continue such a run.
    fn ties_of_runs<const REST: bool>(&mut self, entries: &[u64], tied: usize, ranks: &mut Ranks) {
        let mut rest = &self.tied[..tied];
        while let Some(&first) = rest.first() {
            let length = (first..).zip(rest).take_while(|(next, place)| next == *place).count();
            rest = &rest[length..];
            let run = &entries[at_place(first) - 1..][..=length];
            if REST {
                ranks.shared += tie_term(wide(run.len()));
            } else {
                ties_of_run(run, &mut self.run, ranks);
            }
        }
    }

    fn rank_weighted<const REST: bool>(&mut self, zeros: &[u64], ranks: &mut Ranks) {
        let mut below = 0;
        self.runs(zeros, |run| below = rank_run::<REST>(run, below, ranks));
    }

    /// The groups of entries below zero, one for each entry.
    pub(super) fn below_zero(&self) -> impl ExactSizeIterator<Item = usize> {
        self.entries[..self.negative].iter().map(|&entry| low_place(entry))
    }

    /// Pushes every run to `lists`, ascending.
    pub(super) fn list(&mut self, zeros: &[u64], lists: &mut GroupRuns) {
        if self.weighted {
            self.runs(zeros, |run| lists.push(run));
            return;
        }
        let (negative, positive) = self.entries.split_at(self.negative);
        lists.push_sorted(negative);
        visit_zeros(&mut self.run, zeros, &mut |run| lists.push(run));
        lists.push_sorted(positive);
    }

    /// Calls `visit` with each run of equal values, ascending; groups in it in any order.
    pub fn runs(&mut self, zeros: &[u64], mut visit: impl FnMut(&[GroupCells])) {
        let (entries, weights) = (&self.entries, &self.weights);
        let (run, place) = (&mut self.run, &mut self.place);
        // place[code] is one past the group's place in `run`, 0 where it has none.
        place.clear();
        place.resize(zeros.len(), 0);
        let mut first = 0;
        let mut zeros_due = true;
        for same in entries.chunk_by(|a, b| a >> 32 == b >> 32) {
            if zeros_due && first >= self.negative {
                visit_zeros(run, zeros, &mut visit);
                zeros_due = false;
            }
            run.clear();
            for (i, &entry) in (first..).zip(same) {
                let (code, cells) = (low_half(entry), if self.weighted { weights[i] } else { 1 });
                let slot = &mut place[at_place(code)];
                if *slot == 0 {
                    run.push((code, cells));
                    *slot = narrow(run.len());
                } else {
                    run[at_place(*slot) - 1].1 += cells;
                }
            }
            for (code, _) in &*run {
                place[at_place(*code)] = 0;
            }
            visit(run);
            first += same.len();
        }
        if zeros_due {
            visit_zeros(run, zeros, &mut visit);
        }
    }
}

/// The least and the largest key.
#[multiversion(targets = "simd")]
pub fn span<V: Value>(entries: &[Entry<V>]) -> (u64, u64) {
    if size_of::<V>() == size_of::<u32>() {
        // Keys of 32 bits, several in one instruction.
        let (mut least, mut most) = ([u32::MAX; 16], [0; 16]);
        let (chunks, others) = entries.as_chunks::<16>();
        for chunk in chunks {
            for i in 0..16 {
                let key = low_half(chunk[i].value.key());
                least[i] = least[i].min(key);
                most[i] = most[i].max(key);
            }
        }
        let others = others.iter().map(|entry| low_half(entry.value.key()));
        let least = others.clone().chain(least).min().filter(|_| !entries.is_empty());
        let most = others.chain(most).max().unwrap_or(0);
        return (least.map_or(u64::MAX, u64::from), most.into());
    }
    entries.iter().fold((u64::MAX, 0), |(least, most), entry| {
        let key = entry.value.key();
        (least.min(key), most.max(key))
    })
}

/// Keys less the least one above groups.
#[multiversion(targets = "simd")]
pub fn compose<V: Value>(entries: &[Entry<V>], least: u64, out: &mut [u64]) {
    for (entry, out) in entries.iter().zip(out) {
        *out = (entry.value.key() - least) << 32 | u64::from(entry.code);
    }
}

/// Adds what one run of equal values adds to a reference's ties and to each target's.
fn ties_of_run(run: &[u64], groups: &mut Vec<GroupCells>, ranks: &mut Ranks) {
    // 2³ - 2: two cells of one group, or one of a target's and one of the reference's.
    const PAIR: u128 = 6;
    if let [a, b] = *run {
        // Of equal values, so that the lower halves decide.
        let (low, high) = (low_half(a.min(b)), low_half(a.max(b)));
        if high == 0 {
            ranks.shared += PAIR;
        } else if low == high || low == 0 {
            ranks.ties[at_place(high)] += PAIR;
        }
        return;
    }
    if run.len() <= 8 {
        let reference = run.iter().filter(|&&entry| low_half(entry) == 0).count();
        let reference = wide(reference);
        ranks.shared += tie_term(reference);
        for code in run.iter().map(|&entry| low_half(entry)).filter(|&code| code > 0) {
            let own = wide(run.iter().filter(|&&entry| low_half(entry) == code).count());
            // Each of a group's cells adds its share.
            ranks.ties[at_place(code)] += tie_growth(own, reference) / u128::from(own);
        }
        return;
    }
    groups.clear();
    groups.extend(run.iter().map(|&entry| (low_half(entry), 1)));
    groups.sort_unstable();
    let reference = wide(groups.partition_point(|group| group.0 == 0));
    ranks.shared += tie_term(reference);
    for cells in groups.chunk_by(|a, b| a.0 == b.0).filter(|cells| cells[0].0 > 0) {
        ranks.ties[at_place(cells[0].0)] += tie_growth(wide(cells.len()), reference);
    }
}

/// Adds one run above `below` cells of the reference; returns how many there are up to its end.
fn rank_run<const REST: bool>(run: &[GroupCells], below: u64, ranks: &mut Ranks) -> u64 {
    let counts = |group: &&GroupCells| REST || group.0 == 0;
    let own: u64 = run.iter().filter(counts).map(|group| group.1).sum();
    for &(code, cells) in run {
        ranks.twice[at_place(code)] += cells * (2 * below + own);
        if !REST && code > 0 {
            ranks.ties[at_place(code)] += tie_growth(cells, own);
        }
    }
    ranks.shared += tie_term(own);
    below + own
}

/// Adds the zeros' run, as [`rank_run`] does.
fn rank_zeros<const REST: bool>(zeros: &[u64], below: u64, ranks: &mut Ranks) -> u64 {
    let own = if REST { zeros.iter().sum() } else { zeros[0] };
    let groups = ranks.twice.iter_mut().zip(&mut ranks.ties);
    for ((twice, ties), &cells) in groups.zip(zeros) {
        *twice += cells * (2 * below + own);
        if !REST {
            *ties += tie_growth(cells, own);
        }
    }
    ranks.shared += tie_term(own);
    below + own
}

/// Visits the zeros' run, where there are any.
fn visit_zeros(run: &mut Vec<GroupCells>, zeros: &[u64], visit: &mut impl FnMut(&[GroupCells])) {
    run.clear();
    run.extend((0..).zip(zeros.iter().copied()).filter(|group| group.1 > 0));
    if !run.is_empty() {
        visit(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The runs by the definition: a map from value to a map from group to cells.
    fn naive<V: Value>(sample: &Sample<V>) -> Vec<Vec<GroupCells>> {
        let mut map: BTreeMap<u64, BTreeMap<u32, u64>> = BTreeMap::new();
        for (i, v) in sample.entries.iter().enumerate() {
            *map.entry(v.value.key()).or_default().entry(v.code).or_default() += sample.weight(i);
        }
        for (code, &n) in (0..).zip(sample.zeros) {
            if n > 0 {
                *map.entry(V::default().key()).or_default().entry(code).or_default() += n;
            }
        }
        map.into_values().map(|run| run.into_iter().collect()).collect()
    }

    fn sorted<V: Value>(sample: &Sample<V>) -> Vec<Vec<GroupCells>> {
        let (mut sorted, mut found) = (Sorted::default(), Vec::new());
        sorted.sort(sample);
        sorted.runs(sample.zeros, |run| {
            let mut run = run.to_vec();
            run.sort_unstable();
            found.push(run);
        });
        found
    }

    /// The ranks of both kinds of background by counting runs.
    fn check_ranks<V: Value>(sample: &Sample<V>) {
        let runs = naive(sample);
        let groups = sample.zeros.len();
        let mut sizes = vec![0; groups];
        runs.iter().flatten().for_each(|&(code, n)| sizes[code as usize] += n);
        let (mut sorted, mut got) = (Sorted::default(), Ranks::default());
        sorted.sort(sample);
        for rest in [false, true] {
            if rest {
                sorted.rank::<true>(sample.zeros, &sizes, &mut got);
            } else {
                sorted.rank::<false>(sample.zeros, &sizes, &mut got);
            }
            for code in 1..groups as u32 {
                let (mut twice, mut below, mut ties) = (0, 0, 0);
                for run in &runs {
                    let of = |wanted: &dyn Fn(u32) -> bool| -> u64 {
                        run.iter().filter(|group| wanted(group.0)).map(|group| group.1).sum()
                    };
                    let own = of(&|g| g == code);
                    let other = of(&|g| if rest { g != code } else { g == 0 });
                    twice += own * (2 * below + other);
                    below += other;
                    ties += tie_term(own + other);
                }
                assert_eq!(got.twice[code as usize], twice, "{rest} {code}");
                assert_eq!(got.shared + got.ties[code as usize], ties, "{rest} {code}");
            }
        }
    }

    fn check<V: Value + std::fmt::Debug>(
        values: &[V],
        codes: &[u32],
        weights: Option<&[u64]>,
        zeros: &[u64],
    ) {
        let kept: Vec<usize> =
            (0..values.len()).filter(|&i| !values[i].is_zero() && !values[i].is_nan()).collect();
        let entries: Vec<Entry<V>> =
            kept.iter().map(|&i| Entry { value: values[i], code: codes[i] }).collect();
        let weights: Option<Vec<u64>> = weights.map(|w| kept.iter().map(|&i| w[i]).collect());
        let sample = Sample { entries: &entries, weights: weights.as_deref(), zeros };
        assert_eq!(sorted(&sample), naive(&sample), "{values:?}");
        check_ranks(&sample);
    }

    /// Values of every kind that has a path of its own.
    fn kinds() -> impl Strategy<Value = Vec<f64>> {
        let length = prop_oneof![9 => 0usize..60, 1 => 200usize..1500, 1 => 4000usize..4200];
        (length, 0usize..6).prop_flat_map(|(n, kind)| {
            let value = match kind {
                0 => (0i32..6).prop_map(f64::from).boxed(),
                1 => (-4i32..5).prop_map(f64::from).boxed(),
                2 => (0.0f64..7.0).boxed(),
                3 => any::<f64>().boxed(),
                4 => (0u32..200).prop_map(|v| 1.0 + f64::from(v % 9) * f64::EPSILON).boxed(),
                _ => prop_oneof![
                    Just(65_535.0),
                    Just(70_000.0),
                    Just(1.0),
                    Just(f64::INFINITY),
                    Just(-0.0),
                    Just(f64::NEG_INFINITY)
                ]
                .boxed(),
            };
            prop::collection::vec(value, n)
        })
    }

    #[test]
    fn clusters_beside_an_outlier_are_sorted_whole() {
        // 2,000 descending values that agree in their leading bits.
        let mut values: Vec<f32> =
            (1..2000u16).rev().map(|i| 1.5 + f32::from(i) * f32::EPSILON).collect();
        values.push(3e38);
        let codes: Vec<u32> = (0..2000).map(|i| i % 3).collect();
        check(&values, &codes, None, &[7, 0, 2]);
        let wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        check(&wide, &codes, None, &[7, 0, 2]);
    }

    proptest! {
        #[test]
        fn sorting_and_ranking_equal_the_definition(
            values in kinds(), seed in any::<u32>(), groups in 1u32..9, weighted: bool,
            zeros in prop::collection::vec(prop_oneof![Just(0u64), 1u64..1000], 9),
        ) {
            let codes: Vec<u32> = (0..values.len() as u32)
                .map(|i| (i ^ seed).wrapping_mul(2_654_435_761) >> 16).map(|h| h % groups).collect();
            let weights: Vec<u64> = codes.iter().map(|&c| u64::from(c) + 1).collect();
            let weights = weighted.then_some(weights.as_slice());
            let zeros = &zeros[..groups as usize];
            check(&values, &codes, weights, zeros);
            let single: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            check(&single, &codes, weights, zeros);
            let whole: Vec<i64> = values.iter().map(|&v| v.to_bits() as i64).collect();
            check(&whole, &codes, weights, zeros);
            let near: Vec<u64> = values.iter().map(|&v| u64::MAX - (v as u64) % 5).collect();
            check(&near, &codes, weights, zeros);
        }
    }
}
