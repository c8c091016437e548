//! The runs of a pooled sample, or of one stratum of it, with their scores.

use crate::cast::{real, whole};
use crate::stats::special::ln_choose;
use std::cmp::Ordering;

/// The runs of one stratum, ascending by score, and how many of its cells are the target's.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    /// `l_j`, above 0; whole numbers, except for [`PooledRuns::spread`].
    pub cells: &'a [f64],
    /// `s_j`, centred.
    pub scores: &'a [f64],
    /// n1.
    pub n_target: f64,
    /// N, the sum of `cells`.
    pub n: f64,
    /// All differences of scores are multiples of it; 0 where no such number is known.
    pub step: f64,
}

impl Pool<'_> {
    /// The variance of T: n1 n2 / (N (N - 1)) Σ l s².
    #[must_use]
    pub fn variance(&self) -> f64 {
        let &Self { n_target, n, .. } = self;
        if n < 2.0 {
            return 0.0;
        }
        let squares: f64 = self.runs().map(|(l, s)| l * s * s).sum();
        n_target * (n - n_target) / (n * (n - 1.0)) * squares
    }

    /// The third cumulant of T: n1 n2 (n2 - n1) / (N (N - 1) (N - 2)) Σ l s³.
    #[must_use]
    pub fn third_cumulant(&self) -> f64 {
        let &Self { n_target, n, .. } = self;
        if n < 3.0 {
            return 0.0;
        }
        let cubes: f64 = self.runs().map(|(l, s)| l * s * s * s).sum();
        n_target * (n - n_target) * (n - 2.0 * n_target) / (n * (n - 1.0) * (n - 2.0)) * cubes
    }

    /// True if T can take one value only.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.cells.len() < 2 || self.n_target == 0.0 || self.n_target == self.n
    }

    pub(super) fn runs(&self) -> impl DoubleEndedIterator<Item = (f64, f64)> + ExactSizeIterator {
        self.cells.iter().copied().zip(self.scores.iter().copied())
    }

    /// The sum of the scores of `cells` cells from the top down.
    pub(super) fn top(&self, cells: f64) -> f64 {
        sum_of(self.runs().rev(), cells)
    }

    /// The largest T, and ln of its probability.  The target's cells are those from the top down;
    /// of the last run that they reach, any.
    pub(super) fn largest(&self) -> (f64, f64) {
        let (mut left, mut largest, mut ln_ways) = (self.n_target, 0.0, 0.0);
        for (l, s) in self.runs().rev() {
            let taken = left.min(l);
            largest += taken * s;
            left -= taken;
            if taken < l {
                ln_ways = ln_choose(l, taken);
                break;
            }
        }
        (largest, ln_ways - ln_choose(self.n, self.n_target))
    }

    /// How far the second largest T lies below the largest: the least that an exchange of two cells
    /// changes.
    pub(super) fn last_step(&self) -> f64 {
        let mut left = self.n_target;
        let mut above: Option<f64> = None;
        let mut step = f64::INFINITY;
        for (l, s) in self.runs().rev() {
            // Up to here the target has all cells of the runs above, `left` of this one's and no others.
            if left < l {
                step = above.map_or(step, |above| step.min(above - s));
                if left == 0.0 {
                    break;
                }
            }
            above = Some(s);
            left = (left - l).max(0.0);
        }
        step
    }
}

/// The sum of the scores of `left` cells, taken from these runs in their order.
#[inline]
pub(super) fn sum_of(runs: impl Iterator<Item = (f64, f64)>, mut left: f64) -> f64 {
    let mut sum = 0.0;
    for (l, s) in runs {
        let taken = l.min(left);
        sum += taken * s;
        left -= taken;
        if left <= 0.0 {
            break;
        }
    }
    sum
}

/// Nodes and weights of the Gauss-Legendre rule of eight points on [0, 1].
const NODES: [(f64, f64); 8] = [
    (0.019_855_071_751_231_884, 0.050_614_268_145_188_13),
    (0.101_666_761_293_186_63, 0.111_190_517_226_687_24),
    (0.237_233_795_041_835_5, 0.156_853_322_938_943_64),
    (0.408_282_678_752_175_1, 0.181_341_891_689_180_99),
    (0.591_717_321_247_824_9, 0.181_341_891_689_180_99),
    (0.762_766_204_958_164_5, 0.156_853_322_938_943_64),
    (0.898_333_238_706_813_4, 0.111_190_517_226_687_24),
    (0.980_144_928_248_768_1, 0.050_614_268_145_188_13),
];
/// As many cells of different values are listed one by one, since eight nodes would be no fewer.
const FEW: u64 = 8;
/// Cells next to the top that are listed one by one where nodes are refined.
const SINGLE: u64 = 24;
/// In place of where the eight nodes begin, once there are more of them.
const REFINED: usize = usize::MAX;

/// The runs of a pooled sample with centred midranks as scores, in buffers that are reused.
///
/// # Examples
/// ```
/// use pdex::stats::conditional::PooledRuns;
/// let mut runs = PooledRuns::default();
/// runs.start(10);
/// [7, 2, 1].into_iter().for_each(|cells| runs.push(cells));
/// let pool = runs.pool(4);
/// // Midranks 4, 8.5 and 10, less their mean 5.5.
/// assert_eq!(pool.scores, [-1.5, 3.0, 4.5]);
/// ```
#[derive(Debug, Default, Clone)]
pub struct PooledRuns {
    cells: Vec<f64>,
    scores: Vec<f64>,
    n: u64,
    below: u64,
    /// The score of one rank.
    unit: f64,
    /// Cells of different values, and where their nodes begin; none if 0.
    spread: u64,
    first: usize,
}

impl PooledRuns {
    /// Removes all runs; those to come hold `n` cells.
    pub fn start(&mut self, n: u64) {
        self.cells.clear();
        self.scores.clear();
        (self.n, self.below, self.spread, self.unit) = (n, 0, 0, 1.0);
    }

    /// Multiplies all scores.
    pub fn scale(&mut self, factor: f64) {
        self.unit *= factor;
        self.scores.iter_mut().for_each(|score| *score *= factor);
    }

    /// Adds the run of the next larger value; one without cells is left out.
    #[inline]
    pub fn push(&mut self, cells: u64) {
        if cells > 0 {
            // The midrank is below + (l + 1) / 2, the mean of all (N + 1) / 2.
            let score = real(2 * self.below + cells) / 2.0 - real(self.n) / 2.0;
            self.cells.push(real(cells));
            self.scores.push(score * self.unit);
            self.below += cells;
        }
    }

    /// Adds `cells` cells of different values above all others, as eight nodes of a Gauss-Legendre
    /// rule: sums over their ranks become integrals.  Once only.
    pub fn spread(&mut self, cells: u64) {
        debug_assert!(self.spread == 0, "spread once");
        if cells <= FEW {
            return (0..cells).for_each(|_| self.push(1));
        }
        (self.spread, self.first) = (cells, self.cells.len());
        let below = real(self.below) - real(self.n) / 2.0;
        self.add_nodes(&NODES, below, real(cells));
        self.below += cells;
    }

    fn add_nodes(&mut self, nodes: &[(f64, f64)], below: f64, length: f64) {
        for (node, weight) in nodes {
            self.cells.push(weight * length);
            self.scores.push((below + node * length) * self.unit);
        }
    }

    /// Replaces the nodes of cells that were spread by more of them towards the top: single cells, and
    /// panels that grow with their distance from it.  The tail far out is made of these cells.
    pub fn refine(&mut self) {
        if self.spread == 0 || self.first == REFINED {
            return;
        }
        let nodes = self.first..self.first + NODES.len();
        let after = nodes.end..self.cells.len();
        let after: Vec<(f64, f64)> = after.map(|i| (self.cells[i], self.scores[i])).collect();
        let lowest = self.scores[nodes.start] / self.unit - NODES[0].0 * real(self.spread);
        self.cells.truncate(nodes.start);
        self.scores.truncate(nodes.start);
        // From the bottom up: panels that halve, then single cells.
        let mut left = self.spread;
        while left > SINGLE {
            let length = (left / 2).max(left.min(4));
            let below = lowest + real(self.spread - left);
            self.add_nodes(&NODES, below, real(length));
            left -= length;
        }
        for cell in self.spread - left..self.spread {
            self.cells.push(1.0);
            self.scores.push((lowest + real(cell) + 0.5) * self.unit);
        }
        self.cells.extend(after.iter().map(|run| run.0));
        self.scores.extend(after.iter().map(|run| run.1));
        self.first = REFINED;
    }

    /// An order of runs by their numbers of cells.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let cells = self.cells.iter().zip(&other.cells).map(|(a, b)| a.total_cmp(b));
        let by_length = self.cells.len().cmp(&other.cells.len());
        cells.fold(by_length, Ordering::then)
    }

    /// Turns the order round, so that the lower tail becomes the upper one.
    pub fn turn(&mut self) {
        // Nodes are symmetric.
        if self.first != REFINED {
            self.first = self.cells.len().saturating_sub(NODES.len() + self.first);
        }
        self.cells.reverse();
        self.scores.reverse();
        self.scores.iter_mut().for_each(|score| *score = -*score);
    }

    /// True if each run is one of equal values, so that the distribution can be summed exactly.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.spread == 0
    }

    /// The difference between the scores at the ends of the cells that were spread.
    #[must_use]
    pub fn spread_scores(&self) -> f64 {
        self.unit * real(self.spread)
    }

    /// The largest T, and ln of its probability.
    #[must_use]
    pub fn largest(&self, n_target: u64) -> (f64, f64) {
        if self.is_listed() {
            return self.pool(n_target).largest();
        }
        // Cells of different values can be taken in one way only.
        let (mut left, mut largest, mut ln_ways) = (n_target, 0.0, 0.0);
        let mut top = real(self.n) / 2.0;
        let mut take = |cells: u64, ties: bool| {
            let taken = left.min(cells);
            let length = real(if ties { cells } else { taken });
            largest += real(taken) * (top - length / 2.0);
            if ties && taken < cells {
                ln_ways = ln_choose(real(cells), real(taken));
            }
            top -= real(cells);
            left -= taken;
        };
        let mut at = self.cells.len();
        while at > 0 {
            if at == self.first + NODES.len() {
                take(self.spread, false);
                at = self.first;
            } else {
                at -= 1;
                take(whole(self.cells[at]), true);
            }
        }
        (largest * self.unit, ln_ways - ln_choose(real(self.n), real(n_target)))
    }

    /// The runs, `n_target` of their cells the target's.
    #[must_use]
    pub fn pool(&self, n_target: u64) -> Pool<'_> {
        debug_assert!(self.below == self.n, "as many cells as were announced");
        let Self { cells, scores, .. } = self;
        Pool { cells, scores, n_target: real(n_target), n: real(self.n), step: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_the_moments_of_ranks() {
        // 5,000 zeros and 5,000 different values, beside all ranks one by one.
        let (mut nodes, mut ranks) = (PooledRuns::default(), PooledRuns::default());
        for runs in [&mut nodes, &mut ranks] {
            runs.start(10_000);
            runs.push(5_000);
        }
        nodes.spread(5_000);
        (0..5_000).for_each(|_| ranks.push(1));
        let (a, b) = (nodes.pool(40), ranks.pool(40));
        assert_eq!((a.cells.len(), b.cells.len()), (9, 5_001));
        // Σ l = N and Σ l s = 0; ranks lack 1/12 of a cell's square: measured 7e-9 of the variance.
        assert!((a.cells.iter().sum::<f64>() - 10_000.0).abs() < 1e-8);
        assert!(a.runs().map(|(l, s)| l * s).sum::<f64>().abs() < 1e-4);
        assert!((a.variance() / b.variance() - 1.0).abs() < 1e-8);
        assert!((a.third_cumulant() / b.third_cumulant() - 1.0).abs() < 1e-7);
        assert!(!nodes.is_listed() && ranks.is_listed());
    }

    #[test]
    fn runs_are_refined_once_and_turn_whole() {
        let mut runs = PooledRuns::default();
        runs.start(2_000);
        runs.push(800);
        runs.spread(1_200);
        runs.refine();
        let refined = runs.pool(40).cells.to_vec();
        assert!(refined.len() > 60 && (refined.iter().sum::<f64>() - 2_000.0).abs() < 1e-9);
        runs.turn();
        runs.refine();
        runs.turn();
        assert_eq!(runs.pool(40).cells, &refined[..]);
    }

    #[test]
    fn few_values_are_listed() {
        let mut runs = PooledRuns::default();
        runs.start(12);
        runs.push(4);
        runs.push(0);
        runs.spread(8);
        assert!(runs.is_listed());
        assert_eq!(runs.pool(3).scores[..3], [-4.0, -1.5, -0.5]);
        runs.turn();
        assert_eq!(runs.pool(3).scores[..2], [-5.5, -4.5]);
        assert_eq!(runs.pool(3).cells[8], 4.0);
    }

    #[test]
    fn the_largest_statistic_and_its_probability() {
        let pool =
            Pool { cells: &[5.0, 5.0], scores: &[-2.5, 2.5], n_target: 2.0, n: 10.0, step: 0.0 };
        let (largest, ln_p) = pool.largest();
        // 2 of 10 cells are among the 5 larger ones: C(5, 2) / C(10, 2).
        assert_eq!(largest, 5.0);
        assert!((ln_p - (10.0f64 / 45.0).ln()).abs() < 1e-14);
    }
}
