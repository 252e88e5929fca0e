//! A broker: its disk, which a power cut leaves, and what it knows, which no crash leaves.

use metadata::Image;
use model::{BrokerEpoch, BrokerId, LeaderEpoch, Offset};
use protocol::messages::AlterPartitionRequest;
use replication::{FollowerLog, FollowerState, LeaderState};

/// A record: the term that wrote it, and a value that no other record has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) epoch: i32,
    pub(crate) value: u64,
}

pub(crate) enum Role {
    Nothing,
    Leads(LeaderState),
    Follows(FollowerState),
}

pub(crate) struct Broker {
    pub(crate) id: BrokerId,
    pub(crate) is_up: bool,
    /// Its disk was replaced since its last registration.
    pub(crate) is_wiped: bool,
    /// The run of its process.
    pub(crate) run: u128,
    /// Of this run, once it is registered.
    pub(crate) epoch: Option<BrokerEpoch>,
    /// The first run that may have used this disk. A run of it that the metadata shows as registered last proves that the disk has all that the
    /// broker had.
    pub(crate) disk_since_run: u128,
    pub(crate) log: Vec<Record>,
    /// How many records are on the disk.
    pub(crate) synced: usize,
    pub(crate) high_watermark: usize,
    /// The metadata that it has applied.
    pub(crate) image: Image,
    pub(crate) role: Role,
    /// The term that its role is of.
    pub(crate) term: Option<LeaderEpoch>,
    /// The change of the in-sync set that is asked for, with the term that asks.
    pub(crate) asked: Option<(LeaderEpoch, AlterPartitionRequest)>,
    /// How often this disk's runs asked for changes. An answer to any attempt but the last means nothing, and the controller reads the attempts
    /// in their order, as those of one connection.
    pub(crate) attempts: u64,
    /// The last attempt that the controller has read.
    pub(crate) attempts_read: u64,
    /// Records to be acknowledged: offset and value.
    pub(crate) unacknowledged: Vec<(usize, u64)>,
}

impl Broker {
    pub(crate) fn new(id: BrokerId) -> Self {
        Self {
            id,
            is_up: false,
            is_wiped: false,
            run: 0,
            epoch: None,
            disk_since_run: 0,
            log: Vec::new(),
            synced: 0,
            high_watermark: 0,
            image: Image::default(),
            role: Role::Nothing,
            term: None,
            asked: None,
            attempts: 0,
            attempts_read: 0,
            unacknowledged: Vec::new(),
        }
    }

    pub(crate) fn as_follower(&self) -> FollowerLog {
        FollowerLog {
            log_start: Offset::ZERO,
            log_end: offset(self.log.len()),
            last_epoch: self.log.last().and_then(|last| LeaderEpoch::new(last.epoch)),
        }
    }

    pub(crate) fn truncate(&mut self, to: usize) {
        self.log.truncate(to);
        self.synced = self.synced.min(to);
        self.high_watermark = self.high_watermark.min(to);
    }

    /// Where an epoch ends in the log, as the log store says it: the newest epoch, also one without a record, ends with the log.
    pub(crate) fn end_of(&self, asked: i32, newest: i32) -> Option<(LeaderEpoch, Offset)> {
        let epoch = |value: i32| LeaderEpoch::new_or_zero(value);
        if asked == newest {
            return Some((epoch(asked), offset(self.log.len())));
        }
        let next = self.log.iter().position(|record| record.epoch > asked);
        let next = next.or_else(|| (newest > asked).then_some(self.log.len()))?;
        let floor = self.log.iter().take(next).next_back().map(|record| record.epoch);
        Some((epoch(floor.unwrap_or(asked)), offset(next)))
    }
}

pub(crate) fn offset(length: usize) -> Offset {
    Offset::new_or_zero(i64::try_from(length).unwrap_or(i64::MAX))
}

pub(crate) fn length(offset: Offset) -> usize {
    usize::try_from(offset.get()).unwrap_or(0)
}
