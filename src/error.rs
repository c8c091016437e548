//! The error type of this crate.
//!
//! [`Error`] is opaque. [`Error::kind`] says what went wrong, as data that a caller can match,
//! count or translate; each kind has one meaning. [`std::error::Error::source`] returns the
//! underlying cause, if there is one. Messages are formatted only when an error is displayed: `{}`
//! prints the error's own message, `{:#}` adds its causes.
//!
//! IMPORTS std only.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request could not be answered.
///
/// Two errors are equal if their kinds are equal; causes are not compared.
///
/// # Examples
/// ```
/// use pdex::error::{Error, ErrorKind};
/// let error = Error::from(ErrorKind::UnknownOption {
///     option: "alternative",
///     got: "sideways".into(),
///     valid: &["two-sided", "less", "greater"],
/// });
/// assert_eq!(
///     error.to_string(),
///     "alternative must be one of 'two-sided', 'less', 'greater'; got 'sideways'"
/// );
/// ```
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// What went wrong, as data.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Changes the kind of the error and keeps its cause.
    #[must_use]
    pub(crate) fn map_kind(mut self, change: impl FnOnce(ErrorKind) -> ErrorKind) -> Self {
        self.0.kind = change(self.0.kind);
        self
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        self.kind() == other.kind()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(Inner { kind, cause: None }))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind())?;
        if f.alternate() {
            let mut cause = self.source();
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

/// The ways in which a request can fail.
///
/// Indices of cells, genes, rows and positions start at 0.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Two lengths that must be equal are not.
    ShapeMismatch { what: &'static str, expected: usize, got: usize },
    /// An option has an unknown value.
    UnknownOption { option: &'static str, got: String, valid: &'static [&'static str] },
    /// The reference is not a group of the data; `known` lists some of the `n_known` groups. Labels
    /// are formatted for display: text is quoted, numbers are not.
    UnknownReference {
        reference: String,
        column: String,
        dtype: String,
        known: Vec<String>,
        n_known: usize,
    },
    /// The group code of a cell is neither below `n_groups` nor the code for left-out cells.
    UnknownCode { cell: usize, code: u32, n_groups: usize },
    /// The stratum of a cell is neither below `n_strata` nor the code for left-out cells.
    UnknownStratum { cell: usize, stratum: u32, n_strata: usize },
    /// A requested gene is not in the matrix.
    UnknownGene { gene: usize, n_genes: usize },
    /// The requested genes do not strictly ascend: that at `position` is not above the one before.
    UnsortedGenes { position: usize },
    /// A test, or one of its methods, is not available with strata; `valid` lists the values of the
    /// option that are.
    StrataUnsupported { option: &'static str, got: String, valid: &'static [&'static str] },
    /// The exact null distribution is not computed for samples of these sizes.
    ExactTooLarge { n1: u64, n2: u64, most: u64 },
    /// The permutation distribution of t was asked for with Welch's variances.
    PermutationOfWelch,
    /// The reference (or the rest) has no cells.
    EmptyReference { reference: String, column: String },
    /// No row has both a value and a label.
    NoCells { column: String },
    /// A column or an array has a dtype that cannot be used.
    UnsupportedDtype { column: String, dtype: String, expected: &'static str },
    /// A frequency weight is null (`got` is `None`) or negative.
    InvalidCount { column: String, row: usize, got: Option<String> },
    /// One test has more cells than can be counted exactly.
    TooManyCells { got: u128, limit: u64 },
    /// There are more pairs of a stratum and a group than are supported.
    TooManyStrata { groups: usize, strata: usize, limit: usize },
    /// A matrix entry is NaN.
    NotANumber { cell: usize, gene: usize },
    /// A value that is no count (negative or infinite) in a matrix that is to be normalised.
    NotACount { cell: usize, gene: usize, got: f64 },
    /// A total of a cell's counts is negative, infinite or NaN.
    InvalidTotal { cell: usize, got: f64 },
    /// The total to which cells are normalised is not a finite number above 0.
    InvalidTarget { got: f64 },
    /// A count table is to be normalised, whose rows are groups of cells.
    NormalisedTable,
    /// A sparse index is not from 0 to `limit - 1`; `outer` is its row (CSR) or column (CSC).
    IndexOutOfRange { outer: usize, index: i64, limit: usize },
    /// The indices of a row (CSR) or column (CSC) are not sorted, or one occurs twice.
    Unsorted { outer: usize },
    /// The row or column pointers do not match the stored entries.
    BrokenIndptr { position: usize, reason: &'static str },
    /// Another thread changed a row (CSR) or column (CSC) while it was read.
    Changed { outer: usize },
    /// A chunk of a dataset is corrupt, or contradicts the file's metadata.
    BrokenChunk { chunk: usize, reason: &'static str },
    /// The operating system could not write or read the temporary file of rows; its error is the
    /// source.
    Spill { what: &'static str },
    /// The bytes of packed rows are not what was written.
    BrokenRows { reason: &'static str },
    /// The operating system could not read a chunk of a dataset; its error is the source.
    Unreadable { chunk: usize },
    /// A file that cannot be opened as HDF5.
    NoHdf5 { problem: String },
    /// Something in an HDF5 file contradicts itself, or what AnnData writes.
    BrokenNode { node: String, problem: String },
    /// Something in an HDF5 file cannot be read.
    UnreadableNode { what: String, name: String, problem: String },
    /// The work was cancelled.
    Interrupted,
}

impl ErrorKind {
    /// An error of this kind with `cause` as its source.
    #[must_use]
    pub(crate) fn caused_by(self, cause: impl StdError + Send + Sync + 'static) -> Error {
        Error(Box::new(Inner { kind: self, cause: Some(Arc::new(cause)) }))
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShapeMismatch { .. }
            | Self::TooManyCells { .. }
            | Self::TooManyStrata { .. }
            | Self::ExactTooLarge { .. } => self.fmt_size(f),
            Self::UnknownOption { .. }
            | Self::UnknownReference { .. }
            | Self::UnknownCode { .. }
            | Self::UnknownStratum { .. }
            | Self::UnknownGene { .. }
            | Self::UnsortedGenes { .. }
            | Self::PermutationOfWelch
            | Self::StrataUnsupported { .. } => self.fmt_request(f),
            Self::EmptyReference { .. }
            | Self::NoCells { .. }
            | Self::UnsupportedDtype { .. }
            | Self::InvalidCount { .. } => self.fmt_column(f),
            Self::NotACount { .. }
            | Self::InvalidTotal { .. }
            | Self::InvalidTarget { .. }
            | Self::NormalisedTable => self.fmt_normalised(f),
            Self::NotANumber { .. }
            | Self::IndexOutOfRange { .. }
            | Self::Unsorted { .. }
            | Self::BrokenIndptr { .. }
            | Self::Changed { .. }
            | Self::BrokenChunk { .. }
            | Self::Unreadable { .. }
            | Self::Spill { .. }
            | Self::BrokenRows { .. }
            | Self::Interrupted => self.fmt_data(f),
            Self::NoHdf5 { problem } => write!(f, "{problem}"),
            Self::BrokenNode { node, problem } => write!(f, "'{node}' is broken: {problem}"),
            Self::UnreadableNode { what, name, problem } => {
                write!(f, "{what} '{name}' cannot be read: {problem}")
            }
        }
    }
}

/// Messages by topic. Each function handles the kinds that `fmt` passes to it.
impl ErrorKind {
    fn fmt_size(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShapeMismatch { what, expected, got } => {
                write!(f, "{what}: expected length {expected}, got {got}")
            }
            Self::TooManyCells { got, limit } => {
                write!(f, "one test has {got} cells; at most {limit} are supported")
            }
            Self::TooManyStrata { groups, strata, limit } => write!(
                f,
                "{strata} strata of {groups} groups: at most {limit} pairs of a stratum and a group \
                 are supported; strata should be few, for example batches or replicates"
            ),
            Self::ExactTooLarge { n1, n2, most } => write!(
                f,
                "method='exact' is not available for samples of {n1} and {n2} cells, whose exact \
                 distribution has more than {most} states; use 'auto' or 'asymptotic'"
            ),
            _ => write!(f, "{self:?}"),
        }
    }

    fn fmt_request(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOption { option, got, valid } => {
                write!(f, "{option} must be one of {}; got {}", list(valid), quote(got))
            }
            Self::UnknownReference { reference, column, dtype, known, n_known } => {
                write!(f, "column {} has no group {reference}. ", quote(column))?;
                write!(f, "Groups (dtype {dtype}): {}", known.join(", "))?;
                if *n_known > known.len() {
                    write!(f, " and {} more", n_known - known.len())?;
                }
                write!(f, ". Choose one of them, or 'rest'")
            }
            Self::UnknownCode { cell, code, n_groups } => {
                write!(f, "cell {cell} has group code {code}; {}", below("codes", *n_groups))
            }
            Self::UnknownStratum { cell, stratum, n_strata } => {
                write!(f, "cell {cell} has stratum {stratum}; {}", below("strata", *n_strata))
            }
            Self::UnknownGene { gene, n_genes } => {
                write!(f, "the matrix has no gene {gene}; {}", below("genes", *n_genes))
            }
            Self::UnsortedGenes { position } => write!(
                f,
                "genes must be sorted without duplicates; the one at position {position} is not \
                 above the one before"
            ),
            Self::PermutationOfWelch => write!(
                f,
                "method='permutation' needs equal_var=True (Student's t): with other labels on the \
                 same cells only Student's t always grows with the target's mean, Welch's does not"
            ),
            Self::StrataUnsupported { option, got, valid } => write!(
                f,
                "{option}={} is not available with strata; use {}, or leave strata out",
                quote(got),
                list(valid)
            ),
            _ => write!(f, "{self:?}"),
        }
    }

    fn fmt_column(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyReference { reference, column } => write!(
                f,
                "reference {} of column {} has no cells with a value; choose a group that has some, \
                 or 'rest'",
                quote(reference),
                quote(column)
            ),
            Self::NoCells { column } => write!(
                f,
                "column {} has no rows with both a value and a label; there is nothing to test",
                quote(column)
            ),
            Self::UnsupportedDtype { column, dtype, expected } => write!(
                f,
                "column {} has dtype {dtype}; expected {expected}. Cast it first",
                quote(column)
            ),
            Self::InvalidCount { column, row, got } => write!(
                f,
                "count column {} has {} in row {row}; a count is a number of cells (a non-negative \
                 integer). Drop or fill that row",
                quote(column),
                got.as_deref().unwrap_or("null")
            ),
            _ => write!(f, "{self:?}"),
        }
    }

    fn fmt_normalised(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotACount { cell, gene, got } => write!(
                f,
                "cells cannot be normalised: the matrix contains {got} (cell {cell}, gene {gene}), \
                 which is no count. Choose counts, or values that are normalised already without \
                 normalising them again"
            ),
            Self::InvalidTotal { cell, got } => write!(
                f,
                "cells cannot be normalised: the total of cell {cell} is {got}; expected a finite \
                 number, 0 or above"
            ),
            Self::InvalidTarget { got } => write!(
                f,
                "cells cannot be normalised to a total of {got}; expected a finite number above 0"
            ),
            Self::NormalisedTable => write!(
                f,
                "a count table cannot be normalised: its rows are groups of cells, whose totals it \
                 does not hold. Normalise cells when the table is made"
            ),
            _ => write!(f, "{self:?}"),
        }
    }

    fn fmt_data(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber { cell, gene } => write!(
                f,
                "the matrix contains NaN (cell {cell}, gene {gene}). Fill or drop missing values \
                 first"
            ),
            Self::IndexOutOfRange { outer, index, limit } => write!(
                f,
                "the sparse matrix has index {index} in row or column {outer}; {}",
                below("indices", *limit)
            ),
            Self::Unsorted { outer } => write!(
                f,
                "the sparse matrix has unsorted or duplicate indices in row or column {outer}; sort \
                 them and sum duplicates first"
            ),
            Self::BrokenIndptr { position, reason } => {
                write!(f, "the sparse matrix's indptr is broken at position {position}: {reason}")
            }
            Self::Changed { outer } => write!(
                f,
                "the matrix changed at row or column {outer} while it was read; do not modify it \
                 from another thread during a call"
            ),
            Self::BrokenChunk { chunk, reason } => {
                write!(f, "chunk {chunk} of the dataset is broken: {reason}")
            }
            Self::Unreadable { chunk } => write!(f, "chunk {chunk} of the dataset cannot be read"),
            Self::Spill { what } => write!(f, "the temporary file of rows cannot be {what}"),
            Self::BrokenRows { reason } => write!(f, "the bytes are no rows of a table: {reason}"),
            Self::Interrupted => write!(f, "interrupted"),
            _ => write!(f, "{self:?}"),
        }
    }
}

/// The text in quotes, as Python's `repr` shows it.
#[must_use]
pub(crate) fn quote(text: &str) -> String {
    if text.contains('\'') && !text.contains('"') {
        return format!("{text:?}");
    }
    let escaped = text.chars().map(|c| match c {
        '"' => String::from(c),
        _ => c.escape_debug().to_string(),
    });
    format!("'{}'", escaped.collect::<String>())
}

/// The words in quotes, separated by commas.
fn list(words: &[&str]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(", ")
}

/// Describes the valid numbers, 0 to n - 1.
fn below(what: &str, n: usize) -> String {
    match n.checked_sub(1) {
        Some(last) => format!("valid {what} are 0 to {last}"),
        None => format!("there are no valid {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// Errors about the request, and their messages.
    fn of_requests() -> Vec<(ErrorKind, &'static str)> {
        use ErrorKind as E;
        let text = String::from;
        let (option, valid) = ("method", &["exact", "auto"][..]);
        vec![
            (
                E::ShapeMismatch { what: "labels", expected: 3, got: 2 },
                "labels: expected length 3, got 2",
            ),
            (
                E::UnknownOption { option, got: text("it's"), valid },
                "method must be one of 'exact', 'auto'; got \"it's\"",
            ),
            (
                E::UnreadableNode { what: text("dataset"), name: text("/X"), problem: text("why") },
                "dataset '/X' cannot be read: why",
            ),
            (
                E::UnknownReference {
                    reference: text("'x'"),
                    column: text("target"),
                    dtype: text("str"),
                    known: vec![text("'a'"), text("'b'")],
                    n_known: 5,
                },
                "column 'target' has no group 'x'. Groups (dtype str): 'a', 'b' and 3 more. Choose \
                 one of them, or 'rest'",
            ),
            (
                E::UnknownCode { cell: 7, code: 3, n_groups: 3 },
                "cell 7 has group code 3; valid codes are 0 to 2",
            ),
            (
                E::UnknownStratum { cell: 7, stratum: 3, n_strata: 0 },
                "cell 7 has stratum 3; there are no valid strata",
            ),
            (
                E::UnknownGene { gene: 9, n_genes: 9 },
                "the matrix has no gene 9; valid genes are 0 to 8",
            ),
            (
                E::UnsortedGenes { position: 4 },
                "genes must be sorted without duplicates; the one at position 4 is not above the one \
                 before",
            ),
            (
                E::StrataUnsupported { option, got: text("exact"), valid: &["asymptotic"] },
                "method='exact' is not available with strata; use 'asymptotic', or leave strata out",
            ),
            (
                E::PermutationOfWelch,
                "method='permutation' needs equal_var=True (Student's t): with other labels on the same \
                 cells only Student's t always grows with the target's mean, Welch's does not",
            ),
            (
                E::ExactTooLarge { n1: 3000, n2: 4000, most: 1 << 20 },
                "method='exact' is not available for samples of 3000 and 4000 cells, whose exact \
                 distribution has more than 1048576 states; use 'auto' or 'asymptotic'",
            ),
        ]
    }

    /// Errors about the data, and their messages.
    fn of_data() -> Vec<(ErrorKind, &'static str)> {
        use ErrorKind as E;
        let text = String::from;
        vec![
            (
                E::EmptyReference { reference: text("x"), column: text("target") },
                "reference 'x' of column 'target' has no cells with a value; choose a group that has \
                 some, or 'rest'",
            ),
            (
                E::NoCells { column: text("target") },
                "column 'target' has no rows with both a value and a label; there is nothing to test",
            ),
            (
                E::UnsupportedDtype { column: text("n"), dtype: text("f64"), expected: "integers" },
                "column 'n' has dtype f64; expected integers. Cast it first",
            ),
            (
                E::InvalidCount { column: text("n"), row: 3, got: None },
                "count column 'n' has null in row 3; a count is a number of cells (a non-negative \
                 integer). Drop or fill that row",
            ),
            (
                E::TooManyCells { got: 1 << 31, limit: 1 << 30 },
                "one test has 2147483648 cells; at most 1073741824 are supported",
            ),
            (
                E::TooManyStrata { groups: 3, strata: 5, limit: 9 },
                "5 strata of 3 groups: at most 9 pairs of a stratum and a group are supported; \
                 strata should be few, for example batches or replicates",
            ),
            (
                E::NotANumber { cell: 3, gene: 7 },
                "the matrix contains NaN (cell 3, gene 7). Fill or drop missing values first",
            ),
            (
                E::NotACount { cell: 3, gene: 7, got: -0.5 },
                "cells cannot be normalised: the matrix contains -0.5 (cell 3, gene 7), which is no \
                 count. Choose counts, or values that are normalised already without normalising \
                 them again",
            ),
            (
                E::InvalidTotal { cell: 3, got: f64::INFINITY },
                "cells cannot be normalised: the total of cell 3 is inf; expected a finite number, 0 \
                 or above",
            ),
            (
                E::InvalidTarget { got: -1.0 },
                "cells cannot be normalised to a total of -1; expected a finite number above 0",
            ),
            (
                E::NormalisedTable,
                "a count table cannot be normalised: its rows are groups of cells, whose totals it \
                 does not hold. Normalise cells when the table is made",
            ),
            (
                E::IndexOutOfRange { outer: 2, index: -1, limit: 8 },
                "the sparse matrix has index -1 in row or column 2; valid indices are 0 to 7",
            ),
            (
                E::Unsorted { outer: 2 },
                "the sparse matrix has unsorted or duplicate indices in row or column 2; sort them \
                 and sum duplicates first",
            ),
            (
                E::BrokenIndptr { position: 1, reason: "it decreases" },
                "the sparse matrix's indptr is broken at position 1: it decreases",
            ),
            (
                E::Changed { outer: 2 },
                "the matrix changed at row or column 2 while it was read; do not modify it from \
                 another thread during a call",
            ),
            (
                E::BrokenChunk { chunk: 1, reason: "its checksum does not agree" },
                "chunk 1 of the dataset is broken: its checksum does not agree",
            ),
            (E::Unreadable { chunk: 1 }, "chunk 1 of the dataset cannot be read"),
            (E::Spill { what: "written" }, "the temporary file of rows cannot be written"),
            (E::BrokenRows { reason: "cut" }, "the bytes are no rows of a table: cut"),
            (E::Interrupted, "interrupted"),
        ]
    }

    #[test]
    fn every_kind_says_what_was_found_and_what_is_valid() {
        for (kind, text) in of_requests().into_iter().chain(of_data()) {
            let error = Error::from(kind.clone());
            assert_eq!((error.to_string(), error.kind()), (text.to_owned(), &kind));
            assert!(error.source().is_none());
        }
    }

    #[test]
    fn the_cause_is_kept_and_not_compared() {
        let cause = || io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends");
        let error = ErrorKind::Unreadable { chunk: 4 }.caused_by(cause());
        let moved = error.clone().map_kind(|_| ErrorKind::Unreadable { chunk: 5 });
        for (error, chunk) in [(&error, 4), (&moved, 5)] {
            let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
            assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::UnexpectedEof));
            let own = format!("chunk {chunk} of the dataset cannot be read");
            assert_eq!(error.to_string(), own);
            assert_eq!(format!("{error:#}"), format!("{own}: the file ends"));
        }
        assert_eq!(error, Error::from(ErrorKind::Unreadable { chunk: 4 }));
        assert_ne!(error, moved);
    }

    #[test]
    fn text_is_quoted_as_python_quotes_it() {
        for (text, quoted) in [
            ("a", "'a'"),
            ("it's", "\"it's\""),
            ("say \"a\"", "'say \"a\"'"),
            ("'\"", "'\\'\"'"),
            ("a\nb\\", "'a\\nb\\\\'"),
            ("é", "'é'"),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }
}
