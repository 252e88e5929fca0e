//! A line on standard error for a person who waits.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use wire::clock::{Clock as _, SystemClock};

/// How long a command takes before it says how far it is.
const BEGIN: Duration = Duration::from_secs(1);
/// How often it does on a terminal, where the line is written over, and elsewhere.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(250);
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct Progress {
    clock: SystemClock,
    is_terminal: bool,
    verb: &'static str,
    due: Duration,
    width: usize,
    bytes: u64,
}

impl Progress {
    pub(super) fn new(verb: &'static str) -> Self {
        let clock = SystemClock::new();
        let due = clock.monotonic() + BEGIN;
        Self { clock, is_terminal: io::stderr().is_terminal(), verb, due, width: 0, bytes: 0 }
    }

    /// So many bytes more are done.
    pub(super) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        let now = self.clock.monotonic();
        if now < self.due {
            return;
        }
        self.due = now + if self.is_terminal { TERMINAL_INTERVAL } else { PLAIN_INTERVAL };
        let line = format!("{} {} ...", self.verb, size(self.bytes));
        if self.is_terminal {
            eprint!("\r{line:<width$}", width = self.width);
            self.width = line.len();
        } else {
            eprintln!("{line}");
        }
    }

    /// Wipes the line away, so that another can be written.
    pub(super) fn clear(&mut self) {
        if self.width > 0 {
            eprint!("\r{:width$}\r", "", width = self.width);
            self.width = 0;
        }
    }
}

/// Bytes in a unit that fits.
pub(super) fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}
