//! Columns of values and counts, of any numeric dtype.
//!
//! f32 holds every integer of 16 bits and f64 every one of 32 bits; those of 64 bits stay themselves,
//! and those of 128 bits become [`Wide`]: whatever the dtype, ranks are exact.

use super::lists::Column;
use super::request::Request;
use crate::cast::wide;
use crate::error::ErrorKind;
use crate::matrix::Value;
use polars::prelude::*;
use polars_arrow::bitmap::Bitmap;
use std::ops::Range;

/// A column as Polars' own, of one chunk; an error that names it where this build has no such dtype
/// (dates).
pub(super) fn import(column: Column, request: &Request) -> PolarsResult<Series> {
    let Column { field, chunks } = column;
    let series = Series::try_from((&field, chunks));
    let series =
        series.map_err(|_| request.unsupported(&field.name, &format!("{:?}", field.dtype)))?;
    Ok(series.rechunk())
}

/// A column of numbers of cells.
pub(super) struct Counts(Series);

impl Counts {
    /// # Errors
    /// A column of another dtype than integers.
    pub(super) fn import(column: Column, request: &Request) -> PolarsResult<Self> {
        let counts = import(column, request)?;
        if !counts.dtype().is_integer() {
            return Err(request.unsupported("count", counts.dtype()).into());
        }
        Ok(Self(counts))
    }

    /// Writes the numbers of cells of some rows.
    ///
    /// # Errors
    /// A null or a negative one; its place among these rows is reported.
    pub(super) fn load(
        &self,
        rows: Range<usize>,
        request: &Request,
        out: &mut Vec<u64>,
    ) -> PolarsResult<()> {
        out.clear();
        let counts = &self.0;
        macro_rules! load {
            ($column:expr) => {{
                let array = $column.downcast_as_array();
                let validity = array.validity().filter(|validity| validity.unset_bits() > 0);
                let valid = |row| validity.is_none_or(|validity| validity.get_bit(row));
                let values = array.values()[rows.clone()].iter();
                // Of unsigned integers the compiler drops the test.
                out.extend(values.map_while(|&n| u64::try_from(n).ok()));
                let checked = validity.map_or(out.len(), |_| {
                    (0..out.len()).find(|i| !valid(rows.start + i)).unwrap_or(out.len())
                });
                out.truncate(checked);
            }};
        }
        match counts.dtype() {
            DataType::UInt8 => load!(counts.u8()?),
            DataType::UInt16 => load!(counts.u16()?),
            DataType::UInt32 => load!(counts.u32()?),
            DataType::UInt64 => load!(counts.u64()?),
            DataType::UInt128 => load!(counts.u128()?),
            DataType::Int8 => load!(counts.i8()?),
            DataType::Int16 => load!(counts.i16()?),
            DataType::Int32 => load!(counts.i32()?),
            DataType::Int64 => load!(counts.i64()?),
            DataType::Int128 => load!(counts.i128()?),
            dtype => return Err(request.unsupported("count", dtype).into()),
        }
        if out.len() < rows.len() {
            let row = out.len();
            let got = counts.get(rows.start + row).ok().filter(|v| !v.is_null());
            let (column, got) = (request.count.clone(), got.map(|v| v.to_string()));
            return Err(ErrorKind::InvalidCount { column, row, got }.into());
        }
        Ok(())
    }
}

/// A number as a column stores it.
pub(super) trait Number: Copy + Send + Sync {
    type Value: Value;
    /// The number in a type that holds it exactly.
    fn widen(self) -> Self::Value;
}

macro_rules! number {
    ($($number:ty => $value:ty),*) => {
        $(impl Number for $number {
            type Value = $value;

            #[inline]
            fn widen(self) -> $value {
                <$value>::from(self)
            }
        })*
    };
}

number!(f32 => f32, i8 => f32, u8 => f32, i16 => f32, u16 => f32, i32 => f64, u32 => f64, f64 => f64);
number!(i64 => i64, u64 => u64, Wide => Wide);

/// A column of numbers.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a, N> {
    values: &'a [N],
    /// Absent where nothing is null.
    validity: Option<&'a Bitmap>,
}

impl<'a, N: Number> Numbers<'a, N> {
    fn new(values: &'a [N], validity: Option<&'a Bitmap>) -> Self {
        Self { values, validity: validity.filter(|validity| validity.unset_bits() > 0) }
    }

    /// The numbers of some rows, where nothing is null.
    pub(super) fn without_nulls(
        &self,
        rows: Range<usize>,
    ) -> Option<impl Iterator<Item = Option<N::Value>> + use<'a, N>> {
        let values = self.values;
        self.validity.is_none().then(|| values[rows].iter().map(|v| Some(v.widen())))
    }

    /// The numbers of some rows, `None` for null.
    pub(super) fn with_nulls(
        &self,
        rows: Range<usize>,
    ) -> impl Iterator<Item = Option<N::Value>> + use<'a, N> {
        let (values, validity) = (self.values, self.validity);
        rows.map(move |row| {
            validity.is_none_or(|validity| validity.get_bit(row)).then(|| values[row].widen())
        })
    }
}

/// What is done with values once their type is known.
pub(super) trait Visitor {
    type Output;
    fn visit<N: Number>(self, values: Numbers<N>) -> PolarsResult<Self::Output>;
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
            let array = $column.downcast_as_array();
            visitor.visit(Numbers::new(array.values(), array.validity()))
        }};
    }
    macro_rules! wide {
        ($column:expr) => {{
            let array = $column.downcast_as_array();
            let ranked = Wide::rank(array.values(), values)?;
            visitor.visit(Numbers::new(&ranked, array.validity()))
        }};
    }
    match values.dtype() {
        DataType::Float32 => numbers!(values.f32()?),
        DataType::Float64 => numbers!(values.f64()?),
        DataType::Int64 => numbers!(values.i64()?),
        DataType::UInt64 => numbers!(values.u64()?),
        DataType::Int32 => numbers!(values.i32()?),
        DataType::UInt32 => numbers!(values.u32()?),
        DataType::Int16 => numbers!(values.i16()?),
        DataType::UInt16 => numbers!(values.u16()?),
        DataType::Int8 => numbers!(values.i8()?),
        DataType::UInt8 => numbers!(values.u8()?),
        DataType::Float16 => {
            let values = values.cast(&DataType::Float32)?;
            numbers!(values.f32()?)
        }
        DataType::Int128 => wide!(values.i128()?),
        DataType::UInt128 => wide!(values.u128()?),
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
    /// Keys by rank among the distinct values of `column`, so that zero's is [`ZERO`]. What null rows
    /// hold takes part, and is not read afterwards.
    fn rank<T: Copy + Ord + Default>(values: &[T], column: &Series) -> PolarsResult<Vec<Self>> {
        let mut distinct: Vec<T> = values.to_vec();
        distinct.push(T::default());
        distinct.sort_unstable();
        distinct.dedup();
        let rank = |value: &T| wide(distinct.partition_point(|v| v < value));
        let zero = rank(&T::default());
        let reals = column.cast(&DataType::Float64)?;
        let pairs = values.iter().zip(reals.f64()?.iter());
        let key = |value| ZERO + rank(value) - zero;
        Ok(pairs.map(|(v, real)| Self { key: key(v), real: real.unwrap_or_default() }).collect())
    }
}
