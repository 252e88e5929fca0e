//! Connections over real sockets, with a clock that the tests move.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod files;
mod harness;
mod limits;
mod muting;
mod order;
