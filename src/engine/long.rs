//! The long frame of some genes: a row for each non-zero, and one for the zeros of each group.

use super::design::Design;
use super::plan::{Limits, Sizes};
use super::pool::{Monitor, Workers};
use super::run::{GeneColumn, Worker, check_request, gather};
use crate::cast::{length, narrow};
use crate::error::Result;
use crate::matrix::{Block, Value, View};

/// The rows of a long frame: for each gene its non-zeros, then one row for each group with zeros.
#[derive(Debug, Clone, Default)]
pub struct Long<V> {
    /// Place among the genes asked for.
    pub gene: Vec<u32>,
    /// The group's code.
    pub target: Vec<u32>,
    pub value: Vec<V>,
    pub count: Vec<u32>,
}

/// The long frame of `genes`; every labelled cell belongs to its code in `design`.
///
/// Runs on the current rayon pool.
///
/// # Errors
/// Those of [`super::run::Run::run`] but NaN, which is passed on.
pub fn long<V: Value>(
    view: &View<V>,
    design: &Design,
    genes: &[u32],
    zero_rows: bool,
    monitor: &Monitor,
) -> Result<Long<V>> {
    check_request(view.shape(), design.codes().len(), genes)?;
    let workers = Workers::<Worker<V>>::new(rayon::current_num_threads());
    let (mut bands, mut column) = (Vec::new(), GeneColumn::default());
    let mut out = Long::default();
    let sizes = Sizes {
        entries: view.entries(),
        matrix_genes: view.shape().1,
        genes: genes.len(),
        targets: 1,
        groups: design.code_sizes().len(),
        threads: workers.count(),
    };
    let mut position = 0;
    for genes in genes.chunks(Limits::default().block(&sizes, matches!(view, View::Cells(_)))) {
        let Some(block) = Block::new(genes) else { continue };
        gather(view, &block, design.codes(), (&workers, &mut bands), monitor)?;
        for slot in 0..genes.len() {
            monitor.check()?;
            column.load(view, (&bands, &block, slot), design.codes())?;
            let start = out.value.len();
            out.value.extend(column.column.iter().map(|entry| entry.value));
            out.target.extend(column.column.iter().map(|entry| entry.code));
            out.count.resize(out.value.len(), 1);
            let zeros = column.sample(design.code_sizes()).zeros;
            for (code, &n) in (0..).zip(zeros).filter(|zero| *zero.1 > 0) {
                let (rows, count) = if zero_rows { (length(n), 1) } else { (1, narrow(length(n))) };
                out.value.resize(out.value.len() + rows, V::default());
                out.target.resize(out.value.len(), code);
                out.count.resize(out.value.len(), count);
            }
            out.gene.resize(out.gene.len() + out.value.len() - start, position);
            position += 1;
        }
    }
    Ok(out)
}
