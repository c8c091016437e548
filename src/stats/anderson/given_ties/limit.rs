//! [`Limit`]: one tie pattern's distribution of A².

use super::blocks::{Blocks, Piece, gather};
use super::cumulant::{Step, Weights, mean_at, solve};
use super::few_cells::Scores;
use super::form::{Node, form, recurrence};
use super::tail::{UpperTail, ln_tail, ln_two_sided};
use crate::cast::{real_below, whole};
use crate::stats::conditional::PooledRuns;
use crate::stats::runs::{OwnRun, SharedRuns};

/// The limiting distribution of A² given the ties: what depends on the pooled runs alone.
#[derive(Debug, Clone, Default)]
pub struct Limit {
    pieces: Vec<Piece>,
    nodes: Vec<Node>,
    steps: Vec<Step>,
    weights: Weights,
    /// What blocks leave out of the mean of A².
    constant: f64,
    n: f64,
    /// True if next to nothing is tied.
    untied: bool,
}

/// ln p is interpolated this close to the mean, relative to it.
const NEAR: f64 = 0.01;
/// A larger A² counts as infinite.
const MOST: f64 = 1e100;
/// If no run holds more than one in so many cells, nor more than two, the limit is that for untied data.
const UNTIED: f64 = 64.0;
const PAIR: f64 = 2.0;

impl Limit {
    /// Prepares for all comparisons with these pooled runs, ascending: cells of both samples; runs
    /// without cells are left out.  Buffers are reused.
    ///
    /// Cost, with a call of [`Limit::upper_tail`]: 0.1 µs for 2 runs, 0.3 for 3, 0.5 for 4, 0.75 for 8, 1.1 for
    /// 16, 1.5 for 23 to 64, where blocks begin; 9 ns a run of more.
    ///
    /// # Examples
    /// ```
    /// use pdex::stats::anderson::given_ties::Limit;
    /// use pdex::stats::special::normal;
    /// let mut limit = Limit::default();
    /// // Two values: A² is the square of a standardised number of cells.
    /// limit.prepare(&[9_000, 1_000], true);
    /// let tail = limit.upper_tail(25.0);
    /// assert!((tail.ln_p / normal::two_sided(5.0).p.ln() - 1.0).abs() < 1e-14);
    /// // Counts of a sparse gene.
    /// limit.prepare(&[8_000, 1_500, 500], true);
    /// assert!((limit.largest_weight() - 0.946_625).abs() < 1e-6);
    /// assert!((limit.upper_tail(30.0).ln_p - -17.799_06).abs() < 1e-5);
    /// ```
    pub fn prepare(&mut self, cells: &[u32], midrank: bool) {
        gather(cells, midrank, &mut self.pieces);
        self.build(last(cells), midrank);
    }

    /// Prepares for the runs that `blocks` was prepared from, without a target's.
    pub fn prepare_shared(&mut self, shared: &SharedRuns, blocks: &Blocks) {
        blocks.shared(&mut self.pieces);
        self.build(last(shared.cells()), blocks.midrank());
    }

    /// [`Limit::prepare`] without blocks, however many runs there are.
    #[cfg(test)]
    pub(super) fn prepare_all(&mut self, cells: &[u32], midrank: bool) {
        let runs = cells.iter().filter(|&&l| l > 0).map(|&l| f64::from(l));
        self.pieces = runs.map(Piece::run).collect();
        self.build(last(cells), midrank);
    }

    #[cfg(test)]
    pub(super) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Prepares for one target compared with a reference of many runs, which `blocks` was prepared
    /// from, in O(own runs + pieces): 1 to 2 µs.
    ///
    /// Callers promise what [`crate::stats::runs::PairRuns::is_consistent`] holds them to.
    pub fn prepare_pair(&mut self, shared: &SharedRuns, own: &[OwnRun], blocks: &Blocks) {
        blocks.pair(shared, own, &mut self.pieces);
        let top = shared.len().saturating_sub(1);
        let shared_last = shared.cells().last().copied().map_or(0.0, f64::from);
        let last = match own.last() {
            Some(run) if run.is_alone() && run.place() > top => real_below(run.cells()),
            Some(run) if !run.is_alone() && run.place() == top => {
                shared_last + real_below(run.cells())
            }
            _ => shared_last,
        };
        self.build(last, blocks.midrank());
    }

    /// λ_1, the largest weight; 0 where there is one run.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn largest_weight(&self) -> f64 {
        self.weights.largest
    }

    /// Σ λ, the mean of A²: 1 for midranks.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.weights.sum + self.constant
    }

    /// 2 Σ λ², the variance of A² in the limit.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn variance(&self) -> f64 {
        2.0 * self.weights.squares
    }

    /// The nodes, steps and weights of the pieces; `last` is the number of cells in the last run.
    fn build(&mut self, last: f64, midrank: bool) {
        let n: f64 = self.pieces.iter().map(|piece| piece.cells).sum();
        self.n = n;
        (self.weights, self.constant) = (Weights::default(), 0.0);
        let tied = |piece: &Piece| piece.runs == 1 && piece.cells > (n / UNTIED).max(PAIR);
        self.untied = !self.pieces.iter().any(tied);
        if self.pieces.len() < 2 {
            self.steps.clear();
            return;
        }
        form(&self.pieces, n, midrank, &mut self.nodes);
        recurrence(&self.nodes, &mut self.steps);
        self.weights = Weights::of(&self.steps);
        // 0 but for rounding where there are no blocks.
        let mean = if midrank { 1.0 } else { (n - last) / (n - 1.0) };
        self.constant = mean - self.weights.sum;
    }

    /// A² at which the leading component is `z`, above 1: see [`UpperTail::z`].
    #[must_use]
    pub fn a_squared_at(&self, z: f64) -> f64 {
        if self.steps.is_empty() {
            return 0.0;
        }
        self.constant + mean_at(&self.steps, &self.weights, z)
    }

    /// True if next to nothing is tied, so that the limit for untied data is the better choice.
    #[must_use]
    pub fn is_untied(&self) -> bool {
        self.untied
    }

    /// True if the pool has two values: A² is a multiple of the squared rank sum.
    #[must_use]
    pub fn is_square(&self) -> bool {
        self.steps.len() == 1
    }

    /// True if all values are equal.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.steps.is_empty()
    }

    /// Fills `runs` with the pool's: blocks of small runs as if each were one.
    pub fn pool(&self, runs: &mut PooledRuns) {
        runs.start(whole(self.n));
        self.pieces.iter().for_each(|piece| runs.push(whole(piece.cells)));
    }

    /// P(A² >= `a_squared`) in the limit.
    ///
    /// Cost: one or two passes over the runs and a handful of logarithms: 0.03 µs for 2 runs, 0.18 for 3, 0.27
    /// for 4, 0.35 for 8, 0.55 for 23, 0.45 for blocks.
    #[must_use]
    pub fn upper_tail(&self, a_squared: f64) -> UpperTail {
        if a_squared.is_nan() {
            return UpperTail { ln_p: f64::NAN, z: f64::NAN };
        }
        let x = a_squared - self.constant;
        if self.steps.is_empty() || x <= 0.0 {
            return UpperTail::ALL;
        }
        if x > MOST {
            return UpperTail { ln_p: f64::NEG_INFINITY, z: f64::INFINITY };
        }
        if self.steps.len() == 1 {
            let z = (x / self.weights.largest).sqrt();
            return UpperTail { ln_p: ln_two_sided(z), z };
        }
        let mean = self.weights.sum;
        let Some(saddle) = solve(&self.steps, &self.weights, x) else {
            return UpperTail::ALL;
        };
        let off = x / mean - 1.0;
        let ln_p = if off.abs() < NEAR { self.near_mean(off) } else { ln_tail(&saddle) };
        UpperTail { ln_p: ln_p.min(0.0), z: 1.0 / saddle.left.sqrt() }
    }

    /// ln p at the mean times 1 + `off`, by the cubic through four points around.
    fn near_mean(&self, off: f64) -> f64 {
        let at = |step: f64| {
            let saddle = solve(&self.steps, &self.weights, self.weights.sum * (1.0 + step * NEAR));
            saddle.map_or(0.0, |saddle| ln_tail(&saddle))
        };
        let u = off / NEAR;
        let nodes = [-2.0, -1.0, 1.0, 2.0];
        let term = |&node: &f64| {
            let others = nodes.iter().filter(|&&other| other != node);
            others.map(|&other| (u - other) / (node - other)).product::<f64>() * at(node)
        };
        nodes.iter().map(term).sum()
    }

    /// What the correction for few cells takes of the pool: O(pieces), once a gene or a pair.
    #[must_use]
    pub fn scores(&self) -> Scores {
        Scores::of(&self.nodes, &self.weights, self.n)
    }
}

/// The cells of the last run.
fn last(cells: &[u32]) -> f64 {
    cells.iter().rev().find(|&&l| l > 0).map_or(0.0, |&l| f64::from(l))
}
