//! One gene: every target against the reference, or against the rest, from one sweep.
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
//! # Two ways, one result
//! Where the values are small counts they go into a table of group x value (`tally`), where
//! not they are sorted once ([`super::sorted`]).  The choice looks at the gene's values and never
//! changes a number.
//!
//! The Anderson-Darling sum has a term for every distinct value of the pair, so that each target
//! walks the reference's runs (or all of them) beside its own.

use super::design::Reference;
use super::lists::RunLists;
use super::question::{Cell, Comparison, Question, Test};
use super::sorted::{Ranks, Sample, Sorted};
use super::tally::Tally;
use crate::matrix::{Entry, Matrix, Value};
use crate::stats::anderson;
use crate::stats::moments::{GroupMoments, all_others};
use crate::stats::ttest::{self, ttest};
use crate::stats::two::Two;
use crate::stats::van_elteren::StratifiedSum;
use crate::stats::wilcoxon::{self, RankSum};
use std::mem;

/// Scratch space of one thread.
#[derive(Debug, Default)]
pub struct Kernel {
    sorted: Sorted,
    ranks: Ranks,
    lists: RunLists,
    groups: GroupMoments,
    means: Means,
    tally: Tally,
    aurocs: Vec<f64>,
    stratified: Vec<StratifiedSum>,
}

impl Kernel {
    /// The comparison of every target, in order, with its means; [`Test::complete`] has yet to make
    /// the p-values of scores.
    pub fn compare<V: Value>(
        &mut self,
        sample: &Sample<V>,
        question: &Question,
        mut out: impl FnMut(usize, Cell),
    ) {
        if let Some(strata) = question.strata {
            return self.van_elteren(sample, strata, question, out);
        }
        if let Some(width) = Tally::width(sample) {
            self.tally.fill(sample, width, question);
            for t in 0..question.sizes.len() - 1 {
                out(t, self.tally.cell(t + 1, question));
            }
            return;
        }
        let mut means = mem::take(&mut self.means);
        means.start(question);
        means.add(sample, question);
        means.finish(question);
        let mut aurocs = mem::take(&mut self.aurocs);
        aurocs.clear();
        let lacks_auroc = question.test.lacks_auroc(question.auroc);
        if lacks_auroc {
            self.rank_sums(sample, question, |_, sums| aurocs.push(sums.auroc()));
        }
        let write = |t: usize, comparison: Option<Comparison>| {
            let (target_mean, reference_mean) = means.of(t, question);
            let mut comparison = comparison.unwrap_or(Comparison::NAN);
            if lacks_auroc {
                comparison = comparison.with_auroc(&question.test, aurocs[t]);
            }
            out(t, Cell { target_mean, reference_mean, comparison });
        };
        match &question.test {
            Test::Wilcoxon(options) => self.wilcoxon(sample, question, *options, write),
            Test::Anderson(options) => self.anderson(sample, question, *options, write),
            Test::TTest(options) => self.ttest(sample, question, *options, write),
        }
        self.means = means;
        self.aurocs = aurocs;
    }

    /// Van Elteren's test: rank sums stratum by stratum, means of all cells.
    fn van_elteren<V: Value>(
        &mut self,
        sample: &Sample<V>,
        strata: &[u64],
        question: &Question,
        mut out: impl FnMut(usize, Cell),
    ) {
        // Every other test is refused before ([`super::run`]).
        let Test::Wilcoxon(options) = question.test else { return };
        let (mut sums, mut means) = (mem::take(&mut self.stratified), mem::take(&mut self.means));
        sums.clear();
        sums.resize(question.sizes.len() - 1, StratifiedSum::default());
        means.start(question);
        split(sample, strata, question.sizes.len(), |stratum, sizes| {
            means.add(stratum, question);
            let cells = sizes.iter().sum();
            let question = Question { sizes, strata: None, cells, ..*question };
            let push = |t: usize, sum: RankSum| sums[t].push(&sum, options.tie_correct);
            self.rank_sums(stratum, &question, push);
        });
        means.finish(question);
        for (t, sum) in sums.iter().enumerate() {
            let (target_mean, reference_mean) = means.of(t, question);
            let comparison = sum.scored(options.alternative).map(Into::into);
            let comparison = comparison.unwrap_or(Comparison::NAN);
            out(t, Cell { target_mean, reference_mean, comparison });
        }
        (self.stratified, self.means) = (sums, means);
    }

    /// The rank sum of every target, in order.
    fn rank_sums<V: Value>(
        &mut self,
        sample: &Sample<V>,
        question: &Question,
        mut out: impl FnMut(usize, RankSum),
    ) {
        let sizes = question.sizes;
        if let Some(width) = Tally::width(sample) {
            self.tally.fill(sample, width, question);
            (0..sizes.len() - 1).for_each(|t| out(t, self.tally.rank_sum(t + 1, question)));
            return;
        }
        self.sorted.sort(sample);
        match question.reference {
            Reference::Background => {
                self.sorted.rank::<false>(sample.zeros, sizes, &mut self.ranks);
            }
            Reference::Rest => self.sorted.rank::<true>(sample.zeros, sizes, &mut self.ranks),
        }
        for t in 0..sizes.len() - 1 {
            let (n_target, n_reference) = question.pair(t);
            let twice_u = self.ranks.twice[t + 1];
            let ties = self.ranks.shared + self.ranks.ties[t + 1];
            out(t, RankSum { n_target, n_reference, twice_u, ties });
        }
    }

    fn wilcoxon<V: Value>(
        &mut self,
        sample: &Sample<V>,
        question: &Question,
        options: wilcoxon::Options,
        mut write: impl FnMut(usize, Option<Comparison>),
    ) {
        self.rank_sums(sample, question, |t, sums| {
            write(t, sums.scored(&options, question.tables).map(Into::into));
        });
    }

    fn anderson<V: Value>(
        &mut self,
        sample: &Sample<V>,
        question: &Question,
        options: anderson::Options,
        mut write: impl FnMut(usize, Option<Comparison>),
    ) {
        let (groups, reference) = (question.sizes.len(), question.reference);
        let lists = &mut self.lists;
        lists.clear();
        // AUROCs have sorted it already.
        if !question.auroc {
            self.sorted.sort(sample);
        }
        self.sorted.list(sample.zeros, lists);
        lists.regroup(groups, reference, options.midrank);
        for t in 0..groups - 1 {
            let sum = lists.sum(t + 1, question.pair(t), reference, options.midrank);
            write(t, sum.test(&options).map(Into::into));
        }
    }

    fn ttest<V: Value>(
        &mut self,
        sample: &Sample<V>,
        &Question { sizes, reference, .. }: &Question,
        options: ttest::Options,
        mut write: impl FnMut(usize, Option<Comparison>),
    ) {
        let entry = |i: usize| {
            let Entry { value, code } = sample.entries[i];
            (code as usize, value.to_f64(), sample.weight(i))
        };
        self.groups.run(sample.zeros, sample.entries.len(), entry);
        if reference == Reference::Rest {
            self.groups.leave_one_out();
        }
        let moments = &self.groups.moments;
        for t in 0..sizes.len() - 1 {
            let other = match reference {
                Reference::Background => &moments[0],
                Reference::Rest => &self.groups.others[t + 1],
            };
            write(t, ttest(&moments[t + 1], other, &options).map(Into::into));
        }
    }

    /// [`Kernel::compare`] straight from a gene-major matrix, where the gene holds small counts and
    /// nothing else; false, with nothing written, where it does not.
    pub fn compare_counts<M: Matrix>(
        &mut self,
        matrix: &M,
        gene: usize,
        labels: &[u32],
        question: &Question,
        mut out: impl FnMut(usize, Cell),
    ) -> bool {
        if question.strata.is_some() || !self.tally.fill_column(matrix, gene, labels, question) {
            return false;
        }
        for t in 0..question.sizes.len() - 1 {
            out(t, self.tally.cell(t + 1, question));
        }
        true
    }
}

/// What means are of, summed in two words: the same bits in whatever order.
#[derive(Debug, Default)]
struct Means {
    /// For each group.
    sums: Vec<Two>,
    /// Against the rest, for each group that of all others.
    others: Vec<Two>,
}

impl Means {
    /// The means of target `t` (0-based) and of what it is compared with; NaN where there are no
    /// cells.
    fn of(&self, t: usize, question: &Question) -> (f64, f64) {
        let (n1, n2) = question.pair(t);
        let other = match question.reference {
            Reference::Background => self.sums[0],
            Reference::Rest => self.others[t + 1],
        };
        (question.scale.mean(self.sums[t + 1], n1), question.scale.mean(other, n2))
    }

    fn start(&mut self, question: &Question) {
        self.sums.clear();
        self.sums.resize(question.sizes.len(), Two::default());
    }

    /// Adds cells to their groups.
    fn add<V: Value>(&mut self, sample: &Sample<V>, question: &Question) {
        let mut natural = [0.0; 128];
        for (number, entries) in sample.entries.chunks(natural.len()).enumerate() {
            let natural = &mut natural[..entries.len()];
            for (natural, entry) in natural.iter_mut().zip(entries) {
                *natural = entry.value.to_f64();
            }
            question.scale.before_all(natural);
            if let Some(weights) = sample.weights {
                let cells = entries.iter().zip(&weights[number * 128..]);
                for ((entry, &weight), &natural) in cells.zip(&*natural) {
                    self.sums[entry.code as usize].add_times(natural, weight);
                }
            } else {
                for (entry, &natural) in entries.iter().zip(&*natural) {
                    self.sums[entry.code as usize].add(natural);
                }
            }
        }
    }

    /// Against the rest, sums all other groups of each: added, never subtracted.
    fn finish(&mut self, question: &Question) {
        if question.reference == Reference::Rest {
            self.others = all_others(&self.sums, |a, b| {
                let mut sum = *a;
                sum.add_two(*b);
                sum
            });
        }
    }
}

/// Hands over one stratum after the other: its cells, coded by group, and its groups' sizes.
fn split<V: Value>(
    sample: &Sample<V>,
    strata: &[u64],
    groups: usize,
    mut visit: impl FnMut(&Sample<V>, &[u64]),
) {
    // Whole numbers of 32 bits are divided sooner.
    let divisor = groups as u32;
    // Where each stratum's entries begin; then, as they are placed, where they end.
    let mut ends = vec![0; strata.len() / groups + 1];
    for entry in sample.entries {
        ends[(entry.code / divisor) as usize + 1] += 1;
    }
    for stratum in 1..ends.len() {
        ends[stratum] += ends[stratum - 1];
    }
    let mut entries = vec![Entry::default(); sample.entries.len()];
    let mut weights = sample.weights.map(|weights| vec![0; weights.len()]);
    for (i, &Entry { value, code }) in sample.entries.iter().enumerate() {
        let stratum = code / divisor;
        let place = &mut ends[stratum as usize];
        entries[*place] = Entry { value, code: code - stratum * divisor };
        if let Some(weights) = &mut weights {
            weights[*place] = sample.weight(i);
        }
        *place += 1;
    }
    let mut first = 0;
    let each = sample.zeros.chunks_exact(groups).zip(strata.chunks_exact(groups));
    for ((zeros, sizes), last) in each.zip(ends) {
        let weights = weights.as_ref().map(|weights| &weights[first..last]);
        visit(&Sample { entries: &entries[first..last], weights, zeros }, sizes);
        first = last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::question::Scale;
    use crate::stats::anderson::AndersonSum;
    use crate::stats::exact::NullTables;
    use crate::stats::special::normal;
    use crate::stats::{Alternative, naive};
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
    fn compare(cells: &[(f64, u32)], reference: Reference, test: Test) -> Vec<Option<Comparison>> {
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
        let question = Question { sizes, strata, cells, reference, test, auroc, scale, tables };
        Kernel::default().compare(&sample, &question, |t, cell| {
            let (n1, n2) = question.pair(t);
            rows[t] = (n1 > 0 && n2 > 0).then_some(cell.comparison);
        });
        test.complete(rows.iter_mut().flatten());
        rows
    }

    /// All targets of cells (value, code, weight), three strata of groups.
    fn compare_strata(
        cells: &[(f64, u32, u64)],
        reference: Reference,
        options: wilcoxon::Options,
    ) -> Vec<Cell> {
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
        let question = Question {
            sizes: &sizes,
            strata: Some(&strata),
            cells: sizes.iter().sum(),
            reference,
            test,
            auroc: false,
            scale: Scale::Plain,
            tables: &tables,
        };
        let mut rows = vec![Cell::EMPTY; GROUPS - 1];
        Kernel::default().compare(&sample, &question, |t, cell| rows[t] = cell);
        test.complete(rows.iter_mut().map(|cell| &mut cell.comparison));
        rows
    }

    fn same(a: f64, b: f64, tolerance: f64) -> bool {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * b.abs().max(1e-12)
    }

    proptest! {
        #[test]
        fn wilcoxon_equals_counting_pairs(cells in cells(), rest: bool, tie_correct: bool) {
            let reference = if rest { Reference::Rest } else { Reference::Background };
            let options = wilcoxon::Options { tie_correct, ..Default::default() };
            let rows = compare(&cells, reference, Test::Wilcoxon(options));
            for (t, row) in rows.into_iter().enumerate() {
                let (x, y) = both(&cells, reference, t);
                let want = naive::rank_sum(&x, &y).test(&options, &NullTables::default());
                // Integers up to the last step: the same bits.
                prop_assert_eq!(format!("{row:?}"), format!("{:?}", want.map(Comparison::from)));
            }
        }

        #[test]
        fn strata_equal_midranks_within_each(
            cells in cells(), of_cell in prop::collection::vec(0u32..3, 90), rest: bool, kind in 0usize..3,
            weights in prop::option::of(prop::collection::vec(1u64..4, 90)),
        ) {
            let reference = if rest { Reference::Rest } else { Reference::Background };
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
                prop_assert!(same(cell.target_mean, mean(&x), 1e-13));
                prop_assert!(same(cell.reference_mean, mean(&y), 1e-13));
                let got = cell.comparison;
                let Some(want) = naive::van_elteren(&each) else {
                    prop_assert!(got.statistic.is_nan() && got.p.p.is_nan());
                    continue;
                };
                // Measured 1e-14; allow 1e-12.
                prop_assert!((got.statistic - want.statistic).abs() <= 1e-12);
                let constant = want.variance < 1e-12;
                let z = if constant { 0.0 } else { want.excess / want.variance.sqrt() };
                prop_assert!((got.extra[0] - z).abs() <= 1e-12 * z.abs().max(1.0), "{got:?} {want:?}");
                let p = match alternative {
                    _ if constant => 1.0,
                    Alternative::TwoSided => 2.0 * normal::sf(z.abs()),
                    Alternative::Less => normal::sf(-z),
                    Alternative::Greater => normal::sf(z),
                };
                prop_assert!((got.p.p - p).abs() <= 1e-11 * p, "{got:?} {p}");
                let pairs: f64 = each.iter().map(|(x, y)| (x.len() * y.len()) as f64 / (x.len() + y.len() + 1) as f64).sum();
                prop_assert!((got.extra[1] - want.statistic / pairs).abs() <= 1e-12);
            }
        }

        #[test]
        fn anderson_equals_the_double_sum(cells in cells(), rest: bool, midrank: bool) {
            let reference = if rest { Reference::Rest } else { Reference::Background };
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
                    prop_assert!(row.statistic.is_nan());
                    continue;
                }
                let mut sum = AndersonSum::new(x.len() as u64, y.len() as u64, midrank);
                for (a, b) in runs {
                    sum.push(a, b);
                }
                let direct: Option<Comparison> = sum.test(&options).map(Into::into);
                let direct = direct.unwrap();
                // Against the rest stretches of runs are summed at once: measured 4e-14.
                let tolerance = if rest { 1e-12 } else { 0.0 };
                prop_assert!(same(row.statistic, direct.statistic, tolerance));
                prop_assert!(same(row.p.p, direct.p.p, tolerance));
                let auroc = naive::rank_sum(&x, &y).auroc();
                prop_assert_eq!(row.extra[0], auroc);
                // Measured 3e-15; allow 1e-12.
                let want = naive::anderson_a_squared(&x, &y, midrank);
                prop_assert!(same(sum.a_squared(), want, 1e-12), "{} {}", sum.a_squared(), want);
            }
        }

        #[test]
        fn ttest_equals_the_textbook(cells in cells(), rest: bool, equal_var: bool) {
            let reference = if rest { Reference::Rest } else { Reference::Background };
            let variance = ttest::Variance::of(equal_var);
            let options = ttest::Options { variance, ..Default::default() };
            let rows = compare(&cells, reference, Test::TTest(options));
            for (t, row) in rows.into_iter().enumerate() {
                let (x, y) = both(&cells, reference, t);
                let Some(row) = row else {
                    prop_assert!(x.is_empty() || y.is_empty());
                    continue;
                };
                prop_assert_eq!(row.extra[1], naive::rank_sum(&x, &y).auroc());
                let want = naive::t_statistic(&x, &y, equal_var);
                if x.len() < 2 || y.len() < 2 {
                    prop_assert!(row.statistic.is_nan());
                } else if want.is_finite() && want.abs() < 1e6 {
                    // The textbook's own rounding: measured 2e-13; allow 1e-10.
                    prop_assert!((row.statistic - want).abs() <= 1e-10 * want.abs().max(1.0));
                }
            }
        }
    }
}
