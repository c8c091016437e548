//! Labels to numbers, in order of first occurrence.

use crate::cast::length;
use crate::matrix::SKIP;
use polars::prelude::*;
use polars_arrow::array::View;
use std::hash::Hash;

/// Distinct labels of a column: a number for each row in order of first occurrence, and the row
/// of each first occurrence.
pub(super) struct Distinct {
    pub(super) codes: Vec<u32>,
    pub(super) firsts: Vec<IdxSize>,
}

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

impl Distinct {
    fn new<K: Fold>(labels: impl Iterator<Item = Option<K>>, rows: usize) -> Self {
        // Labels are few and rows are many: a small table of recent labels, by a multiplicative hash
        // (Knuth, TAOCP 3, 6.4), saves most look-ups in the map.
        const BITS: u32 = 10;
        let mut recent: Vec<Option<(K, u32)>> = vec![None; 1 << BITS];
        let mut numbers: PlHashMap<K, u32> = PlHashMap::default();
        let mut codes = Vec::with_capacity(rows);
        let mut firsts = Vec::new();
        for (row, label) in (0..).zip(labels) {
            let Some(label) = label else {
                codes.push(SKIP);
                continue;
            };
            let slot = label.fold().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS);
            let known = &mut recent[length(slot)];
            let code = match *known {
                Some((key, code)) if key == label => code,
                _ => {
                    let next = u32::try_from(firsts.len()).unwrap_or(SKIP);
                    let code = *numbers.entry(label).or_insert_with(|| {
                        firsts.push(row);
                        next
                    });
                    *known = Some((label, code));
                    code
                }
            };
            codes.push(code);
        }
        Self { codes, firsts }
    }

    /// Strings of at most 12 bytes are their own views, which hash and compare as one integer;
    /// longer ones, rare among labels, are known by the view of their first occurrence.
    fn of_text(labels: &StringChunked) -> Self {
        let mut long: PlHashMap<&str, u128> = PlHashMap::default();
        let views = labels.downcast_iter().flat_map(|chunk| chunk.views().iter());
        let key = |(label, view): (Option<_>, &View)| {
            label.map(|label| match view.as_u128() {
                view_bits if view.length <= View::MAX_INLINE_SIZE => view_bits,
                view_bits => *long.entry(label).or_insert(view_bits),
            })
        };
        Self::new(labels.iter().zip(views).map(key), labels.len())
    }

    /// Labels of a column of any other dtype; `None` for a dtype that labels cannot have.
    pub(super) fn of_column(labels: &Series) -> PolarsResult<Option<Self>> {
        macro_rules! whole {
            ($column:expr) => {
                Self::new($column.iter().map(|label| label.map(i64::from)), labels.len())
            };
        }
        Ok(Some(match labels.dtype() {
            DataType::String => Self::of_text(labels.str()?),
            DataType::Boolean => Self::new(labels.bool()?.iter(), labels.len()),
            DataType::Int8 => whole!(labels.i8()?),
            DataType::UInt8 => whole!(labels.u8()?),
            DataType::Int16 => whole!(labels.i16()?),
            DataType::UInt16 => whole!(labels.u16()?),
            DataType::Int32 => whole!(labels.i32()?),
            DataType::UInt32 => whole!(labels.u32()?),
            DataType::Int64 => Self::new(labels.i64()?.iter(), labels.len()),
            DataType::UInt64 => Self::new(labels.u64()?.iter(), labels.len()),
            DataType::Int128 => Self::new(labels.i128()?.iter(), labels.len()),
            DataType::UInt128 => Self::new(labels.u128()?.iter(), labels.len()),
            _ => return Ok(None),
        }))
    }
}
