//! Benjamini-Hochberg over one large family, on all threads of the current pool.
//!
//! ```text
//! count    blocks of p-values sort themselves by leading bits into buckets
//! offset   the sizes of all lower buckets: the rank that a bucket begins after
//! sort     each bucket apart, as bare values: equal p-values have equal adjusted ones, so that no
//!          places are kept and no number of p-values is too large
//! carry    a bucket's least adjusted value bounds all lower buckets
//! look up  every p-value finds its own in its bucket
//! ```
//!
//! The same bits as [`adjust_into`] on one thread ([`crate::stats::adjust`] says why).
//!
//! Memory beside p and the result: 16 bytes a p-value, and one for counts.
//! Cost: two passes over p, one sort of each bucket, one binary search a p-value.
//!
//! IMPORTS stats, rayon.

use crate::cast::{narrow, place, wide};
use crate::stats::adjust::{BUCKETS, Scratch, adjust_into, bucket, key, look_up, running_minimum};
use rayon::prelude::*;

/// Sizes at which the way changes; tests set them low.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Smaller families are adjusted on one thread.
    serial: usize,
    /// P-values in one block, fewer than 2^32: its counts of 32 bits are one byte a p-value.
    block: usize,
    /// Larger buckets are sorted by several threads.
    bucket: usize,
}

const SIZES: Sizes = Sizes { serial: 1 << 17, block: 1 << 18, bucket: 1 << 17 };

/// Benjamini-Hochberg adjusted p-values of the family `p` (each from 0 to 1, or NaN, which stays),
/// into `out` of the same length.
///
/// # Examples
/// ```
/// let mut fdr = [0.0; 3];
/// pdex::engine::fdr::adjust_all(&[0.01, 0.04, 0.02], &mut fdr);
/// assert_eq!(fdr, [0.03, 0.04, 0.03]);
/// ```
pub fn adjust_all(p: &[f64], out: &mut [f64]) {
    adjust_with(SIZES, p, out);
}

fn adjust_with(sizes: Sizes, p: &[f64], out: &mut [f64]) {
    debug_assert_eq!(p.len(), out.len(), "a place for every p-value");
    if p.len() < sizes.serial {
        return adjust_into(p, out, &mut Scratch::default());
    }
    let blocks: Vec<Block> = p.par_chunks(sizes.block).map(Block::new).collect();
    let starts = offsets(&blocks);
    let m = starts[BUCKETS];
    let mut keys = vec![0; m];
    split(&mut keys, &starts).into_par_iter().for_each(|(b, keys)| {
        gather(&blocks, b, keys);
        sort(keys, sizes.bucket);
    });
    drop(blocks);
    let mut adjusted = vec![0.0; m];
    let mut bounds = vec![1.0f64; BUCKETS];
    let least: Vec<(usize, f64)> = split(&mut adjusted, &starts)
        .into_par_iter()
        .map(|(b, out)| {
            let keys = &keys[starts[b]..starts[b + 1]];
            (b, running_minimum(keys, wide(starts[b]), wide(m), out))
        })
        .collect();
    for (b, least) in least {
        bounds[b] = least;
    }
    carry(&mut bounds);
    let find = |key: u64| {
        let b = bucket(key);
        let range = starts[b]..starts[b + 1];
        look_up(&keys[range.clone()], &adjusted[range], key).min(bounds[b])
    };
    let pairs = out.par_iter_mut().zip(p).with_min_len(1024);
    pairs.for_each(|(out, &p)| *out = key(p).map_or(f64::NAN, find));
}

/// The keys of one block of p-values, by bucket.
struct Block {
    keys: Vec<u64>,
    /// Where each bucket ends.
    ends: Vec<u32>,
}

impl Block {
    fn new(p: &[f64]) -> Self {
        let keys = || p.iter().filter_map(|&p| key(p));
        let mut ends = vec![0u32; BUCKETS];
        keys().for_each(|key| ends[bucket(key)] += 1);
        let mut total = 0;
        for end in &mut ends {
            // First where the bucket starts; placing its keys moves that to its end.
            total += std::mem::replace(end, total);
        }
        let mut placed = vec![0; place(total)];
        for key in keys() {
            let at = &mut ends[bucket(key)];
            placed[place(*at)] = key;
            *at += 1;
        }
        debug_assert_eq!(ends.last().copied(), Some(narrow(placed.len())));
        Self { keys: placed, ends }
    }

    fn bucket(&self, b: usize) -> &[u64] {
        let start = if b == 0 { 0 } else { self.ends[b - 1] };
        &self.keys[place(start)..place(self.ends[b])]
    }
}

/// How many p-values are in all buckets before each; the last entry is the total.
fn offsets(blocks: &[Block]) -> Vec<usize> {
    let counts = (0..BUCKETS).into_par_iter().with_min_len(1024);
    let size = |b| blocks.iter().map(|block| block.bucket(b).len()).sum::<usize>();
    let mut starts: Vec<usize> = counts.map(size).collect();
    starts.push(0);
    let mut total = 0;
    for start in &mut starts {
        total += std::mem::replace(start, total);
    }
    starts
}

/// The non-empty buckets of `values` with their numbers.
fn split<'a, T>(mut values: &'a mut [T], starts: &[usize]) -> Vec<(usize, &'a mut [T])> {
    let mut buckets = Vec::new();
    for (b, ends) in starts.windows(2).enumerate() {
        if ends[0] < ends[1] {
            let (bucket, rest) = values.split_at_mut(ends[1] - ends[0]);
            buckets.push((b, bucket));
            values = rest;
        }
    }
    buckets
}

/// Copies bucket `b` of all blocks into one.
fn gather(blocks: &[Block], b: usize, mut keys: &mut [u64]) {
    for block in blocks {
        let part = block.bucket(b);
        let (to, rest) = keys.split_at_mut(part.len());
        to.copy_from_slice(part);
        keys = rest;
    }
}

fn sort(keys: &mut [u64], many: usize) {
    if keys.len() > many {
        keys.par_sort_unstable();
    } else {
        keys.sort_unstable();
    }
}

/// From the least of each bucket to the least of all higher ones.
fn carry(bounds: &mut [f64]) {
    let mut least = 1.0f64;
    for bound in bounds.iter_mut().rev() {
        least = std::mem::replace(bound, least).min(least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::adjust::benjamini_hochberg;
    use proptest::prelude::*;

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|v| if v.is_nan() { u64::MAX } else { v.to_bits() }).collect()
    }

    fn family() -> impl Strategy<Value = Vec<f64>> {
        let near_half = (0u64..3).prop_map(|ulps| f64::from_bits(0.5f64.to_bits() + ulps));
        let p = prop_oneof![
            6 => 0f64..=1.0, 2 => (0f64..300.0).prop_map(|x| 10f64.powf(-x)), 1 => Just(0.0),
            1 => near_half, 1 => Just(1.0), 1 => Just(5e-324), 1 => Just(f64::NAN),
        ];
        prop::collection::vec(p, 0..80)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// On both sides of every size: of the serial way, of a block, of a bucket.
        #[test]
        fn equals_the_serial_way(p in family(), block in 1usize..90, big in 0usize..4, off in 0usize..3) {
            let want = bits(&benjamini_hochberg(&p));
            for serial in [0, (p.len() + off).saturating_sub(1)] {
                let mut got = vec![7.0; p.len()];
                adjust_with(Sizes { serial, block, bucket: big }, &p, &mut got);
                prop_assert_eq!(bits(&got), want.clone());
            }
        }
    }

    /// The sizes of earnest: some blocks, most p-values tied, one bucket sorted by several threads.
    #[test]
    fn a_large_family_equals_the_serial_way() {
        let p: Vec<f64> = (0u64..700_000)
            .map(|i| match (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % 100_003 {
                k if k > 60_000 => 1.0,
                k if k % 1000 == 7 => f64::NAN,
                k if k > 40_000 => 0.5 + 1e-9 * f64::from(u32::try_from(k).unwrap()),
                k => f64::from(u32::try_from(k).unwrap()) / 60_000.0,
            })
            .collect();
        let mut got = vec![0.0; p.len()];
        adjust_all(&p, &mut got);
        assert!(bits(&got) == bits(&benjamini_hochberg(&p)));
    }

    #[test]
    fn nothing_and_only_nan() {
        let sizes = Sizes { serial: 0, ..SIZES };
        adjust_with(sizes, &[], &mut []);
        let mut out = [0.0; 3];
        adjust_with(sizes, &[f64::NAN; 3], &mut out);
        assert!(out.iter().all(|q| q.is_nan()));
    }
}
