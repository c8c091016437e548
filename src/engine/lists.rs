//! The Anderson-Darling sums of one gene: each target's runs beside the background's.

use super::design::Reference;
use super::sorted::Group;
use crate::stats::anderson::AndersonSum;

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
}

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

    /// Pushes every run that `group` or what it is compared with enters.
    pub fn walk(&self, group: usize, reference: Reference, sum: &mut AndersonSum) {
        let mut own = self.of(group).iter().peekable();
        if reference == Reference::Rest {
            for (run, &total) in (0..).zip(&self.totals) {
                let cells = own.next_if(|entry| entry.0 == run).map_or(0, |entry| entry.1);
                sum.push(cells, total - cells);
            }
            return;
        }
        for &(run, cells) in self.of(0) {
            while let Some(&(_, before)) = own.next_if(|entry| entry.0 < run) {
                sum.push(before, 0);
            }
            let same = own.next_if(|entry| entry.0 == run).map_or(0, |entry| entry.1);
            sum.push(same, cells);
        }
        own.for_each(|&(_, cells)| sum.push(cells, 0));
    }
}
