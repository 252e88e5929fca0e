//! A cluster on a seeded network, made of the pure parts: the controller's decisions (`metadata`) and what a leader and a follower of a
//! partition know (`replication`), over logs that lose what was not synced. Development only.
//!
//! What it is *not*: the metadata quorum is one list that never fails, whose controller changes and may lose what it decided; there are no sockets, no RocksDB, no groups, one partition. It says
//! nothing about those.
//!
//! What it takes for granted, since connections give it: a registration does not outlive its process, the controller reads the attempts of one
//! broker to change an in-sync set in their order, and a broker takes only the answer to its last one. Without any of the three the invariants
//! break. And a broker tells at its start whether its disk is the one of its last registered run, which `broker` does not do yet: it says that it
//! may have lost everything.
//!
//! Invariants, looked at after each step (names as in KIP-966's specification):
//! - `LeaderCandidateCompleteness`: whoever is in sync or eligible has all that was acknowledged.
//! - `NoCommittedRecordLostGlobally`: no record at an offset below a high watermark is ever another one.
//! - `ConsistentRead`: what a consumer reads at an offset never changes.
//! - `ValidControllerIsrAndElr`: the leader is in sync, nobody is in sync and eligible at once, all of them are replicas.
//! - Epochs and the high watermark of a broker's term never go back; nor does the one that a consumer sees (`HighWatermarkSeenNeverGoesBack`).
//! - In the end, when nothing fails any more, all brokers are in sync, their logs are equal, and records are taken again.
//!
//! The same seed gives the same history; [`run`] gives its fingerprint. The long form is `cargo run --release -p simulator -- 0 1000000`. A [`Mutant`] puts an old mistake back in: the invariants must find it.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod broker;
mod dice;
mod invariants;
mod liveness;
mod messages;
mod mutant;
mod replicas;
#[cfg(test)]
mod tests;
mod world;

pub use invariants::Violation;
pub use mutant::Mutant;
pub use world::{Outcome, run};
