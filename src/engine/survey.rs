//! What the values of a matrix look like: counts, logarithms, or neither.

use crate::error::Result;
use crate::matrix::{Value, View};
use multiversion::multiversion;
use rayon::prelude::*;

/// What all stored values have in common.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Survey {
    /// The least value, at most 0.
    pub least: f64,
    /// The largest value, at least 0.
    pub most: f64,
    /// True if any fractional part is above 1e-3, as normalised data have and counts have not.
    pub fractional: bool,
}

impl Survey {
    /// Surveys some values; NaN is none.
    #[must_use]
    pub fn of<V: Value>(values: &[V]) -> Self {
        let (least, most, fractional) = look(values);
        Self { least: least.to_f64(), most: most.to_f64(), fractional }
    }

    /// The survey of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            most: self.most.max(other.most),
            fractional: self.fractional | other.fractional,
        }
    }
}

/// Values that are looked at side by side: a single chain of comparisons would be as slow as each.
const LANES: usize = 16;

/// The least and the largest value, and whether any is fractional.
#[multiversion(targets = "simd")]
fn look<V: Value>(values: &[V]) -> (V, V, bool) {
    let (mut least, mut most, mut fractional) =
        ([V::default(); LANES], [V::default(); LANES], [0u32; LANES]);
    // Without a branch, several lanes in one instruction.
    let mut add = |lane: usize, value: V| {
        least[lane] = if value < least[lane] { value } else { least[lane] };
        most[lane] = if value > most[lane] { value } else { most[lane] };
        fractional[lane] |= u32::from(value.is_fractional());
    };
    let (rows, rest) = values.as_chunks::<LANES>();
    for row in rows {
        row.iter().enumerate().for_each(|(lane, &value)| add(lane, value));
    }
    rest.iter().enumerate().for_each(|(lane, &value)| add(lane, value));
    let least = least.into_iter().fold(V::default(), |a, b| if b < a { b } else { a });
    let most = most.into_iter().fold(V::default(), |a, b| if b > a { b } else { a });
    (least, most, fractional != [0; LANES])
}

/// Surveys a whole matrix on the current rayon pool.
///
/// # Errors
/// [`crate::error::ErrorKind::Changed`].
pub fn survey<V: Value>(view: &View<V>) -> Result<Survey> {
    let (n_cells, n_genes) = view.shape();
    let look = |i: usize| -> Result<Survey> {
        let mut found = Survey::default();
        let mut add = |values: &[V]| found = found.and(Survey::of(values));
        match view {
            View::Cells(cells) => cells.visit_cell(i, 0..n_genes, &mut |s| add(s.values))?,
            View::Genes(genes) => genes.visit_gene(i, &mut |s| add(s.values))?,
            View::Counted(table) => table.visit_gene(i, &mut |s| add(s.values))?,
        }
        Ok(found)
    };
    let outer = if matches!(view, View::Cells(_)) { n_cells } else { n_genes };
    (0..outer).into_par_iter().map(look).try_reduce(Survey::default, |a, b| Ok(a.and(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{ColumnMajor, RowMajor};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_layout_is_surveyed_as_its_values(
            values in prop::collection::vec(prop_oneof![-9f32..9.0, (-9i16..99).prop_map(f32::from), Just(f32::NAN)], 60),
        ) {
            let known: Vec<f64> = values.iter().map(|&v| v.into()).filter(|v: &f64| !v.is_nan()).collect();
            let want = Survey {
                least: known.iter().copied().fold(0.0, f64::min),
                most: known.iter().copied().fold(0.0, f64::max),
                fractional: known.iter().any(|v| v - v.floor() > 1e-3),
            };
            prop_assert_eq!(Survey::of(&values), want);
            let rows = RowMajor::new((3, 20), &values).unwrap();
            prop_assert_eq!(survey(&View::Cells(Box::new(rows))).unwrap(), want);
            let columns = ColumnMajor::new((3, 20), &values).unwrap();
            prop_assert_eq!(survey(&View::Genes(Box::new(columns))).unwrap(), want);
        }
    }
}
