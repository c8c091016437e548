//! The common part of CSR and CSC: rows (or columns) of indices and values, one after the other.

use super::band::{Cursor, Rows};
use super::index::{Index, Indptr};
use super::prefetch::prefetch;
use super::{STRETCH, Stored, Stretch, changed};
use crate::cast::place;
use crate::error::Result;
use std::ops::Range;

/// A visit of at most this many entries uses short buffers.
const SHORT: usize = 32;

/// Compressed arrays with a known index type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compressed<'a, S, I> {
    pub values: &'a [S],
    pub indices: &'a [I],
    pub indptr: Indptr<'a>,
}

/// Converts indices to places in `buffer`; `None` unless they strictly ascend and lie in
/// `least..end`.
///
/// The copied places are compared, not the array, so that the result holds even if another thread
/// changes the array. Invalid places of 2^31 or more are negative here.
#[inline]
fn places<'b, I: Index>(
    indices: &[I],
    buffer: &'b mut [u32],
    least: u32,
    end: u32,
) -> Option<&'b [u32]> {
    let out = buffer.get_mut(..indices.len())?;
    let (mut before, mut ascend) = (least.cast_signed() - 1, true);
    for (out, index) in out.iter_mut().zip(indices) {
        let place = index.place().cast_signed();
        ascend &= before < place;
        before = place;
        *out = place.cast_unsigned();
    }
    (ascend && before < end.cast_signed()).then_some(out)
}

impl<'a, S: Stored, I: Index> Compressed<'a, S, I> {
    /// The indices and values of one row or column.
    #[inline]
    pub fn outer(&self, outer: usize) -> Result<(&'a [I], &'a [S])> {
        let Some(range) = self.indptr.range(outer) else { return changed(outer) };
        match (self.indices.get(range.clone()), self.values.get(range)) {
            (Some(indices), Some(values)) => Ok((indices, values)),
            _ => changed(outer),
        }
    }

    /// Visits the entries of a row or column with places in `range`; all places are below `inner`.
    #[inline]
    pub fn visit(
        &self,
        outer: usize,
        range: Range<u32>,
        inner: u32,
        visit: &mut dyn FnMut(Stretch<'_, S::Value>),
    ) -> Result<()> {
        let (indices, values) = self.outer(outer)?;
        let below = |limit: u32| indices.partition_point(|index| index.place() < limit);
        let start = if range.start == 0 { 0 } else { below(range.start) };
        let end = if range.end == inner { indices.len() } else { below(range.end) };
        let (Some(indices), Some(values)) = (indices.get(start..end), values.get(start..end))
        else {
            return changed(outer);
        };
        // Buffers are zeroed first, so a short visit uses short ones.
        if indices.len() <= SHORT {
            stretches::<_, _, SHORT>(outer, indices, values, range, visit)
        } else {
            stretches::<_, _, STRETCH>(outer, indices, values, range, visit)
        }
    }
}

/// Visits entries, at most `N` at a time.
#[inline]
fn stretches<S: Stored, I: Index, const N: usize>(
    outer: usize,
    indices: &[I],
    values: &[S],
    range: Range<u32>,
    visit: &mut dyn FnMut(Stretch<'_, S::Value>),
) -> Result<()> {
    let mut place_buffer = [0; N];
    let mut value_buffer = [S::Value::default(); N];
    let mut least = range.start;
    for (indices, values) in indices.chunks(N).zip(values.chunks(N)) {
        let Some(places) = places(indices, &mut place_buffer, least, range.end) else {
            return changed(outer);
        };
        least = places.last().map_or(least, |last| last + 1);
        visit(Stretch { places, values: S::widen(values, &mut value_buffer) });
    }
    Ok(())
}

impl<S: Stored, I: Index> Rows<S::Value> for Compressed<'_, S, I> {
    fn seek(&self, cell: usize, gene: u32) -> Result<Cursor> {
        let offset = match gene {
            0 => 0,
            _ => self.outer(cell)?.0.partition_point(|index| index.place() < gene),
        };
        match u32::try_from(offset) {
            Ok(offset) => Ok(Cursor { offset, before: 0 }),
            Err(_) => changed(cell),
        }
    }

    #[inline]
    fn prefetch(&self, cell: usize, from: Cursor, expected: usize) {
        if let Ok((indices, values)) = self.outer(cell) {
            prefetch(indices, place(from.offset), expected);
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
        let Some(stretch) = self.outer(cell)?.0.get(place(from.offset)..) else {
            return changed(cell);
        };
        let mut to = from;
        for gene in stretch.iter().map(|index| index.place()).take_while(|&gene| gene < end) {
            visit(gene);
            to.offset += 1;
        }
        Ok(to)
    }

    #[inline]
    fn entries(
        &self,
        cell: usize,
        (from, to): (Cursor, Cursor),
        mut visit: impl FnMut(u32, S::Value),
    ) -> Result<()> {
        let (indices, values) = self.outer(cell)?;
        let stretch = place(from.offset)..place(to.offset);
        let (Some(indices), Some(values)) = (indices.get(stretch.clone()), values.get(stretch))
        else {
            return changed(cell);
        };
        for (index, value) in indices.iter().zip(values) {
            visit(index.place(), value.value());
        }
        Ok(())
    }
}
