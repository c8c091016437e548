//! Dense matrices in either order.

use super::band::Band;
use super::changed;
use super::check::check_shape;
use super::csr::rows_of;
use super::normalised::{GatherShares, Shares};
use super::{Block, CellMajor, GeneMajor, STRETCH, Stored, Stretch, Value, check_block, sample};
use crate::cast::{narrow, place};
use crate::error::{ErrorKind, Result};
use std::ops::Range;

/// The number of rows in a band of a row-major matrix.
const BAND: usize = 2048;
/// The number of rows that are transposed together: one cache line of f32.
const TILE: usize = 16;

fn check(shape: (usize, usize), got: usize) -> Result<()> {
    check_shape(shape)?;
    let expected = shape.0.saturating_mul(shape.1);
    if expected == got {
        return Ok(());
    }
    Err(ErrorKind::ShapeMismatch { what: "dense values", expected, got }.into())
}

/// Visits places and values, which have the same length.
fn visit_dense<S: Stored>(
    places: &[u32],
    stored: &[S],
    visit: &mut dyn FnMut(Stretch<'_, S::Value>),
) {
    debug_assert!(places.len() == stored.len());
    let mut widened = [S::Value::default(); STRETCH];
    for (places, stored) in places.chunks(STRETCH).zip(stored.chunks(STRETCH)) {
        visit(Stretch { places, values: S::widen(stored, &mut widened) });
    }
}

/// The places 0, 1, 2, ...; every visit yields a slice of them.
fn numbers(count: usize) -> Vec<u32> {
    (0..narrow(count)).collect()
}

/// A dense matrix in Fortran order: the values of each gene are contiguous.
#[derive(Debug, Clone)]
pub struct ColumnMajor<'a, S> {
    shape: (usize, usize),
    values: &'a [S],
    cells: Vec<u32>,
}

impl<'a, S: Stored> ColumnMajor<'a, S> {
    /// A view of a cells x genes matrix stored gene after gene; `shape` is (cells, genes).
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`].
    pub fn new(shape: (usize, usize), values: &'a [S]) -> Result<Self> {
        check(shape, values.len())?;
        Ok(Self { shape, values, cells: numbers(shape.0) })
    }

    fn stored(&self, gene: usize) -> Result<&'a [S]> {
        debug_assert!(gene < self.shape.1, "gene {gene} of {}", self.shape.1);
        let cells = self.shape.0;
        let range = gene.saturating_mul(cells)..(gene.saturating_add(1)).saturating_mul(cells);
        self.values.get(range).map_or_else(|| changed(gene), Ok)
    }
}

impl<S: Stored> GeneMajor<S::Value> for ColumnMajor<'_, S> {
    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn entries(&self) -> usize {
        self.values.len()
    }

    fn visit_gene(&self, gene: usize, visit: &mut dyn FnMut(Stretch<'_, S::Value>)) -> Result<()> {
        visit_dense(&self.cells, self.stored(gene)?, visit);
        Ok(())
    }

    fn sample_gene(&self, gene: usize, most: usize, out: &mut Vec<S::Value>) -> Result<()> {
        sample(self.stored(gene)?, most, out);
        Ok(())
    }

    fn gene_entries(&self, gene: usize) -> Result<usize> {
        Ok(self.stored(gene)?.len())
    }
}

/// A dense matrix in C order: the values of each cell are contiguous.
#[derive(Debug, Clone)]
pub struct RowMajor<'a, S> {
    shape: (usize, usize),
    values: &'a [S],
    genes: Vec<u32>,
}

impl<'a, S: Stored> RowMajor<'a, S> {
    /// A view of a cells x genes matrix stored cell after cell; `shape` is (cells, genes).
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`].
    pub fn new(shape: (usize, usize), values: &'a [S]) -> Result<Self> {
        check(shape, values.len())?;
        Ok(Self { shape, values, genes: numbers(shape.1) })
    }
}

impl<S: Stored> RowMajor<'_, S> {
    /// Writes the block's values of one band to `into`, gene after gene; returns the band's cells and
    /// the values.
    fn transpose<'b, V: Value>(
        &self,
        band: usize,
        block: &Block,
        labels: &[u32],
        into: &'b mut Band<V>,
        convert: impl Fn(S) -> V,
    ) -> Result<(Range<usize>, &'b mut [V])> {
        check_block(block, self.shape, labels)?;
        let width = self.shape.1;
        let cells = rows_of(band, BAND, self.shape.0);
        let out = into.hold_dense(&cells, block.genes().len());
        // The block has at least one gene, so that `width` is not 0.
        let rows = &self.values[cells.start * width..cells.end * width];
        for (number, tile) in rows.chunks(TILE * width).enumerate() {
            for (slot, &gene) in block.genes().iter().enumerate() {
                let start = slot * cells.len() + number * TILE;
                let column = tile[place(gene)..].iter().step_by(width);
                for (out, &value) in out[start..].iter_mut().zip(column) {
                    *out = convert(value);
                }
            }
        }
        Ok((cells, out))
    }
}

impl<S: Stored> CellMajor<S::Value> for RowMajor<'_, S> {
    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn entries(&self) -> usize {
        self.values.len()
    }

    fn visit_cell(
        &self,
        cell: usize,
        genes: Range<usize>,
        visit: &mut dyn FnMut(Stretch<'_, S::Value>),
    ) -> Result<()> {
        debug_assert!(cell < self.shape.0, "cell {cell} of {}", self.shape.0);
        debug_assert!(genes.end <= self.shape.1, "{genes:?} of {}", self.shape.1);
        let genes = genes.start.min(self.shape.1)..genes.end.min(self.shape.1);
        let start = cell.saturating_mul(self.shape.1);
        let range = start.saturating_add(genes.start)..start.saturating_add(genes.end);
        let (Some(stored), Some(places)) = (self.values.get(range), self.genes.get(genes)) else {
            return changed(cell);
        };
        visit_dense(places, stored, visit);
        Ok(())
    }

    fn bands(&self) -> usize {
        self.shape.0.div_ceil(BAND)
    }

    fn gather(
        &self,
        band: usize,
        block: &Block,
        labels: &[u32],
        into: &mut Band<S::Value>,
    ) -> Result<()> {
        self.transpose(band, block, labels, into, S::value)?;
        Ok(())
    }
}

impl<S: Stored> GatherShares<S::Value> for RowMajor<'_, S> {
    fn gather_shares(
        &self,
        band: usize,
        block: &Block,
        labels: &[u32],
        shares: &Shares,
        into: &mut Band<f64>,
    ) -> Result<()> {
        let real = |stored: S| stored.value().to_f64();
        let (cells, values) = self.transpose(band, block, labels, into, real)?;
        for gene in values.chunks_exact_mut(cells.len().max(1)) {
            shares.convert(cells.clone(), gene);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::conformance::{Case, Sample, suite};

    fn rows<S: Sample>(case: &Case) -> RowMajor<'static, S> {
        RowMajor::new(case.shape(), case.dense(false)).unwrap()
    }

    fn columns<S: Sample>(case: &Case) -> ColumnMajor<'static, S> {
        ColumnMajor::new(case.shape(), case.dense(true)).unwrap()
    }

    suite!(u8_rows, u8, cells, |case| rows::<u8>(case));
    suite!(f32_rows, f32, cells, |case| rows::<f32>(case));
    suite!(i32_rows, i32, cells, |case| rows::<i32>(case));
    suite!(i64_rows, i64, cells, |case| rows::<i64>(case));
    suite!(u16_columns, u16, genes, |case| columns::<u16>(case));
    suite!(f32_columns, f32, genes, |case| columns::<f32>(case));
    suite!(f64_columns, f64, genes, |case| columns::<f64>(case));
    suite!(u64_columns, u64, genes, |case| columns::<u64>(case));

    #[test]
    fn other_sizes_are_refused() {
        let kind = |shape| RowMajor::new(shape, &[1.0f32; 5]).unwrap_err().kind().clone();
        let mismatch = |what, expected, got| ErrorKind::ShapeMismatch { what, expected, got };
        assert_eq!(kind((2, 3)), mismatch("dense values", 6, 5));
        let limit = i32::MAX as usize;
        assert_eq!(kind((limit + 1, 1)), mismatch("rows of a matrix", limit, limit + 1));
        assert_eq!(kind((limit, 1)), mismatch("dense values", limit, 5));
        assert!(ColumnMajor::new((5, 2), &[1u8; 9]).is_err());
        assert!(RowMajor::new((5, 0), &[0u8; 0]).is_ok_and(|view| view.bands() == 1));
    }
}
