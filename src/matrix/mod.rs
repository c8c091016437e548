//! Borrowed views of a cells x genes matrix, and the two contracts between them and the engine.
//!
//! # The contracts
//! [`CellMajor`] views (CSR, C order) store one cell after the other, [`GeneMajor`] views (CSC,
//! Fortran order) one gene after the other. Both are generic over the type to which values widen,
//! one of four, and hide the types in which values and indices are stored. So the engine is
//! compiled for four types, not for each combination, and a layout may store arrays in any form.
//!
//! * A visit yields the stored entries, which may include zeros, in non-empty stretches of at most
//!   [`STRETCH`] entries. Places (gene or cell indices) strictly ascend, within a stretch and from
//!   one stretch to the next, and lie in the requested range. Entries that are not stored are zero.
//! * A gather collects some genes of one band of cells. [`Band::append`] then yields the non-zeros
//!   of each gene at labelled cells, in ascending order of cells. NaN counts as a non-zero.
//! * Cells labelled [`SKIP`] are left out of a gather.
//! * Views are checked when they are made. After that, no content of the arrays causes a panic or
//!   an out-of-bounds read, even if another thread changes them. Inconsistent content gives
//!   [`ErrorKind::Changed`]; stretches visited before such an error are in order.
//! * Callers must not ask for cells, genes or ranges outside the shape. If they do, debug builds
//!   panic, and release builds return an error or an empty result.
//!
//! A table of counts ([`counted::Counted`]) stands for a matrix, too: its rows are groups of cells.
//!
//! To add a layout, implement one of the traits (and `band::Rows` if cells are read by a cursor),
//! and run the suite of `conformance.rs`, which tests all of the above. [`normalised::Normalised`]
//! wraps any layout whose gathers convert values ([`normalised::GatherShares`]).
//!
//! IMPORTS `crate::error`, `crate::cast`, stats (logarithms), multiversion, rayon.

mod band;
mod block;
#[cfg(test)]
mod broken;
#[cfg(test)]
mod changed;
mod check;
mod compressed;
#[cfg(test)]
mod conformance;
pub mod counted;
mod csc;
mod csr;
mod dense;
mod index;
pub mod normalised;
mod prefetch;
pub mod value;

use crate::cast::place;
use crate::error::{ErrorKind, Result};
pub use band::Band;
pub use block::Block;
pub use check::{Checked, canonical, check};
use counted::Counted;
pub use csc::Csc;
pub use csr::Csr;
pub use dense::{ColumnMajor, RowMajor};
pub use index::{Index, Indices, Indptr};
use std::fmt;
use std::ops::Range;
pub use value::{Keyed, Stored, Value};

/// The label of a cell that is left out.
pub const SKIP: u32 = u32::MAX;
/// The most entries of one [`Stretch`]: few enough to stay in the L1 cache.
pub const STRETCH: usize = 256;

/// A non-zero value of a gene in one cell.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Entry<V> {
    pub value: V,
    /// The cell's group.
    pub code: u32,
}

/// The non-zeros of one gene.
pub type Column<V> = Vec<Entry<V>>;

/// Some stored entries of one cell (or gene). `places` are gene (or cell) indices, strictly
/// ascending, as many as there are `values`. Values may include zeros.
///
/// Measured: a consumer that scatters entries into a table is fastest if it processes a stretch 64
/// entries at a time, so that scattering some overlaps with reading the next, and if its closure
/// captures slices rather than vectors.
#[derive(Debug, Clone, Copy)]
pub struct Stretch<'a, V> {
    pub places: &'a [u32],
    pub values: &'a [V],
}

/// A matrix that stores one cell after the other.
pub trait CellMajor<V: Value>: Sync {
    /// The numbers of cells and genes.
    fn shape(&self) -> (usize, usize);

    /// The number of stored entries, a measure of the work.
    fn entries(&self) -> usize;

    /// Visits the stored entries of one cell in a range of genes; places are genes, ascending.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`].
    fn visit_cell(
        &self,
        cell: usize,
        genes: Range<usize>,
        visit: &mut dyn FnMut(Stretch<'_, V>),
    ) -> Result<()>;

    /// The number of bands. A band is a range of cells; bands are gathered independently, in
    /// parallel, and together cover all cells in ascending order.
    fn bands(&self) -> usize;

    /// Gathers the entries of a block of genes in one band. `labels` has one group code per cell of
    /// the matrix, or [`SKIP`].
    ///
    /// # Errors
    /// [`ErrorKind::Changed`], or [`ErrorKind::ShapeMismatch`] if there is not one label per cell
    /// or the block has genes beyond the matrix.
    fn gather(&self, band: usize, block: &Block, labels: &[u32], into: &mut Band<V>) -> Result<()>;
}

/// A matrix that stores one gene after the other.
pub trait GeneMajor<V: Value>: Sync {
    /// The numbers of cells and genes.
    fn shape(&self) -> (usize, usize);

    /// The number of stored entries, a measure of the work.
    fn entries(&self) -> usize;

    /// Visits the stored entries of one gene; places are cells, ascending.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`].
    fn visit_gene(&self, gene: usize, visit: &mut dyn FnMut(Stretch<'_, V>)) -> Result<()>;

    /// Appends evenly spaced stored values of the gene to `out`: all of them if there are at most
    /// `most`, otherwise at least half of `most` and at most `most`.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`].
    fn sample_gene(&self, gene: usize, most: usize, out: &mut Vec<V>) -> Result<()>;

    /// The number of stored entries of the gene.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`].
    fn gene_entries(&self, gene: usize) -> Result<usize>;
}

/// A matrix stored in either order, or a table of counts.
pub enum View<'a, V> {
    Cells(Box<dyn CellMajor<V> + 'a>),
    Genes(Box<dyn GeneMajor<V> + 'a>),
    Counted(Box<dyn Counted<V> + 'a>),
}

impl<'a, V: Value> View<'a, V> {
    /// A view that stores one cell after the other.
    pub fn cells(view: impl CellMajor<V> + 'a) -> Self {
        Self::Cells(Box::new(view))
    }

    /// A table of counts.
    pub fn counted(table: impl Counted<V> + 'a) -> Self {
        Self::Counted(Box::new(table))
    }

    /// A view that stores one gene after the other.
    pub fn genes(view: impl GeneMajor<V> + 'a) -> Self {
        Self::Genes(Box::new(view))
    }

    /// The numbers of cells (of a table: groups) and genes.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::Cells(view) => view.shape(),
            Self::Genes(view) => view.shape(),
            Self::Counted(view) => view.shape(),
        }
    }

    /// The number of stored entries.
    #[must_use]
    pub fn entries(&self) -> usize {
        match self {
            Self::Cells(view) => view.entries(),
            Self::Genes(view) => view.entries(),
            Self::Counted(view) => view.entries(),
        }
    }
}

impl<V: Value> fmt::Debug for View<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Cells(_) => "View::Cells",
            Self::Genes(_) => "View::Genes",
            Self::Counted(_) => "View::Counted",
        };
        f.debug_struct(name).field("shape", &self.shape()).finish_non_exhaustive()
    }
}

/// Appends the non-zero values whose label is not [`SKIP`], from pairs of value and label.
#[inline]
pub(crate) fn append_non_zeros<V: Value>(
    out: &mut Column<V>,
    pairs: impl ExactSizeIterator<Item = (V, u32)>,
) {
    let mut end = out.len();
    out.resize(end + pairs.len(), Entry::default());
    // Always write, and advance only past entries to keep: no branch to mispredict on sparse data.
    for (value, code) in pairs {
        if let Some(entry) = out.get_mut(end) {
            *entry = Entry { value, code };
        }
        end += usize::from(!value.is_zero() && code != SKIP);
    }
    out.truncate(end);
}

/// Appends the non-zeros of one gene at labelled cells, in ascending order of cells. Cells labelled
/// [`SKIP`], or beyond the end of `labels`, are left out.
///
/// # Errors
/// [`ErrorKind::Changed`].
pub fn append_gene<V: Value>(
    view: &dyn GeneMajor<V>,
    gene: usize,
    labels: &[u32],
    out: &mut Column<V>,
) -> Result<()> {
    view.visit_gene(gene, &mut |stretch| {
        let codes = stretch.places.iter().map(|&cell| labels.get(place(cell)).copied());
        let pairs = stretch.values.iter().copied().zip(codes.map(|code| code.unwrap_or(SKIP)));
        append_non_zeros(out, pairs);
    })
}

/// Converts a range and its limit to u32. The caller guarantees that the range ends at or below
/// `limit`; [`check::check_shape`] guarantees that `limit` fits.
fn clamped(range: Range<usize>, limit: usize) -> (Range<u32>, u32) {
    debug_assert!(range.start <= range.end && range.end <= limit, "{range:?} of {limit}");
    let place = |i: usize| u32::try_from(i.min(limit)).unwrap_or(u32::MAX);
    (place(range.start)..place(range.end), place(limit))
}

/// True if the numbers strictly ascend.
#[allow(clippy::needless_bitwise_bool)] // no branches, so that the loop vectorizes
#[inline]
fn ascending<T: Ord>(numbers: &[T]) -> bool {
    numbers.windows(2).fold(true, |all, pair| all & (pair[0] < pair[1]))
}

/// Fails unless the block and the labels fit a matrix of this shape.
fn check_block(block: &Block, shape: (usize, usize), labels: &[u32]) -> Result<()> {
    if labels.len() != shape.0 {
        let (expected, got) = (shape.0, labels.len());
        return Err(ErrorKind::ShapeMismatch { what: "labels", expected, got }.into());
    }
    if block.end() > shape.1 {
        let (expected, got) = (shape.1, block.end());
        return Err(ErrorKind::ShapeMismatch { what: "genes of a block", expected, got }.into());
    }
    Ok(())
}

/// Appends at most `most` of the values, evenly spaced.
fn sample<S: Stored>(stored: &[S], most: usize, out: &mut Vec<S::Value>) {
    let step = stored.len().div_ceil(most.max(1)).max(1);
    out.extend(stored.iter().step_by(step).take(most).map(|value| value.value()));
}

/// The error for a row or column `outer` that has changed since the arrays were checked.
fn changed<T>(outer: usize) -> Result<T> {
    Err(ErrorKind::Changed { outer }.into())
}
