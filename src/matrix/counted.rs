//! Rows of a count table: gene after gene, groups of cells with a value and the number of such cells.

use super::value::{Stored, Value};
use super::{STRETCH, changed};
use crate::cast::{length, place};
use crate::error::{ErrorKind, Result};

/// Some rows of one gene, as many groups as values and counts.
#[derive(Debug, Clone, Copy)]
pub struct CountedRows<'a, V> {
    pub groups: &'a [u32],
    pub values: &'a [V],
    /// How many cells of the group have the value.
    pub counts: &'a [u32],
}

/// A table that says how many cells of a group have a value.
///
/// Rows of one gene come in any order, and a group and value may come several times: their cells are
/// added. Cells of a group that no row tells of are zeros.
pub trait Counted<V: Value>: Sync {
    /// The numbers of groups and genes.
    fn shape(&self) -> (usize, usize);

    /// The number of rows, a measure of the work.
    fn entries(&self) -> usize;

    /// Visits the rows of one gene, at most [`STRETCH`] at a time.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`].
    fn visit_gene(&self, gene: usize, visit: &mut dyn FnMut(CountedRows<'_, V>)) -> Result<()>;
}

/// A part of a table: some rows of consecutive genes.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a, S> {
    /// The number of the first gene.
    pub first: usize,
    /// The rows of gene `first + g` are `starts[g]..starts[g + 1]`.
    pub starts: &'a [u64],
    pub groups: &'a [u32],
    pub values: &'a [S],
    pub counts: &'a [u32],
}

/// A table in one or more parts.
#[derive(Debug, Clone)]
pub struct Parts<'a, S> {
    shape: (usize, usize),
    each: Vec<Part<'a, S>>,
    entries: usize,
}

impl<S> Part<'_, S> {
    /// Where the rows of a gene begin and end; `None` if it is not of this part.
    fn rows_of(&self, gene: usize) -> Option<(u64, u64)> {
        let place = gene.checked_sub(self.first)?;
        Some((*self.starts.get(place)?, *self.starts.get(place + 1)?))
    }
}

impl<'a, S: Stored> Parts<'a, S> {
    /// A table of (groups, genes).
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] for columns of different lengths, or offsets that do not describe
    /// them.
    pub fn new(shape: (usize, usize), parts: Vec<Part<'a, S>>) -> Result<Self> {
        let mismatch =
            |what, expected, got| Err(ErrorKind::ShapeMismatch { what, expected, got }.into());
        let mut entries = 0;
        for part in &parts {
            let rows = part.values.len();
            for (what, got) in
                [("groups of a table", part.groups.len()), ("counts of a table", part.counts.len())]
            {
                if got != rows {
                    return mismatch(what, rows, got);
                }
            }
            let most = (shape.1 + 1).saturating_sub(part.first);
            if part.starts.is_empty() || part.starts.len() > most {
                return mismatch("offsets of a table", most, part.starts.len());
            }
            let last = part.starts.last().map_or(0, |&last| length(last));
            if !part.starts.is_sorted() || last > rows {
                return mismatch("rows of a table", last, rows);
            }
            entries += rows;
        }
        Ok(Self { shape, each: parts, entries })
    }
}

impl<S: Stored> Counted<S::Value> for Parts<'_, S> {
    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn entries(&self) -> usize {
        self.entries
    }

    fn visit_gene(
        &self,
        gene: usize,
        visit: &mut dyn FnMut(CountedRows<'_, S::Value>),
    ) -> Result<()> {
        let mut buffer = [S::Value::default(); STRETCH];
        if gene >= self.shape.1 {
            return changed(gene);
        }
        for part in &self.each {
            let Some((start, end)) = part.rows_of(gene) else { continue };
            let rows = length(start)..length(end);
            let (Some(groups), Some(values), Some(counts)) = (
                part.groups.get(rows.clone()),
                part.values.get(rows.clone()),
                part.counts.get(rows),
            ) else {
                return changed(gene);
            };
            let columns = groups.chunks(STRETCH).zip(values.chunks(STRETCH));
            for ((groups, values), counts) in columns.zip(counts.chunks(STRETCH)) {
                let values = S::widen(values, &mut buffer);
                visit(CountedRows { groups, values, counts });
            }
        }
        Ok(())
    }
}

/// Visits the non-zeros of a gene: code, value and cells of each row whose group has a code in
/// `labels`, one label a group, that is not [`super::SKIP`].
///
/// # Errors
/// [`ErrorKind::Changed`], also for a group beyond `labels`.
pub fn visit_non_zeros<V: Value>(
    view: &dyn Counted<V>,
    gene: usize,
    labels: &[u32],
    mut visit: impl FnMut(u32, V, u32),
) -> Result<()> {
    let mut beyond = false;
    view.visit_gene(gene, &mut |rows| {
        for ((&group, &value), &count) in rows.groups.iter().zip(rows.values).zip(rows.counts) {
            let Some(&code) = labels.get(place(group)) else {
                beyond = true;
                return;
            };
            if code != super::SKIP && !value.is_zero() && count > 0 {
                visit(code, value, count);
            }
        }
    })?;
    if beyond { changed(gene) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::SKIP;

    #[test]
    fn rows_of_all_parts_are_visited() {
        let a = Part {
            first: 0,
            starts: &[0, 2, 3],
            groups: &[0, 1, 0],
            values: &[1u8, 0, 4],
            counts: &[2, 5, 1],
        };
        let b = Part { first: 0, starts: &[0, 1], groups: &[0], values: &[1], counts: &[3] };
        let c = Part { first: 1, ..b };
        let table = Parts::new((2, 2), vec![a, b, c]).unwrap();
        let seen = |gene: usize, labels: &[u32]| {
            let mut seen = Vec::new();
            visit_non_zeros(&table, gene, labels, |code, value, n| seen.push((code, value, n)))
                .map(|()| seen)
        };
        assert_eq!(seen(0, &[7, 8]).unwrap(), [(7, 1.0, 2), (7, 1.0, 3)]);
        assert_eq!(seen(1, &[7, 8]).unwrap(), [(7, 4.0, 1), (7, 1.0, 3)]);
        assert_eq!(seen(1, &[SKIP, 8]).unwrap(), []);
        assert!(seen(0, &[7]).is_err() && seen(2, &[7, 8]).is_err());
        assert_eq!(table.entries(), 5);
    }

    #[test]
    fn offsets_and_lengths_are_checked() {
        let part =
            Part { first: 0, starts: &[0, 1], groups: &[0], values: &[1.0f32], counts: &[1] };
        let wrong = |part: Part<f32>| Parts::new((1, 1), vec![part]).is_err();
        assert!(!wrong(part));
        assert!(wrong(Part { starts: &[0, 2], ..part }) && wrong(Part { starts: &[], ..part }));
        assert!(wrong(Part { first: 1, ..part }) && wrong(Part { first: 9, ..part }));
        assert!(wrong(Part { groups: &[], ..part }) && wrong(Part { counts: &[], ..part }));
        assert!(Parts::new((1, 2), vec![Part { starts: &[0, 1, 0], ..part }]).is_err());
    }
}
