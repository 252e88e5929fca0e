//! The coordinators' runtime: it feeds the pure shards with requests and time, appends their records, and releases their replies.
//!
//! One task per led partition of `__consumer_offsets` and `__transaction_state`, and per term of its leader, owns that partition's shard. It takes
//! one operation at a time: handle, append the records as one batch, wait until the high watermark has passed it, replay the records, release the
//! replies. So a reply never tells of something that could yet be lost, and what the live path does is what recovery does.
//!
//! In Kafka: `CoordinatorRuntime`, `CoordinatorLoaderImpl`, `TransactionStateManager`.

mod coordinator;
mod groups;
mod load;
mod shard_task;
mod shards;
mod timers;
mod transactions;

pub(crate) use coordinator::EndOfTransaction;
pub use group_coordinator::shown_record as shown_offsets_record;
pub use groups::{Caller, Groups, GroupsParts, Operation};
pub use shards::RuntimeParts;
pub use transactions::{TRANSACTION_VERSION_FEATURE, TransactionOperation, Transactions, TransactionsParts};
pub use txn_coordinator::shown_record as shown_transaction_record;

/// The topic that holds groups and offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The topic that holds transactional ids and their transactions.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";
