//! The Polars expressions: a plugin's functions over columns of values, labels, counts and strata.
//!
//! ```text
//! wilcoxon, anderson, ttest, ks    the options of a test, and its entry points
//! expression                   any test: keywords and columns in, a struct column out
//! ffi                          Polars' plugin interface: columns by role, errors and panics caught
//! convert                      rows to samples; asks the engine
//!   groups, labels, distinct     labels to groups and strata
//!   values                       values and counts of any dtype
//! output                       the engine's answers to a struct column
//! request                      what every test is told: the reference, and the columns' names
//! ```
//! Data flow ffi -> convert -> engine -> output, driven by `expression`; nothing imports what comes
//! before it. A test is one file of options here, and one line below.
//!
//! Each function is called with the columns of one group in one struct: Polars calls functions of one
//! column from many threads at once under `group_by`, and they stay serial themselves.
//!
//! IMPORTS stats, engine, matrix, `crate::{cast, error, suggest}`, polars.

mod convert;
mod distinct;
mod expression;
mod ffi;
mod groups;
mod labels;
mod output;
mod request;
mod values;

mod anderson;
mod ks;
mod ttest;
mod wilcoxon;

use crate::error::{Error, ErrorKind};
use polars::prelude::{PolarsError, polars_err};

impl From<Error> for PolarsError {
    fn from(error: Error) -> Self {
        polars_err!(ComputeError: "{error:#}")
    }
}

impl From<ErrorKind> for PolarsError {
    fn from(kind: ErrorKind) -> Self {
        Error::from(kind).into()
    }
}
