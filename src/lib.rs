//! Differential expression for perturbation screens.
//!
//! For every target and every gene, the cells of the target are compared with the reference cells
//! by one of four two-sample tests: Wilcoxon rank-sum, k-sample Anderson-Darling, t-test or
//! Kolmogorov-Smirnov.
//!
//! # Modules and their imports
//! ```text
//! cast     named conversions between number types      imports nothing
//! error    the error type                              imports nothing
//! suggest  which labels an error lists first           imports nothing
//! stats    statistics: slices in, numbers out          imports cast, error
//! matrix   borrowed views of dense, CSR and CSC data   imports cast, error
//! readers  parallel reading of HDF5 datasets           imports matrix
//! h5ad     files of HDF5 (feature `h5ad`)               imports readers
//! engine   sources, tests, workers, the result table   imports stats, matrix
//! tables   count tables of what is read once           imports engine, matrix, readers
//! expr     Polars expressions (feature `python`)       imports stats, engine, matrix
//! python   the Python module (feature `python`)        imports all but expr
//! ```
//! Any module may also import `cast`, `error` and `suggest`. `tests/architecture.rs` fails on all
//! other imports.
//!
//! The crate has no public interface: users call the Python package. With the feature `testing`,
//! all modules but `expr` and `python` are public, for benchmarks and doc examples. Without it they
//! are private, so that the compiler reports unused code.

// Tests convert small, known numbers with `as`.
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss
    )
)]
// Without `python` and `testing`, nothing calls the crate's code.
#![cfg_attr(not(any(feature = "python", feature = "testing")), allow(dead_code))]

#[cfg(feature = "testing")]
pub mod cast;
#[cfg(not(feature = "testing"))]
mod cast;
#[cfg(feature = "testing")]
pub mod engine;
#[cfg(not(feature = "testing"))]
mod engine;
#[cfg(feature = "testing")]
pub mod error;
#[cfg(not(feature = "testing"))]
mod error;
#[cfg(all(feature = "h5ad", feature = "testing"))]
pub mod h5ad;
#[cfg(all(feature = "h5ad", not(feature = "testing")))]
mod h5ad;
#[cfg(feature = "testing")]
pub mod matrix;
#[cfg(not(feature = "testing"))]
mod matrix;
#[cfg(feature = "testing")]
pub mod readers;
#[cfg(not(feature = "testing"))]
mod readers;
#[cfg(feature = "testing")]
pub mod stats;
#[cfg(not(feature = "testing"))]
mod stats;

#[cfg(feature = "testing")]
pub mod tables;
#[cfg(not(feature = "testing"))]
mod tables;

#[cfg(feature = "testing")]
pub mod suggest;
#[cfg(not(feature = "testing"))]
mod suggest;

#[cfg(feature = "python")]
mod expr;
#[cfg(feature = "python")]
mod python;
