use bytes::{Bytes, BytesMut};
use protocol::fixtures::{all_versions, decodable_versions};
use protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use protocol::{
    Decodable, Encodable, ErrorCode, Fault, StrBytes, error_name, parse_request_header, put_response_header, request_header_version,
    response_header_version, to_i16,
};

fn frame(key: i16, version: i16, client_id: Option<&'static str>) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(client_id.map(StrBytes::from_static_str));
    let mut buffer = BytesMut::new();
    header.encode(&mut buffer, request_header_version(key, version).unwrap()).unwrap();
    buffer.extend_from_slice(b"body");
    buffer.to_vec()
}

#[test]
fn header_versions_are_those_of_the_decoder() {
    for (key, version) in all_versions().into_iter().filter(|(key, version)| decodable_versions(*key).is_some_and(|v| v.max >= *version)) {
        let api = ApiKey::try_from(key).unwrap();
        assert_eq!(request_header_version(key, version), Some(api.request_header_version(version)), "{key} v{version}");
        assert_eq!(response_header_version(key, version), Some(api.response_header_version(version)), "{key} v{version}");
    }
    assert_eq!(request_header_version(999, 0), None);
    assert_eq!(response_header_version(999, 0), None);
}

#[test]
fn apis_with_exceptions_have_the_headers_that_clients_expect() {
    assert_eq!((request_header_version(18, 4), response_header_version(18, 4)), (Some(2), Some(0)));
    assert_eq!((request_header_version(18, 99), response_header_version(18, 99)), (Some(2), Some(0)));
    assert_eq!((request_header_version(17, 1), response_header_version(17, 1)), (Some(1), Some(0)));
    assert_eq!((request_header_version(47, 0), response_header_version(47, 0)), (Some(1), Some(0)));
}

#[test]
fn a_header_is_parsed_up_to_the_body() {
    for (key, version) in all_versions() {
        for client_id in [None, Some(""), Some("klamm")] {
            let frame = frame(key, version, client_id);
            let head = parse_request_header(&frame).unwrap();
            assert_eq!((head.api_key, head.api_version, head.correlation_id), (key, version, 7));
            assert_eq!(head.client_id(&frame).as_deref(), client_id);
            assert_eq!(&frame[head.body_offset..], b"body");
        }
    }
}

#[test]
fn no_cut_of_a_header_panics() {
    let frame = frame(18, 3, Some("klamm"));
    for length in 0..frame.len() - 4 {
        assert!(parse_request_header(&frame[..length]).is_err(), "{length}");
    }
    assert!(parse_request_header(&frame[..frame.len() - 4]).is_ok());
}

#[test]
fn hostile_headers_are_refused() {
    let fault = |frame: &[u8]| parse_request_header(frame).unwrap_err().fault;
    assert_eq!(fault(&[]), Fault::Truncated);
    assert_eq!(fault(&[0x7f, 0xff, 0, 0, 0, 0, 0, 1]), Fault::UnknownKey { api_key: 0x7fff });
    assert_eq!(fault(&[0, 3, 0, 99, 0, 0, 0, 1]), Fault::UnknownVersion { api_key: 3, version: 99 });
    assert_eq!(fault(&[0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 1]), Fault::LengthBeyondFrame(0x7fff));
    assert_eq!(fault(&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xfe]), Fault::NegativeLength(-2));
}

#[test]
fn an_api_versions_request_of_the_future_is_understood_as_far_as_its_correlation_id() {
    let head = parse_request_header(&[0, 18, 0, 99, 0, 0, 0, 5, 0xff]).unwrap();
    assert_eq!((head.api_version, head.correlation_id, head.client_id, head.body_offset), (99, 5, None, 9));
}

#[test]
fn a_response_header_is_the_decoders() {
    for (key, version) in all_versions() {
        let mut buffer = BytesMut::new();
        put_response_header(&mut buffer, key, version, 7);
        let mut bytes: Bytes = buffer.freeze();
        let header = ResponseHeader::decode(&mut bytes, response_header_version(key, version).unwrap()).unwrap();
        assert_eq!((header.correlation_id, bytes.len()), (7, 0));
    }
}

#[test]
fn error_codes_have_kafkas_names() {
    assert_eq!((to_i16(None), to_i16(Some(ErrorCode::NotLeaderOrFollower))), (0, 6));
    assert_eq!(
        (error_name(0), error_name(6), error_name(-1)),
        ("NONE".into(), "NOT_LEADER_OR_FOLLOWER".into(), "UNKNOWN_SERVER_ERROR".into())
    );
    assert_eq!(error_name(9999), "9999");
}
