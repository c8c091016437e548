//! Views that break a contract; the suite must catch each of them.

use super::conformance::*;
use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a view is broken.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Yields nothing.
    Nothing,
    /// Leaves out the last entry of a visit, and the last band of a gather.
    Last,
    /// Moves all values by one place; gathers the first genes instead of the block.
    Moved,
    /// Yields a stretch longer than allowed.
    TooLong,
    /// Ignores the range, or includes cells that must be skipped.
    Range,
    /// Yields the first gene, or the first genes, instead of those requested.
    Stale,
    /// Yields wrong values, or wrong labels in a gather.
    Value,
}

const FAULTS: [Fault; 7] = [
    Fault::Nothing,
    Fault::Last,
    Fault::Moved,
    Fault::TooLong,
    Fault::Range,
    Fault::Stale,
    Fault::Value,
];

/// A correct view with a fault.
struct Broken<T>(T, Fault);

fn visit_broken(
    fault: Fault,
    visit: &mut dyn FnMut(Stretch<'_, f32>),
    inner: impl FnOnce(&mut dyn FnMut(Stretch<'_, f32>)) -> Result<()>,
) -> Result<()> {
    let (mut places, mut values) = (Vec::new(), Vec::new());
    inner(&mut |stretch| {
        places.extend_from_slice(stretch.places);
        values.extend_from_slice(stretch.values);
    })?;
    match fault {
        Fault::Nothing => return Ok(()),
        Fault::Last => {
            places.pop();
            values.pop();
        }
        Fault::Moved => places.iter_mut().for_each(|place| *place += 1),
        Fault::Value => values.iter_mut().for_each(|value| *value += 1.0),
        _ => (),
    }
    let length = if fault == Fault::TooLong { usize::MAX } else { STRETCH };
    for (places, values) in places.chunks(length).zip(values.chunks(length)) {
        visit(Stretch { places, values });
    }
    Ok(())
}

impl<T: CellMajor<f32>> CellMajor<f32> for Broken<T> {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }

    fn entries(&self) -> usize {
        self.0.entries()
    }

    fn visit_cell(
        &self,
        cell: usize,
        genes: Range<usize>,
        visit: &mut dyn FnMut(Stretch<'_, f32>),
    ) -> Result<()> {
        let genes = if self.1 == Fault::Range { 0..self.shape().1 } else { genes };
        visit_broken(self.1, visit, |visit| self.0.visit_cell(cell, genes, visit))
    }

    fn bands(&self) -> usize {
        self.0.bands() - usize::from(self.1 == Fault::Last)
    }

    fn gather(
        &self,
        band: usize,
        block: &Block,
        labels: &[u32],
        into: &mut Band<f32>,
    ) -> Result<()> {
        let whole: Vec<u32> = (0..self.shape().1 as u32).collect();
        let first = Block::new(&whole[..block.genes().len()]).unwrap();
        let all = vec![0; labels.len()];
        match self.1 {
            Fault::Nothing => self.0.gather(band, block, &vec![SKIP; labels.len()], into),
            Fault::Moved | Fault::Stale => self.0.gather(band, &first, labels, into),
            Fault::Range | Fault::Value | Fault::TooLong => self.0.gather(band, block, &all, into),
            Fault::None | Fault::Last => self.0.gather(band, block, labels, into),
        }
    }
}

impl<T: GeneMajor<f32>> GeneMajor<f32> for Broken<T> {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }

    fn entries(&self) -> usize {
        self.0.entries()
    }

    fn visit_gene(&self, gene: usize, visit: &mut dyn FnMut(Stretch<'_, f32>)) -> Result<()> {
        let gene = if matches!(self.1, Fault::Range | Fault::Stale) { 0 } else { gene };
        visit_broken(self.1, visit, |visit| self.0.visit_gene(gene, visit))
    }

    fn sample_gene(&self, gene: usize, most: usize, out: &mut Vec<f32>) -> Result<()> {
        match self.1 {
            Fault::None => self.0.sample_gene(gene, most, out)?,
            Fault::Nothing => (),
            Fault::TooLong => self.0.sample_gene(gene, most + 1, out)?,
            _ => out.extend(vec![-1.5; most.min(self.0.gene_entries(gene)?)]),
        }
        Ok(())
    }

    fn gene_entries(&self, gene: usize) -> Result<usize> {
        self.0.gene_entries(gene)
    }
}

/// True if a check of the suite passes for all large cases.
fn passes(check: impl Fn(&Case)) -> bool {
    let all = || Case::large().iter().for_each(&check);
    catch_unwind(AssertUnwindSafe(all)).is_ok()
}

#[test]
fn every_way_in_catches_broken_cell_major_views() {
    type Check = fn(&Case, &dyn CellMajor<f32>);
    let checks: [Check; 3] = [visits_cells::<f32>, gathers::<f32>, gathers_bands_apart::<f32>];
    for (i, check) in checks.into_iter().enumerate() {
        let with = |fault| {
            passes(|case| {
                let (values, indices, indptr) = case.compressed::<f32, i32, i64>(false);
                let view = Csr::new(case.shape(), values, indices, indptr).unwrap();
                check(case, &Broken(view, fault));
            })
        };
        assert!(with(Fault::None));
        for fault in FAULTS {
            // `Stale` only affects gathers.
            let harmless = i == 0 && fault == Fault::Stale;
            assert_eq!(with(fault), harmless, "check {i} of {fault:?}");
        }
    }
}

#[test]
fn every_way_in_catches_broken_gene_major_views() {
    type Check = fn(&Case, &dyn GeneMajor<f32>);
    let checks: [Check; 3] = [visits_genes::<f32>, appends_genes::<f32>, samples_genes::<f32>];
    for (i, check) in checks.into_iter().enumerate() {
        let with = |fault| {
            passes(|case| {
                let view = ColumnMajor::new(case.shape(), case.dense::<f32>(true)).unwrap();
                check(case, &Broken(view, fault));
            })
        };
        assert!(with(Fault::None));
        for fault in FAULTS {
            // Appending does not depend on the length of stretches.
            let harmless = i == 1 && fault == Fault::TooLong;
            assert_eq!(with(fault), harmless, "check {i} of {fault:?}");
        }
    }
}
