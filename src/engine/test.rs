//! The tests, each a consumer of the views that a source offers of a pair ([`Pair`]).
//!
//! | test | view | own columns |
//! |---|---|---|
//! | Wilcoxon rank-sum | rank sum | `z_score`, `auroc` |
//! | Anderson-Darling | ascending runs | |
//! | t-test | moments, and for its permutation distribution the values | `df` |
//! | Kolmogorov-Smirnov | ascending runs | |
//!
//! To add a test: its statistics in `stats/`, an arm in each `match` below, and its options at the two
//! edges (`expr/`, `python/`).  No source is touched.

use super::column::{Column, Record};
use super::pair::Pair;
use crate::cast::wide;
use crate::error::{ErrorKind, Result};
use crate::stats::anderson::{self, AndersonSum, given_ties};
use crate::stats::conditional::{LISTED, MOST_TRANSITIONS, SampleValues, Tails, ValueTails};
use crate::stats::exact::NullTables;
use crate::stats::runs::{FewRuns, SharedRuns};
use crate::stats::special::Tail;
use crate::stats::special::normal::two_sided_all;
use crate::stats::ttest::{Method::Permutation, TTest};
use crate::stats::wilcoxon::{Method, RankSum, Wilcoxon};
use crate::stats::{ks, ttest, wilcoxon};

/// Which test, with its options.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(clippy::enum_variant_names)] // the t-test is called so
pub enum Test {
    Wilcoxon(wilcoxon::Options),
    Anderson(anderson::Options),
    TTest(ttest::Options),
    Ks(ks::Options),
}

/// The views of a gene that a request needs, so that a source prepares no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    pub rank_sums: bool,
    pub runs: bool,
    pub moments: bool,
    /// The distinct values of samples.
    pub values: bool,
}

/// What a test keeps of one gene for all its comparisons.
#[derive(Debug, Default)]
pub struct Prepared {
    anderson: anderson::Shared,
    ties: given_ties::SharedTies,
    values: SampleValues,
}

/// Buffers of one worker, reused between comparisons.
#[derive(Debug, Default)]
pub struct Scratch {
    anderson: anderson::Scratch,
    ties: given_ties::Scratch,
    ks: ks::Scratch,
    few: FewRuns,
    tails: Tails,
    value_tails: ValueTails,
    /// Sizes of the first pair that took too long to sum exactly.
    refused: Option<(u64, u64)>,
}

impl Scratch {
    /// # Errors
    /// [`ErrorKind::ExactTooLarge`] for the first pair that could not be summed exactly.
    pub fn check(&mut self) -> Result<()> {
        match self.refused.take() {
            Some((n1, n2)) => {
                Err(ErrorKind::ExactTooLarge { n1, n2, most: wide(MOST_TRANSITIONS) }.into())
            }
            None => Ok(()),
        }
    }
}

impl Test {
    /// One of each test, and of each way to a rank sum's p-value: what property tests and benchmarks
    /// run through.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn each() -> [Self; 8] {
        let wilcoxon = |method| wilcoxon::Options { method, ..Default::default() };
        let auto = anderson::Options { method: anderson::Method::Auto, ..Default::default() };
        [
            Self::Wilcoxon(wilcoxon(Method::Asymptotic)),
            Self::Wilcoxon(wilcoxon(Method::Auto)),
            Self::Wilcoxon(wilcoxon(Method::Conditional)),
            Self::Anderson(anderson::Options::default()),
            Self::Anderson(auto),
            Self::TTest(ttest::Options::default()),
            Self::TTest(ttest::Options { method: Permutation, ..Default::default() }),
            Self::Ks(ks::Options::default()),
        ]
    }

    /// What the test is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wilcoxon(_) => "wilcoxon",
            Self::Anderson(_) => "anderson",
            Self::TTest(_) => "ttest",
            Self::Ks(_) => "ks",
        }
    }

    /// The test's own columns; with `auroc` also that of tests that do not rank.
    #[must_use]
    pub fn columns(self, auroc: bool) -> &'static [Column] {
        match (self, auroc) {
            (Self::Wilcoxon(_), _) => &[Column::ZScore, Column::Auroc],
            (Self::Anderson(_) | Self::Ks(_), false) => &[],
            (Self::Anderson(_) | Self::Ks(_), true) => &[Column::Auroc],
            (Self::TTest(_), false) => &[Column::Df],
            (Self::TTest(_), true) => &[Column::Df, Column::Auroc],
        }
    }

    /// The views of a gene that the test consumes.
    #[must_use]
    pub fn needs(self, auroc: bool) -> Needs {
        Needs {
            rank_sums: auroc || matches!(self, Self::Wilcoxon(_)),
            runs: matches!(self, Self::Anderson(_) | Self::Ks(_)),
            moments: matches!(self, Self::TTest(_)),
            values: matches!(self, Self::TTest(options) if options.method == Permutation),
        }
    }

    /// # Errors
    /// [`ErrorKind::StrataUnsupported`] unless the test is computed within strata.
    pub fn check_stratified(self) -> Result<()> {
        let unsupported = |option, got: &str, valid| {
            let got = got.to_owned();
            Err(ErrorKind::StrataUnsupported { option, got, valid }.into())
        };
        match self {
            Self::Wilcoxon(wilcoxon::Options {
                method: Method::Auto | Method::Asymptotic, ..
            }) => Ok(()),
            Self::Wilcoxon(options) => {
                let got = format!("{:?}", options.method).to_lowercase();
                unsupported("method", &got, &["auto", "asymptotic"])
            }
            _ => unsupported("test", self.name(), &["wilcoxon"]),
        }
    }

    /// # Errors
    /// [`ErrorKind::ExactTooLarge`] for the first pair of sizes that the test cannot tabulate.
    pub fn check_sizes(self, mut pairs: impl Iterator<Item = (u64, u64)>) -> Result<()> {
        let feasible = match self {
            Self::Ks(ks::Options { method: ks::Method::Exact, .. }) => ks::exact_is_feasible,
            _ => return Ok(()),
        };
        match pairs.find(|&(n1, n2)| !feasible(n1, n2)) {
            Some((n1, n2)) => {
                Err(ErrorKind::ExactTooLarge { n1, n2, most: ks::EXACT_POINTS }.into())
            }
            None => Ok(()),
        }
    }

    /// Prepares a gene from the runs that its comparisons share; only where [`Needs::runs`].
    pub fn prepare(self, shared: &SharedRuns, pooled: bool, prepared: &mut Prepared) {
        if let Self::Anderson(options) = self {
            prepared.anderson.prepare(shared, pooled, options.midrank);
            if options.method == anderson::Method::Auto {
                prepared.ties.prepare(shared, pooled, options.midrank);
            }
        }
    }

    /// Prepares a gene from the values that its comparisons share, which `each` visits in ascending order,
    /// with their numbers of cells; only where [`Needs::values`].
    pub fn prepare_values(prepared: &mut Prepared, each: impl FnOnce(&mut dyn FnMut(f64, u64))) {
        prepared.values.clear();
        each(&mut |value, cells| prepared.values.push(value, cells));
        prepared.values.summarize(LISTED);
    }

    /// Writes the statistic, its p-value and the test's own columns; nothing for an empty sample.
    #[inline]
    pub(super) fn compare<P: Pair>(
        self,
        pair: &mut P,
        tables: &NullTables,
        (prepared, scratch): (&Prepared, &mut Scratch),
        record: &mut Record,
    ) {
        match self {
            Self::Wilcoxon(options) => {
                let sum = pair.rank_sum();
                if let Some((mut test, needs_runs)) = sum.scored(&options, tables) {
                    if needs_runs {
                        test.p = given_ties(pair, &sum, &options, scratch);
                    }
                    write_wilcoxon(&test, record);
                }
            }
            Self::Anderson(options) => {
                let few = pair.few_runs(&mut scratch.few);
                let sum = if few {
                    anderson::few_sum(&scratch.few, pair.sizes(), options.midrank)
                } else {
                    let (shared, scratch) = (&prepared.anderson, &mut scratch.anderson);
                    anderson::sum(&pair.runs(), shared, scratch, options.midrank)
                };
                if let Some(mut test) = sum.test(&options) {
                    if options.method == anderson::Method::Auto && !test.statistic.is_nan() {
                        let Scratch { few: runs, ties, .. } = scratch;
                        let few = few.then_some(&*runs);
                        test.p = anderson_given_ties(pair, &sum, few, prepared, ties);
                    }
                    write(test.statistic, test.p, record);
                }
            }
            Self::TTest(options) => {
                let (target, other) = pair.moments();
                if let Some(mut test) = ttest::ttest(&target, &other, &options) {
                    if test.needs_values(&options) {
                        test.p = permuted(pair, &test, &options, (prepared, scratch));
                    }
                    write(test.statistic, test.p, record);
                    record[Column::Df] = test.df;
                }
            }
            Self::Ks(options) => {
                let distance = ks::distance(&pair.runs());
                if let Some(test) = distance.test(&options, &mut scratch.ks) {
                    write(test.statistic, test.p, record);
                }
            }
        }
    }

    /// True if kernels leave p-values to be made of the scores, many at once.
    #[must_use]
    pub fn p_of_score(self) -> bool {
        matches!(self, Self::Wilcoxon(options) if options.p_of_score())
    }

    /// Makes the p-values that kernels left of their scores: NaN where the score is.
    pub fn tails(self, scores: &[f64], p: &mut [f64], neg_log10: &mut [f64]) {
        debug_assert!(scores.len() == p.len() && p.len() == neg_log10.len());
        if !self.p_of_score() {
            return;
        }
        let [mut directed, mut of_scores, mut logs] = [[0.0; 256]; 3];
        let tails = p.chunks_mut(directed.len()).zip(neg_log10.chunks_mut(directed.len()));
        for (scores, (p, neg_log10)) in scores.chunks(directed.len()).zip(tails) {
            let n = scores.len();
            directed.iter_mut().zip(scores).for_each(|(z, score)| *z = score.abs());
            two_sided_all(&directed[..n], &mut of_scores[..n], &mut logs[..n]);
            // Those that are known stay.
            let left = p.iter_mut().zip(neg_log10).zip(of_scores.iter().zip(&logs));
            for ((p, neg_log10), (&of_score, &log)) in left {
                *neg_log10 = if p.is_nan() { log } else { *neg_log10 };
                *p = if p.is_nan() { of_score } else { *p };
            }
        }
    }

    /// [`Test::tails`] of records.
    #[cfg(test)]
    pub fn complete<'a>(self, records: impl Iterator<Item = &'a mut Record>) {
        if !self.p_of_score() {
            return;
        }
        let mut records: Vec<&mut Record> = records.collect();
        let (mut scores, mut p, mut neg_log10) = ([0.0; 256], [0.0; 256], [0.0; 256]);
        for records in records.chunks_mut(scores.len()) {
            let n = records.len();
            for (i, record) in records.iter().enumerate() {
                scores[i] = record[Column::ZScore];
                (p[i], neg_log10[i]) = (record[Column::PValue], record[Column::NegLog10P]);
            }
            self.tails(&scores[..n], &mut p[..n], &mut neg_log10[..n]);
            for (record, (p, neg_log10)) in records.iter_mut().zip(p.iter().zip(&neg_log10)) {
                record[Column::PValue] = *p;
                record[Column::NegLog10P] = *neg_log10;
            }
        }
    }
}

/// The p-value of an Anderson-Darling sum given the ties; `few_runs` are those of the pair, where they
/// were found.
#[inline]
fn anderson_given_ties<P: Pair>(
    pair: &mut P,
    sum: &AndersonSum,
    few_runs: Option<&FewRuns>,
    prepared: &Prepared,
    scratch: &mut given_ties::Scratch,
) -> Tail {
    prepared.ties.p_value(sum, scratch, |blocks, limit| {
        // Both ways leave the same bits.
        let few = |both: &&[u32]| {
            both.iter().filter(|&&cells| cells > 0).count() <= given_ties::EXACT_RUNS
        };
        if let Some(both) = few_runs.map(|runs| runs.get().1).filter(few) {
            limit.prepare(both, blocks.midrank());
        } else {
            let runs = pair.runs();
            limit.prepare_pair(runs.shared, runs.own, blocks);
        }
    })
}

/// The p-value of a rank sum given the ties; NaN, and noted in the scratch, where it takes too long.
// Apart from the loop over all pairs, most of which do not need it.
#[inline(never)]
fn given_ties<P: Pair>(
    pair: &mut P,
    sum: &RankSum,
    options: &wilcoxon::Options,
    scratch: &mut Scratch,
) -> Tail {
    pair.pool(sum, &mut scratch.tails.runs);
    sum.given_ties(options, &mut scratch.tails).unwrap_or_else(|_| {
        scratch.refused.get_or_insert((sum.n_target, sum.n_reference));
        Tail::NAN
    })
}

/// The p-value of t over all choices of the target's cells.
// As `given_ties`, apart from the loop.
#[inline(never)]
fn permuted<P: Pair>(
    pair: &mut P,
    test: &TTest,
    options: &ttest::Options,
    (prepared, scratch): (&Prepared, &mut Scratch),
) -> Tail {
    let tails = &mut scratch.value_tails;
    tails.target.clear();
    let pooled = pair.target_values(&mut tails.target);
    test.permuted(options, (&prepared.values, pooled), tails)
}

#[inline]
fn write(statistic: f64, p: Tail, record: &mut Record) {
    record[Column::Statistic] = statistic;
    record[Column::PValue] = p.p;
    record[Column::NegLog10P] = p.neg_log10;
}

/// Writes the columns of a rank-sum test, stratified or not.
#[inline]
pub(super) fn write_wilcoxon(test: &Wilcoxon, record: &mut Record) {
    write(test.statistic, test.p, record);
    record[Column::ZScore] = test.z_score;
    record[Column::Auroc] = test.auroc;
}
