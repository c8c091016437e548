//! The stratified rank-sum test of van Elteren: targets and reference are compared within each
//! stratum (a batch, a replicate), and the comparisons are added up.
//!
//! # Hypothesis
//! Within every stratum x and y come from one distribution; strata may differ as they like.
//!
//! # Formulae
//! With U_h, s_h² and N_h of the rank-sum test within stratum h ([`super::wilcoxon`], the ties of
//! the stratum in s_h²) and the weights w_h = 1 / (N_h + 1):
//!
//! ```text
//! T  = Σ w_h U_h                                          (van Elteren 1960; Lehmann 1975, §3.3)
//! z  = (T - Σ w_h n1_h n2_h / 2) / √(Σ w_h² s_h²),   p = 2 sf(|z|), sf(z) or sf(-z)
//! ```
//!
//! The weights give the greatest power against one shift in all strata.  T differs from the sum of
//! weighted rank sums W_h by a constant, as U does from W, and z does not.  There is no continuity
//! correction: the steps of T are not equal.  So one stratum is the rank-sum test without
//! continuity.
//!
//! AUROC is T / Σ w_h n1_h n2_h: the chance that a target's value exceeds a reference's of the same
//! stratum, strata weighted as in T; above ½ exactly where z > 0.
//!
//! [`Method::Auto`] takes the tail given the ties of every stratum, as the plain test does: T is a sum of
//! midranks, each over N_h + 1.
//!
//! # Degenerate answers
//! | strata | here |
//! |---|---|
//! | one without targets, or without reference | takes no part |
//! | all such | none (null) |
//! | all values equal within each | p = 1, z = 0, as the rank-sum test with continuity |
//!
//! Cost: O(1) a stratum, from its rank sum.

use super::Alternative;
use super::conditional::{OF_RANKS, StratifiedTails, ln_sides, points_away};
use super::double_double::{DoubleDouble, product_quotient};
use super::special::Tail;
#[cfg(any(test, feature = "testing"))]
use super::special::normal;
use super::wilcoxon::{Method, Options, RankSum, Wilcoxon, tail};
use crate::cast::{real, real_signed};

/// Less of the weighted pairs than this is no difference: sums have some 100 bits.
const CANCELLED: f64 = 1e-25;

/// The sufficient statistics of one comparison: weighted sums over the strata so far, in two words,
/// so that the order of strata does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StratifiedSum {
    /// Σ w U.
    statistic: DoubleDouble,
    /// Σ w (2 U - n1 n2), each term's bracket an exact integer.
    twice_excess: DoubleDouble,
    /// Σ w n1 n2.
    pairs: DoubleDouble,
    /// Σ w² s².
    variance: DoubleDouble,
    /// The same, reduced by the ties whatever the options.
    given_ties: DoubleDouble,
}

impl StratifiedSum {
    /// Adds a stratum; one that lacks either sample takes no part.
    pub fn push(&mut self, stratum: &RankSum, tie_correct: bool) {
        let &RankSum { n_target, n_reference, twice_u, .. } = stratum;
        if n_target == 0 || n_reference == 0 {
            return;
        }
        let above = real(n_target + n_reference + 1);
        let weight = 1.0 / above;
        let pairs = n_target * n_reference;
        let twice_excess = twice_u.cast_signed() - pairs.cast_signed();
        self.statistic.add(weight * (real(twice_u) / 2.0));
        // In two words, so that what cancels between strata leaves nothing.
        let (excess, rest) = product_quotient(1.0, real_signed(twice_excess), above);
        self.twice_excess.add(excess);
        self.twice_excess.add(rest);
        self.pairs.add(weight * real(pairs));
        let given_ties = weight * weight * stratum.variance(true);
        self.given_ties.add(given_ties);
        self.variance.add(if tie_correct {
            given_ties
        } else {
            weight * weight * stratum.variance(false)
        });
    }

    /// The test; `None` where no stratum holds both samples.
    ///
    /// # Examples
    /// ```
    /// use pdex::stats::{Alternative, van_elteren::StratifiedSum, wilcoxon::RankSum};
    /// // Strata of [3, 4] with [1, 2, 3], and of [5] with [4, 6]: U = 5.5 and 1.
    /// let mut sum = StratifiedSum::default();
    /// sum.push(&RankSum { n_target: 2, n_reference: 3, twice_u: 11, ties: 6 }, true);
    /// sum.push(&RankSum { n_target: 1, n_reference: 2, twice_u: 2, ties: 0 }, true);
    /// let test = sum.test(Alternative::TwoSided).ok_or("empty")?;
    /// assert_eq!(test.statistic, 5.5 / 6.0 + 1.0 / 4.0);
    /// // (2.5 / 6) / sqrt(2.85 / 36 + (2 / 3) / 16)
    /// assert!((test.z_score - 1.198_658_253_713_460_5).abs() < 1e-15);
    /// # Ok::<(), &str>(())
    /// ```
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn test(&self, alternative: Alternative) -> Option<Wilcoxon> {
        let options = Options { alternative, ..Options::default() };
        let (mut test, _) = self.scored(&options)?;
        if alternative == Alternative::TwoSided {
            test.p = normal::two_sided(test.z_score.abs());
        }
        Some(test)
    }

    /// [`StratifiedSum::test`], but the p-value is yet to come (NaN) where the second part of the answer
    /// is true, which leaves it to [`StratifiedSum::given_ties`], or else where [`Options::p_of_score`].
    #[must_use]
    pub fn scored(&self, options: &Options) -> Option<(Wilcoxon, bool)> {
        let [statistic, twice_excess, pairs, variance, given_ties] =
            [self.statistic, self.twice_excess, self.pairs, self.variance, self.given_ties]
                .map(|sum| sum.renormalized().value());
        if pairs == 0.0 {
            return None;
        }
        let constant = variance == 0.0;
        // What is left of fractions that cancel.
        let twice_excess = if twice_excess.abs() < CANCELLED * pairs { 0.0 } else { twice_excess };
        let z_score = if constant { 0.0 } else { twice_excess / 2.0 / variance.sqrt() };
        let auto = options.method == Method::Auto;
        let z = if constant { 0.0 } else { twice_excess / 2.0 / given_ties.sqrt() };
        let needs_runs = auto && z.abs() > OF_RANKS.from;
        let p = if needs_runs || options.p_of_score() {
            Tail::NAN
        } else if constant {
            Tail::one_sided(1.0, 0.0)
        } else {
            of_score(if auto { z } else { z_score }, options.alternative)
        };
        // Near ½ its distance from there, so that it has the sign of the score.
        let distance = twice_excess / pairs / 2.0;
        let auroc = if distance.abs() < 0.25 { 0.5 + distance } else { statistic / pairs };
        Some((Wilcoxon { statistic, p, z_score, auroc }, needs_runs))
    }

    /// The p-value given the ties of every stratum, from the pooled runs that `tails` was filled with.
    #[must_use]
    pub fn given_ties(&self, alternative: Alternative, tails: &mut StratifiedTails) -> Tail {
        let [twice_excess, variance] =
            [self.twice_excess, self.given_ties].map(|sum| sum.renormalized().value());
        let t = twice_excess / 2.0;
        let z = t / variance.sqrt();
        if points_away(t, alternative) {
            return of_score(z, alternative);
        }
        let ln_p = tails.best(t) + ln_sides(alternative);
        OF_RANKS.pass(z.abs(), || of_score(z, alternative), ln_p)
    }
}

/// The tail of the normal curve beyond a score.
fn of_score(z: f64, alternative: Alternative) -> Tail {
    match alternative {
        Alternative::TwoSided => tail(z.abs(), alternative),
        Alternative::Greater => tail(z, alternative),
        Alternative::Less => tail(-z, alternative),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::naive;
    use proptest::prelude::*;

    /// Two samples of each stratum.
    fn strata() -> impl Strategy<Value = Vec<(Vec<f64>, Vec<f64>)>> {
        let sample = || prop::collection::vec((0u8..5).prop_map(f64::from), 0..7);
        prop::collection::vec((sample(), sample()), 1..5)
    }

    fn sum(strata: &[(Vec<f64>, Vec<f64>)], tie_correct: bool) -> StratifiedSum {
        let mut sum = StratifiedSum::default();
        for (x, y) in strata {
            sum.push(&naive::rank_sum(x, y), tie_correct);
        }
        sum
    }

    /// Excesses 2 U - n1 n2 that cancel as fractions: -4/12 + 22/30 - 4/10 = 0.
    #[test]
    fn strata_that_cancel_leave_no_difference() {
        for (n_reference, excess) in [
            ([10u64, 28, 8], [-4i64, 22, -4]),
            ([58, 13, 7], [-8, -3, 3]),
            ([46, 38, 22], [4, 10, -8]),
            ([34, 18, 7], [10, 10, -7]),
        ] {
            let mut sum = StratifiedSum::default();
            for (n, e) in n_reference.into_iter().zip(excess) {
                let twice_u = (n.cast_signed() + e).cast_unsigned();
                sum.push(&RankSum { n_target: 1, n_reference: n, twice_u, ties: 0 }, true);
            }
            let test = sum.test(Alternative::TwoSided).unwrap();
            assert_eq!(
                (test.z_score, test.auroc, test.p.p, test.p.neg_log10),
                (0.0, 0.5, 1.0, 0.0)
            );
        }
    }

    proptest! {
        #[test]
        fn equals_weighted_midranks(strata in strata()) {
            let test = sum(&strata, true).test(Alternative::TwoSided);
            let Some(want) = naive::van_elteren(&strata) else {
                prop_assert!(test.is_none());
                return Ok(());
            };
            let test = test.unwrap();
            // Measured 1e-14; allow 1e-12.
            prop_assert!((test.statistic - want.statistic).abs() <= 1e-12, "{test:?} {want:?}");
            if want.variance > 1e-12 {
                let z = want.excess / want.variance.sqrt();
                prop_assert!((test.z_score - z).abs() <= 1e-12 * z.abs().max(1.0), "{test:?} {want:?}");
                let two = 2.0 * normal::sf(z.abs());
                prop_assert!((test.p.p - two).abs() <= 1e-11 * two);
            } else {
                prop_assert_eq!((test.z_score, test.p.p), (0.0, 1.0));
            }
            for (alternative, z) in [(Alternative::Greater, test.z_score), (Alternative::Less, -test.z_score)] {
                let one = sum(&strata, true).test(alternative).unwrap();
                let p = if want.variance > 1e-12 { normal::sf(z) } else { 1.0 };
                prop_assert_eq!((one.p.p, one.z_score), (p, test.z_score));
            }
        }

        /// The null itself: over all ways to label each stratum's cells, the statistic has the mean
        /// and the variance that the score is made of.
        #[test]
        fn every_relabelling_has_the_null_mean_and_variance(
            strata in prop::collection::vec((prop::collection::vec(0u8..4, 4..7), 1usize..4), 1..3),
        ) {
            let (mut count, mut first, mut second) = (0.0, 0.0, 0.0);
            let mut any = StratifiedSum::default();
            naive::relabellings(&strata, &mut |samples| {
                let sum = sum(samples, true);
                let statistic = sum.statistic.value();
                count += 1.0;
                first += statistic;
                second += statistic * statistic;
                any = sum;
            });
            let mean = first / count;
            prop_assert!((mean - any.pairs.value() / 2.0).abs() < 1e-12);
            prop_assert!((second / count - mean * mean - any.variance.value()).abs() < 1e-11);
        }

        #[test]
        fn one_stratum_is_the_rank_sum_test_without_continuity(
            x in prop::collection::vec(0u8..9, 1..9), y in prop::collection::vec(0u8..9, 1..9),
            tie_correct: bool, kind in 0usize..3,
        ) {
            use crate::stats::{exact::NullTables, wilcoxon};
            let alternative = [Alternative::TwoSided, Alternative::Less, Alternative::Greater][kind];
            let real = |sample: Vec<u8>| sample.into_iter().map(f64::from).collect::<Vec<_>>();
            let strata = [(real(x), real(y))];
            let plain = naive::rank_sum(&strata[0].0, &strata[0].1);
            let options = wilcoxon::Options { alternative, continuity: false, tie_correct, ..Default::default() };
            let plain = plain.test(&options, &NullTables::default()).unwrap();
            let test = sum(&strata, tie_correct).test(alternative).unwrap();
            if plain.p.p.is_nan() {
                prop_assert_eq!((test.z_score, test.p.p), (0.0, 1.0));
            } else {
                prop_assert!((test.z_score - plain.z_score).abs() < 1e-13);
                prop_assert!((test.p.p - plain.p.p).abs() <= 1e-13);
                prop_assert!((test.auroc - plain.auroc).abs() < 1e-15);
            }
        }
    }
}
