//! What must hold after each step.

use metadata::{Image, Partition};

use crate::broker::{Broker, Record};

/// Which invariant broke, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Its name.
    pub invariant: &'static str,
    /// One sentence.
    pub what: String,
}

/// What was promised to clients so far.
#[derive(Default)]
pub(crate) struct Promises {
    /// By offset, what was acknowledged.
    pub(crate) acknowledged: Vec<Option<u64>>,
    /// By offset, what lay below a high watermark of a leader.
    committed: Vec<Record>,
    /// By offset, what a consumer read.
    read: Vec<u64>,
    /// The newest term that a consumer was answered by, and the high watermark that it saw.
    seen: (i32, usize),
}

fn violated<T>(invariant: &'static str, what: String) -> Result<T, Violation> {
    Err(Violation { invariant, what })
}

impl Promises {
    pub(crate) fn acknowledge(&mut self, at: usize, value: u64) -> Result<(), Violation> {
        if self.acknowledged.len() <= at {
            self.acknowledged.resize(at + 1, None);
        }
        let Some(place) = self.acknowledged.get_mut(at) else { return Ok(()) };
        match place.replace(value) {
            Some(other) if other != value => {
                violated("NoCommittedRecordLostGlobally", format!("offset {at} was acknowledged for {other} and for {value}"))
            }
            _ => Ok(()),
        }
    }

    /// A leader's log below its high watermark.
    pub(crate) fn commit(&mut self, shown: &[Record]) -> Result<(), Violation> {
        let differs = shown.iter().zip(&self.committed).position(|(shown, committed)| shown != committed);
        if let Some(at) = differs {
            return violated("NoCommittedRecordLostGlobally", format!("a leader shows another record at offset {at}"));
        }
        if let Some(fresh) = shown.get(self.committed.len()..) {
            self.committed.extend_from_slice(fresh);
        }
        Ok(())
    }

    /// The high watermark that a leader tells a consumer, which does not go back to an earlier term (KIP-320).
    pub(crate) fn see(&mut self, term: i32, high_watermark: usize) -> Result<(), Violation> {
        let (newest, seen) = self.seen;
        if term < newest {
            return Ok(());
        }
        if high_watermark < seen {
            return violated("HighWatermarkSeenNeverGoesBack", format!("{high_watermark} in term {term}, after {seen}"));
        }
        self.seen = (term, high_watermark);
        Ok(())
    }

    /// What a consumer got from the begin of the log.
    pub(crate) fn read(&mut self, got: &[Record]) -> Result<(), Violation> {
        let differs = got.iter().zip(&self.read).position(|(got, read)| got.value != *read);
        if let Some(at) = differs {
            return violated("ConsistentRead", format!("offset {at} reads otherwise than before"));
        }
        if let Some(fresh) = got.get(self.read.len()..) {
            self.read.extend(fresh.iter().map(|record| record.value));
        }
        Ok(())
    }

    /// Whoever may lead next must have all that was acknowledged, on its disk where the disk counts.
    pub(crate) fn check_candidates(
        &self,
        image: &Image,
        partition: &Partition,
        brokers: &[Broker],
        disk_counts: bool,
    ) -> Result<(), Violation> {
        let candidates = partition.isr.iter().chain(&partition.eligible_leader_replicas);
        for broker in candidates.filter_map(|id| brokers.iter().find(|broker| broker.id == *id)) {
            // Of a run that is not registered yet the controller does not know what its disk lost; it will ask.
            let is_known = image.broker(broker.id).is_some_and(|known| Some(known.epoch) == broker.epoch);
            if (broker.is_up && !is_known) || broker.is_wiped {
                continue;
            }
            let held = if disk_counts { broker.log.get(..broker.synced).unwrap_or_default() } else { &broker.log };
            for (at, value) in self.acknowledged.iter().enumerate() {
                let lost = value.is_some_and(|value| held.get(at).map(|record| record.value) != Some(value));
                if lost {
                    let id = broker.id;
                    return violated("LeaderCandidateCompleteness", format!("broker {id} lacks the acknowledged record at offset {at}"));
                }
            }
        }
        Ok(())
    }
}

/// What the controller itself must keep.
pub(crate) fn check_partition(image: &Image, before: Option<&Partition>, after: &Partition) -> Result<(), Violation> {
    let is_within = |ids: &[model::BrokerId]| ids.iter().all(|id| after.replicas.contains(id));
    let is_alive = |id: &model::BrokerId| image.broker(*id).is_some_and(|broker| broker.is_active());
    let holds = is_within(&after.isr)
        && is_within(&after.eligible_leader_replicas)
        && !after.isr.iter().any(|id| after.eligible_leader_replicas.contains(id))
        && after.isr.iter().all(is_alive)
        && after.leader.is_none_or(|leader| after.isr.contains(&leader));
    if !holds {
        return violated("ValidControllerIsrAndElr", format!("{after:?}"));
    }
    match before {
        Some(before) if after.leader_epoch < before.leader_epoch || after.partition_epoch < before.partition_epoch => {
            violated("EpochsNeverGoBack", format!("{before:?} became {after:?}"))
        }
        _ => Ok(()),
    }
}
