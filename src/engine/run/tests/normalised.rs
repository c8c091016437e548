//! A normalised view has the table of the matrix of its values.

use super::*;
use crate::engine::totals::totals;
use crate::matrix::normalised::{Normalised, Shares};

const SHAPE: (usize, usize) = (CELLS, GENES);

fn by_gene<T: Copy>(rows: &[T]) -> Vec<T> {
    (0..CELLS * GENES).map(|i| rows[i % CELLS * GENES + i / CELLS]).collect()
}

/// The tables of a matrix in every layout, each with the values of `rows` as shares, or as they are.
fn tables<V>(rows: &[V], shares: Option<Shares>, request: &Request, limits: Limits) -> Vec<Table>
where
    V: Value + crate::matrix::Stored<Value = V>,
{
    let compressed = |by_gene: bool| {
        let (outer, inner) = if by_gene { (GENES, CELLS) } else { (CELLS, GENES) };
        let at = |i, j| if by_gene { j * GENES + i } else { i * GENES + j };
        let (mut values, mut indices, mut indptr) = (Vec::new(), Vec::new(), vec![0i64]);
        for (i, j) in (0..outer).flat_map(|i| (0..inner).map(move |j| (i, j))) {
            if !rows[at(i, j)].is_zero() || (i + j) % 5 == 0 {
                values.push(rows[at(i, j)]);
                indices.push(j as i32);
            }
            if j + 1 == inner {
                indptr.push(values.len() as i64);
            }
        }
        (values, indices, indptr)
    };
    let (by_cell, columns) = (compressed(false), by_gene(rows));
    let by_column = compressed(true);
    let csr = Csr::new(SHAPE, &by_cell.0, &by_cell.1, &by_cell.2).unwrap();
    let csc = Csc::new(SHAPE, &by_column.0, &by_column.1, &by_column.2).unwrap();
    let rows = RowMajor::new(SHAPE, rows).unwrap();
    let columns = ColumnMajor::new(SHAPE, &columns).unwrap();
    let Some(shares) = shares else {
        let views = [View::cells(csr), View::cells(rows), View::genes(csc), View::genes(columns)];
        return views.iter().map(|view| table(view, request, limits)).collect();
    };
    let views = [
        View::cells(Normalised::cells(csr, shares).unwrap()),
        View::cells(Normalised::cells(rows, shares).unwrap()),
        View::genes(Normalised::genes(csc, shares).unwrap()),
        View::genes(Normalised::genes(columns, shares).unwrap()),
    ];
    views.iter().map(|view| table(view, request, limits)).collect()
}

proptest! {
    #[test]
    fn a_normalised_view_has_the_table_of_its_values(
        rows in rows(), labels in prop::collection::vec(0u32..TARGETS as u32 + 2, CELLS), rest: bool,
        test in prop::sample::select(Test::each().to_vec()), log: bool, small: bool, wide: bool,
        scale in prop::sample::select(vec![Scale::Plain, Scale::MeanOfExpm1 { ln_base: 1.0 }, Scale::Geometric]),
        target in prop_oneof![Just(1e4), Just(4.0), 1f64..100.0], auroc: bool,
    ) {
        let labels: Vec<u32> = labels.iter().map(|&l| if l > TARGETS as u32 { SKIP } else { l }).collect();
        let reference = if rest { Reference::Rest } else { Reference::Group };
        let design = Design::new(labels, TARGETS, reference).unwrap();
        let genes: Vec<u32> = (0..GENES as u32).filter(|gene| gene % 4 != 2).collect();
        // Shares of 10,000 have no expm1.
        let scale = if log || scale == Scale::Geometric { scale } else { Scale::Plain };
        let request = Request { design: &design, test, auroc, scale, genes: &genes };
        let limits = if small { tiny() } else { Limits::default() };
        let rows: Vec<f32> = rows.iter().map(|&v| v.abs()).collect();
        let totals = totals(&View::cells(RowMajor::new(SHAPE, &rows).unwrap())).unwrap();
        let shares = Shares::new(&totals, target, log).unwrap();
        let value = |(i, &v): (usize, &f32)| shares.of(i / GENES, v.into());
        let values: Vec<f64> = rows.iter().enumerate().map(value).collect();
        let want = tables(&values, None, &request, limits);
        let got = if wide {
            let rows: Vec<f64> = rows.iter().map(|&v| v.into()).collect();
            tables(&rows, Some(shares), &request, limits)
        } else {
            tables(&rows, Some(shares), &request, limits)
        };
        for (layout, (got, want)) in got.iter().zip(&want).enumerate() {
            for column in Column::measured(request.own_columns()) {
                let (got, want) = (&got[column], &want[column]);
                prop_assert!(same(got, want), "{layout} {:?} {:?} {:?}", column, got, want);
            }
        }
    }
}

/// Cells without counts, and a NaN: the error names it although its whole cell is divided.
#[test]
fn the_first_nan_of_a_normalised_view_is_named() {
    let values = [1.0f32, 2.0, 0.0, 3.0, f32::NAN, 1.0, 0.0, 0.0, 0.0];
    let design = Design::new(vec![0, 1, 1], 1, Reference::Group).unwrap();
    let (test, scale, genes) = (Test::each()[0], Scale::Plain, &[0, 1, 2][..]);
    let request = Request { design: &design, test, auroc: false, scale, genes };
    let (tables, monitor, limits) = (NullTables::default(), Monitor::default(), Limits::default());
    let run = Run { request: &request, tables: &tables, limits, monitor: &monitor };
    let shares = Shares::new(&[3.0, 4.0, 0.0], 1e4, true).unwrap();
    let columns: Vec<f32> = (0..9).map(|i| values[i % 3 * 3 + i / 3]).collect();
    let rows = RowMajor::new((3, 3), &values).unwrap();
    let columns = ColumnMajor::new((3, 3), &columns).unwrap();
    for view in [
        View::cells(Normalised::cells(rows, shares).unwrap()),
        View::genes(Normalised::genes(columns, shares).unwrap()),
    ] {
        let mut table = Table::new(1, 3, request.own_columns());
        let error = run.run(&view, &mut Workspace::new(1), (&mut table, 0)).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::NotANumber { cell: 1, gene: 1 });
    }
}
