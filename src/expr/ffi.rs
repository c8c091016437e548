//! The plugin's entry points: Polars' C interface in, C interface out.
//!
//! `pyo3_polars`' own macro imports a categorical column by looking every row's label up in a hash
//! table, which costs more than the tests, and its feature builds Polars' whole query engine.  Here
//! a categorical target stays what it is on the wire, codes and a dictionary; every other column is
//! imported as usual.
//!
//! The columns come as the fields of one struct: Polars runs the groups of a `group_by` in parallel
//! for functions of one column only.
//!
//! The interface is `polars_ffi::version_0`.  Panics are caught at the border, and errors go where
//! Polars looks for them after the call.

#![allow(unsafe_code)]

use super::convert::{Coded, Request, Target};
use crate::matrix::SKIP;
use polars::prelude::*;
use polars_arrow::array::{Array, DictionaryArray, DictionaryKey, StructArray, Utf8ViewArray};
use polars_arrow::datatypes::{ArrowDataType, Field as ArrowField};
use polars_arrow::ffi::{self, ArrowArray, ArrowSchema};
use polars_ffi::version_0::{SeriesExport, export_series};
use serde::Deserialize;
use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

/// The fields of [`SeriesExport`], which keeps them private; both are `repr(C)`.
#[repr(C)]
struct Exported {
    field: *const ArrowSchema,
    arrays: *const *const ArrowArray,
    len: usize,
    release: Option<unsafe extern "C" fn(*mut SeriesExport)>,
    private_data: *const c_void,
}

const _: () = assert!(size_of::<Exported>() == size_of::<SeriesExport>());

/// The columns of one call, all of one length.
pub struct Inputs {
    pub value: Series,
    pub target: Target,
    pub count: Option<Series>,
    pub strata: Option<Target>,
}

/// Takes over an exported struct column: the columns value, target and, where given, count and
/// strata.
///
/// # Safety
/// `export` is valid, and not used again.
unsafe fn inputs(export: *const SeriesExport, request: &Request) -> PolarsResult<Inputs> {
    // SAFETY: both types are `repr(C)` with the same fields in the same order.
    let raw = unsafe { &*export.cast::<Exported>() };
    // SAFETY: a valid export points to a valid schema.
    let field = unsafe { ffi::import_field_from_c(&*raw.field)? };
    // SAFETY: the copy owns the export and releases it at the end of this function; the arrays
    // are moved out of it below, each once, as `polars_ffi::import_series` does.
    let _owner = unsafe { ptr::read(export) };
    let fields = struct_fields(&field)?;
    let mut columns: Vec<Vec<Box<dyn Array>>> = vec![Vec::new(); fields.len()];
    for i in 0..raw.len {
        // SAFETY: `arrays` holds `len` pointers to arrays of the schema.
        let array = unsafe {
            let array = ptr::read(*raw.arrays.add(i));
            ffi::import_array_from_c(array, field.dtype.clone())?
        };
        let rows = array.as_any().downcast_ref::<StructArray>();
        for (column, values) in columns.iter_mut().zip(rows.iter().flat_map(|r| r.values())) {
            column.push(values.clone());
        }
    }
    let mut columns: Vec<Column> = fields.iter().zip(columns).collect();
    let mut take = |role: &str| {
        let place = columns.iter().position(|(field, _)| field.name == role)?;
        Some(columns.swap_remove(place))
    };
    let missing = |role| polars_err!(ComputeError: "the column {role} is missing");
    Ok(Inputs {
        value: series(take("value").ok_or_else(|| missing("value"))?, request)?,
        target: target(take("target").ok_or_else(|| missing("target"))?, request)?,
        count: take("count").map(|column| series(column, request)).transpose()?,
        strata: take("strata").map(|column| target(column, request)).transpose()?,
    })
}

/// The columns of the struct that a call is given.
fn struct_fields(field: &ArrowField) -> PolarsResult<&[ArrowField]> {
    match &field.dtype {
        ArrowDataType::Struct(fields) => Ok(fields),
        dtype => polars_bail!(ComputeError: "expected a struct of columns, got {dtype:?}"),
    }
}

/// One column of the struct: its field, and its chunks.
type Column<'a> = (&'a ArrowField, Vec<Box<dyn Array>>);

/// A column as Polars' own; an error that names it where this build has no such dtype (dates).
fn series((field, chunks): Column, request: &Request) -> PolarsResult<Series> {
    Series::try_from((field, chunks))
        .map_err(|_| request.unsupported(&field.name, &format!("{:?}", field.dtype)))
}

/// A column of labels, leaving categoricals coded.
fn target((field, chunks): Column, request: &Request) -> PolarsResult<Target> {
    if !matches!(field.dtype, ArrowDataType::Dictionary(..)) {
        return Ok(Target::Column(series((field, chunks), request)?));
    }
    let mut coded = Coded { dtype: Field::from(field).dtype, ..Coded::default() };
    for array in chunks {
        let known = push::<u8>(&*array, &mut coded)
            || push::<u16>(&*array, &mut coded)
            || push::<u32>(&*array, &mut coded);
        if !known {
            polars_bail!(ComputeError: "a dictionary of type {:?} is not supported", field.dtype);
        }
    }
    Ok(Target::Coded(coded))
}

/// Appends a dictionary array with keys `K`; false where it is none.
fn push<K: DictionaryKey + Into<u32>>(array: &dyn Array, coded: &mut Coded) -> bool {
    let Some(array) = array.as_any().downcast_ref::<DictionaryArray<K>>() else { return false };
    let Some(labels) = array.values().as_any().downcast_ref::<Utf8ViewArray>() else {
        return false;
    };
    let (keys, start) = (array.keys(), coded.codes.len());
    if keys.validity().is_none_or(|validity| validity.unset_bits() == 0) {
        coded.codes.extend(keys.values().iter().map(|&key| key.into()));
    } else {
        coded.codes.extend(keys.iter().map(|key| key.map_or(SKIP, |&key| key.into())));
    }
    coded.merge(labels, start);
    true
}

/// What a test's module gives to its entry points.
pub trait Plugin: for<'a> Deserialize<'a> {
    /// What every test is told.
    fn request(&self) -> &Request;
    /// The result of one call.
    fn call(self, inputs: Inputs) -> PolarsResult<Series>;
    /// The result's field from the inputs' fields.
    fn field(&self, inputs: &[Field]) -> PolarsResult<Field>;
}

thread_local! {
    /// The message of this thread's last error.
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

fn set_last_error(message: &str) {
    // A label or a name in the message may hold a NUL, which would end it.
    let message = CString::new(message.replace('\0', "\\0")).unwrap_or_default();
    LAST_ERROR.set(message);
}

fn panic_message(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no message");
    format!("pdex failed ({text}): please report this with the query that caused it")
}

/// Where Polars looks for the message of an error.
///
/// # Safety
/// Called by Polars only, on the thread of the call that failed.
#[unsafe(no_mangle)]
unsafe extern "C" fn _polars_plugin_get_last_error_message() -> *const c_char {
    LAST_ERROR.with_borrow(|message| message.as_ptr())
}

/// The version of the plugin interface, major and minor in 16 bits each.
///
/// # Safety
/// Called by Polars only.
#[unsafe(no_mangle)]
unsafe extern "C" fn _polars_plugin_get_version() -> u32 {
    let (major, minor) = polars_ffi::get_version();
    (u32::from(major) << 16) + u32::from(minor)
}

/// Runs `body`; its error or panic goes where Polars looks for it, its value to `write`.
fn guarded<T>(body: impl FnOnce() -> PolarsResult<T>, write: impl FnOnce(T)) {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => write(value),
        Ok(Err(error)) => set_last_error(&error.to_string()),
        Err(cause) => set_last_error(&panic_message(&*cause)),
    }
}

/// The keywords of a call.
///
/// # Safety
/// They are `kwargs.1` bytes that live as long as the call.
unsafe fn keywords<P: Plugin>(kwargs: (*const u8, usize)) -> PolarsResult<P> {
    // SAFETY: as said above.
    let kwargs = unsafe { slice::from_raw_parts(kwargs.0, kwargs.1) };
    serde_pickle::from_slice(kwargs, serde_pickle::DeOptions::default())
        .map_err(|e| polars_err!(ComputeError: "the keywords of the plugin: {e}"))
}

/// The body of `_polars_plugin_<name>`.
///
/// # Safety
/// The arguments are those of Polars' plugin interface, version 0.
pub unsafe fn call<P: Plugin>(
    exports: *const SeriesExport,
    len: usize,
    kwargs: (*const u8, usize),
    out: *mut SeriesExport,
) {
    let body = || {
        polars_ensure!(len == 1, ComputeError: "{len} columns: expected one struct");
        // SAFETY: handed on as they came.
        let plugin: P = unsafe { keywords(kwargs)? };
        // SAFETY: `exports` holds one valid export, taken over once.
        let inputs = unsafe { inputs(exports, plugin.request())? };
        Ok(export_series(&plugin.call(inputs)?))
    };
    // SAFETY: `out` is Polars' place for one export, empty so far.
    guarded(body, |result| unsafe { *out = result });
}

/// The body of `_polars_plugin_field_<name>`.
///
/// # Safety
/// The arguments are those of Polars' plugin interface, version 0.
pub unsafe fn field<P: Plugin>(
    schemas: *const ArrowSchema,
    len: usize,
    kwargs: (*const u8, usize),
    out: *mut ArrowSchema,
) {
    let body = || {
        polars_ensure!(len == 1, ComputeError: "{len} columns: expected one struct");
        // SAFETY: handed on as they came.
        let plugin: P = unsafe { keywords(kwargs)? };
        // SAFETY: `schemas` holds one valid schema.
        let field = unsafe { ffi::import_field_from_c(&*schemas)? };
        let fields: Vec<Field> = struct_fields(&field)?.iter().map(Field::from).collect();
        let field = plugin.field(&fields)?;
        Ok(ffi::export_field_to_c(&field.to_arrow(CompatLevel::newest())))
    };
    // SAFETY: `out` is Polars' place for one schema, empty so far.
    guarded(body, |schema| unsafe { *out = schema });
}

/// Exports the entry points of a [`Plugin`] under the names that Polars looks up.
macro_rules! export {
    ($plugin:ty, $call:ident, $field:ident) => {
        /// # Safety
        /// Called by Polars only, through its plugin interface.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $call(
            exports: *mut polars_ffi::version_0::SeriesExport,
            len: usize,
            kwargs: *const u8,
            kwargs_len: usize,
            out: *mut polars_ffi::version_0::SeriesExport,
            _context: *mut polars_ffi::version_0::CallerContext,
        ) {
            // SAFETY: handed on as they came.
            unsafe { $crate::expr::ffi::call::<$plugin>(exports, len, (kwargs, kwargs_len), out) }
        }

        /// # Safety
        /// Called by Polars only, through its plugin interface.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $field(
            schemas: *mut polars_arrow::ffi::ArrowSchema,
            len: usize,
            out: *mut polars_arrow::ffi::ArrowSchema,
            kwargs: *const u8,
            kwargs_len: usize,
        ) {
            // SAFETY: handed on as they came.
            unsafe { $crate::expr::ffi::field::<$plugin>(schemas, len, (kwargs, kwargs_len), out) }
        }
    };
}
pub(super) use export;
