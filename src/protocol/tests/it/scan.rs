use allocation_counter::measure;
use bytes::Bytes;
use protocol::fixtures::{
    Decoded, all_versions, decodable_versions, decode_any_request, decode_any_response, long_request, minimal_request, minimal_response,
    rich_request, rich_response,
};
use protocol::{Fault, ScanError, ScanReport, scan_request, scan_response};

/// What the handle of a frame that is shared for the first time may take beside the message.
const SLACK_BYTES: usize = 4096;
/// What an error of the decoder may take: it holds a stack trace if the environment asks for one.
const ERROR_BYTES: usize = 65536;

type ScanFn = fn(i16, i16, &[u8], usize) -> Result<ScanReport, ScanError>;
type DecodeFn = fn(i16, i16, &Bytes) -> Option<Result<Decoded, String>>;
type FixtureFn = fn(i16, i16) -> Option<Vec<u8>>;

struct Side {
    name: &'static str,
    scan: ScanFn,
    decode: DecodeFn,
    rich: FixtureFn,
    minimal: FixtureFn,
}

const SIDES: [Side; 2] = [
    Side { name: "request", scan: scan_request, decode: decode_any_request, rich: rich_request, minimal: minimal_request },
    Side { name: "response", scan: scan_response, decode: decode_any_response, rich: rich_response, minimal: minimal_response },
];

fn decodable() -> Vec<(i16, i16)> {
    let known = |(key, version): &(i16, i16)| decodable_versions(*key).is_some_and(|range| range.min <= *version && *version <= range.max);
    all_versions().into_iter().filter(known).collect()
}

/// Scans, and if the scan allows it decodes, without more memory than the scan said.
fn scan_then_decode(side: &Side, key: i16, version: i16, body: &[u8], permit_bytes: usize) -> Option<Result<Decoded, String>> {
    let report = (side.scan)(key, version, body, permit_bytes).ok()?;
    let frame = Bytes::copy_from_slice(body);
    let mut decoded = None;
    let allocated = measure(|| decoded = (side.decode)(key, version, &frame));
    // Encoding again is in the measure too; it takes a small multiple of the body.
    let error_bytes = if matches!(decoded, Some(Err(_))) { ERROR_BYTES } else { 0 };
    let allowed = report.memory_bytes + error_bytes + SLACK_BYTES + 8 * body.len();
    assert!(
        allocated.bytes_total <= allowed as u64,
        "{} {key} v{version}: {} bytes for {body:?}, reported {}",
        side.name,
        allocated.bytes_total,
        report.memory_bytes
    );
    decoded
}

#[test]
fn every_version_that_the_decoder_has_is_in_the_shapes() {
    let mut missing = Vec::new();
    for key in 0..128 {
        let Some(range) = decodable_versions(key) else { continue };
        missing.extend((range.min..=range.max).map(|version| (key, version)).filter(|known| !all_versions().contains(known)));
    }
    assert_eq!(missing, [], "kafka-protocol decodes versions that Kafka 4.3.1 does not have");
}

#[test]
fn fixtures_pass_the_scan_and_decode_to_their_last_byte() {
    for side in &SIDES {
        for (key, version) in all_versions() {
            for (form, build) in [("rich", side.rich), ("minimal", side.minimal)] {
                let Some(body) = build(key, version) else { continue };
                let context = format!("{form} {} {key} v{version}", side.name);
                (side.scan)(key, version, &body, 1 << 20).unwrap_or_else(|error| panic!("{context}: {error}"));
                if !decodable().contains(&(key, version)) {
                    continue;
                }
                let decoded = scan_then_decode(side, key, version, &body, 1 << 20).unwrap();
                let decoded = decoded.unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(decoded.rest_bytes, 0, "{context}");
            }
        }
    }
}

#[test]
fn rich_fixtures_are_what_the_encoder_writes() {
    for side in &SIDES {
        for (key, version) in decodable() {
            let Some(body) = (side.rich)(key, version) else { continue };
            let again = (side.decode)(key, version, &Bytes::from(body.clone())).unwrap().unwrap().again;
            assert_eq!(again.as_deref(), Some(body.as_slice()), "{} {key} v{version}", side.name);
        }
    }
}

#[test]
fn every_cut_is_refused() {
    for side in &SIDES {
        for (key, version) in decodable() {
            let Some(body) = (side.rich)(key, version) else { continue };
            for length in 0..body.len() {
                let error = (side.scan)(key, version, &body[..length], 1 << 20).unwrap_err();
                assert!(error.at <= length, "{error}");
            }
        }
    }
}

#[test]
fn bytes_after_a_request_are_let_pass_and_after_a_response_refused() {
    for (key, version) in all_versions() {
        let mut body = rich_request(key, version).unwrap();
        body.push(0);
        assert_eq!(scan_request(key, version, &body, 1 << 20).unwrap().rest_bytes, 1, "{key} v{version}");
        let mut body = rich_response(key, version).unwrap();
        body.push(0);
        assert_eq!(scan_response(key, version, &body, 1 << 20).unwrap_err().fault, Fault::TrailingBytes(1), "{key} v{version}");
    }
}

#[test]
fn no_overwritten_position_harms_the_decoder() {
    // The largest int, the largest varint, and a count that is large but not absurd.
    let largest: [&[u8]; 3] = [&[0x7f, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0x00, 0x10, 0x00, 0x00]];
    for side in &SIDES {
        for (key, version) in decodable() {
            let Some(body) = (side.rich)(key, version) else { continue };
            for position in 0..body.len() {
                for patch in largest {
                    let mut hostile = body.clone();
                    let end = body.len().min(position + patch.len());
                    hostile[position..end].copy_from_slice(&patch[..end - position]);
                    scan_then_decode(side, key, version, &hostile, 1 << 20);
                }
            }
        }
    }
}

#[test]
fn honest_counts_take_no_more_memory_than_reported_and_a_smaller_permit_refuses_them() {
    for (key, version) in decodable() {
        let body = long_request(key, version, 20_000).unwrap();
        let report = scan_request(key, version, &body, 1 << 30).unwrap_or_else(|error| panic!("{key} v{version}: {error}"));
        scan_then_decode(&SIDES[0], key, version, &body, 1 << 30);
        let permit = report.memory_bytes - 1;
        let refused = scan_request(key, version, &body, permit).unwrap_err();
        assert_eq!(refused.fault, Fault::MemoryBeyondPermit { needed: report.memory_bytes, permitted: permit }, "{key} v{version}");
    }
}

#[test]
fn a_count_that_would_abort_the_process_is_refused() {
    assert_eq!(scan_request(3, 8, &i32::MAX.to_be_bytes(), usize::MAX).unwrap_err().fault, Fault::CountBeyondFrame(0x7fff_ffff));
    let compact = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(scan_request(3, 12, &compact, usize::MAX).unwrap_err().fault, Fault::CountBeyondFrame(0xffff_fffe));
}

#[test]
fn unknown_tags_are_limited_and_paid_for() {
    let tags = |count: u8| {
        let mut body = vec![2, b'a', 2, b'b', count];
        body.extend((0..count).flat_map(|tag| [tag, 1, 0]));
        body
    };
    let report = scan_request(18, 3, &tags(64), 1 << 20).unwrap();
    assert!(report.memory_bytes > 64 * 100);
    scan_then_decode(&SIDES[0], 18, 3, &tags(64), 1 << 20).unwrap().unwrap();
    assert_eq!(scan_request(18, 3, &tags(65), 1 << 20).unwrap_err().fault, Fault::TooManyTags(65));
}

#[test]
fn malformed_encodings_are_refused_by_name() {
    let api_versions = |body: &[u8]| scan_request(18, 3, body, 1 << 20).unwrap_err().fault;
    assert_eq!(api_versions(&[0]), Fault::NullNotAllowed);
    assert_eq!(api_versions(&[0x80, 0x80, 0x80, 0x80, 0x10]), Fault::OverlongVarint);
    assert_eq!(api_versions(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]), Fault::OverlongVarint);
    assert_eq!(api_versions(&[2, b'a', 2, b'b', 2, 7, 0, 7, 0]), Fault::TagOutOfOrder(7));
    assert_eq!(api_versions(&[2, b'a', 2, b'b', 1, 7, 5, 0]), Fault::LengthBeyondFrame(5));
    assert_eq!(scan_request(12, 0, &[0xff, 0xfe], 1 << 20).unwrap_err().fault, Fault::NegativeLength(-2));
    assert_eq!(scan_request(12, 0, &[0xff, 0xff], 1 << 20).unwrap_err().fault, Fault::NullNotAllowed);
    assert_eq!(scan_request(999, 0, &[], 0).unwrap_err().fault, Fault::UnknownKey { api_key: 999 });
    assert_eq!(scan_request(3, -1, &[], 0).unwrap_err().fault, Fault::UnknownVersion { api_key: 3, version: -1 });
    let long = [&[0x81, 0x80, 2][..], &[b'a'; 0x8000]].concat();
    assert_eq!(api_versions(&long), Fault::StringTooLong(0x8000));
}

#[test]
fn a_known_tagged_field_fills_its_size() {
    // Fetch v12 carries the cluster id in tag 0 at its end.
    let mut body = minimal_request(1, 12).unwrap();
    assert_eq!(body.pop(), Some(0));
    body.extend([1, 0, 3, 2, b'c', 0]);
    let error = scan_request(1, 12, &body, 1 << 20).unwrap_err();
    assert_eq!((error.fault, error.field, error.at), (Fault::TagSizeMismatch(1), "ClusterId", body.len() - 1));
}
