//! The k-sample Anderson-Darling test for k = 2: do target and reference come from one
//! distribution, whatever it is?  Not the one-sample test against a named distribution.
//!
//! # Symbols
//! j runs over the distinct values of the pooled sample, ascending, l_j values each; M_j and B_j
//! are the numbers of target and of pooled values up to run j, its own run counted half in the
//! midrank version, in full in the right-continuous one.
//!
//! # Formulae (Scholz and Stephens 1987, J. Am. Stat. Assoc. 82, 918)
//! For two samples both terms of the sum over samples hold the same square, so that
//!
//! ```text
//! A² = (N-1)/(N n1 n2) Σ l_j (N M_j - n1 B_j)² / (B_j (N - B_j) - N l_j / 4)      midrank, eq. 7
//! A² = 1/(n1 n2) Σ l_j (N M_j - n1 B_j)² / (B_j (N - B_j)), without the last run  right, eq. 6
//! T  = (A² - 1) / σ_N,  σ_N² from eq. 4
//! ```
//!
//! The double sum g of eq. 4 has a closed form in harmonic numbers H and H² (of order 2), from
//! Σ_k H(n-k)/k = H(n)² - H²(n):  g = H²(N-1) - 2 H(N-1)/N.  So σ_N costs O(1), not O(N).
//!
//! # p-value
//! As N grows A² tends to Σ χ²/(j (j+1)), the limit of the one-sample statistic, whose tail
//! [`super::special::anderson_darling`] gives to full precision at any A².  SciPy interpolates
//! Scholz and Stephens' table in T and caps to [0.001, 0.25]; [`Method::Scipy`] does the same.
//! With many ties this limit is too small by orders of magnitude: [`Method::Auto`] takes the
//! distribution given the ties instead ([`given_ties`]).
//!
//! # Degenerate answers
//! | samples | here | SciPy 1.17 |
//! |---|---|---|
//! | n1 = 0 or n2 = 0 | none (null) | raises |
//! | all values equal | T = NaN, p = 1 | raises |
//! | N < 4 (σ_N undefined) | T = p = NaN | NaN, or raises for N = 2 |
//! | a NaN among the values | NaN | NaN |
//!
//! Cost: O(1) a distinct value, all in integers up to one division; [`runs`] makes that cheaper for
//! many targets of one gene.

pub mod given_ties;
mod runs;

pub use runs::{Scratch, Shared, few_sum, sum};

use super::special::{Tail, anderson_darling};
use super::unknown;
use crate::cast::{real, real_below, real_signed};
use crate::error::Error;
use std::f64::consts::PI;
use std::str::FromStr;

/// How the p-value is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// The distribution of A² given the ties ([`given_ties`]).
    Auto,
    /// The limiting distribution of A² for untied data, however far the tail.
    #[default]
    Asymptotic,
    /// SciPy's quadratic in T, capped to [0.001, 0.25].
    Scipy,
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "auto" => Ok(Self::Auto),
            "asymptotic" => Ok(Self::Asymptotic),
            "scipy" => Ok(Self::Scipy),
            _ => Err(unknown("method", name, &["auto", "asymptotic", "scipy"])),
        }
    }
}

/// What a caller may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Half of a run counts as below it (eq. 7); `false` is the right-continuous version (eq. 6).
    pub midrank: bool,
    pub method: Method,
}

impl Default for Options {
    fn default() -> Self {
        Self { midrank: true, method: Method::Asymptotic }
    }
}

/// One comparison's result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anderson {
    /// T, the normalised statistic.
    pub statistic: f64,
    pub p: Tail,
}

impl Anderson {
    /// The result where a sample holds a NaN.
    pub const NAN: Self = Self { statistic: f64::NAN, p: Tail::NAN };
}

/// The sum of one comparison while it is filled, run by run in ascending order of value.
#[derive(Debug, Clone, Copy)]
pub struct AndersonSum {
    n_target: u64,
    n_reference: u64,
    midrank: bool,
    target_below: u64,
    below: u64,
    sum: f64,
    runs: u64,
}

impl AndersonSum {
    /// An empty sum for samples of these sizes, at most [`super::MAX_CELLS`] together.
    #[must_use]
    pub fn new(n_target: u64, n_reference: u64, midrank: bool) -> Self {
        Self { n_target, n_reference, midrank, target_below: 0, below: 0, sum: 0.0, runs: 0 }
    }

    /// Adds the next larger distinct value: how many target and reference cells have it.
    #[inline]
    pub fn push(&mut self, target: u64, reference: u64) {
        let run = target + reference;
        if run == 0 {
            return;
        }
        // 2M and 2B: with midranks the run's own values count half.
        let (twice_m, twice_b) = if self.midrank {
            (2 * self.target_below + target, 2 * self.below + run)
        } else {
            (2 * (self.target_below + target), 2 * (self.below + run))
        };
        self.add_terms(1, self.term(twice_m, twice_b, run));
        self.target_below += target;
        self.below += run;
    }

    /// The term of one run from its 2 M, 2 B and number of cells.
    #[inline]
    pub(crate) fn term(&self, twice_m: u64, twice_b: u64, run: u64) -> f64 {
        let spread = spread(self.n(), twice_b, run, self.midrank);
        if spread == 0 {
            return 0.0;
        }
        let distance = self.distance(twice_m, twice_b);
        // At most N^2 <= 2^60.
        real_below(run) * (distance * distance / real_below(spread))
    }

    /// Adds the terms of several runs.
    #[inline]
    pub(crate) fn add_terms(&mut self, runs: u64, terms: f64) {
        self.sum += terms;
        self.runs += runs;
    }

    /// N.
    #[inline]
    pub(crate) fn n(&self) -> u64 {
        self.n_target + self.n_reference
    }

    /// n1.
    #[inline]
    pub(crate) fn n_target(&self) -> u64 {
        self.n_target
    }

    /// 2 (N M - n1 B) of a run, from its 2 M and 2 B.
    #[inline]
    pub(crate) fn distance(&self, twice_m: u64, twice_b: u64) -> f64 {
        // |N M - n1 B| <= n1 n2 <= 2^58 for N <= 2^30: doubled, it fits i64.
        real_signed((self.n() * twice_m).cast_signed() - (self.n_target * twice_b).cast_signed())
    }

    /// n1 and n2.
    #[inline]
    pub(crate) fn sizes(&self) -> (u64, u64) {
        (self.n_target, self.n_reference)
    }

    /// A², not normalised.
    pub(crate) fn a_squared(&self) -> f64 {
        let (n1, n2) = (real(self.n_target), real(self.n_reference));
        let n = n1 + n2;
        let scale = if self.midrank { (n - 1.0) / n } else { 1.0 };
        scale * self.sum / (n1 * n2)
    }

    /// The test; `None` where a sample is empty.  [`Method::Auto`] leaves its p-value to
    /// [`given_ties::SharedTies::p_value`]: NaN, unless there is one without the runs.
    ///
    /// # Examples
    /// ```
    /// use pdex::stats::anderson::{AndersonSum, Options};
    /// // x = [2, 5], y = [1, 2, 3]
    /// let mut sum = AndersonSum::new(2, 3, true);
    /// for (x, y) in [(0, 1), (1, 1), (0, 1), (1, 0)] {
    ///     sum.push(x, y);
    /// }
    /// let test = sum.test(&Options::default()).ok_or("empty")?;
    /// // scipy.stats.anderson_ksamp([[2, 5], [1, 2, 3]], variant="midrank").statistic
    /// assert!((test.statistic - -0.498_838_284_240_632_1).abs() < 1e-14);
    /// # Ok::<(), &str>(())
    /// ```
    #[must_use]
    pub fn test(&self, options: &Options) -> Option<Anderson> {
        if self.n_target == 0 || self.n_reference == 0 {
            return None;
        }
        if self.runs == 1 {
            return Some(Anderson { statistic: f64::NAN, p: Tail::from_p(1.0) });
        }
        if self.n_target + self.n_reference < 4 {
            return Some(Anderson::NAN);
        }
        let a_squared = self.a_squared();
        let statistic = (a_squared - 1.0) / deviation(self.n_target, self.n_reference);
        let p = match options.method {
            Method::Auto => Tail::NAN,
            Method::Asymptotic => Tail::one_sided(
                anderson_darling::sf(a_squared),
                anderson_darling::log_sf(a_squared),
            ),
            Method::Scipy => Tail::from_p(interpolated(statistic)),
        };
        Some(Anderson { statistic, p })
    }
}

/// 4 (B (N - B)), less N l for midranks, of a run of l cells; 0 only in the last run of the right
/// version, which that version leaves out, or where all values are equal.
#[inline]
pub(crate) fn spread(n: u64, twice_b: u64, run: u64, midrank: bool) -> u64 {
    twice_b * (2 * n - twice_b) - if midrank { n * run } else { 0 }
}

/// σ_N of A² for k = 2 (eq. 4), N >= 4.
fn deviation(n_target: u64, n_reference: u64) -> f64 {
    let (n1, n2) = (real(n_target), real(n_reference));
    let n = n1 + n2;
    let inverse = 1.0 / n1 + 1.0 / n2; // H of the paper
    let (h, squares) = harmonic(n_target + n_reference - 1);
    let g = squares - 2.0 * h / n;
    let a = (4.0 * g - 6.0) + (10.0 - 6.0 * g) * inverse;
    let b = (2.0 * g - 4.0) * 4.0 + 16.0 * h + (2.0 * g - 14.0 * h - 4.0) * inverse - 8.0 * h
        + 4.0 * g
        - 6.0;
    let c = (6.0 * h + 2.0 * g - 2.0) * 4.0
        + (4.0 * h - 4.0 * g + 6.0) * 2.0
        + (2.0 * h - 6.0) * inverse
        + 4.0 * h;
    let d = (2.0 * h + 6.0) * 4.0 - 8.0 * h;
    let variance = (((a * n + b) * n + c) * n + d) / ((n - 1.0) * (n - 2.0) * (n - 3.0));
    variance.sqrt()
}

/// Σ 1/i and Σ 1/i² for i = 1 ..= m: summed below 64, by Euler and Maclaurin above (2e-17 there).
fn harmonic(m: u64) -> (f64, f64) {
    const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;
    if m < 64 {
        return (1..=m).rev().fold((0.0, 0.0), |(h, squares), i| {
            let term = 1.0 / real(i);
            (h + term, squares + term * term)
        });
    }
    let x = 1.0 / real(m);
    let y = x * x;
    let h =
        real(m).ln() + EULER_GAMMA + x * (0.5 - x * (1.0 / 12.0 - y * (1.0 / 120.0 - y / 252.0)));
    let squares =
        PI * PI / 6.0 - x * (1.0 - x * (0.5 - x * (1.0 / 6.0 - y * (1.0 / 30.0 - y / 42.0))));
    (h, squares)
}

/// SciPy 1.17's p-value: log p is the least-squares quadratic through Scholz and Stephens' table
/// for m = 1, between its ends.  Coefficients from the table's normal equations in 40 digits.
fn interpolated(statistic: f64) -> f64 {
    if statistic < 0.325 {
        0.25
    } else if statistic > 6.546 {
        0.001
    } else {
        const Q: [f64; 3] =
            [0.018_198_094_574_111_26, -1.008_226_564_465_250_6, -1.077_770_279_820_487_3];
        ((Q[0] * statistic + Q[1]) * statistic + Q[2]).exp()
    }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_form_of_sigma_equals_the_double_sum() {
        for (n1, n2) in [(2u64, 2u64), (3, 5), (10, 70), (31, 34), (400, 900)] {
            let n = n1 + n2;
            let mut g = 0.0;
            for i in 1..=n - 2 {
                for j in i + 1..n {
                    g += 1.0 / ((n - i) as f64 * j as f64);
                }
            }
            let h: f64 = (1..n).map(|i| 1.0 / i as f64).sum();
            let (h_closed, squares) = harmonic(n - 1);
            assert!((h_closed / h - 1.0).abs() < 1e-14, "{n1} {n2}");
            // Measured 6e-15 (the sum's own rounding); allow 1e-13.
            let g_closed = squares - 2.0 * h_closed / n as f64;
            assert!((g_closed / g - 1.0).abs() < 1e-13, "{n1} {n2}: {g_closed} {g}");
        }
    }

    #[test]
    fn the_harmonic_branches_meet() {
        // The sum to 63 plus 1/64 against the expansion at 64, relative: measured 2e-16.
        let (h, squares) = harmonic(63);
        let (h64, squares64) = harmonic(64);
        assert!(((h + 1.0 / 64.0) / h64 - 1.0).abs() < 1e-15);
        assert!(((squares + 1.0 / 4096.0) / squares64 - 1.0).abs() < 1e-15);
    }

    #[test]
    fn degenerate_samples_follow_the_header() {
        let test = |n1, n2, runs: &[(u64, u64)]| {
            let mut sum = AndersonSum::new(n1, n2, true);
            for &(x, y) in runs {
                sum.push(x, y);
            }
            sum.test(&Options::default())
        };
        assert_eq!(test(0, 3, &[(0, 3)]), None);
        let equal = test(3, 5, &[(3, 5)]).unwrap();
        assert!(equal.statistic.is_nan() && equal.p.p == 1.0 && equal.p.neg_log10 == 0.0);
        let small = test(1, 2, &[(1, 1), (0, 1)]).unwrap();
        assert!(small.statistic.is_nan() && small.p.p.is_nan());
    }

    #[test]
    fn ten_million_cells_stay_finite_and_positive() {
        // Scale: the largest integers of the sum, all target cells above all reference ones.
        for midrank in [true, false] {
            let mut sum = AndersonSum::new(1 << 29, 1 << 29, midrank);
            sum.push(0, 1 << 29);
            sum.push(1 << 29, 0);
            let test = sum.test(&Options::default()).unwrap();
            assert!(test.statistic > 1e8 && test.p.neg_log10 > 1e7, "{test:?}");
        }
    }
}
