//! Count tables of screens that are read once, some cells at a time.
//!
//! ```text
//! pack    rows as bytes, with columns as narrow as their numbers allow
//! part    packed rows that say how they are packed, compressed
//! spill   the rows of some cells after others in a file, and back: genes after genes
//! ```
//!
//! A table merges by addition: rows of some cells and rows of others are rows of all, in any order.
//!
//! IMPORTS engine, matrix, readers, `crate::{cast, error}`.

pub mod pack;
pub mod part;
pub mod spill;
