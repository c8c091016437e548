//! What every source offers of a pair of samples, and every test consumes.

use crate::stats::conditional::{PooledRuns, SampleValues};
use crate::stats::moments::Moments;
use crate::stats::runs::{FewRuns, PairRuns};
use crate::stats::wilcoxon::{RankSum, tie_term};

/// The views of a target and what it is compared with, in one gene.  Each is exact, whatever the source.
/// A view that [`super::test::Needs`] did not announce may be empty.
pub trait Pair {
    /// Rank sum and ties.
    fn rank_sum(&mut self) -> RankSum;

    /// Numbers of cells in the target and in the other sample.
    fn sizes(&self) -> (u64, u64);

    /// The runs of equal values, ascending; made on demand.
    fn runs(&mut self) -> PairRuns<'_>;

    /// Writes the same runs into `runs`; false if they may not fit, or if the source finds them no
    /// faster than [`Pair::runs`] does.
    fn few_runs(&mut self, runs: &mut FewRuns) -> bool;

    /// Fills `runs` with the runs of both samples together, whose ties `sum` counts.
    fn pool(&mut self, sum: &RankSum, runs: &mut PooledRuns);

    /// Adds the target's distinct values, ascending, to `values`; true if what it is compared with
    /// holds the target's cells, too.
    fn target_values(&mut self, values: &mut SampleValues) -> bool;

    /// Mean and spread of both samples.
    fn moments(&mut self) -> (Moments, Moments);

    /// Means of both samples on the natural scale; NaN for an empty one.
    fn means(&mut self) -> (f64, f64);

    /// Shares of cells with a value other than 0 in both samples; NaN for an empty one.
    fn fractions(&mut self) -> (f64, f64);
}

/// Ties among values other than 0 may take one part in so many of the variance of a rank sum for these
/// values to count as different.
const FEW_TIES: u128 = 10_000;
/// Smaller pooled samples are listed value by value.
const LISTED: u64 = 64;

/// Starts the pooled runs of a pair with so many zeros.  Where next to nothing else is tied, as in log
/// values, the other values are different as far as the tail can tell: they are added without looking
/// at them, and the answer is true.  The rule looks at the pair alone, so that every source gives the
/// same runs.
pub(super) fn pool_apart(sum: &RankSum, zeros: u64, negative: bool, runs: &mut PooledRuns) -> bool {
    let n = sum.n_target + sum.n_reference;
    runs.start(n);
    let ties = sum.ties - tie_term(zeros);
    let apart = ties <= (tie_term(n) - sum.ties) / FEW_TIES;
    // Zeros lie below all others, or there are none.
    if n <= LISTED || !apart || (negative && zeros > 0) {
        return false;
    }
    runs.push(zeros);
    runs.spread(n - zeros);
    true
}
