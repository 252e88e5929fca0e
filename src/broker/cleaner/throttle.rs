//! The rate at which all cleanings together may read and write (`Throttler`).

use std::time::Duration;

use parking_lot::Mutex;

/// A wait shorter than this is put off to the next one.
const WAIT_MIN: Duration = Duration::from_millis(50);

/// Turns a rate into waits.
pub(super) struct Throttle {
    bytes_per_second: f64,
    /// When what was read and written so far is paid for.
    paid_at: Mutex<Duration>,
}

impl Throttle {
    pub(super) fn new(bytes_per_second: f64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1.0), paid_at: Mutex::new(Duration::ZERO) }
    }

    /// Takes note of some I/O; until when to wait, if it is long enough to be worth it.
    pub(super) fn charge(&self, bytes: u64, now: Duration) -> Option<Duration> {
        // Single pieces are far below 4 GiB; what is not costs the most that there is.
        let cost = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / self.bytes_per_second;
        let mut paid_at = self.paid_at.lock();
        *paid_at = (*paid_at).max(now).saturating_add(Duration::try_from_secs_f64(cost).unwrap_or(Duration::MAX));
        (paid_at.saturating_sub(now) >= WAIT_MIN).then_some(*paid_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_becomes_waits_that_add_up() {
        let throttle = Throttle::new(1_000.0);
        let mut now = Duration::from_secs(7);
        let began = now;
        for _ in 0..100 {
            if let Some(deadline) = throttle.charge(30, now) {
                assert!(deadline >= now + WAIT_MIN);
                now = deadline;
            }
        }
        assert_eq!((now - began).as_millis() / 100, 30);
    }

    #[test]
    fn two_who_share_a_rate_have_half_of_it_each() {
        let throttle = Throttle::new(1_000.0);
        let mut clocks = [Duration::ZERO; 2];
        for _ in 0..100 {
            // Whoever is behind goes on.
            let next = usize::from(clocks[1] < clocks[0]);
            if let Some(deadline) = throttle.charge(100, clocks[next]) {
                clocks[next] = deadline;
            }
        }
        assert_eq!(clocks.iter().max().map(Duration::as_secs), Some(10));
    }

    #[test]
    fn without_a_limit_nothing_waits_and_time_without_work_is_not_saved_up() {
        assert_eq!(Throttle::new(f64::MAX).charge(u64::MAX, Duration::ZERO), None);
        assert_eq!(Throttle::new(10.0).charge(10, Duration::from_secs(100)), Some(Duration::from_secs(101)));
    }
}
