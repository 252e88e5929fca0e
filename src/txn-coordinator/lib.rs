//! The transaction coordinator: transactional ids, their producer ids and epochs, and the outcome of each transaction, as a pure state machine over
//! one partition of `__transaction_state`.
//!
//! What it is *not*: it knows no log, no sockets, no clock and no randomness. It appends nothing, sends nothing and waits for nothing: an operation
//! returns [`Effects`] and the broker's runtime carries them out. It does not check that topics exist, nor who may do what: the request handlers
//! do. It does not know which partitions a transaction really wrote to: their leaders do, and ask it ([`TxnShard::add_partitions_to_txn`] with
//! `verify_only`).
//!
//! Invariants:
//! - State changes only in [`TxnShard::replay`]. Live operation and recovery are one code.
//! - A transactional id has one transaction at most. It is decided once, by the record that makes it PrepareCommit or PrepareAbort; nothing else
//!   begins under the id until every partition has its marker and the record that makes it Complete is committed.
//! - Markers are asked for only when the decision is committed: they are effects, beside its record.
//! - The pair of producer id and epoch never goes back, and an epoch that a producer was told is below the largest one, so that it can be fenced.
//! - Between an operation that returned records and their replay (or [`TxnShard::append_failed`]) the runtime runs no other operation of the shard.
//!   If it is unknown whether the records lie in the log, the runtime drops the shard and loads it anew.
//! - A timer that was armed again or cancelled does not fire any more; one that fires for what is over does nothing.
//! - Iteration is ordered everywhere: equal inputs give equal effects.
//! - No input panics: not a garbage record, not a garbage answer.
//!
//! Soft state, lost at each load: which partitions have their marker (all are sent again, which does no harm), and the epoch before the current
//! one, which Kafka's record lacks as well (a retried InitProducerId is fenced then).
//!
//! In Kafka: `TransactionCoordinator`, `TransactionStateManager`, `TransactionMetadata`, `TransactionMarkerChannelManager`,
//! `TransactionMarkerRequestCompletionHandler`, `TransactionLog`. KIPs: 98 (transactions), 360 (a producer recovers with its id and epoch), 588
//! (timed-out producers learn it), 664 (describe and list), 890 (verification of partitions; an epoch per transaction), 994 and 1152 (filters of
//! list), 1228 (the version in markers).
//!
//! The path of a transaction: [`TxnShard::init_producer_id`] -> [`TxnShard::add_partitions_to_txn`] (by the client, or by a partition's leader that
//! got its first batch) -> [`TxnShard::end_txn`] returns the decision's record -> committed, replayed: the client is answered, the [`Markers`] go
//! out -> [`TxnShard::markers_answered`] until none is missing -> the last record.
//!
//! ```text
//!                 partitions               EndTxn                        all markers written
//!   Empty ---------------> Ongoing ------------------> PrepareCommit ----------------------> CompleteCommit
//!     ^  |                  ^   |  EndTxn, timeout,                                              |    ^
//!     |  | EndTxn(abort)    |   |  a newer producer                                              |    |
//!     |  | without any, v2  |   +------------------> PrepareAbort -----------------------> CompleteAbort
//!     |  +------------------|------------------------^                                           |
//!     |                     +---- partitions ----------------------------------------------------+
//!     +-------------------------- InitProducerId ------------------------------------------------+
//! ```
//!
//! # Deviations
//! - Timed-out transactions are aborted when they time out; Kafka looks for them every 10 s.
//! - A retried InitProducerId of a producer whose epochs are used up gets the current epoch again, or is fenced; Kafka answers
//!   UNKNOWN_SERVER_ERROR. It may be retried more than once; Kafka fences the second retry after a change of producer id.
//! - EndTxn 5 is taken for a retry only of an end by the rules of version 2; Kafka tells a producer that version 1 fenced at its last epoch an
//!   epoch that cannot be fenced.
//! - A transaction with more partitions than one record holds gets MESSAGE_TOO_LARGE instead of UNKNOWN_SERVER_ERROR.
//! - Two-phase commit (KIP-939) is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED, as by Kafka without `transaction.two.phase.commit.enable`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod config;
mod effects;
mod operations;
mod records;
mod replies;
mod shard;
mod shown;
mod summary;
mod transaction;
mod version;

pub use config::TxnConfig;
pub use coordinator::{CoordinatorRecord, Replayed, ReplyId, SkippedRecords};
pub use effects::{Effects, MarkerOutcome, Markers, MarkersAnswered, RequestMeta, TimerEffect, TimerKey, TransactionResult, TxnReply};
pub use model::partition_for;
pub use shard::TxnShard;
pub use shown::shown_record;
pub use summary::TransactionSummary;
pub use version::TransactionVersion;
