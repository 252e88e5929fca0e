//! The bytes that requests in flight may hold, over all connections (Kafka's `MemoryPool`, `queued.max.request.bytes`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::BoxFuture;

/// A fair byte semaphore: who asks first is granted first, so a large frame is not starved by small ones.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    semaphore: Arc<Semaphore>,
    total_bytes: usize,
    waits: Arc<AtomicU64>,
}

/// A part of the budget; dropping it gives the bytes back.
#[derive(Debug)]
pub struct BudgetPermit(#[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

impl MemoryBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(total_bytes: usize) -> Self {
        let total_bytes = total_bytes.min(Semaphore::MAX_PERMITS);
        Self { semaphore: Arc::new(Semaphore::new(total_bytes)), total_bytes, waits: Arc::default() }
    }

    /// The whole budget.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// What is free now.
    #[must_use]
    pub fn available_bytes(&self) -> usize {
        self.semaphore.available_permits()
    }

    /// How often a frame had to wait for its bytes.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// Takes the bytes if they are free. A request for more than the whole budget counts as one for all of it: it then runs alone.
    #[must_use]
    pub fn try_take(&self, bytes: usize) -> Option<BudgetPermit> {
        let permit = Arc::clone(&self.semaphore).try_acquire_many_owned(self.charge(bytes)).ok()?;
        Some(BudgetPermit(Some(permit)))
    }

    /// Waits for the bytes.
    #[must_use]
    pub fn take(&self, bytes: usize) -> BoxFuture<'static, BudgetPermit> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        let semaphore = Arc::clone(&self.semaphore);
        let charge = self.charge(bytes);
        // The semaphore is never closed, so there always is a permit in the end.
        Box::pin(async move { BudgetPermit(semaphore.acquire_many_owned(charge).await.ok()) })
    }

    fn charge(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.total_bytes)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_return_when_the_permit_is_dropped_and_a_giant_takes_all() {
        let budget = MemoryBudget::new(100);
        let giant = budget.try_take(1000).expect("all is free");
        assert_eq!(budget.available_bytes(), 0);
        assert!(budget.try_take(1).is_none());
        drop(giant);
        assert_eq!(budget.available_bytes(), 100);
    }
}
