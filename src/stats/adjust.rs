//! Adjustment of p-values for multiple testing.
//!
//! Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57, 289: with p_(1) <= … <= p_(m), the
//! adjusted p_(i) is the minimum over j >= i of min(1, m p_(j) / j). NaN p-values stay NaN and do
//! not count in m; the others are adjusted as in `scipy.stats.false_discovery_control`.
//!
//! # Method
//! A family of fewer than 2^32 p-values ([`PLACES`]) is sorted as pairs (leading 32 bits of p,
//! index). In a larger family an index does not fit in 32 bits, but none is needed: equal p-values
//! have equal adjusted p-values. There the *values* are sorted, and the adjusted value of each p is
//! found by binary search. The functions [`key`], [`bucket`], [`running_minimum`] and [`look_up`]
//! also serve `engine::fdr`, which sorts buckets of p-values in parallel. All methods give
//! bit-identical results: ranks are integers, and a minimum does not depend on the order.
//!
//! Cost: one sort. Memory besides the result: 8 bytes per p-value, or 16 if values are looked up.

use super::radix::{self, sort_entries};
use crate::cast::{low_place, real, real_length, wide};

/// Families of at least this many p-values are adjusted by value, since an index has 32 bits.
pub const PLACES: u64 = 1 << 32;

/// Buffers, reused between calls.
#[derive(Debug, Default)]
pub struct Scratch {
    /// (leading bits, index) of each p-value, or the keys of all p-values.
    order: Vec<u64>,
    /// Adjusted p-values, in the order of the keys.
    adjusted: Vec<f64>,
    radix: radix::Scratch,
}

/// Benjamini-Hochberg adjusted p-values, in the order of `p` (each from 0 to 1). NaN stays NaN and
/// is not counted.
///
/// # Examples
/// ```
/// let fdr = pdex::stats::adjust::benjamini_hochberg(&[0.01, f64::NAN, 0.04, 0.02]);
/// assert_eq!((fdr[0], fdr[2], fdr[3]), (0.03, 0.04, 0.03));
/// assert!(fdr[1].is_nan());
/// ```
#[cfg(any(test, feature = "testing"))]
#[must_use]
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![0.0; p.len()];
    adjust_into(p, &mut adjusted, &mut Scratch::default());
    adjusted
}

/// Writes Benjamini-Hochberg adjusted p-values into `out`, which has the length of `p`. Allocates
/// only if `scratch` has not been used for a family of this size.
///
/// # Examples
/// ```
/// use pdex::stats::adjust::{Scratch, adjust_into};
/// let (mut scratch, mut fdr) = (Scratch::default(), [0.0; 3]);
/// adjust_into(&[0.01, 0.04, 0.02], &mut fdr, &mut scratch);
/// assert_eq!(fdr, [0.03, 0.04, 0.03]);
/// ```
pub fn adjust_into(p: &[f64], out: &mut [f64], scratch: &mut Scratch) {
    adjust_below(PLACES, p, out, scratch);
}

/// [`adjust_into`], which sorts by index in families of fewer than `places` p-values.
fn adjust_below(places: u64, p: &[f64], out: &mut [f64], scratch: &mut Scratch) {
    debug_assert_eq!(p.len(), out.len(), "a place for every p-value");
    debug_assert!(p.iter().all(|p| p.is_nan() || (0.0..=1.0).contains(p)), "p from 0 to 1");
    if wide(p.len()) < places {
        by_place(p, out, scratch);
    } else {
        by_value(p, out, scratch);
    }
}

/// Adjusts by sorting (leading bits, index); see the module header.
fn by_place(p: &[f64], out: &mut [f64], scratch: &mut Scratch) {
    ascending(p, scratch);
    let m = real_length(scratch.order.len());
    out.fill(f64::NAN);
    let mut least = 1.0f64;
    for (rank, &entry) in scratch.order.iter().enumerate().rev() {
        let i = low_place(entry);
        least = least.min(p[i].abs() * (m / real_length(rank + 1)));
        out[i] = least;
    }
}

/// Fills `order` with entries sorted by p-value, without NaN; the lower 32 bits hold the index.
fn ascending(p: &[f64], Scratch { order, radix, .. }: &mut Scratch) {
    // Numbers from 0 to 1 differ in 62 bits. Sort by the leading 32, then fix the order within
    // groups of equal leading bits.
    let places = (0u64..).zip(p).filter_map(|(i, &p)| Some((i, key(p)?)));
    order.clear();
    order.extend(places.map(|(i, key)| ((key >> 30) << 32) | i));
    sort_entries(order, radix, 32);
    let value = |entry: &u64| p[low_place(*entry)];
    for same in order.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
        if same.len() > 1 {
            same.sort_unstable_by(|a, b| value(a).total_cmp(&value(b)));
        }
    }
}

/// Adjusts by sorting the values; see the module header.
fn by_value(p: &[f64], out: &mut [f64], Scratch { order, adjusted, .. }: &mut Scratch) {
    order.clear();
    order.extend(p.iter().filter_map(|&p| key(p)));
    order.sort_unstable();
    adjusted.clear();
    adjusted.resize(order.len(), 0.0);
    running_minimum(order, 0, wide(order.len()), adjusted);
    for (out, &p) in out.iter_mut().zip(p) {
        *out = key(p).map_or(f64::NAN, |key| look_up(order, adjusted, key));
    }
}

/// An integer that sorts like `p`; `None` for NaN.
#[inline]
#[must_use]
pub fn key(p: f64) -> Option<u64> {
    (!p.is_nan()).then(|| p.abs().to_bits())
}

/// The number of buckets that [`bucket`] uses.
pub const BUCKETS: usize = 1 << 16;

/// The bucket of a key, non-decreasing in the key: the leading 16 of its 62 bits, which are the
/// exponent and six bits of the mantissa. A bucket gets at most 1
/// in 128 of evenly spread p-values.
#[inline]
#[must_use]
#[allow(clippy::cast_possible_truncation)] // 18 bits
pub fn bucket(key: u64) -> usize {
    ((key >> 46) as usize).min(BUCKETS - 1)
}

/// Adjusts the p-values of one bucket without regard to higher buckets. `keys` ascend; `before` of
/// the family's `m` p-values are in lower buckets. Returns the smallest adjusted p-value, an upper
/// bound for all lower buckets, or 1 if the bucket is empty.
pub fn running_minimum(keys: &[u64], before: u64, m: u64, out: &mut [f64]) -> f64 {
    debug_assert!(keys.is_sorted() && keys.len() == out.len());
    let mut least = 1.0f64;
    for (i, (&key, out)) in keys.iter().zip(out).enumerate().rev() {
        least = least.min(f64::from_bits(key) * (real(m) / real(before + wide(i) + 1)));
        *out = least;
    }
    least
}

/// The adjusted p-value that [`running_minimum`] found for `key`, which must be among `keys`. NaN
/// if it is larger than all of them.
#[inline]
#[must_use]
pub fn look_up(keys: &[u64], adjusted: &[f64], key: u64) -> f64 {
    // Among equal keys the first has the smallest adjusted p-value.
    let at = keys.partition_point(|&other| other < key);
    adjusted.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::naive;
    use proptest::prelude::*;

    #[test]
    fn equals_scipy() {
        // scipy 1.17.1: false_discovery_control([0.9, 0.001, 0.03, 0.03, 0.2])
        let got = benjamini_hochberg(&[0.9, 0.001, 0.03, 0.03, 0.2]);
        let want = [0.9, 0.005, 0.05, 0.05, 0.25];
        for (a, b) in got.iter().zip(want) {
            assert!((a - b).abs() < 1e-15, "{got:?}");
        }
    }

    #[test]
    fn nothing_and_only_nan() {
        assert!(benjamini_hochberg(&[]).is_empty());
        assert!(benjamini_hochberg(&[f64::NAN; 3]).iter().all(|q| q.is_nan()));
    }

    /// P-values with ties, zeros, values that differ in the last bit, and NaN.
    fn family() -> impl Strategy<Value = Vec<f64>> {
        let half = (0u64..3).prop_map(|ulps| f64::from_bits(0.5f64.to_bits() + ulps));
        let p = prop_oneof![
            8 => 0f64..=1.0, 1 => Just(0.0), 1 => half, 1 => Just(1.0), 1 => Just(5e-324),
            1 => Just(f64::NAN),
        ];
        prop::collection::vec(p, 0..60)
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|v| if v.is_nan() { u64::MAX } else { v.to_bits() }).collect()
    }

    /// Several families in turn, with one scratch.
    #[test]
    fn a_scratch_forgets_the_last_family() {
        let mut scratch = Scratch::default();
        for p in [&[0.5, 0.1, 0.1, f64::NAN][..], &[0.2], &[], &[0.3, 0.3, 0.9]] {
            for places in [0, PLACES] {
                let mut out = vec![7.0; p.len()];
                adjust_below(places, p, &mut out, &mut scratch);
                assert_eq!(bits(&out), bits(&benjamini_hochberg(p)));
            }
        }
    }

    #[test]
    fn a_family_that_was_seen_allocates_nothing() {
        let mut scratch = Scratch::default();
        let p: Vec<f64> = (0..5000).map(|i| f64::from(i * 37 % 5000) / 5000.0).collect();
        let mut out = vec![0.0; p.len()];
        adjust_into(&p, &mut out, &mut scratch);
        let room = |s: &Scratch| (s.order.as_ptr(), s.order.capacity(), s.radix.room());
        // A call may swap the two buffers of the radix sort an odd number of times.
        adjust_into(&p, &mut out, &mut scratch);
        let before = room(&scratch);
        adjust_into(&p, &mut out, &mut scratch);
        adjust_into(&p, &mut out, &mut scratch);
        assert_eq!(room(&scratch), before);
    }

    proptest! {
        /// On both sides of the limit, which is 2^32 in production.
        #[test]
        fn families_of_any_size_give_the_same_bits(p in family(), off in 0u64..3) {
            let (mut got, mut want) = (vec![0.0; p.len()], vec![0.0; p.len()]);
            let mut scratch = Scratch::default();
            by_place(&p, &mut want, &mut scratch);
            adjust_below((wide(p.len()) + off).saturating_sub(1), &p, &mut got, &mut scratch);
            prop_assert_eq!(bits(&got), bits(&want));
        }

        /// Cut between any two keys, with the minimum of the upper part as a bound.
        #[test]
        fn parts_of_a_family_join(p in family(), cut in 0.0f64..1.0) {
            let mut keys: Vec<u64> = p.iter().filter_map(|&p| key(p)).collect();
            keys.sort_unstable();
            let (m, at) = (wide(keys.len()), keys.partition_point(|&key| f64::from_bits(key) < cut));
            let mut out = vec![0.0; keys.len()];
            let (low, high) = out.split_at_mut(at);
            let bound = running_minimum(&keys[at..], wide(at), m, high);
            let _ = running_minimum(&keys[..at], 0, m, low);
            for q in low {
                *q = q.min(bound);
            }
            let got: Vec<f64> = p.iter().map(|&p| key(p).map_or(p, |k| look_up(&keys, &out, k))).collect();
            prop_assert_eq!(bits(&got), bits(&benjamini_hochberg(&p)));
        }

        #[test]
        fn buckets_ascend_with_p(a in 0f64..=1.0, b in 0f64..=1.0) {
            let order = |p: f64| key(p).map(bucket);
            prop_assert!((a <= b) <= (order(a) <= order(b)) && order(1.0) < Some(BUCKETS));
        }

        #[test]
        fn equals_the_definition(p in family()) {
            let (got, want) = (benjamini_hochberg(&p), naive::benjamini_hochberg(&p));
            for (a, b) in got.iter().zip(&want) {
                prop_assert!(a == b || (a.is_nan() && b.is_nan()) || (a / b - 1.0).abs() < 1e-15);
            }
        }
    }
}
