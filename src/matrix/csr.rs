//! Compressed sparse rows (CSR): the entries of each cell are contiguous.

use super::band::Band;
use super::check::Checked;
#[cfg(any(test, feature = "testing"))]
use super::check::check;
use super::compressed::Compressed;
use super::index::{Indices, Indptr, with_indices};
use super::normalised::{Converted, GatherShares, Shares};
use super::{Block, CellMajor, Stored, Stretch, check_block, clamped};
use crate::error::Result;
use std::ops::Range;

/// The fewest rows of a band: enough that a gene's entries form a run, few enough to stay in cache.
const BAND: usize = 2048;
/// The most bands.
const MAX_BANDS: usize = 512;

/// A CSR view of checked arrays. The indices of each row strictly ascend.
#[derive(Debug, Clone, Copy)]
pub struct Csr<'a, S> {
    shape: (usize, usize),
    values: &'a [S],
    indices: Indices<'a>,
    indptr: Indptr<'a>,
    entries: usize,
    /// The number of rows in a band.
    band: usize,
}

/// The number of rows in a band, for a matrix of `cells` rows.
pub(super) fn band_rows(cells: usize) -> usize {
    cells.div_ceil(MAX_BANDS).max(BAND)
}

/// The rows of band number `band`, if a band has `rows` rows and the matrix `cells`.
pub(super) fn rows_of(band: usize, rows: usize, cells: usize) -> Range<usize> {
    let start = band.saturating_mul(rows).min(cells);
    start..start.saturating_add(rows).min(cells)
}

impl<'a, S: Stored> Csr<'a, S> {
    /// Checks the arrays of a cells x genes matrix, on the current rayon pool, and makes a view.
    ///
    /// # Errors
    /// Those of [`check`], and [`crate::error::ErrorKind::Unsorted`]; [`super::canonical`] makes a
    /// sorted copy.
    ///
    /// # Examples
    /// ```
    /// use pdex::matrix::{CellMajor, Csr};
    /// let view = Csr::new((2, 3), &[1u8, 2, 3], &[0i32, 2, 1], &[0i64, 2, 3])?;
    /// let mut seen = Vec::new();
    /// view.visit_cell(0, 0..3, &mut |stretch| {
    ///     seen.extend(stretch.places.iter().copied().zip(stretch.values.iter().copied()));
    /// })?;
    /// assert_eq!(seen, [(0, 1.0), (2, 2.0)]);
    /// assert!(Csr::new((1, 3), &[1u8, 2], &[2i32, 0], &[0i64, 2]).is_err());
    /// # Ok::<(), pdex::error::Error>(())
    /// ```
    #[cfg(any(test, feature = "testing"))]
    pub fn new(
        shape: (usize, usize),
        values: &'a [S],
        indices: impl Into<Indices<'a>>,
        indptr: impl Into<Indptr<'a>>,
    ) -> Result<Self> {
        let (indices, indptr) = (indices.into(), indptr.into());
        let checked = check(shape.0, shape.1, values.len(), indices, indptr)?;
        Self::from_checked(&checked, values, indices, indptr)
    }

    /// A view of arrays that were checked before. Only their lengths are compared.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::ShapeMismatch`] or [`crate::error::ErrorKind::Unsorted`].
    pub fn from_checked(
        checked: &Checked,
        values: &'a [S],
        indices: impl Into<Indices<'a>>,
        indptr: impl Into<Indptr<'a>>,
    ) -> Result<Self> {
        let (indices, indptr) = (indices.into(), indptr.into());
        checked.require(values.len(), &indices, &indptr)?;
        let (shape, entries) = (checked.shape(), checked.entries());
        Ok(Self { shape, values, indices, indptr, entries, band: band_rows(shape.0) })
    }
}

impl<S: Stored> CellMajor<S::Value> for Csr<'_, S> {
    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn entries(&self) -> usize {
        self.entries
    }

    fn visit_cell(
        &self,
        cell: usize,
        genes: Range<usize>,
        visit: &mut dyn FnMut(Stretch<'_, S::Value>),
    ) -> Result<()> {
        let (genes, n_genes) = clamped(genes, self.shape.1);
        let (values, indptr) = (self.values, self.indptr);
        with_indices!(self.indices, indices => {
            Compressed { values, indices, indptr }.visit(cell, genes, n_genes, visit)
        })
    }

    fn bands(&self) -> usize {
        self.shape.0.div_ceil(self.band)
    }

    fn gather(
        &self,
        band: usize,
        block: &Block,
        labels: &[u32],
        into: &mut Band<S::Value>,
    ) -> Result<()> {
        check_block(block, self.shape, labels)?;
        let cells = rows_of(band, self.band, self.shape.0);
        let (values, indptr) = (self.values, self.indptr);
        with_indices!(self.indices, indices => {
            into.gather(&Compressed { values, indices, indptr }, &cells, block, labels)
        })
    }
}

impl<S: Stored> GatherShares<S::Value> for Csr<'_, S> {
    fn gather_shares(
        &self,
        band: usize,
        block: &Block,
        labels: &[u32],
        shares: &Shares,
        into: &mut Band<f64>,
    ) -> Result<()> {
        check_block(block, self.shape, labels)?;
        let cells = rows_of(band, self.band, self.shape.0);
        let (values, indptr) = (self.values, self.indptr);
        with_indices!(self.indices, indices => {
            let rows = Converted::new(Compressed { values, indices, indptr }, shares);
            into.gather(&rows, &cells, block, labels)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::conformance::{Case, Sample, Whole, suite};

    fn view<S: Sample, I: Whole, P: Whole>(case: &Case) -> Csr<'static, S>
    where
        Indices<'static>: From<&'static [I]>,
        Indptr<'static>: From<&'static [P]>,
    {
        let (values, indices, indptr) = case.compressed::<S, I, P>(false);
        Csr::new(case.shape(), values, indices, indptr).unwrap()
    }

    suite!(i8_values, i8, cells, |case| view::<i8, i32, i32>(case));
    suite!(u8_values, u8, cells, |case| view::<u8, u16, i64>(case));
    suite!(i16_values, i16, cells, |case| view::<i16, i64, i64>(case));
    suite!(u16_values, u16, cells, |case| view::<u16, i32, i64>(case));
    suite!(i32_values, i32, cells, |case| view::<i32, i64, i32>(case));
    suite!(u32_values, u32, cells, |case| view::<u32, u16, i32>(case));
    suite!(i64_values, i64, cells, |case| view::<i64, i32, i64>(case));
    suite!(u64_values, u64, cells, |case| view::<u64, i64, i64>(case));
    suite!(f32_values, f32, cells, |case| view::<f32, i32, i64>(case));
    suite!(f64_values, f64, cells, |case| view::<f64, i32, i32>(case));
}
