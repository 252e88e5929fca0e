//! One partition on this broker: its log, its offsets, its leader's state.
//!
//! Locks: `role` is held while the partition changes between leading and following and while a follower's log is cut, so that nobody cuts the log
//! of a leader; `state` is held for a few instructions and never across I/O or another lock, except that waiters are woken after it is released.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use log_store::{Appends, CompactionRules, LogConfig, LogToClean, PartitionLog, ProducerSnapshot};
use metadata::configs::TopicConfig;
use model::{BrokerId, LeaderEpoch, LogOffsets, Offset, TopicIdPartition, TopicName};
use parking_lot::Mutex;
use replication::{EpochCheck, LeaderState, check_epoch};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::purgatory::WatchList;

use super::append::AppendOutcome;
use super::isr::ProposalSender;
use super::traffic::Traffic;

/// Why a partition does not serve a request.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PartitionError {
    /// The partition was deleted, or this broker does not lead it.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// The request's leader epoch is older than the partition's.
    #[error("the request's leader epoch is older than the partition's")]
    FencedLeaderEpoch,
    /// The request's leader epoch is newer than the partition's.
    #[error("the request's leader epoch is newer than the partition's")]
    UnknownLeaderEpoch,
    /// The offset lies outside the log.
    #[error("the offset lies outside {log_start}..{log_end}")]
    OffsetOutOfRange {
        /// The log's first offset.
        log_start: Offset,
        /// The log's end.
        log_end: Offset,
    },
    /// The high watermark has not reached what was there when this broker began to lead: an earlier leader may have told more.
    #[error("the high watermark is not known yet")]
    OffsetNotAvailable,
    /// Bytes on disk are not what was written.
    #[error("the stored bytes are damaged")]
    Corrupt,
    /// The disk refused.
    #[error("the partition's storage failed")]
    Storage,
}

pub(super) struct State {
    /// The same as the partition's, which knows the open transactions.
    pub(super) log: PartitionLog,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) leads: bool,
    /// Whether its service has ended.
    pub(super) is_closed: bool,
    /// The first term of the time for which it has led without a break; what was appended before is not this leader's to acknowledge.
    pub(super) leads_since: LeaderEpoch,
    pub(super) offsets: LogOffsets,
    pub(super) replication: Option<LeaderState>,
    /// acks=all requests that wait for the high watermark, in the order of their appends.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) config: Arc<TopicConfig>,
}

pub(super) struct Waiting {
    pub(super) required: Offset,
    pub(super) outcome: AppendOutcome,
    pub(super) reply: oneshot::Sender<Result<AppendOutcome, super::AppendRefusal>>,
}

/// What all partitions of a broker share.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) broker_id: BrokerId,
    pub(super) appends: Appends,
    pub(super) proposals: ProposalSender,
}

/// One partition. Shared by handlers, the committer's callbacks and the metadata observer.
pub struct Partition {
    topic: TopicName,
    pub(super) broker_id: BrokerId,
    pub(super) log: PartitionLog,
    /// Not the store: what an append calls at its end holds the partition.
    pub(super) appends: Appends,
    pub(super) role: Mutex<()>,
    pub(super) state: Mutex<State>,
    pub(super) traffic: Traffic,
    pub(super) proposals: ProposalSender,
    /// Parked fetches of consumers, woken when the high watermark moves.
    pub watchers: WatchList,
    /// Parked fetches of other brokers, woken when the log's end moves.
    pub follower_watchers: Arc<WatchList>,
}

impl Partition {
    pub(super) fn new(topic: TopicName, log: PartitionLog, config: Arc<TopicConfig>, traffic: Traffic, home: Home) -> Self {
        let Home { broker_id, appends, proposals } = home;
        let offsets = LogOffsets::opened(log.log_start_offset(), log.log_end_offset());
        let state = State {
            log: log.clone(),
            leader_epoch: LeaderEpoch::ZERO,
            leads: false,
            is_closed: false,
            leads_since: LeaderEpoch::ZERO,
            offsets,
            replication: None,
            waiting: VecDeque::new(),
            config,
        };
        let (watchers, follower_watchers) = (WatchList::default(), Arc::default());
        let (role, state) = (Mutex::default(), Mutex::new(state));
        Self { topic, broker_id, log, appends, role, state, traffic, proposals, watchers, follower_watchers }
    }

    /// The partition's id.
    #[must_use]
    pub fn id(&self) -> TopicIdPartition {
        self.log.id()
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The bytes that its log takes on disk.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }

    /// How many segments its log has.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.log.segment_count()
    }

    /// What it counts, for its topic and for all.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Whether its log takes no more writes after a failure.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.log.is_poisoned()
    }

    /// Appends that wait for the high watermark at this moment.
    #[must_use]
    pub fn parked_appends(&self) -> u64 {
        u64::try_from(self.state.lock().waiting.len()).unwrap_or(u64::MAX)
    }

    /// Its four offsets at this moment.
    #[must_use]
    pub fn offsets(&self) -> LogOffsets {
        let mut state = self.state.lock();
        // A check of retention moves the log's start first: what reads refuse must not be told as the earliest offset.
        state.offsets.advance_log_start(self.log.log_start_offset());
        state.offsets
    }

    /// The epoch under which it is led now.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.state.lock().leader_epoch
    }

    /// The topic's configuration as it is now.
    #[must_use]
    pub fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.state.lock().config)
    }

    /// The idempotent producers that the log knows.
    #[must_use]
    pub fn active_producers(&self) -> Vec<ProducerSnapshot> {
        self.log.active_producers()
    }

    /// Moves the log's start forward to `before` (`None`: to the high watermark) and returns where it is then. The next check of retention gives
    /// the space back. It waits for the disk, so it must not run on a network worker.
    ///
    /// # Errors
    /// An offset beyond the high watermark, a partition that this broker does not lead, or a disk that refuses.
    pub fn delete_records(&self, before: Option<Offset>) -> Result<Offset, PartitionError> {
        self.check_leader(None)?;
        let offsets = self.offsets();
        let before = before.unwrap_or(offsets.high_watermark());
        if before > offsets.high_watermark() {
            return Err(PartitionError::OffsetOutOfRange { log_start: offsets.log_start(), log_end: offsets.log_end() });
        }
        self.log.advance_log_start(before).map_err(|error| {
            tracing::error!(partition = %self.id(), %error, "the log's start cannot be moved");
            PartitionError::Storage
        })?;
        Ok(self.take_log_start())
    }

    /// Takes over where the log begins now.
    pub(super) fn take_log_start(&self) -> Offset {
        let mut state = self.state.lock();
        state.offsets.advance_log_start(self.log.log_start_offset());
        state.offsets.log_start()
    }

    /// What the log cleaner needs to know, if the topic is compacted and the log takes writes.
    #[must_use]
    pub fn to_clean(&self) -> Option<LogToClean> {
        let state = self.state.lock();
        let config = &*state.config;
        if !config.compact || self.is_offline() {
            return None;
        }
        let rules = CompactionRules {
            delete_retention_ms: config.delete_retention_ms,
            min_compaction_lag_ms: config.min_compaction_lag_ms,
            max_compaction_lag_ms: config.max_compaction_lag_ms,
            min_cleanable_dirty_ratio: config.min_cleanable_dirty_ratio,
            segment_bytes: config.segment_bytes,
        };
        Some(LogToClean { log: self.log.clone(), rules, last_stable_offset: state.offsets.last_stable() })
    }

    /// So long its dropped files stay (`file.delete.delay.ms`).
    pub(crate) fn file_delete_delay(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.config().file_delete_delay_ms).unwrap_or(0))
    }

    /// Checks the request's leader epoch (KIP-320) first and leadership second, as Kafka does.
    ///
    /// # Errors
    /// The refusal that the client must see.
    pub fn check_leader(&self, requested: Option<LeaderEpoch>) -> Result<(), PartitionError> {
        match check_epoch(self.leader_epoch(), requested) {
            EpochCheck::Fenced => Err(PartitionError::FencedLeaderEpoch),
            EpochCheck::Unknown => Err(PartitionError::UnknownLeaderEpoch),
            EpochCheck::Current if self.state.lock().leads => Ok(()),
            EpochCheck::Current => Err(PartitionError::NotLeader),
        }
    }

    pub(super) fn apply_config(&self, config: Arc<TopicConfig>, log_config: Arc<LogConfig>) {
        self.log.update_config(log_config);
        let consequences = {
            let mut state = self.state.lock();
            let effects = state.replication.as_mut().map(|leader| leader.set_min_insync_replicas(config.min_insync_replicas));
            state.config = config;
            effects.map(|effects| state.take_effects(effects))
        };
        if let Some(consequences) = consequences {
            self.carry_out(consequences);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_partition_takes_less_than_its_log() {
        // With the counts of its `Arc`; the next larger size of the allocator is 448.
        let taken = size_of::<Partition>() + 2 * size_of::<usize>();
        assert!(taken <= 384, "{taken}, of which for the state {}, the leader's {}", size_of::<State>(), size_of::<LeaderState>());
    }
}
