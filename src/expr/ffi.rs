//! Polars' plugin interface: columns come in and a column goes out, by the C interface of Arrow.
//!
//! This file knows nothing of tests: it makes a [`Function`] of the keywords that Python gave, calls it
//! with the columns by role, and hands the result back. The interface is `polars_ffi::version_0`.
//!
//! | what Polars passes | who releases it |
//! |---|---|
//! | exported columns and their arrays | the plugin: Polars forgets them, even where the call fails |
//! | schemas, keywords | Polars |
//! | the place for the result | Polars; it stays empty where the call fails |
//!
//! So the exports are owned before anything can fail. Errors and panics end here: their message goes
//! where Polars looks for it after the call.
//!
//! `pyo3_polars`' own macro is not used: it looks up the label of every row of a categorical column in
//! a hash table, which costs more than the tests, and it builds Polars' whole query engine. Here a
//! column stays what it is in Arrow (a categorical: codes and a dictionary) until `convert` takes it.

#![allow(unsafe_code)]

use super::lists::{Column, Columns, fields_of};
use polars::prelude::*;
use polars_arrow::datatypes::{ArrowDataType, Field as ArrowField};
use polars_arrow::ffi::{self, ArrowArray, ArrowSchema};
use polars_ffi::version_0::{CallerContext, SeriesExport, export_series};
use serde::de::DeserializeOwned;
use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char, c_void};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

/// A function of the plugin, made of the keywords of a call.
pub(super) trait Function: DeserializeOwned {
    /// The result of one call.
    fn call(self, columns: Columns) -> PolarsResult<Series>;
    /// The name and dtype of the result, from those of the columns.
    fn field(&self, columns: &[Field]) -> PolarsResult<Field>;
}

/// The fields of [`SeriesExport`], which keeps them private; both are `repr(C)`.
#[repr(C)]
struct Mirror {
    field: *const ArrowSchema,
    arrays: *const *const ArrowArray,
    len: usize,
    release: Option<unsafe extern "C" fn(*mut SeriesExport)>,
    private_data: *const c_void,
}

const _: () = assert!(size_of::<Mirror>() == size_of::<SeriesExport>());
const _: () = assert!(align_of::<Mirror>() == align_of::<SeriesExport>());

impl Mirror {
    fn of(export: &SeriesExport) -> &Self {
        // SAFETY: both types are `repr(C)` with the same fields in the same order; pdex_check_mirror
        // reads each of them.
        unsafe { &*ptr::from_ref(export).cast::<Self>() }
    }
}

/// An exported column, owned: the arrays, which the export does not release, and the export.
struct Owned {
    arrays: Vec<ArrowArray>,
    export: SeriesExport,
}

impl Owned {
    /// # Safety
    /// `export` points to a valid export, which nobody else reads or releases afterwards.
    unsafe fn take(export: *const SeriesExport) -> Self {
        // SAFETY: the copy is the only one that is used.
        let export = unsafe { ptr::read(export) };
        let mirror = Mirror::of(&export);
        // SAFETY: `arrays` holds `len` pointers to arrays, which the export does not release.
        let read = |i| unsafe { ptr::read(*mirror.arrays.add(i)) };
        Self { arrays: (0..mirror.len).map(read).collect(), export }
    }

    /// The exported column.
    fn into_column(self) -> PolarsResult<Column> {
        let field = self.field()?;
        let dtype = &field.dtype;
        // SAFETY: the arrays belong to the schema.
        let import = |array| unsafe { ffi::import_array_from_c(array, dtype.clone()) };
        let chunks = self.arrays.into_iter().map(import).collect::<PolarsResult<_>>()?;
        Ok(Column { field, chunks })
    }

    /// The column's name and dtype.
    fn field(&self) -> PolarsResult<ArrowField> {
        // SAFETY: a valid export points to a valid schema, which lives as long as the export.
        unsafe { ffi::import_field_from_c(&*Mirror::of(&self.export).field) }
    }
}

/// The function that the keywords of a call make.
///
/// # Safety
/// `kwargs` is null or points to `len` bytes.
unsafe fn function<F: Function>(kwargs: *const u8, len: usize) -> PolarsResult<F> {
    polars_ensure!(!kwargs.is_null(), ComputeError: "a call of the plugin without keywords");
    // SAFETY: as said above.
    let kwargs = unsafe { slice::from_raw_parts(kwargs, len) };
    serde_pickle::from_slice(kwargs, serde_pickle::DeOptions::default())
        .map_err(|e| polars_err!(ComputeError: "the keywords of the plugin: {e}"))
}

/// The columns of a call, owned.
///
/// # Safety
/// `exports` holds `len` valid exports, which nobody else reads or releases afterwards.
unsafe fn take_all(exports: *const SeriesExport, len: usize) -> Vec<Owned> {
    // SAFETY: as said above.
    let take = |i| unsafe { Owned::take(exports.add(i)) };
    (0..len).map(take).collect()
}

/// The body of `_polars_plugin_<name>`.
///
/// # Safety
/// The arguments are those of Polars' plugin interface, version 0.
pub(super) unsafe fn call<F: Function>(
    exports: *const SeriesExport,
    len: usize,
    (kwargs, kwargs_len): (*const u8, usize),
    out: *mut SeriesExport,
) {
    let body = || {
        // SAFETY: as they came.
        let owned = unsafe { take_all(exports, len) };
        // SAFETY: as they came.
        let function: F = unsafe { function(kwargs, kwargs_len)? };
        let arguments = owned.into_iter().map(Owned::into_column).collect::<PolarsResult<_>>()?;
        Ok(export_series(&function.call(Columns::new(arguments)?)?))
    };
    // SAFETY: `out` is Polars' place for one export, empty so far.
    guarded(body, |result| unsafe { *out = result });
}

/// The body of `_polars_plugin_field_<name>`.
///
/// # Safety
/// The arguments are those of Polars' plugin interface, version 0.
pub(super) unsafe fn field<F: Function>(
    schemas: *const ArrowSchema,
    len: usize,
    (kwargs, kwargs_len): (*const u8, usize),
    out: *mut ArrowSchema,
) {
    let body = || {
        // SAFETY: as they came.
        let function: F = unsafe { function(kwargs, kwargs_len)? };
        // SAFETY: `schemas` holds `len` valid schemas.
        let import = |i| unsafe { ffi::import_field_from_c(&*schemas.add(i)) };
        let fields = (0..len).map(import).collect::<PolarsResult<Vec<_>>>()?;
        let field = function.field(&fields_of(&fields)?)?;
        Ok(ffi::export_field_to_c(&field.to_arrow(CompatLevel::newest())))
    };
    // SAFETY: `out` is Polars' place for one schema, empty so far.
    guarded(body, |schema| unsafe { *out = schema });
}

/// Of one column, whether Polars hands it over as that of a group of a `group_by`: these have no name,
/// others have one. Polars calls this function once for each group, and tests once for many groups,
/// which all have a name; so tests take its result as a column.
///
/// # Safety
/// Called by Polars only, through its plugin interface.
#[unsafe(no_mangle)]
unsafe extern "C" fn _polars_plugin_in_group(
    exports: *const SeriesExport,
    len: usize,
    _kwargs: *const u8,
    _kwargs_len: usize,
    out: *mut SeriesExport,
    _context: *const CallerContext,
) {
    let body = || {
        // SAFETY: as they came.
        let owned = unsafe { take_all(exports, len) };
        let [column] = &owned[..] else {
            polars_bail!(ComputeError: "expected one column");
        };
        let field = column.field()?;
        let in_group = field.name.is_empty();
        Ok(export_series(&Series::new(field.name, [in_group])))
    };
    // SAFETY: `out` is Polars' place for one export, empty so far.
    guarded(body, |result| unsafe { *out = result });
}

/// The name and dtype of the result of [`_polars_plugin_in_group`].
///
/// # Safety
/// Called by Polars only, through its plugin interface.
#[unsafe(no_mangle)]
unsafe extern "C" fn _polars_plugin_field_in_group(
    schemas: *const ArrowSchema,
    len: usize,
    out: *mut ArrowSchema,
    _kwargs: *const u8,
    _kwargs_len: usize,
) {
    let body = || {
        polars_ensure!(len == 1, ComputeError: "expected one column");
        // SAFETY: `schemas` holds one valid schema.
        let field = unsafe { ffi::import_field_from_c(&*schemas)? };
        let field = Field::new(field.name, DataType::Boolean);
        Ok(ffi::export_field_to_c(&field.to_arrow(CompatLevel::newest())))
    };
    // SAFETY: `out` is Polars' place for one schema, empty so far.
    guarded(body, |schema| unsafe { *out = schema });
}

thread_local! {
    /// The message of this thread's last error.
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Runs `body`; its value goes to `write`, its error or panic where Polars looks for it.
fn guarded<T>(body: impl FnOnce() -> PolarsResult<T>, write: impl FnOnce(T)) {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => write(value),
        Ok(Err(error)) => set_last_error(&error.to_string()),
        Err(cause) => set_last_error(&panic_message(&*cause)),
    }
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

/// The message of this thread's last error.
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

/// Reads every field of an exported column through [`Mirror`]; a message where one is not what it
/// should be, else null. tests/io/test_plugin_interface.py calls it: a test that links Polars itself
/// would build all of it once more.
#[unsafe(no_mangle)]
extern "C" fn _pdex_check_mirror() -> *const c_char {
    match mirror_complaint() {
        None => ptr::null(),
        Some(complaint) => {
            set_last_error(complaint);
            LAST_ERROR.with_borrow(|message| message.as_ptr())
        }
    }
}

/// The field that [`Mirror`] does not read as it is.
fn mirror_complaint() -> Option<&'static str> {
    let mut column = Series::new("first".into(), [1_i32, 2]);
    column.append(&Series::new("second".into(), [3_i32])).ok()?;
    let exports = [export_series(&column), export_series(&column)];
    let [a, b] = exports.each_ref().map(Mirror::of);
    // SAFETY: a valid export points to a valid schema.
    let field = unsafe { ffi::import_field_from_c(&*a.field) };
    // One function releases both exports, each with data of its own.
    let address = |mirror: &Mirror| mirror.release.map(|release| release as usize);
    let wrong = [
        ("field", field.ok() != Some(column.field().to_arrow(CompatLevel::newest()))),
        ("len", a.len != 2),
        ("release", address(a).is_none() || address(a) != address(b)),
        ("private_data", a.private_data.is_null() || a.private_data == b.private_data),
    ];
    if let Some((name, _)) = wrong.into_iter().find(|(_, wrong)| *wrong) {
        return Some(name);
    }
    let [mut owned, _] = exports.map(|export| {
        let export = ManuallyDrop::new(export);
        // SAFETY: the export is valid, and forgotten.
        unsafe { Owned::take(&raw const *export) }
    });
    // SAFETY: the arrays belong to a column of this dtype.
    let import = |array| unsafe { ffi::import_array_from_c(array, ArrowDataType::Int32) };
    let arrays = owned.arrays.drain(..).map(import);
    let lengths: Vec<usize> = arrays.map(|array| array.map_or(0, |array| array.len())).collect();
    if lengths != [2, 1] {
        return Some("arrays");
    }
    let release = Mirror::of(&owned.export).release?;
    // SAFETY: its own function releases the export; afterwards its drop does nothing.
    unsafe { release(&raw mut owned.export) };
    Mirror::of(&owned.export).release.is_some().then_some("release")
}

/// Exports the entry points of a [`Function`] under the names that Polars looks up.
macro_rules! entry_points {
    ($function:ty, $call:ident, $field:ident) => {
        /// # Safety
        /// Called by Polars only, through its plugin interface.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $call(
            exports: *const polars_ffi::version_0::SeriesExport,
            len: usize,
            kwargs: *const u8,
            kwargs_len: usize,
            out: *mut polars_ffi::version_0::SeriesExport,
            _context: *const polars_ffi::version_0::CallerContext,
        ) {
            // SAFETY: handed on as they came.
            unsafe { $crate::expr::ffi::call::<$function>(exports, len, (kwargs, kwargs_len), out) }
        }

        /// # Safety
        /// Called by Polars only, through its plugin interface.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $field(
            schemas: *const polars_arrow::ffi::ArrowSchema,
            len: usize,
            out: *mut polars_arrow::ffi::ArrowSchema,
            kwargs: *const u8,
            kwargs_len: usize,
        ) {
            // SAFETY: handed on as they came.
            unsafe {
                $crate::expr::ffi::field::<$function>(schemas, len, (kwargs, kwargs_len), out)
            }
        }
    };
}
pub(super) use entry_points;
