//! Labels of any dtype but categoricals to numbers, in the order of labels.

use super::threads::THREADS;
use crate::cast::{length, narrow, place};
use crate::engine::pool;
use crate::matrix::SKIP;
use polars::prelude::*;
use polars_arrow::array::{Array, View};
use std::hash::Hash;

/// A label as an integer that differs where labels do, and may be shared where they do not.
trait Fold: Hash + Eq + Copy {
    fn fold(self) -> u64;
}

impl Fold for u128 {
    #[allow(clippy::cast_possible_truncation)] // both halves
    fn fold(self) -> u64 {
        self as u64 ^ (self >> 64) as u64
    }
}

impl Fold for u64 {
    fn fold(self) -> u64 {
        self
    }
}

impl Fold for i64 {
    fn fold(self) -> u64 {
        self.cast_unsigned()
    }
}

impl Fold for i128 {
    fn fold(self) -> u64 {
        self.cast_unsigned().fold()
    }
}

impl Fold for bool {
    fn fold(self) -> u64 {
        u64::from(self)
    }
}

/// A number for each row ([`SKIP`] for null), in the order of the distinct labels, and these.
pub(super) struct Numbered {
    pub(super) numbers: Vec<u32>,
    pub(super) labels: Series,
}

/// Numbers the labels of a column of one chunk; `None` for a dtype that labels cannot have.
///
/// Threads number stretches of the column, each by itself. Then the labels of all stretches, which are
/// few, are numbered and ordered.
pub(super) fn number(column: &Series) -> PolarsResult<Option<Numbered>> {
    const LEAST: usize = 1 << 16;
    if distinct(&column.clear(), &mut [])?.is_none() {
        return Ok(None);
    }
    let rows = column.len();
    let stretch = rows.div_ceil(*THREADS).max(LEAST);
    let mut numbers = vec![0; rows];
    let stretches = numbers.chunks_mut(stretch).enumerate();
    let firsts = pool::map_in_order(*THREADS, stretches.collect(), |(i, codes)| {
        let start =
            i64::try_from(i * stretch).map_err(|_| polars_err!(ComputeError: "too long"))?;
        let firsts = distinct(&column.slice(start, codes.len()), codes)?;
        PolarsResult::Ok(firsts.unwrap_or_default())
    })?;
    let places = (0..).step_by(stretch).zip(&firsts);
    let places = places.flat_map(|(start, firsts)| firsts.iter().map(move |row| start + row));
    let each = take(column, places)?;
    let mut codes = vec![0; each.len()];
    let merged = distinct(&each, &mut codes)?.unwrap_or_default();
    let labels = take(&each, merged.into_iter())?;
    let order = labels.arg_sort(SortOptions::default());
    let ranks = inverse(order.iter().flatten(), labels.len());
    let mut rest: &[u32] = &codes;
    let stretches = numbers.chunks_mut(stretch).zip(&firsts);
    let stretches = stretches.map(|(numbers, firsts)| {
        let (codes, others) = rest.split_at(firsts.len());
        rest = others;
        (numbers, codes)
    });
    pool::map_in_order(*THREADS, stretches.collect(), |(numbers, codes)| {
        let ranks: Vec<u32> = codes.iter().map(|&code| ranks[place(code)]).collect();
        for number in numbers {
            *number = ranks.get(place(*number)).copied().unwrap_or(SKIP);
        }
        PolarsResult::Ok(())
    })?;
    Ok(Some(Numbered { numbers, labels: labels.take(&order)? }))
}

fn take(labels: &Series, rows: impl Iterator<Item = usize>) -> PolarsResult<Series> {
    let rows = rows.map(narrow).collect();
    Ok(labels.take(&IdxCa::from_vec(PlSmallStr::EMPTY, rows))?.rechunk())
}

/// For each of `count` keys its place among `keys`; [`SKIP`] where it is not there.
pub(super) fn inverse(keys: impl Iterator<Item = u32>, count: usize) -> Vec<u32> {
    let mut places = vec![SKIP; count];
    (0..).zip(keys).for_each(|(at, key)| places[place(key)] = at);
    places
}

/// Writes a code for each label of a column of one chunk, in order of first occurrence ([`SKIP`] for
/// null), and returns the row of each first occurrence; `None` for a dtype that labels cannot have.
fn distinct(labels: &Series, codes: &mut [u32]) -> PolarsResult<Option<Vec<usize>>> {
    macro_rules! whole {
        ($column:expr) => {
            code($column.iter().map(|label| label.map(i64::from)), codes)
        };
    }
    Ok(Some(match labels.dtype() {
        DataType::String => code_texts(labels.str()?, codes),
        DataType::Boolean => code(labels.bool()?.iter(), codes),
        DataType::Int8 => whole!(labels.i8()?),
        DataType::UInt8 => whole!(labels.u8()?),
        DataType::Int16 => whole!(labels.i16()?),
        DataType::UInt16 => whole!(labels.u16()?),
        DataType::Int32 => whole!(labels.i32()?),
        DataType::UInt32 => whole!(labels.u32()?),
        DataType::Int64 => code(labels.i64()?.iter(), codes),
        DataType::UInt64 => code(labels.u64()?.iter(), codes),
        DataType::Int128 => code(labels.i128()?.iter(), codes),
        DataType::UInt128 => code(labels.u128()?.iter(), codes),
        _ => return Ok(None),
    }))
}

/// Strings of at most 12 bytes are their own views, which hash and compare as one integer; longer ones,
/// rare among labels, are known by the view of their first occurrence.
fn code_texts(labels: &StringChunked, codes: &mut [u32]) -> Vec<usize> {
    let mut long: PlHashMap<&str, u128> = PlHashMap::default();
    let labels = labels.downcast_as_array();
    let validity = labels.validity().filter(|validity| validity.unset_bits() > 0);
    let key = |(row, view): (usize, &View)| {
        let is_valid = validity.is_none_or(|validity| validity.get_bit(row));
        is_valid.then(|| match view.as_u128() {
            view_bits if view.length <= View::MAX_INLINE_SIZE => view_bits,
            view_bits => *long.entry(labels.value(row)).or_insert(view_bits),
        })
    };
    code(labels.views().iter().enumerate().map(key), codes)
}

fn code<K: Fold>(labels: impl Iterator<Item = Option<K>>, codes: &mut [u32]) -> Vec<usize> {
    // Labels are few and rows are many: a small table of recent labels, by a multiplicative hash
    // (Knuth, TAOCP 3, 6.4), saves most look-ups in the map.
    const BITS: u32 = 10;
    let mut recent: Vec<Option<(K, u32)>> = vec![None; 1 << BITS];
    let mut known: PlHashMap<K, u32> = PlHashMap::default();
    let mut firsts = Vec::new();
    for (row, (label, code)) in labels.zip(codes).enumerate() {
        let Some(label) = label else {
            *code = SKIP;
            continue;
        };
        let slot = label.fold().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS);
        let recent = &mut recent[length(slot)];
        *code = match *recent {
            Some((key, code)) if key == label => code,
            _ => {
                let code = *known.entry(label).or_insert_with(|| {
                    firsts.push(row);
                    narrow(firsts.len() - 1)
                });
                *recent = Some((label, code));
                code
            }
        };
    }
    firsts
}
