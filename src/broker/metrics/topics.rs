//! What a topic has taken and given in this run of the broker (Kafka's `BrokerTopicMetrics`).

use super::Counter;

/// The traffic of one topic, or of all together.
#[derive(Debug, Default)]
pub struct TopicMetrics {
    /// Records appended.
    pub messages_in: Counter,
    /// Bytes of appended batches, as stored.
    pub bytes_in: Counter,
    /// Bytes of batches given to consumers.
    pub bytes_out: Counter,
    /// Batches that were to be appended, one for each partition of a request.
    pub produce_requests: Counter,
    /// Those of them that were refused.
    pub failed_produce_requests: Counter,
    /// Partitions that fetches have asked for.
    pub fetch_requests: Counter,
    /// Those of them that were refused.
    pub failed_fetch_requests: Counter,
    /// Segments that retention has dropped.
    pub dropped_segments: Counter,
    /// Their bytes.
    pub dropped_bytes: Counter,
}

impl TopicMetrics {
    /// Counts an append to one partition.
    pub fn appended(&self, messages: u64, bytes: u64) {
        self.messages_in.add(messages);
        self.bytes_in.add(bytes);
    }

    /// Counts what a fetch of one partition gave, or that it was refused.
    pub fn fetched(&self, bytes: Option<u64>) {
        self.fetch_requests.add(1);
        match bytes {
            Some(bytes) => self.bytes_out.add(bytes),
            None => self.failed_fetch_requests.add(1),
        }
    }

    /// Counts what a check of retention has dropped from one partition.
    pub fn dropped(&self, segments: u64, bytes: u64) {
        self.dropped_segments.add(segments);
        self.dropped_bytes.add(bytes);
    }

    /// Counts one batch that was to be appended.
    pub fn produced(&self, is_refused: bool) {
        self.produce_requests.add(1);
        self.failed_produce_requests.add(u64::from(is_refused));
    }
}
