use std::collections::BTreeSet;

use tidy::{manifest, source};

use crate::assert_none;

/// They know no tokio, no rocksdb, no clock, no randomness.
const PURE: &[&str] =
    &["model", "protocol", "record-batch", "coordinator", "group-coordinator", "txn-coordinator", "replication", "metadata", "quotas"];

/// Who may use whom; what is not here is refused.
const EDGES: &[(&str, &[&str])] = &[
    ("server", &["apis", "broker", "client-tools", "wire", "log-store", "proxy", "security", "quorum", "protocol", "model"]),
    ("apis", &["broker", "wire", "security", "PURE"]),
    ("client-tools", &["wire", "record-batch", "protocol", "model"]),
    ("proxy", &["wire", "security", "protocol", "model"]),
    ("broker", &["log-store", "quorum", "wire", "security", "PURE"]),
    ("quorum", &["log-store", "wire", "metadata", "protocol", "model"]),
    ("log-store", &["record-batch", "model"]),
    ("wire", &["protocol", "model"]),
    ("security", &["model"]),
    ("protocol", &["model"]),
    ("coordinator", &["model"]),
    ("group-coordinator", &["coordinator", "protocol", "model"]),
    ("txn-coordinator", &["coordinator", "protocol", "model"]),
    ("metadata", &["protocol", "model"]),
    ("quotas", &["metadata"]),
    ("replication", &["model"]),
    ("record-batch", &["model"]),
    ("model", &[]),
    ("simulator", &["PURE"]),
    ("tidy", &[]),
    ("yardstick", &["wire", "PURE"]),
];

/// For development only: they measure and check, and may look at the machine's clock.
const TOOLS: &[&str] = &["tidy", "yardstick"];

/// Libraries that only one crate may use.
const OWNED: &[(&str, &[&str])] = &[
    ("rocksdb", &["log-store"]),
    ("openraft", &["quorum"]),
    ("kafka-protocol", &["protocol"]),
    ("clap", &["server", "client-tools"]),
    ("hyper", &["server"]),
    ("prometheus", &["broker"]),
    ("tracing-subscriber", &["server"]),
];

/// What a pure crate may not depend on.
const IMPURE: &[&str] =
    &["tokio", "tokio-util", "rocksdb", "openraft", "rand", "getrandom", "rustix", "socket2", "tempfile", "tracing-subscriber"];

/// What a pure crate's shipped code may not say.
const IMPURE_WORDS: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "new_v4",
    "rand::",
    "File::open",
    "File::create",
    "OpenOptions",
    "fs::read",
    "fs::write",
    "std::net",
    "std::thread",
    "thread::spawn",
    "std::env",
    "tokio::",
];

#[test]
fn crates_use_only_the_crates_that_they_may() {
    let manifests = manifest::all();
    let ours: BTreeSet<&str> = manifests.values().map(|manifest| manifest.name.as_str()).collect();
    let mut findings = Vec::new();
    for manifest in manifests.values() {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == manifest.name) else {
            findings.push(format!("{} is not in the list of crates", manifest.name));
            continue;
        };
        let is_allowed = |name: &str| allowed.contains(&name) || (allowed.contains(&"PURE") && PURE.contains(&name));
        for dependency in manifest.dependencies.iter().filter(|name| ours.contains(name.as_str()) && !is_allowed(name)) {
            findings.push(format!("{} -> {dependency}", manifest.name));
        }
    }
    assert_none("edges that are not allowed", &findings);
}

#[test]
fn folder_and_crate_have_one_name_and_the_workspaces_lints() {
    let mut findings = Vec::new();
    for manifest in manifest::all().values() {
        if manifest.folder != manifest.name {
            findings.push(format!("src/{} holds the crate {}", manifest.folder, manifest.name));
        }
        if !manifest.has_workspace_lints {
            findings.push(format!("src/{}/Cargo.toml lacks [lints] workspace = true", manifest.folder));
        }
    }
    assert_none("manifests", &findings);
}

#[test]
fn a_heavy_library_has_one_owner() {
    let mut findings = Vec::new();
    for manifest in manifest::all().values() {
        for (library, owners) in OWNED {
            if manifest.dependencies.contains(*library) && !owners.contains(&manifest.name.as_str()) {
                findings.push(format!("{} uses {library}, which belongs to {}", manifest.name, owners.join(", ")));
            }
        }
    }
    assert_none("libraries with an owner", &findings);
}

#[test]
fn pure_crates_know_no_runtime_no_clock_no_randomness_no_disk() {
    let mut findings = Vec::new();
    for manifest in manifest::all().values().filter(|manifest| PURE.contains(&manifest.name.as_str())) {
        for dependency in manifest.dependencies.iter().filter(|name| IMPURE.contains(&name.as_str())) {
            findings.push(format!("{} depends on {dependency}", manifest.name));
        }
    }
    for source in source::all().iter().filter(|source| PURE.contains(&source.crate_name())) {
        for (number, line) in source.shipped_lines().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for word in IMPURE_WORDS.iter().filter(|word| line.contains(**word)) {
                findings.push(format!("{}:{number}: {word}", source.path_text()));
            }
        }
    }
    assert_none("pure crates", &findings);
}

#[test]
fn timers_run_on_the_injected_clock() {
    // wire's clock is where tokio's timers and the machine's clocks are; all else asks it.
    const HOME: &str = "src/wire/clock.rs";
    const WORDS: &[&str] = &["tokio::time", "SystemTime::now", "thread::sleep"];
    let mut findings = Vec::new();
    for source in source::all().iter().filter(|source| !TOOLS.contains(&source.crate_name()) && source.path_text() != HOME) {
        for (number, line) in (1..).zip(source.text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for word in WORDS.iter().filter(|word| line.contains(**word)) {
                findings.push(format!("{}:{number}: {word}", source.path_text()));
            }
        }
    }
    assert_none("time that tests cannot move", &findings);
}

#[test]
fn there_is_no_global_state() {
    const MUTABLE: &[&str] = &["Mutex", "RwLock", "Atomic", "OnceLock", "OnceCell", "LazyLock", "LazyCell", "Lazy<", "Cell<", "DashMap"];
    let mut findings = Vec::new();
    for source in source::all().iter().filter(|source| !TOOLS.contains(&source.crate_name())) {
        for (number, line) in source.shipped_lines() {
            let code = line.trim_start();
            let code = code.strip_prefix("pub ").or_else(|| code.strip_prefix("pub(crate) ")).unwrap_or(code);
            let is_mutable_static =
                code.starts_with("static ") && (code.starts_with("static mut ") || MUTABLE.iter().any(|word| code.contains(word)));
            if is_mutable_static || code.starts_with("thread_local!") || code.starts_with("lazy_static!") {
                findings.push(format!("{}:{number}: {code}", source.path_text()));
            }
        }
    }
    assert_none("global state", &findings);
}
