//! Differential expression for perturbation screens: the Wilcoxon rank-sum, the k-sample
//! Anderson-Darling and the t-test of every target and gene against the control cells.
//!
//! # The rooms, and which way the arrows point
//! ```text
//! cast     number types converted by name              imports nothing
//! error    the one error                               imports nothing
//! suggest  which labels an error shows first           imports nothing
//! stats    the numbers: slices in, numbers out         imports cast, error
//! matrix   borrowed views of dense, CSR and CSC data   imports cast, error
//! readers  arrays of an HDF5 file, by all cores        imports matrix
//! engine   sources, tests, workers, the table          imports stats, matrix
//! expr     Polars expressions (feature `python`)       imports stats, engine, matrix
//! python   the Python module (feature `python`)        imports all but expr
//! ```
//! `tests/architecture.rs` fails on an arrow that points another way.
//!
//! The crate has no public interface: what users call is the Python package.  With the feature
//! `testing` all rooms are public, for benches and the documentation's examples; without it the compiler
//! names code that nothing uses.

// Tests make their numbers as they like.
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss
    )
)]
// The numbers alone, without Python: nothing is used then.
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
pub mod suggest;
#[cfg(not(feature = "testing"))]
mod suggest;

#[cfg(feature = "python")]
mod expr;
#[cfg(feature = "python")]
mod python;
