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

/// The rows of some lists, one list after the other.
pub(super) struct Rows {
    plan: Plan,
    /// How many rows each list has.
    lengths: Vec<usize>,
    done: usize,
    /// For each row the number of the target's label.
    targets: Vec<u32>,
    n_target: Vec<u32>,
    n_reference: Vec<u32>,
    /// True if the samples cannot be compared.
    is_null: Vec<bool>,
    /// The columns of floats, in order.
    columns: Vec<(Column, Vec<f64>)>,
}

impl Rows {
    pub(super) fn new(plan: Plan) -> Self {
        let floats = columns(plan).filter(|column| column.dtype() == Dtype::Float64);
        Self {
            plan,
            lengths: Vec::new(),
            done: 0,
            targets: Vec::new(),
            n_target: Vec::new(),
            n_reference: Vec::new(),
            is_null: Vec::new(),
            columns: floats.map(|column| (column, Vec::new())).collect(),
        }
    }

    /// Adds a row to the present list: the number of its target's label, the sizes of both samples,
    /// what was measured, and whether they cannot be compared.
    pub(super) fn push(
        &mut self,
        target: u32,
        (n_target, n_reference): (u64, u64),
        record: &Record,
        is_null: bool,
    ) {
        self.targets.push(target);
        self.n_target.push(cast::cells(n_target));
        self.n_reference.push(cast::cells(n_reference));
        self.is_null.push(is_null);
        for (column, numbers) in &mut self.columns {
            numbers.push(record[*column]);
        }
    }

    /// Ends the present list.
    pub(super) fn end_list(&mut self) {
        self.lengths.push(self.targets.len() - self.done);
        self.done = self.targets.len();
    }

    /// Makes the p-values that kernels left of their scores.
    pub(super) fn complete(&mut self) {
        let [scores, mut p, mut neg_log10] =
            [Column::ZScore, Column::PValue, Column::NegLog10P].map(|column| self.take(column));
        if self.plan.test.p_of_score() {
            self.plan.test.tails(&scores, &mut p, &mut neg_log10);
        }
        let numbers =
            [(Column::ZScore, scores), (Column::PValue, p), (Column::NegLog10P, neg_log10)];
        for (column, numbers) in numbers {
            if let Some((_, place)) = self.columns.iter_mut().find(|(c, _)| *c == column) {
                *place = numbers;
            }
        }
    }

    /// Takes a column; empty where the test has none such.
    fn take(&mut self, column: Column) -> Vec<f64> {
        let found = self.columns.iter_mut().find(|(c, _)| *c == column);
        found.map(|(_, numbers)| mem::take(numbers)).unwrap_or_default()
    }

    /// The rows of all parts, one part after the other.
    fn join(plan: Plan, mut parts: Vec<Self>) -> Self {
        if parts.len() == 1
            && let Some(only) = parts.pop()
        {
            return only;
        }
        let mut all = Self::new(plan);
        all.lengths = concat(&parts, |rows| &rows.lengths);
        all.targets = concat(&parts, |rows| &rows.targets);
        all.n_target = concat(&parts, |rows| &rows.n_target);
        all.n_reference = concat(&parts, |rows| &rows.n_reference);
        all.is_null = concat(&parts, |rows| &rows.is_null);
        for (place, (_, numbers)) in all.columns.iter_mut().enumerate() {
            *numbers = concat(&parts, |rows| &rows.columns[place].1);
        }
        all
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

fn concat<T: Copy>(parts: &[Rows], pick: impl Fn(&Rows) -> &[T]) -> Vec<T> {
    let parts: Vec<&[T]> = parts.iter().map(pick).collect();
    parts.concat()
}

/// Which rows are valid; absent where all are.
fn valid<T>(rows: &[T], is_valid: impl Fn(&T) -> bool) -> Option<Bitmap> {
    (!rows.iter().all(&is_valid)).then(|| rows.iter().map(&is_valid).collect())
}

/// The rows of all lists of a call, in parts.
pub(super) struct Results {
    pub(super) parts: Vec<Rows>,
    /// The labels of the targets.
    pub(super) labels: Labels,
    pub(super) lists: Vec<List>,
}

impl Results {
    /// A list of structs for each list of rows.
    pub(super) fn into_column(self, plan: Plan) -> PolarsResult<Series> {
        let mut rows = Rows::join(plan, self.parts);
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
