//! Student's t distribution: its upper tail and the logarithm of the tail, for any real df > 0.
//!
//! Symbols: ν are the degrees of freedom, a = ν/2, ξ = ln(1 + t²/ν), x = ν/(ν + t²) = e^-ξ,
//! R(a) = Γ(a + 1/2)/Γ(a). For t >= 0, P(T > t) = `I_x(a, 1/2)/2`, where I is the incomplete beta
//! function. DLMF is the NIST Digital Library of Mathematical Functions.
//!
//! The tail is e^-aξ times a sum that neither cancels nor overflows, and its logarithm is -aξ plus
//! the logarithm of the sum.
//!
//! **Large a, near tail** (a >= 15, ξ <= 1.5). With u = ξ + s, DLMF 8.17.1 becomes a Gaussian
//! integral; taking e^(u/4) out of its weight leaves an even function:
//!
//! ```text
//! P(T > t) = R(a)/√π ∫ over v > √ξ of e^(-A v²) ψ(v²) dv,   A = a - 1/4,
//! ψ(u) = √((u/2)/sinh(u/2)) = Σ c_j u^2j = 1 - u²/48 + u⁴/2560 - ...   (|u| < 2π)
//! ```
//!
//! Integrating term by term gives
//!
//! ```text
//! P(T > t) = e^(-Aξ) Σ c_j g_2j / (√(2π) Σ c_j (1/2)_2j / A^2j)
//! g_m = A^-m ∫ over q > X of e^((X² - q²)/2) (q²/2)^m dq,   X² = 2Aξ
//!     = (m - 1/2)/A g_(m-1) + X/(2A) ξ^(m-1)                 (by parts)
//! g_0 = √(2π) times the normal distribution's scaled tail at X
//! ```
//!
//! The second sum is √A/R(a) (DLMF 5.11.14). This is the uniform expansion of DLMF 8.18.3 (Temme
//! 1987) for b = 1/2, rearranged around an even weight. As ν grows it approaches the normal tail.
//!
//! **Small a, near tail** (a < 15, ξ <= 1.5). Applying DLMF 8.17.20 n times raises a to at least 15
//! and adds the first n terms of DLMF 8.17.8:
//!
//! ```text
//! I_x(a, b) = I_x(a + n, b) + x^a (1 - x)^b R(a)/(a √π) Σ_(k<n) (a + b)_k/(a + 1)_k x^k
//! ```
//!
//! **Far tail** (ξ > 1.5, so x < 0.224): the series DLMF 8.17.8, summed to convergence.
//!
//! Departures: the continued fraction (DLMF 8.17.22) is not used; for t from 1 to 3 and large ν it
//! needs a hundred terms, the expansion one to five. For t² < 0.5, [`two_sided`] sums the central
//! part (DLMF 8.17.8 in 1 - x), so that the relative error of -log10 p is small also next to p = 1.
//!
//! Cost: at most 14 + 10 terms in the near tail or 25 in the far tail, one log1p, one or two
//! exponentials.
//!
//! Largest relative error against 50-digit values (`tests/golden/special.csv`, ν from 0.1 to 1e8,
//! |t| up to 1e4):
//!
//! | ν | sf | `log_sf` |
//! |---|---|---|
//! | up to 10 | 7e-15 | 5e-15 |
//! | up to 30 | 3e-14 | 2e-14 |
//! | up to 1e8 | 8e-14 (at sf = 1e-300) | 8e-14 (where sf rounds to 1) |
//!
//! Special values:
//!
//! | t, ν | sf | `log_sf` |
//! |---|---|---|
//! | either NaN, ν <= 0 | NaN | NaN |
//! | t = 0 | 1/2 | -ln 2 |
//! | t = inf | 0 | -inf |
//! | t = -inf | 1 | 0, never -0 |
//! | ν > 1e100 or inf | that of the normal distribution | likewise |

use super::{Tail, normal};
use std::f64::consts::{LN_2, PI};

/// From this a on, the terms of [`PSI`] give the expansion in 1/a to full precision.
const LARGE_A: f64 = 15.0;
/// Above this ξ the power series of the far tail is used.
const FAR_XI: f64 = 1.5;
/// Above this df the t and normal distributions agree in f64.
const NORMAL_DF: f64 = 1e100;
/// Below this t², [`two_sided`] sums the central part.
const CENTRAL_SQUARE: f64 = 0.5;
/// Largest number of terms of a power series; for x < 0.224 and t² < 0.5 fewer suffice.
const MAX_TERMS: u32 = 100;
/// A term this small no longer changes the sum.
const NEGLIGIBLE: f64 = 5e-17;
const SQRT_2PI: f64 = 2.506_628_274_631_000_502_4;

/// Taylor coefficients of √((u/2)/sinh(u/2)) in powers of u².
const PSI: [f64; 14] = [
    1.0,
    -0.020_833_333_333_333_333_333,
    0.000_390_625,
    -7.879_670_965_608_465_608_5e-6,
    1.696_766_579_172_178_130_5e-7,
    -3.805_064_191_721_906_565_7e-9,
    8.748_377_596_315_407_304_1e-11,
    -2.044_523_359_411_973_817_6e-12,
    4.833_351_797_967_704_408_3e-14,
    -1.152_434_101_767_385_923_9e-15,
    2.766_052_043_599_370_043_2e-17,
    -6.674_281_950_891_659_951_2e-19,
    1.617_455_077_181_579_888_2e-20,
    -3.933_977_920_091_380_015_5e-22,
];

/// P(T > t) for `df` degrees of freedom.
///
/// # Examples
///
/// ```
/// use pdex::stats::special::student_t::sf;
///
/// assert_eq!(sf(0.0, 3.0), 0.5);
/// assert!((sf(1.0, 1.0) - 0.25).abs() < 1e-16);
/// assert!(sf(f64::NAN, 3.0).is_nan());
/// ```
#[must_use]
pub fn sf(t: f64, df: f64) -> f64 {
    if t.is_nan() || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    let (fraction, exponent) = upper(t.abs(), df);
    let half = fraction * (-exponent).exp();
    if t < 0.0 { 1.0 - half } else { half }
}

/// ln P(T > t) for `df` degrees of freedom, accurate also where `sf` underflows or rounds to 1.
///
/// # Examples
///
/// ```
/// use pdex::stats::special::student_t::log_sf;
///
/// assert!((log_sf(1.0, 1.0) + 4.0_f64.ln()).abs() < 1e-15);
/// assert!((log_sf(100.0, 1e8) + 5005.27417536462).abs() < 1e-9);
/// ```
#[must_use]
pub fn log_sf(t: f64, df: f64) -> f64 {
    if t.is_nan() || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    let (fraction, exponent) = upper(t.abs(), df);
    if t < 0.0 {
        // adding 0 turns the -0 of log1p(-0) into 0
        (-fraction * (-exponent).exp()).ln_1p() + 0.0
    } else {
        fraction.ln() - exponent
    }
}

/// The two-sided p-value min(1, 2 P(T > t)) of a statistic t >= 0: pass |t|. A negative t gives
/// p = 1.
///
/// # Examples
///
/// ```
/// use pdex::stats::special::student_t::two_sided;
///
/// assert!((two_sided(1.0, 1.0).p - 0.5).abs() < 1e-15);
/// assert_eq!(two_sided(-1.0, 1.0).p, 1.0);
/// ```
#[must_use]
pub fn two_sided(t: f64, df: f64) -> Tail {
    if t.is_nan() || df.is_nan() || df <= 0.0 {
        return Tail::NAN;
    }
    if t <= 0.0 {
        return Tail::new(1.0, 0.0);
    }
    if df > NORMAL_DF {
        return normal::two_sided(t);
    }
    if t * t < CENTRAL_SQUARE && t * t < df {
        let inside = 2.0 * central(t, df);
        return Tail::new(1.0 - inside, (-inside).ln_1p());
    }
    let (fraction, exponent) = upper(t, df);
    Tail::new(2.0 * fraction * (-exponent).exp(), fraction.ln() - exponent + LN_2)
}

/// (m, e) such that P(T > t) = m exp(-e), for t >= 0 and df > 0.
fn upper(t: f64, df: f64) -> (f64, f64) {
    if t == 0.0 {
        return (0.5, 0.0);
    }
    if df > NORMAL_DF {
        return (normal::scaled(t), 0.5 * t * t);
    }
    let (a, ratio) = (0.5 * df, t * t / df);
    // above 1e300, ln(1 + ratio) is ln(ratio), and the square may overflow
    let xi = if ratio < 1e300 { ratio.ln_1p() } else { 2.0 * t.ln() - df.ln() };
    if xi > FAR_XI {
        (far(a, ratio), a * xi)
    } else if a >= LARGE_A {
        (near(a, xi).0, (a - 0.25) * xi)
    } else {
        (raised(a, xi, ratio), a * xi)
    }
}

/// P(T > t) e^(Aξ) with A = a - 1/4, and R(a), for a >= [`LARGE_A`] and ξ <= [`FAR_XI`].
fn near(a: f64, xi: f64) -> (f64, f64) {
    let scale = 1.0 / (a - 0.25);
    let x = (2.0 * (a - 0.25) * xi).sqrt();
    let mut moment = SQRT_2PI * normal::scaled(x);
    let (mut power, mut pochhammer) = (0.5 * scale * x, 1.0);
    let (mut sum, mut norm) = (moment, 1.0);
    let mut half = 0.5;
    for c in &PSI[1..] {
        for _ in 0..2 {
            moment = half * scale * moment + power;
            pochhammer *= half * scale;
            power *= xi;
            half += 1.0;
        }
        sum += c * moment;
        norm += c * pochhammer;
        // each further term is smaller by a factor of (ξ/2π)² or a^-2
        if c.abs() * moment <= NEGLIGIBLE * sum {
            break;
        }
    }
    (sum / (SQRT_2PI * norm), 1.0 / (norm * scale.sqrt()))
}

/// P(T > t) e^(aξ) for a < [`LARGE_A`] and ξ <= [`FAR_XI`].
fn raised(a: f64, xi: f64, ratio: f64) -> f64 {
    let steps = (LARGE_A - a).ceil();
    let top = a + steps;
    let (rest, gamma_ratio) = near(top, xi);
    let x = 1.0 / (1.0 + ratio);
    // Horner's rule from the last term to the first, over the common denominator Π (a + 1 + k)
    let (mut above, mut below, mut rising) = (0.0, 1.0, 1.0);
    let mut k = steps - 1.0;
    while k >= 0.0 {
        let (numerator, denominator) = (a + 0.5 + k, a + 1.0 + k);
        // s = 1 + (numerator/denominator) x s', where the innermost s' is 0
        above = denominator * below + numerator * x * above;
        below *= denominator;
        rising *= numerator;
        k -= 1.0;
    }
    // R(a)/a = R(a + n)/(a + n) Π(a + 1 + k)/Π(a + 1/2 + k); `below` cancels
    let front = 0.5 * (ratio * x / PI).sqrt() * gamma_ratio / top;
    rest * (-(steps - 0.25) * xi).exp() + front * above / rising
}

/// Γ(a + 1/2)/Γ(a + 1) for any a > 0.
fn gamma_ratio_over_a(a: f64) -> f64 {
    let (mut top, mut lift, mut drop) = (a, 1.0, 1.0);
    while top < LARGE_A {
        lift *= top + 1.0;
        drop *= top + 0.5;
        top += 1.0;
    }
    let scale = 1.0 / (top - 0.25);
    let square = scale * scale;
    let (mut norm, mut pochhammer, mut half) = (1.0, 1.0, 0.5);
    for c in &PSI[1..7] {
        pochhammer *= half * (half + 1.0) * square;
        half += 2.0;
        norm += c * pochhammer;
    }
    lift / (drop * norm * scale.sqrt() * top)
}

/// P(T > t) e^(aξ) for ξ > [`FAR_XI`], by DLMF 8.17.8.
fn far(a: f64, ratio: f64) -> f64 {
    let x = 1.0 / (1.0 + ratio);
    // 1 - x is 1 where the ratio overflows
    let root = (1.0 - x).sqrt();
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 0..MAX_TERMS {
        let n = f64::from(n);
        term *= (a + 0.5 + n) / (a + 1.0 + n) * x;
        sum += term;
        if term <= NEGLIGIBLE * sum {
            break;
        }
    }
    0.5 * root * gamma_ratio_over_a(a) * sum / PI.sqrt()
}

/// P(0 < T <= t) for small t > 0, by DLMF 8.17.8 in 1 - x.
fn central(t: f64, df: f64) -> f64 {
    let (a, ratio) = (0.5 * df, t * t / df);
    let y = ratio / (1.0 + ratio);
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 0..MAX_TERMS {
        let n = f64::from(n);
        term *= (a + 0.5 + n) / (1.5 + n) * y;
        sum += term;
        if term <= NEGLIGIBLE * sum {
            break;
        }
    }
    // Γ(a + 1/2)/Γ(a) √y, without overflow for small df
    let front = gamma_ratio_over_a(a) * a * y.sqrt() / PI.sqrt();
    front * (-a * ratio.ln_1p()).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::special::golden;
    use proptest::prelude::*;

    /// (df above, df up to, allowed error). The error, from e^-aξ, is |ln P| units in the last
    /// place.
    #[test]
    fn the_golden_rows() {
        let both = |t: f64, df: f64| (sf(t, df), log_sf(t, df));
        for (low, high, allowed) in [
            (0.0, 10.0, 5e-14),  // 7e-15
            (10.5, 30.0, 2e-13), // 3e-14
            (31.0, 1e9, 4e-13),  // 8e-14
        ] {
            let worst = golden::worst("student_t", |_, df| low < df && df <= high, both);
            assert!(worst.0 <= allowed && worst.1 <= allowed, "{low}..{high}: {worst:?}");
        }
    }

    /// -log10(2 P(T > t)) by mpmath 1.4.1 with 80 digits, on both sides of t² = 0.5.
    #[test]
    fn two_sided_is_relative_next_to_one() {
        for (t, df, want) in [
            (1e-9, 5.0, 3.297_221_814_921_020_4e-10),
            (1e-2, 0.1, 1.287_984_124_698_040_6e-3),
            (1e-3, 1e8, 3.466_551_170_908_793_2e-4),
            (0.5, 1e6, 0.209_661_916_169_437_98),
            (0.7, 30.0, 0.310_406_639_311_333_97),
            (0.72, 30.0, 0.321_392_847_807_110_62),
            (60.0, 1e8, 783.592_320_548_854_7),
        ] {
            let got = two_sided(t, df).neg_log10;
            // 2e-15, allow 1e-14
            assert!((got / want - 1.0).abs() < 1e-14, "{t} {df}: {got}");
        }
    }

    /// Where two regimes meet, both give the same value. Measured 2e-15; allow 2e-14.
    #[test]
    fn the_regimes_meet() {
        for a in [0.05, 0.5, 3.0, 14.9, 15.0, 15.1, 50.0, 5e3, 5e7] {
            let ratio = FAR_XI.exp_m1();
            let (inside, shift) = if a >= LARGE_A {
                (near(a, FAR_XI).0, 0.25 * FAR_XI)
            } else {
                (raised(a, FAR_XI, ratio), 0.0)
            };
            let outside = far(a, ratio);
            assert!((inside * shift.exp() / outside - 1.0).abs() < 2e-14, "a = {a}");
        }
        for xi in [1e-9, 1e-3, 0.1, 0.9, 1.5] {
            // one step of DLMF 8.17.20 against none
            let (low, high) = (LARGE_A - 1e-13, LARGE_A + 1e-13);
            let stepped = raised(low, xi, xi.exp_m1());
            let direct = near(high, xi).0 * (0.25 * xi).exp();
            assert!((stepped / direct - 1.0).abs() < 2e-14, "ξ = {xi}");
        }
    }

    #[test]
    fn ends() {
        for (t, df) in [(f64::NAN, 3.0), (1.0, f64::NAN), (1.0, 0.0), (1.0, -1.0)] {
            assert!(sf(t, df).is_nan() && log_sf(t, df).is_nan(), "{t} {df}");
            assert!(two_sided(t, df).p.is_nan(), "{t} {df}");
        }
        let inf = f64::INFINITY;
        for df in [0.1, 3.0, 1e8, inf] {
            assert_eq!((sf(inf, df), log_sf(inf, df)), (0.0, -inf), "{df}");
            assert_eq!((sf(-inf, df), log_sf(-inf, df)), (1.0, 0.0), "{df}");
            assert_eq!(log_sf(-inf, df).to_bits(), 0, "-0, {df}");
            assert_eq!(two_sided(0.0, df), Tail { p: 1.0, neg_log10: 0.0 });
            assert_eq!((sf(0.0, df), log_sf(0.0, df)), (0.5, -LN_2), "{df}");
        }
        assert_eq!(sf(2.0, inf).to_bits(), sf(2.0, 1e101).to_bits());
        assert!((sf(2.0, inf) / normal::sf(2.0) - 1.0).abs() < 1e-15);
        // Cauchy distribution: 1/(πt) for large t, even where t² overflows
        for t in [1e9, 1e150, 1e155, 1e200, 1e300] {
            assert!((sf(t, 1.0) * t * PI - 1.0).abs() < 2e-13, "{t}");
        }
    }

    proptest! {
        #[test]
        fn it_falls_and_both_sides_add_to_one(t in -50.0..50.0, log_df in -1.0..8.0) {
            let df = 10_f64.powf(log_df);
            prop_assert!((sf(t, df) + sf(-t, df) - 1.0).abs() <= 2.0 * f64::EPSILON);
            prop_assert!(log_sf(t + 1e-3, df) <= log_sf(t, df));
        }

        /// Closed forms for df = 1 and 2. Measured 1e-15; allow 1e-14.
        #[test]
        fn closed_forms(t in 0.0..1e3) {
            let cauchy = 1_f64.atan2(t) / PI;
            prop_assert!((sf(t, 1.0) / cauchy - 1.0).abs() < 1e-14);
            let root = (2.0 + t * t).sqrt();
            prop_assert!((sf(t, 2.0) * root * (root + t) - 1.0).abs() < 1e-14);
        }

        /// exp(`log_sf`) against `sf`. Measured 4e-14; allow 2e-13.
        #[test]
        fn the_logarithm_is_the_logarithm(t in -5.0..30.0, log_df in 0.0..8.0) {
            let df = 10_f64.powf(log_df);
            prop_assert!((log_sf(t, df).exp() / sf(t, df) - 1.0).abs() < 2e-13);
        }
    }
}
