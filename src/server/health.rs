//! `klamm health`: whether a broker answers, asked over its own protocol.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Buf as _;
use protocol::Request;
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse};
use wire::PeerClient;
use wire::clock::{Clock as _, SystemClock, timeout_at};

use crate::Problem;
use crate::args::HealthArgs;

/// The versions that are asked: the lowest that every broker of the last years serves, Kafka 4 among them.
const API_VERSIONS_VERSION: i16 = 0;
const METADATA_VERSION: i16 = 4;

/// What an answer may take in memory.
const ANSWER_MEMORY_BYTES_MAX: usize = 4 << 20;

/// Asks, and says what came of it.
///
/// # Errors
/// Nobody answers, or the answer is not that of a ready broker.
pub(crate) async fn check(args: &HealthArgs) -> Result<ExitCode, Problem> {
    let clock = SystemClock::new();
    let deadline = clock.monotonic() + Duration::from_millis(args.timeout_ms);
    let asked = timeout_at(&clock, deadline, ask(&args.address)).await;
    let outcome = asked.unwrap_or_else(|_| Err(format!("no answer within {} ms", args.timeout_ms)));
    match outcome {
        Ok(sentence) => {
            println!("{} is ready: {sentence}", args.address);
            Ok(ExitCode::SUCCESS)
        }
        Err(reason) => Err(Problem::NotReady { address: args.address.clone(), reason }),
    }
}

async fn ask(address: &str) -> Result<String, String> {
    let socket = tokio::net::lookup_host(address).await.map_err(|error| error.to_string())?;
    let mut last = "the host has no address".to_owned();
    for candidate in socket {
        match PeerClient::connect(candidate).await {
            Ok(client) => return ask_connected(client).await,
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

async fn ask_connected(mut client: PeerClient) -> Result<String, String> {
    let versions: ApiVersionsResponse = exchange(&mut client, 1, API_VERSIONS_VERSION, &ApiVersionsRequest::default()).await?;
    if versions.error_code != 0 {
        return Err(format!("ApiVersions was answered with {}", protocol::error_name(versions.error_code)));
    }
    // An empty list of topics asks for the brokers alone.
    let request = MetadataRequest::default().with_topics(Some(Vec::new())).with_allow_auto_topic_creation(false);
    let metadata: MetadataResponse = exchange(&mut client, 2, METADATA_VERSION, &request).await?;
    if metadata.brokers.is_empty() {
        return Err("the broker knows of no broker yet".to_owned());
    }
    let cluster = metadata.cluster_id.as_ref().map_or("without an id", |id| id.as_str());
    Ok(format!("cluster {cluster}, brokers: {}, APIs: {}", metadata.brokers.len(), versions.api_keys.len()))
}

/// The versions asked are not flexible, so that the answer's header is the correlation id alone.
async fn exchange<R: Request>(client: &mut PeerClient, correlation_id: i32, version: i16, request: &R) -> Result<R::Response, String> {
    let unreadable = |error: &dyn Display| format!("the answer is not that of a Kafka broker ({error})");
    let frame = protocol::encode_request("klamm-health", correlation_id, version, request)?;
    let mut answer = client.exchange(&frame).await.map_err(|error| error.to_string())?;
    match answer.try_get_i32() {
        Ok(found) if found == correlation_id => {}
        Ok(_) => return Err(unreadable(&"the correlation id does not fit")),
        Err(error) => return Err(unreadable(&error)),
    }
    protocol::decode_response::<R>(version, &answer, ANSWER_MEMORY_BYTES_MAX).map_err(|error| unreadable(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_framed_as_kafka_frames_it() {
        let frame = protocol::encode_request("klamm-health", 7, API_VERSIONS_VERSION, &ApiVersionsRequest::default()).expect("encodes");
        assert_eq!(&frame[..], b"\0\x12\0\0\0\0\0\x07\0\x0cklamm-health");
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_not_ready() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = free.local_addr().expect("bound").to_string();
        drop(free);
        let problem = check(&HealthArgs { address: address.clone(), timeout_ms: 5000 }).await.expect_err("nobody").to_string();
        assert!(problem.starts_with(&format!("{address} is not ready: ")), "{problem}");
    }

    #[tokio::test]
    async fn a_peer_that_says_nothing_is_not_ready_in_time() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = silent.local_addr().expect("bound").to_string();
        let problem = check(&HealthArgs { address: address.clone(), timeout_ms: 20 }).await.expect_err("silent").to_string();
        assert_eq!(problem, format!("{address} is not ready: no answer within 20 ms"));
    }
}
