//! DeleteRecords (key 21, versions 0-2): moves the start of logs forward (KIP-107).
//!
//! - Offset -1 means the high watermark; one beyond it is OFFSET_OUT_OF_RANGE, one before the log's start changes nothing.
//! - Internal topics are INVALID_TOPIC_EXCEPTION, topics that are only compacted POLICY_VIOLATION.
//! - Whole segments before the new start go with the next check of retention (`log.retention.check.interval.ms`).
//!
//! # Deviations
//! - The answer does not wait until the followers' logs begin there, too; they follow with their next fetches, within half a second.
//!
//! # Tests
//! Java tools `kafka-delete-records`; `delete_records` in `tests`.

use std::collections::BTreeMap;

use broker::partitions::PartitionError;
use broker::read_pool::off_thread;
use metadata::{Image, is_internal_topic};
use model::Offset;
use protocol::ErrorCode;
use protocol::messages::delete_records_request::DeleteRecordsPartition;
use protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::{TopicRef, find_partition};
use crate::api::{Api, Context, Versions};
use crate::error_codes;

/// What -1 in the request means.
const HIGH_WATERMARK: i64 = -1;
/// The answer's low watermark where there is none.
const NO_LOW_WATERMARK: i64 = -1;

pub(crate) struct DeleteRecords;

impl Api for DeleteRecords {
    const KEY: i16 = 21;
    const NAME: &'static str = "DeleteRecords";
    const VERSIONS: Versions = Versions::new(0, 2);
    type Request = DeleteRecordsRequest;
    type Response = DeleteRecordsResponse;

    async fn handle(cx: Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
        let image = cx.broker.metadata.image();
        let mut response = DeleteRecordsResponse::default();
        for topic in request.topics {
            let mut rows = Vec::with_capacity(topic.partitions.len());
            // A partition named twice is one partition, and its last mention counts.
            let asked: BTreeMap<i32, &DeleteRecordsPartition> =
                topic.partitions.iter().map(|asked| (asked.partition_index, asked)).collect();
            for asked in asked.into_values() {
                let result = delete(&cx, &image, topic.name.as_str(), asked).await;
                let row = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
                rows.push(match result {
                    Ok(log_start) => row.with_low_watermark(log_start.get()),
                    Err(error) => row.with_low_watermark(NO_LOW_WATERMARK).with_error_code(error.code()),
                });
            }
            response.topics.push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(rows));
        }
        response
    }
}

async fn delete(cx: &Context, image: &Image, topic: &str, asked: &DeleteRecordsPartition) -> Result<Offset, ErrorCode> {
    let partition = find_partition(cx, image, TopicRef::Name(topic), asked.partition_index)?;
    if is_internal_topic(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    if !partition.config().delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let before = match asked.offset {
        HIGH_WATERMARK => None,
        offset => Some(Offset::new(offset).ok_or(ErrorCode::OffsetOutOfRange)?),
    };
    let moved = off_thread(move || partition.delete_records(before)).await;
    moved.unwrap_or(Err(PartitionError::Storage)).map_err(|error| error_codes::partition(&error))
}
