//! From a saddlepoint to ln p.

use super::cumulant::Saddle;
use crate::stats::special::normal;
use std::f64::consts::{LN_2, TAU};

/// The upper tail of A² at one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpperTail {
    /// The natural logarithm of P(Σ λ_i χ²_1 >= A²).
    pub ln_p: f64,
    /// (1 - 2 t λ_1)^(-1/2): how large the leading component, which is nearly the standardised rank
    /// sum, is in that tail.
    pub z: f64,
}

impl UpperTail {
    pub(super) const ALL: Self = Self { ln_p: 0.0, z: 0.0 };
}

/// ln P(|Z| >= z).
pub(super) fn ln_two_sided(z: f64) -> f64 {
    (normal::log_sf(z) + LN_2).min(0.0)
}

/// ln p of Wood, Booth and Butler's formula, away from the mean.
pub(super) fn ln_tail(saddle: &Saddle) -> f64 {
    let xi = base(saddle.dual, saddle.t > 0.0);
    let bracket = xi / (saddle.t * saddle.spread) - 2.0 * xi / (xi - 1.0);
    let p = 2.0 * normal::scaled(xi.sqrt()) + bracket / (TAU * xi).sqrt();
    p.ln() - 0.5 * xi
}

/// ξ of ξ - 1 - ln ξ = w², above 1 or below it: -ξ is Lambert's W of -e^(-1-w²).
fn base(dual: f64, above: bool) -> f64 {
    let start = if above { above_one(dual) } else { below_one(dual) };
    let mut xi = start;
    // Fritsch, Shafer and Crowley (1973, Comm. ACM 16, 123): each step leaves the fourth power of the
    // error before, which is below 1e-2.
    for _ in 0..2 {
        let off = xi - 1.0 - xi.ln() - dual;
        let down = 1.0 - xi;
        let q = 2.0 * down * (down + off * (2.0 / 3.0));
        let change = off / down * (q - off) / (q - 2.0 * off);
        xi += xi * change;
        if change.abs() < 1e-4 {
            break;
        }
    }
    xi
}

/// Barry, Parlange and others (2000, Math. Comput. Simul. 53, 95), to 3e-4.
fn above_one(dual: f64) -> f64 {
    const M: [f64; 3] = [0.3361, -0.0042, -0.0201];
    let bend = 1.0 + M[1] * dual * (M[2] * dual.sqrt()).exp();
    1.0 + dual + 2.0 / M[0] * (1.0 - 1.0 / (1.0 + M[0] * (0.5 * dual).sqrt() / bend))
}

/// The series at 1 in √(2 w²), or that at 0 in e^(-1-w²).
fn below_one(dual: f64) -> f64 {
    if dual < 1.0 {
        let q = (2.0 * dual).sqrt();
        1.0 - q * (1.0 - q * (1.0 / 3.0 - q * (1.0 / 36.0 + q / 270.0)))
    } else {
        let y = (-1.0 - dual).exp();
        y * (1.0 + y * (1.0 + y * (1.5 + y * (8.0 / 3.0))))
    }
}
