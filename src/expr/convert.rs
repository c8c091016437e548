//! Series to samples, and the policy for nulls, NaN, labels and weights.
//!
//! | row | what becomes of it |
//! |---|---|
//! | null value or null target | left out |
//! | NaN value | its group counts the cell; every comparison of the group is NaN |
//! | count 0 | no cells; its group is reported |
//! | null or negative count | an error |

use super::distinct::Distinct;
use super::ffi::Inputs;
use super::output::Row;
use super::{Asked, polars_error};
use crate::engine::design::{Reference, check_strata, pair};
use crate::engine::gene::Kernel;
use crate::engine::question::{Comparison, Question, Scale, Test};
use crate::engine::run::check_stratified;
use crate::engine::sorted::Sample;
use crate::error::{Error, ErrorKind};
use crate::matrix::{Entry, SKIP, Value};
use crate::stats::MAX_CELLS;
use crate::stats::exact::{self, NullTables};
use crate::stats::wilcoxon::{self, Method};
use polars::prelude::*;
use polars_arrow::array::{Array, Utf8ViewArray};
use polars_arrow::datatypes::ArrowDataType;
use serde::Deserialize;
use std::cell::RefCell;

/// What every test is told beside its options: the reference, and what its columns are called
/// (inside `group_by` Polars hands over unnamed ones).
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Request {
    /// "text", "int" or "bool": the Python type of the label.
    reference_kind: String,
    /// The label as text.
    reference: String,
    value: String,
    target: String,
    count: String,
    /// Where rows are compared within strata.
    #[serde(default)]
    strata: String,
}

impl Request {
    fn is_rest(&self) -> bool {
        self.reference_kind == "text" && self.reference == "rest"
    }

    fn matches(&self, label: &AnyValue) -> bool {
        match (self.reference_kind.as_str(), label) {
            ("text", label) => label.get_str() == Some(&self.reference),
            ("bool", AnyValue::Boolean(label)) => self.reference == label.to_string(),
            ("int", label) => {
                let whole = self.reference.parse::<i128>().ok();
                label.dtype().is_integer() && whole.is_some() && label.extract::<i128>() == whole
            }
            _ => false,
        }
    }
}

/// A column of labels as it arrives.
pub enum Target {
    /// Strings, booleans or integers.
    Column(Series),
    /// A categorical, still coded.
    Coded(Coded),
}

/// A categorical column: a code a row ([`SKIP`] for null), and the label of each code.
pub struct Coded {
    pub codes: Vec<u32>,
    pub labels: Utf8ViewArray,
    pub dtype: DataType,
}

impl Default for Coded {
    fn default() -> Self {
        let labels = Utf8ViewArray::new_empty(ArrowDataType::Utf8View);
        Self { codes: Vec::new(), labels, dtype: DataType::Null }
    }
}

impl Coded {
    /// Takes over the dictionary of the rows from `start` on: each chunk may have its own.
    pub fn merge(&mut self, labels: &Utf8ViewArray, start: usize) {
        if start == 0 || self.labels.is_empty() {
            self.labels = labels.clone();
            return;
        }
        if self.labels == *labels {
            return;
        }
        let mut all: Vec<&str> = self.labels.values_iter().collect();
        let mut known: PlHashMap<&str, u32> = (0u32..).zip(&all).map(|(i, &s)| (s, i)).collect();
        let number = |label| {
            *known.entry(label).or_insert_with(|| {
                all.push(label);
                u32::try_from(all.len() - 1).unwrap_or(SKIP)
            })
        };
        let places: Vec<u32> = labels.values_iter().map(number).collect();
        for code in &mut self.codes[start..] {
            *code = places.get(*code as usize).copied().unwrap_or(SKIP);
        }
        let all = Utf8ViewArray::from_slice_values(&all);
        drop(known);
        self.labels = all;
    }
}

impl Target {
    /// The distinct labels, and each row's number among them ([`SKIP`] for null).
    fn distinct(&self, name: &str) -> PolarsResult<(Vec<u32>, Series)> {
        match self {
            Self::Column(column) => {
                let found = Distinct::of_column(column, name)?;
                let firsts = IdxCa::from_vec(PlSmallStr::EMPTY, found.firsts);
                Ok((found.codes, column.take(&firsts)?))
            }
            Self::Coded(coded) => {
                let found = Distinct::of_codes(&coded.codes);
                let label = |&row: &IdxSize| {
                    let code = coded.codes[row as usize] as usize;
                    (code < coded.labels.len()).then(|| coded.labels.value(code))
                };
                let labels = StringChunked::from_iter_options(
                    PlSmallStr::EMPTY,
                    found.firsts.iter().map(label),
                );
                Ok((found.codes, labels.into_series().cast(&coded.dtype)?))
            }
        }
    }
}

/// A stratum a row ([`SKIP`] for null), and their number.
struct Strata {
    numbers: Vec<u32>,
    count: usize,
}

/// The groups of one target column: a code a row (0 the background), and the targets' labels.
pub struct Labels {
    /// For each row the number of its label; [`SKIP`] where that is null.
    numbers: Vec<u32>,
    /// For each number the group's code.
    places: Vec<u32>,
    /// The reported targets in order, in the column's dtype.
    pub targets: Series,
    pub reference: Reference,
    /// The strata that rows are compared within.
    strata: Option<Strata>,
    request: Request,
}

const VALUES: &str = "an integer or float column of values";
pub const LABELS: &str = "a String, Categorical, Enum, Boolean or integer column of labels";
const COUNTS: &str = "a non-negative integer column of cell counts";

impl Request {
    /// The error for a column (value, target or count) of a dtype that Polars builds apart, by its
    /// name on the wire.
    pub fn unsupported(&self, role: &str, dtype: &impl ToString) -> PolarsError {
        let (column, expected) = match role {
            "value" => (&self.value, VALUES),
            "target" => (&self.target, LABELS),
            "strata" => (&self.strata, LABELS),
            _ => (&self.count, COUNTS),
        };
        polars_error(&unsupported(column, dtype, expected))
    }
}

pub fn unsupported(column: &str, dtype: &impl ToString, expected: &'static str) -> Error {
    let (column, dtype) = (column.to_owned(), dtype.to_string());
    ErrorKind::UnsupportedDtype { column, dtype, expected }.into()
}

/// The order of distinct labels: categories' own for Enum, else sorted.
fn order(labels: &Series) -> PolarsResult<IdxCa> {
    let key = match labels.dtype() {
        DataType::Enum(..) => labels.to_physical_repr().into_owned(),
        DataType::Categorical(..) => labels.cast(&DataType::String)?,
        _ => labels.clone(),
    };
    Ok(key.arg_sort(SortOptions::default()))
}

impl Labels {
    /// The groups of the target column, and the strata where there are any.
    pub fn new(inputs: &Inputs, request: &Request) -> PolarsResult<Self> {
        let (numbers, labels) = inputs.target.distinct(&request.target)?;
        let order = order(&labels)?;
        // The place of each distinct label among the codes; 0 is the background.
        let mut places = vec![SKIP; labels.len()];
        let mut reported: Vec<IdxSize> = Vec::with_capacity(labels.len());
        for number in order.into_no_null_iter() {
            let is_reference = !request.is_rest() && request.matches(&labels.get(number as usize)?);
            if is_reference {
                places[number as usize] = 0;
            } else {
                reported.push(number);
                places[number as usize] = u32::try_from(reported.len()).unwrap_or(SKIP);
            }
        }
        if labels.is_empty() {
            let column = request.target.clone();
            return Err(polars_error(&ErrorKind::NoCells { column }.into()));
        }
        if !request.is_rest() && reported.len() == labels.len() {
            return Err(unknown_reference(request, &labels.take(&order_of(&reported))?));
        }
        Ok(Self {
            numbers,
            places,
            targets: labels.take(&order_of(&reported))?.with_name("target".into()),
            reference: if request.is_rest() { Reference::Rest } else { Reference::Background },
            strata: Self::strata(inputs, request, reported.len() + 1)?,
            request: request.clone(),
        })
    }

    fn strata(inputs: &Inputs, request: &Request, groups: usize) -> PolarsResult<Option<Strata>> {
        let Some(strata) = &inputs.strata else { return Ok(None) };
        let (numbers, labels) = strata.distinct(&request.strata)?;
        check_strata(groups, labels.len()).map_err(|e| polars_error(&e))?;
        Ok(Some(Strata { numbers, count: labels.len() }))
    }
}

fn order_of(numbers: &[IdxSize]) -> IdxCa {
    IdxCa::from_slice(PlSmallStr::EMPTY, numbers)
}

fn unknown_reference(request: &Request, labels: &Series) -> PolarsError {
    let text = |label: AnyValue| match label.get_str() {
        Some(text) => format!("{text:?}"),
        None => label.to_string(),
    };
    let reference = &request.reference;
    let kind = ErrorKind::UnknownReference {
        reference: match request.reference_kind.as_str() {
            "text" => format!("{reference:?}"),
            _ => reference.clone(),
        },
        column: request.target.clone(),
        dtype: labels.dtype().to_string(),
        known: labels.iter().take(8).map(text).collect(),
        n_known: labels.len(),
    };
    polars_error(&kind.into())
}

/// One cell count a row, or `None` where each row is one cell.
fn weights(count: Option<&Series>, name: &str) -> PolarsResult<Option<Vec<u64>>> {
    let Some(count) = count else { return Ok(None) };
    if !count.dtype().is_integer() {
        return Err(polars_error(&unsupported(name, count.dtype(), COUNTS)));
    }
    let invalid = |row: usize| {
        let got = count.get(row).ok().filter(|v| !v.is_null()).map(|v| v.to_string());
        let column = name.to_owned();
        polars_error(&ErrorKind::InvalidCount { column, row, got }.into())
    };
    // A cast makes negative counts null.
    let cells = count.cast(&DataType::UInt64)?;
    let cells = cells.u64()?;
    if let Some(row) = cells.iter().position(|v| v.is_none()) {
        return Err(invalid(row));
    }
    Ok(Some(cells.into_no_null_iter().collect()))
}

/// One group's rows, sorted out: what [`Sample`] borrows.
struct Rows<V> {
    entries: Vec<Entry<V>>,
    weights: Option<Vec<u64>>,
    /// For each code.
    zeros: Vec<u64>,
    /// For each group.
    sizes: Vec<u64>,
    /// For each code, where rows are compared within strata.
    strata: Option<Vec<u64>>,
    /// For each group whether it holds a NaN.
    undefined: Vec<bool>,
}

impl<V: Value> Rows<V> {
    // Without branches, as said below.
    #[allow(clippy::needless_bitwise_bool)]
    fn new(
        values: impl Iterator<Item = Option<V>>,
        labels: &Labels,
        counts: Option<&[u64]>,
    ) -> Result<Self, Error> {
        let groups = labels.targets.len() + 1;
        let codes = groups * labels.strata.as_ref().map_or(1, |strata| strata.count);
        let mut rows = Self {
            entries: Vec::new(),
            weights: None,
            zeros: vec![0; codes],
            sizes: vec![0; groups],
            strata: labels.strata.is_some().then(|| vec![0; codes]),
            undefined: vec![false; groups],
        };
        let rows_given = labels.numbers.len();
        rows.entries.resize(rows_given, Entry::default());
        let mut cells = vec![0; if counts.is_some() { rows_given } else { 0 }];
        // Each row is written where the next kept one goes, and kept where it counts: sparse data
        // would mispredict a branch at every other row.
        let mut kept = 0;
        for (i, (value, &number)) in values.zip(&labels.numbers).enumerate() {
            let Some(value) = value else { continue };
            let mut code = labels.places.get(number as usize).copied().unwrap_or(SKIP);
            if code == SKIP {
                continue;
            }
            let n = counts.map_or(1, |counts| counts[i]);
            let (group, zero, nan) = (code as usize, value.is_zero(), value.is_nan());
            if let (Some(strata), Some(sizes)) = (&labels.strata, &mut rows.strata) {
                let stratum = strata.numbers[i];
                if stratum == SKIP {
                    continue;
                }
                code += stratum * groups as u32;
                sizes[code as usize] = sizes[code as usize].saturating_add(n);
            }
            rows.sizes[group] = rows.sizes[group].saturating_add(n);
            let zeros = &mut rows.zeros[code as usize];
            *zeros = zeros.saturating_add(if zero { n } else { 0 });
            rows.undefined[group] |= nan & (n > 0);
            rows.entries[kept] = Entry { value, code };
            if let Some(cell) = cells.get_mut(kept) {
                *cell = n;
            }
            kept += usize::from(!zero & !nan & (n > 0));
        }
        rows.entries.truncate(kept);
        cells.truncate(kept);
        let total: u128 = rows.sizes.iter().map(|&n| u128::from(n)).sum();
        if total > u128::from(MAX_CELLS) {
            return Err(ErrorKind::TooManyCells { got: total, limit: MAX_CELLS }.into());
        }
        // Where every non-zero row is one cell, as `scan_anndata` makes them, nothing is weighted.
        rows.weights = cells.iter().any(|&n| n != 1).then_some(cells);
        Ok(rows)
    }

    fn check(&self, labels: &Labels, test: Test) -> Result<(), Error> {
        let request = &labels.request;
        let (reference, column) = (request.reference.clone(), request.target.clone());
        if labels.reference == Reference::Background && self.sizes[0] == 0 {
            return Err(ErrorKind::EmptyReference { reference, column }.into());
        }
        if self.sizes.iter().all(|&n| n == 0) {
            return Err(ErrorKind::NoCells { column }.into());
        }
        if self.strata.is_some() {
            return check_stratified(&test);
        }
        if let Test::Wilcoxon(wilcoxon::Options { method: Method::Exact, .. }) = test {
            let cells = self.sizes.iter().sum();
            for t in 0..labels.targets.len() {
                let (n1, n2) = pair(&self.sizes, cells, labels.reference, t);
                if !exact::feasible(n1, n2) {
                    return Err(ErrorKind::ExactTooLarge { n1, n2 }.into());
                }
            }
        }
        Ok(())
    }

    /// The comparisons of all targets.
    fn compare(&self, labels: &Labels, Asked { test, auroc }: Asked) -> Vec<Row> {
        thread_local! {
            static SCRATCH: RefCell<(Kernel, NullTables)> = RefCell::default();
        }
        SCRATCH.with_borrow_mut(|(kernel, tables)| {
            let (entries, zeros) = (&self.entries[..], &self.zeros[..]);
            let sample = Sample { entries, weights: self.weights.as_deref(), zeros };
            let (sizes, reference, scale) = (&self.sizes[..], labels.reference, Scale::Plain);
            let (strata, cells) = (self.strata.as_deref(), sizes.iter().sum());
            let question = Question { sizes, strata, cells, reference, test, auroc, scale, tables };
            let nans = self.undefined.iter().filter(|&&nan| nan).count();
            let undefined_reference = |t: usize| match reference {
                Reference::Background => self.undefined[0],
                Reference::Rest => nans > usize::from(self.undefined[t + 1]),
            };
            let mean = |n: u64, undefined: bool, mean: f64| {
                (n > 0).then_some(if undefined { f64::NAN } else { mean })
            };
            let mut rows = Vec::with_capacity(labels.targets.len());
            kernel.compare(&sample, &question, |t, cell| {
                let (n_target, n_reference) = question.pair(t);
                let undefined = (self.undefined[t + 1], undefined_reference(t));
                rows.push(Row {
                    n_target,
                    n_reference,
                    target_mean: mean(n_target, undefined.0, cell.target_mean),
                    reference_mean: mean(n_reference, undefined.1, cell.reference_mean),
                    comparison: match cell.comparison {
                        _ if n_target == 0 || n_reference == 0 => None,
                        // No stratum holds both samples: else U is a number.
                        of if strata.is_some() && of.statistic.is_nan() => None,
                        _ if undefined.0 || undefined.1 => Some(Comparison::NAN),
                        comparison => Some(comparison),
                    },
                });
            });
            test.complete(rows.iter_mut().filter_map(|row| row.comparison.as_mut()));
            rows
        })
    }
}

/// A 128-bit integer: its place in the order of its column, and the nearest f64.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Wide {
    key: u64,
    real: f64,
}

impl Default for Wide {
    /// Zero, whose key does not depend on the column.
    fn default() -> Self {
        Self { key: 1 << 63, real: 0.0 }
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
        Self { key: (1 << 63) + u64::from(count), real: f64::from(count) }
    }

    fn plus(self, other: Self) -> Self {
        Self { key: self.key.wrapping_add(other.key), real: self.real + other.real }
    }
}

impl Wide {
    /// Keys by rank among the distinct values, zero's at 2^63.
    fn rank<T: Copy + Ord + Default>(
        values: &[Option<T>],
        reals: impl Iterator<Item = Option<f64>>,
    ) -> Vec<Option<Self>> {
        let mut distinct: Vec<T> = values.iter().flatten().copied().collect();
        distinct.push(T::default());
        distinct.sort_unstable();
        distinct.dedup();
        let place = |value: &T| distinct.partition_point(|v| v < value) as u64;
        let zero = place(&T::default());
        let pairs = values.iter().zip(reals);
        pairs
            .map(|(value, real)| {
                let key = (1 << 63) + place(value.as_ref()?) - zero;
                Some(Self { key, real: real? })
            })
            .collect()
    }
}

/// Turns value, target and count into samples, tests them, and hands the rows to `finish`.
pub fn with_sample(
    inputs: &Inputs,
    labels: &Labels,
    asked: Asked,
    finish: impl Fn(Vec<Row>) -> PolarsResult<Series>,
) -> PolarsResult<Series> {
    let value = &inputs.value;
    let counts = weights(inputs.count.as_ref(), &labels.request.count)?;
    let counts = counts.as_deref();
    macro_rules! rows {
        ($values:expr) => {{
            let rows = Rows::new($values, labels, counts).map_err(|e| polars_error(&e))?;
            rows.check(labels, asked.test).map_err(|e| polars_error(&e))?;
            finish(rows.compare(labels, asked))
        }};
    }
    macro_rules! column {
        ($column:expr) => {{
            // A match keeps temporaries of the expression alive in its arms.
            match $column {
                // Without nulls the compiler drops the test for them.
                column if column.null_count() == 0 => {
                    rows!(column.into_no_null_iter().map(Some))
                }
                column => rows!(column.iter()),
            }
        }};
    }
    match value.dtype() {
        DataType::Float32 => column!(value.f32()?),
        DataType::Float64 => column!(value.f64()?),
        DataType::Int64 => column!(value.i64()?),
        DataType::UInt64 => column!(value.u64()?),
        DataType::Int32 | DataType::UInt32 => {
            column!(value.cast(&DataType::Float64)?.f64()?)
        }
        DataType::Int8
        | DataType::UInt8
        | DataType::Int16
        | DataType::UInt16
        | DataType::Float16 => column!(value.cast(&DataType::Float32)?.f32()?),
        DataType::Int128 | DataType::UInt128 => {
            let real = value.cast(&DataType::Float64)?;
            let wide = match value.dtype() {
                DataType::Int128 => {
                    Wide::rank(&value.i128()?.iter().collect::<Vec<_>>(), real.f64()?.iter())
                }
                _ => Wide::rank(&value.u128()?.iter().collect::<Vec<_>>(), real.f64()?.iter()),
            };
            rows!(wide.into_iter())
        }
        dtype => Err(polars_error(&unsupported(&labels.request.value, dtype, VALUES))),
    }
}
