//! Mean and spread of one sample, or of many groups at once, that do not depend on any order.
//!
//! # Symbols
//! n values x_i and a number s near them; S1 = Σ(x - s), S2 = Σ(x - s)²; mean = s + S1/n;
//! m2 = Σ(x - mean)² = S2 - S1²/n, so that the variance (ddof = 1) is m2/(n - 1).
//!
//! # Method
//! One pass with s = 0.  S1 and S2 are kept in two words ([`super::two`]), some 106 bits, so that
//! m2 is right in every digit of f64 while S2 < 2^40 m2, and the order of the values, any split
//! of them and their histogram give the same bits, but for one rounding in some 2^40.  Where S2 is
//! larger (constant values; 1e7 + noise) a second pass takes s = the group's first value, from
//! which near values differ exactly (Sterbenz 1974, theorem 4.3.1), and constant ones by 0.
//! The mean is kept as two words, `mean + low`, since the difference of two means of 1e6 + noise
//! loses ten digits when each is rounded to one f64 first.
//!
//! Zeros need not be listed: they are given as a number.
//!
//! | values | n | mean | m2 |
//! |---|---|---|---|
//! | none | 0 | NaN | 0 |
//! | one, or all equal | n | that value, exactly | 0, exactly |
//! | infinite ones of one sign | n | that infinity | NaN |
//! | NaN, or both infinities | n | NaN | NaN |
//! | squares beyond f64 | n | as ever | infinite |
//!
//! Cost: one pass over the listed values, O(1) a group.

use super::two::{Two, divide, two_sum};

/// n, Σ(x - s) and Σ(x - s)² of one sample: states of one s merge by addition.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PowerSums {
    n: u64,
    first: Two,
    second: Two,
}

impl PowerSums {
    /// The sums of whole numbers: n, Σx and Σx².
    #[must_use]
    pub fn of_counts(n: u64, sum: u64, squares: u64) -> Self {
        Self { n, first: sum.into(), second: squares.into() }
    }

    /// Adds `x - s`, `weight` times.
    #[inline]
    pub fn push(&mut self, distance: f64, weight: u64) {
        let square = Two::from(distance).squared();
        self.n += weight;
        self.first.add_times(distance, weight);
        if weight == 1 {
            self.second.add_two(square);
        } else if weight > 0 {
            self.second.add_two(square.times(weight as f64));
        }
    }

    /// The sums of both samples together.
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
        sum.first.add_two(other.first);
        sum.second.add_two(other.second);
        sum
    }

    /// The moments of a sample whose s is 0.
    ///
    /// `None` where the sums leave too few digits of its spread, as [`GroupMoments`] mends.
    #[must_use]
    pub fn well_conditioned(&self) -> Option<Moments> {
        let moments = self.moments();
        (!self.is_ill_conditioned(moments.m2)).then_some(moments)
    }

    /// The moments of a sample whose s is 0.
    #[must_use]
    pub fn moments(&self) -> Moments {
        self.moments_about(0.0)
    }

    fn moments_about(&self, s: f64) -> Moments {
        if self.n == 0 {
            return Moments::default();
        }
        let (n, first, second) = (self.n as f64, self.first.settled(), self.second.settled());
        if !first.value().is_finite() {
            return Moments { n: self.n, mean: s + first.value(), low: 0.0, m2: f64::NAN };
        }
        let (quotient, remainder) = first.divided(n);
        let (mean, low) = two_sum(s, quotient);
        let low = finite(low + remainder);
        let m2 = if second.value().is_finite() {
            (second.times(n).minus(first.squared()).value() / n).max(0.0)
        } else {
            f64::INFINITY
        };
        Moments { n: self.n, mean, low, m2 }
    }

    /// Whether these sums of x itself leave too few digits of `m2`, or none.
    fn is_ill_conditioned(&self, m2: f64) -> bool {
        let second = self.second.settled().value();
        // 2^-40.
        self.n > 1 && (!second.is_finite() || m2 < second * 9.094_947_017_729_282e-13)
    }
}

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
        groups.run(&[zeros], values.len(), |i| (0, values[i], 1));
        groups.moments[0]
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

    /// The moments of both samples together (Chan, Golub and LeVeque 1983, Am. Stat. 37, eq. 2.1),
    /// of whatever size their means.
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
    /// Those of all other groups, after [`GroupMoments::leave_one_out`].
    pub others: Vec<Moments>,
    sums: Vec<PowerSums>,
    /// s of each group, once seen.
    origins: Vec<Option<f64>>,
}

impl GroupMoments {
    /// Takes `length` entries from `entry` (group, value, weight) and `zeros[g]` zeros for each
    /// group.
    pub fn run(
        &mut self,
        zeros: &[u64],
        length: usize,
        entry: impl Fn(usize) -> (usize, f64, u64),
    ) {
        self.sums.clear();
        self.sums.extend(zeros.iter().map(|&n| PowerSums { n, ..PowerSums::default() }));
        for i in 0..length {
            let (group, value, weight) = entry(i);
            self.sums[group].push(value, weight);
        }
        self.moments.clear();
        self.moments.extend(self.sums.iter().map(PowerSums::moments));
        let mut states = self.sums.iter().zip(&self.moments);
        if states.any(|(sums, state)| sums.is_ill_conditioned(state.m2)) {
            self.look_again(zeros, length, &entry);
        }
    }

    /// The second pass, of groups that are ill-conditioned.
    fn look_again(
        &mut self,
        zeros: &[u64],
        length: usize,
        entry: &impl Fn(usize) -> (usize, f64, u64),
    ) {
        let groups = self.sums.len();
        self.origins.clear();
        self.origins.resize(groups, None);
        let mut about = vec![PowerSums::default(); groups];
        for i in 0..length {
            let (group, value, weight) = entry(i);
            let origin = *self.origins[group].get_or_insert(value);
            about[group].push(value - origin, weight);
        }
        for (group, state) in self.moments.iter_mut().enumerate() {
            let Some(origin) = self.origins[group] else { continue };
            if self.sums[group].is_ill_conditioned(state.m2) {
                about[group].push(-origin, zeros[group]);
                let near = about[group].moments_about(origin);
                // Differences to an infinite value are NaN: the plain sums have the mean.
                *state = if near.mean().is_nan() { *state } else { near };
            }
        }
    }

    /// For each group the moments of all others: merged, never subtracted.
    pub fn leave_one_out(&mut self) {
        let sums = all_others(&self.sums, PowerSums::merge);
        self.others.clear();
        self.others.extend(sums.iter().map(PowerSums::moments));
        let mut states = sums.iter().zip(&self.others);
        if states.any(|(sums, state)| sums.is_ill_conditioned(state.m2)) {
            self.others = all_others(&self.moments, Moments::merge);
        }
    }
}

/// For each state all others merged, from both ends.
pub fn all_others<S: Copy + Default>(states: &[S], merge: impl Fn(&S, &S) -> S) -> Vec<S> {
    let mut others = Vec::with_capacity(states.len());
    let mut before = S::default();
    for state in states {
        others.push(before);
        before = merge(&before, state);
    }
    let mut after = S::default();
    for (other, state) in others.iter_mut().zip(states).rev() {
        *other = merge(other, &after);
        after = merge(state, &after);
    }
    others
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

    #[test]
    fn near_constant_samples_are_looked_at_twice() {
        // 1e12 + i/1024 exactly, where S2 is 2^86 m2.  Measured 0; allow 1e-14.
        let x: Vec<f64> = (0..1001).map(|i| 1e12 + f64::from(i) / 1024.0).collect();
        let want = 1001.0 * (1001.0 * 1001.0 - 1.0) / 12.0 / 1_048_576.0;
        assert!(close(Moments::of(&x, 0).m2, want, 1e-14));
        // Three groups of it: all others of the first are the other two.
        let mut groups = GroupMoments::default();
        groups.run(&[0, 0, 0], 3003, |i| (i / 1001, x[i % 1001], 1));
        groups.leave_one_out();
        assert!(close(groups.others[0].m2, 2.0 * want, 1e-14), "{}", groups.others[0].m2 / want);
        assert_eq!(
            Moments::of(&[1e308, 1e308], 0),
            Moments { n: 2, mean: 1e308, low: 0.0, m2: 0.0 }
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
            groups.run(&[0], values.len(), |i| (0, values[i].0, values[i].1));
            let (got, want) = (groups.moments[0], Moments::of(&repeated, 0));
            prop_assert_eq!(got.n, want.n);
            if want.n > 0 {
                prop_assert!((got.mean() - want.mean()).abs() < 1e-13);
                prop_assert!((got.m2 - want.m2).abs() < 1e-11);
            }
        }
    }
}
