//! What every source offers of a pair of samples, and every test consumes.

use crate::stats::moments::Moments;
use crate::stats::runs::PairRuns;
use crate::stats::wilcoxon::RankSum;

/// The views of a target and what it is compared with, in one gene.  Each is exact, whatever the source.
/// A view that [`super::test::Needs`] did not announce may be empty.
pub trait Pair {
    /// Rank sum and ties.
    fn rank_sum(&mut self) -> RankSum;

    /// The runs of equal values, ascending; made on demand.
    fn runs(&mut self) -> PairRuns<'_>;

    /// Mean and spread of both samples.
    fn moments(&mut self) -> (Moments, Moments);

    /// Means of both samples on the natural scale; NaN for an empty one.
    fn means(&mut self) -> (f64, f64);

    /// Shares of cells with a value other than 0 in both samples; NaN for an empty one.
    fn fractions(&mut self) -> (f64, f64);
}
