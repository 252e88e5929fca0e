//! A broker's membership in a cluster of several: catching up with the metadata, registering, telling that it lives, leaving.
//!
//! In Kafka: `BrokerLifecycleManager`.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log_store::{Durability, StorageError, Store};
use metadata::controller::BrokerRegistration;
use model::BrokerId;
use protocol::messages::broker_registration_request::{Feature, Listener};
use protocol::messages::{BrokerHeartbeatRequest, BrokerRegistrationRequest, BrokerRegistrationResponse};
use protocol::{ErrorCode, StrBytes};
use quorum::MetadataQuorum;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::clock::{Clock, timeout_at};

use crate::Broker;
use crate::config::HostPort;
use crate::controller::ControlError;
use crate::controller_channel::ControllerChannel;
use crate::start::StartError;

/// Under which key the directory holds when it was used last.
const BOOT: &[u8] = b"boot";
/// Who waits for others says so this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Between two attempts to register.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// A broker that stops waits so long for its partitions to be led by others.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);
/// It goes all the same if no controller is reached for so long.
const CONTROLLER_GONE: Duration = Duration::from_secs(1);

const REGISTRATION_VERSION: i16 = 4;
const HEARTBEAT_VERSION: i16 = 1;
/// The wire's word for no broker epoch.
const NO_EPOCH: i64 = -1;

/// Waits until this broker knows what the metadata quorum has committed, which takes a majority of the voters.
pub(crate) async fn catch_up(quorum: &dyn MetadataQuorum, seeds: &[HostPort], clock: &dyn Clock) -> Result<(), StartError> {
    let mut caught_up = pin!(quorum.caught_up());
    loop {
        match timeout_at(clock, clock.monotonic() + PROGRESS_EVERY, caught_up.as_mut()).await {
            Ok(done) => return done.map_err(StartError::from),
            Err(_) if seeds.is_empty() => {
                let voters: Vec<String> = quorum.voting().borrow().iter().map(ToString::to_string).collect();
                tracing::warn!(voters = voters.join(","), "still waiting for a majority of the brokers that vote; start the others");
            }
            Err(_) => {
                let seeds: Vec<String> = seeds.iter().map(ToString::to_string).collect();
                tracing::warn!("still waiting for the metadata of the cluster; asking {} who votes in it", seeds.join(", "));
            }
        }
    }
}

/// A registered broker.
#[derive(Clone)]
pub(crate) struct Member {
    inner: Arc<Inner>,
}

struct Inner {
    broker_id: BrokerId,
    epoch: i64,
    channel: ControllerChannel,
    /// Who is to be told.
    leadership: watch::Receiver<Option<BrokerId>>,
    /// Whether the broker wants to stop.
    leaves: AtomicBool,
    told: Notify,
    /// Whether the controller lets it.
    may_go: watch::Sender<bool>,
}

/// Whether the data directory has all that this broker ever had in it, as far as it can know: its disk has everything, or the machine has run
/// without a break since the directory was used last, so that the system's memory has reached the disk or is there still. A directory that is
/// used for the first time has nothing to lose, and nothing.
///
/// # Errors
/// If the store fails.
pub(crate) fn is_whole(store: &Store, durability: Durability) -> Result<bool, StorageError> {
    let boot = this_boot();
    let known = store.kv_get(BOOT)?;
    let is_same = !boot.is_empty() && known.as_ref() == Some(&boot);
    Ok(known.is_some() && (is_same || durability == Durability::Group))
}

/// Notes what [`is_whole`] looks at.
///
/// IMPORTANT: only once this run is registered. A directory that was lost must not pass for the last run's if its first run ends before that.
///
/// # Errors
/// If the store fails.
pub(crate) fn note_run(store: &Store) -> Result<(), StorageError> {
    let boot = this_boot();
    if store.kv_get(BOOT)?.as_ref() != Some(&boot) {
        store.kv_put_synced(BOOT, &boot)?;
    }
    Ok(())
}

/// An id of the time since the machine was started; empty if the system has none.
fn this_boot() -> Vec<u8> {
    std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Registers this run of the broker and waits until its metadata shows it. `is_whole` says that nothing was lost since the last run.
pub(crate) async fn register(
    broker: &Broker,
    quorum: &Arc<dyn MetadataQuorum>,
    channel: &ControllerChannel,
    registration: &BrokerRegistration,
    is_whole: bool,
) -> Result<Member, StartError> {
    let cluster_id = begin(broker, &**quorum).await?;
    if let Some(configured) = broker.config.cluster_id.as_deref().filter(|configured| *configured != cluster_id) {
        return Err(StartError::OtherCluster { found: cluster_id, configured: configured.to_owned() });
    }
    // What this run knows of the last one by its metadata; an epoch that is not the newest counts for nothing.
    let previous = quorum.image().broker(registration.broker_id).filter(|_| is_whole).map_or(NO_EPOCH, |known| known.epoch.get());
    let request = request_of(registration, &cluster_id).with_previous_broker_epoch(previous);
    let epoch = ask(broker, channel, &request).await?.broker_epoch;
    let mut published = quorum.published();
    while quorum.image().broker(registration.broker_id).is_none_or(|known| known.incarnation_id != registration.incarnation_id) {
        let ended = |_| StartError::Metadata("the metadata quorum has stopped".to_owned());
        published.changed().await.map_err(ended)?;
    }
    Ok(Member::new(registration.broker_id, epoch, channel.clone(), quorum.leadership()))
}

/// The cluster's id. The first active controller gives a new cluster one.
async fn begin(broker: &Broker, quorum: &dyn MetadataQuorum) -> Result<String, StartError> {
    let mut published = quorum.published();
    loop {
        published.borrow_and_update();
        if let Some(id) = quorum.image().cluster_id() {
            return Ok(id.to_owned());
        }
        if quorum.is_active() {
            match broker.controller.begin_cluster(broker.config.cluster_id.clone()).await {
                Ok(()) => continue,
                Err(ControlError::NotController | ControlError::FateUnknown | ControlError::Refused) => {}
                Err(ControlError::Stopped) => return Err(StartError::Metadata("the metadata quorum has stopped".to_owned())),
            }
        }
        // Another one's record may come, or this broker may become the controller.
        let _changed_or_due = timeout_at(&*broker.clock, broker.clock.monotonic() + PAUSE, published.changed()).await;
    }
}

/// Registers, as often as it takes.
async fn ask(
    broker: &Broker,
    channel: &ControllerChannel,
    request: &BrokerRegistrationRequest,
) -> Result<BrokerRegistrationResponse, StartError> {
    let mut told = None;
    loop {
        let answered = channel.send(REGISTRATION_VERSION, request, broker.clock.monotonic() + ATTEMPT).await;
        let trouble = match answered {
            Ok(response) if response.error_code == 0 => return Ok(response),
            Ok(response) if response.error_code == ErrorCode::InconsistentClusterId.code() => {
                let mine = request.cluster_id.to_string();
                return Err(StartError::Metadata(format!("the active controller is not of cluster {mine}")));
            }
            Ok(response) if response.error_code == ErrorCode::DuplicateBrokerRegistration.code() => {
                format!("another process with node.id {} is alive, or was a moment ago", request.broker_id.0)
            }
            Ok(response) => format!("the controller answers {}", protocol::error_name(response.error_code)),
            Err(error) => error.to_string(),
        };
        if told.as_ref() != Some(&trouble) {
            tracing::warn!("this broker is not registered yet, and tries again: {trouble}");
            told = Some(trouble);
        }
        broker.clock.sleep_until(broker.clock.monotonic() + PAUSE).await;
    }
}

fn request_of(registration: &BrokerRegistration, cluster_id: &str) -> BrokerRegistrationRequest {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let listeners = registration.listeners.iter().map(|endpoint| {
        Listener::default()
            .with_name(text(&endpoint.listener))
            .with_host(text(&endpoint.host))
            .with_port(endpoint.port)
            .with_security_protocol(endpoint.security_protocol)
    });
    let features = registration.features.iter().map(|(name, range)| {
        Feature::default().with_name(text(name)).with_min_supported_version(range.min).with_max_supported_version(range.max)
    });
    BrokerRegistrationRequest::default()
        .with_broker_id(registration.broker_id.get().into())
        .with_cluster_id(text(cluster_id))
        .with_incarnation_id(registration.incarnation_id)
        .with_listeners(listeners.collect())
        .with_features(features.collect())
        .with_log_dirs(registration.directory_id.into_iter().collect())
        .with_rack(registration.rack.as_deref().map(text))
}

impl Member {
    /// The broker that is registered with this epoch.
    pub(crate) fn new(broker_id: BrokerId, epoch: i64, channel: ControllerChannel, leadership: watch::Receiver<Option<BrokerId>>) -> Self {
        let (leaves, told) = (AtomicBool::new(false), Notify::new());
        Self { inner: Arc::new(Inner { broker_id, epoch, channel, leadership, leaves, told, may_go: watch::Sender::new(false) }) }
    }

    /// Begins to tell that this broker lives, and waits until it may lead.
    pub(crate) async fn become_active(
        &self,
        broker: &Arc<Broker>,
        tasks: &TaskTracker,
        stopping: CancellationToken,
    ) -> Result<(), StartError> {
        tasks.spawn(self.clone().tell(Arc::clone(broker), stopping));
        let mut published = broker.metadata.subscribe();
        while broker.metadata.image().broker(self.inner.broker_id).is_none_or(|known| known.fenced) {
            let ended = |_| StartError::Metadata("the metadata quorum has stopped".to_owned());
            published.changed().await.map_err(ended)?;
        }
        Ok(())
    }

    /// Tells it until the broker stops.
    pub(crate) async fn tell(self, broker: Arc<Broker>, stopping: CancellationToken) {
        let inner = &*self.inner;
        let mut leadership = inner.leadership.clone();
        let mut line = inner.channel.line();
        let mut told = None;
        loop {
            leadership.borrow_and_update();
            let leaves = inner.leaves.load(Ordering::Relaxed);
            let request = BrokerHeartbeatRequest::default()
                .with_broker_id(inner.broker_id.get().into())
                .with_broker_epoch(inner.epoch)
                .with_current_metadata_offset(i64::try_from(broker.metadata.image().index()).unwrap_or(i64::MAX))
                .with_want_shut_down(leaves);
            let now = broker.clock.monotonic();
            let patience = if leaves { CONTROLLER_GONE } else { broker.config.session_timeout };
            let answered = tokio::select! {
                () = stopping.cancelled() => return,
                answered = line.send(HEARTBEAT_VERSION, &request, now + patience) => answered,
            };
            let trouble = match answered {
                Ok(response) if response.error_code == 0 => {
                    if response.should_shut_down {
                        inner.may_go.send_replace(true);
                    }
                    None
                }
                Ok(response) => Some(format!("the controller answers {}", protocol::error_name(response.error_code))),
                Err(error) => {
                    if leaves {
                        // All stop at once, it seems: nobody is left to take over.
                        inner.may_go.send_replace(true);
                    }
                    Some(error.to_string())
                }
            };
            if let Some(trouble) = trouble.as_ref().filter(|trouble| told.as_ref() != Some(*trouble)) {
                // Where all brokers stop at once, the controller goes too.
                if inner.leaves.load(Ordering::Relaxed) {
                    tracing::info!("the controller does not take this broker's heartbeat any more: {trouble}");
                } else {
                    tracing::warn!("the controller does not take this broker's heartbeat: {trouble}");
                }
            }
            told = trouble;
            tokio::select! {
                () = stopping.cancelled() => return,
                () = inner.told.notified() => {}
                // A new controller knows of nobody that it lives.
                Ok(()) = leadership.changed() => {}
                // The controller takes that for a sign of death.
                () = line.ended() => broker.clock.sleep_until(now + PAUSE).await,
                () = broker.clock.sleep_until(now + broker.config.heartbeat_interval) => {}
            }
        }
    }

    /// Hands the broker's partitions over to others, as far as that is possible in time (controlled shutdown).
    pub(crate) async fn leave(&self, clock: &dyn Clock) {
        self.inner.leaves.store(true, Ordering::Relaxed);
        self.inner.told.notify_one();
        let mut may_go = self.inner.may_go.subscribe();
        let left = timeout_at(clock, clock.monotonic() + LEAVE_WITHIN, may_go.wait_for(|may_go| *may_go)).await;
        if left.is_err() {
            tracing::warn!("the controller did not let this broker go in time; it stops all the same");
        }
    }
}
