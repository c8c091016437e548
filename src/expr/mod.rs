//! The Polars expressions: a plugin's functions over value, target and count columns.
//!
//! ```text
//! ffi        Polars' plugin interface: columns in, a column out, errors and panics caught
//! convert    Series to samples: dtypes, nulls, NaN, labels, weights
//! distinct   labels to numbers
//! output     results to a struct column
//! wilcoxon, anderson, ttest    their options, and the registered functions
//! ```
//!
//! Each function is called with the columns of one group in one struct: Polars calls functions of one
//! column from many threads at once under `group_by`, and they stay serial themselves.
//!
//! IMPORTS stats, engine, matrix, `crate::error`, polars.

// The registered functions own their keywords, whatever they do with them.
#![allow(clippy::needless_pass_by_value)]

mod anderson;
mod convert;
mod distinct;
mod ffi;
mod output;
mod ttest;
mod wilcoxon;

use crate::engine::question::Test;
use crate::error::Error;
use convert::Request;
use ffi::Inputs;
use polars::prelude::*;

fn polars_error(error: &Error) -> PolarsError {
    polars_err!(ComputeError: "{error}")
}

/// One test of the columns value, target and, where given, count and strata, all of one length.
fn evaluate(inputs: &Inputs, request: &Request, asked: Asked) -> PolarsResult<Series> {
    let groups = convert::Labels::new(inputs, request)?;
    convert::with_sample(inputs, &groups, asked, |rows| output::build(asked, &groups, rows))
}

/// A test, and whether it has AUROCs where it has none of its own.
#[derive(Debug, Clone, Copy)]
struct Asked {
    test: Test,
    auroc: bool,
}
