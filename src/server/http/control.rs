//! Orders to the brokers of one process (`klamm --brokers N`): for who tests what a client does when a broker dies or falls silent.
//!
//! | request | what |
//! |---|---|
//! | `GET /brokers` | the brokers, with their states |
//! | `POST /brokers/ID/pause` | the broker stands still, as after SIGSTOP: its connections stay open and nothing is answered |
//! | `POST /brokers/ID/resume` | it goes on |
//! | `POST /brokers/ID/kill` | it ends at once, as after `kill -9`: its connections are closed, its ports refuse |
//! | `POST /brokers/ID/restart` | it is started from its data directory, on its ports; killed first if need be |
//!
//! Each answers in JSON when it is done. A broker that has to wait for others (they are the majority that its start needs) answers `202`; an order
//! that is not carried out within 25 s is answered `504` with a sentence.
//!
//! Nobody has to say who he is, so only who stands on this machine is heard: the listener must be bound to a loopback address. A browser on this
//! machine must not do it for somebody else's page: the request has to name a loopback host (a name that was rebound to one is refused), and if it
//! says where it comes from, that must be this listener's own page.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, HOST, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::reply;
use crate::several::{Brokers, Order, Refusal, State};

const JSON: &str = "application/json";

/// What stands behind `/brokers` in a path; `None` if the path is of something else.
pub(super) fn order_of(path: &str) -> Option<&str> {
    path.strip_prefix("/brokers").filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a request about the brokers.
pub(super) async fn answer(head: &Parts, path: &str, listener: SocketAddr, brokers: &Arc<Brokers>) -> Response<Full<Bytes>> {
    if let Err(sentence) = may_come_in(&head.headers, listener) {
        return refused(StatusCode::FORBIDDEN, sentence);
    }
    let rest = path.trim_matches('/');
    if rest.is_empty() {
        return match head.method {
            Method::GET | Method::HEAD => reply(StatusCode::OK, JSON, list(brokers).to_string()),
            _ => not_allowed("GET, HEAD"),
        };
    }
    let order = rest.split_once('/').and_then(|(id, word)| Some((id.parse().ok()?, Order::parse(word)?)));
    let Some((id, order)) = order else {
        return refused(StatusCode::NOT_FOUND, "There are /brokers and /brokers/ID/ with pause, resume, kill or restart.");
    };
    if head.method != Method::POST {
        return not_allowed("POST");
    }
    match brokers.order(id, order).await {
        Ok(State::Starting) => reply(StatusCode::ACCEPTED, JSON, json!({"id": id, "state": State::Starting.word()}).to_string()),
        Ok(state) => reply(StatusCode::OK, JSON, json!({"id": id, "state": state.word()}).to_string()),
        Err(refusal) => {
            let status = match refusal {
                Refusal::Unknown(_) => StatusCode::NOT_FOUND,
                Refusal::Dead(_) => StatusCode::CONFLICT,
                Refusal::Failed { .. } | Refusal::NotEnded { .. } => StatusCode::INTERNAL_SERVER_ERROR,
                Refusal::Late { .. } => StatusCode::GATEWAY_TIMEOUT,
            };
            refused(status, &refusal.to_string())
        }
    }
}

fn list(brokers: &Brokers) -> Value {
    let rows = brokers.list().into_iter().map(|shown| {
        json!({
            "id": shown.id.get(),
            "state": shown.state.word(),
            "listeners": shown.addresses.iter().map(|address| address.advertised.to_string()).collect::<Vec<_>>(),
            "http": shown.http.map(|address| address.to_string()),
            "data": shown.data.to_string_lossy(),
            "problem": shown.problem,
        })
    });
    Value::Array(rows.collect())
}

fn refused(status: StatusCode, sentence: &str) -> Response<Full<Bytes>> {
    reply(status, JSON, json!({"error": sentence}).to_string())
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let mut refusal = refused(StatusCode::METHOD_NOT_ALLOWED, "The method is not the one for this path.");
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    refusal
}

/// # Errors
/// The sentence that says why not.
fn may_come_in(headers: &HeaderMap, listener: SocketAddr) -> Result<(), &'static str> {
    if !listener.ip().to_canonical().is_loopback() {
        return Err("Brokers take orders on a loopback address only; start klamm with --http 127.0.0.1:PORT.");
    }
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
    let host = headers.get(HOST).map(text).unwrap_or_default();
    if !is_loopback_host(&host) {
        return Err("Brokers take orders only from who names this machine by a loopback address or as localhost.");
    }
    let is_foreign = headers.get(ORIGIN).map(text).is_some_and(|origin| origin != format!("http://{host}"))
        || headers.get("sec-fetch-site").map(text).is_some_and(|site| site != "same-origin" && site != "none");
    if is_foreign { Err("Brokers take no orders from the pages of others.") } else { Ok(()) }
}

/// Whether a `Host` header names this machine in a way that no name server can change.
fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_who_stands_on_this_machine_is_heard_and_no_page_of_somebody_else() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 9080));
        let heard = |pairs: &[(&'static str, &'static str)]| may_come_in(&headers(pairs), loopback).is_ok();
        assert!(heard(&[("host", "127.0.0.1:9080")]) && heard(&[("host", "LOCALHOST")]) && heard(&[("host", "[::1]:9080")]));
        assert!(heard(&[("host", "localhost:9080"), ("origin", "http://localhost:9080"), ("sec-fetch-site", "same-origin")]));
        assert!(!heard(&[]));
        for host in ["rebound.example:9080", "127.0.0.1.example", "localhost.example:9080", "10.0.0.1:9080", "[::1", "::1", "0.0.0.0:9080"]
        {
            assert!(!heard(&[("host", host)]), "{host}");
        }
        for origin in ["http://example.org", "http://127.0.0.1:9081", "https://127.0.0.1:9080", "null", ""] {
            assert!(!heard(&[("host", "127.0.0.1:9080"), ("origin", origin)]), "{origin}");
        }
        assert!(!heard(&[("host", "127.0.0.1:9080"), ("sec-fetch-site", "cross-site")]));
        for open in [SocketAddr::from(([0, 0, 0, 0], 9080)), SocketAddr::from(([10, 0, 0, 1], 9080))] {
            assert!(may_come_in(&headers(&[("host", "127.0.0.1:9080")]), open).is_err());
        }
    }

    #[test]
    fn a_path_is_an_order_only_below_brokers() {
        assert_eq!(
            ["/brokers", "/brokers/", "/brokers/2/kill", "/brokersx", "/"].map(order_of),
            [Some(""), Some("/"), Some("/2/kill"), None, None]
        );
    }
}
