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

use super::design::{Reference, pair};
use super::lists::RunLists;
use super::sorted::{Ranks, Sample, Sorted};
use super::tally::Tally;
use crate::matrix::{Entry, Matrix, Value};
use crate::stats::anderson;
use crate::stats::exact::NullTables;
use crate::stats::moments::{GroupMoments, all_others};
use crate::stats::special::normal::two_sided_all;
use crate::stats::special::{Tail, elementary};
use crate::stats::ttest::{self, ttest};
use crate::stats::two::Two;
use crate::stats::wilcoxon::{self, RankSum};
use std::mem;

/// Which test, with its options.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Test {
    Wilcoxon(wilcoxon::Options),
    Anderson(anderson::Options),
    TTest(ttest::Options),
}

impl Test {
    /// Whether kernels leave p-values to be made of the z scores, many at once.
    #[must_use]
    pub fn p_of_score(&self) -> bool {
        matches!(self, Self::Wilcoxon(options) if options.p_of_score())
    }

    /// Makes the p-values that a kernel left: NaN where the score is.
    pub fn complete<'a>(&self, comparisons: impl Iterator<Item = &'a mut Comparison>) {
        if !self.p_of_score() {
            return;
        }
        let comparisons: Vec<&mut Comparison> = comparisons.collect();
        let scores: Vec<f64> = comparisons.iter().map(|of| of.extra[0].abs()).collect();
        let (mut p, mut neg_log10) = (vec![0.0; scores.len()], vec![0.0; scores.len()]);
        two_sided_all(&scores, &mut p, &mut neg_log10);
        for (of, (p, neg_log10)) in comparisons.into_iter().zip(p.into_iter().zip(neg_log10)) {
            of.p = Tail { p, neg_log10 };
        }
    }
}

/// What means are taken of, so that they compare on the natural scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// mean(x).
    #[default]
    Plain,
    /// mean(expm1(x)): the arithmetic mean of log1p data.
    MeanOfExpm1,
    /// expm1(mean(x)): the geometric mean of log1p data.
    Expm1OfMean,
    /// expm1(mean(log1p(x))): the geometric mean of counts.
    Geometric,
}

impl Scale {
    /// What the mean is taken of, for one value; 0 for 0.
    #[must_use]
    pub fn before(self, value: f64) -> f64 {
        match self {
            Self::Plain | Self::Expm1OfMean => value,
            Self::MeanOfExpm1 => elementary::exp_m1(value),
            Self::Geometric => value.ln_1p(),
        }
    }

    /// [`Scale::before`] of many values.
    pub fn before_all(self, values: &mut [f64]) {
        match self {
            Self::Plain | Self::Expm1OfMean => {}
            Self::MeanOfExpm1 => elementary::exp_m1_in_place(values),
            Self::Geometric => values.iter_mut().for_each(|v| *v = v.ln_1p()),
        }
    }

    /// What becomes of the mean.
    #[must_use]
    pub fn after(self, mean: f64) -> f64 {
        match self {
            Self::Plain | Self::MeanOfExpm1 => mean,
            Self::Expm1OfMean | Self::Geometric => mean.exp_m1(),
        }
    }

    /// The mean of `n` values from the sum of what it is taken of.
    #[must_use]
    pub fn mean(self, sum: Two, n: u64) -> f64 {
        self.after(sum.settled().value() / n as f64)
    }

    /// Whether the mean is taken of the values themselves.
    #[must_use]
    pub fn is_of_values(self) -> bool {
        matches!(self, Self::Plain | Self::Expm1OfMean)
    }
}

/// One comparison's numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    pub statistic: f64,
    pub p: Tail,
    /// Wilcoxon: z score and AUROC; t-test: df and nothing; Anderson: nothing.
    pub extra: [f64; 2],
}

impl Comparison {
    /// A comparison that a NaN enters, or with an empty sample.
    pub const NAN: Self = Self { statistic: f64::NAN, p: Tail::NAN, extra: [f64::NAN; 2] };
}

impl From<wilcoxon::Wilcoxon> for Comparison {
    fn from(test: wilcoxon::Wilcoxon) -> Self {
        Self { statistic: test.statistic, p: test.p, extra: [test.z_score, test.auroc] }
    }
}

impl From<anderson::Anderson> for Comparison {
    fn from(test: anderson::Anderson) -> Self {
        Self { statistic: test.statistic, p: test.p, extra: [f64::NAN; 2] }
    }
}

impl From<ttest::TTest> for Comparison {
    fn from(test: ttest::TTest) -> Self {
        Self { statistic: test.statistic, p: test.p, extra: [test.df, f64::NAN] }
    }
}

/// One target and gene.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// NaN for an empty sample, as all of the comparison.
    pub target_mean: f64,
    pub reference_mean: f64,
    pub comparison: Comparison,
}

impl Cell {
    /// A cell that nothing was written to.
    pub const EMPTY: Self =
        Self { target_mean: f64::NAN, reference_mean: f64::NAN, comparison: Comparison::NAN };
}

/// What is asked of a gene.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The groups' numbers of cells, the background first.
    pub sizes: &'a [u64],
    /// Their sum.
    pub cells: u64,
    pub reference: Reference,
    pub test: Test,
    pub scale: Scale,
    pub tables: &'a NullTables,
}

impl Question<'_> {
    /// The sizes of target `t` (0-based) and of what it is compared with.
    #[must_use]
    pub fn pair(&self, t: usize) -> (u64, u64) {
        pair(self.sizes, self.cells, self.reference, t)
    }
}

/// Scratch space of one thread.
#[derive(Debug, Default)]
pub struct Kernel {
    sorted: Sorted,
    ranks: Ranks,
    lists: RunLists,
    groups: GroupMoments,
    means: Means,
    tally: Tally,
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
        if let Some(width) = Tally::width(sample) {
            self.tally.fill(sample, width, question);
            for t in 0..question.sizes.len() - 1 {
                out(t, self.tally.cell(t + 1, question));
            }
            return;
        }
        let mut means = mem::take(&mut self.means);
        means.fill(sample, question);
        let write = |t: usize, comparison: Option<Comparison>| {
            let (target_mean, reference_mean) = means.of(t, question);
            let comparison = comparison.unwrap_or(Comparison::NAN);
            out(t, Cell { target_mean, reference_mean, comparison });
        };
        match &question.test {
            Test::Wilcoxon(options) => self.wilcoxon(sample, question, *options, write),
            Test::Anderson(options) => self.anderson(sample, question, *options, write),
            Test::TTest(options) => self.ttest(sample, question, *options, write),
        }
        self.means = means;
    }

    fn wilcoxon<V: Value>(
        &mut self,
        sample: &Sample<V>,
        question: &Question,
        options: wilcoxon::Options,
        mut write: impl FnMut(usize, Option<Comparison>),
    ) {
        let sizes = question.sizes;
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
            let sums = RankSum { n_target, n_reference, twice_u, ties };
            write(t, sums.scored(&options, question.tables).map(Into::into));
        }
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
        self.sorted.sort(sample);
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
        if !self.tally.fill_column(matrix, gene, labels, question) {
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

    /// Sums every group; against the rest all other groups, too: added, never subtracted.
    fn fill<V: Value>(&mut self, sample: &Sample<V>, question: &Question) {
        let groups = sample.zeros.len();
        self.sums.clear();
        self.sums.resize(groups, Two::default());
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
        if question.reference == Reference::Rest {
            self.others = all_others(&self.sums, |a, b| {
                let mut sum = *a;
                sum.add_two(*b);
                sum
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::anderson::AndersonSum;
    use crate::stats::naive;
    use proptest::prelude::*;

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
        let question = Question { sizes, cells, reference, test, scale, tables: &tables };
        Kernel::default().compare(&sample, &question, |t, cell| {
            let (n1, n2) = question.pair(t);
            rows[t] = (n1 > 0 && n2 > 0).then_some(cell.comparison);
        });
        test.complete(rows.iter_mut().flatten());
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
