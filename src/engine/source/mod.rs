//! Where a gene's cells come from: every source offers the same views of a pair ([`super::pair`]).
//!
//! ```text
//! bin                a bin of a histogram
//! histogram          two histograms of one gene: the views of small counts
//! group_tables       every group's cells counted into bins, where cells are stored one after the other
//! group_histograms   their source there: each group walked once
//! gene_histogram     their source where genes are: one gene's table of group x count
//! overflow           values that a histogram has no bin for
//! sample             one gene's cells with their groups; zeros and sums of each group
//! sorted             all other values: one sort, and the ranks of every group
//! sorted_gene        their source
//! runs               the runs of equal values of every group, from sorted or weighted values
//! group_values       each group's sorted values
//! group_rows         each group's cells
//! ```
//!
//! # To add a source
//! 1. Implement [`super::pair::Pair`] for one target and what it is compared with: all views, exact.
//! 2. Fill it in [`super::gene`] (gene by gene) or [`super::run`] (cell by cell).
//! 3. Hold it to the others in the property test `every_layout_and_source_gives_one_table`.

pub(crate) mod bin;
pub(crate) mod gene_histogram;
pub(crate) mod group_histograms;
pub(crate) mod group_rows;
pub(crate) mod group_tables;
mod group_values;
pub mod histogram;
pub(crate) mod overflow;
mod runs;
pub mod sample;
pub mod sorted;
pub(crate) mod sorted_gene;
