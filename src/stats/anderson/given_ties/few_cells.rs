//! The correction for few cells.
//!
//! # Formula
//! The leading component of A² is the standardised rank sum W, to a correlation above 0.99.  Its true
//! tails at z = (1 - 2 t λ_1)^(-1/2) against the normal curve's say how far the limit is off:
//!
//! ```text
//! L = ln {[P(W >= z) + P(W <= -z)] / (2 Φ(-z))}
//! L >= 0:  ln p = ln p_limit + L
//! L <  0:  ln p = ln p_limit + max(3/4 f max(L, κ4 z⁴/16), -1)
//! ```
//!
//! Where W's tails are heavier than the normal curve's (sparse genes), A²'s are as much.  Where they are
//! lighter, A² loses less than W does: a large W bends the other components along, by κ_11i z² / 2 with the
//! mixed third cumulants κ_11i = cum(Z_1, Z_1, Z_i).  To fourth order
//!
//! ```text
//! ln (p / p_limit) = κ4 z⁴/24 + z⁴/8 Σ_{i>1} κ_11i² λ_i / (λ_1 - λ_i) = f κ4 z⁴/24
//! f = 1 - 3 (1 - 4 π) U / ((λ_1 - λ_2) (3 (1 - 4 π) - (1 - 6 π) m4)),     π = n1 n2 / N²
//! ```
//!
//! with m4 the fourth moment of the standardised midranks and U the quadratic form of their squares (less
//! what is constant or linear in them).  f is 0 where nothing is tied and n1 is small beside N: there the
//! limit itself is right to that order, whereas W's tail alone would be far too light.  It is about 0.3 to
//! 0.8 for counts with few zeros.  Beyond fourth order W, which is bounded, may have no tail at all where A²
//! has one: hence the two bounds.  Where κ4 >= 0 nothing is taken off.
//!
//! ln p less its exact value, over all relabellings (`few_cells_have_the_tail_of_all_relabellings`):
//!
//! | runs | n1 | p | limit | max(1, W) | here |
//! |---|---|---|---|---|---|
//! | 8000 1500 500 | 20 | 1e-4, 1e-8 | -1.8, -5.6 | -.15, -.16 | the same |
//! | 9000 600 250 100 50 | 25 | 1e-4, 1e-8 | -3.3, -12 | -.01, -.06 | the same |
//! | 5000 2000 1500 1000 500 | 30 | 1e-4, 1e-8 | .30, .99 | .30, .99 | .13, .52 |
//! | 5000 2000 1500 1000 500 | 10 | 1e-4, 1e-6 | .79, 1.4 | .79, 1.4 | .31, .39 |
//! | 300 300 200 100 100 | 30 | 1e-4, 1e-8 | .19, .91 | .19, .91 | .06, .25 |

use super::cumulant::Weights;
use super::form::Node;
use super::tail::UpperTail;
use crate::stats::special::normal;
use std::f64::consts::LN_2;

/// The part of the fourth order's correction that is taken: single cells in the outermost runs, which A²
/// weighs most, make its tail heavier again where there are many runs.
const TAKEN: f64 = 0.75;

/// What the correction takes of a pool: moments of the standardised midranks.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scores {
    /// m4.
    fourth: f64,
    /// U / (λ_1 - λ_2).
    bend: f64,
    n: f64,
}

impl Scores {
    pub(super) fn of(nodes: &[Node], weights: &Weights, n: f64) -> Self {
        let mut moments = [0.0; 3];
        let midranks = |visit: &mut dyn FnMut(&Node, f64)| {
            let mut below = 0.0;
            for node in nodes {
                visit(node, below + 0.5 * node.cells - 0.5 * n);
                below += node.cells;
            }
        };
        midranks(&mut |node, r| {
            let square = node.cells * r * r;
            moments[0] += square;
            moments[1] += square * r;
            moments[2] += square * r * r;
        });
        let variance = moments[0] / n;
        if variance <= 0.0 || nodes.len() < 3 {
            return Self { fourth: moments[2] / (n * variance * variance), bend: 0.0, n };
        }
        let third = moments[1] / (n * variance.powf(1.5));
        let (mut deviation, mut response) = (0.0, 0.0);
        midranks(&mut |node, r| {
            let s = r / variance.sqrt();
            let before = deviation;
            deviation += node.cells * (s * s - 1.0 - third * s);
            let middle = 0.5 * (before + deviation);
            response += node.edge * middle * middle + node.point * deviation * deviation;
        });
        // A mean of the other weights, weighted by themselves, which is λ_2 for k = 3.
        let others = weights.sum - weights.largest;
        let next = (weights.squares - weights.largest * weights.largest) / others;
        let apart = weights.largest - next.clamp(0.0, 0.9 * weights.largest);
        Self { fourth: moments[2] / (n * variance * variance), bend: response / n / apart, n }
    }

    /// The correction for a target of n1 cells, of the pool's N.
    #[must_use]
    pub fn few_cells(&self, n_target: f64) -> FewCells {
        let spread = n_target * (1.0 - n_target / self.n);
        let (four, six) = (1.0 - 4.0 * spread / self.n, 1.0 - 6.0 * spread / self.n);
        let lacking = 3.0 * four - six * self.fourth;
        if spread <= 0.0 || lacking.is_nan() || lacking <= 0.0 {
            return FewCells::default();
        }
        let share = 1.0 - 3.0 * four * self.bend / lacking;
        FewCells { kurtosis: -lacking / spread, share: TAKEN * share.clamp(0.0, 1.0) }
    }
}

/// ln(e^a + e^b).
pub(super) fn ln_sum((a, b): (f64, f64)) -> f64 {
    let (more, less) = (a.max(b), a.min(b));
    if more == f64::NEG_INFINITY { more } else { more + (less - more).exp().ln_1p() }
}

/// The correction of one comparison.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FewCells {
    /// κ4 of W, at most 0.
    kurtosis: f64,
    /// 3/4 f.
    share: f64,
}

impl FewCells {
    /// ln p from the limit's tail and the logarithms of the rank sum's two, P(W >= z) and P(W <= -z) at
    /// z = `tail.z`, W standardised by its deviation given the ties; -inf where there is no such rank sum.
    ///
    /// Where z is so small that a caller takes W as normal, L is 0: leave the call out.
    ///
    /// # Examples
    /// ```
    /// use pdex::stats::anderson::given_ties::Limit;
    /// let mut limit = Limit::default();
    /// limit.prepare(&[9_000, 800, 200], true);
    /// let tail = limit.upper_tail(30.0);
    /// let few = limit.scores().few_cells(20.0);
    /// // 20 cells: the upper tail of W at z = 5.5 is 1e-5 rather than 2e-8.
    /// let ln_p = few.ln_p(&tail, (1e-5_f64.ln(), f64::NEG_INFINITY));
    /// assert!(ln_p > tail.ln_p + 5.0 && ln_p < 0.0);
    /// ```
    #[must_use]
    pub fn ln_p(&self, tail: &UpperTail, ln_tails: (f64, f64)) -> f64 {
        let ratio = ln_sum(ln_tails) - LN_2 - normal::log_sf(tail.z);
        if ratio >= 0.0 {
            return (tail.ln_p + ratio).min(0.0);
        }
        let least = self.kurtosis * tail.z.powi(4) / 16.0;
        // At most a factor of e.
        tail.ln_p + (self.share * ratio.max(least)).max(-1.0)
    }
}
