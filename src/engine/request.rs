//! What is asked of a matrix, and of one gene.

use super::column::{Column, Record};
use super::design::{Design, Reference, pair};
use super::pair::Pair;
use super::test::{Prepared, Scratch, Test};
use crate::cast::real;
use crate::stats::double_double::DoubleDouble;
use crate::stats::exact::NullTables;
use crate::stats::special::elementary;

/// The transformation before and after averaging, so that means are on the natural scale.
///
/// Logarithms may have any base b: ln(1 + x) / `ln_base`, where `ln_base` is ln(b), 1 for natural ones.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Scale {
    /// mean(x).
    #[default]
    Plain,
    /// mean(expm1(x)): the arithmetic mean of log1p data.
    MeanOfExpm1 { ln_base: f64 },
    /// expm1(mean(x)): the geometric mean of log1p data.
    Expm1OfMean { ln_base: f64 },
    /// expm1(mean(log1p(x))): the geometric mean of counts.
    Geometric,
}

impl Scale {
    /// The transformation of one value before averaging; 0 for 0.
    #[must_use]
    pub fn before(self, value: f64) -> f64 {
        match self {
            Self::Plain | Self::Expm1OfMean { .. } => value,
            Self::MeanOfExpm1 { ln_base } => elementary::exp_m1(ln_base * value),
            Self::Geometric => value.ln_1p(),
        }
    }

    /// [`Scale::before`] of many values.
    pub fn before_all(self, values: &mut [f64]) {
        match self {
            Self::Plain | Self::Expm1OfMean { .. } => {}
            Self::MeanOfExpm1 { ln_base } => {
                // Natural logarithms are the rule.
                if ln_base != 1.0 {
                    for value in values.iter_mut() {
                        *value *= ln_base;
                    }
                }
                elementary::exp_m1_in_place(values);
            }
            Self::Geometric => values.iter_mut().for_each(|v| *v = v.ln_1p()),
        }
    }

    /// The transformation of the average.
    #[must_use]
    pub fn after(self, mean: f64) -> f64 {
        match self {
            Self::Plain | Self::MeanOfExpm1 { .. } => mean,
            Self::Expm1OfMean { ln_base } => (ln_base * mean).exp_m1(),
            Self::Geometric => mean.exp_m1(),
        }
    }

    /// The mean of `n` values from the sum of the transformed ones.
    #[must_use]
    pub fn mean(self, sum: DoubleDouble, n: u64) -> f64 {
        self.after(sum.renormalized().value() / real(n))
    }

    /// True if values are averaged as they are.
    #[must_use]
    pub fn is_of_values(self) -> bool {
        matches!(self, Self::Plain | Self::Expm1OfMean { .. })
    }
}

/// Everything about a run but the matrix.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub design: &'a Design,
    pub test: Test,
    /// Report the AUROC beside a test that does not rank.
    pub auroc: bool,
    pub scale: Scale,
    /// The genes to test, strictly ascending.
    pub genes: &'a [u32],
}

impl<'a> Request<'a> {
    /// What is asked of each gene.
    #[must_use]
    pub fn of_gene(&self, tables: &'a NullTables) -> GeneRequest<'a> {
        GeneRequest {
            sizes: self.design.sizes(),
            strata: self.design.strata(),
            cells: self.design.cells(),
            reference: self.design.reference(),
            test: self.test,
            auroc: self.auroc,
            scale: self.scale,
            tables,
        }
    }

    /// The columns of the test's own.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn own_columns(&self) -> &'static [Column] {
        self.test.columns(self.auroc)
    }
}

/// What is asked of a gene.
#[derive(Debug, Clone, Copy)]
pub struct GeneRequest<'a> {
    /// The groups' numbers of cells, the reference first.
    pub sizes: &'a [u64],
    /// Where cells are compared within strata, the numbers of each stratum's groups, one stratum
    /// after the other; codes are then places among these.
    pub strata: Option<&'a [u64]>,
    /// The number of all cells.
    pub cells: u64,
    pub reference: Reference,
    pub test: Test,
    /// Report the AUROC beside a test that does not rank.
    pub auroc: bool,
    pub scale: Scale,
    pub tables: &'a NullTables,
}

impl GeneRequest<'_> {
    /// Numbers of cells in target `t` (0-based) and in the group it is compared with.
    #[must_use]
    pub fn pair(&self, t: usize) -> (u64, u64) {
        pair(self.sizes, self.cells, self.reference, t)
    }

    /// The number of targets.
    #[must_use]
    pub fn n_targets(&self) -> usize {
        self.sizes.len() - 1
    }

    /// True if each target is compared with all other cells.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.reference == Reference::Rest
    }

    /// All that is measured of one pair; [`Test::complete`] has yet to make the p-values of scores.
    #[inline]
    pub(super) fn measure<P: Pair>(&self, pair: &mut P, kept: (&Prepared, &mut Scratch)) -> Record {
        let mut record = Record::EMPTY;
        self.test.compare(pair, self.tables, kept, &mut record);
        if self.auroc && !matches!(self.test, Test::Wilcoxon(_)) {
            record[Column::Auroc] = pair.rank_sum().auroc();
        }
        describe(pair, &mut record);
        record
    }
}

/// Writes the columns that describe both samples, whatever the test.
#[inline]
pub(super) fn describe<P: Pair>(pair: &mut P, record: &mut Record) {
    (record[Column::TargetMean], record[Column::ReferenceMean]) = pair.means();
    (record[Column::TargetFraction], record[Column::ReferenceFraction]) = pair.fractions();
}
