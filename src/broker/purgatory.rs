//! Requests that wait for a fact about a partition, without holding a thread.
//!
//! A parked Fetch registers one [`FetchWaiter`] with each of its partitions and is woken when one of their ends moves or one of them closes.
//! A Produce with acks=all waits on the partition's own queue (see [`crate::partitions`]).
//!
//! In Kafka: `DelayedOperationPurgatory`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// One parked request. Waking it is cheap and may happen without cause; the request then looks again.
#[derive(Debug, Default)]
pub struct FetchWaiter {
    notify: Notify,
}

impl FetchWaiter {
    /// A waiter that nobody has woken.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Wakes the request; if it is not waiting at this moment, its next wait ends at once.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Waits to be woken.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

/// The parked requests of one partition. Where nobody ever waits, which is usual, it takes no more room than a pointer.
#[derive(Debug, Default)]
pub struct WatchList {
    inner: Mutex<Option<Box<Watchers>>>,
}

#[derive(Debug, Default)]
struct Watchers {
    next_key: u64,
    waiters: BTreeMap<u64, Arc<FetchWaiter>>,
}

impl WatchList {
    /// Adds a waiter. It is woken by every later [`WatchList::wake_all`] until the returned key is removed.
    pub fn register(&self, waiter: &Arc<FetchWaiter>) -> u64 {
        let mut inner = self.inner.lock();
        let inner = inner.get_or_insert_default();
        let key = inner.next_key;
        inner.next_key = inner.next_key.wrapping_add(1);
        inner.waiters.insert(key, Arc::clone(waiter));
        key
    }

    /// Removes a waiter.
    pub fn remove(&self, key: u64) {
        if let Some(inner) = self.inner.lock().as_mut() {
            inner.waiters.remove(&key);
        }
    }

    /// Wakes all waiters.
    pub fn wake_all(&self) {
        for waiter in self.inner.lock().iter().flat_map(|inner| inner.waiters.values()) {
            waiter.wake();
        }
    }

    /// How many requests are parked here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.lock().as_ref().map_or(0, |inner| inner.waiters.len())
    }

    /// Whether none is parked here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wake_before_the_wait_is_not_lost() {
        let list = WatchList::default();
        let waiter = FetchWaiter::new();
        let key = list.register(&waiter);
        list.wake_all();
        waiter.woken().await;
        list.remove(key);
        assert!(list.is_empty());
    }
}
