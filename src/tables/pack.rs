//! Rows of some genes as bytes: every column as narrow as its numbers allow.
//!
//! ```text
//! number of rows of each gene   4 bytes each
//! group                         1, 2 or 4 bytes: the difference from the row before, which wraps
//! value                         1 or 2 bytes where all are counts that fit, else its key
//! number of cells               0 bytes where all are 1, else 1, 2 or 4
//! ```
//! Rows that ascend by group have small differences, which compress well ([`super::part`]).

use crate::cast::{length, low_half};
use crate::error::{Error, ErrorKind, Result};
use crate::matrix::Keyed;

/// How rows are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    pub genes: usize,
    pub rows: usize,
    /// Bytes of each column's numbers.
    pub(super) group: usize,
    pub(super) value: usize,
    pub(super) count: usize,
    /// True if values are counts.
    pub(super) counts: bool,
}

/// The rows of consecutive genes, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a, V> {
    /// The number of rows of each gene.
    pub lengths: &'a [u32],
    /// As many as there are rows in all, like values and counts.
    pub groups: &'a [u32],
    pub values: &'a [V],
    /// How many cells of the group have the value.
    pub counts: &'a [u32],
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

/// Packs rows.
#[must_use]
pub fn pack<V: Keyed>(columns: &Columns<V>) -> (Packing, Vec<u8>) {
    let Columns { lengths, groups, values, counts } = *columns;
    let most = |numbers: &[u32]| numbers.iter().copied().max().unwrap_or(0);
    let value = values.iter().map(|value| value.count()).max().unwrap_or(0);
    let of_counts = value <= 0xffff;
    let packing = Packing {
        genes: lengths.len(),
        rows: values.len(),
        group: width(most(groups)),
        value: if of_counts { width(value) } else { size_of::<V>() },
        count: if most(counts) <= 1 { 0 } else { width(most(counts)) },
        counts: of_counts,
    };
    let mut out = Vec::with_capacity(packing.bytes());
    put(&mut out, lengths.iter().map(|&length| length.into()), 4);
    let before = [0].iter().chain(groups);
    let steps = groups.iter().zip(before).map(|(&group, &before)| group.wrapping_sub(before));
    put(&mut out, steps.map(Into::into), packing.group);
    let number = |&value: &V| if of_counts { value.count().into() } else { value.key() };
    put(&mut out, values.iter().map(number), packing.value);
    put(&mut out, counts.iter().map(|&count| count.into()), packing.count);
    (packing, out)
}

impl Packing {
    /// The number of bytes of packed rows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * self.genes + self.rows * (self.group + self.value + self.count)
    }

    /// Unpacks rows.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] for other bytes than were packed.
    pub fn unpack<V: Keyed>(&self, bytes: &[u8]) -> Result<Unpacked<V>> {
        let same = |what, expected, got| {
            let error = ErrorKind::ShapeMismatch { what, expected, got };
            if expected == got { Ok(()) } else { Err(Error::from(error)) }
        };
        same("bytes of packed rows", self.bytes(), bytes.len())?;
        let (lengths, bytes) = bytes.split_at(4 * self.genes);
        let (groups, bytes) = bytes.split_at(self.rows * self.group);
        let (values, counts) = bytes.split_at(self.rows * self.value);
        let mut out = Unpacked {
            starts: Vec::with_capacity(self.genes + 1),
            groups: Vec::with_capacity(self.rows),
            values: Vec::with_capacity(self.rows),
            counts: Vec::with_capacity(self.rows),
        };
        let mut end = 0;
        out.starts.push(end);
        get(lengths, 4, |length| {
            end += length;
            out.starts.push(end);
        });
        same("packed rows", self.rows, length(end))?;
        let (mut group, mask) = (0u32, u32::MAX >> (32 - 8 * self.group));
        get(groups, self.group, |step| {
            group = group.wrapping_add(low_half(step)) & mask;
            out.groups.push(group);
        });
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
        Ok(out)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Columns that own their numbers.
    #[derive(Debug, Clone)]
    pub struct Owned<V> {
        pub lengths: Vec<u32>,
        pub groups: Vec<u32>,
        pub values: Vec<V>,
        pub counts: Vec<u32>,
    }

    impl<V: Keyed> Owned<V> {
        pub fn columns(&self) -> Columns<'_, V> {
            let Self { lengths, groups, values, counts } = self;
            Columns { lengths, groups, values, counts }
        }

        /// The same rows of other values.
        pub fn with<W>(&self, value: impl Fn(V) -> W) -> Owned<W> {
            let (lengths, groups) = (self.lengths.clone(), self.groups.clone());
            let values = self.values.iter().map(|&v| value(v)).collect();
            Owned { lengths, groups, values, counts: self.counts.clone() }
        }

        pub fn assert_is(&self, got: &Unpacked<V>) {
            let mut starts = vec![0];
            starts.extend(self.lengths.iter().scan(0, |end, &length| {
                *end += u64::from(length);
                Some(*end)
            }));
            assert_eq!(
                (&got.starts, &got.groups, &got.counts),
                (&starts, &self.groups, &self.counts)
            );
            let keys = |values: &[V]| values.iter().map(|v| v.key()).collect::<Vec<_>>();
            assert_eq!(keys(&got.values), keys(&self.values));
        }
    }

    /// Rows of counts, of large counts, of quarters or of numbers that are no counts.
    pub fn rows() -> impl Strategy<Value = Owned<f64>> {
        let row = (0u32..70_000, -3i32..400, 1u32..300);
        let genes = prop::collection::vec(prop::collection::vec(row, 0..9), 0..5);
        (genes, 0u8..4, 0usize..3, any::<bool>()).prop_map(|(genes, kind, shift, single)| {
            let all = || genes.iter().flatten();
            let value = |&(_, value, _): &(u32, i32, u32)| match kind {
                0 => f64::from(value.clamp(0, 255)),
                1 => f64::from(value.max(0)) * 99.0,
                2 => f64::from(value) / 4.0,
                _ => f64::from(value.max(0)) * 1e6,
            };
            Owned {
                lengths: genes.iter().map(|gene| gene.len() as u32).collect(),
                groups: all().map(|row| row.0 >> (8 * shift)).collect(),
                values: all().map(value).collect(),
                counts: all().map(|row| if single { 1 } else { row.2 }).collect(),
            }
        })
    }

    fn round_trip<V: Keyed>(rows: &Owned<V>) {
        let (packing, bytes) = pack(&rows.columns());
        assert_eq!(bytes.len(), packing.bytes());
        rows.assert_is(&packing.unpack::<V>(&bytes).unwrap());
        assert!(bytes.is_empty() || packing.unpack::<V>(&bytes[1..]).is_err());
    }

    proptest! {
        #[test]
        fn packed_rows_come_back(rows in rows()) {
            round_trip(&rows);
            round_trip(&rows.with(|v| v as f32));
            round_trip(&rows.with(|v| v as i64 * (1 << 30)));
            round_trip(&rows.with(|v| v.max(0.0) as u64));
        }
    }

    #[test]
    fn counts_of_one_cell_take_two_bytes() {
        let rows = Owned {
            lengths: vec![200],
            groups: (0..200).collect(),
            values: (0..200u16).map(|group| f32::from(group % 9)).collect(),
            counts: vec![1; 200],
        };
        let (packing, bytes) = pack(&rows.columns());
        assert_eq!((packing.rows, bytes.len()), (200, 4 + 2 * 200));
    }

    #[test]
    fn lengths_that_contradict_the_rows_are_an_error() {
        let rows =
            Owned { lengths: vec![1], groups: vec![3], values: vec![1.0f32], counts: vec![1] };
        let (packing, mut bytes) = pack(&rows.columns());
        bytes[0] = 2;
        let what = "packed rows";
        let want = ErrorKind::ShapeMismatch { what, expected: 1, got: 2 };
        assert_eq!(*packing.unpack::<f32>(&bytes).unwrap_err().kind(), want);
    }
}
