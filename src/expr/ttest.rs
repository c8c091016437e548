//! `pdex.ttest`: the t-test as an expression.

use super::expression::{Kwargs, Options};
use super::ffi::entry_points;
use crate::engine::test::Test;
use crate::error::Result;
use crate::stats::ttest::{self, Variance};
use serde::Deserialize;

#[derive(Deserialize)]
struct TTest {
    alternative: String,
    equal_var: bool,
    method: String,
}

impl Options for TTest {
    fn test(&self) -> Result<Test> {
        let (alternative, variance) = (self.alternative.parse()?, Variance::of(self.equal_var));
        let method = self.method.parse()?;
        Ok(Test::TTest(ttest::Options { alternative, variance, method }.check()?))
    }
}

entry_points!(Kwargs<TTest>, _polars_plugin_ttest, _polars_plugin_field_ttest);
