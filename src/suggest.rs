//! Which labels to suggest in an error: those similar to the one given, and those of control cells.

use std::cmp::Reverse;
use std::collections::HashSet;

/// Names of control cells, lower case and without punctuation, the most certain first.
const CONTROLS: [&str; 24] = [
    "nontarget",
    "notarget",
    "ntc",
    "nt",
    "safetarget",
    "safeharbor",
    "safeharbour",
    "aavs1",
    "intergenic",
    "scramble",
    "control",
    "ctrl",
    "unperturbed",
    "unstimulated",
    "untreated",
    "dmso",
    "vehicle",
    "pbs",
    "mock",
    "sham",
    "wildtype",
    "wt",
    "neg",
    "unt",
];
/// Those of at most three letters that occur with a number: "NTC-1".
const NUMBERED: [&str; 6] = ["ntc", "neg", "pbs", "unt", "nt", "wt"];
/// Of these, those that with a number are genes, too: WT1 of human and mouse, PBS2 of yeast.
const GENES: [&str; 2] = ["pbs", "wt"];
/// Words that may accompany such a name.
const BESIDE: [&str; 12] =
    ["ing", "control", "ctrl", "neg", "ative", "guide", "sgrna", "grna", "cell", "only", "d", "s"];

/// Indices of `labels`: first those similar to `wanted`, then likely controls, then the rest. Ties
/// keep their order.
#[must_use]
pub fn order(wanted: &str, labels: &[String]) -> Vec<usize> {
    let wanted = plain(wanted);
    let mut places: Vec<usize> = (0..labels.len()).collect();
    places.sort_by_cached_key(|&place| {
        let label = plain(&labels[place]);
        let shared = resemblance(&wanted, &label);
        // Similar: a Dice coefficient of at least 50 %.
        let near = if shared >= 50 { shared } else { 0 };
        (Reverse(near), control_rank(&labels[place]).is_none())
    });
    places
}

/// The text in lower case, letters and digits only: "Non-Targeting" equals "non_targeting".
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Rank of a label as a name of control cells: the smaller, the more certain; `None` if the label
/// does not look like one. Labels that only name controls ("NTC", "Non-targeting controls",
/// "ctrl+ctrl") rank before those with a number or another word ("non-targeting_00012", "DMSO_TF").
#[must_use]
pub fn control_rank(label: &str) -> Option<usize> {
    let text = label.trim();
    let label = plain(label);
    let whole = CONTROLS.iter().position(|name| says_no_more(&label, name));
    // A short name must be the whole label: "SENTRIN" contains "nt".
    let inside = || CONTROLS.iter().position(|name| name.len() > 3 && label.contains(name));
    whole.or_else(|| {
        let name = numbered(text);
        let rank = inside().or_else(|| CONTROLS.iter().position(|known| Some(*known) == name));
        rank.map(|rank| CONTROLS.len() + rank)
    })
}

/// The short name in a label that has nothing else but a number and a word for a guide, such as
/// "NTC-1", "sgNTC" and "NTg1".
fn numbered(label: &str) -> Option<&'static str> {
    let before = after_guide(label);
    let label = before.map_or(label, |rest| rest.trim_start_matches(is_gap));
    let starts =
        |name: &&&str| label.get(..name.len()).is_some_and(|s| s.eq_ignore_ascii_case(name));
    let name = *NUMBERED.iter().find(starts)?;
    let rest = &label[name.len()..];
    let after = after_guide(rest.trim_start_matches(is_gap));
    let rest = after.unwrap_or(rest);
    let number = rest.trim_start_matches(is_gap);
    let gap = &rest[..rest.len() - number.len()];
    let is_gene = GENES.contains(&name) && before.or(after).is_none() && !gap.contains('_');
    (number.bytes().all(|byte| byte.is_ascii_digit()) && !is_gene).then_some(name)
}

/// What follows a word for a guide, if the text begins with one. A capital G is none: NTG1 is a gene.
fn after_guide(text: &str) -> Option<&str> {
    let rest = match text.as_bytes() {
        [b's' | b'S', b'g' | b'G', ..] => &text[2..],
        [b'g', ..] => &text[1..],
        _ => return None,
    };
    Some(rest.strip_prefix("RNA").unwrap_or(rest))
}

fn is_gap(letter: char) -> bool {
    !letter.is_alphanumeric()
}

/// True if the label is `name`, alone or with words that may accompany it.
fn says_no_more(label: &str, name: &str) -> bool {
    let Some((before, after)) = label.split_once(name) else { return false };
    if name.len() <= 3 {
        // Only three-letter names may take a plural s: "NTS" is a gene.
        return before.is_empty() && (after.is_empty() || (name.len() == 3 && after == "s"));
    }
    let mut rest = format!("{before}{after}");
    while let Some(word) = BESIDE.iter().find(|word| rest.contains(*word)) {
        rest = rest.replacen(word, "", 1);
    }
    rest.is_empty()
}

/// Dice coefficient of the texts' pairs of adjacent letters, in percent; 100 for equal texts.
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
    fn controls_of_public_screens_are_known() {
        let whole = [
            "non-targeting",
            "Non-Targeting Controls",
            "NTC",
            "ntcs",
            "no_target",
            "safe-targeting",
            "Safe_Harbour",
            "AAVS1",
            "intergenic",
            "scrambled",
            "neg_ctrl",
            "negative control",
            "ctrl+ctrl",
            "['non-targeting']",
            "DMSO",
            "PBS",
            "vehicle",
            "unstimulated",
            "NT",
            "control;control",
            "WT",
            "unperturbed",
        ];
        for label in whole {
            assert!(control_rank(label).is_some_and(|rank| rank < CONTROLS.len()), "{label}");
        }
        let numbered =
            ["non-targeting_00012", "NegCtrl10", "DMSO_TF", "[('DMSO_TF', 0.0, 'uM')]", "CTRL_00"];
        for label in numbered {
            assert!(control_rank(label).is_some_and(|rank| rank >= CONTROLS.len()), "{label}");
        }
        let short =
            ["NTC_1", "NTC1", "ntc 2", "NT1", "NTg1", "NT_sg3", "sgNTC-1", "gRNA_neg4", "unt1"];
        for label in short.into_iter().chain(["WT_1", "sgWT1", "PBS_2", "gNTC"]) {
            assert!(control_rank(label).is_some_and(|rank| rank >= CONTROLS.len()), "{label}");
        }
        let genes = ["WT1", "PBS2", "NTG1", "NTN1", "NT5C", "NEGR1", "GNTC1", "UNT1A", "SGK1", "é"];
        for label in genes.into_iter().chain(["NTC1x", "sg", "g", "_1", "sgé"]) {
            assert_eq!(control_rank(label), None, "{label}");
        }
        for label in ["NTS", "SENTRIN", "STAT1", "NEGR1", "WTAP", "MOCS1", "IFNG", "", "T000"] {
            assert_eq!(control_rank(label), None, "{label}");
        }
        assert!(control_rank("non-targeting") < control_rank("control"));
    }

    #[test]
    fn near_names_then_controls_then_the_others() {
        let labels = ["SENTRIN", "b", "NTC", "Non-Targeting", "a"].map(String::from);
        assert_eq!(order("x", &labels), [2, 3, 0, 1, 4]);
        assert_eq!(order("non_targeting", &labels), [3, 2, 0, 1, 4]);
        assert_eq!(order("sentrn", &labels)[0], 0);
        let labels = ["NTG1", "b", "NTC_7"].map(String::from);
        assert_eq!(order("x", &labels), [2, 0, 1]);
        assert_eq!(order("", &[]), [0usize; 0]);
    }
}
