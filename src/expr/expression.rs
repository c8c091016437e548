//! Any test as an expression.

use super::ffi::Function;
use super::lists::Columns;
use super::request::{Plan, Request};
use super::{convert, output};
use crate::engine::test::Test;
use crate::error::Result;
use polars::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The options of one test, as the Python function names them.
pub(super) trait Options: DeserializeOwned {
    /// The engine's test.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::UnknownOption`].
    fn test(&self) -> Result<Test>;
}

/// The keywords of a call.
#[derive(Deserialize)]
pub(super) struct Kwargs<O> {
    request: Request,
    /// Whether a test that does not rank has AUROCs as well.
    #[serde(default)]
    auroc: bool,
    #[serde(flatten)]
    options: O,
}

impl<O: Options> Kwargs<O> {
    fn plan(&self) -> Result<Plan> {
        Ok(Plan { test: self.options.test()?, auroc: self.auroc })
    }
}

impl<O: Options> Function for Kwargs<O> {
    fn call(mut self, mut columns: Columns) -> PolarsResult<Series> {
        let plan = self.plan()?;
        // Of several columns of values, Python knows no single name.
        if let Some(name) = columns.values_name.take() {
            self.request.value = name;
        }
        convert::compare(columns, &self.request, plan)?.into_column()
    }

    fn field(&self, columns: &[Field]) -> PolarsResult<Field> {
        output::field(self.plan()?, columns)
    }
}
