//! A block of genes that are gathered together.

use super::SKIP;
use crate::cast::{narrow, place};

/// Genes that are gathered together: some or all of the columns `first()..end()`, ascending.
#[derive(Debug, Clone)]
pub struct Block<'a> {
    /// The genes, strictly ascending; never empty.
    genes: &'a [u32],
    /// For each column from the first gene to the last, its slot (index in `genes`) or [`SKIP`].
    slots: Vec<u32>,
}

impl<'a> Block<'a> {
    /// The block of `genes`; `None` unless there is at least one and they strictly ascend.
    ///
    /// # Examples
    /// ```
    /// use pdex::matrix::Block;
    /// assert_eq!(Block::new(&[3, 5]).map(|block| block.first()..block.end()), Some(3..6));
    /// assert!(Block::new(&[5, 3]).is_none() && Block::new(&[3, 3]).is_none());
    /// ```
    #[must_use]
    pub fn new(genes: &'a [u32]) -> Option<Self> {
        let (first, last) = (*genes.first()?, *genes.last()?);
        if !genes.is_sorted_by(|a, b| a < b) {
            return None;
        }
        let mut slots = vec![SKIP; place(last - first) + 1];
        for (slot, gene) in (0..).zip(genes) {
            slots[place(gene - first)] = slot;
        }
        Some(Self { genes, slots })
    }

    /// The genes, strictly ascending; never empty.
    #[must_use]
    pub fn genes(&self) -> &'a [u32] {
        self.genes
    }

    /// The first column.
    #[must_use]
    pub fn first(&self) -> usize {
        place(self.genes[0])
    }

    /// One past the last column.
    #[must_use]
    pub fn end(&self) -> usize {
        self.first() + self.slots.len()
    }

    /// True if the block contains every column in `first()..end()`.
    pub(super) fn is_whole(&self) -> bool {
        self.genes.len() == self.slots.len()
    }

    /// For each column from the first gene to the last, its slot or [`SKIP`].
    pub(super) fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// The first column and the end, as u32.
    pub(super) fn places(&self) -> (u32, u32) {
        (self.genes[0], narrow(self.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn genes_that_do_not_strictly_ascend_make_no_block() {
        for genes in [&[][..], &[1, 0], &[2, 2], &[0, 3, 1], &[0, 1, 1, 2], &[u32::MAX, 0]] {
            assert!(Block::new(genes).is_none(), "{genes:?}");
        }
        for genes in [&[0][..], &[7], &[0, 1, 2], &[3, 9]] {
            let block = Block::new(genes).unwrap();
            let last = genes[genes.len() - 1] as usize;
            assert_eq!((block.first(), block.end()), (genes[0] as usize, last + 1));
            assert_eq!(block.is_whole(), last - block.first() + 1 == genes.len());
        }
    }
}
