//! The cells of every group, group after group.

use crate::cast::{length, place};
use crate::matrix::SKIP;

/// The cells of every group.
#[derive(Debug)]
pub struct GroupRows {
    rows: Vec<u32>,
    /// Group g's are `starts[g]..starts[g + 1]`.
    starts: Vec<usize>,
}

impl GroupRows {
    /// Lists each group's cells, ascending.
    #[must_use]
    pub fn new(codes: &[u32], sizes: &[u64]) -> Self {
        let mut starts = vec![0; sizes.len() + 1];
        for (i, &size) in sizes.iter().enumerate() {
            starts[i + 1] = starts[i] + length(size);
        }
        let mut places = starts.clone();
        let mut rows = vec![0; starts[sizes.len()]];
        for (row, &code) in (0u32..).zip(codes) {
            if code != SKIP {
                let at = &mut places[place(code)];
                rows[*at] = row;
                *at += 1;
            }
        }
        Self { rows, starts }
    }

    /// The cells of one group.
    #[must_use]
    pub fn of(&self, code: usize) -> &[u32] {
        &self.rows[self.starts[code]..self.starts[code + 1]]
    }

    /// The number of groups.
    #[must_use]
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// The number of cells of all groups.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // a number, not a container
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}
