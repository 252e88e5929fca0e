//! What a partition becomes when something about it changes: who is in sync, who leads, who else may lead (`PartitionChangeBuilder`, KIP-966).
//!
//! Every change of a partition's replicas, in-sync set or leader is built here, so that what must hold of them is kept in one place: the
//! in-sync set lies within the replicas, a leader is in it and may lead, eligible replicas are outside of it.

use model::{BrokerId, TopicIdPartition};

use crate::configs::ElectionRules;
use crate::image::Partition;
use crate::records::MetadataRecord;

/// Whom an election looks for when the leader cannot stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Election {
    /// The first replica, even if the leader could stay.
    Preferred,
    /// The leader stays if it can; else a replica that has all that was acknowledged.
    Online,
    /// As online, and if there is none, any replica: what only others have is lost.
    Unclean,
}

/// A partition about to change. Its fields begin as they are and are set to what is wanted.
pub(super) struct PartitionChange<'a> {
    id: TopicIdPartition,
    before: &'a Partition,
    rules: ElectionRules,
    pub(super) election: Election,
    pub(super) replicas: Vec<BrokerId>,
    pub(super) isr: Vec<BrokerId>,
    pub(super) adding: Vec<BrokerId>,
    pub(super) removing: Vec<BrokerId>,
    /// A replica that may have lost what it had, so that it is no longer eligible.
    pub(super) not_whole: Option<BrokerId>,
}

/// Who leads, who is in sync, and who else may lead after the election.
struct Outcome {
    leader: Option<BrokerId>,
    isr: Vec<BrokerId>,
    eligible: Vec<BrokerId>,
}

impl<'a> PartitionChange<'a> {
    /// A change of a partition, still without any. A topic that allows unclean elections gets one when nothing else helps.
    pub(super) fn new(id: TopicIdPartition, before: &'a Partition, rules: ElectionRules) -> Self {
        Self {
            id,
            before,
            rules,
            election: if rules.unclean_leader_election { Election::Unclean } else { Election::Online },
            replicas: before.replicas.clone(),
            isr: before.isr.clone(),
            adding: before.adding_replicas.clone(),
            removing: before.removing_replicas.clone(),
            not_whole: None,
        }
    }

    /// The records of the change, none if nothing changes. `may_lead` tells which brokers may.
    pub(super) fn build(mut self, may_lead: &dyn Fn(BrokerId) -> bool) -> Vec<MetadataRecord> {
        self.complete_reassignment();
        let eligible = self.eligible();
        let outcome = self.elect(eligible, may_lead);
        let before = self.before;
        let changes_leader = outcome.leader != before.leader;
        // A replica that no longer is one must not be taken for one by the leader's old term.
        let loses_replicas = !before.replicas.iter().all(|replica| self.replicas.contains(replica));
        let leader = (changes_leader || loses_replicas).then_some(outcome.leader);
        let last_known_leader = self.last_known_leader(&outcome);
        let isr = differing(&outcome.isr, &before.isr);
        let replicas = differing(&self.replicas, &before.replicas);
        let (topic_id, partition) = (self.id.topic_id, self.id.partition);
        let details = MetadataRecord::PartitionDetails {
            topic_id,
            partition,
            eligible_leader_replicas: differing(&outcome.eligible, &before.eligible_leader_replicas),
            last_known_leader: (last_known_leader != before.last_known_leader).then_some(last_known_leader),
            adding_replicas: differing(&self.adding, &before.adding_replicas),
            removing_replicas: differing(&self.removing, &before.removing_replicas),
        };
        let has_details = outcome.eligible != before.eligible_leader_replicas
            || last_known_leader != before.last_known_leader
            || self.adding != before.adding_replicas
            || self.removing != before.removing_replicas;
        let mut records = Vec::new();
        if has_details || isr.is_some() || leader.is_some() || replicas.is_some() {
            records.push(MetadataRecord::PartitionChange { topic_id, partition, isr, leader, replicas });
        }
        if has_details {
            records.push(details);
        }
        records
    }

    /// A reassignment ends when all replicas that stay are in sync: the others go.
    fn complete_reassignment(&mut self) {
        if self.adding.is_empty() && self.removing.is_empty() {
            return;
        }
        let stays = |id: &BrokerId| !self.removing.contains(id);
        let isr: Vec<BrokerId> = self.isr.iter().copied().filter(stays).collect();
        let replicas: Vec<BrokerId> = self.replicas.iter().copied().filter(stays).collect();
        if isr.is_empty() || replicas.is_empty() || !replicas.iter().all(|replica| isr.contains(replica)) {
            return;
        }
        (self.isr, self.replicas) = (isr, replicas);
        self.adding.clear();
        self.removing.clear();
    }

    /// Who left an in-sync set that is smaller than it must be to acknowledge anything, and so misses nothing that was acknowledged.
    fn eligible(&self) -> Vec<BrokerId> {
        let required = self.rules.min_insync_replicas.min(self.replicas.len()).max(1);
        if self.isr.len() >= required {
            return Vec::new();
        }
        let before = self.before;
        let was_complete = |id: &BrokerId| before.isr.contains(id) || before.eligible_leader_replicas.contains(id);
        let out = |id: &BrokerId| !self.isr.contains(id) && self.not_whole != Some(*id);
        self.replicas.iter().copied().filter(was_complete).filter(out).collect()
    }

    fn elect(&self, mut eligible: Vec<BrokerId>, may_lead: &dyn Fn(BrokerId) -> bool) -> Outcome {
        let (leader, is_unclean) = self.choose(&eligible, may_lead);
        let mut isr = self.isr.clone();
        if let Some(leader) = leader {
            if is_unclean {
                isr = vec![leader];
                eligible.clear();
            } else if eligible.contains(&leader) {
                isr = vec![leader];
                eligible.retain(|id| *id != leader);
            }
        }
        Outcome { leader, isr, eligible }
    }

    fn choose(&self, eligible: &[BrokerId], may_lead: &dyn Fn(BrokerId) -> bool) -> (Option<BrokerId>, bool) {
        let is_complete = |id: &BrokerId| self.isr.contains(id) || (self.isr.is_empty() && eligible.contains(id));
        let fits = |id: &BrokerId| is_complete(id) && may_lead(*id) && self.replicas.contains(id);
        let preferred = self.replicas.first().copied().filter(|_| self.election == Election::Preferred);
        let clean = preferred
            .filter(fits)
            .or_else(|| self.before.leader.filter(fits))
            .or_else(|| self.replicas.iter().copied().find(|id| fits(id)));
        if clean.is_some() {
            return (clean, false);
        }
        let nobody_is_complete = self.isr.is_empty() && eligible.is_empty();
        let is_alive_replica = |id: &BrokerId| may_lead(*id) && self.replicas.contains(id);
        if let Some(last) = self.before.last_known_leader.filter(|_| nobody_is_complete).filter(is_alive_replica) {
            return (Some(last), true);
        }
        let any = self.replicas.iter().copied().filter(|_| self.election == Election::Unclean).find(|id| may_lead(*id));
        (any, any.is_some())
    }

    /// Remembered from the moment at which the in-sync set becomes empty until there is a leader again.
    fn last_known_leader(&self, outcome: &Outcome) -> Option<BrokerId> {
        if outcome.leader.is_some() {
            return None;
        }
        if outcome.isr.is_empty() { self.before.leader.or(self.before.last_known_leader) } else { self.before.last_known_leader }
    }
}

fn differing(after: &[BrokerId], before: &[BrokerId]) -> Option<Vec<BrokerId>> {
    (after != before).then(|| after.to_vec())
}
