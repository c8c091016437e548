//! Entries that a histogram has no bin for, and the pairs that they enter.
//!
//! Such pairs are few: they are written out as runs of equal values and tested like any other
//! sample, without haste.

use super::bins::Bin;
use super::question::{Cell, Comparison, Question, Test};
use crate::matrix::Value;
use crate::stats::anderson::AndersonSum;
use crate::stats::moments::GroupMoments;
use crate::stats::ttest::ttest;
use crate::stats::two::Two;
use crate::stats::wilcoxon::{RankSum, tie_term};

/// A gene and the value of one of its entries.
pub type OddEntry<V> = (u32, V);

/// Odd entries of some cells: gene and value, sorted by both once [`Odd::sort`] was called.
#[derive(Debug, Clone)]
pub struct Odd<V>(Vec<OddEntry<V>>);

impl<V> Default for Odd<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: Value> Odd<V> {
    /// Adds an entry.
    pub fn push(&mut self, gene: u32, value: V) {
        self.0.push((gene, value));
    }

    /// Adds all entries of another list.
    pub fn add(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Puts the entries in order.
    pub fn sort(&mut self) {
        self.0.sort_unstable_by_key(|entry| (entry.0, entry.1.key()));
    }

    /// The entries of one gene, ascending.
    #[must_use]
    pub fn of(&self, gene: u32) -> &[OddEntry<V>] {
        if self.0.is_empty() {
            return &[];
        }
        let start = self.0.partition_point(|entry| entry.0 < gene);
        let length = self.0[start..].iter().take_while(|entry| entry.0 == gene).count();
        &self.0[start..start + length]
    }

    /// A gene that holds a NaN.
    #[must_use]
    pub fn nan(&self) -> Option<u32> {
        self.0.iter().find(|entry| entry.1.is_nan()).map(|entry| entry.0)
    }
}

/// Σ(t³ - t) over runs of equal values in ascending order.
#[must_use]
pub fn ties<V: Value>(values: &[V]) -> u128 {
    values.chunk_by(|a, b| a.key() == b.key()).map(|run| tie_term(run.len() as u64)).sum()
}

/// One target's and the background's bins and odd entries of one gene.
#[derive(Debug)]
pub struct Pair<'a, T, V> {
    pub bins: &'a [T],
    pub own: &'a [u32],
    pub odd: &'a [OddEntry<V>],
    pub own_odd: &'a [V],
    pub sizes: (u64, u64),
    /// The background holds the target's cells.
    pub rest: bool,
}

/// How many cells of target and reference have a value.
struct Run {
    key: u64,
    value: f64,
    target: u64,
    reference: u64,
}

impl<T: Bin, V: Value> Pair<'_, T, V> {
    /// All runs, ascending.
    fn runs(&self) -> Vec<Run> {
        let of = |value: V, target: u64, all: u64| Run {
            key: value.key(),
            value: value.to_f64(),
            target,
            reference: all,
        };
        let counts = self.bins.iter().skip(1).map(|bin| u64::from(bin.get()));
        // What has neither a bin nor a place in the list is 0.
        let zeros = self.sizes.0 - counts.clone().sum::<u64>() - self.odd.len() as u64;
        let counts = std::iter::once(zeros).chain(counts);
        let mut runs: Vec<Run> = (0u16..)
            .zip(counts.zip(self.own))
            .map(|(v, (c, &r))| of(V::of_count(v), c, r.into()))
            .chain(self.odd.iter().map(|&(_, value)| of(value, 1, 0)))
            .chain(self.own_odd.iter().map(|&value| of(value, 0, 1)))
            .collect();
        runs.sort_by_key(|run| run.key);
        runs.dedup_by(|next, run| {
            let same = next.key == run.key;
            if same {
                run.target += next.target;
                run.reference += next.reference;
            }
            same
        });
        if self.rest {
            for run in &mut runs {
                run.reference -= run.target;
            }
        }
        runs
    }
}

/// One comparison with odd entries.
pub fn compare<T: Bin, V: Value>(pair: &Pair<T, V>, question: &Question) -> Cell {
    let runs = pair.runs();
    let comparison = match &question.test {
        Test::Wilcoxon(options) => {
            rank_sum(&runs, pair.sizes).scored(options, question.tables).map(Into::into)
        }
        Test::Anderson(options) => {
            let mut sum = AndersonSum::new(pair.sizes.0, pair.sizes.1, options.midrank);
            for run in &runs {
                sum.push(run.target, run.reference);
            }
            sum.test(options).map(Into::into)
        }
        Test::TTest(options) => {
            let targets = runs.iter().map(|run| (0, run.value, run.target));
            let others = runs.iter().map(|run| (1, run.value, run.reference));
            let cells: Vec<_> = targets.chain(others).filter(|cells| cells.2 > 0).collect();
            let mut groups = GroupMoments::default();
            groups.run(&[0, 0], cells.len(), |i| cells[i]);
            ttest(&groups.moments[0], &groups.moments[1], options).map(Into::into)
        }
    };
    let mut comparison = comparison.unwrap_or(Comparison::NAN);
    if question.test.lacks_auroc(question.auroc) {
        let auroc = rank_sum(&runs, pair.sizes).auroc();
        comparison = comparison.with_auroc(&question.test, auroc);
    }
    let (mut target, mut other) = (Two::default(), Two::default());
    for run in &runs {
        let weight = question.scale.before(run.value);
        target.add_times(weight, run.target);
        other.add_times(weight, run.reference);
    }
    Cell {
        target_mean: question.scale.mean(target, pair.sizes.0),
        reference_mean: question.scale.mean(other, pair.sizes.1),
        comparison,
    }
}

fn rank_sum(runs: &[Run], (n_target, n_reference): (u64, u64)) -> RankSum {
    let (mut twice_u, mut below, mut ties) = (0, 0, 0);
    for run in runs {
        twice_u += run.target * (2 * below + run.reference);
        below += run.reference;
        ties += tie_term(run.target + run.reference);
    }
    RankSum { n_target, n_reference, twice_u, ties }
}
