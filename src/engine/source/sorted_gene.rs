//! One gene's sorted values as a source: the views of its pairs.

use super::group_values::GroupValues;
use super::runs::GroupRuns;
use super::sample::{GroupSums, Sample};
use super::sorted::{Ranks, Sorted};
use crate::cast::place;
use crate::engine::pair::{Pair, pool_apart};
use crate::engine::request::GeneRequest;
use crate::engine::test::{Needs, Prepared, Test};
use crate::matrix::{Entry, Value};
use crate::stats::conditional::{PooledRuns, SampleValues};
use crate::stats::moments::{GroupMoments, Moments};
use crate::stats::runs::{FewRuns, PairRuns, SharedRuns};
use crate::stats::wilcoxon::RankSum;

/// One gene's sorted values, and the views of its pairs that were asked for.
#[derive(Debug, Default)]
pub struct SortedGene {
    sorted: Sorted,
    ranks: Ranks,
    runs: GroupRuns,
    /// True once the runs are listed.
    listed: bool,
    zeros: Vec<u64>,
    /// The groups with values below 0; empty where there are none.
    negative: Vec<bool>,
    moments: GroupMoments,
    values: GroupValues,
    /// What is averaged; of strata that of all of them.
    pub sums: GroupSums,
}

impl SortedGene {
    /// Prepares the views that are needed, and the means.
    pub fn fill<V: Value>(&mut self, sample: &Sample<V>, request: &GeneRequest, needs: Needs) {
        self.sums.start(request);
        self.sums.add(sample, request);
        self.sums.finish(request);
        if needs.rank_sums || needs.runs {
            self.sorted.sort(sample);
            self.start_runs(sample);
        }
        if needs.rank_sums {
            self.rank(sample, request);
        }
        if needs.runs {
            self.list(request);
        }
        if needs.moments {
            let entry = |i: usize| {
                let Entry { value, code } = sample.entries[i];
                (place(code), value.to_f64(), sample.weight(i))
            };
            self.moments.run(sample.zeros, sample.entries.len(), entry);
            if request.is_pooled() {
                self.moments.leave_one_out();
            }
        }
        if needs.values {
            self.values.fill(sample);
        }
    }

    /// Prepares the values that all targets are compared with; only where [`Needs::values`].
    pub fn prepare_values(&mut self, pooled: bool, prepared: &mut Prepared) {
        if pooled {
            Test::prepare_values(prepared, |push| self.values.each_of_all(push));
        } else {
            Test::prepare_values(prepared, |push| self.values.each(0, push));
        }
    }

    /// Forgets the runs of another gene.
    fn start_runs<V>(&mut self, sample: &Sample<V>) {
        self.listed = false;
        self.zeros.clear();
        self.zeros.extend_from_slice(sample.zeros);
        self.negative.clear();
        let below_zero = self.sorted.below_zero();
        if below_zero.len() > 0 {
            self.negative.resize(sample.zeros.len(), false);
            below_zero.for_each(|group| self.negative[group] = true);
        }
    }

    /// Lists the runs, once.
    fn list(&mut self, request: &GeneRequest) {
        if !std::mem::replace(&mut self.listed, true) {
            self.runs.start(request.is_pooled());
            self.sorted.list(&self.zeros, &mut self.runs);
            self.runs.regroup(request.sizes.len());
        }
    }

    fn rank<V>(&mut self, sample: &Sample<V>, request: &GeneRequest) {
        if request.is_pooled() {
            self.sorted.rank::<true>(sample.zeros, request.sizes, &mut self.ranks);
        } else {
            self.sorted.rank::<false>(sample.zeros, request.sizes, &mut self.ranks);
        }
    }

    /// Prepares rank sums alone.
    pub fn fill_ranks<V: Value>(&mut self, sample: &Sample<V>, request: &GeneRequest) {
        self.sorted.sort(sample);
        self.rank(sample, request);
        self.start_runs(sample);
    }

    /// The runs that all targets are compared with.
    #[must_use]
    pub fn shared_runs(&self) -> &SharedRuns {
        self.runs.shared()
    }

    /// Target `t` (0-based) and what it is compared with.
    #[must_use]
    pub fn pair<'a>(&'a mut self, t: usize, request: &'a GeneRequest<'a>) -> SortedPair<'a> {
        SortedPair { gene: self, t, request }
    }
}

/// A pair of a sorted gene.
#[derive(Debug)]
pub struct SortedPair<'a> {
    gene: &'a mut SortedGene,
    t: usize,
    request: &'a GeneRequest<'a>,
}

impl Pair for SortedPair<'_> {
    fn rank_sum(&mut self) -> RankSum {
        let (n_target, n_reference) = self.request.pair(self.t);
        let (ranks, code) = (&self.gene.ranks, self.t + 1);
        let (twice_u, ties) = (ranks.twice[code], ranks.shared + ranks.ties[code]);
        RankSum { n_target, n_reference, twice_u, ties }
    }

    fn sizes(&self) -> (u64, u64) {
        self.request.pair(self.t)
    }

    fn few_runs(&mut self, _: &mut FewRuns) -> bool {
        false
    }

    fn pool(&mut self, sum: &RankSum, pool: &mut PooledRuns) {
        let gene = &*self.gene;
        let pooled = self.request.is_pooled();
        let (zeros, negative) = if pooled {
            (gene.zeros.iter().sum(), !gene.negative.is_empty())
        } else {
            let negative = |code: usize| gene.negative.get(code).is_some_and(|&any| any);
            (gene.zeros[0] + gene.zeros[self.t + 1], negative(0) || negative(self.t + 1))
        };
        if !pool_apart(sum, zeros, negative, pool) {
            self.runs().for_each(|target, other| pool.push(target + other));
        }
    }

    fn runs(&mut self) -> PairRuns<'_> {
        self.gene.list(self.request);
        self.gene.runs.pair(self.t + 1, self.request.pair(self.t))
    }

    fn target_values(&mut self, values: &mut SampleValues) -> bool {
        self.gene.values.each(self.t + 1, |value, cells| values.push(value, cells));
        self.request.is_pooled()
    }

    fn moments(&mut self) -> (Moments, Moments) {
        let groups = &self.gene.moments;
        let pooled = self.request.is_pooled();
        let other = if pooled { groups.others[self.t + 1] } else { groups.moments[0] };
        (groups.moments[self.t + 1], other)
    }

    fn means(&mut self) -> (f64, f64) {
        self.gene.sums.means(self.t, self.request)
    }

    fn fractions(&mut self) -> (f64, f64) {
        self.gene.sums.fractions(self.t, self.request)
    }
}
