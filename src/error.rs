//! The crate's one error.
//!
//! A kind holds the data of what went wrong; text is made only when it is displayed, so that
//! a caller can match, count or translate it.  IMPORTS std only.

use std::fmt;

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request could not be answered.
///
/// # Examples
/// ```
/// use pdex::error::{Error, ErrorKind};
/// let error = Error::from(ErrorKind::UnknownOption {
///     option: "alternative",
///     got: "bigger".into(),
///     valid: &["two-sided", "less", "greater"],
/// });
/// assert_eq!(
///     error.to_string(),
///     "alternative=\"bigger\" is not known: use one of \"two-sided\", \"less\", \"greater\""
/// );
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Error(Box<ErrorKind>);

impl Error {
    /// The data of what went wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(kind))
    }
}

/// The ways in which a request can fail.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Two lengths that must agree do not.
    ShapeMismatch { what: &'static str, expected: usize, got: usize },
    /// An option's value that is none of the valid ones.
    UnknownOption { option: &'static str, got: String, valid: &'static [&'static str] },
    /// The reference names no group of the data; `known` holds the first few labels there are.
    /// Text is quoted, numbers are not.
    UnknownReference {
        reference: String,
        column: String,
        dtype: String,
        known: Vec<String>,
        n_known: usize,
    },
    /// Samples whose exact distribution is not tabulated.
    ExactTooLarge { n1: u64, n2: u64 },
    /// The reference (or the rest) has no cells.
    EmptyReference { reference: String, column: String },
    /// There is nothing to test: no rows with both a value and a label.
    NoCells { column: String },
    /// A column's dtype that has no meaning here.
    UnsupportedDtype { column: String, dtype: String, expected: &'static str },
    /// A frequency weight that is null or negative.
    InvalidCount { column: String, row: usize, got: Option<String> },
    /// More cells in one test than integers are kept exact for.
    TooManyCells { got: u128, limit: u64 },
    /// More strata of more groups than are counted apart.
    TooManyStrata { groups: usize, strata: usize, limit: usize },
    /// A matrix entry that is not a number.
    NotANumber { row: usize, gene: usize },
    /// A stored index outside the matrix; `outer` is the row (CSR) or column (CSC) it stands in.
    IndexOutOfRange { outer: usize, index: i64, limit: usize },
    /// Row or column pointers that do not describe the stored entries.
    BrokenIndptr { position: usize, reason: &'static str },
    /// The matrix was changed by another thread while it was read.
    Changed { row: usize },
    /// A dataset's chunk whose bytes are not what the file says of them.
    BrokenChunk { chunk: usize, reason: &'static str },
    /// The operating system could not read a dataset's chunk.
    Unreadable { chunk: usize, cause: String },
    /// The work was cancelled.
    Interrupted,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShapeMismatch { what, expected, got } => {
                write!(f, "{what}: expected a length of {expected}, got {got}")
            }
            Self::UnknownOption { option, got, valid } => {
                write!(f, "{option}={got:?} is not known: use one of {}", Quoted(valid))
            }
            Self::UnknownReference { reference, column, dtype, known, n_known } => {
                write!(f, "reference {reference} is no value of column {column:?} ({dtype}): ")?;
                write!(f, "it has {}", known.join(", "))?;
                if *n_known > known.len() {
                    write!(f, " and {} more", n_known - known.len())?;
                }
                write!(f, "; give one of them, or \"rest\"")
            }
            Self::ExactTooLarge { n1, n2 } => write!(
                f,
                "method=\"exact\" cannot tabulate samples of {n1} and {n2} cells: \
                 use \"auto\" or \"asymptotic\""
            ),
            Self::EmptyReference { reference, column } => write!(
                f,
                "reference {reference:?} of column {column:?} has no cells with a value: \
                 give a group that has some, or \"rest\""
            ),
            Self::NoCells { column } => write!(
                f,
                "column {column:?} has no rows with both a value and a label: there is nothing to test"
            ),
            Self::UnsupportedDtype { column, dtype, expected } => {
                write!(f, "column {column:?} has dtype {dtype}: expected {expected}; cast it first")
            }
            Self::InvalidCount { column, row, got } => {
                let got = got.as_deref().unwrap_or("null");
                write!(
                    f,
                    "count column {column:?} is {got} in row {row}: a count is a number of cells, \
                     a non-negative integer; drop or fill that row"
                )
            }
            Self::TooManyStrata { groups, strata, limit } => write!(
                f,
                "{strata} strata of {groups} groups: at most {limit} are counted apart; strata are \
                 few, such as batches or replicates"
            ),
            Self::TooManyCells { got, limit } => {
                write!(f, "{got} cells in one test: at most {limit} are counted exactly")
            }
            Self::NotANumber { row, gene } => {
                write!(f, "the matrix is NaN at cell {row}, gene {gene}")
            }
            Self::IndexOutOfRange { outer, index, limit } => write!(
                f,
                "the sparse matrix holds index {index} in row or column {outer}: \
                 valid ones are 0 to {}",
                limit.saturating_sub(1)
            ),
            Self::BrokenIndptr { position, reason } => {
                write!(f, "the sparse matrix's indptr is broken at position {position}: {reason}")
            }
            Self::Changed { row } => write!(
                f,
                "the matrix changed at row {row} while it was read: \
                 do not modify it from another thread during a call"
            ),
            Self::BrokenChunk { chunk, reason } => {
                write!(f, "chunk {chunk} of the dataset is broken: {reason}")
            }
            Self::Unreadable { chunk, cause } => {
                write!(f, "chunk {chunk} of the dataset cannot be read: {cause}")
            }
            Self::Interrupted => write!(f, "interrupted"),
        }
    }
}

/// A list of words for an error's text: quoted, comma-separated.
struct Quoted<'a, T>(&'a [T]);

impl<T: AsRef<str>> fmt::Display for Quoted<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{:?}", word.as_ref())?;
        }
        Ok(())
    }
}
