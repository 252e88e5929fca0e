//! Fetch (key 1, versions 4-18): reads record batches, waiting for new ones.
//!
//! - Partitions are served in the request's order within `max_bytes` and `partition_max_bytes`; the first batch is returned whatever its size.
//! - A new leader holds answers to consumers back, up to `max_wait_ms`, until its high watermark has reached what its predecessor may have shown.
//! - The answer leaves when `min_bytes` are there, at `max_wait_ms`, or at once on an error or a divergence. A waiting fetch holds no thread.
//! - Consumers read up to the high watermark, or to the last stable offset with read_committed.
//! - Followers read up to the log's end. What one asks for tells how far it is: by that the high watermark moves and the in-sync replicas grow. A broker
//!   that holds no replica, or comes with the epoch of an earlier registration (KIP-903), is answered NOT_LEADER_OR_FOLLOWER; by another listener than
//!   the brokers' own TOPIC_AUTHORIZATION_FAILED.
//! - A throttled follower that is not in sync gets nothing while `leader.replication.throttled.rate` is used up (KIP-73).
//! - Sessions as KIP-227: an incremental answer holds only partitions with news (see `broker::fetch_session`).
//! - Beyond `consumer_byte_rate` or `request_percentage` an empty answer tells the wait, its bytes do not count, and the connection is muted.
//! - Version 12 tells a diverging epoch (KIP-595), version 13 names topics by id (KIP-516), version 16 tells who leads and where with
//!   NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH (KIP-951). Version 18's high watermark is said by followers only (KIP-1166).
//! - From version 11 on consumers may read at followers, up to the high watermark that these know. With the rack-aware `replica.selector.class` the leader
//!   names the fullest replica in a consumer's rack instead of answering with records (KIP-392).
//! - Record bytes are not copied: ranges of files leave by sendfile.
//!
//! # Deviations
//! - An isolation level that does not exist is taken for read_uncommitted; Kafka answers UNKNOWN_SERVER_ERROR.
//!
//! # Tests
//! `codecs`, `from_offset`, `delete_recreate` of every client, kcat consume; `fetch` in `tests`.

mod answering;
mod reading;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use broker::fetch_session::{RequestedPartition, SessionPlan, SessionRefusal, SessionRequest, TopicKey};
use broker::partitions::{FetchBound, Follower, PartitionRead};
use broker::quotas::QuotaKind;
use broker::replication_throttle::ReplicationSide;
use bytes::Bytes;
use model::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, TopicId};
use protocol::ErrorCode;
use protocol::fetch_response::FetchResponseHead;
use protocol::messages::FetchRequest;
use wire::Outcome;
use wire::clock::timeout_at;

use self::answering::{respond, write};
use self::reading::{Answer, Parked, read_where_it_may_wait};
use crate::api::{self, Context, ErasedApi, Versions};
use crate::{error_codes, throttle};

const KEY: i16 = 1;
const READ_COMMITTED: i8 = 1;
/// What an answer takes beside its partitions, and a partition beside its records.
const HEAD_BYTES: usize = 20;
const ROW_BYTES: usize = 40;

pub(crate) struct Fetch;

impl ErasedApi for Fetch {
    fn key(&self) -> i16 {
        KEY
    }

    fn name(&self) -> &'static str {
        "Fetch"
    }

    fn served(&self) -> Versions {
        Versions::new(4, 18)
    }

    fn call(&self, cx: Context, body: Bytes) -> Outcome {
        match api::decode::<FetchRequest>(body, cx.version) {
            Ok(request) => Outcome::serial(handle(cx, request)),
            Err(reason) => Outcome::Close(reason),
        }
    }
}

/// The limits of one fetch, with the wire's sentinels resolved.
#[derive(Debug, Clone)]
struct Limits {
    bytes_max: usize,
    bytes_min: usize,
    deadline: Duration,
    bound: FetchBound,
    reader: Reader,
    /// The brokers in the consumer's rack, if it is to read from one of them (KIP-392); none if this broker stands there, too.
    near: Option<Arc<[BrokerId]>>,
}

/// Who fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Consumer {
        /// Whether it knows of replicas that it may read beside the leader.
        leader_only: bool,
    },
    Follower(Follower),
    /// A broker that gets nothing.
    Refused(ErrorCode),
}

impl Limits {
    /// Whether a broker fetches, so that no client's quota holds.
    const fn by_follower(&self) -> bool {
        !matches!(self.reader, Reader::Consumer { .. })
    }
}

async fn handle(cx: Context, request: FetchRequest) -> Outcome {
    let limits = limits(&cx, &request);
    let plan = match cx.broker.fetch_sessions.plan(session_request(&cx, request), cx.broker.clock.monotonic()) {
        Ok(plan) => plan,
        Err(refusal) => {
            let code = match refusal {
                SessionRefusal::NotFound => ErrorCode::FetchSessionIdNotFound,
                SessionRefusal::WrongEpoch => ErrorCode::InvalidFetchSessionEpoch,
                SessionRefusal::KeyStyle => ErrorCode::FetchSessionTopicIdError,
            };
            let head = FetchResponseHead { error_code: code.code(), ..FetchResponseHead::default() };
            return write(&cx, head, Vec::new(), &limits);
        }
    };
    let (partitions, session) = match plan {
        SessionPlan::Sessionless(partitions) => (partitions, Session::None),
        SessionPlan::Full(partitions) => (partitions, Session::New),
        SessionPlan::Incremental { session_id, partitions } => (partitions, Session::Kept(session_id)),
    };
    let mut wait = Duration::ZERO;
    let mut answers = if !limits.by_follower() && cx.broker.quotas.is_active(QuotaKind::Request) {
        let (answers, spent) = throttle::timed(&*cx.broker.clock, gather(&cx, partitions, &limits)).await;
        wait = cx.broker.quotas.record_request(cx.client(), spent);
        answers
    } else {
        gather(&cx, partitions, &limits).await
    };
    if limits.by_follower() {
        for answer in &answers {
            if let Some(partition) = &answer.partition {
                cx.broker.replication_throttle.record(ReplicationSide::Leader, partition.id(), answer.length_bytes());
            }
        }
    } else {
        wait = cx.broker.quotas.record_fetch(cx.client(), answer_bytes(&answers), wait);
    }
    if !wait.is_zero() {
        // KIP-219: nothing is sent but the wait. A full fetch begins no session, and one that there is keeps what it knew.
        let session_id = if let Session::Kept(id) = session { id } else { 0 };
        let throttle_time_ms = throttle::mute(&cx, wait);
        return write(&cx, FetchResponseHead { throttle_time_ms, session_id, ..FetchResponseHead::default() }, Vec::new(), &limits);
    }
    let session_id = match session {
        Session::None => 0,
        Session::New => {
            let told = answers.iter().map(|answer| (answer.asked.clone(), answer.told())).collect();
            let random = cx.broker.entropy.uuid().as_fields().0;
            let now = cx.broker.clock.monotonic();
            cx.broker.fetch_sessions.open(cx.version >= 13, told, now, random)
        }
        Session::Kept(session_id) => {
            keep_news(&cx, session_id, &mut answers);
            session_id
        }
    };
    respond(&cx, session_id, answers, &limits)
}

/// The session that an answer belongs to.
enum Session {
    None,
    New,
    Kept(i32),
}

/// About what the answer will take, as quotas count it.
fn answer_bytes(answers: &[Answer]) -> usize {
    let rows = answers.iter().filter(|answer| answer.length_bytes() > 0 || answer.is_urgent());
    HEAD_BYTES + rows.map(|answer| answer.length_bytes() + ROW_BYTES).sum::<usize>()
}

fn limits(cx: &Context, request: &FetchRequest) -> Limits {
    let reader = reader(cx, request);
    let mut bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(cx.broker.config.fetch_bytes_max);
    if matches!(reader, Reader::Consumer { .. })
        && let Some(allowed) = cx.broker.quotas.fetch_bytes_max(cx.client())
    {
        bytes_max = bytes_max.min(allowed);
    }
    Limits {
        bytes_max,
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max),
        deadline: cx.broker.clock.monotonic() + Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        bound: match reader {
            Reader::Consumer { .. } if request.isolation_level == READ_COMMITTED => FetchBound::LastStable,
            Reader::Consumer { .. } => FetchBound::HighWatermark,
            Reader::Follower(_) | Reader::Refused(_) => FetchBound::LogEnd,
        },
        reader,
        near: near(cx, request),
    }
}

/// The brokers that live in the consumer's rack (`RackAwareReplicaSelector`).
fn near(cx: &Context, request: &FetchRequest) -> Option<Arc<[BrokerId]>> {
    let rack = Some(request.rack_id.as_str()).filter(|rack| cx.broker.config.selects_replicas_by_rack && !rack.is_empty())?;
    let image = cx.broker.metadata.image();
    let near: Vec<BrokerId> = image.alive_brokers().filter(|broker| broker.rack.as_deref() == Some(rack)).map(|broker| broker.id).collect();
    Some(near.into()).filter(|near: &Arc<[BrokerId]>| !near.is_empty() && !near.contains(&cx.broker.config.broker_id))
}

fn reader(cx: &Context, request: &FetchRequest) -> Reader {
    let (replica_id, epoch) = match cx.version {
        15.. => (request.replica_state.replica_id.0, BrokerEpoch::new(request.replica_state.replica_epoch)),
        _ => (request.replica_id.0, None),
    };
    let Some(broker) = BrokerId::new(replica_id) else { return Reader::Consumer { leader_only: cx.version < 11 } };
    // A client that pretends to be a follower could acknowledge what no other broker has (CVE-2018-1288).
    if cx.listener() != cx.broker.config.inter_broker_listener {
        return Reader::Refused(ErrorCode::TopicAuthorizationFailed);
    }
    let image = cx.broker.metadata.image();
    match (image.broker(broker), epoch) {
        (Some(registered), Some(epoch)) if epoch < registered.epoch => Reader::Refused(ErrorCode::NotLeaderOrFollower),
        (Some(registered), Some(epoch)) => {
            let is_eligible = epoch == registered.epoch && registered.is_active();
            Reader::Follower(Follower { broker, broker_epoch: Some(epoch), is_eligible })
        }
        // Not known here yet, or too old to tell.
        (None, _) | (_, None) => Reader::Follower(Follower { broker, broker_epoch: epoch, is_eligible: false }),
    }
}

fn session_request(cx: &Context, request: FetchRequest) -> SessionRequest {
    let uses_ids = cx.version >= 13;
    let key = |name: &str, id: uuid::Uuid| if uses_ids { TopicKey::Id(TopicId(id)) } else { TopicKey::Name(name.into()) };
    let mut partitions: Vec<RequestedPartition> = Vec::new();
    let mut places = HashMap::new();
    for topic in &request.topics {
        let topic_key = key(topic.topic.as_str(), topic.topic_id);
        for partition in &topic.partitions {
            let asked = RequestedPartition {
                topic: topic_key.clone(),
                partition: partition.partition,
                fetch_offset: partition.fetch_offset,
                bytes_max: partition.partition_max_bytes,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            };
            // A partition named twice is one partition, and its last mention counts.
            let place = *places.entry((topic_key.clone(), partition.partition)).or_insert(partitions.len());
            match partitions.get_mut(place) {
                Some(earlier) => *earlier = asked,
                None => partitions.push(asked),
            }
        }
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let topic_key = key(topic.topic.as_str(), topic.topic_id);
        forgotten.extend(topic.partitions.iter().map(|partition| (topic_key.clone(), *partition)));
    }
    SessionRequest { session_id: request.session_id, epoch: request.session_epoch, uses_ids, partitions, forgotten }
}

/// Reads until there is enough, something urgent, or the deadline.
async fn gather(cx: &Context, partitions: Vec<RequestedPartition>, limits: &Limits) -> Vec<Answer> {
    let mut answers = read_where_it_may_wait(cx, &partitions, limits).await;
    if let Reader::Follower(follower) = limits.reader {
        answers.iter_mut().for_each(|answer| note_follower(cx, follower, answer));
    }
    if is_complete(cx, &answers, limits) {
        return answers;
    }
    // Registered before the second look, so that what comes in between is seen by that look and what comes after it wakes the wait.
    let parked = Parked::new(cx, &partitions, limits);
    loop {
        let answers = read_where_it_may_wait(cx, &partitions, limits).await;
        if is_complete(cx, &answers, limits) {
            return answers;
        }
        let _woken_or_due = timeout_at(&*cx.broker.clock, limits.deadline, parked.waiter.woken()).await;
    }
}

/// Tells a partition how far its follower is, once for each request.
fn note_follower(cx: &Context, follower: Follower, answer: &mut Answer) {
    let asked = &answer.asked;
    if let (Some(partition), Ok(PartitionRead { diverging: None, .. }), Some(offset)) =
        (&answer.partition, &answer.result, Offset::new(asked.fetch_offset))
    {
        let epoch = LeaderEpoch::new(asked.current_leader_epoch);
        if let Err(error) = partition.follower_fetched(follower, epoch, offset, cx.broker.clock.monotonic()) {
            answer.result = Err(error_codes::partition(&error));
        } else if let Ok(read) = &mut answer.result {
            // The high watermark may have moved by it.
            read.offsets = partition.offsets();
        }
    }
}

fn is_complete(cx: &Context, answers: &[Answer], limits: &Limits) -> bool {
    let bytes: usize = answers.iter().map(Answer::length_bytes).sum();
    // A new leader soon knows what its predecessor showed: no consumer is to see a high watermark go back.
    let is_vague = !limits.by_follower() && answers.iter().any(Answer::is_vague);
    answers.is_empty()
        || (bytes >= limits.bytes_min && !is_vague)
        || answers.iter().any(Answer::is_urgent)
        || cx.broker.clock.monotonic() >= limits.deadline
}

/// Drops from an incremental answer what the client knows, and moves what has records to the back of the session.
fn keep_news(cx: &Context, session_id: i32, answers: &mut Vec<Answer>) {
    let mut served = Vec::new();
    answers.retain(|answer| {
        let key = (answer.asked.topic.clone(), answer.asked.partition);
        let news = answer.length_bytes() > 0 || answer.is_urgent();
        let include = cx.broker.fetch_sessions.tell(session_id, &key, answer.told(), news, answer.result.is_err());
        if answer.length_bytes() > 0 {
            served.push(key);
        }
        include
    });
    cx.broker.fetch_sessions.rotate(session_id, &served);
}
