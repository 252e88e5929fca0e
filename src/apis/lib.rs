//! What each Kafka API does: dispatch, and one file per API on top of [`broker`].
//!
//! What it is *not*: it keeps no state of its own and decides nothing about logs, groups or metadata; a handler translates between a request and the
//! broker's services, and wire sentinels (-1) end here.
//!
//! Invariants:
//! - [`table::APIS`] is the only list of APIs: look-up, the ApiVersions answer, the metrics' labels
//!   and the README's support table derive from it.
//!   What brokers ask of the active controller has a list of its own, which only the controller listener serves.
//! - A request is decoded only after the bounds scan has found that its counts fit its bytes and the memory permit.
//! - Only fields that the request's version has are set in its answer: kafka-protocol refuses to encode others (a test runs each handler at each version).
//! - An error code is chosen by an exhaustive match ([`error_codes`]); UNKNOWN_SERVER_ERROR is none of them, and
//!   whoever sends it all the same is counted ([`measure`]).
//!
//! In Kafka: `KafkaApis`, `ControllerApis`, `ApiVersionManager`; there one file of 4,800 lines.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod api;
mod cluster;
mod configs;
mod connection;
mod controller;
mod dispatch;
mod error_codes;
mod groups;
mod log;
mod measure;
mod security;
pub mod table;
mod throttle;
mod topics;
mod transactions;

pub use dispatch::Apis;
pub use table::new_metrics;
