//! What an Arrow IPC file says of itself: texts by name in the schema of its footer.
//!
//! Polars writes no such metadata into IPC files and passes over it as it reads; `pyarrow` shows it as
//! `schema.metadata`.  A file ends with the footer, its length in 4 bytes and `ARROW1`, so that another
//! footer is written over the old one: no column is touched.

use polars_arrow_format::ipc::planus::{Builder, ReadAsRoot};
use polars_arrow_format::ipc::{Footer, FooterRef, KeyValue};
use pyo3::prelude::*;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

const MAGIC: &[u8; 6] = b"ARROW1";
/// The length and the magic.
const TAIL: i64 = 4 + 6;

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no Arrow IPC file, or a damaged one")
}

/// The footer, and where it starts.
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

/// The metadata of the file at `path`.
///
/// # Errors
/// `OSError` where there is no such file, or one that is no Arrow IPC file.
#[pyfunction]
pub(super) fn ipc_metadata(path: PathBuf) -> PyResult<Vec<(String, String)>> {
    let (footer, _) = footer(&mut File::open(path)?)?;
    let pairs = footer.schema.and_then(|schema| schema.custom_metadata).unwrap_or_default();
    let text = |pair: KeyValue| (pair.key.unwrap_or_default(), pair.value.unwrap_or_default());
    Ok(pairs.into_iter().map(text).collect())
}

/// Gives the file at `path` these metadata, beside what it has.
///
/// # Errors
/// `OSError` where there is no such file, or it cannot be written.
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
