//! The genes of a matrix folded to rows of a count table, as Polars columns.

use super::job::{Kept, design, kept_or};
use super::matrix::{IntoColumn, Matrix, Visitor};
use super::watch::watched;
use super::{borrowed, mismatch};
use crate::engine::design::Design;
use crate::engine::fold::rows::Rows;
use crate::engine::fold::{Fold as Folded, FoldRequest, Folding};
use crate::engine::plan::Limits;
use crate::engine::pool::Monitor;
use crate::matrix::View;
use crate::stats::unknown;
use numpy::PyReadonlyArray1;
use polars::prelude::*;
use pyo3::prelude::*;
use pyo3_polars::PySeries;
use rayon::prelude::*;

/// The rows of one matrix, or of one piece of it, some genes after the other.
#[pyclass]
pub(super) struct Fold {
    design: Design,
    genes: Vec<u32>,
    /// What these are called in the rows.
    numbers: Vec<u32>,
    folding: Folding,
    zeros: bool,
    threads: usize,
    refuses_nan: bool,
    /// How far the fold is: a [`Folded`] of the matrix's value type.
    state: Option<Kept>,
    /// Genes done.
    done: usize,
}

#[pymethods]
impl Fold {
    /// codes: the number of each cell's group, 2**32 - 1 for cells that are left out; genes: columns
    /// of the matrix, ascending; numbers: what they are called in the rows; fold: "sorted", "values", "zeros" or
    /// "cells"; zeros: whether these have rows; nan: whether NaN becomes a row (else it is an error);
    /// cells: where each code stands for a group of cells, their numbers of cells.
    #[new]
    #[pyo3(signature = (codes, n_groups, genes, numbers, fold, zeros, nan, threads, cells=None))]
    #[allow(clippy::too_many_arguments)] // of Python, by position
    fn new(
        codes: PyReadonlyArray1<u32>,
        n_groups: usize,
        genes: PyReadonlyArray1<u32>,
        numbers: PyReadonlyArray1<u32>,
        fold: &str,
        zeros: bool,
        nan: bool,
        threads: usize,
        cells: Option<PyReadonlyArray1<u64>>,
    ) -> PyResult<Self> {
        if n_groups == 0 {
            return Err(mismatch("groups", 1, 0));
        }
        let genes = borrowed(&genes, "genes")?.to_vec();
        let numbers = borrowed(&numbers, "numbers")?.to_vec();
        if genes.len() != numbers.len() {
            return Err(mismatch("numbers of genes", genes.len(), numbers.len()));
        }
        Ok(Self {
            design: design(&codes, cells.as_ref(), n_groups - 1, true)?,
            genes,
            numbers,
            folding: folding(fold)?,
            zeros,
            threads,
            refuses_nan: !nan,
            state: None,
            done: 0,
        })
    }

    /// About `rows` rows of the next genes: for each of some parts the columns gene (its number),
    /// group, value and count. None after the last gene. Each call gets the same
    /// matrix.
    fn next(
        &mut self,
        py: Python,
        matrix: &Matrix,
        rows: usize,
    ) -> PyResult<Option<Vec<Vec<PySeries>>>> {
        matrix.visit(py, Next { fold: self, py, rows })
    }
}

pub(super) fn folding(name: &str) -> PyResult<Folding> {
    Ok(match name {
        "sorted" => Folding::Sorted,
        "values" => Folding::Values,
        "zeros" => Folding::Zeros,
        "cells" => Folding::Cells,
        _ => {
            let valid = &["sorted", "values", "zeros", "cells"];
            return Err(unknown("fold", name, valid).into());
        }
    })
}

struct Next<'a, 'py> {
    fold: &'a mut Fold,
    py: Python<'py>,
    rows: usize,
}

impl Visitor for Next<'_, '_> {
    type Output = Option<Vec<Vec<PySeries>>>;

    fn visit<V: IntoColumn>(self, view: &View<V>) -> PyResult<Self::Output> {
        let Fold { design, genes, numbers, folding, zeros, threads, refuses_nan, state, done } =
            self.fold;
        let monitor = Monitor::default();
        let request = FoldRequest {
            design,
            genes,
            folding: *folding,
            zeros: *zeros,
            rows: self.rows,
            refuses_nan: *refuses_nan,
            limits: Limits::default(),
            monitor: &monitor,
        };
        let state = kept_or(state, || Folded::<V>::new(*threads))?;
        let made = watched(self.py, *threads, None, &monitor, || {
            let Some(parts) = state.next(view, &request)? else { return Ok(None) };
            let starts = parts.iter().scan(*done, |next, part| {
                let start = *next;
                *next += part.ends.len();
                Some(start)
            });
            let starts: Vec<usize> = starts.collect();
            let last =
                starts.last().map_or(*done, |start| start + parts[starts.len() - 1].ends.len());
            let items: Vec<_> = parts.into_iter().zip(starts).collect();
            let columns = items
                .into_par_iter()
                .map(|(part, start)| columns(part, numbers[start..].iter().copied()));
            Ok(Some((columns.collect::<Vec<_>>(), last)))
        })?;
        let Some((columns, last)) = made else { return Ok(None) };
        *done = last;
        Ok(Some(columns.into_iter().map(|part| part.into_iter().map(PySeries).collect()).collect()))
    }
}

/// The columns of rows whose genes have these numbers.
fn columns<V: IntoColumn>(rows: Rows<V>, genes: impl Iterator<Item = u32>) -> Vec<Series> {
    let mut gene = Vec::with_capacity(rows.len());
    for (&end, number) in rows.ends.iter().zip(genes) {
        gene.resize(end, number);
    }
    let whole = |name: &str, values| UInt32Chunked::from_vec(name.into(), values).into_series();
    vec![
        whole("gene", gene),
        whole("group", rows.group),
        V::column(rows.value),
        whole("count", rows.count),
    ]
}
