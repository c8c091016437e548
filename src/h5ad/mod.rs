//! Files of HDF5, opened for reading: what is in them, labels and names, and where chunks lie.
//!
//! ```text
//! driver    positioned reads of a file that stays open, and a check of what is read
//! heap      heaps of text that the library would never finish decoding
//! library   the HDF5 library behind safe functions
//! dataset   datasets: claims, chunks, values
//! values    types of values
//! text      many texts in one
//! ```
//!
//! Numbers are not read here but by [`readers`](crate::readers), with all cores, from the places of
//! their chunks; the library reads what remains: texts, labels in odd types, virtual datasets. It is
//! linked into this crate, so another copy of it in the process, h5py's, does not meddle.
//!
//! Files are not trusted. Sizes that a file claims are compared with its bytes before memory is
//! allocated for them.
//!
//! IMPORTS readers, `crate::{cast, error}`, hdf5-metno-sys.

// Each call of the library carries its own argument.
#![allow(unsafe_code)]

pub mod dataset;
mod driver;
pub mod heap;
mod library;
pub mod text;
pub mod values;

use crate::error::{ErrorKind, Result};
pub use dataset::{Dataset, Numbers};
pub use driver::Handle;
pub use library::Attribute;
use library::{Found, Id, Said};
use std::path::Path;
use std::sync::Arc;
pub use values::Kind;

/// The bytes with which every file of HDF5 starts.
const SIGNATURE: u64 = 8;

/// An open file.
#[derive(Debug, Clone)]
pub struct File(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: Id,
    file: Arc<Handle>,
    /// Tells its objects from those behind external links.
    number: u64,
    /// Whether addresses count from the start of the file.
    plain: bool,
}

/// A group of a file.
#[derive(Debug, Clone)]
pub struct Group {
    file: File,
    /// `None`: the root, which is the file itself.
    id: Option<Arc<Id>>,
    /// Its full name.
    pub name: String,
}

/// A group or a dataset.
#[derive(Debug)]
pub enum Node {
    Group(Group),
    Dataset(Box<Dataset>),
}

impl File {
    /// Opens a file.
    ///
    /// # Errors
    /// [`ErrorKind::NoHdf5`]: it cannot be opened, or it is no HDF5 file.
    pub fn open(path: &Path) -> Result<Self> {
        Self::opened(path).map_err(|problem| ErrorKind::NoHdf5 { problem }.into())
    }

    fn opened(path: &Path) -> Said<Self> {
        let file = Arc::new(Handle::open(path).map_err(|error| error.to_string())?);
        if file.bytes().map_err(|error| error.to_string())? < SIGNATURE {
            return Err("file signature not found".to_owned());
        }
        let id = library::open_file(&path.to_string_lossy(), &file)?;
        let (before, address, size) = library::sizes(&id)?;
        if (address, size) != (8, 8) {
            return Err(format!("it has addresses of {address} bytes and sizes of {size}"));
        }
        let number = library::file_number(&id)?;
        Ok(Self(Arc::new(Inner { id, file, number, plain: before == 0 })))
    }

    /// Its root.
    #[must_use]
    pub fn root(&self) -> Group {
        Group { file: self.clone(), id: None, name: "/".to_owned() }
    }

    /// The size of the open file now, in bytes, even if its path leads elsewhere.
    ///
    /// # Errors
    /// What the system says.
    pub fn bytes(&self) -> std::io::Result<u64> {
        self.0.file.bytes()
    }

    /// Closes the file, even if groups or datasets of it are still held; reading them is an error.
    pub fn close(&self) {
        self.0.file.close();
    }
}

impl Group {
    fn id(&self) -> &Id {
        self.id.as_deref().unwrap_or(&self.file.0.id)
    }

    /// The names of its members, sorted.
    ///
    /// # Errors
    /// [`ErrorKind::UnreadableNode`]
    pub fn names(&self) -> Result<Vec<String>> {
        library::names(self.id()).map_err(|problem| unreadable("group", &self.name, problem))
    }

    /// A member, or one of a member's members, such as `"layers/counts"`; `None` if there is none.
    /// A path that starts with a slash starts at the root.
    ///
    /// # Errors
    /// [`ErrorKind::UnreadableNode`], or [`ErrorKind::BrokenNode`] for a link that leads nowhere.
    pub fn get(&self, path: &str) -> Result<Option<Node>> {
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        let mut at = if path.starts_with('/') { self.file.root() } else { self.clone() };
        while let Some(part) = parts.next() {
            let name = format!("{}/{part}", at.name.trim_end_matches('/'));
            let found = library::member(at.id(), part);
            let found = found.map_err(|problem| unreadable("member", &name, problem))?;
            match found {
                Found::Dangling => {
                    let problem = "it is a link that leads nowhere".to_owned();
                    return Err(ErrorKind::BrokenNode { node: name, problem }.into());
                }
                Found::Group(id) => {
                    at = Group { file: self.file.clone(), id: Some(Arc::new(id)), name };
                }
                Found::Dataset(id) if parts.peek().is_none() => {
                    let dataset = self.file.dataset(id, name.clone());
                    let dataset =
                        dataset.map_err(|problem| unreadable("dataset", &name, problem))?;
                    return Ok(Some(Node::Dataset(Box::new(dataset))));
                }
                Found::Nothing | Found::Dataset(_) | Found::Other => return Ok(None),
            }
        }
        Ok(Some(Node::Group(at)))
    }

    /// An attribute; `None` if it has none of this name.
    ///
    /// # Errors
    /// [`ErrorKind::UnreadableNode`], or [`ErrorKind::BrokenNode`] for one of a list type.
    pub fn attribute(&self, name: &str) -> Result<Option<Attribute>> {
        attribute(self.id(), &self.name, name)
    }
}

impl File {
    fn dataset(&self, id: Id, name: String) -> Said<Dataset> {
        let own = library::file_number(&id)? == self.0.number;
        let bytes = self.bytes().map_err(|error| error.to_string())?;
        let file = (own && self.0.plain).then(|| Arc::clone(&self.0.file));
        Dataset::new(id, name, file, if own { bytes } else { u64::MAX })
    }
}

impl Dataset {
    /// An attribute; `None` if it has none of this name.
    ///
    /// # Errors
    /// [`ErrorKind::UnreadableNode`], or [`ErrorKind::BrokenNode`] for one of a list type.
    pub fn attribute(&self, name: &str) -> Result<Option<Attribute>> {
        attribute(self.id(), &self.name, name)
    }
}

fn attribute(id: &Id, node: &str, name: &str) -> Result<Option<Attribute>> {
    match library::attribute(id, name) {
        Ok(Some(Attribute::Lists)) => {
            let problem = format!("its attribute '{name}' has a list type");
            Err(ErrorKind::BrokenNode { node: node.to_owned(), problem }.into())
        }
        Ok(found) => Ok(found),
        Err(said) => Err(unreadable(&format!("attribute '{name}' of"), node, said)),
    }
}

/// The error for what the library, or the system, cannot read.
fn unreadable(what: &str, name: &str, problem: String) -> crate::error::Error {
    let (what, name) = (what.to_owned(), name.to_owned());
    ErrorKind::UnreadableNode { what, name, problem }.into()
}

/// A number with commas between groups of three digits.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests;
