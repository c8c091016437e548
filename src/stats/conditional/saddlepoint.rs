//! The double saddlepoint approximation of the upper tail.
//!
//! # Formulae (Robinson 1982, J. R. Stat. Soc. B 44, 91; Skovgaard 1987, J. Appl. Prob. 24, 875)
//! a_j of independent Bernoulli cells, given that n1 of them are the target's.  With the odds written
//! relative to those of the null, y_j = η + θ s_j and p0 = n1 / N,
//!
//! ```text
//! K(θ, η) = Σ l_j ln(1 + p0 (e^{y_j} - 1)),     K_θ = T,  K_η = n1       by Newton's method
//! w = sgn θ √(2 (θ T + η n1 - K)),              u = θ √(det K'' N / (n1 n2))
//! P(T ≥ t) = Φ(-w) + φ(w) (1/u - 1/w)           so that  p = φ(w) (Mills(w) - 1/w + 1/u)
//! ```
//!
//! With strata η is one each, and det K'' = Σ (K_θθ - K_θη² / K_ηη) · Π K_ηη.  Two runs have a lattice
//! of step δ = s_2 - s_1: θ in u becomes (1 - e^{-θδ}) / δ (Daniels 1987, Int. Stat. Rev. 55, 37).
//!
//! The dual θ T + η n1 - K is concave, and steps that move any y_j by more than [`CAP`] are shortened,
//! so that Newton's method comes to its maximum from 0 wherever T lies inside its range.

use super::pool::Pool;
use crate::stats::special::normal;
use std::f64::consts::PI;

/// The largest change of any cell's log odds in one step.
const CAP: f64 = 1.5;
/// Steps: a T next to its largest value takes the most.
const STEPS: usize = 200;
/// The solution's log odds are that good.
const ENOUGH: f64 = 1e-11;

/// What one stratum adds at some θ and η.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    /// K.
    cumulant: f64,
    /// K_η, K_θ.
    cells: f64,
    scores: f64,
    /// K_ηη, K_θη, K_θθ.
    spread: [f64; 3],
}

impl Sums {
    fn of(pool: &Pool, theta: f64, eta: f64) -> Self {
        let p0 = pool.n_target / pool.n;
        let mut sums = Self::default();
        for (l, s) in pool.runs() {
            let more = (eta + theta * s).exp_m1();
            let odds = 1.0 + p0 * more;
            let p = p0 * (1.0 + more) / odds;
            // 1 - p, without cancellation.
            let spread = l * p * ((1.0 - p0) / odds);
            sums.cumulant += l * (p0 * more).ln_1p();
            sums.cells += l * p;
            sums.scores += l * p * s;
            sums.spread[0] += spread;
            sums.spread[1] += spread * s;
            sums.spread[2] += spread * s * s;
        }
        sums
    }

    /// K_θθ - K_θη² / K_ηη, for the scores less their weighted mean.
    fn residual(&self) -> f64 {
        let [a, b, c] = self.spread;
        c - b / a * b
    }
}

/// ln P(T ≥ t) for t above the mean, 0; `None` where there is no such point: T is constant, or t is
/// its largest value.
///
/// # Examples
/// ```
/// use pdex::stats::conditional::{Pool, saddlepoint};
/// // 50 of 200 cells express a gene that 1,000 of 10,000 cells do.
/// let (cells, scores) = ([9000.0, 1000.0], [-0.1, 0.9]);
/// let pool = Pool { cells: &cells, scores: &scores, n_target: 200.0, n: 10_000.0 };
/// let t = 150.0 * scores[0] + 50.0 * scores[1];
/// let p = saddlepoint(&[pool], t).ok_or("no tail")?.exp();
/// // scipy.stats.hypergeom.sf(49, 10000, 1000, 200)
/// assert!((p / 5.505e-10 - 1.0).abs() < 0.01);
/// # Ok::<(), &str>(())
/// ```
#[must_use]
pub fn saddlepoint(pools: &[Pool], t: f64) -> Option<f64> {
    let pools: Vec<&Pool> = pools.iter().filter(|pool| !pool.is_constant()).collect();
    let variance: f64 = pools.iter().map(|pool| pool.variance()).sum();
    if !(t > 0.0 && variance > 0.0) {
        return None;
    }
    let (theta, etas) = solve(&pools, t, variance)?;
    let (mut dual, mut residual, mut ratio) = (theta * t, 0.0, 1.0);
    for (pool, &eta) in pools.iter().zip(&etas) {
        let sums = Sums::of(pool, theta, eta);
        let Pool { n_target, n, .. } = **pool;
        dual += eta * n_target - sums.cumulant;
        residual += sums.residual();
        ratio *= sums.spread[0] / (n_target * (n - n_target) / n);
    }
    let w = (2.0 * dual).sqrt();
    let step = match pools[..] {
        [pool] if pool.scores.len() == 2 => {
            let step = pool.scores[1] - pool.scores[0];
            -(-theta * step).exp_m1() / step
        }
        _ => theta,
    };
    let u = step * (residual * ratio).sqrt();
    let ln_density = -0.5 * w * w - 0.5 * (2.0 * PI).ln();
    let mills = (normal::log_sf(w) - ln_density).exp();
    let ln_p = ln_density + (mills - 1.0 / w + 1.0 / u).ln();
    ln_p.is_finite().then_some(ln_p.min(0.0))
}

/// θ and each stratum's η.
fn solve(pools: &[&Pool], t: f64, variance: f64) -> Option<(f64, Vec<f64>)> {
    let mut theta = 0.0;
    let mut etas = vec![0.0; pools.len()];
    let mut steps = vec![0.0; pools.len()];
    // The quadratic's own answer, as far as a step may go.
    let mut first = Some(t / variance);
    for _ in 0..STEPS {
        let sums: Vec<Sums> =
            pools.iter().zip(&etas).map(|(pool, &eta)| Sums::of(pool, theta, eta)).collect();
        let (mut lacking, mut residual) = (t, 0.0);
        for (pool, sums) in pools.iter().zip(&sums) {
            let [a, b, _] = sums.spread;
            lacking -= sums.scores + b / a * (pool.n_target - sums.cells);
            residual += sums.residual();
        }
        let step = first.take().unwrap_or(lacking / residual);
        let mut largest = 0.0f64;
        for ((pool, sums), of_eta) in pools.iter().zip(&sums).zip(&mut steps) {
            let [a, b, _] = sums.spread;
            *of_eta = (pool.n_target - sums.cells - b * step) / a;
            let ends = [pool.scores.first(), pool.scores.last()].into_iter().flatten();
            largest = ends.map(|s| (*of_eta + step * s).abs()).fold(largest, f64::max);
        }
        if !largest.is_finite() {
            return None;
        }
        let shortened = if largest > CAP { CAP / largest } else { 1.0 };
        theta += shortened * step;
        etas.iter_mut().zip(&steps).for_each(|(eta, step)| *eta += shortened * step);
        if largest < ENOUGH {
            return Some((theta, etas));
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
mod tests {
    use super::super::pool::{extreme, ln_choose};
    use super::*;
    use crate::stats::naive;

    /// Centred midranks of runs.
    fn midranks(cells: &[f64]) -> Vec<f64> {
        let n: f64 = cells.iter().sum();
        let mut below = 0.0;
        let midrank = |l: &f64| {
            below += l;
            below - l / 2.0 - n / 2.0
        };
        cells.iter().map(midrank).collect()
    }

    /// (t, approximation, exact ln P) of every T above the mean.
    fn tails(strata: &[(Vec<f64>, Vec<f64>, f64)]) -> Vec<(f64, f64, f64)> {
        let pools: Vec<Pool> = strata
            .iter()
            .map(|(cells, scores, n_target)| {
                let n = cells.iter().sum();
                Pool { cells, scores, n_target: *n_target, n }
            })
            .collect();
        let exact = naive::linear_distribution(strata);
        let spread: f64 = pools.iter().map(Pool::variance).sum();
        let mut found = Vec::new();
        for (i, &(t, _)) in exact.iter().enumerate() {
            let tail: f64 = exact[i..].iter().map(|&(_, p)| p).sum();
            if t > 1.5 * spread.sqrt() {
                let last = extreme(&pools, t);
                assert_eq!(last.is_some(), i + 1 == exact.len(), "{t}");
                let ours = last.or_else(|| saddlepoint(&pools, t));
                found.push((t, ours.unwrap_or(f64::NAN), tail.ln()));
            }
        }
        found
    }

    fn ranked(cells: &[f64], n_target: f64) -> (Vec<f64>, Vec<f64>, f64) {
        (cells.to_vec(), midranks(cells), n_target)
    }

    #[test]
    fn two_runs_are_hypergeometric() {
        // From one expected cell on: measured 1.4 %; allow 2 %.
        for (cells, n_target) in
            [([9000.0, 1000.0], 200.0), ([3000.0, 200.0], 60.0), ([500.0, 500.0], 40.0)]
        {
            let [zeros, others]: [f64; 2] = cells;
            let (n, scores) = (zeros + others, midranks(&cells));
            let pool = Pool { cells: &cells, scores: &scores, n_target, n };
            let most = n_target.min(others);
            let term = |x: f64| ln_choose(others, x) + ln_choose(zeros, n_target - x);
            let mut tail = 0.0;
            for x in (0..=most as u32).rev().map(f64::from) {
                tail += (term(x) - ln_choose(n, n_target)).exp();
                let t = x * scores[1] + (n_target - x) * scores[0];
                // The last steps before the largest T are the exact sum's.
                if !(1e-300..=0.05).contains(&tail) || (x < most && x > most - 5.0) {
                    continue;
                }
                let last = extreme(&[pool], t);
                assert_eq!(last.is_some(), x == most);
                let ours = last.or_else(|| saddlepoint(&[pool], t)).unwrap_or(f64::NAN);
                assert!((ours - tail.ln()).abs() < 0.02, "{cells:?} {x}: {ours} {}", tail.ln());
            }
        }
    }

    #[test]
    fn sparse_counts_keep_their_upper_tail() {
        // (cells, n1), and the largest median and the largest of |ln p - ln exact| between 1e-2 and 1e-12:
        // as measured, rounded up.  5 to 20 expected cells that are not zero.
        for (cells, n_target, bounds) in [
            (&[900.0, 80.0, 15.0, 5.0][..], 60.0, (0.25, 0.5)),
            (&[400.0, 60.0, 25.0, 10.0, 5.0], 40.0, (0.25, 0.5)),
            (&[300.0, 40.0, 20.0], 50.0, (0.25, 0.5)),
        ] {
            let mut off: Vec<f64> = tails(&[ranked(cells, n_target)])
                .into_iter()
                .filter(|(_, _, exact)| (-27.6..-4.6).contains(exact))
                .map(|(_, ours, exact)| (ours - exact).abs())
                .collect();
            off.sort_by(f64::total_cmp);
            assert!(off.len() > 50);
            let (median, most) = (off[off.len() / 2], off[off.len() - 1]);
            assert!(median < bounds.0 && most < bounds.1, "{cells:?}: {median} {most}");
        }
    }

    #[test]
    fn strata_add_up() {
        // Van Elteren's scores in strata of unlike sizes and ties, beside all relabellings.
        let strata =
            [(&[40.0, 8.0, 4.0, 2.0][..], 9.0), (&[25.0, 10.0, 5.0], 12.0), (&[30.0, 3.0], 7.0)];
        let strata = strata.map(|(cells, n_target)| {
            let n: f64 = cells.iter().sum();
            let scores = midranks(cells).into_iter().map(|s| s / (n + 1.0)).collect();
            (cells.to_vec(), scores, n_target)
        });
        let mut off: Vec<f64> = tails(&strata)
            .into_iter()
            .filter(|(_, _, exact)| (-20.0..-4.6).contains(exact))
            .map(|(_, ours, exact)| (ours - exact).abs())
            .collect();
        off.sort_by(f64::total_cmp);
        assert!(off.len() > 100);
        let (median, most) = (off[off.len() / 2], off[off.len() - 1]);
        assert!(median < 0.1 && most < 0.5, "{median} {most}");
    }

    #[test]
    fn the_far_tail_is_finite() {
        let cells = [90_000.0, 8_000.0, 1_500.0, 500.0];
        let scores = midranks(&cells);
        let pool = Pool { cells: &cells, scores: &scores, n_target: 3_000.0, n: 100_000.0 };
        let (largest, ln_p) = pool.largest();
        let mut before = 0.0;
        for part in [0.05, 0.2, 0.5, 0.9, 0.999] {
            let found = saddlepoint(&[pool], part * largest).unwrap();
            assert!(found < before && found > ln_p - 1.0, "{part}: {found} {ln_p}");
            before = found;
        }
        assert!(before < -10_000.0);
    }

    #[test]
    fn nothing_where_there_is_no_tail() {
        let pool = |cells: &'static [f64], scores: &'static [f64], n_target| Pool {
            cells,
            scores,
            n_target,
            n: cells.iter().sum(),
        };
        let one = pool(&[5.0], &[0.0], 2.0);
        assert_eq!(saddlepoint(&[one], 1.0), None);
        let two = pool(&[5.0, 5.0], &[-0.5, 0.5], 2.0);
        assert_eq!(saddlepoint(&[two], 0.0), None);
        assert_eq!(saddlepoint(&[two], -1.0), None);
        // 2 of 10 cells are the larger ones: C(5, 2) / C(10, 2).
        assert!((extreme(&[two], 1.0).unwrap() - (10.0f64 / 45.0).ln()).abs() < 1e-14);
        assert_eq!(extreme(&[two], 0.5), None);
    }
}
