//! Columns to samples, and the engine's answers to rows.
//!
//! | row | what becomes of it |
//! |---|---|
//! | null value, null target or null stratum | left out |
//! | NaN value | its group counts the cell; every comparison of the group is NaN |
//! | count 0 | no cells; its group is reported |
//! | null or negative count | an error |
//! | none at all | no rows |
//!
//! A group of a `group_by` without a cell of the reference, or of any group, has null results; a whole
//! frame without is an error.

use super::ffi::Columns;
use super::groups::Groups;
use super::labels::Labels;
use super::output::Row;
use super::request::{Plan, Request};
use super::values::{self, Visitor};
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
use polars::prelude::*;
use std::any::Any;
use std::cell::RefCell;
use std::sync::LazyLock;

/// The targets of the columns, and a row for each.
///
/// # Errors
/// Columns that are missing or of other dtypes, wrong counts, an empty reference, too many cells, or
/// options that these samples do not allow.
pub(super) fn compare(
    mut columns: Columns,
    request: &Request,
    plan: Plan,
) -> PolarsResult<(Series, Vec<Row>)> {
    let of_group = columns.of_group();
    let value = values::import(columns.expect("value")?, request)?;
    let target = Labels::import(columns.expect("target")?, "target", request)?;
    let strata = columns.take("strata");
    let strata = strata.map(|column| Labels::import(column, "strata", request)).transpose()?;
    let count = columns.take("count");
    let count = count.map(|column| values::import(column, request)).transpose()?;
    let groups = Groups::new(&target, strata.as_ref(), request, of_group)?;
    let counts = count.map(|count| values::counts(&count, request)).transpose()?;
    let job = Job { request, groups: &groups, counts: counts.as_deref(), plan, of_group };
    let rows = values::visit(&value, request, job)?;
    Ok((groups.targets, rows))
}

/// A comparison of values whose type is not known yet.
struct Job<'a> {
    request: &'a Request,
    groups: &'a Groups,
    /// One number of cells a row, where a row is not one cell.
    counts: Option<&'a [u64]>,
    plan: Plan,
    /// True in a group of a `group_by`, where a sample may be empty.
    of_group: bool,
}

impl Visitor for Job<'_> {
    type Output = Vec<Row>;

    fn visit<V: Value>(self, values: impl Iterator<Item = Option<V>>) -> PolarsResult<Vec<Row>> {
        let cells = Cells::new(values, self.groups, self.counts)?;
        cells.check(self.groups, self.request, &self.plan.test, self.of_group)?;
        Ok(cells.compare(self.groups.reference, self.plan)?)
    }
}

/// The cells of one call by code: what [`Sample`] borrows. With strata the codes of stratum h are
/// those of the groups plus h times their number.
struct Cells<V> {
    /// The rows whose value is neither 0 nor NaN.
    entries: Vec<Entry<V>>,
    /// Cells of each of them, where some are not one cell.
    weights: Option<Vec<u64>>,
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

impl<V: Value> Cells<V> {
    fn new(
        values: impl Iterator<Item = Option<V>>,
        groups: &Groups,
        counts: Option<&[u64]>,
    ) -> Result<Self> {
        let codes = groups.count() * groups.strata().map_or(1, |strata| strata.count);
        let rows = groups.numbers().len();
        let mut cells = Self {
            entries: vec![Entry::default(); rows],
            weights: counts.map(|_| vec![0; rows]),
            zeros: vec![0; codes],
            sizes: vec![0; groups.count()],
            strata: groups.strata().map(|_| vec![0; codes]),
            has_nan: vec![false; groups.count()],
            with_nan: 0,
        };
        let kept = cells.fill(values, groups, counts);
        cells.with_nan = cells.has_nan.iter().filter(|&&nan| nan).count();
        cells.entries.truncate(kept);
        if let Some(weights) = &mut cells.weights {
            weights.truncate(kept);
        }
        // Where every row that is kept is one cell, as `scan_anndata` makes them, nothing is weighted.
        cells.weights.take_if(|weights| weights.iter().all(|&n| n == 1));
        let got: u128 = cells.sizes.iter().map(|&n| u128::from(n)).sum();
        if got > u128::from(MAX_CELLS) {
            return Err(ErrorKind::TooManyCells { got, limit: MAX_CELLS }.into());
        }
        Ok(cells)
    }

    /// Counts all rows, keeps those whose value is neither 0 nor NaN, and returns how many they are.
    ///
    /// Each row is written to the place of the next kept one, which moves on where the row is kept:
    /// sparse data would mispredict a branch at every other row.
    #[allow(clippy::needless_bitwise_bool)] // without branches, as said above
    fn fill(
        &mut self,
        values: impl Iterator<Item = Option<V>>,
        groups: &Groups,
        counts: Option<&[u64]>,
    ) -> usize {
        let n_groups = narrow(groups.count());
        let (entries, zeros) = (&mut self.entries[..], &mut self.zeros[..]);
        let (sizes, has_nan) = (&mut self.sizes[..], &mut self.has_nan[..]);
        let weights = self.weights.as_deref_mut().unwrap_or_default();
        let mut kept = 0;
        for (row, (value, &number)) in values.zip(groups.numbers()).enumerate() {
            let Some(value) = value else { continue };
            let mut code = groups.code(number);
            if code == SKIP {
                continue;
            }
            let n = counts.map_or(1, |counts| counts[row]);
            let (group, zero, nan) = (place(code), value.is_zero(), value.is_nan());
            if let (Some(strata), Some(of_code)) = (groups.strata(), &mut self.strata) {
                let stratum = strata.numbers[row];
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
            if let Some(weight) = weights.get_mut(kept) {
                *weight = n;
            }
            kept += usize::from(!zero & !nan & (n > 0));
        }
        kept
    }

    /// Whether these samples can be compared as the test wants it.
    fn check(&self, groups: &Groups, request: &Request, test: &Test, of_group: bool) -> Result<()> {
        if groups.numbers().is_empty() {
            return Ok(());
        }
        let (reference, column) = (request.reference.clone(), request.target.clone());
        if !of_group && groups.reference == Reference::Group && self.sizes[0] == 0 {
            return Err(ErrorKind::EmptyReference { reference, column }.into());
        }
        if !of_group && self.sizes.iter().all(|&n| n == 0) {
            return Err(ErrorKind::NoCells { column }.into());
        }
        if self.strata.is_some() {
            return test.check_stratified();
        }
        let cells = self.sizes.iter().sum();
        let sizes =
            (0..groups.targets.len()).map(|t| pair(&self.sizes, cells, groups.reference, t));
        test.check_sizes(sizes)
    }

    /// Asks the engine for the comparisons of all targets.
    fn compare(&self, reference: Reference, Plan { test, auroc }: Plan) -> Result<Vec<Row>> {
        with_kernel(|kernel| {
            let (entries, zeros) = (&self.entries[..], &self.zeros[..]);
            let sample = Sample { entries, weights: self.weights.as_deref(), zeros };
            let (sizes, strata) = (&self.sizes[..], self.strata.as_deref());
            let (cells, scale, tables) = (sizes.iter().sum(), Scale::Plain, &*TABLES);
            let request =
                GeneRequest { sizes, strata, cells, reference, test, auroc, scale, tables };
            let mut records = Vec::with_capacity(sizes.len() - 1);
            kernel.compare(&sample, &request, |_, record| records.push(record));
            kernel.check()?;
            test.complete(records.iter_mut());
            let rows = records.into_iter().enumerate();
            Ok(rows.map(|(t, record)| self.row(t, reference, request.pair(t), record)).collect())
        })
    }

    /// The row of target `t`: null where a sample is empty, NaN where one holds a NaN.
    fn row(
        &self,
        t: usize,
        reference: Reference,
        (n_target, n_reference): (u64, u64),
        mut record: Record,
    ) -> Row {
        let target_nan = self.has_nan[t + 1];
        let reference_nan = match reference {
            Reference::Group => self.has_nan[0],
            Reference::Rest => self.with_nan > usize::from(target_nan),
        };
        // No stratum holds both samples: else U is a number.
        let apart = self.strata.is_some() && record[Column::Statistic].is_nan();
        let [target_mean, reference_mean] =
            [(Column::TargetMean, target_nan), (Column::ReferenceMean, reference_nan)]
                .map(|(column, nan)| if nan { f64::NAN } else { record[column] });
        if target_nan || reference_nan {
            record = Record::EMPTY;
        }
        record[Column::TargetMean] = target_mean;
        record[Column::ReferenceMean] = reference_mean;
        Row { n_target, n_reference, record, is_null: n_target == 0 || n_reference == 0 || apart }
    }
}

/// Tables of the exact test, for all calls of the process.
static TABLES: LazyLock<NullTables> = LazyLock::new(NullTables::default);

/// Calls `body` with this thread's kernel, which is kept while values are of one type.
fn with_kernel<V: Value, T>(body: impl FnOnce(&mut GeneKernel<V>) -> T) -> T {
    thread_local! {
        static KEPT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
    }
    let kept = KEPT.take().and_then(|kept| kept.downcast::<GeneKernel<V>>().ok());
    let mut kernel = kept.unwrap_or_default();
    let result = body(&mut kernel);
    KEPT.set(Some(kernel));
    result
}
