//! What the leader of a partition knows of its replicas, and what follows from it: the high watermark, whether enough replicas are in sync,
//! when the in-sync set must change.
//!
//! And what a follower of a partition asks its leader for, and what the answers mean for its own log: where to cut it, when to begin anew.
//!
//! What it is *not*: it reads and writes no log, sends nothing, and has no clock; the broker tells it what happened and does what it answers.
//! It does not decide who leads (`metadata::controller` does).
//!
//! Invariants:
//! - The high watermark never goes back, never passes the leader's own log end, and passes no member of the *maximal* in-sync set (the
//!   committed one together with a proposed one): whichever of both the controller holds for true, all its members have what lies below.
//! - The high watermark stands still while fewer replicas are in sync than min(min.insync.replicas, replicas): KIP-966.
//! - At most one change of the in-sync set is under way; it names the partition epoch that it rests on, so that a stale one is refused.
//! - An answer to an older proposal changes nothing, and the known state told once more does not end a proposal.
//! - A follower cuts its log by leader epochs, never by a high watermark (KIP-101, KIP-279), and asks for nothing under an epoch that is over.
//!
//! In Kafka: `AbstractFetcherThread`, `Partition.scala` (`PartitionState`, `maybeIncrementLeaderHW`, `maybeExpandIsr`, `maybeShrinkIsr`), `Replica`, KIP-497, KIP-966.
//!
//! ```text
//!             propose a larger set            accepted: Committed(new)
//!   Committed ------------------> Pending ------------------------------> Committed
//!             propose a smaller set           refused:  Committed(old)
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod epoch;
mod follower;
#[cfg(test)]
mod histories_tests;
mod isr;
mod leader;
#[cfg(test)]
mod tests;

pub use epoch::{EpochCheck, check_epoch};
pub use follower::{Ask, FetchFault, FetchPosition, FollowerLog, FollowerState, Repair, follow_offsets};
pub use isr::{IsrProposal, IsrState};
pub use leader::{Effects, Event, LeaderState, MinIsr, PartitionTerm};
