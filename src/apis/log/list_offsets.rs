//! ListOffsets (key 2, versions 1-11): offsets by name or by time.
//!
//! - -1 is the end that the reader may see, -2 the log's start, -3 the record with the largest timestamp (version 7, KIP-734), -4 the local log's
//!   start (version 8, KIP-405), -5 the last offset in a remote tier (version 9) and -6 the first that waits to go there (version 11): nothing, since there is no tier.
//! - Another negative timestamp, or one that the version does not know, is UNSUPPORTED_VERSION for its partition.
//! - By time: the first record at or after it; none is -1 and -1 without an error.
//! - While a new leader does not know what its predecessor showed, the end is OFFSET_NOT_AVAILABLE, before version 5 LEADER_NOT_AVAILABLE (KIP-207).
//! - A partition named twice is INVALID_REQUEST, once.
//!
//! # Deviations
//! - An isolation level that does not exist is taken for read_uncommitted; Kafka answers UNKNOWN_SERVER_ERROR.
//!
//! # Tests
//! `list_offsets` and `from_timestamp` of every client, kcat `-Q`, kafka-get-offsets.

use std::collections::HashSet;

use broker::partitions::{FetchBound, OffsetQuery, Partition};
use broker::read_pool::off_thread;
use metadata::Image;
use model::{LeaderEpoch, Timestamp};
use protocol::ErrorCode;
use protocol::messages::list_offsets_request::ListOffsetsPartition;
use protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::{NO_EPOCH, TopicRef, find_led};
use crate::api::{Api, Context, Versions};
use crate::error_codes;

const READ_COMMITTED: i8 = 1;

pub(crate) struct ListOffsets;

/// A query, or an answer that needs no look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Find(OffsetQuery),
    /// There is no remote tier.
    Nothing,
    Unsupported,
}

/// The meaning of the wire's timestamp in a version.
fn asked(timestamp: i64, version: i16) -> Asked {
    match timestamp {
        0.. => Asked::Find(OffsetQuery::Time(Timestamp(timestamp))),
        -1 => Asked::Find(OffsetQuery::Latest),
        -2 => Asked::Find(OffsetQuery::Earliest),
        -3 if version >= 7 => Asked::Find(OffsetQuery::MaxTimestamp),
        -4 if version >= 8 => Asked::Find(OffsetQuery::Earliest),
        -5 if version >= 9 => Asked::Nothing,
        -6 if version >= 11 => Asked::Nothing,
        _ => Asked::Unsupported,
    }
}

impl Api for ListOffsets {
    const KEY: i16 = 2;
    const NAME: &'static str = "ListOffsets";
    const VERSIONS: Versions = Versions::new(1, 11);
    type Request = ListOffsetsRequest;
    type Response = ListOffsetsResponse;

    async fn handle(cx: Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
        let image = cx.broker.metadata.image();
        let bound = match (request.replica_id.0, request.isolation_level) {
            (0.., _) => FetchBound::LogEnd,
            (_, READ_COMMITTED) => FetchBound::LastStable,
            _ => FetchBound::HighWatermark,
        };
        let mut seen = HashSet::new();
        let mut twice = HashSet::new();
        for topic in &request.topics {
            for partition in &topic.partitions {
                let key = (topic.name.clone(), partition.partition_index);
                if !seen.insert(key.clone()) {
                    twice.insert(key);
                }
            }
        }
        let mut told = HashSet::new();
        let mut response = ListOffsetsResponse::default();
        for topic in request.topics {
            let mut row = ListOffsetsTopicResponse::default();
            for partition in &topic.partitions {
                let key = (topic.name.clone(), partition.partition_index);
                let doubled = twice.contains(&key);
                if doubled && !told.insert(key) {
                    continue;
                }
                row.partitions.push(if doubled {
                    refused(partition.partition_index, ErrorCode::InvalidRequest)
                } else {
                    look_up(&cx, &image, TopicRef::Name(topic.name.as_str()), partition, bound).await
                });
            }
            row.name = topic.name;
            response.topics.push(row);
        }
        response
    }
}

fn refused(index: i32, error: ErrorCode) -> ListOffsetsPartitionResponse {
    let mut row = ListOffsetsPartitionResponse::default();
    row.partition_index = index;
    row.error_code = error.code();
    row.timestamp = -1;
    row.offset = -1;
    row
}

async fn look_up(
    cx: &Context,
    image: &Image,
    topic: TopicRef<'_>,
    wanted: &ListOffsetsPartition,
    bound: FetchBound,
) -> ListOffsetsPartitionResponse {
    let index = wanted.partition_index;
    let epoch = if cx.version >= 4 { wanted.current_leader_epoch } else { NO_EPOCH };
    let led = find_led(cx, image, topic, index, epoch);
    let result = match (led, asked(wanted.timestamp, cx.version)) {
        (Err(error), _) => Err(error),
        // The index is on disk.
        (Ok(partition), by_time @ Asked::Find(OffsetQuery::Time(_) | OffsetQuery::MaxTimestamp)) => {
            off_thread(move || find(&partition, by_time, bound)).await.unwrap_or(Err(ErrorCode::KafkaStorageError))
        }
        (Ok(partition), known) => find(&partition, known, bound),
    };
    match result {
        // Older clients do not know the code (KIP-207).
        Err(ErrorCode::OffsetNotAvailable) if cx.version < 5 => refused(index, ErrorCode::LeaderNotAvailable),
        Err(error) => refused(index, error),
        Ok((timestamp, offset, epoch)) => {
            let mut row = ListOffsetsPartitionResponse::default();
            row.partition_index = index;
            row.timestamp = timestamp;
            row.offset = offset;
            if cx.version >= 4 {
                row.leader_epoch = epoch;
            }
            row
        }
    }
}

/// The wire's timestamp, offset and leader epoch.
fn find(partition: &Partition, asked: Asked, bound: FetchBound) -> Result<(i64, i64, i32), ErrorCode> {
    let query = match asked {
        Asked::Find(query) => query,
        Asked::Nothing => return Ok((-1, -1, -1)),
        Asked::Unsupported => return Err(ErrorCode::UnsupportedVersion),
    };
    let found = partition.find_offset(query, bound).map_err(|error| error_codes::partition(&error))?;
    Ok(found.map_or((-1, -1, -1), |found| {
        let timestamp = found.timestamp.map_or(-1, Timestamp::millis);
        (timestamp, found.offset.get(), LeaderEpoch::to_wire(found.leader_epoch))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_special_timestamp_is_unsupported_below_the_version_that_brought_it() {
        assert_eq!(asked(-3, 6), Asked::Unsupported);
        assert_eq!(asked(-3, 7), Asked::Find(OffsetQuery::MaxTimestamp));
        assert_eq!(asked(-4, 7), Asked::Unsupported);
        assert_eq!(asked(-5, 9), Asked::Nothing);
        assert_eq!(asked(-6, 10), Asked::Unsupported);
        assert_eq!(asked(-6, 11), Asked::Nothing);
        assert_eq!(asked(-7, 11), Asked::Unsupported);
        assert_eq!(asked(0, 1), Asked::Find(OffsetQuery::Time(Timestamp(0))));
    }
}
