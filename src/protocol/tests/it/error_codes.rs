use bytes::{Bytes, BytesMut};
use protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use protocol::messages::{HeartbeatResponse, MetadataResponse};
use protocol::{Encodable, error_codes};

fn codes(key: i16, version: i16, response: &impl Encodable) -> Vec<i16> {
    let mut body = BytesMut::new();
    response.encode(&mut body, version).expect("encodes");
    let mut found = Vec::new();
    error_codes(key, version, &Bytes::from(body), &mut |code| found.push(code)).expect("well-formed");
    found
}

#[test]
fn the_codes_of_an_answer_are_told_in_the_order_of_the_wire() {
    let partition = |code| MetadataResponsePartition::default().with_error_code(code);
    let topic = |code, partitions| MetadataResponseTopic::default().with_error_code(code).with_partitions(partitions);
    let response = MetadataResponse::default().with_topics(vec![
        topic(0, vec![partition(5), partition(0)]),
        topic(-1, Vec::new()),
        topic(3, Vec::new()),
    ]);
    for version in [1, 5, 8, 9, 12] {
        assert_eq!(codes(3, version, &response), [0, 5, 0, -1, 3], "version {version}");
    }
    // A field of the top level that older versions lack.
    assert_eq!(codes(3, 13, &response.with_error_code(7)).last(), Some(&7));
    assert_eq!(codes(12, 4, &HeartbeatResponse::default().with_error_code(27)), [27]);
}

#[test]
fn an_answer_that_is_cut_short_is_refused_after_the_codes_before_the_cut() {
    let mut found = Vec::new();
    // Heartbeat version 1: throttle time, then the code.
    assert!(error_codes(12, 1, &[0, 0, 0, 0, 0], &mut |code| found.push(code)).is_err());
    assert!(found.is_empty());
    assert!(error_codes(i16::MAX, 0, &[], &mut |code| found.push(code)).is_err());
}
