//! Upper tail of the limiting distribution of the one-sample Anderson-Darling statistic (case 0: no
//! estimated parameters), A² = `Σ_j Z_j²/(j (j + 1))`, and the logarithm of that tail. The k-sample
//! statistic is a different one, but for k = 2 it has this limit.
//!
//! Symbols: `u_j` = j (j + 1)/2 = 1, 3, 6, 10, ... are the poles of the moment generating function;
//! D(u) = `Π_j (1 - u/u_j)` = -cos(π/2 √(1 + 8u))/(2πu).
//!
//! **Upper tail**: Smirnov's formula for a weighted sum of squares (1937; Slepian 1958, Bell Syst.
//! Tech. J. 37, 163), which keeps its relative accuracy however small the tail is:
//!
//! ```text
//! P(A² > x) = 1/π Σ_k (-1)^(k+1) ∫ from u_(2k-1) to u_2k of e^(-xu) / (u √|D(u)|) du
//! ```
//!
//! The substitution u = mid - half cos θ with the midpoint rule in θ (Gauss-Chebyshev quadrature)
//! removes the square-root singularities at both ends. For x > 64, u = 1 + w²/x with the
//! trapezoidal rule; what is left out is smaller by a factor of e^-2x.
//!
//! **Lower tail**: the series of Anderson and Darling (1954, J. Am. Stat. Assoc. 49, 765), which
//! Marsaglia and Marsaglia (2004, J. Stat. Softw. 9(2)) sum in `adinf`; with r = 4j + 1:
//!
//! ```text
//! P(A² <= x) = 4/√(πx) Σ_j C(-1/2, j) e^(-r²π²/8x)
//!              ∫ over v > 0 of e^(-v² + x/(8 (1 + 8xv²/(π²r²)))) dv
//! ```
//!
//! Departures: neither formula is evaluated at each call. √x e^x P(A² > x) is a smooth function of
//! s = 1/x in (0, 1], and √x e^(π²/8x) P(A² <= x) is one of x in (0, 1]. Each is interpolated once,
//! at Chebyshev nodes, by one polynomial on each of several intervals ("cells") of equal width.
//!
//! Cost: a polynomial of degree 15, evaluated in two chains, one square root, and one or two calls
//! of exp or ln. The first call takes an extra millisecond.
//!
//! Largest relative error against 50-digit values (`tests/golden/special.csv`, x from 5e-4 to 1e5):
//!
//! | x | sf | `log_sf` |
//! |---|---|---|
//! | up to 0.01 | 1e-16 | 8e-14 |
//! | up to 1 | 3e-15 | 2e-14 |
//! | up to 1e5 | 5e-15 | 2e-15 |
//!
//! Special values:
//!
//! | x | sf | `log_sf` |
//! |---|---|---|
//! | NaN | NaN | NaN |
//! | <= 0, -inf | 1 | 0 |
//! | < 0.0016 | 1 | 0 (the lower tail is below the smallest f64) |
//! | inf | 0 | -inf |

use crate::cast::real_length;
use std::f64::consts::PI;
use std::sync::LazyLock;

/// Up to this x the lower tail is evaluated, above it the upper tail (1/x <= 1).
const SPLIT: f64 = 1.0;
const DEGREE: usize = 16;
const LOWER_CELLS: usize = 8;
const UPPER_CELLS: usize = 16;
/// Above this x, Smirnov's first interval is evaluated as a Gaussian integral.
const FAR: f64 = 64.0;

/// Coefficients of a polynomial in y, which runs from -1 to 1 across one cell; lowest power first.
type Cell = [f64; DEGREE];

static LOWER: LazyLock<[Cell; LOWER_CELLS]> = LazyLock::new(|| cells(scaled_cdf));
static UPPER: LazyLock<[Cell; UPPER_CELLS]> = LazyLock::new(|| cells(|s| scaled_sf(1.0 / s)));

/// P(A² > x).
///
/// # Examples
///
/// ```
/// use pdex::stats::special::anderson_darling::sf;
///
/// // Marsaglia and Marsaglia's 95 % point
/// assert!((sf(2.492367160049410) - 0.05).abs() < 1e-15);
/// assert_eq!(sf(0.0), 1.0);
/// ```
#[must_use]
pub fn sf(x: f64) -> f64 {
    if x <= 0.0 {
        1.0
    } else if x <= SPLIT {
        1.0 - cdf(x)
    } else {
        upper(x) * (-x).exp()
    }
}

/// ln P(A² > x); accurate also where `sf` underflows to 0 or rounds to 1.
///
/// # Examples
///
/// ```
/// use pdex::stats::special::anderson_darling::{log_sf, sf};
///
/// assert!((log_sf(2.0) - sf(2.0).ln()).abs() < 1e-15);
/// assert!((log_sf(1000.0) + 1003.4771304117661).abs() < 1e-12);
/// ```
#[must_use]
pub fn log_sf(x: f64) -> f64 {
    if x <= 0.0 {
        0.0
    } else if x <= SPLIT {
        // adding 0 turns the -0 of log1p(-0) into 0
        (-cdf(x)).ln_1p() + 0.0
    } else if x < f64::INFINITY {
        upper(x).ln() - x
    } else {
        // inf gives -inf, NaN gives NaN
        -x
    }
}

/// P(A² <= x) for 0 < x <= [`SPLIT`].
fn cdf(x: f64) -> f64 {
    evaluate(&LOWER, x) / x.sqrt() * (-PI * PI / 8.0 / x).exp()
}

/// P(A² > x) e^x for x > [`SPLIT`].
fn upper(x: f64) -> f64 {
    let s = 1.0 / x;
    evaluate(&UPPER, s) * s.sqrt()
}

/// Evaluates, at s in [0, 1], the polynomial of the cell that contains s. NaN gives NaN.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn evaluate<const N: usize>(cells: &[Cell; N], s: f64) -> f64 {
    let scaled = s * real_length(N);
    // casts from float saturate, and NaN becomes 0
    let i = (scaled as usize).min(N - 1);
    let y = 2.0 * (scaled - real_length(i)) - 1.0;
    let square = y * y;
    // even and odd powers separately: two short dependency chains instead of one long one
    let (mut even, mut odd) = (0.0, 0.0);
    for pair in cells[i].chunks_exact(2).rev() {
        even = even * square + pair[0];
        odd = odd * square + pair[1];
    }
    even + y * odd
}

/// Interpolates f on N cells of equal width that cover [0, 1].
fn cells<const N: usize>(f: impl Fn(f64) -> f64) -> [Cell; N] {
    std::array::from_fn(|i| fit(|y| f((real_length(i) + 0.5 * (y + 1.0)) / real_length(N))))
}

/// Interpolates f on [-1, 1] at the Chebyshev nodes; returns the coefficients of the powers.
fn fit(f: impl Fn(f64) -> f64) -> Cell {
    let angle = |k: usize| PI * (real_length(k) + 0.5) / real_length(DEGREE);
    let values: [f64; DEGREE] = std::array::from_fn(|k| f(angle(k).cos()));
    let (mut powers, mut before, mut now) = ([0.0; DEGREE], [0.0; DEGREE], [0.0; DEGREE]);
    now[0] = 1.0;
    for j in 0..DEGREE {
        let terms = values.iter().enumerate();
        let sum: f64 = terms.map(|(k, v)| v * (real_length(j) * angle(k)).cos()).sum();
        let c = sum * if j == 0 { 1.0 } else { 2.0 } / real_length(DEGREE);
        for (power, t) in powers.iter_mut().zip(now) {
            *power += c * t;
        }
        // T_(j+1) = 2 y T_j - T_(j-1), T_1 = y
        let factor = if j == 0 { 1.0 } else { 2.0 };
        let next = std::array::from_fn(|i| {
            let shifted = if i == 0 { 0.0 } else { now[i - 1] };
            factor * shifted - before[i]
        });
        (before, now) = (now, next);
    }
    powers
}

/// √x e^(π²/8x) P(A² <= x) for x <= 1. The next term of the series, j = 2, has the weight e^(-98).
fn scaled_cdf(x: f64) -> f64 {
    const STEP: f64 = 1.0 / 16.0;
    let series = [(1.0, 1.0), (5.0, -0.5)].map(|(r, binomial): (f64, f64)| {
        let weight = binomial * ((1.0 - r * r) * PI * PI / 8.0 / x).exp();
        let smooth = |v: f64| {
            let w = v / (PI * r);
            (0.125 * x / (1.0 + 8.0 * x * w * w) - v * v).exp()
        };
        let inner: f64 = (1..104).map(|i| smooth(STEP * f64::from(i))).sum();
        weight * STEP * (0.5 * smooth(0.0) + inner)
    });
    4.0 / PI.sqrt() * (series[0] + series[1])
}

/// √x e^x P(A² > x), x >= 1.
fn scaled_sf(x: f64) -> f64 {
    const NODES: u32 = 96;
    if x > FAR {
        return far_scaled_sf(x);
    }
    let (mut total, mut k) = (0.0, 1.0);
    loop {
        let low = (2.0 * k - 1.0) * k;
        let sum: f64 = (0..NODES)
            .map(|i| {
                // distances to u_(2k-1) and u_2k, which are 2k apart
                let (sin, cos) = (0.5 * PI * (f64::from(i) + 0.5) / f64::from(NODES)).sin_cos();
                let (above, below) = (2.0 * k * sin * sin, 2.0 * k * cos * cos);
                (-x * (low - 1.0 + above)).exp() * weight(k, above, below) * 2.0 * k * sin * cos
            })
            .sum();
        let part = x.sqrt() * sum / f64::from(NODES);
        total += if k % 2.0 == 0.0 { -part } else { part };
        if part <= 1e-18 * total {
            return total;
        }
        k += 1.0;
    }
}

/// [`scaled_sf`] for large x: 2/π ∫ over w > 0 of e^(-w²) √(v)/(u √|D(u)|), v = w²/x, u = 1 + v.
fn far_scaled_sf(x: f64) -> f64 {
    const STEP: f64 = 0.25;
    let smooth = |w: f64| {
        let v = w * w / x;
        (-w * w).exp() * v.sqrt() * weight(1.0, v, 2.0 - v)
    };
    let inner: f64 = (1..=26).map(|i| smooth(STEP * f64::from(i))).sum();
    // at v = 0: |D| = v D'(1), D'(1) = 1/3
    2.0 / PI * STEP * (0.5 * 3_f64.sqrt() + inner)
}

/// 1/(u √|D(u)|) for u between the poles u_(2k-1) and u_2k, `above` the former and `below` the
/// latter. The cosine in D(u) is computed as a sine of the distance to its nearer zero, which keeps
/// full precision close to that zero.
fn weight(k: f64, above: f64, below: f64) -> f64 {
    let u = (2.0 * k - 1.0) * k + above;
    let root = (1.0 + 8.0 * u).sqrt();
    let (distance, odd) =
        if above < below { (above, 4.0 * k - 1.0) } else { (below, 4.0 * k + 1.0) };
    // √(1 + 8u) minus its value at the zero, which is an odd integer
    let sine = (4.0 * PI * distance / (root + odd)).sin();
    (2.0 * PI / (u * sine)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::special::golden;
    use proptest::prelude::*;

    #[test]
    fn the_golden_rows() {
        let both = |x: f64, _: f64| (sf(x), log_sf(x));
        for (low, high, allowed) in [
            (0.0, 0.01, 4e-13), // 8e-14: e^(-π²/8x), 700 units in the last place
            (0.01, 1.0, 1e-13), // 2e-14, for the same reason
            (1.0, 10.0, 2e-14), // 5e-15
            (10.0, 1e6, 2e-14), // 3e-15
        ] {
            let worst = golden::worst("anderson_darling", |x, _| low < x && x <= high, both);
            assert!(worst.0 <= allowed && worst.1 <= allowed, "{low}..{high}: {worst:?}");
        }
    }

    /// The polynomials against the formulae that they interpolate. Measured 3e-15; allow 2e-14.
    #[test]
    fn the_cells_equal_their_naive_twins() {
        for i in 1..1000 {
            let s = f64::from(i) / 1000.0;
            let (fast, naive) = (evaluate(&LOWER, s), scaled_cdf(s));
            assert!((fast / naive - 1.0).abs() < 2e-14, "lower {s}: {fast} {naive}");
            let (fast, naive) = (evaluate(&UPPER, s), scaled_sf(1.0 / s));
            assert!((fast / naive - 1.0).abs() < 2e-14, "upper {s}: {fast} {naive}");
        }
    }

    #[test]
    fn the_two_formulae_add_to_one() {
        for x in [0.75, 0.9, 1.0, 1.3, 1.6, 2.0] {
            let lower = scaled_cdf(x) / x.sqrt() * (-PI * PI / 8.0 / x).exp();
            let upper = scaled_sf(x) / x.sqrt() * (-x).exp();
            // 3e-16, allow 5e-15
            assert!((lower + upper - 1.0).abs() < 5e-15, "{x}: {lower} {upper}");
        }
    }

    #[test]
    fn the_gaussian_integral_meets_the_intervals() {
        let (near, far) = (scaled_sf(FAR), far_scaled_sf(FAR));
        // 1e-15, allow 1e-14
        assert!((near / far - 1.0).abs() < 1e-14, "{near} {far}");
    }

    #[test]
    fn ends() {
        assert!(sf(f64::NAN).is_nan() && log_sf(f64::NAN).is_nan());
        for x in [f64::NEG_INFINITY, -1.0, 0.0, 1e-300, 1e-9] {
            assert_eq!((sf(x), log_sf(x).to_bits()), (1.0, 0), "{x}");
        }
        assert_eq!((sf(f64::INFINITY), log_sf(f64::INFINITY)), (0.0, f64::NEG_INFINITY));
        assert!(log_sf(1e300) <= -1e300);
    }

    proptest! {
        #[test]
        fn it_falls(x in 0.02..2e3, step in 1e-4..1.0) {
            prop_assert!(log_sf(x + step) < log_sf(x));
            prop_assert!(sf(x + step) <= sf(x));
        }

        /// exp(`log_sf`) against `sf`. Measured 2e-14; allow 2e-13.
        #[test]
        fn the_logarithm_is_the_logarithm(x in 0.02..690.0) {
            prop_assert!((log_sf(x).exp() / sf(x) - 1.0).abs() < 2e-13);
        }
    }
}
