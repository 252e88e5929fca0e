//! What brokers ask of the active controller: to be registered, to be alive, other in-sync sets, producer ids.
//!
//! A heartbeat that changes nothing, as nearly all, waits for nobody: it renews the session before the turn of the one change at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metadata::Image;
use metadata::controller::{
    self as decide, BrokerSessions, Decision, Heartbeat, HeartbeatReply, ProducerIdBlock, ProducerIdsError, Refusal, RegistrationWish,
};
use model::{BrokerEpoch, BrokerId};
use parking_lot::Mutex;
use protocol::messages::AlterPartitionRequest;
use protocol::messages::alter_partition_response::TopicData;
use quorum::BoxFuture;
use tokio::sync::Notify;
use wire::ConnectionContext;

use super::{ControlError, Controller, Inner, refusable};
use crate::registration::birth;

/// A broker whose connections to the controller are closed has so long to come back before it counts as dead, even if something listens at its
/// address: that may be its next run.
const CONTACT_GRACE: Duration = Duration::from_millis(500);

/// Between two looks at the address of a broker that may be dead.
const PROBE_AGAIN: Duration = Duration::from_millis(25);

/// Looks whether a broker's process is there.
pub trait Probe: Send + Sync {
    /// Whether the broker's host refuses the connection, as it does where nothing listens. Silence is no refusal.
    fn is_refused(&self, id: BrokerId) -> BoxFuture<bool>;
}

/// Whoever led the quorum until now has so long to tell the new active controller that it lives. Most leaders that are followed by another have
/// died, and a broker tells a new controller at once.
const FORMER_LEADER_GRACE: Duration = Duration::from_millis(500);

/// A broker's run.
type Run = (BrokerId, BrokerEpoch);

/// What the active controller knows of the brokers beside the metadata.
pub(super) struct Members {
    probe: Option<Arc<dyn Probe>>,
    /// Of which term of the quorum's leader, and who is alive.
    sessions: Mutex<Option<(u64, BrokerSessions)>>,
    /// On which connections brokers told that they live. Each is itself: numbers are given by each listener anew.
    connections: Mutex<Vec<(Arc<ConnectionContext>, Run)>>,
    /// The last other broker that was seen to lead the quorum.
    pub(super) former_leader: Mutex<Option<BrokerId>>,
    /// Those whose address is being looked at.
    probed: Mutex<BTreeSet<Run>>,
    /// Somebody's session may end sooner.
    pub(super) sooner: Notify,
}

impl Members {
    pub(super) fn new(probe: Option<Arc<dyn Probe>>) -> Self {
        let (sessions, connections, former_leader, probed) = (Mutex::default(), Mutex::default(), Mutex::default(), Mutex::default());
        Self { probe, sessions, connections, former_leader, probed, sooner: Notify::new() }
    }

    /// Notes that a run of a broker told on the connection that it lives.
    fn told_on(&self, connection: &Arc<ConnectionContext>, run: Run) {
        let mut connections = self.connections.lock();
        match connections.iter_mut().find(|(known, _)| Arc::ptr_eq(known, connection)) {
            Some((_, known)) => *known = run,
            None => connections.push((Arc::clone(connection), run)),
        }
    }

    /// Forgets a connection; who told on it and on no other that is open.
    fn tells_no_more(&self, connection: &Arc<ConnectionContext>) -> Option<Run> {
        let mut connections = self.connections.lock();
        let place = connections.iter().position(|(known, _)| Arc::ptr_eq(known, connection))?;
        let (_, gone) = connections.swap_remove(place);
        (!connections.iter().any(|(_, other)| *other == gone)).then_some(gone)
    }
}

impl Inner {
    fn suspects(&self) -> Vec<Run> {
        self.with_sessions(&self.quorum.image(), |sessions, _| sessions.suspects())
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    /// Looks at the sessions, which begin anew with each term of this controller and follow the image.
    pub(super) fn with_sessions<T>(&self, image: &Image, look: impl FnOnce(&mut BrokerSessions, u64) -> T) -> T {
        let (term, now_ms) = (self.quorum.leader_term(), self.now_ms());
        let mut held = self.members.sessions.lock();
        let (_, sessions) = match held.take() {
            Some((of, mut sessions)) if of == term => {
                sessions.follow(image, now_ms);
                held.insert((of, sessions))
            }
            _ => {
                let timeout_ms = u64::try_from(self.settings.session_timeout.as_millis()).unwrap_or(u64::MAX);
                let mut sessions = BrokerSessions::begin(self.settings.broker_id, image, timeout_ms, now_ms);
                if let Some(former) = self.members.former_leader.lock().take().and_then(|id| image.broker(id)) {
                    let grace_ms = u64::try_from(FORMER_LEADER_GRACE.as_millis()).unwrap_or(0);
                    sessions.contact_lost(former.id, former.epoch, now_ms, grace_ms);
                }
                held.insert((term, sessions))
            }
        };
        look(sessions, now_ms)
    }

    fn decide_heartbeat(&self, image: &Image, beat: &Heartbeat) -> Result<Decision<HeartbeatReply>, Refusal> {
        self.with_sessions(image, |sessions, now_ms| decide::heartbeat(self.view(image), sessions, beat, now_ms))
    }
}

impl Controller {
    /// Gives a new cluster its id, the configured one or a fresh one; one that has begun stays as it is. In this controller's turn, so that it
    /// decides on nothing else before it knows which cluster it decides for.
    ///
    /// # Errors
    /// When this broker is not the active controller, or the metadata log does not take the records.
    pub(crate) async fn begin_cluster(&self, configured_id: Option<String>) -> Result<(), ControlError> {
        self.change(move |inner, image| {
            let records = birth(configured_id.as_deref(), image, &*inner.entropy);
            Ok(Decision { records, response: () })
        })
        .await
    }

    /// BrokerRegistration: the broker's epoch.
    ///
    /// # Errors
    /// When this broker is not the active controller, or the metadata log does not take the records; inside is the refusal.
    pub async fn admit_broker(&self, wish: RegistrationWish) -> Result<Result<BrokerEpoch, Refusal>, ControlError> {
        let (id, incarnation_id) = (wish.registration.broker_id, wish.registration.incarnation_id);
        let decided = self.change(move |inner, image| {
            let is_alive = inner.with_sessions(image, |sessions, now_ms| sessions.is_alive(id, now_ms));
            let decision = refusable(decide::admit_broker(inner.view(image), wish, is_alive));
            log_unclean(image, &decision.records);
            Ok(decision)
        });
        match decided.await? {
            Ok(Some(known)) => Ok(Ok(known)),
            Ok(None) => {
                // The records are applied, so the epoch is known, unless yet another run has registered since.
                let image = self.inner.quorum.image();
                let registered = image.broker(id).filter(|broker| broker.incarnation_id == incarnation_id);
                Ok(Ok(registered.ok_or(ControlError::NotController)?.epoch))
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// BrokerHeartbeat, told on a connection.
    ///
    /// # Errors
    /// When this broker is not the active controller, or the metadata log does not take the records; inside is the refusal.
    pub async fn heartbeat(
        &self,
        beat: Heartbeat,
        connection: &Arc<ConnectionContext>,
    ) -> Result<Result<HeartbeatReply, Refusal>, ControlError> {
        let inner = &self.inner;
        if !inner.quorum.is_active() {
            return Err(ControlError::NotController);
        }
        inner.members.told_on(connection, (beat.broker_id, beat.broker_epoch));
        match inner.decide_heartbeat(&inner.quorum.image(), &beat) {
            Ok(decision) if decision.records.is_empty() => return Ok(Ok(decision.response)),
            Ok(_) => {}
            Err(refusal) => return Ok(Err(refusal)),
        }
        self.change(move |inner, image| {
            let decision = refusable(inner.decide_heartbeat(image, &beat));
            log_unclean(image, &decision.records);
            Ok(decision)
        })
        .await
    }

    /// A connection of whichever listener was closed: whoever told on it that it lives, and on no other that is open, may be dead.
    pub fn connection_closed(&self, connection: &Arc<ConnectionContext>) {
        let inner = &self.inner;
        let Some((id, epoch)) = inner.members.tells_no_more(connection) else { return };
        if inner.quorum.is_active() {
            let grace_ms = u64::try_from(CONTACT_GRACE.as_millis()).unwrap_or(0);
            inner.with_sessions(&inner.quorum.image(), |sessions, now_ms| sessions.contact_lost(id, epoch, now_ms, grace_ms));
            inner.members.sooner.notify_one();
        }
    }

    /// Finds out of each broker that may be dead whether anything listens at its address: where the connection is refused its process is dead,
    /// and there is nothing to wait for. Of a dead host one hears nothing; its session ends by itself.
    pub(super) fn probe_suspects(&self) {
        let inner = &self.inner;
        let Some(probe) = inner.members.probe.clone().filter(|_| inner.quorum.is_active()) else { return };
        for suspect in inner.suspects() {
            if !inner.members.probed.lock().insert(suspect) {
                continue;
            }
            let (controller, probe) = (self.clone(), Arc::clone(&probe));
            tokio::spawn(async move {
                controller.probe_until_known(&*probe, suspect).await;
                controller.inner.members.probed.lock().remove(&suspect);
            });
        }
    }

    async fn probe_until_known(&self, probe: &dyn Probe, suspect: Run) {
        let inner = &self.inner;
        let (id, epoch) = suspect;
        while inner.quorum.is_active() && inner.suspects().contains(&suspect) {
            if probe.is_refused(id).await {
                inner.with_sessions(&inner.quorum.image(), |sessions, now_ms| sessions.contact_lost(id, epoch, now_ms, 0));
                inner.members.sooner.notify_one();
                return;
            }
            inner.clock.sleep_until(inner.clock.monotonic() + PROBE_AGAIN).await;
        }
    }

    /// AlterPartition.
    ///
    /// # Errors
    /// When this broker is not the active controller, or the metadata log does not take the records; inside is the refusal of the whole.
    pub async fn alter_partition(&self, request: AlterPartitionRequest) -> Result<Result<Vec<TopicData>, Refusal>, ControlError> {
        self.change(move |inner, image| Ok(refusable(decide::alter_partition(inner.view(image), &request)))).await
    }

    /// AllocateProducerIds of a broker.
    ///
    /// # Errors
    /// When this broker is not the active controller, or the metadata log does not take the records; inside is the refusal.
    pub async fn allocate_producer_ids_to(
        &self,
        id: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<Result<ProducerIdBlock, ProducerIdsError>, ControlError> {
        self.change(move |_inner, image| {
            Ok(match decide::allocate_producer_ids(image, id, epoch) {
                Ok(Decision { records, response }) => Decision { records, response: Ok(response) },
                Err(error) => Decision { records: Vec::new(), response: Err(error) },
            })
        })
        .await
    }

    /// Decides that a broker is dead, if it still is so when its turn comes.
    pub(super) async fn fence_dead(&self, id: BrokerId) -> Result<(), ControlError> {
        let timeout = self.inner.settings.session_timeout;
        self.change(move |inner: &Inner, image: &Image| {
            let is_dead = inner.with_sessions(image, |sessions, now_ms| sessions.is_over(id, now_ms));
            let records = match image.broker(id).filter(|_| is_dead) {
                Some(broker) => {
                    tracing::warn!(broker = %id, ?timeout, "a broker is taken for dead: its session is over, or its connections are closed");
                    decide::fence_broker(inner.view(image), broker)
                }
                None => Vec::new(),
            };
            log_unclean(image, &records);
            Ok(Decision { records, response: () })
        })
        .await
    }

    /// Gives partitions back to their preferred leaders and elects where nobody leads though anybody may, some at a time.
    pub(super) async fn rebalance(&self, at_once: usize) -> Result<(), ControlError> {
        loop {
            let has_more = self.change(move |inner, image| Ok(decide::balance_leaders(inner.view(image), at_once))).await?;
            if !has_more {
                break;
            }
        }
        self.change(move |inner, image| {
            let records = decide::elect_unclean_leaders(inner.view(image), at_once);
            log_unclean(image, &records);
            Ok(Decision { records, response: () })
        })
        .await
    }
}

/// An election that may lose what was acknowledged never happens in silence.
fn log_unclean(image: &Image, records: &[metadata::MetadataRecord]) {
    for election in decide::unclean_elections(image, records) {
        let decide::UncleanElection { topic, partition, leader } = election;
        tracing::error!(%topic, %partition, %leader, "an unclean election: the new leader may lack records that were acknowledged");
    }
}
