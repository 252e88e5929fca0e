//! `klamm log verify`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use log_store::inspect::{Checked, Finding, Place, Watcher, place_of, verify_files, verify_segment, verify_stopped};
use model::TopicIdPartition;
use serde_json::{Value, json};

use super::LogProblem;
use super::args::VerifyArgs;
use super::choice::{Names, Opened};
use super::progress::{Progress, size};

pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode, LogProblem> {
    let none = Names::default();
    let mut alone = Told::new(&none, args.part.json);
    match place_of(&args.part.path)? {
        Place::Segment(file) => {
            let checked = verify_segment(&file, &mut alone);
            alone.end(&checked)
        }
        Place::Partition { id, directory, store } => match store {
            Some(store) => part(&Opened::open(&store)?, Some(&[id]), args),
            None => {
                let checked = verify_files(id, &directory, &mut alone);
                alone.end(&checked)
            }
        },
        Place::Store(directory) => {
            let opened = Opened::open(&directory)?;
            let is_whole = args.part.topic.is_none() && args.part.partitions.is_empty();
            let chosen = if is_whole && !args.files_only { None } else { Some(opened.chosen(&args.part)?) };
            part(&opened, chosen.as_deref(), args)
        }
    }
}

/// Checks a data directory, or some partitions of it.
fn part(opened: &Opened, only: Option<&[TopicIdPartition]>, args: &VerifyArgs) -> Result<ExitCode, LogProblem> {
    let mut told = Told::new(&opened.names, args.part.json);
    if args.files_only {
        let mut checked = Checked::default();
        for id in only.unwrap_or_default() {
            checked += verify_files(*id, &opened.partition_directory(*id), &mut told);
        }
        return told.end(&checked);
    }
    let Some(stopped) = &opened.stopped else { return Err(LogProblem::InUse(opened.directory.clone())) };
    let checked = verify_stopped(stopped, only, &mut told);
    if let Some(reason) = opened.names.reason.as_ref().filter(|_| only.is_none()) {
        told.say(&Said { is_fault: true, partition: None, path: &opened.directory, position: None, what: reason.clone() });
    }
    told.end(&checked)
}

/// Prints what is found.
struct Told<'a> {
    names: &'a Names,
    is_json: bool,
    progress: Progress,
    faults: u64,
    notes: u64,
    /// What standard output said.
    output: io::Result<()>,
}

/// One finding, in words.
struct Said<'a> {
    is_fault: bool,
    partition: Option<TopicIdPartition>,
    path: &'a Path,
    position: Option<u64>,
    what: String,
}

impl<'a> Told<'a> {
    fn new(names: &'a Names, is_json: bool) -> Self {
        Self { names, is_json, progress: Progress::new("checked"), faults: 0, notes: 0, output: Ok(()) }
    }

    fn say(&mut self, said: &Said<'_>) {
        if said.is_fault {
            self.faults += 1;
        } else {
            self.notes += 1;
        }
        let line = if self.is_json { self.json(said).to_string() } else { self.text(said) };
        self.print(&line);
    }

    fn print(&mut self, line: &str) {
        self.progress.clear();
        if self.output.is_ok() {
            self.output = writeln!(io::stdout().lock(), "{line}");
        }
    }

    fn text(&self, said: &Said<'_>) -> String {
        let kind = if said.is_fault { "fault" } else { "note" };
        let of = said.partition.map_or_else(String::new, |id| format!(" in {}", self.names.label(id)));
        let at = said.position.map_or_else(String::new, |position| format!(" at position {position}"));
        format!("{kind}{of}: {}{at}: {}", said.path.display(), said.what)
    }

    fn json(&self, said: &Said<'_>) -> Value {
        let topic = said.partition.and_then(|id| self.names.get(id));
        json!({
            "fault": said.is_fault,
            "topic": topic,
            "topic_id": said.partition.map(|id| id.topic_id.to_string()),
            "partition": said.partition.map(|id| id.partition.get()),
            "file": said.path.display().to_string(),
            "position": said.position,
            "what": said.what,
        })
    }

    /// The last line, and the exit code.
    fn end(mut self, checked: &Checked) -> Result<ExitCode, LogProblem> {
        let line = if self.is_json {
            let sums = json!({
                "partitions": checked.partitions,
                "segments": checked.segments,
                "batches": checked.batches,
                "records": checked.records,
                "bytes": checked.bytes,
            });
            json!({"checked": sums, "faults": self.faults, "notes": self.notes}).to_string()
        } else {
            let sums =
                [(checked.partitions, "partition"), (checked.segments, "segment"), (checked.batches, "batch"), (checked.records, "record")];
            let sums = sums.map(|(number, noun)| count(number, noun)).join(", ");
            let faults = if self.faults == 0 { "no fault".to_owned() } else { count(self.faults, "fault") };
            format!("checked {sums}, {}: {faults}", size(checked.bytes))
        };
        self.print(&line);
        self.output?;
        Ok(if self.faults > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

impl Watcher for Told<'_> {
    fn found(&mut self, finding: Finding) {
        let Finding { is_fault, partition, path, position, flaw } = finding;
        self.say(&Said { is_fault, partition, path: &path, position, what: flaw.to_string() });
    }

    fn read(&mut self, bytes: u64) {
        self.progress.add(bytes);
    }

    fn is_over(&self) -> bool {
        self.output.is_err()
    }
}

/// A number of things, as `1 batch`, `2 batches`.
fn count(number: u64, noun: &str) -> String {
    let ending = match noun {
        _ if number == 1 => "",
        "batch" => "es",
        _ => "s",
    };
    format!("{number} {noun}{ending}")
}
