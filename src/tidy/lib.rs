//! The rules of this code base as tests (`tests/it`): file budgets, allowed edges between crates, purity, forbidden words, heads of handlers.
//!
//! What it is *not*: it builds and runs nothing of ours; it reads manifests and sources as text, so it is quick and knows no types. What clippy can
//! check (length of functions, number of arguments, unwrap) is left to clippy.
//!
//! Invariants:
//! - A rule's failure names file, line and rule.
//! - Nothing is written unless `UPDATE=1` is set; then what is derived (the README's table of deviations) is rewritten.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod manifest;
pub mod readme;
pub mod source;

use std::path::{Path, PathBuf};

/// The root of the clone: that of the crate whose tests Cargo runs, not that of the clone in which this crate was compiled.
#[must_use]
pub fn root() -> PathBuf {
    let crate_root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&crate_root).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

/// All files below a folder of the clone with one of these endings, by path relative to the root. Folders that git does not keep are left out.
#[must_use]
pub fn files(below: &str, endings: &[&str]) -> Vec<PathBuf> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(below)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !matches!(name, ".git" | "target" | "klamm-data" | "node_modules") {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending))
                && let Ok(relative) = path.strip_prefix(&root)
            {
                found.push(relative.to_owned());
            }
        }
    }
    found.sort();
    found
}

/// A file's text.
#[must_use]
pub fn text(relative: &Path) -> String {
    let bytes = std::fs::read(root().join(relative)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
