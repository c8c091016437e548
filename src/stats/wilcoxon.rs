//! The Wilcoxon rank-sum (Mann-Whitney U) test of two independent samples; not the signed-rank
//! test of paired ones.
//!
//! # Hypothesis
//! x and y come from one distribution.  U1 = Σ over pairs of [x > y] + ½ [x = y].
//!
//! # Formulae
//! With t over the runs of tied values of the pooled sample and c = ½ with continuity, else 0:
//!
//! ```text
//! s² = n1 n2 / 12 · ((N + 1) - Σ(t³ - t) / (N (N - 1)))            (Lehmann 1975, eq. 1.34)
//! z  = (max(U1, U2) - n1 n2 / 2 - c) / s,   p = min(1, 2 sf(z))    two-sided
//! ```
//!
//! "greater" takes U1 and "less" U2 = n1 n2 - U1 instead of the maximum, and p = sf(z).
//! # Given the ties
//! The normal curve is poor where many values are tied and few cells of the target are not zero.
//! [`Method::Exact`], [`Method::Conditional`] and [`Method::Auto`] take the distribution of U over all
//! C(N, n1) choices of the target's cells instead ([`super::conditional`], with midranks as scores), of
//! samples without ties the exact one from a table ([`super::exact`]).  Two-sided p-values are twice the
//! smaller tail.  `Auto` keeps the normal curve for small |z| and passes over to the tail given
//! the ties ([`super::conditional::OF_RANKS`]), so that p falls as |z| grows.
//!
//! # Exactness
//! 2 U1 and Σ(t³ - t) are integers, and so is N³ - N - Σ(t³ - t), the factor of s² that a nearly
//! constant gene makes small: all are taken in integers, rounded once.  SciPy subtracts in f64,
//! and loses a factor N of precision there.
//!
//! # Degenerate answers
//! | samples | here | SciPy 1.17 |
//! |---|---|---|
//! | n1 = 0 or n2 = 0 | none (null) | NaN |
//! | all values equal, continuity | p = 1, z = 0 | p = 1 |
//! | all values equal, no continuity | p = z = NaN; given the ties p = 1 | NaN |
//! | ties, `Method::Exact` | given the ties | a p-value that ignores the ties |
//! | a NaN among the values | all NaN | NaN |
//!
//! Cost: O(1) from the rank sum.

use super::conditional::{OF_RANKS, Tails, TooMany, ln_sides, of_tails, points_away};
use super::exact::{self, NullTables};
use super::special::{Tail, normal};
use super::{Alternative, unknown};
use crate::cast::{real, real_signed, widest};
use crate::error::Error;
use std::str::FromStr;

/// How the p-value is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// The normal approximation.
    #[default]
    Asymptotic,
    /// The null distribution of U, given the ties.
    Exact,
    /// The double saddlepoint approximation of it.
    Conditional,
    /// The normal approximation near the mean; beyond, exact where that is cheap, else conditional.
    Auto,
    /// SciPy's choice: exact where a sample has 8 or fewer values and nothing is tied, else
    /// asymptotic.
    Scipy,
}

/// Pooled samples up to this size are summed exactly, whatever z.
const SMALL: u64 = 40;

impl FromStr for Method {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "asymptotic" => Ok(Self::Asymptotic),
            "exact" => Ok(Self::Exact),
            "auto" => Ok(Self::Auto),
            "conditional" => Ok(Self::Conditional),
            "scipy" => Ok(Self::Scipy),
            _ => Err(unknown("method", name, &["auto", "exact", "conditional", "asymptotic"])),
        }
    }
}

/// What a caller may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub alternative: Alternative,
    pub method: Method,
    /// Subtract ½ from the distance between U and its mean.
    pub continuity: bool,
    /// Reduce the variance by the tied runs.
    pub tie_correct: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            alternative: Alternative::TwoSided,
            method: Method::Asymptotic,
            continuity: true,
            tie_correct: true,
        }
    }
}

/// t³ - t of one run of `t` tied values, exact for any `t`: t³ passes u32 at 1,626 and u64 at
/// 2,642,246.
#[must_use]
pub fn tie_term(t: u64) -> u128 {
    let t = u128::from(t);
    t * t * t - t
}

/// What `target` more tied values add to the tie term of a run of `reference` values:
/// (r + c)³ - (r + c) - (r³ - r) = c (c² + 3rc + 3r² - 1).
///
/// Both are at most [`super::MAX_CELLS`], so that the factor in brackets fits u64.
#[must_use]
#[inline]
pub fn tie_growth(target: u64, reference: u64) -> u128 {
    let (c, r) = (target, reference);
    debug_assert!(c.max(r) <= super::MAX_CELLS, "more cells than a test may pool");
    if c == 0 {
        return 0;
    }
    u128::from(c) * u128::from(c * c + 3 * r * c + 3 * r * r - 1)
}

/// The sufficient statistics of one comparison: sizes, rank sum and ties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RankSum {
    /// n1, at most [`super::MAX_CELLS`] together with n2.
    pub n_target: u64,
    /// n2.
    pub n_reference: u64,
    /// 2 U1, an integer since U1 is a multiple of ½.
    pub twice_u: u64,
    /// Σ(t³ - t) over the tied runs of the pooled sample.
    pub ties: u128,
}

/// A rank sum while it is filled, run by run in ascending order of value.
///
/// # Examples
/// ```
/// use pdex::stats::wilcoxon::RankSumState;
/// // x = [2, 5], y = [1, 2, 3]: the runs of 1, 2, 3 and 5
/// let mut state = RankSumState::default();
/// for (target, other) in [(0, 1), (1, 1), (0, 1), (1, 0)] {
///     state.push(target, other);
/// }
/// let sum = state.finish(2, 3);
/// assert_eq!((sum.twice_u, sum.ties), (9, 6));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RankSumState {
    twice_u: u64,
    below: u64,
    ties: u128,
}

impl RankSumState {
    /// Adds the next larger distinct value: how many cells of either sample have it.
    #[inline]
    pub fn push(&mut self, target: u64, other: u64) {
        self.twice_u += target * (2 * self.below + other);
        self.below += other;
        self.ties += tie_term(target + other);
    }

    /// The rank sum of samples of these sizes.
    #[must_use]
    pub fn finish(self, n_target: u64, n_reference: u64) -> RankSum {
        let Self { twice_u, ties, .. } = self;
        RankSum { n_target, n_reference, twice_u, ties }
    }
}

/// One comparison's result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wilcoxon {
    /// U1 of the target.
    pub statistic: f64,
    pub p: Tail,
    /// (U1 - n1 n2 / 2) / s, the continuity correction moving it towards 0.
    pub z_score: f64,
    /// U1 / (n1 n2): the chance that a target's value exceeds a reference's.
    pub auroc: f64,
}

impl Options {
    /// True if p-values that kernels leave as NaN depend on |z score| alone:
    /// [`normal::two_sided_all`] then computes many at once.
    #[must_use]
    pub fn p_of_score(&self) -> bool {
        let of_score = match self.method {
            Method::Asymptotic => true,
            Method::Auto => self.tie_correct,
            Method::Exact | Method::Conditional | Method::Scipy => false,
        };
        of_score && self.alternative == Alternative::TwoSided
    }
}

impl RankSum {
    /// True if the exact distribution is to be used: asked for, or chosen by [`Method::Auto`].
    fn takes_table(&self, method: Method) -> bool {
        let feasible = || self.ties == 0 && exact::feasible(self.n_target, self.n_reference);
        match method {
            Method::Asymptotic | Method::Conditional => false,
            Method::Exact => feasible(),
            Method::Auto | Method::Scipy => self.n_target.min(self.n_reference) <= 8 && feasible(),
        }
    }

    /// True if the p-value takes the pooled runs; `deviation` is that of U given the ties.
    #[inline]
    fn needs_runs(&self, method: Method, deviation: f64) -> bool {
        match method {
            Method::Asymptotic | Method::Scipy => false,
            _ if deviation == 0.0 => false,
            Method::Exact | Method::Conditional => true,
            Method::Auto => {
                let beyond =
                    real_signed(self.twice_excess().abs()) > 2.0 * OF_RANKS.from * deviation;
                beyond || self.n_target + self.n_reference <= SMALL
            }
        }
    }

    /// 2 (U1 - n1 n2 / 2), exact.
    fn twice_excess(&self) -> i64 {
        self.twice_u.cast_signed() - (self.n_target * self.n_reference).cast_signed()
    }

    /// The p-value given the ties, from the pooled runs that `tails` was filled with.
    ///
    /// # Errors
    /// [`TooMany`] where [`Method::Exact`] would take too long.
    pub fn given_ties(&self, options: &Options, tails: &mut Tails) -> Result<Tail, TooMany> {
        // With centred midranks T is U1 - n1 n2 / 2.
        let (n_target, t) = (self.n_target, real_signed(self.twice_excess()) / 2.0);
        let alternative = options.alternative;
        match options.method {
            Method::Exact => return Ok(of_tails(tails.sums(n_target, t)?, alternative)),
            Method::Conditional => return Ok(of_tails(tails.smooth(n_target, t), alternative)),
            _ if n_target + self.n_reference <= SMALL => {
                if let Ok(sums) = tails.sums(n_target, t) {
                    return Ok(of_tails(sums, alternative));
                }
            }
            _ => {}
        }
        let deviation = self.variance(true).sqrt();
        let z = (t / deviation).abs();
        let correction = i64::from(options.continuity);
        let near = || asymptotic_tail(self.twice_excess(), correction, deviation, alternative);
        if z <= OF_RANKS.from || points_away(t, alternative) {
            return Ok(near());
        }
        let ln_p = tails.best(n_target, t) + ln_sides(alternative);
        Ok(OF_RANKS.pass(z, near, ln_p))
    }

    /// U1 / (n1 n2): the chance that a target's value exceeds a reference's; NaN where a sample is
    /// empty.
    #[must_use]
    pub fn auroc(&self) -> f64 {
        real(self.twice_u) / 2.0 / real(self.n_target * self.n_reference)
    }

    /// The variance s² of U under the null.
    pub(super) fn variance(&self, tie_correct: bool) -> f64 {
        let n = self.n_target + self.n_reference;
        debug_assert!(n <= super::MAX_CELLS, "more cells than a test may pool");
        debug_assert!(self.ties <= tie_term(n), "more ties than cells");
        let pairs = real(self.n_target) * real(self.n_reference);
        let factor = if tie_correct {
            // (N + 1) - T / (N (N - 1)) = (N³ - N - T) / (N (N - 1)); N = 1 has no pairs.
            let spread = tie_term(n) - self.ties;
            // The same number, the sooner for fewer than 2.6 million cells.
            let spread = u64::try_from(spread).map_or_else(|_| widest(spread), real);
            spread / (real(n) * (real(n) - 1.0))
        } else {
            real(n) + 1.0
        };
        pairs / 12.0 * factor
    }

    /// The test; `None` where a sample is empty.
    ///
    /// # Examples
    /// ```
    /// use pdex::stats::{exact::NullTables, wilcoxon::{Options, RankSum}};
    /// // x = [3, 4, 5], y = [1, 2, 3]: U1 = 8.5, one run of two tied values.
    /// let sums = RankSum { n_target: 3, n_reference: 3, twice_u: 17, ties: 6 };
    /// let test = sums.test(&Options::default(), &NullTables::default()).ok_or("empty")?;
    /// assert_eq!(test.statistic, 8.5);
    /// // scipy.stats.mannwhitneyu([3, 4, 5], [1, 2, 3], method="asymptotic").pvalue
    /// assert!((test.p.p - 0.121_183_272_837_462_5).abs() < 1e-15);
    /// # Ok::<(), &str>(())
    /// ```
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn test(&self, options: &Options, tables: &NullTables) -> Option<Wilcoxon> {
        let (mut test, needs_runs) = self.scored(options, tables)?;
        debug_assert!(!needs_runs, "a method that takes the runs");
        if options.p_of_score() {
            test.p = normal::two_sided(test.z_score.abs());
        }
        Some(test)
    }

    /// [`RankSum::test`], but the p-value is yet to come (NaN) where the second part of the answer is
    /// true, which leaves it to [`RankSum::given_ties`], or else where [`Options::p_of_score`].
    #[must_use]
    pub fn scored(&self, options: &Options, tables: &NullTables) -> Option<(Wilcoxon, bool)> {
        if self.n_target == 0 || self.n_reference == 0 {
            return None;
        }
        let twice_excess = self.twice_excess();
        let deviation = self.variance(options.tie_correct).sqrt();
        let given_ties = if options.tie_correct { deviation } else { self.variance(true).sqrt() };
        let correction = i64::from(options.continuity);
        let from_table = self.takes_table(options.method);
        let needs_runs = !from_table && self.needs_runs(options.method, given_ties);
        let p = if from_table {
            self.exact_tail(options.alternative, tables)
        } else if given_ties == 0.0 && !matches!(options.method, Method::Asymptotic | Method::Scipy)
        {
            // All values are equal, so that U has one value.
            Tail::from_p(1.0)
        } else if needs_runs || options.p_of_score() {
            Tail::NAN
        } else {
            let auto = options.method == Method::Auto;
            let deviation = if auto { given_ties } else { deviation };
            asymptotic_tail(twice_excess, correction, deviation, options.alternative)
        };
        let shrunk = (twice_excess.abs() - correction).max(0) * twice_excess.signum();
        let z_score = if deviation == 0.0 && options.continuity {
            0.0
        } else {
            real_signed(shrunk) / 2.0 / deviation
        };
        let statistic = real(self.twice_u) / 2.0;
        Some((Wilcoxon { statistic, p, z_score, auroc: self.auroc() }, needs_runs))
    }

    fn exact_tail(&self, alternative: Alternative, tables: &NullTables) -> Tail {
        let pairs = self.n_target * self.n_reference;
        let (u1, u2) = (self.twice_u / 2, pairs - self.twice_u / 2);
        let sf = |u| tables.sf(u, self.n_target, self.n_reference);
        match alternative {
            Alternative::TwoSided => {
                let (p, ln_p) = sf(u1.max(u2));
                Tail::two_sided(p, ln_p)
            }
            Alternative::Greater => {
                let (p, ln_p) = sf(u1);
                Tail::one_sided(p, ln_p)
            }
            Alternative::Less => {
                let (p, ln_p) = sf(u2);
                Tail::one_sided(p, ln_p)
            }
        }
    }
}

/// The tail beyond z = (|excess| or ±excess, less the correction) / s; all integers doubled.
fn asymptotic_tail(
    twice_excess: i64,
    correction: i64,
    deviation: f64,
    alternative: Alternative,
) -> Tail {
    let towards = match alternative {
        Alternative::TwoSided => twice_excess.abs(),
        Alternative::Greater => twice_excess,
        Alternative::Less => -twice_excess,
    };
    tail(real_signed(towards - correction) / 2.0 / deviation, alternative)
}

/// The tail beyond a score that points the alternative's way.
pub(super) fn tail(z: f64, alternative: Alternative) -> Tail {
    match alternative {
        Alternative::TwoSided => normal::two_sided(z),
        _ => Tail::one_sided(normal::sf(z), normal::log_sf(z)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::MAX_CELLS;

    /// t³ on both sides of u32, of u64 and at the most cells; whole numbers by Python.
    #[test]
    fn tie_terms_are_exact_at_every_bound() {
        for (t, want) in [
            (0, 0),
            (1, 0),
            (2, 6),
            (1_625, 4_291_014_000),
            (1_626, 4_298_940_750),
            (2_642_245, 18_446_724_184_310_213_880),
            (2_642_246, 18_446_745_128_694_060_690),
            (MAX_CELLS, 1_237_940_039_285_380_273_825_382_400),
            (u64::from(u32::MAX), 79_228_162_458_924_105_381_005_230_080),
        ] {
            assert_eq!(tie_term(t), want, "{t}");
        }
    }

    /// The growth is the difference of two terms, up to the most cells in either.
    #[test]
    fn tie_growth_is_a_difference_at_every_bound() {
        for r in [0, 1, 1_625, 2_642_245, MAX_CELLS - 1, MAX_CELLS] {
            for c in [0, 1, 2, 1_626, 2_642_246, MAX_CELLS - 1, MAX_CELLS] {
                assert_eq!(tie_growth(c, r), tie_term(c + r) - tie_term(r), "{c} {r}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "more cells")]
    #[cfg(debug_assertions)]
    fn more_cells_are_seen_in_tests() {
        let _ = tie_growth(MAX_CELLS + 1, 0);
    }

    /// (n1, n2, cells in the one tied run, s²).
    const VARIANCES: [(u64, u64, u64, f64); 6] = [
        (1000, 2641245, 2642244, 660311250.0),
        (1000, 2641246, 2642245, 660311500.0),
        (1000, 2641245, 7, 581568253022500.0),
        (1000, 2641246, 7, 581568693313500.0),
        (536870912, 536870912, 1073741823, 7.205759403792794e+16),
        (536870912, 536870912, 5, 2.579041750913129e+25),
    ];

    /// N³ - N leaves u64 between these: n1 n2 (N + 1) / 12, less ties, by Python's fractions.
    #[test]
    fn variances_keep_their_digits_on_both_sides_of_u64() {
        let sums = |n_target, n_reference, tied| RankSum {
            n_target,
            n_reference,
            twice_u: 0,
            ties: tie_term(tied),
        };
        for (n1, n2, tied, want) in VARIANCES {
            let got = sums(n1, n2, tied).variance(true);
            // Measured 2e-16; allow 1e-15.
            assert!((got / want - 1.0).abs() < 1e-15, "{n1} {n2} {tied}: {got}");
        }
    }
}
