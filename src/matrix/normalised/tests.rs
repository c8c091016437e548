//! Shares in every layout against their definition.

use super::*;
use crate::matrix::conformance::{Case, Sample, suite};
use crate::matrix::{ColumnMajor, Csc, Csr, Entry, RowMajor, Stored, append_gene};
use proptest::prelude::*;
use std::fmt::Debug;

/// A stored type of the matrix under the view in the suite.
trait Under: Stored<Value: Debug> + Debug {
    /// What a share is to be.
    fn share(raw: i16) -> f64;
    /// `factor` times as much.
    fn stored(raw: i16, factor: u8) -> Self;
}

macro_rules! under {
    ($($t:ty: |$raw:ident| $of:expr;)*) => {$(
        impl Under for $t {
            fn share($raw: i16) -> f64 {
                Stored::value($of).to_f64()
            }

            fn stored($raw: i16, factor: u8) -> Self {
                let value: Self = $of;
                value * Self::from(factor)
            }
        }
    )*};
}

under! {
    u16: |raw| raw as u16 & 0x3ff;
    f32: |raw| f32::of(raw);
    f64: |raw| f64::of(raw);
    i64: |raw| i64::from(raw);
    u64: |raw| u64::from(raw as u16);
}

/// A share, or its logarithm, as the suite expects it.
#[derive(Debug, Clone, Copy)]
struct Share<T, const LOG: bool>(f64, PhantomData<fn() -> T>);

impl<T: Under, const LOG: bool> Stored for Share<T, LOG> {
    type Value = f64;

    fn value(self) -> f64 {
        self.0
    }

    fn widen<'a>(stored: &'a [Self], buffer: &'a mut [f64]) -> &'a [f64] {
        buffer.iter_mut().zip(stored).for_each(|(out, share)| *out = share.0);
        &buffer[..stored.len()]
    }
}

impl<T: Under, const LOG: bool> Sample for Share<T, LOG> {
    fn of(raw: i16) -> Self {
        let share = T::share(raw);
        Self(if LOG { elementary::ln_1p(share) } else { share }, PhantomData)
    }
}

/// Powers of two, so that counts and shares are exact; another for each cell.
fn factor(cell: usize) -> u8 {
    4 << (cell % 5)
}

fn shares<const LOG: bool>(case: &Case) -> Shares<'static> {
    let totals = (0..case.rows.len()).map(|cell| f64::from(factor(cell)) / 4.0);
    Shares::new(totals.collect::<Vec<_>>().leak(), 0.25, LOG).unwrap()
}

/// The counts, cell after cell or gene after gene.
fn counts<T: Under>(case: &Case, by_gene: bool) -> &'static [T] {
    let (cells, genes) = case.shape();
    let at = |i: usize| if by_gene { (i % cells, i / cells) } else { (i / genes, i % genes) };
    let value = |(cell, gene): (usize, usize)| T::stored(case.rows[cell][gene], factor(cell));
    (0..cells * genes).map(|i| value(at(i))).collect::<Vec<_>>().leak()
}

/// Values, indices and pointers of a dense matrix; some zeros are stored.
fn compressed<T: Stored>(
    dense: &[T],
    inner: usize,
) -> (&'static [T], &'static [i32], &'static [i64]) {
    let (mut values, mut indices, mut indptr) = (Vec::new(), Vec::new(), vec![0]);
    for (i, row) in dense.chunks(inner).enumerate() {
        for (j, value) in row.iter().enumerate() {
            if !value.value().is_zero() || (i + j) % 3 == 0 {
                values.push(*value);
                indices.push(j as i32);
            }
        }
        indptr.push(values.len() as i64);
    }
    (values.leak(), indices.leak(), indptr.leak())
}

fn rows<T: Under, const LOG: bool>(case: &Case) -> impl CellMajor<f64> + use<T, LOG> {
    let counts = RowMajor::new(case.shape(), counts::<T>(case, false)).unwrap();
    Normalised::cells(counts, shares::<LOG>(case)).unwrap()
}

fn columns<T: Under, const LOG: bool>(case: &Case) -> impl GeneMajor<f64> + use<T, LOG> {
    let counts = ColumnMajor::new(case.shape(), counts::<T>(case, true)).unwrap();
    Normalised::genes(counts, shares::<LOG>(case)).unwrap()
}

fn csr<T: Under, const LOG: bool>(case: &Case) -> impl CellMajor<f64> + use<T, LOG> {
    let (values, indices, indptr) = compressed(counts::<T>(case, false), case.n_genes);
    let counts = Csr::new(case.shape(), values, indices, indptr).unwrap();
    Normalised::cells(counts, shares::<LOG>(case)).unwrap()
}

fn csc<T: Under, const LOG: bool>(case: &Case) -> impl GeneMajor<f64> + use<T, LOG> {
    let (values, indices, indptr) = compressed(counts::<T>(case, true), case.rows.len());
    let counts = Csc::new(case.shape(), values, indices, indptr).unwrap();
    Normalised::genes(counts, shares::<LOG>(case)).unwrap()
}

suite!(u16_rows, Share<u16, false>, cells, |case| rows::<u16, false>(case));
suite!(f32_rows, Share<f32, false>, cells, |case| rows::<f32, false>(case));
suite!(f64_logs_of_rows, Share<f64, true>, cells, |case| rows::<f64, true>(case));
suite!(u16_csr, Share<u16, false>, cells, |case| csr::<u16, false>(case));
suite!(f32_csr, Share<f32, false>, cells, |case| csr::<f32, false>(case));
suite!(f64_csr, Share<f64, false>, cells, |case| csr::<f64, false>(case));
suite!(i64_csr, Share<i64, false>, cells, |case| csr::<i64, false>(case));
suite!(u64_logs_of_csr, Share<u64, true>, cells, |case| csr::<u64, true>(case));
suite!(u64_columns, Share<u64, false>, genes, |case| columns::<u64, false>(case));
suite!(f32_logs_of_columns, Share<f32, true>, genes, |case| columns::<f32, true>(case));
suite!(u16_csc, Share<u16, false>, genes, |case| csc::<u16, false>(case));
suite!(f64_csc, Share<f64, false>, genes, |case| csc::<f64, false>(case));
suite!(i64_logs_of_csc, Share<i64, true>, genes, |case| csc::<i64, true>(case));

/// All values through a gather, or gene by gene; the code of each cell is its number.
fn gathered(view: &dyn CellMajor<f64>, labels: &[u32], genes: &[u32]) -> Vec<Vec<Entry<f64>>> {
    let block = Block::new(genes).unwrap();
    let mut columns = vec![Vec::new(); genes.len()];
    for number in 0..view.bands() {
        let mut band = Band::default();
        view.gather(number, &block, labels, &mut band).unwrap();
        let columns = columns.iter_mut().enumerate();
        columns.for_each(|(slot, column)| band.append(slot, labels, column));
    }
    columns
}

fn by_gene(view: &dyn GeneMajor<f64>, labels: &[u32], genes: &[u32]) -> Vec<Vec<Entry<f64>>> {
    let column = |&gene: &u32| {
        let mut column = Vec::new();
        append_gene(view, place(gene), labels, &mut column).unwrap();
        column
    };
    genes.iter().map(column).collect()
}

const GENES: usize = 5;

/// Every layout of some counts against the definition.
fn check<T: Stored>(counts: &[T], totals: &[f64], target: f64, log: bool) {
    let cells = totals.len();
    let definition = |cell: usize, gene: usize| {
        let share = match totals[cell] {
            0.0 => 0.0,
            total => (counts[cell * GENES + gene].value().to_f64() * target) / total,
        };
        if log { elementary::ln_1p(share) } else { share }
    };
    let genes: Vec<u32> = (0..GENES as u32).collect();
    let labels: Vec<u32> = (0..cells as u32).collect();
    let want: Vec<Vec<(u32, u64)>> = (0..GENES)
        .map(|gene| {
            let all = (0..cells).map(|cell| (cell as u32, definition(cell, gene)));
            all.filter(|(_, share)| *share != 0.0).map(|(i, v)| (i, v.to_bits())).collect()
        })
        .collect();
    let columns: Vec<T> =
        (0..counts.len()).map(|i| counts[i % cells * GENES + i / cells]).collect();
    let (shape, shares) = ((cells, GENES), Shares::new(totals, target, log).unwrap());
    let (values, indices, indptr) = compressed(counts, GENES);
    let csr = Csr::new(shape, values, indices, indptr).unwrap();
    let (values, indices, indptr) = compressed(&columns, cells);
    let csc = Csc::new(shape, values, indices, indptr).unwrap();
    let rows = RowMajor::new(shape, counts).unwrap();
    let cells: [Box<dyn CellMajor<f64>>; 2] = [
        Box::new(Normalised::cells(csr, shares).unwrap()),
        Box::new(Normalised::cells(rows, shares).unwrap()),
    ];
    let columns = ColumnMajor::new(shape, &columns).unwrap();
    let by_genes: [Box<dyn GeneMajor<f64>>; 2] = [
        Box::new(Normalised::genes(csc, shares).unwrap()),
        Box::new(Normalised::genes(columns, shares).unwrap()),
    ];
    let mut all: Vec<_> = cells.iter().map(|view| gathered(&**view, &labels, &genes)).collect();
    all.extend(by_genes.iter().map(|view| by_gene(&**view, &labels, &genes)));
    for columns in all {
        let bits = |column: Vec<Entry<f64>>| {
            column.into_iter().map(|e| (e.code, e.value.to_bits())).collect()
        };
        assert_eq!(columns.into_iter().map(bits).collect::<Vec<Vec<_>>>(), want);
    }
    for view in cells {
        for cell in 0..shape.0 {
            let visited = view.visit_cell(cell, 0..GENES, &mut |stretch| {
                for (&gene, share) in stretch.places.iter().zip(stretch.values) {
                    let want = definition(cell, place(gene));
                    assert!(share.to_bits() == want.to_bits() || (*share, want) == (0.0, 0.0));
                }
            });
            visited.unwrap();
        }
    }
}

proptest! {
    #[test]
    fn shares_are_those_of_the_definition(
        cells in prop::collection::vec(
            (prop::collection::vec(prop_oneof![2 => Just(0u16), 2 => 1u16..9, 1 => any::<u16>()], GENES), 0usize..4), 1..150,
        ),
        real in 0.01f64..3.0, target in prop_oneof![Just(1e4), Just(1e6), 1f64..1e5], log: bool,
    ) {
        let counts: Vec<u16> = cells.iter().flat_map(|cell| cell.0.iter().copied()).collect();
        // The sum, with other genes, a real number, or none.
        let total = |(counts, kind): &(Vec<u16>, usize)| {
            let sum: f64 = counts.iter().map(|&count| f64::from(count)).sum();
            [sum, sum + 1234.0, sum * real, 0.0][*kind]
        };
        let totals: Vec<f64> = cells.iter().map(total).collect();
        check(&counts, &totals, target, log);
        check(&counts.iter().map(|&c| f32::from(c)).collect::<Vec<_>>(), &totals, target, log);
        check(&counts.iter().map(|&c| f64::from(c) * real).collect::<Vec<_>>(), &totals, target, log);
        check(&counts.iter().map(|&c| i64::from(c) << 30).collect::<Vec<_>>(), &totals, target, log);
        check(&counts.iter().map(|&c| u64::from(c) << 47).collect::<Vec<_>>(), &totals, target, log);
    }

    /// Whole counts with one share are tied; a factor rounded first would untie some.
    #[test]
    fn the_same_share_is_the_same_number(count in 1u32..3000, total in 1u32..300_000, times in 1u32..3000, log: bool) {
        let [one, many] = [1, times].map(|k| [count * k, total * k]);
        let totals = [one[1].into(), many[1].into()];
        let shares = Shares::new(&totals, 1e4, log).unwrap();
        prop_assert_eq!(shares.of(0, one[0].into()), shares.of(1, many[0].into()));
    }
}

#[test]
fn cells_of_no_counts_and_values_that_are_none() {
    let totals = [0.0, 0.0, 2.0, 2.0];
    for log in [false, true] {
        let shares = Shares::new(&totals, 8.0, log).unwrap();
        assert_eq!((shares.of(0, 0.0), shares.of(0, 3.0), shares.of(2, 0.0)), (0.0, 0.0, 0.0));
        assert!(shares.of(0, f64::NAN).is_nan() && shares.of(2, f64::NAN).is_nan());
        let view = ColumnMajor::new((4, 1), &[0.0f32, f32::NAN, f32::NAN, 1.0]).unwrap();
        let view = Normalised::genes(view, shares).unwrap();
        let mut nan = Vec::new();
        view.visit_gene(0, &mut |stretch| nan.extend(stretch.values.iter().map(|v| v.is_nan())))
            .unwrap();
        assert_eq!(nan, [false, true, true, false]);
    }
}

#[test]
fn what_cannot_be_divided_is_refused() {
    let kind =
        |totals: &[f64], target| Shares::new(totals, target, true).unwrap_err().kind().clone();
    for got in [0.0, -1.0, f64::INFINITY] {
        assert_eq!(kind(&[1.0], got), ErrorKind::InvalidTarget { got });
    }
    assert!(matches!(kind(&[1.0], f64::NAN), ErrorKind::InvalidTarget { .. }));
    for got in [-1.0, f64::INFINITY] {
        assert_eq!(kind(&[0.0, got, got], 1.0), ErrorKind::InvalidTotal { cell: 1, got });
    }
    assert!(matches!(kind(&[f64::NAN], 1.0), ErrorKind::InvalidTotal { cell: 0, .. }));
    let shares = Shares::new(&[1.0; 3], 1.0, false).unwrap();
    let mismatch = ErrorKind::ShapeMismatch { what: "totals of cells", expected: 2, got: 3 };
    let rows = RowMajor::new((2, 1), &[1u8, 2]).unwrap();
    assert_eq!(*Normalised::cells(rows, shares).unwrap_err().kind(), mismatch);
    let columns = ColumnMajor::new((2, 1), &[1u8, 2]).unwrap();
    assert_eq!(*Normalised::genes(columns, shares).unwrap_err().kind(), mismatch);
}
