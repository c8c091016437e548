//! The two-sample Kolmogorov-Smirnov test. It is not the one-sample test against a known
//! distribution.
//!
//! # Hypothesis and symbols
//! The null hypothesis is that target and reference come from the same distribution. Of the n1
//! target values M are <= v, of the n2 reference values R are; F1 = M/n1 and F2 = R/n2 are the
//! empirical distribution functions at v.
//!
//! ```text
//! D+ = max over v of (F1 - F2),   D- = max over v of (F2 - F1),   D = max(D+, D-)
//! ```
//!
//! n1 n2 D+ = max (n2 M - n1 R) and n1 n2 D- are integers, computed exactly ([`Distance`]).
//!
//! # The alternatives refer to the distribution functions
//! As in `scipy.stats.ks_2samp`, but **opposite to the rank-sum test and the t-test**:
//!
//! | alternative | statistic | alternative hypothesis |
//! |---|---|---|
//! | two-sided | D | F1 and F2 differ |
//! | greater | D+ | F1 is greater somewhere: the target's *values* are **smaller** |
//! | less | D- | F1 is smaller somewhere: the target's *values* are **greater** |
//!
//! # p-value
//! | method | two-sided | one-sided |
//! |---|---|---|
//! | exact | lattice paths ([`lattice`]) | the same |
//! | asymptotic | P(D_n >= D) for one sample of n = n1 n2 / (n1 + n2) values, n rounded to the nearest integer, halves to even ([`one_sample`]) | exp(-2 z² - 2 z (m + 2 l) / (3 √(m l (m + l)))), z² = D² m l / (m + l), where m and l are the sizes of the larger and the smaller sample (Hodges 1958, Ark. Mat. 3, 469, eq. 5.3) |
//! | auto | exact for equal sizes or n1 n2 <= 2^16 ([`AUTO_POINTS`]), else asymptotic | the same |
//!
//! SciPy 1.17 has the same methods. Its auto is exact while the larger sample has at most 10,000
//! values, which can take seconds per test. -log10 p does not underflow.
//!
//! # Ties
//! As in SciPy, D is the largest difference at the values that occur, and p is computed as if no
//! two values were equal. With ties the test is **conservative** (Noether 1963, Metrika 7, 115): p
//! is too large. For sparse counts it is very conservative: if a fraction t of all cells has the
//! value 0, D is at most about 1 - t.
//!
//! # Degenerate answers
//! | samples | here | SciPy 1.17 |
//! |---|---|---|
//! | n1 = 0 or n2 = 0 | `None` (null) | raises |
//! | all values equal | D = 0, p = 1 | the same |
//! | D = 1, asymptotic, two-sided | p = 0, neg_log10_p = inf | p = 0 |
//! | n1 = n2 = 1, asymptotic, two-sided (n rounds to 0) | p = NaN, or 1 if D = 0 | the same |
//! | exact, n1 n2 > 2^32 ([`EXACT_POINTS`]), unequal sizes | p = NaN; `pdex.de` raises | asymptotic, with a warning |
//! | a NaN among the values | NaN | NaN |
//! | infinite values | treated as ordinary values | the same |
//!
//! Cost: O(distinct values of the target) for D. p by `auto` takes mostly 1 µs, at most about 50
//! µs.

mod lattice;
pub mod one_sample;

pub use lattice::Scratch;

use super::runs::PairRuns;
use super::special::Tail;
use super::{Alternative, unknown};
use crate::cast::{real, whole};
use crate::error::Error;
use lattice::{Sides, log_outside};
use std::str::FromStr;

/// The largest n1 n2 for which [`Method::Auto`] is exact for samples of unequal size.
pub const AUTO_POINTS: u64 = 1 << 16;
/// The largest n1 n2 for which [`Method::Exact`] is computed for unequal sizes: a few seconds.
pub const EXACT_POINTS: u64 = 1 << 32;

/// True if [`Method::Exact`] is computed for samples of these sizes, which must be at most
/// [`super::MAX_CELLS`].
#[must_use]
pub fn exact_is_feasible(n1: u64, n2: u64) -> bool {
    n1 == n2 || n1 * n2 <= EXACT_POINTS
}

/// How the p-value is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// Exact if that is cheap, else asymptotic; depends on the sample sizes only.
    #[default]
    Auto,
    /// From the exact null distribution; NaN if that is too expensive ([`exact_is_feasible`]).
    Exact,
    /// From the asymptotic distribution; see the module header.
    Asymptotic,
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "auto" => Ok(Self::Auto),
            "exact" => Ok(Self::Exact),
            "asymptotic" => Ok(Self::Asymptotic),
            _ => Err(unknown("method", name, &["auto", "exact", "asymptotic"])),
        }
    }
}

/// Options of the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Refers to the distribution functions, not to the values; see the module header.
    pub alternative: Alternative,
    pub method: Method,
}

/// The distances between two empirical distribution functions, from which the test is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Distance {
    /// n1. n1 + n2 is at most [`super::MAX_CELLS`].
    pub n_target: u64,
    /// n2.
    pub n_reference: u64,
    /// n1 n2 D+ = max (n2 M - n1 R).
    pub above: u64,
    /// n1 n2 D- = max (n1 R - n2 M).
    pub below: u64,
}

/// One comparison's result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ks {
    /// D, D+ or D-.
    pub statistic: f64,
    pub p: Tail,
}

/// The distances of a pair. Only the target's runs are visited: F1 - F2 is largest just after one
/// of them, F2 - F1 just before one.
///
/// # Examples
/// ```
/// use pdex::stats::ks::{Distance, Options, Scratch, distance};
/// use pdex::stats::runs::{OwnRun, PairRuns, SharedRuns};
/// // x = [2, 5], y = [1, 2, 3]
/// let mut shared = SharedRuns::default();
/// (0..3).for_each(|_| shared.push(1));
/// let own = [OwnRun::shared(1, 1), OwnRun::alone(3, 1)];
/// let pair =
///     PairRuns { shared: &shared, own: &own, n_target: 2, n_reference: 3, pooled: false };
/// let distance = distance(&pair);
/// assert_eq!(distance, Distance { n_target: 2, n_reference: 3, above: 0, below: 3 });
/// let test = distance.test(&Options::default(), &mut Scratch::default()).ok_or("empty")?;
/// // scipy.stats.ks_2samp([2, 5], [1, 2, 3])
/// assert_eq!(test.statistic, 0.5);
/// assert!((test.p.p - 0.9).abs() < 1e-15);
/// # Ok::<(), &str>(())
/// ```
#[must_use]
pub fn distance(pair: &PairRuns) -> Distance {
    debug_assert!(pair.is_consistent(), "sizes and order of the runs of a pair");
    let &PairRuns { shared, own, n_target, n_reference, pooled } = pair;
    let (mut above, mut below, mut target) = (0, 0, 0);
    // n2 M - n1 R; its absolute value is at most n1 n2 <= 2^58.
    let excess = |target: u64, shared: u64| {
        let reference = shared - if pooled { target } else { 0 };
        (n_reference * target).cast_signed() - (n_target * reference).cast_signed()
    };
    for run in own {
        let at = run.place();
        below = below.max(-excess(target, shared.below(at)));
        target += run.cells();
        above = above.max(excess(target, shared.below(at + usize::from(!run.is_alone()))));
    }
    // After the target's last run F1 is 1, which F2 does not exceed.
    Distance { n_target, n_reference, above: above.cast_unsigned(), below: below.cast_unsigned() }
}

impl Distance {
    /// The statistic and its p-value; `None` if a sample is empty.
    #[must_use]
    pub fn test(&self, options: &Options, scratch: &mut Scratch) -> Option<Ks> {
        let &Self { n_target, n_reference, above, below } = self;
        if n_target == 0 || n_reference == 0 {
            return None;
        }
        let (distance, sides) = match options.alternative {
            Alternative::TwoSided => (above.max(below), Sides::Both),
            Alternative::Greater => (above, Sides::One),
            Alternative::Less => (below, Sides::One),
        };
        let statistic = real(distance) / real(n_target * n_reference);
        let p = if self.takes_exact(options.method) {
            if exact_is_feasible(n_target, n_reference) {
                Tail::from_log(log_outside((n_target, n_reference), distance, sides, scratch))
            } else {
                Tail::NAN
            }
        } else {
            self.asymptotic(statistic, sides)
        };
        Some(Ks { statistic, p })
    }

    /// True if the exact distribution is used: on request, or by the choice of [`Method::Auto`].
    fn takes_exact(&self, method: Method) -> bool {
        let (n1, n2) = (self.n_target, self.n_reference);
        match method {
            Method::Asymptotic => false,
            Method::Exact => true,
            Method::Auto => n1 == n2 || n1 * n2 <= AUTO_POINTS,
        }
    }

    fn asymptotic(&self, statistic: f64, sides: Sides) -> Tail {
        if statistic == 0.0 {
            return Tail::from_p(1.0);
        }
        let large = real(self.n_target.max(self.n_reference));
        let small = real(self.n_target.min(self.n_reference));
        let size = large * small / (large + small);
        if sides == Sides::Both {
            let (p, ln_p) = one_sample::both(whole(size.round_ties_even()), statistic);
            return Tail::new(p, ln_p);
        }
        let z = size.sqrt() * statistic;
        let shift = (large + 2.0 * small) / (large * small * (large + small)).sqrt();
        Tail::from_log(-2.0 * z * z - 2.0 * z * shift / 3.0)
    }
}

/// Compares functions with the rows of `tests/golden/ks.csv`.
#[cfg(test)]
mod golden {
    const TABLE: &str = include_str!("../../../tests/golden/ks.csv");

    /// Largest relative errors of (sf, ln sf) over the rows of `function` whose (n1, x) `keep`
    /// selects. `ours` is called with (n1, n2, x).
    pub fn worst(
        function: &str,
        keep: impl Fn(f64, f64) -> bool,
        mut ours: impl FnMut(f64, f64, f64) -> (f64, f64),
    ) -> (f64, f64) {
        let (mut rows, mut worst) = (0, (0.0_f64, 0.0_f64));
        for line in TABLE.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let number = |i: usize| fields[i].parse::<f64>().unwrap_or(f64::NAN);
            if fields[0] != function || !keep(number(1), number(3)) {
                continue;
            }
            let (sf, log_sf) = ours(number(1), number(2), number(3));
            assert!(!sf.is_nan() && !log_sf.is_nan(), "{line}: NaN");
            let off = |got: f64, want: f64| (got / want - 1.0).abs();
            if number(4) > 1e-300 {
                worst.0 = worst.0.max(off(sf, number(4)));
            }
            // Next to p = 1 the logarithm is compared absolutely.
            let near_one = (log_sf - number(5)).abs();
            worst.1 = worst.1.max(if number(5) > -0.1 { near_one } else { off(log_sf, number(5)) });
            rows += 1;
        }
        assert!(rows > 0, "no row of {function}");
        worst
    }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use crate::stats::naive;
    use proptest::prelude::*;

    fn tail(options: Options, (n1, n2): (u64, u64), c: u64) -> Tail {
        let distance = Distance { n_target: n1, n_reference: n2, above: c, below: 0 };
        distance.test(&options, &mut Scratch::default()).unwrap().p
    }

    fn options(alternative: Alternative, method: Method) -> Options {
        Options { alternative, method }
    }

    /// Integer counts of paths from tests/golden/ks.py, for p down to 1e-300 and below.
    #[test]
    fn paths_are_counted_to_the_last_digits() {
        for (name, alternative) in
            [("two_sided", Alternative::TwoSided), ("one_sided", Alternative::Greater)]
        {
            let exact = options(alternative, Method::Exact);
            let found = golden::worst(
                name,
                |_, _| true,
                |n1, n2, c| {
                    let p = tail(exact, (whole(n1), whole(n2)), whole(c));
                    (p.p, -p.neg_log10 * std::f64::consts::LN_10)
                },
            );
            // Measured 3e-14; allow 1e-12.
            assert!(found.0 < 1e-12 && found.1 < 1e-12, "{name}: {found:?}");
        }
    }

    /// `scipy.stats.ks_2samp(x, y, alternative, method="asymp")` of SciPy 1.17.1, for this D.
    #[test]
    fn asymptotic_ones_equal_scipy() {
        use Alternative::{Greater, Less, TwoSided};
        for (sizes, c, alternative, p) in [
            ((3, 5), 10, TwoSided, 0.22222222222222227),
            ((3, 5), 0, Less, 1.0),
            ((3, 5), 10, Greater, 0.10251175769346066),
            ((7, 12), 60, TwoSided, 0.013588088296543104),
            ((7, 12), 60, Less, 0.005725031266436672),
            ((20, 31), 112, TwoSided, 0.7660428780047348),
            ((20, 31), 112, Less, 0.38247978164476437),
            ((8, 200), 888, Less, 0.005957663392125935),
        ] {
            let distance = Distance { n_target: sizes.0, n_reference: sizes.1, above: c, below: c };
            let asymptotic = options(alternative, Method::Asymptotic);
            let test = distance.test(&asymptotic, &mut Scratch::default()).unwrap();
            assert!((test.p.p / p - 1.0).abs() < 1e-12, "{sizes:?} {c} {alternative:?}: {test:?}");
        }
    }

    /// All labellings of a few cells: without ties p is exact, with ties it is never too small.
    #[test]
    fn all_relabellings() {
        for (cells, targets) in [
            (vec![0, 1, 2, 3, 4, 5, 6], 3),
            (vec![0, 1, 2, 3, 4, 5, 6, 7], 4),
            (vec![0, 1, 2, 3, 4, 5, 6, 7, 8], 2),
            (vec![0, 0, 0, 1, 1, 2, 3, 3], 3),
            (vec![0, 0, 0, 0, 0, 1, 2], 3),
        ] {
            let mut seen = Vec::new();
            let mut visit = |strata: &[(Vec<f64>, Vec<f64>)]| {
                seen.push(naive::ks_distance(&strata[0].0, &strata[0].1));
            };
            naive::relabellings(&[(cells.clone(), targets)], &mut visit);
            let untied = cells.windows(2).all(|pair| pair[0] != pair[1]);
            for alternative in [Alternative::TwoSided, Alternative::Greater, Alternative::Less] {
                let of = |d: &Distance| match alternative {
                    Alternative::TwoSided => d.above.max(d.below),
                    Alternative::Greater => d.above,
                    Alternative::Less => d.below,
                };
                for distance in &seen {
                    let as_far = seen.iter().filter(|other| of(other) >= of(distance)).count();
                    let want = as_far as f64 / seen.len() as f64;
                    let exact = options(alternative, Method::Exact);
                    let p = distance.test(&exact, &mut Scratch::default()).unwrap().p.p;
                    assert!(p >= want - 1e-14 && (!untied || p <= want + 1e-14), "{p} {want}");
                }
            }
        }
    }

    #[test]
    fn degenerate_samples_follow_the_header() {
        let none = Distance { n_target: 0, n_reference: 3, ..Distance::default() };
        assert_eq!(none.test(&Options::default(), &mut Scratch::default()), None);
        for method in [Method::Auto, Method::Exact, Method::Asymptotic] {
            for sizes in [(3, 5), (4, 4), (1, 1), (300, 70_000)] {
                let p = tail(options(Alternative::TwoSided, method), sizes, 0);
                assert_eq!((p.p, p.neg_log10), (1.0, 0.0), "{method:?} {sizes:?}");
            }
        }
        let asymptotic = |alternative| options(alternative, Method::Asymptotic);
        let all = tail(asymptotic(Alternative::TwoSided), (30, 40), 1200);
        assert_eq!((all.p, all.neg_log10), (0.0, f64::INFINITY));
        assert!(tail(asymptotic(Alternative::TwoSided), (1, 1), 1).p.is_nan());
        assert!(tail(asymptotic(Alternative::Less), (30, 40), 0).p == 1.0);
        // On both sides of each bound: exact and asymptotic p differ, and exact p becomes NaN.
        let two_sided = |method| options(Alternative::TwoSided, method);
        let p = |method, sizes, c| tail(two_sided(method), sizes, c).p;
        for (sizes, exact) in [((64, 1024), true), ((65, 1024), false), ((5000, 5000), true)] {
            let c = sizes.0 * sizes.1 / 9;
            let want = if exact { Method::Exact } else { Method::Asymptotic };
            assert_eq!(p(Method::Auto, sizes, c).to_bits(), p(want, sizes, c).to_bits());
            assert_ne!(p(Method::Exact, sizes, c), p(Method::Asymptotic, sizes, c));
        }
        assert!(p(Method::Exact, (1 << 16, (1 << 16) + 1), 1 << 20).is_nan());
        assert!(!p(Method::Exact, (1, 1 << 22), 1 << 21).is_nan());
        assert!(!p(Method::Exact, (1 << 20, 1 << 20), 1 << 30).is_nan());
    }

    #[test]
    fn methods_parse_and_a_wrong_one_names_the_right_ones() {
        assert_eq!("auto".parse(), Ok(Method::Auto));
        assert_eq!("exact".parse(), Ok(Method::Exact));
        assert_eq!("asymptotic".parse(), Ok(Method::Asymptotic));
        let text = "asymp".parse::<Method>().unwrap_err().to_string();
        assert!(text.contains("'asymp'") && text.contains("'asymptotic'"), "{text}");
    }

    /// For p far below the smallest f64: the p-value of fully separated samples is 2 / C(N, n1).
    #[test]
    fn the_logarithm_does_not_underflow() {
        for (n1, n2) in [(400u64, 600u64), (700, 700), (20, 5000)] {
            let ln_total: f64 = (1..=n1).map(|i| (real(n2 + i) / real(i)).ln()).sum();
            let exact = options(Alternative::TwoSided, Method::Exact);
            let got = tail(exact, (n1, n2), n1 * n2).neg_log10 * std::f64::consts::LN_10;
            let want = ln_total - 2f64.ln();
            assert!((got / want - 1.0).abs() < 1e-12, "{n1} {n2}: {got} {want}");
        }
    }

    proptest! {
        #[test]
        fn distances_equal_the_definition(
            runs in prop::collection::vec((0u64..3, 0u64..4), 0..20), pooled: bool,
        ) {
            let (shared, own) = naive::pair_runs(&runs, pooled);
            let (n_target, n_reference) = naive::sizes(&runs);
            let pair = PairRuns { shared: &shared, own: &own, n_target, n_reference, pooled };
            let spread = |pick: fn(&(u64, u64)) -> u64| -> Vec<f64> {
                let cells = (0u32..).zip(&runs);
                cells.flat_map(|(v, run)| std::iter::repeat_n(f64::from(v), pick(run) as usize)).collect()
            };
            prop_assert_eq!(distance(&pair), naive::ks_distance(&spread(|p| p.0), &spread(|p| p.1)));
        }

        /// Exact p-values decrease with D, and a two-sided p is at most twice the one-sided.
        #[test]
        fn p_falls_with_the_distance(n1 in 1u64..40, n2 in 1u64..40, c in 0.0f64..1.0) {
            let c = whole(c * real(n1 * n2));
            let exact = |alternative, c| {
                tail(options(alternative, Method::Exact), (n1, n2), c).neg_log10
            };
            let (two, one) = (exact(Alternative::TwoSided, c), exact(Alternative::Greater, c));
            prop_assert!(exact(Alternative::TwoSided, (c + 1).min(n1 * n2)) >= two - 1e-12);
            prop_assert!(one >= two - 1e-12 && one <= two + 2f64.log10() + 1e-12);
        }
    }
}
