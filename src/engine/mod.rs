//! From a matrix and a design to a table: threads, scratch space and the loop over genes.
//!
//! ```text
//! design   labels to codes, the reference, which groups are reported
//! runs     a gene's values as runs of equal ones, ascending: by counting or by sorting
//! gene     one gene's sweep, serving all targets; the expressions call it too
//! run      plan and drive: blocks, threads, progress, cancelling
//! table    the result's columns
//! pages    memory for them
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
mod pages;
pub mod run;
pub mod sorted;
pub mod table;
