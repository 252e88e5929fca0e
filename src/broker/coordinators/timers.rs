//! Armed timers, by due time and by key.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// Times are monotonic: a wall clock that jumps (a laptop that slept) must not end every session.
pub(super) struct Timers<K> {
    by_time: BTreeMap<(Duration, u64), K>,
    by_key: HashMap<K, (Duration, u64)>,
    next: u64,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { by_time: BTreeMap::new(), by_key: HashMap::new(), next: 0 }
    }
}

impl<K: Clone + Eq + Hash> Timers<K> {
    pub(super) fn arm(&mut self, key: K, at: Duration) {
        self.cancel(&key);
        self.next += 1;
        self.by_time.insert((at, self.next), key.clone());
        self.by_key.insert(key, (at, self.next));
    }

    pub(super) fn cancel(&mut self, key: &K) {
        if let Some(place) = self.by_key.remove(key) {
            self.by_time.remove(&place);
        }
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.by_time.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn pop_due(&mut self, now: Duration) -> Option<K> {
        let entry = self.by_time.first_entry().filter(|entry| entry.key().0 <= now)?;
        let key = entry.remove();
        self.by_key.remove(&key);
        Some(key)
    }
}
