//! The metadata quorum behind one small trait: records go in, agreed images and deltas come out.
//!
//! What it is *not*: it decides nothing (`metadata::controller` does) and knows no Kafka request. There is no replication between brokers
//! yet: the quorum has one voter, and its way to peers refuses every call instead of pretending.
//!
//! Invariants:
//! - A proposal is answered only after its records are on the disk, applied, and seen by every observer; observers see deltas in the order
//!   of the log, each once, and nothing of the replay at a start.
//! - [`MetadataQuorum::image`] never shows what observers have not acted on yet: no topic is visible before its partitions serve.
//! - After a restart the image is the one that was answered last: snapshot, then the log behind it.
//! - An entry is on the disk before it is answered. Of a vote, which a sole voter grants to nobody but itself, no copy is written: an entry
//!   of its term implies it. A first start waits for the disk twice before it can propose, a restart not at all.
//! - An idle quorum does not wake: its clock ticks every 90 seconds.
//!
//! Exemption: openraft's own timers use tokio's clock through its `AsyncRuntime` (`TokioRuntime`), not klamm's injected one. With one voter
//! no decision hangs on them: this broker elects itself at once at its start, and nothing else times out. They matter again with a second
//! voter.
//!
//! In Kafka: `org.apache.kafka.raft` (KIP-595), `QuorumController` and `MetadataLoader` for the order of publishing.
//!
//! ```text
//!   propose --> openraft --> log_storage (synced) --> state_machine --> observers, in order --> image() --> propose answers
//!                                                          |
//!                                                          +--> snapshot every 10,000 entries; the log before it is purged
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod disk;
mod format;
mod log_storage;
mod network;
mod node;
mod state_machine;
#[cfg(test)]
mod tests;
mod types;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use metadata::{Delta, Image, MetadataRecord};
use model::BrokerId;

pub use node::{QuorumOptions, StartError, start};

/// A future that can be kept and sent.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// Is told of each applied delta, in order, with the index, the image after it, and what changed. It is called on the quorum's own task
/// before the proposal of that index is answered, so it must be short and must not wait.
pub type Observer = Arc<dyn Fn(u64, &Arc<Image>, &Arc<Delta>) + Send + Sync>;

/// Why a proposal was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another broker leads the quorum (NOT_CONTROLLER), or none does.
    #[error("this broker does not lead the metadata quorum")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<BrokerId>,
    },
    /// The quorum is stopped, or its disk failed: nothing more will be applied by this process.
    #[error("the metadata quorum has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Where the cluster's metadata is agreed upon.
pub trait MetadataQuorum: Send + Sync {
    /// Proposes records, to be applied at once. Ends with the log index at which they stand, when they are synced, applied and all observers
    /// have seen them.
    fn propose(&self, records: Vec<MetadataRecord>) -> BoxFuture<Result<u64, ProposeError>>;

    /// The image after the last applied entry.
    fn image(&self) -> Arc<Image>;

    /// Adds an observer. It is called for every delta applied after this call; the image at this moment is returned, and
    /// [`Delta::from_nothing`] makes a delta of it. An observer must not subscribe another one.
    fn subscribe(&self, observer: Observer) -> Arc<Image>;

    /// The broker that leads the quorum.
    fn leader(&self) -> Option<BrokerId>;

    /// The term of the quorum's leader.
    fn leader_term(&self) -> u64;

    /// Stops; proposals under way end with [`ProposeError::Stopped`].
    fn shutdown(&self) -> BoxFuture<()>;
}
