//! What is asked of a gene, and the numbers that answer it.

use super::design::{Reference, pair};
use crate::stats::exact::NullTables;
use crate::stats::special::normal::two_sided_all;
use crate::stats::special::{Tail, elementary};
use crate::stats::two::Two;
use crate::stats::{anderson, ttest, wilcoxon};

/// Which test, with its options.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Test {
    Wilcoxon(wilcoxon::Options),
    Anderson(anderson::Options),
    TTest(ttest::Options),
}

impl Test {
    /// What the test is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Wilcoxon(_) => "wilcoxon",
            Self::Anderson(_) => "anderson",
            Self::TTest(_) => "ttest",
        }
    }

    /// The test's own columns, in the order of [`Comparison::extra`]; `auroc` for those that have
    /// none of their own.
    #[must_use]
    pub fn extras(&self, auroc: bool) -> &'static [&'static str] {
        match (self, auroc) {
            (Self::Wilcoxon(_), _) => &["z_score", "auroc"],
            (Self::Anderson(_), false) => &[],
            (Self::Anderson(_), true) => &["auroc"],
            (Self::TTest(_), false) => &["df"],
            (Self::TTest(_), true) => &["df", "auroc"],
        }
    }

    /// Whether AUROCs are asked for beside a test that does not rank.
    #[must_use]
    pub fn lacks_auroc(&self, auroc: bool) -> bool {
        auroc && !matches!(self, Self::Wilcoxon(_))
    }

    /// Whether kernels leave p-values to be made of the z scores, many at once.
    #[must_use]
    pub fn p_of_score(&self) -> bool {
        matches!(self, Self::Wilcoxon(options) if options.p_of_score())
    }

    /// Makes the p-values that kernels left of their z scores: NaN where the score is.
    pub fn tails(&self, scores: &[f64], p: &mut [f64], neg_log10: &mut [f64]) {
        if !self.p_of_score() {
            return;
        }
        let mut directed = [0.0; 256];
        let tails = p.chunks_mut(directed.len()).zip(neg_log10.chunks_mut(directed.len()));
        for (scores, (p, neg_log10)) in scores.chunks(directed.len()).zip(tails) {
            let directed = &mut directed[..scores.len()];
            directed.iter_mut().zip(scores).for_each(|(z, score)| *z = score.abs());
            two_sided_all(directed, p, neg_log10);
        }
    }

    /// [`Test::tails`] of comparisons.
    pub fn complete<'a>(&self, comparisons: impl Iterator<Item = &'a mut Comparison>) {
        if !self.p_of_score() {
            return;
        }
        let comparisons: Vec<&mut Comparison> = comparisons.collect();
        let scores: Vec<f64> = comparisons.iter().map(|of| of.extra[0]).collect();
        let (mut p, mut neg_log10) = (vec![0.0; scores.len()], vec![0.0; scores.len()]);
        self.tails(&scores, &mut p, &mut neg_log10);
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
    /// Wilcoxon: z score and AUROC; t-test: df, then AUROC where asked for; Anderson: AUROC where
    /// asked for.
    pub extra: [f64; 2],
}

impl Comparison {
    /// A comparison that a NaN enters, or with an empty sample.
    pub const NAN: Self = Self { statistic: f64::NAN, p: Tail::NAN, extra: [f64::NAN; 2] };

    /// The comparison with its AUROC, where [`Test::lacks_auroc`].
    #[must_use]
    pub fn with_auroc(mut self, test: &Test, auroc: f64) -> Self {
        self.extra[usize::from(matches!(test, Test::TTest(_)))] = auroc;
        self
    }
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
    /// Where cells are compared within strata, the numbers of each stratum's groups, one stratum
    /// after the other; codes are then places among these.
    pub strata: Option<&'a [u64]>,
    /// The number of all cells.
    pub cells: u64,
    pub reference: Reference,
    pub test: Test,
    /// Whether a test that does not rank has AUROCs, too.
    pub auroc: bool,
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
