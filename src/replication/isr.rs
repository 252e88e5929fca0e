//! The in-sync replicas of a partition, as committed by the controller and as proposed by the leader.

use std::collections::BTreeSet;

use model::BrokerId;

/// The in-sync set and what is proposed to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isr {
    /// As the controller has it; nothing is proposed.
    Committed(BTreeSet<BrokerId>),
    /// The leader has asked to add a replica.
    PendingExpand {
        /// As the controller has it.
        committed: BTreeSet<BrokerId>,
        /// The replica to be added.
        adding: BrokerId,
    },
    /// The leader has asked to drop replicas.
    PendingShrink {
        /// As the controller has it.
        committed: BTreeSet<BrokerId>,
        /// The replicas to be dropped.
        dropping: BTreeSet<BrokerId>,
    },
}

impl Isr {
    /// The set that the controller has: what counts for `min.insync.replicas`.
    #[must_use]
    pub fn committed(&self) -> &BTreeSet<BrokerId> {
        match self {
            Isr::Committed(committed) | Isr::PendingExpand { committed, .. } | Isr::PendingShrink { committed, .. } => committed,
        }
    }

    /// Whether a replica counts for the high watermark: it is in the committed set or about to be.
    #[must_use]
    pub fn maximal_contains(&self, id: BrokerId) -> bool {
        self.committed().contains(&id) || matches!(self, Isr::PendingExpand { adding, .. } if *adding == id)
    }

    /// All replicas that count for the high watermark.
    pub fn maximal(&self) -> impl Iterator<Item = BrokerId> + '_ {
        let adding = match self {
            Isr::PendingExpand { adding, .. } => Some(*adding),
            Isr::Committed(_) | Isr::PendingShrink { .. } => None,
        };
        self.committed().iter().copied().chain(adding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[i32]) -> BTreeSet<BrokerId> {
        ids.iter().map(|id| BrokerId::new_or_zero(*id)).collect()
    }

    #[test]
    fn a_replica_that_is_about_to_join_counts_and_one_about_to_leave_still_does() {
        let expand = Isr::PendingExpand { committed: set(&[1]), adding: BrokerId::new_or_zero(2) };
        assert!(expand.maximal_contains(BrokerId::new_or_zero(2)));
        assert_eq!(expand.committed(), &set(&[1]));
        let shrink = Isr::PendingShrink { committed: set(&[1, 2]), dropping: set(&[2]) };
        assert_eq!(shrink.maximal().count(), 2);
    }
}
