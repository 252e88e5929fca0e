//! What clients used lately, bounded in number.

use core::borrow::Borrow;
use core::hash::Hash;
use core::time::Duration;
use std::collections::HashMap;

/// After so long without use a sensor is forgotten, as in Kafka.
const IDLE_MAX: Duration = Duration::from_secs(3600);
/// How often idle ones are looked for.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);
/// The most sensors of one kind: client ids are free to invent, so that the longest idle ones make room for new ones.
const COUNT_MAX: usize = 10_000;

#[derive(Debug)]
struct Entry<S> {
    sensor: S,
    last_use: Duration,
}

/// Sensors by key.
#[derive(Debug)]
pub(crate) struct Sensors<K, S> {
    entries: HashMap<K, Entry<S>>,
    next_purge: Duration,
}

impl<K, S> Default for Sensors<K, S> {
    fn default() -> Self {
        Self { entries: HashMap::new(), next_purge: Duration::ZERO }
    }
}

impl<K: Eq + Hash, S: Default> Sensors<K, S> {
    /// Acts on the sensor of a key, which is new if the key was not used lately.
    pub(crate) fn with<Q, R>(&mut self, key: &Q, now: Duration, act: impl FnOnce(&mut S) -> R) -> R
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.last_use = now;
            return act(&mut entry.sensor);
        }
        self.make_room(now);
        let mut sensor = S::default();
        let result = act(&mut sensor);
        self.entries.insert(key.to_owned(), Entry { sensor, last_use: now });
        result
    }

    /// Acts on the sensor of a key, if there is one.
    pub(crate) fn with_known<Q: Eq + Hash + ?Sized>(&mut self, key: &Q, act: impl FnOnce(&mut S))
    where
        K: Borrow<Q>,
    {
        if let Some(entry) = self.entries.get_mut(key) {
            act(&mut entry.sensor);
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.entries = HashMap::new();
    }

    fn make_room(&mut self, now: Duration) {
        if now < self.next_purge && self.entries.len() < COUNT_MAX {
            return;
        }
        self.next_purge = now + PURGE_INTERVAL;
        self.entries.retain(|_, entry| now.saturating_sub(entry.last_use) < IDLE_MAX);
        if self.entries.len() >= COUNT_MAX {
            // A quarter at once, so that whoever invents client ids does not have all of them looked through each time.
            let mut uses: Vec<Duration> = self.entries.values().map(|entry| entry.last_use).collect();
            let (_, oldest, _) = uses.select_nth_unstable(COUNT_MAX / 4);
            let oldest = *oldest;
            let mut surplus = COUNT_MAX / 4;
            self.entries.retain(|_, entry| {
                let stays = entry.last_use > oldest || surplus == 0;
                surplus -= usize::from(!stays);
                stays
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_is_forgotten_after_an_hour_without_use() {
        let mut sensors: Sensors<String, u32> = Sensors::default();
        let seconds = Duration::from_secs;
        sensors.with("a", seconds(0), |used| *used += 1);
        sensors.with("b", seconds(3000), |used| *used += 1);
        sensors.with("a", seconds(3500), |used| *used += 1);
        sensors.with("c", seconds(6600), |_| ());
        assert_eq!(sensors.entries.len(), 2);
        assert_eq!(sensors.with("a", seconds(6600), |used| *used), 2);
    }

    #[test]
    fn their_number_is_bounded_and_the_longest_idle_ones_go_first() {
        let mut sensors: Sensors<String, u32> = Sensors::default();
        sensors.with("kept", Duration::ZERO, |used| *used = 7);
        for number in 0..50_000_u64 {
            sensors.with(format!("{number}").as_str(), Duration::from_millis(number), |_| ());
            sensors.with("kept", Duration::from_millis(number), |_| ());
            assert!(sensors.entries.len() <= COUNT_MAX);
        }
        assert_eq!(sensors.with("kept", Duration::from_secs(50), |used| *used), 7);
        for same_moment in 0..50_000_u64 {
            sensors.with(format!("x{same_moment}").as_str(), Duration::from_secs(60), |_| ());
        }
        assert!(sensors.entries.len() <= COUNT_MAX);
    }
}
