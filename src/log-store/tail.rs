//! The newest batches of a partition in memory: where they lie, and the bytes of the small ones.
//!
//! A batch of more than 8 KiB is only remembered by its place, and served from the file by sendfile. Smaller ones are
//! copied out, so that they do not hold the whole request that they came in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use model::Offset;
use parking_lot::Mutex;

use crate::segment::Segment;

/// Ranges of this size and more go to the socket by sendfile.
pub(crate) const SENDFILE_MIN_BYTES: usize = 16 << 10;

/// Of batches up to this size there is a copy. Larger ones go to the socket by sendfile, too: copies of batches just under 16 KiB took a third of the
/// processor time of their writes, and the tails of 1,000 partitions had room for one each.
pub(crate) const COPIED_MAX_BYTES: usize = 8 << 10;

/// One batch.
#[derive(Clone)]
pub(crate) struct TailBatch {
    pub(crate) base_offset: Offset,
    pub(crate) next_offset: Offset,
    pub(crate) segment: Arc<Segment>,
    pub(crate) position: u64,
    pub(crate) size_bytes: usize,
    /// The batch as it is in the file, if it is small.
    pub(crate) bytes: Option<Bytes>,
}

impl TailBatch {
    fn charge(&self) -> usize {
        size_of::<Self>() + self.bytes.as_ref().map_or(0, Bytes::len)
    }
}

/// The memory of all tails of a store.
pub(crate) struct TailBudget {
    total_max: usize,
    used: AtomicUsize,
    /// Counts appends, to know the partition that rested longest.
    clock: AtomicU64,
}

impl TailBudget {
    pub(crate) fn new(total_max: usize) -> Self {
        Self { total_max, used: AtomicUsize::new(0), clock: AtomicU64::new(0) }
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.total_max
    }

    /// Whether an eighth of it is free.
    pub(crate) fn has_slack(&self) -> bool {
        self.used.load(Ordering::Relaxed) <= self.total_max - self.total_max / 8
    }

    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Batches {
    /// In offset order without gaps between them; the last one ends at the log end.
    queue: VecDeque<TailBatch>,
    charged: usize,
}

/// The tail of one partition.
#[derive(Default)]
pub(crate) struct Tail {
    batches: Mutex<Batches>,
    /// The budget's clock at the last append.
    last_append: AtomicU64,
}

impl Tail {
    pub(crate) fn last_append(&self) -> u64 {
        self.last_append.load(Ordering::Relaxed)
    }

    /// Adds appended batches and drops the oldest beyond `max_bytes`.
    pub(crate) fn extend(&self, added: Vec<TailBatch>, budget: &TailBudget, max_bytes: usize) {
        let mut batches = self.batches.lock();
        let before = batches.charged;
        for batch in added {
            batches.charged += batch.charge();
            batches.queue.push_back(batch);
        }
        while batches.charged > max_bytes
            && let Some(oldest) = batches.queue.pop_front()
        {
            batches.charged -= oldest.charge();
        }
        if batches.charged >= before {
            budget.used.fetch_add(batches.charged - before, Ordering::Relaxed);
        } else {
            budget.used.fetch_sub(before - batches.charged, Ordering::Relaxed);
        }
        self.last_append.store(budget.tick(), Ordering::Relaxed);
    }

    /// Drops everything.
    pub(crate) fn clear(&self, budget: &TailBudget) {
        let mut batches = self.batches.lock();
        budget.used.fetch_sub(batches.charged, Ordering::Relaxed);
        *batches = Batches::default();
    }

    /// Drops the batches that begin before an offset.
    pub(crate) fn drop_before(&self, offset: Offset, budget: &TailBudget) {
        let mut batches = self.batches.lock();
        let before = batches.charged;
        while batches.queue.front().is_some_and(|batch| batch.base_offset < offset)
            && let Some(oldest) = batches.queue.pop_front()
        {
            batches.charged -= oldest.charge();
        }
        budget.used.fetch_sub(before - batches.charged, Ordering::Relaxed);
    }

    /// The batches from the one that contains `from`, as long as they end at or before `end`, lie in one segment and hold at most `max_bytes`
    /// together; the first one is given however large it is. `None` if the first one is not in the tail.
    pub(crate) fn range(&self, from: Offset, end: Offset, max_bytes: usize) -> Option<Vec<TailBatch>> {
        let batches = self.batches.lock();
        let first = batches.queue.partition_point(|batch| batch.next_offset <= from);
        let first_batch = batches.queue.get(first).filter(|batch| batch.base_offset <= from)?;
        let mut range = Vec::new();
        let mut size = 0_usize;
        for batch in batches.queue.range(first..) {
            let fits = range.is_empty() || size + batch.size_bytes <= max_bytes;
            if !fits || batch.next_offset > end || !Arc::ptr_eq(&batch.segment, &first_batch.segment) {
                break;
            }
            size += batch.size_bytes;
            range.push(batch.clone());
        }
        Some(range)
    }
}
