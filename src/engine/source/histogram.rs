//! Two histograms of one gene compared: the views of small counts.
//!
//! # Symbols
//! Bin v holds the cells with value v: c_v of the target, r_v of what it is compared with (the
//! reference's cells, or, pooled, those of all groups).  R_v = Σ r over the bins below v.
//!
//! # Formulae
//! ```text
//! 2 U1 = Σ c (2R + r)  (less n1² where the pooled bins hold the target)
//! ties = Σ c (c² + 3rc + 3r² - 1) beyond Σ (r³ - r)
//! mean = Σ v c / n1,  m2 = (n1 Σ v² c - (Σ v c)²) / n1
//! ```
//! all in integers.  The ties take f64 where every term and sum stays below 2^53, which is as
//! exact, and u128 beyond.
//!
//! Cells of a group that have no bin are zeros, but for those in its overflow list
//! ([`super::overflow`]); so bin 0 of a target takes no part.
//!
//! Cost: O(bins), without a branch; pairs that overflow values enter are merged value by value.

use super::bin::{Bin, Sums};
use super::overflow::{Ascending, KeyedRuns, OverflowEntry};
use crate::cast::{cells as narrow_cells, real, whole, wide};
use crate::engine::pair::{Pair, pool_apart};
use crate::engine::request::Scale;
use crate::engine::test::{Prepared, Test};
use crate::matrix::Value;
use crate::stats::conditional::{PooledRuns, SampleValues};
use crate::stats::double_double::DoubleDouble;
use crate::stats::moments::{GroupMoments, Moments, PowerSums};
use crate::stats::runs::{FewRuns, OwnRun, PairRuns};
use crate::stats::wilcoxon::{RankSum, RankSumState, tie_growth, tie_term};
use multiversion::multiversion;
use std::iter;

/// Samples up to this size pool fewer than 2^17 cells, whose cube is below 2^53.
const EXACT_IN_F64: u64 = 1 << 17;

/// 2R + r of each shared bin, into `ranks`; returns Σ (r³ - r).
pub fn rank_bins(shared: &[u32], ranks: &mut [u32]) -> u128 {
    debug_assert!(shared.len() == ranks.len());
    let (mut below, mut ties) = (0, 0);
    for (&own, rank) in shared.iter().zip(ranks) {
        *rank = 2 * below + own;
        below += own;
        ties += tie_term(u64::from(own));
    }
    ties
}

/// What one pass over a target's bins (but the first) and the shared ones yields.
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

/// What a target's bins (but the first) and `zeros` add to the ties of a shared sample with bins `own`.
fn exact_growth<T: Bin>(bins: &[T], own: &[u32], zeros: u64) -> u128 {
    let terms = bins.iter().zip(own).skip(1);
    let beyond = terms.map(|(c, &r)| tie_growth(u64::from(c.get()), u64::from(r))).sum::<u128>();
    beyond + tie_growth(zeros, u64::from(own[0]))
}

/// One gene's bins of the reference, or (`pooled`) of all groups: what every target is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Shared<'a, V> {
    pub bins: &'a [u32],
    /// 2R + r of each bin.
    pub ranks: &'a [u32],
    /// True if the bins hold the target's cells, too.
    pub pooled: bool,
    /// The transformation of each bin's value before averaging, and of means.
    pub weights: &'a [f64],
    pub scale: Scale,
    pub gene: &'a SharedGene<V>,
}

/// What is kept of the shared cells of a gene beside their bins.
#[derive(Debug)]
pub struct SharedGene<V> {
    /// Σ (r³ - r), overflow values included.
    pub ties: u128,
    pub sums: Sums,
    /// Cells with a bin, zeros among them.
    pub binned: u64,
    /// Values without a bin, ascending.
    pub overflow: Vec<V>,
    /// True if an overflow value lies below the last bin's.
    pub mixed: bool,
    /// The overflow values' transformed sum, and their power sums.
    pub overflow_sum: DoubleDouble,
    pub overflow_powers: PowerSums,
    /// True if power sums leave too few digits of the spread.
    pub ill_conditioned: bool,
    /// The runs of equal values, where a test needs them.
    pub runs: KeyedRuns,
    pub prepared: Prepared,
}

impl<V> Default for SharedGene<V> {
    fn default() -> Self {
        Self {
            ties: 0,
            sums: Sums::default(),
            binned: 0,
            overflow: Vec::new(),
            mixed: false,
            overflow_sum: DoubleDouble::default(),
            overflow_powers: PowerSums::default(),
            ill_conditioned: false,
            runs: KeyedRuns::default(),
            prepared: Prepared::default(),
        }
    }
}

impl<V: Value> SharedGene<V> {
    /// Prepares the distinct values of the shared cells: those of their bins, bin 0 the zeros, and the
    /// overflow values.
    pub fn prepare_values(&mut self, bins: &[u32]) {
        let zeros = bins.first().map_or(0, |&zeros| zeros.into());
        let runs = Ascending::<_, V, V>::new(bins, zeros, &self.overflow);
        Test::prepare_values(&mut self.prepared, |push| {
            runs.for_each(|run| push(run.value.to_f64(), run.cells));
        });
    }
}

/// Buffers of one worker, reused between pairs.
#[derive(Debug, Default)]
pub struct PairScratch {
    own: Vec<OwnRun>,
    cells: Vec<(usize, f64, u64)>,
    groups: GroupMoments,
}

/// A target's histogram beside the shared one.
#[derive(Debug)]
pub struct HistogramPair<'a, T, V> {
    shared: Shared<'a, V>,
    bins: &'a [T],
    /// The target's values without a bin, ascending.
    overflow: &'a [OverflowEntry<V>],
    /// Numbers of cells in the target and in the other sample.
    sizes: (u64, u64),
    /// Cells and sum of the target's bins, once a view has found them.
    seen: Option<(u64, u64)>,
    scratch: &'a mut PairScratch,
}

impl<'a, T: Bin, V: Value> HistogramPair<'a, T, V> {
    /// The pair of a target's bins, as many as the shared ones.
    pub fn new(
        shared: Shared<'a, V>,
        (bins, overflow): (&'a [T], &'a [OverflowEntry<V>]),
        sizes: (u64, u64),
        scratch: &'a mut PairScratch,
    ) -> Self {
        debug_assert!(bins.len() == shared.bins.len());
        Self { shared, bins, overflow, sizes, seen: None, scratch }
    }

    /// Cells and sum of the target's bins, but for bin 0.
    fn binned(&mut self) -> (u64, u64) {
        *self.seen.get_or_insert_with(|| {
            let sums = Sums::of::<_, false>(self.bins);
            (sums.cells, sums.values)
        })
    }

    /// The target's distinct values, ascending.
    fn ascending(&mut self) -> Ascending<'a, T, V, OverflowEntry<V>> {
        let zeros = self.sizes.0 - self.binned().0 - wide(self.overflow.len());
        Ascending::new(self.bins, zeros, self.overflow)
    }

    /// Visits every distinct value: cells of the target and of the other sample that have it.
    fn each_value(&mut self, mut visit: impl FnMut(f64, u64, u64)) {
        let mut own = self.ascending().peekable();
        let zeros = u64::from(self.shared.bins[0].get());
        let pooled = self.shared.pooled;
        for shared in Ascending::new(self.shared.bins, zeros, &self.shared.gene.overflow[..]) {
            while let Some(alone) = own.next_if(|run| run.key < shared.key) {
                visit(alone.value.to_f64(), alone.cells, 0);
            }
            let same = own.next_if(|run| run.key == shared.key).map_or(0, |run| run.cells);
            visit(shared.value.to_f64(), same, shared.cells - if pooled { same } else { 0 });
        }
        own.for_each(|alone| visit(alone.value.to_f64(), alone.cells, 0));
    }

    /// Shared overflow values above every value of the target move no rank.
    fn is_plain(&self) -> bool {
        self.overflow.is_empty() && !self.shared.gene.mixed
    }

    fn rank_sum_of_bins(&mut self) -> RankSum {
        let (n_target, n_reference) = self.sizes;
        let Shared { bins: own, ranks, pooled, gene, .. } = self.shared;
        let small = n_target + n_reference < EXACT_IN_F64 && !pooled;
        let sums = if small {
            ranked::<T, true>(self.bins, ranks, own)
        } else {
            ranked::<T, false>(self.bins, ranks, own)
        };
        self.seen = Some((sums.cells, sums.values));
        let zeros = n_target - sums.cells;
        let twice = sums.twice + zeros * u64::from(ranks[0]);
        let (twice_u, ties) = if pooled {
            (twice - n_target * n_target, gene.ties)
        } else if small {
            let growth = u128::from(whole(sums.growth)) + tie_growth(zeros, u64::from(own[0]));
            (twice, gene.ties + growth)
        } else {
            (twice, gene.ties + exact_growth(self.bins, own, zeros))
        };
        RankSum { n_target, n_reference, twice_u, ties }
    }

    /// The power sums of the target's bins and of the other sample's, overflow values included.
    fn power_sums(&mut self) -> (PowerSums, PowerSums) {
        let target = Sums::of::<_, true>(self.bins);
        self.seen = Some((target.cells, target.values));
        let Shared { pooled, gene, .. } = self.shared;
        let rest = |all: u64, own: u64| if pooled { all - own } else { all };
        let (values, squares) =
            (rest(gene.sums.values, target.values), rest(gene.sums.squares, target.squares));
        let other = PowerSums::of_counts(rest(gene.binned, self.sizes.0), values, squares);
        (
            PowerSums::of_counts(self.sizes.0, target.values, target.squares),
            if gene.overflow.is_empty() { other } else { other.merge(&gene.overflow_powers) },
        )
    }

    /// The transformed sums of the target's bins and of the other sample's.
    fn sums_of_bins(&mut self) -> (DoubleDouble, DoubleDouble) {
        let Shared { bins, weights, pooled, scale, gene, .. } = self.shared;
        if scale.is_of_values() {
            let target = self.binned().1;
            let other = gene.sums.values - if pooled { target } else { 0 };
            return (target.into(), other.into());
        }
        // Zeros weigh nothing.
        let cells = self.bins.iter().zip(bins).zip(weights).skip(1);
        let (mut target, mut other) = (DoubleDouble::default(), DoubleDouble::default());
        for ((c, &r), &w) in cells {
            let c = c.get();
            let r = if pooled { r - c } else { r };
            target.add_times(w, c.into());
            other.add_times(w, r.into());
        }
        (target, other)
    }
}

impl<T: Bin, V: Value> Pair for HistogramPair<'_, T, V> {
    #[inline]
    fn rank_sum(&mut self) -> RankSum {
        if self.is_plain() {
            return self.rank_sum_of_bins();
        }
        let mut state = RankSumState::default();
        self.each_value(|_, target, other| state.push(target, other));
        state.finish(self.sizes.0, self.sizes.1)
    }

    fn sizes(&self) -> (u64, u64) {
        self.sizes
    }

    fn runs(&mut self) -> PairRuns<'_> {
        let runs = &self.shared.gene.runs;
        if self.overflow.is_empty() {
            let own = &mut self.scratch.own;
            let sums = runs.place_bins(self.bins, self.sizes.0, self.shared.bins, own);
            self.seen = Some((sums.cells, sums.values));
        } else {
            let own = self.ascending();
            runs.place(own.map(|run| (run.key, narrow_cells(run.cells))), &mut self.scratch.own);
        }
        PairRuns {
            shared: runs.shared(),
            own: &self.scratch.own,
            n_target: self.sizes.0,
            n_reference: self.sizes.1,
            pooled: self.shared.pooled,
        }
    }

    #[inline]
    fn few_runs(&mut self, runs: &mut FewRuns) -> bool {
        let Shared { bins: shared, pooled, gene, .. } = self.shared;
        let binned = self.overflow.is_empty() && gene.overflow.is_empty();
        if !binned || shared.len() > FewRuns::MOST {
            return false;
        }
        let zeros = narrow_cells(self.sizes.0 - self.binned().0);
        runs.clear();
        let own = iter::once(zeros).chain(self.bins.iter().skip(1).map(|c| c.get()));
        own.zip(shared).for_each(|(own, &shared)| {
            runs.push(own, if pooled { shared } else { own + shared });
        });
        true
    }

    fn pool(&mut self, sum: &RankSum, pool: &mut PooledRuns) {
        let Shared { bins: shared, pooled, gene, .. } = self.shared;
        let zeros = self.sizes.0 - self.binned().0 - wide(self.overflow.len());
        let all_zeros = u64::from(shared[0]) + if pooled { 0 } else { zeros };
        let below = |value: Option<V>| value.is_some_and(|value| value.key() < V::default().key());
        let negative = below(self.overflow.first().map(|entry| entry.1))
            || below(gene.overflow.first().copied());
        if pool_apart(sum, all_zeros, negative, pool) {
            return;
        }
        if !(self.overflow.is_empty() && gene.overflow.is_empty()) {
            return self.each_value(|_, target, other| pool.push(target + other));
        }
        let own = iter::once(zeros).chain(self.bins.iter().skip(1).map(|c| c.get().into()));
        own.zip(shared).for_each(|(own, &shared)| {
            pool.push(u64::from(shared) + if pooled { 0 } else { own });
        });
    }

    fn target_values(&mut self, values: &mut SampleValues) -> bool {
        self.ascending().for_each(|run| values.push(run.value.to_f64(), run.cells));
        self.shared.pooled
    }

    fn moments(&mut self) -> (Moments, Moments) {
        if self.is_plain() && !self.shared.gene.ill_conditioned {
            let (target, other) = self.power_sums();
            return (target.moments(), other.moments());
        }
        let mut cells = std::mem::take(&mut self.scratch.cells);
        cells.clear();
        self.each_value(|value, target, other| {
            let both = [(0, value, target), (1, value, other)];
            cells.extend(both.into_iter().filter(|cells| cells.2 > 0));
        });
        let groups = &mut self.scratch.groups;
        groups.run(&[0, 0], cells.len(), |i| cells[i]);
        let both = (groups.moments[0], groups.moments[1]);
        self.scratch.cells = cells;
        both
    }

    #[inline]
    fn means(&mut self) -> (f64, f64) {
        let (n_target, n_reference) = self.sizes;
        let Shared { gene, scale, pooled, .. } = self.shared;
        if gene.overflow.is_empty() && self.overflow.is_empty() && scale == Scale::Plain {
            let target = self.binned().1;
            let other = gene.sums.values - if pooled { target } else { 0 };
            return (real(target) / real(n_target), real(other) / real(n_reference));
        }
        let (mut target, mut other) = (DoubleDouble::default(), DoubleDouble::default());
        if self.overflow.is_empty() {
            (target, other) = self.sums_of_bins();
            other.add_double(gene.overflow_sum);
        } else {
            self.each_value(|value, cells, others| {
                let weight = scale.before(value);
                target.add_times(weight, cells);
                other.add_times(weight, others);
            });
        }
        (scale.mean(target, n_target), scale.mean(other, n_reference))
    }

    #[inline]
    fn fractions(&mut self) -> (f64, f64) {
        let ((n_target, n_reference), gene) = (self.sizes, self.shared.gene);
        let target = self.binned().0 + wide(self.overflow.len());
        let shared = gene.sums.cells + wide(gene.overflow.len());
        let other = shared - if self.shared.pooled { target } else { 0 };
        (real(target) / real(n_target), real(other) / real(n_reference))
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

    /// The rank sum of a target's bins beside shared ones.
    fn rank_sum<T: Bin>(bins: &[T], shared: &[u32], sizes: (u64, u64), pooled: bool) -> RankSum {
        let mut ranks = vec![0; shared.len()];
        let ties = rank_bins(shared, &mut ranks);
        let sums = Sums::of::<_, true>(shared);
        let gene = SharedGene::<f32> { ties, sums, ..SharedGene::default() };
        let (weights, scale) = (&[][..], Scale::Plain);
        let shared = Shared { bins: shared, ranks: &ranks, pooled, weights, scale, gene: &gene };
        let mut scratch = PairScratch::default();
        HistogramPair::new(shared, (bins, &[]), sizes, &mut scratch).rank_sum()
    }

    proptest! {
        #[test]
        fn equals_the_definition(pairs in prop::collection::vec((0u16..6, 0u32..9), 1..23)) {
            let (c, r): (Vec<u16>, Vec<u32>) = pairs.into_iter().unzip();
            let wide: Vec<u32> = c.iter().map(|&c| u32::from(c)).collect();
            let want = naive::rank_sum(&spread(&wide), &spread(&r));
            let sizes = (want.n_target, want.n_reference);
            prop_assert_eq!(rank_sum(&c, &r, sizes, false), want);
            prop_assert_eq!(rank_sum(&wide, &r, sizes, false), want);
            let shared_ties = rank_bins(&r, &mut vec![0; r.len()]);
            prop_assert_eq!(shared_ties + exact_growth(&wide, &r, u64::from(c[0])), want.ties);
            // The same cells beside all of both.
            let all: Vec<u32> = wide.iter().zip(&r).map(|(c, r)| c + r).collect();
            prop_assert_eq!(rank_sum(&c, &all, sizes, true), want);
            let sums = Sums::of::<_, true>(&c);
            prop_assert_eq!(sums.values as f64, spread(&wide).iter().sum::<f64>());
            prop_assert_eq!(sums.squares as f64, spread(&wide).iter().map(|v| v * v).sum::<f64>());
        }
    }

    #[test]
    fn ties_are_exact_on_both_sides_of_the_bound() {
        for n in [65_535u64, 65_536, 1_321_123, 1 << 28] {
            // All cells of both in one run above zero.
            let bins = [0, n as u32];
            let got = rank_sum(&bins, &bins, (n, n), false);
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
