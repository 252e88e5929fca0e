//! Changes of in-sync replicas: the leaders' proposals go to the controller, its answers come back, and a timer looks for followers that lag.
//!
//! A proposal whose fate is not known is asked again until the answer is certain or the term is over, since the leader must reckon with both
//! outcomes until then. The timer runs only while this broker leads a partition that others follow.
//!
//! In Kafka: `AlterPartitionManager`, the `isr-expiration` task of `ReplicaManager`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::BoxFuture;
use wire::clock::SharedClock;

use crate::partitions::{PartitionProposal, Partitions, ProposalAnswer};

/// How long to wait before a proposal of unknown fate is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The shortest time between two looks for followers that lag.
const CHECK_PAUSE_MIN: Duration = Duration::from_millis(10);

/// The way to the controller.
pub trait IsrProposer: Send + Sync {
    /// Asks for a change of a partition's in-sync replicas (AlterPartition).
    fn propose<'a>(&'a self, proposal: &'a PartitionProposal) -> BoxFuture<'a, ProposalAnswer>;
}

/// What the task needs.
pub struct IsrChanges {
    /// The partitions that propose.
    pub partitions: Arc<Partitions>,
    /// The way to the controller.
    pub proposer: Arc<dyn IsrProposer>,
    /// `replica.lag.time.max.ms`.
    pub lag_max: Duration,
    /// Time.
    pub clock: SharedClock,
    /// Where the proposals' tasks are counted.
    pub tasks: TaskTracker,
}

impl IsrChanges {
    /// Carries proposals until the broker stops, unless somebody does already.
    pub async fn run(self, stopping: CancellationToken) {
        let Some(proposals) = self.partitions.take_proposals() else { return };
        self.carry_all(proposals, stopping).await;
    }

    /// Carries these proposals until the broker stops.
    pub async fn carry_all(self, mut proposals: mpsc::UnboundedReceiver<PartitionProposal>, stopping: CancellationToken) {
        let (partitions, clock) = (Arc::clone(&self.partitions), Arc::clone(&self.clock));
        let pause = (self.lag_max / 2).max(CHECK_PAUSE_MIN);
        let mut next_check = clock.monotonic() + pause;
        let mut has_followers = partitions.has_followers();
        let this = Arc::new(self);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                proposal = proposals.recv() => {
                    let Some(proposal) = proposal else { return };
                    let (this, stopping) = (Arc::clone(&this), stopping.clone());
                    this.tasks.clone().spawn(async move {
                        tokio::select! {
                            () = stopping.cancelled() => {}
                            () = this.carry(proposal) => {}
                        }
                    });
                }
                () = partitions.roles_changed() => {
                    let had_followers = std::mem::replace(&mut has_followers, partitions.has_followers());
                    if has_followers && !had_followers {
                        next_check = clock.monotonic() + pause;
                    }
                }
                () = clock.sleep_until(next_check), if has_followers => {
                    partitions.check_lag(this.lag_max);
                    next_check = clock.monotonic() + pause;
                }
            }
        }
    }

    /// Brings a proposal to its end.
    async fn carry(&self, proposal: PartitionProposal) {
        loop {
            let answer = self.proposer.propose(&proposal).await;
            let Some(partition) = self.partitions.get(proposal.id) else { return };
            tracing::debug!(partition = %proposal.id, isr = ?proposal.proposal.isr, ?answer, "asked for other in-sync replicas");
            if answer != ProposalAnswer::Unknown {
                partition.proposal_answered(&proposal, answer);
                return;
            }
            self.clock.sleep_until(self.clock.monotonic() + RETRY_PAUSE).await;
            if !partition.is_pending(&proposal) {
                return;
            }
        }
    }
}
