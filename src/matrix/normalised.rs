//! Cells normalised to one total: a view that converts counts as they are read.
//!
//! # The value
//! With x a count, T the total of its cell's counts over all genes, and t the total to which cells are
//! normalised:
//!
//! ```text
//! share = x t / T,      or ln(1 + x t / T) where logarithms are asked for
//! ```
//!
//! both operations in f64. If x and t are whole numbers and x t is below 2^53, the product is exact and
//! the quotient is rounded once. Cells with the same share are then tied and no others are, unless their
//! shares differ by less than f64 tells apart. (A factor t / T that is rounded first, or f32, makes and
//! breaks ties.) ln(1 + x) is [`elementary::ln_1p`], within 2 units in the last place of the C library's;
//! tests of ranks need no logarithm.
//!
//! | x | T | share |
//! |---|---|---|
//! | ±0 | any | ±0 |
//! | NaN | any | NaN |
//! | finite | 0 | ±0 |
//! | infinite | 0 | NaN |
//!
//! Other values and totals than counts' follow the formula. `engine::totals` refuses negative and
//! infinite values.
//!
//! # Cost
//! Nothing is copied: stretches are converted in buffers of [`BUFFER`] values, one division (and
//! logarithm) an entry, each time that an entry is read. [`GeneMajor::sample_gene`] reads the whole
//! gene, since a stored value alone does not say of which cell it is.

use super::band::{Band, Cursor, Rows};
use super::{Block, CellMajor, GeneMajor, Stretch, Value};
use crate::cast::place;
use crate::error::{ErrorKind, Result};
use crate::stats::special::elementary;
use multiversion::multiversion;
use std::marker::PhantomData;
use std::ops::Range;

/// The most entries that are converted at once: few enough that short rows do not pay for zeroing it.
const BUFFER: usize = 64;

/// How counts become shares of their cell's total.
#[derive(Debug, Clone, Copy)]
pub struct Shares<'a> {
    totals: &'a [f64],
    target: f64,
    log: bool,
}

impl<'a> Shares<'a> {
    /// Shares of `totals`, one a cell of the matrix, times `target`; their ln(1 + x) if `log`. Where a
    /// view has some of a matrix's genes, the totals are of all.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTarget`] or, for the first such cell, [`ErrorKind::InvalidTotal`].
    ///
    /// # Examples
    /// ```
    /// use pdex::matrix::normalised::Shares;
    /// let shares = Shares::new(&[8.0, 0.0], 1e4, false)?;
    /// assert_eq!((shares.of(0, 2.0), shares.of(1, 0.0)), (2500.0, 0.0));
    /// assert!(Shares::new(&[-1.0], 1e4, false).is_err() && Shares::new(&[], 0.0, false).is_err());
    /// # Ok::<(), pdex::error::Error>(())
    /// ```
    pub fn new(totals: &'a [f64], target: f64, log: bool) -> Result<Self> {
        if !(target > 0.0 && target < f64::INFINITY) {
            return Err(ErrorKind::InvalidTarget { got: target }.into());
        }
        let invalid = |total: &f64| !(0.0..f64::INFINITY).contains(total);
        if let Some(cell) = totals.iter().position(invalid) {
            return Err(ErrorKind::InvalidTotal { cell, got: totals[cell] }.into());
        }
        Ok(Self { totals, target, log })
    }

    /// The number of cells.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.totals.len()
    }

    /// The share of one value.
    #[must_use]
    pub fn of(&self, cell: usize, value: f64) -> f64 {
        let share = value * self.target / self.divisor(cell);
        if self.log { elementary::ln_1p(share) } else { share }
    }

    /// The total of a cell; infinite if it is 0, so that values over it are 0, and NaN stays NaN.
    #[inline]
    fn divisor(&self, cell: usize) -> f64 {
        debug_assert!(cell < self.totals.len(), "cell {cell} of {}", self.totals.len());
        self.totals.get(cell).map_or(f64::INFINITY, |&total| positive(total))
    }

    /// Replaces values of consecutive cells, at most as many as `cells`, by their shares.
    pub(super) fn convert(&self, cells: Range<usize>, values: &mut [f64]) {
        divide_by_totals(values, self.target, self.totals.get(cells).unwrap_or(&[]));
        self.finish(values);
    }

    /// The shares of at most [`BUFFER`] values of one cell.
    #[inline]
    fn of_cell<'b, V: Value>(
        &self,
        cell: usize,
        values: &[V],
        buffer: &'b mut [f64; BUFFER],
    ) -> &'b [f64] {
        let shares = &mut buffer[..values.len().min(BUFFER)];
        divide(values, self.target, self.divisor(cell), shares);
        self.finish(shares);
        shares
    }

    /// The shares of at most [`BUFFER`] values, each of another cell.
    #[inline]
    fn of_cells<'b, V: Value>(
        &self,
        cells: &[u32],
        values: &[V],
        buffer: &'b mut [f64; BUFFER],
    ) -> &'b [f64] {
        let shares = &mut buffer[..values.len().min(BUFFER)];
        for (divisor, &cell) in shares.iter_mut().zip(cells) {
            *divisor = self.divisor(place(cell));
        }
        divide_by_each(values, self.target, shares);
        self.finish(shares);
        shares
    }

    #[inline]
    fn finish(&self, shares: &mut [f64]) {
        if self.log {
            elementary::ln_1p_in_place(shares);
        }
    }

    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] unless there is a total for each of `cells` cells.
    fn check(&self, cells: usize) -> Result<()> {
        let got = self.cells();
        if got == cells {
            return Ok(());
        }
        Err(ErrorKind::ShapeMismatch { what: "totals of cells", expected: cells, got }.into())
    }
}

/// A total above 0, or infinity.
#[allow(clippy::inline_always)] // into each copy of a loop that `multiversion` makes
#[inline(always)]
fn positive(total: f64) -> f64 {
    if total > 0.0 { total } else { f64::INFINITY }
}

#[multiversion(targets = "simd")]
fn divide<V: Value>(values: &[V], target: f64, divisor: f64, shares: &mut [f64]) {
    for (share, value) in shares.iter_mut().zip(values) {
        *share = value.to_f64() * target / divisor;
    }
}

/// Divides by what `shares` holds.
#[multiversion(targets = "simd")]
fn divide_by_each<V: Value>(values: &[V], target: f64, shares: &mut [f64]) {
    for (share, value) in shares.iter_mut().zip(values) {
        *share = value.to_f64() * target / *share;
    }
}

#[multiversion(targets = "simd")]
fn divide_by_totals(values: &mut [f64], target: f64, totals: &[f64]) {
    for (value, &total) in values.iter_mut().zip(totals) {
        *value = *value * target / positive(total);
    }
}

/// A layout that stores one cell after the other and converts values as it gathers them.
pub trait GatherShares<V: Value>: CellMajor<V> {
    /// [`CellMajor::gather`] of shares.
    ///
    /// # Errors
    /// Those of [`CellMajor::gather`].
    fn gather_shares(
        &self,
        band: usize,
        block: &Block,
        labels: &[u32],
        shares: &Shares,
        into: &mut Band<f64>,
    ) -> Result<()>;
}

/// Rows whose values are converted as they are read.
#[derive(Debug)]
pub(super) struct Converted<'a, R, V> {
    rows: R,
    shares: &'a Shares<'a>,
    stored: PhantomData<V>,
}

impl<'a, V: Value, R: Rows<V>> Converted<'a, R, V> {
    pub fn new(rows: R, shares: &'a Shares<'a>) -> Self {
        Self { rows, shares, stored: PhantomData }
    }
}

impl<V: Value, R: Rows<V>> Rows<f64> for Converted<'_, R, V> {
    fn seek(&self, cell: usize, gene: u32) -> Result<Cursor> {
        self.rows.seek(cell, gene)
    }

    #[inline]
    fn prefetch(&self, cell: usize, from: Cursor, expected: usize) {
        self.rows.prefetch(cell, from, expected);
    }

    #[inline]
    fn places(
        &self,
        cell: usize,
        from: Cursor,
        end: u32,
        visit: impl FnMut(u32),
    ) -> Result<Cursor> {
        self.rows.places(cell, from, end, visit)
    }

    #[inline]
    fn entries(
        &self,
        cell: usize,
        range: (Cursor, Cursor),
        mut visit: impl FnMut(u32, f64),
    ) -> Result<()> {
        let (mut genes, mut values) = ([0; BUFFER], [V::default(); BUFFER]);
        let (mut buffer, mut held) = ([0.0; BUFFER], 0);
        let mut flush = |genes: &[u32], values: &[V]| {
            let shares = self.shares.of_cell(cell, values, &mut buffer);
            genes.iter().zip(shares).for_each(|(&gene, &share)| visit(gene, share));
        };
        self.rows.entries(cell, range, |gene, value| {
            (genes[held], values[held]) = (gene, value);
            held += 1;
            if held == BUFFER {
                flush(&genes, &values);
                held = 0;
            }
        })?;
        flush(&genes[..held], &values[..held]);
        Ok(())
    }
}

/// A matrix whose cells are normalised: shares of the values `V` of `matrix`.
#[derive(Debug)]
pub struct Normalised<'a, M, V> {
    matrix: M,
    shares: Shares<'a>,
    stored: PhantomData<V>,
}

impl<'a, M, V: Value> Normalised<'a, M, V> {
    /// Of a matrix that stores one cell after the other.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] unless there is a total for each cell.
    ///
    /// # Examples
    /// ```
    /// use pdex::matrix::normalised::{Normalised, Shares};
    /// use pdex::matrix::{CellMajor, RowMajor};
    /// let counts = RowMajor::new((2, 2), &[1u8, 3, 0, 5])?;
    /// let view = Normalised::cells(counts, Shares::new(&[4.0, 5.0], 100.0, false)?)?;
    /// let mut seen = Vec::new();
    /// view.visit_cell(0, 0..2, &mut |stretch| seen.extend_from_slice(stretch.values))?;
    /// assert_eq!(seen, [25.0, 75.0]);
    /// # Ok::<(), pdex::error::Error>(())
    /// ```
    pub fn cells(matrix: M, shares: Shares<'a>) -> Result<Self>
    where
        M: GatherShares<V>,
    {
        shares.check(matrix.shape().0)?;
        Ok(Self { matrix, shares, stored: PhantomData })
    }

    /// Of a matrix that stores one gene after the other.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] unless there is a total for each cell.
    pub fn genes(matrix: M, shares: Shares<'a>) -> Result<Self>
    where
        M: GeneMajor<V>,
    {
        shares.check(matrix.shape().0)?;
        Ok(Self { matrix, shares, stored: PhantomData })
    }
}

impl<V: Value, M: GatherShares<V>> CellMajor<f64> for Normalised<'_, M, V> {
    fn shape(&self) -> (usize, usize) {
        self.matrix.shape()
    }

    fn entries(&self) -> usize {
        self.matrix.entries()
    }

    fn visit_cell(
        &self,
        cell: usize,
        genes: Range<usize>,
        visit: &mut dyn FnMut(Stretch<'_, f64>),
    ) -> Result<()> {
        let mut buffer = [0.0; BUFFER];
        self.matrix.visit_cell(cell, genes, &mut |stretch| {
            for (places, values) in buffers(&stretch) {
                visit(Stretch { places, values: self.shares.of_cell(cell, values, &mut buffer) });
            }
        })
    }

    fn bands(&self) -> usize {
        self.matrix.bands()
    }

    fn gather(
        &self,
        band: usize,
        block: &Block,
        labels: &[u32],
        into: &mut Band<f64>,
    ) -> Result<()> {
        self.matrix.gather_shares(band, block, labels, &self.shares, into)
    }
}

impl<V: Value, M: GeneMajor<V>> GeneMajor<f64> for Normalised<'_, M, V> {
    fn shape(&self) -> (usize, usize) {
        self.matrix.shape()
    }

    fn entries(&self) -> usize {
        self.matrix.entries()
    }

    fn visit_gene(&self, gene: usize, visit: &mut dyn FnMut(Stretch<'_, f64>)) -> Result<()> {
        let mut buffer = [0.0; BUFFER];
        self.matrix.visit_gene(gene, &mut |stretch| {
            for (places, values) in buffers(&stretch) {
                visit(Stretch {
                    places,
                    values: self.shares.of_cells(places, values, &mut buffer),
                });
            }
        })
    }

    fn sample_gene(&self, gene: usize, most: usize, out: &mut Vec<f64>) -> Result<()> {
        let step = self.matrix.gene_entries(gene)?.div_ceil(most.max(1)).max(1);
        let (start, mut before) = (out.len(), 0usize);
        self.matrix.visit_gene(gene, &mut |stretch| {
            // The first entry of the stretch whose number, counted in the gene, is a multiple of `step`.
            let first = before.next_multiple_of(step) - before;
            before += stretch.places.len();
            let entries = stretch.places.iter().zip(stretch.values).skip(first).step_by(step);
            out.extend(entries.map(|(&cell, value)| self.shares.of(place(cell), value.to_f64())));
        })?;
        // More entries than were announced, if the arrays changed.
        out.truncate(start.saturating_add(most));
        Ok(())
    }

    fn gene_entries(&self, gene: usize) -> Result<usize> {
        self.matrix.gene_entries(gene)
    }
}

/// The places and values of a stretch, at most [`BUFFER`] at a time.
#[inline]
fn buffers<'a, V>(
    stretch: &Stretch<'a, V>,
) -> impl Iterator<Item = (&'a [u32], &'a [V])> + use<'a, V> {
    stretch.places.chunks(BUFFER).zip(stretch.values.chunks(BUFFER))
}

#[cfg(test)]
mod tests;
