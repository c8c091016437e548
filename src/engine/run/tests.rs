//! Every layout and source gives one table.

use super::*;
use crate::engine::column::Column;
use crate::engine::design::{Design, Reference};
use crate::engine::fold::{Fold, FoldRequest, Folding};
use crate::engine::request::Scale;
use crate::engine::test::Test;
use crate::matrix::counted::{Part, Parts};
use crate::matrix::{ColumnMajor, Csc, Csr, RowMajor};
use crate::stats::ttest::{self, Method::Permutation};
use crate::stats::wilcoxon;
use proptest::prelude::*;

mod normalised;

const CELLS: usize = 60;
const GENES: usize = 9;
const TARGETS: usize = 4;

/// Rows of counts with a few entries of every other kind, of a kind for each gene.
fn rows() -> impl Strategy<Value = Vec<f32>> {
    let odd = prop_oneof![
        Just(70_000.0f32),
        Just(300.0),
        Just(301.0),
        Just(-2.0),
        Just(2.5),
        Just(-0.0),
        0f32..9.0
    ];
    let kinds = prop::collection::vec((0usize..4, odd), GENES);
    let counts = prop::collection::vec((0u8..9, 0u8..40), CELLS * GENES);
    (kinds, counts).prop_map(|(kinds, counts)| {
        let value = |(i, &(count, chance)): (usize, &(u8, u8))| {
            let (kind, odd) = kinds[i % GENES];
            match kind {
                1 if chance == 0 => odd,
                2 if chance < 20 => 0.0,
                3 => 0.0,
                _ => f32::from(count.saturating_sub(4)),
            }
        };
        counts.iter().enumerate().map(value).collect()
    })
}

fn compressed(rows: &[f32], by_gene: bool) -> (Vec<f32>, Vec<i32>, Vec<i64>) {
    let (outer, inner) = if by_gene { (GENES, CELLS) } else { (CELLS, GENES) };
    let (mut values, mut indices, mut indptr) = (Vec::new(), Vec::new(), vec![0]);
    for i in 0..outer {
        for j in 0..inner {
            let v = rows[if by_gene { j * GENES + i } else { i * GENES + j }];
            // Some zeros are stored.
            if v != 0.0 || (i + j) % 5 == 0 {
                values.push(v);
                indices.push(j as i32);
            }
        }
        indptr.push(values.len() as i64);
    }
    (values, indices, indptr)
}

/// The measured table of one view, all p-values made.
fn table<V: Value>(view: &View<V>, request: &Request, limits: Limits) -> Table {
    let n_targets = request.design.n_targets();
    let mut table = Table::new(n_targets, request.genes.len(), request.own_columns());
    let (tables, monitor) = (NullTables::default(), Monitor::default());
    let run = Run { request, tables: &tables, limits, monitor: &monitor };
    let mut workspace = Workspace::new(2);
    // Twice, so that what is left in the scratch of one run is seen by the next.
    run.run(view, &mut workspace, (&mut table, 0)).unwrap();
    run.run(view, &mut workspace, (&mut table, 0)).unwrap();
    table.complete(request.test);
    table
}

/// Columns of a table's part.
#[derive(Default)]
struct Columns {
    starts: Vec<u64>,
    groups: Vec<u32>,
    values: Vec<f32>,
    counts: Vec<u32>,
}

/// The count table of some cells, whose groups are `labels`.
fn counted(rows: &[f32], labels: &[u32], n_groups: usize) -> Columns {
    let design = Design::new(labels.to_vec(), n_groups - 1, Reference::Rest).unwrap();
    let genes: Vec<u32> = (0..GENES as u32).collect();
    let monitor = Monitor::default();
    let request = FoldRequest {
        design: &design,
        genes: &genes,
        folding: Folding::Values,
        zeros: true,
        rows: 40,
        refuses_nan: true,
        limits: Limits::default(),
        monitor: &monitor,
    };
    let view = View::cells(RowMajor::new((labels.len(), GENES), rows).unwrap());
    let mut counts = Columns { starts: vec![0], ..Columns::default() };
    let mut fold = Fold::new(2);
    while let Some(parts) = fold.next(&view, &request).unwrap() {
        for part in parts {
            let before = counts.groups.len();
            counts.starts.extend(part.ends.iter().map(|end| (before + end) as u64));
            counts.groups.extend(part.group);
            counts.values.extend(part.value);
            counts.counts.extend(part.count);
        }
    }
    counts
}

fn same(a: &[f64], b: &[f64]) -> bool {
    let equal = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
    a.len() == b.len() && a.iter().zip(b).all(equal)
}

/// Limits so small that a screen of 60 cells has several strips and blocks, and large groups.
fn tiny() -> Limits {
    Limits {
        strip_bins: 30,
        least_strip_bins: 1,
        table_bins: 150,
        walk: 3,
        block_entries: 120,
        block_genes: 2,
        block_records: 8,
        ..Limits::default()
    }
}

proptest! {
    #[test]
    fn every_layout_and_source_gives_one_table(
        rows in rows(), labels in prop::collection::vec(0u32..6, CELLS), rest: bool,
        test in prop::sample::select(Test::each().to_vec()), stratified: bool,
        scale in prop::sample::select(vec![Scale::Plain, Scale::MeanOfExpm1 { ln_base: 1.0 }, Scale::Geometric]),
        skipped in prop::collection::vec(0u8..8, GENES), auroc: bool, small: bool,
        finer in prop::collection::vec(0u32..3, CELLS), cut in 0..=CELLS,
        strata in prop::collection::vec(prop_oneof![9 => 0u32..3, 1 => Just(SKIP)], CELLS),
    ) {
        let labels: Vec<u32> = labels.iter().map(|&l| if l > TARGETS as u32 { SKIP } else { l }).collect();
        let reference = if rest { Reference::Rest } else { Reference::Group };
        let mut design = Design::new(labels, TARGETS, reference).unwrap();
        if stratified && test.check_stratified().is_ok() {
            design = design.stratified(&strata, 3).unwrap();
        }
        let genes: Vec<u32> = (0..GENES as u32).filter(|&g| skipped[g as usize] > 0).collect();
        // Geometric means need values above -1.
        let rows: Vec<f32> = rows.iter().map(|&v| if scale == Scale::Plain { v } else { v.clamp(0.0, 600.0) }).collect();
        let request = Request { design: &design, test, auroc, scale, genes: &genes };
        let limits = if small { tiny() } else { Limits::default() };
        let shape = (CELLS, GENES);
        let (values, indices, indptr) = compressed(&rows, true);
        let csc = Csc::new(shape, &values, &indices, &indptr).unwrap();
        let want = table(&View::Genes(Box::new(csc)), &request, Limits::default());
        let csc = Csc::new(shape, &values, &indices, &indptr).unwrap();
        let (values, indices, indptr) = compressed(&rows, false);
        let csr = Csr::new(shape, &values, &indices, &indptr).unwrap();
        let columns: Vec<f32> = (0..CELLS * GENES).map(|i| rows[i % CELLS * GENES + i / CELLS]).collect();
        let views: [View<f32>; 4] = [
            View::Genes(Box::new(csc)),
            View::Cells(Box::new(csr)),
            View::Cells(Box::new(RowMajor::new(shape, &rows).unwrap())),
            View::Genes(Box::new(ColumnMajor::new(shape, &columns).unwrap())),
        ];
        let mut tables: Vec<Table> = views.iter().map(|view| table(view, &request, limits)).collect();
        let wide: Vec<f64> = rows.iter().map(|&v| f64::from(v)).collect();
        let wide = RowMajor::new(shape, &wide).unwrap();
        tables.push(table(&View::Cells(Box::new(wide)), &request, limits));
        // A count table of finer groups, in two parts of some cells each.
        let codes = design.codes();
        let mut groups: Vec<(u32, u32)> = codes.iter().copied().zip(finer.iter().copied()).collect();
        groups.sort_unstable();
        groups.dedup();
        let number = |cell: usize| groups.binary_search(&(codes[cell], finer[cell])).unwrap() as u32;
        let labels: Vec<u32> = (0..CELLS).map(number).collect();
        let halves = [(0, cut), (cut, CELLS)].map(|(a, b)| counted(&rows[a * GENES..b * GENES], &labels[a..b], groups.len()));
        let parts = halves.iter().map(|c| Part { first: 0, starts: &c.starts, groups: &c.groups, values: &c.values, counts: &c.counts });
        let parts = Parts::new((groups.len(), GENES), parts.collect()).unwrap();
        let sizes = (0..groups.len() as u32).map(|g| labels.iter().filter(|&&l| l == g).count() as u64).collect();
        let of_groups = design.regrouped(groups.iter().map(|group| group.0).collect(), sizes);
        let request = Request { design: &of_groups, ..request };
        tables.push(table(&View::counted(parts), &request, limits));
        for got in tables {
            // Whole numbers up to the last step, and sums in two words: the same bits.
            for column in Column::measured(request.own_columns()) {
                prop_assert!(same(&got[column], &want[column]), "{:?} {:?} {:?}", column, &got[column], &want[column]);
            }
        }
    }
}

/// More than 16,384 cells in one group, as large groups are in default limits, beside 16,384.
#[test]
fn large_groups_are_walked_by_all_workers() {
    for n in [16_384usize, 16_385, 70_000] {
        let cells = n + 300;
        let value = |cell: usize, gene: usize| ((cell * 7 + gene * 13) % 11 % (gene + 2)) as f32;
        let rows: Vec<f32> = (0..cells * 3).map(|i| value(i / 3, i % 3)).collect();
        let columns: Vec<f32> = (0..cells * 3).map(|i| value(i % cells, i / cells)).collect();
        let code = |cell: usize| if cell < n { 0 } else { 1 + (cell % 2) as u32 };
        let labels: Vec<u32> = (0..cells).map(code).collect();
        for reference in [Reference::Group, Reference::Rest] {
            let design = Design::new(labels.clone(), 2, reference).unwrap();
            let test = Test::Wilcoxon(wilcoxon::Options::default());
            let (scale, genes) = (Scale::Plain, &[0, 1, 2][..]);
            let request = Request { design: &design, test, auroc: false, scale, genes };
            let mut out = Vec::new();
            let shape = (cells, 3);
            for view in [
                View::Cells(Box::new(RowMajor::new(shape, &rows).unwrap())),
                View::Genes(Box::new(ColumnMajor::new(shape, &columns).unwrap())),
            ] {
                let (tables, monitor) = (NullTables::default(), Monitor::default());
                let limits = Limits::default();
                let run = Run { request: &request, tables: &tables, limits, monitor: &monitor };
                let mut table = Table::new(2, 3, request.own_columns());
                run.run::<f32>(&view, &mut Workspace::new(2), (&mut table, 0)).unwrap();
                out.push(table);
            }
            for column in [Column::Statistic, Column::TargetMean, Column::ZScore] {
                assert!(same(&out[0][column], &out[1][column]), "{n} {reference:?} {column:?}");
            }
        }
    }
}

/// Targets of more distinct values than are listed, small, large, whole and real: nodes have the same
/// bits from every source.
#[test]
fn nodes_of_values_are_those_of_every_source() {
    let (cells, genes) = (900usize, 4usize);
    let value = |cell: usize, gene: usize| {
        let u = (cell * 7_919 + gene * 104_729) % 1_009;
        let shifted = if cell < 300 && gene != 3 { u + u / 3 } else { u };
        let count = (shifted * shifted / 2_500) as f32;
        match gene {
            0 => count,
            1 => count - 12.0,
            2 => count / 8.0,
            _ => (u as f32).sqrt() * f32::from(u8::from(u > 400)),
        }
    };
    let rows: Vec<f32> = (0..cells * genes).map(|i| value(i / genes, i % genes)).collect();
    let columns: Vec<f32> = (0..cells * genes).map(|i| value(i % cells, i / cells)).collect();
    let wide: Vec<f64> = rows.iter().map(|&v| f64::from(v)).collect();
    // Targets of 30, 200 and 70 cells.
    let code =
        |cell: usize| [(30, 1), (230, 2), (300, 3), (900, 0)].into_iter().find(|c| cell < c.0);
    let labels: Vec<u32> = (0..cells).map(|cell| code(cell).map_or(SKIP, |c| c.1)).collect();
    let options = ttest::Options { method: Permutation, ..Default::default() };
    let shape = (cells, genes);
    for reference in [Reference::Group, Reference::Rest] {
        let design = Design::new(labels.clone(), 3, reference).unwrap();
        let (test, scale, genes) = (Test::TTest(options), Scale::Plain, &[0, 1, 2, 3][..]);
        let request = Request { design: &design, test, auroc: false, scale, genes };
        let mut tables = Vec::new();
        for limits in [Limits::default(), tiny()] {
            let by_cells = View::Cells(Box::new(RowMajor::new(shape, &rows).unwrap()));
            let by_genes = View::Genes(Box::new(ColumnMajor::new(shape, &columns).unwrap()));
            tables.extend([by_cells, by_genes].map(|view| table::<f32>(&view, &request, limits)));
            let wide = View::Cells(Box::new(RowMajor::new(shape, &wide).unwrap()));
            tables.push(table::<f64>(&wide, &request, limits));
        }
        let student = Test::TTest(ttest::Options::default());
        let request = Request { test: student, ..request };
        let view = View::Cells(Box::new(RowMajor::new(shape, &rows).unwrap()));
        let student = table::<f32>(&view, &request, Limits::default());
        let (p, others) = (&tables[0][Column::PValue], &student[Column::PValue]);
        let changed = p.iter().zip(others).filter(|(a, b)| a != b).count();
        assert!(p.iter().all(|p| *p > 0.0) && changed >= 6, "{p:?} {others:?}");
        for (i, other) in tables.iter().enumerate().skip(1) {
            assert!(
                same(&other[Column::PValue], p),
                "{i} {reference:?} {:?} {p:?}",
                &other[Column::PValue]
            );
        }
    }
}

fn error(genes: &[u32], labels: Vec<u32>, values: &[f32]) -> ErrorKind {
    let design = Design::new(labels, 1, Reference::Group).unwrap();
    let test = Test::each()[0];
    let request = Request { design: &design, test, auroc: false, scale: Scale::Plain, genes };
    let (tables, monitor) = (NullTables::default(), Monitor::default());
    let limits = Limits::default();
    let run = Run { request: &request, tables: &tables, limits, monitor: &monitor };
    let mut table = Table::new(1, genes.len(), request.own_columns());
    let view = View::Cells(Box::new(RowMajor::new((2, 3), values).unwrap()));
    let error = run.run(&view, &mut Workspace::new(1), (&mut table, 0)).unwrap_err();
    error.kind().clone()
}

#[test]
fn genes_must_ascend_and_exist() {
    let values = [1.0; 6];
    for (genes, position) in [(&[1, 0][..], 1), (&[0, 2, 2], 2)] {
        assert_eq!(error(genes, vec![0, 1], &values), ErrorKind::UnsortedGenes { position });
    }
    let (gene, n_genes) = (3, 3);
    assert_eq!(error(&[0, 3], vec![0, 1], &values), ErrorKind::UnknownGene { gene, n_genes });
    let (what, expected, got) = ("labels", 2, 3);
    let mismatch = ErrorKind::ShapeMismatch { what, expected, got };
    assert_eq!(error(&[0], vec![0, 1, 1], &values), mismatch);
}

#[test]
fn the_first_nan_is_named() {
    let values = [f32::NAN, 1.0, f32::NAN, 2.0, f32::NAN, 1.0];
    let at = |cell, gene| ErrorKind::NotANumber { cell, gene };
    assert_eq!(error(&[0, 1, 2], vec![0, 1], &values), at(0, 0));
    // A gene that is not asked for, and a cell that takes no part, may hold one.
    assert_eq!(error(&[1, 2], vec![0, 1], &values), at(0, 2));
    assert_eq!(error(&[0, 1], vec![SKIP, 1], &values), at(1, 1));
}

#[test]
fn a_table_needs_the_numbers_of_cells_of_its_groups() {
    let design = Design::new(vec![0, 1], 1, Reference::Group).unwrap();
    let (test, scale, genes) = (Test::each()[0], Scale::Plain, &[0][..]);
    let request = Request { design: &design, test, auroc: false, scale, genes };
    let (tables, monitor, limits) = (NullTables::default(), Monitor::default(), Limits::default());
    let run = Run { request: &request, tables: &tables, limits, monitor: &monitor };
    let part = Part { first: 0, starts: &[0, 1], groups: &[0], values: &[1.0f32], counts: &[3] };
    let view = View::counted(Parts::new((2, 1), vec![part]).unwrap());
    let mut table = Table::new(1, 1, request.own_columns());
    let error = run.run(&view, &mut Workspace::new(1), (&mut table, 0)).unwrap_err();
    let (what, expected, got) = ("numbers of cells of a table's groups", 2, 0);
    assert_eq!(*error.kind(), ErrorKind::ShapeMismatch { what, expected, got });
}
