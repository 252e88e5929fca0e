//! A quota on something per second: bytes, or time of handlers.

use core::time::Duration;

use metadata::client_quotas::QuotaEntity;

use crate::limited::Limited;
use crate::limits::Client;
use crate::rate::Rate;
use crate::{Window, wait};

/// The limits of one kind, and what was used of them.
#[derive(Debug)]
pub struct RateQuota {
    window: Window,
    limited: Limited<Rate>,
    /// The longest wait, where there is one.
    wait_max: Duration,
}

impl RateQuota {
    /// A quota on bytes: waits are as long as it takes.
    #[must_use]
    pub fn of_bytes(window: Window) -> Self {
        Self { window, limited: Limited::default(), wait_max: Duration::MAX }
    }

    /// A quota on time of handlers: no wait is longer than one sample of the window (`ClientRequestQuotaManager`).
    #[must_use]
    pub fn of_time(window: Window) -> Self {
        Self { wait_max: window.length, ..Self::of_bytes(window) }
    }

    /// Sets or removes the limit of an entity, per second. It holds from the next record on.
    pub fn set(&mut self, entity: &QuotaEntity, limit: Option<f64>) {
        self.limited.set(entity, limit);
    }

    /// Whether anybody is limited.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.limited.is_active()
    }

    /// Records a use and says how long the client must wait.
    pub fn record(&mut self, client: Client<'_>, value: f64, now: Duration) -> Duration {
        let (window, wait_max) = (self.window, self.wait_max);
        let waited = self.limited.with(client, now, |rate, limit| {
            rate.record(&window, value, now);
            let (measured, span) = rate.measure(&window, now);
            if measured <= limit { Duration::ZERO } else { wait((measured - limit) / limit * span.as_secs_f64()).min(wait_max) }
        });
        waited.unwrap_or_default()
    }

    /// Takes a use back that was recorded at this moment: what was thrown away was not used.
    pub fn take_back(&mut self, client: Client<'_>, value: f64, now: Duration) {
        let window = self.window;
        self.limited.with_known(client, |rate| rate.record(&window, -value, now));
    }

    /// What a client may use at once without being made to wait for sure; `None` if it is not limited.
    #[must_use]
    pub fn most_at_once(&self, client: Client<'_>) -> Option<f64> {
        let limit = self.limited.limit(client)?;
        Some(limit * self.window.length.saturating_mul(self.window.samples.saturating_sub(1)).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use metadata::client_quotas::{CLIENT_ID, USER};

    use super::*;

    const CLIENT: Client<'_> = Client { user: "ANONYMOUS", client_id: "p" };

    fn entity(kind: &str, name: Option<&str>) -> QuotaEntity {
        QuotaEntity([(kind.to_owned(), name.map(str::to_owned))].into())
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The numbers are those that Kafka computes for the same sequence: 400 a second for ten seconds, then 2300 within half a second, are 600 a
    /// second over 10.5 s where 500 are allowed.
    #[test]
    fn a_spike_waits_until_the_window_is_back_at_the_quota() {
        let mut quota = RateQuota::of_bytes(Window::default());
        quota.set(&entity(CLIENT_ID, None), Some(500.0));
        let mut now = 0;
        for _ in 0..10 {
            assert_eq!(quota.record(CLIENT, 400.0, millis(now)), Duration::ZERO);
            now += 1000;
        }
        now += 500;
        assert_eq!(quota.record(CLIENT, 2300.0, millis(now)), millis(2100));
        now += 2100;
        // The window forgets in steps of whole samples, so a little is left to wait for.
        assert_eq!(quota.record(CLIENT, 0.0, millis(now)), millis(400));
        for _ in 0..10 {
            quota.record(CLIENT, 400.0, millis(now));
            now += 1000;
        }
        assert_eq!(quota.record(CLIENT, 0.0, millis(now)), Duration::ZERO);
    }

    #[test]
    fn a_changed_limit_holds_at_once_and_a_removed_one_no_more() {
        let mut quota = RateQuota::of_bytes(Window::default());
        assert_eq!(quota.record(CLIENT, 1e9, millis(0)), Duration::ZERO);
        quota.set(&entity(USER, None), Some(100.0));
        assert_eq!(quota.record(CLIENT, 1100.0, millis(0)), millis(1000));
        assert_eq!(quota.most_at_once(CLIENT), Some(1000.0));
        quota.set(&entity(USER, Some("ANONYMOUS")), Some(110.0));
        assert_eq!(quota.record(CLIENT, 0.0, millis(0)), Duration::ZERO);
        quota.set(&entity(USER, Some("ANONYMOUS")), None);
        quota.set(&entity(USER, None), None);
        assert_eq!(quota.record(CLIENT, 1e9, millis(0)), Duration::ZERO);
        assert_eq!((quota.is_active(), quota.most_at_once(CLIENT)), (false, None));
    }

    #[test]
    fn clients_of_one_user_share_its_quota_and_client_ids_do_not() {
        let mut quota = RateQuota::of_bytes(Window::default());
        quota.set(&entity(USER, None), Some(100.0));
        let other = Client { client_id: "q", ..CLIENT };
        assert_eq!(quota.record(CLIENT, 600.0, millis(0)), Duration::ZERO);
        assert_eq!(quota.record(other, 600.0, millis(0)), millis(2000));
        let mut quota = RateQuota::of_bytes(Window::default());
        quota.set(&entity(CLIENT_ID, None), Some(100.0));
        assert_eq!(quota.record(CLIENT, 600.0, millis(0)), Duration::ZERO);
        assert_eq!(quota.record(other, 600.0, millis(0)), Duration::ZERO);
    }

    #[test]
    fn what_was_taken_back_does_not_count() {
        let mut quota = RateQuota::of_bytes(Window::default());
        quota.set(&entity(USER, None), Some(100.0));
        assert!(quota.record(CLIENT, 5000.0, millis(0)) > Duration::ZERO);
        quota.take_back(CLIENT, 5000.0, millis(0));
        assert_eq!(quota.record(CLIENT, 1000.0, millis(1)), Duration::ZERO);
    }

    #[test]
    fn time_of_handlers_waits_at_most_one_sample_and_bytes_as_long_as_the_wire_can_say() {
        let mut quota = RateQuota::of_time(Window::default());
        quota.set(&entity(USER, None), Some(1.0));
        assert_eq!(quota.record(CLIENT, 1e6, millis(0)), millis(1000));
        let mut quota = RateQuota::of_bytes(Window::default());
        quota.set(&entity(USER, None), Some(1.0));
        assert_eq!(quota.record(CLIENT, 1e18, millis(0)), millis(u64::from(i32::MAX.unsigned_abs())));
    }
}
