//! The null distribution of a linear statistic, given the ties.
//!
//! # Hypothesis
//! The target's cells are any n1 of the pooled N: all C(N, n1) choices are equally likely, whatever
//! the distribution of the values.  Nothing else is assumed, and ties are part of what is given.
//!
//! # Symbols
//! ```text
//! j        runs of equal scores, ascending: l_j cells with score s_j, of which the target has a_j
//! T        Σ a_j s_j, the statistic; scores are centred, Σ l_j s_j = 0, so that its mean is 0
//! h        strata, within which cells are chosen separately: T adds up; n1, n2 and N are each one's own
//! ```
//! Midranks as scores give the rank-sum test, the values themselves the permutation test of
//! Student's t (t is monotone in the target's sum given the pooled sample), and midranks over N + 1
//! van Elteren's test.
//!
//! Many distinct values are too many runs: nodes of a Gauss rule stand for them ([`SampleValues`]).
//!
//! # Ways to the tail P(T ≥ t)
//! | | accuracy | cost |
//! |---|---|---|
//! | [`exact`] | to rounding | O(states): few near the ends of T, and in small samples |
//! | [`saddlepoint`] | a few percent where several cells vary, far into the tail | O(runs), 4-6 steps |
//! | [`Tails`], [`ValueTails`] | the better of the two for one pair | |
//!
//! IMPORTS `stats::{special, double_double, Alternative}`, `crate::cast`, multiversion.

mod exact;
mod join;
mod pool;
mod quadrature;
mod saddlepoint;
mod tails;
mod values;
mod ways;

#[cfg(any(test, feature = "testing"))]
pub use exact::{Exact, exact};
pub use join::{OF_RANKS, OF_VALUES, ln_sides, of_tails, points_away};
#[cfg(any(test, feature = "testing"))]
pub use pool::Pool;
pub use pool::PooledRuns;
#[cfg(any(test, feature = "testing"))]
pub use quadrature::{Polynomials, gauss};
#[cfg(any(test, feature = "testing"))]
pub use saddlepoint::{Pools, Saddlepoint, Solver, saddlepoint};
pub use tails::{StratifiedTails, Tails, ValueTails};
pub use values::{LISTED, SampleValues};
pub use ways::{MOST_TRANSITIONS, TooMany};
