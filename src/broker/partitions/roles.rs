//! Leading and following: what the metadata makes of a partition.

use std::sync::Arc;

use replication::{Event, LeaderState, PartitionTerm};

use super::AppendRefusal;
use super::partition::{Partition, PartitionError, Waiting};

impl Partition {
    /// Takes over the state that the metadata gives: leadership, epoch, replicas. It may wait for a cut of the log that is under way.
    pub(super) fn apply_state(&self, given: &metadata::Partition, now_ms: u64) {
        let _role = self.role.lock();
        let leads = given.leader == Some(self.broker_id);
        if self.leader_epoch() > given.leader_epoch {
            return;
        }
        let watchers = Arc::clone(&self.follower_watchers);
        let has_followers = leads && given.replicas.len() > 1;
        // The followers' disks need not wait for this one's.
        self.log.on_written(has_followers.then(|| Arc::new(move || watchers.wake_all()) as Arc<dyn Fn() + Send + Sync>));
        if leads && self.goes_on_leading(given, now_ms) {
            return;
        }
        if leads {
            self.log.assign_epoch(given.leader_epoch);
        } else {
            self.log.follow_epoch(given.leader_epoch);
        }
        let (consequences, refused) = {
            let mut state = self.state.lock();
            if leads && !state.leads {
                state.leads_since = given.leader_epoch;
            }
            state.leader_epoch = given.leader_epoch;
            state.leads = leads;
            // What waits for the disk counts when it is there.
            let log_end = self.log.acknowledged_end_offset();
            state.offsets.advance_log_end(log_end);
            state.replication = leads.then(|| {
                let term = PartitionTerm {
                    replicas: &given.replicas,
                    isr: &given.isr,
                    leader_epoch: given.leader_epoch,
                    partition_epoch: given.partition_epoch,
                    epoch_start: self.log.log_end_offset(),
                    now_ms,
                };
                let high_watermark = state.offsets.high_watermark();
                LeaderState::new(self.broker_id, &term, log_end, high_watermark, state.config.min_insync_replicas)
            });
            let consequences = state.take_high_watermark();
            // An append of a leadership that is lost may be gone before it is replicated.
            let refused = if leads { Vec::new() } else { state.waiting.drain(..).collect() };
            (consequences, refused)
        };
        refuse(refused);
        self.carry_out(consequences);
        self.watchers.wake_all();
        self.follower_watchers.wake_all();
    }

    /// Takes what changed within a term that this broker leads already; `false` if it is another term.
    fn goes_on_leading(&self, given: &metadata::Partition, now_ms: u64) -> bool {
        let consequences = {
            let mut state = self.state.lock();
            let is_same_term = state.leads && state.leader_epoch == given.leader_epoch;
            let Some(leader) = state.replication.as_mut().filter(|_| is_same_term) else { return false };
            leader.set_replicas(&given.replicas, now_ms);
            let committed = Event::Committed { isr: given.isr.iter().copied().collect(), partition_epoch: given.partition_epoch };
            let effects = leader.handle(committed);
            state.take_effects(effects)
        };
        self.carry_out(consequences);
        true
    }

    /// Ends service: parked fetches look again and find it gone, waiting produces are refused.
    pub(super) fn close(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.leads = false;
            state.is_closed = true;
            state.replication = None;
            state.waiting.drain(..).collect()
        };
        refuse(waiting);
        self.watchers.wake_all();
        self.follower_watchers.wake_all();
    }
}

fn refuse(waiting: Vec<Waiting>) {
    for waiting in waiting {
        // A closed channel means that the client has gone; nobody waits for the answer.
        let _gone = waiting.reply.send(Err(AppendRefusal::Partition(PartitionError::NotLeader)));
    }
}
