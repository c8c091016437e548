//! The values of a sample, and of two samples pooled, as scores of a linear statistic.
//!
//! # What stands for the values
//! | a sample | nodes |
//! |---|---|
//! | few distinct values, such as counts | each value with its number of cells |
//! | many, such as log-normalised values | the zeros, and a Gauss rule for all others ([`super::quadrature`]) |
//! | the same where the tilt is steep | the zeros, the values next to either end one by one, and Gauss rules on panels that grow with their distance from it |
//!
//! The choice looks at the distinct values and their numbers of cells alone, never at how they were
//! found, so that every source of the data gives the same nodes.
//!
//! Two samples are pooled by merging their nodes.  Against a reference its nodes are made once a gene,
//! those of a target once a pair; against the rest the pool is the gene's.

use super::pool::Pool;
use super::quadrature::{Polynomials, gauss};
use super::ways::Scored;
use crate::cast::{real, whole};
use crate::stats::double_double::{exponent, power_of_two};
use crate::stats::special::ln_choose;
use std::mem;

/// Samples that many targets share are listed value by value up to this many distinct values.
pub const LISTED: usize = 40;
/// A target's sample, up to this many: solving with more nodes takes less than making fewer of them.
pub const LISTED_ALONE: usize = 128;
/// Nodes for all values that are not zero.
const COARSE: usize = 10;
/// Nodes of one panel.
const FINE: usize = 6;
/// Values next to an end that are nodes by themselves.
const SINGLE: usize = 24;
/// The coarse nodes suffice while the log odds change by no more over the values other than zero.
const STEEP: f64 = 12.0;
/// Values are scaled to less than 2 to this power: the tolerance of the exact sum is then about 1e-9 of
/// the largest value, and rounding far less.
const SCALE: i32 = 9;
/// 2^52: differences of smaller whole numbers are exact.
const WHOLE: f64 = 4_503_599_627_370_496.0;

/// The distinct values of one sample, ascending, with what stands for them.
///
/// # Examples
/// ```
/// use pdex::stats::conditional::SampleValues;
/// let mut sample = SampleValues::default();
/// sample.push(0.0, 900);
/// (0..100).for_each(|i| sample.push(1.0 + f64::from(i) / 50.0, 1));
/// sample.summarize(40);
/// // The zeros and ten nodes.
/// assert_eq!(sample.nodes().len(), 11);
/// ```
#[derive(Debug, Default, Clone)]
pub struct SampleValues {
    values: Vec<f64>,
    cells: Vec<f64>,
    /// The number of cells.
    n: f64,
    /// The greatest common divisor of the differences of whole numbers, 0 of a single one; `None` where a
    /// value is fractional.
    step: Option<u64>,
    /// (value, cells), ascending; both empty if the values are listed.
    coarse: Vec<(f64, f64)>,
    fine: Vec<(f64, f64)>,
}

impl SampleValues {
    /// Removes all values.
    pub fn clear(&mut self) {
        self.values.clear();
        self.cells.clear();
        self.n = 0.0;
        self.coarse.clear();
        self.fine.clear();
    }

    /// Adds the next larger value, or more cells of the last one; `cells` is at least 1.
    pub fn push(&mut self, value: f64, cells: u64) {
        debug_assert!(cells > 0 && self.values.last().is_none_or(|&last| last <= value));
        self.n += real(cells);
        match (self.values.last(), self.cells.last_mut()) {
            (Some(&last), Some(same)) if last == value => *same += real(cells),
            _ => {
                self.values.push(value);
                self.cells.push(real(cells));
            }
        }
    }

    /// Makes nodes of more than `most` distinct values.  Infinite ones have none.  To be called once all
    /// values are there.
    pub fn summarize(&mut self, most: usize) {
        self.coarse.clear();
        self.fine.clear();
        self.step = step(&self.values);
        let ends = [self.values.first(), self.values.last()];
        if self.values.len() <= most || ends.into_iter().flatten().any(|v| v.is_infinite()) {
            return;
        }
        let zero = self.values.binary_search_by(|v| v.total_cmp(&0.0)).ok();
        let (mut values, mut cells) = (self.values.clone(), self.cells.clone());
        let zeros = zero.map(|at| (values.remove(at), cells.remove(at)));
        // From the lower end up to the middle, and on to the upper end.
        let half = values.len() / 2;
        let lengths = panels(half).into_iter().rev().chain(panels(values.len() - half));
        let (mut kept, mut from) = (Polynomials::default(), 0);
        for length in lengths {
            let panel = from..from + length;
            gauss(&values[panel.clone()], &cells[panel], FINE, &mut kept, &mut self.fine);
            from += length;
        }
        let (values, cells): (Vec<f64>, Vec<f64>) = self.fine.iter().copied().unzip();
        gauss(&values, &cells, COARSE, &mut kept, &mut self.coarse);
        for nodes in [&mut self.coarse, &mut self.fine] {
            let at = nodes.partition_point(|node| node.0 < 0.0);
            nodes.splice(at..at, zeros);
        }
    }

    /// True if the nodes are the values themselves.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.coarse.is_empty()
    }

    /// (value, cells), ascending.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn nodes(&self) -> Vec<(f64, f64)> {
        self.each(false).collect()
    }

    fn each(&self, fine: bool) -> impl Iterator<Item = (f64, f64)> {
        let nodes = if fine { &self.fine } else { &self.coarse };
        let listed = if self.is_listed() { self.values.len() } else { 0 };
        let listed = self.values.iter().copied().zip(self.cells.iter().copied()).take(listed);
        listed.chain(nodes.iter().copied())
    }

    /// The lowest and the highest value.
    fn ends(&self) -> (f64, f64) {
        let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        (end(self.values.first()), end(self.values.last()))
    }

    /// The lowest value above 0; infinite where there is none.
    fn above_zero(&self) -> f64 {
        self.values.iter().copied().find(|&v| v > 0.0).unwrap_or(f64::INFINITY)
    }

    /// The values from the upper end down, or, turned, from the lower end up as their negatives.
    fn downwards(&self, turned: bool) -> impl Iterator<Item = (f64, f64)> {
        let n = self.values.len();
        (0..n).map(move |i| {
            let at = if turned { i } else { n - 1 - i };
            (if turned { -self.values[at] } else { self.values[at] }, self.cells[at])
        })
    }
}

/// The greatest common divisor of the differences of values; `None` unless all are whole.
fn step(values: &[f64]) -> Option<u64> {
    let first = values.first()?;
    values.iter().try_fold(0, |step, value| {
        let exact = value.fract() == 0.0 && value.abs() < WHOLE;
        exact.then(|| if step == 1 { 1 } else { divisor(step, whole(value - first)) })
    })
}

/// The greatest common divisor; that of 0 and a number is the number.
fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Lengths of panels of `length` values, ascending, next to an upper end: each half of what is left, then
/// single values.
fn panels(length: usize) -> Vec<usize> {
    let (mut left, mut lengths) = (length, Vec::new());
    while left > SINGLE {
        lengths.push(left / 2);
        left -= left / 2;
    }
    lengths.resize(lengths.len() + left, 1);
    lengths
}

/// Buffers of pooled values, reused from pair to pair.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    cells: Vec<f64>,
    scores: Vec<f64>,
    /// As the scores, but not centred: sums of whole numbers are exact.
    values: Vec<f64>,
}

/// Two samples pooled: a target's, and what it is compared with.
#[derive(Debug)]
pub(super) struct PooledValues<'a> {
    target: &'a SampleValues,
    shared: &'a SampleValues,
    /// True if the shared sample holds the target's cells, too.
    pooled: bool,
    n_target: f64,
    n: f64,
    /// Scores are values times this, less their mean.
    unit: f64,
    fine: bool,
    turned: bool,
    /// As [`Pool::step`].
    step: f64,
    /// The range of the scores of values other than zero, where nodes stand for them; else 0.
    spread: f64,
    buffers: Buffers,
}

impl<'a> PooledValues<'a> {
    pub(super) fn new(
        target: &'a SampleValues,
        shared: &'a SampleValues,
        pooled: bool,
        buffers: Buffers,
    ) -> Self {
        let n_target = target.n;
        let n = shared.n + if pooled { 0.0 } else { n_target };
        let ((a, b), (c, d)) = (target.ends(), shared.ends());
        let (low, high) = (a.min(c), b.max(d));
        let largest = low.abs().max(high.abs());
        let e = if largest > 0.0 && largest.is_finite() { exponent(largest) } else { 0 };
        let unit = power_of_two((SCALE - e).clamp(-1022, 1023));
        let mut pool = Self {
            target,
            shared,
            pooled,
            n_target,
            n,
            unit,
            fine: false,
            turned: false,
            step: 0.0,
            spread: 0.0,
            buffers,
        };
        if let (Some(shared), Some(own)) = (shared.step, target.step) {
            let between = if a.is_nan() || c.is_nan() { 0 } else { whole((a - c).abs()) };
            pool.step = real(divisor(divisor(shared, own), between)) * unit;
        }
        if !pool.is_listed() {
            // Zeros are a node by themselves.
            let low = if low == 0.0 { target.above_zero().min(shared.above_zero()) } else { low };
            pool.spread = high * unit - low * unit;
        }
        pool.fill();
        pool
    }

    pub(super) fn into_buffers(self) -> Buffers {
        self.buffers
    }

    fn is_listed(&self) -> bool {
        self.shared.is_listed() && (self.pooled || self.target.is_listed())
    }

    /// Merges the nodes of both samples, ascending, equal values as one.
    fn fill(&mut self) {
        let Buffers { cells, scores, values } = &mut self.buffers;
        cells.clear();
        values.clear();
        let unit = self.unit;
        let mut push = |(value, count): (f64, f64)| {
            let value = value * unit;
            match (values.last(), cells.last_mut()) {
                (Some(&last), Some(same)) if last == value => *same += count,
                _ => {
                    values.push(value);
                    cells.push(count);
                }
            }
        };
        let own = self.target.each(self.fine).take(if self.pooled { 0 } else { usize::MAX });
        let mut own = own.peekable();
        for node in self.shared.each(self.fine) {
            while let Some(own) = own.next_if(|own| own.0 < node.0) {
                push(own);
            }
            push(node);
        }
        own.for_each(push);
        // Relative to the lowest, so that nearby values keep their digits.
        let low = values.first().copied().unwrap_or(0.0);
        let above = values.iter().zip(&*cells).map(|(v, l)| l * (v - low)).sum::<f64>();
        let mean = above / self.n;
        scores.clear();
        scores.extend(values.iter().map(|value| (value - low) - mean));
        if mem::take(&mut self.turned) {
            self.turn();
        }
    }

    /// T.
    pub(super) fn statistic(&self) -> f64 {
        let Buffers { scores, values, .. } = &self.buffers;
        // A node's value, and its score.
        let ([value, ..], [score, ..]) = (&values[..], &scores[..]) else { return 0.0 };
        let sign = if self.turned { -1.0 } else { 1.0 };
        let sample = self.target.values.iter().zip(&self.target.cells);
        sample.map(|(v, a)| a * ((sign * v * self.unit - value) + score)).sum()
    }

    /// The target's sum of values.
    fn sum(&self) -> f64 {
        let sign = if self.turned { -1.0 } else { 1.0 };
        let sample = self.target.values.iter().zip(&self.target.cells);
        sample.map(|(v, a)| a * (sign * v * self.unit)).sum()
    }

    /// An upper bound of the number of outcomes, at most infinite.
    pub(super) fn outcomes(&self) -> f64 {
        if !self.is_listed() {
            return f64::INFINITY;
        }
        let (mut product, mut largest) = (1.0, 1.0f64);
        for l in &self.buffers.cells {
            let factor = l.min(self.n_target) + 1.0;
            product *= factor;
            largest = largest.max(factor);
        }
        ln_choose(self.n, self.n_target).exp().min(product / largest)
    }
}

impl Scored for PooledValues<'_> {
    fn pool(&self, _: u64) -> Pool<'_> {
        let Buffers { cells, scores, .. } = &self.buffers;
        Pool { cells, scores, n_target: self.n_target, n: self.n, step: self.step }
    }

    fn listed(&self, n_target: u64, _: f64) -> Option<(Pool<'_>, f64)> {
        let pool = Pool { scores: &self.buffers.values, ..self.pool(n_target) };
        self.is_listed().then(|| (pool, self.sum()))
    }

    /// True where none of the other cells has a larger value than one of the target's.
    fn at_largest(&self, _: u64, _: f64) -> Option<f64> {
        let (value, own) = self.target.downwards(!self.turned).next()?;
        let value = -value;
        let (mut above, mut same) = (0.0, if self.pooled { 0.0 } else { own });
        // The pool's cells above the target's lowest value: its own others, and no more.
        let most = if self.pooled { self.n_target - own } else { 0.0 };
        for (other, cells) in self.shared.downwards(self.turned) {
            if other > value {
                above += cells;
            } else {
                same += if other == value { cells } else { 0.0 };
                break;
            }
            if above > most {
                return None;
            }
        }
        Some(ln_choose(same, own) - ln_choose(self.n, self.n_target))
    }

    fn turn(&mut self) {
        self.turned = !self.turned;
        let Buffers { cells, scores, values } = &mut self.buffers;
        cells.reverse();
        for numbers in [scores, values] {
            numbers.reverse();
            for number in numbers.iter_mut() {
                *number = -*number;
            }
        }
    }

    fn refine(&mut self, tilt: Option<f64>) -> bool {
        let steep = tilt.is_none_or(|tilt| tilt * self.spread > STEEP);
        if self.is_listed() || self.fine || !steep {
            return false;
        }
        self.fine = true;
        self.fill();
        true
    }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss)]
mod tests {
    use super::super::ValueTails;
    use super::*;

    fn sample(values: &[f64], most: usize) -> SampleValues {
        let mut sample = SampleValues::default();
        for &value in values {
            sample.push(value, 1);
        }
        sample.summarize(most);
        sample
    }

    /// 4,000 cells: quantiles of some distribution, after zeros.
    fn cells(zeros: usize, quantile: impl Fn(f64) -> f64) -> Vec<f64> {
        let others = 4_000 - zeros;
        let value = |i: usize| quantile((i as f64 + 0.5) / others as f64);
        let mut cells: Vec<f64> = (0..others).map(value).collect();
        cells.extend(std::iter::repeat_n(0.0, zeros));
        cells.sort_by(f64::total_cmp);
        cells
    }

    /// Nodes beside all values one by one, in both tails, from a pool that holds the target and from a
    /// reference that does not.
    #[test]
    fn nodes_need_not_be_listed() {
        let logit = |u: f64| (u / (1.0 - u)).ln();
        let distributions: [(&str, Vec<f64>); 5] = [
            ("log values", cells(2_800, |u| 1.5 + 0.3 * logit(u).max(-4.0))),
            ("log-normal", cells(0, |u| (0.6 * logit(u)).exp())),
            ("both signs", cells(500, |u| logit(u) - 0.3)),
            ("counts", cells(0, |u| (-30.0 * (1.0 - u).ln()).floor())),
            ("far values", cells(2_000, |u| if u > 0.999 { 1e3 * u } else { u })),
        ];
        let mut compared = 0;
        for (name, pool) in &distributions {
            for (n_target, up, part) in
                (0..96).map(|i| ([6, 30, 200][i % 3], i / 3 % 2 == 0, i / 6))
            {
                // Every so many of the cells next to one end.
                let stride = 1 + (pool.len() / n_target - 1) * (15 - part) / 16;
                let at = |i: usize| {
                    if up { pool.len() - 1 - i * stride - part } else { i * stride + part }
                };
                let mut places: Vec<usize> = (0..n_target).map(at).collect();
                places.sort_unstable();
                let own: Vec<f64> = places.iter().map(|&at| pool[at]).collect();
                let others: Vec<f64> =
                    (0..pool.len()).filter(|at| !places.contains(at)).map(|at| pool[at]).collect();
                let mut tails = ValueTails::default();
                let mut tail = |shared: &[f64], pooled, most| {
                    tails.target.clear();
                    for &value in &own {
                        tails.target.push(value, 1);
                    }
                    tails.best(&sample(shared, most), pooled, up)
                };
                // T in standard deviations.
                let n = pool.len() as f64;
                let mean = pool.iter().sum::<f64>() / n;
                let square: f64 = pool.iter().map(|v| (v - mean).powi(2)).sum();
                let variance = n_target as f64 * (n - n_target as f64) / (n * (n - 1.0)) * square;
                let t: f64 = own.iter().map(|v| v - mean).sum();
                if t.abs() < 1.5 * variance.sqrt() || (t > 0.0) != up {
                    continue;
                }
                let want = tail(pool, true, usize::MAX);
                let nodes = [tail(pool, true, LISTED), tail(&others, false, LISTED)];
                for got in nodes.into_iter().filter(|_| want > -300.0) {
                    compared += 1;
                    // Measured 2.6e-4.
                    let off = (got - want).abs();
                    assert!(off < 1e-3, "{name} {n_target} {up} {part}: {got} {want}");
                }
            }
        }
        assert!(compared > 500, "{compared}");
    }

    #[test]
    fn few_values_are_listed_and_zeros_are_a_node() {
        let values: Vec<f64> = (-10..30).map(f64::from).collect();
        let listed = sample(&values, LISTED);
        assert!(listed.is_listed() && listed.nodes().len() == 40);
        let more: Vec<f64> = (-11..30).map(f64::from).collect();
        let nodes = sample(&more, LISTED);
        assert!(!nodes.is_listed());
        assert_eq!(nodes.nodes().len(), COARSE + 1);
        assert_eq!(nodes.nodes().iter().filter(|node| **node == (0.0, 1.0)).count(), 1);
        for fine in [false, true] {
            assert!(nodes.each(fine).map(|node| node.0).is_sorted());
            let [n, sum]: [f64; 2] = [
                nodes.each(fine).map(|node| node.1).sum(),
                nodes.each(fine).map(|node| node.0 * node.1).sum(),
            ];
            assert!((n - 41.0).abs() < 1e-11 && (sum - 369.0).abs() < 1e-10, "{n} {sum}");
        }
        let infinite = sample(&[&more[..], &[f64::INFINITY]].concat(), LISTED);
        assert!(infinite.is_listed());
    }

    #[test]
    fn panels_hold_every_value_once() {
        for length in [0, 1, SINGLE, SINGLE + 1, 100, 12_345] {
            let lengths = panels(length);
            assert_eq!(lengths.iter().sum::<usize>(), length);
            assert!(lengths.is_sorted_by(|a, b| a >= b) && lengths.len() <= SINGLE + 10);
        }
    }

    #[test]
    fn whole_numbers_have_a_step() {
        for (values, want) in [
            (&[0.0, 1.0, 5.0][..], Some(1)),
            (&[-3.0, 1.0, 5.0], Some(4)),
            (&[7.0], Some(0)),
            (&[0.0, 0.5, 1.0], None),
            (&[0.0, 1.0, 2.5], None),
            (&[0.0, 1e16], None),
            (&[0.0, f64::INFINITY], None),
        ] {
            assert_eq!(sample(values, LISTED).step, want, "{values:?}");
        }
        // Threes from 0 on beside sixes from 1 on.
        let (target, shared) = (sample(&[0.0, 3.0], LISTED), sample(&[1.0, 7.0], LISTED));
        let step = |pooled| PooledValues::new(&target, &shared, pooled, Buffers::default());
        assert_eq!(step(false).step / step(false).unit, 1.0);
        let (target, shared) = (sample(&[0.0, 4.0], LISTED), sample(&[2.0, 8.0], LISTED));
        let pool = PooledValues::new(&target, &shared, false, Buffers::default());
        assert_eq!(pool.step / pool.unit, 2.0);
    }

    /// One step below its largest value T has two outcomes, whether the two cells are near or far apart.
    #[test]
    fn next_to_the_largest_statistic_few_outcomes_are_left() {
        for (gap, pooled) in [(1e-9, true), (1e-3, true), (1e-3, false), (0.02, false)] {
            let quantile = |i: i32| 0.5 - (1.0 - (f64::from(i) + 0.5) / 90.0).ln();
            let mut cells: Vec<f64> = (0..90).map(quantile).collect();
            // The 20 largest, but for the lowest of them, in place of which the next is taken.
            cells[70] = cells[69] + gap;
            let mut own = cells[71..].to_vec();
            own.insert(0, cells[69]);
            let others = [&cells[..69], &cells[70..71]].concat();
            let mut tails = ValueTails::default();
            for &value in &own {
                tails.target.push(value, 1);
            }
            let shared = sample(if pooled { &cells } else { &others }, LISTED);
            let ln_p = tails.best(&shared, pooled, true) + ln_choose(90.0, 20.0);
            // Of two outcomes 0.7: measured 0 to 1.1.
            assert!((0.0..1.5).contains(&ln_p), "{gap} {pooled}: {ln_p}");
        }
    }

    /// A turned pool is the pool of the negative values, whether nodes are refined before or after.
    #[test]
    fn pools_turn_whole() {
        let target = sample(&[0.0, 2.5, 4.0], LISTED_ALONE);
        let shared = sample(&cells(1_000, |u| 1.0 + u), LISTED);
        let make = || PooledValues::new(&target, &shared, false, Buffers::default());
        let (mut before, mut after) = (make(), make());
        let t = before.statistic();
        assert!(before.refine(None) && !before.refine(None));
        before.turn();
        after.turn();
        assert!(after.refine(Some(1e3)));
        assert_eq!(before.buffers.scores, after.buffers.scores);
        assert!((before.statistic() + t).abs() < 1e-9 * t.abs());
        assert_eq!(before.sum(), -6.5 * before.unit);
        before.turn();
        assert!(before.buffers.scores.is_sorted());
    }
}
