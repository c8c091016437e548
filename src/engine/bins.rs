//! Two histograms of one gene compared: every test from counts of small whole numbers.
//!
//! # Symbols
//! Bin v holds the cells with value v: c_v of the target, r_v of the background (the reference, or
//! all labelled cells).  R_v = Σ r over the bins below v.
//!
//! # Formulae
//! ```text
//! 2 U1 = Σ c (2R + r)  (less n1² where the background holds the target)
//! ties = Σ c (c² + 3rc + 3r² - 1) beyond Σ (r³ - r)
//! mean = Σ v c / n1,  m2 = (n1 Σ v² c - (Σ v c)²) / n1
//! ```
//! all in integers.  The ties take f64 where every term and sum stays below 2^53, which is as
//! exact, and u128 beyond.
//!
//! Cost: O(bins), without a branch.

use super::question::{Cell, Comparison, Question, Scale, Test};
use crate::stats::anderson::AndersonSum;
use crate::stats::moments::PowerSums;
use crate::stats::ttest::ttest;
use crate::stats::two::Two;
use crate::stats::wilcoxon::{RankSum, tie_growth, tie_term};
use multiversion::multiversion;
use std::ops::AddAssign;

/// A bin's number of cells.
pub trait Bin: Copy + Default + Send + Sync + AddAssign + From<u8> + 'static {
    /// The number.
    fn get(self) -> u32;
}

impl Bin for u16 {
    #[inline]
    fn get(self) -> u32 {
        u32::from(self)
    }
}

impl Bin for u32 {
    #[inline]
    fn get(self) -> u32 {
        self
    }
}

/// Samples up to this size pool fewer than 2^17 cells, whose cube is below 2^53.
const EXACT_IN_F64: u64 = 1 << 17;

/// 2R + r of each bin of a background, into `ranks`; returns Σ (r³ - r).
pub fn background(own: &[u32], ranks: &mut [u32]) -> u128 {
    let (mut below, mut ties) = (0, 0);
    for (&own, rank) in own.iter().zip(ranks) {
        *rank = 2 * below + own;
        below += own;
        ties += tie_term(u64::from(own));
    }
    ties
}

/// What one pass over a target's bins (but the first) and the background's yields.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Ranked {
    cells: u64,
    values: u64,
    /// Σ c (2R + r).
    twice: u64,
    /// Σ c (c² + 3rc + 3r² - 1), exact below 2^53; 0 unless asked for.
    growth: f64,
}

/// One pass; bin 0 takes no part.
#[multiversion(targets = "simd")]
fn ranked<T: Bin, const TIES: bool>(bins: &[T], ranks: &[u32], own: &[u32]) -> Ranked {
    let mut all = Ranked::default();
    for (v, (bin, &rank)) in (0u32..).zip(bins.iter().zip(ranks)) {
        let c = bin.get();
        all.cells += u64::from(c);
        all.values += u64::from(v) * u64::from(c);
        all.twice += u64::from(c) * u64::from(rank);
    }
    let term = |c: u32, r: u32| {
        let (c, r) = (f64::from(c), f64::from(r));
        c * (c * (c + 3.0 * r) + (3.0 * r * r - 1.0))
    };
    if TIES {
        let mut lanes = [0.0; 4];
        let (fours, owns) = (bins.as_chunks::<4>(), own.as_chunks::<4>());
        for (c, r) in fours.0.iter().zip(owns.0) {
            for i in 0..4 {
                lanes[i] += term(c[i].get(), r[i]);
            }
        }
        for (c, &r) in fours.1.iter().zip(owns.1) {
            lanes[0] += term(c.get(), r);
        }
        all.growth = lanes.iter().sum();
    }
    if let (Some(c), Some(&rank), Some(&r)) = (bins.first(), ranks.first(), own.first()) {
        all.cells -= u64::from(c.get());
        all.twice -= u64::from(c.get()) * u64::from(rank);
        if TIES {
            all.growth -= term(c.get(), r);
        }
    }
    all
}

/// What a target's bins (but the first) and `zeros` add to the ties of a reference with bins `own`.
fn exact_growth<T: Bin>(bins: &[T], own: &[u32], zeros: u64) -> u128 {
    let terms = bins.iter().zip(own).skip(1);
    let beyond = terms.map(|(c, &r)| tie_growth(u64::from(c.get()), u64::from(r))).sum::<u128>();
    beyond + tie_growth(zeros, u64::from(own[0]))
}

/// Σ c, Σ v c and Σ v² c over all bins but the first: with v below 2^14 and at most 2^30 cells all
/// are below 2^58.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub cells: u64,
    pub values: u64,
    /// 0 unless asked for.
    pub squares: u64,
}

impl Sums {
    /// The sums of a histogram.
    #[inline]
    #[must_use]
    pub fn of<T: Bin, const SQUARES: bool>(bins: &[T]) -> Self {
        let mut sums = Self::default();
        for (v, bin) in (0u32..).zip(bins).skip(1) {
            let c = u64::from(bin.get());
            sums.cells += c;
            sums.values += u64::from(v) * c;
            if SQUARES {
                sums.squares += u64::from(v * v) * c;
            }
        }
        sums
    }
}

/// One gene's bins of the reference, or (`rest`) of all labelled cells.
#[derive(Debug, Clone, Copy)]
pub struct Background<'a> {
    pub own: &'a [u32],
    /// 2R + r of each bin.
    pub ranks: &'a [u32],
    /// Σ (r³ - r).
    pub ties: u128,
    pub sums: Sums,
    /// All its cells with a bin, zeros among them.
    pub cells: u64,
    pub rest: bool,
}

impl Background<'_> {
    /// A target's bins compared: `sizes` are the two samples' numbers of cells, `weights` what
    /// means are of.  Cells of the target without a bin are zeros; bin 0 takes no part.
    /// [`Test::complete`] has yet to make the p-values of scores.
    #[inline]
    pub fn cell<T: Bin>(
        &self,
        bins: &[T],
        sizes: (u64, u64),
        weights: &[f64],
        question: &Question,
    ) -> Cell {
        let comparison = match &question.test {
            Test::Wilcoxon(options) => {
                let (sums, values) = self.rank_sum(bins, sizes);
                let comparison = sums.scored(options, question.tables).map(Into::into);
                let means = (question.scale == Scale::Plain).then(|| {
                    let other = self.sums.values - if self.rest { values } else { 0 };
                    (values as f64 / sizes.0 as f64, other as f64 / sizes.1 as f64)
                });
                if let Some((target_mean, reference_mean)) = means {
                    let comparison = comparison.unwrap_or(Comparison::NAN);
                    return Cell { target_mean, reference_mean, comparison };
                }
                comparison
            }
            Test::Anderson(options) => {
                let mut sum = AndersonSum::new(sizes.0, sizes.1, options.midrank);
                let cells: u64 = bins.iter().skip(1).map(|bin| u64::from(bin.get())).sum();
                let counts = bins.iter().skip(1).map(|bin| u64::from(bin.get()));
                for (c, &own) in std::iter::once(sizes.0 - cells).chain(counts).zip(self.own) {
                    let own = u64::from(own);
                    sum.push(c, if self.rest { own - c } else { own });
                }
                sum.test(options).map(Into::into)
            }
            Test::TTest(options) => {
                let (target, other) = self.power_sums(bins, sizes);
                ttest(&target.moments(), &other.moments(), options).map(Into::into)
            }
        };
        let mut comparison = comparison.unwrap_or(Comparison::NAN);
        if question.test.lacks_auroc(question.auroc) {
            let (sums, _) = self.rank_sum(bins, sizes);
            comparison = comparison.with_auroc(&question.test, sums.auroc());
        }
        let (target, other) = self.sums_of(bins, weights, question.scale);
        Cell {
            target_mean: question.scale.mean(target, sizes.0),
            reference_mean: question.scale.mean(other, sizes.1),
            comparison,
        }
    }

    /// The rank sum, and the target's Σ v c.
    pub fn rank_sum<T: Bin>(&self, bins: &[T], sizes: (u64, u64)) -> (RankSum, u64) {
        let (n_target, n_reference) = sizes;
        let small = n_target + n_reference < EXACT_IN_F64 && !self.rest;
        let sums = if small {
            ranked::<T, true>(bins, self.ranks, self.own)
        } else {
            ranked::<T, false>(bins, self.ranks, self.own)
        };
        let zeros = n_target - sums.cells;
        let twice = sums.twice + zeros * u64::from(self.ranks[0]);
        let (twice_u, ties) = if self.rest {
            (twice - n_target * n_target, self.ties)
        } else if small {
            let growth = u128::from(sums.growth as u64) + tie_growth(zeros, u64::from(self.own[0]));
            (twice, self.ties + growth)
        } else {
            (twice, self.ties + exact_growth(bins, self.own, zeros))
        };
        (RankSum { n_target, n_reference, twice_u, ties }, sums.values)
    }

    /// The power sums of the target's bins and of what they are compared with.
    pub fn power_sums<T: Bin>(&self, bins: &[T], sizes: (u64, u64)) -> (PowerSums, PowerSums) {
        let target = Sums::of::<_, true>(bins);
        let rest = |all: u64, own: u64| if self.rest { all - own } else { all };
        let (values, squares) =
            (rest(self.sums.values, target.values), rest(self.sums.squares, target.squares));
        let cells = rest(self.cells, sizes.0);
        (
            PowerSums::of_counts(sizes.0, target.values, target.squares),
            PowerSums::of_counts(cells, values, squares),
        )
    }

    /// The sums that both means are of.
    pub fn sums_of<T: Bin>(&self, bins: &[T], weights: &[f64], scale: Scale) -> (Two, Two) {
        if scale.is_of_values() {
            let target = Sums::of::<_, false>(bins).values;
            let other = self.sums.values - if self.rest { target } else { 0 };
            return (target.into(), other.into());
        }
        // Zeros weigh nothing.
        let cells = bins.iter().zip(self.own).zip(weights).skip(1);
        let (mut target, mut other) = (Two::default(), Two::default());
        for ((c, &r), &w) in cells {
            let c = c.get();
            let r = if self.rest { r - c } else { r };
            target.add_times(w, c.into());
            other.add_times(w, r.into());
        }
        (target, other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::naive;
    use proptest::prelude::*;

    fn spread(bins: &[u32]) -> Vec<f64> {
        let cells = |(v, &c): (usize, &u32)| std::iter::repeat_n(v as f64, c as usize);
        bins.iter().enumerate().flat_map(cells).collect()
    }

    proptest! {
        #[test]
        fn equals_the_definition(pairs in prop::collection::vec((0u16..6, 0u32..9), 1..23)) {
            let (c, r): (Vec<u16>, Vec<u32>) = pairs.into_iter().unzip();
            let wide: Vec<u32> = c.iter().map(|&c| u32::from(c)).collect();
            let want = naive::rank_sum(&spread(&wide), &spread(&r));
            let mut ranks = vec![0; r.len()];
            let ties = background(&r, &mut ranks);
            let (n1, n2) = (want.n_target, want.n_reference);
            let own = Background {
                own: &r, ranks: &ranks, ties, sums: Sums::of::<_, true>(&r), cells: n2, rest: false,
            };
            let zeros = u64::from(c[0]);
            prop_assert_eq!(own.rank_sum(&c, (n1, n2)).0, want);
            prop_assert_eq!(own.rank_sum(&wide, (n1, n2)).0, want);
            prop_assert_eq!(ties + exact_growth(&wide, &r, zeros), want.ties);
            // The same cells beside all of both.
            let all: Vec<u32> = wide.iter().zip(&r).map(|(c, r)| c + r).collect();
            let ties = background(&all, &mut ranks);
            let rest = Background {
                own: &all, ranks: &ranks, ties, sums: Sums::of::<_, true>(&all), cells: n1 + n2, rest: true,
            };
            prop_assert_eq!(rest.rank_sum(&c, (n1, n2)).0, want);
            let sums = Sums::of::<_, true>(&c);
            prop_assert_eq!(sums.values as f64, spread(&wide).iter().sum::<f64>());
            prop_assert_eq!(sums.squares as f64, spread(&wide).iter().map(|v| v * v).sum::<f64>());
        }
    }

    #[test]
    fn ties_are_exact_on_both_sides_of_the_bound() {
        for n in [65_535u64, 65_536, 1_321_123, 1 << 28] {
            // All cells of both in one run above zero.
            let (c, r) = ([0, n as u32], [0, n as u32]);
            let mut ranks = [0; 2];
            let ties = background(&r, &mut ranks);
            let sums = Sums::of::<_, true>(&r);
            let own = Background { own: &r, ranks: &ranks, ties, sums, cells: n, rest: false };
            let (got, _) = own.rank_sum(&c, (n, n));
            assert_eq!((got.ties, got.twice_u), (tie_term(2 * n), n * n), "{n}");
        }
    }

    #[test]
    fn squares_of_the_largest_values() {
        let mut bins = vec![0u32; 16_384];
        bins[16_320..].fill(1 << 24);
        let want: u64 = (16_320u64..16_384).map(|v| (v * v) << 24).sum();
        assert_eq!(Sums::of::<_, true>(&bins).squares, want);
    }
}
