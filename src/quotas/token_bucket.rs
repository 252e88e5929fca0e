//! A bucket of permits that fills at the rate of the quota (`TokenBucket`, KIP-599).

use core::time::Duration;

use crate::Window;

/// The permits that are left; below zero are those that were taken in advance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TokenBucket {
    /// The permits at some moment; none of it yet means a full bucket.
    filled: Option<(f64, Duration)>,
}

impl TokenBucket {
    /// The permits now. The bucket holds what the whole window brings.
    pub(crate) fn permits(&mut self, window: &Window, quota: f64, now: Duration) -> f64 {
        let most = window.span().as_secs_f64() * quota;
        let permits = match self.filled {
            Some((permits, at)) => most.min(permits + quota * now.saturating_sub(at).as_secs_f64()),
            None => most,
        };
        self.filled = Some((permits, now));
        permits
    }

    /// Takes permits, also more than there are.
    pub(crate) fn take(&mut self, window: &Window, quota: f64, permits: f64, now: Duration) {
        let left = self.permits(window, quota, now) - permits;
        self.filled = Some((left, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_full_may_go_below_zero_and_fills_at_the_rate_of_the_quota() {
        let (window, mut bucket) = (Window::default(), TokenBucket::default());
        let seconds = Duration::from_secs;
        assert_eq!(bucket.permits(&window, 2.0, seconds(100)), 22.0);
        bucket.take(&window, 2.0, 30.0, seconds(100));
        assert_eq!(bucket.permits(&window, 2.0, seconds(100)), -8.0);
        assert_eq!(bucket.permits(&window, 2.0, seconds(103)), -2.0);
        assert_eq!(bucket.permits(&window, 2.0, seconds(1000)), 22.0);
    }
}
