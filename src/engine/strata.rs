//! One gene within strata: van Elteren's test of every target.

use super::column::Record;
use super::pair::Pair;
use super::request::{GeneRequest, describe};
use super::source::gene_histogram::GeneHistogram;
use super::source::sample::Sample;
use super::source::sorted_gene::SortedGene;
use super::test::{Test, write_wilcoxon};
use crate::cast::{narrow, place, real};
use crate::matrix::{Entry, Value};
use crate::stats::conditional::StratifiedTails;
use crate::stats::van_elteren::StratifiedSum;
use crate::stats::wilcoxon::RankSum;

/// Scratch of one worker, reused from gene to gene.
#[derive(Debug)]
pub struct Strata<V> {
    /// Each target's sum over all strata.
    sums: Vec<StratifiedSum>,
    split: Split<V>,
    /// The ranks in each stratum.
    each: Vec<Stratum<V>>,
    /// The means over all strata.
    whole: SortedGene,
    tails: StratifiedTails,
}

impl<V> Default for Strata<V> {
    fn default() -> Self {
        Self {
            sums: Vec::new(),
            split: Split::default(),
            each: Vec::new(),
            whole: SortedGene::default(),
            tails: StratifiedTails::default(),
        }
    }
}

impl<V: Value> Strata<V> {
    /// Van Elteren's test: rank sums stratum by stratum, means of all cells.
    pub fn compare(
        &mut self,
        sample: &Sample<V>,
        strata: &[u64],
        request: &GeneRequest,
        most_bins: usize,
        mut out: impl FnMut(usize, Record),
    ) {
        debug_assert!(request.test.check_stratified().is_ok(), "refused before");
        let Test::Wilcoxon(options) = request.test else { return };
        self.sums.clear();
        self.sums.resize(request.n_targets(), StratifiedSum::default());
        self.whole.sums.start(request);
        let groups = request.sizes.len();
        let count = strata.len() / groups;
        // Every stratum keeps a table of its own.
        let most_bins = most_bins / count.max(1);
        let mut split = std::mem::take(&mut self.split);
        split.fill(sample, count, groups);
        for (stratum, sizes) in strata.chunks_exact(groups).enumerate() {
            let sample = split.stratum(stratum, sample, groups);
            self.whole.sums.add(&sample, request);
            let cells = sizes.iter().sum();
            let request = GeneRequest { sizes, strata: None, cells, ..*request };
            self.rank(stratum, &sample, &request, options.tie_correct, most_bins);
        }
        self.split = split;
        self.whole.sums.finish(request);
        for t in 0..request.n_targets() {
            let (sum, mut record) = (self.sums[t], Record::EMPTY);
            if let Some((mut test, needs_runs)) = sum.scored(&options) {
                if needs_runs {
                    self.pool(t, strata, request);
                    test.p = sum.given_ties(options.alternative, &mut self.tails);
                }
                write_wilcoxon(&test, &mut record);
            }
            describe(&mut self.whole.pair(t, request), &mut record);
            out(t, record);
        }
    }

    /// Adds one stratum's rank sums.
    fn rank(
        &mut self,
        stratum: usize,
        sample: &Sample<V>,
        request: &GeneRequest,
        tie_correct: bool,
        most_bins: usize,
    ) {
        if self.each.len() <= stratum {
            self.each.resize_with(stratum + 1, Stratum::default);
        }
        let stratum = &mut self.each[stratum];
        let width = GeneHistogram::width(sample, most_bins);
        stratum.binned = width.is_some();
        match width {
            Some(width) => stratum.histogram.fill(sample, width, request),
            None => stratum.sorted.fill_ranks(sample, request),
        }
        for (t, sum) in self.sums.iter_mut().enumerate() {
            sum.push(&stratum.rank_sum(t, request), tie_correct);
        }
    }

    /// Pools target `t`'s cells in every stratum with those that it is compared with there.
    fn pool(&mut self, t: usize, strata: &[u64], request: &GeneRequest) {
        self.tails.start();
        let groups = request.sizes.len();
        for (sizes, stratum) in strata.chunks_exact(groups).zip(&mut self.each) {
            let cells = sizes.iter().sum();
            let request = GeneRequest { sizes, strata: None, cells, ..*request };
            let sum = stratum.rank_sum(t, &request);
            if sum.n_target == 0 || sum.n_reference == 0 {
                continue;
            }
            let weight = 1.0 / real(sum.n_target + sum.n_reference + 1);
            let runs = self.tails.push(sum.n_target, weight);
            if stratum.binned {
                stratum.histogram.pair(t + 1, &request).0.pool(&sum, runs);
            } else {
                stratum.sorted.pair(t, &request).pool(&sum, runs);
            }
        }
    }
}

/// One stratum of a gene.
#[derive(Debug)]
struct Stratum<V> {
    histogram: GeneHistogram<V>,
    sorted: SortedGene,
    /// True if the histogram holds its values.
    binned: bool,
}

impl<V> Default for Stratum<V> {
    fn default() -> Self {
        Self { histogram: GeneHistogram::default(), sorted: SortedGene::default(), binned: false }
    }
}

impl<V: Value> Stratum<V> {
    fn rank_sum(&mut self, t: usize, request: &GeneRequest) -> RankSum {
        if self.binned {
            self.histogram.pair(t + 1, request).0.rank_sum()
        } else {
            self.sorted.pair(t, request).rank_sum()
        }
    }
}

/// A sample's cells, stratum after stratum.
#[derive(Debug)]
struct Split<V> {
    entries: Vec<Entry<V>>,
    weights: Vec<u64>,
    /// Where each stratum's entries end, after a leading 0.
    ends: Vec<usize>,
}

impl<V> Default for Split<V> {
    fn default() -> Self {
        Self { entries: Vec::new(), weights: Vec::new(), ends: Vec::new() }
    }
}

impl<V: Value> Split<V> {
    /// Sorts the cells by stratum, which keeps their order otherwise; codes become those of groups.
    fn fill(&mut self, sample: &Sample<V>, strata: usize, groups: usize) {
        // Whole numbers of 32 bits are divided sooner.
        let divisor = narrow(groups);
        self.ends.clear();
        self.ends.resize(strata + 1, 0);
        for entry in sample.entries {
            self.ends[place(entry.code / divisor) + 1] += 1;
        }
        for stratum in 1..self.ends.len() {
            self.ends[stratum] += self.ends[stratum - 1];
        }
        self.entries.resize(sample.entries.len(), Entry::default());
        self.weights.resize(sample.weights.map_or(0, <[u64]>::len), 0);
        // Where each stratum's next entry goes: from where it begins to where it ends.
        for (i, &Entry { value, code }) in sample.entries.iter().enumerate() {
            let stratum = code / divisor;
            let at = &mut self.ends[place(stratum)];
            self.entries[*at] = Entry { value, code: code - stratum * divisor };
            if let Some(weight) = self.weights.get_mut(*at) {
                *weight = sample.weight(i);
            }
            *at += 1;
        }
    }

    /// One stratum's cells; `whole` is the sample that was split.
    fn stratum<'a>(
        &'a self,
        stratum: usize,
        whole: &Sample<'a, V>,
        groups: usize,
    ) -> Sample<'a, V> {
        let first = if stratum == 0 { 0 } else { self.ends[stratum - 1] };
        let cells = first..self.ends[stratum];
        Sample {
            entries: &self.entries[cells.clone()],
            weights: whole.weights.is_some().then(|| &self.weights[cells]),
            zeros: &whole.zeros[stratum * groups..][..groups],
        }
    }
}
