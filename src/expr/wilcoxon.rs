//! `pdex.wilcoxon`: the Wilcoxon rank-sum test as an expression.

use super::expression::{Kwargs, Options};
use super::ffi::entry_points;
use crate::engine::test::Test;
use crate::error::Result;
use crate::stats::wilcoxon;
use serde::Deserialize;

#[derive(Deserialize)]
struct Wilcoxon {
    alternative: String,
    method: String,
    continuity: bool,
    tie_correct: bool,
}

impl Options for Wilcoxon {
    fn test(&self) -> Result<Test> {
        Ok(Test::Wilcoxon(wilcoxon::Options {
            alternative: self.alternative.parse()?,
            method: self.method.parse()?,
            continuity: self.continuity,
            tie_correct: self.tie_correct,
        }))
    }
}

entry_points!(Kwargs<Wilcoxon>, _polars_plugin_wilcoxon, _polars_plugin_field_wilcoxon);
