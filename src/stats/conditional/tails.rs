//! The tail of one pair, by the way that suits it: of ranks, of ranks in strata, of values.

use super::pool::{Pool, PooledRuns};
use super::saddlepoint::{Pools, Solver, saddlepoint};
use super::values::{Buffers, LISTED_ALONE, PooledValues, SampleValues};
use super::ways::{ROUNDING, STEEP, Scored, TooMany, Ways};
use crate::stats::special::{ln_choose, normal};
use std::mem;

/// ln of a ratio beyond which the smaller of two tails is left out.
const LEANING: f64 = 5.0;
/// Small samples of no more outcomes are summed over all of them.
const ALL_OUTCOMES: f64 = 50_000.0;

/// Buffers of one worker for tails given the ties, reused from pair to pair.
#[derive(Debug, Default)]
pub struct Tails {
    /// The pooled runs of the pair, to be filled before a tail is asked for.
    pub runs: PooledRuns,
    ways: Ways,
}

impl Tails {
    /// Turns the runs so that `t` lies in the upper tail; returns |t|.
    fn face(&mut self, t: f64) -> f64 {
        if t < 0.0 {
            self.runs.turn();
        }
        t.abs()
    }

    /// ln P(T ≥ t) for t above 0, ln P(T ≤ t) below it: summed exactly where few outcomes make it up,
    /// else by the saddlepoint.
    ///
    /// # Examples
    /// ```
    /// use pdex::stats::conditional::Tails;
    /// let mut tails = Tails::default();
    /// tails.runs.start(10_000);
    /// [9_000, 1_000].into_iter().for_each(|cells| tails.runs.push(cells));
    /// // None of 200 cells expresses a gene that one in ten does: T = 200 (9000 - 10000) / 2.
    /// let ln_p = tails.best(200, -100_000.0);
    /// // scipy.stats.hypergeom.cdf(0, 10000, 1000, 200)
    /// assert!((ln_p.exp() / 5.637_736_294_285e-10 - 1.0).abs() < 1e-9);
    /// ```
    pub fn best(&mut self, n_target: u64, t: f64) -> f64 {
        let t = self.face(t);
        self.ways.best(&mut self.runs, n_target, t)
    }

    /// ln P(T ≥ t) and ln P(T ≤ t) by the saddlepoint alone.
    pub fn smooth(&mut self, n_target: u64, t: f64) -> (f64, f64) {
        let size = self.face(t);
        let near = self.ways.by_saddlepoint(&mut self.runs, n_target, size).0;
        self.runs.turn();
        let far = self.ways.by_saddlepoint(&mut self.runs, n_target, -size).0;
        if t < 0.0 { (far, near) } else { (near, far) }
    }

    /// ln P(T ≥ z σ) and ln P(T ≤ -z σ) for z above 0, σ being T's standard deviation: exactly for two
    /// runs, else by the saddlepoint.  The smaller one may be left out (-inf) where it is less than a
    /// percent of the larger.
    pub fn both(&mut self, n_target: u64, z: f64) -> (f64, f64) {
        let pool = self.runs.pool(n_target);
        let deviation = pool.variance().sqrt();
        let t = z * deviation;
        // ln of the ratio of both tails, as far as the third cumulant tells: κ3 z³ / (3 σ³).
        let lean = if pool.cells.len() == 2 {
            0.0
        } else {
            pool.third_cumulant() * (z / deviation).powi(3) / 3.0
        };
        let up = if lean < -LEANING { f64::NEG_INFINITY } else { self.one(n_target, t) };
        self.runs.turn();
        let down = if lean > LEANING { f64::NEG_INFINITY } else { self.one(n_target, t) };
        (up, down)
    }

    /// ln P(T ≥ t) by the saddlepoint, exactly for two runs; -inf beyond the largest T.
    fn one(&mut self, n_target: u64, t: f64) -> f64 {
        let Self { runs, ways, .. } = self;
        let (largest, ln_p) = runs.largest(n_target);
        if t > largest * (1.0 + ROUNDING) {
            return f64::NEG_INFINITY;
        }
        let pool = runs.pool(n_target);
        // The saddlepoint takes t for a value that T has.
        if t > largest - 0.999 * pool.last_step() {
            return ln_p;
        }
        if pool.cells.len() == 2 {
            return ways.best(runs, n_target, t);
        }
        ways.by_saddlepoint(runs, n_target, t).0.max(ln_p)
    }

    /// ln P(T ≥ t) and ln P(T ≤ t), summed over all outcomes.
    ///
    /// # Errors
    /// [`TooMany`] above [`super::MOST_TRANSITIONS`], or where runs were spread.
    pub fn sums(&mut self, n_target: u64, t: f64) -> Result<(f64, f64), TooMany> {
        self.ways.sums(&mut self.runs, n_target, t)
    }
}

/// Buffers of one worker for tails of a target's sum of values, reused from pair to pair.
#[derive(Debug, Default)]
pub struct ValueTails {
    /// The target's sample, to be filled before a tail is asked for.
    pub target: SampleValues,
    buffers: Buffers,
    ways: Ways,
}

impl ValueTails {
    /// ln of the tail that the target's sum lies in (`up`: P(T ≥ t), else P(T ≤ t)), its cells being any
    /// of those pooled.  `shared` is what the target is compared with, and holds its cells, too, if
    /// `pooled`.
    ///
    /// # Examples
    /// ```
    /// use pdex::stats::conditional::{SampleValues, ValueTails};
    /// let (mut others, mut tails) = (SampleValues::default(), ValueTails::default());
    /// others.push(0.0, 8_800);
    /// others.push(1.0, 1_000);
    /// // None of 200 cells expresses a gene that 1,000 of 10,000 do.
    /// tails.target.push(0.0, 200);
    /// let ln_p = tails.best(&others, false, false);
    /// // scipy.stats.hypergeom.cdf(0, 10000, 1000, 200)
    /// assert!((ln_p.exp() / 5.637_736_294_285e-10 - 1.0).abs() < 1e-9);
    /// ```
    pub fn best(&mut self, shared: &SampleValues, pooled: bool, up: bool) -> f64 {
        self.target.summarize(LISTED_ALONE);
        let buffers = mem::take(&mut self.buffers);
        let mut runs = PooledValues::new(&self.target, shared, pooled, buffers);
        if !up {
            runs.turn();
        }
        let t = runs.statistic();
        let Pool { n_target, n, .. } = runs.pool(0);
        // One outcome at the least.
        let ln_p = self.ways.best(&mut runs, 0, t).max(-ln_choose(n, n_target));
        self.buffers = runs.into_buffers();
        ln_p
    }

    /// ln P(T ≥ t) and ln P(T ≤ t), summed over all outcomes where these are few, whatever t is.
    pub fn few(&mut self, shared: &SampleValues, pooled: bool) -> Option<(f64, f64)> {
        self.target.summarize(LISTED_ALONE);
        let buffers = mem::take(&mut self.buffers);
        let mut runs = PooledValues::new(&self.target, shared, pooled, buffers);
        let t = runs.statistic();
        let few = runs.outcomes() <= ALL_OUTCOMES;
        let sums = if few { self.ways.sums(&mut runs, 0, t).ok() } else { None };
        self.buffers = runs.into_buffers();
        sums
    }
}

/// [`Tails`] of a statistic that is summed over strata.
#[derive(Debug, Default)]
pub struct StratifiedTails {
    strata: Vec<PooledRuns>,
    /// Of each stratum: the target's cells, and the weight of its ranks.
    sizes: Vec<(u64, f64)>,
    solver: Solver,
    /// Of a single stratum.
    tails: Tails,
}

impl StratifiedTails {
    /// Removes all strata.
    pub fn start(&mut self) {
        self.sizes.clear();
    }

    /// Adds a stratum, `n_target` of whose cells are the target's, and whose ranks have this weight: the
    /// runs to be filled.
    pub fn push(&mut self, n_target: u64, weight: f64) -> &mut PooledRuns {
        let next = self.sizes.len();
        self.sizes.push((n_target, weight));
        if self.strata.len() == next {
            self.strata.push(PooledRuns::default());
        }
        &mut self.strata[next]
    }

    /// Sorts the strata by what they hold, so that sums do not depend on their order.
    fn sort(&mut self) {
        for i in 1..self.sizes.len() {
            let mut at = i;
            while at > 0 {
                let [(a, first), (b, second)] =
                    [at - 1, at].map(|i| (&self.strata[i], self.sizes[i].0));
                let order = first.cmp(&second).then_with(|| a.compare(b));
                if order.is_le() {
                    break;
                }
                self.strata.swap(at - 1, at);
                self.sizes.swap(at - 1, at);
                at -= 1;
            }
        }
    }

    /// ln P(T ≥ t) for t above 0, ln P(T ≤ t) below it: of one stratum as [`Tails::best`], of several by
    /// the saddlepoint.
    pub fn best(&mut self, t: f64) -> f64 {
        self.sort();
        let strata = &mut self.strata[..self.sizes.len()];
        if let ([runs], &[(n_target, weight)]) = (&mut *strata, &self.sizes[..]) {
            std::mem::swap(runs, &mut self.tails.runs);
            let ln_p = self.tails.best(n_target, t / weight);
            std::mem::swap(runs, &mut self.tails.runs);
            return ln_p;
        }
        for (runs, &(_, weight)) in strata.iter_mut().zip(&self.sizes) {
            runs.scale(weight);
            if t < 0.0 {
                runs.turn();
            }
        }
        let t = t.abs();
        let largest = self.sizes.iter().zip(&*strata).map(|(&(n, _), runs)| runs.largest(n));
        let (largest, ln_p) = largest.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if t >= largest * (1.0 - ROUNDING) {
            return ln_p;
        }
        let spread = strata.iter().map(PooledRuns::spread_scores).fold(0.0, f64::max);
        let mut found = saddlepoint(varying(&self.sizes, strata), t, &mut self.solver);
        if spread > 0.0 && found.is_none_or(|found| found.tilt * spread > STEEP) {
            strata.iter_mut().for_each(PooledRuns::refine);
            found = saddlepoint(varying(&self.sizes, strata), t, &mut self.solver);
        }
        let normal = || {
            let variance: f64 = varying(&self.sizes, strata).map(|pool| pool.variance()).sum();
            normal::log_sf(t / variance.sqrt())
        };
        found.map_or_else(normal, |found| found.ln_p).max(ln_p)
    }
}

/// The strata where T varies.
fn varying<'a>(sizes: &'a [(u64, f64)], strata: &'a [PooledRuns]) -> impl Pools<'a> {
    let pools = sizes.iter().zip(strata).map(|(&(n_target, _), runs)| runs.pool(n_target));
    pools.filter(|pool| !pool.is_constant())
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
mod tests {
    use super::*;
    use crate::stats::naive;

    fn fill(tails: &mut Tails, cells: &[u64]) {
        tails.runs.start(cells.iter().sum());
        for &l in cells {
            tails.runs.push(l);
        }
    }

    /// The distance of ln p from the exact one over the supports of both tails with p in a range, and
    /// the largest rise of p as |t| grows.
    fn off(cells: &[u64], n_target: u64, range: std::ops::Range<f64>) -> (f64, f64, f64) {
        let mut tails = Tails::default();
        fill(&mut tails, cells);
        let pool = tails.runs.pool(n_target);
        let stratum = (pool.cells.to_vec(), pool.scores.to_vec(), n_target as f64);
        let all = naive::linear_distribution(&[stratum]);
        let sd = pool.variance().sqrt();
        let (mut distances, mut rise) = (Vec::new(), 0.0f64);
        for up in [true, false] {
            let (mut tail, mut outer) = (0.0f64, f64::NEG_INFINITY);
            let support: Vec<_> =
                if up { all.iter().rev().collect() } else { all.iter().collect() };
            for &&(t, p) in &support {
                tail += p;
                if t.abs() < 1.5 * sd || (t > 0.0) != up {
                    break;
                }
                fill(&mut tails, cells);
                let got = tails.best(n_target, t);
                rise = rise.max(outer - got);
                outer = outer.max(got);
                if range.contains(&tail) {
                    distances.push((got - tail.ln()).abs());
                }
            }
        }
        distances.sort_by(f64::total_cmp);
        let n = distances.len();
        (distances[n / 2], distances[n - 1], rise)
    }

    /// (cells, n1), and the median and the largest distance of ln p from the exact one, as measured and
    /// rounded up.  From 2 to 20 cells of the target are expected not to be zero.
    #[test]
    fn both_tails_are_near_the_exact_ones_and_fall() {
        for (cells, n_target, median, most) in [
            (&[900, 80, 15, 5][..], 60, 0.21, 0.45),
            (&[900, 80, 15, 5], 20, 0.37, 0.85),
            (&[400, 60, 25, 10, 5], 40, 0.02, 0.35),
            (&[4500, 400, 80, 20], 100, 0.12, 0.25),
            (&[4500, 400, 80, 20], 20, 0.33, 0.75),
            (&[20, 5, 5, 5, 5], 20, 0.13, 0.55),
            (&[9, 8, 7, 6, 5, 4, 3], 12, 0.03, 0.65),
            (&[300, 40, 20], 50, 0.03, 0.17),
            (&[40, 5, 3, 2], 10, 0.03, 0.15),
            // Few outcomes: summed throughout.
            (&[2950, 30, 20], 60, 1e-6, 1e-5),
        ] {
            let (got_median, got_most, rise) = off(cells, n_target, 1e-12..0.05);
            assert!(got_median < median && got_most < most, "{cells:?}: {got_median} {got_most}");
            // Measured 0.024, where the exact sum passes over into the saddlepoint.
            assert!(rise < 0.03, "{cells:?} {n_target}: {rise}");
        }
    }

    /// The complete knock-down, and as strong a rise, of a gene that one in ten of 10,000 cells express:
    /// scipy.stats.hypergeom(10000, 1000, 200).cdf(0) and .sf(49).
    #[test]
    fn a_complete_knock_down() {
        let mut tails = Tails::default();
        for (expressing, want) in [(0, 5.637_736_294_285e-10), (50, 5.526_617_609_537_5e-10)] {
            fill(&mut tails, &[9_000, 1_000]);
            // Midranks of zeros and others lie 5,000 apart.
            let t = 5_000.0 * f64::from(expressing) - 200.0 * 500.0;
            let p = tails.best(200, t).exp();
            assert!((p / want - 1.0).abs() < 1e-9, "{expressing}: {p}");
        }
    }

    /// Nodes for the ranks of different values, beside every rank by itself: down to the last steps.
    #[test]
    fn values_that_are_spread_need_not_be_listed() {
        let (zeros, others) = (800u64, 1_200u64);
        let (mut nodes, mut listed) = (Tails::default(), Tails::default());
        for n_target in [5u64, 40, 600] {
            for sign in [1.0, -1.0] {
                for part in [0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999] {
                    for (tails, spread) in [(&mut nodes, true), (&mut listed, false)] {
                        tails.runs.start(zeros + others);
                        tails.runs.push(zeros);
                        if spread {
                            tails.runs.spread(others);
                        } else {
                            (0..others).for_each(|_| tails.runs.push(1));
                        }
                    }
                    if sign < 0.0 {
                        listed.runs.turn();
                    }
                    let t = part * listed.runs.largest(n_target).0;
                    if sign < 0.0 {
                        listed.runs.turn();
                    }
                    let (got, want) =
                        (nodes.best(n_target, sign * t), listed.best(n_target, sign * t));
                    // Measured 5e-4 to p = e^-300, beyond 1e-4 of ln p.
                    let off = (got - want).abs();
                    assert!(off < 1e-3 - 2e-4 * want, "{n_target} {sign} {part}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn sums_refuse_what_takes_too_long() {
        let mut tails = Tails::default();
        fill(&mut tails, &[900, 80, 15, 5]);
        assert!(tails.sums(60, 100.0).is_ok());
        fill(&mut tails, &vec![1; 3_000]);
        assert_eq!(tails.sums(500, 1.0), Err(TooMany));
    }
}
