//! `pdex.wilcoxon`: the Wilcoxon rank-sum test as an expression.

use super::convert::Request;
use super::ffi::{Inputs, Plugin, export};
use super::{Asked, evaluate, output, polars_error};
use crate::engine::question::Test;
use crate::error::Error;
use crate::stats::wilcoxon::Options;
use polars::prelude::*;
use serde::Deserialize;

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

    fn asked(&self) -> PolarsResult<Asked> {
        let test = self.test().map_err(|e| polars_error(&e))?;
        Ok(Asked { test, auroc: false })
    }
}

impl Plugin for Kwargs {
    fn request(&self) -> &Request {
        &self.request
    }

    fn call(self, inputs: Inputs) -> PolarsResult<Series> {
        evaluate(&inputs, &self.request, self.asked()?)
    }

    fn field(&self, inputs: &[Field]) -> PolarsResult<Field> {
        output::field(self.asked()?, inputs)
    }
}

export!(Kwargs, _polars_plugin_wilcoxon, _polars_plugin_field_wilcoxon);
