//! The columns of a result: their names, order and types, in this one place.
//!
//! A kernel *measures* some columns of every comparison, as a [`Record`]; the others are *derived*
//! where the table is finished ([`super::table`]).  Python asks here for names ([`Column::name`]) and
//! never keeps a position of its own.
//!
//! To add a column that kernels measure: a line in [`Column`], in [`Column::ORDER`] and in
//! [`Column::name`], and the place that measures it ([`super::test`]).

use std::ops::{Index, IndexMut};

/// A column of numbers, beside the labels of target and gene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Column {
    // Measured by kernels: the places of a record.
    /// Mean of the target's cells, on the natural scale.
    TargetMean,
    /// Mean of the cells that it is compared with.
    ReferenceMean,
    /// The share of the target's cells with a value other than 0.
    TargetFraction,
    /// That of the cells that it is compared with.
    ReferenceFraction,
    /// The test's statistic.
    Statistic,
    PValue,
    /// -log10 of the p-value, which goes on where that underflows.
    NegLog10P,
    /// Wilcoxon: the signed score.
    ZScore,
    /// t-test: degrees of freedom.
    Df,
    /// The chance that a cell of the target exceeds one of the reference.
    Auroc,
    // Derived when the table is finished.
    /// Numbers of cells compared.
    NTarget,
    NReference,
    Log2FoldChange,
    PercentChange,
    /// The p-value adjusted by Benjamini and Hochberg.
    Fdr,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit counts of cells.
    UInt32,
    Float64,
}

impl Column {
    /// How many columns kernels measure.
    pub const MEASURED: usize = Self::NTarget as usize;

    /// All columns in the order of a result.  Polars prints the first and the last four columns of a wide
    /// frame: with the two labels before these, they are the answer.
    pub const ORDER: [Self; 15] = [
        Self::Log2FoldChange,
        Self::PValue,
        Self::NegLog10P,
        Self::Statistic,
        Self::ZScore,
        Self::Auroc,
        Self::Df,
        Self::PercentChange,
        Self::TargetFraction,
        Self::ReferenceFraction,
        Self::NReference,
        Self::NTarget,
        Self::TargetMean,
        Self::ReferenceMean,
        Self::Fdr,
    ];

    /// The columns of an expression's result, in order.
    const OF_EXPRESSION: [Self; 10] = [
        Self::NTarget,
        Self::NReference,
        Self::TargetMean,
        Self::ReferenceMean,
        Self::Statistic,
        Self::PValue,
        Self::NegLog10P,
        Self::ZScore,
        Self::Df,
        Self::Auroc,
    ];

    /// The columns that every test has.
    const COMMON: [Self; 7] = [
        Self::TargetMean,
        Self::ReferenceMean,
        Self::TargetFraction,
        Self::ReferenceFraction,
        Self::Statistic,
        Self::PValue,
        Self::NegLog10P,
    ];

    /// The column's name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TargetMean => "target_mean",
            Self::ReferenceMean => "reference_mean",
            Self::TargetFraction => "target_fraction",
            Self::ReferenceFraction => "reference_fraction",
            Self::Statistic => "statistic",
            Self::PValue => "p_value",
            Self::NegLog10P => "neg_log10_p",
            Self::ZScore => "z_score",
            Self::Df => "df",
            Self::Auroc => "auroc",
            Self::NTarget => "n_target",
            Self::NReference => "n_reference",
            Self::Log2FoldChange => "log2_fold_change",
            Self::PercentChange => "percent_change",
            Self::Fdr => "fdr",
        }
    }

    /// What the column holds.
    #[must_use]
    pub const fn dtype(self) -> Dtype {
        match self {
            Self::NTarget | Self::NReference => Dtype::UInt32,
            _ => Dtype::Float64,
        }
    }

    /// True if kernels measure the column; else it is derived.
    #[must_use]
    pub const fn is_measured(self) -> bool {
        (self as usize) < Self::MEASURED
    }

    /// The measured columns of a test with these columns of its own, in order.
    pub fn measured(own: &'static [Self]) -> impl Iterator<Item = Self> {
        let wanted = move |column: &Self| Self::COMMON.contains(column) || own.contains(column);
        Self::ORDER.into_iter().filter(wanted)
    }

    /// The columns of a finished table of such a test, in order.
    pub fn finished(own: &'static [Self]) -> impl Iterator<Item = Self> {
        Self::ORDER.into_iter().filter(move |column| column.is_finished(own))
    }

    /// The columns of an expression's result: sizes, and what is measured.
    pub fn of_expression(own: &'static [Self]) -> impl Iterator<Item = Self> {
        Self::OF_EXPRESSION.into_iter().filter(move |column| column.is_finished(own))
    }

    /// True if a test with these columns of its own has the column, measured or derived.
    fn is_finished(self, own: &[Self]) -> bool {
        !self.is_measured() || Self::COMMON.contains(&self) || own.contains(&self)
    }
}

/// What kernels measure of one comparison; NaN where a number is undefined or not asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record([f64; Column::MEASURED]);

impl Record {
    /// A record that nothing was written to: that of an empty sample.
    pub const EMPTY: Self = Self([f64::NAN; Column::MEASURED]);

    /// The numbers in the order of [`Column`].
    #[inline]
    pub(crate) fn numbers(&self) -> &[f64; Column::MEASURED] {
        &self.0
    }
}

impl Index<Column> for Record {
    type Output = f64;

    #[inline]
    fn index(&self, column: Column) -> &f64 {
        &self.0[column as usize]
    }
}

impl IndexMut<Column> for Record {
    #[inline]
    fn index_mut(&mut self, column: Column) -> &mut f64 {
        &mut self.0[column as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_column_has_one_place_and_one_name() {
        let names: HashSet<&str> = Column::ORDER.iter().map(|column| column.name()).collect();
        let places: HashSet<usize> = Column::ORDER.iter().map(|&column| column as usize).collect();
        let last = *places.iter().max().unwrap();
        assert_eq!((names.len(), places.len()), (Column::ORDER.len(), Column::ORDER.len()));
        assert_eq!(last + 1, Column::ORDER.len());
        let measured = Column::ORDER.iter().filter(|column| column.is_measured()).count();
        assert_eq!(measured, Column::MEASURED);
    }

    #[test]
    fn tests_have_their_own_columns_in_the_order_of_results() {
        let own: &[Column] = &[Column::Df, Column::Auroc];
        let names = |columns: Vec<Column>| columns.iter().map(|c| c.name()).collect::<Vec<_>>();
        assert_eq!(
            names(Column::measured(own).collect()),
            [
                "p_value",
                "neg_log10_p",
                "statistic",
                "auroc",
                "df",
                "target_fraction",
                "reference_fraction",
                "target_mean",
                "reference_mean"
            ]
        );
        assert_eq!(Column::finished(own).count(), 14);
        assert_eq!(
            names(Column::of_expression(&[]).collect()),
            [
                "n_target",
                "n_reference",
                "target_mean",
                "reference_mean",
                "statistic",
                "p_value",
                "neg_log10_p"
            ]
        );
    }
}
