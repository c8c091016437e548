//! Borrowed views of a cells x genes matrix, and the two contracts between them and the engine.
//!
//! # The contracts
//! [`CellMajor`] views (CSR, C order) store one cell after the other, [`GeneMajor`] ones (CSC, Fortran
//! order) one gene after the other.  Both are generic over the type that values widen to, of which
//! there are four, and hide in which types values and indices are stored: the engine is compiled
//! for four types, not for each combination, and a layout may pack its arrays as it likes.
//!
//! * A visit yields what is stored, zeros among it, in stretches of at most [`STRETCH`] entries, never
//!   empty: places strictly ascend, in a stretch and from one to the next, and lie in the range that
//!   was asked for.  What is not stored is zero.
//! * A gather collects some genes of one band of cells; [`Band::append`] then yields each gene's
//!   non-zeros at labelled cells, cells ascending.  NaN is no zero.
//! * Cells labelled [`SKIP`] take no part in a gather.
//! * Views are checked when they are made.  After that no content of the arrays causes a panic or a
//!   read out of bounds, even if another thread changes them: what makes no sense any more is
//!   [`ErrorKind::Changed`].  Stretches visited before such an error were in order.
//! * Cells, genes and ranges beyond the shape are the caller's mistake: `debug_assert!` says so, and in
//!   release the answer is an error or empty.
//!
//! To add a layout, implement one of the traits (and `band::Rows`, where cells are read by a cursor),
//! and invoke the suite of `conformance.rs`, which states all this as tests.
//!
//! IMPORTS `crate::error`, `crate::cast`, rayon.

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
mod csc;
mod csr;
mod dense;
mod index;
mod prefetch;
pub mod value;

use crate::cast::place;
use crate::error::{ErrorKind, Result};
pub use band::Band;
pub use block::Block;
pub use check::{Checked, canonical, check};
pub use csc::Csc;
pub use csr::Csr;
pub use dense::{ColumnMajor, RowMajor};
pub use index::{Index, Indices, Indptr};
use std::fmt;
use std::ops::Range;
pub use value::{Stored, Value};

/// The label of a cell that takes no part.
pub const SKIP: u32 = u32::MAX;
/// Entries of one [`Stretch`] at the most: few enough to stay in a core's first cache.
pub const STRETCH: usize = 256;

/// One cell of a gene whose value is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Entry<V> {
    pub value: V,
    /// The cell's group.
    pub code: u32,
}

/// The non-zeros of one gene.
pub type Column<V> = Vec<Entry<V>>;

/// Some stored entries of one cell (or one gene): `places` are genes (or cells), strictly ascending and
/// as many as `values`; zeros may be among the values.
///
/// Measured: a consumer that scatters entries into a table is fastest when it goes through a stretch 64
/// at a time, so that the scattering of some overlaps with the reading of the next, and takes what it
/// captures as slices first.
#[derive(Debug, Clone, Copy)]
pub struct Stretch<'a, V> {
    pub places: &'a [u32],
    pub values: &'a [V],
}

/// A matrix that stores one cell after the other.
pub trait CellMajor<V: Value>: Sync {
    /// Cells and genes.
    fn shape(&self) -> (usize, usize);

    /// How many entries are stored: a measure of the work.
    fn entries(&self) -> usize;

    /// Visits what is stored of one cell in a range of genes, ascending.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`].
    fn visit_cell(
        &self,
        cell: usize,
        genes: Range<usize>,
        visit: &mut dyn FnMut(Stretch<'_, V>),
    ) -> Result<()>;

    /// The number of bands of cells that are gathered apart (in parallel) for each block of genes;
    /// together they are all cells, ascending.
    fn bands(&self) -> usize;

    /// Gathers the block's entries of one band.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`], or [`ErrorKind::ShapeMismatch`] for labels of other than all cells or a
    /// block of other genes.
    fn gather(&self, band: usize, block: &Block, labels: &[u32], into: &mut Band<V>) -> Result<()>;
}

/// A matrix that stores one gene after the other.
pub trait GeneMajor<V: Value>: Sync {
    /// Cells and genes.
    fn shape(&self) -> (usize, usize);

    /// How many entries are stored: a measure of the work.
    fn entries(&self) -> usize;

    /// Visits what is stored of one gene; places are cells, ascending.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`].
    fn visit_gene(&self, gene: usize, visit: &mut dyn FnMut(Stretch<'_, V>)) -> Result<()>;

    /// Appends up to `most` of the gene's stored values, evenly spread, to `out`: at least half as many
    /// as that, where there are.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`].
    fn sample_gene(&self, gene: usize, most: usize, out: &mut Vec<V>) -> Result<()>;

    /// How many entries of the gene are stored.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`].
    fn gene_entries(&self, gene: usize) -> Result<usize>;
}

/// A matrix in either order.
pub enum View<'a, V> {
    Cells(Box<dyn CellMajor<V> + 'a>),
    Genes(Box<dyn GeneMajor<V> + 'a>),
}

impl<'a, V: Value> View<'a, V> {
    /// A view that stores one cell after the other.
    pub fn cells(view: impl CellMajor<V> + 'a) -> Self {
        Self::Cells(Box::new(view))
    }

    /// A view that stores one gene after the other.
    pub fn genes(view: impl GeneMajor<V> + 'a) -> Self {
        Self::Genes(Box::new(view))
    }

    /// Cells and genes.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::Cells(view) => view.shape(),
            Self::Genes(view) => view.shape(),
        }
    }

    /// How many entries are stored.
    #[must_use]
    pub fn entries(&self) -> usize {
        match self {
            Self::Cells(view) => view.entries(),
            Self::Genes(view) => view.entries(),
        }
    }
}

impl<V: Value> fmt::Debug for View<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Cells(_) => "View::Cells",
            Self::Genes(_) => "View::Genes",
        };
        f.debug_struct(name).field("shape", &self.shape()).finish_non_exhaustive()
    }
}

/// Appends the non-zeros among pairs of value and label whose label is not [`SKIP`].
#[inline]
pub(crate) fn append_non_zeros<V: Value>(
    out: &mut Column<V>,
    pairs: impl ExactSizeIterator<Item = (V, u32)>,
) {
    let mut end = out.len();
    out.resize(end + pairs.len(), Entry::default());
    // Written always, kept where it counts: no branch to mispredict on sparse data.
    for (value, code) in pairs {
        if let Some(entry) = out.get_mut(end) {
            *entry = Entry { value, code };
        }
        end += usize::from(!value.is_zero() && code != SKIP);
    }
    out.truncate(end);
}

/// Appends the labelled non-zeros of one gene, in the order of cells; a cell without a label takes no
/// part.
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

/// A range that callers promise to lie below `limit`, as places, and the limit; [`check::check_shape`]
/// bounds that.
fn clamped(range: Range<usize>, limit: usize) -> (Range<u32>, u32) {
    debug_assert!(range.start <= range.end && range.end <= limit, "{range:?} of {limit}");
    let place = |i: usize| u32::try_from(i.min(limit)).unwrap_or(u32::MAX);
    (place(range.start)..place(range.end), place(limit))
}

/// Whether numbers strictly ascend.
#[allow(clippy::needless_bitwise_bool)] // without branches, several at once
#[inline]
fn ascending<T: Ord>(numbers: &[T]) -> bool {
    numbers.windows(2).fold(true, |all, pair| all & (pair[0] < pair[1]))
}

/// Whether a block and labels belong to a matrix of this shape.
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

/// Appends at most `most` of the values, evenly spread.
fn sample<S: Stored>(stored: &[S], most: usize, out: &mut Vec<S::Value>) {
    let step = stored.len().div_ceil(most.max(1)).max(1);
    out.extend(stored.iter().step_by(step).take(most).map(|value| value.value()));
}

/// The arrays changed in row or column `outer` since they were checked.
fn changed<T>(outer: usize) -> Result<T> {
    Err(ErrorKind::Changed { outer }.into())
}
