use tidy::{files, text};

use crate::assert_none;

/// Written in two parts, so that this file does not contain them.
const UNFINISHED: &[(&str, &str)] = &[
    ("to", "do!("),
    ("unimple", "mented!("),
    ("db", "g!("),
    ("FIX", "ME"),
    ("XX", "X"),
    ("HA", "CK"),
    ("#[ig", "nore"),
    ("for ", "now"),
    ("place", "holder"),
    ("not yet ", "implemented"),
];

const SOURCES: &[&str] = &[".rs", ".sh", ".py", ".java", ".go", ".js", ".toml"];

#[test]
fn nothing_says_that_it_is_unfinished() {
    let words: Vec<String> = UNFINISHED.iter().map(|(left, right)| format!("{left}{right}")).collect();
    let mut findings = Vec::new();
    for path in [files("src", SOURCES), files("compat-tests", SOURCES), files("fuzz", SOURCES), files("scripts", &[""])].concat() {
        for (number, line) in (1..).zip(text(&path).lines()) {
            for word in words.iter().filter(|word| line.contains(word.as_str())) {
                findings.push(format!("{}:{number}: {word}", path.display()));
            }
        }
    }
    assert_none("words of unfinished work", &findings);
}

#[test]
fn no_path_of_a_machine_is_in_the_tree() {
    let folders = ["/ro", "/ho"].map(|left| format!("{left}{}", if left == "/ro" { "ot/" } else { "me/" }));
    let mut findings = Vec::new();
    for path in files("", &[".rs", ".sh", ".py", ".java", ".go", ".js", ".md", ".yml", "run", "check", "test", "fix", "bench"]) {
        for (number, line) in (1..).zip(text(&path).lines()) {
            for folder in folders.iter().filter(|folder| is_path(line, folder)) {
                findings.push(format!("{}:{number}: {folder}", path.display()));
            }
        }
    }
    assert_none("paths of a machine", &findings);
}

/// Whether the folder begins a path, as opposed to being a part of a longer word.
fn is_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '}' | '~' | '_' | '-' | '/' | '{'))
    })
}
