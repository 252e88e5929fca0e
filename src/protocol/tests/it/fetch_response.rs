use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use protocol::fetch_response::{
    AbortedTransaction, CurrentLeader, DivergingEpoch, FetchPartition, FetchResponseError, FetchResponseHead, FetchTopic, NodeEndpoint,
    Segment, write_fetch_response,
};
use protocol::messages::fetch_response as theirs;
use protocol::messages::{BrokerId, FetchResponse, ProducerId, TopicName};
use protocol::{Encodable, StrBytes};
use uuid::Uuid;

fn text() -> impl Strategy<Value = StrBytes> {
    // Lengths around 127 are where a compact length takes its second byte.
    prop_oneof!["[a-z.]{0,9}", "[a-z]{120,130}"].prop_map(StrBytes::from_string)
}

fn partition() -> impl Strategy<Value = FetchPartition> {
    let numbers = (any::<i32>(), any::<i16>(), any::<i64>(), any::<i64>(), any::<i64>());
    let diverging = option::of((-1..3i32, -1..3i64).prop_map(|(epoch, end_offset)| DivergingEpoch { epoch, end_offset }));
    let leader = option::of((-1..3i32, -1..3i32).prop_map(|(leader_id, leader_epoch)| CurrentLeader { leader_id, leader_epoch }));
    let transaction = (any::<i64>(), any::<i64>()).prop_map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset });
    let records_bytes = prop_oneof![Just(0usize), 1..20usize, 120..130usize, 16_380..16_390usize];
    (numbers, diverging, leader, option::of(vec(transaction, 0..3)), any::<i32>(), records_bytes).prop_map(
        |(numbers, diverging_epoch, current_leader, aborted_transactions, preferred_read_replica, records_bytes)| FetchPartition {
            partition_index: numbers.0,
            error_code: numbers.1,
            high_watermark: numbers.2,
            last_stable_offset: numbers.3,
            log_start_offset: numbers.4,
            diverging_epoch,
            current_leader,
            aborted_transactions,
            preferred_read_replica,
            records_bytes,
        },
    )
}

fn response() -> impl Strategy<Value = FetchResponseHead> {
    let topic = (text(), any::<u128>(), vec(partition(), 0..3)).prop_map(|(name, id, partitions)| FetchTopic {
        name,
        topic_id: Uuid::from_u128(id),
        partitions,
    });
    let endpoint = (any::<i32>(), text(), any::<i32>(), option::of(text())).prop_map(|(node_id, host, port, rack)| NodeEndpoint {
        node_id,
        host,
        port,
        rack,
    });
    (any::<i32>(), any::<i16>(), any::<i32>(), vec(topic, 0..3), vec(endpoint, 0..3)).prop_map(
        |(throttle_time_ms, error_code, session_id, topics, node_endpoints)| FetchResponseHead {
            throttle_time_ms,
            error_code,
            session_id,
            topics,
            node_endpoints,
        },
    )
}

fn records(place: usize, length: usize) -> Bytes {
    vec![place as u8 + 1; length].into()
}

/// The same response for kafka-protocol's encoder, which refuses fields that a version lacks.
fn their_response(ours: &FetchResponseHead, version: i16) -> FetchResponse {
    let mut place = 0;
    let mut responses = Vec::new();
    for topic in &ours.topics {
        let mut partitions = Vec::new();
        for partition in &topic.partitions {
            partitions.push(their_partition(partition, version, records(place, partition.records_bytes)));
            place += 1;
        }
        responses.push(
            theirs::FetchableTopicResponse::default()
                .with_topic(TopicName(topic.name.clone()))
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions),
        );
    }
    let endpoints = ours.node_endpoints.iter().map(|endpoint| {
        theirs::NodeEndpoint::default()
            .with_node_id(BrokerId(endpoint.node_id))
            .with_host(endpoint.host.clone())
            .with_port(endpoint.port)
            .with_rack(endpoint.rack.clone())
    });
    FetchResponse::default()
        .with_throttle_time_ms(ours.throttle_time_ms)
        .with_error_code(ours.error_code)
        .with_session_id(if version >= 7 { ours.session_id } else { 0 })
        .with_responses(responses)
        .with_node_endpoints(if version >= 16 { endpoints.collect() } else { Vec::new() })
}

fn their_partition(ours: &FetchPartition, version: i16, records: Bytes) -> theirs::PartitionData {
    let mut partition = theirs::PartitionData::default()
        .with_partition_index(ours.partition_index)
        .with_error_code(ours.error_code)
        .with_high_watermark(ours.high_watermark)
        .with_last_stable_offset(ours.last_stable_offset)
        .with_log_start_offset(ours.log_start_offset)
        .with_preferred_read_replica(BrokerId(if version >= 11 { ours.preferred_read_replica } else { -1 }))
        .with_records(Some(records));
    partition.aborted_transactions = ours.aborted_transactions.as_ref().map(|transactions| {
        let theirs = |one: &AbortedTransaction| {
            theirs::AbortedTransaction::default().with_producer_id(ProducerId(one.producer_id)).with_first_offset(one.first_offset)
        };
        transactions.iter().map(theirs).collect()
    });
    if let (true, Some(diverging)) = (version >= 12, ours.diverging_epoch) {
        partition.diverging_epoch = theirs::EpochEndOffset::default().with_epoch(diverging.epoch).with_end_offset(diverging.end_offset);
    }
    if let (true, Some(leader)) = (version >= 12, ours.current_leader) {
        partition.current_leader =
            theirs::LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader.leader_id)).with_leader_epoch(leader.leader_epoch);
    }
    partition
}

fn join(segments: &[Segment], ours: &FetchResponseHead) -> Bytes {
    let lengths: Vec<usize> = ours.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.records_bytes).collect();
    let mut whole = BytesMut::new();
    for segment in segments {
        match segment {
            Segment::Bytes(bytes) => whole.put_slice(bytes),
            Segment::Records(place) => whole.put_slice(&records(*place, lengths[*place])),
        }
    }
    whole.freeze()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn every_version_is_byte_for_byte_what_the_encoder_writes(ours in response()) {
        for version in 4..=18 {
            let mut expected = BytesMut::new();
            expected.put_slice(b"head");
            their_response(&ours, version).encode(&mut expected, version).unwrap();
            let segments = write_fetch_response(BytesMut::from(&b"head"[..]), version, &ours).unwrap();
            prop_assert_eq!(join(&segments, &ours), expected.freeze(), "v{}", version);
        }
    }
}

#[test]
fn there_are_as_few_pieces_as_record_boundaries_allow() {
    let with_records = FetchPartition { records_bytes: 5, ..FetchPartition::default() };
    let partitions = vec![with_records.clone(), FetchPartition::default(), with_records];
    let head = FetchResponseHead { topics: vec![FetchTopic { partitions, ..FetchTopic::default() }], ..FetchResponseHead::default() };
    let segments = write_fetch_response(BytesMut::new(), 12, &head).unwrap();
    let places: Vec<_> = segments.iter().map(|segment| if let Segment::Records(place) = segment { Some(*place) } else { None }).collect();
    assert_eq!(places, [None, Some(0), None, Some(2), None]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let head = FetchResponseHead::default();
    assert_eq!(write_fetch_response(BytesMut::new(), 3, &head), Err(FetchResponseError::UnknownVersion(3)));
    assert_eq!(write_fetch_response(BytesMut::new(), 19, &head), Err(FetchResponseError::UnknownVersion(19)));
    let topic = FetchTopic { name: StrBytes::from_string("a".repeat(0x8000)), ..FetchTopic::default() };
    let head = FetchResponseHead { topics: vec![topic], ..head };
    assert_eq!(write_fetch_response(BytesMut::new(), 12, &head), Err(FetchResponseError::TooLong(0x8000)));
}
