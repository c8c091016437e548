//! Mean and sum of squared deviations of one sample, or of many groups at once, independent of the
//! order of the values.
//!
//! # Symbols
//! x_i are n values and s is a number near them (the shift); S1 = Σ(x - s), S2 = Σ(x - s)²;
//! mean = s + S1/n; m2 = Σ(x - mean)² = S2 - S1²/n, so that the variance (ddof = 1) is m2/(n - 1).
//!
//! # Method
//! The first pass has s = 0. S1 and S2 are double-doubles ([`super::double_double`]) of about 106
//! bits. While S2 < 2^40 m2, every digit of m2 as f64 is right. Any order of the values, any split
//! of them, and their histogram then give the same bits, except for one rounding in about 2^40.
//! Where S2 is larger (constant values, or 1e7 + noise), a second pass takes the group's first
//! value as s. Nearby values differ from it by an exact f64 (Sterbenz 1974, theorem 4.3.1), equal
//! values by 0.
//!
//! The mean is kept as two words, `mean + low`: the difference of two means of 1e6 + noise would
//! lose ten digits if each were rounded to one f64 first.
//!
//! Zeros are not listed but given as a count.
//!
//! | values | n | mean | m2 |
//! |---|---|---|---|
//! | none | 0 | NaN | 0 |
//! | one, or all equal | n | that value, exactly | 0, exactly |
//! | infinite values of one sign | n | that infinity | NaN |
//! | NaN, or both infinities | n | NaN | NaN |
//! | squares overflow or underflow | n | as usual | as usual, in another unit |
//!
//! # Squares that f64 cannot hold
//! If Σx² leaves the range [2^-800, 2^960], the second pass takes all values in units of 2^scale.
//! Scaling by a power of two changes no digit. m2 is then kept in units of 4^scale. [`Moments::m2`]
//! is a plain f64, and may still be infinite or 0; the t-test and merges use the scaled value. (In
//! SciPy squares overflow: Welch's test loses its degrees of freedom at values of 1e80, and its
//! variances at 1e155.)
//!
//! Cost: one pass over the listed values, and O(1) per group.

mod groups;

pub use groups::{GroupMoments, all_others};

use super::double_double::{DoubleDouble, exponent, power_of_two, product_quotient, two_sum};
use crate::cast::real;
use std::ops::RangeInclusive;

/// Range in which a sum of squares and its rounding errors stay normal, even when multiplied by any
/// number of cells.
const SQUARES: RangeInclusive<f64> = power_of_two(-800)..=power_of_two(960);
/// Range of sums of squares that may be squared once more.
const FOURTH_POWERS: RangeInclusive<f64> = power_of_two(-400)..=power_of_two(500);
/// Replaces smaller squares of nonzero values, so that a sum of squares is 0 only if all values
/// are. Where this matters, the sum is outside [`SQUARES`].
const TRACE: f64 = power_of_two(-1000);

/// n, Σ(x - s) and Σ(x - s)² of one sample. States with the same s merge by addition.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PowerSums {
    n: u64,
    first: DoubleDouble,
    second: DoubleDouble,
}

impl PowerSums {
    /// From the sums of integers: n, Σx and Σx², with s = 0.
    #[must_use]
    pub fn of_counts(n: u64, sum: u64, squares: u64) -> Self {
        Self { n, first: sum.into(), second: squares.into() }
    }

    /// Adds `distance` = x - s, `weight` times.
    #[inline]
    pub fn push(&mut self, distance: f64, weight: u64) {
        let mut square = DoubleDouble::from(distance).squared();
        if square.value() < TRACE && distance != 0.0 {
            square = DoubleDouble::from(TRACE);
        }
        self.n += weight;
        self.first.add_times(distance, weight);
        if weight == 1 {
            self.second.add_double(square);
        } else if weight > 0 {
            self.second.add_double(square.times(real(weight)));
        }
    }

    /// The sums of both samples together. Both must have the same s.
    ///
    /// # Examples
    /// ```
    /// use pdex::stats::moments::PowerSums;
    /// let both = PowerSums::of_counts(2, 3, 5).merge(&PowerSums::of_counts(1, 6, 36));
    /// assert_eq!(both.moments(), PowerSums::of_counts(3, 9, 41).moments());
    /// ```
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let mut sum = *self;
        sum.n += other.n;
        sum.first.add_double(other.first);
        sum.second.add_double(other.second);
        sum
    }

    /// The moments of a sample, for s = 0. `None` if the sums leave too few digits of m2;
    /// [`GroupMoments`] then makes a second pass.
    #[must_use]
    pub fn well_conditioned(&self) -> Option<Moments> {
        let moments = self.moments();
        (!self.is_ill_conditioned(moments.m2)).then_some(moments)
    }

    /// The moments of a sample, for s = 0.
    #[must_use]
    pub fn moments(&self) -> Moments {
        self.moments_about(0.0, 0)
    }

    /// The moments of a sample, where `s` and all x - s are in units of 2^scale.
    fn moments_about(&self, s: f64, scale: i32) -> Moments {
        if self.n == 0 {
            return Moments::default();
        }
        let (n, first, second) =
            (real(self.n), self.first.renormalized(), self.second.renormalized());
        if !first.value().is_finite() {
            return Moments {
                n: self.n,
                mean: s + first.value(),
                m2: f64::NAN,
                ..Moments::default()
            };
        }
        let (quotient, remainder) = first.div(n);
        let (mean, low) = two_sum(s, quotient);
        let low = finite(low + remainder);
        let m2 = if second.value().is_finite() {
            (second.times(n).minus(first.squared()).value() / n).max(0.0)
        } else {
            f64::INFINITY
        };
        Moments { n: self.n, mean, low, m2, scale: 0 }.of_units(scale)
    }

    /// True if these sums, with s = 0, leave too few digits of `m2`.
    fn is_ill_conditioned(&self, m2: f64) -> bool {
        let second = self.second.renormalized().value();
        // 2^-40.
        self.is_extreme() || (self.n > 1 && m2 < second * 9.094_947_017_729_282e-13)
    }

    /// True if the sum of squares may have overflowed or lost digits to underflow.
    fn is_extreme(&self) -> bool {
        let second = self.second.renormalized().value();
        second != 0.0 && !SQUARES.contains(&second)
    }
}

/// n, mean and Σ(x - mean)² of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    pub n: u64,
    mean: f64,
    /// Rounding error of `mean`.
    low: f64,
    /// Σ(x - mean)² in units of 4^scale.
    m2: f64,
    /// 0 unless f64 cannot hold Σ(x - mean)².
    scale: i32,
}

impl Moments {
    /// The moments of `values`, in any order, and of `zeros` more values of 0.
    ///
    /// # Examples
    /// ```
    /// let sample = pdex::stats::moments::Moments::of(&[1.0, 3.0], 2);
    /// assert_eq!((sample.n, sample.mean(), sample.m2()), (4, 1.0, 6.0));
    /// ```
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn of(values: &[f64], zeros: u64) -> Self {
        let mut groups = GroupMoments::default();
        groups.run(&[zeros], values.len(), |i| (0, values[i], 1));
        groups.moments[0]
    }

    /// The mean, rounded to one f64; NaN for an empty sample.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.n == 0 { f64::NAN } else { self.mean + self.low }
    }

    /// Σ(x - mean)²; infinite or 0 if f64 cannot hold it.
    #[must_use]
    pub fn m2(&self) -> f64 {
        times_square(self.m2, self.scale)
    }

    /// The variance with ddof = 1; NaN for fewer than two values.
    #[must_use]
    pub fn variance(&self) -> f64 {
        if self.n < 2 { f64::NAN } else { self.m2() / real(self.n - 1) }
    }

    /// mean(self) - mean(other), without rounding the means first.
    #[must_use]
    pub fn mean_difference(&self, other: &Self) -> f64 {
        (self.mean - other.mean) + (self.low - other.low)
    }

    /// The moments of both samples together (Chan, Golub and LeVeque 1983, Am. Stat. 37, eq. 2.1),
    /// for means of any size.
    ///
    /// # Examples
    /// ```
    /// use pdex::stats::moments::Moments;
    /// let whole = Moments::of(&[1.0, 2.0], 0).merge(&Moments::of(&[6.0], 0));
    /// assert_eq!((whole.n, whole.mean(), whole.m2()), (3, 3.0, 14.0));
    /// ```
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        if self.n == 0 || other.n == 0 {
            return if self.n == 0 { *other } else { *self };
        }
        let merged = self.merge_plainly(other);
        let scaled = self.scale != 0 || other.scale != 0;
        if !scaled && (merged.m2 == 0.0 || SQUARES.contains(&merged.m2)) && !self.is_near(other) {
            return merged;
        }
        match self.unit(other) {
            Some(unit) => self.in_units(unit).merge_plainly(&other.in_units(unit)).of_units(unit),
            None => merged,
        }
    }

    /// [`Moments::merge`] of two non-empty samples in one unit whose squares fit f64.
    fn merge_plainly(&self, other: &Self) -> Self {
        let n = self.n + other.n;
        let (difference, lost) = two_sum(other.mean, -self.mean);
        let lost = lost + (other.low - self.low);
        if !difference.is_finite() {
            // inf - inf is NaN, and so is the variance.
            let mean = self.mean() + other.mean();
            return Self { n, mean, m2: f64::NAN, ..Self::default() };
        }
        let share = real(other.n) / real(n);
        let (step, remainder) = product_quotient(difference, real(other.n), real(n));
        let (mean, low) = two_sum(self.mean, step);
        let low = low + (remainder + lost * share + self.low);
        let whole = difference + lost;
        let m2 = self.m2 + other.m2 + whole * whole * (real(self.n) * share);
        Self { n, mean, low: finite(low), m2, scale: 0 }
    }

    /// True if the means differ, and the square of their difference is outside [`SQUARES`].
    fn is_near(&self, other: &Self) -> bool {
        let difference = self.mean_difference(other).abs();
        difference > 0.0 && !SQUARES.contains(&(difference * difference))
    }

    /// The exponent of the unit in which a t-test of both samples neither overflows nor underflows.
    /// It is 0, the unit of the values, wherever their squared variances do neither.
    pub(super) fn test_unit(&self, other: &Self) -> i32 {
        let ordinary = |m: &Self| {
            m.scale == 0 && (m.m2 == 0.0 || m.m2.is_nan() || FOURTH_POWERS.contains(&m.m2))
        };
        if ordinary(self) && ordinary(other) { 0 } else { self.unit(other).unwrap_or(0) }
    }

    /// The exponent of the largest of: √m2 of either sample, and the difference of the means; but
    /// at least the exponent of the larger mean minus 1000. `None` if all three are 0, or if a mean
    /// or m2 is not finite.
    fn unit(&self, other: &Self) -> Option<i32> {
        let exponent = |x: f64| (x != 0.0).then(|| exponent(x));
        let finite = |m: &Self| m.mean.is_finite() && m.m2.is_finite();
        if !finite(self) || !finite(other) {
            return None;
        }
        let deviation = |m: &Self| exponent(m.m2).map(|e| e / 2 + m.scale);
        // Of halves, since the difference itself may overflow.
        let half = (0.5 * self.mean - 0.5 * other.mean) + 0.5 * (self.low - other.low);
        let size = deviation(self).max(deviation(other)).max(exponent(half).map(|e| e + 1))?;
        let mean = exponent(self.mean).max(exponent(other.mean)).unwrap_or(size);
        Some(size.max(mean - 1000).clamp(-1000, 1022))
    }

    /// The same moments in units of 2^unit, where m2 may overflow or underflow.
    pub(super) fn in_units(&self, unit: i32) -> Self {
        if unit == 0 && self.scale == 0 {
            return *self;
        }
        let factor = power_of_two(-unit);
        let m2 = times_square(self.m2, self.scale - unit);
        Self { n: self.n, mean: self.mean * factor, low: self.low * factor, m2, scale: 0 }
    }

    /// Converts from units of 2^unit. m2 stays in that unit if f64 cannot hold it otherwise.
    fn of_units(self, unit: i32) -> Self {
        if unit == 0 {
            return self;
        }
        let (factor, plain) = (power_of_two(unit), times_square(self.m2, unit));
        let fits = self.m2 == 0.0 || self.m2.is_nan() || SQUARES.contains(&plain);
        let (m2, scale) = if fits { (plain, 0) } else { (self.m2, unit) };
        Self { n: self.n, mean: self.mean * factor, low: self.low * factor, m2, scale }
    }
}

/// square · 4^exponent, for any difference of two units.
fn times_square(square: f64, exponent: i32) -> f64 {
    if exponent == 0 {
        return square;
    }
    let half = exponent / 2;
    let rest = exponent - half;
    let [half, rest] = [half, rest].map(|e| power_of_two(e.clamp(-1022, 1022)));
    square * half * half * rest * rest
}

/// The correction, or 0 if it has overflowed.
fn finite(correction: f64) -> f64 {
    if correction.is_finite() { correction } else { 0.0 }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
mod tests {
    use super::*;
    use crate::stats::naive;
    use proptest::prelude::*;

    fn close(a: f64, b: f64, tolerance: f64) -> bool {
        a == b || (a - b).abs() <= tolerance * b.abs().max(1e-300)
    }

    #[test]
    fn degenerate_samples_follow_the_header() {
        assert!(Moments::of(&[], 0).mean().is_nan());
        let one = Moments::of(&[0.1], 0);
        assert_eq!((one.n, one.mean(), one.m2()), (1, 0.1, 0.0));
        let constant = Moments::of(&[0.1; 7], 0);
        assert_eq!((constant.mean(), constant.m2()), (0.1, 0.0));
        let infinite = Moments::of(&[1.0, f64::INFINITY], 3);
        assert_eq!(infinite.mean(), f64::INFINITY);
        assert!(infinite.m2().is_nan());
        let both = Moments::of(&[f64::NEG_INFINITY, f64::INFINITY], 0);
        assert!(both.mean().is_nan() && both.m2().is_nan());
        assert!(Moments::of(&[f64::NAN, 2.0], 1).mean().is_nan());
        let merged = infinite.merge(&Moments::of(&[1.0], 0));
        assert_eq!(merged.mean(), f64::INFINITY);
        assert!(merged.m2().is_nan());
    }

    #[test]
    fn overflow_of_squares_is_not_silently_finite() {
        assert_eq!(Moments::of(&[1e200, -1e200], 0).m2(), f64::INFINITY);
    }

    /// Scaling by a power of two changes no digit, even where squares overflow or underflow.
    #[test]
    fn a_power_of_two_changes_no_digit() {
        let (x, y) = ([1.0, 2.0, 3.0, 4.5], [4.0, -5.0, 6.0, 7.25, 4.0]);
        let of = |values: &[f64], e: i32, zeros| {
            // Scale in two steps, since 2^e may be subnormal.
            let unit = |v: &f64| v * power_of_two(e / 2) * power_of_two(e - e / 2);
            Moments::of(&values.iter().map(unit).collect::<Vec<f64>>(), zeros)
        };
        for zeros in [0, 2] {
            let (x0, y0) = (of(&x, 0, zeros), of(&y, 0, 0));
            let merged = x0.merge(&y0);
            for e in (-1070..=1020).step_by(10) {
                let same = |got: &Moments, want: &Moments| {
                    assert_eq!(got.n, want.n);
                    assert_eq!(
                        got.mean(),
                        want.mean() * power_of_two(e / 2) * power_of_two(e - e / 2),
                        "2^{e}"
                    );
                    assert_eq!(times_square(got.m2, got.scale - e), want.m2, "2^{e}");
                };
                let (xe, ye) = (of(&x, e, zeros), of(&y, e, 0));
                same(&xe, &x0);
                same(&ye, &y0);
                if e > -1000 {
                    // The mean of nine values needs 53 bits, which subnormal numbers lack.
                    same(&xe.merge(&ye), &merged);
                    let mut groups = GroupMoments::default();
                    let unit = power_of_two(e / 2);
                    let rest = power_of_two(e - e / 2);
                    groups.run(&[0, zeros, 0], 9, |i| {
                        let (group, v) = if i < 5 { (2, y[i]) } else { (1, x[i - 5]) };
                        (group, v * unit * rest, 1)
                    });
                    groups.leave_one_out();
                    same(&groups.others[1], &y0);
                    assert!(close(
                        times_square(groups.others[0].m2, groups.others[0].scale - e),
                        merged.m2,
                        1e-14
                    ));
                }
            }
        }
    }

    /// Constant samples whose difference has no square in f64; m2 is 2 · 1 / 3 · 2² squared units.
    #[test]
    fn near_means_are_told_apart() {
        for unit in [-600, 0, 510] {
            let of = |v: f64, n: usize| Moments::of(&vec![v * power_of_two(unit); n], 0);
            let merged = of(1.0, 2).merge(&of(3.0, 1));
            let m2 = times_square(merged.m2, merged.scale - unit);
            assert!(close(m2, 8.0 / 3.0, 1e-15), "2^{unit}: {m2}");
        }
    }

    /// Next to ordinary values, values whose squares underflow count as 0.
    #[test]
    fn ordinary_sums_ignore_tiny_values() {
        let got = Moments::of(&[1e-200, 3.0, -1e-250, 1.0], 0);
        assert_eq!((got.mean(), got.m2(), got.scale), (1.0, 6.0, 0));
        // Alone they count, even if their sum is 0.
        let got = Moments::of(&[1e-200, -1e-200], 0);
        assert_eq!((got.mean(), got.m2()), (0.0, 0.0));
        assert!(close(
            times_square(got.m2, got.scale + 664),
            2.0 * (1e-200 * 2f64.powi(664)).powi(2),
            1e-15
        ));
        assert_eq!(Moments::of(&[0.0, 0.0], 1), Moments::of(&[], 3));
        assert_eq!(Moments::of(&[1e200], 0).m2(), 0.0);
    }

    #[test]
    fn ill_conditioned_means_differ_to_full_precision() {
        // 1e6 + i/1024 is exact. The means differ by 1/1024 + 1/2048; one ulp of the mean as f64 is
        // 1e-10. Measured 0; allow 1e-13.
        let x: Vec<f64> = (0..1001).map(|i| 1e6 + f64::from(i) / 1024.0).collect();
        let y: Vec<f64> = (0..1000).map(|i| 1e6 + f64::from(i - 1) / 1024.0).collect();
        let (x, y) = (Moments::of(&x, 0), Moments::of(&y, 0));
        assert!(close(x.mean_difference(&y), 1.5 / 1024.0, 1e-13));
        // Σ(i - 500)² / 2^20 for 1,001 values: n (n² - 1) / 12 / 2^20.
        assert!(close(x.m2(), 1001.0 * (1001.0 * 1001.0 - 1.0) / 12.0 / 1_048_576.0, 1e-13));
    }

    #[test]
    fn near_constant_samples_are_looked_at_twice() {
        // 1e12 + i/1024 is exact, and S2 is 2^86 m2. Measured 0; allow 1e-14.
        let x: Vec<f64> = (0..1001).map(|i| 1e12 + f64::from(i) / 1024.0).collect();
        let want = 1001.0 * (1001.0 * 1001.0 - 1.0) / 12.0 / 1_048_576.0;
        assert!(close(Moments::of(&x, 0).m2(), want, 1e-14));
        // Three equal groups: the others of the first are the other two.
        let mut groups = GroupMoments::default();
        groups.run(&[0, 0, 0], 3003, |i| (i / 1001, x[i % 1001], 1));
        groups.leave_one_out();
        assert!(
            close(groups.others[0].m2(), 2.0 * want, 1e-14),
            "{}",
            groups.others[0].m2() / want
        );
        assert_eq!(
            Moments::of(&[1e308, 1e308], 0),
            Moments { n: 2, mean: 1e308, ..Moments::default() }
        );
    }

    proptest! {
        #[test]
        fn no_order_and_no_histogram_changes_a_bit(
            values in prop::collection::vec((-2f32..9.0, 0u8..7, any::<u32>()), 2..300), zeros in 0u64..9,
        ) {
            let value = |&(real, count, _): &(f32, u8, u32)| if count > 4 { f64::from(real) } else { f64::from(count) };
            let ascending: Vec<f64> = values.iter().map(value).collect();
            let mut shuffled = values.clone();
            shuffled.sort_by_key(|cell| cell.2);
            let shuffled: Vec<f64> = shuffled.iter().map(value).collect();
            let whole = Moments::of(&ascending, zeros);
            prop_assert_eq!(whole, Moments::of(&shuffled, zeros));
            let (counts, others): (Vec<f64>, Vec<f64>) = ascending.iter().partition(|v| v.fract() == 0.0);
            let sum = |power: i32| counts.iter().map(|v| v.powi(power)).sum::<f64>() as i64;
            prop_assume!(sum(1) >= 0);
            let mut sums = PowerSums::of_counts(zeros + counts.len() as u64, sum(1) as u64, sum(2) as u64);
            for value in others {
                sums = sums.merge(&{ let mut one = PowerSums::default(); one.push(value, 1); one });
            }
            prop_assert_eq!(sums.moments(), whole);
        }

        #[test]
        fn any_split_merges_to_the_whole(
            values in prop::collection::vec(-1e3f64..1e3, 1..60), offset in prop::sample::select(vec![0.0, 1e6]),
            zeros in 0u64..20, cut in 0usize..60,
        ) {
            let values: Vec<f64> = values.iter().map(|v| v + offset).collect();
            let cut = cut.min(values.len());
            let whole = Moments::of(&values, zeros);
            let parts = Moments::of(&values[..cut], zeros).merge(&Moments::of(&values[cut..], 0));
            prop_assert_eq!(whole.n, parts.n);
            // Rounding errors are relative to the spread; with zeros it includes the offset.
            let spread = 2e3 + if zeros > 0 { offset } else { 0.0 };
            prop_assert!((whole.mean_difference(&parts)).abs() <= 2e-15 * spread);
            prop_assert!(close(parts.m2(), whole.m2(), 1e-12) || whole.m2() < 1e-9);
        }

        #[test]
        fn equals_the_definition(values in prop::collection::vec(-50f64..50.0, 1..80), zeros in 0u64..30) {
            let mut all = values.clone();
            all.extend(std::iter::repeat_n(0.0, usize::try_from(zeros).unwrap()));
            let (mean, m2) = naive::mean_and_squares(&all);
            let got = Moments::of(&values, zeros);
            prop_assert!((got.mean() - mean).abs() <= 1e-13 * 50.0);
            prop_assert!((got.m2() - m2).abs() <= 1e-12 * m2.max(1.0));
        }

        #[test]
        fn weights_repeat_values(values in prop::collection::vec((0f64..9.0, 0u64..5), 1..40)) {
            let mut repeated = Vec::new();
            for &(value, weight) in &values {
                repeated.extend(std::iter::repeat_n(value, usize::try_from(weight).unwrap()));
            }
            let mut groups = GroupMoments::default();
            groups.run(&[0], values.len(), |i| (0, values[i].0, values[i].1));
            let (got, want) = (groups.moments[0], Moments::of(&repeated, 0));
            prop_assert_eq!(got.n, want.n);
            if want.n > 0 {
                prop_assert!((got.mean() - want.mean()).abs() < 1e-13);
                prop_assert!((got.m2() - want.m2()).abs() < 1e-11);
            }
        }
    }
}
