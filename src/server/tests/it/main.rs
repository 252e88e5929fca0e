//! The binary and the library from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod brokers;
mod client;
mod cluster;
mod damaged;
mod derived;
mod hostile;
mod joining;
mod kills;
mod logs;
mod nodes;
mod operators;
mod power_cuts;
mod refusals;
mod sendfile;
mod signals;
mod tools;
mod voters;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The binary, with nothing of this process's environment that it would read.
fn klamm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klamm"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("KAFKA_") || text.starts_with("KLAMM_") || text == "CLUSTER_ID" {
            command.env_remove(&name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
fn output(command: &mut Command) -> Output {
    command.output().expect("runs")
}

/// A process that is killed when the test ends early.
struct Running {
    child: Child,
    address: String,
    ready_line: String,
    /// Where operators look, if it was asked for.
    http: Option<String>,
}

impl Running {
    /// Starts it and waits for the ready line.
    fn start(command: &mut Command) -> Self {
        let has_http = command.get_args().any(|argument| argument == "--http");
        Self::take_with(command.spawn().expect("starts"), has_http)
    }

    /// Waits for the ready line of a process that was started without `--http`.
    fn take(child: Child) -> Self {
        Self::take_with(child, false)
    }

    fn take_with(mut child: Child, has_http: bool) -> Self {
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ready_line = match lines.next() {
            Some(line) => line.expect("text"),
            None => panic!("ended before it was ready: {:?}", child.wait_with_output()),
        };
        let rest = ready_line.strip_prefix("klamm is ready on ").unwrap_or_else(|| panic!("{ready_line}"));
        let address = rest.split([' ', ',']).next().expect("an address").to_owned();
        let http = has_http.then(|| {
            let line = lines.next().expect("a line").expect("text");
            let rest = line.strip_prefix("status on http://").unwrap_or_else(|| panic!("{line}"));
            rest.split('/').next().expect("an address").to_owned()
        });
        // The rest is read to its end, so that the process never waits for us.
        std::thread::spawn(move || lines.count());
        Self { child, address, ready_line, http }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().expect("runs");
        assert!(status.success());
    }

    fn wait(mut self) -> std::process::ExitStatus {
        self.child.wait().expect("ends")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }
}

/// All names below a directory, to see that nothing changed.
fn listing(directory: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("an entry").path();
            let length = path.metadata().map_or(0, |metadata| metadata.len());
            found.push((path.display().to_string(), length));
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}
