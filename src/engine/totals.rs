//! Each cell's total, over all genes of a matrix, and the median of such totals.
//!
//! # Definition
//! The total is the sum of a cell's values in order of genes, in two words ([`DoubleDouble`]), rounded to
//! one f64. Of whole numbers it is exact below 2^53, and any order has the same bits. So small counts are
//! added as integers, in whatever order is fast; only cells (or matrices stored gene after gene) that hold
//! other values are added as defined. Every layout of a matrix, and any number of threads, gives the same
//! bits.
//!
//! Values must be counts: finite, and none below 0. They need not be whole. NaN, a negative or an
//! infinite value is an error that names the first such cell, and its first such gene.
//!
//! # Cost
//! One pass over the stored values, in parallel. If genes are stored one after the other, every worker
//! has its own sums of all cells, 8 bytes a cell; there are fewer workers where that would be more than
//! twice the number of entries. Values that are no small counts then take a second pass, in which each
//! worker reads all genes and adds those of its own cells.

use crate::cast::{narrow, place, real};
use crate::error::{Error, ErrorKind, Result};
use crate::matrix::{CellMajor, GeneMajor, STRETCH, Stretch, Value, View};
use crate::stats::double_double::DoubleDouble;
use multiversion::multiversion;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Counts up to it are added as integers.
const SMALL: u32 = 65_535;
/// The largest value: sums of as many as a matrix has genes are finite.
const LARGEST: f64 = 1e290;
/// Genes that a worker takes at a time.
const GENES: usize = 16;
/// Entries of the matrix for each sum that a worker keeps.
const SHARE: usize = 4;

/// The totals of all cells, on the current rayon pool.
///
/// # Errors
/// [`ErrorKind::NotANumber`] or [`ErrorKind::NotACount`] for the first cell that has such a value;
/// [`ErrorKind::NormalisedTable`] of a count table; [`ErrorKind::Changed`].
///
/// # Examples
/// ```
/// use pdex::engine::totals::{median, totals};
/// use pdex::matrix::{RowMajor, View};
/// let view = View::cells(RowMajor::new((3, 2), &[1u8, 2, 0, 0, 3, 4])?);
/// let found = totals(&view)?;
/// assert_eq!((found.as_slice(), median(&found)), (&[3.0, 0.0, 7.0][..], Some(5.0)));
/// # Ok::<(), pdex::error::Error>(())
/// ```
pub fn totals<V: Value>(view: &View<V>) -> Result<Vec<f64>> {
    match view {
        View::Cells(cells) => of_cells(&**cells),
        View::Genes(genes) => match small_counts(&**genes)? {
            Some(totals) => Ok(totals),
            None => of_genes(&**genes),
        },
        View::Counted(_) => Err(ErrorKind::NormalisedTable.into()),
    }
}

/// The median of the totals above 0, as `scanpy.pp.normalize_total` takes it by default: of an even
/// number of totals, half the sum of the middle two. `None` if none is above 0.
#[must_use]
pub fn median(totals: &[f64]) -> Option<f64> {
    let mut positive: Vec<f64> = totals.iter().copied().filter(|&total| total > 0.0).collect();
    let (n, half) = (positive.len(), positive.len() / 2);
    if n == 0 {
        return None;
    }
    let (below, &mut upper, _) = positive.select_nth_unstable_by(half, f64::total_cmp);
    if n % 2 == 1 {
        return Some(upper);
    }
    let lower = below.iter().copied().fold(0.0, f64::max);
    Some(f64::midpoint(lower, upper))
}

/// The sum of small counts; `None` if one of them is none.
#[multiversion(targets = "simd")]
fn sum_of_counts<V: Value>(values: &[V]) -> Option<u32> {
    let (mut sum, mut all) = (0u32, 0);
    // A stretch has at most 2^8 values: no overflow below 2^24.
    for value in values {
        let count = value.count();
        sum = sum.wrapping_add(count);
        all |= count;
    }
    (all <= SMALL).then_some(sum)
}

/// Adds one value as defined.
///
/// # Errors
/// [`ErrorKind::NotANumber`] or [`ErrorKind::NotACount`].
#[inline]
fn add(sum: &mut DoubleDouble, value: f64, cell: usize, gene: usize) -> Result<()> {
    if (0.0..=LARGEST).contains(&value) {
        sum.add(value);
        return Ok(());
    }
    Err(not_a_count(value, cell, gene))
}

#[cold]
fn not_a_count(got: f64, cell: usize, gene: usize) -> Error {
    if got.is_nan() {
        return ErrorKind::NotANumber { cell, gene }.into();
    }
    ErrorKind::NotACount { cell, gene, got }.into()
}

fn rounded(sum: DoubleDouble) -> f64 {
    sum.renormalized().value()
}

fn of_cells<V: Value>(cells: &dyn CellMajor<V>) -> Result<Vec<f64>> {
    let n_cells = cells.shape().0;
    let all = (0..n_cells).into_par_iter();
    let found: Result<Vec<f64>> = all.clone().map(|cell| of_cell(cells, cell)).collect();
    // Of several errors rayon returns any.
    let first = |error| all.find_map_first(|cell| of_cell(cells, cell).err()).unwrap_or(error);
    found.map_err(first)
}

fn of_cell<V: Value>(cells: &dyn CellMajor<V>, cell: usize) -> Result<f64> {
    let (genes, mut sum, mut small) = (0..cells.shape().1, 0u64, true);
    cells.visit_cell(cell, genes.clone(), &mut |stretch| match sum_of_counts(stretch.values) {
        Some(counts) => sum += u64::from(counts),
        None => small = false,
    })?;
    if small {
        return Ok(real(sum));
    }
    let (mut sum, mut failed) = (DoubleDouble::default(), None);
    cells.visit_cell(cell, genes, &mut |stretch| {
        for (&gene, value) in stretch.places.iter().zip(stretch.values) {
            let added = add(&mut sum, value.to_f64(), cell, place(gene));
            failed = failed.take().or(added.err());
        }
    })?;
    failed.map_or(Ok(rounded(sum)), Err)
}

/// The totals if all values are small counts.
fn small_counts<V: Value>(genes: &dyn GeneMajor<V>) -> Result<Option<Vec<f64>>> {
    let (n_cells, n_genes) = genes.shape();
    let workers = genes.entries() / (SHARE * n_cells.max(1));
    let workers = workers.clamp(1, rayon::current_num_threads());
    let (next, other) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = |_| -> Result<Vec<u64>> {
        let mut sums = vec![0u64; n_cells];
        let mut counts = [0u32; STRETCH];
        loop {
            let first = next.fetch_add(GENES, Ordering::Relaxed);
            if first >= n_genes || other.load(Ordering::Relaxed) {
                return Ok(sums);
            }
            for gene in first..n_genes.min(first + GENES) {
                genes.visit_gene(gene, &mut |stretch| {
                    if !add_counts(stretch, &mut counts, &mut sums) {
                        other.store(true, Ordering::Relaxed);
                    }
                })?;
            }
        }
    };
    let sums: Vec<Vec<u64>> =
        (0..workers).into_par_iter().with_max_len(1).map(work).collect::<Result<_>>()?;
    if other.into_inner() {
        return Ok(None);
    }
    let total = |cell: usize| real(sums.iter().map(|sums| sums[cell]).sum());
    Ok(Some((0..n_cells).into_par_iter().map(total).collect()))
}

/// Adds small counts of one gene to the sums of their cells; false if one of them is none.
#[inline]
fn add_counts<V: Value>(stretch: Stretch<'_, V>, counts: &mut [u32], sums: &mut [u64]) -> bool {
    let mut all = 0;
    for (count, value) in counts.iter_mut().zip(stretch.values) {
        *count = value.count();
        all |= *count;
    }
    for (&cell, &count) in stretch.places.iter().zip(&*counts) {
        if let Some(sum) = sums.get_mut(place(cell)) {
            *sum += u64::from(count);
        }
    }
    all <= SMALL
}

/// The totals as defined. Each worker has a range of cells.
fn of_genes<V: Value>(genes: &dyn GeneMajor<V>) -> Result<Vec<f64>> {
    let n_cells = genes.shape().0;
    let each = n_cells.div_ceil(rayon::current_num_threads()).max(1);
    let mut totals = vec![0.0; n_cells];
    let parts = totals.par_chunks_mut(each).enumerate();
    let add =
        |(part, totals): (usize, &mut [f64])| range_of_genes(genes, part * each, totals).err();
    match parts.filter_map(add).collect::<Vec<Error>>().into_iter().next() {
        Some(error) => Err(error),
        None => Ok(totals),
    }
}

/// The totals of consecutive cells from `start`.
fn range_of_genes<V: Value>(
    genes: &dyn GeneMajor<V>,
    start: usize,
    totals: &mut [f64],
) -> Result<()> {
    let mut sums = vec![DoubleDouble::default(); totals.len()];
    let range = narrow(start)..narrow(start + totals.len());
    let mut failed: Option<(u32, Error)> = None;
    for gene in 0..genes.shape().1 {
        genes.visit_gene(gene, &mut |stretch| {
            for (&cell, value) in within(&stretch, &range) {
                let Some(sum) = sums.get_mut(place(cell - range.start)) else { continue };
                let added = add(sum, value.to_f64(), place(cell), gene);
                if let Err(error) = added
                    && failed.as_ref().is_none_or(|(first, _)| cell < *first)
                {
                    failed = Some((cell, error));
                }
            }
        })?;
    }
    if let Some((_, error)) = failed {
        return Err(error);
    }
    totals.iter_mut().zip(sums).for_each(|(total, sum)| *total = rounded(sum));
    Ok(())
}

/// The entries whose places lie in a range.
#[inline]
fn within<'a, V>(
    stretch: &Stretch<'a, V>,
    range: &Range<u32>,
) -> impl Iterator<Item = (&'a u32, &'a V)> + use<'a, V> {
    let below = |limit: u32| match stretch.places {
        [first, ..] if *first >= limit => 0,
        [.., last] if *last < limit => stretch.places.len(),
        places => places.partition_point(|&place| place < limit),
    };
    let inside = below(range.start)..below(range.end);
    stretch.places[inside.clone()].iter().zip(&stretch.values[inside])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::pool::pool;
    use crate::matrix::{ColumnMajor, Csc, Csr, RowMajor, Stored};
    use proptest::prelude::*;

    const N_GENES: usize = 37;

    /// Values, indices and pointers of a dense matrix; some zeros are stored.
    fn compressed<T: Stored>(dense: &[T], inner: usize) -> (Vec<T>, Vec<i32>, Vec<i64>) {
        let (mut values, mut indices, mut indptr) = (Vec::new(), Vec::new(), vec![0]);
        for row in dense.chunks(inner) {
            for (j, value) in row.iter().enumerate() {
                if !value.value().is_zero() || j % 3 == 0 {
                    values.push(*value);
                    indices.push(j as i32);
                }
            }
            indptr.push(values.len() as i64);
        }
        (values, indices, indptr)
    }

    /// The totals of every layout, on one to three threads.
    fn all<T: Stored>(rows: &[T]) -> Vec<Result<Vec<f64>>> {
        let cells = rows.len() / N_GENES;
        let shape = (cells, N_GENES);
        let columns: Vec<T> =
            (0..rows.len()).map(|i| rows[i % cells * N_GENES + i / cells]).collect();
        let (values, indices, indptr) = compressed(rows, N_GENES);
        let csr = Csr::new(shape, &values, &indices, &indptr).unwrap();
        let (values, indices, indptr) = compressed(&columns, cells);
        let csc = Csc::new(shape, &values, &indices, &indptr).unwrap();
        let views = [
            View::cells(csr),
            View::cells(RowMajor::new(shape, rows).unwrap()),
            View::genes(csc),
            View::genes(ColumnMajor::new(shape, &columns).unwrap()),
        ];
        let on = |threads| views.iter().map(move |view| (threads, view));
        let found = [1, 2, 3].into_iter().flat_map(on);
        found.map(|(threads, view)| pool(threads).unwrap().install(|| totals(view))).collect()
    }

    fn agree<T: Stored>(rows: &[T], want: &[f64]) -> std::result::Result<(), TestCaseError> {
        for found in all(rows) {
            let bits = |totals: &[f64]| totals.iter().map(|t| t.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&found.unwrap()), bits(want));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_layout_has_the_same_totals(
            rows in (1usize..40).prop_flat_map(|cells| prop::collection::vec(prop_oneof![3 => Just(0u16), 2 => 1u16..9, 1 => any::<u16>()], cells * N_GENES)),
            real in 0.01f64..1.0, odd in prop_oneof![Just(65_536u32), Just(65_535), any::<u32>()],
        ) {
            // In units of 2^-40, below which no value here has digits: the nearest f64.
            let exact = |values: &[f64]| -> Vec<f64> {
                let whole = |v: &f64| (v * 2f64.powi(40)) as i128;
                values.chunks(N_GENES).map(|row| row.iter().map(whole).sum::<i128>() as f64 / 2f64.powi(40)).collect()
            };
            let counts: Vec<f64> = rows.iter().map(|&count| f64::from(count)).collect();
            agree(&rows, &exact(&counts))?;
            let single: Vec<f32> = rows.iter().map(|&count| f32::from(count)).collect();
            agree(&single, &exact(&counts))?;
            let signed: Vec<i64> = rows.iter().map(|&count| i64::from(count) << 20).collect();
            agree(&signed, &exact(&counts.iter().map(|c| c * 1_048_576.0).collect::<Vec<_>>()))?;
            let mut whole: Vec<u32> = rows.iter().map(|&count| u32::from(count)).collect();
            whole[rows.len() / 2] = odd;
            agree(&whole, &exact(&whole.iter().map(|&count| f64::from(count)).collect::<Vec<_>>()))?;
            let shares: Vec<f32> = rows.iter().map(|&count| (f64::from(count % 999) * (real * 1024.0).round() / 1024.0) as f32).collect();
            agree(&shares, &exact(&shares.iter().map(|&v| f64::from(v)).collect::<Vec<_>>()))?;
            // Digits beyond those of the sum: as defined.
            let wide: Vec<f64> = counts.iter().enumerate().map(|(i, c)| c * real * 10f64.powi(i as i32 % 7 * 9 - 30)).collect();
            let defined = |row: &[f64]| {
                let mut sum = DoubleDouble::default();
                for &v in row {
                    sum.add(v);
                }
                rounded(sum)
            };
            agree(&wide, &wide.chunks(N_GENES).map(defined).collect::<Vec<_>>())?;
        }

        #[test]
        fn the_first_value_that_is_no_count_is_named(
            places in prop::collection::vec((0usize..20 * N_GENES, 0usize..4), 1..5), fraction: bool,
        ) {
            let mut rows = vec![if fraction { 0.5f32 } else { 1.0 }; 20 * N_GENES];
            for &(place, kind) in &places {
                rows[place] = [f32::NAN, -1.0, f32::INFINITY, -0.5][kind];
            }
            let at = rows.iter().position(|v| !(0.0..f32::INFINITY).contains(v)).unwrap();
            let (cell, gene, got) = (at / N_GENES, at % N_GENES, f64::from(rows[at]));
            let want = if got.is_nan() {
                ErrorKind::NotANumber { cell, gene }
            } else {
                ErrorKind::NotACount { cell, gene, got }
            };
            for found in all(&rows) {
                prop_assert_eq!(found.unwrap_err().kind().clone(), want.clone());
            }
        }

        #[test]
        fn medians_are_those_of_the_sorted_totals(totals in prop::collection::vec(prop_oneof![Just(0.0), 0.5f64..9.0, (1u8..5).prop_map(f64::from)], 0..30)) {
            let mut sorted: Vec<f64> = totals.iter().copied().filter(|&t| t > 0.0).collect();
            sorted.sort_by(f64::total_cmp);
            let want = match sorted.len() {
                0 => None,
                n => Some(0.5 * (sorted[(n - 1) / 2] + sorted[n / 2])),
            };
            prop_assert_eq!(median(&totals), want);
        }
    }

    #[test]
    fn matrices_without_cells_or_genes() {
        let none: [u8; 0] = [];
        for (shape, want) in [((0, 3), vec![]), ((3, 0), vec![0.0; 3])] {
            let views = [
                View::cells(RowMajor::new(shape, &none).unwrap()),
                View::genes(ColumnMajor::new(shape, &none).unwrap()),
            ];
            for view in views {
                assert_eq!(totals(&view).unwrap(), want);
            }
        }
    }
}
