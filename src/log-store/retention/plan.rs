//! Which segments a log is to lose. Pure: segments, limits and the time come in, the decision goes out.
//!
//! Three rules in Kafka's order, each from the oldest segment on until the first one that stays: what lies wholly before the log start; under the
//! delete policy, what the log has beyond `retention.bytes`; what is older than `retention.ms`, by its largest timestamp. Nothing at or beyond the
//! high watermark goes. The segment that is appended to goes like any other by size and by time, but not because the log start passed its
//! records, and never while it is empty.
//!
//! In Kafka: `UnifiedLog.deleteOldSegments`, `deletableSegments`.

use model::{Offset, Timestamp};

/// A segment as a check sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFacts {
    /// Where the next segment begins; of the last one, the log's end.
    pub(crate) upper: Offset,
    pub(crate) size_bytes: u64,
    /// Whether appends go there.
    pub(crate) is_active: bool,
}

/// What a topic allows its logs to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `cleanup.policy` has `delete`; without it only what lies before the log start goes.
    pub delete: bool,
    /// `retention.ms`; `None` is for ever.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; `None` is without bound.
    pub retention_bytes: Option<u64>,
}

/// Why a segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// All its records lie before the log start.
    LogStart,
    /// Without it the log still has `retention.bytes`.
    RetentionBytes,
    /// Its newest record is older than `retention.ms`.
    RetentionMs,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Why, for each segment that goes, the oldest first.
    pub(crate) drops: Vec<DropReason>,
    /// Where the log begins afterwards.
    pub(crate) log_start: Offset,
    /// Whether the segment that is appended to is among them, so that it must be closed first.
    pub(crate) drops_active: bool,
}

/// Decides. `largest_timestamp` says the time of a segment's newest record, by the segment's place; it is asked only where that decides.
pub(crate) fn plan<E>(
    segments: &[SegmentFacts],
    log_start: Offset,
    high_watermark: Offset,
    retention: &Retention,
    now: Timestamp,
    mut largest_timestamp: impl FnMut(usize) -> Result<i64, E>,
) -> Result<Plan, E> {
    let mut left = segments.iter().copied().enumerate().peekable();
    let mut drops = Vec::new();
    let may_go = |segment: &SegmentFacts| segment.upper <= high_watermark && !(segment.is_active && segment.size_bytes == 0);

    while left.next_if(|(_, segment)| !segment.is_active && segment.upper <= log_start && may_go(segment)).is_some() {
        drops.push(DropReason::LogStart);
    }
    if retention.delete {
        let size_bytes: u64 = segments.get(drops.len()..).unwrap_or_default().iter().map(|segment| segment.size_bytes).sum();
        let mut excess_bytes = retention.retention_bytes.and_then(|allowed| size_bytes.checked_sub(allowed));
        while let Some(excess) = excess_bytes
            && let Some((_, segment)) = left.next_if(|(_, segment)| segment.size_bytes <= excess && may_go(segment))
        {
            excess_bytes = Some(excess.saturating_sub(segment.size_bytes));
            drops.push(DropReason::RetentionBytes);
        }
        if let Some(retention_ms) = retention.retention_ms {
            while let Some((place, _)) = left.next_if(|(_, segment)| may_go(segment)) {
                if now.millis().saturating_sub(largest_timestamp(place)?) <= retention_ms {
                    break;
                }
                drops.push(DropReason::RetentionMs);
            }
        }
    }
    let last = drops.len().checked_sub(1).and_then(|last| segments.get(last));
    Ok(Plan {
        log_start: last.map_or(log_start, |last| last.upper.max(log_start)),
        drops_active: last.is_some_and(|last| last.is_active),
        drops,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments as words: `upper:size@newest`, the last one the active one. The answer as words: a letter per segment that goes (`o` offset, `b`
    /// bytes, `t` time), the new log start, and `active` if the last one goes.
    fn check(segments: &str, log_start: i64, high_watermark: i64, retention: &str, expected: &str) {
        let offset = Offset::new_or_zero;
        let words: Vec<_> = segments.split_whitespace().collect();
        let mut timestamps = Vec::new();
        let facts: Vec<_> = words
            .iter()
            .enumerate()
            .map(|(place, word)| {
                let (upper, rest) = word.split_once(':').unwrap();
                let (size, newest) = rest.split_once('@').unwrap();
                timestamps.push(newest.parse::<i64>().unwrap());
                SegmentFacts {
                    upper: offset(upper.parse().unwrap()),
                    size_bytes: size.parse().unwrap(),
                    is_active: place + 1 == words.len(),
                }
            })
            .collect();
        let number =
            |name: &str| retention.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse::<i64>().ok());
        let limits = Retention {
            delete: !retention.contains("compact-only"),
            retention_ms: number("ms"),
            retention_bytes: number("bytes").map(|bytes| u64::try_from(bytes).unwrap()),
        };
        let result = plan(&facts, offset(log_start), offset(high_watermark), &limits, Timestamp(1_000), |place| {
            timestamps.get(place).copied().ok_or(place)
        });
        let plan = result.unwrap();
        let letter = |reason: &DropReason| match reason {
            DropReason::LogStart => 'o',
            DropReason::RetentionBytes => 'b',
            DropReason::RetentionMs => 't',
        };
        let letters: String = plan.drops.iter().map(letter).collect();
        let found = format!("{letters} {}{}", plan.log_start.get(), if plan.drops_active { " active" } else { "" });
        assert_eq!(found.trim(), expected, "{segments} | start {log_start} hw {high_watermark} | {retention}");
    }

    #[test]
    fn segments_go_by_their_newest_record_and_the_first_young_one_ends_the_walk() {
        check("10:100@500 20:100@600 30:100@900 40:100@950", 0, 40, "ms=350", "tt 20");
        // Exactly as old as allowed stays.
        check("10:100@500 20:100@600", 0, 20, "ms=400", "t 10");
        check("10:100@500 20:100@599 30:0@990", 0, 30, "ms=400", "tt 20");
        // An old one behind a young one stays.
        check("10:100@900 20:100@100 30:100@100", 0, 30, "ms=350", "0");
        check("10:100@500 20:100@600", 0, 20, "", "0");
        // One of the future is never old.
        check("10:100@5000 20:100@100", 0, 20, "ms=0", "0");
    }

    #[test]
    fn the_active_segment_goes_when_it_is_old_but_not_while_it_is_empty() {
        check("10:100@100 20:100@100", 0, 20, "ms=350", "tt 20 active");
        check("10:100@100 10:0@100", 0, 10, "ms=350", "t 10");
        check("10:0@100", 0, 10, "ms=350", "0");
        check("10:100@100", 0, 10, "ms=350", "t 10 active");
        check("", 0, 0, "ms=350 bytes=0", "0");
    }

    #[test]
    fn segments_go_by_size_while_the_rest_still_has_what_is_allowed() {
        check("10:100@9 20:100@9 30:100@9 40:50@9", 0, 40, "bytes=200", "b 10");
        check("10:100@9 20:100@9 30:100@9 40:50@9", 0, 40, "bytes=150", "bb 20");
        check("10:100@9 20:100@9", 0, 20, "bytes=200", "0");
        check("10:100@9 20:100@9", 0, 20, "bytes=100", "b 10");
        check("10:100@9 20:100@9", 0, 20, "bytes=101", "0");
        // Nothing is allowed: all goes, also the active one.
        check("10:100@9 20:100@9", 0, 20, "bytes=0", "bb 20 active");
        // A small one behind a large one that stays is not looked at.
        check("10:300@9 20:10@9 30:10@9", 0, 30, "bytes=100", "0");
    }

    #[test]
    fn what_lies_before_the_log_start_goes_under_every_policy_but_the_active_segment_stays() {
        check("10:100@9 20:100@9 30:100@9", 20, 30, "compact-only ms=1 bytes=1", "oo 20");
        check("10:100@9 20:100@9 30:100@9", 19, 30, "compact-only", "o 19");
        check("10:100@9 20:100@9 30:100@9", 30, 30, "compact-only", "oo 30");
        check("10:100@9 20:100@9 30:100@9", 30, 30, "bytes=1000", "oo 30");
        // The sizes of those do not count.
        check("10:100@9 20:100@9 30:100@9", 10, 30, "bytes=150", "o 10");
        check("10:100@9 20:100@9 30:100@9", 10, 30, "bytes=100", "ob 20");
        check("10:100@100 20:100@100 30:100@990", 10, 30, "ms=350", "ot 20");
        check("10:100@100 20:100@100 30:100@100", 25, 30, "ms=350", "oot 30 active");
    }

    #[test]
    fn nothing_at_or_beyond_the_high_watermark_goes() {
        check("10:100@9 20:100@9 30:100@9", 0, 19, "ms=1", "t 10");
        check("10:100@9 20:100@9 30:100@9", 0, 20, "ms=1", "tt 20");
        check("10:100@9 20:100@9 30:100@9", 0, 29, "bytes=0", "bb 20");
        check("10:100@9 20:100@9 30:100@9", 0, 0, "ms=1 bytes=0", "0");
    }

    #[test]
    fn size_and_time_add_up() {
        check("10:100@9 20:100@500 30:100@950 40:10@950", 0, 40, "bytes=200 ms=400", "bt 20");
    }
}
