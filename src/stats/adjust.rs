//! Corrections for many tests.
//!
//! Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57, 289: with p_(1) <= … <= p_(m), the
//! adjusted p_(i) is min over j >= i of min(1, m p_(j) / j).  NaN p-values stay NaN and are not
//! counted in m, as in `scipy.stats.false_discovery_control` on the rest.
//!
//! Cost: one sort.

use super::radix::{Scratch, sort_entries};

/// The Benjamini-Hochberg adjusted p-values of fewer than 2^32 `p` (each from 0 to 1), in their
/// order; NaN is left out and stays.
///
/// # Examples
/// ```
/// let fdr = pdex::stats::adjust::benjamini_hochberg(&[0.01, f64::NAN, 0.04, 0.02]);
/// assert_eq!((fdr[0], fdr[2], fdr[3]), (0.03, 0.04, 0.03));
/// assert!(fdr[1].is_nan());
/// ```
#[must_use]
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let m = order.len() as f64;
    let mut adjusted = vec![f64::NAN; p.len()];
    let mut least = 1.0f64;
    for (rank, &entry) in order.iter().enumerate().rev() {
        let i = entry as u32 as usize;
        least = least.min(p[i] * (m / (rank + 1) as f64));
        adjusted[i] = least;
    }
    adjusted
}

/// The places of all p-values but NaN, in the lower halves, ascending by p-value.
fn ascending(p: &[f64]) -> Vec<u64> {
    // The leading 32 of the 62 bits that differ in numbers from 0 to 1: what agrees in them is put
    // in order afterwards.
    let places = (0u64..).zip(p).filter(|(_, p)| !p.is_nan());
    let mut order: Vec<u64> = places.map(|(i, p)| ((p.abs().to_bits() >> 30) << 32) | i).collect();
    sort_entries(&mut order, &mut Scratch::default(), 32);
    let value = |entry: &u64| p[*entry as u32 as usize];
    for same in order.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
        if same.len() > 1 {
            same.sort_unstable_by(|a, b| value(a).total_cmp(&value(b)));
        }
    }
    order
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

    proptest! {
        #[test]
        fn equals_the_definition(p in prop::collection::vec(
            prop_oneof![8 => 0f64..=1.0, 1 => Just(0.0), 1 => Just(0.5), 1 => Just(f64::NAN)], 0..60)) {
            let (got, want) = (benjamini_hochberg(&p), naive::benjamini_hochberg(&p));
            for (a, b) in got.iter().zip(&want) {
                prop_assert!(a == b || (a.is_nan() && b.is_nan()) || (a / b - 1.0).abs() < 1e-15);
            }
        }
    }
}
