//! What is counted of a request: that it came, how long it took, and the codes of its answer.

use std::sync::Arc;
use std::time::Duration;

use broker::Broker;
use broker::metrics::{FetchBy, RequestMetrics};
use model::Piece;
use wire::Outcome;

/// A request under way. It counts into atomics that the API's first request has made, so it takes neither a lock nor memory.
#[derive(Clone)]
pub(crate) struct Measure {
    broker: Arc<Broker>,
    /// Where its API stands in the list.
    place: usize,
    key: i16,
    version: i16,
    began: Duration,
}

impl Measure {
    /// Counts a request of the API at a place of the list, and begins its time.
    pub(crate) fn begin(broker: &Arc<Broker>, place: usize, key: i16, version: i16) -> Self {
        let measure = Self { broker: Arc::clone(broker), place, key, version, began: broker.clock.monotonic() };
        if let Some(metrics) = measure.metrics() {
            metrics.began(version);
        }
        measure
    }

    /// Counts the answer: its time and its codes. It gives the answer back.
    pub(crate) fn end(&self, outcome: Outcome) -> Outcome {
        if let Outcome::Reply(frame) = &outcome
            && let [Piece::Memory(answer)] = frame.pieces.as_slice()
            && let Some(metrics) = self.metrics()
        {
            // The correlation id, and from header version 1 on the empty tagged fields.
            let head = if protocol::response_header_version(self.key, self.version) == Some(1) { 5 } else { 4 };
            let body = answer.get(head..).unwrap_or_default();
            if let Err(error) = protocol::error_codes(self.key, self.version, body, &mut |code| metrics.told(code)) {
                tracing::error!(api = metrics.name(), version = self.version, %error, "an answer is not of its own shape");
            }
        }
        self.took();
        outcome
    }

    /// Counts a fetch's answer, whose pieces hold records: the codes come from what it was made of.
    pub(crate) fn end_fetch(&self, by: FetchBy, codes: impl Iterator<Item = i16>) {
        let (Some(metrics), kind) = (self.metrics(), self.broker.metrics.requests.fetch(by)) else { return };
        for code in codes {
            metrics.told(code);
            kind.told(code);
        }
        kind.began(self.version);
        kind.took(self.time());
        self.took();
    }

    fn took(&self) {
        if let Some(metrics) = self.metrics() {
            metrics.took(self.time());
        }
    }

    fn time(&self) -> Duration {
        self.broker.clock.monotonic().saturating_sub(self.began)
    }

    fn metrics(&self) -> Option<&RequestMetrics> {
        self.broker.metrics.requests.at(self.place)
    }
}
