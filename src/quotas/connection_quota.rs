//! The quota on new connections by address (KIP-612).

use core::net::IpAddr;
use core::time::Duration;
use std::collections::HashMap;

use metadata::client_quotas::{IP, QuotaEntity};

use crate::rate::Rate;
use crate::sensors::Sensors;
use crate::{Window, wait};

/// The limits of connections per second, and how many there were lately.
#[derive(Debug)]
pub struct ConnectionQuota {
    window: Window,
    by_address: HashMap<IpAddr, f64>,
    default: Option<f64>,
    sensors: Sensors<IpAddr, Rate>,
}

impl ConnectionQuota {
    /// A quota over a window (`quota.window.*`).
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self { window, by_address: HashMap::new(), default: None, sensors: Sensors::default() }
    }

    /// Sets or removes the limit of an address or of the default. Entities of other kinds change nothing.
    pub fn set(&mut self, entity: &QuotaEntity, limit: Option<f64>) {
        let Some(name) = entity.0.get(IP) else { return };
        match (name.as_deref().map(str::parse::<IpAddr>), limit) {
            (None, limit) => self.default = limit,
            (Some(Ok(address)), Some(limit)) => {
                self.by_address.insert(address.to_canonical(), limit);
            }
            (Some(Ok(address)), None) => {
                self.by_address.remove(&address.to_canonical());
            }
            (Some(Err(_)), _) => {}
        }
        if !self.is_active() {
            self.sensors.clear();
        }
    }

    /// Whether any address is limited.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.default.is_some() || !self.by_address.is_empty()
    }

    /// Records a connection, or says how long it is to be kept waiting before it is closed; then it does not count.
    ///
    /// # Errors
    /// The wait, at most one sample of the window.
    pub fn connect(&mut self, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let Some(limit) = self.by_address.get(&address).copied().or(self.default) else { return Ok(()) };
        let window = self.window;
        self.sensors.with(&address, now, |rate| {
            rate.record(&window, 1.0, now);
            let (measured, span) = rate.measure(&window, now);
            if measured <= limit {
                return Ok(());
            }
            rate.record(&window, -1.0, now);
            Err(wait((measured - limit) / limit * span.as_secs_f64()).min(window.length))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_connects_at_its_rate_over_the_window_and_others_at_the_defaults() {
        let mut quota = ConnectionQuota::new(Window::default());
        let entity = |name: Option<&str>| QuotaEntity([(IP.to_owned(), name.map(str::to_owned))].into());
        let [one, other] = ["127.0.0.1", "::1"].map(|address| address.parse::<IpAddr>().expect("an address"));
        assert_eq!(quota.connect(one, Duration::ZERO), Ok(()));
        quota.set(&entity(Some("127.0.0.1")), Some(1.0));
        let tries: Vec<_> = (0..12).map(|_| quota.connect(one, Duration::ZERO)).collect();
        assert!(tries[..10].iter().all(Result::is_ok));
        assert_eq!(tries[10..], [Err(Duration::from_secs(1)); 2]);
        assert_eq!(quota.connect(other, Duration::ZERO), Ok(()));
        assert!(quota.connect(one, Duration::from_secs(10)).is_err());
        // Refused ones were not counted: when the first ten have left the window, as many are free again.
        assert!((0..10).all(|_| quota.connect(one, Duration::from_secs(11)).is_ok()));
        quota.set(&entity(None), Some(0.1));
        assert_eq!(quota.connect(other, Duration::ZERO), Ok(()));
        assert!(quota.connect(other, Duration::ZERO).is_err());
        quota.set(&entity(None), None);
        quota.set(&entity(Some("127.0.0.1")), None);
        assert!(!quota.is_active());
        assert_eq!(quota.connect(one, Duration::ZERO), Ok(()));
    }
}
