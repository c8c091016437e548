//! Borrowed views of a cells x genes matrix, and the one contract they share.
//!
//! # The contract
//! A sweep over genes asks a view for blocks of genes.  Gene-major views (CSC, Fortran order) have
//! no *bands* and answer [`Matrix::column`] at once.  Row-major ones (CSR, C order) are first
//! asked to [`Matrix::load`] each band of rows, which may run in parallel, and gather the block's
//! entries there, gene by gene.
//!
//! * `column` appends the non-zero values of one gene at labelled rows, rows ascending, each with
//!   its row's label.  Zeros, stored or not, never appear; NaN does.
//! * Rows labelled [`SKIP`] do not exist.
//! * Views are checked when they are made: after that no content of the arrays can cause a panic
//!   or a read out of bounds, even if another thread changes them meanwhile.
//!
//! `conformance.rs` states the contract as a suite that every view passes.
//!
//! IMPORTS `crate::error`.

#[cfg(test)]
mod conformance;
pub mod csc;
pub mod csr;
pub mod dense;
mod prefetch;
pub mod value;

use crate::error::Result;
pub use csc::Csc;
pub use csr::Csr;
pub use dense::{ColumnMajor, RowMajor};
use std::ops::Range;
pub use value::{Stored, Value};

/// The label of a row that takes no part.
pub const SKIP: u32 = u32::MAX;

/// Genes that are visited together: some of the columns `first ..= last`, ascending.
#[derive(Debug, Clone)]
pub struct Block<'a> {
    /// The genes, ascending and distinct; never empty.
    pub genes: &'a [u32],
    /// For each column from the first gene to the last, its place in `genes` or [`SKIP`].
    slots: Vec<u32>,
}

impl<'a> Block<'a> {
    /// The block of `genes`, ascending and distinct; `None` where there are none.
    #[must_use]
    pub fn new(genes: &'a [u32]) -> Option<Self> {
        let (first, last) = (*genes.first()?, *genes.last()?);
        let mut slots = vec![SKIP; (last - first) as usize + 1];
        for (slot, gene) in (0..).zip(genes) {
            slots[(gene - first) as usize] = slot;
        }
        Some(Self { genes, slots })
    }

    /// The first column.
    #[must_use]
    pub fn first(&self) -> usize {
        self.genes[0] as usize
    }

    /// One past the last column.
    #[must_use]
    pub fn end(&self) -> usize {
        self.first() + self.slots.len()
    }

    /// Whether every column from `first` to `end` is asked for.
    fn is_whole(&self) -> bool {
        self.genes.len() == self.slots.len()
    }

    /// The place in `genes` of the column `first + offset`; `None` where it is not asked for.
    #[inline]
    fn slot(&self, offset: usize) -> Option<usize> {
        self.slots.get(offset).filter(|&&slot| slot != SKIP).map(|&s| s as usize)
    }
}

/// One cell of a gene whose value is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Entry<V> {
    pub value: V,
    /// The cell's group.
    pub code: u32,
}

/// The non-zeros of one gene.
pub type Column<V> = Vec<Entry<V>>;

/// Appends the non-zeros among pairs of value and label whose label is not [`SKIP`].
#[inline]
fn extend<V: Value>(out: &mut Column<V>, pairs: impl ExactSizeIterator<Item = (V, u32)>) {
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

/// Visits pairs of gene and value with the value's count; counts are found several at a time.
#[inline]
fn visit_counts<G: Copy, S: Stored>(
    genes: impl Fn(usize) -> Option<G>,
    values: &[S],
    mut visit: impl FnMut(G, u32, S::Value),
) {
    let mut counts = [0; 64];
    for (number, values) in values.chunks(counts.len()).enumerate() {
        counts.iter_mut().zip(values).for_each(|(count, value)| *count = value.value().count());
        for (i, (&count, value)) in counts.iter().zip(values).enumerate() {
            if let Some(gene) = genes(number * counts.len() + i) {
                visit(gene, count, value.value());
            }
        }
    }
}

/// A cells x genes matrix; the module's header has the contract.
pub trait Matrix: Sync {
    /// What the stored elements widen to.
    type Value: Value;
    /// What one band of rows keeps from load to load; made by `default` for a sweep.
    type Band: Default + Send + Sync;

    /// Cells (rows) and genes (columns).
    fn shape(&self) -> (usize, usize);

    /// How many entries are stored: a measure of the work.
    fn entries(&self) -> usize;

    /// The number of bands of rows to load for each block; 0 for gene-major views.
    fn bands(&self) -> usize;

    /// Gathers the block's entries of one band of rows.
    ///
    /// # Errors
    /// Where the arrays changed since the view was made.
    fn load(
        &self,
        band: usize,
        block: &Block,
        labels: &[u32],
        state: &mut Self::Band,
    ) -> Result<()>;

    /// Appends the non-zeros of the block's gene number `slot`; `bands` are loaded for this block.
    ///
    /// # Errors
    /// Where the arrays changed since the view was made.
    fn column(
        &self,
        bands: &[Self::Band],
        block: &Block,
        slot: usize,
        labels: &[u32],
        out: &mut Column<Self::Value>,
    ) -> Result<()>;

    /// Visits what row-major views store of one cell in a range of genes, ascending: gene, the value
    /// as a [`Value::count`], and the value, zeros among them.  Gene-major views have no bands and
    /// visit nothing.
    fn visit_row(
        &self,
        row: usize,
        genes: Range<usize>,
        visit: impl FnMut(usize, u32, Self::Value),
    ) {
        let _ = (row, genes, visit);
    }

    /// Visits what gene-major views store of one gene: each cell's label and value, zeros and cells
    /// of the label [`SKIP`] among them.  Row-major views visit nothing.
    fn visit_column(&self, gene: usize, labels: &[u32], visit: impl FnMut(u32, Self::Value)) {
        let _ = (gene, labels, visit);
    }

    /// What gene-major views store of one gene; nothing of row-major ones.
    fn stored_column(&self, gene: usize) -> &[Self::Stored] {
        let _ = gene;
        &[]
    }

    /// What the arrays hold.
    type Stored: Stored<Value = Self::Value>;

    /// The stored values, in no order that means anything.
    fn stored(&self) -> &[Self::Stored];

    /// The first place, by cell and then gene, whose (cell, gene, stored value) is `wanted`.
    fn first(&self, wanted: &dyn Fn(usize, usize, Self::Value) -> bool) -> Option<(usize, usize)>;
}
