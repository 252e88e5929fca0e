//! A broker that serves: what it looks after while it runs, and how it goes down.

use std::sync::Arc;
use std::time::Duration;

use log_store::Store;
use metadata::MetadataRecord;
use metadata::controller::BrokerRegistration;
use quorum::MetadataQuorum;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::clock::timeout_at;

use crate::Broker;
use crate::cluster;
use crate::isr_by_controller::ByController;
use crate::isr_changes::{IsrChanges, IsrProposer};
use crate::replica_fetchers::ReplicaFetchers;
use crate::start::StartError;

/// How long a broker that stops waits to see who leads what it led.
const SEES_WITHIN: Duration = Duration::from_millis(500);

/// A broker that serves.
pub struct RunningBroker {
    /// Its services.
    pub broker: Arc<Broker>,
    pub(crate) store: Store,
    pub(crate) quorum: Arc<dyn MetadataQuorum>,
    pub(crate) fetchers: ReplicaFetchers,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
    pub(crate) registration: BrokerRegistration,
    pub(crate) member: Option<cluster::Member>,
}

impl RunningBroker {
    /// Sends what leaders propose about their in-sync replicas to a controller, and looks for followers that lag. Once; a broker whose partitions
    /// have one replica each does not need it.
    pub fn change_isr_by(&self, proposer: Arc<dyn IsrProposer>) {
        let changes = self.isr_changes(proposer);
        if let Some(proposals) = changes.partitions.take_proposals() {
            self.tasks.spawn(changes.carry_all(proposals, self.stopping.clone()));
        }
    }

    fn isr_changes(&self, proposer: Arc<dyn IsrProposer>) -> IsrChanges {
        IsrChanges {
            partitions: Arc::clone(&self.broker.partitions),
            proposer,
            lag_max: Duration::from_millis(u64::try_from(self.broker.config.replica_lag_time_max_ms).unwrap_or(0)),
            clock: Arc::clone(&self.broker.clock),
            tasks: self.tasks.clone(),
        }
    }

    /// A broker that is a cluster by itself has nobody to look after and nobody to tell that it lives, until others join.
    pub(crate) fn begin_cluster_when_others_come(&self) {
        let Ok(proposer) = by_controller(&self.broker) else { return };
        let Some(channel) = self.broker.channel.clone() else { return };
        let isr_changes = self.isr_changes(proposer);
        let (broker, tasks, stopping) = (Arc::clone(&self.broker), self.tasks.clone(), self.stopping.clone());
        let (leadership, store) = (self.quorum.leadership(), self.store.clone());
        self.tasks.spawn(async move {
            let (mut published, own) = (broker.metadata.subscribe(), broker.config.broker_id);
            while broker.metadata.image().brokers().all(|known| known.id == own) {
                match stopping.run_until_cancelled(published.changed()).await {
                    Some(Ok(())) => {}
                    Some(Err(_)) | None => return,
                }
            }
            let Some(epoch) = broker.metadata.image().broker(own).map(|known| known.epoch) else { return };
            // Alone it had nobody that could have more than itself.
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || cluster::note_run(&store)).await {
                tracing::error!(%error, "this run is not noted, so the next one will count as having lost data");
            }
            tasks.spawn(isr_changes.run(stopping.clone()));
            tasks.spawn(broker.controller.clone().watch_members(stopping.clone()));
            cluster::Member::new(own, epoch.get(), channel, leadership).tell(broker, stopping).await;
        });
    }

    /// Proposes metadata as it is, past the controller's decisions: for tests that write a cluster's state by hand.
    ///
    /// # Errors
    /// If this broker does not lead the metadata quorum.
    pub async fn propose_metadata(&self, records: Vec<MetadataRecord>) -> Result<u64, StartError> {
        Ok(self.quorum.propose(self.quorum.leader_term(), records).await?)
    }

    /// Has one of several hand its partitions over (controlled shutdown). It serves meanwhile, so that clients are told who leads next; before
    /// [`Self::stop`].
    pub async fn hand_over(&self) {
        let Some(member) = &self.member else { return };
        let broker = &*self.broker;
        broker.hand_over_gate.close(&*broker.clock).await;
        // The controller lets it go some time after others lead.
        tokio::join!(member.leave(&*broker.clock), open_once_others_lead(broker));
        // Last: until then this broker may be the controller that lets itself go.
        self.quorum.resign().await;
    }

    /// From now on what has no space on the disk fails, which waited before: for who ends the broker's threads.
    pub fn end_waits(&self) {
        self.store.end_waits();
    }

    /// Stops serving and leaves the data so that the next start scans nothing.
    pub async fn stop(self) {
        self.stopping.cancel();
        // A disk that is full must not hold this up.
        self.end_waits();
        self.fetchers.stop();
        self.broker.groups.stop();
        self.broker.transactions.stop();
        self.broker.markers.stop();
        self.broker.verifier.stop();
        self.tasks.close();
        self.tasks.wait().await;
        self.quorum.shutdown().await;
        let store = self.store.clone();
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        if let Err(error) = closed {
            tracing::error!(%error, "closing the store panicked");
        }
    }
}

async fn open_once_others_lead(broker: &Broker) {
    let mut published = broker.metadata.subscribe();
    let others_lead = published.wait_for(|_| !leads_what_others_could(broker));
    if timeout_at(&*broker.clock, broker.clock.monotonic() + SEES_WITHIN, others_lead).await.is_err() {
        tracing::info!("what this broker led has no other leader yet");
    }
    broker.hand_over_gate.open();
}

fn leads_what_others_could(broker: &Broker) -> bool {
    let (image, own) = (broker.metadata.image(), broker.config.broker_id);
    let mut partitions = image.topics().flat_map(|topic| topic.partitions());
    partitions.any(|(_, partition)| partition.leader == Some(own) && partition.isr.len() > 1)
}

pub(crate) fn by_controller(broker: &Broker) -> Result<Arc<ByController>, StartError> {
    let channel = broker.channel.clone().ok_or_else(|| StartError::Metadata("there is no way to the controller".to_owned()))?;
    let (metadata, clock) = (broker.metadata.clone(), Arc::clone(&broker.clock));
    Ok(Arc::new(ByController { broker_id: broker.config.broker_id, channel, metadata, clock }))
}
