//! What an operation of a shard wants done: records to append, replies to send, timers to arm.

use std::sync::Arc;

use coordinator::{CoordinatorRecord, ReplyId};
use model::{ProducerEpoch, ProducerId};
use protocol::messages::{
    DeleteGroupsResponse, DescribeGroupsResponse, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, ListGroupsResponse,
    OffsetCommitResponse, OffsetDeleteResponse, OffsetFetchResponse, SyncGroupResponse, TxnOffsetCommitResponse,
};
use uuid::Uuid;

/// What a shard must know of a request beside its body.
#[derive(Clone, Debug)]
pub struct RequestMeta {
    /// The client id of the request's header; it begins a new member's id.
    pub client_id: String,
    /// The peer's address, as DescribeGroups shows it. Kafka writes a slash before it (`/127.0.0.1`).
    pub client_host: String,
    /// The version in which the request came, and in which the reply must be encodable.
    pub api_version: i16,
    /// Where the reply goes.
    pub reply: ReplyId,
    /// Randomness for a new member's id.
    pub new_member_uuid: Uuid,
}

/// What a timer is for. Arming a key again replaces it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TimerKey {
    /// The end of a member's session, or of a pending or new member's patience.
    Member {
        /// The group.
        group_id: Arc<str>,
        /// The member.
        member_id: Arc<str>,
    },
    /// The end of a group's join phase.
    Join {
        /// The group.
        group_id: Arc<str>,
    },
    /// The end of a group's sync phase.
    Sync {
        /// The group.
        group_id: Arc<str>,
    },
}

/// A change of the timers.
pub type TimerEffect = coordinator::TimerEffect<TimerKey>;

/// The answer to a request. It encodes in the version of its request.
#[derive(Clone, PartialEq, Debug)]
pub enum GroupReply {
    /// To JoinGroup.
    Join(JoinGroupResponse),
    /// To SyncGroup.
    Sync(SyncGroupResponse),
    /// To Heartbeat.
    Heartbeat(HeartbeatResponse),
    /// To LeaveGroup.
    Leave(LeaveGroupResponse),
    /// To OffsetCommit.
    OffsetCommit(OffsetCommitResponse),
    /// To TxnOffsetCommit.
    TxnOffsetCommit(TxnOffsetCommitResponse),
    /// To OffsetFetch; for the groups that the request names (from version 8 a caller may have to put several shards' groups together).
    OffsetFetch(OffsetFetchResponse),
    /// To OffsetDelete.
    OffsetDelete(OffsetDeleteResponse),
    /// To ListGroups: this shard's groups.
    ListGroups(ListGroupsResponse),
    /// To DescribeGroups, for the groups that the request names.
    DescribeGroups(DescribeGroupsResponse),
    /// To DeleteGroups, for the groups that the request names.
    DeleteGroups(DeleteGroupsResponse),
}

/// What an operation wants done, in this order: append all records as one batch and wait until they are committed, replay them, then arm timers
/// and send replies. Without records the rest happens at once.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Effects {
    /// To append, all or none.
    pub records: Vec<CoordinatorRecord>,
    /// In whose transaction to append them. They are then replayed by [`crate::GroupShard::replay_in_transaction`].
    pub transaction: Option<(ProducerId, ProducerEpoch)>,
    /// To send when the records are committed and replayed. Some answer requests of other connections than the one at hand.
    pub replies: Vec<(ReplyId, GroupReply)>,
    /// To arm or cancel, in order.
    pub timers: Vec<TimerEffect>,
}
