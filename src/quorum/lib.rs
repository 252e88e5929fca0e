//! The metadata quorum behind one small trait: records go in, agreed images and deltas come out.
//!
//! What it is *not*: it decides nothing (`metadata::controller` does), knows no Kafka request and opens no socket: its messages to other
//! voters are carried by who starts it ([`Peers`]). Voters come and go one at a time, by [`MetadataQuorum::add_voter`] and
//! [`MetadataQuorum::remove_voter`]; who votes stands in the log ([why](docs/0001-voters-that-change.md)). So do observers (openraft's learners):
//! they have the log and no vote.
//!
//! Invariants:
//! - A proposal is answered only after its records are on the disk, applied, and seen by every observer; observers see deltas in the order
//!   of the log, each once, and nothing of the replay at a start.
//! - [`MetadataQuorum::image`] never shows what observers have not acted on yet: no topic is visible before its partitions serve.
//! - After a restart the image is the one that was answered last: snapshot, then the log behind it.
//! - An entry is on the disk before it is answered, and so is a vote where there are other voters. Of a vote that a sole voter grants to
//!   itself no copy is written: an entry of its term implies it. Its first start waits for the disk twice before it can propose, a restart
//!   not at all.
//! - A quorum of one voter that idles does not wake: its clock ticks every 90 seconds. One of several has its leader's heartbeats, and so has one
//!   that was one of several in this process's life, or wanted to be.
//! - A change of the voters takes effect by a majority of the former and one of the new voters. One that was left half done is finished by whoever
//!   leads next.
//! - A voter whose log was lost votes for nobody until a leader has filled it, also over restarts, so that no majority is made of who has
//!   forgotten. A new cluster's voters cannot be told from it: if the first leader dies before the others are filled, it is missed.
//! - What was decided in one term is applied in no other. A proposal ends in bounded time; as long as the fate of one is unknown, and when this
//!   broker has not heard of most voters lately, it is not the active controller.
//! - A leader is followed by another when its process is dead, once the lease of those that heard of it is over; when it is silent, after six
//!   heartbeats at the least; and at once when it resigns. What it is to be dead, and who stands when, says `candidacy`.
//! - [`MetadataQuorum::is_active`] is true on a leader that has applied all that earlier leaders committed; only then may it decide.
//!
//! Exemption: openraft's own timers and those of elections use tokio's clock through its `AsyncRuntime` (`TokioRuntime`), not klamm's injected one.
//! With one voter no decision hangs on them: this broker elects itself at once at its start, and nothing else times out. With several,
//! elections do; no decision about records hangs on when they come.
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

mod candidacy;
mod completeness;
mod disk;
mod format;
mod log_storage;
mod network;
mod node;
mod on_disk;
mod options;
mod state_machine;
#[cfg(test)]
mod tests;
mod thread;
mod types;
#[cfg(test)]
mod voter_change_tests;
mod voters;
#[cfg(test)]
mod voters_tests;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use metadata::{Delta, Image, MetadataRecord};
use model::BrokerId;

pub use network::{NoPeers, Peers, ReceiveError};
pub use node::start;
pub use on_disk::{OnDisk, UnreadableMetadata, look};
pub use options::{QuorumOptions, StartError};
pub use voters::VoterChangeError;

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
    /// Nobody knows yet whether it will be applied: the other voters, or the disk, did not answer in time. Until it is known, this broker is not
    /// the active controller.
    #[error("the metadata quorum did not answer in time")]
    FateUnknown,
    /// The quorum is stopped, or its disk failed: nothing more will be applied by this process.
    #[error("the metadata quorum has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// How far a voter has the metadata log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoterProgress {
    /// The voter.
    pub broker_id: BrokerId,
    /// The index behind its last entry; `None` if that is not known here.
    pub log_end: Option<u64>,
}

/// Where the cluster's metadata is agreed upon.
pub trait MetadataQuorum: Send + Sync {
    /// Proposes records that were decided on in a term, to be applied at once; the term is to be read before the image is. Ends with the log
    /// index at which they stand, when they are synced, applied and all observers have seen them. In another term they count for nothing, even
    /// if this broker leads again. It always ends: where the other voters are silent, after a while with [`ProposeError::FateUnknown`].
    fn propose(&self, term: u64, records: Vec<MetadataRecord>) -> BoxFuture<Result<u64, ProposeError>>;

    /// The image after the last applied entry.
    fn image(&self) -> Arc<Image>;

    /// Adds an observer. It is called for every delta applied after this call; the image at this moment is returned, and
    /// [`Delta::from_nothing`] makes a delta of it. An observer must not subscribe another one.
    fn subscribe(&self, observer: Observer) -> Arc<Image>;

    /// The broker that leads the quorum.
    fn leader(&self) -> Option<BrokerId>;

    /// The term of the quorum's leader.
    fn leader_term(&self) -> u64;

    /// The voters, as far as this broker knows them: a leader knows how far each has the log.
    fn voters(&self) -> Vec<VoterProgress>;

    /// The observers, as far as this broker knows them: brokers that have the log and no vote.
    fn observers(&self) -> Vec<VoterProgress>;

    /// Makes a broker that is no voter an observer, if this broker leads the quorum; ends when that is agreed upon. One that is known already is
    /// sent at once what it lacks.
    fn admit_observer(&self, broker_id: BrokerId) -> BoxFuture<Result<(), ProposeError>>;

    /// Forgets an observer. A voter is left as it is.
    fn forget_observer(&self, broker_id: BrokerId) -> BoxFuture<Result<(), ProposeError>>;

    /// Makes an observer a voter, if this broker leads the quorum: once it has all that was in the log when it was asked for, and ends when a
    /// majority of both the former and the new voters has agreed. It ends in no bounded time; dropped before the end, the change may be made yet.
    fn add_voter(&self, broker_id: BrokerId) -> BoxFuture<Result<(), VoterChangeError>>;

    /// Takes a broker's vote: it is an observer then. A leader that is not to vote any more leads until that is agreed upon, and then no more.
    fn remove_voter(&self, broker_id: BrokerId) -> BoxFuture<Result<(), VoterChangeError>>;

    /// A watch on who votes, by the newest word in this broker's log. Empty while that has none.
    fn voting(&self) -> tokio::sync::watch::Receiver<BTreeSet<BrokerId>>;

    /// Whether this broker leads the quorum, hears of most voters, and has applied all that was committed before and all that it proposed: the
    /// active controller.
    fn is_active(&self) -> bool;

    /// Ends when there is a leader and this broker has applied what was committed when it was elected. Until then nobody observes anything
    /// and the image is empty. A sole voter is there when it has started.
    fn caught_up(&self) -> BoxFuture<Result<(), ProposeError>>;

    /// Takes a message of another voter; ends with the answer that goes back to it.
    fn receive(&self, message: Vec<u8>) -> BoxFuture<Result<Vec<u8>, ReceiveError>>;

    /// A watch on the index of the newest image that [`MetadataQuorum::image`] shows.
    fn published(&self) -> tokio::sync::watch::Receiver<u64>;

    /// A watch on the leader: changes whenever another broker, or none, leads.
    fn leadership(&self) -> tokio::sync::watch::Receiver<Option<BrokerId>>;

    /// If this broker leads the quorum, has another voter lead it, so that nobody waits for that after this broker has gone. Ends when another one
    /// leads, or none takes over in time. Before [`MetadataQuorum::shutdown`], while messages of other voters still come in.
    fn resign(&self) -> BoxFuture<()>;

    /// Stops; proposals under way end with [`ProposeError::Stopped`].
    fn shutdown(&self) -> BoxFuture<()>;
}
