//! `pdex.ks`: the two-sample Kolmogorov-Smirnov test as an expression.

use super::expression::{Kwargs, Options};
use super::ffi::entry_points;
use crate::engine::test::Test;
use crate::error::Result;
use crate::stats::ks;
use serde::Deserialize;

#[derive(Deserialize)]
struct Ks {
    alternative: String,
    method: String,
}

impl Options for Ks {
    fn test(&self) -> Result<Test> {
        let (alternative, method) = (self.alternative.parse()?, self.method.parse()?);
        Ok(Test::Ks(ks::Options { alternative, method }))
    }
}

entry_points!(Kwargs<Ks>, _polars_plugin_ks, _polars_plugin_field_ks);
