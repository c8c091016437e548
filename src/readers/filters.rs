//! Decoding of HDF5 filters.
//!
//! | filter | number | encoded form |
//! |---|---|---|
//! | deflate | 1 | zlib stream (decoded by libdeflate) |
//! | shuffle | 2 | first bytes of all elements, then second bytes, ... |
//! | fletcher32 | 3 | the data, followed by a checksum of four bytes |
//! | Zstandard | 32015 | one frame (with the feature `h5ad`) |
//! | LZF | 32000 | literal runs and back references (Marc Lehmann's liblzf; h5py's filter) |
//!
//! A chunk may have skipped some filters: in its mask, bit i is set if it skipped filter i.

use crate::cast::{low_half, narrow};
use crate::error::{ErrorKind, Result};
use libdeflater::Decompressor;
use std::mem;

/// A supported filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    Deflate,
    Shuffle,
    Fletcher32,
    Lzf,
    #[cfg(feature = "h5ad")]
    Zstd,
}

impl Filter {
    /// The filter with this HDF5 number; `None` if it is not supported.
    #[must_use]
    pub fn of_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Deflate),
            2 => Some(Self::Shuffle),
            3 => Some(Self::Fletcher32),
            32000 => Some(Self::Lzf),
            #[cfg(feature = "h5ad")]
            32015 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The most bytes to which one byte decodes.
    #[must_use]
    pub fn growth(self) -> u64 {
        match self {
            Self::Shuffle | Self::Fletcher32 => 1,
            // A back reference of three bytes stands for 264.
            Self::Lzf => 88,
            Self::Deflate => 1032,
            // A block of four bytes stands for 128 KiB of one byte.
            #[cfg(feature = "h5ad")]
            Self::Zstd => 1 << 15,
        }
    }
}

/// The most bytes to which `size` bytes decode. Checked before memory is allocated.
#[must_use]
pub fn most(filters: &[Filter], size: u64) -> u64 {
    filters.iter().fold(size, |bytes, filter| bytes.saturating_mul(filter.growth()))
}

/// Decodes chunks, with buffers that one thread reuses.
#[derive(Default)]
pub struct Undo {
    /// The bytes read, which each decoded filter replaces.
    pub bytes: Vec<u8>,
    spare: Vec<u8>,
    inflater: Option<Decompressor>,
}

impl Undo {
    /// Undoes the filters of the chunk in `bytes`, except those that `mask` skips. `length` is the
    /// decoded size in bytes, `itemsize` the size of an element.
    ///
    /// # Errors
    /// [`ErrorKind::BrokenChunk`] if the chunk cannot be decoded to `length` bytes.
    pub fn undo(
        &mut self,
        filters: &[Filter],
        mask: u32,
        itemsize: usize,
        length: usize,
    ) -> Result<()> {
        let active =
            |(i, _): &(usize, &Filter)| mask & 1u32.checked_shl(narrow(*i)).unwrap_or(0) == 0;
        let active: Vec<Filter> = filters.iter().enumerate().filter(active).map(|f| *f.1).collect();
        // Each checksum added four bytes to the data.
        let sums = |filters: &[Filter]| {
            filters.iter().filter(|&&filter| filter == Filter::Fletcher32).count() * 4
        };
        for (i, filter) in active.iter().enumerate().rev() {
            let before = length + sums(&active[..i]);
            match filter {
                Filter::Shuffle => self.unshuffle(itemsize),
                Filter::Fletcher32 => self.check_sum()?,
                Filter::Deflate => self.inflate(before)?,
                Filter::Lzf => self.expand(before)?,
                #[cfg(feature = "h5ad")]
                Filter::Zstd => self.unpack(before)?,
            }
        }
        if self.bytes.len() != length {
            return broken("it has another length than its elements");
        }
        Ok(())
    }

    fn inflate(&mut self, length: usize) -> Result<()> {
        self.spare.resize(length, 0);
        let inflater = self.inflater.get_or_insert_with(Decompressor::new);
        match inflater.zlib_decompress(&self.bytes, &mut self.spare) {
            Ok(got) if got == length => mem::swap(&mut self.bytes, &mut self.spare),
            Ok(_) => return broken("inflated, it has another length than its elements"),
            Err(cause) => {
                let (chunk, reason) = (0, "the compressed data cannot be decoded");
                return Err(ErrorKind::BrokenChunk { chunk, reason }.caused_by(cause));
            }
        }
        Ok(())
    }

    fn expand(&mut self, length: usize) -> Result<()> {
        self.spare.clear();
        self.spare.reserve(length);
        if unlzf(&self.bytes, &mut self.spare, length).is_none() || self.spare.len() != length {
            return broken("it is no LZF stream of its elements");
        }
        mem::swap(&mut self.bytes, &mut self.spare);
        Ok(())
    }

    #[cfg(feature = "h5ad")]
    fn unpack(&mut self, length: usize) -> Result<()> {
        self.spare.resize(length, 0);
        match zstd::bulk::decompress_to_buffer(&self.bytes, &mut self.spare) {
            Ok(got) if got == length => mem::swap(&mut self.bytes, &mut self.spare),
            Ok(_) => return broken("unpacked, it does not have the length of its elements"),
            Err(cause) => {
                let (chunk, reason) = (0, "the Zstandard frame cannot be decoded");
                return Err(ErrorKind::BrokenChunk { chunk, reason }.caused_by(cause));
            }
        }
        Ok(())
    }

    fn unshuffle(&mut self, itemsize: usize) {
        let n = self.bytes.len() / itemsize.max(1);
        if itemsize < 2 || n < 2 {
            return;
        }
        self.spare.clear();
        // Bytes after the last whole element were not shuffled.
        self.spare.extend_from_slice(&self.bytes);
        match itemsize {
            2 => unshuffle::<2>(&self.bytes, &mut self.spare, n),
            4 => unshuffle::<4>(&self.bytes, &mut self.spare, n),
            8 => unshuffle::<8>(&self.bytes, &mut self.spare, n),
            _ => {
                for (j, plane) in self.bytes.chunks_exact(n).take(itemsize).enumerate() {
                    let places = self.spare.iter_mut().skip(j).step_by(itemsize);
                    places.zip(plane).for_each(|(place, &byte)| *place = byte);
                }
            }
        }
        mem::swap(&mut self.bytes, &mut self.spare);
    }

    fn check_sum(&mut self) -> Result<()> {
        let Some((data, sum)) = self.bytes.split_last_chunk::<4>() else {
            return broken("it is shorter than its checksum");
        };
        let (got, want) = (fletcher32(data), u32::from_le_bytes(*sum));
        // HDF5 before 1.6.3 swapped the bytes of each half on big-endian machines.
        let swapped = (want & 0x00ff_00ff) << 8 | (want >> 8 & 0x00ff_00ff);
        if got != want && got != swapped {
            return broken("its checksum does not agree");
        }
        let length = data.len();
        self.bytes.truncate(length);
        Ok(())
    }
}

impl std::fmt::Debug for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Undo").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

fn broken<T>(reason: &'static str) -> Result<T> {
    Err(ErrorKind::BrokenChunk { chunk: 0, reason }.into())
}

/// Interleaves `SIZE` planes of `n` bytes into `n` elements.
fn unshuffle<const SIZE: usize>(planes: &[u8], out: &mut [u8], n: usize) {
    let planes: [&[u8]; SIZE] = std::array::from_fn(|j| &planes[j * n..(j + 1) * n]);
    for (i, element) in out.as_chunks_mut::<SIZE>().0.iter_mut().enumerate().take(n) {
        *element = std::array::from_fn(|j| planes[j][i]);
    }
}

/// Decodes an LZF stream and appends its bytes; `None` if it is invalid or exceeds `length` bytes.
fn unlzf(mut stream: &[u8], out: &mut Vec<u8>, length: usize) -> Option<()> {
    while let Some((&control, rest)) = stream.split_first() {
        let control = usize::from(control);
        if control < 32 {
            let (literal, rest) = rest.split_at_checked(control + 1)?;
            out.extend_from_slice(literal);
            stream = rest;
        } else {
            let (mut copied, mut rest) = (control >> 5, rest);
            if copied == 7 {
                let (&more, after) = rest.split_first()?;
                (copied, rest) = (copied + usize::from(more), after);
            }
            let (&low, after) = rest.split_first()?;
            let distance = ((control & 31) << 8 | usize::from(low)) + 1;
            let start = out.len().checked_sub(distance)?;
            // Source and destination may overlap.
            for i in start..start + copied + 2 {
                out.push(out[i]);
            }
            stream = after;
        }
        if out.len() > length {
            return None;
        }
    }
    Some(())
}

/// The Fletcher checksum of big-endian 16-bit words, as HDF5 computes it.
fn fletcher32(data: &[u8]) -> u32 {
    // HDF5 folds instead of dividing: a nonzero multiple of 65,535 becomes 65,535, not 0.
    let fold = |sum: u64| if sum == 0 { 0 } else { (sum - 1) % 65_535 + 1 };
    let (mut a, mut b) = (0u64, 0u64);
    let (words, odd) = data.as_chunks::<2>();
    let last = odd.first().map(|&byte| [byte, 0]);
    for (i, &word) in words.iter().chain(&last).enumerate() {
        a += u64::from(u16::from_be_bytes(word));
        b += a;
        if i % 4096 == 4095 {
            (a, b) = (fold(a), fold(b));
        }
    }
    // Both are below 2^16.
    low_half(fold(b) << 16 | fold(a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A simple LZF encoder: literals, and runs of the previous byte.
    fn lzf(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut i = 0;
        while i < data.len() {
            let run = data[i..].iter().skip(1).take(250).take_while(|&&b| b == data[i]).count();
            out.extend([0, data[i]]);
            i += 1;
            if run >= 9 {
                out.extend([7 << 5, (run - 9) as u8, 0]);
                i += run;
            } else if run >= 3 {
                out.extend([((run - 2) << 5) as u8, 0]);
                i += run;
            }
        }
        out
    }

    fn shuffled(data: &[u8], size: usize) -> Vec<u8> {
        let n = data.len() / size;
        let planes = (0..size).flat_map(|j| (0..n).map(move |i| data[i * size + j]));
        planes.chain(data[n * size..].iter().copied()).collect()
    }

    proptest! {
        #[test]
        fn what_was_done_is_undone(data in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..700), size in 1usize..10, mask in 0u32..8) {
            let filters = [Filter::Shuffle, Filter::Deflate, Filter::Fletcher32];
            let mut bytes = data.clone();
            if mask & 1 == 0 {
                bytes = shuffled(&bytes, size);
            }
            if mask & 2 == 0 {
                let mut packed = vec![0; bytes.len() + 100];
                let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
                let n = compressor.zlib_compress(&bytes, &mut packed).unwrap();
                packed.truncate(n);
                bytes = packed;
            }
            if mask & 4 == 0 {
                let sum = fletcher32(&bytes);
                bytes.extend(sum.to_le_bytes());
            }
            let mut undo = Undo { bytes, ..Undo::default() };
            undo.undo(&filters, mask, size, data.len()).unwrap();
            prop_assert_eq!(&undo.bytes, &data);
            undo.bytes = lzf(&data);
            undo.undo(&[Filter::Lzf], 0, size, data.len()).unwrap();
            prop_assert_eq!(&undo.bytes, &data);
            #[cfg(feature = "h5ad")]
            {
                undo.bytes = zstd::bulk::compress(&data, 3).unwrap();
                undo.undo(&[Filter::Zstd], 0, size, data.len()).unwrap();
                prop_assert_eq!(&undo.bytes, &data);
            }
        }

        #[test]
        fn nonsense_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), length in 0usize..500) {
            let numbers = [1, 3, 32000, 32015];
            for filter in numbers.into_iter().filter_map(Filter::of_number) {
                let mut undo = Undo { bytes: bytes.clone(), ..Undo::default() };
                let result = undo.undo(&[filter], 0, 4, length);
                prop_assert!(result.is_err() || undo.bytes.len() == length);
            }
        }
    }

    #[test]
    fn the_checksum_is_hdf5s() {
        // h5py 3.16, HDF5 2.0: create_dataset(..., chunks=(5,), dtype="u1", fletcher32=True).
        assert_eq!(fletcher32(&[1, 2, 3, 4, 5]), 0x0e0e_0906);
        assert_eq!(fletcher32(&[0xff; 4]), 0xffff_ffff);
    }
}
