//! A whole broker in process, over real sockets and a real store: what every API answers, in every version, and what clients see over restarts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod admin;
mod compaction;
mod controller;
mod every_version;
mod fetch;
mod many_brokers;
mod metadata;
mod produce;
mod quotas;
mod replication;
mod retention;
mod seeded_sequences;
#[path = "../../../../fuzz/sequences/mod.rs"]
mod sequences;
mod support;
mod transactions;
