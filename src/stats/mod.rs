//! The numbers: slices and counts in, numbers out.
//!
//! Every test is written twice.  [`naive`] holds the definition, literally; the modules named
//! after the tests hold small states (a rank sum, moments, an Anderson-Darling sum) that a sweep
//! over the data fills and that turn into a result at the end.  Property tests hold the two
//! together.
//!
//! Symbols used throughout: x is the target's sample, y the reference's, n1 and n2 their sizes,
//! N = n1 + n2.
//!
//! IMPORTS std, multiversion, `crate::error`, `crate::cast`.

pub mod adjust;
pub mod anderson;
pub mod conditional;
pub mod double_double;
pub mod exact;
pub mod ks;
pub mod moments;
#[cfg(any(test, feature = "testing"))]
pub mod naive;
pub mod radix;
pub mod runs;
pub mod special;
pub mod ttest;
pub mod van_elteren;
pub mod wilcoxon;

use crate::error::{Error, ErrorKind};
use std::str::FromStr;

/// The most cells that one test may pool: below it every count and every run's tie term stays an
/// exact integer in the types used here.
pub const MAX_CELLS: u64 = 1 << 30;

/// The alternative hypothesis, always about the target compared with the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Alternative {
    /// The target's values are shifted either way.
    #[default]
    TwoSided,
    /// The target's values are smaller.
    Less,
    /// The target's values are greater.
    Greater,
}

impl FromStr for Alternative {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "two-sided" => Ok(Self::TwoSided),
            "less" => Ok(Self::Less),
            "greater" => Ok(Self::Greater),
            _ => Err(unknown("alternative", name, &["two-sided", "less", "greater"])),
        }
    }
}

/// Returned when an option has an unknown value.
pub(crate) fn unknown(option: &'static str, got: &str, valid: &'static [&'static str]) -> Error {
    ErrorKind::UnknownOption { option, got: got.to_owned(), valid }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_parse_and_a_wrong_one_names_the_right_ones() {
        assert_eq!("less".parse(), Ok(Alternative::Less));
        assert_eq!("greater".parse(), Ok(Alternative::Greater));
        assert_eq!("two-sided".parse(), Ok(Alternative::TwoSided));
        let text = "Less".parse::<Alternative>().unwrap_err().to_string();
        assert!(text.contains("'Less'") && text.contains("'less'"), "{text}");
    }
}
