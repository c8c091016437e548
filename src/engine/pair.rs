//! What every source offers of a pair of samples, and every test consumes.

use crate::stats::moments::Moments;
use crate::stats::runs::{FewRuns, PairRuns};
use crate::stats::wilcoxon::RankSum;

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

    /// Mean and spread of both samples.
    fn moments(&mut self) -> (Moments, Moments);

    /// Means of both samples on the natural scale; NaN for an empty one.
    fn means(&mut self) -> (f64, f64);

    /// Shares of cells with a value other than 0 in both samples; NaN for an empty one.
    fn fractions(&mut self) -> (f64, f64);
}
