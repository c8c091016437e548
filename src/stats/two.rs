//! Numbers in two words, rounded result and error apart: for differences of nearly equal ones.

/// a + b as a rounded sum and its error (Knuth, TAOCP 2, 4.2.2, theorem B).
#[must_use]
pub fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_seen = sum - a;
    (sum, (a - (sum - b_seen)) + (b - b_seen))
}

/// a b / c as a rounded quotient and what it leaves out, for whole numbers b and c.
#[must_use]
pub fn divide(a: f64, b: f64, c: f64) -> (f64, f64) {
    let (product, lost) = two_product(a, b);
    let quotient = product / c;
    let (back, back_lost) = two_product(quotient, c);
    (quotient, ((product - back) + (lost - back_lost)) / c)
}

/// a b as a rounded product and its error (Dekker 1971, Numer. Math. 18, 224).
#[must_use]
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

/// An unevaluated sum of two f64, some 106 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Two {
    high: f64,
    low: f64,
}

impl Two {
    /// The sum, rounded.
    #[must_use]
    pub fn value(self) -> f64 {
        self.high + self.low
    }

    /// Adds a number; errors gather in the lower word, so that a long sum is read by
    /// [`Two::settled`] (Ogita, Rump and Oishi 2005, SIAM J. Sci. Comput. 26, algorithm 4.4).
    #[inline]
    pub fn add(&mut self, number: f64) {
        let (high, error) = two_sum(self.high, number);
        (self.high, self.low) = (high, self.low + error);
    }

    /// Adds another one, as [`Two::add`] does.
    #[inline]
    pub fn add_two(&mut self, other: Self) {
        self.add(other.high);
        self.low += other.low;
    }

    /// Adds a number so many times, as [`Two::add`] does.
    #[inline]
    pub fn add_times(&mut self, number: f64, times: u64) {
        if times == 1 {
            self.add(number);
        } else if times > 0 {
            let (product, error) = two_product(number, times as f64);
            self.add(product);
            self.low += error;
        }
    }

    /// The same number with its upper word rounded; what overflowed has no lower word.
    #[must_use]
    pub fn settled(self) -> Self {
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

    /// self / n as a rounded quotient and what it leaves out.
    #[must_use]
    pub fn divided(self, n: f64) -> (f64, f64) {
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

    /// self times a number.
    #[must_use]
    #[inline]
    pub fn times(self, factor: f64) -> Self {
        let (high, error) = two_product(self.high, factor);
        let (high, low) = two_sum(high, error + self.low * factor);
        Self { high, low }
    }
}

impl From<u64> for Two {
    /// Exactly.
    fn from(whole: u64) -> Self {
        let high = whole as f64;
        Self { high, low: (i128::from(whole) - high as i128) as f64 }
    }
}

impl From<f64> for Two {
    fn from(high: f64) -> Self {
        Self { high, low: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn differences_of_large_numbers_keep_their_digits(a in 1f64..2.0, b in 1f64..2.0, small in 1e-25f64..1e-20) {
            let product = Two::from(a).times(b);
            let shifted = product.plus(Two::from(small));
            // 106 bits of a number up to 4: 5e-32.
            prop_assert!((shifted.minus(product).value() - small).abs() < 1e-31);
            let (rounded, error) = two_product(a, b);
            prop_assert_eq!(product.minus(Two::from(rounded)).value(), error);
        }
    }
}
