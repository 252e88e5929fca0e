//! The store as its users see it: one data directory on a real disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod appending;
mod committing_here;
mod compacting;
mod crashing;
mod damage;
mod deleting;
mod failing_index;
mod fixture;
mod following;
mod histories;
mod inspecting;
mod journal;
mod opening;
mod producers;
mod reading;
mod retaining;
mod scratch;
mod synced_logs;
mod transactions;
mod truncating;
mod truncating_cleaned;
mod verifying;
