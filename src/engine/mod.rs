//! From a matrix and a design to a table: sources, tests, workers and the loop over genes.
//!
//! ```text
//! design   who is compared with whom: labels to codes, the reference, strata
//! request  what is asked of a matrix, and of one gene
//! column   the columns of a result: names, order, types
//! source   where a gene's cells come from, and the views that every source offers of a pair
//! pair     those views: rank sum, runs, moments, means
//! test     the tests, each a consumer of those views
//! gene     one gene: every target from one source; the expressions call it too
//! strata   one gene within strata: van Elteren's test
//! plan     strips, blocks and memory, as functions of sizes and threads
//! pool     the process's threads, and workers that keep their scratch
//! run      the drive: strips and blocks through all workers
//! table    what was measured, and what is derived from it
//! pages    the memory of long columns
//! fdr      Benjamini and Hochberg's adjustment of any number of p-values, in parallel
//! fold     genes folded to rows of a count table
//! survey   what the values of a matrix look like
//! totals   each cell's total, to which counts are normalised
//! ```
//!
//! IMPORTS stats, matrix, `crate::{cast, error}`.

pub mod column;
pub mod design;
pub mod fdr;
pub mod fold;
pub mod gene;
mod pages;
pub mod pair;
pub mod plan;
pub mod pool;
pub mod request;
pub mod run;
pub mod source;
mod strata;
pub mod survey;
pub mod table;
pub mod test;
pub mod totals;
