//! The values of a sample, and of two samples pooled, as scores of a linear statistic.
//!
//! # What stands for the values
//! | a sample | nodes |
//! |---|---|
//! | few distinct values, such as counts | each value with its number of cells |
//! | many, such as log-normalised values | the zeros, and a Gauss rule for all others ([`super::quadrature`]) |
//! | the same where the tilt is steep | the zeros, the values next to either end one by one, and Gauss rules on panels that grow with their distance from the end |
//!
//! The choice looks at the distinct values and their numbers of cells alone, never at how they were
//! found, so that every source of the data gives the same nodes.
//!
//! Two samples are pooled by merging their nodes.  Against a reference its nodes are made once a gene,
//! those of a target once a pair; against the rest the pool is the gene's.

use super::pool::Pool;
use super::quadrature::{Polynomials, gauss};
use super::tails::Scored;
use crate::cast::real;
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
    /// (value, cells), ascending; both empty if the values are listed.
    coarse: Vec<(f64, f64)>,
    fine: Vec<(f64, f64)>,
}

impl SampleValues {
    /// Removes all values.
    pub fn clear(&mut self) {
        self.values.clear();
        self.cells.clear();
        self.coarse.clear();
        self.fine.clear();
    }

    /// Adds the next larger value, or more cells of the last one; `cells` is at least 1.
    pub fn push(&mut self, value: f64, cells: u64) {
        debug_assert!(cells > 0 && self.values.last().is_none_or(|&last| last <= value));
        match (self.values.last(), self.cells.last_mut()) {
            (Some(&last), Some(same)) if last == value => *same += real(cells),
            _ => {
                self.values.push(value);
                self.cells.push(real(cells));
            }
        }
    }

    /// Makes nodes of more than `most` distinct values.  Infinite ones have none.
    pub fn summarize(&mut self, most: usize) {
        self.coarse.clear();
        self.fine.clear();
        let ends = [self.values.first(), self.values.last()];
        if self.values.len() <= most || ends.into_iter().flatten().any(|v| v.is_infinite()) {
            return;
        }
        let zero = self.values.binary_search_by(|v| v.total_cmp(&0.0)).ok();
        let (below, above) = match zero {
            Some(zero) => (zero, zero + 1),
            None => (self.values.len() / 2, self.values.len() / 2),
        };
        let mut kept = Polynomials::default();
        let mut nodes = mem::take(&mut self.fine);
        let mut panel = |from: usize, to: usize, nodes: &mut Vec<(f64, f64)>| {
            gauss(&self.values[from..to], &self.cells[from..to], FINE, &mut kept, nodes);
        };
        // From the lower end up: single values, then panels that double.
        let lengths = panels(below);
        let mut from = 0;
        for length in lengths.into_iter().rev() {
            panel(from, from + length, &mut nodes);
            from += length;
        }
        let before_zero = nodes.len();
        let mut from = above;
        for length in panels(self.values.len() - above) {
            panel(from, from + length, &mut nodes);
            from += length;
        }
        let (values, cells): (Vec<f64>, Vec<f64>) = nodes.iter().copied().unzip();
        gauss(&values, &cells, COARSE, &mut kept, &mut self.coarse);
        if let Some(zero) = zero {
            let zeros = (0.0, self.cells[zero]);
            nodes.insert(before_zero, zeros);
            let at = self.coarse.partition_point(|node| node.0 < 0.0);
            self.coarse.insert(at, zeros);
        }
        self.fine = nodes;
    }

    /// True if the nodes are the values themselves.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.coarse.is_empty()
    }

    /// (value, cells), ascending.
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

    /// The number of cells.
    fn total(&self) -> f64 {
        self.cells.iter().sum()
    }

    /// The lowest and the highest value.
    fn ends(&self) -> (f64, f64) {
        let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        (end(self.values.first()), end(self.values.last()))
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

/// Lengths of panels of `length` values, ascending: each half of what is left below the upper end, then
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
        let n_target = target.total();
        let n = shared.total() + if pooled { 0.0 } else { n_target };
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
            spread: 0.0,
            buffers,
        };
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

impl SampleValues {
    /// The lowest value above 0; infinite where there is none.
    fn above_zero(&self) -> f64 {
        self.values.iter().copied().find(|&v| v > 0.0).unwrap_or(f64::INFINITY)
    }
}

impl Scored for PooledValues<'_> {
    fn pool(&self, _: u64) -> Pool<'_> {
        let Buffers { cells, scores, .. } = &self.buffers;
        Pool { cells, scores, n_target: self.n_target, n: self.n }
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
            numbers.iter_mut().for_each(|number| *number = -*number);
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
