//! Which labels an error shows first, where there are many.

use std::cmp::Reverse;
use std::collections::HashSet;

/// What control cells are called, in small letters and digits alone.
const CONTROLS: [&str; 17] = [
    "nontarget",
    "ntc",
    "nt",
    "neg",
    "control",
    "ctrl",
    "safetarget",
    "safeharbor",
    "intergenic",
    "scramble",
    "unperturbed",
    "untreated",
    "dmso",
    "vehicle",
    "mock",
    "wildtype",
    "wt",
];

/// The places of `labels`: those that resemble `wanted` first, then likely controls, then the others;
/// equals stay in order.
#[must_use]
pub fn order(wanted: &str, labels: &[String]) -> Vec<usize> {
    let wanted = plain(wanted);
    let mut places: Vec<usize> = (0..labels.len()).collect();
    places.sort_by_cached_key(|&place| {
        let label = plain(&labels[place]);
        let shared = resemblance(&wanted, &label);
        // At least half of the pairs of letters.
        let near = if shared >= 50 { shared } else { 0 };
        (Reverse(near), !is_control(&label))
    });
    places
}

/// A text without case and marks: "Non-Targeting" and "non_targeting" are one.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Short names must be the whole label: "nt" is in "SENTRIN".
fn is_control(label: &str) -> bool {
    CONTROLS.iter().any(|name| *name == label || (name.len() > 3 && label.contains(name)))
}

/// Pairs of neighbouring letters that two texts share, in percent of all (Dice); 100 for equal texts.
fn resemblance(a: &str, b: &str) -> usize {
    if a == b {
        return 100;
    }
    let pairs =
        |text: &str| -> HashSet<(char, char)> { text.chars().zip(text.chars().skip(1)).collect() };
    let (a, b) = (pairs(a), pairs(b));
    let shared = a.intersection(&b).count();
    (200 * shared).checked_div(a.len() + b.len()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_then_controls_then_the_others() {
        let labels = ["SENTRIN", "b", "NTC", "Non-Targeting", "a"].map(String::from);
        assert_eq!(order("x", &labels), [2, 3, 0, 1, 4]);
        assert_eq!(order("non_targeting", &labels), [3, 2, 0, 1, 4]);
        assert_eq!(order("sentrn", &labels)[0], 0);
        assert_eq!(order("", &[]), [0usize; 0]);
    }
}
