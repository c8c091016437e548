//! The cells of one list, by group: what the engine compares.

use super::groups::Groups;
use super::request::{Plan, Request};
use crate::cast::{narrow, place};
use crate::engine::column::{Column, Record};
use crate::engine::design::{Reference, pair};
use crate::engine::gene::GeneKernel;
use crate::engine::request::{GeneRequest, Scale};
use crate::engine::source::sample::Sample;
use crate::engine::test::Test;
use crate::error::{ErrorKind, Result};
use crate::matrix::{Entry, SKIP, Value};
use crate::stats::MAX_CELLS;
use crate::stats::exact::NullTables;
use std::iter;
use std::sync::LazyLock;

/// The cells of one list by code: what [`Sample`] borrows. With strata the codes of stratum h are
/// those of the groups plus h times their number. Reused from list to list.
#[derive(Debug)]
pub(super) struct Cells<V> {
    /// The rows whose value is neither 0 nor NaN: the first `kept`.
    entries: Vec<Entry<V>>,
    kept: usize,
    /// Cells of each of them, where rows are weighted.
    weights: Vec<u64>,
    /// True if some of them are not one cell.
    is_weighted: bool,
    /// Cells of value 0, for each code.
    zeros: Vec<u64>,
    /// Cells of each group.
    sizes: Vec<u64>,
    /// Cells of each code, where there are strata.
    strata: Option<Vec<u64>>,
    /// For each group whether it holds a NaN, and how many do.
    has_nan: Vec<bool>,
    with_nan: usize,
}

impl<V> Default for Cells<V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            kept: 0,
            weights: Vec::new(),
            is_weighted: false,
            zeros: Vec::new(),
            sizes: Vec::new(),
            strata: None,
            has_nan: Vec::new(),
            with_nan: 0,
        }
    }
}

/// Sets all `length` items to the default.
fn reset<T: Clone + Default>(items: &mut Vec<T>, length: usize) {
    items.clear();
    items.resize(length, T::default());
}

/// Makes a length at least `length`; what was there stays.
fn reserve<T: Clone + Default>(items: &mut Vec<T>, length: usize) {
    if items.len() < length {
        items.resize(length, T::default());
    }
}

impl<V: Value> Cells<V> {
    /// Takes the cells of a list: a value a row (`None` for null), and where rows are not one cell
    /// each, their numbers of cells.
    ///
    /// # Errors
    /// More cells than are counted exactly.
    pub(super) fn load<'a>(
        &mut self,
        values: impl Iterator<Item = Option<V>>,
        groups: &Groups,
        counts: Option<&'a [u64]>,
    ) -> Result<()> {
        let codes = groups.count() * groups.strata.as_ref().map_or(1, |strata| strata.count);
        let rows = groups.numbers.len();
        reserve(&mut self.entries, rows);
        reserve(&mut self.weights, if counts.is_some() { rows } else { 0 });
        reset(&mut self.zeros, codes);
        reset(&mut self.sizes, groups.count());
        reset(&mut self.has_nan, groups.count());
        self.strata = groups.strata.as_ref().map(|_| vec![0; codes]);
        let one = || iter::repeat(1);
        let each = |counts: &'a [u64]| counts.iter().copied();
        self.kept = match (counts, groups.strata.is_some()) {
            (None, false) => self.fill::<false, false>(values, groups, one()),
            (None, true) => self.fill::<false, true>(values, groups, one()),
            (Some(counts), false) => self.fill::<true, false>(values, groups, each(counts)),
            (Some(counts), true) => self.fill::<true, true>(values, groups, each(counts)),
        };
        self.with_nan = self.has_nan.iter().filter(|&&nan| nan).count();
        // Where every row that is kept is one cell, as `scan_anndata` makes them, nothing is weighted.
        self.is_weighted = counts.is_some() && self.weights[..self.kept].iter().any(|&n| n != 1);
        let got: u128 = self.sizes.iter().map(|&n| u128::from(n)).sum();
        if got > u128::from(MAX_CELLS) {
            return Err(ErrorKind::TooManyCells { got, limit: MAX_CELLS }.into());
        }
        Ok(())
    }

    /// Counts all rows, keeps those whose value is neither 0 nor NaN, and returns how many they are.
    ///
    /// Each row is written to the place of the next kept one, which moves on where the row is kept:
    /// sparse data would mispredict a branch at every other row.
    #[allow(clippy::needless_bitwise_bool)] // without branches, as said above
    fn fill<const COUNTED: bool, const STRATIFIED: bool>(
        &mut self,
        values: impl Iterator<Item = Option<V>>,
        groups: &Groups,
        counts: impl Iterator<Item = u64>,
    ) -> usize {
        let n_groups = narrow(groups.count());
        let (entries, zeros) = (&mut self.entries[..], &mut self.zeros[..]);
        let (sizes, has_nan) = (&mut self.sizes[..], &mut self.has_nan[..]);
        let weights = &mut self.weights[..];
        let mut kept = 0;
        let rows = values.zip(groups.numbers).zip(counts).enumerate();
        for (row, ((value, &number), n)) in rows {
            let Some(value) = value else { continue };
            let mut code = groups.code(number);
            if code == SKIP {
                continue;
            }
            let (group, zero, nan) = (place(code), value.is_zero(), value.is_nan());
            if STRATIFIED && let (Some(strata), Some(of_code)) = (&groups.strata, &mut self.strata)
            {
                let stratum = strata.code(strata.numbers[row]);
                if stratum == SKIP {
                    continue;
                }
                code += stratum * n_groups;
                of_code[place(code)] = of_code[place(code)].saturating_add(n);
            }
            sizes[group] = sizes[group].saturating_add(n);
            let zeros = &mut zeros[place(code)];
            *zeros = zeros.saturating_add(if zero { n } else { 0 });
            has_nan[group] |= nan & (n > 0);
            entries[kept] = Entry { value, code };
            if COUNTED {
                weights[kept] = n;
            }
            kept += usize::from(!zero & !nan & (n > 0));
        }
        kept
    }

    /// Whether these samples can be compared as the test wants it; `in_group` where one may be empty.
    ///
    /// # Errors
    /// An empty reference, or no cells, but in a group; options that these samples do not allow.
    pub(super) fn check(
        &self,
        groups: &Groups,
        request: &Request,
        test: &Test,
        in_group: bool,
    ) -> Result<()> {
        let column = || request.target.clone();
        if !in_group && groups.reference == Reference::Group && self.sizes[0] == 0 {
            let (reference, column) = (request.reference.clone(), column());
            return Err(ErrorKind::EmptyReference { reference, column }.into());
        }
        if !in_group && self.sizes.iter().all(|&n| n == 0) {
            return Err(ErrorKind::NoCells { column: column() }.into());
        }
        if self.strata.is_some() {
            return test.check_stratified();
        }
        let cells = self.sizes.iter().sum();
        let sizes =
            (0..groups.targets.len()).map(|t| pair(&self.sizes, cells, groups.reference, t));
        test.check_sizes(sizes)
    }

    /// Asks the engine for the comparisons of all targets, in order: their sizes, what is measured, and
    /// whether the samples cannot be compared, as one is empty. The p-values of scores are yet to be
    /// made.
    pub(super) fn compare(
        &self,
        reference: Reference,
        Plan { test, auroc }: Plan,
        kernel: &mut GeneKernel<V>,
        mut out: impl FnMut((u64, u64), Record, bool),
    ) -> Result<()> {
        let (entries, zeros) = (&self.entries[..self.kept], &self.zeros[..]);
        let weights = self.is_weighted.then(|| &self.weights[..self.kept]);
        let sample = Sample { entries, weights, zeros };
        let (sizes, strata) = (&self.sizes[..], self.strata.as_deref());
        let (cells, scale, tables) = (sizes.iter().sum(), Scale::Plain, &*TABLES);
        let request = GeneRequest { sizes, strata, cells, reference, test, auroc, scale, tables };
        kernel.compare(&sample, &request, |t, record| {
            let pair = request.pair(t);
            // No stratum holds both samples: else U is a number.
            let apart = self.strata.is_some() && record[Column::Statistic].is_nan();
            let is_null = pair.0 == 0 || pair.1 == 0 || apart;
            out(pair, self.without_nan(t, reference, record), is_null);
        });
        kernel.check()
    }

    /// The record of target `t`: NaN where a sample holds a NaN.
    fn without_nan(&self, t: usize, reference: Reference, record: Record) -> Record {
        let target_nan = self.has_nan[t + 1];
        let reference_nan = match reference {
            Reference::Group => self.has_nan[0],
            Reference::Rest => self.with_nan > usize::from(target_nan),
        };
        if !target_nan && !reference_nan {
            return record;
        }
        let mut undefined = Record::EMPTY;
        for (column, nan) in
            [(Column::TargetMean, target_nan), (Column::ReferenceMean, reference_nan)]
        {
            undefined[column] = if nan { f64::NAN } else { record[column] };
        }
        undefined
    }

    /// The bytes kept for the next list.
    pub(super) fn kept(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<V>>() + self.weights.capacity() * size_of::<u64>()
    }
}

/// Tables of the exact test, for all calls of the process.
static TABLES: LazyLock<NullTables> = LazyLock::new(NullTables::default);
