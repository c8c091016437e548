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
//! The Anderson-Darling sum has a term for every distinct value of the pair, so that each target
//! walks the reference's runs (or all of them) beside its own.

use super::design::{Reference, pair};
use super::runs::{Group, Runs, Sample};
use crate::matrix::Value;
use crate::stats::anderson::{self, AndersonSum};
use crate::stats::exact::NullTables;
use crate::stats::moments::{GroupMoments, Moments};
use crate::stats::special::Tail;
use crate::stats::ttest::{self, ttest};
use crate::stats::wilcoxon::{self, RankSum, tie_growth, tie_term};

/// Which test, with its options.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Test {
    Wilcoxon(wilcoxon::Options),
    Anderson(anderson::Options),
    TTest(ttest::Options),
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
    /// A comparison that a NaN enters.
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

/// Scratch space of one thread.
#[derive(Debug, Default)]
pub struct Kernel {
    runs: Runs,
    groups: GroupMoments,
    rest: Vec<Moments>,
    twice: Vec<u64>,
    ties: Vec<u128>,
    lists: RunLists,
}

impl Kernel {
    /// The moments of `transform`ed values of every group, kept until the next call; `with_m2`
    /// also their squares.  Zeros must be transformed to 0.
    pub fn moments<V: Value>(
        &mut self,
        sample: &Sample<V>,
        reference: Reference,
        with_m2: bool,
        transform: impl Fn(f64) -> f64,
    ) {
        let entry = |i: usize| {
            (sample.codes[i] as usize, transform(sample.values[i].to_f64()), sample.weight(i))
        };
        let length = sample.values.len();
        self.groups.run(sample.zeros.len(), sample.zeros, length, entry, with_m2);
        if reference == Reference::Rest {
            leave_one_out(&self.groups.moments, &mut self.rest);
        }
    }

    /// The moments of target `t` (0-based) and of what it is compared with.
    #[must_use]
    pub fn moments_of(&self, reference: Reference, t: usize) -> (&Moments, &Moments) {
        let other = match reference {
            Reference::Background => &self.groups.moments[0],
            Reference::Rest => &self.rest[t + 1],
        };
        (&self.groups.moments[t + 1], other)
    }

    /// The test of every target, in order; `None` where a sample is empty.  `sizes` are the
    /// groups' numbers of cells, the background first.
    ///
    /// The t-test takes the moments of the last call of [`Kernel::moments`], which must have had
    /// `with_m2`.
    pub fn compare<V: Value>(
        &mut self,
        sample: &Sample<V>,
        sizes: &[u64],
        reference: Reference,
        test: &Test,
        tables: &NullTables,
        mut out: impl FnMut(usize, Option<Comparison>),
    ) {
        let targets = 0..sizes.len() - 1;
        match test {
            Test::TTest(options) => {
                for t in targets {
                    let (target, other) = self.moments_of(reference, t);
                    out(t, ttest(target, other, options).map(Into::into));
                }
            }
            Test::Wilcoxon(options) => {
                let background_ties = match reference {
                    Reference::Background => self.rank_against_background(sample),
                    Reference::Rest => self.rank_against_rest(sample, sizes),
                };
                for t in targets {
                    let (n_target, n_reference) = pair(sizes, reference, t);
                    let ties = background_ties + self.ties[t + 1];
                    let sums = RankSum { n_target, n_reference, twice_u: self.twice[t + 1], ties };
                    out(t, sums.test(options, tables).map(Into::into));
                }
            }
            Test::Anderson(options) => {
                let lists = &mut self.lists;
                lists.clear();
                self.runs.visit(sample, |run| lists.push(run));
                lists.sort(sizes.len());
                for t in targets {
                    let (n_target, n_reference) = pair(sizes, reference, t);
                    let mut sum = AndersonSum::new(n_target, n_reference, options.midrank);
                    lists.walk(t + 1, reference, &mut sum);
                    out(t, sum.test(options).map(Into::into));
                }
            }
        }
    }

    fn reset(&mut self, groups: usize) {
        self.twice.clear();
        self.twice.resize(groups, 0);
        self.ties.clear();
        self.ties.resize(groups, 0);
    }

    /// Fills 2 U1 and each target's share of the ties; returns the reference's own ties.
    fn rank_against_background<V: Value>(&mut self, sample: &Sample<V>) -> u128 {
        self.reset(sample.zeros.len());
        let (twice, ties) = (&mut self.twice, &mut self.ties);
        let (mut below, mut own_ties) = (0, 0);
        self.runs.visit(sample, |run| {
            let reference = run.iter().find(|group| group.0 == 0).map_or(0, |group| group.1);
            for &(code, cells) in run {
                twice[code as usize] += cells * (2 * below + reference);
                if cells + reference > 1 {
                    ties[code as usize] += tie_growth(cells, reference);
                }
            }
            own_ties += tie_term(reference);
            below += reference;
        });
        own_ties
    }

    /// Fills 2 U1 of every group against all others; returns the ties of all cells.
    fn rank_against_rest<V: Value>(&mut self, sample: &Sample<V>, sizes: &[u64]) -> u128 {
        self.reset(sample.zeros.len());
        let twice = &mut self.twice;
        let (mut below, mut all_ties) = (0, 0);
        self.runs.visit(sample, |run| {
            let cells: u64 = run.iter().map(|group| group.1).sum();
            for &(code, own) in run {
                twice[code as usize] += own * (2 * below + cells);
            }
            all_ties += tie_term(cells);
            below += cells;
        });
        for (twice, n) in twice.iter_mut().zip(sizes) {
            *twice -= n * n;
        }
        all_ties
    }
}

/// For each group the moments of all others: merged from both ends, never subtracted.
fn leave_one_out(groups: &[Moments], rest: &mut Vec<Moments>) {
    rest.clear();
    let mut before = Moments::default();
    for group in groups {
        rest.push(before);
        before = before.merge(group);
    }
    let mut after = Moments::default();
    for (rest, group) in rest.iter_mut().zip(groups).rev() {
        *rest = rest.merge(&after);
        after = group.merge(&after);
    }
}

/// The runs of one gene, regrouped so that each group's can be walked alone.
#[derive(Debug, Default)]
struct RunLists {
    /// (group, run, cells) in order of runs.
    pushed: Vec<(u32, u32, u64)>,
    /// Cells of all groups in each run.
    totals: Vec<u64>,
    /// (run, cells), group after group: group g's are `starts[g]..starts[g + 1]`.
    by_group: Vec<(u32, u64)>,
    starts: Vec<usize>,
}

impl RunLists {
    fn clear(&mut self) {
        self.pushed.clear();
        self.totals.clear();
    }

    fn push(&mut self, run: &[Group]) {
        let number = u32::try_from(self.totals.len()).unwrap_or(u32::MAX);
        self.pushed.extend(run.iter().map(|&(code, cells)| (code, number, cells)));
        self.totals.push(run.iter().map(|group| group.1).sum());
    }

    /// Regroups what was pushed: a counting sort by group, which keeps the order of runs.
    fn sort(&mut self, groups: usize) {
        self.starts.clear();
        self.starts.resize(groups + 2, 0);
        for (code, ..) in &self.pushed {
            self.starts[*code as usize + 2] += 1;
        }
        for i in 2..self.starts.len() {
            self.starts[i] += self.starts[i - 1];
        }
        self.by_group.resize(self.pushed.len(), (0, 0));
        for &(code, run, cells) in &self.pushed {
            let place = &mut self.starts[code as usize + 1];
            self.by_group[*place] = (run, cells);
            *place += 1;
        }
    }

    fn of(&self, group: usize) -> &[(u32, u64)] {
        &self.by_group[self.starts[group]..self.starts[group + 1]]
    }

    /// Pushes every run that `group` or what it is compared with enters.
    fn walk(&self, group: usize, reference: Reference, sum: &mut AndersonSum) {
        let mut own = self.of(group).iter().peekable();
        if reference == Reference::Rest {
            for (run, &total) in (0..).zip(&self.totals) {
                let cells = own.next_if(|entry| entry.0 == run).map_or(0, |entry| entry.1);
                sum.push(cells, total - cells);
            }
            return;
        }
        for &(run, cells) in self.of(0) {
            while let Some(&(_, before)) = own.next_if(|entry| entry.0 < run) {
                sum.push(before, 0);
            }
            let same = own.next_if(|entry| entry.0 == run).map_or(0, |entry| entry.1);
            sum.push(same, cells);
        }
        own.for_each(|&(_, cells)| sum.push(cells, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let mut sizes = vec![0; GROUPS];
        let (mut values, mut codes) = (Vec::new(), Vec::new());
        for &(value, code) in cells {
            sizes[code as usize] += 1;
            if value == 0.0 {
                zeros[code as usize] += 1;
            } else {
                values.push(value);
                codes.push(code);
            }
        }
        let sample = Sample { values: &values, codes: &codes, weights: None, zeros: &zeros };
        let mut kernel = Kernel::default();
        kernel.moments(&sample, reference, true, |v| v);
        let mut rows = vec![None; GROUPS - 1];
        let tables = NullTables::default();
        kernel.compare(&sample, &sizes, reference, &test, &tables, |t, row| rows[t] = row);
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
                prop_assert_eq!(format!("{:?}", Some(row)), format!("{direct:?}"));
                // Measured 3e-15; allow 1e-12.
                let want = naive::anderson_a_squared(&x, &y, midrank);
                prop_assert!(same(sum.a_squared(), want, 1e-12), "{} {}", sum.a_squared(), want);
            }
        }

        #[test]
        fn ttest_equals_the_textbook(cells in cells(), rest: bool, equal_var: bool) {
            let reference = if rest { Reference::Rest } else { Reference::Background };
            let options = ttest::Options { equal_var, ..Default::default() };
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
