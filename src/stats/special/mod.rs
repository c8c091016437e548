//! Special functions: the upper tails that turn a statistic into a p-value, and their logarithms.
//!
//! | module | distribution | argument |
//! |---|---|---|
//! | [`normal`] | standard normal | z |
//! | [`student_t`] | Student's t with real degrees of freedom | t, df |
//! | [`anderson_darling`] | limit of the one-sample Anderson-Darling statistic (case 0) | A² |
//!
//! Each of these modules has `sf`, the upper tail P(X > x), and `log_sf`, its *natural* logarithm,
//! which keeps its relative accuracy where `sf` underflows to 0 or rounds to 1. There are no lower
//! tails: for the symmetric distributions, P(X <= x) is `sf(-x)`.
//!
//! [`elementary`] has exp and log functions that vectorize; [`ln_factorial`] and [`ln_choose`] are
//! ln n! and ln C(n, k).
//!
//! The golden values of the tests come from `tests/golden/special.py` (mpmath, 50 digits). `statrs`
//! is used only as an oracle in tests. Against the golden values its normal tail is off by 1e-10
//! and its Student tail by up to 8e-5; the functions here are off by at most 1e-13.
//!
//! Degenerate answers of [`Tail`]:
//!
//! | case | p | `neg_log10` |
//! |---|---|---|
//! | either input NaN | NaN | NaN |
//! | p above 1 (a doubled tail below the centre) | 1 | 0, never -0 |
//! | p underflows | 0 | finite if `ln_p` is |
//! | `ln_p` = -inf | 0 | inf |
//!
//! IMPORTS std, `crate::cast`.

pub mod anderson_darling;
pub mod elementary;
mod factorial;
pub mod normal;
pub mod student_t;

#[cfg(any(test, feature = "testing"))]
pub use factorial::ln_factorial;
pub use factorial::{ln_choose, stirling_error};

use std::f64::consts::{LN_2, LOG10_E};

/// A p-value and its negative decimal logarithm, which does not underflow.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Tail {
    /// The p-value, in [0, 1]; 0 if it is below the smallest f64.
    pub p: f64,
    /// -log10 of the p-value, >= 0; accurate to rounding even where `p` is 0.
    pub neg_log10: f64,
}

impl Tail {
    /// The result for undefined data: both fields NaN.
    pub const NAN: Self = Self { p: f64::NAN, neg_log10: f64::NAN };

    /// From a p-value and its natural logarithm, computed separately. p is clamped to 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use pdex::stats::special::Tail;
    ///
    /// let tail = Tail::new(0.0, -2302.585092994046);
    /// assert_eq!(tail.p, 0.0);
    /// assert!((tail.neg_log10 - 1000.0).abs() < 1e-9);
    /// ```
    #[must_use]
    pub fn new(p: f64, ln_p: f64) -> Self {
        if p.is_nan() || ln_p.is_nan() {
            return Self::NAN;
        }
        if ln_p >= 0.0 {
            return Self { p: 1.0, neg_log10: 0.0 };
        }
        Self { p: p.min(1.0), neg_log10: -ln_p * LOG10_E }
    }

    /// From the natural logarithm of the p-value alone; p is off by about `|ln_p|` units in the
    /// last place.
    ///
    /// # Examples
    ///
    /// ```
    /// use pdex::stats::special::Tail;
    ///
    /// assert_eq!(Tail::from_log(0.0), Tail { p: 1.0, neg_log10: 0.0 });
    /// ```
    #[must_use]
    pub fn from_log(ln_p: f64) -> Self {
        Self::new(ln_p.exp(), ln_p)
    }

    /// From a p-value that cannot underflow (an enumeration, a table).
    ///
    /// # Examples
    ///
    /// ```
    /// use pdex::stats::special::Tail;
    ///
    /// assert!((Tail::from_p(0.001).neg_log10 - 3.0).abs() < 1e-15);
    /// assert_eq!(Tail::from_p(1.0), Tail { p: 1.0, neg_log10: 0.0 });
    /// ```
    #[must_use]
    pub fn from_p(p: f64) -> Self {
        Self::new(p, p.ln())
    }

    /// p = sf: the alternative "greater", or "less" for the negated statistic.
    ///
    /// # Examples
    ///
    /// ```
    /// use pdex::stats::special::{Tail, normal};
    ///
    /// let tail = Tail::one_sided(normal::sf(3.0), normal::log_sf(3.0));
    /// assert!((tail.p - 0.0013498980316300946).abs() < 1e-17);
    /// ```
    #[must_use]
    pub fn one_sided(sf: f64, log_sf: f64) -> Self {
        Self::new(sf, log_sf)
    }

    /// p = min(1, 2 sf). Near p = 1, where `neg_log10` is small, only its absolute error is small;
    /// [`normal::two_sided`] and [`student_t::two_sided`] keep its relative error small, too.
    ///
    /// # Examples
    ///
    /// ```
    /// use pdex::stats::special::{Tail, normal};
    ///
    /// let tail = Tail::two_sided(normal::sf(-0.1), normal::log_sf(-0.1));
    /// assert_eq!(tail, Tail { p: 1.0, neg_log10: 0.0 });
    /// ```
    #[must_use]
    pub fn two_sided(sf: f64, log_sf: f64) -> Self {
        Self::new(2.0 * sf, log_sf + LN_2)
    }
}

/// Compares functions with the rows of `tests/golden/special.csv`.
#[cfg(test)]
mod golden {
    const TABLE: &str = include_str!("../../../tests/golden/special.csv");
    /// Below this sf, close to the subnormal numbers, only the logarithm is compared.
    const SMALLEST_SF: f64 = 1e-300;

    /// Largest relative errors of sf and `log_sf` over the rows of `function` that `keep` selects.
    pub fn worst(
        function: &str,
        keep: impl Fn(f64, f64) -> bool,
        ours: impl Fn(f64, f64) -> (f64, f64),
    ) -> (f64, f64) {
        let (mut rows, mut worst) = (0, (0.0_f64, 0.0_f64));
        for line in TABLE.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            if fields[0] != function {
                continue;
            }
            let number = |i: usize| fields[i].parse::<f64>().unwrap_or(f64::INFINITY);
            let (x, df) = (number(1), number(2));
            if !keep(x, df) {
                continue;
            }
            let ((sf, log_sf), want) = (ours(x, df), (number(3), number(4)));
            let off = |got: f64, want: f64| {
                assert!(!got.is_nan(), "{line}: NaN");
                if got.to_bits() == want.to_bits() { 0.0 } else { (got / want - 1.0).abs() }
            };
            if want.0 > SMALLEST_SF {
                worst.0 = worst.0.max(off(sf, want.0));
            }
            if want.1 < -SMALLEST_SF {
                worst.1 = worst.1.max(off(log_sf, want.1));
            } else {
                assert!(log_sf.abs() <= 2.0 * SMALLEST_SF, "{line}: {log_sf}");
            }
            rows += 1;
        }
        assert!(rows > 0, "no row of {function}");
        worst
    }

    /// Asserts that both relative errors are at most `allowed` over all rows of `function`.
    pub fn hold(function: &str, allowed: f64, ours: impl Fn(f64, f64) -> (f64, f64)) {
        let worst = worst(function, |_, _| true, ours);
        assert!(worst.0 <= allowed && worst.1 <= allowed, "{function}: {worst:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Tail, normal, student_t};
    use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

    /// Arguments between the golden values. `statrs` 0.19 is off by 1e-10 for the normal tail, by
    /// 5e-15 for Student's t beyond t = 1 with up to ten degrees of freedom, and by up to 8e-5
    /// elsewhere.
    #[test]
    fn statrs_agrees_where_it_is_good() {
        let standard = Normal::standard();
        let near = |got: f64, want: f64, allowed| (got / want - 1.0).abs() < allowed;
        for i in 0..3700 {
            let z = f64::from(i) / 100.0;
            assert!(near(normal::sf(z), standard.sf(z), 1e-9), "{z}");
        }
        for df in [1.0, 1.7, 2.0, 3.3, 5.0, 7.9, 10.0] {
            let oracle = StudentsT::new(0.0, 1.0, df).unwrap();
            for i in 100..3700 {
                let t = f64::from(i) / 100.0;
                // Measured 1e-14; allow 1e-13.
                assert!(near(student_t::sf(t, df), oracle.sf(t), 1e-13), "{t} {df}");
            }
        }
    }

    #[test]
    fn nan_in_is_nan_out() {
        for tail in [
            Tail::new(f64::NAN, -1.0),
            Tail::new(0.5, f64::NAN),
            Tail::from_log(f64::NAN),
            Tail::two_sided(f64::NAN, f64::NAN),
        ] {
            assert!(tail.p.is_nan() && tail.neg_log10.is_nan(), "{tail:?}");
        }
    }

    #[test]
    fn one_is_the_top_and_zero_has_no_sign() {
        for tail in [
            Tail::from_log(0.0),
            Tail::from_log(-0.0),
            Tail::one_sided(1.0, -0.0),
            Tail::two_sided(0.5, 0.5_f64.ln()),
            Tail::two_sided(0.9, 0.9_f64.ln()),
        ] {
            assert_eq!(tail.p.to_bits(), 1.0_f64.to_bits(), "{tail:?}");
            assert_eq!(tail.neg_log10.to_bits(), 0, "{tail:?}");
        }
    }

    #[test]
    fn the_logarithm_outlives_the_p_value() {
        assert_eq!(Tail::from_log(f64::NEG_INFINITY), Tail { p: 0.0, neg_log10: f64::INFINITY });
        let tail = Tail::two_sided(0.0, -5e7);
        assert!(tail.p == 0.0);
        // (5e7 - ln 2) / ln 10, mpmath: 1e-16, allow 1e-15
        assert!((tail.neg_log10 / 21_714_723.794_132_596 - 1.0).abs() < 1e-15);
    }
}
