//! The integer types of the indices and pointers of sparse matrices.
//!
//! A view holds them as an enum and matches on it once per cell, gene or block, so that the code
//! above the view is not compiled for each integer type.

use std::fmt::Debug;
use std::ops::Range;

/// An integer type of the indices of stored entries.
pub trait Index: Copy + Ord + Debug + Send + Sync + 'static {
    /// The index as i64; it may be negative, which is invalid.
    fn get(self) -> i64;
    /// The index as u32. A negative index, or one above `u32::MAX`, becomes 2^31 or more, which is
    /// beyond any matrix.
    fn place(self) -> u32;
    /// The index minus `first`, which the caller guarantees to be at most the index.
    #[must_use]
    fn less(self, first: i64) -> Self;
}

impl Index for u16 {
    #[inline]
    fn get(self) -> i64 {
        i64::from(self)
    }

    #[inline]
    fn place(self) -> u32 {
        u32::from(self)
    }

    #[inline]
    fn less(self, first: i64) -> Self {
        Self::try_from(i64::from(self) - first).unwrap_or_default()
    }
}

impl Index for i32 {
    #[inline]
    fn get(self) -> i64 {
        i64::from(self)
    }

    #[inline]
    fn place(self) -> u32 {
        self.cast_unsigned()
    }

    #[inline]
    fn less(self, first: i64) -> Self {
        Self::try_from(i64::from(self) - first).unwrap_or_default()
    }
}

impl Index for i64 {
    #[inline]
    fn get(self) -> i64 {
        self
    }

    #[inline]
    fn place(self) -> u32 {
        u32::try_from(self).unwrap_or(u32::MAX)
    }

    #[inline]
    fn less(self, first: i64) -> Self {
        self - first
    }
}

/// The indices of all stored entries: genes in CSR, cells in CSC.
#[derive(Debug, Clone, Copy)]
pub enum Indices<'a> {
    U16(&'a [u16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
}

/// The offset of each row's (CSR) or column's (CSC) first entry, then the number of all entries.
#[derive(Debug, Clone, Copy)]
pub enum Indptr<'a> {
    I32(&'a [i32]),
    I64(&'a [i64]),
}

/// Evaluates `$body` with `$name` bound to the slice that an [`Indices`] holds.
macro_rules! with_indices {
    ($indices:expr, $name:ident => $body:expr) => {
        match $indices {
            $crate::matrix::Indices::U16($name) => $body,
            $crate::matrix::Indices::I32($name) => $body,
            $crate::matrix::Indices::I64($name) => $body,
        }
    };
}
pub(super) use with_indices;

impl Indices<'_> {
    /// The number of indices.
    #[must_use]
    pub fn len(&self) -> usize {
        with_indices!(self, indices => indices.len())
    }

    /// True if there are no indices.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Indptr<'_> {
    /// The number of pointers: one more than the number of rows or columns.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::I32(indptr) => indptr.len(),
            Self::I64(indptr) => indptr.len(),
        }
    }

    /// True if there are no pointers; never in a valid matrix.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The stored pointer `i`; `None` past the end.
    #[inline]
    #[must_use]
    pub fn get(&self, i: usize) -> Option<i64> {
        match self {
            Self::I32(indptr) => indptr.get(i).map(|&pointer| pointer.into()),
            Self::I64(indptr) => indptr.get(i).copied(),
        }
    }

    /// The range of entries of one row or column; `None` if a pointer is negative or missing. The
    /// range may still decrease or end past the entries; `slice::get` then returns `None`.
    #[inline]
    pub(super) fn range(&self, outer: usize) -> Option<Range<usize>> {
        let at = |i| usize::try_from(self.get(i)?).ok();
        Some(at(outer)?..at(outer + 1)?)
    }
}

macro_rules! from_slices {
    ($($target:ident :: $variant:ident <- $t:ty),*) => {$(
        impl<'a> From<&'a [$t]> for $target<'a> {
            fn from(slice: &'a [$t]) -> Self {
                Self::$variant(slice)
            }
        }

        impl<'a> From<&'a Vec<$t>> for $target<'a> {
            fn from(slice: &'a Vec<$t>) -> Self {
                Self::$variant(slice)
            }
        }

        impl<'a, const N: usize> From<&'a [$t; N]> for $target<'a> {
            fn from(slice: &'a [$t; N]) -> Self {
                Self::$variant(slice)
            }
        }
    )*};
}

from_slices!(Indices::U16 <- u16, Indices::I32 <- i32, Indices::I64 <- i64);
from_slices!(Indptr::I32 <- i32, Indptr::I64 <- i64);
