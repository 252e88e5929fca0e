//! When a segment is full. Pure.
//!
//! In Kafka: `LogSegment.shouldRoll`, `LogConfig.randomSegmentJitter`.

use model::{Offset, TopicIdPartition};

/// A segment that may have to make room for the next, and what is to be appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RollFacts {
    pub(crate) base_offset: Offset,
    pub(crate) size_bytes: u64,
    /// The largest timestamp of its first batch, if it has one.
    pub(crate) first_timestamp: Option<i64>,
    /// When it was made, or first seen in this life of the process.
    pub(crate) created_ms: i64,
    pub(crate) appended_bytes: u64,
    /// The largest timestamp of what is to be appended, -1 if there is none.
    pub(crate) appended_timestamp: i64,
    /// The offset after it.
    pub(crate) appended_end: Offset,
    pub(crate) now_ms: i64,
}

/// The limits of one segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RollLimits {
    pub(crate) segment_bytes: u64,
    pub(crate) segment_ms: i64,
    /// What this segment's time is shortened by.
    pub(crate) jitter_ms: i64,
}

/// Whether the next segment begins with the append: by size, by time, or because offsets within a segment must fit 31 bits. Time is counted
/// from the first batch to the appended one, or by the clock where the first one has no timestamp.
pub(crate) fn should_roll(facts: &RollFacts, limits: &RollLimits) -> bool {
    if facts.size_bytes == 0 {
        return false;
    }
    let waited_ms = match facts.first_timestamp {
        Some(first) => facts.appended_timestamp.saturating_sub(first),
        None => facts.now_ms.saturating_sub(facts.created_ms),
    };
    facts.size_bytes.saturating_add(facts.appended_bytes) > limits.segment_bytes
        || facts.appended_end - facts.base_offset > i64::from(i32::MAX)
        || waited_ms > limits.segment_ms.saturating_sub(limits.jitter_ms)
}

/// How much a segment's time is shortened: less than `segment.jitter.ms` and than `segment.ms`, spread evenly over segments, and always the
/// same for one segment, so that no chance has to be remembered.
pub(crate) fn jitter_ms(id: TopicIdPartition, base_offset: Offset, segment_ms: i64, segment_jitter_ms: i64) -> i64 {
    let bound = segment_jitter_ms.min(segment_ms);
    if bound <= 0 {
        return 0;
    }
    let mut seed = crc32c::crc32c(id.topic_id.0.as_bytes());
    seed = crc32c::crc32c_append(seed, &id.partition.get().to_be_bytes());
    let low = crc32c::crc32c_append(seed, &base_offset.get().to_be_bytes());
    let high = crc32c::crc32c_append(low, &low.to_be_bytes());
    i64::try_from((u64::from(high) << 31 | u64::from(low)) & (u64::MAX >> 1)).unwrap_or(0) % bound
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{PartitionIndex, TopicId};

    const FACTS: RollFacts = RollFacts {
        base_offset: Offset::ZERO,
        size_bytes: 900,
        first_timestamp: Some(1_000),
        created_ms: 1_500,
        appended_bytes: 100,
        appended_timestamp: 1_500,
        appended_end: Offset::ZERO,
        now_ms: 9_000,
    };
    const LIMITS: RollLimits = RollLimits { segment_bytes: 1_000, segment_ms: 500, jitter_ms: 0 };

    #[test]
    fn a_segment_is_full_by_size_by_time_or_by_its_offsets_and_never_while_it_is_empty() {
        assert!(!should_roll(&FACTS, &LIMITS));
        assert!(should_roll(&RollFacts { appended_bytes: 101, ..FACTS }, &LIMITS));
        assert!(should_roll(&RollFacts { appended_timestamp: 1_501, ..FACTS }, &LIMITS));
        assert!(should_roll(&FACTS, &RollLimits { jitter_ms: 1, ..LIMITS }));
        let far = Offset::new_or_zero(i64::from(i32::MAX) + 1);
        assert!(should_roll(&RollFacts { appended_end: far, ..FACTS }, &LIMITS));
        assert!(!should_roll(&RollFacts { size_bytes: 0, appended_bytes: 5_000, appended_timestamp: 9_999, ..FACTS }, &LIMITS));
    }

    #[test]
    fn the_clock_counts_only_where_the_first_batch_has_no_timestamp() {
        let without = RollFacts { first_timestamp: None, now_ms: 2_000, appended_timestamp: 9_999, ..FACTS };
        assert!(!should_roll(&without, &LIMITS));
        assert!(should_roll(&RollFacts { now_ms: 2_001, ..without }, &LIMITS));
        // A batch without a timestamp behind one that has one does not end the segment.
        assert!(!should_roll(&RollFacts { appended_timestamp: -1, ..FACTS }, &LIMITS));
    }

    #[test]
    fn jitter_stays_below_both_bounds_and_differs_between_partitions_and_segments() {
        let id = |number| TopicIdPartition { topic_id: TopicId(uuid::Uuid::from_u128(5)), partition: PartitionIndex::new_or_zero(number) };
        let all: Vec<_> = (0..50).map(|number| jitter_ms(id(number), Offset::ZERO, 10_000, 1_000)).collect();
        assert!(all.iter().all(|jitter| (0..1_000).contains(jitter)));
        assert!(all.iter().any(|jitter| *jitter < 200) && all.iter().any(|jitter| *jitter > 800), "{all:?}");
        assert!((0..50).all(|number| jitter_ms(id(number), Offset::new_or_zero(7), 10, 1_000) < 10));
        assert_eq!(jitter_ms(id(0), Offset::ZERO, 10_000, 0), 0);
        assert_eq!(jitter_ms(id(3), Offset::ZERO, 10_000, 1_000), all[3]);
        assert_ne!(jitter_ms(id(0), Offset::ZERO, i64::MAX, i64::MAX), jitter_ms(id(0), Offset::new_or_zero(9), i64::MAX, i64::MAX));
    }
}
