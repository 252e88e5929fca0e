use std::path::Path;

use tidy::{manifest, readme, source};

use crate::assert_none;

#[test]
fn each_crate_begins_with_what_it_is_and_forbids_unsafe_code() {
    let mut findings = Vec::new();
    for manifest in manifest::all().values() {
        let path = format!("src/{}/lib.rs", manifest.folder);
        let text = tidy::text(Path::new(&path));
        for line in ["#![forbid(unsafe_code)]", "#![deny(missing_docs)]"] {
            if !text.contains(line) {
                findings.push(format!("{path} lacks {line}"));
            }
        }
        if !text.starts_with("//! ") {
            findings.push(format!("{path} does not begin with what the crate is"));
        }
    }
    assert_none("heads of crates", &findings);
}

#[test]
fn each_handler_says_what_deviates_and_what_tests_it() {
    let mut findings = Vec::new();
    for source in source::all().iter().filter(|source| source.is_handler()) {
        for title in ["Deviations", "Tests"] {
            if source.head_section(title).is_none_or(|lines| lines.iter().all(|line| line.trim().is_empty())) {
                findings.push(format!("{} has no section '# {title}' in its head", source.path_text()));
            }
        }
    }
    assert_none("heads of handlers", &findings);
}

#[test]
fn each_configuration_row_has_a_sentence() {
    let mut findings = Vec::new();
    for source in source::all().iter().filter(|source| source.text.contains("config::") || source.path_text().contains("config")) {
        for (number, line) in source.shipped_lines() {
            if line.trim() == "doc: \"\"," {
                findings.push(format!("{}:{number}", source.path_text()));
            }
        }
    }
    assert_none("configuration rows without a sentence", &findings);
}

#[test]
fn the_readmes_table_of_deviations_is_what_the_handlers_say() {
    readme::check_section(Path::new("README.md"), "deviations", &readme::deviations(&source::all()));
}

#[test]
fn links_of_the_pages_lead_to_files() {
    let mut findings = Vec::new();
    for page in tidy::files("", &[".md"]) {
        let text = tidy::text(&page);
        let folder = page.parent().unwrap_or(Path::new(""));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !tidy::root().join(folder).join(target).exists() {
                findings.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert_none("links to nothing", &findings);
}
