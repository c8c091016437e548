//! Checks heaps of text before the HDF5 library decodes them: on some broken ones it never returns.
//!
//! A *global heap collection* holds text of variable length: attributes, names, categories. The
//! library decodes a collection object by object. If an object takes no bytes, decoding never ends.
//! Zeros in a file that was copied in part look like such objects.
//!
//! | bytes | of the collection | | bytes | of each object, from byte 16 on |
//! |---|---|---|---|---|
//! | 0-3 | `GCOL` | | 0-1 | index; 0 means free space |
//! | 4 | version, 1 | | 8-15 | size: of the whole object if it is free space, else of the text |
//! | 8-15 | size | | 16- | the text, padded to a multiple of 8 bytes |
//!
//! (HDF5 file format specification 3.0, section III.E, with sizes of 8 bytes.)

/// The first bytes of every collection; the library does not look at the three behind them.
const MARK: &[u8; 5] = b"GCOL\x01";
/// Bytes before the first object, and before the text of each object.
const HEADER: u64 = 16;

/// The size that a collection claims, if `bytes` begin with one.
#[must_use]
pub fn claimed(bytes: &[u8]) -> Option<u64> {
    bytes.starts_with(MARK).then(|| number(bytes, 8)).flatten()
}

/// True if decoding the collection would never end: an object in it takes no bytes.
#[must_use]
pub fn is_endless(collection: &[u8]) -> bool {
    let end = u64::try_from(collection.len()).unwrap_or(u64::MAX);
    let end = claimed(collection).map_or(0, |size| size.min(end));
    let mut at = HEADER;
    // What is shorter than the header of an object is free space.
    while at + HEADER <= end {
        let place = usize::try_from(at).unwrap_or(usize::MAX);
        let (Some(index), Some(size)) = (number(collection, place), number(collection, place + 8))
        else {
            return false;
        };
        // As in the library, without a check for overflow of 64 bits.
        let takes = match index & 0xffff {
            0 => size,
            _ => (size.wrapping_add(7) & !7).wrapping_add(HEADER),
        };
        if takes == 0 || takes >= 1 << 63 {
            return true;
        }
        at = at.saturating_add(takes);
    }
    false
}

/// The number in eight bytes, if there are so many.
fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A collection of 4,096 bytes with these objects (index and size), and free space behind them.
    fn collection(objects: &[(u16, u64)]) -> Vec<u8> {
        let mut bytes = [MARK.as_slice(), &[0, 7, 0], &4096u64.to_le_bytes()].concat();
        for (index, size) in objects {
            bytes.extend([&index.to_le_bytes()[..], &[1, 0, 0, 0, 0, 0]].concat());
            bytes.extend(size.to_le_bytes());
            let text = if *index == 0 { 0 } else { size.div_ceil(8) * 8 };
            bytes.resize(bytes.len() + usize::try_from(text.min(1 << 10)).unwrap(), b'x');
        }
        bytes.resize(4096, 0);
        bytes
    }

    fn whole(objects: &[(u16, u64)]) -> Vec<u8> {
        let used: u64 = objects.iter().map(|(_, size)| 16 + size.div_ceil(8) * 8).sum();
        collection(&[objects, &[(0, 4096 - 16 - used)]].concat())
    }

    #[test]
    fn heaps_that_end_pass() {
        for objects in [&[][..], &[(1, 3)], &[(1, 8), (2, 1), (3, 0)]] {
            assert!(!is_endless(&whole(objects)), "{objects:?}");
        }
        assert_eq!(claimed(&whole(&[])), Some(4096));
        assert_eq!(claimed(b"GCOL\x01"), None);
        assert_eq!(claimed(b"TREE\x01\0\0\0aaaaaaaa"), None);
    }

    #[test]
    fn objects_without_bytes_are_found() {
        // Free space of no bytes, as zeros read.
        assert!(is_endless(&collection(&[])));
        assert!(is_endless(&collection(&[(1, 8), (2, 16)])));
        // Sizes that overflow: to 0, and to a step backwards.
        assert!(is_endless(&collection(&[(1, u64::MAX - 15)])));
        assert!(is_endless(&collection(&[(1, 1 << 63)])));
        assert!(is_endless(&collection(&[(0, u64::MAX)])));
    }

    #[test]
    fn a_collection_that_was_cut_is_walked_as_far_as_it_goes() {
        let bytes = whole(&[(1, 64), (2, 8)]);
        for length in 0..bytes.len() {
            assert!(!is_endless(&bytes[..length]), "{length}");
        }
    }
}
