//! Finds breaches of rules in texts. Pure: the files are read elsewhere.

use crate::rules::{EMPTY_NAMES, Rule};

/// Lines that a source file has at most.
const LINES_MAX: usize = 600;

/// What the keyword `unsafe` stands before.
const BEGUN_BY_UNSAFE: [&str; 6] = ["{", "(", "fn ", "impl", "extern ", "trait "];

/// A file of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Path from the workspace's root.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// Everything that is wrong with a source file.
pub(crate) fn breaches_of_source(source: &Source, rules: &[Rule]) -> Vec<String> {
    let mut breaches = breaches_of_shape(source);
    if is_test(&source.path) {
        return breaches;
    }
    let code = code_of(&source.text);
    let mentions = format!("{code}\n{}", flat_uses(&code).join("\n"));
    for rule in rules.iter().filter(|rule| applies(rule, &source.path)) {
        for word in rule.never.iter().filter(|word| mentioned(&mentions, word)) {
            breaches.push(format!("{}: mentions `{word}`, but {}", source.path, rule.because));
        }
    }
    breaches
}

fn applies(rule: &Rule, path: &str) -> bool {
    let below = |start: &str| path.starts_with(start);
    let unsafe_corner = rule.never == ["unsafe"] && path.ends_with("/sys.rs");
    below(rule.below) && !rule.except.iter().any(|free| below(free)) && !unsafe_corner
}

/// Tests, benches and examples may do what they need to.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.ends_with("/testing.rs")
}

fn breaches_of_shape(source: &Source) -> Vec<String> {
    let mut breaches = Vec::new();
    let path = &source.path;
    // A module's tests need no head: the module has one, and the names of the tests are claims.
    if !source.text.starts_with("//!") && !path.ends_with("/tests.rs") {
        breaches.push(format!("{path}: does not begin with `//!` and what the file is for"));
    }
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        breaches.push(format!("{path}: {lines} lines, at most {LINES_MAX}"));
    }
    let names = path.split('/').map(|name| name.strip_suffix(".rs").unwrap_or(name));
    for name in names.filter(|name| EMPTY_NAMES.contains(name)) {
        breaches.push(format!("{path}: `{name}` says nothing about what it holds"));
    }
    breaches
}

/// The code without comments and without the module of tests at its end.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let tests_follow =
            lines.peek().is_some_and(|next| next.trim_start().starts_with("mod ") && next.ends_with('{'));
        if line.trim() == "#[cfg(test)]" && tests_follow {
            break;
        }
        let line = if line.trim_start().starts_with("//") { "" } else { line.split(" // ").next().unwrap_or(line) };
        code.push_str(line);
        code.push('\n');
    }
    code
}

/// The paths that `use` declarations name, one by one: `use a::{b, c::{d, e}};` gives a::b, a::c::d and a::c::e.
fn flat_uses(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut declaration = String::new();
    for line in code.lines().map(str::trim) {
        let begins =
            ["use ", "pub use ", "pub(crate) use ", "pub(super) use "].iter().find_map(|b| line.strip_prefix(b));
        match begins {
            Some(rest) => declaration = rest.to_owned(),
            None if !declaration.is_empty() => declaration.push_str(line),
            None => continue,
        }
        if let Some(whole) = declaration.strip_suffix(';') {
            expand("", whole, &mut paths);
            declaration.clear();
        }
    }
    paths
}

fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        if !tree.is_empty() {
            paths.push(format!("{prefix}{}", tree.strip_suffix("::self").unwrap_or(tree)));
        }
        return;
    };
    let prefix = format!("{prefix}{}", &tree[..open]);
    let inner = tree[open + 1..].trim_end().strip_suffix('}').unwrap_or(&tree[open + 1..]);
    let mut depth = 0_usize;
    let branches = inner.split(|character| {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    });
    branches.for_each(|branch| expand(&prefix, branch, paths));
}

/// Whether a word or path stands in a text by itself: `nix` is in `nix::fs` and not in `unix::fs` or `phoenix`.
fn mentioned(text: &str, word: &str) -> bool {
    let part =
        |character: Option<char>| character.is_some_and(|character| character.is_alphanumeric() || character == '_');
    let bounded = |at: usize| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        let starts = !word.starts_with(char::is_alphanumeric) || !part(before);
        let ends = !word.ends_with(char::is_alphanumeric) || !part(after);
        // A crate's name is one only at the start of a path, and a lone word only if a path follows or it is a keyword.
        let own = word != "nix" || (after == Some(':') && before != Some(':'));
        // In a lint's name or a text of somebody else's it is no keyword.
        let rest = text[at + word.len()..].trim_start();
        let keyword = word != "unsafe" || BEGUN_BY_UNSAFE.iter().any(|begun| rest.starts_with(begun));
        starts && ends && own && keyword
    };
    text.match_indices(word).any(|(at, _)| bounded(at))
}

/// Everything that is wrong with a text of any kind.
pub(crate) fn breaches_of_text(source: &Source) -> Vec<String> {
    let mut breaches = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let at = format!("{}:{}", source.path, number + 1);
        for word in ["TODO", "FIXME", "XXX"].iter().filter(|word| mentioned(line, word)) {
            breaches.push(format!("{at}: `{word}`: do it, or write down elsewhere that it is missing"));
        }
        if ["<<<<<<< ", ">>>>>>> "].iter().any(|mark| line.starts_with(mark)) {
            breaches.push(format!("{at}: a merge was not finished"));
        }
        let folders = ["/work/", "/root/", "/home/"];
        for folder in folders.iter().filter(|folder| source.path.ends_with(".md") && line.contains(*folder)) {
            breaches.push(format!("{at}: `{folder}` is a folder of somebody's machine"));
        }
    }
    breaches
}

/// Dependencies of a crate that it may not have.
pub(crate) fn breaches_of_manifest(manifest: &Source, allowed: &[(&str, &[&str])]) -> Vec<String> {
    let name = manifest.path.split('/').nth(1).unwrap_or_default();
    let Some((_, allowed)) = allowed.iter().find(|(known, _)| *known == name) else { return Vec::new() };
    let mut inside = false;
    let mut breaches = Vec::new();
    for line in manifest.text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if let Some(end) = line.find(['=', '.', ' ']).filter(|_| inside && !line.starts_with('#')) {
            let dependency = &line[..end];
            if !allowed.contains(&dependency) {
                breaches.push(format!("{}: depends on `{dependency}`, which its rule does not allow", manifest.path));
            }
        }
    }
    breaches
}

/// The words that a glossary's table defines: the first cell of each row.
pub(crate) fn glossary_words(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.map(|cell| cell.trim().to_owned()).filter(|cell| cell != "word" && !cell.starts_with("--")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RULES;

    fn check(path: &str, text: &str, expected: &[&str]) {
        let source = Source { path: path.to_owned(), text: format!("//! Head.\n{text}") };
        let breaches = breaches_of_source(&source, RULES);
        let words: Vec<&str> = breaches.iter().filter_map(|breach| breach.split('`').nth(1)).collect();
        assert_eq!(words, expected, "{breaches:?}");
    }

    #[test]
    fn a_plain_breach_is_found() {
        check("crates/plimsoll/src/analysis/verdict.rs", "use std::fs;\n", &["std::fs"]);
        check(
            "crates/plimsoll/src/report/html.rs",
            "let file = std::fs::File::open(path);\n",
            &["std::fs", "File::open"],
        );
        check("crates/plimsoll/src/cli/run.rs", "let x = rusqlite::Connection::open(path);\n", &["rusqlite"]);
        check("crates/plimsoll/src/store/load.rs", "let x = rusqlite::Connection::open(path);\n", &[]);
    }

    #[test]
    fn a_breach_inside_a_use_tree_is_found() {
        let tree = "use crate::{\n    clock,\n    launch::{Place, process::Spec},\n};\n";
        check("crates/plimsoll/src/rounds/walk.rs", tree, &["crate::launch"]);
        check("crates/plimsoll/src/analysis/mod.rs", tree, &["crate::clock", "crate::launch"]);
        check(
            "crates/plimsoll/src/environment/name.rs",
            "use std::{env, fs::{self, File}};\n",
            &["std::fs", "std::env"],
        );
    }

    #[test]
    fn printing_is_for_the_command_line_alone() {
        check("crates/plimsoll/src/launch/place.rs", "println!(\"x\");\n", &["println!"]);
        check("crates/plimsoll/src/cli/mod.rs", "println!(\"x\");\n", &[]);
        check("crates/plimsoll/src/report/text.rs", "writeln!(out, \"println\");\n", &[]);
    }

    #[test]
    fn unsafe_code_stays_in_its_corner() {
        check("crates/plimsoll/src/launch/process.rs", "unsafe { fork() }\n", &["unsafe"]);
        check("crates/plimsoll/src/launch/sys.rs", "#![allow(unsafe_code)]\nunsafe { fork() }\n", &[]);
        check("crates/plimsoll-agent/src/lib.rs", "#[allow(unsafe_code)]\nmod sys;\n", &[]);
        for code in ["unsafe fn f() {}", "unsafe impl Send for X {}", "#[unsafe(no_mangle)]"] {
            check("crates/plimsoll/src/launch/process.rs", code, &["unsafe"]);
        }
        check("crates/plimsoll/src/launch/process.rs", "f(&[\"unsafe\", \"unsafe is slow\"]);\n", &[]);
    }

    #[test]
    fn comments_and_tests_may_say_anything() {
        let text = "// std::fs is not for us\nfn f() {} // std::fs\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        check("crates/plimsoll/src/analysis/mod.rs", text, &[]);
        check("crates/plimsoll/src/rounds/tests.rs", "use std::fs;\n", &[]);
        let early = "#[cfg(test)]\nmod tests;\nuse std::fs;\n";
        check("crates/plimsoll/src/analysis/mod.rs", early, &["std::fs"]);
    }

    #[test]
    fn a_name_inside_a_longer_one_is_no_mention() {
        check("crates/plimsoll/src/rounds/walk.rs", "use std::os::unix::fs::FileExt;\nlet phoenix = 1;\n", &[]);
        check("crates/plimsoll/src/rounds/walk.rs", "use nix::unistd::fork;\n", &["nix"]);
        check("crates/plimsoll/src/rounds/walk.rs", "use crate::launchpad;\n", &[]);
    }

    #[test]
    fn a_file_without_a_head_too_long_or_named_nothing_is_found() {
        let source = |path: &str, text: String| Source { path: path.to_owned(), text };
        let long = format!("//! Head.\n{}", "\n".repeat(LINES_MAX));
        let count = |source: Source| breaches_of_source(&source, &[]).len();
        assert_eq!(count(source("crates/a/src/x.rs", "fn main() {}\n".to_owned())), 1);
        assert_eq!(count(source("crates/a/src/x.rs", long)), 1);
        assert_eq!(count(source("crates/a/src/utils/x.rs", "//! Head.\n".to_owned())), 1);
        assert_eq!(count(source("crates/a/src/x.rs", "//! Head.\n".to_owned())), 0);
    }

    #[test]
    fn unfinished_texts_and_private_folders_are_found() {
        let text = |path: &str, text: &str| breaches_of_text(&Source { path: path.to_owned(), text: text.to_owned() });
        assert_eq!(
            text("docs/a.md", "x\nTODO: y\n"),
            ["docs/a.md:2: `TODO`: do it, or write down elsewhere that it is missing"]
        );
        assert_eq!(text("docs/a.md", "see /home/me/x").len(), 1);
        assert!(text("crates/a.rs", "\"/root/x\"").is_empty());
        assert!(text("docs/a.md", "TODOS and mastodon\n").is_empty());
        assert_eq!(text("crates/a.rs", "<<<<<<< HEAD\nx\n=======\ny\n>>>>>>> other\n").len(), 2);
    }

    #[test]
    fn a_dependency_that_is_not_allowed_is_found() {
        let text =
            "[package]\nname = \"x\"\n[dependencies]\nnix.workspace = true\nserde = \"1\"\n[lints]\nworkspace = true\n";
        let manifest = Source { path: "crates/plimsoll-stats/Cargo.toml".to_owned(), text: text.to_owned() };
        let breaches = breaches_of_manifest(&manifest, &[("plimsoll-stats", &["serde"])]);
        assert_eq!(breaches.len(), 1, "{breaches:?}");
        assert!(breaches[0].contains("`nix`"));
    }

    #[test]
    fn glossary_words_are_the_first_cells() {
        assert_eq!(glossary_words("| word | meaning |\n|---|---|\n| run file | one file |\n"), ["run file"]);
    }
}
