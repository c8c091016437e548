//! The double saddlepoint approximation of the upper tail.
//!
//! # Formulae (Robinson 1982, J. R. Stat. Soc. B 44, 91; Skovgaard 1987, J. Appl. Prob. 24, 875)
//! The `a_j` are sums of independent Bernoulli cells, given that n1 cells are the target's.  With
//! log odds relative to those of the null, `y_j` = η + θ `s_j`, and p0 = n1 / N,
//!
//! ```text
//! K(θ, η) = Σ l_j ln(1 + p0 (e^{y_j} - 1)),     K_θ = T,  K_η = n1       by Newton's method
//! w = sgn θ √(2 (θ T + η n1 - K)),              u = θ √(det K'' N / (n1 n2))
//! P(T ≥ t) = Φ(-w) + φ(w) (1/u - 1/w)           so that  p = φ(w) (Mills(w) - 1/w + 1/u)
//! ```
//!
//! With strata there is one η for each, and det K'' = Σ (K_θθ - K_θη² / K_ηη) · Π K_ηη.  Two runs form
//! a lattice of step δ = s_2 - s_1, whole numbers as scores one of step 1: θ in u becomes
//! (1 - e^{-θδ}) / δ (Daniels 1987, Int. Stat. Rev. 55, 37).
//!
//! The dual θ T + η n1 - K is concave.  Steps that would move the log odds of cells that vary by
//! more than [`CAP`] are shortened, so that Newton's method reaches the maximum wherever T lies inside
//! its range.  It starts from the θ that mean, variance and third cumulant of T alone would give.

use super::pool::Pool;
use crate::stats::special::elementary::{exp_m1_near, ln};
use crate::stats::special::normal;
use multiversion::multiversion;
use std::f64::consts::PI;

/// The largest change in one step of the log odds of cells that vary.
const CAP: f64 = 1.5;
/// The most steps; a T next to its largest value takes the most.
const STEPS: usize = 200;
/// A step that changes no log odds by more is the last: it changes θ, but sums are not made anew, and
/// the dual is corrected by its quadratic part.
const ENOUGH: f64 = 3e-4;
/// Below this w the two terms that cancel are replaced by their limit.
const NEAR_MEAN: f64 = 1e-3;
/// Runs that are worked on at once.
const CHUNK: usize = 64;

/// What one stratum adds at some θ and η.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    /// η.
    eta: f64,
    /// `K_η`, `K_θ`.
    cells: f64,
    scores: f64,
    /// `K_ηη`, `K_θη`, `K_θθ`.
    spread: [f64; 3],
}

impl Sums {
    /// `K_θθ` - `K_θη`² / `K_ηη`.
    fn residual(&self) -> f64 {
        let [a, b, c] = self.spread;
        c - b / a * b
    }

    /// The change of η that goes with a step of θ.
    fn step(&self, pool: &Pool, of_theta: f64) -> f64 {
        let [a, b, _] = self.spread;
        (pool.n_target - self.cells - b * of_theta) / a
    }
}

/// For each run the cells that are expected to be the target's, and the variance of their number.
#[multiversion(targets = "simd")]
fn expected(
    (cells, scores): (&[f64], &[f64]),
    (theta, eta, p0): (f64, f64, f64),
    (expected, variance): (&mut [f64], &mut [f64]),
) {
    let runs = cells.iter().zip(scores).zip(expected.iter_mut().zip(variance));
    for ((&l, &s), (expected, variance)) in runs {
        let more = exp_m1_near(eta + theta * s);
        let odds = 1.0 / (1.0 + p0 * more);
        *expected = l * (p0 * (1.0 + more) * odds);
        // 1 - p without cancellation.
        *variance = *expected * ((1.0 - p0) * odds);
    }
}

/// The sums of a stratum.
fn sums_of(pool: &Pool, theta: f64, eta: f64, [mean, variance]: &mut Chunks) -> Sums {
    let p0 = pool.n_target / pool.n;
    let mut sums = Sums { eta, ..Sums::default() };
    for (cells, scores) in pool.cells.chunks(CHUNK).zip(pool.scores.chunks(CHUNK)) {
        let out = (&mut mean[..cells.len()], &mut variance[..cells.len()]);
        expected((cells, scores), (theta, eta, p0), out);
        for ((&mean, &variance), &s) in mean.iter().zip(&*variance).zip(scores) {
            sums.cells += mean;
            sums.scores += mean * s;
            sums.spread[0] += variance;
            sums.spread[1] += variance * s;
            sums.spread[2] += variance * s * s;
        }
    }
    sums
}

/// ln(1 + p0 (e^y - 1)) of each run.
#[multiversion(targets = "simd")]
fn log_odds(scores: &[f64], (theta, eta, p0): (f64, f64, f64), out: &mut [f64]) {
    for (out, &s) in out.iter_mut().zip(scores) {
        *out = ln(1.0 + p0 * exp_m1_near(eta + theta * s));
    }
}

/// K of a stratum.
fn cumulant(pool: &Pool, theta: f64, eta: f64, [logs, _]: &mut Chunks) -> f64 {
    let p0 = pool.n_target / pool.n;
    let mut sum = 0.0;
    for (cells, scores) in pool.cells.chunks(CHUNK).zip(pool.scores.chunks(CHUNK)) {
        log_odds(scores, (theta, eta, p0), &mut logs[..cells.len()]);
        sum += cells.iter().zip(&*logs).map(|(l, log)| l * log).sum::<f64>();
    }
    sum
}

/// The tail, and what tells how far it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Saddlepoint {
    /// ln P(T ≥ t).
    pub ln_p: f64,
    /// Roughly how many outcomes make up the tail: Π (1 + 6 √v) over all runs but the largest, v the
    /// variance of `a_j` at the saddlepoint.  Where it is small, the distribution is far from smooth.
    pub outcomes: f64,
    /// θ.
    pub tilt: f64,
}

/// Buffers of one worker, reused between calls.
#[derive(Debug)]
pub struct Solver {
    /// Of each stratum, at the solution.
    sums: Vec<Sums>,
    chunks: Chunks,
}

/// Numbers of some runs.
type Chunks = [[f64; CHUNK]; 2];

impl Default for Solver {
    fn default() -> Self {
        Self { sums: Vec::new(), chunks: [[0.0; CHUNK]; 2] }
    }
}

/// Where the equations hold, but for a last step.
#[derive(Debug, Clone, Copy)]
struct Solution {
    theta: f64,
    /// The last step of θ.
    step: f64,
    /// What the dual gains by it: half its quadratic form.
    gain: f64,
}

impl Solver {
    /// Solves the equations from a first θ; each stratum's sums stay in `sums`.  `None` where no point
    /// solves them.
    fn solve<'a>(
        &mut self,
        pools: &impl Pools<'a>,
        t: f64,
        (first, enough): (f64, f64),
    ) -> Option<Solution> {
        let mut theta = first;
        self.sums.clear();
        self.sums.extend(pools.clone().map(|pool| {
            // What the second cumulant of the scores makes of η.
            let Pool { n_target, n, .. } = pool;
            let square = pool.variance() / (n_target * (n - n_target)) * n;
            let eta = -0.5 * (1.0 - 2.0 * n_target / n) * theta * theta * square;
            Sums { eta: eta.max(-theta.abs() * square.sqrt()), ..Sums::default() }
        }));
        for _ in 0..STEPS {
            let (mut lacking, mut residual) = (t, 0.0);
            for (pool, sums) in pools.clone().zip(&mut self.sums) {
                *sums = sums_of(&pool, theta, sums.eta, &mut self.chunks);
                let [a, b, _] = sums.spread;
                lacking -= sums.scores + b / a * (pool.n_target - sums.cells);
                residual += sums.residual();
            }
            let step = lacking / residual;
            let (mut largest, mut gain) = (0.0f64, lacking * step);
            for (pool, sums) in pools.clone().zip(&self.sums) {
                let [a, b, _] = sums.spread;
                let of_eta = sums.step(&pool, step);
                let missing = pool.n_target - sums.cells;
                gain += missing * missing / a;
                // Where cells vary, and the top: far below, all odds are 0 whatever the step.
                let (mean, reach) = (b / a, 3.0 * (sums.residual() / a).max(0.0).sqrt());
                let (low, high) = (pool.scores.first(), pool.scores.last());
                let low = low.map(|&s| s.max(mean - reach));
                for s in [low, high.copied()].into_iter().flatten() {
                    largest = largest.max((of_eta + step * s).abs());
                }
            }
            if !(largest.is_finite() && step.is_finite()) {
                return None;
            }
            if largest < enough {
                return Some(Solution { theta, step, gain: 0.5 * gain });
            }
            let shortened = if largest > CAP { CAP / largest } else { 1.0 };
            for (pool, sums) in pools.clone().zip(&mut self.sums) {
                sums.eta += shortened * sums.step(&pool, step);
            }
            theta += shortened * step;
        }
        None
    }
}

/// Π (1 + 6 √v) over the runs, and the largest factor.
fn several(pool: &Pool, theta: f64, eta: f64, [mean, variance]: &mut Chunks) -> (f64, f64) {
    let p0 = pool.n_target / pool.n;
    let (mut product, mut largest) = (1.0, 1.0f64);
    for (cells, scores) in pool.cells.chunks(CHUNK).zip(pool.scores.chunks(CHUNK)) {
        let out = (&mut mean[..cells.len()], &mut variance[..cells.len()]);
        expected((cells, scores), (theta, eta, p0), out);
        for variance in &variance[..cells.len()] {
            let factor = 1.0 + 6.0 * variance.sqrt();
            product *= factor;
            largest = largest.max(factor);
        }
    }
    (product, largest)
}

/// The step of the lattice that T takes values on, where one is known.
fn lattice<'a>(mut pools: impl Pools<'a>) -> Option<f64> {
    let (pool, None) = (pools.next()?, pools.next()) else { return None };
    match pool.scores {
        [low, high] => Some(high - low),
        _ => (pool.step > 0.0).then_some(pool.step),
    }
}

/// The strata of a statistic, in each of which T varies.
pub trait Pools<'a>: Iterator<Item = Pool<'a>> + Clone {}

impl<'a, I: Iterator<Item = Pool<'a>> + Clone> Pools<'a> for I {}

/// P(T ≥ t), for any t inside the range of T; `None` where there is no such point: T is constant, or
/// t is not below its largest value.
///
/// # Examples
/// ```
/// use pdex::stats::conditional::{Pool, Solver, saddlepoint};
/// // 50 of 200 cells express a gene that 1,000 of 10,000 cells do.
/// let (cells, scores) = ([9000.0, 1000.0], [-0.1, 0.9]);
/// let pool = Pool { cells: &cells, scores: &scores, n_target: 200.0, n: 10_000.0, step: 0.0 };
/// let t = 150.0 * scores[0] + 50.0 * scores[1];
/// let p = saddlepoint([pool].into_iter(), t, &mut Solver::default()).ok_or("no tail")?.ln_p.exp();
/// // scipy.stats.hypergeom.sf(49, 10000, 1000, 200)
/// assert!((p / 5.505e-10 - 1.0).abs() < 0.01);
/// # Ok::<(), &str>(())
/// ```
#[must_use]
pub fn saddlepoint<'a>(pools: impl Pools<'a>, t: f64, solver: &mut Solver) -> Option<Saddlepoint> {
    debug_assert!(pools.clone().all(|pool| !pool.is_constant()), "strata where T varies");
    let variance: f64 = pools.clone().map(|pool| pool.variance()).sum();
    let third: f64 = pools.clone().map(|pool| pool.third_cumulant()).sum();
    let largest: f64 = pools.clone().map(|pool| pool.top(pool.n_target)).sum();
    if variance.is_nan() || variance <= 0.0 || t >= largest {
        return None;
    }
    // K' = t of a cubic K.
    let root = (1.0 + 2.0 * third * t / (variance * variance)).max(0.0).sqrt();
    // Near the mean 1/u and 1/w cancel.
    let enough = ENOUGH * (t * t / variance).min(1.0) + f64::EPSILON;
    let first = (2.0 * t / variance / (1.0 + root), enough);
    let Solution { theta, step, gain } = solver.solve(&pools, t, first)?;
    let (mut dual, mut residual, mut ratio) = (theta * t + gain, 0.0, 1.0);
    let (mut outcomes, mut largest) = (1.0, 1.0f64);
    let Solver { sums, chunks } = solver;
    for (pool, sums) in pools.clone().zip(&*sums) {
        let Pool { n_target, n, .. } = pool;
        dual += sums.eta * n_target - cumulant(&pool, theta, sums.eta, chunks);
        residual += sums.residual();
        ratio *= sums.spread[0] / (n_target * (n - n_target) / n);
        let (all, most) = several(&pool, theta, sums.eta, chunks);
        outcomes *= all;
        largest = largest.max(most);
    }
    let theta = theta + step;
    let w = (2.0 * dual).max(0.0).sqrt().copysign(theta);
    let step = lattice(pools).map_or(theta, |step| -(-theta * step).exp_m1() / step);
    let u = step * (residual * ratio).sqrt();
    let ln_p = if w.abs() < NEAR_MEAN {
        // 1/u - 1/w tends to -κ3 / (6 κ2^1.5).
        (0.5 - (w + third / (6.0 * variance * variance.sqrt())) / (2.0 * PI).sqrt()).ln()
    } else if w > 0.0 {
        let ln_density = -0.5 * w * w - 0.5 * (2.0 * PI).ln();
        let mills = (normal::log_sf(w) - ln_density).exp();
        ln_density + (mills - 1.0 / w + 1.0 / u).ln()
    } else {
        let density = (-0.5 * w * w).exp() / (2.0 * PI).sqrt();
        (normal::sf(w) + density * (1.0 / u - 1.0 / w)).min(1.0).ln()
    };
    let outcomes = outcomes / largest;
    ln_p.is_finite().then_some(Saddlepoint { ln_p: ln_p.min(0.0), outcomes, tilt: theta })
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
mod tests {
    use super::*;
    use crate::stats::naive;
    use crate::stats::special::ln_choose;

    /// ln P(T ≥ t): of the largest T its probability.
    fn tail(pools: &[Pool], t: f64) -> f64 {
        let largest =
            pools.iter().map(Pool::largest).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
        if t >= largest.0 - 1e-9 {
            return largest.1;
        }
        saddlepoint(pools.iter().copied(), t, &mut Solver::default())
            .map_or(f64::NAN, |found| found.ln_p)
    }

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
                Pool { cells, scores, n_target: *n_target, n, step: 0.0 }
            })
            .collect();
        let exact = naive::linear_distribution(strata);
        let spread: f64 = pools.iter().map(Pool::variance).sum();
        let mut found = Vec::new();
        for (i, &(t, _)) in exact.iter().enumerate() {
            let tail: f64 = exact[i..].iter().map(|&(_, p)| p).sum();
            if t > 1.5 * spread.sqrt() {
                found.push((t, super::tests::tail(&pools, t), tail.ln()));
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
            let pool = Pool { cells: &cells, scores: &scores, n_target, n, step: 0.0 };
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
                let ours = super::tests::tail(&[pool], t);
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
        let pool =
            Pool { cells: &cells, scores: &scores, n_target: 3_000.0, n: 100_000.0, step: 0.0 };
        let (largest, ln_p) = pool.largest();
        let mut before = 0.0;
        for part in [0.05, 0.2, 0.5, 0.9, 0.999] {
            let found = super::tests::tail(&[pool], part * largest);
            assert!(found < before && found > ln_p - 1.0, "{part}: {found} {ln_p}");
            before = found;
        }
        assert!(before < -10_000.0);
    }

    #[test]
    fn there_is_no_point_beyond_the_range() {
        let (cells, scores) = ([5.0, 5.0], [-2.5, 2.5]);
        let pool = Pool { cells: &cells, scores: &scores, n_target: 2.0, n: 10.0, step: 0.0 };
        // T is -5, 0 or 5.
        for (t, want) in [(5.0, false), (6.0, false), (4.9, true), (0.0, true), (-4.9, true)] {
            let found = saddlepoint([pool].into_iter(), t, &mut Solver::default());
            assert_eq!(found.is_some(), want, "{t}: {found:?}");
        }
    }

    /// Through the mean, where the formula is 0/0, and into the lower tail.
    #[test]
    fn it_falls_from_one_end_to_the_other() {
        let cells = [900.0, 80.0, 15.0, 5.0];
        let scores = midranks(&cells);
        let pool = Pool { cells: &cells, scores: &scores, n_target: 60.0, n: 1000.0, step: 0.0 };
        let sd = pool.variance().sqrt();
        let mut before = 0.0;
        for i in -190..=800 {
            let z = f64::from(i) / 100.0;
            let ln_p = super::tests::tail(&[pool], z * sd);
            assert!(ln_p < before, "{z}: {ln_p} {before}");
            // 0.01 of a deviation: no jump.
            assert!(before == 0.0 || before - ln_p < 0.1, "{z}: {ln_p} {before}");
            before = ln_p;
        }
    }
}
