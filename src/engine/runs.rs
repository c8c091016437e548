//! One gene's pooled values as runs of equal ones, in ascending order.
//!
//! Every rank statistic needs just this: for each distinct value, how many cells of each group
//! have it.  A run is a list of (group, cells), groups distinct, in any order.  Zeros are never
//! sorted: they come as a number for each group and form one run at their place.
//!
//! Two ways lead there, and yield the same runs: *counting* where the values are small whole
//! numbers and the table of value x group is not larger than the work it saves, *sorting* where
//! not.  The choice looks at the gene's values, and never changes a number.
//!
//! # Sorting
//! Entries are u64: the leading bits of the key above, a payload below.  Two radix passes order them
//! by the leading 22 bits that differ; few entries agree in those, and insertion puts them in order.
//! Where many do (clustered values beside an outlier), a comparison sort takes over.  Keys of a gene
//! seldom span 32 bits; where they do, the upper half holds their leading 32 and entries that agree
//! in it are put in order by whole keys afterwards.
//!
//! Cost: counting n + values x groups; sorting three passes over n.

use crate::matrix::Value;
use std::mem;

/// Cells of one group in one run.
pub type Group = (u32, u64);

/// One gene's cells: non-zero values, none NaN, with their groups; zeros as a number a group.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a, V> {
    pub values: &'a [V],
    pub codes: &'a [u32],
    /// How many cells each value stands for; one each where absent.
    pub weights: Option<&'a [u64]>,
    /// For each group.
    pub zeros: &'a [u64],
}

impl<V> Sample<'_, V> {
    /// How many cells entry `i` stands for.
    #[inline]
    #[must_use]
    pub fn weight(&self, i: usize) -> u64 {
        self.weights.map_or(1, |weights| weights[i])
    }
}

/// Scratch space for turning samples into runs.
#[derive(Debug, Default)]
pub struct Runs {
    entries: Vec<u64>,
    spare: Vec<u64>,
    table: Vec<u64>,
    run: Vec<Group>,
    place: Vec<u32>,
}

/// A table of counts may be this much larger than the number of entries.
const TABLE_PER_ENTRY: usize = 4;
/// Below this length a comparison sort beats the radix passes.
const RADIX_FROM: usize = 768;
const DIGIT: u32 = 11;

impl Runs {
    /// Calls `visit` with each run of the sample, ascending.
    ///
    /// # Examples
    /// ```
    /// use pdex::engine::runs::{Runs, Sample};
    /// let sample = Sample { values: &[2.5, -1.0, 2.5], codes: &[1, 0, 0], weights: None, zeros: &[4, 0] };
    /// let mut runs = Vec::new();
    /// Runs::default().visit(&sample, |run| runs.push(run.to_vec()));
    /// assert_eq!(runs, [vec![(0, 1)], vec![(0, 4)], vec![(1, 1), (0, 1)]]);
    /// ```
    pub fn visit<V: Value>(&mut self, sample: &Sample<V>, visit: impl FnMut(&[Group])) {
        let groups = sample.zeros.len();
        match largest_count(sample.values) {
            Some(largest)
                if (largest as usize + 1) * groups
                    <= TABLE_PER_ENTRY * sample.values.len() + 1024 =>
            {
                self.count(sample, largest as usize, visit);
            }
            _ => self.sort(sample, visit),
        }
    }

    /// Runs of whole numbers up to `largest`, through a table of value x group.
    fn count<V: Value>(
        &mut self,
        sample: &Sample<V>,
        largest: usize,
        mut visit: impl FnMut(&[Group]),
    ) {
        let groups = sample.zeros.len();
        self.table.clear();
        self.table.extend_from_slice(sample.zeros);
        self.table.resize((largest + 1) * groups, 0);
        for (i, (value, &code)) in sample.values.iter().zip(sample.codes).enumerate() {
            let count = value.small_count().unwrap_or(0) as usize;
            self.table[count * groups + code as usize] += sample.weight(i);
        }
        for row in self.table.chunks_exact(groups) {
            self.run.clear();
            self.run.extend((0..).zip(row.iter().copied()).filter(|group| group.1 > 0));
            if !self.run.is_empty() {
                visit(&self.run);
            }
        }
    }

    /// Runs of any values, through one sort.
    fn sort<V: Value>(&mut self, sample: &Sample<V>, visit: impl FnMut(&[Group])) {
        let keys = || sample.values.iter().map(|v| v.key());
        let (least, most) =
            keys().fold((u64::MAX, 0), |(low, high), key| (low.min(key), high.max(key)));
        let bits = 64 - most.saturating_sub(least).leading_zeros();
        let shift = bits.saturating_sub(32);
        let prefix = |key: u64| ((key - least) >> shift) << 32;
        let zero = V::default().key();
        self.entries.clear();
        if shift == 0 && sample.weights.is_none() {
            let codes = sample.codes.iter().map(|&code| u64::from(code));
            self.entries.extend(keys().zip(codes).map(|(key, code)| prefix(key) | code));
            sort_entries(&mut self.entries, &mut self.spare, bits);
            let order = Order {
                group: |entry: u64| (entry as u32, 1),
                same: |a: u64, b: u64| a >> 32 == b >> 32,
                positive: |entry: u64| least + (entry >> 32) > zero,
            };
            emit(&self.entries, &mut self.run, &mut self.place, sample.zeros, &order, visit);
            return;
        }
        self.entries.extend((0u64..).zip(keys()).map(|(i, key)| prefix(key) | i));
        sort_entries(&mut self.entries, &mut self.spare, bits - shift);
        let at = |entry: u64| entry as u32 as usize;
        let key = |entry: u64| sample.values[at(entry)].key();
        if shift > 0 {
            for same in self.entries.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
                if same.len() > 1 {
                    same.sort_unstable_by_key(|&entry| key(entry));
                }
            }
        }
        let order = Order {
            group: |entry: u64| (sample.codes[at(entry)], sample.weight(at(entry))),
            // Whole keys are looked up only where their leading bits agree.
            same: |a: u64, b: u64| a >> 32 == b >> 32 && key(a) == key(b),
            positive: |entry: u64| key(entry) > zero,
        };
        emit(&self.entries, &mut self.run, &mut self.place, sample.zeros, &order, visit);
    }
}

/// What [`emit`] asks of sorted entries.
struct Order<G, S, P> {
    /// The group, and how many cells.
    group: G,
    /// Whether two entries have one value.
    same: S,
    /// Whether the value is above zero.
    positive: P,
}

/// The largest value where all are whole numbers from 0 to 65,535.
fn largest_count<V: Value>(values: &[V]) -> Option<u32> {
    // A first look at a few spares real values the whole pass.
    values.iter().take(8).try_for_each(|v| v.small_count().map(|_| ()))?;
    let fold = |(all, largest): (bool, u32), v: &V| match v.small_count() {
        Some(count) => (all, largest.max(count)),
        None => (false, largest),
    };
    let (all, largest) = values.iter().fold((true, 0), fold);
    all.then_some(largest)
}

/// Sorts entries whose upper 32 bits differ in the lowest `bits` of those only.
fn sort_entries(entries: &mut [u64], spare: &mut Vec<u64>, bits: u32) {
    if entries.len() < RADIX_FROM {
        entries.sort_unstable();
        return;
    }
    let digit = bits.div_ceil(2).min(DIGIT);
    let low = 32 + bits.saturating_sub(2 * digit);
    spare.resize(entries.len(), 0);
    radix_pass(entries, spare, low, digit);
    radix_pass(spare, entries, low + digit, digit);
    if !insertion_sort(entries) {
        entries.sort_unstable();
    }
}

/// Moves entries to `out` in the order of `digit` bits from `shift` on, keeping that of equal ones.
fn radix_pass(entries: &[u64], out: &mut [u64], shift: u32, digit: u32) {
    let mask = (1usize << digit) - 1;
    let mut places = [0u32; 1 << DIGIT];
    for entry in entries {
        places[(entry >> shift) as usize & mask] += 1;
    }
    let mut sum = 0;
    for place in &mut places {
        sum += mem::replace(place, sum);
    }
    for entry in entries {
        let place = &mut places[(entry >> shift) as usize & mask];
        out[*place as usize] = *entry;
        *place += 1;
    }
}

/// Sorts entries that are nearly in order by their upper 32 bits; false, with all entries still
/// there, where it gave up.
fn insertion_sort(entries: &mut [u64]) -> bool {
    let mut budget = 4 * entries.len();
    for i in 1..entries.len() {
        let entry = entries[i];
        let mut place = i;
        while place > 0 && entries[place - 1] >> 32 > entry >> 32 {
            entries[place] = entries[place - 1];
            place -= 1;
        }
        entries[place] = entry;
        match budget.checked_sub(i - place) {
            Some(left) => budget = left,
            None => return false,
        }
    }
    true
}

/// Walks sorted entries as runs; the zeros' run comes between the negative and the positive ones.
fn emit<G, S, P>(
    entries: &[u64],
    run: &mut Vec<Group>,
    place: &mut Vec<u32>,
    zeros: &[u64],
    order: &Order<G, S, P>,
    mut visit: impl FnMut(&[Group]),
) where
    G: Fn(u64) -> Group,
    S: Fn(u64, u64) -> bool,
    P: Fn(u64) -> bool,
{
    // place[code] is one past the group's place in `run`, 0 where it has none.
    place.clear();
    place.resize(zeros.len(), 0);
    let mut zeros_due = true;
    let mut rest = entries;
    while let Some((&first, tail)) = rest.split_first() {
        if zeros_due && (order.positive)(first) {
            visit_zeros(run, zeros, &mut visit);
            zeros_due = false;
        }
        if tail.first().is_none_or(|&next| !(order.same)(first, next)) {
            visit(&[(order.group)(first)]);
            rest = tail;
            continue;
        }
        run.clear();
        let length = rest.iter().take_while(|&&entry| (order.same)(first, entry)).count();
        for (code, weight) in rest[..length].iter().map(|&entry| (order.group)(entry)) {
            let slot = &mut place[code as usize];
            if *slot == 0 {
                run.push((code, weight));
                *slot = u32::try_from(run.len()).unwrap_or(u32::MAX);
            } else {
                run[*slot as usize - 1].1 += weight;
            }
        }
        for (code, _) in &*run {
            place[*code as usize] = 0;
        }
        visit(run);
        rest = &rest[length..];
    }
    if zeros_due {
        visit_zeros(run, zeros, &mut visit);
    }
}

/// Visits the zeros' run, where there are any.
fn visit_zeros(run: &mut Vec<Group>, zeros: &[u64], visit: &mut impl FnMut(&[Group])) {
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
    fn naive<V: Value>(sample: &Sample<V>) -> Vec<Vec<Group>> {
        let mut map: BTreeMap<u64, BTreeMap<u32, u64>> = BTreeMap::new();
        for (i, v) in sample.values.iter().enumerate() {
            *map.entry(v.key()).or_default().entry(sample.codes[i]).or_default() +=
                sample.weight(i);
        }
        for (code, &n) in (0..).zip(sample.zeros) {
            if n > 0 {
                *map.entry(V::default().key()).or_default().entry(code).or_default() += n;
            }
        }
        map.into_values().map(|run| run.into_iter().collect()).collect()
    }

    fn fast<V: Value>(sample: &Sample<V>) -> Vec<Vec<Group>> {
        let mut found = Vec::new();
        Runs::default().visit(sample, |run| {
            let mut run = run.to_vec();
            run.sort_unstable();
            found.push(run);
        });
        found
    }

    fn sorted<V: Value>(sample: &Sample<V>) -> Vec<Vec<Group>> {
        let mut found = Vec::new();
        Runs::default().sort(sample, |run| {
            let mut run = run.to_vec();
            run.sort_unstable();
            found.push(run);
        });
        found
    }

    fn check<V: Value + std::fmt::Debug>(
        values: &[V],
        codes: &[u32],
        weights: Option<&[u64]>,
        zeros: &[u64],
    ) {
        let kept: Vec<usize> =
            (0..values.len()).filter(|&i| !values[i].is_zero() && !values[i].is_nan()).collect();
        let values: Vec<V> = kept.iter().map(|&i| values[i]).collect();
        let codes: Vec<u32> = kept.iter().map(|&i| codes[i]).collect();
        let weights: Option<Vec<u64>> = weights.map(|w| kept.iter().map(|&i| w[i]).collect());
        let sample = Sample { values: &values, codes: &codes, weights: weights.as_deref(), zeros };
        let expected = naive(&sample);
        assert_eq!(fast(&sample), expected, "{values:?}");
        assert_eq!(sorted(&sample), expected, "{values:?}");
    }

    /// Values of every kind that has a path of its own.
    fn kinds() -> impl Strategy<Value = Vec<f64>> {
        let length = prop_oneof![9 => 0usize..60, 1 => 800usize..1500];
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
        // 2,000 descending values in two radix classes: more steps than insertion may take.
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
        fn counting_and_sorting_equal_the_definition(
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
