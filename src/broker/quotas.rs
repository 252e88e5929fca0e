//! Client quotas at work: the limits of the published metadata, and what this broker's clients used.
//!
//! While nobody is limited, asking costs one relaxed load. The arithmetic is in the `quotas` crate; muting is `wire`'s.
//!
//! In Kafka: `QuotaFactory.QuotaManagers`, `DynamicClientQuotaPublisher`.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

pub use ::quotas::Client;
use ::quotas::{ConnectionQuota, MutationQuota, RateQuota, Window, key};
use metadata::controller::MutationsExhausted;
use metadata::{Delta, Image};
use parking_lot::Mutex;
use wire::clock::SharedClock;

/// What a quota may be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum QuotaKind {
    /// Bytes of produce requests.
    Produce = 1,
    /// Bytes of answers to fetches.
    Fetch = 2,
    /// Time of handlers.
    Request = 4,
    /// Partitions created and deleted.
    Mutation = 8,
    /// New connections.
    Connection = 16,
}

/// The quotas of one broker.
pub struct Quotas {
    /// The kinds by which anybody is limited, as bits. It only says where looking is worth while, so no order is needed.
    active: AtomicU8,
    produce: Mutex<RateQuota>,
    fetch: Mutex<RateQuota>,
    request: Mutex<RateQuota>,
    mutations: Mutex<MutationQuota>,
    connections: Mutex<ConnectionQuota>,
    clock: SharedClock,
}

impl Quotas {
    /// No quotas, measured over these windows.
    #[must_use]
    pub fn new(window: Window, controller_window: Window, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            active: AtomicU8::new(0),
            produce: Mutex::new(RateQuota::of_bytes(window)),
            fetch: Mutex::new(RateQuota::of_bytes(window)),
            request: Mutex::new(RateQuota::of_time(window)),
            mutations: Mutex::new(MutationQuota::new(controller_window)),
            connections: Mutex::new(ConnectionQuota::new(window)),
            clock,
        })
    }

    /// Takes over the quotas that changed.
    pub fn apply(&self, image: &Image, delta: &Delta) {
        if delta.client_quotas_changed.is_empty() {
            return;
        }
        for entity in &delta.client_quotas_changed {
            let values = image.client_quota(entity);
            let limit = |key: &str| values.get(key).map(|value| value.get());
            self.produce.lock().set(entity, limit(key::PRODUCER_BYTE_RATE));
            self.fetch.lock().set(entity, limit(key::CONSUMER_BYTE_RATE));
            self.request.lock().set(entity, limit(key::REQUEST_PERCENTAGE));
            self.mutations.lock().set(entity, limit(key::CONTROLLER_MUTATION_RATE));
            self.connections.lock().set(entity, limit(key::CONNECTION_CREATION_RATE));
        }
        let kinds = [
            (QuotaKind::Produce, self.produce.lock().is_active()),
            (QuotaKind::Fetch, self.fetch.lock().is_active()),
            (QuotaKind::Request, self.request.lock().is_active()),
            (QuotaKind::Mutation, self.mutations.lock().is_active()),
            (QuotaKind::Connection, self.connections.lock().is_active()),
        ];
        let active = kinds.iter().filter(|(_, is_active)| *is_active).fold(0, |bits, (kind, _)| bits | *kind as u8);
        self.active.store(active, Ordering::Relaxed);
    }

    /// Whether anybody is limited by this kind.
    #[must_use]
    pub fn is_active(&self, kind: QuotaKind) -> bool {
        self.active.load(Ordering::Relaxed) & kind as u8 != 0
    }

    /// Records a produce request; the wait that it costs.
    #[must_use]
    pub fn record_produce(&self, client: Client<'_>, bytes: usize) -> Duration {
        if !self.is_active(QuotaKind::Produce) {
            return Duration::ZERO;
        }
        self.produce.lock().record(client, number(bytes), self.clock.monotonic())
    }

    /// Records the time that a handler took; the wait that it costs.
    #[must_use]
    pub fn record_request(&self, client: Client<'_>, spent: Duration) -> Duration {
        if !self.is_active(QuotaKind::Request) {
            return Duration::ZERO;
        }
        self.request.lock().record(client, spent.as_secs_f64() * 100.0, self.clock.monotonic())
    }

    /// Records an answer to a fetch, unless it must wait, or `other_wait` is already to be waited: then it is not sent and does not count. Returns
    /// the longer wait.
    #[must_use]
    pub fn record_fetch(&self, client: Client<'_>, bytes: usize, other_wait: Duration) -> Duration {
        if !self.is_active(QuotaKind::Fetch) {
            return other_wait;
        }
        let now = self.clock.monotonic();
        let mut quota = self.fetch.lock();
        let wait = quota.record(client, number(bytes), now).max(other_wait);
        if !wait.is_zero() {
            quota.take_back(client, number(bytes), now);
        }
        wait
    }

    /// The bytes that a client may fetch at once without being made to wait for sure.
    #[must_use]
    pub fn fetch_bytes_max(&self, client: Client<'_>) -> Option<usize> {
        if !self.is_active(QuotaKind::Fetch) {
            return None;
        }
        let most = self.fetch.lock().most_at_once(client)?;
        // By way of a duration, which is how a float becomes an integer without a lossy cast.
        Duration::try_from_secs_f64(most).ok().and_then(|most| usize::try_from(most.as_secs()).ok())
    }

    /// Records a connection.
    ///
    /// # Errors
    /// How long it is kept waiting before it is closed.
    pub fn connect(&self, address: IpAddr) -> Result<(), Duration> {
        if !self.is_active(QuotaKind::Connection) {
            return Ok(());
        }
        self.connections.lock().connect(address, self.clock.monotonic())
    }

    /// What one request pays for partitions from. `is_strict`: without permits the change is refused; otherwise it is made and waited for.
    #[must_use]
    pub fn mutations_of(self: &Arc<Self>, client: Client<'_>, is_strict: bool) -> RequestMutations {
        let limited = self.is_active(QuotaKind::Mutation).then(|| Limited {
            quotas: Arc::clone(self),
            user: client.user.to_owned(),
            client_id: client.client_id.to_owned(),
            is_strict,
            wait_until: Duration::ZERO,
        });
        RequestMutations { limited }
    }
}

fn number(bytes: usize) -> f64 {
    u32::try_from(bytes).map_or(f64::from(u32::MAX), f64::from)
}

/// One request's account with the quota on changes of partitions.
pub struct RequestMutations {
    /// None if nobody is limited.
    limited: Option<Limited>,
}

struct Limited {
    quotas: Arc<Quotas>,
    user: String,
    client_id: String,
    is_strict: bool,
    wait_until: Duration,
}

impl RequestMutations {
    /// How long the client must wait from here on.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.limited.as_ref().map_or(Duration::ZERO, |limited| limited.wait_until.saturating_sub(limited.quotas.clock.monotonic()))
    }
}

impl metadata::controller::MutationQuota for RequestMutations {
    fn take(&mut self, partitions: usize) -> Result<(), MutationsExhausted> {
        let Some(limited) = &mut self.limited else { return Ok(()) };
        let client = Client { user: &limited.user, client_id: &limited.client_id };
        let now = limited.quotas.clock.monotonic();
        let mut mutations = limited.quotas.mutations.lock();
        if limited.is_strict {
            return mutations.take_strictly(client, number(partitions), now).map_err(|wait| {
                limited.wait_until = now + wait;
                MutationsExhausted
            });
        }
        let wait = mutations.take(client, number(partitions), now);
        if !wait.is_zero() {
            limited.wait_until = now + wait;
        }
        Ok(())
    }
}
