//! Compressed sparse columns (CSC): the entries of each gene are contiguous.

use super::changed;
use super::check::Checked;
#[cfg(any(test, feature = "testing"))]
use super::check::check;
use super::compressed::Compressed;
use super::index::{Indices, Indptr, with_indices};
use super::{GeneMajor, Stored, Stretch, clamped, sample};
use crate::error::Result;

/// A CSC view of checked arrays. The indices of each column strictly ascend: a row that occurred
/// twice in a column would be counted as two cells.
#[derive(Debug, Clone, Copy)]
pub struct Csc<'a, S> {
    shape: (usize, usize),
    values: &'a [S],
    indices: Indices<'a>,
    indptr: Indptr<'a>,
    entries: usize,
}

impl<'a, S: Stored> Csc<'a, S> {
    /// Checks the arrays of a cells x genes matrix, on the current rayon pool, and makes a view.
    ///
    /// # Errors
    /// Those of [`check`], and [`crate::error::ErrorKind::Unsorted`]; [`super::canonical`] makes a
    /// sorted copy.
    ///
    /// # Examples
    /// ```
    /// use pdex::matrix::{Csc, GeneMajor};
    /// let view = Csc::new((3, 2), &[1u8, 2, 3], &[0i32, 2, 1], &[0i64, 2, 3])?;
    /// let mut cells = Vec::new();
    /// view.visit_gene(0, &mut |stretch| cells.extend_from_slice(stretch.places))?;
    /// assert_eq!(cells, [0, 2]);
    /// # Ok::<(), pdex::error::Error>(())
    /// ```
    #[cfg(any(test, feature = "testing"))]
    pub fn new(
        shape: (usize, usize),
        values: &'a [S],
        indices: impl Into<Indices<'a>>,
        indptr: impl Into<Indptr<'a>>,
    ) -> Result<Self> {
        let (indices, indptr) = (indices.into(), indptr.into());
        let checked = check(shape.1, shape.0, values.len(), indices, indptr)?;
        Self::from_checked(&checked, values, indices, indptr)
    }

    /// A view of arrays that were checked before. Only their lengths are compared.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::ShapeMismatch`] or [`crate::error::ErrorKind::Unsorted`].
    pub fn from_checked(
        checked: &Checked,
        values: &'a [S],
        indices: impl Into<Indices<'a>>,
        indptr: impl Into<Indptr<'a>>,
    ) -> Result<Self> {
        let (indices, indptr) = (indices.into(), indptr.into());
        checked.require(values.len(), &indices, &indptr)?;
        let (genes, cells) = checked.shape();
        Ok(Self { shape: (cells, genes), values, indices, indptr, entries: checked.entries() })
    }

    /// The stored values of one gene.
    fn stored(&self, gene: usize) -> Result<&'a [S]> {
        match self.indptr.range(gene).and_then(|range| self.values.get(range)) {
            Some(values) => Ok(values),
            None => changed(gene),
        }
    }
}

impl<S: Stored> GeneMajor<S::Value> for Csc<'_, S> {
    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn entries(&self) -> usize {
        self.entries
    }

    fn visit_gene(&self, gene: usize, visit: &mut dyn FnMut(Stretch<'_, S::Value>)) -> Result<()> {
        let (cells, n_cells) = clamped(0..self.shape.0, self.shape.0);
        let (values, indptr) = (self.values, self.indptr);
        with_indices!(self.indices, indices => {
            Compressed { values, indices, indptr }.visit(gene, cells, n_cells, visit)
        })
    }

    fn sample_gene(&self, gene: usize, most: usize, out: &mut Vec<S::Value>) -> Result<()> {
        sample(self.stored(gene)?, most, out);
        Ok(())
    }

    fn gene_entries(&self, gene: usize) -> Result<usize> {
        Ok(self.stored(gene)?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::conformance::{Case, Sample, Whole, suite};

    fn view<S: Sample, I: Whole, P: Whole>(case: &Case) -> Csc<'static, S>
    where
        Indices<'static>: From<&'static [I]>,
        Indptr<'static>: From<&'static [P]>,
    {
        let (values, indices, indptr) = case.compressed::<S, I, P>(true);
        Csc::new(case.shape(), values, indices, indptr).unwrap()
    }

    suite!(u8_values, u8, genes, |case| view::<u8, u16, i64>(case));
    suite!(f32_values, f32, genes, |case| view::<f32, i32, i32>(case));
    suite!(f64_values, f64, genes, |case| view::<f64, i64, i64>(case));
    suite!(i64_values, i64, genes, |case| view::<i64, i64, i32>(case));
    suite!(u64_values, u64, genes, |case| view::<u64, i32, i64>(case));
}
