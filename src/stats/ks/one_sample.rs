//! Upper tails of the one-sample Kolmogorov-Smirnov statistics D_n and D+_n, for n values from a
//! continuous distribution.
//!
//! # Symbols
//! D+ = sup (F_n - F), D = sup |F_n - F|; z = √n d.
//!
//! # Formulae
//! One-sided, exact (Smirnov 1944; Birnbaum and Tingey 1951); all terms are positive:
//!
//! ```text
//! P(D+ >= d) = d Σ_{j=0}^{⌊n(1-d)⌋} C(n, j) q^(j-1) (1 - q)^(n-j),   q = d + j/n
//! ```
//!
//! A term is d/q times a binomial probability, computed by Loader's saddle-point expansion (2000,
//! "Fast and accurate computation of binomial probabilities"), which keeps full precision for any
//! n. Where the terms are a smooth function of j, the sum is computed from a subset of terms at
//! equal distances.
//!
//! Two-sided, as in Simard and L'Ecuyer (2011, J. Stat. Softw. 39(11)), with two changes that
//! improve the accuracy. The first row that applies is used:
//!
//! | condition | P(D >= d) |
//! |---|---|
//! | n d <= 1/2 | 1 |
//! | d >= 1/2 | 2 P(D+ >= d), exact |
//! | z² < 4 and n <= 140 | 1 - the middle entry of n!/n^n H^n (Durbin 1968; Marsaglia, Tsang and Wang 2003, J. Stat. Softw. 8(18)), by products of H with a vector (Carvalho 2015, J. Stat. Softw. 65(3)); all terms are positive |
//! | z < 0.15 | 1, with an error below 1e-22 |
//! | z < [`SMALL_Z`] | the expansion of Li-Chien (1956) and Korolyuk (1960) up to n^(-3/2); Pelz and Good (1976) transform this series for small z |
//! | otherwise | 2 P(D+ >= d), exact, plus the terms k >= 2 of that expansion, which are smaller by a factor of about e^(-6 z²) |
//!
//! The expansion is
//!
//! ```text
//! P(D >= d) = 2 Σ_{k>=1} (-1)^(k-1) e^(-2 y) (1 - 2 y / (3 z √n)
//!             - (f - 4 (f + 3) y + 8 y²) / (18 n)
//!             + y (g/5 - 4 (g + 45) y / 15 + 8 y²) / (27 z n^(3/2))),     y = k² z²,
//! f = k² - [k odd],  g = 5 k² + 22 - 15 [k odd]
//! ```
//!
//! # Accuracy
//! Relative errors, measured against the golden values: 7e-12 for the matrix and 6e-12 for
//! 2 P(D+ >= d). That of the expansion is 3e-6 at n = 141 and decreases like n^-2; SciPy's
//! Pelz-Good series is off by 6e-6 there.
//!
//! Special values:
//!
//! | n, d | P(D >= d) |
//! |---|---|
//! | d <= 1/(2n) | 1 |
//! | d >= 1 | 0 |
//! | n = 0, d NaN | NaN |
//!
//! Cost: 0.3 µs for the expansion, up to 50 µs for the sum or the matrix.

use crate::cast::{length, real, real_length, whole};
use crate::stats::special::stirling_error;
use std::f64::consts::{LN_2, PI};

/// The largest n for which the matrix is used, as in SciPy.
const MATRIX_VALUES: u64 = 140;
/// The most rows of the matrix: z² < 4 and n <= 140 require 2 ⌊23.66⌋ + 1.
const ROWS: usize = 47;
/// From this z² on, twice the one-sided tail has a relative error of at most 2e-12.
const FAR_SQUARE: f64 = 4.0;
/// Below this z, the expansion of all terms is more accurate than the exact first term plus the
/// expansion of the others.
const SMALL_Z: f64 = 0.65;
/// Below this z the tail rounds to 1.
const TINY_Z: f64 = 0.15;
/// A one-sided sum of at most this many terms uses every term.
const ALL_TERMS: f64 = 512.0;
/// So does a sum with n d below this: its first terms, about e^(-n d) of the sum, matter, and they
/// are not a smooth function of j.
const SMOOTH: f64 = 40.0;
/// Any other sum uses about this many terms, at equal distances.
const TERMS: f64 = 256.0;
/// A term is left out if ln(term / largest term) is below this.
const NEGLIGIBLE: f64 = -45.0;

/// P(D_n >= d) and its natural logarithm, which does not underflow.
///
/// # Examples
/// ```
/// let (p, ln_p) = pdex::stats::ks::one_sample::both(10, 0.3);
/// // scipy.stats.kstwo.sf(0.3, 10)
/// assert!((p - 0.270_535_574_799_999_46).abs() < 1e-14);
/// assert!((ln_p - p.ln()).abs() < 1e-14);
/// ```
#[must_use]
pub fn both(n: u64, d: f64) -> (f64, f64) {
    if n == 0 || d.is_nan() {
        return (f64::NAN, f64::NAN);
    }
    let count = real(n);
    let (steps, z) = (count * d, count.sqrt() * d);
    if steps <= 0.5 {
        return (1.0, 0.0);
    }
    if d >= 0.5 {
        return from_log(LN_2 + log_one_sided(n, d));
    }
    if z * z < FAR_SQUARE && n <= MATRIX_VALUES {
        let below = matrix(n, steps);
        return (1.0 - below, (-below).ln_1p());
    }
    if z < TINY_Z {
        return (1.0, 0.0);
    }
    if z < SMALL_Z {
        let p = expansion(count, z, 1);
        return (p, p.ln());
    }
    let ln_twice = LN_2 + log_one_sided(n, d);
    // The other terms relative to the first, which may underflow; then the others are negligible.
    let rest = expansion(count, z, 2) / ln_twice.exp();
    from_log(ln_twice + if rest.is_finite() { rest.ln_1p() } else { 0.0 })
}

fn from_log(ln_p: f64) -> (f64, f64) {
    (ln_p.exp(), ln_p)
}

/// P(D_n < steps / n): the middle entry of n!/n^n H^n, for at most [`ROWS`] rows.
fn matrix(n: u64, steps: f64) -> f64 {
    let k = length(whole(steps)) + 1;
    let (m, h) = (2 * k - 1, real_length(k) - steps);
    // At index i: 1/(m - i)! and (1 - h^(m - i)) / (m - i)!, reversed to read rows forwards.
    let (mut inverse, mut edge) = ([0.0; ROWS + 1], [0.0; ROWS + 1]);
    let (mut factorial, mut power) = (1.0, 1.0);
    for i in 0..=m {
        inverse[m - i] = 1.0 / factorial;
        edge[m - i] = (1.0 - power) / factorial;
        factorial *= real_length(i + 1);
        power *= h;
    }
    let mut corner = 1.0 - 2.0 * h.powi(i32::try_from(m).unwrap_or(i32::MAX));
    corner += (2.0 * h - 1.0).max(0.0).powi(i32::try_from(m).unwrap_or(i32::MAX));
    edge[0] = corner * inverse[0];
    let (mut state, mut next) = ([0.0; ROWS + 1], [0.0; ROWS + 1]);
    state[k - 1] = 1.0;
    for step in 1..=n {
        next[..m].fill(0.0);
        // Row i < m - 1 is (1 - h^(i + 1)) / (i + 1)!, then 1/(i + 1 - j)! for j = 1 ..= i + 1.
        for (i, &value) in state[..m - 1].iter().enumerate() {
            next[0] += value * edge[m - 1 - i];
            for (next, entry) in next[1..i + 2].iter_mut().zip(&inverse[m - i..]) {
                *next += value * entry;
            }
        }
        for (next, entry) in next[..m].iter_mut().zip(&edge) {
            *next += state[m - 1] * entry;
        }
        let scale = real(step) / real(n);
        for (state, next) in state[..m].iter_mut().zip(&next) {
            *state = next * scale;
        }
    }
    state[k - 1]
}

/// The terms k >= `first` of the expansion of P(D >= d) by Li-Chien and Korolyuk.
fn expansion(n: f64, z: f64, first: u32) -> f64 {
    let (root, mut sum) = (n.sqrt(), 0.0);
    for k in first.. {
        let (k, odd) = (f64::from(k), f64::from(k % 2));
        let square = k * k;
        let y = square * z * z;
        let weight = (-2.0 * y).exp();
        let (f, g) = (square - odd, 5.0 * square + 22.0 - 15.0 * odd);
        let term = 1.0
            - 2.0 * square * z / (3.0 * root)
            - (f - 4.0 * (f + 3.0) * y + 8.0 * y * y) / (18.0 * n)
            + square * z * (0.2 * g - 4.0 * (g + 45.0) * y / 15.0 + 8.0 * y * y)
                / (27.0 * n * root);
        sum += (4.0 * odd - 2.0) * weight * term;
        if weight < 1e-19 {
            break;
        }
    }
    sum
}

/// ln P(D+_n >= d); -inf if d >= 1, NaN if n = 0 or d is NaN.
///
/// # Examples
/// ```
/// let ln_p = pdex::stats::ks::one_sample::log_one_sided(10, 0.3);
/// // scipy.stats.ksone.sf(0.3, 10)
/// assert!((ln_p.exp() - 0.135_463_555_6).abs() < 1e-14);
/// ```
#[must_use]
pub fn log_one_sided(n: u64, d: f64) -> f64 {
    if n == 0 || d.is_nan() {
        return f64::NAN;
    }
    if d <= 0.0 || d >= 1.0 {
        return if d <= 0.0 { 0.0 } else { f64::NEG_INFINITY };
    }
    let n = real(n);
    // The term at j = n (1 - d) is 0.
    let last = (n * (1.0 - d)).ceil() - 1.0;
    // The terms rise to one maximum and then fall, except for small z, where they differ little.
    let middle = if n * d * d < FAR_SQUARE {
        (0.5 * last).floor()
    } else {
        boundary(0.0, last, |j| j == last || log_term(n, d, j + 1.0) <= log_term(n, d, j))
    };
    let largest = log_term(n, d, middle);
    let negligible = |j: f64| log_term(n, d, j) - largest < NEGLIGIBLE;
    let low = boundary(0.0, middle, |j| !negligible(j));
    let high = last - boundary(0.0, last - middle, |back| !negligible(last - back));
    let terms = high - low + 1.0;
    let all = terms <= ALL_TERMS || n * d < SMOOTH;
    let stride = if all { 1.0 } else { (terms / TERMS).floor() };
    let (mut sum, mut j) = (0.0, middle - ((middle - low) / stride).floor() * stride);
    while j <= high {
        sum += (log_term(n, d, j) - largest).exp();
        j += stride;
    }
    // Near d = 0, rounding may give a sum above 1.
    (largest + (sum * stride).ln()).min(0.0)
}

/// The first integer from `from` to `to` for which `keep` is true, by bisection; `keep` must be
/// true for all integers after it.
fn boundary(from: f64, to: f64, keep: impl Fn(f64) -> bool) -> f64 {
    let (mut from, mut to) = (from, to);
    while from < to {
        let middle = (0.5 * (from + to)).floor();
        if keep(middle) { to = middle } else { from = middle + 1.0 }
    }
    to
}

/// ln(d/q C(n, j) q^j (1 - q)^(n - j)), for an integer j < n (1 - d).
fn log_term(n: f64, d: f64, j: f64) -> f64 {
    let (q, excess) = (d + j / n, n * d);
    if j == 0.0 {
        return n * (-d).ln_1p();
    }
    let rest = n - j;
    let distance = deviance(j, excess) + deviance(rest, -excess);
    let scale = 0.5 * (n / (2.0 * PI * j * rest)).ln();
    stirling_error(n) - stirling_error(j) - stirling_error(rest) - distance + scale + (d / q).ln()
}

/// x ln(x / (x + step)) + step, half the Poisson deviance of x from the mean x + step.
pub(super) fn deviance(x: f64, step: f64) -> f64 {
    // Rounding may exceed the end of the range, where the probability is 0.
    let u = (step / x).max(-1.0);
    if u.abs() > 0.5 {
        return step - x * u.ln_1p();
    }
    // u - ln(1 + u) = u v - 2 (v³/3 + v⁵/5 + ...), v = u / (2 + u)
    let v = u / (2.0 + u);
    let square = v * v;
    let mut series = 0.0;
    for i in (1..20).rev() {
        series = (series + 1.0 / f64::from(2 * i + 1)) * square;
    }
    x * (u * v - 2.0 * v * series)
}

#[cfg(test)]
mod tests {
    use super::super::golden::worst;
    use super::*;

    #[test]
    fn the_golden_rows() {
        // Selects rows by n and z. Comments: errors measured for sf and its logarithm.
        type Rows = fn(f64, f64) -> bool;
        let regimes: [(&str, Rows, f64); 3] = [
            ("matrix", |n, z| z * z < 4.0 && n <= 140.0, 2e-11), // 7e-12, 9e-13
            ("far", |_, z| z * z >= 4.0, 2e-11),                 // 6e-12, 9e-13
            ("expansion", |n, z| z * z < 4.0 && n > 140.0, 4e-5), // 3e-6, 2e-5
        ];
        for (name, keep, allowed) in regimes {
            let keep = |n: f64, d: f64| keep(n, n.sqrt() * d);
            let found = worst("kolmogorov", keep, |n, _, d| both(whole(n), d));
            assert!(found.0 < allowed && found.1 < allowed, "{name}: {found:?}");
        }
        // Measured 6e-12 (z = 0.65, a subset of terms), else 1e-12.
        let found = worst("smirnov", |_, _| true, |n, _, d| from_log(log_one_sided(whole(n), d)));
        assert!(found.0 < 2e-11 && found.1 < 2e-11, "{found:?}");
    }

    /// Where two methods are valid, both give the same value.
    #[test]
    fn the_ways_meet() {
        // The matrix against the other methods, at the largest z for n = 140: measured 2e-11.
        let d = (FAR_SQUARE / 140.0).sqrt();
        let inside = 1.0 - matrix(140, 140.0 * d);
        let outside = log_one_sided(140, d).exp() * 2.0 + expansion(140.0, d * 140f64.sqrt(), 2);
        assert!((inside / outside - 1.0).abs() < 5e-11, "{inside} {outside}");
        for z in [0.3, 0.5, 0.6] {
            let d = z / 140f64.sqrt();
            let (exact, near) = (1.0 - matrix(140, 140.0 * d), expansion(140.0, z, 1));
            // Measured 5e-6 at z = 0.6; allow 1e-5.
            assert!((exact / near - 1.0).abs() < 1e-5, "{z}: {exact} {near}");
        }
        // The expansion of all terms against the exact first term and the expansion of the others.
        let n = 100_000u64;
        let d = SMALL_Z / real(n).sqrt();
        let mixed = from_log(LN_2 + log_one_sided(n, d)).0 + expansion(real(n), SMALL_Z, 2);
        let all = expansion(real(n), SMALL_Z, 1);
        assert!((mixed / all - 1.0).abs() < 1e-10, "{mixed} {all}");
        // All terms against a subset of terms.
        for z in [0.65, 1.0, 3.0] {
            let [few, many] = [2_040.0f64, 2_200.0].map(|n| {
                // ln P + 2 z² + 2 z / (3 √n) varies little with n.
                log_one_sided(whole(n), z / n.sqrt()) + 2.0 * z * z + 2.0 * z / (3.0 * n.sqrt())
            });
            assert!((few - many).abs() < 2e-3 * z.powi(4).max(0.1), "{z}: {few} {many}");
        }
    }

    #[test]
    fn ends() {
        assert_eq!(both(7, 0.0), (1.0, 0.0));
        assert_eq!(both(7, 1.0 / 14.0), (1.0, 0.0));
        assert_eq!(both(7, 1.0), (0.0, f64::NEG_INFINITY));
        assert_eq!(both(7, 2.0), (0.0, f64::NEG_INFINITY));
        assert!(both(0, 0.3).0.is_nan() && both(3, f64::NAN).1.is_nan());
        assert_eq!((log_one_sided(5, 0.0), log_one_sided(5, 1.0)), (0.0, f64::NEG_INFINITY));
        // One value: P(D >= d) = 2 (1 - d) from d = 1/2 on.
        assert!((both(1, 0.75).0 - 0.5).abs() < 1e-15);
        // For P far below the smallest f64: about 2 e^(-2 z²).
        assert!((both(10_000_000, 0.1).1 / -2e5 - 1.0).abs() < 0.01);
    }

    #[test]
    fn it_falls_with_d() {
        for n in [3u64, 50, 140, 141, 560, 700, 5_000, 1_000_000] {
            let mut before = 0.0;
            for i in 1..400 {
                let d = f64::from(i) / 100.0 / real(n).sqrt();
                let (_, ln_p) = both(n, d);
                assert!(ln_p <= before + 1e-6, "{n} {d}: {ln_p} {before}");
                before = ln_p;
            }
        }
    }
}
