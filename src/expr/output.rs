//! The engine's answers to a column: a list of structs for each list of rows, one struct a target.

use super::labels::Labels;
use super::lists::List;
use super::request::Plan;
use crate::cast;
use crate::engine::column::{Column, Dtype, Record};
use polars::prelude::*;
use polars_arrow::array::{ListArray, PrimitiveArray};
use polars_arrow::bitmap::Bitmap;
use polars_arrow::datatypes::ArrowDataType;
use polars_arrow::offset::{Offsets, OffsetsBuffer};
use std::mem;

/// The rows of all lists, one list after the other.
pub(super) struct Table {
    plan: Plan,
    /// How many rows each list has.
    lengths: Vec<usize>,
    /// For each row the number of the target's label.
    targets: Vec<u32>,
    n_target: Vec<u32>,
    n_reference: Vec<u32>,
    /// True if the samples cannot be compared.
    is_null: Vec<bool>,
    /// The columns of floats, in order.
    columns: Vec<(Column, Vec<f64>)>,
}

/// A stretch of a table, for some lists, which one thread fills.
pub(super) struct Part<'a> {
    plan: Plan,
    lengths: &'a mut [usize],
    /// Lists and rows so far, and rows before the present list.
    lists: usize,
    rows: usize,
    before: usize,
    targets: &'a mut [u32],
    n_target: &'a mut [u32],
    n_reference: &'a mut [u32],
    is_null: &'a mut [bool],
    columns: Vec<(Column, &'a mut [f64])>,
}

impl Table {
    /// A table with space for as many lists and rows.
    pub(super) fn new(plan: Plan, lists: usize, rows: usize) -> Self {
        let floats = columns(plan).filter(|column| column.dtype() == Dtype::Float64);
        Self {
            plan,
            lengths: vec![0; lists],
            targets: vec![0; rows],
            n_target: vec![0; rows],
            n_reference: vec![0; rows],
            is_null: vec![false; rows],
            columns: floats.map(|column| (column, vec![0.0; rows])).collect(),
        }
    }

    /// Parts of given numbers of lists and rows, one after the other.
    pub(super) fn split<'a>(
        &'a mut self,
        parts: impl Iterator<Item = (usize, usize)>,
    ) -> Vec<Part<'a>> {
        let (mut lengths, mut targets) = (&mut self.lengths[..], &mut self.targets[..]);
        let (mut n_target, mut n_reference) = (&mut self.n_target[..], &mut self.n_reference[..]);
        let mut is_null = &mut self.is_null[..];
        let mut columns: Vec<(Column, &'a mut [f64])> =
            self.columns.iter_mut().map(|(column, numbers)| (*column, &mut numbers[..])).collect();
        let part = |(lists, rows)| Part {
            plan: self.plan,
            lengths: lengths.split_off_mut(..lists).unwrap_or_default(),
            lists: 0,
            rows: 0,
            before: 0,
            targets: targets.split_off_mut(..rows).unwrap_or_default(),
            n_target: n_target.split_off_mut(..rows).unwrap_or_default(),
            n_reference: n_reference.split_off_mut(..rows).unwrap_or_default(),
            is_null: is_null.split_off_mut(..rows).unwrap_or_default(),
            columns: columns
                .iter_mut()
                .map(|(c, numbers)| (*c, numbers.split_off_mut(..rows).unwrap_or_default()))
                .collect(),
        };
        parts.map(part).collect()
    }

    /// Moves the rows together: of the space of each part, in order, some rows were used.
    pub(super) fn close(&mut self, parts: &[(usize, usize)]) {
        close(&mut self.targets, parts);
        close(&mut self.n_target, parts);
        close(&mut self.n_reference, parts);
        close(&mut self.is_null, parts);
        self.columns.iter_mut().for_each(|(_, numbers)| close(numbers, parts));
    }

    /// The columns, without the targets.
    fn into_columns(self) -> Vec<Series> {
        let Self { plan, n_target, n_reference, is_null, columns: floats, .. } = self;
        let [of_target, of_reference] = [&n_target, &n_reference].map(|n| valid(n, |&n| n > 0));
        let of_both = valid(&is_null, |is_null| !is_null);
        let mut sizes = [n_target, n_reference].into_iter();
        let mut floats = floats.into_iter();
        let series = |column: Column| {
            let name = column.name().into();
            if column.dtype() == Dtype::UInt32 {
                let sizes = sizes.next().unwrap_or_default();
                return UInt32Chunked::from_vec(name, sizes).into_series();
            }
            let validity = match column {
                Column::TargetMean => &of_target,
                Column::ReferenceMean => &of_reference,
                _ => &of_both,
            };
            let numbers = floats.next().map(|(_, numbers)| numbers).unwrap_or_default();
            let numbers = PrimitiveArray::from_vec(numbers).with_validity(validity.clone());
            Float64Chunked::with_chunk(name, numbers).into_series()
        };
        columns(plan).map(series).collect()
    }
}

/// Keeps the first items of each part, which has a space and a use.
fn close<T: Copy>(items: &mut Vec<T>, parts: &[(usize, usize)]) {
    let (mut from, mut to) = (0, 0);
    for &(space, used) in parts {
        if from > to {
            items.copy_within(from..from + used, to);
        }
        from += space;
        to += used;
    }
    items.truncate(to);
    if to < from / 2 {
        items.shrink_to_fit();
    }
}

impl Part<'_> {
    /// Adds a row to the present list: the number of its target's label, the sizes of both samples,
    /// what was measured, and whether they cannot be compared.
    pub(super) fn push(
        &mut self,
        target: u32,
        (n_target, n_reference): (u64, u64),
        record: &Record,
        is_null: bool,
    ) {
        let row = self.rows;
        self.targets[row] = target;
        self.n_target[row] = cast::cells(n_target);
        self.n_reference[row] = cast::cells(n_reference);
        self.is_null[row] = is_null;
        for (column, numbers) in &mut self.columns {
            numbers[row] = record[*column];
        }
        self.rows += 1;
    }

    /// Ends the present list.
    pub(super) fn end_list(&mut self) {
        self.lengths[self.lists] = self.rows - self.before;
        self.lists += 1;
        self.before = self.rows;
    }

    /// Makes the p-values that kernels left of their scores, and returns how many rows there are.
    pub(super) fn complete(&mut self) -> usize {
        let rows = self.rows;
        if self.plan.test.p_of_score() {
            let mut take = |column| {
                let found = self.columns.iter_mut().find(|(c, _)| *c == column);
                found.map(|(_, numbers)| mem::take(numbers)).unwrap_or_default()
            };
            // The part ends here, so that its columns may be taken.
            let [scores, p, neg_log10] =
                [Column::ZScore, Column::PValue, Column::NegLog10P].map(&mut take);
            self.plan.test.tails(&scores[..rows], &mut p[..rows], &mut neg_log10[..rows]);
        }
        rows
    }
}

/// Which rows are valid; absent where all are.
fn valid<T>(rows: &[T], is_valid: impl Fn(&T) -> bool) -> Option<Bitmap> {
    (!rows.iter().all(&is_valid)).then(|| rows.iter().map(&is_valid).collect())
}

/// The answer to a call.
pub(super) struct Results {
    pub(super) table: Table,
    /// The labels of the targets.
    pub(super) labels: Labels,
    pub(super) lists: Vec<List>,
}

impl Results {
    /// A list of structs for each list of rows.
    pub(super) fn into_column(self) -> PolarsResult<Series> {
        let plan = self.table.plan;
        let mut rows = self.table;
        let offsets = Offsets::try_from_lengths(mem::take(&mut rows.lengths).into_iter())?;
        let targets = mem::take(&mut rows.targets);
        let (name, length) = (PlSmallStr::from_static(plan.test.name()), targets.len());
        let mut fields = vec![self.labels.take(&targets)?.with_name("target".into())];
        fields.extend(rows.into_columns());
        let structs = StructChunked::from_series(name.clone(), length, fields.iter())?;
        let structs = structs.into_series();
        let is_null = self.lists.iter().any(|list| list.is_null);
        let validity = is_null.then(|| self.lists.iter().map(|list| !list.is_null).collect());
        // Polars puts the structs where the numbers of targets are.
        let dtype = ListArray::<i64>::default_datatype(ArrowDataType::UInt32);
        let targets = PrimitiveArray::from_vec(targets).boxed();
        let lists = ListArray::new(dtype, OffsetsBuffer::from(offsets), targets, validity);
        let lists = ListChunked::with_chunk(name, lists);
        Ok(lists.apply_to_inner(&|_| Ok(structs.clone()))?.into_series())
    }
}

/// The columns of a test, in order.
fn columns(plan: Plan) -> impl Iterator<Item = Column> {
    Column::of_expression(plan.test.columns(plan.auroc))
}

/// The name and dtype of the column, from those of the columns.
pub(super) fn field(plan: Plan, inputs: &[Field]) -> PolarsResult<Field> {
    let target = inputs.iter().find(|input| input.name == "target");
    let target = target.ok_or_else(|| polars_err!(ComputeError: "the column target is missing"))?;
    let mut fields = vec![target.clone()];
    fields.extend(columns(plan).map(|column| {
        let dtype = match column.dtype() {
            Dtype::UInt32 => DataType::UInt32,
            Dtype::Float64 => DataType::Float64,
        };
        Field::new(column.name().into(), dtype)
    }));
    let rows = DataType::List(Box::new(DataType::Struct(fields)));
    Ok(Field::new(plan.test.name().into(), rows))
}
