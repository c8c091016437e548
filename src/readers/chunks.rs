//! Reads a window of a dataset, with its chunks read and decompressed in parallel.
//!
//! A dataset has rows x columns; a one-dimensional dataset has one column. Chunks that start at the
//! same row are a *band*. One task reads a band into its rows of the window, which no other task
//! writes. HDF5 stores no chunk where nothing was written; such rows are 0, so the dataset's fill
//! value must be 0, too.

use super::decode::{Dtype, Target};
use super::filters::{Filter, Undo, most};
use crate::cast;
use crate::error::{Error, ErrorKind, Result};
use rayon::prelude::*;
use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Windows of up to this many bytes are read from a file of any size, since chunks may be absent.
const PLAUSIBLE: u64 = 1 << 30;

/// Where a chunk lies in the dataset and in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Its first row and column.
    pub row: usize,
    pub column: usize,
    /// The offset of its first byte in the file, and its size in bytes.
    pub address: u64,
    pub size: u64,
    /// Bit i is set if the chunk skipped filter i.
    pub mask: u32,
}

/// The layout of a dataset in its file.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub dtype: Dtype,
    /// The numbers of rows and columns of the dataset, and of each chunk.
    pub shape: (usize, usize),
    pub chunk: (usize, usize),
    pub filters: Vec<Filter>,
    /// In any order, with no two at the same position.
    pub chunks: Vec<Chunk>,
}

/// A rectangular part of a dataset.
#[derive(Debug, Clone)]
pub struct Window {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

/// A band: its chunks, and the rows of the window that they fill.
struct Band<'a, T> {
    /// The first of these rows, as a row of the dataset.
    first: usize,
    out: &'a mut [T],
    /// Indices in the dataset's list of chunks.
    chunks: Vec<usize>,
}

/// The progress of a read, and its cancellation.
#[derive(Debug)]
pub struct Watch<'a> {
    /// Bytes of the file read so far.
    pub bytes: &'a AtomicUsize,
    /// Set this to cancel the read.
    pub cancel: &'a AtomicBool,
}

impl Dataset {
    /// Reads the window's numbers, row after row; `None` if one of them does not fit `T`.
    ///
    /// Runs on the current rayon pool.
    ///
    /// # Errors
    /// [`ErrorKind::BrokenChunk`], [`ErrorKind::Unreadable`], [`ErrorKind::UnsupportedDtype`], or
    /// [`ErrorKind::Interrupted`] after cancellation.
    pub fn read<T: Target>(
        &self,
        file: &File,
        window: &Window,
        watch: &Watch,
    ) -> Result<Option<Vec<T>>> {
        let decode = T::decoder(self.dtype)?;
        let rows = window.rows.end.min(self.shape.0).saturating_sub(window.rows.start);
        let columns = window.columns.end.min(self.shape.1).saturating_sub(window.columns.start);
        let length = file.metadata().map_err(|e| unreadable(0, e))?.len();
        self.check(length)?;
        let bytes = (rows.saturating_mul(columns)).saturating_mul(size_of::<T>()) as u64;
        if bytes > most(&self.filters, length).max(PLAUSIBLE) {
            return Err(broken(0, "the dataset claims more numbers than its file can hold"));
        }
        let mut out = vec![T::default(); rows * columns];
        let narrow = AtomicBool::new(false);
        let bands = self.bands(window, columns, &mut out);
        let read = |undo: &mut Undo, band: Band<T>| -> Result<()> {
            for &place in &band.chunks {
                if watch.cancel.load(Ordering::Relaxed) {
                    return Err(ErrorKind::Interrupted.into());
                }
                if narrow.load(Ordering::Relaxed) {
                    return Ok(());
                }
                self.inflate(file, place, undo)?;
                let chunk = &self.chunks[place];
                watch.bytes.fetch_add(cast::length(chunk.size), Ordering::Relaxed);
                if !self.spread(chunk, &undo.bytes, window, (band.first, &mut *band.out), &decode) {
                    narrow.store(true, Ordering::Relaxed);
                }
            }
            Ok(())
        };
        bands.into_par_iter().with_max_len(1).try_for_each_init(Undo::default, read)?;
        Ok((!narrow.into_inner()).then_some(out))
    }

    /// The size in bytes of a full, decoded chunk; `None` if it overflows.
    fn chunk_bytes(&self) -> Option<usize> {
        self.chunk.0.checked_mul(self.chunk.1)?.checked_mul(self.dtype.size)
    }

    /// Fails unless every chunk lies within a file of `length` bytes and its size is plausible.
    /// Called before memory is allocated.
    fn check(&self, length: u64) -> Result<()> {
        let whole = self.chunk_bytes().unwrap_or(usize::MAX) as u64;
        for (place, chunk) in self.chunks.iter().enumerate() {
            if chunk.address.checked_add(chunk.size).is_none_or(|end| end > length) {
                return Err(broken(place, "it lies beyond the end of the file"));
            }
            // Without filters the last chunk may end with the dataset's last row.
            let rows = self.shape.0.saturating_sub(chunk.row).min(self.chunk.0);
            let least = rows.saturating_mul(self.chunk.1).saturating_mul(self.dtype.size) as u64;
            let bare = self.filters.is_empty() && (least..=whole).contains(&chunk.size);
            if !bare && (self.filters.is_empty() || most(&self.filters, chunk.size) < whole) {
                return Err(broken(place, "it is too short for its elements"));
            }
        }
        Ok(())
    }

    /// The bands that overlap the window, ascending, with their parts of `out`.
    fn bands<'a, T>(
        &self,
        window: &Window,
        columns: usize,
        mut out: &'a mut [T],
    ) -> Vec<Band<'a, T>> {
        let wanted = |&place: &usize| {
            let chunk = &self.chunks[place];
            chunk.row < window.rows.end
                && chunk.row.saturating_add(self.chunk.0) > window.rows.start
                && chunk.column < window.columns.end
                && chunk.column.saturating_add(self.chunk.1) > window.columns.start
        };
        let mut places: Vec<usize> = (0..self.chunks.len()).filter(wanted).collect();
        places.sort_by_key(|&place| (self.chunks[place].row, self.chunks[place].column));
        let mut bands = Vec::new();
        let mut done = window.rows.start;
        for same in places.chunk_by(|&a, &b| self.chunks[a].row == self.chunks[b].row) {
            let row = self.chunks[same[0]].row;
            let first = row.max(done);
            let end = row.saturating_add(self.chunk.0).min(window.rows.end).min(self.shape.0);
            let skipped = (first - done).saturating_mul(columns).min(out.len());
            let length = end.saturating_sub(first).saturating_mul(columns).min(out.len() - skipped);
            let (band, rest) = std::mem::take(&mut out)[skipped..].split_at_mut(length);
            out = rest;
            done = end.max(done);
            bands.push(Band { first, out: band, chunks: same.to_vec() });
        }
        bands
    }

    /// Reads a chunk into `undo.bytes` and undoes its filters.
    fn inflate(&self, file: &File, place: usize, undo: &mut Undo) -> Result<()> {
        let chunk = &self.chunks[place];
        let size = usize::try_from(chunk.size).unwrap_or(usize::MAX);
        undo.bytes.resize(size, 0);
        read_exact_at(file, &mut undo.bytes, chunk.address).map_err(|e| unreadable(place, e))?;
        if self.filters.is_empty() {
            return Ok(());
        }
        let length = self.chunk_bytes().unwrap_or(usize::MAX);
        undo.undo(&self.filters, chunk.mask, self.dtype.size, length).map_err(|e| {
            e.map_kind(|kind| match kind {
                ErrorKind::BrokenChunk { reason, .. } => {
                    ErrorKind::BrokenChunk { chunk: place, reason }
                }
                kind => kind,
            })
        })
    }

    /// Decodes the part of a chunk that lies in the window; false if a number does not fit. `out`
    /// holds the window's rows from `first` on.
    fn spread<T>(
        &self,
        chunk: &Chunk,
        bytes: &[u8],
        window: &Window,
        (first, out): (usize, &mut [T]),
        decode: &dyn Fn(&[u8], &mut [T]) -> bool,
    ) -> bool {
        let columns = window.columns.end.min(self.shape.1).saturating_sub(window.columns.start);
        let from = chunk.column.max(window.columns.start);
        let to =
            chunk.column.saturating_add(self.chunk.1).min(window.columns.end).min(self.shape.1);
        let (size, width) = (self.dtype.size, to.saturating_sub(from));
        let place = |row| ((row - chunk.row) * self.chunk.1 + (from - chunk.column)) * size;
        if width == self.chunk.1 && width == columns {
            // Rows are contiguous both in the chunk and in the window: decode all at once.
            let bytes = bytes.get(place(first)..).unwrap_or_default();
            return decode(bytes, out);
        }
        let mut all = true;
        for (row, out) in (first..).zip(out.chunks_mut(columns.max(1))) {
            let start = place(row);
            let bytes = bytes.get(start..start + width * size);
            let out = out.get_mut(from - window.columns.start..to - window.columns.start);
            if let (Some(bytes), Some(out)) = (bytes, out) {
                all &= decode(bytes, out);
            }
        }
        all
    }
}

fn broken(chunk: usize, reason: &'static str) -> Error {
    ErrorKind::BrokenChunk { chunk, reason }.into()
}

fn unreadable(chunk: usize, error: std::io::Error) -> Error {
    ErrorKind::Unreadable { chunk }.caused_by(error)
}

/// Fills `bytes` from an address of a file, whose position may move.
///
/// # Errors
/// The operating system's.
#[cfg(unix)]
pub fn read_exact_at(file: &File, bytes: &mut [u8], address: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, address)
}

/// Fills `bytes` from an address of a file, whose position may move.
///
/// # Errors
/// The operating system's.
#[cfg(windows)]
pub fn read_exact_at(file: &File, mut bytes: &mut [u8], mut address: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, bytes, address)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        (bytes, address) = (&mut bytes[n..], address + n as u64);
    }
    Ok(())
}
