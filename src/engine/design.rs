//! Which cells are compared with which.
//!
//! Every cell carries a *code*: 0 is the background, 1 ..= k are the targets that are reported,
//! [`SKIP`] takes no part.  Against the rest code 0
//! holds every labelled cell that is not reported by itself.
//!
//! Cells may be in strata, and are compared within theirs.  Then code c of stratum h counts as
//! h (k + 1) + c, so that a strip of k + 1 codes is one stratum's groups.

use crate::cast::{narrow, place};
use crate::error::{ErrorKind, Result};
use crate::matrix::SKIP;
use crate::stats::MAX_CELLS;

/// What a target is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// The cells of code 0.
    Group,
    /// All cells of other codes.
    Rest,
}

/// The cells' codes and the groups' sizes.
#[derive(Debug, Clone)]
pub struct Design {
    codes: Vec<u32>,
    /// How many cells each code stands for; one each where absent.
    weights: Option<Vec<u64>>,
    sizes: Vec<u64>,
    /// The sizes of each stratum's groups, one stratum after the other, where there are strata.
    strata: Option<Vec<u64>>,
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
    /// let design = Design::new(vec![0, 1, SKIP, 1], 1, Reference::Group)?;
    /// assert_eq!(design.sizes(), [1, 2]);
    /// # Ok::<(), pdex::error::Error>(())
    /// ```
    pub fn new(codes: Vec<u32>, n_targets: usize, reference: Reference) -> Result<Self> {
        Self::of(codes, None, n_targets, reference)
    }

    /// A design of groups of cells: one code a group, which has so many cells.
    ///
    /// # Errors
    /// As [`Design::new`], and [`ErrorKind::ShapeMismatch`] for another number of groups.
    ///
    /// # Examples
    /// ```
    /// use pdex::{engine::design::{Design, Reference}, matrix::SKIP};
    /// let design = Design::of_groups(vec![0, 1, SKIP, 1], vec![9, 2, 3, 4], 1, Reference::Group)?;
    /// assert_eq!((design.sizes(), design.cells()), (&[9, 6][..], 15));
    /// # Ok::<(), pdex::error::Error>(())
    /// ```
    pub fn of_groups(
        codes: Vec<u32>,
        cells: Vec<u64>,
        n_targets: usize,
        reference: Reference,
    ) -> Result<Self> {
        let (expected, got) = (codes.len(), cells.len());
        if expected != got {
            return Err(ErrorKind::ShapeMismatch { what: "groups of cells", expected, got }.into());
        }
        Self::of(codes, Some(cells), n_targets, reference)
    }

    fn of(
        codes: Vec<u32>,
        weights: Option<Vec<u64>>,
        n_targets: usize,
        reference: Reference,
    ) -> Result<Self> {
        let mut sizes: Vec<u64> = vec![0; n_targets + 1];
        for (cell, &code) in codes.iter().enumerate() {
            match sizes.get_mut(place(code)) {
                Some(size) => *size = size.saturating_add(weight(weights.as_deref(), cell)),
                None if code == SKIP => {}
                None => {
                    let n_groups = n_targets + 1;
                    return Err(ErrorKind::UnknownCode { cell, code, n_groups }.into());
                }
            }
        }
        let cells: u128 = sizes.iter().map(|&size| u128::from(size)).sum();
        match u64::try_from(cells) {
            Ok(cells) if cells <= MAX_CELLS => {
                Ok(Self { codes, weights, sizes, strata: None, cells, reference })
            }
            _ => Err(ErrorKind::TooManyCells { got: cells, limit: MAX_CELLS }.into()),
        }
    }

    /// The design with one stratum a cell; a cell of stratum [`SKIP`] takes no part.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] for another number of cells, [`ErrorKind::UnknownStratum`], [`ErrorKind::TooManyStrata`].
    ///
    /// # Examples
    /// ```
    /// use pdex::{engine::design::{Design, Reference}, matrix::SKIP};
    /// let design = Design::new(vec![0, 1, 1, 0], 1, Reference::Group)?;
    /// let design = design.stratified(&[0, 0, 1, SKIP], 2)?;
    /// assert_eq!(design.codes(), [0, 1, 3, SKIP]);
    /// assert_eq!((design.sizes(), design.strata()), (&[1, 2][..], Some(&[1, 1, 0, 1][..])));
    /// # Ok::<(), pdex::error::Error>(())
    /// ```
    pub fn stratified(mut self, strata: &[u32], n_strata: usize) -> Result<Self> {
        let groups = self.sizes.len();
        let (expected, got) = (self.codes.len(), strata.len());
        if expected != got {
            return Err(ErrorKind::ShapeMismatch { what: "strata", expected, got }.into());
        }
        check_strata(groups, n_strata)?;
        let mut sizes = vec![0; groups * n_strata];
        self.sizes.fill(0);
        for (cell, (code, &stratum)) in self.codes.iter_mut().zip(strata).enumerate() {
            if *code == SKIP || stratum == SKIP {
                *code = SKIP;
                continue;
            }
            if place(stratum) >= n_strata {
                return Err(ErrorKind::UnknownStratum { cell, stratum, n_strata }.into());
            }
            let n = weight(self.weights.as_deref(), cell);
            self.sizes[place(*code)] += n;
            *code += stratum * narrow(groups);
            sizes[place(*code)] += n;
        }
        self.cells = self.sizes.iter().sum();
        self.strata = Some(sizes);
        Ok(self)
    }

    /// The same design of groups of cells, by their codes and numbers of cells.
    #[cfg(test)]
    pub(super) fn regrouped(&self, codes: Vec<u32>, cells: Vec<u64>) -> Self {
        Self { codes, weights: Some(cells), ..self.clone() }
    }

    /// True if codes stand for groups of cells.
    #[must_use]
    pub fn is_of_groups(&self) -> bool {
        self.weights.is_some()
    }

    /// One code a cell.
    #[must_use]
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// The number of cells of each group; the reference first.
    #[must_use]
    pub fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// The number of cells of each stratum's groups, one stratum after the other, where there are
    /// strata.
    #[must_use]
    pub fn strata(&self) -> Option<&[u64]> {
        self.strata.as_deref()
    }

    /// The number of cells of each code.
    #[must_use]
    pub fn code_sizes(&self) -> &[u64] {
        self.strata().unwrap_or(&self.sizes)
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

    /// Numbers of cells in target `t` (0-based) and in the group it is compared with.
    #[must_use]
    pub fn pair(&self, t: usize) -> (u64, u64) {
        pair(&self.sizes, self.cells, self.reference, t)
    }
}

/// How many cells code number `i` stands for.
fn weight(weights: Option<&[u64]>, i: usize) -> u64 {
    weights.map_or(1, |weights| weights[i])
}

/// Numbers of one gene's strata and groups that are counted apart.
const MAX_STRATA: usize = 1 << 24;

/// # Errors
/// [`ErrorKind::TooManyStrata`] where each stratum of each group cannot be counted apart.
pub fn check_strata(groups: usize, strata: usize) -> Result<()> {
    if groups.checked_mul(strata).is_none_or(|codes| codes > MAX_STRATA) {
        return Err(ErrorKind::TooManyStrata { groups, strata, limit: MAX_STRATA }.into());
    }
    Ok(())
}

/// Numbers of cells in target `t` (0-based) and in the group it is compared with, of groups of `cells`
/// cells together.
#[must_use]
pub fn pair(sizes: &[u64], cells: u64, reference: Reference, t: usize) -> (u64, u64) {
    let target = sizes[t + 1];
    match reference {
        Reference::Group => (target, sizes[0]),
        Reference::Rest => (target, cells - target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_both_references() {
        let codes = vec![0, 0, 1, 2, 2, 2, SKIP];
        let design = Design::new(codes.clone(), 2, Reference::Group).unwrap();
        assert_eq!((design.pair(0), design.pair(1)), ((1, 2), (3, 2)));
        let design = Design::new(codes.clone(), 2, Reference::Rest).unwrap();
        assert_eq!((design.pair(0), design.pair(1)), ((1, 5), (3, 3)));
        assert!(matches!(
            Design::new(codes, 1, Reference::Rest).unwrap_err().kind(),
            ErrorKind::UnknownCode { cell: 3, code: 2, n_groups: 2 }
        ));
    }

    #[test]
    fn strata_of_other_cells_or_beyond_their_number_are_errors() {
        let design = Design::new(vec![0, 1, SKIP], 1, Reference::Group).unwrap();
        let error = |strata: &[u32], n| {
            let error = design.clone().stratified(strata, n).unwrap_err();
            error.kind().clone()
        };
        let (expected, got) = (3, 2);
        assert_eq!(error(&[0, 0], 1), ErrorKind::ShapeMismatch { what: "strata", expected, got });
        let (cell, stratum, n_strata) = (1, 2, 2);
        assert_eq!(error(&[0, 2, 0], 2), ErrorKind::UnknownStratum { cell, stratum, n_strata });
        let (groups, strata, limit) = (2, 1 << 24, 1 << 24);
        assert_eq!(error(&[0, 0, 0], 1 << 24), ErrorKind::TooManyStrata { groups, strata, limit });
        // Cells that take no part may have any stratum.
        assert_eq!(design.stratified(&[1, SKIP, 9], 2).unwrap().cells(), 1);
    }
}
