//! `pdex.wilcoxon`: the Wilcoxon rank-sum test as an expression.

use super::convert::Request;
use super::ffi::{Inputs, Plugin, export};
use super::{evaluate, output, polars_error};
use crate::engine::question::Test;
use crate::error::Error;
use crate::stats::wilcoxon::Options;
use polars::prelude::*;
use serde::Deserialize;

const NAME: &str = "wilcoxon";
const EXTRAS: [&str; 2] = ["z_score", "auroc"];

/// The keywords of the Python function.
#[derive(Deserialize)]
struct Kwargs {
    request: Request,
    alternative: String,
    method: String,
    continuity: bool,
    tie_correct: bool,
}

impl Kwargs {
    fn test(&self) -> Result<Test, Error> {
        Ok(Test::Wilcoxon(Options {
            alternative: self.alternative.parse()?,
            method: self.method.parse()?,
            continuity: self.continuity,
            tie_correct: self.tie_correct,
        }))
    }
}

impl Plugin for Kwargs {
    fn request(&self) -> &Request {
        &self.request
    }

    fn call(self, inputs: Inputs) -> PolarsResult<Series> {
        let test = self.test().map_err(|e| polars_error(&e))?;
        evaluate(NAME, &EXTRAS, &inputs, &self.request, test)
    }

    fn field(inputs: &[Field]) -> PolarsResult<Field> {
        output::field(NAME, &EXTRAS, inputs)
    }
}

export!(Kwargs, _polars_plugin_wilcoxon, _polars_plugin_field_wilcoxon);
