//! The types that openraft is instantiated with.

use std::io::Cursor;

use metadata::MetadataRecord;
use metadata::controller::counts;
use serde::{Deserialize, Serialize};

/// What is proposed: records that are applied at once, if they were decided on in the term that they stand in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Proposal {
    /// The term of the decision; `None` in logs from before it was written down.
    pub(crate) term: Option<u64>,
    pub(crate) records: Vec<MetadataRecord>,
}

impl Proposal {
    /// The records, if they count in an entry of this id. Every voter says the same.
    pub(crate) fn counting(self, id: &LogId) -> Option<Vec<MetadataRecord>> {
        counts(self.term, id.leader_id.term).then_some(self.records)
    }
}

/// What an applied entry answers. Observers and the image have seen it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// Whether its records counted.
    pub(crate) counted: bool,
}

openraft::declare_raft_types!(
    /// One quorum: node ids are broker ids; where a voter is reached stands in its broker's registration, so nodes carry nothing.
    pub(crate) Types:
        D = Proposal,
        R = Applied,
        NodeId = u64,
        Node = openraft::EmptyNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(crate) type NodeId = u64;
pub(crate) type LogId = openraft::LogId<NodeId>;
pub(crate) type Vote = openraft::Vote<NodeId>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type Membership = openraft::Membership<NodeId, openraft::EmptyNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<NodeId, openraft::EmptyNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<NodeId, openraft::EmptyNode>;
pub(crate) type StorageError = openraft::StorageError<NodeId>;
pub(crate) type StorageIoError = openraft::StorageIOError<NodeId>;
pub(crate) type Raft = openraft::Raft<Types>;
