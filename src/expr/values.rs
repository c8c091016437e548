//! Columns of values and counts, of any numeric dtype.
//!
//! f32 holds every integer of 16 bits and f64 every one of 32 bits; those of 64 bits stay themselves,
//! and those of 128 bits become [`Wide`]: whatever the dtype, ranks are exact.

use super::ffi::Column;
use super::request::Request;
use crate::cast::wide;
use crate::error::ErrorKind;
use crate::matrix::Value;
use polars::prelude::*;

/// A column as Polars' own; an error that names it where this build has no such dtype (dates).
pub(super) fn import(column: Column, request: &Request) -> PolarsResult<Series> {
    let Column { field, chunks } = column;
    Series::try_from((&field, chunks))
        .map_err(|_| request.unsupported(&field.name, &format!("{:?}", field.dtype)).into())
}

/// One number of cells a row.
///
/// # Errors
/// No integers, a null or a negative one.
pub(super) fn counts(count: &Series, request: &Request) -> PolarsResult<Vec<u64>> {
    if !count.dtype().is_integer() {
        return Err(request.unsupported("count", count.dtype()).into());
    }
    // A cast makes negative counts null.
    let cells = count.cast(&DataType::UInt64)?;
    let cells = cells.u64()?;
    if let Some(row) = cells.iter().position(|v| v.is_none()) {
        let got = count.get(row).ok().filter(|v| !v.is_null()).map(|v| v.to_string());
        return Err(ErrorKind::InvalidCount { column: request.count.clone(), row, got }.into());
    }
    Ok(cells.into_no_null_iter().collect())
}

/// What is done with values once their type is known.
pub(super) trait Visitor {
    type Output;
    /// `values`: one a row, `None` for null.
    fn visit<V: Value>(self, values: impl Iterator<Item = Option<V>>)
    -> PolarsResult<Self::Output>;
}

/// Hands the values of a column to `visitor`.
///
/// # Errors
/// A dtype without numbers, or those of the visitor.
pub(super) fn visit<T: Visitor>(
    values: &Series,
    request: &Request,
    visitor: T,
) -> PolarsResult<T::Output> {
    macro_rules! numbers {
        ($column:expr) => {{
            // A match keeps temporaries of the expression alive in its arms.
            match $column {
                // Without nulls the compiler drops the test for them.
                column if column.null_count() == 0 => {
                    visitor.visit(column.into_no_null_iter().map(Some))
                }
                column => visitor.visit(column.iter()),
            }
        }};
    }
    match values.dtype() {
        DataType::Float32 => numbers!(values.f32()?),
        DataType::Float64 => numbers!(values.f64()?),
        DataType::Int64 => numbers!(values.i64()?),
        DataType::UInt64 => numbers!(values.u64()?),
        DataType::Int32 | DataType::UInt32 => numbers!(values.cast(&DataType::Float64)?.f64()?),
        DataType::Int8
        | DataType::UInt8
        | DataType::Int16
        | DataType::UInt16
        | DataType::Float16 => numbers!(values.cast(&DataType::Float32)?.f32()?),
        DataType::Int128 => visitor.visit(Wide::rank(values.i128()?.iter(), values)?.into_iter()),
        DataType::UInt128 => visitor.visit(Wide::rank(values.u128()?.iter(), values)?.into_iter()),
        dtype => Err(request.unsupported("value", dtype).into()),
    }
}

/// A 128-bit integer: its place in the order of its column, and the nearest f64.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Wide {
    key: u64,
    real: f64,
}

/// The key of zero, whatever the column.
const ZERO: u64 = 1 << 63;

impl Default for Wide {
    fn default() -> Self {
        Self { key: ZERO, real: 0.0 }
    }
}

impl Value for Wide {
    fn key(self) -> u64 {
        self.key
    }

    fn to_f64(self) -> f64 {
        self.real
    }

    fn count(self) -> u32 {
        // Exact where it is small.
        self.real.count()
    }

    fn of_count(count: u16) -> Self {
        // Never compared with the values of a column, whose keys are ranks.
        Self { key: ZERO + u64::from(count), real: f64::from(count) }
    }

    fn plus(self, other: Self) -> Self {
        Self { key: self.key.wrapping_add(other.key), real: self.real + other.real }
    }
}

impl Wide {
    /// Keys by rank among the distinct values of `column`, so that zero's is [`ZERO`].
    fn rank<T: Copy + Ord + Default>(
        values: impl Iterator<Item = Option<T>>,
        column: &Series,
    ) -> PolarsResult<Vec<Option<Self>>> {
        let values: Vec<Option<T>> = values.collect();
        let mut distinct: Vec<T> = values.iter().flatten().copied().collect();
        distinct.push(T::default());
        distinct.sort_unstable();
        distinct.dedup();
        let rank = |value: &T| wide(distinct.partition_point(|v| v < value));
        let zero = rank(&T::default());
        let reals = column.cast(&DataType::Float64)?;
        let pairs = values.iter().zip(reals.f64()?.iter());
        let key = |value| ZERO + rank(value) - zero;
        Ok(pairs.map(|(v, real)| Some(Self { key: key(v.as_ref()?), real: real? })).collect())
    }
}
