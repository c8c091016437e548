//! The entries of one band of cells, gathered for one block of genes.
//!
//! Sparse rows are gathered in two passes over the block's part of each row. The first counts the
//! entries of each gene; the second reads them again, from cache, and groups them by gene. A cursor
//! per row remembers where the block ended, so that a sweep over blocks reads every entry from
//! memory once. A sparse layout implements [`Rows`], which streams a row's entries from a cursor.
//!
//! Dense rows are transposed instead, so that values lie gene after gene.

use super::{Block, Column, Entry, SKIP, Value, append_non_zeros, changed};
use crate::cast::{length, place};
use crate::error::{ErrorKind, Result};
use std::ops::Range;

/// How many rows ahead memory is prefetched.
const AHEAD: usize = 2;

/// A position in a row: the offset of an entry in its row, and the gene of the entry before it, for
/// layouts that store differences of genes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    pub offset: u32,
    pub before: u32,
}

/// Rows that can be read from a cursor: the interface of a layout that [`Band::gather`] uses.
///
/// If the arrays have changed, a method may fail with [`ErrorKind::Changed`] or yield other places
/// than before, but must not panic.
pub(super) trait Rows<V: Value> {
    /// The cursor of the first entry at or after `gene`.
    fn seek(&self, cell: usize, gene: u32) -> Result<Cursor>;

    /// Prefetches about `expected` entries.
    fn prefetch(&self, cell: usize, from: Cursor, expected: usize);

    /// Visits the places below `end`, starting at a cursor; returns the cursor of the next entry.
    fn places(&self, cell: usize, from: Cursor, end: u32, visit: impl FnMut(u32))
    -> Result<Cursor>;

    /// Visits the places and values between two cursors.
    fn entries(
        &self,
        cell: usize,
        range: (Cursor, Cursor),
        visit: impl FnMut(u32, V),
    ) -> Result<()>;
}

/// What a band holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Nothing: no block was gathered since the band was made or reset, or the last gather failed.
    Nothing,
    /// Entries grouped by gene; `zeros` is true if one of them is zero.
    Grouped { zeros: bool },
    /// The values of `cells` cells, starting at cell `first`, gene after gene.
    Dense { first: usize, cells: usize },
}

/// The entries of some cells for one block of genes.
///
/// A band may be reused for the next block, with the same view, band number and labels. Call
/// [`Band::reset`] before a sweep over another view or with other labels.
#[derive(Debug)]
pub struct Band<V> {
    held: Held,
    /// The rows that cursors belong to.
    rows: Range<usize>,
    /// For each row, its first entry at or after `next_gene`.
    cursors: Vec<Cursor>,
    next_gene: usize,
    /// For each row, its first entry after the block.
    ends: Vec<Cursor>,
    /// The entries of the block's gene `slot` are at `starts[slot]..starts[slot + 1]`.
    starts: Vec<u32>,
    /// What `starts` must be after all entries have been placed.
    bounds: Vec<u32>,
    entries: Vec<Entry<V>>,
    /// Dense values, gene after gene.
    values: Vec<V>,
}

impl<V> Default for Band<V> {
    fn default() -> Self {
        Self {
            held: Held::Nothing,
            rows: 0..0,
            cursors: Vec::new(),
            next_gene: 0,
            ends: Vec::new(),
            starts: Vec::new(),
            bounds: Vec::new(),
            entries: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl<V: Value> Band<V> {
    /// Forgets the cursors and the gathered entries; keeps the memory.
    pub fn reset(&mut self) {
        self.held = Held::Nothing;
        self.cursors.clear();
    }

    /// Appends the non-zeros of gene number `slot` of the gathered block at labelled cells, in
    /// ascending order of cells. `labels` must be those passed to the gather.
    ///
    /// Appends nothing, and panics in debug builds, if no block is held (after [`Band::reset`] or a
    /// failed gather) or `slot` is not in the block.
    pub fn append(&self, slot: usize, labels: &[u32], out: &mut Column<V>) {
        let appended = match self.held {
            Held::Nothing => None,
            Held::Grouped { zeros } => self.append_grouped(slot, zeros, out),
            Held::Dense { first, cells } => {
                let values = self.values.get(slot * cells..(slot + 1) * cells);
                values.zip(labels.get(first..first + cells)).map(|(values, labels)| {
                    append_non_zeros(out, values.iter().copied().zip(labels.iter().copied()));
                })
            }
        };
        debug_assert!(appended.is_some(), "gene {slot} of a block that is not held");
    }

    fn append_grouped(&self, slot: usize, zeros: bool, out: &mut Column<V>) -> Option<()> {
        let (start, end) = (*self.starts.get(slot)?, *self.starts.get(slot + 1)?);
        let entries = self.entries.get(place(start)..place(end))?;
        if zeros {
            append_non_zeros(out, entries.iter().map(|entry| (entry.value, entry.code)));
        } else {
            out.extend_from_slice(entries);
        }
        Some(())
    }

    /// Returns a buffer for the values of `cells`, gene after gene, of `genes` genes.
    pub(super) fn hold_dense(&mut self, cells: &Range<usize>, genes: usize) -> &mut [V] {
        self.cursors.clear();
        self.held = Held::Dense { first: cells.start, cells: cells.len() };
        self.values.resize(cells.len() * genes, V::default());
        &mut self.values
    }

    /// Gathers the block's entries of `cells`.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] if the two passes disagree or a row has an entry before the block at
    /// its cursor; [`ErrorKind::ShapeMismatch`] if `labels` are too few or the block has 2^32
    /// entries or more.
    pub(super) fn gather(
        &mut self,
        source: &impl Rows<V>,
        cells: &Range<usize>,
        block: &Block,
        labels: &[u32],
    ) -> Result<()> {
        self.held = Held::Nothing;
        let Some(labels) = labels.get(cells.clone()) else {
            let (expected, got) = (cells.end, labels.len());
            return Err(ErrorKind::ShapeMismatch { what: "labels", expected, got }.into());
        };
        self.seek(source, cells, block)?;
        let (first, _) = block.places();
        let zeros = if block.is_whole() {
            let slot = |gene: u32| Slot::At(place(gene.wrapping_sub(first)));
            self.two_passes(source, cells.start, block, labels, slot)
        } else {
            let slot = |gene: u32| match block.slots().get(place(gene.wrapping_sub(first))) {
                Some(&SKIP) => Slot::NotAsked,
                Some(&slot) => Slot::At(place(slot)),
                None => Slot::At(usize::MAX / 2),
            };
            self.two_passes(source, cells.start, block, labels, slot)
        };
        // After a failure the cursors are invalid.
        match zeros {
            Ok(zeros) => self.held = Held::Grouped { zeros },
            Err(_) => self.cursors.clear(),
        }
        zeros.map(|_| ())
    }

    /// Moves every cursor to the block's first gene.
    fn seek(&mut self, source: &impl Rows<V>, cells: &Range<usize>, block: &Block) -> Result<()> {
        let there = self.cursors.len() == cells.len() && self.rows == *cells;
        if there && self.next_gene == block.first() {
            return Ok(());
        }
        self.rows = cells.clone();
        self.cursors.clear();
        for cell in cells.clone() {
            match source.seek(cell, block.places().0) {
                Ok(cursor) => self.cursors.push(cursor),
                Err(error) => {
                    self.cursors.clear();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Counts, then places the block's entries; true if one of them is zero.
    fn two_passes(
        &mut self,
        source: &impl Rows<V>,
        first_cell: usize,
        block: &Block,
        labels: &[u32],
        slot_of: impl Fn(u32) -> Slot,
    ) -> Result<bool> {
        self.count(source, first_cell, block, labels, &slot_of)?;
        let total = length(self.starts.last().copied().unwrap_or(0).into());
        if self.entries.len() < total {
            self.entries.resize(total, Entry::default());
        }
        let zeros = self.place(source, first_cell, labels, slot_of)?;
        std::mem::swap(&mut self.cursors, &mut self.ends);
        self.next_gene = block.end();
        Ok(zeros)
    }

    /// First pass: counts the entries of each gene in `starts[slot + 2]`, sums the counts, and
    /// finds where the block ends in each row.
    fn count(
        &mut self,
        source: &impl Rows<V>,
        first_cell: usize,
        block: &Block,
        labels: &[u32],
        slot_of: impl Fn(u32) -> Slot,
    ) -> Result<()> {
        let (_, end) = block.places();
        self.starts.clear();
        self.starts.resize(block.genes().len() + 2, 0);
        self.ends.clear();
        self.ends.extend_from_slice(&self.cursors);
        let mut expected = 0;
        for (i, (&label, to)) in labels.iter().zip(&mut self.ends).enumerate() {
            if label == SKIP {
                continue;
            }
            let cell = first_cell + i;
            if let Some(&cursor) = self.cursors.get(i + AHEAD) {
                source.prefetch(cell + AHEAD, cursor, expected);
            }
            let (starts, mut inside) = (&mut self.starts, true);
            let from = *to;
            *to = source.places(cell, from, end, |gene| {
                if let Slot::At(slot) = slot_of(gene) {
                    match starts.get_mut(slot.wrapping_add(2)) {
                        Some(count) => *count += 1,
                        // Before the block's first gene.
                        None => inside = false,
                    }
                }
            })?;
            if !inside {
                return changed(cell);
            }
            let read = place(to.offset.wrapping_sub(from.offset));
            expected = read + read / 8;
        }
        let mut sum = 0u32;
        for count in &mut self.starts {
            let Some(total) = sum.checked_add(*count) else {
                let (expected, got) = (length(u32::MAX.into()), usize::MAX);
                let what = "entries of a band's block";
                return Err(ErrorKind::ShapeMismatch { what, expected, got }.into());
            };
            (sum, *count) = (total, total);
        }
        Ok(())
    }

    /// Second pass: moves each entry to its gene's range; true if one of them is zero.
    fn place(
        &mut self,
        source: &impl Rows<V>,
        first_cell: usize,
        labels: &[u32],
        slot_of: impl Fn(u32) -> Slot,
    ) -> Result<bool> {
        self.bounds.clear();
        self.bounds.extend_from_slice(&self.starts[1..]);
        let (starts, entries) = (&mut self.starts[..], &mut self.entries[..]);
        let (mut zeros, mut agree) = (false, true);
        for (i, (&code, range)) in labels
            .iter()
            .zip(self.cursors.iter().copied().zip(self.ends.iter().copied()))
            .enumerate()
        {
            let cell = first_cell + i;
            source.entries(cell, range, |gene, value| {
                let Slot::At(slot) = slot_of(gene) else { return };
                // `starts[slot + 1]` moves from the start of this gene to the start of the next.
                let start = starts.get_mut(slot.wrapping_add(1));
                if let Some(start) = start
                    && let Some(entry) = entries.get_mut(place(*start))
                {
                    *start += 1;
                    zeros |= value.is_zero();
                    *entry = Entry { value, code };
                } else {
                    agree = false;
                }
            })?;
            if !agree {
                return changed(cell);
            }
        }
        // Unless every gene got as many entries as were counted, one lies in another gene's range.
        let end = self.bounds.len() - 1;
        if self.starts[1..=end] == self.bounds[1..] { Ok(zeros) } else { changed(first_cell) }
    }
}

/// Where a gene's entries go.
#[derive(Debug, Clone, Copy)]
enum Slot {
    /// To this slot of the block, which is out of range for a gene outside the block.
    At(usize),
    /// Nowhere: the gene is between the block's genes but not requested.
    NotAsked,
}
