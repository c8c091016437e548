//! Arrays of an HDF5 file, read around the HDF5 library: every core reads and inflates chunks.
//!
//! What the file's own library knows - where each chunk lies, and which filters it went through -
//! comes from the caller, who asks it once.  Here are the positioned reads ([`chunks`]), the filters
//! undone ([`filters`]), bytes made numbers ([`decode`]) and the entries of some genes picked
//! ([`pick`]).  Nothing that a file claims is believed
//! before its bytes are there: sizes are compared with the file's before memory is taken for them.
//!
//! IMPORTS matrix, `crate::error`.

pub mod chunks;
pub mod decode;
pub mod filters;
pub mod pick;
