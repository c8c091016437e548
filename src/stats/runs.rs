//! The runs of equal values of a pair of samples, ascending: what tests of the whole distribution ask
//! for (Anderson-Darling, Kolmogorov-Smirnov).
//!
//! # Shape
//! All targets of one gene are compared with the same cells: the reference's, or (*pooled*) all cells
//! of the gene, the target's among them.  Their runs are [`SharedRuns`], made once a gene.  A target
//! adds its own cells ([`OwnRun`]): each of its runs stands at a shared run, or alone, between two of
//! them.  A pooled target's runs all stand at shared ones, whose cells include its own.
//!
//! ```text
//! values           0     1     2     3     5
//! shared.cells     9     4           2            the reference
//! own              3 at 0      1 alone, before place 2      1 alone, at the end
//! the pair      (3, 9) (0, 4) (1, 0) (0, 2) (1, 0)
//! ```
//!
//! A test that looks at the target's own runs alone costs O(own), whatever the number of shared ones.

#[cfg(any(test, feature = "testing"))]
use super::wilcoxon::{RankSum, RankSumState};
use crate::cast::{cells, narrow, place};

/// The runs that all targets of one gene are compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedRuns {
    cells: Vec<u32>,
    /// Cells in the runs before each; the last entry is the total.
    below: Vec<u64>,
}

impl SharedRuns {
    /// Removes all runs.
    pub fn clear(&mut self) {
        self.cells.clear();
        self.below.clear();
    }

    /// Adds the run of the next larger value; one without cells is left out.
    pub fn push(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        if self.below.is_empty() {
            self.below.push(0);
        }
        let total = self.total() + count;
        self.cells.push(cells(count));
        self.below.push(total);
    }

    /// The number of runs.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// True if there are no runs.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The number of cells in each run, never 0.
    #[inline]
    #[must_use]
    pub fn cells(&self) -> &[u32] {
        &self.cells
    }

    /// The number of cells in all runs before run `at`; `at` = [`SharedRuns::len`] gives the total.
    #[inline]
    #[must_use]
    pub fn below(&self, at: usize) -> u64 {
        self.below.get(at).copied().unwrap_or(0)
    }

    /// The number of cells in all runs.
    #[inline]
    #[must_use]
    pub fn total(&self) -> u64 {
        self.below.last().copied().unwrap_or(0)
    }
}

/// The runs of a pair that has at most [`FewRuns::MOST`], ascending; some may have no cells.
#[derive(Debug, Clone)]
pub struct FewRuns {
    len: usize,
    target: [u32; Self::MOST],
    both: [u32; Self::MOST],
}

impl Default for FewRuns {
    fn default() -> Self {
        Self { len: 0, target: [0; Self::MOST], both: [0; Self::MOST] }
    }
}

impl FewRuns {
    /// The largest number of runs.
    pub const MOST: usize = 64;

    /// Removes all runs.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds the run of the next larger value: cells of the target and of both samples.
    #[inline]
    pub fn push(&mut self, target: u32, both: u32) {
        debug_assert!(target <= both && self.len < Self::MOST);
        let at = self.len % Self::MOST;
        (self.target[at], self.both[at]) = (target, both);
        self.len = at + 1;
    }

    /// Cells of the target and of both samples in each run.
    #[inline]
    #[must_use]
    pub fn get(&self) -> (&[u32], &[u32]) {
        (&self.target[..self.len], &self.both[..self.len])
    }
}

/// The target's cells of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnRun {
    place: u32,
    /// The cells; the top bit says that the run stands alone.
    cells: u32,
}

/// At most [`super::MAX_CELLS`] = 2^30 cells: the top bit is free.
const ALONE: u32 = 1 << 31;

impl OwnRun {
    /// `count` cells with the value of shared run `at`.
    #[must_use]
    pub fn shared(at: usize, count: u32) -> Self {
        Self::at(at, count, false)
    }

    /// `count` cells with a value of their own, below shared run `at` and above the one before it.
    #[must_use]
    pub fn alone(at: usize, count: u32) -> Self {
        Self::at(at, count, true)
    }

    /// `count` cells at shared run `at`, or `alone` below it.
    #[inline]
    #[must_use]
    pub fn at(at: usize, count: u32, alone: bool) -> Self {
        debug_assert!(count < ALONE);
        Self { place: narrow(at), cells: count | (u32::from(alone) << 31) }
    }

    /// The shared run with this value, or the first one above it.
    #[inline]
    #[must_use]
    pub fn place(self) -> usize {
        place(self.place)
    }

    /// The number of cells.
    #[inline]
    #[must_use]
    pub fn cells(self) -> u64 {
        u64::from(self.cells & !ALONE)
    }

    /// True if no shared run has this value.
    #[inline]
    #[must_use]
    pub fn is_alone(self) -> bool {
        self.cells >= ALONE
    }

    /// Adds cells of the same value.
    #[inline]
    pub fn add(&mut self, count: u32) {
        debug_assert!((self.cells & !ALONE) + count < ALONE);
        self.cells += count;
    }
}

/// The runs of one pair.
#[derive(Debug, Clone, Copy)]
pub struct PairRuns<'a> {
    pub shared: &'a SharedRuns,
    /// Ascending: alone at `p` comes before shared at `p`.
    pub own: &'a [OwnRun],
    /// Sizes of the target and of what it is compared with.
    pub n_target: u64,
    pub n_reference: u64,
    /// True if the shared runs hold the target's cells, too.
    pub pooled: bool,
}

impl PairRuns<'_> {
    /// Visits every distinct value of the pair, ascending: cells of the target and of the other sample
    /// that have it.
    #[inline]
    pub fn for_each(&self, mut visit: impl FnMut(u64, u64)) {
        let mut next = 0;
        let shared = |at: usize| u64::from(self.shared.cells[at]);
        for run in self.own {
            (next..run.place()).for_each(|at| visit(0, shared(at)));
            next = run.place();
            if run.is_alone() {
                visit(run.cells(), 0);
                continue;
            }
            let own = if self.pooled { run.cells() } else { 0 };
            visit(run.cells(), shared(next) - own);
            next += 1;
        }
        (next..self.shared.len()).for_each(|at| visit(0, shared(at)));
    }

    /// The rank sum, from all runs.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn rank_sum(&self) -> RankSum {
        let mut state = RankSumState::default();
        self.for_each(|target, other| state.push(target, other));
        state.finish(self.n_target, self.n_reference)
    }

    /// True if the runs are what callers promise: own runs ascend and have cells, none stands alone
    /// or exceeds its shared run where the pair is pooled, and the sizes are those of the runs.
    /// For `debug_assert!`s: it walks all own runs.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let ascend = self.own.windows(2).all(|pair| {
            // Several may stand alone between the same two shared runs.
            let (a, b) = (pair[0], pair[1]);
            a.place() < b.place() || (a.place() == b.place() && a.is_alone())
        });
        let fits = |run: &OwnRun| match self.shared.cells().get(run.place()) {
            Some(&shared) if self.pooled => !run.is_alone() && run.cells() <= shared.into(),
            Some(_) => true,
            None => run.is_alone() && run.place() == self.shared.len() && !self.pooled,
        };
        let target: u64 = self.own.iter().map(|run| run.cells()).sum();
        let total = self.n_reference + if self.pooled { target } else { 0 };
        ascend
            && self.own.iter().all(|run| run.cells() > 0 && fits(run))
            && target == self.n_target
            && total == self.shared.total()
    }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
mod tests {
    use super::*;
    use crate::stats::naive;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_run_is_visited_in_order(
            pairs in prop::collection::vec((0u64..3, 0u64..4), 0..20), pooled: bool,
        ) {
            let (shared, own) = naive::pair_runs(&pairs, pooled);
            let (n_target, n_reference) = naive::sizes(&pairs);
            let pair = PairRuns { shared: &shared, own: &own, n_target, n_reference, pooled };
            prop_assert!(pair.is_consistent());
            let mut got = Vec::new();
            pair.for_each(|target, other| got.push((target, other)));
            let want: Vec<(u64, u64)> = pairs.iter().copied().filter(|p| p.0 + p.1 > 0).collect();
            prop_assert_eq!(got, want);
            let spread = |pick: fn(&(u64, u64)) -> u64| -> Vec<f64> {
                let cells = (0u32..).zip(&pairs);
                cells.flat_map(|(v, p)| std::iter::repeat_n(f64::from(v), pick(p) as usize)).collect()
            };
            prop_assert_eq!(pair.rank_sum(), naive::rank_sum(&spread(|p| p.0), &spread(|p| p.1)));
        }
    }
}
