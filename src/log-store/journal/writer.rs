//! The thread that answers appends which wait for the disk: it writes a round's entries to the journal, or syncs segments (`flush.messages`), and
//! then calls back. Rounds that came while it waited share one sync. A small round that nothing else is to share the sync with the committer brings to
//! the disk itself, since the way to another thread takes about half as long as a fast disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use model::Offset;

use super::JournalFile;
use super::aligned::AlignedBuffer;
use super::format::{Entry, GroupHeads, group_size_bytes};
use crate::append_request::{Appended, Done};
use crate::engine::Engine;
use crate::partition_log::PartitionLog;
use crate::recovery::pass;
use crate::segment::Segment;
use crate::sync::sync_segment;
use crate::{AppendError, StorageError};

/// Rounds are joined under one sync up to this size.
const JOINED_BYTES_MAX: u64 = 8 << 20;
/// They are written in pieces of this size at most.
const BUFFER_BYTES_MAX: usize = 4 << 20;

/// What the journal's thread is told.
pub(crate) enum DiskCommand {
    Answer(Round),
    /// Answers when all earlier rounds are answered.
    Barrier(SyncSender<()>),
}

/// A partition's requests of one round.
pub(crate) struct Answers {
    pub(crate) log: PartitionLog,
    /// The log's end after its part of the round.
    pub(crate) log_end: Offset,
    /// Segments that must be synced before.
    pub(crate) flush: Vec<Arc<Segment>>,
    pub(crate) completions: Vec<(Done, Result<Appended, AppendError>)>,
}

/// What the committer appended at once.
#[derive(Default)]
pub(crate) struct Round {
    /// The file, the position in it and the number of the group; none without entries.
    pub(crate) place: Option<(Arc<JournalFile>, u64, u64)>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) answers: Vec<Answers>,
}

impl Round {
    pub(crate) fn size_bytes(&self) -> u64 {
        if self.entries.is_empty() { 0 } else { group_size_bytes(&self.entries) }
    }

    /// Answers; a failure takes the place of every success.
    fn finish(&mut self, engine: &Engine, result: &Result<(), StorageError>) {
        for Answers { log, log_end, flush, completions } in self.answers.drain(..) {
            let result = result.clone().and_then(|()| flush.iter().try_for_each(|segment| sync_segment(&log.0, segment)));
            match &result {
                Ok(()) => log.0.advance_acknowledged_end(log_end),
                Err(_) => {
                    // IMPORTANT: a failed sync is never tried again as if nothing had happened: the page may count as clean already.
                    log.0.state().poisoned = true;
                    if let Some(journal) = engine.journal.get() {
                        journal.fail();
                    }
                }
            }
            for (done, outcome) in completions {
                done.call(match &result {
                    Ok(()) => outcome,
                    Err(error) => outcome.and_then(|_| Err(AppendError::Storage(error.clone()))),
                });
            }
        }
    }
}

/// Works until nobody can send any more. It counts the rounds that it has answered.
pub(crate) fn run(engine: Arc<Engine>, commands: &Receiver<DiskCommand>, answered: &AtomicU64) {
    let mut writer = Writer::new(engine);
    while let Ok(command) = commands.recv() {
        let mut joined = writer.take(command);
        while joined < JOINED_BYTES_MAX
            && let Ok(command) = commands.try_recv()
        {
            joined = joined.saturating_add(writer.take(command));
        }
        writer.finish();
        answered.store(writer.answered, Ordering::Release);
    }
}

/// Brings rounds to the disk and answers them.
pub(crate) struct Writer {
    engine: Arc<Engine>,
    /// Rounds that are not written yet; all in one file.
    waiting: Vec<Round>,
    buffer: AlignedBuffer,
    /// How many rounds it has answered.
    answered: u64,
}

impl Writer {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, waiting: Vec::new(), buffer: AlignedBuffer::default(), answered: 0 }
    }

    /// Brings one round to the disk and answers it.
    pub(crate) fn answer(&mut self, round: Round) {
        self.take(DiskCommand::Answer(round));
        self.finish();
    }

    /// Takes a round to those that wait; of how many bytes it is.
    fn take(&mut self, command: DiskCommand) -> u64 {
        match command {
            DiskCommand::Barrier(answer) => {
                self.finish();
                let _ = answer.send(());
                0
            }
            DiskCommand::Answer(round) => {
                let before = self.waiting.iter().find_map(|round| round.place.as_ref());
                if before.zip(round.place.as_ref()).is_some_and(|((before, ..), (file, ..))| !Arc::ptr_eq(before, file)) {
                    // IMPORTANT: no group reaches the disk before those of the file before, which a replay would take for released.
                    self.finish();
                }
                let size = round.size_bytes();
                self.waiting.push(round);
                size
            }
        }
    }

    /// Writes what waits, syncs it, and answers.
    fn finish(&mut self) {
        let mut rounds = std::mem::take(&mut self.waiting);
        if rounds.is_empty() {
            return;
        }
        self.answered = self.answered.wrapping_add(u64::try_from(rounds.len()).unwrap_or(0));
        // Planted by a test that proves that it would be noticed: the answers go out, and their entries stay behind.
        if self.engine.failpoints().skips("journal.before_sync") {
            rounds.iter_mut().for_each(|round| round.finish(&self.engine, &Ok(())));
            return;
        }
        let on_disk = self.write(&rounds);
        if on_disk.is_err()
            && let Some(journal) = self.engine.journal.get()
        {
            journal.fail();
        }
        for round in &mut rounds {
            let result = if round.place.is_some() { on_disk.clone() } else { Ok(()) };
            round.finish(&self.engine, &result);
        }
    }

    /// Brings the rounds to the disk, with as few writes as their places allow.
    fn write(&mut self, rounds: &[Round]) -> Result<(), StorageError> {
        let placed = || rounds.iter().filter_map(|round| Some((round, round.place.as_ref()?)));
        let (Some((_, (file, first, _))), Some(journal)) = (placed().next(), self.engine.journal.get()) else { return Ok(()) };
        if journal.has_failed() {
            return Err(StorageError::Stopped);
        }
        let size = placed().map(|(round, _)| round.size_bytes()).fold(0, u64::saturating_add);
        self.buffer.make_room(usize::try_from(size).unwrap_or(usize::MAX).min(BUFFER_BYTES_MAX));
        let mut target = Target { file, position: *first, buffer: &mut self.buffer };
        let written = placed().try_for_each(|(round, (_, position, number))| {
            self.engine.failpoints().hit("journal.before_write")?;
            target.go_to(*position)?;
            let heads = GroupHeads::new(*number, &round.entries);
            heads.pieces(&round.entries).iter().try_for_each(|piece| target.put(piece))
        });
        let written = written.and_then(|()| target.flush());
        self.buffer.clear();
        written.map_err(|error| StorageError::io("write journal", &file.path, error))?;
        pass(&self.engine, "journal.before_sync", &file.path)?;
        file.sync().map_err(|error| StorageError::io("sync journal", &file.path, error))?;
        pass(&self.engine, "journal.after_sync", &file.path)
    }
}

/// Where bytes go, by way of the buffer.
struct Target<'a> {
    file: &'a JournalFile,
    /// The place of the buffer's first byte.
    position: u64,
    buffer: &'a mut AlignedBuffer,
}

impl Target<'_> {
    /// Fills the block up, and writes what there is unless the next group follows it.
    fn go_to(&mut self, position: u64) -> io::Result<()> {
        self.buffer.pad();
        if self.position + u64::try_from(self.buffer.filled().len()).unwrap_or(0) != position {
            self.flush()?;
            self.position = position;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = self.buffer.take(bytes);
        while !rest.is_empty() {
            self.flush()?;
            rest = self.buffer.take(rest);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.buffer.pad();
        let filled = self.buffer.filled();
        if !filled.is_empty() {
            self.file.write(filled, self.position)?;
            self.position += u64::try_from(filled.len()).unwrap_or(0);
            self.buffer.clear();
        }
        Ok(())
    }
}
