//! What all coordinators are made of: the words between a pure shard and the runtime that carries out what it wants.
//!
//! What it is *not*: no coordinator, and no runtime. The shards are `group-coordinator`'s and `txn-coordinator`'s, the runtime is `broker`'s.
//!
//! Invariants: these are plain values; nothing here decides anything.
//!
//! In Kafka: `coordinator-common` (`CoordinatorRecord`, `CoordinatorTimer`).
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod shown;

use bytes::Bytes;
use model::Timestamp;

/// The runtime's name for a request that awaits its reply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReplyId(pub u64);

/// A record of a coordinator's topic, in Kafka's format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoordinatorRecord {
    /// Type and name of what it is about.
    pub key: Bytes,
    /// Its value, or `None` for a tombstone.
    pub value: Option<Bytes>,
}

/// A change of the timers. `K` says what a timer is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimerEffect<K> {
    /// Tell the shard of the key at that time; replaces an armed timer of the same key.
    Arm {
        /// What it is for.
        key: K,
        /// When, on the clock from which the operation got its `now`.
        at: Timestamp,
    },
    /// Do not.
    Cancel {
        /// What it was for.
        key: K,
    },
}

/// What a replayed record was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replayed {
    /// Of a known type; the state has it.
    Applied,
    /// Of a type that the shard does not keep; skipped and counted.
    UnknownType,
    /// Not decodable; skipped and counted.
    Malformed,
}

/// How many replayed records a shard skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SkippedRecords {
    /// Of types that it does not keep.
    pub unknown_type: u64,
    /// Not decodable.
    pub malformed: u64,
}

impl SkippedRecords {
    /// Counts a record that was skipped, and gives its kind on.
    pub const fn count(&mut self, replayed: Replayed) -> Replayed {
        match replayed {
            Replayed::Applied => {}
            Replayed::UnknownType => self.unknown_type += 1,
            Replayed::Malformed => self.malformed += 1,
        }
        replayed
    }
}
