//! The rules. Each test is one of them.

mod architecture;
mod documentation;
mod size;
mod words;

/// Fails with all findings at once.
fn assert_none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}\n", findings.join("\n  "));
}
