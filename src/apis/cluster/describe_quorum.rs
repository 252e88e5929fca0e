//! DescribeQuorum (key 55, versions 0-2): leader, term, voters and observers of the metadata quorum (KIP-595, KIP-836, KIP-853).
//!
//! - Only partition 0 of `__cluster_metadata` exists; asked for anything else, all asked is UNKNOWN_TOPIC_OR_PARTITION.
//!
//! # Deviations
//! - The offsets are indexes of klamm's metadata log, where one entry holds all records of a change.
//! - The endpoint of a broker that is a cluster by itself is the listener by which the request came, since it has no controller listener.
//! - When another voter or observer was last in contact is not known: one that has all entries is told as caught up now, another as never.
//!
//! # Tests
//! Java tools `kafka-metadata-quorum describe --status`, `--replication`.

use broker::config::QuorumConfig;
use broker::controller::VoterProgress;
use protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use protocol::{ErrorCode, StrBytes};

use super::metadata::wire_id;
use crate::api::{Api, Context, Versions};

const METADATA_TOPIC: &str = "__cluster_metadata";
const WITH_TIMES: i16 = 1;
const WITH_NODES: i16 = 2;
/// The wire's word for an offset or a time that is not known.
const UNKNOWN: i64 = -1;

pub(crate) struct DescribeQuorum;

impl Api for DescribeQuorum {
    const KEY: i16 = 55;
    const NAME: &'static str = "DescribeQuorum";
    const VERSIONS: Versions = Versions::new(0, 2);
    const FOR_CONTROLLER: bool = true;
    type Request = DescribeQuorumRequest;
    type Response = DescribeQuorumResponse;

    async fn handle(cx: Context, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
        let mut response = DescribeQuorumResponse::default();
        let is_right = asks_for_the_metadata_log(&request);
        for topic in request.topics {
            let rows =
                topic.partitions.iter().map(|asked| if is_right { described(&cx) } else { unknown(cx.version, asked.partition_index) });
            let rows = rows.collect();
            response.topics.push(TopicData::default().with_topic_name(topic.topic_name).with_partitions(rows));
        }
        if cx.version >= WITH_NODES && is_right {
            response.nodes = nodes(&cx);
        }
        response
    }
}

/// One wrong partition spoils the whole request, as in Kafka.
fn asks_for_the_metadata_log(request: &DescribeQuorumRequest) -> bool {
    let [topic] = request.topics.as_slice() else { return false };
    topic.topic_name.as_str() == METADATA_TOPIC && topic.partitions.iter().map(|asked| asked.partition_index).eq([0])
}

fn unknown(version: i16, index: i32) -> PartitionData {
    let error = ErrorCode::UnknownTopicOrPartition;
    let mut row = PartitionData::default().with_partition_index(index).with_error_code(error.code());
    if version >= WITH_NODES {
        row.error_message = Some(StrBytes::from_string(error.to_string()));
    }
    row
}

fn described(cx: &Context) -> PartitionData {
    let image = cx.broker.metadata.image();
    let log_end = i64::try_from(image.index()).unwrap_or(i64::MAX).saturating_add(1);
    let (this, now) = (cx.broker.config.broker_id, cx.broker.clock.now().millis());
    let told = |voter: VoterProgress| {
        // Of itself a broker tells what it has published, so that a leader is never behind its own high watermark.
        let known = voter.log_end.and_then(|end| i64::try_from(end).ok());
        let end = if voter.broker_id == this { Some(log_end) } else { known.map(|end| end.min(log_end)) };
        let mut row = ReplicaState::default().with_replica_id(wire_id(Some(voter.broker_id))).with_log_end_offset(end.unwrap_or(UNKNOWN));
        if cx.version >= WITH_NODES {
            row.replica_directory_id = image.broker(voter.broker_id).and_then(|broker| broker.directory_id).unwrap_or_default();
        }
        if cx.version >= WITH_TIMES {
            let seen = if end == Some(log_end) { now } else { UNKNOWN };
            row = row.with_last_fetch_timestamp(seen).with_last_caught_up_timestamp(seen);
        }
        row
    };
    PartitionData::default()
        .with_leader_id(wire_id(cx.broker.controller.leader()))
        .with_leader_epoch(i32::try_from(cx.broker.controller.leader_term()).unwrap_or(i32::MAX))
        .with_high_watermark(log_end)
        .with_current_voters(cx.broker.controller.voters().into_iter().map(told).collect())
        .with_observers(cx.broker.controller.observers().into_iter().map(told).collect())
}

/// The voters and where they are reached by brokers; a broker alone names its own listener.
fn nodes(cx: &Context) -> Vec<Node> {
    let (voters, own) = (cx.broker.controller.voter_addresses(), cx.broker.config.broker_id);
    let name = match &cx.broker.config.quorum {
        Some(QuorumConfig::Voter { listener, .. }) => &listener.name,
        Some(QuorumConfig::Observer { .. }) => &cx.broker.config.inter_broker_listener,
        None if voters.iter().any(|(id, _)| *id != own) => &cx.broker.config.inter_broker_listener,
        None => return own_node(cx),
    };
    let rows = voters.into_iter().map(|(id, address)| {
        let (name, host) = (StrBytes::from_string(name.clone()), StrBytes::from_string(address.host));
        let listener = Listener::default().with_name(name).with_host(host).with_port(address.port);
        Node::default().with_node_id(wire_id(Some(id))).with_listeners(vec![listener])
    });
    rows.collect()
}

fn own_node(cx: &Context) -> Vec<Node> {
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
