//! Arrays that change after they were checked give an error or a safe result: never a panic, never
//! a place out of range.

use super::band::Rows;
use super::compressed::Compressed;
use super::*;
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

const SHAPE: (usize, usize) = (4, 6);
const VALUES: [f32; 9] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
const INDICES: [i32; 9] = [0, 2, 5, 1, 2, 3, 4, 0, 5];
const INDPTR: [i64; 5] = [0, 3, 3, 7, 9];
const LABELS: [u32; 4] = [0, 1, 1, 0];

/// A view of arrays that differ from those that were checked.
fn csr<'a>(indices: &'a [i32; 9], indptr: &'a [i64; 5]) -> Csr<'a, f32> {
    let checked = check(SHAPE.0, SHAPE.1, 9, &INDICES, &INDPTR).unwrap();
    Csr::from_checked(&checked, &VALUES, indices, indptr).unwrap()
}

fn csc<'a>(indices: &'a [i32; 9], indptr: &'a [i64; 5]) -> Csc<'a, f32> {
    let checked = check(SHAPE.0, SHAPE.1, 9, &INDICES, &INDPTR).unwrap();
    Csc::from_checked(&checked, &VALUES, indices, indptr).unwrap()
}

/// The row or column that the error names.
fn outer<T: fmt::Debug>(result: Result<T>) -> usize {
    match result.unwrap_err().kind() {
        ErrorKind::Changed { outer } => *outer,
        other => panic!("{other:?}"),
    }
}

fn visit(view: &dyn CellMajor<f32>, cell: usize) -> Result<Vec<u32>> {
    let mut places = Vec::new();
    view.visit_cell(cell, 0..SHAPE.1, &mut |stretch| places.extend_from_slice(stretch.places))?;
    Ok(places)
}

fn gather(view: &dyn CellMajor<f32>, genes: &[u32], band: &mut Band<f32>) -> Result<()> {
    view.gather(0, &Block::new(genes).unwrap(), &LABELS, band)
}

const GENES: [u32; 6] = [0, 1, 2, 3, 4, 5];

#[test]
fn pointers_that_make_no_sense_are_an_error() {
    for bad in [-1, 1 << 40, 10, 2] {
        let mut indptr = INDPTR;
        indptr[2] = bad;
        // With a pointer of 2, row 1 ends before it starts.
        let view = csr(&INDICES, &indptr);
        assert_eq!(outer(visit(&view, 1)), 1, "{bad}");
        assert_eq!(outer(gather(&view, &GENES, &mut Band::default())), 1, "{bad}");
        let view = csc(&INDICES, &indptr);
        assert_eq!(outer(view.visit_gene(1, &mut |_| ())), 1);
        assert_eq!(outer(view.sample_gene(1, 9, &mut Vec::new())), 1);
        assert_eq!(outer(view.gene_entries(1)), 1);
    }
}

#[test]
fn indices_out_of_range_or_order_are_an_error() {
    for bad in [-1, 6, i32::MIN, i32::MAX, 1, 2] {
        let mut indices = INDICES;
        indices[4] = bad;
        let (view, by_gene) = (csr(&indices, &INDPTR), csc(&indices, &INDPTR));
        if bad == 2 {
            assert_eq!(visit(&view, 2).unwrap(), [1, 2, 3, 4]);
            continue;
        }
        assert_eq!(outer(visit(&view, 2)), 2, "{bad}");
        assert_eq!(outer(by_gene.visit_gene(2, &mut |_| ())), 2, "{bad}");
    }
}

#[test]
fn an_entry_that_an_earlier_block_left_behind_is_an_error() {
    let mut indices = INDICES;
    // Row 2 is now 1, 5, 3, 4: the first block stops at 5 and leaves 3 behind.
    indices[4] = 5;
    let (view, mut band) = (csr(&indices, &INDPTR), Band::default());
    for (genes, next) in [([0, 1, 2, 3], &[4, 5][..]), ([0, 1, 2, 4], &[5])] {
        band.reset();
        gather(&view, &genes, &mut band).unwrap();
        assert_eq!(outer(gather(&view, next, &mut band)), 2);
    }
    // After an error the band can be used again.
    gather(&csr(&INDICES, &INDPTR), &[4, 5], &mut band).unwrap();
    let mut column = Column::new();
    band.append(1, &LABELS, &mut column);
    assert_eq!(column.iter().map(|e| e.value).collect::<Vec<_>>(), [3.0, 9.0]);
}

#[test]
fn arrays_that_change_between_blocks_are_an_error() {
    let mut band = Band::default();
    gather(&csr(&INDICES, &INDPTR), &[0, 1, 2], &mut band).unwrap();
    // Row 1 now has entries of genes before the block.
    assert_eq!(outer(gather(&csr(&INDICES, &[0, 3, 6, 7, 9]), &[3, 4], &mut band)), 1);
    gather(&csr(&INDICES, &INDPTR), &[0, 1, 2], &mut band).unwrap();
    // Row 2 now has one entry, but its cursor is at offset 2.
    assert_eq!(outer(gather(&csr(&INDICES, &[0, 3, 3, 4, 9]), &[3, 4], &mut band)), 2);
}

/// An index that changes its value after `after` reads of all indices.
#[derive(Debug, Clone, Copy)]
struct Turncoat {
    first: u32,
    then: u32,
    reads: &'static AtomicUsize,
    after: usize,
}

impl PartialEq for Turncoat {
    fn eq(&self, other: &Self) -> bool {
        self.first == other.first
    }
}

impl Eq for Turncoat {}

impl PartialOrd for Turncoat {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Turncoat {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.first.cmp(&other.first)
    }
}

impl Index for Turncoat {
    fn get(self) -> i64 {
        self.place().into()
    }

    fn place(self) -> u32 {
        let read = self.reads.fetch_add(1, Ordering::Relaxed);
        if read < self.after { self.first } else { self.then }
    }

    fn less(self, _: i64) -> Self {
        self
    }
}

/// Gathers `genes` from rows whose indices change to `then` after `after` reads.
fn gather_turning(then: &[u32; 9], after: usize, genes: &[u32]) -> Result<Vec<Vec<f32>>> {
    let reads: &'static AtomicUsize = Box::leak(Box::default());
    let turn = |(&first, &then): (&i32, &u32)| Turncoat { first: first as u32, then, reads, after };
    let indices: Vec<Turncoat> = INDICES.iter().zip(then).map(turn).collect();
    let rows = Compressed { values: &VALUES, indices: &indices, indptr: (&INDPTR).into() };
    let (block, mut band) = (Block::new(genes).unwrap(), Band::default());
    band.gather(&rows, &(0..SHAPE.0), &block, &LABELS)?;
    let column = |slot| {
        let mut column = Column::new();
        band.append(slot, &LABELS, &mut column);
        column.iter().map(|entry| entry.value).collect()
    };
    Ok((0..genes.len()).map(column).collect())
}

#[test]
fn passes_of_a_gather_that_disagree_are_an_error() {
    let same = INDICES.map(|index| index as u32);
    let expected: Vec<Vec<f32>> =
        vec![vec![1.0, 8.0], vec![4.0], vec![2.0, 5.0], vec![6.0], vec![7.0], vec![3.0, 9.0]];
    for after in 0..=18 {
        assert_eq!(gather_turning(&same, after, &GENES).unwrap(), expected);
    }
    // The first pass reads 9 indices. Then an entry moves to another gene, out of the block, or out
    // of the matrix.
    for to in [0, 3, 5, 6, u32::MAX, 1 << 31] {
        let mut then = same;
        then[4] = to;
        assert!(gather_turning(&then, 9, &GENES).is_err(), "{to}");
        assert!(gather_turning(&then, 9, &[0, 2, 4, 5]).is_err(), "{to}");
    }
    // If two indices are swapped, the row still holds the same genes.
    let mut then = same;
    then.swap(3, 4);
    assert!(gather_turning(&then, 9, &GENES).is_ok());
}

#[test]
fn a_band_longer_than_labels_is_an_error() {
    let rows = Compressed { values: &VALUES, indices: &INDICES, indptr: (&INDPTR).into() };
    let block = Block::new(&GENES).unwrap();
    assert!(Band::<f32>::default().gather(&rows, &(0..4), &block, &LABELS[..3]).is_err());
    assert!(
        rows.seek(7, 1).is_err() && rows.places(7, band::Cursor::default(), 9, |_| ()).is_err()
    );
}

proptest! {
    #[test]
    fn no_content_of_the_arrays_is_a_panic(
        indices in prop::collection::vec(prop_oneof![4 => -1i32..7, 1 => any::<i32>()], 9),
        indptr in prop::collection::vec(prop_oneof![4 => -1i64..11, 1 => any::<i64>()], 5),
        then in prop::collection::vec(prop_oneof![4 => 0u32..7, 1 => any::<u32>()], 9),
        after in 0usize..30, genes in prop::collection::btree_set(0u32..6, 1..6), cuts in (0usize..=6, 0usize..=6),
    ) {
        let genes: Vec<u32> = genes.into_iter().collect();
        let (indices, indptr): ([i32; 9], [i64; 5]) = (indices.try_into().unwrap(), indptr.try_into().unwrap());
        let (rows, columns) = (csr(&indices, &indptr), csc(&indices, &indptr));
        let range = cuts.0.min(cuts.1)..cuts.0.max(cuts.1);
        let mut band = Band::default();
        for cell in 0..SHAPE.0 {
            let mut last = None;
            let _ = rows.visit_cell(cell, range.clone(), &mut |stretch| {
                for &place in stretch.places {
                    assert!(range.contains(&(place as usize)) && last < Some(place));
                    last = Some(place);
                }
            });
            let _ = columns.visit_gene(cell, &mut |stretch| {
                assert!(stretch.places.iter().all(|&place| (place as usize) < SHAPE.1));
            });
            let _ = (columns.sample_gene(cell, 3, &mut Vec::new()), columns.gene_entries(cell));
        }
        for genes in genes.chunks(2) {
            if gather(&rows, genes, &mut band).is_ok() {
                (0..genes.len()).for_each(|slot| band.append(slot, &LABELS, &mut Column::new()));
            }
        }
        let then: [u32; 9] = then.try_into().unwrap();
        let _ = gather_turning(&then, after, &genes);
        let _ = canonical(&VALUES, &indices, &indptr);
    }
}
