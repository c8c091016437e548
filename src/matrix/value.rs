//! The element types of matrices, and the value types that kernels see.
//!
//! A [`Stored`] element of the caller's array widens without loss to a [`Value`]: 8- and 16-bit
//! integers to f32, 32-bit integers to f64. 64-bit integers stay as they are, since no float type
//! holds them all. A value has a *key*, an unsigned integer that sorts like the value. So one sort
//! serves every type, and ranks are exact even for different integers with the same nearest f64.

use crate::cast::{low_half, real, real_signed};

/// What [`Value::count`] returns for values that are not counts.
pub const NO_COUNT: u32 = u32::MAX;

/// A value that kernels rank and average.
pub trait Value: Copy + Default + PartialOrd + Send + Sync + 'static {
    /// An integer that sorts like the value. -0.0 and 0.0 have the same key; NaN's is meaningless.
    fn key(self) -> u64;
    /// The nearest f64.
    fn to_f64(self) -> f64;
    /// The value, if it is an integer from 0 to 65,535; otherwise a number above 65,535.
    fn count(self) -> u32;
    /// The count as a value.
    fn of_count(count: u16) -> Self;

    /// True if the fractional part is above 1e-3; false for integers, NaN and infinities.
    fn is_fractional(self) -> bool {
        false
    }

    /// The sum of duplicate entries of a sparse matrix; integers wrap, as in NumPy.
    #[must_use]
    fn plus(self, other: Self) -> Self;

    /// True for 0, the implicit value of a sparse matrix.
    fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// True for NaN; always false for integers.
    #[allow(clippy::eq_op)] // only NaN differs from itself
    fn is_nan(self) -> bool {
        self != self
    }
}

impl Value for f32 {
    #[inline]
    fn key(self) -> u64 {
        // Adding 0.0 turns -0.0 into 0.0. Negative floats sort in reverse order of their bits.
        let bits = (self + 0.0).to_bits();
        let mask = (bits.cast_signed() >> 31).cast_unsigned() | (1 << 31);
        u64::from(bits ^ mask)
    }

    #[inline]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn plus(self, other: Self) -> Self {
        self + other
    }

    // No branches; false for NaN.
    #[allow(clippy::needless_bitwise_bool, clippy::manual_range_contains)]
    #[inline]
    fn is_fractional(self) -> bool {
        // Adding and subtracting 1.5 · 2^23 rounds to an integer, for values below 2^22. Larger
        // values count as whole.
        const ROUND: f32 = 12_582_912.0;
        let beyond = self - ((self + ROUND) - ROUND);
        // If the value was rounded up, its fractional part is at least 1/2. The f32 nearest to 1e-3
        // is above 1e-3, hence >=.
        (self.abs() < 4_194_304.0) & ((beyond < 0.0) | (beyond >= 1e-3))
    }

    #[inline]
    fn count(self) -> u32 {
        // For integers from 0 to 2^23, adding 2^23 leaves the integer in the low bits. No other
        // value survives the addition and subtraction with low bits below 65,536.
        const WHOLE: f32 = 8_388_608.0;
        let shifted = self + WHOLE;
        let count = shifted.to_bits().wrapping_sub(WHOLE.to_bits());
        if shifted - WHOLE == self { count } else { NO_COUNT }
    }

    #[inline]
    fn of_count(count: u16) -> Self {
        Self::from(count)
    }
}

impl Value for f64 {
    #[inline]
    fn key(self) -> u64 {
        let bits = (self + 0.0).to_bits();
        let mask = (bits.cast_signed() >> 63).cast_unsigned() | (1 << 63);
        bits ^ mask
    }

    #[inline]
    fn to_f64(self) -> f64 {
        self
    }

    fn plus(self, other: Self) -> Self {
        self + other
    }

    #[allow(clippy::needless_bitwise_bool, clippy::manual_range_contains)]
    #[inline]
    fn is_fractional(self) -> bool {
        const ROUND: f64 = 6_755_399_441_055_744.0;
        let beyond = self - ((self + ROUND) - ROUND);
        (self.abs() < 2_251_799_813_685_248.0) & ((beyond < 0.0) | (beyond > 1e-3))
    }

    #[inline]
    fn count(self) -> u32 {
        const WHOLE: f64 = 4_503_599_627_370_496.0;
        let shifted = self + WHOLE;
        let count = shifted.to_bits().wrapping_sub(WHOLE.to_bits());
        let exact = shifted - WHOLE == self;
        if exact && count < u64::from(NO_COUNT) { low_half(count) } else { NO_COUNT }
    }

    #[inline]
    fn of_count(count: u16) -> Self {
        Self::from(count)
    }
}

impl Value for i64 {
    #[inline]
    fn key(self) -> u64 {
        self.cast_unsigned() ^ (1 << 63)
    }

    #[inline]
    fn to_f64(self) -> f64 {
        real_signed(self)
    }

    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline]
    fn count(self) -> u32 {
        u32::try_from(self).unwrap_or(NO_COUNT)
    }

    #[inline]
    fn of_count(count: u16) -> Self {
        Self::from(count)
    }
}

impl Value for u64 {
    #[inline]
    fn key(self) -> u64 {
        self
    }

    #[inline]
    fn to_f64(self) -> f64 {
        real(self)
    }

    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline]
    fn count(self) -> u32 {
        u32::try_from(self).unwrap_or(NO_COUNT)
    }

    #[inline]
    fn of_count(count: u16) -> Self {
        Self::from(count)
    }
}

/// A value that its key tells.
pub trait Keyed: Value {
    /// The value with this key; 0.0 for that of both zeros.
    fn of_key(key: u64) -> Self;
}

impl Keyed for f32 {
    #[inline]
    fn of_key(key: u64) -> Self {
        let key = low_half(key);
        let mask = if key >> 31 == 0 { u32::MAX } else { 1 << 31 };
        Self::from_bits(key ^ mask)
    }
}

impl Keyed for f64 {
    #[inline]
    fn of_key(key: u64) -> Self {
        let mask = if key >> 63 == 0 { u64::MAX } else { 1 << 63 };
        Self::from_bits(key ^ mask)
    }
}

impl Keyed for i64 {
    #[inline]
    fn of_key(key: u64) -> Self {
        (key ^ (1 << 63)).cast_signed()
    }
}

impl Keyed for u64 {
    #[inline]
    fn of_key(key: u64) -> Self {
        key
    }
}

/// An element of the caller's array.
pub trait Stored: Copy + Send + Sync + 'static {
    /// The type that it widens to without loss.
    type Value: Value;
    /// The widened value.
    fn value(self) -> Self::Value;

    /// The widened values: `stored` itself if the types are equal, otherwise written into `buffer`,
    /// which the caller guarantees to be at least as long.
    fn widen<'a>(stored: &'a [Self], buffer: &'a mut [Self::Value]) -> &'a [Self::Value];
}

macro_rules! stored {
    ($($stored:ty => $value:ty, $widen:ident);* $(;)?) => {$(
        impl Stored for $stored {
            type Value = $value;

            #[inline]
            fn value(self) -> $value {
                <$value>::from(self)
            }

            #[inline]
            fn widen<'a>(stored: &'a [Self], buffer: &'a mut [$value]) -> &'a [$value] {
                $widen(stored, buffer)
            }
        }
    )*};
}

/// Returns `stored` itself, for types that need no widening.
#[inline]
fn borrow<'a, V>(stored: &'a [V], _buffer: &'a mut [V]) -> &'a [V] {
    stored
}

/// Widens the values one by one into `buffer`.
#[inline]
fn convert<'a, S: Stored>(stored: &[S], buffer: &'a mut [S::Value]) -> &'a [S::Value] {
    debug_assert!(stored.len() <= buffer.len());
    for (out, value) in buffer.iter_mut().zip(stored) {
        *out = value.value();
    }
    let length = stored.len().min(buffer.len());
    &buffer[..length]
}

stored! {
    i8 => f32, convert;
    u8 => f32, convert;
    i16 => f32, convert;
    u16 => f32, convert;
    f32 => f32, borrow;
    i32 => f64, convert;
    u32 => f64, convert;
    f64 => f64, borrow;
    i64 => i64, borrow;
    u64 => u64, borrow;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_order_as_values_do(a: f64, b: f64, i: i64, j: i64) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(a.partial_cmp(&b), Some(a.key().cmp(&b.key())));
            let (a, b) = (a as f32, b as f32);
            prop_assert_eq!(a.partial_cmp(&b), Some(a.key().cmp(&b.key())));
            prop_assert_eq!(i.cmp(&j), i.key().cmp(&j.key()));
        }
    }

    #[test]
    fn zeros_share_a_key_and_neighbours_beyond_f64_do_not() {
        assert_eq!((-0.0f64).key(), 0.0f64.key());
        assert_eq!((-0.0f32).key(), 0.0f32.key());
        assert!((-0.0f32).is_zero() && f32::NAN.is_nan() && !1i64.is_nan());
        let big = 1i64 << 60;
        assert!(big.key() < (big + 1).key());
        assert_eq!(big.to_f64(), (big + 1).to_f64());
    }

    #[test]
    fn counts_are_whole_numbers_from_0_to_65535() {
        let none = |count: u32| count > 65_535;
        for n in [0u16, 1, 2, 255, 4096, 65_535] {
            let whole = u32::from(n);
            assert_eq!((f32::of_count(n).count(), f64::of_count(n).count()), (whole, whole));
            assert_eq!((i64::of_count(n).count(), u64::of_count(n).count()), (whole, whole));
        }
        assert_eq!(((-0.0f32).count(), (-0.0f64).count()), (0, 0));
        for v in [1e-300, 0.5, 1.5, 65_534.5, 65_536.0, 1e6, 8_388_608.0, 1e10, 1e300] {
            assert!(none(f64::count(v)) && none((v as f32 + f32::MIN_POSITIVE).count()), "{v}");
            assert!(none((-v).count()) && none((-v as f32 - f32::MIN_POSITIVE).count()), "{v}");
        }
        for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 4_503_599_627_370_497.0, -1e16] {
            assert!(none(v.count()) && none((v as f32).count()), "{v}");
        }
        assert!(none((-1.0f32).count()) && none((-1.0f64).count()));
        assert!(none((-1i64).count()) && none(i64::MAX.count()) && none(u64::MAX.count()));
    }

    proptest! {
        #[test]
        fn fractions_are_those_of_floor(v in prop_oneof![-9f64..9.0, -1e7f64..1e7, any::<f64>(), (-9i32..9).prop_map(f64::from)]) {
            let want = |v: f64, limit: f64| v.abs() < limit && v - v.floor() > 1e-3;
            prop_assert_eq!(v.is_fractional(), want(v, 2f64.powi(51)));
            let single = v as f32;
            prop_assert_eq!(single.is_fractional(), want(f64::from(single), 2f64.powi(22)));
        }

        #[test]
        fn every_float_is_a_count_or_none(bits: u64) {
            let (v, w) = (f64::from_bits(bits), f32::from_bits(bits as u32));
            let want = |v: f64| ((0.0..=65_535.0).contains(&v) && v.fract() == 0.0).then_some(v as u32);
            prop_assert_eq!(Some(v.count()).filter(|&c| c < 65_536), want(v));
            prop_assert_eq!(Some(w.count()).filter(|&c| c < 65_536), want(f64::from(w)));
        }
    }
}
