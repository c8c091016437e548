//! The logarithms of a factorial and of a binomial coefficient.
//!
//! ln n! is that of the product below 16, which is exact, and Stirling's series with five terms above,
//! whose next term is below 1e-17 there (NIST Digital Library of Mathematical Functions, 5.11.1).
//! Below 1,024 both come from a table.

use crate::cast::{length, whole};
use std::f64::consts::TAU;
use std::sync::LazyLock;

/// Below it logarithms are tabulated.
const TABULATED: u32 = 1024;

static TABLE: LazyLock<Vec<f64>> = LazyLock::new(|| (0..TABULATED).map(computed).collect());

fn computed(n: u32) -> f64 {
    if n < 16 { (2..=n).map(f64::from).product::<f64>().ln() } else { stirling(n.into()) }
}

fn stirling(n: f64) -> f64 {
    (n + 0.5) * n.ln() - n + 0.5 * TAU.ln() + series(n)
}

/// The error of Stirling's formula for n of at least 16.
fn series(n: f64) -> f64 {
    let x = 1.0 / n;
    let y = x * x;
    x * (1.0 / 12.0 - y * (1.0 / 360.0 - y * (1.0 / 1260.0 - y * (1.0 / 1680.0 - y / 1188.0))))
}

/// ln n! - (n ln n - n + ln(2πn)/2), the error of Stirling's formula, for an integer n > 0: a table
/// (from mpmath) up to 15, then the series.
#[must_use]
pub fn stirling_error(n: f64) -> f64 {
    const FIRST: [f64; 15] = [
        0.081061466795327258,
        0.041340695955409294,
        0.027677925684998339,
        0.020790672103765093,
        0.016644691189821192,
        0.013876128823070748,
        0.01189670994589177,
        0.010411265261972096,
        0.0092554621827127329,
        0.0083305634333628713,
        0.0075736754879518408,
        0.0069428401072095299,
        0.0064089941880042071,
        0.0059513701127588477,
        0.0055547335519628014,
    ];
    if n < 16.0 { FIRST[length(whole(n)) - 1] } else { series(n) }
}

/// ln n! of a whole number n.
///
/// # Examples
/// ```
/// use pdex::stats::special::ln_factorial;
/// assert_eq!(ln_factorial(5.0), 120.0f64.ln());
/// ```
#[must_use]
#[inline]
pub fn ln_factorial(n: f64) -> f64 {
    debug_assert!(n >= 0.0 && n.fract() == 0.0, "a whole number");
    if n < f64::from(TABULATED) {
        return TABLE.get(length(whole(n))).copied().unwrap_or(f64::NAN);
    }
    stirling(n)
}

/// ln C(n, k) of whole numbers k ≤ n.
///
/// # Examples
/// ```
/// use pdex::stats::special::ln_choose;
/// assert!((ln_choose(5.0, 2.0) - 10.0f64.ln()).abs() < 1e-15);
/// ```
#[must_use]
#[inline]
pub fn ln_choose(n: f64, k: f64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_sum_of_logarithms() {
        // Measured 2e-15 relative, mostly the rounding of the sum itself; allow 1e-14.
        let mut sum = 0.0;
        for i in 1..3000 {
            let n = f64::from(i);
            sum += n.ln();
            assert!((ln_factorial(n) - sum).abs() <= 1e-14 * sum.max(1.0), "{n}");
        }
        assert_eq!((ln_factorial(0.0), ln_factorial(1.0)), (0.0, 0.0));
    }

    #[test]
    fn the_branches_meet() {
        for n in [15.0, 1023.0f64] {
            let step = ln_factorial(n + 1.0) - ln_factorial(n);
            // The rounding of ln 1023! = 6067 is 9e-13.
            assert!((step - (n + 1.0).ln()).abs() < 2e-12, "{n}");
        }
        // mpmath.loggamma(10**9 + 1)
        assert!((ln_factorial(1e9) / 19_723_265_848.226_982 - 1.0).abs() < 1e-15);
    }
}
