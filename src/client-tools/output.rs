//! What people and programs read: tables, JSON, progress.

use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};
use std::time::Duration;

use serde_json::Value;
use wire::clock::{Clock as _, SystemClock};

/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Standard output, in blocks.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// Prints a table: columns are as wide as they must be, numbers to the right.
pub(crate) fn table(out: &mut impl Write, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let heads = head.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let mut columns = Vec::new();
    for (index, word) in heads.iter().enumerate() {
        let mut cells = rows.iter().filter_map(|row| row.get(index));
        let width = cells.clone().map(|cell| cell.chars().count()).max().unwrap_or(0).max(word.chars().count());
        let is_right = cells.clone().all(|cell| is_number(cell)) && cells.any(|cell| cell != "-");
        columns.push((width, is_right));
    }
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for (cell, (width, is_right)) in row.iter().zip(&columns) {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            let parts = if *is_right { [padding.as_str(), cell.as_str()] } else { [cell.as_str(), padding.as_str()] };
            line.push_str(&parts.concat());
            line.push_str("  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Prints a JSON document on one line.
pub(crate) fn json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{value}")
}

/// A number of things, as `1 partition`, `2 partitions`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Numbers in a list, as `1,2,3`.
pub(crate) fn ids(ids: &[i32]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<String>>().join(",")
}

/// A line on standard error that counts, for a person who waits; silent where nobody looks.
pub(crate) struct Progress {
    is_shown: bool,
    verb: &'static str,
    shown_at: Option<Duration>,
    width: usize,
}

impl Progress {
    /// Counts are shown only if standard error is a terminal and the command's own stream is not.
    pub(crate) fn new(verb: &'static str, own_stream_is_terminal: bool) -> Self {
        Self { is_shown: io::stderr().is_terminal() && !own_stream_is_terminal, verb, shown_at: None, width: 0 }
    }

    /// Shows the counts, if the last time is long enough ago.
    pub(crate) fn tell(&mut self, clock: &SystemClock, records: u64, bytes: u64) {
        let now = clock.monotonic();
        if !self.is_shown || self.shown_at.is_some_and(|shown_at| now < shown_at + PROGRESS_INTERVAL) {
            return;
        }
        self.shown_at = Some(now);
        let line = format!("{} {records} records, {}", self.verb, size(bytes));
        eprint!("\r{line:<width$}", width = self.width);
        self.width = line.len();
    }

    /// Wipes the line away.
    pub(crate) fn end(&mut self) {
        if self.width > 0 {
            eprint!("\r{:width$}\r", "", width = self.width);
            self.width = 0;
        }
    }
}

/// Bytes in a unit that fits.
pub(crate) fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let mut out = Vec::new();
        let rows = [["a", "10", "-", "x"], ["longer", "-", "-", ""]].map(|row| row.map(str::to_owned).to_vec());
        table(&mut out, &["NAME", "N", "NONE", "LAST"], &rows).expect("writes");
        assert_eq!(String::from_utf8(out).expect("text"), "NAME     N  NONE  LAST\na       10  -     x\nlonger   -  -\n");
    }

    #[test]
    fn sizes_have_one_digit_behind_the_point() {
        assert_eq!([999, 1_000, 1_250_000, 3_000_000_000].map(size), ["999 B", "1.0 kB", "1.2 MB", "3.0 GB"]);
    }
}
