//! The ways to a tail of one pooled sample, whatever its scores.

use super::exact::{Exact, exact};
use super::pool::{Pool, PooledRuns};
use super::saddlepoint::{Solver, saddlepoint};
use crate::stats::special::{ln_choose, normal};
use std::iter;

/// The most transitions of an exact sum that is asked for: some 50 ms.
pub const MOST_TRANSITIONS: usize = 1 << 20;
/// Those of one that is chosen: far more than are needed for [`FEW_OUTCOMES`].
const CHEAP: usize = 10_000;
/// Tails of fewer outcomes are summed: the saddlepoint takes them for a smooth curve.  Up to twice as
/// many, the one passes over into the other, so that p falls as |t| grows.
const FEW_OUTCOMES: f64 = 200.0;
/// How much less exact that is: outcomes are left out below e^-20 of the estimated tail.
const ROUGH: f64 = 17.0;
/// Eight nodes suffice while the log odds change by no more over the cells that they stand for.
pub(super) const STEEP: f64 = 12.0;
/// Where no saddlepoint is found, a T of this part of its largest value has few outcomes beyond it.
const ENDED: f64 = 0.9;
/// A T this near its largest value, relative to its size, has it.
pub(super) const ROUNDING: f64 = 1e-12;

/// An exact sum that would take too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// A pooled sample with its scores, as a tail needs it.
pub(super) trait Scored {
    /// The runs, or the nodes that stand for them.
    fn pool(&self, n_target: u64) -> Pool<'_>;

    /// The runs and T as an exact sum takes them, whose scores may have another mean; `None` where nodes
    /// stand for runs.
    fn listed(&self, n_target: u64, t: f64) -> Option<(Pool<'_>, f64)>;

    /// ln P(T ≥ t) if `t`, which is above 0, is the largest T.
    fn at_largest(&self, n_target: u64, t: f64) -> Option<f64>;

    /// Turns the order round, so that the lower tail becomes the upper one.
    fn turn(&mut self);

    /// Takes more nodes if they are too few for a tilt (`None`: for any); false if they stay.
    fn refine(&mut self, tilt: Option<f64>) -> bool;
}

impl Scored for PooledRuns {
    fn pool(&self, n_target: u64) -> Pool<'_> {
        Self::pool(self, n_target)
    }

    fn listed(&self, n_target: u64, t: f64) -> Option<(Pool<'_>, f64)> {
        self.is_listed().then(|| (Self::pool(self, n_target), t))
    }

    fn at_largest(&self, n_target: u64, t: f64) -> Option<f64> {
        let pool = Self::pool(self, n_target);
        // Nodes end before the last rank.
        if self.is_listed() && t < pool.top(pool.n_target) * (1.0 - ROUNDING) {
            return None;
        }
        let (largest, ln_p) = self.largest(n_target);
        (t >= largest * (1.0 - ROUNDING)).then_some(ln_p)
    }

    fn turn(&mut self) {
        Self::turn(self);
    }

    fn refine(&mut self, tilt: Option<f64>) -> bool {
        let spread = self.spread_scores();
        let steep = spread > 0.0 && tilt.is_none_or(|tilt| tilt * spread > STEEP);
        if steep {
            Self::refine(self);
        }
        steep
    }
}

/// Buffers of the ways to a tail, reused from pair to pair.
#[derive(Debug, Default)]
pub(super) struct Ways {
    solver: Solver,
    exact: Exact,
}

impl Ways {
    /// ln P(T ≥ t): summed exactly where few outcomes make it up, else by the saddlepoint.
    pub(super) fn best(&mut self, runs: &mut impl Scored, n_target: u64, t: f64) -> f64 {
        let unknown = f64::NEG_INFINITY;
        if let Some((pool, t)) = runs.listed(n_target, t)
            && pool.cells.len() <= 2
            && let Ok(ln_p) = exact(&pool, t, unknown, MOST_TRANSITIONS, &mut self.exact)
        {
            return ln_p;
        }
        let (ln_p, outcomes) = self.by_saddlepoint(runs, n_target, t);
        // 1 where all is summed, 0 where nothing is.
        let part = (1.0 - (outcomes / FEW_OUTCOMES).log2()).min(1.0);
        if part > 0.0
            && let Some((pool, t)) = runs.listed(n_target, t)
            && let Ok(sum) = exact(&pool, t, ln_p + ROUGH, CHEAP, &mut self.exact)
        {
            return part * sum + (1.0 - part) * ln_p;
        }
        ln_p
    }

    /// ln P(T ≥ t), and the saddlepoint's number of outcomes.
    pub(super) fn by_saddlepoint(
        &mut self,
        runs: &mut impl Scored,
        n_target: u64,
        t: f64,
    ) -> (f64, f64) {
        if runs.pool(n_target).is_constant() {
            return (0.0, 1.0);
        }
        // T has mean 0, so that a t below it is not the largest.
        if t > 0.0
            && let Some(ln_p) = runs.at_largest(n_target, t)
        {
            return (ln_p, 1.0);
        }
        let mut found = saddlepoint(iter::once(runs.pool(n_target)), t, &mut self.solver);
        if runs.refine(found.map(|found| found.tilt)) {
            found = saddlepoint(iter::once(runs.pool(n_target)), t, &mut self.solver);
        }
        found.map_or_else(
            || {
                let pool = runs.pool(n_target);
                // Next to the largest T a node may be the last, or the tilt too large to be found: one
                // outcome at the least.
                let one = -ln_choose(pool.n, pool.n_target);
                let ended = t >= ENDED * pool.top(pool.n_target);
                (if ended { one } else { normal::log_sf(t / pool.variance().sqrt()) }, 1.0)
            },
            |found| (found.ln_p, found.outcomes),
        )
    }

    /// ln P(T ≥ t) and ln P(T ≤ t), summed over all outcomes.
    pub(super) fn sums(
        &mut self,
        runs: &mut impl Scored,
        n_target: u64,
        t: f64,
    ) -> Result<(f64, f64), TooMany> {
        let up = self.sum(runs, n_target, t)?;
        runs.turn();
        let down = self.sum(runs, n_target, -t);
        runs.turn();
        Ok((up, down?))
    }

    fn sum(&mut self, runs: &impl Scored, n_target: u64, t: f64) -> Result<f64, TooMany> {
        let (pool, t) = runs.listed(n_target, t).ok_or(TooMany)?;
        let unknown = f64::NEG_INFINITY;
        exact(&pool, t, unknown, MOST_TRANSITIONS, &mut self.exact).map_err(|_| TooMany)
    }
}
