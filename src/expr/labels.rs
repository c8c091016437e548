//! A column of labels as it arrives, and its distinct labels.

use super::distinct::Distinct;
use super::ffi::Column;
use super::request::Request;
use super::values;
use crate::cast::place;
use crate::matrix::SKIP;
use polars::prelude::*;
use polars_arrow::array::{Array, DictionaryArray, DictionaryKey, Utf8ViewArray};
use polars_arrow::datatypes::{ArrowDataType, Field as ArrowField};
use std::cell::RefCell;

/// A column of labels.
pub(super) enum Labels {
    /// Strings, booleans or integers; the column's role.
    Plain(Series, &'static str),
    /// A categorical, still coded.
    Coded(Coded),
}

impl Labels {
    /// Takes over the column of a role; categoricals stay coded.
    pub(super) fn import(
        column: Column,
        role: &'static str,
        request: &Request,
    ) -> PolarsResult<Self> {
        if !matches!(column.field.dtype, ArrowDataType::Dictionary(..)) {
            return Ok(Self::Plain(values::import(column, request)?, role));
        }
        let mut coded = Coded::new(dtype_of(&column.field));
        for array in column.chunks {
            let known = coded.push::<u8>(&*array)
                || coded.push::<u16>(&*array)
                || coded.push::<u32>(&*array);
            if !known {
                polars_bail!(
                    ComputeError: "a dictionary of type {:?} is not supported", column.field.dtype
                );
            }
        }
        Ok(Self::Coded(coded))
    }

    /// False where no row of any group can have the reference's label: it is one of another dtype, or
    /// no category of an Enum.
    pub(super) fn may_have_reference(&self, request: &Request) -> bool {
        match self {
            Self::Plain(column, _) => request.fits(column.dtype()),
            Self::Coded(Coded { dtype: dtype @ DataType::Enum(..), labels, .. }) => {
                let known = labels.values_iter().any(|known| known == request.reference);
                known && request.fits(dtype)
            }
            Self::Coded(coded) => request.fits(&coded.dtype),
        }
    }

    /// Each row's number among the distinct labels ([`SKIP`] for null), and these, in the column's
    /// dtype and in order of first occurrence.
    pub(super) fn distinct(&self, request: &Request) -> PolarsResult<(Vec<u32>, Series)> {
        match self {
            Self::Plain(column, role) => {
                let Some(found) = Distinct::of_column(column)? else {
                    return Err(request.unsupported(role, column.dtype()).into());
                };
                let firsts = IdxCa::from_vec(PlSmallStr::EMPTY, found.firsts);
                Ok((found.codes, column.take(&firsts)?))
            }
            Self::Coded(coded) => coded.distinct(),
        }
    }
}

thread_local! {
    /// The last categorical column of each role: its field in Arrow, and its dtype.
    static LAST: RefCell<Vec<(ArrowField, DataType)>> = const { RefCell::new(Vec::new()) };
}

/// The dtype of a categorical column.  Polars hands over the same column for every group of a
/// `group_by`; hashing its categories each time would take about as long as the tests of a gene.
fn dtype_of(field: &ArrowField) -> DataType {
    LAST.with_borrow_mut(|last| {
        if let Some((_, dtype)) = last.iter().find(|(known, _)| known == field) {
            return dtype.clone();
        }
        let dtype = Field::from(field).dtype;
        // The name is the role.
        last.retain(|(known, _)| known.name != field.name);
        last.push((field.clone(), dtype.clone()));
        dtype
    })
}

/// A categorical column: a code a row ([`SKIP`] for null), and the label of each code.
pub(super) struct Coded {
    codes: Vec<u32>,
    labels: Utf8ViewArray,
    dtype: DataType,
}

impl Coded {
    fn new(dtype: DataType) -> Self {
        let labels = Utf8ViewArray::new_empty(ArrowDataType::Utf8View);
        Self { codes: Vec::new(), labels, dtype }
    }

    /// Appends a dictionary array with keys `K`; false if it is of another type.
    fn push<K: DictionaryKey + Into<u32>>(&mut self, array: &dyn Array) -> bool {
        let Some(array) = array.as_any().downcast_ref::<DictionaryArray<K>>() else { return false };
        let Some(labels) = array.values().as_any().downcast_ref::<Utf8ViewArray>() else {
            return false;
        };
        let (keys, start) = (array.keys(), self.codes.len());
        if keys.validity().is_none_or(|validity| validity.unset_bits() == 0) {
            self.codes.extend(keys.values().iter().map(|&key| key.into()));
        } else {
            self.codes.extend(keys.iter().map(|key| key.map_or(SKIP, |&key| key.into())));
        }
        self.merge(labels, start);
        true
    }

    /// Takes over the dictionary of the rows from `start` on: each chunk may have its own.
    fn merge(&mut self, labels: &Utf8ViewArray, start: usize) {
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
            *code = places.get(place(*code)).copied().unwrap_or(SKIP);
        }
        drop(known);
        self.labels = Utf8ViewArray::from_slice_values(&all);
    }

    fn distinct(&self) -> PolarsResult<(Vec<u32>, Series)> {
        let found = Distinct::of_codes(&self.codes);
        if let DataType::Enum(categories, _) = &self.dtype
            && *categories.categories() == self.labels
        {
            // Codes are those of the categories: no label needs to be looked up.
            let codes = found.firsts.iter().map(|&row| self.codes[place(row)]);
            let codes = UInt32Chunked::from_iter_values(PlSmallStr::EMPTY, codes);
            let codes = codes.into_series().cast(&categories.physical().into())?;
            return Ok((found.codes, Series::from_cats_and_dtype(&codes, &self.dtype, true)?));
        }
        let label = |&row: &IdxSize| {
            let code = place(self.codes[place(row)]);
            (code < self.labels.len()).then(|| self.labels.value(code))
        };
        let labels = found.firsts.iter().map(label);
        let labels = StringChunked::from_iter_options(PlSmallStr::EMPTY, labels);
        Ok((found.codes, labels.into_series().cast(&self.dtype)?))
    }
}
