//! Incremental fetch sessions (KIP-227): the broker remembers what a consumer fetches, so that a request names only what changed and an answer
//! holds only what is new.
//!
//! In Kafka: `FetchSession`, `FetchSessionCache`. Slots are bounded; when none is free a new session replaces the one unused the longest, if that
//! has been idle for [`EVICTION_MS`] or is smaller, else the client is served without a session.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use model::{TopicId, TopicName};
use parking_lot::Mutex;

/// A session unused for this long may be replaced (Kafka's `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
pub const EVICTION_MS: u64 = 120_000;

/// A partition as a fetch request names it: by id from version 13 on, by name before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicKey {
    /// By id.
    Id(TopicId),
    /// By name.
    Name(TopicName),
}

/// One partition of a fetch request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedPartition {
    /// The topic as the request names it.
    pub topic: TopicKey,
    /// The partition's number, as on the wire.
    pub partition: i32,
    /// The first offset wanted, as on the wire.
    pub fetch_offset: i64,
    /// The limit for this partition in bytes, as on the wire.
    pub bytes_max: i32,
    /// The reader's idea of the leader epoch, -1 for none.
    pub current_leader_epoch: i32,
    /// The epoch of the reader's last batch, -1 for none.
    pub last_fetched_epoch: i32,
}

/// What was last said about a partition, to know what is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The high watermark.
    pub high_watermark: i64,
    /// The log start offset.
    pub log_start: i64,
}

const NOTHING_TOLD: Told = Told { high_watermark: -1, log_start: -1 };

/// How a request stands to the sessions.
#[derive(Debug)]
pub enum SessionPlan {
    /// Answer in full; no session is kept (id 0).
    Sessionless(Vec<RequestedPartition>),
    /// Answer in full and open a session with these partitions, if a slot is free.
    Full(Vec<RequestedPartition>),
    /// Answer with news only.
    Incremental {
        /// The session's id.
        session_id: i32,
        /// All its partitions, in the order in which they are served.
        partitions: Vec<RequestedPartition>,
    },
}

/// Why a request does not fit its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRefusal {
    /// FETCH_SESSION_ID_NOT_FOUND.
    NotFound,
    /// INVALID_FETCH_SESSION_EPOCH.
    WrongEpoch,
    /// FETCH_SESSION_TOPIC_ID_ERROR: the session was made by names and the request uses ids, or the other way round.
    KeyStyle,
}

struct Session {
    epoch: i32,
    uses_ids: bool,
    last_used: Duration,
    partitions: IndexMap<(TopicKey, i32), (RequestedPartition, Told)>,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<i32, Session>,
}

/// All sessions of a broker.
#[derive(Clone)]
pub struct FetchSessions {
    slots: usize,
    inner: Arc<Mutex<Inner>>,
}

/// A request's session fields and partitions.
#[derive(Debug)]
pub struct SessionRequest {
    /// The wire's session id.
    pub session_id: i32,
    /// The wire's session epoch.
    pub epoch: i32,
    /// Whether the request's version names topics by id.
    pub uses_ids: bool,
    /// Partitions added or changed.
    pub partitions: Vec<RequestedPartition>,
    /// Partitions to forget.
    pub forgotten: Vec<(TopicKey, i32)>,
}

impl FetchSessions {
    /// No sessions, and room for `slots`.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { slots, inner: Arc::new(Mutex::new(Inner::default())) }
    }

    /// How many sessions are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.lock().sessions.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decides how to answer, and updates the session that the request belongs to.
    ///
    /// # Errors
    /// When the request does not fit its session; the client then starts a new one.
    pub fn plan(&self, request: SessionRequest, now: Duration) -> Result<SessionPlan, SessionRefusal> {
        let mut inner = self.inner.lock();
        match (request.session_id, request.epoch) {
            (id, -1) => {
                inner.sessions.remove(&id);
                Ok(SessionPlan::Sessionless(request.partitions))
            }
            (id, 0) => {
                inner.sessions.remove(&id);
                Ok(SessionPlan::Full(request.partitions))
            }
            (id, epoch) => {
                let session = inner.sessions.get_mut(&id).ok_or(SessionRefusal::NotFound)?;
                if session.epoch != epoch {
                    return Err(SessionRefusal::WrongEpoch);
                }
                if session.uses_ids != request.uses_ids {
                    return Err(SessionRefusal::KeyStyle);
                }
                session.epoch = next_epoch(epoch);
                session.last_used = now;
                for partition in request.partitions {
                    let key = (partition.topic.clone(), partition.partition);
                    match session.partitions.get_mut(&key) {
                        Some((known, _)) => *known = partition,
                        None => {
                            session.partitions.insert(key, (partition, NOTHING_TOLD));
                        }
                    }
                }
                for key in &request.forgotten {
                    session.partitions.shift_remove(key);
                }
                let partitions = session.partitions.values().map(|(partition, _)| partition.clone()).collect();
                Ok(SessionPlan::Incremental { session_id: id, partitions })
            }
        }
    }

    /// Opens a session for a full fetch that has just been answered. Returns its id, 0 if there is no room. `random` makes the id hard to guess.
    pub fn open(&self, uses_ids: bool, answered: Vec<(RequestedPartition, Told)>, now: Duration, random: u32) -> i32 {
        if answered.is_empty() {
            return 0;
        }
        let mut inner = self.inner.lock();
        if inner.sessions.len() >= self.slots && !evict(&mut inner, answered.len(), now) {
            return 0;
        }
        let mut id = i32::try_from(random & 0x7fff_ffff).unwrap_or(1).max(1);
        while inner.sessions.contains_key(&id) {
            id = if id == i32::MAX { 1 } else { id + 1 };
        }
        let partitions =
            answered.into_iter().map(|(partition, told)| ((partition.topic.clone(), partition.partition), (partition, told))).collect();
        inner.sessions.insert(id, Session { epoch: 1, uses_ids, last_used: now, partitions });
        id
    }

    /// Decides whether an incremental answer must hold a partition, and remembers what it says. `news` is set when the answer holds records, an
    /// error or a divergence anyway; `failed` forgets what was told, so that the next answer speaks again.
    pub fn tell(&self, session_id: i32, key: &(TopicKey, i32), told: Told, news: bool, failed: bool) -> bool {
        let mut inner = self.inner.lock();
        let Some(session) = inner.sessions.get_mut(&session_id) else { return true };
        let Some((_, known)) = session.partitions.get_mut(key) else { return true };
        let include = news || *known != told;
        *known = if failed { NOTHING_TOLD } else { told };
        include
    }

    /// Moves partitions that returned records to the back, so that the others are served first next time.
    pub fn rotate(&self, session_id: i32, keys: &[(TopicKey, i32)]) {
        let mut inner = self.inner.lock();
        let Some(session) = inner.sessions.get_mut(&session_id) else { return };
        for key in keys {
            if let Some(value) = session.partitions.shift_remove(key) {
                session.partitions.insert(key.clone(), value);
            }
        }
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// Makes room for a session of `size` partitions. Returns whether it could.
fn evict(inner: &mut Inner, size: usize, now: Duration) -> bool {
    let Some((&id, oldest)) = inner.sessions.iter().min_by_key(|(_, session)| session.last_used) else { return false };
    let idle = now.saturating_sub(oldest.last_used) > Duration::from_millis(EVICTION_MS);
    if !idle && oldest.partitions.len() >= size {
        return false;
    }
    inner.sessions.remove(&id);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn partition(number: i32, offset: i64) -> RequestedPartition {
        RequestedPartition {
            topic: TopicKey::Name("t".into()),
            partition: number,
            fetch_offset: offset,
            bytes_max: 1,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        }
    }

    fn request(session_id: i32, epoch: i32, partitions: Vec<RequestedPartition>) -> SessionRequest {
        SessionRequest { session_id, epoch, uses_ids: false, partitions, forgotten: Vec::new() }
    }

    fn opened(sessions: &FetchSessions) -> i32 {
        let told = Told { high_watermark: 5, log_start: 0 };
        sessions.open(false, vec![(partition(0, 0), told), (partition(1, 0), told)], NOW, 7)
    }

    #[test]
    fn an_incremental_request_keeps_the_partitions_it_does_not_name() {
        let sessions = FetchSessions::new(10);
        let id = opened(&sessions);
        let Ok(SessionPlan::Incremental { partitions, .. }) = sessions.plan(request(id, 1, vec![partition(1, 9)]), NOW) else { panic!() };
        assert_eq!(partitions, vec![partition(0, 0), partition(1, 9)]);
        assert_eq!(sessions.plan(request(id, 1, vec![]), NOW).err(), Some(SessionRefusal::WrongEpoch));
        assert!(sessions.plan(request(id, 2, vec![]), NOW).is_ok());
    }

    #[test]
    fn an_unknown_session_and_a_change_of_key_style_are_refused() {
        let sessions = FetchSessions::new(10);
        let id = opened(&sessions);
        assert_eq!(sessions.plan(request(id + 1, 1, vec![]), NOW).err(), Some(SessionRefusal::NotFound));
        let by_id = SessionRequest { uses_ids: true, ..request(id, 1, vec![]) };
        assert_eq!(sessions.plan(by_id, NOW).err(), Some(SessionRefusal::KeyStyle));
    }

    #[test]
    fn only_news_is_told_and_an_error_is_told_again() {
        let sessions = FetchSessions::new(10);
        let id = opened(&sessions);
        let key = (TopicKey::Name("t".into()), 0);
        let told = Told { high_watermark: 5, log_start: 0 };
        assert!(!sessions.tell(id, &key, told, false, false));
        assert!(sessions.tell(id, &key, Told { high_watermark: 6, log_start: 0 }, false, false));
        assert!(sessions.tell(id, &key, told, true, true));
        assert!(sessions.tell(id, &key, told, false, false));
    }

    #[test]
    fn a_session_in_use_is_replaced_only_by_a_larger_one() {
        let sessions = FetchSessions::new(1);
        let first = opened(&sessions);
        let told = NOTHING_TOLD;
        assert_eq!(sessions.open(false, vec![(partition(0, 0), told)], NOW, 9), 0);
        let later = NOW + Duration::from_millis(EVICTION_MS + 1);
        let second = sessions.open(false, vec![(partition(0, 0), told)], later, 9);
        assert_ne!(second, 0);
        assert_eq!(sessions.plan(request(first, 1, vec![]), later).err(), Some(SessionRefusal::NotFound));
    }

    #[test]
    fn served_partitions_go_to_the_back() {
        let sessions = FetchSessions::new(1);
        let id = opened(&sessions);
        sessions.rotate(id, &[(TopicKey::Name("t".into()), 0)]);
        let Ok(SessionPlan::Incremental { partitions, .. }) = sessions.plan(request(id, 1, vec![]), NOW) else { panic!() };
        assert_eq!(partitions.iter().map(|p| p.partition).collect::<Vec<_>>(), vec![1, 0]);
    }
}
