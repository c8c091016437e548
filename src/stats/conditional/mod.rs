//! The null distribution of a linear statistic, given the ties.
//!
//! # Hypothesis
//! The target's cells are any n1 of the pooled N: all C(N, n1) choices are equally likely, whatever the
//! values' distribution is.  Nothing is assumed; ties are part of what is given.
//!
//! # Symbols
//! ```text
//! j        runs of equal scores, ascending: l_j cells with score s_j, of which the target has a_j
//! T        Σ a_j s_j, the statistic; scores are centred, Σ l_j s_j = 0, so that its mean is 0
//! h        strata, within which cells are chosen apart: T adds up, n1, n2 and N are each one's own
//! ```
//! Scores that are midranks give the rank-sum test, the values themselves the permutation test of
//! Student's t (t is monotone in the target's sum given the pooled sample), midranks over N + 1 van
//! Elteren's.
//!
//! # Ways to its tail
//! | | exact | cost |
//! |---|---|---|
//! | [`saddlepoint`] | to some percent, far into the tail | O(runs), 3-8 steps |
//! | [`extreme`] | yes, where T is the largest there is | O(runs) |
//!
//! IMPORTS `stats::special`, `crate::cast`.

mod pool;
mod saddlepoint;

pub use pool::{Pool, extreme, ln_choose};
pub use saddlepoint::saddlepoint;
