//! A test suite for the contracts of [`super`]: every access path of a view yields the same matrix.
//!
//! `suite!(name, cells, |case| view)` (or `genes`) makes a module of tests for the view that the
//! closure makes from a [`Case`]. A new layout needs nothing else. Each access path is tested by
//! one function below, whose name a failure shows. `broken.rs` tests that these functions catch
//! faulty views.

use super::*;
use proptest::prelude::*;
use std::fmt::Debug;

/// A matrix as rows of i16, which [`Sample::of`] converts to values; labels; and what is requested.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub rows: Vec<Vec<i16>>,
    pub n_genes: usize,
    pub labels: Vec<u32>,
    /// The requested genes, ascending.
    pub genes: Vec<u32>,
    /// The number of genes in a block.
    pub block: usize,
    /// Where ranges of genes are cut.
    pub cuts: (usize, usize),
}

/// A stored type that can be made from random integers.
pub(super) trait Sample: Stored<Value: Debug> + Debug {
    /// Maps 0 to 0, and covers the special values of the type.
    fn of(raw: i16) -> Self;
}

macro_rules! sample {
    ($($t:ty: |$raw:ident| $of:expr;)*) => {$(
        impl Sample for $t {
            fn of($raw: i16) -> Self {
                $of
            }
        }
    )*};
}

sample! {
    i8: |raw| raw as i8;
    u8: |raw| raw as u8;
    i16: |raw| raw;
    u16: |raw| raw as u16;
    i32: |raw| i32::from(raw).wrapping_mul(65_537);
    u32: |raw| raw as u32;
    // Adjacent integers with the same nearest f64.
    i64: |raw| if raw > 100 { (1 << 60) + i64::from(raw) } else { i64::from(raw) };
    u64: |raw| if raw > 100 { (1 << 63) + raw as u64 } else { raw as u64 };
    f32: |raw| if raw == 13 { f32::NAN } else { f32::from(raw) };
    f64: |raw| match raw {
        13 => f64::NAN,
        14 => f64::INFINITY,
        _ => f64::from(raw) * 0.37,
    };
}

/// An integer type of indices or pointers.
pub(super) trait Whole: TryFrom<usize> + 'static {}

impl<T: TryFrom<usize> + 'static> Whole for T {}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    (1usize..70, 1usize..14).prop_flat_map(|(n_cells, n_genes)| {
        let value =
            prop_oneof![3 => Just(0i16), 2 => -3i16..40, 1 => any::<i16>(), 1 => Just(13i16)];
        (
            prop::collection::vec(prop::collection::vec(value, n_genes), n_cells),
            prop::collection::vec(prop_oneof![4 => 0u32..5, 1 => Just(SKIP)], n_cells),
            prop::collection::vec(any::<bool>(), n_genes),
            1usize..6,
            (0..=n_genes, 0..=n_genes),
        )
            .prop_map(move |(rows, labels, wanted, block, cuts)| Case {
                rows,
                n_genes,
                labels,
                genes: (0..n_genes as u32).filter(|&g| wanted[g as usize]).collect(),
                block,
                cuts: (cuts.0.min(cuts.1), cuts.0.max(cuts.1)),
            })
    })
}

impl Case {
    /// More cells than a band has, and a gene that is zero everywhere.
    fn tall() -> Self {
        let n = 5000u32;
        Self {
            rows: (0..n).map(|i| vec![i as i16, 0, (i % 7) as i16]).collect(),
            n_genes: 3,
            labels: (0..n).map(|i| if i % 13 == 0 { SKIP } else { i % 11 }).collect(),
            genes: vec![0, 2],
            block: 1,
            cuts: (1, 3),
        }
    }

    /// More genes than a stretch has entries.
    fn wide() -> Self {
        let n = 3 * STRETCH + 7;
        Self {
            rows: (0..5)
                .map(|cell| (0..n).map(|gene| ((cell + gene) % 5) as i16).collect())
                .collect(),
            n_genes: n,
            labels: vec![0, 1, SKIP, 1, 0],
            genes: (0..n as u32).filter(|gene| gene % 50 != 3).collect(),
            block: 100,
            cuts: (2, 2 * STRETCH + 3),
        }
    }

    /// Genes with more cells than a stretch has entries, and one without non-zeros.
    fn long() -> Self {
        let n = 3 * STRETCH + 7;
        Self {
            rows: (0..n).map(|cell| vec![(cell % 5) as i16, 0, 1]).collect(),
            n_genes: 3,
            labels: (0..n as u32).map(|cell| if cell % 9 == 4 { SKIP } else { cell % 3 }).collect(),
            genes: vec![0, 1, 2],
            block: 2,
            cuts: (0, 2),
        }
    }

    /// Cases that are too large to be drawn at random.
    pub fn large() -> [Self; 3] {
        [Self::tall(), Self::wide(), Self::long()]
    }

    pub fn shape(&self) -> (usize, usize) {
        (self.rows.len(), self.n_genes)
    }

    /// The dense values, cell after cell or gene after gene.
    pub fn dense<S: Sample>(&self, gene_major: bool) -> &'static [S] {
        let (cells, genes) = self.shape();
        let (outer, inner) = if gene_major { (genes, cells) } else { (cells, genes) };
        let places = (0..outer).flat_map(|i| (0..inner).map(move |j| (i, j)));
        places.map(|(i, j)| S::of(self.at(gene_major, i, j))).collect::<Vec<_>>().leak()
    }

    fn at(&self, gene_major: bool, outer: usize, inner: usize) -> i16 {
        if gene_major { self.rows[inner][outer] } else { self.rows[outer][inner] }
    }

    /// Values, indices and indptr; zeros at every third position are stored explicitly.
    pub fn compressed<S: Sample, I: Whole, P: Whole>(
        &self,
        gene_major: bool,
    ) -> (&'static [S], &'static [I], &'static [P]) {
        let (cells, genes) = self.shape();
        let (outer, inner) = if gene_major { (genes, cells) } else { (cells, genes) };
        let index = |i: usize| I::try_from(i).ok().unwrap();
        let pointer = |i: usize| P::try_from(i).ok().unwrap();
        let (mut values, mut indices, mut indptr) = (Vec::new(), Vec::new(), vec![pointer(0)]);
        for i in 0..outer {
            for j in 0..inner {
                let value = S::of(self.at(gene_major, i, j));
                if !value.value().is_zero() || (i + j) % 3 == 0 {
                    values.push(value);
                    indices.push(index(j));
                }
            }
            indptr.push(pointer(values.len()));
        }
        (values.leak(), indices.leak(), indptr.leak())
    }

    /// For each requested gene, (value, code) of the labelled non-zeros.
    fn columns<S: Sample>(&self) -> Vec<Column<S::Value>> {
        let column = |&gene: &u32| {
            let cells = self.rows.iter().zip(&self.labels);
            cells
                .map(|(row, &code)| Entry { value: S::of(row[gene as usize]).value(), code })
                .filter(|entry| !entry.value.is_zero() && entry.code != SKIP)
                .collect()
        };
        self.genes.iter().map(column).collect()
    }
}

/// The value as text, so that NaN equals NaN.
fn text(value: &impl Debug) -> String {
    format!("{value:?}")
}

/// The entries that a visit yielded, after its stretches were checked.
struct Seen<V> {
    places: Vec<u32>,
    values: Vec<V>,
}

impl<V: Value + Debug> Seen<V> {
    fn by(
        range: Range<usize>,
        visit: impl FnOnce(&mut dyn FnMut(Stretch<'_, V>)) -> Result<()>,
    ) -> Self {
        let mut seen = Self { places: Vec::new(), values: Vec::new() };
        visit(&mut |stretch| {
            assert_eq!(stretch.places.len(), stretch.values.len());
            assert!(
                (1..=STRETCH).contains(&stretch.places.len()),
                "{} entries",
                stretch.places.len()
            );
            seen.places.extend_from_slice(stretch.places);
            seen.values.extend_from_slice(stretch.values);
        })
        .unwrap();
        assert!(seen.places.is_sorted_by(|a, b| a < b), "{:?}", seen.places);
        assert!(seen.places.iter().all(|&place| range.contains(&(place as usize))));
        seen
    }

    /// The non-zero entries.
    fn non_zeros(&self) -> Vec<(u32, String)> {
        let pairs = self.places.iter().copied().zip(&self.values);
        pairs
            .filter(|(_, value)| !value.is_zero())
            .map(|(place, value)| (place, text(value)))
            .collect()
    }
}

fn wanted<S: Sample>(raw: impl Iterator<Item = i16>, first: usize) -> Vec<(u32, String)> {
    let values = (first as u32..).zip(raw.map(|raw| S::of(raw).value()));
    values
        .filter(|(_, value)| !value.is_zero())
        .map(|(place, value)| (place, text(&value)))
        .collect()
}

/// Visits of all cells, and of ranges of genes.
pub(super) fn visits_cells<S: Sample>(case: &Case, view: &dyn CellMajor<S::Value>) {
    let (n_cells, n_genes) = case.shape();
    assert_eq!(view.shape(), (n_cells, n_genes));
    let mut entries = 0;
    for (cell, row) in case.rows.iter().enumerate() {
        let look = |genes: Range<usize>| {
            let seen = Seen::by(genes.clone(), |visit| view.visit_cell(cell, genes.clone(), visit));
            let raw = row[genes.clone()].iter().copied();
            assert_eq!(seen.non_zeros(), wanted::<S>(raw, genes.start), "cell {cell}, {genes:?}");
            seen.places.len()
        };
        let whole = look(0..n_genes);
        let (low, high) = case.cuts;
        assert_eq!(look(0..low) + look(low..high) + look(high..n_genes), whole);
        entries += whole;
    }
    assert_eq!(view.entries(), entries);
}

/// Gathers one block into all bands, which are reused, and returns its columns.
fn gathered<V: Value>(
    case: &Case,
    view: &dyn CellMajor<V>,
    bands: &mut [Band<V>],
    genes: &[u32],
) -> Vec<Column<V>> {
    let block = Block::new(genes).unwrap();
    for (i, band) in bands.iter_mut().enumerate() {
        view.gather(i, &block, &case.labels, band).unwrap();
    }
    let column = |slot| {
        let mut column = Column::new();
        for band in &*bands {
            band.append(slot, &case.labels, &mut column);
        }
        column
    };
    (0..genes.len()).map(column).collect()
}

/// Sweeps over blocks, forwards, again after a reset, and in any order.
pub(super) fn gathers<S: Sample>(case: &Case, view: &dyn CellMajor<S::Value>) {
    let expected = case.columns::<S>();
    let mut bands: Vec<Band<S::Value>> = (0..view.bands()).map(|_| Band::default()).collect();
    for _ in 0..2 {
        let blocks = case.genes.chunks(case.block);
        let got: Vec<_> =
            blocks.flat_map(|genes| gathered(case, view, &mut bands, genes)).collect();
        assert_eq!(text(&got), text(&expected));
        bands.iter_mut().for_each(Band::reset);
    }
    for (genes, expected) in
        case.genes.chunks(case.block).zip(expected.chunks(case.block)).rev().step_by(2)
    {
        assert_eq!(text(&gathered(case, view, &mut bands, genes)), text(&expected));
    }
}

/// Gathers of the bands in reverse order, all with one reused buffer.
pub(super) fn gathers_bands_apart<S: Sample>(case: &Case, view: &dyn CellMajor<S::Value>) {
    let Some(block) = Block::new(&case.genes) else { return };
    let mut band = Band::default();
    let mut columns: Vec<Vec<Column<S::Value>>> = vec![Vec::new(); case.genes.len()];
    for i in (0..view.bands()).rev() {
        view.gather(i, &block, &case.labels, &mut band).unwrap();
        for (slot, parts) in columns.iter_mut().enumerate() {
            let mut column = Column::new();
            band.append(slot, &case.labels, &mut column);
            parts.insert(0, column);
        }
    }
    let got: Vec<_> = columns.into_iter().map(|parts| parts.concat()).collect();
    assert_eq!(text(&got), text(&case.columns::<S>()));
}

/// Labels and blocks of another shape are an error.
pub(super) fn refuses_other_shapes<S: Sample>(case: &Case, view: &dyn CellMajor<S::Value>) {
    let genes = [0, case.n_genes as u32];
    let (fits, beyond) = (Block::new(&genes[..1]).unwrap(), Block::new(&genes).unwrap());
    let mut band = Band::default();
    let mut gather =
        |block: &Block, labels: &[u32]| view.gather(0, block, labels, &mut band).is_err();
    assert!(!gather(&fits, &case.labels));
    assert!(gather(&beyond, &case.labels));
    assert!(gather(&fits, &case.labels[1..]));
}

/// Visits of all genes.
pub(super) fn visits_genes<S: Sample>(case: &Case, view: &dyn GeneMajor<S::Value>) {
    let (n_cells, n_genes) = case.shape();
    assert_eq!(view.shape(), (n_cells, n_genes));
    let mut entries = 0;
    for gene in 0..n_genes {
        let seen = Seen::by(0..n_cells, |visit| view.visit_gene(gene, visit));
        let raw = case.rows.iter().map(|row| row[gene]);
        assert_eq!(seen.non_zeros(), wanted::<S>(raw, 0), "gene {gene}");
        assert_eq!(view.gene_entries(gene).unwrap(), seen.places.len());
        entries += seen.places.len();
    }
    assert_eq!(view.entries(), entries);
}

/// Labelled columns, as the engine reads them.
pub(super) fn appends_genes<S: Sample>(case: &Case, view: &dyn GeneMajor<S::Value>) {
    let column = |&gene: &u32| {
        let mut column = Column::new();
        append_gene(view, gene as usize, &case.labels, &mut column).unwrap();
        column
    };
    let got: Vec<Column<S::Value>> = case.genes.iter().map(column).collect();
    assert_eq!(text(&got), text(&case.columns::<S>()));
}

/// Samples are some of the stored values, in order, and at least half as many as requested.
pub(super) fn samples_genes<S: Sample>(case: &Case, view: &dyn GeneMajor<S::Value>) {
    for gene in 0..case.n_genes {
        let stored = Seen::by(0..case.rows.len(), |visit| view.visit_gene(gene, visit)).values;
        assert_eq!(view.gene_entries(gene).unwrap(), stored.len());
        for most in [1, 2, 3, 7, stored.len(), 10_000] {
            let mut sample = Vec::new();
            view.sample_gene(gene, most, &mut sample).unwrap();
            let wanted = most.min(stored.len());
            assert!(
                (wanted.div_ceil(2)..=wanted).contains(&sample.len()),
                "{} of {wanted}",
                sample.len()
            );
            let mut left = stored.iter().map(text);
            assert!(sample.iter().all(|value| left.any(|stored| stored == text(value))));
            if most >= stored.len() {
                assert_eq!(text(&sample), text(&stored));
            }
        }
    }
}

/// Makes a module of tests for `$view`, which is made from `$case` and stores values of type
/// `$stored` cell after cell (`cells`) or gene after gene (`genes`).
macro_rules! suite {
    (@tests $name:ident, $stored:ty, |$case:ident| $view:expr, $($check:ident)*) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[test]
                fn $check() {
                    let check = |$case: &$crate::matrix::conformance::Case| {
                        $crate::matrix::conformance::$check::<$stored>($case, &$view);
                    };
                    $crate::matrix::conformance::Case::large().iter().for_each(check);
                    let mut runner = proptest::test_runner::TestRunner::new(
                        proptest::test_runner::Config::with_cases(64),
                    );
                    let random = $crate::matrix::conformance::cases();
                    let run = runner.run(&random, |case| {
                        check(&case);
                        Ok(())
                    });
                    if let Err(failure) = run {
                        panic!("{failure}");
                    }
                }
            )*
        }
    };
    ($name:ident, $stored:ty, cells, |$case:ident| $view:expr) => {
        $crate::matrix::conformance::suite! {
            @tests $name, $stored, |$case| $view,
            visits_cells gathers gathers_bands_apart refuses_other_shapes
        }
    };
    ($name:ident, $stored:ty, genes, |$case:ident| $view:expr) => {
        $crate::matrix::conformance::suite! {
            @tests $name, $stored, |$case| $view,
            visits_genes appends_genes samples_genes
        }
    };
}
pub(super) use suite;
