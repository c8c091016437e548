//! The arrows between rooms, and inside them, held by reading every path in the sources (house.md).
//!
//! Braces (`use crate::{stats, matrix}`), paths in code (`crate::stats::radix::sort_entries(..)`) and
//! `super::` count like `use crate::stats`; comments, strings and test modules do not.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms that it may import; `cast`, `error` and `suggest` are open to all.
const ROOMS: [(&str, &[&str]); 11] = [
    ("cast", &[]),
    ("error", &[]),
    ("suggest", &[]),
    ("stats", &[]),
    ("matrix", &["stats"]),
    ("readers", &["matrix"]),
    ("h5ad", &["readers"]),
    ("engine", &["stats", "matrix"]),
    ("expr", &["stats", "engine", "matrix"]),
    ("tables", &["engine", "matrix", "readers"]),
    ("python", &["stats", "engine", "matrix", "readers", "h5ad", "tables"]),
];
const OPEN: [&str; 3] = ["cast", "error", "suggest"];
/// Crates that only some rooms may name.
const FENCED: [(&str, &[&str]); 5] = [
    ("hdf5_metno_sys", &["h5ad"]),
    ("polars", &["expr", "python"]),
    ("pyo3", &["expr", "python"]),
    ("numpy", &["python"]),
    ("rayon", &["matrix", "engine", "readers", "tables", "python"]),
];

/// The code of a source: no comments, no strings, nothing from the test module on.
fn code(source: &str) -> String {
    let source = source.split("\nmod tests {").next().unwrap();
    let mut out = String::new();
    for line in source.lines() {
        let line = line.split("//").next().unwrap();
        // Text between quotes goes; an escaped quote does not end it.
        let mut quoted = false;
        let mut before = ' ';
        for c in line.chars() {
            if c == '"' && before != '\\' && before != '\'' {
                quoted = !quoted;
            } else if !quoted {
                out.push(c);
            }
            before = c;
        }
        out.push('\n');
    }
    out
}

/// All paths that begin with `root`, braces written out: `root::{a, b::c}` is `a` and `b::c`.
fn paths(code: &str, root: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(root) {
        let alone = code[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        if alone && let Some(rest) = code[at + root.len()..].strip_prefix("::") {
            expand(rest, &mut Vec::new(), &mut found);
        }
    }
    found
}

/// Reads one path after `::`; returns what follows it.
fn expand<'a>(
    mut rest: &'a str,
    before: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> &'a str {
    let depth = before.len();
    loop {
        rest = rest.trim_start();
        if let Some(mut inside) = rest.strip_prefix('{') {
            loop {
                inside = expand(inside, before, found).trim_start();
                match inside.strip_prefix(',') {
                    Some(more) if !more.trim_start().starts_with('}') => inside = more,
                    _ => break,
                }
            }
            let inside = inside.trim_start().strip_prefix(',').unwrap_or(inside).trim_start();
            before.truncate(depth);
            return inside.strip_prefix('}').unwrap_or(inside);
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        before.push(rest[..end].to_owned());
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(more) if !more.starts_with('<') => rest = more,
            _ => break,
        }
    }
    found.push(before.clone());
    before.truncate(depth);
    // `as name`
    rest.find([',', '}', ';', '(', ')', '\n', '<', '>', ' ']).map_or("", |end| &rest[end..])
}

/// The rooms, and modules inside them, that a source names, from its own place (`engine/source/runs`
/// is engine, source, runs): full paths from the crate's root.
fn named(place: &[&str], source: &str) -> Vec<Vec<String>> {
    let code = code(source);
    let mut all = paths(&code, "crate");
    for path in paths(&code, "super") {
        let ups = 1 + path.iter().take_while(|part| *part == "super").count();
        let parent = place[..place.len().saturating_sub(ups)].iter().map(|&part| part.to_owned());
        all.push(parent.chain(path[ups - 1..].iter().cloned()).collect());
    }
    all
}

/// What is wrong with the arrows of one source.
fn complaints(place: &[&str], source: &str) -> Vec<String> {
    let room = place[0];
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return Vec::new();
    };
    let mut wrong = BTreeSet::new();
    for path in named(place, source) {
        let named = path[0].as_str();
        let known = ROOMS.iter().any(|(name, _)| *name == named);
        if known && named != room && !OPEN.contains(&named) && !allowed.contains(&named) {
            wrong.insert(format!("{room} imports {named}"));
        }
    }
    let code = code(source);
    for (name, rooms) in FENCED {
        if !rooms.contains(&room) && !paths(&code, name).is_empty() {
            wrong.insert(format!("{room} imports the crate {name}"));
        }
    }
    wrong.into_iter().collect()
}

/// A circle among modules, as the names along it.
fn circle(arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk(
        at: &str,
        arrows: &BTreeMap<String, BTreeSet<String>>,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(start) = path.iter().position(|name| name == at) {
            path.drain(..start);
            path.push(at.to_owned());
            return true;
        }
        if done.contains(at) {
            return false;
        }
        path.push(at.to_owned());
        if arrows.get(at).into_iter().flatten().any(|next| walk(next, arrows, path, done)) {
            return true;
        }
        path.pop();
        done.insert(at.to_owned());
        false
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|start| {
        let mut path = Vec::new();
        walk(start, arrows, &mut path, &mut done).then_some(path)
    })
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            sources(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// Every source with its place: `src/engine/source/mod.rs` is at engine, source.
fn all() -> Vec<(Vec<String>, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 40, "only {} sources found", files.len());
    let place = |file: &Path| {
        let inside = file.strip_prefix(&root).unwrap().with_extension("");
        let mut parts: Vec<String> =
            inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        parts.pop_if(|last| last == "mod");
        parts
    };
    let all: Vec<(Vec<String>, String)> =
        files.iter().map(|file| (place(file), fs::read_to_string(file).unwrap())).collect();
    // A file that is a test module may import what it likes.
    let mut tests = BTreeSet::new();
    for (place, source) in &all {
        for declared in source.split("#[cfg(test)]\nmod ").skip(1) {
            let name = declared.split([';', ' ']).next().unwrap();
            tests.insert([&place[..], &[name.to_owned()]].concat());
        }
    }
    all.into_iter().filter(|(place, _)| !tests.contains(place)).collect()
}

#[test]
fn arrows_point_one_way() {
    let mut wrong = Vec::new();
    for (place, source) in all() {
        let place: Vec<&str> = place.iter().map(String::as_str).collect();
        let found = complaints(&place, &source);
        wrong.extend(found.into_iter().map(|text| format!("src/{}: {text}", place.join("/"))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_room_has_a_circle() {
    // In each folder its modules are nodes; a folder inside is one of them, whatever file of it
    // imports. A folder's own mod.rs states what its modules share, and is none.
    let sources = all();
    let mut folders: BTreeSet<Vec<String>> = BTreeSet::new();
    for (place, _) in &sources {
        folders.extend((1..place.len()).map(|depth| place[..depth].to_vec()));
    }
    for folder in folders {
        let depth = folder.len();
        let modules: BTreeSet<&String> = sources
            .iter()
            .filter(|(place, _)| place.len() > depth && place[..depth] == folder[..])
            .map(|(place, _)| &place[depth])
            .collect();
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (place, source) in &sources {
            if place.len() <= depth || place[..depth] != folder[..] {
                continue;
            }
            let here: Vec<&str> = place.iter().map(String::as_str).collect();
            for path in named(&here, source) {
                let inside = path.len() > depth && path[..depth] == folder[..];
                if inside && modules.contains(&path[depth]) && path[depth] != place[depth] {
                    arrows.entry(place[depth].clone()).or_default().insert(path[depth].clone());
                }
            }
        }
        let found = circle(&arrows);
        assert!(found.is_none(), "src/{}: a circle {found:?}", folder.join("/"));
    }
}

#[test]
fn a_forbidden_arrow_is_seen_however_it_is_written() {
    let seen = |source| complaints(&["stats", "radix"], source);
    for source in [
        "use crate::engine::run;",
        "use crate::{\n    error::Result,\n    engine::{run, gene},\n};",
        "fn f() { crate::engine::run::run() }",
        "use super::super::engine::run;",
        "use rayon::prelude::*;",
        "fn f() { rayon::join(a, b) }",
    ] {
        assert_eq!(seen(source).len(), 1, "{source}");
    }
    for source in [
        "use crate::stats::wilcoxon;",
        "use crate::{cast::real, error::Error};",
        "// use crate::engine::run;",
        "let text = \"crate::engine\";",
        "#[cfg(test)]\nmod tests { use crate::engine::run; }",
        "use super::wilcoxon;",
    ] {
        assert!(seen(source).is_empty(), "{source}");
    }
}

#[test]
fn a_circle_is_seen() {
    let arrows = |pairs: &[(&str, &str)]| {
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for &(a, b) in pairs {
            arrows.entry(a.to_owned()).or_default().insert(b.to_owned());
        }
        arrows
    };
    assert_eq!(circle(&arrows(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    assert_eq!(circle(&arrows(&[("a", "b"), ("b", "c"), ("c", "b")])).unwrap(), ["b", "c", "b"]);
}
