//! The metadata quorum behind one small trait.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use metadata::{Delta, Image, MetadataRecord};
use model::BrokerId;

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

    /// Adds an observer. It is called for every delta applied after this call; the image at this moment is returned.
    fn subscribe(&self, observer: Observer) -> Arc<Image>;

    /// The broker that leads the quorum.
    fn leader(&self) -> Option<BrokerId>;

    /// The term of the quorum's leader.
    fn leader_term(&self) -> u64;

    /// Stops; proposals under way end with [`ProposeError::Stopped`].
    fn shutdown(&self) -> BoxFuture<()>;
}
