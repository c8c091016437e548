//! Which cells are compared with which.
//!
//! Every cell carries a *code*: 0 is the background, 1 ..= k are the targets that are reported,
//! [`SKIP`] takes no part.  Against a reference the background is the reference; against the rest
//! it is every labelled cell that is not reported by itself.

use crate::error::{ErrorKind, Result};
use crate::matrix::SKIP;
use crate::stats::MAX_CELLS;

/// What a target is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// The cells of code 0.
    Background,
    /// All cells of other codes.
    Rest,
}

/// The cells' codes and the groups' sizes.
#[derive(Debug, Clone)]
pub struct Design {
    codes: Vec<u32>,
    sizes: Vec<u64>,
    /// The cells of all groups.
    cells: u64,
    reference: Reference,
}

impl Design {
    /// A design of `n_targets` targets from one code a cell.
    ///
    /// # Errors
    /// A code above `n_targets` that is not [`SKIP`], or more cells than are counted exactly.
    ///
    /// # Examples
    /// ```
    /// use pdex::{engine::design::{Design, Reference}, matrix::SKIP};
    /// let design = Design::new(vec![0, 1, SKIP, 1], 1, Reference::Background)?;
    /// assert_eq!(design.sizes(), [1, 2]);
    /// # Ok::<(), pdex::error::Error>(())
    /// ```
    pub fn new(codes: Vec<u32>, n_targets: usize, reference: Reference) -> Result<Self> {
        let mut sizes = vec![0; n_targets + 1];
        for (row, &code) in codes.iter().enumerate() {
            match sizes.get_mut(code as usize) {
                Some(size) => *size += 1,
                None if code == SKIP => {}
                None => {
                    let (index, limit) = (i64::from(code), n_targets + 1);
                    return Err(ErrorKind::IndexOutOfRange { outer: row, index, limit }.into());
                }
            }
        }
        let cells: u64 = sizes.iter().sum();
        if cells > MAX_CELLS {
            return Err(ErrorKind::TooManyCells { got: cells.into(), limit: MAX_CELLS }.into());
        }
        Ok(Self { codes, sizes, cells, reference })
    }

    /// One code a cell.
    #[must_use]
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// The number of cells of each code; the background first.
    #[must_use]
    pub fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// The number of cells of all groups.
    #[must_use]
    pub fn cells(&self) -> u64 {
        self.cells
    }

    /// What targets are compared with.
    #[must_use]
    pub fn reference(&self) -> Reference {
        self.reference
    }

    /// The number of reported groups.
    #[must_use]
    pub fn n_targets(&self) -> usize {
        self.sizes.len() - 1
    }

    /// The sizes of target `t` (0-based) and of what it is compared with.
    #[must_use]
    pub fn pair(&self, t: usize) -> (u64, u64) {
        pair(&self.sizes, self.cells, self.reference, t)
    }
}

/// The sizes of target `t` (0-based) and of what it is compared with, of groups of `cells` cells
/// together.
#[must_use]
pub fn pair(sizes: &[u64], cells: u64, reference: Reference, t: usize) -> (u64, u64) {
    let target = sizes[t + 1];
    match reference {
        Reference::Background => (target, sizes[0]),
        Reference::Rest => (target, cells - target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_both_references() {
        let codes = vec![0, 0, 1, 2, 2, 2, SKIP];
        let design = Design::new(codes.clone(), 2, Reference::Background).unwrap();
        assert_eq!((design.pair(0), design.pair(1)), ((1, 2), (3, 2)));
        let design = Design::new(codes.clone(), 2, Reference::Rest).unwrap();
        assert_eq!((design.pair(0), design.pair(1)), ((1, 5), (3, 3)));
        assert!(matches!(
            Design::new(codes, 1, Reference::Rest).unwrap_err().kind(),
            ErrorKind::IndexOutOfRange { outer: 3, index: 2, limit: 2 }
        ));
    }
}
