//! Appending: requests of one partition become batches with offsets, and these one write.
//!
//! For each group that the committer gathered: check the producers, give offsets, patch the headers, write all batches with one `pwritev` behind
//! the last byte, then show them to readers. Nothing is acknowledged before its bytes are with the operating system (or the disk, see `journal`); what was not written is
//! rolled back, or the partition takes no more writes.
//!
//! In Kafka: `UnifiedLog.append`, `LocalLog.append`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use record_batch::{AppendOrigin, BatchHeader, CheckedBatch, SequencedBatch};

use crate::append_request::{Appended, Content, Done, Led, Queued};
use crate::append_write::Run;
use crate::block::OpenBlock;
use crate::journal::format::Entry;
use crate::partition_log::{Inner, LogState, PartitionLog};
use crate::producer_state::{Verdict, WrittenBatch};
use crate::recovery::pass;
use crate::retention::roll::{RollFacts, RollLimits, jitter_ms, should_roll};
use crate::segment::Segment;
use crate::sync::SyncJob;
use crate::transactions::marker_of;
use crate::verification::TransactionCheck;
use crate::view::Span;
use crate::{AppendError, StorageError, keys};

/// What may begin a new segment.
pub(crate) struct Incoming {
    pub(crate) size_bytes: usize,
    pub(crate) newest_timestamp: i64,
    /// The log's end behind it.
    pub(crate) end: Offset,
    pub(crate) now: Timestamp,
}

/// What a group left to be done after its write.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Called once no lock is held.
    pub(crate) completions: Vec<(Done, Result<Appended, AppendError>)>,
    /// Segments that were sealed.
    pub(crate) sync_jobs: Vec<SyncJob>,
    /// Whether a full block waits for its row.
    pub(crate) has_closed_blocks: bool,
    /// Whether anything was appended.
    pub(crate) appended: bool,
    /// The log's end now.
    pub(crate) log_end: Offset,
    /// Whether the completions go by the journal's thread.
    pub(crate) waits_for_disk: bool,
    /// What the journal must have before.
    pub(crate) entries: Vec<Entry>,
    /// What must be synced before.
    pub(crate) flush: Vec<Arc<Segment>>,
    /// After what time a sync in the background is due; none if it waits for no time.
    pub(crate) flush_ms: Option<u64>,
}

/// A group of requests on its way to the file.
pub(crate) struct Gathering {
    /// What was accepted and is not written yet.
    pub(crate) run: Run,
    /// Where the log ends behind it.
    pub(crate) end: Offset,
    pub(crate) outcome: Outcome,
}

impl PartitionLog {
    /// Appends a group of requests for this partition. Called by the committer only.
    pub(crate) fn append_group(&self, requests: Vec<Queued>) -> Outcome {
        let log = &*self.0;
        let mut state = log.state();
        let mut group = Gathering { run: Run::default(), end: log.log_end(), outcome: Outcome::default() };
        for Queued { content, leader_epoch, now, done, log: _ } in requests {
            let result = log.may_append(&state, leader_epoch).and_then(|()| match content {
                Content::Led(led) => self.lead(&mut state, &mut group, led, leader_epoch, now),
                Content::Replicated(batches) => self.replicate(&mut state, &mut group, batches, leader_epoch, now),
            });
            match result {
                // IMPORTANT: told with the run, also of a duplicate, since the batch that it repeats may be in this very write.
                Ok(appended) => group.run.accepted.push((done, appended)),
                Err(error) => group.outcome.completions.push((done, Err(error))),
            }
        }
        self.write_run(&mut state, &mut group);
        let mut outcome = group.outcome;
        outcome.has_closed_blocks = !state.closed.is_empty();
        log.note_flush(&mut state, &mut outcome);
        outcome
    }

    /// Begins a new segment if what comes does not fit the one that is appended to; then the group's end is where the log ends really, since the
    /// write of what was gathered may have failed.
    pub(crate) fn make_room(&self, state: &mut LogState, group: &mut Gathering, incoming: &Incoming) -> Result<(), AppendError> {
        let log = &*self.0;
        if !log.must_roll(state, incoming, &group.run) {
            return Ok(());
        }
        self.write_run(state, group);
        group.end = log.log_end();
        if state.poisoned {
            return Err(AppendError::Storage(StorageError::Poisoned { partition: log.id }));
        }
        Ok(self.roll(state, incoming.now, &mut group.outcome)?)
    }

    /// Gives the batches their offsets and puts them into the run, or refuses them.
    fn lead(
        &self,
        state: &mut LogState,
        group: &mut Gathering,
        led: Led,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        let log = &*self.0;
        if let Some(expected) = led.expected_end.filter(|expected| *expected != group.end) {
            return Err(AppendError::UnexpectedEnd { expected, log_end: group.end });
        }
        if !led.batches.is_empty() {
            let newest = led.batches.iter().map(|batch| batch.header().max_timestamp).max().unwrap_or(-1);
            let incoming = Incoming {
                size_bytes: led.batches.iter().map(CheckedBatch::size_bytes).sum(),
                newest_timestamp: led.log_append_time.map_or(newest, Timestamp::millis),
                end: group.end + led.batches.iter().map(CheckedBatch::offset_count).sum::<i64>(),
                now,
            };
            self.make_room(state, group, &incoming)?;
        }
        if let Some(known) = log.judge(state, &led, now)? {
            return Ok(Appended {
                base_offset: known.first_offset,
                log_end_offset: known.last_offset + 1,
                log_append_time: (known.timestamp >= 0).then_some(Timestamp(known.timestamp)),
                log_start_offset: log.log_start(),
                duplicate: true,
            });
        }
        let (base_offset, log_append_time) = (group.end, led.log_append_time);
        for batch in led.batches {
            let batch = batch.into_sequenced(group.end, leader_epoch, log_append_time);
            group.put(log, state, batch, now);
        }
        let log_start_offset = log.log_start();
        Ok(Appended { base_offset, log_end_offset: group.end, log_append_time, log_start_offset, duplicate: false })
    }

    /// Writes what has been gathered and tells the accepted requests.
    fn write_run(&self, state: &mut LogState, group: &mut Gathering) {
        let log = &*self.0;
        let run = std::mem::take(&mut group.run);
        let outcome = &mut group.outcome;
        let result = if run.batches.is_empty() { Ok(()) } else { log.write(state, &run) };
        match result {
            Ok(()) => {
                if !run.batches.is_empty() {
                    log.publish(state, &run);
                    log.note_written(state, run.batches, outcome);
                    outcome.appended = true;
                    state.producers.sweep(run.now_ms, state.config.producer_id_expiration_ms);
                }
                outcome.completions.extend(run.accepted.into_iter().map(|(done, appended)| (done, Ok(appended))));
            }
            Err(error) => {
                state.producers.roll_back(run.undo);
                let failed = run.accepted.into_iter().map(|(done, _)| (done, Err(AppendError::Storage(error.clone()))));
                outcome.completions.extend(failed);
            }
        }
    }

    /// Begins a new segment at the log's end.
    fn roll(&self, state: &mut LogState, now: Timestamp, outcome: &mut Outcome) -> Result<(), StorageError> {
        let log = &*self.0;
        let engine = &log.engine;
        let directory = log.directory();
        pass(engine, "roll.before_create", &directory)?;
        match std::fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StorageError::io("create", &directory, error));
            }
            _ => {}
        }
        pass(engine, "create.after_directory", &directory)?;
        let log_end = log.log_end();
        let segment = Segment::create(&directory, log_end, &engine.handles)?;
        if let Some(block) = state.block.as_mut().filter(|block| !block.is_empty()) {
            state.closed.push(block.close());
        }
        let sealed = log.change_view(|view| {
            let sealed = view.active.replace(Span { segment, length: 0, end_offset: log_end });
            if let Some(sealed) = &sealed {
                Arc::make_mut(&mut view.sealed).push(sealed.clone());
            } else if view.unindexed.offset >= log_end {
                view.unindexed.segment_base = log_end;
                view.unindexed.position = 0;
            }
            sealed
        });
        state.block = Some(Box::new(OpenBlock::new(log_end, 0, log_end, 0)));
        state.first_timestamp = None;
        state.created_ms = Some(now.millis());
        if let Some(sealed) = sealed {
            outcome.sync_jobs.push(self.sync_job(state, &sealed));
        }
        pass(engine, "roll.after_create", &directory)
    }

    /// The job that brings all bytes up to the span's end to the disk, given that earlier segments are there.
    pub(crate) fn sync_job(&self, state: &mut LogState, span: &Span) -> SyncJob {
        let unsynced = std::mem::take(&mut state.unsynced_bytes);
        self.0.engine.unsynced_bytes.fetch_sub(unsynced, Ordering::Relaxed);
        let point = keys::recovery_point::Row { offset: span.end_offset, segment_base: span.segment.base_offset, position: span.length };
        let recovered = std::mem::take(&mut state.recovered);
        SyncJob { log: self.clone(), segment: Arc::clone(&span.segment), recovered, point, cuts: self.0.cuts() }
    }
}

impl Gathering {
    /// Puts a batch into the run.
    pub(crate) fn put(&mut self, log: &Inner, state: &mut LogState, batch: SequencedBatch, now: Timestamp) {
        let run = &mut self.run;
        self.end = Offset::new_or_zero(batch.header().next_offset());
        run.size_bytes += u64::try_from(batch.size_bytes()).unwrap_or(u64::MAX);
        run.now_ms = now.millis();
        let header = batch.header();
        let producer = ProducerId::new(header.producer_id).zip(ProducerEpoch::new(header.producer_epoch));
        if let Some((producer_id, producer_epoch)) = producer.filter(|_| header.attributes.is_transactional()) {
            let mut verifications = log.verifications.lock();
            if header.attributes.is_control() {
                verifications.ended(producer_id, producer_epoch);
            } else {
                verifications.begun(producer_id);
            }
        }
        let marker = if header.attributes.is_control() { marker_of(&batch.to_bytes()) } else { None };
        run.changes.extend(state.producers.record(header, marker.as_ref(), Some(run.now_ms), Some(&mut run.undo)));
        run.batches.push(batch);
    }
}

impl Inner {
    /// Whether the answers wait for the disk, and for what beside the journal (`UnifiedLog.append` flushes after `flush.messages`).
    fn note_flush(&self, state: &mut LogState, outcome: &mut Outcome) {
        outcome.log_end = self.log_end();
        if self.engine.journal.get().is_some() {
            outcome.waits_for_disk = true;
            return;
        }
        outcome.flush_ms = u64::try_from(state.config.flush_ms).ok().filter(|_| state.config.flush_ms < i64::MAX);
        let Some(unflushed) = &mut state.unflushed else { return self.advance_acknowledged_end(outcome.log_end) };
        outcome.waits_for_disk = true;
        if unflushed.messages >= state.config.flush_messages {
            unflushed.messages = 0;
            outcome.flush = std::mem::take(&mut unflushed.segments);
        }
    }

    fn may_append(&self, state: &LogState, leader_epoch: LeaderEpoch) -> Result<(), AppendError> {
        if self.is_deleted() {
            return Err(AppendError::Deleted);
        }
        if state.poisoned {
            return Err(AppendError::Storage(StorageError::Poisoned { partition: self.id }));
        }
        if self.engine.journal.get().is_some_and(crate::journal::Journal::has_failed) {
            return Err(AppendError::Storage(StorageError::Stopped));
        }
        let current = self.epochs.read().latest().map_or(state.fence, |latest| latest.max(state.fence));
        if leader_epoch < current {
            return Err(AppendError::StaleLeaderEpoch { current, received: leader_epoch });
        }
        Ok(())
    }

    /// Whether what comes begins a new segment.
    fn must_roll(&self, state: &mut LogState, incoming: &Incoming, run: &Run) -> bool {
        let Some(active) = self.view().active else { return true };
        let config = Arc::clone(&state.config);
        let base_offset = active.segment.base_offset;
        let now_ms = incoming.now.millis();
        let facts = RollFacts {
            base_offset,
            size_bytes: active.length.saturating_add(run.size_bytes),
            first_timestamp: self.first_timestamp(state, &active, run),
            created_ms: *state.created_ms.get_or_insert(now_ms),
            appended_bytes: u64::try_from(incoming.size_bytes).unwrap_or(u64::MAX),
            appended_timestamp: incoming.newest_timestamp,
            appended_end: incoming.end,
            now_ms,
        };
        let limits = RollLimits {
            segment_bytes: config.segment_bytes,
            segment_ms: config.segment_ms,
            jitter_ms: jitter_ms(self.id, base_offset, config.segment_ms, config.segment_jitter_ms),
        };
        should_roll(&facts, &limits)
    }

    /// The largest timestamp of the active segment's first batch.
    fn first_timestamp(&self, state: &mut LogState, active: &Span, run: &Run) -> Option<i64> {
        if state.first_timestamp.is_none() {
            let mut walker = crate::walk::Walker::new(&self.engine, &active.segment, 0, active.length);
            state.first_timestamp = match walker.peek() {
                Ok(crate::walk::Next::Batch(header)) => Some(header.max_timestamp),
                _ => run.batches.first().map(|batch| batch.header().max_timestamp),
            };
        }
        state.first_timestamp.filter(|timestamp| *timestamp >= 0)
    }

    /// Whether the batches may follow; if the first one is in the log already, that one.
    fn judge(&self, state: &LogState, led: &Led, now: Timestamp) -> Result<Option<WrittenBatch>, AppendError> {
        if led.origin != AppendOrigin::Client {
            let has_own_epoch = led.transaction == TransactionCheck::EpochPerTransaction;
            let control = led.batches.iter().filter(|batch| batch.header().attributes.is_control());
            let mut markers = control.filter_map(|batch| Some((batch.header(), marker_of(batch.bytes())?)));
            markers.try_for_each(|(header, marker)| state.producers.check_marker(header, &marker, has_own_epoch))?;
            let data = led.batches.iter().map(CheckedBatch::header).filter(|header| !header.attributes.is_control());
            data.into_iter().try_for_each(|header| self.judge_transaction(state, header, led.transaction))?;
            return Ok(None);
        }
        let expiration_ms = state.config.producer_id_expiration_ms;
        for header in led.batches.iter().map(CheckedBatch::header) {
            if let Verdict::Duplicate(known) = state.producers.check(header, now.millis(), expiration_ms)? {
                return Ok(Some(known));
            }
            self.judge_transaction(state, header, led.transaction)?;
        }
        Ok(None)
    }

    /// Whether a batch may belong to a transaction: one that is open here, or that its coordinator knows of.
    fn judge_transaction(&self, state: &LogState, header: &BatchHeader, check: TransactionCheck) -> Result<(), AppendError> {
        let Some(fields) = header.producer().filter(|_| header.attributes.is_transactional()) else { return Ok(()) };
        let producer_id = fields.producer_id;
        let is_open = || state.producers.is_open(producer_id, fields.producer_epoch);
        let guard = match check {
            TransactionCheck::Unchecked | TransactionCheck::EpochPerTransaction => return Ok(()),
            _ if is_open() => return Ok(()),
            TransactionCheck::Ongoing => return Err(AppendError::Unverified { producer_id }),
            TransactionCheck::Verified(guard) => guard,
        };
        let verified = self.verifications.lock().of(producer_id, guard);
        let (lowest, has_own_epoch) = verified.ok_or(AppendError::Unverified { producer_id })?;
        // An earlier batch of it, whose verification failed, must come first.
        let expected = if has_own_epoch && state.producers.is_unknown(producer_id) { Sequence::ZERO } else { lowest };
        if fields.first_sequence > expected {
            return Err(AppendError::OutOfOrderSequence { producer_id, expected, received: fields.first_sequence });
        }
        Ok(())
    }
}
