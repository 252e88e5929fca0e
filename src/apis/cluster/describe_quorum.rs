//! DescribeQuorum (key 55, versions 0-2): leader, term, voters and observers of the metadata quorum (KIP-595, KIP-836, KIP-853).
//!
//! - Only partition 0 of `__cluster_metadata` exists; another is UNKNOWN_TOPIC_OR_PARTITION.
//!
//! # Deviations
//! - The offsets are indexes of klamm's metadata log, where one entry holds all records of a change.
//! - A voter's endpoint is the listener by which the request came, since there is no separate controller listener.
//!
//! # Tests
//! Java tools `kafka-metadata-quorum describe --status`, `--replication`.

use protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use protocol::{ErrorCode, StrBytes};

use super::metadata::wire_id;
use crate::api::{Api, Context, Versions};

const METADATA_TOPIC: &str = "__cluster_metadata";
const WITH_TIMES: i16 = 1;
const WITH_NODES: i16 = 2;

pub(crate) struct DescribeQuorum;

impl Api for DescribeQuorum {
    const KEY: i16 = 55;
    const NAME: &'static str = "DescribeQuorum";
    const VERSIONS: Versions = Versions::new(0, 2);
    type Request = DescribeQuorumRequest;
    type Response = DescribeQuorumResponse;

    async fn handle(cx: Context, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
        let mut response = DescribeQuorumResponse::default();
        if cx.version >= WITH_NODES {
            response.error_message = None;
        }
        for topic in request.topics {
            let rows = topic.partitions.iter().map(|asked| {
                if topic.topic_name.as_str() == METADATA_TOPIC && asked.partition_index == 0 {
                    return described(&cx);
                }
                without_message(cx.version)
                    .with_partition_index(asked.partition_index)
                    .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
            });
            let rows = rows.collect();
            response.topics.push(TopicData::default().with_topic_name(topic.topic_name).with_partitions(rows));
        }
        if cx.version >= WITH_NODES {
            response.nodes = nodes(&cx);
        }
        response
    }
}

/// From version 2 on there is a message, which is null where there is no error.
fn without_message(version: i16) -> PartitionData {
    let mut row = PartitionData::default();
    if version >= WITH_NODES {
        row.error_message = None;
    }
    row
}

fn described(cx: &Context) -> PartitionData {
    let image = cx.broker.metadata.image();
    let log_end = i64::try_from(image.index()).unwrap_or(i64::MAX).saturating_add(1);
    let mut voter = ReplicaState::default().with_replica_id(wire_id(Some(cx.broker.config.broker_id))).with_log_end_offset(log_end);
    if cx.version >= WITH_TIMES {
        let now = cx.broker.clock.now().millis();
        voter = voter.with_last_fetch_timestamp(now).with_last_caught_up_timestamp(now);
    }
    without_message(cx.version)
        .with_leader_id(wire_id(cx.broker.controller.leader()))
        .with_leader_epoch(i32::try_from(cx.broker.controller.leader_term()).unwrap_or(i32::MAX))
        .with_high_watermark(log_end)
        .with_current_voters(vec![voter])
}

fn nodes(cx: &Context) -> Vec<Node> {
    let image = cx.broker.metadata.image();
    let voter = image.broker(cx.broker.config.broker_id);
    let rows = voter.into_iter().map(|broker| {
        let endpoint = broker.endpoint(cx.listener()).map(|endpoint| {
            Listener::default()
                .with_name(StrBytes::from_string(endpoint.listener.clone()))
                .with_host(StrBytes::from_string(endpoint.host.clone()))
                .with_port(endpoint.port)
        });
        Node::default().with_node_id(wire_id(Some(broker.id))).with_listeners(endpoint.into_iter().collect())
    });
    rows.collect()
}
