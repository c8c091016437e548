//! The result's struct column: one row for each target.

use super::Asked;
use super::convert::Labels;
use crate::engine::question::Comparison;
use polars::prelude::*;

/// One target's row before it is a column's.
#[derive(Debug, Clone)]
pub struct Row {
    pub n_target: u64,
    pub n_reference: u64,
    /// `None` (null) for an empty sample.
    pub target_mean: Option<f64>,
    pub reference_mean: Option<f64>,
    pub comparison: Option<Comparison>,
}

/// The fields after `target`, `n_target` and `n_reference` that every test has.
const COMMON: [&str; 5] = ["target_mean", "reference_mean", "statistic", "p_value", "neg_log10_p"];

/// The struct's field for inputs (value, target, ...), with the test's own numbers at the end.
pub fn field(asked: Asked, inputs: &[Field]) -> PolarsResult<Field> {
    let name = asked.test.name();
    let target = inputs.get(1).ok_or_else(|| polars_err!(ComputeError: "{name}: no target"))?;
    let mut fields = vec![
        Field::new("target".into(), target.dtype().clone()),
        Field::new("n_target".into(), DataType::UInt32),
        Field::new("n_reference".into(), DataType::UInt32),
    ];
    let numbers = COMMON.iter().chain(asked.test.extras(asked.auroc));
    fields.extend(numbers.map(|&number| Field::new(number.into(), DataType::Float64)));
    Ok(Field::new(name.into(), DataType::Struct(fields)))
}

/// The struct column of `rows`, in the order of the labels' targets.
pub fn build(asked: Asked, labels: &Labels, rows: Vec<Row>) -> PolarsResult<Series> {
    let size = |name: &str, pick: fn(&Row) -> u64| {
        let sizes = rows.iter().map(|row| u32::try_from(pick(row)).unwrap_or(u32::MAX));
        UInt32Chunked::from_iter_values(name.into(), sizes).into_series()
    };
    let number = |name: &str, pick: &dyn Fn(&Row) -> Option<f64>| {
        Float64Chunked::from_iter_options(name.into(), rows.iter().map(pick)).into_series()
    };
    let of = |pick: fn(&Comparison) -> f64| move |row: &Row| row.comparison.as_ref().map(pick);
    let mut columns = vec![
        labels.targets.clone(),
        size("n_target", |row| row.n_target),
        size("n_reference", |row| row.n_reference),
        number(COMMON[0], &|row| row.target_mean),
        number(COMMON[1], &|row| row.reference_mean),
        number(COMMON[2], &of(|c| c.statistic)),
        number(COMMON[3], &of(|c| c.p.p)),
        number(COMMON[4], &of(|c| c.p.neg_log10)),
    ];
    for (i, &extra) in asked.test.extras(asked.auroc).iter().enumerate() {
        columns.push(number(extra, &|row| row.comparison.as_ref().map(|c| c.extra[i])));
    }
    Ok(StructChunked::from_series(asked.test.name().into(), rows.len(), columns.iter())?
        .into_series())
}
