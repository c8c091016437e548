//! The arrows between rooms, held by reading every `use crate::…` (house.md).
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms that it may import; `error` is open to all.
const ROOMS: [(&str, &[&str]); 7] = [
    ("error", &[]),
    ("stats", &[]),
    ("matrix", &[]),
    ("readers", &["matrix"]),
    ("engine", &["stats", "matrix"]),
    ("expr", &["stats", "engine", "matrix"]),
    ("python", &["stats", "engine", "matrix", "readers"]),
];
/// Crates that only some rooms may name.
const FENCED: [(&str, &[&str]); 4] = [
    ("polars", &["expr", "python"]),
    ("pyo3", &["expr", "python"]),
    ("numpy", &["python"]),
    ("rayon", &["engine", "readers", "python"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            sources(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// What is wrong with one line of code in `room`.
fn complaint(room: &str, line: &str) -> Option<String> {
    let allowed = ROOMS.iter().find(|(name, _)| *name == room).map(|(_, rooms)| *rooms)?;
    for part in line.split("crate::").skip(1) {
        let named: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let known = ROOMS.iter().any(|(name, _)| *name == named);
        if known && named != "error" && named != room && !allowed.contains(&named.as_str()) {
            return Some(format!("{room} imports {named}"));
        }
    }
    let fenced = FENCED.iter().find(|(name, rooms)| {
        !rooms.contains(&room) && line.trim_start().starts_with(&format!("use {name}"))
    });
    fenced.map(|(name, _)| format!("{room} imports the crate {name}"))
}

#[test]
fn arrows_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "only {} sources found", files.len());
    let mut complaints = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let room = inside.split(['/', '.']).next().unwrap();
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(text) = complaint(room, code) {
                complaints.push(format!("src/{inside}:{}: {text}", number + 1));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_forbidden_arrow_is_seen() {
    assert!(complaint("stats", "use crate::engine::run;").is_some());
    assert!(complaint("matrix", "use rayon::prelude::*;").is_some());
    assert!(complaint("engine", "use crate::stats::wilcoxon;").is_none());
    assert!(complaint("stats", "use crate::error::Error;").is_none());
}
