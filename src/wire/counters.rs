//! What a server counts of its connections: how many came, and why they went.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::CloseReason;

/// The reasons by short names, each at the place of its counter.
const REASONS: [&str; 13] = [
    "peer_closed",
    "idle",
    "partial_frame",
    "write_stalled",
    "frame_size",
    "answer_size",
    "undecodable",
    "refused",
    "panicked",
    "file_too_short",
    "shutting_down",
    "socket",
    "excess",
];

const fn place(reason: &CloseReason) -> usize {
    match reason {
        CloseReason::PeerClosed => 0,
        CloseReason::Idle => 1,
        CloseReason::PartialFrame => 2,
        CloseReason::WriteStalled => 3,
        CloseReason::FrameSize(_) => 4,
        CloseReason::AnswerSize(_) => 5,
        CloseReason::Undecodable(_) => 6,
        CloseReason::Refused(_) => 7,
        CloseReason::Panicked(_) => 8,
        CloseReason::FileTooShort => 9,
        CloseReason::ShuttingDown => 10,
        CloseReason::Socket(_) => 11,
        CloseReason::Excess => 12,
    }
}

/// Counts since the server began.
#[derive(Debug, Default)]
pub struct ConnectionCounters {
    accepted: AtomicU64,
    refused: AtomicU64,
    closed: [AtomicU64; REASONS.len()],
}

impl ConnectionCounters {
    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self, reason: &CloseReason) {
        if let Some(counter) = self.closed.get(place(reason)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Connections that were taken.
    #[must_use]
    pub fn accepted_total(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections that a limit turned away.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Connections that ended, by the reason's short name.
    pub fn closed_totals(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        REASONS.into_iter().zip(&self.closed).map(|(reason, counter)| (reason, counter.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_own_name() {
        let counters = ConnectionCounters::default();
        counters.closed(&CloseReason::WriteStalled);
        counters.closed(&CloseReason::Socket(std::io::ErrorKind::Other.into()));
        counters.closed(&CloseReason::Socket(std::io::ErrorKind::Other.into()));
        let found: Vec<_> = counters.closed_totals().filter(|(_, count)| *count > 0).collect();
        assert_eq!(found, [("write_stalled", 1), ("socket", 2)]);
    }
}
