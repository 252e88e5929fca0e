//! What the leader of a partition decides about its replicas: who is in sync, and how far all of them have the log.
//!
//! What it is *not*: it reads no log, sends nothing, knows no time. It is fed facts (a log end moved, the metadata changed the in-sync replicas) and
//! answers with offsets.
//!
//! Invariants:
//! - The high watermark is the smallest log end of the *maximal* in-sync set: the larger of what is committed and what is proposed (KIP-497), so that
//!   a change under way can never make it pass a member's log.
//! - The high watermark never goes back within a leader's epoch.
//! - With fewer committed in-sync replicas than `min.insync.replicas` (capped by the replica count, as Kafka 4 does with ELR), acks=all is refused.
//!
//! In Kafka: `Partition` (`maybeIncrementLeaderHW`, `CommittedPartitionState`, `PendingExpandIsr`, `PendingShrinkIsr`).
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod isr;
mod leader;

pub use isr::Isr;
pub use leader::{LeaderState, MinIsr};
