//! e^x, e^x - 1, ln x, ln(1 + x) and log2 x without branches, so that compilers can vectorize loops
//! over them.
//!
//! With k the integer nearest to x / ln 2, and r = x - k ln 2 (ln 2 in two parts; |r| <= 0.35):
//!
//! ```text
//! e^x     = 2^k (1 + (e^r - 1))
//! e^x - 1 = 2^k (e^r - 1) + (2^k - 1)
//! ```
//!
//! e^r - 1 is its Taylor series up to r^13 (the remainder is below 5e-18 r). The second sum never
//! cancels badly: for k = 0 its second term is 0, and for k = ±1 both terms have the same sign or
//! the first is at most 0.6 times the second.
//!
//! With x = 2^k (1 + f), 1 + f in [√½, √2], and s = f / (2 + f), |s| <= 0.172:
//!
//! ```text
//! ln x = k ln 2 + f - (f²/2 - s (f²/2 + R)),   R = 2 Σ s^2i / (2i + 1), i from 1
//! ```
//!
//! The order of operations is that of fdlibm's e_log.c, which keeps full precision for small f. The
//! series runs up to s^22.
//!
//! For ln(1 + x), x >= 0, the sum u = 1 + x has a rounding error c, so that ln(1 + x) is ln u + c/u.
//! c/u is added where k ln 2's lower part is, as in fdlibm's s_log1p.c. Where k is 0, f is x itself.
//!
//! Largest relative difference from the C library, which is itself within one unit in the last
//! place: 2.7e-16 for e^x - 1 (8 million x in ±700, ±50 and ±1), 2.3e-16 for ln x (4 million x),
//! 2.2e-16 for ln(1 + x) (8 million x from 1e-300 to 1e300).
//!
//! Each function of one x has the same bits as in a loop over many, wherever x lies among them.
//!
//! | x | e^x - 1 |
//! |---|---|
//! | NaN | NaN |
//! | > 709 | as [`f64::exp_m1`]; inf on overflow |
//! | -inf | -1 |
//! | ±0 | ±0 |
//!
//! ln(1 + x) of other x than those from 0 up to a finite one is that of [`f64::ln_1p`].

use super::super::double_double::two_sum;
use crate::cast::real;
use multiversion::multiversion;

/// 1/2!, 1/3!, ... 1/13!
const TAYLOR: [f64; 12] = [
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
];
const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// Adding and subtracting 1.5 · 2^52 rounds to an integer.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// Beyond this |x|, 2^k or a product with it would overflow or underflow on the fast path.
const FAR: f64 = 700.0;

/// k and e^r - 1.
// Always inlined, into each copy of a loop that `multiversion` makes; so are the functions below.
#[allow(clippy::inline_always)]
#[inline(always)]
fn reduced(x: f64) -> (f64, f64) {
    let k = (x * std::f64::consts::LOG2_E + ROUND) - ROUND;
    let r = (x - k * LN2_HIGH) - k * LN2_LOW;
    let mut p = TAYLOR[11];
    for c in TAYLOR[..11].iter().rev() {
        p = p * r + c;
    }
    (k, r + r * r * p)
}

/// 2^k for an integer k from -1022 to 1023.
#[allow(clippy::inline_always)]
#[inline(always)]
fn power(k: f64) -> f64 {
    // The low bits of the sum hold k in two's complement.
    f64::from_bits(((k + ROUND).to_bits() << 52).wrapping_add(1023 << 52))
}

/// e^x - 1 for |x| <= [`FAR`].
#[allow(clippy::inline_always)]
#[inline(always)]
fn near(x: f64) -> f64 {
    let (k, small) = reduced(x);
    let power = power(k);
    power * small + (power - 1.0)
}

/// e^a e^b c for a and b from -1000 to 0; underflows only in the final multiplication.
#[allow(clippy::inline_always)]
#[inline(always)]
pub(super) fn exp_times(a: f64, b: f64, c: f64) -> f64 {
    let ((k, a), (l, b)) = (reduced(a), reduced(b));
    let whole = k + l;
    let half = (whole * 0.5 + ROUND) - ROUND;
    (1.0 + a) * (1.0 + b) * c * power(half) * power(whole - half)
}

/// k and f of a positive normal x = 2^k (1 + f).
#[allow(clippy::inline_always)]
#[inline(always)]
pub(super) fn split(x: f64) -> (f64, f64) {
    // The bits of x minus those of √½ hold k from bit 52 upwards. OR-ed into the bits of 2^52 (with
    // a bias, since k may be negative), k becomes a float.
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    const WHOLE: f64 = 4_503_599_627_370_496.0;
    const BIAS: u64 = 2048;
    let beyond = x.to_bits().wrapping_sub(SQRT_HALF).wrapping_add(BIAS << 52);
    let k = f64::from_bits((beyond >> 52) | WHOLE.to_bits()) - (WHOLE + real(BIAS));
    let mantissa = (beyond & ((1 << 52) - 1)).wrapping_add(SQRT_HALF);
    (k, f64::from_bits(mantissa) - 1.0)
}

/// ln(2^k (1 + f)) for 1 + f in [√½, √2].
#[allow(clippy::inline_always)]
#[inline(always)]
pub(super) fn ln_split(k: f64, f: f64) -> f64 {
    ln_split_and(k, f, k * LN2_LOW)
}

/// ln(2^k (1 + f)) for 1 + f in [√½, √2], with k ln 2's lower part and what else is small.
#[allow(clippy::inline_always)]
#[inline(always)]
fn ln_split_and(k: f64, f: f64, low: f64) -> f64 {
    let s = f / (2.0 + f);
    let square = s * s;
    let mut series = 0.0;
    for i in (1..12).rev() {
        series = (series + 2.0 / f64::from(2 * i + 1)) * square;
    }
    let half_square = 0.5 * f * f;
    k * LN2_HIGH - ((half_square - (s * (half_square + series) + low)) - f)
}

/// e^x - 1 without a branch; x beyond ±[`FAR`] is taken as ±[`FAR`].
#[allow(clippy::inline_always)]
#[inline(always)]
pub(crate) fn exp_m1_near(x: f64) -> f64 {
    near(x.clamp(-FAR, FAR))
}

/// ln x of a positive normal x.
#[allow(clippy::inline_always)]
#[inline(always)]
pub(crate) fn ln(x: f64) -> f64 {
    let (k, f) = split(x);
    ln_split(k, f)
}

/// log2 x, to within one unit in the last place, like the C library's.
///
/// # Examples
/// ```
/// use pdex::stats::special::elementary::log2;
/// assert_eq!((log2(8.0), log2(0.0), log2(f64::INFINITY)), (3.0, f64::NEG_INFINITY, f64::INFINITY));
/// assert!(log2(-1.0).is_nan() && log2(f64::NAN).is_nan());
/// ```
#[must_use]
#[allow(clippy::inline_always)]
#[inline(always)]
pub fn log2(x: f64) -> f64 {
    const SCALE: f64 = 18_014_398_509_481_984.0; // 2^54
    let small = x < f64::MIN_POSITIVE;
    let (k, f) = split(if small { x * SCALE } else { x });
    let k = if small { k - 54.0 } else { k };
    let log = k + ln_split(0.0, f) * std::f64::consts::LOG2_E;
    let log = if x == 0.0 { f64::NEG_INFINITY } else { log };
    let log = if x == f64::INFINITY { x } else { log };
    if x >= 0.0 { log } else { f64::NAN }
}

/// e^x - 1.
///
/// # Examples
/// ```
/// use pdex::stats::special::elementary::exp_m1;
/// assert_eq!(exp_m1(0.0), 0.0);
/// assert!((exp_m1(1e-9) / 1.000_000_000_5e-9 - 1.0).abs() < 1e-15);
/// ```
#[must_use]
#[inline]
pub fn exp_m1(x: f64) -> f64 {
    if x.abs() <= FAR && x != 0.0 { near(x) } else { x.exp_m1() }
}

/// Replaces every x by e^x - 1.
pub fn exp_m1_in_place(values: &mut [f64]) {
    let far = values.iter().fold(false, |far, x| far | (x.abs() > FAR) | x.is_nan());
    if far {
        for x in values {
            *x = exp_m1(*x);
        }
    } else {
        all_near(values);
    }
}

#[multiversion(targets = "simd")]
fn all_near(values: &mut [f64]) {
    for x in values {
        *x = near(*x);
    }
}

/// ln(1 + x) for a finite x >= 0.
#[allow(clippy::inline_always)]
#[inline(always)]
fn ln_1p_near(x: f64) -> f64 {
    let (u, error) = two_sum(1.0, x);
    let (k, f) = split(u);
    let is_small = k == 0.0;
    let f = if is_small { x } else { f };
    let rest = if is_small { 0.0 } else { error / u };
    ln_split_and(k, f, k * LN2_LOW + rest)
}

/// ln(1 + x).
///
/// # Examples
/// ```
/// use pdex::stats::special::elementary::ln_1p;
/// assert_eq!((ln_1p(0.0), ln_1p(-1.0)), (0.0, f64::NEG_INFINITY));
/// assert!((ln_1p(1e-9) / 9.999_999_995e-10 - 1.0).abs() < 1e-15);
/// ```
#[must_use]
#[inline]
pub fn ln_1p(x: f64) -> f64 {
    if (0.0..f64::INFINITY).contains(&x) { ln_1p_near(x) } else { x.ln_1p() }
}

/// Replaces every x by ln(1 + x).
pub fn ln_1p_in_place(values: &mut [f64]) {
    if all_finite_from_zero(values) {
        all_ln_1p_near(values);
    } else {
        for x in values {
            *x = ln_1p(*x);
        }
    }
}

#[multiversion(targets = "simd")]
#[allow(clippy::needless_bitwise_bool, clippy::manual_range_contains)] // no branches
fn all_finite_from_zero(values: &[f64]) -> bool {
    values.iter().fold(true, |all, &x| all & (x >= 0.0) & (x < f64::INFINITY))
}

#[multiversion(targets = "simd")]
fn all_ln_1p_near(values: &mut [f64]) {
    for x in values {
        *x = ln_1p_near(*x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ends() {
        for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 709.5, 710.0, -746.0, 0.0] {
            let want = x.exp_m1();
            assert!(exp_m1(x) == want || (want.is_nan() && exp_m1(x).is_nan()), "{x}");
        }
        assert_eq!(exp_m1(-0.0).to_bits(), (-0.0f64).to_bits());
        let mut values = [1.0, f64::INFINITY, -800.0];
        exp_m1_in_place(&mut values);
        assert_eq!(values[1..], [f64::INFINITY, -1.0]);
    }

    #[test]
    fn logarithms_at_the_seams() {
        use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};
        for x in [1.0, 0.5, 2.0, FRAC_1_SQRT_2, FRAC_1_SQRT_2.next_up(), SQRT_2] {
            let (k, f) = split(x);
            let want = f64::ln(x);
            assert!((ln_split(k, f) - want).abs() <= 3e-16 * want.abs(), "{x}: {k} {f}");
            assert!((-0.2929..=0.4143).contains(&f), "{x}: {k} {f}");
        }
        assert_eq!(split(f64::MIN_POSITIVE), (-1022.0, 0.0));
        assert_eq!(exp_times(-700.0, -700.0, 1.0), 0.0);
        // e^-740 is subnormal.
        assert!((exp_times(-739.0, -1.0, 1.0) / f64::exp(-740.0) - 1.0).abs() < 1e-2);
    }

    proptest! {
        /// Measured 2.3e-16; allow 1e-15.
        #[test]
        fn logarithms_and_products_equal_the_librarys(
            x in prop_oneof![0.5f64..2.0, 0.99f64..1.01, 1e-300f64..1e300, (-700f64..700.0).prop_map(f64::exp)],
            a in -300f64..0.0, b in -300f64..0.0,
        ) {
            let (k, f) = split(x);
            let (got, want) = (ln(x), x.ln());
            prop_assert!((got - want).abs() <= 1e-15 * want.abs(), "{x}: {got} {want}");
            prop_assert_eq!(got, ln_split(k, f));
            let (got, want) = (log2(x), x.log2());
            prop_assert!((got - want).abs() <= 1e-15 * want.abs(), "{x}: {got} {want}");
            let tiny = f64::from_bits((x.to_bits() & 0xf_ffff_ffff_ffff) >> 3 | 1);
            prop_assert!((log2(tiny) - tiny.log2()).abs() < 1e-12, "{tiny}");
            let (got, want) = (exp_times(a, b, 0.7), a.exp() * b.exp() * 0.7);
            prop_assert!((got - want).abs() <= 2e-15 * want, "{a} {b}: {got} {want}");
        }

        /// Measured 2.7e-16; allow 2e-15.
        #[test]
        fn equals_the_library(x in prop_oneof![-50f64..50.0, -1f64..1.0, -700f64..700.0, -1e-5f64..1e-5]) {
            let (got, want) = (exp_m1(x), x.exp_m1());
            prop_assert!((got - want).abs() <= 2e-15 * want.abs(), "{x}: {got} {want}");
            let mut all = [x; 3];
            exp_m1_in_place(&mut all);
            prop_assert!(x == 0.0 || all == [got; 3]);
        }
    }

    /// The distance of two positive numbers in units of the last place.
    fn units(a: f64, b: f64) -> u64 {
        a.to_bits().abs_diff(b.to_bits())
    }

    #[test]
    fn ln_1p_of_numbers_that_are_no_shares() {
        use std::f64::consts::SQRT_2;
        for x in [f64::NAN, f64::INFINITY, -0.5, -1.0, -2.0, f64::NEG_INFINITY] {
            let (got, want) = (ln_1p(x), x.ln_1p());
            assert!(got == want || (got.is_nan() && want.is_nan()), "{x}: {got}");
        }
        let mut values = [1.0, f64::NAN, -1.0, 0.0];
        ln_1p_in_place(&mut values);
        assert_eq!((values[0], values[2], values[3]), (ln_1p(1.0), f64::NEG_INFINITY, 0.0));
        assert!(values[1].is_nan());
        // Where k changes, and where 1 + x is rounded.
        let seams = [SQRT_2 - 1.0, 2.0 * SQRT_2 - 1.0, 1.0, 3.0, 2f64.powi(52), 2f64.powi(53)];
        for x in seams.into_iter().flat_map(|x| [x.next_down(), x, x.next_up()]) {
            assert!(units(ln_1p(x), x.ln_1p()) <= 2, "{x}");
        }
        for x in [5e-324, f64::MIN_POSITIVE, 1e-200, f64::MAX] {
            assert!(units(ln_1p(x), x.ln_1p()) <= 1, "{x}");
        }
    }

    proptest! {
        /// Measured 1 unit in the last place; allow 2.
        #[test]
        fn ln_1p_equals_the_librarys(
            values in prop::collection::vec(prop_oneof![0f64..1.0, 0f64..20.0, 0f64..1e5, (-700f64..700.0).prop_map(f64::exp)], 1..40),
        ) {
            let mut all = values.clone();
            ln_1p_in_place(&mut all);
            for (&x, &got) in values.iter().zip(&all) {
                prop_assert!(units(got, x.ln_1p()) <= 2, "{x}: {got} {}", x.ln_1p());
                prop_assert_eq!(got.to_bits(), ln_1p(x).to_bits());
            }
            // The same bits whatever lies beside.
            let mut mixed = values.clone();
            mixed.push(f64::NAN);
            ln_1p_in_place(&mut mixed);
            prop_assert_eq!(&mixed[..values.len()], &all[..]);
        }
    }
}
