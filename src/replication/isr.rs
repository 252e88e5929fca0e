//! The in-sync set, with a change of it under way or not.

use std::collections::BTreeSet;

use model::BrokerId;

/// A change of the in-sync set that the leader asks the controller for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IsrProposal {
    /// The set that it wants.
    pub isr: BTreeSet<BrokerId>,
    /// The partition epoch that this rests on: the controller refuses it if the partition has changed since.
    pub partition_epoch: i32,
}

/// The in-sync set as the leader must reckon with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IsrState {
    /// As the controller has it.
    Committed(BTreeSet<BrokerId>),
    /// The controller was asked to take a replica in.
    PendingExpand {
        /// As the controller had it.
        committed: BTreeSet<BrokerId>,
        /// As it may have it by now.
        proposed: BTreeSet<BrokerId>,
    },
    /// The controller was asked to take replicas out.
    PendingShrink {
        /// As the controller had it.
        committed: BTreeSet<BrokerId>,
        /// As it may have it by now.
        proposed: BTreeSet<BrokerId>,
    },
}

impl IsrState {
    /// What the controller is known to have.
    #[must_use]
    pub const fn committed(&self) -> &BTreeSet<BrokerId> {
        match self {
            Self::Committed(committed) | Self::PendingExpand { committed, .. } | Self::PendingShrink { committed, .. } => committed,
        }
    }

    /// The larger of what the controller has and may have. Only this may move the high watermark.
    #[must_use]
    pub const fn maximal(&self) -> &BTreeSet<BrokerId> {
        match self {
            Self::Committed(committed) | Self::PendingShrink { committed, .. } => committed,
            Self::PendingExpand { proposed, .. } => proposed,
        }
    }

    /// Whether a change is under way.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        !matches!(self, Self::Committed(_))
    }
}
