//! The Anderson-Darling sum of a pair of samples from its runs ([`PairRuns`]).
//!
//! # Against a reference
//! The shared runs are the reference's.  Their l and B are the same for every target but for the
//! target's own cells, so that a target spreads its cells over them and takes all terms at once,
//! without a branch, several in one instruction.  Runs of the target alone give their terms one by
//! one.  Every term is made of whole numbers up to its one division, and the terms are added in
//! ascending order: the same bits as [`AndersonSum::push`] run after run.  Cost: O(shared runs) of
//! the cheapest kind.
//!
//! # Against the rest (*pooled*)
//! Every target pools the same cells, so that l and B of each run are the same for all of them, and
//! M is constant over a stretch of runs without cells of the target:
//!
//! ```text
//! Σ w (d - n1 s)² = d² Σ w - 2 d n1 Σ w s + n1² Σ w s²,   w = l / (4 (B (N - B)) - N l),
//! s = 2 B less that of the stretch's first run,  d = 2 (N M - n1 B) there
//! ```
//!
//! The sums over a stretch are differences of running sums of w, 2 w B and 4 w B², kept as
//! double-doubles since most of their digits cancel.  Cost: O(own runs), however many are shared.
//! Measured against run after run: 2e-14 relative.  A gene of at most [`FEW`] runs takes them one
//! after the other, whichever source it came from.

use super::{AndersonSum, spread};
use crate::cast::{real, wide};
use crate::stats::MAX_CELLS;
use crate::stats::double_double::DoubleDouble;
use crate::stats::runs::{FewRuns, PairRuns, SharedRuns};
use multiversion::multiversion;

/// Up to this number of shared runs all are added run by run: the same bits as [`AndersonSum::push`].
const FEW: usize = FewRuns::MOST;
/// Shorter stretches of runs without target cells are added run by run.
const STRETCH: usize = 6;
/// Up to this number of cells every whole number in a term is exact in f64.
const EXACT_IN_F64: u64 = 1 << 26;

/// What all comparisons of one gene share; prepared once a gene from its shared runs.
#[derive(Debug, Default)]
pub struct Shared {
    /// Against a reference: 2 B of each run, without target cells.
    twice_b: Vec<f64>,
    /// Against a reference: the cells of each run.
    cells: Vec<f64>,
    /// Pooled: what the term of each run takes beside M.
    pooled: Vec<Pooled>,
    /// Pooled: Σ w, Σ 2 w B and Σ 4 w B² over the runs before each; the last entry is the total.
    sums: Vec<[DoubleDouble; 3]>,
    prepared: Prepared,
}

/// One run of all cells of a gene.
#[derive(Debug, Clone, Copy)]
struct Pooled {
    twice_b: u64,
    /// l.
    cells: f64,
    /// 4 (B (N - B)), less N l for midranks; infinite where it is 0, so that the term is 0.
    spread: f64,
}

impl Pooled {
    /// The term of the run, from 2 (N M - n1 B).
    #[inline]
    fn term(&self, distance: f64) -> f64 {
        self.cells * (distance * distance / self.spread)
    }
}

/// What [`Shared::prepare`] was given: [`sum`] must be given the same.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Prepared {
    runs: usize,
    total: u64,
    pooled: bool,
    midrank: bool,
}

impl Prepared {
    fn of(runs: &SharedRuns, pooled: bool, midrank: bool) -> Self {
        Self { runs: runs.len(), total: runs.total(), pooled, midrank }
    }
}

impl Shared {
    /// Prepares for all pairs with these shared runs; buffers are reused.
    ///
    /// # Examples
    /// ```
    /// use pdex::stats::anderson::{self, Scratch, Shared};
    /// use pdex::stats::runs::{OwnRun, PairRuns, SharedRuns};
    /// // x = [2, 5], y = [1, 2, 3]
    /// let mut runs = SharedRuns::default();
    /// (0..3).for_each(|_| runs.push(1));
    /// let own = [OwnRun::shared(1, 1), OwnRun::alone(3, 1)];
    /// let pair =
    ///     PairRuns { shared: &runs, own: &own, n_target: 2, n_reference: 3, pooled: false };
    /// let mut shared = Shared::default();
    /// shared.prepare(&runs, false, true);
    /// let sum = anderson::sum(&pair, &shared, &mut Scratch::default(), true);
    /// let test = sum.test(&anderson::Options::default()).ok_or("empty")?;
    /// // scipy.stats.anderson_ksamp([[2, 5], [1, 2, 3]], variant="midrank").statistic
    /// assert!((test.statistic - -0.498_838_284_240_632_1).abs() < 1e-14);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn prepare(&mut self, runs: &SharedRuns, pooled: bool, midrank: bool) {
        debug_assert!(runs.total() <= MAX_CELLS, "more cells than a test may pool");
        self.prepared = Prepared::of(runs, pooled, midrank);
        if pooled {
            self.prepare_pooled(runs, midrank);
        } else {
            self.prepare_reference(runs, midrank);
        }
    }

    fn prepare_reference(&mut self, runs: &SharedRuns, midrank: bool) {
        self.cells.clear();
        self.cells.extend(runs.cells().iter().map(|&cells| f64::from(cells)));
        self.twice_b.clear();
        self.twice_b.extend((0..runs.len()).map(|at| real(twice_b(runs, at, midrank))));
    }

    fn prepare_pooled(&mut self, runs: &SharedRuns, midrank: bool) {
        let (n, mut sums) = (runs.total(), [DoubleDouble::default(); 3]);
        self.pooled.clear();
        self.sums.clear();
        self.sums.push(sums);
        for (at, &run) in runs.cells().iter().enumerate() {
            let (run, twice_b) = (u64::from(run), twice_b(runs, at, midrank));
            let spread = spread(n, twice_b, run, midrank);
            let spread = if spread > 0 { real(spread) } else { f64::INFINITY };
            self.pooled.push(Pooled { twice_b, cells: real(run), spread });
            let weight = real(run) / spread;
            let first = DoubleDouble::from(weight).times(real(twice_b));
            let terms = [DoubleDouble::from(weight), first, first.times(real(twice_b))];
            for (sum, term) in sums.iter_mut().zip(terms) {
                *sum = sum.plus(term);
            }
            self.sums.push(sums);
        }
    }
}

/// 2 B of a shared run, its own cells counted half or in full.
fn twice_b(runs: &SharedRuns, at: usize, midrank: bool) -> u64 {
    let cells = u64::from(runs.cells()[at]);
    2 * runs.below(at) + if midrank { cells } else { 2 * cells }
}

/// Buffers of one worker, reused between comparisons.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The target's cells in each shared run: all 0 between calls.
    own: Vec<f64>,
    /// 2 M of each shared run.
    twice_m: Vec<f64>,
    terms: Vec<f64>,
    /// The terms of the target's runs that stand alone, and the shared run that each stands before.
    alone: Vec<(usize, f64)>,
}

impl Scratch {
    /// Makes room for `runs` shared runs.
    fn grow(&mut self, runs: usize) {
        debug_assert!(self.own.iter().all(|&cells| cells == 0.0), "own is zero between calls");
        if self.own.len() < runs {
            for buffer in [&mut self.own, &mut self.twice_m, &mut self.terms] {
                buffer.resize(runs, 0.0);
            }
        }
    }
}

/// The sum of one pair.
///
/// Callers promise that `shared` was prepared from `pair.shared` with the same `midrank`, that the
/// own runs ascend, and that the pair's sizes are those of its runs, at most
/// [`MAX_CELLS`] together.
#[must_use]
pub fn sum(pair: &PairRuns, shared: &Shared, scratch: &mut Scratch, midrank: bool) -> AndersonSum {
    let given = Prepared::of(pair.shared, pair.pooled, midrank);
    debug_assert_eq!(shared.prepared, given, "not prepared for this pair");
    debug_assert!(pair.is_consistent(), "sizes and order of the runs of a pair");
    let mut sum = AndersonSum::new(pair.n_target, pair.n_reference, midrank);
    if pair.pooled {
        against_rest(pair, shared, midrank, &mut sum);
    } else if sum.n() <= EXACT_IN_F64 {
        against_reference(pair, shared, scratch, midrank, &mut sum);
    } else {
        pair.for_each(|target, other| sum.push(target, other));
    }
    sum
}

/// The sum of a pair of few runs, with the bits of [`AndersonSum::push`]; `sizes` are those of the target
/// and of the other sample.
#[must_use]
pub fn few_sum(runs: &FewRuns, sizes: (u64, u64), midrank: bool) -> AndersonSum {
    let mut sum = AndersonSum::new(sizes.0, sizes.1, midrank);
    let (target, both) = runs.get();
    if sum.n() > EXACT_IN_F64 {
        let runs = target.iter().zip(both);
        runs.for_each(|(&own, &all)| sum.push(u64::from(own), u64::from(all - own)));
        return sum;
    }
    let (present, total) = few_terms(target, both, (real(sum.n()), real(sum.n_target())), midrank);
    sum.add_terms(present, total);
    sum
}

/// The number of runs with cells, and the sum of their terms.
#[multiversion(targets = "simd")]
fn few_terms(target: &[u32], both: &[u32], (n, n1): (f64, f64), midrank: bool) -> (u64, f64) {
    let mut twice = [(0.0, 0.0); FEW];
    let (mut below, mut all_below, mut present) = (0, 0, 0);
    for (out, (&own, &all)) in twice.iter_mut().zip(target.iter().zip(both)) {
        // With midranks the run's own cells count half.  At most 2^26 cells: doubled, they fit.
        let before = (2 * below, 2 * all_below);
        (below, all_below) = (below + own, all_below + all);
        let (m, b) =
            if midrank { (before.0 + own, before.1 + all) } else { (2 * below, 2 * all_below) };
        *out = (f64::from(m), f64::from(b));
        present += u64::from(all > 0);
    }
    let half = if midrank { n } else { 0.0 };
    let mut terms = [0.0; FEW];
    for ((out, &(twice_m, twice_b)), &all) in terms.iter_mut().zip(&twice).zip(both) {
        *out = one_term((f64::from(all), twice_m, twice_b), (n, n1, half));
    }
    (present, terms[..both.len()].iter().fold(0.0, |sum, term| sum + term))
}

/// l (2 N M - 2 n1 B)² / (4 B (N - B) - N l) of a run, from l, 2 M and 2 B; `half` is N, or 0 for the
/// right-continuous version, which has no such term.
#[inline]
fn one_term((run, twice_m, twice_b): (f64, f64, f64), (n, n1, half): (f64, f64, f64)) -> f64 {
    let spread = twice_b * (2.0 * n - twice_b) - half * run;
    let distance = n * twice_m - n1 * twice_b;
    let term = run * (distance * distance / spread);
    // 0 / 0 in the last run of the right-continuous version, and in runs without cells at both ends.
    if spread > 0.0 { term } else { 0.0 }
}

fn against_reference(
    pair: &PairRuns,
    shared: &Shared,
    scratch: &mut Scratch,
    midrank: bool,
    sum: &mut AndersonSum,
) {
    let runs = pair.shared.len();
    scratch.grow(runs);
    spread_own(pair, scratch, midrank, sum);
    let Scratch { own, twice_m, terms, alone } = scratch;
    let (n1, n) = (real(sum.n_target()), real(sum.n()));
    let half = if midrank { n } else { 0.0 };
    let kernel = Runs { cells: &shared.cells, twice_b: &shared.twice_b, own: &own[..runs] };
    all_terms(&kernel, &twice_m[..runs], (n, n1, half), &mut terms[..runs]);
    // Ascending, as pushes would add them.
    let add = |total, terms: &[f64]| terms.iter().fold(total, |sum, term| sum + term);
    let (mut total, mut next) = (0.0, 0);
    for &(at, term) in &*alone {
        total = add(total, &terms[next..at]) + term;
        next = at;
    }
    total = add(total, &terms[next..runs]);
    sum.add_terms(wide(runs + alone.len()), total);
    for run in pair.own.iter().filter(|run| !run.is_alone()) {
        own[run.place()] = 0.0;
    }
}

/// Spreads the target's cells over the shared runs; the terms of those that stand alone.
fn spread_own(pair: &PairRuns, scratch: &mut Scratch, midrank: bool, sum: &AndersonSum) {
    let Scratch { own, twice_m, alone, .. } = scratch;
    let (mut below, mut next) = (0, 0);
    alone.clear();
    for run in pair.own {
        let (at, cells) = (run.place(), run.cells());
        twice_m[next..at].fill(real(2 * below));
        let twice_m_here = 2 * below + if midrank { cells } else { 2 * cells };
        next = at;
        if run.is_alone() {
            let twice_b = 2 * pair.shared.below(at) + twice_m_here;
            alone.push((at, sum.term(twice_m_here, twice_b, cells)));
        } else {
            twice_m[at] = real(twice_m_here);
            own[at] = real(cells);
            next += 1;
        }
        below += cells;
    }
    twice_m[next..pair.shared.len()].fill(real(2 * below));
}

fn against_rest(pair: &PairRuns, shared: &Shared, midrank: bool, sum: &mut AndersonSum) {
    let runs = shared.pooled.len();
    let term = |run: &Pooled, twice_m: u64| run.term(sum.distance(twice_m, run.twice_b));
    let twice_m = |below: u64, cells: u64| 2 * below + if midrank { cells } else { 2 * cells };
    let (mut below, mut total) = (0, 0.0);
    let without = |total: f64, (a, b): (usize, usize), below: u64| {
        if b - a >= STRETCH && runs > FEW {
            return total + stretch(shared, (a, b), below, sum);
        }
        shared.pooled[a..b].iter().fold(total, |total, run| total + term(run, 2 * below))
    };
    let mut next = 0;
    for run in pair.own {
        let (at, cells) = (run.place(), run.cells());
        total = without(total, (next, at), below);
        total += term(&shared.pooled[at], twice_m(below, cells));
        below += cells;
        next = at + 1;
    }
    total = without(total, (next, runs), below);
    sum.add_terms(wide(runs), total);
}

/// The terms of the runs from `a` to before `b`, where the target has no cells, and `below` before.
fn stretch(shared: &Shared, (a, b): (usize, usize), below: u64, sum: &AndersonSum) -> f64 {
    let twice_b = shared.pooled[a].twice_b;
    let origin = real(twice_b);
    let over = |k: usize| shared.sums[b][k].minus(shared.sums[a][k]);
    let (w, first) = (over(0), over(1));
    let s = first.minus(w.times(origin));
    let squares = over(2).minus(first.times(origin)).minus(s.times(origin));
    let (d, n1) = (sum.distance(2 * below, twice_b), real(sum.n_target()));
    let terms = d * d * w.value() - 2.0 * d * n1 * s.value() + n1 * n1 * squares.value();
    terms.max(0.0)
}

/// A reference's runs, with a target's cells in them: slices of one length.
struct Runs<'a> {
    cells: &'a [f64],
    twice_b: &'a [f64],
    own: &'a [f64],
}

/// [`one_term`] of each of a reference's runs.
#[multiversion(targets = "simd")]
fn all_terms(runs: &Runs, twice_m: &[f64], (n, n1, half): (f64, f64, f64), out: &mut [f64]) {
    let cells = runs.cells.iter().zip(runs.own);
    let places = runs.twice_b.iter().zip(twice_m);
    for ((out, (cells, own)), (twice_b, twice_m)) in out.iter_mut().zip(cells).zip(places) {
        *out = one_term((cells + own, *twice_m, twice_b + twice_m), (n, n1, half));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::anderson::Options;
    use crate::stats::naive;
    use proptest::prelude::*;

    /// Run after run, the definition.
    fn pushed(runs: &[(u64, u64)], midrank: bool) -> AndersonSum {
        let (n1, n2) = naive::sizes(runs);
        let mut sum = AndersonSum::new(n1, n2, midrank);
        for &(target, other) in runs {
            sum.push(target, other);
        }
        sum
    }

    fn fast(
        runs: &[(u64, u64)],
        pooled: bool,
        midrank: bool,
        scratch: &mut Scratch,
    ) -> AndersonSum {
        let (n_target, n_reference) = naive::sizes(runs);
        let (shared, own) = naive::pair_runs(runs, pooled);
        let pair = PairRuns { shared: &shared, own: &own, n_target, n_reference, pooled };
        let mut prepared = Shared::default();
        prepared.prepare(&shared, pooled, midrank);
        sum(&pair, &prepared, scratch, midrank)
    }

    /// Target cells in one of `rare` runs; so many reference cells, times a scale.
    fn gene() -> impl Strategy<Value = Vec<(u64, u64)>> {
        let scale = prop::sample::select(vec![1u64, 1000, 1 << 18]);
        (prop::collection::vec((0u64..3, 0u64..9), 1..200), scale, 1usize..40).prop_map(
            |(runs, scale, rare)| {
                let target = |i: usize, cells| if i.is_multiple_of(rare) { cells } else { 0 };
                let scaled = runs.iter().enumerate().map(|(i, &(c, r))| (target(i, c), r * scale));
                scaled.filter(|(c, r)| c + r > 0).collect()
            },
        )
    }

    proptest! {
        /// Genes of all lengths, one after the other, in the buffers of one worker.
        #[test]
        fn every_way_equals_one_run_after_the_other(
            genes in prop::collection::vec(gene(), 1..4), midrank: bool,
        ) {
            let mut scratch = Scratch::default();
            for (runs, pooled) in genes.iter().flat_map(|runs| [(runs, false), (runs, true)]) {
                let (slow, fast) = (pushed(runs, midrank), fast(runs, pooled, midrank, &mut scratch));
                let (got, want) = (fast.a_squared(), slow.a_squared());
                let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                if runs.len() <= FEW {
                    let (mut few, empty) = (FewRuns::default(), FewRuns::MOST - runs.len());
                    for (i, &(target, other)) in runs.iter().enumerate() {
                        // A run without cells changes nothing.
                        if i < empty {
                            few.push(0, 0);
                        }
                        few.push(target as u32, (target + other) as u32);
                    }
                    let few = few_sum(&few, naive::sizes(runs), midrank);
                    prop_assert_eq!(few.sum.to_bits(), slow.sum.to_bits());
                    prop_assert_eq!(few.runs, slow.runs);
                }
                // Against the rest: measured 2e-14; allow 1e-12.
                let near = pooled && runs.len() > FEW && (got / want - 1.0).abs() < 1e-12;
                prop_assert!(same || near, "{got} {want}");
                let (got, want) = (fast.test(&Options::default()), slow.test(&Options::default()));
                prop_assert_eq!(got.map(|t| t.p.p == 1.0), want.map(|t| t.p.p == 1.0));
            }
        }
    }

    /// On both sides of [`EXACT_IN_F64`], where f64 begins to round the terms' whole numbers.
    #[test]
    fn large_samples_keep_their_bits() {
        for more in [0, 1, 1 << 27] {
            let big = EXACT_IN_F64 - 13 + more;
            let runs = [(2, big / 3), (3, big - big / 3 - 5), (7, 0), (1, 5)];
            assert_eq!(naive::sizes(&runs).0 + naive::sizes(&runs).1, EXACT_IN_F64 + more);
            for midrank in [true, false] {
                let got = fast(&runs, false, midrank, &mut Scratch::default()).a_squared();
                assert_eq!(got.to_bits(), pushed(&runs, midrank).a_squared().to_bits());
            }
        }
    }

    #[test]
    #[should_panic(expected = "prepared")]
    #[cfg(debug_assertions)]
    fn another_genes_preparation_is_seen_in_tests() {
        let (shared, own) = naive::pair_runs(&[(1, 2), (1, 1)], false);
        let pair =
            PairRuns { shared: &shared, own: &own, n_target: 2, n_reference: 3, pooled: false };
        let _ = sum(&pair, &Shared::default(), &mut Scratch::default(), true);
    }

    #[test]
    #[should_panic(expected = "sizes and order")]
    #[cfg(debug_assertions)]
    fn runs_out_of_order_are_seen_in_tests() {
        let (shared, mut own) = naive::pair_runs(&[(1, 2), (1, 1)], false);
        own.swap(0, 1);
        let mut prepared = Shared::default();
        prepared.prepare(&shared, false, true);
        let pair =
            PairRuns { shared: &shared, own: &own, n_target: 2, n_reference: 3, pooled: false };
        let _ = sum(&pair, &prepared, &mut Scratch::default(), true);
    }
}
