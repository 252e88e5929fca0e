//! Whether a voter has what it may have promised: a voter whose log was lost must not vote until a leader has filled it.

use crate::disk::{Disk, DiskError};
use crate::log_storage::PURGED;
use crate::state_machine::Shared;

/// The name under which a voter's disk says that the log began empty and no leader has filled it yet.
pub(crate) const BEGAN_EMPTY: &str = "began-empty";
const NOT_FILLED: &[u8] = &[1];
pub(crate) const FILLED: &[u8] = &[0];

/// Whether this voter has what it may have promised: not if it begins on an empty disk, nor if it did and no leader has filled its log since.
/// Written down before the first entry is.
pub(crate) fn is_complete(disk: &dyn Disk) -> Result<bool, DiskError> {
    if let Some(mark) = disk.load_value(BEGAN_EMPTY)? {
        return Ok(mark == FILLED);
    }
    // A log whose entries all went into a snapshot has no entry either.
    if disk.last_index()?.is_some() || disk.load_value(PURGED)?.is_some() {
        return Ok(true);
    }
    disk.save_value(BEGAN_EMPTY, NOT_FILLED)?;
    Ok(false)
}

/// Takes back that the log began empty, once it is filled; never ends.
pub(crate) async fn remember_completeness(disk: &dyn Disk, shared: &Shared) {
    let mut completeness = shared.completeness();
    if !*completeness.borrow_and_update() && completeness.wait_for(|is_complete| *is_complete).await.is_ok() {
        // If it is not taken back, the next run waits for a leader once more.
        if let Err(error) = disk.save_value(BEGAN_EMPTY, FILLED) {
            tracing::warn!(%error, "that the metadata log is filled cannot be written down");
        }
    }
    std::future::pending().await
}
