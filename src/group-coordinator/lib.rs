//! The group coordinator: classic consumer groups and committed offsets, as a pure state machine over one partition of `__consumer_offsets`.
//!
//! What it is *not*: it knows no log, no sockets, no clock and no randomness. It appends nothing and waits for nothing: an operation returns
//! [`Effects`] and the broker's runtime carries them out. It does not check that topics exist, nor who may do what: the request handlers do.
//!
//! Invariants:
//! - What must survive a restart (committed offsets, group metadata) changes only in [`GroupShard::replay`]. Live operation and recovery are one code.
//! - Soft state (parked joins and syncs, pending members, the phase of a rebalance) changes in the operations and may be lost: members rejoin.
//! - A parked reply is never dropped: it is answered by a later operation, by a timer, or by [`GroupShard::unload`].
//! - Between an operation that returned records and their replay (or [`GroupShard::append_failed`]) the runtime runs no other operation of the shard.
//! - A timer that was armed again or cancelled does not fire any more; one that fires for a member or group that is gone does nothing.
//! - An offset that was committed in a transaction counts when the transaction's marker is replayed, unless one that came after
//!   it in the log counts already.
//! - Iteration is ordered everywhere: equal inputs give equal effects.
//! - No input panics: not a garbage record, not a garbage subscription.
//!
//! In Kafka: `GroupCoordinatorShard`, `GroupMetadataManager` (its classic part), `ClassicGroup`, `OffsetMetadataManager`,
//! `GroupCoordinatorRecordHelpers`. KIPs: 98 and 447 (offsets in transactions), 134 (initial rebalance delay), 345 (static membership), 389 (group
//! size), 394 (member ids), 496 (offset deletion), 518 (states filter), 559 (protocol in responses), 709 (batched offset fetch), 800 (reasons), 814
//! (skip assignment), 848 (types filter).
//!
//! The path of a join: [`GroupShard::join_group`] (`classic/join_group.rs`) -> `classic/rebalance.rs` parks it and arms a timer -> all joined or the
//! timer fires -> the replies go out, the leader assigns -> [`GroupShard::sync_group`] returns the group's metadata record -> the runtime appends,
//! replays it ([`GroupShard::replay`]) and releases the replies.
//!
//! ```text
//!            first join                  all joined, or timeout             leader's sync, appended
//!   Empty ---------------> PreparingRebalance ---------------> CompletingRebalance ---------------> Stable
//!     ^                      |        ^   ^                          |                                |
//!     |   nobody is left     |        |   |  join, leave, expiry     |                                |
//!     +----------------------+        |   +--------------------------+                                |
//!     |                               +---------------------------------------------------------------+
//!     +--> Dead: deleted, or its offsets are expired
//! ```
//!
//! # Deviations
//! - A request that is parked twice (a client's retry), or whose member is removed while it waits for its assignment, is answered at once; Kafka
//!   leaves the older one without an answer.
//! - A refused first join leaves no empty group behind.
//! - Among protocols with equally many votes the one that was voted for first wins; Kafka leaves it to the order of a hash table.
//! - A batch that is too large gets INVALID_COMMIT_OFFSET_SIZE (commits) or MESSAGE_TOO_LARGE instead of UNKNOWN_SERVER_ERROR.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod classic;
mod config;
mod effects;
mod group;
mod member;
mod offsets;
mod operation;
mod pending_offsets;
mod records;
mod replies;
mod shard;
mod shown;
mod subscription;
mod summary;

pub use config::{GroupConfig, ROWS};
pub use coordinator::{CoordinatorRecord, Replayed, ReplyId, SkippedRecords};
pub use effects::{Effects, GroupReply, RequestMeta, TimerEffect, TimerKey};
pub use model::partition_for;
pub use shard::GroupShard;
pub use shown::shown_record;
pub use summary::GroupSummary;
