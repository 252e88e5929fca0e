use tidy::source;

use crate::assert_none;

const SOFT: usize = 500;
const HARD: usize = 800;
const TESTS_IN_FILE: usize = 400;

#[test]
fn a_file_has_at_most_800_lines_of_code() {
    let mut findings = Vec::new();
    for source in source::all().iter().filter(|source| !source.is_generated() && !source.is_test_file()) {
        let lines = source.code_lines();
        if lines > HARD {
            findings.push(format!("{}: {lines} lines", source.path_text()));
        } else if lines > SOFT {
            println!("{}: {lines} lines of code, more than the {SOFT} that a file should have", source.path_text());
        }
    }
    assert_none("files over 800 lines of code", &findings);
}

#[test]
fn a_long_test_module_has_a_file_of_its_own() {
    let all = source::all();
    let long = all.iter().map(|source| (source, source.test_module_lines())).filter(|(_, lines)| *lines > TESTS_IN_FILE);
    let findings: Vec<String> = long.map(|(source, lines)| format!("{}: {lines} lines of tests", source.path_text())).collect();
    assert_none("test modules over 400 lines belong to a sibling tests.rs", &findings);
}
