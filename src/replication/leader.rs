//! The leader's view of its replicas.

use std::collections::BTreeMap;

use model::{BrokerId, LeaderEpoch, Offset};

use crate::isr::Isr;

/// Whether enough replicas are in sync for acks=all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinIsr {
    /// Enough are.
    Satisfied,
    /// Fewer than asked.
    Short {
        /// How many are in sync.
        in_sync: usize,
        /// How many are asked for.
        required: usize,
    },
}

/// What a leader knows of one partition during one epoch.
#[derive(Debug, Clone)]
pub struct LeaderState {
    broker_id: BrokerId,
    replica_count: usize,
    leader_epoch: LeaderEpoch,
    isr: Isr,
    log_ends: BTreeMap<BrokerId, Offset>,
    high_watermark: Offset,
}

impl LeaderState {
    /// The state at the start of an epoch: of the followers nothing is known yet, so they count from the log's `high_watermark` as last known.
    #[must_use]
    pub fn new(broker_id: BrokerId, replicas: &[BrokerId], isr: &[BrokerId], leader_epoch: LeaderEpoch, high_watermark: Offset) -> Self {
        let isr = Isr::Committed(isr.iter().copied().collect());
        Self { broker_id, replica_count: replicas.len(), leader_epoch, isr, log_ends: BTreeMap::new(), high_watermark }
    }

    /// The epoch.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The in-sync replicas.
    #[must_use]
    pub fn isr(&self) -> &Isr {
        &self.isr
    }

    /// The high watermark as decided last.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Whether acks=all may be taken under this `min.insync.replicas`.
    #[must_use]
    pub fn min_isr(&self, min_insync_replicas: usize) -> MinIsr {
        let required = min_insync_replicas.min(self.replica_count);
        let in_sync = self.isr.committed().len();
        if in_sync >= required { MinIsr::Satisfied } else { MinIsr::Short { in_sync, required } }
    }

    /// This broker's own log has grown. Returns the high watermark that follows.
    pub fn local_log_end_advanced(&mut self, log_end: Offset) -> Offset {
        self.log_end_advanced(self.broker_id, log_end)
    }

    /// A follower has said how far its log goes. Returns the high watermark that follows.
    pub fn follower_log_end_advanced(&mut self, follower: BrokerId, log_end: Offset) -> Offset {
        self.log_end_advanced(follower, log_end)
    }

    fn log_end_advanced(&mut self, replica: BrokerId, log_end: Offset) -> Offset {
        let known = self.log_ends.entry(replica).or_insert(Offset::ZERO);
        *known = (*known).max(log_end);
        let smallest = self.isr.maximal().map(|id| self.log_ends.get(&id).copied().unwrap_or(Offset::ZERO)).min();
        self.high_watermark = self.high_watermark.max(smallest.unwrap_or(Offset::ZERO));
        self.high_watermark
    }

    /// The controller has committed a new in-sync set.
    pub fn isr_committed(&mut self, isr: &[BrokerId]) -> Offset {
        self.isr = Isr::Committed(isr.iter().copied().collect());
        let local = self.log_ends.get(&self.broker_id).copied().unwrap_or(Offset::ZERO);
        self.log_end_advanced(self.broker_id, local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: i32) -> BrokerId {
        BrokerId::new_or_zero(id)
    }

    fn offset(value: i64) -> Offset {
        Offset::new_or_zero(value)
    }

    fn leader(replicas: &[BrokerId], isr: &[BrokerId]) -> LeaderState {
        LeaderState::new(id(1), replicas, isr, LeaderEpoch::ZERO, Offset::ZERO)
    }

    #[test]
    fn with_one_replica_the_high_watermark_is_the_log_end() {
        let mut leader = leader(&[id(1)], &[id(1)]);
        assert_eq!(leader.local_log_end_advanced(offset(7)), offset(7));
    }

    #[test]
    fn the_high_watermark_waits_for_the_slowest_in_sync_replica() {
        let mut leader = leader(&[id(1), id(2)], &[id(1), id(2)]);
        assert_eq!(leader.local_log_end_advanced(offset(7)), offset(0));
        assert_eq!(leader.follower_log_end_advanced(id(2), offset(5)), offset(5));
    }

    #[test]
    fn a_replica_out_of_sync_holds_nothing_back() {
        let mut leader = leader(&[id(1), id(2)], &[id(1), id(2)]);
        leader.local_log_end_advanced(offset(7));
        assert_eq!(leader.isr_committed(&[id(1)]), offset(7));
    }

    #[test]
    fn a_late_lower_log_end_moves_nothing_back() {
        let mut leader = leader(&[id(1)], &[id(1)]);
        leader.local_log_end_advanced(offset(7));
        assert_eq!(leader.local_log_end_advanced(offset(3)), offset(7));
    }

    #[test]
    fn min_isr_is_capped_by_the_replica_count() {
        let leader = leader(&[id(1)], &[id(1)]);
        assert_eq!(leader.min_isr(3), MinIsr::Satisfied);
        let short = LeaderState::new(id(1), &[id(1), id(2)], &[id(1)], LeaderEpoch::ZERO, Offset::ZERO);
        assert_eq!(short.min_isr(2), MinIsr::Short { in_sync: 1, required: 2 });
    }
}
