//! The follower's end of a fetch session (KIP-227): what the leader remembers of the last request, so that the next one names only what changed.
//!
//! In Kafka: `FetchSessionHandler`. The leader's end is [`crate::fetch_session`].

use std::collections::BTreeMap;

use model::TopicIdPartition;
use replication::FetchPosition;

/// The epoch of a request that begins a session, and names everything.
const FULL: i32 = 0;

/// The session with one leader.
#[derive(Debug, Default)]
pub(super) struct FetcherSession {
    /// 0 if the leader has none for us. One that is given up is named once more, so that the leader can end it.
    id: i32,
    /// Of the next request.
    epoch: i32,
    /// What the leader remembers.
    known: BTreeMap<TopicIdPartition, FetchPosition>,
}

/// What a request says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) session_id: i32,
    pub(super) epoch: i32,
    pub(super) positions: Vec<(TopicIdPartition, FetchPosition)>,
    pub(super) forgotten: Vec<TopicIdPartition>,
}

impl FetcherSession {
    /// The request that lets the leader know that just these positions are wanted.
    pub(super) fn ask(&mut self, wanted: &[(TopicIdPartition, FetchPosition)]) -> Named {
        let (session_id, epoch) = (self.id, self.epoch);
        let all: BTreeMap<_, _> = wanted.iter().copied().collect();
        let is_new = |(id, position): &&(TopicIdPartition, FetchPosition)| epoch == FULL || self.known.get(id) != Some(position);
        let positions = wanted.iter().filter(is_new).copied().collect();
        let forgotten = self.known.keys().filter(|id| epoch != FULL && !all.contains_key(id)).copied().collect();
        self.known = all;
        Named { session_id, epoch, positions, forgotten }
    }

    /// The leader has answered, and says which session that was; 0 if it keeps none.
    pub(super) fn answered(&mut self, session_id: i32) {
        if session_id == 0 {
            return self.give_up();
        }
        self.id = session_id;
        self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
    }

    /// What the leader remembers is not known any more, or is to be told anew: the next request begins another session.
    pub(super) fn give_up(&mut self) {
        self.epoch = FULL;
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{LeaderEpoch, Offset, PartitionIndex, TopicId};

    use super::*;
    use crate::fetch_session::{FetchSessions, RequestedPartition, SessionPlan, SessionRequest, Told, TopicKey};

    const NOW: Duration = Duration::from_secs(1);

    fn wanted(offsets: &[(i32, i64)]) -> Vec<(TopicIdPartition, FetchPosition)> {
        let row = |&(partition, offset): &(i32, i64)| {
            let partition = PartitionIndex::new(partition).unwrap();
            let position = FetchPosition {
                offset: Offset::new(offset).unwrap(),
                current_leader_epoch: LeaderEpoch::ZERO,
                last_fetched_epoch: None,
                log_start: Offset::ZERO,
            };
            (TopicIdPartition { topic_id: TopicId(uuid::Uuid::from_u128(7)), partition }, position)
        };
        offsets.iter().map(row).collect()
    }

    /// The leader, by its own code: which offsets it reads for this request, and what it says of the session.
    fn leader(sessions: &FetchSessions, named: Named) -> Option<(Vec<(i32, i64)>, i32)> {
        let key = |id: TopicIdPartition| (TopicKey::Id(id.topic_id), id.partition.get());
        let requested = |(id, position): (TopicIdPartition, FetchPosition)| {
            let (topic, partition) = key(id);
            let fetch_offset = position.offset.get();
            RequestedPartition { topic, partition, fetch_offset, bytes_max: 1, current_leader_epoch: 0, last_fetched_epoch: -1 }
        };
        let request = SessionRequest {
            session_id: named.session_id,
            epoch: named.epoch,
            uses_ids: true,
            partitions: named.positions.into_iter().map(requested).collect(),
            forgotten: named.forgotten.into_iter().map(key).collect(),
        };
        let (partitions, id) = match sessions.plan(request, NOW).ok()? {
            SessionPlan::Sessionless(partitions) => (partitions, 0),
            SessionPlan::Full(partitions) => {
                let told = Told { high_watermark: 0, log_start: 0 };
                let id = sessions.open(true, partitions.iter().map(|partition| (partition.clone(), told)).collect(), NOW, 9);
                (partitions, id)
            }
            SessionPlan::Incremental { session_id, partitions } => (partitions, session_id),
        };
        let mut read: Vec<_> = partitions.iter().map(|partition| (partition.partition, partition.fetch_offset)).collect();
        read.sort_unstable();
        Some((read, id))
    }

    #[test]
    fn the_leader_reads_what_is_wanted_whatever_was_wanted_before() {
        let (sessions, mut session) = (FetchSessions::new(5), FetcherSession::default());
        let histories: [&[(i32, i64)]; 6] =
            [&[(0, 0), (1, 0), (2, 5)], &[(0, 3), (1, 0), (2, 5)], &[(1, 0)], &[(1, 0), (2, 5), (3, 1)], &[(3, 0)], &[(0, 4), (3, 0)]];
        for offsets in histories {
            let named = session.ask(&wanted(offsets));
            let (read, id) = leader(&sessions, named).expect("it fits the session");
            assert_eq!(read, offsets);
            session.answered(id);
        }
        assert_eq!(sessions.len(), 1);
    }

    #[test]
    fn a_request_names_what_changed_and_what_is_wanted_no_more() {
        let mut session = FetcherSession::default();
        session.ask(&wanted(&[(0, 0), (1, 0), (2, 0)]));
        session.answered(9);
        let named = session.ask(&wanted(&[(0, 0), (1, 8)]));
        let forgotten = vec![wanted(&[(2, 0)])[0].0];
        assert_eq!(named, Named { session_id: 9, epoch: 1, positions: wanted(&[(1, 8)]), forgotten });
    }

    #[test]
    fn a_session_that_the_leader_does_not_know_is_followed_by_another_one() {
        let (sessions, mut session) = (FetchSessions::new(5), FetcherSession::default());
        session.ask(&wanted(&[(0, 0)]));
        session.answered(12345);
        let named = session.ask(&wanted(&[(0, 1)]));
        assert_eq!(leader(&sessions, named), None);
        session.give_up();
        let named = session.ask(&wanted(&[(0, 1)]));
        assert_eq!(leader(&sessions, named), Some((vec![(0, 1)], 9)));
    }

    #[test]
    fn a_leader_without_room_for_a_session_is_told_everything_each_time() {
        let (sessions, mut session) = (FetchSessions::new(0), FetcherSession::default());
        for offsets in [[(0, 0), (1, 0)], [(0, 1), (1, 0)]] {
            let named = session.ask(&wanted(&offsets));
            let (read, id) = leader(&sessions, named).expect("there is none to fit");
            assert_eq!((read, id), (offsets.to_vec(), 0));
            session.answered(id);
        }
    }
}
