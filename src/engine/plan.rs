//! How a run is cut: strips and blocks of genes, and what each worker may keep.
//!
//! All are pure functions of sizes and threads, so that plans for 64 threads and 10^6 groups are
//! tested on any machine.  A plan bounds memory and keeps threads busy; it never changes a number.

use crate::matrix::STRETCH;

/// The bounds that plans keep to; tests make them small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bins of one strip's table of one group: 512 KB of u16, for a core's cache.
    pub strip_bins: usize,
    /// The fewest bins of a strip that are worth a walk over all cells.
    pub least_strip_bins: usize,
    /// Bins of all groups' tables of one strip, against the rest: 192 MB of u16.
    pub table_bins: usize,
    /// Bins of one gene.
    pub gene_bins: u32,
    /// Cells that one worker walks at a time; groups of more than twice as many are shared out.
    pub walk: usize,
    /// Entries gathered in one block: 128 MB for f32, 256 MB for f64.
    pub block_entries: usize,
    /// Genes of one block.
    pub block_genes: usize,
    /// Targets x genes of one block: 64 MB of records.
    pub block_records: usize,
    /// Bytes that all workers may keep for the groups of a gene.
    pub worker_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            strip_bins: 1 << 18,
            least_strip_bins: 1 << 12,
            table_bins: 96 << 20,
            gene_bins: 4096,
            walk: 8192,
            block_entries: 1 << 24,
            block_genes: 512,
            block_records: 1 << 20,
            worker_bytes: 1 << 30,
        }
    }
}

/// The most bins of one gene's table of all groups: 64 MB.
pub const MOST_BINS: usize = 1 << 24;

/// Bytes that a worker keeps for each group, whatever the gene: zeros, ranks, ties and sums.
const GROUP_BYTES: usize = 160;

/// The size of what is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Stored entries of the matrix.
    pub entries: usize,
    /// Genes of the matrix.
    pub matrix_genes: usize,
    /// Genes that are tested.
    pub genes: usize,
    pub targets: usize,
    /// Codes of cells: targets and the reference, in each stratum.
    pub groups: usize,
    pub threads: usize,
}

impl Limits {
    /// Bins of one strip; `None` where so many groups leave too few: then genes go one by one.
    ///
    /// Against a reference (`pooled` false) one table is kept a worker; against the rest those of all
    /// groups.
    #[must_use]
    pub fn strip(&self, groups: usize, pooled: bool) -> Option<usize> {
        if !pooled {
            return Some(self.strip_bins);
        }
        let bins = (self.table_bins / groups.max(1)).min(self.strip_bins);
        (bins >= self.least_strip_bins).then_some(bins)
    }

    /// Genes of one block: of at most `block_entries` gathered entries and `block_records` records -
    /// or, where that leaves fewer genes than threads need, of a sixteenth of the matrix and of a
    /// thirty-second of the result.
    #[must_use]
    pub fn block(&self, sizes: &Sizes, gathers: bool) -> usize {
        let each = sizes.entries / sizes.matrix_genes.max(1) + 1;
        // Four genes a thread level out what single genes take.
        let busy = 4 * sizes.threads;
        let larger = |usual: usize, share: usize| usual.max(busy.min(share)).max(1);
        let by_entries = if gathers {
            larger(self.block_entries / each, sizes.entries / 16 / each)
        } else {
            self.block_genes
        };
        let by_records = larger(self.block_records / sizes.targets.max(1), sizes.genes / 32);
        by_entries.min(by_records).clamp(1, self.block_genes.max(busy))
    }

    /// Workers for genes that are tested one by one: all threads, unless so many groups would take more
    /// memory than [`Limits::worker_bytes`] together.
    #[must_use]
    pub fn workers(&self, sizes: &Sizes) -> usize {
        let each = sizes.groups.saturating_mul(GROUP_BYTES).max(1);
        (self.worker_bytes / each).clamp(1, sizes.threads.max(1))
    }

    /// Bins of one gene's table of all groups, for each worker.
    #[must_use]
    pub fn gene_table(&self, sizes: &Sizes) -> usize {
        (self.worker_bytes / size_of::<u32>() / self.workers(sizes)).min(MOST_BINS)
    }
}

/// Cuts genes into strips of at most `most` bins, by the bins that each needs; a gene alone may need
/// more.
#[must_use]
pub fn strips(widths: &[u32], most: usize) -> Vec<std::ops::Range<usize>> {
    let (mut strips, mut start, mut bins) = (Vec::new(), 0, 0);
    for (at, &width) in widths.iter().enumerate() {
        let width = width as usize;
        if bins + width > most && at > start {
            strips.push(start..at);
            (start, bins) = (at, 0);
        }
        bins += width;
    }
    if start < widths.len() {
        strips.push(start..widths.len());
    }
    strips
}

// A stretch is counted on the stack.
const _: () = assert!(STRETCH <= 1024);

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: Sizes = Sizes {
        entries: 1_000_000_000,
        matrix_genes: 8_000,
        genes: 8_000,
        targets: 20_000,
        groups: 20_001,
        threads: 64,
    };

    #[test]
    fn many_targets_keep_64_threads_busy() {
        let limits = Limits::default();
        // 0.4 took 52 genes at once, fewer than threads.
        let genes = limits.block(&MANY, false);
        assert_eq!(genes, 250);
        // At most a thirty-second of the result.
        assert!(genes * MANY.targets <= MANY.genes * MANY.targets / 32);
        // Two threads get what they got.
        assert_eq!(limits.block(&Sizes { threads: 2, ..MANY }, false), 52);
        assert_eq!(limits.block(&Sizes { threads: 2, targets: 200, ..MANY }, false), 512);
    }

    #[test]
    fn blocks_of_entries_grow_with_threads_up_to_a_share_of_the_matrix() {
        let limits = Limits::default();
        let few = Sizes { targets: 200, groups: 201, threads: 2, ..MANY };
        assert_eq!(limits.block(&few, true), (1 << 24) / 125_001);
        // A sixteenth of 8,000 genes is 500; four genes a thread are 256.
        assert_eq!(limits.block(&Sizes { threads: 64, ..few }, true), 256);
        let wide = Sizes { matrix_genes: 800, genes: 800, threads: 64, ..few };
        assert_eq!(limits.block(&wide, true), 49);
        // Nothing stored, nothing asked for: still a block.
        let none =
            Sizes { entries: 0, matrix_genes: 0, genes: 0, targets: 0, groups: 1, threads: 1 };
        assert_eq!(limits.block(&none, true), 512);
    }

    #[test]
    fn a_million_groups_stay_within_memory() {
        let limits = Limits::default();
        let million = Sizes { targets: 1_000_000, groups: 1_000_001, ..MANY };
        // 0.4 kept tables of 8 GB against the rest.
        assert_eq!(limits.strip(million.groups, true), None);
        assert_eq!(limits.strip(million.groups, false), Some(1 << 18));
        assert_eq!(limits.strip(201, true), Some(1 << 18));
        // Both sides of the bound: as many groups as leave 4,096 bins, and one more.
        let most = limits.table_bins / limits.least_strip_bins;
        assert_eq!(limits.strip(most, true), Some(4096));
        assert_eq!(limits.strip(most + 1, true), None);
        let (workers, bins) = (limits.workers(&million), limits.gene_table(&million));
        assert_eq!(workers, 6);
        assert!(workers * million.groups * GROUP_BYTES <= 1 << 30);
        assert!(workers * bins * 4 <= 1 << 30);
        assert_eq!(limits.workers(&MANY), 64);
        assert_eq!(limits.gene_table(&MANY), 1 << 22);
    }

    #[test]
    fn strips_hold_every_gene_once() {
        assert_eq!(strips(&[4, 4, 4, 9, 1], 8), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(strips(&[4, 4, 9], 8), [0..2, 2..3]);
        assert!(strips(&[], 8).is_empty());
    }
}
