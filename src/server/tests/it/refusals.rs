//! What prevents a start: one sentence, exit code 1, data untouched.

use std::path::Path;
use std::process::Command;

use crate::{Running, klamm, listing, output};

/// Runs a command that must not start, and gives its sentence.
fn refusal(command: &mut Command) -> String {
    let output = output(command);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(output.stdout.is_empty());
    let mut lines = error.lines();
    let sentence = lines.next().unwrap_or_default().to_owned();
    assert_eq!(lines.next(), None, "{error}");
    sentence.strip_prefix("klamm: ").unwrap_or_else(|| panic!("{error}")).to_owned()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn an_unknown_flag_key_or_value_is_one_sentence() {
    let data = tempfile::tempdir().expect("a directory");
    let directory = text(&data.path().join("data"));
    let developer = |more: &[&str]| klamm(&[&["--data", &directory, "--listen", "127.0.0.1:0"], more].concat());
    assert_eq!(refusal(&mut developer(&["--fast"])), "unexpected argument '--fast' found; see klamm --help");
    assert_eq!(
        refusal(&mut developer(&["--override", "klamm.speed=1"])),
        "Unknown configuration klamm.speed (from --override); klamm's own keys are: klamm.durability, klamm.http.listen, klamm.journal.file.bytes."
    );
    assert_eq!(
        refusal(developer(&[]).env("KAFKA_NUM_PARTITIONS", "0")),
        "Invalid value 0 for configuration num.partitions: Value must be at least 1 (from the environment variable KAFKA_NUM_PARTITIONS)."
    );
    assert!(refusal(&mut klamm(&["server", "-c", &text(&data.path().join("none"))])).starts_with("cannot read the configuration file "));
    assert!(refusal(developer(&[]).env("KLAMM_FAILPOINTS", "x")).starts_with("the environment variable KLAMM_FAILPOINTS "));
    assert!(!data.path().join("data").exists());
}

#[test]
fn a_taken_port_is_one_sentence_and_the_data_is_not_touched() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("bound").to_string();
    let data = tempfile::tempdir().expect("a directory");
    let directory = data.path().join("data");
    let sentence = refusal(&mut klamm(&["--data", &text(&directory), "--listen", &address]));
    assert_eq!(sentence, format!("cannot listen on {address}: the port is in use by another process"));
    assert!(!directory.exists());
}

#[test]
fn a_directory_of_somebody_else_is_refused_and_not_touched() {
    let foreign = tempfile::tempdir().expect("a directory");
    std::fs::write(foreign.path().join("meta.properties"), "version=1\n").expect("written");
    let before = listing(foreign.path());
    let sentence = refusal(&mut klamm(&["--data", &text(foreign.path()), "--listen", "127.0.0.1:0"]));
    assert!(sentence.contains("was not made by klamm"), "{sentence}");
    assert_eq!(listing(foreign.path()), before);
}

#[test]
fn a_directory_that_is_a_file_is_refused() {
    let data = tempfile::tempdir().expect("a directory");
    let file = data.path().join("file");
    std::fs::write(&file, "x").expect("written");
    let sentence = refusal(&mut klamm(&["--data", &text(&file), "--listen", "127.0.0.1:0"]));
    assert_eq!(sentence, format!("cannot use data directory {}: Not a directory (os error 20)", text(&file)));
    assert_eq!(std::fs::read(&file).expect("there"), b"x");
}

#[test]
fn a_second_broker_on_the_same_data_is_refused_and_the_first_lives_on() {
    let data = tempfile::tempdir().expect("a directory");
    let arguments = ["--data", &text(data.path()), "--listen", "127.0.0.1:0"];
    let first = Running::start(&mut klamm(&arguments));
    assert!(refusal(&mut klamm(&arguments)).contains("is in use by another broker"));
    assert!(output(&mut klamm(&["health", "--address", &first.address])).status.success());
}
