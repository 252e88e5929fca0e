//! The limit of throttled replication: bytes per second, over one window for all throttled replicas of a broker.

use core::time::Duration;

use crate::Window;
use crate::rate::Rate;

/// Kafka's `replication.quota.window.num` and `replication.quota.window.size.seconds` by default.
const WINDOW: Window = Window { samples: 11, length: Duration::from_secs(1) };

/// How fast throttled replicas may be filled, and how fast they were.
#[derive(Debug, Default)]
pub struct ReplicationQuota {
    limit: Option<f64>,
    used: Rate,
}

impl ReplicationQuota {
    /// Sets or removes the limit, in bytes per second. What was used so far counts.
    pub fn set(&mut self, limit: Option<f64>) {
        self.limit = limit;
    }

    /// Whether there is a limit.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Counts bytes that a throttled replica got. Without a limit nothing is counted.
    pub fn record(&mut self, bytes: f64, now: Duration) {
        if self.is_limited() {
            self.used.record(&WINDOW, bytes, now);
        }
    }

    /// Whether more than the limit was used lately, so that throttled replicas get nothing at present (`ReplicationQuotaManager.isQuotaExceeded`).
    pub fn is_exceeded(&mut self, now: Duration) -> bool {
        self.limit.is_some_and(|limit| self.used.measure(&WINDOW, now).0 > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_exceeded_until_the_window_has_thinned_it_out() {
        let (mut quota, seconds) = (ReplicationQuota::default(), Duration::from_secs);
        quota.record(1e9, seconds(0));
        assert!(!quota.is_exceeded(seconds(0)) && !quota.is_limited());
        quota.set(Some(100.0));
        // A burst counts over ten seconds, the window less the sample that is being filled.
        quota.record(1000.0, seconds(0));
        assert!(!quota.is_exceeded(seconds(0)));
        quota.record(100.0, seconds(0));
        assert!(quota.is_exceeded(seconds(1)) && quota.is_exceeded(seconds(9)));
        assert!(!quota.is_exceeded(seconds(11)), "1100 bytes in 11 seconds");
        quota.set(None);
        quota.record(1e9, seconds(12));
        assert!(!quota.is_exceeded(seconds(12)));
    }

    #[test]
    fn a_limit_of_zero_lets_nothing_through_after_the_first() {
        let mut quota = ReplicationQuota::default();
        quota.set(Some(0.0));
        assert!(!quota.is_exceeded(Duration::ZERO));
        quota.record(1.0, Duration::ZERO);
        assert!(quota.is_exceeded(Duration::from_secs(5)));
    }
}
