//! The Anderson-Darling sums of one gene: each target's runs beside the background's.
//!
//! Against a reference a target walks the reference's runs beside its own.  Against the rest every
//! target pools the same cells, so that l and B of each run are the same for all, and over a
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

/// The runs of one gene, regrouped so that each group's can be walked alone.
#[derive(Debug, Default)]
pub struct RunLists {
    /// (group, run, cells) in order of runs.
    pushed: Vec<(u32, u32, u64)>,
    /// Cells of all groups in each run.
    totals: Vec<u64>,
    /// (run, cells), group after group: group g's are `starts[g]..starts[g + 1]`.
    by_group: Vec<(u32, u64)>,
    starts: Vec<usize>,
    /// Cells below each run, and at the end all.
    below: Vec<u64>,
    /// For each run 2 B, against the rest.
    twice_b: Vec<u64>,
    /// Σ w, Σ 2 w B and Σ 4 w B² over the runs before each.
    before: Vec<[Two; 3]>,
}

/// Fewer runs are added one by one.
const STRETCH: usize = 6;

impl RunLists {
    /// Forgets all runs.
    pub fn clear(&mut self) {
        self.pushed.clear();
        self.totals.clear();
    }

    /// Adds the next larger run.
    pub fn push(&mut self, run: &[Group]) {
        let number = u32::try_from(self.totals.len()).unwrap_or(u32::MAX);
        self.pushed.extend(run.iter().map(|&(code, cells)| (code, number, cells)));
        self.totals.push(run.iter().map(|group| group.1).sum());
    }

    /// Regroups what was pushed: a counting sort by group, which keeps the order of runs.
    pub fn sort(&mut self, groups: usize) {
        self.starts.clear();
        self.starts.resize(groups + 2, 0);
        for (code, ..) in &self.pushed {
            self.starts[*code as usize + 2] += 1;
        }
        for i in 2..self.starts.len() {
            self.starts[i] += self.starts[i - 1];
        }
        self.by_group.resize(self.pushed.len(), (0, 0));
        for &(code, run, cells) in &self.pushed {
            let place = &mut self.starts[code as usize + 1];
            self.by_group[*place] = (run, cells);
            *place += 1;
        }
    }

    fn of(&self, group: usize) -> &[(u32, u64)] {
        &self.by_group[self.starts[group]..self.starts[group + 1]]
    }

    /// Takes the running sums that [`RunLists::walk`] needs against the rest.
    pub fn sum_up(&mut self, midrank: bool) {
        let n = self.totals.iter().sum();
        self.below.clear();
        self.twice_b.clear();
        self.before.clear();
        let (mut below, mut sums) = (0, [Two::default(); 3]);
        self.before.push(sums);
        for &run in &self.totals {
            let twice_b = 2 * below + if midrank { run } else { 2 * run };
            let spread = spread(n, twice_b, run, midrank);
            let weight = if spread > 0 { run as f64 / spread as f64 } else { 0.0 };
            let first = Two::from(weight).times(twice_b as f64);
            let terms = [Two::from(weight), first, first.times(twice_b as f64)];
            for (sum, term) in sums.iter_mut().zip(terms) {
                *sum = sum.plus(term);
            }
            self.below.push(below);
            self.twice_b.push(twice_b);
            self.before.push(sums);
            below += run;
        }
        self.below.push(below);
    }

    /// Pushes every run that `group` or what it is compared with enters.
    pub fn walk(&self, group: usize, reference: Reference, sum: &mut AndersonSum) {
        if reference == Reference::Rest {
            let mut next = 0;
            for &(run, cells) in self.of(group) {
                self.push_stretch(next, run as usize, sum);
                sum.push(cells, self.totals[run as usize] - cells);
                next = run as usize + 1;
            }
            self.push_stretch(next, self.totals.len(), sum);
            return;
        }
        let mut own = self.of(group).iter().peekable();
        for &(run, cells) in self.of(0) {
            while let Some(&(_, before)) = own.next_if(|entry| entry.0 < run) {
                sum.push(before, 0);
            }
            let same = own.next_if(|entry| entry.0 == run).map_or(0, |entry| entry.1);
            sum.push(same, cells);
        }
        own.for_each(|&(_, cells)| sum.push(cells, 0));
    }

    /// Pushes the runs from `a` to `b`, of which the target has no cells.
    fn push_stretch(&self, a: usize, b: usize, sum: &mut AndersonSum) {
        if b - a < STRETCH {
            for &run in &self.totals[a..b] {
                sum.push(0, run);
            }
            return;
        }
        let origin = self.twice_b[a] as f64;
        let over = |k: usize| self.before[b][k].minus(self.before[a][k]);
        let (w, first) = (over(0), over(1));
        let s = first.minus(w.times(origin));
        let squares = over(2).minus(first.times(origin)).minus(s.times(origin));
        let (d, n1) = (sum.distance(self.twice_b[a]), sum.n_target() as f64);
        let terms = d * d * w.value() - 2.0 * d * n1 * s.value() + n1 * n1 * squares.value();
        let cells = self.below[b] - self.below[a];
        sum.skip((b - a) as u64, cells, terms.max(0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stretches_equal_their_runs(
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
            lists.sort(2);
            lists.sum_up(midrank);
            let (n1, n2) = runs.iter().fold((0, 0), |(a, b), (c, r)| (a + c, b + r));
            let (mut fast, mut slow) = (AndersonSum::new(n1, n2, midrank), AndersonSum::new(n1, n2, midrank));
            lists.walk(1, Reference::Rest, &mut fast);
            for (c, r) in runs {
                slow.push(c, r);
            }
            let (got, want) = (fast.a_squared(), slow.a_squared());
            // Measured 2e-14; allow 1e-12.
            prop_assert!(got == want || (got / want - 1.0).abs() < 1e-12 || got.is_nan() && want.is_nan(), "{got} {want}");
        }
    }
}
