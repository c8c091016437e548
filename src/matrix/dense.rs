//! Dense matrices in either order.

use super::{Block, Column, Matrix, Stored, extend, visit_counts};
use crate::error::{ErrorKind, Result};
use std::ops::Range;

/// Rows of one band of a row-major matrix.
const BAND: usize = 2048;
/// Rows that are transposed together: a cache line's worth of f32.
const TILE: usize = 16;

fn check(shape: (usize, usize), got: usize) -> Result<()> {
    let expected = shape.0.saturating_mul(shape.1);
    if expected == got {
        return Ok(());
    }
    Err(ErrorKind::ShapeMismatch { what: "dense values", expected, got }.into())
}

/// A dense matrix in Fortran order: each gene's values lie together.
#[derive(Debug, Clone, Copy)]
pub struct ColumnMajor<'a, S> {
    shape: (usize, usize),
    values: &'a [S],
}

impl<'a, S: Stored> ColumnMajor<'a, S> {
    /// A view of cells x genes values, gene after gene.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`].
    pub fn new(shape: (usize, usize), values: &'a [S]) -> Result<Self> {
        check(shape, values.len())?;
        Ok(Self { shape, values })
    }
}

impl<S: Stored> Matrix for ColumnMajor<'_, S> {
    type Value = S::Value;
    type Band = ();
    type Stored = S;

    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn entries(&self) -> usize {
        self.values.len()
    }

    fn bands(&self) -> usize {
        0
    }

    fn load(&self, _: usize, _: &Block, _: &[u32], (): &mut ()) -> Result<()> {
        Ok(())
    }

    fn column(
        &self,
        _bands: &[()],
        block: &Block,
        slot: usize,
        labels: &[u32],
        out: &mut Column<S::Value>,
    ) -> Result<()> {
        let values = self.stored_column(block.genes[slot] as usize);
        extend(out, values.iter().map(|v| v.value()).zip(labels.iter().copied()));
        Ok(())
    }

    fn visit_column(&self, gene: usize, labels: &[u32], mut visit: impl FnMut(u32, S::Value)) {
        for (label, value) in labels.iter().zip(self.stored_column(gene)) {
            visit(*label, value.value());
        }
    }

    fn stored_column(&self, gene: usize) -> &[S] {
        &self.values[gene * self.shape.0..][..self.shape.0]
    }

    fn stored(&self) -> &[S] {
        self.values
    }

    fn first(&self, wanted: &dyn Fn(usize, usize, S::Value) -> bool) -> Option<(usize, usize)> {
        let columns = self.values.chunks(self.shape.0.max(1)).enumerate();
        let first_row = |(gene, values): (usize, &[S])| {
            let mut cells = values.iter().enumerate();
            cells.find(|(row, v)| wanted(*row, gene, v.value())).map(|(row, _)| (row, gene))
        };
        columns.filter_map(first_row).min()
    }
}

/// A dense matrix in C order: each cell's values lie together.
#[derive(Debug, Clone, Copy)]
pub struct RowMajor<'a, S> {
    shape: (usize, usize),
    values: &'a [S],
}

impl<'a, S: Stored> RowMajor<'a, S> {
    /// A view of cells x genes values, cell after cell.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`].
    pub fn new(shape: (usize, usize), values: &'a [S]) -> Result<Self> {
        check(shape, values.len())?;
        Ok(Self { shape, values })
    }
}

/// One band's values of a block, gene after gene.
#[derive(Debug)]
pub struct Band<V> {
    first_row: usize,
    rows: usize,
    values: Vec<V>,
}

impl<V> Default for Band<V> {
    fn default() -> Self {
        Self { first_row: 0, rows: 0, values: Vec::new() }
    }
}

impl<S: Stored> Matrix for RowMajor<'_, S> {
    type Value = S::Value;
    type Band = Band<S::Value>;
    type Stored = S;

    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn entries(&self) -> usize {
        self.values.len()
    }

    fn bands(&self) -> usize {
        self.shape.0.div_ceil(BAND)
    }

    fn load(
        &self,
        band: usize,
        block: &Block,
        _labels: &[u32],
        state: &mut Self::Band,
    ) -> Result<()> {
        let width = self.shape.1;
        state.first_row = band * BAND;
        state.rows = self.shape.0.saturating_sub(state.first_row).min(BAND);
        state.values.resize(state.rows * block.genes.len(), S::Value::default());
        let rows = &self.values[state.first_row * width..][..state.rows * width];
        for (number, tile) in rows.chunks(TILE * width).enumerate() {
            for (slot, &gene) in block.genes.iter().enumerate() {
                let start = slot * state.rows + number * TILE;
                let column = tile[gene as usize..].iter().step_by(width);
                for (out, value) in state.values[start..].iter_mut().zip(column) {
                    *out = value.value();
                }
            }
        }
        Ok(())
    }

    fn column(
        &self,
        bands: &[Self::Band],
        _block: &Block,
        slot: usize,
        labels: &[u32],
        out: &mut Column<S::Value>,
    ) -> Result<()> {
        for band in bands {
            let values = &band.values[slot * band.rows..][..band.rows];
            let labels = &labels[band.first_row..][..band.rows];
            extend(out, values.iter().copied().zip(labels.iter().copied()));
        }
        Ok(())
    }

    fn visit_row(&self, row: usize, genes: Range<usize>, visit: impl FnMut(usize, u32, S::Value)) {
        let start = row * self.shape.1;
        let values = &self.values[start + genes.start..start + genes.end];
        visit_counts(|i| Some(genes.start + i), values, visit);
    }

    fn stored(&self) -> &[S] {
        self.values
    }

    fn first(&self, wanted: &dyn Fn(usize, usize, S::Value) -> bool) -> Option<(usize, usize)> {
        let cells = self.values.chunks(self.shape.1.max(1)).enumerate();
        cells
            .flat_map(|(row, values)| {
                values.iter().enumerate().map(move |(gene, v)| (row, gene, v))
            })
            .find(|(row, gene, v)| wanted(*row, *gene, v.value()))
            .map(|(row, gene, _)| (row, gene))
    }
}
