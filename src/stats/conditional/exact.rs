//! The upper tail summed over the outcomes that reach it.
//!
//! # Method (the network of Mehta, Patel and Tsiatis 1984, Biometrics 40, 819)
//! Runs are taken from the top.  A state is the number of target cells yet to come, the sum of scores
//! so far, and the probability of having come there; equal states are merged.  The cells that a state
//! takes of the next run are hypergeometric.  A state from which no outcome reaches t is dropped, one
//! from which every outcome does adds its whole probability, so that few states are carried on.
//!
//! # Cost
//! O(transitions), a transition being one state and one number of cells taken of the next run.

use super::pool::{Pool, sum_of};
use crate::cast::{length, whole};
use crate::stats::special::ln_choose;

/// Outcomes less probable than e to this, relative to the estimated tail, are left out.
const NEGLIGIBLE: f64 = -37.0;
/// The numbers of cells with which every state is sure to reach t end where the rest is this small a part
/// of all.
const LITTLE: f64 = 1e-18;
/// Scores are sums of halves: sums as near as this are equal.
const SAME: f64 = 1e-6;

/// Some outcomes of the runs so far.
#[derive(Debug, Clone, Copy)]
struct State {
    /// Target cells yet to come.
    left: f64,
    /// The scores of those that came.
    t: f64,
    /// The probability of having come here, over e^scale.
    q: f64,
}

/// States with the same number of cells left, and what they may take of the next run.
#[derive(Debug, Clone, Copy)]
struct Group {
    states: (usize, usize),
    /// The fewest cells that matter, the most, and ln of the probability of the fewest.
    fewest: f64,
    most: f64,
    ln_first: f64,
}

/// What states with the same number of cells left need of the next run.
#[derive(Debug, Clone, Copy)]
struct Reach {
    /// The scores from which on all of these states are sure to reach t.
    sure: f64,
    /// Probabilities that are negligible for all of these states.
    negligible: f64,
    /// ln of the unit of probabilities.
    scale: f64,
}

/// A number of cells taken of the next run.
#[derive(Debug, Clone, Copy)]
struct Take {
    cells: f64,
    probability: f64,
    /// The sum of its probability and those of all larger numbers.
    beyond: f64,
    /// What it adds to the scores, with the best and the worst of all cells left after it.
    best: f64,
    worst: f64,
}

/// Buffers of one worker, reused between calls.
#[derive(Debug, Default)]
pub struct Exact {
    states: Vec<State>,
    next: Vec<State>,
    groups: Vec<Group>,
    takes: Vec<Take>,
    /// Cells in the runs before each.
    below: Vec<f64>,
}

/// Standard deviations below its mean where a hypergeometric number of cells is taken to begin: the
/// more of a higher run, the sooner t is reached, so that fewer cells add less than 1e-30.
const FAR: f64 = 12.0;

/// Where the numbers of cells begin that matter: `left` drawn from `l` and `rest` cells.
fn begin(l: f64, rest: f64, left: f64) -> f64 {
    let n = l + rest;
    let mean = left * l / n;
    let variance = mean * (rest / n) * ((n - left) / (n - 1.0).max(1.0));
    (mean - FAR * (variance.sqrt() + 1.0)).floor()
}

/// The sum of the scores of `left` cells, from the top of the first `runs` runs down.
fn best(pool: &Pool, runs: usize, left: f64) -> f64 {
    sum_of(pool.runs().take(runs).rev(), left)
}

/// The sum of the scores of `left` cells, from the bottom up.
fn worst(pool: &Pool, left: f64) -> f64 {
    sum_of(pool.runs(), left)
}

/// ln P(T ≥ t), summed over outcomes; the number of transitions where they are more than `most`.
///
/// Runs must be listed.  Sums of scores should be exact, as those of multiples of ½ and of whole numbers
/// are: only equal ones are merged.  `estimate` is ln P as far as known, -∞ where not:
/// outcomes that are negligible beside it are left out.
///
/// # Errors
/// The number of transitions so far, above `most`.
///
/// # Examples
/// ```
/// use pdex::stats::conditional::{Exact, PooledRuns, exact};
/// let mut runs = PooledRuns::default();
/// runs.start(10_000);
/// [9_000, 1_000].into_iter().for_each(|cells| runs.push(cells));
/// let pool = runs.pool(200);
/// let t = 150.0 * pool.scores[0] + 50.0 * pool.scores[1];
/// let ln_p = exact(&pool, t, f64::NEG_INFINITY, 1_000, &mut Exact::default())?;
/// // scipy.stats.hypergeom.sf(49, 10000, 1000, 200)
/// assert!((ln_p.exp() / 5.526_617_609_537_535e-10 - 1.0).abs() < 1e-9);
/// # Ok::<(), usize>(())
/// ```
pub fn exact(
    pool: &Pool,
    t: f64,
    estimate: f64,
    most: usize,
    kept: &mut Exact,
) -> Result<f64, usize> {
    let Exact { below, .. } = kept;
    below.clear();
    below.push(0.0);
    for l in pool.cells {
        below.push(below.last().map_or(0.0, |sum| sum + l));
    }
    let goal = t - SAME;
    if worst(pool, pool.n_target) >= goal {
        return Ok(0.0);
    }
    if best(pool, pool.cells.len(), pool.n_target) < goal {
        return Ok(f64::NEG_INFINITY);
    }
    let Exact { states, next, groups, takes, below } = kept;
    states.clear();
    states.push(State { left: pool.n_target, t: 0.0, q: 1.0 });
    let (mut total, mut scale, mut transitions) = (LogSum::default(), 0.0, 0);
    for (run, (l, s)) in pool.runs().enumerate().rev() {
        let rest = below[run];
        let step = group(pool, (run, l, rest, s), states, goal, groups);
        let negligible = (estimate + NEGLIGIBLE - scale - step).exp();
        next.clear();
        let mut sure = 0.0;
        for of_left in &*groups {
            let these = &states[of_left.states.0..of_left.states.1];
            let Some(&State { left, .. }) = these.first() else { continue };
            let reach = Reach {
                sure: goal - these[0].t,
                negligible: negligible / these.iter().map(|state| state.q).fold(0.0, f64::max),
                scale: step,
            };
            if run == 1 {
                sure += decide(pool, these, (goal, of_left, step), takes);
                transitions += takes.len() + these.len();
                continue;
            }
            take(pool, (run, l, rest, s), (left, of_left), &reach, takes);
            transitions += takes.len();
            // The larger t, the fewer cells are needed.
            let (mut first, mut all) = (0, 0);
            for &State { t, q, .. } in these.iter().rev() {
                let short = |best: f64| t + best < goal;
                while takes.get(first).is_some_and(|take| short(take.best)) {
                    first += 1;
                }
                while takes.get(all).is_some_and(|take| short(take.worst)) {
                    all += 1;
                }
                sure += q * takes.get(all).map_or(0.0, |take| take.beyond);
                let some = takes.get(first..all).unwrap_or_default();
                transitions += some.len();
                if transitions > most {
                    return Err(transitions);
                }
                for take in some {
                    let q = q * take.probability;
                    if q >= negligible {
                        let (left, t) = (left - take.cells, t + take.cells * s);
                        next.push(State { left, t, q });
                    }
                }
            }
        }
        scale += step;
        total.add(scale, sure);
        merge(next, states);
        if states.is_empty() {
            break;
        }
    }
    Ok(total.ln().min(0.0))
}

/// A run: its place, its cells, those of the runs below it, and its score.
type Run = (usize, f64, f64, f64);

/// Groups sorted states by the number of cells left; returns the largest `ln_first`.
fn group(pool: &Pool, run: Run, states: &[State], goal: f64, groups: &mut Vec<Group>) -> f64 {
    let (run, l, rest, s) = run;
    groups.clear();
    let (mut begins, mut largest) = (0, f64::NEG_INFINITY);
    for these in states.chunk_by(|a, b| a.left == b.left) {
        let (left, highest) = (these[0].left, these[these.len() - 1].t);
        let most = l.min(left);
        let lowest = (left - rest).max(0.0).max(begin(l, rest, left)).min(most);
        // The fewest cells with which t can still be reached.
        let fewest = if run == 1 {
            needed(pool, left, goal - highest).clamp(lowest, most)
        } else {
            first(lowest, most, |a| highest + a * s + best(pool, run, left - a) >= goal)
        };
        let ln_first =
            ln_choose(l, fewest) + ln_choose(rest, left - fewest) - ln_choose(rest + l, left);
        largest = largest.max(ln_first);
        let states = (begins, begins + these.len());
        groups.push(Group { states, fewest, most, ln_first });
        begins += these.len();
    }
    largest
}

/// The numbers of cells that states with `left` cells left may take of the next run.
fn take(
    pool: &Pool,
    (run, l, rest, s): Run,
    (left, group): (f64, &Group),
    reach: &Reach,
    takes: &mut Vec<Take>,
) {
    takes.clear();
    let (mut cells, mut probability) = (group.fewest, (group.ln_first - reach.scale).exp());
    let mut sure = 0.0;
    loop {
        let after = left - cells;
        let (best, worst) = (cells * s + best(pool, run, after), cells * s + worst(pool, after));
        takes.push(Take { cells, probability, beyond: 0.0, best, worst });
        let all = worst >= reach.sure;
        sure += if all { probability } else { 0.0 };
        if cells >= group.most {
            break;
        }
        let ratio = (l - cells) * after / ((cells + 1.0) * (rest - after + 1.0));
        probability *= ratio;
        cells += 1.0;
        // What follows is less than a geometric series.
        let little = if all { LITTLE * sure } else { reach.negligible };
        if ratio < 1.0 && probability < (1.0 - ratio) * little {
            break;
        }
    }
    sum_beyond(takes);
}

/// The cells that `left` cells in the lowest two runs need to have in the upper one for a sum of scores.
fn needed(pool: &Pool, left: f64, goal: f64) -> f64 {
    let (low, high) = (pool.scores[0], pool.scores[1]);
    ((goal - left * low) / (high - low)).ceil()
}

/// The probability that states with the same number of cells left reach t, when only two runs are left.
fn decide(
    pool: &Pool,
    states: &[State],
    (goal, group, scale): (f64, &Group, f64),
    takes: &mut Vec<Take>,
) -> f64 {
    let (l, rest) = (pool.cells[1], pool.cells[0]);
    let left = states[0].left;
    takes.clear();
    let (mut cells, mut probability) = (group.fewest, (group.ln_first - scale).exp());
    // From here on every state reaches t.
    let all = needed(pool, left, goal - states[0].t);
    let mut sum = 0.0;
    loop {
        takes.push(Take { cells, probability, beyond: 0.0, best: 0.0, worst: 0.0 });
        sum += probability;
        if cells >= group.most {
            break;
        }
        let after = left - cells;
        let ratio = (l - cells) * after / ((cells + 1.0) * (rest - after + 1.0));
        probability *= ratio;
        cells += 1.0;
        let little = cells > all && probability < (1.0 - ratio) * LITTLE * sum;
        if ratio < 1.0 && little {
            break;
        }
    }
    sum_beyond(takes);
    let reached = states.iter().map(|state| {
        let first = needed(pool, left, goal - state.t) - group.fewest;
        let beyond = |take: &Take| state.q * take.beyond;
        takes.get(length(whole(first.max(0.0)))).map_or(0.0, beyond)
    });
    reached.sum()
}

/// Adds up the probabilities from each number of cells on.
fn sum_beyond(takes: &mut [Take]) {
    let mut beyond = 0.0;
    for take in takes.iter_mut().rev() {
        beyond += take.probability;
        take.beyond = beyond;
    }
}

/// The first whole number from `a` to `b` that `reaches`, which is false, then true; `b` does.
fn first(a: f64, b: f64, reaches: impl Fn(f64) -> bool) -> f64 {
    if reaches(a) {
        return a;
    }
    let (mut no, mut yes) = (a, b);
    while yes - no > 1.0 {
        let middle = f64::midpoint(no, yes).floor();
        if reaches(middle) { yes = middle } else { no = middle }
    }
    yes
}

/// Sorts states, and adds up those that are equal.
fn merge(from: &mut [State], to: &mut Vec<State>) {
    from.sort_unstable_by(|a, b| a.left.total_cmp(&b.left).then(a.t.total_cmp(&b.t)));
    to.clear();
    for &state in &*from {
        match to.last_mut() {
            Some(last) if last.left == state.left && last.t == state.t => last.q += state.q,
            _ => to.push(state),
        }
    }
}

/// A sum of numbers, each the exponential of one times another.
#[derive(Debug, Clone, Copy)]
struct LogSum {
    scale: f64,
    sum: f64,
}

impl Default for LogSum {
    fn default() -> Self {
        Self { scale: f64::NEG_INFINITY, sum: 0.0 }
    }
}

impl LogSum {
    /// Adds e^scale times `number`.
    fn add(&mut self, scale: f64, number: f64) {
        if number == 0.0 {
            return;
        }
        if scale > self.scale {
            self.sum *= (self.scale - scale).exp();
            self.scale = scale;
        }
        self.sum += (scale - self.scale).exp() * number;
    }

    fn ln(self) -> f64 {
        self.scale + self.sum.ln()
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
mod tests {
    use super::super::pool::PooledRuns;
    use super::*;
    use crate::stats::naive;
    use proptest::prelude::*;

    proptest! {
        /// Beside all relabellings, the whole range of T, either way round.
        #[test]
        fn every_tail_is_the_sum_over_relabellings(
            cells in prop::collection::vec(1u64..12, 1..6), part in 0u64..100, turned: bool,
        ) {
            let n: u64 = cells.iter().sum();
            let n_target = part % (n + 1);
            let mut runs = PooledRuns::default();
            runs.start(n);
            for &l in &cells {
                runs.push(l);
            }
            if turned {
                runs.turn();
            }
            let pool = runs.pool(n_target);
            let stratum = (pool.cells.to_vec(), pool.scores.to_vec(), n_target as f64);
            let all = naive::linear_distribution(&[stratum]);
            let mut kept = Exact::default();
            let mut tail = 0.0;
            for &(t, p) in all.iter().rev() {
                tail += p;
                for estimate in [f64::NEG_INFINITY, tail.ln()] {
                    let got = exact(&pool, t, estimate, 100_000, &mut kept).unwrap();
                    // Measured 2e-13; allow 1e-11.
                    prop_assert!((got - tail.ln()).abs() < 1e-11, "{t}: {got} {}", tail.ln());
                }
            }
            let above = all.last().map_or(0.0, |last| last.0) + 0.5;
            let none = exact(&pool, above, f64::NEG_INFINITY, 9, &mut kept);
            prop_assert_eq!(none, Ok(f64::NEG_INFINITY));
        }
    }

    /// ln P(X ≥ x) of the hypergeometric distribution of 200 among 1,000 of 10,000, by mpmath.
    #[test]
    fn two_runs_are_hypergeometric() {
        let mut runs = PooledRuns::default();
        runs.start(10_000);
        for cells in [9_000, 1_000] {
            runs.push(cells);
        }
        let pool = runs.pool(200);
        for (x, want) in HYPERGEOMETRIC {
            let t = x * pool.scores[1] + (200.0 - x) * pool.scores[0];
            let got = exact(&pool, t, f64::NEG_INFINITY, 1_000, &mut Exact::default()).unwrap();
            // The rounding of ln 10000! = 82109 is 1e-11: measured 1.2e-11.
            assert!((got - want).abs() < 1e-10, "{x}: {got} {want}");
        }
    }

    const HYPERGEOMETRIC: [(f64, f64); 4] = [
        (21.0, -0.819_328_261_680_849_7),
        (50.0, -21.316_274_945_381_55),
        (120.0, -158.716_750_442_872_2),
        (200.0, -479.887_259_500_396_25),
    ];

    #[test]
    fn too_many_transitions_are_an_error() {
        let mut runs = PooledRuns::default();
        runs.start(3_000);
        for _ in 0..3_000 {
            runs.push(1);
        }
        let pool = runs.pool(400);
        let got = exact(&pool, 1.0, f64::NEG_INFINITY, 5_000, &mut Exact::default());
        assert!(got.is_err_and(|transitions| transitions > 5_000));
    }
}
