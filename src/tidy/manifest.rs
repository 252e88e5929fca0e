//! The crates' manifests.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

/// What a manifest says, as far as the rules need it.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The folder below `src`.
    pub folder: String,
    /// The crate's name.
    pub name: String,
    /// What the shipped code depends on.
    pub dependencies: BTreeSet<String>,
    /// Whether the workspace's lints hold.
    pub has_workspace_lints: bool,
}

/// All crates below `src`, by folder.
///
/// # Panics
/// A manifest cannot be read.
#[must_use]
pub fn all() -> BTreeMap<String, Manifest> {
    let manifests = crate::files("src", &["Cargo.toml"]);
    let of_crates = manifests.iter().filter(|path| path.components().count() == 3);
    of_crates
        .map(|path| {
            let folder = path.components().nth(1).map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
            let table: Table = crate::text(path).parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (folder.clone(), read(folder, &table))
        })
        .collect()
}

fn read(folder: String, table: &Table) -> Manifest {
    let get = |section: &str, key: &str| table.get(section).and_then(|section| section.get(key));
    let names = |section: &str| match table.get(section) {
        Some(Value::Table(section)) => section.keys().cloned().collect(),
        _ => BTreeSet::new(),
    };
    let name = get("package", "name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let has_workspace_lints = get("lints", "workspace").and_then(Value::as_bool) == Some(true);
    Manifest { folder, name, dependencies: names("dependencies"), has_workspace_lints }
}
