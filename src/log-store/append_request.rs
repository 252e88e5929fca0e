//! What is to be appended, and how the answer comes back.

use model::{LeaderEpoch, Offset, Timestamp};
use record_batch::{AppendOrigin, CheckedBatch, SequencedBatch};

use crate::AppendError;
use crate::partition_log::PartitionLog;
use crate::verification::TransactionCheck;

/// Batches for one partition, appended together or not at all.
pub struct AppendRequest {
    /// The partition.
    pub log: PartitionLog,
    /// The batches in order.
    pub batches: Vec<CheckedBatch>,
    /// The epoch under which the caller leads.
    pub leader_epoch: LeaderEpoch,
    /// The time that all records get, on topics with LogAppendTime.
    pub log_append_time: Option<Timestamp>,
    /// The time now, for rolling and for the expiry of producers.
    pub now: Timestamp,
    /// Who appends; only a client's producer fields are judged.
    pub origin: AppendOrigin,
    /// If given, the append is refused unless the log ends there.
    pub expected_end: Option<Offset>,
    /// What is known of the transaction of its batches.
    pub transaction: TransactionCheck,
    /// Called once, on a thread of the store's or on that of [`crate::Appends::commit`], after the bytes are with the operating system or, with [`crate::Durability::Group`], on the disk
    /// (or the append was refused). It must be short and must not wait for another append.
    pub done: AppendDone,
}

/// What an append calls at its end.
pub type AppendDone = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// Where appended batches lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The log's end after the append (for a duplicate: after the batch that was there already).
    pub log_end_offset: Offset,
    /// The time that the records got on a topic with LogAppendTime; of a duplicate its largest timestamp, as Kafka answers.
    pub log_append_time: Option<Timestamp>,
    /// The first offset that can be read.
    pub log_start_offset: Offset,
    /// Whether the batch was in the log already.
    pub duplicate: bool,
}

/// Calls back even if the append never came to its turn.
pub(crate) struct Done(Option<AppendDone>);

impl Done {
    pub(crate) fn new(done: AppendDone) -> Self {
        Self(Some(done))
    }

    pub(crate) fn call(mut self, result: Result<Appended, AppendError>) {
        if let Some(done) = self.0.take() {
            // A caller's panic must not end the committer: all partitions would stand still.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| done(result)));
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| done(Err(AppendError::Closed))));
        }
    }
}

/// A request on its way through the committer.
pub(crate) struct Queued {
    pub(crate) log: PartitionLog,
    pub(crate) content: Content,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) now: Timestamp,
    pub(crate) done: Done,
}

/// What is to be appended.
pub(crate) enum Content {
    /// What the partition's leader gives its offsets.
    Led(Led),
    /// What another broker's log has, for a follower.
    Replicated(Vec<SequencedBatch>),
}

/// Batches that get their offsets here.
pub(crate) struct Led {
    pub(crate) batches: Vec<CheckedBatch>,
    pub(crate) log_append_time: Option<Timestamp>,
    pub(crate) origin: AppendOrigin,
    pub(crate) expected_end: Option<Offset>,
    pub(crate) transaction: TransactionCheck,
}

impl Queued {
    /// Answers a request that never came to its turn.
    pub(crate) fn refuse(self, error: AppendError) {
        self.done.call(Err(error));
    }
}

impl From<AppendRequest> for Queued {
    fn from(request: AppendRequest) -> Self {
        let AppendRequest { log, batches, leader_epoch, log_append_time, now, origin, expected_end, transaction, done } = request;
        let content = Content::Led(Led { batches, log_append_time, origin, expected_end, transaction });
        Self { log, content, leader_epoch, now, done: Done::new(done) }
    }
}

impl Queued {
    pub(crate) fn size_bytes(&self) -> usize {
        match &self.content {
            Content::Led(led) => led.batches.iter().map(CheckedBatch::size_bytes).sum(),
            Content::Replicated(batches) => batches.iter().map(SequencedBatch::size_bytes).sum(),
        }
    }

    /// In how many segments it may come to lie.
    pub(crate) fn segments_max(&self) -> usize {
        match &self.content {
            Content::Led(_) => 1,
            Content::Replicated(batches) => batches.len(),
        }
    }
}
