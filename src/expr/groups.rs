//! The groups of one list: which labels it holds, a code for each, and the strata.

use super::labels::Labels;
use super::lists::List;
use super::request::Request;
use crate::cast::{narrow, place};
use crate::engine::design::{Reference, check_strata};
use crate::error::{ErrorKind, quote};
use crate::matrix::SKIP;
use crate::suggest;
use polars::prelude::*;

/// Labels that an error shows.
const SHOWN: usize = 8;

/// The labels of a call, and what is known of them whatever the list.
pub(super) struct Design {
    pub(super) target: Labels,
    pub(super) strata: Option<Labels>,
    /// The number of the reference's label, where any row has it.
    number: Option<u32>,
    /// False where no group can have the reference's label.
    may_have_reference: bool,
    pub(super) reference: Reference,
}

impl Design {
    /// # Errors
    /// Labels that cannot be read.
    pub(super) fn new(
        target: Labels,
        strata: Option<Labels>,
        request: &Request,
    ) -> PolarsResult<Self> {
        let is_rest = request.is_rest();
        Ok(Self {
            number: if is_rest { None } else { target.reference(request)? },
            may_have_reference: target.may_have_reference(request),
            reference: if is_rest { Reference::Rest } else { Reference::Group },
            target,
            strata,
        })
    }

    /// The most targets that a list can have.
    pub(super) fn most_targets(&self) -> usize {
        self.target.count() - usize::from(self.number.is_some())
    }
}

/// What finding the groups of a list takes, reused from list to list.
#[derive(Debug, Default)]
pub(super) struct Finder {
    numbers: Vec<u32>,
    labels: Found,
    targets: Vec<u32>,
    strata_numbers: Vec<u32>,
    strata: Found,
}

/// The groups of one list: code 0 is the reference, or nobody against the rest; the targets follow.
pub(super) struct Groups<'a> {
    /// For each row the number of its label; [`SKIP`] where that is null.
    pub(super) numbers: &'a [u32],
    /// For each number the group's code; [`SKIP`] for labels that the list lacks.
    codes: &'a [u32],
    /// The numbers of the targets' labels, in order.
    pub(super) targets: &'a [u32],
    pub(super) reference: Reference,
    /// The strata that rows are compared within.
    pub(super) strata: Option<Strata<'a>>,
}

/// The strata of one list, in order of first occurrence.
pub(super) struct Strata<'a> {
    /// For each row the number of its label; [`SKIP`] for null.
    pub(super) numbers: &'a [u32],
    codes: &'a [u32],
    pub(super) count: usize,
}

impl Groups<'_> {
    /// The number of groups.
    pub(super) fn count(&self) -> usize {
        self.targets.len() + 1
    }

    /// The group of a label's number; [`SKIP`] for that of null.
    pub(super) fn code(&self, number: u32) -> u32 {
        self.codes.get(place(number)).copied().unwrap_or(SKIP)
    }
}

impl Strata<'_> {
    /// The stratum of a label's number; [`SKIP`] for that of null.
    pub(super) fn code(&self, number: u32) -> u32 {
        self.codes.get(place(number)).copied().unwrap_or(SKIP)
    }
}

impl Finder {
    /// Finds the groups of a list, and its strata where there are any.
    ///
    /// # Errors
    /// Rows without a label and no row of the reference but in a group of a `group_by`, too many
    /// strata.
    pub(super) fn find<'a>(
        &'a mut self,
        list: &List,
        design: &'a Design,
        request: &Request,
    ) -> PolarsResult<Groups<'a>> {
        let Self { numbers, labels, targets, strata_numbers, strata } = self;
        let numbers = design.target.of_rows(list.rows.clone(), numbers);
        labels.find(numbers, design.target.count());
        // A frame of no rows has a result of no rows.
        if !list.in_group && !numbers.is_empty() && labels.found.is_empty() {
            return Err(ErrorKind::NoCells { column: request.target.clone() }.into());
        }
        let has_reference = labels.order(design.number, targets);
        let elsewhere = list.in_group && design.may_have_reference;
        let lacking = design.reference == Reference::Group && !has_reference && !elsewhere;
        if !numbers.is_empty() && lacking {
            return Err(unknown_reference(request, &design.target.take(targets)?));
        }
        let strata = design.strata.as_ref().map(|of_column| {
            let numbers = of_column.of_rows(list.rows.clone(), strata_numbers);
            strata.find(numbers, of_column.count());
            Strata { numbers, codes: &strata.codes, count: strata.found.len() }
        });
        if let Some(strata) = &strata {
            check_strata(targets.len() + 1, strata.count)?;
        }
        let (codes, reference) = (&labels.codes[..], design.reference);
        Ok(Groups { numbers, codes, targets, reference, strata })
    }

    /// The number of targets of a list.
    pub(super) fn count(&mut self, list: &List, design: &Design) -> usize {
        let numbers = design.target.of_rows(list.rows.clone(), &mut self.numbers);
        self.labels.find(numbers, design.target.count());
        let reference = design.number.and_then(|number| self.labels.codes.get(place(number)));
        self.labels.found.len() - usize::from(reference.is_some_and(|&code| code != SKIP))
    }

    /// The bytes kept for the next list.
    pub(super) fn kept(&self) -> usize {
        size_of::<u32>() * (self.numbers.capacity() + self.strata_numbers.capacity())
    }
}

/// The labels of a list.
#[derive(Debug, Default)]
struct Found {
    /// For each number of the column a code; [`SKIP`] for those that the list lacks.
    codes: Vec<u32>,
    /// The numbers that the list has.
    found: Vec<u32>,
}

impl Found {
    /// Finds the numbers of a list among `count`; codes are in order of first occurrence.
    fn find(&mut self, numbers: &[u32], count: usize) {
        // Only what the last list left, as a column may have many more labels than a list.
        self.found.iter().for_each(|&number| self.codes[place(number)] = SKIP);
        self.found.clear();
        self.codes.resize(count, SKIP);
        for &number in numbers {
            if let Some(code) = self.codes.get_mut(place(number))
                && *code == SKIP
            {
                *code = narrow(self.found.len());
                self.found.push(number);
            }
        }
    }

    /// Codes targets in the order of labels, from 1 on, and the reference 0; true if the list has it.
    fn order(&mut self, reference: Option<u32>, targets: &mut Vec<u32>) -> bool {
        if self.codes.len() < 4 * self.found.len() {
            // A look at each number is faster than sorting those that are there.
            self.found.clear();
            let numbers = (0..).zip(&self.codes).filter(|(_, code)| **code != SKIP);
            self.found.extend(numbers.map(|(number, _)| number));
        } else {
            self.found.sort_unstable();
        }
        targets.clear();
        targets.extend(self.found.iter().filter(|&&number| Some(number) != reference));
        (1..).zip(&*targets).for_each(|(code, &number)| self.codes[place(number)] = code);
        let has_reference = targets.len() < self.found.len();
        if let Some(number) = reference.filter(|_| has_reference) {
            self.codes[place(number)] = 0;
        }
        has_reference
    }
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
