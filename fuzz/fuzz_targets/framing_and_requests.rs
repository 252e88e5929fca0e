//! Frames from a stranger: the header is parsed, and what the bounds scan lets through is decoded, within the memory that the scan reported.
//!
//! The first byte says how the rest becomes a frame: raw; a raw body of an API key and version drawn from the data; or a valid body of such
//! a one with some of its bytes replaced, which gets far deeper than random bytes do.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::fixtures::{all_versions, decode_any_request, decode_any_response, minimal_request, rich_request, rich_response};
use protocol::{parse_request_header, scan_request, scan_response};

/// What one request may take here.
const PERMIT_BYTES: usize = 1 << 20;
/// What an error, or sharing the frame for the first time, takes beside the message.
const SLACK_BYTES: usize = 1 << 17;

fuzz_target!(|data: &[u8]| {
    let Some((form, rest)) = data.split_first() else { return };
    match form % 5 {
        0 => frame(rest),
        1 => drawn(rest, |_, _, rest| Some(rest.to_vec()), false),
        2 => drawn(rest, |key, version, rest| rich_request(key, version).map(|body| patched(body, rest)), false),
        3 => drawn(rest, |key, version, rest| minimal_request(key, version).map(|body| patched(body, rest)), false),
        _ => drawn(rest, |key, version, rest| rich_response(key, version).map(|body| patched(body, rest)), true),
    }
});

fn frame(frame: &[u8]) {
    let Ok(head) = parse_request_header(frame) else { return };
    assert!(head.body_offset <= frame.len());
    let _ = head.client_id(frame);
    let body = frame.get(head.body_offset..).unwrap_or_default();
    scan_and_decode(head.api_key, head.api_version, body, false);
}

fn drawn(data: &[u8], body: impl Fn(i16, i16, &[u8]) -> Option<Vec<u8>>, response: bool) {
    let Some(([high, low], rest)) = data.split_first_chunk() else { return };
    let all = all_versions();
    let Some((key, version)) = all.get(usize::from(u16::from_be_bytes([*high, *low])) % all.len()).copied() else { return };
    if let Some(body) = body(key, version, rest) {
        scan_and_decode(key, version, &body, response);
    }
}

/// Each four bytes of `edits` replace, insert or cut something at some position.
fn patched(mut body: Vec<u8>, edits: &[u8]) -> Vec<u8> {
    for edit in edits.chunks_exact(4) {
        let [high, low, operation, value] = edit else { continue };
        let at = usize::from(u16::from_be_bytes([*high, *low])) % (body.len() + 1);
        match operation % 4 {
            0 if at < body.len() => body[at] = *value,
            1 => body.insert(at, *value),
            2 => body.truncate(at.max(body.len() / 2)),
            _ => {
                let end = body.len().min(at + 4);
                body[at..end].fill(*value);
            }
        }
    }
    body
}

fn scan_and_decode(key: i16, version: i16, body: &[u8], response: bool) {
    let scan = if response { scan_response } else { scan_request };
    let Ok(report) = scan(key, version, body, PERMIT_BYTES) else { return };
    assert!(report.memory_bytes <= PERMIT_BYTES);
    let decode = if response { decode_any_response } else { decode_any_request };
    let shared = Bytes::copy_from_slice(body);
    let mut decoded = None;
    let allocated = allocation_counter::measure(|| decoded = decode(key, version, &shared));
    let allowed = report.memory_bytes + SLACK_BYTES + 8 * body.len();
    assert!(allocated.bytes_total <= allowed as u64, "{key} v{version}: {} bytes, {} reported", allocated.bytes_total, report.memory_bytes);
    if let Some(Ok(decoded)) = decoded {
        assert_eq!(decoded.rest_bytes, report.rest_bytes, "{key} v{version}: scan and decoder do not end the message at the same byte");
    }
}
