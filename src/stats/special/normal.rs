//! The standard normal distribution: its upper tail and the tail's logarithm.
//!
//! Symbols: z the argument, Q(z) = P(Z > z) = erfc(z/√2) / 2, and for z >= 0 the scaled tail
//! S(z) = exp(z²/2) Q(z) (half of erfcx(z/√2)), which decreases only like 1/(z √(2π)), so that it
//! neither underflows nor cancels.
//!
//! Formula: the minimax rational approximations of Cody (1969, Math. Comp. 23, 631-637), with the
//! coefficients of Cody (1993, ACM TOMS 19, 22-30, Algorithm 715, ANORM): his erfc written in terms
//! of z itself, so that z/√2 is never rounded:
//!
//! - z <= 0.67448975 (the quartile): Q = 1/2 - z A(z²)/B(z²), with A/B of degree 4;
//! - z <= √32: S = C(z)/D(z), of degree 8;
//! - beyond: S = (1/√(2π) - w P(w)/Q(w)) / z, w = 1/z², of degree 5.
//!
//! In Q = exp(-z²/2) S, exp(-z²/2) is computed as exp(-h²/2) exp(-(z - h)(z + h)/2), where h is z
//! rounded to the nearest sixteenth. h²/2 is exact, which avoids an error of z² units in the last
//! place. log Q(z) is ln S - z²/2 above the quartile, ln Q from 0 to the quartile, and
//! log1p(-Q(-z)) for z < 0.
//!
//! Departures: [`two_sided`] uses log1p of the central part, so that the relative error of -log10 p
//! is small also next to p = 1.
//!
//! Cost: about 30 ns for one rational function and two exponentials (`sf`) or one logarithm
//! (`log_sf`). [`two_sided_all`] is vectorized: it computes all cases for several z at a time.
//!
//! Largest relative error against 50-digit values (`tests/golden/special.csv`, |z| up to 10,000):
//! 6e-16 for sf down to 1e-300, 7e-16 for `log_sf` throughout.
//!
//! Special values:
//!
//! | z | sf | `log_sf` |
//! |---|---|---|
//! | NaN | NaN | NaN |
//! | inf | 0 | -inf |
//! | -inf | 1 | 0 |
//! | > 38.6 | 0 (below the smallest f64) | finite up to z = 1.8e154 |
//! | < -38.6 | 1 | 0, never -0 |

use super::Tail;
use super::elementary::{exp_times, ln_split, split};
use multiversion::multiversion;
use std::f64::consts::{FRAC_1_SQRT_2, LN_2, LOG10_E};

/// The upper quartile: the central form is used up to here, the scaled form beyond.
const QUARTILE: f64 = 0.674_489_75;
/// √32; beyond it the expansion in 1/z² is used.
const FAR: f64 = 5.656_854_249_492_381;
const FRAC_1_SQRT_2PI: f64 = 0.398_942_280_401_432_677_94;

/// Cody's coefficients, highest power first; the leading 1 of each denominator is implied.
const A: [f64; 5] = [
    0.065_682_337_918_207_449_113,
    2.235_252_035_460_683_928_7,
    161.028_231_068_555_878_81,
    1_067.689_485_460_370_958_2,
    18_154.981_253_343_561_249,
];
const B: [f64; 4] = [
    47.202_581_904_688_241_87,
    976.098_551_737_776_693_22,
    10_260.932_208_618_978_205,
    45_507.789_335_026_729_956,
];
const C: [f64; 9] = [
    1.076_557_677_372_019_231_7e-8,
    0.398_941_512_088_134_667_64,
    8.883_149_794_388_375_941_2,
    93.506_656_132_177_855_979,
    597.270_276_394_800_262_26,
    2_494.537_585_290_372_671_1,
    6_848.190_450_536_282_332_6,
    11_602.651_437_647_350_124,
    9_842.714_838_383_978_021_8,
];
const D: [f64; 8] = [
    22.266_688_044_328_115_691,
    235.387_901_782_624_998_61,
    1_519.377_599_407_554_805,
    6_485.558_298_266_760_755,
    18_615.571_640_885_098_091,
    34_900.952_721_145_977_266,
    38_912.003_286_093_271_411,
    19_685.429_676_859_990_727,
];
const P: [f64; 6] = [
    0.023_073_441_764_940_173_03,
    0.215_898_534_057_956_99,
    0.127_401_161_160_247_363_9,
    0.022_235_277_870_649_807,
    0.001_421_619_193_227_893_466,
    2.911_287_495_116_879_2e-5,
];
const Q: [f64; 5] = [
    1.284_260_096_144_911_21,
    0.468_238_212_480_865_118,
    0.065_988_137_868_928_551_5,
    0.003_782_396_332_027_582_44,
    7.297_515_550_839_662_05e-5,
];

/// P(Z > z).
///
/// # Examples
///
/// ```
/// use pdex::stats::special::normal::sf;
///
/// assert_eq!(sf(0.0), 0.5);
/// assert!((sf(1.959963984540054) - 0.025).abs() < 1e-16);
/// ```
#[must_use]
pub fn sf(z: f64) -> f64 {
    if z.is_nan() {
        f64::NAN
    } else if z.abs() <= QUARTILE {
        0.5 - central(z)
    } else if z > 0.0 {
        exp_half_square(z) * scaled(z)
    } else {
        1.0 - exp_half_square(-z) * scaled(-z)
    }
}

/// ln P(Z > z); accurate also where `sf` underflows to 0 or rounds to 1.
///
/// # Examples
///
/// ```
/// use pdex::stats::special::normal::{log_sf, sf};
///
/// assert!((log_sf(2.0) - sf(2.0).ln()).abs() < 1e-15);
/// assert!((log_sf(100.0) + 5005.524208694205).abs() < 1e-11);
/// assert!((log_sf(-10.0) / -7.619853024160526e-24 - 1.0).abs() < 1e-14);
/// ```
#[must_use]
pub fn log_sf(z: f64) -> f64 {
    if z > QUARTILE {
        scaled(z).ln() - 0.5 * z * z
    } else if z >= 0.0 {
        (0.5 - central(z)).ln()
    } else {
        // adding 0 turns the -0 of log1p(-0) into 0; NaN passes through
        (-sf(-z)).ln_1p() + 0.0
    }
}

/// The two-sided p-value min(1, 2 P(Z > z)) of a statistic z >= 0: pass |z|. A negative z, as from
/// a continuity correction that overshoots the centre, gives p = 1.
///
/// # Examples
///
/// ```
/// use pdex::stats::special::normal::two_sided;
///
/// let far = two_sided(50.0);
/// assert_eq!(far.p, 0.0);
/// assert!((far.neg_log10 - 544.6653058663327).abs() < 1e-10);
/// assert_eq!(two_sided(-0.5).p, 1.0);
/// ```
#[must_use]
pub fn two_sided(z: f64) -> Tail {
    let (p, neg_log10) = both(z);
    Tail { p, neg_log10 }
}

/// [`two_sided`] of every z, bit-identical: fills p-values and their negative decimal logarithms.
///
/// # Panics
/// Panics if the three lengths differ.
pub fn two_sided_all(z: &[f64], p: &mut [f64], neg_log10: &mut [f64]) {
    assert!(z.len() == p.len() && z.len() == neg_log10.len(), "lengths differ");
    each(z, p, neg_log10);
}

#[multiversion(targets = "simd")]
fn each(z: &[f64], p: &mut [f64], neg_log10: &mut [f64]) {
    for ((&z, p), neg_log10) in z.iter().zip(p).zip(neg_log10) {
        (*p, *neg_log10) = both(z);
    }
}

/// p and -log10 p. Computes all cases and selects one, without branches.
// Always inlined, into each copy of `each` that `multiversion` makes; so is what it calls.
#[allow(clippy::inline_always)]
#[inline(always)]
fn both(z: f64) -> (f64, f64) {
    let central_part = z <= QUARTILE;
    let inside = 2.0 * central(z);
    let outside = 1.0 - inside;
    let w = 1.0 / (z * z);
    let far = (FRAC_1_SQRT_2PI - w * horner(&P, w) / monic(&Q, w)) / z;
    let scaled = if z <= FAR { horner(&C, z) / monic(&D, z) } else { far };
    // 1 - inside = 2^k (1 + f), where f is exact.
    let halved = outside < FRAC_1_SQRT_2;
    let (k, f) = if halved { (-1.0, 1.0 - 2.0 * inside) } else { (0.0, -inside) };
    let (far_k, far_f) = split(scaled);
    let (k, f) = if central_part { (k, f) } else { (far_k, far_f) };
    let ln = ln_split(k, f);
    let ln_p = if central_part { ln } else { ln - 0.5 * z * z + LN_2 };
    let near = if z < 40.0 { z } else { 40.0 };
    let h = sixteenths(near);
    let beyond = exp_times(-0.5 * h * h, -0.5 * (near - h) * (near + h), 2.0 * scaled);
    let p = if central_part { outside } else { beyond };
    let (p, neg_log10) = if z > 0.0 { (p, -ln_p * LOG10_E) } else { (1.0, 0.0) };
    if z.is_nan() { (z, z) } else { (p, neg_log10) }
}

/// z in [0, 40] rounded to the nearest sixteenth, whose half square is exact.
#[allow(clippy::inline_always)]
#[inline(always)]
fn sixteenths(z: f64) -> f64 {
    // Near 1.5 · 2^48 the last bit of an f64 is worth 1/16, so the sum is rounded to 1/16.
    const SIXTEENTHS: f64 = 422_212_465_065_984.0;
    (z + SIXTEENTHS) - SIXTEENTHS
}

/// P(0 < Z <= z) for |z| up to the quartile; an odd function.
#[allow(clippy::inline_always)]
#[inline(always)]
fn central(z: f64) -> f64 {
    let y = z * z;
    z * horner(&A, y) / monic(&B, y)
}

/// S(z) = exp(z²/2) P(Z > z) for z >= 0.
pub(crate) fn scaled(z: f64) -> f64 {
    if z <= QUARTILE {
        (0.5 * z * z).exp() * (0.5 - central(z))
    } else if z <= FAR {
        horner(&C, z) / monic(&D, z)
    } else {
        let w = 1.0 / (z * z);
        (FRAC_1_SQRT_2PI - w * horner(&P, w) / monic(&Q, w)) / z
    }
}

/// exp(-z²/2) for z >= 0, without the error from rounding z².
fn exp_half_square(z: f64) -> f64 {
    if z > 40.0 {
        return 0.0;
    }
    let h = sixteenths(z);
    exp_times(-0.5 * h * h, -0.5 * (z - h) * (z + h), 1.0)
}

#[allow(clippy::inline_always)]
#[inline(always)]
fn horner(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

#[allow(clippy::inline_always)]
#[inline(always)]
fn monic(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().fold(1.0, |sum, c| sum * x + c)
}

#[cfg(test)]
mod tests {
    use super::{log_sf, scaled, sf, two_sided};
    use crate::stats::special::{Tail, golden};
    use proptest::prelude::*;

    #[test]
    fn the_golden_rows() {
        let both = |z: f64, _: f64| (sf(z), log_sf(z));
        golden::hold("normal", 1e-14, both); // measured 7e-16
    }

    #[test]
    fn the_scaled_tail_is_smooth_at_both_seams() {
        for seam in [super::QUARTILE, super::FAR] {
            let (below, above) = (scaled(seam), scaled(seam.next_up()));
            // 2e-16, allow 1e-15
            assert!((below / above - 1.0).abs() < 1e-15, "{seam}: {below} {above}");
        }
    }

    #[test]
    fn ends() {
        assert!(sf(f64::NAN).is_nan() && log_sf(f64::NAN).is_nan());
        assert!(two_sided(f64::NAN).p.is_nan() && two_sided(f64::NAN).neg_log10.is_nan());
        assert_eq!((sf(f64::INFINITY), log_sf(f64::INFINITY)), (0.0, f64::NEG_INFINITY));
        assert_eq!((sf(f64::NEG_INFINITY), log_sf(f64::NEG_INFINITY)), (1.0, 0.0));
        assert_eq!(log_sf(-100.0).to_bits(), 0, "-0");
        assert_eq!(sf(0.0).to_bits(), sf(-0.0).to_bits());
        assert!(log_sf(1e150).is_finite() && sf(1e150) == 0.0);
        for z in [-3.0, -1e-300, 0.0] {
            assert_eq!(two_sided(z), Tail { p: 1.0, neg_log10: 0.0 });
        }
    }

    /// mpmath 1.4.1, 30 digits: -log10(erfc(z/sqrt(2))).
    #[test]
    fn two_sided_is_relative_next_to_one() {
        for (z, want) in [
            (1e-12, 3.465_168_619_526_222_7e-13),
            (1e-3, 3.466_551_179_578_636_7e-4),
            (0.3, 0.116_805_949_290_318_3),
            (0.67, 0.298_554_817_464_468_6),
            (0.7, 0.315_219_873_167_772_3),
            (50.0, 544.665_305_866_332_7),
        ] {
            // 3e-16, allow 2e-15
            assert!((two_sided(z).neg_log10 / want - 1.0).abs() < 2e-15, "{z}");
        }
    }

    proptest! {
        #[test]
        fn many_equal_one(z in prop::collection::vec(prop_oneof![-1f64..50.0, 0f64..1.0, Just(f64::NAN), Just(f64::INFINITY), 0f64..1e200], 0..20)) {
            let (mut p, mut log) = (vec![0.0; z.len()], vec![0.0; z.len()]);
            super::two_sided_all(&z, &mut p, &mut log);
            for (i, &z) in z.iter().enumerate() {
                let one = two_sided(z);
                prop_assert_eq!((p[i].to_bits(), log[i].to_bits()), (one.p.to_bits(), one.neg_log10.to_bits()));
                let (sf, log_sf) = (2.0 * sf(z), -(log_sf(z) + super::LN_2) / std::f64::consts::LN_10);
                // Measured 9e-16; a subnormal p has fewer digits.
                prop_assert!(z.is_nan() || z <= 0.0 || sf < 1e-307 || (one.p / sf - 1.0).abs() < 4e-15, "{}", z);
                prop_assert!(z.is_nan() || z <= 1.0 || (one.neg_log10 / log_sf - 1.0).abs() < 4e-15 || log_sf.is_infinite(), "{}", z);
            }
        }

        #[test]
        fn both_sides_add_to_one(z in -40.0..40.0) {
            prop_assert!((sf(z) + sf(-z) - 1.0).abs() <= f64::EPSILON);
        }

        #[test]
        fn it_falls(z in -38.0..1e4, step in 1e-3..1.0) {
            prop_assert!(sf(z + step) <= sf(z));
            prop_assert!(log_sf(z + step) < log_sf(z) || z < -8.0);
        }

        #[test]
        fn the_logarithm_is_the_logarithm(z in -8.0..37.0) {
            // ln of a rounded sf is off by 2e-16 absolute; allow 1e-15 of max(1, |ln|)
            let (ln, log) = (sf(z).ln(), log_sf(z));
            prop_assert!((ln - log).abs() <= 1e-15 * log.abs().max(1.0), "{ln} {log}");
        }
    }
}
