//! Picks the entries of some genes from a stretch of entries of a row-major sparse matrix.
//!
//! Cost: two passes over the indices and one over the values, on all cores.

use crate::error::{ErrorKind, Result};
use crate::matrix::Index;
use rayon::prelude::*;
use std::ops::Range;

/// The number of entries that a thread processes at a time.
const CHUNK: usize = 1 << 16;

/// Consecutive entries of the matrix, and the rows that end among them.
#[derive(Debug)]
pub struct Stretch<'a, V, I> {
    pub values: &'a [V],
    pub indices: &'a [I],
    /// The ends of rows, as offsets in this stretch: ascending, each from 1 to its length.
    pub ends: &'a [i64],
}

/// Output arrays for the picked entries.
#[derive(Debug)]
pub struct Picked<'a, V, I> {
    pub values: &'a mut [V],
    /// Genes, counted from the first picked gene.
    pub indices: &'a mut [I],
    /// For each row that ends in the stretch, the number of entries picked up to that end.
    pub before: &'a mut [i64],
}

/// The part of one task.
struct Part<'a, V, I> {
    entries: Range<usize>,
    /// The number of entries picked before this part.
    before: usize,
    ends: &'a [i64],
    out: Picked<'a, V, I>,
}

/// The end of a row as usize. The caller guarantees that it is not negative; if it is, 0.
fn at(end: i64) -> usize {
    usize::try_from(end).unwrap_or(0)
}

impl<V: Copy + Send + Sync, I: Index> Stretch<'_, V, I> {
    /// Picks the entries of `genes`, in order, and returns their number.
    ///
    /// Runs on the current rayon pool.
    ///
    /// # Errors
    /// [`ErrorKind::IndexOutOfRange`] if an index is not from 0 to `n_genes - 1`,
    /// [`ErrorKind::ShapeMismatch`] if `out` is too short or lengths differ.
    ///
    /// # Examples
    /// ```
    /// use pdex::readers::pick::{Picked, Stretch};
    /// let stretch = Stretch { values: &[7u8, 8, 9], indices: &[0i32, 4, 5], ends: &[1, 3] };
    /// let (mut values, mut indices, mut before) = ([0; 3], [0; 3], [0; 2]);
    /// let out = Picked { values: &mut values, indices: &mut indices, before: &mut before };
    /// assert_eq!(stretch.pick(4..6, 6, out)?, 2);
    /// assert_eq!((&values[..2], &indices[..2], before), (&[8, 9][..], &[0, 1][..], [0, 2]));
    /// # Ok::<(), pdex::error::Error>(())
    /// ```
    pub fn pick(&self, genes: Range<i64>, n_genes: usize, out: Picked<V, I>) -> Result<usize> {
        let mismatch = |what, expected, got| ErrorKind::ShapeMismatch { what, expected, got };
        if self.values.len() != self.indices.len() || self.ends.len() != out.before.len() {
            let (expected, got) = (self.indices.len(), self.values.len());
            return Err(mismatch("values of a stretch", expected, got).into());
        }
        let wanted = |index: &&I| genes.contains(&index.get());
        let count = |indices: &[I]| -> Result<usize> {
            let valid = |index: &I| usize::try_from(index.get()).is_ok_and(|i| i < n_genes);
            match indices.iter().find(|index| !valid(index)) {
                Some(index) => {
                    let (outer, index, limit) = (0, index.get(), n_genes);
                    Err(ErrorKind::IndexOutOfRange { outer, index, limit }.into())
                }
                None => Ok(indices.iter().filter(wanted).count()),
            }
        };
        let counts: Vec<usize> =
            self.indices.par_chunks(CHUNK).map(count).collect::<Result<_>>()?;
        let total = counts.iter().sum();
        let room = out.values.len().min(out.indices.len());
        if total > room {
            return Err(mismatch("room for what is picked", total, room).into());
        }
        self.parts(&counts, out).into_par_iter().for_each(|part| self.fill(part, &genes));
        Ok(total)
    }

    /// Splits input and output into one part per chunk, of which `counts` entries are picked.
    fn parts<'a>(&'a self, counts: &[usize], mut out: Picked<'a, V, I>) -> Vec<Part<'a, V, I>> {
        let (mut ends, mut before) = (self.ends, 0);
        let mut parts = Vec::with_capacity(counts.len());
        for (i, &count) in counts.iter().enumerate() {
            let entries = i * CHUNK..((i + 1) * CHUNK).min(self.indices.len());
            let rows = ends.partition_point(|&end| at(end) <= entries.end);
            let (here, later) = ends.split_at(rows);
            let (values, more_values) = out.values.split_at_mut(count);
            let (indices, more_indices) = out.indices.split_at_mut(count);
            let (rows, more_rows) = out.before.split_at_mut(rows);
            let own = Picked { values, indices, before: rows };
            parts.push(Part { entries, before, ends: here, out: own });
            out = Picked { values: more_values, indices: more_indices, before: more_rows };
            (ends, before) = (later, before + count);
        }
        parts
    }

    fn fill(&self, part: Part<V, I>, genes: &Range<i64>) {
        let Part { entries, before, ends, out } = part;
        let (mut start, mut picked) = (entries.start, 0);
        let mut places = out.values.iter_mut().zip(out.indices);
        let mut take = |stretch: Range<usize>, picked: &mut usize| {
            let entries = self.values[stretch.clone()].iter().zip(&self.indices[stretch]);
            for (&value, index) in entries {
                if genes.contains(&index.get())
                    && let Some(place) = places.next()
                {
                    (*place.0, *place.1) = (value, index.less(genes.start));
                    *picked += 1;
                }
            }
        };
        for (&end, row) in ends.iter().zip(out.before) {
            let end = at(end).clamp(start, entries.end);
            take(start..end, &mut picked);
            *row = i64::try_from(before + picked).unwrap_or(i64::MAX);
            start = end;
        }
        take(start..entries.end, &mut picked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_a_filter_row_by_row(
            rows in prop::collection::vec(prop_oneof![3 => 0usize..9, 1 => 40_000usize..80_000], 0..7),
            genes in 0i64..12, more in 0i64..12, seed: u32,
        ) {
            let n: usize = rows.iter().sum();
            let indices: Vec<u16> = (0..n as u32).map(|i| ((i ^ seed).wrapping_mul(2_654_435_761) >> 16) as u16 % 20).collect();
            let values: Vec<u32> = (0..n as u32).collect();
            let mut ends = Vec::new();
            for length in &rows {
                ends.push(ends.last().unwrap_or(&0) + *length as i64);
            }
            // Rows that end at 0 belong to the previous stretch.
            ends.retain(|&end| end > 0);
            let (mut got, mut places, mut before) = (vec![0u32; n], vec![0u16; n], vec![-1i64; ends.len()]);
            let out = Picked { values: &mut got, indices: &mut places, before: &mut before };
            let wanted = genes..genes + more;
            let total = Stretch { values: &values, indices: &indices, ends: &ends }.pick(wanted.clone(), 20, out).unwrap();
            let kept = |i: &u32| wanted.contains(&i64::from(indices[*i as usize]));
            let want: Vec<u32> = values.iter().copied().filter(kept).collect();
            prop_assert_eq!(&got[..total], &want);
            for (place, i) in places.iter().zip(&want) {
                prop_assert_eq!(i64::from(*place), i64::from(indices[*i as usize]) - genes);
            }
            for (end, before) in ends.iter().zip(before) {
                prop_assert_eq!(before, values[..*end as usize].iter().copied().filter(kept).count() as i64);
            }
        }
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let pick = |indices: &[i32], room: usize| {
            let (mut values, mut places) = (vec![0; room], vec![0; room]);
            let out = Picked { values: &mut values, indices: &mut places, before: &mut [] };
            let stretch = Stretch { values: &[1u8, 2], indices, ends: &[] };
            stretch.pick(0..3, 3, out).map_err(|e| e.to_string())
        };
        assert_eq!(pick(&[0, 2], 2), Ok(2));
        for (indices, room, what) in
            [([0, 3], 2, "index 3"), ([-1, 0], 2, "index -1"), ([0, 1], 1, "room")]
        {
            let error = pick(&indices, room).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
        assert!(pick(&[0], 2).is_err());
    }
}
