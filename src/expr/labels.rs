//! Columns of labels: a number a row, in the order of the labels.
//!
//! Labels are numbered and ordered once a call, for all its lists: a list only looks which of the
//! numbers it holds. The order is that of the categories for Enum, else labels are sorted.

use super::distinct::{self, Numbered, inverse};
use super::lists::Column;
use super::request::Request;
use super::values;
use crate::cast::{narrow, place};
use crate::matrix::SKIP;
use polars::prelude::*;
use polars_arrow::array::{Array, DictionaryArray, DictionaryKey, PrimitiveArray, Utf8ViewArray};
use polars_arrow::bitmap::Bitmap;
use polars_arrow::datatypes::ArrowDataType;
use polars_arrow::types::NativeType;
use std::ops::Range;

/// A column of labels.
pub(super) struct Labels {
    keys: Keys,
    /// The number of each key; absent where keys are numbers (and [`SKIP`] is null).
    numbers: Option<Vec<u32>>,
    /// The label of each number, in the column's dtype; an Enum has all its categories.
    known: Series,
}

/// A key a row: those of a categorical as they came, or numbers.
enum Keys {
    U8(PrimitiveArray<u8>),
    U16(PrimitiveArray<u16>),
    U32(PrimitiveArray<u32>),
}

impl Labels {
    /// Numbers the labels of a role's column.
    ///
    /// # Errors
    /// A dtype that labels cannot have.
    pub(super) fn import(column: Column, role: &str, request: &Request) -> PolarsResult<Self> {
        if matches!(column.field.dtype, ArrowDataType::Dictionary(..)) {
            return Self::of_categorical(&column);
        }
        let column = values::import(column, request)?;
        let Some(Numbered { numbers, labels }) = distinct::number(&column)? else {
            return Err(request.unsupported(role, column.dtype()).into());
        };
        let keys = Keys::U32(PrimitiveArray::from_vec(numbers));
        Ok(Self { keys, numbers: None, known: labels })
    }

    fn of_categorical(column: &Column) -> PolarsResult<Self> {
        let (keys, texts) = Keys::import(column)?;
        let dtype = Field::from(&column.field).dtype;
        if let DataType::Enum(categories, _) = &dtype
            && *categories.categories() == texts
        {
            // Keys are the places of the categories: no label needs to be looked up.
            let places = UInt32Chunked::from_iter_values(PlSmallStr::EMPTY, 0..narrow(texts.len()));
            let places = places.into_series().cast(&categories.physical().into())?;
            let labels = Series::from_cats_and_dtype(&places, &dtype, true)?;
            return Ok(Self { keys, numbers: None, known: labels });
        }
        // Only the labels that occur: other columns may share the categories.
        let occur = keys.occurring(texts.len());
        let found = occur.iter().map(|&key| Some(texts.value(place(key))));
        let found = StringChunked::from_iter_options(PlSmallStr::EMPTY, found).into_series();
        let labels = found.cast(&dtype)?;
        let order = match &dtype {
            DataType::Enum(..) => labels.to_physical_repr().arg_sort(SortOptions::default()),
            _ => found.arg_sort(SortOptions::default()),
        };
        let in_order = order.iter().flatten().map(|at| occur[place(at)]);
        let numbers = Some(inverse(in_order, texts.len()));
        Ok(Self { keys, numbers, known: labels.take(&order)? })
    }

    /// How many numbers there are.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// The labels of some numbers, in the column's dtype.
    pub(super) fn take(&self, numbers: &[u32]) -> PolarsResult<Series> {
        self.known.take_slice(numbers)
    }

    /// The number of each of some rows ([`SKIP`] for null), in `space` unless they are at hand.
    pub(super) fn of_rows<'a>(&'a self, rows: Range<usize>, space: &'a mut Vec<u32>) -> &'a [u32] {
        match &self.keys {
            Keys::U8(keys) => self.write(keys, rows, space),
            Keys::U16(keys) => self.write(keys, rows, space),
            Keys::U32(keys) if self.numbers.is_none() && nulls(keys).is_none() => {
                return &keys.values()[rows];
            }
            Keys::U32(keys) => self.write(keys, rows, space),
        }
        space
    }

    fn write<K: NativeType + Into<u32>>(
        &self,
        keys: &PrimitiveArray<K>,
        rows: Range<usize>,
        out: &mut Vec<u32>,
    ) {
        out.clear();
        let of_rows = keys.values()[rows.clone()].iter().map(|&key| key.into());
        match &self.numbers {
            None => out.extend(of_rows),
            Some(numbers) => {
                let number = |key: u32| numbers.get(place(key)).copied().unwrap_or(SKIP);
                out.extend(of_rows.map(number));
            }
        }
        if let Some(validity) = nulls(keys) {
            for (row, number) in rows.zip(out) {
                *number = if validity.get_bit(row) { *number } else { SKIP };
            }
        }
    }

    /// The number of the reference's label, where there is one.
    pub(super) fn reference(&self, request: &Request) -> PolarsResult<Option<u32>> {
        if let DataType::Enum(categories, _) = self.known.dtype()
            && self.numbers.is_none()
        {
            let mut known = categories.categories().values_iter();
            let place = known.position(|label| label == request.reference);
            return Ok(place.filter(|_| request.fits(self.known.dtype())).map(narrow));
        }
        for number in 0..narrow(self.count()) {
            if request.matches(&self.known.get(place(number))?) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// False where no row of any group can have the reference's label: it is one of another dtype, or
    /// no category of an Enum.
    pub(super) fn may_have_reference(&self, request: &Request) -> bool {
        let known = match self.known.dtype() {
            DataType::Enum(categories, _) => {
                categories.categories().values_iter().any(|known| known == request.reference)
            }
            _ => true,
        };
        known && request.fits(self.known.dtype())
    }
}

/// The validity of keys where some are null.
fn nulls<K: NativeType>(keys: &PrimitiveArray<K>) -> Option<&Bitmap> {
    keys.validity().filter(|validity| validity.unset_bits() > 0)
}

impl Keys {
    /// The keys of a categorical column, and the label of each.
    fn import(column: &Column) -> PolarsResult<(Self, Utf8ViewArray)> {
        if let [chunk] = &column.chunks[..] {
            let found = of_chunk(&**chunk).map(|(keys, texts)| (Self::U8(keys), texts));
            let found = found
                .or_else(|| of_chunk(&**chunk).map(|(keys, texts)| (Self::U16(keys), texts)))
                .or_else(|| of_chunk(&**chunk).map(|(keys, texts)| (Self::U32(keys), texts)));
            return found.ok_or_else(|| unknown_dictionary(column));
        }
        let mut joined = Joined::default();
        for chunk in &column.chunks {
            let known = joined.push::<u8>(&**chunk)
                || joined.push::<u16>(&**chunk)
                || joined.push::<u32>(&**chunk);
            if !known {
                return Err(unknown_dictionary(column));
            }
        }
        Ok((Self::U32(PrimitiveArray::from_vec(joined.keys)), joined.texts))
    }

    /// The keys below `count` that occur, ascending.
    fn occurring(&self, count: usize) -> Vec<u32> {
        fn mark<K: NativeType + Into<u32>>(keys: &PrimitiveArray<K>, occurs: &mut [bool]) {
            let mut mark = |key: u32| {
                if let Some(occurs) = occurs.get_mut(place(key)) {
                    *occurs = true;
                }
            };
            match nulls(keys) {
                None => keys.values_iter().for_each(|&key| mark(key.into())),
                Some(_) => keys.iter().flatten().for_each(|&key| mark(key.into())),
            }
        }
        let mut occurs = vec![false; count];
        match self {
            Self::U8(keys) => mark(keys, &mut occurs),
            Self::U16(keys) => mark(keys, &mut occurs),
            Self::U32(keys) => mark(keys, &mut occurs),
        }
        (0..).zip(occurs).filter_map(|(key, occurs)| occurs.then_some(key)).collect()
    }
}

/// The keys and the labels of a dictionary array with keys `K`.
fn of_chunk<K: DictionaryKey>(chunk: &dyn Array) -> Option<(PrimitiveArray<K>, Utf8ViewArray)> {
    let chunk = chunk.as_any().downcast_ref::<DictionaryArray<K>>()?;
    let texts = chunk.values().as_any().downcast_ref::<Utf8ViewArray>()?;
    Some((chunk.keys().clone(), texts.clone()))
}

fn unknown_dictionary(column: &Column) -> PolarsError {
    polars_err!(ComputeError: "a dictionary of type {:?} is not supported", column.field.dtype)
}

/// The chunks of a categorical column: a key a row ([`SKIP`] for null), and the label of each key.
struct Joined {
    keys: Vec<u32>,
    texts: Utf8ViewArray,
}

impl Default for Joined {
    fn default() -> Self {
        Self { keys: Vec::new(), texts: Utf8ViewArray::new_empty(ArrowDataType::Utf8View) }
    }
}

impl Joined {
    /// Appends a dictionary array with keys `K`; false if it is of another type.
    fn push<K: DictionaryKey + Into<u32>>(&mut self, chunk: &dyn Array) -> bool {
        let Some((keys, texts)) = of_chunk::<K>(chunk) else { return false };
        let start = self.keys.len();
        self.keys.extend(keys.iter().map(|key| key.map_or(SKIP, |&key| key.into())));
        self.merge(&texts, start);
        true
    }

    /// Takes over the dictionary of the rows from `start` on: each chunk may have its own.
    fn merge(&mut self, texts: &Utf8ViewArray, start: usize) {
        if start == 0 || self.texts.is_empty() {
            self.texts = texts.clone();
            return;
        }
        if self.texts == *texts {
            return;
        }
        let mut all: Vec<&str> = self.texts.values_iter().collect();
        let mut known: PlHashMap<&str, u32> = (0u32..).zip(&all).map(|(i, &s)| (s, i)).collect();
        let number = |text| {
            *known.entry(text).or_insert_with(|| {
                all.push(text);
                u32::try_from(all.len() - 1).unwrap_or(SKIP)
            })
        };
        let places: Vec<u32> = texts.values_iter().map(number).collect();
        for key in &mut self.keys[start..] {
            *key = places.get(place(*key)).copied().unwrap_or(SKIP);
        }
        drop(known);
        self.texts = Utf8ViewArray::from_slice_values(&all);
    }
}
