//! From a matrix and a design to a table: threads, scratch space and the loop over genes.
//!
//! ```text
//! design   labels to codes, the reference, which groups are reported
//! members  each group's cells
//! question what is asked of a gene, and the numbers that answer it
//! gene     one gene: every target from one sweep; the expressions call it too
//! bins     small counts: two histograms of one gene compared
//! tally    small counts: the histograms of one gene
//! sorted   other values: one sort, and the ranks of every group
//! lists    other values: the Anderson-Darling sums of every group
//! counts   row-major counts: each group's cells walked once, into a histogram of every gene
//! odd      what has no bin there
//! run      plan and drive: blocks, threads, progress, cancelling
//! table    the result's columns
//! ```
//!
//! IMPORTS stats, matrix, `crate::error`.

pub mod bins;
pub mod counts;
pub mod design;
pub mod gene;
mod lists;
pub mod members;
mod odd;
pub mod question;
pub mod run;
pub mod sorted;
pub mod table;
mod tally;
