//! A member of a classic group.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use coordinator::ReplyId;

/// A request whose reply waits in the group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parked {
    pub(crate) reply: ReplyId,
    pub(crate) api_version: i16,
}

/// One protocol (for consumers: one assignor) that a member supports, with its metadata for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MemberProtocol {
    pub(crate) name: Arc<str>,
    pub(crate) metadata: Bytes,
}

/// A member of a classic group (Kafka's `ClassicGroupMember`).
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: Arc<str>,
    /// The `group.instance.id` of a static member.
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// In the member's order of preference.
    pub(crate) protocols: Vec<MemberProtocol>,
    /// What the leader of the current generation gave it.
    pub(crate) assignment: Bytes,
    pub(crate) awaiting_join: Option<Parked>,
    pub(crate) awaiting_sync: Option<Parked>,
    /// It has never been told its place in the group, so it cannot send heartbeats yet.
    pub(crate) is_new: bool,
}

impl Member {
    /// Its metadata for a protocol; none when it does not support it.
    pub(crate) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let found = self.protocols.iter().find(|candidate| Some(candidate.name.as_ref()) == protocol);
        found.map(|protocol| protocol.metadata.clone()).unwrap_or_default()
    }

    /// Whether the end of its session means nothing: its own request is waiting here, so it lives. A new member may be expired even so, as its
    /// client may have gone and come back under another id.
    pub(crate) const fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// The names of its protocols, each once: a client may send a name twice.
    pub(crate) fn protocol_names(&self) -> BTreeSet<&Arc<str>> {
        self.protocols.iter().map(|protocol| &protocol.name).collect()
    }
}
