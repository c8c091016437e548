//! The columns of one call, flat, and which rows each list holds.
//!
//! Polars hands over the groups of a `group_by` as lists, many in one call, and a whole frame as a
//! single list. Here lists become places among the rows of flat columns, so that whatever belongs to a
//! column is done once for all of them.

use polars::prelude::*;
use polars_arrow::array::{Array, BooleanArray, ListArray, StructArray, new_empty_array};
use polars_arrow::datatypes::{ArrowDataType, Field as ArrowField};
use std::ops::Range;

/// One column: its name (a role, such as "value") and dtype, and its chunks.
pub(super) struct Column {
    pub(super) field: ArrowField,
    pub(super) chunks: Vec<Box<dyn Array>>,
}

/// One list: a group of a `group_by`, or a whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    /// Its rows in the flat columns; none where the list is null.
    pub(super) rows: Range<usize>,
    /// True for a group of a `group_by`, where a sample may be empty.
    pub(super) in_group: bool,
    pub(super) is_null: bool,
}

/// The columns of one call, all of one length, and the lists of their rows.
pub(super) struct Columns {
    by_role: Vec<Column>,
    /// What one of several columns of values is called; unknown inside a `group_by`.
    pub(super) values_name: Option<String>,
    pub(super) lists: Vec<List>,
}

const EXPECTED: &str =
    "expected lists of structs, or of values and of structs, and a flag for each";

impl Columns {
    /// The columns of a call from its arguments: lists of structs, or lists of values before those of
    /// the other columns; last a flag for each list, true if it is a group of a `group_by`.
    ///
    /// # Errors
    /// Arguments of other numbers, dtypes or lengths.
    pub(super) fn new(mut arguments: Vec<Column>) -> PolarsResult<Self> {
        let (flags, others) = (arguments.pop(), arguments.pop());
        let (Some(flags), Some(others), None | Some(0)) =
            (flags, others, arguments.len().checked_sub(1))
        else {
            polars_bail!(ComputeError: "{EXPECTED}");
        };
        let (rows, mut lists) = flatten(&others)?;
        let mut columns = columns_of(&rows)?;
        let mut values_name = None;
        if let Some(named) = arguments.pop() {
            polars_ensure!(no_values(columns.iter().map(|c| &c.field)), ComputeError: "{EXPECTED}");
            let (mut values, of_values) = flatten(&named)?;
            polars_ensure!(
                of_values == lists, ShapeMismatch: "the columns of a test differ in length"
            );
            values.field.name = "value".into();
            values_name = Some(named.field.name.to_string()).filter(|name| !name.is_empty());
            columns.push(values);
        }
        mark_groups(&mut lists, &flags_of(&flags)?)?;
        Ok(Self { by_role: columns, values_name, lists })
    }

    /// Takes the column of a role, where there is one.
    pub(super) fn take(&mut self, role: &str) -> Option<Column> {
        let place = self.by_role.iter().position(|column| column.field.name == role)?;
        Some(self.by_role.swap_remove(place))
    }

    /// Takes the column of a role.
    pub(super) fn expect(&mut self, role: &str) -> PolarsResult<Column> {
        self.take(role).ok_or_else(|| polars_err!(ComputeError: "the column {role} is missing"))
    }
}

/// The fields of a call: as [`Columns::new`].
pub(super) fn fields_of(arguments: &[ArrowField]) -> PolarsResult<Vec<Field>> {
    let (values, others) = match arguments {
        [others, _] => (None, others),
        [values, others, _] => (Some(values), others),
        _ => polars_bail!(ComputeError: "{EXPECTED}"),
    };
    let others = struct_fields(item(others)?)?;
    polars_ensure!(values.is_none() || no_values(others.iter()), ComputeError: "{EXPECTED}");
    let values = values.map(item).transpose()?;
    let values = values.map(|field| Field::from(field).with_name("value".into()));
    Ok(values.into_iter().chain(others.iter().map(Field::from)).collect())
}

fn no_values<'a>(mut fields: impl Iterator<Item = &'a ArrowField>) -> bool {
    fields.all(|field| field.name != "value")
}

/// The field of the items of lists.
fn item(field: &ArrowField) -> PolarsResult<&ArrowField> {
    match &field.dtype {
        ArrowDataType::LargeList(item) => Ok(item),
        dtype => polars_bail!(ComputeError: "{EXPECTED}, got {dtype:?}"),
    }
}

fn struct_fields(field: &ArrowField) -> PolarsResult<&[ArrowField]> {
    match &field.dtype {
        ArrowDataType::Struct(fields) => Ok(fields),
        dtype => polars_bail!(ComputeError: "{EXPECTED}, got lists of {dtype:?}"),
    }
}

/// The items of all lists as one column, and the rows of each list.
fn flatten(column: &Column) -> PolarsResult<(Column, Vec<List>)> {
    let field = item(&column.field)?.clone();
    let (mut chunks, mut lists, mut rows) = (Vec::new(), Vec::new(), 0);
    for chunk in &column.chunks {
        let Some(chunk) = chunk.as_any().downcast_ref::<ListArray<i64>>() else {
            polars_bail!(ComputeError: "{EXPECTED}, got {:?}", chunk.dtype());
        };
        let offsets = chunk.offsets();
        // A slice of lists still has the items of all, from its first offset on.
        let first = if chunk.is_empty() { 0 } else { offsets.start_end(0).0 };
        let start = rows;
        for (place, length) in offsets.lengths().enumerate() {
            let (begin, is_null) = (rows, chunk.is_null(place));
            rows += length;
            let rows = begin..if is_null { begin } else { rows };
            lists.push(List { rows, in_group: false, is_null });
        }
        chunks.push(chunk.values().sliced(first, rows - start));
    }
    if chunks.is_empty() {
        chunks.push(new_empty_array(field.dtype.clone()));
    }
    Ok((Column { field, chunks }, lists))
}

/// The columns of a column of structs.
fn columns_of(rows: &Column) -> PolarsResult<Vec<Column>> {
    let named = struct_fields(&rows.field)?.iter();
    let mut columns: Vec<Column> =
        named.map(|field| Column { field: field.clone(), chunks: Vec::new() }).collect();
    for chunk in &rows.chunks {
        let Some(chunk) = chunk.as_any().downcast_ref::<StructArray>() else {
            polars_bail!(ComputeError: "{EXPECTED}, got lists of {:?}", chunk.dtype());
        };
        for (column, values) in columns.iter_mut().zip(chunk.values()) {
            column.chunks.push(values.clone());
        }
    }
    Ok(columns)
}

fn flags_of(flags: &Column) -> PolarsResult<Vec<bool>> {
    let mut all = Vec::new();
    for chunk in &flags.chunks {
        let Some(chunk) = chunk.as_any().downcast_ref::<BooleanArray>() else {
            polars_bail!(ComputeError: "{EXPECTED}, got {:?}", chunk.dtype());
        };
        all.extend(chunk.values_iter());
    }
    Ok(all)
}

/// Notes which lists are groups; one list, or one flag, stands for as many as there are of the other.
fn mark_groups(lists: &mut Vec<List>, flags: &[bool]) -> PolarsResult<()> {
    if let [list] = &lists[..] {
        *lists = vec![list.clone(); flags.len()];
    }
    if let [flag] = flags {
        for list in lists {
            list.in_group = *flag;
        }
        return Ok(());
    }
    polars_ensure!(lists.len() == flags.len(), ComputeError: "{EXPECTED}");
    for (list, flag) in lists.iter_mut().zip(flags) {
        list.in_group = *flag;
    }
    Ok(())
}
