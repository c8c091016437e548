//! Named conversions between number types that `From` does not offer.
//!
//! A bare `as` does not say what it assumes. Each function here states its valid inputs and what
//! happens to all others. Kernels that work on bits (radix digits, float layouts) still use `as`,
//! next to a comment that explains it.
//!
//! IMPORTS std only.

/// A count of cells or bins as f64: exact up to 2^53, beyond that rounded to nearest.
#[inline]
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub const fn real(count: u64) -> f64 {
    count as f64
}

/// [`real`] for a count below 2^63, which the caller guarantees: one instruction instead of five.
#[inline]
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub const fn real_below(count: u64) -> f64 {
    debug_assert!(count < 1 << 63, "a count of 2^63 or more");
    count.cast_signed() as f64
}

/// A sum of cubes of counts as f64: exact up to 2^53, beyond that rounded to nearest.
#[inline]
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub const fn widest(sum: u128) -> f64 {
    sum as f64
}

/// A length as f64: exact up to 2^53, beyond that rounded to nearest.
#[inline]
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub const fn real_length(length: usize) -> f64 {
    length as f64
}

/// A signed integer as f64: exact up to ±2^53, beyond that rounded to nearest.
#[inline]
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub const fn real_signed(number: i64) -> f64 {
    number as f64
}

/// A length or index as u64; `usize` has at most 64 bits.
#[inline]
#[must_use]
pub const fn wide(length: usize) -> u64 {
    length as u64
}

/// An array index from a code, a gene or a cell; `usize` has at least 32 bits.
#[inline]
#[must_use]
pub const fn place(code: u32) -> usize {
    code as usize
}

/// A count of items in memory as a length. The caller guarantees that it fits in `usize`: on 64-bit
/// machines any count does, elsewhere any count of items that are in memory.
#[inline]
#[must_use]
#[allow(clippy::cast_possible_truncation)]
pub const fn length(count: u64) -> usize {
    debug_assert!(count as usize as u64 == count, "a count that memory cannot hold");
    count as usize
}

/// An index or length below 2^32, which the caller guarantees: codes, genes, and the cells of one
/// test ([`crate::stats::MAX_CELLS`]).
#[inline]
#[must_use]
#[allow(clippy::cast_possible_truncation)]
pub const fn narrow(length: usize) -> u32 {
    debug_assert!(length as u32 as usize == length, "a place of 2^32 or more");
    length as u32
}

/// A number of cells below 2^32, which the caller guarantees: one test has at most
/// [`crate::stats::MAX_CELLS`].
#[inline]
#[must_use]
#[allow(clippy::cast_possible_truncation)]
pub const fn cells(count: u64) -> u32 {
    debug_assert!(count as u32 as u64 == count, "2^32 cells or more");
    count as u32
}

/// The lower 32 bits of an entry: its payload.
#[inline]
#[must_use]
#[allow(clippy::cast_possible_truncation)]
pub const fn low_half(entry: u64) -> u32 {
    entry as u32
}

/// The lower 32 bits of an entry as an index.
#[inline]
#[must_use]
pub const fn low_place(entry: u64) -> usize {
    place(low_half(entry))
}

/// The integer part of a number from 0 up to 2^64; larger numbers saturate, NaN and negative
/// numbers give 0.
#[inline]
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub const fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_on_both_sides() {
        assert_eq!(real(1 << 53), 9_007_199_254_740_992.0);
        assert_eq!(real((1 << 53) + 1), 9_007_199_254_740_992.0);
        assert_eq!(real_below((1 << 63) - 1), real((1 << 63) - 1));
        assert_eq!(widest((1 << 53) - 1), 9_007_199_254_740_991.0);
        assert_eq!(widest((1 << 90) + 1), 1_237_940_039_285_380_274_899_124_224.0);
        assert_eq!(narrow(place(u32::MAX)), u32::MAX);
        assert_eq!(cells(u64::from(u32::MAX)), u32::MAX);
        assert_eq!((low_half(u64::MAX << 32 | 7), low_place(7)), (7, 7));
        assert_eq!((whole(-1.0), whole(f64::NAN), whole(2.9)), (0, 0, 2));
        assert_eq!((length(5), wide(5)), (5, 5));
    }

    #[test]
    #[should_panic(expected = "2^32")]
    #[cfg(debug_assertions)]
    fn a_broken_promise_is_seen_in_tests() {
        let _ = narrow(1 << 32);
    }
}
