//! What every test is told: whom to compare with, and what the columns are called in errors.

use crate::engine::test::Test;
use crate::error::{Error, ErrorKind, quote};
use polars::prelude::*;
use serde::Deserialize;

/// A test, and whether it has AUROCs where it has none of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) test: Test,
    pub(super) auroc: bool,
}

/// The reference, and the columns' names: inside `group_by` Polars hands over unnamed ones.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Request {
    /// "text", "int" or "bool": the Python type of the label.
    reference_kind: String,
    /// The label as text.
    pub(super) reference: String,
    pub(super) value: String,
    pub(super) target: String,
    pub(super) count: String,
    /// Empty without strata.
    #[serde(default)]
    pub(super) strata: String,
}

const VALUES: &str = "an integer or float column of values";
const LABELS: &str = "a String, Categorical, Enum, Boolean or integer column of labels";
const COUNTS: &str = "a non-negative integer column of cell counts";

impl Request {
    /// True if every group is compared with all other rows.
    pub(super) fn is_rest(&self) -> bool {
        self.reference_kind == "text" && self.reference == "rest"
    }

    /// True if the label is the reference.
    pub(super) fn matches(&self, label: &AnyValue) -> bool {
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

    /// True if labels of this dtype can be the reference.
    pub(super) fn fits(&self, dtype: &DataType) -> bool {
        match self.reference_kind.as_str() {
            "bool" => dtype.is_bool(),
            "int" => dtype.is_integer(),
            _ => dtype.is_string() || dtype.is_categorical() || dtype.is_enum(),
        }
    }

    /// The reference as errors show it: text is quoted, numbers are not.
    pub(super) fn shown_reference(&self) -> String {
        match self.reference_kind.as_str() {
            "text" => quote(&self.reference),
            _ => self.reference.clone(),
        }
    }

    /// The error for the column of a role whose dtype cannot be used.
    pub(super) fn unsupported(&self, role: &str, dtype: &impl ToString) -> Error {
        let (column, expected) = match role {
            "value" => (&self.value, VALUES),
            "target" => (&self.target, LABELS),
            "strata" => (&self.strata, LABELS),
            _ => (&self.count, COUNTS),
        };
        let (column, dtype) = (column.clone(), dtype.to_string());
        ErrorKind::UnsupportedDtype { column, dtype, expected }.into()
    }
}
