//! DescribeProducers (key 61, version 0): the idempotent and transactional producers whose state a partition keeps (KIP-664).
//!
//! # Deviations
//! None.
//!
//! # Tests
//! Java tools `kafka-transactions describe-producers`.

use model::{Offset, Sequence, Timestamp};
use protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};
use protocol::{ErrorCode, StrBytes};

use super::{NO_EPOCH, TopicRef, find_led};
use crate::api::{Api, Context, Versions};

const NONE: i32 = -1;

pub(crate) struct DescribeProducers;

impl Api for DescribeProducers {
    const KEY: i16 = 61;
    const NAME: &'static str = "DescribeProducers";
    const VERSIONS: Versions = Versions::new(0, 0);
    type Request = DescribeProducersRequest;
    type Response = DescribeProducersResponse;

    async fn handle(cx: Context, request: DescribeProducersRequest) -> DescribeProducersResponse {
        let image = cx.broker.metadata.image();
        let mut response = DescribeProducersResponse::default();
        for topic in request.topics {
            let mut row = TopicResponse::default();
            let known = image.topic_by_name(topic.name.as_str()).is_some();
            let valid = metadata::controller::check_topic_name(topic.name.as_str()).is_ok();
            for index in topic.partition_indexes {
                let mut answer = PartitionResponse::default().with_partition_index(index);
                match find_led(&cx, &image, TopicRef::Name(topic.name.as_str()), index, NO_EPOCH) {
                    // An unknown partition of a known topic has no sentence in Kafka.
                    Err(error) if known => answer.error_code = error.code(),
                    Err(_) => {
                        let error = if valid { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopicException };
                        answer.error_code = error.code();
                        answer.error_message = Some(StrBytes::from_string(error.to_string()));
                    }
                    Ok(partition) => {
                        answer.active_producers = partition
                            .active_producers()
                            .into_iter()
                            .map(|producer| {
                                ProducerState::default()
                                    .with_producer_id(ProducerId(producer.producer_id.get()))
                                    .with_producer_epoch(i32::from(producer.producer_epoch.get()))
                                    .with_last_sequence(producer.last_sequence.map_or(NONE, Sequence::get))
                                    .with_last_timestamp(producer.last_timestamp.map_or(i64::from(NONE), Timestamp::millis))
                                    .with_coordinator_epoch(producer.coordinator_epoch.unwrap_or(NONE))
                                    .with_current_txn_start_offset(Offset::to_wire(producer.open_from))
                            })
                            .collect();
                    }
                }
                row.partitions.push(answer);
            }
            row.name = topic.name;
            response.topics.push(row);
        }
        response
    }
}
