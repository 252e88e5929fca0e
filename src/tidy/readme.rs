//! Parts of the README that are derived: each stands between two comments, and a test fails when it is stale.

use std::path::Path;

use crate::source::Source;

/// Compares a derived part of a file with what it should be; with `UPDATE=1` it is rewritten instead.
///
/// # Panics
/// The part is stale, or its comments are not there.
pub fn check_section(file: &Path, section: &str, expected: &str) {
    let (begin, end) = (format!("<!-- {section}: begin -->\n"), format!("<!-- {section}: end -->"));
    let text = crate::text(file);
    let parts = text.split_once(&begin).and_then(|(before, rest)| rest.split_once(&end).map(|(found, after)| (before, found, after)));
    let Some((before, found, after)) = parts else { panic!("{} has no section {section}", file.display()) };
    if found == expected {
        return;
    }
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        let written = std::fs::write(crate::root().join(file), format!("{before}{begin}{expected}{end}{after}"));
        assert!(written.is_ok(), "{}: {written:?}", file.display());
    } else {
        panic!("the section {section} of {} is stale; scripts/fix rewrites it. It should be:\n{expected}", file.display());
    }
}

/// The table of deviations from Apache Kafka, from the heads of all sources that state some.
#[must_use]
pub fn deviations(sources: &[Source]) -> String {
    let mut rows = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test_file()) {
        for deviation in bullets(&source.head_section("Deviations").unwrap_or_default()) {
            rows.push(format!("| {} | {} |\n", source.subject(), deviation.replace('|', "\\|")));
        }
    }
    rows.sort();
    rows.dedup();
    format!("\n| Where | What differs from Apache Kafka, and why |\n|---|---|\n{}\n", rows.concat())
}

/// The items of a list, continued lines joined, links of rustdoc as plain code. A paragraph counts as an item, but for one that begins with "None".
fn bullets(lines: &[&str]) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in lines.iter().map(|line| line.trim()) {
        match line.strip_prefix("- ") {
            Some(item) => {
                items.push(item.to_owned());
                is_open = true;
            }
            None if line.is_empty() => is_open = false,
            None => match items.last_mut() {
                Some(item) if is_open => {
                    item.push(' ');
                    item.push_str(line);
                }
                _ => {
                    items.push(line.to_owned());
                    is_open = true;
                }
            },
        }
    }
    items.retain(|item| !item.starts_with("None"));
    items.into_iter().map(|item| item.replace("[`", "`").replace("`]", "`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_joined_and_none_is_no_item() {
        assert_eq!(bullets(&["- One", "  goes on.", "- Two [`X`].", ""]), ["One goes on.", "Two `X`."]);
        assert!(bullets(&["", "None."]).is_empty());
        assert_eq!(bullets(&["A sentence", "in two lines."]), ["A sentence in two lines."]);
    }

    #[test]
    fn a_table_row_names_the_api() {
        let text = "//! Head.\n//!\n//! # Deviations\n//! - It differs.\n//!\n//! # Tests\n//! none\n";
        let source = Source { path: "src/apis/log/fetch.rs".into(), text: text.to_owned() };
        assert!(deviations(&[source]).contains("| Fetch | It differs. |\n"));
    }
}
