//! Rows of some cells after others, written to a file as they come and read back genes after genes.
//!
//! Genes are cut into blocks beforehand. Every range of cells is folded to rows, which are packed and
//! appended to the file, block by block; reading a block back takes the pieces of all ranges. So a
//! matrix that is stored cell after cell is read once, whatever its size, and the file twice: written
//! and read.

use super::pack::{Columns, Packing, Unpacked, pack};
use crate::cast::{narrow, wide};
use crate::engine::fold::rows::Rows;
use crate::engine::fold::{Fold, FoldRequest};
use crate::error::{Error, ErrorKind, Result};
use crate::matrix::{Keyed, View};
use crate::readers::chunks::read_exact_at;
use rayon::prelude::*;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;

/// Packed rows in the file.
#[derive(Debug, Clone, Copy)]
struct Piece {
    packing: Packing,
    /// The number of the first gene in the block.
    first: usize,
    offset: u64,
}

/// The rows of a screen in a file.
#[derive(Debug)]
pub struct Spill {
    file: File,
    /// Where blocks of genes begin and the last one ends, by their places among the request's genes.
    cuts: Vec<usize>,
    /// For each block its pieces.
    pieces: Vec<Vec<Piece>>,
    end: u64,
}

/// The error for a file that cannot be written or read.
fn failed(what: &'static str, cause: io::Error) -> Error {
    ErrorKind::Spill { what }.caused_by(cause)
}

impl Spill {
    /// Nothing spilled yet. `cuts` ascend from 0 to the number of genes.
    #[must_use]
    pub fn new(file: File, cuts: Vec<usize>) -> Self {
        let blocks = cuts.len().saturating_sub(1);
        Self { file, cuts, pieces: vec![Vec::new(); blocks], end: 0 }
    }

    /// The number of bytes written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// Adds the rows of some cells: those of zeros, if there are any, too. Runs on the current rayon
    /// pool.
    ///
    /// # Errors
    /// Those of [`Fold::next`], and [`ErrorKind::Spill`].
    pub fn add<V: Keyed>(
        &mut self,
        view: &View<V>,
        fold: &mut Fold<V>,
        request: &FoldRequest,
    ) -> Result<()> {
        fold.restart();
        let mut gene = 0;
        while let Some(parts) = fold.next(view, request)? {
            let mut items = Vec::new();
            for rows in &parts {
                let (first, last) = (gene, gene + rows.ends.len());
                let mut at = first;
                while at < last {
                    let block = self.cuts.partition_point(|&cut| cut <= at) - 1;
                    let end = last.min(self.cuts[block + 1]);
                    items.push((block, at - self.cuts[block], rows, at - first..end - first));
                    at = end;
                }
                gene = last;
            }
            let packed: Vec<_> = items
                .into_par_iter()
                .map(|(block, first, rows, genes)| (block, first, packed(rows, genes)))
                .collect();
            for (block, first, (packing, bytes)) in packed {
                let at = self.file.seek(SeekFrom::Start(self.end));
                let written = at.and_then(|_| self.file.write_all(&bytes));
                written.map_err(|cause| failed("written", cause))?;
                self.pieces[block].push(Piece { packing, first, offset: self.end });
                self.end += wide(bytes.len());
            }
        }
        Ok(())
    }

    /// The rows of block number `block`: those of all cells, in parts, each with the number of its
    /// first gene in the block. Runs on the current rayon pool.
    ///
    /// # Errors
    /// [`ErrorKind::Spill`].
    pub fn read<V: Keyed>(&self, block: usize) -> Result<Vec<(usize, Unpacked<V>)>> {
        let read = |piece: &Piece| {
            let mut bytes = vec![0; piece.packing.bytes()];
            let read = read_exact_at(&self.file, &mut bytes, piece.offset);
            read.map_err(|cause| failed("read", cause))?;
            Ok((piece.first, piece.packing.unpack(&bytes)?))
        };
        self.pieces[block].par_iter().map(read).collect()
    }
}

/// The packed rows of some genes (by their places among those of `rows`).
fn packed<V: Keyed>(rows: &Rows<V>, genes: Range<usize>) -> (Packing, Vec<u8>) {
    let start = |gene: usize| if gene == 0 { 0 } else { rows.ends[gene - 1] };
    let own = start(genes.start)..start(genes.end);
    let lengths: Vec<u32> = genes.map(|gene| narrow(rows.ends[gene] - start(gene))).collect();
    pack(&Columns {
        lengths: &lengths,
        groups: &rows.group[own.clone()],
        values: &rows.value[own.clone()],
        counts: &rows.count[own],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::design::{Design, Reference};
    use crate::engine::fold::Folding;
    use crate::engine::plan::Limits;
    use crate::engine::pool::Monitor;
    use crate::matrix::RowMajor;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const GENES: usize = 6;

    fn unnamed() -> File {
        let path =
            std::env::temp_dir().join(format!("pdex-spill-{:?}", std::thread::current().id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        std::fs::remove_file(&path).unwrap();
        file.unwrap()
    }

    proptest! {
        #[test]
        fn any_ranges_and_blocks_give_the_cells_back(
            values in prop::collection::vec(prop_oneof![3 => Just(0.0f32), 3 => (0u8..4).prop_map(f32::from), 1 => Just(2.5f32)], 40 * GENES),
            labels in prop::collection::vec(0u32..3, 40), cuts in prop::collection::vec(1usize..GENES, 0..3),
            bounds in prop::collection::vec(0usize..40, 0..3), folded: bool,
        ) {
            let mut cuts: Vec<usize> = [0, GENES].into_iter().chain(cuts).collect();
            cuts.sort_unstable();
            cuts.dedup();
            let mut bounds: Vec<usize> = [0, 40].into_iter().chain(bounds).collect();
            bounds.sort_unstable();
            let mut spill = Spill::new(unnamed(), cuts.clone());
            let (mut fold, monitor) = (Fold::new(2), Monitor::default());
            let genes: Vec<u32> = (0..GENES as u32).collect();
            let folding = if folded { Folding::Sorted } else { Folding::Cells };
            for range in bounds.windows(2) {
                let (a, b) = (range[0], range[1]);
                let design = Design::new(labels[a..b].to_vec(), 2, Reference::Rest).unwrap();
                let view = View::cells(RowMajor::new((b - a, GENES), &values[a * GENES..b * GENES]).unwrap());
                let limits = Limits::default();
                let request = FoldRequest { design: &design, genes: &genes, folding, zeros: false, rows: 9, refuses_nan: true, limits, monitor: &monitor };
                spill.add(&view, &mut fold, &request).unwrap();
            }
            let mut got: BTreeMap<(usize, u32, u32), u32> = BTreeMap::new();
            for block in 0..cuts.len() - 1 {
                for (first, part) in spill.read::<f32>(block).unwrap() {
                    prop_assert!(first + part.starts.len() <= cuts[block + 1] - cuts[block] + 1);
                    for gene in 0..part.starts.len() - 1 {
                        for i in part.starts[gene] as usize..part.starts[gene + 1] as usize {
                            let key = (cuts[block] + first + gene, part.groups[i], part.values[i].to_bits());
                            *got.entry(key).or_default() += part.counts[i];
                        }
                    }
                }
            }
            let mut want: BTreeMap<(usize, u32, u32), u32> = BTreeMap::new();
            for (i, &value) in values.iter().enumerate().filter(|v| *v.1 != 0.0) {
                *want.entry((i % GENES, labels[i / GENES], value.to_bits())).or_default() += 1;
            }
            prop_assert_eq!(got, want);
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let file = File::open("/dev/null").unwrap();
        let mut spill = Spill::new(file, vec![0, 1]);
        let design = Design::new(vec![0], 0, Reference::Rest).unwrap();
        let (limits, monitor, folding) = (Limits::default(), Monitor::default(), Folding::Values);
        let genes = &[0];
        let request = FoldRequest {
            design: &design,
            genes,
            folding,
            zeros: false,
            rows: 9,
            refuses_nan: true,
            limits,
            monitor: &monitor,
        };
        let view = View::cells(RowMajor::new((1, 1), &[1.0f32]).unwrap());
        let error = spill.add(&view, &mut Fold::new(1), &request).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Spill { what: "written" });
    }
}
