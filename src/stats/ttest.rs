//! The t-test of two independent samples: Student's with a pooled variance, and Welch's.
//!
//! # Hypothesis
//! The two means are equal.
//!
//! # Formulae
//! With v the variances (ddof = 1):
//!
//! ```text
//! Student  t = (mean x - mean y) / sqrt(v (1/n1 + 1/n2)),  v = ((n1-1) v1 + (n2-1) v2) / df,  df = N - 2
//! Welch    t = (mean x - mean y) / sqrt(v1/n1 + v2/n2),
//!          df = (v1/n1 + v2/n2)² / ((v1/n1)²/(n1-1) + (v2/n2)²/(n2-1))      (Satterthwaite 1946, eq. 17)
//! ```
//!
//! # Degenerate answers
//! | samples | here | SciPy 1.17 |
//! |---|---|---|
//! | n1 = 0 or n2 = 0 | none (null) | NaN |
//! | n1 = 1 or n2 = 1 | NaN | Student: the other sample's variance; Welch: NaN |
//! | no variance, means differ | t = ±inf, p = 0, neg_log10_p = inf | the same |
//! | no variance, means equal | NaN | NaN |
//! | NaN or infinite values | NaN | NaN |
//! | finite values, squares or fourth powers beyond f64 | right | df = 1 (Welch), or t = 0 |
//!
//! Such squares are taken in a unit of a power of two, which changes no digit of t, df and p.
//!
//! # The permutation distribution
//! [`Method::Permutation`] takes Student's t over all C(N, n1) choices of the target's cells among the
//! pooled ones, whatever the distribution of the values.  The pooled sum of squares is the same for every
//! choice, so that t grows with the target's sum T:
//!
//! ```text
//! z = T / √Var T = t √((N - 1) / (N - 2 + t²)),     Var T = n1 n2 / (N (N - 1)) Σ (x - mean)²
//! ```
//!
//! The tails of T are those of [`super::conditional`], with the values as scores.  Two-sided p-values are
//! twice the smaller tail.  For |z| below [`conditional::NEAR`] Student's curve stays, and passes over to
//! the tail up to [`conditional::FAR`], so that p falls as |t| grows.  Small samples with few outcomes are
//! summed over all of them.  Welch's t does not grow with T: [`Options::check`] refuses it.
//!
//! Of samples without variance whose means differ, p is that of the one choice that separates them.
//!
//! Cost: O(1) from the moments; O(nodes) for a tail.

use super::conditional::{self, SampleValues, ValueTails};
use super::moments::Moments;
use super::special::{Tail, student_t};
use super::{Alternative, unknown};
use crate::cast::real;
use crate::error::{Error, ErrorKind, Result};
use std::str::FromStr;

/// How the p-value is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// Student's t distribution.
    #[default]
    Student,
    /// All ways to choose the target's cells among the pooled ones.
    Permutation,
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "student" => Ok(Self::Student),
            "permutation" => Ok(Self::Permutation),
            _ => Err(unknown("method", name, &["student", "permutation"])),
        }
    }
}

/// What a caller may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub alternative: Alternative,
    pub variance: Variance,
    pub method: Method,
}

impl Options {
    /// The same options.
    ///
    /// # Errors
    /// [`ErrorKind::PermutationOfWelch`].
    pub fn check(self) -> Result<Self> {
        if self.method == Method::Permutation && self.variance != Variance::Pooled {
            return Err(ErrorKind::PermutationOfWelch.into());
        }
        Ok(self)
    }
}

/// What stands for the variance of the difference of the two means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Variance {
    /// Student's: one variance for both samples.
    #[default]
    Pooled,
    /// Welch's: a variance for each.
    Separate,
    /// Welch's as if the reference had n1 values, as scanpy's `t-test_overestim_var` has it: a
    /// larger variance, and fewer degrees of freedom.
    Overestimated,
}

impl Variance {
    /// Student's where `equal_var`, else Welch's.
    #[must_use]
    pub fn of(equal_var: bool) -> Self {
        if equal_var { Self::Pooled } else { Self::Separate }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            alternative: Alternative::TwoSided,
            variance: Variance::Pooled,
            method: Method::Student,
        }
    }
}

/// One comparison's result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TTest {
    pub statistic: f64,
    pub p: Tail,
    /// Degrees of freedom.
    pub df: f64,
}

impl TTest {
    /// The result where it is undefined.
    pub const NAN: Self = Self { statistic: f64::NAN, p: Tail::NAN, df: f64::NAN };
}

/// The test of `target` against `reference`; `None` where a sample is empty.
///
/// # Examples
/// ```
/// use pdex::stats::{moments::Moments, ttest::{Options, ttest}};
/// let (x, y) = (Moments::of(&[3.0, 4.0, 5.0], 0), Moments::of(&[1.0, 2.0, 3.0], 0));
/// let test = ttest(&x, &y, &Options::default()).ok_or("empty")?;
/// // scipy.stats.ttest_ind([3, 4, 5], [1, 2, 3])
/// assert!((test.statistic - 2.449_489_742_783_178).abs() < 1e-15);
/// assert!((test.p.p - 0.070_483_996_910_219_9).abs() < 1e-15);
/// assert_eq!(test.df, 4.0);
/// # Ok::<(), &str>(())
/// ```
#[must_use]
pub fn ttest(target: &Moments, reference: &Moments, options: &Options) -> Option<TTest> {
    if target.n == 0 || reference.n == 0 {
        return None;
    }
    if target.n < 2 || reference.n < 2 {
        return Some(TTest::NAN);
    }
    let unit = target.test_unit(reference);
    let (target, reference) = (&target.in_units(unit), &reference.in_units(unit));
    let n1 = real(target.n);
    let overestimated = options.variance == Variance::Overestimated;
    let n2 = if overestimated { n1 } else { real(reference.n) };
    let (square, df) = if options.variance == Variance::Pooled {
        let df = n1 + n2 - 2.0;
        ((target.m2() + reference.m2()) / df * (1.0 / n1 + 1.0 / n2), df)
    } else {
        let (v1, v2) = (target.variance() / n1, reference.variance() / n2);
        let df = (v1 + v2) * (v1 + v2) / (v1 * v1 / (n1 - 1.0) + v2 * v2 / (n2 - 1.0));
        // Without any variance the limit of df is undefined and t is infinite: any number does.
        (v1 + v2, if df.is_nan() { 1.0 } else { df })
    };
    let statistic = target.mean_difference(reference) / square.sqrt();
    if statistic.is_nan() {
        return Some(TTest { df, ..TTest::NAN });
    }
    Some(TTest { statistic, p: tail(statistic, df, options.alternative), df })
}

/// Pooled samples up to this size are summed over all outcomes where these are few, whatever t.
const SMALL: f64 = 40.0;

impl TTest {
    /// T in standard deviations; the statistic is not NaN.
    fn z(&self) -> f64 {
        // df = N - 2.  t may be infinite.
        let square = self.statistic * self.statistic;
        ((self.df + 1.0) / (self.df / square + 1.0)).sqrt().copysign(self.statistic)
    }

    /// True if [`Method::Permutation`] needs the values to find the p-value.
    #[must_use]
    pub fn needs_values(&self, options: &Options) -> bool {
        let z = self.z();
        let small = self.df + 2.0 <= SMALL;
        let beyond = z.abs() > conditional::NEAR
            && !conditional::points_away(self.statistic, options.alternative);
        options.method == Method::Permutation && !z.is_nan() && (small || beyond)
    }

    /// The p-value over all choices of the target's cells, where [`TTest::needs_values`].
    ///
    /// `tails` holds the target's values; `shared` those of what it is compared with, the target's
    /// among them if `pooled`.
    #[must_use]
    pub fn permuted(
        &self,
        options: &Options,
        (shared, pooled): (&SampleValues, bool),
        tails: &mut ValueTails,
    ) -> Tail {
        let Options { alternative, .. } = *options;
        if self.df + 2.0 <= SMALL
            && let Some(sums) = tails.few(shared, pooled)
        {
            return conditional::of_tails(sums, alternative);
        }
        let z = self.z();
        if z.abs() <= conditional::NEAR || conditional::points_away(z, alternative) {
            return self.p;
        }
        let ln_p = tails.best(shared, pooled, z > 0.0) + conditional::ln_sides(alternative);
        conditional::joined(z.abs(), || self.p, ln_p)
    }
}

fn tail(t: f64, df: f64, alternative: Alternative) -> Tail {
    let towards = match alternative {
        Alternative::TwoSided => t.abs(),
        Alternative::Greater => t,
        Alternative::Less => -t,
    };
    match alternative {
        Alternative::TwoSided => student_t::two_sided(towards, df),
        _ => Tail::one_sided(student_t::sf(towards, df), student_t::log_sf(towards, df)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(x: &[f64], y: &[f64], unit: f64, variance: Variance) -> TTest {
        let of =
            |values: &[f64]| Moments::of(&values.iter().map(|v| v * unit).collect::<Vec<f64>>(), 0);
        let options = Options { variance, ..Options::default() };
        ttest(&of(x), &of(y), &options).unwrap()
    }

    const X: [f64; 4] = [1.0, 2.0, 3.0, 4.5];
    const Y: [f64; 4] = [4.0, 5.0, 6.0, 7.25];

    /// scipy 1.17.1: ttest_ind(X * unit, Y * unit) at 1e150 gives t and p to 15 digits, and t to 4 at
    /// 1e-160; ttest_ind(X, Y, equal_var=False) the last row.
    #[test]
    fn equals_scipy_however_large_the_values() {
        for unit in [1.0, 1e80, 1e140, 1e150, 1e160, 1e300, 1e-80, 1e-150, 1e-160, 1e-300] {
            let pooled = test(&X, &Y, unit, Variance::Pooled);
            // Measured 4e-16; allow 1e-14.
            assert!((pooled.statistic / -2.879_950_979_974_976 - 1.0).abs() < 1e-14, "{unit}");
            assert!((pooled.p.p / 0.028_059_535_516_988_58 - 1.0).abs() < 1e-14, "{unit}");
            let welch = test(&X, &Y, unit, Variance::Separate);
            assert!((welch.statistic / -2.879_950_979_974_976 - 1.0).abs() < 1e-14, "{unit}");
            assert!((welch.df / WELCH.0 - 1.0).abs() < 1e-14, "{unit}: {}", welch.df);
            assert!((welch.p.p / WELCH.1 - 1.0).abs() < 1e-14, "{unit}: {}", welch.p.p);
        }
    }

    const WELCH: (f64, f64) = (5.969618951141589, 0.028220751477298665);

    /// A power of two changes no bit of any result.
    #[test]
    fn a_power_of_two_changes_no_bit() {
        for variance in [Variance::Pooled, Variance::Separate, Variance::Overestimated] {
            let want = test(&X, &Y, 1.0, variance);
            for e in (-1022..=1020).step_by(3) {
                assert_eq!(test(&X, &Y, 2f64.powi(e), variance), want, "2^{e}");
            }
        }
    }

    /// Samples of sizes far apart: the smaller adds nothing.
    #[test]
    fn units_may_differ() {
        let of = |values: &[f64]| Moments::of(values, 0);
        let large = of(&[1e200, 2e200, 4e200]);
        let options = Options { variance: Variance::Separate, ..Options::default() };
        let small = ttest(&large, &of(&[1e-200, 3e-200]), &options).unwrap();
        let zero = ttest(&large, &of(&[0.0, 0.0]), &options).unwrap();
        assert_eq!(small, zero);
        // mean 7/3 over sqrt(7/3 / 3): t = √7, df = 2.
        assert!((small.statistic - 7f64.sqrt()).abs() < 1e-14 && small.df == 2.0, "{small:?}");
    }
}
