//! The counters that a partition moves: its topic's, and those of all topics together, which a deletion does not take along.

use std::sync::Arc;

use crate::metrics::TopicMetrics;

/// Two sets of counters that move together.
#[derive(Debug, Clone)]
pub struct Traffic {
    topic: Arc<TopicMetrics>,
    all: Arc<TopicMetrics>,
}

impl Traffic {
    pub(super) fn new(topic: Arc<TopicMetrics>, all: Arc<TopicMetrics>) -> Self {
        Self { topic, all }
    }

    /// The topic's own.
    #[must_use]
    pub fn topic(&self) -> &TopicMetrics {
        &self.topic
    }

    /// Counts an append.
    pub(super) fn appended(&self, messages: u64, bytes: u64) {
        self.topic.appended(messages, bytes);
        self.all.appended(messages, bytes);
    }

    /// Counts what a fetch was given; `None` if it was refused.
    pub fn fetched(&self, bytes: Option<u64>) {
        self.topic.fetched(bytes);
        self.all.fetched(bytes);
    }

    /// Counts what a check of retention has dropped.
    pub(super) fn dropped(&self, segments: u64, bytes: u64) {
        self.topic.dropped(segments, bytes);
        self.all.dropped(segments, bytes);
    }

    /// Counts a batch of a request.
    pub fn produced(&self, is_refused: bool) {
        self.topic.produced(is_refused);
        self.all.produced(is_refused);
    }
}
