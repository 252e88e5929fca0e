//! What the leader of a partition knows of its replicas, and what follows from it: the high watermark, whether enough replicas are in sync,
//! when the in-sync set must change.
//!
//! What it is *not*: it reads and writes no log, sends nothing, and has no clock; the broker tells it what happened and does what it answers.
//! It does not decide who leads (`metadata::controller` does) and knows nothing of followers' own state.
//!
//! Invariants:
//! - The high watermark never goes back, never passes the leader's own log end, and passes no member of the *maximal* in-sync set (the
//!   committed one together with a proposed one): whichever of both the controller holds for true, all its members have what lies below.
//! - The high watermark stands still while fewer replicas are in sync than min(min.insync.replicas, replicas): KIP-966.
//! - At most one change of the in-sync set is under way; it names the partition epoch that it rests on, so that a stale one is refused.
//! - An answer to an older proposal changes nothing.
//!
//! In Kafka: `Partition.scala` (`PartitionState`, `maybeIncrementLeaderHW`, `maybeExpandIsr`, `maybeShrinkIsr`), `Replica`, KIP-497, KIP-966.
//!
//! ```text
//!             propose a larger set            accepted: Committed(new)
//!   Committed ------------------> Pending ------------------------------> Committed
//!             propose a smaller set           refused:  Committed(old)
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod epoch;
mod isr;
mod leader;
#[cfg(test)]
mod tests;

pub use epoch::{EpochCheck, check_epoch};
pub use isr::{IsrProposal, IsrState};
pub use leader::{Effects, Event, LeaderState, MinIsr, PartitionTerm};
