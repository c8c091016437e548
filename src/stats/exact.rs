//! The exact null distribution of the rank-sum statistic U, for samples without ties.
//!
//! # Hypothesis and symbols
//! Under the null all C(m + n, m) arrangements of m values among m + n are equally likely.  The
//! number with U = u is the coefficient of q^u in the Gaussian binomial coefficient
//!
//! ```text
//! [m + n choose m]_q = prod_{i=1..m} (1 - q^(n+i)) / (1 - q^i)          (Andrews 1976, eq. 3.3.1)
//! ```
//!
//! # Method
//! The product is built factor by factor in whole numbers of as many 64-bit limbs as C(m + n, m)
//! needs: multiplying by 1 - q^(n+i) subtracts, dividing by 1 - q^i adds, and both are exact
//! modulo 2^64 per limb whatever passes below 0 on the way.  (In f64 they cancel: 9e-12 was lost
//! for m = n = 300 and everything for 800.)  Only coefficients up to mn/2 are kept; the rest
//! follow by symmetry.  Each sum of them is rounded once.
//!
//! Cost: O(m · mn/2 · limbs) time once for each (m, n), m <= n; then a look-up.
//!
//! # Source
//! Mann and Whitney (1947), Ann. Math. Stat. 18, 50; the generating function: Andrews, *The
//! Theory of Partitions* (1976), section 3.3.

use crate::cast::{length, real, whole, wide, widest};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// The most limbs of one table: 256 MB while it is made.
const MAX_LIMBS: u128 = 1 << 25;
/// The most additions and subtractions of limbs: some seconds.
const MAX_WORK: u128 = 1 << 32;
/// Below this p-values are kept as logarithms.
const SMALL: f64 = 1e-290;

/// How many limbs hold C(n1 + n2, n1); `None` where a table would cost too much.
fn limbs(n1: u64, n2: u64) -> Option<usize> {
    let (m, n) = (n1.min(n2), n1.max(n2));
    let entries = u128::from(m) * u128::from(n) / 2 + 1;
    let steps = 2 * entries * u128::from(m);
    if entries > MAX_LIMBS || steps > MAX_WORK {
        return None;
    }
    let bits = (1..=m).map(|i| (real(n + i) / real(i)).log2()).sum::<f64>();
    // One bit more than the sum, which is rounded, and one for twice the middle.
    let limbs = length(whole(bits / 64.0 + 2.0 / 64.0)) + 1;
    let each = u128::from(wide(limbs));
    let fits = entries * each <= MAX_LIMBS && steps * each <= MAX_WORK;
    fits.then_some(limbs)
}

/// True if the exact distribution for samples of `n1` and `n2` can be tabulated.
///
/// # Examples
/// ```
/// assert!(pdex::stats::exact::feasible(8, 1_000_000));
/// assert!(pdex::stats::exact::feasible(500, 500));
/// assert!(!pdex::stats::exact::feasible(1_000, 1_000));
/// ```
#[must_use]
pub fn feasible(n1: u64, n2: u64) -> bool {
    limbs(n1, n2).is_some()
}

/// For u = 0 ..= mn/2: P(U <= u), or its logarithm (below 0) where that is smaller than [`SMALL`].
type Table = Vec<f64>;

/// Tables of the null distribution, kept for each pair of sizes, shared between threads.
///
/// A table is made exactly once: threads that need it meanwhile wait for it, and threads that need
/// others do not.
#[derive(Debug, Default)]
pub struct NullTables {
    tables: RwLock<HashMap<(u64, u64), Slot>>,
    #[cfg(test)]
    made: std::sync::atomic::AtomicUsize,
}

/// The place of one table, empty until it is made.
type Slot = Arc<OnceLock<Table>>;

impl NullTables {
    /// P(U >= u) for samples of `n1` and `n2` values without ties, and its natural logarithm; NaN
    /// where no table is [`feasible`].
    ///
    /// # Examples
    /// ```
    /// let tables = pdex::stats::exact::NullTables::default();
    /// // Of the C(4, 2) = 6 arrangements, one has U = 4.
    /// assert!((tables.sf(4, 2, 2).0 - 1.0 / 6.0).abs() < 1e-16);
    /// assert_eq!(tables.sf(0, 2, 2), (1.0, 0.0));
    /// ```
    #[must_use]
    pub fn sf(&self, u: u64, n1: u64, n2: u64) -> (f64, f64) {
        let Some(limbs) = limbs(n1, n2) else { return (f64::NAN, f64::NAN) };
        let top = n1 * n2;
        if u == 0 || u > top {
            return if u == 0 { (1.0, 0.0) } else { (0.0, f64::NEG_INFINITY) };
        }
        let (m, n) = (n1.min(n2), n1.max(n2));
        let slot = self.slot(m, n);
        let table = slot.get_or_init(|| self.make(m, n, limbs));
        let at = |u: u64| table.get(usize::try_from(u).unwrap_or(usize::MAX)).copied();
        // P(U >= u) = P(U <= top - u) by symmetry, or the complement where that is past the middle.
        match at(top - u) {
            Some(below) if below < 0.0 => (below.exp(), below),
            Some(below) => (below, below.ln()),
            None => {
                let below = at(u - 1).unwrap_or(f64::NAN).max(0.0);
                (1.0 - below, (-below).ln_1p())
            }
        }
    }

    fn slot(&self, m: u64, n: u64) -> Slot {
        let known =
            self.tables.read().unwrap_or_else(PoisonError::into_inner).get(&(m, n)).cloned();
        known.unwrap_or_else(|| {
            let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
            tables.entry((m, n)).or_default().clone()
        })
    }

    /// Makes a table; no lock is held meanwhile but that of its own slot.
    #[cfg_attr(not(test), allow(clippy::unused_self))]
    fn make(&self, m: u64, n: u64, limbs: usize) -> Table {
        #[cfg(test)]
        self.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        cumulative(m, n, limbs)
    }
}

/// The table for `m <= n`, counts in `limbs` limbs, the lowest first.
fn cumulative(m: u64, n: u64, limbs: usize) -> Table {
    let entries = length(m * n / 2 + 1);
    let mut counts = vec![0u64; entries * limbs];
    counts[0] = 1;
    for i in 1..=m {
        let lag = length(n + i);
        for u in (lag..entries).rev() {
            let (before, from) = counts.split_at_mut(u * limbs);
            subtract(&mut from[..limbs], &before[(u - lag) * limbs..][..limbs]);
        }
        let lag = length(i);
        for u in lag..entries {
            let (before, from) = counts.split_at_mut(u * limbs);
            add(&mut from[..limbs], &before[(u - lag) * limbs..][..limbs]);
        }
    }
    // All arrangements: twice those up to the middle, where an even top has one of its own.
    let mut total = vec![0; limbs];
    for count in counts.chunks_exact(limbs) {
        add(&mut total, count);
    }
    let half = total.clone();
    add(&mut total, &half);
    if (m * n).is_multiple_of(2) {
        subtract(&mut total, &counts[(entries - 1) * limbs..]);
    }
    let (of_total, scale) = leading(&total);
    let mut sum = vec![0; limbs];
    let below = |count: &[u64]| {
        add(&mut sum, count);
        let (of_sum, exponent) = leading(&sum);
        let power = exponent - scale;
        let p = of_sum / of_total * 2f64.powi(power);
        let ln_p = (of_sum / of_total).ln() + f64::from(power) * std::f64::consts::LN_2;
        if p < SMALL { ln_p } else { p }
    };
    counts.chunks_exact(limbs).map(below).collect()
}

/// to += by, modulo 2^64 per limb.
fn add(to: &mut [u64], by: &[u64]) {
    let mut carry = false;
    for (a, &b) in to.iter_mut().zip(by) {
        let (sum, first) = a.overflowing_add(b);
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        (*a, carry) = (sum, first | second);
    }
}

/// from -= by, modulo 2^64 per limb.
fn subtract(from: &mut [u64], by: &[u64]) {
    let mut borrow = false;
    for (a, &b) in from.iter_mut().zip(by) {
        let (rest, first) = a.overflowing_sub(b);
        let (rest, second) = rest.overflowing_sub(u64::from(borrow));
        (*a, borrow) = (rest, first | second);
    }
}

/// The leading 65 bits or more as f64, and the power of two that it is to be multiplied by.
fn leading(limbs: &[u64]) -> (f64, i32) {
    let top = limbs.iter().rposition(|&limb| limb > 0).unwrap_or(0);
    let next = if top > 0 { limbs[top - 1] } else { 0 };
    let leading = (u128::from(limbs[top]) << 64) | u128::from(next);
    (widest(leading), (i32::try_from(top).unwrap_or(i32::MAX) - 1) * 64)
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
mod tests {
    use super::*;
    use crate::stats::naive;

    #[test]
    fn tables_equal_the_counts_of_the_recursion() {
        // Measured: 1e-15 relative; allow 1e-13.
        let tables = NullTables::default();
        for (m, n) in [(1, 1), (1, 7), (2, 3), (3, 3), (5, 8), (8, 8), (8, 40), (20, 30), (60, 60)]
        {
            let counts = naive::rank_sum_counts(m, n);
            let total: u128 = counts.iter().sum();
            for u in 0..counts.len() {
                let above: u128 = counts[u..].iter().sum();
                let expected = above as f64 / total as f64;
                let (p, ln_p) = tables.sf(u as u64, m as u64, n as u64);
                assert!((p / expected - 1.0).abs() < 1e-13, "{m} {n} {u}: {p} {expected}");
                assert!((ln_p - expected.ln()).abs() < 1e-12, "{m} {n} {u}: {ln_p}");
            }
        }
    }

    #[test]
    fn large_tables_equal_sums_of_positive_terms() {
        // Measured: 4e-14 relative, the other's rounding; allow 1e-12.
        let tables = NullTables::default();
        for (m, n) in [(120usize, 160usize), (200, 200)] {
            let probabilities = naive::rank_sum_probabilities(m, n);
            let mut above = 0.0;
            for u in (1..probabilities.len()).rev() {
                above += probabilities[u];
                let (p, _) = tables.sf(u as u64, m as u64, n as u64);
                assert!((p / above - 1.0).abs() < 1e-12, "{m} {n} {u}: {p} {above}");
            }
        }
    }

    #[test]
    fn large_tables_neither_underflow_nor_lose_their_middle() {
        let tables = NullTables::default();
        for (m, n) in [(300u64, 500u64), (20, 20_000), (9, 9)] {
            // One arrangement of C(m + n, m) has the largest U.
            let ln_total: f64 = (1..=m).map(|i| ((n + i) as f64 / i as f64).ln()).sum();
            let (_, ln_p) = tables.sf(m * n, m, n);
            assert!((ln_p / -ln_total - 1.0).abs() < 1e-12, "{m} {n}: {ln_p} {ln_total}");
            // P(U >= u) and P(U >= mn - u + 1) add to 1.
            let middle = m * n / 2;
            let (p, q) = (tables.sf(middle, m, n).0, tables.sf(m * n - middle + 1, m, n).0);
            assert!((p + q - 1.0).abs() < 1e-12 && p > 0.5 && q < 0.5, "{m} {n}: {p} {q}");
        }
    }

    /// Threads that start together: of each table one is made, though it takes some 50 ms.
    #[test]
    fn a_table_is_made_once() {
        let (tables, threads) = (NullTables::default(), 8);
        let start = std::sync::Barrier::new(threads);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    start.wait();
                    for (m, n) in [(150, 160), (160, 150), (9, 9)] {
                        assert!(tables.sf(40, m, n).0 > 0.4);
                    }
                });
            }
        });
        assert_eq!(tables.made.into_inner(), 2);
    }

    /// While one table is made, another thread gets others.
    #[test]
    fn other_sizes_do_not_wait() {
        let tables = NullTables::default();
        tables.slot(5, 6).get_or_init(|| {
            let other = || tables.sf(4, 2, 2).0;
            let p = std::thread::scope(|scope| scope.spawn(other).join().unwrap());
            assert!((p - 1.0 / 6.0).abs() < 1e-16);
            tables.make(5, 6, 1)
        });
        assert!((tables.sf(30, 5, 6).0 * 462.0 - 1.0).abs() < 1e-14);
    }

    #[test]
    fn bounds_and_infeasible_sizes() {
        let tables = NullTables::default();
        assert_eq!(tables.sf(13, 3, 4), (0.0, f64::NEG_INFINITY));
        assert_eq!(tables.sf(0, 3, 4), (1.0, 0.0));
        assert!(tables.sf(1, 1 << 20, 1 << 20).0.is_nan());
    }
}
