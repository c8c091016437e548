//! The Polars expressions: a plugin's functions over columns of values, labels, counts and strata.
//!
//! ```text
//! wilcoxon, anderson, ttest, ks    the options of a test, and its entry points
//! expression                   any test: keywords and lists of rows in, lists of structs out
//! ffi                          Polars' plugin interface: columns owned, errors and panics caught
//! convert                      the lists of a call, shared out among threads
//!   lists                        the flat columns by role, and the rows of each list
//!   labels, distinct             columns of labels to numbers in order
//!   values                       values and counts of any dtype
//!   groups, cells                one list: its groups and strata, its samples; asks the engine
//! output                       the engine's answers to a column
//! request, threads             what every test is told: the reference, and the columns' names
//! ```
//! Data flow ffi -> convert -> engine -> output, driven by `expression`; nothing imports what comes
//! before it. A test is one file of options here, and one line below.
//!
//! # What is called how
//! `python/pdex/_expressions.py` makes of each argument a list, which holds a group of a `group_by` or a
//! whole frame (`implode`), and explodes the list of structs that comes back. As far as Polars knows a
//! test is a function of each row of a column of lists: so one call has the lists of many groups, all of
//! them or (of a sorted frame, streaming) those of some stretch of rows, instead of one call for each
//! group, which would cost more than its test. Lists are shared out among the threads of the engine's
//! pool.
//!
//! A flag goes along with each list, true for a group: these may lack the reference. It comes from
//! `_polars_plugin_in_group`, which is no function of each row, so that Polars calls it for each group.
//!
//! IMPORTS stats, engine, matrix, `crate::{cast, error, suggest}`, polars.

mod cells;
mod convert;
mod distinct;
mod expression;
mod ffi;
mod groups;
mod labels;
mod lists;
mod output;
mod request;
mod threads;
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
