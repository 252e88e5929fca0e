//! What is to be cleaned, decided from facts alone: no I/O, no clock.
//!
//! In Kafka: `LogCleanerManager.cleanableOffsets`, `grabFilthiestCompactedLog`, `maxCompactionDelay`, `calculateCleanableBytes`,
//! `Cleaner.groupSegmentsBySize`.

use std::ops::Range;

use model::Offset;

/// What a topic's configuration says about its compaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionRules {
    /// For how long a tombstone is kept after it was first met (`delete.retention.ms`).
    pub delete_retention_ms: i64,
    /// For how long at least a record stays as it is (`min.compaction.lag.ms`).
    pub min_compaction_lag_ms: i64,
    /// After what time at most a record is due (`max.compaction.lag.ms`).
    pub max_compaction_lag_ms: i64,
    /// Which part of the log must be dirty before it is worth it (`min.cleanable.dirty.ratio`).
    pub min_cleanable_dirty_ratio: f64,
    /// How large a segment may become when smaller ones are joined (`segment.bytes`).
    pub segment_bytes: u64,
}

/// A segment that nothing is appended to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFacts {
    pub(crate) base_offset: Offset,
    pub(crate) size_bytes: u64,
    /// Its newest record's time; of a segment without any, when it was written. Only looked at with a minimal lag.
    pub(crate) largest_timestamp: i64,
    /// The largest timestamp of its first batch. Only looked at with a maximal lag.
    pub(crate) first_timestamp: Option<i64>,
}

/// What a log looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogFacts {
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    /// The first dirty offset after the last cleaning, if there was one.
    pub(crate) checkpoint: Option<Offset>,
    /// Nothing from here on may be touched: the last stable offset, and what has no index row yet.
    pub(crate) bound: Offset,
    /// Where the segment begins that is appended to.
    pub(crate) active_base: Offset,
    /// All others, in order.
    pub(crate) sealed: Vec<SegmentFacts>,
}

/// Which part of a log can be cleaned, and how dirty it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) first_dirty: Offset,
    /// The base of the first segment that stays as it is.
    pub(crate) first_uncleanable: Offset,
    pub(crate) clean_bytes: u64,
    pub(crate) cleanable_bytes: u64,
    /// For how long a record has waited beyond the maximal lag.
    pub(crate) overdue_ms: i64,
}

impl Plan {
    /// The dirty part of what can be cleaned.
    pub(crate) fn cleanable_ratio(&self) -> f64 {
        let total = self.clean_bytes.saturating_add(self.cleanable_bytes);
        if total == 0 { 0.0 } else { as_f64(self.cleanable_bytes) / as_f64(total) }
    }

    pub(crate) fn is_due(&self, rules: &CompactionRules) -> bool {
        (self.overdue_ms > 0 && self.cleanable_bytes > 0) || self.cleanable_ratio() > rules.min_cleanable_dirty_ratio
    }
}

/// Sizes beyond 2^53 bytes lose their last digits, which no ratio needs.
fn as_f64(bytes: u64) -> f64 {
    let (high, low) = (u32::try_from(bytes >> 32).unwrap_or(u32::MAX), u32::try_from(bytes & 0xffff_ffff).unwrap_or(u32::MAX));
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

/// The sealed segments from the one that contains `from` on.
fn from_containing(sealed: &[SegmentFacts], from: Offset) -> &[SegmentFacts] {
    let behind = sealed.partition_point(|segment| segment.base_offset <= from);
    sealed.get(behind.saturating_sub(1)..).unwrap_or_default()
}

/// Decides which part of a log can be cleaned.
pub(crate) fn plan(facts: &LogFacts, rules: &CompactionRules, now_ms: i64) -> Plan {
    // A checkpoint that lies outside the log says nothing: all of it is looked at again.
    let valid = |checkpoint: &Offset| (facts.log_start..=facts.log_end).contains(checkpoint);
    let first_dirty = facts.checkpoint.filter(valid).unwrap_or(facts.log_start);
    let dirty = if first_dirty < facts.active_base { from_containing(&facts.sealed, first_dirty) } else { &[] };

    let mut uncleanable = facts.bound.min(facts.active_base);
    if rules.min_compaction_lag_ms > 0 {
        let newest = now_ms.saturating_sub(rules.min_compaction_lag_ms);
        if let Some(young) = dirty.iter().find(|segment| segment.largest_timestamp > newest) {
            uncleanable = uncleanable.min(young.base_offset);
        }
    }
    let uncleanable = uncleanable.max(first_dirty);
    // Segments are cleaned whole or not at all.
    let containing = from_containing(&facts.sealed, uncleanable).first().filter(|_| uncleanable < facts.active_base);
    let first_uncleanable = containing.map_or(facts.active_base, |segment| segment.base_offset);

    let cleanable = from_containing(&facts.sealed, first_dirty.min(first_uncleanable));
    let cleanable_bytes = match first_dirty < first_uncleanable {
        true => cleanable.iter().filter(|segment| segment.base_offset < first_uncleanable).map(|segment| segment.size_bytes).sum(),
        false => 0,
    };
    // As Kafka counts: a segment that is dirty in part is in both sums.
    let clean = facts.sealed.iter().filter(|segment| segment.base_offset < first_dirty);
    let cleaned_until = now_ms.saturating_sub(rules.max_compaction_lag_ms.max(0));
    let oldest = dirty.iter().filter_map(|segment| segment.first_timestamp).filter(|timestamp| *timestamp > 0).min();
    Plan {
        first_dirty,
        first_uncleanable,
        clean_bytes: clean.map(|segment| segment.size_bytes).sum(),
        cleanable_bytes,
        overdue_ms: oldest.map_or(0, |oldest| cleaned_until.saturating_sub(oldest).max(0)),
    }
}

/// The places of the logs that are due, the dirtiest first; of equals the first one.
pub(crate) fn dirtiest(plans: &[(Plan, CompactionRules)]) -> Vec<usize> {
    let due = plans.iter().enumerate().filter(|(_, (plan, rules))| plan.is_due(rules));
    let mut due: Vec<_> = due.map(|(at, (plan, _))| (plan.cleanable_ratio(), at)).collect();
    due.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    due.into_iter().map(|(_, at)| at).collect()
}

/// Which neighbours become one segment: as many as fit its size, and whose offsets fit 31 bits from the first one's base (Kafka's relative offsets).
pub(crate) fn groups(segments: &[SegmentFacts], segment_bytes: u64, first_uncleanable: Offset) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = 0;
    while let Some(first) = segments.get(start) {
        let mut size = first.size_bytes;
        let mut end = start + 1;
        while let Some(next) = segments.get(end) {
            // Where the next one's last offset is not known, the following base says what it cannot reach.
            let bound = segments.get(end + 1).map_or(first_uncleanable, |following| following.base_offset);
            let reaches = (bound - first.base_offset).saturating_sub(1);
            let fits = next.size_bytes == 0 || reaches <= i64::from(i32::MAX);
            if size.saturating_add(next.size_bytes) > segment_bytes || !fits {
                break;
            }
            size += next.size_bytes;
            end += 1;
        }
        groups.push(start..end);
        start = end;
    }
    groups
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
