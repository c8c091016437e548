//! Compressed sparse columns: each gene's entries lie together.

use super::csr::{Index, Order, check, check_lengths, used};
use super::{Block, Column, Matrix, SKIP, Stored, Value, extend};
use crate::error::Result;

/// A checked CSC view whose columns' indices ascend.
#[derive(Debug, Clone, Copy)]
pub struct Csc<'a, S, I, P> {
    shape: (usize, usize),
    values: &'a [S],
    indices: &'a [I],
    indptr: &'a [P],
}

impl<'a, S: Stored, I: Index, P: Index> Csc<'a, S, I, P> {
    /// A view of cells x genes arrays, and whether its indices are in order; a row that occurs
    /// twice in a column would count as two cells: mend that first.
    ///
    /// # Errors
    /// Those of [`check`].
    pub fn new(
        shape: (usize, usize),
        values: &'a [S],
        indices: &'a [I],
        indptr: &'a [P],
    ) -> Result<(Self, Order)> {
        let order = check(shape.1, shape.0, values.len(), indices, indptr)?;
        Ok((Self { shape, values: used(values, indptr), indices, indptr }, order))
    }

    /// A view of arrays that were checked before; only their lengths are looked at again.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`].
    pub fn checked(
        shape: (usize, usize),
        values: &'a [S],
        indices: &'a [I],
        indptr: &'a [P],
    ) -> Result<Self> {
        check_lengths(shape.1, values.len(), indices.len(), indptr.len())?;
        Ok(Self { shape, values: used(values, indptr), indices, indptr })
    }
}

/// The label of a row; [`SKIP`] where a changed index is none any more.
#[inline]
fn label<I: Index>(labels: &[u32], row: I) -> u32 {
    let row = usize::try_from(row.get()).unwrap_or(usize::MAX);
    labels.get(row).copied().unwrap_or(SKIP)
}

impl<S: Stored, I: Index, P: Index> Csc<'_, S, I, P> {
    /// The entries of one gene; empty where a changed indptr makes no sense any more.
    fn entries_of(&self, gene: usize) -> (&[I], &[S]) {
        let at = |i: usize| usize::try_from(self.indptr[i].get()).unwrap_or(usize::MAX);
        let range = at(gene)..at(gene + 1);
        match (self.indices.get(range.clone()), self.values.get(range)) {
            (Some(rows), Some(values)) => (rows, values),
            _ => (&[], &[]),
        }
    }
}

impl<S: Stored, I: Index, P: Index> Matrix for Csc<'_, S, I, P> {
    type Value = S::Value;
    type Band = ();
    type Stored = S;

    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn entries(&self) -> usize {
        self.values.len()
    }

    fn bands(&self) -> usize {
        0
    }

    fn load(&self, _: usize, _: &Block, _: &[u32], (): &mut ()) -> Result<()> {
        Ok(())
    }

    fn column(
        &self,
        _bands: &[()],
        block: &Block,
        slot: usize,
        labels: &[u32],
        out: &mut Column<S::Value>,
    ) -> Result<()> {
        let (rows, values) = self.entries_of(block.genes[slot] as usize);
        extend(out, values.iter().zip(rows).map(|(v, &row)| (v.value(), label(labels, row))));
        Ok(())
    }

    fn visit_column(&self, gene: usize, labels: &[u32], mut visit: impl FnMut(u32, S::Value)) {
        let (rows, values) = self.entries_of(gene);
        for (row, value) in rows.iter().zip(values) {
            visit(label(labels, *row), value.value());
        }
    }

    fn stored_column(&self, gene: usize) -> &[S] {
        self.entries_of(gene).1
    }

    fn stored(&self) -> &[S] {
        self.values
    }

    fn first(&self, wanted: &dyn Fn(usize, usize, S::Value) -> bool) -> Option<(usize, usize)> {
        let at = |i: usize| usize::try_from(self.indptr[i].get()).unwrap_or(usize::MAX);
        let of_gene = |gene: usize| {
            let range = at(gene)..at(gene + 1);
            let rows = self.indices.get(range.clone())?;
            let row = |row: &I| usize::try_from(row.get()).unwrap_or(usize::MAX);
            let mut entries = rows.iter().map(row).zip(self.values.get(range)?);
            entries
                .find(|(row, v)| *row < self.shape.0 && wanted(*row, gene, v.value()))
                .map(|(row, _)| (row, gene))
        };
        (0..self.shape.1).filter_map(of_gene).min()
    }
}

/// Compressed arrays in canonical order: strictly ascending indices.
#[derive(Debug, Clone, PartialEq)]
pub struct Canonical<S> {
    pub values: Vec<S>,
    pub indices: Vec<i64>,
    pub indptr: Vec<i64>,
}

/// A canonical copy of valid compressed arrays: indices sorted, entries at one place summed, as
/// SciPy reads them.
#[must_use]
pub fn canonical<S: Stored, I: Index, P: Index>(
    values: &[S],
    indices: &[I],
    indptr: &[P],
) -> Canonical<S::Value> {
    let mut out: Canonical<S::Value> = Canonical {
        values: Vec::with_capacity(values.len()),
        indices: Vec::with_capacity(values.len()),
        indptr: vec![0],
    };
    let mut order: Vec<usize> = Vec::new();
    for pair in indptr.windows(2) {
        let at = |p: &P| usize::try_from(p.get()).unwrap_or(0).min(values.len());
        let row_start = out.values.len();
        order.clear();
        order.extend(at(&pair[0])..at(&pair[1]));
        order.sort_by_key(|&i| indices[i].get());
        for &i in &order {
            let index = indices[i].get();
            match (out.indices[row_start..].last(), out.values.last_mut()) {
                (Some(&last), Some(value)) if last == index => {
                    *value = value.plus(values[i].value());
                }
                _ => {
                    out.indices.push(index);
                    out.values.push(values[i].value());
                }
            }
        }
        out.indptr.push(i64::try_from(out.values.len()).unwrap_or(i64::MAX));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_sorts_and_sums() {
        let got = canonical(&[1i32, 2, 3, 4], &[2i32, 0, 2, 1], &[0i64, 3, 3, 4]);
        assert_eq!(got.values, [2.0, 4.0, 4.0]);
        assert_eq!(got.indices, [0, 2, 1]);
        assert_eq!(got.indptr, [0, 2, 2, 3]);
    }
}
