//! The runs of one stratum, and what is known of T without a sum over its values.

use crate::stats::special::ln_factorial;

/// The runs of one stratum, ascending by score, and how many of its cells are the target's.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    /// l_j, whole numbers above 0.
    pub cells: &'a [f64],
    /// s_j, centred.
    pub scores: &'a [f64],
    /// n1.
    pub n_target: f64,
    /// N, the sum of `cells`.
    pub n: f64,
}

impl Pool<'_> {
    /// The variance of T: n1 n2 / (N (N - 1)) Σ l s².
    #[must_use]
    pub fn variance(&self) -> f64 {
        let &Self { n_target, n, .. } = self;
        if n < 2.0 {
            return 0.0;
        }
        let squares: f64 = self.runs().map(|(l, s)| l * s * s).sum();
        n_target * (n - n_target) / (n * (n - 1.0)) * squares
    }

    /// True if T takes one value only.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.cells.len() < 2 || self.n_target == 0.0 || self.n_target == self.n
    }

    pub(super) fn runs(&self) -> impl DoubleEndedIterator<Item = (f64, f64)> {
        self.cells.iter().copied().zip(self.scores.iter().copied())
    }

    /// The largest T, and ln of the probability that it has: the target's cells are those from the
    /// top on, of the last run any.
    pub(super) fn largest(&self) -> (f64, f64) {
        let (mut left, mut largest, mut ln_ways) = (self.n_target, 0.0, 0.0);
        for (l, s) in self.runs().rev() {
            let taken = left.min(l);
            largest += taken * s;
            left -= taken;
            if taken < l {
                ln_ways = ln_choose(l, taken);
                break;
            }
        }
        (largest, ln_ways - ln_choose(self.n, self.n_target))
    }
}

/// ln C(n, k).
#[must_use]
pub fn ln_choose(n: f64, k: f64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// ln P(T ≥ t) where t is the largest value that T has; `None` where it is not.
#[must_use]
pub fn extreme(pools: &[Pool], t: f64) -> Option<f64> {
    let all = pools.iter().map(Pool::largest);
    let (largest, ln_p) = all.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let scale: f64 = pools.iter().map(Pool::variance).sum::<f64>().sqrt();
    // Scores are centred by a rounded mean.
    (t >= largest - 1e-9 * scale).then_some(ln_p.min(0.0))
}
