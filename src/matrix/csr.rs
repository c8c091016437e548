//! Compressed sparse rows: cells are rows.
//!
//! A sweep over blocks of genes keeps one cursor a row, so that each block reads the next stretch
//! of every row and nothing twice.  A load takes two passes over its stretches: the first counts
//! each gene's entries, the second, from cache, writes them side by side.

use super::prefetch::prefetch;
use super::{Block, Column, Entry, Matrix, SKIP, Stored, Value, extend, visit_counts};
use crate::error::{ErrorKind, Result};
use std::ops::Range;

/// Rows of one band, or more: enough that a gene's entries form a run, few enough to stay in cache.
const BAND: usize = 2048;
/// Rows whose stretch is asked for before it is read.
const AHEAD: usize = 2;
/// The place of a column that is not asked for.
const NOWHERE: usize = usize::MAX / 2;
/// Bands at the most.
const MAX_BANDS: usize = 512;

/// The integers that SciPy stores indices in.
pub trait Index: Copy + Send + Sync + 'static {
    /// The index as an integer; negative ones are as invalid as ones too large.
    fn get(self) -> i64;
    /// The index counted from another one, at most itself.
    #[must_use]
    fn less(self, first: i64) -> Self;
}

impl Index for u16 {
    fn get(self) -> i64 {
        i64::from(self)
    }

    fn less(self, first: i64) -> Self {
        (i64::from(self) - first) as Self
    }
}

impl Index for i32 {
    fn get(self) -> i64 {
        i64::from(self)
    }

    fn less(self, first: i64) -> Self {
        (i64::from(self) - first) as Self
    }
}

impl Index for i64 {
    fn get(self) -> i64 {
        self
    }

    fn less(self, first: i64) -> Self {
        self - first
    }
}

/// What [`check`] found in valid arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Each row's indices ascend strictly.
    Canonical,
    /// Some row's indices are unsorted or occur twice: [`super::csc::canonical`] mends it.
    Unsorted,
}

/// Checks that the arrays belong together.
pub(super) fn check_lengths(
    outer: usize,
    values: usize,
    indices: usize,
    indptr: usize,
) -> Result<()> {
    let expect = |what, expected, got| {
        if expected == got {
            return Ok(());
        }
        Err(ErrorKind::ShapeMismatch { what, expected, got }.into())
    };
    expect("indptr", outer.saturating_add(1), indptr)?;
    expect("indices", values, indices)
}

/// The values that indptr reaches: arrays may have spare room behind them.
pub(super) fn used<'a, S, P: Index>(values: &'a [S], indptr: &[P]) -> &'a [S] {
    let end = indptr.last().and_then(|end| usize::try_from(end.get()).ok());
    end.and_then(|end| values.get(..end)).unwrap_or(values)
}

/// Checks compressed arrays of `outer` rows (or columns) and indices below `inner`.
///
/// # Errors
/// [`ErrorKind::BrokenIndptr`], [`ErrorKind::ShapeMismatch`] or [`ErrorKind::IndexOutOfRange`].
pub fn check<I: Index, P: Index>(
    outer: usize,
    inner: usize,
    values: usize,
    indices: &[I],
    indptr: &[P],
) -> Result<Order> {
    check_lengths(outer, values, indices.len(), indptr.len())?;
    let broken = |position, reason| Err(ErrorKind::BrokenIndptr { position, reason }.into());
    if indptr[0].get() != 0 {
        return broken(0, "it does not start at 0");
    }
    let mut order = Order::Canonical;
    for row in 0..outer {
        let (start, end) = (indptr[row].get(), indptr[row + 1].get());
        if end < start {
            return broken(row + 1, "it decreases");
        }
        let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else {
            return broken(row, "it is negative");
        };
        let Some(row_indices) = indices.get(start..end) else {
            return broken(row + 1, "it points past the last stored entry");
        };
        if !ascending(row, row_indices, inner)? {
            order = Order::Unsorted;
        }
    }
    Ok(order)
}

/// Whether one row's indices ascend strictly; an error where one is out of range.
fn ascending<I: Index>(row: usize, indices: &[I], inner: usize) -> Result<bool> {
    let sorted = indices.windows(2).fold(true, |all, pair| all & (pair[0].get() < pair[1].get()));
    let limit = i64::try_from(inner).unwrap_or(i64::MAX);
    let inside = |index: &I| (0..limit).contains(&index.get());
    let ends_inside = indices.first().is_none_or(inside) && indices.last().is_none_or(inside);
    if sorted && ends_inside {
        return Ok(true);
    }
    match indices.iter().find(|index| !inside(index)) {
        Some(index) => {
            Err(ErrorKind::IndexOutOfRange { outer: row, index: index.get(), limit: inner }.into())
        }
        None => Ok(sorted),
    }
}

/// A checked CSR view whose rows' indices ascend.
#[derive(Debug, Clone, Copy)]
pub struct Csr<'a, S, I, P> {
    shape: (usize, usize),
    values: &'a [S],
    indices: &'a [I],
    indptr: &'a [P],
    /// Rows of one band.
    band: usize,
}

impl<'a, S: Stored, I: Index, P: Index> Csr<'a, S, I, P> {
    /// A view of arrays that [`check`] found [`Order::Canonical`].
    ///
    /// # Errors
    /// Those of [`check`].  Unsorted rows are not refused, but genes out of order are not found:
    /// mend them first.
    pub fn new(
        shape: (usize, usize),
        values: &'a [S],
        indices: &'a [I],
        indptr: &'a [P],
    ) -> Result<(Self, Order)> {
        let order = check(shape.0, shape.1, values.len(), indices, indptr)?;
        Ok((Self::checked(shape, values, indices, indptr)?, order))
    }

    /// A view of arrays that were checked before; only their lengths are looked at again.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`].
    pub fn checked(
        shape: (usize, usize),
        values: &'a [S],
        indices: &'a [I],
        indptr: &'a [P],
    ) -> Result<Self> {
        check_lengths(shape.0, values.len(), indices.len(), indptr.len())?;
        let band = shape.0.div_ceil(MAX_BANDS).max(BAND);
        Ok(Self { shape, values: used(values, indptr), indices, indptr, band })
    }

    fn band_rows(&self, band: usize) -> Range<usize> {
        (band * self.band).min(self.shape.0)..((band + 1) * self.band).min(self.shape.0)
    }

    /// The entries of one row; empty where a changed indptr makes no sense any more.
    fn row(&self, row: usize) -> (&'a [I], &'a [S]) {
        let at = |i: usize| usize::try_from(self.indptr[i].get()).unwrap_or(usize::MAX);
        let range = at(row)..at(row + 1);
        match (self.indices.get(range.clone()), self.values.get(range)) {
            (Some(indices), Some(values)) => (indices, values),
            _ => (&[], &[]),
        }
    }
}

/// One band's gathered entries, and how far each of its rows has been read.
#[derive(Debug)]
pub struct Band<V> {
    /// For each row, the offset of its first entry at or after `next_gene`.
    cursors: Vec<u32>,
    next_gene: usize,
    /// For each row, the offset of its first entry past the block.
    ends: Vec<u32>,
    /// Entries of the block's gene `slot` are `starts[slot]..starts[slot + 1]`.
    starts: Vec<u32>,
    entries: Vec<Entry<V>>,
    /// Whether a zero is among the entries.
    zeros: bool,
}

impl<V> Default for Band<V> {
    fn default() -> Self {
        Self {
            cursors: Vec::new(),
            next_gene: 0,
            ends: Vec::new(),
            starts: Vec::new(),
            entries: Vec::new(),
            zeros: false,
        }
    }
}

impl<S: Stored, I: Index, P: Index> Csr<'_, S, I, P> {
    /// Puts every cursor of the band at the block's first gene.
    fn seek(&self, rows: Range<usize>, first: usize, state: &mut Band<S::Value>) {
        if state.cursors.len() == rows.len() && state.next_gene == first {
            return;
        }
        state.cursors.clear();
        state.cursors.extend(rows.map(|row| {
            let below = |index: &I| index.get() < first as i64;
            u32::try_from(self.row(row).0.partition_point(below)).unwrap_or(u32::MAX)
        }));
    }

    /// First pass: counts the block's entries of each gene into `starts[slot + 2]`, and finds
    /// where each row's stretch ends.
    fn count(
        &self,
        rows: Range<usize>,
        labels: &[u32],
        block: &Block,
        state: &mut Band<S::Value>,
        slot_of: impl Fn(i64) -> usize,
    ) {
        let end = block.end() as i64;
        state.starts.clear();
        state.starts.resize(block.genes.len() + 2, 0);
        state.ends.clear();
        state.ends.extend_from_slice(&state.cursors);
        let (last, mut expected) = (rows.end, 0);
        for (i, row) in rows.enumerate() {
            if labels[row] == SKIP {
                continue;
            }
            if let Some(&cursor) = state.cursors.get(i + AHEAD).filter(|_| row + AHEAD < last) {
                let (indices, values) = self.row(row + AHEAD);
                prefetch(indices, cursor as usize, expected);
                prefetch(values, cursor as usize, expected);
            }
            let stretch = self.row(row).0.get(state.cursors[i] as usize..).unwrap_or(&[]);
            let mut length = 0;
            for gene in stretch.iter().map(|index| index.get()).take_while(|&gene| gene < end) {
                if let Some(count) = state.starts.get_mut(slot_of(gene).wrapping_add(2)) {
                    *count += 1;
                }
                length += 1;
            }
            state.ends[i] += length;
            expected = length as usize + length as usize / 8;
        }
        for slot in 2..state.starts.len() {
            state.starts[slot] += state.starts[slot - 1];
        }
    }

    /// Second pass: moves each entry to its gene's place.
    fn place(
        &self,
        rows: Range<usize>,
        labels: &[u32],
        state: &mut Band<S::Value>,
        slot_of: impl Fn(i64) -> usize,
    ) -> Result<()> {
        let mut zeros = false;
        for (i, row) in rows.enumerate() {
            let (indices, values) = self.row(row);
            let stretch = state.cursors[i] as usize..state.ends[i] as usize;
            let (Some(indices), Some(values)) = (indices.get(stretch.clone()), values.get(stretch))
            else {
                return Err(ErrorKind::Changed { row }.into());
            };
            let code = labels[row];
            for (index, value) in indices.iter().zip(values) {
                // `starts[slot + 1]` moves from the start of this gene to the start of the next.
                let slot = slot_of(index.get());
                let Some(place) = state.starts.get_mut(slot.wrapping_add(1)) else { continue };
                let Some(entry) = state.entries.get_mut(*place as usize) else {
                    return Err(ErrorKind::Changed { row }.into());
                };
                *place += 1;
                let value = value.value();
                zeros |= value.is_zero();
                *entry = Entry { value, code };
            }
        }
        state.zeros = zeros;
        Ok(())
    }

    fn gather(
        &self,
        rows: &Range<usize>,
        labels: &[u32],
        block: &Block,
        state: &mut Band<S::Value>,
        slot_of: impl Fn(i64) -> usize,
    ) -> Result<()> {
        self.count(rows.clone(), labels, block, state, &slot_of);
        let total = state.starts[block.genes.len() + 1] as usize;
        if state.entries.len() < total {
            state.entries.resize(total, Entry::default());
        }
        self.place(rows.clone(), labels, state, slot_of)?;
        std::mem::swap(&mut state.cursors, &mut state.ends);
        state.next_gene = block.end();
        Ok(())
    }
}

impl<S: Stored, I: Index, P: Index> Matrix for Csr<'_, S, I, P> {
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
        self.shape.0.div_ceil(self.band)
    }

    fn load(
        &self,
        band: usize,
        block: &Block,
        labels: &[u32],
        state: &mut Self::Band,
    ) -> Result<()> {
        let rows = self.band_rows(band);
        self.seek(rows.clone(), block.first(), state);
        let first = block.first() as i64;
        if block.is_whole() {
            self.gather(&rows, labels, block, state, |gene| (gene - first) as usize)
        } else {
            let slot = |gene: i64| block.slot((gene - first) as usize).unwrap_or(NOWHERE);
            self.gather(&rows, labels, block, state, slot)
        }
    }

    fn column(
        &self,
        bands: &[Self::Band],
        _block: &Block,
        slot: usize,
        _labels: &[u32],
        out: &mut Column<S::Value>,
    ) -> Result<()> {
        for band in bands {
            let entries = &band.entries[band.starts[slot] as usize..band.starts[slot + 1] as usize];
            if band.zeros {
                extend(out, entries.iter().map(|entry| (entry.value, entry.code)));
            } else {
                out.extend_from_slice(entries);
            }
        }
        Ok(())
    }

    fn visit_row(&self, row: usize, genes: Range<usize>, visit: impl FnMut(usize, u32, S::Value)) {
        let (indices, values) = self.row(row);
        let below = |gene: usize| indices.partition_point(|index| index.get() < gene as i64);
        let start = if genes.start == 0 { 0 } else { below(genes.start) };
        let end = if genes.end == self.shape.1 { indices.len() } else { below(genes.end) };
        let Some(indices) = indices.get(start..end) else { return };
        let gene = |i: usize| indices.get(i).map(|index| index.get() as usize);
        visit_counts(gene, &values[start..end], visit);
    }

    fn stored(&self) -> &[S] {
        self.values
    }

    fn first(&self, wanted: &dyn Fn(usize, usize, S::Value) -> bool) -> Option<(usize, usize)> {
        (0..self.shape.0).find_map(|row| {
            let (indices, values) = self.row(row);
            let gene = |index: &I| usize::try_from(index.get()).unwrap_or(0);
            let mut entries = indices.iter().map(gene).zip(values);
            entries.find(|(gene, v)| wanted(row, *gene, v.value())).map(|(gene, _)| (row, gene))
        })
    }
}
