use bytes::BytesMut;
use protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use protocol::messages::{BrokerId, DescribeLogDirsRequest, GroupId, ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest};
use protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;

fn encode<M: Encodable>(message: &M, version: i16) -> Result<BytesMut, String> {
    let mut buffer = BytesMut::new();
    message.encode(&mut buffer, version).map_err(|error| error.to_string())?;
    assert_eq!(message.compute_size(version).unwrap(), buffer.len());
    Ok(buffer)
}

#[test]
fn a_field_that_the_version_lacks_is_dropped_if_the_schema_says_so_and_refused_otherwise() {
    let topic = OffsetCommitRequestTopic::default().with_name(StrBytes::from_static_str("t").into()).with_topic_id(Uuid::from_u128(7));
    let request = OffsetCommitRequest::default().with_topics(vec![topic]);
    let by_name = OffsetCommitRequest::decode(&mut encode(&request, 9).unwrap(), 9).unwrap();
    assert_eq!((by_name.topics[0].name.as_str(), by_name.topics[0].topic_id), ("t", Uuid::nil()));
    let by_id = OffsetCommitRequest::decode(&mut encode(&request, 10).unwrap(), 10).unwrap();
    assert_eq!((by_id.topics[0].name.as_str(), by_id.topics[0].topic_id), ("", Uuid::from_u128(7)));
    let request = OffsetFetchRequest::default().with_group_id(GroupId(StrBytes::from_static_str("g")));
    assert!(encode(&request, 7).is_ok());
    assert_eq!(encode(&request, 8).unwrap_err(), "version 8 has no field group_id");
}

#[test]
fn versions_that_kafka_does_not_have_are_neither_written_nor_read() {
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1));
    for version in [-1, 0, 12] {
        assert!(encode(&request, version).is_err(), "{version}");
        assert!(ListOffsetsRequest::decode(&mut BytesMut::zeroed(64), version).is_err(), "{version}");
    }
}

#[test]
fn a_count_or_a_length_beyond_the_bytes_is_refused_without_the_scan_too() {
    for body in [[0x7f, 0xff, 0xff, 0xff].as_slice(), &[0xff, 0xff, 0xff, 0xfe], &[0, 0, 0, 1, 0x7f, 0xff]] {
        assert!(DescribeLogDirsRequest::decode(&mut BytesMut::from(body), 1).is_err(), "{body:?}");
    }
    for body in [[0xff, 0xff, 0xff, 0xff, 0x0f].as_slice(), &[0xff, 0xff, 0xff, 0xff, 0x7f], &[2, 0xff, 0x7f], &[]] {
        assert!(DescribeLogDirsRequest::decode(&mut BytesMut::from(body), 5).is_err(), "{body:?}");
    }
}
