//! Comparing the leader epoch in a request with the leader's own.

use model::LeaderEpoch;

/// What an epoch in a request is to the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochCheck {
    /// The same, or none was given.
    Current,
    /// Older: who asks has missed an election (FENCED_LEADER_EPOCH).
    Fenced,
    /// Newer: this broker has missed an election (UNKNOWN_LEADER_EPOCH).
    Unknown,
}

/// Compares the epoch that a request names, if it does, with the current one (KIP-320).
#[must_use]
pub fn check_epoch(current: LeaderEpoch, asked: Option<LeaderEpoch>) -> EpochCheck {
    match asked {
        None => EpochCheck::Current,
        Some(asked) if asked == current => EpochCheck::Current,
        Some(asked) if asked < current => EpochCheck::Fenced,
        Some(_) => EpochCheck::Unknown,
    }
}
