//! Who is limited, and what they used: the part that is the same for each quota of users and client ids.

use core::fmt::Write as _;
use core::time::Duration;

use metadata::client_quotas::QuotaEntity;

use crate::limits::{Client, Limits};
use crate::sensors::Sensors;

/// The limits of one kind, and a sensor for each entity that they limit.
#[derive(Debug)]
pub(crate) struct Limited<S> {
    limits: Limits,
    sensors: Sensors<String, S>,
    /// The key that is looked for; kept so that a look-up allocates nothing.
    key: String,
}

impl<S> Default for Limited<S> {
    fn default() -> Self {
        Self { limits: Limits::default(), sensors: Sensors::default(), key: String::new() }
    }
}

impl<S: Default> Limited<S> {
    /// Sets or removes the limit of an entity, per second. It holds from the next use on.
    pub(crate) fn set(&mut self, entity: &QuotaEntity, limit: Option<f64>) {
        self.limits.set(entity, limit);
        if self.limits.is_empty() {
            self.sensors.clear();
        }
    }

    /// Whether anybody is limited.
    pub(crate) fn is_active(&self) -> bool {
        !self.limits.is_empty()
    }

    /// The client's limit, if it has one.
    pub(crate) fn limit(&self, client: Client<'_>) -> Option<f64> {
        self.limits.find(client).map(|found| found.limit)
    }

    /// Acts on the sensor and the limit of a client that is limited.
    pub(crate) fn with<R>(&mut self, client: Client<'_>, now: Duration, act: impl FnOnce(&mut S, f64) -> R) -> Option<R> {
        let found = self.limits.find(client)?;
        write_key(&mut self.key, found.shared);
        Some(self.sensors.with(self.key.as_str(), now, |sensor| act(sensor, found.limit)))
    }

    /// Acts on the sensor of a client that has one.
    pub(crate) fn with_known(&mut self, client: Client<'_>, act: impl FnOnce(&mut S)) {
        if let Some(found) = self.limits.find(client) {
            write_key(&mut self.key, found.shared);
            self.sensors.with_known(self.key.as_str(), act);
        }
    }
}

/// One text for a pair; the length keeps apart what would read the same.
fn write_key(key: &mut String, shared: Client<'_>) {
    key.clear();
    // Writing to a String cannot fail.
    let _ = write!(key, "{}:{}{}", shared.user.len(), shared.user, shared.client_id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_pairs_differ() {
        let key = |user, client_id| {
            let mut key = String::new();
            write_key(&mut key, Client { user, client_id });
            key
        };
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert_ne!(key("", "1:a"), key("1", ":a"));
    }
}
