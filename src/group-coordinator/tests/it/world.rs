//! A shard with the smallest runtime around it: a log in memory, timers, and a clock that the test moves.

use std::collections::BTreeMap;

use bytes::BytesMut;
use group_coordinator::{
    CoordinatorRecord, Effects, GroupConfig, GroupReply, GroupShard, Replayed, ReplyId, RequestMeta, TimerEffect, TimerKey,
};
use model::{ProducerId, Timestamp};
use protocol::{Encodable, ErrorCode};
use uuid::Uuid;

pub(crate) struct World {
    pub(crate) config: GroupConfig,
    pub(crate) shard: GroupShard,
    /// All that was ever appended.
    pub(crate) log: Vec<Logged>,
    pub(crate) now: i64,
    pub(crate) timers: BTreeMap<TimerKey, i64>,
    /// The next append fails with it.
    pub(crate) append_error: Option<ErrorCode>,
    /// Who waits for which reply, with the request's version.
    pub(crate) awaited: BTreeMap<ReplyId, (String, i16)>,
    next_reply: u64,
    next_uuid: u128,
}

/// What lies in the log.
pub(crate) enum Logged {
    /// A record, in the transaction of a producer or outside of any.
    Record(Option<ProducerId>, CoordinatorRecord),
    /// The end of a producer's transaction.
    End { producer_id: ProducerId, is_commit: bool },
}

/// What came of an operation.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) records: Vec<CoordinatorRecord>,
    pub(crate) failed: bool,
    /// Label, version, reply.
    pub(crate) replies: Vec<(String, i16, GroupReply)>,
    pub(crate) timers: Vec<TimerEffect>,
}

impl World {
    pub(crate) fn new(config: GroupConfig) -> Self {
        let shard = GroupShard::new(config.clone());
        let (log, timers, awaited) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { config, shard, log, now: 0, timers, append_error: None, awaited, next_reply: 0, next_uuid: 0 }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// A request of that version, whose reply will bear the label.
    pub(crate) fn meta(&mut self, label: &str, client_id: &str, api_version: i16) -> RequestMeta {
        self.next_reply += 1;
        self.next_uuid += 1;
        let reply = ReplyId(self.next_reply);
        self.awaited.insert(reply, (label.to_owned(), api_version));
        RequestMeta {
            client_id: client_id.to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            api_version,
            reply,
            new_member_uuid: Uuid::from_u128(self.next_uuid),
        }
    }

    /// Does what the runtime does with effects. Every reply must encode in its request's version.
    pub(crate) fn carry_out(&mut self, effects: Effects) -> Outcome {
        let mut outcome = Outcome::default();
        let effects = if effects.records.is_empty() {
            effects
        } else if let Some(error) = self.append_error.take() {
            outcome.failed = true;
            self.shard.append_failed(self.now(), effects, error)
        } else {
            for record in &effects.records {
                let logged = Logged::Record(effects.transaction.map(|(producer_id, _)| producer_id), record.clone());
                assert_eq!(replay(&mut self.shard, &logged), Replayed::Applied);
                self.log.push(logged);
            }
            effects
        };
        outcome.records = effects.records;
        for timer in effects.timers {
            match &timer {
                TimerEffect::Arm { key, at } => {
                    self.timers.insert(key.clone(), at.millis());
                }
                TimerEffect::Cancel { key } => {
                    if self.timers.remove(key).is_none() {
                        continue;
                    }
                }
            }
            outcome.timers.push(timer);
        }
        for (id, reply) in effects.replies {
            let (label, api_version) = self.awaited.remove(&id).expect("a request is answered once");
            encode(&reply, api_version).unwrap_or_else(|error| panic!("{label}: {reply:?} does not encode at {api_version}: {error}"));
            outcome.replies.push((label, api_version, reply));
        }
        outcome
    }

    /// The next timer that is due by then.
    pub(crate) fn next_timer(&self, by: i64) -> Option<(TimerKey, i64)> {
        let due = self.timers.iter().filter(|(_, at)| **at <= by);
        due.min_by_key(|(key, at)| (**at, (*key).clone())).map(|(key, at)| (key.clone(), *at))
    }

    pub(crate) fn fire(&mut self, key: TimerKey) -> Outcome {
        self.timers.remove(&key);
        let effects = self.shard.timer_fired(self.now(), key);
        self.carry_out(effects)
    }

    /// A shard with what the log has.
    pub(crate) fn replayed(&self) -> GroupShard {
        let mut shard = GroupShard::new(self.config.clone());
        for logged in &self.log {
            replay(&mut shard, logged);
        }
        shard
    }

    /// A marker is appended.
    pub(crate) fn end_of_transaction(&mut self, producer_id: ProducerId, is_commit: bool) {
        let logged = Logged::End { producer_id, is_commit };
        replay(&mut self.shard, &logged);
        self.log.push(logged);
    }

    /// The broker dies and comes back: all soft state, timers and connections are gone.
    pub(crate) fn restart(&mut self) -> Outcome {
        self.shard = self.replayed();
        self.timers.clear();
        self.awaited.clear();
        let effects = self.shard.loaded(self.now());
        self.carry_out(effects)
    }
}

fn replay(shard: &mut GroupShard, logged: &Logged) -> Replayed {
    match logged {
        Logged::Record(None, record) => shard.replay(&record.key, record.value.as_deref()),
        Logged::Record(Some(producer_id), record) => shard.replay_in_transaction(*producer_id, &record.key, record.value.as_deref()),
        Logged::End { producer_id, is_commit } => {
            shard.replay_end_of_transaction(*producer_id, *is_commit);
            Replayed::Applied
        }
    }
}

pub(crate) fn encode(reply: &GroupReply, version: i16) -> Result<BytesMut, String> {
    let mut bytes = BytesMut::new();
    let encoded = match reply {
        GroupReply::Join(reply) => reply.encode(&mut bytes, version),
        GroupReply::Sync(reply) => reply.encode(&mut bytes, version),
        GroupReply::Heartbeat(reply) => reply.encode(&mut bytes, version),
        GroupReply::Leave(reply) => reply.encode(&mut bytes, version),
        GroupReply::OffsetCommit(reply) => reply.encode(&mut bytes, version),
        GroupReply::TxnOffsetCommit(reply) => reply.encode(&mut bytes, version),
        GroupReply::OffsetFetch(reply) => reply.encode(&mut bytes, version),
        GroupReply::OffsetDelete(reply) => reply.encode(&mut bytes, version),
        GroupReply::ListGroups(reply) => reply.encode(&mut bytes, version),
        GroupReply::DescribeGroups(reply) => reply.encode(&mut bytes, version),
        GroupReply::DeleteGroups(reply) => reply.encode(&mut bytes, version),
    };
    encoded.map_err(|error| error.to_string())?;
    Ok(bytes)
}
