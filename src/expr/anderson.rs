//! `pdex.anderson`: the two-sample Anderson-Darling test as an expression.

use super::expression::{Kwargs, Options};
use super::ffi::entry_points;
use crate::engine::test::Test;
use crate::error::Result;
use crate::stats::anderson;
use serde::Deserialize;

#[derive(Deserialize)]
struct Anderson {
    midrank: bool,
    method: String,
}

impl Options for Anderson {
    fn test(&self) -> Result<Test> {
        let (midrank, method) = (self.midrank, self.method.parse()?);
        Ok(Test::Anderson(anderson::Options { midrank, method }))
    }
}

entry_points!(Kwargs<Anderson>, _polars_plugin_anderson, _polars_plugin_field_anderson);
