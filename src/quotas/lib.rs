//! Client quotas: who is limited by which quota, what was used of it lately, and how long whoever used too much has to wait.
//!
//! What it is *not*: it mutes no connection and delays no answer (`broker` and `wire` do), it does not decide which quotas there are (`metadata`
//! does), and it knows no time but what it is told.
//!
//! Invariants:
//! - The most specific quota holds: (user, client id), then user, then client id, each before its default ([`limits`]).
//! - What nobody limits is not tracked, and what is tracked is bounded in number and forgotten after an hour without use ([`sensors`]).
//! - A wait is what it takes to bring the rate to the quota over a window longer by the wait: (rate - quota) / quota * window, as in Kafka.
//!
//! In Kafka: `ClientQuotaManager`, `ClientRequestQuotaManager`, `ControllerMutationQuotaManager`, `ReplicationQuotaManager`, `ConnectionQuotas`, `QuotaUtils`, and of its
//! metrics `Rate`, `SampledStat` and `TokenBucket`.
//!
//! The path: [`RateQuota::record`] -> `limited` -> `limits` (whose quota is it), `sensors` (what did they use) -> `rate` (how fast is that).
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod connection_quota;
mod connection_rate;
mod limited;
mod limits;
mod mutation_quota;
mod rate;
mod rate_quota;
mod replication_quota;
mod sensors;
mod token_bucket;

use core::time::Duration;

pub use connection_quota::ConnectionQuota;
pub use connection_rate::ConnectionRate;
pub use limits::{Client, Limits};
pub use mutation_quota::MutationQuota;
pub use rate_quota::RateQuota;
pub use replication_quota::ReplicationQuota;

/// Kafka's names of the quotas' values.
pub mod key {
    /// Bytes per second of produce requests.
    pub const PRODUCER_BYTE_RATE: &str = "producer_byte_rate";
    /// Bytes per second of answers to fetches.
    pub const CONSUMER_BYTE_RATE: &str = "consumer_byte_rate";
    /// Time of handlers, in percent of one thread.
    pub const REQUEST_PERCENTAGE: &str = "request_percentage";
    /// Partitions created and deleted per second.
    pub const CONTROLLER_MUTATION_RATE: &str = "controller_mutation_rate";
    /// Connections per second.
    pub const CONNECTION_CREATION_RATE: &str = "connection_creation_rate";
}

/// Over what span a rate is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many samples are kept (`quota.window.num`).
    pub samples: u32,
    /// The length of one (`quota.window.size.seconds`).
    pub length: Duration,
}

impl Window {
    /// All samples together.
    #[must_use]
    pub fn span(&self) -> Duration {
        self.length.saturating_mul(self.samples)
    }
}

impl Default for Window {
    fn default() -> Self {
        Self { samples: 11, length: Duration::from_secs(1) }
    }
}

/// A wait of so many seconds, to the millisecond, as it is told to clients. What no wire can say is cut to what it can.
fn wait(seconds: f64) -> Duration {
    const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);
    Duration::try_from_secs_f64((seconds * 1000.0).round() / 1000.0).map_or(LONGEST, |wait| wait.min(LONGEST))
}
