//! Which brokers the active controller holds for alive (`BrokerHeartbeatManager`).
//!
//! This is the one part of the controller's knowledge that is not in the metadata log: a new active controller begins with everybody who is
//! not fenced, as if heard of just now. Times are milliseconds of the controller's own monotonic clock, handed in.

use std::collections::BTreeMap;

use model::{BrokerEpoch, BrokerId};

use crate::image::{Broker, Image};

/// What is known of one broker's run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Session {
    /// Of which registration this is.
    epoch: BrokerEpoch,
    /// Whether this controller has heard of the broker itself.
    is_heard: bool,
    /// Whether the broker's connections were closed since it was heard of last.
    is_lost: bool,
    /// From when on the broker counts as dead.
    deadline_ms: u64,
    /// Up to where the broker has the metadata log; 0 before it said so.
    metadata_index: u64,
    /// What all others must have applied before the broker may stop: the log as it was when its partitions had moved away.
    shutdown_index: Option<u64>,
}

/// The sessions of all brokers that are not fenced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerSessions {
    /// The controller's own broker, which lives as long as anybody asks here.
    own: BrokerId,
    timeout_ms: u64,
    sessions: BTreeMap<BrokerId, Session>,
}

impl BrokerSessions {
    /// The sessions as a controller that has just become active must see them: it has not heard of anybody yet, so each broker has the whole
    /// of `broker.session.timeout.ms` from now.
    #[must_use]
    pub fn begin(own: BrokerId, image: &Image, timeout_ms: u64, now_ms: u64) -> Self {
        let mut sessions = Self { own, timeout_ms, sessions: BTreeMap::new() };
        sessions.follow(image, now_ms);
        for session in sessions.sessions.values_mut() {
            session.is_heard = false;
        }
        sessions
    }

    /// Takes over who is not fenced now, with which epoch. Whoever is new has been heard of at this moment.
    pub fn follow(&mut self, image: &Image, now_ms: u64) {
        self.sessions.retain(|id, session| image.broker(*id).is_some_and(|broker| !broker.fenced && broker.epoch == session.epoch));
        for broker in image.alive_brokers() {
            self.session(broker, now_ms);
        }
    }

    /// The broker lives, and has the metadata log up to an index.
    pub fn touch(&mut self, broker: &Broker, metadata_index: u64, now_ms: u64) {
        let deadline_ms = now_ms.saturating_add(self.timeout_ms);
        let session = self.session(broker, now_ms);
        session.is_heard = true;
        session.is_lost = false;
        session.deadline_ms = session.deadline_ms.max(deadline_ms);
        session.metadata_index = session.metadata_index.max(metadata_index);
    }

    /// The broker's connection to the controller was closed, as the operating system does for a process that died: unless it is heard of again
    /// within the grace, it is dead. Of an earlier registration this means nothing.
    pub fn contact_lost(&mut self, id: BrokerId, epoch: BrokerEpoch, now_ms: u64, grace_ms: u64) {
        if let Some(session) = self.sessions.get_mut(&id).filter(|session| session.epoch == epoch) {
            session.is_lost = true;
            session.deadline_ms = session.deadline_ms.min(now_ms.saturating_add(grace_ms));
        }
    }

    /// The others that may be dead for all that this controller knows: it has not heard of them yet, or their connections were closed. Whether
    /// anything listens at their address can be found out at once.
    #[must_use]
    pub fn suspects(&self) -> Vec<(BrokerId, BrokerEpoch)> {
        let suspects = self.others().filter(|(_, session)| !session.is_heard || session.is_lost);
        suspects.map(|(id, session)| (*id, session.epoch)).collect()
    }

    /// Whether a broker is known to be alive. Of whom a new controller has not heard it is only supposed: after a start of the whole cluster
    /// the next run of such a broker must not have to wait for the end of a session of the last.
    #[must_use]
    pub fn is_alive(&self, id: BrokerId, now_ms: u64) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.is_heard && session.deadline_ms > now_ms)
    }

    /// The broker that has been dead for the longest time. One after the other: the partitions of the next one are looked at when those of
    /// this one have their new leaders.
    #[must_use]
    pub fn over(&self, now_ms: u64) -> Option<BrokerId> {
        let dead = self.others().filter(|(_, session)| session.deadline_ms <= now_ms);
        dead.min_by_key(|(id, session)| (session.deadline_ms, **id)).map(|(id, _)| *id)
    }

    /// Whether a broker that is not fenced is dead.
    #[must_use]
    pub fn is_over(&self, id: BrokerId, now_ms: u64) -> bool {
        self.others().any(|(other, session)| *other == id && session.deadline_ms <= now_ms)
    }

    /// When to look next, if anybody is there to be looked at.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.others().map(|(_, session)| session.deadline_ms).min()
    }

    fn others(&self) -> impl Iterator<Item = (&BrokerId, &Session)> {
        self.sessions.iter().filter(|(id, _)| **id != self.own)
    }

    /// The partitions of a broker that wants to stop had moved away at this index of the log. The first word counts.
    pub(crate) fn shutting_down_since(&mut self, id: BrokerId, index: u64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.shutdown_index.get_or_insert(index);
        }
    }

    /// Whether everybody who stays knows where the partitions of a stopping broker went. False as long as that is not begun.
    pub(crate) fn others_know_of_shutdown(&self, image: &Image, id: BrokerId) -> bool {
        let Some(index) = self.sessions.get(&id).and_then(|session| session.shutdown_index) else { return false };
        let mut staying = image.brokers().filter(|broker| broker.id != id && broker.is_active());
        staying.all(|broker| self.sessions.get(&broker.id).is_some_and(|session| session.metadata_index >= index))
    }

    fn session(&mut self, broker: &Broker, now_ms: u64) -> &mut Session {
        let fresh = Session {
            epoch: broker.epoch,
            is_heard: true,
            is_lost: false,
            deadline_ms: now_ms.saturating_add(self.timeout_ms),
            metadata_index: 0,
            shutdown_index: None,
        };
        let session = self.sessions.entry(broker.id).or_insert(fresh);
        if session.epoch != broker.epoch {
            *session = fresh;
        }
        session
    }
}
