//! Differential expression for perturbation screens: the Wilcoxon rank-sum, the k-sample
//! Anderson-Darling and the t-test of every target and gene against the control cells.
//!
//! # The rooms, and which way the arrows point
//! ```text
//! stats    the numbers: slices in, numbers out          imports error
//! matrix   borrowed views of dense, CSR and CSC data    imports error
//! readers  arrays of an HDF5 file, by all cores         imports matrix
//! engine   designs, the sweep over a gene, the drive    imports stats, matrix
//! expr     Polars expressions (feature `python`)        imports stats, engine
//! python   the Python module (feature `python`)         imports engine, matrix, readers, expr
//! ```
//! `tests/architecture.rs` fails on an arrow that points the other way.

pub mod engine;
pub mod error;
#[cfg(feature = "python")]
mod expr;
pub mod matrix;
#[cfg(feature = "python")]
mod python;
pub mod readers;
pub mod stats;
