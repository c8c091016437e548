//! The result's columns: targets in order, each with all genes in order.
//!
//! Kernels write what they measure ([`Table::rows`], [`Table::write`]); [`Table::finish`] derives the
//! rest, all of it in parallel: p-values of scores, fold changes, adjusted p-values, sizes.

use super::column::{Column, Record};
use super::design::Design;
use super::fdr::adjust_all;
use super::pages::{touch, untouched, zeros};
use super::test::Test;
use crate::cast::cells;
use crate::error::{Error, ErrorKind, Result};
use crate::stats::adjust::{self, adjust_into};
use crate::stats::special::elementary::log2;
use crate::stats::unknown;
use multiversion::multiversion;
use rayon::prelude::*;
use std::ops::{Index, Range};
use std::str::FromStr;

/// Which p-values are corrected together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// The genes of each target.
    #[default]
    Target,
    /// All targets and genes.
    All,
}

impl FromStr for Family {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "target" => Ok(Self::Target),
            "all" => Ok(Self::All),
            _ => Err(unknown("fdr", name, &["target", "all"])),
        }
    }
}

/// Columns of `n_targets` x `n_genes` numbers, the genes of the first target first.
#[derive(Debug, Clone, Default)]
pub struct Table {
    n_targets: usize,
    n_genes: usize,
    /// By [`Column`]; those that the test does not have are empty.
    columns: [Vec<f64>; Column::MEASURED],
    own: &'static [Column],
    /// True once the p-values that kernels leave are made.
    completed: bool,
}

/// Some genes of one target.
#[derive(Debug)]
pub struct Row<'a>([&'a mut [f64]; Column::MEASURED]);

impl Row<'_> {
    /// Writes gene number `i` of these.
    #[inline]
    pub fn set(&mut self, i: usize, record: &Record) {
        for (column, &number) in self.0.iter_mut().zip(record.numbers()) {
            if let Some(place) = column.get_mut(i) {
                *place = number;
            }
        }
    }
}

/// Fold changes and percent changes of (targets, references); NaN where the pseudocount is.
#[multiversion(targets = "simd")]
fn changes(
    (targets, references): (&[f64], &[f64]),
    pseudocount: f64,
    folds: &mut [f64],
    percents: &mut [f64],
) {
    let means = targets.iter().zip(references);
    for ((&target, &reference), (fold, percent)) in means.zip(folds.iter_mut().zip(percents)) {
        let (above, below) = (target + pseudocount, reference + pseudocount);
        let log = log2(above / below);
        *fold = if above == 0.0 && below == 0.0 { 0.0 } else { log };
        let part = (target - reference) / reference;
        *percent = if reference == 0.0 || pseudocount.is_nan() { f64::NAN } else { part };
    }
}

/// A finished column.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    Counts(Vec<u32>),
    Reals(Vec<f64>),
}

impl Table {
    /// A table for `n_targets` and `n_genes` and the measured columns of a test with these of its own;
    /// every number is to be written.
    #[must_use]
    pub fn new(n_targets: usize, n_genes: usize, own: &'static [Column]) -> Self {
        let mut table = Self { n_targets, n_genes, own, ..Self::default() };
        for column in Column::measured(own) {
            // First touched when it is written, by several threads at once.
            table.columns[column as usize] = untouched(n_targets * n_genes);
        }
        table
    }

    /// Rebuilds a table, for some targets, from the columns of [`Table::into_columns`].
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] for another number of columns, or one of another length.
    pub fn of_columns(
        (n_targets, n_genes): (usize, usize),
        own: &'static [Column],
        columns: Vec<Vec<f64>>,
    ) -> Result<Self> {
        let mismatch = |what, expected, got| ErrorKind::ShapeMismatch { what, expected, got };
        let (expected, got) = (Column::measured(own).count(), columns.len());
        if expected != got {
            return Err(mismatch("columns of numbers", expected, got).into());
        }
        let expected = n_targets * n_genes;
        let mut table = Self { n_targets, n_genes, own, completed: true, ..Self::default() };
        for (column, values) in Column::measured(own).zip(columns) {
            if values.len() != expected {
                return Err(mismatch("a column of numbers", expected, values.len()).into());
            }
            table.columns[column as usize] = values;
        }
        Ok(table)
    }

    /// The measured columns in the order of a result, p-values included.
    #[must_use]
    pub fn into_columns(mut self, test: Test) -> Vec<Vec<f64>> {
        self.complete(test);
        let Self { mut columns, own, .. } = self;
        Column::measured(own).map(|column| std::mem::take(&mut columns[column as usize])).collect()
    }

    /// Has the memory of all columns handed out, by all threads, before the first number is written.
    pub(super) fn touch(&mut self) {
        self.columns.iter_mut().for_each(|column| touch(column));
    }

    /// The number of genes of each target.
    #[must_use]
    pub fn n_genes(&self) -> usize {
        self.n_genes
    }

    /// Genes `first..first + length` of each target, to be written.
    pub fn rows(&mut self, first: usize, length: usize) -> Vec<Row<'_>> {
        let n = self.n_genes;
        if n == 0 {
            return Vec::new();
        }
        let mut columns = self.columns.each_mut().map(|column| column.chunks_exact_mut(n));
        let part = |genes: Option<_>| -> &mut [f64] {
            let genes: &mut [f64] = genes.unwrap_or_default();
            genes.get_mut(first..first + length).unwrap_or_default()
        };
        let row = |_| Row(columns.each_mut().map(|column| part(column.next())));
        (0..self.n_targets).map(row).collect()
    }

    /// Writes genes `first..` of every target from records, which hold all targets of the first gene,
    /// then of the next.
    pub fn write(&mut self, first: usize, records: &[Record]) {
        let (n_targets, length) = (self.n_targets, records.len() / self.n_targets.max(1));
        debug_assert!(records.len() == n_targets * length && first + length <= self.n_genes);
        self.rows(first, length).into_par_iter().enumerate().for_each(|(t, mut row)| {
            for (i, record) in records.iter().skip(t).step_by(n_targets).enumerate() {
                row.set(i, record);
            }
        });
    }

    /// Makes the p-values that kernels left of the scores, once all are written.
    pub fn complete(&mut self, test: Test) {
        if std::mem::replace(&mut self.completed, true) || !test.p_of_score() {
            return;
        }
        let scores = std::mem::take(&mut self.columns[Column::ZScore as usize]);
        let mut p = std::mem::take(&mut self.columns[Column::PValue as usize]);
        let mut neg_log10 = std::mem::take(&mut self.columns[Column::NegLog10P as usize]);
        let genes = self.n_genes.max(1);
        let tails = (scores.par_chunks(genes), p.par_chunks_mut(genes));
        let tails = tails.into_par_iter().zip(neg_log10.par_chunks_mut(genes));
        tails.for_each(|((scores, p), neg_log10)| test.tails(scores, p, neg_log10));
        self.columns[Column::ZScore as usize] = scores;
        self.columns[Column::PValue as usize] = p;
        self.columns[Column::NegLog10P as usize] = neg_log10;
    }

    /// The finished columns in the order of a result.  `targets` are the places of this table's among
    /// the design's.
    ///
    /// log2 fold change is log2((target + c) / (reference + c)), c the pseudocount, 0 for 0/0;
    /// percent change is (target - reference) / reference, NaN for a reference of 0.  Both are NaN where
    /// c is: of residuals, whose means have no ratio.
    #[must_use]
    pub fn finish(
        mut self,
        test: Test,
        design: &Design,
        targets: Range<usize>,
        (pseudocount, family): (f64, Family),
    ) -> Vec<(Column, Numbers)> {
        debug_assert!(targets.len() == self.n_targets);
        self.complete(test);
        let genes = self.n_genes.max(1);
        let size = |pick: fn((u64, u64)) -> u64| {
            let mut sizes = zeros(self.n_targets * self.n_genes);
            let each = sizes.par_chunks_mut(genes).zip(targets.clone());
            each.for_each(|(sizes, t)| sizes.fill(cells(pick(design.pair(t)))));
            Numbers::Counts(sizes)
        };
        let (n_target, n_reference) = (size(|pair| pair.0), size(|pair| pair.1));
        let (folds, percents) = self.changes(pseudocount);
        let fdr = self.adjusted(family);
        let mut derived = [
            (Column::NTarget, n_target),
            (Column::NReference, n_reference),
            (Column::Log2FoldChange, Numbers::Reals(folds)),
            (Column::PercentChange, Numbers::Reals(percents)),
            (Column::Fdr, Numbers::Reals(fdr)),
        ]
        .map(Some);
        let mut take = |column: Column| {
            let found = derived.iter_mut().find(|d| d.as_ref().is_some_and(|d| d.0 == column));
            found.and_then(Option::take).map(|(_, numbers)| numbers)
        };
        let Self { mut columns, own, .. } = self;
        let numbers = |column: Column| {
            let measured = || Numbers::Reals(std::mem::take(&mut columns[column as usize]));
            (column, take(column).unwrap_or_else(measured))
        };
        Column::finished(own).map(numbers).collect()
    }

    fn changes(&self, pseudocount: f64) -> (Vec<f64>, Vec<f64>) {
        let (targets, references) = (&self[Column::TargetMean], &self[Column::ReferenceMean]);
        let genes = self.n_genes.max(1);
        let (mut folds, mut percents) = (zeros(targets.len()), zeros(targets.len()));
        let means = targets.par_chunks(genes).zip(references.par_chunks(genes));
        let columns = folds.par_chunks_mut(genes).zip(percents.par_chunks_mut(genes));
        columns.zip(means).for_each(|((folds, percents), means)| {
            changes(means, pseudocount, folds, percents);
        });
        (folds, percents)
    }

    fn adjusted(&self, family: Family) -> Vec<f64> {
        let p = &self[Column::PValue];
        let mut fdr = zeros(p.len());
        match family {
            Family::All => adjust_all(p, &mut fdr),
            Family::Target => {
                let genes = self.n_genes.max(1);
                fdr.par_chunks_mut(genes).zip(p.par_chunks(genes)).for_each_init(
                    adjust::Scratch::default,
                    |scratch, (fdr, p)| {
                        adjust_into(p, fdr, scratch);
                    },
                );
            }
        }
        fdr
    }
}

impl Index<Column> for Table {
    type Output = [f64];

    /// A measured column; empty where the test does not have it, or where it is derived.
    fn index(&self, column: Column) -> &[f64] {
        self.columns.get(column as usize).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::design::Reference;
    use crate::stats::ttest;

    fn finish(table: Table, pseudocount: f64, family: Family) -> Vec<(Column, Numbers)> {
        let design = Design::new(vec![0, 1, 2], 2, Reference::Group).unwrap();
        let test = Test::TTest(ttest::Options::default());
        table.finish(test, &design, 0..2, (pseudocount, family))
    }

    fn reals(columns: &[(Column, Numbers)], wanted: Column) -> &[f64] {
        match columns.iter().find(|(column, _)| *column == wanted) {
            Some((_, Numbers::Reals(reals))) => reals,
            _ => &[],
        }
    }

    #[test]
    fn records_take_their_places_and_fold_changes_their_limits() {
        let mut table = Table::new(2, 3, &[Column::Df]);
        let record = |v: f64| {
            let mut record = Record::EMPTY;
            record[Column::TargetMean] = v;
            record[Column::ReferenceMean] = v / 2.0;
            record
        };
        table.write(1, &[record(1.0), record(2.0), record(0.0), record(4.0)]);
        assert_eq!(table[Column::TargetMean], [0.0, 1.0, 0.0, 0.0, 2.0, 4.0]);
        assert!(table[Column::ZScore].is_empty() && table[Column::Fdr].is_empty());
        let finished = finish(table, 0.0, Family::Target);
        let names: Vec<_> = finished.iter().map(|(column, _)| *column).collect();
        assert_eq!(names, Column::finished(&[Column::Df]).collect::<Vec<_>>());
        assert_eq!(reals(&finished, Column::Log2FoldChange)[1..3], [1.0, 0.0]);
        let percent = reals(&finished, Column::PercentChange);
        assert!(percent[1] == 1.0 && percent[2].is_nan());
    }

    #[test]
    fn families_are_corrected_apart() {
        let mut table = Table::new(2, 2, &[Column::Df]);
        table.columns[Column::PValue as usize] = vec![0.01, 0.02, 0.03, f64::NAN];
        let by_target = finish(table.clone(), 1e-9, Family::Target);
        let by_target = reals(&by_target, Column::Fdr);
        assert_eq!(by_target[..3], [0.02, 0.02, 0.03]);
        assert!(by_target[3].is_nan());
        let together = finish(table, 1e-9, Family::All);
        assert_eq!(reals(&together, Column::Fdr)[..3], [0.03, 0.03, 0.03]);
    }

    #[test]
    fn columns_that_were_written_out_come_back() {
        let test = Test::TTest(ttest::Options::default());
        let mut table = Table::new(1, 2, &[Column::Df]);
        table.write(0, &[Record::EMPTY, Record::EMPTY]);
        let columns = table.into_columns(test);
        assert_eq!(columns.len(), Column::measured(&[Column::Df]).count());
        assert!(Table::of_columns((1, 2), &[Column::Df], columns.clone()).is_ok());
        for (shape, own) in [((2, 2), &[Column::Df][..]), ((1, 2), &[])] {
            let error = Table::of_columns(shape, own, columns.clone()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::ShapeMismatch { .. }));
        }
    }
}
