//! The engine's answers to a struct column: one row for each target.

use super::request::Plan;
use crate::cast;
use crate::engine::column::{Column, Dtype, Record};
use polars::prelude::*;

/// The numbers of one target.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) n_target: u64,
    pub(super) n_reference: u64,
    pub(super) record: Record,
    /// True if the samples cannot be compared: one is empty.
    pub(super) is_null: bool,
}

impl Row {
    /// A number of the row; `None` (null) where it is not defined for want of cells.
    fn number(&self, column: Column) -> Option<f64> {
        let null = match column {
            Column::TargetMean => self.n_target == 0,
            Column::ReferenceMean => self.n_reference == 0,
            _ => self.is_null,
        };
        (!null).then(|| self.record[column])
    }
}

/// The columns of a test, in order.
fn columns(plan: Plan) -> impl Iterator<Item = Column> {
    Column::of_expression(plan.test.columns(plan.auroc))
}

/// The name and dtype of the struct column, from those of the columns.
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
    Ok(Field::new(plan.test.name().into(), DataType::Struct(fields)))
}

/// The struct column of `rows`, in the order of `targets`.
pub(super) fn column(plan: Plan, targets: Series, rows: &[Row]) -> PolarsResult<Series> {
    let size = |name: &str, pick: fn(&Row) -> u64| {
        let sizes = rows.iter().map(|row| cast::cells(pick(row)));
        UInt32Chunked::from_iter_values(name.into(), sizes).into_series()
    };
    let series = |column: Column| match column {
        Column::NTarget => size(column.name(), |row| row.n_target),
        Column::NReference => size(column.name(), |row| row.n_reference),
        _ => {
            let numbers = rows.iter().map(|row| row.number(column));
            Float64Chunked::from_iter_options(column.name().into(), numbers).into_series()
        }
    };
    let fields: Vec<Series> = std::iter::once(targets).chain(columns(plan).map(series)).collect();
    let name = plan.test.name().into();
    Ok(StructChunked::from_series(name, rows.len(), fields.iter())?.into_series())
}
