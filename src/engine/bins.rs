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

use super::gene::{Cell, Comparison, Question, Scale, Test};
use crate::stats::anderson::AndersonSum;
use crate::stats::moments::Moments;
use crate::stats::ttest::ttest;
use crate::stats::wilcoxon::{RankSum, tie_growth, tie_term};
use std::ops::AddAssign;

/// A bin's number of cells.
pub trait Bin: Copy + Default + Send + Sync + AddAssign + From<u8> + 'static {
    /// The number.
    fn get(self) -> u32;
    /// A number that fits, else the largest that does.
    fn of(cells: u64) -> Self;
}

impl Bin for u16 {
    #[inline]
    fn get(self) -> u32 {
        u32::from(self)
    }

    #[inline]
    fn of(cells: u64) -> Self {
        Self::try_from(cells).unwrap_or(Self::MAX)
    }
}

impl Bin for u32 {
    #[inline]
    fn get(self) -> u32 {
        self
    }

    #[inline]
    fn of(cells: u64) -> Self {
        Self::try_from(cells).unwrap_or(Self::MAX)
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

/// Σ c (2R + r) for a background's `ranks`.
#[inline]
pub fn twice_u<T: Bin>(bins: &[T], ranks: &[u32]) -> u64 {
    bins.iter().zip(ranks).map(|(bin, &rank)| u64::from(bin.get()) * u64::from(rank)).sum()
}

/// What a target's bins add to the ties of a reference with bins `own`; `cells` in both together.
#[inline]
pub fn growth<T: Bin>(bins: &[T], own: &[u32], cells: u64) -> u128 {
    if cells >= EXACT_IN_F64 {
        let terms = bins.iter().zip(own);
        return terms.map(|(c, &r)| tie_growth(u64::from(c.get()), u64::from(r))).sum();
    }
    let term = |c: T, r: u32| {
        let (c, r) = (f64::from(c.get()), f64::from(r));
        c * (c * (c + 3.0 * r) + (3.0 * r * r - 1.0))
    };
    let mut lanes = [0.0; 4];
    let (bins, own) = (bins.chunks_exact(4), own.chunks_exact(4));
    let mut rest = 0.0;
    for (&c, &r) in bins.remainder().iter().zip(own.remainder()) {
        rest += term(c, r);
    }
    for (c, r) in bins.zip(own) {
        for (lane, (&c, &r)) in lanes.iter_mut().zip(c.iter().zip(r)) {
            *lane += term(c, r);
        }
    }
    // Whole and below 2^53.
    lanes.iter().fold(rest, |sum, lane| sum + lane) as u128
}

/// Σ c, Σ v c and Σ v² c: with v below 2^14 and at most 2^30 cells all are below 2^58.
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
        for (v, bin) in (0u32..).zip(bins) {
            let c = u64::from(bin.get());
            sums.cells += c;
            sums.values += u64::from(v) * c;
            if SQUARES {
                sums.squares += u64::from(v * v) * c;
            }
        }
        sums
    }

    /// Those of all cells less these.
    #[must_use]
    pub fn rest(&self, all: &Self) -> Self {
        Self {
            cells: all.cells - self.cells,
            values: all.values - self.values,
            squares: all.squares - self.squares,
        }
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
    pub rest: bool,
}

impl Background<'_> {
    /// A target's bins compared, cells of any other value apart: `sizes` are the two samples'
    /// numbers of cells, `weights` what means are of.
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
                self.rank_sum(bins, sizes).test(options, question.tables).map(Into::into)
            }
            Test::Anderson(options) => {
                let mut sum = AndersonSum::new(sizes.0, sizes.1, options.midrank);
                for (bin, &own) in bins.iter().zip(self.own) {
                    let c = bin.get();
                    sum.push(u64::from(c), u64::from(if self.rest { own - c } else { own }));
                }
                sum.test(options).map(Into::into)
            }
            Test::TTest(options) => {
                let (target, other) = self.moments(bins);
                ttest(&target, &other, options).map(Into::into)
            }
        };
        let (target, other) = self.sums_of(bins, weights, question.scale);
        Cell {
            target_mean: question.scale.after(target / sizes.0 as f64),
            reference_mean: question.scale.after(other / sizes.1 as f64),
            comparison: comparison.unwrap_or(Comparison::NAN),
        }
    }

    fn rank_sum<T: Bin>(&self, bins: &[T], (n_target, n_reference): (u64, u64)) -> RankSum {
        let twice = twice_u(bins, self.ranks);
        let (twice_u, ties) = if self.rest {
            (twice - n_target * n_target, self.ties)
        } else {
            (twice, self.ties + growth(bins, self.own, n_target + n_reference))
        };
        RankSum { n_target, n_reference, twice_u, ties }
    }

    /// The moments of the target's bins and of what they are compared with.
    pub fn moments<T: Bin>(&self, bins: &[T]) -> (Moments, Moments) {
        let target = Sums::of::<_, true>(bins);
        let other = if self.rest { target.rest(&self.sums) } else { self.sums };
        let of = |sums: Sums| Moments::of_sums(sums.cells, sums.values, sums.squares);
        (of(target), of(other))
    }

    /// The sums that both means are of.
    pub fn sums_of<T: Bin>(&self, bins: &[T], weights: &[f64], scale: Scale) -> (f64, f64) {
        if scale.is_of_values() {
            let target = Sums::of::<_, false>(bins).values;
            let other = self.sums.values - if self.rest { target } else { 0 };
            return (target as f64, other as f64);
        }
        let cells = bins.iter().zip(self.own).zip(weights);
        cells.fold((0.0, 0.0), |(target, other), ((c, r), w)| {
            let c = c.get();
            let r = if self.rest { r - c } else { *r };
            // A weight may be infinite where no cell is.
            let times = |cells: u32| if cells == 0 { 0.0 } else { f64::from(cells) * w };
            (target + times(c), other + times(r))
        })
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
            let shared = background(&r, &mut ranks);
            prop_assert_eq!(twice_u(&c, &ranks), want.twice_u);
            let cells = want.n_target + want.n_reference;
            prop_assert_eq!(shared + growth(&c, &r, cells), want.ties);
            prop_assert_eq!(shared + growth(&wide, &r, EXACT_IN_F64), want.ties);
            let sums = Sums::of::<_, true>(&c);
            prop_assert_eq!(sums.values as f64, spread(&wide).iter().sum::<f64>());
            prop_assert_eq!(sums.squares as f64, spread(&wide).iter().map(|v| v * v).sum::<f64>());
        }
    }

    #[test]
    fn ties_are_exact_on_both_sides_of_the_bound() {
        for n in [131_071u32, 131_072, 2_642_246, 1 << 29] {
            let half = u64::from(n / 2);
            let want = tie_term(2 * half) - tie_term(half);
            assert_eq!(growth(&[n / 2], &[n / 2], 2 * half), want, "{n}");
        }
        // The largest sum that f64 takes: all cells in one run.
        let (c, r) = (65_535u16, 65_536u32);
        let want = tie_term(131_071) - tie_term(65_536);
        assert_eq!(growth(&[c, 0, 0, 0, 0], &[r, 0, 0, 0, 0], 131_071), want);
    }

    #[test]
    fn squares_of_the_largest_values() {
        let mut bins = vec![0u32; 16_384];
        bins[16_320..].fill(1 << 24);
        let want: u64 = (16_320u64..16_384).map(|v| (v * v) << 24).sum();
        assert_eq!(Sums::of::<_, true>(&bins).squares, want);
    }
}
