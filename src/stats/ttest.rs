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
//! twice the smaller tail.  For small |z| Student's curve stays, and passes over to the tail
//! ([`conditional::OF_VALUES`]), so that p falls as |t| grows.  Small samples with few outcomes are
//! summed over all of them.  Welch's t does not grow with T: [`Options::check`] refuses it.
//!
//! Of samples without variance whose means differ, p is that of the one choice that separates them.
//!
//! Cost: O(1) from the moments; O(nodes) for a tail.

use super::conditional::{self, OF_VALUES, SampleValues, ValueTails};
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
        let beyond = z.abs() > OF_VALUES.from
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
        if z.abs() <= OF_VALUES.from || conditional::points_away(z, alternative) {
            return self.p;
        }
        let ln_p = tails.best(shared, pooled, z > 0.0) + conditional::ln_sides(alternative);
        OF_VALUES.pass(z.abs(), || self.p, ln_p)
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
    use crate::stats::naive;
    use proptest::prelude::*;

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

    /// Both samples' test by the permutation distribution, against a reference or as part of the pool.
    fn permuted(x: &[f64], y: &[f64], alternative: Alternative, pooled: bool) -> TTest {
        let options = Options { alternative, method: Method::Permutation, ..Options::default() };
        let mut found = ttest(&Moments::of(x, 0), &Moments::of(y, 0), &options).unwrap();
        let (mut shared, mut tails) = (SampleValues::default(), ValueTails::default());
        let fill = |sample: &mut SampleValues, values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            for &v in &*values {
                sample.push(v, 1);
            }
        };
        fill(&mut tails.target, &mut x.to_vec());
        let others = if pooled { [x, y].concat() } else { y.to_vec() };
        fill(&mut shared, &mut others.clone());
        shared.summarize(conditional::LISTED);
        if found.needs_values(&options) {
            found.p = found.permuted(&options, (&shared, pooled), &mut tails);
        }
        found
    }

    const SIDES: [Alternative; 3] =
        [Alternative::TwoSided, Alternative::Less, Alternative::Greater];

    fn p_of((up, down): (f64, f64), alternative: Alternative) -> f64 {
        match alternative {
            Alternative::TwoSided => (2.0 * up.min(down)).min(1.0),
            Alternative::Greater => up,
            Alternative::Less => down,
        }
    }

    /// Values of one kind: counts with many zeros, real ones, ties below and above 0, a large offset.
    fn values() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
        let kind = |value: BoxedStrategy<f64>| {
            let sample = |n| prop::collection::vec(value.clone(), n);
            (sample(2..7), sample(2..8))
        };
        prop_oneof![
            kind(prop_oneof![Just(0.0), (0u8..5).prop_map(f64::from)].boxed()),
            kind((-3f64..9.0).boxed()),
            kind((-4i8..9).prop_map(|v| f64::from(v) / 2.0).boxed()),
            kind((0u8..200).prop_map(|v| 1e6 + f64::from(v) / 64.0).boxed()),
            kind((0u8..20).prop_map(|v| f64::from(v) * 1e-300).boxed()),
        ]
    }

    proptest! {
        #[test]
        fn small_samples_equal_all_relabellings((x, y) in values(), pooled: bool, side in 0usize..3) {
            let alternative = SIDES[side];
            let found = permuted(&x, &y, alternative, pooled);
            if found.statistic.is_nan() {
                prop_assert!(found.p.p.is_nan());
                return Ok(());
            }
            let want = p_of(naive::permutation_tails(&x, &y), alternative);
            // Measured 4e-15; allow 1e-12.
            prop_assert!((found.p.p / want - 1.0).abs() < 1e-12, "{} {want}", found.p.p);
        }

        /// T grows step by step, the pooled sample being the same: from one end of T to the other.
        #[test]
        fn p_falls_as_t_grows(
            drawn in prop::collection::vec((0u8..10, 0f64..1.0), 60..200), zeros in 0u8..9, n_target in 3usize..20,
            whole: bool,
        ) {
            let value = |&(kind, v): &(u8, f64)| if kind < zeros { 0.0 } else if whole { (v * v * 9.0).ceil() } else { 0.5 - v.ln() };
            let mut pool: Vec<f64> = drawn.iter().map(value).collect();
            pool.sort_by(f64::total_cmp);
            let mut places: Vec<usize> = (0..n_target).collect();
            let (mut before, mut t) = (0.0, f64::NEG_INFINITY);
            loop {
                let chosen = |i: &usize| places.contains(i);
                let (x, y): (Vec<usize>, Vec<usize>) = (0..pool.len()).partition(chosen);
                let [x, y] = [x, y].map(|of| of.into_iter().map(|i| pool[i]).collect::<Vec<f64>>());
                let found = permuted(&x, &y, Alternative::Greater, false);
                if found.statistic > t {
                    let ln_p = -found.p.neg_log10 * std::f64::consts::LN_10;
                    // Measured 0.12 over 30,000 pools, next to 2 deviations; 0 in 99 of 100.
                    prop_assert!(ln_p <= before + 0.2, "{t} {} {before} {ln_p}", found.statistic);
                    (before, t) = (before.min(ln_p), found.statistic);
                }
                // The next place of the highest cell that can move up.
                let Some(i) = (0..n_target).rev().find(|&i| places[i] < pool.len() - n_target + i) else { break };
                places[i] = (places[i] + 5).min(pool.len() - n_target + i);
            }
        }
    }

    /// Counts of more than 40 cells beside the sum over all relabellings: (cells of 0, 1, .., n1, and the
    /// median and the largest |ln p - ln exact| beyond two deviations, down to 1e-13, as measured and rounded
    /// up).
    #[test]
    fn tails_of_counts_are_near_the_exact_ones() {
        for (cells, n_target, median, most) in [
            (&[900u32, 80, 15, 5][..], 60, 0.005, 0.01),
            (&[900, 80, 15, 5], 20, 0.015, 0.02),
            (&[60, 20, 12, 9, 6, 4, 3, 2, 1, 1], 12, 0.01, 0.06),
            (&[400, 60, 25, 10, 5], 40, 0.005, 0.01),
        ] {
            let scores: Vec<f64> = (0u32..).zip(cells).map(|(v, _)| f64::from(v)).collect();
            let lengths = cells.iter().map(|&l| f64::from(l)).collect();
            let all = naive::linear_distribution(&[(lengths, scores, f64::from(n_target))]);
            let mut off = Vec::new();
            for (a, p) in naive::compositions(cells, n_target).into_iter().step_by(31) {
                let (mut x, mut y) = (Vec::new(), Vec::new());
                for (v, (&own, &l)) in (0u32..).zip(a.iter().zip(cells)) {
                    x.extend(std::iter::repeat_n(f64::from(v), own as usize));
                    y.extend(std::iter::repeat_n(f64::from(v), (l - own) as usize));
                }
                let t: f64 = x.iter().sum();
                let found = permuted(&x, &y, Alternative::TwoSided, false);
                let sum = |keep: &dyn Fn(f64) -> bool| {
                    all.iter().filter(|(v, _)| keep(*v)).map(|(_, p)| p).sum::<f64>()
                };
                let (up, down) = (sum(&|v| v >= t - 1e-9), sum(&|v| v <= t + 1e-9));
                let want = p_of((up, down), Alternative::TwoSided);
                if p > 0.0 && found.z().abs() > OF_VALUES.to && want > 1e-13 {
                    off.push((found.p.p / want).ln().abs());
                }
            }
            off.sort_by(f64::total_cmp);
            let (middle, worst) = (off[off.len() / 2], off[off.len() - 1]);
            assert!(off.len() > 10, "{}", off.len());
            assert!(middle < median && worst < most, "{cells:?} {n_target}: {middle} {worst}");
        }
    }

    #[test]
    fn degenerate_samples_have_their_answers() {
        let p = |x: &[f64], y: &[f64]| permuted(x, y, Alternative::TwoSided, false).p.p;
        assert!(p(&[2.0, 2.0], &[2.0, 2.0, 2.0]).is_nan());
        assert!(p(&[2.0], &[3.0, 4.0]).is_nan() && p(&[2.0, 5.0], &[4.0]).is_nan());
        assert!(p(&[2.0, f64::INFINITY], &[3.0, 4.0]).is_nan());
        // No variance, but different means: one of C(50, 3) choices.
        let found = permuted(&[5.0; 3], &[2.0; 47], Alternative::TwoSided, false);
        assert!(found.statistic == f64::INFINITY);
        assert!((found.p.p * 19_600.0 / 2.0 - 1.0).abs() < 1e-12, "{}", found.p.p);
        // The target's cells are the largest, however many distinct values there are.
        let y: Vec<f64> = (0..300).map(|i| f64::from(i).sqrt()).collect();
        for (x, pooled) in [([20.0, 30.0], false), ([20.0, 30.0], true), ([-20.0, -3.0], true)] {
            let p = permuted(&x, &y, Alternative::TwoSided, pooled).p.p;
            assert!((p * 302.0 * 301.0 / 4.0 - 1.0).abs() < 1e-9, "{p}");
        }
    }

    #[test]
    fn z_is_the_sum_in_standard_deviations() {
        let (x, y) = ([1.0, 2.0, 4.5], [4.0, 5.0, 6.0, 7.25, 0.5]);
        let pooled = [&x[..], &y].concat();
        let (mean, squares) = naive::mean_and_squares(&pooled);
        let t: f64 = x.iter().map(|v| v - mean).sum();
        let want = t / (3.0 * 5.0 / (8.0 * 7.0) * squares).sqrt();
        let z = permuted(&x, &y, Alternative::TwoSided, false).z();
        assert!((z / want - 1.0).abs() < 1e-14, "{z} {want}");
    }

    /// Far too many outcomes to be summed: near the mean, and in the other tail, Student's curve.
    #[test]
    fn the_other_tail_is_students() {
        let value = |i: i32| (f64::from(i) * 0.7).exp().sqrt();
        let (x, y): (Vec<f64>, Vec<f64>) =
            ((0..15).map(value).collect(), (15..40).map(value).collect());
        for (alternative, same) in [(Alternative::Greater, true), (Alternative::Less, false)] {
            let options = Options { alternative, ..Options::default() };
            let want = ttest(&Moments::of(&x, 0), &Moments::of(&y, 0), &options).unwrap();
            assert_eq!(permuted(&x, &y, alternative, false) == want, same);
        }
    }

    #[test]
    fn methods_parse_and_welch_is_refused() {
        assert_eq!("student".parse(), Ok(Method::Student));
        assert_eq!("permutation".parse(), Ok(Method::Permutation));
        let text = "exact".parse::<Method>().unwrap_err().to_string();
        assert!(text.contains("'student'") && text.contains("'permutation'"), "{text}");
        for variance in [Variance::Pooled, Variance::Separate, Variance::Overestimated] {
            let options = |method| Options { variance, method, ..Options::default() };
            assert!(options(Method::Student).check().is_ok());
            let allowed = options(Method::Permutation).check().is_ok();
            assert_eq!(allowed, variance == Variance::Pooled);
        }
    }
}
