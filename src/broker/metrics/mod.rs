//! What a broker counts, and what an operator reads of it.
//!
//! Counters of the hot path are plain atomics: an array of them for each API, made by its first request, and one set for each topic, held with the
//! partition's handle. So a request takes no lock and no memory for being counted. What is state rather than traffic (log sizes, lag,
//! groups, requests that wait) is looked at when somebody asks ([`collect()`]).
//!
//! Names are Kafka's, as the usual rules of the Prometheus JMX exporter make them from the names of Kafka's MBeans; those of consumer groups are
//! kafka_exporter's. Beyond them the prefix is `klamm_`. Each row says where its name is from ([`rows`]).
//!
//! In Kafka: `RequestChannel.Metrics`, `BrokerTopicStats`, and a gauge in nearly every class.

mod cleaner;
mod collect;
mod families;
mod requests;
pub mod rows;
mod topics;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use cleaner::{CleanerMetrics, CleanerState, LastCleaning};
pub use collect::{Coordinated, Looked, collect, look};
pub use group_coordinator::GroupSummary;
pub use txn_coordinator::TransactionSummary;

pub use families::{CONTENT_TYPE, Families, Kind, Row};
pub use requests::{ApiLabel, FetchBy, RequestMetrics, Requests};
pub use topics::TopicMetrics;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one broker.
#[derive(Debug)]
pub struct Metrics {
    /// Requests, by API.
    pub requests: Requests,
    /// What all topics of this run have taken and given, deleted ones too.
    pub all_topics: Arc<TopicMetrics>,
    /// The log cleaner.
    pub cleaner: CleanerMetrics,
    parked_fetches: AtomicU64,
}

impl Metrics {
    /// All counters at zero, for these APIs.
    #[must_use]
    pub fn new(apis: &[ApiLabel]) -> Arc<Self> {
        Arc::new(Self {
            requests: Requests::new(apis),
            all_topics: Arc::default(),
            cleaner: CleanerMetrics::default(),
            parked_fetches: AtomicU64::new(0),
        })
    }

    /// Fetches that wait for records at this moment.
    #[must_use]
    pub fn parked_fetches(&self) -> u64 {
        self.parked_fetches.load(Ordering::Relaxed)
    }

    /// Counts one fetch as waiting until the returned value is dropped.
    #[must_use]
    pub fn park_fetch(self: &Arc<Self>) -> ParkedFetch {
        self.parked_fetches.fetch_add(1, Ordering::Relaxed);
        ParkedFetch(Arc::clone(self))
    }
}

/// One waiting fetch.
#[derive(Debug)]
pub struct ParkedFetch(Arc<Metrics>);

impl Drop for ParkedFetch {
    fn drop(&mut self) {
        self.0.parked_fetches.fetch_sub(1, Ordering::Relaxed);
    }
}
