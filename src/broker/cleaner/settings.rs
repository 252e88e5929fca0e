//! What the broker's configuration says of the cleaner at this moment.

use std::time::Duration;

use crate::Broker;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) is_enabled: bool,
    /// How many logs may be cleaned at once.
    pub(super) threads: usize,
    pub(super) backoff: Duration,
    /// What the map of keys of each may take.
    pub(super) map_bytes: usize,
    pub(super) load_factor: f64,
    /// Of all of them together.
    pub(super) bytes_per_second: f64,
}

impl Settings {
    pub(super) fn now(broker: &Broker) -> Self {
        let image = broker.metadata.image();
        Self::read(&|key| broker.config.effective(&image, key))
    }

    fn read(text: &dyn Fn(&str) -> String) -> Self {
        let number = |key: &str| text(key).parse::<u64>().unwrap_or(0);
        let float = |key: &str, otherwise: f64| text(key).parse::<f64>().unwrap_or(otherwise);
        let threads = number("log.cleaner.threads");
        let map_bytes = number("log.cleaner.dedupe.buffer.size") / threads.max(1);
        Self {
            is_enabled: text("log.cleaner.enable").eq_ignore_ascii_case("true"),
            threads: usize::try_from(threads).unwrap_or(usize::MAX),
            // Kafka takes 0, too; a broker that does nothing else must not be one that never rests.
            backoff: Duration::from_millis(number("log.cleaner.backoff.ms").max(1)),
            map_bytes: usize::try_from(map_bytes).unwrap_or(usize::MAX),
            load_factor: float("log.cleaner.io.buffer.load.factor", 0.9),
            bytes_per_second: float("log.cleaner.io.max.bytes.per.second", f64::MAX),
        }
    }

    /// How many logs may be cleaned at once, as it is switched on or off.
    pub(super) fn slots(&self) -> usize {
        if self.is_enabled { self.threads } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(threads: &str, enable: &str) -> Settings {
        Settings::read(&|key| match key {
            "log.cleaner.threads" => threads.to_owned(),
            "log.cleaner.enable" => enable.to_owned(),
            "log.cleaner.dedupe.buffer.size" => "134217728".to_owned(),
            _ => String::new(),
        })
    }

    #[test]
    fn all_threads_together_have_the_memory_that_is_given() {
        for threads in 1..=64 {
            let settings = read(&threads.to_string(), "true");
            assert_eq!(settings.slots(), threads);
            assert!(settings.map_bytes * threads <= 134_217_728 && settings.map_bytes * (threads + 1) > 134_217_728 / 2);
        }
    }

    #[test]
    fn without_threads_or_switched_off_nothing_is_cleaned() {
        assert_eq!((read("0", "true").slots(), read("3", "false").slots()), (0, 0));
    }
}
