//! Parallel reading of HDF5 datasets without the HDF5 library: all cores decompress chunks.
//!
//! The caller asks the HDF5 library once for the address and the filters of each chunk. [`chunks`]
//! reads the chunks at these addresses, [`filters`] undoes their filters, [`decode`] converts bytes
//! to numbers, and [`pick`] selects the entries of some genes.
//!
//! The metadata of a file are not trusted: before memory is allocated, every size is compared with
//! the length of the file.
//!
//! IMPORTS matrix, `crate::error`.

pub mod chunks;
pub mod decode;
pub mod filters;
pub mod pick;
