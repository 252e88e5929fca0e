//! The quota on partitions that are created and deleted (KIP-599).

use core::time::Duration;

use metadata::client_quotas::QuotaEntity;

use crate::limited::Limited;
use crate::limits::Client;
use crate::token_bucket::TokenBucket;
use crate::{Window, wait};

/// The limits of mutations per second, and what is left of them.
#[derive(Debug)]
pub struct MutationQuota {
    window: Window,
    limited: Limited<TokenBucket>,
}

impl MutationQuota {
    /// A quota over a window (`controller.quota.window.*`).
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self { window, limited: Limited::default() }
    }

    /// Sets or removes the limit of an entity, per second.
    pub fn set(&mut self, entity: &QuotaEntity, limit: Option<f64>) {
        self.limited.set(entity, limit);
    }

    /// Whether anybody is limited.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.limited.is_active()
    }

    /// Takes permits if the client has not overdrawn before; how many it takes then does not matter. Otherwise says how long it must wait.
    ///
    /// # Errors
    /// The wait, where the quota is exhausted; nothing is taken.
    pub fn take_strictly(&mut self, client: Client<'_>, permits: f64, now: Duration) -> Result<(), Duration> {
        let window = self.window;
        let taken = self.limited.with(client, now, |bucket, limit| {
            let left = bucket.permits(&window, limit, now);
            if left < 0.0 {
                return Err(wait(-left / limit));
            }
            bucket.take(&window, limit, permits, now);
            Ok(())
        });
        taken.unwrap_or(Ok(()))
    }

    /// Takes permits in any case, and says how long the client must wait for having overdrawn.
    pub fn take(&mut self, client: Client<'_>, permits: f64, now: Duration) -> Duration {
        let window = self.window;
        let waited = self.limited.with(client, now, |bucket, limit| {
            bucket.take(&window, limit, permits, now);
            let left = bucket.permits(&window, limit, now);
            if left < 0.0 { wait(-left / limit) } else { Duration::ZERO }
        });
        waited.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use metadata::client_quotas::USER;

    use super::*;

    const CLIENT: Client<'_> = Client { user: "ANONYMOUS", client_id: "a" };

    fn limited(limit: f64) -> MutationQuota {
        let mut quota = MutationQuota::new(Window::default());
        quota.set(&QuotaEntity([(USER.to_owned(), None)].into()), Some(limit));
        quota
    }

    #[test]
    fn strictly_the_last_permit_buys_any_number_and_then_nothing_is_had_until_the_debt_is_paid() {
        let mut quota = limited(1.0);
        let seconds = Duration::from_secs;
        assert_eq!(quota.take_strictly(CLIENT, 11.0, seconds(9)), Ok(()));
        assert_eq!(quota.take_strictly(CLIENT, 20.0, seconds(9)), Ok(()));
        assert_eq!(quota.take_strictly(CLIENT, 1.0, seconds(9)), Err(seconds(20)));
        assert_eq!(quota.take_strictly(CLIENT, 1.0, seconds(14)), Err(seconds(15)));
        assert_eq!(quota.take_strictly(CLIENT, 1.0, seconds(29)), Ok(()));
    }

    #[test]
    fn permissively_all_is_done_and_the_wait_grows() {
        let mut quota = limited(2.0);
        assert_eq!(quota.take(CLIENT, 22.0, Duration::ZERO), Duration::ZERO);
        assert_eq!(quota.take(CLIENT, 3.0, Duration::ZERO), Duration::from_millis(1500));
        assert_eq!(quota.take(CLIENT, 3.0, Duration::ZERO), Duration::from_millis(3000));
    }

    #[test]
    fn without_a_limit_all_is_had() {
        let mut quota = MutationQuota::new(Window::default());
        assert_eq!(quota.take_strictly(CLIENT, 1e9, Duration::ZERO), Ok(()));
        assert_eq!(quota.take(CLIENT, 1e9, Duration::ZERO), Duration::ZERO);
        assert!(!quota.is_active());
    }
}
