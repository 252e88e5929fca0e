//! WriteTxnMarkers (key 27, versions 1-2): the outcome of transactions comes into the partitions that they wrote to.
//!
//! - Sent by transaction coordinators, and by an administrator who ends a transaction that hangs.
//! - A partition is answered when its marker is committed; markers of an older coordinator are TRANSACTION_COORDINATOR_FENCED.
//! - Version 2 says by which rules the epoch is checked (KIP-1228).
//!
//! # Deviations
//! None.
//!
//! # Tests
//! The transactions scenarios of `compat-tests`; kafka-transactions --abort there.

use broker::markers::{MarkersUnderWay, TransactionEnd};
use broker::partitions::AppendRefusal;
use metadata::Image;
use model::{LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, TopicName, TopicPartition};
use protocol::messages::write_txn_markers_request::WritableTxnMarker;
use protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use protocol::{ErrorCode, to_i16};
use txn_coordinator::{TransactionResult, TransactionVersion};

use crate::api::{Api, Context, Versions};
use crate::error_codes;

pub(crate) struct WriteTxnMarkers;

impl Api for WriteTxnMarkers {
    const KEY: i16 = 27;
    const NAME: &'static str = "WriteTxnMarkers";
    const VERSIONS: Versions = Versions::new(1, 2);
    const FROM_BROKERS: bool = true;
    type Request = WriteTxnMarkersRequest;
    type Response = WriteTxnMarkersResponse;

    async fn handle(cx: Context, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
        // All are under way before the first is waited for: a partition's order is that of the request.
        let image = cx.broker.metadata.image();
        let under_way: Vec<_> = request.markers.into_iter().map(|marker| (begin(&cx, &image, &marker), marker)).collect();
        let mut markers = Vec::with_capacity(under_way.len());
        for (begun, marker) in under_way {
            let written = match begun {
                Ok(begun) => Ok(begun.written().await),
                Err(error) => Err(error),
            };
            markers.push(answer(marker, written));
        }
        WriteTxnMarkersResponse::default().with_markers(markers)
    }
}

fn begin(cx: &Context, image: &Image, marker: &WritableTxnMarker) -> Result<MarkersUnderWay, ErrorCode> {
    let end = end_of(marker)?;
    let mut known = Vec::new();
    for topic in &marker.topics {
        let name = TopicName::from(topic.name.as_str());
        let exist = topic.partition_indexes.iter().filter_map(|index| existing(image, topic.name.as_str(), *index));
        known.extend(exist.map(|partition| TopicPartition { topic: name.clone(), partition }));
    }
    Ok(cx.broker.markers.write_here(end, known))
}

type Written = Vec<(TopicPartition, Result<(), AppendRefusal>)>;

fn answer(marker: WritableTxnMarker, written: Result<Written, ErrorCode>) -> WritableTxnMarkerResult {
    let code = |topic: &str, index: i32| -> Option<ErrorCode> {
        let written = match &written {
            Ok(written) => written,
            Err(error) => return Some(*error),
        };
        let at = written.iter().find(|(at, _)| at.topic.as_str() == topic && at.partition.get() == index);
        match at {
            None => Some(ErrorCode::UnknownTopicOrPartition),
            Some((_, Ok(()))) => None,
            Some((_, Err(refusal))) => Some(error_codes::append_refusal(refusal)),
        }
    };
    let topics = marker.topics.iter().map(|topic| {
        let row = |index: &i32| {
            let error_code = to_i16(code(topic.name.as_str(), *index));
            WritableTxnMarkerPartitionResult::default().with_partition_index(*index).with_error_code(error_code)
        };
        let rows = topic.partition_indexes.iter().map(row).collect();
        WritableTxnMarkerTopicResult::default().with_name(topic.name.clone()).with_partitions(rows)
    });
    let topics = topics.collect();
    WritableTxnMarkerResult::default().with_producer_id(marker.producer_id).with_topics(topics)
}

fn end_of(marker: &WritableTxnMarker) -> Result<TransactionEnd, ErrorCode> {
    let result = if marker.transaction_result { TransactionResult::Commit } else { TransactionResult::Abort };
    Ok(TransactionEnd {
        producer_id: ProducerId::new(marker.producer_id.0).ok_or(ErrorCode::InvalidProducerIdMapping)?,
        producer_epoch: ProducerEpoch::new(marker.producer_epoch).ok_or(ErrorCode::InvalidProducerEpoch)?,
        coordinator_epoch: LeaderEpoch::new(marker.coordinator_epoch),
        result,
        transaction_version: TransactionVersion::from_feature_level(marker.transaction_version.into()).unwrap_or_default(),
    })
}

fn existing(image: &Image, topic: &str, index: i32) -> Option<PartitionIndex> {
    let partition = PartitionIndex::new(index)?;
    image.topic_by_name(topic)?.partition(partition).map(|_| partition)
}
