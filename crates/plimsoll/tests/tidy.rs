//! What the architecture forbids, held as data and looked for in the sources. A rule that clippy can keep is clippy's.
//!
//! It reads text, not meaning: `use` trees are flattened, comments and tests are left out, and a path that is built up
//! through renamed modules would escape. It is a net for oversights, not a wall.

#![allow(clippy::unwrap_used, reason = "a test that unwraps has failed")]

#[path = "tidy/checker.rs"]
mod checker;
#[path = "tidy/rules.rs"]
mod rules;

use std::fs;
use std::path::{Path, PathBuf};

use checker::{Source, breaches_of_manifest, breaches_of_source, breaches_of_text, glossary_words};

fn root() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap()
}

/// Files below a folder of the workspace with one of these endings, as path from the workspace's root and text.
fn files(below: &str, endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
                let place = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push(Source { path: place, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn modules_keep_to_what_is_theirs() {
    let sources = [files("crates", &[".rs"]), files("xtask", &[".rs"])].concat();
    assert!(sources.len() > 50, "only {} sources were found", sources.len());
    let breaches: Vec<String> = sources.iter().flat_map(|source| breaches_of_source(source, rules::RULES)).collect();
    assert_none(&breaches);
}

#[test]
fn crates_depend_on_no_more_than_they_may() {
    let manifests = files("crates", &["Cargo.toml"]);
    assert_eq!(manifests.len(), rules::DEPENDENCIES.len() + 1, "a crate without a rule");
    let breaches: Vec<String> =
        manifests.iter().flat_map(|manifest| breaches_of_manifest(manifest, rules::DEPENDENCIES)).collect();
    assert_none(&breaches);
}

#[test]
fn texts_are_finished_and_name_no_developers_machine() {
    let here = files("", &[".md", ".rs", ".toml", ".sh"]);
    let texts = here.iter().filter(|text| !text.path.starts_with("crates/plimsoll/tests/tidy"));
    let breaches: Vec<String> = texts.flat_map(breaches_of_text).collect();
    assert_none(&breaches);
}

#[test]
fn the_glossary_defines_each_word_once() {
    let text = fs::read_to_string(root().join("docs/glossary.md")).unwrap();
    let words = glossary_words(&text);
    let mut distinct = words.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), words.len(), "a word is defined twice: {words:?}");
    let undefined: Vec<&&str> = rules::WORDS.iter().filter(|word| !words.iter().any(|known| known == *word)).collect();
    assert!(undefined.is_empty(), "not in docs/glossary.md: {undefined:?}");
}
