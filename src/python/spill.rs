//! Rows of a matrix that is read a range of cells after another, in a file until all are there.

use super::fold::folding;
use super::job::{Kept, design, kept_or};
use super::matrix::{IntoColumn, Matrix, Rows, Visitor};
use super::watch::watched;
use super::{borrowed, mismatch};
use crate::engine::design::Design;
use crate::engine::fold::{Fold, FoldRequest, Folding};
use crate::engine::plan::Limits;
use crate::engine::pool::Monitor;
use crate::matrix::View;
use crate::tables::spill::Spill as Spilled;
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::fs::File;
use std::path::PathBuf;

/// About how many rows are made at a time.
const ROWS: usize = 1 << 20;

/// Rows in a file, which is opened when this is made and may be unlinked then.
#[pyclass]
pub(super) struct Spill {
    rows: Spilled,
    /// Columns of the matrix, ascending.
    genes: Vec<u32>,
    cuts: Vec<usize>,
    n_groups: usize,
    threads: usize,
    /// The fold of the matrix's value type, and how a block of this type is read.
    fold: Option<Kept>,
    read: Option<ReadBlock>,
}

/// Reads a block, as parts of a table.
type ReadBlock = fn(&Spilled, Python, usize, usize) -> PyResult<Vec<Rows>>;

#[pymethods]
impl Spill {
    /// path: an empty file; genes: columns of the matrix, ascending; cuts: where blocks of these
    /// begin, and their number.
    #[new]
    fn new(
        path: PathBuf,
        genes: PyReadonlyArray1<u32>,
        cuts: Vec<usize>,
        n_groups: usize,
        threads: usize,
    ) -> PyResult<Self> {
        let genes = borrowed(&genes, "genes")?.to_vec();
        let whole = cuts.first() == Some(&0) && cuts.last() == Some(&genes.len());
        if !whole || !cuts.is_sorted_by(|a, b| a < b) || n_groups == 0 {
            return Err(mismatch(
                "genes of all blocks",
                genes.len(),
                cuts.last().copied().unwrap_or(0),
            ));
        }
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|e| PyOSError::new_err(format!("{}: {e}", path.display())))?;
        let spill = Spilled::new(file, cuts.clone());
        Ok(Self { rows: spill, genes, cuts, n_groups, threads, fold: None, read: None })
    }

    /// Adds some cells; codes: the number of each one's group, 2**32 - 1 for cells that are left out;
    /// fold: "values", or "cells" where hardly any cells would share a row.
    #[pyo3(signature = (matrix, codes, fold, progress=None))]
    fn add(
        &mut self,
        py: Python,
        matrix: &Matrix,
        codes: PyReadonlyArray1<u32>,
        fold: &str,
        progress: Option<&Bound<PyAny>>,
    ) -> PyResult<()> {
        let (design, folding) = (design(&codes, None, self.n_groups - 1, true)?, folding(fold)?);
        matrix.visit(py, Add { spill: self, py, design, folding, progress })
    }

    /// The rows of all cells for the genes of one block, as a table.
    fn read(&self, py: Python, block: usize) -> PyResult<Matrix> {
        let (Some(read), Some(bounds)) = (self.read, self.cuts.get(block..block + 2)) else {
            return Err(mismatch("blocks", self.cuts.len() - 1, block));
        };
        let parts = read(&self.rows, py, block, self.threads)?;
        Matrix::of_parts(py, (self.n_groups, bounds[1] - bounds[0]), parts)
    }

    /// The number of bytes in the file.
    #[getter]
    fn bytes(&self) -> u64 {
        self.rows.bytes()
    }
}

struct Add<'a, 'py> {
    spill: &'a mut Spill,
    py: Python<'py>,
    design: Design,
    folding: Folding,
    progress: Option<&'a Bound<'py, PyAny>>,
}

impl Visitor for Add<'_, '_> {
    type Output = ();

    fn visit<V: IntoColumn>(self, view: &View<V>) -> PyResult<()> {
        let Self { spill: kept, py, design, folding, progress } = self;
        let monitor = Monitor::default();
        let request = FoldRequest {
            design: &design,
            genes: &kept.genes,
            folding,
            zeros: false,
            rows: ROWS,
            refuses_nan: true,
            limits: Limits::default(),
            monitor: &monitor,
        };
        let (spill, threads) = (&mut kept.rows, kept.threads);
        let fold = kept_or(&mut kept.fold, || Fold::<V>::new(threads))?;
        kept.read = Some(read::<V>);
        watched(py, threads, progress, &monitor, || spill.add(view, fold, &request))
    }
}

fn read<V: IntoColumn>(
    spill: &Spilled,
    py: Python,
    block: usize,
    threads: usize,
) -> PyResult<Vec<Rows>> {
    let parts = watched(py, threads, None, &Monitor::default(), || spill.read::<V>(block))?;
    let rows = |(first, part)| Rows::of(py, first, part);
    Ok(parts.into_iter().map(rows).collect())
}
