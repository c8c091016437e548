//! Double-double arithmetic: a number is the unevaluated sum of two f64, a rounded value and its
//! rounding error. Used for sums whose leading digits cancel.

use crate::cast::{low_half, real};

/// a + b as a rounded sum and its error (Knuth, TAOCP 2, 4.2.2, theorem B).
#[must_use]
#[inline]
pub fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_seen = sum - a;
    (sum, (a - (sum - b_seen)) + (b - b_seen))
}

/// a b / c as a rounded quotient and its error, for integers b and c.
#[must_use]
#[inline]
pub fn product_quotient(a: f64, b: f64, c: f64) -> (f64, f64) {
    let (product, lost) = two_product(a, b);
    let quotient = product / c;
    let (back, back_lost) = two_product(quotient, c);
    (quotient, ((product - back) + (lost - back_lost)) / c)
}

/// a b as a rounded product and its error (Dekker 1971, Numer. Math. 18, 224).
#[must_use]
#[inline]
pub fn two_product(a: f64, b: f64) -> (f64, f64) {
    let split = |v: f64| {
        let wide = 134_217_729.0 * v; // 2^27 + 1
        let high = wide - (wide - v);
        (high, v - high)
    };
    let product = a * b;
    let ((a1, a2), (b1, b2)) = (split(a), split(b));
    (product, a2 * b2 - (((product - a1 * b1) - a2 * b1) - a1 * b2))
}

/// 2^exponent, for exponents from -1022 to 1023.
#[must_use]
#[inline]
#[allow(clippy::cast_sign_loss)] // biased: from 1 to 2046
pub const fn power_of_two(exponent: i32) -> f64 {
    debug_assert!(-1022 <= exponent && exponent <= 1023, "no normal number has the exponent");
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The exponent e of a finite nonzero number, 2^e <= |x| < 2^(e + 1); -1023 for subnormal numbers.
#[must_use]
#[inline]
#[allow(clippy::cast_possible_truncation)] // 11 bits
pub fn exponent(x: f64) -> i32 {
    debug_assert!(x.is_finite() && x != 0.0, "no exponent");
    ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

/// The unevaluated sum of two f64: about 106 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DoubleDouble {
    high: f64,
    low: f64,
}

impl DoubleDouble {
    /// The number rounded to one f64.
    #[must_use]
    #[inline]
    pub fn value(self) -> f64 {
        self.high + self.low
    }

    /// Adds a number. Rounding errors accumulate in the lower word; call
    /// [`DoubleDouble::renormalized`] before reading a long sum (Ogita, Rump and Oishi 2005, SIAM
    /// J. Sci. Comput. 26, algorithm 4.4).
    #[inline]
    pub fn add(&mut self, number: f64) {
        let (high, error) = two_sum(self.high, number);
        (self.high, self.low) = (high, self.low + error);
    }

    /// Adds another double-double, with errors accumulated as in [`DoubleDouble::add`].
    #[inline]
    pub fn add_double(&mut self, other: Self) {
        self.add(other.high);
        self.low += other.low;
    }

    /// Adds `number` · `times`, with errors accumulated as in [`DoubleDouble::add`].
    #[inline]
    pub fn add_times(&mut self, number: f64, times: u64) {
        if times == 1 {
            self.add(number);
        } else if times > 0 {
            let (product, error) = two_product(number, real(times));
            self.add(product);
            self.low += error;
        }
    }

    /// The same number, with the upper word equal to the rounded sum of both. If the upper word has
    /// overflowed, the lower word is 0.
    #[must_use]
    #[inline]
    pub fn renormalized(self) -> Self {
        let low = if self.low.is_finite() { self.low } else { 0.0 };
        let (high, error) = two_sum(self.high, low);
        Self { high, low: if error.is_finite() { error } else { 0.0 } }
    }

    /// self².
    #[must_use]
    #[inline]
    pub fn squared(self) -> Self {
        let (high, error) = two_product(self.high, self.high);
        let (high, low) = two_sum(high, error + 2.0 * self.high * self.low);
        Self { high, low }
    }

    /// self / n, as a rounded quotient and its error.
    #[must_use]
    #[inline]
    #[allow(clippy::should_implement_trait)] // returns the error, too
    pub fn div(self, n: f64) -> (f64, f64) {
        let quotient = self.high / n;
        let (back, lost) = two_product(quotient, n);
        let rest = ((self.high - back) - lost + self.low) / n;
        two_sum(quotient, rest)
    }

    /// self + other.
    #[must_use]
    #[inline]
    pub fn plus(self, other: Self) -> Self {
        let (high, error) = two_sum(self.high, other.high);
        let (high, low) = two_sum(high, error + (self.low + other.low));
        Self { high, low }
    }

    /// self - other.
    #[must_use]
    #[inline]
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self { high: -other.high, low: -other.low })
    }

    /// self · factor.
    #[must_use]
    #[inline]
    pub fn times(self, factor: f64) -> Self {
        let (high, error) = two_product(self.high, factor);
        let (high, low) = two_sum(high, error + self.low * factor);
        Self { high, low }
    }
}

impl From<u64> for DoubleDouble {
    /// Exact for every u64.
    #[inline]
    fn from(whole: u64) -> Self {
        let [high, low] = [whole >> 32, whole].map(|half| f64::from(low_half(half)));
        let (high, low) = two_sum(high * power_of_two(32), low);
        Self { high, low }
    }
}

impl From<f64> for DoubleDouble {
    #[inline]
    fn from(high: f64) -> Self {
        Self { high, low: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exponents_and_powers_are_inverse() {
        for e in [-1022, -1, 0, 1, 52, 1023] {
            assert_eq!((power_of_two(e), exponent(power_of_two(e))), (2f64.powi(e), e));
        }
        assert_eq!((exponent(-3.9), exponent(5e-324), exponent(f64::MAX)), (1, -1023, 1023));
    }

    #[test]
    fn whole_numbers_are_kept_exactly() {
        for whole in [0, 1, (1 << 53) + 1, (1 << 54) + 3, u64::MAX, u64::MAX - 1, 1 << 63] {
            let DoubleDouble { high, low } = whole.into();
            assert_eq!(high.to_bits(), real(whole).to_bits());
            // high may be 2^64.
            #[allow(clippy::cast_possible_truncation)]
            let both = high as i128 + low as i128;
            assert_eq!(both, i128::from(whole));
        }
    }

    proptest! {
        #[test]
        fn differences_of_large_numbers_keep_their_digits(a in 1f64..2.0, b in 1f64..2.0, small in 1e-25f64..1e-20) {
            let product = DoubleDouble::from(a).times(b);
            let shifted = product.plus(DoubleDouble::from(small));
            // 106 bits of a number up to 4: 5e-32.
            prop_assert!((shifted.minus(product).value() - small).abs() < 1e-31);
            let (rounded, error) = two_product(a, b);
            prop_assert_eq!(product.minus(DoubleDouble::from(rounded)).value(), error);
        }
    }
}
