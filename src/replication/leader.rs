//! The leader's state of one partition: events in, effects out.

use std::collections::{BTreeMap, BTreeSet};

use model::{BrokerEpoch, BrokerId, LeaderEpoch, Offset};

use crate::epoch::{EpochCheck, check_epoch};
use crate::isr::{IsrProposal, IsrState};

/// Whether enough replicas are in sync for acks=all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MinIsr {
    /// Enough.
    Satisfied,
    /// Too few: NOT_ENOUGH_REPLICAS before an append, NOT_ENOUGH_REPLICAS_AFTER_APPEND before an acknowledgement.
    TooFew {
        /// How many are in sync.
        in_sync: usize,
        /// How many must be.
        required: usize,
    },
}

/// What the broker tells the leader's state. Times are of a monotonic clock, in milliseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The leader's own log has grown.
    LocalLogEnd(Offset),
    /// A follower has fetched: it has everything below its fetch offset.
    Fetched {
        /// The follower.
        broker: BrokerId,
        /// The offset that it asked for.
        offset: Offset,
        /// Whether the controller would take it in: alive, not stopping, and of the registration that fetches (KIP-841, KIP-903).
        eligible: bool,
        /// The time of the fetch.
        now_ms: u64,
    },
    /// Time to look for followers that have fallen behind.
    CheckLag {
        /// The time.
        now_ms: u64,
        /// `replica.lag.time.max.ms`.
        lag_max_ms: u64,
    },
    /// The controller's word on the partition: the answer to a proposal, or a change that it made by itself.
    Committed {
        /// The in-sync set.
        isr: BTreeSet<BrokerId>,
        /// The partition epoch.
        partition_epoch: i32,
    },
    /// The controller refused the proposal that rests on this partition epoch.
    Refused {
        /// The epoch of the proposal.
        partition_epoch: i32,
    },
}

/// What follows from an event.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Effects {
    /// The high watermark, if it moved.
    pub high_watermark: Option<Offset>,
    /// A change of the in-sync set to ask the controller for.
    pub propose: Option<IsrProposal>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Follower {
    log_end: Offset,
    /// When it last had all that the leader had.
    caught_up_ms: u64,
    last_fetch_ms: u64,
    /// The registration that it fetched as, if it said.
    broker_epoch: Option<BrokerEpoch>,
    /// The leader's log end at the last fetch: reaching it now means that the follower was caught up then.
    leader_end_at_last_fetch: Offset,
}

impl Follower {
    const fn new(now_ms: u64) -> Self {
        Self { log_end: Offset::ZERO, caught_up_ms: now_ms, last_fetch_ms: 0, broker_epoch: None, leader_end_at_last_fetch: Offset::MAX }
    }
}

/// A partition on the broker that leads it, for one leader epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaderState {
    broker_id: BrokerId,
    leader_epoch: LeaderEpoch,
    partition_epoch: i32,
    replica_count: usize,
    isr: IsrState,
    followers: BTreeMap<BrokerId, Follower>,
    log_end: Offset,
    /// Where the log ended when this term began: whoever has less may lack records that were committed in an earlier term.
    epoch_start: Offset,
    high_watermark: Offset,
    min_insync_replicas: usize,
}

impl LeaderState {
    /// The state at the begin of a term. `log_end` is the leader's log end then, `high_watermark` what it knew of it until now. With one
    /// replica, or when all of the in-sync set is this broker, the high watermark is at the log end at once.
    #[must_use]
    pub fn new(
        broker_id: BrokerId,
        state: &PartitionTerm<'_>,
        log_end: Offset,
        high_watermark: Offset,
        min_insync_replicas: usize,
    ) -> Self {
        // A term begins with the benefit of the doubt: lag is measured from now on.
        let follower = Follower::new(state.now_ms);
        let mut leader = Self {
            broker_id,
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            replica_count: state.replicas.len().max(1),
            // The leader is in sync with itself, whatever the set says.
            isr: IsrState::Committed(state.isr.iter().copied().chain([broker_id]).collect()),
            followers: state.replicas.iter().filter(|replica| **replica != broker_id).map(|replica| (*replica, follower)).collect(),
            log_end,
            epoch_start: state.epoch_start,
            high_watermark: high_watermark.min(log_end),
            min_insync_replicas,
        };
        let _moved = leader.advance_high_watermark();
        leader
    }

    /// Takes in what happened and says what follows.
    pub fn handle(&mut self, event: Event) -> Effects {
        match event {
            Event::LocalLogEnd(end) => self.log_end = self.log_end.max(end),
            Event::Fetched { broker, offset, eligible, now_ms } => return self.fetched(broker, offset, eligible, now_ms),
            Event::CheckLag { now_ms, lag_max_ms } => return self.check_lag(now_ms, lag_max_ms),
            Event::Committed { isr, partition_epoch } => {
                // IMPORTANT: the same word twice says nothing of a proposal that rests on it and may be taken yet.
                if partition_epoch > self.partition_epoch || (partition_epoch == self.partition_epoch && !self.isr.is_pending()) {
                    self.partition_epoch = partition_epoch;
                    self.isr = IsrState::Committed(isr.into_iter().chain([self.broker_id]).collect());
                }
            }
            Event::Refused { partition_epoch } => {
                if partition_epoch == self.partition_epoch && self.isr.is_pending() {
                    self.isr = IsrState::Committed(self.isr.committed().clone());
                }
            }
        }
        Effects { high_watermark: self.advance_high_watermark(), propose: None }
    }

    /// Takes in that the leader's own log has grown, and gives the high watermark.
    pub fn local_log_end_advanced(&mut self, end: Offset) -> Offset {
        self.handle(Event::LocalLogEnd(end));
        self.high_watermark
    }

    /// The offset below which all in-sync replicas have everything.
    #[must_use]
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The term.
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The in-sync set.
    #[must_use]
    pub const fn isr(&self) -> &IsrState {
        &self.isr
    }

    /// Whether the broker holds a replica, so that its fetches count.
    #[must_use]
    pub fn has_follower(&self, broker: BrokerId) -> bool {
        self.followers.contains_key(&broker)
    }

    /// Takes note of the registration that a follower fetches as. To be called before the fetch is handled. False if a later one has fetched in
    /// this term: what an earlier one had says nothing any more, its disk may be gone (KIP-903).
    #[must_use]
    pub fn note_broker_epoch(&mut self, broker: BrokerId, broker_epoch: Option<BrokerEpoch>) -> bool {
        let Some(follower) = self.followers.get_mut(&broker) else { return true };
        if broker_epoch.is_some() && broker_epoch < follower.broker_epoch {
            return false;
        }
        follower.broker_epoch = broker_epoch;
        true
    }

    /// The registrations that followers fetched as, in this term: a proposal speaks of these, not of what is registered by the time it reaches the
    /// controller, since a broker may have come back with an empty disk meanwhile (KIP-903).
    #[must_use]
    pub fn broker_epochs(&self) -> BTreeMap<BrokerId, BrokerEpoch> {
        let known = self.followers.iter().filter_map(|(broker, follower)| Some((*broker, follower.broker_epoch?)));
        known.collect()
    }

    /// Of the given brokers the follower that has most, if it has all before `offset`. In Kafka: `RackAwareReplicaSelector`.
    #[must_use]
    pub fn fullest_follower(&self, among: &[BrokerId], offset: Offset) -> Option<BrokerId> {
        let able = self.followers.iter().filter(|(broker, follower)| among.contains(broker) && follower.log_end >= offset);
        // Of several that have the same, always the same one.
        able.max_by_key(|(broker, follower)| (follower.log_end, std::cmp::Reverse(**broker))).map(|(broker, _)| *broker)
    }

    /// Whether others hold replicas.
    #[must_use]
    pub fn has_followers(&self) -> bool {
        !self.followers.is_empty()
    }

    /// Whether the high watermark has reached what was there when this term began: before that, an earlier leader may have shown more to
    /// consumers.
    #[must_use]
    pub fn has_current_high_watermark(&self) -> bool {
        self.high_watermark >= self.epoch_start
    }

    /// Takes changed replicas of the same term (a reassignment). What is known of those that stay is kept.
    pub fn set_replicas(&mut self, replicas: &[BrokerId], now_ms: u64) {
        self.replica_count = replicas.len().max(1);
        self.followers.retain(|broker, _| replicas.contains(broker));
        for replica in replicas.iter().filter(|replica| **replica != self.broker_id) {
            self.followers.entry(*replica).or_insert_with(|| Follower::new(now_ms));
        }
    }

    /// Compares the epoch of a request with this term.
    #[must_use]
    pub fn check_epoch(&self, asked: Option<LeaderEpoch>) -> EpochCheck {
        check_epoch(self.leader_epoch, asked)
    }

    /// Whether enough replicas are in sync for acks=all. To be asked before an append, and once more before it is acknowledged. More than
    /// there are replicas can never be required.
    #[must_use]
    pub fn min_isr(&self) -> MinIsr {
        let required = self.min_insync_replicas.min(self.replica_count);
        // Before the append the committed set counts: a proposed member may be refused.
        let in_sync = self.isr.committed().len();
        if in_sync >= required { MinIsr::Satisfied } else { MinIsr::TooFew { in_sync, required } }
    }

    /// Takes a changed `min.insync.replicas`.
    pub fn set_min_insync_replicas(&mut self, count: usize) -> Effects {
        self.min_insync_replicas = count;
        Effects { high_watermark: self.advance_high_watermark(), propose: None }
    }

    fn fetched(&mut self, broker: BrokerId, offset: Offset, eligible: bool, now_ms: u64) -> Effects {
        let log_end = self.log_end;
        // A broker that holds no replica tells nothing.
        let Some(follower) = self.followers.get_mut(&broker) else { return Effects::default() };
        if offset >= log_end {
            follower.caught_up_ms = follower.caught_up_ms.max(now_ms);
        } else if offset >= follower.leader_end_at_last_fetch {
            follower.caught_up_ms = follower.caught_up_ms.max(follower.last_fetch_ms);
        }
        follower.log_end = offset;
        follower.last_fetch_ms = now_ms;
        follower.leader_end_at_last_fetch = log_end;
        let joins = eligible && !self.isr.maximal().contains(&broker) && offset >= self.high_watermark && offset >= self.epoch_start;
        let propose = if joins { self.propose(|isr| isr.insert(broker)) } else { None };
        Effects { high_watermark: self.advance_high_watermark(), propose }
    }

    fn check_lag(&mut self, now_ms: u64, lag_max_ms: u64) -> Effects {
        let log_end = self.log_end;
        let is_behind = |follower: &Follower| follower.log_end != log_end && now_ms.saturating_sub(follower.caught_up_ms) > lag_max_ms;
        let behind: BTreeSet<BrokerId> =
            self.followers.iter().filter(|(_, follower)| is_behind(follower)).map(|(broker, _)| *broker).collect();
        if self.isr.committed().is_disjoint(&behind) {
            return Effects::default();
        }
        let propose = self.propose(|isr| {
            isr.retain(|member| !behind.contains(member));
            true
        });
        Effects { high_watermark: None, propose }
    }

    fn propose(&mut self, change: impl FnOnce(&mut BTreeSet<BrokerId>) -> bool) -> Option<IsrProposal> {
        if self.isr.is_pending() {
            return None;
        }
        let committed = self.isr.committed().clone();
        let mut proposed = committed.clone();
        if !change(&mut proposed) || proposed == committed {
            return None;
        }
        let proposal = IsrProposal { isr: proposed.clone(), partition_epoch: self.partition_epoch };
        self.isr = if proposed.len() > committed.len() {
            IsrState::PendingExpand { committed, proposed }
        } else {
            IsrState::PendingShrink { committed, proposed }
        };
        Some(proposal)
    }

    /// The high watermark is the least log end in the maximal in-sync set; `None` if that does not move it.
    fn advance_high_watermark(&mut self) -> Option<Offset> {
        if self.min_isr() != MinIsr::Satisfied {
            return None;
        }
        let ends = self.isr.maximal().iter().filter_map(|member| {
            if *member == self.broker_id { Some(self.log_end) } else { self.followers.get(member).map(|follower| follower.log_end) }
        });
        let least = ends.min().unwrap_or(self.log_end);
        let reached = least.min(self.log_end);
        (reached > self.high_watermark).then(|| {
            self.high_watermark = reached;
            reached
        })
    }
}

/// The controller's word on a partition at the begin of a term.
#[derive(Clone, Copy, Debug)]
pub struct PartitionTerm<'a> {
    /// The brokers that hold it.
    pub replicas: &'a [BrokerId],
    /// Those in sync.
    pub isr: &'a [BrokerId],
    /// The term.
    pub leader_epoch: LeaderEpoch,
    /// The partition epoch.
    pub partition_epoch: i32,
    /// Where the leader's log ends, also what does not count yet because it is on its way to the disk.
    pub epoch_start: Offset,
    /// The time, of a monotonic clock.
    pub now_ms: u64,
}
