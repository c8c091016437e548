//! Mean and variance as a small state that is built, merged and finished.
//!
//! # Symbols
//! n values x_i; mean = Σx/n; m2 = Σ(x - mean)², so that the variance (ddof = 1) is m2/(n - 1).
//!
//! # Method
//! Two passes.  The first sums differences to the group's first value, which is exact for values
//! that agree in their leading digits, and gives 0 for constant ones; the second takes
//! Σ(x - origin)² with its correction (Chan, Golub and LeVeque 1983, Am. Stat. 37, eq. 1.7).
//! The mean is kept as two words, `mean + low`, since the difference of two means of 1e6 + noise
//! loses ten digits when each is rounded to one f64 first.  Merging is Chan et al. eq. 2.1.
//!
//! Zeros need not be listed: they are given as a number.
//!
//! | values | n | mean | m2 |
//! |---|---|---|---|
//! | none | 0 | NaN | 0 |
//! | one, or all equal | n | that value, exactly | 0, exactly |
//! | infinite ones of one sign | n | that infinity | NaN |
//! | NaN, or both infinities | n | NaN | NaN |
//!
//! Cost: two passes over the listed values, O(1) a group.

use super::two::{divide, two_sum};

/// n, mean and Σ(x - mean)² of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    pub n: u64,
    mean: f64,
    /// What rounding `mean` to one word left out.
    low: f64,
    /// Σ(x - mean)².
    pub m2: f64,
}

impl Moments {
    /// The moments of `values` (any order) and `zeros` more values of 0.
    ///
    /// # Examples
    /// ```
    /// let sample = pdex::stats::moments::Moments::of(&[1.0, 3.0], 2);
    /// assert_eq!((sample.n, sample.mean(), sample.m2), (4, 1.0, 6.0));
    /// ```
    #[must_use]
    pub fn of(values: &[f64], zeros: u64) -> Self {
        let mut groups = GroupMoments::default();
        groups.run(1, &[zeros], values.len(), |i| (0, values[i], 1));
        groups.moments[0]
    }

    /// The moments of whole numbers from n, Σx and Σx², exact up to the last step; Σx < 2^53.
    ///
    /// # Examples
    /// ```
    /// use pdex::stats::moments::Moments;
    /// assert_eq!(Moments::of_sums(4, 4, 10), Moments::of(&[1.0, 3.0], 2));
    /// ```
    #[must_use]
    pub fn of_sums(n: u64, sum: u64, squares: u64) -> Self {
        if n == 0 {
            return Self::default();
        }
        let (mean, low) = divide(sum as f64, 1.0, n as f64);
        let spread = u128::from(n) * u128::from(squares) - u128::from(sum) * u128::from(sum);
        Self { n, mean, low, m2: spread as f64 / n as f64 }
    }

    /// The mean, rounded once; NaN for an empty sample.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.n == 0 { f64::NAN } else { self.mean + self.low }
    }

    /// The variance with ddof = 1; NaN for fewer than two values.
    #[must_use]
    pub fn variance(&self) -> f64 {
        if self.n < 2 { f64::NAN } else { self.m2 / (self.n - 1) as f64 }
    }

    /// mean(self) - mean(other), without rounding either first.
    #[must_use]
    pub fn mean_difference(&self, other: &Self) -> f64 {
        (self.mean - other.mean) + (self.low - other.low)
    }

    /// The moments of both samples together.
    ///
    /// # Examples
    /// ```
    /// use pdex::stats::moments::Moments;
    /// let whole = Moments::of(&[1.0, 2.0], 0).merge(&Moments::of(&[6.0], 0));
    /// assert_eq!((whole.n, whole.mean(), whole.m2), (3, 3.0, 14.0));
    /// ```
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        if self.n == 0 || other.n == 0 {
            return if self.n == 0 { *other } else { *self };
        }
        let n = self.n + other.n;
        let (difference, lost) = two_sum(other.mean, -self.mean);
        let lost = lost + (other.low - self.low);
        if !difference.is_finite() {
            // inf - inf is NaN, and so is the variance.
            return Self { n, mean: self.mean() + other.mean(), low: 0.0, m2: f64::NAN };
        }
        let share = other.n as f64 / n as f64;
        let (step, remainder) = divide(difference, other.n as f64, n as f64);
        let (mean, low) = two_sum(self.mean, step);
        let low = low + (remainder + lost * share + self.low);
        let whole = difference + lost;
        let m2 = self.m2 + other.m2 + whole * whole * (self.n as f64 * share);
        Self { n, mean, low: finite(low), m2 }
    }
}

/// A correction that overflowed on the way is none.
fn finite(correction: f64) -> f64 {
    if correction.is_finite() { correction } else { 0.0 }
}

/// The moments of many groups at once, from one list of (group, value, weight).
///
/// Scratch space is kept between calls.
#[derive(Debug, Default)]
pub struct GroupMoments {
    /// One for each group, after [`GroupMoments::run`].
    pub moments: Vec<Moments>,
    first: Vec<f64>,
    sum: Vec<f64>,
    square: Vec<f64>,
}

impl GroupMoments {
    /// Takes `length` entries from `entry` (group, value, weight) and `zeros[g]` zeros for each
    /// group.
    pub fn run(
        &mut self,
        groups: usize,
        zeros: &[u64],
        length: usize,
        entry: impl Fn(usize) -> (usize, f64, u64),
    ) {
        self.reset(groups, zeros);
        for i in 0..length {
            let (group, value, weight) = entry(i);
            let state = &mut self.moments[group];
            if state.n == 0 {
                self.first[group] = value;
            }
            state.n += weight;
            self.sum[group] += (value - self.first[group]) * weight as f64;
        }
        for (group, state) in self.moments.iter_mut().enumerate() {
            if state.n > 0 {
                let (step, remainder) = divide(self.sum[group], 1.0, state.n as f64);
                let (mean, low) = two_sum(self.first[group], step);
                (state.mean, state.low) = (mean, finite(low + remainder));
            }
        }
        self.second_pass(zeros, length, &entry);
        self.mend_infinite(length, &entry);
    }

    fn reset(&mut self, groups: usize, zeros: &[u64]) {
        self.moments.clear();
        self.moments.extend(zeros.iter().map(|&n| Moments { n, ..Moments::default() }));
        for scratch in [&mut self.first, &mut self.sum, &mut self.square] {
            scratch.clear();
            scratch.resize(groups, 0.0);
        }
    }

    /// Σ(x - mean)² - (Σ(x - mean))²/n, and the mean refined by the second sum.
    fn second_pass(
        &mut self,
        zeros: &[u64],
        length: usize,
        entry: &impl Fn(usize) -> (usize, f64, u64),
    ) {
        for (group, state) in self.moments.iter().enumerate() {
            let n0 = zeros[group] as f64;
            self.sum[group] = -n0 * state.mean;
            self.square[group] = n0 * state.mean * state.mean;
        }
        for i in 0..length {
            let (group, value, weight) = entry(i);
            let distance = value - self.moments[group].mean;
            let weighted = distance * weight as f64;
            self.sum[group] += weighted;
            self.square[group] += weighted * distance;
        }
        for (group, state) in self.moments.iter_mut().enumerate() {
            if state.n > 0 {
                let step = self.sum[group] / state.n as f64;
                // Squares beyond f64 are an infinite spread, as they are to SciPy.
                let square = self.square[group];
                let corrected = (square - self.sum[group] * step).max(0.0);
                state.m2 = if square.is_finite() { corrected } else { square };
            }
        }
    }

    /// Differences to an infinite value are NaN: such groups get the plain sum's mean.
    fn mend_infinite(&mut self, length: usize, entry: &impl Fn(usize) -> (usize, f64, u64)) {
        if self.moments.iter().all(|state| state.mean.is_finite()) {
            return;
        }
        self.sum.fill(0.0);
        for i in 0..length {
            let (group, value, weight) = entry(i);
            if weight > 0 {
                self.sum[group] += value;
            }
        }
        for (state, &sum) in self.moments.iter_mut().zip(&self.sum) {
            if !state.mean.is_finite() {
                *state = Moments { n: state.n, mean: sum, low: 0.0, m2: f64::NAN };
            }
        }
    }
}

#[cfg(test)]
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
        assert_eq!((one.n, one.mean(), one.m2), (1, 0.1, 0.0));
        let constant = Moments::of(&[0.1; 7], 0);
        assert_eq!((constant.mean(), constant.m2), (0.1, 0.0));
        let infinite = Moments::of(&[1.0, f64::INFINITY], 3);
        assert_eq!(infinite.mean(), f64::INFINITY);
        assert!(infinite.m2.is_nan());
        let both = Moments::of(&[f64::NEG_INFINITY, f64::INFINITY], 0);
        assert!(both.mean().is_nan() && both.m2.is_nan());
        assert!(Moments::of(&[f64::NAN, 2.0], 1).mean().is_nan());
        let merged = infinite.merge(&Moments::of(&[1.0], 0));
        assert_eq!(merged.mean(), f64::INFINITY);
        assert!(merged.m2.is_nan());
    }

    #[test]
    fn overflow_of_squares_is_not_silently_finite() {
        assert_eq!(Moments::of(&[1e200, -1e200], 0).m2, f64::INFINITY);
    }

    #[test]
    fn ill_conditioned_means_differ_to_full_precision() {
        // 1e6 + i/1024 exactly: the means differ by 1/1024 + 1/2048, where one word of the mean
        // has an ulp of 1e-10.  Measured 0; allow 1e-13.
        let x: Vec<f64> = (0..1001).map(|i| 1e6 + f64::from(i) / 1024.0).collect();
        let y: Vec<f64> = (0..1000).map(|i| 1e6 + f64::from(i - 1) / 1024.0).collect();
        let (x, y) = (Moments::of(&x, 0), Moments::of(&y, 0));
        assert!(close(x.mean_difference(&y), 1.5 / 1024.0, 1e-13));
        // Σ(i - 500)² / 2^20 for 1,001 values: n (n² - 1) / 12 / 2^20.
        assert!(close(x.m2, 1001.0 * (1001.0 * 1001.0 - 1.0) / 12.0 / 1_048_576.0, 1e-13));
    }

    proptest! {
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
            // Roundings of the spread, not of the offset, unless zeros make that the spread.
            let spread = 2e3 + if zeros > 0 { offset } else { 0.0 };
            prop_assert!((whole.mean_difference(&parts)).abs() <= 2e-15 * spread);
            prop_assert!(close(parts.m2, whole.m2, 1e-12) || whole.m2 < 1e-9);
        }

        #[test]
        fn equals_the_definition(values in prop::collection::vec(-50f64..50.0, 1..80), zeros in 0u64..30) {
            let mut all = values.clone();
            all.extend(std::iter::repeat_n(0.0, usize::try_from(zeros).unwrap()));
            let (mean, m2) = naive::mean_and_squares(&all);
            let got = Moments::of(&values, zeros);
            prop_assert!((got.mean() - mean).abs() <= 1e-13 * 50.0);
            prop_assert!((got.m2 - m2).abs() <= 1e-12 * m2.max(1.0));
        }

        #[test]
        fn weights_repeat_values(values in prop::collection::vec((0f64..9.0, 0u64..5), 1..40)) {
            let mut repeated = Vec::new();
            for &(value, weight) in &values {
                repeated.extend(std::iter::repeat_n(value, usize::try_from(weight).unwrap()));
            }
            let mut groups = GroupMoments::default();
            groups.run(1, &[0], values.len(), |i| (0, values[i].0, values[i].1));
            let (got, want) = (groups.moments[0], Moments::of(&repeated, 0));
            prop_assert_eq!(got.n, want.n);
            if want.n > 0 {
                prop_assert!((got.mean() - want.mean()).abs() < 1e-13);
                prop_assert!((got.m2 - want.m2).abs() < 1e-11);
            }
        }
    }
}
