//! For development only: the machine's limit, and the load that measures it. `scripts/bench` drives both; no product contains them.
//!
//! `yardstick` is a bare sink: it checks a batch's CRC, gives it offsets, appends it to one file per partition, and serves it by sendfile. `load`
//! is one client for all systems under test: it sends batches that were prepared before the clock starts, so that it costs little itself.
//!
//! What it is *not*: a broker. The sink validates nothing else, keeps its index in memory, knows no groups, no long polls, no restart, no limits.
//! `load` uses none of klamm's decoders, so that it cannot share a fault with them.
//!
//! Invariants:
//! - Both speak fixed, non-flexible versions that Apache Kafka 4 serves: Metadata 4, CreateTopics 4, Produce 7, Fetch 11. Transactions are those of
//!   transaction.version 2, as current clients make them: Produce 12 and EndTxn 5, which are flexible.
//! - The load client fails at the first error code; a number that it prints is of acknowledged records only.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod client;
pub mod codec;
pub mod load;
pub mod sink;
pub mod transactions;
