//! The bytes of entries, votes and snapshots on disk. They are klamm's own, so that a newer openraft can read what an older one wrote.

use std::collections::{BTreeMap, BTreeSet};

use metadata::{DecodeError, decode_records, encode_records};
use openraft::{CommittedLeaderId, EmptyNode, EntryPayload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::types::{Entry, LogId, Membership, Proposal, StoredMembership, Vote};

const FORMAT_VERSION: u8 = 1;

/// Why bytes on disk are not what they should be.
#[derive(Debug, Error)]
pub(crate) enum FormatError {
    #[error("quorum data has format version {0}, but this program knows only version {FORMAT_VERSION}")]
    UnknownVersion(u8),
    #[error("quorum data is empty")]
    Empty,
    #[error("quorum data cannot be decoded: {0}")]
    Malformed(#[from] postcard::Error),
    #[error(transparent)]
    Records(#[from] DecodeError),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct StoredLogId {
    term: u64,
    node: u64,
    index: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredVoters {
    voters: Vec<BTreeSet<u64>>,
    nodes: BTreeSet<u64>,
}

#[derive(Serialize, Deserialize)]
enum StoredPayload {
    Blank,
    Records(Vec<u8>),
    Membership(StoredVoters),
    /// With the term of the decision. Unknown to programs from before it.
    Decided(u64, Vec<u8>),
}

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    id: StoredLogId,
    payload: StoredPayload,
}

/// What a snapshot says of itself; the image's bytes have their own version and checksum.
#[derive(Serialize, Deserialize)]
struct StoredSnapshot {
    last: Option<StoredLogId>,
    membership_at: Option<StoredLogId>,
    membership: StoredVoters,
    image: Vec<u8>,
}

/// A snapshot as it lies on disk.
pub(crate) struct SnapshotOnDisk {
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
    pub(crate) image: Vec<u8>,
}

pub(crate) fn encode_entry(entry: &Entry) -> Result<Vec<u8>, FormatError> {
    let payload = match &entry.payload {
        EntryPayload::Blank => StoredPayload::Blank,
        EntryPayload::Normal(Proposal { term: Some(term), records }) => StoredPayload::Decided(*term, encode_records(records)),
        EntryPayload::Normal(Proposal { term: None, records }) => StoredPayload::Records(encode_records(records)),
        EntryPayload::Membership(membership) => StoredPayload::Membership(voters_of(membership)),
    };
    encode(&StoredEntry { id: stored(&entry.log_id), payload })
}

pub(crate) fn decode_entry(bytes: &[u8]) -> Result<Entry, FormatError> {
    let StoredEntry { id, payload } = decode(bytes)?;
    let payload = match payload {
        StoredPayload::Blank => EntryPayload::Blank,
        StoredPayload::Records(records) => EntryPayload::Normal(Proposal { term: None, records: decode_records(&records)? }),
        StoredPayload::Decided(term, records) => EntryPayload::Normal(Proposal { term: Some(term), records: decode_records(&records)? }),
        StoredPayload::Membership(voters) => EntryPayload::Membership(membership_of(voters)),
    };
    Ok(Entry { log_id: log_id(id), payload })
}

pub(crate) fn encode_log_id(id: &LogId) -> Result<Vec<u8>, FormatError> {
    encode(&stored(id))
}

pub(crate) fn decode_log_id(bytes: &[u8]) -> Result<LogId, FormatError> {
    decode(bytes).map(log_id)
}

/// Term, node, and whether a quorum granted it.
pub(crate) fn encode_vote(vote: &Vote) -> Result<Vec<u8>, FormatError> {
    encode(&(vote.leader_id.term, vote.leader_id.node_id, vote.committed))
}

/// What [`encode_vote`] wrote.
pub(crate) fn decode_vote(bytes: &[u8]) -> Result<Vote, FormatError> {
    let (term, node, committed): (u64, u64, bool) = decode(bytes)?;
    Ok(if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) })
}

pub(crate) fn encode_snapshot(snapshot: &SnapshotOnDisk) -> Result<Vec<u8>, FormatError> {
    encode(&StoredSnapshot {
        last: snapshot.last.as_ref().map(stored),
        membership_at: snapshot.membership.log_id().as_ref().map(stored),
        membership: voters_of(snapshot.membership.membership()),
        image: snapshot.image.clone(),
    })
}

pub(crate) fn decode_snapshot(bytes: &[u8]) -> Result<SnapshotOnDisk, FormatError> {
    let StoredSnapshot { last, membership_at, membership, image } = decode(bytes)?;
    let membership = StoredMembership::new(membership_at.map(log_id), membership_of(membership));
    Ok(SnapshotOnDisk { last: last.map(log_id), membership, image })
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, FormatError> {
    Ok(postcard::to_extend(value, vec![FORMAT_VERSION])?)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FormatError> {
    match bytes.split_first() {
        None => Err(FormatError::Empty),
        Some((&FORMAT_VERSION, body)) => Ok(postcard::from_bytes(body)?),
        Some((&version, _)) => Err(FormatError::UnknownVersion(version)),
    }
}

fn stored(id: &LogId) -> StoredLogId {
    StoredLogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

fn log_id(id: StoredLogId) -> LogId {
    LogId::new(CommittedLeaderId::new(id.term, id.node), id.index)
}

fn voters_of(membership: &Membership) -> StoredVoters {
    StoredVoters { voters: membership.get_joint_config().clone(), nodes: membership.nodes().map(|(id, _)| *id).collect() }
}

fn membership_of(stored: StoredVoters) -> Membership {
    let nodes: BTreeMap<u64, EmptyNode> = stored.nodes.into_iter().map(|id| (id, EmptyNode {})).collect();
    Membership::new(stored.voters, nodes)
}

#[cfg(test)]
mod tests {
    use metadata::MetadataRecord;

    use super::*;

    fn id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(3, 1), index)
    }

    #[test]
    fn entries_of_each_kind_survive_encoding() {
        let membership = Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, EmptyNode {})]));
        let records = vec![MetadataRecord::Cluster { cluster_id: "c".to_owned() }];
        let proposal = |term| EntryPayload::Normal(Proposal { term, records: records.clone() });
        for payload in [EntryPayload::Blank, proposal(None), proposal(Some(3)), EntryPayload::Membership(membership)] {
            let entry = Entry { log_id: id(9), payload };
            let decoded = decode_entry(&encode_entry(&entry).expect("encodes")).expect("decodes");
            assert_eq!(format!("{decoded:?}"), format!("{entry:?}"));
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert!(matches!(decode_entry(&[]), Err(FormatError::Empty)));
        assert!(matches!(decode_entry(&[7, 1, 2]), Err(FormatError::UnknownVersion(7))));
        assert!(decode_entry(&[FORMAT_VERSION, 255, 255]).is_err());
    }
}
