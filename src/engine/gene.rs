//! One gene: every target against the reference, or against the rest, from one source.
//!
//! # Symbols
//! A run holds c cells of a target, r of the reference and l of all groups; R and B count the
//! reference's and all cells in the runs below it.
//!
//! # Formulae
//! ```text
//! reference  2 U1 = Σ c (2R + r)         Σ(t³ - t) = Σ (r³ - r) + Σ over the target's runs of c (c² + 3rc + 3r² - 1)
//! rest       2 U1 = Σ c (2B + l) - n1²   Σ(t³ - t) = Σ (l³ - l)
//! ```
//! The first tie sum's first term is shared by all targets, the second tie sum by all groups, and
//! n1² is what the target's pairs with itself contribute.  So a sweep costs O(cells), whatever
//! the number of targets.
//!
//! # Two sources, one result
//! Where the values are small counts they go into a table of group x count
//! ([`super::source::gene_histogram`]), where not they are sorted once ([`super::source::sorted_gene`]).
//! The choice looks at the gene's values and never changes a number.

use super::column::Record;
use super::plan::MOST_BINS;
use super::request::GeneRequest;
use super::source::gene_histogram::GeneHistogram;
use super::source::sample::Sample;
use super::source::sorted_gene::SortedGene;
use super::strata::Strata;
use super::test::{Prepared, Scratch};
use crate::cast::{length, wide};
use crate::error::Result;
use crate::matrix::{Entry, GeneMajor, Value};

/// Scratch of one worker, reused from gene to gene.
#[derive(Debug)]
pub struct GeneKernel<V> {
    histogram: GeneHistogram<V>,
    sorted: SortedGene,
    prepared: Prepared,
    scratch: Scratch,
    strata: Strata<V>,
    /// The entries of a sample, one for each cell.
    single: Vec<Entry<V>>,
    most_bins: usize,
}

impl<V> Default for GeneKernel<V> {
    fn default() -> Self {
        Self {
            histogram: GeneHistogram::default(),
            sorted: SortedGene::default(),
            prepared: Prepared::default(),
            scratch: Scratch::default(),
            strata: Strata::default(),
            single: Vec::new(),
            most_bins: MOST_BINS,
        }
    }
}

impl<V: Value> GeneKernel<V> {
    /// # Errors
    /// [`crate::error::ErrorKind::ExactTooLarge`] for a pair since the last call that could not be
    /// summed exactly.
    pub fn check(&mut self) -> Result<()> {
        self.scratch.check()
    }

    /// Limits the table of a gene to this many bins.
    pub fn limit(&mut self, most_bins: usize) {
        self.most_bins = most_bins;
    }

    /// What is measured of every target, in order; [`Test::complete`] has yet to make the p-values of
    /// scores.
    pub fn compare(
        &mut self,
        sample: &Sample<V>,
        request: &GeneRequest,
        out: impl FnMut(usize, Record),
    ) {
        // Where hardly any cells share an entry, entries of one cell each are sorted and ranked faster.
        let mut single = std::mem::take(&mut self.single);
        match sample.weights.filter(|weights| separate(sample.entries, weights, &mut single)) {
            Some(_) => {
                let sample = Sample { entries: &single, weights: None, zeros: sample.zeros };
                self.compare_entries(&sample, request, out);
            }
            None => self.compare_entries(sample, request, out),
        }
        self.single = single;
    }

    fn compare_entries(
        &mut self,
        sample: &Sample<V>,
        request: &GeneRequest,
        mut out: impl FnMut(usize, Record),
    ) {
        if let Some(strata) = request.strata {
            return self.strata.compare(sample, strata, request, self.most_bins, out);
        }
        if let Some(width) = GeneHistogram::width(sample, self.most_bins) {
            self.histogram.fill(sample, width, request);
            return self.measure_histogram(request, out);
        }
        let needs = request.test.needs(request.auroc);
        self.sorted.fill(sample, request, needs);
        if needs.runs {
            let (runs, pooled) = (self.sorted.shared_runs(), request.is_pooled());
            request.test.prepare(runs, pooled, &mut self.prepared);
        }
        if needs.values {
            self.sorted.prepare_values(request.is_pooled(), &mut self.prepared);
        }
        for t in 0..request.n_targets() {
            let kept = (&self.prepared, &mut self.scratch);
            out(t, request.measure(&mut self.sorted.pair(t, request), kept));
        }
    }

    /// [`GeneKernel::compare`] straight from a gene-major matrix, where the gene holds small counts
    /// and no strata are asked for; else false, and nothing is measured.
    ///
    /// # Errors
    /// Where the arrays changed since the view was made.
    pub fn compare_counts(
        &mut self,
        matrix: &dyn GeneMajor<V>,
        gene: usize,
        labels: &[u32],
        request: &GeneRequest,
        out: impl FnMut(usize, Record),
    ) -> Result<bool> {
        let most = self.most_bins;
        if request.strata.is_some()
            || !self.histogram.fill_gene(matrix, gene, labels, request, most)?
        {
            return Ok(false);
        }
        self.measure_histogram(request, out);
        Ok(true)
    }

    fn measure_histogram(&mut self, request: &GeneRequest, mut out: impl FnMut(usize, Record)) {
        for t in 0..request.n_targets() {
            let (mut pair, prepared) = self.histogram.pair(t + 1, request);
            out(t, request.measure(&mut pair, (prepared, &mut self.scratch)));
        }
    }
}

/// Lists each entry as often as it has cells, in order; false where that would be many more.
fn separate<V: Value>(entries: &[Entry<V>], weights: &[u64], single: &mut Vec<Entry<V>>) -> bool {
    let most = wide(entries.len() + entries.len() / 4);
    let cells = weights.iter().fold(0, |sum: u64, &weight| sum.saturating_add(weight));
    if cells > most {
        return false;
    }
    // One place more: an entry is written before it is known how often.
    single.resize(length(cells) + 1, Entry::default());
    let mut n = 0;
    for (&entry, &weight) in entries.iter().zip(weights) {
        single[n] = entry;
        if weight > 1 {
            single[n..n + length(weight)].fill(entry);
        }
        n += length(weight);
    }
    single.truncate(n);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::column::Column;
    use crate::engine::design::Reference;
    use crate::engine::pair::Pair;
    use crate::engine::request::Scale;
    use crate::engine::test::Test;
    use crate::stats::anderson::{self, AndersonSum};
    use crate::stats::conditional::{PooledRuns, SampleValues, ValueTails};
    use crate::stats::exact::NullTables;
    use crate::stats::moments::Moments;
    use crate::stats::special::normal;
    use crate::stats::wilcoxon::Method;
    use crate::stats::{Alternative, naive, ttest, wilcoxon};
    use proptest::prelude::*;
    use std::iter;

    const GROUPS: usize = 4;

    /// One gene's cells: (value, group), zeros among them.
    fn cells() -> impl Strategy<Value = Vec<(f64, u32)>> {
        let value = prop_oneof![
            3 => Just(0.0),
            2 => (1u8..6).prop_map(f64::from),
            1 => (-3i8..9).prop_map(|v| f64::from(v) / 2.0),
            1 => -2f64..9.0,
            1 => Just(-0.0),
        ];
        prop::collection::vec((value, 0..GROUPS as u32), 0..90)
    }

    /// The sample of group `g`, or of all groups but `g`.
    fn of(cells: &[(f64, u32)], wanted: impl Fn(u32) -> bool) -> Vec<f64> {
        cells.iter().filter(|cell| wanted(cell.1)).map(|cell| cell.0).collect()
    }

    fn both(cells: &[(f64, u32)], reference: Reference, t: usize) -> (Vec<f64>, Vec<f64>) {
        let code = t as u32 + 1;
        let other = of(cells, |g| if reference == Reference::Rest { g != code } else { g == 0 });
        (of(cells, |g| g == code), other)
    }

    /// All comparisons of the cells, rows in the order of targets.
    fn compare(cells: &[(f64, u32)], reference: Reference, test: Test) -> Vec<Option<Record>> {
        let mut zeros = vec![0; GROUPS];
        let mut sizes = [0; GROUPS];
        let mut entries = Vec::new();
        for &(value, code) in cells {
            sizes[code as usize] += 1;
            if value == 0.0 {
                zeros[code as usize] += 1;
            } else {
                entries.push(Entry { value, code });
            }
        }
        let sample = Sample { entries: &entries, weights: None, zeros: &zeros };
        let mut rows = vec![None; GROUPS - 1];
        let tables = NullTables::default();
        let (sizes, scale) = (&sizes[..], Scale::Plain);
        let cells = sizes.iter().sum();
        let (strata, auroc, tables) = (None, true, &tables);
        let request = GeneRequest { sizes, strata, cells, reference, test, auroc, scale, tables };
        GeneKernel::default().compare(&sample, &request, |t, cell| {
            let (n1, n2) = request.pair(t);
            rows[t] = (n1 > 0 && n2 > 0).then_some(cell);
        });
        test.complete(rows.iter_mut().flatten());
        rows
    }

    /// All targets of cells (value, code, weight), three strata of groups.
    fn compare_strata(
        cells: &[(f64, u32, u64)],
        reference: Reference,
        options: wilcoxon::Options,
    ) -> Vec<Record> {
        let (mut strata, mut zeros) = (vec![0; 3 * GROUPS], vec![0; 3 * GROUPS]);
        let (mut entries, mut weights) = (Vec::new(), Vec::new());
        for &(value, code, weight) in cells {
            strata[code as usize] += weight;
            if value == 0.0 {
                zeros[code as usize] += weight;
            } else {
                entries.push(Entry { value, code });
                weights.push(weight);
            }
        }
        let weights = (weights.iter().any(|&weight| weight != 1)).then_some(&weights[..]);
        let sample = Sample { entries: &entries, weights, zeros: &zeros };
        let group = |g: usize| (0..3).map(|stratum| strata[stratum * GROUPS + g]).sum::<u64>();
        let sizes: Vec<u64> = (0..GROUPS).map(group).collect();
        let (tables, test) = (NullTables::default(), Test::Wilcoxon(options));
        let request = GeneRequest {
            sizes: &sizes,
            strata: Some(&strata),
            cells: sizes.iter().sum(),
            reference,
            test,
            auroc: false,
            scale: Scale::Plain,
            tables: &tables,
        };
        let mut rows = vec![Record::EMPTY; GROUPS - 1];
        GeneKernel::default().compare(&sample, &request, |t, cell| rows[t] = cell);
        test.complete(rows.iter_mut());
        rows
    }

    fn same(a: f64, b: f64, tolerance: f64) -> bool {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * b.abs().max(1e-12)
    }

    /// The p-value over all relabellings; `None` where a value would not be what it is in f64.
    fn exact_p(x: &[f64], y: &[f64], alternative: Alternative) -> Option<f64> {
        let runs = naive::runs(x, y);
        let (mut below, mut t) = (0.0, 0.0);
        let (mut lengths, mut scores) = (Vec::new(), Vec::new());
        for &(target, other) in &runs {
            let l = (target + other) as f64;
            lengths.push(l);
            // A multiple of ½.
            scores.push(below + l / 2.0);
            t += target as f64 * (below + l / 2.0);
            below += l;
        }
        if runs.len() < 2 {
            return None;
        }
        let all = naive::linear_distribution(&[(lengths, scores, x.len() as f64)]);
        let sum = |keep: &dyn Fn(f64) -> bool| {
            all.iter().filter(|(v, _)| keep(*v)).map(|(_, p)| p).sum::<f64>()
        };
        let (up, down) = (sum(&|v| v >= t - 1e-9), sum(&|v| v <= t + 1e-9));
        Some(match alternative {
            Alternative::TwoSided => (2.0 * up.min(down)).min(1.0),
            Alternative::Greater => up,
            Alternative::Less => down,
        })
    }

    proptest! {
        #[test]
        fn wilcoxon_equals_counting_pairs(cells in cells(), rest: bool, tie_correct: bool) {
            let reference = if rest { Reference::Rest } else { Reference::Group };
            let options = wilcoxon::Options { tie_correct, ..Default::default() };
            let rows = compare(&cells, reference, Test::Wilcoxon(options));
            for (t, row) in rows.into_iter().enumerate() {
                let (x, y) = both(&cells, reference, t);
                let want = naive::rank_sum(&x, &y).test(&options, &NullTables::default());
                prop_assert_eq!(row.is_some(), want.is_some());
                let (Some(row), Some(want)) = (row, want) else { continue };
                // Integers up to the last step: the same bits.
                let got = [Column::Statistic, Column::PValue, Column::NegLog10P, Column::ZScore, Column::Auroc]
                    .map(|column| row[column].to_bits());
                let want = [want.statistic, want.p.p, want.p.neg_log10, want.z_score, want.auroc];
                prop_assert_eq!(got, want.map(f64::to_bits));
            }
        }

        /// All ways to p-values given the ties, from whatever source, beside all relabellings.
        #[test]
        fn p_values_given_the_ties_equal_all_relabellings(cells in cells(), rest: bool, kind in 0usize..3) {
            let reference = if rest { Reference::Rest } else { Reference::Group };
            let alternative = [Alternative::TwoSided, Alternative::Less, Alternative::Greater][kind];
            let by = |method| {
                let options = wilcoxon::Options { alternative, method, ..Default::default() };
                compare(&cells, reference, Test::Wilcoxon(options))
            };
            let [exact, auto, smooth] = [Method::Exact, Method::Auto, Method::Conditional].map(by);
            for t in 0..exact.len() {
                let (x, y) = both(&cells, reference, t);
                if x.is_empty() || y.is_empty() {
                    continue;
                }
                let [exact, auto, smooth] = [&exact, &auto, &smooth].map(|rows| rows[t].unwrap()[Column::PValue]);
                let Some(want) = exact_p(&x, &y, alternative) else { continue };
                // Measured 3e-13; allow 1e-10.
                prop_assert!((exact / want - 1.0).abs() < 1e-10, "{exact} {want} {x:?} {y:?}");
                if x.len() + y.len() <= 40 {
                    prop_assert_eq!(auto, exact);
                }
                prop_assert!((auto / want).ln().abs() < 1.5, "{auto} {want} {x:?} {y:?}");
                prop_assert!((smooth / want).ln().abs() < 1.5, "{smooth} {want} {x:?} {y:?}");
            }
        }

        /// The runs that a tail is made of: each value by itself where many are tied, else the zeros and
        /// nodes that have the variance of all ranks.
        #[test]
        fn pooled_runs_are_those_of_the_pair(
            drawn in prop::collection::vec((0u8..10, -1f64..9.0, 0u32..3), 300..400), zeros in 0u8..9,
            steps in prop_oneof![Just(0.0), Just(4.0)], negative: bool, rest: bool,
        ) {
            let value = |&(kind, v, _): &(u8, f64, u32)| {
                if kind < zeros {
                    return 0.0;
                }
                let v = if steps > 0.0 { (v * steps).round() / steps } else { v };
                if negative { v } else { v.abs() }
            };
            let cells: Vec<(f64, u32)> = drawn.iter().map(|cell| (value(cell), cell.2)).collect();
            let reference = if rest { Reference::Rest } else { Reference::Group };
            let (mut counts, mut sizes, mut entries) = (vec![0; 3], vec![0; 3], Vec::new());
            for &(value, code) in &cells {
                sizes[code as usize] += 1;
                if value == 0.0 {
                    counts[code as usize] += 1;
                } else {
                    entries.push(Entry { value, code });
                }
            }
            let sample = Sample { entries: &entries, weights: None, zeros: &counts };
            let request = GeneRequest {
                sizes: &sizes,
                strata: None,
                cells: cells.len() as u64,
                reference,
                test: Test::Wilcoxon(wilcoxon::Options::default()),
                auroc: false,
                scale: Scale::Plain,
                tables: &NullTables::default(),
            };
            let mut gene = SortedGene::default();
            gene.fill(&sample, &request, request.test.needs(false));
            for t in 0..2 {
                let (x, y) = both(&cells, reference, t);
                let runs = naive::runs(&x, &y);
                let mut pair = gene.pair(t, &request);
                let (sum, mut pool) = (pair.rank_sum(), PooledRuns::default());
                pair.pool(&sum, &mut pool);
                let found = pool.pool(sum.n_target);
                let n_zeros = x.iter().chain(&y).filter(|&&v| v == 0.0).count() as f64;
                let below = x.iter().chain(&y).any(|&v| v < 0.0);
                // Of few values that are not zero, ties weigh nothing.
                if steps == 0.0 || zeros < 4 {
                    prop_assert_eq!(pool.is_listed(), steps > 0.0 || (below && n_zeros > 0.0));
                }
                if pool.is_listed() {
                    let cells: Vec<f64> = runs.iter().map(|run| (run.0 + run.1) as f64).collect();
                    prop_assert_eq!(found.cells, &cells[..]);
                } else if n_zeros > 0.0 {
                    prop_assert_eq!(found.cells[0], n_zeros);
                }
                let mut listed = PooledRuns::default();
                listed.start(sum.n_target + sum.n_reference);
                for run in &runs {
                    listed.push(run.0 + run.1);
                }
                let want = listed.pool(sum.n_target).variance();
                // Ties that weigh nothing, and a twelfth of a rank: measured 1e-4.
                prop_assert!((found.variance() / want - 1.0).abs() < 3e-4);
            }
        }

        #[test]
        fn strata_equal_midranks_within_each(
            cells in cells(), of_cell in prop::collection::vec(0u32..3, 90), rest: bool, kind in 0usize..3,
            weights in prop::option::of(prop::collection::vec(1u64..4, 90)),
        ) {
            let reference = if rest { Reference::Rest } else { Reference::Group };
            let alternative = [Alternative::TwoSided, Alternative::Less, Alternative::Greater][kind];
            let options = wilcoxon::Options { alternative, ..Default::default() };
            let weight = |i: usize| weights.as_ref().map_or(1, |weights| weights[i]);
            // The cells of each stratum, as often as they weigh.
            let strata: Vec<Vec<(f64, u32)>> = (0..3).map(|stratum| {
                let of = cells.iter().zip(&of_cell).enumerate().filter(|(_, (_, of))| **of == stratum);
                of.flat_map(|(i, (&cell, _))| iter::repeat_n(cell, weight(i) as usize)).collect()
            }).collect();
            let coded: Vec<_> = cells.iter().zip(&of_cell).enumerate()
                .map(|(i, (&(v, g), of))| (v, of * GROUPS as u32 + g, weight(i))).collect();
            let rows = compare_strata(&coded, reference, options);
            let all: Vec<_> = strata.concat();
            for (t, cell) in rows.into_iter().enumerate() {
                let each: Vec<_> = strata.iter().map(|cells| both(cells, reference, t)).collect();
                let (x, y) = both(&all, reference, t);
                let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
                prop_assert!(same(cell[Column::TargetMean], mean(&x), 1e-13));
                prop_assert!(same(cell[Column::ReferenceMean], mean(&y), 1e-13));
                let got = cell;
                let Some(want) = naive::van_elteren(&each) else {
                    prop_assert!(got[Column::Statistic].is_nan() && got[Column::PValue].is_nan());
                    continue;
                };
                // Measured 1e-14; allow 1e-12.
                prop_assert!((got[Column::Statistic] - want.statistic).abs() <= 1e-12);
                let constant = want.variance < 1e-12;
                let z = if constant { 0.0 } else { want.excess / want.variance.sqrt() };
                prop_assert!((got[Column::ZScore] - z).abs() <= 1e-12 * z.abs().max(1.0), "{got:?} {want:?}");
                let p = match alternative {
                    _ if constant => 1.0,
                    Alternative::TwoSided => 2.0 * normal::sf(z.abs()),
                    Alternative::Less => normal::sf(-z),
                    Alternative::Greater => normal::sf(z),
                };
                prop_assert!((got[Column::PValue] - p).abs() <= 1e-11 * p, "{got:?} {p}");
                let pairs: f64 = each.iter().map(|(x, y)| (x.len() * y.len()) as f64 / (x.len() + y.len() + 1) as f64).sum();
                prop_assert!((got[Column::Auroc] - want.statistic / pairs).abs() <= 1e-12);
            }
        }

        #[test]
        fn anderson_equals_the_double_sum(cells in cells(), rest: bool, midrank: bool) {
            let reference = if rest { Reference::Rest } else { Reference::Group };
            let options = anderson::Options { midrank, ..Default::default() };
            let rows = compare(&cells, reference, Test::Anderson(options));
            for (t, row) in rows.into_iter().enumerate() {
                let (x, y) = both(&cells, reference, t);
                let Some(row) = row else {
                    prop_assert!(x.is_empty() || y.is_empty());
                    continue;
                };
                let runs = naive::runs(&x, &y);
                if runs.len() == 1 || x.len() + y.len() < 4 {
                    prop_assert!(row[Column::Statistic].is_nan());
                    continue;
                }
                let mut sum = AndersonSum::new(x.len() as u64, y.len() as u64, midrank);
                for (a, b) in runs {
                    sum.push(a, b);
                }
                let direct = sum.test(&options).unwrap();
                // Against the rest stretches of runs are summed at once: measured 4e-14.
                let tolerance = if rest { 1e-12 } else { 0.0 };
                // T = (A² - 1) / σ cancels near 0.
                let off = (row[Column::Statistic] - direct.statistic).abs();
                let allowed = tolerance * direct.statistic.abs().max(1.0);
                prop_assert!(off <= allowed, "{} {}", row[Column::Statistic], direct.statistic);
                prop_assert!(same(row[Column::PValue], direct.p.p, tolerance));
                let auroc = naive::rank_sum(&x, &y).auroc();
                prop_assert_eq!(row[Column::Auroc], auroc);
                // Measured 3e-15; allow 1e-12.
                let want = naive::anderson_a_squared(&x, &y, midrank);
                prop_assert!(same(sum.a_squared(), want, 1e-12), "{} {}", sum.a_squared(), want);
            }
        }

        /// The p-value of the pair's values by themselves, whatever the source.
        #[test]
        fn permutation_equals_the_pair_by_itself(cells in cells(), rest: bool, kind in 0usize..3) {
            let reference = if rest { Reference::Rest } else { Reference::Group };
            let alternative = [Alternative::TwoSided, Alternative::Less, Alternative::Greater][kind];
            let options = ttest::Options { alternative, method: ttest::Method::Permutation, ..Default::default() };
            let rows = compare(&cells, reference, Test::TTest(options));
            for (t, row) in rows.into_iter().enumerate() {
                let (x, y) = both(&cells, reference, t);
                let Some(row) = row else { continue };
                let mut test = ttest::ttest(&Moments::of(&x, 0), &Moments::of(&y, 0), &options).unwrap();
                prop_assert!(same(row[Column::Statistic], test.statistic, 1e-12));
                let (mut others, mut tails) = (SampleValues::default(), ValueTails::default());
                for (sample, values) in [(&mut tails.target, x), (&mut others, y)] {
                    let mut values: Vec<f64> = values.into_iter().map(|v| v + 0.0).collect();
                    values.sort_by(f64::total_cmp);
                    for v in values {
                        sample.push(v, 1);
                    }
                }
                if test.needs_values(&options) {
                    test.p = test.permuted(&options, (&others, false), &mut tails);
                }
                // At most 40 distinct values, but for the order of sums: measured 1e-12.
                prop_assert!(same(row[Column::PValue], test.p.p, 1e-9), "{} {}", row[Column::PValue], test.p.p);
            }
        }

        #[test]
        fn ttest_equals_the_textbook(cells in cells(), rest: bool, equal_var: bool) {
            let reference = if rest { Reference::Rest } else { Reference::Group };
            let variance = ttest::Variance::of(equal_var);
            let options = ttest::Options { variance, ..Default::default() };
            let rows = compare(&cells, reference, Test::TTest(options));
            for (t, row) in rows.into_iter().enumerate() {
                let (x, y) = both(&cells, reference, t);
                let Some(row) = row else {
                    prop_assert!(x.is_empty() || y.is_empty());
                    continue;
                };
                prop_assert_eq!(row[Column::Auroc], naive::rank_sum(&x, &y).auroc());
                let want = naive::t_statistic(&x, &y, equal_var);
                if x.len() < 2 || y.len() < 2 {
                    prop_assert!(row[Column::Statistic].is_nan());
                } else if want.is_finite() && want.abs() < 1e6 {
                    // The textbook's own rounding: measured 2e-13; allow 1e-10.
                    prop_assert!((row[Column::Statistic] - want).abs() <= 1e-10 * want.abs().max(1.0));
                }
            }
        }
    }
}
