//! One shard: the groups and offsets of one partition of `__consumer_offsets`.

use model::{Timestamp, TopicName};
use protocol::ErrorCode;
use protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
};

use crate::config::GroupConfig;
use crate::effects::{Effects, RequestMeta, TimerKey};

/// What a replayed record was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replayed {
    /// Of a known type; the state has it.
    Applied,
    /// Of a type that this shard does not keep (consumer and share groups); skipped and counted.
    UnknownType,
    /// Not decodable; skipped and counted.
    Malformed,
}

/// The groups and offsets of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct GroupShard {
    config: GroupConfig,
}

macro_rules! stub {
    ($($name:ident: $request:ty),*) => { $(
        /// Handles the request.
        pub fn $name(&mut self, _now: Timestamp, _meta: RequestMeta, _request: $request) -> Effects {
            Effects::default()
        }
    )* };
}

impl GroupShard {
    /// An empty shard.
    #[must_use]
    pub fn new(config: GroupConfig) -> Self {
        Self { config }
    }

    stub!(join_group: JoinGroupRequest, sync_group: SyncGroupRequest, heartbeat: HeartbeatRequest, leave_group: LeaveGroupRequest,
        offset_commit: OffsetCommitRequest, offset_fetch: OffsetFetchRequest, offset_delete: OffsetDeleteRequest, list_groups: ListGroupsRequest,
        describe_groups: DescribeGroupsRequest, delete_groups: DeleteGroupsRequest);

    /// Applies a committed record: of this shard's own operation, or of the log at load.
    pub fn replay(&mut self, _key: &[u8], _value: Option<&[u8]>) -> Replayed {
        Replayed::Applied
    }

    /// After the last record of the log: arms the sessions of the loaded members.
    pub fn loaded(&mut self, _now: Timestamp) -> Effects {
        let _size = self.config.group_size_max;
        Effects::default()
    }

    /// The shard is about to be dropped: answers everything parked with `error` (NOT_COORDINATOR).
    pub fn unload(&mut self, _error: ErrorCode) -> Effects {
        Effects::default()
    }

    /// The records of `refused` could not be appended, so none of its effects was carried out: reverts, and answers its replies with an error.
    /// `error` is what the append failed with.
    pub fn append_failed(&mut self, _now: Timestamp, _refused: Effects, _error: ErrorCode) -> Effects {
        Effects::default()
    }

    /// A timer fired.
    pub fn timer_fired(&mut self, _now: Timestamp, _key: TimerKey) -> Effects {
        Effects::default()
    }

    /// Deletes expired offsets, and groups that have neither members nor offsets. To be called every `offsets.retention.check.interval.ms`.
    pub fn cleanup_expired_offsets(&mut self, _now: Timestamp) -> Effects {
        Effects::default()
    }

    /// Deletes the offsets of deleted topics.
    pub fn topics_deleted(&mut self, _now: Timestamp, _topics: &[TopicName]) -> Effects {
        Effects::default()
    }
}
