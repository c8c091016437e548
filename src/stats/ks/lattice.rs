//! Exact null distribution of the two-sample Kolmogorov-Smirnov statistics, without ties.
//!
//! # Symbols
//! The samples have a and b values, N = a + b. Every order of the pooled values is a lattice path
//! from (0, 0) to (a, b); all C(N, a) paths are equally likely (Hodges 1958, Ark. Mat. 3, 469,
//! section 2). c is the integer a b D. With s = i + j, a path is *outside* at (i, j) if
//! |b i - a j| = |N i - a s| >= c, and inside otherwise.
//!
//! # Method
//! Paths are grouped by the first point at which they are outside, so that all terms are positive:
//!
//! ```text
//! P(D >= c/(a b)) = Σ over first outside points (i, j):  H(i, j) · e(i, j)
//! H(i, j) = C(s, i) C(N - s, a - i) / C(N, a)                    P(path passes (i, j))
//! e(i, j) = i/s · w(i - 1, j)  or  j/s · w(i, j - 1)             P(inside before | passes (i, j))
//! w(i, j) = i/s · w(i - 1, j) + j/s · w(i, j - 1), w(0, 0) = 1   P(inside so far | passes (i, j))
//! ```
//!
//! with w = 0 outside. The usual recursions, of counts or of 1 - w, cancel in the far tail, and
//! SciPy's counts also overflow there. Here w is near 1 in that tail, and H has a separate
//! exponent:
//! -log10 p has full precision however small p is. The values of w on one diagonal (one s) do not
//! depend on each other, so their loop vectorizes.
//!
//! Samples of equal size have a closed form (Gnedenko and Korolyuk 1951), with n = a = b, h = c/n:
//!
//! ```text
//! P(D+ >= h/n) = C(2n, n - h) / C(2n, n)
//! P(D >= h/n) = 2 Σ_{k>=1} (-1)^(k-1) C(2n, n - k h) / C(2n, n)
//! ```
//!
//! Cost: one multiply-add per inside point, of which there are at most a b and about 2 c; for equal
//! sizes at most 4,096 factors per term.

use super::one_sample::deviance;
use crate::cast::{length, real, real_length};
use crate::stats::special::stirling_error;
use multiversion::multiversion;
use std::f64::consts::LN_2;

/// Buffers of one worker, reused between tests.
#[derive(Debug, Default)]
pub struct Scratch {
    /// 0, 1, 2, ...
    ramp: Vec<f64>,
    /// w on the current and the next diagonal, indexed by i + 1; 0 beyond both ends of the inside.
    now: Vec<f64>,
    next: Vec<f64>,
}

/// A non-negative number with a separate exponent: mantissa · 2^exponent.
#[derive(Debug, Clone, Copy)]
struct Scaled {
    mantissa: f64,
    exponent: f64,
}

/// 2^400, the factor by which mantissas are rescaled.
const STEP: f64 = 2.582_249_878_086_908_6e120;
const STEP_BITS: f64 = 400.0;

impl Scaled {
    const ZERO: Self = Self { mantissa: 0.0, exponent: f64::NEG_INFINITY };

    /// Multiplies by a factor from 2^-200 to 2^200.
    #[inline]
    fn multiply(&mut self, factor: f64) {
        self.mantissa *= factor;
        if self.mantissa < 1.0 / STEP {
            self.mantissa *= STEP;
            self.exponent -= STEP_BITS;
        } else if self.mantissa > STEP {
            self.mantissa /= STEP;
            self.exponent += STEP_BITS;
        }
    }

    /// Adds `factor` · `other`, for a factor from 0 to 1.
    #[inline]
    fn add(&mut self, other: Self, factor: f64) {
        let mut term = other.mantissa * factor;
        if term == 0.0 {
            return;
        }
        let (mut term_exponent, mut steps) = (other.exponent, term_steps(term));
        while steps > 0 {
            term *= STEP;
            term_exponent -= STEP_BITS;
            steps -= 1;
        }
        if term_exponent > self.exponent {
            let shift = (self.exponent - term_exponent).max(-2000.0);
            self.mantissa = self.mantissa * shift.exp2() + term;
            self.exponent = term_exponent;
        } else {
            self.mantissa += term * (term_exponent - self.exponent).max(-2000.0).exp2();
        }
    }

    /// The natural logarithm.
    fn ln(self) -> f64 {
        self.mantissa.ln() + if self.mantissa > 0.0 { self.exponent * LN_2 } else { 0.0 }
    }
}

/// How many factors of [`STEP`] raise a term to at least 1/STEP.
fn term_steps(term: f64) -> u32 {
    u32::from(term < 1.0 / STEP) + u32::from(term < 1.0 / STEP / STEP)
}

/// Computes H at a sequence of points whose coordinates never decrease.
#[derive(Debug)]
struct Walk {
    i: u64,
    j: u64,
    passes: Scaled,
}

impl Walk {
    fn new() -> Self {
        Self { i: 0, j: 0, passes: Scaled { mantissa: 1.0, exponent: 0.0 } }
    }

    /// H at (i, j); neither coordinate may be smaller than that of the last point.
    fn to(&mut self, (i, j): (u64, u64), (a, b): (u64, u64)) -> Scaled {
        debug_assert!(self.i <= i && self.j <= j && i <= a && j <= b, "points go up");
        let n = real(a + b);
        while self.j < j || self.i < i {
            let s = real(self.i + self.j);
            let left = n - s;
            // Step in the coordinate that lags behind, so that no factor is far from 1.
            let along = self.i < i && (self.j == j || self.i * b <= self.j * a);
            let (steps, rest) = if along {
                self.i += 1;
                (self.i, a - self.i + 1)
            } else {
                self.j += 1;
                (self.j, b - self.j + 1)
            };
            self.passes.multiply((s + 1.0) * real(rest) / (real(steps) * left));
        }
        self.passes
    }
}

/// Which points are outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sides {
    /// b i - a j >= c.
    One,
    /// |b i - a j| >= c.
    Both,
}

/// ln of the probability that a path is outside somewhere, for 0 <= c <= n1 n2.
pub(super) fn log_outside(
    (n1, n2): (u64, u64),
    c: u64,
    sides: Sides,
    scratch: &mut Scratch,
) -> f64 {
    debug_assert!(n1 > 0 && n2 > 0 && c <= n1 * n2, "a distance of two samples");
    if c == 0 {
        return 0.0;
    }
    if n1 == n2 {
        return equal(n1, c.div_ceil(n1), sides);
    }
    // The probability is symmetric in the samples: exchange them and reverse the path.
    let (a, b) = (n1.min(n2), n1.max(n2));
    sum_of_exits((a, b), c, sides, scratch).ln().min(0.0)
}

/// The probability that a path is outside somewhere, for a < b; see the module header.
fn sum_of_exits((a, b): (u64, u64), c: u64, sides: Sides, scratch: &mut Scratch) -> Scaled {
    let n = a + b;
    let Scratch { ramp, now, next } = scratch;
    let room = length(a) + 3;
    if ramp.len() < room {
        ramp.extend((ramp.len()..room).map(real_length));
        now.resize(room, 0.0);
        next.resize(room, 0.0);
    }
    // The inside of a diagonal is a s - c < N i < a s + c, limited by the sample sizes.
    let lowest = |s: u64| match sides {
        Sides::Both if a * s >= c => (a * s - c) / n + 1,
        _ => 0,
    };
    let highest = |s: u64| (a * s + c - 1) / n;
    let (mut low, mut high) = (0, 0);
    now[..3].copy_from_slice(&[0.0, 1.0, 0.0]);
    let (mut above, mut below) = (Walk::new(), Walk::new());
    let mut outside = Scaled::ZERO;
    for s in 1..=n {
        let whole = real(s);
        let (bottom, top) = (lowest(s), highest(s));
        if high < a && high + 1 > top {
            let exit = real(high + 1) / whole * now[length(high) + 1];
            outside.add(above.to((high + 1, s - high - 1), (a, b)), exit);
        }
        if low < bottom && s - low <= b {
            let exit = real(s - low) / whole * now[length(low) + 1];
            outside.add(below.to((low, s - low), (a, b)), exit);
        }
        let (first, last) = (bottom.max(s.saturating_sub(b)), top.min(a).min(s));
        if first > last {
            break;
        }
        let (from, to) = (length(first), length(last));
        step(&ramp[from..=to], &now[from..=to + 1], whole, &mut next[from + 1..=to + 1]);
        (next[from], next[to + 2]) = (0.0, 0.0);
        std::mem::swap(now, next);
        (low, high) = (first, last);
    }
    outside
}

/// Computes a diagonal of w from the previous one. `ramp` holds the values of i; `before` starts at
/// i - 1.
#[multiversion(targets = "simd")]
fn step(ramp: &[f64], before: &[f64], s: f64, out: &mut [f64]) {
    let scale = 1.0 / s;
    let pairs = before.iter().zip(&before[1..]);
    for ((out, i), (left, here)) in out.iter_mut().zip(ramp).zip(pairs) {
        *out = (i * left + (s - i) * here) * scale;
    }
}

/// ln P for two samples of n values each, with h = n D.
fn equal(n: u64, h: u64, sides: Sides) -> f64 {
    debug_assert!(0 < h && h <= n, "steps of 1/n");
    let first = log_ratio(n, 0, h);
    if sides == Sides::One {
        return first;
    }
    // The alternating terms from the second on, relative to the first.
    let (mut relative, mut rest, mut sign) = (0.0f64, 0.0, -1.0);
    let mut k = 1;
    while (k + 1) * h <= n {
        relative += log_ratio(n, k * h, (k + 1) * h);
        if relative < -45.0 {
            break;
        }
        rest += sign * relative.exp();
        (sign, k) = (-sign, k + 1);
    }
    (LN_2 + first + rest.ln_1p()).min(0.0)
}

/// Up to this many factors are multiplied one by one.
const FEW: u64 = 4096;

/// ln(C(2n, n - to) / C(2n, n - from)).
fn log_ratio(n: u64, from: u64, to: u64) -> f64 {
    if to - from > FEW {
        return log_central_ratio(n, to) - log_central_ratio(n, from);
    }
    let mut product = Scaled { mantissa: 1.0, exponent: 0.0 };
    for t in from + 1..=to {
        product.multiply(real(n + 1 - t) / real(n + t));
    }
    product.ln()
}

/// ln(C(2n, n - h) / C(2n, n)), by the saddle-point form of binomial probabilities (Loader 2000).
fn log_central_ratio(n: u64, h: u64) -> f64 {
    if h == n {
        return log_central_ratio(n, n - 1) - real(2 * n).ln();
    }
    let (low, middle, high) = (real(n - h), real(n), real(n + h));
    let h = real(h);
    2.0 * stirling_error(middle)
        - stirling_error(low)
        - stirling_error(high)
        - deviance(low, h)
        - deviance(high, -h)
        + (middle / low.sqrt() / high.sqrt()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_numbers_neither_underflow_nor_overflow() {
        let mut product = Scaled { mantissa: 1.0, exponent: 0.0 };
        (0..2000).for_each(|_| product.multiply(1e-3));
        assert!((product.ln() / (-6000.0 * 10f64.ln()) - 1.0).abs() < 1e-13);
        let mut sum = Scaled::ZERO;
        sum.add(product, 0.5);
        sum.add(product, 1e-200);
        assert!((sum.ln() - product.ln() + LN_2).abs() < 1e-12);
        let small = sum;
        sum.add(Scaled { mantissa: 3.0, exponent: 0.0 }, 0.5);
        sum.add(small, 1.0);
        sum.add(Scaled { mantissa: 3.0, exponent: 0.0 }, 0.0);
        assert!((sum.ln() - 1.5f64.ln()).abs() < 1e-15);
        (0..4000).for_each(|_| product.multiply(1e3));
        assert!((product.ln() / (6000.0 * 10f64.ln()) - 1.0).abs() < 1e-13);
    }

    #[test]
    fn the_saddle_point_equals_the_product() {
        for (n, h) in [(1, 1), (5, 3), (40, 40), (3000, 1), (3000, 700), (4096, 4096)] {
            let (product, saddle) = (log_ratio(n, 0, h), log_central_ratio(n, h));
            // Measured 1e-15 absolute for small h; allow 1e-13 absolute or relative.
            assert!(
                (product - saddle).abs() < 1e-13 * product.abs().max(1.0),
                "{n} {h}: {product} {saddle}"
            );
        }
        // On both sides of FEW.
        let sides = [FEW, FEW + 1].map(|h| log_ratio(1 << 20, 0, h));
        let step = (real((1 << 20) - FEW) / real((1 << 20) + FEW + 1)).ln();
        assert!((sides[1] - sides[0] - step).abs() < 1e-13, "{sides:?}");
    }

    /// Buffers left by a larger pair do not change later results.
    #[test]
    fn a_scratch_forgets_the_last_pair() {
        let mut scratch = Scratch::default();
        let _ = log_outside((70, 90), 900, Sides::Both, &mut scratch);
        for (sizes, c) in [((5, 7), 9), ((30, 11), 77), ((2, 70), 31)] {
            for sides in [Sides::One, Sides::Both] {
                let got = log_outside(sizes, c, sides, &mut scratch);
                let fresh = log_outside(sizes, c, sides, &mut Scratch::default());
                assert_eq!(got.to_bits(), fresh.to_bits());
            }
        }
        assert_eq!(scratch.ramp.len(), 70 + 3);
    }
}
