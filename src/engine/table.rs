//! The result's columns: targets in order, each with all genes in order.

use super::design::Design;
use super::question::{Cell, Test};
use crate::error::{Error, ErrorKind};
use crate::stats::adjust::benjamini_hochberg;
use crate::stats::special::elementary::log2;
use crate::stats::unknown;
use multiversion::multiversion;
use rayon::prelude::*;
use std::ops::Range;
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

    fn from_str(name: &str) -> Result<Self, Error> {
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
    n_genes: usize,
    pub target_mean: Vec<f64>,
    pub reference_mean: Vec<f64>,
    pub statistic: Vec<f64>,
    pub p_value: Vec<f64>,
    pub neg_log10_p: Vec<f64>,
    /// Wilcoxon: z score and AUROC; t-test: df.
    pub extra: [Vec<f64>; 2],
}

/// Some genes of one target.
#[derive(Debug)]
pub struct Row<'a> {
    target_mean: &'a mut [f64],
    reference_mean: &'a mut [f64],
    statistic: &'a mut [f64],
    p_value: &'a mut [f64],
    neg_log10_p: &'a mut [f64],
    extra: [&'a mut [f64]; 2],
}

impl Row<'_> {
    /// Writes gene number `i` of these.
    pub fn set(&mut self, i: usize, cell: &Cell) {
        self.target_mean[i] = cell.target_mean;
        self.reference_mean[i] = cell.reference_mean;
        self.statistic[i] = cell.comparison.statistic;
        self.p_value[i] = cell.comparison.p.p;
        self.neg_log10_p[i] = cell.comparison.p.neg_log10;
        for (extra, value) in self.extra.iter_mut().zip(cell.comparison.extra) {
            if let Some(place) = extra.get_mut(i) {
                *place = value;
            }
        }
    }
}

impl Row<'_> {
    /// Makes the p-values that kernels left of the scores, when all are written.
    pub fn complete(&mut self, test: &Test) {
        test.tails(self.extra[0], self.p_value, self.neg_log10_p);
    }
}

/// Fold changes and percent changes of (targets, references).
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
        *percent = if reference == 0.0 { f64::NAN } else { part };
    }
}

/// What [`Table::finish`] derives from a table.
#[derive(Debug, Clone)]
pub struct Derived {
    pub log2_fold_change: Vec<f64>,
    pub percent_change: Vec<f64>,
    pub fdr: Vec<f64>,
}

impl Table {
    /// A table for `n_targets` and `n_genes`, with `extras` columns of a test's own; every cell is
    /// to be written.
    #[must_use]
    pub fn new(n_targets: usize, n_genes: usize, extras: usize) -> Self {
        // Zeroed memory is first touched when it is written, by several threads at once.
        let column = || vec![0.0; n_targets * n_genes];
        let extra = |i| if i < extras { column() } else { Vec::new() };
        Self {
            n_genes,
            target_mean: column(),
            reference_mean: column(),
            statistic: column(),
            p_value: column(),
            neg_log10_p: column(),
            extra: [extra(0), extra(1)],
        }
    }

    /// A table of columns that another one had ([`Table::into_columns`]), for some targets.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] where there are too few columns, or one is not as long as the
    /// first.
    pub fn of_columns(n_genes: usize, columns: Vec<Vec<f64>>) -> Result<Self, Error> {
        let expected = columns.first().map_or(0, Vec::len);
        let mismatch = |what, expected, got| ErrorKind::ShapeMismatch { what, expected, got };
        if let Some(other) = columns.iter().find(|column| column.len() != expected) {
            return Err(mismatch("a column of numbers", expected, other.len()).into());
        }
        let got = columns.len();
        let mut columns = columns.into_iter();
        let five: [_; 5] = std::array::from_fn(|_| columns.next());
        let [
            Some(target_mean),
            Some(reference_mean),
            Some(statistic),
            Some(p_value),
            Some(neg_log10_p),
        ] = five
        else {
            return Err(mismatch("columns of numbers", 5, got).into());
        };
        let extra = std::array::from_fn(|_| columns.next().unwrap_or_default());
        Ok(Self { n_genes, target_mean, reference_mean, statistic, p_value, neg_log10_p, extra })
    }

    /// The means, the statistic, both p-values and those of the test's own that there are.
    #[must_use]
    pub fn into_columns(self) -> Vec<Vec<f64>> {
        let Self { target_mean, reference_mean, statistic, p_value, neg_log10_p, extra, .. } = self;
        let own = extra.into_iter().filter(|column| !column.is_empty());
        let all = [target_mean, reference_mean, statistic, p_value, neg_log10_p];
        all.into_iter().chain(own).collect()
    }

    /// The number of genes of each target.
    #[must_use]
    pub fn n_genes(&self) -> usize {
        self.n_genes
    }

    /// Genes `first..first + length` of each target, to be written.
    pub fn rows(&mut self, first: usize, length: usize) -> Vec<Row<'_>> {
        fn slice<T>(genes: &mut [T], first: usize, length: usize) -> &mut [T] {
            &mut genes[first..first + length]
        }
        let n = self.n_genes;
        if n == 0 {
            return Vec::new();
        }
        let part = |genes| slice(genes, first, length);
        let [extra, other] = &mut self.extra;
        let mut extra = extra.chunks_exact_mut(n).map(part);
        let mut other = other.chunks_exact_mut(n).map(part);
        let means = self.target_mean.chunks_exact_mut(n).map(part);
        let means = means.zip(self.reference_mean.chunks_exact_mut(n).map(part));
        let p = self.p_value.chunks_exact_mut(n).map(part);
        let p = p.zip(self.neg_log10_p.chunks_exact_mut(n).map(part));
        let numbers = means.zip(self.statistic.chunks_exact_mut(n).map(part)).zip(p);
        let row = |(((target_mean, reference_mean), statistic), (p_value, neg_log10_p))| Row {
            target_mean,
            reference_mean,
            statistic,
            p_value,
            neg_log10_p,
            extra: [extra.next().unwrap_or_default(), other.next().unwrap_or_default()],
        };
        numbers.map(row).collect()
    }

    /// Writes genes `first..` of every target from `cells`, which holds all targets of the first
    /// gene, then of the next, and makes the p-values that kernels left.
    pub fn write(&mut self, first: usize, n_targets: usize, cells: &[Cell], test: &Test) {
        let n = self.n_genes;
        if n == 0 || n_targets == 0 {
            return;
        }
        let length = cells.len() / n_targets;
        self.rows(first, length).into_par_iter().enumerate().for_each(|(t, mut row)| {
            for (i, cell) in cells.iter().skip(t).step_by(n_targets).enumerate() {
                row.set(i, cell);
            }
            row.complete(test);
        });
    }

    /// Fold changes and corrected p-values.
    ///
    /// log2 fold change is log2((target + c) / (reference + c)), c the pseudocount, 0 for 0/0;
    /// percent change is (target - reference) / reference, NaN for a reference of 0.
    #[must_use]
    pub fn finish(&self, pseudocount: f64, family: Family) -> Derived {
        let n = self.p_value.len();
        let mut derived =
            Derived { log2_fold_change: vec![0.0; n], percent_change: vec![0.0; n], fdr: vec![] };
        let genes = self.n_genes.max(1);
        let means = self.target_mean.par_chunks(genes).zip(self.reference_mean.par_chunks(genes));
        let columns = derived.log2_fold_change.par_chunks_mut(genes);
        let columns = columns.zip(derived.percent_change.par_chunks_mut(genes));
        columns.zip(means).for_each(|((folds, percents), means)| {
            changes(means, pseudocount, folds, percents);
        });
        derived.fdr = match family {
            Family::All => benjamini_hochberg(&self.p_value),
            Family::Target => {
                let mut fdr = vec![0.0; n];
                let p = self.p_value.par_chunks(genes);
                fdr.par_chunks_mut(genes)
                    .zip(p)
                    .for_each(|(fdr, p)| fdr.copy_from_slice(&benjamini_hochberg(p)));
                fdr
            }
        };
        derived
    }
}

/// The sizes of each row's target and reference, in the order of a table of some targets.
#[must_use]
pub fn sizes(design: &Design, targets: Range<usize>, n_genes: usize) -> (Vec<u32>, Vec<u32>) {
    let each = |pick: fn((u64, u64)) -> u64| {
        let mut sizes = vec![0; targets.len() * n_genes];
        sizes.par_chunks_mut(n_genes.max(1)).zip(targets.clone()).for_each(|(sizes, t)| {
            sizes.fill(u32::try_from(pick(design.pair(t))).unwrap_or(u32::MAX));
        });
        sizes
    };
    (each(|pair| pair.0), each(|pair| pair.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_take_their_places_and_fold_changes_their_limits() {
        let mut table = Table::new(2, 3, 0);
        let cell = |v| Cell { target_mean: v, reference_mean: v / 2.0, ..Cell::EMPTY };
        let test = Test::TTest(crate::stats::ttest::Options::default());
        table.write(1, 2, &[cell(1.0), cell(2.0), cell(0.0), cell(4.0)], &test);
        assert_eq!(table.target_mean[1..3], [1.0, 0.0]);
        assert_eq!(table.target_mean[4..6], [2.0, 4.0]);
        assert_eq!((table.target_mean[0], table.target_mean[3]), (0.0, 0.0));
        let derived = table.finish(0.0, Family::Target);
        assert_eq!(derived.log2_fold_change[1..3], [1.0, 0.0]);
        assert_eq!(derived.percent_change[1], 1.0);
        assert!(derived.percent_change[2].is_nan());
    }

    #[test]
    fn families_are_corrected_apart() {
        let mut table = Table::new(2, 2, 0);
        table.p_value = vec![0.01, 0.02, 0.03, f64::NAN];
        let by_target = table.finish(1e-9, Family::Target).fdr;
        assert_eq!(by_target[..3], [0.02, 0.02, 0.03]);
        assert!(by_target[3].is_nan());
        let together = table.finish(1e-9, Family::All).fdr;
        assert_eq!(together[..3], [0.03, 0.03, 0.03]);
    }
}
