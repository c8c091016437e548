//! Counts packed into three bytes an entry: values as u8, and genes as differences of u16.
//!
//! A CSR matrix of f32 and i32 takes eight bytes an entry; where memory is the limit, as it is on many
//! cores, fewer bytes are less time.  The price: a row's genes are sums, so that it can be read from its
//! start or from a cursor only; a visit from the middle walks what lies before.
//!
//! # Layout
//! Row `c` is `starts[c]..starts[c + 1]` of `values` and `gaps`.  Its first gap is its first gene; each
//! later one is the gene less the gene before.

use super::band::{Band, Cursor, Rows};
use super::changed;
use super::csr::{band_rows, rows_of};
use super::prefetch::prefetch;
use super::{Block, CellMajor, STRETCH, Stored, Stretch, Value, check_block, clamped};
use crate::cast::place;
use crate::error::Result;
use std::ops::Range;

/// Counts of at most 255 by cell, packed.
#[derive(Debug, Clone)]
pub struct Packed {
    shape: (usize, usize),
    values: Vec<u8>,
    gaps: Vec<u16>,
    /// Where each row starts, and at last where all end.
    starts: Vec<usize>,
    band: usize,
}

impl Packed {
    /// A packed copy of what another view stores; `None` where a value is no whole number from 0 to 255,
    /// or two neighbours in a row lie 65,536 genes or more apart.
    ///
    /// # Errors
    /// Those of [`CellMajor::visit_cell`].
    ///
    /// # Examples
    /// ```
    /// use pdex::matrix::{CellMajor, Csr, Packed};
    /// let view = Csr::new((2, 3), &[1.0f32, 2.0, 3.0], &[0i32, 2, 1], &[0i64, 2, 3])?;
    /// let packed = Packed::of(&view)?.expect("small counts");
    /// assert_eq!((packed.entries(), packed.bytes()), (3, 9 + 3 * 8));
    /// # Ok::<(), pdex::error::Error>(())
    /// ```
    pub fn of<V: Value>(view: &dyn CellMajor<V>) -> Result<Option<Self>> {
        let (shape, entries) = (view.shape(), view.entries());
        let (mut values, mut gaps) = (Vec::with_capacity(entries), Vec::with_capacity(entries));
        let (mut starts, mut fits) = (Vec::with_capacity(shape.0 + 1), true);
        starts.push(0);
        for cell in 0..shape.0 {
            let mut before = 0;
            view.visit_cell(cell, 0..shape.1, &mut |stretch| {
                for (&gene, value) in stretch.places.iter().zip(stretch.values) {
                    let (value, gap) = (u8::try_from(value.count()), u16::try_from(gene - before));
                    fits &= value.is_ok() && gap.is_ok();
                    values.push(value.unwrap_or_default());
                    gaps.push(gap.unwrap_or_default());
                    before = gene;
                }
            })?;
            starts.push(values.len());
            if !fits {
                return Ok(None);
            }
        }
        Ok(Some(Self { shape, values, gaps, starts, band: band_rows(shape.0) }))
    }

    /// Memory of the arrays.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.values.len() + size_of_val(&self.gaps[..]) + size_of_val(&self.starts[..])
    }

    /// One row's gaps and values.
    #[inline]
    fn row(&self, cell: usize) -> Result<(&[u16], &[u8])> {
        let bounds = self.starts.get(cell).zip(self.starts.get(cell + 1));
        let row = bounds.and_then(|(&start, &end)| {
            Some((self.gaps.get(start..end)?, self.values.get(start..end)?))
        });
        row.map_or_else(|| changed(cell), Ok)
    }

    /// One row's gaps and values from a cursor on.
    #[inline]
    fn rest(&self, cell: usize, from: Cursor) -> Result<(&[u16], &[u8])> {
        let (gaps, values) = self.row(cell)?;
        match (gaps.get(place(from.offset)..), values.get(place(from.offset)..)) {
            (Some(gaps), Some(values)) => Ok((gaps, values)),
            _ => changed(cell),
        }
    }
}

impl Rows<f32> for Packed {
    fn seek(&self, cell: usize, gene: u32) -> Result<Cursor> {
        self.places(cell, Cursor::default(), gene, |_| ())
    }

    #[inline]
    fn prefetch(&self, cell: usize, from: Cursor, expected: usize) {
        if let Ok((gaps, values)) = self.row(cell) {
            prefetch(gaps, place(from.offset), expected);
            prefetch(values, place(from.offset), expected);
        }
    }

    #[inline]
    fn places(
        &self,
        cell: usize,
        from: Cursor,
        end: u32,
        mut visit: impl FnMut(u32),
    ) -> Result<Cursor> {
        let mut to = from;
        for &gap in self.rest(cell, from)?.0 {
            let gene = to.before + u32::from(gap);
            if gene >= end {
                break;
            }
            visit(gene);
            to = Cursor { offset: to.offset + 1, before: gene };
        }
        Ok(to)
    }

    #[inline]
    fn entries(
        &self,
        cell: usize,
        (from, to): (Cursor, Cursor),
        mut visit: impl FnMut(u32, f32),
    ) -> Result<()> {
        let (gaps, values) = self.rest(cell, from)?;
        let mut gene = from.before;
        let entries = gaps.iter().zip(values).take(place(to.offset.saturating_sub(from.offset)));
        for (&gap, value) in entries {
            gene += u32::from(gap);
            visit(gene, value.value());
        }
        Ok(())
    }
}

impl CellMajor<f32> for Packed {
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
        visit: &mut dyn FnMut(Stretch<'_, f32>),
    ) -> Result<()> {
        let (genes, n_genes) = clamped(genes, self.shape.1);
        let from = self.seek(cell, genes.start)?;
        let (gaps, values) = self.rest(cell, from)?;
        let mut places = [0; STRETCH];
        let mut widened = [0.0; STRETCH];
        let mut before = from.before;
        for (gaps, values) in gaps.chunks(STRETCH).zip(values.chunks(STRETCH)) {
            for (out, &gap) in places.iter_mut().zip(gaps) {
                before += u32::from(gap);
                *out = before;
            }
            let mut inside = gaps.len();
            if genes.end < n_genes {
                inside = places[..inside].partition_point(|&gene| gene < genes.end);
            }
            if inside > 0 {
                let values = u8::widen(&values[..inside], &mut widened);
                visit(Stretch { places: &places[..inside], values });
            }
            if inside < gaps.len() {
                break;
            }
        }
        Ok(())
    }

    fn bands(&self) -> usize {
        self.shape.0.div_ceil(self.band)
    }

    fn gather(
        &self,
        band: usize,
        block: &Block,
        labels: &[u32],
        into: &mut Band<f32>,
    ) -> Result<()> {
        check_block(block, self.shape, labels)?;
        into.gather(self, &rows_of(band, self.band, self.shape.0), block, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Csr;
    use crate::matrix::conformance::suite;

    suite!(u8_values, u8, cells, |case| {
        let (values, indices, indptr) = case.compressed::<u8, i32, i64>(false);
        Packed::of(&Csr::new(case.shape(), values, indices, indptr).unwrap()).unwrap().unwrap()
    });

    #[test]
    fn what_does_not_fit_is_not_packed() {
        let packs = |value: f32, gene: i32| {
            let (values, indices) = ([255.0, value], [0, gene]);
            let view = Csr::new((1, 70_000), &values, &indices, &[0i32, 2]).unwrap();
            Packed::of(&view).unwrap().is_some()
        };
        assert!(packs(255.0, 65_535) && packs(0.0, 1));
        for (value, gene) in [(256.0, 1), (-1.0, 1), (0.5, 1), (f32::NAN, 1), (1.0, 65_536)] {
            assert!(!packs(value, gene), "{value} {gene}");
        }
    }
}
