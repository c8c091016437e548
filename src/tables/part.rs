//! A part of a table as it goes from one task to another: rows that say how they are packed,
//! compressed, with a checksum.
//!
//! ```text
//! "pdr1"                          4 bytes
//! bytes of a group, a value and a count; 1 if values are counts, else 0
//! numbers of genes and of rows    8 bytes each
//! the rows                        as super::pack packs them
//! ```
//! All of it is one frame of Zstandard.

use super::pack::{Columns, Packing, Unpacked, pack};
use crate::cast::wide;
use crate::error::{ErrorKind, Result};
use crate::matrix::Keyed;
use std::io::{self, Write};

/// What a part begins with.
const MAGIC: [u8; 4] = *b"pdr1";
/// Higher levels take several times as long for a few hundredths of the bytes.
const LEVEL: i32 = 1;
/// The bytes before the rows.
const HEAD: usize = 24;

fn broken<T>(reason: &'static str) -> Result<T> {
    Err(ErrorKind::BrokenRows { reason }.into())
}

/// Writes rows as the bytes of a part.
///
/// # Errors
/// [`ErrorKind::Spill`], if there is no memory for the compressor.
pub fn write<V: Keyed>(columns: &Columns<V>) -> Result<Vec<u8>> {
    let (packing, rows) = pack(columns);
    compress(&packing, &rows)
        .map_err(|cause| ErrorKind::Spill { what: "compressed" }.caused_by(cause))
}

fn compress(packing: &Packing, rows: &[u8]) -> io::Result<Vec<u8>> {
    let Packing { group, value, count, counts, .. } = *packing;
    let mut out = zstd::stream::Encoder::new(Vec::new(), LEVEL)?;
    out.include_checksum(true)?;
    out.set_pledged_src_size(Some(wide(HEAD + rows.len())))?;
    out.write_all(&MAGIC)?;
    let widths = [group, value, count, counts.into()];
    out.write_all(&widths.map(|width| wide(width).to_le_bytes()[0]))?;
    out.write_all(&wide(packing.genes).to_le_bytes())?;
    out.write_all(&wide(packing.rows).to_le_bytes())?;
    out.write_all(rows)?;
    out.finish()
}

/// What precedes the rows, and these.
#[allow(clippy::type_complexity)] // used here alone
fn split(bytes: &[u8]) -> Option<([u8; 4], [u8; 4], usize, usize, &[u8])> {
    let (&magic, bytes) = bytes.split_first_chunk()?;
    let (&widths, bytes) = bytes.split_first_chunk()?;
    let (&genes, bytes) = bytes.split_first_chunk()?;
    let (&rows, bytes) = bytes.split_first_chunk()?;
    let number = |bytes| usize::try_from(u64::from_le_bytes(bytes)).ok();
    Some((magic, widths, number(genes)?, number(rows)?, bytes))
}

/// Reads the bytes of a part.
///
/// # Errors
/// [`ErrorKind::BrokenRows`] for bytes that [`write`] did not make of values of this type.
pub fn read<V: Keyed>(bytes: &[u8]) -> Result<Unpacked<V>> {
    let Ok(bytes) = zstd::stream::decode_all(bytes) else {
        return broken("they cannot be decompressed, or their checksum differs");
    };
    let Some((magic, [group, value, count, counts], genes, n_rows, rows)) = split(&bytes) else {
        return broken("they are too short");
    };
    let size =
        if counts == 1 { matches!(value, 1 | 2) } else { usize::from(value) == size_of::<V>() };
    let widths = matches!(group, 1 | 2 | 4) && matches!(count, 0 | 1 | 2 | 4) && counts <= 1;
    if magic != MAGIC || !size || !widths {
        return broken(
            "they were written by another version of pdex, or hold values of another type",
        );
    }
    // Not more than there are bytes, so that no product below overflows.
    if genes > rows.len() || n_rows > rows.len() {
        return broken("they are too short");
    }
    let packing = Packing {
        genes,
        rows: n_rows,
        group: group.into(),
        value: value.into(),
        count: count.into(),
        counts: counts == 1,
    };
    packing.unpack(rows)
}

#[cfg(test)]
mod tests {
    use super::super::pack::tests::{Owned, rows};
    use super::*;
    use proptest::prelude::*;

    fn round_trip<V: Keyed>(rows: &Owned<V>) -> Vec<u8> {
        let bytes = write(&rows.columns()).unwrap();
        rows.assert_is(&read::<V>(&bytes).unwrap());
        bytes
    }

    proptest! {
        #[test]
        fn parts_come_back(rows in rows()) {
            round_trip(&rows);
            round_trip(&rows.with(|v| v as f32));
            round_trip(&rows.with(|v| v as i64 * (1 << 30)));
        }

        #[test]
        fn other_bytes_are_an_error(rows in rows(), at: prop::sample::Index, to: u8, short: bool) {
            let mut bytes = round_trip(&rows);
            let at = at.index(bytes.len());
            if short {
                bytes.truncate(at);
            } else if bytes[at] != to {
                bytes[at] = to;
            } else {
                return Ok(());
            }
            // A byte of the frame's own head may not matter; then the rows are the same.
            match read::<f64>(&bytes) {
                Ok(got) => rows.assert_is(&got),
                Err(error) => {
                    let broken = matches!(error.kind(), ErrorKind::BrokenRows { .. });
                    prop_assert!(broken, "{error}");
                }
            }
        }

        #[test]
        fn any_head_is_an_error_or_reads(head in prop::collection::vec(any::<u8>(), 0..80), magic: bool) {
            let mut head = head;
            if magic && head.len() >= 4 {
                head[..4].copy_from_slice(&MAGIC);
            }
            let bytes = zstd::bulk::compress(&head, 1).unwrap();
            let _ = read::<f32>(&bytes);
        }
    }

    #[test]
    fn values_of_another_type_are_an_error() {
        let rows =
            Owned { lengths: vec![1], groups: vec![3], values: vec![0.5f32], counts: vec![1] };
        let bytes = round_trip(&rows);
        assert!(read::<f64>(&bytes).is_err());
    }

    #[test]
    fn sorted_rows_take_less_than_a_byte_a_number() {
        // Each of 1,000 groups has one or two counts.
        let n = 1_500u32;
        let rows = Owned {
            lengths: vec![n],
            groups: (0..n).map(|i| i * 2 / 3).collect(),
            values: (0..n).map(|i| f32::from(u16::try_from(1 + i % 3).unwrap())).collect(),
            counts: vec![1; 1_500],
        };
        assert!(round_trip(&rows).len() < 200);
    }
}
