//! `klamm log dump`.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use log_store::inspect::{BatchView, DecompressLimits, Piece, Place, RecordView, SegmentFile, Step, place_of, segments_in};
use model::TopicIdPartition;
use serde_json::json;

use super::LogProblem;
use super::args::DumpArgs;
use super::choice::{Names, Opened};
use super::line::{self, Data, Where};

/// What the records of one batch may have once decompressed.
const BATCH_BYTES_MAX: usize = 1 << 30;

pub(super) fn run(args: &DumpArgs) -> Result<(), LogProblem> {
    let out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut dump = Dump { args, out, left: None };
    match place_of(&args.part.path)? {
        Place::Segment(file) => {
            dump.left = args.count;
            dump.file(&file, None, &Names::default())?;
        }
        Place::Partition { id, directory, store } => {
            let names = match store {
                Some(store) => Opened::open(&store)?.names,
                None => Names::default(),
            };
            dump.files(&segments_in(&directory)?, id, &names)?;
        }
        Place::Store(directory) => {
            let opened = Opened::open(&directory)?;
            for id in opened.chosen(&args.part)? {
                let directory = opened.partition_directory(id);
                if directory.exists() {
                    dump.files(&segments_in(&directory)?, id, &opened.names)?;
                }
            }
        }
    }
    Ok(dump.out.flush()?)
}

struct Dump<'a> {
    args: &'a DumpArgs,
    out: BufWriter<io::StdoutLock<'static>>,
    /// How many batches of this partition are still wanted.
    left: Option<u64>,
}

impl Dump<'_> {
    fn files(&mut self, files: &[SegmentFile], id: TopicIdPartition, names: &Names) -> Result<(), LogProblem> {
        self.left = self.args.count;
        for (number, file) in files.iter().enumerate() {
            let next = files.get(number + 1).map(|next| next.base_offset.get());
            let is_before = self.args.from.zip(next).is_some_and(|(from, next)| next <= from);
            if self.left != Some(0) && !is_before {
                self.file(file, Some(id), names)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, file: &SegmentFile, id: Option<TopicIdPartition>, names: &Names) -> Result<(), LogProblem> {
        let path = file.path.display().to_string();
        if !self.args.part.json {
            let of = id.map_or_else(String::new, |id| format!(" ({})", names.label(id)));
            writeln!(self.out, "Dumping {path}{of}\nLog starting offset: {}", file.base_offset)?;
        }
        let (topic, partition) = (id.and_then(|id| names.get(id)), id.map(|id| id.partition.get()));
        let mut outcome = Ok(());
        file.walk(0, &mut |piece| {
            outcome = match piece {
                Piece::Batch { position, batch } => self.batch(&batch, &Where { topic, partition, file: &path, position }),
                Piece::Bad { position, error, left_bytes } if self.args.part.json => {
                    let reason = error.to_string();
                    self.line(
                        &json!({"type": "invalid", "file": path, "position": position, "bytes": left_bytes, "reason": reason}).to_string(),
                    )
                }
                Piece::Bad { left_bytes, .. } => {
                    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
                    self.line(&format!("Found {left_bytes} invalid bytes at the end of {name}"))
                }
            };
            if outcome.is_err() || self.left == Some(0) { Step::Stop } else { Step::Next }
        })?;
        Ok(outcome?)
    }

    /// What is printed of a record; `None` if records are not.
    fn data(&self) -> Option<Data> {
        let DumpArgs { records, deep_iteration, offsets_decoder, transaction_log_decoder, .. } = *self.args;
        match (offsets_decoder, transaction_log_decoder) {
            (true, _) => Some(Data::Offsets),
            (false, true) => Some(Data::Transactions),
            (false, false) if records => Some(Data::Plain),
            (false, false) => deep_iteration.then_some(Data::Left),
        }
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(b"\n")
    }

    fn batch(&mut self, batch: &BatchView<'_>, at: &Where<'_>) -> io::Result<()> {
        let from = self.args.from.unwrap_or(0);
        if batch.header().last_offset() < from {
            return Ok(());
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        let is_json = self.args.part.json;
        let text = if is_json { line::batch_json(batch, at).to_string() } else { line::batch_text(batch, at.position) };
        self.line(&text)?;
        let Some(data) = self.data() else { return Ok(()) };
        let mut outcome = Ok(());
        let mut each = |record: RecordView<'_>| {
            if record.offset >= from {
                let text =
                    if is_json { line::record_json(batch, &record, at, data).to_string() } else { line::record_text(batch, &record, data) };
                outcome = self.line(&text);
            }
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let walked = batch.walk_records(DecompressLimits::new(BATCH_BYTES_MAX), &mut each);
        outcome?;
        match walked {
            Ok(()) => Ok(()),
            Err(error) if is_json => {
                self.line(&json!({"type": "invalid", "file": at.file, "position": at.position, "reason": error.to_string()}).to_string())
            }
            Err(error) => self.line(&format!("| the records cannot be read: {error}")),
        }
    }
}
