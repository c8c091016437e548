//! The groups of one call: a code a row, and the labels of the targets in order.

use super::labels::Labels;
use super::request::Request;
use crate::cast::{narrow, place};
use crate::engine::design::{Reference, check_strata};
use crate::error::{ErrorKind, quote};
use crate::matrix::SKIP;
use crate::suggest;
use polars::prelude::*;

/// Labels that an error shows.
const SHOWN: usize = 8;

/// The groups: code 0 is the reference, or nobody against the rest; the targets follow.
pub(super) struct Groups {
    /// For each row the number of its label; [`SKIP`] where that is null.
    numbers: Vec<u32>,
    /// For each number the group's code.
    codes: Vec<u32>,
    /// The targets in order, in the column's dtype.
    pub(super) targets: Series,
    pub(super) reference: Reference,
    /// The strata that rows are compared within.
    strata: Option<Strata>,
}

/// A stratum a row ([`SKIP`] for null), and their number.
pub(super) struct Strata {
    pub(super) numbers: Vec<u32>,
    pub(super) count: usize,
}

impl Groups {
    /// The groups of the target column, and the strata where there are any.
    ///
    /// # Errors
    /// Rows without a label and no row of the reference but in a group of a `group_by`, too many
    /// strata, unsupported dtypes.
    pub(super) fn new(
        target: &Labels,
        strata: Option<&Labels>,
        request: &Request,
        of_group: bool,
    ) -> PolarsResult<Self> {
        let (numbers, labels) = target.distinct(request)?;
        let mut codes = vec![SKIP; labels.len()];
        let mut targets: Vec<IdxSize> = Vec::with_capacity(labels.len());
        for number in order(&labels)?.into_no_null_iter() {
            let code = &mut codes[place(number)];
            if !request.is_rest() && request.matches(&labels.get(place(number))?) {
                *code = 0;
            } else {
                targets.push(number);
                *code = narrow(targets.len());
            }
        }
        let has_reference = targets.len() < labels.len();
        let targets = labels.take(&IdxCa::from_vec(PlSmallStr::EMPTY, targets))?;
        // A frame of no rows has a result of no rows.
        if !of_group && !numbers.is_empty() && labels.is_empty() {
            return Err(ErrorKind::NoCells { column: request.target.clone() }.into());
        }
        let elsewhere = of_group && target.may_have_reference(request);
        if !numbers.is_empty() && !request.is_rest() && !has_reference && !elsewhere {
            return Err(unknown_reference(request, &targets));
        }
        Ok(Self {
            strata: strata.map(|s| Strata::new(s, targets.len() + 1, request)).transpose()?,
            numbers,
            codes,
            targets: targets.with_name("target".into()),
            reference: if request.is_rest() { Reference::Rest } else { Reference::Group },
        })
    }

    /// The number of groups.
    pub(super) fn count(&self) -> usize {
        self.targets.len() + 1
    }

    /// For each row the number of its label, which [`Groups::code`] takes.
    pub(super) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// The group of a label's number; [`SKIP`] for that of null.
    pub(super) fn code(&self, number: u32) -> u32 {
        self.codes.get(place(number)).copied().unwrap_or(SKIP)
    }

    /// The strata, where there are any.
    pub(super) fn strata(&self) -> Option<&Strata> {
        self.strata.as_ref()
    }
}

impl Strata {
    fn new(labels: &Labels, groups: usize, request: &Request) -> PolarsResult<Self> {
        let (numbers, labels) = labels.distinct(request)?;
        check_strata(groups, labels.len())?;
        Ok(Self { numbers, count: labels.len() })
    }
}

/// The order of distinct labels: the categories' own for Enum, else sorted.
fn order(labels: &Series) -> PolarsResult<IdxCa> {
    let key = match labels.dtype() {
        DataType::Enum(..) => labels.to_physical_repr().into_owned(),
        DataType::Categorical(..) => labels.cast(&DataType::String)?,
        _ => labels.clone(),
    };
    Ok(key.arg_sort(SortOptions::default()))
}

fn unknown_reference(request: &Request, labels: &Series) -> PolarsError {
    let shown = |label: AnyValue| label.get_str().map_or_else(|| label.to_string(), quote);
    let shown: Vec<String> = labels.iter().map(shown).collect();
    let places = suggest::order(&request.reference, &shown);
    let kind = ErrorKind::UnknownReference {
        reference: request.shown_reference(),
        column: request.target.clone(),
        dtype: labels.dtype().to_string(),
        known: places.iter().take(SHOWN).map(|&place| shown[place].clone()).collect(),
        n_known: labels.len(),
    };
    kind.into()
}
