//! Radix sort of u64 entries by their upper 32 bits, the key; the lower 32 bits are a payload.
//!
//! Least significant digit first. Each pass is stable and needs one table of counters, which fits
//! in the L1 cache. A gene's keys seldom differ in more than 26 bits: two passes suffice.
//!
//! Cost: one pass to count, then one pass per digit of 11 or 13 bits. Short lists are sorted by
//! comparison.

use crate::cast::place;
use std::mem;

/// Scratch buffers, reused between calls.
#[derive(Debug, Default)]
pub struct Scratch {
    spare: Vec<u64>,
    counters: Vec<u32>,
}

#[cfg(test)]
impl Scratch {
    /// Capacities of the buffers.
    pub(super) fn room(&self) -> (usize, usize) {
        (self.spare.capacity(), self.counters.capacity())
    }
}

/// Below this length a comparison sort beats the radix passes.
const RADIX_FROM: usize = 256;

/// Sorts at most 2^32 - 1 entries by key (their upper 32 bits), of which only the lowest `bits` may
/// be nonzero. Entries with equal keys keep their order if the list is long enough for radix
/// passes; otherwise they are ordered by payload.
///
/// # Examples
/// ```
/// use pdex::stats::radix::{Scratch, sort_entries};
/// let mut entries = vec![(2 << 32) | 7, (1 << 32) | 9, 5];
/// sort_entries(&mut entries, &mut Scratch::default(), 2);
/// assert_eq!(entries, [5, (1 << 32) | 9, (2 << 32) | 7]);
/// ```
pub fn sort_entries(entries: &mut Vec<u64>, scratch: &mut Scratch, bits: u32) {
    debug_assert!(entries.len() <= place(u32::MAX), "counters of 32 bits");
    match entries.len() {
        0..RADIX_FROM => entries.sort_unstable(),
        RADIX_FROM..4096 => radix_passes::<2048>(entries, scratch, bits),
        _ => radix_passes::<8192>(entries, scratch, bits),
    }
}

/// Stable passes over digits of log2(`SIZE`) bits; a single pass counts all digits.
#[allow(clippy::cast_possible_truncation)] // digits are masked
fn radix_passes<const SIZE: usize>(
    entries: &mut Vec<u64>,
    Scratch { spare, counters }: &mut Scratch,
    bits: u32,
) {
    let n = entries.len();
    let digit = SIZE.trailing_zeros();
    let passes = bits.div_ceil(digit);
    counters.clear();
    counters.resize(place(passes) * SIZE, 0);
    let (counts, _) = counters.as_chunks_mut::<SIZE>();
    match counts {
        [low, high] => {
            for &entry in &*entries {
                low[(entry >> 32) as usize & (SIZE - 1)] += 1;
                high[(entry >> (32 + digit)) as usize & (SIZE - 1)] += 1;
            }
        }
        _ => {
            for (shift, counts) in (32..).step_by(place(digit)).zip(&mut *counts) {
                for &entry in &*entries {
                    counts[(entry >> shift) as usize & (SIZE - 1)] += 1;
                }
            }
        }
    }
    // Elements past n are never read.
    spare.resize(spare.len().max(n), 0);
    for (shift, places) in (32..).step_by(place(digit)).zip(counts) {
        let mut sum = 0;
        for place in &mut *places {
            sum += mem::replace(place, sum);
        }
        let out = &mut spare[..n];
        for &entry in &*entries {
            let place = &mut places[(entry >> shift) as usize & (SIZE - 1)];
            out[*place as usize] = entry;
            *place += 1;
        }
        mem::swap(entries, spare);
        entries.truncate(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_a_stable_sort(seed: u64, bits in 0u32..33, n in prop_oneof![0usize..40, 200usize..700, 4000usize..5000]) {
            let mut state = seed | 1;
            let mut entries: Vec<u64> = (0..n as u64).map(|i| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let key = if bits == 0 { 0 } else { state >> 33 >> (31 - bits.min(31)) };
                (key << 32) | i
            }).collect();
            let mut expected = entries.clone();
            expected.sort_by_key(|entry| entry >> 32);
            let mut scratch = Scratch::default();
            sort_entries(&mut entries, &mut scratch, bits);
            prop_assert_eq!(&entries, &expected);
            sort_entries(&mut entries, &mut scratch, bits);
            prop_assert_eq!(entries, expected);
        }
    }
}
