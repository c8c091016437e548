//! The Anderson-Darling sums of one gene: each target's runs beside the background's.
//!
//! # Against a reference
//! The reference's runs are the same for every target; only the target's cells below and in each
//! differ.  These are spread over the reference's runs, whose terms then follow without a branch,
//! several at a time; those of the target's runs without reference cells come one by one.  All are
//! whole numbers up to one division and are added in order, so that every way gives the same bits.
//!
//! # Against the rest
//! Every target pools the same cells, so that l and B of each run are the same for all, and over a
//! stretch of runs without cells of the target M is constant:
//!
//! ```text
//! Σ w (d - n1 s)² = d² Σ w - 2 d n1 Σ w s + n1² Σ w s²,   w = l / (4 (B (N - B)) - N l),
//! s = 2 B less that of the stretch's first run,  d = 2 (N M - n1 B) there
//! ```
//!
//! The sums over a stretch are differences of running sums of w, 2 w B and 4 w B², kept in two
//! words since most of their digits cancel.  A target costs O(its own cells), not O(all runs).

use super::design::Reference;
use super::sorted::Group;
use crate::stats::anderson::{AndersonSum, spread};
use crate::stats::two::Two;
use multiversion::multiversion;

/// The runs of one gene, regrouped so that each group's can be walked alone.
#[derive(Debug, Default)]
pub struct RunLists {
    /// (group, run, cells) in order of runs.
    pushed: Vec<(u32, u32, u32)>,
    /// Cells of all groups in each run.
    totals: Vec<u64>,
    /// (run, cells), group after group: group g's are `starts[g]..ends[g]`.
    by_group: Vec<(u32, u32)>,
    starts: Vec<usize>,
    ends: Vec<usize>,
    shared: Shared,
}

/// What every target of a gene shares.
#[derive(Debug, Default)]
struct Shared {
    /// Cells of the background below each run, and at the end all.
    below: Vec<u64>,
    /// 2 B of each of the background's runs, the target's cells left out.
    twice_b: Vec<f64>,
    /// Cells of each of the background's runs.
    cells: Vec<f64>,
    /// Against a reference: how many of its runs stand before each run.
    before: Vec<u32>,
    /// Against the rest: Σ w, Σ 2 w B and Σ 4 w B² over the runs before each.
    sums: Vec<[Two; 3]>,
    /// Against a reference, for each of its runs: 2 M, and the target's cells in it.
    twice_m: Vec<f64>,
    own: Vec<f64>,
    terms: Vec<f64>,
    /// The terms of the target's own runs, and how many of the reference's runs stand before.
    alone: Vec<(usize, f64)>,
}

/// Fewer runs are added one by one.
const STRETCH: usize = 6;
/// Up to so many cells every integer of a term is exact in f64.
const EXACT_IN_F64: u64 = 1 << 26;

impl RunLists {
    /// Forgets all runs.
    pub fn clear(&mut self) {
        self.pushed.clear();
        self.totals.clear();
    }

    /// Adds one run for each value of sorted entries (value above, group below, 32 bits each).
    pub fn push_sorted(&mut self, entries: &[u64]) {
        let mut previous = entries.first().map_or(0, |entry| !(entry >> 32));
        for &entry in entries {
            if entry >> 32 != previous {
                previous = entry >> 32;
                self.totals.push(0);
            }
            let number = self.totals.len() - 1;
            self.totals[number] += 1;
            self.pushed.push((entry as u32, number as u32, 1));
        }
    }

    /// Adds the next larger run.
    pub fn push(&mut self, run: &[Group]) {
        let number = self.totals.len() as u32;
        self.pushed.extend(run.iter().map(|&(code, cells)| (code, number, cells as u32)));
        self.totals.push(run.iter().map(|group| group.1).sum());
    }

    /// Regroups what was pushed - a counting sort by group, which keeps the order of runs - and
    /// takes what all targets share.
    pub fn regroup(&mut self, groups: usize, reference: Reference, midrank: bool) {
        self.starts.clear();
        self.starts.resize(groups + 1, 0);
        for (code, ..) in &self.pushed {
            self.starts[*code as usize + 1] += 1;
        }
        for i in 1..self.starts.len() {
            self.starts[i] += self.starts[i - 1];
        }
        self.ends.clear();
        self.ends.extend_from_slice(&self.starts[..groups]);
        self.by_group.resize(self.pushed.len(), (0, 0));
        for &(code, run, cells) in &self.pushed {
            let (start, end) = (self.starts[code as usize], &mut self.ends[code as usize]);
            match self.by_group[start..*end].last_mut() {
                Some(last) if last.0 == run => last.1 += cells,
                _ => {
                    self.by_group[*end] = (run, cells);
                    *end += 1;
                }
            }
        }
        match reference {
            Reference::Background => {
                let own = &self.by_group[self.starts[0]..self.ends[0]];
                self.shared.of_reference(own, self.totals.len(), midrank);
            }
            Reference::Rest => self.shared.of_all(&self.totals, midrank),
        }
    }

    /// The sum of one group and what it is compared with.
    pub fn sum(
        &mut self,
        group: usize,
        (n1, n2): (u64, u64),
        reference: Reference,
        midrank: bool,
    ) -> AndersonSum {
        let own = &self.by_group[self.starts[group]..self.ends[group]];
        let mut sum = AndersonSum::new(n1, n2, midrank);
        match reference {
            Reference::Rest => self.shared.against_rest(own, &self.totals, &mut sum),
            Reference::Background if n1 + n2 <= EXACT_IN_F64 => {
                self.shared.against_reference(own, midrank, &mut sum);
            }
            Reference::Background => {
                let reference = &self.by_group[self.starts[0]..self.ends[0]];
                one_by_one(own, reference, &mut sum);
            }
        }
        sum
    }
}

/// Pushes the runs of two samples.
fn one_by_one(own: &[(u32, u32)], reference: &[(u32, u32)], sum: &mut AndersonSum) {
    let mut own = own.iter().peekable();
    for &(run, cells) in reference {
        while let Some(&(_, before)) = own.next_if(|entry| entry.0 < run) {
            sum.push(before.into(), 0);
        }
        let same = own.next_if(|entry| entry.0 == run).map_or(0, |entry| entry.1);
        sum.push(same.into(), cells.into());
    }
    own.for_each(|&(_, cells)| sum.push(cells.into(), 0));
}

impl Shared {
    fn clear(&mut self) {
        self.below.clear();
        self.twice_b.clear();
        self.cells.clear();
        self.before.clear();
        self.sums.clear();
    }

    /// The reference's runs among `all` runs.
    fn of_reference(&mut self, runs: &[(u32, u32)], all: usize, midrank: bool) {
        self.clear();
        let mut below = 0;
        for (number, &(run, cells)) in (0..).zip(runs) {
            self.before.resize(run as usize + 1, number);
            let cells = u64::from(cells);
            self.below.push(below);
            self.twice_b.push((2 * below + if midrank { cells } else { 2 * cells }) as f64);
            self.cells.push(cells as f64);
            below += cells;
        }
        self.below.push(below);
        self.before.resize(all + 1, runs.len() as u32);
        self.twice_m.clear();
        self.twice_m.resize(runs.len(), 0.0);
        self.own.clear();
        self.own.resize(runs.len(), 0.0);
    }

    fn against_reference(&mut self, own: &[(u32, u32)], midrank: bool, sum: &mut AndersonSum) {
        let (mut cells, mut next) = (0u64, 0);
        self.alone.clear();
        for &(run, c) in own {
            let c = u64::from(c);
            let at = self.before[run as usize] as usize;
            self.twice_m[next..at].fill((2 * cells) as f64);
            let twice_m = 2 * cells + if midrank { c } else { 2 * c };
            next = at;
            if self.before[run as usize + 1] as usize > at {
                self.twice_m[at] = twice_m as f64;
                self.own[at] = c as f64;
                next += 1;
            } else {
                let twice_b = 2 * self.below[at] + twice_m;
                self.alone.push((at, sum.term(twice_m, twice_b, c)));
            }
            cells += c;
        }
        self.twice_m[next..].fill((2 * cells) as f64);
        let (n1, n) = (sum.n_target(), sum.n());
        let half = if midrank { n as f64 } else { 0.0 };
        let runs = Runs { cells: &self.cells, twice_b: &self.twice_b, own: &self.own };
        self.terms.resize(self.cells.len(), 0.0);
        all_terms(&runs, &self.twice_m, (n as f64, n1 as f64, half), &mut self.terms);
        let (mut total, mut next) = (0.0, 0);
        for &(at, term) in &self.alone {
            total = self.terms[next..at].iter().fold(total, |sum, term| sum + term) + term;
            next = at;
        }
        total = self.terms[next..].iter().fold(total, |sum, term| sum + term);
        sum.add_terms((self.cells.len() + self.alone.len()) as u64, total);
        for &(run, _) in own {
            if let Some(own) = self.own.get_mut(self.before[run as usize] as usize) {
                *own = 0.0;
            }
        }
    }

    /// All runs, which every target shares.
    fn of_all(&mut self, totals: &[u64], midrank: bool) {
        self.clear();
        let n = totals.iter().sum();
        let (mut below, mut sums) = (0, [Two::default(); 3]);
        self.sums.push(sums);
        for &run in totals {
            let twice_b = 2 * below + if midrank { run } else { 2 * run };
            let spread = spread(n, twice_b, run, midrank);
            let weight = if spread > 0 { run as f64 / spread as f64 } else { 0.0 };
            let first = Two::from(weight).times(twice_b as f64);
            let terms = [Two::from(weight), first, first.times(twice_b as f64)];
            for (sum, term) in sums.iter_mut().zip(terms) {
                *sum = sum.plus(term);
            }
            self.below.push(below);
            self.twice_b.push(twice_b as f64);
            self.sums.push(sums);
            below += run;
        }
        self.below.push(below);
    }

    fn against_rest(&self, own: &[(u32, u32)], totals: &[u64], sum: &mut AndersonSum) {
        let mut next = 0;
        for &(run, cells) in own {
            let (run, cells) = (run as usize, u64::from(cells));
            self.push_stretch(next, run, totals, sum);
            sum.push(cells, totals[run] - cells);
            next = run + 1;
        }
        self.push_stretch(next, totals.len(), totals, sum);
    }

    /// Pushes the runs from `a` to `b`, of which the target has no cells.
    fn push_stretch(&self, a: usize, b: usize, totals: &[u64], sum: &mut AndersonSum) {
        if b - a < STRETCH {
            for &run in &totals[a..b] {
                sum.push(0, run);
            }
            return;
        }
        let origin = self.twice_b[a];
        let over = |k: usize| self.sums[b][k].minus(self.sums[a][k]);
        let (w, first) = (over(0), over(1));
        let s = first.minus(w.times(origin));
        let squares = over(2).minus(first.times(origin)).minus(s.times(origin));
        let (d, n1) = (sum.distance(origin as u64), sum.n_target() as f64);
        let terms = d * d * w.value() - 2.0 * d * n1 * s.value() + n1 * n1 * squares.value();
        sum.skip((b - a) as u64, self.below[b] - self.below[a], terms.max(0.0));
    }
}

/// A reference's runs, with a target's cells in them.
struct Runs<'a> {
    cells: &'a [f64],
    twice_b: &'a [f64],
    own: &'a [f64],
}

/// l (2 N M - 2 n1 B)² / (4 B (N - B) - N l) of a reference's runs; `half` is N, or 0 for the
/// right-continuous version, which has no such term.
#[multiversion(targets = "simd")]
fn all_terms(runs: &Runs, twice_m: &[f64], (n, n1, half): (f64, f64, f64), out: &mut [f64]) {
    let cells = runs.cells.iter().zip(runs.own);
    let places = runs.twice_b.iter().zip(twice_m);
    for ((out, (cells, own)), (twice_b, twice_m)) in out.iter_mut().zip(cells).zip(places) {
        let (twice_b, run) = (twice_b + twice_m, cells + own);
        let spread = twice_b * (2.0 * n - twice_b) - half * run;
        let distance = n * twice_m - n1 * twice_b;
        let term = run * (distance * distance / spread);
        // 0 / 0 in the last run of the right-continuous version.
        *out = if spread > 0.0 { term } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::anderson::Options;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_way_equals_one_run_after_the_other(
            runs in prop::collection::vec((0u64..3, 0u64..9), 1..200), scale in prop::sample::select(vec![1u64, 1000]),
            rare in 1usize..40, midrank: bool,
        ) {
            let mut lists = RunLists::default();
            let cells = |(i, &(c, r)): (usize, &(u64, u64))| (if i % rare == 0 { c } else { 0 }, r * scale);
            let runs: Vec<(u64, u64)> = runs.iter().enumerate().map(cells).filter(|(c, r)| c + r > 0).collect();
            for &(c, r) in &runs {
                let run: Vec<Group> = [(0, r), (1, c)].into_iter().filter(|group| group.1 > 0).collect();
                lists.push(&run);
            }
            let (n1, n2) = runs.iter().fold((0, 0), |(a, b), (c, r)| (a + c, b + r));
            let mut slow = AndersonSum::new(n1, n2, midrank);
            for (c, r) in runs {
                slow.push(c, r);
            }
            for reference in [Reference::Background, Reference::Rest] {
                lists.regroup(2, reference, midrank);
                for _ in 0..2 {
                    let fast = lists.sum(1, (n1, n2), reference, midrank);
                    let (got, want) = (fast.a_squared(), slow.a_squared());
                    let same = got == want || (got.is_nan() && want.is_nan());
                    // Against the rest: measured 2e-14; allow 1e-12.
                    let near = reference == Reference::Rest && (got / want - 1.0).abs() < 1e-12;
                    prop_assert!(same || near, "{got} {want}");
                    let (got, want) = (fast.test(&Options::default()), slow.test(&Options::default()));
                    prop_assert_eq!(got.map(|t| t.p.p == 1.0), want.map(|t| t.p.p == 1.0));
                }
            }
        }
    }
}
