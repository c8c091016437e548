//! The contract of [`super`], as a suite: every view of the same random matrix yields the same
//! columns as the matrix written out.

use super::csc::canonical;
use super::csr::Order;
use super::*;
use crate::error::ErrorKind;
use proptest::prelude::*;

/// A small matrix as rows of i16, its labels, and the genes asked for.
#[derive(Debug, Clone)]
struct Case {
    rows: Vec<Vec<i16>>,
    n_genes: usize,
    labels: Vec<u32>,
    genes: Vec<u32>,
    block: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    (1usize..70, 1usize..14).prop_flat_map(|(n_cells, n_genes)| {
        let value = prop_oneof![3 => Just(0i16), 2 => -3i16..40, 1 => any::<i16>()];
        (
            prop::collection::vec(prop::collection::vec(value, n_genes), n_cells),
            prop::collection::vec(prop_oneof![4 => 0u32..5, 1 => Just(SKIP)], n_cells),
            prop::collection::vec(any::<bool>(), n_genes),
            1usize..6,
        )
            .prop_map(move |(rows, labels, wanted, block)| Case {
                rows,
                n_genes,
                labels,
                genes: (0..n_genes as u32).filter(|&g| wanted[g as usize]).collect(),
                block,
            })
    })
}

impl Case {
    fn shape(&self) -> (usize, usize) {
        (self.rows.len(), self.n_genes)
    }

    fn at(&self, gene_major: bool, outer: usize, inner: usize) -> i16 {
        if gene_major { self.rows[inner][outer] } else { self.rows[outer][inner] }
    }

    /// Values, indices and indptr; zeros of every third place are stored all the same.
    fn compressed(&self, gene_major: bool) -> (Vec<i16>, Vec<i32>, Vec<i64>) {
        let (cells, genes) = self.shape();
        let (outer, inner) = if gene_major { (genes, cells) } else { (cells, genes) };
        let (mut values, mut indices, mut indptr) = (Vec::new(), Vec::new(), vec![0]);
        for i in 0..outer {
            for j in 0..inner {
                let v = self.at(gene_major, i, j);
                if v != 0 || (i + j) % 3 == 0 {
                    values.push(v);
                    indices.push(j as i32);
                }
            }
            indptr.push(values.len() as i64);
        }
        (values, indices, indptr)
    }

    /// What every view must yield: for each gene, (value, code) of labelled non-zeros.
    fn expected(&self) -> Vec<Vec<(f32, u32)>> {
        let column = |&gene: &u32| {
            let cells = self.rows.iter().zip(&self.labels);
            cells
                .map(|(row, &code)| (f32::from(row[gene as usize]), code))
                .filter(|&(v, code)| v != 0.0 && code != SKIP)
                .collect()
        };
        self.genes.iter().map(column).collect()
    }
}

/// What a sweep over blocks of `case.block` genes yields.
fn sweep<M: Matrix>(matrix: &M, case: &Case) -> Vec<Vec<(M::Value, u32)>> {
    let mut bands: Vec<M::Band> = (0..matrix.bands()).map(|_| M::Band::default()).collect();
    let mut columns = Vec::new();
    for genes in case.genes.chunks(case.block) {
        let block = Block::new(genes).unwrap();
        for (i, band) in bands.iter_mut().enumerate() {
            matrix.load(i, &block, &case.labels, band).unwrap();
        }
        for slot in 0..genes.len() {
            let mut column = Column::new();
            matrix.column(&bands, &block, slot, &case.labels, &mut column).unwrap();
            columns.push(column.into_iter().map(|e| (e.value, e.code)).collect());
        }
    }
    columns
}

proptest! {
    #[test]
    fn every_view_yields_the_same_columns(case in cases()) {
        let expected = case.expected();
        let flat: Vec<i16> = case.rows.iter().flatten().copied().collect();
        prop_assert_eq!(&sweep(&RowMajor::new(case.shape(), &flat).unwrap(), &case), &expected);
        let transposed: Vec<i16> = (0..case.n_genes)
            .flat_map(|gene| case.rows.iter().map(move |row| row[gene])).collect();
        prop_assert_eq!(&sweep(&ColumnMajor::new(case.shape(), &transposed).unwrap(), &case), &expected);
        let (values, indices, indptr) = case.compressed(false);
        let (csr, order) = Csr::new(case.shape(), &values, &indices, &indptr).unwrap();
        prop_assert_eq!(order, Order::Canonical);
        prop_assert_eq!(&sweep(&csr, &case), &expected);
        let (values, indices, indptr) = case.compressed(true);
        let (csc, order) = Csc::new(case.shape(), &values, &indices, &indptr).unwrap();
        prop_assert_eq!(order, Order::Canonical);
        prop_assert_eq!(&sweep(&csc, &case), &expected);
    }

    #[test]
    fn unsorted_and_split_entries_are_mended(case in cases()) {
        // Each row reversed, and each value v stored as (v - 1) + 1.
        let (values, indices, indptr) = case.compressed(false);
        let (mut v2, mut i2, mut p2) = (Vec::new(), Vec::new(), vec![0i64]);
        for pair in indptr.windows(2) {
            for i in (pair[0] as usize..pair[1] as usize).rev() {
                v2.extend([values[i].wrapping_sub(1).into(), 1i32]);
                i2.extend([indices[i]; 2]);
            }
            p2.push(v2.len() as i64);
        }
        prop_assume!(!v2.is_empty() && values.iter().all(|&v| v > i16::MIN));
        let (_, order) = Csr::new(case.shape(), &v2, &i2, &p2).unwrap();
        prop_assert_eq!(order, Order::Unsorted);
        let mended = canonical(&v2, &i2, &p2);
        let (csr, order) =
            Csr::new(case.shape(), &mended.values, &mended.indices, &mended.indptr).unwrap();
        prop_assert_eq!(order, Order::Canonical);
        let got = sweep(&csr, &case);
        for (got, want) in got.iter().zip(case.expected()) {
            let want: Vec<(f64, u32)> = want.iter().map(|&(v, c)| (f64::from(v), c)).collect();
            prop_assert_eq!(got, &want);
        }
    }
}

#[test]
fn several_bands_of_rows_keep_their_order() {
    let n = 5000;
    let case = Case {
        rows: (0..n).map(|i| vec![i as i16, 0, (i % 7) as i16]).collect(),
        n_genes: 3,
        labels: (0..n).map(|i| i % 11).collect(),
        genes: vec![0, 2],
        block: 1,
    };
    let expected = case.expected();
    let flat: Vec<i16> = case.rows.iter().flatten().copied().collect();
    assert_eq!(sweep(&RowMajor::new(case.shape(), &flat).unwrap(), &case), expected);
    let (values, indices, indptr) = case.compressed(false);
    let (csr, _) = Csr::new(case.shape(), &values, &indices, &indptr).unwrap();
    assert_eq!(sweep(&csr, &case), expected);
}

#[test]
fn broken_arrays_are_named() {
    let kind = |shape, values: &[f32], indices: &[i32], indptr: &[i64]| {
        Csr::new(shape, values, indices, indptr).map(|_| ()).unwrap_err().kind().clone()
    };
    let shape = (2, 3);
    assert!(matches!(
        kind(shape, &[1.0], &[0], &[0, 1]),
        ErrorKind::ShapeMismatch { what: "indptr", expected: 3, got: 2 }
    ));
    assert!(matches!(
        kind(shape, &[1.0], &[], &[0, 1, 1]),
        ErrorKind::ShapeMismatch { what: "indices", expected: 1, got: 0 }
    ));
    assert!(matches!(
        kind(shape, &[1.0], &[0], &[1, 1, 1]),
        ErrorKind::BrokenIndptr { position: 0, .. }
    ));
    assert!(matches!(
        kind(shape, &[1.0], &[0], &[0, 1, 0]),
        ErrorKind::BrokenIndptr { position: 2, .. }
    ));
    assert!(matches!(
        kind(shape, &[1.0], &[0], &[0, 1, 2]),
        ErrorKind::BrokenIndptr { position: 2, .. }
    ));
    for bad in [3, -1] {
        assert!(matches!(
            kind(shape, &[1.0], &[bad], &[0, 0, 1]),
            ErrorKind::IndexOutOfRange { outer: 1, limit: 3, .. }
        ));
    }
    // In the middle of an unsorted row.
    assert!(matches!(
        kind(shape, &[1.0; 3], &[0, 9, 1], &[0, 3, 3]),
        ErrorKind::IndexOutOfRange { index: 9, .. }
    ));
    assert!(matches!(
        RowMajor::new(shape, &[1.0f32; 5]).unwrap_err().kind(),
        ErrorKind::ShapeMismatch { expected: 6, got: 5, .. }
    ));
}
