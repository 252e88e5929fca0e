//! What must be true at the end.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::Cluster;
use super::leader::Entry;

/// What happened, to be sure that something did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Counts {
    pub(super) committed: usize,
    pub(super) aborted: usize,
    entries: usize,
}

#[derive(Default)]
struct Story {
    committed: BTreeSet<usize>,
    aborted: BTreeSet<usize>,
}

/// - Nothing hangs: no leader has an open transaction, and the coordinator has finished all that was decided (Rel-A12).
/// - One marker ends records of one transaction (Rel-A11).
/// - Where each transaction has an epoch of its own, its marker has the next one (Rel-A13).
/// - No record is there twice (Rel-A2).
/// - A transaction is committed or aborted, on all partitions alike; what the producer was told of it is true; what is committed is whole.
pub(super) fn audit(cluster: &Cluster) -> Result<Counts, String> {
    for (id, state) in cluster.coordinator_states() {
        if ["Ongoing", "PrepareCommit", "PrepareAbort"].contains(&state.as_str()) {
            return Err(format!("{id} hangs in {state}"));
        }
    }
    let mut stories: BTreeMap<usize, Story> = BTreeMap::new();
    let mut entries = 0;
    for (partition, leader) in cluster.leaders.iter().enumerate() {
        if let Some(producer_id) = leader.open().first() {
            return Err(format!("the transaction of producer {producer_id} hangs on partition {partition}"));
        }
        read(partition, &leader.log, cluster.has_epoch_per_transaction, &mut stories)?;
        entries += leader.log.len();
    }
    for (number, transaction) in cluster.transactions.iter().enumerate() {
        let story = stories.remove(&number).unwrap_or_default();
        if !story.committed.is_empty() && !story.aborted.is_empty() {
            return Err(format!("transaction {number} is torn: records {:?} count, {:?} do not", story.committed, story.aborted));
        }
        match transaction.ended {
            Some(true) if story.committed.len() != transaction.acknowledged => {
                let acknowledged = transaction.acknowledged;
                return Err(format!("transaction {number} is committed with {acknowledged} records, {:?} count", story.committed));
            }
            Some(false) if !story.committed.is_empty() => {
                return Err(format!("transaction {number} is aborted, {:?} count", story.committed));
            }
            Some(_) | None => {}
        }
    }
    let count = |commit| cluster.transactions.iter().filter(|one| one.ended == Some(commit)).count();
    Ok(Counts { committed: count(true), aborted: count(false), entries })
}

fn read(partition: usize, log: &[Entry], has_own_epochs: bool, stories: &mut BTreeMap<usize, Story>) -> Result<(), String> {
    let mut open: BTreeMap<i64, Vec<(usize, usize)>> = BTreeMap::new();
    let mut epochs: BTreeMap<i64, i16> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for entry in log {
        match *entry {
            Entry::Data { producer_id, epoch, transaction, number, .. } => {
                epochs.insert(producer_id, epoch);
                if !seen.insert((transaction, number)) {
                    return Err(format!("record {number} of transaction {transaction} is twice on partition {partition}"));
                }
                open.entry(producer_id).or_default().push((transaction, number));
            }
            Entry::Marker { producer_id, epoch, commit, .. } => {
                let due = epochs.remove(&producer_id).map(|epoch| epoch.saturating_add(1));
                if let Some(due) = due.filter(|due| has_own_epochs && *due != epoch) {
                    return Err(format!("a marker of producer {producer_id} on partition {partition} has epoch {epoch} and not {due}"));
                }
                let ended = open.remove(&producer_id).unwrap_or_default();
                let transactions: BTreeSet<usize> = ended.iter().map(|(transaction, _)| *transaction).collect();
                if transactions.len() > 1 {
                    return Err(format!("one marker ends the transactions {transactions:?} on partition {partition}"));
                }
                for (transaction, number) in ended {
                    let story = stories.entry(transaction).or_default();
                    if commit {
                        story.committed.insert(number)
                    } else {
                        story.aborted.insert(number)
                    };
                }
            }
        }
    }
    Ok(())
}
