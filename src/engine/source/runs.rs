//! The runs of equal values of every group of one gene, from sorted or weighted values.
//!
//! Runs are pushed in ascending order of value, each with the groups that it holds cells of.  A
//! counting sort by group, which keeps the order of runs, then gives every group its own
//! ([`OwnRun`]), and the reference's - or, against the rest, all - are the shared ones.
//!
//! Cost: two passes over the entries, O(groups + runs) beside.

use crate::cast::{cells, low_half, narrow, place};
use crate::stats::runs::{OwnRun, PairRuns, SharedRuns};

/// A group, and its cells in one run.
pub type GroupCells = (u32, u64);

/// The runs of one gene by group.
#[derive(Debug, Default)]
pub struct GroupRuns {
    /// (group, run, cells) in order of runs.
    pushed: Vec<(u32, u32, u32)>,
    /// Cells in each run: of all groups, or of the reference alone.
    shared_cells: Vec<u64>,
    pooled: bool,
    /// Group after group: group g's are `starts[g]..ends[g]`.
    own: Vec<OwnRun>,
    starts: Vec<usize>,
    ends: Vec<usize>,
    /// For each run, how many shared runs stand before it.
    before: Vec<u32>,
    shared: SharedRuns,
}

impl GroupRuns {
    /// Forgets all runs; `pooled` ones are shared by all groups, others are the reference's.
    pub fn start(&mut self, pooled: bool) {
        self.pushed.clear();
        self.shared_cells.clear();
        self.pooled = pooled;
    }

    /// Adds one run for each value of sorted entries (value above, group below, 32 bits each).
    pub fn push_sorted(&mut self, entries: &[u64]) {
        let mut previous = entries.first().map_or(0, |entry| !(entry >> 32));
        let pooled = self.pooled;
        for &entry in entries {
            if entry >> 32 != previous {
                previous = entry >> 32;
                self.shared_cells.push(0);
            }
            let (number, code) = (self.shared_cells.len() - 1, low_half(entry));
            self.shared_cells[number] += u64::from(pooled || code == 0);
            self.pushed.push((code, narrow(number), 1));
        }
    }

    /// Adds the next larger run.
    pub fn push(&mut self, run: &[GroupCells]) {
        let number = narrow(self.shared_cells.len());
        self.pushed.extend(run.iter().map(|&(code, count)| (code, number, cells(count))));
        let shared = run.iter().filter(|group| self.pooled || group.0 == 0);
        self.shared_cells.push(shared.map(|group| group.1).sum());
    }

    /// Regroups what was pushed.
    pub fn regroup(&mut self, groups: usize) {
        self.starts.clear();
        self.starts.resize(groups + 1, 0);
        for (code, ..) in &self.pushed {
            self.starts[place(*code) + 1] += 1;
        }
        for i in 1..self.starts.len() {
            self.starts[i] += self.starts[i - 1];
        }
        self.ends.clear();
        self.ends.extend_from_slice(&self.starts[..groups]);
        self.own.resize(self.pushed.len(), OwnRun::default());
        // First by the number of the run, so that equal ones are told from neighbours.
        for &(code, run, cells) in &self.pushed {
            let (start, end) = (self.starts[place(code)], &mut self.ends[place(code)]);
            match self.own[start..*end].last_mut() {
                Some(last) if last.place() == place(run) => last.add(cells),
                _ => {
                    self.own[*end] = OwnRun::shared(place(run), cells);
                    *end += 1;
                }
            }
        }
        self.shared.clear();
        self.before.clear();
        for &cells in &self.shared_cells {
            self.before.push(narrow(self.shared.len()));
            self.shared.push(cells);
        }
        if self.pooled {
            return;
        }
        for (&start, &end) in self.starts.iter().zip(&self.ends) {
            for run in &mut self.own[start..end] {
                let number = run.place();
                let (at, count) = (place(self.before[number]), cells(run.cells()));
                let alone = self.shared_cells[number] == 0;
                *run = if alone { OwnRun::alone(at, count) } else { OwnRun::shared(at, count) };
            }
        }
    }

    /// The runs that every target is compared with.
    pub fn shared(&self) -> &SharedRuns {
        &self.shared
    }

    /// One group and what it is compared with.
    pub fn pair(&self, group: usize, (n_target, n_reference): (u64, u64)) -> PairRuns<'_> {
        let own = &self.own[self.starts[group]..self.ends[group]];
        PairRuns { shared: &self.shared, own, n_target, n_reference, pooled: self.pooled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_group_finds_its_runs(
            runs in prop::collection::vec(prop::collection::vec(0u64..3, 4), 0..30), pooled: bool,
        ) {
            let mut found = GroupRuns::default();
            found.start(pooled);
            let runs: Vec<_> = runs.into_iter().filter(|run| run.iter().sum::<u64>() > 0).collect();
            for run in &runs {
                let groups: Vec<GroupCells> = (0..).zip(run.iter().copied()).filter(|g| g.1 > 0).collect();
                found.push(&groups);
            }
            found.regroup(4);
            for group in 1..4 {
                let other = |run: &Vec<u64>| if pooled { run.iter().sum::<u64>() - run[group] } else { run[0] };
                let want: Vec<(u64, u64)> = runs.iter().map(|run| (run[group], other(run)))
                    .filter(|(a, b)| pooled || a + b > 0).collect();
                let sizes = want.iter().fold((0, 0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
                let mut got = Vec::new();
                found.pair(group, sizes).for_each(|target, other| got.push((target, other)));
                prop_assert_eq!(got, want);
            }
        }
    }
}
