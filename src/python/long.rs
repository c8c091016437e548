//! The values of some genes in long format, as Polars columns.

use super::borrowed;
use super::job::design;
use super::matrix::{IntoColumn, Matrix, Visitor};
use super::watch::watched;
use crate::engine::design::Design;
use crate::engine::long::long as long_frame;
use crate::engine::pool::Monitor;
use crate::matrix::View;
use numpy::PyReadonlyArray1;
use polars::prelude::*;
use pyo3::prelude::*;
use pyo3_polars::PySeries;

struct Melt<'a, 'py> {
    py: Python<'py>,
    design: Design,
    genes: &'a [u32],
    zero_rows: bool,
    threads: usize,
}

impl Visitor for Melt<'_, '_> {
    type Output = Vec<PySeries>;

    fn visit<V: IntoColumn>(self, view: &View<V>) -> PyResult<Vec<PySeries>> {
        let monitor = Monitor::default();
        let mut long = watched(self.py, self.threads, None, &monitor, || {
            long_frame(view, &self.design, self.genes, self.zero_rows, &monitor)
        })?;
        long.target.iter_mut().for_each(|code| *code -= 1);
        let whole = |name: &str, values| {
            PySeries(UInt32Chunked::from_vec(name.into(), values).into_series())
        };
        Ok(vec![
            whole("gene", long.gene),
            whole("target", long.target),
            PySeries(V::column(long.value)),
            whole("count", long.count),
        ])
    }
}

/// The values of some genes in long format: columns gene (index in `genes`), target (code - 1),
/// value and count.
#[pyfunction]
pub(super) fn long(
    py: Python,
    matrix: &Matrix,
    codes: PyReadonlyArray1<u32>,
    n_groups: usize,
    genes: PyReadonlyArray1<u32>,
    zero_rows: bool,
    threads: usize,
) -> PyResult<Vec<PySeries>> {
    let design = design(&codes, n_groups, true)?;
    let genes = borrowed(&genes, "genes")?;
    matrix.visit(py, Melt { py, design, genes, zero_rows, threads })
}
