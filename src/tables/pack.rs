//! Rows of some genes as bytes: every column as narrow as its numbers allow.
//!
//! ```text
//! number of rows of each gene   4 bytes each
//! group                         1, 2 or 4 bytes
//! value                         1 or 2 bytes where all are counts that fit, else its key
//! number of cells               0 bytes where all are 1, else 1, 2 or 4
//! ```
//! Rows of the value 0 are left out: a group's cells that no row tells of are zeros.

use crate::cast::{low_half, narrow, place};
use crate::engine::fold::rows::Rows;
use crate::error::{ErrorKind, Result};
use crate::matrix::Keyed;
use std::ops::Range;

/// How rows are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    pub genes: usize,
    pub rows: usize,
    /// Bytes of each column's numbers.
    group: usize,
    value: usize,
    count: usize,
    /// True if values are counts.
    counts: bool,
}

/// Unpacked rows: columns, and the rows of gene g are `starts[g]..starts[g + 1]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Unpacked<V> {
    pub starts: Vec<u64>,
    pub groups: Vec<u32>,
    pub values: Vec<V>,
    pub counts: Vec<u32>,
}

/// The bytes that numbers up to `most` take.
fn width(most: u32) -> usize {
    match most {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    }
}

/// Appends the lowest `width` bytes of each number.
fn put(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>, width: usize) {
    match width {
        0 => {}
        1 => out.extend(numbers.map(|n| n.to_le_bytes()[0])),
        2 => numbers.for_each(|n| out.extend_from_slice(&n.to_le_bytes()[..2])),
        4 => numbers.for_each(|n| out.extend_from_slice(&n.to_le_bytes()[..4])),
        _ => numbers.for_each(|n| out.extend_from_slice(&n.to_le_bytes())),
    }
}

/// The numbers that [`put`] appended.
fn get(bytes: &[u8], width: usize, mut each: impl FnMut(u64)) {
    match width {
        1 => bytes.iter().for_each(|&byte| each(byte.into())),
        2 => bytes.as_chunks().0.iter().for_each(|&n| each(u16::from_le_bytes(n).into())),
        4 => bytes.as_chunks().0.iter().for_each(|&n| each(u32::from_le_bytes(n).into())),
        _ => bytes.as_chunks().0.iter().for_each(|&n| each(u64::from_le_bytes(n))),
    }
}

/// Packs the rows of some genes (by their places among those of `rows`).
#[must_use]
pub fn pack<V: Keyed>(rows: &Rows<V>, genes: Range<usize>) -> (Packing, Vec<u8>) {
    let start = |gene: usize| if gene == 0 { 0 } else { rows.ends[gene - 1] };
    let all = start(genes.start)..start(genes.end);
    let kept = |&i: &usize| !rows.value[i].is_zero();
    let (mut group, mut value, mut count, mut n) = (0, 0, 0, 0);
    for i in all.clone().filter(kept) {
        group = group.max(rows.group[i]);
        value = value.max(rows.value[i].count());
        count = count.max(rows.count[i]);
        n += 1;
    }
    let counts = value <= 0xffff;
    let packing = Packing {
        genes: genes.len(),
        rows: n,
        group: width(group),
        value: if counts { width(value) } else { size_of::<V>() },
        count: if count <= 1 { 0 } else { width(count) },
        counts,
    };
    let mut out = Vec::with_capacity(packing.bytes());
    let lengths = genes.map(|gene| (start(gene)..rows.ends[gene]).filter(kept).count() as u64);
    put(&mut out, lengths, 4);
    put(&mut out, all.clone().filter(kept).map(|i| rows.group[i].into()), packing.group);
    let number = |value: V| if counts { value.count().into() } else { value.key() };
    put(&mut out, all.clone().filter(kept).map(|i| number(rows.value[i])), packing.value);
    put(&mut out, all.filter(kept).map(|i| rows.count[i].into()), packing.count);
    (packing, out)
}

impl Packing {
    /// The number of bytes of packed rows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * self.genes + self.rows * (self.group + self.value + self.count)
    }

    /// Unpacks rows into those of a block of `genes` genes, of which the first is number `first`.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] for other bytes than were packed.
    pub fn unpack<V: Keyed>(
        &self,
        bytes: &[u8],
        (first, genes): (usize, usize),
    ) -> Result<Unpacked<V>> {
        let (expected, got) = (self.bytes(), bytes.len());
        if expected != got {
            let what = "bytes of packed rows";
            return Err(ErrorKind::ShapeMismatch { what, expected, got }.into());
        }
        let (lengths, bytes) = bytes.split_at(4 * self.genes);
        let (groups, bytes) = bytes.split_at(self.rows * self.group);
        let (values, counts) = bytes.split_at(self.rows * self.value);
        let mut out = Unpacked {
            starts: vec![0; first + 1],
            groups: Vec::with_capacity(self.rows),
            values: Vec::with_capacity(self.rows),
            counts: Vec::with_capacity(self.rows),
        };
        let mut end = 0;
        get(lengths, 4, |length| {
            end += length;
            out.starts.push(end);
        });
        out.starts.resize(genes + 1, end);
        get(groups, self.group, |group| out.groups.push(low_half(group)));
        if self.counts {
            // Packed from 16 bits at most.
            let value = |n: u64| V::of_count(u16::try_from(n).unwrap_or(u16::MAX));
            get(values, self.value, |n| out.values.push(value(n)));
        } else {
            get(values, self.value, |key| out.values.push(V::of_key(key)));
        }
        if self.count == 0 {
            out.counts.resize(self.rows, 1);
        } else {
            get(counts, self.count, |count| out.counts.push(low_half(count)));
        }
        let (expected, got) = (self.rows, place(narrow(out.starts[genes].try_into().unwrap_or(0))));
        if expected != got {
            let what = "packed rows";
            return Err(ErrorKind::ShapeMismatch { what, expected, got }.into());
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip<V: Keyed + std::fmt::Debug>(rows: &Rows<V>, genes: Range<usize>) {
        let (packing, bytes) = pack(rows, genes.clone());
        assert_eq!(bytes.len(), packing.bytes());
        let got = packing.unpack::<V>(&bytes, (2, genes.len() + 3)).unwrap();
        let start = |gene: usize| if gene == 0 { 0 } else { rows.ends[gene - 1] };
        assert_eq!(got.starts.len(), genes.len() + 4);
        assert_eq!(got.starts[..3], [0, 0, 0]);
        for (i, gene) in genes.enumerate() {
            let want = (start(gene)..rows.ends[gene]).filter(|&i| !rows.value[i].is_zero());
            let want: Vec<_> =
                want.map(|i| (rows.group[i], rows.value[i].key(), rows.count[i])).collect();
            let own = got.starts[i + 2] as usize..got.starts[i + 3] as usize;
            let got: Vec<_> =
                own.map(|i| (got.groups[i], got.values[i].key(), got.counts[i])).collect();
            assert_eq!(got, want);
        }
        assert!(bytes.is_empty() || packing.unpack::<V>(&bytes[1..], (0, packing.genes)).is_err());
    }

    proptest! {
        #[test]
        fn packed_rows_come_back(
            genes in prop::collection::vec(prop::collection::vec((0u32..300, -3i32..400, 1u32..300), 0..9), 1..5),
            kind in 0u8..4, single: bool, cut in 0usize..5,
        ) {
            let mut rows = Rows::<f64>::default();
            for gene in &genes {
                for &(group, value, count) in gene {
                    let value = match kind {
                        0 => f64::from(value.clamp(0, 255)),
                        1 => f64::from(value.max(0)) * 99.0,
                        2 => f64::from(value) / 4.0,
                        _ => f64::from(value.max(0)) * 1e6,
                    };
                    rows.push(group, value, if single { 1 } else { count.into() });
                }
                rows.end_gene();
            }
            let cut = cut.min(genes.len());
            round_trip(&rows, 0..cut);
            round_trip(&rows, cut..genes.len());
            let narrow = Rows::<f32> {
                value: rows.value.iter().map(|&v| v as f32).collect(),
                ends: rows.ends.clone(), group: rows.group.clone(), count: rows.count.clone(),
            };
            round_trip(&narrow, 0..genes.len());
            let whole = Rows::<i64> {
                value: rows.value.iter().map(|&v| v as i64 * (1 << 30)).collect(),
                ends: rows.ends.clone(), group: rows.group.clone(), count: rows.count,
            };
            round_trip(&whole, 0..genes.len());
        }
    }

    #[test]
    fn counts_of_one_cell_take_two_bytes() {
        let mut rows = Rows::<f32>::default();
        for group in 0..200 {
            rows.push(group, f32::from(u16::try_from(group % 9).unwrap()), 1);
        }
        rows.end_gene();
        let (packing, bytes) = pack(&rows, 0..1);
        // Those of value 0 are left out.
        assert_eq!((packing.rows, bytes.len()), (177, 4 + 2 * 177));
    }
}
