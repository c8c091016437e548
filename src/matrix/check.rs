//! The check of compressed arrays, once and on all cores, and a sorted copy of unsorted ones.

use super::index::{Index, Indices, Indptr, with_indices};
use super::{Stored, Value, ascending};
use crate::cast::{place, wide};
use crate::error::{Error, ErrorKind, Result};
use rayon::prelude::*;
use std::ops::Range;

/// The fewest entries that a thread checks; longer rows or columns are split into parts of this
/// size.
const CHUNK: usize = 1 << 17;

/// The result of a check of compressed arrays: their lengths, and whether they are sorted.
///
/// With it, views are made without reading the arrays' contents again
/// ([`super::Csr::from_checked`]). If the contents have changed since, views are still safe to
/// read: inconsistent content gives [`ErrorKind::Changed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// The number of rows (CSR) or columns (CSC).
    outer: usize,
    inner: usize,
    /// The length of values and of indices.
    length: usize,
    /// Entries up to the last pointer; the arrays may be longer.
    used: usize,
    /// The first row or column whose indices do not strictly ascend.
    unsorted: Option<usize>,
}

impl Checked {
    /// The number of rows (CSR) or columns (CSC), and the limit of indices.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.outer, self.inner)
    }

    /// The number of stored entries.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.used
    }

    /// The first row (CSR) or column (CSC) with unsorted or duplicate indices. If there is one, a
    /// view needs the sorted copy that [`canonical`] makes.
    #[must_use]
    pub fn unsorted(&self) -> Option<usize> {
        self.unsorted
    }

    /// Fails unless the arrays have the lengths of those that were checked, and those were sorted.
    pub(super) fn require(&self, values: usize, indices: &Indices, indptr: &Indptr) -> Result<()> {
        check_lengths(self.outer, self.length, indices, indptr)?;
        expect("values", self.length, values)?;
        match self.unsorted {
            Some(outer) => Err(ErrorKind::Unsorted { outer }.into()),
            None => Ok(()),
        }
    }
}

fn expect(what: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(ErrorKind::ShapeMismatch { what, expected, got }.into())
}

fn check_lengths(outer: usize, values: usize, indices: &Indices, indptr: &Indptr) -> Result<()> {
    expect("indptr", outer.saturating_add(1), indptr.len())?;
    expect("indices", values, indices.len())
}

/// The most rows or columns of a matrix, 2^31 - 1. A negative i32 index, cast to a u32 place, is
/// then always out of range.
pub(super) const MAX_PLACES: u32 = i32::MAX.cast_unsigned();

/// Fails if a matrix has more than [`MAX_PLACES`] rows or columns.
///
/// # Errors
/// [`ErrorKind::ShapeMismatch`].
pub(super) fn check_shape(shape: (usize, usize)) -> Result<()> {
    let limit = place(MAX_PLACES);
    for (what, got) in [("rows of a matrix", shape.0), ("columns of a matrix", shape.1)] {
        if got > limit {
            return Err(ErrorKind::ShapeMismatch { what, expected: limit, got }.into());
        }
    }
    Ok(())
}

/// Checks compressed arrays of `outer` rows (CSR) or columns (CSC), `values` stored values, and
/// indices below `inner`.
///
/// Runs on the current rayon pool. The error is always that of the first broken row.
///
/// # Errors
/// [`ErrorKind::BrokenIndptr`], [`ErrorKind::ShapeMismatch`] or [`ErrorKind::IndexOutOfRange`].
///
/// # Examples
/// ```
/// use pdex::matrix::{Csr, check};
/// let (values, indices, indptr) = ([1.0f32, 2.0, 3.0], [0i32, 2, 1], [0i64, 2, 3]);
/// let checked = check(2, 3, values.len(), &indices, &indptr)?;
/// assert_eq!(checked.unsorted(), None);
/// let view = Csr::from_checked(&checked, &values, &indices, &indptr)?;
/// # Ok::<(), pdex::error::Error>(())
/// ```
pub fn check<'a>(
    outer: usize,
    inner: usize,
    values: usize,
    indices: impl Into<Indices<'a>>,
    indptr: impl Into<Indptr<'a>>,
) -> Result<Checked> {
    let (indices, indptr) = (indices.into(), indptr.into());
    check_shape((outer, inner))?;
    check_lengths(outer, values, &indices, &indptr)?;
    if indptr.get(0) != Some(0) {
        let reason = "it does not start at 0";
        return Err(ErrorKind::BrokenIndptr { position: 0, reason }.into());
    }
    let unsorted = with_indices!(indices, indices => check_rows(outer, inner, indices, &indptr))?;
    let used = indptr.get(outer).and_then(|end| usize::try_from(end).ok()).unwrap_or(0);
    Ok(Checked { outer, inner, length: values, used, unsorted })
}

/// The result for some consecutive rows: the first error, and the first unsorted row.
#[derive(Debug, Default)]
struct Found {
    error: Option<Error>,
    unsorted: Option<usize>,
}

impl Found {
    /// Merges in the result for the rows that follow.
    fn then(self, other: Self) -> Self {
        Self { error: self.error.or(other.error), unsorted: self.unsorted.or(other.unsorted) }
    }
}

/// Checks each row; returns the first unsorted one.
fn check_rows<I: Index>(
    outer: usize,
    inner: usize,
    indices: &[I],
    indptr: &Indptr,
) -> Result<Option<usize>> {
    let mean = indices.len() / outer.max(1) + 1;
    let look = |row| match check_row(row, inner, indices, indptr) {
        Ok(true) => Found::default(),
        Ok(false) => Found { error: None, unsorted: Some(row) },
        Err(error) => Found { error: Some(error), unsorted: None },
    };
    let rows = (0..outer).into_par_iter().with_min_len((CHUNK / mean).max(1));
    let found = rows.map(look).reduce(Found::default, Found::then);
    found.error.map_or(Ok(found.unsorted), Err)
}

/// Checks one row; true if its indices strictly ascend.
fn check_row<I: Index>(row: usize, inner: usize, indices: &[I], indptr: &Indptr) -> Result<bool> {
    let broken = |position, reason| Err(ErrorKind::BrokenIndptr { position, reason }.into());
    let (Some(start), Some(end)) = (indptr.get(row), indptr.get(row + 1)) else {
        return broken(row, "it is too short");
    };
    if end < start {
        return broken(row + 1, "it decreases");
    }
    let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else {
        return broken(row, "it is negative");
    };
    let Some(own) = indices.get(start..end) else {
        return broken(row + 1, "it points past the last stored entry");
    };
    let inside = |index: &I| usize::try_from(index.get()).is_ok_and(|index| index < inner);
    let sorted = ascend(own);
    if sorted && own.first().is_none_or(inside) && own.last().is_none_or(inside) {
        return Ok(true);
    }
    match own.par_iter().with_min_len(CHUNK).find_first(|index| !inside(index)) {
        Some(index) => {
            Err(ErrorKind::IndexOutOfRange { outer: row, index: index.get(), limit: inner }.into())
        }
        None => Ok(sorted),
    }
}

/// True if the indices strictly ascend. Long rows are split between threads.
fn ascend<I: Index>(indices: &[I]) -> bool {
    if indices.len() <= CHUNK {
        return ascending(indices);
    }
    // Each part includes the first index of the next.
    let part = |i: usize| &indices[i * CHUNK..((i + 1) * CHUNK + 1).min(indices.len())];
    (0..indices.len().div_ceil(CHUNK)).into_par_iter().all(|i| ascending(part(i)))
}

/// Compressed arrays in canonical order: the indices of each row (or column) strictly ascend.
#[derive(Debug, Clone, PartialEq)]
pub struct Canonical<V> {
    pub values: Vec<V>,
    pub indices: Vec<i64>,
    pub indptr: Vec<i64>,
}

/// A canonical copy of checked compressed arrays: indices are sorted, and duplicate entries are
/// summed in stored order, as in SciPy.
///
/// Runs on the current rayon pool. If the arrays have changed since the check, rows that are no
/// longer consistent become empty.
///
/// # Examples
/// ```
/// use pdex::matrix::canonical;
/// let mended = canonical(&[1u8, 2, 3, 4], &[2i32, 0, 2, 1], &[0i64, 3, 4]);
/// assert_eq!(mended.values, [2.0, 4.0, 4.0]);
/// assert_eq!((&mended.indices[..], &mended.indptr[..]), (&[0, 2, 1][..], &[0, 2, 3][..]));
/// ```
#[must_use]
pub fn canonical<'a, S: Stored>(
    values: &[S],
    indices: impl Into<Indices<'a>>,
    indptr: impl Into<Indptr<'a>>,
) -> Canonical<S::Value> {
    let indptr = indptr.into();
    with_indices!(indices.into(), indices => sort_rows(values, indices, &indptr))
}

fn sort_rows<S: Stored, I: Index>(
    values: &[S],
    indices: &[I],
    indptr: &Indptr,
) -> Canonical<S::Value> {
    let ranges: Vec<Range<usize>> = (0..indptr.len().saturating_sub(1))
        .map(|row| {
            let range = indptr.range(row).unwrap_or(0..0);
            let there = indices.get(range.clone()).is_some() && values.get(range.clone()).is_some();
            if there { range } else { 0..0 }
        })
        .collect();
    let total = ranges.iter().map(Range::len).sum();
    let mut sorted = vec![S::Value::default(); total];
    let mut places = vec![0i64; total];
    // Each row is sorted and summed in its own part of the output.
    let (mut values_left, mut places_left) = (&mut sorted[..], &mut places[..]);
    let mut rows = Vec::with_capacity(ranges.len());
    for range in &ranges {
        let (own_values, later) = values_left.split_at_mut(range.len());
        let (own_places, more) = places_left.split_at_mut(range.len());
        (values_left, places_left) = (later, more);
        rows.push((range.clone(), own_values, own_places));
    }
    let kept: Vec<usize> = rows
        .into_par_iter()
        .map_init(Vec::new, |order, (range, own_values, own_places)| {
            let (values, indices) = (&values[range.clone()], &indices[range]);
            sort_row(values, indices, order, own_values, own_places)
        })
        .collect();
    let mut out = Canonical { values: sorted, indices: places, indptr: vec![0] };
    let (mut start, mut end) = (0, 0);
    for (range, kept) in ranges.iter().zip(kept) {
        if start != end {
            out.values.copy_within(start..start + kept, end);
            out.indices.copy_within(start..start + kept, end);
        }
        (start, end) = (start + range.len(), end + kept);
        out.indptr.push(i64::try_from(wide(end)).unwrap_or(i64::MAX));
    }
    out.values.truncate(end);
    out.indices.truncate(end);
    out
}

/// Sorts one row into `out_values` and `out_places`, sums duplicates, and returns the number left.
fn sort_row<S: Stored, I: Index>(
    values: &[S],
    indices: &[I],
    order: &mut Vec<usize>,
    out_values: &mut [S::Value],
    out_places: &mut [i64],
) -> usize {
    order.clear();
    order.extend(0..indices.len());
    order.sort_by_key(|&i| indices[i]);
    let mut kept = 0;
    for &i in &*order {
        let (index, value) = (indices[i].get(), values[i].value());
        if kept > 0 && out_places[kept - 1] == index {
            out_values[kept - 1] = out_values[kept - 1].plus(value);
        } else {
            (out_places[kept], out_values[kept]) = (index, value);
            kept += 1;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{Csc, Csr};
    use proptest::prelude::*;

    fn kind(shape: (usize, usize), indices: &[i32], indptr: &[i64]) -> ErrorKind {
        check(shape.0, shape.1, indices.len(), indices, indptr).unwrap_err().kind().clone()
    }

    #[test]
    fn broken_arrays_are_named() {
        let broken = |position, reason| ErrorKind::BrokenIndptr { position, reason };
        let mismatch = |what, expected, got| ErrorKind::ShapeMismatch { what, expected, got };
        let range = |outer, index, limit| ErrorKind::IndexOutOfRange { outer, index, limit };
        assert_eq!(kind((2, 3), &[0], &[0, 1]), mismatch("indptr", 3, 2));
        assert_eq!(kind((0, 3), &[], &[]), mismatch("indptr", 1, 0));
        assert_eq!(
            check(2, 3, 1, &[0i32; 0], &[0i64, 1, 1]).unwrap_err().kind(),
            &mismatch("indices", 1, 0)
        );
        assert_eq!(kind((2, 3), &[0], &[1, 1, 1]), broken(0, "it does not start at 0"));
        assert_eq!(kind((2, 3), &[0], &[0, 1, 0]), broken(2, "it decreases"));
        assert_eq!(
            kind((2, 3), &[0], &[0, 1, 2]),
            broken(2, "it points past the last stored entry")
        );
        assert_eq!(kind((2, 3), &[3], &[0, 0, 1]), range(1, 3, 3));
        assert_eq!(kind((2, 3), &[-1], &[0, 0, 1]), range(1, -1, 3));
        // In the middle of a row; and the first of several rows with several errors.
        assert_eq!(kind((2, 3), &[0, 9, 1], &[0, 3, 3]), range(0, 9, 3));
        assert_eq!(kind((3, 3), &[1, 0, 7, 8], &[0, 2, 4, 3]), range(1, 7, 3));
        let (limit, none) = (MAX_PLACES as usize, &[0i32; 0]);
        assert_eq!(
            check(1, limit + 1, 0, none, &[0i64; 2]).unwrap_err().kind(),
            &mismatch("columns of a matrix", limit, limit + 1)
        );
        assert!(check(1, limit, 0, none, &[0i64; 2]).is_ok());
    }

    #[test]
    fn unsorted_rows_make_no_view() {
        let (values, indptr) = ([1u8; 5], [0i64, 2, 3, 5]);
        for (indices, first) in
            [([0, 1, 2, 1, 1], Some(2)), ([1, 0, 2, 2, 1], Some(0)), ([0, 2, 1, 0, 1], None)]
        {
            let checked = check(3, 3, 5, &indices, &indptr).unwrap();
            assert_eq!(checked.unsorted(), first);
            let error = first.map(|outer| ErrorKind::Unsorted { outer }.into());
            assert_eq!(Csr::new((3, 3), &values, &indices, &indptr).err(), error);
            assert_eq!(Csc::from_checked(&checked, &values, &indices, &indptr).err(), error);
        }
    }

    #[test]
    fn arrays_of_other_lengths_make_no_view() {
        let checked = check(2, 3, 2, &[0i32, 1], &[0i64, 1, 2]).unwrap();
        let make = |values: &[f32], indices: &[i32], indptr: &[i64]| {
            Csr::from_checked(&checked, values, indices, indptr).is_ok()
        };
        assert!(make(&[1.0; 2], &[0, 1], &[0, 1, 2]));
        assert!(!make(&[1.0; 3], &[0, 1], &[0, 1, 2]));
        assert!(!make(&[1.0; 2], &[0], &[0, 1, 2]));
        assert!(!make(&[1.0; 2], &[0, 1], &[0, 2]));
    }

    #[test]
    fn spare_room_is_no_entry() {
        let indices = [0i32, 1, 77];
        let checked = check(2, 3, 3, &indices, &[0i32, 1, 2]).unwrap();
        assert_eq!(checked.entries(), 2);
    }

    /// A serial check, row after row: the error, or the first unsorted row.
    fn naive(
        inner: usize,
        indices: &[i32],
        indptr: &[i64],
    ) -> std::result::Result<Option<usize>, ErrorKind> {
        let mut unsorted = None;
        for row in 0..indptr.len() - 1 {
            let broken = |position, reason| Err(ErrorKind::BrokenIndptr { position, reason });
            if indptr[row + 1] < indptr[row] {
                return broken(row + 1, "it decreases");
            }
            if indptr[row] < 0 {
                return broken(row, "it is negative");
            }
            let Some(own) = indices.get(indptr[row] as usize..indptr[row + 1] as usize) else {
                return broken(row + 1, "it points past the last stored entry");
            };
            if let Some(&index) = own.iter().find(|&&i| i < 0 || i as usize >= inner) {
                let index = index.into();
                return Err(ErrorKind::IndexOutOfRange { outer: row, index, limit: inner });
            }
            if unsorted.is_none() && !own.windows(2).all(|pair| pair[0] < pair[1]) {
                unsorted = Some(row);
            }
        }
        Ok(unsorted)
    }

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    proptest! {
        #[test]
        fn the_first_broken_row_is_named_whatever_the_threads(
            indices in prop::collection::vec(prop_oneof![9 => 0i32..5, 1 => -1i32..7], 0..40),
            mut indptr in prop::collection::vec(0i64..40, 1..9), sorted: bool, threads in 1usize..5,
        ) {
            if sorted {
                indptr.sort_unstable();
            }
            indptr[0] = 0;
            let found = pool(threads).install(|| check(indptr.len() - 1, 5, indices.len(), &indices, &indptr));
            let got = found.map(|checked| checked.unsorted()).map_err(|error| error.kind().clone());
            prop_assert_eq!(got, naive(5, &indices, &indptr));
        }

        #[test]
        fn canonical_rows_are_sums_by_place(
            rows in prop::collection::vec(prop::collection::vec((0i32..6, -9i32..9), 0..12), 1..9), threads in 1usize..4,
        ) {
            let indices: Vec<i32> = rows.iter().flatten().map(|entry| entry.0).collect();
            let values: Vec<i32> = rows.iter().flatten().map(|entry| entry.1).collect();
            let mut indptr = vec![0i32];
            for row in &rows {
                indptr.push(indptr[indptr.len() - 1] + row.len() as i32);
            }
            let got = pool(threads).install(|| canonical(&values, &indices, &indptr));
            let mut want = Canonical { values: Vec::new(), indices: Vec::new(), indptr: vec![0] };
            for row in &rows {
                for place in 0..6 {
                    let own: Vec<f64> = row.iter().filter(|e| e.0 == place).map(|e| e.1.into()).collect();
                    if !own.is_empty() {
                        want.values.push(own.iter().sum());
                        want.indices.push(place.into());
                    }
                }
                want.indptr.push(want.values.len() as i64);
            }
            prop_assert_eq!(&got, &want);
            prop_assert!(Csr::new((rows.len(), 6), &got.values, &got.indices, &got.indptr).is_ok());
        }
    }

    #[test]
    fn long_rows_are_shared_between_threads() {
        let n = 3 * CHUNK + 5;
        let sorted: Vec<i32> = (0..n as i32).collect();
        let look = |indices: &[i32]| {
            let found = pool(3).install(|| check(1, n, n, indices, &[0, n as i64]));
            found.map(|checked| checked.unsorted()).map_err(|error| error.kind().clone())
        };
        assert_eq!(look(&sorted), Ok(None));
        // Duplicates at and around the boundaries between parts.
        for at in [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, n - 1] {
            let mut indices = sorted.clone();
            indices[at] = indices[at - 1];
            assert_eq!(look(&indices), Ok(Some(0)), "{at}");
        }
        let mut indices = sorted.clone();
        (indices[2 * CHUNK], indices[7]) = (n as i32, -7);
        assert_eq!(
            look(&indices),
            Err(ErrorKind::IndexOutOfRange { outer: 0, index: -7, limit: n })
        );
    }
}
