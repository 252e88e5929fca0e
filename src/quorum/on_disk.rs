//! The image that a stopped broker's metadata log holds, without a quorum.

use log_store::SyncedLog;
use metadata::Image;
use openraft::EntryPayload;
use thiserror::Error;

use crate::disk::{Disk, DiskError};
use crate::{format, state_machine};

/// Why a metadata log gives no image.
#[derive(Debug, Error)]
#[error("the metadata log cannot be read: {0}")]
pub struct UnreadableMetadata(DiskError);

/// The image after the last entry. With several voters the last ones may not have been agreed upon: it is a look at this disk, not at the cluster.
///
/// # Errors
/// If snapshot or entries cannot be read.
pub fn image_on_disk(log: &SyncedLog) -> Result<Image, UnreadableMetadata> {
    read(log).map_err(UnreadableMetadata)
}

fn read(disk: &dyn Disk) -> Result<Image, DiskError> {
    let (mut image, mut from) = (Image::default(), 0);
    if let Some((_, snapshot)) = state_machine::snapshot_on(disk)? {
        image = Image::from_snapshot(&snapshot.image)?;
        from = snapshot.last.map_or(0, |last| last.index.saturating_add(1));
    }
    for (index, bytes) in disk.read(from, u64::MAX)? {
        let entry = format::decode_entry(&bytes)?;
        let records = match entry.payload {
            EntryPayload::Normal(proposal) => proposal.counting(&entry.log_id).unwrap_or_default(),
            EntryPayload::Blank | EntryPayload::Membership(_) => Vec::new(),
        };
        image = image.apply(index, &records).0;
    }
    Ok(image)
}
