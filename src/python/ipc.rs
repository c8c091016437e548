//! Custom metadata of Arrow IPC files: key-value pairs of text in the schema of the footer.
//!
//! Polars neither writes nor reads such metadata; `pyarrow` shows it as `schema.metadata`. A file
//! ends with the footer, its length in 4 bytes, and `ARROW1`. Setting metadata replaces this end
//! only and leaves the columns untouched.

use polars_arrow_format::ipc::planus::{Builder, ReadAsRoot};
use polars_arrow_format::ipc::{Footer, FooterRef, KeyValue};
use pyo3::prelude::*;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

const MAGIC: &[u8; 6] = b"ARROW1";
/// The bytes after the footer: its length and the magic.
const TAIL: i64 = 4 + 6;

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no Arrow IPC file, or a damaged one")
}

/// The footer, and its offset in the file.
fn footer(file: &mut File) -> io::Result<(Footer, u64)> {
    file.seek(SeekFrom::End(-TAIL)).map_err(|_| broken())?;
    let (mut length, mut magic) = ([0; 4], [0; 6]);
    file.read_exact(&mut length)?;
    file.read_exact(&mut magic)?;
    let length = i32::from_le_bytes(length);
    if magic != *MAGIC || length <= 0 {
        return Err(broken());
    }
    let start = file.seek(SeekFrom::End(-TAIL - i64::from(length))).map_err(|_| broken())?;
    let mut bytes = Vec::new();
    file.take(u64::from(length.unsigned_abs())).read_to_end(&mut bytes)?;
    let found = FooterRef::read_as_root(&bytes).and_then(Footer::try_from);
    found.map(|footer| (footer, start)).map_err(|_| broken())
}

/// The custom metadata of the file at `path`, as (key, value) pairs.
///
/// # Errors
/// `OSError` if the file cannot be read or is not an Arrow IPC file.
#[pyfunction]
pub(super) fn ipc_metadata(path: PathBuf) -> PyResult<Vec<(String, String)>> {
    let (footer, _) = footer(&mut File::open(path)?)?;
    let pairs = footer.schema.and_then(|schema| schema.custom_metadata).unwrap_or_default();
    let text = |pair: KeyValue| (pair.key.unwrap_or_default(), pair.value.unwrap_or_default());
    Ok(pairs.into_iter().map(text).collect())
}

/// Adds metadata to the file at `path`; existing values of the same keys are replaced.
///
/// # Errors
/// `OSError` if the file cannot be read or written, or is not an Arrow IPC file.
#[pyfunction]
pub(super) fn set_ipc_metadata(path: PathBuf, pairs: Vec<(String, String)>) -> PyResult<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let (mut footer, start) = footer(&mut file)?;
    let schema = footer.schema.as_mut().ok_or_else(broken)?;
    let known = schema.custom_metadata.get_or_insert_default();
    known.retain(|pair| !pairs.iter().any(|(key, _)| pair.key.as_ref() == Some(key)));
    known.extend(
        pairs.into_iter().map(|(key, value)| KeyValue { key: Some(key), value: Some(value) }),
    );
    let mut builder = Builder::new();
    let bytes = builder.finish(&footer, None);
    let length = i32::try_from(bytes.len()).map_err(|_| broken())?;
    file.set_len(start)?;
    file.seek(SeekFrom::Start(start))?;
    file.write_all(bytes)?;
    file.write_all(&length.to_le_bytes())?;
    file.write_all(MAGIC)?;
    Ok(())
}
