//! Lists of rows to samples, and the engine's answers to rows.
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
//!
//! A call has many lists, the groups of a `group_by`. What belongs to a column is done once: its type,
//! the order of its labels. Lists then are compared one by one, several at once.

use super::cells::Cells;
use super::groups::{Design, Finder};
use super::labels::Labels;
use super::lists::{Columns, List};
use super::output::{Part, Results, Table};
use super::request::{Plan, Request};
use super::threads::THREADS;
use super::values::{self, Counts, Number, Numbers, Visitor};
use crate::engine::gene::GeneKernel;
use crate::engine::pool;
use crate::matrix::Value;
use polars::prelude::*;
use std::any::Any;
use std::cell::RefCell;

/// The targets of each list, and a row for each.
///
/// # Errors
/// Columns that are missing or of other dtypes; wrong counts, an empty reference, too many cells, or
/// options that the samples do not allow, of the first list that has them.
pub(super) fn compare(
    mut columns: Columns,
    request: &Request,
    plan: Plan,
) -> PolarsResult<Results> {
    let value = values::import(columns.expect("value")?, request)?;
    let target = Labels::import(columns.expect("target")?, "target", request)?;
    let strata = columns.take("strata");
    let strata = strata.map(|column| Labels::import(column, "strata", request)).transpose()?;
    let counts = columns.take("count");
    let counts = counts.map(|column| Counts::import(column, request)).transpose()?;
    let design = Design::new(target, strata, request)?;
    let lists = &columns.lists[..];
    let job = Job { request, design: &design, counts, plan, lists };
    let table = values::visit(&value, request, job)?;
    Ok(Results { table, labels: design.target, lists: columns.lists })
}

/// A comparison of values whose type is not known yet.
struct Job<'a> {
    request: &'a Request,
    design: &'a Design,
    /// Where a row is not one cell.
    counts: Option<Counts>,
    plan: Plan,
    lists: &'a [List],
}

impl Visitor for Job<'_> {
    type Output = Table;

    fn visit<N: Number>(self, values: Numbers<N>) -> PolarsResult<Table> {
        let parts = parts(self.lists, *THREADS);
        let spaces = self.spaces::<N>(&parts)?;
        let mut table = Table::new(self.plan, self.lists.len(), spaces.iter().sum());
        let lengths: Vec<usize> = parts.iter().map(|lists| lists.len()).collect();
        let sizes = lengths.into_iter().zip(spaces.iter().copied());
        let places = parts.into_iter().zip(table.split(sizes)).collect();
        let used = pool::map_in_order(*THREADS, places, |(lists, mut part)| {
            with_scratch(|scratch| self.compare_part(lists, values, scratch, &mut part))
        })?;
        table.close(&spaces.into_iter().zip(used).collect::<Vec<_>>());
        Ok(table)
    }
}

impl Job<'_> {
    /// The rows that each part may have.
    fn spaces<N: Number>(&self, parts: &[&[List]]) -> PolarsResult<Vec<usize>> {
        const FEW: usize = 1 << 16;
        let most = |list: &List| list.rows.len().min(self.design.most_targets());
        let spaces: Vec<usize> = parts.iter().map(|lists| lists.iter().map(most).sum()).collect();
        let rows: usize = self.lists.iter().map(|list| list.rows.len()).sum();
        // Results take at most about the memory of the columns, whatever lists lack.
        if spaces.iter().sum::<usize>() <= FEW.max(rows / 4) {
            return Ok(spaces);
        }
        pool::map_in_order(*THREADS, parts.to_vec(), |lists| {
            with_scratch(|scratch: &mut Scratch<N::Value>| {
                let targets = |list| scratch.finder.count(list, self.design);
                Ok(lists.iter().map(targets).sum())
            })
        })
    }

    /// Compares the lists of one part, and returns how many rows that makes.
    fn compare_part<N: Number>(
        &self,
        lists: &[List],
        values: Numbers<N>,
        scratch: &mut Scratch<N::Value>,
        part: &mut Part,
    ) -> PolarsResult<usize> {
        for list in lists {
            if !list.rows.is_empty() {
                self.compare_list(list, values, scratch, part)?;
            }
            part.end_list();
        }
        Ok(part.complete())
    }

    fn compare_list<N: Number>(
        &self,
        list: &List,
        values: Numbers<N>,
        scratch: &mut Scratch<N::Value>,
        part: &mut Part,
    ) -> PolarsResult<()> {
        let Scratch { finder, counts, cells, kernel } = scratch;
        let groups = finder.find(list, self.design, self.request)?;
        let counts = match &self.counts {
            None => None,
            Some(column) => {
                column.load(list.rows.clone(), self.request, counts)?;
                Some(&counts[..])
            }
        };
        match values.without_nulls(list.rows.clone()) {
            Some(values) => cells.load(values, &groups, counts)?,
            None => cells.load(values.with_nulls(list.rows.clone()), &groups, counts)?,
        }
        cells.check(&groups, self.request, &self.plan.test, list.in_group)?;
        let mut targets = groups.targets.iter();
        cells.compare(groups.reference, self.plan, kernel, |pair, record, is_null| {
            if let Some(&target) = targets.next() {
                part.push(target, pair, &record, is_null);
            }
        })?;
        Ok(())
    }
}

/// Lists to parts, which threads take one after the other: several for each thread, and none so small
/// that handing it over would cost more than what is saved.
fn parts(lists: &[List], threads: usize) -> Vec<&[List]> {
    const LEAST: usize = 1 << 13;
    const PARTS_OF_A_THREAD: usize = 8;
    // What a list costs beyond its rows, in rows.
    const A_LIST: usize = 64;
    let costs = |list: &List| list.rows.len() + A_LIST;
    let all: usize = lists.iter().map(costs).sum();
    let most = (all / (threads * PARTS_OF_A_THREAD)).max(LEAST);
    let mut cost = 0;
    let chunks = lists.chunk_by(|list, _| {
        cost += costs(list);
        let goes_on = threads == 1 || cost < most;
        cost = if goes_on { cost } else { 0 };
        goes_on
    });
    chunks.collect()
}

/// What the comparisons of one thread take, kept between lists and calls.
struct Scratch<V> {
    finder: Finder,
    counts: Vec<u64>,
    cells: Cells<V>,
    kernel: GeneKernel<V>,
}

impl<V> Default for Scratch<V> {
    fn default() -> Self {
        let (finder, counts) = (Finder::default(), Vec::new());
        Self { finder, counts, cells: Cells::default(), kernel: GeneKernel::default() }
    }
}

/// Calls `body` with this thread's scratch, which is kept while values are of one type.
fn with_scratch<V: Value, T>(body: impl FnOnce(&mut Scratch<V>) -> T) -> T {
    thread_local! {
        static KEPT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
    }
    /// Bytes of rows that are kept; a frame in one list may have any number.
    const MOST: usize = 1 << 24;
    let kept = KEPT.take().and_then(|kept| kept.downcast::<Scratch<V>>().ok());
    let mut scratch = kept.unwrap_or_default();
    let result = body(&mut scratch);
    let counts = scratch.counts.capacity() * size_of::<u64>();
    if scratch.finder.kept() + counts + scratch.cells.kept() > MOST {
        let Scratch { finder, counts, cells, .. } = &mut *scratch;
        (*finder, *counts, *cells) = (Finder::default(), Vec::new(), Cells::default());
    }
    KEPT.set(Some(scratch));
    result
}
